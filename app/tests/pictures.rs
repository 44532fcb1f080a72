//! Pictures of the whole window, to be looked at: `SOFTPREFIX_PICTURES=folder cargo test -p softprefix --test pictures`.
//!
//! They are for people. Without the variable nothing is drawn, and the other tests say what must hold. `SOFTPREFIX_PICTURE=tune` draws those
//! whose names have this word.

#![allow(clippy::expect_used, reason = "a picture that cannot be drawn ends the test")]

mod common;

use std::path::PathBuf;

use eframe::egui::{self, vec2};
use egui_kittest::Harness;
use softprefix::messages::Event;
use softprefix::model::{FetchProgress, Language, Problem, ProblemKind, Theme};
use softprefix::workbench::{Action, Dialog, Tab, Workbench};

use common::stage::{Stage, prepare};

fn draw(name: &str, workbench: Workbench, size: [f32; 2], zoom: f32) {
    let Some(folder) = std::env::var_os("SOFTPREFIX_PICTURES").map(PathBuf::from) else {
        return;
    };
    if std::env::var("SOFTPREFIX_PICTURE").is_ok_and(|wanted| !name.contains(&wanted)) {
        return;
    }
    let dark = workbench.settings.theme == Theme::Dark;
    let mut harness = Harness::builder()
        .with_size(vec2(size[0] / zoom, size[1] / zoom))
        .with_pixels_per_point(zoom)
        .with_theme(if dark { egui::Theme::Dark } else { egui::Theme::Light })
        .with_max_steps(20)
        .with_render_cursor(false)
        .with_context_setup(prepare)
        .build_ui_state(|ui, stage: &mut Stage| stage.show(ui), Stage::new(workbench));
    harness.run_steps(6);
    let image = harness.render().expect("a picture");
    std::fs::create_dir_all(&folder).expect("the folder for the pictures");
    image
        .save(folder.join(format!("{name}.png")))
        .expect("the picture is written");
}

const SMALL: [f32; 2] = [1280.0, 800.0];
const LARGE: [f32; 2] = [1440.0, 900.0];
const FULL: [f32; 2] = [1920.0, 1080.0];

#[test]
fn pictures_of_the_window() {
    use Language::{English, Japanese};
    use Theme::{Dark, Light};
    for (language, end) in [(English, ""), (Japanese, "-ja")] {
        for (theme, shade) in [(Dark, "dark"), (Light, "light")] {
            for (size, width) in [(SMALL, 1280), (LARGE, 1440), (FULL, 1920)] {
                let named = |what: &str| format!("{what}-{width}-{shade}{end}");
                draw(&named("tune"), common::tuned(language, theme), size, 1.0);
                draw(&named("512-tokens"), common::long_japanese(language, theme), size, 1.0);
            }
        }
    }
    draw("streaming", common::streaming(English, Dark), SMALL, 1.0);
    draw("projector", common::tuned(English, Dark), SMALL, 1.5);
    draw("projector-ja", common::tuned(Japanese, Light), FULL, 1.5);
    let mut alone = common::tuned(English, Dark);
    alone.apply(Action::ToggleTextsAlone);
    alone.apply(Action::StepDifference(1));
    alone.apply(Action::StepDifference(1));
    draw("texts-alone", alone, SMALL, 1.0);
    for (name, theme, size) in [("long-1280-dark", Dark, SMALL), ("long-1440-light", Light, LARGE)] {
        let mut long = common::long(English, theme);
        long.apply(Action::StepDifference(1));
        long.apply(Action::SetKind(softprefix::model::KindChoice::Blend));
        draw(name, long, size, 1.0);
    }
    draw("long-1280-ja", common::long(Japanese, Dark), SMALL, 1.0);
    draw("long-1920", common::long(English, Light), FULL, 1.0);
    for (name, language, theme, size) in [
        ("curve-1280", English, Dark, SMALL),
        ("curve-1440-ja", Japanese, Light, LARGE),
    ] {
        let mut filled = common::tuned(language, theme);
        draw(name, filled, size, 1.0);
        filled = common::tuned(language, theme);
        filled.apply(Action::ShowRuns(true));
        draw(&format!("{name}-runs"), filled, size, 1.0);
    }
    for (language, theme, size, end) in [
        (English, Dark, SMALL, ""),
        (Japanese, Light, SMALL, "-ja"),
        (English, Light, LARGE, "-1440"),
        (Japanese, Dark, LARGE, "-1440-ja"),
    ] {
        use softprefix_core::protocol::learn::LearnEnd;
        let named = |what: &str| format!("find-{what}{end}");
        draw(&named("empty"), common::find::empty(language, theme), size, 1.0);
        draw(
            &named("learning"),
            common::find::learning(language, theme, None),
            size,
            1.0,
        );
        let done = common::find::learning(language, theme, Some(LearnEnd::NotReached));
        draw(&named("learned"), done, size, 1.0);
        draw(&named("choosing"), common::find::choosing(language, theme), size, 1.0);
        draw(
            &named("searching"),
            common::find::searched(language, theme, None),
            size,
            1.0,
        );
        let mut game = common::find::choosing(language, theme);
        game.apply(Action::Present(true));
        draw(&named("game"), game, size, 1.5);
    }
    for (language, size, end) in [
        (English, SMALL, ""),
        (Japanese, SMALL, "-ja"),
        (English, FULL, "-1920"),
        (Japanese, FULL, "-1920-ja"),
    ] {
        let themed = |mut workbench: Workbench| {
            let theme = if language == English { Dark } else { Light };
            workbench.apply(Action::SetTheme(theme));
            workbench
        };
        let running = common::sweep::running(language, 5);
        draw(&format!("sweep-running{end}"), themed(running), size, 1.0);
        let ended = common::sweep::over_two_prompts(language);
        draw(&format!("sweep-ended{end}"), themed(ended), size, 1.0);
        let mut doctor = common::tuned(language, Dark);
        doctor.apply(Action::ShowTab(Tab::Doctor));
        draw(&format!("doctor{end}"), themed(doctor), size, 1.0);
    }
    let mut present = common::tuned(English, Dark);
    present.apply(Action::Present(true));
    draw("present-1280", present, SMALL, 1.5);
    let mut present = common::long(Japanese, Light);
    present.apply(Action::Present(true));
    present.apply(Action::SetMagnitude(4.0));
    draw("present-1440-stale", present, LARGE, 1.5);
    draw("empty", common::empty(English, Light), SMALL, 1.0);
    draw("ready", common::ready(Japanese, Dark), SMALL, 1.0);

    let mut failed = common::tuned(English, Light);
    failed.absorb(Event::Lost(Problem::new(
        ProblemKind::Connection,
        "192.168.1.20:10001 closed the connection in the middle of an answer.",
        "Check that llm-sys runs there (systemctl status llm-sys), then reconnect.",
    )));
    draw("failed", failed, SMALL, 1.0);
    let mut stale = common::tuned(English, Dark);
    stale.apply(Action::SetMagnitude(0.33));
    draw("stale", stale, SMALL, 1.0);

    let mut refused = common::tuned(Japanese, Dark);
    refused.prefixed.error = Some(Problem::new(
        ProblemKind::Module,
        "The module stopped sending in the middle of an answer: nothing came for 30 seconds.",
        "Run again; if it happens again, reconnect and look at the module's own log.",
    ));
    refused.apply(Action::SetKind(softprefix::model::KindChoice::Words));
    refused.apply(Action::SetAdvanced(true));
    draw("refused", refused, LARGE, 1.0);

    let mut opened = common::tuned(English, Light);
    let run = opened.tuning.points().nth(13).map(|(record, _)| record.id.clone());
    opened.apply(Action::SelectRun(run));
    opened.absorb(Event::FileProblem(Problem::new(
        ProblemKind::File,
        "results.json is not a results file: it has no \"results\".",
        "Choose a file that was saved here or by the comparison script.",
    )));
    draw("opened", opened, SMALL, 1.0);

    let mut full = common::empty(Japanese, Light);
    let tasks = vec!["llm.1000".to_owned(), "llm.1001".to_owned()];
    full.absorb(Event::TaskFull { tasks });
    draw("full-ja", full, SMALL, 1.0);

    let mut fetching = common::empty(Japanese, Dark);
    fetching.absorb(Event::Fetching(FetchProgress {
        name: "qwen2.5-0.5b-instruct".to_owned(),
        model: "qwen2.5-0.5b-instruct".to_owned(),
        source: "huggingface.co".to_owned(),
        done_bytes: 173_000_000,
        total_bytes: Some(491_400_032),
        what: "fetching".to_owned(),
    }));
    draw("fetching-ja", fetching, SMALL, 1.0);

    let mut help = common::tuned(Japanese, Light);
    help.apply(Action::ShowDialog(Dialog::Help));
    draw("help-ja", help, SMALL, 1.0);
    for (name, dialog) in [
        ("help", Dialog::Help),
        ("connect", Dialog::Connect),
        ("models", Dialog::Models),
    ] {
        let mut workbench = common::tuned(English, Dark);
        workbench.apply(Action::ShowDialog(dialog));
        draw(name, workbench, SMALL, 1.0);
    }
}
