//! Files of coefficients: for each model numbers for tensors, for their rows and for their columns.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::open::{Opened, open};
use crate::checkpoint::{DType, Saved, TensorInfo, save};
use crate::problem::{ExecError, Problem, Problems};

/// What the metadata must say.
const FORMAT: &str = "growmerge coefficients 1";
const HINT: &str = "`growmerge tune` makes files of coefficients; docs/weights.md describes them";
/// The last part of the name of factors for columns.
const COLUMNS: &str = "columns";
/// The name that stands for every tensor.
const ANY: &str = "*";

/// A name in a file: `<entry>/<tensor>`, `<tensor>` or either with `/columns` behind it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// Label of the model; empty if the file is for one.
    pub entry: String,
    /// A tensor, the beginning of its name up to a dot, or `*`.
    pub tensor: String,
}

impl Key {
    /// Takes a name apart; the second part says whether it is of columns.
    fn parse(name: &str) -> Option<(Self, bool)> {
        let parts: Vec<&str> = name.split('/').collect();
        let (entry, tensor, columns) = match parts[..] {
            [tensor] => ("", tensor, false),
            [tensor, COLUMNS] => ("", tensor, true),
            [entry, tensor] => (entry, tensor, false),
            [entry, tensor, COLUMNS] => (entry, tensor, true),
            _ => return None,
        };
        (!tensor.is_empty()).then(|| (Self { entry: entry.into(), tensor: tensor.into() }, columns))
    }

    fn name(&self) -> String {
        if self.entry.is_empty() { self.tensor.clone() } else { format!("{}/{}", self.entry, self.tensor) }
    }
}

/// Coefficients of a tensor, as they are in a file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Coefficient {
    /// One for each row, or one for all; none if there are only factors for columns.
    pub rows: Vec<f32>,
    /// A factor for each column; none if all are one.
    pub columns: Vec<f32>,
}

/// A file of coefficients. All of its numbers are finite.
#[derive(Debug)]
pub struct Coefficients {
    name: String,
    all: BTreeMap<Key, Coefficient>,
    /// SHA-256 of the file, in hex.
    pub sha256: String,
    /// Bytes of the file.
    pub bytes: u64,
}

impl Coefficients {
    /// Reads a file.
    ///
    /// # Errors
    /// If it is not there, is something else, or has numbers that are none.
    pub fn open(path: &Path) -> Result<Self, Problems> {
        let name = path.display().to_string();
        let Opened { tensors, sha256, bytes, .. } = open(path, FORMAT, HINT)?;
        let (mut all, mut problems) = (BTreeMap::<Key, Coefficient>::new(), Problems::new());
        for tensor in tensors.tensors() {
            let Some((key, of_columns)) = Key::parse(&tensor.name) else {
                let what = format!("`{}` is no name of coefficients", tensor.name);
                problems.push(Problem::error(&name, what).hint("names are <entry>/<tensor>"));
                continue;
            };
            match values(tensor, tensors.bytes(tensor)) {
                Ok(values) => {
                    let entry = all.entry(key).or_default();
                    *(if of_columns { &mut entry.columns } else { &mut entry.rows }) = values;
                }
                Err(what) => {
                    problems.push(Problem::error(&name, format!("`{}` {what}", tensor.name)).hint(HINT))
                }
            }
        }
        if all.is_empty() && !problems.has_errors() {
            problems.push(Problem::error(&name, "there are no coefficients in it").hint(HINT));
        }
        if problems.has_errors() { Err(problems) } else { Ok(Self { name, all, sha256, bytes }) }
    }

    /// The file as it was named.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Labels of models, sorted; an empty one for coefficients without.
    pub fn entries(&self) -> Vec<&str> {
        let entries: BTreeSet<&str> = self.all.keys().map(|key| key.entry.as_str()).collect();
        entries.into_iter().collect()
    }

    /// Names of an entry's coefficients.
    pub fn tensors<'a>(&'a self, entry: &'a str) -> impl Iterator<Item = &'a str> {
        self.all.keys().filter(move |key| key.entry == entry).map(|key| key.tensor.as_str())
    }

    /// Names of an entry's coefficients that can be meant for none of these tensors.
    pub fn strangers<'a>(&'a self, entry: &'a str, tensors: &[&str]) -> Vec<&'a str> {
        self.tensors(entry).filter(|name| !tensors.iter().any(|tensor| is_for(name, tensor))).collect()
    }

    /// What an entry has for a tensor: under its name, else under the longest beginning of it that ends before a
    /// dot, else under `*`; and under which name.
    pub fn find(&self, entry: &str, tensor: &str) -> Option<(&str, &Coefficient)> {
        let dots = tensor.rmatch_indices('.').map(|(at, _)| &tensor[..at]);
        let names = std::iter::once(tensor).chain(dots).chain([ANY]);
        names.into_iter().find_map(|name| {
            let key = Key { entry: entry.into(), tensor: name.into() };
            self.all.get_key_value(&key).map(|(key, found)| (key.tensor.as_str(), found))
        })
    }
}

/// Whether a name in a file can be meant for a tensor.
fn is_for(name: &str, tensor: &str) -> bool {
    let rest = || tensor.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
    name == ANY || rest()
}

fn values(tensor: &TensorInfo, bytes: &[u8]) -> Result<Vec<f32>, String> {
    if tensor.dtype != DType::F32 || tensor.shape.len() > 1 {
        return Err(format!("is {} {:?}, not a number or a list of F32", tensor.dtype.name(), tensor.shape));
    }
    let values: Vec<f32> = bytes.as_chunks::<4>().0.iter().map(|x| f32::from_le_bytes(*x)).collect();
    match values.iter().position(|x| !x.is_finite()) {
        Some(at) => Err(format!("has {} at {at}", values[at])),
        None if values.is_empty() => Err("is empty".into()),
        None => Ok(values),
    }
}

/// Coefficients to write.
#[derive(Clone, Debug)]
pub struct Written<'a> {
    /// Of what.
    pub key: Key,
    /// One for each row, or one for all.
    pub rows: &'a [f32],
    /// A factor for each column; empty if there are none.
    pub columns: &'a [f32],
}

/// Writes a file of coefficients, with what else is to be known of it in its metadata.
///
/// # Errors
/// What the system says.
pub fn write(path: &Path, metadata: &[(&str, String)], all: &[Written<'_>]) -> Result<(), ExecError> {
    let metadata: Vec<(&str, String)> =
        [("format", FORMAT.to_owned())].into_iter().chain(metadata.iter().cloned()).collect();
    let mut tensors = Vec::new();
    for Written { key, rows, columns } in all {
        let name = key.name();
        tensors.extend(
            (!columns.is_empty())
                .then(|| Saved::f32s(format!("{name}/{COLUMNS}"), &[columns.len()], columns)),
        );
        tensors.extend((!rows.is_empty()).then(|| Saved::f32s(name, &[rows.len()], rows)));
    }
    save(path, &metadata, &tensors)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(fill: impl FnOnce(&Path)) -> Result<Coefficients, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c.safetensors");
        fill(&path);
        Coefficients::open(&path).map_err(|p| p.to_string())
    }

    fn key(entry: &str, tensor: &str) -> Key {
        Key { entry: entry.into(), tensor: tensor.into() }
    }

    #[test]
    fn the_longest_name_counts() {
        let of = |entry, tensor, rows| Written { key: key(entry, tensor), rows, columns: &[] };
        let all = [
            of("et", "*", &[1.0]),
            of("et", "model.layers.1", &[2.0]),
            of("et", "model.layers.1.mlp.up.weight", &[3.0, 4.0]),
            Written { key: key("", "model.norm"), rows: &[5.0], columns: &[6.0, 7.0] },
            Written { key: key("fo", "x"), rows: &[], columns: &[8.0] },
        ];
        let read = file(|path| write(path, &[("by", "hand".into())], &all).unwrap()).unwrap();
        assert_eq!(read.entries(), ["", "et", "fo"]);
        assert_eq!(
            read.tensors("et").collect::<Vec<_>>(),
            ["*", "model.layers.1", "model.layers.1.mlp.up.weight"]
        );
        let found = |entry, tensor| read.find(entry, tensor).map(|(name, c)| (name, c.rows.clone()));
        assert_eq!(found("et", "model.layers.1.mlp.up.weight").unwrap().1, [3.0, 4.0]);
        assert_eq!(found("et", "model.layers.1.mlp.up"), Some(("model.layers.1", vec![2.0])));
        assert_eq!(found("et", "model.layers.10.mlp"), Some(("*", vec![1.0])));
        assert_eq!(found("", "model.norm.weight").unwrap().0, "model.norm");
        assert_eq!(found("", "model.normal"), None);
        assert_eq!(read.find("", "model.norm").unwrap().1.columns, [6.0, 7.0]);
        assert_eq!(read.find("fo", "x").unwrap().1, &Coefficient { rows: vec![], columns: vec![8.0] });
        assert_eq!(
            read.strangers("et", &["model.layers.10.x", "y"]),
            ["model.layers.1", "model.layers.1.mlp.up.weight"]
        );
        assert!(is_for("*", "y") && is_for("a.b", "a.b.c") && !is_for("a.b", "a.bc"));
    }

    #[test]
    fn odd_files_are_named() {
        let saved = |name: &str, shape: &[usize], values: &[f32]| {
            file(|path| {
                save(path, &[("format", FORMAT.into())], &[Saved::f32s(name, shape, values)]).unwrap()
            })
            .unwrap_err()
        };
        for (told, wanted) in [
            (saved("et/x", &[2], &[1.0, f32::NAN]), "`et/x` has NaN at 1"),
            (saved("et/x", &[1, 1], &[1.0]), "`et/x` is F32 [1, 1], not a number or a list of F32"),
            (saved("et/x", &[0], &[]), "`et/x` is empty"),
            (saved("et/x/y", &[1], &[1.0]), "`et/x/y` is no name of coefficients"),
            (file(|path| write(path, &[], &[]).unwrap()).unwrap_err(), "there are no coefficients in it"),
        ] {
            assert!(told.contains(wanted), "{told}");
        }
    }
}
