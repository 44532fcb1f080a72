//! The material of the prefix: texts, a seed or a file, and the envelope over its rows.

use eframe::egui::{self, Align, CornerRadius, Frame, Layout, Margin, Stroke, TextEdit, Ui};
use softprefix_core::prefix::{Generator, Rounding};

use super::context::PanelContext;
use crate::model::typed::{Accepted, decimal};
use crate::model::{Envelope, ImportedFile, KindChoice, MagnitudeUnit};
use crate::text::PrefixText;
use crate::theme::{self, Palette};
use crate::views::button::Button;
use crate::views::entry::Field;
use crate::views::envelope::{Drawn, EnvelopeBars};
use crate::views::icon::{Icon, IconButton};
use crate::views::segmented::segmented;
use crate::views::slider::{self, Colours, Linear, Slider};
use crate::views::{fold, paint, select, toggle};
use crate::workbench::{Action, MaterialAction};

/// Height of a text field beside its label.
const FIELD: f32 = 28.0;
const CHOICE: f32 = 176.0;
const FIGURES: f32 = 56.0;
/// Height reserved for the description of a kind, so that the layout does not change with the kind.
const SENTENCE: f32 = 16.0;

impl PanelContext<'_> {
    pub(super) fn prefix_text(&self) -> &'static PrefixText {
        PrefixText::of(self.workbench.settings.language)
    }

    fn material(&mut self, action: MaterialAction) {
        self.act(Action::Material(action));
    }
}

/// Draws the kind and its description, which is a tooltip if the kind has fields that explain it.
pub(super) fn kind(ui: &mut Ui, cx: &mut PanelContext<'_>) {
    let palette = Palette::of(ui);
    let text = cx.text;
    let origin = cx.workbench.prefix.origin();
    let name_of = |kind| match (kind, origin) {
        (KindChoice::Imported, Some(origin)) => (text.origin)(origin),
        (other, _) => (text.kinds)(other),
    };
    let kinds = KindChoice::ALL.map(|kind| (kind, name_of(kind).to_owned())).to_vec();
    let (width, now) = (ui.available_width(), cx.workbench.prefix.kind);
    if let Some(kind) = select::select(ui, text.kind, Some(&now), &kinds, "", width) {
        cx.act(Action::SetKind(kind));
    }
    ui.add_space(6.0);
    if has_texts(now) {
        return;
    }
    ui.allocate_ui(egui::vec2(width, SENTENCE), |ui| {
        ui.set_min_size(egui::vec2(width, SENTENCE));
        let sentence = (cx.prefix_text().about)(now);
        let galley = paint::cut_to(ui, sentence, theme::CAPTION.regular(), palette.text3, width);
        ui.add(egui::Label::new(galley));
    });
}

/// Returns whether the prefix is made of something typed or selected.
fn has_texts(kind: KindChoice) -> bool {
    matches!(
        kind,
        KindChoice::Words | KindChoice::Blend | KindChoice::Contrast | KindChoice::Imported
    )
}

/// Draws the texts or the file that the prefix is made of, above the magnitude.
pub(super) fn texts(ui: &mut Ui, cx: &mut PanelContext<'_>) {
    let form = &cx.workbench.prefix;
    let text = cx.prefix_text();
    match form.kind {
        KindChoice::Words => words(ui, cx),
        KindChoice::Blend => {
            match pair(ui, [text.from, text.to], [&form.blend_from, &form.blend_to]) {
                Some((0, words)) => cx.material(MaterialAction::SetBlendFrom(words)),
                Some((_, words)) => cx.material(MaterialAction::SetBlendTo(words)),
                None => {}
            }
            blend_rows(ui, cx);
            blend(ui, cx);
        }
        KindChoice::Contrast => match pair(ui, [text.text, text.minus], [&form.contrast, &form.contrast_minus]) {
            Some((0, words)) => cx.material(MaterialAction::SetContrast(words)),
            Some((_, words)) => cx.material(MaterialAction::SetContrastMinus(words)),
            None => {}
        },
        KindChoice::Imported => file(ui, cx),
        KindChoice::Constant | KindChoice::RandomUniform | KindChoice::RandomNormal | KindChoice::Sampled => {}
    }
}

/// Draws the other fields of the selected kind.
pub(super) fn source(ui: &mut Ui, cx: &mut PanelContext<'_>) {
    let kind = cx.workbench.prefix.kind;
    if kind.is_seeded() {
        seed(ui, cx);
        generator(ui, cx);
    }
    if kind.allows_unscaled() {
        let mut unscaled = cx.workbench.prefix.unscaled;
        if toggle::toggle(ui, &mut unscaled, cx.text.unscaled).changed() {
            cx.act(Action::SetUnscaled(unscaled));
        }
    }
    if kind != KindChoice::Constant {
        ui.add_space(4.0);
    }
}

fn field_frame(ui: &Ui) -> Frame {
    let palette = Palette::of(ui);
    Frame::NONE
        .fill(palette.inset)
        .stroke(Stroke::new(1.0, palette.stroke))
        .corner_radius(CornerRadius::same(theme::RADIUS_CONTROL))
        .inner_margin(Margin::symmetric(10, 6))
}

fn words(ui: &mut Ui, cx: &mut PanelContext<'_>) {
    let palette = Palette::of(ui);
    let text = cx.text;
    let mut words = cx.workbench.prefix.words.clone();
    let frame = field_frame(ui);
    let response = ui
        .add(
            TextEdit::multiline(&mut words)
                .id_salt("words")
                .hint_text(text.words_hint)
                .desired_rows(1)
                .desired_width(f32::INFINITY)
                .font(theme::CARD_TITLE.regular())
                .text_color(palette.text)
                .frame(frame),
        )
        .accessible_name(text.words);
    paint::focus_ring(ui, &response, response.rect, theme::RADIUS_CONTROL);
    if response.changed() {
        cx.act(Action::SetWords(words));
    }
}

/// Draws two short texts, each with its label; returns an edited text and its index.
fn pair(ui: &mut Ui, names: [&str; 2], shown: [&str; 2]) -> Option<(usize, String)> {
    let palette = Palette::of(ui);
    let labels = names.map(|name| paint::line_of_text(ui, name, theme::BODY.regular(), palette.text3));
    let label = labels.iter().map(|label| label.size().x).fold(36.0, f32::max).min(96.0) + 12.0;
    let mut typed = None;
    for (place, (name, words)) in names.into_iter().zip(shown).enumerate() {
        ui.horizontal(|ui| {
            ui.spacing_mut().item_spacing.x = 0.0;
            let (rect, _) = ui.allocate_exact_size(egui::vec2(label, FIELD), egui::Sense::hover());
            let galley = paint::cut_to(ui, name, theme::BODY.regular(), palette.text3, label - 8.0);
            paint::place(ui.painter(), rect.left_center(), egui::Align2::LEFT_CENTER, galley);
            let mut words = words.to_owned();
            let frame = field_frame(ui).inner_margin(Margin::symmetric(10, 0));
            let response = ui
                .add_sized(
                    egui::vec2(ui.available_width(), FIELD),
                    TextEdit::singleline(&mut words)
                        .id_salt(name)
                        .hint_text(name)
                        .font(theme::BODY.regular())
                        .text_color(palette.text)
                        .align(egui::Align2::LEFT_CENTER)
                        .frame(frame),
                )
                .accessible_name(name);
            paint::focus_ring(ui, &response, response.rect, theme::RADIUS_CONTROL);
            if response.changed() {
                typed = Some((place, words));
            }
        });
        ui.add_space(4.0);
    }
    typed
}

/// Toggles that put the rows of the imported or learned prefix, if there is one, in the place of a text.
fn blend_rows(ui: &mut Ui, cx: &mut PanelContext<'_>) {
    let text = cx.prefix_text();
    let form = &cx.workbench.prefix;
    let Some(file) = &form.imported else { return };
    let width = ui.available_width();
    let mut from = form.blend_from_rows;
    if toggle::toggle_across(ui, &mut from, &(text.from_rows)(&file.name), width).changed() {
        cx.material(MaterialAction::SetBlendFromRows(from));
    }
    let mut to = form.blend_to_rows;
    if toggle::toggle_across(ui, &mut to, &(text.to_rows)(&file.name), width).changed() {
        cx.material(MaterialAction::SetBlendToRows(to));
    }
}

fn blend(ui: &mut Ui, cx: &mut PanelContext<'_>) {
    let text = cx.prefix_text();
    let palette = Palette::of(ui);
    let row = ui.horizontal(|ui| {
        ui.spacing_mut().item_spacing.x = 8.0;
        let width = ui.available_width() - FIGURES - 8.0;
        let (rect, x) = slider::allocate(ui, width);
        let share = Slider {
            name: text.blend,
            accessible_value: "",
            scale: Linear {
                least: 0.0,
                most: 1.0,
                x,
            },
            steps: (0.01, 0.1),
            keys: true,
            colours: Colours {
                filled: palette.stroke,
                ..Colours::of_prefix(palette)
            },
        };
        if let Some(share) = share.show(ui, rect, cx.workbench.prefix.blend) {
            // Two digits, so that a share can be read and typed again.
            cx.material(MaterialAction::SetBlend((share * 100.0).round() / 100.0));
        }
        let field = Field {
            name: text.type_blend,
            shown: format!("{:.2}", cx.workbench.prefix.blend),
            width: FIGURES,
        };
        field.show(ui, |typed| decimal(typed).filter(|t| (0.0..=1.0).contains(t)))
    });
    if let Some(t) = cx.entered(ui, row.inner, &Accepted::of(&(0.0..=1.0))) {
        cx.material(MaterialAction::SetBlend(t));
    }
}

fn seed(ui: &mut Ui, cx: &mut PanelContext<'_>) {
    let palette = Palette::of(ui);
    let text = cx.text;
    let seed = cx.workbench.prefix.seed;
    let row = ui.horizontal(|ui| {
        ui.spacing_mut().item_spacing.x = 8.0;
        ui.add(egui::Label::new(paint::words(text.seed, theme::BODY, palette.text2)));
        let right = ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            let field = Field {
                name: text.seed,
                shown: seed.to_string(),
                width: 96.0,
            };
            let entered = field.show(ui, |typed| typed.parse::<u64>().ok());
            if ui.add(IconButton::new(Icon::Dice, text.new_seed)).clicked() {
                cx.act(Action::SetSeed(seed.wrapping_add(1)));
            }
            entered
        });
        right.inner
    });
    if let Some(seed) = cx.entered(ui, row.inner, &Accepted::of(&(0_u64..))) {
        cx.act(Action::SetSeed(seed));
    }
    ui.add_space(6.0);
}

fn generator(ui: &mut Ui, cx: &mut PanelContext<'_>) {
    let palette = Palette::of(ui);
    let text = cx.prefix_text();
    let form = &cx.workbench.prefix;
    let now = form.generator;
    let generators = [
        (Generator::SplitMix64V1, text.generator_ours.to_owned()),
        (Generator::PythonRandom, text.generator_python.to_owned()),
    ];
    ui.horizontal(|ui| {
        ui.add(egui::Label::new(paint::words(
            text.generator,
            theme::BODY,
            palette.text2,
        )));
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            if let Some(generator) = select::select(ui, text.generator, Some(&now), &generators, "", CHOICE) {
                cx.material(MaterialAction::SetGenerator(generator));
            }
        });
    });
    let repeats = form.unit == MagnitudeUnit::Raw && form.rounding == Rounding::Truncate;
    if now == Generator::PythonRandom && form.kind != KindChoice::Sampled && !repeats {
        ui.add_space(4.0);
        ui.label(paint::words(text.python_about, theme::CAPTION, palette.text3));
    }
    ui.add_space(4.0);
}

fn file(ui: &mut Ui, cx: &mut PanelContext<'_>) {
    let palette = Palette::of(ui);
    let text = cx.prefix_text();
    let imported = cx.workbench.prefix.imported.as_ref();
    let width = ui.available_width();
    match imported {
        Some(file) => {
            let galley = paint::cut_to(ui, &file.name, theme::CARD_TITLE.semibold(), palette.text, width);
            ui.add(egui::Label::new(galley));
            ui.add_space(2.0);
            for words in about(text, file) {
                ui.label(paint::words(words, theme::CAPTION, palette.text3));
            }
        }
        None => {
            ui.label(paint::words(text.no_file, theme::BODY, palette.text3));
        }
    }
    ui.add_space(6.0);
    let words = if imported.is_some() {
        text.choose_other
    } else {
        text.choose
    };
    let button = Button::outlined(words).width(width);
    if ui.add_enabled(!cx.workbench.file.asking, button).clicked() {
        cx.material(MaterialAction::ChooseFile);
    }
    ui.add_space(4.0);
    ui.label(paint::words(text.drop_hint, theme::CAPTION, palette.text3));
    ui.add_space(4.0);
}

/// Returns what a file says about itself, line by line.
fn about(text: &PrefixText, file: &ImportedFile) -> Vec<String> {
    let Some(about) = &file.about else {
        let known = text.about_origin(&file.origin);
        return vec![known.unwrap_or_else(|| text.file_unknown.to_owned())];
    };
    let table = (text.table)(about.rows, about.hidden_size, about.stored.name());
    let mut lines = match text.about_origin(&file.origin) {
        Some(known) => vec![known, table],
        None => vec![format!("{}  ·  {table}", (text.format)(about.format))],
    };
    lines.extend(about.base_model.as_deref().map(text.base_model));
    if !about.exact {
        lines.push(text.rounded.to_owned());
    }
    lines
}

/// Draws the envelope, collapsed by default; a single row has none.
pub(super) fn envelope(ui: &mut Ui, cx: &mut PanelContext<'_>, open: &mut bool) {
    let form = &cx.workbench.prefix;
    if form.len < 2 {
        return;
    }
    let palette = Palette::of(ui);
    let text = cx.prefix_text();
    fold::heading(ui, open, text.envelope, (text.envelopes)(&form.envelope));
    fold::body(ui, "envelope", *open, |ui| {
        let bars = form.envelope.bars(form.len);
        let shown = EnvelopeBars {
            name: text.envelope,
            bars: &bars,
            accessible_value: &text.bar,
            height: 76.0,
        };
        match shown.show(ui) {
            Some(Drawn::Bars(bars)) => cx.material(MaterialAction::SetEnvelope(Envelope::Drawn(bars))),
            Some(Drawn::Reset) => cx.material(MaterialAction::SetEnvelope(Envelope::Flat)),
            None => {}
        }
        ui.add_space(6.0);
        let ready_made: Vec<(usize, &str)> = Envelope::READY_MADE.iter().map(text.envelopes).enumerate().collect();
        let now = Envelope::READY_MADE
            .iter()
            .position(|ready_made| *ready_made == form.envelope);
        let width = ui.available_width();
        if let Some(chosen) = segmented(ui, text.envelope, now.unwrap_or(usize::MAX), &ready_made, width)
            && let Some(envelope) = Envelope::READY_MADE.get(chosen)
        {
            cx.material(MaterialAction::SetEnvelope(envelope.clone()));
        }
        ui.add_space(4.0);
        ui.label(paint::words(text.envelope_about, theme::CAPTION, palette.text3));
        ui.add_space(8.0);
    });
}
