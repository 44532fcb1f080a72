//! Placing a prefix in front of token rows, and the budget of the window.

use half::bf16;

use super::error::PrefixError;
use super::soft_prefix::SoftPrefix;

/// Puts the prefix's rows before `token_rows` (n x H values, the template's first token first) and returns (P + n) x H
/// values. Without a prefix the rows are returned unchanged: that is P = 0, which differs from a prefix of zeros.
///
/// The caller checks the prefix against the model's H (as [`super::decode`] does), since flat rows carry no width.
pub fn inject(prefix: Option<&SoftPrefix>, token_rows: Vec<bf16>) -> Vec<bf16> {
    match prefix {
        None => token_rows,
        Some(prefix) => {
            let mut rows = Vec::with_capacity(prefix.values().len() + token_rows.len());
            rows.extend_from_slice(prefix.values());
            rows.extend_from_slice(&token_rows);
            rows
        }
    }
}

/// How the positions of a window are used: prefix + template + prompt + output.
///
/// For the rows that must be fed at once (the module: 128), check a second budget with that window and no output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WindowBudget {
    /// P; 0 without a prefix.
    pub prefix: usize,
    /// Tokens of the chat template without the user's text.
    pub template: usize,
    /// Tokens of the user's text.
    pub prompt: usize,
    /// Tokens for which the output needs room.
    pub output: usize,
    /// Positions of the window.
    pub window: usize,
}

impl WindowBudget {
    /// # Errors
    /// [`PrefixError::WindowExceeded`] with the numbers where the sum is more than the window.
    pub fn check(&self) -> Result<(), PrefixError> {
        let needed = self.used().saturating_add(self.output);
        if needed <= self.window {
            return Ok(());
        }
        Err(PrefixError::WindowExceeded {
            prefix: self.prefix,
            template: self.template,
            prompt: self.template.saturating_add(self.prompt),
            output: self.output,
            window: self.window,
        })
    }

    /// Positions taken before the first output token.
    pub fn used(&self) -> usize {
        self.prefix.saturating_add(self.template).saturating_add(self.prompt)
    }

    /// Positions left for the output.
    pub fn room(&self) -> usize {
        self.window.saturating_sub(self.used())
    }
}
