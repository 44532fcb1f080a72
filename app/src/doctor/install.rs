//! Installs softprefix-unit on a module in place of the stock unit, and uninstalls it.
//!
//! The stock binary and its service are not modified: our binary is stored beside it, and a drop-in file makes the
//! service `llm-llm` start ours, so that whatever depends on the service keeps working. Writing or removing that one
//! file is the whole swap. Until the workbench has confirmed an inference, a watchdog on the module reverts the swap
//! after a while, so that the module never keeps a unit that does not work, even if the cable is unplugged. Each
//! installation has a token, so that its watchdog never reverts a later one.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

use super::checks::{CHANGE_LIMIT, READ_LIMIT};
use super::finding::{Finding, Verdict};
use super::protocol_check::{self, ProtocolCheck};
use super::remedy::function;
use super::script::{self, Script, UnusableValue};
use super::ssh::{Answer, Ssh, SshError};
use crate::model::{Bilingual, bilingual};

/// Path of the unit on the module.
const PROGRAM: &str = "/opt/m5stack/bin/softprefix-unit";
/// Path of the copy while it is uploaded and checked; the installation's token is appended.
const UPLOAD: &str = "/var/lib/softprefix/install/unit.part-";
/// Free space required beyond twice the size of the binary.
const SPARE: u64 = 8 << 20;
const UPLOAD_LIMIT: Duration = Duration::from_secs(300);
/// Pause between two checks whether the unit has started.
const AGAIN: Duration = Duration::from_millis(700);

/// Why the unit was not installed or removed, and what is in place instead.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    #[error(transparent)]
    Ssh(#[from] SshError),
    #[error(
        "the program {path} cannot be read: {source}; build the unit first (see “The unit for a module” in assets/GUIDE.md)"
    )]
    Unreadable { path: PathBuf, source: std::io::Error },
    #[error("the program {path} is built for {built}, the module is {module}; build it for the module")]
    WrongMachine {
        path: PathBuf,
        built: String,
        module: String,
    },
    #[error("the program {path} needs glibc {needed}, the module has {present}; build it against an older system")]
    OldGlibc {
        path: PathBuf,
        needed: String,
        present: String,
    },
    #[error("the module has {free} bytes free, {needed} are needed; remove models or packages that are not used")]
    NoSpace { free: u64, needed: u64 },
    #[error("the module has no service llm-llm to replace; install M5Stack's LLM packages first")]
    NoService,
    #[error(
        "the module has no model card in /opt/m5stack/data/models, so no unit could work there; install a model package first"
    )]
    NoModel,
    #[error("the copy on the module has the SHA-256 {found}, not {wanted}; check the connection and try again")]
    BadCopy { found: String, wanted: String },
    #[error("nothing was changed on the module ({why}); remove the cause and try again")]
    NotBegun { why: String },
    #[error("another installation or removal is under way on the module; wait a minute, then try again")]
    Busy,
    #[error("another installation has replaced this one on the module; check again which unit runs")]
    Replaced,
    #[error(
        "{program} on the module belongs to the Debian package {package}; update that package with `dpkg -i`, or remove it first with `dpkg -r {package}`"
    )]
    Packaged { program: &'static str, package: String },
    #[error("the swap failed and was reverted ({why}); {}", former.sentence().en)]
    Reverted { why: String, former: Former },
    #[error("softprefix-unit was started, but there is a problem: {}; {}", finding.en.trim_end_matches('.'), former.sentence().en)]
    NotWorking { finding: Bilingual, former: Former },
    #[error(
        "softprefix-unit is removed, but the stock unit does not start ({why}); the doctor's findings of sections 2, 3 and 4 say what is missing"
    )]
    StockStopped { why: String },
    #[error("softprefix-unit stays, because {file} still makes the service start it; {}", remove_by(file, package).en)]
    StillStarted { file: String, package: String },
}

/// Returns how to remove a drop-in file that does not belong to the installer.
pub(super) fn remove_by(file: &str, package: &str) -> Bilingual {
    if package.is_empty() {
        bilingual!(
            "remove that file on the module, then uninstall again",
            "モジュールでこのファイルを削除してから、もう一度取り除いてください。"
        )
    } else {
        bilingual!(
            "remove its Debian package on the module with `dpkg -r {package}`",
            "モジュールで `dpkg -r {package}` を実行し、Debian パッケージ（{file}）を削除してください。"
        )
    }
}

/// State of the previous unit after a swap was reverted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Former {
    Running,
    /// In place, but its service is not active.
    Stopped,
    /// The module did not report it.
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

    /// Returns the end of the error's sentence.
    #[must_use]
    pub fn sentence(self) -> Bilingual {
        match self {
            Self::Running => bilingual!(
                "the previous unit is back in place and running",
                "前のユニットに戻し、動いています。"
            ),
            Self::Stopped => bilingual!(
                "the previous unit is back in place but does not start: the doctor's findings of sections 2, 3 and 4 say what is missing",
                "前のユニットに戻しましたが、起動しません。診断の 2・3・4 節が原因を示します。"
            ),
            Self::Unknown => bilingual!(
                "the module restores the previous unit by itself within minutes; check again then",
                "モジュールが数分以内に自分で前のユニットに戻します。そのあと、もう一度診断してください。"
            ),
        }
    }
}

/// A script of the installer, concatenated at compile time, since the body of a script is a constant.
macro_rules! shell {
    ($file:literal) => {
        concat!(
            include_str!("lib.sh"),
            include_str!("install/lib.sh"),
            include_str!($file)
        )
    };
}

const INSPECT: &str = shell!("install/inspect.sh");
const SWAP: &str = shell!("install/swap.sh");
const CONFIRM: &str = shell!("install/confirm.sh");
const REVERT: &str = shell!("install/revert.sh");
const UNINSTALL: &str = shell!("install/uninstall.sh");

/// Returns the commands of an installation, for display: the bodies of the functions `prepare` and `change` of the swap
/// script.
#[must_use]
pub fn shown() -> String {
    format!(
        "D=/etc/systemd/system/llm-llm.service.d\nDROPIN=$D/softprefix.conf\nNEW={PROGRAM}\nPART=the copy\n{}\n{}",
        function(SWAP, "prepare"),
        function(SWAP, "change")
    )
}

/// The commands of an uninstallation, for display.
pub const UNINSTALL_SHOWN: &str =
    "rm -f /etc/systemd/system/llm-llm.service.d/softprefix.conf\nsystemctl daemon-reload\nsystemctl restart llm-llm";

/// A step of an installation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InstallStep {
    Inspecting,
    Copying { bytes: u64 },
    Swapping,
    Testing,
    Confirmed,
    Reverting,
}

/// What to install, and how to test the result.
#[derive(Debug, Clone)]
pub struct Installation {
    /// The unit's binary, built for the module.
    pub unit: PathBuf,
    /// How the module is tested afterwards.
    pub check: ProtocolCheck,
    /// Time after which the module reverts an unconfirmed swap by itself.
    pub watch: Duration,
    /// How long the unit may take to start. A test that begins then must still end before `watch`.
    pub patience: Duration,
}

impl Installation {
    /// With the default times: one minute to start, and four until the module reverts the swap.
    #[must_use]
    pub fn new(unit: PathBuf, check: ProtocolCheck) -> Self {
        Self {
            unit,
            check,
            watch: Duration::from_secs(240),
            patience: Duration::from_secs(60),
        }
    }
}

/// Reads the unit's program.
///
/// # Errors
/// [`InstallError::Unreadable`].
pub fn program_in(path: &Path) -> Result<Vec<u8>, InstallError> {
    std::fs::read(path).map_err(|source| InstallError::Unreadable {
        path: path.to_owned(),
        source,
    })
}

/// Installs softprefix-unit.
///
/// # Errors
/// [`InstallError`]; the previous unit is in place again, with two exceptions. After [`InstallError::Ssh`] the module restores it by itself,
/// unless the swap was confirmed and only the answer was lost. After [`InstallError::Replaced`] the unit of another installation is in
/// place.
pub async fn install(ssh: &Ssh, what: &Installation, mut report: impl FnMut(InstallStep)) -> Result<(), InstallError> {
    report(InstallStep::Inspecting);
    let bytes = program_in(&what.unit)?;
    let module = ssh.run(&Script::new(INSPECT), READ_LIMIT).await?;
    check_preconditions(&what.unit, &bytes, &module)?;
    let digest = hex::encode(Sha256::digest(&bytes));

    report(InstallStep::Copying {
        bytes: bytes.len() as u64,
    });
    let token = script::random_name();
    let upload = format!("{UPLOAD}{token}");
    if let Err(error) = ssh.upload(&what.unit, &upload, UPLOAD_LIMIT).await {
        // Half a copy would fill the module's disk. If this fails too, a later installation removes it, an hour after
        // (`inspect.sh`).
        let _ = ssh.run(&revert(&token, Duration::ZERO)?, CHANGE_LIMIT).await;
        return Err(error.into());
    }

    report(InstallStep::Swapping);
    let watch = revert(&token, what.watch.max(Duration::from_secs(1)))?.text();
    let swap = with_token(SWAP, &token)
        .and_then(|script| script.with("SHA", digest.clone()))
        .and_then(|script| script.with("WATCHER", watch))
        .map_err(SshError::from)?;
    let answer = match ssh.run(&swap, CHANGE_LIMIT).await {
        Ok(answer) => answer,
        // The progress of the swap is unknown: it is reverted now, or by the module's watchdog.
        Err(error) => {
            return Err(match revert_now(ssh, &token).await {
                Ok(answer) if answer.get("result") == Some("other") => InstallError::Replaced,
                Ok(answer) if answer.get("former").is_some() => InstallError::Reverted {
                    why: error.to_string(),
                    former: Former::of(&answer),
                },
                _ => error.into(),
            });
        }
    };
    match answer.get("result") {
        Some("swapped") => {}
        Some("badcopy") => {
            let found = answer.get("found").unwrap_or_default().to_owned();
            return Err(InstallError::BadCopy { found, wanted: digest });
        }
        Some("back") => {
            return Err(InstallError::Reverted {
                why: why(&answer),
                former: Former::of(&answer),
            });
        }
        _ => return Err(not_begun(&answer)),
    }

    let confirmed = answer.get("confirmed").unwrap_or_default().to_owned();
    report(InstallStep::Testing);
    let (broken, has_effect) = try_until(&what.check, Instant::now() + what.patience).await;
    if broken.is_none() && has_effect {
        let confirm = with_token(CONFIRM, &token).map_err(SshError::from)?;
        let answer = match ssh.run(&confirm, CHANGE_LIMIT).await {
            // Confirming twice is harmless.
            Err(_) => ssh.run(&confirm, CHANGE_LIMIT).await?,
            Ok(answer) => answer,
        };
        return match answer.get("result") {
            Some("confirmed") => {
                report(InstallStep::Confirmed);
                Ok(())
            }
            _ if is_replaced(&answer, &confirmed) => Err(InstallError::Replaced),
            _ => Err(InstallError::NotWorking {
                finding: bilingual!(
                    "the test took longer than the module waited",
                    "試験がモジュールの待ち時間より長くかかりました"
                ),
                former: Former::Unknown,
            }),
        };
    }
    report(InstallStep::Reverting);
    let answer = revert_now(ssh, &token).await?;
    if is_replaced(&answer, &confirmed) {
        return Err(InstallError::Replaced);
    }
    let former = Former::of(&answer);
    let finding = broken.map_or_else(
        || {
            bilingual!(
                "it could not be shown that a prefix has an effect",
                "プレフィックスの効果を確かめられませんでした"
            )
        },
        |f| Bilingual {
            en: format!("{}: {}", f.title.en, f.text.en),
            ja: format!("{}：{}", f.title.ja, f.text.ja),
        },
    );
    Err(InstallError::NotWorking { finding, former })
}

fn with_token(body: &'static str, token: &str) -> Result<Script, UnusableValue> {
    Script::new(body).with("TOKEN", token)
}

/// Returns the script that reverts the swap of an installation after `delay`.
fn revert(token: &str, delay: Duration) -> Result<Script, SshError> {
    Ok(with_token(REVERT, token)?.with("DELAY", delay.as_secs().to_string())?)
}

/// Reverts a swap now, with a second attempt if the first gets no answer.
async fn revert_now(ssh: &Ssh, token: &str) -> Result<Answer, SshError> {
    let script = revert(token, Duration::ZERO)?;
    match ssh.run(&script, CHANGE_LIMIT).await {
        Err(_) => ssh.run(&script, CHANGE_LIMIT).await,
        answer => answer,
    }
}

/// Returns whether another installation has replaced this one: it waits to be confirmed, or was confirmed after the swap. `confirmed` is the
/// token of the installation that was confirmed last before the swap, if any.
fn is_replaced(answer: &Answer, confirmed: &str) -> bool {
    let last = answer.get("confirmed").filter(|token| !token.is_empty());
    answer.get("result") == Some("other") || last.is_some_and(|token| token != confirmed)
}

fn not_begun(answer: &Answer) -> InstallError {
    if answer.yes("busy") {
        return InstallError::Busy;
    }
    InstallError::NotBegun {
        why: match answer.get("folder") {
            Some(folder) => format!("{folder} cannot be written"),
            None => why(answer),
        },
    }
}

/// Tests the module until `end`, repeatedly while its unit has not started yet. Returns the first finding that is broken, and
/// whether a prefix changed the output.
async fn try_until(check: &ProtocolCheck, end: Instant) -> (Option<Finding>, bool) {
    /// The checks that fail while a unit starts: the connection, its list of tasks, the set-up.
    const STARTING: [&str; 3] = [protocol_check::ANSWER, protocol_check::TASKS, protocol_check::SET_UP];
    loop {
        let mut first_broken: Option<Finding> = None;
        let mut has_effect = false;
        protocol_check::run(check, |finding| {
            has_effect |= finding.id == protocol_check::PREFIX && finding.verdict == Verdict::Good;
            if finding.verdict == Verdict::Broken && first_broken.is_none() {
                first_broken = Some(finding);
            }
        })
        .await;
        let starting = first_broken
            .as_ref()
            .is_some_and(|finding| STARTING.contains(&finding.id));
        if !starting || Instant::now() >= end {
            return (first_broken, has_effect);
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// Uninstalls softprefix-unit. Returns `false` if it is not installed.
///
/// # Errors
/// [`InstallError::StockStopped`] if the stock unit does not start (it is in place all the same);
/// [`InstallError::StillStarted`] if something other than the installer makes the service start softprefix-unit.
pub async fn uninstall(ssh: &Ssh) -> Result<bool, InstallError> {
    let script = Script::new(UNINSTALL);
    let answer = match ssh.run(&script, CHANGE_LIMIT).await {
        // The script continues from wherever it was interrupted.
        Err(SshError::CutOff { .. } | SshError::Lost { .. }) => ssh.run(&script, CHANGE_LIMIT).await?,
        other => other?,
    };
    let text = |key: &str| answer.get(key).unwrap_or_default().trim().to_owned();
    match answer.get("result") {
        Some("removed") => Ok(true),
        Some("nothing") => Ok(false),
        Some("kept") => Err(InstallError::StillStarted {
            file: text("file"),
            package: text("package"),
        }),
        Some("stopped") => Err(InstallError::StockStopped { why: why(&answer) }),
        _ => Err(not_begun(&answer)),
    }
}

fn why(answer: &Answer) -> String {
    answer
        .get("why")
        .map(str::trim)
        .filter(|why| !why.is_empty())
        .map_or_else(|| answer.errors.clone(), str::to_owned)
}

fn check_preconditions(path: &Path, bytes: &[u8], module: &Answer) -> Result<(), InstallError> {
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
    if let Some(package) = module.get("owner").map(str::trim).filter(|package| !package.is_empty()) {
        return Err(InstallError::Packaged {
            program: PROGRAM,
            package: package.to_owned(),
        });
    }
    let wanted = bytes.len() as u64 * 2 + SPARE;
    let free = module
        .get("free")
        .and_then(|kb| kb.trim().parse::<u64>().ok())
        .unwrap_or(0)
        .saturating_mul(1024);
    if free < wanted {
        Err(InstallError::NoSpace { free, needed: wanted })
    } else {
        Ok(())
    }
}

/// Returns the machine of an ELF file, as `uname -m` spells it.
fn built_for(bytes: &[u8]) -> &'static str {
    let elf64 = bytes.starts_with(b"\x7fELF\x02\x01");
    match bytes.get(18..20) {
        Some([183, 0]) if elf64 => "aarch64",
        Some([62, 0]) if elf64 => "x86_64",
        Some(_) if elf64 => "another processor",
        _ => "another system",
    }
}

/// Returns the highest `GLIBC_x.y` that a binary names.
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
                "another system"
            }
        );
        assert_eq!(built_for(b"MZ"), "another system");
    }
}
