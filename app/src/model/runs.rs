//! Kinds and ids of running inferences, and the timings shown for a run.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use softprefix_core::experiment::{Answer, Record};
use softprefix_core::protocol::extension::{FinishReason, Usage};

/// Identifies an inference within this start of the program. Ids increase.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RunId(pub u64);

/// One of the runs of a prompt, in the order in which a stock module serves them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum RunKind {
    /// Without a prefix; shown on the left.
    #[serde(rename = "b")]
    Baseline,
    /// With the prefix; shown on the right.
    #[serde(rename = "p")]
    Prefixed,
    /// The baseline run again: its distance to the first baseline is the noise floor. Its text is not shown.
    #[serde(rename = "r")]
    BaselineRepeat,
}

/// Times and counts of one run.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Timings {
    /// From the request to the first text.
    pub first_token: Option<Duration>,
    pub elapsed: Option<Duration>,
    /// Output tokens; `None` if the module does not count them.
    pub tokens: Option<usize>,
    /// Output tokens per second, without the time to the first one.
    pub tokens_per_second: Option<f64>,
    /// Share of the output tokens that were accepted from a draft; `None` if there was no draft.
    pub drafted: Option<f64>,
}

impl Timings {
    /// Returns the timings of an answer.
    pub fn of(answer: &Answer) -> Self {
        let seconds = |seconds: f64| Duration::try_from_secs_f64(seconds).ok();
        let usage = answer.usage.as_ref();
        let drafted = usage.filter(|usage| usage.accepted > 0 && usage.completion_tokens > 0);
        Self {
            first_token: answer.ttft_sec.and_then(seconds),
            elapsed: seconds(answer.elapsed_sec),
            tokens: usage
                .map(|usage| usage.completion_tokens)
                .or(answer.tokens.as_ref().map(Vec::len)),
            tokens_per_second: usage.and_then(Usage::tokens_per_second),
            drafted: drafted.map(|usage| usage.accepted as f64 / usage.completion_tokens as f64),
        }
    }
}

/// Returns how a record's output ended; `None` if the case failed.
pub fn finish_of(record: &Record) -> Option<FinishReason> {
    record.answer().map(|answer| answer.finish_reason)
}
