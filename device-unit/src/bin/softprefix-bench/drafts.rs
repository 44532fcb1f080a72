//! Measures what drafted tokens save: a unit with drafts against one without, over TCP on loopback, with the same inferences alternately.
//! The tokens are checked to be equal. Times are reported by the unit, from the first token to the last.

use std::path::Path;

use anyhow::{Context, ensure};
use serde_json::{Map, Value, json};
use softprefix_core::client::{InferenceRequest, Task};
use softprefix_core::prefix::{Magnitude, PrefixKind, PrefixRecipe, SoftPrefix};
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
    prefix: Option<SoftPrefix>,
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

/// Measures and prints. Returns whether every ratio is at most its aim.
///
/// # Errors
/// Errors of loading, listening or an inference, and different tokens of the two units.
pub fn measure(path: &Path, threads: Option<usize>, tokens: usize, rounds: usize) -> anyhow::Result<bool> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let unit = |drafts| {
        let options = UnitOptions {
            drafts,
            ..UnitOptions::default()
        };
        tcp::serve(&runtime, path, threads, options)
    };
    let (name, plain) = unit(false)?;
    let (_, drafting) = unit(true)?;
    let greedy = Map::new();
    let Value::Object(sampled) = json!({"top_p": 0.95, "temperature": 1.2, "seed": 1}) else {
        return Ok(false);
    };
    let constant = |magnitude: f64, hidden_size: usize| {
        let recipe = PrefixRecipe::new(PrefixKind::Constant, 1, Magnitude::TokenNorms(magnitude));
        recipe.build(hidden_size, None, Some(TOKEN_NORM))
    };

    println!(
        "{}: {tokens} tokens at most, the best of {rounds} rounds of each inference",
        path.display()
    );
    println!(
        "\n| drafted / plain, after the first token | ratio | aim | plain | accepted of drafted | tokens |\n|---|---|---|---|---|---|"
    );
    let mut met = true;
    let mut part = |what: &str,
                    aim: f64,
                    settings: &Map<String, Value>,
                    asked: &dyn Fn(usize) -> anyhow::Result<Vec<InferenceCase>>,
                    skipped: usize| {
        let mut best: Vec<Times> = Vec::new();
        for _ in 0..rounds {
            // New tasks, so that drafts come from the texts of this round only.
            let task = |address: &str| tcp::set_up(&runtime, address, &name, settings.clone());
            let (drafting, plain) = (task(&drafting)?, task(&plain)?);
            let hidden_size = drafting
                .support()
                .context("the unit does not describe itself")?
                .hidden_size;
            let times = alternate(&runtime, &drafting, &plain, &asked(hidden_size)?, tokens)?;
            if best.is_empty() {
                best.clone_from(&times);
            }
            for (best, now) in best.iter_mut().zip(times) {
                best.drafted = best.drafted.min(now.drafted);
                best.plain = best.plain.min(now.plain);
            }
            runtime.block_on(async {
                drafting.exit().await?;
                plain.exit().await
            })?;
        }
        met &= print(what, aim, &best[skipped..]);
        anyhow::Ok(())
    };
    let baseline = |prompt| InferenceCase { prompt, prefix: None };
    part(
        "the previous run's text",
        AIM_PREVIOUS,
        &greedy,
        &|_| Ok(vec![baseline(PROMPT), baseline(PROMPT)]),
        1,
    )?;
    for step in STEPS {
        let slider = |hidden_size| {
            let mut asked = vec![baseline(PROMPT)];
            for position in 0..10 {
                let prefix = Some(constant(step.powi(position), hidden_size)?);
                asked.push(InferenceCase { prompt: PROMPT, prefix });
            }
            Ok(asked)
        };
        part(
            &format!("eleven positions of the slider, {step} apart"),
            AIM_SLIDER,
            &greedy,
            &slider,
            0,
        )?;
    }
    part(
        "unrelated texts, greedy",
        AIM_UNRELATED,
        &greedy,
        &|_| Ok(OTHERS.map(baseline).into()),
        0,
    )?;
    part(
        "unrelated texts, sampled",
        AIM_UNRELATED,
        &sampled,
        &|_| Ok(OTHERS.map(baseline).into()),
        0,
    )?;
    runtime.shutdown_timeout(std::time::Duration::from_secs(2));
    Ok(met)
}

/// Runs each inference on both units alternately.
fn alternate(
    runtime: &Runtime,
    drafting: &Task,
    plain: &Task,
    asked: &[InferenceCase],
    tokens: usize,
) -> anyhow::Result<Vec<Times>> {
    let run = |task: &Task, asked: &InferenceCase| -> anyhow::Result<Usage> {
        let request = InferenceRequest::new(asked.prompt)
            .prefix(asked.prefix.clone())
            .max_new_tokens(tokens);
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
        ensure!(with.tokens == without.tokens, "the two units gave different tokens");
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

/// Prints a line. Returns whether its ratio is at most `aim`.
fn print(what: &str, aim: f64, times: &[Times]) -> bool {
    let sum = |of: fn(&Times) -> f64| times.iter().map(of).sum::<f64>();
    let count = |of: fn(&Times) -> usize| times.iter().map(of).sum::<usize>();
    let ratio = sum(|one| one.drafted) / sum(|one| one.plain);
    println!(
        "| {what} | {ratio:.3} | {aim} | {:.0} ms | {} of {} | {} |",
        sum(|one| one.plain),
        count(|one| one.accepted),
        count(|one| one.tried),
        count(|one| one.tokens)
    );
    ratio <= aim
}
