//! How many sequences of a run come from each text.

use super::mixture::{Mixture, Portion, Sampling};

/// Sequences of each source, in their order; they sum to `run`.
///
/// `most` is what `max_epochs` allows each; only UniMax looks at it here. Replay comes first: its share is of
/// the whole run. Fractions are settled by the largest remainder.
pub(super) fn quotas(mixture: &Mixture, run: u64, most: &[f64]) -> Vec<u64> {
    let replay = |p: Portion| if let Portion::Replay(share) = p { Some(share) } else { None };
    let portions: Vec<Portion> = mixture.sources.iter().map(|s| s.portion).collect();
    let rest = run as f64 * (1.0 - portions.iter().filter_map(|p| replay(*p)).sum::<f64>());
    let main = match mixture.sampling {
        Sampling::Weights => {
            let weight = |p: &Portion| if let Portion::Weight(w) = p { *w } else { 0.0 };
            let all: f64 = portions.iter().map(weight).sum();
            portions.iter().map(|p| rest * weight(p) / all).collect()
        }
        Sampling::Unimax => {
            let most: Vec<Option<f64>> =
                portions.iter().zip(most).map(|(p, m)| replay(*p).is_none().then_some(*m)).collect();
            unimax(rest, &most)
        }
    };
    let exact: Vec<f64> =
        portions.iter().zip(main).map(|(p, m)| replay(*p).map_or(m, |share| share * run as f64)).collect();
    largest_remainder(&exact, run)
}

/// Chung et al. 2023, algorithm 1: from the smallest text on, each gets an even share of what is left, or all
/// that it may give if that is less. What nobody may take goes to the texts evenly: it is refused later, by name.
fn unimax(budget: f64, most: &[Option<f64>]) -> Vec<f64> {
    let mut order: Vec<(usize, f64)> =
        most.iter().enumerate().filter_map(|(i, m)| Some((i, (*m)?))).collect();
    order.sort_by(|a, b| a.1.total_cmp(&b.1).then(a.0.cmp(&b.0)));
    let mut shares = vec![0.0; most.len()];
    let mut left = budget;
    for (done, (i, most)) in order.iter().enumerate() {
        shares[*i] = most.min(left / (order.len() - done) as f64);
        left -= shares[*i];
    }
    for (i, _) in &order {
        shares[*i] += left.max(0.0) / order.len() as f64;
    }
    shares
}

/// Whole numbers that sum to `sum` and are less than 1 away from `exact`, which sums to `sum` but for rounding:
/// the largest fractions are rounded up, the earlier of two equal ones.
fn largest_remainder(exact: &[f64], sum: u64) -> Vec<u64> {
    let mut whole: Vec<u64> = exact.iter().map(|x| x.floor() as u64).collect();
    let mut order: Vec<usize> = (0..exact.len()).collect();
    order.sort_by(|a, b| (exact[*b].fract()).total_cmp(&exact[*a].fract()).then(a.cmp(b)));
    let missing = sum.saturating_sub(whole.iter().sum());
    for i in order.iter().cycle().take(missing as usize) {
        whole[*i] += 1;
    }
    // Where rounding of the exact shares made their sum too large.
    while whole.iter().sum::<u64>() > sum {
        let Some(last) = order.iter().rev().find(|i| whole[**i] > 0) else { break };
        whole[*last] -= 1;
    }
    whole
}

#[cfg(test)]
mod tests {
    use growmerge::eval::Split;
    use proptest::prelude::*;

    use super::super::mixture::Source;
    use super::*;

    fn mixture(sampling: Sampling, portions: &[Portion]) -> Mixture {
        let source = |(i, portion): (usize, &Portion)| Source {
            name: i.to_string(),
            text: Vec::new(),
            portion: *portion,
        };
        let sources = portions.iter().enumerate().map(source).collect();
        Mixture { sources, max_epochs: 1.0, sampling, documents: Split::Line, field: "text".into() }
    }

    #[test]
    fn weights_divide_what_replay_leaves() {
        use Portion::{Replay, Weight};
        let divided = |portions: &[Portion], run| quotas(&mixture(Sampling::Weights, portions), run, &[]);
        assert_eq!(divided(&[Weight(1.0), Replay(0.02)], 1000), [980, 20]);
        assert_eq!(divided(&[Weight(3.0), Replay(0.2), Weight(1.0)], 100), [60, 20, 20]);
        assert_eq!(divided(&[Weight(1.0); 3], 100), [34, 33, 33]);
        assert_eq!(divided(&[Weight(1.0), Weight(1e-9)], 10), [10, 0]);
    }

    #[test]
    fn unimax_caps_small_texts_and_gives_the_rest_to_others() {
        use Portion::{Replay, Weight};
        let even =
            |portions: &[Portion], run, most: &[f64]| quotas(&mixture(Sampling::Unimax, portions), run, most);
        // 10 of the smallest; 45 each of the others, of which the second may give 40.
        assert_eq!(even(&[Weight(1.0); 3], 100, &[500.0, 10.0, 40.0]), [50, 10, 40]);
        assert_eq!(even(&[Weight(1.0); 3], 99, &[500.0, 500.0, 500.0]), [33, 33, 33]);
        assert_eq!(even(&[Weight(1.0), Replay(0.1), Weight(1.0)], 100, &[500.0, 1.0, 20.0]), [70, 10, 20]);
        // Too much for all together: every text is told to give more than it may.
        let all = even(&[Weight(1.0); 2], 100, &[10.0, 30.0]);
        assert!(all.iter().sum::<u64>() == 100 && all[0] > 10 && all[1] > 30);
    }

    proptest! {
        #[test]
        fn quotas_sum_to_the_run_and_are_within_one_of_the_exact_share(
            weights in proptest::collection::vec(0.001..1000.0f64, 1..9),
            replay in proptest::option::of(0.001..0.999f64),
            run in 1u64..1_000_000_000,
        ) {
            let mut portions: Vec<Portion> = weights.iter().map(|w| Portion::Weight(*w)).collect();
            portions.extend(replay.map(Portion::Replay));
            let quotas = quotas(&mixture(Sampling::Weights, &portions), run, &[]);
            prop_assert_eq!(quotas.iter().sum::<u64>(), run);
            let rest = run as f64 * (1.0 - replay.unwrap_or(0.0));
            let all: f64 = weights.iter().sum();
            for (quota, weight) in quotas.iter().zip(&weights) {
                prop_assert!((*quota as f64 - rest * weight / all).abs() < 1.001);
            }
        }

        #[test]
        fn unimax_is_even_below_the_cap(
            most in proptest::collection::vec(1.0..1e6f64, 1..9), used in 0.01..1.0f64,
        ) {
            let budget = most.iter().sum::<f64>() * used;
            let shares = unimax(budget, &most.iter().map(|m| Some(*m)).collect::<Vec<_>>());
            prop_assert!((shares.iter().sum::<f64>() / budget - 1.0).abs() < 1e-9);
            let largest = shares.iter().fold(0.0, |a: f64, b| a.max(*b));
            for (share, most) in shares.iter().zip(&most) {
                prop_assert!(*share <= most * (1.0 + 1e-9));
                // Whoever gets less than another gives all.
                prop_assert!(*share > largest * (1.0 - 1e-9) || *share > most * (1.0 - 1e-9));
            }
        }
    }
}
