//! Handles the bridge's events about sweeps.

use softprefix_core::experiment::{CanaryFinding, Ending, Entry, RunEnd, RunEvent, SavedExperiment};

use super::{RunMessage, Shown, Stage, Sweeps};
use crate::errors;
use crate::messages::{LibraryRequest, SweepEvent};
use crate::model::{Problem, ProblemKind};
use crate::workbench::Workbench;

impl Workbench {
    pub(in crate::workbench) fn absorb_sweep(&mut self, event: SweepEvent) {
        match event {
            SweepEvent::Run(event) => self.absorb_run(event),
            SweepEvent::Refused(problem) => {
                // A run that is refused because of another leaves that one as it is.
                if self.sweep.running_experiment.is_none() {
                    self.sweep.stage = Stage::Idle;
                }
                self.sweep.message = Some(RunMessage::Problem(problem));
            }
            SweepEvent::SecondModule(answer) => self.second_module_answered(answer),
            SweepEvent::Aborted => {
                // The connection was closed: finished cases are saved, and the rest can be resumed.
                if self.sweep.is_busy() {
                    self.sweep.stage = Stage::Idle;
                    self.sweep.running_experiment = None;
                    self.sweep.running.clear();
                }
            }
        }
    }

    fn absorb_run(&mut self, event: RunEvent) {
        let sweep = &mut self.sweep;
        match event {
            RunEvent::Started(experiment) => {
                sweep.started(*experiment);
                self.analyse();
            }
            RunEvent::CaseStarted { index, .. } => {
                sweep.running.insert(index);
            }
            RunEvent::Text { .. } => {}
            RunEvent::CaseFinished(record) => {
                sweep.running.remove(&record.case.index);
                if !sweep.is_shown(&record.experiment) {
                    // It is in the history.
                    return;
                }
                let id = record.id.clone();
                let becomes_selected = sweep.selected.is_none()
                    && !record.is_baseline()
                    && record.text().is_some()
                    && sweep.shown_prompt().is_some_and(|prompt| *prompt == record.prompt);
                let comparisons = sweep.analysis.note(&record);
                sweep.add(Entry::Case(record));
                self.clear_saved_notice();
                self.measure(comparisons);
                if becomes_selected {
                    self.select_in_sweep(Some(id));
                } else if self.sweep.diff.is_none() {
                    self.compare_pair();
                }
            }
            RunEvent::Scored { record, scores } => {
                sweep.analysis.add_scores(&record, &scores);
                sweep.add(Entry::Scored { record, scores });
            }
            RunEvent::NotScored { count, error } => {
                let problem = errors::run(&error);
                sweep.message = Some(RunMessage::NotScored { count, problem });
            }
            RunEvent::Progress(progress) => {
                let reconnecting = matches!(sweep.stage, Stage::Running { reconnecting: true, .. });
                sweep.stage = Stage::Running { progress, reconnecting };
            }
            RunEvent::Canary(canary) => {
                if canary.finding != CanaryFinding::Applied {
                    sweep.message = Some(RunMessage::Canary(canary));
                }
            }
            RunEvent::CanaryFailed { error } => {
                sweep.message = Some(RunMessage::Problem(errors::canary(&error)));
            }
            RunEvent::CaseLost { index, name, error } => {
                sweep.running.remove(&index);
                // The end of the run reports it.
                tracing::error!(name, %error, "a case was lost");
            }
            RunEvent::Reconnecting { .. } => sweep.set_reconnecting(true),
            RunEvent::Reconnected => sweep.set_reconnecting(false),
            RunEvent::JournalFailed { error } => {
                // Whatever failed, the run waits for its file.
                let kind = ProblemKind::File;
                let problem = Problem {
                    kind,
                    ..errors::run(&error)
                };
                sweep.message = Some(RunMessage::Problem(problem));
            }
            RunEvent::Threshold(result) => {
                if let Some((_, threshold)) = &mut sweep.threshold {
                    *threshold = result;
                }
            }
            // Events of a search for a prefix, which this view does not run.
            RunEvent::Generation(_) => {}
            RunEvent::Ended(end) => {
                // A sweep that is not complete can be resumed, and a threshold search is another run.
                let is_complete_sweep = end == RunEnd::Complete && sweep.shown_at_start == Shown::Replaced;
                sweep.ended(end);
                self.ask_library(LibraryRequest::List);
                if is_complete_sweep {
                    self.start_on_second_module();
                }
            }
        }
    }
}

impl Sweeps {
    fn started(&mut self, experiment: softprefix_core::experiment::Experiment) {
        let id = experiment.id.clone();
        self.running_experiment = Some(id.clone());
        if self.is_shown(&id) {
            return;
        }
        if self.shown_at_start == Shown::Replaced {
            self.clear_shown();
        }
        self.shown.push(SavedExperiment::new(experiment));
    }

    fn is_shown(&self, id: &str) -> bool {
        self.shown.iter().any(|saved| saved.experiment.id == id)
    }

    /// Adds a line of a journal to a shown experiment.
    fn add(&mut self, entry: Entry) {
        let saved = self
            .shown
            .iter_mut()
            .find(|saved| saved.experiment.id == entry.experiment());
        if let Some(saved) = saved {
            saved.add(entry);
        }
    }

    fn set_reconnecting(&mut self, on: bool) {
        if let Stage::Running { reconnecting, .. } = &mut self.stage {
            *reconnecting = on;
        }
    }

    fn ended(&mut self, end: RunEnd) {
        let how = match &end {
            RunEnd::Complete => Some(Ending::Complete),
            RunEnd::Cancelled => Some(Ending::Cancelled),
            RunEnd::NoEffect | RunEnd::Interrupted { .. } => None,
        };
        if let Some((how, experiment)) = how.zip(self.running_experiment.clone()) {
            let at_unix = softprefix_core::time::now();
            self.add(Entry::Ended {
                experiment,
                how,
                at_unix,
            });
        }
        if let RunEnd::Interrupted { error } = &end {
            self.message = Some(RunMessage::Problem(errors::run(error)));
        }
        self.running.clear();
        self.running_experiment = None;
        self.stage = Stage::Ended(end);
    }
}
