//! Scores of cases by teacher forcing: the baseline's text is scored with each case's prefix, and each case's own text without one.

use std::collections::{HashMap, VecDeque};

use serde::{Deserialize, Serialize};

use super::plan::six_digits;
use super::record::Record;
use crate::client::{ClientError, ScoreRequest, ScoredText, Task};
use crate::compare::{LikelihoodMeasures, token_ranges};
use crate::prefix::SoftPrefix;
use crate::protocol::extension::MAX_SCORE_PREFIXES;

/// The scores of one case.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CaseScores {
    /// Id of the record whose text was scored.
    pub baseline: String,
    /// Mean, percentile and maximum of `kl`, and the perplexities of the baseline's text.
    #[serde(flatten)]
    pub measures: LikelihoodMeasures,
    /// KL(baseline || prefixed) at each token of that text, in nats, to six digits.
    pub kl: Vec<f64>,
    /// Byte range of each token in that text, start and end; empty where they are not known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub places: Vec<[usize; 2]>,
    /// Perplexity of the case's own text without the prefix; `None` where that text is empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub perplexity: Option<f64>,
}

impl CaseScores {
    /// The scores of a case against the record with the id `baseline`; `kl` is that of each token of its text, in nats.
    pub fn new(
        baseline: String,
        measures: LikelihoodMeasures,
        kl: &[f64],
        places: Vec<[usize; 2]>,
        perplexity: Option<f64>,
    ) -> Self {
        Self {
            baseline,
            measures,
            kl: kl.iter().copied().map(six_digits).collect(),
            places,
            perplexity,
        }
    }
}

/// Cases of one prompt that are scored together, and the baseline they are compared with.
#[derive(Clone, Debug)]
pub(super) struct Batch {
    baseline: Record,
    pub cases: Vec<Record>,
    is_repeat: bool,
}

/// The queue of cases to be scored.
#[derive(Debug, Default)]
pub(super) struct Unscored {
    /// The first baseline of each prompt that has a text.
    baselines: HashMap<usize, Record>,
    waiting: VecDeque<Record>,
    /// Cases of a failed batch, one by one, so that one cannot fail the others.
    repeats: VecDeque<Batch>,
    /// Number of cases in the batch that is being scored.
    out: usize,
}

impl Unscored {
    /// Adds a finished case, unless it has no text.
    pub fn take(&mut self, record: &Record) {
        if record.text().is_none_or(str::is_empty) {
            return;
        }
        if record.is_baseline() {
            self.baselines
                .entry(record.case.prompt)
                .or_insert_with(|| record.clone());
        } else if record.scores.is_none() {
            self.waiting.push_back(record.clone());
        }
    }

    /// Number of cases that are being scored, or can be.
    pub fn left(&self) -> usize {
        let ready = |record: &&Record| self.baselines.contains_key(&record.case.prompt);
        self.out
            + self.waiting.iter().filter(ready).count()
            + self.repeats.iter().map(|batch| batch.cases.len()).sum::<usize>()
    }

    /// The prompt of the next batch.
    pub fn next_prompt(&self) -> Option<usize> {
        let first = self.repeats.front().map(|batch| batch.baseline.case.prompt);
        first.or_else(|| {
            let prompts = self.waiting.iter().map(|record| record.case.prompt);
            prompts.into_iter().find(|prompt| self.baselines.contains_key(prompt))
        })
    }

    /// The next batch: as many cases as a request may have, of one prompt that fits.
    pub fn next(&mut self, fits: impl Fn(usize) -> bool) -> Option<Batch> {
        if self
            .repeats
            .front()
            .is_some_and(|batch| fits(batch.baseline.case.prompt))
        {
            let batch = self.repeats.pop_front();
            self.out = batch.as_ref().map_or(0, |batch| batch.cases.len());
            return batch;
        }
        let can = |record: &Record| self.baselines.contains_key(&record.case.prompt) && fits(record.case.prompt);
        let prompt = self.waiting.iter().find(|record| can(record))?.case.prompt;
        let baseline = self.baselines.get(&prompt)?.clone();
        let mut cases = Vec::new();
        let mut rest = VecDeque::with_capacity(self.waiting.len());
        for record in self.waiting.drain(..) {
            if record.case.prompt == prompt && cases.len() < MAX_SCORE_PREFIXES {
                cases.push(record);
            } else {
                rest.push_back(record);
            }
        }
        self.waiting = rest;
        self.out = cases.len();
        Some(Batch {
            baseline,
            cases,
            is_repeat: false,
        })
    }

    /// Notes that the batch was scored or failed. Returns its number of cases.
    pub fn batch_done(&mut self) -> usize {
        std::mem::take(&mut self.out)
    }

    /// Queues the cases of a failed batch one by one. Returns false for one that was a repeat: there is no third try.
    pub fn retry(&mut self, batch: Batch) -> bool {
        let Batch {
            baseline,
            cases,
            is_repeat,
        } = batch;
        if is_repeat {
            return false;
        }
        self.repeats.extend(cases.into_iter().map(|case| Batch {
            baseline: baseline.clone(),
            cases: vec![case],
            is_repeat: true,
        }));
        true
    }
}

/// Scores a batch. `prefixes` are those of its cases, in order.
pub(super) async fn score(
    task: &Task,
    batch: &Batch,
    prefixes: Vec<SoftPrefix>,
) -> Result<Vec<(String, CaseScores)>, ClientError> {
    let baseline = &batch.baseline;
    let user = baseline.prompt.user.as_str();
    let request = ScoreRequest::new(user, text_of(baseline)).prefixes(prefixes);
    let scored = task.score(request).await?;
    let ranges = token_ranges(baseline.text().unwrap_or_default(), &scored.tokens).unwrap_or_default();
    let places: Vec<[usize; 2]> = ranges.into_iter().map(|range| [range.start, range.end]).collect();
    let mut out = Vec::with_capacity(batch.cases.len());
    for (index, case) in batch.cases.iter().enumerate() {
        let (Some(measures), Some(compared)) = (LikelihoodMeasures::of(&scored, index), scored.prefixed.get(index))
        else {
            continue;
        };
        let own = task.score(ScoreRequest::new(user, text_of(case))).await?;
        let perplexity = Some(own.reference.perplexity);
        let scores = CaseScores::new(baseline.id.clone(), measures, &compared.kl, places.clone(), perplexity);
        out.push((case.id.clone(), scores));
    }
    Ok(out)
}

fn text_of(record: &Record) -> ScoredText {
    match record.tokens().filter(|tokens| !tokens.is_empty()) {
        Some(tokens) => ScoredText::Tokens(tokens.to_vec()),
        None => ScoredText::Text(record.text().unwrap_or_default().to_owned()),
    }
}
