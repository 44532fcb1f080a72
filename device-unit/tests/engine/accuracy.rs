//! Compares the engine's distributions with llama.cpp's, and with those of the file's weights in f32.

use std::path::Path;

use half::bf16;
use serde::Deserialize;
use softprefix_unit::gguf::GgufFile;
use softprefix_unit::testing::{qwen_model, small_model};

use crate::harness::Bench;
use crate::reference;

/// A text recorded by `fixtures/logits/make.py`.
#[derive(Deserialize)]
struct Fixture {
    tokens: Vec<u32>,
    prefix: Vec<f32>,
    /// Mean KL from the reference to llama.cpp with the file's own types, over the first 150 positions.
    native_kl: f64,
    positions: Vec<usize>,
    plain: Vec<Likeliest>,
    prefixed: Vec<Likeliest>,
}

/// The likeliest tokens after a position, with their log-probabilities.
#[derive(Deserialize)]
struct Likeliest {
    tokens: Vec<u32>,
    logprobs: Vec<f64>,
}

fn small() -> Fixture {
    serde_json::from_str(include_str!("../fixtures/logits/smollm2.json")).unwrap()
}

fn qwen() -> Fixture {
    serde_json::from_str(include_str!("../fixtures/logits/qwen.json")).unwrap()
}

/// KL(reference || ours) in nats; tokens that the reference does not list are counted as one.
fn kl_to_listed(listed: &Likeliest, logits: &[f32]) -> f64 {
    let ours = reference::log_softmax(logits);
    let (mut kl, mut left, mut ours_left) = (0.0, 1.0, 1.0);
    for (&token, logprob) in listed.tokens.iter().zip(&listed.logprobs) {
        kl += logprob.exp() * (logprob - ours[token as usize]);
        left -= logprob.exp();
        ours_left -= ours[token as usize].exp();
    }
    if left > 0.0 && ours_left > 0.0 {
        kl + left * (left / ours_left).ln()
    } else {
        kl
    }
}

fn assert_near_llama_cpp(path: &Path, fixture: &Fixture) {
    let mut bench = Bench::new(path, 2, None);
    let text = bench.rows(&fixture.tokens);
    let mut prefixed = Vec::new();
    for value in &fixture.prefix {
        prefixed.extend(vec![bf16::from_f32(*value); bench.hidden_size()]);
    }
    prefixed.extend(&text);
    for (rows, shift, reference) in [
        (&text, 0, &fixture.plain),
        (&prefixed, fixture.prefix.len(), &fixture.prefixed),
    ] {
        let logits = bench.logits(rows);
        let mut sum = 0.0;
        assert!(fixture.positions.len() >= 20);
        for (position, reference) in fixture.positions.iter().zip(reference) {
            let kl = kl_to_listed(reference, &logits[position + shift]);
            println!("position {position}, {shift} rows in front: {kl:.5} nat");
            assert!(kl < 0.01, "{kl} nat at position {position} behind {shift} rows");
            sum += kl;
        }
        println!("mean {:.5} nat", sum / fixture.positions.len() as f64);
    }
}

#[test]
fn smollm2_is_within_a_hundredth_of_a_nat_of_llama_cpp() {
    assert_near_llama_cpp(&small_model(), &small());
}

#[test]
fn qwen_is_within_a_hundredth_of_a_nat_of_llama_cpp() {
    if let Some(path) = qwen_model() {
        assert_near_llama_cpp(&path, &qwen());
    }
}

/// Mean KL(f32 || ours) over 150 positions.
fn mean_kl_to_f32(path: &Path, fixture: &Fixture) -> f64 {
    let mut bench = Bench::new(path, 2, None);
    let rows = bench.rows(&fixture.tokens[..150]);
    let exact = reference::logits(&GgufFile::open(path).unwrap(), &rows).unwrap();
    let ours = bench.logits(&rows);
    let sum: f64 = exact
        .iter()
        .zip(&ours)
        .map(|(exact, ours)| reference::kl(exact, ours))
        .sum();
    println!("mean KL to f32 {:.6}", sum / 150.0);
    sum / 150.0
}

fn assert_near_f32(path: &Path, fixture: &Fixture, limit: f64) {
    let kl = mean_kl_to_f32(path, fixture);
    assert!(kl <= limit, "{kl} nat on average");
    assert!(
        kl <= fixture.native_kl + 0.0005,
        "{kl} nat, where the file's own types cost {}",
        fixture.native_kl
    );
}

#[test]
fn smollm2_stays_near_its_own_weights_in_f32() {
    assert_near_f32(&small_model(), &small(), 0.005);
}

#[test]
fn qwen_stays_near_its_own_weights_in_f32() {
    if let Some(path) = qwen_model() {
        assert_near_f32(&path, &qwen(), 0.001);
    }
}
