//! What a prefix is made of, in words: for tables, reports and messages.

use crate::language::{Bilingual, Language};
use crate::prefix::{BlendEndpoint, FoundBy, Learned, Origin, PrefixKind};

/// The regions of magnitudes, from the smallest on.
pub const REGIONS: [Bilingual<&'static str>; 3] = [
    Bilingual {
        en: "very small",
        ja: "微小",
    },
    Bilingual {
        en: "token-like",
        ja: "トークン並み",
    },
    Bilingual {
        en: "overdriven",
        ja: "過大",
    },
];

/// What a prefix is made of, with what tells it from others of its kind.
pub(super) fn kind(kind: &PrefixKind, language: Language) -> String {
    let (english, japanese) = match kind {
        PrefixKind::Constant => (kind.name().to_owned(), "定数".to_owned()),
        PrefixKind::RandomUniform { seed, .. } => seeded(kind, *seed, "一様乱数"),
        PrefixKind::RandomNormal { seed, .. } => seeded(kind, *seed, "正規乱数"),
        PrefixKind::SampledVocabulary { seed, .. } => seeded(kind, *seed, "語彙からの抽出"),
        PrefixKind::Words { text } => (format!("words {text:?}"), format!("「{text}」")),
        PrefixKind::Blend { from, to, t } => (
            format!("blend {from} → {to} at {t}"),
            format!("{}→{}{t}", end(from), end(to)),
        ),
        PrefixKind::Contrast { text, minus } => (
            format!("contrast {text:?} − {minus:?}"),
            format!("「{text}」−「{minus}」"),
        ),
        PrefixKind::Imported { name, sha256, origin } => {
            // The characters of a digest by which rows are told apart.
            let digest = sha256.get(..8).unwrap_or(sha256);
            stored(name, origin, digest)
        }
        PrefixKind::Chosen { name, generation, .. } => (
            format!("candidate near {name:?} (generation {generation})"),
            format!("「{name}」の近くの候補（第 {generation} 世代）"),
        ),
        PrefixKind::Shaped { of, envelope } => {
            let factors: Vec<String> = envelope.iter().map(|factor| format!("{factor:.3}")).collect();
            let factors = factors.join("/");
            let of = self::kind(of, language);
            (format!("{of} shaped {factors}"), format!("{of} × {factors}"))
        }
    };
    language.pick(english, japanese)
}

fn end(of: &BlendEndpoint) -> String {
    match of {
        BlendEndpoint::Text(text) => format!("「{text}」"),
        BlendEndpoint::Stored { name, .. } => format!("「{name}」の行"),
    }
}

fn seeded(kind: &PrefixKind, seed: u64, japanese: &str) -> (String, String) {
    (
        format!("{} (seed {seed})", kind.name()),
        format!("{japanese}（シード {seed}）"),
    )
}

fn stored(name: &str, origin: &Origin, digest: &str) -> (String, String) {
    match origin {
        Origin::File => (
            format!("imported {name:?} ({digest})"),
            format!("ファイル「{name}」（{digest}）"),
        ),
        Origin::Learned(learned) => self::learned(learned, digest),
        Origin::Found(found) => {
            let (near, generation) = (&found.near, found.generation);
            match found.by {
                FoundBy::Person => (
                    format!("chosen near {near:?} (generation {generation}, {digest})"),
                    format!("「{near}」の近くから選択（第 {generation} 世代、{digest}）"),
                ),
                FoundBy::Objective => (
                    format!("found near {near:?} by search (generation {generation}, {digest})"),
                    format!("「{near}」の近くを探索（第 {generation} 世代、{digest}）"),
                ),
            }
        }
    }
}

fn learned(learned: &Learned, digest: &str) -> (String, String) {
    let (prompt, target) = learned.beginnings();
    let (more, more_ja) = match learned.examples {
        0 | 1 => (String::new(), String::new()),
        2 => (" and 1 more example".to_owned(), "、ほか 1 例".to_owned()),
        examples => (
            format!(" and {} more examples", examples - 1),
            format!("、ほか {} 例", examples - 1),
        ),
    };
    (
        format!("learned to answer {prompt:?} with {target:?}{more} ({digest})"),
        format!("「{prompt}」に「{target}」と答えるよう学習{more_ja}（{digest}）"),
    )
}
