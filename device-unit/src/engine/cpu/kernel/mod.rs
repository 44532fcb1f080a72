//! The engine's one matrix product, and how a processor's instructions are chosen for it.
//!
//! # The arithmetic
//!
//! Weights are signed bytes in blocks of 32 along the inputs, each block with a scale of 16 bits; activations are signed
//! bytes in -127..=127 in blocks of 32, each with a scale of 32 bits ([`QuantRows`] says how they come about). For a row
//! r of activations x and an output o of weights w:
//!
//! ```text
//! acc = 0
//! for b in 0 .. inputs / 32, in this order:
//!     s   = sum over i in 0..32 of  w[o][b][i] * x[r][b][i]        whole numbers, exact: |s| <= 32 * 128 * 127 < 2^24
//!     d   = f32(scale_w[o][b]) * scale_x[r][b]                     one rounding
//!     acc = fma(f32(s), d, acc)                                    one rounding
//! out[r][o] = acc
//! ```
//!
//! Where blocks also have a minimum that is added to each of their weights, `minima.rs` says what is added to that.
//!
//! Nothing else rounds and nothing depends on the other rows, on the number of threads or on the width of a processor's
//! registers, so every tier gives the same bits as `scalar.rs`, which is this text in Rust. Inputs are limited (see
//! [`QuantRows`] and [`PackedMatrix`]) so that no NaN can arise: NaNs are the one thing processors disagree about. Sums
//! that leave f32's range become infinite, everywhere alike.
//!
//! This folder knows no models, no files and no sequences.

// Calls of the tiers' tiles; see `Tile`.
#![allow(unsafe_code)]

/// Calls `$rows::<R, NARROW>` as compiled for the tile's own length and the panel's form. A tile longer than the lengths
/// before the semicolon has the last one.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
macro_rules! by_length {
    ($rows:ident, $panel:ident, $x:ident, $first_row:ident, $tile:ident, [$($length:literal),*; $last:literal]) => {
        match ($tile.len(), $panel.form) {
            $(
                ($length, Form::Wide) => $rows::<$length, false>($panel, $x, $first_row, $tile),
                ($length, Form::Narrow) => $rows::<$length, true>($panel, $x, $first_row, $tile),
            )*
            (_, Form::Wide) => $rows::<$last, false>($panel, $x, $first_row, $tile),
            (_, Form::Narrow) => $rows::<$last, true>($panel, $x, $first_row, $tile),
        }
    };
}

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod block;
#[cfg(feature = "learn")]
pub mod float;
#[cfg(feature = "learn")]
mod float_tiles;
pub mod math;
mod minima;
#[cfg(target_arch = "aarch64")]
mod neon;
mod pack;
mod rows;
mod scalar;
mod tier;

use std::sync::{Mutex, PoisonError};

use half::f16;

pub use block::{BLOCK, PANEL};
pub use pack::{PackedMatrix, quantise_weights};
pub use rows::QuantRows;
pub use tier::{Kernel, Tier, TierError};

use super::threads::Pool;
use minima::AddMinima;
use pack::Panel;

/// Most rows of activations one call of any tile takes.
const MAX_TILE: usize = 12;

/// What a tier computes at a time: `tile.len()` rows of activations from `first_row` on, times one panel.
///
/// # Safety
/// The processor has the tier's instructions; `tile.len()` is in 1..= the tier's own most; the rows exist; panel and rows have the
/// same number of blocks.
type Tile = unsafe fn(panel: Panel<'_>, x: &QuantRows, first_row: usize, tile: &mut [[f32; PANEL]]);

/// Bytes of weights one task of a product works on, where there are enough: long enough that handing it out costs nothing and
/// that of what is fetched ahead little belongs to the next task, short enough (some 20 microseconds) that no thread waits long
/// for the last one.
const TASK_BYTES: usize = 384 * 1024;

/// `out = x * w^T`: `out` has a row of `w.outputs()` values for each row of `x`.
///
/// A tier that this processor lacks is replaced by the scalar one, which gives the same bits.
///
/// # Panics
/// Where the sizes of `w`, `x` and `out` do not belong together: an error in the caller.
pub fn matmul(pool: &Pool, tier: Tier, w: &PackedMatrix, x: &QuantRows, out: &mut [f32]) {
    assert_eq!(
        out.len(),
        x.len() * w.outputs(),
        "a place of another size than the product"
    );
    let mut rows: Vec<&mut [f32]> = out.chunks_mut(w.outputs().max(1)).collect();
    matmul_into(pool, tier, w, x, &mut rows);
}

/// [`matmul`] with the rows of the product in places of their own.
///
/// # Panics
/// As there.
pub fn matmul_into(pool: &Pool, tier: Tier, w: &PackedMatrix, x: &QuantRows, out: &mut [&mut [f32]]) {
    assert_eq!(w.inputs(), x.inputs(), "a matrix of other inputs than its activations");
    if out.is_empty() {
        return;
    }
    assert!(
        out.len() == x.len() && out.iter().all(|row| row.len() == w.outputs()),
        "a place of another size than the product"
    );
    if w.inputs() == 0 {
        out.iter_mut().for_each(|row| row.fill(0.0));
        return;
    }
    let (tile, max_tile) = tile_of(tier);
    let panels = w.outputs().div_ceil(PANEL);
    let panels_per_task = panels_per_task(pool, panels, w.panel_bytes(), x.len());
    let columns_per_task = panels_per_task * PANEL;

    // Each task owns its columns of every row.
    let mut tasks: Vec<Mutex<Vec<&mut [f32]>>> = Vec::new();
    tasks.resize_with(panels.div_ceil(panels_per_task), || {
        Mutex::new(Vec::with_capacity(x.len()))
    });
    for row in out {
        for (columns, task) in row.chunks_mut(columns_per_task).zip(&mut tasks) {
            task.get_mut().unwrap_or_else(PoisonError::into_inner).push(columns);
        }
    }
    pool.run(tasks.len(), |index| {
        let mut rows = tasks[index].lock().unwrap_or_else(PoisonError::into_inner);
        let first_panel = index * panels_per_task;
        for panel in first_panel..panels.min(first_panel + panels_per_task) {
            let first_column = (panel - first_panel) * PANEL;
            let columns = PANEL.min(w.outputs() - panel * PANEL);
            let mut first_row = 0;
            while first_row < x.len() {
                let mut results = [[0.0; PANEL]; MAX_TILE];
                let results = &mut results[..next_tile(x.len() - first_row, max_tile)];
                // SAFETY: `tile_of` gives only tiles this processor can run; 1..=max_tile rows that exist, as `next_tile`
                // promises; equal inputs were asserted above.
                unsafe { tile(w.panel(panel), x, first_row, results) };
                if let Some(minima) = w.minima(panel) {
                    add_minima(tier, minima, x, first_row, results);
                }
                for (row, result) in rows[first_row..].iter_mut().zip(&*results) {
                    row[first_column..first_column + columns].copy_from_slice(&result[..columns]);
                }
                first_row += results.len();
            }
        }
    });
}

/// Adds a panel's minima to what a tile computed.
fn add_minima(tier: Tier, minima: &[f16], x: &QuantRows, first_row: usize, tile: &mut [[f32; PANEL]]) {
    match tier.supported_or_scalar() {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: a tier that is supported has its instructions; the rows exist and are a tile's, and a panel has PANEL minima for
        // each block.
        Tier::Avx512Vnni => unsafe { avx512::add_minima(minima, x, first_row, tile) },
        _ => tier.run(AddMinima {
            minima,
            x,
            first_row,
            tile,
        }),
    }
}

/// Rows of the next tile where `left` rows are still to be done: as many as fit, but no lonely last one.
fn next_tile(left: usize, max_tile: usize) -> usize {
    left.div_ceil(left.div_ceil(max_tile))
}

/// Panels a task takes: several tasks for each thread, none shorter than it is worth.
fn panels_per_task(pool: &Pool, panels: usize, panel_bytes: usize, rows: usize) -> usize {
    // With many rows a panel is worked on for as long as several are with few.
    let worth = (TASK_BYTES / (panel_bytes * rows.div_ceil(MAX_TILE))).max(1);
    let even = panels.div_ceil(pool.threads() * 2).max(1);
    worth.min(even)
}

/// A tier's tile and the most rows it takes.
fn tile_of(tier: Tier) -> (Tile, usize) {
    match tier.supported_or_scalar() {
        #[cfg(target_arch = "x86_64")]
        Tier::Avx512Vnni => (avx512::tile, avx512::MAX_TILE),
        #[cfg(target_arch = "x86_64")]
        Tier::AvxVnni => (avx2::vnni_tile, avx2::MAX_VNNI_TILE),
        #[cfg(target_arch = "x86_64")]
        Tier::Avx2 => (avx2::tile, avx2::MAX_TILE),
        #[cfg(target_arch = "aarch64")]
        Tier::NeonDot => (neon::dot_tile, neon::MAX_DOT_TILE),
        #[cfg(target_arch = "aarch64")]
        Tier::Neon => (neon::tile, neon::MAX_TILE),
        _ => (scalar::tile, MAX_TILE),
    }
}

#[cfg(test)]
mod tests;
