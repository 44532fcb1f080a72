//! The fonts of the window and their fallbacks. Every font is part of the binary, so that the window looks the same on
//! every machine.

use std::sync::Arc;

use eframe::egui::{Context, FontData, FontDefinitions, FontFamily};

const INTER: &[u8] = include_bytes!("../../assets/fonts/Inter-Regular.otf");
const INTER_SEMIBOLD: &[u8] = include_bytes!("../../assets/fonts/Inter-SemiBold.otf");
const JETBRAINS_MONO: &[u8] = include_bytes!("../../assets/fonts/JetBrainsMono-Regular.ttf");
const CJK: &[u8] = include_bytes!("../../assets/fonts/WorkbenchCJK-Regular.otf");

/// Name of the SemiBold family; egui treats weights as separate families.
const SEMIBOLD: &str = "semibold";

/// Inter Regular: labels and sentences.
#[must_use]
pub fn regular() -> FontFamily {
    FontFamily::Proportional
}

/// Inter SemiBold: titles and the headline number. Its digits have equal widths.
#[must_use]
pub fn semibold() -> FontFamily {
    FontFamily::Name(SEMIBOLD.into())
}

/// JetBrains Mono: numbers that change in place, digests, keys, ticks.
#[must_use]
pub fn mono() -> FontFamily {
    FontFamily::Monospace
}

/// Returns the fonts and their order in each family.
///
/// The Japanese font is the fallback of all three families, always in its regular weight: a bold one would be too dense
/// at these sizes.
#[must_use]
pub fn definitions() -> FontDefinitions {
    let mut fonts = FontDefinitions::empty();
    let faces = [
        ("inter", INTER),
        ("inter-semibold", INTER_SEMIBOLD),
        ("jetbrains-mono", JETBRAINS_MONO),
        ("workbench-cjk", CJK),
    ];
    for (name, bytes) in faces {
        fonts
            .font_data
            .insert(name.to_owned(), Arc::new(FontData::from_static(bytes)));
    }
    // Mono and Inter are fallbacks for each other, for arrows, keys and box drawing.
    let order = [
        (regular(), ["inter", "workbench-cjk", "jetbrains-mono"]),
        (semibold(), ["inter-semibold", "workbench-cjk", "jetbrains-mono"]),
        (mono(), ["jetbrains-mono", "workbench-cjk", "inter"]),
    ];
    for (family, names) in order {
        fonts
            .families
            .insert(family, names.iter().map(|name| (*name).to_owned()).collect());
    }
    fonts
}

/// Returns the bytes of a font and of its fallback, for figures.
#[must_use]
pub fn faces(semibold: bool) -> [&'static [u8]; 2] {
    [if semibold { INTER_SEMIBOLD } else { INTER }, CJK]
}

/// Installs the fonts in egui.
pub fn install(ctx: &Context) {
    ctx.set_fonts(definitions());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_faces_stay_below_six_megabytes_together() {
        let total: usize = [INTER, INTER_SEMIBOLD, JETBRAINS_MONO, CJK]
            .iter()
            .map(|face| face.len())
            .sum();
        assert!(total < 6_000_000, "{total} bytes of fonts in the binary");
    }

    #[test]
    fn every_family_ends_in_a_face_that_has_japanese() {
        for (family, names) in definitions().families {
            assert!(names.iter().any(|name| name == "workbench-cjk"), "{family:?}");
        }
    }
}
