//! `adapter_config.json`.

use serde_json::{Map, Value};

use super::pattern::Patterns;
use crate::checkpoint::Folder;
use crate::problem::{Problem, Problems};

/// Ranks beyond this are slips, or an attack.
const MAX_RANK: u64 = 1 << 16;

/// Which biases were trained beside the updates; the adapter holds them as they are now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Biases {
    /// None.
    Unchanged,
    /// Those of the updated modules.
    OfUpdates,
    /// All of them.
    All,
}

/// What an adapter says of itself.
#[derive(Clone, Debug)]
pub struct Settings {
    rank: usize,
    alpha: f64,
    ranks: Patterns,
    alphas: Patterns,
    rank_stabilised: bool,
    /// Whether rows are brought to trained lengths (DoRA).
    pub dora: bool,
    /// Whether matrices of ambiguous shape are stored input by output.
    pub fan_in_fan_out: bool,
    /// Trained biases.
    pub biases: Biases,
    /// Whether the head was trained as the embedding's own weights.
    pub keeps_tie: bool,
    /// Modules that are stored as a whole (`modules_to_save`).
    pub saved: Vec<String>,
    /// Modules that have updates, by the ends of their paths; empty where that is not said as a list of all.
    pub targets: Vec<String>,
}

/// Keys that make weights of something else than `W + s·B·A`, and what they are about.
const REFUSED: &[(&str, &str)] = &[
    ("target_parameters", "updates of stacked parameters (experts)"),
    ("trainable_token_indices", "updates of single rows of an embedding"),
    ("layer_replication", "copies of layers with updates of their own"),
    ("alora_invocation_tokens", "updates for part of a text only, which no weights can express"),
    ("use_qalora", "pooled inputs (QA-LoRA)"),
    ("use_bdlora", "block-diagonal updates"),
    ("arrow_config", "routing between adapters (Arrow)"),
    ("kasa_config", "KaSA"),
    ("monteclora_config", "MonteCLoRA"),
    ("megatron_config", "Megatron's layers"),
    ("lora_bias", "biases of updates"),
];

/// Keys that matter while training only, that tensors tell better, or that are said elsewhere.
const HARMLESS: &[&str] = &[
    "auto_mapping",
    "base_model_name_or_path",
    "corda_config",
    "eva_config",
    "exclude_modules",
    "inference_mode",
    "layers_pattern",
    "layers_to_transform",
    "loftq_config",
    "lora_dropout",
    "lora_ga_config",
    "megatron_core",
    "modules_to_save",
    "peft_version",
    "qalora_group_size",
    "revision",
    "runtime_config",
    "target_modules",
    "task_type",
    "velora_config",
];

/// Initialisations that move part of the base into the adapter, which then belongs to another base.
const MOVED: &[&str] = &["pissa", "olora", "corda", "loftq", "lora_ga", "lora-ga"];

/// The words of a list; nothing of what is no list, as a pattern.
fn words(value: Option<&Value>) -> Vec<String> {
    let list = value.and_then(Value::as_array).into_iter().flatten();
    list.filter_map(|v| v.as_str().map(str::to_owned)).collect()
}

impl Settings {
    /// Reads them from a folder; warnings go to `warnings`.
    ///
    /// # Errors
    /// Everything in the file that keeps the adapter from being applied.
    pub(super) fn read(folder: &Folder, warnings: &mut Problems) -> Result<Self, Problems> {
        let at = &folder.at("adapter_config.json");
        let bytes = folder.read("adapter_config.json")?.ok_or_else(|| {
            let hint = "rank and scale are read from there; PEFT writes it with `save_pretrained`";
            Problem::error(at, "is not there").hint(hint)
        })?;
        match serde_json::from_slice(&bytes) {
            Ok(Value::Object(map)) => Self::of(&map, at, warnings),
            Ok(_) => Err(Problem::error(at, "is not a JSON object").into()),
            Err(e) => Err(Problem::error(at, format!("is not JSON: {e}")).into()),
        }
    }

    fn of(map: &Map<String, Value>, at: &str, warnings: &mut Problems) -> Result<Self, Problems> {
        match map.get("peft_type").and_then(Value::as_str) {
            Some("LORA") => {}
            Some(other) => {
                let what = format!("peft_type is {other}; only LORA (LoRA, rsLoRA, DoRA) can be applied");
                let hint = "merge it with PEFT's `merge_and_unload`, and name the result";
                return Err(Problem::error(at, what).hint(hint).into());
            }
            None => return Err(Problem::error(at, "has no peft_type").into()),
        }
        let mut reader = Fields { map, at, problems: Problems::new() };
        reader.refuse();
        let settings = Self {
            rank: reader.rank(),
            alpha: reader.number("lora_alpha", 8.0),
            ranks: reader.patterns("rank_pattern"),
            alphas: reader.patterns("alpha_pattern"),
            rank_stabilised: reader.flag("use_rslora"),
            dora: reader.flag("use_dora"),
            fan_in_fan_out: reader.flag("fan_in_fan_out"),
            biases: reader.biases(),
            keeps_tie: reader.flag("ensure_weight_tying"),
            saved: words(map.get("modules_to_save")),
            targets: match ["layers_to_transform", "exclude_modules"]
                .iter()
                .any(|k| means_something(map.get(*k)))
            {
                true => Vec::new(),
                false => words(map.get("target_modules")),
            },
        };
        let problems = reader.problems;
        for key in map.keys().filter(|k| means_something(map.get(*k)) && !is_known(k)) {
            let what = format!("unknown key `{key}` is ignored");
            let hint = "if it changes what the adapter does, merge the adapter with PEFT instead";
            warnings.push(Problem::warning(at, what).hint(hint));
        }
        if problems.has_errors() { Err(problems) } else { Ok(settings) }
    }

    /// The rank of a module's update, by its path.
    pub(super) fn rank_of(&self, module: &str) -> f64 {
        self.ranks.of(module).unwrap_or(self.rank as f64)
    }

    /// What the product of a module's factors is multiplied by: `alpha/r`, or `alpha/√r`; rounded once.
    pub(super) fn scale_of(&self, module: &str) -> f32 {
        let (rank, alpha) = (self.rank_of(module), self.alphas.of(module).unwrap_or(self.alpha));
        let scale = if self.rank_stabilised { alpha / rank.sqrt() } else { alpha / rank };
        scale as f32
    }
}

/// Every key that is read, refused or known to be harmless.
fn is_known(key: &str) -> bool {
    const READ: &[&str] = &[
        "peft_type",
        "r",
        "lora_alpha",
        "rank_pattern",
        "alpha_pattern",
        "use_rslora",
        "use_dora",
        "fan_in_fan_out",
        "bias",
        "init_lora_weights",
        "ensure_weight_tying",
    ];
    READ.contains(&key) || HARMLESS.contains(&key) || REFUSED.iter().any(|(name, _)| *name == key)
}

/// Whether a value asks for anything.
fn means_something(value: Option<&Value>) -> bool {
    match value {
        None | Some(Value::Null | Value::Bool(false)) => false,
        Some(Value::Array(list)) => !list.is_empty(),
        Some(Value::Object(map)) => !map.is_empty(),
        Some(Value::String(text)) => !text.is_empty(),
        Some(Value::Bool(true) | Value::Number(_)) => true,
    }
}

struct Fields<'a> {
    map: &'a Map<String, Value>,
    at: &'a str,
    problems: Problems,
}

impl Fields<'_> {
    fn given(&self, key: &str) -> Option<&Value> {
        self.map.get(key).filter(|v| !v.is_null())
    }

    fn error(&mut self, what: String) {
        self.problems.push(Problem::error(self.at, what));
    }

    fn refuse(&mut self) {
        for (key, about) in REFUSED {
            if means_something(self.map.get(*key)) {
                let what = format!("`{key}` is set: {about} cannot be applied");
                let hint = "merge the adapter with PEFT's `merge_and_unload`, and name the result";
                self.problems.push(Problem::error(self.at, what).hint(hint));
            }
        }
        let initial =
            self.given("init_lora_weights").and_then(Value::as_str).unwrap_or_default().to_lowercase();
        if MOVED.iter().any(|name| initial.starts_with(name)) {
            let what = format!(
                "init_lora_weights is `{initial}`: the adapter belongs to a base that was changed with it"
            );
            let hint = "save it with PEFT's `path_initial_model_for_weight_conversion`, which makes a plain LoRA of it";
            self.problems.push(Problem::error(self.at, what).hint(hint));
        }
    }

    fn rank(&mut self) -> usize {
        match self.given("r").map(Value::as_u64) {
            None => 8,
            Some(Some(rank)) if (1..=MAX_RANK).contains(&rank) => rank as usize,
            Some(_) => {
                self.error(format!("`r` must be a whole number from 1 to {MAX_RANK}"));
                1
            }
        }
    }

    fn number(&mut self, key: &str, otherwise: f64) -> f64 {
        match self.given(key).map(Value::as_f64) {
            None => otherwise,
            Some(Some(x)) => x,
            Some(None) => {
                self.error(format!("`{key}` must be a number"));
                otherwise
            }
        }
    }

    fn flag(&mut self, key: &str) -> bool {
        match self.given(key) {
            None => false,
            Some(Value::Bool(set)) => *set,
            Some(_) => {
                self.error(format!("`{key}` must be true or false"));
                false
            }
        }
    }

    fn patterns(&mut self, key: &str) -> Patterns {
        Patterns::read(self.map.get(key)).unwrap_or_else(|what| {
            self.error(format!("{key}: {what}"));
            Patterns::default()
        })
    }

    fn biases(&mut self) -> Biases {
        match self.given("bias").map(Value::as_str) {
            None | Some(Some("none")) => Biases::Unchanged,
            Some(Some("lora_only")) => Biases::OfUpdates,
            Some(Some("all")) => Biases::All,
            Some(_) => {
                self.error("`bias` must be none, all or lora_only".into());
                Biases::Unchanged
            }
        }
    }
}
