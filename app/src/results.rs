//! Between the workbench's runs and results files (`compare_results.json`): one case, its baselines and its points.
//!
//! It knows the file's form and no window. Reading measures every text again, so that old files have every measure.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value, json};
use softprefix_core::compare::{EXTRA_VERSION, FileExtra, Measures, Meta, ResultEntry, ResultExtra, ResultsFile};
use softprefix_core::prefix::{Magnitude, PrefixKind, PrefixRecipe, Rounding};
use softprefix_core::protocol::message::object;

use crate::model::{
    Applied, BaselineRun, BuiltPrefix, Case, CaseId, CaseKey, Finish, ModuleFacts, Noise, Origin, Problem, ProblemKind,
    Run, RunId, RunOutcome, Sampling, Snapshot, Timings,
};

/// Program and version, as files name their writer.
pub const WRITTEN_BY: &str = concat!("softprefix ", env!("CARGO_PKG_VERSION"));

/// Name of the first baseline, as existing scripts write it.
pub const BASELINE: &str = "baseline";

/// Writes a case and its runs, small magnitudes first.
///
/// # Errors
/// Where the file cannot be written.
pub fn write(path: &Path, snapshot: &Snapshot) -> Result<(), Problem> {
    file_of(snapshot).write(path).map_err(|error| file_problem(&error))
}

/// Reads a file of ours or of an existing script, and measures it.
///
/// # Errors
/// Where it cannot be read, is no results file, or has no baseline to measure against.
pub fn read(path: &Path) -> Result<Snapshot, Problem> {
    let file = ResultsFile::read(path).map_err(|error| file_problem(&error))?;
    let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
    snapshot_of(&file, &name)
}

fn file_problem(error: &softprefix_core::compare::ResultsError) -> Problem {
    Problem::told(ProblemKind::File, crate::errors::results(error))
}

/// What all cases of a file share.
pub fn meta(key: &CaseKey, facts: Option<&ModuleFacts>, prefix_len: usize, vals: Vec<f64>) -> Meta {
    let (host, port) = match key.module.rsplit_once(':') {
        Some((host, port)) => (host.trim_matches(['[', ']']).to_owned(), port.parse().unwrap_or(0)),
        None if key.module.is_empty() => ("embedded".to_owned(), 0),
        None => (key.module.clone(), 0),
    };
    let ours = facts.is_none_or(|facts| facts.ours);
    Meta {
        host,
        port,
        model: key.model.clone(),
        system_prompt: key.system.clone(),
        user_prompt: key.user.clone(),
        response_format: (if ours { object::STREAM } else { object::TEXT }).to_owned(),
        input_object_for_infer: object::STREAM.to_owned(),
        max_token_len: facts.and_then(|facts| facts.window).unwrap_or(0) as u64,
        prefix_len,
        hidden_size: facts.and_then(|facts| facts.hidden_size).unwrap_or(0),
        vals,
        saved_at_unix: SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0.0, |elapsed| elapsed.as_secs() as f64),
        other: Map::new(),
    }
}

/// Our fields of a file: who wrote it, on what it ran.
pub fn file_extra(key: &CaseKey, facts: Option<&ModuleFacts>) -> FileExtra {
    let mut other = Map::new();
    other.insert("max_tokens".to_owned(), json!(key.max_tokens));
    other.insert(
        "sampling".to_owned(),
        serde_json::to_value(key.sampling).unwrap_or_default(),
    );
    if let Some(facts) = facts {
        let unit = json!({
            "ours": facts.ours,
            "name": facts.unit,
            "backend": facts.backend,
            "model_sha256": facts.model_sha256,
            "weights": facts.weights,
            "version": facts.version,
            "window": facts.window,
            "prefill_window": facts.prefill_window,
        });
        other.insert("unit".to_owned(), unit);
    }
    FileExtra {
        version: EXTRA_VERSION,
        written_by: WRITTEN_BY.to_owned(),
        other,
    }
}

/// A case of a file: a baseline where `prefix` is `None`.
pub fn entry(name: &str, prefix: Option<(&PrefixRecipe, &BuiltPrefix)>, outcome: &RunOutcome) -> ResultEntry {
    let elapsed = outcome.timings.elapsed.unwrap_or_default().as_secs_f64();
    let mut entry = ResultEntry::new(name, outcome.text.as_str(), elapsed);
    let mut extra = ResultExtra {
        tokens: outcome.tokens.clone(),
        finish_reason: finish_name(outcome.finish).map(str::to_owned),
        ttft_sec: outcome.timings.first_token.map(|time| time.as_secs_f64()),
        ..ResultExtra::default()
    };
    if let Some(tokens) = outcome.timings.tokens {
        let usage = json!({ "completion_tokens": tokens, "tokens_per_second": outcome.timings.tokens_per_second });
        extra.usage = Some(usage);
    }
    if let Some((recipe, built)) = prefix {
        entry = entry.with_prefix(built.len, built.hidden_size, built.raw);
        extra.recipe = serde_json::to_value(recipe).ok();
        extra.sha256 = (!built.sha256.is_empty()).then(|| built.sha256.clone());
        extra.token_norms = built.norms;
        extra
            .other
            .insert("acknowledged".to_owned(), Value::Bool(outcome.echoed));
    }
    entry.extra = Some(extra);
    entry
}

/// The name of a case with a prefix, as existing scripts write it: `prefix_val_0.01`.
pub fn entry_name(recipe: &PrefixRecipe, raw: Option<f64>) -> String {
    match (recipe.magnitude, raw) {
        (Magnitude::TokenNorms(norms), _) => format!("prefix_norm_{norms}"),
        (Magnitude::Raw(raw), _) | (Magnitude::Unscaled, Some(raw)) => format!("prefix_val_{raw}"),
        (Magnitude::Unscaled, None) => format!("prefix_{}", recipe.kind.name().replace(' ', "_")),
    }
}

/// A case and its runs in the file's form, small magnitudes first.
pub(crate) fn file_of(snapshot: &Snapshot) -> ResultsFile {
    let Snapshot { case, runs } = snapshot;
    let mut runs: Vec<&Run> = runs.iter().collect();
    runs.sort_by(|a, b| {
        let x = |run: &Run| run.magnitude().unwrap_or(f64::INFINITY);
        a.len.cmp(&b.len).then(x(a).total_cmp(&x(b)))
    });
    let outcome = |text: &Arc<str>, timings: Timings, finish, tokens: &Option<Vec<u32>>, echoed| RunOutcome {
        text: text.to_string(),
        finish,
        timings,
        tokens: tokens.clone(),
        echoed,
    };
    let baselines = case.baseline.iter().chain(&case.repeats).enumerate().map(|(at, run)| {
        let name = if at == 0 {
            BASELINE.to_owned()
        } else {
            format!("{BASELINE}_{}", at + 1)
        };
        entry(
            &name,
            None,
            &outcome(&run.text, run.timings, run.finish, &run.tokens, false),
        )
    });
    let prefixed = runs.iter().map(|run| {
        let built = BuiltPrefix {
            len: run.len,
            hidden_size: case.hidden_size.unwrap_or(0),
            sha256: run.sha256.clone(),
            norm_min: 0.0,
            norm_median: 0.0,
            norm_max: 0.0,
            norms: run.origin.norms,
            raw: run.origin.raw,
        };
        let name = entry_name(&run.origin.recipe, run.origin.raw);
        let echoed = run.applied == Applied::Proven;
        let outcome = outcome(&run.text, run.timings, run.finish, &run.tokens, echoed);
        entry(&name, Some((&run.origin.recipe, &built)), &outcome)
    });
    let results = baselines.chain(prefixed).collect();
    let vals = runs.iter().filter_map(|run| run.origin.raw).collect();
    let prefix_len = runs.first().map_or(0, |run| run.len);
    let facts = case.facts.as_deref();
    let mut meta = meta(&case.key, facts, prefix_len, vals);
    meta.hidden_size = case.hidden_size.unwrap_or(meta.hidden_size);
    ResultsFile {
        meta,
        results,
        extra: Some(file_extra(&case.key, facts)),
        ..ResultsFile::default()
    }
}

/// What a file holds, measured; `name` is what a refusal calls it.
pub(crate) fn snapshot_of(file: &ResultsFile, name: &str) -> Result<Snapshot, Problem> {
    let baseline_at = file.baseline().ok_or_else(|| {
        Problem::new(
            ProblemKind::File,
            format!("{name} has no baseline: no case without a prefix that ended well."),
            "Run the comparison again; without a baseline nothing can be measured.",
        )
        .in_japanese(
            format!("{name} にはベースライン（プレフィックスなしで正常に終わったケース）がありません。"),
            "比較をやり直してください。ベースラインがないと何も測れません。",
        )
    })?;
    let baseline_text: Arc<str> = Arc::from(file.results[baseline_at].out_text.as_str());
    let extra = file.extra.as_ref();
    let other = |key: &str| extra.and_then(|extra| extra.other.get(key)).cloned();
    let max_tokens = other("max_tokens")
        .and_then(|value| value.as_u64())
        .unwrap_or(file.meta.max_token_len);
    let sampling = other("sampling")
        .and_then(|value| serde_json::from_value(value).ok())
        .unwrap_or(Sampling::Greedy);
    let key = CaseKey {
        module: name.to_owned(),
        model: file.meta.model.clone(),
        system: file.meta.system_prompt.clone(),
        user: file.meta.user_prompt.clone(),
        max_tokens: usize::try_from(max_tokens).unwrap_or(usize::MAX).max(1),
        sampling,
    };
    let mut case = Case {
        id: CaseId(0),
        key,
        baseline: Some(baseline_run(&file.results[baseline_at])),
        noise: Noise::Unknown,
        repeats: Vec::new(),
        hidden_size: Some(file.meta.hidden_size).filter(|&hidden_size| hidden_size > 0),
        facts: None,
    };
    let mut runs = Vec::new();
    for (at, entry) in file.results.iter().enumerate() {
        if at == baseline_at || entry.error().is_some() {
            continue;
        }
        if !entry.has_prefix {
            case.repeats.push(baseline_run(entry));
            continue;
        }
        let mut run = prefixed_run(entry, &baseline_text);
        run.id = RunId(at as u64);
        runs.push(run);
    }
    case.noise = noise_of(&baseline_text, &case.repeats);
    Ok(Snapshot { case, runs })
}

fn noise_of(baseline: &str, repeats: &[BaselineRun]) -> Noise {
    let furthest = repeats
        .iter()
        .map(|repeat| Measures::of(baseline, &repeat.text))
        .min_by(|a, b| a.chrf2.total_cmp(&b.chrf2));
    match furthest {
        None => Noise::Unknown,
        Some(_) if repeats.iter().all(|repeat| &*repeat.text == baseline) => Noise::Deterministic,
        Some(measures) => Noise::Floor(Box::new(measures)),
    }
}

fn timings_of(entry: &ResultEntry) -> Timings {
    let extra = entry.extra.as_ref();
    let usage = extra.and_then(|extra| extra.usage.as_ref());
    let seconds = |value: f64| Duration::try_from_secs_f64(value).ok();
    Timings {
        first_token: extra.and_then(|extra| extra.ttft_sec).and_then(seconds),
        elapsed: seconds(entry.elapsed_sec),
        tokens: usage
            .and_then(|usage| usage.get("completion_tokens"))
            .and_then(Value::as_u64)
            .and_then(|tokens| usize::try_from(tokens).ok()),
        tokens_per_second: usage
            .and_then(|usage| usage.get("tokens_per_second"))
            .and_then(Value::as_f64),
    }
}

fn finish_of(entry: &ResultEntry) -> Finish {
    let name = entry.extra.as_ref().and_then(|extra| extra.finish_reason.as_deref());
    name.map_or(Finish::Unknown, finish_named)
}

pub(crate) fn finish_named(name: &str) -> Finish {
    match name {
        "stop" => Finish::Stop,
        "length" => Finish::Length,
        "window" => Finish::Window,
        "stopped" => Finish::Stopped,
        _ => Finish::Unknown,
    }
}

pub(crate) fn finish_name(finish: Finish) -> Option<&'static str> {
    match finish {
        Finish::Stop => Some("stop"),
        Finish::Length => Some("length"),
        Finish::Window => Some("window"),
        Finish::Stopped => Some("stopped"),
        Finish::Unknown => None,
    }
}

fn baseline_run(entry: &ResultEntry) -> BaselineRun {
    BaselineRun {
        text: Arc::from(entry.out_text.as_str()),
        timings: timings_of(entry),
        finish: finish_of(entry),
        tokens: entry.extra.as_ref().and_then(|extra| extra.tokens.clone()),
    }
}

fn prefixed_run(entry: &ResultEntry, baseline: &str) -> Run {
    let extra = entry.extra.as_ref();
    let measures = Measures::of(baseline, &entry.out_text);
    let recipe = extra
        .and_then(|extra| extra.recipe.clone())
        .and_then(|recipe| serde_json::from_value(recipe).ok())
        // What the existing scripts send: a constant, truncated to bf16.
        .unwrap_or_else(|| PrefixRecipe {
            kind: PrefixKind::Constant,
            len: entry.prefix_len.max(1),
            magnitude: Magnitude::Raw(entry.val.unwrap_or(0.0)),
            rounding: Rounding::Truncate,
        });
    let acknowledged = extra
        .and_then(|extra| extra.other.get("acknowledged"))
        .and_then(Value::as_bool)
        .unwrap_or(false);
    Run {
        id: RunId(0),
        case: CaseId(0),
        origin: Origin {
            recipe,
            norms: extra.and_then(|extra| extra.token_norms),
            raw: entry.val,
        },
        len: entry.prefix_len,
        sha256: extra.and_then(|extra| extra.sha256.clone()).unwrap_or_default(),
        text: Arc::from(entry.out_text.as_str()),
        collapsed: measures.repetition.is_collapse(),
        applied: match (acknowledged, measures.indel >= 1.0) {
            (true, _) => Applied::Proven,
            (false, true) => Applied::Unknown,
            (false, false) => Applied::Plausible,
        },
        measures,
        timings: timings_of(entry),
        finish: finish_of(entry),
        tokens: extra.and_then(|extra| extra.tokens.clone()),
    }
}
