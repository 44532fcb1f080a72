//! Attention of a few query heads that share one head of keys and values, at one position of one sequence.
//!
//! ```text
//! score[t] = sum over d, in order, of  q[d] * k[t][d]           one fused multiply-add each
//! p[t]     = exp(score[t] - the largest score)
//! out[d]   = (sum over t, in order, of  p[t] * v[t][d]) * (1 / sum of p)
//! ```
//!
//! The sum of p runs in 16 lanes by position, folded by halves. Only the sequence's own positions 0..=its own take part,
//! so nothing depends on what else is computed beside it. It knows no layers and no batches.

use super::cache::{CHUNK, Cache};
use super::kernel::Kernel;
use super::kernel::math::{LANES, exp, largest, sum};

/// Queries that are worked on together: they share every key and value that is read.
pub const QUERIES: usize = 4;

/// The work: see the file's head.
pub struct Attend<'a> {
    pub cache: &'a Cache,
    pub layer: usize,
    pub kv_head: usize,
    /// Positions that take part: the row's own and all before it.
    pub positions: usize,
    /// At most [`QUERIES`] heads, rotated and scaled, one after another.
    pub queries: &'a [f32],
    /// As long as `queries`.
    pub out: &'a mut [f32],
    pub head_size: usize,
    /// Room for scores; it grows as needed.
    pub scratch: &'a mut Vec<f32>,
}

impl Kernel for Attend<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        match self.queries.len() / self.head_size.max(1) {
            1 => attend::<1>(self),
            2 => attend::<2>(self),
            3 => attend::<3>(self),
            _ => attend::<QUERIES>(self),
        }
    }
}

#[inline(always)]
fn attend<const N: usize>(work: Attend<'_>) {
    let Attend {
        cache,
        layer,
        kv_head,
        positions,
        queries,
        out,
        head_size,
        scratch,
    } = work;
    // One row of scores for each query, as long as whole chunks.
    let row = positions.div_ceil(CHUNK) * CHUNK;
    scratch.resize(N * row, 0.0);
    let scores = &mut scratch[..N * row];

    for (number, (keys, _)) in cache.chunks(layer, kv_head, positions).enumerate() {
        for group in (0..CHUNK).step_by(LANES) {
            let lanes: [[f32; LANES]; N] = scores_of_lanes(keys, group, queries, head_size);
            for (query, lanes) in lanes.iter().enumerate() {
                let at = query * row + number * CHUNK + group;
                scores[at..at + LANES].copy_from_slice(lanes);
            }
        }
    }

    let mut shares = [0.0; N];
    for (scores, share) in scores.chunks_exact_mut(row).zip(&mut shares) {
        let highest = largest(&scores[..positions]);
        let (own, beyond) = scores.split_at_mut(positions);
        own.iter_mut().for_each(|score| *score = exp(*score - highest));
        beyond.fill(0.0);
        *share = 1.0 / sum(scores);
    }

    let mut from = 0;
    while from < head_size {
        let width = LANES.min(head_size - from);
        let mut sums = [[0.0_f32; LANES]; N];
        for (number, (_, values)) in cache.chunks(layer, kv_head, positions).enumerate() {
            let first = number * CHUNK;
            let here = CHUNK.min(positions - first);
            weigh_values(
                &values[..here * head_size],
                from,
                width,
                head_size,
                &scores[first..],
                row,
                &mut sums,
            );
        }
        for (query, (sums, share)) in sums.iter().zip(&shares).enumerate() {
            let at = query * head_size + from;
            for (out, sum) in out[at..at + width].iter_mut().zip(sums) {
                *out = sum * share;
            }
        }
        from += width;
    }
}

/// Scores of [`LANES`] positions of a chunk, from `group` on, for each query.
#[inline(always)]
fn scores_of_lanes<const N: usize>(keys: &[f32], group: usize, queries: &[f32], head_size: usize) -> [[f32; LANES]; N] {
    let mut lanes = [[0.0_f32; LANES]; N];
    for (d, keys) in keys.chunks_exact(CHUNK).enumerate() {
        let Some(keys) = keys[group..].first_chunk::<LANES>() else {
            continue;
        };
        for (query, lanes) in lanes.iter_mut().enumerate() {
            let q = queries[query * head_size + d];
            for (lane, &key) in lanes.iter_mut().zip(keys) {
                *lane = q.mul_add(key, *lane);
            }
        }
    }
    lanes
}

/// Adds the values of consecutive positions, each times its weight, columns `from..from + width` of a head.
#[inline(always)]
fn weigh_values<const N: usize>(
    values: &[f32],
    from: usize,
    width: usize,
    head_size: usize,
    weights: &[f32],
    row: usize,
    sums: &mut [[f32; LANES]; N],
) {
    let mut local = *sums;
    for (t, value) in values.chunks_exact(head_size).enumerate() {
        match value[from..].first_chunk::<LANES>() {
            Some(value) => {
                for (query, sums) in local.iter_mut().enumerate() {
                    let weight = weights[query * row + t];
                    for (sum, &value) in sums.iter_mut().zip(value) {
                        *sum = weight.mul_add(value, *sum);
                    }
                }
            }
            None => {
                for (query, sums) in local.iter_mut().enumerate() {
                    let weight = weights[query * row + t];
                    for (sum, &value) in sums.iter_mut().zip(&value[from..from + width]) {
                        *sum = weight.mul_add(value, *sum);
                    }
                }
            }
        }
    }
    *sums = local;
}
