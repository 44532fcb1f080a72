//! The CPU engine: runs GGUF models with integer kernels of its own.
//!
//! The results of a step are the same bits for one row or many, in any batch, on any number of threads and with any instruction set:
//! `kernel` defines the products, `attention` and `kernel::math` the rest. Modules:
//!
//! | module | purpose |
//! |---|---|
//! | `config`, `keys`, `tensors` | read the model's shape, and refuse what the engine does not compute |
//! | `weights` | packs the weights |
//! | `embeddings` | reads token rows |
//! | `cache` | the KV cache of a sequence |
//! | `attention`, `rope`, `forward` | the forward pass |
//! | `learn` | gradients with respect to the first rows |
//! | `kernel`, `threads` | matrix products, on all processors and cores |
//!
//! # Performance
//!
//! Compared with llama.cpp (llama-cpp-python 0.3.36, compiled on the same machine), alternating, by `benches/against_llama_cpp.py`: two
//! threads on two cores with AVX-512 VNNI, a prompt of 40 tokens, 64 generated, the best of three rounds, both engines with real-time
//! priority (`chrt -f 1`):
//!
//! | speed relative to llama.cpp (ours / llama.cpp) | Qwen2.5-Coder-0.5B Q4_K_M | SmolLM2-135M Q4_1 |
//! |---|---|---|
//! | decode | 2.1 (115 / 54 tok/s) | 2.2 (350 / 156 tok/s) |
//! | prefill | 3.5 (1024 / 291 tok/s) | 4.0 (1856 / 467 tok/s) |
//! | 11 sequences at once, decode | 5.8 (619 / 107 tok/s) | 5.8 (1419 / 244 tok/s) |
//! | 11 cases, at once / one by one | 9.1 (within 1.5 / 13.6 s) | 7.9 (within 0.74 / 5.8 s) |
//!
//! | ours / llama.cpp | Qwen2.5-Coder-0.5B Q4_K_M | SmolLM2-135M Q4_1 |
//! |---|---|---|
//! | memory after loading | 444 / 638 MB | 125 / 195 MB |
//! | mean KL to the f32 weights | 0.0008 / 0.0012 nat | 0.0036 / 0.0051 nat |
//!
//! Over TCP (`softprefix-bench tcp`, with other processes on both cores) a sweep of 11 cases takes 1.0 times as long as the engine's own
//! batch of the same tokens (median of six rounds, both models). A live run of 40 tokens has its first text after 138 ms on Qwen and 57
//! ms on SmolLM2 (best of six; the slowest took 230 and 93 ms). With two other busy threads (`softprefix-bench model --busy-threads 2`) two
//! threads on two cores keep 0.54 to 0.64 of their speed (decode of one, of 11, and prefill); half is the fair share.
//!
//! Scoring a text of 208 tokens under 11 conditions at once (`softprefix-bench model`, best of six rounds) reaches 0.91 (Qwen) and 0.82
//! (SmolLM2) of the rows per second of a prompt with logits of every row, which is 0.64 and 0.69 of a long prompt's without them, because
//! each row is multiplied with the vocabulary matrix. A live run of 40 tokens that arrives meanwhile has its first token after 95 and 31
//! ms at worst (39 and 16 alone), because the scoring step is interrupted and repeated.
//!
//! With drafted tokens (`softprefix-bench drafts`, Qwen, one round of at most 64 tokens, with other processes on both cores), the time
//! after the first token is 0.23 of that without drafts for the previous run's text, 0.23 and 0.26 for eleven positions of the slider
//! (its small and its large step apart), and 0.88 and 1.00 for unrelated texts (greedy and sampled).
//!
//! A profile of 11 cases on SmolLM2 (perf, share of both threads' samples, loading included): products 44 %, their minima 7 %, attention
//! 16 %, quantising activations 7 %, idle threads 10 %, sampling 1 %. With eleven rows the products are limited by both memory and
//! arithmetic: from a cache a thread does 305 G products per second; from memory 190 to 270, since weights are prefetched 16 KB ahead and
//! tasks are large enough to use what was prefetched. Attention and quantising are the next to improve.

mod attention;
mod cache;
pub mod config;
mod embeddings;
mod forward;
pub mod kernel;
mod keys;
#[cfg(feature = "learn")]
mod learn;
mod rope;
pub mod tensors;
pub mod threads;
mod weights;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use half::bf16;
use softprefix_core::protocol::extension::StoredWeights;

#[cfg(feature = "learn")]
use crate::engine::gradient::{Differentiable, Example, Gradient};
use crate::engine::likelihood::VocabChunk;
use crate::engine::{
    Engine, EngineError, EngineInfo, LoadProgress, LoadStage, Logits, PASS_ROWS, SequenceId, SequenceStep,
    TokenEmbeddings,
};
use crate::errors::LoadError;
use crate::gguf::GgufFile;
use crate::machine;

use cache::Cache;
use config::Config;
use embeddings::StoredEmbeddings;
use forward::{Model, RowPlace, Scratch};
use kernel::{Kernel, Tier};
use threads::Pool;
use weights::Weights;

/// Maximum number of open sequences.
const MAX_SEQUENCES: usize = 64;

/// Options of the engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CpuOptions {
    /// Number of threads, the calling one included; `None`: one per physical core.
    pub threads: Option<usize>,
    /// Instruction set of the kernels; `None`: the value of `SOFTPREFIX_KERNEL`, or the fastest that this processor supports.
    pub tier: Option<Tier>,
    /// Upper limit of the context window; `None`: the model's own.
    pub window: Option<usize>,
}

/// Multiply-adds of one row in a model's matrices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MultiplyAdds {
    /// In the layers.
    pub layers: usize,
    /// In the output matrix.
    pub output: usize,
}

/// Runs a GGUF model on this machine's processor.
pub struct CpuEngine {
    info: EngineInfo,
    model: Model,
    embeddings: Arc<StoredEmbeddings>,
    sequences: BTreeMap<SequenceId, Sequence>,
    next_sequence_id: u64,
    scratch: Scratch,
    #[cfg(feature = "learn")]
    gradient: Option<learn::GradientPass>,
}

/// A row of a batch: its embedding, and where it belongs.
struct BatchRow<'a> {
    values: &'a [bf16],
    place: RowPlace,
}

struct Sequence {
    cache: Cache,
    /// Positions in use.
    len: usize,
    /// Positions reserved when it was opened.
    limit: usize,
}

impl CpuEngine {
    /// Loads the model at `path`: reads the file, packs the weights, and runs a warm-up step.
    ///
    /// # Errors
    /// A [`LoadError`] for a file that is unreadable, damaged or of another architecture, and for a forced kernel that this processor
    /// does not support.
    pub fn load(path: &Path, options: CpuOptions, progress: &LoadProgress<'_>) -> Result<Self, LoadError> {
        progress(0.0, LoadStage::File);
        Self::from_file(Arc::new(GgufFile::open(path)?), options, progress)
    }

    /// Like [`CpuEngine::load`], with an open file.
    ///
    /// # Errors
    /// See [`CpuEngine::load`].
    pub fn from_file(file: Arc<GgufFile>, options: CpuOptions, progress: &LoadProgress<'_>) -> Result<Self, LoadError> {
        let config = Config::read(&file)?;
        let table = tensors::check(&file, &config)?.clone();
        let tier = match options.tier {
            Some(tier) => tier,
            None => Tier::from_env().map_err(|error| LoadError::Kernel(error.to_string()))?,
        };
        let pool = Pool::new(options.threads.unwrap_or_else(machine::cores));
        let weights = Weights::load(&file, &config, &pool, progress)?;
        let conversions = StoredWeights::sentence(&weights.conversions);
        tracing::info!("{}: cpu/{tier}, weight matrices: {conversions}", file.path().display());
        let window = options.window.unwrap_or(config.window).min(config.window).max(1);
        let info = EngineInfo {
            backend: format!("cpu/{tier}"),
            architecture: config.architecture.clone(),
            hidden_size: config.hidden_size,
            vocab_size: table.rows(),
            window,
            prefill_window: window,
            max_sequences: MAX_SEQUENCES,
            chunked_prefill: true,
            drafts: true,
            weights: weights.conversions.clone(),
        };
        let mut engine = Self {
            info,
            model: Model {
                config,
                weights,
                pool,
                tier,
            },
            embeddings: Arc::new(StoredEmbeddings::new(file, table)),
            sequences: BTreeMap::new(),
            next_sequence_id: 0,
            scratch: Scratch::default(),
            #[cfg(feature = "learn")]
            gradient: None,
        };
        progress(0.9, LoadStage::WarmUp);
        engine.warm_up()?;
        progress(1.0, LoadStage::Ready);
        Ok(engine)
    }

    fn empty_cache(&self) -> Cache {
        let config = &self.model.config;
        Cache::new(config.layers, config.kv_heads, config.head_size)
    }

    /// Returns the number of threads.
    pub fn threads(&self) -> usize {
        self.model.pool.threads()
    }

    /// Returns the bytes of weights that a step reads, which do not depend on its number of rows.
    pub fn weight_bytes(&self) -> usize {
        self.model.weights.bytes()
    }

    /// Returns the multiply-adds of one row.
    pub fn multiply_adds(&self) -> MultiplyAdds {
        let size = |linear: &weights::Linear| linear.matrix.outputs() * linear.matrix.inputs();
        let weights = &self.model.weights;
        let of_layer = |layer: &weights::Layer| {
            let all = [&layer.qkv, &layer.output, &layer.gate_up, &layer.down];
            all.into_iter().map(size).sum::<usize>()
        };
        MultiplyAdds {
            layers: weights.layers.iter().map(of_layer).sum(),
            output: size(&weights.vocabulary),
        }
    }

    /// Returns how many of a gradient's stages belong to the forward pass.
    #[cfg(feature = "learn")]
    pub fn gradient_forward_stages(&self) -> usize {
        // One per layer, one for the logits, and one for the loss.
        self.model.weights.layers.len() + 2
    }

    /// Reads all weights once, so that the first inference is not slower than later ones.
    fn warm_up(&mut self) -> Result<(), EngineError> {
        let sequence = self.open(1)?;
        let row = self.embeddings.rows(&[0])?;
        let outcome = self.feed(sequence, &row, Logits::Last);
        self.close(sequence);
        outcome.map(drop)
    }

    /// Validates a batch before anything is changed.
    fn check(&self, batch: &[SequenceStep<'_>]) -> Result<(), EngineError> {
        let hidden_size = self.info.hidden_size;
        let mut seen = BTreeSet::new();
        for step in batch {
            let Some(sequence) = self.sequences.get(&step.sequence) else {
                return Err(EngineError::NoSuchSequence(step.sequence.0));
            };
            if step.rows.is_empty() || step.rows.len() % hidden_size != 0 {
                return Err(EngineError::RaggedRows {
                    got: step.rows.len(),
                    hidden_size,
                });
            }
            let end = sequence.len + step.rows.len() / hidden_size;
            if end > sequence.limit {
                return Err(EngineError::WindowExceeded {
                    wanted: end,
                    window: sequence.limit,
                });
            }
            if !seen.insert(step.sequence) {
                return Err(EngineError::RepeatedSequence(step.sequence.0));
            }
        }
        Ok(())
    }
}

impl Engine for CpuEngine {
    fn info(&self) -> &EngineInfo {
        &self.info
    }

    fn embeddings(&self) -> Arc<dyn TokenEmbeddings> {
        self.embeddings.clone()
    }

    fn open(&mut self, positions: usize) -> Result<SequenceId, EngineError> {
        if self.sequences.len() >= self.info.max_sequences {
            return Err(EngineError::TooManySequences {
                limit: self.info.max_sequences,
            });
        }
        if positions > self.info.window {
            return Err(EngineError::WindowExceeded {
                wanted: positions,
                window: self.info.window,
            });
        }
        let id = SequenceId(self.next_sequence_id);
        self.next_sequence_id += 1;
        let cache = self.empty_cache();
        self.sequences.insert(
            id,
            Sequence {
                cache,
                len: 0,
                limit: positions,
            },
        );
        Ok(id)
    }

    fn sequence_bytes(&self, positions: usize) -> usize {
        self.empty_cache().bytes(positions)
    }

    fn close(&mut self, sequence: SequenceId) {
        self.sequences.remove(&sequence);
    }

    /// Stops between two layers once the stop flags of *all* steps are set. A stopped step in a batch with others is computed like them,
    /// and the caller discards its result.
    fn forward(&mut self, batch: &mut [SequenceStep<'_>]) -> Result<(), EngineError> {
        self.check(batch)?;
        let hidden_size = self.info.hidden_size;
        let vocab_size = self.info.vocab_size;

        // All rows of the batch, in order.
        let mut rows = Vec::new();
        for (number, step) in batch.iter_mut().enumerate() {
            let sequence = self.sequences.get_mut(&step.sequence);
            let sequence = sequence.ok_or(EngineError::NoSuchSequence(step.sequence.0))?;
            let count = step.rows.len() / hidden_size;
            let end = sequence.len + count;
            sequence.cache.grow(end).map_err(|error| {
                EngineError::backend(
                    "allocating the KV cache",
                    error.to_string(),
                    "end other programs, or start the unit with less --memory",
                )
            })?;
            let logit_rows = match step.logits {
                Logits::None => 0,
                Logits::Last => 1,
                Logits::All => count,
            };
            // The buffer's old contents are overwritten, so they are not cleared first.
            step.out.resize(logit_rows * vocab_size, 0.0);
            let values = step.rows.chunks_exact(hidden_size);
            rows.extend(values.zip(sequence.len..end).map(|(values, position)| BatchRow {
                values,
                place: RowPlace {
                    cache_index: number,
                    position,
                    wants_logits: position + logit_rows >= end,
                },
            }));
        }

        // The caches of the batch, in the order of its steps.
        let mut by_id: BTreeMap<SequenceId, &mut Cache> = self
            .sequences
            .iter_mut()
            .map(|(id, sequence)| (*id, &mut sequence.cache))
            .collect();
        let mut caches: Vec<&mut Cache> = batch.iter().filter_map(|step| by_id.remove(&step.sequence)).collect();

        // A slice of V values for each row with logits, in the order of the rows.
        let (stops, outs): (Vec<&AtomicBool>, Vec<&mut Vec<f32>>) =
            batch.iter_mut().map(|step| (step.stop, &mut step.out)).unzip();
        let mut outputs = outs.into_iter().flat_map(|out| out.chunks_exact_mut(vocab_size));
        let stop = || stops.iter().all(|stop| stop.load(Ordering::Relaxed));
        for pass in rows.chunks(PASS_ROWS) {
            let scratch = &mut self.scratch;
            scratch.x.clear();
            for row in pass {
                scratch.x.extend(row.values.iter().map(|value| value.to_f32()));
            }
            let places: Vec<RowPlace> = pass.iter().map(|row| row.place).collect();
            let with_logits = places.iter().filter(|row| row.wants_logits).count();
            let mut pass_outputs: Vec<&mut [f32]> = outputs.by_ref().take(with_logits).collect();
            if !self.model.pass(&places, &mut caches, scratch, &mut pass_outputs, &stop) {
                // Values beyond a sequence's end are never read, and overwritten by the next rows.
                return Err(EngineError::Stopped);
            }
        }
        for step in batch.iter() {
            if let Some(sequence) = self.sequences.get_mut(&step.sequence) {
                sequence.len += step.rows.len() / hidden_size;
            }
        }
        Ok(())
    }

    fn rewind(&mut self, sequence: SequenceId, positions: usize) -> Result<(), EngineError> {
        let found = self.sequences.get_mut(&sequence);
        let found = found.ok_or(EngineError::NoSuchSequence(sequence.0))?;
        // Values beyond the end are never read, see `forward`.
        found.len = found.len.min(positions);
        Ok(())
    }

    #[cfg(feature = "learn")]
    fn differentiable(&mut self) -> Option<&mut dyn Differentiable> {
        Some(self)
    }

    fn reduce_chunks(&self, chunks: &mut [VocabChunk<'_>]) {
        let Model { pool, tier, .. } = &self.model;
        pool.for_each_piece(chunks, 1, |_, piece| {
            piece.iter_mut().for_each(|chunk| tier.run(Reduce(chunk)))
        });
    }
}

#[cfg(feature = "learn")]
impl Differentiable for CpuEngine {
    fn gradient_bytes(&self, rows: usize, targets: usize) -> usize {
        learn::pass_bytes(&self.model.config, self.info.vocab_size, rows, targets)
    }

    fn begin_gradient(&mut self, example: Example) -> Result<(), EngineError> {
        // Frees the previous example first: two at once would need twice the memory.
        self.gradient = None;
        self.gradient = Some(learn::GradientPass::new(
            &self.model,
            example,
            self.info.vocab_size,
            self.info.window,
        )?);
        Ok(())
    }

    fn advance_gradient(&mut self) -> Option<Gradient> {
        let done = self.gradient.as_mut()?.step(&self.model)?;
        self.gradient = None;
        Some(done)
    }

    fn abort_gradient(&mut self) {
        self.gradient = None;
    }
}

/// The reduction of a vocabulary chunk, compiled for a tier.
struct Reduce<'a, 'b>(&'a mut VocabChunk<'b>);

impl Kernel for Reduce<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        self.0.reduce();
    }
}
