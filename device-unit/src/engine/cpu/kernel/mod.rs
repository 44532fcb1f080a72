//! The engine's matrix product, and the selection of the instructions that compute it.
//!
//! # The arithmetic
//!
//! Weights are signed bytes in blocks of 32 along the inputs, each block with an f16 scale. Activations are signed bytes in -127..=127 in
//! blocks of 32, each with an f32 scale ([`QuantRows`] defines the rounding). For a row r of activations x and an output o of weights w:
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
//! Blocks can also have a minimum that is added to each of their weights; `minima.rs` defines what it adds to the product.
//!
//! Nothing else rounds, and nothing depends on the other rows, the number of threads or the width of the registers, so every tier gives
//! the same bits as the reference implementation in `scalar.rs`. Inputs are limited (see [`QuantRows`] and [`PackedMatrix`]) so that no
//! NaN can arise, because processors differ in the NaNs they produce. Sums that leave the range of f32 become infinite on all tiers.

// Calls of the tiers' functions; see `Tile`.
#![allow(unsafe_code)]

/// Calls `$rows::<R, NARROW>` for the tile's length and the panel's form. Tiles longer than the lengths before the semicolon use the last
/// length.
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

/// Maximum rows of a tile of any tier.
const MAX_TILE: usize = 12;

/// Multiplies `tile.len()` rows of activations, from `first_row` on, with one panel.
///
/// # Safety
/// The processor has the tier's instructions; `tile.len()` is between 1 and the tier's maximum; the rows exist; panel and rows have the
/// same number of blocks.
type Tile = unsafe fn(panel: Panel<'_>, x: &QuantRows, first_row: usize, tile: &mut [[f32; PANEL]]);

/// Bytes of weights per task, if there are enough: large enough that scheduling costs nothing and most prefetched bytes belong to the
/// same task, small enough (about 20 microseconds) that threads do not wait long for the last one.
const TASK_BYTES: usize = 384 * 1024;

/// Computes `out = x * w^T`. `out` has a row of `w.outputs()` values for each row of `x`.
///
/// A tier that this processor does not support is replaced by the scalar one, which gives the same bits.
///
/// # Panics
/// If the sizes of `w`, `x` and `out` do not match.
pub fn matmul(pool: &Pool, tier: Tier, w: &PackedMatrix, x: &QuantRows, out: &mut [f32]) {
    assert_eq!(
        out.len(),
        x.len() * w.outputs(),
        "the output has the size of the product"
    );
    let mut rows: Vec<&mut [f32]> = out.chunks_mut(w.outputs().max(1)).collect();
    matmul_into(pool, tier, w, x, &mut rows);
}

/// Like [`matmul`], with a separate slice for each row of the product.
///
/// # Panics
/// See [`matmul`].
pub fn matmul_into(pool: &Pool, tier: Tier, w: &PackedMatrix, x: &QuantRows, out: &mut [&mut [f32]]) {
    assert_eq!(
        w.inputs(),
        x.inputs(),
        "the matrix and its activations have the same inputs"
    );
    if out.is_empty() {
        return;
    }
    assert!(
        out.len() == x.len() && out.iter().all(|row| row.len() == w.outputs()),
        "the output has the size of the product"
    );
    if w.inputs() == 0 {
        out.iter_mut().for_each(|row| row.fill(0.0));
        return;
    }
    let (tile, max_tile) = tile_of(tier);
    let panels = w.outputs().div_ceil(PANEL);
    let panels_per_task = panels_per_task(pool, panels, w.panel_bytes(), x.len());
    let columns_per_task = panels_per_task * PANEL;

    // Each task writes its columns of every row.
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
                // SAFETY: `tile_of` returns only tiles that this processor supports; `next_tile` returns 1..=max_tile existing rows; equal
                // inputs were asserted above.
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

/// Adds the minima of a panel to the results of a tile.
fn add_minima(tier: Tier, minima: &[f16], x: &QuantRows, first_row: usize, tile: &mut [[f32; PANEL]]) {
    match tier.supported_or_scalar() {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: a supported tier has its instructions; the rows exist and are at most a tile's; a panel has PANEL minima for each
        // block.
        Tier::Avx512Vnni => unsafe { avx512::add_minima(minima, x, first_row, tile) },
        _ => tier.run(AddMinima {
            minima,
            x,
            first_row,
            tile,
        }),
    }
}

/// Returns the rows of the next tile: as many as fit, but not so many that a single row remains.
fn next_tile(left: usize, max_tile: usize) -> usize {
    left.div_ceil(left.div_ceil(max_tile))
}

/// Returns the panels per task: several tasks per thread, unless that makes them too small.
fn panels_per_task(pool: &Pool, panels: usize, panel_bytes: usize, rows: usize) -> usize {
    // With many rows, a panel takes as long as several panels with few rows.
    let worth = (TASK_BYTES / (panel_bytes * rows.div_ceil(MAX_TILE))).max(1);
    let even = panels.div_ceil(pool.threads() * 2).max(1);
    worth.min(even)
}

/// Returns a tier's tile function and its maximum number of rows.
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
