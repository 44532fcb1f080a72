//! The arithmetic between the products: sums, exponentials, softmax, SiLU, RMS norm, each with a fixed order of operations.
//!
//! The functions are plain Rust over lanes of fixed width, inlined into the [`Kernel`] that calls them, so that each tier compiles them
//! to its own instructions with the same bits as a result: additions happen in the written order, `mul_add` rounds once everywhere, and
//! no platform library is called.
//!
//! Sums are taken in [`LANES`] partial sums, element i in lane i mod 16, folded 16 → 8 → 4 → 2 → 1 by halves.
//!
//! [`Kernel`]: super::Kernel

/// Number of partial sums.
pub const LANES: usize = 16;

/// Returns the sum of the lanes: lane i and i + 8, then i and i + 4, and so on.
#[inline(always)]
pub fn fold(mut lanes: [f32; LANES]) -> f32 {
    let mut width = LANES / 2;
    while width > 0 {
        for lane in 0..width {
            lanes[lane] += lanes[lane + width];
        }
        width /= 2;
    }
    lanes[0]
}

/// Returns the dot product of `a` and `b`: one fused multiply-add per element into its lane, then [`fold`]. The rest of a longer slice is
/// ignored.
#[inline(always)]
pub fn dot(a: &[f32], b: &[f32]) -> f32 {
    let len = a.len().min(b.len());
    let (a, a_rest) = a[..len].as_chunks::<LANES>();
    let (b, b_rest) = b[..len].as_chunks::<LANES>();
    let mut lanes = [0.0f32; LANES];
    for (a, b) in a.iter().zip(b) {
        for lane in 0..LANES {
            lanes[lane] = a[lane].mul_add(b[lane], lanes[lane]);
        }
    }
    for (lane, (a, b)) in a_rest.iter().zip(b_rest).enumerate() {
        lanes[lane] = a.mul_add(*b, lanes[lane]);
    }
    fold(lanes)
}

/// Returns the sum of `values`.
#[inline(always)]
pub fn sum(values: &[f32]) -> f32 {
    let (chunks, rest) = values.as_chunks::<LANES>();
    let mut lanes = [0.0f32; LANES];
    for chunk in chunks {
        for lane in 0..LANES {
            lanes[lane] += chunk[lane];
        }
    }
    for (lane, value) in rest.iter().enumerate() {
        lanes[lane] += value;
    }
    fold(lanes)
}

/// Returns the largest of `values`, ignoring NaN; -infinity if there is none.
#[inline(always)]
pub fn largest(values: &[f32]) -> f32 {
    let (chunks, rest) = values.as_chunks::<LANES>();
    let larger = |a: f32, b: f32| if b > a { b } else { a };
    let mut lanes = [f32::NEG_INFINITY; LANES];
    for chunk in chunks {
        for lane in 0..LANES {
            lanes[lane] = larger(lanes[lane], chunk[lane]);
        }
    }
    let mut result = f32::NEG_INFINITY;
    for value in lanes.iter().chain(rest) {
        result = larger(result, *value);
    }
    result
}

/// Returns e^x, within 1.5 units in the last place; 0 below -87.3 (where e^x is not a normal number), infinity above 88.7, NaN for NaN.
///
/// x = n ln 2 + r with |r| <= ln 2 / 2; the Taylor polynomial of degree 7 of e^r (its remainder is below 2^-27); 2^n by the exponent's
/// bits, in two steps, since n reaches 128.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    /// 1.5 * 2^23: adding it rounds to an integer, which is then in the low bits.
    const ROUNDER: f32 = 12_582_912.0;
    /// ln 2 as its first 16 bits and the rest: n times the first part is exact.
    const LN_2_HIGH: f32 = 0.693_145_75;
    const LN_2_LOW: f32 = 1.428_606_8e-6;
    let limited = if x > 89.0 { 89.0 } else { x };
    let limited = if limited < -88.0 { -88.0 } else { limited };
    let rounded = limited.mul_add(std::f32::consts::LOG2_E, ROUNDER);
    let n = rounded - ROUNDER;
    let r = n.mul_add(-LN_2_HIGH, limited);
    let r = n.mul_add(-LN_2_LOW, r);
    let mut p = 1.0f32 / 5040.0;
    p = p.mul_add(r, 1.0 / 720.0);
    p = p.mul_add(r, 1.0 / 120.0);
    p = p.mul_add(r, 1.0 / 24.0);
    p = p.mul_add(r, 1.0 / 6.0);
    p = p.mul_add(r, 0.5);
    p = p.mul_add(r, 1.0);
    p = p.mul_add(r, 1.0);
    let n = rounded.to_bits() as i32 - ROUNDER.to_bits() as i32;
    let half = n >> 1;
    let power = |n: i32| f32::from_bits(((n + 127) << 23) as u32);
    let result = p * power(half) * power(n - half);
    let result = if x < -87.3 { 0.0 } else { result };
    let result = if x > 88.722_83 { f32::INFINITY } else { result };
    if x.is_nan() { x } else { result }
}

/// Returns x / (1 + e^-x).
#[inline(always)]
pub fn silu(x: f32) -> f32 {
    x / (1.0 + exp(-x))
}

/// Replaces `values` by e^(value - largest) / their sum. An empty slice is left unchanged.
#[inline(always)]
pub fn softmax(values: &mut [f32]) {
    let highest = largest(values);
    for value in values.iter_mut() {
        *value = exp(*value - highest);
    }
    let share = 1.0 / sum(values);
    for value in values.iter_mut() {
        *value *= share;
    }
}

/// `out[i] = values[i] * weight[i] / sqrt(mean of squares + epsilon)`: one reciprocal square root, then two products per element, the
/// weight last. The mean is taken in f64, because the squares of large bf16 values overflow f32.
#[inline(always)]
pub fn rms_norm(values: &[f32], weight: &[f32], epsilon: f32, out: &mut [f32]) {
    let (chunks, rest) = values.as_chunks::<LANES>();
    let mut lanes = [0.0f64; LANES];
    for chunk in chunks {
        for lane in 0..LANES {
            lanes[lane] += f64::from(chunk[lane]) * f64::from(chunk[lane]);
        }
    }
    for (lane, value) in rest.iter().enumerate() {
        lanes[lane] += f64::from(*value) * f64::from(*value);
    }
    let mut width = LANES / 2;
    while width > 0 {
        for lane in 0..width {
            lanes[lane] += lanes[lane + width];
        }
        width /= 2;
    }
    let mean = lanes[0] / values.len() as f64;
    let scale = (1.0 / (mean + f64::from(epsilon)).sqrt()) as f32;
    for ((out, value), weight) in out.iter_mut().zip(values).zip(weight) {
        *out = value * scale * weight;
    }
}

/// `out += values`.
#[inline(always)]
pub fn add(out: &mut [f32], values: &[f32]) {
    for (out, value) in out.iter_mut().zip(values) {
        *out += value;
    }
}

#[cfg(test)]
mod tests {
    use super::super::tier::{Kernel, Tier};
    use super::*;

    #[test]
    fn exp_is_within_two_units_of_the_last_place() {
        let mut worst = 0.0f64;
        for step in -87_300_000i32..88_722_000 {
            if step % 97 != 0 {
                continue;
            }
            let x = step as f32 / 1e6;
            let exact = f64::from(x).exp();
            let result = f64::from(exp(x));
            let unit = f64::from(f32::EPSILON) * 2f64.powi(exact.log2().floor() as i32);
            worst = worst.max((result - exact).abs() / unit);
        }
        assert!(worst < 1.5, "{worst} units");
    }

    #[test]
    fn exp_handles_its_edge_cases() {
        assert_eq!(exp(0.0), 1.0);
        assert_eq!(exp(-0.0), 1.0);
        assert_eq!(exp(-1000.0), 0.0);
        assert_eq!(exp(f32::NEG_INFINITY), 0.0);
        assert_eq!(exp(1000.0), f32::INFINITY);
        assert_eq!(exp(f32::INFINITY), f32::INFINITY);
        assert!(exp(88.72) < f32::INFINITY && exp(88.72) > 3.3e38);
        assert!(exp(f32::NAN).is_nan());
    }

    #[test]
    fn softmax_sums_to_one_and_keeps_the_order() {
        for len in [1, 2, 15, 16, 17, 100, 1000] {
            let mut values: Vec<f32> = (0..len).map(|i| (i * 37 % 101) as f32 / 7.0 - 300.0).collect();
            let before = values.clone();
            softmax(&mut values);
            assert!((values.iter().sum::<f32>() - 1.0).abs() < 1e-5);
            for i in 1..len {
                assert_eq!(before[i - 1] < before[i], values[i - 1] < values[i]);
            }
        }
        softmax(&mut []);
    }

    #[test]
    fn the_rest_after_whole_groups_of_lanes_is_included_in_a_sum() {
        for len in 0..70 {
            let a: Vec<f32> = (0..len).map(|i| i as f32).collect();
            let expected: f32 = (0..len).map(|i| (i * i) as f32).sum();
            assert_eq!(dot(&a, &a), expected); // integers: exact in any order
            assert_eq!(sum(&a), (0..len).sum::<usize>() as f32);
            assert_eq!(largest(&a), if len == 0 { f32::NEG_INFINITY } else { (len - 1) as f32 });
        }
    }

    #[test]
    fn a_normed_row_has_the_root_mean_square_of_its_weight() {
        let row: Vec<f32> = (0..576).map(|i| ((i * 31) % 17) as f32 - 8.0).collect();
        let mut out = vec![0.0; 576];
        rms_norm(&row, &[2.0; 576], 1e-6, &mut out);
        assert!((dot(&out, &out) / 576.0 - 4.0).abs() < 1e-3);
    }

    #[test]
    fn a_row_of_huge_values_is_normed_without_overflow() {
        let mut out = [0.0; 32];
        rms_norm(&[1e30; 32], &[1.0; 32], 1e-6, &mut out);
        assert!(out.iter().all(|value| (value - 1.0).abs() < 1e-6), "{out:?}");
    }

    /// Runs all operations on difficult data and returns the bits.
    struct AllOperations<'a>(&'a [f32]);

    impl Kernel for AllOperations<'_> {
        type Output = Vec<u32>;
        #[inline(always)]
        fn run(self) -> Vec<u32> {
            let values = self.0;
            let mut normed = vec![0.0; values.len()];
            rms_norm(values, values, 1e-5, &mut normed);
            let mut soft = values.to_vec();
            softmax(&mut soft);
            let gated: Vec<f32> = values.iter().zip(&normed).map(|(gate, up)| silu(*gate) * up).collect();
            let mut added = soft.clone();
            add(&mut added, &gated);
            let mut all = vec![dot(values, &normed), sum(values), largest(values)];
            all.extend(values.iter().map(|x| exp(*x)));
            all.extend(normed.iter().chain(&soft).chain(&gated).chain(&added));
            all.iter().map(|x| x.to_bits()).collect()
        }
    }

    #[test]
    fn every_tier_gives_the_bits_of_the_scalar_one() {
        let mut state = 7u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 24) as f32 - 0.5
        };
        for len in [1, 7, 16, 31, 64, 576, 896, 1000] {
            for spread in [1e-30f32, 1e-3, 1.0, 30.0, 170.0] {
                let values: Vec<f32> = (0..len).map(|_| next() * spread).collect();
                let expected = AllOperations(&values).run();
                for tier in Tier::ALL.into_iter().filter(|tier| tier.is_supported()) {
                    assert_eq!(
                        tier.run(AllOperations(&values)),
                        expected,
                        "{tier}, {len} values up to {spread}"
                    );
                }
            }
        }
    }
}
