//! Command line options for the kind and the material of prefixes, shared by the commands that run with them.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use softprefix_core::prefix::{Generator, Magnitude, PrefixKind, PrefixRecipe, Rounding, files};

use super::shell::{Failure, List, eprint};
use crate::errors::{prefix_file_problem, prefix_store_problem};
use crate::model::Language;
use crate::places;
use crate::text::PrefixText;

#[derive(Debug, Args)]
pub(super) struct PrefixArgs {
    /// Kind of the rows; the options below that bring texts or a file imply it [default: constant].
    #[arg(long, value_enum)]
    kind: Option<Kind>,
    /// Seed of random rows, and of sampled tokens.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Random number generator: `python` gives the numbers of Python's `random.Random(seed)`, for repeating old runs.
    #[arg(long, value_enum, default_value_t = GeneratorArg::Softprefix)]
    generator: GeneratorArg,
    /// Text whose token embeddings become the rows.
    #[arg(long, value_name = "TEXT", conflicts_with_all = ["blend", "contrast", "prefix_file"])]
    words: Option<String>,
    /// Two texts; each row lies between theirs, at the position --t.
    #[arg(long, num_args = 2, value_names = ["FROM", "TO"], conflicts_with_all = ["contrast", "prefix_file"])]
    blend: Option<Vec<String>>,
    /// Position of a blend: 0 is its first text, 1 its second.
    #[arg(long, value_name = "T", default_value_t = 0.5, value_parser = share, requires = "blend")]
    t: f64,
    /// Two texts; every row is the mean row of the first minus that of the second.
    #[arg(long, num_args = 2, value_names = ["TEXT", "MINUS"], conflicts_with = "prefix_file")]
    contrast: Option<Vec<String>>,
    /// Rows from a file: a PEFT folder, .safetensors, .npy, .npz or a KoboldAI .zip.
    #[arg(long, value_name = "PATH")]
    prefix_file: Option<PathBuf>,
    /// Factors for the rows, such as 1,0.5,0; fewer than P are interpolated linearly from the first row to the last.
    #[arg(long, value_name = "LIST", value_parser = factors)]
    envelope: Option<List<f64>>,
    /// Rounding of values to bf16: `truncate` repeats runs of existing scripts byte for byte.
    #[arg(long, value_enum, default_value_t = RoundingArg::NearestEven)]
    rounding: RoundingArg,
}

/// One prefix, from which a command starts.
#[derive(Debug, Args)]
pub(super) struct FirstPrefixArgs {
    #[command(flatten)]
    pub prefix: PrefixArgs,
    /// P: rows of the prefix [default: as many as the file has; 8 where the search starts from the rows of --text; else 4].
    #[arg(long, value_name = "P", value_parser = clap::value_parser!(u16).range(1..))]
    len: Option<u16>,
    /// Magnitude of the first prefix, in token norms [default: rows of words and files as they are, others 1].
    #[arg(long, value_name = "X", conflicts_with = "raw", allow_negative_numbers = true)]
    token_norms: Option<f64>,
    /// The same as a raw value, which a stock module needs for a constant or random prefix.
    #[arg(long, value_name = "V", allow_negative_numbers = true)]
    raw: Option<f64>,
}

impl FirstPrefixArgs {
    /// Returns the recipe of the prefix, with `rows` rows if neither the arguments nor a file determine the number.
    pub fn recipe(&self, rows: usize) -> Result<PrefixRecipe, Failure> {
        let material = self.prefix.material()?;
        let magnitude = match (self.token_norms, self.raw) {
            (Some(norms), _) => Magnitude::TokenNorms(norms),
            (_, Some(raw)) => Magnitude::Raw(raw),
            (None, None) if material.kind.allows_unscaled() => Magnitude::Unscaled,
            (None, None) => Magnitude::TokenNorms(1.0),
        };
        let len = self.len.map_or(material.rows.unwrap_or(rows), usize::from);
        material.warn_if_repeated(len);
        Ok(PrefixRecipe {
            len,
            kind: material.kind,
            magnitude,
            rounding: self.prefix.rounding(),
        })
    }

    /// Returns the recipe of the rows of a text's tokens, unless the arguments describe other rows.
    pub fn of_words(&self, text: &str, rows: usize) -> Option<PrefixRecipe> {
        let magnitude = match (self.token_norms, self.raw) {
            (Some(norms), _) => Magnitude::TokenNorms(norms),
            (_, Some(raw)) => Magnitude::Raw(raw),
            (None, None) => Magnitude::Unscaled,
        };
        (!self.prefix.is_given()).then(|| PrefixRecipe {
            len: self.len.map_or(rows, usize::from),
            kind: PrefixKind::Words { text: text.to_owned() },
            magnitude,
            rounding: self.prefix.rounding(),
        })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// All values equal.
    Constant,
    /// Uniform random numbers.
    Uniform,
    /// Normal random numbers.
    Normal,
    /// Rows of a text's tokens: --words.
    Words,
    /// Rows of tokens sampled from the vocabulary.
    Sampled,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum GeneratorArg {
    Softprefix,
    Python,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum RoundingArg {
    NearestEven,
    Truncate,
}

fn factors(text: &str) -> Result<List<f64>, String> {
    let wrong = |item: &str| format!("{item:?} is no finite number; write factors like 1,0.5,0");
    let number = |item: &str| item.trim().parse::<f64>().ok().filter(|factor| factor.is_finite());
    let factors: Result<Vec<f64>, String> = text
        .split(',')
        .map(|item| number(item).ok_or_else(|| wrong(item)))
        .collect();
    factors.map(List)
}

fn share(text: &str) -> Result<f64, String> {
    text.parse()
        .ok()
        .filter(|t| (0.0..=1.0).contains(t))
        .ok_or_else(|| "give a number from 0 (the first text) to 1 (the second)".to_owned())
}

/// The prefix that the arguments describe.
pub(super) struct Material {
    pub kind: PrefixKind,
    /// Number of rows in the file, if there is one: the default for P.
    pub rows: Option<usize>,
}

impl Material {
    /// Says on standard error that the rows of the file are repeated, if they are fewer than `len`.
    pub fn warn_if_repeated(&self, len: usize) {
        if let Some(rows) = self.rows.filter(|rows| *rows < len) {
            eprint((PrefixText::of(Language::English).file_repeats)(rows, len));
        }
    }
}

impl PrefixArgs {
    pub fn rounding(&self) -> Rounding {
        match self.rounding {
            RoundingArg::NearestEven => Rounding::NearestEven,
            RoundingArg::Truncate => Rounding::Truncate,
        }
    }

    /// Returns the prefix that the arguments describe.
    pub fn material(&self) -> Result<Material, Failure> {
        let mut rows = None;
        let kind = match self.of_its_own()? {
            Some(Given::Kind(kind)) => kind,
            Some(Given::File(path)) => {
                let imported = files::import(path, None, self.rounding()).map_err(|error| file_failure(&error))?;
                rows = Some(imported.prefix.len());
                imported.recipe().kind
            }
            None => self.by_name()?,
        };
        Ok(Material {
            kind: kind.shaped(self.envelope.as_ref().map(|factors| factors.0.clone())),
            rows,
        })
    }

    /// Returns whether an option describes the rows.
    pub fn is_given(&self) -> bool {
        let texts = self.words.is_some() || self.blend.is_some() || self.contrast.is_some();
        self.kind.is_some() || texts || self.prefix_file.is_some()
    }

    /// Puts the rows of the file, if there is one, into the prefix store, from which recipes of them are built, also when the file is gone.
    /// Returns an error if they are made for a model of another width; then they are not stored.
    pub fn store_file(&self, hidden_size: Option<usize>) -> Result<(), Failure> {
        if let Some(path) = &self.prefix_file {
            let imported = files::import(path, hidden_size, self.rounding()).map_err(|error| file_failure(&error))?;
            let stored = places::prefix_store().put(&imported.prefix);
            stored.map_err(|error| prefix_store_problem(&error))?;
        }
        Ok(())
    }

    /// Returns the kind that the options with texts or a file imply.
    fn of_its_own(&self) -> Result<Option<Given<'_>>, Failure> {
        let given = match (
            &self.words,
            self.blend.as_deref(),
            self.contrast.as_deref(),
            &self.prefix_file,
        ) {
            (Some(text), ..) => ("--words", Given::Kind(PrefixKind::Words { text: text.clone() })),
            (_, Some([from, to]), ..) => {
                let (from, to) = (from.as_str().into(), to.as_str().into());
                ("--blend", Given::Kind(PrefixKind::Blend { from, to, t: self.t }))
            }
            (_, _, Some([text, minus]), _) => {
                let (text, minus) = (text.clone(), minus.clone());
                ("--contrast", Given::Kind(PrefixKind::Contrast { text, minus }))
            }
            (_, _, _, Some(path)) => ("--prefix-file", Given::File(path)),
            _ => return Ok(None),
        };
        match (self.kind, given) {
            (None, (_, given)) => Ok(Some(given)),
            (Some(Kind::Words), ("--words", given)) => Ok(Some(given)),
            (Some(_), (option, _)) => Err(Failure::arguments(format!(
                "{option} says what the rows are made of; leave --kind out."
            ))),
        }
    }

    fn by_name(&self) -> Result<PrefixKind, Failure> {
        let seed = self.seed;
        let generator = match self.generator {
            GeneratorArg::Softprefix => Generator::SplitMix64V1,
            GeneratorArg::Python => Generator::PythonRandom,
        };
        match self.kind.unwrap_or(Kind::Constant) {
            Kind::Constant => Ok(PrefixKind::Constant),
            Kind::Uniform => Ok(PrefixKind::RandomUniform { seed, generator }),
            Kind::Normal => Ok(PrefixKind::RandomNormal { seed, generator }),
            Kind::Sampled => Ok(PrefixKind::SampledVocabulary { seed, generator }),
            Kind::Words => Err(Failure::arguments("--kind words needs --words TEXT.")),
        }
    }
}

enum Given<'a> {
    Kind(PrefixKind),
    File(&'a std::path::Path),
}

pub(super) fn file_failure(error: &files::FileError) -> Failure {
    prefix_file_problem(error).into()
}
