//! Checks which LLM unit is installed, whether it runs, and whether all of its libraries are found (set-up guide,
//! sections 2 and 8.1).

use super::super::finding::{Finding, Verdict};
use super::super::remedies;
use super::super::script::Script;
use super::super::ssh::{Ssh, SshError};
use super::READ_LIMIT;
use crate::model::bilingual;

const ID: &str = "unit";
const SECTION: &str = "2";

const SCRIPT: &str = include_str!("unit.sh");

/// Runs `unit.sh` on the module and judges its answer.
///
/// # Errors
/// Those of the connection.
pub async fn run(ssh: &Ssh) -> Result<Finding, SshError> {
    let answer = ssh.run(&Script::new(SCRIPT), READ_LIMIT).await?;
    let units: Vec<&str> = answer.all("unit").collect();
    let missing: Vec<String> = answer
        .all("missing")
        .flat_map(str::lines)
        .map(|line| line.trim().to_owned())
        .filter(|l| !l.is_empty())
        .collect();
    let state = answer.get("state").unwrap_or_default().trim().to_owned();
    let running = state == "active";
    let text = if missing.is_empty() {
        bilingual!(
            "Where llm-sys answers \"unit call false (-9)\", the LLM unit is not running, most often because the loader does not find one of its libraries.",
            "llm-sys が「unit call false (-9)」と答えるのは、LLM ユニットが動いていないときです。多くはライブラリが見つからないことが原因です。"
        )
    } else {
        bilingual!(
            "This is why llm-sys answers \"unit call false (-9)\". Fix the libraries first (sections 3 and 4); then the unit can be started here.",
            "llm-sys が「unit call false (-9)」と答えるのはこのためです。先にライブラリを直してください（3 節と 4 節）。そのあと、ここでユニットを起動できます。"
        )
    };
    let count = missing.len();
    let (verdict, title) = match (units.is_empty(), missing.is_empty(), running) {
        (true, _, _) => (
            Verdict::Broken,
            bilingual!(
                "There is no LLM unit on the module",
                "モジュールに LLM ユニットがありません"
            ),
        ),
        (_, false, _) => (
            Verdict::Broken,
            bilingual!(
                "The LLM unit cannot be loaded (libraries not found: {count})",
                "LLM ユニットを読み込めません（見つからないライブラリ：{count} 件）"
            ),
        ),
        (_, true, true) => (
            Verdict::Good,
            bilingual!(
                "The LLM unit is running, and all of its libraries are found",
                "LLM ユニットは稼働中で、ライブラリもすべて見つかります"
            ),
        ),
        (_, true, false) => (
            Verdict::Broken,
            bilingual!("The LLM unit is not running", "LLM ユニットが動いていません"),
        ),
    };
    let mut finding = Finding::new(ID, SECTION, verdict, title, text);
    for unit in &units {
        finding = finding.fact(bilingual!("unit", "ユニット"), *unit);
    }
    for line in &missing {
        finding = finding.wrong_fact(bilingual!("not found", "見つからない"), line.as_str());
    }
    finding = finding
        .fact(
            bilingual!("service llm-llm", "サービス llm-llm"),
            if state.is_empty() {
                bilingual!("unknown", "不明")
            } else {
                state.into()
            },
        )
        .wrong_if(!running);
    let journal = answer.get("journal").unwrap_or_default().trim();
    if !running && !journal.is_empty() {
        finding = finding.fact(bilingual!("its last messages", "最後のログ"), journal);
    }
    // The checks of the libraries offer the remedies for missing ones; the unit is started afterwards.
    Ok(if !units.is_empty() && missing.is_empty() && !running {
        finding.with_remedy(remedies::start_llm_llm())
    } else {
        finding
    })
}
