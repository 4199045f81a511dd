//! The three texts of a language that no training has seen: one to fit merges on, one to choose their settings by, one to
//! report on.
//!
//! The first two are blocks of the corpus's `valid` text, seven of eight and each eighth; a block is what the corpus was
//! cut into, sixteen neighbours, so that no sentence is fitted on whose neighbours choose. The third is `test`, of which
//! nothing is read before everything is chosen.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use growmerge::eval::{Reading, Split, Text};
use growmerge::problem::{Error, Problem};

use crate::files;
use crate::reproduce::{Part, Texts, all_languages};

/// Sentences of a block.
const BLOCK: usize = 16;
/// One of so many blocks chooses.
const CHOOSES: usize = 8;
/// Which of them: the fourth, so that a short text too has its share.
const WHICH: usize = 3;

/// A text of one language.
#[derive(Clone, Debug)]
pub(super) struct Portion {
    /// One sentence a line.
    pub path: PathBuf,
    /// In order.
    pub sentences: Vec<String>,
}

/// The text of each language to fit and to choose on, also as files.
#[derive(Clone, Debug)]
pub(super) struct Portions {
    /// For fitting: `fit/<language>.txt`.
    pub fit: BTreeMap<&'static str, Portion>,
    /// For choosing: `choose/<language>.txt`.
    pub choose: BTreeMap<&'static str, Portion>,
}

impl Portions {
    /// Cuts the corpus's `valid` texts and writes the portions into folders below `out`.
    ///
    /// # Errors
    /// What is wrong with a text; a text that is too short to be cut; what the machine does.
    pub(super) fn cut(texts: &Texts, fit_bytes: usize, out: &Path) -> Result<Self, Error> {
        let mut portions = Self { fit: BTreeMap::new(), choose: BTreeMap::new() };
        for language in all_languages() {
            let all = texts.read(language, Part::Valid)?.documents;
            let (fit, choose) = cut(&all, fit_bytes);
            if fit.is_empty() || choose.is_empty() {
                let at = texts.path(language, Part::Valid).display().to_string();
                let what = format!("has {} sentences: too few to fit and to choose on", all.len());
                let hint = format!("at least {} are needed", BLOCK * WHICH + 1);
                return Err(Problem::error(at, what).hint(hint).into());
            }
            portions.fit.insert(language, keep(out, "fit", language, fit)?);
            portions.choose.insert(language, keep(out, "choose", language, choose)?);
        }
        Ok(portions)
    }
}

/// Whole blocks to fit on, of at most so many bytes, and blocks to choose by.
fn cut(sentences: &[String], fit_bytes: usize) -> (Vec<String>, Vec<String>) {
    let (mut fit, mut choose) = (Vec::new(), Vec::new());
    let mut full = false;
    for (i, block) in sentences.chunks(BLOCK).enumerate() {
        if i % CHOOSES == WHICH {
            choose.extend_from_slice(block);
        } else {
            full |= bytes(&fit) + bytes(block) > fit_bytes;
            if !full || fit.is_empty() {
                fit.extend_from_slice(block);
            }
        }
    }
    (fit, choose)
}

fn bytes(sentences: &[String]) -> usize {
    sentences.iter().map(|s| s.len() + 1).sum()
}

/// The portion, whose file has the same sentences when it is read again.
fn keep(out: &Path, name: &str, language: &str, sentences: Vec<String>) -> Result<Portion, Error> {
    let folder = out.join(name);
    files::folder(&folder)?;
    let path = folder.join(format!("{language}.txt"));
    let contents = sentences.join("\n") + "\n";
    if std::fs::read_to_string(&path).ok().as_ref() != Some(&contents) {
        files::write(&path, contents)?;
    }
    let reading = Reading { split: Split::Line, field: "text".into() };
    if Text::read(language, &path, &reading)?.documents != sentences {
        let what = "has a sentence that is not one line, so its file would say something else";
        return Err(Problem::error(path.display().to_string(), what).into());
    }
    Ok(Portion { path, sentences })
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn what_is_fitted_chosen_and_reported_on_are_different_sentences() {
        let texts = Texts::open(&Path::new(env!("CARGO_MANIFEST_DIR")).join("texts")).unwrap();
        let out = tempfile::tempdir().unwrap();
        let portions = Portions::cut(&texts, 84_000, out.path()).unwrap();
        for language in all_languages() {
            let (fit, choose) = (&portions.fit[language], &portions.choose[language]);
            let test = texts.read(language, Part::Test).unwrap().documents;
            let train = texts.read(language, Part::Train).unwrap().documents;
            let mut seen: HashSet<&str> = train.iter().chain(&test).map(String::as_str).collect();
            for sentence in fit.sentences.iter().chain(&choose.sentences) {
                assert!(seen.insert(sentence), "{language}: {sentence} twice");
            }
            assert!(
                bytes(&fit.sentences) <= 84_000
                    && bytes(&fit.sentences) + bytes(&choose.sentences) <= 100_000,
                "{language}"
            );
            let share =
                bytes(&choose.sentences) as f64 / (bytes(&fit.sentences) + bytes(&choose.sentences)) as f64;
            assert!((0.08..0.2).contains(&share), "{language}: {share}");
            let written = std::fs::read_to_string(&fit.path).unwrap();
            assert_eq!(written.len(), bytes(&fit.sentences));
        }
        assert_eq!(portions.fit["fo"].path, out.path().join("fit/fo.txt"));
    }

    #[test]
    fn neighbours_stay_together_and_fit_is_bounded() {
        let sentences: Vec<String> = (0..300).map(|i| format!("{i:03}")).collect();
        let (fit, choose) = cut(&sentences, usize::MAX);
        assert_eq!(choose[..16], sentences[48..64]);
        assert_eq!(choose.len(), 32);
        assert_eq!((fit.len(), fit[48].as_str()), (300 - 32, "064"));
        let (fit, all) = cut(&sentences, 4 * 40);
        assert_eq!((fit.len(), all), (32, choose), "two whole blocks; choosing has its own all the same");
    }
}
