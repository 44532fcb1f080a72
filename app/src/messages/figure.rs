//! A figure on its way to a file.

use std::path::PathBuf;

use softprefix_core::experiment::drawing::{Drawing, Paper};

use crate::figure::Form;

/// A figure to be written.
#[derive(Debug, Clone, PartialEq)]
pub struct WriteFigure {
    pub path: PathBuf,
    pub drawing: Drawing,
    pub form: Form,
    pub paper: Paper,
}
