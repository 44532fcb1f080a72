//! The words of a sweep on two modules, in each language.

use crate::model::Language;

/// The words of one language.
pub struct TwinText {
    pub also: &'static str,
    pub hint: &'static str,
    pub refused: &'static str,
    /// How magnitudes compare where the models differ in width: in token norms, and as raw values.
    pub about_norms: &'static str,
    pub about_raw: &'static str,
}

impl TwinText {
    pub fn of(language: Language) -> &'static Self {
        match language {
            Language::English => &ENGLISH,
            Language::Japanese => &JAPANESE,
        }
    }
}

static ENGLISH: TwinText = TwinText {
    also: "Also on",
    hint: "host:port, embedded, or none",
    refused: "Write a host, host:port or embedded; leave it empty for one module.",
    about_norms: "The same plan on both, each against its own baseline. Token norms compare models of different width.",
    about_raw: "The same plan on both. A raw value is another size on a model of another width: token norms compare them.",
};

static JAPANESE: TwinText = TwinText {
    also: "もう一つのモジュール",
    hint: "host:port、embedded、空欄なら一つだけ",
    refused: "ホスト名、host:port、embedded のいずれかを入れてください。空欄なら一つのモジュールだけで実行します。",
    about_norms: "同じ計画を両方で実行し、それぞれの基準と比べます。トークンノルム比なら、幅の違うモデルでも大きさを比べられます。",
    about_raw: "同じ計画を両方で実行します。幅の違うモデルでは生の値の大きさが揃いません。比べるにはトークンノルム比を使ってください。",
};
