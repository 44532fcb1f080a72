//! The calls to the runtime: their order, the contents of the buffers, and the release of all resources after any failure.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use half::bf16;
use serde_json::json;
use softprefix_unit::engine::{Engine, EngineError, Logits, SequenceStep};
use softprefix_unit::testing::TinyModel;
use softprefix_unit::unit::{Unit, UnitOptions};

use crate::common::{Server, bare, error, request, whole};
use crate::feeding::*;
use crate::world::{CACHE, MODEL, PREFILL, World};

#[test]
fn calls_to_the_runtime_are_in_order_and_everything_is_released() {
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
    assert_eq!(world.log(), releases());
    assert_eq!(world.still_held(), Vec::<String>::new());
    assert_eq!(world.violations(), Vec::<String>::new());
}

#[test]
fn each_failing_call_is_a_clean_error_without_a_leak() {
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

/// The expected releases: each model's buffers, then its handle; then the engine, then the system.
fn releases() -> Vec<&'static str> {
    let given_back = |buffers: usize| [vec!["free"; buffers], vec!["destroy handle"]].concat();
    [
        given_back(16),
        given_back(16),
        given_back(2),
        vec!["engine deinit", "sys deinit"],
    ]
    .concat()
}

#[test]
fn a_failing_release_does_not_prevent_the_others() {
    let world = World::new();
    for fail_at in 1..=releases().len() as u64 {
        let model = load(&world).unwrap();
        world.reset(0);
        world.fail_release(fail_at);
        drop(model);
        assert_eq!(world.log(), releases(), "release {fail_at}");
        assert_eq!(world.still_held(), Vec::<String>::new(), "release {fail_at}");
    }
    let mut model = load(&world).unwrap();
    let prompt = rows(model.engine.as_ref(), &PROMPT);
    greedy(model.engine.as_mut(), &prompt, 2).unwrap();
}

/// The stand-in checks indices, mask and the caches after the position on every run, and reports violations.
#[test]
fn prefill_gets_prefix_then_tokens_then_zeros_up_to_the_window_every_time() {
    let world = World::new();
    let mut model = load(&world).unwrap();
    let engine = model.engine.as_mut();
    let typed = rows(engine, &PROMPT);
    let full = prefix(64, PREFILL, 3.0);
    for soft in [
        Vec::new(),
        prefix(64, 3, 0.5),
        prefix(64, PREFILL - PROMPT.len(), 2.0),
        prefix(64, 1, 0.1),
    ] {
        // Each is preceded by a run that fills the window, and the cache with its output.
        greedy(engine, &full, CACHE - PREFILL + 1).unwrap();
        assert_eq!(world.prefilled(), full);

        let prompt = [soft, typed.clone()].concat();
        greedy(engine, &prompt, 4).unwrap();
        let mut window = prompt;
        window.resize(PREFILL * 64, bf16::ZERO);
        assert_eq!(world.prefilled(), window);
    }
    assert_eq!(world.violations(), Vec::<String>::new());
}

#[test]
fn a_stop_during_a_layer_takes_effect_before_the_next_one() {
    static STOP: AtomicBool = AtomicBool::new(false);
    let world = World::new();
    let mut model = load(&world).unwrap();
    let engine = model.engine.as_mut();
    let prompt = rows(engine, &PROMPT);
    let expected = greedy(engine, &prompt, 6).unwrap();
    let stopped = |engine: &mut dyn Engine, sequence, rows: &[bf16]| {
        world.reset(0);
        world.set_at(1, &STOP);
        let mut batch = [SequenceStep {
            sequence,
            rows,
            logits: Logits::Last,
            out: Vec::new(),
            stop: &STOP,
        }];
        assert_eq!(engine.forward(&mut batch), Err(EngineError::Stopped));
        assert!(STOP.swap(false, Ordering::Relaxed));
        world.log()
    };

    let sequence = engine.open(CACHE).unwrap();
    let log = stopped(engine, sequence, &prompt);
    assert_eq!(log, ["run group 1", "invalidate", "invalidate", "invalidate"]);
    engine.close(sequence);

    let sequence = engine.open(CACHE).unwrap();
    engine.feed(sequence, &prompt, Logits::None).unwrap();
    let log = stopped(engine, sequence, &prompt[..64]);
    assert_eq!(log, ["run group 0", "invalidate", "invalidate", "invalidate"]);
    engine.close(sequence);

    world.reset(0);
    assert_eq!(greedy(engine, &prompt, 6).unwrap(), expected);
    assert_eq!(world.violations(), Vec::<String>::new());
}

#[test]
fn a_dynamically_loaded_layer_is_held_only_while_it_is_used() {
    let world = World::new();
    let mut card = world.card();
    card["mode_param"]["b_dynamic_load_axmodel_layer"] = json!(true);
    world.write_card(&card);
    let mut model = load(&world).unwrap();
    let resting = world.still_held();
    let handles = |held: &[String]| held.iter().filter(|what| what.starts_with("handle")).count();
    assert_eq!(
        (handles(&resting), resting.len()),
        (1, 4),
        "the post model's: {resting:?}"
    );

    world.reset(0);
    let prompt = rows(model.engine.as_ref(), &PROMPT);
    greedy(model.engine.as_mut(), &prompt, 2).unwrap();
    assert_eq!(world.still_held(), resting);
    let log = world.log();
    let handles_and_runs: Vec<&str> = log
        .iter()
        .map(String::as_str)
        .filter(|call| ["create handle", "destroy handle"].contains(call) || call.starts_with("run"))
        .collect();
    let use_of = |run| ["create handle", run, "destroy handle"];
    let expected: Vec<&str> = [
        use_of("run group 1").as_slice(),
        &use_of("run group 1"),
        &["run 0"],
        &use_of("run group 0"),
        &use_of("run group 0"),
        &["run 0"],
    ]
    .concat();
    assert_eq!(handles_and_runs, expected);
}

#[test]
fn a_request_to_learn_is_refused_before_anything_is_computed() {
    let world = World::sized(TinyModel::qwen2(), 160, 200);
    let unit = Unit::new(Arc::new(world.models()), UnitOptions::default());
    let server = Server::serving(Arc::new(unit));
    let mut client = server.client();
    let task = client.set_up(&whole(MODEL, 100));
    let info = client.ask(&bare("t", &task, "taskinfo"))["data"]["soft_prefix"].clone();
    let features = info["features"].as_array().unwrap();
    assert!(features.contains(&json!("budget")) && !features.contains(&json!("learn")));

    world.reset(0);
    let data = json!({"examples": [{"prompt": "hello", "target": "the land"}], "len": 2, "init": "target"});
    let reply = client.ask(&request("l", &task, "softprefix.learn", "softprefix.learn", data));
    let backend = info["backend"].as_str().unwrap();
    let sentence =
        format!("Not available. The engine {backend} cannot learn prefixes; use the CPU engine of a workbench.");
    assert_eq!(error(&reply), (-10, sentence));
    assert_eq!(world.log(), Vec::<String>::new());
}
