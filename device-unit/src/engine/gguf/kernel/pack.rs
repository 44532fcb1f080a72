//! Weights as the kernels read them: 16 outputs interleaved, bytes in one stream and scales in another.
//!
//! It knows the layout in memory; where weights come from and what is done with them is others' business.
//!
//! A panel holds 16 outputs. Its block b is 8 groups of 64 bytes; group g holds inputs 4g..4g+4 of the block, four bytes
//! for each of the 16 outputs: the operand of a dot product of bytes. Outputs beyond the last are zeros. On x86 a byte
//! is the weight plus 128, because the instructions there multiply unsigned bytes by signed ones.

use std::sync::{Mutex, PoisonError};

use half::f16;
use memmap2::MmapMut;

use super::super::threads::Pool;
use super::{BLOCK, PANEL};

/// Inputs that lie together in memory.
const GROUP: usize = 4;
/// Bytes of one block of a panel.
pub(super) const BLOCK_BYTES: usize = BLOCK * PANEL;

/// What is XORed to a weight's byte in memory.
const FLIP: u8 = if cfg!(target_arch = "x86_64") { 0x80 } else { 0 };

/// From this size on the system is asked for large pages.
const LARGE: usize = 4 << 20;

/// A weight matrix, `outputs` x `inputs`, in the kernels' layout.
pub struct PackedMatrix {
    outputs: usize,
    inputs: usize,
    weights: MmapMut,
    scales: MmapMut,
}

/// One panel of a matrix.
#[derive(Clone, Copy)]
pub(super) struct Panel<'a> {
    /// Blocks x [`BLOCK_BYTES`].
    pub(super) weights: &'a [u8],
    /// Blocks x [`PANEL`].
    pub(super) scales: &'a [f16],
}

impl Panel<'_> {
    /// The weight of output `lane` for input `input` of block `block`.
    pub(super) fn weight(&self, block: usize, input: usize, lane: usize) -> i8 {
        (self.weights[block * BLOCK_BYTES + place(input, lane)] ^ FLIP) as i8
    }

    pub(super) fn scale(&self, block: usize, lane: usize) -> f16 {
        self.scales[block * PANEL + lane]
    }
}

/// Where in a block the weight of an output for an input is.
fn place(input: usize, lane: usize) -> usize {
    (input / GROUP * PANEL + lane) * GROUP + input % GROUP
}

impl PackedMatrix {
    /// Packs weights given as floats, on all threads: `row(output, values)` writes the `inputs` weights of one output.
    ///
    /// Each block of 32 is rounded to bytes: the scale is the largest magnitude / 127 as f16, a byte the nearest whole
    /// number (ties to even) of weight / scale within -127..=127. Weights that are not finite count as 0; readers refuse
    /// such files before.
    ///
    /// # Panics
    /// Where `inputs` is not a multiple of 32.
    pub fn pack(outputs: usize, inputs: usize, row: impl Fn(usize, &mut [f32]) + Sync, pool: &Pool) -> Self {
        Self::pack_rows(outputs, inputs, pool, |values: &mut Vec<f32>, output, bytes, scales| {
            values.resize(inputs, 0.0);
            row(output, values);
            for ((values, bytes), scale) in values
                .chunks_exact(BLOCK)
                .zip(bytes.chunks_exact_mut(BLOCK))
                .zip(scales)
            {
                *scale = quantise_weights(values, bytes);
            }
        })
    }

    /// Packs weights that are signed bytes with an f16 scale per block of 32 already, without any loss:
    /// `row(output, bytes, scales)` writes the `inputs` bytes and `inputs / 32` scales of one output.
    ///
    /// Scales that are not finite count as 0; readers refuse such files before.
    ///
    /// # Panics
    /// Where `inputs` is not a multiple of 32.
    pub fn pack_q8(
        outputs: usize,
        inputs: usize,
        row: impl Fn(usize, &mut [i8], &mut [f16]) + Sync,
        pool: &Pool,
    ) -> Self {
        Self::pack_rows(outputs, inputs, pool, |_: &mut (), output, bytes, scales| {
            row(output, bytes, scales)
        })
    }

    fn pack_rows<S: Default>(
        outputs: usize,
        inputs: usize,
        pool: &Pool,
        row: impl Fn(&mut S, usize, &mut [i8], &mut [f16]) + Sync,
    ) -> Self {
        assert_eq!(inputs % BLOCK, 0, "inputs come in blocks of {BLOCK}");
        let blocks = inputs / BLOCK;
        let panels = outputs.div_ceil(PANEL);
        let mut weights = memory(panels * blocks * BLOCK_BYTES);
        let mut scales = memory(panels * blocks * PANEL * size_of::<f16>());
        if blocks > 0 {
            let places: Vec<Mutex<(&mut [u8], &mut [u16])>> = weights
                .chunks_exact_mut(blocks * BLOCK_BYTES)
                .zip(bytemuck::cast_slice_mut(&mut scales).chunks_exact_mut(blocks * PANEL))
                .map(Mutex::new)
                .collect();
            // Several panels a task: their scratch memory is shared.
            let panels_per_task = (64 * 1024 / inputs / PANEL).max(1);
            pool.run(panels.div_ceil(panels_per_task), |task| {
                let mut scratch = S::default();
                let mut row_bytes = vec![0i8; inputs];
                let mut row_scales = vec![f16::ZERO; blocks];
                let first = task * panels_per_task;
                for (panel, place) in places.iter().enumerate().skip(first).take(panels_per_task) {
                    let mut place = place.lock().unwrap_or_else(PoisonError::into_inner);
                    let (panel_bytes, panel_scales) = &mut *place;
                    for lane in 0..PANEL {
                        let output = panel * PANEL + lane;
                        if output < outputs {
                            row(&mut scratch, output, &mut row_bytes, &mut row_scales);
                        } else {
                            row_bytes.fill(0);
                            row_scales.fill(f16::ZERO);
                        }
                        interleave(lane, &row_bytes, &row_scales, panel_bytes, panel_scales);
                    }
                }
            });
        }
        Self {
            outputs,
            inputs,
            weights,
            scales,
        }
    }

    /// Rows of the matrix: values of a product's row.
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// Columns of the matrix: values of an activation row.
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// Bytes it takes in memory, which is also what one product of a single row reads.
    pub fn bytes(&self) -> usize {
        self.outputs.div_ceil(PANEL) * self.panel_bytes()
    }

    pub(super) fn panel_bytes(&self) -> usize {
        self.inputs / BLOCK * (BLOCK_BYTES + PANEL * size_of::<f16>())
    }

    pub(super) fn panel(&self, panel: usize) -> Panel<'_> {
        let blocks = self.inputs / BLOCK;
        let scales: &[f16] = bytemuck::cast_slice(&self.scales);
        Panel {
            weights: &self.weights[panel * blocks * BLOCK_BYTES..(panel + 1) * blocks * BLOCK_BYTES],
            scales: &scales[panel * blocks * PANEL..(panel + 1) * blocks * PANEL],
        }
    }
}

impl std::fmt::Debug for PackedMatrix {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PackedMatrix({} x {})", self.outputs, self.inputs)
    }
}

/// Puts one output's row into its lane of a panel.
fn interleave(lane: usize, bytes: &[i8], scales: &[f16], panel_bytes: &mut [u8], panel_scales: &mut [u16]) {
    for (group, into) in bytes
        .chunks_exact(GROUP)
        .zip(panel_bytes.chunks_exact_mut(PANEL * GROUP))
    {
        for (byte, into) in group.iter().zip(&mut into[lane * GROUP..(lane + 1) * GROUP]) {
            *into = *byte as u8 ^ FLIP;
        }
    }
    for (scale, into) in scales.iter().zip(panel_scales[lane..].iter_mut().step_by(PANEL)) {
        *into = if scale.is_finite() { scale.to_bits() } else { 0 };
    }
}

/// One block of 32 weights to bytes; returns the scale.
pub fn quantise_weights(values: &[f32], bytes: &mut [i8]) -> f16 {
    let finite = |value: f32| if value.is_finite() { value } else { 0.0 };
    let largest = values
        .iter()
        .fold(0.0f32, |largest, value| largest.max(finite(*value).abs()));
    let scale = f16::from_f32(largest / 127.0);
    let scale = if scale.is_finite() { scale } else { f16::MAX };
    let step = scale.to_f32();
    for (value, byte) in values.iter().zip(bytes) {
        let steps = if step > 0.0 { finite(*value) / step } else { 0.0 };
        *byte = steps.round_ties_even().clamp(-127.0, 127.0) as i8;
    }
    scale
}

/// Zeroed memory, page-aligned, that the system provides only where it is touched and takes back when it is dropped.
fn memory(bytes: usize) -> MmapMut {
    let Ok(memory) = MmapMut::map_anon(bytes.max(64)) else {
        // As for any vector: there is no working on without memory.
        std::alloc::handle_alloc_error(std::alloc::Layout::new::<u64>());
    };
    #[cfg(target_os = "linux")]
    if bytes >= LARGE {
        // Only makes it faster; some systems have no large pages.
        let _ = memory.advise(memmap2::Advice::HugePage);
    }
    memory
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packed_bytes_come_back_as_they_went_in() {
        let pool = Pool::new(2);
        for (outputs, inputs) in [(1, 32), (16, 64), (17, 96), (50, 896), (3, 0), (0, 32)] {
            let byte = |output: usize, input: usize| ((output * 7919 + input * 104_729) % 256) as u8 as i8;
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

    #[test]
    fn floats_are_rounded_to_within_half_a_step() {
        let pool = Pool::new(1);
        let value = |output: usize, input: usize| ((output * 31 + input * 17) % 101) as f32 / 25.0 - 2.0;
        let packed = PackedMatrix::pack(
            19,
            128,
            |output, row| {
                row.iter_mut()
                    .enumerate()
                    .for_each(|(input, into)| *into = value(output, input))
            },
            &pool,
        );
        for output in 0..19 {
            for input in 0..128 {
                let (block, lane) = (input / BLOCK, output % PANEL);
                let panel = packed.panel(output / PANEL);
                let step = panel.scale(block, lane).to_f32();
                let back = f32::from(panel.weight(block, input % BLOCK, lane)) * step;
                assert!(
                    (back - value(output, input)).abs() <= step * 0.57,
                    "{back} for {}",
                    value(output, input)
                );
            }
        }
    }

    #[test]
    fn weights_out_of_every_range_stay_finite() {
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
