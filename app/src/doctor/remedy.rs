//! Remedies: what is changed on a module, with a backup first, a verification afterwards, and a way back.
//!
//! A remedy is four constant pieces of shell (backup, commands, verify, restore) in a frame that is the same for all. The commands that
//! the person is shown are the ones that run. On the module, `/var/lib/softprefix/doctor/ID` holds the backup, so that another computer can
//! undo; a remedy that is cut off is taken back by whoever comes next.

use serde::Serialize;
use std::time::Duration;

use super::script::{Script, UnusableValue};
use super::ssh::{Answer, Ssh, SshError};
use crate::model::{Said, said};

/// A change to a module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Remedy {
    /// What `--fix` and `--undo` take.
    pub id: &'static str,
    /// What the button says: "Relink libstdc++".
    pub title: Said,
    /// What will be changed, and what can be undone.
    pub effect: Said,
    /// Values that the commands use, as shown above them.
    pub variables: Vec<(&'static str, String)>,
    #[serde(flatten)]
    pub pieces: Pieces,
    /// Whether `undo` gives back what was there before.
    pub undoable: bool,
    #[serde(skip)]
    pub limit: Duration,
}

/// The shell of a remedy. `$B` is its backup folder, `$TS` the time; a failing command ends it and restores.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Pieces {
    /// Keeps what the commands will change. Runs first, changes nothing else.
    pub backup: &'static str,
    /// The change itself, as the person is shown it.
    pub commands: &'static str,
    /// Succeeds if the change is in effect. Also asked first: what is already so is left alone.
    pub verify: &'static str,
    /// Gives back what the backup holds; also right where only a part of the commands ran.
    pub restore: &'static str,
    #[serde(skip)]
    pub(super) apply: &'static str,
    #[serde(skip)]
    pub(super) undo: &'static str,
}

/// Puts the four pieces into the frame, at compile time: a script's body stays a constant.
macro_rules! pieces {
    (backup: $backup:literal, commands: $commands:literal, verify: $verify:literal, restore: $restore:literal $(,)?) => {
        $crate::doctor::remedy::Pieces {
            backup: $backup,
            commands: $commands,
            verify: $verify,
            restore: $restore,
            apply: concat!(
                r#"
umask 022
trap '' HUP PIPE
STATE="/var/lib/softprefix/doctor/$ID"; B="$STATE/backup"
mkdir -p "$STATE" || { say result failed; say folder "$STATE"; return 1; }
if command -v flock >/dev/null 2>&1; then
    exec 9>"$STATE/lock"
    flock -n 9 || { say result failed; say busy yes; return 1; }
fi
TS=$(date +%Y%m%d_%H%M%S)
restore() ( set -e; "#,
                $restore,
                r#"
)
verify() ( set -eu; "#,
                $verify,
                r#"
)
work() ( set -eux
"#,
                $backup,
                "\n",
                $commands,
                r#"
)
LOG="$STATE/log"
if [ -e "$STATE/pending" ]; then
    echo "$TS an earlier run was cut off: taking it back" >>"$LOG"
    restore >"$STATE/back" 2>&1; code=$?
    cat "$STATE/back" >>"$LOG"
    if [ "$code" != 0 ]; then say result stuck; say why "$(tail -n 4 "$STATE/back")"; say backup "$B"; return 1; fi
    rm -f "$STATE/pending"; rm -rf "$B"
fi
# Not inside a condition: there a shell passes over failing commands.
verify >>"$LOG" 2>&1; code=$?
if [ "$code" = 0 ]; then say result already; return 0; fi
if [ -e "$B" ]; then mv "$B" "$B.$TS"; fi
mkdir -p "$B" || { say result failed; say folder "$B"; return 1; }
echo "$TS apply" >>"$LOG"
: >"$STATE/pending"
: >"$STATE/last"
work >>"$STATE/last" 2>&1; code=$?
cat "$STATE/last" >>"$LOG"
if [ "$code" = 0 ]; then verify >>"$STATE/last" 2>&1; code=$?; fi
if [ "$code" = 0 ]; then
    mv "$STATE/pending" "$STATE/applied"; sync
    say result done
else
    why=$(tail -n 4 "$STATE/last")
    restore >"$STATE/back" 2>&1; code=$?
    cat "$STATE/back" >>"$LOG"
    if [ "$code" = 0 ]; then
        rm -f "$STATE/pending"; rm -rf "$B"; sync
        say result restored
        say why "$why"
    else
        # The backup and the mark stay: the next run or undo tries again.
        sync
        say result stuck
        say why "$why
$(tail -n 4 "$STATE/back")"
        say backup "$B"
    fi
fi
say log "$(cat "$STATE/last")"
"#
            ),
            undo: concat!(
                r#"
umask 022
trap '' HUP PIPE
STATE="/var/lib/softprefix/doctor/$ID"; B="$STATE/backup"
if [ ! -e "$STATE/applied" ] && [ ! -e "$STATE/pending" ]; then say result nothing; return 0; fi
if command -v flock >/dev/null 2>&1; then
    exec 9>"$STATE/lock"
    flock -n 9 || { say result failed; say busy yes; return 1; }
fi
restore() ( set -ex
"#,
                $restore,
                r#"
)
: >"$STATE/last"
restore >>"$STATE/last" 2>&1; code=$?
{ date "+%Y%m%d_%H%M%S undo"; cat "$STATE/last"; } >>"$STATE/log"
if [ "$code" = 0 ]; then rm -f "$STATE/applied" "$STATE/pending"; rm -rf "$B"; sync; say result undone
else say result stuck; say why "$(tail -n 4 "$STATE/last")"; say backup "$B"; fi
say log "$(cat "$STATE/last")"
"#
            ),
        }
    };
}
pub(crate) use pieces;

/// How a remedy or its undoing ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ended {
    /// In effect, and verified.
    Done,
    /// It was in effect already; nothing was changed.
    Already,
    /// It failed, and what it had changed was given back.
    Restored,
    /// Giving back what was there before failed, after a failure or when it was asked for. The backup is still on the module.
    Stuck,
    /// What was there before is back.
    Undone,
    /// There was nothing to undo.
    Nothing,
    /// It failed before it could change anything.
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

/// What a remedy did, for the person and the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Outcome {
    pub ended: Ended,
    /// Why it failed, in the commands' own last words.
    pub why: Option<Said>,
    /// The commands as they ran, with their output.
    pub log: String,
}

impl Remedy {
    fn script(&self, body: &'static str) -> Result<Script, UnusableValue> {
        let mut script = Script::new(body).with("ID", self.id)?;
        for (name, value) in &self.variables {
            script = script.with(name, value.clone())?;
        }
        Ok(script)
    }

    /// The commands with their variables, as text to read or to copy.
    #[must_use]
    pub fn shown(&self) -> String {
        let variables: String = self
            .variables
            .iter()
            .map(|(name, value)| format!("{name}={}\n", super::script::quote(value)))
            .collect();
        let commands = dedent(self.pieces.commands);
        let place = if commands.contains("$B/") {
            format!("B=/var/lib/softprefix/doctor/{}/backup\n", self.id)
        } else {
            String::new()
        };
        let time = if commands.contains("$TS") {
            "TS=$(date +%Y%m%d_%H%M%S)\n"
        } else {
            ""
        };
        format!("{variables}{place}{time}{commands}")
    }

    /// Applies the remedy: backup, commands, verification; gives back what it moved where one of them fails.
    ///
    /// # Errors
    /// [`SshError`] where the connection failed; the module then finishes or restores by itself.
    pub async fn apply(&self, ssh: &Ssh) -> Result<Outcome, SshError> {
        Ok(outcome(&ssh.run(&self.script(self.pieces.apply)?, self.limit).await?))
    }

    /// Gives back what was there before.
    ///
    /// # Errors
    /// As [`apply`](Self::apply).
    pub async fn undo(&self, ssh: &Ssh) -> Result<Outcome, SshError> {
        Ok(outcome(&ssh.run(&self.script(self.pieces.undo)?, self.limit).await?))
    }
}

fn outcome(answer: &Answer) -> Outcome {
    let ended = match answer.get("result") {
        Some("done") => Ended::Done,
        Some("already") => Ended::Already,
        Some("restored") => Ended::Restored,
        Some("stuck") => Ended::Stuck,
        Some("undone") => Ended::Undone,
        Some("nothing") => Ended::Nothing,
        _ => Ended::Failed,
    };
    let why = if answer.yes("busy") {
        Some(said!(
            "the same remedy is running already",
            "同じ作業がすでに実行中です"
        ))
    } else if let Some(folder) = answer.get("folder") {
        Some(said!(
            "the folder {folder} cannot be written",
            "フォルダー {folder} に書けません"
        ))
    } else if let Some(why) = answer.get("why") {
        Some(match answer.get("backup") {
            Some(backup) => said!(
                "{why}\nthe backup on the module: {backup}",
                "{why}\nモジュール上のバックアップ：{backup}"
            ),
            None => why.into(),
        })
    } else if ended != Ended::Failed {
        None
    } else if answer.errors.is_empty() {
        Some(said!("it gave no reason", "理由は示されませんでした"))
    } else {
        Some(answer.errors.as_str().into())
    };
    Outcome {
        ended,
        why,
        log: answer.get("log").unwrap_or_default().to_owned(),
    }
}

/// Removes the indentation that the source gives the commands.
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
