//! Whatever a model file holds: it is loaded and computes, or is refused with a sentence, without a panic, within bounds of memory.
//!
//! `SOFTPREFIX_TEST_INPUTS=100000 cargo test --release -p softprefix-unit --test hostile` looks for long.
#![cfg(feature = "cpu")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail")]

#[path = "../../core/tests/hostile/mutate.rs"]
mod mutate;

use std::path::Path;
use std::sync::atomic::AtomicBool;

use half::bf16;
use mutate::{each, files};
use serde_json::Map;
use softprefix_unit::engine::cpu::CpuOptions;
use softprefix_unit::engine::{Logits, Step};
use softprefix_unit::model::ModelSource as _;
use softprefix_unit::models::{ModelStore, Places};
use softprefix_unit::tokenizer::Special;

/// More than the samples' keys and tensor descriptions take; what follows are weights.
const HEAD: usize = 24 << 10;

#[test]
fn a_model_file_is_loaded_and_computes_or_is_refused() {
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/cases");
    let samples: Vec<Vec<u8>> = files(&cases, 1 << 20)
        .into_iter()
        .filter(|file| file.starts_with(b"GGUF"))
        .collect();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("one.gguf");
    each(&samples, HEAD, |input| {
        std::fs::write(&path, input).unwrap();
        let store = ModelStore::new(Places::only(folder.path().to_owned())).with_engine(CpuOptions {
            threads: Some(1),
            ..CpuOptions::default()
        });
        let mut model = match store.load("one", &Map::new(), &|_, _| ()) {
            Ok(model) => model,
            Err(error) => {
                assert!(!error.to_string().is_empty());
                return;
            }
        };
        let tokens = model.tokenizer.encode("Say hello.", Special::Parse).unwrap();
        let width = model.engine.embeddings().hidden_size();
        let mut rows = vec![bf16::ZERO; tokens.len().min(4) * width];
        for (token, row) in tokens.iter().zip(rows.chunks_exact_mut(width)) {
            model.engine.embeddings().row(*token, row).unwrap();
        }
        if rows.is_empty() {
            return;
        }
        let Ok(sequence) = model.engine.open(4) else { return };
        let stop = AtomicBool::new(false);
        let mut steps = [Step {
            sequence,
            rows: &rows,
            logits: Logits::Last,
            out: Vec::new(),
            stop: &stop,
        }];
        if let Err(error) = model.engine.forward(&mut steps) {
            assert!(!error.to_string().is_empty());
        }
        model.engine.close(sequence);
    });
}
