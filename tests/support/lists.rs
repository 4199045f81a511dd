//! The lists of `tests/architectures`: names and shapes as transformers saves them, and what they mean, by hand.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use growmerge::arch::{Family, Position};
use growmerge::plan::Plan;
use serde::Deserialize;
use serde_json::{Value, json};

use super::plan;

#[derive(Deserialize)]
pub struct File {
    pub architectures: BTreeMap<String, Expected>,
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expected {
    pub towers: BTreeMap<String, Option<Tower>>,
    pub before: BTreeMap<String, Vec<String>>,
    pub after: BTreeMap<String, Vec<String>>,
    pub layer: BTreeMap<String, BTreeMap<String, Vec<String>>>,
    pub tie: Option<Tie>,
    #[serde(default)]
    pub also: BTreeMap<String, String>,
}

#[derive(Clone, Deserialize)]
pub struct Tower {
    pub prefix: String,
    pub layers: usize,
    pub keys: Vec<String>,
}

#[derive(Clone, Deserialize)]
pub struct Tie {
    pub name: String,
    pub other: String,
}

/// Name, element type, shape.
pub type List = BTreeMap<String, (String, Vec<usize>)>;

pub struct Case {
    pub name: String,
    pub config: Value,
    pub tensors: List,
    pub expected: Expected,
}

pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/architectures")
}

pub fn cases() -> Vec<Case> {
    let text = std::fs::read_to_string(folder().join("expected.yaml")).unwrap();
    let file: File = serde_yaml::from_str(&text).unwrap();
    let entries = std::fs::read_dir(folder()).unwrap().map(|e| e.unwrap().path());
    let listed: BTreeSet<String> = entries
        .filter(|path| path.is_dir())
        .map(|path| path.file_name().unwrap().to_string_lossy().into_owned())
        .collect();
    assert_eq!(
        listed,
        file.architectures.keys().cloned().collect(),
        "every list has an entry in expected.yaml"
    );
    let case = |(name, expected): (String, Expected)| {
        let read = |file: &str| std::fs::read_to_string(folder().join(&name).join(file)).unwrap();
        let line = |line: &str| {
            let [tensor, dtype, shape] = line.split(' ').collect::<Vec<_>>()[..] else { panic!("{line}") };
            let shape = shape.split('x').map(|n| n.parse().unwrap()).collect();
            (tensor.to_owned(), (dtype.to_owned(), shape))
        };
        let config = serde_json::from_str(&read("config.json")).unwrap();
        let tensors = read("tensors.txt").lines().map(line).collect();
        Case { name, config, tensors, expected }
    };
    file.architectures.into_iter().map(case).collect()
}

impl Case {
    pub fn family(&self) -> Family {
        Family::of(self.config["model_type"].as_str())
    }

    /// A checkpoint of these tensors, all zeros, which take no place on disk.
    pub fn write(&self, folder: &Path, tensors: &List) {
        std::fs::create_dir_all(folder).unwrap();
        std::fs::write(folder.join("config.json"), self.config.to_string()).unwrap();
        let mut at = 0;
        let mut header = serde_json::Map::new();
        for (name, (dtype, shape)) in tensors {
            let size = [("BF16", 2), ("F32", 4), ("I64", 8)].iter().find(|(d, _)| d == dtype).unwrap().1;
            let end = at + size * shape.iter().product::<usize>();
            let entry = json!({"dtype": dtype, "shape": shape, "data_offsets": [at, end]});
            header.insert(name.clone(), entry);
            at = end;
        }
        let text = Value::Object(header).to_string();
        let mut bytes = (text.len() as u64).to_le_bytes().to_vec();
        bytes.extend(text.bytes());
        let path = folder.join("model.safetensors");
        std::fs::write(&path, &bytes).unwrap();
        let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
        file.set_len((bytes.len() + at) as u64).unwrap();
    }

    /// Tensors with other names.
    pub fn renamed(&self, pairs: &BTreeMap<String, String>) -> List {
        let rename = |name: &String| {
            let pair = pairs.iter().find_map(|(from, to)| Some((name.strip_prefix(from.as_str())?, to)));
            pair.map_or(name.clone(), |(rest, to)| format!("{to}{rest}"))
        };
        self.tensors.iter().map(|(name, tensor)| (rename(name), tensor.clone())).collect()
    }

    /// The module and the number of a layer's tensor, by the hand-written prefixes.
    pub fn layer(&self, name: &str) -> Option<(&str, usize, String)> {
        let by_hand = |(module, tower): (&'_ String, &'_ Option<Tower>)| {
            let rest = name.strip_prefix(tower.as_ref()?.prefix.as_str())?;
            let (number, rest) = rest.split_once('.')?;
            Some((module.clone(), number.parse().ok()?, rest.to_owned()))
        };
        let (module, number, rest) = self.expected.towers.iter().find_map(by_hand)?;
        let module = self.expected.towers.keys().find(|m| **m == module)?;
        (!self.loose().contains_key(name)).then_some((module.as_str(), number, rest))
    }

    /// Every tensor that is in no layer: its place and its role.
    pub fn loose(&self) -> BTreeMap<&str, (Position, &str)> {
        let Expected { before, after, .. } = &self.expected;
        let places = [(before, Position::Before), (after, Position::After)];
        let list = places.into_iter().flat_map(|(roles, place)| {
            roles.iter().flat_map(move |(role, names)| {
                names.iter().map(move |n| (n.as_str(), (place, role.as_str())))
            })
        });
        list.collect()
    }

    /// Two models in a folder of their own.
    pub fn world(&self) -> World {
        let dir = tempfile::tempdir().unwrap();
        self.write(&dir.path().join("a"), &self.tensors);
        self.write(&dir.path().join("b"), &self.tensors);
        World(dir)
    }
}

pub struct World(pub tempfile::TempDir);

impl World {
    pub fn path(&self, model: &str) -> String {
        self.0.path().join(model).display().to_string()
    }

    pub fn linear(&self) -> Plan {
        let (a, b) = (self.path("a"), self.path("b"));
        plan(&format!(
            "merge_method: linear\nmodels: [{{model: {a}}}, {{model: {b}}}]\nparameters: {{weight: 0.5}}\n"
        ))
    }
}
