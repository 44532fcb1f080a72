//! The NPU engine against the stand-in runtime: what it asks of the runtime, in which order, and what it gives back.
#![cfg(all(feature = "npu", feature = "cpu"))] // The world is made from a GGUF file.
#![allow(unsafe_code)] // Two calls into the stand-in's own test functions.
#![allow(clippy::unwrap_used, clippy::expect_used)] // Helpers of tests fail the test.

mod world;

use std::sync::atomic::AtomicBool;

use half::bf16;
use serde_json::{Map, json};
use softprefix_unit::engine::{Engine, EngineError, Logits, SequenceId, Step};
use softprefix_unit::model::{LoadError, LoadedModel, ModelSource};
use world::{CACHE, MODEL, PREFILL, World};

static GO: AtomicBool = AtomicBool::new(false);

fn load(world: &World) -> Result<LoadedModel, LoadError> {
    world.models().load(MODEL, &Map::new(), &|_, _| {})
}

fn rows(engine: &dyn Engine, tokens: &[u32]) -> Vec<bf16> {
    let table = engine.embeddings();
    let h = table.hidden_size();
    let mut rows = vec![bf16::ZERO; tokens.len() * h];
    for (row, token) in rows.chunks_exact_mut(h).zip(tokens) {
        table.row(*token, row).unwrap();
    }
    rows
}

fn prefix(hidden_size: usize, len: usize, value: f32) -> Vec<bf16> {
    (0..len * hidden_size)
        .map(|i| bf16::from_f32(if i % 3 == 0 { -value } else { value }))
        .collect()
}

fn feed(engine: &mut dyn Engine, sequence: SequenceId, rows: &[bf16], logits: Logits) -> Result<Vec<f32>, EngineError> {
    let mut batch = [Step {
        sequence,
        rows,
        logits,
        out: Vec::new(),
        stop: &GO,
    }];
    engine.forward(&mut batch)?;
    let [step] = batch;
    Ok(step.out)
}

fn argmax(logits: &[f32]) -> u32 {
    (0..logits.len())
        .rev()
        .max_by(|a, b| logits[*a].total_cmp(&logits[*b]))
        .unwrap() as u32
}

/// Greedy: the ids, and every step's logits.
fn greedy(engine: &mut dyn Engine, prompt: &[bf16], steps: usize) -> Result<(Vec<u32>, Vec<Vec<f32>>), EngineError> {
    let sequence = engine.open(engine.info().window)?;
    let result = (|| {
        let mut logits = vec![feed(engine, sequence, prompt, Logits::Last)?];
        let mut ids = vec![argmax(&logits[0])];
        while ids.len() < steps {
            let next = rows(engine, &ids[ids.len() - 1..]);
            logits.push(feed(engine, sequence, &next, Logits::Last)?);
            ids.push(argmax(&logits[logits.len() - 1]));
        }
        Ok((ids, logits))
    })();
    engine.close(sequence);
    result
}

const PROMPT: [u32; 7] = [257, 104, 101, 108, 108, 111, 258];

#[test]
fn sizes_are_read_from_the_models() {
    let world = World::new();
    let model = load(&world).unwrap();
    let info = model.engine.info();
    assert_eq!((info.hidden_size, info.vocab_size), (64, 265));
    assert_eq!((info.prefill_window, info.window), (PREFILL, CACHE));
    assert_eq!((info.max_sequences, info.chunked_prefill), (1, false));
    assert!(info.backend.starts_with("npu/stand-in"));
}

#[test]
fn runs_are_equal_also_after_another_prefix_and_after_a_poisoned_one() {
    let world = World::new();
    let mut model = load(&world).unwrap();
    let engine = model.engine.as_mut();
    let prompt = rows(engine, &PROMPT);
    let first = greedy(engine, &prompt, 12).unwrap();
    assert_eq!(greedy(engine, &prompt, 12).unwrap(), first);

    let loud = [prefix(64, 4, 5.0), prompt.clone()].concat();
    assert_ne!(
        greedy(engine, &loud, 12).unwrap().1,
        first.1,
        "a large prefix changes the logits"
    );
    assert_eq!(greedy(engine, &prompt, 12).unwrap(), first);

    // Rows of NaN fill the window once; nothing of them may be seen afterwards.
    greedy(engine, &vec![bf16::NAN; PREFILL * 64], 3).unwrap();
    assert_eq!(greedy(engine, &prompt, 12).unwrap(), first);
    assert_eq!(world.violations(), Vec::<String>::new());
}

#[test]
fn words_as_prefix_equal_the_same_tokens_typed() {
    let world = World::new();
    let mut model = load(&world).unwrap();
    let engine = model.engine.as_mut();
    let typed = rows(engine, &[119, 111, 119, 257, 104, 105]);
    let as_prefix = [rows(engine, &[119, 111, 119]), rows(engine, &[257, 104, 105])].concat();
    assert_eq!(
        greedy(engine, &typed, 10).unwrap(),
        greedy(engine, &as_prefix, 10).unwrap()
    );
}

#[test]
fn decoding_a_row_equals_prefilling_it() {
    let world = World::new();
    let mut model = load(&world).unwrap();
    let engine = model.engine.as_mut();
    let prompt = rows(engine, &PROMPT);
    let sequence = engine.open(CACHE).unwrap();
    let whole = feed(engine, sequence, &prompt, Logits::All).unwrap();
    engine.close(sequence);
    let sequence = engine.open(CACHE).unwrap();
    feed(engine, sequence, &prompt[..64], Logits::None).unwrap();
    let one_by_one = feed(engine, sequence, &prompt[64..], Logits::All).unwrap();
    // The caches hold bf16, the same values either way; only the columns of zeros differ, and they weigh nothing.
    assert_eq!(whole[265..], one_by_one[..]);
}

#[test]
fn a_layer_loaded_for_each_use_gives_the_same_logits() {
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
fn the_prompt_may_fill_prefill_to_the_edge_and_the_output_the_cache() {
    let world = World::new();
    let mut model = load(&world).unwrap();
    let engine = model.engine.as_mut();
    let full = rows(engine, &[97; PREFILL]);
    assert_eq!(
        greedy(engine, &full, CACHE - PREFILL + 1).unwrap().0.len(),
        CACHE - PREFILL + 1
    );

    let sequence = engine.open(CACHE).unwrap();
    let over = rows(engine, &[97; PREFILL + 1]);
    let error = feed(engine, sequence, &over, Logits::Last).unwrap_err();
    assert_eq!(
        error,
        EngineError::WindowExceeded {
            wanted: PREFILL + 1,
            window: PREFILL
        }
    );
    // An argument error leaves everything as it was.
    feed(engine, sequence, &full, Logits::Last).unwrap();
    for _ in PREFILL..CACHE {
        feed(engine, sequence, &over[..64], Logits::None).unwrap();
    }
    let error = feed(engine, sequence, &over[..64], Logits::Last).unwrap_err();
    assert_eq!(
        error,
        EngineError::WindowExceeded {
            wanted: CACHE + 1,
            window: CACHE
        }
    );
}

#[test]
fn a_stop_ends_between_layers_and_the_next_sequence_is_clean() {
    let world = World::new();
    let mut model = load(&world).unwrap();
    let engine = model.engine.as_mut();
    let prompt = rows(engine, &PROMPT);
    let expected = greedy(engine, &prompt, 6).unwrap();
    let sequence = engine.open(CACHE).unwrap();
    let stop = AtomicBool::new(true);
    let mut batch = [Step {
        sequence,
        rows: &prompt,
        logits: Logits::Last,
        out: Vec::new(),
        stop: &stop,
    }];
    assert_eq!(engine.forward(&mut batch), Err(EngineError::Stopped));
    engine.close(sequence);
    assert_eq!(greedy(engine, &prompt, 6).unwrap(), expected);
}

#[test]
fn only_one_sequence_is_open_at_a_time() {
    let world = World::new();
    let mut model = load(&world).unwrap();
    let engine = model.engine.as_mut();
    let sequence = engine.open(10).unwrap();
    assert_eq!(engine.open(10), Err(EngineError::TooManySequences { limit: 1 }));
    assert_eq!(
        engine.open(CACHE + 1),
        Err(EngineError::WindowExceeded {
            wanted: CACHE + 1,
            window: CACHE
        })
    );
    let row = rows(engine, &[97]);
    let stranger = SequenceId(sequence.0 + 1);
    assert_eq!(
        feed(engine, stranger, &row, Logits::Last),
        Err(EngineError::NoSuchSequence(stranger))
    );
    assert_eq!(
        feed(engine, sequence, &row[1..], Logits::Last),
        Err(EngineError::RaggedRows {
            got: 63,
            hidden_size: 64
        })
    );
    engine.close(sequence);
    engine.close(sequence);
    engine.open(10).unwrap();
}

#[test]
fn the_runtime_is_asked_in_its_order_and_everything_is_given_back() {
    let world = World::new();
    let mut model = load(&world).unwrap();
    let layer = {
        let mut calls = vec!["create handle", "create context", "create context v2", "group count"];
        calls.push("group info 0");
        // Inputs uncached, outputs cached; decode, then prefill with its dummy caches.
        calls.extend([
            "alloc uncached 2560",
            "alloc uncached 2560",
            "alloc uncached 4",
            "alloc uncached 128",
            "alloc uncached 82",
        ]);
        calls.extend(["alloc cached 64", "alloc cached 64", "alloc cached 128"]);
        calls.push("group info 1");
        calls.extend([
            "alloc uncached 2",
            "alloc uncached 2",
            "alloc uncached 64",
            "alloc uncached 2048",
            "alloc uncached 512",
        ]);
        calls.extend(["alloc cached 1024", "alloc cached 1024", "alloc cached 2048"]);
        calls
    };
    let mut expected = vec!["sys init", "engine init"];
    expected.extend(layer.iter().chain(&layer));
    expected.extend([
        "create handle",
        "create context",
        "create context v2",
        "group count",
        "group info 0",
    ]);
    expected.extend(["alloc uncached 128", "alloc cached 530"]);
    assert_eq!(world.log(), expected);

    world.reset(0);
    let prompt = rows(model.engine.as_ref(), &PROMPT);
    greedy(model.engine.as_mut(), &prompt, 2).unwrap();
    let run = |group: &'static str| [group, "invalidate", "invalidate", "invalidate"];
    let post = ["run 0", "invalidate"];
    let expected: Vec<&str> = [
        run("run group 1").as_slice(),
        &run("run group 1"),
        &post,
        &run("run group 0"),
        &run("run group 0"),
        &post,
    ]
    .concat();
    assert_eq!(world.log(), expected);

    world.reset(0);
    drop(model);
    let log = world.log();
    assert_eq!(log[log.len() - 2..], ["engine deinit", "sys deinit"]);
    assert_eq!(log.iter().filter(|call| *call == "destroy handle").count(), 3);
    assert_eq!(world.still_held(), Vec::<String>::new());
    assert_eq!(world.violations(), Vec::<String>::new());
}

#[test]
fn each_call_that_fails_is_a_clean_error_and_nothing_leaks() {
    let world = World::new();
    for dynamic in [false, true] {
        let mut card = world.card();
        card["mode_param"]["b_dynamic_load_axmodel_layer"] = json!(dynamic);
        world.write_card(&card);
        let work = || -> Result<(), String> {
            let mut model = load(&world).map_err(|error| error.to_string())?;
            let prompt = rows(model.engine.as_ref(), &PROMPT);
            greedy(model.engine.as_mut(), &prompt, 3).map_err(|error| error.to_string())?;
            Ok(())
        };
        world.reset(0);
        work().unwrap();
        let calls = world
            .log()
            .iter()
            .filter(|call| !["free", "destroy handle", "engine deinit", "sys deinit"].contains(&call.as_str()))
            .count();
        for fail_at in 1..=calls as u64 {
            world.reset(fail_at);
            let sentence = work().expect_err("the call failed");
            assert!(sentence.contains("AX_"), "call {fail_at}: {sentence}");
            assert_eq!(world.still_held(), Vec::<String>::new(), "call {fail_at}");
            assert_eq!(world.violations(), Vec::<String>::new(), "call {fail_at}");
        }
        world.reset(0);
        work().unwrap();
    }
}

#[test]
fn files_that_do_not_fit_the_card_are_named_with_both_sizes() {
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
fn the_tokenizer_and_the_template_come_with_the_model() {
    let world = World::new();
    let model = load(&world).unwrap();
    let text = model.template.render("S", "hi");
    let ids = model
        .tokenizer
        .encode(&text, softprefix_unit::tokenizer::Special::Parse)
        .unwrap();
    assert_eq!(ids[0], 257, "the chat markers are single tokens");
    assert_eq!(model.tokenizer.decode(&ids[1..7]), b"system");
    assert_eq!(model.stop_tokens, [256, 258]);
}

#[test]
fn sampling_keys_come_from_post_config_card_and_set_up_in_rising_order() {
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
fn the_self_test_is_good_on_an_engine_that_treats_prefixes_as_it_must() {
    let world = World::sized(softprefix_unit::testing::TinyModel::qwen2(), 160, 200);
    let mut model = load(&world).unwrap();
    let verdicts = softprefix_unit::self_test::run(&mut model);
    let checks: Vec<_> = verdicts.iter().map(|verdict| verdict.check).collect();
    assert_eq!(
        checks,
        [
            "baseline",
            "second run",
            "prefix of magnitude 0",
            "large prefix",
            "words as prefix",
            "baseline afterwards"
        ]
    );
    assert!(verdicts.iter().all(|verdict| verdict.good), "{verdicts:#?}");
}

#[test]
fn the_self_test_tells_what_the_runtime_refused() {
    let world = World::sized(softprefix_unit::testing::TinyModel::qwen2(), 160, 200);
    let mut model = load(&world).unwrap();
    world.reset(5);
    let verdicts = softprefix_unit::self_test::run(&mut model);
    let last = verdicts.last().unwrap();
    assert!(!last.good && last.found.contains("AX_"), "{verdicts:#?}");
}

/// The CPU engine quantises activations to 8 bits and the NPU's layers round to bf16 between each other, so the logits of the same
/// weights agree only to about a tenth of their size (small random models amplify). Both engines are fed the NPU's tokens; wherever the best token leads by
/// more than that noise, both must choose it, and enough choices must be that clear.
#[cfg(feature = "cpu")]
#[test]
fn the_npu_and_the_cpu_engine_choose_the_same_tokens_on_the_same_weights() {
    use softprefix_unit::engine::gguf::{GgufEngine, GgufOptions};

    const NOISE: f32 = 0.16;
    let world = World::sized(softprefix_unit::testing::TinyModel::qwen2(), 32, 64);
    let mut npu = load(&world).unwrap();
    let mut cpu = GgufEngine::load(&world.gguf, GgufOptions::default(), &|_, _| {}).unwrap();
    let typed = rows(npu.engine.as_ref(), &PROMPT);
    assert_eq!(typed, rows(&cpu, &PROMPT), "both engines are fed the same rows");
    let (mut clear, mut all) = (0, 0);
    for (len, value) in [(0, 0.0), (1, 0.05), (1, 1.0), (8, 0.02), (32 - PROMPT.len(), 0.1)] {
        let prompt = [prefix(64, len, value), typed.clone()].concat();
        let (ids, npu_logits) = greedy(npu.engine.as_mut(), &prompt, 12).unwrap();
        let fed = [prompt.clone(), rows(&cpu, &ids[..11])].concat();
        let sequence = cpu.open(64).unwrap();
        let logits = feed(&mut cpu, sequence, &fed, Logits::All).unwrap();
        cpu.close(sequence);
        let steps = logits.chunks_exact(265).skip(prompt.len() / 64 - 1);
        for (step, (cpu_logits, npu_logits)) in steps.zip(&npu_logits).enumerate() {
            let size = cpu_logits.iter().fold(0f32, |m, l| m.max(l.abs()));
            let apart = cpu_logits
                .iter()
                .zip(npu_logits)
                .fold(0f32, |m, (a, b)| m.max((a - b).abs()));
            assert!(
                apart < NOISE * size,
                "P {len}, value {value}, step {step}: apart by {apart} of {size}"
            );
            let best = argmax(cpu_logits);
            let lead = cpu_logits
                .iter()
                .enumerate()
                .filter(|(id, _)| *id != best as usize)
                .map(|(_, l)| cpu_logits[best as usize] - l);
            all += 1;
            if lead.fold(f32::MAX, f32::min) > apart * 2.0 {
                clear += 1;
                assert_eq!(best, ids[step], "P {len}, value {value}, step {step}");
            }
        }
    }
    assert_eq!(all, 60);
    assert!(clear > 20, "only {clear} of {all} choices are clear");
    assert_eq!(world.violations(), Vec::<String>::new());
}
