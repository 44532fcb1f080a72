//! Measures the overhead of TCP: a sweep of eleven cases through a unit on a loopback port, compared with the engine's own batch of the
//! same cases, and the time from a live request to its first text.
//!
//! The tokens of both are checked to be equal. The two alternate in one process, so that other load on the machine affects them equally.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use half::bf16;
use serde_json::{Map, Value};
use softprefix_core::client::{ConnectOptions, InferenceRequest, Module, Outcome, Task};
use softprefix_core::prefix::{Magnitude, PrefixKind, PrefixRecipe, SoftPrefix, inject};
use softprefix_core::protocol::extension::{FinishReason, Priority};
use softprefix_core::protocol::message::SetUp;
use softprefix_unit::engine::cpu::CpuOptions;
use softprefix_unit::engine::sampling::greedy;
use softprefix_unit::engine::{Logits, SequenceId, SequenceStep};
use softprefix_unit::listen;
use softprefix_unit::model::{LoadedModel, ModelSource};
use softprefix_unit::models::{ModelStore, Places};
use softprefix_unit::tokenizer::Special;
use softprefix_unit::unit::{Unit, UnitOptions};
use tokio::runtime::Runtime;

const SYSTEM: &str = "You are a helpful assistant";
const PROMPT: &str = "Describe the sea in two sentences.";
/// Raw values of the sweep's prefixes; the baseline comes before them.
const VALUES: [f64; 10] = [0.0, 1e-4, 1e-3, 5e-3, 1e-2, 2e-2, 3e-2, 5e-2, 1e-1, 2e-1];
/// Tokens of the live prompt, without the template.
const LIVE_PROMPT: usize = 40;

/// The measurements of one round.
struct Round {
    sweep: Duration,
    batch: Duration,
    first_text: Duration,
}

/// Measures and prints.
///
/// # Errors
/// Errors of loading, listening or an inference, and different tokens of unit and engine.
pub fn measure(path: &Path, threads: Option<usize>, tokens: usize, rounds: usize) -> anyhow::Result<()> {
    let (name, store) = store(path, threads)?;
    let mut own = store.load(&name, &Map::new(), &|_, _| {})?;
    println!("{} on {}", path.display(), own.engine.info().backend);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    // Without drafts, because the engine's own batch gives one token per step.
    let options = UnitOptions {
        drafts: false,
        ..UnitOptions::default()
    };
    let server = serve(&runtime, path, threads, options)?;
    let task = server.set_up(&runtime, Map::new())?;
    let prefixes = prefixes(own.engine.info().hidden_size)?;
    let mut measured = Vec::new();
    // One more round as a warm-up.
    for round in 0..=rounds {
        let start = Instant::now();
        let outcomes = runtime.block_on(sweep(&task, &prefixes, tokens))?;
        let sweep = start.elapsed();
        let start = Instant::now();
        let texts = batch(&mut own, &prefixes, &outcomes)?;
        let batch = start.elapsed();
        for (text, outcome) in texts.iter().zip(&outcomes) {
            ensure!(
                outcome.tokens.as_ref() == Some(text),
                "the engine and the unit gave different tokens"
            );
        }
        let prompt = live_prompt(&own, round)?;
        let request = InferenceRequest::new(prompt)
            .prefix(prefixes[5].clone())
            .max_new_tokens(8);
        let outcome = runtime.block_on(async { task.infer(request).outcome().await })?;
        let first_text = outcome.time_to_first_token.context("the unit reports no times")?;
        if round > 0 {
            println!(
                "round {round}: sweep {:.3} s, batch {:.3} s, ratio {:.3}; first text {:.0} ms",
                sweep.as_secs_f64(),
                batch.as_secs_f64(),
                sweep.as_secs_f64() / batch.as_secs_f64(),
                first_text.as_secs_f64() * 1e3
            );
            measured.push(Round {
                sweep,
                batch,
                first_text,
            });
        }
    }
    print(&measured, tokens);
    runtime.block_on(task.exit())?;
    runtime.shutdown_timeout(Duration::from_secs(2));
    Ok(())
}

/// Returns a store with the model at `path`, and the model's name in it.
fn store(path: &Path, threads: Option<usize>) -> anyhow::Result<(String, ModelStore)> {
    let path = std::fs::canonicalize(path).with_context(|| format!("{} cannot be found", path.display()))?;
    let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let options = CpuOptions {
        threads,
        ..CpuOptions::default()
    };
    Ok((
        name,
        ModelStore::new(Places::from_env().with_named(path)).with_engine(options),
    ))
}

/// Starts a unit with the model at `path` on a loopback port. Returns the model's name and the address.
///
/// # Errors
/// Fails if the file cannot be read or no port is free.
pub fn serve(runtime: &Runtime, path: &Path, threads: Option<usize>, options: UnitOptions) -> anyhow::Result<Server> {
    let (model, store) = store(path, threads)?;
    let unit = Arc::new(Unit::new(Arc::new(store), options));
    let listener = runtime.block_on(listen::bind(([127, 0, 0, 1], 0).into(), false))?;
    let address = listener.local_addr()?.to_string();
    runtime.spawn(listen::serve(listener, Arc::clone(&unit), std::future::pending()));
    Ok(Server { unit, model, address })
}

/// A unit that listens on loopback.
pub struct Server {
    pub unit: Arc<Unit>,
    model: String,
    address: String,
}

impl Server {
    /// Sets up a task through a connection of its own.
    ///
    /// # Errors
    /// The unit's error.
    pub fn set_up(&self, runtime: &Runtime, settings: Map<String, Value>) -> anyhow::Result<Task> {
        runtime.block_on(async {
            let module = Module::connect(&self.address, ConnectOptions::default()).await?;
            let mut set_up = SetUp::new(&self.model, SYSTEM);
            set_up.max_token_len = Some(1024);
            set_up.settings = settings;
            Ok(module.set_up(&set_up).await?)
        })
    }
}

fn print(rounds: &[Round], tokens: usize) {
    let best = |of: fn(&Round) -> Duration| rounds.iter().map(of).min().unwrap_or_default().as_secs_f64();
    let mut ratios: Vec<f64> = rounds
        .iter()
        .map(|round| round.sweep.as_secs_f64() / round.batch.as_secs_f64())
        .collect();
    ratios.sort_by(f64::total_cmp);
    let (sweep, batch) = (best(|round| round.sweep), best(|round| round.batch));
    println!(
        "\n| 11 cases of {tokens} tokens at most | best |\n|---|---|\n\
         | the engine's own batch | {batch:.3} s |\n\
         | the sweep over TCP | {sweep:.3} s |\n\
         | ratio of the best | {:.3} |\n\
         | ratio, median of the rounds | {:.3} |\n\
         | live run of {LIVE_PROMPT} tokens and the template: request to first text | {:.0} ms |",
        sweep / batch,
        ratios[ratios.len() / 2],
        best(|round| round.first_text) * 1e3
    );
}

/// The baseline and ten constant prefixes of one row.
fn prefixes(hidden_size: usize) -> anyhow::Result<Vec<Option<SoftPrefix>>> {
    let mut prefixes = vec![None];
    for value in VALUES {
        let recipe = PrefixRecipe::new(PrefixKind::Constant, 1, Magnitude::Raw(value));
        prefixes.push(Some(recipe.build(hidden_size, None, None)?));
    }
    Ok(prefixes)
}

/// Sends all cases at once, as a sweep does.
async fn sweep(task: &Task, prefixes: &[Option<SoftPrefix>], tokens: usize) -> anyhow::Result<Vec<Outcome>> {
    let running: Vec<_> = prefixes
        .iter()
        .map(|prefix| {
            let request = InferenceRequest::new(PROMPT)
                .prefix(prefix.clone())
                .max_new_tokens(tokens)
                .priority(Priority::Batch);
            task.infer(request)
        })
        .collect();
    let mut outcomes = Vec::new();
    for inference in running {
        outcomes.push(inference.outcome().await?);
    }
    Ok(outcomes)
}

/// Runs the same cases on the engine in one batch, which a case leaves when it ends. The number of tokens of each is given, including a
/// stop token; returns them without it.
fn batch(
    model: &mut LoadedModel,
    prefixes: &[Option<SoftPrefix>],
    outcomes: &[Outcome],
) -> anyhow::Result<Vec<Vec<u32>>> {
    struct Case {
        sequence: SequenceId,
        rows: Vec<bf16>,
        tokens: Vec<u32>,
        steps: usize,
    }
    let text = model.template.render(SYSTEM, PROMPT)?;
    let prompt = model
        .engine
        .embeddings()
        .rows(&model.tokenizer.encode(&text, Special::Parse)?)?;
    let embeddings = model.engine.embeddings();
    let hidden_size = model.engine.info().hidden_size;
    let mut cases = Vec::new();
    for (prefix, outcome) in prefixes.iter().zip(outcomes) {
        let given = outcome.tokens.as_ref().context("the unit reports no tokens")?.len();
        let rows = inject(prefix.as_ref(), prompt.clone());
        let steps = given + usize::from(outcome.finish_reason == FinishReason::Stop);
        cases.push(Case {
            sequence: model.engine.open(rows.len() / hidden_size + steps)?,
            rows,
            tokens: Vec::new(),
            steps,
        });
    }
    let stop = AtomicBool::new(false);
    while cases.iter().any(|case| case.tokens.len() < case.steps) {
        let mut running: Vec<&mut Case> = cases.iter_mut().filter(|case| case.tokens.len() < case.steps).collect();
        let mut steps: Vec<SequenceStep<'_>> = running
            .iter()
            .map(|case| SequenceStep {
                sequence: case.sequence,
                rows: &case.rows,
                logits: Logits::Last,
                out: Vec::new(),
                stop: &stop,
            })
            .collect();
        model.engine.forward(&mut steps)?;
        let logits: Vec<Vec<f32>> = steps.into_iter().map(|step| step.out).collect();
        for (case, logits) in running.iter_mut().zip(logits) {
            let token = greedy(&logits).context("the engine gave no logits")?;
            case.tokens.push(token);
            case.rows.resize(hidden_size, bf16::ZERO);
            embeddings.row(token, &mut case.rows)?;
            if case.tokens.len() == case.steps {
                model.engine.close(case.sequence);
            }
        }
    }
    let without_the_end = |(case, outcome): (Case, &Outcome)| {
        let given = outcome.tokens.as_ref().map_or(0, Vec::len);
        case.tokens[..given].to_vec()
    };
    Ok(cases.into_iter().zip(outcomes).map(without_the_end).collect())
}

/// Returns a text of [`LIVE_PROMPT`] tokens, a different one in each round.
fn live_prompt(model: &LoadedModel, round: usize) -> anyhow::Result<String> {
    const WORDS: [&str; 7] = ["the", "sea", "shore", "wind", "ship", "light", "and"];
    let mut text = String::from("Say");
    for at in 0.. {
        let longer = format!("{text} {}", WORDS[(at * 3 + round) % WORDS.len()]);
        if model.tokenizer.encode(&longer, Special::Parse)?.len() > LIVE_PROMPT {
            break;
        }
        text = longer;
    }
    Ok(text)
}
