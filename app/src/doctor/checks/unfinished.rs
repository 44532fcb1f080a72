//! Checks whether the doctor or the installer was interrupted while changing the module, for example by a power cut.

use super::super::finding::{Finding, Verdict};
use super::super::script::Script;
use super::super::ssh::{Ssh, SshError};
use super::READ_LIMIT;
use crate::model::bilingual;

const ID: &str = "unfinished";
const SECTION: &str = "0";

const SCRIPT: &str = include_str!("unfinished.sh");

/// Returns `None` if no change is unfinished.
///
/// # Errors
/// Those of the connection.
pub async fn run(ssh: &Ssh) -> Result<Option<Finding>, SshError> {
    let answer = ssh.run(&Script::new(SCRIPT), READ_LIMIT).await?;
    let remedies: Vec<&str> = answer.all("remedy").collect();
    let installation = answer.yes("installation");
    if remedies.is_empty() && !installation {
        return Ok(None);
    }
    let mut finding = Finding::new(
        ID,
        SECTION,
        Verdict::Warning,
        bilingual!(
            "A change on the module was interrupted",
            "モジュールで変更が途中で止まっています"
        ),
        bilingual!(
            "Every file is complete, in its old or its new state. The command beside each restores the old state.",
            "どのファイルも、変更前か変更後の完全な状態です。それぞれのコマンドで変更前の状態に戻せます。"
        ),
    );
    for id in remedies {
        finding = finding.wrong_fact(id.into(), format!("softprefix doctor HOST --undo {id}"));
    }
    if installation {
        finding = finding.wrong_fact(
            bilingual!("an unconfirmed installation", "確定されていない導入"),
            "softprefix uninstall HOST",
        );
    }
    Ok(Some(finding))
}
