//! Measures the CPU engine: speed, memory and load time of a model, the overhead of TCP, the gain from drafted tokens, gradients, or the
//! kernels' products alone. Prints figures recorded from other engines for comparison.

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
use softprefix_unit::engine::{Engine, Logits, SequenceId, SequenceStep};
use softprefix_unit::models::ModelStore;

/// Number of sequences of a sweep: a baseline and ten values.
const CASES: usize = 11;

#[derive(Parser)]
#[command(version, about = "Measures the CPU engine")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// A model: load time, memory, prefill, decode, eleven sequences at once, and a text scored under eleven conditions
    Model {
        /// A GGUF file
        path: PathBuf,
        /// Number of threads [default: one per core]
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
        /// Other threads that are busy meanwhile
        #[arg(long, default_value_t = 0)]
        busy_threads: usize,
        /// Print one line of JSON instead of the table
        #[arg(long)]
        json: bool,
        /// Skip the accuracy, which takes long: the bits of cases alone and in a batch, and the divergence from the f32 weights
        #[arg(long)]
        speed_only: bool,
    },
    /// A unit on a loopback port: a sweep of eleven cases against the engine's own batch, and the time to the first text
    Tcp {
        /// A GGUF file
        path: PathBuf,
        /// Number of threads [default: one per core]
        #[arg(long)]
        threads: Option<usize>,
        /// Maximum tokens of each case
        #[arg(long, default_value_t = 64)]
        tokens: usize,
        /// Rounds, after one warm-up round
        #[arg(long, default_value_t = 5)]
        rounds: usize,
    },
    /// Drafts against none: a repeated text, positions of a slider, and unrelated texts
    Drafts {
        /// A GGUF file
        path: PathBuf,
        /// Number of threads [default: one per core]
        #[arg(long)]
        threads: Option<usize>,
        /// Maximum tokens of each text
        #[arg(long, default_value_t = 64)]
        tokens: usize,
        /// Rounds; the best of each inference counts
        #[arg(long, default_value_t = 3)]
        rounds: usize,
        /// Fail if a ratio is above its aim
        #[arg(long)]
        check: bool,
    },
    /// Gradients of a loss with respect to learned rows, against a plain product of f32 matrices and the prefill of the same rows
    #[cfg(feature = "learn")]
    Learn {
        /// A GGUF file
        path: PathBuf,
        /// Number of threads [default: one per core]
        #[arg(long)]
        threads: Option<usize>,
        /// Number of rows, including the learned ones and those of the targets
        #[arg(long, default_value_t = 100)]
        rows: usize,
        /// Rounds; the best of each figure counts
        #[arg(long, default_value_t = 5)]
        rounds: usize,
    },
    /// The products alone, for each tier that this processor supports and several numbers of rows
    Kernels {
        /// Number of threads [default: one per processor]
        #[arg(long)]
        threads: Option<usize>,
        /// Outputs of the matrices
        #[arg(long, default_value_t = 4864)]
        outputs: usize,
        /// Inputs of the matrices, a multiple of 32
        #[arg(long, default_value_t = 896)]
        inputs: usize,
        /// Number of matrices, so that none stays in a cache
        #[arg(long, default_value_t = 48)]
        count: usize,
        /// Weights that fit five bits
        #[arg(long)]
        narrow: bool,
    },
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().command {
        Command::Model {
            path,
            threads,
            prompt,
            tokens,
            rounds,
            busy_threads,
            json,
            speed_only,
        } => {
            ensure!(
                prompt > 0 && tokens > 1 && rounds > 0,
                "--prompt and --rounds start at 1, --tokens at 2"
            );
            let mut measured = with_other_load(busy_threads, || measure(&path, threads, prompt, tokens, rounds))?;
            if !speed_only {
                measured.accuracy = Some(accuracy::measure(&path, threads, prompt, tokens)?);
            }
            if json {
                println!("{}", measured.json())
            } else {
                measured.print(&path)
            }
        }
        Command::Tcp {
            path,
            threads,
            tokens,
            rounds,
        } => {
            ensure!(tokens > 0 && rounds > 0, "--tokens and --rounds start at 1");
            tcp::measure(&path, threads, tokens, rounds)?;
        }
        Command::Drafts {
            path,
            threads,
            tokens,
            rounds,
            check,
        } => {
            ensure!(tokens > 1 && rounds > 0, "--rounds starts at 1, --tokens at 2");
            let met = drafts::measure(&path, threads, tokens, rounds)?;
            ensure!(met || !check, "a ratio is above its aim");
        }
        #[cfg(feature = "learn")]
        Command::Learn {
            path,
            threads,
            rows,
            rounds,
        } => {
            ensure!(rounds > 0, "--rounds starts at 1");
            learn::measure(&path, threads, rows, rounds)?;
        }
        Command::Kernels {
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

/// The measurements of a model.
struct Measurement {
    backend: String,
    threads: usize,
    prompt: usize,
    tokens: usize,
    load: Duration,
    /// Comparing the file's digest with the cached one, as at each start after the first.
    digest_check: Duration,
    resident: Option<u64>,
    resident_peak: Option<u64>,
    bandwidth: f64,
    weight_bytes: usize,
    /// Rows per second.
    prefill: f64,
    /// Time from the prompt to its first token.
    first_token: Duration,
    decode: f64,
    decode_together: f64,
    /// Time for eleven prompts and their tokens.
    cases: Duration,
    /// Scoring of a text under eleven conditions at once.
    scoring: Option<score::Speeds>,
    accuracy: Option<accuracy::Accuracy>,
}

fn measure(
    path: &Path,
    threads: Option<usize>,
    prompt: usize,
    tokens: usize,
    rounds: usize,
) -> anyhow::Result<Measurement> {
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
    let store = ModelStore::from_env();
    store.sha256(path)?;
    let start = Instant::now();
    store.sha256(path)?;
    let digest_check = start.elapsed();
    let mut measured = Measurement {
        backend: engine.info().backend.clone(),
        threads: engine.threads(),
        prompt,
        tokens,
        load,
        digest_check,
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

/// Generates `tokens` greedy tokens for `sequences` prompts. Returns the time to the first tokens, and the time of the rest.
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

/// Sequences with a prompt each, in progress.
struct Cases {
    ids: Vec<SequenceId>,
    /// The tokens that each sequence is fed next: its prompt, then its last token.
    next: Vec<Vec<u32>>,
    /// Buffers for logits, reused like in the scheduler.
    logits: Vec<Vec<f32>>,
}

impl Cases {
    fn open(engine: &mut CpuEngine, numbers: Range<usize>, prompt: usize, tokens: usize) -> anyhow::Result<Self> {
        let vocabulary = engine.info().vocab_size;
        let ids: Vec<SequenceId> = numbers
            .clone()
            .map(|_| engine.open(prompt + tokens))
            .collect::<Result<_, _>>()?;
        // Arbitrary tokens; each sequence has others.
        let token = |at: usize, sequence: usize| ((at * 7919 + sequence * 104_729 + 1000) % vocabulary) as u32;
        let next = numbers.map(|sequence| (0..prompt).map(|at| token(at, sequence)).collect());
        Ok(Self {
            next: next.collect(),
            logits: vec![Vec::new(); ids.len()],
            ids,
        })
    }

    /// Feeds each sequence its next tokens and chooses the likeliest.
    fn step(&mut self, engine: &mut CpuEngine) -> anyhow::Result<()> {
        let stop = AtomicBool::new(false);
        let embeddings = engine.embeddings();
        let rows: Vec<Vec<bf16>> = self
            .next
            .iter()
            .map(|tokens: &Vec<u32>| embeddings.rows(tokens))
            .collect::<Result<_, _>>()?;
        let mut batch: Vec<SequenceStep<'_>> = self
            .ids
            .iter()
            .zip(&rows)
            .zip(&mut self.logits)
            .map(|((id, rows), out)| SequenceStep {
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

/// Returns a figure of this process's memory in bytes, if the system reports it (Linux).
fn memory_figure(name: &str) -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace()
        .next()?
        .parse::<u64>()
        .ok()
        .map(|kilobytes| kilobytes * 1024)
}

/// Runs `work` while `threads` other threads compute.
fn with_other_load<T>(threads: usize, work: impl FnOnce() -> T) -> T {
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

/// A thread for every logical processor, because memory bandwidth is not limited by the number of cores.
fn every_thread() -> Pool {
    Pool::new(std::thread::available_parallelism().map_or(1, std::num::NonZero::get))
}

/// Returns the bytes per second that all threads together read from memory outside the caches, the best of several tries. Compares two
/// halves, because the system's comparison uses the widest loads and does nothing else.
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
