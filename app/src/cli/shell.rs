//! Shared by all commands: failures, the runtime, and printing.

use std::fmt::Display;
use std::path::Path;

use crate::doctor::script::printable;
use crate::model::magnitudes::{self, USUAL, USUAL_RAW};
use crate::model::{MagnitudeUnit, Problem, ProblemKind, beginning};
use crate::start::Exit;

/// A failed command: the message and the exit code.
#[derive(Debug)]
pub struct Failure {
    pub exit: Exit,
    pub message: String,
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        let exit = match problem.kind {
            ProblemKind::File => Exit::File,
            ProblemKind::Input => Exit::BadArguments,
            _ => Exit::Module,
        };
        Self {
            exit,
            message: problem.to_string(),
        }
    }
}

impl Failure {
    pub fn arguments(message: impl Into<String>) -> Self {
        Self {
            exit: Exit::BadArguments,
            message: message.into(),
        }
    }
}

/// Checks before a long run that the results can be saved.
pub fn writable(path: &Path) -> Result<(), Failure> {
    let existed = path.symlink_metadata().is_ok();
    let tried = match std::fs::metadata(path) {
        Ok(there) if !there.is_file() => Err(std::io::Error::new(
            std::io::ErrorKind::InvalidInput,
            "it is not a regular file",
        )),
        _ => std::fs::OpenOptions::new().create(true).append(true).open(path),
    };
    let tried = tried.and_then(|_| if existed { Ok(()) } else { std::fs::remove_file(path) });
    tried.map_err(|error| Failure {
        exit: Exit::File,
        message: format!(
            "{} cannot be written ({error}). Choose another place for it.",
            path.display()
        ),
    })
}

/// Creates the runtime of a command.
pub fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| Failure {
            exit: Exit::Module,
            message: format!("No thread can be started ({error}). Close other programs and try again."),
        })
}

/// A list in one argument (clap reads a plain `Vec` as a repeated argument).
#[derive(Debug, Clone, PartialEq)]
pub struct List<T>(pub Vec<T>);

/// Parses magnitudes. Their unit is another argument, so that negative norms are refused later.
pub fn list_of_magnitudes(text: &str) -> Result<List<f64>, String> {
    magnitudes::parse(text, MagnitudeUnit::Raw)
        .map(List)
        .map_err(|error| error.en)
}

/// Returns the default magnitudes of a unit.
pub fn usual_magnitudes(token_norms: bool) -> Result<Vec<f64>, Failure> {
    let usual = if token_norms { USUAL } else { USUAL_RAW };
    list_of_magnitudes(usual).map(|list| list.0).map_err(Failure::arguments)
}

/// Parses a count.
pub fn at_least_one(text: &str) -> Result<usize, String> {
    let count = text.parse().ok().filter(|count: &usize| *count > 0);
    count.ok_or_else(|| "give a whole number from 1 up".to_owned())
}

/// Parses a rate or a distance.
pub fn above_zero(text: &str) -> Result<f64, String> {
    let number = text
        .parse()
        .ok()
        .filter(|number: &f64| number.is_finite() && *number > 0.0);
    number.ok_or_else(|| "give a number above 0".to_owned())
}

/// Returns the default name of an experiment: the beginning of its prompt.
pub fn name_of(prompt: &str) -> String {
    beginning(prompt, 24)
}

/// Prints to standard output without control characters, which files and modules may hold; a closed pipe (`| head`) is not an
/// error.
pub fn print(text: &str) {
    use std::io::Write as _;
    let _ = std::io::stdout().write_all(printable(text).as_bytes());
}

/// Prints a sentence to standard error, without control characters.
pub fn eprint(sentence: impl Display) {
    eprintln!("softprefix: {}", printable(&sentence.to_string()));
}

/// Escapes the control characters that JSON allows in strings, for printing to a terminal.
pub fn in_json(json: Result<String, serde_json::Error>) -> Result<String, Failure> {
    let json = json.map_err(|error| Failure {
        exit: Exit::File,
        message: format!("The result has no JSON form ({error}). This is a bug in this program; please report it."),
    })?;
    let escaped = |c: char| match c {
        '\u{7f}'..='\u{9f}' => format!("\\u{:04x}", u32::from(c)),
        c => c.to_string(),
    };
    Ok(json.chars().map(escaped).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_the_same_value_without_any_character_that_a_terminal_obeys() {
        let text = "a\u{1b}[2J\u{7f}\u{9b}31m\u{a0}é\n";
        let json = in_json(serde_json::to_string(text)).unwrap();
        assert!(!json.chars().any(char::is_control), "{json}");
        assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text);
        assert_eq!(printable(&json), json);
    }
}
