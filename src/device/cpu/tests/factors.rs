//! Factors of rows, of columns and of elements.

use super::*;

#[test]
fn rows_and_columns_get_their_own_factors_and_sums() {
    let d = Cpu::new();
    let x = buf(&d, &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    let mut rows = buf(&d, x.values());
    d.scale_rows(&mut rows, 3, &[2.0, -1.0]).unwrap();
    assert_eq!(rows.values(), [2.0, 4.0, 6.0, -4.0, -5.0, -6.0]);
    let mut columns = buf(&d, x.values());
    d.scale_columns(&mut columns, &[1.0, 0.0, 10.0]).unwrap();
    assert_eq!(columns.values(), [1.0, 0.0, 30.0, 4.0, 0.0, 60.0]);
    let mut sums = [0.0, 0.0, 100.0];
    d.add_column_dots(&x, &rows, &mut sums).unwrap();
    assert_eq!(sums, [2.0 - 16.0, 8.0 - 25.0, 100.0 + 18.0 - 36.0]);
}

#[test]
fn elements_may_have_weights_of_their_own() {
    let d = Cpu::new();
    assert_eq!(d.repeat_rows(&[1.5, -2.0], 3).unwrap().values(), [1.5, 1.5, 1.5, -2.0, -2.0, -2.0]);
    let mut x = buf(&d, &[6.0, 5.0, -4.0, 1.0]);
    d.divide_each(&mut x, &buf(&d, &[3.0, 1e-9, -8.0, 0.0]), 1e-8).unwrap();
    assert_eq!(x.values(), [2.0, 5.0, 0.5, 1.0]);
    d.divide_each(&mut x, &buf(&d, &[1e-9, 1.0, 1.0, 0.0]), 0.0).unwrap();
    assert_eq!(x.values(), [2.0 / 1e-9, 5.0, 0.5, f32::INFINITY]);
    // With the same weights for all elements it is the vote with a number for each block.
    for len in LENGTHS {
        let deltas = [97, 89, 31].map(|period| buf(&d, &pattern(len, period)));
        let weights = [0.5, 0.3, -0.2f32];
        let weighted: Vec<CpuBuf> = deltas
            .iter()
            .zip(weights)
            .map(|(x, w)| {
                let mut x = buf(&d, x.values());
                d.scale(&mut x, w).unwrap();
                x
            })
            .collect();
        let each = weights.map(|w| d.repeat_rows(&[w], len).unwrap());
        for divisor in [Divisor::One, Divisor::AgreeingWeights, Divisor::AgreeingWeightsFrom(0.4)] {
            let numbers = d.elect(&deltas, &weights, Vote::Weighted, divisor).unwrap();
            let elements = d.elect_weighted(&weighted, &each, divisor).unwrap();
            assert_eq!(bytes(elements.values()), bytes(numbers.values()), "{len} {divisor:?}");
        }
    }
    // Three elements, each with other weights: agreement with both, with one, with nobody.
    let weighted = [buf(&d, &[1.0, 3.0, 0.0]), buf(&d, &[2.0, -1.0, 0.0])];
    let weights = [buf(&d, &[0.5, 2.0, 1.0]), buf(&d, &[1.0, 1.0, 1.0])];
    let merged = d.elect_weighted(&weighted, &weights, Divisor::AgreeingWeights).unwrap();
    assert_eq!(merged.values(), [2.0, 1.5, 0.0]);
}
