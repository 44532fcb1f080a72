//! The Find view with something on it: rows that are learned, candidates to choose from, a search.

use softprefix::messages::{Event, FindEvent};
use softprefix::model::{FindMode, FoundRows, Language, Nearest, RelativeToParent, SearchForm, Theme};
use softprefix::workbench::{Action, FindAction, Tab, Workbench};
use softprefix_core::experiment::journal::JOURNAL_VERSION;
use softprefix_core::experiment::{
    Answer, Case, CaseOutcome, Entry, Experiment, Generation, Prompt, Record, RunEnd, RunEvent, RunProgress, Settings,
};
use softprefix_core::prefix::{
    Learned, Magnitude, Neighbour, Origin, PrefixKind, PrefixRecipe, PrefixSummary, Rounding, SoftPrefix,
};
use softprefix_core::protocol::extension::FinishReason;
use softprefix_core::protocol::learn::{BestRows, LearnEnd, LearnFrame, LearnLoss, References};
use softprefix_core::search::{Objective, PrefixSearch, SearchSettings};

pub const TARGET: &str =
    "The sea knew his name. He had a lamp, a dog and a book of tides, but nothing to hold back the thunder.";
pub const SEA: &str = "The sea knew his name. He had a lamp, and a small boat that he took out every morning before the light came. One day a storm came in from the west, and the waves rose over the rocks.";
const PROMPT: &str = "Write a short story about a lighthouse keeper and a storm.";
const STEPS: usize = 200;
/// The end of the only work that a fixture starts.
const FIRST_ENDED: FindEvent = FindEvent::Ended {
    number: 1,
    problem: None,
};

/// The Find view, with nothing learned yet.
pub fn empty(language: Language, theme: Theme) -> Workbench {
    let mut workbench = super::ready(language, theme);
    workbench.apply(Action::ShowTab(Tab::Find));
    workbench
}

fn experiment(workbench: &Workbench, id: &str) -> Experiment {
    Experiment {
        version: JOURNAL_VERSION,
        id: id.to_owned(),
        name: id.to_owned(),
        started_unix: 1_795_406_700.0,
        plan: Some(SearchForm::plan(&workbench.prompt)),
        module: workbench.module.last_facts().unwrap().identity.clone(),
    }
}

fn record(workbench: &Workbench, experiment: &str, index: usize, recipe: Option<PrefixRecipe>, text: &str) -> Record {
    let prompt = Prompt {
        system: String::new(),
        user: PROMPT.to_owned(),
    };
    let answer = Answer {
        ttft_sec: Some(0.04),
        ..Answer::new(text, FinishReason::Stop, 0.5)
    };
    Record {
        started_unix: 1_795_406_700.0 + index as f64,
        ..Record::new(
            experiment,
            Case::new(index, 0, 0, recipe),
            prompt,
            Settings::default(),
            workbench.module.last_facts().unwrap().identity.clone(),
            CaseOutcome::Done(answer),
        )
    }
}

fn find(workbench: &mut Workbench, event: FindEvent) {
    workbench.absorb(Event::Find(Box::new(event)));
}

/// Learning for the target: at step 84 of 200, or at its end.
pub fn learning(language: Language, theme: Theme, end: Option<LearnEnd>) -> Workbench {
    let mut workbench = empty(language, theme);
    workbench.apply(Action::Find(FindAction::SetPrompt(PROMPT.to_owned())));
    workbench.apply(Action::Find(FindAction::SetTarget(TARGET.to_owned())));
    workbench.apply(Action::Find(FindAction::Start));
    workbench.take_requests();
    let started = experiment(&workbench, "learning");
    let plan = Box::new(workbench.find.form.plan(""));
    find(
        &mut workbench,
        FindEvent::LearnStarted {
            experiment: Box::new(started),
            plan,
        },
    );
    let last = if end.is_some() { STEPS } else { 84 };
    for step in 0..=last {
        let likelihood = 0.05 + 3.85 * (-(step as f64) / 60.0).exp() + 0.02 * (step as f64 * 1.7).sin().abs();
        let loss = LearnLoss {
            total: likelihood,
            likelihood,
            divergence: 0.0,
            matched: step.min(29),
            wanted: 30,
            held_out: None,
        };
        let finish = end.is_some() && step == last;
        let frame = LearnFrame {
            finish,
            step,
            steps: STEPS,
            loss,
            best: BestRows { step, loss, rows: None },
            undone: 0,
            elapsed_ms: step as f64 * 1000.0,
            end: end.filter(|_| finish),
            settings: None,
            references: (step == 0).then_some(References {
                plain: 3.6,
                instruction: Some(3.3),
            }),
        };
        find(&mut workbench, FindEvent::LearnProgress(Box::new(frame)));
    }
    let recipe = PrefixRecipe::new(
        PrefixKind::Imported {
            name: "The sea knew".to_owned(),
            sha256: "7a".repeat(32),
            origin: Origin::Learned(Box::new(learned(TARGET, 1, last))),
        },
        8,
        Magnitude::Unscaled,
    );
    let mut summary = PrefixSummary::of(&rows(), Some(0.515));
    summary.norms = vec![0.60, 0.52, 0.64, 0.56, 0.48, 0.62, 0.55, 0.50];
    let words = [
        (" sea", 0.41),
        (" name", 0.36),
        (" lamp", 0.33),
        ("Ġ", 0.19),
        ("_", 0.22),
        ("He", 0.38),
        ("-", 0.14),
        (" tide", 0.31),
    ];
    let near = words.map(|(text, cosine)| {
        vec![Neighbour {
            id: 1,
            text: text.to_owned(),
            cosine,
        }]
    });
    let found = FoundRows {
        recipe: recipe.clone(),
        summary,
        nearest: Nearest::Pending,
    };
    find(
        &mut workbench,
        FindEvent::Rows {
            experiment: "learning".to_owned(),
            rows: Box::new(found),
        },
    );
    let nearest = FindEvent::Nearest {
        recipe: recipe.clone(),
        nearest: Nearest::Known(near.to_vec()),
    };
    find(&mut workbench, nearest);
    let output = match end {
        Some(LearnEnd::Reached) => TARGET,
        _ => SEA,
    };
    let run = record(&workbench, "learning", 0, Some(recipe), output);
    find(&mut workbench, FindEvent::Output(Box::new(run)));
    if end.is_some() {
        find(&mut workbench, FIRST_ENDED);
    }
    workbench
}

/// How rows for this target were learned.
pub fn learned(target: &str, seed: u64, step: usize) -> Learned {
    serde_json::from_value(serde_json::json!({
        "objective": "", "examples": 1, "preserved": 0, "data_sha256": "", "first_prompt": PROMPT, "first_target": target,
        "init": "target", "seed": seed, "steps_asked": STEPS, "step": step, "loss": 0.95, "likelihood": 0.95, "matched": 20,
        "wanted": 30, "model": "qwen2.5-0.5b-instruct",
    }))
    .unwrap()
}

fn rows() -> SoftPrefix {
    let values: Vec<f32> = (0..8 * 16).map(|i| (i as f32 * 0.7).sin() * 0.15).collect();
    SoftPrefix::from_f32(16, &values, Rounding::default()).unwrap()
}

fn prefix_search(population: Option<usize>) -> PrefixSearch {
    let settings = SearchSettings {
        population,
        ..SearchSettings::default()
    };
    PrefixSearch::new(&rows(), "words", &settings, None).unwrap()
}

/// The third generation of four candidates, the last of which is still streaming.
pub fn choosing(language: Language, theme: Theme) -> Workbench {
    let mut workbench = empty(language, theme);
    workbench.apply(Action::SetPrompt(PROMPT.to_owned()));
    workbench.apply(Action::Find(FindAction::SetMode(FindMode::Choose)));
    workbench.apply(Action::Find(FindAction::Start));
    workbench.take_requests();
    let started = experiment(&workbench, "choosing");
    find(&mut workbench, FindEvent::ChooseStarted(Box::new(started)));
    let texts = [SEA, TARGET, super::LONG_BASELINE, super::LONG_PREFIXED];
    let mut search = prefix_search(Some(4));
    let mut index = 0;
    let add = |workbench: &mut Workbench, generation: Generation| {
        let entry = Entry::Generation {
            experiment: "choosing".to_owned(),
            generation: Box::new(generation),
        };
        find(workbench, FindEvent::ChooseEntry(Box::new(entry)));
    };
    for generation in 0..3 {
        add(&mut workbench, Generation::opened(search.clone()));
        let mut records = Vec::new();
        for (at, recipe) in search.candidates().into_iter().enumerate() {
            if generation == 2 && at == 3 {
                let text = super::LONG_PREFIXED.chars().take(120).collect();
                find(&mut workbench, FindEvent::CandidateText { candidate: at, text });
                continue;
            }
            let run = record(&workbench, "choosing", index, Some(recipe), texts[at]);
            records.push(run.id.clone());
            find(
                &mut workbench,
                FindEvent::ChooseEntry(Box::new(Entry::Case(Box::new(run)))),
            );
            index += 1;
        }
        if generation < 2 {
            let relative_to_parent = RelativeToParent {
                norm: 1.0 + 0.03 * generation as f64,
                cosine: 0.93 - 0.11 * generation as f64,
            };
            find(
                &mut workbench,
                FindEvent::ComparedWithParent(vec![(records[generation].clone(), relative_to_parent)]),
            );
            let picked = Generation::picked(search, records, generation);
            search = picked.next().unwrap();
            add(&mut workbench, picked);
        }
    }
    workbench
}

/// A search after 40 runs, and how it ended.
pub fn searched(language: Language, theme: Theme, end: Option<RunEnd>) -> Workbench {
    let mut workbench = empty(language, theme);
    workbench.apply(Action::SetPrompt(PROMPT.to_owned()));
    workbench.apply(Action::Find(FindAction::SetMode(FindMode::Search)));
    let mut form = workbench.find.search_form.clone();
    form.text = TARGET.to_owned();
    form.wanted = "sea, thunder".to_owned();
    workbench.apply(Action::Find(FindAction::SetSearch(form.clone())));
    workbench.apply(Action::Find(FindAction::Start));
    workbench.take_requests();
    let apply_event =
        |workbench: &mut Workbench, event: RunEvent| find(workbench, FindEvent::Searched(Box::new(event)));
    let started = experiment(&workbench, "search");
    apply_event(&mut workbench, RunEvent::Started(Box::new(started)));
    let objective: Objective = form.objective(false);
    let search = prefix_search(Some(40));
    let opening = Generation {
        search: search.clone(),
        candidates: Vec::new(),
        objective: Some(objective.clone()),
        budget: Some(form.budget),
    };
    apply_event(&mut workbench, RunEvent::Generation(Box::new(opening)));
    let texts = [
        super::LONG_BASELINE,
        SEA,
        super::LONG_PREFIXED,
        "The harbour was quiet. He slept.",
    ];
    for (index, recipe) in search.candidates().into_iter().enumerate() {
        let text = texts[(index * index + index / 7) % texts.len()];
        let mut run = record(&workbench, "search", index, Some(recipe), text);
        let mut score = objective.score(super::LONG_BASELINE, text, None);
        score.total += (index as f64).sin() * 0.05;
        run.score = Some(score);
        apply_event(&mut workbench, RunEvent::CaseFinished(Box::new(run)));
    }
    let progress = RunProgress {
        finished: 40,
        total: 100,
        left: Some(std::time::Duration::from_secs(52)),
        ..RunProgress::default()
    };
    apply_event(&mut workbench, RunEvent::Progress(progress));
    if let Some(end) = end {
        apply_event(&mut workbench, RunEvent::Ended(end));
        find(&mut workbench, FIRST_ENDED);
    }
    workbench
}
