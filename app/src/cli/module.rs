//! `softprefix module`: shows what answers at an address. Changes nothing there.

use clap::Args;
use softprefix_core::client::{ClientError, ConnectOptions, Module};
use softprefix_core::protocol::card::ModelCard;
use softprefix_core::protocol::extension;

use super::shell::{Failure, in_json, print, runtime};
use crate::errors::problem_of;
use crate::model::Target;
use crate::start::Exit;

#[derive(Debug, Args)]
pub struct ModuleArgs {
    /// HOST or HOST:PORT (default port 10001).
    #[arg(value_name = "HOST:PORT", value_parser = crate::start::target)]
    module: Target,
    /// Print JSON instead of text.
    #[arg(long)]
    json: bool,
}

pub fn run(args: &ModuleArgs) -> Result<Exit, Failure> {
    let Target::Remote { address, .. } = &args.module else {
        return Err(Failure::arguments(
            "The embedded module has no address; give HOST:PORT.",
        ));
    };
    runtime()?.block_on(look(address, args.json))
}

async fn look(address: &str, json: bool) -> Result<Exit, Failure> {
    let failed = |error| Failure::from(problem_of(&error));
    let module = Module::connect(address, ConnectOptions::default())
        .await
        .map_err(failed)?;
    module.ping().await.map_err(failed)?;
    let latency = module.ping().await.map_err(failed)?;
    let version = module.version().await.map_err(failed)?;
    let (cards, unreadable) = module.model_list().await.map_err(failed)?;
    // A module without an LLM unit answers with an error, which is printed.
    let tasks = answered(module.tasks().await).map_err(failed)?;
    // Model cards over llm-sys are its own, so that only the unit itself can report what it is.
    let ours = cards.iter().any(|card| card.ours)
        || matches!(
            answered(module.unit_knows(extension::EMBED).await).map_err(failed)?,
            Ok(true)
        );
    if json {
        let cards: Vec<_> = cards
            .iter()
            .map(|card| {
                serde_json::json!({
                    "name": card.name,
                    "kind": card.kind,
                    "hidden_size": card.hidden_size,
                    "window": card.window,
                    "prefill_window": card.prefill_window,
                })
            })
            .collect();
        let value = serde_json::json!({
            "address": module.address(),
            "version": version,
            "latency_ms": latency.as_secs_f64() * 1e3,
            "ours": ours,
            "models": cards,
            "unreadable_models": unreadable,
            "tasks": tasks.as_ref().ok(),
            "tasks_error": tasks.as_ref().err().map(ToString::to_string),
        });
        print(&format!("{}\n", in_json(serde_json::to_string_pretty(&value))?));
        return Ok(Exit::Success);
    }
    let mut out = format!(
        "{} answers in {:.1} ms, llm-sys {version}\n",
        module.address(),
        latency.as_secs_f64() * 1e3
    );
    out += if ours {
        "unit    softprefix-unit: takes soft prefixes and confirms them, runs many inferences at once\n"
    } else {
        "unit    a stock unit: one inference at a time; whether it takes soft prefixes only a comparison tells\n"
    };
    match tasks {
        Ok(tasks) if tasks.is_empty() => out += "tasks   none\n",
        Ok(tasks) => out += &format!("tasks   {}\n", tasks.join(", ")),
        Err(error) => out += &format!("tasks   {error}\n"),
    }
    for card in &cards {
        out += &format!("model   {}\n", line(card));
    }
    if unreadable > 0 {
        out += &format!("model   {unreadable} more whose cards cannot be read: they have no name (`mode`)\n");
    } else if cards.is_empty() {
        out += "model   none listed\n";
    }
    print(&out);
    Ok(Exit::Success)
}

/// Returns the module's answer, including an error code.
///
/// # Errors
/// If there is no answer: the connection was lost or timed out.
fn answered<T>(reply: Result<T, ClientError>) -> Result<Result<T, ClientError>, ClientError> {
    match reply {
        Err(error @ (ClientError::Refused { .. } | ClientError::Unreadable { .. })) => Ok(Err(error)),
        Err(error) => Err(error),
        Ok(value) => Ok(Ok(value)),
    }
}

fn line(card: &ModelCard) -> String {
    let mut facts = vec![card.kind.clone()];
    facts.extend(card.hidden_size.map(|h| format!("H {h}")));
    facts.extend(card.window.map(|window| format!("window {window}")));
    facts.extend(card.prefill_window.map(|window| format!("prefill {window}")));
    format!("{} ({})", card.name, facts.join(", "))
}
