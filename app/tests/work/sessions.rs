//! Sessions of tuning in the library: kept run by run, there again at the next start, side by side with those of other windows.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use softprefix::bridge::recording::demo;
use softprefix::model::{Format, MagnitudeUnit, ModuleState, RunKind};
use softprefix::workbench::sweep::Stage;
use softprefix::workbench::{Action, Notice, PlaybackAction, SweepAction, Tab, Workbench};
use softprefix_core::experiment::{Journal, Rating, SavedExperiment, Stars, experiments};
use softprefix_core::prefix::{PrefixRecipe, split_mix};
use softprefix_core::protocol::extension::FinishReason;
use softprefix_unit::testing::small_model;

use crate::support::{
    Harness, KilledWindow, Seen, at, by_id, journals, kept, noise_is_known, points, rounds, serve, tiny_model,
};

fn tune(harness: &mut Harness, magnitudes: &[f64]) {
    for magnitude in magnitudes {
        harness.apply(Action::SetMagnitude(*magnitude));
        harness.run();
    }
    harness.until_noise_is_known();
}

fn ids(saved: &SavedExperiment) -> Vec<&str> {
    saved.records.iter().map(|record| record.id.as_str()).collect()
}

#[test]
fn two_windows_keep_their_sessions_side_by_side_in_one_library() {
    let folder = tempfile::tempdir().unwrap();
    let address = serve(tiny_model());
    let mut windows = [Harness::in_library(folder.path()), Harness::in_library(folder.path())];
    for (harness, prompt) in windows.iter_mut().zip(["Tell me of the sea.", "Tell me of the snow."]) {
        harness.connect(at(address));
        harness.apply(Action::SetPrompt(prompt.to_owned()));
    }
    for magnitude in [1.0, 4.0] {
        for harness in &mut windows {
            tune(harness, &[magnitude]);
        }
    }
    let kept = kept(folder.path());
    assert_eq!(kept.len(), 2, "each in a file of its own");
    for harness in &windows {
        let own = &harness.workbench.tuning.saved;
        assert_eq!(own.records.len(), 4, "two baselines and two prefixes");
        let there = kept
            .iter()
            .find(|saved| saved.experiment.id == own.experiment.id)
            .unwrap();
        assert_eq!(by_id(&there.records), by_id(&own.records));
    }
    // Each finds the other's in the list.
    drop(windows);
    let harness = Harness::in_library(folder.path());
    assert_eq!(harness.workbench.library.undeleted().count(), 2);
}

#[test]
fn a_session_left_during_its_first_run_keeps_the_received_text_and_the_next_one_is_empty() {
    let mut harness = Harness::new();
    harness.apply(Action::SetMaxTokens(2000));
    harness.apply(Action::SetPrompt("Tell me of the sea.".to_owned()));
    harness.connect(at(serve(small_model())));
    harness.apply(Action::Run);
    harness.until("text that streams in", |workbench| {
        workbench.prefixed.text.chars().count() > 20
    });
    harness.apply(Action::NewSession);
    harness.until("the left session in the list", |workbench| {
        workbench.library.undeleted().any(|one| one.finished == 2)
    });
    assert_eq!(harness.workbench.notice, None);
    assert!(harness.workbench.tuning.is_empty() && harness.workbench.tuning.saved.experiment.id.is_empty());

    harness.apply(Action::SetPrompt("Tell me of the snow.".to_owned()));
    harness.apply(Action::SetMaxTokens(4));
    tune(&mut harness, &[1.0]);
    let kept = kept(&harness.folder);
    assert_eq!(kept.len(), 2);
    for saved in &kept {
        let prompts = saved.prompts();
        assert_eq!(prompts.len(), 1, "{prompts:?}");
        let left = prompts[0].user == "Tell me of the sea.";
        let stopped = |record: &softprefix_core::experiment::Record| {
            record.answer().unwrap().finish_reason == FinishReason::Stopped
        };
        assert!(saved.records.iter().all(|record| stopped(record) == left), "{saved:?}");
    }
}

/// What a person sees of a session.
#[derive(Debug, PartialEq)]
struct Shown {
    prefix: PrefixRecipe,
    prompt: softprefix::model::PromptForm,
    points: Vec<(f64, String, f64)>,
    baseline: String,
    prefixed: String,
}

fn shown(workbench: &Workbench) -> Shown {
    Shown {
        prefix: workbench.prefix.recipe(),
        prompt: workbench.prompt.clone(),
        points: workbench
            .tuning
            .points()
            .map(|(record, point)| {
                let chrf2 = point.measures.as_ref().unwrap().chrf2;
                (point.magnitude(), record.output().to_owned(), chrf2)
            })
            .collect(),
        baseline: workbench.baseline.text.to_string(),
        prefixed: workbench.prefixed.text.to_string(),
    }
}

#[test]
fn the_last_session_is_restored_at_the_next_start_and_continues_its_journal() {
    let folder = tempfile::tempdir().unwrap();
    let address = serve(tiny_model());
    let mut harness = Harness::in_library(folder.path());
    harness.connect(at(address));
    harness.apply(Action::SetPrompt("Tell me of the sea.".to_owned()));
    harness.apply(Action::SetSystem("You are a pirate.".to_owned()));
    harness.apply(Action::SetMaxTokens(9));
    harness.apply(Action::SetLen(3));
    tune(&mut harness, &[0.5, 2.0, 8.0]);
    let was = shown(&harness.workbench);
    let id = harness.workbench.tuning.saved.experiment.id.clone();
    drop(harness);

    let mut again = Harness::again(folder.path());
    again.until("the session", |workbench| {
        points(workbench) == 3 && noise_is_known(workbench)
    });
    assert_eq!(shown(&again.workbench), was);
    assert_eq!(again.workbench.tuning.saved.experiment.id, id);
    assert!(!again.workbench.is_running());
    again.connect(at(address));
    tune(&mut again, &[20.0]);
    assert_eq!(points(&again.workbench), 4, "its baseline still holds");
    let kept = kept(folder.path());
    assert_eq!(kept.len(), 1);
    assert_eq!(kept[0].experiment.id, id);
    assert_eq!(kept[0].records, again.workbench.tuning.saved.records);
    let baselines = kept[0].records.iter().filter(|record| record.is_baseline()).count();
    assert_eq!((kept[0].records.len(), baselines), (6, 2));
    let unique: HashSet<_> = ids(&kept[0]).into_iter().collect();
    assert_eq!(unique.len(), 6);

    // A new session leaves it as it is.
    again.apply(Action::NewSession);
    assert_eq!(points(&again.workbench), 0);
    tune(&mut again, &[1.0]);
    assert_eq!(journals(folder.path()).len(), 2);
}

#[test]
fn a_session_that_another_window_has_open_is_shown_and_runs_begin_one_with_a_baseline_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let address = serve(tiny_model());
    let mut first = Harness::in_library(folder.path());
    first.connect(at(address));
    tune(&mut first, &[1.0]);
    let shared = first.workbench.tuning.saved.experiment.id.clone();

    let mut second = Harness::again(folder.path());
    second.until("the session and the notice", |workbench| {
        noise_is_known(workbench) && matches!(workbench.notice, Some(Notice::Problem(_)))
    });
    second.connect(at(address));
    assert_eq!(second.workbench.tuning.saved.experiment.id, shared);
    assert!(!second.workbench.is_running());
    tune(&mut second, &[4.0]);
    let own = second.workbench.tuning.saved.clone();
    assert_ne!(own.experiment.id, shared);
    let baselines = own.records.iter().filter(|record| record.is_baseline()).count();
    assert_eq!((own.records.len(), baselines), (3, 2));
    let kept = kept(folder.path());
    for (id, records) in [
        (&shared, &first.workbench.tuning.saved.records),
        (&own.experiment.id, &own.records),
    ] {
        let there = kept.iter().find(|saved| saved.experiment.id == *id).unwrap();
        assert_eq!(by_id(&there.records), by_id(records));
    }
    assert_eq!(kept.len(), 2);
}

#[test]
fn where_the_last_session_is_not_restored_the_window_starts_empty() {
    let folder = tempfile::tempdir().unwrap();
    let mut harness = Harness::in_library(folder.path());
    let module = serve(tiny_model());
    harness.connect(at(module));
    tune(&mut harness, &[2.0]);
    drop(harness);
    let mut fresh = Harness::in_library(folder.path());
    // A session that is restored is there before a module has answered.
    fresh.connect(at(module));
    assert!(fresh.workbench.tuning.is_empty());
    assert_eq!(fresh.workbench.library.undeleted().count(), 1);
}

#[test]
fn the_baseline_run_again_by_hand_is_another_record_and_the_first_stays_what_is_measured_against() {
    let mut harness = Harness::new();
    harness.connect(at(serve(tiny_model())));
    tune(&mut harness, &[2.0]);
    let first = harness.workbench.tuning.baseline().unwrap().id.clone();
    let before = harness.finished(RunKind::Baseline).len();
    harness.apply(Action::RerunBaseline);
    harness.until("the baseline again", |workbench| {
        !workbench.is_running() && workbench.tuning.saved.records.len() == 4
    });
    assert_eq!(harness.finished(RunKind::Baseline).len(), before + 1);
    assert_eq!(harness.workbench.tuning.baseline().unwrap().id, first);
    assert_eq!(points(&harness.workbench), 1);
    harness.until_all_is_on_disk();
}

#[test]
fn a_playback_writes_nothing_into_the_library() {
    let mut harness = Harness::new();
    harness.connect(at(serve(tiny_model())));
    tune(&mut harness, &[2.0]);
    let before = harness.workbench.tuning.saved.records.len();
    harness.workbench.play(demo().unwrap());
    while harness.workbench.advance(Duration::from_millis(500)).is_some() {
        harness.turn();
    }
    assert!(points(harness.workbench.shown()) > 1, "it was played");
    harness.apply(Action::Playback(PlaybackAction::Leave));
    // What a playback had written would stand before a run that follows it.
    tune(&mut harness, &[3.0]);
    harness.until_all_is_on_disk();
    assert_eq!(harness.workbench.tuning.saved.records.len(), before + 1);
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../core/tests/fixtures/v1")
        .join(name)
}

#[test]
fn a_results_file_of_version_0_1_0_opens_in_the_tune_view_with_its_limit_and_every_point() {
    let mut harness = Harness::new();
    harness.apply(Action::ShowTab(Tab::Sweep));
    harness.apply(Action::OpenPath(fixture("compare.json")));
    harness.until("the points", |workbench| points(workbench) == 4);
    let workbench = &harness.workbench;
    assert_eq!(workbench.tab, Tab::Tune);
    assert_eq!(workbench.prompt.user, "Say hello.");
    assert_eq!(workbench.prompt.max_tokens, 12);
    assert_eq!((workbench.prefix.len, workbench.prefix.unit), (2, MagnitudeUnit::Raw));
    let raws: Vec<f64> = workbench.tuning.points().filter_map(|(_, point)| point.raw).collect();
    assert_eq!(raws, [-0.05, 0.0, 0.01, 1.0]);
    assert!(!workbench.baseline.text.is_empty() && !workbench.prefixed.text.is_empty());
}

#[test]
fn a_sweep_of_version_0_1_0_opens_in_the_sweep_view_and_leaves_the_tune_view_as_it_was() {
    for name in ["sweep.json", "sweep.journal"] {
        let mut harness = Harness::new();
        let (prompt, prefix) = (harness.workbench.prompt.clone(), harness.workbench.prefix.clone());
        harness.apply(Action::OpenPath(fixture(name)));
        harness.until("the sweep", |workbench| workbench.sweep.experiment().is_some());
        assert_eq!(harness.workbench.tab, Tab::Sweep, "{name}");
        assert!(harness.workbench.sweep.records().count() > 4, "{name}");
        assert_eq!(
            (
                &harness.workbench.prompt.user,
                &harness.workbench.prompt.system,
                harness.workbench.prefix.len
            ),
            (&prompt.user, &prompt.system, prefix.len),
            "{name}"
        );
        assert!(harness.workbench.tuning.is_empty(), "{name}");
    }
}

#[test]
fn a_results_file_of_a_sweep_never_sets_the_token_limit_to_one() {
    let mut harness = Harness::new();
    harness.apply(Action::OpenPath(fixture("sweep-results.json")));
    harness.until("the file", |workbench| {
        points(workbench) > 0
            || workbench
                .sweep
                .experiment()
                .is_some_and(|saved| !saved.records.is_empty())
    });
    assert!(
        harness.workbench.prompt.max_tokens > 1,
        "{:?}",
        harness.workbench.prompt
    );
    assert_eq!(harness.workbench.tab, Tab::Sweep);
}

/// Not a test of its own: what the killed process does. Without the variable it does nothing.
#[test]
#[ignore = "run by the test below in a process of its own"]
fn child_tunes_until_it_is_killed() {
    let Some((address, library)) = KilledWindow::place() else {
        return;
    };
    let mut harness = Harness::again(&library);
    if harness.workbench.library.undeleted().any(|one| one.finished > 0) {
        harness.until("the session", |workbench| !workbench.tuning.is_empty());
    }
    harness.apply(Action::SetMaxTokens(4));
    harness.apply(Action::Connect(at(address)));
    // Those that were killed before have left their tasks.
    harness.until("the module", |workbench| {
        workbench.module.is_ready() || matches!(workbench.module, ModuleState::TaskFull { .. })
    });
    harness.apply(Action::ExitLeftOverTasks);
    harness.until("the module", |workbench| workbench.module.is_ready());
    let mut checked = 0;
    for step in harness.workbench.tuning.saved.records.len().. {
        harness.apply(Action::SetMagnitude(0.01 * (step + 1) as f64));
        harness.apply(Action::Run);
        while harness.workbench.is_running() {
            harness.turn();
            for seen in &harness.seen[checked..] {
                if let Seen::Finished(_, _, record) = seen {
                    KilledWindow::report(&record.id);
                }
            }
            checked = harness.seen.len();
        }
    }
}

#[test]
fn a_window_killed_at_random_times_restarts_with_every_finished_run() {
    let rounds = rounds(20, 400);
    let folder = tempfile::tempdir().unwrap();
    let library = folder.path().join("experiments");
    let address = serve(tiny_model());
    let mut state = 0x5EED_u64;
    let mut all = HashSet::new();
    for round in 0..rounds {
        let mut window = KilledWindow::start("sessions::child_tunes_until_it_is_killed", address, &library);
        // Every fourth one is killed while it starts, the others after their first run.
        if round % 4 != 0 {
            let first = window.next_shown();
            all.insert(first.unwrap_or_else(|| panic!("round {round}: it ended by itself")));
        }
        std::thread::sleep(Duration::from_micros(split_mix(&mut state) % 150_000));
        all.extend(window.kill());

        let mut found = HashSet::new();
        for path in journals(&library) {
            let (entries, condition) = Journal::read(&path).unwrap();
            assert_eq!((condition.damaged, condition.unknown), (0, 0), "round {round}");
            for saved in experiments(entries) {
                for record in saved.records {
                    assert!(found.insert(record.id.clone()), "round {round}: {} twice", record.id);
                }
            }
        }
        let lost: Vec<&String> = all.difference(&found).collect();
        assert!(lost.is_empty(), "round {round}: {lost:?} were shown and are gone");
    }
    assert!(all.len() >= rounds / 2);
    let sessions = kept(&library).iter().filter(|saved| !saved.records.is_empty()).count();
    assert_eq!(sessions, 1, "each went on with the session of the one before");
    let mut harness = Harness::again(&library);
    harness.until("the session", |workbench| !workbench.tuning.is_empty());
    let there: HashSet<String> = harness
        .workbench
        .tuning
        .saved
        .records
        .iter()
        .map(|record| record.id.clone())
        .collect();
    assert!(all.is_subset(&there));
}

#[test]
fn stars_and_notes_of_tune_and_sweep_are_lines_of_their_journals_and_there_at_the_next_start() {
    let folder = tempfile::tempdir().unwrap();
    let mut harness = Harness::in_library(folder.path());
    harness.connect(at(serve(tiny_model())));
    tune(&mut harness, &[1.0, 4.0]);
    let tuned = harness.current().0.id.clone();
    let rating = |stars: u8, note: &str| Rating {
        stars: Stars::new(stars),
        note: note.to_owned(),
    };
    harness.apply(Action::Rate(tuned.clone(), rating(4, "warm\n二行目")));
    harness.apply(Action::Rate(tuned.clone(), rating(0, "cold")));
    assert_eq!(harness.current().0.rating, rating(0, "cold"), "shown at once");

    harness.apply(Action::ShowTab(Tab::Sweep));
    for action in [
        SweepAction::AddCurrentPrompt,
        SweepAction::RemovePrompt(0),
        SweepAction::SetLengths(vec![1]),
        SweepAction::SetMagnitudes("1, 8".to_owned()),
        SweepAction::Start,
    ] {
        harness.apply(Action::Sweep(action));
    }
    harness.until("the sweep", |workbench| {
        matches!(workbench.sweep.stage, Stage::Ended(_))
    });
    let swept = harness.workbench.sweep.experiment().unwrap().records[1].id.clone();
    harness.apply(Action::Sweep(SweepAction::Select(Some(swept.clone()))));
    assert_eq!(harness.workbench.rated_run().map(|record| &record.id), Some(&swept));
    let more = harness.workbench.with_stars(1).unwrap();
    harness.apply(more);
    harness.until("its star", |workbench| {
        workbench
            .rated_run()
            .is_some_and(|record| record.rating == rating(1, ""))
    });
    let csv = folder.path().join("runs.csv");
    harness.export(Format::Csv, &csv);
    assert!(std::fs::read_to_string(&csv).unwrap().contains(",1,\r\n"));

    let kept = kept(folder.path());
    let found = |id: &str| {
        let mut records = kept.iter().flat_map(|saved| &saved.records);
        records.find(|record| record.id == id).unwrap().rating.clone()
    };
    assert_eq!((found(&tuned), found(&swept)), (rating(0, "cold"), rating(1, "")));
    drop(harness);
    let mut harness = Harness::again(folder.path());
    harness.until("the session", |workbench| !workbench.tuning.is_empty());
    let record = harness.workbench.tuning.record(&tuned).unwrap();
    assert_eq!(record.rating, rating(0, "cold"));
}

#[test]
fn the_example_opens_in_sweep_without_a_model_and_is_in_the_history_once() {
    let folder = tempfile::tempdir().unwrap();
    let mut harness = Harness::in_library(folder.path());
    harness.apply(Action::OpenExample);
    harness.until("the example", |workbench| {
        workbench.tab == Tab::Sweep && !workbench.sweep.shown.is_empty()
    });
    let shown = harness.workbench.sweep.shown[0].clone();
    assert!(shown.records.iter().filter(|record| !record.is_baseline()).count() > 20);
    assert!(!shown.is_open(), "there is nothing to go on with");
    let scored = shown.records.iter().find(|record| record.scores.is_some()).unwrap();
    harness.apply(Action::Sweep(SweepAction::Select(Some(scored.id.clone()))));
    assert!(harness.workbench.pair_scores().is_ok(), "it can be coloured by KL");

    // What a person adds to it is there when it is opened again.
    let rated = shown.records[3].id.clone();
    let rating = Rating {
        stars: Stars::new(5),
        note: "the best one".to_owned(),
    };
    harness.apply(Action::Rate(rated.clone(), rating.clone()));
    harness.apply(Action::ShowTab(Tab::Tune));
    harness.apply(Action::OpenExample);
    harness.until("the example again", |workbench| workbench.tab == Tab::Sweep);
    let again = harness.workbench.sweep.shown[0].clone();
    assert_eq!(again.experiment.id, shown.experiment.id);
    let record = again.records.iter().find(|record| record.id == rated).unwrap();
    assert_eq!(record.rating, rating);
    assert_eq!(kept(folder.path()).len(), 1);

    // One that was deleted is added anew.
    harness.apply(Action::Sweep(SweepAction::Delete(shown.experiment.id.clone())));
    harness.until("the deletion", |workbench| workbench.library.deleted.is_some());
    harness.apply(Action::OpenExample);
    harness.until("a new copy", |workbench| {
        let first = workbench.sweep.shown.first();
        first.is_some_and(|saved| saved.experiment.id != shown.experiment.id)
    });
}
