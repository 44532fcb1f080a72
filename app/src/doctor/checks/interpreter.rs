//! Checks that the loader finds `libax_interpreter.so` (set-up guide, section 4).

use super::super::finding::{Finding, Verdict};
use super::super::remedies;
use super::super::script::Script;
use super::super::ssh::{Ssh, SshError};
use super::READ_LIMIT;
use crate::model::bilingual;

const ID: &str = "interpreter";
const SECTION: &str = "4";

const SCRIPT: &str = include_str!("interpreter.sh");

/// Runs `interpreter.sh` on the module and judges its answer.
///
/// # Errors
/// Those of the connection.
pub async fn run(ssh: &Ssh) -> Result<Finding, SshError> {
    let answer = ssh.run(&Script::new(SCRIPT), READ_LIMIT).await?;
    let registered = answer.yes("registered");
    let whole: Vec<&str> = answer.all("whole").collect();
    let broken: Vec<&str> = answer.all("broken").collect();
    let text = bilingual!(
        "The NPU engine is loaded through the Axera runtime's interpreter. If the loader does not know its folder, the LLM unit ends when it starts.",
        "NPU エンジンは Axera ランタイムのインタープリターを通して読み込まれます。ローダーがその場所を知らないと、LLM ユニットは起動できません。"
    );
    // One folder per line without comments, as ld.so.conf accepts.
    let folder = whole
        .iter()
        .filter_map(|path| path.rsplit_once('/').map(|(folder, _)| folder))
        .find(|folder| {
            !folder.is_empty()
                && !folder.contains(|c: char| c.is_whitespace() || c.is_control() || "#:,=\u{fffd}".contains(c))
        });
    let (verdict, title) = match (registered, whole.is_empty(), folder) {
        (true, _, _) => (
            Verdict::Good,
            bilingual!(
                "The loader finds libax_interpreter.so",
                "ローダーは libax_interpreter.so を見つけられます"
            ),
        ),
        (false, true, _) if !broken.is_empty() => (
            Verdict::Broken,
            bilingual!(
                "libax_interpreter.so is a broken link",
                "libax_interpreter.so はリンク切れです"
            ),
        ),
        (false, true, _) => (
            Verdict::Broken,
            bilingual!(
                "libax_interpreter.so is nowhere on the module: install its runtime packages again",
                "libax_interpreter.so がモジュールのどこにもありません。ランタイムのパッケージを入れ直してください"
            ),
        ),
        (false, false, Some(_)) => (
            Verdict::Broken,
            bilingual!(
                "libax_interpreter.so is there, but the loader does not know its folder",
                "libax_interpreter.so はありますが、ローダーがその場所を知りません"
            ),
        ),
        (false, false, None) => (
            Verdict::Broken,
            bilingual!(
                "libax_interpreter.so is in a folder whose name ldconfig cannot use: move it",
                "libax_interpreter.so が ldconfig に登録できない名前のフォルダーにあります。移動してください"
            ),
        ),
    };
    let mut finding = Finding::new(ID, SECTION, verdict, title, text)
        .fact(
            bilingual!("ldconfig", "ldconfig"),
            if registered {
                answer.get("entry").unwrap_or_default().trim().into()
            } else {
                bilingual!("not registered", "登録されていません")
            },
        )
        .wrong_if(!registered);
    for path in whole {
        finding = finding.fact(bilingual!("found", "場所"), path);
    }
    for path in broken {
        finding = finding.wrong_fact(bilingual!("broken link", "リンク切れ"), path);
    }
    Ok(match folder {
        Some(folder) if !registered => finding.with_remedy(remedies::register_interpreter(folder.to_owned())),
        _ => finding,
    })
}
