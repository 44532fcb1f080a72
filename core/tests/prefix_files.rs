//! Prefixes in files: what the real libraries write is read value by value, what is no soft prefix is refused with the reason, and
//! damaged files do no harm. The files were made by `fixtures/prefix/make_fixtures.py`.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use half::bf16;
use proptest::prelude::*;
use softprefix_core::prefix::files::{
    FileError, Format, Imported, Stored, export_npy, export_peft, export_safetensors, import, import_bytes,
};
use softprefix_core::prefix::{
    FoundBy, Magnitude, Origin, PrefixError, PrefixKind, PrefixStore, PrefixStoreError, Rounding, SearchOrigin,
    SoftPrefix,
};

const P: usize = 3;
const H: usize = 8;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/prefix")
        .join(name)
}

fn open(name: &str) -> Result<Imported, FileError> {
    import(&fixture(name), Some(H), Rounding::NearestEven)
}

fn refused(name: &str) -> FileError {
    open(name).unwrap_err()
}

fn some_prefix() -> SoftPrefix {
    let values = (0..P * H).map(|i| bf16::from_f32(i as f32 / 7.0 - 1.5)).collect();
    SoftPrefix::from_bf16(H, values).unwrap()
}

#[test]
fn every_file_format_gives_the_values_that_numpy_reads() {
    let expected: BTreeMap<String, Vec<u16>> =
        serde_json::from_slice(&std::fs::read(fixture("expected.json")).unwrap()).unwrap();
    assert_eq!(expected.len(), 18);
    for (name, bits) in expected {
        let imported = open(&name).unwrap_or_else(|error| panic!("{name}: {error}"));
        let found: Vec<u16> = imported.prefix.values().iter().map(|value| value.to_bits()).collect();
        assert_eq!(found, bits, "{name}");
        assert_eq!((imported.prefix.len(), imported.prefix.hidden_size()), (P, H), "{name}");
        assert_eq!(imported.exact, imported.stored == Stored::Bf16, "{name}");
    }
}

#[test]
fn the_metadata_of_a_file_is_read_with_it() {
    let adapter = open("peft_prompt_tuning").unwrap();
    assert_eq!((adapter.format, adapter.stored), (Format::Peft, Stored::F32));
    assert_eq!(adapter.name, "peft_prompt_tuning");
    assert_eq!(adapter.base_model.as_deref(), Some("Qwen/Qwen2.5-0.5B-Instruct"));
    for inside in ["adapter_config.json", "adapter_model.safetensors"] {
        let chosen = open(&format!("peft_prompt_tuning/{inside}")).unwrap();
        assert_eq!(chosen, adapter, "choosing {inside} is choosing its folder");
    }
    let shanties = open("kobold_lzma.zip").unwrap();
    assert_eq!(
        (shanties.format, shanties.name.as_str()),
        (Format::Kobold, "Sea shanties")
    );
    assert_eq!(shanties.base_model.as_deref(), Some("gpt-j-6B"));
    assert_eq!(open("v2.npy").unwrap().name, "v2");
}

#[test]
fn the_same_rows_are_read_from_every_layout_in_which_people_save_them() {
    // Also beside an embedding table, with one axis more, in an archive, in a folder of their own, and beside a byte order mark, NaN
    // or another table.
    for name in [
        "f32.npy",
        "3d.npy",
        "savez-named.npz",
        "k-bom.zip",
        "k-nan.zip",
        "peft-bom",
        "peft-embed-small",
        "peft-parent",
        "3d-and-other.safetensors",
    ] {
        let imported = import(&fixture("cases").join(name), Some(64), Rounding::NearestEven)
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(imported.prefix.sha256().starts_with("5b89ec5f"), "{name}");
        assert_eq!(imported.prefix.len(), 4, "{name}");
    }
    let row = import(&fixture("cases/1d.npy"), Some(64), Rounding::NearestEven).unwrap();
    assert_eq!((row.prefix.len(), row.prefix.hidden_size()), (1, 64));
    assert_eq!(open("one_dimension.npy").unwrap().prefix.len(), 1);
    let inside = import(&fixture("cases/peft-parent"), Some(64), Rounding::NearestEven).unwrap();
    assert_eq!((inside.name.as_str(), inside.format), ("my_prompt", Format::Peft));
    let archive = import(&fixture("cases/savez-named.npz"), Some(64), Rounding::NearestEven).unwrap();
    assert_eq!(archive.format, Format::Npy);
}

#[test]
fn an_unpaired_surrogate_in_a_field_that_does_not_matter_does_no_harm() {
    let folder = tempfile::tempdir().unwrap();
    let config = r#"{"peft_type": "PROMPT_TUNING", "num_virtual_tokens": 1, "prompt_tuning_init_text": "\udce3 sea"}"#;
    std::fs::write(folder.path().join("adapter_config.json"), config).unwrap();
    let named =
        r#"{"__metadata__":{"by":"\ud800"},"prompt_embeddings":{"dtype":"F32","shape":[1,8],"data_offsets":[0,32]}}"#;
    let unnamed = r#"{"__metadata__":{"by \udce3":"me"},"\ud83c":{"dtype":"F32","shape":[1,8],"data_offsets":[0,32]}}"#;
    for header in [named, unnamed] {
        let alone = folder.path().join("alone.safetensors");
        tensors_file(&alone, header, 32, 0, &[]);
        let imported = import(&alone, Some(H), Rounding::NearestEven).unwrap();
        assert_eq!(imported.prefix.len(), 1);
    }
    tensors_file(&folder.path().join("adapter_model.safetensors"), named, 32, 0, &[]);
    assert_eq!(
        import(folder.path(), Some(H), Rounding::NearestEven)
            .unwrap()
            .prefix
            .len(),
        1
    );
}

#[test]
fn an_adapter_without_prompt_embeddings_is_refused_with_the_names_of_its_tensors() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(
        folder.path().join("adapter_config.json"),
        r#"{"peft_type": "PROMPT_TUNING"}"#,
    )
    .unwrap();
    let header = r#"{"lm_head.weight":{"dtype":"F32","shape":[1,8],"data_offsets":[0,32]}}"#;
    tensors_file(&folder.path().join("adapter_model.safetensors"), header, 32, 0, &[]);
    let error = import(folder.path(), Some(H), Rounding::NearestEven)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("no tensor named prompt_embeddings, only \"lm_head.weight\""),
        "{error}"
    );
}

/// A safetensors file with this header and this many bytes of data, of which only the last are written.
fn tensors_file(path: &Path, header: &str, data: u64, at: u64, bytes: &[u8]) {
    use std::io::{Seek, SeekFrom, Write};
    let mut file = std::fs::File::create(path).unwrap();
    file.write_all(&(header.len() as u64).to_le_bytes()).unwrap();
    file.write_all(header.as_bytes()).unwrap();
    let start = 8 + header.len() as u64;
    file.set_len(start + data).unwrap();
    file.seek(SeekFrom::Start(start + at)).unwrap();
    file.write_all(bytes).unwrap();
}

#[test]
fn an_adapter_saved_with_a_large_embedding_table_is_read_without_the_table() {
    let folder = tempfile::tempdir().unwrap();
    let config = r#"{"peft_type": "PROMPT_TUNING", "num_virtual_tokens": 1, "token_dim": 8}"#;
    std::fs::write(folder.path().join("adapter_config.json"), config).unwrap();
    // One gigabyte of zeros, of which the disk keeps none.
    let table = 1_u64 << 30;
    let header = format!(
        r#"{{"embed.weight":{{"dtype":"F32","shape":[{},8],"data_offsets":[0,{table}]}},"prompt_embeddings":{{"dtype":"F32","shape":[1,8],"data_offsets":[{table},{}]}}}}"#,
        table / 32,
        table + 32
    );
    let values: Vec<u8> = [0.5_f32; 8].into_iter().flat_map(f32::to_le_bytes).collect();
    tensors_file(
        &folder.path().join("adapter_model.safetensors"),
        &header,
        table + 32,
        table,
        &values,
    );
    let imported = import(folder.path(), Some(8), Rounding::NearestEven).unwrap();
    assert!(imported.prefix.values().iter().all(|value| value.to_f32() == 0.5));

    // Also without its configuration; a model without such a tensor is too large.
    let alone = folder.path().join("alone.safetensors");
    std::fs::rename(folder.path().join("adapter_model.safetensors"), &alone).unwrap();
    let without_folder = import(&alone, Some(8), Rounding::NearestEven).unwrap();
    assert_eq!(without_folder.prefix, imported.prefix);
    assert_eq!(
        (without_folder.name.as_str(), without_folder.format),
        ("alone", Format::Safetensors)
    );
    let header = header.replace("prompt_embeddings", "lm_head.weight");
    tensors_file(&alone, &header, table + 32, table, &values);
    let error = import(&alone, Some(8), Rounding::NearestEven).unwrap_err();
    assert!(matches!(error, FileError::TooLarge { .. }), "{error}");
}

#[test]
fn a_named_tensor_that_is_no_table_is_refused_and_no_other_is_taken() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("two.safetensors");
    let header = r#"{"other":{"dtype":"F32","shape":[1,8],"data_offsets":[0,32]},"prompt_embeddings":{"dtype":"F32","shape":[2,2,8],"data_offsets":[32,160]}}"#;
    tensors_file(&path, header, 160, 0, &[]);
    let error = import(&path, Some(8), Rounding::NearestEven).unwrap_err();
    assert!(error.to_string().contains("[2, 2, 8]"), "{error}");
}

#[test]
fn a_folder_of_several_adapters_is_refused_with_their_names() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["a", "b"] {
        export_peft(&some_prefix(), &folder.path().join(name), None, None).unwrap();
    }
    let error = import(folder.path(), None, Rounding::NearestEven)
        .unwrap_err()
        .to_string();
    assert!(error.contains("(a, b"), "{error}");
}

#[test]
fn an_adapter_inside_a_folder_is_taken_only_if_nothing_else_can_be_meant() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let read = || import(folder.path(), None, Rounding::NearestEven);
    export_peft(&some_prefix(), &at("checkpoint-100"), None, None).unwrap();
    std::fs::create_dir(at(".git")).unwrap();
    assert_eq!(read().unwrap().name, "checkpoint-100");
    std::fs::create_dir(at("merged")).unwrap();
    let error = read().unwrap_err();
    assert!(matches!(error, FileError::NotPeft { .. }), "{error}");
    std::fs::remove_dir(at("merged")).unwrap();
    let own = at("adapter_model.safetensors");
    std::fs::copy(at("checkpoint-100/adapter_model.safetensors"), &own).unwrap();
    let error = read().unwrap_err().to_string();
    assert!(error.contains("has no adapter_config.json"), "{error}");
}

/// An array of so many rows of 8 columns.
fn array(kind: &str, rows: usize, bytes: &[u8]) -> Vec<u8> {
    let header = format!("{{'descr': '{kind}', 'fortran_order': False, 'shape': ({rows}, {H})}}");
    let length = (header.len() as u16).to_le_bytes();
    [b"\x93NUMPY\x01\0", &length[..], header.as_bytes(), bytes].concat()
}

#[test]
fn words_of_sixteen_bits_are_read_only_where_their_values_show_that_they_are_the_bits_of_bf16() {
    let values = || (0..10 * H).map(|i| ((i * 37 % 80) as f32 - 39.5) / 400.0);
    let read = |kind: &str, words: Vec<u16>| {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        import_bytes(
            "words.npy",
            &array(kind, words.len() / H, &bytes),
            Some(H),
            Rounding::NearestEven,
        )
    };
    let bits: Vec<u16> = values().map(|value| bf16::from_f32(value).to_bits()).collect();
    let imported = read("<u2", bits.clone()).unwrap();
    assert!(
        imported
            .prefix
            .values()
            .iter()
            .map(|value| value.to_bits())
            .eq(bits.clone())
    );
    // Also swapped, and beside zeros.
    assert!(read(">u2", bits.iter().map(|word| word.swap_bytes()).collect()).is_ok());
    assert!(read("<u2", bits.into_iter().chain([0; 2 * H]).collect()).is_ok());
    assert!(read("<u2", vec![0; H]).is_ok());
    let halves = |value: &dyn Fn(u16) -> f32| -> Vec<u16> {
        let values = (0..10 * H as u16).map(value);
        values.map(|value| half::f16::from_f32(value).to_bits()).collect()
    };
    let sign = |i: u16| if i.is_multiple_of(3) { -1.0 } else { 1.0 };
    let share = |i: u16| f32::from(i * 37 % 80) / 80.0;
    let wholes = |value: &dyn Fn(u16) -> u16| -> Vec<u16> { (0..10 * H as u16).map(value).collect() };
    for (what, words) in [
        ("small f16", halves(&|i| (share(i) - 0.5) / 5.0)),
        ("the constant 0.5 in f16", halves(&|_| 0.5)),
        ("1 and -1 in f16", halves(&sign)),
        ("0.5 to 1 in f16", halves(&|i| sign(i) * (0.5 + share(i) / 2.0))),
        ("counts", wholes(&|i| i)),
        ("tokens", wholes(&|i| i.wrapping_mul(40_503))),
        ("13000 to 14400", wholes(&|i| 13_000 + i * 37 % 80 * 18)),
        ("60000 and above", wholes(&|i| 60_000 + i)),
        ("a constant in bf16 or f16", vec![bf16::ONE.to_bits(); 10 * H]),
    ] {
        let error = read("<u2", words).unwrap_err();
        assert!(matches!(&error, FileError::UnclearWords { .. }), "{what}: {error}");
        assert!(
            error.to_string().contains("(words.astype('u4') << 16).view('f4')"),
            "{error}"
        );
    }
}

#[test]
fn a_table_of_h_rows_is_to_be_transposed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("transposed.npy");
    export_npy(
        &SoftPrefix::from_bf16(P, some_prefix().values().to_vec()).unwrap(),
        &path,
    )
    .unwrap();
    let error = import(&path, Some(H), Rounding::NearestEven).unwrap_err();
    assert!(
        matches!(
            error,
            FileError::Transposed {
                width: P,
                hidden_size: H,
                ..
            }
        ),
        "{error}"
    );
    assert!(error.to_string().contains("`table.T`"), "{error}");
}

#[test]
fn a_header_that_promises_more_than_a_file_has_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let config = r#"{"peft_type": "PROMPT_TUNING"}"#;
    std::fs::write(folder.path().join("adapter_config.json"), config).unwrap();
    let weights = folder.path().join("adapter_model.safetensors");
    for bytes in [
        &b"\xff\xff\xff\xff\xff\xff\xff\x7f{}"[..],
        b"\x02\0\0\0\0\0\0\0{",
        b"\0",
        b"\x5c\0\0\0\0\0\0\0{\"prompt_embeddings\":{\"dtype\":\"F32\",\"shape\":[1,8000000],\"data_offsets\":[0,32000000]}}     ",
    ] {
        std::fs::write(&weights, bytes).unwrap();
        assert!(import(folder.path(), None, Rounding::NearestEven).is_err());
    }
}

#[test]
fn rows_of_another_width_are_refused_with_both_widths() {
    for name in ["f32.npy", "f32.safetensors", "peft_prompt_tuning", "kobold_lzma.zip"] {
        let error = import(&fixture(name), Some(896), Rounding::NearestEven).unwrap_err();
        assert!(
            matches!(
                error,
                FileError::WrongWidth {
                    width: H,
                    hidden_size: 896,
                    ..
                }
            ),
            "{error}"
        );
        let sentence = error.to_string();
        assert!(
            sentence.contains("hidden size of 8") && sentence.contains("896"),
            "{sentence}"
        );
        assert!(
            import(&fixture(name), None, Rounding::NearestEven).is_ok(),
            "any width is welcome where none is named"
        );
    }
}

#[test]
fn a_width_that_a_larger_model_has_is_not_taken_for_prefix_tuning() {
    let folder = tempfile::tempdir().unwrap();
    for (width, hidden_size) in [(3584, 896), (2048, 1024), (4096, 1024), (5120, 576)] {
        let path = folder.path().join("larger.npy");
        export_npy(&SoftPrefix::from_bf16(width, vec![bf16::ONE; width]).unwrap(), &path).unwrap();
        let error = import(&path, Some(hidden_size), Rounding::NearestEven).unwrap_err();
        assert!(matches!(error, FileError::WrongWidth { .. }), "{error}");
    }
}

#[test]
fn prefix_tuning_is_refused_by_its_type_and_by_its_width() {
    let by_type = refused("peft_prefix_tuning").to_string();
    assert!(
        by_type.contains("PREFIX_TUNING") && by_type.contains("every layer"),
        "{by_type}"
    );
    let by_config = refused("peft_says_prompt_is_prefix").to_string();
    assert!(by_config.contains("24 layers x 2 x token_dim 8"), "{by_config}");
    let by_width = refused("prefix_tuning_width.safetensors");
    assert!(matches!(by_width, FileError::PrefixTuning { .. }), "{by_width}");
    assert!(by_width.to_string().contains("384 values"), "{by_width}");
}

#[test]
fn adapters_that_are_no_rows_of_embeddings_are_refused() {
    assert!(matches!(refused("peft_lora"), FileError::OtherAdapter { peft_type, .. } if peft_type == "LORA"));
    assert!(matches!(
        refused("peft_encoder_decoder"),
        FileError::EncoderDecoder { submodules: 2, .. }
    ));
    let rows = refused("peft_wrong_rows").to_string();
    assert!(rows.contains("20 rows") && rows.contains("has 3"), "{rows}");
    assert!(matches!(
        refused("peft_no_weights"),
        FileError::NotPeft {
            missing: "adapter_model.safetensors",
            ..
        }
    ));
    let folder = tempfile::tempdir().unwrap();
    // The numbers of a configuration are read however Python wrote them, and none is passed over.
    for (name, number, refusal) in [
        ("num_virtual_tokens", "3.0", None),
        ("num_virtual_tokens", "5.0", Some("5 rows")),
        (
            "num_virtual_tokens",
            "\"3\"",
            Some("num_virtual_tokens is no whole number"),
        ),
        (
            "num_virtual_tokens",
            "-3",
            Some("num_virtual_tokens is no whole number"),
        ),
        ("token_dim", "[8]", Some("token_dim is no whole number")),
        ("num_transformer_submodules", "2.0", Some("2 parts")),
    ] {
        let config = format!(r#"{{"peft_type": "PROMPT_TUNING", "{name}": {number}}}"#);
        std::fs::write(folder.path().join("adapter_config.json"), config).unwrap();
        let weights = "adapter_model.safetensors";
        std::fs::copy(fixture("peft_prompt_tuning").join(weights), folder.path().join(weights)).unwrap();
        let error = import(folder.path(), None, Rounding::NearestEven)
            .err()
            .map(|error| error.to_string());
        match (error, refusal) {
            (Some(error), Some(part)) => assert!(error.contains(part), "{error}"),
            (error, refusal) => assert_eq!(error.as_deref(), refusal, "{name} = {number}"),
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let empty = import(folder.path(), None, Rounding::NearestEven).unwrap_err();
    assert!(matches!(
        empty,
        FileError::NotPeft {
            missing: "adapter_config.json",
            ..
        }
    ));
}

#[test]
fn adapters_that_change_more_than_rows_or_answer_with_something_else_than_text_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let weights = "adapter_model.safetensors";
    std::fs::copy(fixture("peft_prompt_tuning").join(weights), folder.path().join(weights)).unwrap();
    for (key, value, refusal) in [
        ("modules_to_save", "null", None),
        ("modules_to_save", "[]", None),
        (
            "modules_to_save",
            r#"["lm_head", "score"]"#,
            Some("(modules_to_save: lm_head, score)"),
        ),
        ("modules_to_save", r#""lm_head""#, Some("(modules_to_save: lm_head)")),
        ("modules_to_save", "5", Some("modules_to_save is no list of names")),
        ("task_type", "null", None),
        ("task_type", r#""CAUSAL_LM""#, None),
        ("task_type", r#""SEQ_CLS""#, Some("the task SEQ_CLS")),
        ("task_type", "5", Some("task_type is no text")),
    ] {
        let config = format!(r#"{{"peft_type": "PROMPT_TUNING", "{key}": {value}}}"#);
        std::fs::write(folder.path().join("adapter_config.json"), config).unwrap();
        let error = import(folder.path(), None, Rounding::NearestEven)
            .err()
            .map(|error| error.to_string());
        match (error, refusal) {
            (Some(error), Some(part)) => assert!(error.contains(part), "{error}"),
            (error, refusal) => assert_eq!(error.as_deref(), refusal, "{key} = {value}"),
        }
    }
    let config = r#"{"peft_type": "CPT"}"#;
    std::fs::write(folder.path().join("adapter_config.json"), config).unwrap();
    let error = import(folder.path(), None, Rounding::NearestEven)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("type CPT") && error.contains("nothing but the rows"),
        "{error}"
    );
}

#[test]
fn a_folder_cloned_without_its_weights_is_distinguished_from_a_damaged_one() {
    let folder = tempfile::tempdir().unwrap();
    export_peft(&some_prefix(), folder.path(), None, None).unwrap();
    let weights = folder.path().join("adapter_model.safetensors");
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n";
    std::fs::write(&weights, pointer).unwrap();
    let alone = folder.path().join("rows.safetensors");
    std::fs::write(&alone, pointer).unwrap();
    for path in [folder.path(), &alone] {
        let error = import(path, None, Rounding::NearestEven).unwrap_err().to_string();
        assert!(error.contains("git lfs pull"), "{error}");
    }
    for bytes in [&b""[..], b"\x02\0"] {
        std::fs::write(&weights, bytes).unwrap();
        let error = import(folder.path(), None, Rounding::NearestEven)
            .unwrap_err()
            .to_string();
        assert!(error.contains("it is empty or cut"), "{error}");
    }
}

#[test]
fn a_file_is_a_pickle_by_its_content_and_not_by_its_ending() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    std::fs::copy(fixture("f32.safetensors"), at("rows.bin")).unwrap();
    let rows = import(&at("rows.bin"), Some(H), Rounding::NearestEven).unwrap();
    assert_eq!(rows.format, Format::Safetensors);
    std::fs::write(at("raw.bin"), [0_u8; 96]).unwrap();
    let raw = import(&at("raw.bin"), Some(H), Rounding::NearestEven).unwrap_err();
    assert!(matches!(raw, FileError::UnknownKind { .. }), "{raw}");
    std::fs::copy(fixture("torch.zip"), at("rows.pt")).unwrap();
    // The oldest protocol has no mark at its beginning.
    std::fs::write(at("rows.pkl"), "(lp0\nF0.5\na.").unwrap();
    for name in ["rows.pt", "rows.pkl"] {
        let error = import(&at(name), Some(H), Rounding::NearestEven).unwrap_err();
        assert!(matches!(error, FileError::Pickle { .. }), "{name}: {error}");
    }
}

#[test]
fn pickles_are_never_opened_under_any_name() {
    for name in [
        "pickle.dat",
        "objects.npy",
        "torch.zip",
        "peft_pickle",
        "peft_pickle/adapter_model.bin",
    ] {
        let error = refused(name);
        assert!(matches!(error, FileError::Pickle { .. }), "{name}: {error}");
        assert!(error.to_string().contains("can run any program"));
    }
}

#[test]
fn what_is_no_table_of_numbers_is_refused_with_what_it_is() {
    for (name, part) in [
        ("three_dimensions.npy", "3 dimensions"),
        ("int64.npy", "i8"),
        ("two_tables.safetensors", "2 tensors of two dimensions"),
        ("no_tensor.zip", "no tensor.npy"),
        (
            "kobold_bzip2.zip",
            "KoboldAI zip file: its tensor.npy is packed by bzip2",
        ),
        ("text.txt", "begins with"),
        ("is not there", "cannot be read"),
    ] {
        let sentence = refused(name).to_string();
        assert!(sentence.contains(part), "{name}: {sentence}");
    }
    let header = "{'descr': '<f16', 'fortran_order': False, 'shape': (1, 1)}";
    let longdouble = [
        b"\x93NUMPY\x01\0",
        &[header.len() as u8, 0][..],
        header.as_bytes(),
        &[0; 16],
    ]
    .concat();
    let error = import_bytes("long.npy", &longdouble, None, Rounding::NearestEven).unwrap_err();
    assert!(error.to_string().contains("longdouble"), "{error}");
    let nan = import(&fixture("nan.npy"), None, Rounding::NearestEven).unwrap_err();
    assert!(
        matches!(
            &nan,
            FileError::Rows {
                source: PrefixError::NotFinite { row: 1, column: 1, .. },
                ..
            }
        ),
        "{nan}"
    );
    let empty = refused("no_rows.npy");
    assert!(matches!(
        empty,
        FileError::Rows {
            source: PrefixError::LengthZero,
            ..
        }
    ));
}

#[test]
fn an_unnamed_table_among_other_tensors_is_not_a_prefix() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("layer.safetensors");
    let header = r#"{"proj.bias":{"dtype":"F32","shape":[8],"data_offsets":[0,32]},"proj.weight":{"dtype":"F32","shape":[2,8],"data_offsets":[32,96]}}"#;
    tensors_file(&path, header, 96, 0, &[]);
    let error = import(&path, Some(8), Rounding::NearestEven).unwrap_err().to_string();
    assert!(
        error.contains("1 tensor of two dimensions and 1 other, none of them named prompt_embeddings"),
        "{error}"
    );
}

#[test]
fn rows_saved_one_after_another_in_one_dimension_are_not_taken_for_prefix_tuning() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("flat.npy");
    let mut npy = b"\x93NUMPY\x01\0".to_vec();
    let header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (192,)}";
    npy.extend((header.len() as u16).to_le_bytes());
    npy.extend(header);
    npy.extend([0; 192 * 4]);
    std::fs::write(&path, npy).unwrap();
    let error = import(&path, Some(H), Rounding::NearestEven).unwrap_err().to_string();
    assert!(
        error.contains("192 values in one dimension") && error.contains("P x H"),
        "{error}"
    );
    // Of a model of another width, whichever it is.
    let error = import(&path, Some(5), Rounding::NearestEven).unwrap_err();
    assert!(matches!(error, FileError::WrongWidth { width: 192, .. }), "{error}");

    let adapter = folder.path().join("adapter");
    std::fs::create_dir(&adapter).unwrap();
    let config = r#"{"peft_type": "PROMPT_TUNING", "token_dim": 8, "num_virtual_tokens": 24}"#;
    std::fs::write(adapter.join("adapter_config.json"), config).unwrap();
    let header = r#"{"prompt_embeddings":{"dtype":"F32","shape":[192],"data_offsets":[0,768]}}"#;
    tensors_file(&adapter.join("adapter_model.safetensors"), header, 768, 0, &[]);
    let error = import(&adapter, None, Rounding::NearestEven).unwrap_err().to_string();
    assert!(error.contains("192 values in one dimension"), "{error}");
}

/// A zip of these entries, as they are.
fn stored_zip(entries: &[(&str, &[u8])]) -> Vec<u8> {
    use std::io::Write;
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let as_it_is = zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::STORE);
    for (name, bytes) in entries {
        zip.start_file(*name, as_it_is).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

#[test]
fn a_zip_of_a_peft_folder_is_to_be_unpacked() {
    let config = std::fs::read(fixture("peft_prompt_tuning/adapter_config.json")).unwrap();
    let zip = stored_zip(&[
        ("mine/adapter_config.json", &config),
        ("mine/adapter_model.safetensors", b""),
    ]);
    let error = import_bytes("mine.zip", &zip, None, Rounding::NearestEven)
        .unwrap_err()
        .to_string();
    assert!(error.contains("unpack it and choose the folder"), "{error}");
}

#[test]
fn of_several_arrays_the_named_one_is_taken_or_none() {
    let values: Vec<u8> = (0..3 * H).flat_map(|i| (i as f32).to_le_bytes()).collect();
    let (one, two) = (array("<f4", 1, &values[..H * 4]), array("<f4", 2, &values[H * 4..]));
    let read = |entries: &[(&str, &[u8])]| {
        import_bytes("arrays.npz", &stored_zip(entries), Some(H), Rounding::NearestEven)
            .map(|imported| (imported.prefix.len(), imported.format))
    };
    let named = [("prompt_embeddings.npy", &two[..]), ("tensor.npy", &one)];
    assert_eq!(read(&named).unwrap(), (2, Format::Npy));
    assert_eq!(read(&[("tensor.npy", &one)]).unwrap(), (1, Format::Npy));
    let kobold = [("other.npy", &two[..]), ("tensor.npy", &one), ("meta.json", b"{}")];
    assert_eq!(read(&kobold).unwrap(), (1, Format::Kobold));
    let error = read(&kobold[..2]).unwrap_err().to_string();
    assert!(error.contains("2 arrays (other.npy, tensor.npy"), "{error}");
    let mut damaged = stored_zip(&[("rows.npy", &one)]);
    let at = damaged.windows(4).position(|four| four == 1_f32.to_le_bytes()).unwrap();
    damaged[at] ^= 1;
    let error = import_bytes("rows.npz", &damaged, None, Rounding::NearestEven).unwrap_err();
    assert!(error.to_string().contains("not a usable .npz file"), "{error}");
}

#[test]
fn a_koboldai_soft_prompt_with_a_blank_name_has_the_name_of_its_file() {
    let table = std::fs::read(fixture("f32.npy")).unwrap();
    for name in ["", " \n"] {
        let description = serde_json::json!({"name": name}).to_string();
        let zip = stored_zip(&[("tensor.npy", &table), ("meta.json", description.as_bytes())]);
        let imported = import_bytes("shanties", &zip, Some(H), Rounding::NearestEven).unwrap();
        assert_eq!((imported.name.as_str(), imported.format), ("shanties", Format::Kobold));
    }
}

#[test]
fn an_array_in_a_zip_that_does_not_have_its_stated_size_is_refused_with_both_sizes() {
    let table = std::fs::read(fixture("f32.npy")).unwrap();
    let whole = stored_zip(&[("rows.npy", &table)]);
    // The size in the directory, 24 bytes behind its signature.
    let at = whole.windows(4).position(|four| four == b"PK\x01\x02").unwrap() + 24;
    let size = table.len() as u32;
    assert_eq!(whole[at..at + 4], size.to_le_bytes());
    for (stated, has) in [
        (size + 40, format!("{size};")),
        (size - 40, format!("{} or more;", size - 39)),
    ] {
        let mut zip = whole.clone();
        zip[at..at + 4].copy_from_slice(&stated.to_le_bytes());
        let error = import_bytes("rows.npz", &zip, Some(H), Rounding::NearestEven)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains(&format!("should have {stated} bytes, and has {has}")),
            "{error}"
        );
    }
}

#[test]
fn a_damaged_or_overlong_description_of_a_koboldai_soft_prompt_leaves_it_without_a_name() {
    let table = std::fs::read(fixture("f32.npy")).unwrap();
    let rows = open("f32.npy").unwrap().prefix;
    let description = br#"{"name": "Sea shanties", "supported": ["gpt-j-6B"]}"#;
    let read = |zip: &[u8]| import_bytes("shanties", zip, Some(H), Rounding::NearestEven).unwrap();
    let whole = stored_zip(&[("tensor.npy", &table), ("meta.json", description)]);
    assert_eq!(read(&whole).name, "Sea shanties");
    let mut other_content = whole.clone();
    let at = whole.windows(4).position(|four| four == b"Sea ").unwrap();
    other_content[at] = b'T';
    let long = [&description[..], &vec![b' '; 1 << 20]].concat();
    for zip in [
        other_content,
        stored_zip(&[("tensor.npy", &table), ("meta.json", &long)]),
        stored_zip(&[("tensor.npy", &table), ("meta.json", &description[..20])]),
        stored_zip(&[("tensor.npy", &table), ("meta.json", b"\xff\0")]),
        stored_zip(&[("tensor.npy", &table), ("meta.json", b"")]),
    ] {
        let imported = read(&zip);
        assert_eq!((imported.name.as_str(), imported.format), ("shanties", Format::Kobold));
        assert_eq!((&imported.prefix, imported.base_model), (&rows, None));
    }
}

#[test]
fn a_large_array_that_is_not_packed_is_no_bomb() {
    let (rows, width) = (1000, 8500);
    let mut npy = b"\x93NUMPY\x01\0".to_vec();
    let header = format!("{{'descr': '<f8', 'fortran_order': False, 'shape': ({rows}, {width})}}");
    npy.extend((header.len() as u16).to_le_bytes());
    npy.extend(header.as_bytes());
    npy.resize(npy.len() + rows * width * 8, 0);
    let zip = stored_zip(&[("rows.npy", &npy)]);
    assert!(zip.len() > 64 << 20);
    let imported = import_bytes("rows.npz", &zip, Some(width), Rounding::NearestEven).unwrap();
    assert_eq!(imported.prefix.len(), rows);
}

#[test]
fn a_zip_of_many_ends_or_entries_is_refused_before_they_are_read() {
    let whole = stored_zip(&[("rows.npy", &std::fs::read(fixture("f32.npy")).unwrap())]);
    let place = |mark: &[u8]| whole.windows(4).position(|four| four == mark).unwrap();
    let (directory, end) = (place(b"PK\x01\x02"), place(b"PK\x05\x06"));
    let repeated = |entries: usize, ends: usize| {
        let mut bytes = whole[..directory].to_vec();
        for _ in 0..entries {
            bytes.extend(&whole[directory..end]);
        }
        // Each end names one entry more than there are, so that the next is looked for.
        let mut record = whole[end..].to_vec();
        record[8..10].copy_from_slice(&(entries as u16 + 1).to_le_bytes());
        record[10..12].copy_from_slice(&(entries as u16 + 1).to_le_bytes());
        for _ in 0..ends {
            bytes.extend(&record);
        }
        bytes
    };
    for (entries, ends, found) in [
        (1, 17, "17 ends"),
        (10_000, 1, "10000 entries"),
        (10_000, 10_000, "10000 ends"),
    ] {
        let error = import_bytes("rows.npz", &repeated(entries, ends), None, Rounding::NearestEven)
            .unwrap_err()
            .to_string();
        assert!(error.contains(found), "{error}");
    }
    // What is put behind a file, and a few marks by chance, do no harm.
    let behind = [&whole[..], b"PK\x05\x06 and so on, PK\x01\x02"].concat();
    assert!(import_bytes("rows.npz", &behind, Some(H), Rounding::NearestEven).is_ok());
}

#[test]
fn a_small_zip_cannot_unpack_to_much() {
    let error = refused("kobold_bomb.zip");
    assert!(matches!(error, FileError::Bomb { bytes: 67_108_992, .. }), "{error}");
    // Its entry names a dictionary of 4 GiB and is read all the same, with one of its own size.
    assert!(open("kobold_greedy.zip").is_ok());
}

#[test]
fn headers_that_promise_more_than_is_there_are_refused_at_once() {
    let npy = std::fs::read(fixture("f32.npy")).unwrap();
    let at = npy.windows(6).position(|text| text == b"(3, 8)").unwrap();
    for (shape, bytes) in [
        ("(9999999999, 8)", "319999999968"),
        // The product of both, times four, is beyond 128 bits.
        (
            "(18446744073709551615, 18446744073709551615)",
            "340282366920938463463374607431768211455",
        ),
    ] {
        let mut npy = npy.clone();
        npy.splice(at..at + 6, shape.bytes());
        let length = u16::from_le_bytes([npy[8], npy[9]]) + shape.len() as u16 - 6;
        npy[8..10].copy_from_slice(&length.to_le_bytes());
        let error = import_bytes("huge.npy", &npy, None, Rounding::NearestEven).unwrap_err();
        assert!(
            error.to_string().contains(&format!("{bytes} bytes, and 96 are there")),
            "{error}"
        );
    }

    let header = br#"{"a":{"dtype":"F32","shape":[4000000000,4000000000],"data_offsets":[0,96]}}"#;
    let mut tensors = (header.len() as u64).to_le_bytes().to_vec();
    tensors.extend(header);
    tensors.extend([0; 96]);
    let error = import_bytes("huge.safetensors", &tensors, None, Rounding::NearestEven).unwrap_err();
    assert!(matches!(error, FileError::Malformed { .. }), "{error}");
}

#[test]
fn truncation_is_there_for_those_who_repeat_old_runs() {
    let nearest = open("f32.npy").unwrap().prefix;
    let truncated = import(&fixture("f32.npy"), Some(H), Rounding::Truncate).unwrap().prefix;
    assert_ne!(nearest, truncated);
}

#[test]
fn an_exported_prefix_is_read_back_bit_by_bit() {
    let folder = tempfile::tempdir().unwrap();
    let prefix = some_prefix();
    let npy = folder.path().join("prefix.npy");
    export_npy(&prefix, &npy).unwrap();
    let peft = folder.path().join("made/here/adapter");
    export_peft(&prefix, &peft, Some("Qwen/Qwen2.5-0.5B-Instruct"), None).unwrap();
    for path in [&npy, &peft, &peft.join("adapter_model.safetensors")] {
        let back = import(path, Some(H), Rounding::Truncate).unwrap();
        assert_eq!(back.prefix, prefix, "{path:?}");
        assert!(back.exact);
    }
    let config: serde_json::Value =
        serde_json::from_slice(&std::fs::read(peft.join("adapter_config.json")).unwrap()).unwrap();
    assert_eq!(config["peft_type"], "PROMPT_TUNING");
    assert_eq!(
        (&config["num_virtual_tokens"], &config["token_dim"]),
        (&P.into(), &H.into())
    );
    let left: Vec<_> = std::fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(left.len(), 2, "nothing is left beside them: {left:?}");
}

#[test]
fn the_origin_of_learned_and_searched_rows_is_read_back_from_their_file() {
    let folder = tempfile::tempdir().unwrap();
    let prefix = some_prefix();
    let learned = serde_json::from_value(serde_json::json!({
        "objective": "target", "examples": 1, "preserved": 0, "data_sha256": "", "first_prompt": "海\n\"とは\"",
        "first_target": "The sea.", "init": "target", "seed": 1, "steps_asked": 200, "step": 84, "loss": 0.1,
        "likelihood": 0.1, "matched": 5, "wanted": 6, "model": "tiny",
    }));
    let found = SearchOrigin {
        by: FoundBy::Person,
        near: "spring".into(),
        generation: 3,
        record: "search/12".into(),
        model: "tiny".into(),
    };
    for origin in [
        Origin::Learned(learned.unwrap()),
        Origin::Found(Box::new(found)),
        Origin::File,
    ] {
        let note = origin.note(&prefix).map(|note| note.to_string());
        let (peft, tensors) = (folder.path().join("adapter"), folder.path().join("rows.safetensors"));
        export_peft(&prefix, &peft, None, note.as_deref()).unwrap();
        export_safetensors(&prefix, &tensors, note.as_deref()).unwrap();
        for path in [&peft, &peft.join("adapter_model.safetensors"), &tensors] {
            let back = import(path, Some(H), Rounding::NearestEven).unwrap();
            assert_eq!(back.prefix, prefix);
            assert_eq!(back.origin, origin, "{path:?}");
        }
        // The note is true of these rows alone.
        let other = SoftPrefix::from_bf16(H, vec![bf16::ONE; P * H]).unwrap();
        export_peft(&other, &peft, None, note.as_deref()).unwrap();
        assert_eq!(import(&peft, None, Rounding::NearestEven).unwrap().origin, Origin::File);
    }
}

#[test]
fn an_exported_npy_has_the_bytes_that_numpy_writes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("prefix.npy");
    export_npy(&open("f32.npy").unwrap().prefix, &path).unwrap();
    let (ours, theirs) = (std::fs::read(path).unwrap(), std::fs::read(fixture("f32.npy")).unwrap());
    assert_eq!(ours[..128], theirs[..128]);
    assert_eq!(ours.len(), theirs.len());
}

#[test]
fn an_export_to_an_impossible_path_fails_with_that_path() {
    let error = export_npy(&some_prefix(), Path::new("/dev/null/x/prefix.npy")).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("the file /dev/null/x/prefix.npy cannot be written"),
        "{error}"
    );
}

#[test]
fn kept_rows_are_found_by_their_digest_and_checked() {
    let folder = tempfile::tempdir().unwrap();
    let prefix_store = PrefixStore::new(folder.path().join("prefixes"));
    let imported = open("peft_prompt_tuning").unwrap();
    let digest = prefix_store.put(&imported.prefix).unwrap();
    assert_eq!(prefix_store.put(&imported.prefix).unwrap(), digest);
    assert_eq!(prefix_store.get(&digest, None).unwrap(), imported.prefix);

    let other = some_prefix();
    let file = |digest: &str| folder.path().join(format!("prefixes/{digest}.safetensors"));
    prefix_store.put(&other).unwrap();
    std::fs::copy(file(&other.sha256()), file(&digest)).unwrap();
    assert!(matches!(
        prefix_store.get(&digest, Some(H)).unwrap_err(),
        PrefixStoreError::Changed { .. }
    ));
    assert!(matches!(
        prefix_store.get(&"0".repeat(64), Some(H)).unwrap_err(),
        PrefixStoreError::NotFound { .. }
    ));
    for name in ["../../etc/passwd", "", "ABC"] {
        assert!(matches!(
            prefix_store.get(name, None).unwrap_err(),
            PrefixStoreError::NotADigest { .. }
        ));
    }
}

#[test]
fn rows_of_the_same_values_and_another_width_are_both_stored() {
    let folder = tempfile::tempdir().unwrap();
    let store = PrefixStore::new(folder.path());
    let of_width = |width: usize| SoftPrefix::from_bf16(width, some_prefix().values().to_vec()).unwrap();
    let (first, second) = (of_width(P * H), of_width(H));
    let digest = store.put(&first).unwrap();
    let files = || std::fs::read_dir(folder.path()).unwrap().count();
    // Before the second is stored, the error of a recipe is that of its width.
    assert_eq!(store.get(&digest, Some(H)).unwrap(), first);
    for _ in 0..2 {
        assert_eq!(store.put(&second).unwrap(), digest);
        assert_eq!(store.put(&first).unwrap(), digest);
        assert_eq!(files(), 2);
        assert_eq!(store.get(&digest, Some(P * H)).unwrap(), first);
        assert_eq!(store.get(&digest, Some(H)).unwrap(), second);
        assert_eq!(store.get(&digest, None).unwrap(), first);
        // Also after one of the files was damaged.
        for entry in std::fs::read_dir(folder.path()).unwrap().take(1) {
            std::fs::write(entry.unwrap().path(), "torn").unwrap();
        }
    }
}

#[test]
fn an_imported_recipe_is_built_from_the_rows_it_names_and_no_others() {
    let imported = open("f32.npy").unwrap();
    let recipe = imported.recipe();
    assert!(matches!(&recipe.kind, PrefixKind::Imported { name, .. } if name == "f32"));
    let rows = (&imported.prefix).into();
    assert_eq!(recipe.build_from(H, &[&rows], None).unwrap(), imported.prefix);

    let mut longer = recipe.clone();
    longer.len = 5;
    let longer = longer.build_from(H, &[&rows], None).unwrap();
    assert_eq!(
        longer.get(3).unwrap(),
        imported.prefix.get(0).unwrap(),
        "rows are repeated from the start"
    );

    let mut sized = recipe.clone();
    sized.magnitude = Magnitude::TokenNorms(2.0);
    for norm in sized.build_from(H, &[&rows], Some(0.5)).unwrap().row_norms() {
        assert!((norm - 1.0).abs() < 0.01, "{norm}");
    }

    assert!(matches!(
        recipe.build(H, None, None),
        Err(PrefixError::StoredMissing { .. })
    ));
    let others = (&some_prefix()).into();
    assert!(matches!(
        recipe.build_from(H, &[&others], None),
        Err(PrefixError::StoredDiffers { .. })
    ));
    assert!(matches!(
        recipe.build_from(896, &[&rows], None),
        Err(PrefixError::WrongWidth { got: H, .. })
    ));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn damaged_files_give_a_prefix_or_an_error(
        which in 0usize..11,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        cut in any::<prop::sample::Index>(),
        cuts in any::<bool>(),
    ) {
        let names = [
            "f32.npy", "version2.npy", "fortran.npy", "f64.npy", "f32.safetensors", "bf16.safetensors", "kobold_lzma.zip",
            "kobold_greedy.zip", "kobold_deflated.zip", "kobold_stored.zip", "kobold_bomb.zip",
        ];
        let mut bytes = std::fs::read(fixture(names[which])).unwrap();
        for (place, byte) in changes {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        if cuts {
            bytes.truncate(cut.index(bytes.len()));
        }
        match import_bytes("damaged", &bytes, None, Rounding::NearestEven) {
            Ok(imported) => prop_assert!(imported.prefix.values().len() <= 32 << 20),
            Err(error) => prop_assert!(error.to_string().len() < 600, "{}", error),
        }
    }

    #[test]
    fn any_bytes_after_a_known_beginning_do_no_harm(
        beginning in prop::sample::select(vec![&b"\x93NUMPY\x01\x00"[..], b"\x93NUMPY\x03\x00", b"PK\x03\x04", b"", b"\x50\0\0\0\0\0\0\0{"]),
        rest in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        let bytes = [beginning, &rest].concat();
        let _ = import_bytes("noise", &bytes, None, Rounding::NearestEven);
    }
}
