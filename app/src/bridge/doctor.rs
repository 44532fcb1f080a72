//! The doctor's work, away from the window: looks, remedies, the installer. One thing at a time, each with its end reported.

use std::time::Duration;

use super::Event;
use super::worker::Events;
use crate::doctor::install::{self, Installation, Step};
use crate::doctor::log::Log;
use crate::doctor::talk::{self, Talk};
use crate::doctor::{Host, Outcome, Remedy, Ssh, SshError, SshOptions, look_over_ssh};
use crate::workbench::doctor::{DoctorEvent, DoctorRequest, Said};

/// After this long the module takes an unconfirmed swap back by itself.
const WATCH: Duration = Duration::from_secs(240);

/// Carries a request out to its end.
pub(super) async fn work(request: DoctorRequest, events: Events) {
    let said = match request {
        DoctorRequest::Look { host, in_use } => look(&host, in_use, &events).await,
        DoctorRequest::Apply { host, remedy } => {
            let result = with_ssh(&host, async |ssh| remedy.apply(ssh).await).await;
            Some(change(&host, &remedy, "apply", result))
        }
        DoctorRequest::Undo { host, id } => match crate::doctor::remedy(&id) {
            Some(remedy) => {
                let result = with_ssh(&host, async |ssh| remedy.undo(ssh).await).await;
                Some(change(&host, &remedy, "undo", result))
            }
            None => Some(Said::Problem(format!("There is no remedy {id} to undo."))),
        },
        DoctorRequest::ExitTasks { host } => Some(exit_tasks(&host).await),
        DoctorRequest::Install { host, unit } => Some(install(&host, unit, &events).await),
        DoctorRequest::Uninstall { host } => Some(uninstall(&host).await),
    };
    events.send(Event::Doctor(DoctorEvent::Ended(said))).await;
}

async fn with_ssh<T>(host: &str, work: impl AsyncFnOnce(&Ssh) -> Result<T, SshError>) -> Result<T, SshError> {
    let ssh = open(host).await?;
    work(&ssh).await
}

async fn open(host: &str) -> Result<Ssh, SshError> {
    Ssh::open(Host::parse(host)?, options()).await
}

/// `SOFTPREFIX_SSH_CONFIG` names another configuration than the person's own.
fn options() -> SshOptions {
    SshOptions {
        config: std::env::var_os("SOFTPREFIX_SSH_CONFIG").map(Into::into),
        ..SshOptions::default()
    }
}

/// Where port 10001 of the host is; `SOFTPREFIX_DOCTOR_MODULE` where ssh's name for it is not its address.
fn talk(host: &str) -> Talk {
    let address = Host::parse(host).map_or_else(|_| host.to_owned(), |host| host.address().to_owned());
    Talk::new(std::env::var("SOFTPREFIX_DOCTOR_MODULE").unwrap_or(address))
}

async fn look(host: &str, in_use: Option<(String, usize)>, events: &Events) -> Option<Said> {
    if let Some(log) = Log::usual() {
        let mut before = log.of(host);
        before.reverse();
        events.send(Event::Doctor(DoctorEvent::Before(before))).await;
    }
    // Findings are few and small: they wait here while the window is told.
    let (sender, mut findings) = tokio::sync::mpsc::unbounded_channel();
    let teller = events.clone();
    let telling = tokio::spawn(async move {
        while let Some(finding) = findings.recv().await {
            teller.send(Event::Doctor(DoctorEvent::Found(Box::new(finding)))).await;
        }
    });
    let mut said = None;
    match open(host).await {
        Ok(ssh) => {
            let in_use = in_use.as_ref().map(|(model, h)| (model.as_str(), *h));
            look_over_ssh(&ssh, in_use, |finding| {
                let _ = sender.send(finding);
            })
            .await;
        }
        Err(error) => said = Some(Said::Problem(error.to_string())),
    }
    if !matches!(Host::parse(host), Err(SshError::BadHost { .. })) {
        talk::look(&talk(host), |finding| {
            let _ = sender.send(finding);
        })
        .await;
    }
    drop(sender);
    let _ = telling.await;
    said
}

fn change(host: &str, remedy: &Remedy, act: &str, result: Result<Outcome, SshError>) -> Said {
    let (ended, output, said) = match result {
        Ok(outcome) => {
            let ended = serde_json::to_value(outcome.ended)
                .ok()
                .and_then(|value| Some(value.as_str()?.to_owned()))
                .unwrap_or_default();
            (
                ended,
                outcome.log.clone(),
                Said::Outcome {
                    id: remedy.id.into(),
                    outcome,
                },
            )
        }
        Err(error) => (error.to_string(), String::new(), Said::Problem(error.to_string())),
    };
    note(host, remedy.id, act, &ended, &remedy.shown(), &output, said)
}

/// Writes the log; where that fails, the person is told beside what happened.
fn note(host: &str, id: &str, act: &str, ended: &str, commands: &str, output: &str, said: Said) -> Said {
    let Some(log) = Log::usual() else { return said };
    match log.add(host, id, act, ended, commands, output) {
        Ok(()) => said,
        Err(error) => Said::Problem(format!(
            "{id} was carried out ({ended}), but {} could not be written: {error}",
            log.path().display()
        )),
    }
}

async fn exit_tasks(host: &str) -> Said {
    match talk::exit_left_over_tasks(&talk(host)).await {
        Ok(ids) => {
            let ended = ids.join(", ");
            note(
                host,
                "exit-left-over-tasks",
                "apply",
                "done",
                "",
                &ended,
                Said::Good(ended.clone()),
            )
        }
        Err(error) => Said::Problem(error.to_string()),
    }
}

async fn install(host: &str, unit: std::path::PathBuf, events: &Events) -> Said {
    let ssh = match open(host).await {
        Ok(ssh) => ssh,
        Err(error) => return Said::Problem(error.to_string()),
    };
    let what = Installation {
        unit,
        talk: talk(host),
        watch: WATCH,
    };
    let result = install::install(&ssh, &what, |step| {
        let words = match step {
            Step::Looking => "looking whether it fits".to_owned(),
            Step::Copying { bytes } => format!("copying {:.1} MB", bytes as f64 / 1e6),
            Step::Swapping => "swapping".to_owned(),
            Step::Trying => "trying: set-up, baseline, prefix".to_owned(),
            Step::Confirmed => "confirmed".to_owned(),
            Step::TakingBack => "taking it back".to_owned(),
        };
        events.send_if_room(Event::Doctor(DoctorEvent::Step(words)));
    })
    .await;
    let (ended, said) = match result {
        Ok(()) => (
            "done".to_owned(),
            Said::Good("softprefix-unit is installed and works.".into()),
        ),
        Err(error) => (error.to_string(), Said::Problem(error.to_string())),
    };
    note(host, "install", "apply", &ended, "", "", said)
}

async fn uninstall(host: &str) -> Said {
    let ssh = match open(host).await {
        Ok(ssh) => ssh,
        Err(error) => return Said::Problem(error.to_string()),
    };
    match install::uninstall(&ssh).await {
        Ok(true) => note(
            host,
            "install",
            "undo",
            "undone",
            "",
            "",
            Said::Good("The stock unit is running again.".into()),
        ),
        Ok(false) => Said::Good("No injector is installed.".into()),
        Err(error) => Said::Problem(error.to_string()),
    }
}
