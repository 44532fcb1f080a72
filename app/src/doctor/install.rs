//! Puts the injector unit on a module in place of the stock one, and gives the stock one back.
//!
//! The stock binary and its service stay untouched: our binary lies beside it, and a drop-in file lets the service `llm-llm` start
//! ours, so that what depends on the service goes on working. Writing or removing that one file is the whole swap. The module is never
//! left alone with a unit that does not work: until the workbench has confirmed an inference, a watch on the module itself takes the
//! swap back after a while, also if the cable is pulled.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

use super::checks::{CHANGE_LIMIT, READ_LIMIT};
use super::finding::{Finding, Verdict};
use super::script::Script;
use super::ssh::{Answer, Ssh, SshError};
use super::talk::{self, Talk};
use crate::model::{Said, said};

const UPLOAD: &str = "/var/lib/softprefix/install/unit.part";
/// Free space asked for beyond twice the binary.
const SPARE: u64 = 8 << 20;
/// Between two questions whether the unit is up.
const AGAIN: Duration = Duration::from_millis(700);

/// Why the injector was not installed. The stock unit is in place in every case.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    #[error(transparent)]
    Ssh(#[from] SshError),
    #[error("{path} cannot be read: {source}; build the unit first (see the README's aarch64 section)")]
    Unreadable { path: PathBuf, source: std::io::Error },
    #[error("{path} is built for {built}, the module is {module}; build it for the module")]
    WrongMachine {
        path: PathBuf,
        built: String,
        module: String,
    },
    #[error("{path} needs glibc {needed}, the module has {present}; build it against an older system")]
    OldGlibc {
        path: PathBuf,
        needed: String,
        present: String,
    },
    #[error("the module has {free} bytes free, {needed} are needed; remove models or packages that are not used")]
    NoSpace { free: u64, needed: u64 },
    #[error("the module has no service llm-llm to take the place of; install M5Stack's LLM packages first")]
    NoService,
    #[error(
        "the module has no model card in /opt/m5stack/data/models, so no unit could work there; install a model package first"
    )]
    NoModel,
    #[error("the copy on the module has the SHA-256 {found}, not {wanted}; check the connection and try again")]
    BadCopy { found: String, wanted: String },
    #[error("the swap failed and was taken back ({why}); {}", stock.said().en)]
    TakenBack { why: String, stock: Former },
    #[error("the injector was started, but this was found: {}; {}", finding.en.trim_end_matches('.'), stock.said().en)]
    NotWorking { finding: Said, stock: Former },
    #[error(
        "the injector is removed, but the stock unit does not start ({why}); the doctor's checks 2, 3 and 4 say what it lacks"
    )]
    StockStopped { why: String },
}

/// How the unit that was there before stands after a swap was taken back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Former {
    Running,
    /// In place, but its service is not active.
    Stopped,
    /// The module did not say.
    Unknown,
}

impl Former {
    fn of(answer: &Answer) -> Self {
        match answer.get("former") {
            Some("running") => Self::Running,
            Some(_) => Self::Stopped,
            None => Self::Unknown,
        }
    }

    /// The end of the sentence.
    #[must_use]
    pub fn said(self) -> Said {
        match self {
            Self::Running => said!(
                "the unit from before is back in place and running",
                "前のユニットに戻し、動いています。"
            ),
            Self::Stopped => said!(
                "the unit from before is back in place but does not start: the doctor's checks 2, 3 and 4 say what it lacks",
                "前のユニットに戻しましたが、起動しません。診断の 2・3・4 節が原因を示します。"
            ),
            Self::Unknown => said!(
                "the module gives the unit from before back by itself within minutes: check again then",
                "モジュールが数分以内に自分で前のユニットに戻します。そのあと、もう一度診断してください。"
            ),
        }
    }
}

const LOOK: &str = r#"
say machine "$(uname -m)"
say glibc "$(ldd --version 2>/dev/null | head -n 1 | grep -oE '[0-9]+\.[0-9]+$')"
say free "$(df -Pk /opt 2>/dev/null | awk 'NR == 2 {print $4}')"
if [ -e /etc/systemd/system/llm-llm.service ] || [ -e /lib/systemd/system/llm-llm.service ] || [ -e /usr/lib/systemd/system/llm-llm.service ]
then say service yes; else say service no; fi
say models "$(ls /opt/m5stack/data/models/mode_*.json 2>/dev/null | wc -l)"
mkdir -p /var/lib/softprefix/install && rm -f /var/lib/softprefix/install/unit.part
"#;

/// What the installation runs on the module, once the copy is there; the person is shown the same text.
macro_rules! commands {
    () => {
        r#"    chmod 755 "$S/unit.part"
    "$S/unit.part" --version
    cp -p "$S/unit.part" "$NEW.new"
    mkdir -p "$D"
    mv "$NEW.new" "$NEW"
    { echo '[Service]'; echo 'ExecStart='; echo "ExecStart=$NEW --bus"; } >"$S/dropin.new"
    mv "$S/dropin.new" "$D/softprefix.conf"
    systemctl daemon-reload
    systemctl restart llm-llm
    systemctl is-active --quiet llm-llm
"#
    };
}

/// The commands of an installation, to read.
#[must_use]
pub fn shown() -> String {
    let places = "S=/var/lib/softprefix/install\nD=/etc/systemd/system/llm-llm.service.d\nNEW=/opt/m5stack/bin/softprefix-unit\n";
    let commands: Vec<&str> = commands!().lines().map(str::trim_start).collect();
    format!("{places}{}", commands.join("\n"))
}

/// The commands that give the stock unit back, to read.
pub const UNDO_SHOWN: &str =
    "rm -f /etc/systemd/system/llm-llm.service.d/softprefix.conf\nsystemctl daemon-reload\nsystemctl restart llm-llm";

// One rename puts the drop-in in place. The watch is a process of its own: whatever happens to the connection, it ends with either
// a confirmation or the stock unit.
const SWAP: &str = concat!(
    r#"
umask 022
trap '' HUP PIPE
S=/var/lib/softprefix/install
D=/etc/systemd/system/llm-llm.service.d
NEW=/opt/m5stack/bin/softprefix-unit
found=$(sha256sum "$S/unit.part" | cut -d' ' -f1)
if [ "$found" != "$SHA" ]; then rm -f "$S/unit.part"; say result badcopy; say found "$found"; return 0; fi
rm -f "$S/confirmed" "$S/old-dropin" "$S/old-unit"
if [ -e "$NEW" ]; then cp -p "$NEW" "$S/old-unit"; fi
if [ -e "$D/softprefix.conf" ]; then cp -p "$D/softprefix.conf" "$S/old-dropin"; fi
cat >"$S/back" <<'BACK'
S=/var/lib/softprefix/install
D=/etc/systemd/system/llm-llm.service.d
NEW=/opt/m5stack/bin/softprefix-unit
if [ -e "$S/old-dropin" ]; then cp -p "$S/old-dropin" "$S/dropin.back" && mv "$S/dropin.back" "$D/softprefix.conf"
else rm -f "$D/softprefix.conf"; rmdir "$D" 2>/dev/null; fi
if [ -e "$S/old-unit" ]; then cp -p "$S/old-unit" "$NEW.back" && mv "$NEW.back" "$NEW"; else rm -f "$NEW"; fi
systemctl daemon-reload
systemctl restart llm-llm
rm -f "$S/watch"
BACK
work() ( set -eu
"#,
    commands!(),
    r#"
)
: >"$S/watch"
work >"$S/last" 2>&1; code=$?
if [ "$code" != 0 ]; then
    sh "$S/back" >>"$S/last" 2>&1
    rm -f "$S/unit.part"
    if systemctl is-active --quiet llm-llm; then say former running; else say former stopped; fi
    say result back; say why "$(tail -n 4 "$S/last")"; return 0
fi
setsid sh -c 'sleep "$1"; if [ ! -e "$2/confirmed" ] && [ -e "$2/watch" ]; then sh "$2/back"; fi' watch "$WATCH" "$S" >/dev/null 2>&1 </dev/null &
rm -f "$S/unit.part"; sync
say result swapped
"#
);

const CONFIRM: &str = r#"
S=/var/lib/softprefix/install
if [ -e "$S/watch" ]; then : >"$S/confirmed"; rm -f "$S/watch" "$S/old-unit" "$S/old-dropin"; sync; say result confirmed; else say result late; fi
"#;

const BACK: &str = r#"
trap '' HUP PIPE
S=/var/lib/softprefix/install
if [ -e "$S/watch" ]; then sh "$S/back" >"$S/last" 2>&1; say result back; else say result nothing; fi
if systemctl is-active --quiet llm-llm; then say former running; else say former stopped; fi
"#;

const UNINSTALL: &str = r#"
trap '' HUP PIPE
D=/etc/systemd/system/llm-llm.service.d
if [ ! -e "$D/softprefix.conf" ]; then say result nothing; return 0; fi
rm -f "$D/softprefix.conf"; rmdir "$D" 2>/dev/null
systemctl daemon-reload
systemctl restart llm-llm; code=$?
rm -f /opt/m5stack/bin/softprefix-unit /var/lib/softprefix/install/old-dropin /var/lib/softprefix/install/old-unit
sync
if [ "$code" = 0 ] && systemctl is-active --quiet llm-llm; then say result removed
else say result stopped; say why "$(systemctl status llm-llm --no-pager 2>&1 | tail -n 4)"; fi
"#;

/// One step of an installation, as it is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    Looking,
    Copying { bytes: u64 },
    Swapping,
    Trying,
    Confirmed,
    TakingBack,
}

/// What to install, and how the result is tried.
#[derive(Debug, Clone)]
pub struct Installation {
    /// The unit's binary, built for the module.
    pub unit: PathBuf,
    /// How the module is talked to afterwards.
    pub talk: Talk,
    /// After how long the module takes the swap back by itself if nobody confirms it.
    pub watch: Duration,
    /// How long the unit may take to answer at all after its start. A trial after that must still end before `watch`.
    pub patience: Duration,
}

impl Installation {
    /// With the usual times: a minute to come up, and the module's own watch after four.
    #[must_use]
    pub fn new(unit: PathBuf, talk: Talk) -> Self {
        Self {
            unit,
            talk,
            watch: Duration::from_secs(240),
            patience: Duration::from_secs(60),
        }
    }
}

/// Installs the injector unit.
///
/// # Errors
/// [`InstallError`]; the stock unit (or the injector that was there before) is in place again.
pub async fn install(ssh: &Ssh, what: &Installation, mut tell: impl FnMut(Step)) -> Result<(), InstallError> {
    tell(Step::Looking);
    let bytes = std::fs::read(&what.unit).map_err(|source| InstallError::Unreadable {
        path: what.unit.clone(),
        source,
    })?;
    let module = ssh.run(&Script::new(LOOK), READ_LIMIT).await?;
    fits(&what.unit, &bytes, &module)?;
    let digest: String = Sha256::digest(&bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();

    tell(Step::Copying {
        bytes: bytes.len() as u64,
    });
    ssh.upload(&what.unit, UPLOAD, Duration::from_secs(300)).await?;

    tell(Step::Swapping);
    let script = Script::new(SWAP)
        .with("SHA", digest.clone())
        .and_then(|script| script.with("WATCH", what.watch.as_secs().max(1).to_string()))
        .map_err(SshError::from)?;
    let answer = ssh.run(&script, CHANGE_LIMIT).await?;
    match answer.get("result") {
        Some("swapped") => {}
        Some("badcopy") => {
            let found = answer.get("found").unwrap_or_default().to_owned();
            return Err(InstallError::BadCopy { found, wanted: digest });
        }
        _ => {
            return Err(InstallError::TakenBack {
                why: why(&answer),
                stock: Former::of(&answer),
            });
        }
    }

    tell(Step::Trying);
    let (worst, proved) = try_until(&what.talk, Instant::now() + what.patience).await;
    if worst.is_none() && proved {
        let answer = ssh.run(&Script::new(CONFIRM), READ_LIMIT).await?;
        if answer.get("result") == Some("confirmed") {
            tell(Step::Confirmed);
            return Ok(());
        }
        return Err(InstallError::NotWorking {
            finding: said!(
                "the trial took longer than the module waited",
                "試験がモジュールの待ち時間より長くかかりました"
            ),
            stock: Former::Unknown,
        });
    }
    tell(Step::TakingBack);
    let answer = ssh.run(&Script::new(BACK), CHANGE_LIMIT).await?;
    let finding = worst.map_or_else(
        || {
            said!(
                "it could not be shown that a prefix has an effect",
                "プレフィックスの効果を確かめられませんでした"
            )
        },
        |f| Said {
            en: format!("{}: {}", f.title.en, f.text.en),
            ja: format!("{}：{}", f.title.ja, f.text.ja),
        },
    );
    Err(InstallError::NotWorking {
        finding,
        stock: Former::of(&answer),
    })
}

/// Tries the module; again, until `end`, while its unit is not up yet. The worst finding, and whether a prefix was seen to act.
async fn try_until(talk: &Talk, end: Instant) -> (Option<Finding>, bool) {
    /// What fails while a unit starts: the connection, its list of tasks, the set-up.
    const STARTING: [&str; 3] = ["answer", "tasks", "set-up"];
    loop {
        let mut worst: Option<Finding> = None;
        let mut proved = false;
        talk::look(talk, |finding| {
            proved |= finding.id == "prefix" && finding.verdict == Verdict::Good;
            if finding.verdict == Verdict::Broken && worst.is_none() {
                worst = Some(finding);
            }
        })
        .await;
        let starting = worst.as_ref().is_some_and(|finding| STARTING.contains(&finding.id));
        if !starting || Instant::now() >= end {
            return (worst, proved);
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// Gives the stock unit back. `false` where no injector is installed.
///
/// # Errors
/// [`InstallError::StockStopped`] where the stock unit does not start (it is in its place all the same).
pub async fn uninstall(ssh: &Ssh) -> Result<bool, InstallError> {
    let answer = ssh.run(&Script::new(UNINSTALL), CHANGE_LIMIT).await?;
    match answer.get("result") {
        Some("removed") => Ok(true),
        Some("nothing") => Ok(false),
        _ => Err(InstallError::StockStopped { why: why(&answer) }),
    }
}

fn why(answer: &Answer) -> String {
    answer
        .get("why")
        .filter(|why| !why.is_empty())
        .map_or_else(|| answer.errors.clone(), str::to_owned)
}

fn fits(path: &Path, bytes: &[u8], module: &Answer) -> Result<(), InstallError> {
    let machine = module.get("machine").unwrap_or_default().trim();
    let built = built_for(bytes);
    if built != machine {
        return Err(InstallError::WrongMachine {
            path: path.to_owned(),
            built: built.into(),
            module: machine.into(),
        });
    }
    let needed = needed_glibc(bytes);
    let present = module.get("glibc").and_then(|text| version(text.trim()));
    if let (Some(needed), Some(present)) = (needed, present)
        && needed > present
    {
        let text = |(major, minor): (u32, u32)| format!("{major}.{minor}");
        return Err(InstallError::OldGlibc {
            path: path.to_owned(),
            needed: text(needed),
            present: text(present),
        });
    }
    if !module.yes("service") {
        return Err(InstallError::NoService);
    }
    if module.get("models").is_none_or(|count| count.trim() == "0") {
        return Err(InstallError::NoModel);
    }
    let wanted = bytes.len() as u64 * 2 + SPARE;
    let free = module
        .get("free")
        .and_then(|kb| kb.trim().parse::<u64>().ok())
        .unwrap_or(0)
        * 1024;
    if free < wanted {
        Err(InstallError::NoSpace { free, needed: wanted })
    } else {
        Ok(())
    }
}

/// The machine of an ELF file, as `uname -m` spells it.
fn built_for(bytes: &[u8]) -> &'static str {
    let elf64 = bytes.starts_with(b"\x7fELF\x02\x01");
    match bytes.get(18..20) {
        Some([183, 0]) if elf64 => "aarch64",
        Some([62, 0]) if elf64 => "x86_64",
        Some(_) if elf64 => "another processor",
        _ => "no Linux",
    }
}

/// The highest `GLIBC_x.y` that a binary names.
fn needed_glibc(bytes: &[u8]) -> Option<(u32, u32)> {
    const MARK: &[u8] = b"GLIBC_";
    let mut highest = None;
    for at in bytes
        .windows(MARK.len())
        .enumerate()
        .filter(|(_, w)| *w == MARK)
        .map(|(at, _)| at + MARK.len())
    {
        let text: String = bytes[at..]
            .iter()
            .take(8)
            .map(|b| char::from(*b))
            .take_while(|c| c.is_ascii_digit() || *c == '.')
            .collect();
        highest = highest.max(version(&text));
    }
    highest
}

fn version(text: &str) -> Option<(u32, u32)> {
    let mut parts = text.split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_glibc_of_a_binary_is_found() {
        assert_eq!(
            needed_glibc(b"..GLIBC_2.17\0GLIBC_2.34\0GLIBC_2.4\0GLIBC_PRIVATE"),
            Some((2, 34))
        );
        assert_eq!(needed_glibc(b"nothing"), None);
    }

    #[test]
    fn the_machine_is_read_from_the_elf_header() {
        let own = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        assert_eq!(
            built_for(&own),
            if cfg!(target_os = "linux") {
                std::env::consts::ARCH
            } else {
                "no Linux"
            }
        );
        assert_eq!(built_for(b"MZ"), "no Linux");
    }
}
