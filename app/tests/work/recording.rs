//! Sessions that are recorded with a real unit and played without one.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use softprefix::bridge::recording::{demo, read};
use softprefix::messages::{RecordingRequest, Request};
use softprefix::model::{Format, Language, ModuleState, PrefixForm, Remembered, RunKind, Target};
use softprefix::recording::{DEMO, Line, PreparedRecording, Recording, Writer};
use softprefix::workbench::playback::Playback;
use softprefix::workbench::{Action, Notice, PlaybackAction, Tab, Workbench};
use softprefix_core::compare::Measure;
use softprefix_core::experiment::{Answer, Group};
use softprefix_core::files::faults::{Fault, inject};
use softprefix_core::protocol::extension::FinishReason;

use crate::shell::{code, program, stderr, stdout};
use crate::support::{Harness, at, points, serve, tiny_model};

/// A harness whose recordings go into `folder`.
pub fn harness(folder: &Path) -> Harness {
    let harness = Harness::new();
    let request = RecordingRequest::Folder(folder.to_owned());
    harness.bridge.send(Request::Recording(request));
    harness
}

/// Ends the recording and answers the dialog with `to`.
pub fn end_into(harness: &mut Harness, to: &Path) {
    harness.apply(Action::ToggleRecording);
    harness.until("the question", |workbench| workbench.file.asking);
    let question = harness.question();
    harness.workbench.absorb(softprefix::messages::Event::Chosen {
        question,
        path: Some(to.to_owned()),
    });
    harness.until("the file", |workbench| {
        matches!(workbench.notice, Some(Notice::Saved(_)))
    });
}

/// What a person sees of a workbench.
#[derive(Debug, PartialEq)]
struct Seen {
    prefix: PrefixForm,
    user: String,
    baseline: String,
    prefixed: String,
    finish: Option<FinishReason>,
    stale: (bool, bool),
    /// Magnitude, digest, text and similarity of each point.
    points: Vec<(f64, String, String, f64)>,
    selected: Option<usize>,
    is_deterministic: Option<bool>,
    measure: Measure,
}

fn seen(workbench: &Workbench) -> Seen {
    Seen {
        prefix: workbench.prefix.clone(),
        user: workbench.prompt.user.clone(),
        baseline: workbench.baseline.text.to_string(),
        prefixed: workbench.prefixed.text.to_string(),
        finish: workbench.prefixed.finish,
        stale: (workbench.baseline.stale, workbench.prefixed.stale),
        points: workbench
            .tuning
            .points()
            .map(|(record, point)| {
                let text = record.output().to_owned();
                let chrf2 = point.measures.as_ref().unwrap().chrf2;
                (point.magnitude(), point.sha256.clone(), text, chrf2)
            })
            .collect(),
        selected: workbench
            .tuning
            .selected_record
            .as_ref()
            .and_then(|id| workbench.tuning.points().position(|(record, _)| record.id == *id)),
        is_deterministic: workbench
            .tuning
            .group()
            .filter(|group| group.noise.is_some())
            .map(Group::is_deterministic),
        measure: workbench.measure,
    }
}

fn viewer() -> Workbench {
    Workbench::new(Remembered::default())
}

fn played(session: &Arc<PreparedRecording>) -> Workbench {
    let mut workbench = viewer();
    workbench.play(Arc::clone(session));
    workbench
}

fn playback(workbench: &Workbench) -> &Playback {
    workbench.playback.as_ref().unwrap()
}

fn to_the_end(workbench: &mut Workbench) {
    for _ in 0..1_000_000 {
        if workbench.advance(Duration::from_millis(50)).is_none() {
            return;
        }
    }
    panic!("the recording does not end");
}

/// A session of some runs, a change of prompt, an opened point and a removed one.
fn recorded(folder: &Path) -> (Seen, PathBuf) {
    let mut harness = harness(folder);
    harness.connect(at(serve(tiny_model())));
    harness.apply(Action::SetMagnitude(0.5));
    harness.run();
    // What was there before belongs to it.
    harness.apply(Action::ToggleRecording);
    assert!(harness.workbench.recording().is_some());
    for magnitude in [0.0, 1.0, 2.9] {
        harness.apply(Action::SetMagnitude(magnitude));
        harness.run();
    }
    harness.apply(Action::NextMeasure);
    harness.apply(Action::SetPrompt("Tell me of the sea.".to_owned()));
    harness.apply(Action::SetLen(4));
    for magnitude in [0.3, 3.0, 30.0] {
        harness.apply(Action::SetMagnitude(magnitude));
        harness.run();
    }
    harness.until_noise_is_known();
    let runs: Vec<_> = harness
        .workbench
        .tuning
        .points()
        .map(|(record, _)| record.id.clone())
        .collect();
    harness.apply(Action::RemoveRun(runs[1].clone()));
    harness.apply(Action::SelectRun(Some(runs[0].clone())));
    harness.until("the diff", |workbench| workbench.diff.is_some());
    let was = seen(&harness.workbench);
    let path = folder.join("session.jsonl");
    end_into(&mut harness, &path);
    assert!(harness.workbench.recording().is_none());
    (was, path)
}

#[test]
fn a_session_played_without_a_module_ends_where_the_recorded_one_ended() {
    let folder = tempfile::tempdir().unwrap();
    let (was, path) = recorded(folder.path());
    let session = Arc::new(read(&path).unwrap());
    let mut workbench = played(&session);
    to_the_end(&mut workbench);
    assert_eq!(seen(workbench.shown()), was);
    assert_eq!(workbench.shown().module.facts().unwrap().identity.model, "tiny");
    assert!(workbench.shown().diff.is_some(), "what differs is marked");
}

#[test]
fn a_recording_starts_with_the_current_state() {
    let folder = tempfile::tempdir().unwrap();
    let (_, path) = recorded(folder.path());
    let workbench = played(&Arc::new(read(&path).unwrap()));
    let shown = workbench.shown();
    assert_eq!(points(shown), 1, "the point from before the recording");
    assert_eq!(shown.prompt.user, "Why is the sky blue?");
    assert!(!shown.baseline.text.is_empty());
    assert_eq!(shown.tuning.current().unwrap().0.output(), &*shown.prefixed.text);
}

#[test]
fn playing_and_seeking_to_a_time_show_the_same_state() {
    let folder = tempfile::tempdir().unwrap();
    let (_, path) = recorded(folder.path());
    let session = Arc::new(read(&path).unwrap());
    let length = session.length();
    let mut slow = played(&session);
    let mut at = Duration::ZERO;
    let mut jumper = played(&session);
    while at < length {
        let step = length / 23;
        slow.advance(step);
        at = playback(&slow).at();
        // Far ahead first: so half of the jumps go back.
        jumper.apply(Action::Playback(PlaybackAction::Seek(length)));
        jumper.apply(Action::Playback(PlaybackAction::Seek(at)));
        assert_eq!(seen(jumper.shown()), seen(slow.shown()), "at {at:?}");
        let mut forward = played(&session);
        forward.apply(Action::Playback(PlaybackAction::Seek(at)));
        assert_eq!(seen(forward.shown()), seen(slow.shown()), "straight to {at:?}");
    }
}

#[test]
fn actions_during_playback_do_not_reach_a_module_a_file_or_the_settings() {
    let folder = tempfile::tempdir().unwrap();
    let (_, path) = recorded(folder.path());
    let mut workbench = viewer();
    let before = workbench.remembered();
    workbench.take_requests();
    workbench.play(Arc::new(read(&path).unwrap()));
    for action in [
        Action::Run,
        Action::Stop,
        Action::SetMagnitude(9.0),
        Action::SetPrompt("mine".to_owned()),
        Action::SetLive(true),
        Action::RerunBaseline,
        Action::Reconnect,
        Action::Connect(Target::default()),
        Action::FetchModel("smollm2-135m-instruct".to_owned()),
        Action::Export(Format::Results),
        Action::NewSession,
        Action::OpenPath(path),
        Action::ShowTab(Tab::Doctor),
        Action::ClearRuns,
    ] {
        workbench.apply(action.clone());
        assert_eq!(workbench.take_requests(), [], "{action:?}");
        assert!(playback(&workbench).refused, "{action:?} is said to be impossible");
    }
    to_the_end(&mut workbench);
    assert_eq!(workbench.take_requests(), []);
    assert_eq!(workbench.remembered(), before);
    assert_eq!(workbench.module, ModuleState::Idle);
}

#[test]
fn leaving_a_recording_restores_the_users_work() {
    let folder = tempfile::tempdir().unwrap();
    let (_, path) = recorded(folder.path());
    let mut harness = Harness::new();
    harness.connect(at(serve(tiny_model())));
    harness.apply(Action::SetMagnitude(2.0));
    harness.run();
    let own = seen(&harness.workbench);
    harness.workbench.play(Arc::new(read(&path).unwrap()));
    assert_ne!(seen(harness.workbench.shown()), own);
    harness.apply(Action::Playback(PlaybackAction::Large));
    harness.workbench.advance(Duration::from_secs(5));
    harness.apply(Action::Playback(PlaybackAction::Leave));
    assert!(harness.workbench.playback.is_none() && !harness.workbench.presenting);
    assert_eq!(seen(harness.workbench.shown()), own);
    harness.apply(Action::SetMagnitude(4.0));
    harness.run();
    assert_eq!(points(&harness.workbench), 2, "and it goes on");
}

#[test]
fn a_recording_plays_at_its_speed_can_be_accelerated_paused_and_repeated() {
    let folder = tempfile::tempdir().unwrap();
    let (_, path) = recorded(folder.path());
    let session = Arc::new(read(&path).unwrap());
    let mut workbench = played(&session);
    // How long the recording is depends on the machine.
    let step = Duration::from_millis(session.length().as_millis() as u64 / 8);
    assert!(!step.is_zero(), "{:?}", session.length());
    workbench.advance(step);
    assert_eq!(playback(&workbench).at(), step);
    workbench.apply(Action::Playback(PlaybackAction::NextSpeed));
    workbench.advance(step);
    assert_eq!(playback(&workbench).at(), step * 3);
    workbench.apply(Action::Playback(PlaybackAction::Toggle));
    assert_eq!(workbench.advance(step), None, "nothing to come back for");
    assert_eq!(playback(&workbench).at(), step * 3);
    workbench.apply(Action::Playback(PlaybackAction::Toggle));
    to_the_end(&mut workbench);
    assert!(playback(&workbench).is_over());
    workbench.apply(Action::Playback(PlaybackAction::Toggle));
    assert!(playback(&workbench).at().is_zero(), "from the beginning");
    workbench.apply(Action::Playback(PlaybackAction::ToggleLoop));
    workbench.advance(session.length());
    assert!(playback(&workbench).playing && !playback(&workbench).is_over());
}

#[test]
fn a_recording_truncated_anywhere_plays_up_to_its_end() {
    let folder = tempfile::tempdir().unwrap();
    let (_, path) = recorded(folder.path());
    let whole = std::fs::read(&path).unwrap();
    let head = whole.iter().position(|&byte| byte == b'\n').unwrap() + 1;
    let full = Recording::read(&whole, "whole").unwrap();
    let mut last = 0;
    for end in (head..whole.len()).step_by(whole.len() / 300) {
        match Recording::read(&whole[..end], "whole") {
            Ok(recording) => {
                assert!(recording.lines.len() >= last);
                last = recording.lines.len();
                assert_eq!(recording.lines[..], full.lines[..last]);
            }
            Err(error) => assert!(error.to_string().contains("empty recording"), "{error}"),
        }
    }
    assert!(last > 20);
}

#[test]
fn lines_are_in_the_file_as_soon_as_they_happen() {
    let folder = tempfile::tempdir().unwrap();
    let mut harness = harness(folder.path());
    harness.connect(at(serve(tiny_model())));
    harness.apply(Action::ToggleRecording);
    harness.run();
    // Nobody ended it: the file is what a killed program leaves.
    let file = std::fs::read_dir(folder.path()).unwrap().next().unwrap().unwrap();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = file.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "it is its owner's");
    }
    let workbench = played(&Arc::new(read(&file.path()).unwrap()));
    let mut workbench = workbench;
    to_the_end(&mut workbench);
    assert_eq!(workbench.shown().baseline.text, harness.workbench.baseline.text);
}

#[test]
fn runs_and_a_connection_that_is_lost_are_recorded_without_the_modules_address() {
    let folder = tempfile::tempdir().unwrap();
    let mut harness = harness(folder.path());
    let module = serve(tiny_model());
    harness.connect(at(module));
    // A run that is in the recording's first lines.
    harness.run();
    harness.apply(Action::ToggleRecording);
    // What is in the file, once there is one.
    let text = || {
        let file = std::fs::read_dir(folder.path()).unwrap().next();
        file.and_then(|file| std::fs::read_to_string(file.unwrap().path()).ok())
            .unwrap_or_default()
    };
    harness.until("the recording", |_| text().contains("\"module\""));
    let problem = softprefix::errors::problem_of(&softprefix_core::client::ClientError::ConnectionLost {
        address: module.to_string(),
        detail: "connection reset by peer".to_owned(),
    });
    assert!(problem.sentence.en.contains(&module.to_string()), "{problem}");
    harness.workbench.absorb(softprefix::messages::Event::Lost(problem));
    harness.until("the line", |_| text().contains("\"lost\""));
    let text = text();
    assert!(text.contains("\"case\""), "{text}");
    assert!(text.contains("onnection to the module was lost"), "{text}");
    assert!(!text.contains(&module.ip().to_string()), "{text}");
}

#[test]
fn a_line_that_cannot_be_written_is_reported_and_the_lines_before_it_play() {
    for fault in [Fault::Broken as fn(usize) -> Fault, Fault::Full] {
        for step in 0.. {
            let situation = format!("{:?}", fault(step));
            let folder = tempfile::tempdir().unwrap();
            let mut harness = harness(folder.path());
            let injected = inject(folder.path(), fault(step));
            harness.apply(Action::ToggleRecording);
            for number in 0..3 {
                harness.apply(Action::SetPrompt(format!("prompt {number}")));
            }
            let files = || -> Vec<PathBuf> {
                let files = std::fs::read_dir(folder.path()).unwrap();
                files.map(|file| file.unwrap().path()).collect()
            };
            let written = |text: &str| {
                files()
                    .iter()
                    // A recording that could not begin is removed meanwhile.
                    .any(|file| std::fs::read_to_string(file).unwrap_or_default().contains(text))
            };
            harness.until("the end of the lines", |workbench| {
                written("prompt 2") || matches!(workbench.notice, Some(Notice::Problem(_)))
            });
            let met = injected.was_met();
            drop(injected);
            assert_eq!(
                matches!(harness.workbench.notice, Some(Notice::Problem(_))),
                met,
                "{situation}"
            );
            for file in files() {
                let text = std::fs::read(&file).unwrap();
                let whole = text.iter().rposition(|&byte| byte == b'\n').map_or(0, |end| end + 1);
                let recording = Recording::read(&text, "one");
                let lines = text[..whole].split(|&byte| byte == b'\n').count();
                // A recording with only a head is reported as empty.
                assert!(recording.is_ok() || lines <= 2, "{situation}: {recording:?}");
            }
            if step < 2 {
                assert!(
                    files().is_empty(),
                    "{situation}: a recording that could not begin is left"
                );
            }
            if !met {
                assert!(step >= 4, "there are more steps than {step}");
                break;
            }
        }
    }
}

#[test]
fn files_that_are_no_recordings_are_refused_in_one_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("talk.jsonl");
    let head = "{\"softprefix_recording\":1}\n";
    for (bytes, words) in [
        (String::new(), "is not a recording"),
        ("{\"meta\":{}}".to_owned(), "is not a recording"),
        ("{\"softprefix_recording\":3}\n{\"t\":0}\n".to_owned(), "newer version"),
        (head.to_owned(), "empty recording"),
        (
            format!("{head}{{\"t\":5,\"run\":\"p\"}}\n{{\"t\":4,\"run\":\"p\"}}\n"),
            "line 3",
        ),
        (format!("{head}{{\"t\":5,\"run\":\"q\"}}\n{{\"t\":6}}\n"), "line 2"),
        (
            format!("{head}{{\"t\":0,\"prefix\":{{\"magnitude\":\"much\"}}}}\n"),
            "line 2",
        ),
        (
            format!("{head}{{\"t\":0,\"module\":{{\"vocabulary\":{{\"median\":0}}}}}}\n"),
            "line 2",
        ),
    ] {
        std::fs::write(&path, &bytes).unwrap();
        let problem = read(&path).unwrap_err();
        let japanese = problem.whole(Language::Japanese);
        assert!(
            japanese.contains("talk.jsonl") && japanese.ends_with('。'),
            "{bytes}: {japanese}"
        );
        let refused = problem.whole(Language::English);
        assert!(
            refused.contains("talk.jsonl") && refused.contains(words),
            "{bytes}: {refused}"
        );
        assert_eq!(
            refused.matches('.').count(),
            2,
            "one sentence and a file's ending: {refused}"
        );
    }
    let mut harness = Harness::new();
    harness.bridge.send(Request::Recording(RecordingRequest::Open(path)));
    harness.until("the refusal", |workbench| {
        matches!(workbench.notice, Some(Notice::Problem(_)))
    });
    assert!(harness.workbench.playback.is_none());
}

#[test]
fn additions_of_a_newer_writer_within_the_version_are_ignored() {
    let file = "{\"softprefix_recording\":1,\"mood\":3}\n{\"t\":0,\"weather\":\"fine\"}\n\
                {\"t\":0,\"prefix\":{\"magnitude\":2.5,\"colour\":1}}\n";
    let recording = Recording::read(file.as_bytes(), "x").unwrap();
    assert_eq!(recording.lines.len(), 1);
    let workbench = played(&Arc::new(PreparedRecording::new(None, recording)));
    assert_eq!(workbench.shown().prefix.magnitude, 2.5);
}

#[test]
fn impossible_numbers_in_a_recording_are_bounded() {
    let file = "{\"softprefix_recording\":1}\n\
                {\"t\":0,\"module\":{\"hidden_size\":18446744073709551615,\"window\":18446744073709551615,\"ours\":true}}\n\
                {\"t\":0,\"prefix\":{\"len\":18446744073709551615}}\n\
                {\"t\":0,\"prompt\":{\"max_tokens\":18446744073709551615,\"preset\":99}}\n\
                {\"t\":0,\"count\":{\"template\":16777216,\"prompt\":1,\"window\":2,\"prefill_window\":3}}\n\
                {\"t\":1,\"look\":18446744073709551615}\n{\"t\":1,\"remove\":7}\n{\"t\":1,\"end\":{\"side\":\"r\"}}\n\
                {\"t\":1,\"p\":\"text of nothing\"}\n{\"t\":18446744073709551615,\"end\":{\"side\":\"p\",\"elapsed_ms\":-1}}\n";
    let session = Arc::new(PreparedRecording::new(
        None,
        Recording::read(file.as_bytes(), "x").unwrap(),
    ));
    let mut workbench = played(&session);
    workbench.apply(Action::Playback(PlaybackAction::Seek(session.length())));
    assert_eq!(&*workbench.shown().prefixed.text, "text of nothing");
    // More tokens than any model has are not even read.
    let file = file.replace("16777216", "18446744073709551615");
    let refused = Recording::read(file.as_bytes(), "x").unwrap_err().to_string();
    assert!(refused.contains("line 5"), "{refused}");
}

/// Ten minutes of a busy hand: twenty movements a second, a run every two seconds, 64 pieces of text in each.
fn ten_minutes() -> Recording {
    let mut lines = Vec::new();
    let form = |magnitude: f64| {
        Line::Prefix(Box::new(PrefixForm {
            magnitude,
            ..PrefixForm::default()
        }))
    };
    for second in 0..600_u64 {
        let begin = second * 1000;
        for step in 0..20 {
            lines.push((begin + step * 50, form((second * 20 + step) as f64 / 1e3 + 1e-3)));
        }
        if second % 2 == 0 {
            let kinds = if second == 0 {
                vec![RunKind::Baseline, RunKind::Prefixed]
            } else {
                vec![RunKind::Prefixed]
            };
            for kind in kinds {
                lines.push((begin + 990, Line::Run(kind)));
                let text = |piece: u64| format!("{} {piece} ", (piece * 7 + second) % 601);
                for piece in 0..64 {
                    lines.push((begin + 991, Line::Text(kind, text(piece))));
                }
                let answer = Answer::new((0..64).map(text).collect::<String>(), FinishReason::Length, 0.002);
                lines.push((begin + 992, Line::Ended(kind, Box::new(answer))));
            }
        }
    }
    Recording {
        lines,
        ..Recording::default()
    }
}

#[test]
fn seeking_through_ten_minutes_is_immediate() {
    let session = Arc::new(PreparedRecording::new(None, ten_minutes()));
    assert!(session.length() > Duration::from_secs(590));
    let mut workbench = played(&session);
    let mut longest = Duration::ZERO;
    for share in [100, 3, 97, 50, 99] {
        let to = session.length() * share / 100;
        // The processor's time: others may be at work on this machine.
        let before = cpu_time::ThreadTime::now();
        workbench.apply(Action::Playback(PlaybackAction::Seek(to)));
        longest = longest.max(before.elapsed());
        assert_eq!(playback(&workbench).at(), to);
    }
    assert_eq!(points(workbench.shown()), 297, "a point for every run until then");
    eprintln!("the longest jump took {longest:?}");
    // Measured: 0.1 s without optimisation, a tenth of it with.
    assert!(longest < Duration::from_secs(1), "{longest:?}");
}

#[test]
fn the_recording_that_ships_shows_the_idea_in_about_a_minute() {
    assert!(DEMO.len() < 200_000, "{} bytes", DEMO.len());
    let began = cpu_time::ThreadTime::now();
    let session = demo().unwrap();
    assert!(
        began.elapsed() < Duration::from_secs(10),
        "ready at once, also without optimisation"
    );
    let length = session.length();
    assert!(
        length > Duration::from_secs(40) && length < Duration::from_secs(110),
        "{length:?}"
    );
    let mut workbench = played(&session);
    let mut prompts = Vec::new();
    let mut furthest: f64 = 100.0;
    let mut most = 0;
    while workbench.advance(Duration::from_millis(100)).is_some() {
        let shown = workbench.shown();
        if !prompts.contains(&shown.prompt.user) {
            prompts.push(shown.prompt.user.clone());
        }
        most = most.max(
            shown
                .tuning
                .saved
                .undeleted()
                .filter(|record| !record.is_baseline())
                .count(),
        );
        let chrf2 = shown
            .tuning
            .points()
            .filter_map(|(_, point)| Some(point.measures.as_ref()?.chrf2));
        furthest = chrf2.fold(furthest, f64::min);
    }
    assert!(prompts.iter().any(|prompt| prompt.is_ascii()), "{prompts:?}");
    assert!(prompts.iter().any(|prompt| !prompt.is_ascii()), "{prompts:?}");
    assert!(most >= 12, "{most}");
    assert!(furthest < 50.0, "{furthest}");
    assert!(!String::from_utf8_lossy(DEMO).contains("127.0.0.1"), "no address");
}

#[test]
fn settings_changed_while_a_recording_is_shown_are_the_persons() {
    let mut workbench = played(&Arc::new(PreparedRecording::new(None, ten_minutes())));
    workbench.apply(Action::SetLanguage(Language::Japanese));
    assert_eq!(workbench.shown().settings.language, Language::Japanese);
    workbench.apply(Action::Playback(PlaybackAction::Leave));
    assert_eq!(workbench.settings.language, Language::Japanese);
}

#[test]
fn a_writer_writes_only_changes() {
    let mut writer = Writer::default();
    let mut form = PrefixForm::default();
    writer.line(0, &Line::Prefix(Box::new(form.clone()))).unwrap();
    form.magnitude = 2.5;
    let line = writer.line(40, &Line::Prefix(Box::new(form.clone()))).unwrap();
    assert_eq!(line, "{\"t\":40,\"prefix\":{\"magnitude\":2.5}}\n");
    assert_eq!(writer.line(50, &Line::Prefix(Box::new(form))), None);
    let line = writer
        .line(60, &Line::Text(RunKind::Prefixed, "春".to_owned()))
        .unwrap();
    assert_eq!(line, "{\"t\":60,\"p\":\"春\"}\n");
}

#[test]
fn the_shell_describes_a_new_recording() {
    let folder = tempfile::tempdir().unwrap();
    let (_, path) = recorded(folder.path());
    let done = program(folder.path(), &["demo", &path.to_string_lossy(), "--check"])
        .output()
        .unwrap();
    assert_eq!(code(&done), 0, "{}", stderr(&done));
    let built_in = program(folder.path(), &["demo", "--check"]).output().unwrap();
    assert_ne!(stdout(&done), stdout(&built_in));
    assert!(stdout(&done).contains("runs"), "{}", stdout(&done));
}
