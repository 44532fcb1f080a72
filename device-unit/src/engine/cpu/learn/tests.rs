//! Gradients compared with finite differences, on any number of threads, and what a pass refuses.

use std::sync::Arc;

use half::bf16;
use softprefix_core::prefix::split_mix;

use super::*;
use crate::engine::cpu::kernel::{Kernel, Tier};
use crate::engine::cpu::{CpuEngine, CpuOptions};
use crate::engine::gradient::Differentiable as _;
use crate::testing::{Meta, TinyModel, TinyWeights};

/// Pseudo-random numbers in -1..1.
fn numbers(count: usize, seed: u64) -> Vec<f32> {
    let mut state = seed;
    let mut next = || (split_mix(&mut state) >> 40) as f32 / (1_u64 << 23) as f32 - 1.0;
    (0..count).map(|_| next()).collect()
}

/// Returns the gradient of `loss` at `x` by finite differences.
fn differences(x: &[f32], step: f32, mut loss: impl FnMut(&[f32]) -> f64) -> Vec<f64> {
    let mut at = x.to_vec();
    let mut found = Vec::with_capacity(x.len());
    for place in 0..x.len() {
        at[place] = x[place] + step;
        let (above, up) = (loss(&at), at[place]);
        at[place] = x[place] - step;
        let (below, down) = (loss(&at), at[place]);
        at[place] = x[place];
        found.push((above - below) / (f64::from(up) - f64::from(down)));
    }
    found
}

/// Returns the distance of two gradients, relative to the length of the second.
fn distance(ours: &[f32], theirs: &[f64]) -> f64 {
    let length = |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>().sqrt();
    assert_eq!(ours.len(), theirs.len());
    let apart = length(&mut ours.iter().zip(theirs).map(|(ours, theirs)| f64::from(*ours) - theirs));
    apart / length(&mut theirs.iter().copied())
}

fn assert_near(what: &str, ours: &[f32], theirs: &[f64]) {
    let distance = distance(ours, theirs);
    println!("{what}: {distance:.2e}");
    assert!(distance <= 1e-3, "{what}: {distance}");
}

fn dot(values: &[f32], d: &[f32]) -> f64 {
    values.iter().zip(d).map(|(v, d)| f64::from(*v) * f64::from(*d)).sum()
}

#[test]
fn the_gradient_of_the_norm_equals_finite_differences() {
    for size in [0.01, 1.0, 50.0] {
        let x: Vec<f32> = numbers(96, 1).iter().map(|x| x * size).collect();
        let (weight, d) = (numbers(96, 2), numbers(96, 3));
        let epsilon = 1e-5;
        let theirs = differences(&x, size * 1e-2, |x| {
            let mut out = vec![0.0; x.len()];
            super::super::kernel::math::rms_norm(x, &weight, epsilon, &mut out);
            dot(&out, &d)
        });
        let mut ours = vec![0.0; x.len()];
        Tier::best().run(RmsNormBackward {
            x: &x,
            weight: &weight,
            epsilon,
            d: &d,
            out: &mut ours,
        });
        assert_near("norm", &ours, &theirs);
    }
}

#[test]
fn the_gradient_of_the_gate_equals_finite_differences() {
    let gate_up: Vec<f32> = numbers(128, 4).iter().map(|x| x * 3.0).collect();
    let d = numbers(64, 5);
    let theirs = differences(&gate_up, 1e-2, |gate_up| {
        let (gates, ups) = gate_up.split_at(64);
        let gated: Vec<f32> = gates
            .iter()
            .zip(ups)
            .map(|(&gate, up)| super::super::kernel::math::silu(gate) * up)
            .collect();
        dot(&gated, &d)
    });
    let mut ours = vec![0.0; 128];
    SwiGluBackward {
        gate_up: &gate_up,
        gated: &d,
        out: &mut ours,
    }
    .run();
    assert_near("gate", &ours, &theirs);
}

#[test]
fn both_losses_and_their_gradients_equal_finite_differences() {
    let logits: Vec<f32> = numbers(77, 6).iter().map(|x| x * 4.0).collect();
    let base: Vec<f32> = numbers(77, 7).iter().map(|x| x * 4.0).collect();
    for target in [Target::Token(5), Target::Logits(base.clone().into())] {
        let loss = |logits: &[f32]| {
            LossGradient {
                logits: &mut logits.to_vec(),
                target: &target,
                weight: 0.7,
            }
            .run()
        };
        let theirs = differences(&logits, 1e-2, loss);
        let mut ours = logits.clone();
        LossGradient {
            logits: &mut ours,
            target: &target,
            weight: 0.7,
        }
        .run();
        assert_near("loss", &ours, &theirs);
    }
    let none = LossGradient {
        logits: &mut base.clone(),
        target: &Target::Logits(base.into()),
        weight: 1.0,
    };
    assert!(none.run().abs() < 1e-6, "the divergence of a prediction from itself");
}

/// A model of every architecture and with every scaling of the rotation; the tests use more rows than one block of any product.
fn models() -> Vec<(&'static str, TinyModel)> {
    let exact = |model: TinyModel| TinyModel {
        weights: TinyWeights::Q8_0,
        ..model
    };
    let with_minima = TinyModel {
        weights: TinyWeights::Q4_1,
        own_output: true,
        ..TinyModel::llama()
    };
    let scaled = |model: TinyModel, scaling: &str| {
        let key = |name: &str| format!("{}.rope.scaling.{name}", model.architecture);
        TinyModel {
            keys: vec![
                (key("type"), Some(Meta::Text(scaling.into()))),
                (key("factor"), Some(Meta::F32(4.0))),
            ],
            ..exact(model)
        }
    };
    let pairs_of_llama = 16;
    let with_factors = TinyModel {
        tensors: vec![("rope_freqs.weight".into(), vec![pairs_of_llama])],
        ..exact(TinyModel::llama())
    };
    vec![
        ("qwen2", exact(TinyModel::qwen2())),
        ("qwen3", exact(TinyModel::qwen3())),
        ("llama", exact(TinyModel::llama())),
        ("llama with minima", with_minima),
        ("llama with linear scaling", scaled(TinyModel::llama(), "linear")),
        ("qwen2 with yarn", scaled(TinyModel::qwen2(), "yarn")),
        ("llama with factors", with_factors),
    ]
}

fn engine(model: &TinyModel, threads: usize) -> CpuEngine {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    model.write(&path).unwrap();
    let options = CpuOptions {
        threads: Some(threads),
        ..CpuOptions::default()
    };
    CpuEngine::load(&path, options, &|_, _| ()).unwrap()
}

/// A pass over `rows`, the first three of which are learned.
fn pass(engine: &CpuEngine, rows: &[f32], targets: &[Target]) -> GradientPass {
    let example = Example {
        rows: rows.iter().map(|value| bf16::from_f32(*value)).collect(),
        learned: 3,
        targets: targets.to_vec(),
        weight: 0.5,
    };
    let mut pass = GradientPass::new(&engine.model, example, engine.info.vocab_size, 512).unwrap();
    // The differences are smaller than the precision of bf16.
    pass.x = rows.to_vec();
    pass
}

fn gradient(engine: &CpuEngine, rows: &[f32], targets: &[Target]) -> Gradient {
    let mut pass = pass(engine, rows, targets);
    loop {
        if let Some(gradient) = pass.step(&engine.model) {
            return gradient;
        }
    }
}

/// Some tokens, and one distribution.
fn targets(engine: &CpuEngine) -> Vec<Target> {
    let prediction: Arc<[f32]> = numbers(engine.info.vocab_size, 9).iter().map(|x| x * 3.0).collect();
    vec![
        Target::Token(7),
        Target::Token(200),
        Target::Logits(prediction),
        Target::Token(7),
    ]
}

#[test]
fn the_gradient_of_attention_equals_finite_differences() {
    for (name, model) in models() {
        let engine = engine(&model, 2);
        let (model, layer) = (&engine.model, &engine.model.weights.layers[1]);
        let config = &model.config;
        let rows = 7;
        let qkv = numbers(rows * (config.query_width() + 2 * config.kv_width()), 11);
        let d = numbers(rows * config.query_width(), 12);
        let width = config.rope.angles_len();
        let mut angles = vec![0.0; rows * width];
        for (position, angles) in angles.chunks_exact_mut(width).enumerate() {
            config.rope.angles(position, angles);
        }
        let theirs = differences(&qkv, 1e-2, |qkv| {
            dot(&Heads::of(model, layer, &angles, qkv).attend(model), &d)
        });
        let ours = Heads::of(model, layer, &angles, &qkv).attend_backward(model, layer, &qkv, &d);
        assert_near(name, &ours, &theirs);
    }
}

#[test]
fn the_gradient_of_the_whole_model_equals_finite_differences() {
    for (name, model) in models() {
        let engine = engine(&model, 2);
        let targets = targets(&engine);
        let width = engine.info.hidden_size;
        let rows = numbers(11 * width, 13);
        let ours = gradient(&engine, &rows, &targets);
        let theirs = differences(&rows[..3 * width], 4e-3, |learned| {
            let mut rows = rows.clone();
            rows[..learned.len()].copy_from_slice(learned);
            let mut pass = pass(&engine, &rows, &targets);
            while !matches!(pass.stage, Stage::Backward(_)) {
                pass.step(&engine.model);
            }
            pass.loss
        });
        assert_near(name, &ours.rows, &theirs);
    }
}

#[test]
fn a_gradient_is_the_same_bits_on_any_number_of_threads() {
    for (name, model) in models() {
        let bits = |threads| {
            let engine = engine(&model, threads);
            let found = gradient(&engine, &numbers(23 * engine.info.hidden_size, 14), &targets(&engine));
            let rows: Vec<u32> = found.rows.iter().map(|value| value.to_bits()).collect();
            (found.loss.to_bits(), rows)
        };
        let expected = bits(1);
        assert!(expected == bits(2) && expected == bits(3), "{name}");
    }
}

#[test]
fn a_pass_takes_no_more_memory_than_stated() {
    let engine = engine(&TinyModel::qwen2(), 1);
    let rows = 40;
    let targets = targets(&engine);
    let mut pass = pass(&engine, &numbers(rows * engine.info.hidden_size, 15), &targets);
    let stated = pass_bytes(&engine.model.config, engine.info.vocab_size, rows, targets.len());
    while !matches!(pass.stage, Stage::Loss) {
        pass.step(&engine.model);
    }
    let layer_floats =
        |layer: &LayerActivations| layer.x.len() + layer.qkv.len() + layer.middle.len() + layer.gate_up.len();
    let floats =
        pass.x.len() + pass.angles.len() + pass.logits.len() + pass.activations.iter().map(layer_floats).sum::<usize>();
    assert!(
        (floats * 4..floats * 16).contains(&stated),
        "{} of {stated}",
        floats * 4
    );
}

#[test]
fn examples_without_targets_and_with_too_many_rows_are_refused() {
    let mut engine = engine(&TinyModel::llama(), 1);
    let width = engine.info.hidden_size;
    let example = |values: usize, learned, targets: Vec<Target>| Example {
        rows: vec![bf16::ZERO; values],
        learned,
        targets,
        weight: 1.0,
    };
    let token = || vec![Target::Token(1)];
    for (example, sentence) in [
        (example(0, 0, token()), "not a whole number of embedding rows"),
        (example(width + 1, 1, token()), "not a whole number of embedding rows"),
        (example(width * 600, 1, token()), "do not fit into the model's window"),
        (example(width, 2, token()), "2 learned rows of 1"),
        (example(width, 1, vec![]), "0 targets"),
        (example(width, 1, vec![Target::Token(9999)]), "outside the vocabulary"),
        (
            example(width, 1, vec![Target::Logits(Arc::new([1.0]))]),
            "1 logits of 265",
        ),
    ] {
        let error = engine.begin_gradient(example).unwrap_err().to_string();
        assert!(error.contains(sentence), "{error}");
    }
    assert_eq!(engine.advance_gradient(), None, "nothing was begun");
}
