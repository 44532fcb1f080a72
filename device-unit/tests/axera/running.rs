//! The engine's results: repeatable, independent of earlier runs, correct up to the edges of the window, and equal to the CPU engine's.

use std::sync::atomic::AtomicBool;

use half::bf16;
use softprefix_unit::engine::{Engine, EngineError, Logits, SequenceId, SequenceStep};

use crate::feeding::*;
use crate::world::{CACHE, PREFILL, World};

#[test]
fn runs_are_equal_after_another_prefix_and_after_one_with_nan() {
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

    // Rows of NaN fill the window once; no later run may be affected.
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
    let whole = engine.feed(sequence, &prompt, Logits::All).unwrap();
    engine.close(sequence);
    let sequence = engine.open(CACHE).unwrap();
    engine.feed(sequence, &prompt[..64], Logits::None).unwrap();
    let one_by_one = engine.feed(sequence, &prompt[64..], Logits::All).unwrap();
    // The caches hold bf16, so the values are the same; additional columns of zeros add nothing.
    assert_eq!(whole[265..], one_by_one[..]);
}

#[test]
fn prompt_and_output_can_fill_prefill_and_cache_completely() {
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
    let error = engine.feed(sequence, &over, Logits::Last).unwrap_err();
    assert_eq!(
        error,
        EngineError::WindowExceeded {
            wanted: PREFILL + 1,
            window: PREFILL
        }
    );
    // An invalid argument changes nothing.
    engine.feed(sequence, &full, Logits::Last).unwrap();
    for _ in PREFILL..CACHE {
        engine.feed(sequence, &over[..64], Logits::None).unwrap();
    }
    let error = engine.feed(sequence, &over[..64], Logits::Last).unwrap_err();
    assert_eq!(
        error,
        EngineError::WindowExceeded {
            wanted: CACHE + 1,
            window: CACHE
        }
    );
}

#[test]
fn a_stop_ends_between_layers_and_does_not_affect_the_next_sequence() {
    let world = World::new();
    let mut model = load(&world).unwrap();
    let engine = model.engine.as_mut();
    let prompt = rows(engine, &PROMPT);
    let expected = greedy(engine, &prompt, 6).unwrap();
    let sequence = engine.open(CACHE).unwrap();
    let stop = AtomicBool::new(true);
    let mut batch = [SequenceStep {
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
    let unknown = SequenceId(sequence.0 + 1);
    assert_eq!(
        engine.feed(unknown, &row, Logits::Last),
        Err(EngineError::NoSuchSequence(unknown.0))
    );
    assert_eq!(
        engine.feed(sequence, &row[1..], Logits::Last),
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
fn the_self_test_passes_on_a_correct_engine() {
    let world = World::sized(softprefix_unit::testing::TinyModel::qwen2(), 160, 200);
    let mut model = load(&world).unwrap();
    let results = softprefix_unit::self_test::run(&mut model);
    let checks: Vec<_> = results.iter().map(|result| result.check).collect();
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
    assert!(results.iter().all(|result| result.passed), "{results:#?}");
}

#[test]
fn the_self_test_reports_an_error_of_the_runtime() {
    let world = World::sized(softprefix_unit::testing::TinyModel::qwen2(), 160, 200);
    let mut model = load(&world).unwrap();
    world.reset(5);
    let results = softprefix_unit::self_test::run(&mut model);
    let last = results.last().unwrap();
    assert!(!last.passed && last.detail.contains("AX_"), "{results:#?}");
}

/// The CPU engine quantises activations to 8 bits and the NPU's layers round to bf16 in between, so the logits of the same weights
/// differ by up to a tenth of their size (small random models amplify). Both engines are fed the NPU's tokens. Wherever the best token
/// leads by more than that, both must choose it, and enough choices must be that clear.
#[cfg(feature = "cpu")]
#[test]
fn the_npu_and_the_cpu_engine_choose_the_same_tokens_on_the_same_weights() {
    use softprefix_unit::engine::cpu::{CpuEngine, CpuOptions};

    const NOISE: f32 = 0.16;
    let world = World::sized(softprefix_unit::testing::TinyModel::qwen2(), 32, 64);
    let mut npu = load(&world).unwrap();
    let mut cpu = CpuEngine::load(&world.gguf, CpuOptions::default(), &|_, _| {}).unwrap();
    let typed = rows(npu.engine.as_ref(), &PROMPT);
    assert_eq!(typed, rows(&cpu, &PROMPT), "both engines are fed the same rows");
    let (mut clear, mut all) = (0, 0);
    for (len, value) in [(0, 0.0), (1, 0.05), (1, 1.0), (8, 0.02), (32 - PROMPT.len(), 0.1)] {
        let prompt = [prefix(64, len, value), typed.clone()].concat();
        let (ids, npu_logits) = greedy(npu.engine.as_mut(), &prompt, 12).unwrap();
        let fed = [prompt.clone(), rows(&cpu, &ids[..11])].concat();
        let sequence = cpu.open(64).unwrap();
        let logits = cpu.feed(sequence, &fed, Logits::All).unwrap();
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
