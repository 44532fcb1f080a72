//! Records compared with their baseline: measures, noise floor, verdicts, and whether prefixes were applied.
//!
//! Records are added one by one as they finish ([`Analysis::add`]), so that a plot can grow while a run goes on.

use std::collections::HashMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::plan::{Prompt, Settings};
use super::record::{Applied, CaseOutcome, ModuleIdentity, Record};
use super::scores::CaseScores;
use super::threshold::SimilarityLimit;
use super::words;
use crate::compare::{Measure, Measures, Noise, Verdict};
use crate::language::{Bilingual, term};
use crate::prefix::{Magnitude, MagnitudeUnit, PrefixRecipe};
use crate::protocol::extension::FinishReason;

/// All groups of comparable records.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Analysis {
    /// In the order in which their first record was added.
    pub groups: Vec<Group>,
    /// Group and point of each record.
    places: HashMap<String, (usize, usize)>,
}

/// What an output depends on apart from the prefix. Records with the same key share a baseline.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupKey {
    /// Address of the module, or its name in records ([`EMBEDDED`](super::session::EMBEDDED)).
    pub address: String,
    /// Name of the model's card.
    pub model: String,
    /// SHA-256 of the model file, where the unit says.
    pub model_sha256: Option<String>,
    /// System prompt and user's prompt.
    pub prompt: Prompt,
    /// Token limits and sampling.
    pub settings: Settings,
}

impl GroupKey {
    /// The key of records with these three.
    pub fn new(module: &ModuleIdentity, prompt: Prompt, settings: Settings) -> Self {
        Self {
            address: module.address.clone(),
            model: module.model.clone(),
            model_sha256: module.model_sha256.clone(),
            prompt,
            settings,
        }
    }

    /// The key of a record.
    pub fn of(record: &Record) -> Self {
        Self::new(&record.module, record.prompt.clone(), record.settings.clone())
    }

    /// Whether records of both keys may be measured against one baseline: prompt, module, model and all settings that
    /// affect a text are the same. Streaming does not affect it, and an unknown digest counts as equal.
    pub fn is_same_as(&self, other: &Self) -> bool {
        let (here, there) = (&self.settings, &other.settings);
        let digests = self.model_sha256.as_ref().zip(other.model_sha256.as_ref());
        self.address == other.address
            && self.model == other.model
            && digests.is_none_or(|(here, there)| here == there)
            && self.prompt == other.prompt
            && here.max_token_len == there.max_token_len
            && here.max_new_tokens == there.max_new_tokens
            && here.other == there.other
    }
}

/// Records that share a baseline: one prompt, with the same settings, on one module.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// What the records of the group have in common.
    pub key: GroupKey,
    /// The first complete baseline; every measure is against it.
    pub baseline: Option<Baseline>,
    /// The noise floor; `None` until the baseline ran twice.
    pub noise: Option<Noise>,
    /// In the order in which they finished.
    pub points: Vec<Point>,
    /// Texts that wait for a baseline, by point.
    waiting: Vec<(usize, Arc<str>)>,
}

/// A text that can be measured against its baseline. Measuring takes milliseconds or more for long texts, so it can be
/// done on another thread.
#[derive(Clone, Debug, PartialEq)]
pub struct Comparison {
    /// Id of the record.
    pub record: String,
    /// What the text is measured against.
    pub baseline: Baseline,
    /// The text to measure.
    pub text: Arc<str>,
    /// Token ids of the text, where the unit gave them.
    pub tokens: Option<Vec<u32>>,
}

/// The measures of a record.
#[derive(Clone, Debug, PartialEq)]
pub struct MeasuredText {
    /// Id of the record.
    pub record: String,
    /// Measures of the record's text against its baseline.
    pub measures: Measures,
}

impl Comparison {
    /// Measures the text.
    pub fn measure(self) -> MeasuredText {
        let measures = Measures::of(&self.baseline.text, &self.text);
        MeasuredText {
            measures: measures.with_tokens(self.baseline.tokens.as_deref(), self.tokens.as_deref()),
            record: self.record,
        }
    }
}

/// The text against which all others of its group are measured.
#[derive(Clone, Debug, PartialEq)]
pub struct Baseline {
    /// Id of its record.
    pub record: String,
    /// The output of the record.
    pub text: Arc<str>,
    /// Token ids of the output, where the unit gave them.
    pub tokens: Option<Vec<u32>>,
}

/// One record with its measures, as plots and tables need them.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// Id of the record.
    pub record: String,
    /// Name of the case.
    pub name: String,
    /// `None` for a baseline.
    pub series: Option<Series>,
    /// Raw value, where the magnitude was given as one.
    pub raw: Option<f64>,
    /// In token norms, where the vocabulary is known.
    pub token_norms: Option<f64>,
    /// `None` for a failed case, and while there is no baseline.
    pub measures: Option<Measures>,
    /// Whether the unit used the prefix, from its echo alone; see [`Group::applied`].
    pub applied: Applied,
    /// The sentence of the failure; `None` where the case succeeded.
    pub error: Option<String>,
    /// Whether the output is complete.
    pub extent: Extent,
    /// Seconds from sending to the end of the output.
    pub elapsed_sec: f64,
    /// Seconds to the first piece of text, where the output streamed.
    pub ttft_sec: Option<f64>,
    /// Output tokens a second over the whole case, where the unit counted them.
    pub tokens_per_sec: Option<f64>,
    /// Whether the case neither failed nor was stopped.
    pub is_complete: bool,
    /// SHA-256 of the prefix's bf16 bytes; empty for a baseline and where it is not known.
    pub sha256: String,
    tokens: Option<Vec<u32>>,
    /// Mean KL and perplexity, where a unit has scored the texts.
    scores: Option<(f64, Option<f64>)>,
}

/// The points of one line: the same prefix at different magnitudes.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// The recipe at magnitude 0, which all points of the series have in common.
    pub recipe: PrefixRecipe,
    /// Whether the raw values are below 0: such points are placed by their absolute value, on a line of their own.
    pub negative: bool,
    /// `constant, P 4`; `constant, P 4, values below 0`.
    pub label: String,
}

/// How much of an output is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Extent {
    /// The output ended by itself.
    Complete,
    /// The output was cut off by a lost connection, a time limit or the user.
    Cut {
        /// Code points of the text that is there, at least 1.
        characters: usize,
    },
    /// There is no text, and the case failed or was stopped.
    Missing,
}

/// The evidence that prefixes were applied, over a whole group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Proof {
    /// No prefix was sent.
    NothingToProve,
    /// The unit echoed every prefix.
    Echoed,
    /// The unit echoed some prefixes and no others.
    PartlyEchoed,
    /// The unit echoed a prefix other than the one that was sent.
    Contradicted,
    /// The unit echoed none, but some prefix changed the text beyond the noise.
    TextChanged,
    /// The unit echoed none and no text changed beyond the noise: the prefixes were probably ignored.
    NoEffect,
    /// The unit echoed none, and there is no baseline to show whether a text changed.
    NoBaseline,
}

impl Analysis {
    /// The analysis of all `records`.
    pub fn of<'r>(records: impl IntoIterator<Item = &'r Record>) -> Self {
        let mut out = Self::default();
        for record in records {
            out.add(record);
        }
        out
    }

    /// Adds a record, and measures it if its group has a baseline.
    pub fn add(&mut self, record: &Record) {
        for comparison in self.note(record) {
            self.take(comparison.measure());
        }
    }

    /// Adds a record without measuring it. Returns what can be measured now: the record, if its group has a baseline;
    /// if it is the baseline, all records that waited for it. Pass the results to [`Analysis::take`].
    pub fn note(&mut self, record: &Record) -> Vec<Comparison> {
        let key = GroupKey::of(record);
        let place = match self.groups.iter().position(|group| group.key.is_same_as(&key)) {
            Some(place) => place,
            None => {
                self.groups.push(Group {
                    key,
                    baseline: None,
                    noise: None,
                    points: Vec::new(),
                    waiting: Vec::new(),
                });
                self.groups.len() - 1
            }
        };
        let group = &mut self.groups[place];
        self.places.insert(record.id.clone(), (place, group.points.len()));
        group.note(record)
    }

    /// Adds the measures of a record; those of an unknown record are ignored.
    pub fn take(&mut self, measured: MeasuredText) {
        let Some(&(group, point)) = self.places.get(&measured.record) else {
            return;
        };
        if let Some(group) = self.groups.get_mut(group) {
            group.take(point, measured.measures);
        }
    }

    /// The group with this key.
    pub fn group(&self, key: &GroupKey) -> Option<&Group> {
        self.groups.iter().find(|group| group.key.is_same_as(key))
    }

    /// Adds a unit's scores of a record; those of an unknown record are ignored.
    pub fn add_scores(&mut self, record: &str, scores: &CaseScores) {
        let place = self.places.get(record).copied();
        let point = place.and_then(|(group, point)| self.groups.get_mut(group)?.points.get_mut(point));
        if let Some(point) = point {
            point.scores = Some((scores.measures.kl_mean, scores.perplexity));
            point.take_scores();
        }
    }

    /// The group and the point of a record.
    pub fn find(&self, record: &str) -> Option<(&Group, &Point)> {
        let &(group, point) = self.places.get(record)?;
        let group = self.groups.get(group)?;
        Some((group, group.points.get(point)?))
    }
}

impl Group {
    fn note(&mut self, record: &Record) -> Vec<Comparison> {
        if self.key.model_sha256.is_none() {
            self.key.model_sha256.clone_from(&record.module.model_sha256);
        }
        let complete = record.text().filter(|_| record.is_complete());
        if self.baseline.is_none()
            && record.is_baseline()
            && let Some(text) = complete
        {
            self.baseline = Some(Baseline {
                record: record.id.clone(),
                text: text.into(),
                tokens: record.tokens().map(<[u32]>::to_vec),
            });
        }
        let at = self.points.len();
        self.points.push(Point::of(record));
        if let Some(text) = complete {
            self.waiting.push((at, text.into()));
        }
        let Some(baseline) = &self.baseline else {
            return Vec::new();
        };
        let points = &self.points;
        let ready = self.waiting.drain(..).filter_map(|(at, text)| {
            let point = points.get(at)?;
            Some(Comparison {
                record: point.record.clone(),
                baseline: baseline.clone(),
                text,
                tokens: point.tokens.clone(),
            })
        });
        ready.collect()
    }

    fn take(&mut self, point: usize, measures: Measures) {
        let Some(point) = self.points.get_mut(point) else {
            return;
        };
        point.measures = Some(measures);
        point.take_scores();
        if point.series.is_some() {
            return;
        }
        let Some(baseline) = &self.baseline else { return };
        let repeats = self
            .points
            .iter()
            .filter(|point| point.series.is_none() && point.record != baseline.record);
        self.noise = Noise::of(repeats.filter_map(|point| point.measures.as_ref()));
    }

    /// Whether a point's prefix was applied: by the unit's echo, else by its text.
    pub fn applied(&self, point: &Point) -> Applied {
        /// From this size in token norms, a prefix changes every text.
        const LARGE: f64 = 3.0;
        /// Token norms for a raw value of 1, roughly, where the vocabulary is not known.
        const PER_RAW: f64 = 50.0;
        let Some(measures) = point.measures.as_ref().filter(|_| point.applied == Applied::Unknown) else {
            return point.applied;
        };
        let size = point.token_norms.or(point.raw.map(|raw| raw.abs() * PER_RAW));
        match (measures.is_same(), size.is_none_or(|size| size >= LARGE)) {
            (true, true) => Applied::Doubtful,
            (true, false) => Applied::Unknown,
            (false, _) if Verdict::of(measures, self.noise.as_ref()) == Verdict::InsideNoise => Applied::Unknown,
            (false, _) => Applied::Plausible,
        }
    }

    /// The verdict on a point.
    pub fn verdict(&self, point: &Point) -> Verdict {
        if self
            .baseline
            .as_ref()
            .is_some_and(|baseline| baseline.record == point.record)
        {
            return Verdict::Baseline;
        }
        match &point.measures {
            Some(measures) => Verdict::of(measures, self.noise.as_ref()),
            None => Verdict::Failed,
        }
    }

    /// Whether the baseline ran at least twice and always gave the same text.
    pub fn is_deterministic(&self) -> bool {
        self.noise.as_ref().is_some_and(Noise::is_zero)
    }

    /// The evidence that the prefixes of the group were applied.
    pub fn proof(&self) -> Proof {
        let sent: Vec<&Point> = self
            .points
            .iter()
            .filter(|point| point.series.is_some() && point.error.is_none())
            .collect();
        if sent.is_empty() {
            Proof::NothingToProve
        } else if sent.iter().any(|point| point.applied == Applied::Contradicted) {
            Proof::Contradicted
        } else if sent.iter().all(|point| point.applied == Applied::Proven) {
            Proof::Echoed
        } else if sent.iter().any(|point| point.applied == Applied::Proven) {
            Proof::PartlyEchoed
        } else if sent.iter().all(|point| point.measures.is_none()) {
            Proof::NoBaseline
        } else if sent
            .iter()
            .any(|point| matches!(self.verdict(point), Verdict::Changed | Verdict::Loop | Verdict::Empty))
        {
            Proof::TextChanged
        } else {
            Proof::NoEffect
        }
    }

    /// The lines of a plot: each series with its points from small to large magnitude. Series are sorted by kind and
    /// length, not by which case ended first, so that a line keeps its place and colour from run to run.
    pub fn lines(&self) -> Vec<(&Series, Vec<&Point>)> {
        let mut out: Vec<(&Series, Vec<&Point>)> = Vec::new();
        for point in &self.points {
            let Some(series) = &point.series else { continue };
            match out.iter_mut().find(|(known, _)| *known == series) {
                Some((_, points)) => points.push(point),
                None => out.push((series, vec![point])),
            }
        }
        for (_, points) in &mut out {
            points.sort_by(|a, b| a.magnitude().total_cmp(&b.magnitude()));
        }
        out.sort_by_cached_key(|(Series { recipe, negative, .. }, _)| {
            (
                format!("{:?} {:?}", recipe.kind, recipe.rounding),
                recipe.len,
                *negative,
            )
        });
        out
    }

    /// The measured points of one series for a threshold search: the magnitude in the recipe's unit, and whether the
    /// text is within the limit.
    pub(super) fn measured(&self, recipe: &PrefixRecipe, limit: &SimilarityLimit) -> Vec<(f64, bool)> {
        let series = Series::of(recipe);
        let points = self
            .points
            .iter()
            .filter(|point| point.series.as_ref() == Some(&series));
        let measured = points.filter_map(|point| {
            let at = if matches!(recipe.magnitude, Magnitude::Raw(_)) {
                point.raw
            } else {
                point.token_norms
            };
            Some((at?, limit.allows(point.measures.as_ref()?)?))
        });
        measured.collect()
    }

    /// The smallest value of `measure` between runs of the baseline: the lower edge of the noise band.
    pub fn noise_floor(&self, measure: Measure) -> Option<f64> {
        let noise = self.noise.as_ref()?;
        match measure {
            Measure::Chrf2 => Some(noise.chrf2),
            Measure::Indel => Some(noise.indel),
            Measure::Difflib => Some(noise.difflib),
            Measure::Levenshtein => Some(noise.levenshtein),
            Measure::FirstDivergence => Some(noise.first_divergence as f64),
            _ => None,
        }
    }
}

/// A measure of one prefix over several prompts: each prompt counts once, with the mean of its repeats.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// The place on a magnitude axis.
    pub magnitude: f64,
    /// The mean over the prompts.
    pub mean: f64,
    /// The smallest value of a prompt.
    pub least: f64,
    /// The largest.
    pub most: f64,
    /// Whether the output of every prompt is a loop.
    pub is_loop: bool,
}

/// The lines of a plot over several prompts: of each series, the magnitudes that every group with that series has measured, from small
/// to large. `place` is the place of a point on the axis; a point without one is left out. `groups` belong to one module; without two of
/// them there is nothing to average, and the result is empty.
pub fn over_prompts<'g>(
    groups: &[&'g Group],
    measure: Measure,
    place: impl Fn(&Point) -> Option<f64>,
) -> Vec<(&'g Series, Vec<Spread>)> {
    /// Of a prompt at a magnitude: the sum, how many were added, and whether all of them are loops.
    type Sum = (f64, usize, bool);
    /// Magnitudes, with the sum of each prompt that has a value there.
    type Places = Vec<(f64, Vec<Sum>)>;
    let mut out: Vec<(&Series, usize, Places)> = Vec::new();
    for group in groups {
        for (series, points) in group.lines() {
            let at = out
                .iter()
                .position(|(known, _, _)| *known == series)
                .unwrap_or_else(|| {
                    out.push((series, 0, Vec::new()));
                    out.len() - 1
                });
            let (_, prompts, places) = &mut out[at];
            let mut of_group: Vec<(f64, Sum)> = Vec::new();
            for point in points {
                let value = point.measures.as_ref().and_then(|measures| measure.value(measures));
                let (Some(value), Some(magnitude)) = (value, place(point)) else {
                    continue;
                };
                let is_loop = group.verdict(point) == Verdict::Loop;
                match of_group.iter_mut().find(|(known, _)| *known == magnitude) {
                    Some((_, sum)) => *sum = (sum.0 + value, sum.1 + 1, sum.2 && is_loop),
                    None => of_group.push((magnitude, (value, 1, is_loop))),
                }
            }
            *prompts += usize::from(!of_group.is_empty());
            for (magnitude, sum) in of_group {
                match places.iter_mut().find(|(known, _)| *known == magnitude) {
                    Some((_, sums)) => sums.push(sum),
                    None => places.push((magnitude, vec![sum])),
                }
            }
        }
    }
    let lines = out.into_iter().filter(|(_, prompts, _)| *prompts > 1);
    let lines = lines.map(|(series, prompts, mut places)| {
        places.retain(|(_, sums)| sums.len() == prompts);
        places.sort_by(|a, b| a.0.total_cmp(&b.0));
        let spreads = places.into_iter().map(|(magnitude, sums)| {
            let values: Vec<f64> = sums.iter().map(|(sum, count, _)| sum / *count as f64).collect();
            Spread {
                magnitude,
                mean: values.iter().sum::<f64>() / values.len() as f64,
                least: values.iter().copied().fold(f64::INFINITY, f64::min),
                most: values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
                is_loop: sums.iter().all(|(_, _, is_loop)| *is_loop),
            }
        });
        (series, spreads.collect())
    });
    lines.collect()
}

/// The unit of an axis with these points: token norms, where every one that is drawn is known in them.
pub fn axis_unit<'p>(points: impl IntoIterator<Item = &'p Point>) -> MagnitudeUnit {
    let mut drawn = points.into_iter().filter(|point| point.is_drawn());
    if drawn.all(|point| point.token_norms.is_some()) {
        MagnitudeUnit::TokenNorms
    } else {
        MagnitudeUnit::Raw
    }
}

impl Point {
    fn of(record: &Record) -> Self {
        let recipe = record
            .prefix
            .as_ref()
            .map(|prefix| &prefix.recipe)
            .or(record.case.recipe.as_ref());
        let prefix = record.prefix.as_ref();
        Self {
            record: record.id.clone(),
            name: record.case.name.clone(),
            series: recipe.map(Series::of),
            raw: recipe.and_then(|recipe| match recipe.magnitude {
                Magnitude::Raw(value) => Some(value),
                _ => None,
            }),
            token_norms: record
                .token_norms()
                .or_else(|| prefix.and_then(|prefix| prefix.token_norms)),
            measures: None,
            applied: record.applied(),
            error: record.error().map(str::to_owned),
            extent: Extent::of(record),
            elapsed_sec: record.elapsed_sec(),
            ttft_sec: record.answer().and_then(|answer| answer.ttft_sec),
            tokens_per_sec: record.tokens_per_sec(),
            is_complete: record.is_complete(),
            sha256: prefix.map(|prefix| prefix.sha256.clone()).unwrap_or_default(),
            tokens: record.tokens().map(<[u32]>::to_vec),
            scores: record
                .scores
                .as_ref()
                .map(|scores| (scores.measures.kl_mean, scores.perplexity)),
        }
    }

    /// Whether a unit has scored the record's texts.
    pub fn is_scored(&self) -> bool {
        self.scores.is_some()
    }

    fn take_scores(&mut self) {
        if let (Some(measures), Some((kl_mean, perplexity))) = (&mut self.measures, self.scores) {
            (measures.kl_mean, measures.perplexity) = (Some(kl_mean), perplexity);
        }
    }

    /// The place on a magnitude axis: token norms where known, else the absolute raw value.
    pub fn magnitude(&self) -> f64 {
        self.token_norms.or(self.raw.map(f64::abs)).unwrap_or(0.0)
    }

    /// Whether it has a place on an axis of magnitudes: it has a prefix, and did not fail.
    pub fn is_drawn(&self) -> bool {
        self.series.is_some() && self.error.is_none()
    }

    /// The place on an axis of this unit; `None` where the magnitude is not known in it.
    pub fn magnitude_in(&self, unit: MagnitudeUnit) -> Option<f64> {
        match unit {
            MagnitudeUnit::TokenNorms => self.token_norms,
            MagnitudeUnit::Raw => self.raw.map(f64::abs),
        }
    }
}

impl Extent {
    /// Of a record.
    pub fn of(record: &Record) -> Self {
        let (text, broken_off) = match &record.outcome {
            CaseOutcome::Done(answer) => (&answer.text, answer.finish_reason == FinishReason::Stopped),
            CaseOutcome::Failed(failure) => (&failure.partial_text, true),
        };
        match text.chars().count() {
            characters @ 1.. if broken_off => Self::Cut { characters },
            0 if broken_off => Self::Missing,
            _ => Self::Complete,
        }
    }
}

impl Series {
    /// Whether a case with this recipe belongs to the line.
    pub fn has(&self, recipe: &PrefixRecipe) -> bool {
        *self == Self::of(recipe)
    }

    fn of(recipe: &PrefixRecipe) -> Self {
        let magnitude = match recipe.magnitude {
            Magnitude::Raw(_) => Magnitude::Raw(0.0),
            Magnitude::TokenNorms(_) => Magnitude::TokenNorms(0.0),
            Magnitude::Unscaled => Magnitude::Unscaled,
        };
        let negative = matches!(recipe.magnitude, Magnitude::Raw(value) if value < 0.0);
        let recipe = PrefixRecipe {
            magnitude,
            ..recipe.clone()
        };
        let sign = if negative { ", values below 0" } else { "" };
        let label = format!("{}, P {}{sign}", words::kind(&recipe.kind).en, recipe.len);
        Self {
            recipe,
            negative,
            label,
        }
    }
}

impl Proof {
    /// The evidence as a sentence, with a remedy where one is needed.
    pub fn sentence(self) -> Bilingual<&'static str> {
        match self {
            Self::NothingToProve => term("No prefix was sent.", "プレフィックスは送られていません。"),
            Self::Echoed => term(
                "The unit confirmed every prefix by its digest.",
                "ユニットはすべてのプレフィックスをダイジェストで確認しました。",
            ),
            Self::PartlyEchoed => term(
                "The unit confirmed some of the prefixes by their digest, but not the others.",
                "ユニットがダイジェストで確認したのは一部のプレフィックスだけです。",
            ),
            Self::NoBaseline => term(
                "The unit does not confirm prefixes, and there is no baseline to show whether they were applied.",
                "ユニットはプレフィックスを確認せず、適用されたかどうかを判断するためのベースラインもありません。",
            ),
            Self::Contradicted => term(
                "The unit confirmed another prefix than the one that was sent: do not trust these results.",
                "ユニットが確認したのは、送ったものとは別のプレフィックスです。この結果は信頼できません。",
            ),
            Self::TextChanged => term(
                "The unit does not confirm prefixes, but the output changed beyond the noise.",
                "ユニットはプレフィックスを確認しませんが、出力はノイズを超えて変わりました。",
            ),
            Self::NoEffect => term(
                "The output is the same as the baseline's although a prefix was sent. Check that the LLM unit on the module applies it \
                 (accepts the JSON, decodes the bf16 values, prepends the embeddings). A stock unit ignores soft_prefix silently.",
                "プレフィックスを送っても出力がベースラインと同じです。モジュールの LLM ユニットがプレフィックスを適用しているか\
                 （JSON を受け取り、bf16 の値を復元し、埋め込みの前に置くか）を確認してください。標準ユニットは soft_prefix を黙って無視します。",
            ),
        }
    }
}
