//! Invalid steps are refused and change nothing. On tiny models.

use std::sync::atomic::{AtomicBool, Ordering};

use half::bf16;
use softprefix_unit::engine::cpu::kernel::Tier;
use softprefix_unit::engine::cpu::{CpuEngine, CpuOptions};
use softprefix_unit::engine::likelihood::{Comparison, VocabChunk};
use softprefix_unit::engine::{Engine, EngineError, Logits, SequenceId, SequenceStep};
use softprefix_unit::testing::TinyModel;

const WIDTH: usize = 64;

fn tiny(window: Option<usize>) -> CpuEngine {
    tiny_with(CpuOptions {
        threads: Some(2),
        window,
        ..CpuOptions::default()
    })
}

fn tiny_with(options: CpuOptions) -> CpuEngine {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    TinyModel::qwen2().write(&path).unwrap();
    CpuEngine::load(&path, options, &|_, _| ()).unwrap()
}

fn rows(count: usize) -> Vec<bf16> {
    (0..count * WIDTH)
        .map(|i| bf16::from_f32(((i * 37) % 19) as f32 / 10.0 - 0.9))
        .collect()
}

fn step<'a>(sequence: SequenceId, rows: &'a [bf16], stop: &'a AtomicBool) -> SequenceStep<'a> {
    SequenceStep {
        sequence,
        rows,
        logits: Logits::Last,
        out: Vec::new(),
        stop,
    }
}

/// Feeds `count` more rows and returns the bits of the logits.
fn feed(engine: &mut CpuEngine, sequence: SequenceId, count: usize) -> Vec<u32> {
    let (rows, stop) = (rows(count), AtomicBool::new(false));
    let mut steps = [step(sequence, &rows, &stop)];
    engine.forward(&mut steps).unwrap();
    steps[0].out.iter().map(|logit| logit.to_bits()).collect()
}

#[test]
fn invalid_steps_are_refused_and_change_nothing() {
    let mut engine = tiny(None);
    let stop = AtomicBool::new(false);
    let good = engine.open(10).unwrap();
    let twin = engine.open(10).unwrap();
    let unknown = SequenceId(999);
    let (three, eleven) = (rows(3), rows(11));

    let mut refused = |bad: SequenceStep<'_>| {
        let mut steps = [step(good, &three, &stop), bad];
        engine.forward(&mut steps).unwrap_err()
    };
    assert_eq!(
        refused(step(unknown, &three, &stop)),
        EngineError::NoSuchSequence(unknown.0)
    );
    let ragged = EngineError::RaggedRows {
        got: 70,
        hidden_size: WIDTH,
    };
    assert_eq!(refused(step(twin, &three[..70], &stop)), ragged);
    assert_eq!(
        refused(step(twin, &[], &stop)),
        EngineError::RaggedRows {
            got: 0,
            hidden_size: WIDTH
        }
    );
    let too_long = EngineError::WindowExceeded { wanted: 11, window: 10 };
    assert_eq!(refused(step(twin, &eleven, &stop)), too_long);
    assert_eq!(
        refused(step(good, &three, &stop)),
        EngineError::RepeatedSequence(good.0)
    );

    // Both sequences are still empty.
    assert_eq!(feed(&mut engine, good, 4), feed(&mut engine, twin, 4));
}

#[test]
fn window_and_number_of_sequences_are_limited() {
    let mut engine = tiny(Some(100));
    assert_eq!(engine.info().window, 100);
    assert_eq!(
        engine.open(101),
        Err(EngineError::WindowExceeded {
            wanted: 101,
            window: 100
        })
    );
    let limit = engine.info().max_sequences;
    let all: Vec<SequenceId> = (0..limit).map(|_| engine.open(100).unwrap()).collect();
    assert_eq!(engine.open(1), Err(EngineError::TooManySequences { limit }));
    engine.close(all[3]);
    engine.close(all[3]);
    assert!(engine.open(1).is_ok());
    assert_eq!(
        tiny(Some(1_000_000)).info().window,
        512,
        "the model's own window is the most there is"
    );
}

#[test]
fn the_requested_logits_are_returned() {
    let mut engine = tiny(None);
    let vocab = engine.info().vocab_size;
    let (stop, rows) = (AtomicBool::new(false), rows(150));
    let mut outs = Vec::new();
    for logits in [Logits::None, Logits::Last, Logits::All] {
        let sequence = engine.open(150).unwrap();
        let mut steps = [SequenceStep {
            logits,
            ..step(sequence, &rows, &stop)
        }];
        engine.forward(&mut steps).unwrap();
        outs.push(std::mem::take(&mut steps[0].out));
    }
    assert!(outs[0].is_empty());
    assert_eq!((outs[1].len(), outs[2].len()), (vocab, 150 * vocab));
    assert_eq!(outs[1], outs[2][149 * vocab..]);
}

#[test]
fn a_batch_stops_only_if_all_its_steps_are_stopped() {
    let mut engine = tiny(None);
    let (on, off) = (AtomicBool::new(false), AtomicBool::new(true));
    let rows = rows(5);
    let ids = [engine.open(20).unwrap(), engine.open(20).unwrap()];
    engine
        .forward(&mut [step(ids[0], &rows, &on), step(ids[1], &rows, &off)])
        .unwrap();
    on.store(true, Ordering::Relaxed);
    let stopped = engine.forward(&mut [step(ids[0], &rows, &on), step(ids[1], &rows, &off)]);
    assert_eq!(stopped, Err(EngineError::Stopped));
    engine.close(ids[0]);
    let again = engine.open(20).unwrap();
    assert!(
        !feed(&mut engine, again, 5).is_empty(),
        "the engine goes on with other sequences"
    );
}

#[test]
fn a_stopped_step_can_be_repeated() {
    let mut engine = tiny(None);
    let (three, many) = (rows(3), rows(300));
    let run = |engine: &mut CpuEngine, stop_after: Option<u32>| {
        let sequence = engine.open(303).unwrap();
        let no_stop = AtomicBool::new(false);
        engine.forward(&mut [step(sequence, &three, &no_stop)]).unwrap();
        let stop = AtomicBool::new(stop_after == Some(0));
        let mut given_up = false;
        if let Some(rounds) = stop_after {
            let outcome = std::thread::scope(|scope| {
                scope.spawn(|| {
                    (0..rounds * 1000).for_each(|_| std::hint::spin_loop());
                    stop.store(true, Ordering::Relaxed);
                });
                engine.forward(&mut [step(sequence, &many, &stop)])
            });
            given_up = outcome == Err(EngineError::Stopped);
            if !given_up {
                engine.close(sequence);
                return (given_up, Vec::new());
            }
        }
        let mut steps = [SequenceStep {
            logits: Logits::All,
            ..step(sequence, &many, &no_stop)
        }];
        engine.forward(&mut steps).unwrap();
        engine.close(sequence);
        (given_up, steps[0].out.iter().map(|logit| logit.to_bits()).collect())
    };
    let (_, expected) = run(&mut engine, None);
    for rounds in 0..60 {
        let (given_up, logits) = run(&mut engine, Some(rounds));
        assert!(given_up || rounds > 0);
        assert!(!given_up || logits == expected, "after {rounds} rounds");
    }
}

#[test]
fn predictions_are_the_same_bits_on_any_threads_with_any_instructions() {
    let mut state = 1u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 24) as f32 * 60.0 - 30.0
    };
    const VOCABULARY: usize = 5003;
    let logits: Vec<Vec<f32>> = (0..4).map(|_| (0..3 * VOCABULARY).map(|_| next()).collect()).collect();
    let conditions: Vec<&[f32]> = logits.iter().map(Vec::as_slice).collect();
    let bits = |reduce: &dyn Fn(&mut [VocabChunk<'_>])| -> Vec<u64> {
        let comparison = Comparison::of(&conditions, VOCABULARY, |chunks| reduce(chunks));
        let predictions = (0..3).flat_map(|place| comparison.at(place).unwrap());
        predictions
            .flat_map(|prediction| [prediction.ln(17).unwrap(), prediction.divergence()])
            .map(f64::to_bits)
            .collect()
    };
    let expected = bits(&|chunks| chunks.iter_mut().for_each(VocabChunk::reduce));
    assert_eq!(expected.len(), 3 * 4 * 2);
    for tier in Tier::ALL.into_iter().filter(|tier| tier.is_supported()) {
        for threads in [1, 2, 5] {
            let engine = tiny_with(CpuOptions {
                threads: Some(threads),
                tier: Some(tier),
                ..CpuOptions::default()
            });
            assert_eq!(
                bits(&|chunks| engine.reduce_chunks(chunks)),
                expected,
                "{tier}, {threads} threads"
            );
        }
    }
}

#[test]
fn embeddings_are_read_by_token_within_the_vocabulary() {
    let engine = tiny(None);
    let table = engine.embeddings();
    assert_eq!(
        (table.hidden_size(), table.vocab_size()),
        (WIDTH, engine.info().vocab_size)
    );
    let (mut first, mut last) = (vec![bf16::ZERO; WIDTH], vec![bf16::ZERO; WIDTH]);
    table.row(0, &mut first).unwrap();
    table.row(table.vocab_size() as u32 - 1, &mut last).unwrap();
    assert!(first != last && first.iter().any(|value| value.to_f32() != 0.0));
    let vocab_size = table.vocab_size();
    let missing = EngineError::NoSuchToken {
        token: vocab_size as u32,
        vocab_size,
    };
    assert_eq!(table.row(vocab_size as u32, &mut first), Err(missing));
    assert!(table.row(0, &mut first[1..]).is_err());
}

#[test]
fn a_row_of_nan_affects_its_own_sequence_only() {
    let mut engine = tiny(None);
    let alone = engine.open(8).unwrap();
    let expected = feed(&mut engine, alone, 4);
    let (poisoned, healthy) = (engine.open(8).unwrap(), engine.open(8).unwrap());
    let mut bad = rows(4);
    bad[5] = bf16::NAN;
    bad[WIDTH + 1] = bf16::INFINITY;
    let (good, stop) = (rows(4), AtomicBool::new(false));
    let mut steps = [step(poisoned, &bad, &stop), step(healthy, &good, &stop)];
    engine.forward(&mut steps).unwrap();
    let got: Vec<u32> = steps[1].out.iter().map(|logit| logit.to_bits()).collect();
    assert_eq!(got, expected);
}
