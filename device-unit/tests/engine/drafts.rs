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
    Drafter, End, FinishReason, Job, Priority, Scheduler, StopFlag, Timings, TokenSink, WaitingRoom,
};
use softprefix_unit::testing::TinyModel;

use crate::harness::{Bench, models};

const QUESTION: &str = "Why is the sky blue? Answer in two sentences.";
/// A stop token that the models never produce.
const PATIENCE: Duration = Duration::from_secs(300);

/// An inference to run.
#[derive(Clone)]
struct Asked {
    prefix: Option<SoftPrefix>,
    prompt: Vec<u32>,
    most: usize,
    sampling: Sampling,
    stop_tokens: Vec<u32>,
    /// Texts to draft from; `None`: no drafts, not even from the text itself.
    drafts: Option<Vec<Vec<u32>>>,
}

impl Asked {
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
struct Said {
    tokens: Vec<u32>,
    /// Digest of the bits of all tokens' logits, in order.
    digest: Vec<u8>,
    /// Number of tokens of each step.
    steps: Vec<usize>,
    end: End,
    timings: Timings,
}

impl Said {
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
    heard: Box<dyn FnMut(usize) + Send>,
    tell: Sender<Said>,
}

impl TokenSink for Sink {
    fn tokens(&mut self, tokens: &[u32]) {
        self.steps.push(tokens.len());
        self.tokens.extend_from_slice(tokens);
        (self.heard)(self.tokens.len());
    }

    fn is_gone(&self) -> bool {
        false
    }

    fn end(self: Box<Self>, end: End, timings: Timings) {
        let digest = self.digest.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let said = Said {
            tokens: self.tokens,
            digest: digest.finalize().to_vec(),
            steps: self.steps,
            end,
            timings,
        };
        self.tell.send(said).unwrap();
    }
}

struct Desk(Arc<Scheduler>);

impl Desk {
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
        asked: &Asked,
        stop: StopFlag,
        deadline: Option<Instant>,
        heard: impl FnMut(usize) + Send + 'static,
    ) -> Receiver<Said> {
        let (tell, told) = channel();
        let digest = Arc::new(Mutex::new(Sha256::new()));
        let hash = Arc::clone(&digest);
        let mut sampler = Sampler::new(asked.sampling);
        let drafts = asked.drafts.clone();
        self.0.submit(Job {
            prefix: asked.prefix.clone(),
            tokens: asked.prompt.clone(),
            max_new_tokens: asked.most,
            at_limit: FinishReason::Length,
            stop_tokens: asked.stop_tokens.clone().into(),
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
                heard: Box::new(heard),
                tell,
            }),
            drafter: drafts.map(|drafts| Drafter::new(&asked.prompt, drafts.into_iter().map(Into::into).collect())),
            place: WaitingRoom::new(1).enter().unwrap(),
        });
        told
    }

    fn run(&self, asked: &Asked) -> Said {
        let told = self.submit(asked, StopFlag::default(), None, |_| ());
        told.recv_timeout(PATIENCE).unwrap()
    }

    /// Runs all in one batch; each joins when the one before it has some tokens.
    fn together(&self, asked: &[Asked]) -> Vec<Said> {
        let mut all = Vec::new();
        let (tell, joined) = channel();
        for asked in asked {
            let tell = tell.clone();
            let mut told = false;
            all.push(self.submit(asked, StopFlag::default(), None, move |tokens| {
                if tokens > 3 && !std::mem::replace(&mut told, true) {
                    // The last one has no successor.
                    let _ = tell.send(());
                }
            }));
            joined.recv_timeout(PATIENCE).unwrap();
        }
        all.into_iter()
            .map(|said| said.recv_timeout(PATIENCE).unwrap())
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
fn cases(bench: &Bench, most: usize) -> Vec<Asked> {
    let kind = PrefixKind::RandomNormal {
        seed: 1,
        generator: Default::default(),
    };
    let prefix = bench.prefix(kind, 4, Magnitude::Raw(0.02));
    let prompt = bench.encode(&bench.template.render("You are a helpful assistant.", QUESTION));
    let plain = Asked::of(&prompt, most);
    let mut cases = Vec::new();
    for prefix in [None, Some(prefix)] {
        for sampling in [Sampling::default(), sampling(7), sampling(8)] {
            cases.push(Asked {
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
    let desk = Desk::new(path, tier);
    let plain: Vec<Said> = cases.iter().map(|case| desk.run(case)).collect();
    for said in &plain {
        assert!(said.steps.iter().all(|&step| step == 1), "nothing was drafted");
    }
    let others: Vec<Vec<u32>> = plain.iter().map(|said| said.tokens.clone()).collect();
    let drafted: Vec<[Asked; 4]> = cases
        .iter()
        .zip(&plain)
        .map(|(case, said)| {
            [
                case.expecting(&said.tokens),
                case.expecting(&spoilt(&said.tokens)),
                case.drafted(others.clone()),
                case.drafted(Vec::new()),
            ]
        })
        .collect();
    for (number, (said, kinds)) in plain.iter().zip(&drafted).enumerate() {
        for (kind, asked) in kinds.iter().enumerate() {
            let again = desk.run(asked);
            again.assert_same(said, &format!("case {number} alone, draft {kind}"));
            let Timings { drafted, accepted, .. } = again.timings;
            assert_eq!(
                again.steps.len() + accepted,
                said.steps.len(),
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
        let asked: Vec<Asked> = drafted.iter().map(|kinds| kinds[kind].clone()).collect();
        for (number, (again, said)) in desk.together(&asked).iter().zip(&plain).enumerate() {
            again.assert_same(said, &format!("case {number} in a batch, draft {kind}"));
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
fn tiny_models_say_the_same_bits_with_drafts_on_every_tier() {
    for model in [TinyModel::qwen2(), TinyModel::llama(), TinyModel::qwen3()] {
        let (_folder, path) = tiny(model);
        for tier in Tier::ALL.into_iter().filter(|tier| tier.is_supported()) {
            assert_drafts_change_nothing(&path, Some(tier), 48);
        }
    }
}

#[test]
fn real_models_say_the_same_bits_with_drafts() {
    for path in models() {
        assert_drafts_change_nothing(&path, None, 24);
    }
}

#[test]
fn a_limit_a_stop_token_and_the_edge_of_the_window_end_a_draft_where_they_end_the_text() {
    let (_folder, path) = tiny(TinyModel {
        window: 128,
        ..TinyModel::qwen2()
    });
    let desk = Desk::new(&path, None);
    let prompt: Vec<u32> = (65..85).collect();
    // The last token is never fed, so the output has one more token than the window has positions.
    let whole = desk.run(&Asked::of(&prompt, 128 - prompt.len() + 1));
    assert_eq!(whole.tokens.len(), 109);
    for most in [1, 2, 3, 15, 16, 17, 18, 40, 108, 109] {
        let said = desk.run(&Asked::of(&prompt, most).expecting(&whole.tokens));
        assert_eq!(
            (&said.tokens[..], &said.end),
            (&whole.tokens[..most], &End::Finished(FinishReason::Length))
        );
        assert!(said.timings.drafted < most);
    }
    for place in [0, 1, 5, 20, 60] {
        let stop = whole.tokens[place];
        let asked = Asked {
            stop_tokens: vec![stop],
            ..Asked::of(&prompt, 109)
        };
        let plain = desk.run(&asked);
        assert_eq!(plain.end, End::Finished(FinishReason::Stop));
        desk.run(&asked.expecting(&whole.tokens))
            .assert_same(&plain, "with a stop token in the draft");
    }
}

#[test]
fn a_stop_and_a_deadline_in_the_middle_of_a_draft_leave_the_beginning_of_the_text() {
    let (_folder, path) = tiny(TinyModel {
        window: 2048,
        ..TinyModel::qwen2()
    });
    let desk = Desk::new(&path, None);
    let prompt: Vec<u32> = (65..85).collect();
    let whole = desk.run(&Asked::of(&prompt, 900));
    let asked = Asked::of(&prompt, 900).expecting(&whole.tokens);
    for alone in [true, false] {
        let other = StopFlag::default();
        let beside = (!alone).then(|| desk.submit(&Asked::of(&prompt[1..], 900), other.clone(), None, |_| ()));
        let stop = StopFlag::default();
        let flag = stop.clone();
        let told = desk.submit(&asked, stop, None, move |tokens| {
            if tokens > 50 {
                flag.set();
            }
        });
        let said = told.recv_timeout(PATIENCE).unwrap();
        assert_eq!(said.end, End::Finished(FinishReason::Stopped));
        assert!(
            (51..51 + 16).contains(&said.tokens.len()),
            "within a step: {}",
            said.tokens.len()
        );
        assert_eq!(said.tokens, whole.tokens[..said.tokens.len()]);

        // However fast the steps are, the deadline has passed after the third one.
        let deadline = Instant::now() + Duration::from_secs(2);
        let mut steps = 0;
        let told = desk.submit(&asked, StopFlag::default(), Some(deadline), move |_| {
            steps += 1;
            if steps == 3 {
                std::thread::sleep(deadline.saturating_duration_since(Instant::now()));
            }
        });
        let said = told.recv_timeout(PATIENCE).unwrap();
        assert_eq!(said.end, End::Finished(FinishReason::Stopped));
        assert_eq!(said.tokens, whole.tokens[..said.tokens.len()]);
        other.set();
        if let Some(beside) = beside {
            beside.recv_timeout(PATIENCE).unwrap();
        }
        desk.run(&asked).assert_same(&whole, "after those that were ended");
    }
}

#[test]
fn a_wrong_token_planted_in_a_draft_is_found() {
    let (_folder, path) = tiny(TinyModel::qwen2());
    let desk = Desk::new(&path, None);
    let asked = Asked::of(&(65..85).collect::<Vec<u32>>(), 60);
    let plain = desk.run(&asked);
    for place in 1..60 {
        let mut planted = plain.tokens.clone();
        planted[place] = (planted[place] + 1) % 256;
        let said = desk.run(&asked.expecting(&planted));
        said.assert_same(&plain, &format!("with a wrong token at {place}"));
        assert_ne!(said.tokens, planted, "the draft is not what is told");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn no_draft_whatsoever_changes_a_token(seed: u64, lengths in prop::collection::vec(0usize..700, 0..5), few in 1u64..265) {
        static MODEL: std::sync::LazyLock<(tempfile::TempDir, Desk, Said)> = std::sync::LazyLock::new(|| {
            let (folder, path) = tiny(TinyModel::qwen2());
            let desk = Desk::new(&path, None);
            let said = desk.run(&Asked { sampling: sampling(3), ..Asked::of(&[70, 71, 72], 100) });
            (folder, desk, said)
        });
        let (_, desk, plain) = &*MODEL;
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
        let asked = Asked { sampling: sampling(3), ..Asked::of(&[70, 71, 72], 100) };
        let said = desk.run(&asked.drafted(drafts.collect()));
        prop_assert_eq!(&said.tokens, &plain.tokens);
        prop_assert_eq!(&said.digest, &plain.digest);
        prop_assert!(said.timings.accepted <= said.timings.drafted && said.timings.drafted < 16 * 100);
    }
}
