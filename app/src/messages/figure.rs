//! A figure to be saved.

use std::path::PathBuf;

use softprefix_core::experiment::drawing::{Drawing, Paper};

use crate::figure::ImageFormat;

/// A figure to be written to a file.
#[derive(Debug, Clone, PartialEq)]
pub struct WriteFigure {
    pub path: PathBuf,
    pub drawing: Drawing,
    pub form: ImageFormat,
    pub paper: Paper,
}
