//! In which order the texts of a run take their turns.

/// Spreads the uses of every source evenly over the run.
///
/// Use `k` of the `n` of a source stands at time (2k + 1) / 2n of the run; all uses of all sources, sorted by
/// time, are the run. So any stretch of it has the mixture's shares to within one sequence a source, and a text
/// is read to its end before it begins again.
#[derive(Clone, Debug)]
pub(super) struct Interleaving {
    quotas: Vec<u64>,
}

/// One sequence of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Turn {
    /// Position among the sources.
    pub(super) source: usize,
    /// How many sequences of the source come before.
    pub(super) uses: u64,
}

impl Interleaving {
    /// `quotas` are the sequences of each source.
    pub(super) fn new(quotas: Vec<u64>) -> Self {
        Self { quotas }
    }

    /// Sequences in all.
    pub(super) fn len(&self) -> u64 {
        self.quotas.iter().sum()
    }

    /// Whose turn it is at a position; `None` from the end of the run on.
    ///
    /// Positions of a source's uses rise, so each source can be searched for one at this position.
    pub(super) fn turn(&self, position: u64) -> Option<Turn> {
        (0..self.quotas.len()).find_map(|source| {
            let (mut low, mut high) = (0, self.quotas[source]);
            while low < high {
                let uses = low + (high - low) / 2;
                match self.position(Turn { source, uses }).cmp(&position) {
                    std::cmp::Ordering::Less => low = uses + 1,
                    std::cmp::Ordering::Equal => return Some(Turn { source, uses }),
                    std::cmp::Ordering::Greater => high = uses,
                }
            }
            None
        })
    }

    /// How many sequences of all sources come before a turn; at the same time the earlier source does.
    fn position(&self, turn: Turn) -> u64 {
        let own = u128::from(self.quotas[turn.source]);
        let odd = 2 * u128::from(turn.uses) + 1;
        let before = |(source, n): (usize, &u64)| {
            if source == turn.source {
                return turn.uses;
            }
            // Uses m with (2m + 1) / 2n < odd / 2own: odd multiples of `own` below odd · n, or up to it.
            let bound = odd * u128::from(*n);
            let below = if source < turn.source { bound } else { bound.saturating_sub(1) };
            ((below + own) / (2 * own)) as u64
        };
        self.quotas.iter().enumerate().map(before).sum()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// As the definition says it: all times in a list, sorted.
    fn naive(quotas: &[u64]) -> Vec<Turn> {
        let mut all: Vec<(u128, u128, Turn)> = Vec::new();
        for (source, n) in quotas.iter().enumerate() {
            all.extend(
                (0..*n).map(|uses| (u128::from(2 * uses + 1), u128::from(2 * n), Turn { source, uses })),
            );
        }
        all.sort_by(|a, b| (a.0 * b.1).cmp(&(b.0 * a.1)).then(a.2.source.cmp(&b.2.source)));
        all.into_iter().map(|(_, _, turn)| turn).collect()
    }

    proptest! {
        #[test]
        fn turns_are_those_of_the_sorted_list(quotas in proptest::collection::vec(0u64..60, 1..6)) {
            let interleaving = Interleaving::new(quotas.clone());
            let turns: Vec<Turn> = (0..interleaving.len()).filter_map(|p| interleaving.turn(p)).collect();
            prop_assert_eq!(turns, naive(&quotas));
            prop_assert_eq!(interleaving.turn(interleaving.len()), None);
        }

        #[test]
        fn every_stretch_from_the_start_has_the_shares(
            quotas in proptest::collection::vec(1u64..1_000_000_000_000, 1..6), at in 0.0..1.0f64,
        ) {
            let interleaving = Interleaving::new(quotas.clone());
            let position = (interleaving.len() as f64 * at) as u64;
            let turn = interleaving.turn(position).unwrap();
            prop_assert_eq!(interleaving.position(turn), position);
            let share = quotas[turn.source] as f64 / interleaving.len() as f64;
            prop_assert!((turn.uses as f64 - position as f64 * share).abs() <= quotas.len() as f64 / 2.0 + 1.0);
        }
    }
}
