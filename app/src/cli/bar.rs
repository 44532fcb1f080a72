//! A progress bar with words on standard error; plain lines where that is no terminal. It knows nothing of what is done.

use std::io::{IsTerminal as _, Write as _};

/// Columns of the bar itself.
const WIDTH: usize = 28;

/// A line that is drawn again and again.
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

    /// Shows how far it is (0..=1, where that is known) and what is being done.
    pub fn show(&mut self, fraction: Option<f32>, words: &str) {
        if !self.terminal {
            // A log takes each sentence once, without a bar that moves.
            return;
        }
        let line = match fraction {
            Some(fraction) => {
                let filled = ((fraction.clamp(0.0, 1.0) * WIDTH as f32).round() as usize).min(WIDTH);
                format!("[{}{}] {words}", "#".repeat(filled), "-".repeat(WIDTH - filled))
            }
            None => words.to_owned(),
        };
        if line != self.last {
            let mut out = std::io::stderr().lock();
            let _ = write!(out, "\r\x1b[2K{line}");
            let _ = out.flush();
            self.last = line;
        }
    }

    /// A sentence of its own, above the bar.
    pub fn say(&mut self, sentence: &str) {
        let mut out = std::io::stderr().lock();
        if self.terminal {
            let _ = write!(out, "\r\x1b[2K");
            self.last.clear();
        }
        let _ = writeln!(out, "{sentence}");
    }

    /// Takes the bar away.
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
