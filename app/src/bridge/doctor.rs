//! Runs the doctor off the UI thread: checks, remedies, builds and the installer, one at a time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::events::Events;
use crate::doctor::install::{self, Installation};
use crate::doctor::log::{Entry, Log};
use crate::doctor::protocol_check::{self, ProtocolCheck};
use crate::doctor::{
    BUILD, EXIT_TASKS, Host, INSTALL, Remedy, RemedyOutcome, Ssh, SshError, SshOptions, build, check_over_ssh,
};
use crate::errors;
use crate::messages::{ChangeOutcome, DoctorEvent, DoctorRequest, Event};
use crate::model::{Bilingual, bilingual};

/// How modules are reached, and where changes are logged.
#[derive(Debug, Clone)]
pub struct DoctorAccess {
    pub ssh: SshOptions,
    /// Address of llm-sys, if it is not port 10001 of the host.
    pub module: Option<String>,
    pub log: Option<Log>,
    stop_build: Arc<AtomicBool>,
}

impl DoctorAccess {
    #[must_use]
    pub fn new(ssh: SshOptions, module: Option<String>, log: Option<Log>) -> Self {
        Self {
            ssh,
            module,
            log,
            stop_build: Arc::default(),
        }
    }
}

impl Default for DoctorAccess {
    /// Uses the user's own ssh and the default log. `SOFTPREFIX_SSH_CONFIG` names another ssh configuration,
    /// `SOFTPREFIX_DOCTOR_MODULE` the address of llm-sys if it differs from the host's.
    fn default() -> Self {
        let ssh = SshOptions {
            config: std::env::var_os("SOFTPREFIX_SSH_CONFIG").map(Into::into),
            ..SshOptions::default()
        };
        Self::new(ssh, std::env::var("SOFTPREFIX_DOCTOR_MODULE").ok(), Log::usual())
    }
}

/// Processes a request to its end.
pub(super) async fn work(request: DoctorRequest, access: DoctorAccess, events: Events) {
    let outcomes = match request {
        DoctorRequest::StopBuild => {
            access.stop_build.store(true, Ordering::Relaxed);
            return;
        }
        DoctorRequest::Check { host, in_use } => access.check(&host, in_use, &events).await,
        DoctorRequest::Apply { host, remedy } => {
            let result = access.with_ssh(&host, async |ssh| remedy.apply(ssh).await).await;
            vec![access.change(&host, &remedy, "apply", result)]
        }
        DoctorRequest::Undo { host, id } => match crate::doctor::remedy(&id) {
            Some(remedy) => {
                let result = access.with_ssh(&host, async |ssh| remedy.undo(ssh).await).await;
                vec![access.change(&host, &remedy, "undo", result)]
            }
            None => vec![ChangeOutcome::Problem(bilingual!(
                "There is no remedy {id} to undo.",
                "{id} という修復は元に戻せません。"
            ))],
        },
        DoctorRequest::ExitTasks { host } => vec![access.exit_tasks(&host).await],
        DoctorRequest::Install { host, unit } => vec![access.install(&host, unit, &events).await],
        DoctorRequest::Uninstall { host } => vec![access.uninstall(&host).await],
        DoctorRequest::Build { host } => vec![access.build(&host, &events).await],
    };
    events.send(Event::Doctor(DoctorEvent::Ended(outcomes))).await;
}

impl DoctorAccess {
    async fn with_ssh<T>(
        &self,
        host: &str,
        work: impl AsyncFnOnce(&Ssh) -> Result<T, SshError>,
    ) -> Result<T, SshError> {
        let ssh = self.open(host).await?;
        work(&ssh).await
    }

    async fn open(&self, host: &str) -> Result<Ssh, SshError> {
        Ssh::open(Host::parse(host)?, self.ssh.clone()).await
    }

    fn protocol_check(&self, host: &str) -> ProtocolCheck {
        let address = || Host::parse(host).map_or_else(|_| host.to_owned(), |host| host.address());
        ProtocolCheck::new(self.module.clone().unwrap_or_else(address))
    }

    async fn check(&self, host: &str, in_use: Option<(String, usize)>, events: &Events) -> Vec<ChangeOutcome> {
        let mut problems = Vec::new();
        if let Some(log) = &self.log {
            match log.of(host) {
                Ok(mut before) => {
                    before.reverse();
                    events.send(Event::Doctor(DoctorEvent::Before(before))).await;
                }
                Err(error) => problems.push(ChangeOutcome::Problem(log.unreadable(&error))),
            }
        }
        let check = self.protocol_check(host);
        let address = DoctorEvent::Address(check.address.clone());
        events.send(Event::Doctor(address)).await;
        // Findings are few and small, so the channel need not be bounded.
        let (sender, mut findings) = tokio::sync::mpsc::unbounded_channel();
        let reporter = events.clone();
        let forwarding = tokio::spawn(async move {
            while let Some(finding) = findings.recv().await {
                reporter
                    .send(Event::Doctor(DoctorEvent::Found(Box::new(finding))))
                    .await;
            }
        });
        let parsed = Host::parse(host);
        let over_ssh = match &parsed {
            Ok(host) if !host.is_for_ssh() => None,
            _ => Some(self.open(host).await),
        };
        match over_ssh {
            Some(Ok(ssh)) => {
                let in_use = in_use.as_ref().map(|(model, h)| (model.as_str(), *h));
                check_over_ssh(&ssh, in_use, |finding| {
                    let _ = sender.send(finding);
                })
                .await;
            }
            Some(Err(error)) => problems.push(ChangeOutcome::Problem(error.sentence())),
            None => {}
        }
        if parsed.is_ok() {
            protocol_check::run(&check, |finding| {
                let _ = sender.send(finding);
            })
            .await;
        }
        drop(sender);
        let _ = forwarding.await;
        problems
    }

    fn change(&self, host: &str, remedy: &Remedy, act: &str, result: Result<RemedyOutcome, SshError>) -> ChangeOutcome {
        let (ended, output, outcome) = match result {
            Ok(outcome) => {
                let (ended, output) = (outcome.ended.word().to_owned(), outcome.log.clone());
                let id = remedy.id.into();
                (ended, output, ChangeOutcome::Outcome { id, outcome })
            }
            Err(error) => (
                error.to_string(),
                String::new(),
                ChangeOutcome::Problem(error.sentence()),
            ),
        };
        self.note(
            &Entry::now(host, remedy.id, act, ended).with(remedy.shown(), output),
            outcome,
        )
    }

    /// Writes a log entry. If that fails, the message for the user says so, with the result, in place of `outcome`.
    fn note(&self, entry: &Entry, outcome: ChangeOutcome) -> ChangeOutcome {
        let Some(log) = &self.log else { return outcome };
        match log.add(entry) {
            Ok(()) => outcome,
            Err(error) => {
                let (id, ended, path) = (&entry.id, &entry.ended, log.path().display());
                let why = errors::because(
                    &format!("{id} は終わりましたが（{ended}）、記録 {path} に書けませんでした"),
                    &error.to_string(),
                );
                ChangeOutcome::Problem(bilingual!(
                    "{id} ended ({ended}), but {path} could not be written: {error}",
                    "{why}"
                ))
            }
        }
    }

    async fn exit_tasks(&self, host: &str) -> ChangeOutcome {
        match protocol_check::exit_left_over_tasks(&self.protocol_check(host)).await {
            Ok(ids) => {
                let ids = ids.join(", ");
                self.note(
                    &Entry::now(host, EXIT_TASKS, "apply", "done").with("", ids.clone()),
                    ChangeOutcome::Good(if ids.is_empty() {
                        bilingual!("There was no task to end.", "終了するタスクはありませんでした。")
                    } else {
                        bilingual!("Ended: {ids}.", "終了しました：{ids}。")
                    }),
                )
            }
            Err(error) => ChangeOutcome::Problem(errors::client(&error).whole()),
        }
    }

    async fn install(&self, host: &str, unit: std::path::PathBuf, events: &Events) -> ChangeOutcome {
        let ssh = match self.open(host).await {
            Ok(ssh) => ssh,
            Err(error) => return ChangeOutcome::Problem(error.sentence()),
        };
        let what = Installation::new(unit, self.protocol_check(host));
        let mut steps = Vec::new();
        let result = install::install(&ssh, &what, |step| {
            let words = step.sentence();
            steps.push(words.en.clone());
            events.send_if_room(Event::Doctor(DoctorEvent::Step(words)));
        })
        .await;
        let (ended, outcome) = match result {
            Ok(()) => (
                "done".to_owned(),
                ChangeOutcome::Good(bilingual!(
                    "softprefix-unit is installed: it set up, answered, and applied a prefix.",
                    "softprefix-unit を導入しました。設定、応答、プレフィックスの適用を確認済みです。"
                )),
            ),
            Err(error) => (error.to_string(), ChangeOutcome::Problem(error.sentence())),
        };
        let entry = Entry::now(host, INSTALL, "apply", ended).with(install::shown(), steps.join("\n"));
        self.note(&entry, outcome)
    }

    async fn uninstall(&self, host: &str) -> ChangeOutcome {
        let ssh = match self.open(host).await {
            Ok(ssh) => ssh,
            Err(error) => return ChangeOutcome::Problem(error.sentence()),
        };
        let (ended, outcome) = match install::uninstall(&ssh).await {
            Ok(true) => (
                "undone".to_owned(),
                ChangeOutcome::Good(bilingual!(
                    "The stock unit is running again.",
                    "標準ユニットが再び動いています。"
                )),
            ),
            Ok(false) => {
                return ChangeOutcome::Good(bilingual!(
                    "softprefix-unit is not installed.",
                    "softprefix-unit は導入されていません。"
                ));
            }
            Err(error) => (error.to_string(), ChangeOutcome::Problem(error.sentence())),
        };
        self.note(
            &Entry::now(host, INSTALL, "undo", ended).with(install::UNINSTALL_SHOWN, ""),
            outcome,
        )
    }

    async fn build(&self, host: &str, events: &Events) -> ChangeOutcome {
        self.stop_build.store(false, Ordering::Relaxed);
        let ssh = match self.open(host).await {
            Ok(ssh) => ssh,
            Err(error) => return ChangeOutcome::Problem(error.sentence()),
        };
        // No output of the build may be lost, so the channel is not bounded.
        let (sender, mut output) = tokio::sync::mpsc::unbounded_channel();
        let reporter = events.clone();
        let forwarding = tokio::spawn(async move {
            while let Some(output) = output.recv().await {
                reporter.send(Event::Doctor(DoctorEvent::Building(output))).await;
            }
        });
        let mut last = String::new();
        let result = build::build(&ssh, build::FLOOR_MIB, |output| {
            if let build::BuildOutput::Text(text) = &output {
                last.push_str(text);
                if last.len() > 8192 {
                    last = last.chars().skip(last.chars().count() / 2).collect();
                }
            }
            let _ = sender.send(output);
            !self.stop_build.load(Ordering::Relaxed)
        })
        .await;
        drop(sender);
        let _ = forwarding.await;
        let (ended, outcome) = built(result);
        self.note(
            &Entry::now(host, BUILD, "apply", ended).with(build::shown(), last),
            outcome,
        )
    }
}

/// Returns the result of a build for the log and for the user.
fn built(result: Result<i32, SshError>) -> (String, ChangeOutcome) {
    let floor = build::FLOOR_MIB;
    let words: Bilingual = match result {
        Ok(0) => {
            let words = bilingual!(
                "The C++ unit is built: it is in projects/llm_framework/dist.",
                "C++ ユニットをビルドしました（projects/llm_framework/dist）。"
            );
            return ("done".to_owned(), ChangeOutcome::Good(words));
        }
        Ok(3) => bilingual!(
            "The build was stopped, because less than {floor} MiB of memory were free. Stop other services on the module, then build again.",
            "空きメモリーが {floor} MiB を下回ったため、ビルドを止めました。モジュールのほかのサービスを止めてから、やり直してください。"
        ),
        Ok(status) => bilingual!(
            "The build ended with status {status}; its last lines say why.",
            "ビルドは状態 {status} で終わりました。理由は最後の数行にあります。"
        ),
        Err(SshError::Cancelled) => {
            let words = bilingual!(
                "The build was stopped; the next one continues from here.",
                "ビルドを止めました。次回は終わったところから続きます。"
            );
            return ("stopped".to_owned(), ChangeOutcome::Good(words));
        }
        Err(error) => error.sentence(),
    };
    (words.en.clone(), ChangeOutcome::Problem(words))
}
