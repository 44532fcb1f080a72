//! A progress bar with a label on standard error. Without a terminal only the lines of [`Bar::print_line`] are written.
//!
//! Own code instead of `indicatif`: without a terminal `indicatif` prints no lines above its bar either, and they belong into a log; and one
//! place removes control characters from the names that a module sends.

use std::io::{IsTerminal as _, Write as _};

use crate::doctor::script::printable;

/// Width of the bar in columns.
const WIDTH: usize = 28;

/// A line that is redrawn.
pub struct Bar {
    terminal: bool,
    last: String,
}

impl Bar {
    pub fn new() -> Self {
        Self {
            terminal: std::io::stderr().is_terminal(),
            last: String::new(),
        }
    }

    /// Draws the bar at `fraction` (0..=1, or `None` if unknown) with its label.
    pub fn show(&mut self, fraction: Option<f32>, words: &str) {
        let words = printable(words);
        if !self.terminal {
            return;
        }
        let line = match fraction {
            Some(fraction) => {
                let filled = ((fraction.clamp(0.0, 1.0) * WIDTH as f32).round() as usize).min(WIDTH);
                format!("[{}{}] {words}", "#".repeat(filled), "-".repeat(WIDTH - filled))
            }
            None => words,
        };
        if line != self.last {
            let mut out = std::io::stderr().lock();
            let _ = write!(out, "\r\x1b[2K{line}");
            let _ = out.flush();
            self.last = line;
        }
    }

    /// Prints a line above the bar.
    pub fn print_line(&mut self, sentence: &str) {
        let mut out = std::io::stderr().lock();
        if self.terminal {
            let _ = write!(out, "\r\x1b[2K");
            self.last.clear();
        }
        let _ = writeln!(out, "{}", printable(sentence));
    }

    /// Removes the bar.
    pub fn clear(&mut self) {
        if self.terminal && !self.last.is_empty() {
            let mut out = std::io::stderr().lock();
            let _ = write!(out, "\r\x1b[2K");
            let _ = out.flush();
            self.last.clear();
        }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.clear();
    }
}
