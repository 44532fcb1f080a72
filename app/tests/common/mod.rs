//! A workbench with something on it, for tests of the window: no bridge and no model, but every event that they would
//! send, and real comparisons of the texts.

#![allow(clippy::unwrap_used)]
#![allow(dead_code, reason = "each test file uses a part of it")]

pub mod find;
pub mod stage;
pub mod sweep;

use std::sync::Arc;
use std::time::Duration;

use softprefix::messages::{Event, Inference, LibraryEvent, Request, ScoreRuns};
use softprefix::model::{
    Histogram, Language, ModelChoice, ModuleFacts, PaneState, Remembered, Scores, Theme, Vocabulary,
};
use softprefix::workbench::{Action, Workbench};
use softprefix_core::client::ClientError;
use softprefix_core::compare::{LikelihoodMeasures, Measures, diff, token_ranges};
use softprefix_core::experiment::journal::JOURNAL_VERSION;
use softprefix_core::experiment::session::EMBEDDED;
use softprefix_core::experiment::{
    Answer, Case, CaseOutcome, Comparison, Experiment, ModuleIdentity, PrefixIdentity, Record, RunError, Summary,
};
use softprefix_core::prefix::{PrefixRecipe, TokenPiece};
use softprefix_core::protocol::extension::{
    Alternative, Compared, FinishReason, Scored, SoftPrefixEcho, TokenCounts, TokenScores, Usage,
};

pub const BASELINE: &str =
    "「春の花を咲かせ」 春の花を咲かせ、風に揺れる葉を見つめ、花の香りに心を包まれて、静かな朝を歩く。";
pub const PREFIXED: &str = "「春の花を咲かせ」 春の花を咲かせ、新芽が芽を出す。風が吹き、花が咲き、春の訪れを願う。";
pub const LONG_BASELINE: &str = "Once upon a time, there was a lighthouse keeper named Jack. Jack was a skilled and experienced lifeguard who had been working for years in a large city. He had been tasked with keeping the lighthouse safe and in good order, but he had also been tasked with dealing with the storm that was approaching.\n\nAs the storm approached, Jack knew that he needed to act quickly. He checked the lamp, and he called the harbour. The waves were getting higher, and the wind was howling through the old stairs. He lit every light he had, and he waited until morning.";
pub const LONG_PREFIXED: &str = "Once upon a time, there was a lighthouse keeper named Jack who lived at the edge of the grey water. The sea knew his name. He had a lamp, a dog and a book of tides, but nothing to hold back the thunder.\n\nWhen the storm broke over the rocks, the first ship was already lost. The waves carried planks and bells to the old stairs. He counted them and wrote each one down until morning. Then he put out the lamp.";
/// Japanese texts of about 512 tokens.
pub const JAPANESE_BASELINE: &str = "むかし、北の岬に小さな灯台があり、年老いた灯台守がひとりで暮らしていました。彼は毎晩、日が沈むと階段を上り、油を注ぎ、レンズを磨いて、遠くの船のために火をともしました。町の人びとは彼のことをよく知りませんでしたが、漁から帰る者はみな、その光を見てほっと息をつくのでした。\n\nある秋の夕方、空は低く、風は西から吹いていました。灯台守は気圧計を見て、今夜は大きな嵐になると思いました。彼は窓を閉め、薪を運び、いつもより早く階段を上りました。海はもう灰色で、波の頭は白く砕けています。火をともすと、光は雨の中をまっすぐに伸び、暗い沖を静かに照らしました。\n\n真夜中に、遠くで鐘の音が聞こえました。漁船が一隻、岩の多い入り江のほうへ流されていたのです。灯台守は迷わず、古い霧笛を鳴らしはじめました。三つ鳴らしては休み、また三つ鳴らします。腕がしびれても、彼は手を止めませんでした。やがて船の灯りがゆっくりと向きを変え、岬の陰の静かな水へ入っていくのが見えました。\n\n夜が明けると、風はやんでいました。浜に上がった漁師たちは、灯台を見上げて手を振りました。いちばん若い漁師が坂を上り、戸をたたいて、焼いた魚とパンを差し出しました。灯台守は少し笑って、火を消し、二人で朝の海を眺めました。その日から、町の子どもたちは夕方になると岬へ来て、火がともるのを一緒に待つようになりました。灯台守はもう、ひとりではありませんでした。";
pub const JAPANESE_PREFIXED: &str = "むかし、北の岬に小さな灯台があり、年老いた灯台守がひとりで暮らしていました。彼は海の名前をすべて知っていて、毎晩それを小さな声で数えてから火をともしました。犬が一匹と、潮の時刻を書いた古い本が、彼の家族でした。町の人びとは彼を変わり者だと言いましたが、漁から帰る者はみな、その光を見てほっと息をつくのでした。\n\nある秋の夕方、風は急に止まり、鳥は一羽もいなくなりました。灯台守は犬の背をなでて、今夜は海が来ると言いました。彼は本を高い棚に移し、縄を腰に巻いて、いつもより早く階段を上りました。海は黒く、音がありません。火をともすと、光は水の上を歩くように進み、暗い沖で一度だけ震えました。\n\n真夜中に、最初の船はもう岩の上でした。板と鐘が波に運ばれ、古い階段の下まで届きました。灯台守はそれを一つずつ拾い、朝まで壁に並べて書きとめました。二隻目の船には霧笛を鳴らしました。三つ鳴らしては休み、また三つ鳴らします。犬がほえ、船の灯りはゆっくりと向きを変えて、岬の陰の静かな水へ入っていきました。\n\n夜が明けると、海は何もなかったように青く光っていました。灯台守は火を消し、板を一枚ずつ浜へ返しに行きました。浜には誰もいませんでしたが、砂の上に小さな足あとが一列、岬のほうへ続いていました。彼はそれをたどって帰り、戸の前に置かれたパンを犬と分けました。本のいちばん最後の頁に、彼は新しい海の名前を一つ書きました。それは町の子どもの名前でした。";
const H: usize = 896;
const MEDIAN: f64 = 0.515;
/// Id of the session of tuning.
const TUNING: &str = "tuning";

/// A workbench as it starts, in the given language and theme.
pub fn empty(language: Language, theme: Theme) -> Workbench {
    let mut remembered = Remembered::default();
    remembered.settings.live = false;
    remembered.settings.language = language;
    remembered.settings.theme = theme;
    let mut workbench = Workbench::new(remembered);
    list(&mut workbench, Vec::new());
    workbench
}

/// What interrupts a run whose module, at an address, is lost.
pub fn lost() -> RunError {
    let error = ClientError::ConnectionLost {
        address: "192.168.1.20:10001".to_owned(),
        detail: "Connection reset by peer (os error 104)".to_owned(),
    };
    RunError::Session {
        error: Arc::new(error.into()),
        is_embedded: false,
    }
}

/// The library is open, and this is in it.
pub fn list(workbench: &mut Workbench, experiments: Vec<Summary>) {
    let event = LibraryEvent::Listed {
        experiments,
        problems: Vec::new(),
    };
    workbench.absorb(Event::Library(Box::new(event)));
}

/// The embedded module is ready, the prompt is counted.
pub fn ready(language: Language, theme: Theme) -> Workbench {
    let mut workbench = empty(language, theme);
    workbench.absorb(Event::Models(models()));
    workbench.absorb(Event::Ready(Box::new(facts()), Some(vocabulary())));
    let (system, user) = (workbench.prompt.system.clone(), workbench.prompt.user.clone());
    let count = TokenCounts {
        template: 21,
        prompt: 18,
        window: 1024,
        prefill_window: 1024,
    };
    workbench.absorb(Event::Counted { system, user, count });
    workbench.apply(Action::SetLen(4));
    settle(&mut workbench, &|_| String::new());
    workbench
}

/// A session of 25 runs from 0 to 100 token norms, back at 2.9.
pub fn tuned(language: Language, theme: Theme) -> Workbench {
    let mut workbench = ready(language, theme);
    let sizes = [
        0.0, 0.001, 0.002, 0.005, 0.01, 0.022, 0.05, 0.1, 0.16, 0.25, 0.35, 0.5, 0.7, 1.0, 1.4, 2.0, 4.0, 5.8, 8.0,
        12.0, 18.0, 30.0, 55.0, 100.0, 2.9,
    ];
    for size in sizes {
        workbench.apply(Action::SetMagnitude(size));
        workbench.apply(Action::Run);
        settle(&mut workbench, &text_at);
    }
    workbench
}

/// English texts of about 140 words, by word, of a few magnitudes, back at 1.4.
pub fn long(language: Language, theme: Theme) -> Workbench {
    let mut workbench = ready(language, theme);
    let prompt = "Write a short story about a lighthouse keeper and a storm.";
    workbench.apply(Action::SetPrompt(prompt.to_owned()));
    workbench.apply(Action::SetMaxTokens(512));
    workbench.apply(Action::SetGranularity(softprefix_core::compare::Granularity::Word));
    for size in [0.002, 0.01, 0.05, 0.25, 1.0, 4.0, 1.4] {
        workbench.apply(Action::SetMagnitude(size));
        workbench.apply(Action::Run);
        settle(&mut workbench, &|inference| match inference.recipe {
            None => LONG_BASELINE.to_owned(),
            Some(_) => LONG_PREFIXED.to_owned(),
        });
    }
    workbench
}

/// Japanese texts of about 512 tokens, of a few magnitudes, back at 1.4.
pub fn long_japanese(language: Language, theme: Theme) -> Workbench {
    let mut workbench = ready(language, theme);
    workbench.apply(Action::SetPrompt("灯台守と嵐の短い物語を書いてください。".to_owned()));
    workbench.apply(Action::SetMaxTokens(512));
    for size in [0.01, 0.25, 1.0, 4.0, 1.4] {
        workbench.apply(Action::SetMagnitude(size));
        workbench.apply(Action::Run);
        settle(&mut workbench, &|inference| match inference.recipe {
            None => JAPANESE_BASELINE.to_owned(),
            Some(_) => JAPANESE_PREFIXED.to_owned(),
        });
    }
    workbench
}

/// A session like [`tuned`], with a new prefixed text on its way.
pub fn streaming(language: Language, theme: Theme) -> Workbench {
    let mut workbench = tuned(language, theme);
    workbench.apply(Action::SetMagnitude(3.0));
    workbench.apply(Action::Run);
    let requests = workbench.take_requests();
    for request in requests {
        if let Request::Infer(inference) = request {
            let (run, kind) = (inference.run, inference.kind);
            workbench.absorb(Event::Started {
                run,
                kind,
                built: built(&inference),
            });
            let text: String = PREFIXED.chars().take(32).collect();
            workbench.absorb(Event::Delta { run, kind, text });
        }
    }
    compare(&mut workbench);
    assert_eq!(workbench.prefixed.state, PaneState::Streaming);
    workbench
}

pub fn facts() -> ModuleFacts {
    ModuleFacts {
        identity: ModuleIdentity {
            address: EMBEDDED.to_owned(),
            model: "qwen2.5-0.5b-instruct".to_owned(),
            hidden_size: H,
            unit: Some("softprefix-unit 0.1.0".to_owned()),
            version: Some("v1.6".to_owned()),
            median_norm: Some(MEDIAN),
            window: Some(1024),
            prefill_window: Some(1024),
            ..ModuleIdentity::default()
        },
        address: "127.0.0.1:10001".to_owned(),
        latency: Duration::from_micros(400),
        scores: true,
        learns: true,
        concurrency: 16,
        ..ModuleFacts::default()
    }
}

pub fn models() -> Vec<ModelChoice> {
    let choice = |name: &str, bytes, present, default, about: &str| ModelChoice {
        name: name.to_owned(),
        bytes: Some(bytes),
        present,
        usable: true,
        verified: true,
        default,
        about: about.into(),
    };
    vec![
        choice(
            "qwen2.5-0.5b-instruct",
            491_400_032,
            true,
            true,
            "Qwen2.5 0.5B, Japanese, English, Chinese",
        ),
        choice(
            "smollm2-135m-instruct",
            98_000_000,
            false,
            false,
            "SmolLM2 135M, small and quick, English",
        ),
    ]
}

/// Norms as those of a real vocabulary lie: a bell around the median.
fn vocabulary() -> Arc<Vocabulary> {
    let (low, high, bins) = (-1.0, 0.2, 96);
    let counts = (0..bins)
        .map(|bin| {
            let x = low + (high - low) * (f64::from(bin) + 0.5) / f64::from(bins);
            let middle = MEDIAN.log10();
            let width = if x < middle { 0.075 } else { 0.045 };
            (20_000.0 * (-((x - middle) / width).powi(2) / 2.0).exp()) as u64
        })
        .collect();
    Arc::new(Vocabulary {
        rows: 151_936,
        hidden_size: H,
        median: MEDIAN,
        percentiles: vec![(1, 0.322), (50, MEDIAN), (99, 0.682)],
        max: 0.95,
        rms: 0.0172,
        histogram: Histogram {
            log10_min: low,
            log10_max: high,
            counts,
        },
    })
}

/// What a model might say at a magnitude: nearer to one text than to the other, then a loop.
fn text_at(inference: &Inference) -> String {
    let Some(recipe) = &inference.recipe else {
        return BASELINE.to_owned();
    };
    let size = match recipe.magnitude {
        softprefix_core::prefix::Magnitude::TokenNorms(size) => size,
        _ => 1.0,
    };
    if size > 6.0 {
        return "花が咲き".repeat(12);
    }
    if (size - 2.9).abs() < 1e-9 {
        return PREFIXED.to_owned();
    }
    let total = BASELINE.chars().count();
    let share = ((size.max(1e-3).log10() + 1.2) / 2.0).clamp(0.0, 1.0);
    let kept = total - (share * (total - 19) as f64) as usize;
    let tail: String = "雲は流れ、鳥は鳴き、遠い山に雪が残る。"
        .chars()
        .cycle()
        .take(total - kept)
        .collect();
    BASELINE.chars().take(kept).collect::<String>() + &tail
}

/// Answers everything the workbench asks for, until it asks for nothing more.
pub fn settle(workbench: &mut Workbench, answer: &dyn Fn(&Inference) -> String) {
    for _ in 0..8 {
        let requests = workbench.take_requests();
        if requests.is_empty() {
            return;
        }
        self::answer(workbench, requests, answer);
    }
}

/// Answers these requests, once.
pub fn answer(workbench: &mut Workbench, requests: Vec<Request>, answer: &dyn Fn(&Inference) -> String) {
    for request in requests {
        match request {
            Request::Infer(inference) => finish(workbench, &inference, &answer(&inference)),
            Request::Describe { recipe } => {
                let built = Ok(identity(&recipe));
                workbench.absorb(Event::Described { recipe, built });
            }
            Request::Compare(texts) => {
                let diff = diff(&texts.left, &texts.right, texts.granularity, None);
                let measures = texts
                    .measured
                    .then(|| Box::new(Measures::of(&texts.left, &texts.right)));
                workbench.absorb(Event::Compared { texts, diff, measures });
            }
            Request::Measure(comparisons) => {
                let measured = comparisons.into_iter().map(Comparison::measure).collect();
                workbench.absorb(Event::Measured(measured));
            }
            Request::Score(request) => {
                for run in &request.runs {
                    let (record, scores) = (run.record.clone(), Arc::new(scores(&request)));
                    workbench.absorb(Event::Scored { record, scores });
                }
            }
            _ => {}
        }
    }
}

/// What a unit might say of a run: a token a character, and more KL the further into the text.
pub fn scores(request: &ScoreRuns) -> Scores {
    let text = &request.baseline.text;
    let piece = |(index, c): (usize, char)| TokenPiece {
        id: index as u32,
        text: c.to_string(),
    };
    let tokens: Vec<TokenPiece> = text.chars().enumerate().map(piece).collect();
    let scores = |shift: f64| TokenScores {
        logprobs: vec![-0.5 - shift; tokens.len()],
        perplexity: (0.5 + shift).exp(),
        soft_prefix: None,
        top: tokens
            .iter()
            .map(|token| {
                let others = ["風", "花", "の", "は"].iter().enumerate();
                let others = others.map(|(index, text)| (1_000 + index as u32, (*text).to_owned()));
                let all = std::iter::once((token.id, token.text.clone())).chain(others);
                let alternatives = all.zip(1..).map(|((id, text), place)| Alternative {
                    id,
                    text,
                    logprob: -0.5 * f64::from(place) - shift,
                });
                alternatives.collect()
            })
            .collect(),
    };
    let count = tokens.len() as f64;
    let kl: Vec<f64> = (0..tokens.len()).map(|at| 8.0 * (at as f64 / count).powi(4)).collect();
    let scored = Scored {
        reference: scores(0.0),
        prefixed: vec![Compared {
            same_top: kl.iter().map(|nats| *nats < 2.0).collect(),
            kl,
            scores: scores(0.7),
        }],
        tokens,
    };
    Scores {
        text: Arc::clone(text),
        measures: LikelihoodMeasures::of(&scored, 0).unwrap(),
        ranges: token_ranges(text, &scored.tokens).unwrap(),
        scored,
        perplexity: Some(4.25),
    }
}

fn compare(workbench: &mut Workbench) {
    settle(workbench, &|_| String::new());
}

/// A prefix as it was built: its digest follows from its norm.
pub fn identity(recipe: &PrefixRecipe) -> PrefixIdentity {
    let norms = recipe.token_norms_at(H, Some(MEDIAN)).unwrap_or(1.0);
    let norm = norms * MEDIAN;
    PrefixIdentity {
        recipe: recipe.clone(),
        len: recipe.len,
        hidden_size: H,
        sha256: format!("{:064x}", u128::from(norm.to_bits()) * 0x9f3c_07d1_b2a4_a41e),
        row_norms: [norm; 3],
        token_norms: Some(norms),
    }
}

fn built(inference: &Inference) -> Option<PrefixIdentity> {
    inference.recipe.as_ref().map(identity)
}

/// The record of a run that came to its end with this text.
pub fn record(workbench: &Workbench, inference: &Inference, text: &str) -> Record {
    let tokens = text.chars().count() * 7 / 10;
    let prefix = built(inference);
    let echo = prefix.as_ref().map(|prefix| SoftPrefixEcho {
        hidden_size: prefix.hidden_size,
        len: prefix.len,
        sha256: prefix.sha256.clone(),
    });
    let index = usize::try_from(inference.run.0).unwrap();
    let answer = Answer {
        echo,
        usage: Some(Usage {
            completion_tokens: tokens,
            decode_ms: tokens.saturating_sub(1) as f64 / 0.0634,
            finish_reason: FinishReason::Stop,
            drafted: 0,
            accepted: 0,
            prefill_ms: 12.0,
            prefix_len: prefix.as_ref().map_or(0, |prefix| prefix.len),
            prompt_tokens: 18,
            queue_ms: 0.0,
            template_tokens: 21,
            tokens: Vec::new(),
        }),
        ttft_sec: Some(if prefix.is_some() { 0.041 } else { 0.039 }),
        ..Answer::new(text, FinishReason::Stop, 0.56)
    };
    Record {
        prefix,
        started_unix: 1_795_406_700.0 + index as f64,
        ..Record::new(
            TUNING,
            Case::new(index, 0, 0, inference.recipe.clone()),
            inference.input.prompt.clone(),
            inference.input.settings.clone(),
            workbench.module.last_facts().unwrap().identity.clone(),
            CaseOutcome::Done(answer),
        )
    }
}

fn finish(workbench: &mut Workbench, inference: &Inference, text: &str) {
    let (run, kind) = (inference.run, inference.kind);
    let made = built(inference);
    workbench.absorb(Event::Started { run, kind, built: made });
    workbench.absorb(Event::Delta {
        run,
        kind,
        text: text.to_owned(),
    });
    let record = Box::new(record(workbench, inference, text));
    if workbench.tuning.saved.experiment.id.is_empty() {
        let experiment = Box::new(Experiment {
            version: JOURNAL_VERSION,
            id: TUNING.to_owned(),
            name: record.prompt.user.clone(),
            started_unix: record.started_unix,
            plan: None,
            module: record.module.clone(),
        });
        workbench.absorb(Event::TuningBegan { run, experiment });
    }
    workbench.absorb(Event::Finished { run, kind, record });
}
