//! Checks that the module's own libstdc++ provides what the LLM unit needs, `GLIBCXX_3.4.30` and `CXXABI_1.3.13`
//! (set-up guide, section 3).

use super::super::finding::{Finding, Verdict};
use super::super::remedies::{self, LIBSTDCXX_FOLDER as FOLDER, LIBSTDCXX_SYSTEM as SYSTEM};
use super::super::script::Script;
use super::super::ssh::{Ssh, SshError};
use super::READ_LIMIT;
use crate::model::{Bilingual, bilingual};

const ID: &str = "libstdcxx";
const SECTION: &str = "3";

const SCRIPT: &str = include_str!("libstdcxx.sh");

/// Runs `libstdcxx.sh` on the module and judges its answer.
///
/// # Errors
/// Those of the connection.
pub async fn run(ssh: &Ssh) -> Result<Finding, SshError> {
    let script = Script::new(SCRIPT).with("FOLDER", FOLDER)?.with("SYSTEM", SYSTEM)?;
    let answer = ssh.run(&script, READ_LIMIT).await?;
    let (system, own, whole) = (answer.yes("system"), answer.yes("own"), answer.yes("whole"));
    let kind = answer.get("kind").unwrap_or("none").to_owned();
    let points = answer.get("points").unwrap_or_default().to_owned();
    let state = match (kind.as_str(), whole) {
        ("link", true) => bilingual!("link to {points}", "{points} へのリンク"),
        ("link", false) => bilingual!("broken link to {points}", "{points} へのリンク（切れています）"),
        ("file", _) => bilingual!("a file of its own", "独自のファイル"),
        ("none", _) => bilingual!("missing", "ありません"),
        _ => bilingual!("the folder is missing", "フォルダーがありません"),
    };
    let text = bilingual!(
        "The LLM unit is built for the system's C++ library. A copy in the module's own folder is found first; if it is older or a broken link, the unit cannot start.",
        "LLM ユニットはシステムの C++ ライブラリ向けにビルドされています。モジュール独自の場所にあるものが先に見つかるため、古かったりリンク切れだったりするとユニットが起動できません。"
    );
    let (verdict, title) = match (kind.as_str(), own, system) {
        ("nofolder", _, true) => (
            Verdict::Good,
            bilingual!(
                "The system's libstdc++ is used, and is new enough",
                "システムの libstdc++ が使われ、十分に新しいものです"
            ),
        ),
        (_, true, _) => (
            Verdict::Good,
            bilingual!(
                "libstdc++ has what the unit needs",
                "libstdc++ に必要なシンボルがあります"
            ),
        ),
        ("link", false, _) if !whole => (
            Verdict::Broken,
            bilingual!(
                "The module's libstdc++ is a broken link",
                "モジュールの libstdc++ はリンク切れです"
            ),
        ),
        ("none", false, true) => (
            Verdict::Warning,
            bilingual!(
                "The module's own folder has no libstdc++",
                "モジュール独自の場所に libstdc++ がありません"
            ),
        ),
        (_, false, false) => (
            Verdict::Broken,
            bilingual!(
                "No libstdc++ here is new enough, not even the system's",
                "システムのものも含め、十分に新しい libstdc++ がありません"
            ),
        ),
        _ => (
            Verdict::Broken,
            bilingual!(
                "The module's libstdc++ is too old (GLIBCXX_3.4.30 is missing)",
                "モジュールの libstdc++ が古すぎます（GLIBCXX_3.4.30 がありません）"
            ),
        ),
    };
    let finding = Finding::new(ID, SECTION, verdict, title, text)
        .fact(
            bilingual!("system", "システム"),
            if system {
                bilingual!("{SYSTEM}: has both", "{SYSTEM}：両方のシンボルがあります")
            } else {
                bilingual!("{SYSTEM}: does not have them", "{SYSTEM}：必要なシンボルがありません")
            },
        )
        .wrong_if(!system)
        .fact(
            bilingual!("module", "モジュール"),
            Bilingual {
                en: format!("{FOLDER}/libstdc++.so.6: {}", state.en),
                ja: format!("{FOLDER}/libstdc++.so.6：{}", state.ja),
            },
        )
        .wrong_if(verdict != Verdict::Good);
    // Without a good library to link to, there is no remedy.
    Ok(if verdict != Verdict::Good && system && kind != "nofolder" {
        finding.with_remedy(remedies::relink_libstdcxx())
    } else {
        finding
    })
}
