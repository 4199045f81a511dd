//! The maker that a study has on a machine: this crate's own tokenizer, training and growing.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use growmerge::problem::Error;
use growmerge::recipe::{Amount, Grow, HeadForm, NoiseWords};
use growmerge::write::{Existing, Sync};

use super::Quiet;
use super::maker::{Maker, Widening};
use crate::train::config::Run;
use crate::train::{self, Unfinished};
use crate::{grow, tokenizer};

/// Makes everything itself.
pub struct Workshop<'a> {
    /// Worker threads, at least 1; no number depends on them.
    pub threads: usize,
    /// Set from outside to stop after a step.
    pub cancel: &'a AtomicBool,
    /// Where tokenized texts are kept for all runs.
    pub shards: &'a Path,
    /// Is told how each run goes.
    pub watch: &'a dyn train::Watch,
}

impl Maker for Workshop<'_> {
    fn tokenizer(&self, texts: &[(&str, &Path)], vocab: u64, out: &Path) -> Result<(), Error> {
        let texts: Vec<(String, Vec<PathBuf>)> =
            texts.iter().map(|(l, path)| ((*l).to_owned(), vec![path.to_path_buf()])).collect();
        tokenizer::train(&texts, vocab as usize, None)?.save(out)
    }

    fn train(&self, run: &Run, out: &Path) -> Result<(), Error> {
        let options = train::Options {
            threads: self.threads,
            unfinished: Unfinished::Continue,
            cancel: self.cancel,
            shards: Some(self.shards),
        };
        train::run(run, out, &options, self.watch).map(drop)
    }

    /// The head is divided by the width as in the paper's models, not in the final norm: so logits, and with them the
    /// sizes of gradients, are what they were there.
    fn grow(&self, from: &Path, growth: &Widening, out: &Path) -> Result<(), Error> {
        let width = growth.width as usize;
        let noise = growth.noise_snr.map(|snr| NoiseWords { snr: Amount(snr), seed: growth.seed });
        let words = Grow { width, intermediate: width, noise, head: Some(HeadForm::Factor), factor: None };
        let options = grow::Options {
            existing: Existing::Refuse,
            sync: Sync::System,
            threads: self.threads,
            cancel: self.cancel,
        };
        let recipe = grow::recipe(&from.to_string_lossy(), &words, None);
        grow::write(&recipe, out, &options, &Quiet).map(drop)
    }
}
