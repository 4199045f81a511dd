//! One element after another.

#[inline(always)]
pub(in crate::device) fn axpy(acc: &mut [f32], w: f32, x: &[f32]) {
    for (a, x) in acc.iter_mut().zip(x) {
        *a += w * x;
    }
}

#[inline(always)]
pub(in crate::device) fn scale(x: &mut [f32], factor: f32) {
    for x in x {
        *x *= factor;
    }
}

#[inline(always)]
pub(in crate::device) fn divide(x: &mut [f32], divisor: f32) {
    for x in x {
        *x /= divisor;
    }
}

#[inline(always)]
pub(in crate::device) fn add(acc: &mut [f32], x: &[f32]) {
    for (a, x) in acc.iter_mut().zip(x) {
        *a += x;
    }
}

#[inline(always)]
pub(in crate::device) fn multiply(x: &mut [f32], y: &[f32]) {
    for (x, y) in x.iter_mut().zip(y) {
        *x *= y;
    }
}

#[inline(always)]
pub(in crate::device) fn divide_each(x: &mut [f32], y: &[f32], least: f32) {
    for (x, y) in x.iter_mut().zip(y) {
        *x /= if y.abs() < least { 1.0 } else { *y };
    }
}

#[inline(always)]
pub(in crate::device) fn near_swap(x: &mut [f32], y: &[f32], t: f32) {
    for (x, y) in x.iter_mut().zip(y) {
        let distance = (*x - y).abs().max(1e-6);
        let w = (t * (1.0 / distance)).clamp(0.0, 1.0);
        *x = w * y + (1.0 - w) * *x;
    }
}

/// `out[c] = Σ left[k] · right[k · stride + c]`, in the order of `k`; every element by itself.
#[inline(always)]
pub(in crate::device) fn combine(left: &[f32], right: &[f32], stride: usize, out: &mut [f32]) {
    const WIDE: usize = 64;
    let (groups, tail) = out.as_chunks_mut::<WIDE>();
    let behind = groups.len() * WIDE;
    for (i, group) in groups.iter_mut().enumerate() {
        let mut sums = [0f32; WIDE];
        for (k, left) in left.iter().enumerate() {
            let from = k * stride + i * WIDE;
            for (sum, right) in sums.iter_mut().zip(&right[from..from + WIDE]) {
                *sum += left * right;
            }
        }
        *group = sums;
    }
    tail.fill(0.0);
    for (k, left) in left.iter().enumerate() {
        for (sum, right) in tail.iter_mut().zip(&right[k * stride + behind..]) {
            *sum += left * right;
        }
    }
}
