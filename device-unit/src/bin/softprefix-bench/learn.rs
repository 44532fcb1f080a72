//! Measures gradients with respect to learned rows, compared with a plain product of f32 matrices on as many threads in the same run, and
//! with the engine's own prefill of the same rows.
//!
//! With 100 rows, 8 of them learned, and 20 targets, on two threads with AVX-512 at real-time priority (profile dev):
//!
//! | model | backward pass | share of the plain product's rate | step with its evaluation | memory beside the model |
//! |---|---|---|---|---|
//! | SmolLM2-135M | 0.35 s | 39 % | 4.5 x the prefill of its rows | 61 MB |
//! | Qwen2.5-Coder-0.5B | 1.2 s | 41 % | 5.6 x the prefill of its rows | 132 MB (321 MB for 256 rows) |
//!
//! Half of the time is spent unpacking weights.

use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use half::bf16;
use softprefix_unit::engine::cpu::kernel::Tier;
use softprefix_unit::engine::cpu::kernel::float::dense;
use softprefix_unit::engine::cpu::threads::Pool;
use softprefix_unit::engine::cpu::{CpuEngine, CpuOptions, MultiplyAdds};
use softprefix_unit::engine::gradient::{Differentiable as _, Example, Target};
use softprefix_unit::engine::{Engine, Logits, SequenceStep};

/// Number of learned rows.
const LEARNED: usize = 8;
/// Number of targets.
const TARGETS: usize = 20;
/// Rows and columns of the plain product's matrices, per thread.
const PLAIN: usize = 768;

/// Measures and prints.
pub fn measure(path: &Path, threads: Option<usize>, rows: usize, rounds: usize) -> anyhow::Result<()> {
    ensure!(rows >= LEARNED + TARGETS, "--rows starts at {}", LEARNED + TARGETS);
    let options = CpuOptions {
        threads,
        ..CpuOptions::default()
    };
    let mut engine =
        CpuEngine::load(path, options, &|_, _| {}).with_context(|| format!("loading {}", path.display()))?;
    let pool = Pool::new(engine.threads());
    let (mut plain, mut forth, mut back, mut prefill) = (0.0f64, Duration::MAX, Duration::MAX, Duration::MAX);
    let mut memory = None;
    for _ in 0..rounds {
        plain = plain.max(plain_product(&pool));
        prefill = prefill.min(scored(&mut engine, rows)?);
        let before = crate::memory_figure("VmRSS:");
        let (there, again, at_most) = gradient(&mut engine, rows)?;
        (forth, back) = (forth.min(there), back.min(again));
        let used = at_most
            .zip(before)
            .map(|(at_most, before)| at_most.saturating_sub(before));
        memory = memory.max(used);
    }
    // The multiply-adds of all matrices for each row, except the output matrix, which is multiplied for targets only.
    let MultiplyAdds { layers, output } = engine.multiply_adds();
    let operations = 2.0 * (layers * rows + output * TARGETS) as f64;
    let rate = |time: Duration| operations / time.as_secs_f64() / 1e9;
    let share = |time: Duration| 100.0 * rate(time) / plain;
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    println!(
        "{} on {}, {} threads",
        path.display(),
        engine.info().backend,
        engine.threads()
    );
    println!("{rows} rows, {LEARNED} of them learned, {TARGETS} targets");
    println!("plain product of f32 matrices    {plain:>8.1} GFLOP/s");
    for (what, time) in [("forward pass in f32", forth), ("backward pass", back)] {
        println!(
            "{what:<24} {:>8.1} ms{:>8.1} GFLOP/s, {:.0} % of the plain product's",
            ms(time),
            rate(time),
            share(time)
        );
    }
    println!(
        "a step (both, and the evaluation) {:.1} ms, {:.1} times the prefill with its logits ({:.1} ms)",
        ms(forth + back + prefill),
        (forth + back + prefill).as_secs_f64() / prefill.as_secs_f64(),
        ms(prefill)
    );
    println!(
        "memory beside the model          {:>11} ({} MB charged)",
        memory.map_or("unknown".to_owned(), |bytes| format!("{} MB", bytes / 1_000_000)),
        engine.gradient_bytes(rows, TARGETS) / 1_000_000
    );
    Ok(())
}

/// Returns the GFLOP/s of all threads together, each multiplying matrices of its own.
fn plain_product(pool: &Pool) -> f64 {
    let matrix: Vec<f32> = (0..PLAIN * PLAIN).map(|at| (at % 89) as f32 / 89.0).collect();
    let time = crate::best_of(3, || {
        pool.run(pool.threads(), |_| {
            let mut out = vec![0.0; PLAIN * PLAIN];
            dense(Tier::best(), &matrix, &matrix, (PLAIN, PLAIN), &mut out);
            std::hint::black_box(out);
        });
    });
    2.0 * (pool.threads() * PLAIN * PLAIN * PLAIN) as f64 / time.as_secs_f64() / 1e9
}

fn rows_of(engine: &CpuEngine, rows: usize) -> anyhow::Result<Vec<bf16>> {
    let embeddings = engine.embeddings();
    let (width, vocabulary) = (embeddings.hidden_size(), embeddings.vocab_size());
    let mut values = vec![bf16::ZERO; rows * width];
    for (at, row) in values.chunks_exact_mut(width).enumerate() {
        embeddings.row(((at * 7919 + 1000) % vocabulary) as u32, row)?;
    }
    Ok(values)
}

/// Returns the time of the engine's own forward pass with the targets' logits: the prefill, and also the time in which the rows are evaluated
/// after a step of learning.
fn scored(engine: &mut CpuEngine, rows: usize) -> anyhow::Result<Duration> {
    let values = rows_of(engine, rows)?;
    let prompt_values = (rows - TARGETS) * engine.info().hidden_size;
    let sequence = engine.open(rows)?;
    let stop = AtomicBool::new(false);
    let start = Instant::now();
    for (rows, logits) in [
        (&values[..prompt_values], Logits::None),
        (&values[prompt_values..], Logits::All),
    ] {
        let out = Vec::new();
        let stop = &stop;
        engine.forward(&mut [SequenceStep {
            sequence,
            rows,
            logits,
            out,
            stop,
        }])?;
    }
    let elapsed = start.elapsed();
    engine.close(sequence);
    Ok(elapsed)
}

/// Returns the times of the forward and backward pass, and the maximum memory in between, if the system reports it.
fn gradient(engine: &mut CpuEngine, rows: usize) -> anyhow::Result<(Duration, Duration, Option<u64>)> {
    let example = Example {
        rows: rows_of(engine, rows)?,
        learned: LEARNED,
        targets: (0..TARGETS as u32).map(Target::Token).collect(),
        weight: 1.0,
    };
    let forward_stages = engine.gradient_forward_stages();
    let start = Instant::now();
    engine.begin_gradient(example)?;
    let (mut forth, mut stages, mut memory) = (Duration::ZERO, 0, None);
    while engine.advance_gradient().is_none() {
        stages += 1;
        if stages == forward_stages {
            forth = start.elapsed();
        }
        memory = memory.max(crate::memory_figure("VmRSS:"));
    }
    Ok((forth, start.elapsed() - forth, memory))
}
