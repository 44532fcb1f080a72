//! `softprefix search`: runs prefixes around a first one, and writes the best so far to a file whenever there is a better one. Each run is a
//! record of an experiment, so that it can be opened in the window and run again.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde_json::{Value, json};
use softprefix_core::experiment::{
    Magnitudes, ModuleFacts, Plan, PrefixSearchRequest, Record, RunEnd, RunOptions, Sweep, Values,
};
use softprefix_core::prefix::{EmbeddingRows, FoundBy, Origin, PrefixKind, PrefixRecipe, SoftPrefix, files};
use softprefix_core::protocol::learn::{DEFAULT_ROWS, NormLimit};
use softprefix_core::search::{Closeness, Method, Objective, PrefixSearch, Score, SearchSettings};

use super::args::{PromptArgs, TargetArgs};
use super::learn::norm_limit;
use super::prefix::{FirstPrefixArgs, file_failure};
use super::running::{Store, Terminal, exit_of, interrupted};
use super::shell::{Failure, above_zero, at_least_one, name_of, print, writable};
use crate::errors;
use crate::model::beginning;
use crate::places;
use crate::session::Session;
use crate::start::Exit;

/// Number of rows of the first prefix if neither the arguments nor a file determine it.
const ROWS: usize = 4;
/// Maximum number of characters of an output that are printed.
const SHOWN: usize = 100;

#[derive(Debug, Args)]
#[command(
    mut_arg("module", |arg| arg.help("Where to run: `embedded`, or HOST or HOST:PORT of a StackFlow module, also of a stock one")),
    mut_arg("max_tokens", |arg| arg.default_value("64"))
)]
pub struct SearchArgs {
    #[command(flatten)]
    at: TargetArgs,
    #[command(flatten)]
    prompt: PromptArgs,
    /// A text to come close to. Where no first prefix is given and the unit scores texts, the search starts from the rows of its tokens.
    #[arg(long, value_name = "TEXT")]
    text: Option<String>,
    /// How close it is: how likely the text is with the prefix (mean of ln p), or the output's chrF2 with it [default: likelihood where the
    /// unit scores texts].
    #[arg(long, value_enum, requires = "text")]
    by: Option<ByArg>,
    /// A word that is wanted in the output; may be given several times.
    #[arg(long = "word", value_name = "WORD")]
    wanted: Vec<String>,
    /// A word that is not wanted in the output; may be given several times.
    #[arg(long = "without", value_name = "WORD")]
    unwanted: Vec<String>,
    /// Come far from the output without a prefix.
    #[arg(long)]
    away: bool,
    /// Least share of distinct 4-grams: an output below it, and below the baseline's own, ranks below all others.
    #[arg(long, value_name = "X", default_value_t = Objective::FLOOR)]
    floor: f64,
    /// Runs of candidates; the baseline is one more.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    budget: u32,
    #[command(flatten)]
    first: FirstPrefixArgs,
    /// Dimensions of the random subspace that is searched.
    #[arg(long, value_name = "N", default_value_t = SearchSettings::default().dimension, value_parser = at_least_one)]
    dimension: usize,
    /// Candidates of a generation [default: 4 + 3 ln(dimensions)].
    #[arg(long, value_name = "N")]
    population: Option<usize>,
    /// How far from the first prefix the first candidates lie, in token norms.
    #[arg(long, value_name = "X", default_value_t = SearchSettings::default().spread, allow_negative_numbers = true, value_parser = above_zero)]
    spread: f64,
    /// Seed of the subspace and of the candidates.
    #[arg(long, value_name = "SEED", default_value_t = 0)]
    search_seed: u64,
    /// Longest row, in median norms of the vocabulary, or `off` [default: rows stay between the vocabulary's 1st and 99th percentile].
    #[arg(long, value_name = "X", value_parser = norm_limit)]
    norm_limit: Option<NormLimit>,
    /// How candidates are proposed: `random` learns nothing from results, to compare with.
    #[arg(long, value_enum, default_value_t = MethodArg::CmaEs)]
    method: MethodArg,
    /// The file of the best rows so far.
    #[arg(long, value_name = "FILE.safetensors")]
    out: PathBuf,
    /// A journal of your own for the runs, instead of the history that the window shows.
    #[arg(long, value_name = "FILE")]
    journal: Option<PathBuf>,
    /// Search on a module that confirms no prefix even where a large one leaves its text as it was.
    #[arg(long)]
    anyway: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ByArg {
    Likelihood,
    Chrf2,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum MethodArg {
    CmaEs,
    Random,
}

impl SearchArgs {
    fn objective(&self) -> Result<Objective, Failure> {
        let objective = Objective {
            text: self.text.clone(),
            by: Closeness::Chrf2,
            wanted: self.wanted.clone(),
            unwanted: self.unwanted.clone(),
            away: self.away,
            floor: self.floor,
        };
        let checked = objective.check().map_err(|error| {
            let options = "The options are --text, --word, --without, --away and --floor.";
            Failure::arguments(format!("{} {options}", errors::sentence(&error.to_string())))
        });
        checked.map(|()| objective)
    }

    fn settings(&self) -> SearchSettings {
        SearchSettings {
            dimension: self.dimension,
            population: self.population,
            spread: self.spread,
            seed: self.search_seed,
            norm_limit: self.norm_limit.unwrap_or_default(),
            method: match self.method {
                MethodArg::CmaEs => Method::CmaEs,
                MethodArg::Random => Method::Random,
            },
        }
    }

    /// The baseline that candidates are compared with.
    fn plan(&self) -> Result<Plan, Failure> {
        let none = Sweep {
            kind: PrefixKind::Constant,
            lengths: Vec::new(),
            magnitudes: Magnitudes::Raw(Values::List(Vec::new())),
            rounding: self.first.prefix.rounding(),
        };
        let plan = Plan {
            name: name_of(&self.prompt.user),
            sweeps: Vec::new(),
            closing: false,
            settings: self.prompt.settings(),
            ..Plan::new(self.prompt.prompt(), none)
        };
        plan.cases()
            .map_err(|error| Failure::arguments(errors::sentence(&error.to_string())))?;
        Ok(plan)
    }
}

pub fn run(args: SearchArgs) -> Result<Exit, Failure> {
    // Invalid arguments and files are reported before a model is loaded.
    let (objective, plan, first) = (args.objective()?, args.plan()?, args.first.recipe(ROWS)?);
    writable(&args.out)?;
    let store = match &args.journal {
        Some(path) => Store::file(path)?,
        None => Store::library()?,
    };
    let kept = format!(
        "the best rows so far are in {}. Continue from them with --prefix-file.",
        args.out.display()
    );
    Terminal::work(&kept, async |terminal| {
        let Some(session) = terminal.open(args.at.target(), args.at.exit_tasks, &plan).await? else {
            return Ok(Exit::Interrupted);
        };
        let outcome = search(&args, (objective, plan, first), &store, &terminal, &session).await;
        session.close().await;
        outcome
    })
}

async fn search(
    args: &SearchArgs,
    (objective, plan, first): (Objective, Plan, PrefixRecipe),
    store: &Store,
    terminal: &Terminal,
    session: &Session,
) -> Result<Exit, Failure> {
    let facts = session.facts();
    args.first.prefix.store_file(facts.hidden_size())?;
    terminal.print_module(facts);
    let by = match args.by {
        Some(ByArg::Likelihood) => Closeness::Likelihood,
        None if facts.scores && objective.wanted_text().is_some() => Closeness::Likelihood,
        Some(ByArg::Chrf2) | None => Closeness::Chrf2,
    };
    let objective = Objective { by, ..objective };
    // Around random rows every text is about equally likely.
    let text = objective.wanted_text().filter(|_| facts.scores);
    let first = text
        .and_then(|text| args.first.of_words(text, DEFAULT_ROWS))
        .unwrap_or(first);
    let parent = session.build(&first).await?;
    let vocabulary = session.vocabulary().map(AsRef::as_ref);
    let search = PrefixSearch::new(&parent, first.kind.name(), &args.settings(), vocabulary)
        .map_err(|error| Failure::arguments(errors::sentence(&error.to_string())))?;
    // The recipes of all runs name its rows by their digest.
    let put = places::prefix_store().put(&parent);
    put.map_err(|error| Failure::from(errors::prefix_store_problem(&error)))?;
    let mut best = None;
    let mut keep = |record: &Record, score: &Score| {
        let Some(rows) = record.case.recipe.as_ref() else {
            return Ok(());
        };
        let built = rows.build(parent.hidden_size(), Some(&EmbeddingRows::from(&parent)), None);
        let built = built.map_err(|error| Failure::from(session.problem(error)))?;
        let note = note(args, &objective, facts, (record, score), &built);
        files::export_safetensors(&built, &args.out, Some(&note.to_string())).map_err(|error| file_failure(&error))?;
        terminal.print_line(&format!(
            "{}: {}",
            words_of(&objective, score),
            beginning(record.output(), SHOWN)
        ));
        best = Some((built, *score, record.output().to_owned()));
        Ok(())
    };
    let options = RunOptions {
        stop_without_effect: !args.anyway,
        ..RunOptions::default()
    };
    let find = PrefixSearchRequest {
        search,
        objective: objective.clone(),
        budget: args.budget as usize,
    };
    let done = terminal.find(session, (plan, options), store, find, &mut keep).await?;
    terminal.clear();
    let runs = done.records.iter().filter(|record| !record.is_baseline()).count();
    match &best {
        Some((rows, score, output)) => print(&format!(
            "{}: {} rows of {} values, SHA-256 {}\n{} in {runs} runs; with them the model says: {output}\n",
            args.out.display(),
            rows.len(),
            rows.hidden_size(),
            rows.sha256(),
            words_of(&objective, score)
        )),
        None => terminal.print_line("No candidate gave an output, so no rows were written."),
    }
    if terminal.is_interrupted() {
        return Ok(Exit::Interrupted);
    }
    match done.end {
        RunEnd::Interrupted { error } => {
            let (name, out) = (store.name(), args.out.display());
            let resume_hint = format!("The runs are in {name}; continue with --prefix-file {out}.");
            Err(interrupted(&error, &resume_hint))
        }
        end => exit_of(end, best.is_none(), store),
    }
}

/// Returns the note that describes the rows in the file.
fn note(
    args: &SearchArgs,
    objective: &Objective,
    facts: &ModuleFacts,
    (record, score): (&Record, &Score),
    rows: &SoftPrefix,
) -> Value {
    let found = record.found(FoundBy::Objective).map(Box::new).map(Origin::Found);
    let mut note = found.and_then(|found| found.note(rows)).unwrap_or_else(|| json!({}));
    for (key, value) in [
        ("recipe", json!(record.case.recipe)),
        ("objective", json!(objective)),
        ("score", json!(score)),
        ("prompt", json!(record.prompt)),
        ("settings", json!(args.settings())),
        ("model_sha256", json!(facts.identity.model_sha256)),
        ("unit", json!(facts.identity.unit)),
    ] {
        note[key] = value;
    }
    note
}

/// Formats a score with the parts that the objective has.
fn words_of(objective: &Objective, score: &Score) -> String {
    let mut parts = Vec::new();
    if let Some(mean_ln_p) = score.mean_ln_p {
        parts.push(format!("mean ln p {mean_ln_p:.3}"));
    }
    if let Some(similarity) = score.similarity {
        parts.push(format!("chrF2 {similarity:.1}"));
    }
    for (count, words, which) in [
        (score.wanted, &objective.wanted, "wanted"),
        (score.unwanted, &objective.unwanted, "unwanted"),
    ] {
        if !words.is_empty() {
            parts.push(format!("{count} of {} {which} words", words.len()));
        }
    }
    if objective.away {
        parts.push(format!("{:.1} from the baseline", score.distance));
    }
    if score.below_floor {
        parts.push("repeats itself".to_owned());
    }
    format!("score {:.3} ({})", score.total, parts.join(", "))
}
