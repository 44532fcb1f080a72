//! The unit behind a simulated llm-sys that uses the real libzmq.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::common::*;
use crate::llm_sys::*;

#[test]
fn prefixed_inferences_and_an_exit_work_through_llm_sys() {
    let Some((sys, _unit, _folder)) = module() else { return };
    let mut client = sys.client();
    let task = client.set_up(&whole("tiny", 300));
    assert_eq!(task, "llm.1000");
    let baseline = client.ask(&infer("b", &task, "hello"))["data"].clone();
    for i in 0..10 {
        let more = json!({"soft_prefix": prefix(1 + i, HIDDEN, 2.0)});
        let reply = client.ask(&infer_with(&format!("p{i}"), &task, "hello", more));
        assert_eq!(reply["soft_prefix"]["len"], 1 + i);
        assert_ne!(reply["data"], baseline);
    }
    let wide = client.ask(&infer_with(
        "w",
        &task,
        "hello",
        json!({"soft_prefix": prefix(2, 896, 2.0)}),
    ));
    assert_eq!(error(&wide).0, -30);
    let embedded = client.ask(&request(
        "e",
        &task,
        "softprefix.embed",
        "None",
        json!({"text": "the land"}),
    ));
    assert_eq!(embedded["data"]["hidden_size"], HIDDEN);
    assert_eq!(error(&client.ask(&bare("d", &task, "dance"))).0, -18);
    assert_eq!(client.ask(&bare("x", &task, "exit"))["error"]["code"], 0);
    eventually("the number is given back", || sys.command("tasks") == json!([]));
    assert!(
        !sys.files().iter().any(|file| file.contains("output_url")),
        "{:?}",
        sys.files()
    );
}

#[test]
fn inferences_sent_right_after_the_set_up_reply_are_never_lost() {
    let Some((sys, _unit, _folder)) = module() else { return };
    let mut client = sys.client();
    for i in 0..40 {
        let task = client.set_up(&whole("tiny", 127));
        let id = format!("i{i}");
        assert_eq!(client.ask(&infer(&id, &task, "hello"))["request_id"], id);
        assert_eq!(client.ask(&bare("x", &task, "exit"))["error"]["code"], 0);
    }
}

#[test]
fn a_thousand_rounds_leak_nothing() {
    let Some((sys, unit, _folder)) = module() else { return };
    let mut client = sys.client();
    for i in 0..1000 {
        let task = client.set_up(&whole("tiny", 200));
        let id = format!("i{i}");
        let reply = client.ask(&infer_up_to(&id, &task, "hello", 1));
        assert_eq!((&reply["request_id"], &reply["error"]["code"]), (&json!(id), &json!(0)));
        assert_eq!(client.ask(&bare("x", &task, "exit"))["error"]["code"], 0);
    }
    eventually("all numbers are given back", || sys.command("tasks") == json!([]));
    assert_eq!(unit.unit.tasks(), Vec::<String>::new());
    assert!(
        !sys.files().iter().any(|file| file.contains("output_url")),
        "{:?}",
        sys.files()
    );
}

#[test]
fn every_inference_keeps_its_own_address_and_id() {
    let Some((sys, _unit, _folder)) = module() else { return };
    let (mut a, mut b) = (sys.client(), sys.client());
    let task = a.set_up(&streaming(ENDLESS, 20_000));
    a.send(&infer_up_to("a1", &task, "hello", 300));
    a.next();
    assert_eq!(b.ask(&bare("tb", &task, "taskinfo"))["object"], "llm.taskinfo");
    b.send(&infer_up_to("b1", &task, "hello", 30));
    let bad = infer_with("b2", &task, "hello", json!({"index": 5}));
    b.send(&bad);
    a.stream("a1");
    let mut seen = Vec::new();
    while seen.len() < 2 {
        let reply = b.next();
        if reply["error"]["code"] == -25 {
            assert_eq!(reply["request_id"], "b2");
            seen.push("error");
        } else {
            assert_eq!(reply["request_id"], "b1");
            if reply["data"]["finish"] == true {
                seen.push("finish");
            }
        }
    }
    a.expect_no_reply();
}

/// 400 inferences, or 10,000 if `SOFTPREFIX_TEST_LONG` is set. Each has a prefix of its own, whose echo shows that an answer is that of its
/// request.
#[test]
fn of_thousands_of_inferences_of_several_clients_none_is_lost_and_none_misaddressed() {
    const CLIENTS: usize = 4;
    /// Inferences of a client that wait for their answers: llm-sys publishes, and drops what a slow unit has not taken.
    const OUTSTANDING: usize = 40;
    let Some((sys, _unit, _folder)) = module() else { return };
    let total = std::env::var_os("SOFTPREFIX_TEST_LONG").map_or(400, |_| 10_000);
    let mut first = sys.client();
    // Some answers are whole texts, some are frames.
    let tasks = [first.set_up(&whole("tiny", 127)), first.set_up(&streaming("tiny", 127))];
    let answered: usize = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|number| {
                let (mut client, tasks) = (sys.client(), &tasks);
                scope.spawn(move || {
                    let mut waiting = BTreeMap::new();
                    let (mut sent, mut answered) = (0, 0);
                    while answered < total / CLIENTS {
                        while sent < total / CLIENTS && waiting.len() < OUTSTANDING {
                            let prefix = numbered_prefix(number * total + sent);
                            let id = format!("{number}-{sent}");
                            let more = json!({"soft_prefix": prefix, "softprefix": {"max_new_tokens": 2}});
                            client.send(&infer_with(&id, &tasks[sent % 2], "hello", more));
                            waiting.insert(id, (sha256_of(&prefix), tasks[sent % 2].clone()));
                            sent += 1;
                        }
                        let reply = client.next();
                        assert_eq!(reply["error"]["code"], 0, "{reply}");
                        let id = reply["request_id"].as_str().unwrap();
                        let (digest, task) = waiting
                            .get(id)
                            .unwrap_or_else(|| panic!("nobody here waits for {reply}"));
                        assert_eq!(&reply["work_id"], task, "{reply}");
                        let frame = reply["data"]["finish"].as_bool();
                        if frame == Some(false) {
                            continue;
                        }
                        assert_eq!(&reply["soft_prefix"]["sha256"], digest, "{reply}");
                        waiting.remove(id);
                        answered += 1;
                    }
                    client.expect_no_reply();
                    answered
                })
            })
            .collect();
        clients.into_iter().map(|client| client.join().unwrap()).sum()
    });
    assert_eq!(answered, total);
}

#[test]
fn speech_input_is_answered_keywords_stop_and_results_are_published() {
    let Some((sys, unit, _folder)) = module() else { return };
    let asr = sys.command("register asr").as_str().unwrap().to_owned();
    let kws = sys.command("register kws").as_str().unwrap().to_owned();
    let mut client = sys.client();
    let mut data = streaming(ENDLESS, 20_000);
    data["input"] = json!(["llm.utf-8", asr, kws]);
    let task = client.set_up(&data);
    let info = client.ask(&bare("t", &task, "taskinfo"));
    assert_eq!(info["data"]["inputs"], data["input"]);

    // A subscriber to the task's results, like a tts unit.
    let output = format!("ipc://{}/llm/5016.sock.llm.output_url", sys.folder.display());
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/subscriber.py");
    let mut hearing = Process(
        Command::new(python().unwrap())
            .args([script, &output])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap(),
    );
    let lines = BufReader::new(hearing.0.stdout.take().unwrap()).lines();
    let (sender, published) = std::sync::mpsc::channel();
    std::thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| sender.send(line)));
    let next_published = || published.recv_timeout(Duration::from_secs(20)).unwrap();
    assert_eq!(next_published(), "listening");
    // The subscription counts at some moment after this one, and everything that is published later is heard.
    let publish = |client: &mut Client, id: &str| {
        let more = json!({"softprefix": {"max_new_tokens": 1}});
        client.send(&infer_with(id, &task, "hello", more));
        client.stream(id);
    };
    let patience = Instant::now() + Duration::from_secs(20);
    publish(&mut client, "probe");
    while published.recv_timeout(Duration::from_millis(50)).is_err() {
        assert!(Instant::now() < patience, "nothing is heard");
        publish(&mut client, "probe");
    }
    publish(&mut client, "last probe");
    let next_published = || serde_json::from_str::<Value>(&next_published()).unwrap();
    let is_last = |reply: &Value| reply["request_id"] == "last probe" && reply["data"]["finish"] == true;
    while !is_last(&next_published()) {}

    let speech = |text: &str, finish: bool| {
        let frame = json!({"created": 1, "data": {"delta": text, "finish": finish, "index": 0}, "error": {"code": 0, "message": ""},
                           "object": "asr.utf-8.stream", "request_id": "a1", "work_id": asr});
        assert_eq!(sys.command(&format!("publish {asr} {frame}")), "published");
    };
    let expect_answer = |client: &mut Client| {
        let first = client.next();
        assert_eq!(
            (&first["request_id"], &first["work_id"]),
            (&json!("last probe"), &json!(task))
        );
        // A long inference that a keyword ends.
        assert_eq!(sys.command(&format!("publish {kws} wake")), "published");
        let mut reply = first;
        while reply["data"]["finish"] != true {
            reply = client.next();
        }
    };
    speech("hel", false);
    speech("hello from asr", true);
    expect_answer(&mut client);
    let first = next_published();
    assert_eq!(
        (&first["request_id"], &first["data"]["index"]),
        (&json!("last probe"), &json!(0))
    );
    // The last frame is published, too.
    while next_published()["data"]["finish"] != true {}

    assert_eq!(
        client.ask(&request("u", &task, "unlink", "work_id", json!(asr)))["error"]["code"],
        0
    );
    // Of two inputs only the later one is answered: an answer to the other would be read as the first, and be followed by one more.
    speech("after unlink", true);
    let linked = client.ask(&request("l", &task, "link", "work_id", json!(asr)));
    assert_eq!(
        (&linked["request_id"], &linked["error"]["code"]),
        (&json!("l"), &json!(0))
    );
    speech("after link", true);
    expect_answer(&mut client);
    client.expect_no_reply();
    for other_unit in ["asr.9999", "tts.1", "", "whisper.1"] {
        assert_eq!(
            error(&client.ask(&request("k", &task, "link", "work_id", json!(other_unit)))).0,
            -20,
            "{other_unit}"
        );
    }
    drop(unit);
}

#[test]
fn a_client_that_disconnects_with_frames_pending_delays_no_other_client() {
    let Some((sys, unit, _folder)) = module() else { return };
    let mut other = sys.client();
    let task = other.set_up(&streaming(ENDLESS, 20_000));
    for _ in 0..5 {
        let mut client = sys.client();
        for i in 0..4 {
            client.send(&infer_up_to(&format!("gone{i}"), &task, "hello", 9000));
        }
        client.next();
        drop(client);
        let started = Instant::now();
        other.send(&infer_up_to("here", &task, "hello", 30));
        other.stream("here");
        // Far sooner than the 9,000 tokens of each of the others.
        assert!(started.elapsed() < Duration::from_secs(6), "{:?}", started.elapsed());
    }
    assert_eq!(other.ask(&bare("p", &task, "pause"))["error"]["code"], 0);
    let started = Instant::now();
    assert_eq!(other.ask(&bare("x", &task, "exit"))["error"]["code"], 0);
    // Nothing is left to be waited for.
    assert!(started.elapsed() < Duration::from_secs(6));
    drop(unit);
}

#[test]
fn a_restart_of_llm_sys_ends_its_tasks_and_a_new_set_up_gets_a_new_id() {
    let Some((mut sys, unit, _folder)) = module() else {
        return;
    };
    let mut client = sys.client();
    let old = client.set_up(&streaming(ENDLESS, 20_000));
    client.set_up(&whole("tiny", 127));
    client.send(&infer("long", &old, "hello"));
    client.next();
    for _ in 0..3 {
        sys.restart();
        eventually("the old tasks have ended", || unit.unit.tasks().is_empty());
        let mut client = sys.client();
        assert_eq!(client.ask(&bare("t", "llm", "taskinfo"))["data"], json!([]));
        let task = client.set_up(&whole("tiny", 127));
        assert_eq!(task, "llm.1000", "numbers start afresh");
        client.set_up(&whole("tiny", 127));
        let reply = client.ask(&infer("i", &task, "hello"));
        assert_eq!(
            (&reply["request_id"], &reply["object"]),
            (&json!("i"), &json!("llm.utf-8"))
        );
    }
}

#[test]
fn invalid_calls_are_survived() {
    let Some((sys, unit, folder)) = module() else {
        return;
    };
    let garbage = r#"
import sys, zmq, socket, os
url = "ipc://" + sys.argv[1] + "/rpc.llm"
context = zmq.Context()
for frames in [[b"setup"], [b"", b""], [b"setup", b"\xff"], [b"exit", b"\x05ipc:/{}"], [b"\xff\xfe", b"x"], [b"taskinfo", b"\x03ipc" + b"x" * 100000], [b"a", b"b", b"c"]]:
    caller = context.socket(zmq.REQ)
    caller.linger = 0
    caller.connect(url)
    caller.send_multipart(frames)
    caller.poll(300)
    caller.close()
for bytes in [b"", b"GET / HTTP/1.1\r\n\r\n", os.urandom(4096)]:
    raw = socket.socket(socket.AF_UNIX)
    raw.connect(sys.argv[1] + "/rpc.llm")
    raw.sendall(bytes)
    raw.close()
caller = context.socket(zmq.REQ)
caller.connect(url)
caller.send_multipart([b"list_action", b""])
assert caller.poll(20000), "no answer"
assert caller.recv().startswith(b'{"actions":')
caller.send_multipart([b"nosuch", b"x"])
assert caller.poll(20000), "no answer"
assert caller.recv() == b"nosuch NotAction"
"#;
    let done = Command::new(python().unwrap())
        .args(["-c", garbage])
        .arg(folder.path())
        .status()
        .unwrap();
    assert!(done.success());
    let mut client = sys.client();
    let task = client.set_up(&whole("tiny", 127));
    assert_eq!(client.ask(&infer("i", &task, "hello"))["request_id"], "i");
    drop(unit);
}

#[test]
fn a_unit_with_another_name_works_beside_one_with_the_default_name() {
    let (bus, models) = (short_folder(), tempfile::tempdir().unwrap());
    let folder = bus.path();
    let Some(sys) = LlmSys::start(folder) else { return };
    let usual = Program::start(folder, models.path());
    usual.says("on the bus");
    let poet = Program::start_with(folder, models.path(), "tiny", &["--unit-name", "poet"]);
    poet.says("on the bus");
    assert!(folder.join("rpc.poet").exists() && folder.join("rpc.llm").exists());
    let mut client = sys.client();
    for (unit, task) in [("llm", "llm.1000"), ("poet", "poet.1001")] {
        let reply = client.ask(&request("s", unit, "setup", "llm.setup", whole("tiny", 127)));
        assert_eq!((&reply["error"]["code"], &reply["work_id"]), (&json!(0), &json!(task)));
        let reply = client.ask(&infer("i", task, "hello"));
        assert_eq!((&reply["error"]["code"], &reply["work_id"]), (&json!(0), &json!(task)));
        assert_eq!(
            client.ask(&bare("t", unit, "taskinfo"))["data"],
            json!([task]),
            "its own tasks only"
        );
    }
}

#[test]
fn on_sigterm_it_releases_its_numbers_and_removes_its_file() {
    let (folder, models) = (short_folder(), tempfile::tempdir().unwrap());
    let Some(sys) = LlmSys::start(folder.path()) else {
        return;
    };
    let mut program = Program::start(folder.path(), models.path());
    program.says("on the bus");
    let mut client = sys.client();
    client.set_up(&whole("tiny", 127));
    client.set_up(&streaming("tiny", 127));
    assert_eq!(sys.command("tasks"), json!(["llm.1000", "llm.1001"]));
    assert!(program.terminate());
    assert_eq!(sys.command("tasks"), json!([]));
    assert!(!folder.path().join("rpc.llm").exists());
    assert!(
        !sys.files().iter().any(|file| file.contains("output_url")),
        "{:?}",
        sys.files()
    );
    assert_eq!(error(&client.ask(&bare("t", "llm", "taskinfo"))).0, -9);
}

#[test]
fn after_a_kill_it_starts_clean_and_a_second_instance_ends_with_an_error() {
    let (folder, models) = (short_folder(), tempfile::tempdir().unwrap());
    let Some(sys) = LlmSys::start(folder.path()) else {
        return;
    };
    for round in 0..3 {
        let mut program = Program::start(folder.path(), models.path());
        program.says("on the bus");
        let mut client = sys.client();
        let task = client.set_up(&whole("tiny", 127));
        assert_eq!(client.ask(&infer("i", &task, "hello"))["request_id"], "i");
        if round == 0 {
            let mut second = Program::start(folder.path(), models.path());
            second.says("another unit answers");
            assert!(!second.process.0.wait().unwrap().success());
            assert_eq!(
                client.ask(&infer("i", &task, "hello"))["request_id"],
                "i",
                "the first instance is not affected"
            );
        }
        client.send(&infer("killed", &task, "hello"));
        // Each round kills it at another moment.
        std::thread::sleep(Duration::from_millis(round * 7));
        program.process.kill();
        assert!(folder.path().join("rpc.llm").exists(), "a killed unit leaves its file");
    }
}

#[test]
fn after_kills_at_random_moments_the_module_works() {
    // The moments are the same every time, as far as the machine allows; another seed selects others.
    let seed = std::env::var("SOFTPREFIX_TEST_SEED").map_or(1, |seed| seed.parse().unwrap());
    let mut state: u64 = seed;
    let mut below = |limit: u64| softprefix_core::prefix::split_mix(&mut state) % limit;
    let (folder, models) = (short_folder(), tempfile::tempdir().unwrap());
    let Some(mut sys) = LlmSys::start(folder.path()) else {
        return;
    };
    let mut program = Program::start(folder.path(), models.path());
    program.says("on the bus");
    // A third of the rounds kill the unit.
    let rounds = std::env::var_os("SOFTPREFIX_TEST_LONG").map_or(20_u64, |_| 900);
    for round in 0..rounds {
        let mut client = sys.client();
        client.send(&request("s", "llm", "setup", "llm.setup", streaming("tiny", 500)));
        std::thread::sleep(Duration::from_micros(below(60_000)));
        client.send(&infer("i", &format!("llm.{}", 1000 + round), "hello"));
        std::thread::sleep(Duration::from_micros(below(30_000)));
        match below(3) {
            0 => drop(client),
            1 => {
                program.process.kill();
                program = Program::start(folder.path(), models.path());
                program.says("on the bus");
            }
            _ => sys.restart(),
        }
        // Whatever was in progress: after the remaining tasks are ended, a new task works.
        let mut client = sys.client();
        eventually("a new task works", || {
            let left = client.ask(&bare("t", "llm", "taskinfo"))["data"].clone();
            for id in left.as_array().unwrap() {
                client.send(&bare("x", id.as_str().unwrap(), "exit"));
                while client.next()["request_id"] != "x" {}
            }
            let reply = client.ask(&request("again", "llm", "setup", "llm.setup", whole("tiny", 127)));
            if reply["error"]["code"] != 0 {
                return false;
            }
            let task = reply["work_id"].as_str().unwrap().to_owned();
            let answer = client.ask(&infer("i", &task, "hello"));
            assert_eq!(
                (&answer["request_id"], &answer["error"]["code"]),
                (&json!("i"), &json!(0))
            );
            client.ask(&bare("x", &task, "exit"))["error"]["code"] == 0
        });
    }
}

/// The memory of the program with every engine built in and no model loaded; a module has little memory.
#[cfg(target_os = "linux")]
#[test]
fn an_idle_program_uses_less_than_thirty_megabytes() {
    if !crate::under_test::runs_natively() {
        return;
    }
    let (folder, models) = (short_folder(), tempfile::tempdir().unwrap());
    let program = Program::start(folder.path(), models.path());
    program.says("on the bus");
    let status = std::fs::read_to_string(format!("/proc/{}/status", program.process.0.id())).unwrap();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    let kilobytes: u64 = resident.split_whitespace().next().unwrap().parse().unwrap();
    assert!((1..30_000).contains(&kilobytes), "{kilobytes} kB");
}
