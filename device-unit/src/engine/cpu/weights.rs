//! Loads the weights of a model: reads the tensors by name and packs them for the kernels.
//!
//! Q4_0, Q4_1, Q5_0, Q5_1, Q8_0 and IQ4_NL are packed without loss; of Q4_K, Q5_K and IQ4_XS only the scales are rounded, to f16. Every
//! other type is dequantised and rounded to i8 in blocks of 32 with an f16 scale, which is finer than most of these types, but not the
//! same. Rows are read one by one, so that no tensor is in memory twice. Shapes must have been checked by `tensors`. A number that is not
//! finite, or too large for such a block, is refused with the tensor's name, and so is a row all of whose numbers are too small for one.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use half::f16;
use softprefix_core::bilingual;
use softprefix_core::language::Bilingual;
use softprefix_core::protocol::extension::{StoredWeights, WeightRounding};

use super::config::Config;
use super::kernel::{BLOCK, PackedMatrix, quantise_weights};
use super::tensors::{OUTPUT, TABLE};
use super::threads::Pool;
use crate::engine::{LoadProgress, LoadStage};
use crate::errors::LoadError;
use crate::gguf::{Blocks, GgufFile, TensorInfo, TensorKind, blocks, dequantise, minima, to_i8_blocks};

/// Part of the loading progress that the layers take; the vocabulary's matrix takes the rest. A round guess: in Qwen2.5 0.5B the layers have
/// 0.72 of the weights.
const LAYERS_PROGRESS: f32 = 0.77;

/// All weights except the embedding table, which stays in the file.
pub struct Weights {
    pub layers: Vec<Layer>,
    /// Weight of the final normalisation, H.
    pub norm: Vec<f32>,
    /// V x H: the output matrix, or the embedding table if the model shares it.
    pub vocabulary: Linear,
    /// How the matrices were converted.
    pub conversions: Vec<StoredWeights>,
}

/// A matrix with its bias, if the model has one.
pub struct Linear {
    pub matrix: PackedMatrix,
    pub bias: Option<Vec<f32>>,
}

/// One decoder layer.
pub struct Layer {
    /// H.
    pub attention_norm: Vec<f32>,
    /// (queries + keys + values) x H, in this order.
    pub qkv: Linear,
    /// Weights of the normalisation of each query and key head, if the architecture has it.
    pub head_norms: Option<HeadNorms>,
    /// H x queries.
    pub output: Linear,
    /// H.
    pub feed_forward_norm: Vec<f32>,
    /// (gate + up) x H.
    pub gate_up: Linear,
    /// H x feed-forward.
    pub down: Linear,
}

/// Normalisation weights, one head each.
pub struct HeadNorms {
    pub queries: Vec<f32>,
    pub keys: Vec<f32>,
}

impl Weights {
    /// Packs all weights of a checked file on the threads of `pool`.
    ///
    /// # Errors
    /// [`LoadError::Unreadable`] if reading fails; [`LoadError::BadFile`] for a tensor with numbers that cannot be computed with.
    pub fn load(file: &GgufFile, config: &Config, pool: &Pool, progress: &LoadProgress<'_>) -> Result<Self, LoadError> {
        let loader = Loader {
            file,
            pool,
            kinds: RefCell::default(),
        };
        let mut layers = Vec::new();
        for number in 0..config.layers {
            progress(
                LAYERS_PROGRESS * number as f32 / config.layers as f32,
                LoadStage::Weights,
            );
            let name = |part: &str| format!("blk.{number}.{part}");
            let linear = |parts: &[&str]| {
                let parts: Vec<String> = parts.iter().map(|part| name(part)).collect();
                loader.linear(&parts)
            };
            let head_norms = || -> Result<HeadNorms, LoadError> {
                Ok(HeadNorms {
                    queries: loader.vector(&name("attn_q_norm.weight"))?,
                    keys: loader.vector(&name("attn_k_norm.weight"))?,
                })
            };
            layers.push(Layer {
                attention_norm: loader.vector(&name("attn_norm.weight"))?,
                qkv: linear(&["attn_q", "attn_k", "attn_v"])?,
                head_norms: config.head_norms.then(head_norms).transpose()?,
                output: linear(&["attn_output"])?,
                feed_forward_norm: loader.vector(&name("ffn_norm.weight"))?,
                gate_up: linear(&["ffn_gate", "ffn_up"])?,
                down: linear(&["ffn_down"])?,
            });
        }
        progress(LAYERS_PROGRESS, LoadStage::Vocabulary);
        let norm = loader.vector("output_norm.weight")?;
        let own = file.tensor(OUTPUT).is_some();
        let vocabulary = Linear {
            matrix: loader.matrix(&[loader.tensor(if own { OUTPUT } else { TABLE })?])?,
            bias: loader.biases(&[loader.tensor(TABLE)?.rows()], &["output.bias".to_owned()])?,
        };
        Ok(Self {
            layers,
            norm,
            vocabulary,
            conversions: conversions(&loader.kinds.borrow()),
        })
    }

    /// Returns the bytes that a forward pass of one token reads.
    pub fn bytes(&self) -> usize {
        let layer = |l: &Layer| {
            [&l.qkv, &l.output, &l.gate_up, &l.down]
                .map(|part| part.matrix.bytes())
                .iter()
                .sum::<usize>()
        };
        self.layers.iter().map(layer).sum::<usize>() + self.vocabulary.matrix.bytes()
    }
}

/// Describes how the matrices were converted, given the number of each type.
fn conversions(kinds: &BTreeMap<TensorKind, usize>) -> Vec<StoredWeights> {
    let how = |kind| match (blocks(kind), kind) {
        (Blocks::No, _) => WeightRounding::Rounded,
        (_, TensorKind::Q4K | TensorKind::Q5K | TensorKind::Iq4Xs) => WeightRounding::ScalesRounded,
        _ => WeightRounding::Exact,
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
    /// Number of packed matrices by stored type.
    kinds: RefCell<BTreeMap<TensorKind, usize>>,
}

impl Loader<'_> {
    fn tensor(&self, name: &str) -> Result<&TensorInfo, LoadError> {
        self.file.tensor(name).ok_or_else(|| {
            let reason = bilingual!("the tensor {name} is missing", "テンソル {name} がありません");
            LoadError::bad_file(self.file.path(), reason)
        })
    }

    /// Reads a small tensor.
    fn vector(&self, name: &str) -> Result<Vec<f32>, LoadError> {
        let tensor = self.tensor(name)?;
        let bytes = self
            .file
            .read(tensor)
            .map_err(|error| self.file.unreadable(tensor, error))?;
        let mut values = vec![0.0; tensor.columns() * tensor.rows()];
        dequantise(tensor.kind, &bytes, &mut values);
        if !values.iter().all(|value| value.is_finite()) {
            return Err(unusable(self.file, tensor, NOT_FINITE));
        }
        Ok(values)
    }

    /// Concatenates vectors of these lengths, with zeros for missing ones; `None` if all are missing.
    fn biases(&self, lengths: &[usize], names: &[String]) -> Result<Option<Vec<f32>>, LoadError> {
        if names.iter().all(|name| self.file.tensor(name).is_none()) {
            return Ok(None);
        }
        let mut all = Vec::new();
        for (name, len) in names.iter().zip(lengths) {
            match self.file.tensor(name) {
                Some(_) => all.extend(self.vector(name)?),
                None => all.resize(all.len() + len, 0.0),
            }
        }
        Ok(Some(all))
    }

    /// Concatenates the outputs of several matrices with the same inputs, and their biases.
    fn linear(&self, parts: &[String]) -> Result<Linear, LoadError> {
        let tensors: Vec<&TensorInfo> = (parts.iter())
            .map(|part| self.tensor(&format!("{part}.weight")))
            .collect::<Result<_, _>>()?;
        let lengths: Vec<usize> = tensors.iter().map(|tensor| tensor.rows()).collect();
        let names: Vec<String> = parts.iter().map(|part| format!("{part}.bias")).collect();
        Ok(Linear {
            matrix: self.matrix(&tensors)?,
            bias: self.biases(&lengths, &names)?,
        })
    }

    fn matrix(&self, tensors: &[&TensorInfo]) -> Result<PackedMatrix, LoadError> {
        for tensor in tensors {
            *self.kinds.borrow_mut().entry(tensor.kind).or_default() += 1;
        }
        let outputs = tensors.iter().map(|tensor| tensor.rows()).sum();
        let inputs = tensors.first().map_or(0, |tensor| tensor.columns());
        // The first failure on any thread. The packed matrix is then discarded.
        let failure: Mutex<Option<LoadError>> = Mutex::new(None);
        let fail = |error: LoadError| {
            let mut failure = failure.lock().unwrap_or_else(PoisonError::into_inner);
            failure.get_or_insert(error);
        };
        // Reads the stored row of an output, and returns its tensor.
        let stored = |output: usize, bytes: &mut Vec<u8>| {
            let mut row = output;
            for &tensor in tensors {
                if row >= tensor.rows() {
                    row -= tensor.rows();
                    continue;
                }
                bytes.resize(tensor.row_bytes(), 0);
                match self.file.read_into(tensor, (row * tensor.row_bytes()) as u64, bytes) {
                    Ok(()) => return Some(tensor),
                    Err(error) => {
                        fail(self.file.unreadable(tensor, error));
                        return None;
                    }
                }
            }
            None
        };
        let mut packed = PackedMatrix::pack_q8(
            outputs,
            inputs,
            |output, values, scales| {
                let mut bytes = Vec::new();
                if let Some(tensor) = stored(output, &mut bytes)
                    && let Err(what) = pack_row(tensor.kind, &bytes, values, scales)
                {
                    fail(unusable(self.file, tensor, what));
                }
            },
            self.pool,
        );
        if tensors.iter().any(|tensor| blocks(tensor.kind) == Blocks::WithMinima) {
            let row = |output, out: &mut [f16]| {
                let mut bytes = Vec::new();
                out.fill(f16::ZERO);
                if let Some(tensor) = stored(output, &mut bytes) {
                    minima(tensor.kind, &bytes, out);
                    if !out.iter().all(|minimum| minimum.is_finite()) {
                        fail(unusable(self.file, tensor, NOT_FINITE));
                    }
                }
            };
            packed = packed.with_minima(row, self.pool);
        }
        match failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Some(error) => Err(error),
            None => Ok(packed),
        }
    }
}

const NOT_FINITE: Bilingual<&str> = Bilingual {
    en: "numbers that are not finite, or too large to be computed with",
    ja: "有限でない数か、計算できない大きさの数",
};
const TOO_SMALL: Bilingual<&str> = Bilingual {
    en: "a row of numbers that are too small to be computed with",
    ja: "小さすぎて計算できない数の行",
};

fn unusable(file: &GgufFile, tensor: &TensorInfo, what: Bilingual<&str>) -> LoadError {
    let (name, Bilingual { en, ja }) = (&tensor.name, what);
    let reason = bilingual!("the tensor {name} has {en}", "テンソル {name} に{ja}があります");
    LoadError::bad_file(file.path(), reason)
}

/// Converts one stored row to the kernels' format.
///
/// # Errors
/// What the row has that does not fit, as a noun phrase.
fn pack_row(
    kind: TensorKind,
    bytes: &[u8],
    values: &mut [i8],
    scales: &mut [f16],
) -> Result<(), Bilingual<&'static str>> {
    if blocks(kind) != Blocks::No {
        to_i8_blocks(kind, bytes, values, scales);
        let are_finite = scales.iter().all(|scale| scale.is_finite());
        return if are_finite { Ok(()) } else { Err(NOT_FINITE) };
    }
    // The largest scale of a block, and the smallest above 0.
    let (largest_scale, smallest_scale) = (f16::MAX.to_f32(), f16::MIN_POSITIVE_SUBNORMAL.to_f32());
    // Of the row so far: its largest magnitude and, while that is too small for a scale, whether all values are multiples of the smallest
    // scale, which `quantise_weights` keeps exactly.
    let mut largest = 0.0_f32;
    let mut is_exact = true;
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
        // NaN is not within the range.
        if !piece.iter().all(|value| value.abs() <= 127.0 * largest_scale) {
            return Err(NOT_FINITE);
        }
        largest = piece.iter().fold(largest, |largest, value| largest.max(value.abs()));
        is_exact &=
            largest >= 127.0 * smallest_scale || piece.iter().all(|value| (value / smallest_scale).fract() == 0.0);
        let blocks = piece
            .chunks_exact(BLOCK)
            .zip(values.chunks_exact_mut(BLOCK))
            .zip(scales);
        for ((block, values), scale) in blocks {
            *scale = quantise_weights(block, values);
        }
    }
    if !is_exact && largest < 127.0 * smallest_scale {
        return Err(TOO_SMALL);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_conversion_is_described_by_type() {
        let kinds = BTreeMap::from([(TensorKind::Q5_0, 132), (TensorKind::Q4K, 12), (TensorKind::Q6K, 24)]);
        let stored = conversions(&kinds);
        let hows: Vec<WeightRounding> = stored.iter().map(|stored| stored.how).collect();
        assert_eq!(
            hows,
            [
                WeightRounding::Exact,
                WeightRounding::ScalesRounded,
                WeightRounding::Rounded
            ]
        );
        assert_eq!(
            StoredWeights::sentence(&stored),
            "132 Q5_0 as in the file; 12 Q4_K with their scales rounded to f16; 24 Q6_K rounded to 8 bits"
        );
    }
}
