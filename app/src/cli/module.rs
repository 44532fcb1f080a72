//! `softprefix module`: shows what answers at an address, or which modules are on the local network. Changes nothing there.

use std::collections::BTreeMap;
use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};
use softprefix_core::client::ConnectOptions;
use softprefix_core::protocol::card::ModelCard;
use tokio::sync::mpsc;

use super::shell::{Failure, in_json, print, runtime};
use crate::bridge::discovery;
use crate::errors::problem_of;
use crate::model::{FoundModule, ModuleAnswer, Target};
use crate::session::ModuleProbe;
use crate::start::Exit;

/// How long the local network is searched: answers to multicast DNS take up to a second, and those of a module longer.
const SEARCH: Duration = Duration::from_secs(4);

#[derive(Debug, Args)]
pub struct ModuleArgs {
    /// HOST or HOST:PORT (default port 10001); without it, the modules on the local network are listed.
    #[arg(value_name = "HOST:PORT", value_parser = crate::start::target)]
    module: Option<Target>,
    /// Print JSON instead of text.
    #[arg(long)]
    json: bool,
}

pub fn run(args: &ModuleArgs) -> Result<Exit, Failure> {
    match &args.module {
        None => runtime()?.block_on(list(args.json)),
        Some(Target::Remote { address, .. }) => runtime()?.block_on(probe(address, args.json)),
        Some(Target::Embedded { .. }) => Err(Failure::arguments(
            "The embedded module has no address; give HOST:PORT.",
        )),
    }
}

/// Lists the modules on the local network.
async fn list(json: bool) -> Result<Exit, Failure> {
    let (sender, mut receiver) = mpsc::channel::<FoundModule>(16);
    let mut found: BTreeMap<String, FoundModule> = BTreeMap::new();
    let collect = async {
        while let Some(module) = receiver.recv().await {
            found.insert(module.address.clone(), module);
        }
    };
    let search = async {
        tokio::select! {
            problem = discovery::search(Vec::new(), sender) => Err(Failure::from(problem)),
            () = tokio::time::sleep(SEARCH) => Ok(()),
        }
    };
    let (searched, ()) = tokio::join!(search, collect);
    searched?;
    if json {
        let modules: Vec<Value> = found.values().map(to_json).collect();
        print(&format!("{}\n", in_json(serde_json::to_string_pretty(&modules))?));
    } else {
        print(&found.values().map(|module| line_of(module) + "\n").collect::<String>());
    }
    if found.is_empty() {
        return Err(Failure {
            exit: Exit::Module,
            message: "No module was found on the local network. Give the address of one that does not announce itself: softprefix module \
                      HOST:PORT"
                .to_owned(),
        });
    }
    Ok(Exit::Success)
}

fn line_of(module: &FoundModule) -> String {
    let about = match &module.answer {
        ModuleAnswer::Pending => "has not answered yet".to_owned(),
        ModuleAnswer::Module { model, ours } => {
            let unit = if *ours { "softprefix-unit" } else { "stock unit" };
            format!("{}, {unit}", model.as_deref().unwrap_or("no language model"))
        }
        ModuleAnswer::Problem(problem) => problem.sentence.en.clone(),
    };
    format!("{:<22} {}: {about}", module.address, module.name)
}

fn to_json(module: &FoundModule) -> Value {
    let (model, ours, error) = match &module.answer {
        ModuleAnswer::Pending => (None, None, None),
        ModuleAnswer::Module { model, ours } => (model.clone(), Some(*ours), None),
        ModuleAnswer::Problem(problem) => (None, None, Some(problem.to_string())),
    };
    json!({"address": module.address, "name": module.name, "model": model, "ours": ours, "error": error})
}

async fn probe(address: &str, json: bool) -> Result<Exit, Failure> {
    let probe = ModuleProbe::at(address, ConnectOptions::default())
        .await
        .map_err(|error| Failure::from(problem_of(&error)))?;
    if json {
        let cards: Vec<_> = probe
            .cards
            .iter()
            .map(|card| {
                json!({
                    "name": card.name,
                    "kind": card.kind,
                    "hidden_size": card.hidden_size,
                    "window": card.window,
                    "prefill_window": card.prefill_window,
                })
            })
            .collect();
        let value = json!({
            "address": probe.address,
            "version": probe.version,
            "latency_ms": probe.latency.as_secs_f64() * 1e3,
            "ours": probe.ours,
            "models": cards,
            "unreadable_models": probe.unreadable,
            "tasks": probe.tasks.as_ref().ok(),
            "tasks_error": probe.tasks.as_ref().err().map(ToString::to_string),
        });
        print(&format!("{}\n", in_json(serde_json::to_string_pretty(&value))?));
        return Ok(Exit::Success);
    }
    let mut out = format!(
        "{} answers in {:.1} ms, llm-sys {}\n",
        probe.address,
        probe.latency.as_secs_f64() * 1e3,
        probe.version
    );
    out += if probe.ours {
        "unit    softprefix-unit: applies and confirms soft prefixes, runs many inferences at once\n"
    } else {
        "unit    a stock unit: one inference at a time; only a comparison shows whether it applies soft prefixes\n"
    };
    match &probe.tasks {
        Ok(tasks) if tasks.is_empty() => out += "tasks   none\n",
        Ok(tasks) => out += &format!("tasks   {}\n", tasks.join(", ")),
        Err(error) => out += &format!("tasks   {error}\n"),
    }
    for card in &probe.cards {
        out += &format!("model   {}\n", line(card));
    }
    if probe.unreadable > 0 {
        out += &format!(
            "model   {} more whose cards cannot be read: they have no name (`mode`)\n",
            probe.unreadable
        );
    } else if probe.cards.is_empty() {
        out += "model   none listed\n";
    }
    print(&out);
    Ok(Exit::Success)
}

fn line(card: &ModelCard) -> String {
    let mut facts = vec![card.kind.clone()];
    facts.extend(card.hidden_size.map(|h| format!("H {h}")));
    facts.extend(card.window.map(|window| format!("window {window}")));
    facts.extend(card.prefill_window.map(|window| format!("prefill {window}")));
    format!("{} ({})", card.name, facts.join(", "))
}
