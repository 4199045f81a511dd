//! A text divided into what coefficients are fitted to and what is held out.

/// Documents that stay together where a text is divided: neighbours are alike.
const BLOCK: usize = 16;
/// Of so many blocks one is held out.
const HELD_OUT: usize = 8;

/// Every eighth block of 16 documents is held out; of a short text every eighth document, and at least the last.
pub(super) fn divided<T>(documents: Vec<T>) -> (Vec<T>, Vec<T>) {
    let block = if documents.len() < BLOCK * HELD_OUT { 1 } else { BLOCK };
    let (mut fit, mut held_out) = (Vec::new(), Vec::new());
    let last = documents.len().saturating_sub(1);
    let few = documents.len() < HELD_OUT;
    for (i, document) in documents.into_iter().enumerate() {
        let out = i / block % HELD_OUT == HELD_OUT - 1 || few && i == last;
        (if out { &mut held_out } else { &mut fit }).push(document);
    }
    (fit, held_out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_divided_by_blocks() {
        let documents = |n: usize| (0..n).map(|i| i.to_string()).collect::<Vec<_>>();
        let (fit, out) = divided(documents(256));
        assert_eq!((fit.len(), out.len()), (224, 32));
        assert_eq!((out[0].as_str(), out[15].as_str(), out[16].as_str()), ("112", "127", "240"));
        assert!(out.iter().all(|d| !fit.contains(d)));
        assert_eq!(divided(documents(20)).1, ["7", "15"]);
        assert_eq!(divided(documents(3)), (documents(2), vec!["2".into()]));
        assert_eq!(divided(documents(1)), (vec![], documents(1)));
    }
}
