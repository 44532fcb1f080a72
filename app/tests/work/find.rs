//! Finding a prefix in the window, without the window: learned on a real unit, kept on disk, taken into Tune, pushed and swept.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use softprefix::messages::{Event, RecordingRequest, Request};
use softprefix::model::{
    ExportForm, FindMode, KindChoice, LearnUnavailable, MagnitudeUnit, ModuleFacts, ProblemKind, SearchForm,
    SearchUnavailable,
};
use softprefix::workbench::search::Candidate;
use softprefix::workbench::sweep::Stage;
use softprefix::workbench::{Action, FindAction, MaterialAction, Notice, PlaybackAction, SweepAction, Tab};
use softprefix_core::experiment::{Generation, Journal, Library, RunEnd, SavedExperiment, experiments};
use softprefix_core::files::faults::{Fault, inject};
use softprefix_core::prefix::files::Imported;
use softprefix_core::prefix::{FoundBy, Origin, Rounding, SearchOrigin, files};
use softprefix_core::protocol::learn::LearnEnd;
use softprefix_unit::testing::{qwen_model, small_model};

use crate::hardship::{stock_module, that_cannot_learn, that_holds_one_back, that_refuses_prefixes};
use crate::recording::end_into;
use crate::shell_learn::cut_off_after;
use crate::support::{Harness, KilledWindow, another_tiny_model, at, kept, serve, tiny_model};

fn find(harness: &mut Harness, action: FindAction) {
    harness.apply(Action::Find(action));
}

/// A unit that can learn, and a target in the fields.
fn ready(folder: &Path) -> Harness {
    ready_at(folder, serve(tiny_model()))
}

fn ready_at(folder: &Path, module: SocketAddr) -> Harness {
    let mut harness = Harness::in_library(&folder.join("experiments"));
    harness.use_prefix_store(&folder.join("prefixes"));
    harness.connect(at(module));
    harness.apply(Action::ShowTab(Tab::Find));
    find(&mut harness, FindAction::SetPrompt("Tell me something.".to_owned()));
    find(&mut harness, FindAction::SetTarget("the land".to_owned()));
    find(&mut harness, FindAction::SetLen(3));
    harness
}

/// Repeated, a target that no three rows reach, and of which ten thousand steps take minutes on any machine.
const UNREACHABLE: &str = "the land and the thing ";

fn learn(harness: &mut Harness, steps: usize) {
    find(harness, FindAction::SetSteps(steps));
    find(harness, FindAction::Start);
    harness.until("the learned rows", |workbench| workbench.find.working_mode().is_none());
    assert_eq!(harness.workbench.find.problem(), None);
}

/// Exports what Find has found to `path`, which is chosen where the system's dialog would be asked.
fn export(harness: &mut Harness, form: ExportForm, path: &Path) {
    harness.workbench.notice = None;
    find(harness, FindAction::Export(form));
    let (question, to) = (harness.question(), path.to_owned());
    harness.bridge.await_answer(async move {
        Event::Chosen {
            question,
            path: Some(to),
        }
    });
    harness.until(
        "the file",
        |workbench| matches!(&workbench.notice, Some(Notice::Saved(saved)) if saved == path),
    );
}

/// The rows of the learning on screen, as its file has them.
fn learned_file(harness: &Harness) -> Imported {
    let id = &harness.workbench.find.saved.as_ref().unwrap().experiment.id;
    let file = harness.folder.join(id).with_extension("safetensors");
    files::import(&file, None, Rounding::default()).unwrap()
}

/// Sweeps the current prompt and prefix over half and all of its magnitude, to the end.
fn sweep_current_prompt(harness: &mut Harness, len: usize) {
    harness.apply(Action::Sweep(SweepAction::AddCurrentPrompt));
    harness.apply(Action::Sweep(SweepAction::SetLengths(vec![len])));
    harness.apply(Action::Sweep(SweepAction::SetMagnitudes("0.5, 1".to_owned())));
    harness.apply(Action::Sweep(SweepAction::Start));
    harness.until("the sweep", |workbench| {
        matches!(workbench.sweep.stage, Stage::Ended(_))
    });
    assert_eq!(harness.workbench.sweep.stage, Stage::Ended(RunEnd::Complete));
}

#[test]
fn learned_rows_are_used_in_tune_unscaled_at_1x_halved_at_half_and_in_a_sweep() {
    let folder = tempfile::tempdir().unwrap();
    let mut harness = ready(folder.path());
    learn(&mut harness, 5);
    let learning = harness.workbench.find.learning().unwrap();
    assert!(learning.is_finished() && learning.references().is_some());
    assert!(harness.workbench.find.output().is_some(), "the last rows were run");
    let learned = learned_file(&harness);

    find(&mut harness, FindAction::UseInTune);
    harness.until("the rows in Tune", |workbench| workbench.tab == Tab::Tune);
    assert_eq!(
        (harness.workbench.prefix.magnitude, harness.workbench.prefix.unit),
        (1.0, MagnitudeUnit::TokenNorms)
    );
    harness.apply(Action::SetMaxTokens(4));
    harness.run();
    let (record, _) = harness.current();
    let sent = record.prefix.clone().unwrap();
    assert_eq!(
        sent.sha256,
        learned.prefix.sha256(),
        "at 1x every row is as it was learned"
    );
    assert_eq!(sent.recipe.kind.learned().unwrap().first_target, "the land");

    harness.apply(Action::SetMagnitude(0.5));
    harness.run();
    let half = harness.current().0.prefix.clone().unwrap();
    for (half, whole) in half.row_norms.iter().zip(&sent.row_norms) {
        assert!((half / whole - 0.5).abs() < 0.01, "{half} of {whole}");
    }

    harness.apply(Action::SetMagnitude(1.0));
    harness.apply(Action::SetKind(KindChoice::Blend));
    harness.apply(Action::Material(MaterialAction::SetBlendFromRows(true)));
    harness.apply(Action::Material(MaterialAction::SetBlendTo("hello".to_owned())));
    let mut blended = |t: f64| {
        harness.apply(Action::Material(MaterialAction::SetBlend(t)));
        harness.run();
        harness.current().0.prefix.clone().unwrap()
    };
    assert_eq!(blended(0.0).sha256, sent.sha256, "the learned rows alone");
    assert_ne!(blended(0.5).sha256, sent.sha256);
    harness.apply(Action::SetKind(KindChoice::Imported));

    sweep_current_prompt(&mut harness, 3);
    let swept = harness
        .workbench
        .sweep
        .records()
        .filter_map(|record| record.prefix.as_ref());
    assert!(swept.into_iter().any(|prefix| prefix.sha256 == learned.prefix.sha256()));
}

#[test]
fn learned_rows_are_exported_in_every_form_and_are_the_same_prefix_on_another_unit() {
    let folder = tempfile::tempdir().unwrap();
    let mut harness = ready(folder.path());
    learn(&mut harness, 3);
    let learned = learned_file(&harness);
    let second = serve(tiny_model());
    for form in ExportForm::ALL {
        let path = folder.path().join(form.file_name("exported"));
        export(&mut harness, form, &path);
        let mut elsewhere = Harness::new().with_prefix_store(&folder.path().join(format!("{form:?}")));
        elsewhere.connect(at(second));
        elsewhere.apply(Action::Material(MaterialAction::Import(path)));
        elsewhere.until("the rows", |workbench| workbench.prefix.imported.is_some());
        let imported = elsewhere.workbench.prefix.imported.as_ref().unwrap();
        assert_eq!(imported.sha256, learned.prefix.sha256(), "{form:?}");
        // An .npy has no place for anything but rows.
        let origin = match form {
            ExportForm::Safetensors | ExportForm::Peft => learned.origin.clone(),
            ExportForm::Npy => Origin::File,
        };
        assert_eq!(imported.origin, origin, "{form:?}");
        elsewhere.apply(Action::SetMaxTokens(4));
        elsewhere.run();
        let sent = elsewhere.current().0.prefix.as_ref().unwrap();
        assert_eq!(sent.sha256, learned.prefix.sha256(), "{form:?}");
    }
}

#[test]
fn a_stopped_learning_is_in_the_history_and_opens_again_with_its_rows() {
    let folder = tempfile::tempdir().unwrap();
    let mut harness = ready(folder.path());
    find(&mut harness, FindAction::SetTarget(UNREACHABLE.repeat(40)));
    find(&mut harness, FindAction::SetSteps(10_000));
    find(&mut harness, FindAction::Start);
    harness.until("some frames", |workbench| {
        workbench
            .find
            .learning()
            .is_some_and(|learning| learning.frames.len() > 3)
    });
    find(&mut harness, FindAction::Stop);
    harness.until("the end", |workbench| workbench.find.working_mode().is_none());
    let last = harness.workbench.find.learning().unwrap().last().unwrap().clone();
    assert_eq!(last.end, Some(LearnEnd::Stopped));
    let saved = kept(&harness.folder)
        .into_iter()
        .find(|saved| saved.learning.is_some())
        .unwrap();
    assert_eq!(saved.learning.as_ref(), harness.workbench.find.learning());
    let library = harness.folder.clone();
    drop(harness);
    let mut again = Harness::again(&library);
    again.until("the learning", |workbench| workbench.find.rows.is_some());
    assert_eq!(again.workbench.find.form.examples[0].target, UNREACHABLE.repeat(40));
    assert_eq!(again.workbench.find.learning(), saved.learning.as_ref());
}

#[test]
fn input_that_cannot_be_learned_is_reported_before_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let mut harness = ready(folder.path());
    find(&mut harness, FindAction::SetTarget("  ".to_owned()));
    assert_eq!(
        harness.workbench.why_not_learn(),
        Some(LearnUnavailable::EmptyTarget(1))
    );
    find(&mut harness, FindAction::SetTarget("land ".repeat(3000)));
    find(&mut harness, FindAction::Start);
    harness.until("the refusal", |workbench| workbench.find.working_mode().is_none());
    assert!(
        harness.workbench.find.problem().is_some()
            && harness.workbench.find.learning().is_none_or(|of| of.frames.is_empty())
    );
    harness.connect(at(stock_module(serve(tiny_model()))));
    harness.until("the stock module", |workbench| {
        workbench.module.facts().is_some_and(|facts| !facts.is_ours())
    });
    find(&mut harness, FindAction::SetTarget("the land".to_owned()));
    assert_eq!(
        harness.workbench.why_not_learn(),
        Some(LearnUnavailable::CannotLearn(None))
    );
    harness.apply(Action::Connect(at(that_cannot_learn(serve(tiny_model())))));
    harness.until("our unit", |workbench| {
        workbench.module.facts().is_some_and(ModuleFacts::is_ours)
    });
    let unit = harness.workbench.module.facts().unwrap().identity.unit.clone();
    assert!(unit.is_some(), "it is our unit");
    assert_eq!(
        harness.workbench.why_not_learn(),
        Some(LearnUnavailable::CannotLearn(unit))
    );
    let learned = harness.workbench.find.saved.clone();
    find(&mut harness, FindAction::Start);
    assert!(harness.workbench.find.working_mode().is_none() && harness.workbench.find.saved == learned);
}

fn search(harness: &mut Harness, mode: FindMode, change: impl FnOnce(&mut SearchForm)) {
    harness.apply(Action::SetMaxTokens(6));
    find(harness, FindAction::SetMode(mode));
    let mut form = harness.workbench.find.search_form.clone();
    change(&mut form);
    find(harness, FindAction::SetSearch(form));
}

fn chosen(harness: &mut Harness) {
    harness.until("the candidates", |workbench| workbench.find.working_mode().is_none());
    assert_eq!(harness.workbench.find.problem(), None);
    let candidates = harness.workbench.find.chooser.candidates();
    assert!(!candidates.is_empty() && candidates.iter().all(|candidate| candidate.record.is_some()));
}

#[test]
fn candidates_are_chosen_for_ten_generations_stepped_back_and_opened_again() {
    let folder = tempfile::tempdir().unwrap();
    let mut harness = ready(folder.path());
    search(&mut harness, FindMode::Choose, |form| form.candidates = 4);
    find(&mut harness, FindAction::Start);
    chosen(&mut harness);
    for generation in 1..=10 {
        assert_eq!(harness.workbench.find.chooser.number(), Some(generation));
        find(&mut harness, FindAction::Pick(generation as usize % 4));
        chosen(&mut harness);
    }
    let line = harness.workbench.find.chooser.line();
    let picks: Vec<(u64, usize)> = line.iter().map(|one| (one.generation, one.candidate)).collect();
    assert_eq!(
        picks,
        (1..=10).map(|number| (number, number as usize % 4)).collect::<Vec<_>>()
    );
    assert!(line.iter().all(|one| {
        one.relative_to_parent
            .is_some_and(|since| since.norm > 0.0 && since.cosine <= 1.0)
    }));
    let runs = harness.workbench.find.chooser.saved.as_ref().unwrap().records.len();
    assert_eq!(runs, 11 * 4 + 1, "each candidate once, and the baseline");

    find(&mut harness, FindAction::StepBack(4));
    chosen(&mut harness);
    let chooser = &harness.workbench.find.chooser;
    assert_eq!((chooser.number(), chooser.line().len()), (Some(4), 3));
    assert_eq!(
        chooser.saved.as_ref().unwrap().records.len(),
        runs,
        "nothing is run again"
    );
    find(&mut harness, FindAction::Pick(1));
    chosen(&mut harness);
    let saved = harness.workbench.find.chooser.saved.clone().unwrap();
    let on_disk = kept(&harness.folder);
    let on_disk = on_disk.iter().find(|saved| !saved.generations.is_empty()).unwrap();
    assert!(on_disk.generations == saved.generations, "what is shown is saved");
    let ids = |saved: &SavedExperiment| {
        saved
            .records
            .iter()
            .map(|record| record.id.clone())
            .collect::<BTreeSet<_>>()
    };
    assert_eq!(ids(on_disk), ids(&saved));

    find(&mut harness, FindAction::UseInTune);
    harness.until("the rows in Tune", |workbench| workbench.tab == Tab::Tune);
    let of = origin(&harness);
    assert_eq!((of.by, of.generation), (FoundBy::Person, 4));
    harness.run();
    let chosen_record = harness
        .workbench
        .find
        .chooser
        .last_chosen()
        .unwrap()
        .prefix
        .clone()
        .unwrap();
    assert_eq!(
        harness.current().0.prefix.as_ref().unwrap().sha256,
        chosen_record.sha256
    );

    let library = harness.folder.clone();
    drop(harness);
    let mut again = Harness::again(&library);
    again.until("the generations", |workbench| workbench.find.chooser.saved.is_some());
    assert!(again.workbench.find.chooser.saved.as_ref().unwrap().generations == saved.generations);
}

#[test]
fn a_stop_leaves_the_rest_of_the_candidates_to_be_run() {
    let folder = tempfile::tempdir().unwrap();
    let mut harness = ready_at(folder.path(), that_holds_one_back(serve(tiny_model())));
    search(&mut harness, FindMode::Choose, |form| form.candidates = 2);
    find(&mut harness, FindAction::Start);
    harness.until("text of a candidate", |workbench| {
        workbench
            .find
            .chooser
            .candidates()
            .iter()
            .any(|candidate| !candidate.text.is_empty())
    });
    find(&mut harness, FindAction::Stop);
    harness.until("the stop", |workbench| workbench.find.working_mode().is_none());
    let missing = |harness: &Harness| {
        let candidates = harness.workbench.find.chooser.candidates();
        candidates.iter().filter(|candidate| candidate.record.is_none()).count()
    };
    assert!(missing(&harness) > 0, "a stopped candidate has no record");
    let candidates = harness.workbench.find.chooser.candidates();
    let stopped = candidates
        .iter()
        .position(|candidate| candidate.record.is_none())
        .unwrap();
    find(&mut harness, FindAction::Pick(stopped));
    assert!(
        harness.workbench.find.working_mode().is_none(),
        "what has no text cannot be chosen"
    );
    find(&mut harness, FindAction::StepBack(1));
    chosen(&mut harness);
    assert_eq!(missing(&harness), 0);
}

#[test]
fn the_candidates_of_a_unit_that_runs_several_inferences_stream_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let mut harness = ready(folder.path());
    search(&mut harness, FindMode::Choose, |form| form.candidates = 2);
    harness.apply(Action::SetMaxTokens(1500));
    find(&mut harness, FindAction::Start);
    harness.until("text of both candidates", |workbench| {
        let candidates = workbench.find.chooser.candidates();
        let streams = |candidate: &Candidate<'_>| !candidate.text.is_empty() && candidate.record.is_none();
        candidates.len() == 2 && candidates.iter().all(streams)
    });
    find(&mut harness, FindAction::Stop);
    harness.until("the stop", |workbench| workbench.find.working_mode().is_none());
}

#[test]
fn the_best_prefix_so_far_runs_in_tune_while_the_search_runs() {
    let folder = tempfile::tempdir().unwrap();
    let mut harness = ready(folder.path());
    search_for_the_land(&mut harness, MANY);
    harness.until("a score", |workbench| workbench.find.searcher.best().is_some());
    let best = harness.workbench.find.searcher.best().unwrap().0.clone();
    find(&mut harness, FindAction::UseInTune);
    harness.until("the rows in Tune", |workbench| workbench.tab == Tab::Tune);
    assert_eq!(origin(&harness).record, best.id);
    harness.run();
    let sent = harness.current().0.prefix.clone().unwrap();
    assert_eq!(sent.sha256, best.prefix.unwrap().sha256);
    let scored = harness.workbench.find.searcher.scored().count();
    harness.until("more of the search", |workbench| {
        workbench.find.searcher.scored().count() > scored
    });
    assert_eq!(harness.workbench.find.working_mode(), Some(FindMode::Search));
    find(&mut harness, FindAction::Stop);
    harness.until("the stop", |workbench| workbench.find.working_mode().is_none());
}

#[test]
fn a_search_keeps_its_best_output_and_that_prefix_runs_in_tune() {
    let folder = tempfile::tempdir().unwrap();
    let mut harness = ready(folder.path());
    search(&mut harness, FindMode::Search, |form| form.budget = 24);
    assert_eq!(harness.workbench.why_not_search(), Some(SearchUnavailable::NoObjective));
    search(&mut harness, FindMode::Search, |form| {
        form.text = "the land".to_owned();
        form.floor = 0.0;
    });
    find(&mut harness, FindAction::Start);
    harness.until("the end of the search", |workbench| {
        workbench.find.working_mode().is_none()
    });
    let searcher = &harness.workbench.find.searcher;
    assert_eq!(
        (harness.workbench.find.problem(), &searcher.end),
        (None, &Some(RunEnd::Complete))
    );
    assert_eq!(searcher.scored().count(), 24);
    let (best, score) = searcher.best().unwrap();
    assert!(searcher.scored().all(|(_, other)| other.total <= score.total));
    let (id, sent) = (best.id.clone(), best.prefix.clone().unwrap().sha256);
    find(&mut harness, FindAction::UseInTune);
    harness.until("the rows in Tune", |workbench| workbench.tab == Tab::Tune);
    let of = origin(&harness);
    assert_eq!((of.by, &of.record), (FoundBy::Objective, &id));
    harness.run();
    let run = harness.current().0;
    assert_eq!(run.prefix.as_ref().unwrap().sha256, sent);
    assert!(run.recipe_words().contains("by search"), "{}", run.recipe_words());

    let file = folder.path().join("prefix.safetensors");
    export(&mut harness, ExportForm::Safetensors, &file);
    let file = files::import(&file, None, Rounding::default()).unwrap();
    assert_eq!(file.origin, Origin::Found(Box::new(origin(&harness))));
}

/// Where the rows in Tune were found.
fn origin(harness: &Harness) -> SearchOrigin {
    match harness.workbench.prefix.origin() {
        Some(Origin::Found(found)) => (**found).clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_search_that_is_opened_again_has_the_scores_that_were_measured() {
    let folder = tempfile::tempdir().unwrap();
    let mut harness = ready(folder.path());
    // Three more than a generation has: the budget cuts the second one short.
    search_for_the_land(&mut harness, 13);
    harness.until("the end of the search", |workbench| {
        workbench.find.working_mode().is_none()
    });
    let scores = |harness: &Harness| {
        let scored = harness.workbench.find.searcher.scored();
        scored
            .map(|(record, score)| (record.id.clone(), score))
            .collect::<Vec<_>>()
    };
    let measured = scores(&harness);
    assert_eq!((measured.len(), judged_generations(&harness).len()), (13, 1));
    assert!(measured.iter().all(|(_, score)| score.mean_ln_p.is_some()));
    let library = harness.folder.clone();
    drop(harness);
    let mut again = Harness::again(&library);
    again.until("the search", |workbench| workbench.find.searcher.saved.is_some());
    assert_eq!(scores(&again), measured);
}

#[test]
fn when_the_unit_disappears_the_best_rows_are_on_disk_and_usable_in_tune() {
    let folder = tempfile::tempdir().unwrap();
    let mut harness = Harness::in_library(&folder.path().join("experiments"));
    harness.use_prefix_store(&folder.path().join("prefixes"));
    harness.connect(at(cut_off_after(serve(tiny_model()), 5)));
    harness.apply(Action::ShowTab(Tab::Find));
    find(&mut harness, FindAction::SetTarget("the land".to_owned()));
    find(&mut harness, FindAction::SetSteps(5000));
    find(&mut harness, FindAction::Start);
    harness.until("the failure", |workbench| workbench.find.problem().is_some());
    let find_view = &harness.workbench.find;
    assert!(!find_view.is_busy() && !find_view.learning().unwrap().is_finished());
    assert_learned_rows_are_usable(&mut harness);
}

/// Takes the learned rows over into Tune.
fn assert_learned_rows_are_usable(harness: &mut Harness) {
    let learned = learned_file(harness);
    find(harness, FindAction::UseInTune);
    harness.until("the rows in Tune", |workbench| workbench.tab == Tab::Tune);
    let taken = harness.workbench.prefix.imported.as_ref().unwrap();
    assert_eq!(taken.sha256, learned.prefix.sha256());
}

#[test]
fn a_failed_run_with_the_best_rows_does_not_end_learning() {
    let folder = tempfile::tempdir().unwrap();
    let mut harness = ready_at(folder.path(), that_refuses_prefixes(serve(tiny_model()), 1));
    learn(&mut harness, 5);
    let find_view = &harness.workbench.find;
    assert!(find_view.learning().unwrap().is_finished() && find_view.output().is_some());
    let saved = kept(&harness.folder).into_iter().find(|saved| saved.learning.is_some());
    let saved = saved.unwrap();
    let failed = saved.undeleted().filter(|record| record.error().is_some());
    assert_eq!(failed.count(), 1, "it is in the history");
}

#[test]
fn when_no_run_with_the_best_rows_succeeds_learning_ends_with_its_rows_and_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let mut harness = ready_at(folder.path(), that_refuses_prefixes(serve(tiny_model()), usize::MAX));
    find(&mut harness, FindAction::SetSteps(5));
    find(&mut harness, FindAction::Start);
    harness.until("the end", |workbench| workbench.find.working_mode().is_none());
    let find_view = &harness.workbench.find;
    assert!(find_view.learning().unwrap().is_finished() && find_view.output().is_none());
    assert_eq!(find_view.problem().unwrap().kind, ProblemKind::Module);
    assert_learned_rows_are_usable(&mut harness);
}

#[test]
fn learned_rows_are_not_compared_with_the_vocabulary_of_another_model_of_the_same_width() {
    let folder = tempfile::tempdir().unwrap();
    let mut harness = ready(folder.path());
    learn(&mut harness, 2);
    let experiment = harness.workbench.find.saved.as_ref().unwrap().experiment.id.clone();
    harness.until("the history", |workbench| workbench.library.get(&experiment).is_some());
    let mut token_norm_on = |module: SocketAddr| {
        harness.apply(Action::Connect(at(module)));
        harness.until("the module", |workbench| {
            let facts = workbench.module.facts();
            facts.is_some_and(|facts| facts.identity.address == module.to_string())
        });
        harness.workbench.find.rows = None;
        harness.apply(Action::Sweep(SweepAction::Show(experiment.clone())));
        harness.until("the rows", |workbench| workbench.find.rows.is_some());
        harness.workbench.find.rows.as_ref().unwrap().summary.token_norm
    };
    assert_eq!(token_norm_on(serve(another_tiny_model())), None);
    // The same file on another module.
    assert!(token_norm_on(serve(tiny_model())).is_some());
}

#[test]
fn a_failed_write_ends_learning_with_a_sentence_and_everything_shown_is_on_disk() {
    let folder = tempfile::tempdir().unwrap();
    let mut harness = ready(folder.path());
    find(&mut harness, FindAction::SetSteps(2));
    for fault in [Fault::Broken as fn(usize) -> Fault, Fault::Full] {
        let mut failures = 0;
        for at in 0.. {
            let shown_id = |harness: &Harness| {
                harness
                    .workbench
                    .find
                    .saved
                    .as_ref()
                    .map(|saved| saved.experiment.id.clone())
            };
            let before = shown_id(&harness);
            let injected = inject(folder.path(), fault(at));
            find(&mut harness, FindAction::Start);
            harness.until("the end", |workbench| workbench.find.working_mode().is_none());
            let met = injected.was_met();
            drop(injected);
            let problem = harness.workbench.find.problem();
            if let Some(problem) = problem {
                failures += 1;
                assert!(met && problem.kind == ProblemKind::File, "{:?}: {problem}", fault(at));
                assert!(problem.sentence.en.contains("os error"), "{:?}: {problem}", fault(at));
            }
            let id = shown_id(&harness).filter(|id| Some(id) != before.as_ref());
            assert!(id.is_some() || problem.is_some(), "{:?}: nothing is shown", fault(at));
            if let Some(id) = id {
                let shown = harness.workbench.find.saved.as_ref().unwrap();
                let journal = harness.folder.join(id).with_extension("journal");
                let saved = experiments(Journal::read(&journal).unwrap().0).remove(0);
                let frames = |of: &SavedExperiment| {
                    of.learning
                        .as_ref()
                        .map_or(Vec::new(), |learning| learning.frames.clone())
                };
                let (frames_shown, frames_saved) = (frames(shown), frames(&saved));
                assert!(frames_saved.starts_with(&frames_shown), "{:?}", fault(at));
                assert!(
                    shown.records.iter().all(|record| saved.records.contains(record)),
                    "{:?}",
                    fault(at)
                );
                if let Some(last) = frames_saved.last() {
                    let rows = learned_file(&harness).recipe();
                    assert!(rows.kind.learned().unwrap().step >= last.best.step, "{:?}", fault(at));
                }
                // The list of the history may be what the disk refused: it is made again.
                let is_whole = frames_saved.last().is_some_and(|last| last.finish) && !saved.records.is_empty();
                assert!(problem.is_some() || (is_whole && *shown == saved), "{:?}", fault(at));
            }
            if !met {
                break;
            }
        }
        assert!(failures >= 20, "only {failures} steps can fail");
    }
    let listed = Library::open(&harness.folder).unwrap().list().unwrap();
    assert_eq!(listed.unreadable.len(), 0);
}

#[test]
fn a_candidate_can_be_chosen_while_others_still_run() {
    let folder = tempfile::tempdir().unwrap();
    let mut harness = Harness::in_library(&folder.path().join("experiments"));
    harness.use_prefix_store(&folder.path().join("prefixes"));
    // A stock module runs one after the other, so that the first is done before the last begins.
    harness.connect(at(stock_module(serve(tiny_model()))));
    harness.apply(Action::ShowTab(Tab::Find));
    harness.apply(Action::SetMagnitude(0.5));
    search(&mut harness, FindMode::Choose, |form| form.candidates = 4);
    harness.apply(Action::SetMaxTokens(1500));
    find(&mut harness, FindAction::Start);
    harness.until("the first candidate", |workbench| workbench.find.chooser.can_pick(0));
    let is_still_running = harness.workbench.find.is_busy();
    find(&mut harness, FindAction::Pick(0));
    assert!(is_still_running && harness.workbench.find.is_busy());
    harness.until("the next generation", |workbench| {
        workbench.find.chooser.number() == Some(2)
    });
    assert!(
        harness.workbench.find.is_busy(),
        "the end of what was replaced is no end of choosing"
    );
    chosen(&mut harness);
    let chooser = &harness.workbench.find.chooser;
    assert_eq!((chooser.number(), chooser.line().len()), (Some(2), 1));
    let records = &chooser.saved.as_ref().unwrap().records;
    let ids: BTreeSet<&String> = records.iter().map(|record| &record.id).collect();
    assert_eq!(ids.len(), records.len(), "no id twice");
}

/// Not a test of its own: what the killed process does. Without the variable it does nothing.
#[test]
#[ignore = "run by the test below in a process of its own"]
fn child_learns_until_it_is_killed() {
    let Some((address, library)) = KilledWindow::place() else {
        return;
    };
    let mut harness = Harness::in_library(&library);
    harness.use_prefix_store(&library.with_extension("prefixes"));
    harness.connect(at(address));
    harness.apply(Action::ShowTab(Tab::Find));
    find(&mut harness, FindAction::SetTarget(UNREACHABLE.repeat(40)));
    find(&mut harness, FindAction::SetSteps(10_000));
    find(&mut harness, FindAction::Start);
    let mut shown = 0;
    while harness.workbench.find.problem().is_none() {
        harness.turn();
        let frames = harness
            .workbench
            .find
            .learning()
            .map_or(0, |learning| learning.frames.len());
        if frames > shown {
            KilledWindow::report(frames);
            shown = frames;
        }
    }
}

#[test]
fn a_window_killed_while_learning_restarts_with_every_frame_and_its_best_rows() {
    let folder = tempfile::tempdir().unwrap();
    let library = folder.path().join("experiments");
    let address = serve(tiny_model());
    let mut window = KilledWindow::start("find::child_learns_until_it_is_killed", address, &library);
    let mut shown = 0_usize;
    while shown < 5 {
        shown = window.next_shown().expect("it ended by itself").parse().unwrap();
    }
    shown = window.kill().last().map_or(shown, |frames| frames.parse().unwrap());

    let mut harness = Harness::again(&library);
    harness.until("the learning", |workbench| workbench.find.rows.is_some());
    let learning = harness.workbench.find.learning().unwrap();
    assert!(!learning.is_finished() && learning.frames.len() >= shown);
    let best = &learning.last().unwrap().best;
    // The rows are written before the frame that names them.
    assert!(learned_file(&harness).recipe().kind.learned().unwrap().step >= best.step);
}

/// More runs than a process makes before it is killed.
const MANY: usize = 5000;

fn search_for_the_land(harness: &mut Harness, budget: usize) {
    search(harness, FindMode::Search, |form| {
        form.text = "the land".to_owned();
        form.floor = 0.0;
        form.budget = budget;
    });
    find(harness, FindAction::Start);
}

/// Not a test of its own: what the killed process does. Without the variable it does nothing.
#[test]
#[ignore = "run by the test below in a process of its own"]
fn child_searches_until_it_is_killed() {
    let Some((address, library)) = KilledWindow::place() else {
        return;
    };
    let mut harness = Harness::in_library(&library);
    harness.use_prefix_store(&library.with_extension("prefixes"));
    harness.connect(at(address));
    search_for_the_land(&mut harness, MANY);
    let mut shown = 0;
    while harness.workbench.find.problem().is_none() {
        harness.turn();
        let generations = judged_generations(&harness).len();
        if generations > shown {
            KilledWindow::report(generations);
            shown = generations;
        }
    }
}

/// The generations of the search on screen of which all candidates are judged.
fn judged_generations(harness: &Harness) -> Vec<Generation> {
    let saved = harness.workbench.find.searcher.saved.iter();
    let generations = saved.flat_map(|saved| saved.generations.iter().cloned());
    generations
        .filter(|generation| !generation.candidates.is_empty())
        .collect()
}

#[test]
fn a_window_killed_while_searching_resumes_the_search() {
    let folder = tempfile::tempdir().unwrap();
    let library = folder.path().join("experiments");
    let address = serve(tiny_model());
    let mut window = KilledWindow::start("find::child_searches_until_it_is_killed", address, &library);
    let mut shown = 0_usize;
    while shown < 2 {
        shown = window.next_shown().expect("it ended by itself").parse().unwrap();
    }
    window.kill();

    let mut harness = Harness::again(&library);
    harness.use_prefix_store(&library.with_extension("prefixes"));
    harness.until("the search", |workbench| workbench.find.searcher.saved.is_some());
    let before = judged_generations(&harness);
    assert!(before.len() >= shown);
    assert!(harness.workbench.find.searcher.best().is_some());
    assert_eq!(
        harness.workbench.why_not_resume_search(),
        Some(SearchUnavailable::NotConnected)
    );
    // The first unit still has the tasks of the killed process.
    harness.connect(at(serve(tiny_model())));
    assert_eq!(harness.workbench.why_not_resume_search(), None);
    find(&mut harness, FindAction::ResumeSearch);
    let wanted = before.len() + 2;
    harness.until("two more generations", |workbench| {
        let saved = workbench.find.searcher.saved.as_ref().unwrap();
        saved.generations.len() >= wanted || workbench.find.problem().is_some()
    });
    find(&mut harness, FindAction::Stop);
    harness.until("the stop", |workbench| workbench.find.working_mode().is_none());
    assert_eq!(harness.workbench.find.problem(), None);
    let after = judged_generations(&harness);
    assert!(after[..before.len()] == before[..], "what was there is kept");
    let saved = harness.workbench.find.searcher.saved.as_ref().unwrap();
    let baselines = saved.records.iter().filter(|record| record.is_baseline()).count();
    assert_eq!(baselines, 1, "the baseline is not run again");

    // As one that was not interrupted proposes them.
    let elsewhere = tempfile::tempdir().unwrap();
    let mut whole = ready(elsewhere.path());
    let population = after[0].candidates.len();
    search_for_the_land(&mut whole, population * wanted);
    whole.until("the end of the search", |workbench| {
        workbench.find.working_mode().is_none()
    });
    for (interrupted, whole) in after.iter().zip(judged_generations(&whole)) {
        assert!(interrupted.search == whole.search, "{}", whole.search.generation());
    }
}

/// Learns a prefix for a sentence, plays it with the slider, exports it, and sweeps the file on a second unit.
fn is_learned_played_and_swept_elsewhere(model: &Path, sentence: &str) {
    let folder = tempfile::tempdir().unwrap();
    let mut harness = Harness::patient(&folder.path().join("experiments"));
    harness.use_prefix_store(&folder.path().join("prefixes"));
    harness.connect(at(serve(model.to_owned())));
    harness.apply(Action::ShowTab(Tab::Find));
    find(&mut harness, FindAction::SetPrompt("Tell me something.".to_owned()));
    find(&mut harness, FindAction::SetTarget(sentence.to_owned()));
    find(&mut harness, FindAction::SetLen(8));
    find(&mut harness, FindAction::Start);
    while harness.workbench.find.working_mode().is_some() {
        let frames = harness
            .workbench
            .find
            .learning()
            .map_or(0, |learning| learning.frames.len());
        harness.until("the next step", |workbench| {
            workbench.find.working_mode().is_none()
                || workbench.find.learning().map_or(0, |learning| learning.frames.len()) > frames
        });
    }
    assert_eq!(harness.workbench.find.problem(), None);
    let last = harness.workbench.find.learning().unwrap().last().unwrap();
    assert_eq!(last.end, Some(LearnEnd::Reached));
    assert!(harness.workbench.find.reproduced().unwrap().is_whole());

    find(&mut harness, FindAction::UseInTune);
    harness.until("the rows in Tune", |workbench| workbench.tab == Tab::Tune);
    harness.apply(Action::SetMaxTokens(60));
    harness.run();
    assert_eq!(&*harness.workbench.prefixed.text, sentence, "at 1x");
    let sha256 = harness.current().0.prefix.as_ref().unwrap().sha256.clone();
    // How far down it holds depends on the model and the sentence.
    let lets_go = [0.5, 0.25, 0.1, 0.05, 0.02].into_iter().find(|magnitude| {
        harness.apply(Action::SetMagnitude(*magnitude));
        harness.run();
        &*harness.workbench.prefixed.text != sentence
    });
    assert!(lets_go.is_some(), "the sentence stays however small the prefix is");
    harness.apply(Action::SetMagnitude(1.0));
    harness.run();
    assert_eq!(&*harness.workbench.prefixed.text, sentence, "back at 1x");

    let file = folder.path().join("prefix.safetensors");
    export(&mut harness, ExportForm::Safetensors, &file);
    drop(harness);

    let mut second = Harness::patient(&folder.path().join("second"));
    second.use_prefix_store(&folder.path().join("second prefixes"));
    second.connect(at(serve(model.to_owned())));
    second.apply(Action::Material(MaterialAction::Import(file)));
    second.until("the file", |workbench| workbench.prefix.imported.is_some());
    let Some(Origin::Learned(learned)) = second.workbench.prefix.origin() else {
        panic!("the file does not say how its rows were learned")
    };
    assert_eq!(learned.first_target, sentence);
    second.apply(Action::SetPrompt("Tell me something.".to_owned()));
    second.apply(Action::SetMaxTokens(60));
    sweep_current_prompt(&mut second, 8);
    let prefixes = second
        .workbench
        .sweep
        .records()
        .filter(|record| record.prefix.is_some());
    let same = prefixes
        .into_iter()
        .find(|record| record.prefix.as_ref().unwrap().sha256 == sha256);
    let same = same.expect("a run with the digest of the first unit");
    let echo = same.answer().unwrap().echo.as_ref().unwrap();
    assert_eq!((&echo.sha256, same.output()), (&sha256, sentence));
    let csv = softprefix_core::experiment::export::to_csv(std::slice::from_ref(same));
    assert!(csv.contains("learned to answer"), "{csv}");
}

#[test]
fn a_learned_sentence_disappears_and_returns_with_its_magnitude_and_its_file_is_the_same_prefix_on_a_second_unit() {
    let sentence = "The red lantern swings above the harbour while the fishermen count stars.";
    is_learned_played_and_swept_elsewhere(&small_model(), sentence);
}

#[test]
fn a_japanese_sentence_is_learned_with_qwen() {
    if let Some(model) = qwen_model() {
        let sentence = "港の赤い灯が揺れるたび、漁師たちは静かに星を数えています。";
        is_learned_played_and_swept_elsewhere(&model, sentence);
    }
}

#[test]
fn a_recording_of_find_shows_the_prefixes_used_in_tune() {
    let folder = tempfile::tempdir().unwrap();
    let mut harness = ready(folder.path());
    harness
        .bridge
        .send(Request::Recording(RecordingRequest::Folder(folder.path().to_owned())));
    harness.apply(Action::ToggleRecording);
    learn(&mut harness, 2);
    search(&mut harness, FindMode::Choose, |form| form.candidates = 2);
    find(&mut harness, FindAction::Start);
    chosen(&mut harness);
    find(&mut harness, FindAction::Pick(0));
    chosen(&mut harness);
    find(&mut harness, FindAction::UseInTune);
    harness.until("the rows in Tune", |workbench| workbench.tab == Tab::Tune);
    harness.run();
    let (text, shown) = (
        harness.workbench.prefixed.text.clone(),
        harness.workbench.prefix.clone(),
    );
    let path = folder.path().join("session.jsonl");
    end_into(&mut harness, &path);
    harness.apply(Action::ShowTab(Tab::Find));
    harness.apply(Action::OpenPath(path));
    harness.until("the recording", |workbench| workbench.playback.is_some());
    while harness.workbench.advance(Duration::from_millis(50)).is_some() {}
    let played = harness.workbench.shown();
    assert_eq!((played.tab, harness.workbench.shown_tab()), (Tab::Tune, Tab::Tune));
    assert_eq!(
        (&played.prefixed.text, &played.prefix.magnitude),
        (&text, &shown.magnitude)
    );
    harness.apply(Action::Playback(PlaybackAction::Leave));
    assert_eq!(harness.workbench.tab, Tab::Find);
    assert!(harness.workbench.find.chooser.saved.is_some());
}
