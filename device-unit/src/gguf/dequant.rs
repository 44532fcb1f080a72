//! Converts stored tensor blocks to f32 values, or, where that loses nothing, to i8 with an f16 scale for each 32 values.
//!
//! The block layouts are those of ggml (`ggml-common.h`, `ggml-quants.c`). The order of the float operations is that of the reference
//! dequantisers, so that values agree bit for bit.

use half::{bf16, f16};

use super::kind::TensorKind;

/// Values of a block of the small types and of our own weight blocks.
const BLOCK: usize = 32;
/// Values of a super-block of the `K` types.
const SUPER: usize = 256;

/// Writes the values of `bytes` to `out`.
///
/// `out.len()` is a whole number of blocks of `kind`, and `bytes` holds exactly these ([`TensorKind::bytes_of`]); the
/// excess of the longer one is ignored.
pub fn dequantise(kind: TensorKind, bytes: &[u8], out: &mut [f32]) {
    let blocks = bytes
        .chunks_exact(kind.block_bytes())
        .zip(out.chunks_exact_mut(kind.block_len()));
    match kind {
        TensorKind::F32 => blocks.for_each(|(b, o)| o[0] = f32::from_le_bytes([b[0], b[1], b[2], b[3]])),
        TensorKind::F16 => blocks.for_each(|(b, o)| o[0] = f16_at(b, 0)),
        TensorKind::Bf16 => blocks.for_each(|(b, o)| o[0] = bf16::from_le_bytes([b[0], b[1]]).to_f32()),
        TensorKind::Q4_0 => blocks.for_each(|(b, o)| q4_0(b, o)),
        TensorKind::Q4_1 => blocks.for_each(|(b, o)| q4_1(b, o)),
        TensorKind::Q5_0 => blocks.for_each(|(b, o)| q5_0(b, o)),
        TensorKind::Q5_1 => blocks.for_each(|(b, o)| q5_1(b, o)),
        TensorKind::Q8_0 => blocks.for_each(|(b, o)| q8_0(b, o)),
        TensorKind::Q2K => blocks.for_each(|(b, o)| q2_k(b, o)),
        TensorKind::Q3K => blocks.for_each(|(b, o)| q3_k(b, o)),
        TensorKind::Q4K => blocks.for_each(|(b, o)| q4_k(b, o)),
        TensorKind::Q5K => blocks.for_each(|(b, o)| q5_k(b, o)),
        TensorKind::Q6K => blocks.for_each(|(b, o)| q6_k(b, o)),
        TensorKind::Iq4Nl => blocks.for_each(|(b, o)| iq4_nl(b, o)),
        TensorKind::Iq4Xs => blocks.for_each(|(b, o)| iq4_xs(b, o)),
    }
}

/// How a stored type converts to i8 blocks of 32 values with an f16 scale.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blocks {
    /// [`to_i8_blocks`]. Exact, except for IQ4_XS, whose products of two scales are rounded to f16.
    Scaled,
    /// With an additional f16 minimum for each block: [`to_i8_blocks`] and [`minima`]. Exact for Q4_1 and Q5_1; for
    /// Q4_K and Q5_K the products of two scales are rounded to f16.
    WithMinima,
    /// Not possible: dequantise and quantise again.
    No,
}

/// The conversion of a type to i8 blocks.
pub const fn blocks(kind: TensorKind) -> Blocks {
    match kind {
        TensorKind::Q4_0 | TensorKind::Q5_0 | TensorKind::Q8_0 | TensorKind::Iq4Nl | TensorKind::Iq4Xs => {
            Blocks::Scaled
        }
        TensorKind::Q4_1 | TensorKind::Q5_1 | TensorKind::Q4K | TensorKind::Q5K => Blocks::WithMinima,
        _ => Blocks::No,
    }
}

/// Converts stored blocks to i8 values and f16 scales.
///
/// `values` has 32 and `scales` one element for each 32 values of `bytes`. Types that cannot be converted leave both
/// unchanged.
pub fn to_i8_blocks(kind: TensorKind, bytes: &[u8], values: &mut [i8], scales: &mut [f16]) {
    let per_block = kind.block_len() / BLOCK;
    if per_block == 0 || blocks(kind) == Blocks::No {
        return;
    }
    let places = values
        .chunks_exact_mut(per_block * BLOCK)
        .zip(scales.chunks_exact_mut(per_block));
    for (block, (values, scales)) in bytes.chunks_exact(kind.block_bytes()).zip(places) {
        match kind {
            TensorKind::Q8_0 => values
                .iter_mut()
                .zip(&block[2..34])
                .for_each(|(value, &byte)| *value = byte as i8),
            TensorKind::Q4_0 => nibbles(&block[2..18], values, |_, q| q - 8),
            TensorKind::Q4_1 => nibbles(&block[4..20], values, |_, q| q),
            TensorKind::Q5_0 => {
                let fifth = u32_at(block, 2);
                nibbles(&block[6..22], values, |j, q| (q | fifth_bit(fifth, j) as i8) - 16);
            }
            TensorKind::Q5_1 => {
                let fifth = u32_at(block, 4);
                nibbles(&block[8..24], values, |j, q| q | fifth_bit(fifth, j) as i8);
            }
            TensorKind::Iq4Nl => nibbles(&block[2..18], values, |_, q| LEVELS[q as usize]),
            TensorKind::Iq4Xs => {
                for (values, bytes) in values.chunks_exact_mut(BLOCK).zip(block[8..].chunks_exact(16)) {
                    nibbles(bytes, values, |_, q| LEVELS[q as usize]);
                }
            }
            TensorKind::Q4K => {
                for (j, values) in values.chunks_exact_mut(BLOCK).enumerate() {
                    for (value, &q) in values.iter_mut().zip(&block[16 + j / 2 * 32..][..32]) {
                        *value = ((q >> (j % 2 * 4)) & 15) as i8;
                    }
                }
            }
            _ => {
                for (j, values) in values.chunks_exact_mut(BLOCK).enumerate() {
                    let low = &block[48 + j / 2 * 32..][..32];
                    for ((value, &q), &high) in values.iter_mut().zip(low).zip(&block[16..48]) {
                        *value = (((q >> (j % 2 * 4)) & 15) | (((high >> j) & 1) << 4)) as i8;
                    }
                }
            }
        }
        if per_block == 1 {
            scales[0] = f16::from_le_bytes([block[0], block[1]]);
        } else {
            for (j, scale) in scales.iter_mut().enumerate() {
                let factor = match kind {
                    TensorKind::Iq4Xs => f32::from(iq4_xs_scale(block, j)),
                    _ => f32::from(scale_and_min(&block[4..16], j).0),
                };
                *scale = f16::from_f32(f16_at(block, 0) * factor);
            }
        }
    }
}

/// The minimum of each 32 values, for types with [`Blocks::WithMinima`]; others leave `out` unchanged.
pub fn minima(kind: TensorKind, bytes: &[u8], out: &mut [f16]) {
    if blocks(kind) != Blocks::WithMinima {
        return;
    }
    let per_block = kind.block_len() / BLOCK;
    for (block, out) in bytes
        .chunks_exact(kind.block_bytes())
        .zip(out.chunks_exact_mut(per_block))
    {
        if per_block == 1 {
            out[0] = f16::from_le_bytes([block[2], block[3]]);
            continue;
        }
        for (j, minimum) in out.iter_mut().enumerate() {
            *minimum = f16::from_f32(-(f16_at(block, 2) * f32::from(scale_and_min(&block[4..16], j).1)));
        }
    }
}

/// 16 bytes as 32 values: low nibbles, then high ones, each with its number in the block.
fn nibbles(bytes: &[u8], values: &mut [i8], value: impl Fn(usize, i8) -> i8) {
    let (low, high) = values.split_at_mut(BLOCK / 2);
    for (j, ((low, high), &byte)) in low.iter_mut().zip(high).zip(bytes).enumerate() {
        *low = value(j, (byte & 15) as i8);
        *high = value(j + BLOCK / 2, (byte >> 4) as i8);
    }
}

fn u32_at(block: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([block[at], block[at + 1], block[at + 2], block[at + 3]])
}

fn f16_at(block: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([block[at], block[at + 1]]).to_f32()
}

/// Bit `j` of `bits`, moved to bit 4.
fn fifth_bit(bits: u32, j: usize) -> u8 {
    (((bits >> j) & 1) << 4) as u8
}

/// d, then 16 bytes: low nibbles are values 0..16, high ones 16..32. Value = (q - 8) d.
fn q4_0(block: &[u8], out: &mut [f32]) {
    let d = f16_at(block, 0);
    for j in 0..16 {
        let q = block[2 + j];
        out[j] = f32::from((q & 15) as i8 - 8) * d;
        out[j + 16] = f32::from((q >> 4) as i8 - 8) * d;
    }
}

/// d, m, then nibbles as in Q4_0. Value = q d + m.
fn q4_1(block: &[u8], out: &mut [f32]) {
    let (d, m) = (f16_at(block, 0), f16_at(block, 2));
    for j in 0..16 {
        let q = block[4 + j];
        out[j] = f32::from(q & 15) * d + m;
        out[j + 16] = f32::from(q >> 4) * d + m;
    }
}

/// d, 32 fifth bits, then nibbles as in Q4_0. Value = (q - 16) d.
fn q5_0(block: &[u8], out: &mut [f32]) {
    let d = f16_at(block, 0);
    let fifth = u32_at(block, 2);
    for j in 0..16 {
        let q = block[6 + j];
        out[j] = f32::from(((q & 15) | fifth_bit(fifth, j)) as i8 - 16) * d;
        out[j + 16] = f32::from(((q >> 4) | fifth_bit(fifth, j + 16)) as i8 - 16) * d;
    }
}

/// d, m, 32 fifth bits, then nibbles as in Q4_0. Value = q d + m.
fn q5_1(block: &[u8], out: &mut [f32]) {
    let (d, m) = (f16_at(block, 0), f16_at(block, 2));
    let fifth = u32_at(block, 4);
    for j in 0..16 {
        let q = block[8 + j];
        out[j] = f32::from((q & 15) | fifth_bit(fifth, j)) * d + m;
        out[j + 16] = f32::from((q >> 4) | fifth_bit(fifth, j + 16)) * d + m;
    }
}

/// d, then 32 signed bytes. Value = q d.
fn q8_0(block: &[u8], out: &mut [f32]) {
    let d = f16_at(block, 0);
    for (out, &q) in out.iter_mut().zip(&block[2..34]) {
        *out = f32::from(q as i8) * d;
    }
}

/// 16 bytes of scale (low nibble) and minimum (high nibble), one for 16 values; 64 bytes of 2-bit values; d; dmin.
/// Each 32 bytes hold 128 values: bits 0-1 are the first 32 of them, bits 2-3 the next, and so on.
fn q2_k(block: &[u8], out: &mut [f32]) {
    let (scales, qs) = (&block[..16], &block[16..80]);
    let (d, dmin) = (f16_at(block, 80), f16_at(block, 82));
    for (i, out) in out.iter_mut().enumerate().take(SUPER) {
        let scale = scales[i / 16];
        let q = (qs[i / 128 * 32 + i % 32] >> (i % 128 / 32 * 2)) & 3;
        *out = d * f32::from(scale & 15) * f32::from(q) - dmin * f32::from(scale >> 4);
    }
}

/// 32 bytes of third bits (bit i/32 of byte i%32; a clear bit means minus 4); 64 bytes of 2-bit values as in Q2_K;
/// 12 bytes with 16 6-bit scales (offset 32), one for 16 values; d.
fn q3_k(block: &[u8], out: &mut [f32]) {
    let (high, qs, scales) = (&block[..32], &block[32..96], &block[96..108]);
    let d = f16_at(block, 108);
    for (i, out) in out.iter_mut().enumerate().take(SUPER) {
        let s = i / 16;
        let low_bits = if s < 8 { scales[s] & 15 } else { scales[s - 8] >> 4 };
        let high_bits = (scales[8 + s % 4] >> (s / 4 * 2)) & 3;
        let scale = (low_bits | (high_bits << 4)) as i8 - 32;
        let q = ((qs[i / 128 * 32 + i % 32] >> (i % 128 / 32 * 2)) & 3) as i8;
        let q = if (high[i % 32] >> (i / 32)) & 1 == 0 { q - 4 } else { q };
        *out = d * f32::from(scale) * f32::from(q);
    }
}

/// The 6-bit scale and minimum of the `j`-th 32 values of a Q4_K or Q5_K block, out of its 12 bytes.
fn scale_and_min(packed: &[u8], j: usize) -> (u8, u8) {
    if j < 4 {
        (packed[j] & 63, packed[j + 4] & 63)
    } else {
        let low = packed[j + 4];
        (
            (low & 15) | ((packed[j - 4] >> 6) << 4),
            (low >> 4) | ((packed[j] >> 6) << 4),
        )
    }
}

/// d; dmin; 12 bytes of scales and minima; 128 bytes: each 32 of them hold 32 values in the low and 32 in the high nibbles.
fn q4_k(block: &[u8], out: &mut [f32]) {
    let (d, dmin) = (f16_at(block, 0), f16_at(block, 2));
    for (j, out) in out.chunks_exact_mut(BLOCK).enumerate().take(SUPER / BLOCK) {
        let (scale, min) = scale_and_min(&block[4..16], j);
        let (d, m) = (d * f32::from(scale), dmin * f32::from(min));
        let shift = j % 2 * 4;
        for (out, &q) in out.iter_mut().zip(&block[16 + j / 2 * 32..][..32]) {
            *out = d * f32::from((q >> shift) & 15) - m;
        }
    }
}

/// As Q4_K, with 32 bytes of fifth bits (bit j of byte l belongs to value l of the j-th 32) before the nibbles.
fn q5_k(block: &[u8], out: &mut [f32]) {
    let (d, dmin) = (f16_at(block, 0), f16_at(block, 2));
    let high = &block[16..48];
    for (j, out) in out.chunks_exact_mut(BLOCK).enumerate().take(SUPER / BLOCK) {
        let (scale, min) = scale_and_min(&block[4..16], j);
        let (d, m) = (d * f32::from(scale), dmin * f32::from(min));
        let shift = j % 2 * 4;
        for ((out, &q), &high) in out.iter_mut().zip(&block[48 + j / 2 * 32..][..32]).zip(high) {
            *out = d * f32::from(((q >> shift) & 15) | (((high >> j) & 1) << 4)) - m;
        }
    }
}

/// 128 bytes of low nibbles, 64 bytes of upper 2 bits, 16 signed scales (one for 16 values), d. Value = d scale (q - 32).
fn q6_k(block: &[u8], out: &mut [f32]) {
    let d = f16_at(block, 208);
    for (half, out) in out.chunks_exact_mut(128).enumerate().take(2) {
        let low = &block[half * 64..][..64];
        let high = &block[128 + half * 32..][..32];
        let scales = &block[192 + half * 8..][..8];
        for (quarter, out) in out.chunks_exact_mut(32).enumerate() {
            let low = &low[quarter % 2 * 32..][..32];
            let (low_shift, high_shift) = (quarter / 2 * 4, quarter * 2);
            for (l, out) in out.iter_mut().enumerate() {
                let q = ((low[l] >> low_shift) & 15) | (((high[l] >> high_shift) & 3) << 4);
                *out = d * f32::from(scales[quarter * 2 + l / 16] as i8) * f32::from(q as i8 - 32);
            }
        }
    }
}

/// What the sixteen values of an IQ4 nibble stand for.
const LEVELS: [i8; 16] = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];

/// d, then nibbles as in Q4_0. Value = d level(q).
fn iq4_nl(block: &[u8], out: &mut [f32]) {
    levels(f16_at(block, 0), &block[2..18], out);
}

/// d; 16 bits with the upper two bits of eight scales; 4 bytes with their lower four; then nibbles as in Q4_0, 16 bytes for each 32
/// values. Value = d (scale - 32) level(q).
fn iq4_xs(block: &[u8], out: &mut [f32]) {
    let d = f16_at(block, 0);
    let parts = out.chunks_exact_mut(BLOCK).zip(block[8..].chunks_exact(16));
    for (j, (out, bytes)) in parts.enumerate() {
        levels(d * f32::from(iq4_xs_scale(block, j)), bytes, out);
    }
}

fn levels(d: f32, bytes: &[u8], out: &mut [f32]) {
    for j in 0..16 {
        out[j] = d * f32::from(LEVELS[usize::from(bytes[j] & 15)]);
        out[j + 16] = d * f32::from(LEVELS[usize::from(bytes[j] >> 4)]);
    }
}

/// The scale of the `j`-th 32 values of an IQ4_XS block.
fn iq4_xs_scale(block: &[u8], j: usize) -> i8 {
    let low = (block[4 + j / 2] >> (j % 2 * 4)) & 15;
    let high = (u16::from_le_bytes([block[2], block[3]]) >> (2 * j)) as u8 & 3;
    (low | (high << 4)) as i8 - 32
}

#[cfg(test)]
mod tests {
    use super::*;

    /// (type, stored bytes, values by the reference) of the fixture; see `dequant.py` beside it.
    fn fixture() -> Vec<(TensorKind, Vec<u8>, Vec<f32>)> {
        let bytes = |value: &serde_json::Value| -> Vec<u8> {
            let hex = value.as_str().unwrap();
            (0..hex.len())
                .step_by(2)
                .map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap())
                .collect()
        };
        let cases: serde_json::Value = serde_json::from_str(include_str!("../../tests/fixtures/dequant.json")).unwrap();
        let cases = cases.as_array().unwrap();
        assert_eq!(cases.len(), TensorKind::all().count());
        cases
            .iter()
            .map(|case| {
                let kind = TensorKind::all().find(|kind| kind.name() == case["kind"]).unwrap();
                let values = bytes(&case["values"]);
                let values = values
                    .chunks_exact(4)
                    .map(|b| f32::from_le_bytes(b.try_into().unwrap()))
                    .collect();
                (kind, bytes(&case["blocks"]), values)
            })
            .collect()
    }

    #[test]
    fn every_type_gives_the_values_of_the_reference_bit_for_bit() {
        for (kind, blocks, expected) in fixture() {
            let mut values = vec![f32::NAN; expected.len()];
            assert_eq!(kind.bytes_of(values.len()), blocks.len());
            dequantise(kind, &blocks, &mut values);
            for (i, (got, expected)) in values.iter().zip(&expected).enumerate() {
                assert_eq!(
                    got.to_bits(),
                    expected.to_bits(),
                    "{kind:?} value {i}: {got} instead of {expected}"
                );
            }
        }
    }

    #[test]
    fn types_with_one_scale_for_32_values_are_the_same_numbers_as_i8_blocks() {
        let mut seen = Vec::new();
        for (kind, stored, expected) in fixture().into_iter().filter(|(kind, ..)| blocks(*kind) != Blocks::No) {
            let mut values = vec![0_i8; expected.len()];
            let mut scales = vec![f16::ZERO; expected.len() / BLOCK];
            let mut least = scales.clone();
            to_i8_blocks(kind, &stored, &mut values, &mut scales);
            minima(kind, &stored, &mut least);
            for (i, expected) in expected.iter().enumerate() {
                let got = f32::from(values[i]) * scales[i / BLOCK].to_f32() + least[i / BLOCK].to_f32();
                // Scales of the K types are rounded to f16, which keeps 11 bits of each.
                let rounded = matches!(kind, TensorKind::Q4K | TensorKind::Q5K | TensorKind::Iq4Xs);
                let parts = (f32::from(values[i]) * scales[i / BLOCK].to_f32()).abs() + least[i / BLOCK].to_f32().abs();
                let allowed = if rounded { parts / 2048.0 } else { 0.0 };
                assert!(
                    (got - expected).abs() <= allowed,
                    "{kind:?} value {i}: {got} for {expected}"
                );
            }
            seen.push(kind);
        }
        use TensorKind::{Iq4Nl, Iq4Xs, Q4_0, Q4_1, Q4K, Q5_0, Q5_1, Q5K, Q8_0};
        assert_eq!(seen, [Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q4K, Q5K, Iq4Nl, Iq4Xs]);
    }

    #[test]
    fn products_of_small_scales_are_multiples_of_the_smallest_f16_and_not_rounded() {
        for kind in [TensorKind::Q4K, TensorKind::Q5K, TensorKind::Iq4Xs] {
            let mut stored = vec![0x55; kind.block_bytes()];
            for number in [1_u16, 7] {
                stored[..2].copy_from_slice(&number.to_le_bytes());
                if kind != TensorKind::Iq4Xs {
                    stored[2..4].copy_from_slice(&number.to_le_bytes());
                }
                let mut expected = vec![0.0; SUPER];
                dequantise(kind, &stored, &mut expected);
                let mut values = vec![0_i8; SUPER];
                let mut scales = vec![f16::ZERO; SUPER / BLOCK];
                let mut least = scales.clone();
                to_i8_blocks(kind, &stored, &mut values, &mut scales);
                minima(kind, &stored, &mut least);
                assert!(expected.iter().any(|value| *value != 0.0));
                for (i, expected) in expected.iter().enumerate() {
                    let got = f32::from(values[i]) * scales[i / BLOCK].to_f32() + least[i / BLOCK].to_f32();
                    assert_eq!(got, *expected, "{kind:?} value {i}");
                }
            }
        }
    }
}
