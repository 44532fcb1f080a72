//! Products of f32 rows with a packed matrix or its transpose, without rounding activations to bytes. Used for gradients.
//!
//! ```text
//! matmul:            out[r][o] = sum over i, in order, of  x[r][i] * w[o][i]      one fused multiply-add each
//! matmul_transposed: out[r][i] = sum over o, in order, of  y[r][o] * w[o][i]
//! w = fma(weight, scale, minimum)        weight: the packed integer, -128..=127     one rounding
//! ```
//!
//! Weights are unpacked to f32 in strips of 32 columns and `DEPTH` terms, which stay in a near cache while all rows are multiplied with
//! them. Each value of the product is computed by one task in one order, so it is the same on any number of threads and any processor.

use std::sync::{Mutex, PoisonError};

use half::f16;

use super::super::threads::Pool;
use super::block::{BLOCK, PANEL};
use super::float_tiles::multiply;
use super::minima::widen;
use super::pack::{Form, GROUP, GROUP_BYTES, GROUPS, PackedMatrix, Panel};
use super::tier::{Kernel, Tier};

/// Columns of a product that are computed together: two panels of outputs, or one block of inputs.
pub(super) const STRIP: usize = BLOCK;
/// Terms per strip; the unpacked weights take 32 KB.
const DEPTH: usize = 256;
/// Maximum rows of a tile: the sums take 12 AVX-512 registers, or per half strip 12 of AVX2 and 24 of NEON.
pub(super) const MAX_ROWS: usize = 6;
/// Strips per task of [`matmul`].
const STRIPS_PER_TASK: usize = 4;
/// Blocks of inputs per task of [`matmul_transposed`], which are consecutive in each panel's memory.
const BLOCKS_PER_TASK: usize = 4;

/// Unpacked weights: one row of columns for each term.
type Strip = [[f32; STRIP]; DEPTH];

/// Rows grouped into tiles, with the values transposed: the rows' first values, then their second ones and so on.
struct Tiles {
    inputs: usize,
    /// Number of rows of each tile.
    heights: Vec<usize>,
    values: Vec<f32>,
}

impl Tiles {
    fn of(x: &[f32], inputs: usize) -> Self {
        let rows = x.len() / inputs.max(1);
        let mut values = Vec::with_capacity(x.len());
        let mut heights = Vec::new();
        let mut first = 0;
        while first < rows {
            let height = super::next_tile(rows - first, MAX_ROWS);
            let tile = &x[first * inputs..(first + height) * inputs];
            for input in 0..inputs {
                values.extend((0..height).map(|row| tile[row * inputs + input]));
            }
            heights.push(height);
            first += height;
        }
        Self {
            inputs,
            heights,
            values,
        }
    }

    /// Returns the terms `from..from + terms` of each tile.
    fn terms(&self, from: usize, terms: usize) -> impl Iterator<Item = (usize, &[f32])> {
        let mut at = 0;
        self.heights.iter().map(move |&height| {
            let values = &self.values[at + from * height..at + (from + terms) * height];
            at += height * self.inputs;
            (height, values)
        })
    }
}

/// The columns of all rows of a product that one task writes.
pub type Columns<'a> = Mutex<Vec<&'a mut [f32]>>;

/// Splits the columns of all rows among tasks, `width` columns each.
pub fn by_columns(out: &mut [f32], columns: usize, width: usize) -> Vec<Columns<'_>> {
    let mut tasks: Vec<Columns<'_>> = Vec::new();
    tasks.resize_with(columns.div_ceil(width), Mutex::default);
    for row in out.chunks_exact_mut(columns) {
        for (part, task) in row.chunks_mut(width).zip(&mut tasks) {
            task.get_mut().unwrap_or_else(PoisonError::into_inner).push(part);
        }
    }
    tasks
}

/// Multiplies the terms `from..from + terms` of the tiles with a strip, and adds the products to the columns from `column` on.
fn add_products(
    tier: Tier,
    x: &Tiles,
    (from, terms): (usize, usize),
    strip: &Strip,
    rows: &mut [&mut [f32]],
    column: usize,
) {
    let mut rows = rows.iter_mut();
    for (height, values) in x.terms(from, terms) {
        let mut sums = [[0.0; STRIP]; MAX_ROWS];
        let mut tile: Vec<&mut [f32]> = rows.by_ref().take(height).map(|row| &mut row[column..]).collect();
        let width = tile.first().map_or(0, |row| row.len().min(STRIP));
        for (sums, row) in sums.iter_mut().zip(&tile) {
            sums[..width].copy_from_slice(&row[..width]);
        }
        multiply(tier, values, &strip[..terms], &mut sums[..height]);
        for (sums, row) in sums.iter().zip(&mut tile) {
            row[..width].copy_from_slice(&sums[..width]);
        }
    }
}

/// Computes `out = x * w^T`. `x` has rows of `w.inputs()` values, `out` as many rows of `w.outputs()`.
///
/// # Panics
/// If the sizes do not match.
pub fn matmul(pool: &Pool, tier: Tier, w: &PackedMatrix, x: &[f32], out: &mut [f32]) {
    assert_eq!(x.len() * w.outputs(), out.len() * w.inputs(), "sizes of a product");
    out.fill(0.0);
    let x = Tiles::of(x, w.inputs());
    let panels = w.outputs().div_ceil(PANEL);
    let tasks = by_columns(out, w.outputs(), STRIPS_PER_TASK * STRIP);
    pool.run(tasks.len(), |task| {
        let mut rows = tasks[task].lock().unwrap_or_else(PoisonError::into_inner);
        let mut strip = Box::new([[0.0; STRIP]; DEPTH]);
        for number in 0..STRIPS_PER_TASK {
            let first = (task * STRIPS_PER_TASK + number) * (STRIP / PANEL);
            if first >= panels {
                break;
            }
            for from in (0..w.inputs()).step_by(DEPTH) {
                let terms = DEPTH.min(w.inputs() - from);
                for half in 0..STRIP / PANEL {
                    if first + half < panels {
                        let (panel, minima) = (w.panel(first + half), w.minima(first + half));
                        for (block_of_strip, into) in strip[..terms].chunks_exact_mut(BLOCK).enumerate() {
                            let block = from / BLOCK + block_of_strip;
                            tier.run(UnpackByInput {
                                block: Block::of(&panel, minima, block),
                                half,
                                into,
                            });
                        }
                    }
                }
                add_products(tier, &x, (from, terms), &strip, &mut rows, number * STRIP);
            }
        }
    });
}

/// Computes `out = y * w`. `y` has rows of `w.outputs()` values, `out` as many rows of `w.inputs()`.
///
/// # Panics
/// If the sizes do not match.
pub fn matmul_transposed(pool: &Pool, tier: Tier, w: &PackedMatrix, y: &[f32], out: &mut [f32]) {
    assert_eq!(y.len() * w.inputs(), out.len() * w.outputs(), "sizes of a product");
    out.fill(0.0);
    let y = Tiles::of(y, w.outputs());
    let tasks = by_columns(out, w.inputs(), BLOCKS_PER_TASK * BLOCK);
    pool.run(tasks.len(), |task| {
        let mut rows = tasks[task].lock().unwrap_or_else(PoisonError::into_inner);
        let mut strip = Box::new([[0.0; STRIP]; DEPTH]);
        let blocks = BLOCKS_PER_TASK.min(w.inputs() / BLOCK - task * BLOCKS_PER_TASK);
        for from in (0..w.outputs()).step_by(DEPTH) {
            let terms = DEPTH.min(w.outputs() - from);
            for block in 0..blocks {
                for (number, into) in strip[..terms.next_multiple_of(PANEL)]
                    .chunks_exact_mut(PANEL)
                    .enumerate()
                {
                    let panel = from / PANEL + number;
                    tier.run(UnpackByOutput {
                        block: Block::of(&w.panel(panel), w.minima(panel), task * BLOCKS_PER_TASK + block),
                        into,
                    });
                }
                add_products(tier, &y, (from, terms), &strip, &mut rows, block * BLOCK);
            }
        }
    });
}

/// Adds `x * b` to `out` on this thread. `x` has rows of `terms` values, `b` is terms x columns, `out` has as many rows of `columns`.
///
/// # Panics
/// If the sizes do not match.
pub fn dense(tier: Tier, x: &[f32], b: &[f32], (terms, columns): (usize, usize), out: &mut [f32]) {
    assert_eq!(b.len(), terms * columns, "sizes of a product");
    assert_eq!(x.len() * columns, out.len() * terms, "sizes of a product");
    let x = Tiles::of(x, terms);
    let mut rows: Vec<&mut [f32]> = out.chunks_exact_mut(columns.max(1)).collect();
    let mut strip = Box::new([[0.0; STRIP]; DEPTH]);
    for column in (0..columns).step_by(STRIP) {
        let width = STRIP.min(columns - column);
        for from in (0..terms).step_by(DEPTH) {
            let count = DEPTH.min(terms - from);
            for (row, weights) in strip.iter_mut().zip(b.chunks_exact(columns).skip(from).take(count)) {
                row[..width].copy_from_slice(&weights[column..column + width]);
            }
            add_products(tier, &x, (from, count), &strip, &mut rows, column);
        }
    }
}

/// A packed block of a panel.
struct Block<'a> {
    form: Form,
    bytes: &'a [u8],
    scales: &'a [f16; PANEL],
    minima: &'a [f16; PANEL],
}

impl<'a> Block<'a> {
    #[inline(always)]
    fn of(panel: &Panel<'a>, minima: Option<&'a [f16]>, block: usize) -> Self {
        const NONE: [f16; PANEL] = [f16::ZERO; PANEL];
        let size = panel.form.block_bytes();
        let of_block = |numbers: &'a [f16]| numbers.as_chunks::<PANEL>().0.get(block).unwrap_or(&NONE);
        Self {
            form: panel.form,
            bytes: &panel.weights[block * size..(block + 1) * size],
            scales: of_block(panel.scales),
            minima: minima.map_or(&NONE, of_block),
        }
    }

    /// Returns the bytes of a group's weights, offset by 128 (wide) or 16 (narrow).
    #[inline(always)]
    fn group(&self, group: usize) -> [u8; GROUP_BYTES] {
        let stored = |number: usize| {
            let mut bytes = [0; GROUP_BYTES];
            bytes.copy_from_slice(&self.bytes[number * GROUP_BYTES..(number + 1) * GROUP_BYTES]);
            bytes
        };
        match self.form {
            Form::Wide => {
                let mut bytes = stored(group);
                // On x86 they are stored with the offset.
                if cfg!(not(target_arch = "x86_64")) {
                    bytes.iter_mut().for_each(|byte| *byte ^= 0x80);
                }
                bytes
            }
            Form::Narrow => {
                let (mut low, fifth) = (stored(group / 2), stored(GROUPS / 2));
                for (low, fifth) in low.iter_mut().zip(fifth) {
                    *low = ((*low >> (group % 2 * 4)) & 0x0f) | (((fifth >> group) & 1) << 4);
                }
                low
            }
        }
    }

    #[inline(always)]
    fn offset(&self) -> i32 {
        match self.form {
            Form::Wide => 128,
            Form::Narrow => 16,
        }
    }
}

#[inline(always)]
fn widened(numbers: &[f16; PANEL]) -> [f32; PANEL] {
    let mut wide = [0.0; PANEL];
    for (wide, number) in wide.iter_mut().zip(numbers) {
        *wide = widen(*number);
    }
    wide
}

/// Unpacks a block into half of a strip, with a row per input and a column per output.
struct UnpackByInput<'a, 'b> {
    block: Block<'a>,
    half: usize,
    /// [`BLOCK`] rows.
    into: &'b mut [[f32; STRIP]],
}

impl Kernel for UnpackByInput<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self { block, half, into } = self;
        let (scales, minima) = (widened(block.scales), widened(block.minima));
        let offset = block.offset();
        for (group, rows) in into.as_chunks_mut::<GROUP>().0.iter_mut().enumerate() {
            let bytes = block.group(group);
            // The four bytes of each output as one word: an input of all outputs is then one shift away.
            let mut words = [0u32; PANEL];
            for (word, bytes) in words.iter_mut().zip(bytes.as_chunks::<GROUP>().0) {
                *word = u32::from_le_bytes(*bytes);
            }
            for (input, row) in rows.iter_mut().enumerate() {
                let row = &mut row[half * PANEL..(half + 1) * PANEL];
                for lane in 0..PANEL {
                    let byte = ((words[lane] >> (8 * input)) & 0xff) as i32 - offset;
                    row[lane] = (byte as f32).mul_add(scales[lane], minima[lane]);
                }
            }
        }
    }
}

/// Unpacks a block into a strip, with a row per output and a column per input.
struct UnpackByOutput<'a, 'b> {
    block: Block<'a>,
    /// [`PANEL`] rows.
    into: &'b mut [[f32; STRIP]],
}

impl Kernel for UnpackByOutput<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self { block, into } = self;
        let (scales, minima) = (widened(block.scales), widened(block.minima));
        let offset = block.offset();
        let mut by_output = [[[0u8; GROUP]; GROUPS]; PANEL];
        for group in 0..GROUPS {
            let bytes = block.group(group);
            for (output, bytes) in by_output.iter_mut().zip(bytes.as_chunks::<GROUP>().0) {
                output[group] = *bytes;
            }
        }
        for (((row, bytes), scale), minimum) in into.iter_mut().zip(&by_output).zip(scales).zip(minima) {
            for (value, byte) in row.iter_mut().zip(bytes.as_flattened()) {
                *value = ((i32::from(*byte) - offset) as f32).mul_add(scale, minimum);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matrix(outputs: usize, inputs: usize, narrow: bool, minima: bool, pool: &Pool) -> PackedMatrix {
        let shift = if narrow { 3 } else { 0 };
        let packed = PackedMatrix::pack_q8(
            outputs,
            inputs,
            |output, bytes, scales| {
                for (input, byte) in bytes.iter_mut().enumerate() {
                    *byte = ((output * 7919 + input * 104_729) % 256) as u8 as i8 >> shift;
                }
                for (block, scale) in scales.iter_mut().enumerate() {
                    *scale = f16::from_f32((output + block) as f32 / 640.0 + 0.01);
                }
            },
            pool,
        );
        if !minima {
            return packed;
        }
        packed.with_minima(
            |output, minima| {
                for (block, minimum) in minima.iter_mut().enumerate() {
                    *minimum = f16::from_f32((output * 3 + block) as f32 / 100.0 - 0.2);
                }
            },
            pool,
        )
    }

    fn weight(w: &PackedMatrix, output: usize, input: usize) -> f64 {
        let (panel, block, lane) = (output / PANEL, input / BLOCK, output % PANEL);
        let minimum = w
            .minima(panel)
            .map_or(0.0, |minima| minima[block * PANEL + lane].to_f64());
        let panel = w.panel(panel);
        f64::from(panel.weight(block, input % BLOCK, lane)) * panel.scale(block, lane).to_f64() + minimum
    }

    #[test]
    fn both_products_equal_those_of_the_single_weights_in_every_form() {
        let pool = Pool::new(2);
        for (outputs, inputs, rows) in [(1, 32, 1), (16, 64, 5), (50, 320, 13), (300, 96, 26), (17, 160, 12)] {
            for (narrow, minima) in [(false, false), (false, true), (true, false), (true, true)] {
                let w = matrix(outputs, inputs, narrow, minima, &pool);
                let value = |i: usize| ((i * 31) % 17) as f32 / 8.0 - 1.0;
                let x: Vec<f32> = (0..rows * inputs).map(value).collect();
                let y: Vec<f32> = (0..rows * outputs).map(value).collect();
                let (mut forth, mut back) = (vec![7.0; rows * outputs], vec![7.0; rows * inputs]);
                matmul(&pool, Tier::best(), &w, &x, &mut forth);
                matmul_transposed(&pool, Tier::best(), &w, &y, &mut back);
                let near = |got: f32, sum: f64, size: f64| (f64::from(got) - sum).abs() <= 1e-5 * size.max(1.0);
                for row in 0..rows {
                    for output in 0..outputs {
                        let terms = (0..inputs).map(|i| f64::from(x[row * inputs + i]) * weight(&w, output, i));
                        let (sum, size) = terms.fold((0.0, 0.0), |(sum, size), t| (sum + t, size + t.abs()));
                        assert!(near(forth[row * outputs + output], sum, size));
                    }
                    for input in 0..inputs {
                        let terms = (0..outputs).map(|o| f64::from(y[row * outputs + o]) * weight(&w, o, input));
                        let (sum, size) = terms.fold((0.0, 0.0), |(sum, size), t| (sum + t, size + t.abs()));
                        assert!(near(back[row * inputs + input], sum, size));
                    }
                }
            }
        }
    }

    #[test]
    fn products_are_the_same_bits_on_every_tier_and_number_of_threads() {
        let (outputs, inputs, rows) = (90, 544, 29);
        let w = matrix(outputs, inputs, false, true, &Pool::new(1));
        let x: Vec<f32> = (0..rows * inputs).map(|i| (i as f32 * 0.37).sin()).collect();
        let y: Vec<f32> = (0..rows * outputs).map(|i| (i as f32 * 0.73).sin()).collect();
        let bits = |tier: Tier, threads: usize| {
            let pool = Pool::new(threads);
            let (mut forth, mut back) = (vec![0.0; rows * outputs], vec![0.0; rows * inputs]);
            matmul(&pool, tier, &w, &x, &mut forth);
            matmul_transposed(&pool, tier, &w, &y, &mut back);
            forth
                .iter()
                .chain(&back)
                .map(|value: &f32| value.to_bits())
                .collect::<Vec<_>>()
        };
        let expected = bits(Tier::Scalar, 1);
        for tier in Tier::ALL.into_iter().filter(|tier| tier.is_supported()) {
            for threads in [1, 2, 3] {
                assert!(bits(tier, threads) == expected, "{tier} on {threads} threads");
            }
        }
    }
}
