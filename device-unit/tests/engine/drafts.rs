//! Drafted tokens affect only the time: ids and logits are the same bits whatever is drafted and whatever else runs.

use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use proptest::prelude::*;
use serde_json::json;
use sha2::{Digest, Sha256};
use softprefix_core::prefix::{Magnitude, PrefixKind, SoftPrefix, split_mix};
use softprefix_unit::budget::Budget;
use softprefix_unit::engine::cpu::kernel::Tier;
use softprefix_unit::engine::cpu::{CpuEngine, CpuOptions};
use softprefix_unit::engine::sampling::{Sampler, Sampling};
use softprefix_unit::scheduler::{
    AdmissionLimit, Drafter, FinishReason, Job, JobOutcome, Priority, Scheduler, StopFlag, Timings, TokenSink,
};
use softprefix_unit::testing::TinyModel;

use crate::harness::{Bench, models};

const QUESTION: &str = "Why is the sky blue? Answer in two sentences.";
/// A stop token that the models never produce.
const PATIENCE: Duration = Duration::from_secs(300);

/// An inference to run.
#[derive(Clone)]
struct Inference {
    prefix: Option<SoftPrefix>,
    prompt: Vec<u32>,
    most: usize,
    sampling: Sampling,
    stop_tokens: Vec<u32>,
    /// Texts to draft from; `None`: no drafts, not even from the text itself.
    drafts: Option<Vec<Vec<u32>>>,
}

impl Inference {
    fn of(prompt: &[u32], most: usize) -> Self {
        Self {
            prefix: None,
            prompt: prompt.to_vec(),
            most,
            sampling: Sampling::default(),
            stop_tokens: Vec::new(),
            drafts: None,
        }
    }

    fn drafted(&self, drafts: Vec<Vec<u32>>) -> Self {
        Self {
            drafts: Some(drafts),
            ..self.clone()
        }
    }

    /// Adds a draft of the prompt followed by these tokens.
    fn expecting(&self, tokens: &[u32]) -> Self {
        self.drafted(vec![[self.prompt.as_slice(), tokens].concat()])
    }
}

/// The result of an inference.
#[derive(Debug)]
struct Output {
    tokens: Vec<u32>,
    /// Digest of the bits of all tokens' logits, in order.
    digest: Vec<u8>,
    /// Number of tokens of each step.
    steps: Vec<usize>,
    end: JobOutcome,
    timings: Timings,
}

impl Output {
    fn assert_same(&self, other: &Self, how: &str) {
        assert_eq!(self.tokens, other.tokens, "the tokens, {how}");
        assert_eq!(self.digest, other.digest, "the logits' bits, {how}");
        assert_eq!(self.end, other.end, "the end, {how}");
    }
}

struct Sink {
    steps: Vec<usize>,
    tokens: Vec<u32>,
    digest: Arc<Mutex<Sha256>>,
    /// Called after each step with the number of tokens so far, on the engine's thread.
    on_tokens: Box<dyn FnMut(usize) + Send>,
    sender: Sender<Output>,
}

impl TokenSink for Sink {
    fn tokens(&mut self, tokens: &[u32]) {
        self.steps.push(tokens.len());
        self.tokens.extend_from_slice(tokens);
        (self.on_tokens)(self.tokens.len());
    }

    fn is_closed(&self) -> bool {
        false
    }

    fn end(self: Box<Self>, end: JobOutcome, timings: Timings) {
        let digest = self.digest.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let output = Output {
            tokens: self.tokens,
            digest: digest.finalize().to_vec(),
            steps: self.steps,
            end,
            timings,
        };
        self.sender.send(output).unwrap();
    }
}

struct Runner(Arc<Scheduler>);

impl Runner {
    fn new(path: &Path, tier: Option<Tier>) -> Self {
        let options = CpuOptions {
            threads: Some(2),
            tier,
            window: Some(1024),
        };
        let engine = CpuEngine::load(path, options, &|_, _| ()).unwrap();
        Self(Arc::new(
            Scheduler::start(Box::new(engine), 16, Budget::default()).unwrap(),
        ))
    }

    fn submit(
        &self,
        inference: &Inference,
        stop: StopFlag,
        deadline: Option<Instant>,
        on_tokens: impl FnMut(usize) + Send + 'static,
    ) -> Receiver<Output> {
        let (sender, receiver) = channel();
        let digest = Arc::new(Mutex::new(Sha256::new()));
        let hash = Arc::clone(&digest);
        let mut sampler = Sampler::new(inference.sampling);
        let drafts = inference.drafts.clone();
        self.0.submit(Job {
            prefix: inference.prefix.clone(),
            tokens: inference.prompt.clone(),
            max_new_tokens: inference.most,
            at_limit: FinishReason::Length,
            stop_tokens: inference.stop_tokens.clone().into(),
            choose: Box::new(move |logits| {
                let mut hash = hash.lock().unwrap();
                logits
                    .iter()
                    .for_each(|logit| hash.update(logit.to_bits().to_le_bytes()));
                sampler.pick(logits).map_err(|error| error.to_string())
            }),
            priority: Priority::Live,
            stop,
            deadline,
            sink: Box::new(Sink {
                steps: Vec::new(),
                tokens: Vec::new(),
                digest,
                on_tokens: Box::new(on_tokens),
                sender,
            }),
            drafter: drafts.map(|drafts| Drafter::new(&inference.prompt, drafts.into_iter().map(Into::into).collect())),
            permit: AdmissionLimit::new(1).acquire().unwrap(),
        });
        receiver
    }

    fn run(&self, inference: &Inference) -> Output {
        let receiver = self.submit(inference, StopFlag::default(), None, |_| ());
        receiver.recv_timeout(PATIENCE).unwrap()
    }

    /// Runs all in one batch; each joins when the one before it has some tokens.
    fn together(&self, inferences: &[Inference]) -> Vec<Output> {
        let mut all = Vec::new();
        let (sender, joined) = channel();
        for inference in inferences {
            let sender = sender.clone();
            let mut reported = false;
            all.push(self.submit(inference, StopFlag::default(), None, move |tokens| {
                if tokens > 3 && !std::mem::replace(&mut reported, true) {
                    // The last one has no successor.
                    let _ = sender.send(());
                }
            }));
            joined.recv_timeout(PATIENCE).unwrap();
        }
        all.into_iter()
            .map(|output| output.recv_timeout(PATIENCE).unwrap())
            .collect()
    }
}

fn sampling(seed: u64) -> Sampling {
    let settings = json!({"top_k": 20, "temperature": 0.9, "repetition_penalty": 1.3, "seed": seed});
    Sampling::from_settings(settings.as_object().unwrap()).unwrap()
}

/// Changes every seventh token.
fn spoilt(tokens: &[u32]) -> Vec<u32> {
    let mut spoilt = tokens.to_vec();
    spoilt
        .iter_mut()
        .skip(3)
        .step_by(7)
        .for_each(|token| *token = (*token + 1) % 200);
    spoilt
}

/// Greedy and seeded, with and without a prefix.
fn cases(bench: &Bench, most: usize) -> Vec<Inference> {
    let kind = PrefixKind::RandomNormal {
        seed: 1,
        generator: Default::default(),
    };
    let prefix = bench.prefix(kind, 4, Magnitude::Raw(0.02));
    let prompt = bench.encode(&bench.template.render("You are a helpful assistant.", QUESTION).unwrap());
    let plain = Inference::of(&prompt, most);
    let mut cases = Vec::new();
    for prefix in [None, Some(prefix)] {
        for sampling in [Sampling::default(), sampling(7), sampling(8)] {
            cases.push(Inference {
                prefix: prefix.clone(),
                sampling,
                ..plain.clone()
            });
        }
    }
    cases
}

/// Runs every case plain, and with drafts from its own output, from that with errors, from other cases, and from itself alone.
fn assert_drafts_change_nothing(path: &Path, tier: Option<Tier>, most: usize) {
    let cases = cases(&Bench::new(path, 2, tier), most);
    let runner = Runner::new(path, tier);
    let plain: Vec<Output> = cases.iter().map(|case| runner.run(case)).collect();
    for output in &plain {
        assert!(output.steps.iter().all(|&step| step == 1), "nothing was drafted");
    }
    let others: Vec<Vec<u32>> = plain.iter().map(|output| output.tokens.clone()).collect();
    let drafted: Vec<[Inference; 4]> = cases
        .iter()
        .zip(&plain)
        .map(|(case, output)| {
            [
                case.expecting(&output.tokens),
                case.expecting(&spoilt(&output.tokens)),
                case.drafted(others.clone()),
                case.drafted(Vec::new()),
            ]
        })
        .collect();
    for (number, (output, kinds)) in plain.iter().zip(&drafted).enumerate() {
        for (kind, inference) in kinds.iter().enumerate() {
            let again = runner.run(inference);
            again.assert_same(output, &format!("case {number} alone, draft {kind}"));
            let Timings { drafted, accepted, .. } = again.timings;
            assert_eq!(
                again.steps.len() + accepted,
                output.steps.len(),
                "each accepted token saves a step"
            );
            match kind {
                0 => assert!(drafted == accepted && again.steps.len() <= 2 + most / 8, "{again:?}"),
                1 => assert!(drafted > accepted && accepted > 0, "{again:?}"),
                _ => assert!(drafted >= accepted),
            }
        }
    }
    for kind in 0..4 {
        let inferences: Vec<Inference> = drafted.iter().map(|kinds| kinds[kind].clone()).collect();
        for (number, (again, output)) in runner.together(&inferences).iter().zip(&plain).enumerate() {
            again.assert_same(output, &format!("case {number} in a batch, draft {kind}"));
        }
    }
}

fn tiny(model: TinyModel) -> (tempfile::TempDir, std::path::PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tiny.gguf");
    model.write(&path).unwrap();
    (folder, path)
}

#[test]
fn tiny_models_give_the_same_bits_with_drafts_on_every_tier() {
    for model in [TinyModel::qwen2(), TinyModel::llama(), TinyModel::qwen3()] {
        let (_folder, path) = tiny(model);
        for tier in Tier::ALL.into_iter().filter(|tier| tier.is_supported()) {
            assert_drafts_change_nothing(&path, Some(tier), 48);
        }
    }
}

#[test]
fn real_models_give_the_same_bits_with_drafts() {
    for path in models() {
        assert_drafts_change_nothing(&path, None, 24);
    }
}

#[test]
fn a_limit_a_stop_token_and_the_window_end_a_text_at_the_same_token_with_drafts() {
    let (_folder, path) = tiny(TinyModel {
        window: 128,
        ..TinyModel::qwen2()
    });
    let runner = Runner::new(&path, None);
    let prompt: Vec<u32> = (65..85).collect();
    // The last token is never fed, so the output has one more token than the window has positions.
    let whole = runner.run(&Inference::of(&prompt, 128 - prompt.len() + 1));
    assert_eq!(whole.tokens.len(), 109);
    for most in [1, 2, 3, 15, 16, 17, 18, 40, 108, 109] {
        let output = runner.run(&Inference::of(&prompt, most).expecting(&whole.tokens));
        assert_eq!(
            (&output.tokens[..], &output.end),
            (&whole.tokens[..most], &JobOutcome::Finished(FinishReason::Length))
        );
        assert!(output.timings.drafted < most);
    }
    runner
        .run(&Inference::of(&prompt, 109).expecting(&whole.tokens))
        .assert_same(&whole, "up to the window's edge");
    for place in [0, 1, 5, 20, 60] {
        let stop = whole.tokens[place];
        let inference = Inference {
            stop_tokens: vec![stop],
            ..Inference::of(&prompt, 109)
        };
        let plain = runner.run(&inference);
        assert_eq!(plain.end, JobOutcome::Finished(FinishReason::Stop));
        runner
            .run(&inference.expecting(&whole.tokens))
            .assert_same(&plain, "with a stop token in the draft");
    }
}

#[test]
fn a_stop_or_a_deadline_during_a_draft_leaves_the_beginning_of_the_text() {
    let (_folder, path) = tiny(TinyModel {
        window: 2048,
        ..TinyModel::qwen2()
    });
    let runner = Runner::new(&path, None);
    let prompt: Vec<u32> = (65..85).collect();
    let whole = runner.run(&Inference::of(&prompt, 900));
    let inference = Inference::of(&prompt, 900).expecting(&whole.tokens);
    let assert_begins_the_text = |output: &Output| {
        let count = output.tokens.len();
        let plain = runner.run(&Inference::of(&prompt, count));
        assert_eq!(output.tokens, whole.tokens[..count]);
        assert_eq!(output.digest, plain.digest, "the logits' bits of {count} tokens");
    };
    for alone in [true, false] {
        let other = StopFlag::default();
        let other_job = (!alone).then(|| runner.submit(&Inference::of(&prompt[1..], 900), other.clone(), None, |_| ()));
        let stop = StopFlag::default();
        let flag = stop.clone();
        let receiver = runner.submit(&inference, stop, None, move |tokens| {
            if tokens > 50 {
                flag.set();
            }
        });
        let output = receiver.recv_timeout(PATIENCE).unwrap();
        assert_eq!(output.end, JobOutcome::Finished(FinishReason::Stopped));
        assert!(
            (51..51 + 16).contains(&output.tokens.len()),
            "within a step: {}",
            output.tokens.len()
        );
        assert_begins_the_text(&output);

        // However fast the steps are, the deadline has passed after the third one.
        let deadline = Instant::now() + Duration::from_secs(2);
        let mut steps = 0;
        let receiver = runner.submit(&inference, StopFlag::default(), Some(deadline), move |_| {
            steps += 1;
            if steps == 3 {
                std::thread::sleep(deadline.saturating_duration_since(Instant::now()));
            }
        });
        let output = receiver.recv_timeout(PATIENCE).unwrap();
        assert_eq!(output.end, JobOutcome::Finished(FinishReason::Stopped));
        assert_begins_the_text(&output);
        other.set();
        if let Some(job) = other_job {
            job.recv_timeout(PATIENCE).unwrap();
        }
        runner.run(&inference).assert_same(&whole, "after the stopped runs");
    }
}

#[test]
fn a_wrong_token_in_a_draft_is_rejected() {
    let (_folder, path) = tiny(TinyModel::qwen2());
    let runner = Runner::new(&path, None);
    let inference = Inference::of(&(65..85).collect::<Vec<u32>>(), 60);
    let plain = runner.run(&inference);
    for place in 1..60 {
        let mut planted = plain.tokens.clone();
        planted[place] = (planted[place] + 1) % 256;
        let output = runner.run(&inference.expecting(&planted));
        output.assert_same(&plain, &format!("with a wrong token at {place}"));
        assert_ne!(output.tokens, planted, "the draft is not the output");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn no_draft_changes_a_token(seed: u64, lengths in prop::collection::vec(0usize..700, 0..5), few in 1u64..265) {
        static MODEL: std::sync::LazyLock<(tempfile::TempDir, Runner, Output)> = std::sync::LazyLock::new(|| {
            let (folder, path) = tiny(TinyModel::qwen2());
            let runner = Runner::new(&path, None);
            let output = runner.run(&Inference { sampling: sampling(3), ..Inference::of(&[70, 71, 72], 100) });
            (folder, runner, output)
        });
        let (_, runner, plain) = &*MODEL;
        let mut state = seed;
        let mut token = || (split_mix(&mut state) % few) as u32;
        // Parts of the true text between random tokens, also longer than the window.
        let drafts = lengths.iter().map(|&len| {
            let mut draft: Vec<u32> = (0..len).map(|_| token()).collect();
            let from = token() as usize % plain.tokens.len();
            let at = len / 2;
            draft.splice(at..at, plain.tokens[from..].iter().copied());
            draft
        });
        let inference = Inference { sampling: sampling(3), ..Inference::of(&[70, 71, 72], 100) };
        let output = runner.run(&inference.drafted(drafts.collect()));
        prop_assert_eq!(&output.tokens, &plain.tokens);
        prop_assert_eq!(&output.digest, &plain.digest);
        prop_assert!(output.timings.accepted <= output.timings.drafted && output.timings.drafted < 16 * 100);
    }
}
