//! The interface of the engines: embedding rows in, logits out, for a batch of sequences.
//!
//! An engine computes with rows only; prefixes, text and sampling are above it. Rows of a prefix and rows of tokens enter the same way, as
//! bf16, which is the input type of the module's NPU.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use half::bf16;
use softprefix_core::protocol::extension::StoredWeights;

pub use crate::errors::EngineError;

pub mod gradient;
pub mod likelihood;
pub mod sampling;

#[cfg(feature = "npu")]
pub mod axera;
#[cfg(feature = "cpu")]
pub mod cpu;

/// Maximum number of rows that the CPU engine computes in one pass, which bounds its memory. A step of more rows is divided into several
/// passes, with the same results.
pub const PASS_ROWS: usize = 128;

/// Properties of a loaded engine and its model.
#[derive(Debug, Clone, PartialEq)]
pub struct EngineInfo {
    /// `"cpu"` or `"npu"`, with the kernel tier in use: `"cpu/avx512-vnni"`.
    pub backend: String,
    /// Architecture as named by the model file: `qwen2`, `llama`.
    pub architecture: String,
    /// H, the width of an embedding row (`tokens_embed_size` on a model card).
    pub hidden_size: usize,
    /// V, the number of rows of the embedding table (`tokens_embed_num`) and of logits.
    pub vocab_size: usize,
    /// Maximum number of positions of a sequence: prefix + prompt + output.
    pub window: usize,
    /// Maximum number of rows before a sequence's first logits (the module: 128; the CPU engine: the window).
    pub prefill_window: usize,
    /// Maximum number of open sequences.
    pub max_sequences: usize,
    /// Whether a prompt can be fed in several steps. If not, all of its rows must come in one step.
    pub chunked_prefill: bool,
    /// Whether drafted tokens can pay off: [`Engine::rewind`] works, and several rows in one step are cheaper than one step each.
    pub drafts: bool,
    /// How the matrices of the model file were converted; empty if they are used as stored.
    pub weights: Vec<StoredWeights>,
}

/// What is done while a model is loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoadStage {
    /// Opening the file.
    File,
    /// Reading the layers of a model for the NPU.
    Layers,
    /// Packing the weights of the layers.
    Weights,
    /// Packing the output matrix, which has a row for each token of the vocabulary.
    Vocabulary,
    /// Running a first step.
    WarmUp,
    /// Nothing more: the model is loaded.
    Ready,
}

impl fmt::Display for LoadStage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::File => "file",
            Self::Layers => "layers",
            Self::Weights => "weights",
            Self::Vocabulary => "vocabulary",
            Self::WarmUp => "warm-up",
            Self::Ready => "ready",
        })
    }
}

/// Receives the progress of loading: a fraction in 0..=1, and what is done now.
pub type LoadProgress<'a> = dyn Fn(f32, LoadStage) + Send + Sync + 'a;

/// Identifies an open sequence of an engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SequenceId(pub u64);

/// Which logits a sequence gets from a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Logits {
    /// None, as for the earlier chunks of a prompt.
    None,
    /// Those after its last row.
    #[default]
    Last,
    /// Those after each of its rows, as for teacher forcing and for verifying drafts.
    All,
}

/// One sequence's part of a step, which is one call of [`Engine::forward`]: its next rows, and the buffer for its logits.
pub struct SequenceStep<'a> {
    /// The sequence that the rows extend.
    pub sequence: SequenceId,
    /// n x H embedding rows, n >= 1, for the sequence's next n positions.
    pub rows: &'a [bf16],
    /// Which logits to return.
    pub logits: Logits,
    /// Filled by the engine with 0, V or n x V logits.
    pub out: Vec<f32>,
    /// Stops the step when set. Engines poll it where they can (the NPU between layers).
    pub stop: &'a AtomicBool,
}

/// The embedding table. It can be read from any thread while the engine runs.
pub trait TokenEmbeddings: Send + Sync {
    /// Returns H, the width of a row.
    fn hidden_size(&self) -> usize;
    /// Returns the number of rows.
    fn vocab_size(&self) -> usize;
    /// Writes the row of `token` into `out`: the H values that the engine is fed for this token.
    ///
    /// # Errors
    /// [`EngineError::NoSuchToken`] if `token` is outside the vocabulary.
    fn row(&self, token: u32, out: &mut [bf16]) -> Result<(), EngineError>;

    /// Returns the rows of n tokens, n x H.
    ///
    /// # Errors
    /// As for [`TokenEmbeddings::row`].
    fn rows(&self, tokens: &[u32]) -> Result<Vec<bf16>, EngineError> {
        let hidden_size = self.hidden_size();
        let mut rows = vec![bf16::ZERO; tokens.len() * hidden_size];
        for (&token, row) in tokens.iter().zip(rows.chunks_exact_mut(hidden_size)) {
            self.row(token, row)?;
        }
        Ok(rows)
    }
}

/// A loaded model that computes logits from embedding rows.
///
/// Every implementation must give the same bits for a sequence whatever else is in the batch, however its rows are divided into steps,
/// and on any number of threads.
pub trait Engine: Send {
    /// Returns the properties of the engine and its model.
    fn info(&self) -> &EngineInfo;

    /// Returns the model's embedding table.
    fn embeddings(&self) -> Arc<dyn TokenEmbeddings>;

    /// Opens an empty sequence of at most `positions` rows.
    ///
    /// # Errors
    /// [`EngineError::TooManySequences`], [`EngineError::WindowExceeded`].
    fn open(&mut self, positions: usize) -> Result<SequenceId, EngineError>;

    /// Returns the bytes of main memory that a sequence of so many positions takes; 0 if it takes none of its own.
    fn sequence_bytes(&self, _positions: usize) -> usize {
        0
    }

    /// Closes a sequence and frees its KV cache. Unknown ids are ignored.
    fn close(&mut self, sequence: SequenceId);

    /// Computes a step: feeds each part's rows to its sequence and fills `out`. A sequence must not appear twice.
    ///
    /// # Errors
    /// After [`EngineError::Stopped`] or an invalid argument the sequences are unchanged, and the step can be repeated. After
    /// [`EngineError::Backend`] the sequences of the batch are in an undefined state and must be closed.
    fn forward(&mut self, batch: &mut [SequenceStep<'_>]) -> Result<(), EngineError>;

    /// Feeds the next rows of one sequence, without a way to stop, and returns the logits.
    ///
    /// # Errors
    /// As for [`Engine::forward`].
    fn feed(&mut self, sequence: SequenceId, rows: &[bf16], logits: Logits) -> Result<Vec<f32>, EngineError> {
        static NEVER: AtomicBool = AtomicBool::new(false);
        let mut batch = [SequenceStep {
            sequence,
            rows,
            logits,
            out: Vec::new(),
            stop: &NEVER,
        }];
        self.forward(&mut batch)?;
        let [part] = batch;
        Ok(part.out)
    }

    /// Removes the rows of a sequence from position `positions` on. Rows fed afterwards give the same bits as if the removed ones had never
    /// been fed.
    ///
    /// # Errors
    /// [`EngineError::NoSuchSequence`]; [`EngineError::Backend`] if the engine does not support it (see [`EngineInfo::drafts`]).
    fn rewind(&mut self, _sequence: SequenceId, _positions: usize) -> Result<(), EngineError> {
        Err(EngineError::backend(
            "rewinding a sequence",
            format!("{} does not support it", self.info().backend),
            "run without drafts",
        ))
    }

    /// Returns the engine as [`Differentiable`](gradient::Differentiable) if it computes gradients.
    fn differentiable(&mut self) -> Option<&mut dyn gradient::Differentiable> {
        None
    }

    /// Reduces the chunks of a [`Comparison`](likelihood::Comparison), possibly on several threads. The results do not depend on these.
    fn reduce_chunks(&self, chunks: &mut [likelihood::VocabChunk<'_>]) {
        chunks.iter_mut().for_each(likelihood::VocabChunk::reduce);
    }
}
