//! Plays a recording in a separate workbench; the user's own one is not changed.
//!
//! Requests of the played workbench never reach the bridge: texts are compared here and everything else is dropped, so
//! that a recording cannot start a model, change a setting or use the network. The elapsed time is passed in.

use std::sync::Arc;
use std::time::{Duration, Instant};

use softprefix_core::compare::{Measures, diff};
use softprefix_core::experiment::{Answer, Case, CaseOutcome, GroupKey, MeasuredText, PrefixIdentity, Record};

use super::{Action, PlaybackAction, Tab, Tuning, Workbench};
use crate::messages::{Event, RecordingRequest, Request};
use crate::model::{Pane, Remembered, RunId, RunKind, Settings, Target};
use crate::recording::{Line, PreparedRecording, REMOTE};

/// Time limit for comparing texts in a frame; beyond it a coarser diff is used.
const DIFF_TIME: Duration = Duration::from_millis(4);
/// Step of the arrow keys.
pub const STEP: Duration = Duration::from_secs(5);

/// A recording that is being played.
pub struct Playback {
    pub recording: Arc<PreparedRecording>,
    /// The workbench that shows it.
    pub workbench: Workbench,
    pub playing: bool,
    pub looping: bool,
    /// Factor on the time; 1 is as recorded.
    pub speed: f64,
    /// The user tried something that playback does not support; a message says so.
    pub refused: bool,
    /// Number of seeks, so that views can reset what they keep between frames.
    pub seeks: u64,
    /// Position in milliseconds.
    at: f64,
    /// Number of played lines.
    played: usize,
    /// The view shown before playback, and whether the Presenter was shown.
    pub(super) before: (Tab, bool),
}

impl Playback {
    pub const SPEEDS: [f64; 4] = [1.0, 2.0, 4.0, 0.5];

    fn new(recording: Arc<PreparedRecording>, own: &Workbench) -> Self {
        let mut playback = Self {
            workbench: blank(&own.settings),
            recording,
            playing: true,
            looping: false,
            speed: 1.0,
            refused: false,
            seeks: 0,
            at: 0.0,
            played: 0,
            before: (own.tab, own.presenting),
        };
        playback.catch_up();
        playback
    }

    pub fn at(&self) -> Duration {
        Duration::from_secs_f64(self.at / 1000.0)
    }

    pub fn is_over(&self) -> bool {
        self.at() >= self.recording.length()
    }

    /// Advances the position. Returns the time until the next call, at most 100 ms; `None` while nothing plays.
    pub fn advance(&mut self, time: Duration) -> Option<Duration> {
        if !self.playing {
            return None;
        }
        let length = self.recording.length().as_secs_f64() * 1000.0;
        let to = self.at + time.as_secs_f64() * 1000.0 * self.speed;
        if to >= length && self.looping && length > 0.0 {
            self.seek(Duration::from_secs_f64((to % length) / 1000.0));
        } else {
            self.at = to.min(length);
            self.catch_up();
        }
        // A recording without length has nothing to repeat.
        if self.is_over() && (!self.looping || length == 0.0) {
            self.playing = false;
            return None;
        }
        let next = self
            .recording
            .lines()
            .get(self.played)
            .map_or(length, |(at, _)| *at as f64);
        let wait = ((next - self.at) / self.speed).max(1.0);
        // The displayed time advances in any case.
        Some(Duration::from_secs_f64(wait / 1000.0).min(Duration::from_millis(100)))
    }

    /// Seeks to a time directly.
    pub fn seek(&mut self, to: Duration) {
        let to = to.min(self.recording.length());
        self.at = to.as_secs_f64() * 1000.0;
        let last = self
            .played
            .checked_sub(1)
            .and_then(|last| self.recording.lines().get(last));
        if last.is_some_and(|(at, _)| *at as f64 > self.at) {
            self.workbench = blank(&self.workbench.settings);
            self.played = 0;
        }
        self.seeks += 1;
        self.catch_up();
    }

    /// Plays all lines up to the position.
    fn catch_up(&mut self) {
        let recording = Arc::clone(&self.recording);
        let lines = recording.lines();
        let end = lines.partition_point(|(at, _)| *at as f64 <= self.at);
        let begin = self.played.min(end);
        for (place, ((_, line), &replaced_by)) in lines
            .iter()
            .zip(recording.superseded())
            .enumerate()
            .take(end)
            .skip(begin)
        {
            // A later line up to the position replaces this one.
            if replaced_by < end && replaced_by > place {
                continue;
            }
            self.workbench.play_line(line);
            if matches!(line, Line::Ended(..) | Line::Case { .. }) {
                // Points must exist before one of them is opened; the panes are compared once, at the end.
                let panes = self.workbench.pending_requests.extract_if(.., is_for_panes).next();
                answer(&mut self.workbench, |left, right| measures(&recording, left, right));
                self.workbench.pending_requests.extend(panes);
            }
        }
        self.played = end.max(self.played);
        answer(&mut self.workbench, |left, right| measures(&recording, left, right));
        self.workbench.file = super::FileState::default();
        self.workbench.effects.clear();
    }

    fn act(&mut self, action: PlaybackAction) {
        self.refused = false;
        match action {
            PlaybackAction::Toggle if self.is_over() => {
                self.seek(Duration::ZERO);
                self.playing = true;
            }
            PlaybackAction::Toggle => self.playing = !self.playing,
            PlaybackAction::Seek(to) => self.seek(to),
            PlaybackAction::Step(steps) => {
                let by = STEP * steps.unsigned_abs();
                let to = if steps < 0 {
                    self.at().saturating_sub(by)
                } else {
                    self.at() + by
                };
                self.seek(to);
            }
            PlaybackAction::NextSpeed => {
                let now = Self::SPEEDS.iter().position(|&speed| speed == self.speed).unwrap_or(0);
                self.speed = Self::SPEEDS[(now + 1) % Self::SPEEDS.len()];
            }
            PlaybackAction::ToggleLoop => self.looping = !self.looping,
            PlaybackAction::Open | PlaybackAction::Demo | PlaybackAction::Large | PlaybackAction::Leave => {}
        }
    }
}

fn is_for_panes(request: &mut Request) -> bool {
    matches!(request, Request::Compare(_))
}

/// Most pairs were measured when the recording was prepared.
fn measures(recording: &PreparedRecording, left: &Arc<str>, right: &Arc<str>) -> Measures {
    let known = recording.measures(left, right).cloned();
    known.unwrap_or_else(|| Measures::of(left, right))
}

/// Creates an empty workbench that starts nothing by itself.
fn blank(settings: &Settings) -> Workbench {
    let remembered = Remembered {
        settings: Settings {
            live: false,
            ..settings.clone()
        },
        ..Remembered::default()
    };
    Workbench {
        is_played: true,
        ..Workbench::new(remembered)
    }
}

/// Compares the texts that `workbench` requests, and drops its other requests.
fn answer(workbench: &mut Workbench, measures: impl FnMut(&Arc<str>, &Arc<str>) -> Measures) {
    let mut measures = measures;
    // Each answer may request one more comparison; two rounds are enough, and the loop is bounded.
    for _ in 0..8 {
        let requests = workbench.take_requests();
        if requests.is_empty() {
            return;
        }
        for request in requests {
            match request {
                Request::Compare(texts) => {
                    let until = Instant::now() + DIFF_TIME;
                    let diff = diff(&texts.left, &texts.right, texts.granularity, Some(until));
                    let measures = texts.measured.then(|| Box::new(measures(&texts.left, &texts.right)));
                    workbench.absorb(Event::Compared { texts, diff, measures });
                }
                Request::Measure(comparisons) => {
                    let measured = comparisons.into_iter().map(|comparison| MeasuredText {
                        measures: measures(&comparison.baseline.text, &comparison.text),
                        record: comparison.record,
                    });
                    workbench.absorb(Event::Measured(measured.collect()));
                }
                _ => {}
            }
        }
    }
}

impl Workbench {
    /// Applies a recorded line.
    fn play_line(&mut self, line: &Line) {
        match line {
            Line::Module { facts, vocabulary } => {
                // `Ready` fits the prefix form to the module; the form after that is a line of its own.
                let prefix = self.prefix.clone();
                self.target = if facts.is_embedded() {
                    Target::default()
                } else {
                    // The module's address is not recorded.
                    Target::Remote {
                        address: REMOTE.to_owned(),
                        model: None,
                    }
                };
                self.absorb(Event::Ready(facts.clone(), vocabulary.clone()));
                self.prefix = prefix;
            }
            Line::Lost(problem) => self.absorb(Event::Lost(problem.clone())),
            Line::Prefix(form) => {
                self.prefix = (**form).clone();
                self.prefix_changed();
            }
            Line::Prompt(form) => {
                self.prompt = (**form).clone();
                self.count();
                self.refresh_stale();
            }
            Line::View { measure, granularity } => {
                self.measure = *measure;
                if self.granularity != *granularity {
                    self.apply(Action::SetGranularity(*granularity));
                }
            }
            Line::Count(count) => {
                let (system, user) = (self.prompt.system.clone(), self.prompt.user.clone());
                self.absorb(Event::Counted {
                    system,
                    user,
                    count: *count,
                });
            }
            Line::Session => self.change_to(Tuning::default()),
            Line::Case { group, records } => self.play_case(group.as_deref(), records),
            Line::Group(key) => self.show_group((**key).clone()),
            Line::Run(kind) => {
                self.play_run(*kind);
            }
            Line::Began(kind, built) => {
                let Some(run) = self.played_run(*kind) else { return };
                let built = built.as_deref().cloned();
                if *kind == RunKind::Prefixed && built.is_some() {
                    self.next_prefix.built = built.clone().map(Ok);
                    self.next_prefix.stale = false;
                }
                self.absorb(Event::Started {
                    run,
                    kind: *kind,
                    built,
                });
            }
            Line::Text(kind, text) => {
                let (Some(run), text) = (self.played_run(*kind), text.clone()) else {
                    return;
                };
                self.absorb(Event::Delta { run, kind: *kind, text });
            }
            Line::Ended(kind, answer) => {
                let Some(run) = self.played_run(*kind) else { return };
                let Some(record) = self.played_record(*kind, answer) else {
                    return;
                };
                let record = Box::new(record);
                self.absorb(Event::Finished {
                    run,
                    kind: *kind,
                    record,
                });
            }
            Line::Failed(kind, problem) => {
                let (Some(run), problem) = (self.played_run(*kind), problem.clone()) else {
                    return;
                };
                self.absorb(Event::Failed {
                    run,
                    kind: *kind,
                    problem,
                });
            }
            Line::Dropped(kind) => {
                let Some(run) = self.running.get(kind).map(|inference| inference.run) else {
                    return;
                };
                self.absorb(Event::Dropped { run, kind: *kind });
            }
            Line::Opened(at) => {
                let id = at.and_then(|at| self.tuning.placed().get(at).map(|record| record.id.clone()));
                self.apply(Action::SelectRun(id));
            }
            Line::Remove(at) => {
                let id = self.tuning.placed().get(*at).map(|record| record.id.clone());
                if let Some(id) = id {
                    self.apply(Action::RemoveRun(id));
                }
            }
            Line::Clear => self.apply(Action::ClearRuns),
            // The changes that it made are lines of their own.
            Line::External(_) | Line::Over => {}
        }
    }

    /// Starts a run of the current controls, as the recorded workbench did.
    fn play_run(&mut self, kind: RunKind) -> Option<RunId> {
        let key = match kind {
            RunKind::BaselineRepeat => self.tuning.shown_group.clone()?,
            RunKind::Baseline | RunKind::Prefixed => self.show_controls(),
        };
        self.start_run(kind, key, Duration::ZERO);
        self.running.get(&kind).map(|inference| inference.run)
    }

    /// Returns the record of a run that ends.
    fn played_record(&self, kind: RunKind, answer: &Answer) -> Option<Record> {
        let inference = self.running.get(&kind)?;
        let facts = self.module.last_facts().cloned().unwrap_or_default();
        let index = self.tuning.saved.records.len();
        let recipe = inference.recipe.clone();
        Some(Record {
            prefix: inference
                .sent
                .clone()
                .or_else(|| recipe.clone().map(PrefixIdentity::unknown)),
            ..Record::new(
                "",
                Case::new(index, 0, 0, recipe),
                inference.key.prompt.clone(),
                inference.key.settings.clone(),
                facts.identity,
                CaseOutcome::Done(answer.clone()),
            )
        })
    }

    /// Returns the current run of a kind; one whose start is not in the file starts now.
    fn played_run(&mut self, kind: RunKind) -> Option<RunId> {
        match self.running.get(&kind) {
            Some(inference) => Some(inference.run),
            None => self.play_run(kind),
        }
    }

    /// Adds finished runs to a group; without one, to that of the controls, which is then shown.
    fn play_case(&mut self, group: Option<&GroupKey>, records: &[Record]) {
        let key = group.cloned().unwrap_or_else(|| self.group_key());
        let mut comparisons = Vec::new();
        for record in records {
            let index = self.tuning.saved.records.len();
            let mut record = record.clone();
            // As `Record::new` makes it for an experiment without an id.
            (record.id, record.experiment) = (format!("/{index}"), String::new());
            // Those of the group, so that later runs are in it, too.
            record.module.address.clone_from(&key.address);
            record.module.model.clone_from(&key.model);
            record.module.model_sha256.clone_from(&key.model_sha256);
            (record.prompt, record.settings) = (key.prompt.clone(), key.settings.clone());
            comparisons.extend(self.tuning.add(record));
        }
        self.measure(comparisons);
        if group.is_none() {
            // Earlier versions had no line for a session that was opened.
            self.clear_running();
            self.prefixed = Pane::default();
            self.show_group(key);
        }
    }

    /// Shows a recording instead of the user's work, which is kept.
    pub fn play(&mut self, recording: Arc<PreparedRecording>) {
        let exhibited = self
            .exhibition
            .as_ref()
            .is_some_and(|exhibition| !exhibition.is_touched());
        if exhibited && self.module.is_ready() {
            // The recording stood in for a module that is connected again.
            return;
        }
        let mut playback = Playback::new(recording, self);
        if let Some(former) = self.playback.take() {
            playback.before = former.before;
        }
        playback.looping = exhibited;
        self.answer_path(None);
        self.dialog = None;
        self.notice = None;
        self.playback = Some(Box::new(playback));
        self.sync_played();
    }

    pub(super) fn playback_acts(&mut self, action: PlaybackAction) {
        match action {
            PlaybackAction::Open => self.ask(crate::messages::FileQuestion::Open),
            PlaybackAction::Demo => self
                .pending_requests
                .push(Request::Recording(RecordingRequest::OpenDemo)),
            PlaybackAction::Large => self.presenting = true,
            PlaybackAction::Leave => self.leave_playback(),
            action => {
                if let Some(playback) = &mut self.playback {
                    playback.act(action);
                }
            }
        }
        self.sync_played();
    }

    pub(super) fn leave_playback(&mut self) {
        let Some(playback) = self.playback.take() else { return };
        let (tab, presenting) = playback.before;
        self.tab = tab;
        if self.presenting != presenting {
            self.act(Action::Present(presenting));
        }
    }

    /// During playback, handles the actions that are meant for the recording, and drops those that are not possible.
    /// Returns an action that is handled as usual.
    pub(super) fn unless_for_playback(&mut self, action: Action) -> Option<Action> {
        let Some(playback) = &mut self.playback else {
            return Some(action);
        };
        match action {
            // The window, and the files.
            Action::Playback(_)
            | Action::Exhibit(_)
            | Action::SetTheme(_)
            | Action::ToggleTheme
            | Action::SetLanguage(_)
            | Action::ToggleLanguage
            | Action::SetZoom(_)
            | Action::ZoomIn
            | Action::ZoomOut
            | Action::ZoomReset
            | Action::ToggleFullscreen
            | Action::ShowSettings(_)
            | Action::Present(_)
            | Action::SetAdvanced(_)
            | Action::SetTextsHeight(..)
            | Action::ShowDialog(super::Dialog::Help | super::Dialog::About | super::Dialog::FirstSteps)
            | Action::CloseDialog
            | Action::AnswerPath(_)
            | Action::DismissNotice
            | Action::OpenPage(_)
            | Action::Quit => Some(action),
            Action::SetMeasure(_)
            | Action::NextMeasure
            | Action::SetGranularity(_)
            | Action::ToggleGranularity
            | Action::StepDifference(_)
            | Action::Pin(_)
            | Action::ShowRuns(_)
            | Action::ToggleTextsAlone
            | Action::SelectRun(_) => {
                if matches!(action, Action::SelectRun(_)) {
                    // An opened point must not be overwritten by playback.
                    playback.playing = false;
                }
                playback.workbench.apply(action);
                let recording = Arc::clone(&playback.recording);
                answer(&mut playback.workbench, |left, right| measures(&recording, left, right));
                None
            }
            Action::CopyText(_) => {
                playback.workbench.apply(action);
                self.effects.append(&mut playback.workbench.effects);
                None
            }
            Action::ShowTab(Tab::Tune) => None,
            _ => {
                playback.refused = true;
                None
            }
        }
    }

    /// Copies the window's own settings to the played workbench.
    pub(super) fn sync_played(&mut self) {
        let Some(playback) = &mut self.playback else { return };
        let workbench = &mut playback.workbench;
        workbench.settings = Settings {
            live: false,
            ..self.settings.clone()
        };
        workbench.presenting = self.presenting;
        workbench.fullscreen = self.fullscreen;
        workbench.tab = Tab::Tune;
        workbench.dialog = self
            .dialog
            .filter(|dialog| matches!(dialog, super::Dialog::Help | super::Dialog::About | super::Dialog::Path));
        workbench.path_asked.clone_from(&self.path_asked);
        workbench.notice = match &self.notice {
            Some(notice @ super::Notice::Problem(_)) => Some(notice.clone()),
            _ => None,
        };
    }

    /// Advances playback and the exhibition. Returns the time until the next call; `None` while neither runs.
    pub fn advance(&mut self, time: Duration) -> Option<Duration> {
        let played = self.playback.as_mut().and_then(|playback| playback.advance(time));
        if played.is_some() {
            self.sync_played();
        }
        let exhibited = self.advance_exhibition(time);
        match (played, exhibited) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    /// Returns the workbench to show: that of the recording, or the user's own.
    pub fn shown(&self) -> &Self {
        self.playback.as_ref().map_or(self, |playback| &playback.workbench)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recording::{DEMO, Recording};

    #[test]
    fn the_lines_of_a_recording_name_every_pair_of_texts_that_playing_it_compares() {
        let recording = PreparedRecording::new(None, Recording::read(DEMO, "demo.jsonl").unwrap());
        let mut workbench = blank(&Settings::default());
        let mut compared = 0;
        for (_, line) in recording.lines() {
            workbench.play_line(line);
            answer(&mut workbench, |left, right| {
                compared += 1;
                recording.measures(left, right).unwrap().clone()
            });
        }
        assert!(compared > 10, "{compared}");
    }

    #[test]
    fn a_recording_without_length_stops_although_it_is_to_be_repeated() {
        let file = "{\"softprefix_recording\":1}\n{\"t\":0,\"prefix\":{\"magnitude\":2.5}}\n";
        let recording = Recording::read(file.as_bytes(), "x").unwrap();
        let recording = Arc::new(PreparedRecording::new(None, recording));
        let mut playback = Playback::new(recording, &blank(&Settings::default()));
        playback.looping = true;
        assert_eq!(playback.advance(Duration::from_millis(50)), None);
        assert!(!playback.playing);
    }
}
