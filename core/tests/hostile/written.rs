//! Samples that are made by the writers of this crate, so that every kind of line and every field that they write is damaged.

use softprefix_core::experiment::{
    Candidate, Case, CaseOutcome, Ending, Entry, Experiment, Generation, Journal, LearnPlan, Magnitudes, Plan, Prompt,
    Rating, Record, Settings, Stars, Sweep, Values,
};
use softprefix_core::prefix::{
    BlendEndpoint, FoundBy, Generator, Magnitude, NormLimit, Origin, PrefixKind, PrefixRecipe, Rounding, SearchOrigin,
    SoftPrefix, Subspace, encode,
};
use softprefix_core::protocol::Sampling;
use softprefix_core::protocol::learn::{
    BestRows, Example, Init, LearnEnd, LearnFrame, LearnLoss, LearnRequest, References,
};
use softprefix_core::search::{Closeness, Objective, PrefixSearch, Score, SearchSettings};

use super::common;

/// Number of kinds of lines.
const KINDS: usize = 11;

/// The number of a line's kind. A kind that is new is missing here, and among the samples.
fn kind(entry: &Entry) -> usize {
    match entry {
        Entry::Started(_) => 0,
        Entry::Case(_) => 1,
        Entry::Scored { .. } => 2,
        Entry::Rated { .. } => 3,
        Entry::Generation { .. } => 4,
        Entry::Learning { .. } => 5,
        Entry::Learned { .. } => 6,
        Entry::Ended { .. } => 7,
        Entry::Renamed { .. } => 8,
        Entry::Deleted { .. } => 9,
        Entry::Restored { .. } => 10,
    }
}

/// A journal with every kind of line.
pub fn journal() -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("one.journal");
    let (mut journal, ..) = Journal::open(&path).unwrap();
    let entries = entries();
    for entry in &entries {
        journal.append(entry).unwrap();
    }
    let mut kinds: Vec<usize> = entries.iter().map(kind).collect();
    kinds.sort_unstable();
    kinds.dedup();
    assert_eq!(
        kinds,
        Vec::from_iter(0..KINDS),
        "every kind of line is among the samples"
    );
    std::fs::read(&path).unwrap()
}

fn entries() -> Vec<Entry> {
    let experiment = common::experiment("written", plan());
    let id = || experiment.id.clone();
    let records = records(&experiment);
    let scored = records.iter().filter(|record| record.prefix.is_some()).take(3);
    let scored = scored.map(|record| Entry::Scored {
        record: record.id.clone(),
        scores: Box::new(common::scores(&experiment, &record.case, "So it is.")),
    });
    let rated = |record: &Record, stars, note: &str| Entry::Rated {
        record: record.id.clone(),
        rating: Rating {
            stars,
            note: note.to_owned(),
        },
    };
    let learned = frames(&common::some_prefix()).into_iter().map(|frame| Entry::Learned {
        experiment: id(),
        frame: Box::new(frame),
    });
    let generations = generations(&records).into_iter().map(|generation| Entry::Generation {
        experiment: id(),
        generation: Box::new(generation),
    });
    let of_one = [
        rated(&records[1], Stars::new(4), "=warm, \"calm\"\n二行目"),
        rated(&records[1], None, ""),
        Entry::Renamed {
            id: id(),
            name: "春".to_owned(),
        },
        Entry::Renamed {
            id: records[2].id.clone(),
            name: "the third".to_owned(),
        },
        Entry::Deleted {
            id: records[2].id.clone(),
        },
        Entry::Restored {
            id: records[2].id.clone(),
        },
        Entry::Deleted { id: id() },
        Entry::Restored { id: id() },
        Entry::Learning {
            experiment: id(),
            plan: Box::new(LearnPlan {
                system: "You are kind.".to_owned(),
                request: learn_request(),
            }),
        },
        Entry::Ended {
            experiment: id(),
            how: Ending::Cancelled,
            at_unix: 1.8e9,
        },
        Entry::Ended {
            experiment: id(),
            how: Ending::Complete,
            at_unix: 1.8e9 + 9.5,
        },
        Entry::Started(Box::new(Experiment {
            plan: None,
            ..experiment.clone()
        })),
    ];
    let started = Entry::Started(Box::new(experiment.clone()));
    let cases = records.iter().cloned().map(|record| Entry::Case(Box::new(record)));
    let all = [started].into_iter().chain(cases).chain(scored).chain(of_one);
    all.chain(learned).chain(generations).collect()
}

fn plan() -> Plan {
    let sweep = |magnitudes| Sweep {
        kind: PrefixKind::Constant,
        lengths: vec![1, 2],
        magnitudes,
        rounding: Rounding::Truncate,
    };
    let range = Values::Log {
        from: 0.1,
        to: 2.0,
        count: 2,
        zero: true,
    };
    let steps = Values::Linear {
        from: -1.0,
        to: 1.0,
        count: 3,
    };
    let sampling = Sampling {
        temperature: Some(0.8),
        top_p: Some(0.9),
        top_k: Some(10),
        repetition_penalty: Some((1.2, 50)),
        seed: Some(7),
    };
    let prompt = |user: &str| Prompt {
        system: "You are kind.".to_owned(),
        user: user.to_owned(),
    };
    Plan {
        name: "written".to_owned(),
        prompts: vec![prompt("Why?"), prompt("春の詩")],
        sweeps: vec![sweep(Magnitudes::TokenNorms(range)), sweep(Magnitudes::Raw(steps))],
        repeats: 2,
        baselines: 2,
        closing: true,
        scored: true,
        settings: Settings {
            max_token_len: Some(320),
            streaming: Some(true),
            ..Settings::new(64, &sampling)
        },
        ..Plan::new(prompt(""), sweep(Magnitudes::Unscaled))
    }
}

/// A baseline, a failure, and a case for each kind of prefix.
fn records(experiment: &Experiment) -> Vec<Record> {
    let recipe = |kind| PrefixRecipe::new(kind, 2, Magnitude::TokenNorms(1.5));
    let case = |index, recipe| Case::new(index, index % 2, index / 9, recipe);
    let mut records = vec![
        common::record(experiment, &case(0, None), "So it is."),
        common::failed(experiment, &case(1, Some(recipe(PrefixKind::Constant))), "no answer"),
    ];
    for kind in kinds() {
        // Not all kinds can be built without a module.
        let case = case(records.len(), Some(recipe(PrefixKind::Constant)));
        let mut record = common::record(experiment, &case, "So it is, さあ。");
        let recipes = record.prefix.as_mut().map(|prefix| &mut prefix.recipe);
        for recipe in recipes.into_iter().chain(record.case.recipe.as_mut()) {
            recipe.kind = kind.clone();
        }
        record.score = Some(score());
        record.attempts = 2;
        records.push(record);
    }
    if let CaseOutcome::Done(answer) = &mut records[3].outcome {
        (answer.echo, answer.usage, answer.tokens) = (None, None, None);
    }
    records
}

fn kinds() -> Vec<PrefixKind> {
    let (seed, generator) = (7, Generator::default());
    let imported = |origin| PrefixKind::Imported {
        name: "mine".to_owned(),
        sha256: "ab".repeat(32),
        origin,
    };
    let learn_plan = LearnPlan {
        system: String::new(),
        request: learn_request(),
    };
    let frame = &frames(&common::some_prefix())[0];
    let learned = learn_plan.learned(frame.settings, &common::module(), frame);
    let found = SearchOrigin {
        by: FoundBy::Objective,
        near: "spring".to_owned(),
        generation: 3,
        record: "written/2".to_owned(),
        model: "tiny".to_owned(),
    };
    vec![
        PrefixKind::RandomUniform { seed, generator },
        PrefixKind::RandomNormal { seed, generator },
        PrefixKind::SampledVocabulary { seed, generator },
        PrefixKind::Words {
            text: "the sea <|im_end|>".to_owned(),
        },
        PrefixKind::Blend {
            from: "the sea".into(),
            to: BlendEndpoint::Stored {
                name: "mine".to_owned(),
                sha256: "cd".repeat(32),
            },
            t: 0.25,
        },
        PrefixKind::Contrast {
            text: "warm".to_owned(),
            minus: "cold".to_owned(),
        },
        imported(Origin::File),
        imported(Origin::Learned(Box::new(learned))),
        imported(Origin::Found(Box::new(found))),
        PrefixKind::Chosen {
            name: "spring".to_owned(),
            parent: "ef".repeat(32),
            generation: 2,
            subspace: Box::new(Subspace {
                seed,
                dimension: 2,
                step: 0.5,
                norms: Some((0.1, 2.0)),
            }),
            point: vec![0.5, -1.0],
        },
        PrefixKind::Constant.shaped(Some(vec![0.0, 1.0, 0.5])),
    ]
}

fn score() -> Score {
    Score {
        total: 0.75,
        similarity: Some(60.0),
        mean_ln_p: Some(-1.5),
        wanted: 1,
        unwanted: 0,
        distance: 40.0,
        distinct4: Some(0.9),
        below_floor: false,
    }
}

/// A generation that is open, one that a person judged, and one that an objective judged.
fn generations(records: &[Record]) -> Vec<Generation> {
    let settings = SearchSettings {
        dimension: 2,
        population: Some(4),
        ..SearchSettings::default()
    };
    let search = PrefixSearch::new(&common::some_prefix(), "spring", &settings, None).unwrap();
    let ids: Vec<String> = records[2..6].iter().map(|record| record.id.clone()).collect();
    let picked = Generation::picked(search.clone(), ids.clone(), 2);
    let candidates = ids.into_iter().map(|record| Candidate {
        record,
        result: Some(-0.75),
        score: Some(score()),
    });
    let judged = Generation {
        search: picked.next().unwrap(),
        candidates: candidates.collect(),
        objective: Some(Objective {
            text: Some("So it is.".to_owned()),
            by: Closeness::Likelihood,
            wanted: vec!["so".to_owned()],
            unwanted: vec!["no".to_owned()],
            away: true,
            floor: 0.5,
        }),
        budget: Some(40),
    };
    vec![Generation::opened(search), picked, judged]
}

/// A request with everything that it may have.
pub fn learn_request() -> LearnRequest {
    let example = |prompt: &str, target: &str| Example {
        prompt: prompt.to_owned(),
        target: target.to_owned(),
    };
    LearnRequest {
        examples: vec![example("Who?", "The sea."), example("海とは", "命")],
        preserve: vec!["Hello".to_owned()],
        preserve_weight: Some(0.5),
        held_out: vec![example("When?", "In spring.")],
        instruction: Some("Answer briefly.".to_owned()),
        len: 1,
        init: Init::Words("the sea".to_owned()),
        steps: Some(20),
        lr: Some(0.1),
        seed: 7,
        norm_limit: NormLimit::TokenNorms(2.0),
        batch: Some(2),
    }
}

/// A first frame and a last one, with these rows as the best ones.
pub fn frames(rows: &SoftPrefix) -> [LearnFrame; 2] {
    let loss = |total| LearnLoss {
        total,
        likelihood: total,
        divergence: 0.0,
        matched: 3,
        wanted: 6,
        held_out: Some(2.5),
    };
    let frame = |step, total| LearnFrame {
        finish: false,
        step,
        steps: 20,
        loss: loss(total),
        best: BestRows {
            step,
            loss: loss(total),
            rows: Some(encode(rows)),
        },
        undone: 1,
        elapsed_ms: 120.5,
        end: None,
        settings: None,
        references: None,
    };
    let first = LearnFrame {
        settings: Some(softprefix_core::prefix::LearningSettings {
            batch: 2,
            lr: 0.1,
            norms: (0.0, 1.0),
            preserve_weight: 0.5,
        }),
        references: Some(References {
            plain: 3.0,
            instruction: Some(2.0),
        }),
        ..frame(0, 2.0)
    };
    let last = LearnFrame {
        finish: true,
        end: Some(LearnEnd::NotReached),
        ..frame(20, 1.0)
    };
    [first, last]
}
