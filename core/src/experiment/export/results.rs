//! The comparison script's results file: written from an experiment's records, and read as an experiment.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::super::journal::{Experiment, JOURNAL_VERSION};
use super::super::plan::{Case, Magnitudes, PLAN_VERSION, Plan, Prompt, Settings, Sweep, Values};
use super::super::rating::Rating;
use super::super::record::{
    Answer, Applied, CaseOutcome, Failure, ModuleIdentity, PrefixIdentity, RECORD_VERSION, Record,
};
use super::ImportError;
use crate::compare::{EXTRA_VERSION, FileExtra, Meta, ResultEntry, ResultExtra, ResultsFile};
use crate::prefix::{Magnitude, PrefixKind, PrefixRecipe, Rounding};
use crate::protocol::Sampling;
use crate::protocol::extension::{FinishReason, SoftPrefixEcho, Usage};

/// The results file of one prompt of an experiment (its place in the plan, from 0): the first baseline that did not fail, then the cases
/// in the order of the plan.
///
/// Failed cases stay in it with their error. The file's `P` is that of the first prefix.
pub fn to_results_file(experiment: &Experiment, records: &[Record], prompt: usize) -> ResultsFile {
    let mut chosen: Vec<&Record> = records.iter().filter(|record| record.case.prompt == prompt).collect();
    chosen.sort_by_key(|record| record.case.index);
    let first_good = chosen
        .iter()
        .position(|record| record.is_baseline() && record.answer().is_some());
    if let Some(at) = first_good {
        let baseline = chosen.remove(at);
        chosen.insert(0, baseline);
    }
    // A session can go on with another module than it began with.
    let module = chosen.first().map_or(&experiment.module, |record| &record.module);
    let (host, port) = match module.address.rsplit_once(':') {
        Some((host, port)) => (host.to_owned(), port.parse().unwrap_or_default()),
        None => (module.address.clone(), 0),
    };
    let planned = experiment.plan.as_ref().and_then(|plan| plan.prompts.get(prompt));
    let words = planned
        .or(chosen.first().map(|record| &record.prompt))
        .cloned()
        .unwrap_or_default();
    let settings = chosen
        .first()
        .map(|record| record.settings.clone())
        .or(experiment.plan.as_ref().map(|plan| plan.settings.clone()))
        .unwrap_or_default();
    // The file holds one prompt.
    let plan = experiment.plan.as_ref().map(|plan| Plan {
        prompts: plan.prompts.get(prompt).cloned().into_iter().collect(),
        ..plan.clone()
    });
    ResultsFile {
        meta: Meta {
            host,
            port,
            model: module.model.clone(),
            system_prompt: words.system,
            user_prompt: words.user,
            response_format: if settings.streaming == Some(true) {
                "llm.utf-8.stream"
            } else {
                "llm.utf-8"
            }
            .to_owned(),
            input_object_for_infer: "llm.utf-8.stream".to_owned(),
            max_token_len: settings
                .max_token_len
                .map_or(module.window.unwrap_or_default() as u64, u64::from),
            prefix_len: chosen
                .iter()
                .find_map(|record| record.prefix.as_ref())
                .map_or(0, |prefix| prefix.len),
            hidden_size: module.hidden_size,
            vals: chosen
                .iter()
                .filter_map(|record| record.prefix.as_ref()?.raw())
                .collect(),
            saved_at_unix: experiment.started_unix.floor(),
            ..Meta::default()
        },
        results: chosen.iter().map(|record| entry(record)).collect(),
        extra: Some(FileExtra {
            version: EXTRA_VERSION,
            written_by: chosen
                .first()
                .map(|record| record.written_by.clone())
                .unwrap_or_default(),
            other: [
                ("name".to_owned(), json!(experiment.name)),
                ("module".to_owned(), json!(module)),
                ("settings".to_owned(), json!(settings)),
                ("plan".to_owned(), json!(plan)),
            ]
            .into_iter()
            .collect(),
        }),
        ..ResultsFile::default()
    }
}

fn entry(record: &Record) -> ResultEntry {
    let mut out = ResultEntry::new(&record.case.name, record.output(), record.elapsed_sec());
    out.hidden_size = record.module.hidden_size;
    if let Some(prefix) = &record.prefix {
        out = out.with_prefix(prefix.len, prefix.hidden_size, prefix.raw());
    }
    let answer = record.answer();
    out.extra = Some(ResultExtra {
        recipe: record.prefix.as_ref().map(|prefix| json!(prefix.recipe)),
        sha256: record.prefix.as_ref().map(|prefix| prefix.sha256.clone()),
        token_norms: record.token_norms(),
        usage: answer
            .and_then(|answer| answer.usage.as_ref())
            .map(|usage| json!(usage)),
        tokens: record.tokens().map(<[u32]>::to_vec),
        finish_reason: answer.and_then(|answer| json!(answer.finish_reason).as_str().map(str::to_owned)),
        ttft_sec: answer.and_then(|answer| answer.ttft_sec),
        error: record.error().map(str::to_owned),
        other: [
            Some(("started_unix".to_owned(), json!(record.started_unix))),
            (record.applied() == Applied::Proven).then(|| ("acknowledged".to_owned(), json!(true))),
            answer.and_then(|answer| Some((ECHO.to_owned(), json!(answer.echo.as_ref()?)))),
            (record.case.repeat > 0 && !record.is_baseline()).then(|| (REPEAT.to_owned(), json!(record.case.repeat))),
            record.scores.as_ref().map(|scores| (SCORES.to_owned(), json!(scores))),
            (!record.rating.is_empty()).then(|| (RATING.to_owned(), json!(record.rating))),
        ]
        .into_iter()
        .flatten()
        .collect(),
    });
    out
}

/// Key of the unit's echo in our fields of a case.
const ECHO: &str = "echo";
/// Key of the repeat's number, from 0, in our fields of a case with a prefix. Baselines are numbered by their order.
const REPEAT: &str = "repeat";
/// Key of the scores in our fields of a case.
const SCORES: &str = "scores";
/// Key of stars and note in our fields of a case.
const RATING: &str = "rating";

/// Converts a results file, ours or the existing script's, to an experiment with the id `id`. What the file does not
/// hold stays empty; a prefix without a recipe is assumed to be the script's: constant, truncated.
///
/// # Errors
/// [`ImportError::TooNew`] where our fields are of a newer version, and [`ImportError::Unreadable`] where one of them is not of its form.
pub fn from_results_file(file: &ResultsFile, id: &str) -> Result<(Experiment, Vec<Record>), ImportError> {
    // The prefixes and errors of its cases are in fields that this version does not read.
    let newer = file.other.get("softprefix").filter(|_| file.extra.is_none());
    if let Some(found) = newer.and_then(|extra| extra.get("version")).and_then(Value::as_u64) {
        return Err(ImportError::TooNew { found });
    }
    let meta = &file.meta;
    let known = file.extra.as_ref().map(|extra| &extra.other);
    let own_field = |key: &str| known.and_then(|other| other.get(key));
    let module = module_of(meta, own_field("module"), own_field("unit"))?;
    let settings = match own_field("settings") {
        Some(value) => read("softprefix.settings", value)?,
        None => settings_of(meta, own_field("max_tokens"), own_field("sampling"))?,
    };
    let prompt = Prompt {
        system: meta.system_prompt.clone(),
        user: meta.user_prompt.clone(),
    };
    let name = own_field("name").and_then(Value::as_str).map(str::to_owned);
    let written_by = file
        .extra
        .as_ref()
        .map(|extra| extra.written_by.clone())
        .unwrap_or_default();
    let mut baselines = 0;
    let mut records = Vec::with_capacity(file.results.len());
    for (index, entry) in file.results.iter().enumerate() {
        let extra = entry.extra.clone().unwrap_or_default();
        let at = |key: &str| format!("results[{index}].softprefix.{key}");
        let recipe = match (entry.has_prefix, &extra.recipe) {
            (false, _) => None,
            (true, Some(recipe)) => Some(read(&at("recipe"), recipe)?),
            (true, None) => Some(PrefixRecipe {
                kind: PrefixKind::Constant,
                len: entry.prefix_len,
                magnitude: Magnitude::Raw(entry.val.unwrap_or_default()),
                rounding: Rounding::Truncate,
            }),
        };
        let repeat = match (&recipe, extra.other.get(REPEAT)) {
            (None, _) => baselines,
            (Some(_), Some(value)) => read(&at(REPEAT), value)?,
            (Some(_), None) => 0,
        };
        baselines += usize::from(recipe.is_none());
        let prefix = recipe
            .clone()
            .map(|recipe| identity_of(entry, recipe, &extra, module.median_norm));
        records.push(Record {
            version: RECORD_VERSION,
            id: format!("{id}/{index}"),
            experiment: id.to_owned(),
            case: Case {
                index,
                name: entry.name.clone(),
                prompt: 0,
                repeat,
                recipe,
            },
            prompt: prompt.clone(),
            settings: settings.clone(),
            module: module.clone(),
            outcome: outcome_of(entry, &extra, prefix.as_ref(), &at)?,
            prefix,
            started_unix: extra
                .other
                .get("started_unix")
                .and_then(Value::as_f64)
                .unwrap_or(meta.saved_at_unix),
            attempts: 1,
            scores: match extra.other.get(SCORES) {
                Some(value) => Some(read(&at(SCORES), value)?),
                None => None,
            },
            score: None,
            rating: match extra.other.get(RATING) {
                Some(value) => read(&at(RATING), value)?,
                None => Rating::default(),
            },
            written_by: written_by.clone(),
        });
    }
    // The scored text is that of the first baseline with a text, whose id in the file's own experiment was another.
    let has_text = |record: &&Record| record.is_baseline() && record.text().is_some_and(|text| !text.is_empty());
    let baseline = records.iter().find(has_text).map(|record| record.id.clone());
    for scores in records.iter_mut().filter_map(|record| record.scores.as_mut()) {
        scores.baseline = baseline.clone().unwrap_or_default();
    }
    let experiment = Experiment {
        version: JOURNAL_VERSION,
        id: id.to_owned(),
        name: name.unwrap_or_else(|| {
            let start: String = meta.user_prompt.chars().take(30).collect();
            format!("{start} ({})", meta.model)
        }),
        started_unix: meta.saved_at_unix,
        plan: match (own_field("plan"), &file.extra) {
            (Some(plan), _) => read("softprefix.plan", plan)?,
            // The script's sweep, or one of version 0.1.0, which wrote no plan.
            (None, None) => Some(plan_of(&records, &prompt, &settings)),
            (None, Some(_)) if own_field("module").is_some() && own_field("settings").is_some() => {
                Some(plan_of(&records, &prompt, &settings))
            }
            (None, Some(_)) => None,
        },
        module,
    };
    Ok((experiment, records))
}

/// The plan of a file that holds none, from its records.
fn plan_of(records: &[Record], prompt: &Prompt, settings: &Settings) -> Plan {
    let baselines = records.iter().filter(|record| record.is_baseline()).count();
    let closing = baselines > 1;
    Plan {
        version: PLAN_VERSION,
        name: String::new(),
        prompts: vec![prompt.clone()],
        sweeps: sweeps_of(records),
        repeats: 1,
        baselines: baselines - usize::from(closing),
        closing,
        scored: false,
        settings: settings.clone(),
    }
}

/// Reads one of our fields.
fn read<T: DeserializeOwned>(key: &str, value: &Value) -> Result<T, ImportError> {
    T::deserialize(value).map_err(|error| ImportError::Unreadable {
        key: key.to_owned(),
        why: error.to_string(),
    })
}

/// The module of a results file. Files that version 0.1.0 saved in the Tune view describe the unit alone.
fn module_of(meta: &Meta, module: Option<&Value>, unit: Option<&Value>) -> Result<ModuleIdentity, ImportError> {
    if let Some(module) = module {
        return read("softprefix.module", module);
    }
    let address = match (meta.host.as_str(), meta.port) {
        ("", _) => String::new(),
        (host, 0) => host.to_owned(),
        (host, port) => format!("{host}:{port}"),
    };
    let mut out = ModuleIdentity {
        address,
        model: meta.model.clone(),
        hidden_size: meta.hidden_size,
        ..ModuleIdentity::default()
    };
    if let Some(unit) = unit {
        let of = |key: &str| unit.get(key).filter(|value| !value.is_null());
        let text = |key: &str| of(key).and_then(Value::as_str).map(str::to_owned);
        let count = |key: &str| {
            of(key)
                .and_then(Value::as_u64)
                .and_then(|count| usize::try_from(count).ok())
        };
        out.unit = text("name");
        out.backend = text("backend");
        out.model_sha256 = text("model_sha256");
        out.version = text("version");
        out.window = count("window");
        out.prefill_window = count("prefill_window");
        if let Some(weights) = of("weights") {
            out.weights = read("softprefix.unit.weights", weights)?;
        }
    }
    Ok(out)
}

/// The settings of a results file without [`Settings`]: as version 0.1.0 saved them in the Tune view, else the
/// script's.
fn settings_of(meta: &Meta, max_tokens: Option<&Value>, sampling: Option<&Value>) -> Result<Settings, ImportError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Drawn {
        Greedy,
        TopK { k: u32, temperature: f64, seed: u64 },
    }
    let Some(max_tokens) = max_tokens else {
        return Ok(Settings {
            max_token_len: u32::try_from(meta.max_token_len).ok().filter(|len| *len > 0),
            streaming: Some(meta.response_format.contains("stream")),
            ..Settings::default()
        });
    };
    let sampling = match sampling.map(|value| read("softprefix.sampling", value)).transpose()? {
        None | Some(Drawn::Greedy) => Sampling::default(),
        Some(Drawn::TopK { k, temperature, seed }) => Sampling {
            temperature: Some(temperature),
            top_k: Some(k),
            seed: Some(seed),
            ..Sampling::default()
        },
    };
    Ok(Settings::new(read("softprefix.max_tokens", max_tokens)?, &sampling))
}

/// Builds the prefix again for its digest and norms, where that needs no module (words need one).
fn identity_of(entry: &ResultEntry, recipe: PrefixRecipe, extra: &ResultExtra, median: Option<f64>) -> PrefixIdentity {
    let mut identity = match recipe.build(entry.hidden_size, None, median) {
        Ok(prefix) => PrefixIdentity::of(&recipe, &prefix, median),
        Err(_) => PrefixIdentity {
            len: entry.prefix_len,
            hidden_size: entry.hidden_size,
            sha256: String::new(),
            row_norms: [0.0; 3],
            token_norms: None,
            recipe,
        },
    };
    // The recorded digest takes precedence over that of the prefix built now.
    if let Some(sha256) = &extra.sha256 {
        identity.sha256.clone_from(sha256);
    }
    identity.token_norms = extra.token_norms.or(identity.token_norms);
    identity
}

/// Sweeps with the cases of the records: one for each kind, length and unit, with the magnitudes that occur.
fn sweeps_of(records: &[Record]) -> Vec<Sweep> {
    let mut out: Vec<Sweep> = Vec::new();
    for recipe in records.iter().filter_map(|record| record.case.recipe.as_ref()) {
        let magnitudes = match recipe.magnitude {
            Magnitude::Raw(value) => Magnitudes::Raw(Values::List(vec![value])),
            Magnitude::TokenNorms(value) => Magnitudes::TokenNorms(Values::List(vec![value])),
            Magnitude::Unscaled => Magnitudes::Unscaled,
        };
        let known = out.iter_mut().find(|sweep| {
            let unit = std::mem::discriminant(&sweep.magnitudes) == std::mem::discriminant(&magnitudes);
            unit && sweep.kind == recipe.kind && sweep.lengths == [recipe.len] && sweep.rounding == recipe.rounding
        });
        let Some(known) = known else {
            out.push(Sweep {
                kind: recipe.kind.clone(),
                lengths: vec![recipe.len],
                magnitudes,
                rounding: recipe.rounding,
            });
            continue;
        };
        if let (
            Magnitudes::Raw(Values::List(list)) | Magnitudes::TokenNorms(Values::List(list)),
            Magnitudes::Raw(Values::List(more)) | Magnitudes::TokenNorms(Values::List(more)),
        ) = (&mut known.magnitudes, magnitudes)
        {
            more.into_iter().for_each(|value| {
                if !list.contains(&value) {
                    list.push(value);
                }
            });
        }
    }
    out
}

fn outcome_of(
    entry: &ResultEntry,
    extra: &ResultExtra,
    prefix: Option<&PrefixIdentity>,
    at: &impl Fn(&str) -> String,
) -> Result<CaseOutcome, ImportError> {
    if let Some(error) = &extra.error {
        return Ok(CaseOutcome::Failed(Failure {
            error: error.clone(),
            cause: None,
            partial_text: entry.out_text.clone(),
            elapsed_sec: entry.elapsed_sec,
        }));
    }
    let finish_reason = match &extra.finish_reason {
        Some(reason) => read(&at("finish_reason"), &json!(reason))?,
        None => FinishReason::Unknown,
    };
    let usage = match &extra.usage {
        Some(usage) if usage.get("decode_ms").is_some() => Some(read(&at("usage"), usage)?),
        Some(usage) => short_usage(usage, finish_reason, entry.prefix_len),
        None => None,
    };
    let acknowledged = extra.other.get("acknowledged").and_then(Value::as_bool) == Some(true);
    let echo = match (extra.other.get(ECHO), prefix) {
        (Some(echo), _) => Some(read(&at(ECHO), echo)?),
        // Version 0.1.0 wrote this flag where the unit's echo had the digest of the prefix.
        (None, Some(prefix)) if acknowledged => Some(SoftPrefixEcho {
            hidden_size: prefix.hidden_size,
            len: prefix.len,
            sha256: prefix.sha256.clone(),
        }),
        _ => None,
    };
    Ok(CaseOutcome::Done(Answer {
        text: entry.out_text.clone(),
        tokens: extra.tokens.clone(),
        finish_reason,
        echo,
        usage,
        ttft_sec: extra.ttft_sec,
        elapsed_sec: entry.elapsed_sec,
    }))
}

/// The two figures that version 0.1.0 saved in the Tune view, as a [`Usage`].
fn short_usage(usage: &Value, finish_reason: FinishReason, prefix_len: usize) -> Option<Usage> {
    let completion_tokens = usize::try_from(usage.get("completion_tokens")?.as_u64()?).ok()?;
    let rate = usage.get("tokens_per_second").and_then(Value::as_f64);
    Some(Usage::of_rate(completion_tokens, rate, finish_reason, prefix_len))
}
