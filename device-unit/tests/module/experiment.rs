//! Experiments on the unit, from the plan to the journal, like in the workbench without its window.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use softprefix_core::client::{ConnectOptions, Module, ScoreRequest, ScoredText};
use softprefix_core::compare::{LikelihoodMeasures, Measure};
use softprefix_core::experiment::session::OpenRequest;
use softprefix_core::experiment::{
    Analysis, CaseScores, Ending, Entry, Journal, Magnitudes, Plan, Prompt, Proof, Record, Run, RunEnd, RunEvent,
    RunOptions, RunRequest, SaveTo, Session, SimilarityLimit, Sweep, ThresholdRequest, ThresholdSearch, Values,
    experiments,
};
use softprefix_core::prefix::{Magnitude, PrefixKind, PrefixRecipe, Rounding};
use softprefix_core::protocol::SetUp;
use softprefix_core::protocol::extension::FinishReason;

use crate::common::{ENDLESS, Server};

fn plan() -> Plan {
    let mut plan = Plan::new(
        Prompt {
            system: "You are terse.".into(),
            user: "hello there".into(),
        },
        Sweep::script(1),
    );
    plan.sweeps[0].lengths = vec![1, 4];
    plan.sweeps.push(Sweep {
        kind: PrefixKind::Words {
            text: "the and in".into(),
        },
        lengths: vec![2],
        magnitudes: Magnitudes::TokenNorms(Values::List(vec![0.0, 1.0, 4.0])),
        rounding: Rounding::NearestEven,
    });
    plan.settings.max_new_tokens = Some(24);
    plan.settings.max_token_len = Some(400);
    plan
}

async fn request(server: &Server, plan: Plan) -> RunRequest {
    let open = OpenRequest {
        address: server.address.to_string(),
        name: None,
        model: Some(ENDLESS.to_owned()),
        system: plan.prompts[0].system.clone(),
        settings: plan.settings.clone(),
        limits: ConnectOptions::default(),
        prefix_store: None,
    };
    let session = Session::open(open, |_| ()).await.unwrap();
    // Each run sets up its own task. A killed run does not end its task.
    session.exit_current_task().await;
    RunRequest {
        plan,
        session: Arc::new(session),
        save_to: SaveTo::Nowhere,
        resume: None,
        options: RunOptions::default(),
    }
}

fn kept_at(path: &Path) -> SaveTo {
    SaveTo::Journal(Arc::new(Mutex::new(Journal::open(path).unwrap().0)))
}

/// Runs to the end; returns the records in the order of the plan.
async fn finish(mut run: Run) -> (Vec<RunEvent>, Vec<Record>) {
    let (mut events, mut records) = (Vec::new(), Vec::new());
    loop {
        match run.next().await.unwrap() {
            RunEvent::Ended(end) => {
                assert_eq!(end, RunEnd::Complete);
                records.sort_by_key(|record: &Record| record.case.index);
                return (events, records);
            }
            RunEvent::CaseFinished(record) => records.push(*record),
            event => events.push(event),
        }
    }
}

#[test]
fn a_sweep_is_deterministic_verified_and_the_same_in_a_batch_as_alone() {
    let (server, folder) = (Server::start(), tempfile::tempdir().unwrap());
    let path = folder.path().join("history");
    let ((events, records), (_, one_by_one)) = tokio::runtime::Runtime::new().unwrap().block_on(async {
        let mut together = request(&server, plan()).await;
        together.save_to = kept_at(&path);
        let together = finish(Run::start(together).unwrap()).await;
        let mut alone = request(&server, plan()).await;
        alone.options.at_once = Some(1);
        (together, finish(Run::start(alone).unwrap()).await)
    });

    assert_eq!(records.len(), 2 + 20 + 3);
    for (a, b) in records.iter().zip(&one_by_one) {
        assert_eq!(a.error(), None, "{}", a.case.name);
        assert_eq!((a.tokens(), a.text()), (b.tokens(), b.text()), "{}", a.case.name);
        assert_eq!(a.answer().unwrap().finish_reason, FinishReason::Length);
    }
    let analysis = Analysis::of(&records);
    let group = &analysis.groups[0];
    assert!(group.is_deterministic());
    assert_eq!(group.proof(), Proof::Echoed);
    assert_eq!(group.lines().len(), 3);
    let most = events.iter().filter_map(|event| match event {
        RunEvent::Progress(progress) => Some(progress.running),
        _ => None,
    });
    assert!(most.max().unwrap() > 1, "the unit takes more than one at once");
    assert!(
        events.iter().any(|event| matches!(event, RunEvent::Text { .. })),
        "the texts stream"
    );
    assert!(
        records[1]
            .module
            .unit
            .as_deref()
            .unwrap()
            .starts_with("softprefix-unit ")
    );

    let history = experiments(Journal::read(&path).unwrap().0);
    assert_eq!(
        (history[0].records.len(), history[0].ending),
        (25, Some(Ending::Complete))
    );
}

#[test]
fn a_threshold_is_found_on_the_unit() {
    let server = Server::start();
    let recipe = PrefixRecipe::new(PrefixKind::Constant, 1, Magnitude::TokenNorms(0.0));
    let search = ThresholdRequest {
        recipe,
        search: ThresholdSearch::new(1e-6, 100.0, 12).unwrap(),
        limit: SimilarityLimit {
            measure: Measure::Indel,
            minimum: 0.999,
        },
        known_records: Vec::new(),
    };
    let (events, records) = tokio::runtime::Runtime::new()
        .unwrap()
        .block_on(async { finish(Run::search_threshold(request(&server, plan()).await, search).unwrap()).await });
    assert!(records.len() <= 14);
    let found = events.iter().rev().find_map(|event| match event {
        RunEvent::Threshold(found) => Some(found.clone()),
        _ => None,
    });
    assert!(found.as_ref().is_some_and(|found| found.measured >= 5), "{found:?}");
}

fn scored(plan: Plan) -> Plan {
    Plan { scored: true, ..plan }
}

#[test]
fn each_case_of_a_sweep_is_scored_and_the_scores_are_kept_with_its_record() {
    let (server, folder) = (Server::start(), tempfile::tempdir().unwrap());
    let path = folder.path().join("history");
    let (events, records, direct) = tokio::runtime::Runtime::new().unwrap().block_on(async {
        let mut request = request(&server, scored(plan())).await;
        request.save_to = kept_at(&path);
        let (events, records) = finish(Run::start(request).unwrap()).await;
        // The largest P of the sweep, requested directly.
        let case = records
            .iter()
            .find(|record| record.case.name.contains("0.05_P4"))
            .unwrap();
        let module = Module::connect(server.address.to_string(), ConnectOptions::default())
            .await
            .unwrap();
        let task = module.set_up(&SetUp::new(ENDLESS, "You are terse.")).await.unwrap();
        let recipe = case.case.recipe.as_ref().unwrap();
        let prefix = recipe
            .build(case.module.hidden_size, None, case.module.median_norm)
            .unwrap();
        let tokens = |record: &Record| ScoredText::Tokens(record.tokens().unwrap().to_vec());
        let asked = ScoreRequest::new("hello there", tokens(&records[0])).prefixes([prefix]);
        let own = ScoreRequest::new("hello there", tokens(case));
        let direct = (
            case.id.clone(),
            LikelihoodMeasures::of(&task.score(asked).await.unwrap(), 0).unwrap(),
            task.score(own).await.unwrap().reference.perplexity,
        );
        (events, records, direct)
    });
    let reported: HashMap<String, CaseScores> = events
        .into_iter()
        .filter_map(|event| match event {
            RunEvent::Scored { record, scores } => Some((record, *scores)),
            RunEvent::NotScored { error, .. } => panic!("{error}"),
            _ => None,
        })
        .collect();
    let prefixed: Vec<&Record> = records.iter().filter(|record| !record.is_baseline()).collect();
    assert_eq!(
        (reported.len(), prefixed.len()),
        (23, 23),
        "every prefix, and no baseline"
    );
    let (id, measures, perplexity) = direct;
    assert_eq!(
        (reported[&id].measures, reported[&id].perplexity),
        (measures, Some(perplexity))
    );

    let history = experiments(Journal::read(&path).unwrap().0);
    let saved = &history[0];
    assert!(!saved.is_unscored());
    for record in saved.records.iter().filter(|record| !record.is_baseline()) {
        let scores = record.scores.as_deref().unwrap();
        assert_eq!(scores, &reported[&record.id]);
        assert_eq!(scores.baseline, records[0].id);
        assert_eq!(scores.kl.len(), 24);
        assert_eq!(scores.places.last().unwrap()[1], records[0].text().unwrap().len());
    }
    let analysis = Analysis::of(&saved.records);
    let line = &analysis.groups[0].lines()[0].1;
    let kl: Vec<f64> = line
        .iter()
        .map(|point| Measure::KlMean.value(point.measures.as_ref().unwrap()).unwrap())
        .collect();
    assert!(
        kl[0] > 0.0 && kl[kl.len() - 1] > kl[1],
        "a prefix of zeros is one, and a large one does more: {kl:?}"
    );
}

#[test]
fn where_one_prefix_has_no_room_to_be_scored_the_others_of_its_request_are_scored_alone() {
    let (server, folder) = (Server::start(), tempfile::tempdir().unwrap());
    let path = folder.path().join("history");
    let (events, long) = tokio::runtime::Runtime::new().unwrap().block_on(async {
        let (_, records) = finish(Run::start(request(&server, plan()).await).unwrap()).await;
        let usage = records[0].answer().unwrap().usage.clone().unwrap();
        let mut plan = plan();
        // Beside so many rows there is room for the beginning of an output, and none for all of the baseline's.
        plan.sweeps[1].lengths = vec![2, 400 - usage.template_tokens - usage.prompt_tokens - 4];
        plan.sweeps[1].magnitudes = Magnitudes::TokenNorms(Values::List(vec![1.0]));
        let mut unscored = request(&server, plan.clone()).await;
        unscored.save_to = kept_at(&path);
        let (_, records) = finish(Run::start(unscored).unwrap()).await;
        let len = |record: &&Record| record.case.recipe.as_ref().map(|recipe| recipe.len);
        let long = records.iter().max_by_key(len).unwrap().id.clone();

        // All cases are there when the scoring begins, and so go into one request.
        let (journal, entries, _) = Journal::open(&path).unwrap();
        let saved = experiments(
            entries
                .into_iter()
                .filter(|entry| !matches!(entry, Entry::Ended { .. })),
        )
        .remove(0);
        let mut scoring = request(&server, scored(plan)).await;
        scoring.save_to = SaveTo::Journal(Arc::new(Mutex::new(journal)));
        scoring.resume = Some(saved);
        (finish(Run::start(scoring).unwrap()).await.0, long)
    });
    let reported: Vec<&String> = events
        .iter()
        .filter_map(|event| match event {
            RunEvent::Scored { record, .. } => Some(record),
            _ => None,
        })
        .collect();
    assert_eq!(reported.len(), 21);
    assert!(!reported.contains(&&long));
    let failed: Vec<(usize, String)> = events
        .iter()
        .filter_map(|event| match event {
            RunEvent::NotScored { count, error } => Some((*count, error.to_string())),
            _ => None,
        })
        .collect();
    assert!(
        matches!(&failed[..], [(1, error)] if error.contains("window")),
        "{failed:?}"
    );
}

#[test]
fn a_sweep_killed_before_scoring_is_scored_when_it_resumes() {
    let (server, folder) = (Server::start(), tempfile::tempdir().unwrap());
    let path = folder.path().join("history");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let mut request = request(&server, scored(plan())).await;
        request.save_to = kept_at(&path);
        let mut run = Run::start(request).unwrap();
        let mut finished = 0;
        while finished < 25 {
            finished += usize::from(matches!(run.next().await.unwrap(), RunEvent::CaseFinished(_)));
        }
    });
    drop(runtime);
    let (journal, entries, _) = Journal::open(&path).unwrap();
    // Removes scores that may have been written before the kill.
    let entries = entries
        .into_iter()
        .filter(|entry| !matches!(entry, Entry::Scored { .. }));
    let saved = experiments(entries.filter(|entry| !matches!(entry, Entry::Ended { .. }))).remove(0);
    assert!(saved.is_unscored());
    let (events, records) = tokio::runtime::Runtime::new().unwrap().block_on(async {
        let mut request = request(&server, scored(plan())).await;
        request.save_to = SaveTo::Journal(Arc::new(Mutex::new(journal)));
        request.resume = Some(saved);
        finish(Run::start(request).unwrap()).await
    });
    assert!(records.is_empty(), "no case is run again");
    assert_eq!(
        events
            .iter()
            .filter(|event| matches!(event, RunEvent::Scored { .. }))
            .count(),
        23
    );
    let history = experiments(Journal::read(&path).unwrap().0);
    assert!(!history[0].is_unscored());
    assert_eq!(history[0].ending, Some(Ending::Complete));
}
