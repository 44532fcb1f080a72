//! M5Stack's OpenAI server and similar clients, which take each read for one message, use the first language model of the list, and send
//! zeros for "off".

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Once;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::common::*;

/// A client that reads once per message, at most 4096 bytes, and keeps nothing between reads.
struct OneRead(TcpStream);

impl OneRead {
    fn connect(server: &Server) -> Self {
        let stream = TcpStream::connect(server.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        Self(stream)
    }

    fn send(&mut self, request: &Value) {
        // The format of Python: blanks after commas and colons, no line end.
        let text = request.to_string().replace("\":", "\": ").replace(",\"", ", \"");
        self.0.write_all(text.as_bytes()).unwrap();
    }

    /// Returns the result of one read, if it is one message.
    fn read(&mut self) -> Result<Value, String> {
        let mut bytes = [0; 4096];
        let count = self.0.read(&mut bytes).map_err(|error| error.to_string())?;
        let text = String::from_utf8_lossy(&bytes[..count]).into_owned();
        serde_json::from_str(&text).map_err(|error| format!("{error}: {text}"))
    }

    fn ask(&mut self, request: &Value) -> Value {
        self.send(request);
        self.read().unwrap()
    }

    /// Reads one answer in frames, or returns how it was lost.
    fn stream(&mut self, work_id: &str, id: &str, prompt: &str) -> Result<String, String> {
        self.send(&infer(id, work_id, prompt));
        let mut text = String::new();
        loop {
            let reply = self.read()?;
            if reply["request_id"] != id {
                continue;
            }
            text.push_str(reply["data"]["delta"].as_str().ok_or_else(|| reply.to_string())?);
            if reply["data"]["finish"] == true {
                return Ok(text);
            }
        }
    }
}

/// The set-up of M5Stack's server: the values of a request, `null` where it has none.
fn openai_server_set_up(model: &str) -> Value {
    json!({"model": model, "response_format": "llm.utf-8.stream", "input": "llm.utf-8", "enoutput": true,
           "max_token_len": null, "temperature": 0, "top_p": 1.0, "top_k": 0, "repetition_penalty": 0,
           "prompt": "You are a helpful assistant", "b_video": true})
}

/// The maximum recent scheduling delay of a thread on this machine, in microseconds.
static SCHEDULING_DELAY: AtomicU64 = AtomicU64::new(0);
/// A client that is delayed for longer can find two frames in one read.
const MAX_SCHEDULING_DELAY: u64 = 5_000;

/// Measures the scheduling delay continuously.
fn measure_scheduling_delay() {
    static WATCHING: Once = Once::new();
    WATCHING.call_once(|| {
        std::thread::spawn(|| {
            loop {
                let start = Instant::now();
                std::thread::sleep(Duration::from_millis(1));
                SCHEDULING_DELAY.fetch_max(start.elapsed().as_micros() as u64, Ordering::Relaxed);
            }
        });
    });
}

/// Returns the lost answers. Those during which the machine was too busy to run the client are requested again.
fn lost_answers(answers: usize) -> Vec<String> {
    measure_scheduling_delay();
    let server = Server::start();
    let mut client = OneRead::connect(&server);
    let reply = client.ask(&request(
        "setup",
        "llm",
        "setup",
        "llm.setup",
        openai_server_set_up(STOCK_MODEL),
    ));
    assert_eq!(reply["error"]["code"], 0, "{reply}");
    let task = reply["work_id"].as_str().unwrap().to_owned();
    let mut lost = Vec::new();
    let (mut counted, mut asked) = (0, 0);
    let patience = Instant::now() + Duration::from_secs(10) * u32::try_from(answers).unwrap();
    while counted < answers && Instant::now() < patience {
        SCHEDULING_DELAY.store(0, Ordering::Relaxed);
        asked += 1;
        let answer = client.stream(&task, &format!("answer{asked}"), &format!("Tell me {asked} stories"));
        let held_up = SCHEDULING_DELAY.load(Ordering::Relaxed) > MAX_SCHEDULING_DELAY;
        match answer {
            Ok(_) => counted += 1,
            Err(how) => {
                if !held_up {
                    lost.push(how);
                    counted += 1;
                }
                // The server then opens a new connection.
                client = OneRead::connect(&server);
            }
        }
    }
    assert_eq!(counted, answers, "the machine is too busy for any client of this kind");
    lost
}

/// 15 answers, or 1,000 if `SOFTPREFIX_TEST_LONG` is set, which takes minutes.
#[test]
fn a_client_that_reads_once_per_message_loses_no_answer() {
    let answers = std::env::var_os("SOFTPREFIX_TEST_LONG").map_or(15, |_| 1000);
    assert_eq!(lost_answers(answers), Vec::<String>::new());
}

#[test]
fn the_openai_server_finds_free_memory_and_its_model_first_in_the_list() {
    let server = Server::start();
    let mut client = server.client();
    for action in ["cmminfo", "axcl_cmminfo"] {
        let memory = client.ask(&request("m", "sys", action, "", json!({})));
        assert_eq!(memory["error"]["code"], 0, "{memory}");
        let number = |key: &str| memory["data"][key].as_i64().unwrap();
        assert_eq!(number("total"), number("used") + number("remain"));
        #[cfg(target_os = "linux")]
        assert!(number("remain") > 1 << 10, "in KiB: {memory}");
    }
    let cards = client.ask(&request("l", "sys", "lsmode", "", json!({})))["data"].clone();
    assert!(cards.as_array().unwrap().len() > 1);
    assert_eq!(cards[0]["mode"], STOCK_MODEL);
}

#[test]
fn zeros_select_greedy_decoding() {
    let server = Server::start();
    let mut client = server.client();
    let greedy = client.set_up(&streaming(STOCK_MODEL, 127));
    let mut front = openai_server_set_up(STOCK_MODEL);
    front["prompt"] = streaming(STOCK_MODEL, 127)["prompt"].clone();
    let zeros = client.set_up(&front);
    client.send(&infer("a", &greedy, "hello"));
    let expected = client.stream("a").0;
    client.send(&infer("b", &zeros, "hello"));
    assert_eq!(client.stream("b").0, expected);
}
