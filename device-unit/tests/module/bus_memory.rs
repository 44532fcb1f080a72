//! Memory of the program, as reported by the system, while thousands of frames are pending for clients that do not read.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use softprefix_unit::gguf::GgufFile;
use softprefix_unit::testing::TinyModel;
use softprefix_unit::tokenizer::Tokenizer;

use crate::common::*;
use crate::llm_sys::*;
use crate::under_test::{program, runs_natively};

/// Tokens of a text that takes 3000 frames.
const TOKENS: usize = 9000;
const FRAMES: usize = TOKENS / 3;
/// Number of concurrent inferences.
const CONCURRENT: usize = 4;

/// Returns the memory in kB: current, or the maximum since [`reset_peak`].
fn resident(process: &Process, which: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.0.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(which)).unwrap();
    line.trim_start_matches(':')
        .trim()
        .trim_end_matches(" kB")
        .parse()
        .unwrap()
}

fn reset_peak(process: &Process) {
    std::fs::write(format!("/proc/{}/clear_refs", process.0.id()), "5").unwrap();
}

/// Writes a model that never ends a text: the embedding rows of its stop tokens are zero, so another token is always likelier.
fn write_endless(path: &Path) {
    let model = TinyModel {
        window: 20_000,
        ..TinyModel::qwen2()
    };
    let mut bytes = model.bytes();
    std::fs::write(path, &bytes).unwrap();
    let file = GgufFile::open(path).unwrap();
    let rows = file.read(file.tensor("token_embd.weight").unwrap()).unwrap();
    let width = rows.len() / model.vocab_size();
    for id in Tokenizer::from_gguf(&file).unwrap().stop_tokens() {
        let row = &rows[id as usize * width..][..width];
        let at = bytes.windows(width).position(|window| window == row).unwrap();
        bytes[at..at + width].fill(0);
    }
    drop(file);
    std::fs::write(path, bytes).unwrap();
}

fn send_all(client: &mut Client, task: &str, name: &str) {
    for i in 0..CONCURRENT {
        let more = json!({"softprefix": {"max_new_tokens": TOKENS}});
        client.send(&infer_with(&format!("{name}{i}"), task, "hello", more));
    }
}

/// Reads all texts to their ends; returns them with their number of frames.
fn read_all(client: &mut Client) -> (Vec<String>, usize) {
    let mut texts = vec![String::new(); CONCURRENT];
    let (mut ended, mut frames) = (0, 0);
    while ended < CONCURRENT {
        let reply: Value = client.next();
        assert_eq!(reply["error"]["code"], 0, "{reply}");
        let id = reply["request_id"].as_str().unwrap();
        let place: usize = id[id.len() - 1..].parse().unwrap();
        texts[place].push_str(reply["data"]["delta"].as_str().unwrap());
        frames += 1;
        if reply["data"]["finish"] == true {
            ended += 1;
        }
    }
    (texts, frames)
}

#[test]
fn pending_frames_of_disconnected_clients_and_of_a_stopped_llm_sys_take_bounded_memory() {
    if !runs_natively() {
        return; // An emulator's memory would be counted.
    }
    let (folder, models) = (short_folder(), tempfile::tempdir().unwrap());
    let Some(sys) = LlmSys::start(folder.path()) else {
        return;
    };
    write_endless(&models.path().join("tiny.gguf"));
    let mut command = program();
    command
        .args(["--bus", "--engine", "cpu", "--threads", "1", "--bus-folder"])
        .arg(folder.path())
        .env("SOFTPREFIX_MODEL_DIR", models.path());
    let unit = Program::of(command);
    unit.says("on the bus");
    let mut client = sys.client();
    let task = client.set_up(&streaming("tiny", 20_000));

    // The memory that as many inferences need in any case.
    reset_peak(&unit.process);
    send_all(&mut client, &task, "all");
    let (texts, frames) = read_all(&mut client);
    // Some frames wait for the rest of a character.
    assert!(frames > CONCURRENT * FRAMES * 9 / 10, "{frames}");
    let (usual, before) = (resident(&unit.process, "VmHWM"), resident(&unit.process, "VmRSS"));
    println!("{CONCURRENT} x {FRAMES} frames that are taken: {usual} kB at most, {before} kB after");
    reset_peak(&unit.process);
    for round in 0..5 {
        let mut vanishing = sys.client();
        send_all(&mut vanishing, &task, "gone");
        vanishing.next();
        drop(vanishing);
        let started = Instant::now();
        let short = json!({"softprefix": {"max_new_tokens": 30}});
        client.send(&infer_with("here", &task, "hello", short));
        client.stream("here");
        // Far sooner than what is due to the other client would be computed.
        assert!(started.elapsed() < Duration::from_secs(10), "round {round}");
    }
    let (peak, after) = (resident(&unit.process, "VmHWM"), resident(&unit.process, "VmRSS"));
    println!("five times as many due to a client that vanished: {peak} kB at most, {after} kB after");

    reset_peak(&unit.process);
    send_all(&mut client, &task, "all");
    client.next();
    sys.process.signal("-STOP");
    // Waits until the unit has stopped sending, when it holds its maximum. Nothing says so while llm-sys stands still: its memory does.
    let mut held = 0;
    loop {
        std::thread::sleep(Duration::from_secs(1));
        let now = resident(&unit.process, "VmRSS");
        if now <= held + 64 {
            break;
        }
        held = now;
    }
    let stalled = resident(&unit.process, "VmHWM");
    sys.process.signal("-CONT");
    let (late, frames) = read_all(&mut client);
    let end = resident(&unit.process, "VmRSS");
    println!("as many due to an llm-sys that stands still: {stalled} kB at most, {end} kB after, in {frames} frames");
    for (late, text) in late.iter().zip(&texts) {
        assert!(text.ends_with(late), "nothing of it is lost");
    }
    assert!(peak < usual + 8_000, "{usual} {peak}");
    assert!(after < before + 8_000, "{before} {after}");
    assert!(stalled < usual + 16_000, "{usual} {stalled}");
}
