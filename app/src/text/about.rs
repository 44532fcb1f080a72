//! The words of About, in each language.

use crate::model::Language;

/// The words of one language.
pub struct AboutText {
    pub version: &'static str,
    pub commit: &'static str,
    pub no_commit: &'static str,
    pub renderer: &'static str,
    pub features: &'static str,
    pub no_features: &'static str,
    pub never_calls: &'static str,
    pub releases: &'static str,
    pub no_releases: &'static str,
}

impl AboutText {
    pub fn of(language: Language) -> &'static Self {
        language.pick(&ENGLISH, &JAPANESE)
    }
}

static ENGLISH: AboutText = AboutText {
    version: "Version",
    commit: "Commit",
    no_commit: "not recorded in this build",
    renderer: "Renderer",
    features: "Features",
    no_features: "none",
    never_calls: "The program never checks for updates and reports nothing to anybody. It uses the network for modules (to find, connect to and check them), for the models that it downloads, and for OSC if that is on.",
    releases: "Open the releases page",
    no_releases: "This build was made from sources and has no releases page.",
};

static JAPANESE: AboutText = AboutText {
    version: "バージョン",
    commit: "コミット",
    no_commit: "このビルドには記録がありません",
    renderer: "描画",
    features: "機能（features）",
    no_features: "なし",
    never_calls: "本ソフトは更新を確認せず、どこにも何も報告しません。通信するのは、モジュール（検索、接続、診断）、モデルのダウンロード、オンにしたときの OSC だけです。",
    releases: "リリースのページを開く",
    no_releases: "ソースからのビルドのため、リリースのページはありません。",
};
