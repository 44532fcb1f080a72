//! Plots and maps saved from the window: the menu at each, and files that open.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::path::Path;
use std::time::Duration;

use common::stage::window;

use egui_kittest::kittest::Queryable;
use softprefix::bridge::Bridge;
use softprefix::messages::{Event, FileQuestion};
use softprefix::model::{KindChoice, Language, Theme};
use softprefix::workbench::{Action, Effect, Notice, Tab, Workbench};

/// Chooses `path` where the system's dialog would be asked, and writes the file.
fn save(workbench: &mut Workbench, path: &Path) {
    let question = workbench.take_effects().into_iter().find_map(|effect| match effect {
        Effect::Ask(question @ FileQuestion::SaveFigure { .. }) => Some(question),
        _ => None,
    });
    let question = question.expect("a question for a place");
    workbench.take_requests();
    workbench.absorb(Event::Chosen {
        question,
        path: Some(path.to_owned()),
    });
    let mut bridge = Bridge::start(|| ()).unwrap();
    bridge.send_all(workbench.take_requests());
    while !matches!(&workbench.notice, Some(Notice::Saved(saved)) if saved == path) {
        let event = bridge.wait(Duration::from_secs(60)).expect("the file");
        assert!(!matches!(event, Event::FileProblem(_)), "{event:?}");
        workbench.absorb(event);
    }
    if let Ok(folder) = std::env::var("SOFTPREFIX_TEST_KEEP") {
        std::fs::copy(path, Path::new(&folder).join(path.file_name().unwrap())).unwrap();
    }
}

fn opens(path: &Path) -> [u32; 2] {
    let bytes = std::fs::read(path).unwrap();
    let image = eframe::icon_data::from_png_bytes(&bytes).unwrap();
    assert_eq!(image.rgba.len(), (image.width * image.height * 4) as usize);
    [image.width, image.height]
}

/// Reads an SVG file's tags; panics where they do not close as XML has it.
fn tags(path: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(path).unwrap();
    let body = text
        .strip_prefix("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n")
        .unwrap();
    let (mut open, mut seen) = (Vec::new(), Vec::new());
    for piece in body.split('<').skip(1) {
        let (tag, _) = piece.split_once('>').expect("a tag that ends");
        assert_eq!(tag.matches('"').count() % 2, 0, "{tag}");
        let name = tag.trim_start_matches('/').split([' ', '/']).next().unwrap().to_owned();
        if tag.starts_with('/') {
            assert_eq!(open.pop(), Some(name));
            continue;
        }
        seen.push(name.clone());
        if !tag.ends_with('/') {
            open.push(name);
        }
    }
    assert!(open.is_empty(), "{open:?}");
    assert!(!text.contains("class=") && !text.contains("var("), "colours of its own");
    seen
}

#[test]
fn the_plot_of_the_tune_view_is_saved_in_both_forms_from_its_menu() {
    let folder = tempfile::tempdir().unwrap();
    for (line, name) in [("Save as PNG…", "tune.png"), ("Save as SVG…", "tune.svg")] {
        let mut harness = window(common::tuned(Language::English, Theme::Light));
        harness.get_by_label("Points").click();
        harness.run_steps(3);
        harness.get_by_label(line).click();
        harness.run_steps(3);
        save(&mut harness.state_mut().workbench, &folder.path().join(name));
    }
    assert_eq!(opens(&folder.path().join("tune.png")), [1240, 600]);
    let tags = tags(&folder.path().join("tune.svg"));
    let marks = tags
        .iter()
        .filter(|tag| ["circle", "path"].contains(&tag.as_str()))
        .count();
    assert_eq!(marks, 25, "every run is a point");
}

#[test]
fn a_saved_plot_connects_runs_of_one_seed_only() {
    let folder = tempfile::tempdir().unwrap();
    let mut workbench = common::ready(Language::English, Theme::Light);
    workbench.apply(Action::SetKind(KindChoice::RandomUniform));
    for seed in [1, 2] {
        workbench.apply(Action::SetSeed(seed));
        for size in [0.5, 1.0, 2.0] {
            workbench.apply(Action::SetMagnitude(size));
            workbench.apply(Action::Run);
            common::settle(&mut workbench, &|inference| format!("{:?}", inference.recipe));
        }
    }
    let mut harness = window(workbench);
    harness.get_by_label("Points").click();
    harness.run_steps(3);
    harness.get_by_label("Save as SVG…").click();
    harness.run_steps(3);
    let path = folder.path().join("seeds.svg");
    save(&mut harness.state_mut().workbench, &path);
    let text = std::fs::read_to_string(&path).unwrap();
    let lines = text.split("<polyline points=\"").skip(1);
    let points: Vec<usize> = lines
        .map(|line| line.split('"').next().unwrap().split(' ').count())
        // Those of the axes have two.
        .filter(|points| *points > 2)
        .collect();
    assert_eq!(points, [3, 3], "a line for each seed");
}

#[test]
fn the_map_and_the_lines_of_a_sweep_have_a_menu_each() {
    let folder = tempfile::tempdir().unwrap();
    for (index, name) in ["map.png", "lines.svg"].into_iter().enumerate() {
        let mut workbench = common::ready(Language::Japanese, Theme::Dark);
        workbench.apply(Action::ShowTab(Tab::Sweep));
        let mut harness = window(workbench);
        harness.get_all_by_label("この図を保存").nth(index).unwrap().click();
        harness.run_steps(3);
        let line = if name.ends_with("png") {
            "PNG で保存…"
        } else {
            "SVG で保存…"
        };
        harness.get_by_label(line).click();
        harness.run_steps(3);
        save(&mut harness.state_mut().workbench, &folder.path().join(name));
    }
    let [width, height] = opens(&folder.path().join("map.png"));
    assert!(width == 1240 && height > 200);
    assert!(tags(&folder.path().join("lines.svg")).contains(&"svg".to_owned()));
}
