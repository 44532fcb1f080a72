//! What a person sees of a recorded workbench, and what the lines that it wrote show when they are played.

use softprefix_core::experiment::Point;

use super::*;
use crate::recording::{PreparedRecording, Recording, Writer};

/// What is shown at a moment.
#[derive(Debug, PartialEq)]
struct Shown {
    prefix: PrefixForm,
    prompt: PromptForm,
    /// The baseline's pane, and that of the prefix: text, state, error, and whether the text is faded.
    panes: [(String, PaneState, Option<String>, bool); 2],
    /// Magnitude and text of each point.
    points: Vec<(f64, String)>,
    /// The text of the opened point.
    opened: Option<String>,
    is_checking: bool,
    is_deterministic: Option<bool>,
}

fn shown(workbench: &Workbench) -> Shown {
    let pane = |pane: &Pane| {
        let error = pane.error.as_ref().map(|problem| problem.sentence.en.clone());
        (pane.text.to_string(), pane.state, error, pane.stale)
    };
    let point = |(record, point): (&Record, &Point)| (point.magnitude(), record.output().to_owned());
    let opened = workbench.tuning.selected_record.as_ref();
    Shown {
        prefix: workbench.prefix.clone(),
        prompt: workbench.prompt.clone(),
        panes: [pane(&workbench.baseline), pane(&workbench.prefixed)],
        points: workbench.tuning.points().map(point).collect(),
        opened: opened.map(|id| workbench.tuning.record(id).unwrap().output().to_owned()),
        is_checking: workbench.repeat_progress().is_some(),
        is_deterministic: workbench
            .tuning
            .group()
            .filter(|group| group.noise.is_some())
            .map(Group::is_deterministic),
    }
}

/// A workbench that is recorded: its lines, and what it showed after how many of them.
struct Recorded {
    workbench: Workbench,
    lines: Vec<Line>,
    moments: Vec<(usize, Shown)>,
}

impl Recorded {
    fn begin(workbench: Workbench) -> Self {
        let mut recorded = Self {
            workbench,
            lines: Vec::new(),
            moments: Vec::new(),
        };
        recorded.apply(Action::ToggleRecording);
        recorded
    }

    fn apply(&mut self, action: Action) {
        self.workbench.apply(action);
        self.settle();
    }

    fn absorb(&mut self, event: Event) {
        self.workbench.absorb(event);
        self.settle();
    }

    /// Answers comparisons, takes the lines and notes what is shown.
    fn settle(&mut self) {
        compare(&mut self.workbench);
        let lines = self.workbench.pending_requests.extract_if(.., |request| {
            matches!(request, Request::Recording(RecordingRequest::Line(_)))
        });
        self.lines.extend(lines.map(|request| match request {
            Request::Recording(RecordingRequest::Line(line)) => *line,
            other => panic!("{other:?}"),
        }));
        self.moments.push((self.lines.len(), shown(&self.workbench)));
    }

    /// Takes the runs that were started; other requests stay.
    fn started(&mut self) -> Vec<Inference> {
        let started = self
            .workbench
            .pending_requests
            .extract_if(.., |request| matches!(request, Request::Infer(_)));
        started
            .map(|request| match request {
                Request::Infer(inference) => *inference,
                other => panic!("{other:?}"),
            })
            .collect()
    }

    /// Starts a run at a magnitude, and ends it and all that follows.
    fn run(&mut self, magnitude: f64) {
        self.apply(Action::SetMagnitude(magnitude));
        self.apply(Action::Run);
        self.finish_all();
    }

    fn finish_all(&mut self) {
        loop {
            let started = self.started();
            if started.is_empty() {
                return;
            }
            for inference in started {
                self.end(&inference);
            }
        }
    }

    /// Ends a run with its text.
    fn end(&mut self, inference: &Inference) {
        let (run, kind) = (inference.run, inference.kind);
        let built = inference.recipe.as_ref().map(identity);
        self.absorb(Event::Started { run, kind, built });
        let text = text_of(inference);
        self.absorb(Event::Delta { run, kind, text });
        let record = self.record(inference);
        self.absorb(Event::Finished { run, kind, record });
    }

    /// The record of a run of the module in use.
    fn record(&self, inference: &Inference) -> Box<Record> {
        let mut record = record(inference, &text_of(inference), FinishReason::Stop);
        record.module = self.workbench.module.last_facts().unwrap().identity.clone();
        record
    }

    /// The id of the run with this text.
    fn id(&self, text: &str) -> String {
        let records = &self.workbench.tuning.saved.records;
        records
            .iter()
            .find(|record| record.output() == text)
            .unwrap()
            .id
            .clone()
    }

    fn file(&self, lines: &[Line]) -> Arc<PreparedRecording> {
        let (mut writer, mut file) = (Writer::default(), Writer::head(0));
        for (time, line) in (0..).zip(lines) {
            file.extend(writer.line(time, line));
        }
        Arc::new(PreparedRecording::new(
            None,
            Recording::read(file.as_bytes(), "x").unwrap(),
        ))
    }

    /// Plays the lines, in order and by seeking to each moment, and compares what they show with what was shown.
    fn plays_as_it_was_shown(&self) {
        let recording = self.file(&self.lines);
        let mut in_order = viewer(&recording);
        for (count, was) in &self.moments {
            let last = &self.lines[count - 1];
            seek(&mut in_order, count - 1);
            assert_eq!(shown(in_order.shown()), *was, "after line {count}, {last:?}");
            let mut directly = viewer(&recording);
            seek(&mut directly, count - 1);
            assert_eq!(shown(directly.shown()), *was, "directly after line {count}, {last:?}");
        }
        assert_eq!(in_order.shown().curve.progress(), None, "playing starts nothing");
    }
}

/// A workbench in which a recording is played.
fn viewer(recording: &Arc<PreparedRecording>) -> Workbench {
    let mut viewer = workbench();
    viewer.settings.fill_curve = true;
    viewer.play(Arc::clone(recording));
    viewer
}

fn seek(viewer: &mut Workbench, milliseconds: usize) {
    let to = Duration::from_millis(milliseconds as u64);
    viewer.apply(Action::Playback(PlaybackAction::Seek(to)));
}

/// Another text for each prompt and prefix; the same where a baseline is repeated.
fn text_of(inference: &Inference) -> String {
    let prompt = &inference.input.prompt.user;
    match &inference.recipe {
        Some(recipe) => format!("{prompt} at {:?}", recipe.magnitude),
        None => format!("{prompt} without a prefix"),
    }
}

fn at(prompt: &str, magnitude: f64) -> String {
    format!("{prompt} at {:?}", Magnitude::TokenNorms(magnitude))
}

/// A workbench with a session of two prompts, each with runs at 1 and 2 token norms.
fn with_two_prompts() -> Workbench {
    let mut recorded = Recorded::begin(ready());
    for prompt in ["sea", "sky"] {
        recorded.apply(Action::SetPrompt(prompt.to_owned()));
        recorded.run(1.0);
        recorded.run(2.0);
    }
    recorded.plays_as_it_was_shown();
    let mut workbench = recorded.workbench;
    workbench.recorder = None;
    workbench
}

/// The session of a workbench as the library has it.
fn saved(workbench: &Workbench) -> SavedExperiment {
    let mut saved = workbench.tuning.saved.clone();
    saved.experiment.id = "session".to_owned();
    saved
}

fn opened(saved: SavedExperiment) -> Event {
    Event::Library(Box::new(LibraryEvent::Read(vec![saved])))
}

#[test]
fn a_recording_begins_with_the_shown_prompt_and_has_the_runs_of_another_once_it_is_shown() {
    let mut recorded = Recorded::begin(with_two_prompts());
    recorded.apply(Action::SelectRun(Some(recorded.id(&at("sky", 1.0)))));
    recorded.apply(Action::SelectRun(Some(recorded.id(&at("sea", 1.0)))));
    assert_eq!(points(&recorded.workbench), 2);
    recorded.apply(Action::SelectRun(Some(recorded.id(&at("sky", 2.0)))));
    recorded.apply(Action::RemoveRun(recorded.id(&at("sky", 1.0))));
    recorded.apply(Action::SetPrompt("sea".to_owned()));
    recorded.run(3.0);
    recorded.apply(Action::RemoveRun(recorded.id(&at("sea", 2.0))));
    recorded.apply(Action::SelectRun(Some(recorded.id(&at("sea", 3.0)))));
    recorded.plays_as_it_was_shown();
}

#[test]
fn a_new_session_is_played_empty_and_its_points_are_opened_and_removed() {
    let mut recorded = Recorded::begin(with_two_prompts());
    recorded.apply(Action::NewSession);
    assert!(recorded.workbench.baseline.text.is_empty());
    recorded.run(3.0);
    recorded.run(0.5);
    recorded.apply(Action::SelectRun(Some(recorded.id(&at("sky", 3.0)))));
    recorded.apply(Action::RemoveRun(recorded.id(&at("sky", 0.5))));
    assert_eq!(points(&recorded.workbench), 1);
    recorded.plays_as_it_was_shown();
}

#[test]
fn a_run_that_is_removed_and_restored_is_played_as_a_point_again() {
    let mut recorded = Recorded::begin(with_two_prompts());
    recorded.apply(Action::RemoveRun(recorded.id(&at("sky", 2.0))));
    recorded.apply(Action::RestoreRuns);
    assert_eq!(points(&recorded.workbench), 2);
    recorded.apply(Action::SelectRun(Some(recorded.id(&at("sky", 1.0)))));
    recorded.plays_as_it_was_shown();
}

#[test]
fn a_session_that_is_deleted_while_it_is_shown_is_played_as_an_empty_one() {
    let mut workbench = with_two_prompts();
    let saved = saved(&workbench);
    let listed = LibraryEvent::Listed {
        experiments: vec![Summary::of(&saved, Condition::default())],
        problems: Vec::new(),
    };
    workbench.absorb(Event::Library(Box::new(listed)));
    workbench.absorb(opened(saved.clone()));
    compare(&mut workbench);
    let mut recorded = Recorded::begin(workbench);
    recorded.apply(Action::RemoveRun(recorded.id(&at("sky", 1.0))));
    let deleted = Entry::Deleted {
        id: saved.experiment.id,
    };
    recorded.absorb(Event::Library(Box::new(LibraryEvent::Appended(Box::new(deleted)))));
    assert!(recorded.workbench.tuning.is_empty());
    recorded.run(3.0);
    recorded.plays_as_it_was_shown();
}

#[test]
fn an_opened_session_is_played_with_its_points_and_panes_in_place_of_the_former_ones() {
    let saved = saved(&with_two_prompts());
    let mut workbench = ready();
    workbench.apply(Action::SetPrompt("sky".to_owned()));
    let mut recorded = Recorded::begin(workbench);
    recorded.run(0.1);
    recorded.apply(Action::SetMagnitude(5.0));
    recorded.apply(Action::Run);
    recorded.absorb(opened(saved));
    assert_eq!(recorded.workbench.prefixed.text.as_ref(), at("sky", 2.0));
    assert_eq!(points(&recorded.workbench), 2);
    recorded.apply(Action::SelectRun(Some(recorded.id(&at("sky", 1.0)))));
    recorded.apply(Action::RemoveRun(recorded.id(&at("sky", 2.0))));
    // Its other prompt, whose baseline is there.
    recorded.apply(Action::SetPrompt("sea".to_owned()));
    recorded.run(3.0);
    assert_eq!(points(&recorded.workbench), 3);
    recorded.apply(Action::SelectRun(Some(recorded.id(&at("sea", 1.0)))));
    recorded.plays_as_it_was_shown();
}

#[test]
fn the_runs_of_a_session_from_another_module_are_faded_and_apart_from_those_that_follow() {
    let mut saved = saved(&with_two_prompts());
    for record in &mut saved.records {
        record.module.address = "10.0.0.9:10001".to_owned();
    }
    let mut recorded = Recorded::begin(ready());
    recorded.absorb(opened(saved));
    assert!(recorded.workbench.prefixed.stale);
    recorded.apply(Action::SelectRun(Some(recorded.id(&at("sky", 1.0)))));
    recorded.run(3.0);
    assert_eq!(points(&recorded.workbench), 1);
    recorded.apply(Action::SelectRun(Some(recorded.id(&at("sky", 1.0)))));
    assert_eq!(points(&recorded.workbench), 2);
    recorded.plays_as_it_was_shown();
}

#[test]
fn a_recording_of_an_earlier_version_plays_its_case_as_that_of_the_fields() {
    let mut recorded = Recorded::begin(with_two_prompts());
    recorded.run(3.0);
    recorded.apply(Action::SelectRun(Some(recorded.id(&at("sky", 1.0)))));
    let lines: Vec<Line> = recorded
        .lines
        .iter()
        .filter(|line| !matches!(line, Line::Group(_)))
        .map(|line| match line {
            Line::Case { records, .. } => Line::Case {
                group: None,
                records: records.clone(),
            },
            other => other.clone(),
        })
        .collect();
    assert_eq!(lines.len() + 1, recorded.lines.len());
    let mut viewer = viewer(&recorded.file(&lines));
    seek(&mut viewer, lines.len());
    assert_eq!(shown(viewer.shown()), shown(&recorded.workbench));
}

#[test]
fn the_points_of_a_curve_and_of_a_run_that_ended_before_it_was_cancelled_are_recorded() {
    let mut workbench = with_two_prompts();
    workbench.apply(Action::FillCurve);
    let asked = workbench.take_requests().into_iter().find_map(|request| match request {
        Request::FillCurve(asked) => Some(asked),
        _ => None,
    });
    let asked = asked.unwrap();
    let mut recorded = Recorded::begin(workbench);
    let before = points(&recorded.workbench);
    for inference in &asked[..2] {
        recorded.absorb(Event::CurvePoint {
            run: inference.run,
            record: recorded.record(inference),
        });
    }
    recorded.apply(Action::SetMagnitude(7.0));
    recorded.apply(Action::Run);
    let cancelled = recorded.started().remove(0);
    recorded.apply(Action::SelectRun(Some(recorded.id(&at("sky", 1.0)))));
    recorded.absorb(Event::Finished {
        run: cancelled.run,
        kind: cancelled.kind,
        record: recorded.record(&cancelled),
    });
    assert_eq!(points(&recorded.workbench), before + 3);
    recorded.apply(Action::SelectRun(Some(recorded.id(&at("sky", 7.0)))));
    recorded.plays_as_it_was_shown();
}

#[test]
fn a_check_of_the_baseline_that_a_run_cancels_is_not_played_as_running() {
    let mut workbench = workbench();
    workbench.absorb(Event::Ready(Box::new(facts(false)), None));
    let mut recorded = Recorded::begin(workbench);
    recorded.apply(Action::Run);
    for inference in recorded.started() {
        recorded.end(&inference);
    }
    assert!(recorded.workbench.repeat_progress().is_some());
    recorded.apply(Action::SetMagnitude(0.05));
    recorded.apply(Action::Run);
    assert_eq!(recorded.workbench.repeat_progress(), None);
    recorded.plays_as_it_was_shown();
}

#[test]
fn a_check_of_the_baseline_that_fails_is_not_played_as_running() {
    let mut recorded = Recorded::begin(ready());
    recorded.apply(Action::Run);
    for inference in recorded.started() {
        recorded.end(&inference);
    }
    let repeat = recorded.started().remove(0);
    let mut failed = record(&repeat, "", FinishReason::Unknown);
    failed.outcome = broken();
    recorded.absorb(Event::Finished {
        run: repeat.run,
        kind: repeat.kind,
        record: failed,
    });
    fail(&mut recorded.workbench, &repeat, ProblemKind::Module);
    recorded.settle();
    assert_eq!(recorded.workbench.repeat_progress(), None);
    recorded.apply(Action::NextMeasure);
    recorded.plays_as_it_was_shown();
}

#[test]
fn a_run_that_ends_with_its_connection_is_played_as_stopped_and_a_failed_one_with_its_error() {
    let mut recorded = Recorded::begin(with_two_prompts());
    recorded.apply(Action::SetMagnitude(3.0));
    recorded.apply(Action::Run);
    let run = recorded.started().remove(0);
    let (id, kind) = (run.run, run.kind);
    recorded.absorb(Event::Started {
        run: id,
        kind,
        built: run.recipe.as_ref().map(identity),
    });
    recorded.absorb(Event::Delta {
        run: id,
        kind,
        text: "half".to_owned(),
    });
    recorded.apply(Action::Reconnect);
    assert!(!recorded.workbench.prefixed.is_running());
    recorded.absorb(Event::Ready(Box::new(facts(true)), Some(vocabulary())));
    recorded.apply(Action::Run);
    let run = recorded.started().remove(0);
    // The error is that of the run although another prompt is in the field now.
    recorded.apply(Action::SetPrompt("sun".to_owned()));
    let mut failed = record(&run, "", FinishReason::Unknown);
    failed.outcome = broken();
    recorded.workbench.absorb(Event::Finished {
        run: run.run,
        kind: run.kind,
        record: failed,
    });
    fail(&mut recorded.workbench, &run, ProblemKind::Module);
    recorded.settle();
    assert!(recorded.workbench.prefixed.error.is_some());
    recorded.plays_as_it_was_shown();
}

#[test]
fn a_saved_run_that_the_slider_showed_in_passing_is_in_its_pane_however_the_moment_is_reached() {
    let mut recorded = Recorded::begin(with_two_prompts());
    recorded.apply(Action::SetMagnitude(1.0));
    assert_eq!(recorded.workbench.prefixed.text.as_ref(), at("sky", 1.0));
    recorded.apply(Action::SetMagnitude(1.5));
    recorded.plays_as_it_was_shown();
}
