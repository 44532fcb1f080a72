//! Runs requests to the library off the UI thread.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use softprefix_core::experiment::{
    Condition, Ending, Entry, Experiment, Journal, JournalError, Library, ModuleIdentity, SavedExperiment, Summary,
    experiments, export, new_id,
};
use softprefix_core::files;
use tokio::sync::mpsc;

use super::events::Events;
use crate::errors::{self, ErrorText, journal_problem, task_failed};
use crate::messages::{Event, LibraryEvent, LibraryRequest};
use crate::model::{Bilingual, Export, Problem, ProblemKind};

/// The example experiment that is part of the program.
const EXAMPLE: &[u8] = include_bytes!("../../../assets/demo/story.json");
/// Its file's name.
const EXAMPLE_NAME: &str = "story.json";

/// A request other than [`LibraryRequest::Open`], and the library that was open when it was made.
pub(super) type QueuedRequest = (LibraryRequest, Option<Arc<Library>>);

/// Processes requests in order, so that an older list is never reported after a newer one.
pub(super) async fn process_requests(mut queue: mpsc::UnboundedReceiver<QueuedRequest>, events: Events) {
    while let Some((request, library)) = queue.recv().await {
        let done = tokio::task::spawn_blocking(move || match library {
            Some(library) => carry_out(request, &library),
            None => vec![LibraryEvent::Failed(errors::no_library())],
        });
        let done = done
            .await
            .unwrap_or_else(|error| vec![LibraryEvent::Failed(task_failed(error))]);
        for event in done {
            report(&events, event).await;
        }
    }
}

/// Opens a library, imports the journal of an older version from `old`, and lists the experiments.
pub(super) async fn open(folder: &Path, old: &Path, events: &Events) -> Option<Arc<Library>> {
    let (folder, old) = (folder.to_owned(), old.to_owned());
    let opened = tokio::task::spawn_blocking(move || {
        let library = Arc::new(Library::open(&folder)?);
        let problem = match library.import_older(&old) {
            Ok((_, condition)) => (!condition.is_sound()).then(|| errors::damaged(&old, &condition)),
            Err(error) => Some(journal_problem(&error)),
        };
        Ok::<_, JournalError>((library, problem))
    });
    let (library, problem) = match opened.await {
        Ok(Ok(opened)) => opened,
        Ok(Err(error)) => {
            report(events, LibraryEvent::Unusable(journal_problem(&error))).await;
            return None;
        }
        Err(error) => {
            report(events, LibraryEvent::Unusable(task_failed(error))).await;
            return None;
        }
    };
    let of = Arc::clone(&library);
    let listed = tokio::task::spawn_blocking(move || listed(&of)).await;
    let mut event = listed.unwrap_or_else(|error| LibraryEvent::Failed(task_failed(error)));
    if let LibraryEvent::Listed { problems, .. } = &mut event {
        problems.extend(problem);
    }
    report(events, event).await;
    Some(library)
}

async fn report(events: &Events, event: LibraryEvent) {
    events.send(Event::Library(Box::new(event))).await;
}

fn listed(library: &Library) -> LibraryEvent {
    match library.list() {
        Ok(listing) => {
            let unreadable = listing.unreadable.iter().map(journal_problem);
            let damaged = listing.experiments.iter().filter(|one| !one.condition.is_sound());
            let damaged =
                damaged.map(|one: &Summary| errors::damaged(&library.path_of(&one.experiment.id), &one.condition));
            LibraryEvent::Listed {
                problems: unreadable.chain(damaged).collect(),
                experiments: listing.experiments,
            }
        }
        Err(error) => LibraryEvent::Unusable(journal_problem(&error)),
    }
}

fn carry_out(request: LibraryRequest, library: &Library) -> Vec<LibraryEvent> {
    let failed = |error: JournalError| vec![LibraryEvent::Failed(journal_problem(&error))];
    match request {
        // The worker handles it.
        LibraryRequest::Open { .. } => Vec::new(),
        LibraryRequest::List => vec![listed(library)],
        LibraryRequest::Read(ids) => {
            let mut read = Vec::with_capacity(ids.len());
            for id in ids {
                match library.read(&id) {
                    Ok((saved, _)) => read.push(saved),
                    Err(error) => return failed(error),
                }
            }
            vec![LibraryEvent::Read(read)]
        }
        LibraryRequest::SearchTexts(query) => match library.search(&query) {
            Ok(ids) => vec![LibraryEvent::Found { query, ids }],
            Err(error) => failed(error),
        },
        LibraryRequest::Append(entry) => match library.append(entry.experiment(), &entry) {
            Ok(()) => vec![LibraryEvent::Appended(entry), listed(library)],
            Err(error) => failed(error),
        },
        LibraryRequest::Export { path, export } => {
            let Export {
                format,
                experiment,
                records,
                prompt,
                language,
            } = *export;
            let content = crate::export::content(format, &experiment, &records, prompt, language);
            let written = content.and_then(|text| files::write_whole(&path, text.as_bytes()));
            vec![match written {
                Ok(()) => LibraryEvent::Exported(path),
                Err(error) => LibraryEvent::Failed(errors::cannot_write(&path, &error)),
            }]
        }
        LibraryRequest::Import { path } => match import(&path, library) {
            Ok((experiments, condition)) => {
                let damage = (!condition.is_sound()).then(|| LibraryEvent::Failed(errors::damaged(&path, &condition)));
                let mut events = vec![LibraryEvent::Imported { path, experiments }, listed(library)];
                events.extend(damage);
                events
            }
            // Of several experiments, the first may have been added.
            Err(problem) => vec![LibraryEvent::Failed(problem), listed(library)],
        },
        LibraryRequest::OpenExample => match example(library) {
            Ok(saved) => {
                let (path, experiments) = (EXAMPLE_NAME.into(), vec![saved]);
                vec![LibraryEvent::Imported { path, experiments }, listed(library)]
            }
            Err(problem) => vec![LibraryEvent::Failed(problem)],
        },
    }
}

/// Reads an exported experiment, a results file or a journal and adds it to the library under a new id. Returns what is to be shown, with
/// the damage found in the file: an exported experiment with the same plan on another module, of a journal's experiments, which are all
/// added, deleted ones included, the last one.
fn import(path: &Path, library: &Library) -> Result<(Vec<SavedExperiment>, Condition), Problem> {
    let bytes = files::read(path, export::LARGEST_FILE).map_err(|error| errors::cannot_read(path, &error))?;
    if !export::is_json(&bytes) {
        return import_journal(path, library);
    }
    let added: Result<Vec<_>, _> = exported(path, &bytes)?
        .into_iter()
        .map(|saved| add(saved, library))
        .collect();
    Ok((added?, Condition::default()))
}

/// Returns the example as it is in the library, where it is added if it is not there or was deleted.
fn example(library: &Library) -> Result<SavedExperiment, Problem> {
    let path = Path::new(EXAMPLE_NAME);
    let example = exported(path, EXAMPLE)?.into_iter().next();
    let example = example.ok_or_else(|| errors::no_experiment(path))?;
    let listing = library.list().map_err(|error| journal_problem(&error))?;
    let is_it = |one: &&Summary| {
        !one.is_deleted
            && one.experiment.started_unix == example.experiment.started_unix
            && one.experiment.plan == example.experiment.plan
    };
    match listing.experiments.iter().find(is_it) {
        Some(copy) => Ok(library
            .read(&copy.experiment.id)
            .map_err(|error| journal_problem(&error))?
            .0),
        None => add(example, library),
    }
}

/// Parses an exported experiment or a results file. An export of one plan on two modules becomes two experiments again: each record names
/// the one that it is of.
fn exported(path: &Path, bytes: &[u8]) -> Result<Vec<SavedExperiment>, Problem> {
    let (experiment, records) = export::from_json(bytes, &new_id()).map_err(|error| {
        let ErrorText { what, todo } = errors::export(&error);
        let named = |what: &str, mark: &str| format!("{}{mark}{what}", path.display());
        Problem::new(
            ProblemKind::File,
            Bilingual::new(named(&what.en, ": "), named(&what.ja, "：")),
            Bilingual::new(todo.en, todo.ja),
        )
    })?;
    // Also where cases are missing: a copy is not to be resumed on a module that is not the one of its records.
    let ending = experiment.plan.is_some().then_some(Ending::Complete);
    let of_module = |module: &ModuleIdentity| {
        let mut saved = SavedExperiment::new(Experiment {
            module: module.clone(),
            ..experiment.clone()
        });
        saved.ending = ending;
        saved
    };
    let mut places: HashMap<String, usize> = HashMap::new();
    let mut out: Vec<SavedExperiment> = Vec::new();
    for record in records {
        let place = *places.entry(record.experiment.clone()).or_insert(out.len());
        if place == out.len() {
            let is_own = record.experiment == experiment.id;
            out.push(of_module(if is_own { &experiment.module } else { &record.module }));
        }
        out[place].records.push(record);
    }
    if out.is_empty() {
        out.push(of_module(&experiment.module));
    }
    Ok(out)
}

fn import_journal(path: &Path, library: &Library) -> Result<(Vec<SavedExperiment>, Condition), Problem> {
    let (entries, condition) = match Journal::read(path) {
        Err(JournalError::NotAJournal { .. }) => return Err(errors::no_experiment(path)),
        read => read.map_err(|error| journal_problem(&error))?,
    };
    let mut last = None;
    for saved in experiments(entries) {
        last = Some(add(saved, library)?);
    }
    let last = last.ok_or_else(|| errors::no_experiment(path))?;
    Ok((vec![last], condition))
}

/// Adds an experiment under a new id.
fn add(saved: SavedExperiment, library: &Library) -> Result<SavedExperiment, Problem> {
    let id = new_id();
    let mut out = SavedExperiment::new(Experiment {
        id: id.clone(),
        ..saved.experiment.clone()
    });
    let new_ids: HashMap<&str, String> = saved
        .undeleted()
        .map(|record| (record.id.as_str(), format!("{id}/{}", record.case.index)))
        .collect();
    let renamed = |record: &str| new_ids.get(record).cloned().unwrap_or_default();
    let records = saved.undeleted().cloned().map(|mut record| {
        record.id = renamed(&record.id);
        record.experiment.clone_from(&id);
        if let Some(scores) = &mut record.scores {
            scores.baseline = renamed(&scores.baseline);
        }
        record
    });
    let mut lines = vec![Entry::Started(Box::new(out.experiment.clone()))];
    if let Some(learning) = saved.learning.clone() {
        let experiment = id.clone();
        lines.push(Entry::Learning {
            experiment: experiment.clone(),
            plan: Box::new(learning.plan),
        });
        lines.extend(learning.frames.into_iter().map(|frame| Entry::Learned {
            experiment: experiment.clone(),
            frame: Box::new(frame),
        }));
    }
    lines.extend(records.map(|record| Entry::Case(Box::new(record))));
    lines.extend(saved.generations.iter().cloned().map(|mut generation| {
        for candidate in &mut generation.candidates {
            candidate.record = renamed(&candidate.record);
        }
        Entry::Generation {
            experiment: id.clone(),
            generation: Box::new(generation),
        }
    }));
    lines.extend(saved.ending.map(|how| Entry::Ended {
        experiment: id.clone(),
        how,
        at_unix: softprefix_core::time::now(),
    }));
    library.add(&id, &lines).map_err(|error| journal_problem(&error))?;
    for line in lines {
        out.add(line);
    }
    Ok(out)
}
