//! What is stored between starts: the window's settings and the last content of its fields. Results are files of their
//! own.

use serde::{Deserialize, Serialize};
use softprefix_core::compare::{Granularity, Measure};

use softprefix_core::experiment::Prompt;
use softprefix_core::prefix::MAX_LEN;

use super::sweep::SweepForm;
use super::{ExternalSettings, FindMode, Language, LearnForm, PrefixForm, PromptForm, SearchForm, Target, UsedModule};

/// Light or dark.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Theme {
    /// Follows the system.
    #[default]
    System,
    Light,
    Dark,
}

/// Appearance and behaviour of the window.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Settings {
    pub theme: Theme,
    pub language: Language,
    /// 1.0 is 100 %; 1.5 for a projector.
    pub zoom: f32,
    /// Whether the advanced part of the prefix panel is expanded.
    pub advanced: bool,
    /// Height of the texts in Tune, if the user set it.
    pub texts_height: Option<f32>,
    /// Height of the pair's texts in Sweep, if the user set it.
    pub pair_height: Option<f32>,
    /// The user chose raw values although token norms are available.
    pub raw_magnitude: bool,
    /// Whether the curve is filled automatically when the user pauses.
    pub fill_curve: bool,
    pub live: bool,
    pub granularity: Granularity,
    pub measure: Measure,
    pub target: Target,
    /// The host that the doctor checked last.
    pub doctor_host: String,
    pub external: ExternalSettings,
    /// Whether the page with the first steps was shown.
    pub first_steps_shown: bool,
    /// Whether modules on the local network are searched.
    pub discover: bool,
    /// Remote modules that were used, latest first.
    pub used_modules: Vec<UsedModule>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            theme: Theme::System,
            language: Language::of_environment(),
            zoom: 1.0,
            advanced: false,
            texts_height: None,
            pair_height: None,
            raw_magnitude: false,
            fill_curve: false,
            live: true,
            granularity: Granularity::default(),
            measure: Measure::Chrf2,
            target: Target::default(),
            doctor_host: String::new(),
            external: ExternalSettings::default(),
            first_steps_shown: false,
            discover: true,
            used_modules: Vec::new(),
        }
    }
}

impl Settings {
    /// Range of the zoom factor.
    pub const ZOOM: std::ops::RangeInclusive<f32> = 0.7..=2.5;
}

/// Everything that is stored: the settings and the fields.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Remembered {
    pub settings: Settings,
    pub prefix: PrefixForm,
    pub prompt: PromptForm,
    pub sweep: SweepForm,
    pub find: LearnForm,
    pub search: SearchForm,
    /// The mode of the Find view.
    pub find_mode: FindMode,
    /// The user's own prompts, latest first.
    pub own_prompts: Vec<Prompt>,
}

impl Remembered {
    /// The key under which earlier versions kept it in the window's storage.
    pub const KEY: &'static str = "workbench";

    /// Returns the values of a first start, with prompts in this language.
    pub fn of_first_start(language: Language) -> Self {
        let prompt = PromptForm::of_first_start(language);
        let mut first = Self::default();
        first.settings.language = language;
        for example in &mut first.find.examples {
            example.prompt.clone_from(&prompt.user);
        }
        first.sweep.prompts = vec![prompt.prompt()];
        Self { prompt, ..first }
    }

    /// Returns the same with every number within the bounds of its control; NaN becomes the default.
    #[must_use]
    pub fn within_bounds(mut self) -> Self {
        let usual = Self::default();
        let settings = &mut self.settings;
        settings.zoom = match settings.zoom.is_finite() {
            true => settings.zoom.clamp(*Settings::ZOOM.start(), *Settings::ZOOM.end()),
            false => usual.settings.zoom,
        };
        for height in [&mut settings.texts_height, &mut settings.pair_height] {
            *height = height.filter(|height| height.is_finite() && *height >= 0.0);
        }
        settings.used_modules.truncate(UsedModule::MAX);
        settings.external = std::mem::take(&mut settings.external).within_bounds();
        let prefix = &mut self.prefix;
        prefix.len = prefix.len.clamp(1, MAX_LEN);
        for (value, usual) in [
            (&mut prefix.magnitude, usual.prefix.magnitude),
            (&mut prefix.blend, usual.prefix.blend),
            (&mut self.sweep.threshold_minimum, usual.sweep.threshold_minimum),
        ] {
            if !value.is_finite() {
                *value = usual;
            }
        }
        if !self.sweep.threshold_measure.has_threshold() {
            self.sweep.threshold_measure = usual.sweep.threshold_measure;
            self.sweep.threshold_minimum = usual.sweep.threshold_minimum;
        }
        prefix.blend = prefix.blend.clamp(0.0, 1.0);
        let prompt = &mut self.prompt;
        prompt.max_tokens = prompt.max_tokens.max(1);
        self.find = self.find.within_bounds();
        self.search = self.search.within_bounds();
        let sweep = &mut self.sweep;
        sweep.repeats = sweep.repeats.clamp(1, SweepForm::MAX_REPEATS);
        sweep.lengths.retain(|len| (1..=MAX_LEN).contains(len));
        if sweep.lengths.is_empty() {
            sweep.lengths = usual.sweep.lengths;
        }
        if sweep.prompts.is_empty() {
            sweep.prompts = usual.sweep.prompts;
        }
        self
    }
}
