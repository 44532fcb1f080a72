//! Remedies: changes to a module, with a backup first, a verification afterwards, and an undo.
//!
//! A remedy is a shell file with five functions (backup, change, verify, restored, restore), which runs inside a common
//! frame. The commands shown to the user are the ones that run. `/var/lib/softprefix/doctor/ID` on the module holds the
//! backup, so that another computer can undo the change; a remedy that was interrupted is reverted by the next call.

use serde::Serialize;
use serde::ser::{SerializeMap as _, Serializer};
use std::time::Duration;

use super::script::{Script, UnusableValue};
use super::ssh::{Answer, Ssh, SshError};
use crate::model::{Bilingual, bilingual};

/// A change to a module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Remedy {
    /// The name that `--fix` and `--undo` take.
    pub id: &'static str,
    /// Label of the button: "Point libstdc++ to the system's".
    pub title: Bilingual,
    /// What will be changed, and what can be undone.
    pub effect: Bilingual,
    /// Values of the variables in the commands, shown above them.
    pub variables: Vec<(&'static str, String)>,
    #[serde(flatten)]
    pub shell: Shell,
    /// Whether `undo` restores the previous state.
    pub undoable: bool,
    #[serde(skip)]
    /// How long its script may run.
    pub limit: Duration,
}

/// The shell script of a remedy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shell {
    /// The file with the five functions.
    pub file: &'static str,
    /// The file inside the frame: the text that runs.
    pub(super) body: &'static str,
}

impl Shell {
    /// Returns the commands of the change, for display: the body of the function `change`.
    #[must_use]
    pub fn commands(&self) -> String {
        function(self.file, "change")
    }
}

impl Serialize for Shell {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(2))?;
        map.serialize_entry("commands", &self.commands())?;
        map.serialize_entry("script", self.file)?;
        map.end()
    }
}

/// The result of applying or undoing a remedy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ended {
    /// Applied and verified.
    Done,
    /// Already applied; nothing was changed.
    Already,
    /// Failed, and the previous state was restored.
    Restored,
    /// The previous state could not be restored, after a failure or on request. The backup is still on the module.
    Stuck,
    /// The previous state was restored on request.
    Undone,
    /// There was nothing to undo.
    Nothing,
    /// Failed before anything was changed.
    Failed,
}

impl Ended {
    pub const ALL: [Self; 7] = [
        Self::Done,
        Self::Already,
        Self::Restored,
        Self::Stuck,
        Self::Undone,
        Self::Nothing,
        Self::Failed,
    ];
}

/// What a remedy did, for display and for the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RemedyOutcome {
    pub ended: Ended,
    /// Why it failed: the last output of its commands.
    pub why: Option<Bilingual>,
    /// The commands as they ran, with their output.
    pub log: String,
}

impl Remedy {
    fn script(&self, act: &'static str) -> Result<Script, UnusableValue> {
        let mut script = Script::new(self.shell.body).with("ID", self.id)?.with("ACT", act)?;
        for (name, value) in &self.variables {
            script = script.with(name, value.clone())?;
        }
        Ok(script)
    }

    /// Returns the commands with their variables, to read or copy.
    #[must_use]
    pub fn shown(&self) -> String {
        let variables: String = self
            .variables
            .iter()
            .map(|(name, value)| format!("{name}={}\n", super::script::quote(value)))
            .collect();
        let commands = self.shell.commands();
        let time = if commands.contains("$TS") {
            "TS=$(date +%Y%m%d_%H%M%S)\n"
        } else {
            ""
        };
        format!("{variables}{time}{commands}")
    }

    /// Applies the remedy: backup, commands, verification; restores the previous state if one of them fails.
    ///
    /// # Errors
    /// [`SshError`] if the connection failed and the module cannot be asked for the result; the remedy finishes on the
    /// module, or the next call reverts it.
    pub async fn apply(&self, ssh: &Ssh) -> Result<RemedyOutcome, SshError> {
        self.carry_out(ssh, "apply", "settle-apply").await
    }

    /// Restores the previous state.
    ///
    /// # Errors
    /// As [`apply`](Self::apply).
    pub async fn undo(&self, ssh: &Ssh) -> Result<RemedyOutcome, SshError> {
        self.carry_out(ssh, "undo", "settle-undo").await
    }

    /// Runs a script; if its answer is lost, asks the module for the result or has it reverted.
    async fn carry_out(&self, ssh: &Ssh, act: &'static str, settle: &'static str) -> Result<RemedyOutcome, SshError> {
        let answer = match ssh.run(&self.script(act)?, self.limit).await {
            Err(error @ (SshError::Lost { .. } | SshError::CutOff { .. } | SshError::TimedOut { .. })) => {
                match ssh.run(&self.script(settle)?, self.limit).await {
                    Ok(answer) if !answer.yes("busy") => answer,
                    _ => return Err(error),
                }
            }
            other => other?,
        };
        Ok(outcome(&answer))
    }
}

fn outcome(answer: &Answer) -> RemedyOutcome {
    let ended = match answer.get("result") {
        Some("done") => Ended::Done,
        Some("already") => Ended::Already,
        Some("restored") => Ended::Restored,
        Some("stuck") => Ended::Stuck,
        Some("undone") => Ended::Undone,
        Some("nothing") => Ended::Nothing,
        _ => Ended::Failed,
    };
    let why = answer.get("why").map(str::trim).filter(|why| !why.is_empty());
    let why = if answer.yes("busy") {
        Some(bilingual!(
            "the same remedy is running already",
            "同じ作業がすでに実行中です"
        ))
    } else if let Some(folder) = answer.get("folder") {
        Some(bilingual!(
            "the folder {folder} cannot be written",
            "フォルダー {folder} に書けません"
        ))
    } else if let Some(backup) = answer.get("backup") {
        let why = why.unwrap_or_default();
        let state = match answer.get("state") {
            Some("old") => bilingual!("the module is as it was before", "モジュールは変更前の状態です"),
            Some("new") => bilingual!("the change is in effect, as a whole", "変更は全体が有効なままです"),
            _ => bilingual!("the change is in effect in part", "変更の一部だけが有効です"),
        };
        let (en, ja) = (state.en, state.ja);
        Some(bilingual!(
            "{en}\n{why}\nthe backup on the module: {backup}",
            "{ja}\n{why}\nモジュール上のバックアップ：{backup}"
        ))
    } else if let Some(why) = why {
        Some(why.into())
    } else if ended != Ended::Failed {
        None
    } else if answer.errors.is_empty() {
        Some(bilingual!("it gave no reason", "理由は示されませんでした"))
    } else {
        Some(answer.errors.as_str().into())
    };
    RemedyOutcome {
        ended,
        why,
        log: answer.get("log").unwrap_or_default().trim().to_owned(),
    }
}

/// Returns the commands inside a function of a script, for display.
pub(super) fn function(script: &str, name: &str) -> String {
    let start = format!("\n{name}() {{\n");
    let inside = script.split_once(&start).and_then(|(_, rest)| rest.split_once("\n}\n"));
    inside.map_or_else(String::new, |(inside, _)| dedent(inside))
}

/// Removes the common indentation.
fn dedent(text: &str) -> String {
    let lines: Vec<&str> = text.lines().skip_while(|line| line.trim().is_empty()).collect();
    let indent = lines
        .iter()
        .filter(|l| !l.trim().is_empty())
        .map(|l| l.len() - l.trim_start().len())
        .min()
        .unwrap_or(0);
    let lines: Vec<&str> = lines.iter().map(|line| line.get(indent..).unwrap_or("")).collect();
    lines.join("\n").trim_end().to_owned()
}
