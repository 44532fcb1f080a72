//! Sweeps from plan to journal: workbench and bridge against a real unit, and the shell's command killed and resumed.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use softprefix::messages::{Event, FileQuestion, LibraryRequest, Request, SweepRequest};
use softprefix::model::{Format, ModuleState, Problem};
use softprefix::workbench::library::LibraryState;
use softprefix::workbench::sweep::{ExperimentStatus, RunMessage, Stage};
use softprefix::workbench::{Action, Dialog, SweepAction, Tab, Workbench};
use softprefix_core::client::ConnectOptions;
use softprefix_core::compare::Measure;
use softprefix_core::experiment::analysis::Proof;
use softprefix_core::experiment::{CanaryFinding, Condition, Entry, Group, Journal, RunEnd, Summary};

use crate::hardship::{Link, that_sets_up_behind, unresponsive_stock_module};
use crate::support::{Harness, Killable, LONG, OtherClient, at, journals, kept, serve, tasks_at, tiny_model, wait_for};

/// Ids of the cases in a journal.
fn recorded(journal: &Path) -> Vec<String> {
    let (entries, _) = Journal::read(journal).unwrap();
    let ids = entries.into_iter().filter_map(|entry| match entry {
        Entry::Case(record) => Some(record.id),
        _ => None,
    });
    ids.collect()
}

/// Ids of the cases of the sweeps in a library.
fn kept_ids(library: &Path) -> Vec<String> {
    let sweeps = kept(library)
        .into_iter()
        .filter(|saved| saved.experiment.plan.is_some());
    sweeps.flat_map(|saved| saved.records).map(|record| record.id).collect()
}

/// A module, a library, and a sweep of 2 x 3 cells on the current prompt.
fn ready(library: &Path) -> Harness {
    ready_at(library, serve(tiny_model()))
}

fn ready_at(library: &Path, module: SocketAddr) -> Harness {
    prepared(Harness::in_library(library), module)
}

/// Connects to the module, and sets up a sweep of 2 x 3 cells on the current prompt.
pub fn prepared(mut harness: Harness, module: SocketAddr) -> Harness {
    harness.connect(at(module));
    harness.apply(Action::ShowTab(Tab::Sweep));
    sweep(&mut harness, SweepAction::AddCurrentPrompt);
    sweep(&mut harness, SweepAction::RemovePrompt(0));
    sweep(&mut harness, SweepAction::SetLengths(vec![1, 2]));
    sweep(&mut harness, SweepAction::SetMagnitudes("0, 1, 8".to_owned()));
    harness
}

/// Cases of the sweep that [`cut_in_the_middle`] starts.
const CASES: usize = 2 + 3 * 8;

/// Starts a larger sweep, whose link breaks when some cases are finished, some are running and some were not begun.
pub fn cut_in_the_middle(mut harness: Harness, link: &Link) -> Harness {
    sweep(&mut harness, SweepAction::SetLengths((1..=8).collect()));
    let at_once = harness.workbench.module.facts().unwrap().concurrency;
    assert!(at_once + 4 < CASES - 2, "{at_once}");
    // One more than run at once is only sent when another is finished, which is then on disk.
    link.breaks_after_inferences(at_once + 4);
    sweep(&mut harness, SweepAction::Start);
    harness.until("the loss", |workbench| !workbench.module.is_ready());
    let library = harness.folder.clone();
    harness.until("the cut of the sweep", |workbench| {
        matches!(
            &workbench.sweep.stage,
            Stage::Running { reconnecting: true, .. } | Stage::Ended(_)
        )
    });
    let finished = kept_ids(&library).len();
    assert!((4..CASES).contains(&finished), "{finished}");
    harness
}

pub fn sweep(harness: &mut Harness, action: SweepAction) {
    harness.apply(Action::Sweep(action));
}

fn has_ended(workbench: &Workbench) -> bool {
    matches!(workbench.sweep.stage, Stage::Ended(_))
}

fn shown_records(workbench: &Workbench) -> usize {
    workbench.sweep.experiment().map_or(0, |saved| saved.records.len())
}

/// Chooses a file where the system's dialog would be asked.
fn choose(harness: &mut Harness, path: PathBuf) -> FileQuestion {
    let question = harness.question();
    let asked = question.clone();
    harness.bridge.await_answer(async move {
        Event::Chosen {
            question: asked,
            path: Some(path),
        }
    });
    question
}

#[test]
fn a_sweep_is_shown_case_by_case_and_each_case_is_on_disk_before_it_is_shown() {
    let folder = tempfile::tempdir().unwrap();
    let library = folder.path().join("state/experiments");
    let mut harness = ready(&library);
    sweep(&mut harness, SweepAction::Start);
    let end = Instant::now() + LONG;
    let mut seen = BTreeSet::new();
    while !has_ended(&harness.workbench) {
        assert!(Instant::now() < end, "{:?}", harness.workbench.sweep.stage);
        harness.turn();
        let shown = shown_records(&harness.workbench);
        seen.insert(shown);
        assert!(shown <= kept_ids(&library).len());
    }
    assert!(seen.len() > 3, "it grew case by case: {seen:?}");
    let workbench = &harness.workbench;
    assert_eq!(workbench.sweep.stage, Stage::Ended(RunEnd::Complete));
    assert_eq!(shown_records(workbench), 8);
    assert!(workbench.sweep.running.is_empty());
    harness.until("the comparison of the repeated baseline", |workbench| {
        workbench.sweep.groups().next().is_some_and(Group::is_deterministic)
    });
    let group = harness.workbench.sweep.groups().next().unwrap();
    assert_eq!(group.proof(), Proof::Echoed);
    assert_eq!(group.lines().len(), 2);
    harness.until("the difference of what is looked at", |workbench| {
        workbench.sweep.diff.is_some()
    });
    let (left, right) = harness.workbench.sweep.pair().unwrap();
    assert!(left.is_baseline() && !right.is_baseline());
}

#[test]
fn a_pinned_run_is_compared_with_the_next_selected_one() {
    let folder = tempfile::tempdir().unwrap();
    let mut harness = ready(&folder.path().join("j"));
    sweep(&mut harness, SweepAction::Start);
    harness.until("the end", has_ended);
    let ids: Vec<String> = harness
        .workbench
        .sweep
        .records()
        .filter(|record| !record.is_baseline())
        .map(|record| record.id.clone())
        .collect();
    sweep(&mut harness, SweepAction::Select(Some(ids[0].clone())));
    sweep(&mut harness, SweepAction::Pin);
    sweep(&mut harness, SweepAction::Select(Some(ids[3].clone())));
    let pair = |workbench: &Workbench| {
        workbench
            .sweep
            .pair()
            .map(|(a, b)| (a.id.clone(), b.id.clone()))
            .unwrap()
    };
    assert_eq!(pair(&harness.workbench), (ids[0].clone(), ids[3].clone()));
    harness.until("their difference", |workbench| workbench.sweep.diff.is_some());
    sweep(&mut harness, SweepAction::Swap);
    assert_eq!(pair(&harness.workbench), (ids[3].clone(), ids[0].clone()));
    sweep(&mut harness, SweepAction::Unpin);
    assert!(harness.workbench.sweep.pair().unwrap().0.is_baseline());
}

#[test]
fn a_sweep_whose_connection_is_lost_reconnects_and_runs_its_missing_cases() {
    let folder = tempfile::tempdir().unwrap();
    let library = folder.path().join("j");
    let link = Link::to(serve(tiny_model()));
    let mut harness = cut_in_the_middle(ready_at(&library, link.address), &link);
    let before = kept_ids(&library);
    link.comes_back();
    harness.until("the end", has_ended);
    assert_eq!(harness.workbench.sweep.stage, Stage::Ended(RunEnd::Complete));
    harness.until("the module", |workbench| workbench.module.is_ready());
    let after = kept_ids(&library);
    assert!(before.iter().all(|id| after.contains(id)), "nothing is run again");
    let names: BTreeSet<String> = harness
        .workbench
        .sweep
        .records()
        .map(|record| record.case.name.clone())
        .collect();
    assert_eq!((names.len(), after.len()), (CASES, CASES), "{names:?}");
}

#[test]
fn after_a_restart_the_tasks_of_another_client_are_left_alone_though_they_have_the_ids_of_ours() {
    let folder = tempfile::tempdir().unwrap();
    let unit = Killable::on("127.0.0.1:0".parse().unwrap());
    let link = Link::to(unit.address);
    let mut harness = cut_in_the_middle(ready_at(&folder.path().join("j"), link.address), &link);
    let unit = Killable::on(unit.kill());
    let other = OtherClient::at(unit.address);
    link.comes_back();
    harness.until("the end", has_ended);
    let Stage::Ended(RunEnd::Interrupted { error }) = &harness.workbench.sweep.stage else {
        panic!("{:?}", harness.workbench.sweep.stage);
    };
    let (ids, sentence) = (other.ids().join(", "), error.to_string());
    assert!(
        sentence.contains(&ids) && sentence.contains("so none was ended"),
        "{sentence}"
    );
    harness.until("the question", |workbench| {
        workbench.dialog == Some(Dialog::LeftOverTasks)
    });
    assert!(other.has_its_tasks());
    assert_eq!(tasks_at(unit.address).len(), 2);
}

#[test]
fn when_the_module_of_an_interrupted_sweep_is_back_the_rest_is_offered_and_runs() {
    let folder = tempfile::tempdir().unwrap();
    let library = folder.path().join("j");
    let link = Link::to(serve(tiny_model()));
    let limits = ConnectOptions {
        retries: vec![Duration::from_millis(1); 3],
        ..ConnectOptions::default()
    };
    let harness = prepared(Harness::in_library_with(&library, limits), link.address);
    let mut harness = cut_in_the_middle(harness, &link);
    harness.until("the end", has_ended);
    assert!(matches!(
        harness.workbench.sweep.stage,
        Stage::Ended(RunEnd::Interrupted { .. })
    ));
    harness.until("the last attempt", |workbench| {
        matches!(workbench.module, ModuleState::Failed { retry: None, .. })
    });
    assert_eq!(harness.workbench.sweep_rest(), None, "nothing can run without a module");
    let left = CASES - kept_ids(&library).len();
    link.comes_back();
    harness.apply(Action::Reconnect);
    harness.until("the module", |workbench| workbench.module.is_ready());
    assert_eq!(harness.workbench.sweep_rest(), Some(left));
    sweep(&mut harness, SweepAction::ResumeExperiment);
    assert_eq!(harness.workbench.sweep_rest(), None);
    harness.until("the end of the rest", |workbench| {
        workbench.sweep.stage == Stage::Ended(RunEnd::Complete)
    });
    assert_eq!(harness.workbench.sweep_rest(), None);
    assert_eq!(kept_ids(&library).len(), CASES);
}

#[test]
fn a_cancelled_sweep_resumes_with_its_missing_cases() {
    let folder = tempfile::tempdir().unwrap();
    let library = folder.path().join("j");
    let mut harness = ready(&library);
    harness.apply(Action::SetMaxTokens(200));
    sweep(&mut harness, SweepAction::SetLengths(vec![1, 2, 3, 4, 5, 6, 7, 8]));
    sweep(&mut harness, SweepAction::Start);
    harness.until("the first case", |workbench| shown_records(workbench) > 0);
    sweep(&mut harness, SweepAction::Pause);
    harness.until("the pause", |workbench| {
        workbench
            .sweep
            .progress()
            .is_some_and(|progress| progress.paused && progress.running == 0)
    });
    let held = shown_records(&harness.workbench);
    harness.run();
    assert_eq!(
        shown_records(&harness.workbench),
        held,
        "nothing begins while it is paused"
    );
    assert_eq!(harness.workbench.sweep.progress().unwrap().running, 0);
    sweep(&mut harness, SweepAction::Cancel);
    harness.until("the end", has_ended);
    assert_eq!(harness.workbench.sweep.stage, Stage::Ended(RunEnd::Cancelled));

    assert!(harness.workbench.sweep.resumable().is_some());
    sweep(&mut harness, SweepAction::ResumeExperiment);
    harness.until("the end of the rest", |workbench| {
        workbench.sweep.stage == Stage::Ended(RunEnd::Complete)
    });
    let ids = kept_ids(&library);
    assert_eq!(ids.len(), 26);
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), 26, "no case ran twice");
    let summary = Summary::of(harness.workbench.sweep.experiment().unwrap(), Condition::default());
    assert_eq!(harness.workbench.sweep.status(&summary), ExperimentStatus::Complete);
}

#[test]
fn an_interrupted_sweep_opens_at_the_next_start_and_resumes() {
    let folder = tempfile::tempdir().unwrap();
    let library = folder.path().join("j");
    let link = Link::to(serve(tiny_model()));
    let harness = cut_in_the_middle(ready_at(&library, link.address), &link);
    // What lies on disk at this moment is what a program leaves that is killed now.
    let left = folder.path().join("left");
    std::fs::create_dir(&left).unwrap();
    for journal in journals(&library) {
        std::fs::copy(&journal, left.join(journal.file_name().unwrap())).unwrap();
    }
    drop(harness);
    let library = left;
    let before = kept_ids(&library).len();

    let mut harness = Harness::again(&library);
    harness.until("the sweep", |workbench| workbench.sweep.experiment().is_some());
    assert_eq!(harness.workbench.tab, Tab::Sweep);
    assert_eq!(shown_records(&harness.workbench), before);
    assert_eq!(harness.workbench.sweep.form.lengths, [1, 2, 3, 4, 5, 6, 7, 8]);
    harness.connect(at(serve(tiny_model())));
    sweep(&mut harness, SweepAction::ResumeExperiment);
    harness.until("the end of the rest", |workbench| {
        workbench.sweep.stage == Stage::Ended(RunEnd::Complete)
    });
    let ids = kept_ids(&library);
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len());
    assert_eq!(ids.len(), 26);
}

#[test]
fn names_deletions_and_their_undoing_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let library = folder.path().join("j");
    let mut harness = ready(&library);
    sweep(&mut harness, SweepAction::SetMagnitudes("1".to_owned()));
    sweep(&mut harness, SweepAction::Start);
    harness.until("the end", has_ended);
    let id = harness.workbench.sweep.shown[0].experiment.id.clone();
    sweep(&mut harness, SweepAction::Rename(id.clone(), "春".to_owned()));
    harness.until("the name", |workbench| {
        workbench
            .sweep
            .experiment()
            .is_some_and(|saved| saved.experiment.name == "春")
    });
    harness.until("its line in the list", |workbench| workbench.library.get(&id).is_some());
    sweep(&mut harness, SweepAction::Delete(id.clone()));
    harness.until("the deletion", |workbench| {
        workbench.library.undeleted().next().is_none()
    });
    assert!(harness.workbench.sweep.shown.is_empty());
    sweep(&mut harness, SweepAction::UndoDelete);
    harness.until("its return", |workbench| workbench.library.undeleted().next().is_some());
    drop(harness);

    let mut harness = Harness::in_library(&library);
    let found = harness.workbench.library.undeleted().next().unwrap();
    assert_eq!(found.experiment.name, "春");
    assert_eq!(
        harness.workbench.tab,
        Tab::Tune,
        "what is complete is not pushed at anybody"
    );
    for (words, ids) in [("春 sky", vec![id]), ("autumn", Vec::new())] {
        sweep(&mut harness, SweepAction::SearchHistory(words.to_owned()));
        let wanted = Some((words.to_owned(), ids));
        harness.until("what is found", |workbench| workbench.library.found == wanted);
    }
}

#[test]
fn a_sweep_is_exported_in_every_format_and_imported_from_json_and_a_results_file() {
    let folder = tempfile::tempdir().unwrap();
    let mut harness = ready(&folder.path().join("j"));
    sweep(&mut harness, SweepAction::Start);
    harness.until("the end", has_ended);
    let texts = |workbench: &Workbench| {
        let mut texts: Vec<_> = workbench
            .sweep
            .records()
            .map(|record| (record.case.index, record.text().unwrap().to_owned()))
            .collect();
        texts.sort();
        texts
    };
    let original = texts(&harness.workbench);
    let first = harness.workbench.sweep.shown[0].experiment.id.clone();
    for format in Format::ALL {
        harness.apply(Action::Export(format));
        let path = folder.path().join(format!("out{}", format.ending()));
        let question = choose(&mut harness, path.clone());
        assert!(matches!(question, FileQuestion::Export { suggested, .. } if suggested.ends_with(format.ending())));
        harness.until("the file", |_| path.exists());
        harness.until("the word of it", |workbench| {
            !workbench.file.writing && !workbench.file.asking
        });
    }
    let page = std::fs::read_to_string(folder.path().join("out.html")).unwrap();
    assert!(page.contains("<svg") && page.contains("Why is the sky blue?"));
    for file in ["out.json", "out-compare_results.json"] {
        harness.apply(Action::Open);
        choose(&mut harness, folder.path().join(file));
        harness.until("the import", |workbench| {
            workbench
                .sweep
                .experiment()
                .is_some_and(|saved| saved.experiment.id != first)
        });
        assert_eq!(texts(&harness.workbench), original, "{file}");
        assert_eq!(harness.workbench.tab, Tab::Sweep);
        sweep(&mut harness, SweepAction::Show(first.clone()));
        harness.until("the first one", |workbench| {
            workbench
                .sweep
                .experiment()
                .is_some_and(|saved| saved.experiment.id == first)
        });
    }
    harness.until("all three in the list", |workbench| {
        workbench.library.undeleted().count() == 3
    });
}

#[test]
fn a_threshold_search_is_shown_with_the_sweep_whose_prompt_it_uses() {
    let folder = tempfile::tempdir().unwrap();
    let mut harness = ready(&folder.path().join("j"));
    sweep(&mut harness, SweepAction::Start);
    harness.until("the end", has_ended);
    sweep(&mut harness, SweepAction::SetThresholdMeasure(Measure::Indel));
    sweep(&mut harness, SweepAction::SetThresholdMinimum(0.9));
    sweep(&mut harness, SweepAction::FindThreshold(1));
    harness.until("its beginning", |workbench| workbench.sweep.shown.len() == 2);
    harness.until("its end", has_ended);
    let (_, found) = harness.workbench.sweep.threshold.clone().unwrap();
    assert!(
        found.measured > 3,
        "the points of the sweep are measured too: {found:?}"
    );
    let group = harness.workbench.sweep.groups().next().unwrap();
    assert_eq!(harness.workbench.sweep.groups().count(), 1, "one case on one module");
    let lines = group.lines();
    assert_eq!(lines.len(), 2, "its points are on the line of their P");
    assert!(lines[0].1.len() > 3);
}

#[test]
fn without_a_module_or_a_library_nothing_starts() {
    let folder = tempfile::tempdir().unwrap();
    let mut harness = Harness::in_library(&folder.path().join("j"));
    sweep(&mut harness, SweepAction::Start);
    assert_eq!(harness.workbench.sweep.stage, Stage::Idle);
    // Where the library should be is a file.
    let file = folder.path().join("file");
    std::fs::write(&file, "somebody's diary").unwrap();
    let mut other = Harness::new();
    other.bridge.send(Request::Library(LibraryRequest::Open {
        folder: file.clone(),
        old: folder.path().join("none"),
    }));
    other.until("the refusal", |workbench| {
        matches!(workbench.library.state, LibraryState::Unusable(_))
    });
    other.connect(at(serve(tiny_model())));
    sweep(&mut other, SweepAction::Start);
    assert_eq!(other.workbench.sweep.stage, Stage::Idle);
    other.apply(Action::Run);
    other.until("the reason", |workbench| workbench.prefixed.error.is_some());
    assert!(other.workbench.tuning.is_empty(), "nothing is shown that is not kept");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "somebody's diary");
}

/// Waits until the sweep is refused, and returns why.
fn refusal(harness: &mut Harness) -> Problem {
    let problem = |workbench: &Workbench| match &workbench.sweep.message {
        Some(RunMessage::Problem(problem)) => Some(problem.clone()),
        _ => None,
    };
    harness.until("the refusal", |workbench| problem(workbench).is_some());
    problem(&harness.workbench).unwrap()
}

#[test]
fn a_plan_for_another_module_is_refused_while_a_sweep_runs() {
    let folder = tempfile::tempdir().unwrap();
    let module = serve(tiny_model());
    let mut harness = ready_at(folder.path(), module);
    sweep(&mut harness, SweepAction::Start);
    harness.until("the sweep", |workbench| workbench.sweep.experiment().is_some());
    sweep(&mut harness, SweepAction::Pause);
    let plan = harness.workbench.sweep.experiment().unwrap().experiment.plan.clone();
    let request = SweepRequest::StartOn {
        plan: plan.unwrap(),
        target: at(module),
    };
    harness.bridge.send(Request::Sweep(Box::new(request)));
    let problem = refusal(&mut harness);
    assert!(problem.sentence.en.contains("already running"), "{problem}");
}

#[test]
fn an_experiment_without_a_plan_cannot_be_resumed_and_the_reason_is_shown() {
    let mut harness = Harness::new();
    harness.connect(at(serve(tiny_model())));
    harness.run();
    let request = SweepRequest::ResumeExperiment {
        saved: Box::new(harness.workbench.tuning.saved.clone()),
        canary: true,
    };
    harness.bridge.send(Request::Sweep(Box::new(request)));
    let problem = refusal(&mut harness);
    assert!(problem.sentence.en.contains("no plan"), "{problem}");
}

fn command(journal: &Path, module: &str, more: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_softprefix"));
    command
        .args(["sweep", "--module", module, "--journal"])
        .arg(journal)
        .args(more)
        .env("SOFTPREFIX_STATE_DIR", journal.with_extension("state"))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

#[test]
fn a_killed_sweep_of_the_shell_resumes_with_its_missing_cases_and_writes_its_report() {
    let folder = tempfile::tempdir().unwrap();
    let journal = folder.path().join("sweep.journal");
    let report = folder.path().join("report.html");
    let module = serve(tiny_model()).to_string();
    let described = [
        "--prompt",
        "Why is the sky blue?",
        "--values",
        "0,0.001,0.01,0.1",
        "--len",
        "1,4,16",
        "--repeats",
        "3",
        "--max-tokens",
        "300",
    ];
    let mut child = command(&journal, &module, &described).spawn().unwrap();
    wait_for("three records", || {
        assert!(child.try_wait().unwrap().is_none(), "it ended by itself");
        journal.exists() && recorded(&journal).len() >= 3
    });
    // On Unix this is SIGKILL.
    child.kill().unwrap();
    child.wait().unwrap();
    let before = recorded(&journal);
    assert!(before.len() < 38);

    let other = command(&journal, &module, &["--resume", "--prompt", "Something else"])
        .output()
        .unwrap();
    assert_eq!(
        other.status.code(),
        Some(2),
        "another question is not the one that was broken off"
    );

    let report_path = report.to_string_lossy();
    let done = command(&journal, &module, &["--resume", "--report", &report_path])
        .output()
        .unwrap();
    assert_eq!(done.status.code(), Some(0), "{}", String::from_utf8_lossy(&done.stderr));
    let after = recorded(&journal);
    assert_eq!(after[..before.len()], before, "what was finished is as it was");
    assert_eq!(after.len(), 38);
    assert_eq!(after.iter().collect::<BTreeSet<_>>().len(), 38);
    let table = String::from_utf8_lossy(&done.stdout).into_owned();
    assert!(
        table.contains("prefix_val_0.01_P16") && table.contains("Deterministic"),
        "{table}"
    );
    let page = std::fs::read_to_string(report).unwrap();
    assert!(page.contains("<svg"));

    let nothing = command(&journal, &module, &["--resume"]).output().unwrap();
    assert_eq!(nothing.status.code(), Some(2), "there is nothing left to go on with");
}

#[test]
fn the_shells_sweep_reports_invalid_arguments_and_files_by_its_exit_code() {
    let folder = tempfile::tempdir().unwrap();
    let module = "127.0.0.1:1";
    let journal = folder.path().join("j");
    let code = |journal: &Path, more: &[&str]| command(journal, module, more).output().unwrap().status.code();
    assert_eq!(code(&journal, &["--prompt", " "]), Some(2));
    assert_eq!(code(&journal, &["--prompt", "a", "--len", "0"]), Some(2));
    assert_eq!(code(&journal, &["--prompt", "a", "--values", "x"]), Some(2));
    assert_eq!(code(&journal, &[]), Some(2));
    let foreign = folder.path().join("foreign");
    std::fs::write(&foreign, "somebody's diary\n").unwrap();
    assert_eq!(code(&foreign, &["--prompt", "a"]), Some(4));
    assert_eq!(std::fs::read_to_string(&foreign).unwrap(), "somebody's diary\n");
    assert_eq!(code(&journal, &["--prompt", "a"]), Some(3), "nothing listens there");
}

#[test]
fn each_case_has_its_kl_to_plot_and_colour_by_and_the_exports_carry_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut harness = ready(&folder.path().join("j"));
    assert!(harness.workbench.sweep_plan().scored, "the unit can, so it does");
    harness.apply(Action::SetMeasure(Measure::KlMean));
    sweep(&mut harness, SweepAction::Start);
    harness.until("the end", has_ended);
    let workbench = &harness.workbench;
    assert_eq!(workbench.sweep.stage, Stage::Ended(RunEnd::Complete));
    let group = workbench.sweep.groups().next().unwrap();
    let scored = group.points.iter().filter(|point| point.is_scored()).count();
    assert_eq!(scored, 6, "six prefixes, and the baselines need none");
    let large = group.lines()[0].1.last().unwrap().record.clone();
    sweep(&mut harness, SweepAction::Select(Some(large.clone())));
    let scores = harness.workbench.pair_scores().unwrap().clone();
    let (left, _) = harness.workbench.sweep.pair().unwrap();
    assert_eq!(scores.places.last().unwrap()[1], left.text().unwrap().len());
    // Against another prefix there is none.
    sweep(&mut harness, SweepAction::Pin);
    assert!(harness.workbench.pair_scores().is_err());
    sweep(&mut harness, SweepAction::Unpin);

    for (format, wanted) in [
        (Format::Csv, "kl_mean"),
        (Format::Json, "\"kl_p95\""),
        (Format::Html, "class=\"k"),
        (Format::Results, "\"kl_mean\""),
    ] {
        let path = folder.path().join(format!("x{}", format.ending()));
        harness.export(format, &path);
        assert!(std::fs::read_to_string(&path).unwrap().contains(wanted), "{format:?}");
    }
}

#[test]
fn a_sweep_may_be_run_without_kl() {
    let folder = tempfile::tempdir().unwrap();
    let mut harness = ready(&folder.path().join("j"));
    sweep(&mut harness, SweepAction::SetScored(false));
    sweep(&mut harness, SweepAction::Start);
    harness.until("the end", has_ended);
    let group = harness.workbench.sweep.groups().next().unwrap();
    assert!(!group.points.iter().any(|point| point.is_scored()));
    assert!(harness.workbench.sweep.resumable().is_none(), "nothing is missing");
}

#[test]
fn a_sweep_that_waits_for_the_end_of_a_cancelled_one_can_be_cancelled_and_the_next_one_runs() {
    let folder = tempfile::tempdir().unwrap();
    let gate = Arc::<Mutex<()>>::default();
    let module = that_sets_up_behind(Arc::clone(&gate), serve(tiny_model()));
    let mut harness = ready_at(folder.path(), module);
    let closed = gate.lock().unwrap();
    // The first waits for its task, the second for the end of the first.
    for _ in 0..2 {
        sweep(&mut harness, SweepAction::Start);
        assert_eq!(harness.workbench.sweep.stage, Stage::Starting);
        sweep(&mut harness, SweepAction::Cancel);
        harness.until("the end", |workbench| {
            workbench.sweep.stage == Stage::Ended(RunEnd::Cancelled)
        });
    }
    drop(closed);
    sweep(&mut harness, SweepAction::Start);
    harness.until("all cases", |workbench| {
        workbench.sweep.stage == Stage::Ended(RunEnd::Complete)
    });
}

#[test]
fn a_sweep_stops_with_the_reason_if_a_large_prefix_changes_nothing_and_resumes_on_request() {
    let folder = tempfile::tempdir().unwrap();
    let mut harness = Harness::in_library(&folder.path().join("experiments"));
    harness.connect(at(unresponsive_stock_module(serve(tiny_model()))));
    sweep(&mut harness, SweepAction::AddCurrentPrompt);
    sweep(&mut harness, SweepAction::RemovePrompt(0));
    sweep(&mut harness, SweepAction::SetLengths(vec![1]));
    sweep(&mut harness, SweepAction::SetMagnitudes("0.1, 1".to_owned()));
    sweep(&mut harness, SweepAction::Start);
    harness.until("the end", has_ended);
    assert_eq!(harness.workbench.sweep.stage, Stage::Ended(RunEnd::NoEffect));
    let message = &harness.workbench.sweep.message;
    assert!(matches!(message, Some(RunMessage::Canary(canary)) if canary.finding == CanaryFinding::NoEffect));
    assert_eq!(shown_records(&harness.workbench), 0, "no case was spent on it");

    assert!(harness.workbench.sweep.had_no_effect());
    sweep(&mut harness, SweepAction::ResumeExperiment);
    harness.until("the end", has_ended);
    assert_eq!(harness.workbench.sweep.stage, Stage::Ended(RunEnd::Complete));
    assert_eq!(shown_records(&harness.workbench), 4);
    let group = &harness.workbench.sweep.analysis.groups[0];
    assert_eq!(group.proof(), Proof::NoEffect, "and its result is shown");
}
