//! Tests of actions and events without a bridge: requests are inspected instead.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use softprefix_core::compare::{Granularity, diff};
use softprefix_core::experiment::session::EMBEDDED;
use softprefix_core::experiment::{
    Answer, Applied, Case, CaseOutcome, Comparison, Condition, Entry, Group, Learning, ModuleIdentity, PrefixIdentity,
    Record, SavedExperiment, Summary,
};
use softprefix_core::prefix::{Magnitude, PrefixKind, PrefixRecipe, Rounding};
use softprefix_core::protocol::extension::{self, FinishReason, SoftPrefixEcho};

use super::*;
use crate::messages::{
    Event, FindEvent, Inference, LibraryEvent, LibraryRequest, MaterialEvent, MaterialRequest, Pair, RecordingRequest,
    Texts,
};
use crate::model::{
    FindMode, Histogram, ImportedFile, KindChoice, LIVE_DELAY, LoadStage, MagnitudeUnit, ModuleFacts, PRESETS,
    PaneState, Problem, ProblemKind,
};
use crate::recording::Line;

mod recording;

const H: usize = 896;
const MEDIAN: f64 = 0.515;

fn facts(ours: bool) -> ModuleFacts {
    ModuleFacts {
        identity: ModuleIdentity {
            address: if ours { EMBEDDED } else { "127.0.0.1:10001" }.to_owned(),
            model: "qwen2.5-0.5b".to_owned(),
            hidden_size: H,
            unit: ours.then(|| "softprefix-unit 0.1.0".to_owned()),
            version: Some("v1.6".to_owned()),
            median_norm: ours.then_some(MEDIAN),
            window: Some(1024),
            prefill_window: Some(1024),
            ..ModuleIdentity::default()
        },
        address: "127.0.0.1:10001".to_owned(),
        latency: Duration::from_micros(400),
        concurrency: if ours { 16 } else { 1 },
        ..ModuleFacts::default()
    }
}

fn vocabulary() -> Arc<Vocabulary> {
    Arc::new(Vocabulary {
        rows: 151_936,
        hidden_size: H,
        median: MEDIAN,
        percentiles: vec![(50, MEDIAN)],
        max: 0.95,
        rms: 0.0172,
        histogram: Histogram {
            log10_max: 1.0,
            ..Histogram::default()
        },
    })
}

fn workbench() -> Workbench {
    let mut remembered = Remembered::default();
    remembered.settings.live = false;
    Workbench::new(remembered)
}

/// A workbench connected to our unit, without the initial requests.
fn ready() -> Workbench {
    let mut workbench = workbench();
    workbench.absorb(Event::Ready(Box::new(facts(true)), Some(vocabulary())));
    let (system, user) = (workbench.prompt.system.clone(), workbench.prompt.user.clone());
    let count = extension::TokenCounts {
        template: 21,
        prompt: 18,
        window: 1024,
        prefill_window: 1024,
    };
    workbench.absorb(Event::Counted { system, user, count });
    workbench.take_requests();
    workbench
}

fn inferences(workbench: &mut Workbench) -> Vec<Inference> {
    workbench
        .take_requests()
        .into_iter()
        .filter_map(|request| match request {
            Request::Infer(inference) => Some(*inference),
            _ => None,
        })
        .collect()
}

/// The record of an inference; the unit echoed its prefix.
fn record(inference: &Inference, text: &str, finish_reason: FinishReason) -> Box<Record> {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let index = NEXT.fetch_add(1, Ordering::Relaxed);
    let prefix = inference.recipe.as_ref().map(identity);
    let answer = Answer {
        echo: prefix.as_ref().map(|prefix| SoftPrefixEcho {
            hidden_size: H,
            len: prefix.len,
            sha256: prefix.sha256.clone(),
        }),
        ..Answer::new(text, finish_reason, 0.1)
    };
    Box::new(Record {
        prefix,
        started_unix: index as f64,
        ..Record::new(
            "session",
            Case::new(index, 0, 0, inference.recipe.clone()),
            inference.input.prompt.clone(),
            inference.input.settings.clone(),
            facts(true).identity,
            CaseOutcome::Done(answer),
        )
    })
}

fn identity(recipe: &PrefixRecipe) -> PrefixIdentity {
    PrefixIdentity {
        hidden_size: H,
        sha256: format!("{recipe:?}"),
        row_norms: [0.5; 3],
        token_norms: recipe.token_norms_at(H, Some(MEDIAN)),
        ..PrefixIdentity::unknown(recipe.clone())
    }
}

fn finish(workbench: &mut Workbench, inference: &Inference, text: &str) {
    let (run, kind) = (inference.run, inference.kind);
    workbench.absorb(Event::Started {
        run,
        kind,
        built: inference.recipe.as_ref().map(identity),
    });
    workbench.absorb(Event::Delta {
        run,
        kind,
        text: text.to_owned(),
    });
    let record = record(inference, text, FinishReason::Stop);
    workbench.absorb(Event::Finished { run, kind, record });
    compare(workbench);
}

/// Answers comparisons as the bridge does, until none is left; other requests stay queued.
fn compare(workbench: &mut Workbench) {
    loop {
        let (comparisons, others): (Vec<_>, Vec<_>) = workbench
            .take_requests()
            .into_iter()
            .partition(|request| matches!(request, Request::Compare(_) | Request::Measure(_)));
        workbench.pending_requests = others;
        if comparisons.is_empty() {
            return;
        }
        for request in comparisons {
            match request {
                Request::Compare(texts) => {
                    let diff = diff(&texts.left, &texts.right, texts.granularity, None);
                    let measures = None;
                    workbench.absorb(Event::Compared { texts, diff, measures });
                }
                Request::Measure(comparisons) => {
                    let measured = comparisons.into_iter().map(Comparison::measure).collect();
                    workbench.absorb(Event::Measured(measured));
                }
                _ => {}
            }
        }
    }
}

/// Number of points of the plot.
fn points(workbench: &Workbench) -> usize {
    workbench.tuning.points().count()
}

fn is_deterministic(workbench: &Workbench) -> bool {
    workbench.tuning.group().is_some_and(Group::is_deterministic)
}

/// Ready, with a deterministic baseline and one prefixed run at 1x.
fn with_one_run() -> Workbench {
    let mut workbench = ready();
    workbench.apply(Action::Run);
    let launched = inferences(&mut workbench);
    finish(&mut workbench, &launched[0], "春の風");
    finish(&mut workbench, &launched[1], "春の雨");
    let repeat = inferences(&mut workbench);
    assert_eq!(repeat.len(), 1);
    finish(&mut workbench, &repeat[0], "春の風");
    workbench.take_requests();
    workbench
}

#[test]
fn the_controls_describe_a_recipe_and_show_raw_value_and_token_norms() {
    let mut workbench = ready();
    workbench.apply(Action::SetMagnitude(2.9));
    workbench.apply(Action::SetLen(4));
    workbench.apply(Action::SetRounding(Rounding::Truncate));
    let recipe = workbench.prefix.recipe();
    assert_eq!(recipe.kind, PrefixKind::Constant);
    assert_eq!(recipe.len, 4);
    assert_eq!(recipe.magnitude, Magnitude::TokenNorms(2.9));
    assert_eq!(recipe.rounding, Rounding::Truncate);
    let raw = workbench.magnitude_raw().unwrap();
    assert!((raw - 0.0499).abs() < 1e-4, "{raw}");
}

#[test]
fn switching_the_unit_keeps_the_prefix_and_changes_the_number() {
    let mut workbench = ready();
    workbench.apply(Action::SetMagnitude(1.0));
    workbench.apply(Action::SetMagnitudeUnit(MagnitudeUnit::Raw));
    assert!((workbench.prefix.magnitude - MEDIAN / (H as f64).sqrt()).abs() < 1e-12);
    workbench.apply(Action::SetMagnitudeUnit(MagnitudeUnit::TokenNorms));
    assert!((workbench.prefix.magnitude - 1.0).abs() < 1e-12);
}

#[test]
fn a_reset_raw_value_is_that_of_one_token_norm() {
    let mut workbench = ready();
    workbench.apply(Action::SetMagnitudeUnit(MagnitudeUnit::Raw));
    workbench.apply(Action::SetMagnitude(3.0));
    workbench.apply(Action::ResetMagnitude);
    assert!((workbench.magnitude_norms().unwrap() - 1.0).abs() < 1e-12);
    // The rows of words are as long as tokens are, without a factor.
    workbench.apply(Action::SetKind(KindChoice::Words));
    workbench.apply(Action::ResetMagnitude);
    assert_eq!(workbench.prefix.magnitude, 1.0);
}

#[test]
fn a_curve_of_raw_values_has_the_norms_of_the_other_one_also_from_the_stop() {
    let mut workbench = ready();
    workbench.apply(Action::SetMagnitudeUnit(MagnitudeUnit::Raw));
    workbench.apply(Action::SetMagnitude(0.0));
    workbench.apply(Action::FillCurve);
    let requests = workbench.take_requests();
    let filled = requests.iter().find_map(|request| match request {
        Request::FillCurve(inferences) => Some(inferences),
        _ => None,
    });
    let recipes = filled.unwrap().iter().filter_map(|one| one.recipe.as_ref());
    let norms: Vec<f64> = recipes.filter_map(|recipe| workbench.norms_of(recipe)).collect();
    assert_eq!(norms.len(), super::curve::MAGNITUDES.len());
    for (norm, expected) in norms.iter().zip(super::curve::MAGNITUDES) {
        assert!((norm - expected).abs() < 1e-9, "{norm} instead of {expected}");
    }
}

#[test]
fn a_magnitude_that_is_no_number_or_negative_is_not_taken() {
    let mut workbench = ready();
    for value in [f64::NAN, f64::INFINITY, -1.0] {
        workbench.apply(Action::SetMagnitude(value));
        assert_eq!(workbench.prefix.magnitude, 1.0);
    }
}

#[test]
fn scaling_down_at_the_lower_end_reaches_the_stop_and_scaling_up_leaves_it() {
    let mut workbench = ready();
    workbench.apply(Action::SetMagnitude(0.001));
    workbench.apply(Action::ScaleMagnitude(1.0 / 1.02));
    assert_eq!(workbench.prefix.magnitude, 0.0);
    workbench.apply(Action::ScaleMagnitude(1.02));
    assert_eq!(workbench.prefix.magnitude, 0.001);
}

#[test]
fn every_change_of_the_prefix_asks_for_its_norm_and_digest_but_only_the_last_is_queued() {
    let mut workbench = ready();
    for step in 1..=5 {
        workbench.apply(Action::SetMagnitude(f64::from(step)));
    }
    let requests = workbench.take_requests();
    assert_eq!(
        requests,
        vec![Request::Describe {
            recipe: workbench.prefix.recipe()
        }]
    );
    assert!(workbench.next_prefix.stale);
    let recipe = workbench.prefix.recipe();
    workbench.absorb(Event::Described {
        recipe,
        built: Ok(identity(&workbench.prefix.recipe())),
    });
    assert!(!workbench.next_prefix.stale);
}

#[test]
fn a_description_of_a_prefix_that_is_no_longer_set_is_ignored() {
    let mut workbench = ready();
    let old = workbench.prefix.recipe();
    workbench.apply(Action::SetMagnitude(2.0));
    workbench.absorb(Event::Described {
        recipe: old,
        built: Ok(identity(&workbench.prefix.recipe())),
    });
    assert!(workbench.next_prefix.built.is_none());
}

#[test]
fn the_budget_follows_p_immediately_and_shows_the_free_positions() {
    let mut workbench = ready();
    workbench.apply(Action::SetLen(4));
    workbench.apply(Action::SetMaxTokens(64));
    let budget = workbench.budget.unwrap();
    assert_eq!(
        (budget.prefix, budget.template, budget.prompt, budget.output),
        (4, 21, 18, 64)
    );
    assert_eq!(budget.free(), 1024 - 4 - 21 - 18 - 64);
    assert_eq!(workbench.max_len(), 1024 - 21 - 18);
}

#[test]
fn a_prefix_that_leaves_no_room_for_an_output_token_cannot_be_run() {
    let mut workbench = ready();
    workbench.apply(Action::SetLen(986));
    assert_eq!(workbench.why_not_run(), Some(Unavailable::DoesNotFit));
    let output = workbench.prompt.max_tokens as i64;
    assert_eq!(workbench.budget.unwrap().free(), -1 - output);
    workbench.apply(Action::Run);
    assert!(inferences(&mut workbench).is_empty());
    workbench.apply(Action::SetLen(985));
    assert_eq!(workbench.why_not_run(), None);
}

#[test]
fn run_shows_why_it_is_disabled() {
    let mut workbench = workbench();
    assert_eq!(workbench.why_not_run(), Some(Unavailable::NotConnected));
    workbench.absorb(Event::Loading {
        model: "m".to_owned(),
        fraction: 0.5,
        stage: LoadStage::Weights,
    });
    assert_eq!(workbench.why_not_run(), Some(Unavailable::StillConnecting));
    let mut workbench = ready();
    workbench.apply(Action::SetPrompt("  \n".to_owned()));
    assert_eq!(workbench.why_not_run(), Some(Unavailable::EmptyPrompt));
    workbench.apply(Action::LoadPreset(0));
    workbench.apply(Action::SetKind(KindChoice::Words));
    workbench.apply(Action::SetWords(String::new()));
    assert_eq!(workbench.why_not_run(), Some(Unavailable::NoWords));
}

#[test]
fn the_first_run_asks_for_the_baseline_and_the_prefixed_side_and_later_ones_keep_the_baseline() {
    let mut workbench = ready();
    workbench.apply(Action::Run);
    let launched = inferences(&mut workbench);
    assert_eq!(
        launched.iter().map(|i| i.kind).collect::<Vec<_>>(),
        [RunKind::Baseline, RunKind::Prefixed]
    );
    assert!(launched[0].recipe.is_none() && launched[1].recipe.is_some());
    // The magnitude changes before the baseline has arrived: it is still running and is not requested again.
    workbench.apply(Action::SetMagnitude(2.0));
    workbench.apply(Action::Run);
    assert_eq!(
        inferences(&mut workbench).iter().map(|i| i.kind).collect::<Vec<_>>(),
        [RunKind::Prefixed]
    );
    finish(&mut workbench, &launched[0], "baseline");
    workbench.apply(Action::Run);
    assert_eq!(
        inferences(&mut workbench).iter().map(|i| i.kind).collect::<Vec<_>>(),
        [RunKind::Prefixed]
    );
}

#[test]
fn another_prompt_or_another_limit_of_tokens_needs_another_baseline() {
    let mut workbench = with_one_run();
    workbench.apply(Action::SetPrompt("Another one.".to_owned()));
    assert!(workbench.baseline.stale && workbench.prefixed.stale);
    workbench.apply(Action::Run);
    assert_eq!(inferences(&mut workbench).len(), 2);
    // Back to the first prompt: its baseline is still there.
    workbench.apply(Action::LoadPreset(0));
    workbench.apply(Action::Run);
    assert_eq!(
        inferences(&mut workbench).iter().map(|i| i.kind).collect::<Vec<_>>(),
        [RunKind::Prefixed]
    );
    assert_eq!(&*workbench.baseline.text, "春の風");
}

#[test]
fn a_finished_run_becomes_a_point_with_its_measures_and_its_diff() {
    let workbench = with_one_run();
    assert_eq!(points(&workbench), 1);
    let (_, point) = workbench.tuning.points().next().unwrap();
    assert_eq!(point.measures.as_ref().unwrap().first_divergence.code_points, 2);
    assert_eq!(point.magnitude(), 1.0);
    assert_eq!(workbench.tuning.group().unwrap().applied(point), Applied::Proven);
    assert_eq!(workbench.covered(RunKind::Baseline), "春の風".len());
    let of = workbench.diff.as_ref().unwrap();
    let removed: Vec<&str> = of.diff.removed().map(|range| &"春の風"[range]).collect();
    assert_eq!(removed, ["風"]);
}

#[test]
fn two_equal_baselines_show_that_the_module_is_deterministic() {
    let workbench = with_one_run();
    assert!(is_deterministic(&workbench));
}

#[test]
fn two_different_baselines_give_a_noise_floor() {
    let mut workbench = ready();
    workbench.apply(Action::Run);
    let launched = inferences(&mut workbench);
    finish(&mut workbench, &launched[0], "The sky is blue.");
    finish(&mut workbench, &launched[1], "The sky is green.");
    let repeat = inferences(&mut workbench);
    assert_eq!(repeat[0].kind, RunKind::BaselineRepeat);
    finish(&mut workbench, &repeat[0], "The sea is blue.");
    assert!(!is_deterministic(&workbench));
    let floor = workbench.tuning.noise_floor(Measure::Indel).unwrap();
    assert!(floor > 0.5 && floor < 1.0);
}

#[test]
fn a_second_baseline_that_fails_is_tried_again_only_after_a_complete_run() {
    let mut workbench = ready();
    workbench.apply(Action::Run);
    let launched = inferences(&mut workbench);
    finish(&mut workbench, &launched[0], "春の風");
    finish(&mut workbench, &launched[1], "春の海");
    for _ in 0..2 {
        let repeat = inferences(&mut workbench).remove(0);
        assert_eq!(repeat.kind, RunKind::BaselineRepeat);
        let (run, kind) = (repeat.run, repeat.kind);
        let mut record = record(&repeat, "", FinishReason::Unknown);
        record.outcome = broken();
        workbench.absorb(Event::Finished { run, kind, record });
        fail(&mut workbench, &repeat, ProblemKind::Module);
        compare(&mut workbench);
        assert!(inferences(&mut workbench).is_empty());
        let next = start_another(&mut workbench);
        finish(&mut workbench, &next, "夏の海");
        workbench.apply(Action::SetMagnitude(1.0));
    }
}

#[test]
fn after_a_stop_nothing_begins_by_itself() {
    // The last run may have ended by itself while the stop was under way.
    for reason in [FinishReason::Stopped, FinishReason::Stop] {
        let mut workbench = ready();
        workbench.apply(Action::Run);
        let launched = inferences(&mut workbench);
        finish(&mut workbench, &launched[0], "春の風");
        workbench.apply(Action::Stop);
        let (run, kind) = (launched[1].run, launched[1].kind);
        let record = record(&launched[1], "春", reason);
        workbench.absorb(Event::Finished { run, kind, record });
        compare(&mut workbench);
        assert!(inferences(&mut workbench).is_empty(), "{reason:?}");
    }
}

#[test]
fn a_negative_raw_value_is_scaled_without_its_sign() {
    let mut workbench = ready();
    workbench.apply(Action::SetMagnitudeUnit(MagnitudeUnit::Raw));
    workbench.apply(Action::SetMagnitude(-0.05));
    workbench.apply(Action::ScaleMagnitude(2.0));
    assert_eq!(workbench.prefix.magnitude, -0.1);
    workbench.apply(Action::ScaleMagnitude(0.5));
    assert_eq!(workbench.prefix.magnitude, -0.05);
}

#[test]
fn an_equal_third_baseline_does_not_make_a_module_deterministic() {
    let mut workbench = with_one_run();
    for text in ["春の海", "春の海"] {
        workbench.apply(Action::RerunBaseline);
        let again = inferences(&mut workbench).remove(0);
        finish(&mut workbench, &again, text);
    }
    assert!(!is_deterministic(&workbench));
}

#[test]
fn live_mode_runs_once_after_a_pause_regardless_of_the_number_of_moves() {
    let mut workbench = ready();
    workbench.apply(Action::SetLive(true));
    workbench.take_requests();
    for step in 1..=10 {
        workbench.apply(Action::SetMagnitude(f64::from(step) / 10.0));
    }
    let launched = inferences(&mut workbench);
    let prefixed: Vec<_> = launched.iter().filter(|i| i.kind == RunKind::Prefixed).collect();
    assert_eq!(prefixed.len(), 1);
    assert_eq!(prefixed[0].delay, LIVE_DELAY);
    assert_eq!(
        prefixed[0].recipe.as_ref().unwrap().magnitude,
        Magnitude::TokenNorms(1.0)
    );
}

#[test]
fn events_of_a_run_that_was_replaced_leave_the_pane_alone() {
    let mut workbench = with_one_run();
    workbench.apply(Action::SetMagnitude(2.0));
    workbench.apply(Action::Run);
    let old = inferences(&mut workbench).remove(0);
    workbench.apply(Action::SetMagnitude(3.0));
    workbench.apply(Action::Run);
    let new = inferences(&mut workbench).remove(0);
    workbench.absorb(Event::Delta {
        run: old.run,
        kind: RunKind::Prefixed,
        text: "old".to_owned(),
    });
    workbench.absorb(Event::Finished {
        run: old.run,
        kind: RunKind::Prefixed,
        record: record(&old, "old", FinishReason::Stop),
    });
    assert_eq!(&*workbench.prefixed.text, "春の雨");
    finish(&mut workbench, &new, "春の海");
    assert_eq!(&*workbench.prefixed.text, "春の海");
    assert_eq!(points(&workbench), 3, "one that finished all the same is a point");
}

#[test]
fn a_stopped_run_shows_its_text_but_is_no_point() {
    let mut workbench = with_one_run();
    workbench.apply(Action::SetMagnitude(2.0));
    workbench.apply(Action::Run);
    let run = inferences(&mut workbench).remove(0);
    workbench.absorb(Event::Delta {
        run: run.run,
        kind: RunKind::Prefixed,
        text: "half".to_owned(),
    });
    workbench.apply(Action::Stop);
    assert_eq!(
        workbench.take_requests().last(),
        Some(&Request::Stop {
            kind: RunKind::Prefixed
        })
    );
    workbench.absorb(Event::Finished {
        run: run.run,
        kind: RunKind::Prefixed,
        record: record(&run, "half", FinishReason::Stopped),
    });
    assert_eq!(
        (&*workbench.prefixed.text, workbench.prefixed.finish),
        ("half", Some(FinishReason::Stopped))
    );
    assert!(!workbench.is_running());
    compare(&mut workbench);
    assert_eq!(points(&workbench), 1);
    assert_eq!(workbench.tuning.saved.records.len(), 4, "it is a record all the same");
}

#[test]
fn a_text_of_another_magnitude_is_stale_and_shows_its_magnitude() {
    let mut workbench = with_one_run();
    assert!(!workbench.prefixed.stale);
    workbench.apply(Action::SetMagnitude(2.4));
    assert!(workbench.prefixed.stale);
    assert_eq!(workbench.prefixed.stale_from.as_ref().unwrap().token_norms, Some(1.0));
    assert!(!workbench.baseline.stale);
    workbench.apply(Action::SetMagnitude(1.0));
    assert!(!workbench.prefixed.stale);
}

#[test]
fn the_old_text_remains_until_the_first_token_and_after_an_error() {
    let mut workbench = with_one_run();
    workbench.apply(Action::Run);
    let run = inferences(&mut workbench).remove(0);
    assert_eq!(
        (&*workbench.prefixed.text, workbench.prefixed.state),
        ("春の雨", PaneState::Waiting)
    );
    let problem = Problem::new(ProblemKind::Module, "The module went silent.", "Reconnect.");
    workbench.absorb(Event::Failed {
        run: run.run,
        kind: RunKind::Prefixed,
        problem: problem.clone(),
    });
    assert_eq!(&*workbench.prefixed.text, "春の雨");
    assert_eq!(workbench.prefixed.error, Some(problem));
    assert!(!workbench.is_running());
}

fn fail(workbench: &mut Workbench, inference: &Inference, kind: ProblemKind) -> Problem {
    let problem = Problem::new(kind, "It broke.", "Try again.");
    workbench.absorb(Event::Failed {
        run: inference.run,
        kind: inference.kind,
        problem: problem.clone(),
    });
    problem
}

fn broken() -> CaseOutcome {
    CaseOutcome::Failed(softprefix_core::experiment::Failure {
        error: "It broke.".to_owned(),
        cause: None,
        partial_text: "half".to_owned(),
        elapsed_sec: 0.1,
    })
}

/// Starts a run at another magnitude than those before.
fn start_another(workbench: &mut Workbench) -> Inference {
    workbench.apply(Action::SetMagnitude(2.0));
    workbench.apply(Action::Run);
    inferences(workbench).remove(0)
}

#[test]
fn a_failure_after_its_record_is_shown_on_the_pane() {
    let mut workbench = with_one_run();
    let run = start_another(&mut workbench);
    let mut failed = record(&run, "", FinishReason::Unknown);
    failed.outcome = broken();
    workbench.absorb(Event::Finished {
        run: run.run,
        kind: run.kind,
        record: failed,
    });
    let problem = fail(&mut workbench, &run, ProblemKind::Connection);
    assert_eq!(workbench.prefixed.error, Some(problem));
}

#[test]
fn a_run_that_made_way_for_a_saved_one_fails_without_an_error_on_its_pane() {
    let mut workbench = with_one_run();
    let saved = workbench.tuning.points().next().unwrap().0.id.clone();
    let run = start_another(&mut workbench);
    workbench.apply(Action::SelectRun(Some(saved)));
    fail(&mut workbench, &run, ProblemKind::Connection);
    assert_eq!(
        (&*workbench.prefixed.text, &workbench.prefixed.error),
        ("春の雨", &None)
    );
    // The same where the controls ask for a saved run.
    let run = start_another(&mut workbench);
    workbench.apply(Action::SetMagnitude(1.0));
    fail(&mut workbench, &run, ProblemKind::Connection);
    assert_eq!(
        (&*workbench.prefixed.text, &workbench.prefixed.error),
        ("春の雨", &None)
    );
}

#[test]
fn a_run_of_an_earlier_session_fails_without_an_error_in_the_new_one() {
    let mut workbench = with_one_run();
    let run = start_another(&mut workbench);
    workbench.apply(Action::NewSession);
    fail(&mut workbench, &run, ProblemKind::Connection);
    assert!(workbench.prefixed.is_untouched(), "{:?}", workbench.prefixed);
}

#[test]
fn a_run_that_failed_has_no_error_on_the_pane_of_the_next_one() {
    let mut workbench = with_one_run();
    let old = start_another(&mut workbench);
    workbench.absorb(Event::Finished {
        run: old.run,
        kind: old.kind,
        record: record(&old, "old", FinishReason::Stop),
    });
    workbench.apply(Action::SetMagnitude(3.0));
    workbench.apply(Action::Run);
    fail(&mut workbench, &old, ProblemKind::Module);
    assert_eq!(
        (workbench.prefixed.state, &workbench.prefixed.error),
        (PaneState::Waiting, &None)
    );
}

#[test]
fn an_unsaved_record_is_reported_even_if_its_run_is_not_shown() {
    let mut workbench = with_one_run();
    let run = start_another(&mut workbench);
    workbench.apply(Action::NewSession);
    let problem = fail(&mut workbench, &run, ProblemKind::File);
    assert_eq!(workbench.notice, Some(Notice::Problem(problem)));
    assert!(workbench.prefixed.is_untouched());
}

#[test]
fn a_failure_that_is_not_shown_is_not_recorded_either() {
    let mut workbench = with_one_run();
    workbench.apply(Action::ToggleRecording);
    let run = start_another(&mut workbench);
    workbench.apply(Action::NewSession);
    fail(&mut workbench, &run, ProblemKind::Connection);
    let is_failure = |request: &Request| matches!(request, Request::Recording(RecordingRequest::Line(line)) if matches!(**line, Line::Failed(..)));
    assert!(!workbench.take_requests().iter().any(is_failure));
}

#[test]
fn the_baseline_of_another_prompt_does_not_reach_the_pane_of_this_one() {
    let mut workbench = with_one_run();
    workbench.apply(Action::SetPrompt("Another one.".to_owned()));
    workbench.apply(Action::Run);
    let other = inferences(&mut workbench).remove(0);
    assert_eq!(other.kind, RunKind::Baseline);
    // Back to the first prompt, which has its baseline.
    workbench.apply(Action::LoadPreset(0));
    workbench.apply(Action::Run);
    workbench.absorb(Event::Delta {
        run: other.run,
        kind: other.kind,
        text: "one".to_owned(),
    });
    workbench.absorb(Event::Finished {
        run: other.run,
        kind: other.kind,
        record: record(&other, "one two", FinishReason::Stopped),
    });
    assert_eq!(&*workbench.baseline.text, "春の風");
}

#[test]
fn a_chosen_run_opens_its_text_and_diff_again_and_can_set_the_controls() {
    let mut workbench = with_one_run();
    let first = workbench.tuning.points().next().unwrap().0.id.clone();
    workbench.apply(Action::SetMagnitude(5.8));
    workbench.apply(Action::SetLen(2));
    workbench.apply(Action::Run);
    let run = inferences(&mut workbench).remove(0);
    finish(&mut workbench, &run, "夏夏夏夏");
    workbench.apply(Action::SelectRun(Some(first.clone())));
    compare(&mut workbench);
    assert_eq!(&*workbench.prefixed.text, "春の雨");
    assert!(workbench.prefixed.stale);
    assert_eq!(workbench.diff.as_ref().map(|of| &*of.right), Some("春の雨"));
    workbench.apply(Action::AdoptRun(first));
    assert_eq!((workbench.prefix.magnitude, workbench.prefix.len), (1.0, 1));
    assert!(!workbench.prefixed.stale);
}

#[test]
fn runs_are_measured_against_the_first_baseline_and_a_second_one_gives_the_noise() {
    let mut workbench = with_one_run();
    workbench.apply(Action::RerunBaseline);
    let again = inferences(&mut workbench).remove(0);
    assert_eq!(again.kind, RunKind::Baseline);
    finish(&mut workbench, &again, "春の雨");
    assert_eq!((points(&workbench), &*workbench.baseline.text), (1, "春の風"));
    assert!(!is_deterministic(&workbench));
}

#[test]
fn a_repeat_is_launched_once_also_while_its_measures_are_under_way() {
    let mut workbench = ready();
    workbench.apply(Action::Run);
    let launched = inferences(&mut workbench);
    finish(&mut workbench, &launched[0], "春の風");
    finish(&mut workbench, &launched[1], "春の雨");
    let repeat = inferences(&mut workbench).remove(0);
    let record = record(&repeat, "春の風", FinishReason::Stop);
    workbench.absorb(Event::Finished {
        run: repeat.run,
        kind: repeat.kind,
        record,
    });
    assert!(inferences(&mut workbench).is_empty());
}

#[test]
fn a_removed_run_is_a_line_of_its_journal() {
    let mut workbench = with_one_run();
    workbench.tuning.saved.experiment.id = "session".to_owned();
    let id = workbench.tuning.points().next().unwrap().0.id.clone();
    workbench.apply(Action::RemoveRun(id.clone()));
    assert_eq!(points(&workbench), 0);
    let appended = workbench.take_requests().into_iter().any(|request| {
        matches!(&request, Request::Library(LibraryRequest::Append(entry)) if **entry == Entry::Deleted { id: id.clone() })
    });
    assert!(appended);
}

#[test]
fn removed_runs_are_restored_on_screen_and_in_the_journal_as_long_as_the_notice_is_shown() {
    fn appended(workbench: &mut Workbench) -> Vec<Entry> {
        let requests = workbench.take_requests().into_iter();
        let entries = requests.filter_map(|request| match request {
            Request::Library(LibraryRequest::Append(entry)) => Some(*entry),
            _ => None,
        });
        entries.collect()
    }
    let mut workbench = with_one_run();
    workbench.tuning.saved.experiment.id = "session".to_owned();
    // The second one replaces the first: it is the same point.
    for magnitude in [1.0, 2.0] {
        workbench.apply(Action::SetMagnitude(magnitude));
        workbench.apply(Action::Run);
        let launched = inferences(&mut workbench).remove(0);
        finish(&mut workbench, &launched, "春の雨");
    }
    let ids: Vec<String> = (workbench.tuning.saved.records.iter())
        .filter(|record| !record.is_baseline())
        .map(|record| record.id.clone())
        .collect();
    assert_eq!((points(&workbench), ids.len()), (2, 3));
    appended(&mut workbench);

    // While the plot shows chosen runs, others are not removed.
    workbench.apply(Action::PlotRuns(vec![ids[2].clone()]));
    workbench.apply(Action::ClearRuns);
    assert_eq!(points(&workbench), 2);
    workbench.apply(Action::PlotRuns(Vec::new()));

    workbench.apply(Action::ClearRuns);
    assert_eq!(points(&workbench), 0, "no earlier run of the same point comes up");
    assert_eq!(workbench.notice, Some(Notice::Removed(ids.clone())));
    let deleted: Vec<Entry> = ids.iter().map(|id| Entry::Deleted { id: id.clone() }).collect();
    assert_eq!(appended(&mut workbench), deleted);
    workbench.apply(Action::RestoreRuns);
    assert_eq!((points(&workbench), &workbench.notice), (2, &None));
    assert_eq!(&*workbench.prefixed.text, "春の雨");
    let restored: Vec<Entry> = ids.iter().map(|id| Entry::Restored { id: id.clone() }).collect();
    assert_eq!(appended(&mut workbench), restored);

    // Of two runs that are one point, both are removed: else the point would stay.
    workbench.apply(Action::RemoveRun(ids[1].clone()));
    let first_two = vec![ids[1].clone(), ids[0].clone()];
    assert_eq!(
        (points(&workbench), &workbench.notice),
        (1, &Some(Notice::Removed(first_two)))
    );
    workbench.apply(Action::RestoreRuns);

    // In another session there is nothing to restore.
    workbench.apply(Action::RemoveRun(ids[2].clone()));
    assert!(matches!(workbench.notice, Some(Notice::Removed(_))));
    workbench.apply(Action::NewSession);
    assert_eq!(workbench.notice, None);
}

#[test]
fn a_module_without_vocabulary_norms_uses_raw_values() {
    let mut workbench = workbench();
    workbench.absorb(Event::Ready(Box::new(facts(false)), None));
    assert_eq!(workbench.prefix.unit, MagnitudeUnit::Raw);
    assert_eq!(workbench.prefix.recipe().magnitude, Magnitude::Raw(0.02));
    assert!(workbench.budget.is_none());
    assert_eq!(workbench.why_not_run(), None);
}

#[test]
fn an_ignored_prefix_is_reported() {
    let mut workbench = workbench();
    workbench.absorb(Event::Ready(Box::new(facts(false)), None));
    workbench.apply(Action::SetMagnitude(0.5));
    workbench.apply(Action::Run);
    let launched = inferences(&mut workbench);
    for inference in &launched {
        let mut silent = record(inference, "same", FinishReason::Unknown);
        silent.module = facts(false).identity;
        if let CaseOutcome::Done(answer) = &mut silent.outcome {
            answer.echo = None;
        }
        workbench.absorb(Event::Finished {
            run: inference.run,
            kind: inference.kind,
            record: silent,
        });
    }
    compare(&mut workbench);
    let (_, point) = workbench.tuning.points().next().unwrap();
    assert_eq!(workbench.tuning.group().unwrap().applied(point), Applied::Doubtful);
}

#[test]
fn a_lost_module_ends_what_is_under_way_and_keeps_texts_and_facts() {
    let mut workbench = with_one_run();
    workbench.apply(Action::SetMagnitude(2.0));
    workbench.apply(Action::Run);
    workbench.absorb(Event::Lost(Problem::new(
        ProblemKind::Connection,
        "The module closed the connection.",
        "Reconnect.",
    )));
    assert!(!workbench.is_running());
    assert_eq!(&*workbench.baseline.text, "春の風");
    assert_eq!(
        workbench.module.last_facts().and_then(|facts| facts.hidden_size()),
        Some(H)
    );
    assert_eq!(workbench.why_not_run(), Some(Unavailable::NotConnected));
    workbench.apply(Action::SetMagnitude(4.0));
    assert_eq!(workbench.magnitude_norms(), Some(4.0));
}

#[test]
fn left_over_tasks_are_exited_only_when_the_person_agrees() {
    let mut workbench = workbench();
    let tasks = vec!["llm.1000".to_owned(), "llm.1001".to_owned()];
    workbench.absorb(Event::TaskFull { tasks: tasks.clone() });
    assert_eq!(workbench.dialog, Some(Dialog::LeftOverTasks));
    assert!(workbench.take_requests().is_empty());
    workbench.apply(Action::ExitLeftOverTasks);
    assert_eq!(workbench.take_requests(), vec![Request::ExitTasks { tasks }]);
    assert_eq!(workbench.dialog, None);
}

fn remote(address: &str) -> Target {
    Target::Remote {
        address: address.to_owned(),
        model: None,
    }
}

/// Ready, and connected to another module, whose task slots are taken.
fn task_full() -> Workbench {
    let mut workbench = ready();
    let previous = PreviousModule {
        target: workbench.target.clone(),
        facts: facts(true),
        vocabulary: Some(vocabulary()),
    };
    workbench.apply(Action::Connect(remote("10.0.0.9:10001")));
    workbench.absorb(Event::TaskFull {
        tasks: vec!["llm.1000".to_owned()],
    });
    workbench.absorb(Event::PreviousModule(Box::new(previous)));
    assert_eq!(workbench.dialog, Some(Dialog::LeftOverTasks));
    workbench
}

#[test]
fn a_module_whose_tasks_are_exited_or_another_stays_the_target_when_a_dialog_is_closed() {
    let mut workbench = task_full();
    workbench.apply(Action::ExitLeftOverTasks);
    workbench.apply(Action::ShowDialog(Dialog::Help));
    workbench.apply(Action::CloseDialog);
    assert_eq!(workbench.target, remote("10.0.0.9:10001"));
    assert!(!workbench.module.is_ready());

    let mut workbench = task_full();
    workbench.apply(Action::Connect(remote("10.0.0.10:10001")));
    workbench.apply(Action::CloseDialog);
    assert_eq!(workbench.target, remote("10.0.0.10:10001"));

    let mut workbench = task_full();
    workbench.apply(Action::CloseDialog);
    assert_eq!(workbench.target, Target::default(), "the tasks are left alone");
    assert!(workbench.module.is_ready());
}

#[test]
fn a_question_for_a_path_ends_where_another_takes_its_place_and_stays_where_a_file_arrives() {
    let asked = || {
        let mut workbench = ready();
        workbench.apply(Action::Open);
        workbench.absorb(Event::NotAsked(FileQuestion::Open));
        assert_eq!(workbench.dialog, Some(Dialog::Path));
        assert!(workbench.file.asking);
        workbench
    };
    let mut workbench = asked();
    workbench.absorb(Event::TaskFull { tasks: Vec::new() });
    assert_eq!(workbench.dialog, Some(Dialog::LeftOverTasks));
    assert!(!workbench.file.asking, "Open can be chosen again");

    let mut workbench = asked();
    workbench.apply(Action::Connect(remote("10.0.0.9:10001")));
    assert!(!workbench.file.asking);

    let mut workbench = ready();
    workbench.apply(Action::Open);
    workbench.absorb(Event::TaskFull { tasks: Vec::new() });
    workbench.absorb(Event::NotAsked(FileQuestion::Open));
    assert_eq!(workbench.dialog, Some(Dialog::LeftOverTasks));
    assert!(!workbench.file.asking);

    let mut workbench = asked();
    let imported = || MaterialEvent::Imported {
        file: ImportedFile {
            name: "rows.npy".to_owned(),
            sha256: "ab".repeat(32),
            ..ImportedFile::default()
        },
        norms: vec![0.5],
    };
    workbench.absorb(Event::Material(Box::new(imported())));
    assert_eq!(workbench.dialog, Some(Dialog::Path));
    assert!(workbench.file.asking);
    workbench.apply(Action::CloseDialog);
    assert!(!workbench.file.asking);
    workbench.apply(Action::ShowDialog(Dialog::Note));
    workbench.absorb(Event::Material(Box::new(imported())));
    assert_eq!(workbench.dialog, Some(Dialog::Note), "its text is kept");
}

/// Takes the requests, and returns the curve among them.
fn filled(workbench: &mut Workbench) -> Option<Vec<Inference>> {
    workbench.take_requests().into_iter().find_map(|request| match request {
        Request::FillCurve(inferences) => Some(inferences),
        _ => None,
    })
}

/// Runs the controls, with the repeat of a first baseline, and returns the curve that is then filled by itself.
fn run_and_fill(workbench: &mut Workbench) -> Option<Vec<Inference>> {
    workbench.apply(Action::Run);
    let mut curve = None;
    loop {
        let requests = workbench.take_requests();
        if requests.is_empty() {
            return curve;
        }
        for request in requests {
            match request {
                Request::Infer(inference) => finish(workbench, &inference, "春の雨"),
                Request::FillCurve(inferences) => curve = Some(inferences),
                _ => {}
            }
        }
    }
}

fn add_point(workbench: &mut Workbench, inference: &Inference) {
    let record = record(inference, "春の雪", FinishReason::Stop);
    workbench.absorb(Event::CurvePoint {
        run: inference.run,
        record,
    });
    compare(workbench);
}

#[test]
fn the_two_sides_of_0_are_filled_as_two_curves_and_0_is_the_same_on_both() {
    let mut workbench = ready();
    workbench.settings.fill_curve = true;
    workbench.apply(Action::SetMagnitudeUnit(MagnitudeUnit::Raw));
    workbench.apply(Action::SetMagnitude(-0.05));
    let raw = |inferences: &[Inference]| -> Vec<f64> {
        let raw = |inference: &Inference| match inference.recipe.as_ref().unwrap().magnitude {
            Magnitude::Raw(value) => value,
            other => panic!("{other:?}"),
        };
        inferences.iter().map(raw).collect()
    };
    let below = run_and_fill(&mut workbench).unwrap();
    let values = raw(&below);
    assert!(values[0] == 0.0 && values[0].is_sign_positive(), "{values:?}");
    assert!(values[1..].iter().all(|value| *value < 0.0), "{values:?}");
    for inference in &below {
        add_point(&mut workbench, inference);
    }
    workbench.take_requests();
    workbench.apply(Action::SetMagnitude(-0.06));
    assert!(run_and_fill(&mut workbench).is_none(), "filled once");
    workbench.apply(Action::SetMagnitude(0.05));
    let above = raw(&run_and_fill(&mut workbench).unwrap());
    assert!(above.iter().all(|value| *value > 0.0), "{above:?}");
    workbench.apply(Action::SetMagnitude(-0.0));
    assert!(workbench.prefix.magnitude.is_sign_positive());
}

#[test]
fn a_curve_that_a_lost_connection_interrupts_goes_on_after_the_next_run_and_one_that_was_stopped_does_not() {
    for is_stopped in [false, true] {
        let mut workbench = ready();
        workbench.settings.fill_curve = true;
        let asked = run_and_fill(&mut workbench).unwrap();
        add_point(&mut workbench, &asked[0]);
        if is_stopped {
            workbench.apply(Action::Stop);
        }
        let problem = Problem::new(ProblemKind::Connection, "It closed the connection.", "Reconnect.");
        workbench.absorb(Event::CurveFailed {
            run: asked[1].run,
            problem: problem.clone(),
        });
        workbench.absorb(Event::Lost(problem));
        workbench.absorb(Event::Ready(Box::new(facts(true)), Some(vocabulary())));
        assert!(filled(&mut workbench).is_none(), "not before a run");
        workbench.apply(Action::SetMagnitude(3.0));
        let rest = run_and_fill(&mut workbench);
        assert_eq!(rest.is_none(), is_stopped);
        let is_again = |inference: &Inference| inference.recipe == asked[0].recipe;
        assert!(!rest.iter().flatten().any(is_again), "what is there is not run again");
    }
}

#[test]
fn a_late_point_of_a_session_that_was_left_updates_the_history() {
    let mut workbench = with_one_run();
    workbench.apply(Action::FillCurve);
    let asked = filled(&mut workbench).unwrap();
    workbench.apply(Action::NewSession);
    workbench.take_requests();
    add_point(&mut workbench, &asked[0]);
    assert!(workbench.tuning.is_empty());
    let requests = workbench.take_requests();
    assert!(
        requests.contains(&Request::Library(LibraryRequest::List)),
        "{requests:?}"
    );
}

#[test]
fn a_list_of_magnitudes_is_there_again_after_a_module_without_a_vocabulary_and_after_a_restart() {
    let mut workbench = ready();
    let sweep = |workbench: &mut Workbench, action| workbench.apply(Action::Sweep(action));
    let list = |workbench: &Workbench| {
        let form = &workbench.sweep.form;
        (form.unit, form.magnitudes.clone(), form.rounding)
    };
    sweep(&mut workbench, SweepAction::SetMagnitudes("0.7, 0.9, 1.1".to_owned()));
    sweep(&mut workbench, SweepAction::SetRounding(Rounding::Truncate));
    let own = list(&workbench);
    workbench.absorb(Event::Ready(Box::new(facts(false)), None));
    sweep(&mut workbench, SweepAction::SetMagnitudes("0.01, 0.02".to_owned()));
    let raw = list(&workbench);
    assert_eq!(raw.0, MagnitudeUnit::Raw);
    let stored = serde_json::to_string(&workbench.remembered()).unwrap();
    let mut again = Workbench::new(serde_json::from_str(&stored).unwrap());
    for workbench in [&mut workbench, &mut again] {
        workbench.absorb(Event::Ready(Box::new(facts(true)), Some(vocabulary())));
        assert_eq!(list(workbench), own);
        workbench.absorb(Event::Ready(Box::new(facts(false)), None));
        assert_eq!(list(workbench), raw);
    }
    // The user's own choice of raw values stays, and so does the unit of a sweep that is opened.
    workbench.absorb(Event::Ready(Box::new(facts(true)), Some(vocabulary())));
    sweep(&mut workbench, SweepAction::SetUnit(MagnitudeUnit::Raw));
    assert_eq!(list(&workbench), raw);
    workbench.absorb(Event::Ready(Box::new(facts(false)), None));
    workbench.absorb(Event::Ready(Box::new(facts(true)), Some(vocabulary())));
    assert_eq!(list(&workbench), raw);
    let plan = workbench.sweep_plan();
    sweep(&mut workbench, SweepAction::SetUnit(MagnitudeUnit::TokenNorms));
    assert_eq!(list(&workbench), own);
    workbench.absorb(Event::Ready(Box::new(facts(false)), None));
    workbench.sweep.form.set_from_plan(&plan);
    workbench.absorb(Event::Ready(Box::new(facts(true)), Some(vocabulary())));
    assert_eq!(list(&workbench), raw);
}

#[test]
fn while_text_streams_in_one_comparison_is_under_way_at_most_and_the_diff_covers_a_beginning() {
    let mut workbench = with_one_run();
    workbench.apply(Action::SetMagnitude(2.0));
    workbench.apply(Action::Run);
    let run = inferences(&mut workbench).remove(0);
    for piece in ["春", "の", "山"] {
        workbench.absorb(Event::Delta {
            run: run.run,
            kind: RunKind::Prefixed,
            text: piece.to_owned(),
        });
    }
    let comparisons: Vec<Texts> = workbench
        .take_requests()
        .into_iter()
        .filter_map(|request| match request {
            Request::Compare(texts) => Some(texts),
            _ => None,
        })
        .collect();
    assert_eq!(comparisons.len(), 1);
    let texts = comparisons.into_iter().next().unwrap();
    assert_eq!(texts.pair, Pair::Panes);
    let diff = diff(&texts.left, &texts.right, Granularity::Auto, None);
    let measures = None;
    workbench.absorb(Event::Compared { texts, diff, measures });
    assert_eq!(workbench.covered(RunKind::Prefixed), "春".len());
    compare(&mut workbench);
    assert_eq!(workbench.covered(RunKind::Prefixed), "春の山".len());
}

#[test]
fn a_failed_comparison_is_reported_and_the_next_texts_are_compared() {
    let mut workbench = with_one_run();
    let asked = |workbench: &mut Workbench| {
        let requests = workbench.take_requests();
        requests.iter().any(|request| matches!(request, Request::Compare(_)))
    };
    workbench.apply(Action::ToggleGranularity);
    assert!(asked(&mut workbench));
    let problem = Problem::new(ProblemKind::Program, "It broke.", "Try again.");
    workbench.absorb(Event::NotCompared(problem.clone()));
    assert_eq!(workbench.notice, Some(Notice::Problem(problem)));
    workbench.apply(Action::ToggleGranularity);
    assert!(asked(&mut workbench));
}

#[test]
fn an_opened_session_brings_its_prompt_settings_prefix_points_and_texts() {
    let mut before = with_one_run();
    before.apply(Action::SetPrompt("Another one.".to_owned()));
    before.apply(Action::SetMaxTokens(17));
    before.apply(Action::SetMagnitude(3.0));
    before.apply(Action::SetLen(2));
    before.apply(Action::Run);
    for inference in inferences(&mut before) {
        let text = if inference.kind == RunKind::Baseline {
            "one two"
        } else {
            "one three"
        };
        finish(&mut before, &inference, text);
    }
    let mut saved: SavedExperiment = before.tuning.saved.clone();
    saved.experiment.id = "session".to_owned();

    let mut workbench = ready();
    workbench.apply(Action::ShowTab(Tab::Sweep));
    workbench.absorb(Event::Library(Box::new(LibraryEvent::Read(vec![saved.clone()]))));
    assert!(workbench.take_requests_of_tuning(&saved));
    compare(&mut workbench);
    assert_eq!(workbench.tab, Tab::Tune);
    assert_eq!(
        (workbench.prompt.user.as_str(), workbench.prompt.max_tokens),
        ("Another one.", 17)
    );
    assert_eq!((workbench.prefix.magnitude, workbench.prefix.len), (3.0, 2));
    assert_eq!(
        (&*workbench.baseline.text, &*workbench.prefixed.text),
        ("one two", "one three")
    );
    assert_eq!(points(&workbench), 1);
    assert!(!workbench.baseline.stale && !workbench.prefixed.stale);
    // The run of a curve is no run of the pane, whose measures stay.
    workbench.apply(Action::FillCurve);
    let asked = workbench.take_requests().into_iter().find_map(|request| match request {
        Request::FillCurve(asked) => asked.into_iter().next(),
        _ => None,
    });
    let asked = asked.unwrap();
    workbench.absorb(Event::CurvePoint {
        run: asked.run,
        record: record(&asked, "one four", FinishReason::Stop),
    });
    compare(&mut workbench);
    assert_eq!(points(&workbench), 2);
    assert_eq!(workbench.tuning.current().unwrap().0.text(), Some("one three"));
    // The first prompt's runs are there as well.
    workbench.apply(Action::LoadPreset(0));
    workbench.apply(Action::SetMaxTokens(64));
    workbench.apply(Action::Run);
    assert_eq!(points(&workbench), 1);
    assert_eq!(&*workbench.baseline.text, "春の風");
}

/// The cost of one more run must not grow with the session: comparing each of 20,000 with all others would take
/// minutes.
#[test]
fn a_session_of_20_000_runs_adds_its_measures_one_by_one() {
    const RUNS: usize = 20_000;
    let mut saved = with_one_run().tuning.saved.clone();
    saved.experiment.id = "session".to_owned();
    let run = saved
        .records
        .iter()
        .find(|record| !record.is_baseline())
        .unwrap()
        .clone();
    saved.records.extend((0..RUNS).map(|index| {
        let mut record = run.clone();
        record.id = format!("session/live-{index}");
        // Every second one repeats an earlier one and replaces it.
        record.prefix.as_mut().unwrap().sha256 = format!("prefix {}", index / 2);
        record
    }));
    let mut workbench = ready();
    workbench.absorb(Event::Library(Box::new(LibraryEvent::Read(vec![saved]))));
    let requests = workbench.take_requests();
    let comparisons = requests.into_iter().find_map(|request| match request {
        Request::Measure(comparisons) => Some(comparisons),
        _ => None,
    });
    let started = std::time::Instant::now();
    // The latest first: in any order, the latest of two equal ones is the point.
    for comparison in comparisons.unwrap().into_iter().rev() {
        workbench.absorb(Event::Measured(vec![comparison.measure()]));
    }
    assert_eq!(points(&workbench), RUNS / 2 + 1);
    let (last, _) = workbench.tuning.points().next_back().unwrap();
    assert_eq!(last.id, format!("session/live-{}", RUNS - 1));
    assert!(started.elapsed() < Duration::from_secs(60), "{:?}", started.elapsed());
}

impl Workbench {
    /// Returns whether the bridge was asked to continue a session; other requests stay.
    fn take_requests_of_tuning(&mut self, saved: &SavedExperiment) -> bool {
        let before = self.pending_requests.len();
        self.pending_requests
            .retain(|request| !matches!(request, Request::Tuning(Some(id)) if *id == saved.experiment.id));
        self.pending_requests.len() < before
    }
}

#[test]
fn another_session_begins_empty_and_a_change_of_prompt_writes_over_nothing() {
    let mut workbench = with_one_run();
    workbench.apply(Action::NewSession);
    assert_eq!(points(&workbench), 0);
    assert!(workbench.baseline.text.is_empty() && workbench.prefixed.text.is_empty());
    assert!(workbench.take_requests().contains(&Request::Tuning(None)));
    assert!(!workbench.can_export());
}

#[test]
fn settings_and_fields_come_back_at_the_next_start() {
    let mut workbench = ready();
    workbench.apply(Action::SetMagnitude(3.3));
    workbench.apply(Action::SetPrompt("Remember me.".to_owned()));
    workbench.apply(Action::SetZoom(1.5));
    workbench.apply(Action::SetMeasure(Measure::Indel));
    let stored = serde_json::to_string(&workbench.remembered()).unwrap();
    let again = Workbench::new(serde_json::from_str(&stored).unwrap());
    assert_eq!(again.prefix.magnitude, 3.3);
    assert_eq!(again.prompt.user, "Remember me.");
    assert_eq!(again.settings.zoom, 1.5);
    assert_eq!(again.measure, Measure::Indel);
}

/// Opens the history with these experiments alone.
fn list(workbench: &mut Workbench, saved: &[&SavedExperiment]) {
    let summary = |saved: &&SavedExperiment| Summary::of(saved, Condition::default());
    workbench.absorb(Event::Library(Box::new(LibraryEvent::Listed {
        experiments: saved.iter().map(summary).collect(),
        problems: Vec::new(),
    })));
}

/// Answers the requests for experiments of the history with this one.
fn read(workbench: &mut Workbench, saved: &SavedExperiment) {
    let asked = workbench.take_requests().into_iter().any(|request| {
        matches!(request, Request::Library(LibraryRequest::Read(ids)) if ids == [saved.experiment.id.clone()])
    });
    assert!(asked);
    workbench.absorb(Event::Library(Box::new(LibraryEvent::Read(vec![saved.clone()]))));
}

#[test]
fn examples_that_were_typed_after_the_last_learning_stay_when_it_is_restored_and_not_when_it_is_opened() {
    let mut workbench = ready();
    let mut saved = SavedExperiment::new(Tuning::default().saved.experiment);
    saved.experiment.id = "learning".to_owned();
    workbench.apply(Action::Find(FindAction::SetTarget("It was learned.".to_owned())));
    saved.learning = Some(Learning {
        plan: workbench.find.form.plan(""),
        frames: Vec::new(),
    });
    workbench.apply(Action::Find(FindAction::SetTarget("It was typed.".to_owned())));
    workbench.apply(Action::Find(FindAction::SetMode(FindMode::Search)));
    let typed = workbench.find.form.clone();
    (workbench.library.restore, workbench.library.keeps_fields) = (true, true);
    list(&mut workbench, &[&saved]);
    read(&mut workbench, &saved);
    assert!(workbench.find.saved.is_some());
    assert_eq!((&workbench.find.form, workbench.find.mode), (&typed, FindMode::Search));
    workbench.apply(Action::Sweep(SweepAction::Show("learning".to_owned())));
    read(&mut workbench, &saved);
    assert_eq!(workbench.find.form.examples[0].target, "It was learned.");
    assert_eq!(workbench.find.mode, FindMode::Learn);
}

#[test]
fn a_prompt_that_was_typed_beside_the_shown_session_is_not_run_as_soon_as_a_module_is_ready() {
    let mut workbench = with_one_run();
    workbench.apply(Action::SetLive(true));
    workbench.apply(Action::SetPrompt("Half a".to_owned()));
    workbench.absorb(Event::Ready(Box::new(facts(true)), Some(vocabulary())));
    assert!(inferences(&mut workbench).is_empty());
    // The shown prompt is, on another module.
    let mut workbench = with_one_run();
    workbench.apply(Action::SetLive(true));
    let mut another = facts(true);
    another.identity.model = "another".to_owned();
    workbench.absorb(Event::Ready(Box::new(another), Some(vocabulary())));
    assert_eq!(inferences(&mut workbench).len(), 2);
}

#[test]
fn a_prompt_that_was_typed_and_not_run_is_among_the_persons_own_when_another_takes_its_place() {
    let own = |workbench: &Workbench| -> Vec<String> {
        let prompts = workbench.own_prompts.iter();
        prompts.map(|prompt| prompt.user.clone()).collect()
    };
    let mut saved = with_one_run().tuning.saved;
    saved.experiment.id = "session".to_owned();
    let mut workbench = ready();
    list(&mut workbench, &[&saved]);
    workbench.apply(Action::SetPrompt("Typed first.".to_owned()));
    workbench.apply(Action::LoadPreset(1));
    assert_eq!(own(&workbench), ["Typed first."]);
    // Neither a preset nor an empty prompt.
    workbench.apply(Action::LoadPreset(0));
    workbench.apply(Action::SetPrompt(" ".to_owned()));
    workbench.apply(Action::LoadOwnPrompt(0));
    assert_eq!(
        (own(&workbench).len(), workbench.prompt.user.as_str()),
        (1, "Typed first.")
    );
    workbench.apply(Action::SetPrompt("Typed second.".to_owned()));
    workbench.apply(Action::LoadOwnPrompt(0));
    assert_eq!(workbench.prompt.user, "Typed first.", "the one at this place before");
    workbench.apply(Action::SetPrompt("Typed third.".to_owned()));
    workbench.apply(Action::Sweep(SweepAction::Show("session".to_owned())));
    read(&mut workbench, &saved);
    assert_eq!(workbench.prompt.preset(), Some(0));
    assert_eq!(own(&workbench), ["Typed third.", "Typed second.", "Typed first."]);
}

#[test]
fn a_target_is_read_as_people_write_it() {
    let remote = |address: &str| {
        Some(Target::Remote {
            address: address.to_owned(),
            model: None,
        })
    };
    assert_eq!(Target::parse("embedded"), Some(Target::default()));
    assert_eq!(Target::parse("192.168.0.7"), remote("192.168.0.7:10001"));
    assert_eq!(Target::parse(" m5.local:10002 "), remote("m5.local:10002"));
    assert_eq!(Target::parse("::1"), remote("[::1]:10001"));
    assert_eq!(Target::parse("[::1]:99"), remote("[::1]:99"));
    assert_eq!(Target::parse("[::1]"), remote("[::1]:10001"));
    for bad in ["", "a b", "host:", "host:0", "host:70000", ":10001", "http://x"] {
        assert_eq!(Target::parse(bad), None, "{bad}");
    }
}

#[test]
fn the_second_baseline_uses_the_first_as_its_draft_and_shows_its_progress() {
    let mut workbench = ready();
    workbench.apply(Action::Run);
    let launched = inferences(&mut workbench);
    assert!(launched.iter().all(|inference| inference.draft.is_empty()));
    let mut first = record(&launched[0], "The sky is blue.", FinishReason::Stop);
    if let CaseOutcome::Done(answer) = &mut first.outcome {
        answer.tokens = Some(vec![7, 8, 9]);
    }
    let (run, kind) = (launched[0].run, launched[0].kind);
    workbench.absorb(Event::Finished {
        run,
        kind,
        record: first,
    });
    finish(&mut workbench, &launched[1], "The sky is green.");
    let repeat = inferences(&mut workbench).remove(0);
    assert_eq!(
        (repeat.kind, repeat.draft.as_slice()),
        (RunKind::BaselineRepeat, &[7, 8, 9][..])
    );
    assert_eq!(workbench.repeat_progress(), Some(0.0));
    let (run, kind) = (repeat.run, repeat.kind);
    let text = "The sky ".to_owned();
    workbench.absorb(Event::Delta { run, kind, text });
    assert_eq!(workbench.repeat_progress(), Some(0.5));
    finish(&mut workbench, &repeat, "The sky is blue.");
    assert_eq!(workbench.repeat_progress(), None);
    assert!(is_deterministic(&workbench));
}

#[test]
fn between_two_kept_magnitudes_the_texts_of_both_are_the_draft_the_nearer_one_first() {
    let mut workbench = with_one_run();
    let tokens_at = |workbench: &mut Workbench, magnitude: f64, tokens: Vec<u32>| {
        workbench.apply(Action::SetMagnitude(magnitude));
        workbench.apply(Action::Run);
        let launched = inferences(workbench).remove(0);
        let mut done = record(&launched, &format!("text {magnitude}"), FinishReason::Stop);
        if let CaseOutcome::Done(answer) = &mut done.outcome {
            answer.tokens = Some(tokens);
        }
        let (run, kind) = (launched.run, launched.kind);
        workbench.absorb(Event::Finished {
            run,
            kind,
            record: done,
        });
        compare(workbench);
    };
    tokens_at(&mut workbench, 0.1, vec![1]);
    tokens_at(&mut workbench, 4.0, vec![4]);
    for (magnitude, expected) in [(0.2, vec![1, 4]), (3.0, vec![4, 1]), (5.0, vec![4])] {
        workbench.apply(Action::SetMagnitude(magnitude));
        workbench.apply(Action::Run);
        assert_eq!(inferences(&mut workbench)[0].draft, expected);
    }
    // Another prefix repeats none of these; the baseline's text is what it may repeat.
    workbench.apply(Action::SetLen(workbench.prefix.len + 1));
    workbench.apply(Action::Run);
    let baseline = workbench
        .tuning
        .baseline()
        .and_then(Record::tokens)
        .unwrap_or_default()
        .to_vec();
    assert_eq!(inferences(&mut workbench)[0].draft, baseline);
}

#[test]
fn the_saved_notice_disappears_after_a_new_run() {
    let mut workbench = with_one_run();
    workbench.absorb(Event::FigureSaved("plot.png".into()));
    assert!(matches!(workbench.notice, Some(Notice::Saved(_))));
    workbench.apply(Action::SetMagnitude(2.0));
    workbench.apply(Action::Run);
    assert!(workbench.notice.is_some(), "nothing new is there yet");
    let launched = inferences(&mut workbench);
    finish(&mut workbench, &launched[0], "another text");
    assert_eq!(workbench.notice, None);
}

#[test]
fn token_norms_become_a_raw_value_of_the_sign_and_the_rows_of_the_controls() {
    let mut workbench = ready();
    workbench.set_unit(MagnitudeUnit::Raw);
    workbench.apply(Action::SetMagnitude(-0.05));
    let scale = workbench.raw_per_norm().unwrap();
    assert_eq!(workbench.norms_to_controls(2.9), -2.9 * scale);
    // Rows that have 0.1 token norms as they are.
    workbench.apply(Action::SetKind(KindChoice::Words));
    workbench.apply(Action::SetWords("sea".to_owned()));
    workbench.apply(Action::SetMagnitude(1.0));
    let built = PrefixIdentity {
        token_norms: Some(0.1),
        ..identity(&workbench.prefix.recipe())
    };
    workbench.next_prefix.built = Some(Ok(built));
    assert!((workbench.norms_to_controls(2.9) - 29.0).abs() < 1e-9);
}

#[test]
fn a_sheet_that_was_opened_without_a_module_describes_the_prefix_once_there_is_one() {
    let identifies = |workbench: &mut Workbench| {
        let requests = workbench.take_requests();
        requests.iter().any(|request| matches!(request, Request::Material(request) if matches!(**request, MaterialRequest::Identify { .. })))
    };
    let mut workbench = ready();
    workbench.absorb(Event::Lost(Problem::new(ProblemKind::Connection, "lost", "")));
    workbench.apply(Action::ShowDialog(Dialog::Identity));
    assert!(!identifies(&mut workbench));
    workbench.absorb(Event::Ready(Box::new(facts(true)), Some(vocabulary())));
    assert!(identifies(&mut workbench));
}

#[test]
fn a_fetched_model_waits_for_the_end_of_what_find_runs() {
    let mut workbench = ready();
    let learns = ModuleFacts {
        learns: true,
        ..facts(true)
    };
    workbench.absorb(Event::Ready(Box::new(learns), Some(vocabulary())));
    workbench.absorb(Event::Library(Box::new(LibraryEvent::Listed {
        experiments: Vec::new(),
        problems: Vec::new(),
    })));
    workbench.apply(Action::Find(FindAction::SetTarget("The sea is calm.".to_owned())));
    workbench.apply(Action::Find(FindAction::Start));
    assert!(workbench.find.working_mode().is_some());
    workbench.takes_over = true;
    workbench.background_fetch = Some(BackgroundFetch::Arrived("another".to_owned()));
    workbench.take_over();
    assert!(workbench.background_fetch.is_some());
    workbench.absorb(Event::Find(Box::new(FindEvent::Ended {
        number: 1,
        problem: None,
    })));
    assert_eq!(workbench.background_fetch, None);
    assert_eq!(workbench.notice, Some(Notice::TakenOver("another".to_owned())));
}

#[test]
fn a_fetched_model_waits_as_long_as_candidates_of_another_are_chosen_from() {
    let mut workbench = ready();
    workbench.apply(Action::ShowTab(Tab::Find));
    workbench.apply(Action::Find(FindAction::SetMode(FindMode::Choose)));
    workbench.find.chooser.saved = Some(SavedExperiment::new(Tuning::default().saved.experiment));
    workbench.takes_over = true;
    workbench.background_fetch = Some(BackgroundFetch::Arrived("another".to_owned()));
    workbench.take_over();
    assert!(workbench.background_fetch.is_some());
    workbench.apply(Action::ShowTab(Tab::Tune));
    assert_eq!(workbench.background_fetch, None);
}

#[test]
fn an_exhibition_that_the_end_of_the_program_ends_stores_the_fields_from_before_it() {
    let mut workbench = ready();
    workbench.apply(Action::SetPrompt("My own.".to_owned()));
    workbench.apply(Action::SetMagnitude(0.7));
    workbench.apply(Action::SetLive(true));
    let own = workbench.remembered();
    workbench.apply(Action::Exhibit(ExhibitionAction::Toggle));
    for _ in 0..3 {
        workbench.advance(Duration::from_secs(60));
    }
    assert!(workbench.prompt.preset() == Some(0) && workbench.prefix.magnitude != 0.7 && !workbench.live);
    assert_eq!(workbench.remembered(), own);
    // What a visitor sets is not stored either.
    workbench.apply(Action::Exhibit(ExhibitionAction::Touched));
    workbench.apply(Action::SetPrompt("A visitor's.".to_owned()));
    assert_eq!(workbench.remembered(), own);
}

#[test]
fn an_exhibition_keeps_the_runs_of_one_round_at_most() {
    let mut workbench = ready();
    workbench.apply(Action::Exhibit(ExhibitionAction::Toggle));
    let mut largest = 0;
    let mut presets = vec![0];
    while presets.len() <= 2 * PRESETS.len() {
        // As long as the longest phase of the loop.
        workbench.advance(Duration::from_secs(60));
        for inference in inferences(&mut workbench) {
            finish(&mut workbench, &inference, "text");
        }
        largest = largest.max(workbench.tuning.saved.records.len());
        let preset = workbench.prompt.preset().unwrap();
        if presets.last() != Some(&preset) {
            presets.push(preset);
        }
    }
    // Eight magnitudes, and a baseline that ran twice.
    assert!(largest > 8 && largest <= 10 * PRESETS.len(), "{largest}");

    // A visitor who never stops.
    for step in 0..600 {
        workbench.apply(Action::Exhibit(ExhibitionAction::Touched));
        workbench.apply(Action::SetMagnitude(1.0 + f64::from(step)));
        workbench.apply(Action::Run);
        for inference in inferences(&mut workbench) {
            finish(&mut workbench, &inference, "text");
        }
        largest = largest.max(workbench.tuning.saved.records.len());
    }
    assert!((500..510).contains(&largest), "{largest}");
}

#[test]
fn an_exhibition_in_raw_values_scales_its_magnitudes_by_the_raw_value_of_one_token_norm() {
    for kind in [KindChoice::Constant, KindChoice::RandomUniform, KindChoice::Words] {
        let mut workbench = ready();
        workbench.apply(Action::SetKind(kind));
        workbench.apply(Action::SetMagnitudeUnit(MagnitudeUnit::Raw));
        let one_norm = workbench.raw_of_one_norm();
        workbench.apply(Action::Exhibit(ExhibitionAction::Toggle));
        let mut largest: f64 = 0.0;
        while workbench.prompt.preset() == Some(0) {
            // As long as the longest phase of the loop.
            workbench.advance(Duration::from_secs(60));
            largest = largest.max(workbench.prefix.magnitude);
        }
        assert_eq!(largest, 100.0 * one_norm, "{kind:?}");
    }
}

#[test]
fn an_exhibition_opens_the_embedded_module_again_after_each_failed_attempt_but_none_that_was_never_ready() {
    fn lose(workbench: &mut Workbench) {
        let problem = Problem::new(ProblemKind::Connection, "The module ended.", "Reconnect.");
        workbench.absorb(Event::Lost(problem));
    }
    fn attempts(workbench: &mut Workbench) -> usize {
        workbench.advance(Duration::from_secs(5));
        let requests = workbench.take_requests().into_iter();
        requests
            .filter(|request| matches!(request, Request::Connect { .. }))
            .count()
    }
    let mut workbench = ready();
    assert_eq!(workbench.target, Target::default());
    workbench.apply(Action::Exhibit(ExhibitionAction::Toggle));
    for _ in 0..3 {
        lose(&mut workbench);
        assert!(workbench.module.last_facts().is_some());
        assert_eq!(attempts(&mut workbench), 1);
        workbench.absorb(Event::Loading {
            model: "m".to_owned(),
            fraction: 0.5,
            stage: LoadStage::Weights,
        });
        assert_eq!(attempts(&mut workbench), 0, "during the attempt");
    }
    let model = Some("another".to_owned());
    workbench.apply(Action::Connect(Target::Embedded { model }));
    workbench.take_requests();
    lose(&mut workbench);
    assert_eq!(workbench.module.last_facts(), None, "of another module");
    assert_eq!(attempts(&mut workbench), 0);
}
