//! Records changes of the workbench as [`Line`]s.
//!
//! The state is compared with what was written last, so that no change can be missed; only the module's answers, and
//! points that are opened or removed, are written as they occur. The bridge adds the time and writes each line at once.

use softprefix_core::compare::{Granularity, Measure};
use softprefix_core::experiment::{GroupKey, Record};
use softprefix_core::protocol::extension;

use super::{Action, Effect, Notice, RunningInference, Workbench};
use crate::messages::{Event, FileQuestion, RecordingEvent, RecordingRequest, Request};
use crate::model::{PrefixForm, PromptForm, RunId, RunKind};
use crate::recording::Line;

/// What was written last.
pub struct Recorder {
    prefix: Option<PrefixForm>,
    prompt: Option<PromptForm>,
    view: Option<(Measure, Granularity)>,
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
        self.recorder = Some(Recorder {
            prefix: None,
            prompt: None,
            view: None,
            started: [None; 3],
            ending: false,
            runs: 0,
        });
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
        self.record_case();
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
        self.request(RecordingRequest::Run);
    }

    /// Writes the shown case, if it has a baseline, and the opened point.
    fn record_case(&mut self) {
        let Some(key) = self.tuning.baseline().map(GroupKey::of) else {
            return;
        };
        let complete = |record: &&Record| record.is_complete() && GroupKey::of(record) == key;
        let records = self.tuning.saved.undeleted().filter(complete).cloned().collect();
        let current = self.tuning.current().map(|(record, _)| record);
        let shown = current
            .filter(|record| *record.output() == *self.prefixed.text)
            .map(|record| record.id.clone());
        self.line(Line::Case(records));
        if let Some(place) = shown.and_then(|id| self.place_of(&id)) {
            self.line(Line::Opened(Some(place)));
        }
    }

    /// Returns the line for an action whose effect is not visible in the state. Called before the action is handled.
    pub(super) fn note_action(&self, action: &Action) -> Option<Line> {
        self.recording()?;
        match action {
            Action::SelectRun(None) => Some(Line::Opened(None)),
            Action::SelectRun(Some(id)) | Action::AdoptRun(id) => self.place_of(id).map(|at| Line::Opened(Some(at))),
            Action::RemoveRun(id) => self.place_of(id).map(Line::Remove),
            Action::ClearRuns => Some(Line::Clear),
            _ => None,
        }
    }

    /// Returns the line for an event of a current run. Called before the event is handled, so that events of replaced
    /// runs are left out.
    pub(super) fn note_event(&self, event: &Event) -> Option<Line> {
        self.recording()?;
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
            // Its result is the next line.
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
            Event::Failed { run, kind, problem } => {
                let is_shown = is_current(run, kind) || self.is_on_pane(*run, *kind);
                is_shown.then(|| Line::Failed(*kind, problem.clone()))
            }
            Event::Dropped { run, kind } => is_current(run, kind).then_some(Line::Dropped(*kind)),
            _ => None,
        }
    }

    /// Writes the effect of an action: the fields and runs that changed, then the line noted before.
    pub(super) fn record_action(&mut self, noted: Option<Line>) {
        self.record_changes();
        if let Some(line) = noted {
            self.line(line);
        }
    }

    /// Writes an event, then its effect.
    pub(super) fn record_event(&mut self, noted: Option<Line>, opened: bool) {
        if let Some(line) = noted {
            if let (Line::Ended(crate::model::RunKind::Prefixed, _), Some(recorder)) = (&line, &mut self.recorder) {
                recorder.runs += 1;
            }
            self.line(line);
        }
        self.record_changes();
        if opened && self.recording().is_some() {
            self.record_case();
        }
    }

    fn record_changes(&mut self) {
        if self.recording().is_none() {
            return;
        }
        self.record_forms();
        for kind in KINDS {
            let now = self.running.get(&kind).map(|inference| inference.run);
            let Some(recorder) = &mut self.recorder else { return };
            let before = std::mem::replace(&mut recorder.started[kind as usize], now);
            if now.is_some() && now != before {
                self.line(Line::Run(kind));
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
