//! The words of the first start, in each language.

use crate::model::Language;

/// The words of one language.
pub struct FirstText {
    /// What is fetched, in which step, and how much of how much.
    pub fetching: fn(&Fetching<'_>) -> String,
    /// Beside the download of the small model.
    pub small_first: &'static str,
    /// Below the download of a model while another one is in use.
    pub background_fetch: &'static str,
    pub arrived: fn(&str) -> String,
    pub fetched: fn(&str) -> String,
    pub taken_over: fn(&str) -> String,
    pub again: &'static str,
}

/// A download in words.
pub struct Fetching<'a> {
    pub model: &'a str,
    /// The key of the step (`fetching`, `checking`…), as the bridge reports it.
    pub step: &'a str,
    pub done: &'a str,
    /// `None` while the size is unknown.
    pub total: Option<&'a str>,
    /// Empty while nothing was asked yet.
    pub source: &'a str,
}

impl FirstText {
    pub fn of(language: Language) -> &'static Self {
        language.pick(&ENGLISH, &JAPANESE)
    }
}

static ENGLISH: FirstText = FirstText {
    fetching: |of| {
        let amount = match of.total {
            Some(total) => format!("{} of {total}", of.done),
            None => of.done.to_owned(),
        };
        let step = match of.step {
            "waiting" => "Another window is downloading",
            "checking" => "Checking the downloaded part of",
            "unpacking" => "Unpacking",
            "finishing" => "Checking",
            _ => "Downloading",
        };
        let from = match of.source {
            "" => String::new(),
            source => format!(" from {source}"),
        };
        format!("{step} {}: {amount}{from}", of.model)
    },
    small_first: "The small model is downloaded first, in a few moments. You can work with it while the larger one is downloaded, or watch the demo.",
    background_fetch: "You can work meanwhile. It is used once it has been downloaded and nothing runs; the runs of each model stay separate.",
    arrived: |model| format!("{model} has been downloaded and is used as soon as nothing runs."),
    fetched: |model| format!("{model} has been downloaded: choose it under Models"),
    taken_over: |model| format!("Now using {model}; earlier runs stay with their model"),
    again: "Try again",
};

static JAPANESE: FirstText = FirstText {
    fetching: |of| {
        let amount = match of.total {
            Some(total) => format!("{total} 中 {}", of.done),
            None => of.done.to_owned(),
        };
        let step = match of.step {
            "waiting" => "ほかのウィンドウがダウンロード中",
            "checking" => "ダウンロード済みの部分を確認中",
            "unpacking" => "展開中",
            "finishing" => "確認中",
            _ => "ダウンロード中",
        };
        let from = match of.source {
            "" => String::new(),
            source => format!("（{source}）"),
        };
        format!("{}：{step}、{amount}{from}", of.model)
    },
    small_first: "まず小さいモデルをダウンロードします（すぐに終わります）。大きいモデルのダウンロード中も、これで作業したり、デモを見たりできます。",
    background_fetch: "ダウンロード中も作業できます。完了後、何も実行していないときに切り替わります。実行結果はモデルごとに分かれます。",
    arrived: |model| format!("{model} のダウンロードが完了しました。実行が終わると切り替わります。"),
    fetched: |model| format!("{model} のダウンロードが完了しました。「モデル」から選べます"),
    taken_over: |model| format!("{model} に切り替えました。これまでの実行は元のモデルのままです"),
    again: "もう一度試す",
};
