//! What is stored between starts: the window's settings and the last content of its fields. Results are files of their
//! own.

use serde::{Deserialize, Serialize};
use softprefix_core::compare::{Granularity, Measure};

use softprefix_core::experiment::Prompt;

use super::sweep::SweepForm;
use super::{Language, PrefixForm, PromptForm, Target};

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
    /// The user's own prompts, latest first.
    pub own_prompts: Vec<Prompt>,
}

impl Remembered {
    /// The key in the window's storage.
    pub const KEY: &'static str = "workbench";
}
