//! Creates small GGUF files with random weights, so that tests above the engine need no download.
//!
//! The format, the tensor names, the metadata and the tokenizer tables are those of the architecture. Compiled for tests only (feature
//! `testing`).

pub mod hub;
#[cfg(feature = "cpu")]
mod models;

use std::io::Write;
use std::path::Path;

#[cfg(feature = "cpu")]
use crate::gguf::{TensorKind, dequantise};
use half::f16;
#[cfg(feature = "cpu")]
pub use models::{qwen_model, small_model};
use softprefix_core::prefix::split_mix;

/// The contents of a file. Start from `TinyModel::qwen2()`, `TinyModel::qwen3()` or `TinyModel::llama()`.
#[derive(Debug, Clone)]
pub struct TinyModel {
    /// `qwen2` (biases, rotated halves), `qwen3` (normalised heads, rotated halves) or `llama` (neither, rotated pairs). Files with any
    /// other name are refused.
    pub architecture: String,
    pub hidden_size: usize,
    pub layers: usize,
    pub heads: usize,
    pub kv_heads: usize,
    /// Width of a head, if it is not H / heads.
    pub head_size: Option<usize>,
    pub feed_forward: usize,
    /// `context_length` in the metadata.
    pub window: usize,
    /// Whether the file has an `output.weight` besides the embedding table.
    pub own_output: bool,
    pub weights: TinyWeights,
    pub seed: u64,
    /// Keys to add, change, or (with `None`) leave out.
    pub keys: Vec<(String, Option<Meta>)>,
    /// Additional F32 tensors, with dimensions from the innermost outwards.
    pub tensors: Vec<(String, Vec<usize>)>,
}

/// The storage format of matrices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TinyWeights {
    F32,
    F16,
    Q8_0,
    Q4_1,
    Bf16,
    /// Blocks of a type that is not quantised here: random bits with given scales.
    Blocks(Stored),
    /// The values of such blocks, stored as F32.
    #[cfg(feature = "cpu")]
    BlocksAsF32(Stored),
}

/// A block type of GGUF files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stored {
    /// GGML's id of the type.
    pub id: u32,
    /// Values per block.
    pub values: usize,
    /// Bytes per block.
    pub bytes: usize,
    /// Offsets of its f16 scales, each with its factor on `step`.
    pub scales: &'static [(usize, i32)],
    /// The values are multiples of this power of two.
    pub step: i32,
}

impl Stored {
    /// All supported types that are not quantised here, with scales that give weights of a usual size.
    pub const ALL: [Self; 11] = [
        Self::of(2, 32, 18, &[(0, 1)], -6),
        Self::of(6, 32, 22, &[(0, 1)], -7),
        Self::of(7, 32, 24, &[(0, 1), (2, -16)], -7),
        Self::of(3, 32, 20, &[(0, 1), (2, -8)], -6),
        Self::of(10, 256, 84, &[(80, 2), (82, 3)], -8),
        Self::of(11, 256, 110, &[(108, 1)], -9),
        Self::of(12, 256, 144, &[(0, 2), (2, 15)], -12),
        Self::of(13, 256, 176, &[(0, 2), (2, 31)], -13),
        Self::of(14, 256, 210, &[(208, 1)], -14),
        Self::of(20, 32, 18, &[(0, 1)], -9),
        Self::of(23, 256, 136, &[(0, 1)], -13),
    ];

    const fn of(id: u32, values: usize, bytes: usize, scales: &'static [(usize, i32)], step: i32) -> Self {
        Self {
            id,
            values,
            bytes,
            scales,
            step,
        }
    }

    /// Returns the type with this ggml name.
    #[cfg(feature = "cpu")]
    pub fn named(name: &str) -> Option<Self> {
        let known = |stored: &Self| TensorKind::from_id(stored.id).is_ok_and(|kind| kind.name() == name);
        Self::ALL.into_iter().find(known)
    }

    /// Creates blocks for `values` values.
    fn blocks(self, values: usize, random: &mut Random) -> Vec<u8> {
        let mut data: Vec<u8> = (0..values / self.values * self.bytes)
            .map(|_| (random.signed() * 128.0).floor() as i8 as u8)
            .collect();
        for block in data.chunks_exact_mut(self.bytes) {
            for &(place, factor) in self.scales {
                let scale = f16::from_f32(factor as f32 * 2.0_f32.powi(self.step));
                block[place..place + 2].copy_from_slice(&scale.to_le_bytes());
            }
        }
        data
    }
}

/// Ids of the tiny vocabulary: bytes are 0..=255 (token = byte), followed by special tokens.
pub mod token {
    /// `<|endoftext|>`
    pub const END_OF_TEXT: u32 = 256;
    /// `<|im_start|>`
    pub const IM_START: u32 = 257;
    /// `<|im_end|>`
    pub const IM_END: u32 = 258;
}

/// Tokens after the bytes and special tokens, created by merges: the first two letters join, then a third.
const MERGED: [(&str, &str); 6] = [
    ("t", "h"),
    ("th", "e"),
    ("Ġ", "the"),
    ("a", "n"),
    ("an", "d"),
    ("i", "n"),
];

const CHAT_TEMPLATE: &str = "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + \
                             message['content'] + '<|im_end|>' + '\\n' }}{% endfor %}\
                             {% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

impl TinyModel {
    pub fn qwen2() -> Self {
        Self {
            architecture: "qwen2".into(),
            hidden_size: 64,
            layers: 2,
            heads: 4,
            kv_heads: 2,
            feed_forward: 96,
            window: 512,
            own_output: false,
            weights: TinyWeights::Q8_0,
            seed: 7,
            head_size: None,
            keys: Vec::new(),
            tensors: Vec::new(),
        }
    }

    pub fn llama() -> Self {
        Self {
            architecture: "llama".into(),
            heads: 2,
            kv_heads: 1,
            seed: 11,
            ..Self::qwen2()
        }
    }

    /// With a head size independent of H, as in Qwen3-0.6B.
    pub fn qwen3() -> Self {
        Self {
            architecture: "qwen3".into(),
            heads: 2,
            kv_heads: 1,
            head_size: Some(64),
            seed: 13,
            ..Self::qwen2()
        }
    }

    /// Returns the number of tokens, which is the number of logits.
    pub fn vocab_size(&self) -> usize {
        256 + 3 + MERGED.len()
    }

    /// Returns the bytes of the file.
    pub fn bytes(&self) -> Vec<u8> {
        let tensors = self.tensors();
        let values = self.metadata();

        let mut file = b"GGUF".to_vec();
        file.extend(3_u32.to_le_bytes());
        file.extend((tensors.len() as u64).to_le_bytes());
        file.extend((values.len() as u64).to_le_bytes());
        for (key, value) in values {
            put_string(&mut file, &key);
            value.put(&mut file);
        }
        let mut offset = 0;
        for (name, dimensions, kind, data) in &tensors {
            put_string(&mut file, name);
            file.extend((dimensions.len() as u32).to_le_bytes());
            dimensions.iter().for_each(|&n| file.extend((n as u64).to_le_bytes()));
            file.extend(kind.to_le_bytes());
            file.extend((offset as u64).to_le_bytes());
            offset += data.len().next_multiple_of(32);
        }
        for (_, _, _, data) in &tensors {
            file.resize(file.len().next_multiple_of(32), 0);
            file.extend(data);
        }
        file.resize(file.len().next_multiple_of(32), 0);
        file
    }

    /// Writes the file.
    ///
    /// # Errors
    /// The system's error.
    pub fn write(&self, path: &Path) -> std::io::Result<()> {
        std::fs::File::create(path)?.write_all(&self.bytes())
    }

    fn metadata(&self) -> Vec<(String, Meta)> {
        let own = |key: &str| format!("{}.{key}", self.architecture);
        let mut tokens: Vec<String> = (0..=255).map(|byte| byte_char(byte).to_string()).collect();
        let mut kinds = vec![1_i32; 256];
        for special in ["<|endoftext|>", "<|im_start|>", "<|im_end|>"] {
            tokens.push(special.into());
            kinds.push(3);
        }
        for (left, right) in MERGED {
            tokens.push(format!("{left}{right}"));
            kinds.push(1);
        }
        let merges = MERGED.iter().map(|(left, right)| format!("{left} {right}")).collect();
        let pre = if self.architecture == "llama" {
            "smollm"
        } else {
            "qwen2"
        };
        let mut values = vec![
            ("general.architecture".into(), Meta::Text(self.architecture.clone())),
            ("general.name".into(), Meta::Text(format!("tiny {}", self.architecture))),
            (own("block_count"), Meta::U32(self.layers as u32)),
            (own("context_length"), Meta::U32(self.window as u32)),
            (own("embedding_length"), Meta::U32(self.hidden_size as u32)),
            (own("feed_forward_length"), Meta::U32(self.feed_forward as u32)),
            (own("attention.head_count"), Meta::U32(self.heads as u32)),
            (own("attention.head_count_kv"), Meta::U32(self.kv_heads as u32)),
            (own("attention.layer_norm_rms_epsilon"), Meta::F32(1e-6)),
            (own("rope.freq_base"), Meta::F32(10_000.0)),
            ("tokenizer.ggml.model".into(), Meta::Text("gpt2".into())),
            ("tokenizer.ggml.pre".into(), Meta::Text(pre.into())),
            ("tokenizer.ggml.tokens".into(), Meta::Texts(tokens)),
            ("tokenizer.ggml.token_type".into(), Meta::I32s(kinds)),
            ("tokenizer.ggml.merges".into(), Meta::Texts(merges)),
            ("tokenizer.ggml.bos_token_id".into(), Meta::U32(token::END_OF_TEXT)),
            ("tokenizer.ggml.eos_token_id".into(), Meta::U32(token::IM_END)),
            ("tokenizer.ggml.padding_token_id".into(), Meta::U32(token::END_OF_TEXT)),
            ("tokenizer.ggml.add_bos_token".into(), Meta::Bool(false)),
            ("tokenizer.chat_template".into(), Meta::Text(CHAT_TEMPLATE.into())),
        ];
        if let Some(size) = self.head_size {
            values.push((own("attention.key_length"), Meta::U32(size as u32)));
            values.push((own("attention.value_length"), Meta::U32(size as u32)));
        }
        for (key, value) in &self.keys {
            values.retain(|(known, _)| known != key);
            values.extend(value.clone().map(|value| (key.clone(), value)));
        }
        values
    }

    fn tensors(&self) -> Vec<Tensor> {
        let mut random = Random(self.seed);
        let mut all = Vec::new();
        let h = self.hidden_size;
        let head = self.head_size.unwrap_or(h / self.heads.max(1));
        let (queries, kv) = (head * self.heads, head * self.kv_heads);
        let mut matrix = |name: &str, inputs: usize, outputs: usize, scale: f32| {
            let scale = scale / (inputs as f32).sqrt();
            let values: Vec<f32> = (0..inputs * outputs).map(|_| random.signed() * scale).collect();
            let (kind, data) = self.weights.encode(&values);
            (name.to_owned(), vec![inputs, outputs], kind, data)
        };
        all.push(matrix("token_embd.weight", h, self.vocab_size(), 4.0));
        if self.own_output {
            all.push(matrix("output.weight", h, self.vocab_size(), 4.0));
        }
        for layer in 0..self.layers {
            let name = |part: &str| format!("blk.{layer}.{part}.weight");
            all.push(matrix(&name("attn_q"), h, queries, 4.0));
            all.push(matrix(&name("attn_k"), h, kv, 4.0));
            all.push(matrix(&name("attn_v"), h, kv, 2.0));
            all.push(matrix(&name("attn_output"), queries, h, 2.0));
            all.push(matrix(&name("ffn_gate"), h, self.feed_forward, 3.0));
            all.push(matrix(&name("ffn_up"), h, self.feed_forward, 3.0));
            all.push(matrix(&name("ffn_down"), self.feed_forward, h, 3.0));
        }
        let mut vector = |name: String, len: usize, middle: f32| {
            let values: Vec<f32> = (0..len).map(|_| middle + 0.2 * random.signed()).collect();
            (
                name,
                vec![len],
                0,
                values.iter().flat_map(|v| v.to_le_bytes()).collect(),
            )
        };
        for layer in 0..self.layers {
            all.push(vector(format!("blk.{layer}.attn_norm.weight"), h, 1.0));
            all.push(vector(format!("blk.{layer}.ffn_norm.weight"), h, 1.0));
            if self.architecture == "qwen2" {
                all.push(vector(format!("blk.{layer}.attn_q.bias"), queries, 0.0));
                all.push(vector(format!("blk.{layer}.attn_k.bias"), kv, 0.0));
                all.push(vector(format!("blk.{layer}.attn_v.bias"), kv, 0.0));
            }
        }
        all.push(vector("output_norm.weight".into(), h, 1.0));
        if self.architecture == "qwen3" {
            for layer in 0..self.layers {
                all.push(vector(format!("blk.{layer}.attn_q_norm.weight"), head, 1.0));
                all.push(vector(format!("blk.{layer}.attn_k_norm.weight"), head, 1.0));
            }
        }
        for (name, dimensions) in &self.tensors {
            let (_, _, kind, data) = vector(name.clone(), dimensions.iter().product(), 1.0);
            all.push((name.clone(), dimensions.clone(), kind, data));
        }
        all
    }
}

/// Name, dimensions (innermost first), GGML type, data.
type Tensor = (String, Vec<usize>, u32, Vec<u8>);

impl TinyWeights {
    fn encode(self, values: &[f32]) -> (u32, Vec<u8>) {
        let mut data = Vec::new();
        let kind = match self {
            Self::F32 => {
                values.iter().for_each(|v| data.extend(v.to_le_bytes()));
                0
            }
            Self::F16 => {
                values.iter().for_each(|&v| data.extend(f16::from_f32(v).to_le_bytes()));
                1
            }
            Self::Q8_0 => {
                for block in values.chunks(32) {
                    let scale = f16::from_f32(block.iter().fold(0.0_f32, |max, v| max.max(v.abs())) / 127.0);
                    data.extend(scale.to_le_bytes());
                    data.extend(block.iter().map(|v| (v / scale.to_f32()).round() as i8 as u8));
                }
                8
            }
            Self::Q4_1 => {
                for block in values.chunks(32) {
                    let min = block.iter().copied().fold(f32::INFINITY, f32::min);
                    let max = block.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                    let (d, m) = (f16::from_f32((max - min) / 15.0), f16::from_f32(min));
                    let q = |v: f32| ((v - m.to_f32()) / d.to_f32()).round().clamp(0.0, 15.0) as u8;
                    data.extend(d.to_le_bytes());
                    data.extend(m.to_le_bytes());
                    data.extend((0..16).map(|j| q(block[j]) | (q(block[j + 16]) << 4)));
                }
                3
            }
            Self::Bf16 => {
                values
                    .iter()
                    .for_each(|&v| data.extend(half::bf16::from_f32(v).to_le_bytes()));
                30
            }
            Self::Blocks(stored) => {
                data = stored.blocks(values.len(), &mut chance(values));
                stored.id
            }
            #[cfg(feature = "cpu")]
            Self::BlocksAsF32(stored) => {
                let blocks = stored.blocks(values.len(), &mut chance(values));
                let mut numbers = vec![0.0; values.len()];
                if let Ok(kind) = TensorKind::from_id(stored.id) {
                    dequantise(kind, &blocks, &mut numbers);
                }
                numbers.iter().for_each(|v| data.extend(v.to_le_bytes()));
                0
            }
        };
        (kind, data)
    }
}

/// Returns a generator seeded by the values, so that equal tensors are stored equally.
fn chance(values: &[f32]) -> Random {
    Random(values.first().map_or(0, |value| u64::from(value.to_bits())))
}

/// A value of the metadata.
#[derive(Debug, Clone)]
pub enum Meta {
    U32(u32),
    F32(f32),
    Bool(bool),
    Text(String),
    Texts(Vec<String>),
    I32s(Vec<i32>),
}

impl Meta {
    fn put(self, file: &mut Vec<u8>) {
        let mut kind = |id: u32| file.extend(id.to_le_bytes());
        match self {
            Self::U32(value) => {
                kind(4);
                file.extend(value.to_le_bytes());
            }
            Self::F32(value) => {
                kind(6);
                file.extend(value.to_le_bytes());
            }
            Self::Bool(value) => {
                kind(7);
                file.push(value.into());
            }
            Self::Text(value) => {
                kind(8);
                put_string(file, &value);
            }
            Self::Texts(values) => {
                kind(9);
                kind(8);
                file.extend((values.len() as u64).to_le_bytes());
                values.iter().for_each(|value| put_string(file, value));
            }
            Self::I32s(values) => {
                kind(9);
                kind(5);
                file.extend((values.len() as u64).to_le_bytes());
                values.iter().for_each(|value| file.extend(value.to_le_bytes()));
            }
        }
    }
}

fn put_string(file: &mut Vec<u8>, text: &str) {
    file.extend((text.len() as u64).to_le_bytes());
    file.extend(text.as_bytes());
}

/// Returns the printable character for a byte in byte-level vocabularies (GPT-2's table).
fn byte_char(byte: u8) -> char {
    let shown = |b: u8| matches!(b, 33..=126 | 161..=172 | 174..=255);
    if shown(byte) {
        return byte.into();
    }
    let hidden_before = (0..byte).filter(|&b| !shown(b)).count() as u32;
    char::from_u32(256 + hidden_before).unwrap_or('?')
}

/// SplitMix64.
struct Random(u64);

impl Random {
    /// Uniform in -1..1.
    fn signed(&mut self) -> f32 {
        (split_mix(&mut self.0) >> 40) as f32 / (1_u64 << 23) as f32 - 1.0
    }
}
