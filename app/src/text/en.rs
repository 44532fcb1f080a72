//! The words of the window in English.

use softprefix_core::compare::{Granularity, Measure};
use softprefix_core::protocol::extension::TakenOver;

use softprefix_core::protocol::extension::FinishReason;

use super::Text;
use crate::commands::{CommandId, Group};
use crate::model::{ConnectStep, KindChoice, ProblemKind, WhyNot};
use crate::workbench::Tab;

pub(super) static TEXT: Text = Text {
    tune: "Tune",
    open: "Open…",
    export: "Export",
    new_session: "New session",
    settings: "Settings",
    help: "Help",
    language: "Language",
    theme: "Theme",
    theme_system: "System",
    theme_light: "Light",
    theme_dark: "Dark",
    zoom: "Zoom",
    zoom_in: "Zoom in",
    zoom_out: "Zoom out",
    full_screen: "Full screen",
    about: "About",
    close: "Close",
    cancel: "Cancel",
    dismiss: "Dismiss",
    saved: |file| format!("Saved {file}"),
    opened: |file, runs, tab| {
        let view = if tab == Tab::Sweep { "Sweep" } else { "Tune" };
        match runs {
            1 => format!("Opened {file} in {view}: 1 run"),
            _ => format!("Opened {file} in {view}: {runs} runs"),
        }
    },
    copied: "Copied",

    module: "Module",
    embedded: "Embedded",
    ready: "ready",
    not_connected: "not connected",
    connecting: "connecting",
    fetching: "fetching the model",
    loading: "loading",
    full: "full",
    no_model: "no model",
    window: "window",
    latency: "latency",
    weights_counted: |exact, rounded| match (exact, rounded) {
        (_, 0) => "weights as in the file".to_owned(),
        (0, _) => "weights rounded".to_owned(),
        _ => format!("weights: {exact} matrices exact, {rounded} rounded"),
    },
    taken_over: |how, count| match how {
        TakenOver::Exact => format!("{count} as in the file"),
        TakenOver::ScalesRounded => format!("{count} with scales rounded"),
        TakenOver::Rounded => format!("{count} rounded to 8 bits"),
        TakenOver::Unknown => format!("{count} unknown"),
    },
    connect_step: |step| match step {
        ConnectStep::Starting => "Starting the embedded module",
        ConnectStep::Opening => "Opening the connection",
        ConnectStep::Asking => "Asking what it is",
        ConnectStep::SettingUp => "Setting up its model, up to a minute",
    },
    fetch_progress: |source, done, total| {
        let from = if source.is_empty() {
            String::new()
        } else {
            format!(" from {source}")
        };
        match total {
            Some(total) => format!("{done} of {total}{from}"),
            None => format!("{done}{from}"),
        }
    },
    load_progress: |what, percent| format!("{what}, {percent} %"),
    connect: "Connect",
    connect_elsewhere: "Connect elsewhere…",
    reconnect: "Reconnect",
    other_models: "Other models…",
    stranger: "Not one of our units: one inference at a time, and nothing proves that it applies the prefix.",
    tasks_full: |tasks| match tasks {
        1 => "All its places are taken: 1 task of a former client is still there.".to_owned(),
        _ => format!("All its places are taken: {tasks} tasks of former clients are still there."),
    },
    exit_tasks: |tasks| match tasks {
        1 => "Exit that task and connect".to_owned(),
        _ => format!("Exit {tasks} tasks and connect"),
    },
    no_model_yet: "The embedded module needs a model.",
    fetch_model: |model, size| {
        if size.is_empty() {
            format!("Fetch {model}")
        } else {
            format!("Fetch {model}, {size}")
        }
    },
    problem: |kind| match kind {
        ProblemKind::Connection => "No connection",
        ProblemKind::Module => "The module refused",
        ProblemKind::TaskFull => "No free place",
        ProblemKind::Model => "No usable model",
        ProblemKind::Input => "Cannot be sent",
        ProblemKind::File => "File trouble",
        ProblemKind::Program => "A fault of this program",
    },

    prefix: "Prefix",
    kind: "Kind of prefix",
    kinds: |kind| match kind {
        KindChoice::Constant => "Constant",
        KindChoice::RandomUniform => "Uniform random",
        KindChoice::RandomNormal => "Normal random",
        KindChoice::Words => "Words",
        KindChoice::Blend => "Blend of two texts",
        KindChoice::Contrast => "Contrast of two texts",
        KindChoice::Sampled => "Sampled vocabulary",
        KindChoice::Imported => "Imported file",
    },
    magnitude: "Magnitude",
    magnitude_spoken: |norms, raw| match raw {
        Some(raw) => format!("{norms} of a token's norm, raw value {raw}"),
        None => format!("{norms} of a token's norm"),
    },
    type_magnitude: "Type the magnitude",
    less: "Less",
    more: "More",
    token_norm: "token norm",
    raw_value: "raw value",
    raw: "raw",
    region_floor: "under the floor",
    region_tokens: "token-like",
    region_over: "overdriven",
    vocabulary_norms: ["vocabulary", "norms"],
    vectors: "Vectors P",
    type_vectors: "Type P",
    budget: |prefix, template, prompt, window| {
        [
            format!("P {prefix}"),
            format!(" + template {template} + "),
            format!("prompt {prompt}"),
            format!(" of {window}"),
        ]
    },
    budget_spoken: |prefix, template, prompt, output, window| {
        format!(
            "Of {window} positions the prefix takes {prefix}, the template {template}, the prompt {prompt}, the output at most {output}"
        )
    },
    budget_free: |free| {
        if free < 0 {
            format!("{} too many", -free)
        } else {
            format!("{free} free")
        }
    },
    budget_unknown: "This module does not count tokens.",
    seed: "Seed",
    new_seed: "New seed",
    words: "Words",
    words_hint: "Text whose token rows become the prefix",
    unscaled: "Rows as they are",
    advanced: "Advanced",
    rounding: "Rounding",
    rounding_nearest: "nearest even",
    rounding_truncate: "truncate",
    unit: "Unit",
    unit_norms: "token norms",
    unit_raw: "raw values",
    unit_raw_only: "This module does not tell its vocabulary's norms, so magnitudes are raw values.",
    row_norm: "Row norm",
    copy_digest: "Copy the SHA-256",
    nothing_built: "after connecting",
    refused: |typed| format!("“{typed}” is not a number that fits here."),

    system: "System",
    system_and_limits: "System prompt, tokens and sampling",
    prompt: "Prompt",
    prompt_hint: "What to ask the model",
    preset: "Preset",
    presets: |key| match key {
        "spring_poem" => "Spring poem",
        "letter" => "Letter opening",
        "tea" => "Tea recipe",
        "night_street" => "Street at night",
        "short_reply" => "Short reply",
        "story" => "Lighthouse story",
        "explain" => "Blue sky",
        "code" => "Python code",
        other => other,
    },
    own_text: "own text",
    max_tokens: "Most tokens",
    tokens_summary: |tokens| format!("{tokens} tokens"),
    sampling: "Sampling",
    greedy: "greedy",
    top_k: "top-k",
    top_k_k: "k",
    temperature: "Temperature",
    live: "Live",
    run: "Run",
    stop: "Stop",
    why_not: |why| match why {
        WhyNot::NotConnected => "Run is off: no module is connected.",
        WhyNot::StillConnecting => "Run is off until the module is ready.",
        WhyNot::EmptyPrompt => "Run is off: the prompt is empty.",
        WhyNot::NoWords => "Run is off: the prefix has no words.",
        WhyNot::SameTexts => "Run is off: both texts are the same, so there is no contrast.",
        WhyNot::NoPrefixFile => "Run is off: there is no file of a prefix yet.",
        WhyNot::DoesNotFit => "Run is off: prefix and prompt do not fit the window.",
    },

    splitter: "Height of the outputs",
    baseline: "Baseline",
    prefixed: "Prefix",
    baseline_output: "Baseline output",
    prefixed_output: "Prefixed output",
    removed: "removed",
    added: "added",
    from: |what| format!("from {what}"),
    other_prompt: "from another prompt",
    other_settings: "from other settings",
    baseline_empty: "Press Run: the model answers here without a prefix.",
    prefixed_empty: "Press Run: the model answers here with the prefix.",
    waiting: "waiting",
    streaming: "streaming",
    finish: |finish| match finish {
        FinishReason::Stop => "end of text",
        FinishReason::Length => "token limit",
        FinishReason::Window => "window full",
        FinishReason::Stopped => "stopped",
        FinishReason::Unknown => "finished",
    },
    first_token: "ttft",
    copy: "Copy",
    copy_baseline: "Copy the baseline output",
    copy_prefixed: "Copy the prefixed output",
    rerun_baseline: "Run the baseline again",
    parting_at: |character| format!("First difference at character {character}"),
    no_parting: "No difference",
    granularity: "Compare by",
    granularities: |granularity| match granularity {
        Granularity::Auto => "automatic",
        Granularity::Grapheme => "by character",
        Granularity::Word => "by word",
        Granularity::Line => "by line",
    },
    applied_doubtful: "probably ignored",
    applied_unknown: "not confirmed",

    plot: "Similarity over magnitude",
    measures: |measure| match measure {
        Measure::Chrf2 => "chrF2",
        Measure::Indel => "indel",
        Measure::Difflib => "difflib",
        Measure::DifflibAutojunk => "difflib, autojunk",
        Measure::Levenshtein => "Levenshtein",
        Measure::FirstDivergence => "shared start",
        Measure::Distinct2 => "distinct-2",
        Measure::Distinct4 => "distinct-4",
        Measure::Length => "length",
        Measure::KlMean => "mean KL",
        Measure::Perplexity => "perplexity",
    },
    measure_about: |measure| match measure {
        Measure::Chrf2 => "Character n-gram F-score against the baseline, 0 to 100, as sacreBLEU computes it",
        Measure::Indel => "Twice the longest common subsequence over both lengths; agrees with the marks above",
        Measure::Difflib => "Python's SequenceMatcher ratio without autojunk",
        Measure::DifflibAutojunk => {
            "Python's SequenceMatcher ratio as scripts print it; misleading from 200 characters on"
        }
        Measure::Levenshtein => "One minus the edit distance over the longer length",
        Measure::FirstDivergence => "Characters that both outputs share from the start",
        Measure::Distinct2 => "Different character pairs over all pairs of this output",
        Measure::Distinct4 => {
            "Different runs of four characters over all of the output; it falls with the length, and far in a loop"
        }
        Measure::Length => "Characters of this output",
        Measure::KlMean => {
            "Mean KL(base || prefixed) over the baseline's tokens, in nats: how far the prefix moves the model's predictions, also where the text is the same"
        }
        Measure::Perplexity => "Perplexity of this output under the model without the prefix; a loop has a low one",
    },
    measure: "Measure",
    more_measures: "More measures",
    x_norms: "Magnitude, × token norm",
    x_raw: "Magnitude, raw value",
    noise: "noise floor: two baseline runs differ by this much",
    noise_none: "two baselines were equal",
    collapsed_above: |x| format!("collapsed from {x}"),
    points: |count| match count {
        1 => "1 point".to_owned(),
        _ => format!("{count} points"),
    },
    comma: ", ",
    full_stop: ".",
    plot_empty: "Every finished run becomes a point here.",
    plot_menu: "Points",
    clear_points: "Remove all points of this prompt",
    use_settings: "Use its settings",
    remove_point: "Remove this point",
    back_to_last: "Back to the last run",
    shown_run: |run| format!("Shown: {run}"),
    verdict_connect: "Connect a module to begin.",
    verdict_begin: "Run once, then move the magnitude.",
    verdict_running: "Running: the same as the baseline so far.",
    verdict_same: "No effect: both outputs are the same.",
    verdict_noise: "Within the noise: two baselines differ as much.",
    verdict_ignored: "Both outputs are the same: the module probably ignored the prefix.",
    verdict_collapsed: |x| format!("Collapsed into repetition at {x}."),
    verdict_parts: |character| format!("Output leaves the baseline at character {character}."),
    verdict_parts_collapse: |character, x| {
        format!("Output leaves the baseline at character {character}; collapsed from {x}.")
    },

    help_title: "Keys and commands",
    help_mouse: "With the mouse",
    help_slider: "Magnitude: drag, click the number to type, double click for 1×, arrows 2 %, shift and arrows 20 %, Home for 0. Plot: point at a run to read it, click it to see its texts again.",
    group: |group| match group {
        Group::Run => "Run",
        Group::Prefix => "Prefix",
        Group::Results => "Results",
        Group::Module => "Module",
        Group::Window => "Window",
    },
    command: |command| match command {
        CommandId::Run => "Run",
        CommandId::Stop => "Stop",
        CommandId::RerunBaseline => "Run the baseline again",
        CommandId::ToggleLive => "Live on or off",
        CommandId::MagnitudeUp => "Magnitude 2 % up",
        CommandId::MagnitudeDown => "Magnitude 2 % down",
        CommandId::MagnitudeUpMore => "Magnitude 20 % up",
        CommandId::MagnitudeDownMore => "Magnitude 20 % down",
        CommandId::MagnitudeZero => "Magnitude to 0",
        CommandId::MagnitudeReset => "Magnitude to 1×",
        CommandId::MoreVectors => "One vector more",
        CommandId::FewerVectors => "One vector fewer",
        CommandId::NextMeasure => "Next measure",
        CommandId::ToggleGranularity => "Compare by character, word or line",
        CommandId::ToggleKl => "Colour the baseline by KL",
        CommandId::PreviousRun => "Run before",
        CommandId::NextRun => "Run after",
        CommandId::CopyBaseline => "Copy the baseline output",
        CommandId::CopyPrefixed => "Copy the prefixed output",
        CommandId::Open => "Open results",
        CommandId::Export => "Export results",
        CommandId::NewSession => "New session",
        CommandId::Connect => "Connect elsewhere",
        CommandId::Reconnect => "Reconnect",
        CommandId::Models => "Models",
        CommandId::ToggleTheme => "Dark, light, system",
        CommandId::ToggleLanguage => "English or Japanese",
        CommandId::ZoomIn => "Zoom in",
        CommandId::ZoomOut => "Zoom out",
        CommandId::ZoomReset => "Zoom 100 %",
        CommandId::ShowTune => "Tune view",
        CommandId::ShowSweep => "Sweep view",
        CommandId::ShowDoctor => "Doctor view",
        CommandId::Present => "Present",
        CommandId::Exhibit => "Exhibition: presets in turn",
        CommandId::PlayDemo => "Play the demo",
        CommandId::ToggleRecording => "Record, or end the recording",
        CommandId::OpenRecording => "Open recording",
        CommandId::ToggleFullscreen => "Full screen",
        CommandId::Help => "This sheet",
        CommandId::Quit => "Quit",
    },
    connect_title: "Connect",
    connect_about: "The work is the same either way: the embedded module speaks the same protocol over the same kind of socket.",
    connect_embedded: "Embedded module",
    connect_embedded_about: "Runs inside this window on the processor. Nothing to set up.",
    connect_remote: "Module at an address",
    connect_remote_about: "An M5Stack LLM module, or softprefix-unit on another machine.",
    address: "Host and port",
    address_hint: "192.168.1.20:10001",
    address_wrong: "That is not an address. Write host:port, for example 192.168.1.20:10001.",
    models_title: "Models of the embedded module",
    models_about: "Fetched models are checked by their SHA-256 and kept for the next start.",
    models_none: "Looking for models…",
    present: "on this machine",
    use_model: |model| format!("Use {model}"),
    use_it: "Use",
    fetch: "Fetch",
    fetch_named: |model| format!("Fetch {model}"),
    in_use: "in use",
    choose_file: "Choose a GGUF file…",
    left_over_title: "Left-over tasks",
    left_over_about: "These tasks take all places of the module. They belong to clients that are gone, or to somebody who is using the module now; exiting them ends their work.",
    about_title: "Soft-Prefix Workbench",
    about_text: "Tune a soft prefix by hand and watch the output leave the baseline. MIT or Apache-2.0.",
    about_fonts: "Letters: Inter, JetBrains Mono and Noto Sans CJK, under the SIL Open Font License 1.1.",
};
