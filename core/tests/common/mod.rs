//! Records and experiments for tests. It knows no file.

#![allow(dead_code, reason = "each test binary uses its own part")]
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use half::bf16;
use softprefix_core::compare::LikelihoodMeasures;
use softprefix_core::experiment::{
    Answer, Case, CaseOutcome, CaseScores, Experiment, Failure, ModuleIdentity, Plan, PrefixIdentity, Prompt, Record,
    Sweep,
};
use softprefix_core::prefix::{Magnitude, SoftPrefix};
use softprefix_core::protocol::extension::{FinishReason, SoftPrefixEcho, StoredWeights, Usage, WeightRounding};

pub const HIDDEN: usize = 8;
pub const MEDIAN: f64 = 0.5;

pub fn module() -> ModuleIdentity {
    ModuleIdentity {
        address: "127.0.0.1:10001".into(),
        model: "qwen2.5-0.5B-prefill-20e".into(),
        card: serde_json::json!({"mode": "qwen2.5-0.5B-prefill-20e", "type": "llm"}),
        hidden_size: HIDDEN,
        unit: Some("softprefix-unit 0.1.0".into()),
        backend: Some("cpu/scalar".into()),
        model_sha256: Some("ab".repeat(32)),
        weights: vec![StoredWeights {
            count: 12,
            how: WeightRounding::Rounded,
            kind: "Q6_K".into(),
        }],
        version: Some("v1.3".into()),
        template: "Qwen2.5 chat".into(),
        median_norm: Some(MEDIAN),
        window: Some(1024),
        prefill_window: Some(1024),
    }
}

pub fn experiment(id: &str, plan: Plan) -> Experiment {
    Experiment {
        version: softprefix_core::experiment::journal::JOURNAL_VERSION,
        id: id.into(),
        name: format!("experiment {id}"),
        started_unix: 1.8e9,
        plan: Some(plan),
        module: module(),
    }
}

/// The plan of an experiment that has one.
pub fn plan_of(experiment: &Experiment) -> &Plan {
    experiment.plan.as_ref().unwrap()
}

pub fn plan() -> Plan {
    Plan::new(
        Prompt {
            system: "あなたは親切です。".into(),
            user: "自己紹介をしてください。".into(),
        },
        Sweep::script(1),
    )
}

/// A finished case with this text; the unit echoed its prefix.
pub fn record(experiment: &Experiment, case: &Case, text: &str) -> Record {
    let prefix = case
        .recipe
        .as_ref()
        .map(|recipe| recipe.build(HIDDEN, None, Some(MEDIAN)).unwrap());
    let identity = |prefix: &SoftPrefix| PrefixIdentity::of(case.recipe.as_ref().unwrap(), prefix, Some(MEDIAN));
    let tokens: Vec<u32> = text.chars().map(u32::from).collect();
    let answer = Answer {
        echo: prefix.as_ref().map(SoftPrefixEcho::of),
        usage: Some(Usage {
            completion_tokens: tokens.len(),
            decode_ms: 400.0,
            finish_reason: FinishReason::Stop,
            drafted: 0,
            accepted: 0,
            prefill_ms: 50.0,
            prefix_len: prefix.as_ref().map_or(0, SoftPrefix::len),
            prompt_tokens: 7,
            queue_ms: 1.0,
            template_tokens: 20,
            tokens: vec![],
        }),
        tokens: Some(tokens),
        ttft_sec: Some(0.1),
        ..Answer::new(text, FinishReason::Stop, 0.5)
    };
    Record {
        prefix: prefix.as_ref().map(identity),
        started_unix: 1.8e9 + case.index as f64,
        written_by: "softprefix 0.1.0".into(),
        ..Record::new(
            &experiment.id,
            case.clone(),
            plan_of(experiment).prompts[case.prompt].clone(),
            plan_of(experiment).settings.clone(),
            experiment.module.clone(),
            CaseOutcome::Done(answer),
        )
    }
}

/// What a unit might say of a case: the larger the prefix, the farther.
pub fn scores(experiment: &Experiment, case: &Case, baseline: &str) -> CaseScores {
    let size = match case.recipe.as_ref().map(|recipe| recipe.magnitude) {
        Some(Magnitude::Raw(size) | Magnitude::TokenNorms(size)) => size + 1e-3,
        _ => 1.0,
    };
    let places: Vec<[usize; 2]> = baseline.char_indices().map(|(at, c)| [at, at + c.len_utf8()]).collect();
    let kl: Vec<f64> = (0..places.len()).map(|at| size * at as f64 / 10.0).collect();
    let most = kl.iter().copied().fold(0.0, f64::max);
    CaseScores {
        baseline: format!("{}/0", experiment.id),
        measures: LikelihoodMeasures {
            kl_mean: most / 2.0,
            kl_p95: most * 0.95,
            kl_max: most,
            same_top: 0.75,
            perplexity_reference: 1.5,
            perplexity_prefixed: 2.5,
        },
        kl,
        places,
        perplexity: Some(3.25),
    }
}

pub fn failed(experiment: &Experiment, case: &Case, error: &str) -> Record {
    let mut record = record(experiment, case, "");
    record.outcome = CaseOutcome::Failed(Failure {
        error: error.into(),
        cause: None,
        partial_text: "途中".into(),
        elapsed_sec: 60.0,
    });
    record
}

/// A prefix that no recipe is needed for.
pub fn some_prefix() -> SoftPrefix {
    SoftPrefix::from_bf16(HIDDEN, vec![bf16::from_f32(0.25); HIDDEN]).unwrap()
}
