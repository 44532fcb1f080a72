//! Checks of metadata keys, so that none is silently ignored.

use softprefix_core::bilingual;
use softprefix_core::language::Bilingual;

use super::file::GgufFile;
use super::value::MetaValue;

/// The treatment of a metadata key.
#[derive(Debug, Clone, Copy)]
pub enum KeyUse {
    /// Its value is read and used; where the reader cannot use it, the file is refused.
    Computed,
    /// Its value is ignored, because it cannot change a token; the string says why.
    Meaningless(&'static str),
    /// A value that the function accepts changes nothing, because that is what is computed; any other is refused. The text names the
    /// accepted values for the message.
    Only(fn(&MetaValue) -> bool, Bilingual<&'static str>),
}

/// Keys without their prefix, with their treatment. A key that ends with `*` matches all with that beginning; the first
/// match counts.
pub type KeyTable = [(&'static str, KeyUse)];

/// Checks every key of `file` that begins with `prefix` against `table`.
///
/// # Errors
/// Why the file cannot be used: a key that is not in `table`, or a value that is not computed.
pub fn check_keys(file: &GgufFile, prefix: &str, table: &KeyTable) -> Result<(), Bilingual> {
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
                    let Bilingual { en, ja } = what;
                    return Err(Bilingual {
                        en: format!("its metadata has a {key} that is not computed here; what can be used is {en}"),
                        ja: format!("メタデータの {key} の値には対応していません。使える値：{ja}"),
                    });
                }
            }
            None => {
                return Err(bilingual!(
                    "its metadata has the key {key}, which is not known here, so that its text could be wrong",
                    "メタデータに未知のキー {key} があり、出力が正しくならないおそれがあります"
                ));
            }
        }
    }
    Ok(())
}

/// For [`KeyUse::Only`]: accepts 0, false or an empty value.
pub fn is_off(value: &MetaValue) -> bool {
    value.as_u32() == Some(0) || value.as_f32() == Some(0.0) || value.as_bool() == Some(false)
}
