//! One sweep on two modules: a real unit each, with models of different width.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;
use softprefix::model::{Format, ModuleState};
use softprefix::workbench::sweep::{RunMessage, Stage};
use softprefix::workbench::{Action, SweepAction, Workbench};
use softprefix_core::client::ConnectOptions;
use softprefix_core::experiment::{Journal, RunEnd, SavedExperiment, experiments};

use crate::arguments::window;
use crate::hardship::Link;
use crate::shell::program;
use crate::support::{Harness, closed_port, serve, tasks_at, tiny_model, wide_model};
use crate::sweep::{cut_in_the_middle, prepared, sweep};

fn ready() -> Harness {
    let mut harness = prepared(Harness::new(), serve(tiny_model()));
    sweep(&mut harness, SweepAction::SetLengths(vec![1]));
    harness
}

fn is_done(workbench: &Workbench) -> bool {
    !workbench.sweep.is_busy() && (workbench.sweep.shown.len() == 2 || workbench.sweep.message.is_some())
}

#[test]
fn the_same_plan_runs_on_both_modules_each_against_its_own_baseline() {
    let folder = tempfile::tempdir().unwrap();
    let mut harness = ready();
    let second = serve(wide_model());
    sweep(
        &mut harness,
        SweepAction::SetSecondModule("no such: address".to_owned()),
    );
    assert_eq!(
        harness.workbench.sweep.form.second_module, "",
        "what is no address is left out"
    );
    sweep(&mut harness, SweepAction::SetSecondModule(second.to_string()));
    sweep(&mut harness, SweepAction::Start);
    // It has not the first one's model: nothing is run before the person has chosen another.
    harness.until("the question", |workbench| workbench.sweep.message.is_some());
    assert_eq!(
        harness.workbench.sweep.message,
        Some(RunMessage::ModelMissingOnSecond("tiny".to_owned()))
    );
    assert_eq!(harness.workbench.sweep.second_models, ["wide"]);
    assert!(harness.workbench.sweep.shown.is_empty() && !harness.workbench.sweep.is_busy());
    sweep(&mut harness, SweepAction::SetSecondModel("wide".to_owned()));
    assert_eq!(harness.workbench.sweep.message, None);
    sweep(&mut harness, SweepAction::Start);
    harness.until("both", is_done);
    assert_eq!(harness.workbench.sweep.stage, Stage::Ended(RunEnd::Complete));

    harness.until("the comparison of the repeated baselines", |workbench| {
        workbench.sweep.groups().all(|group| group.noise.is_some())
    });
    let groups: Vec<_> = harness.workbench.sweep.groups().cloned().collect();
    assert_eq!(groups.len(), 2);
    assert_eq!(
        (groups[0].key.model.as_str(), groups[1].key.model.as_str()),
        ("tiny", "wide")
    );
    assert_eq!(groups[1].key.address, second.to_string());
    for group in &groups {
        assert!(group.baseline.is_some() && group.noise.is_some());
        let prefixed: Vec<_> = group.points.iter().filter(|point| point.series.is_some()).collect();
        assert_eq!(prefixed.len(), 3);
        // Widths differ: what both share is the token norm.
        let mut norms: Vec<f64> = prefixed.iter().filter_map(|point| point.token_norms).collect();
        norms.sort_by(f64::total_cmp);
        assert_eq!(norms.len(), 3);
        assert!(
            (norms[1] - 1.0).abs() < 0.02 && (norms[2] - 8.0).abs() < 0.1,
            "{norms:?}"
        );
    }
    assert_ne!(
        groups[0].baseline.as_ref().unwrap().record,
        groups[1].baseline.as_ref().unwrap().record
    );
    harness.until("the second module to be left", |_| tasks_at(second).is_empty());

    for (format, ending) in [(Format::Csv, "csv"), (Format::Html, "html"), (Format::Json, "json")] {
        let path = folder.path().join(format!("both.{ending}"));
        harness.export(format, &path);
        let text = std::fs::read_to_string(path).unwrap();
        assert!(text.contains("tiny") && text.contains("wide"), "{ending} names both");
        assert!(text.contains(&second.to_string()), "{ending} says where");
    }

    // Opened again from the history, both are there.
    let first = harness.workbench.sweep.shown[0].experiment.id.clone();
    let shown = harness.workbench.sweep.shown.clone();
    sweep(&mut harness, SweepAction::CloneSettings(first.clone()));
    assert!(harness.workbench.sweep.shown.is_empty());
    sweep(&mut harness, SweepAction::Show(first));
    harness.until("both again", |workbench| workbench.sweep.shown == shown);
    assert_eq!(harness.workbench.sweep.groups().count(), 2);
}

#[test]
fn the_second_module_runs_the_model_of_the_first_where_it_has_it() {
    let mut harness = ready();
    let second = serve(tiny_model());
    sweep(&mut harness, SweepAction::SetSecondModule(second.to_string()));
    sweep(&mut harness, SweepAction::Start);
    harness.until("both", is_done);
    let groups: Vec<_> = harness.workbench.sweep.groups().collect();
    assert_eq!(groups.len(), 2);
    assert!(groups.iter().all(|group| group.key.model == "tiny"));
    assert_eq!(groups[1].key.address, second.to_string());
}

#[test]
fn an_interrupted_sweep_runs_on_the_second_module_after_it_is_resumed_also_at_the_next_start() {
    for restarts in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let library = folder.path().join("experiments");
        let link = Link::to(serve(tiny_model()));
        let second = serve(tiny_model());
        let limits = ConnectOptions {
            retries: vec![Duration::from_millis(1); 3],
            ..ConnectOptions::default()
        };
        let mut harness = prepared(Harness::in_library_with(&library, limits), link.address);
        sweep(&mut harness, SweepAction::SetSecondModule(second.to_string()));
        let mut harness = cut_in_the_middle(harness, &link);
        harness.until("the end", |workbench| {
            matches!(workbench.sweep.stage, Stage::Ended(RunEnd::Interrupted { .. }))
        });
        harness.until("the last attempt", |workbench| {
            matches!(workbench.module, ModuleState::Failed { retry: None, .. })
        });
        link.comes_back();
        if restarts {
            let stored = harness.workbench.remembered();
            drop(harness);
            harness = window(&["--connect", &link.address.to_string()], folder.path(), stored);
            harness.until("the sweep", |workbench| workbench.sweep.resumable().is_some());
        } else {
            harness.apply(Action::Reconnect);
        }
        harness.until("the module", |workbench| workbench.module.is_ready());
        sweep(&mut harness, SweepAction::ResumeExperiment);
        harness.until("the end on both", |workbench| {
            workbench.sweep.shown.len() == 2 && workbench.sweep.stage == Stage::Ended(RunEnd::Complete)
        });
        let groups: Vec<_> = harness.workbench.sweep.groups().collect();
        assert_eq!(groups.len(), 2, "{restarts}");
        assert_eq!(groups[0].points.len(), groups[1].points.len(), "{restarts}");
        assert_eq!(groups[1].key.address, second.to_string(), "{restarts}");
    }
}

/// Whether the last case of every shown experiment can be coloured by KL.
fn can_be_coloured_by_kl(harness: &mut Harness) -> bool {
    let last = |saved: &SavedExperiment| {
        let mut cases = saved.records.iter().rev().filter(|record| !record.is_baseline());
        cases.next().unwrap().id.clone()
    };
    let last: Vec<String> = harness.workbench.sweep.shown.iter().map(last).collect();
    last.into_iter().all(|case| {
        sweep(harness, SweepAction::Select(Some(case)));
        harness.workbench.pair_scores().is_ok()
    })
}

#[test]
fn an_exported_plan_on_two_modules_is_imported_as_it_was_and_a_results_file_has_one_of_them() {
    let folder = tempfile::tempdir().unwrap();
    let mut harness = ready();
    let second = serve(tiny_model());
    sweep(&mut harness, SweepAction::SetSecondModule(second.to_string()));
    sweep(&mut harness, SweepAction::Start);
    harness.until("both", is_done);
    assert!(can_be_coloured_by_kl(&mut harness));
    let modules = |harness: &Harness| -> Vec<(String, usize)> {
        let of = |saved: &SavedExperiment| (saved.experiment.module.address.clone(), saved.records.len());
        harness.workbench.sweep.shown.iter().map(of).collect()
    };
    let ran = modules(&harness);
    assert_eq!((ran.len(), ran[1].0.as_str()), (2, second.to_string().as_str()));
    let id = harness.workbench.sweep.shown[0].experiment.id.clone();
    let (json, results) = (folder.path().join("both.json"), folder.path().join("results.json"));
    harness.export(Format::Json, &json);
    harness.export(Format::Results, &results);

    harness.apply(Action::OpenPath(json));
    harness.until("the import", |workbench| {
        workbench
            .sweep
            .shown
            .first()
            .is_some_and(|saved| saved.experiment.id != id)
    });
    assert_eq!(modules(&harness), ran);
    assert_eq!(harness.workbench.sweep.groups().count(), 2);
    let ids: BTreeSet<&str> = harness
        .workbench
        .sweep
        .records()
        .map(|record| record.id.as_str())
        .collect();
    assert_eq!(ids.len(), ran[0].1 + ran[1].1, "no two records have one id");
    assert!(can_be_coloured_by_kl(&mut harness));

    let file: Value = serde_json::from_slice(&std::fs::read(&results).unwrap()).unwrap();
    assert_eq!(file["results"].as_array().unwrap().len(), ran[0].1);
    harness.apply(Action::OpenPath(results));
    harness.until("the results", |workbench| workbench.sweep.shown.len() == 1);
    assert_eq!(modules(&harness), ran[..1]);
    assert!(can_be_coloured_by_kl(&mut harness));
}

#[test]
fn an_unreachable_second_module_is_reported_before_any_run() {
    let mut harness = ready();
    let closed = closed_port();
    sweep(&mut harness, SweepAction::SetSecondModule(closed.to_string()));
    sweep(&mut harness, SweepAction::Start);
    harness.until("the trouble", is_done);
    let message = format!("{:?}", harness.workbench.sweep.message);
    assert!(message.contains(&closed.to_string()), "{message}");
    assert!(harness.workbench.sweep.shown.is_empty() && harness.workbench.library.experiments.is_empty());
    // And the next sweep can begin.
    sweep(&mut harness, SweepAction::SetSecondModule(String::new()));
    sweep(&mut harness, SweepAction::Start);
    harness.until("another sweep", |workbench| {
        workbench.sweep.stage == Stage::Ended(RunEnd::Complete)
    });
}

#[test]
fn the_shells_sweep_runs_on_both_modules_and_its_files_name_both() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, csv) = (folder.path().join("s.journal"), folder.path().join("both.csv"));
    let (first, second) = (serve(tiny_model()), serve(wide_model()));
    let run = |more: &[&str]| {
        let (module, also) = (first.to_string(), second.to_string());
        let (journal, csv) = (journal.to_string_lossy(), csv.to_string_lossy());
        let what = [
            "--prompt",
            "Why?",
            "--token-norms",
            "--values",
            "0,1",
            "--max-tokens",
            "8",
        ];
        let files = ["--journal", &journal, "--csv", &csv];
        let modules = ["sweep", "--module", &module, "--also", &also];
        let args = [&modules[..], &what, &files, more].concat();
        program(&folder.path().join("state"), &args).output().unwrap()
    };
    // Without its name no other model is taken, and nothing is run.
    let refused = run(&[]);
    assert_eq!(refused.status.code(), Some(2));
    let printed = String::from_utf8_lossy(&refused.stderr);
    assert!(
        printed.contains("no tiny") && printed.contains("--also-model: wide"),
        "{printed}"
    );
    assert!(!csv.exists());
    let done = run(&["--also-model", "wide"]);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let printed = String::from_utf8_lossy(&done.stdout);
    assert!(printed.contains("tiny") && printed.contains("wide on"), "{printed}");
    let table = std::fs::read_to_string(&csv).unwrap();
    assert!(table.contains(&first.to_string()) && table.contains(&second.to_string()));
    let (entries, _) = Journal::read(&journal).unwrap();
    assert_eq!(experiments(entries).len(), 2);
}
