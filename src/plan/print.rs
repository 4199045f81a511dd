//! A plan in words, and as JSON.

use std::fmt::Write;

use serde_json::{Value, json};

use super::{Change, CoefficientFile, Input, Job, Plan, Stage, Work};
use crate::checkpoint::Checkpoint;
use crate::method::{Arg, Args};
use crate::recipe::Grow;

fn values(args: &Args) -> String {
    let show = |value: &Arg| value.describe(|x| format!("{x}"));
    args.iter().map(|(name, value)| format!("{name} {}", show(value))).collect::<Vec<_>>().join(", ")
}

impl Plan {
    /// What the merge does, in a few lines.
    pub fn describe(&self) -> String {
        let mut text = String::new();
        let merged = self.jobs.iter().filter(|j| matches!(j.work, Work::Merge(_))).count();
        let mut types: Vec<&str> = self.jobs.iter().map(|j| j.dtype.name()).collect();
        types.sort_unstable();
        types.dedup();
        let _ = writeln!(text, "{}: {}", self.method.name, self.method.summary);
        for stage in self.stages() {
            let models: Vec<&str> = stage.plan.models().map(Input::name).collect();
            let method = stage.plan.method.name;
            let _ = writeln!(text, "\nstage {}: {method} of {}", stage.name, models.join(", "));
            stage.plan.describe_coefficients(&mut text);
            stage.plan.describe_vocabulary(&mut text);
            stage.plan.describe_left_out(&mut text);
        }
        let _ = writeln!(text, "\nmodels");
        for (i, input) in self.models().enumerate() {
            let role = if self.base == Some(i) { "  (base)" } else { "" };
            let donor = if self.donor == i { "  (gives config and tokenizer)" } else { "" };
            let Stored { tensors, bytes, of_adapters } = stored(input);
            let more =
                if of_adapters > 0 { format!(" (+ {of_adapters} of adapters)") } else { String::new() };
            let made = input.stage().map(made).unwrap_or_default();
            let changes: String = input.changes().into_iter().map(changed).collect();
            let _ = writeln!(
                text,
                "  {}  {tensors} tensors{more}, {:.1} MB{made}{changes}{role}{donor}",
                input.name(),
                bytes as f64 / 1e6,
            );
        }
        for (beside, input) in self.inputs.iter().filter_map(|input| Some((input.beside()?, input))) {
            let Stored { tensors, bytes, .. } = stored(input);
            let (name, words) = (input.name(), beside.kind().words());
            let _ = writeln!(text, "  {name}  {words}, {tensors} tensors, {:.1} MB", bytes as f64 / 1e6);
        }
        if let Some(fetch) = self.to_fetch() {
            let _ = writeln!(text, "  {fetch}");
        }
        self.describe_coefficients(&mut text);
        self.describe_vocabulary(&mut text);
        let _ = writeln!(text, "\noutput");
        let _ = writeln!(
            text,
            "  {} tensors ({merged} merged, {} copied), {} parameters, {}",
            self.jobs.len(),
            self.jobs.len() - merged,
            self.parameters(),
            types.join(" and ")
        );
        let total: u64 = self.layout.shards.iter().map(|s| s.len).sum();
        let files = self.layout.shards.len();
        let plural = if files == 1 { "file" } else { "files" };
        let _ = writeln!(text, "  {files} weight {plural}, {:.1} MB on disk", total as f64 / 1e6);
        let mut names: Vec<&str> = self.config.iter().map(|_| "config.json").collect();
        names.extend(self.companions.iter().map(|c| c.name.as_str()));
        names.extend(["README.md", "recipe.yaml", "growmerge.json"]);
        let _ = writeln!(text, "  {}", names.join(", "));
        let _ = writeln!(text, "  seed {}, plan {}", self.seed, &self.digest[..16.min(self.digest.len())]);
        self.describe_left_out(&mut text);
        text
    }

    fn describe_coefficients(&self, text: &mut String) {
        if !self.coefficient_files.is_empty() {
            let _ = writeln!(text, "\nweights of rows come from");
        }
        for CoefficientFile { path, holds, sha256, .. } in &self.coefficient_files {
            let _ = writeln!(text, "  {path}  {holds}, SHA-256 {}", &sha256[..16.min(sha256.len())]);
        }
    }

    fn describe_vocabulary(&self, text: &mut String) {
        if let Some(vocabulary) = &self.vocabulary {
            let _ = writeln!(text, "\nvocabulary\n  {vocabulary}");
            if !self.unfit.is_empty() {
                let _ = writeln!(text, "  left out, as they do not fit it: {}", self.unfit.join(", "));
            }
        }
    }

    fn describe_left_out(&self, text: &mut String) {
        if self.left_out.is_empty() {
            return;
        }
        let _ = writeln!(text, "\nleft out: {} input tensors", self.left_out.len());
        let mut reasons: Vec<(&str, &str)> =
            self.left_out.iter().map(|l| (l.model.as_str(), l.why.as_str())).collect();
        reasons.sort_unstable();
        while let Some(reason) = reasons.first().copied() {
            let count = reasons.iter().filter(|r| **r == reason).count();
            let _ = writeln!(text, "  {count} of {}: {}", reason.0, reason.1);
            reasons.retain(|r| *r != reason);
        }
    }

    /// Every tensor with its sources and resolved parameters.
    pub fn describe_tensors(&self) -> String {
        let mut text = String::from("\ntensors\n");
        for job in &self.jobs {
            let _ = writeln!(
                text,
                "  {}  {} {:?}  {} {}",
                job.name,
                job.dtype.name(),
                job.shape,
                work(self, job),
                values(&job.global)
            );
            for (i, source) in job.sources().enumerate() {
                let name = source.origin_name(&self.inputs);
                let renamed = if name == job.name { String::new() } else { format!(" {name}") };
                let view = self.inputs[source.input].describe(source.tensor);
                let view = view.map_or(String::new(), |view| format!("  ({view})"));
                let role = match self.inputs[source.input].beside() {
                    Some(beside) => beside.kind().words(),
                    None if job.base == Some(source) => "base",
                    None => "",
                };
                let args = job.per_model.get(i).map_or_else(|| role.to_owned(), values);
                let _ = writeln!(text, "    {}{renamed}{view}  {args}", self.inputs[source.input].name());
            }
        }
        for left in &self.left_out {
            let _ = writeln!(text, "  left out: {} of {}: {}", left.tensor, left.model, left.why);
        }
        text
    }

    /// The plan as JSON; with every tensor if asked.
    pub fn summary(&self, tensors: bool) -> Value {
        let models: Vec<Value> = self
            .inputs
            .iter()
            .enumerate()
            .map(|(i, input)| {
                let Stored { tensors, bytes, of_adapters } = stored(input);
                let mut model = json!({
                    "model": input.name(), "base": self.base == Some(i), "donor": self.donor == i,
                    "tensors": tensors, "bytes": bytes,
                });
                if let Some(stage) = input.stage() {
                    model["made_by"] = json!({ "method": stage.plan.method.name, "plan": stage.plan.digest });
                }
                if of_adapters > 0 {
                    model["adapter_tensors"] = json!(of_adapters);
                }
                if let Some(grow) = input.grow() {
                    model["grow"] = json!(grow);
                }
                if let Some(beside) = input.beside() {
                    model["holds"] = json!(beside.kind().words());
                }
                model
            })
            .collect();
        let shards: Vec<Value> =
            self.layout.shards.iter().map(|s| json!({ "file": s.file, "bytes": s.len })).collect();
        let mut summary = json!({
            "method": self.method.name, "seed": self.seed, "digest": self.digest,
            "models": models, "shards": shards, "parameters": self.parameters(), "bytes": self.output_bytes(),
            "to_fetch": self.to_fetch(),
            "companions": self.companions.iter().map(|c| &c.name).collect::<Vec<_>>(),
            "left_out": self.left_out, "problems": self.warnings,
        });
        if let Some(vocabulary) = &self.vocabulary {
            summary["vocabulary"] = json!(vocabulary);
        }
        if !self.coefficient_files.is_empty() {
            summary["coefficients"] = json!(self.coefficient_files);
        }
        if let (true, Some(map)) = (tensors, summary.as_object_mut()) {
            map.insert("tensors".into(), self.jobs.iter().map(|j| tensor(self, j)).collect());
        }
        summary
    }
}

/// What there is of a model before it is changed.
struct Stored {
    /// Stored ones, or those that a stage makes.
    tensors: usize,
    /// What is read: of weight files, those of adapters among them.
    bytes: u64,
    of_adapters: usize,
}

fn stored(input: &Input) -> Stored {
    let count = |of: Vec<&Checkpoint>| of.iter().map(|c| c.tensors().len()).sum::<usize>();
    let (all, own) = (count(input.checkpoints()), count(input.own_checkpoints()));
    let files = input.files().map(|f| f.len).sum::<u64>();
    let of_adapters = all - own;
    match input.stage() {
        Some(stage) => {
            let tensors = stage.plan.jobs.len();
            Stored { tensors, bytes: stage.plan.output_bytes() + files, of_adapters }
        }
        None => Stored { tensors: own, bytes: files, of_adapters },
    }
}

fn made(stage: &Stage) -> String {
    format!(", made by {} while it is read", stage.plan.method.name)
}

fn changed(change: &Change) -> String {
    match change {
        Change::Grown(grow) => grown(grow),
        Change::Dequantised(count) => format!(", {count} of them in 8-bit floats"),
        Change::Adapted(adapted) => format!(", {adapted}"),
        // Said below, for all models.
        Change::Rows => String::new(),
    }
}

/// As in `, grown 2x (intermediate 3x, noise at 10 dB with seed 1, head untied)`.
fn grown(grow: &Grow) -> String {
    let mut more = Vec::new();
    if grow.intermediate != grow.width {
        more.push(format!("intermediate {}x", grow.intermediate));
    }
    more.extend(grow.noise.map(|n| format!("noise at {} dB with seed {}", n.snr.0, n.seed)));
    more.extend(grow.head.map(|head| format!("head {}", head.word())));
    more.extend(grow.factor.map(|factor| format!("factor {}", factor.0)));
    let more = if more.is_empty() { String::new() } else { format!(" ({})", more.join(", ")) };
    format!(", grown {}x{more}", grow.width)
}

fn work(plan: &Plan, job: &Job) -> &'static str {
    match job.work {
        Work::Copy(_) => "copy",
        Work::Merge(_) => plan.method.name,
    }
}

fn tensor(plan: &Plan, job: &Job) -> Value {
    let sources: Vec<Value> = job
        .sources()
        .enumerate()
        .map(|(i, source)| {
            let mut of = json!({
                "model": plan.inputs[source.input].name(), "tensor": source.origin_name(&plan.inputs),
                "base": job.base == Some(source), "parameters": job.per_model.get(i),
            });
            if let Some(view) = plan.inputs[source.input].describe(source.tensor) {
                of["view"] = json!(view);
            }
            of
        })
        .collect();
    json!({
        "name": job.name, "dtype": job.dtype.name(), "shape": job.shape, "method": work(plan, job),
        "parameters": job.global, "sources": sources,
    })
}
