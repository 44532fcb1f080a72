//! Requests to the doctor, and its events.

use std::path::PathBuf;

use crate::doctor::build::BuildOutput;
use crate::doctor::log::Entry;
use crate::doctor::{Ended, Finding, Remedy, RemedyOutcome};
use crate::model::Bilingual;

/// The result of the last change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChangeOutcome {
    Outcome {
        id: String,
        outcome: RemedyOutcome,
    },
    /// An error of the connection or the installer.
    Problem(Bilingual),
    Good(Bilingual),
}

impl ChangeOutcome {
    /// Returns whether the change succeeded.
    #[must_use]
    pub fn is_good(&self) -> bool {
        match self {
            Self::Outcome { outcome, .. } => !matches!(outcome.ended, Ended::Failed | Ended::Restored | Ended::Stuck),
            Self::Problem(_) => false,
            Self::Good(_) => true,
        }
    }
}

/// Requests to the bridge.
#[derive(Debug, Clone, PartialEq)]
pub enum DoctorRequest {
    Check {
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

/// Events from the bridge.
#[derive(Debug)]
pub enum DoctorEvent {
    Found(Box<Finding>),
    /// The log of this host, latest first.
    Before(Vec<Entry>),
    /// The address that is checked on port 10001.
    Address(String),
    Step(Bilingual),
    Building(BuildOutput),
    /// The work ended.
    Ended(Vec<ChangeOutcome>),
}
