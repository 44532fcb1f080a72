//! Measures the CPU engine: its kernels, and with a model its speed, memory and load time.
//!
//! It prints what it measures and judges nothing.

use std::time::{Duration, Instant};

use clap::{Parser, Subcommand};
use half::f16;
use softprefix_unit::engine::gguf::kernel::{PackedMatrix, QuantRows, Tier, matmul};
use softprefix_unit::engine::gguf::threads::Pool;

#[derive(Parser)]
#[command(version, about)]
struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// The products alone, for each tier this processor runs and several numbers of rows.
    Kernels {
        /// Threads to use; 0: one for each processor.
        #[arg(long, default_value_t = 0)]
        threads: usize,
        /// outputs x inputs of the matrices: a chain of `--count` of them is gone through, so that none stays in a cache.
        #[arg(long, default_value_t = 4864)]
        outputs: usize,
        #[arg(long, default_value_t = 896)]
        inputs: usize,
        #[arg(long, default_value_t = 48)]
        count: usize,
        /// Weights that fit five bits.
        #[arg(long)]
        narrow: bool,
    },
}

fn main() {
    match Arguments::parse().what {
        What::Kernels {
            threads,
            outputs,
            inputs,
            count,
            narrow,
        } => kernels(threads, outputs, inputs, count, narrow),
    }
}

fn threads_or_all(threads: usize) -> usize {
    if threads > 0 {
        threads
    } else {
        std::thread::available_parallelism().map_or(1, Into::into)
    }
}

fn kernels(threads: usize, outputs: usize, inputs: usize, count: usize, narrow: bool) {
    let shift = if narrow { 3 } else { 0 };
    let threads = threads_or_all(threads);
    let pool = Pool::new(threads);
    println!(
        "{threads} threads; reading memory: {:.1} GB/s",
        read_bandwidth(&pool) / 1e9
    );
    let matrices: Vec<PackedMatrix> = (0..count)
        .map(|number| {
            PackedMatrix::pack_q8(
                outputs,
                inputs,
                |output, bytes, scales| {
                    bytes
                        .iter_mut()
                        .enumerate()
                        .for_each(|(i, byte)| *byte = (output * 7 + i * 13 + number) as u8 as i8 >> shift);
                    scales.fill(f16::from_f32(0.01));
                },
                &pool,
            )
        })
        .collect();
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
            let elapsed = best_of(5, || {
                for w in &matrices {
                    matmul(&pool, tier, w, &x, &mut out);
                }
            });
            let seconds = elapsed.as_secs_f64();
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

/// Bytes per second that all threads together read from memory that is in no cache.
fn read_bandwidth(pool: &Pool) -> f64 {
    const PIECE: usize = 64 * 1024;
    let memory = vec![1u64; (256 << 20) / size_of::<u64>()];
    let elapsed = best_of(5, || {
        pool.run(memory.len() / PIECE, |piece| {
            let (lanes, _) = memory[piece * PIECE..(piece + 1) * PIECE].as_chunks::<32>();
            let mut sums = [0u64; 32];
            for chunk in lanes {
                for (sum, value) in sums.iter_mut().zip(chunk) {
                    *sum ^= *value;
                }
            }
            std::hint::black_box(sums);
        });
    });
    (memory.len() * size_of::<u64>()) as f64 / elapsed.as_secs_f64()
}

fn best_of(times: usize, mut work: impl FnMut()) -> Duration {
    (0..times)
        .map(|_| {
            let start = Instant::now();
            work();
            start.elapsed()
        })
        .min()
        .unwrap_or_default()
}
