//! Whatever a model file holds or a peer sends: it is loaded and computes, is answered, or is refused with a sentence, without a panic,
//! within bounds of memory and time.
//!
//! `SOFTPREFIX_TEST_INPUTS=100000 cargo test --release -p softprefix-unit --test hostile` looks for long.
#![cfg(feature = "cpu")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail")]

#[allow(dead_code, reason = "the units of the other tests")]
#[path = "module/common.rs"]
mod common;
#[path = "../../core/tests/hostile/mutate.rs"]
mod mutate;

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use common::{
    Client, ENDLESS, Server, TinySource, bare, infer, infer_with, numbered_prefix, request, streaming, whole,
};
use mutate::{each, files, folder};
use serde_json::{Map, Value, json};
use softprefix_unit::engine::Logits;
use softprefix_unit::engine::cpu::CpuOptions;
use softprefix_unit::gguf::GgufFile;
use softprefix_unit::model::ModelSource as _;
use softprefix_unit::models::{ModelStore, Places};
use softprefix_unit::tokenizer::Special;
use softprefix_unit::unit::{Unit, UnitOptions};

/// Longest that anything here may wait.
const PATIENCE: Duration = Duration::from_secs(20);

/// More than the samples' keys and tensor descriptions take; what follows are weights.
const HEAD: usize = 24 << 10;

#[test]
fn a_model_file_is_loaded_and_computes_or_is_refused() {
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/cases");
    let samples: Vec<Vec<u8>> = files(&cases, 1 << 20)
        .into_iter()
        .filter(|file| file.starts_with(b"GGUF"))
        .collect();
    let folder = folder();
    let path = folder.path().join("one.gguf");
    each(&samples, HEAD, |input| {
        std::fs::write(&path, input).unwrap();
        compute_or_refuse(folder.path(), "one")
    });
}

#[test]
fn a_model_in_several_files_is_loaded_and_computes_or_is_refused() {
    let name = |number: u8| format!("split-0000{number}-of-00003.gguf");
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/cases");
    let files = [1, 2, 3].map(|number| std::fs::read(cases.join(name(number))).unwrap());
    // The first byte says which of the files it is.
    let samples = [1, 2, 3].map(|number| [&[number], &files[usize::from(number) - 1][..]].concat());
    let folder = folder();
    each(&samples, HEAD, |input| {
        let (&number, input) = input.split_first().unwrap_or((&1, &[]));
        for (whole, own) in files.iter().zip(1..) {
            let is_damaged = own == 1 + number.wrapping_sub(1) % 3;
            let bytes = if is_damaged { input } else { whole };
            std::fs::write(folder.path().join(name(own)), bytes).unwrap();
        }
        compute_or_refuse(folder.path(), "split")
    });
}

#[test]
fn the_keys_and_tensors_of_a_model_file_are_read_or_refused() {
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/cases");
    let heads: Vec<Vec<u8>> = files(&cases, 1 << 20)
        .into_iter()
        .filter(|file| file.starts_with(b"GGUF"))
        .map(|file| file[..HEAD.min(file.len())].to_vec())
        .collect();
    let folder = folder();
    let path = folder.path().join("one.gguf");
    each(&heads, HEAD, |input| {
        std::fs::write(&path, input).unwrap();
        // The weights are cut off, but a file of the length that its tensors need costs nothing where the system leaves holes.
        std::fs::File::options()
            .write(true)
            .open(&path)
            .unwrap()
            .set_len(1 << 20)
            .unwrap();
        match GgufFile::open(&path) {
            Ok(file) => {
                for key in file.keys() {
                    assert!(file.metadata(key).is_some());
                }
                for tensor in file.tensors() {
                    assert!(file.read(tensor).is_ok(), "{}", tensor.name);
                }
                true
            }
            Err(error) => {
                assert!(!error.to_string().is_empty());
                false
            }
        }
    });
}

/// Loads a model by its name and computes some rows. Returns `false` if it is refused.
fn compute_or_refuse(folder: &Path, name: &str) -> bool {
    let store = ModelStore::new(Places::only(folder.to_owned())).with_engine(CpuOptions {
        threads: Some(1),
        ..CpuOptions::default()
    });
    let mut model = match store.load(name, &Map::new(), &|_, _| ()) {
        Ok(model) => model,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            return false;
        }
    };
    let tokens = model.tokenizer.encode("Say hello.", Special::Parse).unwrap();
    let tokens = &tokens[..tokens.len().min(4)];
    let rows = model.engine.embeddings().rows(tokens).unwrap();
    if rows.is_empty() {
        return true;
    }
    let Ok(sequence) = model.engine.open(4) else {
        return true;
    };
    if let Err(error) = model.engine.feed(sequence, &rows, Logits::Last) {
        assert!(!error.to_string().is_empty());
    }
    model.engine.close(sequence);
    true
}

/// Conversations with a new unit, whose tasks are llm.1000 and llm.1001: every action, with the numbers that sizes are made of.
fn conversations() -> Vec<Vec<u8>> {
    let set_up = |data: Value| request("s", "llm", "setup", "llm.setup", data);
    let framed = |index: i64, finish: bool| {
        let data = json!({"delta": "good day ", "index": index, "finish": finish});
        request("f", "llm.1001", "inference", "llm.utf-8.stream", data)
    };
    let ours = |action: &str, data: Value| request("o", "llm.1000", action, "None", data);
    let options = json!({"max_new_tokens": 12, "usage": true, "stream": true, "priority": "batch", "draft_tokens": [5, 6, 7, 300]});
    let learn = |init: Value| {
        let example = |target: &str| json!({"prompt": "hello", "target": target});
        json!({"examples": [example("the land"), example("and")], "held_out": [example("in it")], "instruction": "Say it.",
               "preserve": ["good day"], "preserve_weight": 0.5, "len": 1, "init": init, "steps": 2, "batch": 1, "lr": 0.3, "seed": 4,
               "norm_limit": {"token_norms": 2.5}})
    };
    let mut nearest = numbered_prefix(3);
    nearest["k"] = json!(4);
    let texts = [
        vec![
            bare("p", "sys", "ping"),
            bare("v", "sys", "version"),
            bare("l", "sys", "lsmode"),
            bare("c", "sys", "cmminfo"),
            bare("t", "llm", "taskinfo"),
        ],
        vec![
            set_up(whole("tiny", 127)),
            infer("i", "llm.1000", "hello"),
            bare("t", "llm.1000", "taskinfo"),
            bare("x", "llm.1000", "exit"),
        ],
        vec![
            set_up(whole(ENDLESS, 200)),
            infer_with(
                "i",
                "llm.1000",
                "hello",
                json!({"soft_prefix": numbered_prefix(700), "softprefix": options}),
            ),
            bare("p", "llm.1000", "pause"),
        ],
        vec![
            set_up(whole("tiny", 127)),
            set_up(streaming("tiny", 127)),
            framed(0, false),
            framed(1, true),
            request("b", "llm.1001", "inference", "llm.base64", json!("aGVsbG8=")),
        ],
        vec![
            set_up(whole("tiny", 127)),
            ours("softprefix.vocabulary", json!({})),
            ours("softprefix.budget", json!({"text": "hello"})),
            ours("softprefix.embed", json!({"text": "the land"})),
            ours("softprefix.embed", json!({"tokens": [1, 2, 300]})),
            ours("softprefix.embed", json!({"sample": {"count": 3, "seed": 4}})),
            ours("softprefix.nearest", nearest),
        ],
        vec![
            set_up(whole("tiny", 127)),
            ours(
                "softprefix.score",
                json!({"prompt": "hello", "tokens": [5, 6, 7], "soft_prefixes": [numbered_prefix(9)], "top": 3}),
            ),
            ours("softprefix.stop", json!({"request_id": "o"})),
        ],
        vec![
            set_up(whole("tiny", 127)),
            ours("softprefix.learn", learn(json!("target"))),
            ours("softprefix.learn", learn(json!({"rows": numbered_prefix(5)}))),
        ],
    ];
    let mut conversations: Vec<Vec<u8>> = texts
        .iter()
        .map(|messages| {
            messages
                .iter()
                .flat_map(|message| format!("{message}\n").into_bytes())
                .collect()
        })
        .collect();
    let raw = r#"{"RAW":5,"request_id":"r","work_id":"llm.1000","action":"inference","object":"llm.base64"}hello"#;
    conversations.push(format!("{}\n{raw}\n", set_up(whole("tiny", 127))).into_bytes());
    conversations
}

#[test]
fn whatever_a_client_sends_is_answered_or_refused_and_others_are_served() {
    let source = Arc::new(TinySource::new());
    each(&conversations(), usize::MAX, |input| {
        let unit = Unit::new(
            Arc::clone(&source) as Arc<dyn softprefix_unit::model::ModelSource>,
            UnitOptions::default(),
        );
        let server = Server::serving(Arc::new(unit));
        let mut stream = TcpStream::connect(server.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        // The unit may have closed the connection.
        let _ = stream.write_all(input);
        let _ = stream.shutdown(Shutdown::Write);
        let mut replies = Vec::new();
        match stream.read_to_end(&mut replies) {
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => {}
            Err(error) => panic!("the connection stays open: {error}"),
        }
        if !replies.starts_with(b"HTTP/") {
            for reply in serde_json::Deserializer::from_slice(&replies).into_iter::<Value>() {
                let reply = reply.expect("replies are JSON");
                assert!(reply["error"]["code"].is_i64(), "{reply}");
            }
        }
        let mut other = Client::connect(server.address);
        assert_eq!(other.ask(&bare("p", "sys", "ping"))["request_id"], "p");
    });
}

/// The other side of the unit's ZeroMQ sockets.
#[cfg(all(feature = "bus", unix))]
mod bus {
    use std::os::unix::net::{UnixListener, UnixStream};

    use softprefix_unit::budget::Budget;
    use softprefix_unit::bus::{BusOptions, messages_of, serve, settings};

    use super::*;

    const MORE: u8 = 1;
    const COMMAND: u8 = 4;

    fn frame(flags: u8, body: &[u8]) -> Vec<u8> {
        match u8::try_from(body.len()) {
            Ok(length) => [&[flags, length], body].concat(),
            Err(_) => [&[flags | 2], &(body.len() as u64).to_be_bytes()[..], body].concat(),
        }
    }

    /// What a socket of this type says first.
    fn greeting(kind: &str) -> Vec<u8> {
        let mut bytes = vec![0; 64];
        (bytes[0], bytes[9], bytes[10]) = (0xff, 0x7f, 3);
        bytes[12..16].copy_from_slice(b"NULL");
        let kind_bytes = [&(kind.len() as u32).to_be_bytes()[..], kind.as_bytes()].concat();
        let ready = [b"\x05READY\x08Identity\0\0\0\0\x0bSocket-Type", &kind_bytes[..]].concat();
        bytes.extend(frame(COMMAND, &ready));
        bytes
    }

    fn call(action: &str, argument: &[u8]) -> Vec<u8> {
        [frame(MORE, b""), frame(MORE, action.as_bytes()), frame(0, argument)].concat()
    }

    #[test]
    fn what_a_peer_sends_is_read_into_messages_or_given_up() {
        let calls = [call("list_action", b""), call("setup", &[7; 300])].concat();
        let ping = frame(COMMAND, b"\x04PING\0\x0acontext");
        let refusal = frame(COMMAND, b"\x05ERROR\x02no");
        let samples: Vec<Vec<u8>> = ["REQ", "DEALER"]
            .iter()
            .map(|kind| [greeting(kind), ping.clone(), calls.clone(), refusal.clone()].concat())
            .collect();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let memory = Budget::default();
        each(&samples, usize::MAX, |input| {
            let (mut peer, ours) = UnixStream::pair().unwrap();
            // The largest input is far below what the socket holds, so that one thread can write and read.
            peer.write_all(input).unwrap();
            peer.shutdown(Shutdown::Write).unwrap();
            let messages = runtime.block_on(async {
                ours.set_nonblocking(true).unwrap();
                messages_of(tokio::net::UnixStream::from_std(ours).unwrap(), &memory).await
            });
            let bytes: usize = messages.iter().flatten().map(Vec::len).sum();
            assert!(bytes <= input.len(), "{bytes} of {}", input.len());
            !messages.is_empty()
        });
    }

    /// An address and a request, as llm-sys hands them on.
    fn pair(address: &str, request: &Value) -> Vec<u8> {
        [
            &[address.len() as u8],
            address.as_bytes(),
            request.to_string().as_bytes(),
        ]
        .concat()
    }

    #[test]
    fn whatever_calls_the_unit_on_the_bus_is_answered_or_let_go_and_others_are_served() {
        let folder = tempfile::Builder::new().prefix("sp").tempdir_in("/tmp").unwrap();
        let address = format!("ipc://{}/5", folder.path().display());
        let ping = frame(COMMAND, b"\x04PING\0\x0acontext");
        let calls = [
            call("list_action", b""),
            call(
                "setup",
                &pair(&address, &request("s", "llm", "setup", "llm.setup", whole("tiny", 127))),
            ),
            call("taskinfo", &pair(&address, &bare("t", "llm", "taskinfo"))),
            call("exit", &pair(&address, &bare("x", "llm.1000", "exit"))),
        ];
        let samples: Vec<Vec<u8>> = ["REQ", "DEALER"]
            .iter()
            .flat_map(|kind| {
                let all = [greeting(kind), ping.clone(), calls.concat()].concat();
                let one = [greeting(kind), calls[1].clone(), frame(COMMAND, b"\x05ERROR\x02no")].concat();
                [all, one]
            })
            .collect();
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let (ready, is_ready) = std::sync::mpsc::channel();
        let options = BusOptions {
            folder: folder.path().to_owned(),
        };
        let served = runtime.spawn(async move {
            let started = move |_: &Unit| ready.send(()).unwrap();
            let stopped = async move {
                let _ = stopped.await;
            };
            serve(
                Arc::new(TinySource::new()),
                UnitOptions::default(),
                options,
                started,
                stopped,
            )
            .await
            .unwrap();
        });
        is_ready.recv_timeout(PATIENCE).unwrap();
        let path = folder.path().join("rpc.llm");
        let converse = |bytes: &[u8]| {
            let mut stream = UnixStream::connect(&path).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            let _ = stream.write_all(bytes);
            let _ = stream.shutdown(Shutdown::Write);
            let mut answer = Vec::new();
            match stream.read_to_end(&mut answer) {
                Ok(_) => answer,
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => answer,
                Err(error) => panic!("the connection stays open: {error}"),
            }
        };
        let proper = [greeting("REQ"), call("list_action", b"")].concat();
        each(&samples, usize::MAX, |input| {
            let answer = converse(input);
            assert!(answer.len() < 4096, "{} bytes", answer.len());
            let answer = converse(&proper);
            assert!(answer.windows(10).any(|window| window == b"\"actions\":"), "{answer:?}");
        });
        let _ = stop.send(());
        runtime
            .block_on(async { tokio::time::timeout(PATIENCE, served).await })
            .unwrap()
            .unwrap();
    }

    #[test]
    fn whatever_answers_in_the_place_of_llm_sys_is_read_or_given_up() {
        let folder = tempfile::Builder::new().prefix("sp").tempdir_in("/tmp").unwrap();
        let listener = UnixListener::bind(folder.path().join("rpc.sys")).unwrap();
        let value = [frame(MORE, b""), frame(0, b"/opt/m5stack/data/")].concat();
        let samples: Vec<Vec<u8>> = ["REP", "ROUTER"]
            .iter()
            .flat_map(|kind| {
                let ping = frame(COMMAND, b"\x04PING\0\x0acontext");
                [
                    [greeting(kind), value.clone()].concat(),
                    [greeting(kind), ping, frame(COMMAND, b"\x05ERROR\x02no"), value.clone()].concat(),
                    [greeting(kind), frame(MORE, b""), frame(0, &[b'/'; 700])].concat(),
                ]
            })
            .collect();
        let (answers, to_send) = std::sync::mpsc::channel::<Vec<u8>>();
        std::thread::spawn(move || {
            for answer in to_send {
                let (mut stream, _) = listener.accept().unwrap();
                let _ = stream.write_all(&answer);
                let _ = stream.shutdown(Shutdown::Write);
                let _ = std::io::copy(&mut stream, &mut std::io::sink());
            }
        });
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let options = BusOptions {
            folder: folder.path().to_owned(),
        };
        each(&samples, usize::MAX, |input| {
            answers.send(input.to_vec()).unwrap();
            let values = runtime.block_on(async {
                let asked = settings(&options, &["config_base_mode_path"]);
                tokio::time::timeout(PATIENCE, asked).await
            });
            let values = values.expect("an answer or none within the limit");
            assert!(values[0].as_ref().is_none_or(|value| value.len() <= 3 * input.len()));
        });
    }
}
