//! Compares the gradient of a loss with respect to learned rows with an independent framework's, on the same small weights.

use std::path::Path;
use std::sync::Arc;

use half::bf16;
use serde::Deserialize;
use softprefix_unit::engine::Engine as _;
use softprefix_unit::engine::cpu::{CpuEngine, CpuOptions};
use softprefix_unit::engine::gradient::{Example, Gradient, Target};

/// An example recorded by `fixtures/gradient/make.py` with jax.
#[derive(Deserialize)]
struct Case {
    model: String,
    text: Vec<u32>,
    wanted: Vec<u32>,
    learned: Vec<f32>,
    base: Vec<f32>,
    loss: f64,
    gradient: Vec<f64>,
}

impl Case {
    fn all() -> Vec<Self> {
        serde_json::from_str(include_str!("../fixtures/gradient/gradients.json")).unwrap()
    }

    fn gradient(&self) -> Gradient {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/fixtures/forward/{}.gguf", self.model));
        let mut engine = CpuEngine::load(&path, CpuOptions::default(), &|_, _| ()).unwrap();
        let mut rows: Vec<bf16> = self.learned.iter().map(|value| bf16::from_f32(*value)).collect();
        let mut row = vec![bf16::ZERO; engine.info().hidden_size];
        let learned = rows.len() / row.len();
        for &token in &self.text {
            engine.embeddings().row(token, &mut row).unwrap();
            rows.extend(&row);
        }
        let wanted = self.wanted.iter().map(|&token| Target::Token(token));
        let base: Arc<[f32]> = self.base.clone().into();
        let engine = engine.differentiable().unwrap();
        engine
            .begin_gradient(Example {
                rows,
                learned,
                targets: wanted.chain([Target::Logits(base)]).collect(),
                weight: 1.0,
            })
            .unwrap();
        loop {
            if let Some(gradient) = engine.advance_gradient() {
                return gradient;
            }
        }
    }
}

#[test]
fn gradients_equal_those_of_jax_on_the_same_weights() {
    for case in Case::all() {
        let ours = case.gradient();
        let length = |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>().sqrt();
        let apart = ours
            .rows
            .iter()
            .zip(&case.gradient)
            .map(|(ours, theirs)| f64::from(*ours) - theirs);
        let distance = length(&mut apart.into_iter()) / length(&mut case.gradient.iter().copied());
        println!(
            "{}: loss {} and {}, gradients {distance:.1e} apart",
            case.model, ours.loss, case.loss
        );
        assert!((ours.loss - case.loss).abs() <= 1e-4 * case.loss, "{}", case.model);
        assert!(distance <= 1e-3, "{}: {distance}", case.model);
        assert_eq!(ours.rows.len(), case.gradient.len());
    }
}
