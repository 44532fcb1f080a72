//! The reference implementation of the arithmetic defined in `mod.rs`. All other tiers must equal it bit for bit.

use super::block::{BLOCK, PANEL};
use super::pack::Panel;
use super::rows::QuantRows;

/// Multiplies one panel with the rows from `first_row` on; see `Tile`. Safe with any sizes, on any processor.
pub(super) fn tile(panel: Panel<'_>, x: &QuantRows, first_row: usize, tile: &mut [[f32; PANEL]]) {
    for (row, out) in tile.iter_mut().enumerate() {
        let row = first_row + row;
        for (lane, out) in out.iter_mut().enumerate() {
            let mut acc = 0.0f32;
            for block in 0..x.blocks() {
                let activations = x.block(row, block);
                let mut sum = 0i32;
                for (input, activation) in activations.iter().enumerate().take(BLOCK) {
                    sum += i32::from(panel.weight(block, input, lane)) * i32::from(*activation);
                }
                let scale = panel.scale(block, lane).to_f32() * x.scale(row, block);
                acc = (sum as f32).mul_add(scale, acc);
            }
            *out = acc;
        }
    }
}
