//! Models in several files: `NAME-00001-of-00003.gguf` and so on, all in one folder.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use softprefix_core::bilingual;
use softprefix_core::language::Bilingual;

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
        let incomplete = |reason: Bilingual| LoadError::Incomplete {
            path: path.to_owned(),
            reason,
        };
        let own = number(NUMBER).unwrap_or(0);
        let number_of_own = own + 1;
        let named = name_parts(path).filter(|&(_, file, of)| (file, of) == (number_of_own, count) && count <= MOST);
        let Some((name, ..)) = named else {
            return Err(incomplete(bilingual!(
                "it is file {number_of_own} of {count} of a model, and its name does not end with -{number_of_own:05}-of-{count:05}, by which the others are found",
                "{count} 個のファイルに分かれたモデルの {number_of_own} 番目ですが、名前が -{number_of_own:05}-of-{count:05} で終わっていないため、ほかのファイルを見つけられません"
            )));
        };
        if own != 0 {
            let first = file_name(name, 1, count);
            return Err(incomplete(bilingual!(
                "it is file {number_of_own} of {count} of a model that is loaded by its first, {first}",
                "{count} 個のファイルに分かれたモデルの {number_of_own} 番目で、モデルは最初の {first} から読み込みます"
            )));
        }
        let others: Vec<PathBuf> = (2..=count)
            .map(|number| path.with_file_name(file_name(name, number, count)))
            .collect();
        let missing: Vec<String> = (others.iter().filter(|other| !other.is_file()))
            .filter_map(|other| Some(other.file_name()?.to_string_lossy().into_owned()))
            .collect();
        if !missing.is_empty() {
            let missing = missing.join(", ");
            return Err(incomplete(bilingual!(
                "it is the first of {count} files of a model, of which are missing: {missing}",
                "{count} 個のファイルに分かれたモデルの最初のもので、次のファイルがありません：{missing}"
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
        let bad = |reason: Bilingual| LoadError::bad_file(path, reason);
        let number_of = |key: &str| {
            metadata
                .get(key)
                .and_then(MetaValue::as_u32)
                .map(|value| value as usize)
        };
        if number_of(NUMBER) != Some(number) || number_of(COUNT) != Some(self.count) {
            let (number, count) = (number + 1, self.count);
            return Err(bad(bilingual!(
                "it does not say that it is file {number} of {count}",
                "{count} 個のうち {number} 番目のファイルだと記していません"
            )));
        }
        let is_own = |key: &str| [NUMBER, COUNT, TENSORS, ALIGNMENT].contains(&key);
        let mut others = (metadata.iter()).filter(|(key, value)| !is_own(key) && first.get(*key) != Some(value));
        match others.next() {
            None => Ok(()),
            Some((key, _)) => Err(bad(bilingual!(
                "its metadata has a {key} that is not that of the model's first file",
                "メタデータの {key} が、モデルの最初のファイルのものと違います"
            ))),
        }
    }

    /// Checks the number of tensors of all files against the first one's.
    pub(super) fn check_tensors(&self, path: &Path, found: usize) -> Result<(), LoadError> {
        match self.tensors {
            Some(wanted) if wanted != found => {
                let count = self.count;
                let reason = bilingual!(
                    "its {count} files have {found} tensors, not the {wanted} that it names",
                    "{count} 個のファイルのテンソルは、記された {wanted} 個ではなく {found} 個です"
                );
                Err(LoadError::bad_file(path, reason))
            }
            _ => Ok(()),
        }
    }
}
