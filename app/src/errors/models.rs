//! Words for model files that cannot be loaded.

use softprefix_unit::model::LoadError;
use softprefix_unit::tokenizer::TokenizerError;

use super::{ErrorText, Part, because};

/// Describes why a model cannot be loaded.
#[must_use]
pub fn load(error: &LoadError) -> ErrorText {
    let (what, todo) = match error {
        LoadError::UnknownModel { name } => (
            format!("{name:?} というモデルはありません。"),
            "`softprefix models` の一覧から選んでください。",
        ),
        LoadError::BadFile { path, reason } => (
            format!("{} は使えません。{}。", path.display(), reason.ja),
            "ダウンロードし直すか、別のファイルを選んでください。",
        ),
        LoadError::Unsupported { path, reason } => (
            format!("{} はここでは実行できません。{}。", path.display(), reason.ja),
            "別のモデルを選んでください。",
        ),
        LoadError::OtherContent {
            path,
            model,
            found,
            expected,
        } => (
            format!(
                "{} は {model} の名前ですが、内容が違います（SHA-256 は {expected} ではなく {found}）。",
                path.display()
            ),
            "モデルをダウンロードし直すか、ファイルの名前を変えてください。",
        ),
        LoadError::Incomplete { path, reason } => (
            format!("{} はモデルの一部だけです。{}。", path.display(), reason.ja),
            "モデルのすべてのファイルを一つのフォルダーに置き、その最初のものを選んでください。",
        ),
        LoadError::Vocabulary(error) => return vocabulary(error),
        LoadError::UnsupportedArchitecture { path, architecture } => (
            format!(
                "{} は {architecture:?} という構造のモデルで、ここでは実行できません。",
                path.display()
            ),
            "qwen2 か qwen3、または Qwen か SmolLM2 の語彙を持つ llama のモデルを選んでください。",
        ),
        LoadError::Unreadable { path, source } => (
            because(&format!("{} を読めませんでした", path.display()), &source.to_string()),
            "ファイルがあることと、その権限を確かめてください。",
        ),
        LoadError::BadSetting { key, value, .. } => (
            format!("設定 {key:?} の値 {value} では、このモデルを実行できません。"),
            "値を変えてください。",
        ),
        LoadError::Kernel(reason) => (
            because(
                "環境変数の指定する計算方式は、ここでは使えません",
                without_remedy(reason),
            ),
            "環境変数を消してください。",
        ),
        LoadError::Engine(error) => (
            because(
                "モデルの読み込み中にエンジンのエラーが起きました",
                without_remedy(&error.to_string()),
            ),
            "もう一度試すか、別のモデルを選んでください。",
        ),
    };
    ErrorText::of(&error.to_string(), Part::Last("; "), what, todo)
}

/// Describes why a model's vocabulary or chat template cannot be used.
fn vocabulary(error: &TokenizerError) -> ErrorText {
    let (what, todo) = match error {
        TokenizerError::Unreadable { path, source } => (
            because(&format!("{} を読めませんでした", path.display()), &source.to_string()),
            "ファイルがあることと、その権限を確かめてください。",
        ),
        TokenizerError::BadVocabulary { what, reason } => (
            format!("{what} の語彙は使えません。{}。", reason.ja),
            "モデルをダウンロードし直すか、別のモデルを選んでください。",
        ),
        TokenizerError::Unsupported { what, reason } => (
            format!("{what} の語彙には対応していません。{}。", reason.ja),
            "別のモデルか、このモデルの別のファイルを選んでください。",
        ),
        TokenizerError::UnknownKind { what, kind } => (
            format!("{what} の語彙は {kind:?} という種類です。使えるのはバイト単位の BPE だけです。"),
            "Qwen2.5、Qwen3、SmolLM2 のいずれかのモデルを選んでください。",
        ),
        TokenizerError::UnknownSplit { what, pre } => (
            format!(
                "{what} のテキストの分け方 {pre:?} には対応していません（対応しているのは qwen2 と smollm です）。"
            ),
            "Qwen2.5、Qwen3、SmolLM2 のいずれかのモデルを選んでください。",
        ),
        TokenizerError::Template { what, reason } => (
            format!("{what} のチャットテンプレートは使えません。{}。", reason.ja),
            "別のモデルか、このモデルの別のファイルを選んでください。",
        ),
        TokenizerError::TextRefused { reason } => (
            because("このテキストはチャットテンプレートで使えません", reason),
            "プロンプトかシステムプロンプトを変えてください。",
        ),
        TokenizerError::TextTooLong { bytes, limit } => (
            format!("テキストは {bytes} バイトで、一度にトークンに分けられる {limit} バイトを超えています。"),
            "短くしてください。",
        ),
        TokenizerError::Encode { reason } => (
            because("テキストをトークンに分けられませんでした", reason),
            "モデルとトークナイザーが対応していることを確かめてください。",
        ),
    };
    ErrorText::of(&error.to_string(), Part::Last("; "), what, todo)
}

/// Returns what happened, without what to do.
fn without_remedy(message: &str) -> &str {
    message.rsplit_once("; ").map_or(message, |(what, _)| what)
}
