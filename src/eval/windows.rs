//! Windows over texts that are longer than a model's context.

use std::ops::Range;

/// A run of tokens that goes through the model, and those in it that are scored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    /// Tokens of the text.
    pub range: Range<usize>,
    /// Tokens of the text that are scored, within `range`.
    pub scored: Range<usize>,
}

/// Windows over a text of `tokens` tokens, as Hugging Face documents them for models of fixed length: of
/// `context` tokens, `stride` apart. A token is scored once, in the first window in which there is a token
/// before it; where windows do not overlap, their first tokens are not scored.
///
/// # Panics
/// If `stride` is 0.
pub fn windows(tokens: usize, context: usize, stride: usize) -> Vec<Window> {
    let mut windows = Vec::new();
    let mut done = 0;
    for start in (0..tokens).step_by(stride) {
        let end = (start + context).min(tokens);
        let scored = done.max(start + 1)..end;
        if !scored.is_empty() {
            windows.push(Window { range: start..end, scored });
        }
        done = end;
        if end == tokens {
            break;
        }
    }
    windows
}

#[cfg(test)]
mod tests {
    use super::*;

    fn w(range: Range<usize>, scored: Range<usize>) -> Window {
        Window { range, scored }
    }

    #[test]
    fn overlapping_windows_score_each_token_once() {
        assert_eq!(windows(10, 4, 2), [w(0..4, 1..4), w(2..6, 4..6), w(4..8, 6..8), w(6..10, 8..10)]);
        assert_eq!(windows(5, 4, 2), [w(0..4, 1..4), w(2..5, 4..5)]);
        for (tokens, context, stride) in
            [(1000, 64, 32), (1001, 64, 63), (63, 64, 1), (65, 64, 1), (2, 64, 3)]
        {
            let scored: Vec<usize> =
                windows(tokens, context, stride).into_iter().flat_map(|w| w.scored).collect();
            assert_eq!(scored, (1..tokens).collect::<Vec<_>>(), "{tokens} {context} {stride}");
        }
    }

    #[test]
    fn windows_side_by_side_lose_their_first_token() {
        assert_eq!(windows(9, 4, 4), [w(0..4, 1..4), w(4..8, 5..8)]);
        assert_eq!(windows(1, 4, 4), []);
        assert_eq!(windows(0, 4, 4), []);
    }
}
