//! A recording, made ready for playing: what of it can be passed over on the way to a later time, and its measures.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use softprefix_core::compare::Measures;
use softprefix_core::experiment::Record;
use softprefix_core::protocol::extension::FinishReason;

use super::{Line, Recording};
use crate::model::{PromptForm, Side};

/// A recording, made ready: what of it can be passed over on the way to a later time, and its measures.
#[derive(Debug)]
pub struct Session {
    /// The file's name; `None` for the recording that is part of the program.
    pub name: Option<String>,
    recording: Recording,
    superseded: Vec<usize>,
    measures: HashMap<(Arc<str>, Arc<str>), Measures>,
}

impl Session {
    /// Makes a recording ready.
    pub fn new(name: Option<String>, recording: Recording) -> Self {
        let measures = pairs(&recording.lines)
            .into_iter()
            .map(|(left, right)| {
                let measures = Measures::of(&left, &right);
                ((left, right), measures)
            })
            .collect();
        Self {
            name,
            superseded: superseded(&recording.lines),
            recording,
            measures,
        }
    }

    /// What happened, each with its milliseconds since the beginning.
    pub(crate) fn lines(&self) -> &[(u64, Line)] {
        &self.recording.lines
    }

    /// For each line, the place of the line that makes it unnecessary; its own where there is none.
    pub(crate) fn superseded(&self) -> &[usize] {
        &self.superseded
    }

    pub fn length(&self) -> Duration {
        self.recording.length()
    }

    /// When it was recorded, in seconds since 1970; 0 where the file does not say.
    pub fn at_unix(&self) -> u64 {
        self.recording.at_unix
    }

    /// What is in it, in one line.
    pub fn summary(&self) -> String {
        let lines = &self.recording.lines;
        let count = |what: &dyn Fn(&Line) -> bool| lines.iter().filter(|(_, line)| what(line)).count();
        format!(
            "{:.0} s, {} movements of the prefix, {} runs, {} pieces of text; written by {}",
            self.length().as_secs_f64(),
            count(&|line| matches!(line, Line::Prefix(_))),
            count(&|line| matches!(line, Line::Ended(..))),
            count(&|line| matches!(line, Line::Text(..))),
            self.recording.written_by,
        )
    }

    /// The measures of two texts that are compared in it.
    pub(crate) fn measures(&self, left: &Arc<str>, right: &Arc<str>) -> Option<&Measures> {
        self.measures.get(&(Arc::clone(left), Arc::clone(right)))
    }
}

type Pair = (Arc<str>, Arc<str>);

/// A case as far as its texts go.
#[derive(Default)]
struct Texts {
    baseline: Option<Arc<str>>,
    /// Texts that wait for it.
    prefixed: Vec<Arc<str>>,
}

/// The texts that are compared when these lines are played: each finished text with the first baseline of its case.
fn pairs(lines: &[(u64, Line)]) -> HashSet<Pair> {
    let mut pairs = HashSet::new();
    let mut cases: Vec<((String, PromptForm), Texts)> = Vec::new();
    let mut model = String::new();
    let mut prompt = PromptForm {
        preset: None,
        ..PromptForm::default()
    };
    // The case of the run that is under way on each side.
    let mut under_way: [Option<usize>; 3] = [None; 3];
    for (_, line) in lines {
        match line {
            Line::Module { facts, .. } => model.clone_from(&facts.identity.model),
            Line::Prompt(form) => {
                prompt.clone_from(form);
                prompt.preset = None;
            }
            Line::Run(side) => under_way[*side as usize] = Some(case_of(&mut cases, &model, &prompt)),
            Line::Case(records) => {
                let of = case_of(&mut cases, &model, &prompt);
                let (baselines, prefixed): (Vec<&Record>, Vec<&Record>) =
                    records.iter().partition(|record| record.is_baseline());
                let texts = &mut cases[of].1;
                let text = |record: &&Record| record.text().map(Arc::from);
                let mut baselines = baselines.iter().filter_map(text);
                texts.baseline = texts.baseline.take().or_else(|| baselines.next());
                if let Some(baseline) = texts.baseline.clone() {
                    let others = baselines.chain(prefixed.iter().filter_map(text));
                    pairs.extend(others.map(|text| (Arc::clone(&baseline), text)));
                }
                under_way = [None; 3];
            }
            Line::Ended(side, answer) => {
                let of = under_way[*side as usize]
                    .take()
                    .unwrap_or_else(|| case_of(&mut cases, &model, &prompt));
                // A part of an output is no baseline and no point.
                if answer.finish_reason == FinishReason::Stopped {
                    continue;
                }
                let (text, texts) = (Arc::<str>::from(answer.text.as_str()), &mut cases[of].1);
                match (&texts.baseline, side) {
                    (Some(baseline), _) => {
                        pairs.insert((Arc::clone(baseline), text));
                    }
                    (None, Side::Prefixed) => texts.prefixed.push(text),
                    (None, Side::Baseline | Side::Repeat) => {
                        pairs.extend(texts.prefixed.drain(..).map(|of| (Arc::clone(&text), of)));
                        texts.baseline = Some(text);
                    }
                }
            }
            Line::Failed(side, _) | Line::Dropped(side) => under_way[*side as usize] = None,
            _ => {}
        }
    }
    pairs
}

/// The place of a case among those that were met.
fn case_of(cases: &mut Vec<((String, PromptForm), Texts)>, model: &str, prompt: &PromptForm) -> usize {
    let known = cases.iter().position(|((of, key), _)| of == model && key == prompt);
    known.unwrap_or_else(|| {
        cases.push(((model.to_owned(), prompt.clone()), Texts::default()));
        cases.len() - 1
    })
}

/// For each line the place of the one after which nobody can tell whether it was played.
fn superseded(lines: &[(u64, Line)]) -> Vec<usize> {
    let mut by: Vec<usize> = (0..lines.len()).collect();
    let mut form = None;
    let mut texts: [Vec<usize>; 3] = Default::default();
    for (place, (_, line)) in lines.iter().enumerate() {
        match line {
            Line::Prefix(_) => {
                if let Some(before) = form.replace(place) {
                    by[before] = place;
                }
            }
            // It runs with the prefix as it is.
            Line::Run(side) => {
                texts[*side as usize].clear();
                form = None;
            }
            Line::Text(side, _) => texts[*side as usize].push(place),
            Line::Ended(side, outcome) => {
                let texts = std::mem::take(&mut texts[*side as usize]);
                // The first text also ends the look at an older point.
                for text in texts.into_iter().skip(1).filter(|_| !outcome.text.is_empty()) {
                    by[text] = place;
                }
            }
            Line::Failed(side, _) | Line::Dropped(side) => texts[*side as usize].clear(),
            Line::Lost(_) => texts.iter_mut().for_each(Vec::clear),
            _ => {}
        }
    }
    by
}
