//! The GGUF reader accepts valid files and refuses empty, truncated, damaged and other files with a message.

use std::path::Path;

use half::bf16;
use proptest::prelude::*;
use softprefix_unit::engine::cpu::{CpuEngine, CpuOptions};
use softprefix_unit::engine::{Engine, Logits};
use softprefix_unit::gguf::{GgufFile, TensorKind};
use softprefix_unit::testing::{Meta, Stored, TinyModel, TinyWeights};

use crate::harness::Bench;

fn open(bytes: &[u8]) -> Result<GgufFile, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    std::fs::write(&path, bytes).unwrap();
    GgufFile::open(&path).map_err(|error| error.to_string())
}

#[test]
fn a_valid_file_has_its_metadata_and_tensors() {
    let file = open(&TinyModel::qwen2().bytes()).unwrap();
    assert_eq!(file.str("general.architecture"), Some("qwen2"));
    assert_eq!(file.u32("qwen2.embedding_length"), Some(64));
    assert_eq!(file.f32("qwen2.rope.freq_base"), Some(10_000.0));
    assert_eq!(file.bool("tokenizer.ggml.add_bos_token"), Some(false));
    let tokens = file.strings("tokenizer.ggml.tokens").unwrap();
    assert_eq!(
        (tokens.len(), tokens.get(65), tokens.get(257)),
        (265, Some("A"), Some("<|im_start|>"))
    );
    assert_eq!(file.u32s("tokenizer.ggml.token_type").unwrap()[255..258], [1, 3, 3]);
    let tensor = file.tensor("blk.1.ffn_down.weight").unwrap();
    assert_eq!(
        (tensor.columns(), tensor.rows(), tensor.kind),
        (96, 64, TensorKind::Q8_0)
    );
    assert_eq!(file.read(tensor).unwrap().len(), 96 * 64 / 32 * 34);
}

#[test]
fn an_empty_file_is_refused() {
    assert!(open(b"").err().unwrap().contains("the file is empty"));
}

#[test]
fn a_file_that_is_not_gguf_is_refused() {
    let sentence = open(b"PK\x03\x04 this is a zip").err().unwrap();
    assert!(
        sentence.contains("not a GGUF file") && sentence.contains("model.gguf"),
        "{sentence}"
    );
}

#[test]
fn a_folder_is_refused() {
    assert!(GgufFile::open(Path::new("/")).is_err());
}

#[test]
fn a_missing_file_is_refused_with_its_name() {
    let sentence = GgufFile::open(Path::new("/nowhere/model.gguf"))
        .err()
        .unwrap()
        .to_string();
    assert!(sentence.contains("/nowhere/model.gguf"), "{sentence}");
}

#[test]
fn a_truncated_file_is_refused_at_any_length() {
    let bytes = TinyModel::llama().bytes();
    for cut in (4..bytes.len() - 32).step_by(997) {
        let sentence = open(&bytes[..cut]).err().unwrap();
        assert!(sentence.contains("truncated"), "cut at {cut}: {sentence}");
    }
}

#[test]
fn unsupported_versions_and_byte_orders_are_named() {
    let mut bytes = TinyModel::qwen2().bytes();
    bytes[4..8].copy_from_slice(&1_u32.to_le_bytes());
    assert!(open(&bytes).err().unwrap().contains("version 1"));
    bytes[4..8].copy_from_slice(&3_u32.to_be_bytes());
    assert!(open(&bytes).err().unwrap().contains("big-endian"));
}

/// Loads a file and, if that succeeds, runs it. A damaged file must lead to an error or to numbers, never to a panic.
fn load_and_run(bytes: &[u8]) -> Result<(), String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    std::fs::write(&path, bytes).unwrap();
    let options = CpuOptions {
        threads: Some(1),
        ..CpuOptions::default()
    };
    let mut engine = CpuEngine::load(&path, options, &|_, _| ()).map_err(|error| error.to_string())?;
    let (width, vocab) = (engine.info().hidden_size, engine.info().vocab_size);
    let sequence = engine.open(3.min(engine.info().window)).unwrap();
    let rows = vec![bf16::from_f32(0.5); width * 3.min(engine.info().window)];
    let logits = engine.feed(sequence, &rows, Logits::Last).unwrap();
    assert_eq!(logits.len(), vocab);
    Ok(())
}

#[test]
fn another_architecture_is_refused_by_name() {
    let model = TinyModel {
        architecture: "gpt2".into(),
        ..TinyModel::qwen2()
    };
    let sentence = load_and_run(&model.bytes()).unwrap_err();
    assert!(
        sentence.contains("gpt2") && sentence.contains("qwen2, qwen3 and llama"),
        "{sentence}"
    );
}

#[test]
fn a_missing_tensor_or_one_of_another_shape_is_named() {
    let deeper = TinyModel {
        keys: vec![("qwen2.block_count".into(), Some(Meta::U32(3)))],
        ..TinyModel::qwen2()
    };
    assert!(
        load_and_run(&deeper.bytes())
            .unwrap_err()
            .contains("blk.2.attn_norm.weight is missing")
    );
    let other = TinyModel {
        feed_forward: 128,
        ..TinyModel::qwen2()
    };
    let mut wrong = other.bytes();
    let key = b"qwen2.feed_forward_length";
    let at = wrong.windows(key.len()).position(|w| w == key).unwrap() + key.len() + 4;
    wrong[at..at + 4].copy_from_slice(&96_u32.to_le_bytes());
    assert!(load_and_run(&wrong).unwrap_err().contains("128"));
}

#[test]
fn metadata_that_contradicts_the_tensors_is_refused() {
    let model = TinyModel {
        keys: vec![("llama.attention.head_count_kv".into(), None)],
        ..TinyModel::llama()
    };
    // Without a number of key heads, the number of query heads is used, which contradicts the tensors.
    assert!(load_and_run(&model.bytes()).unwrap_err().contains("attn_k"));
}

#[test]
fn all_stored_types_and_both_architectures_load_and_run() {
    for model in [TinyModel::qwen2(), TinyModel::llama()] {
        for weights in [TinyWeights::F32, TinyWeights::F16, TinyWeights::Q8_0, TinyWeights::Q4_1] {
            load_and_run(
                &TinyModel {
                    weights,
                    own_output: weights == TinyWeights::F16,
                    ..model.clone()
                }
                .bytes(),
            )
            .unwrap();
        }
    }
}

/// A model with rows of the length of a K block.
fn wide(weights: TinyWeights) -> Vec<u8> {
    TinyModel {
        hidden_size: 256,
        feed_forward: 256,
        weights,
        ..TinyModel::qwen2()
    }
    .bytes()
}

#[test]
fn a_model_gives_the_same_logits_with_weights_stored_as_blocks_or_as_the_floats_they_represent() {
    let logits = |bytes: &[u8]| -> Vec<f32> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.gguf");
        std::fs::write(&path, bytes).unwrap();
        let mut bench = Bench::new(&path, 1, None);
        let rows = bench.rows(&[116, 104, 101, 32, 115, 101, 97, 46]);
        bench.logits(&rows).pop().unwrap()
    };
    let rms = |values: &mut dyn Iterator<Item = f32>| {
        let squares: Vec<f32> = values.map(|value| value * value).collect();
        (squares.iter().sum::<f32>() / squares.len() as f32).sqrt()
    };
    let blocks = Stored::ALL.map(|stored| (TinyWeights::Blocks(stored), TinyWeights::BlocksAsF32(stored)));
    for (stored, numbers) in blocks.into_iter().chain([(TinyWeights::Bf16, TinyWeights::F32)]) {
        let (ours, expected) = (logits(&wide(stored)), logits(&wide(numbers)));
        let apart = rms(&mut ours.iter().zip(&expected).map(|(a, b)| a - b));
        let size = rms(&mut expected.iter().copied());
        assert!(size > 1e-3, "{stored:?}: a model that says nothing proves nothing");
        assert!(apart < 0.05 * size, "{stored:?}: {apart} of {size}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_damaged_file_never_makes_the_engine_panic(
        llama in any::<bool>(),
        places in prop::collection::vec((0.0..1.0_f64, any::<bool>(), damage()), 1..6),
        keep in prop::option::weighted(0.2, 0.0..1.0_f64),
    ) {
        let mut bytes = if llama { TinyModel::llama() } else { TinyModel::qwen2() }.bytes();
        // Most changes are made in metadata and tensor infos.
        let header = bytes.len() - bytes.len() / 2;
        for (place, in_header, damage) in places {
            let end = if in_header { header.min(9000) } else { bytes.len() };
            let at = (place * (end - damage.len()) as f64) as usize;
            bytes[at..at + damage.len()].copy_from_slice(&damage);
        }
        if let Some(keep) = keep {
            bytes.truncate((keep * bytes.len() as f64) as usize);
        }
        if let Err(sentence) = load_and_run(&bytes) {
            prop_assert!(sentence.contains("model.gguf"), "{sentence}");
        }
    }
}

/// Bytes to overwrite with: one byte, or an extreme integer.
fn damage() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        any::<u8>().prop_map(|byte| vec![byte]),
        prop_oneof![
            Just(0_u32),
            Just(1),
            Just(u32::MAX),
            Just(i32::MAX as u32),
            any::<u32>()
        ]
        .prop_map(|number| number.to_le_bytes().to_vec()),
        prop_oneof![
            Just(0_u64),
            Just(u64::MAX),
            Just(i64::MAX as u64),
            Just(1 << 40),
            Just(u64::MAX / 2 + 2)
        ]
        .prop_map(|number| number.to_le_bytes().to_vec()),
    ]
}
