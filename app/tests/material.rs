//! What prefixes are made of, in the window: the controls by their names, as a screen reader and the keyboard meet them.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use eframe::egui::accesskit::Role;
use eframe::egui::{Key, Modifiers, vec2};
use egui_kittest::Harness;
use egui_kittest::kittest::{NodeT, Queryable};
use softprefix::messages::{Event, FileQuestion, MaterialEvent, MaterialRequest};
use softprefix::model::{
    Bilingual, Envelope, FileAbout, ImportedFile, KindChoice, Language, Nearest, Refusal, RefusedFile, Theme,
};
use softprefix::text::{PrefixText, Text};
use softprefix::workbench::{Action, Dialog, Effect, MaterialAction, SweepAction, Tab, Workbench};
use softprefix_core::prefix::files::{Format, Stored};
use softprefix_core::prefix::{Generator, Neighbour, Origin, PrefixKind, PrefixSummary};

use common::stage::{Stage, paced};

/// High enough that nothing of the rail is scrolled away.
fn window(workbench: Workbench) -> Harness<'static, Stage> {
    paced(workbench, [1280.0, 1100.0], 0.02)
}

fn ready() -> Workbench {
    common::ready(Language::English, Theme::Dark)
}

fn of_kind(kind: KindChoice) -> Harness<'static, Stage> {
    let mut workbench = ready();
    workbench.apply(Action::SetKind(kind));
    common::settle(&mut workbench, &|_| String::new());
    window(workbench)
}

fn file() -> ImportedFile {
    ImportedFile {
        name: "haiku".to_owned(),
        sha256: "ab".repeat(32),
        about: Some(FileAbout {
            rows: 8,
            hidden_size: 896,
            format: Format::Peft,
            stored: Stored::F32,
            exact: false,
            base_model: Some("Qwen/Qwen2.5-0.5B-Instruct".to_owned()),
        }),
        origin: Origin::File,
    }
}

#[test]
fn every_kind_is_chosen_from_one_list_and_brings_its_sentence_and_its_own_fields_only() {
    let mut harness = window(ready());
    for kind in KindChoice::ALL {
        if harness.state().workbench.prefix.kind != kind {
            harness.get_by_role_and_label(Role::ComboBox, "Kind of prefix").click();
            harness.run_steps(3);
            let name = (Text::of(Language::English).kinds)(kind);
            harness.get_by_role_and_label(Role::MenuItemRadio, name).click();
            harness.run_steps(3);
        }
        assert_eq!(harness.state().workbench.prefix.kind, kind);
        let shown = |label: &str| harness.query_all_by_label(label).next().is_some();
        assert_eq!(shown("New seed"), kind.is_seeded(), "{kind:?}");
        assert_eq!(shown("Generator"), kind.is_seeded(), "{kind:?}");
        assert_eq!(shown("Rows as they are"), kind.allows_unscaled(), "{kind:?}");
        assert_eq!(shown("First text"), kind == KindChoice::Blend, "{kind:?}");
        assert_eq!(shown("Minus"), kind == KindChoice::Contrast, "{kind:?}");
        assert_eq!(shown("Choose a file…"), kind == KindChoice::Imported, "{kind:?}");
        let words = harness
            .query_by_role_and_label(Role::MultilineTextInput, "Words")
            .is_some();
        assert_eq!(words, kind == KindChoice::Words, "{kind:?}");
    }
}

#[test]
fn the_fields_of_a_kind_are_above_the_slider_and_visible_in_the_smallest_window() {
    for kind in KindChoice::ALL {
        let harness = of_kind(kind);
        let slider = harness.get_by_role_and_label(Role::Slider, "Magnitude").rect();
        assert!(slider.bottom() < 720.0, "{kind:?}: {slider:?}");
        for field in ["Words", "First text", "Second text", "Minus", "Choose a file…"] {
            for node in harness.query_all_by_label(field) {
                assert!(node.rect().bottom() <= slider.top(), "{kind:?}: {field}");
            }
        }
    }
}

#[test]
fn the_blend_moves_by_keys_and_can_be_typed() {
    let mut harness = of_kind(KindChoice::Blend);
    harness.get_by_role_and_label(Role::Slider, "Blend").focus();
    harness.run_steps(2);
    harness.key_press(Key::ArrowRight);
    harness.run_steps(2);
    assert_eq!(harness.state().workbench.prefix.blend, 0.51);
    harness.key_press_modifiers(Modifiers::SHIFT, Key::ArrowLeft);
    harness.run_steps(2);
    assert_eq!(harness.state().workbench.prefix.blend, 0.41);
    harness.get_by_label("Type the blend").focus();
    harness.run_steps(2);
    harness.key_press_modifiers(Modifiers::COMMAND, Key::A);
    harness.get_by_label("Type the blend").type_text("0.75");
    harness.run_steps(2);
    harness.key_press(Key::Enter);
    harness.run_steps(3);
    let recipe = harness.state().workbench.prefix.recipe();
    assert!(
        matches!(recipe.kind, PrefixKind::Blend { t, .. } if t == 0.75),
        "{recipe:?}"
    );
}

#[test]
fn pythons_generator_is_chosen_by_name_and_says_what_repeats_an_old_run() {
    let mut harness = of_kind(KindChoice::RandomNormal);
    harness.get_by_role_and_label(Role::ComboBox, "Generator").click();
    harness.run_steps(3);
    harness
        .get_by_role_and_label(Role::MenuItemRadio, "Python random.Random")
        .click();
    harness.run_steps(3);
    assert_eq!(harness.state().workbench.prefix.generator, Generator::PythonRandom);
    assert!(harness.query_by_label_contains("byte for byte").is_some());
}

#[test]
fn the_envelope_is_folded_and_a_single_row_has_none() {
    let mut harness = window(ready());
    assert!(harness.query_by_role_and_label(Role::Slider, "Row envelope").is_none());
    harness
        .get_by_role_and_label(Role::DisclosureTriangle, "Row envelope")
        .click();
    harness.run_steps(20);
    assert!(harness.query_by_role_and_label(Role::Slider, "Row envelope").is_some());
    harness.state_mut().workbench.apply(Action::SetLen(1));
    harness.run_steps(2);
    assert!(harness.query_by_label("Row envelope").is_none());
}

fn unfolded() -> Harness<'static, Stage> {
    let mut harness = window(ready());
    harness
        .get_by_role_and_label(Role::DisclosureTriangle, "Row envelope")
        .click();
    harness.run_steps(20);
    harness
}

#[test]
fn the_envelope_is_drawn_with_the_arrow_keys() {
    let mut harness = unfolded();
    harness.get_by_role_and_label(Role::Slider, "Row envelope").focus();
    harness.run_steps(2);
    harness.key_press(Key::ArrowDown);
    harness.run_steps(2);
    harness.key_press(Key::ArrowRight);
    harness.run_steps(2);
    harness.key_press_modifiers(Modifiers::SHIFT, Key::ArrowDown);
    harness.run_steps(2);
    assert_eq!(
        harness.state().workbench.prefix.envelope,
        Envelope::Drawn(vec![0.95, 0.8, 1.0, 1.0])
    );
    let bars = harness.get_by_role_and_label(Role::Slider, "Row envelope");
    assert_eq!(bars.accesskit_node().numeric_value(), Some(0.8));
}

#[test]
fn the_envelope_is_drawn_with_the_mouse_and_a_double_click_takes_it_back() {
    let mut harness = unfolded();
    let rect = harness.get_by_role_and_label(Role::Slider, "Row envelope").rect();
    let at = |x: f32, y: f32| rect.left_top() + vec2(rect.width() * x, rect.height() * y);
    harness.hover_at(at(0.1, 0.98));
    harness.run_steps(2);
    harness.drag_at(at(0.1, 0.98));
    harness.run_steps(2);
    for step in 1..=8 {
        harness.hover_at(at(0.1 + 0.1 * step as f32, 0.98 - 0.12 * step as f32));
        harness.run_steps(1);
    }
    harness.drop_at(at(0.95, 0.01));
    harness.run_steps(3);
    let Envelope::Drawn(points) = harness.state().workbench.prefix.envelope.clone() else {
        panic!("{:?}", harness.state().workbench.prefix.envelope);
    };
    assert_eq!(points.len(), 4);
    assert!(points[0] < 0.2 && points[3] == 1.0, "{points:?}");
    assert!(points.is_sorted(), "{points:?}");

    for _ in 0..2 {
        harness.drag_at(at(0.5, 0.5));
        harness.drop_at(at(0.5, 0.5));
    }
    harness.run_steps(3);
    assert_eq!(harness.state().workbench.prefix.envelope, Envelope::Flat);
}

#[test]
fn an_envelope_is_set_by_one_button() {
    let mut harness = unfolded();
    for (name, envelope) in [
        ("Fade in", Envelope::FadeIn),
        ("Fade out", Envelope::FadeOut),
        ("First only", Envelope::OnlyFirst),
        ("Flat", Envelope::Flat),
    ] {
        harness.get_by_role_and_label(Role::RadioButton, name).click();
        harness.run_steps(3);
        assert_eq!(harness.state().workbench.prefix.envelope, envelope);
    }
}

#[test]
fn an_imported_file_says_what_it_is_and_what_became_of_its_values() {
    let mut harness = of_kind(KindChoice::Imported);
    assert!(harness.query_by_label("No file yet").is_some());
    let why = "no prefix file has been chosen";
    assert!(harness.query_all_by_label_contains(why).next().is_some());
    harness.get_by_label("Choose a file…").click();
    harness.run_steps(2);
    let effects = harness.state_mut().workbench.take_effects();
    assert_eq!(effects, [Effect::Ask(FileQuestion::ImportPrefix)]);

    let event = MaterialEvent::Imported {
        file: file(),
        norms: vec![0.5; 8],
    };
    harness.state_mut().workbench.absorb(Event::Material(Box::new(event)));
    harness.run_steps(2);
    harness.get_by_label("haiku");
    for words in ["Qwen/Qwen2.5-0.5B-Instruct", "8 × 896, f32", "rounded to bf16"] {
        assert!(harness.query_by_label_contains(words).is_some(), "{words}");
    }
    assert_eq!(harness.state().workbench.prefix.len, 8, "all of its rows");
    assert!(harness.state().workbench.prefix.is_unscaled(), "as they are");
}

#[test]
fn a_refused_file_has_a_headline_in_the_language_of_the_window_and_the_whole_reason() {
    let sentence = Bilingual::new("It holds keys and values.", "各層のキーと値です。");
    for (language, headline) in [
        (Language::English, "This is prefix tuning, not a soft prefix"),
        (
            Language::Japanese,
            "これは prefix tuning で、ソフトプレフィックスではありません",
        ),
    ] {
        let mut workbench = common::ready(language, Theme::Light);
        let refused = RefusedFile {
            why: Refusal::PrefixTuning,
            sentence: sentence.clone(),
        };
        workbench.absorb(Event::Material(Box::new(MaterialEvent::Refused(refused))));
        let mut harness = window(workbench);
        assert!(harness.query_by_label(headline).is_some(), "{headline}");
        harness.get_by_label(sentence.get(language));
        harness.get_by_label(Text::of(language).dismiss).click();
        harness.run_steps(2);
        assert!(harness.query_by_label(headline).is_none());
    }
}

#[test]
fn the_prefix_is_written_from_the_rail_in_the_form_that_is_chosen() {
    let mut harness = window(ready());
    for (name, suggested) in [
        ("PEFT folder (safetensors)…", "prefix-constant-P4"),
        ("NumPy file (.npy)…", "prefix-constant-P4.npy"),
    ] {
        harness.get_by_label("Export the prefix").click();
        harness.run_steps(3);
        harness.get_by_label(name).click();
        harness.run_steps(3);
        let effects = harness.state_mut().workbench.take_effects();
        let [Effect::Ask(question @ FileQuestion::ExportPrefix { suggested: name, .. })] = &effects[..] else {
            panic!("{effects:?}");
        };
        assert_eq!(name, suggested);
        let (question, path) = (question.clone(), None);
        harness.state_mut().workbench.absorb(Event::Chosen { question, path });
        harness.run_steps(2);
    }
}

fn summary(rows: usize) -> PrefixSummary {
    let norms = vec![0.515; rows];
    PrefixSummary {
        len: rows,
        hidden_size: 896,
        sha256: "0123456789abcdef".repeat(4),
        min: 0.515,
        median: 0.515,
        max: 0.515,
        norms,
        token_norm: Some(0.515),
    }
}

fn neighbour(text: &str, cosine: f64) -> Neighbour {
    Neighbour {
        id: 1,
        text: text.to_owned(),
        cosine,
    }
}

fn opened(nearest: Nearest) -> Harness<'static, Stage> {
    opened_over(ready(), nearest)
}

/// The sheet about the prefix of a workbench.
fn opened_over(workbench: Workbench, nearest: Nearest) -> Harness<'static, Stage> {
    let language = workbench.settings.language;
    let text = PrefixText::of(language);
    let mut harness = window(workbench);
    harness.get_by_label(text.identity).click();
    harness.run_steps(3);
    assert_eq!(harness.state().workbench.dialog, Some(Dialog::Identity));
    assert!(harness.query_by_label(text.building).is_some());
    let recipe = harness.state().workbench.prefix.recipe();
    let asked = harness.state_mut().workbench.take_requests();
    let wanted = MaterialRequest::Identify { recipe: recipe.clone() };
    assert!(
        asked
            .iter()
            .any(|request| matches!(request, softprefix::messages::Request::Material(asked) if **asked == wanted)),
        "{asked:?}"
    );
    let events = [
        MaterialEvent::Identified {
            recipe: recipe.clone(),
            summary: Ok(summary(recipe.len)),
        },
        MaterialEvent::Nearest { recipe, nearest },
    ];
    for event in events {
        harness.state_mut().workbench.absorb(Event::Material(Box::new(event)));
    }
    harness.run_steps(3);
    harness
}

#[test]
fn the_sheet_says_what_the_prefix_is_and_warns_where_neighbours_say_nothing() {
    let rows = vec![
        vec![neighbour(" the", 1.0), neighbour("\n", 0.31)],
        vec![neighbour("春", 0.12)],
        vec![neighbour("花", 0.1)],
        Vec::new(),
    ];
    let mut harness = opened(Nearest::Known(rows));
    for words in [
        "About this prefix",
        "4 × 896",
        "min 1.0×, median 1.0×, max 1.0×",
        "cosine of 0.3",
        "3 of 4 rows are far from every token",
        "Row 1",
        "“ the” 1.00",
        "“\\n” 0.31",
        "zeros, no direction",
    ] {
        assert!(harness.query_all_by_label_contains(words).next().is_some(), "{words}");
    }
    harness.get_all_by_label("Copy the SHA-256").last().unwrap().click();
    harness.run_steps(2);
    let effects = harness.state_mut().workbench.take_effects();
    assert_eq!(effects, [Effect::Copy("0123456789abcdef".repeat(4))]);
}

#[test]
fn the_sheet_of_learned_rows_says_what_they_were_learned_for_and_warns_of_the_tokens_that_are_near_them() {
    for (language, facts) in [
        (
            Language::English,
            [
                "to answer “Write a short story about a lighthouse keeper an…” with “The sea knew”; loss 0.95, 20 of 30 tokens",
                "rows of step 84 of 200, seed 7",
                "1 of 2 rows are far from every token.",
                "Tokens below a cosine of 0.3 say nothing about a row",
            ],
        ),
        (
            Language::Japanese,
            [
                "「The sea knew」と答える。損失 0.95、30 トークン中 20",
                "200 ステップ中 84 の行、シード 7",
                "2 行中 1 行は、どのトークンからも遠く離れています。",
                "コサインが 0.3 未満のトークンは行の意味を表しません",
            ],
        ),
    ] {
        let mut workbench = common::ready(language, Theme::Dark);
        let learned = common::find::learned("The sea knew", 7, 84);
        let imported = MaterialEvent::Imported {
            file: ImportedFile {
                about: None,
                origin: Origin::Learned(Box::new(learned)),
                ..file()
            },
            norms: vec![0.5; 2],
        };
        workbench.absorb(Event::Material(Box::new(imported)));
        common::settle(&mut workbench, &|_| String::new());
        let near = vec![vec![neighbour(" sea", 0.41)], vec![neighbour("春", 0.12)]];
        let harness = opened_over(workbench, Nearest::Known(near));
        for words in facts.into_iter().chain(["“ sea” 0.41", "“春” 0.12", "2 × 896"]) {
            assert!(harness.query_all_by_label_contains(words).next().is_some(), "{words}");
        }
    }
}

#[test]
fn a_p_beyond_the_rows_of_the_file_is_explained_at_p_and_at_the_lengths_of_a_sweep() {
    for language in Language::ALL {
        let words = match language {
            Language::English => "The file has 8 rows: they are repeated, from the first on, to fill P = 9.",
            Language::Japanese => "ファイルは 8 行です。P = 9 になるまで先頭から繰り返します。",
        };
        let mut workbench = common::ready(language, Theme::Dark);
        let norms = vec![0.5; 8];
        let imported = MaterialEvent::Imported { file: file(), norms };
        workbench.absorb(Event::Material(Box::new(imported)));
        for tab in [Tab::Tune, Tab::Sweep] {
            workbench.apply(Action::ShowTab(tab));
            for (len, is_shown) in [(8, false), (9, true)] {
                workbench.apply(Action::SetLen(len));
                workbench.apply(Action::Sweep(SweepAction::SetLengths(vec![1, len])));
                let mut harness = window(workbench);
                let shown = harness.query_all_by_label(words).next().is_some();
                assert_eq!(shown, is_shown, "{tab:?}, P = {len}");
                workbench = std::mem::replace(&mut harness.state_mut().workbench, common::ready(language, Theme::Dark));
            }
        }
    }
}

#[test]
fn the_sheet_explains_what_a_module_cannot_report() {
    let harness = opened(Nearest::Unsupported);
    assert!(
        harness
            .query_by_label_contains("does not report the nearest tokens")
            .is_some()
    );
}

#[test]
fn results_for_another_prefix_than_that_of_the_sheet_are_ignored() {
    let mut harness = opened(Nearest::Unsupported);
    let mut other = harness.state().workbench.prefix.recipe();
    other.len += 1;
    let event = MaterialEvent::Identified {
        recipe: other,
        summary: Ok(summary(5)),
    };
    harness.state_mut().workbench.absorb(Event::Material(Box::new(event)));
    let sheet = harness.state().workbench.sheet.clone().unwrap();
    assert_eq!(sheet.summary.unwrap().unwrap().len, 4);
}

#[test]
fn a_dropped_file_is_opened_by_its_content() {
    use softprefix::workbench::dropped;
    for (name, imports) in [
        ("adapter_model.safetensors", true),
        ("adapter_config.json", true),
        ("prefix.npy", true),
        ("soft prompt.zip", true),
        ("adapter_model.bin", true),
        ("a folder", true),
        ("results.json", false),
        ("model.gguf", false),
    ] {
        let action = dropped(name.into());
        let import = matches!(action, Action::Material(MaterialAction::Import(_)));
        assert_eq!(import, imports, "{name}: {action:?}");
    }
}
