//! All texts of the window, in each language.
//!
//! A language is one value of [`Text`]. A missing field does not compile, so no language can be incomplete. Sentences that contain values
//! are functions, so that each language can order the values. The texts do not depend on the state of the workbench, only on its enums.
//! Terms that the report has, too, are those of [`softprefix_core::experiment::words`].

mod about;
mod demo;
mod discovery;
mod doctor;
mod en;
mod external;
mod find;
mod first;
mod ja;
mod prefix;
mod rating;
mod scoring;
mod second_module;
mod steps;
mod sweep;

pub use about::AboutText;
pub use demo::DemoText;
pub use discovery::DiscoveryText;
pub use doctor::DoctorText;
pub use external::ExternalText;
pub use find::FindText;
pub use first::{Fetching, FirstText};
pub use prefix::PrefixText;
pub use rating::RatingText;
pub use scoring::ScoringText;
pub use second_module::SecondModuleText;
pub use steps::StepsText;
pub use sweep::SweepText;

use softprefix_core::compare::{Granularity, Measure};
use softprefix_core::language::{Bilingual, term};
use softprefix_core::prefix::Origin;
use softprefix_core::protocol::extension::FinishReason;

use crate::commands::{CommandId, Group};
use crate::model::typed::Accepted;
use crate::model::{ConnectStep, KindChoice, Language, LoadStage, ProblemKind, Retry, Unavailable, Unit};
use crate::workbench::Tab;

// What several views need before they can start something.
const NOT_CONNECTED: Bilingual<&'static str> = term(
    "No module is connected. Connect one, or start the embedded module.",
    "モジュールが接続されていません。接続するか、内蔵モジュールを起動してください。",
);
const STILL_CONNECTING: Bilingual<&'static str> =
    term("The module is still being connected.", "モジュールに接続中です。");
const NO_HISTORY: Bilingual<&'static str> = term(
    "The history is not open, so nothing can be saved. Check its folder.",
    "履歴を開けないため、結果を保存できません。フォルダーを確かめてください。",
);
const OTHER_MODE: Bilingual<&'static str> = term(
    "Another mode is running. Stop it first.",
    "別のモードが実行中です。先に停止してください。",
);
const INVALID_FIELD: Bilingual<&'static str> = term("Correct the marked field.", "印の付いた欄を直してください。");

/// The words of one language.
pub struct Text {
    // Top bar.
    pub tune: &'static str,
    pub open: &'static str,
    pub export: &'static str,
    /// The accessible name, since there is another Export button for the prefix.
    pub export_named: &'static str,
    pub new_session: &'static str,
    pub settings: &'static str,
    pub help: &'static str,
    pub language: &'static str,
    pub theme: &'static str,
    pub theme_system: &'static str,
    pub theme_light: &'static str,
    pub theme_dark: &'static str,
    pub zoom: &'static str,
    pub zoom_in: &'static str,
    pub zoom_out: &'static str,
    pub full_screen: &'static str,
    pub about: &'static str,
    pub close: &'static str,
    pub cancel: &'static str,
    pub dismiss: &'static str,
    /// While a file is written, while it is read, and when it was written.
    pub saving: fn(&str) -> String,
    pub opening: fn(&str) -> String,
    pub saved: fn(&str) -> String,
    pub opened: fn(&str, usize, Tab) -> String,
    pub copied: &'static str,

    // The module.
    pub module: &'static str,
    pub embedded: &'static str,
    pub ready: &'static str,
    pub not_connected: &'static str,
    pub connecting: &'static str,
    pub fetching: &'static str,
    pub loading: &'static str,
    pub full: &'static str,
    pub no_model: &'static str,
    pub window: &'static str,
    pub latency: &'static str,
    /// Number of weight matrices that are used exactly as in the file, and number of rounded ones.
    pub weights_counted: fn(usize, usize) -> String,
    pub connect_step: fn(ConnectStep) -> &'static str,
    pub load_progress: fn(LoadStage, u32) -> String,
    pub connect: &'static str,
    pub connect_elsewhere: &'static str,
    pub reconnect: &'static str,
    pub reconnecting: fn(Retry) -> String,
    pub other_models: &'static str,
    pub stock: &'static str,
    pub tasks_full: fn(usize) -> String,
    pub exit_tasks: fn(usize) -> String,
    pub no_model_yet: &'static str,
    pub fetch_model: fn(&str, &str) -> String,
    pub problem: fn(ProblemKind) -> &'static str,

    // The prefix.
    pub prefix: &'static str,
    pub kind: &'static str,
    pub kinds: fn(KindChoice) -> &'static str,
    /// The kind of stored rows, by their origin.
    pub origin: fn(&Origin) -> &'static str,
    /// In a label: the rows have an envelope.
    pub envelope_short: &'static str,
    pub magnitude: &'static str,
    pub magnitude_accessible_value: fn(&str, Option<&str>) -> String,
    pub type_magnitude: &'static str,
    pub less: &'static str,
    pub more: &'static str,
    pub token_norm: &'static str,
    pub raw_value: &'static str,
    pub raw: &'static str,
    pub vocabulary_norms: [&'static str; 2],
    pub vectors: &'static str,
    pub type_vectors: &'static str,
    pub budget: fn(usize, usize, usize, usize) -> [String; 4],
    pub budget_accessible_value: fn(usize, usize, usize, usize, usize) -> String,
    pub budget_free: fn(i64) -> String,
    pub budget_unknown: &'static str,
    pub seed: &'static str,
    pub new_seed: &'static str,
    pub words: &'static str,
    pub words_hint: &'static str,
    pub unscaled: &'static str,
    pub advanced: &'static str,
    pub rounding: &'static str,
    pub rounding_nearest: &'static str,
    pub rounding_truncate: &'static str,
    pub unit: &'static str,
    pub unit_norms: &'static str,
    pub unit_raw: &'static str,
    pub unit_raw_only: &'static str,
    pub row_norm: &'static str,
    pub copy_digest: &'static str,
    pub nothing_built: &'static str,
    /// What was typed, and what its field accepts.
    pub invalid_number: fn(&str, &Accepted) -> String,
    /// A text in quotation marks.
    pub quoted: fn(&str) -> String,

    // The prompt.
    pub system: &'static str,
    pub system_and_limits: &'static str,
    pub prompt: &'static str,
    pub prompt_hint: &'static str,
    pub preset: &'static str,
    pub own_text: &'static str,
    pub max_tokens: &'static str,
    pub tokens_summary: fn(usize) -> String,
    pub sampling: &'static str,
    pub greedy: &'static str,
    pub top_k: &'static str,
    pub top_k_k: &'static str,
    pub temperature: &'static str,
    pub live: &'static str,
    pub run: &'static str,
    pub stop: &'static str,
    pub unavailable: fn(Unavailable) -> &'static str,

    // The outputs.
    pub splitter: &'static str,
    pub splitter_about: &'static str,
    pub baseline: &'static str,
    pub prefixed: &'static str,
    pub baseline_output: &'static str,
    pub prefixed_output: &'static str,
    pub removed: &'static str,
    pub added: &'static str,
    pub from: fn(&str) -> String,
    /// In a label: the text is cut off.
    pub cut_off: &'static str,
    pub other_settings: &'static str,
    pub baseline_empty: &'static str,
    pub prefixed_empty: &'static str,
    pub waiting: &'static str,
    pub streaming: &'static str,
    pub finish: fn(FinishReason) -> &'static str,
    pub first_token: &'static str,
    pub tokens: &'static str,
    pub tokens_per_second: &'static str,
    pub drafted: &'static str,
    pub copy: &'static str,
    pub copy_baseline: &'static str,
    pub copy_prefixed: &'static str,
    pub rerun_baseline: &'static str,
    /// The second run of the baseline, on our unit and on a stock one.
    pub checking: &'static str,
    pub running_again: &'static str,
    pub checking_about: &'static str,
    pub fill_curve: &'static str,
    pub fill_about: &'static str,
    /// While the curve is filled: number of finished runs, and of all.
    pub filling: fn(usize, usize) -> String,
    pub fill_by_itself: &'static str,
    pub curve: &'static str,
    pub runs: &'static str,
    pub plot_or_runs: &'static str,
    pub only_this_prompt: &'static str,
    pub chosen: fn(usize) -> String,
    pub plot_them: &'static str,
    pub choose_about: &'static str,
    pub chosen_plotted: fn(usize) -> String,
    pub runs_empty: &'static str,
    pub run_columns: [&'static str; 6],
    pub kl_axis: &'static str,
    /// `word 11`: a unit by its number.
    pub nth: fn(Unit, usize) -> String,
    pub first_difference_at: fn(Unit, usize) -> String,
    pub differences: fn(usize) -> String,
    pub difference_of: fn(usize, usize) -> String,
    pub show_plot: &'static str,
    pub no_difference: &'static str,
    pub granularity: &'static str,
    pub granularities: fn(Granularity) -> &'static str,

    // The plot.
    pub plot: &'static str,
    pub measures: fn(Measure) -> &'static str,
    pub measure_about: fn(Measure) -> &'static str,
    pub measure: &'static str,
    pub more_measures: &'static str,
    pub x_norms: &'static str,
    pub x_raw: &'static str,
    pub noise: &'static str,
    pub noise_none: &'static str,
    pub collapsed_above: fn(&str) -> String,
    pub points: fn(usize) -> String,
    /// Between the parts of a list.
    pub comma: &'static str,
    /// Ends a sentence that is composed of parts.
    pub full_stop: &'static str,
    /// The button of a zoomed plot: both ends of the visible part. A click shows the whole plot.
    pub zoomed: fn(&str, &str) -> String,
    pub plot_empty: &'static str,
    pub plot_menu: &'static str,
    pub clear_points: &'static str,
    pub use_settings: &'static str,
    pub remove_point: &'static str,
    /// How many runs were removed.
    pub removed_runs: fn(usize) -> String,
    pub back_to_last: &'static str,
    pub shown_run: fn(&str) -> String,
    pub verdict_connect: &'static str,
    pub verdict_begin: &'static str,
    pub verdict_running: &'static str,
    pub verdict_same: &'static str,
    /// The verdicts beside a pinned run.
    pub pinned_parts: fn(&str) -> String,
    pub pinned_same: &'static str,
    pub pinned_same_so_far: &'static str,
    /// What the measures beside the verdict are against, while a run is pinned.
    pub against_pinned: &'static str,
    pub against_pinned_about: &'static str,
    pub verdict_noise: &'static str,
    pub verdict_ignored: &'static str,
    pub verdict_collapsed: fn(&str) -> String,
    pub verdict_parts: fn(&str) -> String,
    pub verdict_parts_collapse: fn(&str, &str) -> String,

    // Sheets.
    pub help_title: &'static str,
    /// Why some commands name views.
    pub help_tabs: &'static str,
    pub help_mouse: &'static str,
    pub help_slider: &'static str,
    pub group: fn(Group) -> &'static str,
    pub command: fn(CommandId) -> &'static str,
    pub connect_title: &'static str,
    pub connect_about: &'static str,
    pub connect_embedded: &'static str,
    pub connect_embedded_about: &'static str,
    pub connect_remote: &'static str,
    pub connect_remote_about: &'static str,
    pub address: &'static str,
    pub address_hint: &'static str,
    pub address_wrong: &'static str,
    pub path_title: &'static str,
    pub path_about: &'static str,
    pub path: &'static str,
    pub path_use: &'static str,
    pub path_taken: &'static str,
    pub models_title: &'static str,
    pub models_about: &'static str,
    pub models_none: &'static str,
    pub present: &'static str,
    /// For a model file that cannot be run.
    pub unusable: &'static str,
    /// For a model whose digest is not known before it is downloaded.
    pub not_verified: &'static str,
    pub use_model: fn(&str) -> String,
    pub use_it: &'static str,
    pub fetch: &'static str,
    pub fetch_named: fn(&str) -> String,
    pub in_use: &'static str,
    pub choose_file: &'static str,
    pub left_over_title: &'static str,
    pub left_over_about: &'static str,
    pub about_title: &'static str,
    pub about_text: &'static str,
    pub about_fonts: &'static str,
}

impl Text {
    /// The words of a language.
    #[must_use]
    pub fn of(language: Language) -> &'static Self {
        language.pick(&en::TEXT, &ja::TEXT)
    }
}

/// Formats the size of a file: `398 MB`.
#[must_use]
pub fn bytes(count: u64) -> String {
    match count {
        0..1_000_000 => format!("{} kB", count.div_ceil(1000)),
        1_000_000..1_000_000_000 => format!("{} MB", (count + 500_000) / 1_000_000),
        _ => format!("{:.1} GB", count as f64 / 1e9),
    }
}

/// Formats a duration: `0.4 ms`, `39 ms`, `1.8 s`.
#[must_use]
pub fn time(duration: std::time::Duration) -> String {
    let ms = duration.as_secs_f64() * 1000.0;
    if ms < 9.95 {
        format!("{ms:.1} ms")
    } else if ms < 9999.5 {
        format!("{ms:.0} ms")
    } else {
        format!("{:.1} s", ms / 1000.0)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::commands::COMMANDS;
    use crate::model::PRESETS;

    #[test]
    fn every_command_has_a_label_of_its_own_in_every_language() {
        for language in Language::ALL {
            let text = Text::of(language);
            let mut labels: Vec<_> = COMMANDS.iter().map(|command| (text.command)(command.id)).collect();
            labels.sort_unstable();
            labels.dedup();
            assert_eq!(labels.len(), COMMANDS.len(), "{language:?}");
        }
    }

    #[test]
    fn every_preset_has_a_title_of_its_own_in_every_language() {
        for language in Language::ALL {
            let mut titles: Vec<_> = PRESETS.iter().map(|preset| preset.title(language)).collect();
            titles.sort_unstable();
            titles.dedup();
            assert_eq!(titles.len(), PRESETS.len(), "{language:?}");
        }
    }

    #[test]
    fn loading_stages_have_japanese_sentences() {
        use LoadStage::{File, Layers, Ready, Vocabulary, WarmUp, Weights};
        let words = Text::of(Language::Japanese).load_progress;
        for stage in [File, Layers, Weights, Vocabulary, WarmUp, Ready] {
            let line = words(stage, 40);
            assert!(
                line.ends_with(" 40 %") && !line.contains(|c: char| c.is_ascii_alphabetic()),
                "{line}"
            );
        }
    }

    #[test]
    fn sizes_and_times_are_short() {
        assert_eq!(bytes(397_808_192), "398 MB");
        assert_eq!(bytes(1_250_000_000), "1.2 GB");
        assert_eq!(time(Duration::from_micros(400)), "0.4 ms");
        assert_eq!(time(Duration::from_millis(39)), "39 ms");
        assert_eq!(time(Duration::from_millis(12_340)), "12.3 s");
    }
}
