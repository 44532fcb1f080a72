//! Checks `tokens_embed_size` (H) of every model card against what the workbench uses (set-up guide, section 7).

use serde_json::Value;

use super::super::finding::{Finding, Verdict};
use super::super::script::Script;
use super::super::ssh::{Ssh, SshError};
use super::READ_LIMIT;
use crate::model::bilingual;

const ID: &str = "hidden-size";
const SECTION: &str = "7";

const SCRIPT: &str = include_str!("cards.sh");

/// `in_use` is the model and H that the workbench is connected with.
///
/// # Errors
/// Those of the connection.
pub async fn run(ssh: &Ssh, in_use: Option<(&str, usize)>) -> Result<Finding, SshError> {
    let answer = ssh.run(&Script::new(SCRIPT), READ_LIMIT).await?;
    let mut cards = Vec::new();
    for (file, text) in answer.all("file").zip(answer.all("text")) {
        cards.push((file.to_owned(), hidden_size(text)));
    }
    let text = bilingual!(
        "A prefix is P rows of tokens_embed_size values. A patched stock unit silently ignores a prefix of the wrong width.",
        "プレフィックスは tokens_embed_size 個の値が P 行です。隠れ層の幅が違うと、パッチ済みの標準ユニットは何も言わずに無視します。"
    );
    let matching = |model: &str| {
        cards.iter().find(|(file, _)| {
            file.rsplit('/')
                .next()
                .is_some_and(|name| name == format!("mode_{model}.json"))
        })
    };
    let unreadable = cards.iter().filter(|(_, h)| h.is_none()).count();
    let count = cards.len();
    let (verdict, title) = match in_use {
        _ if cards.is_empty() => (
            Verdict::Broken,
            bilingual!(
                "There is no model card with tokens_embed_size",
                "tokens_embed_size を持つモデルカードがありません"
            ),
        ),
        Some((model, used)) if matching(model).is_some_and(|(_, h)| h.is_some_and(|h| h != used)) => (
            Verdict::Broken,
            bilingual!(
                "The workbench uses H {used} for {model}, but its card says otherwise",
                "本ソフトは {model} に H {used} を使っていますが、カードの値と違います"
            ),
        ),
        _ if unreadable > 0 => (
            Verdict::Warning,
            bilingual!(
                "{unreadable} of {count} model cards cannot be read",
                "モデルカード {count} 件のうち {unreadable} 件が読めません"
            ),
        ),
        Some((model, used)) if matching(model).is_none() => (
            Verdict::Warning,
            bilingual!(
                "The workbench uses H {used} for {model}, and no card has that name",
                "本ソフトは {model} に H {used} を使っていますが、その名前のカードがここにありません"
            ),
        ),
        Some((model, used)) => (
            Verdict::Good,
            bilingual!(
                "H is {used} for {model}, as its card says",
                "{model} の H は {used} で、カードと一致しています"
            ),
        ),
        None => (
            Verdict::Good,
            bilingual!(
                "{count} model cards give their hidden size",
                "モデルカード {count} 件に hidden size があります"
            ),
        ),
    };
    let mut finding = Finding::new(ID, SECTION, verdict, title, text);
    for (file, h) in &cards {
        let shown = h.map_or_else(|| bilingual!("not readable", "読めません"), |h| format!("H {h}").into());
        let wrong = h.is_none()
            || in_use.is_some_and(|(model, used)| file.ends_with(&format!("/mode_{model}.json")) && *h != Some(used));
        finding = finding.fact(file.as_str().into(), shown).wrong_if(wrong);
    }
    Ok(finding)
}

/// Returns H of a card, from `mode_param` or the top level (a model's own JSON file has no `mode_param`).
fn hidden_size(text: &str) -> Option<usize> {
    let card: Value = serde_json::from_str(text).ok()?;
    let value = card
        .get("mode_param")
        .and_then(|p| p.get("tokens_embed_size"))
        .or_else(|| card.get("tokens_embed_size"))?;
    usize::try_from(value.as_u64()?).ok().filter(|h| *h > 0)
}

#[cfg(test)]
mod tests {
    use super::hidden_size;

    #[test]
    fn the_hidden_size_is_read_from_either_place() {
        assert_eq!(hidden_size(r#"{"mode_param":{"tokens_embed_size":896}}"#), Some(896));
        assert_eq!(hidden_size(r#"{"tokens_embed_size":1536}"#), Some(1536));
        for bad in [
            "",
            "{",
            "{}",
            r#"{"tokens_embed_size":"896"}"#,
            r#"{"tokens_embed_size":-1}"#,
            r#"{"tokens_embed_size":0}"#,
        ] {
            assert_eq!(hidden_size(bad), None, "{bad}");
        }
    }
}
