//! Checks that the `llm-sys` service runs and that port 10001 is open (set-up guide, section 0.1).

use super::super::finding::{Finding, Verdict};
use super::super::remedies;
use super::super::script::Script;
use super::super::ssh::{Ssh, SshError};
use super::READ_LIMIT;
use crate::model::bilingual;

const ID: &str = "service";
const SECTION: &str = "0.1";

const SCRIPT: &str = include_str!("service.sh");

/// Runs `service.sh` on the module and judges its answer.
///
/// # Errors
/// Those of the connection.
pub async fn run(ssh: &Ssh) -> Result<Finding, SshError> {
    let answer = ssh.run(&Script::new(SCRIPT), READ_LIMIT).await?;
    let state = answer.get("state").unwrap_or("unknown").trim().to_owned();
    let listens = answer.yes("listener");
    let running = state == "active";
    let (verdict, title) = match (running, listens) {
        (true, true) => (
            Verdict::Good,
            bilingual!(
                "llm-sys is running and listens on 10001",
                "llm-sys は稼働中で、10001 番で待ち受けています"
            ),
        ),
        (true, false) => (
            Verdict::Broken,
            bilingual!(
                "llm-sys is running but does not listen on 10001",
                "llm-sys は稼働中ですが、10001 番で待ち受けていません"
            ),
        ),
        (false, true) => (
            Verdict::Warning,
            bilingual!(
                "Something listens on 10001, but not the llm-sys service",
                "10001 番は使われていますが、llm-sys サービスではありません"
            ),
        ),
        (false, false) => (
            Verdict::Broken,
            bilingual!("llm-sys is not running", "llm-sys が動いていません"),
        ),
    };
    let text = bilingual!(
        "Everything passes through llm-sys: it takes JSON on TCP port 10001 and hands it to the LLM unit.",
        "すべての通信は llm-sys を通ります。TCP 10001 番で JSON を受け取り、LLM ユニットに渡します。"
    );
    let mut finding = Finding::new(ID, SECTION, verdict, title, text)
        .fact(bilingual!("service", "サービス"), state)
        .wrong_if(!running)
        .fact(
            bilingual!("port 10001", "ポート 10001"),
            if listens {
                bilingual!("listening", "待ち受け中")
            } else {
                bilingual!("closed", "閉じています")
            },
        )
        .wrong_if(!listens);
    let journal = answer.get("journal").unwrap_or_default().trim();
    if !running && !journal.is_empty() {
        finding = finding.fact(bilingual!("its last messages", "最後のログ"), journal);
    }
    Ok(if running {
        finding
    } else {
        finding.with_remedy(remedies::start_llm_sys())
    })
}
