//! Experiments on the unit, from the plan to the journal: what the workbench does, without its window.

use std::sync::{Arc, Mutex};

use softprefix_core::client::{ConnectOptions, Module};
use softprefix_core::compare::Measure;
use softprefix_core::experiment::{
    Analysis, Budget, Ending, History, Journal, Magnitudes, Plan, Prompt, Proof, Record, Run, RunEnd, RunEvent,
    RunOptions, RunRequest, SearchRequest, Sweep, Threshold, ThresholdSearch, Values,
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
    plan.sweeps[0].lens = vec![1, 4];
    plan.sweeps.push(Sweep {
        kind: PrefixKind::Words {
            text: "the and in".into(),
        },
        lens: vec![2],
        magnitudes: Magnitudes::TokenNorms(Values::List(vec![0.0, 1.0, 4.0])),
        rounding: Rounding::NearestEven,
    });
    plan.settings.max_new_tokens = Some(24);
    plan.settings.max_token_len = Some(400);
    plan
}

async fn request(server: &Server, plan: Plan) -> RunRequest {
    let address = server.address.to_string();
    RunRequest {
        plan,
        module: Module::connect(address, ConnectOptions::default()).await.unwrap(),
        set_up: SetUp::new(ENDLESS, ""),
        words_from: None,
        journal: None,
        resume: None,
        options: RunOptions::default(),
    }
}

/// Runs to the end; the records in the order of the plan.
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
fn a_sweep_is_deterministic_proven_and_the_same_in_a_batch_as_alone() {
    let (server, folder) = (Server::start(), tempfile::tempdir().unwrap());
    let path = folder.path().join("history");
    let ((events, records), (_, one_by_one)) = tokio::runtime::Runtime::new().unwrap().block_on(async {
        let mut together = request(&server, plan()).await;
        together.journal = Some(Arc::new(Mutex::new(Journal::open(&path).unwrap().0)));
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

    let history = History::of(Journal::read(&path).unwrap().0);
    assert_eq!(
        (history.experiments[0].records.len(), history.experiments[0].ending),
        (25, Some(Ending::Complete))
    );
}

#[test]
fn a_threshold_is_found_on_the_unit() {
    let server = Server::start();
    let recipe = PrefixRecipe {
        kind: PrefixKind::Constant,
        len: 1,
        magnitude: Magnitude::TokenNorms(0.0),
        rounding: Rounding::NearestEven,
    };
    let search = SearchRequest {
        recipe,
        search: ThresholdSearch::new(1e-6, 100.0, 12).unwrap(),
        budget: Budget {
            measure: Measure::Indel,
            at_least: 0.999,
        },
    };
    let (events, records) = tokio::runtime::Runtime::new()
        .unwrap()
        .block_on(async { finish(Run::search(request(&server, plan()).await, search).unwrap()).await });
    assert!(records.len() <= 14);
    let found = events.iter().rev().find_map(|event| match event {
        RunEvent::Threshold(found) => Some(*found),
        _ => None,
    });
    assert!(!matches!(found, None | Some(Threshold::Unknown)), "{found:?}");
}
