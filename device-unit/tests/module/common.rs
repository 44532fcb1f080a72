//! A unit with a tiny model of random weights on a TCP port, and a client that validates what it reads.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};
use softprefix_core::protocol::extension::Secret;
use softprefix_unit::budget::Purpose;
use softprefix_unit::engine::cpu::{CpuEngine, CpuOptions};
#[cfg(feature = "learn")]
use softprefix_unit::engine::gradient::{Differentiable, Example, Gradient};
use softprefix_unit::engine::likelihood::VocabChunk;
use softprefix_unit::engine::{Engine, EngineError, EngineInfo, SequenceId, SequenceStep, TokenEmbeddings};
use softprefix_unit::gguf::GgufFile;
use softprefix_unit::listen;
use softprefix_unit::model::{LoadError, LoadProgress, LoadedModel, ModelSource};
use softprefix_unit::testing::{Meta, TinyModel, TinyWeights};
use softprefix_unit::tokenizer::{ChatTemplate, Tokenizer};
use softprefix_unit::unit::{Unit, UnitOptions};

/// The name that stock clients use for Qwen; here it is the tiny model.
pub const STOCK_MODEL: &str = "qwen2.5-0.5B-prefill-20e";
/// A model that never produces a stop token.
pub const ENDLESS: &str = "endless";
/// A model whose loading panics.
pub const PANICS_WHILE_LOADING: &str = "breaks off";
/// H of the tiny models.
pub const HIDDEN: usize = 64;

/// Between a unit and its engines: open at first; closed, it holds each step.
#[derive(Default)]
pub struct Gate {
    state: Mutex<GateState>,
    changed: Condvar,
}

#[derive(Default)]
struct GateState {
    is_closed: bool,
    /// Steps pass a closed gate until one has so many sequences.
    awaited: usize,
    /// The most sequences of a step that came to the gate since it was closed.
    most: usize,
    /// Whether the next gradient gets a value that is not a number.
    spoils_gradient: bool,
    /// Whether the next step fails.
    fails_step: bool,
}

impl Gate {
    pub fn close(&self) {
        *self.state.lock().unwrap() = GateState {
            is_closed: true,
            ..GateState::default()
        };
    }

    pub fn open(&self) {
        self.state.lock().unwrap().is_closed = false;
        self.changed.notify_all();
    }

    /// Lets steps through until one has so many sequences, which is held. The inferences must be queued
    /// ([`Client::wait_until_queued`]).
    pub fn step_until_together(&self, sequences: usize) {
        let mut state = self.state.lock().unwrap();
        state.awaited = sequences;
        self.changed.notify_all();
        let few = |state: &mut GateState| state.most < sequences;
        let patience = Duration::from_secs(60);
        let (_state, waited) = self.changed.wait_timeout_while(state, patience, few).unwrap();
        assert!(!waited.timed_out(), "never {sequences} at once");
    }

    /// Puts a value that is not a number into the next gradient.
    #[cfg(feature = "learn")]
    pub fn spoil_gradient(&self) {
        self.state.lock().unwrap().spoils_gradient = true;
    }

    /// Lets the next step fail.
    pub fn fail_next_step(&self) {
        self.state.lock().unwrap().fails_step = true;
    }

    /// Comes to the gate with a step of so many sequences.
    pub fn pass(&self, sequences: usize) {
        let mut state = self.state.lock().unwrap();
        state.most = state.most.max(sequences);
        self.changed.notify_all();
        let is_held = |state: &mut GateState| state.is_closed && state.most >= state.awaited;
        let _state = self.changed.wait_while(state, is_held).unwrap();
    }
}

struct GatedEngine {
    engine: CpuEngine,
    gate: Arc<Gate>,
}

impl Engine for GatedEngine {
    fn info(&self) -> &EngineInfo {
        self.engine.info()
    }
    fn embeddings(&self) -> Arc<dyn TokenEmbeddings> {
        self.engine.embeddings()
    }
    fn open(&mut self, positions: usize) -> Result<SequenceId, EngineError> {
        self.engine.open(positions)
    }
    fn sequence_bytes(&self, positions: usize) -> usize {
        self.engine.sequence_bytes(positions)
    }
    fn close(&mut self, sequence: SequenceId) {
        self.engine.close(sequence);
    }
    fn forward(&mut self, batch: &mut [SequenceStep<'_>]) -> Result<(), EngineError> {
        self.gate.pass(batch.len());
        if std::mem::take(&mut self.gate.state.lock().unwrap().fails_step) {
            return Err(EngineError::Backend {
                what: "a step".into(),
                detail: "as the test wants it".into(),
                remedy: "go on".into(),
            });
        }
        self.engine.forward(batch)
    }
    fn rewind(&mut self, sequence: SequenceId, positions: usize) -> Result<(), EngineError> {
        self.engine.rewind(sequence, positions)
    }
    #[cfg(feature = "learn")]
    fn differentiable(&mut self) -> Option<&mut dyn Differentiable> {
        Some(self)
    }
    fn reduce_chunks(&self, chunks: &mut [VocabChunk<'_>]) {
        self.engine.reduce_chunks(chunks);
    }
}

#[cfg(feature = "learn")]
impl Differentiable for GatedEngine {
    fn gradient_bytes(&self, rows: usize, targets: usize) -> usize {
        self.engine.gradient_bytes(rows, targets)
    }
    fn begin_gradient(&mut self, example: Example) -> Result<(), EngineError> {
        self.engine.begin_gradient(example)
    }
    fn advance_gradient(&mut self) -> Option<Gradient> {
        let mut done = self.engine.advance_gradient()?;
        if std::mem::take(&mut self.gate.state.lock().unwrap().spoils_gradient) {
            done.rows[0] = f32::NAN;
        }
        Some(done)
    }
    fn abort_gradient(&mut self) {
        self.engine.abort_gradient();
    }
}

/// A source of tiny models, written when it is created.
pub struct TinySource {
    folder: tempfile::TempDir,
    /// Number of loads.
    pub loads: AtomicUsize,
    gate: Arc<Gate>,
    /// Holds loads, after they are counted, while it is closed.
    pub loading: Gate,
}

impl TinySource {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        TinyModel::qwen2().write(&folder.path().join("tiny.gguf")).unwrap();
        let endless = TinyModel {
            window: 20_000,
            ..TinyModel::qwen2()
        };
        endless.write(&folder.path().join("endless.gguf")).unwrap();
        let halves = TinyModel {
            weights: TinyWeights::F16,
            ..TinyModel::qwen2()
        };
        halves.write(&folder.path().join("halves.gguf")).unwrap();
        let strange = TinyModel {
            architecture: "mamba".into(),
            ..TinyModel::qwen2()
        };
        strange.write(&folder.path().join("strange.gguf")).unwrap();
        let mut picky = TinyModel::qwen2();
        let template = "{% if 'x' in messages[1].content %}{{ raise_exception('no x, please') }}{% endif %}\
                        {{ messages[0].content }}{{ messages[1].content }}";
        picky
            .keys
            .push(("tokenizer.chat_template".into(), Some(Meta::Text(template.into()))));
        picky.write(&folder.path().join("picky.gguf")).unwrap();
        let whole = std::fs::read(folder.path().join("tiny.gguf")).unwrap();
        std::fs::write(folder.path().join("truncated.gguf"), &whole[..whole.len() / 2]).unwrap();
        std::fs::write(folder.path().join("text.gguf"), "this is no model").unwrap();
        Self {
            folder,
            loads: AtomicUsize::new(0),
            gate: Arc::default(),
            loading: Gate::default(),
        }
    }

    fn path(&self, file: &str) -> PathBuf {
        self.folder.path().join(file)
    }
}

impl ModelSource for TinySource {
    fn cards(&self) -> Vec<Value> {
        // Not in the order of the list.
        let other = json!({"mode": "another", "type": "llm", "mode_param": {"tokens_embed_size": HIDDEN}});
        vec![
            other,
            json!({"mode": STOCK_MODEL, "type": "llm", "mode_param": {"tokens_embed_size": HIDDEN}}),
        ]
    }

    fn load(&self, model: &str, _: &Map<String, Value>, progress: &LoadProgress<'_>) -> Result<LoadedModel, LoadError> {
        let path = match model {
            STOCK_MODEL | "tiny" => self.path("tiny.gguf"),
            ENDLESS => self.path("endless.gguf"),
            PANICS_WHILE_LOADING => panic!("as the test wants it"),
            "halves" | "picky" | "truncated" | "strange" | "text" => self.path(&format!("{model}.gguf")),
            other => return Err(LoadError::UnknownModel { name: other.into() }),
        };
        self.loads.fetch_add(1, Ordering::Relaxed);
        self.loading.pass(0);
        let file = Arc::new(GgufFile::open(&path)?);
        let options = CpuOptions {
            threads: Some(1),
            ..CpuOptions::default()
        };
        let engine = CpuEngine::from_file(Arc::clone(&file), options, progress)?;
        let tokenizer = Arc::new(Tokenizer::from_gguf(&file).unwrap());
        Ok(LoadedModel {
            engine: Box::new(GatedEngine {
                engine,
                gate: Arc::clone(&self.gate),
            }),
            stop_tokens: if model == ENDLESS {
                Vec::new()
            } else {
                tokenizer.stop_tokens()
            },
            tokenizer,
            template: ChatTemplate::from_gguf(&file).unwrap(),
            settings: Map::new(),
            digest: None,
        })
    }
}

/// A module on a loopback port. Dropping it ends it.
pub struct Server {
    pub address: SocketAddr,
    pub unit: Arc<Unit>,
    /// Between the unit and the models of [`Server::with`].
    pub gate: Arc<Gate>,
    runtime: Option<tokio::runtime::Runtime>,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
}

impl Server {
    pub fn start() -> Self {
        Self::with(UnitOptions::default())
    }

    pub fn with(options: UnitOptions) -> Self {
        let source = TinySource::new();
        let gate = Arc::clone(&source.gate);
        let mut server = Self::serving(Arc::new(Unit::new(Arc::new(source), options)));
        server.gate = gate;
        server
    }

    pub fn serving(unit: Arc<Unit>) -> Self {
        Self::listening(unit, None)
    }

    /// Starts a module that only serves clients with the secret.
    pub fn belonging_to(secret: Secret) -> Self {
        let unit = Unit::new(Arc::new(TinySource::new()), UnitOptions::default());
        Self::listening(Arc::new(unit), Some(secret))
    }

    fn listening(unit: Arc<Unit>, secret: Option<Secret>) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let listener = runtime
            .block_on(listen::bind("127.0.0.1:0".parse().unwrap(), false))
            .unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let served = Arc::clone(&unit);
        let stopped = async move {
            let _ = stopped.await;
        };
        match secret {
            None => runtime.spawn(listen::serve(listener, served, stopped)),
            Some(secret) => runtime.spawn(listen::serve_own(listener, served, secret, stopped)),
        };
        Self {
            address,
            unit,
            gate: Arc::default(),
            runtime: Some(runtime),
            stop: Some(stop),
        }
    }

    pub fn client(&self) -> Client {
        Client::connect(self.address)
    }

    /// Waits until all inferences have ended: the memory of each is charged until then.
    pub fn wait_until_idle(&self) {
        let patience = Instant::now() + Duration::from_secs(60);
        while self.unit.memory().used(Purpose::Requests) > 0 {
            assert!(Instant::now() < patience, "an inference does not end");
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // A unit that waits at it could not end.
        self.gate.open();
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(Duration::from_secs(5));
        }
    }
}

/// A blocking client.
pub struct Client {
    pub stream: TcpStream,
    bytes: Vec<u8>,
}

impl Client {
    pub fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        Self {
            stream,
            bytes: Vec::new(),
        }
    }

    pub fn write(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    pub fn send(&mut self, value: &Value) {
        self.write(format!("{value}\n").as_bytes());
    }

    /// Returns the next JSON value, or `None` if none came within `patience` or the connection is closed.
    pub fn next_within(&mut self, patience: Duration) -> Option<Value> {
        self.next_text_within(patience)
            .map(|text| serde_json::from_str(&text).unwrap())
    }

    /// Returns the text of the next JSON value, with the blanks after it.
    pub fn next_text_within(&mut self, patience: Duration) -> Option<String> {
        let until = Instant::now() + patience;
        loop {
            let mut values = serde_json::Deserializer::from_slice(&self.bytes).into_iter::<serde::de::IgnoredAny>();
            if let Some(Ok(_)) = values.next() {
                let mut end = values.byte_offset();
                while self.bytes.get(end) == Some(&b'\n') {
                    end += 1;
                }
                let rest = self.bytes.split_off(end);
                let text = std::mem::replace(&mut self.bytes, rest);
                return Some(String::from_utf8(text).unwrap().trim_start().to_owned());
            }
            let left = until.checked_duration_since(Instant::now())?;
            self.stream
                .set_read_timeout(Some(left.max(Duration::from_millis(1))))
                .unwrap();
            let mut buffer = [0; 65536];
            match self.stream.read(&mut buffer) {
                Ok(0) => return None,
                Ok(count) => self.bytes.extend_from_slice(&buffer[..count]),
                Err(error)
                    if matches!(
                        error.kind(),
                        std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
                    ) =>
                {
                    return None;
                }
                Err(_) => return None,
            }
        }
    }

    pub fn next(&mut self) -> Value {
        self.next_within(Duration::from_secs(20)).expect("a reply within 20 s")
    }

    pub fn ask(&mut self, value: &Value) -> Value {
        self.send(value);
        self.next()
    }

    /// Returns `true` if the server closes the connection within some seconds.
    pub fn is_closed(&mut self) -> bool {
        self.stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let mut buffer = [0; 4096];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => return true,
                Ok(_) => {}
                Err(error) => return error.kind() == std::io::ErrorKind::ConnectionReset,
            }
        }
    }

    /// Sets up a task and returns its id.
    pub fn set_up(&mut self, setup: &Value) -> String {
        let reply = self.ask(&request("setup", "llm", "setup", "llm.setup", setup.clone()));
        assert_eq!(reply["error"]["code"], 0, "{reply}");
        reply["work_id"].as_str().unwrap().to_owned()
    }

    /// Waits until all inferences that this client has sent are queued, by a query that is answered on the same thread behind them. Nothing
    /// else may be sent to this client meanwhile.
    pub fn wait_until_queued(&mut self, task: &str) {
        let query = json!({"text": "hello"});
        let reply = self.ask(&request(
            "queued",
            task,
            "softprefix.budget",
            "softprefix.budget",
            query,
        ));
        assert_eq!(
            (&reply["request_id"], error(&reply).0),
            (&json!("queued"), 0),
            "{reply}"
        );
    }

    /// Asserts that no reply is on its way: the next one is that of a request which is sent now, and a unit answers a client in order.
    pub fn expect_no_reply(&mut self) {
        let reply = self.ask(&bare("only this", "llm", "taskinfo"));
        assert_eq!(reply["request_id"], "only this", "not requested: {reply}");
    }

    /// Reads the frames of one inference; returns its text and the last frame.
    pub fn stream(&mut self, request_id: &str) -> (String, Value) {
        let mut text = String::new();
        loop {
            let reply = self.next();
            assert_eq!(reply["request_id"], request_id, "{reply}");
            assert_eq!(reply["error"]["code"], 0, "{reply}");
            text.push_str(reply["data"]["delta"].as_str().unwrap());
            if reply["data"]["finish"] == true {
                assert_eq!(reply["data"]["delta"], "", "the last frame is empty");
                return (text, reply);
            }
            assert_ne!(reply["data"]["delta"], "", "only the last frame is empty");
        }
    }
}

pub fn request(request_id: &str, work_id: &str, action: &str, object: &str, data: Value) -> Value {
    json!({"request_id": request_id, "work_id": work_id, "action": action, "object": object, "data": data})
}

pub fn bare(request_id: &str, work_id: &str, action: &str) -> Value {
    json!({"request_id": request_id, "work_id": work_id, "action": action})
}

/// The data of a set-up with whole texts.
pub fn whole(model: &str, max_token_len: usize) -> Value {
    json!({"model": model, "response_format": "llm.utf-8", "input": "llm.utf-8", "enoutput": true,
           "max_token_len": max_token_len, "prompt": "You are helpful"})
}

/// The data of a set-up with frames.
pub fn streaming(model: &str, max_token_len: usize) -> Value {
    let mut data = whole(model, max_token_len);
    data["response_format"] = json!("llm.utf-8.stream");
    data
}

pub fn infer(request_id: &str, work_id: &str, text: &str) -> Value {
    request(request_id, work_id, "inference", "llm.utf-8", json!(text))
}

/// An inference in stream form with one frame, with `more` added to its data.
pub fn infer_with(request_id: &str, work_id: &str, text: &str, more: Value) -> Value {
    let mut data = json!({"delta": text, "index": 0, "finish": true});
    data.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    request(request_id, work_id, "inference", "llm.utf-8.stream", data)
}

/// An inference in stream form with one frame, whose answer has so many tokens at most.
pub fn infer_up_to(request_id: &str, work_id: &str, text: &str, max_new_tokens: usize) -> Value {
    infer_with(
        request_id,
        work_id,
        text,
        json!({"softprefix": {"max_new_tokens": max_new_tokens}}),
    )
}

/// A constant prefix in the form that clients send.
pub fn prefix(len: usize, hidden: usize, value: f32) -> Value {
    prefix_of(len, &vec![value; len * hidden])
}

/// A prefix of one row that no other number below 65,536 has.
pub fn numbered_prefix(number: usize) -> Value {
    // bf16 holds whole numbers up to 256 exactly.
    let mut row = [0.0; HIDDEN];
    row[..2].copy_from_slice(&[(number % 256) as f32, (number / 256) as f32]);
    prefix_of(1, &row)
}

fn prefix_of(len: usize, values: &[f32]) -> Value {
    use base64::Engine as _;
    let words = values.iter().map(|&value| half::bf16::from_f32(value).to_bits());
    let bytes: Vec<u8> = words.flat_map(u16::to_le_bytes).collect();
    json!({"len": len, "data_b64": base64::engine::general_purpose::STANDARD.encode(bytes)})
}

/// Returns the SHA-256 of a prefix' bytes, as a unit echoes it.
pub fn sha256_of(prefix: &Value) -> String {
    use base64::Engine as _;
    use sha2::Digest as _;
    let data = prefix["data_b64"].as_str().unwrap();
    let bytes = base64::engine::general_purpose::STANDARD.decode(data).unwrap();
    hex::encode(sha2::Sha256::digest(bytes))
}

/// Returns the error's code and message.
pub fn error(reply: &Value) -> (i64, String) {
    (
        reply["error"]["code"].as_i64().unwrap(),
        reply["error"]["message"].as_str().unwrap().to_owned(),
    )
}
