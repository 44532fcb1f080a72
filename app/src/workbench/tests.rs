//! What the workbench does with actions and events, as sentences. No bridge is needed: requests are looked at.

use std::sync::Arc;
use std::time::Duration;

use softprefix_core::compare::{Granularity, Measures, diff};
use softprefix_core::prefix::{Magnitude, PrefixKind, Rounding};

use super::*;
use crate::messages::{Comparison, Event, Inference, Purpose};
use crate::model::{
    Applied, Histogram, KindChoice, MagnitudeUnit, ModuleFacts, PaneState, Problem, ProblemKind, RunOutcome, Snapshot,
    TokenCount,
};

const H: usize = 896;
const MEDIAN: f64 = 0.515;

fn facts(ours: bool) -> ModuleFacts {
    ModuleFacts {
        address: "127.0.0.1:10001".to_owned(),
        embedded: ours,
        version: "v1.6".to_owned(),
        model: "qwen2.5-0.5b".to_owned(),
        hidden_size: Some(H),
        window: Some(1024),
        prefill_window: Some(1024),
        latency: Duration::from_micros(400),
        ours,
        concurrency: if ours { 16 } else { 1 },
        task: "llm.1000".to_owned(),
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
        histogram: Histogram::default(),
    })
}

fn bench() -> Workbench {
    let mut remembered = Remembered::default();
    remembered.settings.live = false;
    Workbench::new(remembered)
}

/// Connected to our unit, requests of the beginning taken away.
fn ready() -> Workbench {
    let mut bench = bench();
    bench.absorb(Event::Ready(Box::new(facts(true)), Some(vocabulary())));
    let (system, user) = (bench.prompt.system.clone(), bench.prompt.user.clone());
    let count = TokenCount {
        template: 21,
        prompt: 18,
        window: 1024,
        prefill_window: 1024,
    };
    bench.absorb(Event::Counted { system, user, count });
    bench.take_requests();
    bench
}

fn inferences(bench: &mut Workbench) -> Vec<Inference> {
    bench
        .take_requests()
        .into_iter()
        .filter_map(|request| match request {
            Request::Infer(inference) => Some(*inference),
            _ => None,
        })
        .collect()
}

fn outcome(text: &str, finish: Finish) -> Box<RunOutcome> {
    Box::new(RunOutcome {
        text: text.to_owned(),
        finish,
        timings: Timings::default(),
        tokens: None,
        echoed: true,
    })
}

fn finish(bench: &mut Workbench, inference: &Inference, text: &str) {
    let recipe_built = inference
        .recipe
        .as_ref()
        .map(|recipe| built(recipe.len, &format!("{recipe:?}")));
    bench.absorb(Event::Started {
        run: inference.run,
        side: inference.side,
        built: recipe_built,
    });
    bench.absorb(Event::Delta {
        run: inference.run,
        side: inference.side,
        text: text.to_owned(),
    });
    bench.absorb(Event::Finished {
        run: inference.run,
        side: inference.side,
        outcome: outcome(text, Finish::Stop),
    });
    compare(bench);
}

fn built(len: usize, sha256: &str) -> BuiltPrefix {
    BuiltPrefix {
        len,
        hidden_size: H,
        sha256: sha256.to_owned(),
        norm_min: 0.5,
        norm_median: 0.5,
        norm_max: 0.5,
        norms: Some(1.0),
        raw: Some(0.017),
    }
}

/// Does what the bridge does with comparisons, until none is left; other requests stay queued.
fn compare(bench: &mut Workbench) {
    loop {
        let (comparisons, others): (Vec<_>, Vec<_>) = bench
            .take_requests()
            .into_iter()
            .partition(|request| matches!(request, Request::Compare(_)));
        bench.outbox = others;
        if comparisons.is_empty() {
            return;
        }
        for request in comparisons {
            let Request::Compare(comparison) = request else {
                continue;
            };
            let diff = diff(&comparison.left, &comparison.right, comparison.granularity, None);
            let measures = (comparison.purpose != Purpose::Panes)
                .then(|| Box::new(Measures::of(&comparison.left, &comparison.right)));
            bench.absorb(Event::Compared {
                comparison,
                diff,
                measures,
            });
        }
    }
}

/// Ready, with a baseline that is known to be deterministic and one prefixed run at 1x.
fn with_one_run() -> Workbench {
    let mut bench = ready();
    bench.apply(Action::Run);
    let launched = inferences(&mut bench);
    finish(&mut bench, &launched[0], "春の風");
    finish(&mut bench, &launched[1], "春の雨");
    let repeat = inferences(&mut bench);
    assert_eq!(repeat.len(), 1);
    finish(&mut bench, &repeat[0], "春の風");
    bench.take_requests();
    bench
}

#[test]
fn the_controls_describe_a_recipe_and_the_raw_value_is_shown_beside_the_token_norms() {
    let mut bench = ready();
    bench.apply(Action::SetMagnitude(2.9));
    bench.apply(Action::SetLen(4));
    bench.apply(Action::SetRounding(Rounding::Truncate));
    let recipe = bench.prefix.recipe();
    assert_eq!(recipe.kind, PrefixKind::Constant);
    assert_eq!(recipe.len, 4);
    assert_eq!(recipe.magnitude, Magnitude::TokenNorms(2.9));
    assert_eq!(recipe.rounding, Rounding::Truncate);
    let raw = bench.magnitude_raw().unwrap();
    assert!((raw - 0.0499).abs() < 1e-4, "{raw}");
}

#[test]
fn switching_the_unit_keeps_the_prefix_and_changes_the_number() {
    let mut bench = ready();
    bench.apply(Action::SetMagnitude(1.0));
    bench.apply(Action::SetMagnitudeUnit(MagnitudeUnit::Raw));
    assert!((bench.prefix.magnitude - MEDIAN / (H as f64).sqrt()).abs() < 1e-12);
    bench.apply(Action::SetMagnitudeUnit(MagnitudeUnit::TokenNorms));
    assert!((bench.prefix.magnitude - 1.0).abs() < 1e-12);
}

#[test]
fn a_magnitude_that_is_no_number_or_negative_is_not_taken() {
    let mut bench = ready();
    for value in [f64::NAN, f64::INFINITY, -1.0] {
        bench.apply(Action::SetMagnitude(value));
        assert_eq!(bench.prefix.magnitude, 1.0);
    }
}

#[test]
fn scaling_down_at_the_lower_end_reaches_the_stop_and_scaling_up_leaves_it() {
    let mut bench = ready();
    bench.apply(Action::SetMagnitude(0.001));
    bench.apply(Action::ScaleMagnitude(1.0 / 1.02));
    assert_eq!(bench.prefix.magnitude, 0.0);
    bench.apply(Action::ScaleMagnitude(1.02));
    assert_eq!(bench.prefix.magnitude, 0.001);
}

#[test]
fn every_change_of_the_prefix_asks_for_its_norm_and_digest_but_only_the_last_is_queued() {
    let mut bench = ready();
    for step in 1..=5 {
        bench.apply(Action::SetMagnitude(f64::from(step)));
    }
    let requests = bench.take_requests();
    assert_eq!(
        requests,
        vec![Request::Describe {
            recipe: bench.prefix.recipe()
        }]
    );
    assert!(bench.card.outdated);
    let recipe = bench.prefix.recipe();
    bench.absorb(Event::Described {
        recipe,
        built: Ok(built(1, "abc")),
    });
    assert!(!bench.card.outdated);
}

#[test]
fn a_description_of_a_prefix_that_is_no_longer_set_is_ignored() {
    let mut bench = ready();
    let old = bench.prefix.recipe();
    bench.apply(Action::SetMagnitude(2.0));
    bench.absorb(Event::Described {
        recipe: old,
        built: Ok(built(1, "old")),
    });
    assert!(bench.card.built.is_none());
}

#[test]
fn the_budget_follows_p_at_once_and_says_what_is_free() {
    let mut bench = ready();
    bench.apply(Action::SetLen(4));
    bench.apply(Action::SetMaxTokens(64));
    let budget = bench.budget.unwrap();
    assert_eq!(
        (budget.prefix, budget.template, budget.prompt, budget.output),
        (4, 21, 18, 64)
    );
    assert_eq!(budget.free(), 1024 - 4 - 21 - 18 - 64);
    assert_eq!(bench.max_len(), 1024 - 21 - 18);
}

#[test]
fn a_prefix_that_leaves_no_room_for_an_output_token_cannot_be_run() {
    let mut bench = ready();
    bench.apply(Action::SetLen(986));
    assert_eq!(bench.why_not_run(), Some(WhyNot::DoesNotFit));
    bench.apply(Action::Run);
    assert!(inferences(&mut bench).is_empty());
    bench.apply(Action::SetLen(985));
    assert_eq!(bench.why_not_run(), None);
}

#[test]
fn run_says_why_it_is_off() {
    let mut bench = bench();
    assert_eq!(bench.why_not_run(), Some(WhyNot::NotConnected));
    bench.absorb(Event::Loading {
        model: "m".to_owned(),
        fraction: 0.5,
        what: "reading".to_owned(),
    });
    assert_eq!(bench.why_not_run(), Some(WhyNot::StillConnecting));
    let mut bench = ready();
    bench.apply(Action::SetPrompt("  \n".to_owned()));
    assert_eq!(bench.why_not_run(), Some(WhyNot::EmptyPrompt));
    bench.apply(Action::LoadPreset(0));
    bench.apply(Action::SetKind(KindChoice::Words));
    bench.apply(Action::SetWords(String::new()));
    assert_eq!(bench.why_not_run(), Some(WhyNot::NoWords));
}

#[test]
fn the_first_run_asks_for_the_baseline_and_the_prefixed_side_and_later_ones_keep_the_baseline() {
    let mut bench = ready();
    bench.apply(Action::Run);
    let launched = inferences(&mut bench);
    assert_eq!(
        launched.iter().map(|i| i.side).collect::<Vec<_>>(),
        [Side::Baseline, Side::Prefixed]
    );
    assert!(launched[0].recipe.is_none() && launched[1].recipe.is_some());
    // Moved on before the baseline is there: it is still on its way and is not asked for again.
    bench.apply(Action::SetMagnitude(2.0));
    bench.apply(Action::Run);
    assert_eq!(
        inferences(&mut bench).iter().map(|i| i.side).collect::<Vec<_>>(),
        [Side::Prefixed]
    );
    finish(&mut bench, &launched[0], "baseline");
    bench.apply(Action::Run);
    assert_eq!(
        inferences(&mut bench).iter().map(|i| i.side).collect::<Vec<_>>(),
        [Side::Prefixed]
    );
}

#[test]
fn another_prompt_or_another_limit_of_tokens_needs_another_baseline() {
    let mut bench = with_one_run();
    bench.apply(Action::SetPrompt("Another one.".to_owned()));
    assert!(bench.baseline.stale && bench.prefixed.stale);
    bench.apply(Action::Run);
    assert_eq!(inferences(&mut bench).len(), 2);
    // Back to the first prompt: its baseline stands.
    bench.apply(Action::LoadPreset(0));
    bench.apply(Action::Run);
    assert_eq!(
        inferences(&mut bench).iter().map(|i| i.side).collect::<Vec<_>>(),
        [Side::Prefixed]
    );
    assert_eq!(&*bench.baseline.text, "春の風");
}

#[test]
fn a_finished_run_becomes_a_point_with_its_measures_and_its_diff() {
    let bench = with_one_run();
    let runs: Vec<&Run> = bench.visible_runs().collect();
    assert_eq!(runs.len(), 1);
    assert_eq!(runs[0].measures.first_divergence.code_points, 2);
    assert_eq!(runs[0].magnitude(), Some(1.0));
    assert_eq!(runs[0].applied, Applied::Proven);
    assert_eq!(bench.covered(Side::Baseline), "春の風".len());
    let of = bench.diff.as_ref().unwrap();
    assert_eq!(of.diff.removed().collect::<Vec<_>>(), ["春の".len().."春の風".len()]);
}

#[test]
fn two_equal_baselines_say_that_the_module_is_deterministic() {
    let bench = with_one_run();
    assert_eq!(*bench.noise(), Noise::Deterministic);
}

#[test]
fn two_different_baselines_give_a_noise_floor() {
    let mut bench = ready();
    bench.apply(Action::Run);
    let launched = inferences(&mut bench);
    finish(&mut bench, &launched[0], "The sky is blue.");
    finish(&mut bench, &launched[1], "The sky is green.");
    let repeat = inferences(&mut bench);
    assert_eq!(repeat[0].side, Side::Repeat);
    finish(&mut bench, &repeat[0], "The sea is blue.");
    assert!(matches!(bench.noise(), Noise::Floor(_)));
    let floor = bench.noise().floor(Measure::Indel).unwrap();
    assert!(floor > 0.5 && floor < 1.0);
}

#[test]
fn once_two_baselines_differed_an_equal_third_one_proves_nothing() {
    let mut bench = with_one_run();
    for text in ["春の海", "春の海"] {
        bench.apply(Action::RerunBaseline);
        let again = inferences(&mut bench).remove(0);
        finish(&mut bench, &again, text);
    }
    assert!(matches!(bench.noise(), Noise::Floor(_)));
}

#[test]
fn live_mode_waits_for_the_hand_and_launches_once_for_many_moves_within_a_frame() {
    let mut bench = ready();
    bench.apply(Action::SetLive(true));
    bench.take_requests();
    for step in 1..=10 {
        bench.apply(Action::SetMagnitude(f64::from(step) / 10.0));
    }
    let launched = inferences(&mut bench);
    let prefixed: Vec<_> = launched.iter().filter(|i| i.side == Side::Prefixed).collect();
    assert_eq!(prefixed.len(), 1);
    assert_eq!(prefixed[0].delay, LIVE_DELAY);
    assert_eq!(
        prefixed[0].recipe.as_ref().unwrap().magnitude,
        Magnitude::TokenNorms(1.0)
    );
}

#[test]
fn events_of_a_run_that_was_replaced_are_ignored() {
    let mut bench = with_one_run();
    bench.apply(Action::SetMagnitude(2.0));
    bench.apply(Action::Run);
    let old = inferences(&mut bench).remove(0);
    bench.apply(Action::SetMagnitude(3.0));
    bench.apply(Action::Run);
    let new = inferences(&mut bench).remove(0);
    bench.absorb(Event::Delta {
        run: old.run,
        side: Side::Prefixed,
        text: "old".to_owned(),
    });
    bench.absorb(Event::Finished {
        run: old.run,
        side: Side::Prefixed,
        outcome: outcome("old", Finish::Stop),
    });
    assert_eq!(&*bench.prefixed.text, "春の雨");
    finish(&mut bench, &new, "春の海");
    assert_eq!(&*bench.prefixed.text, "春の海");
    assert_eq!(bench.visible_runs().count(), 2);
}

#[test]
fn a_stopped_run_shows_its_text_but_is_no_point() {
    let mut bench = with_one_run();
    bench.apply(Action::SetMagnitude(2.0));
    bench.apply(Action::Run);
    let run = inferences(&mut bench).remove(0);
    bench.absorb(Event::Delta {
        run: run.run,
        side: Side::Prefixed,
        text: "half".to_owned(),
    });
    bench.apply(Action::Stop);
    assert_eq!(
        bench.take_requests().last(),
        Some(&Request::Stop { side: Side::Prefixed })
    );
    bench.absorb(Event::Finished {
        run: run.run,
        side: Side::Prefixed,
        outcome: outcome("half", Finish::Stopped),
    });
    assert_eq!(
        (&*bench.prefixed.text, bench.prefixed.finish),
        ("half", Some(Finish::Stopped))
    );
    assert!(!bench.is_running());
    compare(&mut bench);
    assert_eq!(bench.visible_runs().count(), 1);
}

#[test]
fn a_text_made_with_another_magnitude_than_the_slider_says_is_stale_and_says_from_where() {
    let mut bench = with_one_run();
    assert!(!bench.prefixed.stale);
    bench.apply(Action::SetMagnitude(2.4));
    assert!(bench.prefixed.stale);
    assert_eq!(bench.prefixed.stale_from.as_ref().unwrap().norms, Some(1.0));
    assert!(!bench.baseline.stale);
    bench.apply(Action::SetMagnitude(1.0));
    assert!(!bench.prefixed.stale);
}

#[test]
fn the_old_text_stands_until_the_first_token_and_after_an_error() {
    let mut bench = with_one_run();
    bench.apply(Action::Run);
    let run = inferences(&mut bench).remove(0);
    assert_eq!(
        (&*bench.prefixed.text, bench.prefixed.state),
        ("春の雨", PaneState::Waiting)
    );
    let problem = Problem::new(ProblemKind::Module, "The module went silent.", "Reconnect.");
    bench.absorb(Event::Failed {
        run: run.run,
        side: Side::Prefixed,
        problem: problem.clone(),
    });
    assert_eq!(&*bench.prefixed.text, "春の雨");
    assert_eq!(bench.prefixed.error, Some(problem));
    assert!(!bench.is_running());
}

#[test]
fn a_chosen_run_opens_its_text_and_diff_again_and_can_set_the_controls() {
    let mut bench = with_one_run();
    let first = bench.visible_runs().next().unwrap().id;
    bench.apply(Action::SetMagnitude(5.8));
    bench.apply(Action::SetLen(2));
    bench.apply(Action::Run);
    let run = inferences(&mut bench).remove(0);
    finish(&mut bench, &run, "夏夏夏夏");
    bench.apply(Action::SelectRun(Some(first)));
    compare(&mut bench);
    assert_eq!(&*bench.prefixed.text, "春の雨");
    assert!(bench.prefixed.stale);
    assert_eq!(bench.diff.as_ref().map(|of| &*of.right), Some("春の雨"));
    bench.apply(Action::AdoptRun(first));
    assert_eq!((bench.prefix.magnitude, bench.prefix.len), (1.0, 1));
    assert!(!bench.prefixed.stale);
}

#[test]
fn a_new_baseline_text_measures_all_points_of_the_case_again() {
    let mut bench = with_one_run();
    bench.apply(Action::RerunBaseline);
    let again = inferences(&mut bench).remove(0);
    assert_eq!(again.side, Side::Baseline);
    finish(&mut bench, &again, "春の雨");
    assert_eq!(bench.visible_runs().count(), 1);
    assert_eq!(bench.visible_runs().next().unwrap().measures.indel, 1.0);
    assert!(matches!(bench.noise(), Noise::Floor(_)));
}

#[test]
fn a_module_that_does_not_tell_its_vocabulary_is_worked_in_raw_values() {
    let mut bench = bench();
    bench.absorb(Event::Ready(Box::new(facts(false)), None));
    assert_eq!(bench.prefix.unit, MagnitudeUnit::Raw);
    assert_eq!(bench.prefix.recipe().magnitude, Magnitude::Raw(0.01));
    assert!(bench.budget.is_none());
    assert_eq!(bench.why_not_run(), None);
}

#[test]
fn an_ignored_prefix_is_said_out_loud() {
    let mut bench = bench();
    bench.absorb(Event::Ready(Box::new(facts(false)), None));
    bench.apply(Action::SetMagnitude(0.5));
    bench.apply(Action::Run);
    let launched = inferences(&mut bench);
    for inference in &launched {
        let silent = RunOutcome {
            echoed: false,
            ..*outcome("same", Finish::Unknown)
        };
        bench.absorb(Event::Finished {
            run: inference.run,
            side: inference.side,
            outcome: Box::new(silent),
        });
    }
    compare(&mut bench);
    assert_eq!(bench.visible_runs().next().unwrap().applied, Applied::Doubtful);
}

#[test]
fn a_lost_module_ends_what_is_under_way_and_keeps_texts_and_facts() {
    let mut bench = with_one_run();
    bench.apply(Action::SetMagnitude(2.0));
    bench.apply(Action::Run);
    bench.absorb(Event::Lost(Problem::new(
        ProblemKind::Connection,
        "The module closed the connection.",
        "Reconnect.",
    )));
    assert!(!bench.is_running());
    assert_eq!(&*bench.baseline.text, "春の風");
    assert_eq!(bench.module.last_facts().and_then(|facts| facts.hidden_size), Some(H));
    assert_eq!(bench.why_not_run(), Some(WhyNot::NotConnected));
    bench.apply(Action::SetMagnitude(4.0));
    assert_eq!(bench.magnitude_norms(), Some(4.0));
}

#[test]
fn left_over_tasks_are_exited_only_when_the_person_agrees() {
    let mut bench = bench();
    let tasks = vec!["llm.1000".to_owned(), "llm.1001".to_owned()];
    bench.absorb(Event::TaskFull { tasks: tasks.clone() });
    assert_eq!(bench.dialog, Some(Dialog::LeftOverTasks));
    assert!(bench.take_requests().is_empty());
    bench.apply(Action::ExitLeftOverTasks);
    assert_eq!(bench.take_requests(), vec![Request::ExitTasks { tasks }]);
    assert_eq!(bench.dialog, None);
}

#[test]
fn while_text_streams_in_one_comparison_is_under_way_at_most_and_the_diff_covers_a_beginning() {
    let mut bench = with_one_run();
    bench.apply(Action::SetMagnitude(2.0));
    bench.apply(Action::Run);
    let run = inferences(&mut bench).remove(0);
    for piece in ["春", "の", "山"] {
        bench.absorb(Event::Delta {
            run: run.run,
            side: Side::Prefixed,
            text: piece.to_owned(),
        });
    }
    let comparisons: Vec<Comparison> = bench
        .take_requests()
        .into_iter()
        .filter_map(|request| match request {
            Request::Compare(comparison) => Some(comparison),
            _ => None,
        })
        .collect();
    assert_eq!(comparisons.len(), 1);
    let comparison = comparisons.into_iter().next().unwrap();
    let diff = diff(&comparison.left, &comparison.right, Granularity::Auto, None);
    bench.absorb(Event::Compared {
        comparison,
        diff,
        measures: None,
    });
    assert_eq!(bench.covered(Side::Prefixed), "春".len());
    compare(&mut bench);
    assert_eq!(bench.covered(Side::Prefixed), "春の山".len());
}

#[test]
fn texts_that_could_not_be_compared_are_told_and_the_next_ones_are_compared() {
    let mut bench = with_one_run();
    let asked = |bench: &mut Workbench| {
        let requests = bench.take_requests();
        requests.iter().any(|request| matches!(request, Request::Compare(_)))
    };
    bench.apply(Action::ToggleGranularity);
    assert!(asked(&mut bench));
    let problem = Problem::new(ProblemKind::Program, "It broke.", "Try again.");
    bench.absorb(Event::NotCompared(problem.clone()));
    assert_eq!(bench.notice, Some(Notice::Problem(problem)));
    bench.apply(Action::ToggleGranularity);
    assert!(asked(&mut bench));
}

#[test]
fn an_opened_file_is_a_case_of_its_own_and_running_does_not_mix_with_it() {
    let mut bench = with_one_run();
    let snapshot = Snapshot {
        case: bench.case().unwrap().clone(),
        runs: bench.runs.clone(),
    };
    let mut snapshot = snapshot;
    snapshot.case.key.module = "results.json".to_owned();
    bench.absorb(Event::Opened {
        path: "results.json".into(),
        snapshot: Box::new(snapshot),
    });
    assert_eq!(bench.visible_runs().count(), 1);
    assert_eq!(bench.cases.len(), 2);
    assert_eq!(&*bench.prefixed.text, "春の雨");
    bench.apply(Action::Run);
    // The controls' own case has its baseline from before.
    assert_eq!(
        inferences(&mut bench).iter().map(|i| i.side).collect::<Vec<_>>(),
        [Side::Prefixed]
    );
    assert_eq!(bench.cases.len(), 2);
}

#[test]
fn settings_and_fields_come_back_at_the_next_start() {
    let mut bench = ready();
    bench.apply(Action::SetMagnitude(3.3));
    bench.apply(Action::SetPrompt("Remember me.".to_owned()));
    bench.apply(Action::SetZoom(1.5));
    bench.apply(Action::SetMeasure(Measure::Indel));
    let stored = serde_json::to_string(&bench.remembered()).unwrap();
    let again = Workbench::new(serde_json::from_str(&stored).unwrap());
    assert_eq!(again.prefix.magnitude, 3.3);
    assert_eq!(again.prompt.user, "Remember me.");
    assert_eq!(again.settings.zoom, 1.5);
    assert_eq!(again.measure, Measure::Indel);
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
