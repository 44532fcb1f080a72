//! `--self-test`: checks that a loaded model and its engine handle prefixes correctly. Use it for the NPU engine on a module, or for a new
//! model. It runs the engine directly, without tasks and transports, and compares logits.

use half::bf16;

use crate::engine::{Engine, EngineError, Logits, SequenceId};
use crate::model::LoadedModel;
use crate::tokenizer::Special;

/// The result of one check.
#[derive(Debug, Clone, PartialEq)]
pub struct CheckResult {
    /// Name of the check.
    pub check: &'static str,
    /// Whether the check passed.
    pub passed: bool,
    /// The finding, as a clause.
    pub detail: String,
}

const STEPS: usize = 16;
const SYSTEM: &str = "You are a helpful assistant";
const PROMPT: &str = "Name three colours.";
const WORDS: &str = " warm sunlight";

/// Greedy tokens and the logits of every step.
#[derive(PartialEq)]
struct Run {
    tokens: Vec<u32>,
    logits: Vec<Vec<f32>>,
}

/// Runs all checks. If the engine fails, the last result reports it.
pub fn run(model: &mut LoadedModel) -> Vec<CheckResult> {
    let mut results = Vec::new();
    if let Err(detail) = checks(model, &mut results) {
        results.push(CheckResult {
            check: "engine",
            passed: false,
            detail,
        });
    }
    results
}

fn checks(model: &mut LoadedModel, results: &mut Vec<CheckResult>) -> Result<(), String> {
    let encode = |text: &str, special| model.tokenizer.encode(text, special).map_err(|error| error.to_string());
    let prompt = model
        .template
        .render(SYSTEM, PROMPT)
        .map_err(|error| error.to_string())?;
    let prompt = encode(&prompt, Special::Parse)?;
    let words = encode(WORDS, Special::Plain)?;
    let engine = model.engine.as_mut();
    let hidden_size = engine.info().hidden_size;
    let window = engine.info().prefill_window;
    let longest = prompt.len() + words.len().max(1);
    if longest > window {
        return Err(format!(
            "the prefill window of {window} rows is too small for the test's {longest}"
        ));
    }
    let sentence = |error: EngineError| error.to_string();
    let prompt_rows = engine.embeddings().rows(&prompt).map_err(sentence)?;
    let mut report = |check, passed, detail: String| {
        results.push(CheckResult { check, passed, detail });
    };
    let shown = |run: &Run| {
        let text = String::from_utf8_lossy(&model.tokenizer.decode(&run.tokens)).replace('\n', "\\n");
        format!("\"{text}\"")
    };

    let baseline = greedy(engine, &prompt_rows).map_err(sentence)?;
    let finite = baseline.logits.iter().flatten().all(|value| value.is_finite());
    report(
        "baseline",
        finite,
        format!(
            "{} tokens, logits {}: {}",
            baseline.tokens.len(),
            if finite { "finite" } else { "NOT finite" },
            shown(&baseline)
        ),
    );

    let again = greedy(engine, &prompt_rows).map_err(sentence)?;
    report(
        "second run",
        again == baseline,
        if again == baseline {
            "all logits are equal".into()
        } else {
            differs(&baseline, &again)
        },
    );

    let with = |value: f32, len: usize| [vec![bf16::from_f32(value); hidden_size * len], prompt_rows.clone()].concat();
    let zero = greedy(engine, &with(0.0, 1)).map_err(sentence)?;
    // A row of zeros still takes a position, so the logits must change.
    report(
        "prefix of magnitude 0",
        zero.logits != baseline.logits,
        match zero.logits == baseline.logits {
            true => "nothing changed: the row was not put in front".into(),
            false => differs(&baseline, &zero),
        },
    );

    let large = greedy(engine, &with(1.0, 1)).map_err(sentence)?;
    report(
        "large prefix",
        large.tokens != baseline.tokens,
        match large.tokens == baseline.tokens {
            true => "the text equals the baseline's: the prefix has no effect".into(),
            false => format!("{}: {}", differs(&baseline, &large), shown(&large)),
        },
    );

    let typed: Vec<u32> = words.iter().chain(&prompt).copied().collect();
    let typed_rows = engine.embeddings().rows(&typed).map_err(sentence)?;
    let as_prefix = [engine.embeddings().rows(&words).map_err(sentence)?, prompt_rows.clone()].concat();
    let (typed, as_prefix) = (
        greedy(engine, &typed_rows).map_err(sentence)?,
        greedy(engine, &as_prefix).map_err(sentence)?,
    );
    report(
        "words as prefix",
        typed == as_prefix,
        match typed == as_prefix {
            true => "the logits equal those of the words as text".into(),
            false => differs(&typed, &as_prefix),
        },
    );

    let after = greedy(engine, &prompt_rows).map_err(sentence)?;
    report(
        "baseline afterwards",
        after == baseline,
        match after == baseline {
            true => "the prefixes left no trace".into(),
            false => differs(&baseline, &after),
        },
    );
    Ok(())
}

fn differs(a: &Run, b: &Run) -> String {
    let token = a.tokens.iter().zip(&b.tokens).position(|(a, b)| a != b);
    let largest = a.logits.first().zip(b.logits.first()).map_or(0.0, |(a, b)| {
        a.iter().zip(b).fold(0f32, |m, (a, b)| m.max((a - b).abs()))
    });
    match token {
        Some(token) => {
            format!("the tokens differ from token {token} on; the first logits differ by up to {largest:.3}")
        }
        None => format!("the tokens are equal; the first logits differ by up to {largest:.3}"),
    }
}

fn greedy(engine: &mut dyn Engine, prompt: &[bf16]) -> Result<Run, EngineError> {
    let len = prompt.len() / engine.info().hidden_size;
    let sequence = engine.open((len + STEPS).min(engine.info().window))?;
    let run = generate(engine, sequence, prompt);
    engine.close(sequence);
    run
}

fn generate(engine: &mut dyn Engine, sequence: SequenceId, prompt: &[bf16]) -> Result<Run, EngineError> {
    let room = engine.info().window - prompt.len() / engine.info().hidden_size;
    let mut run = Run {
        tokens: Vec::new(),
        logits: Vec::new(),
    };
    let mut next = prompt.to_vec();
    for _ in 0..STEPS.min(room) {
        let logits = engine.feed(sequence, &next, Logits::Last)?;
        let best = (0..logits.len())
            .rev()
            .max_by(|a, b| logits[*a].total_cmp(&logits[*b]))
            .unwrap_or(0) as u32;
        run.tokens.push(best);
        run.logits.push(logits);
        next = engine.embeddings().rows(&[best])?;
    }
    Ok(run)
}
