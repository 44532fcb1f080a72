//! The forward pass: embedding rows of several sequences in, logits out.
//!
//! All rows of a pass are multiplied with each matrix together, whatever sequence they belong to; attention uses the KV cache of a row's
//! own sequence. No sum includes values of several rows, so a row's result does not depend on the other rows. With x the residual
//! stream, a layer computes:
//!
//! ```text
//! n = rms_norm(x)            q, k, v = n * Wqkv            k, q (normalised per head for qwen3) rotated by position; k, v
//!                                                          stored in the KV cache
//! x = x + attention * Wo
//! n = rms_norm(x)            g, u = n * Wgate, n * Wup     x = x + (silu(g) u) * Wdown
//! ```
//!
//! The left factor of each product is quantised to 8 bits per block ([`QuantRows`]). The product's bias is added if the model has one.

use std::sync::{Mutex, PoisonError};

use super::attention::{Attend, QueryRow};
use super::cache::Cache;
use super::config::Config;
use super::kernel::math::{add, rms_norm, silu};
use super::kernel::{Kernel, QuantRows, Tier, matmul, matmul_into};
use super::threads::Pool;
use super::weights::{Layer, Linear, Weights};

/// Maximum number of rows of an attention task. The rows share each chunk of keys and values while it is in a near cache, so more of them
/// read the KV cache less often; but there must be a task for every thread.
const ROWS_PER_TASK: usize = 8;

/// Maximum number of query heads of an attention task. For these, too, more share each key and value, and fewer make more tasks: a single
/// row, as in decoding, has no other ones.
const QUERIES_PER_TASK: usize = 4;

/// A model with the threads and the kernel tier that compute it.
pub struct Model {
    pub config: Config,
    pub weights: Weights,
    pub pool: Pool,
    pub tier: Tier,
}

/// Where a row belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowPlace {
    /// Index of its sequence's cache in the pass.
    pub cache_index: usize,
    /// The row's position in the sequence. All earlier positions must be in the cache or earlier in the same pass.
    pub position: usize,
    /// Whether to compute its logits.
    pub wants_logits: bool,
}

/// Buffers of a pass, reused by the next one.
#[derive(Default)]
pub struct Scratch {
    /// Residual stream, rows x H. The caller fills it with the embeddings of the rows.
    pub x: Vec<f32>,
    /// `x` after a normalisation, rows x H.
    normed: Vec<f32>,
    /// The left factor of the current product.
    quantised: QuantRows,
    /// Queries, keys and values of each row, one after the other.
    qkv: Vec<f32>,
    /// Attention outputs of all query heads, rows x the width of the queries.
    attended: Vec<f32>,
    /// What is added to `x` next, rows x H.
    product: Vec<f32>,
    /// Gate and up values of each row, one after the other.
    gate_up: Vec<f32>,
    /// silu(gate) * up, rows x the width of the feed-forward layer.
    gated: Vec<f32>,
    /// Sines and cosines of the rotations at each row's position.
    angles: Vec<f32>,
}

impl Model {
    /// Runs `rows`, whose embeddings are in `scratch.x`. `logits` has a slice of V values for each row that wants logits, in order.
    ///
    /// The caches must have room for the rows. The rows of one sequence must be consecutive and in the order of their positions. Returns
    /// `false`, with partially written caches, if `stop` returned `true` between two layers.
    pub fn pass(
        &self,
        rows: &[RowPlace],
        caches: &mut [&mut Cache],
        scratch: &mut Scratch,
        logits: &mut [&mut [f32]],
        stop: &dyn Fn() -> bool,
    ) -> bool {
        let mut rows = rows.to_vec();
        self.fill_angles(&rows, &mut scratch.angles);
        for (number, layer) in self.weights.layers.iter().enumerate() {
            if stop() {
                return false;
            }
            self.project(layer, scratch);
            self.store_keys_values(number, &rows, caches, scratch);
            if number + 1 == self.weights.layers.len() {
                self.retain_logit_rows(&mut rows, scratch);
                if rows.is_empty() {
                    return true;
                }
            }
            self.attend(number, &rows, caches, scratch);
            let Scratch {
                x,
                quantised,
                attended,
                product,
                ..
            } = scratch;
            self.multiply(&layer.output, attended, quantised, product);
            self.add(x, product);
            self.feed_forward(layer, scratch);
        }
        let Scratch {
            x, normed, quantised, ..
        } = scratch;
        self.norm(x, &self.weights.norm, normed);
        let Linear { matrix, bias } = &self.weights.vocabulary;
        quantised.quantise_on(&self.pool, normed, matrix.inputs());
        matmul_into(&self.pool, self.tier, matrix, quantised, logits);
        if let Some(bias) = bias {
            logits.iter_mut().for_each(|row| self.add(row, bias));
        }
        true
    }

    fn fill_angles(&self, rows: &[RowPlace], angles: &mut Vec<f32>) {
        let width = self.config.rope.angles_len();
        angles.resize(rows.len() * width, 0.0);
        for (row, angles) in rows.iter().zip(angles.chunks_exact_mut(width)) {
            self.config.rope.angles(row.position, angles);
        }
    }

    /// Computes queries, keys and values of all rows.
    fn project(&self, layer: &Layer, scratch: &mut Scratch) {
        let Scratch {
            x,
            normed,
            quantised,
            qkv,
            ..
        } = scratch;
        self.norm(x, &layer.attention_norm, normed);
        self.multiply(&layer.qkv, normed, quantised, qkv);
        if let Some(norms) = &layer.head_norms {
            let (queries, kv) = (self.config.query_width(), self.config.kv_width());
            self.for_each_row(qkv, queries + 2 * kv, |_, row| {
                let (queries, rest) = row.split_at_mut(queries);
                for (heads, weight) in [(queries, &norms.queries), (&mut rest[..kv], &norms.keys)] {
                    self.tier.run(HeadNorm {
                        heads,
                        weight,
                        epsilon: self.config.rms_epsilon,
                    });
                }
            });
        }
    }

    /// Rotates the keys by their positions and stores keys and values in the caches.
    fn store_keys_values(&self, layer: usize, rows: &[RowPlace], caches: &mut [&mut Cache], scratch: &mut Scratch) {
        let Config {
            kv_heads, head_size, ..
        } = self.config;
        let (queries, kv) = (self.config.query_width(), self.config.kv_width());
        let angles = scratch.angles.chunks_exact(self.config.rope.angles_len());
        for ((row, qkv), angles) in rows
            .iter()
            .zip(scratch.qkv.chunks_exact_mut(queries + 2 * kv))
            .zip(angles)
        {
            let (keys, values) = qkv[queries..].split_at_mut(kv);
            let heads = keys.chunks_exact_mut(head_size).zip(values.chunks_exact(head_size));
            for (head, (key, value)) in heads.enumerate().take(kv_heads) {
                self.config.rope.rotate(angles, key);
                caches[row.cache_index].store(layer, head, row.position, key, value);
            }
        }
    }

    /// Removes the rows without logits. Called in the last layer, where only their keys and values are needed.
    fn retain_logit_rows(&self, rows: &mut Vec<RowPlace>, scratch: &mut Scratch) {
        if rows.iter().all(|row| row.wants_logits) {
            return;
        }
        retain_rows(&mut scratch.x, self.config.hidden_size, rows);
        retain_rows(
            &mut scratch.qkv,
            self.config.query_width() + 2 * self.config.kv_width(),
            rows,
        );
        retain_rows(&mut scratch.angles, self.config.rope.angles_len(), rows);
        rows.retain(|row| row.wants_logits);
    }

    fn attend(&self, layer: usize, rows: &[RowPlace], caches: &[&mut Cache], scratch: &mut Scratch) {
        let Config {
            heads,
            kv_heads,
            head_size,
            ..
        } = self.config;
        let width = self.config.query_width();
        scratch.attended.resize(rows.len() * width, 0.0);
        let queries_per_kv_head = heads / kv_heads;
        let parts = queries_per_kv_head.div_ceil(QUERIES_PER_TASK);

        // Consecutive rows of one sequence form groups of at most `ROWS_PER_TASK`. Each group has `kv_heads` times `parts` tasks, in this
        // order: one for each part of the query heads that share a key/value head.
        let mut tasks: Vec<Mutex<Vec<RowHeads<'_>>>> = Vec::new();
        let mut first_task_of_group = 0;
        for (index, out) in scratch.attended.chunks_exact_mut(width).enumerate() {
            let belongs_to_group = tasks.get_mut(first_task_of_group).is_some_and(|task| {
                let task = task.get_mut().unwrap_or_else(PoisonError::into_inner);
                task.len() < ROWS_PER_TASK
                    && task
                        .last()
                        .is_some_and(|(last, _)| rows[*last].cache_index == rows[index].cache_index)
            });
            if !belongs_to_group {
                first_task_of_group = tasks.len();
                tasks.resize_with(first_task_of_group + kv_heads * parts, Mutex::default);
            }
            for (kv_head, out) in out.chunks_exact_mut(queries_per_kv_head * head_size).enumerate() {
                for (part, out) in out.chunks_mut(QUERIES_PER_TASK * head_size).enumerate() {
                    let task = tasks[first_task_of_group + kv_head * parts + part].get_mut();
                    task.unwrap_or_else(PoisonError::into_inner).push((index, out));
                }
            }
        }

        let qkv_width = width + 2 * self.config.kv_width();
        let angles_width = self.config.rope.angles_len();
        let scale = 1.0 / (head_size as f32).sqrt();
        let (qkv, angles) = (&scratch.qkv, &scratch.angles);
        self.pool.run(tasks.len(), |number| {
            let mut task = tasks[number].lock().unwrap_or_else(PoisonError::into_inner);
            // All rows of a task have the same cache. No task is empty.
            let Some(cache) = task.first().map(|(index, _)| &caches[rows[*index].cache_index]) else {
                return;
            };
            let (kv_head, part) = (number / parts % kv_heads, number % parts);
            let mut query_rows = Vec::with_capacity(task.len());
            for (index, out) in task.iter_mut() {
                let from = *index * qkv_width + (kv_head * queries_per_kv_head + part * QUERIES_PER_TASK) * head_size;
                let mut queries = qkv[from..from + out.len()].to_vec();
                let angles = &angles[*index * angles_width..(*index + 1) * angles_width];
                for head in queries.chunks_exact_mut(head_size) {
                    self.config.rope.rotate(angles, head);
                    head.iter_mut().for_each(|value| *value *= scale);
                }
                query_rows.push(QueryRow {
                    positions: rows[*index].position + 1,
                    queries,
                    out,
                });
            }
            self.tier.run(Attend {
                cache,
                layer,
                kv_head,
                head_size,
                rows: &mut query_rows,
                scratch: &mut Vec::new(),
            });
        });
    }

    fn feed_forward(&self, layer: &Layer, scratch: &mut Scratch) {
        let width = self.config.feed_forward;
        let Scratch {
            x,
            normed,
            quantised,
            gate_up,
            gated,
            product,
            ..
        } = scratch;
        self.norm(x, &layer.feed_forward_norm, normed);
        self.multiply(&layer.gate_up, normed, quantised, gate_up);
        gated.resize(quantised.len() * width, 0.0);
        self.gate(gate_up, gated);
        self.multiply(&layer.down, gated, quantised, product);
        self.add(x, product);
    }

    /// Computes the gated values of all rows: silu(gate) * up.
    pub fn gate(&self, gate_up: &[f32], gated: &mut [f32]) {
        let width = self.config.feed_forward;
        self.for_each_row(gated, width, |row, out| {
            let (gate, up) = gate_up[row * 2 * width..(row + 1) * 2 * width].split_at(width);
            self.tier.run(Gate { gate, up, out });
        });
    }

    /// Computes `out` = `from` times the matrix, plus the bias.
    fn multiply(&self, linear: &Linear, from: &[f32], quantised: &mut QuantRows, out: &mut Vec<f32>) {
        let Linear { matrix, bias } = linear;
        quantised.quantise_on(&self.pool, from, matrix.inputs());
        out.resize(quantised.len() * matrix.outputs(), 0.0);
        matmul(&self.pool, self.tier, matrix, quantised, out);
        if let Some(bias) = bias {
            out.chunks_exact_mut(bias.len()).for_each(|row| self.add(row, bias));
        }
    }

    /// Normalises each row of `x`, with `weight` as the row width.
    pub fn norm(&self, x: &[f32], weight: &[f32], out: &mut Vec<f32>) {
        let width = weight.len();
        out.resize(x.len(), 0.0);
        self.for_each_row(out, width, |row, out| {
            let x = &x[row * width..(row + 1) * width];
            self.tier.run(Norm {
                x,
                weight,
                epsilon: self.config.rms_epsilon,
                out,
            });
        });
    }

    fn add(&self, x: &mut [f32], y: &[f32]) {
        self.tier.run(Add { x, y });
    }

    /// Calls `body` with the index and the values of each row. Rows that make a single task are processed on this thread, because waking
    /// another one costs more than it saves.
    pub fn for_each_row(&self, rows: &mut [f32], width: usize, body: impl Fn(usize, &mut [f32]) + Sync) {
        /// Rows of a task: the batch of a few sequences that decode is one task, and a chunk of a prompt has enough tasks for all threads.
        const ROWS: usize = 4;
        let task = |number: usize, rows: &mut [f32]| {
            for (row, values) in rows.chunks_exact_mut(width).enumerate() {
                body(number * ROWS + row, values);
            }
        };
        if rows.len() <= ROWS * width {
            task(0, rows);
        } else {
            self.pool.for_each_piece(rows, ROWS * width, task);
        }
    }
}

/// A row's index, and the attention output of some of its heads.
type RowHeads<'a> = (usize, &'a mut [f32]);

/// Removes the values of rows without logits; each row has `width` values.
fn retain_rows(values: &mut Vec<f32>, width: usize, rows: &[RowPlace]) {
    let mut kept = 0;
    for (index, _) in rows.iter().enumerate().filter(|(_, row)| row.wants_logits) {
        values.copy_within(index * width..(index + 1) * width, kept * width);
        kept += 1;
    }
    values.truncate(kept * width);
}

struct Norm<'a> {
    x: &'a [f32],
    weight: &'a [f32],
    epsilon: f32,
    out: &'a mut [f32],
}

impl Kernel for Norm<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        rms_norm(self.x, self.weight, self.epsilon, self.out);
    }
}

/// Normalises each head in place, with `weight` as the head size.
struct HeadNorm<'a> {
    heads: &'a mut [f32],
    weight: &'a [f32],
    epsilon: f32,
}

impl Kernel for HeadNorm<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let mut values = vec![0.0; self.weight.len()];
        for head in self.heads.chunks_exact_mut(self.weight.len()) {
            values.copy_from_slice(head);
            rms_norm(&values, self.weight, self.epsilon, head);
        }
    }
}

struct Add<'a> {
    x: &'a mut [f32],
    y: &'a [f32],
}

impl Kernel for Add<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        add(self.x, self.y);
    }
}

struct Gate<'a> {
    gate: &'a [f32],
    up: &'a [f32],
    out: &'a mut [f32],
}

impl Kernel for Gate<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        for ((out, &gate), &up) in self.out.iter_mut().zip(self.gate).zip(self.up) {
            *out = silu(gate) * up;
        }
    }
}
