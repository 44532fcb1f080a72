//! Records changes of the workbench as [`Line`]s.
//!
//! The state is compared with what was written last, so that no change can be missed; only the module's answers, and
//! points that are opened or removed, are written as they occur. The bridge adds the time and writes each line at once.

use softprefix_core::compare::{Granularity, Measure};
use softprefix_core::experiment::{GroupKey, Point, Record};
use softprefix_core::protocol::extension;

use super::{Action, Effect, Notice, RunningInference, Workbench};
use crate::messages::{Event, FileQuestion, RecordingEvent, RecordingRequest, Request};
use crate::model::{PrefixForm, PromptForm, RunId, RunKind};
use crate::recording::Line;

/// What was written last.
#[derive(Default)]
pub struct Recorder {
    prefix: Option<PrefixForm>,
    prompt: Option<PromptForm>,
    view: Option<(Measure, Granularity)>,
    /// The shown group.
    group: Option<GroupKey>,
    /// The groups whose runs are written: those that were shown.
    groups: Vec<GroupKey>,
    /// The run of each kind whose start was written, and not its end.
    started: [Option<RunId>; 3],
    /// The bridge was asked to finish the file.
    ending: bool,
    /// Number of finished runs.
    runs: usize,
}

impl Recorder {
    /// Returns the number of recorded prefixed runs that finished.
    pub fn runs(&self) -> usize {
        self.runs
    }
}

const KINDS: [RunKind; 3] = [RunKind::Baseline, RunKind::Prefixed, RunKind::BaselineRepeat];

impl Workbench {
    /// Returns the current recording.
    pub fn recording(&self) -> Option<&Recorder> {
        self.recorder.as_ref().filter(|recorder| !recorder.ending)
    }

    pub(super) fn toggle_recording(&mut self) {
        match &mut self.recorder {
            Some(recorder) if recorder.ending => {}
            Some(recorder) => {
                recorder.ending = true;
                self.request(RecordingRequest::Line(Box::new(Line::Over)));
                self.request(RecordingRequest::End);
            }
            None => self.begin_recording(),
        }
    }

    fn request(&mut self, request: RecordingRequest) {
        self.pending_requests.push(Request::Recording(request));
    }

    pub(super) fn line(&mut self, line: Line) {
        self.request(RecordingRequest::Line(Box::new(line)));
    }

    /// Writes the complete state at the start of the recording.
    fn begin_recording(&mut self) {
        self.request(RecordingRequest::Begin);
        self.recorder = Some(Recorder::default());
        if let Some(facts) = self.module.facts().cloned() {
            let vocabulary = self.vocabulary.clone();
            self.line(Line::Module {
                facts: Box::new(facts),
                vocabulary,
            });
        }
        self.record_forms();
        if let Some(budget) = self.budget.filter(|budget| budget.current) {
            self.line(Line::Count(extension::TokenCounts {
                template: budget.template,
                prompt: budget.prompt,
                window: budget.window,
                prefill_window: budget.prefill_window,
            }));
        }
        self.record_group();
        for kind in KINDS {
            let Some(RunningInference { run, sent, text, .. }) = self.running.get(&kind).cloned() else {
                continue;
            };
            if let Some(recorder) = &mut self.recorder {
                recorder.started[kind as usize] = Some(run);
            }
            self.line(Line::Run(kind));
            if sent.is_some() || !text.is_empty() {
                self.line(Line::Began(kind, sent.map(Box::new)));
            }
            if !text.is_empty() {
                self.line(Line::Text(kind, text));
            }
        }
        self.request(RecordingRequest::StartClock);
    }

    /// Writes that another session is shown. Its first group is written with the other changes.
    pub(super) fn record_session(&mut self) {
        if self.recording().is_none() {
            return;
        }
        self.line(Line::Session);
        if let Some(recorder) = &mut self.recorder {
            recorder.group = None;
            recorder.groups.clear();
            // Playing the line ends all runs.
            recorder.started = [None; 3];
        }
    }

    /// If another group is shown than before, writes its runs, unless they are in the recording, and the opened point.
    fn record_group(&mut self) {
        let shown = self.tuning.shown_group.clone();
        let Some(recorder) = &mut self.recorder else { return };
        if recorder.group == shown {
            return;
        }
        recorder.group.clone_from(&shown);
        let Some(key) = shown else { return };
        let is_written = recorder.groups.contains(&key);
        if !is_written {
            recorder.groups.push(key.clone());
        }
        // Without records, the start of its first run shows it.
        let Some(group) = self.tuning.group() else { return };
        let is_kept = |point: &&Point| point.is_complete && self.tuning.saved.is_undeleted(&point.record);
        let kept: Vec<&Point> = group.points.iter().filter(is_kept).collect();
        let current = self.tuning.current().map(|(record, _)| record);
        let opened = current
            .filter(|record| *record.output() == *self.prefixed.text)
            .and_then(|record| {
                let last = kept.iter().rfind(|point| point.series.is_some());
                let is_last =
                    self.tuning.selected_record.is_none() && last.is_some_and(|last| last.record == record.id);
                // The runs of a session that is being opened have no measures yet, and so no places.
                is_last.then_some(None).or_else(|| self.place_of(&record.id).map(Some))
            });
        if !is_written {
            let records: Vec<Record> = kept
                .iter()
                .filter_map(|point| self.tuning.record(&point.record).cloned())
                .collect();
            if !records.is_empty() {
                let group = Some(Box::new(key.clone()));
                self.line(Line::Case { group, records });
            }
        }
        self.line(Line::Group(Box::new(key)));
        if let Some(place) = opened {
            self.line(Line::Opened(place));
        }
    }

    /// Writes that runs that were removed are in their groups again.
    pub(super) fn record_restored(&mut self, ids: &[String]) {
        let Some(groups) = self.recording().map(|recorder| recorder.groups.clone()) else {
            return;
        };
        let current = self.tuning.current().map(|(record, _)| &record.id);
        let is_opened = self.tuning.selected_record.is_none() && current.is_some_and(|id| ids.contains(id));
        for key in groups {
            let of_group = ids.iter().filter_map(|id| self.tuning.record(id));
            let records: Vec<Record> = of_group.filter(|record| GroupKey::of(record) == key).cloned().collect();
            if !records.is_empty() {
                let group = Some(Box::new(key));
                self.line(Line::Case { group, records });
            }
        }
        if is_opened {
            self.line(Line::Opened(None));
        }
    }

    /// Returns the line for an action whose effect is not visible in the state. Called before the action is handled.
    pub(super) fn line_of_action(&self, action: &Action) -> Option<Line> {
        self.recording()?;
        match action {
            Action::SelectRun(None) => Some(Line::Opened(None)),
            Action::SelectRun(Some(id)) | Action::AdoptRun(id) => self.place_of(id).map(|at| Line::Opened(Some(at))),
            Action::RemoveRun(id) => self.place_of(id).map(Line::Remove),
            Action::ClearRuns if self.tuning.chosen().is_none() => Some(Line::Clear),
            _ => None,
        }
    }

    /// Returns the line for an event. Called before the event is handled: of a run that is not current any more, only the record is
    /// written.
    pub(super) fn line_of_event(&self, event: &Event) -> Option<Line> {
        let recorder = self.recording()?;
        let is_current =
            |run: &RunId, kind: &RunKind| self.running.get(kind).is_some_and(|inference| inference.run == *run);
        match event {
            Event::Ready(facts, vocabulary) => Some(Line::Module {
                facts: facts.clone(),
                vocabulary: vocabulary.clone(),
            }),
            Event::PreviousModule(previous) => Some(Line::Module {
                facts: Box::new(previous.facts.clone()),
                vocabulary: previous.vocabulary.clone(),
            }),
            Event::Lost(problem) => Some(Line::Lost(problem.clone())),
            // Further attempts are left out: how they end is a line of its own.
            Event::Reconnecting(problem, retry) if retry.attempt == 1 => Some(Line::Lost(problem.clone())),
            Event::Counted { system, user, count } => {
                (*system == self.prompt.system && *user == self.prompt.user).then_some(Line::Count(*count))
            }
            Event::Started { run, kind, built } => {
                is_current(run, kind).then(|| Line::Began(*kind, built.clone().map(Box::new)))
            }
            Event::Delta { run, kind, text } => is_current(run, kind).then(|| Line::Text(*kind, text.clone())),
            Event::Finished { run, kind, record } if is_current(run, kind) => {
                // For a failed run, the event that follows is written.
                record
                    .answer()
                    .map(|answer| Line::Ended(*kind, Box::new(answer.clone())))
            }
            Event::Finished { run, record, .. } | Event::CurvePoint { run, record } => {
                let group = GroupKey::of(record);
                // The runs of other groups are written when they are shown.
                let is_added = self.belongs_to_shown_session(*run) && record.is_complete();
                (is_added && recorder.groups.contains(&group)).then(|| Line::Case {
                    group: Some(Box::new(group)),
                    records: vec![(**record).clone()],
                })
            }
            Event::Failed { run, kind, problem } => {
                let is_shown = is_current(run, kind) || self.is_on_pane(*run, *kind);
                is_shown.then(|| Line::Failed(*kind, problem.clone()))
            }
            Event::Dropped { run, kind } => is_current(run, kind).then_some(Line::Dropped(*kind)),
            _ => None,
        }
    }

    /// Writes the effect of an action: what changed in the state, then its line.
    pub(super) fn record_action(&mut self, line: Option<Line>) {
        self.record_changes();
        if let Some(line) = line {
            self.line(line);
        }
    }

    /// Writes the line of an event, then its effect.
    pub(super) fn record_event(&mut self, line: Option<Line>) {
        if let Some(line) = line {
            if let Some(recorder) = &mut self.recorder {
                match &line {
                    Line::Ended(kind, _) | Line::Failed(kind, _) | Line::Dropped(kind) => {
                        recorder.started[*kind as usize] = None;
                    }
                    Line::Lost(_) => recorder.started = [None; 3],
                    _ => {}
                }
                recorder.runs += usize::from(matches!(line, Line::Ended(RunKind::Prefixed, _)));
            }
            self.line(line);
        }
        self.record_changes();
    }

    fn record_changes(&mut self) {
        if self.recording().is_none() {
            return;
        }
        self.record_forms();
        self.record_group();
        for kind in KINDS {
            let now = self.running.get(&kind).map(|inference| inference.run);
            let Some(recorder) = &mut self.recorder else { return };
            let before = std::mem::replace(&mut recorder.started[kind as usize], now);
            match (before, now) {
                _ if before == now => {}
                (_, Some(_)) => self.line(Line::Run(kind)),
                // A run that failed is still that of its pane: its failure is a line of its own.
                (Some(run), None) if self.is_on_pane(run, kind) => {}
                (_, None) => self.line(Line::Dropped(kind)),
            }
        }
    }

    fn record_forms(&mut self) {
        let view = (self.measure, self.granularity);
        let Some(recorder) = &mut self.recorder else { return };
        let mut lines = Vec::new();
        if recorder.prefix.as_ref() != Some(&self.prefix) {
            recorder.prefix = Some(self.prefix.clone());
            lines.push(Line::Prefix(Box::new(self.prefix.clone())));
        }
        if recorder.prompt.as_ref() != Some(&self.prompt) {
            recorder.prompt = Some(self.prompt.clone());
            lines.push(Line::Prompt(Box::new(self.prompt.clone())));
        }
        if recorder.view.replace(view) != Some(view) {
            let (measure, granularity) = view;
            lines.push(Line::View { measure, granularity });
        }
        for line in lines {
            self.line(line);
        }
    }

    fn place_of(&self, id: &str) -> Option<usize> {
        self.tuning.placed().iter().position(|record| record.id == id)
    }

    /// Handles the bridge's events about recordings.
    pub(super) fn absorb_recording(&mut self, event: RecordingEvent) {
        match event {
            RecordingEvent::Ended { path } => {
                self.recorder = None;
                if self.file.asking {
                    // A file dialog is open already: the file stays where it was written.
                    self.notice = Some(Notice::Saved(path));
                    return;
                }
                self.file.asking = true;
                let suggested = path.file_name().map_or_else(
                    || "recording.jsonl".to_owned(),
                    |name| name.to_string_lossy().into_owned(),
                );
                let question = FileQuestion::SaveRecording { suggested, from: path };
                self.effects.push(Effect::Ask(question));
            }
            RecordingEvent::Moved { path } => self.notice = Some(Notice::Saved(path)),
            RecordingEvent::CannotWrite(problem) => {
                self.recorder = None;
                self.notice = Some(Notice::Problem(problem));
            }
            RecordingEvent::Opened { recording } => {
                self.file.end();
                self.play(recording);
            }
            RecordingEvent::Refused(problem) => {
                self.file.end();
                self.notice = Some(Notice::Problem(problem));
            }
        }
    }

    /// Handles the answer of the dialog: another path, or the one where the file is.
    pub(super) fn keep_recording(&mut self, from: std::path::PathBuf, to: Option<std::path::PathBuf>) {
        match to {
            Some(to) => self.request(RecordingRequest::Move { from, to }),
            None => self.notice = Some(Notice::Saved(from)),
        }
    }
}
