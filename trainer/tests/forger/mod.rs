//! What tests of studies have in place of a workshop and of training texts.
#![allow(dead_code, reason = "every test file uses a part of it")]

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use growmerge::problem::Error;
use growmerge_trainer::reproduce::{About, Maker, Texts, Widening};
use growmerge_trainer::train::config::{Run, Start};

pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Makes models by moving the weights of others a little, by the run's seed: as different as trained ones, at once.
#[derive(Default)]
pub(crate) struct Forger {
    pub(crate) made: RefCell<Vec<String>>,
    pub(crate) runs: RefCell<Vec<Run>>,
    /// Sets the flag when so many models are made.
    pub(crate) stop: Option<(usize, &'static AtomicBool)>,
}

impl Forger {
    fn forge(&self, from: &Path, seed: u64, out: &Path) {
        std::fs::create_dir_all(out).unwrap();
        for name in ["config.json", "tokenizer.json", "tokenizer_config.json"] {
            std::fs::copy(from.join(name), out.join(name)).unwrap();
        }
        let mut bytes = std::fs::read(from.join("model.safetensors")).unwrap();
        let header = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        // bf16: the lowest bits of the fraction.
        for (i, pair) in bytes[header..].chunks_exact_mut(2).enumerate() {
            let mixed = (i as u64 + 1).wrapping_mul(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1) >> 40;
            pair[0] ^= (mixed & 7) as u8;
        }
        std::fs::write(out.join("model.safetensors"), bytes).unwrap();
        let mut made = self.made.borrow_mut();
        made.push(out.file_name().unwrap().to_string_lossy().into_owned());
        if let Some((count, flag)) = self.stop
            && made.len() == count
        {
            flag.store(true, Ordering::Relaxed);
        }
    }
}

impl Maker for Forger {
    fn tokenizer(&self, texts: &[(&str, &Path)], vocab: u64, out: &Path) -> Result<(), Error> {
        assert_eq!((texts.len(), vocab), (6, 2048));
        std::fs::create_dir_all(out).unwrap();
        for name in ["tokenizer.json", "tokenizer_config.json"] {
            std::fs::copy(root().join("recipes/quickstart/en").join(name), out.join(name)).unwrap();
        }
        self.made.borrow_mut().push("tokenizer".into());
        Ok(())
    }

    fn train(&self, run: &Run, out: &Path) -> Result<(), Error> {
        let start = match &run.start {
            Start::Checkpoint(folder) => folder.clone(),
            Start::Scratch(_) => root().join("recipes/quickstart/en"),
        };
        for step in &run.checkpoints.keep {
            self.forge(&start, run.seed + step, &out.join(format!("step-{step}")));
        }
        self.forge(&start, run.seed, out);
        self.runs.borrow_mut().push(run.clone());
        Ok(())
    }

    fn grow(&self, from: &Path, growth: &Widening, out: &Path) -> Result<(), Error> {
        assert_eq!((growth.width, growth.noise_snr), (2, growth.noise_snr.and(Some(10.0))));
        self.forge(from, growth.seed + 7, out);
        Ok(())
    }
}

/// As if a user had asked.
pub(crate) fn about() -> About {
    About {
        command: "a test".into(),
        version: env!("CARGO_PKG_VERSION"),
        commit: None,
        date: "today".into(),
        machine: "any".into(),
        seconds: 0.0,
    }
}

/// The quickstart's texts, whatever they are for.
pub(crate) fn corpus(folder: &Path) -> Texts {
    for language in ["en", "et", "fo", "is", "fa", "sv"] {
        let text = std::fs::read(root().join(format!("recipes/quickstart/texts/{language}.txt"))).unwrap();
        std::fs::create_dir_all(folder.join(language)).unwrap();
        for part in ["train", "valid", "test"] {
            std::fs::write(folder.join(language).join(format!("{part}.txt")), &text).unwrap();
        }
    }
    Texts::open(folder).unwrap()
}
