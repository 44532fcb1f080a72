//! Every kind of model file is computed correctly or refused by name: each row of the table in the crate's documentation, models compared
//! with a forward pass in numpy, and files written by other programs.
#![cfg(feature = "cpu")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use half::bf16;
use serde::Deserialize;
use serde_json::Map;
use softprefix_unit::engine::cpu::kernel::Tier;
use softprefix_unit::engine::cpu::{CpuEngine, CpuOptions};
use softprefix_unit::engine::sampling::greedy;
use softprefix_unit::engine::{Engine, EngineInfo, Logits, SequenceStep};
use softprefix_unit::gguf::{GgufFile, TensorKind};
use softprefix_unit::model::{LoadedModel, ModelSource};
use softprefix_unit::models::{ModelStore, Places};
use softprefix_unit::testing::{Meta, Stored, TinyModel, TinyWeights};
use softprefix_unit::tokenizer::{ChatTemplate, Special, Tokenizer};

const DOCUMENTATION: &str = include_str!("../src/model-files.md");

/// Everything that a change of the file can affect.
#[derive(Debug, PartialEq)]
struct Observed {
    info: EngineInfo,
    logits: Vec<f32>,
    tokens: Vec<u32>,
    ends: Vec<u32>,
    prompt: String,
}

/// Loads a model from a folder by name.
fn load(folder: &Path, name: &str) -> Result<LoadedModel, String> {
    let store = ModelStore::new(Places::only(folder.to_owned())).with_engine(CpuOptions {
        threads: Some(1),
        ..CpuOptions::default()
    });
    let found = store.find(name).expect("the file is there");
    let loaded = store
        .load(name, &Map::new(), &|_, _| ())
        .map_err(|error| error.to_string());
    match (&found.info, &loaded) {
        (Ok(_), Ok(_)) => {}
        (Err(expected), Err(error)) => assert_eq!(
            &expected.to_string(),
            error,
            "the list and the load give the same reason"
        ),
        (info, _) => panic!("{name} is listed as {info:?}, and loading says {:?}", loaded.err()),
    }
    loaded
}

fn logits(engine: &mut dyn Engine, tokens: &[u32]) -> Vec<f32> {
    let rows = engine.embeddings().rows(tokens).unwrap();
    let sequence = engine.open(tokens.len()).unwrap();
    let logits = engine.feed(sequence, &rows, Logits::Last).unwrap();
    engine.close(sequence);
    logits
}

fn observe(bytes: &[u8]) -> Result<Observed, String> {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("m.gguf"), bytes).unwrap();
    let mut model = load(folder.path(), "m")?;
    Ok(Observed {
        info: model.engine.info().clone(),
        logits: logits(
            model.engine.as_mut(),
            &[116, 104, 101, 32, 115, 101, 97, 46, 10, 65, 66, 67],
        ),
        tokens: model
            .tokenizer
            .encode("e\u{301} the 12 ends<|im_end|>", Special::Parse)
            .unwrap(),
        ends: model.stop_tokens,
        prompt: model.template.render("S", "U").unwrap(),
    })
}

/// The rows of the table: the contents of the file, and how they are treated.
fn rows() -> Vec<(&'static str, &'static str)> {
    let rows = DOCUMENTATION
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |")?.rsplit_once(" | "));
    rows.filter(|(what, _)| *what != "in the file").collect()
}

/// Returns the texts between backticks.
fn quoted(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

fn base(architecture: &str) -> TinyModel {
    match architecture {
        "qwen2" => TinyModel::qwen2(),
        "qwen3" => TinyModel::qwen3(),
        _ => TinyModel::llama(),
    }
}

fn value(text: &str) -> Meta {
    // A pipe would end the column of the table.
    let text = &text.replace("\\|", "|");
    if let Some(numbers) = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')) {
        return Meta::I32s(numbers.split(", ").map(|number| number.parse().unwrap()).collect());
    }
    match text.as_str() {
        "true" | "false" => Meta::Bool(text == "true"),
        _ if text.contains('.') && text.parse::<f32>().is_ok() => Meta::F32(text.parse().unwrap()),
        _ => text.parse().map_or_else(|_| Meta::Text(text.into()), Meta::U32),
    }
}

/// What a file is refused for whose other parts do not fit the changed value of a key.
fn misfit(key: &str) -> Option<&'static str> {
    Some(match key {
        "general.alignment" => "\"blk.0.attn_q.weight\" lies at the unaligned offset",
        "split.count" => "its name does not end with -00001-of-00003",
        "llama.embedding_length" => "token_embd.weight has the dimensions [64, 265]",
        "llama.block_count" => "the tensor blk.2.attn_norm.weight is missing",
        "llama.feed_forward_length" => "blk.0.ffn_gate.weight has the dimensions [64, 96]",
        "llama.vocab_size" => "its llama.vocab_size is 264",
        "llama.attention.head_count" | "llama.attention.head_count_kv" => {
            "blk.0.attn_k.weight has the dimensions [64, 32]"
        }
        "llama.attention.key_length" => "blk.0.attn_q.weight has the dimensions [64, 64]",
        _ => return None,
    })
}

/// Compares what the files with and without the contents of a row give.
fn compare(row: &str, verdict: &str, name: &str, without: &Result<Observed, String>, with: Result<Observed, String>) {
    match (with, verdict.split(':').next().unwrap()) {
        (Ok(with), "computed") => assert_ne!(Ok(&with), without.as_ref(), "{row} changes nothing"),
        (Err(error), "computed") => {
            let expected = misfit(name).unwrap_or_else(|| panic!("{row}: {error}"));
            assert!(error.contains(expected), "{row}: {error}");
        }
        (Ok(with), "meaningless") => assert_eq!(Ok(&with), without.as_ref(), "{row}"),
        (Err(error), "refused") => assert!(error.contains(name) && error.contains("m.gguf"), "{row}: {error}"),
        (got, _) => panic!("{row} is {verdict}, and gives {got:?}"),
    }
}

#[test]
fn each_key_is_computed_meaningless_or_refused_as_documented() {
    let keys = rows().into_iter().filter(|(what, _)| what.starts_with("key "));
    let mut tried = 0;
    for (what, verdict) in keys {
        let (own, others) = what.split_once(" beside ").unwrap_or((what, ""));
        let name = quoted(own)[0];
        let text = quoted(own).get(1).copied();
        assert!(text.is_some() || own.ends_with(" = nothing"), "{own}");
        let mut model = base(name.split('.').next().unwrap());
        for pair in quoted(others).chunks(2) {
            model.keys.push((pair[0].into(), Some(value(pair[1]))));
        }
        let observe_with = |value: Option<Meta>| {
            let mut model = model.clone();
            model.keys.push((name.into(), value));
            observe(&model.bytes())
        };
        let without = observe(&model.bytes());
        assert!(without.is_ok(), "{without:?}");
        let with = match (name, text, verdict) {
            // Other keys begin with it.
            ("general.architecture", Some(architecture), "computed") => {
                let with = observe(&base(architecture).bytes());
                assert_eq!(with.as_ref().unwrap().info.architecture, architecture);
                with
            }
            _ => observe_with(text.map(value)),
        };
        // A value that the sample has is compared with none.
        let is_the_samples = verdict == "computed" && with.is_ok() && with == without;
        let without = if is_the_samples { observe_with(None) } else { without };
        // The error names the kind of vocabulary.
        let is_named = ["general.architecture", "tokenizer.ggml.model", "tokenizer.ggml.pre"].contains(&name);
        let named = text.filter(|_| is_named).unwrap_or(name);
        compare(what, verdict, named, &without, with);
        tried += 1;
    }
    assert!(tried > 110, "{tried} rows");
}

/// The file with other numbers in a tensor of F32 or Q8_0.
fn with_other_numbers(bytes: &[u8], name: &str, change: impl Fn(&mut [u8])) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.gguf");
    fs::write(&path, bytes).unwrap();
    let file = GgufFile::open(&path).unwrap();
    let stored = file.read(file.tensor(name).unwrap()).unwrap();
    let at = bytes.windows(stored.len()).position(|window| window == stored).unwrap();
    let mut bytes = bytes.to_vec();
    change(&mut bytes[at..at + stored.len()]);
    bytes
}

/// The file without the description of a tensor. Those of others are no longer in their places.
fn without_tensor(bytes: &[u8], name: &str, dimensions: usize) -> Vec<u8> {
    let described = [&(name.len() as u64).to_le_bytes(), name.as_bytes()].concat();
    let mut windows = bytes.windows(described.len());
    let at = windows.position(|window| window == described).unwrap();
    let mut bytes = bytes.to_vec();
    bytes.drain(at..at + described.len() + 4 + 8 * dimensions + 4 + 8);
    let count = u64::from_le_bytes(bytes[8..16].try_into().unwrap()) - 1;
    bytes[8..16].copy_from_slice(&count.to_le_bytes());
    bytes.extend([0; 64]);
    bytes
}

#[test]
fn each_tensor_is_computed_or_refused_by_name_as_documented() {
    let tensors = rows().into_iter().filter(|(what, _)| what.starts_with("tensor "));
    let mut tried = 0;
    for (what, verdict) in tensors {
        let (name, model) = (quoted(what)[0], base(quoted(what)[1]));
        let head = model.head_size.unwrap_or(model.hidden_size / model.heads);
        let part = name.rsplit('.').nth(1).unwrap();
        let own = model.bytes();
        let is_there = own.windows(name.len()).any(|window| window == name.as_bytes()) && name != "output.weight";
        let with = if what.ends_with(" = nothing") {
            let is_vector = part.ends_with("norm");
            without_tensor(&own, name, if is_vector { 1 } else { 2 })
        } else if is_there {
            // A byte of every number of an F32, and one in every block of a Q8_0.
            let step = if part.ends_with("norm") || name.ends_with("bias") {
                4
            } else {
                34
            };
            with_other_numbers(&own, name, |numbers| {
                numbers.iter_mut().skip(2).step_by(step).for_each(|byte| *byte ^= 0x20);
            })
        } else {
            let dimensions = match part {
                _ if name == "output.weight" => vec![64, model.vocab_size()],
                _ if name == "output.bias" => vec![model.vocab_size()],
                "rope_freqs" => vec![head / 2],
                "attn_k" | "attn_v" => vec![head * model.kv_heads],
                "ffn_gate" | "ffn_up" => vec![model.feed_forward],
                _ => vec![model.hidden_size],
            };
            let mut with = model.clone();
            with.tensors.push((name.into(), dimensions));
            with.bytes()
        };
        compare(what, verdict, name, &observe(&own), observe(&with));
        tried += 1;
    }
    assert!(tried > 45, "{tried} rows");
}

#[test]
fn each_impossible_shape_is_refused_as_documented() {
    let with = |keys: &[(&str, Option<Meta>)]| {
        let mut model = TinyModel::llama();
        for (key, value) in keys {
            model.keys.push((format!("llama.{key}"), value.clone()));
        }
        observe(&model.bytes())
    };
    let number = |number: u32| Some(Meta::U32(number));
    let float = |number: f32| Some(Meta::F32(number));
    let yarn = [
        ("rope.scaling.type", Some(Meta::Text("yarn".into()))),
        ("rope.scaling.factor", float(4.0)),
    ];
    let mut factors = TinyModel::llama();
    factors.tensors.push(("rope_freqs.weight".into(), vec![16]));
    let mut few_factors = TinyModel::llama();
    few_factors.tensors.push(("rope_freqs.weight".into(), vec![15]));
    let mut tried = 0;
    for (what, verdict) in rows().into_iter().filter(|(what, _)| what.starts_with("shape: ")) {
        let refusals: Vec<(Result<Observed, String>, String)> = match what.strip_prefix("shape: ").unwrap() {
            "`context_length`, `embedding_length`, `block_count`, `feed_forward_length` or `attention.head_count` that is missing, 0 or no \
             whole number" => {
                let keys = quoted(what).into_iter();
                keys.flat_map(|key| {
                    [None, number(0), float(64.0)]
                        .map(|value| (with(&[(key, value)]), format!("no usable llama.{key}")))
                })
                .collect()
            }
            "a width of the embedding, of the feed-forward layer or of all heads that is no multiple of 32" => vec![
                (
                    with(&[("embedding_length", number(48))]),
                    "embedding width of 48".into(),
                ),
                (
                    with(&[("feed_forward_length", number(100))]),
                    "feed-forward width of 100".into(),
                ),
                (
                    with(&[("attention.key_length", number(24))]),
                    "attention width of 48".into(),
                ),
                (
                    with(&[("attention.key_length", number(0))]),
                    "attention width of 0".into(),
                ),
            ],
            "an `embedding_length` that its heads do not divide, without `attention.key_length`" => vec![(
                with(&[("attention.head_count", number(3))]),
                "width of 64 does not divide into 3 heads".into(),
            )],
            "heads whose number is no multiple of `attention.head_count_kv`" => [0, 3]
                .map(|count| {
                    let expected = format!("2 heads for {count} heads of keys");
                    (with(&[("attention.head_count_kv", number(count))]), expected)
                })
                .into(),
            "heads of more than 65,536 values" => vec![(
                with(&[
                    ("attention.key_length", number(1 << 31)),
                    ("attention.value_length", number(1 << 31)),
                ]),
                "heads are 2147483648 values wide".into(),
            )],
            "heads of an odd number of values" => vec![(
                with(&[("attention.key_length", number(31))]),
                "heads are 31 values wide, an odd number".into(),
            )],
            "`rope.dimension_count`, `attention.value_length` or `attention.head_dim` of other than a head's values" => {
                let keys = quoted(what).into_iter();
                keys.flat_map(|key| {
                    [0, 15, 16, 34].map(|count| {
                        let expected = format!("llama.{key} is {count}, and its heads are 32 values wide");
                        (with(&[(key, number(count))]), expected)
                    })
                })
                .collect()
            }
            "`rope.freq_base` of 1 or less, `rope.scaling.factor` below 0, or `rope.scaling.attn_factor` of 0 or less" => {
                [
                    ("rope.freq_base", 1.0),
                    ("rope.scaling.factor", -4.0),
                    ("rope.scaling.attn_factor", 0.0),
                ]
                .map(|(key, value)| (with(&[(key, float(value))]), format!("no usable llama.{key}")))
                .into()
            }
            "`attention.layer_norm_rms_epsilon` that is missing or below 0" => [None, float(-1e-6)]
                .map(|value| {
                    let key = "attention.layer_norm_rms_epsilon";
                    (with(&[(key, value)]), format!("no usable llama.{key}"))
                })
                .into(),
            "YaRN with a window of 0, or a beta of 0 or less" => [
                ("original_context_length", number(0)),
                ("yarn_beta_fast", float(0.0)),
                ("yarn_beta_slow", float(-1.0)),
            ]
            .map(|(key, value)| {
                let key = format!("rope.scaling.{key}");
                let keys = [yarn.as_slice(), &[(key.as_str(), value)]].concat();
                (with(&keys), "values for yarn are not all positive".into())
            })
            .into(),
            "`rope_freqs.weight` of other than half of a head's values, or with one of 0 or less" => vec![
                (
                    observe(&few_factors.bytes()),
                    "rope_freqs.weight does not hold 16 positive numbers".into(),
                ),
                (
                    observe(&with_other_numbers(&factors.bytes(), "rope_freqs.weight", |numbers| {
                        numbers[..4].fill(0)
                    })),
                    "rope_freqs.weight does not hold 16 positive numbers".into(),
                ),
            ],
            "a tensor of other dimensions than these numbers give it" => vec![(
                with(&[("feed_forward_length", number(64))]),
                "blk.0.ffn_gate.weight has the dimensions [64, 96]; the metadata asks for 64 x 64".into(),
            )],
            other => panic!("nothing tries {other}"),
        };
        for (got, expected) in refusals {
            assert_as_documented(what, got.map(|_| ()), verdict, &expected);
        }
        tried += 1;
    }
    assert_eq!(tried, 12);
}

#[test]
fn each_tensor_type_is_computed_or_refused_by_name_as_documented() {
    let mut computed = Vec::new();
    for (what, verdict) in rows().into_iter().filter(|(what, _)| what.starts_with("type ")) {
        let name = quoted(what)[0];
        let stored = match what.split_once(" = ") {
            Some((_, id)) => TinyWeights::Blocks(Stored {
                id: id.parse().unwrap(),
                ..Stored::ALL[0]
            }),
            None => match name {
                "F32" => TinyWeights::F32,
                "F16" => TinyWeights::F16,
                "BF16" => TinyWeights::Bf16,
                "Q8_0" => TinyWeights::Q8_0,
                _ => TinyWeights::Blocks(Stored::named(name).unwrap_or_else(|| panic!("{name}"))),
            },
        };
        let model = TinyModel {
            hidden_size: 256,
            feed_forward: 256,
            weights: stored,
            ..TinyModel::qwen2()
        };
        match (observe(&model.bytes()), verdict) {
            (Ok(seen), "computed") => {
                computed.push(name);
                assert!(
                    seen.info.weights.iter().any(|stored| stored.kind == name),
                    "{:?}",
                    seen.info.weights
                );
            }
            (Err(error), "refused") => assert!(error.contains(&format!("stored as {name},")), "{error}"),
            (got, _) => panic!("{what} is {verdict}, and gives {got:?}"),
        }
    }
    assert_eq!(
        computed,
        TensorKind::all().map(TensorKind::name).collect::<Vec<_>>(),
        "the table names all"
    );
}

/// The file with another key in front, of this type and value.
fn with_key(bytes: &[u8], key: &str, kind_and_value: &[u8]) -> Vec<u8> {
    let count = u64::from_le_bytes(bytes[16..24].try_into().unwrap()) + 1;
    let entry = [&(key.len() as u64).to_le_bytes(), key.as_bytes(), kind_and_value].concat();
    [&bytes[..16], &count.to_le_bytes(), &entry, &bytes[24..]].concat()
}

/// A key's text as it is stored; with it, the key's entry is a multiple of 32 bytes, so that tensors keep their places.
fn padded(key: &str, text: &str) -> Vec<u8> {
    let before = 8 + key.len() + 4 + 8;
    let length = (before + text.len()).next_multiple_of(32) - before;
    [
        &8_u32.to_le_bytes()[..],
        &(length as u64).to_le_bytes(),
        format!("{text:length$}").as_bytes(),
    ]
    .concat()
}

/// The files of the split model in a folder of their own, with `change` done to one.
fn split_with(number: usize, change: impl Fn(Vec<u8>) -> Vec<u8>) -> Result<(), String> {
    let folder = tempfile::tempdir().unwrap();
    for part in [1, 2, 3] {
        let name = format!("split-0000{part}-of-00003.gguf");
        let bytes = fs::read(case(&name)).unwrap();
        let bytes = if part == number { change(bytes) } else { bytes };
        fs::write(folder.path().join(name), bytes).unwrap();
    }
    load(folder.path(), "split").map(|_| ())
}

/// Returns where the header contains the value of a key.
fn value_of(bytes: &[u8], key: &str) -> usize {
    let at = bytes.windows(key.len()).position(|window| window == key.as_bytes());
    at.unwrap() + key.len() + 4
}

/// Returns where the header contains the offset of a tensor with one dimension.
fn offset_of(bytes: &[u8], name: &str) -> usize {
    let at = bytes
        .windows(name.len())
        .position(|window| window == name.as_bytes())
        .unwrap();
    at + name.len() + 4 + 8 + 4
}

/// Checks that loading `what` gave what the table says, and that a refusal's sentence contains `told`.
fn assert_as_documented(what: &str, got: Result<(), String>, verdict: &str, expected: &str) {
    match (got, verdict) {
        (Ok(()), "computed") => {}
        (Err(error), "refused") => assert!(error.contains(expected), "{what}: {error}"),
        (got, _) => panic!("{what} is {verdict}, and gives {got:?}"),
    }
}

#[test]
fn each_form_of_file_is_read_or_refused_as_documented() {
    let whole = TinyModel::llama().bytes();
    let changed = |at: usize, with: &[u8]| {
        let mut bytes = whole.clone();
        bytes[at..at + with.len()].copy_from_slice(with);
        bytes
    };
    let alone = |number: usize| {
        let folder = tempfile::tempdir().unwrap();
        let name = format!("split-0000{number}-of-00003.gguf");
        fs::copy(case(&name), folder.path().join(&name)).unwrap();
        load(folder.path(), &name).map(|_| ())
    };
    let one = |bytes: &[u8]| observe(bytes).map(|_| ());
    let put = |mut bytes: Vec<u8>, at: usize, number: u8| {
        bytes[at] = number;
        bytes
    };
    // The table's number of dimensions, which are behind it.
    let table = offset_of(&whole, "token_embd.weight") - 16;
    let mut tried = 0;
    for (what, verdict) in rows().into_iter().filter(|(what, _)| what.starts_with("file: ")) {
        let (got, expected) = match what.strip_prefix("file: ").unwrap() {
            "GGUF 3, little-endian, in one file" => (one(&whole), ""),
            "GGUF 2" => (one(&changed(4, &2_u32.to_le_bytes())), ""),
            "GGUF 1" => (one(&changed(4, &1_u32.to_le_bytes())), "version 1"),
            "big-endian" => (one(&changed(4, &3_u32.to_be_bytes())), "big-endian"),
            "all of `NAME-00001-of-00003.gguf` and so on in one folder" => (load(&cases(), "split").map(|_| ()), ""),
            "the first of several alone" => (alone(1), "split-00002-of-00003.gguf, split-00003-of-00003.gguf"),
            "a later one of several by its own name" => (alone(2), "split-00001-of-00003.gguf"),
            "one of several whose `split.no` or `split.count` is not its name's" => {
                let number = split_with(2, |bytes| put(bytes.clone(), value_of(&bytes, "split.no"), 2));
                let count = split_with(2, |bytes| put(bytes.clone(), value_of(&bytes, "split.count"), 4));
                let expected = "it does not say that it is file 2 of 3";
                assert!(count.unwrap_err().contains(expected));
                (number, expected)
            }
            "several with another number of tensors than `split.tensors.count`" => (
                split_with(1, |bytes| {
                    put(bytes.clone(), value_of(&bytes, "split.tensors.count"), 1)
                }),
                "not the 1 that it names",
            ),
            "a later one of several with a key that the first does not have" => {
                let key = "llama.rope.scaling.type";
                let own = |bytes: Vec<u8>| with_key(&bytes, key, &padded(key, "yarn"));
                (split_with(2, own), "has a llama.rope.scaling.type that")
            }
            "truncated" => (one(&whole[..whole.len() - 64]), "truncated"),
            "tensors that overlap" => (
                one(&changed(offset_of(&whole, "output_norm.weight"), &[0; 8])),
                "\"output_norm.weight\" overlap",
            ),
            "an empty tensor" => {
                let mut model = TinyModel::llama();
                model.tensors.push(("empty".into(), vec![0]));
                (one(&model.bytes()), "\"empty\" has impossible dimensions")
            }
            "a header of more than 128 MB" => {
                let folder = tempfile::tempdir().unwrap();
                let path = folder.path().join("m.gguf");
                let length = 129_u64 << 20;
                fs::write(&path, changed(24, &length.to_le_bytes())).unwrap();
                // Of the zeros behind, the disk keeps none.
                fs::OpenOptions::new()
                    .write(true)
                    .open(&path)
                    .unwrap()
                    .set_len(2 * length)
                    .unwrap();
                (load(folder.path(), "m").map(|_| ()), "more than 128 MB")
            }
            "arrays nested more than four deep" => {
                let array_of_one = [&9_u32.to_le_bytes()[..], &1_u64.to_le_bytes()].concat();
                let nested = [
                    &9_u32.to_le_bytes()[..],
                    &array_of_one.repeat(4),
                    &4_u32.to_le_bytes(),
                    &[0; 8],
                ]
                .concat();
                (one(&with_key(&whole, "x.nested", &nested)), "nests arrays")
            }
            "a key twice" => {
                let name = padded("general.name", "again");
                (one(&with_key(&whole, "general.name", &name)), "\"general.name\" twice")
            }
            "a name or a token that is not UTF-8" => (
                one(&renamed(&TinyModel::llama(), "<|endoftext|>", b"<|endoftext\xff>")),
                "not UTF-8",
            ),
            "a tensor twice" => {
                let mut model = TinyModel::llama();
                model.tensors.push(("output_norm.weight".into(), vec![64]));
                (one(&model.bytes()), "two tensors named \"output_norm.weight\"")
            }
            "a tensor of more than four dimensions" => (one(&changed(table, &[5])), "has 5 dimensions"),
            "a tensor at an offset that is not aligned" => (
                one(&changed(offset_of(&whole, "output_norm.weight"), &[1])),
                "unaligned offset",
            ),
            "rows that are no whole number of blocks" => {
                (one(&changed(table + 4, &[48])), "no whole number of Q8_0 blocks")
            }
            "more than 65,536 keys or tensors" => (one(&changed(16, &65_537_u64.to_le_bytes())), "names 65537 keys"),
            "not GGUF" => (one(b"PK\x03\x04"), "not a GGUF file"),
            "what Git LFS left in the place of a file" => (
                one(b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"),
                "git lfs pull",
            ),
            other => panic!("nothing tries {other}"),
        };
        assert_as_documented(what, got, verdict, expected);
        tried += 1;
    }
    assert_eq!(tried, 24);
}

#[test]
fn each_vocabulary_is_read_or_refused_as_documented() {
    let one = |model: &TinyModel| observe(&model.bytes()).map(|_| ());
    let with = |key: &str, value: Option<Meta>| {
        let mut model = TinyModel::qwen2();
        model.keys.push((format!("tokenizer.ggml.{key}"), value));
        model
    };
    let mut tried = 0;
    for (what, verdict) in rows().into_iter().filter(|(what, _)| what.starts_with("vocabulary: ")) {
        let (got, expected) = match what.strip_prefix("vocabulary: ").unwrap() {
            r"without `<\|im_start\|>` or `<\|im_end\|>`, which the template writes" => {
                let model = TinyModel::qwen2();
                for mark in ["<|im_start|>", "<|im_end|>"] {
                    let error = observe(&renamed(&model, mark, mark.replace("im", "ix").as_bytes())).unwrap_err();
                    assert!(error.contains(&format!("no token {mark}")), "{error}");
                }
                (
                    observe(&renamed(&model, "<|im_end|>", b"<|ix_end|>")).map(|_| ()),
                    "not made for chats in ChatML",
                )
            }
            "more tokens than the embedding table has rows" => (
                one(&with_tokens(vec!["another".into()], 265, 1)),
                "266 tokens, its embedding table 265 rows",
            ),
            "fewer tokens than the embedding table has rows" => {
                let mut model = with("merges", Some(Meta::Texts(vec!["t h".into()])));
                model.keys.extend(with_tokens(vec!["th".into()], 259, 1).keys);
                for (_, list) in &mut model.keys {
                    match list {
                        Some(Meta::Texts(tokens)) if tokens.len() > 260 => tokens.truncate(260),
                        Some(Meta::I32s(kinds)) => kinds.truncate(260),
                        _ => {}
                    }
                }
                (one(&model), "")
            }
            "a special token of more than 1,024 bytes, or more than 65,536 bytes of them" => {
                let many = with_tokens((0..66).map(|n| format!("{n:01000}")).collect(), 0, 3);
                assert!(one(&many).unwrap_err().contains("special tokens have 66035 bytes"));
                (
                    one(&with_tokens(vec!["x".repeat(1025)], 0, 3)),
                    "token 0 has 1025 bytes",
                )
            }
            "merges of tokens that it does not have" => (
                one(&with("merges", Some(Meta::Texts(vec!["t x".into()])))),
                "needs the token \"tx\"",
            ),
            "a chat template of more than 32,768 bytes, or one that takes more work or memory than 300,000 instructions" =>
            {
                let with = |template: String| {
                    let mut model = TinyModel::qwen2();
                    model
                        .keys
                        .push(("tokenizer.chat_template".into(), Some(Meta::Text(template))));
                    one(&model)
                };
                assert!(
                    with(" ".repeat(32_769))
                        .unwrap_err()
                        .contains("32769 bytes, more than 32768")
                );
                for endless in [
                    "{% for i in range(90000) %}{% for j in range(90000) %}{% endfor %}{% endfor %}",
                    "{% set ns = namespace(x='sea') %}{% for i in range(90) %}{% set ns.x = ns.x + ns.x %}{% endfor %}",
                    "{{ 'sea' * 1000000000000 }}",
                    "{% macro again() %}{{ again() }}{% endmacro %}{{ again() }}",
                ] {
                    let error = with(endless.into()).unwrap_err();
                    assert!(error.contains("tokenizer.chat_template cannot be rendered"), "{error}");
                }
                (with("{{ 'sea' * 20000000 }}".into()), "ran out of fuel")
            }
            "a chat template with an operation on more than 2,097,152 bytes" => {
                let mut model = TinyModel::qwen2();
                let template = "{{ ['sea' * 1000] * 100000 }}".to_owned();
                model
                    .keys
                    .push(("tokenizer.chat_template".into(), Some(Meta::Text(template))));
                (one(&model), "an operation on more than 2097152 bytes")
            }
            "a user-defined token, which is text although the template writes it" => {
                let bytes_of = |token: &str, kind: i32| {
                    let mut model = with_tokens(vec![token.into()], 200, kind);
                    let template = format!("{token}{{{{ messages[0].content }}}}{{{{ messages[1].content }}}}");
                    model
                        .keys
                        .push(("tokenizer.chat_template".into(), Some(Meta::Text(template))));
                    let folder = tempfile::tempdir().unwrap();
                    model.write(&folder.path().join("m.gguf")).unwrap();
                    let tokenizer = load(folder.path(), "m").unwrap().tokenizer;
                    assert_eq!(tokenizer.encode(token, Special::Parse).unwrap(), [200]);
                    tokenizer.decode(&[200])
                };
                assert_eq!(bytes_of("<|think|>", 4), b"<|think|>");
                // Those of other types are marks, and so is a token that ends a text.
                assert!(bytes_of("<|think|>", 1).is_empty() && bytes_of("<|think|>", 3).is_empty());
                assert!(bytes_of("<|eot_id|>", 4).is_empty());
                (Ok(()), "")
            }
            "a token twice" => (
                one(&with_tokens(vec!["<|im_end|>".into()], 200, 3)),
                "lists the token \"<|im_end|>\" twice",
            ),
            "a token that ends a text by its name" => {
                let named = |token: &str, kind: i32| {
                    let model = with_tokens(vec![token.into()], 200, kind);
                    observe(&model.bytes()).unwrap().ends.contains(&200)
                };
                for token in ["<|eot_id|>", "<|end|>", "<|fim_pad|>", "<|repo_name|>", "<|file_sep|>"] {
                    assert!(named(token, 3) && named(token, 1), "{token}");
                }
                assert!(named("</s>", 3) && named("<reponame>", 3) && !named("</s>", 1));
                assert!(named("<｜end▁of▁sentence｜>", 3) && named("[e~[", 3) && named("[e~[", 4));
                let first_ends = |tokens: &[&str]| {
                    let tokens = tokens.iter().map(|token| (*token).to_owned()).collect();
                    observe(&with_tokens(tokens, 200, 3).bytes())
                        .unwrap()
                        .ends
                        .contains(&200)
                };
                assert!(!first_ends(&["<|end|>", "<|return|>", "<|call|>"]) && first_ends(&["<|end|>", "<|return|>"]));
                assert!(!first_ends(&["<|end|>", "<|flush|>", "<|calls|>"]) && first_ends(&["<|end|>", "<|call|>"]));
                assert!(!first_ends(&["</s>", "<|tool_response>"]) && first_ends(&["</s>", "<|call|>"]));
                assert!(!named("<|fim_prefix|>", 3) && !named("<|quad_start|>", 3));
                (Ok(()), "")
            }
            "of an Ollama model whose chat template is in the manifest alone" => {
                let mut model = TinyModel::qwen2();
                model.keys.push(("tokenizer.chat_template".into(), None));
                (in_ollama(&model), "in Ollama's manifest alone")
            }
            "of qwen2 or qwen3 without `tokenizer.ggml.pre`" => {
                let without = observe(&with("pre", None).bytes());
                assert_eq!(without, observe(&TinyModel::qwen2().bytes()));
                (without.map(|_| ()), "")
            }
            other => panic!("nothing tries {other}"),
        };
        assert_as_documented(what, got, verdict, expected);
        tried += 1;
    }
    assert_eq!(tried, 12);
}

/// Loads a model from an Ollama folder whose manifest has a chat template.
fn in_ollama(model: &TinyModel) -> Result<(), String> {
    let folder = tempfile::tempdir().unwrap();
    let tag = folder.path().join("manifests/registry.ollama.ai/library/m/latest");
    fs::create_dir_all(tag.parent().unwrap()).unwrap();
    fs::create_dir(folder.path().join("blobs")).unwrap();
    let layer = |kind: &str, digest: &str| {
        format!(r#"{{"mediaType": "application/vnd.ollama.image.{kind}", "digest": "sha256:{digest}", "size": 1}}"#)
    };
    let layers = [layer("model", "01"), layer("template", "02")].join(", ");
    fs::write(tag, format!(r#"{{"layers": [{layers}]}}"#)).unwrap();
    model.write(&folder.path().join("blobs/sha256-01")).unwrap();
    let store = ModelStore::new(Places {
        ollama: vec![folder.path().to_owned()],
        ..Places::only(folder.path().join("own"))
    });
    let listed = store.find("m:latest").unwrap().info;
    let loaded = store.load("m:latest", &Map::new(), &|_, _| ());
    let reason = loaded.as_ref().err().map(ToString::to_string);
    assert_eq!(listed.err().map(|error| error.to_string()), reason);
    loaded.map(|_| ()).map_err(|error| error.to_string())
}

/// Loads the engine of a model with these bytes.
fn engine(bytes: &[u8]) -> Result<CpuEngine, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.gguf");
    fs::write(&path, bytes).unwrap();
    CpuEngine::load(&path, CpuOptions::default(), &|_, _| ()).map_err(|error| error.to_string())
}

/// Returns where the file holds the numbers of a tensor with so many dimensions. The last tensor of the file is `output_norm.weight`.
fn numbers_of(bytes: &[u8], name: &str, dimensions: usize) -> usize {
    let start = (offset_of(bytes, "output_norm.weight") + 8).next_multiple_of(32);
    let at = offset_of(bytes, name) + 8 * (dimensions - 1);
    start + u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap()) as usize
}

#[test]
fn a_number_that_is_not_finite_is_refused_with_its_tensor() {
    let blocks = |name| TinyWeights::Blocks(Stored::named(name).unwrap());
    // Where a block has its scale or minimum, and what is written there: infinity, or NaN.
    let (infinity, nan) = ([0x00, 0x7c], [0x01, 0x7e]);
    for (weights, at, number) in [
        (TinyWeights::F32, 2, [0x80, 0x7f]),
        (TinyWeights::F16, 0, nan),
        (TinyWeights::Bf16, 0, [0x80, 0xff]),
        (TinyWeights::Q8_0, 0, infinity),
        (TinyWeights::Q4_1, 0, nan),
        (TinyWeights::Q4_1, 2, infinity),
        (blocks("Q4_K"), 0, infinity),
        (blocks("Q4_K"), 2, nan),
        (blocks("Q6_K"), 208, infinity),
        (blocks("IQ4_XS"), 0, nan),
        // The largest f16, which times its second scale is beyond f16.
        (blocks("Q4_K"), 0, [0xff, 0x7b]),
    ] {
        let model = TinyModel {
            hidden_size: 256,
            feed_forward: 256,
            weights,
            ..TinyModel::qwen2()
        };
        let sound = model.bytes();
        assert!(engine(&sound).is_ok());
        for tensor in ["token_embd.weight", "blk.1.ffn_up.weight"] {
            let mut bytes = sound.clone();
            let place = numbers_of(&bytes, tensor, 2) + at;
            bytes[place..place + 2].copy_from_slice(&number);
            let error = engine(&bytes).err().unwrap();
            assert!(
                error.contains(tensor) && error.contains("not finite"),
                "{weights:?}: {error}"
            );
        }
    }
    let sound = TinyModel::qwen2().bytes();
    for tensor in ["blk.0.attn_norm.weight", "blk.1.attn_k.bias", "output_norm.weight"] {
        let mut bytes = sound.clone();
        let place = numbers_of(&bytes, tensor, 1) + 4;
        bytes[place..place + 4].copy_from_slice(&f32::NAN.to_le_bytes());
        let error = engine(&bytes).err().unwrap();
        assert!(error.contains(tensor) && error.contains("not finite"), "{error}");
    }
    // A table that is not the output matrix is read row by row.
    let model = TinyModel {
        own_output: true,
        ..TinyModel::qwen2()
    };
    let mut bytes = model.bytes();
    let row = numbers_of(&bytes, "token_embd.weight", 2) + 90 * (64 / 32) * 34;
    bytes[row..row + 2].copy_from_slice(&nan);
    let table = engine(&bytes).unwrap().embeddings();
    let mut row = vec![bf16::ZERO; table.hidden_size()];
    table.row(89, &mut row).unwrap();
    let error = table.row(90, &mut row).unwrap_err().to_string();
    assert!(error.contains("token 90 in token_embd.weight"), "{error}");
}

#[test]
fn a_row_of_numbers_that_eight_bits_cannot_hold_is_refused_with_its_tensor() {
    let sound = TinyModel {
        weights: TinyWeights::F32,
        ..TinyModel::qwen2()
    }
    .bytes();
    let tensor = "blk.1.ffn_up.weight";
    let with_row = |number: f32| {
        let mut bytes = sound.clone();
        let place = numbers_of(&bytes, tensor, 2);
        bytes[place..place + 64 * 4].copy_from_slice(&number.to_le_bytes().repeat(64));
        engine(&bytes).map(|_| ())
    };
    // The smallest f16 and multiples of it are kept as they are.
    for number in [0.0, 2.0_f32.powi(-24), 3.0 * 2.0_f32.powi(-24), 1e-5, 0.1] {
        assert_eq!(with_row(number), Ok(()));
    }
    for number in [1e-7, 7e-6, 1e-30, f32::MIN_POSITIVE / 2.0] {
        let error = with_row(number).unwrap_err();
        assert!(error.contains(tensor) && error.contains("too small"), "{error}");
    }
}

#[test]
fn dimensions_that_no_tensor_has_are_refused_with_the_tensor() {
    let name = "token_embd.weight";
    let whole = TinyModel::llama().bytes();
    let at = offset_of(&whole, name) - 16;
    assert_eq!(whole[at..at + 4], 2_u32.to_le_bytes(), "it has two dimensions");
    for dimensions in [
        &[0_u64][..],
        &[64, 0],
        &[0, 1 << 63, 4],
        &[1 << 63, 0, 2, 2],
        &[1 << 32, 1 << 32],
        &[u64::MAX],
        &[64, u64::MAX, u64::MAX, 2],
    ] {
        let mut header = (dimensions.len() as u32).to_le_bytes().to_vec();
        dimensions.iter().for_each(|n| header.extend(n.to_le_bytes()));
        let mut bytes = whole.clone();
        bytes.splice(at..at + 4 + 16, header);
        bytes.extend([0; 64]);
        let error = observe(&bytes).unwrap_err();
        assert!(
            error.contains(name) && error.contains("dimensions"),
            "{dimensions:?}: {error}"
        );
    }
}

#[test]
fn a_value_of_another_type_is_not_taken_for_a_missing_one() {
    for (key, value) in [
        ("tokenizer.ggml.pre", Meta::U32(5)),
        ("tokenizer.ggml.eos_token_id", Meta::Text("258".into())),
        ("tokenizer.ggml.eot_token_id", Meta::F32(258.0)),
        ("tokenizer.ggml.eom_token_id", Meta::I32s(vec![258])),
    ] {
        let mut model = TinyModel::qwen2();
        model.keys.push((key.into(), Some(value)));
        let error = observe(&model.bytes()).unwrap_err();
        assert!(error.contains(&format!("no usable {key}")), "{error}");
    }
    // Some programs write the largest number where there is no such token.
    let mut model = TinyModel::qwen2();
    model
        .keys
        .push(("tokenizer.ggml.eot_token_id".into(), Some(Meta::U32(u32::MAX))));
    assert!(observe(&model.bytes()).is_ok());
}

/// A model whose vocabulary has these tokens, of this type, in the places from `at` on.
fn with_tokens(own: Vec<String>, at: usize, kind: i32) -> TinyModel {
    let mut model = TinyModel::qwen2();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.gguf");
    model.write(&path).unwrap();
    let file = GgufFile::open(&path).unwrap();
    let mut kinds: Vec<i32> = file
        .u32s("tokenizer.ggml.token_type")
        .unwrap()
        .iter()
        .map(|&kind| kind as i32)
        .collect();
    let mut tokens: Vec<String> = file
        .strings("tokenizer.ggml.tokens")
        .unwrap()
        .iter()
        .map(str::to_owned)
        .collect();
    kinds.resize(kinds.len().max(at + own.len()), kind);
    tokens.resize(kinds.len(), String::new());
    for (place, token) in (at..).zip(own) {
        tokens[place] = token;
        kinds[place] = kind;
    }
    model
        .keys
        .push(("tokenizer.ggml.tokens".into(), Some(Meta::Texts(tokens))));
    model
        .keys
        .push(("tokenizer.ggml.token_type".into(), Some(Meta::I32s(kinds))));
    model
}

#[test]
fn tokens_that_are_searched_for_in_every_text_are_short() {
    for kind in [3, 4] {
        let ok = with_tokens(vec!["x".repeat(1024)], 0, kind);
        assert!(observe(&ok.bytes()).is_ok());
        let long = with_tokens(vec!["x".repeat(1025)], 0, kind);
        let error = observe(&long.bytes()).unwrap_err();
        assert!(error.contains("token 0 has 1025 bytes"), "{error}");
        let many = with_tokens((0..66).map(|n| format!("{n:01000}")).collect(), 0, kind);
        let error = observe(&many.bytes()).unwrap_err();
        assert!(error.contains("special tokens have 66035 bytes"), "{error}");
    }
    // Text is cut in pieces before it is looked for in the others.
    assert!(observe(&with_tokens(vec!["x".repeat(1025)], 0, 1).bytes()).is_ok());
}

#[test]
fn a_prompt_is_what_the_template_of_the_file_writes() {
    let prompt = |model: TinyModel, template: Option<&str>| {
        let mut model = model;
        let value = template.map(|template| Meta::Text(template.into()));
        model.keys.push(("tokenizer.chat_template".into(), value));
        observe(&model.bytes()).map(|observed| observed.prompt)
    };
    let chatml = "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nU<|im_end|>\n<|im_start|>assistant\n";
    for (template, expected) in [
        (None, chatml),
        (Some(""), chatml),
        // The beginning of a thought, other roles, and a mark behind the role.
        (
            Some(
                "{%- for message in messages %}\n    {%- set content = message.content|trim %}\n    \
                 {{- '<|im_start|>' + message.role + '\\n' + content + '<|im_end|>' + '\\n' }}\n{%- endfor %}\n\
                 {%- if add_generation_prompt %}\n    {{- '<|im_start|>assistant\\n' }}\n    \
                 {%- if enable_thinking is defined and enable_thinking is false %}\n        {{- '<think>\\n\\n</think>\\n\\n' }}\n    \
                 {%- else %}\n        {{- '<think>\\n' }}\n    {%- endif %}\n{%- endif %}",
            ),
            "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nU<|im_end|>\n<|im_start|>assistant\n<think>\n",
        ),
        (
            Some(
                "{% set roles = {'user': 'question', 'system': 'system'} %}{% for m in messages %}\
                 {{ '<|im_start|>' ~ roles[m['role']] ~ '\\n' ~ m['content'] ~ '<|im_end|>\\n' }}{% endfor %}{{ '<|im_start|>answer\\n' }}",
            ),
            "<|im_start|>system\nS<|im_end|>\n<|im_start|>question\nU<|im_end|>\n<|im_start|>answer\n",
        ),
        (
            Some(
                "{% for m in messages[::-1] | reverse %}<|im_start|>{{ m.role }}<|im_sep|>{{ m.get('content', '').strip() }}<|im_end|>\
                 {% endfor %}<|im_start|>assistant<|im_sep|>",
            ),
            "<|im_start|>system<|im_sep|>S<|im_end|><|im_start|>user<|im_sep|>U<|im_end|><|im_start|>assistant<|im_sep|>",
        ),
        (
            Some("{{ bos_token }}[INST] {{ messages[0].content }} {{ messages[1].content }} [/INST]{{ eos_token }}"),
            "<|endoftext|>[INST] S U [/INST]<|im_end|>",
        ),
    ] {
        assert_eq!(prompt(TinyModel::llama(), template).unwrap(), expected, "{template:?}");
        // The stock unit's full stop.
        let expected = expected.replacen("S<", "S.<", 1).replacen("S U", "S. U", 1);
        assert_eq!(prompt(TinyModel::qwen2(), template).unwrap(), expected, "{template:?}");
    }
    for (template, expected) in [
        ("{{ messages[1].content }}", "leaves out the system prompt"),
        ("{{ messages[0].content }}", "leaves out the user's text"),
        ("{{ raise_exception('No system prompts.') }}", "No system prompts."),
        (
            "{{ messages[1].content[0].upper() }}{{ messages[2].content.x }}",
            "cannot be rendered",
        ),
        ("{% unknown %}{% endunknown %}", "unknown"),
    ] {
        let error = prompt(TinyModel::llama(), Some(template)).unwrap_err();
        assert!(
            error.contains("tokenizer.chat_template") && error.contains(expected),
            "{error}"
        );
    }
}

#[test]
fn a_token_that_the_template_writes_is_one_token_whatever_type_a_file_gives_it() {
    for kind in [1, 3] {
        let mut model = with_tokens(vec!["<|im_sep|>".into()], 200, kind);
        let template = "{% for m in messages %}{{ m.role }}<|im_sep|>{{ m.content }}{% endfor %}";
        model
            .keys
            .push(("tokenizer.chat_template".into(), Some(Meta::Text(template.into()))));
        let folder = tempfile::tempdir().unwrap();
        model.write(&folder.path().join("m.gguf")).unwrap();
        let tokenizer = load(folder.path(), "m").unwrap().tokenizer;
        assert_eq!(
            tokenizer.encode("a<|im_sep|>", Special::Parse).unwrap().last(),
            Some(&200)
        );
    }
}

#[test]
fn a_turn_ends_with_the_token_of_the_template_that_the_file_has() {
    let turn_end = |template: &str| {
        let mut model = TinyModel::llama();
        let text = "{% for m in messages %}{{ m.content }}".to_owned() + template + "{% endfor %}";
        model
            .keys
            .push(("tokenizer.chat_template".into(), Some(Meta::Text(text))));
        model
            .keys
            .push(("tokenizer.ggml.eos_token_id".into(), Some(Meta::U32(77))));
        let folder = tempfile::tempdir().unwrap();
        model.write(&folder.path().join("m.gguf")).unwrap();
        let tokenizer = load(folder.path(), "m").unwrap().tokenizer;
        (tokenizer.end_of_turn(), tokenizer.token_id("<|im_end|>"))
    };
    let (in_chatml, im_end) = turn_end("<|im_end|>");
    assert!(im_end.is_some_and(|id| id != 77));
    assert_eq!(in_chatml, im_end);
    assert_eq!(turn_end("{{ eos_token }}").0, Some(77));
}

#[test]
fn a_vocabulary_of_another_kind_is_distinguished_from_another_way_to_split_text() {
    for (key, value, expected) in [
        ("tokenizer.ggml.pre", "llama-bpe", "splits text as \"llama-bpe\""),
        ("tokenizer.ggml.model", "llama", "only byte-level BPE"),
    ] {
        let mut model = TinyModel::llama();
        model.keys.push((key.into(), Some(Meta::Text(value.into()))));
        let error = observe(&model.bytes()).unwrap_err();
        assert!(error.contains(expected) && error.contains("SmolLM2"), "{error}");
        assert_eq!(error.contains("only byte-level BPE"), key.ends_with("model"), "{error}");
    }
}

#[test]
fn merges_of_missing_tokens_are_reported_before_a_model_is_loaded() {
    for (merge, expected) in [
        ("t hh", "\"hh\""),
        ("zz h", "\"zz\""),
        ("t x", "\"tx\""),
        ("th", "no pair"),
    ] {
        let mut model = TinyModel::qwen2();
        let merges = Some(Meta::Texts(vec!["t h".into(), merge.into()]));
        model.keys.push(("tokenizer.ggml.merges".into(), merges));
        let error = observe(&model.bytes()).unwrap_err();
        assert!(error.contains("merge 2") && error.contains(expected), "{error}");
    }
}

/// A file that has this text in the place of `name`, which is as long.
fn renamed(model: &TinyModel, name: &str, other: &[u8]) -> Vec<u8> {
    assert_eq!(name.len(), other.len());
    let mut bytes = model.bytes();
    let at = bytes.windows(name.len()).position(|window| window == name.as_bytes());
    let at = at.unwrap();
    bytes[at..at + name.len()].copy_from_slice(other);
    bytes
}

#[test]
fn a_tensor_that_is_not_computed_is_named_before_one_that_is_missing() {
    let model = TinyModel::llama();
    let error = observe(&renamed(&model, "blk.0.attn_q.weight", b"blk.0.attn_x.weight")).unwrap_err();
    assert!(
        error.contains("blk.0.attn_x.weight, which is not computed here"),
        "{error}"
    );
    // Every other tensor is there.
    let error = observe(&without_tensor(&model.bytes(), "token_embd.weight", 2)).unwrap_err();
    assert!(error.contains("the tensor token_embd.weight is missing"), "{error}");
}

#[test]
fn names_and_tokens_that_are_not_utf8_are_refused() {
    let model = TinyModel::llama();
    for (name, other) in [
        ("general.name", &b"general.nam\xff"[..]),
        ("blk.0.attn_q.weight", b"blk.0.attn_q.weigh\xff"),
        ("<|endoftext|>", b"<|endoftext\xff>"),
    ] {
        let error = observe(&renamed(&model, name, other)).unwrap_err();
        assert!(error.contains("not UTF-8"), "{name}: {error}");
    }
    assert!(
        observe(&renamed(&model, "tiny llama", b"tiny lama\xff")).is_ok(),
        "a description"
    );
    let mut tagged = model.clone();
    tagged
        .keys
        .push(("general.tags".into(), Some(Meta::Texts(vec!["of the sea".into()]))));
    assert!(
        observe(&renamed(&tagged, "of the sea", b"of the se\xff")).is_ok(),
        "a list of descriptions"
    );
}

#[test]
fn a_key_that_only_a_later_file_of_a_model_has_is_refused_by_name() {
    let with = |key: &str, text: &str| split_with(2, |bytes| with_key(&bytes, key, &padded(key, text)));
    let error = with("llama.rope.scaling.type", "yarn").unwrap_err();
    assert!(
        error.contains("llama.rope.scaling.type") && error.contains("split-00002-of-00003.gguf"),
        "{error}"
    );
    // A key of the first file loses nothing. (What follows is no longer in its place, which is another error.)
    let architecture = [&8_u32.to_le_bytes()[..], &5_u64.to_le_bytes(), b"llama"].concat();
    let error = split_with(2, |bytes| with_key(&bytes, "general.architecture", &architecture));
    assert!(!error.unwrap_err().contains("general.architecture"));
}

#[test]
fn a_tensor_that_two_files_of_a_model_have_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let name = |number: usize| format!("split-0000{number}-of-00003.gguf");
    for number in [1, 2, 3] {
        fs::copy(case(&name(number)), folder.path().join(name(number))).unwrap();
    }
    // Of the third file's first tensor, a name of the second's with as many letters.
    let mut third = fs::read(case(&name(3))).unwrap();
    let second = GgufFile::open(&folder.path().join(name(1))).unwrap();
    let mut names: Vec<&str> = second.tensors().map(|tensor| tensor.name.as_str()).collect();
    names.sort_unstable();
    let is_in = |bytes: &[u8], name: &str| bytes.windows(name.len()).any(|window| window == name.as_bytes());
    let second = fs::read(case(&name(2))).unwrap();
    let (own, other) = names
        .iter()
        .filter(|own| is_in(&third, own))
        .find_map(|own| {
            let other = names
                .iter()
                .find(|other| other.len() == own.len() && is_in(&second, other));
            Some((*own, *other?))
        })
        .unwrap();
    let at = third
        .windows(own.len())
        .position(|window| window == own.as_bytes())
        .unwrap();
    third[at..at + own.len()].copy_from_slice(other.as_bytes());
    fs::write(folder.path().join(name(3)), third).unwrap();
    let error = load(folder.path(), "split").err().unwrap();
    assert!(
        error.contains(&format!("the tensor {other}, which another file")),
        "{error}"
    );
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

fn cases() -> PathBuf {
    fixtures().join("cases")
}

fn case(name: &str) -> PathBuf {
    cases().join(name)
}

/// Cases created by `forward/make.py`.
#[derive(Deserialize)]
struct Reference {
    model: String,
    tokens: Vec<u32>,
    /// The logits after the last token.
    logits: Vec<f32>,
    /// The logits if the model's special property is ignored.
    passed_over: Vec<f32>,
}

#[test]
fn models_give_the_logits_of_an_independent_forward_pass_in_numpy_the_same_on_every_tier() {
    let references = fs::read(fixtures().join("forward/logits.json")).unwrap();
    let references: Vec<Reference> = serde_json::from_slice(&references).unwrap();
    assert_eq!(references.len(), 7);
    for reference in references {
        let path = fixtures().join(format!("forward/{}.gguf", reference.model));
        let on_tier = |tier| {
            let options = CpuOptions {
                tier: Some(tier),
                ..CpuOptions::default()
            };
            let mut engine = CpuEngine::load(&path, options, &|_, _| ()).unwrap();
            logits(&mut engine, &reference.tokens)
        };
        let ours = on_tier(Tier::Scalar);
        for tier in Tier::ALL.into_iter().filter(|tier| tier.is_supported()) {
            assert!(on_tier(tier) == ours, "{} on {tier}", reference.model);
        }
        let apart = |other: &[f32]| {
            let squares = ours.iter().zip(other).map(|(a, b)| (a - b).powi(2));
            (squares.sum::<f32>() / ours.len() as f32).sqrt()
        };
        let (right, wrong) = (apart(&reference.logits), apart(&reference.passed_over));
        println!(
            "{}: {right} from the reference, {wrong} from what passes over",
            reference.model
        );
        // Activations are rounded to eight bits, which changes logits of about 4 by a few hundredths.
        assert!(
            right < 0.25 && right < 0.1 * wrong,
            "{}: {right} of {wrong}",
            reference.model
        );
    }
}

/// Returns the model's answer to "hi there", twelve tokens.
fn answer_of(name: &str) -> String {
    let mut model = load(&cases(), name).unwrap();
    let text = model.template.render("S", "hi there").unwrap();
    let mut tokens = model.tokenizer.encode(&text, Special::Parse).unwrap();
    let prompt = tokens.len();
    for _ in 0..12 {
        let next = greedy(&logits(model.engine.as_mut(), &tokens)).unwrap();
        tokens.push(next);
    }
    String::from_utf8_lossy(&model.tokenizer.decode(&tokens[prompt..])).into_owned()
}

#[test]
fn files_of_other_programs_give_the_expected_texts() {
    assert_eq!(answer_of("bias-qkv"), "AAAAAAAAAAAA");
    assert_eq!(answer_of("bias-attn-output"), "AAAAAAAAAAAA");
    assert_eq!(answer_of("bias-ffn-down"), "AAAAAAAAAAAA");
    assert_eq!(answer_of("rope-none"), "\u{fffd}zFFFFFFFF ");
    // The texts of a forward pass in numpy over the dequantised values; each token leads by 5.
    for name in ["iq4nl", "pre-missing-qwen2", "split"] {
        assert_eq!(answer_of(name), "\n".repeat(12), "{name}");
    }
}

/// Returns how far the tokens of `text` are below the likeliest ones, by teacher forcing.
fn below_the_likeliest(name: &str, text: &[&str]) -> f32 {
    let mut model = load(&cases(), name).unwrap();
    let prompt = model.template.render("S", "hi there").unwrap();
    let mut tokens = model.tokenizer.encode(&prompt, Special::Parse).unwrap();
    let mut most = 0.0_f32;
    for token in text {
        let token = model.tokenizer.token_id(token).unwrap();
        let logits = logits(model.engine.as_mut(), &tokens);
        let highest = logits.iter().copied().fold(f32::MIN, f32::max);
        most = most.max(highest - logits[token as usize]);
        tokens.push(token);
    }
    most
}

#[test]
fn positions_are_divided_by_the_scaling_factor_under_both_of_its_keys() {
    // The expected texts are from a forward pass in numpy. Two tokens lead by only 0.0004 and 0.02, less than the rounding of activations
    // to eight bits, so the texts need not be equal.
    let right = ["x", "F", "ī", "6", "F", "F", "F", "F"];
    for scaled in ["rope-linear-4", "rope-old-key"] {
        let below = below_the_likeliest(scaled, &right);
        assert!(below < 0.06, "{scaled}: {below}");
    }
    assert_eq!(answer_of("rope-linear-4"), answer_of("rope-old-key"));
    assert!(
        below_the_likeliest("rope-none", &right) > 0.5,
        "without the factor it says something else"
    );
}

#[test]
fn template_tokens_are_found_by_name_whatever_type_a_file_gives_them() {
    let tokens = |name: &str| {
        let tokenizer = Tokenizer::from_gguf(&GgufFile::open(&case(name)).unwrap()).unwrap();
        let text = ChatTemplate::chatml().render("S", "hi there").unwrap();
        (
            tokenizer.encode(&text, Special::Parse).unwrap(),
            tokenizer.stop_tokens(),
            tokenizer.is_control(258),
        )
    };
    assert_eq!(tokens("marks-normal.gguf"), tokens("bias-qkv.gguf"));
}

#[test]
fn the_error_of_a_file_that_cannot_be_loaded_contains_its_reason_once() {
    let error = load(&cases(), "no-token-type").err().unwrap();
    assert!(error.contains("lacks tokenizer.ggml.token_type"), "{error}");
    assert_eq!(error.matches("download").count(), 1, "one remedy: {error}");
}

#[test]
fn a_file_that_is_intact_and_not_supported_is_not_to_be_downloaded_again() {
    for (key, value) in [
        ("tokenizer.ggml.add_eos_token", "true"),
        ("tokenizer.ggml.suppress_tokens", "[65]"),
        ("tokenizer.ggml.normalizer.lowercase", "true"),
        ("llama.attention.head_count_kv", "[1, 2]"),
        ("llama.attention.sliding_window", "64"),
    ] {
        let mut model = TinyModel::llama();
        model.keys.push((key.into(), Some(self::value(value))));
        let error = observe(&model.bytes()).unwrap_err();
        assert!(error.contains(key) && error.contains("choose another"), "{error}");
        assert!(!error.contains("download"), "{error}");
    }
}

#[test]
fn a_prompt_begins_with_the_token_that_the_file_asks_for_once() {
    let prompt = |template: Option<&str>| {
        let mut model = TinyModel::qwen2();
        model
            .keys
            .push(("tokenizer.ggml.add_bos_token".into(), Some(Meta::Bool(true))));
        model
            .keys
            .push(("tokenizer.ggml.bos_token_id".into(), Some(Meta::U32(256))));
        let template = template.map(|template| Meta::Text(template.into()));
        model.keys.push(("tokenizer.chat_template".into(), template));
        let prompt = observe(&model.bytes()).unwrap().prompt;
        prompt.matches("<|endoftext|>").count() == 1 && prompt.starts_with("<|endoftext|>")
    };
    assert!(prompt(None));
    assert!(prompt(Some("{{ messages[0].content }}{{ messages[1].content }}")));
    assert!(prompt(Some(
        "{{ bos_token }}{{ messages[0].content }}{{ messages[1].content }}"
    )));
}

#[test]
fn truncating_or_overwriting_the_file_of_a_loaded_model_is_an_error_and_no_signal() {
    for cut in [true, false] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.gguf");
        fs::write(&path, TinyModel::llama().bytes()).unwrap();
        let model = load(folder.path(), "m").unwrap();
        let table = model.engine.embeddings();
        let mut row = vec![bf16::ZERO; table.hidden_size()];
        table.row(65, &mut row).unwrap();
        let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
        if cut {
            file.set_len(100).unwrap();
        } else {
            // The length is kept, as by a copy program, and the modification time changes.
            file.set_modified(std::time::SystemTime::now() + std::time::Duration::from_secs(5))
                .unwrap();
        }
        let error = table.row(65, &mut row).unwrap_err().to_string();
        assert!(
            error.contains("changed while it was in use") && error.contains("m.gguf"),
            "{error}"
        );
    }
}

#[test]
fn models_with_their_own_head_size_give_the_same_bits_alone_in_a_batch_and_in_chunks() {
    let path = fixtures().join("forward/qwen3.gguf");
    let answers = |threads: usize, chunks: usize, company: bool| -> Vec<f32> {
        let options = CpuOptions {
            threads: Some(threads),
            ..CpuOptions::default()
        };
        let mut engine = CpuEngine::load(&path, options, &|_, _| ()).unwrap();
        let table = engine.embeddings();
        let width = table.hidden_size();
        let mut rows = vec![bf16::ZERO; 40 * width];
        for (token, row) in rows.chunks_exact_mut(width).enumerate() {
            table.row(token as u32, row).unwrap();
        }
        let stop = AtomicBool::new(false);
        let (own, other) = (engine.open(40).unwrap(), engine.open(40).unwrap());
        let mut last = Vec::new();
        for piece in rows.chunks(chunks * width) {
            let step = |sequence, rows| SequenceStep {
                sequence,
                rows,
                logits: Logits::Last,
                out: Vec::new(),
                stop: &stop,
            };
            let mut batch = vec![step(own, piece)];
            if company {
                batch.push(step(other, &piece[..width]));
            }
            engine.forward(&mut batch).unwrap();
            last = std::mem::take(&mut batch[0].out);
        }
        last
    };
    let expected = answers(1, 40, false);
    for (threads, chunks, company) in [(1, 1, false), (2, 7, false), (2, 40, true), (3, 3, true)] {
        assert!(
            answers(threads, chunks, company) == expected,
            "{threads} threads, pieces of {chunks}, {company}"
        );
    }
}
