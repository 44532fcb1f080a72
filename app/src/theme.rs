//! Colours, text sizes, dimensions and control styles of the window, as data.
//!
//! Two hues carry meaning and nothing else may use them: blue is the baseline, orange is the prefix. Every coloured
//! mark also has a shape of its own.

use eframe::egui::style::{HandleShape, ScrollStyle, Selection, TextCursorStyle, WidgetVisuals, Widgets};
use eframe::egui::{
    Color32, Context, CornerRadius, FontId, Margin, Shadow, Stroke, Style, TextStyle, Theme, Ui, Visuals, vec2,
};

use crate::fonts;

const fn rgb(hex: u32) -> Color32 {
    Color32::from_rgb((hex >> 16) as u8, (hex >> 8) as u8, hex as u8)
}

/// The colours of a theme, named by their use.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Palette {
    pub dark: bool,
    /// The central area.
    pub window: Color32,
    /// Rail, top bar, cards.
    pub panel: Color32,
    /// Selected row, selected chip.
    pub raised: Color32,
    /// Text fields, outputs, plot.
    pub inset: Color32,
    /// Hairlines; decoration only, nothing may depend on seeing them.
    pub line: Color32,
    /// Outlines of controls, tracks.
    pub stroke: Color32,
    /// Values, titles.
    pub text: Color32,
    /// Labels.
    pub text2: Color32,
    /// Captions, ticks, disabled controls.
    pub text3: Color32,
    /// The baseline, with a hollow ring.
    pub baseline: Color32,
    /// The prefix as text, with a filled disc.
    pub prefix: Color32,
    /// The prefix as a shape, or as text of 24 px and more.
    pub prefix_fill: Color32,
    /// Fine, with a ticked circle.
    pub good: Color32,
    /// Warning, with a triangle.
    pub warning: Color32,
    /// Error or collapsed output, with a crossed square.
    pub broken: Color32,
    /// Steps of KL, from small to large: a violet of its own, since KL is neither the baseline's nor the prefix's.
    pub kl: [Color32; 4],
    /// The line under a step of KL.
    pub kl_line: Color32,
    /// Opacity of the background of changed text.
    pub mark_tint: f32,
    /// Opacity of the bands of the magnitude's regions: (blue, red).
    pub band_tint: (f32, f32),
    /// Opacity of the noise band.
    pub noise_tint: f32,
}

pub const DARK: Palette = Palette {
    dark: true,
    window: rgb(0x0F1114),
    panel: rgb(0x16191D),
    raised: rgb(0x1F2329),
    inset: rgb(0x0B0D0F),
    line: rgb(0x2C323A),
    stroke: rgb(0x6E7884),
    text: rgb(0xECEEF1),
    text2: rgb(0xB4BBC5),
    text3: rgb(0x929BA7),
    baseline: rgb(0x7DB7FF),
    prefix: rgb(0xFF9E45),
    prefix_fill: rgb(0xFF9E45),
    good: rgb(0x5CD1A5),
    warning: rgb(0xEBCF52),
    broken: rgb(0xFF7FA0),
    kl: [rgb(0x241D38), rgb(0x3B2C66), rgb(0x573B9A), rgb(0x7749D2)],
    kl_line: rgb(0xC3ABFF),
    mark_tint: 0.20,
    band_tint: (0.07, 0.08),
    noise_tint: 0.26,
};

pub const LIGHT: Palette = Palette {
    dark: false,
    window: rgb(0xEEF0F3),
    panel: rgb(0xF8F9FA),
    raised: rgb(0xE6E9ED),
    inset: rgb(0xFFFFFF),
    line: rgb(0xD3D8DE),
    stroke: rgb(0x79838F),
    text: rgb(0x14181D),
    text2: rgb(0x434C57),
    text3: rgb(0x58626E),
    baseline: rgb(0x0B5CB8),
    prefix: rgb(0xA84300),
    prefix_fill: rgb(0xD45B00),
    good: rgb(0x0A6647),
    warning: rgb(0x6B5600),
    broken: rgb(0xAD124C),
    kl: [rgb(0xEEE8FA), rgb(0xD6C6F4), rgb(0xBA9DEC), rgb(0x9D74E2)],
    kl_line: rgb(0x4B1FA3),
    mark_tint: 0.12,
    band_tint: (0.06, 0.06),
    noise_tint: 0.20,
};

impl Palette {
    /// Returns the colours of the theme that `ui` uses.
    #[must_use]
    pub fn of(ui: &Ui) -> &'static Self {
        Self::of_visuals(ui.visuals())
    }

    #[must_use]
    pub fn of_visuals(visuals: &Visuals) -> &'static Self {
        if visuals.dark_mode { &DARK } else { &LIGHT }
    }

    /// Text colour on a box filled with the prefix's text colour, or on ink.
    #[must_use]
    pub fn on_fill(&self) -> Color32 {
        self.window
    }
}

/// Returns `colour` with its opacity multiplied by `alpha` (0..=1).
#[must_use]
pub fn faded(colour: Color32, alpha: f32) -> Color32 {
    colour.gamma_multiply(alpha.clamp(0.0, 1.0))
}

/// A text style: size and line height in points.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Type {
    pub size: f32,
    pub line: f32,
}

/// Ticks, captions. Nothing is smaller.
pub const CAPTION: Type = Type { size: 12.0, line: 16.0 };
pub const BODY: Type = Type { size: 13.0, line: 16.0 };
/// Tabs, names of panes.
pub const NAME: Type = Type { size: 14.0, line: 20.0 };
pub const CARD_TITLE: Type = Type { size: 15.0, line: 20.0 };
pub const VERDICT: Type = Type { size: 18.0, line: 24.0 };
pub const TITLE: Type = Type { size: 24.0, line: 32.0 };
pub const HERO: Type = Type { size: 48.0, line: 56.0 };

impl Type {
    #[must_use]
    pub fn regular(self) -> FontId {
        FontId::new(self.size, fonts::regular())
    }

    #[must_use]
    pub fn semibold(self) -> FontId {
        FontId::new(self.size, fonts::semibold())
    }

    #[must_use]
    pub fn mono(self) -> FontId {
        FontId::new(self.size, fonts::mono())
    }
}

/// Dimensions in points, on a grid of 8.
pub const TOP_BAR: f32 = 48.0;
pub const RAIL: f32 = 320.0;
pub const PADDING: f32 = 16.0;
pub const GAP: f32 = 16.0;
/// Height of a control.
pub const CONTROL: f32 = 32.0;
/// Height of the prompt and of Run.
pub const CONTROL_LARGE: f32 = 40.0;
pub const RADIUS_CARD: u8 = 8;
pub const RADIUS_CONTROL: u8 = 6;
pub const RADIUS_TAG: u8 = 4;
pub const RADIUS_CELL: u8 = 2;
/// Duration of folding, in seconds; nothing else is animated.
pub const FOLD_SECONDS: f32 = 0.12;

/// Installs the styles of both themes in egui.
pub fn install(ctx: &Context) {
    ctx.set_style_of(Theme::Dark, style(&DARK));
    ctx.set_style_of(Theme::Light, style(&LIGHT));
}

fn style(palette: &Palette) -> Style {
    let mut style = Style {
        text_styles: [
            (TextStyle::Small, CAPTION.regular()),
            (TextStyle::Body, BODY.regular()),
            (TextStyle::Button, BODY.regular()),
            (TextStyle::Monospace, BODY.mono()),
            (TextStyle::Heading, CARD_TITLE.semibold()),
        ]
        .into(),
        drag_value_text_style: TextStyle::Monospace,
        animation_time: FOLD_SECONDS,
        visuals: visuals(palette),
        ..Style::default()
    };
    let spacing = &mut style.spacing;
    spacing.item_spacing = vec2(8.0, 8.0);
    spacing.button_padding = vec2(12.0, 6.0);
    spacing.interact_size = vec2(CONTROL, CONTROL);
    spacing.window_margin = Margin::same(24);
    spacing.menu_margin = Margin::same(8);
    spacing.icon_width = 16.0;
    spacing.icon_spacing = 8.0;
    spacing.tooltip_width = 360.0;
    spacing.combo_height = 320.0;
    spacing.scroll = ScrollStyle {
        bar_width: 8.0,
        floating_width: 4.0,
        ..ScrollStyle::floating()
    };
    style.interaction.tooltip_delay = 0.4;
    // Selectable labels would take the pointer away from the controls they name.
    style.interaction.selectable_labels = false;
    style
}

fn visuals(palette: &Palette) -> Visuals {
    let base = if palette.dark {
        Visuals::dark()
    } else {
        Visuals::light()
    };
    let radius = CornerRadius::same(RADIUS_CONTROL);
    let control = |fill: Color32, outline: Color32, text: Color32| WidgetVisuals {
        bg_fill: fill,
        weak_bg_fill: fill,
        bg_stroke: Stroke::new(1.0, outline),
        corner_radius: radius,
        fg_stroke: Stroke::new(1.0, text),
        expansion: 0.0,
    };
    Visuals {
        widgets: Widgets {
            noninteractive: control(palette.panel, palette.line, palette.text2),
            inactive: control(palette.panel, palette.stroke, palette.text),
            hovered: control(palette.raised, palette.text2, palette.text),
            active: control(palette.raised, palette.text, palette.text),
            open: control(palette.raised, palette.text2, palette.text),
        },
        // Grey: a blue selection would suggest the baseline.
        selection: Selection {
            bg_fill: faded(palette.text3, 0.35),
            stroke: Stroke::new(1.0, palette.text),
        },
        hyperlink_color: palette.text,
        faint_bg_color: palette.raised,
        extreme_bg_color: palette.inset,
        text_edit_bg_color: Some(palette.inset),
        code_bg_color: palette.inset,
        warn_fg_color: palette.warning,
        error_fg_color: palette.broken,
        window_corner_radius: CornerRadius::same(RADIUS_CARD),
        window_shadow: Shadow::NONE,
        window_fill: palette.panel,
        window_stroke: Stroke::new(1.0, palette.stroke),
        menu_corner_radius: CornerRadius::same(RADIUS_CONTROL),
        panel_fill: palette.window,
        popup_shadow: Shadow::NONE,
        text_cursor: TextCursorStyle {
            stroke: Stroke::new(2.0, palette.text),
            ..TextCursorStyle::default()
        },
        slider_trailing_fill: true,
        handle_shape: HandleShape::Circle,
        image_loading_spinners: false,
        weak_text_color: Some(palette.text3),
        ..base
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Relative luminance as defined by WCAG 2.
    pub(crate) fn luminance(colour: Color32) -> f64 {
        let channel = |value: u8| {
            let value = f64::from(value) / 255.0;
            if value <= 0.040_45 {
                value / 12.92
            } else {
                ((value + 0.055) / 1.055).powf(2.4)
            }
        };
        0.2126 * channel(colour.r()) + 0.7152 * channel(colour.g()) + 0.0722 * channel(colour.b())
    }

    fn contrast(a: Color32, b: Color32) -> f64 {
        let (a, b) = (luminance(a), luminance(b));
        (a.max(b) + 0.05) / (a.min(b) + 0.05)
    }

    #[test]
    fn every_text_colour_reads_on_every_ground() {
        for palette in [DARK, LIGHT] {
            for ground in [palette.window, palette.panel, palette.raised, palette.inset] {
                for text in [
                    palette.text,
                    palette.text2,
                    palette.text3,
                    palette.baseline,
                    palette.prefix,
                    palette.good,
                    palette.warning,
                    palette.broken,
                ] {
                    assert!(
                        contrast(text, ground) >= 4.5,
                        "{text:?} on {ground:?}: {}",
                        contrast(text, ground)
                    );
                }
                for shape in [palette.stroke, palette.prefix_fill] {
                    assert!(
                        contrast(shape, ground) >= 3.0,
                        "{shape:?} on {ground:?}: {}",
                        contrast(shape, ground)
                    );
                }
            }
            assert!(contrast(palette.on_fill(), palette.prefix) >= 4.5);
            assert!(contrast(palette.on_fill(), palette.text) >= 7.0);
        }
    }

    #[test]
    fn text_reads_on_every_step_of_kl_and_the_steps_are_ordered_by_lightness_alone() {
        for palette in [DARK, LIGHT] {
            let mut before = luminance(palette.inset);
            for step in palette.kl {
                let now = luminance(step);
                assert!(if palette.dark { now > before } else { now < before }, "{step:?}");
                let (light, dark) = (now.max(before), now.min(before));
                assert!(
                    (light + 0.05) / (dark + 0.05) > 1.15,
                    "{step:?} is too near to the step before"
                );
                before = now;
                assert!(contrast(palette.text, step) >= 4.5, "{}", contrast(palette.text, step));
            }
            assert!(contrast(palette.kl_line, palette.inset) >= 3.0);
        }
    }

    #[test]
    fn nothing_is_set_smaller_than_twelve_points() {
        for kind in [CAPTION, BODY, NAME, CARD_TITLE, VERDICT, TITLE, HERO] {
            assert!(kind.size >= 12.0 && kind.line >= kind.size, "{kind:?}");
        }
    }
}
