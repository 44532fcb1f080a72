//! The sheet for the control by other programs: addresses, the mapping of ranges, and what was received last.

use eframe::egui::{Align, Label, Layout, Ui, vec2};

use super::context::PanelContext;
use super::module_card::with_mark;
use crate::model::{Endpoint, ExternalCommand, Mapped, Mapping};
use crate::text::ExternalText;
use crate::theme::{self, Palette};
use crate::views::entry::{Entered, Field};
use crate::views::paint;
use crate::views::status::Status;
use crate::views::toggle::{toggle, toggle_across};
use crate::workbench::external::Link;
use crate::workbench::{Action, ExternalAction};

const ADDRESS: f32 = 312.0;
/// Widths of the columns of the mappings.
const NAME: f32 = 150.0;
const END: f32 = 58.0;
/// Length of a shown text, in characters.
const SHOWN: usize = 48;

pub(super) fn sheet(ui: &mut Ui, cx: &mut PanelContext<'_>) {
    let palette = Palette::of(ui);
    let text = ExternalText::of(cx.workbench.settings.language);
    ui.label(paint::words(text.about, theme::BODY, palette.text2));
    ui.add_space(4.0);
    addresses(ui, cx, text);
    switch(ui, cx, text);
    warnings(ui, cx, text);
    counts(ui, cx, text);
    paint::rule(ui);
    mappings(ui, cx, text);
    others(ui, cx, text);
}

fn addresses(ui: &mut Ui, cx: &mut PanelContext<'_>, text: &ExternalText) {
    let palette = Palette::of(ui);
    let settings = &cx.own.settings.external;
    let fields = [
        (text.listen, settings.listen.clone(), true),
        (text.send_to, settings.send_to.clone(), false),
    ];
    let mut is_wrong = false;
    ui.horizontal(|ui| {
        ui.spacing_mut().item_spacing.x = 16.0;
        for (name, shown, is_input) in fields {
            ui.vertical(|ui| {
                ui.spacing_mut().item_spacing.y = 4.0;
                ui.label(paint::words(name, theme::CAPTION, palette.text3));
                let field = Field {
                    name,
                    shown,
                    width: ADDRESS,
                };
                // Nobody can be reached on port 0; to listen on it takes any free port.
                let parse = |typed: &str| match Endpoint::parse(typed) {
                    None if typed.is_empty() => Some(String::new()),
                    endpoint => endpoint
                        .filter(|endpoint| is_input || endpoint.port() > 0)
                        .map(|endpoint| endpoint.to_string()),
                };
                match field.show(ui, parse) {
                    Entered::Value(address) if is_input => {
                        cx.act(Action::External(ExternalAction::SetListen(address)));
                    }
                    Entered::Value(address) => cx.act(Action::External(ExternalAction::SetSendTo(address))),
                    Entered::Invalid(_) => is_wrong = true,
                    Entered::Nothing => {}
                }
            });
        }
    });
    if is_wrong {
        with_mark(ui, Status::Broken, |ui| {
            ui.label(paint::words(text.address_wrong, theme::BODY, palette.text2));
        });
    }
}

fn switch(ui: &mut Ui, cx: &mut PanelContext<'_>, text: &ExternalText) {
    let palette = Palette::of(ui);
    let settings = &cx.own.settings.external;
    let external = &cx.own.external;
    let has_address = !settings.listen.is_empty() || !settings.send_to.is_empty();
    let state = match &external.link {
        Link::Off if has_address => String::new(),
        Link::Off => text.no_address.to_owned(),
        Link::Opening => text.opening.to_owned(),
        Link::Open { listen, send_to } => {
            let listen = listen.map(|address| (text.listening)(&address.to_string()));
            let send_to = send_to.map(|address| (text.sending)(&address.to_string()));
            let parts: Vec<String> = listen.into_iter().chain(send_to).collect();
            parts.join(cx.text.comma)
        }
    };
    ui.horizontal(|ui| {
        let mut on = external.is_on();
        let changed = ui
            .add_enabled_ui(has_address || on, |ui| toggle(ui, &mut on, text.on).changed())
            .inner;
        if changed {
            let action = if on {
                ExternalAction::Open
            } else {
                ExternalAction::Close
            };
            cx.act(Action::External(action));
        }
        ui.add_space(8.0);
        ui.add(Label::new(paint::words(state, theme::BODY, palette.text2)).truncate());
    });
}

/// Says what an address beyond loopback opens.
fn warnings(ui: &mut Ui, cx: &PanelContext<'_>, text: &ExternalText) {
    let palette = Palette::of(ui);
    let settings = &cx.own.settings.external;
    let beyond = |address: &str| Endpoint::parse(address).filter(|endpoint| !endpoint.is_loopback());
    let listen = beyond(&settings.listen).map(|endpoint| (text.receives_from_anyone)(&endpoint.to_string()));
    let send_to = beyond(&settings.send_to).map(|endpoint| (text.sends_elsewhere)(&endpoint.to_string()));
    for sentence in listen.into_iter().chain(send_to) {
        with_mark(ui, Status::Warning, |ui| {
            ui.label(paint::words(sentence, theme::BODY, palette.text));
        });
    }
}

fn counts(ui: &mut Ui, cx: &PanelContext<'_>, text: &ExternalText) {
    let palette = Palette::of(ui);
    let external = &cx.own.external;
    if external.packets == 0 {
        return;
    }
    let counted = (text.counted)(external.packets, external.refused);
    ui.label(paint::words(counted, theme::BODY, palette.text2));
    if let Some(why) = &external.why {
        let problem = why.sentence();
        let sentence = (text.last_refused)(problem.get(cx.workbench.settings.language));
        ui.label(paint::words(sentence, theme::BODY, palette.text3));
    }
}

fn mappings(ui: &mut Ui, cx: &mut PanelContext<'_>, text: &ExternalText) {
    let palette = Palette::of(ui);
    ui.label(paint::strong(text.mappings, theme::NAME, palette.text));
    ui.label(paint::words(text.mappings_about, theme::BODY, palette.text2));
    let caption = |ui: &mut Ui, words: &str, width: f32| {
        let label = Label::new(paint::words(words, theme::CAPTION, palette.text3));
        ui.add_sized(vec2(width, theme::CAPTION.line), label);
    };
    ui.horizontal(|ui| {
        ui.add_space(NAME + 8.0);
        caption(ui, text.received, 2.0 * END + 8.0);
        caption(ui, text.becomes, 2.0 * END + 24.0);
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            ui.label(paint::words(text.last, theme::CAPTION, palette.text3));
        });
    });
    for of in Mapped::ALL {
        let before = *cx.own.settings.external.mapping(of);
        let mut mapping = before;
        let name = (text.mapped)(of);
        ui.horizontal(|ui| {
            toggle_across(ui, &mut mapping.on, name, NAME);
            let ends = (text.ends)(name);
            ui.add_enabled_ui(mapping.on, |ui| {
                let [low, high] = &mut mapping.from;
                let [at_low, at_high] = &mut mapping.to;
                for (at, (end, name)) in [low, high, at_low, at_high].into_iter().zip(&ends).enumerate() {
                    if at == 2 {
                        ui.label(paint::words("→", theme::BODY, palette.text3));
                    }
                    number(ui, name, end);
                }
            });
            let last = last_of(cx, of, &before, text);
            ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
                let label = match last {
                    Some(last) => paint::figures(last, theme::CAPTION, palette.text),
                    None => paint::words(text.not_yet, theme::CAPTION, palette.text3),
                };
                ui.add(Label::new(label).truncate());
            });
        });
        if mapping != before {
            cx.act(Action::External(ExternalAction::SetMapping(of, mapping)));
        }
    }
}

fn number(ui: &mut Ui, name: &str, value: &mut f64) {
    let field = Field {
        name,
        shown: value.to_string(),
        width: END,
    };
    if let Entered::Value(entered) = field.show(ui, |typed| typed.parse().ok().filter(|value: &f64| value.is_finite()))
    {
        *value = entered;
    }
}

/// Returns the last value of a mapped control, and what it became.
fn last_of(cx: &PanelContext<'_>, of: Mapped, mapping: &Mapping, text: &ExternalText) -> Option<String> {
    let len = cx.own.prefix.len;
    cx.own.external.last.iter().find_map(|command| {
        let (name, value) = match (of, command) {
            (Mapped::Magnitude, ExternalCommand::Magnitude(value))
            | (Mapped::Len, ExternalCommand::Len(value))
            | (Mapped::Blend, ExternalCommand::Blend(value)) => (String::new(), *value),
            (Mapped::Row, ExternalCommand::Row(row, _)) if *row > len => return Some((text.beyond_len)(*row, len)),
            (Mapped::Row, ExternalCommand::Row(row, value)) => (format!("{row}: "), *value),
            _ => return None,
        };
        let became = if mapping.on {
            format!(" → {}", written(mapping.map(value)))
        } else {
            String::new()
        };
        Some(format!("{name}{}{became}", written(value)))
    })
}

/// Formats a value that was received, to four decimals or significant digits.
fn written(value: f64) -> String {
    match value.abs() {
        0.0 | 1e-3..1e6 => format!("{value:.4}")
            .trim_end_matches('0')
            .trim_end_matches('.')
            .to_owned(),
        _ => format!("{value:.3e}"),
    }
}

/// Draws the last values of the commands without a mapping.
fn others(ui: &mut Ui, cx: &PanelContext<'_>, text: &ExternalText) {
    let palette = Palette::of(ui);
    let others: Vec<String> = cx.own.external.last.iter().filter_map(words_of).collect();
    if others.is_empty() {
        return;
    }
    ui.label(paint::words(text.others, theme::CAPTION, palette.text3));
    for words in others {
        ui.add(Label::new(paint::figures(words, theme::CAPTION, palette.text)).truncate());
    }
}

fn words_of(command: &ExternalCommand) -> Option<String> {
    let value = match command {
        ExternalCommand::Seed(seed) => seed.to_string(),
        ExternalCommand::Preset(number) => number.to_string(),
        ExternalCommand::Run(pressed) => u8::from(*pressed).to_string(),
        ExternalCommand::Prompt(prompt) => {
            let line = prompt.replace(char::is_control, " ");
            match line.char_indices().nth(SHOWN) {
                Some((end, _)) => format!("{}…", &line[..end]),
                None => line,
            }
        }
        _ => return None,
    };
    Some(format!("/{} {value}", command.name()))
}
