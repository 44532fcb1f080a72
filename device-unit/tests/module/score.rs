//! Scores by teacher forcing: compared with a direct computation from the engine's logits, beside live runs, and refusals. Also nearest
//! tokens and samples, and all of it through the client.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use half::bf16;
use serde_json::{Value, json};
use softprefix_core::client::{ConnectOptions, Module, ScoreRequest, ScoredText};
use softprefix_core::compare::LikelihoodMeasures;
use softprefix_core::prefix::{
    Generator, Magnitude, Need, PrefixKind, PrefixRecipe, SoftPrefix, SoftPrefixField, decode,
};
use softprefix_core::protocol::SetUp;
use softprefix_unit::engine::cpu::{CpuEngine, CpuOptions};
use softprefix_unit::engine::{Engine, Logits, SequenceStep};
use softprefix_unit::gguf::GgufFile;
use softprefix_unit::testing::TinyModel;
use softprefix_unit::tokenizer::{ChatTemplate, Special, Tokenizer};

use crate::common::*;

const SYSTEM: &str = "You are helpful";
const PROMPT: &str = "hello there";
const TEXT: &str = "The land and the thing in it, and then 森の中 again.";

fn score(id: &str, task: &str, data: Value) -> Value {
    request(id, task, "softprefix.score", "softprefix.score", data)
}

fn floats(list: &Value) -> Vec<f64> {
    list.as_array()
        .unwrap()
        .iter()
        .map(|value| value.as_f64().unwrap())
        .collect()
}

fn rows(field: &Value) -> SoftPrefix {
    let field: SoftPrefixField = serde_json::from_value(field.clone()).unwrap();
    decode(&field, HIDDEN).unwrap()
}

/// The same model without a unit, with everything in one step.
struct Direct {
    engine: CpuEngine,
    tokenizer: Tokenizer,
}

impl Direct {
    fn open() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tiny.gguf");
        TinyModel::qwen2().write(&path).unwrap();
        let file = Arc::new(GgufFile::open(&path).unwrap());
        let options = CpuOptions {
            threads: Some(1),
            ..CpuOptions::default()
        };
        let tokenizer = Tokenizer::from_gguf(&file).unwrap();
        let engine = CpuEngine::from_file(file, options, &|_, _| ()).unwrap();
        Self { engine, tokenizer }
    }

    fn text(&self) -> Vec<u32> {
        self.tokenizer.encode(TEXT, Special::Plain).unwrap()
    }

    /// Returns ln p of every token at each position of the text.
    fn predictions(&mut self, prefix: Option<&SoftPrefix>) -> Vec<Vec<f64>> {
        let prompt = ChatTemplate::qwen_stock().render(SYSTEM, PROMPT).unwrap();
        let mut tokens = self.tokenizer.encode(&prompt, Special::Parse).unwrap();
        let text = self.text();
        tokens.extend(&text);
        let mut rows: Vec<bf16> = prefix.map(|prefix| prefix.values().to_vec()).unwrap_or_default();
        let mut row = [bf16::ZERO; HIDDEN];
        for token in tokens {
            self.engine.embeddings().row(token, &mut row).unwrap();
            rows.extend(row);
        }
        let sequence = self.engine.open(rows.len() / HIDDEN).unwrap();
        let stop = AtomicBool::new(false);
        let mut steps = [SequenceStep {
            sequence,
            rows: &rows,
            logits: Logits::All,
            out: Vec::new(),
            stop: &stop,
        }];
        self.engine.forward(&mut steps).unwrap();
        let [step] = steps;
        self.engine.close(sequence);
        let vocab_size = self.engine.info().vocab_size;
        let all: Vec<Vec<f64>> = step.out.chunks(vocab_size).map(ln_softmax).collect();
        all[all.len() - text.len() - 1..all.len() - 1].to_vec()
    }
}

fn ln_softmax(logits: &[f32]) -> Vec<f64> {
    let max = f64::from(logits.iter().copied().fold(f32::MIN, f32::max));
    let sum: f64 = logits.iter().map(|&logit| (f64::from(logit) - max).exp()).sum();
    logits.iter().map(|&logit| f64::from(logit) - max - sum.ln()).collect()
}

fn likeliest(prediction: &[f64]) -> usize {
    (0..prediction.len())
        .rev()
        .max_by(|&a, &b| prediction[a].total_cmp(&prediction[b]))
        .unwrap()
}

#[test]
fn scores_equal_those_computed_directly_from_the_logits() {
    let server = Server::start();
    let mut client = server.client();
    let task = client.set_up(&whole("tiny", 500));
    let prefixes = [prefix(1, HIDDEN, 0.05), prefix(4, HIDDEN, 1.0), prefix(30, HIDDEN, 0.0)];
    let reply = client.ask(&score(
        "s",
        &task,
        json!({"prompt": PROMPT, "text": TEXT, "soft_prefixes": prefixes, "top": 5}),
    ));
    assert_eq!(reply["error"]["code"], 0, "{reply}");
    assert_eq!(reply["object"], "softprefix.score");
    let data = &reply["data"];

    let mut direct = Direct::open();
    let text = direct.text();
    let ids: Vec<u32> = data["tokens"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["id"].as_u64().unwrap() as u32)
        .collect();
    assert_eq!(ids, text);
    let close = |found: f64, expected: f64| assert!((found - expected).abs() < 1e-5, "{found} and {expected}");
    let base = direct.predictions(None);
    let check = |scores: &Value, predictions: &[Vec<f64>]| {
        let logprobs = floats(&scores["logprobs"]);
        assert_eq!(logprobs.len(), text.len());
        for (place, &token) in text.iter().enumerate() {
            close(logprobs[place], predictions[place][token as usize]);
            let top = scores["top"][place].as_array().unwrap();
            assert_eq!(top.len(), 5);
            assert_eq!(top[0]["id"], likeliest(&predictions[place]));
            for alternative in top {
                let id = alternative["id"].as_u64().unwrap() as usize;
                close(alternative["logprob"].as_f64().unwrap(), predictions[place][id]);
            }
        }
        let mean = logprobs.iter().sum::<f64>() / logprobs.len() as f64;
        close(scores["perplexity"].as_f64().unwrap(), (-mean).exp());
    };
    check(&data["base"], &base);
    assert_eq!(data["base"]["soft_prefix"], Value::Null);
    for (field, compared) in prefixes.iter().zip(data["prefixed"].as_array().unwrap()) {
        let prefix = rows(field);
        let prefixed = direct.predictions(Some(&prefix));
        check(&compared["scores"], &prefixed);
        assert_eq!(compared["scores"]["soft_prefix"]["sha256"], prefix.sha256());
        let kl = floats(&compared["kl"]);
        for place in 0..text.len() {
            let (p, q) = (&base[place], &prefixed[place]);
            let expected: f64 = p.iter().zip(q).map(|(p, q)| p.exp() * (p - q)).sum();
            close(kl[place], expected);
            assert!(kl[place] > 0.0);
            assert_eq!(compared["same_top"][place], likeliest(p) == likeliest(q));
        }
    }
}

#[test]
fn the_same_prefix_on_both_sides_gives_a_divergence_of_exactly_zero() {
    let server = Server::start();
    let mut client = server.client();
    let task = client.set_up(&whole("tiny", 500));
    let (one, other) = (prefix(2, HIDDEN, 0.3), prefix(2, HIDDEN, 0.2));
    let reply = client.ask(&score(
        "s",
        &task,
        json!({"prompt": PROMPT, "text": TEXT, "against": one, "soft_prefixes": [one, other]}),
    ));
    let [same, different] = &reply["data"]["prefixed"].as_array().unwrap()[..] else {
        panic!("{reply}")
    };
    assert!(floats(&same["kl"]).iter().all(|&kl| kl == 0.0), "{same}");
    assert!(same["same_top"].as_array().unwrap().iter().all(|same| same == true));
    assert_eq!(same["scores"], reply["data"]["base"]);
    assert!(floats(&different["kl"]).iter().all(|&kl| kl > 0.0));
}

#[test]
fn greedily_decoded_tokens_are_the_likeliest_at_each_position() {
    let server = Server::start();
    let mut client = server.client();
    let task = client.set_up(&whole(ENDLESS, 1000));
    let field = prefix(3, HIDDEN, 0.4);
    let more = json!({"soft_prefix": field, "softprefix": {"max_new_tokens": 40, "usage": true}});
    let answer = client.ask(&infer_with("i", &task, PROMPT, more));
    let tokens = &answer["usage"]["tokens"];
    // A single prefix can be sent without a list.
    let reply = client.ask(&score(
        "s",
        &task,
        json!({"prompt": PROMPT, "tokens": tokens, "soft_prefix": field, "top": 1}),
    ));
    let top = reply["data"]["prefixed"][0]["scores"]["top"].as_array().unwrap();
    let likeliest: Vec<&Value> = top.iter().map(|place| &place[0]["id"]).collect();
    assert_eq!(likeliest, tokens.as_array().unwrap().iter().collect::<Vec<_>>());
}

#[test]
fn invalid_scoring_requests_are_refused_with_a_message() {
    let server = Server::start();
    let mut client = server.client();
    let task = client.set_up(&whole("tiny", 100));
    let long: Vec<u32> = vec![65; 90];
    let many = vec![prefix(1, HIDDEN, 0.1); 16];
    for (data, code, part) in [
        (json!({"text": "a"}), -22, "no prompt"),
        (json!({"prompt": "a"}), -22, "neither text nor tokens"),
        (json!({"prompt": "a", "text": 5}), -22, "text is 5"),
        (
            json!({"prompt": "a", "text": "b", "tokens": "x"}),
            -22,
            "tokens is not a list",
        ),
        (json!({"prompt": 5, "text": "b"}), -22, "no prompt that is a string"),
        (json!({"prompt": "a", "text": ""}), -34, "is empty"),
        (json!({"prompt": "a", "tokens": []}), -34, "is empty"),
        (
            json!({"prompt": "a", "tokens": [1, -1]}),
            -22,
            "not a list of token ids",
        ),
        (json!({"prompt": "a", "tokens": ["12"]}), -22, "not a list of token ids"),
        (
            json!({"prompt": "a", "tokens": [1, 999_999]}),
            -22,
            "999999 is outside the vocabulary of 265",
        ),
        (json!({"prompt": "a", "text": "b", "top": 21}), -22, "0 to 20"),
        (
            json!({"prompt": "a", "text": "b", "soft_prefixes": many}),
            -22,
            "at most 15",
        ),
        (
            json!({"prompt": "a", "text": "b", "soft_prefixes": "x"}),
            -22,
            "not a list",
        ),
        (
            json!({"prompt": "a", "text": "b", "soft_prefixes": [prefix(1, 63, 0.1)]}),
            -30,
            "H = 64",
        ),
        (
            json!({"prompt": "a", "text": "b", "against": prefix(1, HIDDEN, f32::NAN)}),
            -31,
            "finite",
        ),
        (
            json!({"prompt": "a", "tokens": long, "soft_prefixes": [prefix(9, HIDDEN, 0.1)]}),
            -32,
            "9 prefix rows",
        ),
        (Value::Null, -22, "no prompt"),
    ] {
        let (found, message) = error(&client.ask(&score("s", &task, data.clone())));
        assert_eq!(found, code, "{data}: {message}");
        assert!(message.contains(part), "{message}");
    }
    assert_eq!(error(&client.ask(&score("s", "llm.9999", json!({})))).0, -6);
}

#[test]
fn live_runs_proceed_while_a_long_text_is_scored_and_scoring_can_be_stopped() {
    let server = Server::start();
    let mut client = server.client();
    let task = client.set_up(&streaming(ENDLESS, 19_000));
    let long: Vec<u32> = (0..6000).map(|i| 65 + i % 26).collect();
    let prefixes = vec![prefix(2, HIDDEN, 0.1); 15];
    server.gate.close();
    client.send(&score(
        "long",
        &task,
        json!({"prompt": PROMPT, "tokens": long, "soft_prefixes": prefixes}),
    ));
    // Scoring has begun.
    server.gate.step_until_together(1);
    server.gate.open();
    for run in 0..3 {
        let id = format!("live{run}");
        client.send(&infer_up_to(&id, &task, "x", 12));
        let (text, _) = client.stream(&id);
        assert!(!text.is_empty());
    }
    let stopped = client.ask(&request(
        "stop",
        &task,
        "softprefix.stop",
        "softprefix.stop",
        json!({"request_id": "long"}),
    ));
    assert_eq!(stopped["request_id"], "stop");
    let (code, message) = error(&client.next());
    assert_eq!(code, -11);
    assert!(message.contains("Scoring was stopped"), "{message}");
    assert_eq!(
        client.ask(&bare("x", &task, "exit"))["error"]["code"],
        0,
        "the task ends with no inference left"
    );
}

#[test]
fn a_task_that_ends_answers_queued_scoring_requests() {
    let server = Server::start();
    let mut client = server.client();
    let task = client.set_up(&whole(ENDLESS, 19_000));
    let long: Vec<u32> = (0..6000).map(|i| 65 + i % 26).collect();
    let prefixes = vec![prefix(2, HIDDEN, 0.1); 15];
    for id in ["first", "second"] {
        client.send(&score(
            id,
            &task,
            json!({"prompt": PROMPT, "tokens": long, "soft_prefixes": prefixes}),
        ));
    }
    client.send(&bare("exit", &task, "exit"));
    let mut answered = BTreeSet::new();
    for _ in 0..3 {
        let reply = client.next();
        let id = reply["request_id"].as_str().unwrap().to_owned();
        assert_eq!(reply["error"]["code"] == 0, id == "exit", "{reply}");
        answered.insert(id);
    }
    assert_eq!(answered.len(), 3);
}

#[test]
fn rows_of_tokens_and_of_samples_by_seed_are_returned() {
    let server = Server::start();
    let mut client = server.client();
    let task = client.set_up(&whole("tiny", 300));
    let embed = |data: Value| request("e", &task, "softprefix.embed", "None", data);
    let words = client.ask(&embed(json!({"text": "the land"})));
    let ids: Vec<&Value> = words["data"]["tokens"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| &one["id"])
        .collect();
    let by_id = client.ask(&embed(json!({"tokens": ids})));
    assert_eq!(by_id["data"], words["data"]);

    let sample = |seed: u64| embed(json!({"sample": {"count": 200, "seed": seed}}));
    let (once, again, other) = (client.ask(&sample(1)), client.ask(&sample(1)), client.ask(&sample(2)));
    assert_eq!(once["data"], again["data"]);
    assert_ne!(once["data"]["data_b64"], other["data"]["data_b64"]);
    assert_eq!(once["data"]["len"], 200);
    for token in once["data"]["tokens"].as_array().unwrap() {
        let id = token["id"].as_u64().unwrap();
        assert!(!(256..259).contains(&id), "a mark of the template was drawn: {token}");
    }
    for (data, code) in [
        (json!({}), -22),
        (json!({"tokens": [999_999]}), -11),
        (json!({"tokens": []}), -34),
        (json!({"sample": {"count": u64::MAX, "seed": 1}}), -32),
    ] {
        assert_eq!(error(&client.ask(&embed(data.clone()))).0, code, "{data}");
    }
}

#[test]
fn the_nearest_tokens_of_words_are_the_words_and_those_of_noise_are_far() {
    let server = Server::start();
    let mut client = server.client();
    let task = client.set_up(&whole("tiny", 300));
    let words = client.ask(&request(
        "e",
        &task,
        "softprefix.embed",
        "None",
        json!({"text": "the land"}),
    ));
    let nearest = |mut rows: Value, k: u64| {
        rows["k"] = k.into();
        request("n", &task, "softprefix.nearest", "softprefix.nearest", rows)
    };
    let field = json!({"len": words["data"]["len"], "data_b64": words["data"]["data_b64"]});
    let found = client.ask(&nearest(field, 3));
    let found = found["data"]["rows"].as_array().unwrap();
    let tokens = words["data"]["tokens"].as_array().unwrap();
    assert_eq!(found.len(), tokens.len());
    for (row, token) in found.iter().zip(tokens) {
        assert_eq!((&row[0]["id"], &row[0]["text"]), (&token["id"], &token["text"]));
        assert!((row[0]["cosine"].as_f64().unwrap() - 1.0).abs() < 1e-5);
        assert!(row[1]["cosine"].as_f64().unwrap() < 0.9 && row.as_array().unwrap().len() == 3);
    }
    let zeros = client.ask(&nearest(prefix(1, HIDDEN, 0.0), 3));
    assert_eq!(zeros["data"]["rows"], json!([[]]), "zeros point nowhere");
    assert_eq!(error(&client.ask(&nearest(prefix(1, HIDDEN, 0.1), 0))).0, -22);
    assert_eq!(error(&client.ask(&nearest(prefix(257, HIDDEN, 0.1), 1))).0, -22);
    assert_eq!(error(&client.ask(&nearest(prefix(1, 63, 0.1), 1))).0, -30);
    for _ in 0..300 {
        let next = client.ask(&nearest(prefix(1, HIDDEN, 0.1), 1));
        assert_eq!(
            error(&next).0,
            0,
            "a client that has its answer can send the next query at once"
        );
    }
}

#[test]
fn the_client_scores_more_prefixes_than_fit_into_a_request_and_finds_nearest_tokens() {
    let server = Server::start();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let module = Module::connect(server.address.to_string(), ConnectOptions::default())
            .await
            .unwrap();
        let mut set_up = SetUp::new("tiny", SYSTEM);
        set_up.max_token_len = Some(500);
        let task = module.set_up(&set_up).await.unwrap();
        let constant = |v: f64| {
            let recipe = PrefixRecipe::new(PrefixKind::Constant, 2, Magnitude::Raw(v));
            recipe.build(HIDDEN, None, None).unwrap()
        };
        let prefixes: Vec<SoftPrefix> = (0..17).map(|i| constant(f64::from(i) / 10.0)).collect();
        let request = ScoreRequest::new(PROMPT, ScoredText::Text(TEXT.into()))
            .prefixes(prefixes)
            .top(2);
        let scored = task.score(request).await.unwrap();
        assert_eq!(scored.prefixed.len(), 17);
        let digests: BTreeSet<String> = scored
            .prefixed
            .iter()
            .map(|one| one.scores.soft_prefix.clone().unwrap().sha256)
            .collect();
        assert_eq!(digests.len(), 17);
        let measures = LikelihoodMeasures::of(&scored, 16).unwrap();
        assert!(0.0 < measures.kl_mean && measures.kl_mean <= measures.kl_max && measures.kl_p95 <= measures.kl_max);
        assert!(measures.perplexity_reference > 1.0 && (0.0..=1.0).contains(&measures.same_top));

        let need = Need::Sample {
            count: 3,
            seed: 5,
            generator: Generator::default(),
        };
        let rows = task.rows_for(&need).await.unwrap();
        let sampled = PrefixRecipe::new(
            PrefixKind::SampledVocabulary {
                seed: 5,
                generator: Generator::default(),
            },
            3,
            Magnitude::Unscaled,
        );
        let prefix = sampled.build_from(HIDDEN, &[&rows], None).unwrap();
        for (found, token) in task.nearest(&prefix, 2).await.unwrap().iter().zip(&rows.tokens) {
            assert_eq!(found[0].id, token.id);
            assert!(!found[0].is_doubtful());
        }
        let stored = Need::Stored {
            name: "x".into(),
            sha256: "0".repeat(64),
        };
        assert!(
            task.rows_for(&stored)
                .await
                .unwrap_err()
                .to_string()
                .contains("import the file again")
        );
        task.exit().await.unwrap();
    });
}
