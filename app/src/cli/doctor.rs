//! `softprefix doctor`, `install`, `uninstall`: the doctor from a shell.
//!
//! It prints and asks; what is looked at and what is changed is the doctor's business.

use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::{Exit, Failure, print, runtime};
use crate::doctor::install::{self, Installation, Step};
use crate::doctor::log::Log;
use crate::doctor::talk::{self, Talk};
use crate::doctor::{Ended, Finding, Host, Outcome, Remedy, Ssh, SshError, SshOptions, Verdict, checks, look_over_ssh};

/// The remedies that are no scripts.
const EXIT_TASKS: &str = "exit-left-over-tasks";
const BUILD: &str = "build-stock-unit";
/// A build is stopped when less memory is free.
const BUILD_FLOOR_MIB: u32 = 48;

#[derive(Debug, Args)]
pub struct ReachArgs {
    /// user@host, as for ssh.
    #[arg(value_name = "HOST")]
    host: String,
    /// Address of llm-sys, where it is not HOST:10001.
    #[arg(long, value_name = "HOST:PORT")]
    module: Option<String>,
    /// Model to try; the module's first language model otherwise.
    #[arg(long)]
    model: Option<String>,
    /// Another ssh configuration file.
    #[arg(long, value_name = "FILE")]
    ssh_config: Option<PathBuf>,
    /// Do not ask before changing something.
    #[arg(long)]
    yes: bool,
}

#[derive(Debug, Args)]
pub struct DoctorArgs {
    #[command(flatten)]
    reach: ReachArgs,
    /// Apply the remedy of this name.
    #[arg(long, value_name = "ID", conflicts_with = "undo")]
    fix: Option<String>,
    /// Give back what the remedy of this name changed.
    #[arg(long, value_name = "ID")]
    undo: Option<String>,
    /// Print JSON instead of text.
    #[arg(long)]
    json: bool,
    /// Only what port 10001 allows; ssh is not used.
    #[arg(long, conflicts_with_all = ["fix", "undo"])]
    no_ssh: bool,
    /// Where changes are logged, if not in the usual place.
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct InstallArgs {
    #[command(flatten)]
    reach: ReachArgs,
    /// The unit's binary, built for the module.
    #[arg(long, value_name = "FILE")]
    unit: PathBuf,
    /// Seconds after which the module takes an unconfirmed swap back by itself.
    #[arg(long, default_value_t = 240)]
    watch: u64,
}

#[derive(Debug, Args)]
pub struct UninstallArgs {
    #[command(flatten)]
    reach: ReachArgs,
}

impl ReachArgs {
    fn host(&self) -> Result<Host, Failure> {
        Host::parse(&self.host).map_err(|error| Failure::arguments(error.to_string()))
    }

    fn talk(&self, host: &Host) -> Talk {
        let address = self.module.clone().unwrap_or_else(|| host.address().to_owned());
        Talk {
            model: self.model.clone(),
            ..Talk::new(address)
        }
    }

    fn options(&self) -> SshOptions {
        SshOptions {
            config: self.ssh_config.clone(),
            ..SshOptions::default()
        }
    }

    /// Shows what will run and asks, unless told not to.
    fn agree(&self, question: &str) -> Result<bool, Failure> {
        if self.yes {
            return Ok(true);
        }
        if !std::io::stdin().is_terminal() {
            return Err(Failure::arguments(
                "Nobody is there to agree. Add --yes to run the commands above without being asked.",
            ));
        }
        print(&format!("{question} [y/N] "));
        let _ = std::io::stdout().flush();
        let mut answer = String::new();
        let read = std::io::stdin().read_line(&mut answer);
        Ok(read.is_ok() && matches!(answer.trim(), "y" | "Y" | "yes"))
    }
}

pub fn run(args: &DoctorArgs) -> Result<Exit, Failure> {
    let host = args.reach.host()?;
    runtime()?.block_on(async {
        match (&args.fix, &args.undo) {
            (Some(id), _) => fix(args, host, id).await,
            (_, Some(id)) => undo(args, host, id).await,
            _ => look(args, host).await,
        }
    })
}

/// All checks: over ssh where it can be had, and over port 10001.
async fn look(args: &DoctorArgs, host: Host) -> Result<Exit, Failure> {
    let talk = args.reach.talk(&host);
    let mut findings = Vec::new();
    let json = args.json;
    let mut tell = |finding: Finding| {
        if !json {
            print(&text(&finding));
        }
        findings.push(finding);
    };
    if !args.no_ssh {
        match Ssh::open(host, args.reach.options()).await {
            Ok(ssh) => look_over_ssh(&ssh, None, &mut tell).await,
            Err(error) => tell(Finding::could_not_look("ssh", "0", &error)),
        }
    }
    talk::look(&talk, &mut tell).await;
    let broken = findings
        .iter()
        .filter(|finding| finding.verdict == Verdict::Broken)
        .count();
    if json {
        let value = serde_json::to_value(&findings).map_err(|error| Failure {
            exit: Exit::Module,
            message: error.to_string(),
        })?;
        print(&format!(
            "{:#}\n",
            serde_json::json!({ "host": args.reach.host, "findings": value })
        ));
    } else {
        let count = |verdict| findings.iter().filter(|finding| finding.verdict == verdict).count();
        print(&format!(
            "\n{broken} broken, {} to look at, {} could not be looked at, {} good. Nothing was changed.\n",
            count(Verdict::LookHere),
            count(Verdict::CouldNotLook),
            count(Verdict::Good)
        ));
    }
    Ok(if broken == 0 { Exit::Success } else { Exit::Module })
}

fn text(finding: &Finding) -> String {
    let mut text = format!(
        "{:<14} {:>4}  {}\n",
        finding.verdict.word(),
        finding.section,
        finding.title.en
    );
    if finding.verdict != Verdict::Good {
        text += &format!("{:20} {}\n", "", finding.text.en);
        for fact in &finding.facts {
            text += &format!(
                "{:20} {} {}: {}\n",
                "",
                if fact.wrong { "!" } else { " " },
                fact.label.en,
                fact.value.replace('\n', " / ")
            );
        }
    }
    if let Some(remedy) = &finding.remedy {
        text += &format!("{:20} mend it: --fix {}  ({})\n", "", remedy.id, remedy.title.en);
    }
    text
}

async fn fix(args: &DoctorArgs, host: Host, id: &str) -> Result<Exit, Failure> {
    if id == EXIT_TASKS {
        let talk = args.reach.talk(&host);
        print(&format!(
            "Ends every task of the LLM unit on {}; whoever uses one loses it. This cannot be undone.\n",
            talk.address
        ));
        if !args.reach.agree("Go on?")? {
            return Ok(Exit::Success);
        }
        let ended = talk::exit_left_over_tasks(&talk).await.map_err(|error| Failure {
            exit: Exit::Module,
            message: error.to_string(),
        })?;
        log(args, id, "apply", "done", "", &ended.join(" "));
        print(&format!(
            "ended: {}\n",
            if ended.is_empty() {
                "there was none".into()
            } else {
                ended.join(", ")
            }
        ));
        return Ok(Exit::Success);
    }
    let ssh = open(&args.reach, host).await?;
    if id == BUILD {
        return build(args, &ssh).await;
    }
    let mut findings = Vec::new();
    look_over_ssh(&ssh, None, |finding| findings.push(finding)).await;
    let offered = findings
        .into_iter()
        .find_map(|finding| finding.remedy.filter(|remedy| remedy.id == id));
    let Some(remedy) = offered else {
        if crate::doctor::remedy(id).is_none() {
            let known = crate::doctor::REMEDIES.join(", ");
            return Err(Failure::arguments(format!(
                "There is no remedy {id:?}. There are: {known}, {EXIT_TASKS}, {BUILD}."
            )));
        }
        print(&format!(
            "{id}: nothing to mend, the check is good (or its precondition is missing).\n"
        ));
        return Ok(Exit::Success);
    };
    print(&format!("{}\n\n{}\n\n", remedy.effect.en, indent(&remedy.shown())));
    if !args.reach.agree("Run this on the module?")? {
        return Ok(Exit::Success);
    }
    let outcome = remedy.apply(&ssh).await;
    tell(args, &remedy, "apply", outcome)
}

async fn undo(args: &DoctorArgs, host: Host, id: &str) -> Result<Exit, Failure> {
    let Some(remedy) = crate::doctor::remedy(id) else {
        let known = crate::doctor::REMEDIES.join(", ");
        return Err(Failure::arguments(format!(
            "There is no remedy {id:?} to undo. There are: {known}."
        )));
    };
    let ssh = open(&args.reach, host).await?;
    print(&format!(
        "Gives back what {id} changed, from the backup on the module.\n"
    ));
    if !args.reach.agree("Go on?")? {
        return Ok(Exit::Success);
    }
    let outcome = remedy.undo(&ssh).await;
    tell(args, &remedy, "undo", outcome)
}

fn tell(args: &DoctorArgs, remedy: &Remedy, act: &str, outcome: Result<Outcome, SshError>) -> Result<Exit, Failure> {
    let outcome = match outcome {
        Ok(outcome) => outcome,
        Err(error) => {
            log(args, remedy.id, act, &error.to_string(), &remedy.shown(), "");
            return Err(Failure {
                exit: Exit::Module,
                message: error.to_string(),
            });
        }
    };
    let word = match outcome.ended {
        Ended::Done => "done, and verified",
        Ended::Already => "it was in effect already; nothing was changed",
        Ended::Restored => "it failed; what it had changed is back as it was",
        Ended::Undone => "undone",
        Ended::Nothing => "there was nothing to undo",
        Ended::Failed => "it could not run",
    };
    log(args, remedy.id, act, word, &remedy.shown(), &outcome.log);
    print(&format!("{}: {word}\n", remedy.id));
    if let Some(why) = &outcome.why {
        print(&format!("{}\n", indent(why)));
    }
    Ok(if matches!(outcome.ended, Ended::Restored | Ended::Failed) {
        Exit::Module
    } else {
        Exit::Success
    })
}

async fn build(args: &DoctorArgs, ssh: &Ssh) -> Result<Exit, Failure> {
    print(
        "Builds the C++ unit on the module (scons -j1, its questions answered with yes). It takes long; Ctrl-C stops it.\n",
    );
    if !args.reach.agree("Start the build?")? {
        return Ok(Exit::Success);
    }
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let watch = tokio::spawn({
        let stop = std::sync::Arc::clone(&stop);
        async move {
            let _ = tokio::signal::ctrl_c().await;
            stop.store(true, std::sync::atomic::Ordering::Relaxed);
        }
    });
    let status = checks::build::build(ssh, BUILD_FLOOR_MIB, |chunk| {
        print(&String::from_utf8_lossy(chunk));
        !stop.load(std::sync::atomic::Ordering::Relaxed)
    })
    .await;
    watch.abort();
    match status {
        Ok(0) => {
            log(args, BUILD, "apply", "done", "scons -j1", "");
            Ok(Exit::Success)
        }
        Ok(status) => Err(Failure {
            exit: Exit::Module,
            message: format!("The build ended with status {status}; its last lines above say why."),
        }),
        Err(error) => Err(Failure {
            exit: Exit::Module,
            message: error.to_string(),
        }),
    }
}

pub fn install(args: &InstallArgs) -> Result<Exit, Failure> {
    let host = args.reach.host()?;
    runtime()?.block_on(async {
        let talk = args.reach.talk(&host);
        let ssh = open(&args.reach, host).await?;
        print(&format!(
            "Copies {} to /opt/m5stack/bin/softprefix-unit on the module and lets the service llm-llm start it instead of the stock unit,\n\
             which stays where it is. If the injector does not set up, answer and apply a prefix, the stock unit is put back.\n",
            args.unit.display()
        ));
        if !args.reach.agree("Install it?")? {
            return Ok(Exit::Success);
        }
        let what = Installation { unit: args.unit.clone(), talk, watch: Duration::from_secs(args.watch) };
        let result = install::install(&ssh, &what, |step| {
            print(&match step {
                Step::Looking => "looking whether it fits\n".into(),
                Step::Copying { bytes } => format!("copying {bytes} bytes\n"),
                Step::Swapping => "swapping\n".into(),
                Step::Trying => "trying: set-up, baseline, prefix\n".into(),
                Step::Confirmed => "it works: confirmed on the module\n".into(),
                Step::TakingBack => "it does not work: giving the stock unit back\n".into(),
            });
        })
        .await;
        result.map(|()| Exit::Success).map_err(|error| Failure { exit: Exit::Module, message: error.to_string() })
    })
}

pub fn uninstall(args: &UninstallArgs) -> Result<Exit, Failure> {
    let host = args.reach.host()?;
    runtime()?.block_on(async {
        let ssh = open(&args.reach, host).await?;
        if !args.reach.agree("Remove the injector and start the stock unit?")? {
            return Ok(Exit::Success);
        }
        match install::uninstall(&ssh).await {
            Ok(true) => print("the injector is removed, the stock unit is running\n"),
            Ok(false) => print("no injector is installed\n"),
            Err(error) => {
                return Err(Failure {
                    exit: Exit::Module,
                    message: error.to_string(),
                });
            }
        }
        Ok(Exit::Success)
    })
}

async fn open(reach: &ReachArgs, host: Host) -> Result<Ssh, Failure> {
    Ssh::open(host, reach.options()).await.map_err(|error| Failure {
        exit: Exit::Module,
        message: error.to_string(),
    })
}

fn log(args: &DoctorArgs, id: &str, act: &str, ended: &str, commands: &str, output: &str) {
    let Some(log) = args.log.clone().map(Log::at).or_else(Log::usual) else {
        return;
    };
    if let Err(error) = log.add(&args.reach.host, id, act, ended, commands, output) {
        eprintln!(
            "softprefix: the change was made, but {} could not be written ({error})",
            log.path().display()
        );
    }
}

fn indent(text: &str) -> String {
    text.lines()
        .map(|line| format!("    {line}"))
        .collect::<Vec<_>>()
        .join("\n")
}
