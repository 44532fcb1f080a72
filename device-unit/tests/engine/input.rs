//! What the GGUF reader takes, and what it refuses with a sentence: files that are empty, cut off, damaged, or not GGUF.

use std::path::Path;

use softprefix_unit::engine::gguf::file::{GgufFile, TensorKind};
use softprefix_unit::testing::TinyModel;

fn open(bytes: &[u8]) -> Result<GgufFile, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    std::fs::write(&path, bytes).unwrap();
    GgufFile::open(&path).map_err(|error| error.to_string())
}

#[test]
fn a_whole_file_gives_its_metadata_and_tensors() {
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
    assert_eq!(file.data(tensor).len(), 96 * 64 / 32 * 34);
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
fn a_truncated_file_is_refused_wherever_it_was_cut() {
    let bytes = TinyModel::llama().bytes();
    for cut in (4..bytes.len() - 32).step_by(997) {
        let sentence = open(&bytes[..cut]).err().unwrap();
        assert!(sentence.contains("truncated"), "cut at {cut}: {sentence}");
    }
}

#[test]
fn other_versions_and_byte_orders_are_named() {
    let mut bytes = TinyModel::qwen2().bytes();
    bytes[4..8].copy_from_slice(&1_u32.to_le_bytes());
    assert!(open(&bytes).err().unwrap().contains("version 1"));
    bytes[4..8].copy_from_slice(&3_u32.to_be_bytes());
    assert!(open(&bytes).err().unwrap().contains("big-endian"));
}
