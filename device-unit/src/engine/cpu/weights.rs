//! Loads a model's weights: found in the file by name, checked against the shape, packed for the kernels.
//!
//! Q4_0, Q4_1, Q5_0, Q5_1 and Q8_0 are packed without loss; of Q4_K and Q5_K only the scales are rounded, to f16. Every other
//! type is dequantised and rounded to the kernels' form, i8 in blocks of 32 with an f16 scale, which is finer than what
//! most of these store, but not the same. The originals' pages are given back as soon as they are packed. It knows tensor
//! names and shapes, not what is computed with them.

use std::cell::RefCell;
use std::collections::BTreeMap;

use half::f16;
use softprefix_core::protocol::extension::{StoredWeights, TakenOver};

use super::config::Config;
use super::kernel::{BLOCK, PackedMatrix, quantise_weights};
use super::threads::Pool;
use crate::engine::Progress;
use crate::errors::LoadError;
use crate::gguf::{Blocks, blocks, dequantise, minima, to_i8_blocks};
use crate::gguf::{GgufFile, TensorInfo, TensorKind};

/// All weights but the embedding table, which stays in the file.
pub struct Weights {
    pub layers: Vec<Layer>,
    /// Weight of the last normalisation, H.
    pub norm: Vec<f32>,
    /// V x H: the model's own, or the embedding table where both are one.
    pub vocabulary: PackedMatrix,
    /// Which matrices are the file's numbers and which were rounded.
    pub taken_over: Vec<StoredWeights>,
}

/// One decoder layer.
pub struct Layer {
    /// H.
    pub attention_norm: Vec<f32>,
    /// (queries + keys + values) x H, in this order.
    pub qkv: PackedMatrix,
    /// Added to the products of `qkv`, where the model has it.
    pub qkv_bias: Option<Vec<f32>>,
    /// H x queries.
    pub output: PackedMatrix,
    /// H.
    pub feed_forward_norm: Vec<f32>,
    /// (gate + up) x H.
    pub gate_up: PackedMatrix,
    /// H x feed-forward.
    pub down: PackedMatrix,
}

impl Weights {
    /// Packs all weights on the threads of `pool`.
    ///
    /// # Errors
    /// [`LoadError::BadFile`] where a tensor is missing or of another shape than the metadata says.
    pub fn load(file: &GgufFile, config: &Config, pool: &Pool, progress: &Progress<'_>) -> Result<Self, LoadError> {
        let loader = Loader {
            file,
            pool,
            kinds: RefCell::default(),
        };
        let h = config.hidden_size;
        let (queries, kv) = (config.query_width(), config.kv_width());
        let table = loader.tensor("token_embd.weight")?;
        let vocab_size = table.rows();
        if table.columns() != h || vocab_size == 0 {
            return Err(loader.bad_shape(table, h, vocab_size));
        }

        let mut layers = Vec::new();
        for number in 0..config.layers {
            progress(number as f32 / (config.layers as f32 * 1.3), "weights");
            let name = |part: &str| format!("blk.{number}.{part}");
            let matrix = |inputs, parts: &[(&str, usize)]| {
                let parts: Vec<_> = parts
                    .iter()
                    .map(|(part, outputs)| (name(part) + ".weight", *outputs))
                    .collect();
                loader.matrix(inputs, &parts)
            };
            layers.push(Layer {
                attention_norm: loader.vector(&name("attn_norm.weight"), h)?,
                qkv: matrix(h, &[("attn_q", queries), ("attn_k", kv), ("attn_v", kv)])?,
                qkv_bias: loader.biases(&[
                    (name("attn_q.bias"), queries),
                    (name("attn_k.bias"), kv),
                    (name("attn_v.bias"), kv),
                ])?,
                output: matrix(queries, &[("attn_output", h)])?,
                feed_forward_norm: loader.vector(&name("ffn_norm.weight"), h)?,
                gate_up: matrix(h, &[("ffn_gate", config.feed_forward), ("ffn_up", config.feed_forward)])?,
                down: matrix(config.feed_forward, &[("ffn_down", h)])?,
            });
        }
        progress(1.0 / 1.3, "vocabulary");
        let norm = loader.vector("output_norm.weight", h)?;
        let own = file.tensor("output.weight").is_some();
        let vocabulary = if own { "output.weight" } else { "token_embd.weight" };
        let vocabulary = loader.matrix(h, &[(vocabulary.into(), vocab_size)])?;
        Ok(Self {
            layers,
            norm,
            vocabulary,
            taken_over: taken_over(&loader.kinds.borrow()),
        })
    }

    /// Bytes that one token's forward pass reads.
    pub fn bytes(&self) -> usize {
        let layer = |l: &Layer| l.qkv.bytes() + l.output.bytes() + l.gate_up.bytes() + l.down.bytes();
        self.layers.iter().map(layer).sum::<usize>() + self.vocabulary.bytes()
    }
}

/// What became of the matrices, given how many there are of each type.
fn taken_over(kinds: &BTreeMap<TensorKind, usize>) -> Vec<StoredWeights> {
    let how = |kind| match (blocks(kind), kind) {
        (Blocks::No, _) => TakenOver::Rounded,
        (_, TensorKind::Q4K | TensorKind::Q5K) => TakenOver::ScalesRounded,
        _ => TakenOver::Exact,
    };
    let stored = kinds.iter().map(|(&kind, &count)| StoredWeights {
        count,
        how: how(kind),
        kind: kind.name().to_owned(),
    });
    stored.collect()
}

struct Loader<'a> {
    file: &'a GgufFile,
    pool: &'a Pool,
    /// Matrices packed so far, by how the file stores them.
    kinds: RefCell<BTreeMap<TensorKind, usize>>,
}

impl Loader<'_> {
    fn tensor(&self, name: &str) -> Result<&TensorInfo, LoadError> {
        self.file
            .tensor(name)
            .ok_or_else(|| self.bad(format!("it lacks the tensor {name}")))
    }

    fn bad(&self, reason: String) -> LoadError {
        LoadError::BadFile {
            path: self.file.path().to_owned(),
            reason,
        }
    }

    fn bad_shape(&self, tensor: &TensorInfo, inputs: usize, outputs: usize) -> LoadError {
        self.bad(format!(
            "the tensor {} has the dimensions {:?}; the metadata asks for {inputs} x {outputs}",
            tensor.name, tensor.dimensions
        ))
    }

    /// A small tensor of `len` values.
    fn vector(&self, name: &str, len: usize) -> Result<Vec<f32>, LoadError> {
        let tensor = self.tensor(name)?;
        if tensor.columns() != len || tensor.rows() != 1 {
            return Err(self.bad_shape(tensor, len, 1));
        }
        let mut values = vec![0.0; len];
        dequantise(tensor.kind, self.file.data(tensor), &mut values);
        Ok(values)
    }

    /// Several vectors end to end, where the file has the first of them.
    fn biases(&self, parts: &[(String, usize)]) -> Result<Option<Vec<f32>>, LoadError> {
        if parts.first().is_none_or(|(name, _)| self.file.tensor(name).is_none()) {
            return Ok(None);
        }
        let mut all = Vec::new();
        for (name, len) in parts {
            all.extend(self.vector(name, *len)?);
        }
        Ok(Some(all))
    }

    /// Several matrices of the same inputs, their outputs one after another, as one.
    fn matrix(&self, inputs: usize, parts: &[(String, usize)]) -> Result<PackedMatrix, LoadError> {
        let mut tensors = Vec::new();
        for (name, outputs) in parts {
            let tensor = self.tensor(name)?;
            if tensor.columns() != inputs || tensor.rows() != *outputs {
                return Err(self.bad_shape(tensor, inputs, *outputs));
            }
            *self.kinds.borrow_mut().entry(tensor.kind).or_default() += 1;
            tensors.push((tensor, self.file.data(tensor)));
        }
        let outputs = parts.iter().map(|(_, outputs)| outputs).sum();
        // The tensor that holds an output's row, and the row's bytes.
        let stored = |output: usize| {
            let mut row = output;
            tensors.iter().find_map(|(tensor, data)| {
                if row >= tensor.rows() {
                    row -= tensor.rows();
                    return None;
                }
                let bytes = tensor.kind.bytes_of(inputs);
                Some((tensor.kind, &data[row * bytes..(row + 1) * bytes]))
            })
        };
        let mut packed = PackedMatrix::pack_q8(
            outputs,
            inputs,
            |output, values, scales| {
                if let Some((kind, bytes)) = stored(output) {
                    pack_row(kind, bytes, values, scales);
                }
            },
            self.pool,
        );
        if tensors
            .iter()
            .any(|(tensor, _)| blocks(tensor.kind) == Blocks::WithMinima)
        {
            let row = |output, out: &mut [f16]| {
                out.fill(f16::ZERO);
                if let Some((kind, bytes)) = stored(output) {
                    minima(kind, bytes, out);
                }
            };
            packed = packed.with_minima(row, self.pool);
        }
        tensors.iter().for_each(|(tensor, _)| self.file.release(tensor));
        Ok(packed)
    }
}

/// One stored row in the kernels' form.
fn pack_row(kind: TensorKind, bytes: &[u8], values: &mut [i8], scales: &mut [f16]) {
    if blocks(kind) != Blocks::No {
        return to_i8_blocks(kind, bytes, values, scales);
    }
    // 256 values are a whole number of blocks of every type.
    const PIECE: usize = 256;
    let mut piece = [0.0; PIECE];
    let piece_bytes = kind.bytes_of(PIECE);
    let pieces = bytes
        .chunks(piece_bytes)
        .zip(values.chunks_mut(PIECE))
        .zip(scales.chunks_mut(PIECE / BLOCK));
    for ((bytes, values), scales) in pieces {
        let piece = &mut piece[..values.len()];
        dequantise(kind, bytes, piece);
        let blocks = piece
            .chunks_exact(BLOCK)
            .zip(values.chunks_exact_mut(BLOCK))
            .zip(scales);
        for ((block, values), scale) in blocks {
            *scale = quantise_weights(block, values);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{BTreeMap, StoredWeights, TakenOver, TensorKind, taken_over};

    #[test]
    fn what_was_rounded_is_said_type_by_type() {
        let kinds = BTreeMap::from([(TensorKind::Q5_0, 132), (TensorKind::Q4K, 12), (TensorKind::Q6K, 24)]);
        let told = taken_over(&kinds);
        let hows: Vec<TakenOver> = told.iter().map(|stored| stored.how).collect();
        assert_eq!(hows, [TakenOver::Exact, TakenOver::ScalesRounded, TakenOver::Rounded]);
        assert_eq!(
            StoredWeights::sentence(&told),
            "132 Q5_0 as in the file; 12 Q4_K with their scales rounded to f16; 24 Q6_K rounded to 8 bits"
        );
    }
}
