//! HyperCloning written for reading: whole matrices, one element after another.

use super::philox;

/// `down` copies below each other, `across` side by side; the rows of blocks still sum to `w`.
pub fn clone(w: &[f64], [rows, columns]: [usize; 2], down: usize, across: usize) -> Vec<f64> {
    tile(w, [rows, columns], down, across).iter().map(|x| x / across as f64).collect()
}

/// Copies that are not divided.
pub fn tile(w: &[f64], [rows, columns]: [usize; 2], down: usize, across: usize) -> Vec<f64> {
    let mut wide = Vec::new();
    for i in 0..rows * down {
        for j in 0..columns * across {
            wide.push(w[(i % rows) * columns + j % columns]);
        }
    }
    wide
}

/// Adds noise to a clone: `block_rows` rows and a pair of column blocks share a size, which makes the mean square
/// of a block `10^(snr / 10)` times that of its noise. `key` is the generator's.
pub fn add_noise(
    wide: &mut [f64],
    [rows, columns]: [usize; 2],
    across: usize,
    block_rows: usize,
    snr: f64,
    key: u64,
) {
    let width = columns * across;
    for top in (0..rows).step_by(block_rows) {
        for pair in 0..across / 2 {
            let places: Vec<(usize, usize)> =
                (top..top + block_rows).flat_map(|i| (0..columns).map(move |j| (i, j))).collect();
            let draw = |(i, j): &(usize, usize)| normal(key, (i * (across / 2) + pair) * columns + j);
            let draws: Vec<f64> = places.iter().map(draw).collect();
            let first = |(i, j): (usize, usize)| i * width + 2 * pair * columns + j;
            let power: f64 = places.iter().map(|p| wide[first(*p)].powi(2)).sum();
            let scale = (power / 10f64.powf(snr / 10.0) / draws.iter().map(|x| x * x).sum::<f64>()).sqrt();
            for (place, draw) in places.into_iter().zip(draws) {
                wide[first(place)] += scale * draw;
                wide[first(place) + columns] -= scale * draw;
            }
        }
    }
}

/// Element `i` of a key: Box and Muller's transform of two neighbouring draws.
pub fn normal(key: u64, i: usize) -> f64 {
    let lanes = philox(i as u64 / 4, key);
    let (length, angle) = (lanes[i % 4 / 2 * 2], lanes[i % 4 / 2 * 2 + 1]);
    let length = (-2.0 * (f64::from((length >> 8) + 1) / f64::from(1 << 24)).ln()).sqrt();
    // Two bits are the quadrant, 24 more the place in it, counted from its middle.
    let eighth = f64::from((angle << 2) >> 8) / f64::from(1 << 24) - 0.5;
    let angle = (f64::from(angle >> 30) + eighth) * std::f64::consts::FRAC_PI_2;
    length * if i.is_multiple_of(2) { angle.cos() } else { angle.sin() }
}
