//! What means over languages hide.

use super::book::Book;
use super::claims::MEANS;
use super::form::Form;
use super::subject::{Language, Method, Setup, Subject, Subset, Tuning};

/// Methods that are better than the plain mean in some languages and worse in others, each time in all seeds: a mean over
/// languages hides that. For the merge of all five at the paper's setting.
pub(super) fn reversals(book: &Book, setup: Setup) -> Option<String> {
    let minus_linear = |method: Method, l: Language| {
        let of = |m| Form::bits(setup, Subject::Merge(Subset::WHOLE, m, Tuning::Paper), l.code());
        of(method).minus(of(Method::Linear))
    };
    let differs = |method: Method| {
        let (mut better, mut worse) = (Vec::new(), Vec::new());
        for language in Language::all() {
            let form = minus_linear(method, language);
            let by_seed = form.by_seed(book);
            let told = format!("{} ({:+.2})", language.code(), form.over_seeds(book).value);
            if by_seed.iter().all(|v| *v < 0.0) {
                better.push(told);
            } else if by_seed.iter().all(|v| *v > 0.0) {
                worse.push(told);
            }
        }
        let both = !better.is_empty() && !worse.is_empty();
        both.then(|| {
            format!("{} is better in {}, worse in {}", method.name(), better.join(", "), worse.join(", "))
        })
    };
    let others = Method::ALL.into_iter().filter(|m| !MEANS.contains(m));
    let found: Vec<String> = others.filter_map(differs).collect();
    (!found.is_empty()).then(|| {
        format!(
            "{}, the merge of all five at the paper's setting against linear, where the mean over languages hides a \
             reversal: {}.",
            setup.name(),
            found.join("; ")
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reproduce::form::tests::{ByLanguage, book_by_language};

    #[test]
    fn a_method_that_is_better_in_one_language_only_is_named_with_it() {
        let merge = |m| Subject::Merge(Subset::WHOLE, m, Tuning::Paper);
        let linear = |_: &str| 40.0;
        let ties = |code: &str| if code == "fa" { 20.0 } else { 44.0 };
        let dare = |_: &str| 60.0;
        let entries: [ByLanguage<'_>; 3] = [
            (1, Setup::Small, merge(Method::Linear), &linear),
            (1, Setup::Small, merge(Method::Ties), &ties),
            (1, Setup::Small, merge(Method::DareTies), &dare),
        ];
        let told = reversals(&book_by_language(&entries), Setup::Small).unwrap();
        assert!(told.contains("ties is better in fa (-0.50), worse in et (+0.10), fo (+0.10)"), "{told}");
        assert!(!told.contains("dare_ties"), "it is worse everywhere: {told}");
        assert_eq!(reversals(&book_by_language(&entries[..1]), Setup::Small), None);
    }
}
