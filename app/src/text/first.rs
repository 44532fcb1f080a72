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
        match language {
            Language::English => &ENGLISH,
            Language::Japanese => &JAPANESE,
        }
    }
}

static ENGLISH: FirstText = FirstText {
    fetching: |of| {
        let amount = match of.total {
            Some(total) => format!("{} of {total}", of.done),
            None => of.done.to_owned(),
        };
        let step = match of.step {
            "waiting" => "Another window is fetching",
            "checking" => "Checking what has been fetched of",
            "unpacking" => "Unpacking",
            "finishing" => "Checking",
            _ => "Fetching",
        };
        let from = match of.source {
            "" => String::new(),
            source => format!(" from {source}"),
        };
        format!("{step} {}: {amount}{from}", of.model)
    },
    small_first: "The small model is fetched first, in moments: you can work with it while the larger one is fetched. Or watch the demo meanwhile.",
    background_fetch: "You can work meanwhile. It is used as soon as it is here and nothing runs; the runs of each model stay separate.",
    arrived: |model| format!("{model} is here and is used as soon as nothing runs."),
    fetched: |model| format!("{model} is here: choose it under Models"),
    taken_over: |model| format!("Now with {model}; earlier runs stay with their model"),
    again: "Try again",
};

static JAPANESE: FirstText = FirstText {
    fetching: |of| {
        let amount = match of.total {
            Some(total) => format!("{total} 中 {}", of.done),
            None => of.done.to_owned(),
        };
        let step = match of.step {
            "waiting" => "ほかのウィンドウの取得を待っています",
            "checking" => "取得済みの部分を確認中",
            "unpacking" => "展開中",
            "finishing" => "確認中",
            _ => "取得中",
        };
        let from = match of.source {
            "" => String::new(),
            source => format!("（{source}）"),
        };
        format!("{} を{step}：{amount}{from}", of.model)
    },
    small_first: "まず小さなモデルを取得します（すぐに終わります）。大きいモデルの取得中も、これで作業できます。その間にデモも見られます。",
    background_fetch: "取得中も作業できます。届いて何も実行していないときに切り替わります。実行結果はモデルごとに分かれます。",
    arrived: |model| format!("{model} が届きました。実行が終わると切り替わります。"),
    fetched: |model| format!("{model} を取得しました。「モデル」から選べます"),
    taken_over: |model| format!("{model} に切り替えました。これまでの実行は元のモデルのままです"),
    again: "もう一度試す",
};
