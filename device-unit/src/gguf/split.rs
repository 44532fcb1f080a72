//! Models in several files: `NAME-00001-of-00003.gguf` and so on, all in one folder.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use crate::errors::LoadError;

use super::value::MetaValue;

/// The number of a file among those of its model, counted from 0.
const NUMBER: &str = "split.no";
/// How many files the model has.
const COUNT: &str = "split.count";
/// How many tensors all files have together.
const TENSORS: &str = "split.tensors.count";

/// Keys of a later file that say how it is stored, and nothing about the model.
const ALIGNMENT: &str = "general.alignment";

/// Most files of a model.
const MOST: usize = 999;

/// A model in several files whose first file is open.
pub(super) struct Split {
    pub(super) others: Vec<PathBuf>,
    count: usize,
    tensors: Option<usize>,
}

/// The parts of a file's name: `("NAME", 1, 3)` for `NAME-00001-of-00003.gguf`.
pub fn name_parts(path: &Path) -> Option<(&str, usize, usize)> {
    let stem = path.file_stem()?.to_str()?;
    let (front, count) = stem.rsplit_once("-of-")?;
    let (name, number) = front.rsplit_once('-')?;
    let number_of = |digits: &str| {
        let plain = digits.len() == 5 && digits.bytes().all(|byte| byte.is_ascii_digit());
        plain.then(|| digits.parse().ok()).flatten()
    };
    Some((name, number_of(number)?, number_of(count)?))
}

fn file_name(name: &str, number: usize, count: usize) -> String {
    format!("{name}-{number:05}-of-{count:05}.gguf")
}

impl Split {
    /// Reads from the first file how many others there are; `None` for a model in one file.
    pub(super) fn of(path: &Path, metadata: &HashMap<String, MetaValue>) -> Result<Option<Self>, LoadError> {
        let number = |key: &str| {
            metadata
                .get(key)
                .and_then(MetaValue::as_u32)
                .map(|value| value as usize)
        };
        let count = number(COUNT).unwrap_or(1);
        if count <= 1 {
            return Ok(None);
        }
        let incomplete = |reason: String| LoadError::Incomplete {
            path: path.to_owned(),
            reason,
        };
        let own = number(NUMBER).unwrap_or(0);
        let named = name_parts(path).filter(|&(_, file, of)| (file, of) == (own + 1, count) && count <= MOST);
        let Some((name, ..)) = named else {
            return Err(incomplete(format!(
                "it is file {} of {count} of a model, and its name does not end with -{:05}-of-{count:05}, by which the others are found",
                own + 1,
                own + 1,
            )));
        };
        if own != 0 {
            return Err(incomplete(format!(
                "it is file {} of {count} of a model that is loaded by its first, {}",
                own + 1,
                file_name(name, 1, count)
            )));
        }
        let others: Vec<PathBuf> = (2..=count)
            .map(|number| path.with_file_name(file_name(name, number, count)))
            .collect();
        let missing: Vec<String> = (others.iter().filter(|other| !other.is_file()))
            .filter_map(|other| Some(other.file_name()?.to_string_lossy().into_owned()))
            .collect();
        if !missing.is_empty() {
            return Err(incomplete(format!(
                "it is the first of {count} files of a model, of which are missing: {}",
                missing.join(", ")
            )));
        }
        Ok(Some(Self {
            others,
            count,
            tensors: number(TENSORS),
        }))
    }

    /// Checks that a further file names itself as the part with this number, and says nothing of the model that the first, whose metadata
    /// are the model's, does not say.
    pub(super) fn check(
        &self,
        path: &Path,
        number: usize,
        metadata: &HashMap<String, MetaValue>,
        first: &HashMap<String, MetaValue>,
    ) -> Result<(), LoadError> {
        let bad = |reason: String| LoadError::bad_file(path, reason);
        let number_of = |key: &str| {
            metadata
                .get(key)
                .and_then(MetaValue::as_u32)
                .map(|value| value as usize)
        };
        if number_of(NUMBER) != Some(number) || number_of(COUNT) != Some(self.count) {
            return Err(bad(format!(
                "it does not say that it is file {} of {}",
                number + 1,
                self.count
            )));
        }
        let is_own = |key: &str| [NUMBER, COUNT, TENSORS, ALIGNMENT].contains(&key);
        let mut others = (metadata.iter()).filter(|(key, value)| !is_own(key) && first.get(*key) != Some(value));
        match others.next() {
            None => Ok(()),
            Some((key, _)) => Err(bad(format!(
                "its metadata has a {key} that is not that of the model's first file"
            ))),
        }
    }

    /// Checks the number of tensors of all files against the first one's.
    pub(super) fn check_tensors(&self, path: &Path, found: usize) -> Result<(), LoadError> {
        match self.tensors {
            Some(wanted) if wanted != found => Err(LoadError::bad_file(
                path,
                format!(
                    "its {} files have {found} tensors, not the {wanted} that it names",
                    self.count
                ),
            )),
            _ => Ok(()),
        }
    }
}
