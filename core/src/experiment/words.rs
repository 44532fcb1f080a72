//! Terms that the window and the report share, and what a prefix is made of.

use crate::bilingual;
use crate::language::{Bilingual, term};
use crate::prefix::{BlendEndpoint, FoundBy, Learned, Origin, PrefixKind};

/// A name in both languages.
pub(super) type Term = Bilingual<&'static str>;

/// The regions of magnitudes, from the smallest on.
pub const REGIONS: [Term; 3] = [
    term("very small", "微小"),
    term("token-like", "トークン並み"),
    term("overdriven", "過大"),
];
/// In token norms, where each region but the last ends and where the next begins; in between the effect changes gradually.
///
/// Measured on Qwen2.5-Coder-0.5B-Instruct and used for all models: below 0.05 the first layer norm hides the magnitude; 0.1 to 3 is the range
/// of tokens; above 5 outputs fall into repetition.
pub const REGION_BORDERS: [(f64, f64); 2] = [(0.05, 0.1), (3.0, 5.0)];
/// A run without a prefix.
pub const BASELINE: Term = term("Baseline", "ベースライン");
/// The module of a run.
pub const MODULE: Term = term("Module", "モジュール");
/// The model of a run.
pub const MODEL: Term = term("Model", "モデル");
/// The user's prompt.
pub const PROMPT: Term = term("Prompt", "プロンプト");
/// The system prompt.
pub const SYSTEM: Term = term("System", "システム");
/// After a magnitude that is a raw value.
pub const RAW: Term = term("raw", "生の値");
/// A magnitude before it is divided by the token norm.
pub const RAW_VALUE: Term = term("raw value", "生の値");
/// The magnitude of rows that are used as they are.
pub const UNSCALED: Term = term("Rows as they are", "行をそのまま使う");
/// The axis of magnitudes in token norms.
pub const AXIS_NORMS: Term = term("Magnitude, × token norm", "大きさ（ノルム比）");
/// The axis of magnitudes as raw values.
pub const AXIS_RAW: Term = term("Magnitude, raw value", "大きさ（生の値）");
/// The text of a run is cut off.
pub const CUT_OFF: Term = term("cut off", "途中まで");
/// Between the parts of a list.
pub const COMMA: Term = term(", ", "、");
/// Sampling that takes the likeliest token.
pub const GREEDY: Term = term("greedy", "貪欲法");
/// The unit of KL.
pub const NATS: Term = term("nats", "nat");
/// The speed of a run.
pub const TOKENS_PER_SECOND: Term = term("tokens/s", "トークン/秒");
/// The largest of several values.
pub const MAX: Term = term("max", "最大");
/// The share of tokens at which the likeliest token is that of the baseline.
pub const SAME_TOP: Term = term("same likeliest token", "第 1 候補の一致");
/// The text of a perplexity is scored by the model without the prefix.
pub const WITHOUT_PREFIX: Term = term("under the model without the prefix", "（プレフィックスなしのモデル）");
/// How far two runs of the baseline differ.
pub const NOISE_FLOOR: Term = term("noise floor", "ノイズの範囲");
/// The end of a map's scale that is nearest to the baseline.
pub const NEAR: Term = term("near the baseline", "ベースラインに近い");
/// The end of a map's scale that is farthest from the baseline.
pub const FAR: Term = term("far from it", "遠い");
/// The rating of a run.
pub const STARS: Term = term("Stars", "星");
/// The kind [`PrefixKind::Constant`].
pub const CONSTANT: Term = term("Constant", "定数");
/// The kind [`PrefixKind::RandomUniform`].
pub const RANDOM_UNIFORM: Term = term("Random uniform", "一様乱数");
/// The kind [`PrefixKind::RandomNormal`].
pub const RANDOM_NORMAL: Term = term("Random normal", "正規乱数");
/// The kind [`PrefixKind::SampledVocabulary`].
pub const SAMPLED_VOCABULARY: Term = term("Sampled vocabulary", "語彙からの抽出");

/// The text of a run is cut off after this many characters.
pub fn cut_off_after(characters: usize) -> Bilingual {
    bilingual!("cut off after {characters} characters", "途中まで（{characters} 文字）")
}

/// What a plot of means over this many prompts shows.
pub fn mean_over(prompts: usize) -> Bilingual {
    bilingual!(
        "Mean over {prompts} prompts at each magnitude; the bars reach from the lowest prompt to the highest.",
        "大きさごとの、プロンプト {prompts} 件の平均です。縦線は最小のプロンプトから最大のプロンプトまでを示します。"
    )
}

/// What a prefix is made of, with what tells it from others of its kind.
pub(super) fn kind(kind: &PrefixKind) -> Bilingual {
    match kind {
        PrefixKind::Constant => Bilingual::new(kind.name(), CONSTANT.ja),
        PrefixKind::RandomUniform { seed, .. } => seeded(kind, *seed, RANDOM_UNIFORM),
        PrefixKind::RandomNormal { seed, .. } => seeded(kind, *seed, RANDOM_NORMAL),
        PrefixKind::SampledVocabulary { seed, .. } => seeded(kind, *seed, SAMPLED_VOCABULARY),
        PrefixKind::Words { text } => bilingual!("words {text:?}", "「{text}」"),
        PrefixKind::Blend { from, to, t } => Bilingual::new(
            format!("blend {from} → {to} at {t}"),
            format!("{}→{}{t}", end(from), end(to)),
        ),
        PrefixKind::Contrast { text, minus } => {
            bilingual!("contrast {text:?} − {minus:?}", "「{text}」−「{minus}」")
        }
        PrefixKind::Imported { name, sha256, origin } => {
            // The characters of a digest by which rows are told apart.
            let digest = sha256.get(..8).unwrap_or(sha256);
            stored(name, origin, digest)
        }
        PrefixKind::Chosen { name, generation, .. } => bilingual!(
            "candidate near {name:?} (generation {generation})",
            "「{name}」の近くの候補（第 {generation} 世代）"
        ),
        PrefixKind::Shaped { of, envelope } => {
            let factors: Vec<String> = envelope.iter().map(|factor| format!("{factor:.3}")).collect();
            let factors = factors.join("/");
            let Bilingual { en, ja } = self::kind(of);
            bilingual!("{en} shaped {factors}", "{ja} × {factors}")
        }
    }
}

fn end(of: &BlendEndpoint) -> String {
    match of {
        BlendEndpoint::Text(text) => format!("「{text}」"),
        BlendEndpoint::Stored { name, .. } => format!("「{name}」の行"),
    }
}

fn seeded(kind: &PrefixKind, seed: u64, name: Term) -> Bilingual {
    let (en, ja) = (kind.name(), name.ja);
    bilingual!("{en} (seed {seed})", "{ja}（シード {seed}）")
}

fn stored(name: &str, origin: &Origin, digest: &str) -> Bilingual {
    match origin {
        Origin::File => bilingual!("imported {name:?} ({digest})", "ファイル「{name}」（{digest}）"),
        Origin::Learned(learned) => self::learned(learned, digest),
        Origin::Found(found) => {
            let (near, generation) = (&found.near, found.generation);
            match found.by {
                FoundBy::Person => bilingual!(
                    "chosen near {near:?} (generation {generation}, {digest})",
                    "「{near}」の近くから選択（第 {generation} 世代、{digest}）"
                ),
                FoundBy::Objective => bilingual!(
                    "found near {near:?} by search (generation {generation}, {digest})",
                    "「{near}」の近くを探索（第 {generation} 世代、{digest}）"
                ),
            }
        }
    }
}

fn learned(learned: &Learned, digest: &str) -> Bilingual {
    let (prompt, target) = learned.beginnings();
    let others = learned.examples.saturating_sub(1);
    let more = match others {
        0 => Bilingual::new("", ""),
        1 => Bilingual::new(" and 1 more example", "、ほか 1 例"),
        _ => bilingual!(" and {others} more examples", "、ほか {others} 例"),
    };
    let (more_en, more_ja) = (more.en, more.ja);
    bilingual!(
        "learned to answer {prompt:?} with {target:?}{more_en} ({digest})",
        "「{prompt}」に「{target}」と答えるよう学習{more_ja}（{digest}）"
    )
}
