//! Words for the errors and steps of the ssh connection and the installer, in both languages. The English of an error
//! is its own `Display`.

use super::install::{InstallError, InstallStep, remove_by};
use super::remedy::Ended;
use super::ssh::SshError;
use crate::errors::{because, sentence};
use crate::model::{Bilingual, bilingual};

impl SshError {
    /// Returns the error as a sentence.
    #[must_use]
    pub fn sentence(&self) -> Bilingual {
        let ja = match self {
            Self::BadHost { given } => {
                format!("{given:?} はホスト名ではありません。ssh と同じように「ユーザー@ホスト」で指定してください。")
            }
            Self::Embedded => {
                "内蔵モジュールは本ソフトの一部です。診断は ssh で届くモジュールを調べます。「ユーザー@ホスト」で指定してください。".to_owned()
            }
            Self::CutOff { host, detail } => because(&format!("{host} でスクリプトが最後まで実行されませんでした"), detail)
                + "もう一度診断してください。途中の作業は、その結果が示されるか、元に戻されます。",
            Self::NoShell { host, detail } => because(&format!("{host} でスクリプトを実行できませんでした"), detail)
                + "`sh` を実行できるシェルをアカウントに設定してから、もう一度診断してください。",
            Self::TooMuch { host, mib } => format!(
                "{host} の出力が {mib} MiB を超えました。シェルの起動ファイルが何を出力しているか確かめてから、もう一度診断してください。"
            ),
            Self::NoProgram { detail } => because("このコンピューターに `ssh` がありません", detail)
                + "OpenSSH を入れるか、ポート 10001 だけの診断を使ってください。",
            Self::Denied { host } => format!(
                "{host} が鍵を受け付けません。`ssh-copy-id {host}` で自分の鍵を登録してから、もう一度診断してください。"
            ),
            Self::UnknownHost { host } => format!(
                "{host} はまだ知らない相手です。一度 `ssh {host}` で接続して指紋を確かめてから、もう一度診断してください。"
            ),
            Self::HostKeyChanged { host } => format!(
                "{host} のホスト鍵が前と違います。モジュールを入れ直した場合は `ssh-keygen -R {host}` で古い鍵を消してください。\
                 心当たりがなければ、別の機械が応答しているおそれがあります。先に進まないでください。"
            ),
            Self::Unreachable { host, detail } => because(&format!("{host} に届きません"), detail)
                + "ケーブル、アドレス、モジュールの電源を確かめてください。",
            Self::Lost { host, detail } => because(&format!("{host} との接続が切れました"), detail)
                + "もう一度診断してください。途中の作業はモジュール側で完了するか、元に戻されます。",
            Self::TimedOut { host, seconds } => format!(
                "{host} が {seconds} 秒以内に応答しませんでした。もう一度診断するか、モジュールを再起動してください。"
            ),
            Self::CopyFailed { host, path, detail } => because(&format!("{} を {host} にコピーできませんでした", path.display()), detail)
                + "モジュールの空き容量を確かめてください。",
            Self::Unusable(error) => because("使えない値です", &error.to_string()),
            Self::Cancelled => "指示により停止しました。".to_owned(),
        };
        Bilingual {
            en: sentence(&self.to_string()),
            ja,
        }
    }
}

impl InstallError {
    /// Returns the error as a sentence.
    #[must_use]
    pub fn sentence(&self) -> Bilingual {
        let ja = match self {
            Self::Ssh(error) => return error.sentence(),
            Self::Unreadable { path, source } => because(&format!("{} を読めません", path.display()), &source.to_string())
                + "先にユニットをビルドしてください（assets/GUIDE.ja.md の「モジュール用のユニット」）。",
            Self::WrongMachine { path, built, module } => format!(
                "{} は {built} 用のビルドですが、モジュールは {module} です。モジュール用にビルドしてください。",
                path.display()
            ),
            Self::OldGlibc { path, needed, present } => format!(
                "{} には glibc {needed} が必要ですが、モジュールのものは {present} です。古いシステムに合わせてビルドしてください。",
                path.display()
            ),
            Self::NoSpace { free, needed } => format!(
                "モジュールの空きは {free} バイトで、{needed} バイト必要です。使っていないモデルやパッケージを消してください。"
            ),
            Self::NoService => {
                "モジュールに、置き換える llm-llm サービスがありません。先に M5Stack の LLM パッケージを入れてください。".to_owned()
            }
            Self::NoModel => "モジュールの /opt/m5stack/data/models にモデルカードがないため、どのユニットも動けません。\
                              先にモデルのパッケージを入れてください。"
                .to_owned(),
            Self::BadCopy { found, wanted } => format!(
                "モジュールに届いたコピーの SHA-256 が {wanted} ではなく {found} です。接続を確かめて、もう一度試してください。"
            ),
            Self::NotBegun { why } => {
                because("モジュールでは何も変更していません", why) + "原因を取り除いてから、もう一度試してください。"
            }
            Self::Busy => {
                "モジュールで別の導入または取り外しが進行中です。一分ほど待ってから、もう一度試してください。".to_owned()
            }
            Self::Replaced => {
                "モジュールでは別の導入がこの導入に置き換わりました。どのユニットが動いているか、もう一度診断してください。".to_owned()
            }
            Self::Packaged { program, package } => format!(
                "モジュールの {program} は Debian パッケージ {package} のものです。`dpkg -i` でパッケージを更新するか、先に `dpkg -r {package}` で削除してください。"
            ),
            Self::StillStarted { file, package } => format!(
                "{file} によってサービスが softprefix-unit を起動するため、softprefix-unit は残っています。{}",
                remove_by(file, package).ja
            ),
            Self::Reverted { why, former } => {
                because("入れ替えに失敗し、取り消しました", why) + &former.sentence().ja
            }
            Self::StockStopped { why } => {
                because("softprefix-unit は取り除きましたが、標準ユニットが起動しません", why) + "診断の 2・3・4 節が原因を示します。"
            }
            Self::NotWorking { finding, former } => {
                format!("softprefix-unit は起動しましたが、次の問題がありました：{}。{}", finding.ja.trim_end_matches('。'), former.sentence().ja)
            }
        };
        Bilingual {
            en: sentence(&self.to_string()),
            ja,
        }
    }
}

impl InstallStep {
    /// Returns the words for the step while it runs.
    #[must_use]
    pub fn sentence(&self) -> Bilingual {
        match self {
            Self::Inspecting => bilingual!(
                "Checking processor, glibc, space, service and model",
                "合うか確認中：プロセッサー、glibc、空き容量、サービス、モデル"
            ),
            Self::Copying { bytes } => {
                let mb = format!("{:.1}", *bytes as f64 / 1e6);
                bilingual!(
                    "Copying {mb} MB under a temporary name",
                    "仮の名前で {mb} MB をコピー中"
                )
            }
            Self::Swapping => bilingual!(
                "SHA-256 matches: swapping and starting it",
                "SHA-256 が一致。入れ替えて起動中"
            ),
            Self::Testing => bilingual!(
                "Testing it: setup, baseline, a large prefix",
                "試験中：設定、ベースライン、大きなプレフィックス"
            ),
            Self::Confirmed => bilingual!(
                "It works: confirmed on the module",
                "動作を確認し、モジュールで確定しました"
            ),
            Self::Reverting => bilingual!(
                "It does not work: restoring the stock unit",
                "動作しないため、標準ユニットに戻しています"
            ),
        }
    }
}

impl Ended {
    /// Returns the result as a sentence.
    #[must_use]
    pub fn sentence(self) -> Bilingual {
        match self {
            Self::Done => bilingual!("Done, and verified.", "完了し、確認しました。"),
            Self::Already => bilingual!(
                "It was in effect already; nothing was changed.",
                "すでに適用済みでした。何も変更していません。"
            ),
            Self::Restored => bilingual!(
                "It failed. Its changes were undone.",
                "失敗しました。変更した分は元の状態に戻しました。"
            ),
            Self::Stuck => bilingual!(
                "The previous state could not be restored. The backup is still on the module: see the state of the module and the reason \
                 below, remove the cause, then press Undo (or `--undo`) again.",
                "元の状態に戻せませんでした。バックアップはモジュールに残っています。下の現在の状態と理由を見て、原因を取り除いてから、\
                 もう一度「元に戻す」（または `--undo`）を実行してください。"
            ),
            Self::Undone => bilingual!("Undone: the previous state is restored.", "元に戻しました。"),
            Self::Nothing => bilingual!("There was nothing to undo.", "元に戻すものはありませんでした。"),
            Self::Failed => bilingual!(
                "It could not run; nothing was changed.",
                "実行できませんでした。何も変更していません。"
            ),
        }
    }

    /// Returns the word for the log.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Already => "already",
            Self::Restored => "restored",
            Self::Stuck => "stuck",
            Self::Undone => "undone",
            Self::Nothing => "nothing",
            Self::Failed => "failed",
        }
    }
}
