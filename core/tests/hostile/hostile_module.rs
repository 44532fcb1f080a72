//! The client against a module that answers with damaged messages.
//!
//! The module waits for a request before each part of its answers, and closes the connection where the client has no further one, as it does
//! when an answer did not reach it.

use std::time::Duration;

use softprefix_core::client::{ClientError, ConnectOptions, InferenceRequest, Module, ScoreRequest, ScoredText, Task};
use softprefix_core::prefix::{Magnitude, PrefixKind, PrefixRecipe, SoftPrefix, decode};
use softprefix_core::protocol::{FrameReader, Request, SetUp};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::mutate::each;
use super::written::{frames, learn_request};

/// Number of questions.
const ALL: usize = 14;
/// Stands between the answers to two requests.
const PART: &str = "\n--\n";
/// Stands for the id of the request that is answered.
const ID: &str = "@ID@";
/// How long the module waits for the next request.
const PATIENCE: Duration = Duration::from_millis(20);

/// The answers to each request, as messages.
pub fn messages() -> impl Iterator<Item = Vec<u8>> {
    answers().into_iter().map(String::into_bytes)
}

/// What the client asks of a module in turn, and the answer to each.
fn answers() -> [String; 15] {
    let reply = |work_id: &str, object: &str, data: &str| {
        format!(
            "{{\"created\":1,\"data\":{data},\"error\":{{\"code\":0,\"message\":\"\"}},\"object\":\"{object}\",\"request_id\":\"{ID}\",\"work_id\":\"{work_id}\"}}\n"
        )
    };
    let support = r#"{"version":1,"hidden_size":2,"window":1024,"prefill_window":1024,"concurrency":16,"unit":"softprefix-unit 0.1.0","backend":"cpu/avx2","features":["embed","vocabulary","budget","stop","nearest","score","stream","learn"],"model_sha256":null,"memory":{"budget":100,"requests":25,"requests_used":0,"work":75,"work_used":0}}"#;
    let info = format!(
        r#"{{"enoutput":true,"inputs":["llm.utf-8"],"model":"a","response_format":"llm.utf-8.stream","soft_prefix":{support}}}"#
    );
    let echo = serde_json::to_string(&softprefix_core::protocol::extension::SoftPrefixEcho::of(&prefix())).unwrap();
    let usage = r#"{"prefix_len":1,"template_tokens":20,"prompt_tokens":3,"completion_tokens":2,"finish_reason":"stop","queue_ms":1.0,"prefill_ms":20.5,"decode_ms":100.0,"tokens":[5,6]}"#;
    let last = reply(
        "llm.1000",
        "llm.utf-8.stream",
        r#"{"delta":"","finish":true,"index":1}"#,
    );
    let last = last.replacen('{', &format!("{{\"soft_prefix\":{echo},\"usage\":{usage},"), 1);
    [
        reply("sys", "None", "\"None\""),
        reply("sys", "sys.utf-8", "\"v1.6\""),
        reply(
            "sys",
            "sys.lsmode",
            r#"[{"mode":"a","type":"llm","capabilities":["text_generation"],"mode_param":{"tokens_embed_size":2,"max_token_len":1023}}]"#,
        ),
        reply("sys", "sys.cmminfo", r#"{"total":100,"used":20,"remain":80}"#),
        reply("llm", "llm.tasklist", r#"["llm.1000"]"#),
        reply("llm.1000", "None", "\"None\""),
        reply("llm.1000", "llm.taskinfo", &info),
        reply(
            "llm.1000",
            "softprefix.budget",
            r#"{"template":20,"prompt":3,"window":1024,"prefill_window":128}"#,
        ),
        reply(
            "llm.1000",
            "softprefix.vocabulary",
            r#"{"hidden_size":2,"rows":151936,"percentiles":{"1":0.3,"5":0.3,"25":0.4,"50":0.5,"75":0.5,"95":0.6,"99":0.6},"max":0.95,"rms":0.0172,"histogram":{"log10_min":-1.0,"log10_max":0.0,"counts":[1,2]}}"#,
        ),
        reply(
            "llm.1000",
            "softprefix.embed",
            r#"{"hidden_size":2,"len":2,"data_b64":"gD8AQEBAgEA=","tokens":[{"id":5,"text":"sea"},{"id":6,"text":" x"}]}"#,
        ),
        [
            reply(
                "llm.1000",
                "llm.utf-8.stream",
                r#"{"delta":"so it is","finish":false,"index":0}"#,
            ),
            last,
        ]
        .concat(),
        reply(
            "llm.1000",
            "softprefix.score",
            r#"{"tokens":[{"id":5,"text":"So"}],"base":{"logprobs":[-0.5],"perplexity":1.6},"prefixed":[]}"#,
        ),
        reply(
            "llm.1000",
            "softprefix.nearest",
            r#"{"rows":[[{"id":5,"text":"sea","cosine":0.5,"distance":0.1}]]}"#,
        ),
        frames(&prefix())
            .map(|frame| reply("llm.1000", "softprefix.learn", &serde_json::to_string(&frame).unwrap()))
            .concat(),
        reply("llm.1000", "None", "\"None\""),
    ]
}

fn prefix() -> SoftPrefix {
    let recipe = PrefixRecipe::new(PrefixKind::Constant, 1, Magnitude::Raw(0.5));
    recipe.build(2, None, None).unwrap()
}

/// Plays the module to one client.
async fn play(mut stream: TcpStream, answers: Vec<u8>) {
    stream.set_nodelay(true).unwrap();
    let mut frames = FrameReader::default();
    let mut buffer = vec![0; 1 << 16];
    let mut rest = answers.as_slice();
    'parts: while !rest.is_empty() {
        let at = rest.windows(PART.len()).position(|window| window == PART.as_bytes());
        let (part, after) = match at {
            Some(at) => (&rest[..at], &rest[at + PART.len()..]),
            None => (rest, &rest[..0]),
        };
        rest = after;
        let request: Request = loop {
            if let Ok(Some(frame)) = frames.next() {
                break serde_json::from_slice(&frame).expect("the client's requests are whole");
            }
            match tokio::time::timeout(PATIENCE, stream.read(&mut buffer)).await {
                Ok(Ok(length)) if length > 0 => frames.push(&buffer[..length]),
                _ => break 'parts,
            }
        };
        let mut written = Vec::with_capacity(part.len());
        let mut left = part;
        while let Some(at) = left.windows(ID.len()).position(|window| window == ID.as_bytes()) {
            written.extend_from_slice(&left[..at]);
            written.extend_from_slice(request.request_id.as_bytes());
            left = &left[at + ID.len()..];
        }
        written.extend_from_slice(left);
        if stream.write_all(&written).await.is_err() {
            return;
        }
    }
    // The client may have closed it first.
    let _ = stream.shutdown().await;
    while matches!(stream.read(&mut buffer).await, Ok(length) if length > 0) {}
}

/// Asks everything; returns how many of the questions were answered.
async fn ask(module: &Module) -> usize {
    let mut answered = 0;
    let mut count = |outcome: Result<(), ClientError>| match outcome {
        Ok(()) => answered += 1,
        Err(error) => assert!(!error.to_string().is_empty()),
    };
    count(module.ping().await.map(drop));
    count(module.version().await.map(drop));
    count(module.model_list().await.map(drop));
    count(module.cmminfo().await.map(drop));
    count(module.tasks().await.map(drop));
    let task = match module.set_up(&SetUp::new("a", "")).await {
        Ok(task) => task,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            return answered;
        }
    };
    count(Ok(()));
    count(task.count_tokens("sea").await.map(drop));
    count(task.vocabulary().await.map(drop));
    count(task.embed("sea").await.map(drop));
    let inference = task.infer(InferenceRequest::new("Hello").prefix(Some(prefix())));
    count(inference.outcome().await.map(drop));
    let score = ScoreRequest::new("Why?", ScoredText::Text("So.".to_owned()));
    count(task.score(score).await.map(drop));
    count(task.nearest(&prefix(), 1).await.map(drop));
    count(learn(&task).await);
    count(task.exit().await);
    answered
}

/// Learns to the last frame, and reads the rows of each.
async fn learn(task: &Task) -> Result<(), ClientError> {
    let mut learning = task.learn(&learn_request())?;
    while let Some(frame) = learning.next().await? {
        if let Some(rows) = &frame.best.rows
            && let Ok(rows) = decode(rows, 2)
        {
            assert!(rows.values().iter().all(|value| value.is_finite()));
        }
    }
    Ok(())
}

#[test]
fn whatever_a_module_answers_the_client_has_an_answer_or_an_error_in_time() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let short = Duration::from_millis(60);
    let options = ConnectOptions {
        request: short,
        set_up: short,
        first_frame: short,
        idle: short,
        deadline: 4 * short,
        drain: short,
        settle: Duration::from_millis(1),
        ..ConnectOptions::default()
    };
    let mut most = 0;
    each(&[answers().join(PART).into_bytes()], usize::MAX, |input| {
        let answered = runtime.block_on(async {
            let (module, accepted) = tokio::join!(Module::connect(&address, options.clone()), listener.accept());
            let (stream, _) = accepted.unwrap();
            let playing = tokio::spawn(play(stream, input.to_vec()));
            let module = module.unwrap();
            let asking = tokio::time::timeout(Duration::from_secs(20), ask(&module)).await;
            drop(module);
            playing.await.unwrap();
            asking.expect("every question ends")
        });
        most = most.max(answered);
        answered == ALL
    });
    // As the module means it, everything is answered, so that damage reaches everything.
    assert_eq!(most, ALL);
}
