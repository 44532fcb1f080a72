//! The prefix controls as values: kind, material and magnitude; [`PrefixForm::recipe`] converts them to a recipe.

use serde::{Deserialize, Serialize};
use softprefix_core::prefix::{
    BlendEndpoint, Generator, Magnitude, MagnitudeUnit, Origin, PrefixKind, PrefixRecipe, Rounding,
};

use super::{Envelope, ImportedFile, Unavailable};

/// The kind of prefix that is selected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KindChoice {
    #[default]
    Constant,
    RandomUniform,
    RandomNormal,
    Words,
    /// Between two texts.
    Blend,
    /// One text minus another.
    Contrast,
    /// Tokens drawn from the vocabulary.
    Sampled,
    /// From a file.
    Imported,
}

impl KindChoice {
    pub const ALL: [Self; 8] = [
        Self::Constant,
        Self::RandomUniform,
        Self::RandomNormal,
        Self::Words,
        Self::Blend,
        Self::Contrast,
        Self::Sampled,
        Self::Imported,
    ];

    /// Returns the choice that shows a recipe's kind.
    pub fn of(kind: &PrefixKind) -> Option<Self> {
        Some(match kind.base() {
            PrefixKind::Constant => Self::Constant,
            PrefixKind::RandomUniform { .. } => Self::RandomUniform,
            PrefixKind::RandomNormal { .. } => Self::RandomNormal,
            PrefixKind::Words { .. } => Self::Words,
            PrefixKind::Blend { .. } => Self::Blend,
            PrefixKind::Contrast { .. } => Self::Contrast,
            PrefixKind::SampledVocabulary { .. } => Self::Sampled,
            PrefixKind::Imported { .. } => Self::Imported,
            _ => return None,
        })
    }

    /// Returns whether this kind uses a seed.
    pub fn is_seeded(self) -> bool {
        matches!(self, Self::RandomUniform | Self::RandomNormal | Self::Sampled)
    }

    /// [`PrefixKind::allows_unscaled`](softprefix_core::prefix::PrefixKind::allows_unscaled) of the kind.
    pub fn allows_unscaled(self) -> bool {
        !matches!(self, Self::Constant | Self::RandomUniform | Self::RandomNormal)
    }
}

/// The prefix controls. Every field keeps its value while another kind is selected.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PrefixForm {
    pub kind: KindChoice,
    /// In units of [`PrefixForm::unit`]; 0 is the stop at the left end of the slider.
    pub magnitude: f64,
    pub unit: MagnitudeUnit,
    /// For kinds with a size of their own: use the rows without scaling.
    pub unscaled: bool,
    /// Number of rows (P).
    pub len: usize,
    pub seed: u64,
    /// The random number generator.
    pub generator: Generator,
    pub words: String,
    pub blend_from: String,
    pub blend_to: String,
    /// Whether the rows of the imported prefix take the place of the blend's first or second text.
    pub blend_from_rows: bool,
    pub blend_to_rows: bool,
    /// Position of the blend: 0 is the first text, 1 the second.
    pub blend: f64,
    pub contrast: String,
    pub contrast_minus: String,
    /// The file that was imported last.
    pub imported: Option<ImportedFile>,
    pub envelope: Envelope,
    pub rounding: Rounding,
}

impl Default for PrefixForm {
    fn default() -> Self {
        Self {
            kind: KindChoice::Constant,
            magnitude: 1.0,
            unit: MagnitudeUnit::TokenNorms,
            unscaled: true,
            len: 1,
            seed: 0,
            generator: Generator::default(),
            words: "春".to_owned(),
            blend_from: "春".to_owned(),
            blend_to: "冬".to_owned(),
            blend_from_rows: false,
            blend_to_rows: false,
            blend: 0.5,
            contrast: "喜び".to_owned(),
            contrast_minus: "悲しみ".to_owned(),
            imported: None,
            envelope: Envelope::Flat,
            rounding: Rounding::NearestEven,
        }
    }
}

impl PrefixForm {
    /// Range of the slider above its stop at 0, in token norms.
    pub const NORMS: std::ops::RangeInclusive<f64> = 0.001..=100.0;
    /// Range of the slider above its stop at 0, in raw values.
    pub const RAW: std::ops::RangeInclusive<f64> = 1e-5..=10.0;

    /// Returns the recipe that the fields describe.
    pub fn recipe(&self) -> PrefixRecipe {
        let magnitude = match self.unit {
            _ if self.is_unscaled() => Magnitude::Unscaled,
            MagnitudeUnit::TokenNorms => Magnitude::TokenNorms(self.magnitude),
            MagnitudeUnit::Raw => Magnitude::Raw(self.magnitude),
        };
        PrefixRecipe {
            kind: self.kind_for(self.len),
            len: self.len,
            magnitude,
            rounding: self.rounding,
        }
    }

    /// Returns where the rows of the selected file come from.
    pub fn origin(&self) -> Option<&Origin> {
        self.imported.as_ref().map(|file| &file.origin)
    }

    /// Returns whether the rows are used without scaling.
    pub fn is_unscaled(&self) -> bool {
        self.unscaled && self.kind.allows_unscaled()
    }

    /// Returns the kind of prefix that the fields describe, for at most `len` rows.
    pub fn kind_for(&self, len: usize) -> PrefixKind {
        self.base_kind().shaped(self.envelope.points(len))
    }

    /// Returns the same without its envelope.
    pub fn base_kind(&self) -> PrefixKind {
        let (seed, generator) = (self.seed, self.generator);
        match self.kind {
            KindChoice::Constant => PrefixKind::Constant,
            KindChoice::RandomUniform => PrefixKind::RandomUniform { seed, generator },
            KindChoice::RandomNormal => PrefixKind::RandomNormal { seed, generator },
            KindChoice::Sampled => PrefixKind::SampledVocabulary { seed, generator },
            KindChoice::Words => PrefixKind::Words {
                text: self.words.clone(),
            },
            KindChoice::Blend => PrefixKind::Blend {
                from: self.blend_end(&self.blend_from, self.blend_from_rows),
                to: self.blend_end(&self.blend_to, self.blend_to_rows),
                t: self.blend,
            },
            KindChoice::Contrast => PrefixKind::Contrast {
                text: self.contrast.clone(),
                minus: self.contrast_minus.clone(),
            },
            KindChoice::Imported => {
                let file = self.imported.clone().unwrap_or_default();
                PrefixKind::Imported {
                    name: file.name,
                    sha256: file.sha256,
                    origin: file.origin,
                }
            }
        }
    }

    /// Returns an end of the blend: its text, or the rows of the imported prefix.
    fn blend_end(&self, text: &str, rows: bool) -> BlendEndpoint {
        match &self.imported {
            Some(file) if rows => BlendEndpoint::Stored {
                name: file.name.clone(),
                sha256: file.sha256.clone(),
            },
            _ => BlendEndpoint::Text(text.to_owned()),
        }
    }

    /// Returns the number of rows of the selected file if `len` is larger: the rows are then repeated from the first
    /// one on.
    pub fn rows_repeated_to(&self, len: usize) -> Option<usize> {
        let about = self
            .imported
            .as_ref()
            .filter(|_| self.kind == KindChoice::Imported)?
            .about
            .as_ref()?;
        Some(about.rows).filter(|rows| *rows < len)
    }

    /// Returns what is missing to build the prefix; `None` if it can be built.
    pub fn missing(&self) -> Option<Unavailable> {
        let empty = |texts: [&String; 2]| texts.iter().any(|text| text.is_empty());
        match self.kind {
            KindChoice::Words if self.words.is_empty() => Some(Unavailable::NoWords),
            KindChoice::Blend if (self.blend_from_rows || self.blend_to_rows) && self.imported.is_none() => {
                Some(Unavailable::NoPrefixFile)
            }
            KindChoice::Blend
                if (self.blend_from.is_empty() && !self.blend_from_rows)
                    || (self.blend_to.is_empty() && !self.blend_to_rows) =>
            {
                Some(Unavailable::NoWords)
            }
            KindChoice::Contrast if empty([&self.contrast, &self.contrast_minus]) => Some(Unavailable::NoWords),
            KindChoice::Contrast if self.contrast == self.contrast_minus => Some(Unavailable::SameTexts),
            KindChoice::Imported if self.imported.is_none() => Some(Unavailable::NoPrefixFile),
            _ => None,
        }
    }

    /// Sets the fields from a recipe; those that it does not determine stay.
    pub(crate) fn take_recipe(&mut self, recipe: &PrefixRecipe) {
        self.len = recipe.len;
        self.rounding = recipe.rounding;
        self.set_kind_from(&recipe.kind, recipe.len);
        (self.unit, self.magnitude, self.unscaled) = match recipe.magnitude {
            Magnitude::TokenNorms(norms) => (MagnitudeUnit::TokenNorms, norms, false),
            Magnitude::Raw(raw) => (MagnitudeUnit::Raw, raw, false),
            Magnitude::Unscaled => (self.unit, self.magnitude, true),
        };
    }

    /// Sets the fields from a kind and its envelope, of a prefix of `len` rows; a kind that these controls do not offer
    /// changes nothing.
    pub(crate) fn set_kind_from(&mut self, kind: &PrefixKind, len: usize) {
        let Some(choice) = KindChoice::of(kind) else { return };
        self.kind = choice;
        // A recipe of a single row does not say what the envelope was.
        if let Some(points) = kind.envelope() {
            self.envelope = Envelope::of(points);
        } else if len > 1 {
            self.envelope = Envelope::Flat;
        }
        match kind.base() {
            PrefixKind::RandomUniform { seed, generator }
            | PrefixKind::RandomNormal { seed, generator }
            | PrefixKind::SampledVocabulary { seed, generator } => {
                (self.seed, self.generator) = (*seed, *generator);
            }
            PrefixKind::Words { text } => self.words.clone_from(text),
            PrefixKind::Blend { from, to, t } => {
                for end in [from, to] {
                    if let BlendEndpoint::Stored { name, sha256 } = end
                        && self.is_other_file(sha256)
                    {
                        self.imported = Some(ImportedFile::known_by(name, sha256, Origin::File));
                    }
                }
                if let BlendEndpoint::Text(text) = from {
                    self.blend_from.clone_from(text);
                }
                if let BlendEndpoint::Text(text) = to {
                    self.blend_to.clone_from(text);
                }
                self.blend_from_rows = matches!(from, BlendEndpoint::Stored { .. });
                self.blend_to_rows = matches!(to, BlendEndpoint::Stored { .. });
                self.blend = *t;
            }
            PrefixKind::Contrast { text, minus } => {
                self.contrast.clone_from(text);
                self.contrast_minus.clone_from(minus);
            }
            PrefixKind::Imported { name, sha256, origin } if self.is_other_file(sha256) => {
                self.imported = Some(ImportedFile::known_by(name, sha256, origin.clone()));
            }
            _ => {}
        }
    }

    /// Sets the fields to the rows of the selected file, which have these L2 norms. Where the median norm of the vocabulary is known, a
    /// magnitude of 1 gives every row as it is.
    pub(crate) fn take_rows(&mut self, norms: &[f64], median_norm: Option<f64>) {
        self.kind = KindChoice::Imported;
        self.len = norms.len();
        self.unscaled = true;
        self.envelope = Envelope::Flat;
        let median = median_norm.filter(|median| *median > 0.0 && norms.iter().all(|norm| *norm > 0.0));
        let Some(median) = median else { return };
        // A magnitude scales all rows to one norm; the envelope restores each row's own.
        let factors: Vec<f64> = norms.iter().map(|norm| norm / median).collect();
        self.unit = MagnitudeUnit::TokenNorms;
        self.unscaled = false;
        match factors.as_slice() {
            [only] => self.magnitude = *only,
            _ => (self.magnitude, self.envelope) = (1.0, Envelope::of(&factors)),
        }
    }

    fn is_other_file(&self, sha256: &str) -> bool {
        self.imported.as_ref().is_none_or(|file| file.sha256 != sha256)
    }

    /// Returns the range of the slider above its stop at 0, in the current unit.
    pub fn range(&self) -> std::ops::RangeInclusive<f64> {
        match self.unit {
            MagnitudeUnit::TokenNorms => Self::NORMS,
            MagnitudeUnit::Raw => Self::RAW,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use softprefix_core::prefix::SoftPrefix;
    use softprefix_core::prefix::files::{export_npy, import};

    #[test]
    fn a_p_beyond_the_rows_of_the_chosen_file_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("four.npy");
        let rows = SoftPrefix::from_f32(2, &[0.5; 8], Rounding::NearestEven).unwrap();
        export_npy(&rows, &path).unwrap();
        let mut form = PrefixForm {
            imported: Some(ImportedFile::from(&import(&path, None, Rounding::NearestEven).unwrap())),
            ..PrefixForm::default()
        };
        assert_eq!(form.rows_repeated_to(5), None, "another kind is chosen");
        form.kind = KindChoice::Imported;
        assert_eq!((form.rows_repeated_to(5), form.rows_repeated_to(4)), (Some(4), None));
    }
}
