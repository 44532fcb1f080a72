//! Runs candidates around a prefix for the window. *Choosing* is a search that the user judges, *searching* one that an objective judges;
//! both propose candidates with a [`PrefixSearch`]. Every record is saved before it is reported.

use std::sync::Arc;

use softprefix_core::experiment::session::{CaseProgress, CaseRequest, FinishedCase, Stop};
use softprefix_core::experiment::{
    Case, Entry, Experiment, Generation, Library, PrefixSearchRequest, Run, RunEvent, RunOptions, RunRequest, SaveTo,
    SavedExperiment, WRITTEN_BY,
};
use softprefix_core::prefix::{EmbeddingRows, PrefixKind, PrefixRecipe, PrefixStore, PrefixSummary, SoftPrefix};
use softprefix_core::protocol::extension::Priority;
use softprefix_core::search::{Objective, PrefixSearch, SearchError, SearchSettings};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::events::Events;
use super::find::{ExperimentJournal, FindContext, report, run_blocking};
use crate::errors::{self, journal_problem, prefix_store_problem};
use crate::messages::{FindEvent, SearchStart};
use crate::model::{Bilingual, Problem, ProblemKind, RelativeToParent};
use crate::session::Session;

/// Starts choosing: creates the experiment, and runs the first candidates and the baseline.
pub(super) async fn begin(
    SearchStart { plan, recipe, settings }: SearchStart,
    stop: Stop,
    context: &FindContext,
) -> Result<(), Problem> {
    let (session, library) = session_and_library(context)?;
    let search = create_search(&session, context.store.as_ref(), &recipe, &settings).await?;
    let experiment = Experiment::new(plan.name.clone(), Some(plan), session.facts().identity.clone());
    let of = experiment.clone();
    let journal = run_blocking(move || ExperimentJournal::create(&library, of)).await?;
    report(&context.events, FindEvent::ChooseStarted(Box::new(experiment.clone()))).await;
    let mut saved = SavedExperiment::new(experiment);
    add(
        &journal,
        &mut saved,
        &context.events,
        Generation::opened(search.clone()),
    )
    .await?;
    run(&session, &journal, &saved, &search, stop, context).await
}

/// Appends a generation to an experiment, opens the next one, and runs the candidates that have no record. A generation without candidates
/// (a step back) is itself the one that is opened.
pub(super) async fn next_generation(
    experiment: String,
    generation: Generation,
    stop: Stop,
    context: &FindContext,
) -> Result<(), Problem> {
    let (session, library) = session_and_library(context)?;
    let opened = run_blocking(move || library.append_to(&experiment).map_err(|error| journal_problem(&error))).await?;
    let mut saved = opened.saved;
    let journal = ExperimentJournal {
        experiment: saved.experiment.clone(),
        journal: opened.journal,
    };
    let next = generation.next().map_err(|error| unsearchable(&error))?;
    let is_judged = !generation.candidates.is_empty();
    add(&journal, &mut saved, &context.events, generation).await?;
    if is_judged {
        add(&journal, &mut saved, &context.events, Generation::opened(next.clone())).await?;
    }
    report_relative_to_parent(&saved, context).await?;
    run(&session, &journal, &saved, &next, stop, context).await
}

/// Searches by an objective until the budget is spent or the user stops.
pub(super) async fn search(
    SearchStart { plan, recipe, settings }: SearchStart,
    (objective, budget): (Objective, usize),
    stop: Stop,
    context: &FindContext,
) -> Result<(), Problem> {
    let (session, library) = session_and_library(context)?;
    let search = create_search(&session, context.store.as_ref(), &recipe, &settings).await?;
    let request = RunRequest {
        plan,
        session: Arc::clone(session.core()),
        save_to: SaveTo::Library(library),
        resume: None,
        options: RunOptions::default(),
    };
    let find = PrefixSearchRequest {
        search,
        objective,
        budget,
    };
    follow(request, find, stop, context).await
}

/// Continues an interrupted search.
pub(super) async fn resume_search(experiment: String, stop: Stop, context: &FindContext) -> Result<(), Problem> {
    let (session, library) = session_and_library(context)?;
    let opened = run_blocking(move || library.append_to(&experiment).map_err(|error| journal_problem(&error))).await?;
    let saved = opened.saved;
    let plan = saved.experiment.plan.clone();
    let last = saved.unfinished_search().cloned();
    // Another window may have ended it meanwhile.
    let ended = || {
        Problem::new(
            ProblemKind::Input,
            Bilingual::new("This search has ended.", "この探索は終わっています。"),
            Bilingual::new("Start a new one.", "新しく始めてください。"),
        )
    };
    let (plan, last) = plan.zip(last).ok_or_else(ended)?;
    let (search, objective, budget) = match last {
        Generation {
            search,
            objective: Some(objective),
            budget: Some(budget),
            ..
        } => (search, objective, budget),
        _ => return Err(ended()),
    };
    let request = RunRequest {
        plan,
        session: Arc::clone(session.core()),
        save_to: SaveTo::Journal(opened.journal),
        resume: Some(saved),
        options: RunOptions::default(),
    };
    let find = PrefixSearchRequest {
        search,
        objective,
        budget,
    };
    follow(request, find, stop, context).await
}

/// Forwards the events of a search until it ends.
async fn follow(
    request: RunRequest,
    find: PrefixSearchRequest,
    mut stop: Stop,
    context: &FindContext,
) -> Result<(), Problem> {
    let mut run = Run::search_prefix(request, find)
        .map_err(|error| Problem::from_text(ProblemKind::Input, errors::prefix_search(&error)))?;
    let mut stopping = false;
    loop {
        tokio::select! {
            event = run.next() => match event {
                None => return Ok(()),
                // The texts of running candidates are not shown.
                Some(RunEvent::Text { .. }) => {}
                Some(event @ RunEvent::JournalFailed { .. }) => {
                    report(&context.events, FindEvent::Searched(Box::new(event))).await;
                    // Nothing is run that cannot be saved.
                    stopping = true;
                    run.cancel();
                }
                Some(event) => report(&context.events, FindEvent::Searched(Box::new(event))).await,
            },
            () = stop.requested(), if !stopping => {
                stopping = true;
                run.cancel();
            }
        }
    }
}

/// Returns the rows of a candidate, from its search's parent in the store. The module builds those of any other recipe.
pub(super) async fn build_rows(recipe: &PrefixRecipe, context: &FindContext) -> Result<SoftPrefix, Problem> {
    let PrefixKind::Chosen { parent, .. } = recipe.kind.base() else {
        let session = context.session.as_ref().ok_or_else(errors::not_connected)?;
        return session.build(recipe).await;
    };
    let hidden_size = (context.session.as_ref()).and_then(|session| session.facts().hidden_size());
    let (store, parent, recipe) = (store(context.store.as_ref())?, parent.clone(), recipe.clone());
    run_blocking(move || {
        let parent = store
            .get(&parent, hidden_size)
            .map_err(|error| prefix_store_problem(&error))?;
        build_from(&parent, &recipe)
    })
    .await
}

fn session_and_library(context: &FindContext) -> Result<(Arc<Session>, Arc<Library>), Problem> {
    let session = context.session.clone().ok_or_else(errors::not_connected)?;
    let library = context.library.clone().ok_or_else(errors::no_library)?;
    Ok((session, library))
}

fn store(store: Option<&PrefixStore>) -> Result<PrefixStore, Problem> {
    store.cloned().ok_or_else(errors::no_library)
}

fn unsearchable(error: &SearchError) -> Problem {
    Problem::from_text(ProblemKind::Input, errors::search(error))
}

fn build_from(parent: &SoftPrefix, recipe: &PrefixRecipe) -> Result<SoftPrefix, Problem> {
    let rows = EmbeddingRows::from(parent);
    let built = recipe.build(parent.hidden_size(), Some(&rows), None);
    built.map_err(|error| Problem::from_text(ProblemKind::Input, errors::prefix(&error)))
}

/// Creates the search around the prefix of `recipe`, and puts its rows into the store.
async fn create_search(
    session: &Session,
    store: Option<&PrefixStore>,
    recipe: &PrefixRecipe,
    settings: &SearchSettings,
) -> Result<PrefixSearch, Problem> {
    let parent = session.build(recipe).await?;
    let vocabulary = session.vocabulary().map(AsRef::as_ref);
    let search = PrefixSearch::new(&parent, recipe.kind.name(), settings, vocabulary);
    let search = search.map_err(|error| unsearchable(&error))?;
    let store = self::store(store)?;
    run_blocking(move || store.put(&parent).map_err(|error| prefix_store_problem(&error))).await?;
    Ok(search)
}

async fn add(
    journal: &ExperimentJournal,
    saved: &mut SavedExperiment,
    events: &Events,
    generation: Generation,
) -> Result<(), Problem> {
    let entry = Entry::Generation {
        experiment: journal.experiment.id.clone(),
        generation: Box::new(generation),
    };
    journal.append_async(entry.clone()).await?;
    saved.add(entry.clone());
    report(events, FindEvent::ChooseEntry(Box::new(entry))).await;
    Ok(())
}

/// Runs the candidates of a search that have no output in `saved`, then the baseline if that has none. A stop, or an output that cannot be
/// saved, ends all of them.
async fn run(
    session: &Session,
    journal: &ExperimentJournal,
    saved: &SavedExperiment,
    search: &PrefixSearch,
    stop: Stop,
    context: &FindContext,
) -> Result<(), Problem> {
    let Some(plan) = &journal.experiment.plan else {
        return Ok(());
    };
    let Some(prompt) = plan.prompts.first() else {
        return Ok(());
    };
    let mut index = saved
        .records
        .iter()
        .map(|record| record.case.index + 1)
        .max()
        .unwrap_or(0);
    let has_text = |recipe: Option<&PrefixRecipe>| {
        let mut records = saved.undeleted().filter(|record| record.case.recipe.as_ref() == recipe);
        records.any(|record| record.text().is_some())
    };
    let generation = search.generation() + 1;
    let baseline = (!has_text(None)).then_some((None, "baseline".to_owned(), None));
    let candidates = search.candidates().into_iter().enumerate();
    let candidates = candidates
        .filter(|(_, recipe)| !has_text(Some(recipe)))
        .map(|(at, recipe)| (Some(at), format!("generation_{generation}_{}", at + 1), Some(recipe)));
    // The user waits for the candidates, so they come first.
    let wanted: Vec<_> = candidates.chain(baseline).collect();
    if wanted.is_empty() {
        return Ok(());
    }
    let task = session.task_for(&prompt.system, &plan.settings).await;
    let task = task.map_err(|error| session.problem(error))?;
    let mut runs = JoinSet::new();
    let (stop_all, each_stop) = Stop::pair();
    // A stock module runs one inference at a time.
    let places = Arc::new(tokio::sync::Semaphore::new(session.facts().concurrency.max(1)));
    for (at, name, recipe) in wanted {
        let request = CaseRequest {
            experiment: journal.experiment.id.clone(),
            case: Case {
                name,
                ..Case::new(index, 0, 0, recipe)
            },
            prompt: prompt.clone(),
            settings: plan.settings.clone(),
            priority: Priority::Live,
            draft: Vec::new(),
            attempt: 1,
            written_by: WRITTEN_BY.to_owned(),
        };
        index += 1;
        let (session, task, journal, events) = (
            Arc::clone(session.core()),
            task.clone(),
            journal.clone(),
            context.events.clone(),
        );
        let (stop, places) = (each_stop.clone(), Arc::clone(&places));
        runs.spawn(async move {
            // The semaphore is never closed.
            let _place = places.acquire().await;
            let (sender, mut texts) = mpsc::unbounded_channel();
            let running = session.run(&task, request, stop, move |progress| {
                if let (CaseProgress::Text(text), Some(at)) = (progress, at) {
                    // The forwarding below awaits the end of this sender.
                    sender.send((at, text)).ok();
                }
            });
            let forwarding = async {
                while let Some((candidate, text)) = texts.recv().await {
                    report(&events, FindEvent::CandidateText { candidate, text }).await;
                }
            };
            let (ran, ()) = tokio::join!(running, forwarding);
            let Some(FinishedCase { record, error }) = ran else {
                return Ok(Ok(()));
            };
            // A candidate that was stopped has no whole output to judge. A failed one is saved with its error.
            if (record.text().is_some() && record.is_complete()) || error.is_some() {
                let entry = Entry::Case(Box::new(record));
                journal.append_async(entry.clone()).await?;
                report(&events, FindEvent::ChooseEntry(Box::new(entry))).await;
            }
            let failed = error.map(|error| errors::session(&error, session.facts().is_embedded()));
            Ok(failed.map_or(Ok(()), Err))
        });
    }
    wait_for_all(runs, stop, &stop_all).await
}

/// Waits for the end of all runs. A stop, and a run whose record cannot be saved (the outer error), stop all of them. Returns the first
/// error.
async fn wait_for_all(
    mut runs: JoinSet<Result<Result<(), Problem>, Problem>>,
    mut stop: Stop,
    stop_all: &watch::Sender<bool>,
) -> Result<(), Problem> {
    let mut outcome = Ok(());
    let mut stopping = false;
    loop {
        tokio::select! {
            ended = runs.join_next() => {
                let Some(ended) = ended else { return outcome };
                let result = ended.map_err(errors::task_failed).flatten().unwrap_or_else(|unsaved| {
                    // Nothing is run that cannot be saved.
                    stop_all.send_replace(true);
                    Err(unsaved)
                });
                outcome = outcome.and(result);
            }
            () = stop.requested(), if !stopping => {
                stopping = true;
                stop_all.send_replace(true);
            }
        }
    }
}

/// Reports the norm and the cosine of the chosen candidates of an experiment relative to the parent of its search.
pub(super) async fn report_relative_to_parent(saved: &SavedExperiment, context: &FindContext) -> Result<(), Problem> {
    let chosen = saved.generations.iter().filter_map(|generation| {
        let record = &generation.candidates.get(generation.best()?)?.record;
        let record = saved.records.iter().find(|known| known.id == *record)?;
        Some((record.id.clone(), record.case.recipe.clone()?))
    });
    let chosen: Vec<(String, PrefixRecipe)> = chosen.collect();
    let Some(last) = saved.generations.last() else {
        return Ok(());
    };
    let (store, parent) = (store(context.store.as_ref())?, last.search.parent().to_owned());
    let hidden_size = Some(saved.experiment.module.hidden_size).filter(|hidden_size| *hidden_size > 0);
    let relative_to_parent = run_blocking(move || {
        let parent = store
            .get(&parent, hidden_size)
            .map_err(|error| prefix_store_problem(&error))?;
        let parent_norm = PrefixSummary::of(&parent, None).median;
        let each = chosen.into_iter().map(|(record, recipe)| {
            let rows = build_from(&parent, &recipe)?;
            let relative_to_parent = RelativeToParent {
                norm: PrefixSummary::of(&rows, None).median / parent_norm,
                cosine: parent.cosine(&rows).unwrap_or(f64::NAN),
            };
            Ok((record, relative_to_parent))
        });
        each.collect::<Result<Vec<_>, Problem>>()
    })
    .await?;
    report(&context.events, FindEvent::ComparedWithParent(relative_to_parent)).await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_record_that_cannot_be_saved_ends_the_other_runs() {
        let (stop_all, mut each_stop) = Stop::pair();
        let mut runs = JoinSet::new();
        runs.spawn(async move {
            each_stop.requested().await;
            Ok(Ok(()))
        });
        let unsaved = errors::no_library();
        let problem = unsaved.clone();
        runs.spawn(async move { Err(problem) });
        assert_eq!(wait_for_all(runs, Stop::never(), &stop_all).await, Err(unsaved));
    }

    #[tokio::test]
    async fn a_run_that_fails_and_is_saved_leaves_the_others_to_their_end() {
        let (stop_all, _each_stop) = Stop::pair();
        let mut runs = JoinSet::new();
        let problem = errors::not_connected();
        let failed = problem.clone();
        runs.spawn(async move { Ok(Err(failed)) });
        assert_eq!(wait_for_all(runs, Stop::never(), &stop_all).await, Err(problem));
        assert!(!*stop_all.borrow());
    }
}
