//! Handles the user's actions in the Find view, and takes a found prefix into Tune.

use softprefix_core::experiment::{Entry, Experiment, Generation, RunEvent, SavedExperiment};
use softprefix_core::prefix::{FoundBy, Magnitude, PrefixKind, PrefixRecipe, PrefixSummary, Rounding};
use softprefix_core::protocol::learn::{DEFAULT_ROWS, Example};

use super::library::LibraryState;
use super::search::{Chooser, Searcher};
use super::{FindAction, Notice, Tab, Workbench};
use crate::messages::{FileQuestion, FindEvent, FindRequest, FindWork, LibraryRequest, Request, SearchStart};
use crate::model::{
    ExportForm, FindMode, FoundPrefix, FoundRows, ImportedFile, InitChoice, LearnForm, LearnUnavailable, Nearest,
    SearchForm, SearchUnavailable,
};

impl Workbench {
    /// Returns why learning cannot start; `None` if it can.
    pub fn why_not_learn(&self) -> Option<LearnUnavailable> {
        if self.module.is_busy() {
            return Some(LearnUnavailable::StillConnecting);
        }
        let Some(facts) = self.module.facts() else {
            return Some(LearnUnavailable::NotConnected);
        };
        if self.find.working_mode().is_some_and(|mode| mode != FindMode::Learn) {
            return Some(LearnUnavailable::OtherMode);
        }
        if !facts.learns {
            return Some(LearnUnavailable::CannotLearn(facts.identity.unit.clone()));
        }
        if self.library.state != LibraryState::Open {
            return Some(LearnUnavailable::NoHistory);
        }
        let form = &self.find.form;
        for (number, example) in form.examples.iter().enumerate() {
            if example.prompt.trim().is_empty() {
                return Some(LearnUnavailable::EmptyPrompt(number + 1));
            }
            if example.target.trim().is_empty() {
                return Some(LearnUnavailable::EmptyTarget(number + 1));
            }
        }
        match form.init {
            InitChoice::Words if form.words.trim().is_empty() => Some(LearnUnavailable::NoWords),
            InitChoice::Present if self.prefix.missing().is_some() => Some(LearnUnavailable::NoPresent),
            _ => self.has_wrong_field(Tab::Find).then_some(LearnUnavailable::WrongField),
        }
    }

    pub(super) fn find_acts(&mut self, action: FindAction) {
        let find = &mut self.find;
        match action {
            FindAction::SetPrompt(prompt) => find.edit(|example| example.prompt = prompt),
            FindAction::SetTarget(target) => find.edit(|example| example.target = target),
            FindAction::ShowExample(index) => find.form.shown = index.min(find.form.examples.len().saturating_sub(1)),
            FindAction::AddExample => {
                let prompt = find
                    .form
                    .example()
                    .map(|example| example.prompt.clone())
                    .unwrap_or_default();
                let target = String::new();
                find.form.examples.push(Example { prompt, target });
                find.form.shown = find.form.examples.len() - 1;
            }
            FindAction::RemoveExample => {
                if find.form.examples.len() > 1 && find.form.shown < find.form.examples.len() {
                    find.form.examples.remove(find.form.shown);
                    find.form.shown = find.form.shown.min(find.form.examples.len() - 1);
                    find.form.held_out = find.form.held_out.min(find.form.most_held_out());
                }
            }
            FindAction::OpenExamples => self.ask(FileQuestion::Examples),
            FindAction::SetHeldOut(count) => find.form.held_out = count.min(find.form.most_held_out()),
            FindAction::SetInstruction(words) => find.form.instruction = words,
            FindAction::SetLen(len) => {
                find.form.len = len.clamp(*LearnForm::LENS.start(), *LearnForm::LENS.end());
            }
            FindAction::SetInit(init) => find.form.init = init,
            FindAction::SetWords(words) => find.form.words = words,
            FindAction::SetNorm(norm) => find.form.norm = norm,
            FindAction::SetPreserve(on) => find.form.preserve = on,
            FindAction::SetSteps(steps) => {
                find.form.steps = steps.clamp(*LearnForm::STEPS.start(), *LearnForm::STEPS.end());
            }
            FindAction::SetSeed(seed) => find.form.seed = seed,
            FindAction::SetMode(mode) => find.mode = mode,
            FindAction::SetSearch(form) => find.search_form = form.within_bounds(),
            FindAction::Start => self.start_finding(),
            FindAction::ResumeSearch => self.resume_search(),
            FindAction::Stop => {
                if find.stop() {
                    self.ask_find(FindRequest::Stop);
                }
            }
            FindAction::Pick(candidate) => self.pick(candidate),
            FindAction::StepBack(generation) => self.step_back(generation),
            FindAction::UseInTune => {
                if let Some(found) = self.found_prefix() {
                    self.ask_find(FindRequest::Import { found });
                }
            }
            FindAction::Export(form) => self.ask_export_found(form),
            FindAction::DismissProblem => find.dismiss(find.mode),
        }
    }

    pub(super) fn ask_find(&mut self, request: FindRequest) {
        self.pending_requests.push(Request::Find(request));
    }

    fn begin_find(&mut self, work: FindWork) {
        let request = self.find.begin(work);
        self.ask_find(request);
    }

    fn start_learning(&mut self) {
        if self.find.working_mode().is_some() || self.why_not_learn().is_some() {
            return;
        }
        let plan = Box::new(self.find.form.plan(&self.prompt.system));
        let init = (self.find.form.init == InitChoice::Present).then(|| self.prefix.recipe());
        self.begin_find(FindWork::Learn { plan, init });
    }

    fn ask_export_found(&mut self, form: ExportForm) {
        let Some(found) = self.found_prefix() else {
            return;
        };
        let (how, len) = match &found {
            FoundPrefix::Learned(_) => {
                let len = self.find.learning().map_or(0, |learning| learning.plan.request.len);
                ("learned", len)
            }
            FoundPrefix::Candidate { recipe, found } => match found.by {
                FoundBy::Person => ("chosen", recipe.len),
                FoundBy::Objective => ("found", recipe.len),
            },
        };
        let suggested = form.file_name(&format!("prefix-{how}-P{len}"));
        self.ask(FileQuestion::ExportFound { suggested, found, form });
    }

    /// Reads the examples of the selected file.
    pub(super) fn read_examples(&mut self, path: std::path::PathBuf) {
        self.ask_find(FindRequest::ReadExamples(path));
    }

    /// Exports a prefix to the selected file.
    pub(super) fn export_found(&mut self, found: FoundPrefix, path: std::path::PathBuf, form: ExportForm) {
        self.ask_find(FindRequest::Export { found, path, form });
    }

    /// Shows an experiment of learning and sets the fields from it, unless one is in progress.
    pub(super) fn open_learning(&mut self, saved: SavedExperiment) {
        if self.find.working_mode() == Some(FindMode::Learn) {
            return;
        }
        self.find.mode = FindMode::Learn;
        if let Some(learning) = &saved.learning {
            self.find.form.set_from_plan(&learning.plan);
        }
        let experiment = saved.experiment.id.clone();
        self.find.saved = Some(saved);
        self.find.rows = None;
        self.find.dismiss(FindMode::Learn);
        self.tab = Tab::Find;
        if self.find.found().is_some() {
            self.ask_find(FindRequest::Rows { experiment });
        }
    }

    pub(super) fn absorb_find(&mut self, event: FindEvent) {
        let find = &mut self.find;
        match event {
            FindEvent::LearnStarted { experiment, plan } => {
                let id = experiment.id.clone();
                find.saved = Some(SavedExperiment::new(*experiment));
                find.add(Entry::Learning { experiment: id, plan });
                find.rows = None;
                find.mark_running();
                self.ask_library(LibraryRequest::List);
            }
            FindEvent::LearnProgress(frame) => {
                if let Some(experiment) = find.saved.as_ref().map(|saved| saved.experiment.id.clone()) {
                    find.add(Entry::Learned { experiment, frame });
                }
            }
            FindEvent::Output(record) => find.add(Entry::Case(record)),
            FindEvent::Rows { experiment, rows } => {
                if find
                    .saved
                    .as_ref()
                    .is_some_and(|saved| saved.experiment.id == experiment)
                {
                    find.rows = Some(FoundRows {
                        // The neighbours change little from step to step, so the old ones stay until the new ones arrive.
                        nearest: match find.rows.take() {
                            Some(before) if before.summary.len == rows.summary.len => before.nearest,
                            _ => Nearest::Pending,
                        },
                        ..*rows
                    });
                }
            }
            FindEvent::Nearest { recipe, nearest } => {
                if let Some(rows) = find.rows.as_mut().filter(|rows| rows.recipe == recipe) {
                    rows.nearest = nearest;
                }
            }
            FindEvent::Ended { number, problem } => {
                find.end(number, problem);
                self.ask_library(LibraryRequest::List);
            }
            FindEvent::ChooseStarted(experiment) => {
                find.mark_running();
                find.chooser.saved = Some(SavedExperiment::new(*experiment));
                self.ask_library(LibraryRequest::List);
            }
            FindEvent::ChooseEntry(entry) => {
                find.mark_running();
                find.chooser.add(*entry);
            }
            FindEvent::CandidateText { candidate, text } => find.chooser.text(candidate, &text),
            FindEvent::ComparedWithParent(relative_to_parent) => {
                find.chooser.relative_to_parent.extend(relative_to_parent)
            }
            FindEvent::Searched(event) => {
                find.mark_running();
                let began = matches!(*event, RunEvent::Started(_));
                let problem = find.searcher.absorb(*event);
                find.note_problem(FindMode::Search, problem);
                if began {
                    self.ask_library(LibraryRequest::List);
                }
            }
            FindEvent::Examples(examples) => {
                find.form.held_out = 0;
                find.form.shown = 0;
                find.form.examples = examples;
            }
            FindEvent::Imported { file, summary } => self.take_learned(file, &summary),
            FindEvent::Exported(path) => self.notice = Some(Notice::Saved(path)),
            FindEvent::QueryFailed(problem) => self.notice = Some(Notice::Problem(problem)),
        }
    }

    /// Sets Tune to a found prefix and its prompt: at 1x every row is as it was found.
    fn take_learned(&mut self, file: ImportedFile, summary: &PrefixSummary) {
        self.prefix.rounding = Rounding::default();
        self.prefix.imported = Some(file);
        let median = self.vocabulary.as_ref().map(|vocabulary| vocabulary.median);
        self.prefix.take_rows(&summary.norms, median);
        if let Some(prompt) = self.find.prompt() {
            self.keep_replaced_prompt();
            (self.prompt.system, self.prompt.user) = (prompt.system, prompt.user);
            self.count();
            self.refresh_stale();
        }
        self.tab = Tab::Tune;
        self.prefix_changed();
    }
}

impl Workbench {
    /// Returns whether the candidates of Choose are on screen, which keys choose from.
    pub fn chooses(&self) -> bool {
        self.tab == Tab::Find && self.find.mode == FindMode::Choose && self.playback.is_none()
    }

    /// Returns the view on which keys act: a recording shows Tune, and the Presenter the candidates of Choose, else what Tune shows.
    pub fn shown_tab(&self) -> Tab {
        match self.playback.is_some() || (self.presenting && !self.chooses()) {
            true => Tab::Tune,
            false => self.tab,
        }
    }

    /// Returns why no candidates can be run in Choose or Search.
    pub fn why_not_search(&self) -> Option<SearchUnavailable> {
        if let Some(off) = self.why_not_run_candidates() {
            return Some(off);
        }
        if self.prompt.user.trim().is_empty() {
            return Some(SearchUnavailable::EmptyPrompt);
        }
        if self.prefix.missing().is_some() && !self.searches_from_text() {
            return Some(SearchUnavailable::NoPrefix);
        }
        if self.has_wrong_field(Tab::Find) {
            return Some(SearchUnavailable::WrongField);
        }
        let objective = self.find.search_form.objective(self.scores_texts());
        (self.find.mode == FindMode::Search && objective.check().is_err()).then_some(SearchUnavailable::NoObjective)
    }

    /// Returns whether Search starts from the rows of the wanted text.
    pub fn searches_from_text(&self) -> bool {
        let form = &self.find.search_form;
        let has_text = !form.text.trim().is_empty();
        self.find.mode == FindMode::Search && form.from_text && has_text && self.scores_texts()
    }

    /// Returns the prefix around which candidates lie.
    fn first_recipe(&self) -> PrefixRecipe {
        let recipe = self.prefix.recipe();
        match self.searches_from_text() {
            true => PrefixRecipe {
                kind: PrefixKind::Words {
                    text: self.find.search_form.text.trim().to_owned(),
                },
                len: recipe.len.max(DEFAULT_ROWS),
                magnitude: Magnitude::Unscaled,
                ..recipe
            },
            false => recipe,
        }
    }

    /// Returns whether the module's unit scores texts by teacher forcing.
    pub fn scores_texts(&self) -> bool {
        self.module.facts().is_some_and(|facts| facts.scores)
    }

    /// Returns whether candidates are shown that the user chooses from: another model could not continue them.
    pub(super) fn is_choosing(&self) -> bool {
        self.chooses() && self.find.chooser.saved.is_some()
    }

    /// Returns why no candidates can be run, regardless of the fields.
    fn why_not_run_candidates(&self) -> Option<SearchUnavailable> {
        if self.module.is_busy() {
            return Some(SearchUnavailable::StillConnecting);
        }
        if self.module.facts().is_none() {
            return Some(SearchUnavailable::NotConnected);
        }
        if self.find.working_mode().is_some_and(|mode| mode != self.find.mode) {
            return Some(SearchUnavailable::OtherMode);
        }
        (self.library.state != LibraryState::Open).then_some(SearchUnavailable::NoHistory)
    }

    /// Returns the prefix that is shown in the current mode, which can be used in Tune.
    pub fn found_prefix(&self) -> Option<FoundPrefix> {
        let (record, by) = match self.find.mode {
            FindMode::Learn => return self.find.found().map(|id| FoundPrefix::Learned(id.to_owned())),
            FindMode::Choose => (self.find.chooser.last_chosen()?, FoundBy::Person),
            FindMode::Search => (self.find.searcher.best()?.0, FoundBy::Objective),
        };
        Some(FoundPrefix::Candidate {
            recipe: Box::new(record.case.recipe.clone()?),
            found: Box::new(record.found(by)?),
        })
    }
}

impl Workbench {
    /// Starts the work of the current mode.
    pub(super) fn start_finding(&mut self) {
        if self.find.mode == FindMode::Learn {
            return self.start_learning();
        }
        if self.find.working_mode().is_some() || self.why_not_search().is_some() {
            return;
        }
        let (plan, recipe) = (SearchForm::plan(&self.prompt), self.first_recipe());
        let scores = self.scores_texts();
        let find = &mut self.find;
        let settings = find.search_form.settings(find.mode);
        let start = Box::new(SearchStart { plan, recipe, settings });
        let work = match find.mode {
            FindMode::Search => {
                find.searcher = Searcher::default();
                FindWork::Search {
                    start,
                    objective: Box::new(find.search_form.objective(scores)),
                    budget: find.search_form.budget,
                }
            }
            FindMode::Learn | FindMode::Choose => {
                find.chooser = Chooser::default();
                FindWork::Choose(start)
            }
        };
        self.begin_find(work);
    }

    /// Continues the shown search, which was interrupted.
    fn resume_search(&mut self) {
        if self.why_not_resume_search().is_some() {
            return;
        }
        let Some(saved) = self.find.unfinished_search() else {
            return;
        };
        let experiment = saved.experiment.id.clone();
        self.find.searcher.end = None;
        self.begin_find(FindWork::ResumeSearch { experiment });
    }

    /// Returns why the shown, interrupted search cannot be continued; `None` if it can.
    pub fn why_not_resume_search(&self) -> Option<SearchUnavailable> {
        self.why_not_continue(&self.find.unfinished_search()?.experiment)
    }

    /// Returns why no candidate on screen can be chosen, and no earlier generation opened again; `None` if they can.
    pub fn why_not_choose(&self) -> Option<SearchUnavailable> {
        self.why_not_continue(&self.find.chooser.saved.as_ref()?.experiment)
    }

    /// Returns why no more candidates of an experiment can be run.
    fn why_not_continue(&self, experiment: &Experiment) -> Option<SearchUnavailable> {
        let of = &experiment.module;
        self.why_not_run_candidates().or_else(|| {
            let now = &self.module.facts()?.identity;
            let is_other = (&now.model, now.hidden_size) != (&of.model, of.hidden_size);
            is_other.then(|| SearchUnavailable::OtherModel(of.model.clone()))
        })
    }

    /// Chooses a candidate that has a text.
    pub(super) fn pick(&mut self, candidate: usize) {
        let chooser = &self.find.chooser;
        if !chooser.can_pick(candidate) {
            return;
        }
        let candidates = chooser.candidates();
        let records = candidates.iter().map(|one| one.record.map(|record| record.id.clone()));
        let records = records.map(Option::unwrap_or_default).collect();
        let Some(search) = chooser.generation().map(|generation| generation.search.clone()) else {
            return;
        };
        self.choose_next(Generation::picked(search, records, candidate));
    }

    /// Opens the generation of a number again.
    pub(super) fn step_back(&mut self, number: u64) {
        let generations = self.find.chooser.saved.iter().flat_map(|saved| &saved.generations);
        let wanted = generations
            .into_iter()
            .find(|one| one.search.generation() + 1 == number);
        let Some(search) = wanted.map(|generation| generation.search.clone()) else {
            return;
        };
        self.choose_next(Generation::opened(search));
    }

    fn choose_next(&mut self, generation: Generation) {
        // Where no candidates can be run, nothing is written.
        if self.why_not_choose().is_some() {
            return;
        }
        let Some(saved) = &self.find.chooser.saved else {
            return;
        };
        let experiment = saved.experiment.id.clone();
        self.begin_find(FindWork::ChooseNext {
            experiment,
            generation: Box::new(generation),
        });
    }

    /// Shows an experiment of choosing or searching, unless one is in progress.
    pub(super) fn open_search(&mut self, saved: SavedExperiment) {
        let find = &mut self.find;
        let by_objective = saved
            .generations
            .iter()
            .any(|generation| generation.objective.is_some());
        let mode = match by_objective {
            true => FindMode::Search,
            false => FindMode::Choose,
        };
        if find.working_mode() == Some(mode) {
            return;
        }
        find.mode = mode;
        find.dismiss(mode);
        self.tab = Tab::Find;
        if by_objective {
            find.searcher.show(saved);
            return;
        }
        let experiment = saved.experiment.id.clone();
        find.chooser = Chooser {
            saved: Some(saved),
            ..Chooser::default()
        };
        self.ask_find(FindRequest::CompareWithParent { experiment });
    }
}
