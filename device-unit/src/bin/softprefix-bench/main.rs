//! Measures the CPU engine: a model's speed, memory and load time, what the way over TCP adds, what drafted tokens save, or the
//! products of its kernels alone.
//!
//! It prints what it measures, beside what other engines reached when this one was designed, and judges nothing.

mod accuracy;
mod drafts;
#[cfg(feature = "learn")]
mod learn;
mod reference;
mod score;
mod table;
mod tcp;

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use clap::{Parser, Subcommand};
use half::{bf16, f16};
use softprefix_unit::engine::cpu::kernel::{PackedMatrix, QuantRows, Tier, matmul};
use softprefix_unit::engine::cpu::threads::Pool;
use softprefix_unit::engine::cpu::{CpuEngine, CpuOptions};
use softprefix_unit::engine::sampling::greedy;
use softprefix_unit::engine::{Engine, Logits, SequenceId, Step};

/// Sequences of a sweep: a baseline and ten values.
const CASES: usize = 11;

#[derive(Parser)]
#[command(version, about = "Measures the CPU engine")]
struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// A model: load time, memory, prefill, decode, eleven sequences at once, and a text scored under eleven conditions
    Model {
        /// A GGUF file
        path: PathBuf,
        /// Threads that compute; without it, one for each core
        #[arg(long)]
        threads: Option<usize>,
        /// Tokens of the prompt
        #[arg(long, default_value_t = 40)]
        prompt: usize,
        /// Tokens to generate
        #[arg(long, default_value_t = 64)]
        tokens: usize,
        /// Rounds; the best of each figure counts
        #[arg(long, default_value_t = 3)]
        rounds: usize,
        /// Threads of a foreign load beside the engine
        #[arg(long, default_value_t = 0)]
        foreign: usize,
        /// One line of JSON in place of the table
        #[arg(long)]
        json: bool,
        /// Leave out what takes long and is no speed: the cases' bits alone and together, and the distance to the f32 weights
        #[arg(long)]
        speed_only: bool,
    },
    /// A unit on a loopback port: a sweep of eleven cases against the engine's own batch, and the time to a first text
    Tcp {
        /// A GGUF file
        path: PathBuf,
        /// Threads that compute; without it, one for each core
        #[arg(long)]
        threads: Option<usize>,
        /// Most tokens of each case
        #[arg(long, default_value_t = 64)]
        tokens: usize,
        /// Rounds, after one for warming up
        #[arg(long, default_value_t = 5)]
        rounds: usize,
    },
    /// A unit that drafts tokens against one that does not: a text once more, positions of a slider, and texts with nothing in common
    Drafts {
        /// A GGUF file
        path: PathBuf,
        /// Threads that compute; without it, one for each core
        #[arg(long)]
        threads: Option<usize>,
        /// Most tokens of each text
        #[arg(long, default_value_t = 64)]
        tokens: usize,
        /// Rounds; the best of each inference counts
        #[arg(long, default_value_t = 3)]
        rounds: usize,
    },
    /// Gradients of a loss with respect to learned rows, against a plain product of f32 matrices and the prefill of the same rows
    #[cfg(feature = "learn")]
    Learn {
        /// A GGUF file
        path: PathBuf,
        /// Threads that compute; without it, one for each core
        #[arg(long)]
        threads: Option<usize>,
        /// Rows in all, the learned ones and the targets' included
        #[arg(long, default_value_t = 100)]
        rows: usize,
        /// Rounds; the best of each figure counts
        #[arg(long, default_value_t = 5)]
        rounds: usize,
    },
    /// The products alone, for each tier this processor runs and several numbers of rows
    Kernels {
        /// Threads that compute; without it, one for each processor
        #[arg(long)]
        threads: Option<usize>,
        /// Outputs of the matrices
        #[arg(long, default_value_t = 4864)]
        outputs: usize,
        /// Inputs of the matrices, a multiple of 32
        #[arg(long, default_value_t = 896)]
        inputs: usize,
        /// Matrices to go through, so that none stays in a cache
        #[arg(long, default_value_t = 48)]
        count: usize,
        /// Weights that fit five bits
        #[arg(long)]
        narrow: bool,
    },
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().what {
        What::Model {
            path,
            threads,
            prompt,
            tokens,
            rounds,
            foreign,
            json,
            speed_only,
        } => {
            ensure!(
                prompt > 0 && tokens > 1 && rounds > 0,
                "--prompt and --rounds start at 1, --tokens at 2"
            );
            let mut measured = with_foreign_load(foreign, || measure(&path, threads, prompt, tokens, rounds))?;
            if !speed_only {
                measured.accuracy = Some(accuracy::measure(&path, threads, prompt, tokens)?);
            }
            if json {
                println!("{}", measured.json())
            } else {
                measured.print(&path)
            }
        }
        What::Tcp {
            path,
            threads,
            tokens,
            rounds,
        } => {
            ensure!(tokens > 0 && rounds > 0, "--tokens and --rounds start at 1");
            tcp::measure(&path, threads, tokens, rounds)?;
        }
        What::Drafts {
            path,
            threads,
            tokens,
            rounds,
        } => {
            ensure!(tokens > 1 && rounds > 0, "--rounds starts at 1, --tokens at 2");
            drafts::measure(&path, threads, tokens, rounds)?;
        }
        #[cfg(feature = "learn")]
        What::Learn {
            path,
            threads,
            rows,
            rounds,
        } => {
            ensure!(rounds > 0, "--rounds starts at 1");
            learn::measure(&path, threads, rows, rounds)?;
        }
        What::Kernels {
            threads,
            outputs,
            inputs,
            count,
            narrow,
        } => {
            ensure!(
                inputs % 32 == 0 && outputs > 0 && inputs > 0 && count > 0,
                "sizes are above 0, --inputs a multiple of 32"
            );
            kernels(threads.unwrap_or_else(processors), outputs, inputs, count, narrow);
        }
    }
    Ok(())
}

fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, Into::into)
}

/// What one run found out about a model.
struct Measured {
    backend: String,
    threads: usize,
    prompt: usize,
    tokens: usize,
    load: Duration,
    resident: Option<u64>,
    resident_peak: Option<u64>,
    bandwidth: f64,
    weight_bytes: usize,
    /// Rows per second.
    prefill: f64,
    /// From the prompt to its first token.
    first_token: Duration,
    decode: f64,
    decode_together: f64,
    /// Eleven prompts and their tokens, from the first to the last.
    cases: Duration,
    /// A text under eleven conditions at once.
    scoring: Option<score::Speeds>,
    accuracy: Option<accuracy::Accuracy>,
}

fn measure(
    path: &Path,
    threads: Option<usize>,
    prompt: usize,
    tokens: usize,
    rounds: usize,
) -> anyhow::Result<Measured> {
    let start = Instant::now();
    let mut engine = CpuEngine::load(
        path,
        CpuOptions {
            threads,
            ..CpuOptions::default()
        },
        &|_, _| {},
    )
    .with_context(|| format!("loading {}", path.display()))?;
    let load = start.elapsed();
    let mut measured = Measured {
        backend: engine.info().backend.clone(),
        threads: engine.threads(),
        prompt,
        tokens,
        load,
        resident: memory_figure("VmRSS:"),
        resident_peak: memory_figure("VmHWM:"),
        bandwidth: 0.0,
        weight_bytes: engine.weight_bytes(),
        prefill: 0.0,
        first_token: Duration::MAX,
        decode: 0.0,
        decode_together: 0.0,
        cases: Duration::MAX,
        scoring: None,
        accuracy: None,
    };
    let every_thread = every_thread();
    for _ in 0..rounds {
        measured.bandwidth = measured.bandwidth.max(read_bandwidth(&every_thread));

        let (prefill, decode) = generate(&mut engine, 1, prompt, tokens)?;
        measured.first_token = measured.first_token.min(prefill);
        measured.prefill = measured.prefill.max(prompt as f64 / prefill.as_secs_f64());
        measured.decode = measured.decode.max((tokens - 1) as f64 / decode.as_secs_f64());

        let (prefill, decode) = generate(&mut engine, CASES, prompt, tokens)?;
        measured.cases = measured.cases.min(prefill + decode);
        measured.decode_together = measured
            .decode_together
            .max((CASES * (tokens - 1)) as f64 / decode.as_secs_f64());
    }
    drop(engine);
    measured.scoring = Some(score::measure(path, threads, rounds)?);
    Ok(measured)
}

/// Runs `sequences` prompts and `tokens` greedy tokens of each; returns the time to the first tokens, and that of the rest.
fn generate(
    engine: &mut CpuEngine,
    sequences: usize,
    prompt: usize,
    tokens: usize,
) -> anyhow::Result<(Duration, Duration)> {
    let mut cases = Cases::open(engine, 0..sequences, prompt, tokens)?;
    let start = Instant::now();
    cases.step(engine)?;
    let prefill = start.elapsed();
    let start = Instant::now();
    for _ in 1..tokens {
        cases.step(engine)?;
    }
    let decode = start.elapsed();
    cases.close(engine);
    Ok((prefill, decode))
}

/// Some sequences, each with a prompt of its own, on their way.
struct Cases {
    ids: Vec<SequenceId>,
    /// What each is fed next: its prompt, then its last token.
    next: Vec<Vec<u32>>,
    /// Those of the last step, kept from one to the next as the scheduler does.
    logits: Vec<Vec<f32>>,
}

impl Cases {
    fn open(engine: &mut CpuEngine, numbers: Range<usize>, prompt: usize, tokens: usize) -> anyhow::Result<Self> {
        let vocabulary = engine.info().vocab_size;
        let ids: Vec<SequenceId> = numbers
            .clone()
            .map(|_| engine.open(prompt + tokens))
            .collect::<Result<_, _>>()?;
        // Any tokens will do; each sequence has its own.
        let token = |at: usize, sequence: usize| ((at * 7919 + sequence * 104_729 + 1000) % vocabulary) as u32;
        let next = numbers.map(|sequence| (0..prompt).map(|at| token(at, sequence)).collect());
        Ok(Self {
            next: next.collect(),
            logits: vec![Vec::new(); ids.len()],
            ids,
        })
    }

    /// Feeds each sequence what it has and chooses the likeliest next token.
    fn step(&mut self, engine: &mut CpuEngine) -> anyhow::Result<()> {
        let stop = AtomicBool::new(false);
        let hidden_size = engine.info().hidden_size;
        let embeddings = engine.embeddings();
        let rows: Vec<Vec<bf16>> = self
            .next
            .iter()
            .map(|tokens| {
                let mut rows = vec![bf16::ZERO; tokens.len() * hidden_size];
                for (token, row) in tokens.iter().zip(rows.chunks_exact_mut(hidden_size)) {
                    embeddings.row(*token, row)?;
                }
                Ok(rows)
            })
            .collect::<anyhow::Result<_>>()?;
        let mut batch: Vec<Step<'_>> = self
            .ids
            .iter()
            .zip(&rows)
            .zip(&mut self.logits)
            .map(|((id, rows), out)| Step {
                sequence: *id,
                rows,
                logits: Logits::Last,
                out: std::mem::take(out),
                stop: &stop,
            })
            .collect();
        engine.forward(&mut batch)?;
        for ((step, logits), next) in batch.into_iter().zip(&mut self.logits).zip(&mut self.next) {
            *logits = step.out;
            *next = vec![greedy(logits).context("the engine gave no logits")?];
        }
        Ok(())
    }

    fn close(self, engine: &mut CpuEngine) {
        self.ids.into_iter().for_each(|id| engine.close(id));
    }
}

/// A figure of this process's memory in bytes, where the system tells (Linux).
fn memory_figure(name: &str) -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace()
        .next()?
        .parse::<u64>()
        .ok()
        .map(|kilobytes| kilobytes * 1024)
}

/// Does `work` while `threads` threads of nobody's interest compute beside it.
fn with_foreign_load<T>(threads: usize, work: impl FnOnce() -> T) -> T {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let mut state = 1u64;
                while !done.load(Ordering::Relaxed) {
                    for _ in 0..10_000 {
                        state = std::hint::black_box(state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1));
                    }
                }
            });
        }
        let result = work();
        done.store(true, Ordering::Relaxed);
        result
    })
}

fn kernels(threads: usize, outputs: usize, inputs: usize, count: usize, narrow: bool) {
    let pool = Pool::new(threads);
    println!(
        "{threads} threads; reading memory: {:.1} GB/s",
        read_bandwidth(&every_thread()) / 1e9
    );
    let shift = if narrow { 3 } else { 0 };
    let matrix = |number: usize| {
        let row = |output: usize, bytes: &mut [i8], scales: &mut [f16]| {
            for (input, byte) in bytes.iter_mut().enumerate() {
                *byte = (output * 7 + input * 13 + number) as u8 as i8 >> shift;
            }
            scales.fill(f16::from_f32(0.01));
        };
        PackedMatrix::pack_q8(outputs, inputs, row, &pool)
    };
    let matrices: Vec<PackedMatrix> = (0..count).map(matrix).collect();
    let bytes: usize = matrices.iter().map(PackedMatrix::bytes).sum();
    println!("{count} matrices of {outputs} x {inputs}: {} MB", bytes / 1_000_000);
    println!(
        "{:<14}{:>6}{:>12}{:>12}{:>14}",
        "tier", "rows", "us/matrix", "GB/s", "G products/s"
    );
    for tier in Tier::ALL
        .into_iter()
        .filter(|tier| tier.is_supported() && *tier != Tier::Scalar)
    {
        for rows in [1, 2, 4, 8, 11, 12, 40, 128] {
            let values: Vec<f32> = (0..rows * inputs).map(|i| (i % 97) as f32 - 48.0).collect();
            let mut x = QuantRows::new();
            x.quantise(&values, inputs);
            let mut out = vec![0.0; rows * outputs];
            let seconds = best_of(5, || {
                for w in &matrices {
                    matmul(&pool, tier, w, &x, &mut out);
                }
            })
            .as_secs_f64();
            println!(
                "{:<14}{rows:>6}{:>12.1}{:>12.1}{:>14.1}",
                tier.name(),
                seconds / count as f64 * 1e6,
                bytes as f64 / seconds / 1e9,
                (rows * outputs * inputs * count) as f64 / seconds / 1e9,
            );
        }
    }
}

/// All of the machine's threads: what memory gives is not a matter of how many compute.
fn every_thread() -> Pool {
    Pool::new(std::thread::available_parallelism().map_or(1, std::num::NonZero::get))
}

/// Bytes per second that all threads together read from memory that is in no cache, at best of several tries. Two halves are compared:
/// the system's comparison loads as widely as the processor can, and does nothing else.
fn read_bandwidth(pool: &Pool) -> f64 {
    const PIECE: usize = 512 << 10;
    let memory = vec![1u8; 256 << 20];
    let (first, second) = memory.split_at(memory.len() / 2);
    let elapsed = best_of(7, || {
        pool.run(first.len() / PIECE, |piece| {
            let piece = piece * PIECE..(piece + 1) * PIECE;
            std::hint::black_box(first[piece.clone()] == second[piece]);
        });
    });
    memory.len() as f64 / elapsed.as_secs_f64()
}

fn best_of(times: usize, mut work: impl FnMut()) -> Duration {
    let runs = (0..times).map(|_| {
        let start = Instant::now();
        work();
        start.elapsed()
    });
    runs.min().unwrap_or_default()
}
