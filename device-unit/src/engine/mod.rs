//! What every engine offers: embedding rows in, logits out, many sequences at once.
//!
//! An engine computes; it does not know tasks, requests, transports, prefixes, text or sampling. Prefix rows and token
//! rows enter by the same door, as bf16, which is what the module's NPU takes.

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

/// What an engine is and what it can take. Fixed from load on.
#[derive(Debug, Clone, PartialEq)]
pub struct EngineInfo {
    /// `"cpu"` or `"npu"`, with the kernel tier in use: `"cpu/avx512-vnni"`.
    pub backend: String,
    /// Architecture as the model file names it: `qwen2`, `llama`.
    pub architecture: String,
    /// H, the width of an embedding row (`tokens_embed_size` on a model card).
    pub hidden_size: usize,
    /// Rows of the embedding table (`tokens_embed_num`), which is also the number of logits.
    pub vocab_size: usize,
    /// Most positions one sequence can hold: prefix + prompt + output.
    pub window: usize,
    /// Most rows a sequence may be given before its first logits (the module: 128; the CPU engine: the window).
    pub prefill_window: usize,
    /// Most sequences alive at once.
    pub max_sequences: usize,
    /// Whether a prompt may be fed in several steps. Where it may not, the whole of it must come in one step.
    pub chunked_prefill: bool,
    /// Whether a sequence's last rows can be taken back ([`Engine::rewind`]), and several rows in one step are cheaper than one after the
    /// other: then drafted tokens are worth trying.
    pub drafts: bool,
    /// What became of the matrices of the model file; empty where they are used as they are, whatever that is.
    pub weights: Vec<StoredWeights>,
}

/// Progress of a load: `fraction` in 0..=1 and what is being done, in one or two words.
pub type Progress<'a> = dyn Fn(f32, &str) + Send + Sync + 'a;

/// Names one living sequence of one engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SequenceId(pub u64);

/// Which logits a step is to return.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Logits {
    /// None: a prompt's earlier chunks.
    None,
    /// Those after the step's last row.
    #[default]
    Last,
    /// Those after every row (teacher forcing).
    All,
}

/// The next rows of one sequence, and where its logits go.
pub struct Step<'a> {
    /// The sequence that the rows extend.
    pub sequence: SequenceId,
    /// n x H embedding rows, row by row, n >= 1; they take the sequence's next n positions.
    pub rows: &'a [bf16],
    /// Which logits to return.
    pub logits: Logits,
    /// Filled by the engine: nothing, V or n x V values.
    pub out: Vec<f32>,
    /// Set by anybody to give the step up. Engines look at it where they can (between layers on the NPU).
    pub stop: &'a AtomicBool,
}

/// The embedding table, readable from any thread while the engine works.
pub trait TokenEmbeddings: Send + Sync {
    /// H, the width of a row.
    fn hidden_size(&self) -> usize;
    /// Number of rows.
    fn vocab_size(&self) -> usize;
    /// Writes the row of `token` (H values, exactly those the engine would be fed) into `out`.
    ///
    /// # Errors
    /// [`EngineError::NoSuchToken`] where `token` is outside the vocabulary.
    fn row(&self, token: u32, out: &mut [bf16]) -> Result<(), EngineError>;
}

/// A loaded model that turns embedding rows into logits.
///
/// The rule for every implementation: a sequence's logits are the same bits whatever else is in the batch, however its
/// rows were cut into steps, and however many threads work on it.
pub trait Engine: Send {
    /// Properties of the engine and its model.
    fn info(&self) -> &EngineInfo;

    /// The model's embedding table.
    fn embeddings(&self) -> Arc<dyn TokenEmbeddings>;

    /// Opens an empty sequence that will hold at most `positions` rows.
    ///
    /// # Errors
    /// [`EngineError::TooManySequences`], [`EngineError::WindowExceeded`].
    fn open(&mut self, positions: usize) -> Result<SequenceId, EngineError>;

    /// Bytes of this machine's memory that a sequence of so many positions takes beside the model; 0 where it takes none.
    fn sequence_bytes(&self, _positions: usize) -> usize {
        0
    }

    /// Forgets a sequence and frees what it held. Unknown ids are ignored: closing twice is harmless.
    fn close(&mut self, sequence: SequenceId);

    /// Feeds every step's rows to its sequence and fills `out`. Each sequence appears at most once.
    ///
    /// # Errors
    /// On [`EngineError::Stopped`] the sequences hold what they held before, and may be fed the same again. On failures of the
    /// machinery those of this batch are in an undefined state and are to be closed; argument errors leave everything as it was.
    fn forward(&mut self, batch: &mut [Step<'_>]) -> Result<(), EngineError>;

    /// Takes back the rows of a sequence from position `positions` on: the next rows take those places, and give the same bits as if the
    /// others had never been fed.
    ///
    /// # Errors
    /// [`EngineError::NoSuchSequence`]; [`EngineError::Machinery`] where the engine cannot ([`EngineInfo::drafts`]).
    fn rewind(&mut self, _sequence: SequenceId, _positions: usize) -> Result<(), EngineError> {
        Err(EngineError::Machinery {
            what: "taking rows back".into(),
            detail: format!("{} keeps all it was fed", self.info().backend),
            remedy: "draft no tokens for it".into(),
        })
    }

    /// Itself, where it can differentiate.
    fn differentiable(&mut self) -> Option<&mut dyn gradient::Differentiable> {
        None
    }

    /// Does the shares of a comparison of predictions, in any order and on all the threads it has, which changes no number.
    fn weigh(&self, shares: &mut [likelihood::Share<'_>]) {
        shares.iter_mut().for_each(likelihood::Share::weigh);
    }
}
