//! Words for errors of files of prefixes, and of the store of imported ones.

use softprefix_core::prefix::files::{FileError, MoreThanRows};
use softprefix_core::prefix::{MAX_LEN, PrefixStoreError};

use super::{ErrorText, Part, because, prefix};
use crate::model::{Problem, ProblemKind};

/// Describes a file of a prefix that cannot be read or written.
#[must_use]
pub fn prefix_file(error: &FileError) -> ErrorText {
    let (what, todo) = match error {
        FileError::Unreadable { file, detail } => (
            because(&format!("{file} を読めません"), detail),
            "パスと権限を確かめてください。",
        ),
        FileError::Unwritable { file, detail } => (
            because(&format!("{file} に書き込めません"), detail),
            "別の場所を選ぶか、空き容量を増やしてください。",
        ),
        FileError::TooLarge { file, bytes, limit } => (
            format!("{file} は {bytes} バイトあり、ソフトプレフィックスとしては大きすぎます（上限 {limit}）。"),
            "モデルのファイルではなく、プレフィックスのファイルを選んでください。",
        ),
        FileError::LfsPointer { file } => (
            format!("{file} は Git LFS のポインターで、ファイルそのものではありません。"),
            "そのフォルダーで `git lfs pull` を実行してください。",
        ),
        FileError::Pickle { file } => (
            format!(
                "{file} は Python の pickle です。開くと任意のプログラムが動きうるため、本ソフトでは決して開きません。"
            ),
            "safetensors（PEFT なら `save_pretrained(..., safe_serialization=True)`）か .npy で保存し直してください。",
        ),
        FileError::UnknownKind { file, start } => (
            format!("{file} はソフトプレフィックスのファイルではありません（先頭：{start:?}）。"),
            "PEFT のフォルダー、.safetensors、.npy、.npz、KoboldAI の .zip のいずれかを選んでください。",
        ),
        FileError::NotPeft { folder, missing } => (
            format!("{folder} は PEFT のフォルダーではありません（{missing} がありません）。"),
            "adapter_config.json と adapter_model.safetensors のあるフォルダーを選んでください。",
        ),
        FileError::PackedFolder { file } => (
            format!("{file} は PEFT のフォルダーを zip にまとめたものです。"),
            "展開して、そのフォルダーを選んでください。",
        ),
        FileError::SeveralAdapters { folder, first, second } => (
            format!("{folder} には複数のアダプターがあります（「{first}」「{second}」など）。"),
            "そのうちの一つのフォルダーを選んでください。",
        ),
        FileError::Malformed { file, kind, detail } => (
            because(&format!("{file} は {kind} のファイルとして使えません"), detail),
            "保存し直してください。",
        ),
        FileError::NotOneTable { file, found } => (
            because(&format!("{file} の内容は P 行 H 列の一つの表ではありません"), found),
            "その表だけを P × H の二次元で保存してください。",
        ),
        FileError::WrongType { file, found } => (
            format!("{file} の値の型は {found} です。"),
            "f32、f16、bf16 のいずれかで保存してください（.npy なら f32 か f16）。",
        ),
        FileError::UnclearWords { file } => (
            format!("{file} の値の型は u2 で、bf16 か f16 のビット列か、整数かを判別できません。"),
            "f32 で保存し直してください（bf16 のビット列からは NumPy の `(words.astype('u4') << 16).view('f4')`）。",
        ),
        FileError::TooLong { file, rows } => (
            format!("{file} は {rows} 行あり、どのモデルの文脈長にも収まりません（上限 {MAX_LEN}）。"),
            "別のファイルを選んでください。",
        ),
        FileError::WrongWidth {
            file,
            width,
            hidden_size,
        } => (
            format!("{file} は隠れ層の幅が {width} のモデル用ですが、このモデルの隠れ層の幅は {hidden_size} です。"),
            "そのプレフィックスを作ったモデルを選んでください。",
        ),
        FileError::Transposed {
            file,
            width,
            hidden_size,
        } => (
            format!("{file} は {hidden_size} 行 {width} 列の表ですが、このモデルの隠れ層の幅は {hidden_size} です。"),
            "転置した表（NumPy の `table.T`）を保存し直すか、そのプレフィックスを作ったモデルを選んでください。",
        ),
        FileError::PrefixTuning { file, evidence } => (
            because(
                &format!(
                    "{file} はプレフィックスチューニングのアダプターで、埋め込みの行ではなく各層のキーと値なので、前に置けません"
                ),
                evidence,
            ),
            "PROMPT_TUNING か P_TUNING で学習してください。",
        ),
        FileError::OtherAdapter { file, peft_type } => (
            format!("{file} は「{peft_type}」型のアダプターです。"),
            "ソフトプレフィックスの行だけを持つのは PROMPT_TUNING と P_TUNING です。どちらかを選んでください。",
        ),
        FileError::MoreThanRows { file, what } => (
            match what {
                MoreThanRows::OtherTask { task } => {
                    format!("{file} のアダプターは {task} 用で、文の続きを生成するもの（CAUSAL_LM）ではありません。")
                }
                MoreThanRows::Modules { names } => format!(
                    "{file} のアダプターはモデルの一部（modules_to_save：{names}）も置き換えるため、行だけでは同じ出力になりません。"
                ),
            },
            "行だけを CAUSAL_LM 用に学習したアダプターを選んでください。",
        ),
        FileError::EncoderDecoder { file, submodules } => (
            format!(
                "{file} は {submodules} 部（エンコーダーとデコーダー）から成るモデル用です。ここのモデルはデコーダーだけです。"
            ),
            "デコーダーだけのモデルのアダプターを選んでください。",
        ),
        FileError::Disagrees {
            file,
            what,
            stated,
            found,
        } => (
            because(
                &format!("{file} の設定と表が食い違っています（設定では {stated}、表では {found}）"),
                what,
            ),
            "アダプターを保存し直してください。",
        ),
        FileError::Bomb {
            file,
            bytes,
            packed,
            limit,
        } => (
            format!("{file} は {packed} バイトですが、展開すると {bytes} バイトになります（上限 {limit}）。"),
            "別のファイルを選んでください。",
        ),
        FileError::Rows { file, source } => {
            let ErrorText { what, todo } = prefix(source);
            let what = format!("{file}：{}", what.ja);
            return ErrorText::of(&error.to_string(), Part::First("; "), what, todo.ja);
        }
    };
    ErrorText::of(&error.to_string(), Part::Last("; "), what, todo)
}

/// Converts an error of a file of a prefix to a problem.
pub fn prefix_file_problem(error: &FileError) -> Problem {
    Problem::from_text(ProblemKind::File, prefix_file(error))
}

/// Describes an error of the store of imported prefixes.
#[must_use]
pub fn prefix_store(error: &PrefixStoreError) -> ErrorText {
    let (what, todo) = match error {
        PrefixStoreError::NotADigest { digest } => (
            format!("{digest:?} は小文字の 16 進数の SHA-256 ではなく、読み込んだプレフィックスを指していません。"),
            "ファイルをもう一度読み込んでください。",
        ),
        PrefixStoreError::NotFound { digest, folder } => (
            format!("読み込んだプレフィックス {digest} が {folder} にありません。"),
            "そのファイルをもう一度読み込んでください。",
        ),
        PrefixStoreError::Changed { digest, folder, found } => (
            format!(
                "{folder} にあるプレフィックス {digest} のファイルが変わっています（今の行の SHA-256 は {found}）。"
            ),
            "元のファイルをもう一度読み込んでください。",
        ),
        PrefixStoreError::File(error) => return prefix_file(error),
    };
    ErrorText::of(&error.to_string(), Part::Last("; "), what, todo)
}

/// Converts an error of the store of imported prefixes to a problem.
pub fn prefix_store_problem(error: &PrefixStoreError) -> Problem {
    Problem::from_text(ProblemKind::File, prefix_store(error))
}
