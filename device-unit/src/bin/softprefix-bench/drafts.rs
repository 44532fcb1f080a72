//! Measures what drafted tokens save: a task with drafts against one without, over TCP on loopback, with the same inferences alternately.
//! The tokens are checked to be equal. Times are reported by the unit, from the first token to the last.

use std::path::Path;

use anyhow::{Context, ensure};
use serde_json::{Map, Value, json};
use softprefix_core::client::{InferenceRequest, Task};
use softprefix_core::prefix::{Magnitude, PrefixKind, PrefixRecipe};
use softprefix_core::protocol::extension::Usage;
use softprefix_unit::unit::UnitOptions;
use tokio::runtime::Runtime;

use crate::tcp;

const PROMPT: &str = "「春の花を咲かせ」で始まる短い詩を書いてください。";
/// Unrelated prompts.
const OTHERS: [&str; 8] = [
    "Describe the sea in two sentences.",
    "東京から大阪までの行き方を教えてください。",
    "Write a function in Rust that reverses a list.",
    "Pourquoi le ciel est-il bleu ?",
    "What is the difference between a virus and a bacterium?",
    "カレーの作り方を説明してください。",
    "Name five rivers and where they end.",
    "Explain to a child what money is.",
];
/// Factors between two positions of the slider: its small and its large step.
const STEPS: [f64; 2] = [1.02, 1.2];
/// Largest ratio of the time with drafts to that without: where the text is the previous one, at positions of the slider, and where
/// nothing is repeated.
const AIM_PREVIOUS: f64 = 0.45;
const AIM_SLIDER: f64 = 0.7;
const AIM_UNRELATED: f64 = 1.03;
/// Median norm of the embedding rows of Qwen2.5-0.5B, the unit of magnitudes.
const TOKEN_NORM: f64 = 0.515;

/// An inference to measure.
struct InferenceCase {
    prompt: &'static str,
    /// Of a constant prefix of one vector, in token norms.
    magnitude: Option<f64>,
}

impl InferenceCase {
    fn request(&self, hidden_size: usize, tokens: usize) -> anyhow::Result<InferenceRequest> {
        let prefix = self.magnitude.map(|magnitude| {
            let recipe = PrefixRecipe::new(PrefixKind::Constant, 1, Magnitude::TokenNorms(magnitude));
            recipe.build(hidden_size, None, Some(TOKEN_NORM))
        });
        Ok(InferenceRequest::new(self.prompt)
            .prefix(prefix.transpose()?)
            .max_new_tokens(tokens))
    }
}

/// Inferences that are compared as one line of the table.
struct Part {
    what: String,
    /// Largest ratio of the time with drafts to that without.
    aim: f64,
    settings: Map<String, Value>,
    cases: Vec<InferenceCase>,
    /// Number of cases that are run and not counted.
    skipped: usize,
    /// The least times of each case.
    best: Vec<Times>,
}

/// Milliseconds with and without drafts, and numbers of tokens.
#[derive(Clone, Copy)]
struct Times {
    drafted: f64,
    plain: f64,
    tokens: usize,
    tried: usize,
    accepted: usize,
}

impl Part {
    fn new(what: &str, aim: f64, cases: Vec<InferenceCase>) -> Self {
        Self {
            what: what.to_owned(),
            aim,
            settings: Map::new(),
            cases,
            skipped: 0,
            best: Vec::new(),
        }
    }

    /// Adds the times of one round.
    fn add(&mut self, round: Vec<Times>) {
        if self.best.is_empty() {
            self.best.clone_from(&round);
        }
        for (best, now) in self.best.iter_mut().zip(round) {
            best.drafted = best.drafted.min(now.drafted);
            best.plain = best.plain.min(now.plain);
        }
    }

    /// Prints a line of the table. Returns whether its ratio is at most the aim.
    fn print(&self) -> bool {
        let times = &self.best[self.skipped..];
        let sum = |of: fn(&Times) -> f64| times.iter().map(of).sum::<f64>();
        let count = |of: fn(&Times) -> usize| times.iter().map(of).sum::<usize>();
        let ratio = sum(|one| one.drafted) / sum(|one| one.plain);
        println!(
            "| {} | {ratio:.3} | {} | {:.0} ms | {} of {} | {} |",
            self.what,
            self.aim,
            sum(|one| one.plain),
            count(|one| one.accepted),
            count(|one| one.tried),
            count(|one| one.tokens)
        );
        ratio <= self.aim
    }
}

/// Measures and prints. Returns whether every ratio is at most its aim.
///
/// # Errors
/// Errors of loading, listening or an inference, and different tokens of the two tasks.
pub fn measure(path: &Path, threads: Option<usize>, tokens: usize, rounds: usize) -> anyhow::Result<bool> {
    let Value::Object(sampled) = json!({"top_p": 0.95, "temperature": 1.2, "seed": 1}) else {
        return Ok(false);
    };
    let baseline = |prompt| InferenceCase {
        prompt,
        magnitude: None,
    };
    let mut parts = vec![Part::new(
        "the previous run's text",
        AIM_PREVIOUS,
        vec![baseline(PROMPT), baseline(PROMPT)],
    )];
    for step in STEPS {
        let positions = (0..10).map(|position| InferenceCase {
            prompt: PROMPT,
            magnitude: Some(step.powi(position)),
        });
        parts.push(Part::new(
            &format!("eleven positions of the slider, {step} apart"),
            AIM_SLIDER,
            std::iter::once(baseline(PROMPT)).chain(positions).collect(),
        ));
    }
    let unrelated = |what| Part::new(what, AIM_UNRELATED, OTHERS.map(baseline).into());
    parts.push(unrelated("unrelated texts, greedy"));
    parts.push(Part {
        settings: sampled,
        ..unrelated("unrelated texts, sampled")
    });
    // The first text of the first part is only there to be repeated.
    parts[0].skipped = 1;

    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    // One unit, because a second copy of the weights can lie in slower memory than the first.
    let server = tcp::serve(&runtime, path, threads, UnitOptions::default())?;
    println!(
        "{}: {tokens} tokens at most, the best of {rounds} rounds of each inference",
        path.display()
    );
    println!(
        "\n| drafted / plain, after the first token | ratio | aim | plain | accepted of drafted | tokens |\n|---|---|---|---|---|---|"
    );
    let mut met = true;
    for part in &mut parts {
        for _ in 0..rounds {
            // New tasks, so that drafts come from the texts of this round only.
            let task = |drafts| {
                server.unit.set_drafts(drafts);
                server.set_up(&runtime, part.settings.clone())
            };
            let (drafting, plain) = (task(true)?, task(false)?);
            part.add(alternate(&runtime, &drafting, &plain, &part.cases, tokens)?);
            runtime.block_on(async {
                drafting.exit().await?;
                plain.exit().await
            })?;
        }
        met &= part.print();
    }
    runtime.shutdown_timeout(std::time::Duration::from_secs(2));
    Ok(met)
}

/// Runs each inference in both tasks alternately.
fn alternate(
    runtime: &Runtime,
    drafting: &Task,
    plain: &Task,
    asked: &[InferenceCase],
    tokens: usize,
) -> anyhow::Result<Vec<Times>> {
    let hidden_size = drafting
        .support()
        .context("the unit does not describe itself")?
        .hidden_size;
    let run = |task: &Task, asked: &InferenceCase| -> anyhow::Result<Usage> {
        let request = asked.request(hidden_size, tokens)?;
        let outcome = runtime.block_on(async { task.infer(request).outcome().await })?;
        outcome.usage.context("the unit reports no times")
    };
    let mut times = Vec::new();
    for (number, asked) in asked.iter().enumerate() {
        let (with, without) = if number % 2 == 0 {
            let with = run(drafting, asked)?;
            (with, run(plain, asked)?)
        } else {
            let without = run(plain, asked)?;
            (run(drafting, asked)?, without)
        };
        ensure!(
            with.tokens == without.tokens,
            "different tokens with and without drafts"
        );
        times.push(Times {
            drafted: with.decode_ms,
            plain: without.decode_ms,
            tokens: with.completion_tokens,
            tried: with.drafted,
            accepted: with.accepted,
        });
    }
    Ok(times)
}
