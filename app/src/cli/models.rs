//! `softprefix models`: lists the models of the embedded module, and downloads one.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;

use clap::{Args, Subcommand};
use softprefix_unit::models;

use super::bar::Bar;
use super::shell::{Failure, in_json, print};
use crate::model::{FetchProgress, ModelChoice};
use crate::session::embedded::{self, Models};
use crate::start::Exit;

#[derive(Debug, Args)]
pub struct ModelsArgs {
    #[command(subcommand)]
    command: Option<ModelsCommand>,
    /// Print JSON instead of a table.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum ModelsCommand {
    /// List the models on this computer and those that can be downloaded (the default).
    List,
    /// Download a model, by its name or short name.
    Fetch {
        /// A name that `softprefix models` lists, or a short one: qwen, qwen-coder, small.
        name: String,
    },
}

pub fn run(args: ModelsArgs) -> Result<Exit, Failure> {
    match args.command {
        None | Some(ModelsCommand::List) => {
            let choices = embedded::choices(&Models::from_env());
            print(&if args.json { json(&choices)? } else { table(&choices) });
            Ok(Exit::Success)
        }
        Some(ModelsCommand::Fetch { name }) => {
            let entry = models::entry(&name).ok_or_else(|| {
                let names: Vec<&str> = models::CATALOGUE.iter().map(|entry| entry.short_name).collect();
                Failure::arguments(format!(
                    "No model {name:?} can be downloaded; there are {}.",
                    names.join(", ")
                ))
            })?;
            let bar = Mutex::new(Bar::new());
            let fetched = embedded::fetch(&Models::from_env(), &[entry], &AtomicBool::new(false), |progress| {
                bar.lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .show(progress.fraction(), &fetch_words(&progress));
            })?;
            drop(bar);
            print(&format!("{}\n", fetched.unwrap_or_default()));
            Ok(Exit::Success)
        }
    }
}

/// Formats the progress of a download.
pub fn fetch_words(progress: &FetchProgress) -> String {
    let mega = |bytes: u64| bytes as f64 / 1e6;
    let amount = match progress.total_bytes {
        Some(total) => format!("{:.0} of {:.0} MB", mega(progress.done_bytes), mega(total)),
        None => format!("{:.0} MB", mega(progress.done_bytes)),
    };
    format!(
        "{} {} from {}: {amount}",
        progress.what, progress.model, progress.source
    )
}

/// The text on one line, with its control characters escaped: names of files may contain any.
fn on_one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() {
            line.extend(c.escape_default());
        } else {
            line.push(c);
        }
    }
    line
}

fn table(choices: &[ModelChoice]) -> String {
    let names: Vec<String> = choices.iter().map(|choice| on_one_line(&choice.name)).collect();
    let width = names.iter().map(|name| name.chars().count()).max().unwrap_or(0);
    let mut out = String::new();
    for (choice, name) in choices.iter().zip(&names) {
        let size = choice
            .bytes
            .map_or_else(|| "?".to_owned(), |bytes| format!("{:.0} MB", bytes as f64 / 1e6));
        let state = match (choice.present, choice.usable) {
            (true, true) => "here",
            (true, false) => "unusable",
            (false, _) => "to download",
        };
        let default = if choice.default { ", taken by default" } else { "" };
        let verified = if choice.verified {
            ""
        } else {
            ", not verified by this program"
        };
        out += &format!(
            "{name:width$}  {size:>8}  {state:11}  {}{verified}{default}\n",
            on_one_line(&choice.about.en)
        );
    }
    out
}

fn json(choices: &[ModelChoice]) -> Result<String, Failure> {
    let list: Vec<serde_json::Value> = choices
        .iter()
        .map(|choice| {
            serde_json::json!({
                "name": choice.name,
                "bytes": choice.bytes,
                "present": choice.present,
                "usable": choice.usable,
                "default": choice.default,
                "verified": choice.verified,
                "about": choice.about.en,
            })
        })
        .collect();
    Ok(format!("{}\n", in_json(serde_json::to_string_pretty(&list))?))
}
