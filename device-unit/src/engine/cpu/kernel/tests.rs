//! Compares every tier with the reference implementation bit for bit, and the reference with its formula.

use half::f16;
use softprefix_core::prefix::split_mix;

use super::*;

/// A deterministic generator that covers all byte values.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        split_mix(&mut self.0)
    }

    /// In -1..1.
    fn float(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }
}

/// Kinds of weights and activations.
#[derive(Debug, Clone, Copy)]
enum Data {
    Random,
    /// Weights -16..=15, as in five-bit formats.
    Narrow,
    /// Weights 0..=15 and a minimum for each block, as in four-bit formats with minima.
    Minima,
    /// All weights -128, all activations at the ends of their range, with all signs.
    Extreme,
    Zeros,
    /// Subnormal f16 scales, and activations near the smallest that are not rounded to zero.
    Tiny,
    /// The largest scales, and activations up to infinity.
    Huge,
    /// Random bits.
    Anything,
}

const ALL_DATA: [Data; 8] = [
    Data::Random,
    Data::Narrow,
    Data::Minima,
    Data::Extreme,
    Data::Zeros,
    Data::Tiny,
    Data::Huge,
    Data::Anything,
];

fn weights(data: Data, outputs: usize, inputs: usize, pool: &Pool) -> PackedMatrix {
    let packed = PackedMatrix::pack_q8(
        outputs,
        inputs,
        |output, bytes, scales| {
            let mut noise = Noise((output * 1_000_003 + inputs) as u64);
            for byte in bytes {
                let bits = noise.next() as u8 as i8;
                *byte = match data {
                    Data::Random | Data::Tiny | Data::Huge | Data::Anything => bits,
                    Data::Narrow => bits >> 3,
                    Data::Minima => bits & 15,
                    Data::Extreme => [-128, -128, 127][bits as u8 as usize * usize::from(output % 3 == 0) % 3],
                    Data::Zeros => 0,
                };
            }
            for scale in scales {
                let bits = noise.next() as u16;
                *scale = match data {
                    Data::Tiny => f16::from_bits(bits & 0x83ff),
                    Data::Huge => f16::from_bits(0x7bff | (bits & 0x8000)),
                    Data::Anything => f16::from_bits(bits),
                    _ => f16::from_f32(noise.float() * 0.01),
                };
            }
        },
        pool,
    );
    if !matches!(data, Data::Minima | Data::Tiny | Data::Huge | Data::Anything) {
        return packed;
    }
    let minima = |output: usize, minima: &mut [f16]| {
        let mut noise = Noise((output * 7919 + inputs) as u64);
        for minimum in minima {
            let bits = noise.next() as u16;
            *minimum = match data {
                Data::Tiny => f16::from_bits(bits & 0x83ff),
                Data::Huge => f16::from_bits(0x7bff | (bits & 0x8000)),
                Data::Anything => f16::from_bits(bits),
                _ => f16::from_f32(noise.float() * 0.08),
            };
        }
    };
    packed.with_minima(minima, pool)
}

fn activations(data: Data, rows: usize, inputs: usize) -> Vec<f32> {
    let mut noise = Noise((rows * 31 + inputs) as u64);
    let mut values = Vec::with_capacity(rows * inputs);
    for _ in 0..rows * inputs {
        let bits = noise.next();
        values.push(match data {
            Data::Random | Data::Narrow | Data::Minima => noise.float() * 3.0,
            Data::Extreme => [1.0, 1.0, 1.0, -1.0][bits as usize % 4],
            Data::Zeros => 0.0,
            Data::Tiny => noise.float() * 2e-30,
            Data::Huge => [f32::MAX, f32::MIN, f32::INFINITY, f32::NEG_INFINITY, 1e30][bits as usize % 5],
            Data::Anything => f32::from_bits(bits as u32),
        });
    }
    values
}

fn product(tier: Tier, pool: &Pool, w: &PackedMatrix, x: &QuantRows) -> Vec<u32> {
    let mut out = vec![f32::NAN; x.len() * w.outputs()];
    matmul(pool, tier, w, x, &mut out);
    out.iter().map(|value| value.to_bits()).collect()
}

fn other_tiers() -> impl Iterator<Item = Tier> {
    Tier::ALL
        .into_iter()
        .filter(|tier| tier.is_supported() && *tier != Tier::Scalar)
}

fn assert_all_tiers_equal(data: Data, rows: usize, outputs: usize, inputs: usize, pool: &Pool) {
    let w = weights(data, outputs, inputs, pool);
    let mut x = QuantRows::new();
    x.quantise(&activations(data, rows, inputs), inputs);
    let expected = product(Tier::Scalar, pool, &w, &x);
    assert!(expected.iter().all(|bits| !f32::from_bits(*bits).is_nan()), "{data:?}");
    for tier in other_tiers() {
        assert!(
            product(tier, pool, &w, &x) == expected,
            "{tier}, {data:?}: {rows} rows, {outputs} x {inputs}"
        );
    }
}

#[test]
fn the_reference_equals_its_formula() {
    for data in [Data::Random, Data::Minima] {
        assert_definition_is_formula(data);
    }
}

fn assert_definition_is_formula(data: Data) {
    let pool = Pool::new(2);
    let (rows, outputs, inputs) = (3, 21, 96);
    let w = weights(data, outputs, inputs, &pool);
    let mut x = QuantRows::new();
    x.quantise(&activations(data, rows, inputs), inputs);
    let mut out = vec![0.0; rows * outputs];
    matmul(&pool, Tier::Scalar, &w, &x, &mut out);
    for row in 0..rows {
        for output in 0..outputs {
            let panel = w.panel(output / PANEL);
            let lane = output % PANEL;
            let mut acc = 0.0f32;
            let mut rest = 0.0f32;
            let mut wide = 0.0f64;
            for block in 0..inputs / BLOCK {
                let sum: i32 = (0..BLOCK)
                    .map(|i| i32::from(panel.weight(block, i, lane)) * i32::from(x.block(row, block)[i]))
                    .sum();
                let scale = f32::from(panel.scale(block, lane)) * x.scale(row, block);
                acc = libm::fmaf(sum as f32, scale, acc);
                wide += f64::from(sum) * f64::from(scale);
                if let Some(minima) = w.minima(output / PANEL) {
                    let minimum = f32::from(minima[block * PANEL + lane]);
                    let sum: i32 = x.block(row, block).iter().map(|byte| i32::from(*byte)).sum();
                    rest = libm::fmaf(minimum, sum as f32 * x.scale(row, block), rest);
                    wide += f64::from(minimum) * f64::from(sum) * f64::from(x.scale(row, block));
                }
            }
            let acc = acc + rest;
            assert_eq!(out[row * outputs + output].to_bits(), acc.to_bits());
            assert!((f64::from(acc) - wide).abs() < 1e-5);
        }
    }
}

#[test]
fn every_tier_equals_the_reference_on_all_kinds_of_data() {
    let pool = Pool::new(2);
    for data in ALL_DATA {
        for (outputs, inputs) in [(1, 32), (15, 64), (16, 32), (17, 96), (33, 224), (100, 512)] {
            for rows in [1, 2, 5, 8, 11] {
                assert_all_tiers_equal(data, rows, outputs, inputs, &pool);
            }
        }
    }
}

#[test]
fn every_tier_equals_the_reference_for_every_number_of_rows() {
    let pool = Pool::new(2);
    for rows in 1..=64 {
        for data in [Data::Random, Data::Narrow, Data::Minima, Data::Extreme] {
            assert_all_tiers_equal(data, rows, 35, 160, &pool);
        }
    }
}

#[test]
fn every_tier_equals_the_reference_for_the_shapes_of_real_models() {
    let pool = Pool::new(2);
    let shapes = [
        (896, 896),
        (128, 896),
        (4864, 896),
        (896, 4864),
        (576, 576),
        (192, 576),
        (1536, 576),
        (576, 1536),
        (1155, 896), // part of a vocabulary; its columns are independent of each other
    ];
    for (outputs, inputs) in shapes {
        for rows in [1, 7] {
            assert_all_tiers_equal(Data::Random, rows, outputs, inputs, &pool);
        }
    }
}

#[test]
fn a_row_has_the_same_bits_alone_and_among_others_on_one_thread_and_on_many() {
    let (outputs, inputs, rows) = (200, 192, 23);
    let one = Pool::new(1);
    let w = weights(Data::Random, outputs, inputs, &one);
    let values = activations(Data::Random, rows, inputs);
    let mut x = QuantRows::new();
    for tier in other_tiers().chain([Tier::Scalar]) {
        x.quantise(&values, inputs);
        let together = product(tier, &one, &w, &x);
        for threads in [2, 3, 5] {
            assert!(product(tier, &Pool::new(threads), &w, &x) == together);
        }
        for (row, values) in values.chunks(inputs).enumerate() {
            x.quantise(values, inputs);
            assert!(product(tier, &one, &w, &x) == together[row * outputs..(row + 1) * outputs]);
        }
    }
}

#[test]
fn empty_products_are_empty() {
    let pool = Pool::new(2);
    let w = weights(Data::Random, 20, 64, &pool);
    matmul(
        &pool,
        Tier::best(),
        &w,
        &{
            let mut x = QuantRows::new();
            x.quantise(&[], 64);
            x
        },
        &mut [],
    );
    for max in 1..=MAX_TILE {
        assert!((1..100).all(|left| (1..=max.min(left)).contains(&next_tile(left, max))));
    }
}
