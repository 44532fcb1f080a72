//! The ways to a session: a module elsewhere, or the embedded unit with a model that is found or fetched. It knows no inference.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use softprefix_core::client::{ClientError, ConnectOptions};

use super::events::Events;
use crate::messages::Event;
use crate::model::{CaseKey, ConnectStep, Problem, ProblemKind};
use crate::session::embedded::{self, Embedded, Wanted};
use crate::session::{ConnectProblem, Session};

pub(super) async fn remote(
    address: &str,
    model: Option<&str>,
    case: &CaseKey,
    exit_first: &[String],
    limits: ConnectOptions,
    events: &Events,
) -> Result<Session, ConnectProblem> {
    if !exit_first.is_empty() {
        events.send(Event::Connecting(ConnectStep::Opening)).await;
        let module = softprefix_core::client::Module::connect(address, limits.clone()).await?;
        for task in exit_first {
            match module.exit(task).await {
                // Gone already is as good.
                Ok(()) | Err(ClientError::TaskGone { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
    let step = |step| events.send_if_room(Event::Connecting(step));
    Session::open(address, model, None, case, limits, step).await
}

/// The embedded unit's model: its name, and the store that has it. `None` where the person cancelled the fetch.
pub(super) async fn find_or_fetch(
    model: Option<String>,
    cancel: Arc<AtomicBool>,
    events: &Events,
) -> Result<Option<(String, softprefix_unit::models::ModelStore)>, Problem> {
    events.send(Event::Connecting(ConnectStep::Starting)).await;
    let events = events.clone();
    let found = tokio::task::spawn_blocking(move || match embedded::wanted(model.as_deref())? {
        Wanted::Present { name, store } => Ok(Some((name, store))),
        Wanted::Missing(entries) => {
            let fetched = embedded::fetch(&entries, &cancel, |progress| {
                events.send_if_room(Event::Fetching(progress));
            })?;
            let Some(name) = fetched else { return Ok(None) };
            match embedded::wanted(Some(&name))? {
                Wanted::Present { name, store } => Ok(Some((name, store))),
                Wanted::Missing(_) => Err(Problem::new(
                    ProblemKind::Model,
                    format!("{name} was fetched but cannot be found."),
                    "Check that nothing clears the model folder, and fetch it again.",
                )
                .in_japanese(
                    format!("{name} を取得しましたが、見つかりません。"),
                    "モデルのフォルダーを消すものがないか確かめて、取得し直してください。",
                )),
            }
        }
    })
    .await;
    match found {
        Ok(found) => found,
        Err(error) => Err(Problem::new(
            ProblemKind::Model,
            format!("Looking for the model broke off ({error})."),
            "Try again.",
        )
        .in_japanese(
            format!("モデルを探す作業が途中で止まりました（{error}）。"),
            "もう一度試してください。",
        )),
    }
}

pub(super) async fn in_process(
    name: String,
    store: softprefix_unit::models::ModelStore,
    case: &CaseKey,
    limits: ConnectOptions,
    events: &Events,
) -> Result<Session, ConnectProblem> {
    let observer = {
        let events = events.clone();
        Arc::new(move |model: &str, fraction: f32, what: &str| {
            let (model, what) = (model.to_owned(), what.to_owned());
            events.send_if_room(Event::Loading { model, fraction, what });
        })
    };
    let embedded = Embedded::start(Arc::new(store), observer).await?;
    let address = embedded.address().to_string();
    let step = |step| {
        // While the model loads, the observer tells more.
        if step != ConnectStep::SettingUp {
            events.send_if_room(Event::Connecting(step));
        }
    };
    Session::open(&address, Some(&name), Some(embedded), case, limits, step).await
}
