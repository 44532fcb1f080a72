//! The shape of a model, read from the metadata of a GGUF file and checked.

use softprefix_core::bilingual;
use softprefix_core::language::Bilingual;

use crate::errors::LoadError;
use crate::gguf::{GgufFile, MetaValue, check_keys, dequantise};

use super::kernel::BLOCK;
use super::keys::{ARCHITECTURE, GENERAL};
use super::rope::{Pairing, Rope, Scaling, Yarn};

/// The tensor with the divisors of the rotary frequencies.
pub(super) const ROPE_FACTORS: &str = "rope_freqs.weight";

/// Widest head; models have 64 to 256. Each position's angles are computed before any tensor is looked at.
const MAX_HEAD_SIZE: usize = 1 << 16;

/// The shape of a decoder of the Llama family.
#[derive(Debug, Clone)]
pub struct Config {
    /// `qwen2`, `qwen3` or `llama`.
    pub architecture: String,
    /// Number of transformer layers.
    pub layers: usize,
    /// H.
    pub hidden_size: usize,
    /// Width of the gated feed-forward layer.
    pub feed_forward: usize,
    /// Number of query heads.
    pub heads: usize,
    /// Number of key/value heads; each serves `heads / kv_heads` query heads.
    pub kv_heads: usize,
    /// Width of a head.
    pub head_size: usize,
    /// Whether each query and key head is normalised before it is rotated.
    pub head_norms: bool,
    /// V, if the metadata contains it.
    pub vocab_size: Option<usize>,
    /// Maximum number of positions.
    pub window: usize,
    /// Epsilon of the RMS normalisation.
    pub rms_epsilon: f32,
    /// Rotary position embedding.
    pub rope: Rope,
}

impl Config {
    /// Reads and checks the shape. Metadata that asks for something the engine does not compute is refused.
    ///
    /// # Errors
    /// [`LoadError::UnsupportedArchitecture`] for other architectures; [`LoadError::BadFile`] for missing or impossible values;
    /// [`LoadError::Unsupported`] with the key's name for variants that this engine does not compute.
    pub fn read(file: &GgufFile) -> Result<Self, LoadError> {
        let Some(architecture) = file.str("general.architecture") else {
            return Err(bad(
                file,
                bilingual!(
                    "its metadata has no general.architecture",
                    "メタデータに general.architecture がありません"
                ),
            ));
        };
        let (pairing, head_norms) = match architecture {
            "qwen2" => (Pairing::Halves, false),
            "qwen3" => (Pairing::Halves, true),
            "llama" => (Pairing::Adjacent, false),
            other => {
                return Err(LoadError::UnsupportedArchitecture {
                    path: file.path().to_owned(),
                    architecture: other.to_owned(),
                });
            }
        };
        let metadata = Metadata { file, architecture };
        check_keys(file, "general.", GENERAL).map_err(|reason| unsupported(file, reason))?;
        check_keys(file, &metadata.key(""), ARCHITECTURE).map_err(|reason| unsupported(file, reason))?;

        let hidden_size = metadata.number("embedding_length")?;
        let heads = metadata.number("attention.head_count")?;
        let kv_heads = metadata.optional("attention.head_count_kv")?.unwrap_or(heads);
        if kv_heads == 0 || heads % kv_heads != 0 {
            return Err(bad(
                file,
                bilingual!(
                    "it has {heads} heads for {kv_heads} heads of keys, which does not divide",
                    "ヘッドの数 {heads} がキーのヘッドの数 {kv_heads} で割り切れません"
                ),
            ));
        }
        let head_size = match metadata.optional("attention.key_length")? {
            Some(size) => size,
            None if hidden_size % heads == 0 => hidden_size / heads,
            None => {
                return Err(bad(
                    file,
                    bilingual!(
                        "its width of {hidden_size} does not divide into {heads} heads",
                        "隠れ層の幅 {hidden_size} がヘッドの数 {heads} で割り切れません"
                    ),
                ));
            }
        };
        if head_size > MAX_HEAD_SIZE || head_size % 2 != 0 {
            return Err(unsupported(
                file,
                bilingual!(
                    "its heads are {head_size} values wide, an odd number or more than {MAX_HEAD_SIZE}",
                    "ヘッドの幅 {head_size} が奇数か、{MAX_HEAD_SIZE} を超えています"
                ),
            ));
        }
        // Files of these architectures rotate whole heads, and llama.cpp refuses others.
        for name in ["attention.value_length", "attention.head_dim", "rope.dimension_count"] {
            if let Some(size) = metadata.optional(name)?.filter(|size| *size != head_size) {
                let key = metadata.key(name);
                return Err(unsupported(
                    file,
                    bilingual!(
                        "its {key} is {size}, and its heads are {head_size} values wide",
                        "{key} が {size} で、ヘッドの幅 {head_size} と違います"
                    ),
                ));
            }
        }
        let feed_forward = metadata.number("feed_forward_length")?;
        let attention_width = heads.checked_mul(head_size).unwrap_or(0);
        for (en, ja, width) in [
            ("embedding", "埋め込み", hidden_size),
            ("feed-forward", "フィードフォワード層", feed_forward),
            ("attention", "アテンション", attention_width),
        ] {
            if width == 0 || width % BLOCK != 0 {
                return Err(unsupported(
                    file,
                    bilingual!(
                        "its {en} width of {width} is no multiple of {BLOCK}",
                        "{ja}の幅 {width} が {BLOCK} の倍数ではありません"
                    ),
                ));
            }
        }
        let rms_epsilon = match metadata.float("attention.layer_norm_rms_epsilon")? {
            Some(epsilon) if epsilon >= 0.0 => epsilon,
            _ => return Err(metadata.unusable("attention.layer_norm_rms_epsilon")),
        };
        let window = metadata.number("context_length")?;
        // No text is longer than the context, so that a wider window leaves nothing out.
        if let Some(size) = metadata
            .optional("attention.sliding_window")?
            .filter(|size| *size != 0 && *size < window)
        {
            let key = metadata.key("attention.sliding_window");
            return Err(unsupported(
                file,
                bilingual!(
                    "its {key} is {size}, fewer than its context of {window}, which is not computed here",
                    "{key} が {size} で、コンテキスト {window} より小さいものには対応していません"
                ),
            ));
        }
        Ok(Self {
            layers: metadata.number("block_count")?,
            vocab_size: metadata.optional("vocab_size")?,
            rope: rope(&metadata, pairing, head_size, window)?,
            architecture: architecture.to_owned(),
            hidden_size,
            feed_forward,
            heads,
            kv_heads,
            head_size,
            head_norms,
            window,
            rms_epsilon,
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

/// Reads the rotary embedding and its scaling.
fn rope(metadata: &Metadata<'_>, pairing: Pairing, head_size: usize, window: usize) -> Result<Rope, LoadError> {
    let file = metadata.file;
    let base = metadata.float("rope.freq_base")?.unwrap_or(10_000.0);
    if base <= 1.0 {
        return Err(metadata.unusable("rope.freq_base"));
    }
    // A factor without a type means linear scaling; 0 means none.
    let kind = metadata.text("rope.scaling.type")?.unwrap_or("linear");
    let factor_key = ["rope.scaling.factor", "rope.scale_linear"]
        .into_iter()
        .find(|key| file.metadata(&metadata.key(key)).is_some());
    let factor = match factor_key {
        Some(key) => match metadata.float(key)? {
            Some(factor) if factor > 0.0 => factor,
            Some(0.0) => 1.0,
            _ => return Err(metadata.unusable(key)),
        },
        None => 1.0,
    };
    let yarn = match kind {
        "none" | "linear" => None,
        "yarn" => Some(Yarn {
            original: metadata
                .optional("rope.scaling.original_context_length")?
                .unwrap_or(window),
            mix: metadata
                .float("rope.scaling.yarn_ext_factor")?
                .filter(|mix| *mix >= 0.0)
                .unwrap_or(1.0),
            fast: metadata.float("rope.scaling.yarn_beta_fast")?.unwrap_or(32.0),
            slow: metadata.float("rope.scaling.yarn_beta_slow")?.unwrap_or(1.0),
        }),
        other => {
            let key = metadata.key("rope.scaling.type");
            return Err(unsupported(
                file,
                bilingual!(
                    "its {key} is {other}; none, linear and yarn are computed here",
                    "{key} が {other} です。対応しているのは none、linear、yarn です"
                ),
            ));
        }
    };
    if let Some(yarn) = &yarn
        && (yarn.original == 0 || yarn.fast <= 0.0 || yarn.slow <= 0.0)
    {
        return Err(bad(
            file,
            bilingual!(
                "its rope.scaling values for yarn are not all positive",
                "yarn のための rope.scaling の値に、正でないものがあります"
            ),
        ));
    }
    let attention_factor = metadata.float("rope.scaling.attn_factor")?.unwrap_or(1.0);
    if attention_factor <= 0.0 {
        return Err(metadata.unusable("rope.scaling.attn_factor"));
    }
    let scaling = Scaling {
        factor: if kind == "none" { 1.0 } else { factor },
        yarn,
        attention_factor,
    };
    let factors = rope_factors(file, head_size / 2)?;
    Ok(Rope::new(pairing, head_size, base, factors.as_deref(), &scaling))
}

/// Reads the frequency divisors that Llama 3 files contain as a tensor.
fn rope_factors(file: &GgufFile, pairs: usize) -> Result<Option<Vec<f32>>, LoadError> {
    let Some(tensor) = file.tensor(ROPE_FACTORS) else {
        return Ok(None);
    };
    let wrong = || {
        bad(
            file,
            bilingual!(
                "its {ROPE_FACTORS} does not hold {pairs} positive numbers",
                "{ROPE_FACTORS} が {pairs} 個の正の数ではありません"
            ),
        )
    };
    if tensor.columns() != pairs || tensor.rows() != 1 {
        return Err(wrong());
    }
    let bytes = file.read(tensor).map_err(|error| file.unreadable(tensor, error))?;
    let mut factors = vec![0.0; pairs];
    dequantise(tensor.kind, &bytes, &mut factors);
    if !factors.iter().all(|factor| factor.is_finite() && *factor > 0.0) {
        return Err(wrong());
    }
    Ok(Some(factors))
}

/// The keys of the architecture. A value of the wrong type is an error and never treated as a missing key.
struct Metadata<'a> {
    file: &'a GgufFile,
    architecture: &'a str,
}

impl<'a> Metadata<'a> {
    fn key(&self, name: &str) -> String {
        format!("{}.{name}", self.architecture)
    }

    fn unusable(&self, name: &str) -> LoadError {
        let key = self.key(name);
        bad(
            self.file,
            bilingual!(
                "its metadata has no usable {key}",
                "メタデータに使える {key} がありません"
            ),
        )
    }

    fn read<T>(&self, name: &str, read: impl Fn(&'a MetaValue) -> Option<T>) -> Result<Option<T>, LoadError> {
        let value = self.file.metadata(&self.key(name));
        value
            .map(|value| read(value).ok_or_else(|| self.unusable(name)))
            .transpose()
    }

    /// Reads a number, or a list with the same number for each layer.
    fn optional(&self, name: &str) -> Result<Option<usize>, LoadError> {
        let Some(values) = self.read(name, |value| Some(value.as_u32s()))?.flatten() else {
            return self.read(name, |value| value.as_u32().map(|value| value as usize));
        };
        let key = self.key(name);
        let layers = self.file.metadata(&self.key("block_count")).and_then(MetaValue::as_u32);
        match values.as_slice() {
            [first, others @ ..] if layers == u32::try_from(values.len()).ok() => {
                if others.iter().any(|other| other != first) {
                    let reason = bilingual!(
                        "its {key} is not the same for all layers, which is not computed here",
                        "{key} が層によって違うものには対応していません"
                    );
                    return Err(unsupported(self.file, reason));
                }
                Ok(Some(*first as usize))
            }
            _ => Err(self.unusable(name)),
        }
    }

    /// Reads a required number above 0.
    fn number(&self, name: &str) -> Result<usize, LoadError> {
        self.optional(name)?
            .filter(|value| *value > 0)
            .ok_or_else(|| self.unusable(name))
    }

    /// Reads a finite number, stored as a float or an integer.
    fn float(&self, name: &str) -> Result<Option<f32>, LoadError> {
        self.read(name, |value| {
            let float = value.as_f32().or(value.as_u32().map(|value| value as f32));
            float.filter(|value| value.is_finite())
        })
    }

    fn text(&self, name: &str) -> Result<Option<&'a str>, LoadError> {
        self.read(name, MetaValue::as_str)
    }
}

fn bad(file: &GgufFile, reason: Bilingual) -> LoadError {
    LoadError::bad_file(file.path(), reason)
}

fn unsupported(file: &GgufFile, reason: Bilingual) -> LoadError {
    LoadError::Unsupported {
        path: file.path().to_owned(),
        reason,
    }
}
