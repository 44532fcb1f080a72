//! `softprefix play` through the program: JSON lines in and out, OSC without a window, and the errors of invalid lines.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};
use softprefix::model::RunKind;
use softprefix::workbench::Action;
use softprefix_core::prefix::{Magnitude, PrefixStore, Rounding, SoftPrefix, files};

use crate::external::packets;
use crate::hardship::{Link, that_refuses_prefixes};
use crate::shell::{program, stderr};
use crate::support::{Harness, LONG, at, kept, serve, tiny_model, wait_for};

fn play(folder: &Path, module: SocketAddr, more: &[&str]) -> Command {
    let module = module.to_string();
    let usual = ["play", "--module", &module, "--prompt", "Why is the sky blue?"];
    let mut command = program(folder, &[&usual[..], &["--max-tokens", "12"], more].concat());
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// Runs the command with this input to its end.
fn piped(mut command: Command, input: &[u8]) -> Output {
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    let writer = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    output
}

/// The lines of its output: pairs of a name and a value, and the number of a refused line.
fn lines(output: &Output) -> Vec<Value> {
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn of<'v>(lines: &'v [Value], name: &str) -> Vec<&'v Value> {
    lines.iter().filter_map(|line| line.get(name)).collect()
}

#[test]
fn the_rows_of_a_file_are_stored_if_they_fit_the_model_and_refused_with_4_if_not() {
    let folder = tempfile::tempdir().unwrap();
    let module = serve(tiny_model());
    let file = folder.path().join("rows.npy");
    for (width, code) in [(32, 4), (64, 0)] {
        let rows = SoftPrefix::from_f32(width, &[0.25; 256], Rounding::NearestEven).unwrap();
        files::export_npy(&rows, &file).unwrap();
        let more = ["--stdin", "--prefix-file", &file.to_string_lossy()];
        let done = piped(play(folder.path(), module, &more), b"");
        assert_eq!(done.status.code(), Some(code), "{}", stderr(&done));
        let stored = PrefixStore::new(folder.path().join("prefixes")).get(&rows.sha256(), None);
        assert_eq!(stored.ok(), (code == 0).then_some(rows));
    }
}

#[test]
fn a_line_sets_and_runs_and_its_output_is_that_of_the_window_and_in_the_history() {
    let folder = tempfile::tempdir().unwrap();
    let module = serve(tiny_model());
    let command = play(folder.path(), module, &["--stdin", "--len", "2"]);
    let done = piped(command, b"\n{\"magnitude\": 1.5, \"run\": true}\n");
    assert_eq!(done.status.code(), Some(0), "{}", stderr(&done));
    let lines = lines(&done);
    let tokens: String = of(&lines, "token")
        .iter()
        .map(|token| token.as_str().unwrap())
        .collect();
    assert_eq!(of(&lines, "text"), [&json!(tokens)]);
    assert_eq!(of(&lines, "state"), [&json!("idle"), &json!("running"), &json!("idle")]);
    assert_eq!(lines.last().unwrap(), &json!({"state": "idle"}));
    assert_eq!(of(&lines, "error"), [] as [&Value; 0]);

    let mut harness = Harness::new();
    harness.connect(at(module));
    let system = softprefix::model::PRESETS[0].system.to_owned();
    for action in [
        Action::SetSystem(system),
        Action::SetMaxTokens(12),
        Action::SetLen(2),
        Action::SetMagnitude(1.5),
    ] {
        harness.apply(action);
    }
    harness.run();
    let record = harness.finished(RunKind::Prefixed).pop().unwrap();
    assert_eq!(record.output(), tokens);
    let similarity = harness.current().1.measures.as_ref().unwrap().chrf2;
    assert_eq!(of(&lines, "similarity"), [&json!(similarity)]);
    let [session] = &kept(&folder.path().join("experiments"))[..] else {
        panic!("one session is in the history");
    };
    let same = |kept: &&softprefix_core::experiment::Record| kept.case.recipe == record.case.recipe;
    let kept = session.undeleted().find(same).unwrap();
    assert_eq!(kept.output(), tokens);
    assert_eq!(kept.prefix.as_ref().unwrap().sha256, record.prefix.unwrap().sha256);
}

#[test]
fn a_bad_line_is_answered_with_its_number_and_is_never_obeyed_in_part() {
    let folder = tempfile::tempdir().unwrap();
    let command = play(folder.path(), serve(tiny_model()), &["--stdin", "--token-norms", "0.5"]);
    let long = "x".repeat(1 << 20);
    let mut input = format!("what\n{{\"magnitude\":2,\"seed\":-1}}\n{{\"prompt\":\"{long}\"}}\n").into_bytes();
    input.extend(b"\xff\xfe\n{\"volume\":1}\n[]\n{\"run\":1}\n{\"magnitude\":1");
    let done = piped(command, &input);
    assert_eq!(done.status.code(), Some(2), "{}", stderr(&done));
    let lines = lines(&done);
    let numbers: Vec<u64> = of(&lines, "line").iter().map(|line| line.as_u64().unwrap()).collect();
    assert_eq!(numbers, [1, 2, 3, 4, 5, 6, 8]);
    for (error, part) in of(&lines, "error").into_iter().zip([
        "Line 1: it is not valid JSON",
        "Line 2: seed takes one whole number",
        "Line 3: it is longer than",
        "Line 4: it is not UTF-8",
        "Line 5: volume is unknown",
        "Line 6: it is not an object",
        "Line 8: it is not valid JSON",
    ]) {
        assert!(error.as_str().unwrap().starts_with(part), "{error}");
    }
    assert_eq!(of(&lines, "text").len(), 1);
    let sessions = kept(&folder.path().join("experiments"));
    let magnitudes: Vec<Magnitude> = sessions[0]
        .undeleted()
        .filter_map(|record| record.case.recipe.as_ref())
        .map(|recipe| recipe.magnitude)
        .collect();
    assert_eq!(magnitudes, [Magnitude::TokenNorms(0.5)]);
}

#[test]
fn an_impossible_run_is_answered_and_an_unreachable_module_ends_the_command() {
    let folder = tempfile::tempdir().unwrap();
    let module = serve(tiny_model());
    let command = play(folder.path(), module, &["--stdin", "--blend", "春", ""]);
    let done = piped(command, b"{\"run\":true}\n");
    assert_eq!(done.status.code(), Some(2), "{}", stderr(&done));
    let lines = lines(&done);
    let errors = of(&lines, "error");
    assert!(
        errors[0].as_str().unwrap().starts_with("It was not run: "),
        "{errors:?}"
    );
    let closed = crate::support::closed_port();
    let done = piped(play(folder.path(), closed, &["--stdin"]), b"");
    assert_eq!(done.status.code(), Some(3));
    assert!(stderr(&done).contains(&closed.to_string()), "{}", stderr(&done));
    let done = play(folder.path(), module, &[]).output().unwrap();
    assert_eq!(done.status.code(), Some(2));
    assert!(stderr(&done).contains("--stdin, --osc ADDR, or both"));
    let done = play(folder.path(), module, &["--osc", "host"]).output().unwrap();
    assert_eq!(done.status.code(), Some(2));
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let done = play(folder.path(), module, &["--osc", &address]).output().unwrap();
    assert_eq!(done.status.code(), Some(3));
    assert!(
        stderr(&done).contains("is in use by another program"),
        "{}",
        stderr(&done)
    );
    let done = piped(play(folder.path(), module, &["--stdin", "--osc", "0.0.0.0:0"]), b"");
    assert_eq!(done.status.code(), Some(0));
    assert!(stderr(&done).contains("OSC has no password"), "{}", stderr(&done));
}

#[test]
fn a_failed_run_is_answered_and_gives_the_exit_status_also_if_a_later_one_succeeds() {
    let folder = tempfile::tempdir().unwrap();
    let module = that_refuses_prefixes(serve(tiny_model()), 1);
    let mut child = play(folder.path(), module, &["--stdin"]).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let mut printed = BufReader::new(child.stdout.take().unwrap())
        .lines()
        .map_while(Result::ok);
    writeln!(stdin, r#"{{"run": true}}"#).unwrap();
    assert!(printed.any(|line| line.starts_with(r#"{"error":"#)));
    writeln!(stdin, r#"{{"run": true}}"#).unwrap();
    drop(stdin);
    assert!(printed.any(|line| line.starts_with(r#"{"text":"#)));
    assert!(printed.all(|line| !line.starts_with(r#"{"error":"#)));
    assert_eq!(child.wait().unwrap().code(), Some(3));
}

#[test]
fn both_outputs_report_a_lost_module_and_play_continues_after_reconnecting() {
    let folder = tempfile::tempdir().unwrap();
    let link = Link::to(serve(tiny_model()));
    let mut child = play(folder.path(), link.address, &["--stdin"]).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap())
        .lines()
        .map_while(Result::ok);
    let mut printed = BufReader::new(child.stdout.take().unwrap())
        .lines()
        .map_while(Result::ok);
    assert_eq!(printed.next().unwrap(), r#"{"state":"idle"}"#);
    link.goes_down();
    assert_eq!(printed.next().unwrap(), r#"{"state":"disconnected"}"#);
    assert!(lines.any(|line| line.contains("was lost")));
    assert!(lines.next().unwrap().contains("reconnecting…"));
    link.comes_back();
    assert!(lines.any(|line| line.contains("tiny on ")));
    assert_eq!(printed.next().unwrap(), r#"{"state":"idle"}"#);
    writeln!(stdin, r#"{{"run": true}}"#).unwrap();
    drop(stdin);
    assert!(printed.any(|line| line.starts_with(r#"{"text":"#)));
    assert_eq!(printed.last().unwrap(), r#"{"state":"idle"}"#);
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
#[cfg(unix)]
fn it_plays_by_osc_without_a_window_until_it_is_interrupted() {
    let folder = tempfile::tempdir().unwrap();
    let listener = UdpSocket::bind("127.0.0.1:0").unwrap();
    listener.set_read_timeout(Some(LONG)).unwrap();
    let to = listener.local_addr().unwrap().to_string();
    let mut command = play(
        folder.path(),
        serve(tiny_model()),
        &["--osc", "127.0.0.1:0", "--osc-to", &to],
    );
    let mut child = command.stdin(Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let address = lines
        .find_map(|line| {
            let line = line.unwrap();
            let (_, address) = line.split_once("Listening on ")?;
            Some(address.trim().parse::<SocketAddr>().unwrap())
        })
        .unwrap();
    let mut printed = BufReader::new(child.stdout.take().unwrap()).lines();
    let begin = printed.next().unwrap().unwrap();
    assert_eq!(begin, "{\"state\":\"idle\"}");
    listener.send_to(&packets()["all at once"], address).unwrap();
    let text = printed
        .find_map(|line| {
            let line: Value = serde_json::from_str(&line.unwrap()).unwrap();
            Some(line.get("text")?.as_str().unwrap().to_owned())
        })
        .unwrap();
    let mut buffer = [0; 65_536];
    let sent = loop {
        let len = listener.recv(&mut buffer).unwrap();
        if buffer.starts_with(b"/softprefix/text\0") {
            break buffer[..len].to_vec();
        }
    };
    assert!(sent.windows(text.len()).any(|window| window == text.as_bytes()));
    let interrupted = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(interrupted.unwrap().success());
    wait_for("its end", || child.try_wait().unwrap().is_some());
    assert_eq!(child.wait().unwrap().code(), Some(130));
}
