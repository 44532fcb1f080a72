//! Turns the errors of `core` and `device-unit` into sentences for the user, in English and Japanese: what happened,
//! and what to do next.
//!
//! The English comes from the error's own `Display`; the Japanese is written here, with the same names and numbers.
//! Messages of the operating system or the module are passed on, translated where they are common.

mod files;
mod models;
mod plans;
mod prefix_files;
mod prefixes;
mod reach;
mod runs;

pub use files::{
    cannot_read, cannot_write, damaged, export, fetch, journal, journal_problem, no_experiment, no_library,
    not_connected, results, task_failed,
};
pub use models::load;
pub use plans::{plan, prefix_search, search, threshold};
pub use prefix_files::{prefix_file, prefix_file_problem, prefix_store, prefix_store_problem};
pub use prefixes::prefix;
pub use reach::{cannot_listen, cannot_search, cannot_send, client, refusal};
pub use runs::{canary, case, run};

use softprefix_core::client::{ClientError, LocalRemedy};
use softprefix_core::experiment::SessionError;

use crate::model::{Bilingual, Problem, ProblemKind};

/// An error in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrorText {
    /// What happened, and to what.
    pub what: Bilingual,
    /// What to do next; empty where `what` already says it.
    pub todo: Bilingual,
}

impl ErrorText {
    /// Splits an error's English message at the first or last `mark` and pairs both parts with their Japanese.
    fn of(english: &str, mark: Part, what: impl Into<String>, todo: impl Into<String>) -> Self {
        let parts = match mark {
            Part::First(mark) => english.split_once(mark),
            Part::Last(mark) => english.rsplit_once(mark),
        };
        let (en, en_todo) = parts.unwrap_or((english, ""));
        Self {
            what: Bilingual {
                en: sentence(en),
                ja: what.into(),
            },
            todo: Bilingual {
                en: sentence(en_todo),
                ja: todo.into(),
            },
        }
    }

    /// Returns both sentences joined into one.
    #[must_use]
    pub fn whole(&self) -> Bilingual {
        let join = |what: &str, todo: &str, between: &str| {
            if todo.is_empty() {
                what.to_owned()
            } else {
                format!("{what}{between}{todo}")
            }
        };
        Bilingual {
            en: join(&self.what.en, &self.todo.en, " "),
            ja: join(&self.what.ja, &self.todo.ja, ""),
        }
    }
}

impl Problem {
    /// Creates a problem from an error in words.
    #[must_use]
    pub fn from_text(kind: ProblemKind, text: ErrorText) -> Self {
        Self::new(kind, text.what, text.todo)
    }
}

/// Converts an error of a module at an address to a problem. Errors of a [`Session`](crate::session::Session) have
/// [`Session::problem`](crate::session::Session::problem), since its module may be the unit in this process.
pub fn problem_of(error: &ClientError) -> Problem {
    let kind = match error {
        ClientError::Connect { .. }
        | ClientError::ConnectTimedOut { .. }
        | ClientError::ConnectionLost { .. }
        | ClientError::Garbage { .. } => ProblemKind::Connection,
        ClientError::TaskFull { .. } => ProblemKind::TaskFull,
        ClientError::EmptyPrompt | ClientError::NulInPrompt | ClientError::Prefix(_) => ProblemKind::Input,
        _ => ProblemKind::Module,
    };
    Problem::from_text(kind, client(error))
}

/// Converts a session's error to a problem. No service can be restarted where the module is embedded.
pub fn session(error: &SessionError, is_embedded: bool) -> Problem {
    let (ja, todo_ja) = match error {
        SessionError::Client(error) => {
            let mut problem = problem_of(error);
            match error.local_remedy().filter(|_| is_embedded) {
                Some(remedy) => problem.remedy = local(remedy),
                // The unit's own sentence says what to do.
                None if is_embedded && problem.remedy.ja.contains("llm-") => problem.remedy.ja.clear(),
                None => {}
            }
            return problem;
        }
        SessionError::Prefix(error) => return Problem::from_text(ProblemKind::Input, prefix(error)),
        SessionError::NoLanguageModel { address } => (
            format!("{address} に言語モデルがありません。"),
            "モジュールに入れるか（例：qwen2.5-0.5B-prefill-20e）、一覧にない名前を指定してください。",
        ),
        SessionError::NoHiddenSize => (
            "モジュールがモデルの隠れ層の幅を示しません（カードに tokens_embed_size がありません）。".to_owned(),
            "別のモデルを選ぶか、モジュールに softprefix-unit を導入してください。",
        ),
        SessionError::Unsupported { .. } => (
            "このモジュールのユニットは必要な行を返さないため、この種類のプレフィックスを作れません。".to_owned(),
            "別の種類のプレフィックスを選ぶか、softprefix-unit のモジュールに接続してください。",
        ),
        SessionError::Panicked(error) => (
            because("作業が途中で止まりました", error),
            "別の設定を選び、不具合として報告してください。",
        ),
    };
    let kind = match error {
        SessionError::NoLanguageModel { .. } => ProblemKind::Model,
        _ => ProblemKind::Input,
    };
    Problem::from_text(kind, ErrorText::of(&error.to_string(), Part::First(". "), ja, todo_ja))
}

fn local(remedy: LocalRemedy) -> Bilingual {
    let ja = match remedy {
        LocalRemedy::Relieve => {
            "このコンピューターの負荷が高いか、メモリーが足りないようです。ほかのプログラムを終了するか、小さなモデルを選んで、もう一度試してください。"
        }
        LocalRemedy::Reconnect => "再接続すると、内蔵モジュールが起動し直します。",
    };
    Bilingual::new(sentence(&remedy.to_string()), ja)
}

/// Returns `text` with a capital first letter and a full stop.
pub fn sentence(text: &str) -> String {
    let text = text.trim();
    let mut letters = text.chars();
    let mut out: String = match letters.next() {
        // An address or a name at the beginning keeps its case.
        Some(first)
            if first.is_ascii_lowercase()
                && !text
                    .split(' ')
                    .next()
                    .is_some_and(|word| word.contains(['.', ':', '/', '\\']) || matches!(word, "llm" | "sys")) =>
        {
            first.to_ascii_uppercase().to_string() + letters.as_str()
        }
        Some(_) => text.to_owned(),
        None => String::new(),
    };
    if !out.is_empty() && !out.ends_with(['.', '!', '?', '。']) {
        out.push('.');
    }
    out
}

/// Where an English message is split into what happened and what to do.
enum Part {
    First(&'static str),
    Last(&'static str),
}

/// Common reasons: messages of the operating system, and of the readers of files.
const REASONS: &[(&str, &str)] = &[
    ("Connection refused", "接続を拒否されました"),
    ("No route to host", "相手までの経路がありません"),
    ("Host is down", "相手が応答しません"),
    ("Network is unreachable", "ネットワークに到達できません"),
    ("Network is down", "ネットワークに到達できません"),
    ("failed to lookup address", "名前を解決できません"),
    ("Name or service not known", "名前を解決できません"),
    ("Could not resolve hostname", "名前を解決できません"),
    ("nodename nor servname", "名前を解決できません"),
    ("Connection reset", "相手が接続を切りました"),
    ("Software caused connection abort", "接続が中断されました"),
    ("Broken pipe", "相手が接続を切りました"),
    ("timed out", "時間切れです"),
    ("Address already in use", "そのアドレスは使用中です"),
    ("assign requested address", "このコンピューターのアドレスではありません"),
    ("No such file", "ファイルがありません"),
    ("File exists", "同じ名前のファイルがあります"),
    ("File name too long", "名前が長すぎます"),
    ("Is a directory", "フォルダーです"),
    ("Not a directory", "パスの途中がフォルダーではありません"),
    ("Permission denied", "権限がありません"),
    ("Operation not permitted", "許可されていない操作です"),
    ("Read-only file system", "読み取り専用のディスクです"),
    ("No space left", "ディスクに空きがありません"),
    ("quota exceeded", "ディスクの割り当てを使い切りました"),
    ("Input/output error", "ディスクの入出力エラーです"),
    ("Too many open files", "開いているファイルが多すぎます"),
    ("Cannot allocate memory", "メモリーが足りません"),
    ("Argument list too long", "引数が長すぎます"),
    ("Invalid argument", "引数が正しくありません"),
    ("early eof", "途中で終わっています"),
    ("unexpected end of file", "途中で終わっています"),
    ("failed to fill whole buffer", "途中で終わっています"),
    ("stream did not contain valid UTF-8", "UTF-8 のテキストではありません"),
    ("it is empty or cut", "空か、途中で終わっています"),
    ("it is cut", "途中で終わっています"),
    ("it ends within its header", "見出しの途中で終わっています"),
    ("it does not begin as one", "先頭がこの形式ではありません"),
    ("it has no peft_type", "peft_type がありません"),
    ("no tensors", "テンソルがありません"),
    ("EOF while parsing", "途中で終わっています"),
    ("its time lies before the line above", "時刻が前の行より前です"),
    ("a magnitude is not a number", "大きさが数ではありません"),
    (
        "the norms of the vocabulary are not numbers above 0",
        "語彙のノルムが 0 より大きい数ではありません",
    ),
];

/// Returns a Japanese sentence with its reason: a common one in Japanese, any other as it is in a sentence of its own.
/// `what` has no full stop.
#[must_use]
pub fn because(what: &str, reason: &str) -> String {
    let reason = reason.trim().trim_end_matches('.');
    match REASONS.iter().find(|(english, _)| reason.contains(english)) {
        Some((_, japanese)) => format!("{what}（{japanese}）。"),
        None if reason.is_empty() => format!("{what}。"),
        None => format!("{what}。詳細：「{reason}」。"),
    }
}

#[cfg(test)]
mod tests;
