//! The Doctor view's state: whom it looks at, what was found, and what a remedy is doing.
//!
//! It knows findings and remedies as data; the way to a module is the bridge's.

use std::path::PathBuf;

use crate::doctor::log::Entry;
use crate::doctor::{Ended, Finding, Outcome, Remedy};

/// What is being done on the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Work {
    Looking,
    Applying(&'static str),
    Undoing(String),
    ExitingTasks,
    /// With what the installer last said.
    Installing(String),
    Uninstalling,
}

/// What the last change came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    Outcome {
        id: String,
        outcome: Outcome,
    },
    /// A sentence: the connection's, the installer's.
    Problem(String),
    Good(String),
}

/// The Doctor view.
#[derive(Debug, Clone, Default)]
pub struct DoctorState {
    /// As typed: `user@host`.
    pub host: String,
    pub findings: Vec<Finding>,
    /// The chosen check, by its name.
    pub chosen: Option<&'static str>,
    pub work: Option<Work>,
    pub said: Option<Said>,
    /// Earlier changes to this host, newest first.
    pub before: Vec<Entry>,
}

/// What a person does in the view.
#[derive(Debug, Clone, PartialEq)]
pub enum DoctorAction {
    SetHost(String),
    Look,
    Choose(&'static str),
    Apply,
    Undo(String),
    CopyCommands,
    ExitTasks,
    /// The unit's binary was chosen, or is to be asked for.
    Install(Option<PathBuf>),
    Uninstall,
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
}

/// What it reports.
#[derive(Debug)]
pub enum DoctorEvent {
    Found(Box<Finding>),
    /// The log of this host, newest first.
    Before(Vec<Entry>),
    Step(String),
    /// The work ended.
    Ended(Option<Said>),
}

impl DoctorState {
    /// The finding that is shown: the chosen one, or the worst.
    #[must_use]
    pub fn shown(&self) -> Option<&Finding> {
        let chosen = self
            .chosen
            .and_then(|id| self.findings.iter().find(|finding| finding.id == id));
        chosen.or_else(|| self.findings.iter().min_by_key(|finding| finding.verdict))
    }

    /// Whether the remedy was applied from here or elsewhere and not undone since.
    #[must_use]
    pub fn can_undo(&self, id: &str) -> bool {
        self.before
            .iter()
            .find(|entry| entry.id == id)
            .is_some_and(|entry| entry.act == "apply" && entry.ended.starts_with("done"))
    }

    /// How many findings are broken, to look at (or could not be looked at), good.
    #[must_use]
    pub fn counts(&self) -> (usize, usize, usize) {
        use crate::doctor::Verdict;
        let count = |verdicts: &[Verdict]| {
            self.findings
                .iter()
                .filter(|finding| verdicts.contains(&finding.verdict))
                .count()
        };
        (
            count(&[Verdict::Broken]),
            count(&[Verdict::LookHere, Verdict::CouldNotLook]),
            count(&[Verdict::Good]),
        )
    }

    /// Carries an action out; what the bridge must do comes back.
    pub fn apply(&mut self, action: DoctorAction, in_use: Option<(String, usize)>) -> Option<DoctorRequest> {
        let host = self.host.trim().to_owned();
        if let DoctorAction::SetHost(host) = action {
            self.host = host;
            return None;
        }
        if let DoctorAction::Choose(id) = action {
            self.chosen = Some(id);
            self.said = None;
            return None;
        }
        if self.work.is_some() || host.is_empty() {
            return None;
        }
        let (work, request) = match action {
            DoctorAction::Look => {
                self.findings.clear();
                self.chosen = None;
                (Work::Looking, DoctorRequest::Look { host, in_use })
            }
            DoctorAction::Apply => {
                let remedy = self.shown()?.remedy.clone()?;
                (
                    Work::Applying(remedy.id),
                    DoctorRequest::Apply {
                        host,
                        remedy: Box::new(remedy),
                    },
                )
            }
            DoctorAction::Undo(id) => (Work::Undoing(id.clone()), DoctorRequest::Undo { host, id }),
            DoctorAction::ExitTasks => (Work::ExitingTasks, DoctorRequest::ExitTasks { host }),
            DoctorAction::Install(Some(unit)) => {
                (Work::Installing(String::new()), DoctorRequest::Install { host, unit })
            }
            DoctorAction::Uninstall => (Work::Uninstalling, DoctorRequest::Uninstall { host }),
            DoctorAction::Install(None)
            | DoctorAction::SetHost(_)
            | DoctorAction::Choose(_)
            | DoctorAction::CopyCommands => return None,
        };
        self.said = None;
        self.work = Some(work);
        Some(request)
    }

    /// Takes in what the bridge reports. A change that ended is followed by a new look.
    pub fn absorb(&mut self, event: DoctorEvent, in_use: Option<(String, usize)>) -> Option<DoctorRequest> {
        match event {
            DoctorEvent::Found(finding) => {
                // The same check over ssh and over the port does not exist; a repeated one replaces the former.
                self.findings.retain(|old| old.id != finding.id);
                self.findings.push(*finding);
            }
            DoctorEvent::Before(entries) => self.before = entries,
            DoctorEvent::Step(step) => {
                if let Some(Work::Installing(said)) = &mut self.work {
                    *said = step;
                }
            }
            DoctorEvent::Ended(said) => {
                let looked = self.work.take() == Some(Work::Looking);
                if !looked {
                    let chosen = self.chosen;
                    let again = self.apply(DoctorAction::Look, in_use);
                    self.chosen = chosen;
                    self.said = said;
                    return again;
                }
                self.said = self.said.take().or(said);
            }
        }
        None
    }
}

impl Said {
    /// Whether it is good news.
    #[must_use]
    pub fn is_good(&self) -> bool {
        match self {
            Self::Outcome { outcome, .. } => !matches!(outcome.ended, Ended::Failed | Ended::Restored),
            Self::Problem(_) => false,
            Self::Good(_) => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::{Said as Words, Verdict, checks};

    fn finding(id: &'static str, verdict: Verdict) -> Finding {
        let words = || Words {
            en: id.into(),
            ja: id.into(),
        };
        Finding::new(id, "1", verdict, words(), words())
    }

    fn looking() -> DoctorState {
        let mut state = DoctorState {
            host: " root@m5 ".into(),
            ..DoctorState::default()
        };
        let request = state.apply(DoctorAction::Look, None);
        assert_eq!(
            request,
            Some(DoctorRequest::Look {
                host: "root@m5".into(),
                in_use: None
            })
        );
        state
    }

    #[test]
    fn nothing_is_asked_without_a_host_or_twice_at_once() {
        assert_eq!(DoctorState::default().apply(DoctorAction::Look, None), None);
        let mut state = looking();
        assert_eq!(state.apply(DoctorAction::Look, None), None);
        assert_eq!(state.apply(DoctorAction::Uninstall, None), None);
    }

    #[test]
    fn the_worst_finding_is_shown_until_one_is_chosen() {
        let mut state = looking();
        for (id, verdict) in [("a", Verdict::Good), ("b", Verdict::LookHere), ("c", Verdict::Broken)] {
            state.absorb(DoctorEvent::Found(Box::new(finding(id, verdict))), None);
        }
        assert_eq!(state.counts(), (1, 1, 1));
        assert_eq!(state.shown().map(|finding| finding.id), Some("c"));
        state.apply(DoctorAction::Choose("a"), None);
        assert_eq!(state.shown().map(|finding| finding.id), Some("a"));
    }

    #[test]
    fn a_change_is_followed_by_a_new_look_and_its_outcome_stays_to_be_read() {
        let mut state = looking();
        let broken = finding("libstdcxx", Verdict::Broken).mended_by(checks::libstdcxx::relink());
        state.absorb(DoctorEvent::Found(Box::new(broken)), None);
        state.absorb(DoctorEvent::Ended(None), None);
        assert!(matches!(
            state.apply(DoctorAction::Apply, None),
            Some(DoctorRequest::Apply { .. })
        ));
        let outcome = Outcome {
            ended: Ended::Done,
            why: None,
            log: String::new(),
        };
        let said = Said::Outcome {
            id: "relink-libstdcxx".into(),
            outcome,
        };
        let next = state.absorb(DoctorEvent::Ended(Some(said.clone())), None);
        assert!(matches!(next, Some(DoctorRequest::Look { .. })));
        state.absorb(DoctorEvent::Ended(None), None);
        assert_eq!(state.said, Some(said));
        assert_eq!(state.work, None);
    }
}
