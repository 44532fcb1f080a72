//! From the slider to the diff: workbench and bridge against a real unit over TCP.

use std::sync::Arc;
use std::time::Duration;

use softprefix::model::{
    ConnectStep, Format, KindChoice, MagnitudeUnit, ModuleState, Problem, ProblemKind, RunKind, Target,
};
use softprefix::workbench::{Action, Dialog, DiffOf, Notice};
use softprefix_core::client::{ConnectOptions, Module};
use softprefix_core::experiment::{Applied, Point};
use softprefix_core::protocol::SetUp;
use softprefix_core::protocol::extension::{FinishReason, Priority, WeightRounding};
use softprefix_unit::testing::small_model;

use crate::hardship::with_priorities;
use crate::support::{
    Harness, LONG, OtherClient, Seen, at, by_id, closed_port, is_deterministic, kept, points, serve, tasks_at,
    tiny_model,
};

fn embedded(path: std::path::PathBuf) -> Target {
    Target::Embedded {
        model: Some(path.to_string_lossy().into_owned()),
    }
}

#[test]
fn the_embedded_module_with_a_real_model_takes_a_prefix_and_the_output_leaves_the_baseline() {
    let mut harness = Harness::new();
    harness.connect(embedded(small_model()));
    let facts = harness.workbench.module.facts().unwrap().clone();
    assert!(facts.is_ours() && facts.is_embedded());
    assert_eq!(facts.hidden_size(), Some(576));
    assert!(facts.identity.model_sha256.is_some_and(|digest| digest.len() == 64));
    assert!(
        facts
            .identity
            .weights
            .iter()
            .any(|stored| stored.kind == "Q4_1" && stored.how == WeightRounding::Exact)
    );
    let median = harness.workbench.vocabulary.as_ref().unwrap().median;
    assert!(median > 0.0);

    harness.apply(Action::SetMagnitude(3.0));
    harness.run();
    assert_eq!(harness.applied(), Applied::Proven);
    let (run, point) = harness.current();
    let sent = run.prefix.as_ref().unwrap().sha256.clone();
    assert_eq!(run.output(), &*harness.workbench.prefixed.text);
    assert!(point.measures.as_ref().unwrap().chrf2 < 100.0);
    assert!(!harness.workbench.baseline.text.is_empty());
    assert_ne!(harness.workbench.baseline.text, harness.workbench.prefixed.text);
    assert_eq!(harness.workbench.prefixed.timings.tokens, Some(24));
    assert!(harness.workbench.prefixed.timings.first_token.is_some());
    assert_eq!(harness.workbench.prefixed.finish, Some(FinishReason::Length));
    harness.until("the diff of the whole texts", |workbench| {
        let differ = |of: &Arc<DiffOf>| of.diff.added().next().is_some();
        workbench.covered(RunKind::Prefixed) == workbench.prefixed.text.len()
            && workbench.diff.as_ref().is_some_and(differ)
    });
    // The unit is deterministic, and says so by running the baseline twice.
    harness.until_noise_is_known();
    assert!(is_deterministic(&harness.workbench));
    // The first text was the draft of the second: the unit computed all of it again, and each token is the same.
    let again = harness.finished(RunKind::BaselineRepeat).remove(0);
    let usage = again.answer().unwrap().usage.clone().unwrap();
    assert_eq!(usage.accepted, usage.drafted);
    assert!(usage.accepted >= 16, "{usage:?}");

    // What the card promised is what was sent, and the same prefix gives the same text again.
    let built = harness.workbench.next_prefix.built.clone().unwrap().unwrap();
    assert_eq!(built.sha256, sent);
    assert!((built.row_norms[1] / median - 3.0).abs() < 0.02);
    harness.apply(Action::Run);
    harness.until("the second run", |workbench| {
        !workbench.is_running() && workbench.tuning.saved.records.len() == 4
    });
    assert_eq!(
        points(&harness.workbench),
        1,
        "the same prefix with the same text is the same point"
    );
    assert_eq!(harness.started(RunKind::Baseline), 1, "the baseline is kept");
}

#[test]
fn words_typed_as_a_prefix_are_fetched_from_the_unit_and_sent_unscaled() {
    let mut harness = Harness::new();
    harness.connect(embedded(tiny_model()));
    harness.apply(Action::SetKind(KindChoice::Words));
    harness.apply(Action::SetWords("the the".to_owned()));
    harness.apply(Action::SetUnscaled(true));
    harness.apply(Action::SetLen(2));
    harness.run();
    assert_eq!(harness.current().0.prefix.as_ref().unwrap().len, 2);
    assert_eq!(harness.applied(), Applied::Proven);
}

#[test]
fn live_mode_runs_only_the_last_of_several_quick_moves_and_keeps_the_baseline() {
    let mut harness = Harness::new();
    harness.apply(Action::SetMaxTokens(200));
    harness.connect(at(serve(tiny_model())));
    harness.run();
    harness.until_noise_is_known();
    harness.seen.clear();
    harness.apply(Action::SetLive(true));

    for step in 1..=8 {
        harness.apply(Action::SetMagnitude(f64::from(step)));
    }
    harness.until("the last move's run", |workbench| {
        workbench
            .tuning
            .points()
            .any(|(record, _)| record.token_norms() == Some(8.0))
            && !workbench.is_running()
    });
    let whole: Vec<_> = harness
        .finished(RunKind::Prefixed)
        .into_iter()
        .filter(|record| record.is_complete())
        .collect();
    assert_eq!(whole.len(), 1, "{:?}", harness.seen);
    assert!(
        harness
            .seen
            .iter()
            .any(|seen| matches!(seen, Seen::Dropped(RunKind::Prefixed, _)))
    );
    assert_eq!(harness.started(RunKind::Baseline), 0);
    let points = harness.workbench.tuning.points();
    let norms: Vec<_> = points.map(|(record, _)| record.token_norms().unwrap()).collect();
    assert_eq!(norms, [1.0, 8.0]);
    assert!(!harness.workbench.prefixed.stale);
}

#[test]
fn a_run_that_the_slider_replaces_leaves_no_record_and_one_that_the_person_stops_is_a_record_marked_so() {
    let mut harness = Harness::new();
    harness.apply(Action::SetMaxTokens(2000));
    harness.apply(Action::SetPrompt(
        "Write a long story about a lighthouse keeper, with many chapters.".to_owned(),
    ));
    harness.connect(at(serve(small_model())));
    harness.apply(Action::SetLive(true));
    harness.until("text that streams in", |workbench| {
        workbench.prefixed.text.chars().count() > 20
    });
    harness.apply(Action::SetMagnitude(5.0));
    harness.until("the new run's text", |workbench| {
        workbench
            .prefixed
            .origin
            .as_ref()
            .is_some_and(|origin| origin.token_norms.is_some_and(|norms| (norms - 5.0).abs() < 0.1))
    });
    harness.apply(Action::Stop);
    harness.until("the end of both", |workbench| !workbench.is_running());
    assert_eq!(harness.workbench.prefixed.finish, Some(FinishReason::Stopped));
    assert_eq!(points(&harness.workbench), 0, "a part of an output is no point");
    let [saved] = &kept(&harness.folder)[..] else {
        panic!("one session, one journal");
    };
    assert_eq!(
        by_id(&saved.records),
        by_id(&harness.workbench.tuning.saved.records),
        "what is shown is on disk"
    );
    let prefixed: Vec<_> = saved.records.iter().filter(|record| !record.is_baseline()).collect();
    assert_eq!(prefixed.len(), 1, "the one that was replaced is none");
    assert_eq!(prefixed[0].token_norms(), Some(5.0));
    assert_eq!(prefixed[0].answer().unwrap().finish_reason, FinishReason::Stopped);
    assert_eq!(prefixed[0].output(), &*harness.workbench.prefixed.text);
}

#[test]
fn another_system_prompt_or_sampling_sets_the_task_up_again_and_leaves_no_task_behind() {
    let address = serve(tiny_model());
    let mut harness = Harness::new();
    harness.connect(at(address));
    harness.run();
    harness.apply(Action::SetSystem("You are a pirate.".to_owned()));
    harness.run();
    assert_eq!(harness.workbench.tuning.analysis.groups.len(), 2);
    assert_eq!(tasks_at(address).len(), 1);
    harness.bridge.shutdown(Duration::from_secs(5));
    assert_eq!(tasks_at(address), Vec::<String>::new());
}

#[test]
fn a_connection_given_up_while_it_is_set_up_leaves_no_task_behind_and_says_nothing_more() {
    let (first, second) = (serve(small_model()), serve(tiny_model()));
    let mut harness = Harness::new();
    harness.apply(Action::Connect(at(first)));
    harness.until("the set-up", |workbench| {
        matches!(
            workbench.module,
            ModuleState::Connecting {
                what: ConnectStep::SettingUp
            }
        )
    });
    harness.connect(at(second));
    // A set-up of the same model is answered behind the one that was given up.
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let module = Module::connect(first.to_string(), ConnectOptions::default())
            .await
            .unwrap();
        let model = module.cards().await.unwrap().remove(0).name;
        let own = module.set_up(&SetUp::new(model, "")).await.unwrap();
        own.exit().await.unwrap();
        let all_ended = async {
            // A module has no event for the end of another client's task.
            while !module.tasks().await.unwrap().is_empty() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(LONG, all_ended)
            .await
            .expect("a task stays behind");
    });
    harness.run();
    assert_eq!(
        harness
            .workbench
            .module
            .facts()
            .map(|facts| facts.identity.model.as_str()),
        Some("tiny")
    );
}

#[test]
fn raw_values_are_sent_as_existing_scripts_send_them() {
    let mut harness = Harness::new();
    harness.connect(at(serve(tiny_model())));
    harness.apply(Action::SetMagnitudeUnit(MagnitudeUnit::Raw));
    harness.apply(Action::SetMagnitude(0.01));
    harness.run();
    let prefix = harness.current().0.prefix.as_ref().unwrap();
    assert_eq!(prefix.raw(), Some(0.01));
    assert!(prefix.token_norms.is_some());
}

#[test]
fn the_budget_is_counted_by_the_unit_and_a_prefix_that_does_not_fit_is_refused_in_words() {
    let mut harness = Harness::new();
    harness.connect(at(serve(tiny_model())));
    harness.until("the budget", |workbench| {
        workbench.budget.is_some_and(|budget| budget.current)
    });
    let budget = harness.workbench.budget.unwrap();
    assert_eq!(budget.window, 2048);
    assert!(budget.prompt > 5 && budget.template > 5);
    let most = harness.workbench.max_len();
    harness.apply(Action::SetLen(most + 1));
    assert!(harness.workbench.why_not_run().is_some());
    // Without the workbench's own check the unit says it, with its numbers.
    harness.workbench.budget = None;
    harness.apply(Action::Run);
    harness.until("the refusal", |workbench| workbench.prefixed.error.is_some());
    let problem = harness.workbench.prefixed.error.clone().unwrap();
    assert!(problem.sentence.en.contains("2048"), "{problem}");
}

#[test]
fn tasks_left_by_a_former_client_are_listed_and_exited_only_when_the_person_agrees() {
    let address = serve(tiny_model());
    let left = OtherClient::at(address);
    let mut harness = Harness::new();
    harness.apply(Action::Connect(at(address)));
    harness.until("the question", |workbench| {
        workbench.dialog == Some(Dialog::LeftOverTasks)
    });
    let ModuleState::TaskFull { tasks } = &harness.workbench.module else {
        panic!("{:?}", harness.workbench.module)
    };
    assert_eq!(*tasks, left.ids());
    assert_eq!(tasks_at(address).len(), 2);
    harness.apply(Action::ExitLeftOverTasks);
    harness.until("the module", |workbench| workbench.module.is_ready());
    assert_eq!(tasks_at(address).len(), 1);
}

/// Connects to `target`, which is unreachable, and waits for the error.
fn not_reached(harness: &mut Harness, target: Target) -> Problem {
    harness.workbench.notice = None;
    harness.apply(Action::Connect(target));
    harness.until("the problem", |workbench| {
        matches!(workbench.notice, Some(Notice::Problem(_)))
    });
    match harness.workbench.notice.take() {
        Some(Notice::Problem(problem)) => problem,
        _ => unreachable!(),
    }
}

#[test]
fn a_connection_that_fails_leaves_the_module_in_use_as_it_was() {
    let (first, closed) = (serve(tiny_model()), closed_port());
    let mut harness = Harness::new();
    harness.connect(at(first));
    harness.run();
    let no_model = Target::Remote {
        address: first.to_string(),
        model: Some("no such model".to_owned()),
    };
    let folder = tempfile::tempdir().unwrap();
    let no_file = embedded(folder.path().join("none.gguf"));
    for (target, named) in [
        (at(closed), closed.to_string()),
        (no_model, "no such model".to_owned()),
        (no_file, "none.gguf".to_owned()),
    ] {
        let problem = not_reached(&mut harness, target);
        assert!(problem.sentence.en.contains(&named), "{problem}");
        assert_eq!(
            harness.workbench.module.facts().map(|facts| facts.address.clone()),
            Some(first.to_string())
        );
        assert_eq!(harness.workbench.target, at(first), "what Reconnect asks for");
        harness.apply(Action::ScaleMagnitude(1.5));
        harness.run();
    }
    assert_eq!(tasks_at(first).len(), 1);
    // A module that is reached takes its place.
    let second = serve(tiny_model());
    harness.apply(Action::Connect(at(second)));
    harness.until("the second module", |workbench| {
        workbench
            .module
            .facts()
            .is_some_and(|facts| facts.address == second.to_string())
    });
    assert!(tasks_at(first).is_empty());
}

#[test]
fn leaving_the_tasks_of_another_module_returns_to_the_module_in_use() {
    let (first, full) = (serve(tiny_model()), serve(tiny_model()));
    let left = OtherClient::at(full);
    let mut harness = Harness::new();
    harness.connect(at(first));
    harness.apply(Action::Connect(at(full)));
    harness.until("the question", |workbench| {
        workbench.dialog == Some(Dialog::LeftOverTasks)
    });
    assert!(!harness.workbench.module.is_ready());
    harness.apply(Action::CloseDialog);
    harness.until("the first module", |workbench| workbench.module.is_ready());
    assert_eq!(harness.workbench.target, at(first));
    harness.run();
    assert!(left.has_its_tasks());
}

#[test]
fn an_exported_results_file_is_opened_again_with_every_point() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("results.json");
    let mut harness = Harness::new();
    harness.connect(at(serve(tiny_model())));
    for magnitude in [0.0, 2.0] {
        harness.apply(Action::SetMagnitude(magnitude));
        harness.run();
    }
    harness.until_noise_is_known();
    harness.export(Format::Results, &path);
    let json: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    assert_eq!(json["results"][0]["name"], "baseline");
    assert_eq!(
        json["results"].as_array().unwrap().len(),
        4,
        "two baselines and two prefixes"
    );

    let mut other = Harness::new();
    other.apply(Action::OpenPath(path));
    other.until("the points", |workbench| points(workbench) == 2);
    for ((saved, of_saved), (opened, of_opened)) in
        harness.workbench.tuning.points().zip(other.workbench.tuning.points())
    {
        assert_eq!(saved.output(), opened.output());
        let (saved, opened) = (saved.prefix.as_ref().unwrap(), opened.prefix.as_ref().unwrap());
        assert_eq!(saved.sha256, opened.sha256);
        assert_eq!(saved.recipe, opened.recipe);
        let chrf2 = |point: &Point| point.measures.as_ref().unwrap().chrf2;
        assert_eq!(chrf2(of_saved), chrf2(of_opened));
    }
    other.until_noise_is_known();
    assert!(is_deterministic(&other.workbench));
    let asked = |harness: &Harness| {
        (
            harness.workbench.group_key().prompt,
            harness.workbench.group_key().settings,
        )
    };
    assert_eq!(asked(&other), asked(&harness), "words, limit and sampling");
    assert_eq!(kept(&other.folder).len(), 1, "what was opened is in the library");
}

#[test]
fn a_model_file_that_is_none_is_refused_with_the_files_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("broken.gguf");
    std::fs::write(&path, b"GGUF is not all").unwrap();
    for (path, word) in [
        (path, "broken.gguf"),
        (folder.path().join("missing.gguf"), "missing.gguf"),
    ] {
        let mut harness = Harness::new();
        harness.apply(Action::Connect(embedded(path)));
        harness.until("the problem", |workbench| {
            matches!(workbench.module, ModuleState::NoModel { problem: Some(_) })
        });
        let ModuleState::NoModel { problem: Some(problem) } = &harness.workbench.module else {
            unreachable!()
        };
        assert!(problem.sentence.en.contains(word), "{problem}");
        assert_eq!(problem.kind, ProblemKind::Model);
        harness.until("the alternatives", |workbench| !workbench.models.is_empty());
    }
}

#[test]
fn a_filled_curve_streams_its_texts_and_keeps_a_scored_record_of_each_magnitude() {
    let folder = tempfile::tempdir().unwrap();
    let mut harness = Harness::in_library(folder.path());
    harness.connect(at(serve(tiny_model())));
    harness.run();
    harness.apply(Action::FillCurve);
    harness.until("a text of the curve before its end", |workbench| {
        workbench.curve.running().any(|filling| !filling.text.is_empty())
    });
    harness.until("the whole curve", |workbench| workbench.curve.progress().is_none());
    assert_eq!(harness.workbench.notice, None);
    harness.until("a point for each", |workbench| points(workbench) == 12);
    harness.until("the KL of each point", |workbench| {
        let cases = workbench
            .tuning
            .saved
            .records
            .iter()
            .filter(|record| !record.is_baseline());
        cases.clone().count() == 12 && cases.into_iter().all(|record| record.scores.is_some())
    });
    let saved = kept(folder.path()).remove(0);
    assert_eq!(saved.records.iter().filter(|record| !record.is_baseline()).count(), 12);

    harness.apply(Action::SetMagnitude(2.5));
    assert!(!harness.workbench.is_running(), "a kept point shows its text at once");
    let (run, _) = harness.current();
    assert_eq!(run.output(), &*harness.workbench.prefixed.text);
}

#[test]
fn the_second_baseline_and_the_runs_of_a_curve_have_the_priority_of_a_batch() {
    let (module, priorities) = with_priorities(serve(tiny_model()));
    let take = || std::mem::take(&mut *priorities.lock().unwrap());
    let mut harness = Harness::new();
    harness.connect(at(module));
    harness.run();
    harness.until_noise_is_known();
    assert_eq!(
        take(),
        [Priority::Live, Priority::Live, Priority::Batch],
        "baseline and prefix, then the baseline again"
    );
    harness.apply(Action::FillCurve);
    harness.until("the whole curve", |workbench| workbench.curve.progress().is_none());
    harness.until("a point for each", |workbench| points(workbench) == 12);
    assert_eq!(
        take(),
        [Priority::Batch; 11],
        "the user's own run is one of the twelve points"
    );
}

#[test]
fn a_session_is_exported_in_every_form() {
    let folder = tempfile::tempdir().unwrap();
    let mut harness = Harness::in_library(folder.path());
    harness.connect(at(serve(tiny_model())));
    harness.run();
    harness.until_noise_is_known();
    let text = harness.current().0.output().to_owned();
    for (number, format) in Format::ALL.into_iter().enumerate() {
        let file = folder.path().join(format!("export-{number}"));
        harness.export(format, &file);
        let written = std::fs::read_to_string(&file).unwrap();
        match format {
            Format::Html => assert!(written.ends_with("</html>\n"), "{format:?}"),
            // A head, two baselines and the run.
            Format::Csv => assert_eq!(written.matches("\r\n").count(), 4, "{written}"),
            Format::Json | Format::Results | Format::LlmComparator => {
                let value: serde_json::Value = serde_json::from_str(&written).unwrap();
                assert!(
                    value.to_string().contains(&serde_json::to_string(&text).unwrap()),
                    "{format:?}"
                );
            }
        }
    }
}
