//! Labels of scores: KL, perplexity, alternatives.

use softprefix_core::compare::Measure;
use softprefix_core::experiment::words;

use crate::figure::ImageFormat;
use crate::model::{KlUnavailable, Language};

/// The words in one language.
pub struct ScoringText {
    /// Names the switch.
    pub colouring: &'static str,
    pub diff: &'static str,
    pub kl: &'static str,
    pub kl_unavailable: fn(KlUnavailable) -> &'static str,
    /// The same in a few words, for beside the switch.
    pub kl_unavailable_short: fn(KlUnavailable) -> &'static str,
    pub scale: &'static str,
    pub nats: &'static str,
    pub about: &'static str,
    pub measuring: &'static str,
    pub no_run: &'static str,
    pub mean: &'static str,
    pub p95: &'static str,
    pub max: &'static str,
    pub same_top: &'static str,
    pub perplexity: &'static str,
    pub perplexity_about: &'static str,
    pub perplexity_under_base: &'static str,
    pub probability: &'static str,
    pub accessible_value: fn(&str, &str, &str, u32) -> String,
    pub not_laid: &'static str,
    /// A plot's menu, and its lines.
    pub save_figure: &'static str,
    pub save_as: fn(ImageFormat) -> &'static str,
    /// The sweep's option.
    pub in_sweep: &'static str,
    pub in_sweep_about: &'static str,
    pub scoring: fn(usize) -> String,
    /// How many cases, and why.
    pub not_scored: fn(usize, &str) -> String,
}

impl ScoringText {
    #[must_use]
    pub fn of(language: Language) -> &'static Self {
        language.pick(&ENGLISH, &JAPANESE)
    }
}

static ENGLISH: ScoringText = ScoringText {
    colouring: "Colour the baseline by",
    diff: "Diff",
    kl: "KL",
    kl_unavailable: |off| match off {
        KlUnavailable::NotConnected => super::NOT_CONNECTED.en,
        KlUnavailable::StillConnecting => super::STILL_CONNECTING.en,
        KlUnavailable::Pinned => "KL is measured against the baseline: unpin the run to see it.",
        KlUnavailable::NotScored => {
            "This pair has no KL: it is measured between the baseline and a case of a sweep that asks for it."
        }
        KlUnavailable::NotLaid => "The tokens do not make up this text, so it is not coloured.",
        KlUnavailable::NotHere => {
            "This module's unit does not report token probabilities; KL needs softprefix-unit with its CPU engine, such as the embedded module."
        }
    },
    kl_unavailable_short: |off| match off {
        KlUnavailable::NotConnected => "no module",
        KlUnavailable::StillConnecting => "connecting",
        KlUnavailable::Pinned => "a run is pinned",
        KlUnavailable::NotScored => "no KL of this pair",
        KlUnavailable::NotLaid => "tokens not found in the text",
        KlUnavailable::NotHere => "no KL from this unit",
    },
    scale: "KL in nats, colours from",
    nats: words::NATS.en,
    about: "KL(baseline || prefixed) at each token of the baseline: how far the prefix moves the model's prediction there, also where the text stays the same. Point at a token for its alternatives.",
    measuring: "measuring…",
    no_run: "Run a prefix to see its KL.",
    mean: Measure::KlMean.name().en,
    p95: "p95",
    max: words::MAX.en,
    same_top: words::SAME_TOP.en,
    perplexity: Measure::Perplexity.name().en,
    perplexity_about: "Perplexity of this output under the model without the prefix. Read it beside distinct-4: an output that repeats itself has a low one.",
    perplexity_under_base: words::WITHOUT_PREFIX.en,
    probability: "probability",
    accessible_value: |mean, p95, max, same| {
        format!(
            "KL in nats: mean {mean}, 95th percentile {p95}, largest {max}; the likeliest token is the same at {same} %"
        )
    },
    not_laid: "The tokens do not make up this text, so it is not coloured.",
    save_figure: "Save this figure",
    save_as: |form| match form {
        ImageFormat::Png => "Save as PNG…",
        ImageFormat::Svg => "Save as SVG…",
    },
    in_sweep: "KL and perplexity",
    in_sweep_about: "After each run, the baseline's text is scored with the run's prefix, and the run's own text without one (teacher forcing).",
    scoring: |left| match left {
        1 => "1 text left to score".to_owned(),
        _ => format!("{left} texts left to score"),
    },
    not_scored: |cases, why| match cases {
        1 => format!("1 case has no KL. {why}"),
        _ => format!("{cases} cases have no KL. {why}"),
    },
};

static JAPANESE: ScoringText = ScoringText {
    colouring: "ベースラインの色分け",
    diff: "差分",
    kl: "KL",
    kl_unavailable: |off| match off {
        KlUnavailable::NotConnected => super::NOT_CONNECTED.ja,
        KlUnavailable::StillConnecting => super::STILL_CONNECTING.ja,
        KlUnavailable::Pinned => "KL はベースラインに対して測ります。固定を解除すると表示できます。",
        KlUnavailable::NotScored => {
            "この組の KL はありません。KL を測る一括実験の、ベースラインとケースの間で測ります。"
        }
        KlUnavailable::NotLaid => "トークンが文と対応しないため、色分けできません。",
        KlUnavailable::NotHere => {
            "このモジュールのユニットはトークンの確率を返しません。KL には CPU で動く softprefix-unit（内蔵モジュールなど）が必要です。"
        }
    },
    kl_unavailable_short: |off| match off {
        KlUnavailable::NotConnected => "未接続",
        KlUnavailable::StillConnecting => "接続中",
        KlUnavailable::Pinned => "固定中",
        KlUnavailable::NotScored => "この組の KL なし",
        KlUnavailable::NotLaid => "トークンと文が不一致",
        KlUnavailable::NotHere => "KL 非対応のユニット",
    },
    scale: "KL（nat）、色の境目",
    nats: words::NATS.ja,
    about: "ベースラインの各トークンでの KL(ベースライン || プレフィックス)。文が同じでも、予測がどれだけ動いたかがわかります。トークンを指すと候補が出ます。",
    measuring: "計算中…",
    no_run: "実行すると KL が出ます。",
    mean: Measure::KlMean.name().ja,
    p95: "p95",
    max: words::MAX.ja,
    same_top: words::SAME_TOP.ja,
    perplexity: Measure::Perplexity.name().ja,
    perplexity_about: "この出力の、プレフィックスなしのモデルでのパープレキシティ。反復では低くなるので、distinct-4 と併せて見てください。",
    perplexity_under_base: words::WITHOUT_PREFIX.ja,
    probability: "確率",
    accessible_value: |mean, p95, max, same| {
        format!("KL（nat）: 平均 {mean}、95 パーセンタイル {p95}、最大 {max}。第 1 候補の一致 {same} %")
    },
    not_laid: "トークンが文と対応しないため、色分けできません。",
    save_figure: "この図を保存",
    save_as: |form| match form {
        ImageFormat::Png => "PNG で保存…",
        ImageFormat::Svg => "SVG で保存…",
    },
    in_sweep: "KL とパープレキシティ",
    in_sweep_about: "実行のたびに、そのプレフィックスでのベースラインの文と、プレフィックスなしでのその出力を採点します（教師強制）。",
    scoring: |left| format!("採点の残り {left} 件"),
    not_scored: |cases, why| format!("{cases} 件のケースは KL を測れませんでした。{why}"),
};
