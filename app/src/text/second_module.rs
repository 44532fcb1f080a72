//! The words of a sweep on two modules, in each language.

use crate::model::Language;

/// The words of one language.
pub struct SecondModuleText {
    pub second_module: &'static str,
    pub hint: &'static str,
    pub refused: &'static str,
    pub model: &'static str,
    pub model_hint: &'static str,
    /// The second module has no model of this name.
    pub which_model: fn(&str) -> String,
    /// How magnitudes compare where the models differ in width: in token norms, and as raw values.
    pub about_norms: &'static str,
    pub about_raw: &'static str,
}

impl SecondModuleText {
    pub fn of(language: Language) -> &'static Self {
        language.pick(&ENGLISH, &JAPANESE)
    }
}

static ENGLISH: SecondModuleText = SecondModuleText {
    second_module: "Also on",
    hint: "host:port, embedded, or none",
    refused: "Write a host, host:port or embedded; leave it empty for one module.",
    model: "Its model",
    model_hint: "choose one",
    which_model: |model| {
        format!("The second module has no {model}: choose its model under “Also on”, then start again.")
    },
    about_norms: "The same plan on both, each against its own baseline. Token norms compare models of different hidden size.",
    about_raw: "The same plan on both. A raw value is another size on a model of another hidden size: token norms compare them.",
};

static JAPANESE: SecondModuleText = SecondModuleText {
    second_module: "もう一つのモジュール",
    hint: "host:port、embedded、空欄なら一つだけ",
    refused: "ホスト名、host:port、embedded のいずれかを入れてください。空欄なら一つのモジュールだけで実行します。",
    model: "そのモデル",
    model_hint: "選んでください",
    which_model: |model| {
        format!(
            "もう一つのモジュールに {model} がありません。「もう一つのモジュール」でモデルを選んでから、もう一度開始してください。"
        )
    },
    about_norms: "同じ計画を両方で実行し、それぞれのベースラインと比べます。ノルム比なら、隠れ層の幅が違うモデルでも大きさを比べられます。",
    about_raw: "同じ計画を両方で実行します。隠れ層の幅が違うモデルでは生の値の大きさが揃いません。比べるにはノルム比を使ってください。",
};
