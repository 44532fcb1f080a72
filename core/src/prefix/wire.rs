//! The wire form of a prefix: `{"len": P, "data_b64": base64 of P x H little-endian bf16 words, row by row}`. It does not contain H, which
//! the receiver knows from its model.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use half::bf16;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::error::{PrefixError, check_size, too_large};
use super::recipe::MAX_LEN;
use super::soft_prefix::SoftPrefix;
use crate::sent::{Checked, Excerpt, Object};

/// Writes padding and accepts its absence, as the stock unit does.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// `soft_prefix` of an inference's finish frame.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SoftPrefixField {
    /// P.
    pub len: usize,
    /// Base64 of P x H little-endian u16 words.
    pub data_b64: String,
}

/// The wire form of `prefix`.
pub fn encode(prefix: &SoftPrefix) -> SoftPrefixField {
    SoftPrefixField {
        len: prefix.len(),
        data_b64: BASE64.encode(prefix.to_le_bytes()),
    }
}

/// Decodes the wire form for a model of width `hidden_size`.
///
/// # Errors
/// Where P is 0 or too large, the data is not base64 or has a size other than P x H x 2, or a value is not finite.
pub fn decode(field: &SoftPrefixField, hidden_size: usize) -> Result<SoftPrefix, PrefixError> {
    decode_base64(field.len, &field.data_b64, hidden_size)
}

fn decode_base64(len: usize, data_b64: &str, hidden_size: usize) -> Result<SoftPrefix, PrefixError> {
    check_size(len, hidden_size)?;
    let bytes = BASE64.decode(data_b64).map_err(|error| PrefixError::NotBase64 {
        detail: error.to_string(),
    })?;
    let expected_bytes = len as u128 * hidden_size as u128 * 2;
    if bytes.len() as u128 != expected_bytes {
        return Err(PrefixError::WrongSize {
            got_bytes: bytes.len(),
            expected_bytes,
            len,
            hidden_size,
        });
    }
    let values = bytes
        .as_chunks::<2>()
        .0
        .iter()
        .map(|&word| bf16::from_bits(u16::from_le_bytes(word)))
        .collect();
    SoftPrefix::from_bf16(hidden_size, values)
}

/// `soft_prefix` as a peer sent it, of whatever type, so that [`SentPrefix::decode`] can name what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct SentPrefix(Checked<Object<SentFields>>);

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct SentFields {
    #[serde(default, deserialize_with = "present")]
    len: Option<Excerpt>,
    #[serde(default, deserialize_with = "present")]
    data_b64: Option<Checked<String>>,
}

/// A field that is present, even if it is null.
fn present<'de, T: Deserialize<'de>, D: serde::Deserializer<'de>>(field: D) -> Result<Option<T>, D::Error> {
    T::deserialize(field).map(Some)
}

impl SentPrefix {
    /// Decodes it for a model of width `hidden_size`.
    ///
    /// # Errors
    /// Those of [`decode`], and [`PrefixError::NotAnObject`], [`PrefixError::FieldMissing`], [`PrefixError::LengthNotANumber`],
    /// [`PrefixError::LengthNegative`], [`PrefixError::DataNotAString`].
    pub fn decode(&self, hidden_size: usize) -> Result<SoftPrefix, PrefixError> {
        let fields = match &self.0 {
            Checked::Expected(Object(fields)) => fields,
            Checked::Other(Excerpt(got)) => return Err(PrefixError::NotAnObject { got: got.clone() }),
        };
        let len = fields
            .len
            .as_ref()
            .ok_or(PrefixError::FieldMissing { field: "len".into() })?;
        let data = fields.data_b64.as_ref().ok_or(PrefixError::FieldMissing {
            field: "data_b64".into(),
        })?;
        let len = match len.0.parse::<serde_json::Number>() {
            Ok(number) => whole(&number)?,
            Err(_) => return Err(PrefixError::LengthNotANumber { got: len.0.clone() }),
        };
        match data {
            Checked::Expected(data_b64) => decode_base64(len, data_b64, hidden_size),
            Checked::Other(Excerpt(got)) => Err(PrefixError::DataNotAString { got: got.clone() }),
        }
    }
}

/// Decodes the wire form from a JSON value.
///
/// # Errors
/// Those of [`SentPrefix::decode`].
pub fn decode_value(value: &Value, hidden_size: usize) -> Result<SoftPrefix, PrefixError> {
    match SentPrefix::deserialize(value) {
        Ok(sent) => sent.decode(hidden_size),
        Err(error) => Err(PrefixError::NotAnObject { got: error.to_string() }),
    }
}

fn whole(number: &serde_json::Number) -> Result<usize, PrefixError> {
    if let Some(len) = number.as_u64() {
        return usize::try_from(len).map_err(|_| too_large(len));
    }
    if let Some(len) = number.as_i64() {
        return Err(PrefixError::LengthNegative { len });
    }
    match number.as_f64() {
        // Some JSON writers send whole numbers as 2.0.
        Some(len) if len.fract() == 0.0 && len >= 0.0 && len <= MAX_LEN as f64 => Ok(len as usize),
        Some(len) if len > MAX_LEN as f64 => Err(too_large(number)),
        Some(len) if len.fract() == 0.0 && len >= i64::MIN as f64 => {
            Err(PrefixError::LengthNegative { len: len as i64 })
        }
        _ => Err(PrefixError::LengthNotANumber {
            got: number.to_string(),
        }),
    }
}
