//! The CPU engine: GGUF models with our own integer kernels. It knows files and arithmetic, not tasks or prefixes.
//!
//! A step is the same arithmetic for one row or many, alone or in company, on any number of threads and with any
//! instructions: `kernel` says how for the products, `attention` and `kernel::math` for the rest. Files:
//!
//! | file | does |
//! |---|---|
//! | `config`, `keys`, `tensors` | read the model's shape, and refuse what would not be computed |
//! | `weights` | packs the weights |
//! | `embeddings` | gives token rows |
//! | `cache` | holds a sequence's keys and values |
//! | `attention`, `rope`, `forward` | compute |
//! | `learn` | leads gradients back to the first rows |
//! | `kernel`, `threads` | multiply, on all processors and cores |
//!
//! # How fast
//!
//! Against llama.cpp (llama-cpp-python 0.3.36, compiled on the same machine), in turns by `benches/against_llama_cpp.py`: two
//! threads on two cores with AVX-512 VNNI, a prompt of 40 tokens, 64 generated, the best of three rounds, both engines before
//! everything else on the machine (`chrt -f 1`):
//!
//! | ours / llama.cpp | Qwen2.5-Coder-0.5B Q4_K_M | SmolLM2-135M Q4_1 |
//! |---|---|---|
//! | decode | 2.1 (115 / 54 tok/s) | 2.2 (350 / 156) |
//! | prefill | 3.5 (1024 / 291 tok/s) | 4.0 (1856 / 467) |
//! | 11 sequences at once, decode | 5.8 (619 / 107 tok/s) | 5.8 (1419 / 244) |
//! | 11 cases at once, against theirs one by one | 9.1 (1.5 / 13.6 s) | 7.9 (0.74 / 5.8 s) |
//! | memory after loading | 444 / 638 MB | 125 / 195 MB |
//! | mean KL to the f32 weights | 0.0008 / 0.0012 nat | 0.0036 / 0.0051 nat |
//!
//! Over TCP (`softprefix-bench tcp`, with other processes on both cores) a sweep of 11 cases takes 1.0 times the engine's own batch
//! of the same tokens (median of six rounds, both models), and a live run of 40 tokens has its first text after 138 ms on Qwen and 57
//! ms on SmolLM2 (best of six; the slowest took 230 and 93 ms). Beside two foreign busy threads (`softprefix-bench model --foreign 2`)
//! two threads on two cores keep 0.54 to 0.64 of their speed (decode of one, of 11, and prefill), where half is the fair share.
//!
//! Leading the model through a text of 208 tokens under 11 conditions at once (`softprefix-bench model`, best of six rounds): 0.91
//! (Qwen) and 0.82 (SmolLM2) of the rows a second of a prompt with every row's logits, which is 0.64 and 0.69 of a long prompt's
//! without them: each row has its own product with the vocabulary. A live run of 40 tokens that comes meanwhile has its first one after
//! 95 and 31 ms at worst (39 and 16 alone), since the step of scoring is given up for it and done again.
//!
//! With drafted tokens (`softprefix-bench drafts`, Qwen, one round of 64 tokens at most, beside other processes on both cores), the time
//! from the first token on is 0.23 of that without for the text of the run before, 0.23 and 0.26 for eleven positions of the slider (its
//! small and its large step apart), and 0.88 and 1.00 for texts that have nothing in common (greedy and sampled).
//!
//! Where the time of 11 cases goes on SmolLM2 (perf, share of both threads' samples, the load included): products 44 %, their
//! minima 7 %, attention 16 %, quantising activations 7 %, threads that wait for work 10 %, the choice of tokens 1 %. Eleven
//! rows are limited by memory and by the products at once: from a cache a thread does 305 G products a second, from memory
//! 150 to 200 before weights were fetched 16 KB ahead and tasks made large enough to use what was fetched, 190 to 270 since. Attention
//! and the quantising are what is next.

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

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use softprefix_core::protocol::extension::StoredWeights;

use crate::engine::Progress;
#[cfg(feature = "learn")]
use crate::engine::gradient::{Differentiable, Example, Gradient};
use crate::engine::likelihood::Share;
use crate::engine::{Engine, EngineError, EngineInfo, SequenceId, Step, TokenEmbeddings};
use crate::errors::LoadError;
use crate::gguf::GgufFile;

use cache::Cache;
use config::Config;
use embeddings::StoredEmbeddings;
use forward::{Model, Row, Scratch};
use kernel::{Kernel, Tier};
use threads::Pool;
use weights::Weights;

/// Most rows of one pass. More go through in several passes, which changes no bit, and bounds the memory of a pass.
const PASS_ROWS: usize = 128;

/// Most sequences alive at once.
const MAX_SEQUENCES: usize = 64;

/// How an engine is to run. The default is what a person wants who says nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CpuOptions {
    /// Threads that compute, the calling one included; `None`: one for each physical core.
    pub threads: Option<usize>,
    /// The kernels' instructions; `None`: what `SOFTPREFIX_KERNEL` names, or the fastest of this processor.
    pub tier: Option<Tier>,
    /// Upper limit of the window; `None`: the model's own.
    pub window: Option<usize>,
}

/// A GGUF model on this machine's processor.
pub struct CpuEngine {
    info: EngineInfo,
    model: Model,
    embeddings: Arc<StoredEmbeddings>,
    sequences: BTreeMap<SequenceId, Sequence>,
    next: u64,
    scratch: Scratch,
    #[cfg(feature = "learn")]
    gradient: Option<learn::Pass>,
}

struct Sequence {
    cache: Cache,
    /// Positions taken.
    len: usize,
    /// Positions it was opened for.
    limit: usize,
}

impl CpuEngine {
    /// Loads the model at `path`: reads it, packs its weights, and runs it once to warm it up.
    ///
    /// # Errors
    /// A [`LoadError`] for files that are unreadable, damaged or of another architecture, and for a forced kernel that this
    /// processor cannot run.
    pub fn load(path: &Path, options: CpuOptions, progress: &Progress<'_>) -> Result<Self, LoadError> {
        progress(0.0, "file");
        Self::from_file(Arc::new(GgufFile::open(path)?), options, progress)
    }

    /// [`CpuEngine::load`] of a file that is open already.
    ///
    /// # Errors
    /// As there.
    pub fn from_file(file: Arc<GgufFile>, options: CpuOptions, progress: &Progress<'_>) -> Result<Self, LoadError> {
        let config = Config::read(&file)?;
        tensors::check(&file, &config)?;
        let tier = match options.tier {
            Some(tier) => tier,
            None => Tier::from_env().map_err(|error| EngineError::Machinery {
                what: "choosing the processor's instructions".into(),
                detail: error.to_string(),
                remedy: "correct the environment variable".into(),
            })?,
        };
        let pool = Pool::new(options.threads.unwrap_or_else(default_threads));
        let weights = Weights::load(&file, &config, &pool, progress)?;
        let Some(table) = file.tensor(tensors::TABLE).cloned() else {
            return Err(LoadError::BadFile {
                path: file.path().to_owned(),
                reason: format!("it lacks the tensor {}", tensors::TABLE),
            });
        };
        let taken_over = StoredWeights::sentence(&weights.taken_over);
        tracing::info!("{}: cpu/{tier}, weight matrices: {taken_over}", file.path().display());
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
            weights: weights.taken_over.clone(),
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
            next: 0,
            scratch: Scratch::default(),
            #[cfg(feature = "learn")]
            gradient: None,
        };
        progress(0.9, "warm-up");
        engine.warm_up()?;
        progress(1.0, "ready");
        Ok(engine)
    }

    fn empty_cache(&self) -> Cache {
        let config = &self.model.config;
        Cache::new(config.layers, config.kv_heads, config.head_size)
    }

    /// Threads that compute.
    pub fn threads(&self) -> usize {
        self.model.pool.threads()
    }

    /// Bytes of weights that one step reads, whatever the number of its rows.
    pub fn weight_bytes(&self) -> usize {
        self.model.weights.bytes()
    }

    /// Multiply-adds of one row in all matrices but the vocabulary's, and in that one.
    pub fn multiply_adds(&self) -> (usize, usize) {
        let size = |linear: &weights::Linear| linear.matrix.outputs() * linear.matrix.inputs();
        let weights = &self.model.weights;
        let of_layer = |layer: &weights::Layer| {
            let all = [&layer.qkv, &layer.output, &layer.gate_up, &layer.down];
            all.into_iter().map(size).sum::<usize>()
        };
        (weights.layers.iter().map(of_layer).sum(), size(&weights.vocabulary))
    }

    /// Shares of the work on a gradient that are its forward pass.
    #[cfg(feature = "learn")]
    pub fn gradient_shares(&self) -> usize {
        // The layers, the logits, and the turn to each of the two.
        self.model.weights.layers.len() + 2
    }

    /// Touches all weights once, so that the first inference is as fast as the second.
    fn warm_up(&mut self) -> Result<(), EngineError> {
        let sequence = self.open(1)?;
        let mut row = vec![half::bf16::ZERO; self.info.hidden_size];
        self.embeddings.row(0, &mut row)?;
        let stop = std::sync::atomic::AtomicBool::new(false);
        let step = Step {
            sequence,
            rows: &row,
            logits: crate::engine::Logits::Last,
            out: Vec::new(),
            stop: &stop,
        };
        let outcome = self.forward(&mut [step]);
        self.close(sequence);
        outcome
    }

    /// Checks a batch before anything is touched.
    fn check(&self, batch: &[Step<'_>]) -> Result<(), EngineError> {
        let hidden_size = self.info.hidden_size;
        let mut seen = std::collections::BTreeSet::new();
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
            let wanted = sequence.len + step.rows.len() / hidden_size;
            if wanted > sequence.limit {
                return Err(EngineError::WindowExceeded {
                    wanted,
                    window: sequence.limit,
                });
            }
            if !seen.insert(step.sequence) {
                return Err(EngineError::Machinery {
                    what: "a batch".into(),
                    detail: format!("{:?} is in it twice", step.sequence),
                    remedy: "give each sequence one step".into(),
                });
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
        let id = SequenceId(self.next);
        self.next += 1;
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

    /// A batch is given up, between two layers, once *all* its steps are to stop; a step that is to stop while others go on
    /// is computed with them, and its result left to the caller to ignore.
    fn forward(&mut self, batch: &mut [Step<'_>]) -> Result<(), EngineError> {
        self.check(batch)?;
        let hidden_size = self.info.hidden_size;
        let vocab_size = self.info.vocab_size;

        // All rows of the batch in order: (step, row within the step, where it belongs).
        let mut rows = Vec::new();
        for (number, step) in batch.iter_mut().enumerate() {
            let count = step.rows.len() / hidden_size;
            // What it holds already is written over: clearing it would touch all of it twice.
            let wanted = match step.logits {
                crate::engine::Logits::None => 0,
                crate::engine::Logits::Last => 1,
                crate::engine::Logits::All => count,
            };
            step.out.resize(wanted * vocab_size, 0.0);
            let Some(sequence) = self.sequences.get_mut(&step.sequence) else {
                continue;
            };
            for row in 0..count {
                rows.push((
                    number,
                    row,
                    Row {
                        sequence: number,
                        position: sequence.len + row,
                        logits: row + wanted >= count,
                    },
                ));
            }
            sequence.len += count;
            sequence
                .cache
                .grow(sequence.len)
                .map_err(|error| EngineError::Machinery {
                    what: "taking memory for keys and values".into(),
                    detail: error.to_string(),
                    remedy: "end other programs, or start the unit with less --memory".into(),
                })?;
        }

        // The batch's caches, in the order of its steps.
        let mut by_id: BTreeMap<SequenceId, &mut Cache> = self
            .sequences
            .iter_mut()
            .map(|(id, sequence)| (*id, &mut sequence.cache))
            .collect();
        let mut caches: Vec<&mut Cache> = batch.iter().filter_map(|step| by_id.remove(&step.sequence)).collect();

        // Where logits go, in the order of the rows that want them.
        let mut outs: Vec<Vec<f32>> = batch.iter_mut().map(|step| std::mem::take(&mut step.out)).collect();
        let mut logits = outs.iter_mut().flat_map(|out| out.chunks_exact_mut(vocab_size));
        let mut stopped = false;
        for pass in rows.chunks(PASS_ROWS) {
            let scratch = &mut self.scratch;
            scratch.x.clear();
            for (step, row, _) in pass {
                let values = &batch[*step].rows[row * hidden_size..(row + 1) * hidden_size];
                scratch.x.extend(values.iter().map(|value| value.to_f32()));
            }
            let places: Vec<Row> = pass.iter().map(|(_, _, place)| *place).collect();
            let stop = || batch.iter().all(|step| step.stop.load(Ordering::Relaxed));
            let wanted = places.iter().filter(|row| row.logits).count();
            let mut logits: Vec<&mut [f32]> = logits.by_ref().take(wanted).collect();
            if !self.model.pass(&places, &mut caches, scratch, &mut logits, &stop) {
                stopped = true;
                break;
            }
        }
        for (step, out) in batch.iter_mut().zip(outs) {
            step.out = out;
        }
        if !stopped {
            return Ok(());
        }
        // What was stored beyond a sequence's end is not looked at, and written over by the rows that come next.
        for step in batch.iter() {
            if let Some(sequence) = self.sequences.get_mut(&step.sequence) {
                sequence.len -= step.rows.len() / hidden_size;
            }
        }
        Err(EngineError::Stopped)
    }

    fn rewind(&mut self, sequence: SequenceId, positions: usize) -> Result<(), EngineError> {
        let found = self.sequences.get_mut(&sequence);
        let found = found.ok_or(EngineError::NoSuchSequence(sequence.0))?;
        // As above: what lies behind the end is not looked at, and written over.
        found.len = found.len.min(positions);
        Ok(())
    }

    #[cfg(feature = "learn")]
    fn differentiable(&mut self) -> Option<&mut dyn Differentiable> {
        Some(self)
    }

    fn weigh(&self, shares: &mut [Share<'_>]) {
        let Model { pool, tier, .. } = &self.model;
        pool.for_each_piece(shares, 1, |_, piece| {
            piece.iter_mut().for_each(|share| tier.run(Weigh(share)))
        });
    }
}

#[cfg(feature = "learn")]
impl Differentiable for CpuEngine {
    fn gradient_bytes(&self, rows: usize, targets: usize) -> usize {
        learn::bytes(&self.model.config, self.info.vocab_size, rows, targets)
    }

    fn begin_gradient(&mut self, example: Example) -> Result<(), EngineError> {
        // Two at once would take twice the memory.
        self.gradient = None;
        self.gradient = Some(learn::Pass::new(
            &self.model,
            example,
            self.info.vocab_size,
            self.info.window,
        )?);
        Ok(())
    }

    fn advance_gradient(&mut self) -> Option<Gradient> {
        let done = self.gradient.as_mut()?.advance(&self.model)?;
        self.gradient = None;
        Some(done)
    }

    fn give_up_gradient(&mut self) {
        self.gradient = None;
    }
}

/// A share of a comparison, compiled for a tier.
struct Weigh<'a, 'b>(&'a mut Share<'b>);

impl Kernel for Weigh<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        self.0.weigh();
    }
}

/// One thread for each physical core: a second one on the same core has no units of its own to compute with.
fn default_threads() -> usize {
    let logical = std::thread::available_parallelism().map_or(1, usize::from);
    // Linux tells which logical processors share a core; elsewhere (Apple's processors) each is a core.
    let mut cores = std::collections::BTreeSet::new();
    for number in 0..logical {
        let path = format!("/sys/devices/system/cpu/cpu{number}/topology/thread_siblings_list");
        match std::fs::read_to_string(path) {
            Ok(siblings) => cores.insert(siblings),
            Err(_) => return logical,
        };
    }
    cores.len().clamp(1, logical)
}
