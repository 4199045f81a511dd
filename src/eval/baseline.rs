//! An evaluation that was kept: its file, what can be held against it, and what cannot.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::run::{Evaluation, Language, Rules};
use super::statistics::ratio;
use super::text::Text;
use super::verdict::{Tolerance, Tolerances};
use crate::problem::{Error, ExecError, Problem, Problems};

/// One language of a baseline.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kept {
    /// Of the text, as [`super::Text::sha256`].
    pub text_sha256: String,
    /// For the reader; follows from what is below.
    pub bits_per_byte: f64,
    /// How much worse it may become, if it has a tolerance of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tolerance: Option<Tolerance>,
    /// Of each unit.
    pub nats: Vec<f64>,
    /// Scored tokens of each unit.
    pub tokens: Vec<usize>,
    /// Bytes of each unit.
    pub bytes: Vec<usize>,
}

/// A kept evaluation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Baseline {
    /// Version of growmerge that measured it.
    pub growmerge: String,
    /// What was measured: a recipe's or a model's name, without its folder.
    pub subject: String,
    /// Of the weights; see [`super::Model::digest`].
    pub weights_sha256: String,
    /// Of `tokenizer.json`.
    pub tokenizer_sha256: String,
    /// What texts began with.
    pub start: Option<String>,
    /// How it was measured.
    pub rules: Rules,
    /// How much worse a language without a tolerance of its own may become.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tolerance: Option<Tolerance>,
    /// By name.
    pub languages: BTreeMap<String, Kept>,
}

/// Nats as they are kept: a ten-thousandth is far below what any comparison shows.
pub(super) fn rounded(nats: f64) -> f64 {
    (nats * 1e4).round() / 1e4
}

impl Baseline {
    /// Keeps an evaluation under a name, with its tolerances; those that `earlier` had stay.
    pub fn keep(
        evaluation: &Evaluation,
        subject: &str,
        tolerances: &Tolerances,
        earlier: Option<&Self>,
    ) -> Self {
        let kept = |l: &Language| {
            let units = &l.measured.units;
            let old = earlier.and_then(|e| e.languages.get(&l.language)?.tolerance);
            Kept {
                text_sha256: l.text_sha256.clone(),
                bits_per_byte: rounded(l.measured.bits_per_byte().value),
                tolerance: tolerances.each.get(&l.language).copied().or(old),
                nats: units.iter().map(|u| rounded(u.nats)).collect(),
                tokens: units.iter().map(|u| u.tokens).collect(),
                bytes: units.iter().map(|u| u.bytes).collect(),
            }
        };
        Self {
            growmerge: env!("CARGO_PKG_VERSION").into(),
            subject: subject.into(),
            weights_sha256: evaluation.digest.clone(),
            tokenizer_sha256: evaluation.tokenizer_sha256.clone(),
            start: evaluation.start.clone(),
            rules: evaluation.rules.clone(),
            tolerance: tolerances.all.or(earlier.and_then(|e| e.tolerance)),
            languages: evaluation.languages.iter().map(|l| (l.language.clone(), kept(l))).collect(),
        }
    }

    /// Reads a baseline file.
    ///
    /// # Errors
    /// If it is not there or no baseline.
    pub fn read(path: &Path) -> Result<Self, Problems> {
        let name = path.display().to_string();
        let bytes = std::fs::read(path).map_err(|e| {
            let problem = Problem::error(&name, format!("cannot read: {e}"));
            problem.hint("--update writes it")
        })?;
        let baseline: Self = serde_json::from_slice(&bytes)
            .map_err(|e| Problem::error(&name, format!("is not a baseline: {e}")))?;
        if let Some(what) = baseline.damage() {
            let problem = Problem::error(name, format!("is damaged: {what}"));
            return Err(problem.hint("remove the file and write it anew with --update").into());
        }
        Ok(baseline)
    }

    /// What in it can be no evaluation's.
    fn damage(&self) -> Option<String> {
        let Rules { context, stride, .. } = self.rules;
        if !Rules::CONTEXTS.contains(&context) || !(1..=context).contains(&stride) {
            return Some(format!("windows of {context} tokens, {stride} apart"));
        }
        if self.subject.chars().any(char::is_control) {
            return Some("its subject is no name".into());
        }
        let sound = |t: Option<Tolerance>| t.is_none_or(Tolerance::is_sound);
        if !sound(self.tolerance) {
            return Some("its tolerance is no amount".into());
        }
        let bad = |(language, kept): (&String, &Kept)| {
            let n = kept.nats.len();
            let lengths = n > 0 && kept.tokens.len() == n && kept.bytes.len() == n;
            // Losses are never below zero, but for rounding.
            let numbers = kept.nats.iter().all(|x| x.is_finite() && *x > -1.0);
            let bits = ratio(&kept.bits()).value;
            let follows = bits.is_finite() && (bits - kept.bits_per_byte).abs() <= 1e-4 + 1e-3 * bits.abs();
            let good = lengths && numbers && follows && sound(kept.tolerance);
            (!good).then(|| format!("the numbers of `{language}` contradict each other"))
        };
        self.languages.iter().find_map(bad)
    }

    /// Writes a baseline file.
    ///
    /// # Errors
    /// [`ExecError::Io`].
    pub fn write(&self, path: &Path) -> Result<(), Error> {
        let json = serde_json::to_value(self).unwrap_or_default();
        let mut text = String::new();
        layout(&json, 0, &mut text);
        text.push('\n');
        std::fs::write(path, text).map_err(ExecError::io("write", path))?;
        Ok(())
    }

    /// Whether it can be held against `subject`, measured by `rules` on `texts`: all that can be told before
    /// measuring. `at` is the baseline's path, for messages.
    ///
    /// # Errors
    /// Every difference.
    pub fn expects(&self, subject: &str, rules: &Rules, texts: &[Text], at: &str) -> Result<(), Problems> {
        let mut problems = Problems::new();
        if self.subject != subject {
            let what = format!("is of `{}`, not of `{subject}`", self.subject);
            let hint = format!("--name {} if it is the same under another name", self.subject);
            problems.push(Problem::error(at, what).hint(hint));
        }
        if self.rules != *rules {
            let (then, now) = (self.rules.asked_for(), rules.asked_for());
            let what = format!("was measured otherwise\n  then: {then}\n  now:  {now}");
            problems.push(Problem::error(at, what).hint("use the same options, or --update"));
        }
        for text in texts {
            let name = &text.language;
            match self.languages.get(name) {
                None => {
                    let what = format!("does not know `{name}`");
                    problems.push(Problem::error(at, what).hint("--update adds it"));
                }
                Some(kept) if kept.text_sha256 != text.sha256() => {
                    let what = format!("was measured on another text of `{name}`");
                    problems.push(Problem::error(at, what).hint("take the same text, or --update"));
                }
                Some(_) => {}
            }
        }
        let given = |name: &String| texts.iter().any(|t| t.language == *name);
        for name in self.languages.keys().filter(|n| !given(n)) {
            let what = format!("knows `{name}`, of which there is no text now");
            problems.push(Problem::error(at, what).hint("take its text too, or --update"));
        }
        if problems.has_errors() { Err(problems) } else { Ok(()) }
    }

    /// Whether an evaluation of what it [`expects`](Self::expects) scored the same pieces of text: another
    /// tokenizer may begin texts otherwise, or make other windows.
    ///
    /// # Errors
    /// Every difference.
    pub fn fits(&self, evaluation: &Evaluation, at: &str) -> Result<(), Problems> {
        let mut problems = Problems::new();
        if self.start != evaluation.start {
            let show = |start: &Option<String>| start.clone().map_or("nothing".into(), |s| format!("`{s}`"));
            let (then, now) = (show(&self.start), show(&evaluation.start));
            let what = format!("was measured on texts that begin with {then}, now they begin with {now}");
            problems.push(Problem::error(at, what).hint("choose what they begin with by --bos, or --update"));
        }
        for language in &evaluation.languages {
            let Some(kept) = self.languages.get(&language.language) else { continue };
            let bytes = language.measured.units.iter().map(|u| u.bytes);
            if !bytes.eq(kept.bytes.iter().copied()) {
                let what = format!("scored other pieces of the text of `{}`", language.language);
                let hint = "another tokenizer makes other windows; measure documents instead of joined text";
                problems.push(Problem::error(at, what).hint(hint));
            }
        }
        if problems.has_errors() { Err(problems) } else { Ok(()) }
    }
}

impl Kept {
    /// Bits and bytes of each unit.
    pub(super) fn bits(&self) -> Vec<(f64, f64)> {
        let sums = self.nats.iter().zip(&self.bytes).map(|(n, b)| (n / std::f64::consts::LN_2, *b as f64));
        sums.collect()
    }
}

/// JSON with lists on one line, so that a change of a language is a change of a few lines.
fn layout(value: &serde_json::Value, depth: usize, text: &mut String) {
    let Some(map) = value.as_object() else {
        text.push_str(&value.to_string());
        return;
    };
    text.push('{');
    for (i, (key, value)) in map.iter().enumerate() {
        text.push_str(if i == 0 { "\n" } else { ",\n" });
        text.push_str(&"  ".repeat(depth + 1));
        text.push_str(&serde_json::Value::from(key.as_str()).to_string());
        text.push_str(": ");
        layout(value, depth + 1, text);
    }
    text.push('\n');
    text.push_str(&"  ".repeat(depth));
    text.push('}');
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::eval::{Measured, Split, Start, Sums, Unit};

    pub(in crate::eval) fn evaluation(nats: &[f64]) -> Evaluation {
        let units = nats.iter().map(|n| Sums { nats: *n, tokens: 3, bytes: 10 }).collect();
        let language = Language {
            language: "fo".into(),
            documents: nats.len(),
            skipped: 0,
            text_sha256: "t".into(),
            unit: Unit::Document,
            measured: Measured { units, seconds: 1.0 },
            tokens_per_second: 1.0,
        };
        let rules =
            Rules { unit: Unit::Document, split: Split::Line, context: 64, stride: 32, start: Start::Auto };
        Evaluation {
            model: "m".into(),
            digest: "d".into(),
            tokenizer_sha256: "k".into(),
            start: None,
            rules,
            languages: vec![language],
            pairs: Vec::new(),
        }
    }

    #[test]
    fn a_file_holds_what_was_kept() {
        let tolerances =
            Tolerances { all: None, each: [("fo".into(), Tolerance::Relative(0.03))].into_iter().collect() };
        let baseline = Baseline::keep(&evaluation(&[10.123_456_789, 3.0]), "m", &tolerances, None);
        let file = tempfile::NamedTempFile::new().unwrap();
        baseline.write(file.path()).unwrap();
        assert_eq!(Baseline::read(file.path()).unwrap(), baseline);
        let text = std::fs::read_to_string(file.path()).unwrap();
        assert!(text.contains("\"nats\": [10.1235,3.0]"), "{text}");
        let again = Baseline::keep(&evaluation(&[1.0, 2.0]), "m", &Tolerances::default(), Some(&baseline));
        assert_eq!(again.languages["fo"].tolerance, Some(Tolerance::Relative(0.03)), "tolerances stay");
    }

    #[test]
    fn other_rules_texts_and_subjects_are_refused() {
        let text = |language: &str, document: &str| Text {
            language: language.into(),
            path: "t.txt".into(),
            documents: vec![document.into()],
        };
        let mut first = evaluation(&[1.0, 2.0]);
        first.languages[0].text_sha256 = text("fo", "a").sha256();
        let baseline = Baseline::keep(&first, "m", &Tolerances::default(), None);
        let told = |subject: &str, rules: &Rules, texts: &[Text]| {
            baseline.expects(subject, rules, texts, "b.json").err().map(|p| p.to_string()).unwrap_or_default()
        };
        let (rules, fo) = (&first.rules, [text("fo", "a")]);
        assert_eq!(told("m", rules, &fo), "");
        assert!(told("other", rules, &fo).contains("is of `m`, not of `other`"));
        assert!(told("m", &Rules { stride: 16, ..rules.clone() }, &fo).contains("32 apart"));
        assert!(told("m", rules, &[text("fo", "b")]).contains("another text of `fo`"));
        assert!(told("m", rules, &[text("is", "a")]).contains("does not know `is`"));
        assert!(told("m", rules, &[]).contains("knows `fo`"));

        let fits = |change: &dyn Fn(&mut Evaluation)| {
            let mut now = evaluation(&[1.0, 2.0]);
            change(&mut now);
            baseline.fits(&now, "b.json").err().map(|p| p.to_string()).unwrap_or_default()
        };
        assert_eq!(fits(&|_| {}), "");
        assert!(fits(&|e| e.start = Some("<s>".into())).contains("now they begin with `<s>`"));
        assert!(fits(&|e| e.languages[0].measured.units.truncate(1)).contains("other pieces"));
        assert!(fits(&|e| e.languages[0].measured.units[1].bytes = 9).contains("other pieces"));
    }

    #[test]
    fn what_no_evaluation_wrote_is_damaged() {
        let damage = |change: &dyn Fn(&mut Baseline)| {
            let mut baseline = Baseline::keep(&evaluation(&[10.0, 20.0]), "m", &Tolerances::default(), None);
            change(&mut baseline);
            baseline.damage().unwrap_or_default()
        };
        fn fo(b: &mut Baseline) -> &mut Kept {
            b.languages.get_mut("fo").unwrap()
        }
        assert_eq!(damage(&|_| {}), "");
        assert!(damage(&|b| b.rules.stride = 0).contains("0 apart"));
        assert!(damage(&|b| b.rules.context = usize::MAX).contains("windows of"));
        assert!(damage(&|b| b.subject = "a\nb".into()).contains("no name"));
        assert!(damage(&|b| b.tolerance = Some(Tolerance::Relative(-1.0))).contains("no amount"));
        let changes: [&dyn Fn(&mut Kept); 7] = [
            &|k| k.nats.clear(),
            &|k| k.nats[0] = 1e308,
            &|k| k.nats[0] = -5.0,
            &|k| k.nats[0] *= 2.0,
            &|k| k.bytes = vec![0, 0],
            &|k| k.tokens.truncate(1),
            &|k| k.tolerance = Some(Tolerance::BitsPerByte(f64::NAN)),
        ];
        for change in changes {
            assert!(damage(&|b| change(fo(b))).contains("contradict each other"));
        }
    }
}
