//! The state of the Doctor view: the host, the findings, and the current work.

use std::path::PathBuf;

use crate::doctor::build::BuildOutput;
use crate::doctor::log::Entry;
use crate::doctor::{CHECKS, Ended, Finding};
use crate::messages::{ChangeOutcome, DoctorEvent, DoctorRequest};
use crate::model::Bilingual;

/// The current work on the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Work {
    Checking,
    Applying(&'static str),
    Undoing(String),
    ExitingTasks,
    /// With the last step of the installer.
    Installing(Option<Bilingual>),
    Uninstalling,
    Building,
}

/// A build of the C++ unit: its last output, and the module's free memory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Build {
    pub text: String,
    pub free_mib: Option<u64>,
    /// The user asked to stop it.
    pub stopping: bool,
}

impl Build {
    /// Size of the kept output of a build, in bytes; older lines are dropped.
    const KEPT: usize = 64 * 1024;

    fn apply_output(&mut self, output: BuildOutput) {
        match output {
            BuildOutput::FreeMemory(mib) => self.free_mib = Some(mib),
            BuildOutput::Text(text) => {
                // Line ends of a terminal, and lines that a progress bar overwrites.
                self.text.push_str(&text.replace("\r\n", "\n").replace('\r', "\n"));
                if self.text.len() > 2 * Self::KEPT {
                    let from = self.text.len() - Self::KEPT;
                    let cut = self.text.bytes().skip(from).position(|byte| byte == b'\n');
                    let cut = cut.map_or(from, |at| from + at + 1);
                    self.text = self.text.get(cut..).unwrap_or_default().to_owned();
                }
            }
        }
    }
}

/// The page on the right side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Page {
    /// One finding.
    #[default]
    Finding,
    /// Installing softprefix-unit: explanation, file and commands.
    Installer,
}

/// The Doctor view.
#[derive(Debug, Clone, Default)]
pub struct DoctorState {
    /// As typed: `user@host`.
    pub host: String,
    /// In the order of the set-up guide. During a new check, old findings stay until they are replaced.
    pub findings: Vec<Finding>,
    /// Ids of the findings that the current check has made.
    fresh: Vec<&'static str>,
    /// The address that was checked on port 10001.
    pub address: Option<String>,
    /// Id of the selected check.
    pub chosen: Option<&'static str>,
    pub page: Page,
    /// The file to install.
    pub unit: String,
    /// The current build, or the last one.
    pub build: Option<Build>,
    pub work: Option<Work>,
    /// How the last change ended, and problems of the check itself.
    pub outcomes: Vec<ChangeOutcome>,
    /// Earlier changes to this host, latest first.
    pub before: Vec<Entry>,
}

/// A user's action in the view.
#[derive(Debug, Clone, PartialEq)]
pub enum DoctorAction {
    SetHost(String),
    /// Fills in the host of this module address and checks it.
    Visit(String),
    Check,
    Choose(&'static str),
    Apply,
    Undo(String),
    CopyCommands(String),
    ExitTasks,
    Show(Page),
    /// The file to install.
    SetUnit(String),
    /// Asks for that file with a file dialog.
    ChooseUnit,
    Install,
    Uninstall,
    Build,
    StopBuild,
    /// Connects the workbench to the module that was checked.
    Connect,
}

impl DoctorState {
    /// Returns the shown finding: the selected one, or the worst with a remedy.
    #[must_use]
    pub fn shown(&self) -> Option<&Finding> {
        let chosen = self
            .chosen
            .and_then(|id| self.findings.iter().find(|finding| finding.id == id));
        // Of the worst findings, one with a remedy: one without depends on others being fixed first.
        let next = |finding: &&Finding| (finding.verdict, finding.remedy.is_none());
        chosen.or_else(|| self.findings.iter().min_by_key(next))
    }

    /// Returns whether the remedy was applied, from here or elsewhere, and not undone since.
    #[must_use]
    pub fn can_undo(&self, id: &str) -> bool {
        self.before.iter().find(|entry| entry.id == id).is_some_and(|entry| {
            match Ended::ALL.iter().find(|ended| ended.word() == entry.ended) {
                Some(Ended::Stuck) => true,
                Some(ended) => *ended == Ended::Done && entry.act == "apply",
                // After a connection error the result of the remedy is unknown; undoing is safe in every case.
                None => entry.ended.starts_with("done") || crate::doctor::remedy(id).is_some(),
            }
        })
    }

    /// Returns the address of the checked module, if a model can be set up there.
    #[must_use]
    pub fn connectable(&self) -> Option<&str> {
        let works = self
            .findings
            .iter()
            .any(|finding| finding.id == "set-up" && finding.verdict == crate::doctor::Verdict::Good);
        self.address.as_deref().filter(|_| works)
    }

    /// Returns the number of findings that are broken, to look at (or not checked), and good.
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
            count(&[Verdict::Warning, Verdict::NotChecked]),
            count(&[Verdict::Good]),
        )
    }

    /// Handles an action; returns a request to the bridge, if any.
    pub fn apply(&mut self, action: DoctorAction, in_use: Option<(String, usize)>) -> Option<DoctorRequest> {
        let host = self.host.trim().to_owned();
        match action {
            DoctorAction::SetHost(host) => {
                // What is found and changed belongs to the host with which the work began.
                if self.work.is_some() {
                    return None;
                }
                if host.trim() != self.host.trim() {
                    self.forget();
                }
                self.host = host;
                return None;
            }
            DoctorAction::Visit(address) => {
                self.visit(&address);
                return None;
            }
            DoctorAction::Choose(id) => {
                self.chosen = Some(id);
                self.page = Page::Finding;
                self.outcomes.clear();
                return None;
            }
            DoctorAction::Show(page) => {
                self.page = page;
                self.outcomes.clear();
                return None;
            }
            DoctorAction::SetUnit(path) => {
                self.unit = path;
                return None;
            }
            DoctorAction::StopBuild => {
                let build = self.build.as_mut().filter(|_| self.work == Some(Work::Building))?;
                build.stopping = true;
                return Some(DoctorRequest::StopBuild);
            }
            _ => {}
        }
        if self.work.is_some() || host.is_empty() {
            return None;
        }
        let (work, request) = match action {
            DoctorAction::Check => {
                self.fresh.clear();
                self.chosen = None;
                self.page = Page::Finding;
                (Work::Checking, DoctorRequest::Check { host, in_use })
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
            DoctorAction::Install => {
                let unit = self.unit.trim();
                if unit.is_empty() {
                    return None;
                }
                let unit = PathBuf::from(unit);
                (Work::Installing(None), DoctorRequest::Install { host, unit })
            }
            DoctorAction::Uninstall => (Work::Uninstalling, DoctorRequest::Uninstall { host }),
            DoctorAction::Build => {
                self.build = Some(Build::default());
                (Work::Building, DoctorRequest::Build { host })
            }
            _ => return None,
        };
        self.outcomes.clear();
        self.work = Some(work);
        Some(request)
    }

    /// Handles an event. A change that ended is followed by a new check.
    pub fn absorb(&mut self, event: DoctorEvent, in_use: Option<(String, usize)>) -> Option<DoctorRequest> {
        match event {
            DoctorEvent::Found(finding) => {
                self.fresh.push(finding.id);
                self.findings.retain(|old| old.id != finding.id);
                self.findings.push(*finding);
                let place = |id: &str| CHECKS.iter().position(|check| check.id == id);
                self.findings.sort_by_key(|finding| place(finding.id));
            }
            DoctorEvent::Before(entries) => self.before = entries,
            DoctorEvent::Address(address) => self.address = Some(address),
            DoctorEvent::Step(step) => {
                if let Some(Work::Installing(outcome)) = &mut self.work {
                    *outcome = Some(step);
                }
            }
            DoctorEvent::Building(output) => {
                if let Some(build) = &mut self.build {
                    build.apply_output(output);
                }
            }
            DoctorEvent::Ended(outcomes) => {
                let was_check = self.work.take() == Some(Work::Checking);
                if !was_check {
                    // After a fix, the next problem is shown.
                    let is_changed = matches!(outcomes.as_slice(), [ChangeOutcome::Outcome { outcome, .. }] if matches!(outcome.ended, Ended::Done | Ended::Already));
                    let (chosen, page) = (self.chosen.filter(|_| !is_changed), self.page);
                    let again = self.apply(DoctorAction::Check, in_use);
                    (self.chosen, self.page) = (chosen, page);
                    self.outcomes = outcomes;
                    return again;
                }
                let fresh = std::mem::take(&mut self.fresh);
                self.findings.retain(|finding| fresh.contains(&finding.id));
                // What ended the change often ends the check as well; it is said once.
                let further = outcomes.into_iter().filter(|outcome| !self.outcomes.contains(outcome));
                self.outcomes.extend(further.collect::<Vec<_>>());
            }
        }
        None
    }
}

impl DoctorState {
    /// Creates the state for a host, without findings.
    #[must_use]
    pub fn at(host: String) -> Self {
        Self {
            host,
            ..Self::default()
        }
    }

    /// Clears the findings of another module.
    fn forget(&mut self) {
        *self = Self {
            host: std::mem::take(&mut self.host),
            unit: std::mem::take(&mut self.unit),
            ..Self::default()
        };
    }

    /// Sets the host from an address, unless it is already set.
    fn visit(&mut self, address: &str) {
        let host = match address.rsplit_once(':') {
            Some((host, port)) if port.chars().all(|c| c.is_ascii_digit()) => host,
            _ => address,
        };
        let host = host.trim_matches(['[', ']']);
        let known = self.host.trim();
        let same = known.rsplit_once('@').map_or(known, |(_, host)| host) == host;
        if !same && self.work.is_none() {
            self.forget();
            // The default user of a module.
            self.host = format!("root@{host}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::{RemedyOutcome, Verdict};

    fn finding(id: &'static str, verdict: Verdict) -> Finding {
        let words = || Bilingual {
            en: id.into(),
            ja: id.into(),
        };
        Finding::new(id, "1", verdict, words(), words())
    }

    fn checking() -> DoctorState {
        let mut state = DoctorState {
            host: " root@m5 ".into(),
            ..DoctorState::default()
        };
        let request = state.apply(DoctorAction::Check, None);
        assert_eq!(
            request,
            Some(DoctorRequest::Check {
                host: "root@m5".into(),
                in_use: None
            })
        );
        state
    }

    #[test]
    fn nothing_is_asked_without_a_host_or_twice_at_once() {
        assert_eq!(DoctorState::default().apply(DoctorAction::Check, None), None);
        let mut state = checking();
        assert_eq!(state.apply(DoctorAction::Check, None), None);
        assert_eq!(state.apply(DoctorAction::Uninstall, None), None);
    }

    #[test]
    fn what_a_check_finds_belongs_to_the_host_with_which_it_began() {
        let mut state = checking();
        state.apply(DoctorAction::SetHost("root@m6".into()), None);
        assert_eq!(state.host, " root@m5 ");
        state.absorb(DoctorEvent::Found(Box::new(finding("unit", Verdict::Broken))), None);
        state.absorb(DoctorEvent::Ended(Vec::new()), None);
        state.apply(DoctorAction::SetHost("root@m6".into()), None);
        assert_eq!((state.host.as_str(), state.findings.len()), ("root@m6", 0));
    }

    #[test]
    fn every_problem_of_a_check_is_shown_once_beside_the_change_before_it() {
        let mut state = checking();
        state.absorb(DoctorEvent::Ended(Vec::new()), None);
        state.apply(DoctorAction::ExitTasks, None);
        let problem = |words: &str| ChangeOutcome::Problem(Bilingual::new(words, words));
        assert!(
            state
                .absorb(DoctorEvent::Ended(vec![problem("no ssh")]), None)
                .is_some()
        );
        let problems = vec![problem("no log"), problem("no ssh")];
        state.absorb(DoctorEvent::Ended(problems), None);
        assert_eq!(state.outcomes, [problem("no ssh"), problem("no log")]);
    }

    #[test]
    fn the_worst_finding_is_shown_until_one_is_chosen() {
        let mut state = checking();
        for (id, verdict) in [
            ("service", Verdict::Good),
            ("tree", Verdict::Warning),
            ("unit", Verdict::Broken),
        ] {
            state.absorb(DoctorEvent::Found(Box::new(finding(id, verdict))), None);
        }
        assert_eq!(state.counts(), (1, 1, 1));
        assert_eq!(state.shown().map(|finding| finding.id), Some("unit"));
        state.apply(DoctorAction::Choose("service"), None);
        assert_eq!(state.shown().map(|finding| finding.id), Some("service"));
    }

    #[test]
    fn a_change_is_followed_by_a_new_check_and_its_outcome_stays_visible() {
        let mut state = checking();
        let broken =
            finding("libstdcxx", Verdict::Broken).with_remedy(crate::doctor::remedy("relink-libstdcxx").unwrap());
        state.absorb(DoctorEvent::Found(Box::new(broken)), None);
        state.absorb(DoctorEvent::Ended(Vec::new()), None);
        assert!(matches!(
            state.apply(DoctorAction::Apply, None),
            Some(DoctorRequest::Apply { .. })
        ));
        let outcome = RemedyOutcome {
            ended: Ended::Done,
            why: None,
            log: String::new(),
        };
        let outcome = ChangeOutcome::Outcome {
            id: "relink-libstdcxx".into(),
            outcome,
        };
        let next = state.absorb(DoctorEvent::Ended(vec![outcome.clone()]), None);
        assert!(matches!(next, Some(DoctorRequest::Check { .. })));
        assert_eq!(
            state.findings.len(),
            1,
            "the former finding stays until it is made again"
        );
        state.absorb(DoctorEvent::Found(Box::new(finding("unit", Verdict::Good))), None);
        state.absorb(DoctorEvent::Ended(Vec::new()), None);
        assert_eq!(state.outcomes, [outcome]);
        assert_eq!(state.work, None);
        let left: Vec<_> = state.findings.iter().map(|finding| finding.id).collect();
        assert_eq!(left, ["unit"], "what the new look did not find again is gone");
    }

    #[test]
    fn findings_are_in_the_guides_order_and_cleared_with_the_host() {
        let mut state = checking();
        for id in ["stream", "service", "interpreter"] {
            state.absorb(DoctorEvent::Found(Box::new(finding(id, Verdict::Good))), None);
        }
        let ids: Vec<_> = state.findings.iter().map(|finding| finding.id).collect();
        assert_eq!(ids, ["service", "interpreter", "stream"]);
        state.absorb(DoctorEvent::Ended(Vec::new()), None);
        state.apply(DoctorAction::SetHost("root@m5 ".into()), None);
        assert_eq!(state.findings.len(), 3);
        state.apply(DoctorAction::SetHost("root@m6".into()), None);
        assert!(state.findings.is_empty());
    }

    #[test]
    fn a_failed_address_becomes_the_host_to_check() {
        let mut state = DoctorState::default();
        for (address, host) in [
            ("192.168.1.20:10001", "root@192.168.1.20"),
            ("m5.local", "root@m5.local"),
            ("[fe80::1]:10001", "root@fe80::1"),
        ] {
            state.apply(DoctorAction::Visit(address.into()), None);
            assert_eq!(state.host, host);
        }
        state.host = "pi@m5.local".into();
        state.apply(DoctorAction::Visit("m5.local:10001".into()), None);
        assert_eq!(state.host, "pi@m5.local", "the user that was typed stays");
    }

    #[test]
    fn a_build_keeps_its_last_lines_and_is_stopped_once_it_runs() {
        let mut state = checking();
        assert_eq!(state.apply(DoctorAction::StopBuild, None), None);
        state.absorb(DoctorEvent::Ended(Vec::new()), None);
        assert!(matches!(
            state.apply(DoctorAction::Build, None),
            Some(DoctorRequest::Build { .. })
        ));
        for line in 0..20_000 {
            state.absorb(DoctorEvent::Building(BuildOutput::Text(format!("行 {line}\r\n"))), None);
        }
        state.absorb(DoctorEvent::Building(BuildOutput::FreeMemory(612)), None);
        let build = state.build.clone().unwrap();
        assert!(build.text.len() <= 2 * Build::KEPT && build.text.ends_with("行 19999\n"));
        assert!(build.text.starts_with("行 "), "cut at a line");
        assert_eq!(build.free_mib, Some(612));
        assert_eq!(
            state.apply(DoctorAction::StopBuild, None),
            Some(DoctorRequest::StopBuild)
        );
    }
}
