//! Model folders and cards: sizes, tokenizers, sampling, and errors if they do not match.

use std::path::Path;

use serde_json::{Map, Value, json};
use softprefix_unit::engine::sampling::{Sampler, Sampling};
use softprefix_unit::gguf::GgufFile;
use softprefix_unit::model::ModelSource;
use softprefix_unit::tokenizer::{Special, TokenKind, Vocabulary};

use crate::feeding::*;
use crate::world::{CACHE, MODEL, PREFILL, World};

#[test]
fn sizes_are_read_from_the_models() {
    let world = World::new();
    let model = load(&world).unwrap();
    let info = model.engine.info();
    assert_eq!((info.hidden_size, info.vocab_size), (64, 265));
    assert_eq!((info.prefill_window, info.window), (PREFILL, CACHE));
    assert_eq!(
        (info.max_sequences, info.chunked_prefill, info.drafts),
        (1, false, false)
    );
    assert!(info.backend.starts_with("npu/stand-in"));
}

#[test]
fn a_dynamically_loaded_layer_gives_the_same_logits() {
    let world = World::new();
    let expected = {
        let mut model = load(&world).unwrap();
        let prompt = rows(model.engine.as_ref(), &PROMPT);
        greedy(model.engine.as_mut(), &prompt, 8).unwrap()
    };
    let mut card = world.card();
    card["mode_param"]["b_dynamic_load_axmodel_layer"] = json!(true);
    world.write_card(&card);
    let mut model = load(&world).unwrap();
    let prompt = rows(model.engine.as_ref(), &PROMPT);
    assert_eq!(greedy(model.engine.as_mut(), &prompt, 8).unwrap(), expected);
    assert_eq!(world.violations(), Vec::<String>::new());
}

#[test]
fn files_that_do_not_match_the_card_are_named_with_both_sizes() {
    let world = World::new();
    let damage = |key: &str, value: serde_json::Value| {
        let mut card = world.card();
        card["mode_param"][key] = value;
        world.write_card(&card);
        load(&world).err().unwrap().to_string()
    };
    let sentence = damage("tokens_embed_size", json!(96));
    assert!(
        sentence.contains("bfloat16.bin") && sentence.contains("33920") && sentence.contains("50880"),
        "{sentence}"
    );
    let sentence = damage("tokens_embed_num", json!(264));
    assert!(sentence.contains("bfloat16.bin"), "{sentence}");
    let sentence = damage("axmodel_num", json!(3));
    assert!(sentence.contains("l2_together.axmodel"), "{sentence}");
    let sentence = damage("filename_post_axmodel", json!("qwen2_p16_l0_together.axmodel"));
    assert!(sentence.contains("l0_together"), "{sentence}");
    let sentence = damage("tokenizer_type", json!(3));
    assert!(sentence.contains("tokenizer_type"), "{sentence}");

    world.write_card(&world.card());
    let layer = world.model_folder().join("qwen2_p16_l1_together.axmodel");
    let bytes = std::fs::read(&layer).unwrap();
    std::fs::write(&layer, &bytes[..bytes.len() / 2]).unwrap();
    let sentence = load(&world).err().unwrap().to_string();
    assert!(
        sentence.contains("l1_together.axmodel") && sentence.contains("AX_ENGINE_CreateHandle"),
        "{sentence}"
    );
    assert_eq!(world.still_held(), Vec::<String>::new());
}

#[test]
fn the_tokenizer_and_the_template_are_loaded_with_the_model() {
    let world = World::new();
    let model = load(&world).unwrap();
    let text = model.template.render("S", "hi").unwrap();
    let ids = model
        .tokenizer
        .encode(&text, softprefix_unit::tokenizer::Special::Parse)
        .unwrap();
    assert_eq!(ids[0], 257, "the chat markers are single tokens");
    assert_eq!(model.tokenizer.decode(&ids[1..7]), b"system");
    assert_eq!(model.stop_tokens, [256, 258]);
}

#[test]
fn sampling_keys_of_the_set_up_override_the_card_and_those_override_post_config() {
    let world = World::new();
    let post = json!({"enable_temperature": true, "temperature": 0.5, "enable_top_k_sampling": true, "top_k": 4});
    std::fs::write(world.folders().current.join("post_config.json"), post.to_string()).unwrap();
    let mut card = world.card();
    card["mode_param"]["temperature"] = json!(0.7);
    card["mode_param"]["top_k"] = json!(8);
    world.write_card(&card);
    let set_up = json!({"top_k": 3});
    let model = world
        .models()
        .load(MODEL, set_up.as_object().unwrap(), &|_, _| {})
        .unwrap();
    let settings = &model.settings;
    assert_eq!(
        (
            &settings["top_k"],
            &settings["temperature"],
            &settings["enable_temperature"]
        ),
        (&json!(3), &json!(0.7), &json!(true))
    );
}

#[test]
fn keys_of_the_set_up_override_the_card_when_a_model_is_loaded() {
    let world = World::new();
    let load_with = |keys: Value| world.models().load(MODEL, keys.as_object().unwrap(), &|_, _| {});
    let stays = load_with(json!({})).unwrap();
    let held = world.still_held().len();
    drop(stays);
    let model = load_with(json!({"b_dynamic_load_axmodel_layer": true, "max_token_len": 33})).unwrap();
    assert!(world.still_held().len() < held, "the layers are not held");
    assert_eq!(model.settings["max_token_len"], 33);
    drop(model);
    let sentence = load_with(json!({"filename_post_axmodel": "other.axmodel"}))
        .err()
        .unwrap()
        .to_string();
    assert!(sentence.contains("other.axmodel"), "{sentence}");
}

#[test]
fn an_embeddings_file_of_another_size_is_refused_before_a_layer_is_loaded() {
    let world = World::new();
    let path = world.model_folder().join("model.embed_tokens.weight.bfloat16.bin");
    let bytes = std::fs::read(&path).unwrap();
    assert_eq!(bytes.len(), 265 * 64 * 2);
    let longer = [bytes.as_slice(), &[0, 0]].concat();
    for damaged in [&bytes[..bytes.len() - 1], &bytes[..bytes.len() - 128], &longer, &[]] {
        std::fs::write(&path, damaged).unwrap();
        world.reset(0);
        let sentence = load(&world).err().unwrap().to_string();
        assert!(
            sentence.contains("bfloat16.bin")
                && sentence.contains("33920")
                && sentence.contains(&damaged.len().to_string()),
            "{sentence}"
        );
        assert!(!world.log().contains(&"create handle".to_owned()));
        assert_eq!(world.still_held(), Vec::<String>::new());
    }
    std::fs::remove_file(&path).unwrap();
    let sentence = load(&world).err().unwrap().to_string();
    assert!(sentence.contains("bfloat16.bin"), "{sentence}");
}

#[test]
fn layers_that_do_not_match_each_other_or_themselves_are_named() {
    let world = World::new();
    let layer = world.model_folder().join("qwen2_p16_l1_together.axmodel");
    let good = std::fs::read(&layer).unwrap();
    let refused = |bytes: &[u8]| {
        std::fs::write(&layer, bytes).unwrap();
        let sentence = load(&world).err().unwrap().to_string();
        assert!(sentence.contains("l1_together.axmodel"), "{sentence}");
        assert_eq!(world.still_held(), Vec::<String>::new());
        sentence
    };
    // Words of the stand-in's header: the sixth is the length of the cache, the seventh the length of prefill.
    let with_word = |at: usize, value: u32| {
        let mut bytes = good.clone();
        bytes[8 + at * 4..][..4].copy_from_slice(&value.to_le_bytes());
        bytes
    };
    let sentence = refused(&with_word(6, 39));
    assert!(
        sentence.contains("kv_len: 39") && sentence.contains("kv_len: 40"),
        "{sentence}"
    );
    let sentence = refused(&with_word(7, 8));
    assert!(
        sentence.contains("prefill: 8") && sentence.contains("prefill: 16"),
        "{sentence}"
    );
    let sentence = refused(&with_word(7, 41));
    assert!(
        sentence.contains("41 rows") && sentence.contains("cache of 40"),
        "{sentence}"
    );
    let post = std::fs::read(world.model_folder().join("qwen2_post.axmodel")).unwrap();
    let sentence = refused(&post);
    assert!(sentence.contains("1 shape group"), "{sentence}");
    refused(&[]);
}

#[test]
fn a_tokenizer_folder_is_read_without_a_tokenizer_server() {
    let world = World::new();
    let mut card = world.card();
    card["mode_param"]["tokenizer_type"] = json!(2);
    card["mode_param"]["filename_tokenizer_model"] = json!("http://localhost:8080");
    world.write_card(&card);
    let sentence = load(&world).err().unwrap().to_string();
    assert!(sentence.contains("tokenizer/tokenizer.json"), "{sentence}");

    write_tokenizer_json(&world.gguf, &world.model_folder().join("tokenizer"));
    let model = load(&world).unwrap();
    // The tokenizer servers of the stock unit use the model's own template, which adds no full stop.
    let text = model.template.render("S", "hi").unwrap();
    assert!(text.starts_with("<|im_start|>system\nS<|im_end|>"), "{text}");
    let ids = model.tokenizer.encode(&text, Special::Parse).unwrap();
    assert_eq!((ids[0], model.tokenizer.decode(&ids[1..7])), (257, b"system".to_vec()));
    assert_eq!(model.stop_tokens, [256, 258]);
}

/// The tiny model's vocabulary, as a `tokenizer.json`.
fn write_tokenizer_json(gguf: &Path, folder: &Path) {
    let vocabulary = Vocabulary::from_gguf(&GgufFile::open(gguf).unwrap()).unwrap();
    let marks = vocabulary.kinds.iter().enumerate();
    let marks = marks.filter(|(_, kind)| **kind == TokenKind::Control);
    let added: Vec<Value> = marks
        .map(|(id, _)| {
            json!({"id": id, "content": vocabulary.tokens[id], "single_word": false, "lstrip": false, "rstrip": false,
                   "normalized": false, "special": true})
        })
        .collect();
    let ids: Map<String, Value> = vocabulary
        .tokens
        .iter()
        .cloned()
        .zip((0..).map(|id: u32| id.into()))
        .collect();
    let merges: Vec<String> = vocabulary
        .merges
        .iter()
        .map(|(left, right)| format!("{left} {right}"))
        .collect();
    let byte_level = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true});
    let json = json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": added, "normalizer": null,
        "pre_tokenizer": byte_level, "post_processor": null, "decoder": byte_level,
        "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
                  "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
                  "vocab": ids, "merges": merges}});
    std::fs::create_dir_all(folder).unwrap();
    std::fs::write(folder.join("tokenizer.json"), json.to_string()).unwrap();
}

#[test]
fn sampling_is_greedy_by_default_and_repeatable_with_a_seed() {
    let world = World::new();
    let texts = |keys: Value| {
        let mut model = world
            .models()
            .load(MODEL, keys.as_object().unwrap(), &|_, _| {})
            .unwrap();
        let sampling = Sampling::from_settings(&model.settings).unwrap();
        let engine = model.engine.as_mut();
        let prompt = rows(engine, &PROMPT);
        let (likeliest, logits) = greedy(engine, &prompt, 12).unwrap();
        let mut sampler = Sampler::new(sampling);
        let picked: Vec<u32> = logits.iter().map(|logits| sampler.pick(logits).unwrap()).collect();
        (picked, likeliest)
    };
    let (picked, likeliest) = texts(json!({}));
    assert_eq!(picked, likeliest);

    let drawn = |seed: u64| texts(json!({"enable_top_k_sampling": true, "top_k": 50, "seed": seed})).0;
    assert_eq!(drawn(1), drawn(1));
    assert_ne!(drawn(1), drawn(2));

    let post = json!({"enable_top_k_sampling": true, "top_k": 50, "seed": 1});
    std::fs::write(world.folders().current.join("post_config.json"), post.to_string()).unwrap();
    assert_eq!(texts(json!({})).0, drawn(1), "post_config.json alone says the same");
    assert_eq!(
        texts(json!({"enable_top_k_sampling": false})).0,
        likeliest,
        "greedy on request"
    );
}
