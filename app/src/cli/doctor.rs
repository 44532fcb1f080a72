//! `softprefix doctor`, `install` and `uninstall`: prints findings and asks before changes.

use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::shell::{Failure, print, runtime};
use crate::doctor::build::{self, BuildOutput};
use crate::doctor::install::{self, Installation};
use crate::doctor::log::{Entry, Log};
use crate::doctor::protocol_check::{self, ProtocolCheck};
use crate::doctor::{
    BUILD, EXIT_TASKS, Ended, Finding, Host, INSTALL, Remedy, RemedyOutcome, Ssh, SshError, SshOptions, Verdict,
    check_over_ssh, title,
};
use crate::errors;
use crate::model::{Bilingual, Language, bilingual};
use crate::start::Exit;

/// Language of the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Lang {
    En,
    Ja,
}

#[derive(Debug, Args)]
pub struct ReachArgs {
    /// user@host, as for ssh. HOST:PORT is the address of llm-sys; only that port is checked then.
    #[arg(value_name = "HOST")]
    host: String,
    /// Another ssh configuration file.
    #[arg(long, value_name = "FILE")]
    ssh_config: Option<PathBuf>,
    /// Do not ask before changing something.
    #[arg(long)]
    yes: bool,
    /// File to log changes in, instead of the default one.
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
    /// Language of the output [default: that of the environment: LC_ALL, LC_MESSAGES or LANG].
    #[arg(long, value_name = "LANGUAGE")]
    lang: Option<Lang>,
}

/// How to talk to the module's unit.
#[derive(Debug, Args)]
struct ProtocolCheckArgs {
    /// Address of llm-sys, if it is not HOST:10001.
    #[arg(long, value_name = "HOST:PORT")]
    module: Option<String>,
    /// Model to test [default: the module's first language model].
    #[arg(long)]
    model: Option<String>,
}

impl ProtocolCheckArgs {
    fn protocol_check(&self, host: &Host) -> ProtocolCheck {
        let address = self.module.clone().unwrap_or_else(|| host.address());
        ProtocolCheck {
            model: self.model.clone(),
            ..ProtocolCheck::new(address)
        }
    }
}

#[derive(Debug, Args)]
pub struct DoctorArgs {
    #[command(flatten)]
    reach: ReachArgs,
    #[command(flatten)]
    check: ProtocolCheckArgs,
    /// Apply the remedy of this name.
    #[arg(long, value_name = "ID", conflicts_with = "undo")]
    fix: Option<String>,
    /// Undo the remedy of this name.
    #[arg(long, value_name = "ID")]
    undo: Option<String>,
    /// Print JSON instead of text.
    #[arg(long)]
    json: bool,
    /// Check port 10001 only, without ssh.
    #[arg(long, conflicts_with_all = ["fix", "undo"])]
    no_ssh: bool,
    /// Show the changes made to this module so far, from the log on this computer; does not connect to the module.
    #[arg(long, conflicts_with_all = ["fix", "undo", "no_ssh"])]
    history: bool,
}

#[derive(Debug, Args)]
pub struct InstallArgs {
    #[command(flatten)]
    reach: ReachArgs,
    #[command(flatten)]
    check: ProtocolCheckArgs,
    /// The unit's binary, built for the module.
    #[arg(long, value_name = "FILE")]
    unit: PathBuf,
    /// Seconds after which the module reverts an unconfirmed installation by itself.
    #[arg(long, default_value_t = 240)]
    watch: u64,
}

#[derive(Debug, Args)]
pub struct UninstallArgs {
    #[command(flatten)]
    reach: ReachArgs,
}

impl ReachArgs {
    fn language(&self) -> Language {
        match self.lang {
            Some(Lang::En) => Language::English,
            Some(Lang::Ja) => Language::Japanese,
            None => Language::of_environment(),
        }
    }

    fn print_line(&self, words: &Bilingual) {
        print(words.get(self.language()));
        print("\n");
    }

    fn wrong(&self, words: &Bilingual) -> Failure {
        Failure::arguments(words.get(self.language()))
    }

    fn failed(&self, words: &Bilingual) -> Failure {
        Failure {
            exit: Exit::Module,
            message: words.get(self.language()).to_owned(),
        }
    }

    fn host(&self) -> Result<Host, Failure> {
        Host::parse(&self.host).map_err(|error| self.wrong(&error.sentence()))
    }

    fn options(&self) -> SshOptions {
        SshOptions {
            config: self.ssh_config.clone(),
            ..SshOptions::default()
        }
    }

    async fn open(&self, host: Host) -> Result<Ssh, Failure> {
        let opened = Ssh::open(host, self.options()).await;
        opened.map_err(|error| self.failed(&error.sentence()))
    }

    /// Shows the commands and asks for agreement, unless `--yes` is given.
    fn agree(&self, question: &Bilingual) -> Result<bool, Failure> {
        if self.yes {
            return Ok(true);
        }
        if !std::io::stdin().is_terminal() {
            return Err(self.wrong(&bilingual!(
                "There is no terminal to ask for agreement. Add --yes to run the commands above without being asked.",
                "確認を求める端末がありません。上のコマンドを確認なしで実行するには --yes を付けてください。"
            )));
        }
        print(&format!("{} [y/N] ", question.get(self.language())));
        let _ = std::io::stdout().flush();
        let mut answer = String::new();
        let read = std::io::stdin().read_line(&mut answer);
        Ok(read.is_ok() && matches!(answer.trim(), "y" | "Y" | "yes"))
    }

    fn log(&self) -> Option<Log> {
        self.log.clone().map(Log::at).or_else(Log::usual)
    }

    fn note(&self, id: &str, act: &str, ended: &str, commands: String, output: String) {
        let Some(log) = self.log() else {
            let words = bilingual!(
                "softprefix: the change was made, but this account has no folder for a log of it; name one with --log",
                "softprefix: 変更は行いましたが、記録を置くフォルダーがこのアカウントにありません。--log で指定してください"
            );
            return eprintln!("{}", words.get(self.language()));
        };
        let entry = Entry::now(&self.host, id, act, ended).with(commands, output);
        if let Err(error) = log.add(&entry) {
            let path = log.path().display();
            let why = errors::because(
                &format!("softprefix: 変更は行いましたが、{path} に書けませんでした"),
                &error.to_string(),
            );
            let words = bilingual!(
                "softprefix: the change was made, but {path} could not be written ({error})",
                "{why}"
            );
            eprintln!("{}", words.get(self.language()));
        }
    }
}

pub fn run(args: &DoctorArgs) -> Result<Exit, Failure> {
    let host = args.reach.host()?;
    if args.history {
        return history(args);
    }
    runtime()?.block_on(async {
        match (&args.fix, &args.undo) {
            (Some(id), _) => fix(args, host, id).await,
            (_, Some(id)) => undo(args, host, id).await,
            _ => check(args, host).await,
        }
    })
}

/// Makes all checks: over ssh if possible, and over port 10001.
async fn check(args: &DoctorArgs, host: Host) -> Result<Exit, Failure> {
    let language = args.reach.language();
    let check = args.check.protocol_check(&host);
    let mut findings = Vec::new();
    let json = args.json;
    let mut report = |finding: Finding| {
        if !json {
            print(&text(&finding, language));
        }
        findings.push(finding);
    };
    if !args.no_ssh && host.is_for_ssh() {
        match Ssh::open(host, args.reach.options()).await {
            Ok(ssh) => check_over_ssh(&ssh, None, &mut report).await,
            Err(error) => report(Finding::not_checked("ssh", "0", error.sentence())),
        }
    }
    protocol_check::run(&check, &mut report).await;
    let count = |verdict| findings.iter().filter(|finding| finding.verdict == verdict).count();
    let broken = count(Verdict::Broken);
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
        let (warnings, could_not, good) = (
            count(Verdict::Warning),
            count(Verdict::NotChecked),
            count(Verdict::Good),
        );
        args.reach.print_line(&bilingual!(
            "\n{broken} broken, {warnings} to check, {could_not} not checked, {good} good. Nothing was changed.",
            "\n異常 {broken}・要確認 {warnings}・確認できず {could_not}・正常 {good}。何も変更していません。"
        ));
    }
    Ok(if broken == 0 { Exit::Success } else { Exit::Module })
}

/// Formats one finding. A Japanese character takes two columns in a terminal.
fn text(finding: &Finding, language: Language) -> String {
    let word = finding.verdict.name().get(language);
    let columns: usize = word.chars().map(|c| if c.is_ascii() { 1 } else { 2 }).sum();
    let space = " ".repeat(14_usize.saturating_sub(columns));
    let mut text = format!(
        "{word}{space} {:>4}  {}\n",
        finding.section,
        finding.title.get(language)
    );
    if finding.verdict != Verdict::Good {
        text += &format!("{:20} {}\n", "", finding.text.get(language));
        for fact in &finding.facts {
            text += &format!(
                "{:20} {} {}: {}\n",
                "",
                if fact.wrong { "!" } else { " " },
                fact.label.get(language),
                fact.value.get(language).replace('\n', " / ")
            );
        }
    }
    let by_command = match (finding.id, finding.verdict) {
        (_, Verdict::Good) => None,
        ("prefix", _) => Some(("softprefix install HOST --unit FILE".to_owned(), title(INSTALL))),
        ("tasks", _) => Some((format!("--fix {EXIT_TASKS}"), title(EXIT_TASKS))),
        _ => None,
    };
    if let Some((command, Bilingual { en, ja })) = by_command {
        let fix = bilingual!("fix: {command}  ({en})", "直すには: {command}（{ja}）");
        text += &format!("{:20} {}\n", "", fix.get(language));
    }
    if let Some(remedy) = &finding.remedy {
        let (id, en, ja) = (remedy.id, &remedy.title.en, &remedy.title.ja);
        let fix = bilingual!("fix: --fix {id}  ({en})", "直すには: --fix {id}（{ja}）");
        text += &format!("{:20} {}\n", "", fix.get(language));
    }
    text
}

/// Prints the changes made to the module so far, oldest first.
fn history(args: &DoctorArgs) -> Result<Exit, Failure> {
    let reach = &args.reach;
    let Some(log) = reach.log() else {
        return Err(reach.failed(&bilingual!(
            "This account has no folder for application data, so no log of changes is kept. Name one with --log.",
            "このアカウントにはアプリケーションデータのフォルダーがなく、変更の記録がありません。--log で指定してください。"
        )));
    };
    let entries = log.of(&reach.host);
    let entries = entries.map_err(|error| reach.failed(&log.unreadable(&error)))?;
    if entries.is_empty() {
        reach.print_line(&bilingual!(
            "Nothing was changed on this module from here.",
            "ここからこのモジュールに加えた変更はありません。"
        ));
    }
    for entry in entries {
        let (title, ended) = (title(&entry.id), ended(&entry.ended));
        let back = bilingual!(" (undo)", "（元に戻す）");
        let back = if entry.act == "undo" { back } else { "".into() };
        let language = reach.language();
        print(&format!(
            "{}  {}{}: {}\n",
            softprefix_core::time::local(entry.at_unix as f64),
            title.get(language),
            back.get(language),
            ended.get(language)
        ));
        if !entry.commands.trim().is_empty() {
            print(&format!("{}\n", indent(entry.commands.trim())));
        }
    }
    Ok(Exit::Success)
}

/// Returns the sentence for the result of a log entry.
fn ended(word: &str) -> Bilingual {
    Ended::ALL
        .into_iter()
        .find(|ended| ended.word() == word)
        .map_or_else(|| word.into(), Ended::sentence)
}

async fn fix(args: &DoctorArgs, host: Host, id: &str) -> Result<Exit, Failure> {
    let reach = &args.reach;
    if id == EXIT_TASKS {
        return exit_tasks(reach, &args.check.protocol_check(&host)).await;
    }
    let ssh = reach.open(host).await?;
    if id == BUILD {
        return build(reach, &ssh).await;
    }
    let mut findings = Vec::new();
    check_over_ssh(&ssh, None, |finding| findings.push(finding)).await;
    let offered = findings
        .into_iter()
        .find_map(|finding| finding.remedy.filter(|remedy| remedy.id == id));
    let Some(remedy) = offered else {
        if crate::doctor::remedy(id).is_none() {
            let known = crate::doctor::REMEDIES.join(", ");
            return Err(reach.wrong(&bilingual!(
                "There is no remedy {id:?}. There are: {known}, {EXIT_TASKS}, {BUILD}.",
                "{id:?} という修復はありません。あるのは：{known}, {EXIT_TASKS}, {BUILD}。"
            )));
        }
        reach.print_line(&bilingual!(
            "{id}: nothing to fix, the check is good (or its precondition is missing).",
            "{id}：直すものはありません（正常か、前提が整っていません）。"
        ));
        return Ok(Exit::Success);
    };
    reach.print_line(&remedy.effect);
    print(&format!("\n{}\n\n", indent(&remedy.shown())));
    if !reach.agree(&bilingual!(
        "Run this on the module?",
        "これをモジュールで実行しますか？"
    ))? {
        return Ok(Exit::Success);
    }
    let outcome = remedy.apply(&ssh).await;
    print_outcome(reach, &remedy, "apply", outcome)
}

async fn exit_tasks(reach: &ReachArgs, check: &ProtocolCheck) -> Result<Exit, Failure> {
    let address = &check.address;
    reach.print_line(&bilingual!(
        "Exits every task of the LLM unit on {address}; anybody who uses one loses it. This cannot be undone.",
        "{address} の LLM ユニットのタスクをすべて終了します。使っている人がいれば、そのタスクは失われます。元に戻せません。"
    ));
    if !reach.agree(&bilingual!("Continue?", "続けますか？"))? {
        return Ok(Exit::Success);
    }
    let ended = protocol_check::exit_left_over_tasks(check)
        .await
        .map_err(|error| reach.failed(&errors::client(&error).whole()))?;
    let ids = ended.join(", ");
    reach.note(EXIT_TASKS, "apply", Ended::Done.word(), String::new(), ids.clone());
    reach.print_line(&if ids.is_empty() {
        bilingual!("There was no task to end.", "終了するタスクはありませんでした。")
    } else {
        bilingual!("Ended: {ids}.", "終了しました：{ids}。")
    });
    Ok(Exit::Success)
}

async fn undo(args: &DoctorArgs, host: Host, id: &str) -> Result<Exit, Failure> {
    let reach = &args.reach;
    let Some(remedy) = crate::doctor::remedy(id) else {
        let known = crate::doctor::REMEDIES.join(", ");
        return Err(reach.wrong(&bilingual!(
            "There is no remedy {id:?} to undo. There are: {known}.",
            "{id:?} という、元に戻せる修復はありません。あるのは：{known}。"
        )));
    };
    let ssh = reach.open(host).await?;
    reach.print_line(&bilingual!(
        "Restores what {id} changed, from the backup on the module.",
        "{id} が変更したものを、モジュール上のバックアップから元に戻します。"
    ));
    if !reach.agree(&bilingual!("Continue?", "続けますか？"))? {
        return Ok(Exit::Success);
    }
    let outcome = remedy.undo(&ssh).await;
    print_outcome(reach, &remedy, "undo", outcome)
}

fn print_outcome(
    reach: &ReachArgs,
    remedy: &Remedy,
    act: &str,
    outcome: Result<RemedyOutcome, SshError>,
) -> Result<Exit, Failure> {
    let outcome = match outcome {
        Ok(outcome) => outcome,
        Err(error) => {
            reach.note(remedy.id, act, &error.to_string(), remedy.shown(), String::new());
            return Err(reach.failed(&error.sentence()));
        }
    };
    let ended = outcome.ended.sentence();
    reach.note(
        remedy.id,
        act,
        outcome.ended.word(),
        remedy.shown(),
        outcome.log.clone(),
    );
    print(&format!("{}: {}\n", remedy.id, ended.get(reach.language())));
    if let Some(why) = &outcome.why {
        print(&format!("{}\n", indent(why.get(reach.language()))));
    }
    Ok(
        if matches!(outcome.ended, Ended::Restored | Ended::Stuck | Ended::Failed) {
            Exit::Module
        } else {
            Exit::Success
        },
    )
}

async fn build(reach: &ReachArgs, ssh: &Ssh) -> Result<Exit, Failure> {
    reach.print_line(&bilingual!(
        "Builds the C++ unit on the module and answers its questions with yes. This takes a long time; Ctrl-C stops it.",
        "モジュール上で C++ ユニットをビルドします。質問にはすべて Y で答えます。時間がかかります。Ctrl-C で止まります。"
    ));
    print(&format!("\n{}\n\n", indent(&build::shown())));
    if !reach.agree(&bilingual!("Start the build?", "ビルドを始めますか？"))? {
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
    let mut least = None;
    let status = build::build(ssh, build::FLOOR_MIB, |output| {
        match output {
            BuildOutput::Text(text) => print(&text),
            BuildOutput::FreeMemory(mib) => least = Some(least.map_or(mib, |least: u64| least.min(mib))),
        }
        !stop.load(std::sync::atomic::Ordering::Relaxed)
    })
    .await;
    watch.abort();
    let least = least
        .map(|mib| format!("least free memory: {mib} MiB"))
        .unwrap_or_default();
    if !least.is_empty() {
        print(&format!("{least}\n"));
    }
    let (ended, result) = match status {
        Ok(0) => (Ended::Done.word().to_owned(), Ok(Exit::Success)),
        Ok(status) => {
            let words = bilingual!(
                "The build ended with status {status}; its last lines above say why.",
                "ビルドは状態 {status} で終わりました。理由は上の最後の数行にあります。"
            );
            (words.en.clone(), Err(reach.failed(&words)))
        }
        Err(SshError::Cancelled) => ("stopped".to_owned(), Ok(Exit::Interrupted)),
        Err(error) => (error.to_string(), Err(reach.failed(&error.sentence()))),
    };
    reach.note(BUILD, "apply", &ended, build::shown(), least);
    result
}

pub fn install(args: &InstallArgs) -> Result<Exit, Failure> {
    let reach = &args.reach;
    let host = reach.host()?;
    // A wrong path is reported before the module is asked for anything.
    install::program_in(&args.unit).map_err(|error| Failure {
        exit: Exit::File,
        ..reach.failed(&error.sentence())
    })?;
    runtime()?.block_on(async {
        let check = args.check.protocol_check(&host);
        let ssh = reach.open(host).await?;
        let unit = args.unit.display();
        reach.print_line(&bilingual!(
            "Copies {unit} to /opt/m5stack/bin/softprefix-unit on the module and lets the service llm-llm start it instead of the stock unit,\n\
             which stays where it is. If softprefix-unit does not set up, answer and apply a prefix, the stock unit is restored.",
            "{unit} をモジュールの /opt/m5stack/bin/softprefix-unit にコピーし、llm-llm サービスが標準ユニットの代わりに起動するようにします。\n\
             標準ユニットはそのまま残ります。設定・応答・プレフィックスの適用のどれかができなければ、標準ユニットに戻します。"
        ));
        print(&format!("\n{}\n\n", indent(&install::shown())));
        if !reach.agree(&bilingual!("Install it?", "導入しますか？"))? {
            return Ok(Exit::Success);
        }
        let watch = Duration::from_secs(args.watch);
        let usual = Installation::new(args.unit.clone(), check);
        let what = Installation {
            patience: usual.patience.min(watch / 2),
            watch,
            ..usual
        };
        let mut steps = Vec::new();
        let result = install::install(&ssh, &what, |step| {
            let words = step.sentence();
            reach.print_line(&words);
            steps.push(words.en);
        })
        .await;
        let ended = match &result {
            Ok(()) => Ended::Done.word().to_owned(),
            Err(error) => error.to_string(),
        };
        reach.note(INSTALL, "apply", &ended, install::shown(), steps.join("\n"));
        result.map(|()| Exit::Success).map_err(|error| reach.failed(&error.sentence()))
    })
}

pub fn uninstall(args: &UninstallArgs) -> Result<Exit, Failure> {
    let reach = &args.reach;
    let host = reach.host()?;
    runtime()?.block_on(async {
        let ssh = reach.open(host).await?;
        print(&format!("{}\n\n", indent(install::UNINSTALL_SHOWN)));
        if !reach.agree(&bilingual!(
            "Remove softprefix-unit and start the stock unit?",
            "softprefix-unit を取り除き、標準ユニットを起動しますか？"
        ))? {
            return Ok(Exit::Success);
        }
        let (ended, result) = match install::uninstall(&ssh).await {
            Ok(true) => {
                reach.print_line(&bilingual!(
                    "softprefix-unit is removed, the stock unit is running.",
                    "softprefix-unit を取り除き、標準ユニットが動いています。"
                ));
                (Ended::Undone.word().to_owned(), Ok(Exit::Success))
            }
            Ok(false) => {
                reach.print_line(&bilingual!(
                    "softprefix-unit is not installed.",
                    "softprefix-unit は導入されていません。"
                ));
                return Ok(Exit::Success);
            }
            Err(error) => (error.to_string(), Err(reach.failed(&error.sentence()))),
        };
        reach.note(
            INSTALL,
            "undo",
            &ended,
            install::UNINSTALL_SHOWN.to_owned(),
            String::new(),
        );
        result
    })
}

fn indent(text: &str) -> String {
    text.lines()
        .map(|line| format!("    {line}"))
        .collect::<Vec<_>>()
        .join("\n")
}
