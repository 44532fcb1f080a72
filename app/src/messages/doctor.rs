//! Work of the doctor.

use std::path::PathBuf;

use crate::doctor::build::News;
use crate::doctor::log::Entry;
use crate::doctor::{Ended, Finding, Outcome, Remedy};
use crate::model::Said as Words;

/// What the last change came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    Outcome {
        id: String,
        outcome: Outcome,
    },
    /// A sentence: the connection's, the installer's.
    Problem(Words),
    Good(Words),
}

impl Said {
    /// Whether it is good news.
    #[must_use]
    pub fn is_good(&self) -> bool {
        match self {
            Self::Outcome { outcome, .. } => !matches!(outcome.ended, Ended::Failed | Ended::Restored | Ended::Stuck),
            Self::Problem(_) => false,
            Self::Good(_) => true,
        }
    }
}

/// What the bridge is asked for.
#[derive(Debug, Clone, PartialEq)]
pub enum DoctorRequest {
    Look {
        host: String,
        in_use: Option<(String, usize)>,
    },
    Apply {
        host: String,
        remedy: Box<Remedy>,
    },
    Undo {
        host: String,
        id: String,
    },
    ExitTasks {
        host: String,
    },
    Install {
        host: String,
        unit: PathBuf,
    },
    Uninstall {
        host: String,
    },
    Build {
        host: String,
    },
    StopBuild,
}

/// What it reports.
#[derive(Debug)]
pub enum DoctorEvent {
    Found(Box<Finding>),
    /// The log of this host, newest first.
    Before(Vec<Entry>),
    /// Where port 10001 is looked for.
    Address(String),
    Step(Words),
    Building(News),
    /// The work ended.
    Ended(Option<Said>),
}
