//! What a GGUF file says of its model's shape, checked before anything is built on it.
//!
//! It knows the metadata keys of the architectures this engine runs, and no weights.

use crate::errors::LoadError;

use super::kernel::BLOCK;
use super::rope::{Pairing, Rope};
use crate::gguf::GgufFile;

/// The shape of a decoder of the Llama family.
#[derive(Debug, Clone)]
pub struct Config {
    /// `qwen2` or `llama`.
    pub architecture: String,
    pub layers: usize,
    /// H.
    pub hidden_size: usize,
    /// Width inside the gated feed-forward part.
    pub feed_forward: usize,
    pub heads: usize,
    /// Heads of keys and values; each serves `heads / kv_heads` heads of queries.
    pub kv_heads: usize,
    /// Width of a head.
    pub head_size: usize,
    /// Positions the model was trained for.
    pub window: usize,
    pub rms_epsilon: f32,
    pub rope: Rope,
}

impl Config {
    /// Reads and checks the shape.
    ///
    /// # Errors
    /// [`LoadError::UnsupportedArchitecture`] for other architectures; [`LoadError::BadFile`] for missing or impossible
    /// values, and for variants of the architecture that this engine does not compute (experts, extended rotations).
    pub fn read(file: &GgufFile) -> Result<Self, LoadError> {
        let bad = |reason: String| LoadError::BadFile {
            path: file.path().to_owned(),
            reason,
        };
        let Some(architecture) = file.str("general.architecture") else {
            return Err(bad("its metadata names no general.architecture".into()));
        };
        let pairing = match architecture {
            "qwen2" => Pairing::Halves,
            "llama" => Pairing::Neighbours,
            other => {
                return Err(LoadError::UnsupportedArchitecture {
                    path: file.path().to_owned(),
                    architecture: other.to_owned(),
                });
            }
        };
        let key = |name: &str| format!("{architecture}.{name}");
        let optional = |name: &str| file.u32(&key(name)).map(|value| value as usize);
        let number = |name: &str| match optional(name) {
            Some(value) if value > 0 => Ok(value),
            _ => Err(bad(format!("its metadata gives no usable {}", key(name)))),
        };
        let float = |name: &str| file.f32(&key(name));

        let hidden_size = number("embedding_length")?;
        let heads = number("attention.head_count")?;
        let kv_heads = optional("attention.head_count_kv").unwrap_or(heads);
        if kv_heads == 0 || heads % kv_heads != 0 {
            return Err(bad(format!(
                "it has {heads} heads for {kv_heads} heads of keys, which does not divide"
            )));
        }
        let head_size = match optional("attention.key_length") {
            Some(size) => size,
            None if hidden_size % heads == 0 => hidden_size / heads,
            None => {
                return Err(bad(format!(
                    "its width of {hidden_size} does not divide into {heads} heads"
                )));
            }
        };
        if optional("attention.value_length").is_some_and(|size| size != head_size) {
            return Err(bad(
                "its keys and values have different widths, which this engine does not compute".into(),
            ));
        }
        let feed_forward = number("feed_forward_length")?;
        let attention_width = heads.checked_mul(head_size).unwrap_or(0);
        for (what, width) in [
            ("embedding", hidden_size),
            ("feed-forward", feed_forward),
            ("attention", attention_width),
        ] {
            if width == 0 || width % BLOCK != 0 {
                return Err(bad(format!("its {what} width of {width} is no multiple of {BLOCK}")));
            }
        }
        if optional("expert_count").is_some_and(|experts| experts > 0) {
            return Err(bad(
                "it is a mixture of experts, which this engine does not compute".into()
            ));
        }
        match file.str(&key("rope.scaling.type")) {
            None | Some("none") => {}
            Some(other) => {
                return Err(bad(format!(
                    "it uses rope scaling of the type {other}, which this engine does not compute"
                )));
            }
        }
        let rotated = optional("rope.dimension_count").unwrap_or(head_size);
        if rotated == 0 || rotated > head_size || rotated % 2 != 0 {
            return Err(bad(format!("it rotates {rotated} of {head_size} values of a head")));
        }
        let base = float("rope.freq_base").unwrap_or(10_000.0);
        if !(base.is_finite() && base > 1.0) {
            return Err(bad(format!("its {} is {base}", key("rope.freq_base"))));
        }
        let rms_epsilon = match float("attention.layer_norm_rms_epsilon") {
            Some(epsilon) if epsilon.is_finite() && epsilon >= 0.0 => epsilon,
            _ => {
                return Err(bad(format!(
                    "its metadata gives no usable {}",
                    key("attention.layer_norm_rms_epsilon")
                )));
            }
        };
        let factors = rope_factors(file, rotated / 2)?;
        Ok(Self {
            architecture: architecture.to_owned(),
            layers: number("block_count")?,
            hidden_size,
            feed_forward,
            heads,
            kv_heads,
            head_size,
            window: number("context_length")?,
            rms_epsilon,
            rope: Rope::new(pairing, rotated, base, factors.as_deref()),
        })
    }

    /// Width of all query heads.
    pub fn query_width(&self) -> usize {
        self.heads * self.head_size
    }

    /// Width of all key heads, which is also that of the value heads.
    pub fn kv_width(&self) -> usize {
        self.kv_heads * self.head_size
    }
}

/// The divisors of the rotation's speeds that Llama 3 files carry as a tensor.
fn rope_factors(file: &GgufFile, pairs: usize) -> Result<Option<Vec<f32>>, LoadError> {
    let Some(tensor) = file.tensor("rope_freqs.weight") else {
        return Ok(None);
    };
    let mut factors = vec![0.0; tensor.columns() * tensor.rows()];
    crate::gguf::dequantise(tensor.kind, file.data(tensor), &mut factors);
    if factors.len() != pairs || !factors.iter().all(|factor| factor.is_finite() && *factor > 0.0) {
        let reason = format!("its rope_freqs.weight does not hold {pairs} positive numbers");
        return Err(LoadError::BadFile {
            path: file.path().to_owned(),
            reason,
        });
    }
    Ok(Some(factors))
}
