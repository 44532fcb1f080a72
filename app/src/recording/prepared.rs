//! Prepares a recording for playback: which lines can be skipped when seeking, and the measures of its texts.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use softprefix_core::compare::Measures;
use softprefix_core::experiment::{GroupKey, ModuleIdentity, Record};
use softprefix_core::prefix::PrefixRecipe;
use softprefix_core::protocol::extension::FinishReason;

use super::{Line, Recording};
use crate::model::{PrefixForm, PromptForm, RunKind};

/// A recording prepared for playback: which lines can be skipped when seeking, and the measures of its texts.
#[derive(Debug)]
pub struct PreparedRecording {
    /// The file's name; `None` for the recording that is part of the program.
    pub name: Option<String>,
    recording: Recording,
    superseded: Vec<usize>,
    measures: HashMap<(Arc<str>, Arc<str>), Measures>,
}

impl PreparedRecording {
    /// Prepares a recording.
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

    /// Returns the events, each with its time in milliseconds since the start.
    pub(crate) fn lines(&self) -> &[(u64, Line)] {
        &self.recording.lines
    }

    /// Returns, for each line, the index of the line that makes it unnecessary; its own index if there is none.
    pub(crate) fn superseded(&self) -> &[usize] {
        &self.superseded
    }

    pub fn length(&self) -> Duration {
        self.recording.length()
    }

    /// Returns the time of the recording, in seconds since 1970; 0 if the file does not say.
    pub fn at_unix(&self) -> u64 {
        self.recording.at_unix
    }

    /// Returns a summary in one line.
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

    /// Returns the measures of two texts that are compared in the recording.
    pub(crate) fn measures(&self, left: &Arc<str>, right: &Arc<str>) -> Option<&Measures> {
        self.measures.get(&(Arc::clone(left), Arc::clone(right)))
    }
}

type Pair = (Arc<str>, Arc<str>);

/// The texts of a group.
#[derive(Default)]
struct Texts {
    baseline: Option<Arc<str>>,
    /// Texts that are waiting for the baseline.
    prefixed: Vec<Arc<str>>,
}

/// Returns the texts that are compared when these lines are played: each finished text with the first baseline of its
/// group.
fn pairs(lines: &[(u64, Line)]) -> HashSet<Pair> {
    let mut pairs = HashSet::new();
    let mut groups: Vec<(GroupKey, Texts)> = Vec::new();
    let mut module = ModuleIdentity::default();
    let mut prompt = PromptForm::default();
    let of_fields =
        |module: &ModuleIdentity, prompt: &PromptForm| GroupKey::new(module, prompt.prompt(), prompt.settings());
    // The group of the current run of each kind.
    let mut under_way: [Option<usize>; 3] = [None; 3];
    for (_, line) in lines {
        match line {
            Line::Module { facts, .. } => module.clone_from(&facts.identity),
            Line::Prompt(form) => prompt.clone_from(form),
            Line::Session => {
                groups.clear();
                under_way = [None; 3];
            }
            Line::Run(kind) => under_way[*kind as usize] = Some(place_of(&mut groups, of_fields(&module, &prompt))),
            Line::Case { group, records } => {
                let key = group.as_deref().cloned();
                let of = place_of(&mut groups, key.unwrap_or_else(|| of_fields(&module, &prompt)));
                let (baselines, prefixed): (Vec<&Record>, Vec<&Record>) =
                    records.iter().partition(|record| record.is_baseline());
                let texts = &mut groups[of].1;
                let text = |record: &&Record| record.text().map(Arc::from);
                let mut baselines = baselines.iter().filter_map(text);
                texts.baseline = texts.baseline.take().or_else(|| baselines.next());
                if let Some(baseline) = texts.baseline.clone() {
                    let others = baselines.chain(prefixed.iter().filter_map(text));
                    pairs.extend(others.map(|text| (Arc::clone(&baseline), text)));
                }
                if group.is_none() {
                    // Playing it ends all runs.
                    under_way = [None; 3];
                }
            }
            Line::Ended(kind, answer) => {
                let of = under_way[*kind as usize]
                    .take()
                    .unwrap_or_else(|| place_of(&mut groups, of_fields(&module, &prompt)));
                // A partial output is neither a baseline nor a point.
                if answer.finish_reason == FinishReason::Stopped {
                    continue;
                }
                let (text, texts) = (Arc::<str>::from(answer.text.as_str()), &mut groups[of].1);
                match (&texts.baseline, kind) {
                    (Some(baseline), _) => {
                        pairs.insert((Arc::clone(baseline), text));
                    }
                    (None, RunKind::Prefixed) => texts.prefixed.push(text),
                    (None, RunKind::Baseline | RunKind::BaselineRepeat) => {
                        pairs.extend(texts.prefixed.drain(..).map(|of| (Arc::clone(&text), of)));
                        texts.baseline = Some(text);
                    }
                }
            }
            Line::Failed(kind, _) | Line::Dropped(kind) => under_way[*kind as usize] = None,
            _ => {}
        }
    }
    pairs
}

/// Returns the index of a group among those seen so far, adding it if it is new.
fn place_of(groups: &mut Vec<(GroupKey, Texts)>, key: GroupKey) -> usize {
    let known = groups.iter().position(|(of, _)| *of == key);
    known.unwrap_or_else(|| {
        groups.push((key, Texts::default()));
        groups.len() - 1
    })
}

/// Returns, for each line, the index of the line after which its effect is no longer visible.
fn superseded(lines: &[(u64, Line)]) -> Vec<usize> {
    let mut by: Vec<usize> = (0..lines.len()).collect();
    let mut form = None;
    let mut recipe = PrefixForm::default().recipe();
    let mut ran: Vec<PrefixRecipe> = Vec::new();
    let mut texts: [Vec<usize>; 3] = Default::default();
    for (place, (_, line)) in lines.iter().enumerate() {
        match line {
            Line::Prefix(fields) => {
                if let Some(before) = form.take() {
                    by[before] = place;
                }
                // A prefix with a saved run shows it, and the text stays in the pane after the next change.
                recipe = fields.recipe();
                form = (!ran.contains(&recipe)).then_some(place);
            }
            // A run uses the prefix as it is at that time.
            Line::Run(kind) => {
                texts[*kind as usize].clear();
                form = None;
                if *kind == RunKind::Prefixed {
                    ran.push(recipe.clone());
                }
            }
            Line::Text(kind, _) => texts[*kind as usize].push(place),
            Line::Ended(kind, outcome) => {
                let texts = std::mem::take(&mut texts[*kind as usize]);
                // The first text also ends the view of an older point.
                for text in texts.into_iter().skip(1).filter(|_| !outcome.text.is_empty()) {
                    by[text] = place;
                }
            }
            Line::Failed(kind, _) | Line::Dropped(kind) => texts[*kind as usize].clear(),
            Line::Lost(_) => texts.iter_mut().for_each(Vec::clear),
            Line::Session => {
                texts.iter_mut().for_each(Vec::clear);
                ran.clear();
            }
            Line::Case { records, .. } => ran.extend(records.iter().filter_map(|record| record.case.recipe.clone())),
            _ => {}
        }
    }
    by
}
