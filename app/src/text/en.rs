//! The words of the window in English.

use softprefix_core::compare::{Granularity, Measure};
use softprefix_core::experiment::words;
use softprefix_core::prefix::{FoundBy, Origin};
use softprefix_core::protocol::extension::FinishReason;

use super::Text;
use crate::commands::{CommandId, Group};
use crate::model::{ConnectStep, KindChoice, LoadStage, ProblemKind, Unavailable, Unit};
use crate::workbench::Tab;

pub(super) static TEXT: Text = Text {
    tune: "Tune",
    open: "Open…",
    export: "Export",
    export_named: "Export the runs",
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
    saving: |file| format!("Saving {file}…"),
    opening: |file| format!("Opening {file}…"),
    saved: |file| format!("Saved {file}"),
    opened: |file, runs, tab| {
        let view = match tab {
            Tab::Sweep => "Sweep",
            Tab::Find => "Find",
            Tab::Tune | Tab::Doctor => "Tune",
        };
        match runs {
            1 => format!("Opened {file} in {view}: 1 run"),
            _ => format!("Opened {file} in {view}: {runs} runs"),
        }
    },
    copied: "Copied",

    module: words::MODULE.en,
    embedded: "Embedded",
    ready: "ready",
    not_connected: "not connected",
    connecting: "connecting",
    fetching: "downloading the model",
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
    connect_step: |step| match step {
        ConnectStep::Starting => "Starting the embedded module",
        ConnectStep::Opening => "Opening the connection",
        ConnectStep::Asking => "Reading its model and limits",
        ConnectStep::SettingUp => "Setting up its model, up to a minute",
    },
    load_progress: |stage, percent| {
        let stage = match stage {
            LoadStage::File => "Reading the model's file",
            LoadStage::Layers => "Loading its layers",
            LoadStage::Weights => "Reading its weights",
            LoadStage::Vocabulary => "Reading its vocabulary",
            LoadStage::WarmUp => "Running a first step",
            LoadStage::Ready => "Ready",
        };
        format!("{stage}, {percent} %")
    },
    connect: "Connect",
    connect_elsewhere: "Connect elsewhere…",
    reconnect: "Reconnect",
    reconnecting: |retry| format!("Connection lost; reconnecting… ({} of {})", retry.attempt, retry.of),
    other_models: "Other models…",
    stock: "Stock module: one inference at a time, and it does not confirm that it applies the prefix.",
    tasks_full: |tasks| match tasks {
        1 => "All its task slots are in use, by 1 task of another or an earlier client.".to_owned(),
        _ => format!("All its task slots are in use, by {tasks} tasks of other or earlier clients."),
    },
    exit_tasks: |tasks| match tasks {
        1 => "Exit that task and connect".to_owned(),
        _ => format!("Exit {tasks} tasks and connect"),
    },
    no_model_yet: "The embedded module needs a model.",
    fetch_model: |model, size| {
        if size.is_empty() {
            format!("Download {model}")
        } else {
            format!("Download {model}, {size}")
        }
    },
    problem: |kind| match kind {
        ProblemKind::Connection => "No connection",
        ProblemKind::Module => "Module error",
        ProblemKind::TaskFull => "No free task slot",
        ProblemKind::Model => "No usable model",
        ProblemKind::Input => "Invalid input",
        ProblemKind::File => "File error",
        ProblemKind::Program => "Internal error",
    },

    prefix: "Prefix",
    kind: "Kind of prefix",
    envelope_short: "envelope",
    kinds: |kind| match kind {
        KindChoice::Constant => words::CONSTANT.en,
        KindChoice::RandomUniform => words::RANDOM_UNIFORM.en,
        KindChoice::RandomNormal => words::RANDOM_NORMAL.en,
        KindChoice::Words => "Words",
        KindChoice::Blend => "Blend of two texts",
        KindChoice::Contrast => "Contrast of two texts",
        KindChoice::Sampled => words::SAMPLED_VOCABULARY.en,
        KindChoice::Imported => "Imported file",
    },
    origin: |origin| match origin {
        Origin::File => "Imported file",
        Origin::Learned(_) => "Learned",
        Origin::Found(found) => match found.by {
            FoundBy::Person => "Chosen",
            FoundBy::Objective => "Found by search",
        },
    },
    magnitude: "Magnitude",
    magnitude_accessible_value: |norms, raw| match raw {
        Some(raw) => format!("{norms} of a token's norm, raw value {raw}"),
        None => format!("{norms} of a token's norm"),
    },
    type_magnitude: "Type the magnitude",
    less: "Less",
    more: "More",
    token_norm: "token norm",
    raw_value: words::RAW_VALUE.en,
    raw: words::RAW.en,
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
    budget_accessible_value: |prefix, template, prompt, output, window| {
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
    unscaled: words::UNSCALED.en,
    advanced: "Advanced",
    rounding: "Rounding",
    rounding_nearest: "nearest even",
    rounding_truncate: "truncate",
    unit: "Unit",
    unit_norms: "token norms",
    unit_raw: "raw values",
    unit_raw_only: "This module does not report its vocabulary's norms, so magnitudes are raw values.",
    row_norm: "Row norm",
    copy_digest: "Copy the SHA-256",
    nothing_built: "after connecting",
    quoted: |text| format!("“{text}”"),
    invalid_number: |typed, accepted| {
        let kind = if accepted.is_whole {
            "a whole number"
        } else {
            "a number"
        };
        let range = match (&accepted.least, &accepted.most) {
            (Some(least), Some(most)) => format!(" from {least} to {most}"),
            (Some(least), None) => format!(" of at least {least}"),
            (None, Some(most)) => format!(" of at most {most}"),
            (None, None) => String::new(),
        };
        let thousands = if typed.contains(',') {
            ", without commas between thousands"
        } else {
            ""
        };
        format!("“{typed}” is not valid here. Type {kind}{range}{thousands}.")
    },

    system: words::SYSTEM.en,
    system_and_limits: "System prompt, tokens and sampling",
    prompt: words::PROMPT.en,
    prompt_hint: "What to ask the model",
    preset: "Preset",
    own_text: "own text",
    max_tokens: "Max tokens",
    tokens_summary: |tokens| format!("{tokens} tokens"),
    sampling: "Sampling",
    greedy: words::GREEDY.en,
    top_k: "top-k",
    top_k_k: "k",
    temperature: "Temperature",
    live: "Live",
    run: "Run",
    stop: "Stop",
    unavailable: |why| match why {
        Unavailable::NotConnected => super::NOT_CONNECTED.en,
        Unavailable::StillConnecting => super::STILL_CONNECTING.en,
        Unavailable::EmptyPrompt => "Cannot run: the prompt is empty.",
        Unavailable::NoWords => "Cannot run: the prefix has no words.",
        Unavailable::SameTexts => "Cannot run: both texts are the same, so there is no contrast.",
        Unavailable::WrongField => super::INVALID_FIELD.en,
        Unavailable::NoPrefixFile => "Cannot run: no prefix file has been chosen.",
        Unavailable::OneAtATime => {
            "Only softprefix-unit can fill the curve: this module answers one request at a time."
        }
        Unavailable::NoMagnitude => "The rows of this prefix are used as they are: there is no magnitude to vary.",
        Unavailable::Recording => "The curve is not filled while a recording is made.",
        Unavailable::Filled => "This prefix has already been run at all twelve magnitudes.",
        Unavailable::DoesNotFit => "Cannot run: prefix and prompt do not fit the window.",
    },

    splitter: "Height of the outputs",
    splitter_about: "Drag to give the outputs or the plot more room. Double click to fit the outputs.",
    baseline: words::BASELINE.en,
    prefixed: "Prefix",
    baseline_output: "Baseline output",
    prefixed_output: "Prefixed output",
    removed: "removed",
    added: "added",
    from: |what| format!("from {what}"),
    cut_off: words::CUT_OFF.en,
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
    first_token: "first token",
    tokens: "tokens",
    tokens_per_second: words::TOKENS_PER_SECOND.en,
    drafted: "% drafted",
    copy: "Copy",
    copy_baseline: "Copy the baseline output",
    copy_prefixed: "Copy the prefixed output",
    rerun_baseline: "Run the baseline again",
    checking: "second run, to check the first",
    running_again: "second run, to measure the noise",
    checking_about: "The baseline runs a second time. softprefix-unit uses the first output as a draft and computes every token again, which reveals any token that differs. A stock module simply runs again; the distance between both outputs is its noise.",
    fill_curve: "Fill the curve",
    fill_about: "Runs this prefix at twelve magnitudes in the background; your own runs go first. Moving to one of them shows its output at once.",
    filling: |done, total| format!("Stop · {done} of {total}"),
    fill_by_itself: "Fill the curve when I pause",
    curve: "Curve",
    runs: "Runs",
    plot_or_runs: "What the card shows",
    only_this_prompt: "This prompt only",
    chosen: |count| format!("{count} selected"),
    plot_them: "Plot them",
    choose_about: "Ctrl (⌘ on a Mac) and click, or Space: select a run. Shift and click, or Shift and the arrows: select all up to it. One or two selected runs can be pinned: the first takes the baseline's place.",
    chosen_plotted: |count| match count {
        1 => "1 selected run: show all".to_owned(),
        _ => format!("{count} selected runs: show all"),
    },
    runs_empty: "Every finished run of the session is listed here.",
    run_columns: [words::PROMPT.en, "Kind", "Magnitude", "P", words::MODEL.en, "Ending"],
    kl_axis: "mean KL, nats",
    nth: |unit, number| match unit {
        Unit::Character => format!("character {number}"),
        Unit::Word => format!("word {number}"),
        Unit::Line => format!("line {number}"),
    },
    first_difference_at: |unit, number| format!("Differs from {}", (TEXT.nth)(unit, number)),
    differences: |count| match count {
        1 => "1 difference".to_owned(),
        _ => format!("{count} differences"),
    },
    difference_of: |number, count| format!("{number} of {count}"),
    show_plot: "Show the plot",
    no_difference: "No difference",
    granularity: "Compare by",
    granularities: |granularity| match granularity {
        Granularity::Auto => "automatic",
        Granularity::Grapheme => "by character",
        Granularity::Word => "by word",
        Granularity::Line => "by line",
    },

    plot: "Similarity over magnitude",
    measures: |measure| measure.name().en,
    measure_about: |measure| match measure {
        Measure::Chrf2 => "Character n-gram F-score against the baseline, 0 to 100, as sacreBLEU computes it",
        Measure::Indel => "Twice the longest common subsequence over both lengths; agrees with the marks above",
        Measure::Difflib => "Python's SequenceMatcher ratio without autojunk",
        Measure::DifflibAutojunk => {
            "Python's SequenceMatcher ratio as scripts print it; misleading from 200 characters on"
        }
        Measure::Levenshtein => "One minus the edit distance over the longer length",
        Measure::FirstDivergence => "Characters that both outputs share from the start",
        Measure::Distinct2 => "Distinct character pairs of this output over all of its pairs",
        Measure::Distinct4 => {
            "Distinct runs of four characters over all such runs; lower for longer outputs, and very low where the output repeats itself"
        }
        Measure::Length => "Characters of this output",
        Measure::KlMean => {
            "Mean KL(baseline || prefixed) over the baseline's tokens, in nats: how far the prefix moves the model's predictions, also where the text is the same"
        }
        Measure::Perplexity => {
            "Perplexity of this output under the model without the prefix; an output that repeats itself has a low one"
        }
    },
    measure: "Measure",
    more_measures: "more",
    x_norms: words::AXIS_NORMS.en,
    x_raw: words::AXIS_RAW.en,
    noise: "noise floor: two baseline runs differ by this much",
    noise_none: "two baseline runs gave the same output",
    collapsed_above: |x| format!("repeats itself from {x}"),
    points: |count| match count {
        1 => "1 point".to_owned(),
        _ => format!("{count} points"),
    },
    comma: words::COMMA.en,
    full_stop: ".",
    zoomed: |from, to| format!("Zoomed to {from} – {to}: show all"),
    plot_empty: "Every finished run becomes a point here.",
    plot_menu: "Points",
    clear_points: "Remove all points of this prompt",
    use_settings: "Use its settings",
    remove_point: "Remove this point",
    removed_runs: |runs| match runs {
        1 => "Removed 1 run".to_owned(),
        _ => format!("Removed {runs} runs"),
    },
    back_to_last: "Back to the last run",
    shown_run: |run| format!("Shown: {run}"),
    verdict_connect: "Connect a module to begin.",
    verdict_begin: "Run once, then move the magnitude.",
    verdict_running: "Running: the same as the baseline so far",
    pinned_parts: |place| format!("Pinned run: differs from {place}"),
    pinned_same: "The same output as the pinned run",
    pinned_same_so_far: "Running: the same as the pinned run so far",
    against_pinned: "to the pinned run:",
    against_pinned_about: "The two outputs above, measured against each other; KL is known against the baseline alone. The plot and the table stay measured against the baseline.",
    verdict_same: "No effect: both outputs are the same",
    verdict_noise: "Within the noise: two baselines differ as much",
    verdict_ignored: "Both outputs are the same: the module probably ignored the prefix.",
    verdict_collapsed: |x| format!("Repeats itself at {x}"),
    verdict_parts: |place| format!("Differs from {place}"),
    verdict_parts_collapse: |place, x| format!("Differs from {place}, repeats itself from {x}"),

    help_title: "Keys and commands",
    help_tabs: "Keys marked with views act only while one of them is shown.",
    help_mouse: "With the mouse",
    help_slider: "Magnitude: drag, click the number to type, double click for 1×, arrows 2 %, shift and arrows 20 %, Home for 0. Plot: point at a run to read it, click it to see its outputs again, drag the orange line to change the magnitude; zoom by pinching, with Ctrl (⌘ on a Mac) and the wheel or with a box under the right button, drag to move, double click to see all.",
    group: |group| match group {
        Group::Run => "Run",
        Group::Prefix => "Prefix",
        Group::Find => "Find",
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
        CommandId::MoreVectors => "One more vector",
        CommandId::FewerVectors => "One fewer vector",
        CommandId::NextMeasure => "Next measure",
        CommandId::ToggleGranularity => "Compare by character, word or line",
        CommandId::ToggleKl => "Colour the baseline by KL",
        CommandId::FillCurve => "Fill the curve, or stop filling it",
        CommandId::ShowRuns => "Show the runs, or the curve",
        CommandId::MoreStars => "One more star for this run",
        CommandId::FewerStars => "One fewer star for this run",
        CommandId::EditNote => "Note on this run",
        CommandId::AddToSweep => "Add the prompt to the sweep",
        CommandId::Pin => "Pin this run, or unpin it",
        CommandId::NextDifference => "Next difference",
        CommandId::PreviousDifference => "Previous difference",
        CommandId::TextsAlone => "Hide or show the plot",
        CommandId::PreviousRun => "Previous run",
        CommandId::NextRun => "Next run",
        CommandId::CopyBaseline => "Copy the baseline output",
        CommandId::CopyPrefixed => "Copy the prefixed output",
        CommandId::Open => "Open results",
        CommandId::Export => "Export results",
        CommandId::NewSession => "New session",
        CommandId::UseFound => "Use the found prefix in Tune",
        CommandId::PickFirst => "Choose candidate 1",
        CommandId::PickSecond => "Choose candidate 2",
        CommandId::PickThird => "Choose candidate 3",
        CommandId::PickFourth => "Choose candidate 4",
        CommandId::StepBack => "Back to the previous generation",
        CommandId::Connect => "Connect elsewhere",
        CommandId::Reconnect => "Reconnect",
        CommandId::Models => "Models",
        CommandId::ToggleTheme => "Dark, light or system theme",
        CommandId::ToggleLanguage => "English or Japanese",
        CommandId::ZoomIn => "Zoom in",
        CommandId::ZoomOut => "Zoom out",
        CommandId::ZoomReset => "Zoom 100 %",
        CommandId::ShowTune => "Tune view",
        CommandId::ShowSweep => "Sweep view",
        CommandId::ShowFind => "Find view",
        CommandId::ShowDoctor => "Doctor view",
        CommandId::Present => "Present",
        CommandId::Exhibit => "Exhibition: run the presets in turn",
        CommandId::PlayDemo => "Play the demo",
        CommandId::ToggleRecording => "Start or end a recording",
        CommandId::OpenRecording => "Open recording",
        CommandId::ToggleFullscreen => "Full screen",
        CommandId::Settings => "Settings",
        CommandId::Help => "This help",
        CommandId::Quit => "Quit",
    },
    connect_title: "Connect",
    connect_about: "Both work in the same way and use the same protocol.",
    connect_embedded: "Embedded module",
    connect_embedded_about: "Part of this program; runs on this computer's processor. Nothing to set up.",
    connect_remote: "Module at an address",
    connect_remote_about: "An M5Stack LLM module, or softprefix-unit on another computer.",
    address: "Host and port",
    address_hint: "192.168.1.20:10001",
    address_wrong: "That is not an address. Write host:port, for example 192.168.1.20:10001.",
    path_title: "Which file?",
    path_about: "This system has no file dialog (neither a desktop portal nor zenity). Type the path of the file.",
    path: "Path",
    path_use: "Use this path",
    path_taken: "A file of this name exists already. Choose another name.",
    models_title: "Models of the embedded module",
    models_about: "Downloaded models are checked by their SHA-256 and kept for the next start.",
    models_none: "Looking for models…",
    present: "on this computer",
    unusable: "cannot be used",
    not_verified: "not verified by this program",
    use_model: |model| format!("Use {model}"),
    use_it: "Use",
    fetch: "Download",
    fetch_named: |model| format!("Download {model}"),
    in_use: "in use",
    choose_file: "Choose a GGUF file…",
    left_over_title: "Left-over tasks",
    left_over_about: "These tasks use all task slots of the module. They were left by clients that have disconnected, or belong to somebody who uses the module now. None is known to be this window's, so none was exited. Exiting them ends their work.",
    about_title: "Soft-Prefix Workbench",
    about_text: "Tune a soft prefix by hand and see how the output moves away from the baseline. MIT or Apache-2.0.",
    about_fonts: "Fonts: Inter, JetBrains Mono and Noto Sans CJK, under the SIL Open Font License 1.1.",
};
