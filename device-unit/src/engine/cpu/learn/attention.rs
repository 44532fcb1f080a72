//! Forward and backward attention of a whole sequence. For one head with queries q (scaled), keys k and values v:
//!
//! ```text
//! p = softmax by row of  q k^T  over the row's own and earlier positions         out = p v
//! d p = d out v^T     d s = p (d p - sum of p d p)     d q = d s k     d k = d s^T q     d v = p^T d out
//! ```
//!
//! The query heads that share keys are one task; they add to the gradients of the keys in a fixed order.

use std::sync::PoisonError;

use crate::engine::cpu::config::Config;
use crate::engine::cpu::forward::Model;
use crate::engine::cpu::kernel::float::{Columns, by_columns, dense};
use crate::engine::cpu::kernel::math::{rms_norm, softmax};
use crate::engine::cpu::kernel::{Kernel, Tier};
use crate::engine::cpu::weights::{HeadNorms, Layer};

use super::ops::RmsNormBackward;

/// Queries, keys and values of all rows as attention uses them: normalised if the model does so, rotated, and queries scaled.
pub struct Heads<'a> {
    rows: usize,
    angles: &'a [f32],
    /// Rows x queries.
    queries: Vec<f32>,
    /// Rows x keys.
    keys: Vec<f32>,
    /// Rows x values.
    values: Vec<f32>,
}

impl<'a> Heads<'a> {
    /// Splits the product `qkv`, which has a row of queries, keys and values for each row of `angles`.
    pub fn of(model: &Model, layer: &Layer, angles: &'a [f32], qkv: &[f32]) -> Self {
        let config = &model.config;
        let (query_width, kv_width) = (config.query_width(), config.kv_width());
        let angles_len = config.rope.angles_len();
        let rows = qkv.len() / (query_width + 2 * kv_width);
        let mut heads = Self {
            rows,
            angles,
            queries: Vec::with_capacity(rows * query_width),
            keys: Vec::with_capacity(rows * kv_width),
            values: Vec::with_capacity(rows * kv_width),
        };
        let scale = scale(config);
        for (row, angles) in qkv
            .chunks_exact(query_width + 2 * kv_width)
            .zip(angles.chunks_exact(angles_len))
        {
            let (queries, rest) = row.split_at(query_width);
            let (keys, values) = rest.split_at(kv_width);
            for (from, into, weight, scale) in [
                (queries, &mut heads.queries, query_norm(layer), scale),
                (keys, &mut heads.keys, key_norm(layer), 1.0),
            ] {
                let start = into.len();
                into.extend_from_slice(from);
                let heads = into[start..].chunks_exact_mut(config.head_size);
                for (head, from) in heads.zip(from.chunks_exact(config.head_size)) {
                    if let Some(weight) = weight {
                        rms_norm(from, weight, config.rms_epsilon, head);
                    }
                    config.rope.rotate(angles, head);
                    head.iter_mut().for_each(|value| *value *= scale);
                }
            }
            heads.values.extend_from_slice(values);
        }
        heads
    }

    /// Returns the attention output, rows x queries.
    pub fn attend(&self, model: &Model) -> Vec<f32> {
        let config = &model.config;
        let mut out = vec![0.0; self.queries.len()];
        let tasks = by_columns(&mut out, config.query_width(), self.group_width(config));
        model.pool.run(tasks.len(), |kv_head| {
            let (keys, values) = self.keys_and_values(config, kv_head);
            let keys = transposed(&keys, config.head_size);
            for (number, queries) in self.queries_of(config, kv_head).into_iter().enumerate() {
                let probabilities = self.probabilities(model.tier, &queries, &keys);
                let mut out = vec![0.0; queries.len()];
                dense(
                    model.tier,
                    &probabilities,
                    &values,
                    (self.rows, config.head_size),
                    &mut out,
                );
                write(&tasks[kv_head], number, &out, config.head_size);
            }
        });
        drop(tasks);
        out
    }

    /// Returns the gradient of `qkv`, rows x (queries + keys + values), from the gradient of the attention output.
    pub fn attend_backward(&self, model: &Model, layer: &Layer, qkv: &[f32], attended: &[f32]) -> Vec<f32> {
        let config = &model.config;
        let (head_size, rows) = (config.head_size, self.rows);
        let mut of_queries = vec![0.0; self.queries.len()];
        let (mut of_keys, mut of_values) = (vec![0.0; self.keys.len()], vec![0.0; self.values.len()]);
        let into_queries = by_columns(&mut of_queries, config.query_width(), self.group_width(config));
        let into_keys = by_columns(&mut of_keys, config.kv_width(), head_size);
        let into_values = by_columns(&mut of_values, config.kv_width(), head_size);
        model.pool.run(into_keys.len(), |kv_head| {
            let tier = model.tier;
            let (keys, values) = self.keys_and_values(config, kv_head);
            let (across_keys, across_values) = (transposed(&keys, head_size), transposed(&values, head_size));
            let (mut d_keys, mut d_values) = (vec![0.0; keys.len()], vec![0.0; values.len()]);
            let group = config.heads / config.kv_heads;
            for (number, queries) in self.queries_of(config, kv_head).into_iter().enumerate() {
                let d_out = columns(
                    attended,
                    config.query_width(),
                    (kv_head * group + number) * head_size,
                    head_size,
                );
                let probabilities = self.probabilities(tier, &queries, &across_keys);
                dense(
                    tier,
                    &transposed(&probabilities, rows),
                    &d_out,
                    (rows, head_size),
                    &mut d_values,
                );
                let mut d_scores = vec![0.0; rows * rows];
                dense(tier, &d_out, &across_values, (head_size, rows), &mut d_scores);
                for (d, probabilities) in d_scores.chunks_exact_mut(rows).zip(probabilities.chunks_exact(rows)) {
                    tier.run(SoftmaxBackward { probabilities, d });
                }
                let mut d_queries = vec![0.0; queries.len()];
                dense(tier, &d_scores, &keys, (rows, head_size), &mut d_queries);
                dense(
                    tier,
                    &transposed(&d_scores, rows),
                    &queries,
                    (rows, head_size),
                    &mut d_keys,
                );
                write(&into_queries[kv_head], number, &d_queries, head_size);
            }
            write(&into_keys[kv_head], 0, &d_keys, head_size);
            write(&into_values[kv_head], 0, &d_values, head_size);
        });
        drop((into_queries, into_keys, into_values));
        self.undo_rotation(model, layer, qkv, (of_queries, of_keys, of_values))
    }

    /// Backpropagates through rotation and normalisation, and concatenates queries, keys and values.
    fn undo_rotation(
        &self,
        model: &Model,
        layer: &Layer,
        qkv: &[f32],
        (mut queries, mut keys, values): (Vec<f32>, Vec<f32>, Vec<f32>),
    ) -> Vec<f32> {
        let config = &model.config;
        let (query_width, kv_width) = (config.query_width(), config.kv_width());
        let angles_len = config.rope.angles_len();
        let mut out = Vec::with_capacity(qkv.len());
        let mut back = vec![0.0; angles_len];
        for (row, before) in qkv.chunks_exact(query_width + 2 * kv_width).enumerate() {
            // The transpose of a rotation is the rotation by the opposite angle.
            back.copy_from_slice(&self.angles[row * angles_len..(row + 1) * angles_len]);
            back[angles_len / 2..].iter_mut().for_each(|sine| *sine = -*sine);
            let (before_queries, rest) = before.split_at(query_width);
            for (d, before, weight, scale) in [
                (
                    &mut queries[row * query_width..(row + 1) * query_width],
                    before_queries,
                    query_norm(layer),
                    scale(config),
                ),
                (
                    &mut keys[row * kv_width..(row + 1) * kv_width],
                    &rest[..kv_width],
                    key_norm(layer),
                    1.0,
                ),
            ] {
                let start = out.len();
                out.resize(start + d.len(), 0.0);
                let heads = d
                    .chunks_exact_mut(config.head_size)
                    .zip(before.chunks_exact(config.head_size))
                    .zip(out[start..].chunks_exact_mut(config.head_size));
                for ((d, x), out) in heads {
                    d.iter_mut().for_each(|value| *value *= scale);
                    config.rope.rotate(&back, d);
                    match weight {
                        Some(weight) => RmsNormBackward {
                            x,
                            weight,
                            epsilon: config.rms_epsilon,
                            d,
                            out,
                        }
                        .run(),
                        None => out.copy_from_slice(d),
                    }
                }
            }
            out.extend_from_slice(&values[row * kv_width..(row + 1) * kv_width]);
        }
        out
    }

    /// Returns the attention probabilities, rows x rows.
    fn probabilities(&self, tier: Tier, queries: &[f32], across_keys: &[f32]) -> Vec<f32> {
        let rows = self.rows;
        let mut probabilities = vec![0.0; rows * rows];
        dense(
            tier,
            queries,
            across_keys,
            (queries.len() / rows, rows),
            &mut probabilities,
        );
        for (row, probabilities) in probabilities.chunks_exact_mut(rows).enumerate() {
            let (up_to, later) = probabilities.split_at_mut(row + 1);
            tier.run(Softmax(up_to));
            later.fill(0.0);
        }
        probabilities
    }

    fn group_width(&self, config: &Config) -> usize {
        config.heads / config.kv_heads * config.head_size
    }

    fn keys_and_values(&self, config: &Config, kv_head: usize) -> (Vec<f32>, Vec<f32>) {
        let of = |all: &[f32]| columns(all, config.kv_width(), kv_head * config.head_size, config.head_size);
        (of(&self.keys), of(&self.values))
    }

    /// Returns the queries of each head that shares these keys.
    fn queries_of(&self, config: &Config, kv_head: usize) -> Vec<Vec<f32>> {
        let group = config.heads / config.kv_heads;
        (kv_head * group..(kv_head + 1) * group)
            .map(|head| {
                columns(
                    &self.queries,
                    config.query_width(),
                    head * config.head_size,
                    config.head_size,
                )
            })
            .collect()
    }
}

fn query_norm(layer: &Layer) -> Option<&[f32]> {
    layer
        .head_norms
        .as_ref()
        .map(|HeadNorms { queries, .. }| queries.as_slice())
}

fn key_norm(layer: &Layer) -> Option<&[f32]> {
    layer.head_norms.as_ref().map(|HeadNorms { keys, .. }| keys.as_slice())
}

fn scale(config: &Config) -> f32 {
    1.0 / (config.head_size as f32).sqrt()
}

/// Returns `count` columns from `first` on of rows of `width` values.
fn columns(all: &[f32], width: usize, first: usize, count: usize) -> Vec<f32> {
    all.chunks_exact(width)
        .flat_map(|row| &row[first..first + count])
        .copied()
        .collect()
}

/// Returns the transpose of rows of `width` values.
fn transposed(all: &[f32], width: usize) -> Vec<f32> {
    (0..width)
        .flat_map(|column| all[column..].iter().step_by(width).copied())
        .collect()
}

/// Copies the rows of one head into its columns of a task.
fn write(task: &Columns<'_>, head: usize, from: &[f32], head_size: usize) {
    let mut rows = task.lock().unwrap_or_else(PoisonError::into_inner);
    for (row, from) in rows.iter_mut().zip(from.chunks_exact(head_size)) {
        row[head * head_size..(head + 1) * head_size].copy_from_slice(from);
    }
}

struct Softmax<'a>(&'a mut [f32]);

impl Kernel for Softmax<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        softmax(self.0);
    }
}

/// Replaces the gradient of the softmax by the gradient of the scores.
struct SoftmaxBackward<'a> {
    probabilities: &'a [f32],
    d: &'a mut [f32],
}

impl Kernel for SoftmaxBackward<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let mean = crate::engine::cpu::kernel::math::dot(self.probabilities, self.d);
        for (d, share) in self.d.iter_mut().zip(self.probabilities) {
            *d = share * (*d - mean);
        }
    }
}
