//! What is done with the keys of a file's metadata, so that none of them is passed over in silence.

use super::file::GgufFile;
use super::value::MetaValue;

/// What is done with a key.
#[derive(Debug, Clone, Copy)]
pub enum KeyUse {
    /// Its value is read and computed with.
    Computed,
    /// It changes no token, for this reason.
    Meaningless(&'static str),
    /// It is taken where it says what is computed anyway; in words, what that is.
    Only(fn(&MetaValue) -> bool, &'static str),
}

/// Keys without their prefix, and what is done with them. One that ends with `*` stands for all that begin so; the first wins.
pub type KeyTable = [(&'static str, KeyUse)];

/// Checks every key of `file` that begins with `prefix` against `table`.
///
/// # Errors
/// The reason why the file is not usable: a key that `table` does not know, or a value that is not computed.
pub fn check_keys(file: &GgufFile, prefix: &str, table: &KeyTable) -> Result<(), String> {
    for key in file.keys() {
        let Some(name) = key.strip_prefix(prefix) else { continue };
        let matches = |known: &str| match known.strip_suffix('*') {
            Some(front) => name.starts_with(front),
            None => name == known,
        };
        let known = table.iter().find(|(known, _)| matches(known));
        match known.map(|(_, key_use)| key_use) {
            Some(KeyUse::Computed | KeyUse::Meaningless(_)) => {}
            Some(KeyUse::Only(fits, what)) => {
                if !file.metadata(key).is_some_and(fits) {
                    return Err(format!(
                        "its metadata has a {key} that is not computed here; what can be used is {what}"
                    ));
                }
            }
            None => {
                return Err(format!(
                    "its metadata has the key {key}, which is not known here, so that its text could be wrong"
                ));
            }
        }
    }
    Ok(())
}

/// For [`KeyUse::Only`]: 0, false or nothing.
pub fn is_off(value: &MetaValue) -> bool {
    value.as_u32() == Some(0) || value.as_f32() == Some(0.0) || value.as_bool() == Some(false)
}
