//! Checks that cases have the same bits alone and in a batch, and measures how far a model's distributions are from those of the file's
//! weights in f32.

use std::path::Path;

use serde::Deserialize;
use softprefix_unit::engine::cpu::{CpuEngine, CpuOptions};
use softprefix_unit::engine::{Engine, Logits};
use softprefix_unit::gguf::GgufFile;

use crate::{CASES, Cases, reference};

/// Number of positions that are compared.
const POSITIONS: usize = 150;

/// The accuracy of one model.
pub struct Accuracy {
    /// Number of [`CASES`] cases whose logits of all steps are the same bits alone and in a batch.
    pub equal: usize,
    pub kl: Option<Divergence>,
}

/// Mean KL to the file's weights in f32, in nats, over the first positions of a stored text.
pub struct Divergence {
    pub ours: f64,
    /// The same for llama.cpp with the file's own types, as recorded with the text.
    pub llama_cpp: f64,
}

/// A text recorded by `tests/fixtures/logits/make.py`.
#[derive(Deserialize)]
struct Text {
    tokens: Vec<u32>,
    native_kl: f64,
}

/// Measures a model. Takes a minute, mostly for the f32 reference.
///
/// # Errors
/// Errors of loading or of a step.
pub fn measure(path: &Path, threads: Option<usize>, prompt: usize, tokens: usize) -> anyhow::Result<Accuracy> {
    let options = CpuOptions {
        threads,
        ..CpuOptions::default()
    };
    let mut engine = CpuEngine::load(path, options, &|_, _| {})?;
    let mut bits = |numbers: std::ops::Range<usize>| -> anyhow::Result<Vec<u64>> {
        let mut cases = Cases::open(&mut engine, numbers, prompt, tokens)?;
        let mut sums = vec![0; cases.logits.len()];
        for _ in 0..tokens {
            cases.step(&mut engine)?;
            for (sum, logits) in sums.iter_mut().zip(&cases.logits) {
                *sum = logits.iter().fold(*sum, add_bits);
            }
        }
        cases.close(&mut engine);
        Ok(sums)
    };
    let together = bits(0..CASES)?;
    let mut equal = 0;
    for (number, together) in together.into_iter().enumerate() {
        equal += usize::from(bits(number..number + 1)? == [together]);
    }
    let kl = match text_for(path)? {
        Some(text) => Some(Divergence {
            ours: mean_kl_to_f32(path, &mut engine, &text.tokens)?,
            llama_cpp: text.native_kl,
        }),
        None => None,
    };
    Ok(Accuracy { equal, kl })
}

/// Adds a logit to a checksum of all bits (FNV-1a by words).
fn add_bits(sum: u64, logit: &f32) -> u64 {
    (sum ^ u64::from(logit.to_bits())).wrapping_mul(0x0100_0000_01b3)
}

fn text_for(path: &Path) -> anyhow::Result<Option<Text>> {
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    let kept = if name.contains("qwen2.5-coder-0.5b") {
        include_str!("../../../tests/fixtures/logits/qwen.json")
    } else if name.contains("smollm2-135m") {
        include_str!("../../../tests/fixtures/logits/smollm2.json")
    } else {
        return Ok(None);
    };
    Ok(Some(serde_json::from_str(kept)?))
}

fn mean_kl_to_f32(path: &Path, engine: &mut CpuEngine, tokens: &[u32]) -> anyhow::Result<f64> {
    let tokens = &tokens[..POSITIONS.min(tokens.len())];
    let rows = engine.embeddings().rows(tokens)?;
    let sequence = engine.open(tokens.len())?;
    let logits = engine.feed(sequence, &rows, Logits::All)?;
    engine.close(sequence);
    let exact = reference::logits(&GgufFile::open(path)?, &rows)?;
    let ours = logits.chunks_exact(engine.info().vocab_size);
    let sum: f64 = exact
        .iter()
        .zip(ours)
        .map(|(exact, ours)| reference::kl(exact, ours))
        .sum();
    Ok(sum / tokens.len() as f64)
}
