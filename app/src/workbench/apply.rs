//! What each action does to the state. It decides what is to be run; it runs nothing.

use std::sync::Arc;
use std::time::Duration;

use softprefix_core::compare::{Granularity, Measure};
use softprefix_core::prefix::{MAX_LEN, Magnitude, PrefixKind};

use super::doctor::DoctorAction;
use super::{Action, Dialog, Effect, Flight, LIVE_DELAY, Lane, Notice, Workbench};
use crate::messages::{Comparison, FileQuestion, Inference, Purpose, Request};
use crate::model::{
    Budget, Case, CaseId, CaseKey, Colouring, Language, MagnitudeUnit, ModuleState, Noise, Origin, PRESETS, Pane,
    PaneState, PrefixForm, RunId, Settings, Side, Snapshot, Target, Theme,
};

impl Workbench {
    /// Carries out one action. The only way in which a person changes the state.
    pub fn apply(&mut self, action: Action) {
        if let Some(action) = self.past_playback(action) {
            self.act(action);
        }
        self.show_played();
    }

    /// The same for the person's own work, whatever is shown.
    pub(super) fn act(&mut self, action: Action) {
        let noted = self.note_action(&action);
        self.carry_out(action);
        self.record_action(noted);
    }

    fn carry_out(&mut self, action: Action) {
        match action {
            Action::SetMagnitude(_)
            | Action::ScaleMagnitude(_)
            | Action::ResetMagnitude
            | Action::SetMagnitudeUnit(_)
            | Action::SetUnscaled(_)
            | Action::SetLen(_)
            | Action::SetKind(_)
            | Action::SetSeed(_)
            | Action::SetRounding(_)
            | Action::SetWords(_) => self.edit_prefix(action),

            Action::Material(action) => self.apply_material(action),

            Action::SetPrompt(_)
            | Action::SetSystem(_)
            | Action::SetMaxTokens(_)
            | Action::SetSampling(_)
            | Action::LoadPreset(_) => self.edit_prompt(action),

            Action::SetLive(live) => self.set_live(live),
            Action::ToggleLive => self.set_live(!self.live),
            Action::Run => self.run_now(Duration::ZERO),
            Action::Stop => self.stop_all(),
            Action::RerunBaseline => self.rerun_baseline(),

            Action::Connect(target) => self.connect(target),
            Action::Reconnect => self.connect(self.target.clone()),
            Action::ExitLeftOverTasks => {
                if let ModuleState::TaskFull { tasks } = &self.module {
                    self.outbox.push(Request::ExitTasks { tasks: tasks.clone() });
                    self.dialog = None;
                }
            }
            Action::FetchModel(name) => {
                self.dialog = None;
                self.forget_flights();
                self.target = Target::Embedded {
                    model: Some(name.clone()),
                };
                let case = Box::new(self.case_key());
                self.outbox.push(Request::FetchModel { name, case });
            }
            Action::CancelFetch => self.outbox.push(Request::CancelFetch),
            Action::ChooseModelFile => self.ask(FileQuestion::ModelFile),

            Action::SelectRun(id) => self.select_run(id),
            Action::AdoptRun(id) => self.adopt_run(id),
            Action::RemoveRun(id) => {
                self.runs.retain(|run| run.id != id);
                self.file.edited = true;
                if self.selected == Some(id) {
                    self.select_run(None);
                }
            }
            Action::ClearRuns => {
                let shown = self.shown_case;
                self.runs.retain(|run| Some(run.case) != shown);
                self.selected = None;
                self.file.edited = true;
            }
            Action::SetMeasure(measure) => self.measure = measure,
            Action::NextMeasure => {
                let at = Measure::ALL
                    .iter()
                    .position(|&measure| measure == self.measure)
                    .unwrap_or(0);
                self.measure = Measure::ALL[(at + 1) % Measure::ALL.len()];
            }
            Action::SetGranularity(granularity) => self.set_granularity(granularity),
            Action::ToggleGranularity => self.set_granularity(match self.granularity {
                Granularity::Auto => Granularity::Grapheme,
                Granularity::Grapheme => Granularity::Word,
                Granularity::Word => Granularity::Line,
                Granularity::Line => Granularity::Auto,
            }),
            Action::SetColouring(colouring) => self.set_colouring(colouring),
            Action::ToggleKl => self.set_colouring(match self.deep.colouring {
                Colouring::Diff => Colouring::Kl,
                Colouring::Kl => Colouring::Diff,
            }),
            Action::CopyText(side) => {
                let text = match side {
                    Side::Baseline | Side::Repeat => &self.baseline.text,
                    Side::Prefixed => &self.prefixed.text,
                };
                self.effects.push(Effect::Copy(text.to_string()));
                self.notice = Some(Notice::Copied);
            }
            Action::CopySha256 => {
                if let Some(digest) = self.digest_in_sight() {
                    self.effects.push(Effect::Copy(digest));
                    self.notice = Some(Notice::Copied);
                }
            }

            Action::SaveFigure(figure, form, paper) => self.ask_for_figure(*figure, form, paper),
            Action::Save => match self.file.path.clone() {
                Some(path) => self.save_to(path),
                None => self.ask_save(),
            },
            Action::SaveAs => self.ask_save(),
            Action::Open => self.ask(FileQuestion::OpenResults),
            Action::OpenPath(path) => self.outbox.push(Request::Open { path }),

            Action::ToggleRecording => self.toggle_recording(),
            Action::Playback(action) => self.playback_acts(action),
            Action::Exhibit(action) => self.exhibition_acts(action),

            Action::ShowTab(tab) => self.tab = tab,
            Action::Doctor(action) => self.doctor_acts(action),
            Action::Sweep(action) => self.apply_sweep(action),
            Action::SetTheme(theme) => self.settings.theme = theme,
            Action::ToggleTheme => {
                self.settings.theme = match self.settings.theme {
                    Theme::Dark => Theme::Light,
                    Theme::Light => Theme::System,
                    Theme::System => Theme::Dark,
                };
            }
            Action::SetLanguage(language) => self.settings.language = language,
            Action::ToggleLanguage => {
                self.settings.language = match self.settings.language {
                    Language::English => Language::Japanese,
                    Language::Japanese => Language::English,
                };
            }
            Action::SetZoom(zoom) => self.set_zoom(zoom),
            Action::ZoomIn => self.set_zoom(self.settings.zoom + 0.1),
            Action::ZoomOut => self.set_zoom(self.settings.zoom - 0.1),
            Action::ZoomReset => self.set_zoom(1.0),
            Action::ToggleFullscreen => {
                self.fullscreen = !self.fullscreen;
                self.effects.push(Effect::Fullscreen(self.fullscreen));
            }
            Action::Present(on) => {
                if self.presenting != on {
                    self.presenting = on;
                    self.effects.push(Effect::Fullscreen(on || self.fullscreen));
                }
            }
            Action::ToggleAdvanced => self.settings.advanced = !self.settings.advanced,
            Action::ShowDialog(dialog) => {
                match dialog {
                    Dialog::Models => self.outbox.push(Request::ListModels),
                    Dialog::Identity => self.identify(),
                    _ => {}
                }
                self.dialog = Some(dialog);
            }
            Action::CloseDialog => {
                self.dialog = None;
                self.back_to_kept();
            }
            Action::DismissNotice => self.notice = None,
            Action::Quit => self.effects.push(Effect::Quit),
        }
        self.look_deeper();
    }

    // ----- what is edited -----

    fn edit_prefix(&mut self, action: Action) {
        let before = self.prefix.clone();
        match action {
            Action::SetMagnitude(value) => self.set_magnitude(value),
            Action::ScaleMagnitude(factor) => {
                let range = self.prefix.range();
                let value = match self.prefix.magnitude {
                    // From the stop upwards the slider begins at its lower end; downwards it stays.
                    0.0 if factor > 1.0 => *range.start(),
                    0.0 => 0.0,
                    value if value * factor < *range.start() && factor < 1.0 => 0.0,
                    value => (value * factor).clamp(0.0, *range.end()),
                };
                self.set_magnitude(value);
            }
            Action::ResetMagnitude => {
                let value = match self.prefix.unit {
                    MagnitudeUnit::TokenNorms => 1.0,
                    MagnitudeUnit::Raw => 0.01,
                };
                self.set_magnitude(value);
            }
            Action::SetMagnitudeUnit(unit) => {
                self.settings.raw_magnitude = unit == MagnitudeUnit::Raw;
                self.set_unit(unit);
            }
            Action::SetUnscaled(unscaled) => self.prefix.unscaled = unscaled,
            Action::SetLen(len) => self.prefix.len = len.clamp(1, MAX_LEN),
            Action::SetKind(kind) => self.prefix.kind = kind,
            Action::SetSeed(seed) => self.prefix.seed = seed,
            Action::SetRounding(rounding) => self.prefix.rounding = rounding,
            Action::SetWords(words) => self.prefix.words = words,
            _ => {}
        }
        if self.prefix != before {
            self.prefix_changed();
        }
    }

    fn set_magnitude(&mut self, value: f64) {
        // Raw values may be negative: existing scripts may say so. A norm cannot be.
        let usable = value.is_finite() && (value >= 0.0 || self.prefix.unit == MagnitudeUnit::Raw);
        if usable {
            self.prefix.magnitude = value;
            if self.prefix.kind.has_own_size() {
                self.prefix.unscaled = false;
            }
        }
    }

    pub(super) fn set_unit(&mut self, unit: MagnitudeUnit) {
        if self.prefix.unit == unit {
            return;
        }
        let converted = match unit {
            MagnitudeUnit::TokenNorms => self.magnitude_norms(),
            MagnitudeUnit::Raw => self.magnitude_raw(),
        };
        self.prefix.unit = unit;
        match converted {
            Some(value) => self.prefix.magnitude = value,
            None if self.prefix.magnitude == 0.0 => {}
            None => self.prefix.magnitude = if unit == MagnitudeUnit::Raw { 0.01 } else { 1.0 },
        }
    }

    pub(super) fn prefix_changed(&mut self) {
        if let Some(budget) = &mut self.budget {
            budget.prefix = self.prefix.len;
        }
        self.describe();
        self.selected = None;
        self.refresh_stale();
        self.run_if_live();
    }

    fn run_if_live(&mut self) {
        if self.live && self.why_not_run().is_none() {
            self.run_now(LIVE_DELAY);
        } else {
            // What is on its way belongs to controls that have moved on; it may finish, and becomes a point.
        }
    }

    /// Asks the bridge to build what the controls say, so that its norm and digest can be shown.
    pub(super) fn describe(&mut self) {
        self.card.outdated = true;
        if self.prefix.lacks().is_some() {
            // There is nothing to build from; what is missing is said beside Run.
            self.card = crate::model::PrefixCard::default();
        } else if self.module.is_ready() {
            let recipe = self.prefix.recipe();
            self.replace_request(
                |request| matches!(request, Request::Describe { .. }),
                Request::Describe { recipe },
            );
        }
    }

    /// Asks the bridge to count the prompt's tokens.
    pub(super) fn count(&mut self) {
        if let Some(budget) = &mut self.budget {
            budget.current = false;
            budget.output = self.prompt.max_tokens;
        }
        if self.module.facts().is_some_and(|facts| facts.ours) {
            let (system, user) = (self.prompt.system.clone(), self.prompt.user.clone());
            self.replace_request(
                |request| matches!(request, Request::Count { .. }),
                Request::Count { system, user },
            );
        }
    }

    /// Queues a request of which only the last matters.
    fn replace_request(&mut self, same: impl Fn(&Request) -> bool, request: Request) {
        self.outbox.retain(|queued| !same(queued));
        self.outbox.push(request);
    }

    fn edit_prompt(&mut self, action: Action) {
        let before = self.prompt.clone();
        match action {
            Action::SetPrompt(user) => {
                self.prompt.user = user;
                self.prompt.preset = None;
            }
            Action::SetSystem(system) => {
                self.prompt.system = system;
                self.prompt.preset = None;
            }
            Action::SetMaxTokens(tokens) => self.prompt.max_tokens = tokens.max(1),
            Action::SetSampling(sampling) => self.prompt.sampling = sampling,
            Action::LoadPreset(index) => {
                if let Some(preset) = PRESETS.get(index) {
                    self.prompt.system = preset.system.to_owned();
                    self.prompt.user = preset.user.to_owned();
                    self.prompt.preset = Some(index);
                }
            }
            _ => {}
        }
        if self.prompt != before {
            self.count();
            self.refresh_stale();
        }
    }

    fn set_live(&mut self, live: bool) {
        let was = std::mem::replace(&mut self.live, live);
        let shown = self
            .prefixed
            .origin
            .as_ref()
            .is_some_and(|origin| origin.recipe == self.prefix.recipe());
        if live && !was && !shown {
            self.run_if_live();
        }
    }

    fn set_zoom(&mut self, zoom: f32) {
        if zoom.is_finite() {
            let steps = (zoom * 20.0).round() / 20.0;
            self.settings.zoom = steps.clamp(*Settings::ZOOM.start(), *Settings::ZOOM.end());
        }
    }

    // ----- running -----

    /// The key of what the controls ask for now.
    pub fn case_key(&self) -> CaseKey {
        let (module, model) = match self.module.last_facts() {
            Some(facts) if facts.embedded => (String::new(), facts.model.clone()),
            Some(facts) => (facts.address.clone(), facts.model.clone()),
            None => (String::new(), String::new()),
        };
        CaseKey::new(module, model, &self.prompt)
    }

    /// The case of the controls, made where there is none yet.
    fn ensure_case(&mut self) -> CaseId {
        let key = self.case_key();
        if let Some(case) = self.cases.iter().find(|case| case.key == key) {
            return case.id;
        }
        let id = CaseId(self.fresh_id());
        let facts = self.module.last_facts().cloned().map(Box::new);
        let hidden_size = facts.as_ref().and_then(|facts| facts.hidden_size);
        self.cases.push(Case {
            id,
            key,
            baseline: None,
            noise: Noise::Unknown,
            repeats: Vec::new(),
            hidden_size,
            facts,
        });
        id
    }

    pub(super) fn fresh_id(&mut self) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        id
    }

    pub(super) fn run_now(&mut self, delay: Duration) {
        if self.why_not_run().is_some() {
            return;
        }
        let case = self.show_controls_case();
        let has_baseline = self.case().is_some_and(|case| case.baseline.is_some());
        let baseline_coming = self
            .flights
            .get(&Lane::Baseline)
            .is_some_and(|flight| flight.case == case);
        if !has_baseline && !baseline_coming {
            self.launch(Lane::Baseline, case, delay);
        }
        let one_at_a_time = self.module.facts().is_none_or(|facts| facts.concurrency < 2);
        if one_at_a_time {
            self.stop_lane(Lane::Repeat);
        }
        self.launch(Lane::Prefixed, case, delay);
    }

    /// Turns panes and plot to the case of the controls.
    pub(super) fn show_controls_case(&mut self) -> CaseId {
        let case = self.ensure_case();
        if self.shown_case != Some(case) {
            self.show_case(case);
        }
        case
    }

    /// Turns panes and plot to `case`. Texts of another case stay where nothing better is known, faded.
    pub(super) fn show_case(&mut self, case: CaseId) {
        self.shown_case = Some(case);
        self.selected = None;
        self.diff = None;
        if self
            .flights
            .get(&Lane::Baseline)
            .is_some_and(|flight| flight.case != case)
        {
            self.stop_lane(Lane::Baseline);
        }
        if self
            .flights
            .get(&Lane::Repeat)
            .is_some_and(|flight| flight.case != case)
        {
            self.stop_lane(Lane::Repeat);
        }
        if let Some(baseline) = self.case().and_then(|case| case.baseline.clone()) {
            self.baseline = Pane {
                text: baseline.text,
                state: PaneState::Done,
                timings: baseline.timings,
                finish: Some(baseline.finish),
                ..Pane::default()
            };
            self.compare_panes();
        }
        self.refresh_stale();
    }

    pub(super) fn launch(&mut self, lane: Lane, case: CaseId, delay: Duration) {
        let Some(key) = self
            .cases
            .iter()
            .find(|known| known.id == case)
            .map(|known| known.key.clone())
        else {
            return;
        };
        let run = RunId(self.fresh_id());
        let recipe = (lane == Lane::Prefixed).then(|| self.prefix.recipe());
        self.flights.insert(
            lane,
            Flight {
                run,
                case,
                recipe: recipe.clone(),
                built: None,
                text: String::new(),
            },
        );
        let side = lane.side();
        if let Some(pane) = self.pane_mut(side) {
            pane.state = PaneState::Waiting;
            pane.error = None;
        }
        let inference = Inference {
            run,
            side,
            case: key,
            recipe,
            delay,
        };
        // A launch that has not even left yet is replaced: dragging queues one request a frame.
        self.replace_request(
            |request| matches!(request, Request::Infer(queued) if queued.side == side),
            Request::Infer(Box::new(inference)),
        );
    }

    fn rerun_baseline(&mut self) {
        if self.why_not_run().is_some() {
            return;
        }
        let case = self.show_controls_case();
        self.stop_lane(Lane::Repeat);
        self.launch(Lane::Baseline, case, Duration::ZERO);
    }

    fn stop_all(&mut self) {
        for lane in [Lane::Repeat, Lane::Prefixed, Lane::Baseline] {
            self.stop_lane(lane);
        }
    }

    /// Asks for a lane's inference to be stopped. Its last event is still to come, except for repeats, which nobody sees.
    fn stop_lane(&mut self, lane: Lane) {
        if !self.flights.contains_key(&lane) {
            return;
        }
        if lane == Lane::Repeat {
            self.flights.remove(&lane);
        }
        self.outbox.push(Request::Stop { side: lane.side() });
    }

    /// Forgets everything under way: its module is being left.
    pub(super) fn forget_flights(&mut self) {
        self.flights.clear();
        for pane in [&mut self.baseline, &mut self.prefixed] {
            if pane.is_running() {
                pane.state = if pane.text.is_empty() {
                    PaneState::Empty
                } else {
                    PaneState::Done
                };
                pane.finish = None;
            }
        }
    }

    pub(super) fn pane_mut(&mut self, side: Side) -> Option<&mut Pane> {
        match side {
            Side::Baseline => Some(&mut self.baseline),
            Side::Prefixed => Some(&mut self.prefixed),
            Side::Repeat => None,
        }
    }

    /// Marks panes whose text no longer belongs to the controls.
    pub(super) fn refresh_stale(&mut self) {
        let key = self.case_key();
        let same_case = self.case().is_some_and(|case| case.key == key);
        self.baseline.stale = !self.baseline.text.is_empty() && !same_case;
        let recipe = self.prefix.recipe();
        let from = self
            .prefixed
            .origin
            .clone()
            .filter(|origin| !same_case || !self.same_prefix(&origin.recipe, &recipe));
        self.prefixed.stale = !self.prefixed.text.is_empty() && from.is_some();
        self.prefixed.stale_from = from;
    }

    /// Whether two recipes make the same prefix as far as can be told without building them: a constant knows no seed,
    /// and a magnitude may be said in either unit.
    fn same_prefix(
        &self,
        a: &softprefix_core::prefix::PrefixRecipe,
        b: &softprefix_core::prefix::PrefixRecipe,
    ) -> bool {
        if a == b {
            return true;
        }
        let same_size = match (a.magnitude, b.magnitude) {
            (Magnitude::TokenNorms(_), Magnitude::Raw(_)) | (Magnitude::Raw(_), Magnitude::TokenNorms(_)) => {
                // Only a constant is the same in both units to the last bit; random rows are scaled one by one.
                a.kind == PrefixKind::Constant
                    && matches!((self.raw_of(a), self.raw_of(b)), (Some(x), Some(y)) if (x - y).abs() <= 1e-9 * x.abs())
            }
            (x, y) => x == y,
        };
        same_size && a.kind == b.kind && a.len == b.len && a.rounding == b.rounding
    }

    // ----- the module -----

    pub(super) fn connect(&mut self, target: Target) {
        self.dialog = None;
        self.forget_flights();
        self.target = target.clone();
        let case = Box::new(self.case_key());
        self.outbox.push(Request::Connect { target, case });
    }

    // ----- runs and outputs -----

    fn select_run(&mut self, id: Option<RunId>) {
        let run = match id {
            Some(id) => self.run(id).cloned(),
            None => self.visible_runs().max_by_key(|run| run.id).cloned(),
        };
        let Some(run) = run else {
            self.selected = None;
            return;
        };
        // What still streams in must not overwrite the chosen text.
        self.stop_lane(Lane::Prefixed);
        self.flights.remove(&Lane::Prefixed);
        if self.shown_case != Some(run.case) {
            self.show_case(run.case);
        }
        self.selected = id.map(|_| run.id);
        self.prefixed = Pane {
            text: run.text,
            state: PaneState::Done,
            timings: run.timings,
            finish: Some(run.finish),
            origin: Some(run.origin),
            ..Pane::default()
        };
        self.refresh_stale();
        self.compare_panes();
    }

    fn adopt_run(&mut self, id: RunId) {
        let Some(run) = self.run(id).cloned() else { return };
        self.prefix = form_of(&run.origin, &self.prefix);
        if let Some(budget) = &mut self.budget {
            budget.prefix = self.prefix.len;
        }
        self.select_run(Some(id));
        self.describe();
        self.refresh_stale();
    }

    fn set_granularity(&mut self, granularity: Granularity) {
        self.granularity = granularity;
        self.compare_panes();
    }

    /// Asks for the diff of what the panes show. At most one is under way; the next follows it.
    pub(super) fn compare_panes(&mut self) {
        if self.baseline.text.is_empty() || self.prefixed.text.is_empty() {
            self.diff = None;
            return;
        }
        if self.streaming_diff.under_way {
            self.streaming_diff.wanted = true;
            return;
        }
        self.streaming_diff = super::StreamingDiff {
            under_way: true,
            wanted: false,
        };
        self.outbox.push(Request::Compare(Comparison {
            purpose: Purpose::Panes,
            left: Arc::clone(&self.baseline.text),
            right: Arc::clone(&self.prefixed.text),
            granularity: self.granularity,
        }));
    }

    // ----- files -----

    fn doctor_acts(&mut self, action: DoctorAction) {
        match action {
            DoctorAction::CopyCommands(commands) => {
                self.effects.push(Effect::Copy(commands));
                self.notice = Some(Notice::Copied);
            }
            DoctorAction::ChooseUnit => self.ask(FileQuestion::UnitBinary),
            DoctorAction::Visit(address) => {
                self.doctor.apply(DoctorAction::Visit(address), None);
                self.tab = super::Tab::Doctor;
            }
            DoctorAction::Connect => {
                if let Some(address) = self.doctor.connectable().map(str::to_owned) {
                    self.tab = super::Tab::Tune;
                    self.carry_out(Action::Connect(crate::model::Target::Remote { address, model: None }));
                }
            }
            action => {
                let in_use = self.doctor_compares_with();
                let request = self.doctor.apply(action, in_use);
                self.outbox.extend(request.map(Request::Doctor));
            }
        }
    }

    /// The model and hidden size that are sent, where this window is connected to a module (not to its own).
    pub(super) fn doctor_compares_with(&self) -> Option<(String, usize)> {
        let facts = self.module.facts().filter(|facts| !facts.embedded)?;
        Some((facts.model.clone(), facts.hidden_size?))
    }

    pub(super) fn ask(&mut self, question: FileQuestion) {
        if !self.file.asking {
            self.file.asking = true;
            self.effects.push(Effect::Ask(question));
        }
    }

    fn ask_save(&mut self) {
        if self.can_save() {
            let suggested = self.file.name().unwrap_or_else(|| "results.json".to_owned());
            self.ask(FileQuestion::SaveResults { suggested });
        }
    }

    pub(super) fn save_to(&mut self, path: std::path::PathBuf) {
        let Some(case) = self.case().cloned() else { return };
        let runs = self.visible_runs().cloned().collect();
        self.file.writing = true;
        self.outbox.push(Request::Save {
            path,
            snapshot: Box::new(Snapshot { case, runs }),
        });
    }
}

impl Lane {
    pub(super) fn side(self) -> Side {
        match self {
            Self::Baseline => Side::Baseline,
            Self::Prefixed => Side::Prefixed,
            Self::Repeat => Side::Repeat,
        }
    }
}

impl Budget {
    /// The same counts with P and the output as the controls say.
    pub(super) fn with(mut self, prefix: usize, output: usize) -> Self {
        self.prefix = prefix;
        self.output = output;
        self
    }
}

/// The controls that give `origin`'s recipe; what the recipe does not say stays as it is in `now`.
fn form_of(origin: &Origin, now: &PrefixForm) -> PrefixForm {
    let mut form = now.clone();
    form.len = origin.recipe.len;
    form.rounding = origin.recipe.rounding;
    form.take_kind(&origin.recipe.kind, origin.recipe.len);
    match origin.recipe.magnitude {
        Magnitude::TokenNorms(norms) => {
            (form.unit, form.magnitude, form.unscaled) = (MagnitudeUnit::TokenNorms, norms, false)
        }
        Magnitude::Raw(raw) => (form.unit, form.magnitude, form.unscaled) = (MagnitudeUnit::Raw, raw, false),
        Magnitude::Unscaled => form.unscaled = true,
    }
    form
}
