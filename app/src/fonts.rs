//! The typefaces of the window: which files there are, and which family falls back to which.
//!
//! Every face is in the binary, so that the window looks the same on every machine. It knows no sizes and no colours;
//! those are the theme's.

use std::sync::Arc;

use eframe::egui::{Context, FontData, FontDefinitions, FontFamily};

const INTER: &[u8] = include_bytes!("../../assets/fonts/Inter-Regular.otf");
const INTER_SEMIBOLD: &[u8] = include_bytes!("../../assets/fonts/Inter-SemiBold.otf");
const JETBRAINS_MONO: &[u8] = include_bytes!("../../assets/fonts/JetBrainsMono-Regular.ttf");
const CJK: &[u8] = include_bytes!("../../assets/fonts/WorkbenchCJK-Regular.otf");

/// The name of the SemiBold family; egui keeps weights apart as families.
const SEMIBOLD: &str = "semibold";

/// Inter Regular: labels and sentences.
#[must_use]
pub fn regular() -> FontFamily {
    FontFamily::Proportional
}

/// Inter SemiBold: titles and the headline number. Its digits are equally wide.
#[must_use]
pub fn semibold() -> FontFamily {
    FontFamily::Name(SEMIBOLD.into())
}

/// JetBrains Mono: numbers that change in place, digests, keys, ticks.
#[must_use]
pub fn mono() -> FontFamily {
    FontFamily::Monospace
}

/// The faces and their order in each family.
///
/// The Japanese face is the fallback of all three, always in its regular weight: a bold Japanese face would be too
/// dense at these sizes.
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
    // Mono and Inter stand in for each other where one of them lacks a sign (arrows, keys, box drawing).
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

/// The bytes of a face and of the one that stands in for what it lacks, for figures.
#[must_use]
pub fn faces(semibold: bool) -> [&'static [u8]; 2] {
    [if semibold { INTER_SEMIBOLD } else { INTER }, CJK]
}

/// Gives the faces to egui.
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
