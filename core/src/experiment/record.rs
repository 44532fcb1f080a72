//! The record of a case: what was asked, sent and answered, and by which module. It holds everything needed to repeat the case.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use super::plan::{Case, Prompt, Settings};
use super::rating::Rating;
use super::scores::CaseScores;
use super::session::SessionError;
use super::words;
use crate::language::{Bilingual, term};
use crate::prefix::{FoundBy, Magnitude, PrefixKind, PrefixRecipe, SearchOrigin, SoftPrefix};
use crate::protocol::extension::{FinishReason, SoftPrefixEcho, StoredWeights, Usage};
use crate::search::Score;

/// Program and version, written into records and files.
pub const WRITTEN_BY: &str = concat!("softprefix ", env!("CARGO_PKG_VERSION"));

/// Name in records of the module that runs in this process; its address has another port each time.
pub const EMBEDDED: &str = "embedded";

/// Version of the serialised record.
pub const RECORD_VERSION: u32 = 1;

/// One finished case, whether it succeeded or failed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// [`RECORD_VERSION`].
    pub version: u32,
    /// Unique among all records: the experiment's id, a slash, and the case's index.
    pub id: String,
    /// The experiment's id.
    pub experiment: String,
    /// The case: index, name and recipe.
    pub case: Case,
    /// The prompt in full, so that a record can be read without its plan.
    pub prompt: Prompt,
    /// Token limits and sampling that were sent.
    pub settings: Settings,
    /// The module that answered.
    pub module: ModuleIdentity,
    /// The prefix that was sent; `None` for a baseline.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<PrefixIdentity>,
    /// Unix time in seconds at which the case was sent.
    pub started_unix: f64,
    /// Number of tries; 2 where the module died and the case was repeated.
    #[serde(default = "one")]
    pub attempts: u32,
    /// The output, or why there is none.
    pub outcome: CaseOutcome,
    /// Scores by teacher forcing. They come later, so the journal has a line of their own for them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scores: Option<Box<CaseScores>>,
    /// How well it meets the objective of its search, if it is a search's candidate; with the measured likelihood.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub score: Option<Score>,
    /// The user's rating. It is a line of its own in a journal.
    #[serde(default, skip_serializing_if = "Rating::is_empty")]
    pub rating: Rating,
    /// Program and version that wrote the record.
    pub written_by: String,
}

fn one() -> u32 {
    1
}

/// The module that answered.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ModuleIdentity {
    /// `host:port`, or `embedded`.
    pub address: String,
    /// Name of the model's card.
    pub model: String,
    /// The card as the module listed it; null where the module does not list the model.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub card: Value,
    /// H; 0 where neither the card nor the unit names it.
    pub hidden_size: usize,
    /// Name and version of our unit (`softprefix-unit 0.1.0`); `None` where the unit is a stock one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// The unit's backend, where it says (`cpu/avx2`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backend: Option<String>,
    /// SHA-256 of the model file, where the unit says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model_sha256: Option<String>,
    /// How the unit represents the matrices of the model file, where it says.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub weights: Vec<StoredWeights>,
    /// Version of llm-sys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Whose chat template was used, in a few words, where that is known.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub template: String,
    /// The vocabulary's median L2 norm: one token norm.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub median_norm: Option<f64>,
    /// Most positions: prefix + template + prompt + output.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<usize>,
    /// Most positions before the first output token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefill_window: Option<usize>,
}

impl ModuleIdentity {
    /// Whether it is the unit in the process that ran the case.
    pub fn is_embedded(&self) -> bool {
        self.address == EMBEDDED
    }
}

/// The prefix that was sent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PrefixIdentity {
    /// How it was made.
    pub recipe: PrefixRecipe,
    /// P.
    pub len: usize,
    /// H.
    pub hidden_size: usize,
    /// SHA-256 of the bf16 bytes, lower-case hex; empty where only the recipe is known.
    pub sha256: String,
    /// Smallest, median and largest L2 norm of the rows.
    pub row_norms: [f64; 3],
    /// The median row norm in token norms, where the vocabulary is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_norms: Option<f64>,
}

/// How a case ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CaseOutcome {
    /// There is an output.
    Done(Answer),
    /// There is no complete output.
    Failed(Failure),
}

/// An output that ended by itself or was stopped; [`Answer::finish_reason`] says which.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// The whole output.
    pub text: String,
    /// Token ids, where the unit gave them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens: Option<Vec<u32>>,
    /// Why the output ended; [`FinishReason::Unknown`] from a stock unit.
    pub finish_reason: FinishReason,
    /// The prefix that the unit put in front; `None` for a baseline, and where the unit does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub echo: Option<SoftPrefixEcho>,
    /// Token counts and times of the unit, with an empty list of tokens (they are in `tokens`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// Seconds to the first piece of text, where the output streamed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttft_sec: Option<f64>,
    /// Seconds from sending to the last reply.
    pub elapsed_sec: f64,
}

impl Answer {
    /// An output of which nothing else is known.
    pub fn new(text: impl Into<String>, finish_reason: FinishReason, elapsed_sec: f64) -> Self {
        Self {
            text: text.into(),
            tokens: None,
            finish_reason,
            echo: None,
            usage: None,
            ttft_sec: None,
            elapsed_sec,
        }
    }
}

/// An inference that gave no complete output.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Failure {
    /// The error's whole message, in English.
    pub error: String,
    /// The error itself, without the text that had arrived; `None` in imported files and in records of earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "if_readable")]
    pub cause: Option<SessionError>,
    /// The text that arrived before the failure.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub partial_text: String,
    /// Seconds from sending to the failure; 0 if the case failed before it was sent, because its prefix could not be built.
    pub elapsed_sec: f64,
}

impl Failure {
    /// The error with the text that had arrived; `None` where only its message is known.
    pub fn whole_cause(&self) -> Option<SessionError> {
        Some(self.cause.clone()?.with_text(&self.partial_text))
    }
}

/// `None` for an error of a later version, or one that JSON cannot hold (NaN is written as null): the message is there in any case.
fn if_readable<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<SessionError>, D::Error> {
    Ok(serde_json::from_value(Value::deserialize(deserializer)?).ok())
}

/// Whether the unit used the prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Applied {
    /// No prefix was sent.
    NoPrefix,
    /// The unit echoed the prefix that was sent.
    Proven,
    /// The unit echoed another prefix than the one sent.
    Contradicted,
    /// The unit echoed none, as stock units do, or the case failed.
    Unknown,
    /// The unit echoed none, but the text differs from the baseline beyond the noise.
    Plausible,
    /// The unit echoed none, and the text is the baseline's although the prefix is large: it was probably ignored.
    Doubtful,
}

impl Applied {
    /// The name that people read.
    pub fn name(self) -> Bilingual<&'static str> {
        match self {
            Self::Proven => term("confirmed by the unit", "ユニットが確認"),
            Self::Contradicted => term(
                "the unit confirmed another prefix",
                "ユニットは別のプレフィックスを確認",
            ),
            Self::Plausible => term("not confirmed, but the output changed", "適用は未確認（出力は変化）"),
            Self::Doubtful => term("probably ignored", "無視された疑い"),
            Self::Unknown | Self::NoPrefix => term("not confirmed", "適用は未確認"),
        }
    }
}

impl PrefixIdentity {
    /// The identity of `prefix`, built from `recipe`.
    pub fn of(recipe: &PrefixRecipe, prefix: &SoftPrefix, median_norm: Option<f64>) -> Self {
        let mut norms: Vec<f64> = prefix.row_norms().into_iter().map(f64::from).collect();
        norms.sort_by(f64::total_cmp);
        let at = |i: usize| norms.get(i).copied().unwrap_or(0.0);
        let (low, high) = (at(norms.len().saturating_sub(1) / 2), at(norms.len() / 2));
        let median = (low + high) / 2.0;
        Self {
            recipe: recipe.clone(),
            len: prefix.len(),
            hidden_size: prefix.hidden_size(),
            sha256: prefix.sha256(),
            row_norms: [at(0), median, at(norms.len().saturating_sub(1))],
            token_norms: median_norm.filter(|norm| *norm > 0.0).map(|norm| median / norm),
        }
    }

    /// The identity of a prefix of which only the recipe is known.
    pub fn unknown(recipe: PrefixRecipe) -> Self {
        Self {
            len: recipe.len,
            recipe,
            hidden_size: 0,
            sha256: String::new(),
            row_norms: [0.0; 3],
            token_norms: None,
        }
    }

    /// The raw value: the given magnitude, else computed from the norms; `None` where the rows have a size of their
    /// own.
    pub fn raw(&self) -> Option<f64> {
        let median_norm = self
            .token_norms
            .filter(|norms| *norms > 0.0)
            .map(|norms| self.row_norms[1] / norms);
        self.recipe.raw_at(self.hidden_size, median_norm)
    }
}

impl Record {
    /// The record of a first try without a prefix at the Unix time 0, without scores and rating, written by [`WRITTEN_BY`]. Its id is
    /// made of the experiment's and the case's index.
    pub fn new(
        experiment: &str,
        case: Case,
        prompt: Prompt,
        settings: Settings,
        module: ModuleIdentity,
        outcome: CaseOutcome,
    ) -> Self {
        Self {
            version: RECORD_VERSION,
            id: format!("{experiment}/{}", case.index),
            experiment: experiment.to_owned(),
            case,
            prompt,
            settings,
            module,
            prefix: None,
            started_unix: 0.0,
            attempts: 1,
            outcome,
            scores: None,
            score: None,
            rating: Rating::default(),
            written_by: WRITTEN_BY.to_owned(),
        }
    }

    /// The output's text; `None` where the case failed.
    pub fn text(&self) -> Option<&str> {
        self.answer().map(|answer| answer.text.as_str())
    }

    /// Whether the output is complete: the case did not fail and was not stopped.
    pub fn is_complete(&self) -> bool {
        self.answer()
            .is_some_and(|answer| answer.finish_reason != FinishReason::Stopped)
    }

    /// Where its rows come from, of a candidate of a search; `None` of other cases.
    pub fn found(&self, by: FoundBy) -> Option<SearchOrigin> {
        match self.case.recipe.as_ref()?.kind.base() {
            PrefixKind::Chosen { name, generation, .. } => Some(SearchOrigin {
                by,
                near: name.clone(),
                generation: *generation,
                record: self.id.clone(),
                model: self.module.model.clone(),
            }),
            _ => None,
        }
    }

    /// The output; `None` where the case failed.
    pub fn answer(&self) -> Option<&Answer> {
        match &self.outcome {
            CaseOutcome::Done(answer) => Some(answer),
            CaseOutcome::Failed(_) => None,
        }
    }

    /// All text that arrived, also where the case failed.
    pub fn output(&self) -> &str {
        match &self.outcome {
            CaseOutcome::Done(answer) => &answer.text,
            CaseOutcome::Failed(failure) => &failure.partial_text,
        }
    }

    /// The error's message; `None` where the case succeeded.
    pub fn error(&self) -> Option<&str> {
        match &self.outcome {
            CaseOutcome::Done(_) => None,
            CaseOutcome::Failed(failure) => Some(&failure.error),
        }
    }

    /// Token ids of the output, where the unit gave them.
    pub fn tokens(&self) -> Option<&[u32]> {
        self.answer().and_then(|answer| answer.tokens.as_deref())
    }

    /// Whether the case is one without a prefix.
    pub fn is_baseline(&self) -> bool {
        self.prefix.is_none() && self.case.recipe.is_none()
    }

    /// Whether the unit used the prefix, by its echo alone; [`Group::applied`](super::Group::applied) also compares the text with the
    /// baseline's.
    pub fn applied(&self) -> Applied {
        let (Some(prefix), Some(answer)) = (&self.prefix, self.answer()) else {
            return if self.is_baseline() {
                Applied::NoPrefix
            } else {
                Applied::Unknown
            };
        };
        match &answer.echo {
            None => Applied::Unknown,
            Some(echo) if echo.sha256 == prefix.sha256 && echo.len == prefix.len => Applied::Proven,
            Some(_) => Applied::Contradicted,
        }
    }

    /// The magnitude in token norms: as requested, else as measured.
    pub fn token_norms(&self) -> Option<f64> {
        let prefix = self.prefix.as_ref()?;
        match prefix.recipe.magnitude {
            Magnitude::TokenNorms(value) => Some(value),
            _ => prefix.token_norms,
        }
    }

    /// Duration of the case in seconds, whether it succeeded or failed.
    pub fn elapsed_sec(&self) -> f64 {
        match &self.outcome {
            CaseOutcome::Done(answer) => answer.elapsed_sec,
            CaseOutcome::Failed(failure) => failure.elapsed_sec,
        }
    }

    /// Output tokens a second over the whole case, where the unit counted them.
    pub fn tokens_per_sec(&self) -> Option<f64> {
        let answer = self.answer()?;
        let count = answer
            .tokens
            .as_ref()
            .map(Vec::len)
            .or(answer.usage.as_ref().map(|usage| usage.completion_tokens))?;
        (answer.elapsed_sec > 0.0).then(|| count as f64 / answer.elapsed_sec)
    }

    /// A description of the recipe: `constant, P 4, 0.01 raw`; `no prefix` for a baseline.
    pub fn recipe_words(&self) -> String {
        recipe_words(
            self.prefix
                .as_ref()
                .map(|prefix| &prefix.recipe)
                .or(self.case.recipe.as_ref()),
        )
    }
}

fn recipe_words(recipe: Option<&PrefixRecipe>) -> String {
    match recipe {
        None => "no prefix".to_owned(),
        Some(recipe) => {
            format!(
                "{}, P {}, {}",
                words::kind(&recipe.kind).en,
                recipe.len,
                magnitude_words(recipe.magnitude)
            )
        }
    }
}

fn magnitude_words(magnitude: Magnitude) -> String {
    match magnitude {
        Magnitude::Raw(value) => format!("{value} raw"),
        Magnitude::TokenNorms(value) => format!("{value} x token norm"),
        Magnitude::Unscaled => "as it is".to_owned(),
    }
}

/// A new unique id for an experiment: the time in nanoseconds, the process id, and a counter.
pub fn new_id() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let nanos = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| since.as_nanos());
    format!(
        "{nanos:x}-{:x}-{:x}",
        std::process::id(),
        COUNT.fetch_add(1, Ordering::Relaxed)
    )
}
