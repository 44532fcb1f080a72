//! Downloads models for the embedded module: before anything is connected, or in the background.

use super::{Notice, Workbench};
use crate::messages::Request;
use crate::model::{BackgroundFetch, FetchProgress, Problem, Target};

impl Workbench {
    /// Downloads a model; in the background if a module is in use.
    pub(super) fn fetch(&mut self, name: String) {
        self.dialog = None;
        let input = Box::new(self.prompt_and_settings());
        if self.module.is_ready() {
            self.takes_over = true;
        } else {
            self.clear_running();
            self.last_facts = None;
            self.target = Target::Embedded {
                model: Some(name.clone()),
            };
        }
        self.pending_requests.push(Request::FetchModel { name, input });
    }

    pub(super) fn cancel_fetch(&mut self) {
        self.pending_requests.push(Request::CancelFetch);
        // Cancelling the default model means choosing the small one in its place, so that the next start downloads nothing.
        if let (Some(BackgroundFetch::Fetching(_)), Some(facts)) = (&self.background_fetch, self.module.facts())
            && facts.is_embedded()
            && let Target::Embedded { model: model @ None } = &mut self.target
        {
            *model = Some(facts.identity.model.clone());
        }
    }

    pub(super) fn fetching_in_background(&mut self, progress: FetchProgress) {
        if !matches!(self.background_fetch, Some(BackgroundFetch::Fetching(_))) && !self.module.is_ready() {
            // The small model is used until the download is complete.
            self.takes_over = true;
        }
        self.background_fetch = Some(BackgroundFetch::Fetching(progress));
    }

    pub(super) fn fetched(&mut self, name: String, fetched: Result<Option<String>, Problem>) {
        self.background_fetch = match fetched {
            Ok(arrived) => arrived.map(BackgroundFetch::Arrived),
            Err(problem) => Some(BackgroundFetch::Failed { name, problem }),
        };
    }

    /// The downloaded model could not be used, and the previous one stays in use until the user tries again.
    pub(super) fn not_taken_over(&mut self, problem: Option<&Problem>) {
        if let (Some(name), Some(problem)) = (self.taking_over.take(), problem) {
            let problem = problem.clone();
            self.background_fetch = Some(BackgroundFetch::Failed { name, problem });
        }
    }

    /// Switches to a downloaded model as soon as nothing runs.
    pub(super) fn take_over(&mut self) {
        let Some(BackgroundFetch::Arrived(name)) = &self.background_fetch else {
            return;
        };
        let name = name.clone();
        if !self.takes_over {
            self.background_fetch = None;
            self.notice = Some(Notice::Fetched(name));
            return;
        }
        let is_idle = self.module.is_ready()
            && self.running.is_empty()
            && self.curve.progress().is_none()
            && !self.sweep.is_busy()
            && self.find.working_mode().is_none()
            && !self.is_choosing()
            && self.playback.is_none()
            && self.dialog.is_none();
        if is_idle {
            self.background_fetch = None;
            self.connect(Target::Embedded {
                model: Some(name.clone()),
            });
            self.notice = Some(Notice::TakenOver(name.clone()));
            self.taking_over = Some(name);
        }
    }
}
