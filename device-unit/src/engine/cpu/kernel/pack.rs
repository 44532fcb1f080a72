//! Packed weights: 16 outputs interleaved, with bytes and scales in separate streams.
//!
//! A panel holds 16 outputs. Its block b is 8 groups of 64 bytes; group g holds inputs 4g..4g+4 of the block, four bytes for each of the
//! 16 outputs: the operand of a dot product of bytes. Missing outputs of the last panel are zeros. On x86 a byte is the weight plus 128,
//! because the instructions there multiply unsigned bytes by signed ones.
//!
//! A matrix whose weights are all within -16..=15, as in four- and five-bit formats, is stored with five bits per weight
//! ([`Form::Narrow`]), because the product of a single row is limited by memory bandwidth. A group's byte is then the weight plus 16; its
//! low four bits are in the low (even groups) or high (odd groups) half of each of the 64 bytes that two groups share, and its fifth bit is bit g of
//! another 64 bytes for all 8 groups. The form does not affect results.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use half::f16;
use memmap2::MmapMut;

use super::super::threads::Pool;
use super::block::{BLOCK, PANEL};

/// Inputs per group.
pub(super) const GROUP: usize = 4;
/// Bytes per group: four inputs of 16 outputs.
pub(super) const GROUP_BYTES: usize = GROUP * PANEL;
/// Groups per block.
pub(super) const GROUPS: usize = BLOCK / GROUP;

/// Storage format of the weights, chosen by their range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// One byte per weight.
    Wide,
    /// Five bits per weight.
    Narrow,
}

impl Form {
    /// Returns the form selected by a kernel's const parameter.
    pub(super) const fn of(narrow: bool) -> Self {
        if narrow { Self::Narrow } else { Self::Wide }
    }

    /// Returns the bytes of one block of a panel.
    pub(super) const fn block_bytes(self) -> usize {
        match self {
            Self::Wide => GROUPS * GROUP_BYTES,
            Self::Narrow => (GROUPS / 2 + 1) * GROUP_BYTES,
        }
    }
}

/// XORed with each stored byte of a weight of [`Form::Wide`].
const FLIP: u8 = if cfg!(target_arch = "x86_64") { 0x80 } else { 0 };

/// Weights that one task packs, about.
const WEIGHTS_PER_TASK: usize = 64 * 1024;

/// Allocations of at least this size use huge pages, where the system can be asked for them.
#[cfg(target_os = "linux")]
const HUGE_PAGE_MIN_BYTES: usize = 4 << 20;

/// A weight matrix, `outputs` x `inputs`, in the layout of the kernels.
pub struct PackedMatrix {
    outputs: usize,
    inputs: usize,
    form: Form,
    weights: MmapMut,
    scales: MmapMut,
    /// In the layout of `scales`.
    minima: Option<MmapMut>,
}

/// One panel of a matrix.
#[derive(Clone, Copy)]
pub(super) struct Panel<'a> {
    pub(super) form: Form,
    /// Blocks x [`Form::block_bytes`].
    pub(super) weights: &'a [u8],
    /// Blocks x [`PANEL`].
    pub(super) scales: &'a [f16],
}

impl Panel<'_> {
    /// Returns the weight of output `lane` for input `input` of block `block`.
    pub(super) fn weight(&self, block: usize, input: usize, lane: usize) -> i8 {
        let weights = &self.weights[block * self.form.block_bytes()..];
        let (group, at) = place(input, lane);
        match self.form {
            Form::Wide => (weights[group * GROUP_BYTES + at] ^ FLIP) as i8,
            Form::Narrow => {
                let low = (weights[group / 2 * GROUP_BYTES + at] >> (group % 2 * 4)) & 0x0f;
                let fifth = (weights[GROUPS / 2 * GROUP_BYTES + at] >> group) & 1;
                (low | (fifth << 4)) as i8 - 16
            }
        }
    }

    pub(super) fn scale(&self, block: usize, lane: usize) -> f16 {
        self.scales[block * PANEL + lane]
    }
}

/// Returns the group of an input, and the weight's position in it.
fn place(input: usize, lane: usize) -> (usize, usize) {
    (input / GROUP, lane * GROUP + input % GROUP)
}

impl PackedMatrix {
    /// Packs weights that already are signed bytes with an f16 scale per block of 32, without loss. `row(output, bytes, scales)` writes the
    /// `inputs` bytes and `inputs / 32` scales of one output. It is called again for all outputs if one does not fit the narrow form.
    ///
    /// Non-finite scales count as 0; the file readers refuse them.
    ///
    /// # Panics
    /// If `inputs` is not a multiple of 32.
    pub fn pack_q8(
        outputs: usize,
        inputs: usize,
        row: impl Fn(usize, &mut [i8], &mut [f16]) + Sync,
        pool: &Pool,
    ) -> Self {
        let mut packed = Self::zeros(Form::Narrow, outputs, inputs);
        if !packed.fill(pool, &row) {
            packed = Self::zeros(Form::Wide, outputs, inputs);
            packed.fill(pool, &row);
        }
        packed
    }

    fn zeros(form: Form, outputs: usize, inputs: usize) -> Self {
        assert_eq!(inputs % BLOCK, 0, "inputs come in blocks of {BLOCK}");
        let blocks = outputs.div_ceil(PANEL) * (inputs / BLOCK);
        let weights = memory(blocks * form.block_bytes());
        let scales = memory(blocks * PANEL * size_of::<f16>());
        Self {
            outputs,
            inputs,
            form,
            weights,
            scales,
            minima: None,
        }
    }

    /// Adds a minimum to each block of 32 weights, on all threads: a weight is then byte * scale + minimum. `row(output, minima)` writes the `inputs / 32` minima of one output.
    /// Non-finite minima count as 0.
    #[must_use]
    pub fn with_minima(mut self, row: impl Fn(usize, &mut [f16]) + Sync, pool: &Pool) -> Self {
        let (outputs, blocks) = (self.outputs, self.inputs / BLOCK);
        let len = outputs.div_ceil(PANEL) * blocks * PANEL;
        let mut minima = memory(len * size_of::<f16>());
        if len > 0 {
            let all = &mut bytemuck::cast_slice_mut::<u8, u16>(&mut minima)[..len];
            pool.for_each_piece(all, blocks * PANEL, |panel, piece| {
                let mut of_row = vec![f16::ZERO; blocks];
                for (lane, output) in (panel * PANEL..outputs.min((panel + 1) * PANEL)).enumerate() {
                    row(output, &mut of_row);
                    for (minimum, into) in of_row.iter().zip(piece[lane..].iter_mut().step_by(PANEL)) {
                        *into = if minimum.is_finite() { minimum.to_bits() } else { 0 };
                    }
                }
            });
        }
        self.minima = Some(minima);
        self
    }

    /// Returns the minima of one panel, blocks x [`PANEL`], if the matrix has any.
    pub(super) fn minima(&self, panel: usize) -> Option<&[f16]> {
        let len = self.inputs / BLOCK * PANEL;
        let all: &[f16] = bytemuck::cast_slice(self.minima.as_ref()?);
        all.get(panel * len..(panel + 1) * len)
    }

    /// Packs all rows into a zeroed matrix. Stops and returns `false` at the first weight that does not fit the form; every weight fits
    /// [`Form::Wide`].
    fn fill(&mut self, pool: &Pool, row: &(impl Fn(usize, &mut [i8], &mut [f16]) + Sync)) -> bool {
        let Self {
            outputs, inputs, form, ..
        } = *self;
        let blocks = inputs / BLOCK;
        if blocks == 0 {
            return true;
        }
        let places: Vec<Mutex<(&mut [u8], &mut [u16])>> = self
            .weights
            .chunks_exact_mut(blocks * form.block_bytes())
            .zip(bytemuck::cast_slice_mut(&mut self.scales).chunks_exact_mut(blocks * PANEL))
            .take(outputs.div_ceil(PANEL))
            .map(Mutex::new)
            .collect();
        let misfit = AtomicBool::new(false);
        // Several panels per task share their scratch memory.
        let panels_per_task = (WEIGHTS_PER_TASK / inputs / PANEL).max(1);
        pool.run(places.len().div_ceil(panels_per_task), |task| {
            let mut row_bytes = vec![0i8; inputs];
            let mut row_scales = vec![f16::ZERO; blocks];
            for (panel, place) in places
                .iter()
                .enumerate()
                .skip(task * panels_per_task)
                .take(panels_per_task)
            {
                let mut place = place.lock().unwrap_or_else(PoisonError::into_inner);
                let (panel_bytes, panel_scales) = &mut *place;
                for lane in 0..PANEL {
                    if misfit.load(Ordering::Relaxed) {
                        return;
                    }
                    let output = panel * PANEL + lane;
                    if output < outputs {
                        row(output, &mut row_bytes, &mut row_scales);
                    } else {
                        row_bytes.fill(0);
                        row_scales.fill(f16::ZERO);
                    }
                    if form == Form::Narrow && !row_bytes.iter().all(|byte| (-16..16).contains(byte)) {
                        misfit.store(true, Ordering::Relaxed);
                        return;
                    }
                    interleave(form, lane, &row_bytes, panel_bytes);
                    for (scale, into) in row_scales.iter().zip(panel_scales[lane..].iter_mut().step_by(PANEL)) {
                        *into = if scale.is_finite() { scale.to_bits() } else { 0 };
                    }
                }
            }
        });
        !misfit.into_inner()
    }

    /// Returns the number of rows of the matrix, which are the outputs.
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// Returns the number of columns of the matrix, which are the inputs.
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// Returns the bytes in memory, which is also what a product with a single row reads.
    pub fn bytes(&self) -> usize {
        self.outputs.div_ceil(PANEL) * self.panel_bytes()
    }

    pub(super) fn panel_bytes(&self) -> usize {
        let numbers = if self.minima.is_some() { 2 } else { 1 };
        self.inputs / BLOCK * (self.form.block_bytes() + numbers * PANEL * size_of::<f16>())
    }

    pub(super) fn panel(&self, panel: usize) -> Panel<'_> {
        let blocks = self.inputs / BLOCK;
        let weight_bytes = blocks * self.form.block_bytes();
        let scales: &[f16] = bytemuck::cast_slice(&self.scales);
        Panel {
            form: self.form,
            weights: &self.weights[panel * weight_bytes..(panel + 1) * weight_bytes],
            scales: &scales[panel * blocks * PANEL..(panel + 1) * blocks * PANEL],
        }
    }
}

impl std::fmt::Debug for PackedMatrix {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PackedMatrix({} x {}, {:?})", self.outputs, self.inputs, self.form)
    }
}

/// Writes one output's row into its lane of a zeroed panel.
fn interleave(form: Form, lane: usize, bytes: &[i8], panel: &mut [u8]) {
    let lane = lane * GROUP..(lane + 1) * GROUP;
    for (bytes, block) in bytes
        .chunks_exact(BLOCK)
        .zip(panel.chunks_exact_mut(form.block_bytes()))
    {
        for (group, bytes) in bytes.chunks_exact(GROUP).enumerate() {
            match form {
                Form::Wide => {
                    let into = &mut block[group * GROUP_BYTES..(group + 1) * GROUP_BYTES];
                    for (byte, into) in bytes.iter().zip(&mut into[lane.clone()]) {
                        *into = *byte as u8 ^ FLIP;
                    }
                }
                Form::Narrow => {
                    let (low, fifth) = block.split_at_mut(GROUPS / 2 * GROUP_BYTES);
                    let low = &mut low[group / 2 * GROUP_BYTES..(group / 2 + 1) * GROUP_BYTES];
                    for ((byte, low), fifth) in bytes.iter().zip(&mut low[lane.clone()]).zip(&mut fifth[lane.clone()]) {
                        let value = (*byte + 16) as u8;
                        *low |= (value & 0x0f) << (group % 2 * 4);
                        *fifth |= (value >> 4) << group;
                    }
                }
            }
        }
    }
}

/// Rounds a block of 32 weights to bytes, and returns the scale: the largest magnitude / 127 as f16. A byte is weight / scale, rounded to
/// the nearest integer (ties to even) within -127..=127. Non-finite weights count as 0; the file readers refuse them. Multiples of the
/// smallest f16 are exact where none is more than 127 of it.
pub fn quantise_weights(values: &[f32], bytes: &mut [i8]) -> f16 {
    /// Adding it rounds a value below 2^22 to an integer, ties to even, which is then in the low bits.
    const ROUNDER: f32 = 12_582_912.0;
    let finite = |value: f32| if value.is_finite() { value } else { 0.0 };
    // The bits of positive floats are ordered like the floats, and comparisons of integers vectorize.
    let magnitude = |value: &f32| finite(*value).to_bits() & 0x7fff_ffff;
    let largest = f32::from_bits(values.iter().map(magnitude).max().unwrap_or_default());
    let scale = f16::from_f32(largest / 127.0);
    let scale = if scale.is_finite() { scale } else { f16::MAX };
    // A scale of less than 127 times the smallest f16 that is rounded down would cut more than half a step off the largest weights.
    let is_cut = scale.to_bits() < 127 && scale.to_f32() * 127.0 < largest;
    let scale = if is_cut {
        f16::from_bits(scale.to_bits() + 1)
    } else {
        scale
    };
    let step = scale.to_f32();
    if step == 0.0 {
        bytes.fill(0);
        return scale;
    }
    for (value, byte) in values.iter().zip(bytes) {
        let steps = (finite(*value) / step).clamp(-127.0, 127.0);
        *byte = (steps + ROUNDER).to_bits() as u8 as i8;
    }
    scale
}

/// Returns zeroed, page-aligned memory that is allocated when it is touched, and freed on drop.
fn memory(bytes: usize) -> MmapMut {
    let Ok(memory) = MmapMut::map_anon(bytes.max(64)) else {
        // As for a `Vec`, an allocation failure aborts.
        std::alloc::handle_alloc_error(std::alloc::Layout::new::<u64>());
    };
    #[cfg(target_os = "linux")]
    if bytes >= HUGE_PAGE_MIN_BYTES {
        // Only affects speed; some systems have no huge pages.
        let _ = memory.advise(memmap2::Advice::HugePage);
    }
    memory
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packed_bytes_can_be_read_back() {
        let pool = Pool::new(2);
        for (outputs, inputs) in [(1, 32), (16, 64), (17, 96), (50, 896), (3, 0), (0, 32)] {
            for shift in [0, 3, 4] {
                let byte = |output: usize, input: usize| ((output * 7919 + input * 104_729) % 256) as u8 as i8 >> shift;
                let scale = |output: usize, block: usize| f16::from_f32((output * 31 + block) as f32 / 64.0);
                let packed = PackedMatrix::pack_q8(
                    outputs,
                    inputs,
                    |output, bytes, scales| {
                        bytes
                            .iter_mut()
                            .enumerate()
                            .for_each(|(input, into)| *into = byte(output, input));
                        scales
                            .iter_mut()
                            .enumerate()
                            .for_each(|(block, into)| *into = scale(output, block));
                    },
                    &pool,
                );
                assert!(shift == 0 || packed.form == Form::Narrow);
                for output in 0..outputs {
                    let panel = packed.panel(output / PANEL);
                    for input in 0..inputs {
                        assert_eq!(
                            panel.weight(input / BLOCK, input % BLOCK, output % PANEL),
                            byte(output, input)
                        );
                    }
                    for block in 0..inputs / BLOCK {
                        assert_eq!(panel.scale(block, output % PANEL), scale(output, block));
                    }
                }
            }
        }
    }

    #[test]
    fn small_weights_are_rounded_by_at_most_half_a_step_and_none_is_cut_off() {
        let smallest = f16::MIN_POSITIVE_SUBNORMAL.to_f32();
        for largest in [smallest, 1e-6, 3.7e-6, 7.5e-6, 1.1e-5, 1e-4, 9e-4, 7e-3, 0.1] {
            let values: Vec<f32> = (0..BLOCK).map(|i| largest * (1.0 - i as f32 / 16.0)).collect();
            let mut bytes = [0; BLOCK];
            let step = quantise_weights(&values, &mut bytes).to_f32();
            assert!(step <= largest / 127.0 * 1.001 + smallest, "{largest}");
            for (value, byte) in values.iter().zip(bytes) {
                let off = (f32::from(byte) * step - value).abs();
                assert!(
                    off <= step * 0.5 + largest / 2048.0,
                    "{value} of {largest}: {byte} x {step}"
                );
            }
        }
    }

    #[test]
    fn one_weight_beyond_five_bits_makes_the_matrix_wide_without_loss() {
        let pool = Pool::new(2);
        for (beyond, form) in [
            (15, Form::Narrow),
            (16, Form::Wide),
            (-16, Form::Narrow),
            (-17, Form::Wide),
        ] {
            let packed = PackedMatrix::pack_q8(
                100,
                64,
                |output, bytes, scales| {
                    bytes.fill(if output == 99 { beyond } else { -3 });
                    scales.fill(f16::ONE);
                },
                &pool,
            );
            assert_eq!(packed.form, form);
            assert_eq!(packed.panel(6).weight(1, 31, 3), beyond);
            assert_eq!(packed.panel(0).weight(1, 31, 3), -3);
        }
    }

    #[test]
    fn floats_are_rounded_to_within_half_a_step() {
        let pool = Pool::new(1);
        let value = |output: usize, input: usize| ((output * 31 + input * 17) % 101) as f32 / 25.0 - 2.0;
        let packed = PackedMatrix::pack_q8(
            19,
            128,
            |output, bytes, scales| {
                let row: Vec<f32> = (0..128).map(|input| value(output, input)).collect();
                let blocks = row.chunks_exact(BLOCK).zip(bytes.chunks_exact_mut(BLOCK));
                for ((values, bytes), scale) in blocks.zip(scales) {
                    *scale = quantise_weights(values, bytes);
                }
            },
            &pool,
        );
        for output in 0..19 {
            for input in 0..128 {
                let (block, lane) = (input / BLOCK, output % PANEL);
                let panel = packed.panel(output / PANEL);
                let step = panel.scale(block, lane).to_f32();
                let back = f32::from(panel.weight(block, input % BLOCK, lane)) * step;
                // Half a step, and what the rounding of the quotient adds.
                assert!(
                    (back - value(output, input)).abs() <= step * 0.501,
                    "{back} for {}",
                    value(output, input)
                );
            }
        }
    }

    #[test]
    fn weights_out_of_range_stay_finite() {
        let mut bytes = [0; BLOCK];
        let mut values = [0.0; BLOCK];
        for extreme in [
            f32::NAN,
            f32::INFINITY,
            f32::NEG_INFINITY,
            f32::MAX,
            f32::MIN_POSITIVE,
            1e-45,
        ] {
            values[3] = extreme;
            assert!(quantise_weights(&values, &mut bytes).is_finite());
        }
    }
}
