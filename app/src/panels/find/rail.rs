//! The rail of the Find view: the examples and the settings of learning, or those of candidates.

use std::ops::RangeBounds;
use std::str::FromStr;

use eframe::egui::{
    Align, CornerRadius, Frame, Layout, Margin, Panel, Popup, PopupCloseBehavior, ScrollArea, Stroke, TextEdit, Ui,
};

use crate::model::typed::{Accepted, decimal};
use crate::model::{FindMode, InitChoice, LearnForm, NormChoice, SearchForm};
use crate::panels::context::{PanelContext, inset, rail_edge};
use crate::panels::label;
use crate::theme::{self, Palette};
use crate::views::button::Button;
use crate::views::entry::{Entered, Field};
use crate::views::icon::Icon;
use crate::views::segmented::segmented;
use crate::views::{paint, select, toggle};
use crate::workbench::{Action, FindAction};

/// Width of a number's field, and of a choice.
const FIGURES: f32 = 72.0;
const CHOICE: f32 = 160.0;
/// Characters of a target in the menu of examples.
const BEGINNING: usize = 32;

pub fn show(ui: &mut Ui, cx: &mut PanelContext<'_>) {
    let palette = Palette::of(ui);
    let text = cx.find_text();
    rail_edge(ui);
    Panel::bottom("find rail foot")
        .frame(inset(12, 12))
        .show_separator_line(false)
        .show(ui, |ui| {
            ui.label(paint::words(text.same_seed, theme::CAPTION, palette.text3));
        });
    ScrollArea::vertical()
        .id_salt("find rail")
        .auto_shrink(false)
        .show(ui, |ui| {
            inset(12, 12).show(ui, |ui| {
                ui.spacing_mut().item_spacing.y = 4.0;
                let mode = cx.workbench.find.mode;
                let modes = FindMode::ALL.map(|mode| (mode, (text.modes)(mode)));
                let width = ui.available_width();
                if let Some(mode) = segmented(ui, text.mode, mode, &modes, width) {
                    cx.find(FindAction::SetMode(mode));
                }
                ui.add_space(8.0);
                ui.label(paint::words((text.about)(mode), theme::BODY, palette.text3));
                ui.add_space(8.0);
                let busy = cx.workbench.find.is_busy();
                ui.add_enabled_ui(!busy, |ui| match mode {
                    FindMode::Learn => {
                        wanted(ui, cx);
                        ui.add_space(8.0);
                        learning(ui, cx);
                    }
                    FindMode::Choose | FindMode::Search => searching(ui, cx, mode),
                });
            });
        });
}

/// Draws the settings of learning.
fn learning(ui: &mut Ui, cx: &mut PanelContext<'_>) {
    let text = cx.find_text();
    let form = &cx.workbench.find.form;
    if form.examples.len() > 1 {
        let most = form.most_held_out();
        let row = ui.scope(|ui| number(ui, cx, text.held_out, form.held_out, 0..=most, FindAction::SetHeldOut));
        row.response.on_hover_text(text.held_out_about);
    }
    number(ui, cx, text.len, form.len, LearnForm::LENS, FindAction::SetLen);
    let inits = InitChoice::ALL.map(|init| (init, (text.inits)(init).to_owned()));
    choice(ui, cx, text.init, form.init, &inits, FindAction::SetInit);
    if form.init == InitChoice::Words {
        let mut words = form.words.clone();
        if line(ui, text.words, text.words, &mut words) {
            cx.find(FindAction::SetWords(words));
        }
    }
    let norms = NormChoice::ALL.map(|norm| (norm, (text.norms)(norm).to_owned()));
    choice(ui, cx, text.norm, form.norm, &norms, FindAction::SetNorm);
    let mut preserve = form.preserve;
    let width = ui.available_width();
    let response = toggle::toggle_across(ui, &mut preserve, text.preserve, width);
    if response.changed() {
        cx.find(FindAction::SetPreserve(preserve));
    }
    response.on_hover_text(text.preserve_about);
    number(ui, cx, text.steps, form.steps, LearnForm::STEPS, FindAction::SetSteps);
    number(ui, cx, text.seed, form.seed, 0.., FindAction::SetSeed);
    ui.add_space(4.0);
    let palette = Palette::of(ui);
    ui.label(paint::words(text.instruction, theme::BODY, palette.text2))
        .on_hover_text(text.instruction_about);
    let mut instruction = form.instruction.clone();
    if line(ui, text.instruction, text.instruction_hint, &mut instruction) {
        cx.find(FindAction::SetInstruction(instruction));
    }
}

/// Draws the settings of candidates, and the objective.
fn searching(ui: &mut Ui, cx: &mut PanelContext<'_>, mode: FindMode) {
    let palette = Palette::of(ui);
    let text = cx.find_text();
    ui.label(paint::strong(text.prompt, theme::BODY, palette.text));
    let mut prompt = cx.workbench.prompt.user.clone();
    if lines(ui, text.prompt, text.prompt_hint, 2, &mut prompt) {
        cx.act(Action::SetPrompt(prompt));
    }
    ui.add_space(4.0);
    let recipe = cx.workbench.prefix.recipe();
    let label = label::recipe(cx.text, &recipe);
    let around = match cx.workbench.searches_from_text() {
        true => text.around_text.to_owned(),
        false => (text.around)(&label),
    };
    ui.label(paint::words(around, theme::BODY, palette.text2));
    ui.add_space(8.0);
    let mut form = cx.workbench.find.search_form.clone();
    if mode == FindMode::Search {
        ui.label(paint::strong(text.objective, theme::BODY, palette.text));
        let named = |ui: &mut Ui, name: &str| ui.label(paint::words(name, theme::BODY, palette.text2));
        let scores = cx.workbench.scores_texts();
        let near_text = (text.near_text)(form.by_likelihood && scores);
        named(ui, near_text);
        lines(ui, near_text, "", 3, &mut form.text);
        let width = ui.available_width();
        let mut by_likelihood = form.by_likelihood && scores;
        ui.add_enabled_ui(scores, |ui| {
            let response = toggle::toggle_across(ui, &mut by_likelihood, text.by_likelihood, width);
            if response.changed() {
                form.by_likelihood = by_likelihood;
            }
            response.clone().on_hover_text(text.by_likelihood_about);
            response.on_disabled_hover_text(text.by_likelihood_off);
            let mut from_text = form.from_text && scores;
            let response = toggle::toggle_across(ui, &mut from_text, text.from_text, width);
            if response.changed() {
                form.from_text = from_text;
            }
            response.on_hover_text(text.from_text_about);
        });
        named(ui, text.wanted_words);
        line(ui, text.wanted_words, text.words_hint, &mut form.wanted);
        named(ui, text.unwanted_words);
        line(ui, text.unwanted_words, text.words_hint, &mut form.unwanted);
        let width = ui.available_width();
        toggle::toggle_across(ui, &mut form.away, text.away, width);
        numeric(ui, cx, text.floor, &mut form.floor, SearchForm::FLOORS);
        numeric(ui, cx, text.budget, &mut form.budget, SearchForm::BUDGETS);
    } else {
        let counts = [2, 3, 4].map(|count| (count, count.to_string()));
        named(ui, text.candidates_title, |ui| {
            let counts = counts.each_ref().map(|(count, words)| (*count, words.as_str()));
            if let Some(count) = segmented(ui, text.candidates_title, form.candidates, &counts, CHOICE) {
                form.candidates = count;
            }
        });
    }
    numeric(ui, cx, text.spread, &mut form.spread, SearchForm::SPREADS);
    numeric(ui, cx, text.dimension, &mut form.dimension, SearchForm::DIMENSIONS);
    numeric(ui, cx, text.seed, &mut form.seed, 0..);
    if form != cx.workbench.find.search_form {
        cx.find(FindAction::SetSearch(form));
    }
}

/// Draws a row with a name and a number, which it changes.
fn numeric<T: Copy + PartialOrd + ToString + FromStr>(
    ui: &mut Ui,
    cx: &mut PanelContext<'_>,
    name: &str,
    value: &mut T,
    range: impl RangeBounds<T>,
) {
    let mut entered = Entered::Nothing;
    named(ui, name, |ui| {
        let field = Field {
            name,
            shown: value.to_string(),
            width: FIGURES,
        };
        let parse =
            |typed: &str| -> Option<T> { typed.parse().ok().or_else(|| decimal(typed)?.to_string().parse().ok()) };
        entered = field.show(ui, |typed| parse(typed).filter(|value| range.contains(value)));
    });
    if let Some(typed) = cx.entered(ui, entered, &Accepted::of(&range)) {
        *value = typed;
    }
}

/// Draws a row with a name and a number.
fn number<T: Copy + PartialOrd + ToString + FromStr>(
    ui: &mut Ui,
    cx: &mut PanelContext<'_>,
    name: &str,
    now: T,
    range: impl RangeBounds<T>,
    act: impl FnOnce(T) -> FindAction,
) {
    let mut value = now;
    numeric(ui, cx, name, &mut value, range);
    if value != now {
        cx.find(act(value));
    }
}

/// Draws a name at the left and a control at the right.
fn named(ui: &mut Ui, name: &str, control: impl FnOnce(&mut Ui)) {
    let palette = Palette::of(ui);
    ui.horizontal(|ui| {
        ui.set_min_height(theme::CONTROL);
        ui.label(paint::words(name, theme::BODY, palette.text2));
        ui.with_layout(Layout::right_to_left(Align::Center), control);
    });
}

fn choice<T: Copy + PartialEq>(
    ui: &mut Ui,
    cx: &mut PanelContext<'_>,
    name: &str,
    now: T,
    options: &[(T, String)],
    act: impl FnOnce(T) -> FindAction,
) {
    named(ui, name, |ui| {
        if let Some(chosen) = select::select(ui, name, Some(&now), options, "", CHOICE) {
            cx.find(act(chosen));
        }
    });
}

fn frame(ui: &Ui) -> Frame {
    let palette = Palette::of(ui);
    Frame::NONE
        .fill(palette.inset)
        .stroke(Stroke::new(1.0, palette.stroke))
        .corner_radius(CornerRadius::same(theme::RADIUS_CONTROL))
        .inner_margin(Margin::symmetric(10, 8))
}

/// Draws a text field of one line; returns whether the text was changed.
fn line(ui: &mut Ui, name: &str, hint: &str, words: &mut String) -> bool {
    field(ui, name, hint, TextEdit::singleline(words))
}

/// Draws a text field of several lines; returns whether the text was changed.
fn lines(ui: &mut Ui, name: &str, hint: &str, rows: usize, words: &mut String) -> bool {
    field(ui, name, hint, TextEdit::multiline(words).desired_rows(rows))
}

fn field(ui: &mut Ui, name: &str, hint: &str, edit: TextEdit<'_>) -> bool {
    let edit = edit
        .id_salt(name)
        .hint_text(hint)
        .desired_width(f32::INFINITY)
        .font(theme::BODY.regular())
        .text_color(Palette::of(ui).text)
        .frame(frame(ui));
    let response = ui.add(edit).accessible_name(name);
    paint::focus_ring(ui, &response, response.rect, theme::RADIUS_CONTROL);
    response.changed()
}

/// Draws prompt and target of the shown example, and the menu of examples.
fn wanted(ui: &mut Ui, cx: &mut PanelContext<'_>) {
    let palette = Palette::of(ui);
    let text = cx.find_text();
    let example = cx.workbench.find.form.example().cloned();
    let (mut prompt, mut target) = example.map(|one| (one.prompt, one.target)).unwrap_or_default();
    ui.label(paint::strong(text.prompt, theme::BODY, palette.text));
    if lines(ui, text.prompt, text.prompt_hint, 2, &mut prompt) {
        cx.find(FindAction::SetPrompt(prompt));
    }
    ui.add_space(8.0);
    ui.horizontal(|ui| {
        ui.label(paint::strong(text.target, theme::BODY, palette.text));
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| examples(ui, cx));
    });
    if lines(ui, text.target, text.target_hint, 5, &mut target) {
        cx.find(FindAction::SetTarget(target));
    }
}

/// Draws the menu of examples.
fn examples(ui: &mut Ui, cx: &mut PanelContext<'_>) {
    let text = cx.find_text();
    let form = &cx.workbench.find.form;
    let count = form.examples.len();
    let words = (text.example_of)(form.shown + 1, count);
    let button = Button::quiet(&words)
        .small()
        .height(24.0)
        .name(text.examples)
        .trailing(Icon::ChevronDown);
    let response = ui.add(button);
    Popup::menu(&response)
        .close_behavior(PopupCloseBehavior::CloseOnClick)
        .accessible_name(text.examples)
        .show(|ui| {
            let named: Vec<String> = form
                .examples
                .iter()
                .enumerate()
                .map(|(index, example)| {
                    let target: String = example.target.replace('\n', " ").chars().take(BEGINNING).collect();
                    (text.example)(index + 1, &target, index + form.held_out >= count)
                })
                .collect();
            let others = [text.add_example, text.remove_example, text.open_examples];
            select::as_wide_as(ui, named.iter().map(String::as_str).chain(others));
            ScrollArea::vertical().max_height(280.0).show(ui, |ui| {
                for (index, words) in named.iter().enumerate() {
                    if select::item(ui, words, index == form.shown).clicked() {
                        cx.find(FindAction::ShowExample(index));
                    }
                }
            });
            paint::rule(ui);
            if select::item(ui, text.add_example, false).clicked() {
                cx.find(FindAction::AddExample);
            }
            if count > 1 && select::item(ui, text.remove_example, false).clicked() {
                cx.find(FindAction::RemoveExample);
            }
            if select::item(ui, text.open_examples, false).clicked() {
                cx.find(FindAction::OpenExamples);
            }
        });
}
