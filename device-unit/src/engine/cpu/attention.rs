//! Attention for the query heads that share one key/value head, at consecutive positions of one sequence.
//!
//! ```text
//! score[t] = sum over d, in order, of  q[d] * k[t][d]           one fused multiply-add each
//! p[t]     = exp(score[t] - the largest score)
//! out[d]   = (sum over t, in order, of  p[t] * v[t][d]) * (1 / sum of p)
//! ```
//!
//! The sum of p is taken in 16 lanes by position, folded by halves. A row attends to its own and earlier positions only, so its result
//! does not depend on what else is computed. The cache is processed chunk by chunk, each for all rows while it is in a near cache. The
//! loops vectorize over lanes (positions for scores, values of a head for outputs), with eight multiply-adds per load and store of a sum.

use super::cache::{CHUNK, Cache};
use super::kernel::Kernel;
use super::kernel::math::{LANES, exp, largest, sum};

/// Multiply-adds per load and store of a sum.
const UNROLLED: usize = 8;

/// The computation described in the module documentation.
pub struct Attend<'a, 'b> {
    pub cache: &'a Cache,
    pub layer: usize,
    pub kv_head: usize,
    pub head_size: usize,
    pub rows: &'a mut [QueryRow<'b>],
    /// Buffer for scores, grown as needed.
    pub scratch: &'a mut Vec<f32>,
}

/// Query heads at one position.
pub struct QueryRow<'a> {
    /// Number of positions attended to: the row's own and all earlier ones.
    pub positions: usize,
    /// Whole heads, rotated and scaled, concatenated.
    pub queries: Vec<f32>,
    /// The result, with the layout of `queries`.
    pub out: &'a mut [f32],
}

impl Kernel for Attend<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Attend {
            cache,
            layer,
            kv_head,
            head_size,
            rows,
            scratch,
        } = self;
        let most = rows.iter().map(|row| row.positions).max().unwrap_or(0);
        let heads: usize = rows.iter().map(|row| row.queries.len() / head_size).sum();
        // One row of scores per row and head, padded to whole chunks.
        let score_row = most.div_ceil(CHUNK) * CHUNK;
        scratch.resize(heads * score_row, 0.0);
        let scores = scratch.as_mut_slice();

        for (number, (keys, _)) in cache.chunks(layer, kv_head, most).enumerate() {
            let first = number * CHUNK;
            let mut score_rows = scores.chunks_exact_mut(score_row);
            for row in rows.iter() {
                for (query, scores) in row.queries.chunks_exact(head_size).zip(&mut score_rows) {
                    if let Some(scores) = scores[first..].first_chunk_mut::<CHUNK>()
                        && first < row.positions
                    {
                        score(keys, query, scores);
                    }
                }
            }
        }

        // The outputs accumulate unnormalised weighted values; the factor 1 / sum of p is applied last.
        let mut score_rows = scores.chunks_exact_mut(score_row);
        let mut factors = Vec::with_capacity(heads);
        for row in rows.iter_mut() {
            row.out.fill(0.0);
            for scores in (&mut score_rows).take(row.queries.len() / head_size) {
                let highest = largest(&scores[..row.positions]);
                // Pads whole groups of lanes: later positions get the weight 0.
                scores[row.positions..].fill(f32::NEG_INFINITY);
                for lanes in scores.as_chunks_mut::<LANES>().0 {
                    lanes.iter_mut().for_each(|score| *score = exp(*score - highest));
                }
                factors.push(1.0 / sum(scores));
            }
        }

        for (number, (_, values)) in cache.chunks(layer, kv_head, most).enumerate() {
            let first = number * CHUNK;
            let mut score_rows = scores.chunks_exact(score_row);
            for row in rows.iter_mut() {
                let here = CHUNK.min(row.positions.saturating_sub(first));
                for (out, weights) in row.out.chunks_exact_mut(head_size).zip(&mut score_rows) {
                    add_values(&values[..here * head_size], &weights[first..first + here], out);
                }
            }
        }

        let heads = rows.iter_mut().flat_map(|row| row.out.chunks_exact_mut(head_size));
        for (out, factor) in heads.zip(factors) {
            out.iter_mut().for_each(|value| *value *= factor);
        }
    }
}

/// Computes the scores of one query at the positions of a chunk.
#[inline(always)]
fn score(keys: &[f32], query: &[f32], out: &mut [f32; CHUNK]) {
    out.fill(0.0);
    let (columns, _) = keys.as_chunks::<CHUNK>();
    let (eights, rest) = query.as_chunks::<UNROLLED>();
    for (q, columns) in eights.iter().zip(columns.chunks_exact(UNROLLED)) {
        let [k0, k1, k2, k3, k4, k5, k6, k7] = columns else {
            continue;
        };
        for lane in 0..CHUNK {
            let mut sum = out[lane];
            sum = q[0].mul_add(k0[lane], sum);
            sum = q[1].mul_add(k1[lane], sum);
            sum = q[2].mul_add(k2[lane], sum);
            sum = q[3].mul_add(k3[lane], sum);
            sum = q[4].mul_add(k4[lane], sum);
            sum = q[5].mul_add(k5[lane], sum);
            sum = q[6].mul_add(k6[lane], sum);
            out[lane] = q[7].mul_add(k7[lane], sum);
        }
    }
    for (q, column) in rest.iter().zip(&columns[eights.len() * UNROLLED..]) {
        for (out, key) in out.iter_mut().zip(column) {
            *out = q.mul_add(*key, *out);
        }
    }
}

/// Adds the values of consecutive positions to `out`, weighted.
#[inline(always)]
fn add_values(values: &[f32], weights: &[f32], out: &mut [f32]) {
    let width = out.len();
    let (eights, rest) = weights.as_chunks::<UNROLLED>();
    let (whole, tail) = values.split_at(eights.len() * UNROLLED * width);
    for (p, values) in eights.iter().zip(whole.chunks_exact(UNROLLED * width)) {
        let (v0, values) = values.split_at(width);
        let (v1, values) = values.split_at(width);
        let (v2, values) = values.split_at(width);
        let (v3, values) = values.split_at(width);
        let (v4, values) = values.split_at(width);
        let (v5, values) = values.split_at(width);
        let (v6, v7) = values.split_at(width);
        for lane in 0..width {
            let mut sum = out[lane];
            sum = p[0].mul_add(v0[lane], sum);
            sum = p[1].mul_add(v1[lane], sum);
            sum = p[2].mul_add(v2[lane], sum);
            sum = p[3].mul_add(v3[lane], sum);
            sum = p[4].mul_add(v4[lane], sum);
            sum = p[5].mul_add(v5[lane], sum);
            sum = p[6].mul_add(v6[lane], sum);
            out[lane] = p[7].mul_add(v7[lane], sum);
        }
    }
    for (p, value) in rest.iter().zip(tail.chunks_exact(width)) {
        for (out, value) in out.iter_mut().zip(value) {
            *out = p.mul_add(*value, *out);
        }
    }
}
