//! What a prefix does to the model itself: asked of a real unit over TCP, after the outputs, and given up for them.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use softprefix::messages::Request;
use softprefix::model::{Colouring, KlUnavailable, RunKind};
use softprefix::workbench::{Action, Workbench};
use softprefix_core::client::{ConnectOptions, Module, ScoreRequest, ScoredText};
use softprefix_core::compare::LikelihoodMeasures;
use softprefix_core::experiment::{CaseScores, Point, Record};
use softprefix_core::protocol::SetUp;

use crate::hardship::that_scores_alone;
use crate::support::{Harness, at, points, serve, tiny_model};

fn scored(workbench: &Workbench) -> bool {
    matches!(workbench.scores(), Some(Ok(_)))
}

#[test]
fn after_a_run_the_baselines_output_is_scored_with_and_without_the_prefix() {
    let address = serve(tiny_model());
    let mut harness = Harness::new();
    assert_eq!(harness.workbench.why_not_kl(), Some(KlUnavailable::NotConnected));
    harness.connect(at(address));
    assert_eq!(harness.workbench.why_not_kl(), None);
    harness.apply(Action::SetMagnitude(3.0));
    harness.run();
    harness.until("the scores", scored);
    let scores = harness.workbench.scores().unwrap().unwrap().clone();
    let baseline = harness.workbench.baseline.text.clone();
    assert_eq!(scores.text, baseline);
    assert!(scores.measures.kl_mean > 0.0 && scores.measures.kl_max >= scores.measures.kl_p95);

    // Every token has its place in the text, and five alternatives on both sides.
    let count = scores.scored.tokens.len();
    assert_eq!(scores.ranges.len(), count);
    assert_eq!(scores.ranges.last().unwrap().end, baseline.len());
    let prefixed = scores.prefixed().unwrap();
    assert!(
        scores
            .scored
            .reference
            .top
            .iter()
            .chain(&prefixed.scores.top)
            .all(|top| top.len() == 5)
    );

    // The same as the unit says to anyone who asks.
    let run = harness.current().0.clone();
    let (system, user) = (
        harness.workbench.prompt.system.clone(),
        harness.workbench.prompt.user.clone(),
    );
    let tokens = harness.workbench.tuning.baseline().unwrap().tokens().unwrap().to_vec();
    let (model, hidden) = {
        let facts = harness.workbench.module.facts().unwrap();
        (facts.identity.model.clone(), facts.hidden_size().unwrap())
    };
    let median = harness.workbench.vocabulary.as_ref().unwrap().median;
    let prefix = run
        .prefix
        .as_ref()
        .unwrap()
        .recipe
        .build(hidden, None, Some(median))
        .unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let direct = runtime.block_on(async {
        let module = Module::connect(address.to_string(), ConnectOptions::default())
            .await
            .unwrap();
        let task = module
            .set_up(&SetUp::new(model.as_str(), system.as_str()).greedy())
            .await
            .unwrap();
        let request = ScoreRequest::new(user.as_str(), ScoredText::Tokens(tokens)).prefixes([prefix]);
        let reference = ScoreRequest::new(user.as_str(), ScoredText::Tokens(run.tokens().unwrap().to_vec()));
        let scored = task.score(request).await.unwrap();
        (
            LikelihoodMeasures::of(&scored, 0).unwrap(),
            task.score(reference).await.unwrap().reference.perplexity,
        )
    });
    assert_eq!(scores.measures, direct.0);
    assert_eq!(scores.perplexity, Some(direct.1));
}

#[test]
fn interactive_runs_precede_scoring_and_the_scores_belong_to_the_shown_run() {
    let mut harness = Harness::new();
    harness.connect(at(serve(tiny_model())));
    harness.apply(Action::SetColouring(Colouring::Kl));
    harness.apply(Action::SetMagnitude(1.0));
    harness.run();
    // Whether or not the scoring of the first run has ended by now: a new run gives it up.
    harness.apply(Action::SetMagnitude(9.0));
    harness.run();
    harness.until("the scores of the second run", scored);
    let second = harness.current().0.id.clone();
    let large = harness.workbench.scores().unwrap().unwrap().measures;
    let first = harness.workbench.tuning.points().next().unwrap().0.id.clone();
    assert_ne!(first, second);
    harness.apply(Action::SelectRun(Some(first)));
    harness.until("the scores of the first run", scored);
    assert!(harness.workbench.scores().unwrap().unwrap().measures.kl_mean < large.kl_mean);
    assert_eq!(harness.finished(RunKind::Prefixed).len(), 2);
}

#[test]
fn nothing_is_scored_while_an_output_streams() {
    let mut harness = Harness::new();
    harness.connect(at(serve(tiny_model())));
    harness.run();
    harness.until_noise_is_known();
    harness.until("the scores", scored);
    let workbench = &mut harness.workbench;
    workbench.apply(Action::SetMagnitude(2.0));
    workbench.apply(Action::Run);
    let requests = workbench.take_requests();
    assert!(requests.iter().any(|request| matches!(request, Request::Infer(_))));
    assert!(!requests.iter().any(|request| matches!(request, Request::Score(_))));
    assert!(
        workbench.scores().is_none(),
        "the scores of the run before are not shown as this one's"
    );
}

#[test]
fn where_the_scores_of_several_runs_are_refused_each_is_scored_alone_with_the_same_values() {
    let unit = serve(tiny_model());
    let (alone, refused) = that_scores_alone(unit);
    let scores_at = |address| {
        let mut harness = Harness::new();
        harness.connect(at(address));
        harness.run();
        harness.apply(Action::FillCurve);
        harness.until("the whole curve", |workbench| {
            workbench.curve.progress().is_none() && points(workbench) == 12
        });
        let is_scored = |record: &Record| {
            let has_all = |scores: &CaseScores| scores.perplexity.is_some() || record.output().is_empty();
            record.scores.as_deref().is_some_and(has_all)
        };
        harness.until("all scores", |workbench| {
            workbench.tuning.points().all(|(record, _)| is_scored(record))
        });
        let of = |(record, _): (&Record, &Point)| {
            let scores = record.scores.as_ref().unwrap();
            (
                record.prefix.as_ref().unwrap().sha256.clone(),
                format!("{:?} {:?}", scores.measures, scores.perplexity),
            )
        };
        harness.workbench.tuning.points().map(of).collect::<BTreeMap<_, _>>()
    };
    let together = scores_at(unit);
    assert_eq!(refused.load(Ordering::SeqCst), 0);
    assert_eq!(scores_at(alone), together);
    assert!(refused.load(Ordering::SeqCst) > 0, "they were asked for in one request");
}

#[test]
fn scoring_interrupted_by_a_change_of_module_is_repeated_by_the_next() {
    let mut harness = Harness::new();
    harness.connect(at(serve(tiny_model())));
    harness.run();
    harness.apply(Action::Reconnect);
    harness.until("the scores after the reconnect", |workbench| {
        workbench.module.is_ready() && scored(workbench)
    });
}
