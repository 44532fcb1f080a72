//! The words of modules on the local network, in each language.

use crate::model::Language;

/// The words of one language.
pub struct DiscoveryText {
    pub title: &'static str,
    pub searching: &'static str,
    pub none_yet: &'static str,
    /// Discovery is off in the settings.
    pub off: &'static str,
    pub pending: &'static str,
    pub ours: &'static str,
    pub stock: &'static str,
    pub no_model: &'static str,
    /// Of a module that was used before and is not asked.
    pub used: fn(&str) -> String,
    /// The name of the button that connects to a module.
    pub connect_to: fn(&str) -> String,
    /// The setting.
    pub setting: &'static str,
}

impl DiscoveryText {
    #[must_use]
    pub fn of(language: Language) -> &'static Self {
        language.pick(&ENGLISH, &JAPANESE)
    }
}

static ENGLISH: DiscoveryText = DiscoveryText {
    title: "On the local network",
    searching: "Searching…",
    none_yet: "No module was found yet. One that does not announce itself is reached by its address.",
    off: "The search is off in the settings.",
    pending: "asking…",
    ours: "softprefix-unit",
    stock: "stock unit",
    no_model: "no language model",
    used: |model| format!("used before, with {model}"),
    connect_to: |name| format!("Connect to {name}"),
    setting: "Search for modules",
};

static JAPANESE: DiscoveryText = DiscoveryText {
    title: "ローカルネットワーク上のモジュール",
    searching: "探しています…",
    none_yet: "まだ見つかっていません。自分から知らせないモジュールには、アドレスで接続してください。",
    off: "探す機能は設定でオフになっています。",
    pending: "確認中…",
    ours: "softprefix-unit",
    stock: "標準ユニット",
    no_model: "言語モデルなし",
    used: |model| format!("前回は {model} で使用"),
    connect_to: |name| format!("{name} に接続"),
    setting: "モジュールを自動で探す",
};
