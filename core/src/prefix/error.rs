//! What can be wrong with a prefix. Each sentence says what happened, to what, and what to do. It knows no error codes.

use half::bf16;

use super::recipe::{MAX_LEN, MAX_VALUES};

/// Why a prefix was refused.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum PrefixError {
    #[error(
        "the prefix length P is 0; send at least one row, or no prefix at all (these are two different experiments)"
    )]
    LengthZero,
    #[error("the prefix length P is {len}, which is negative; P counts rows and starts at 1")]
    LengthNegative { len: i64 },
    #[error("the prefix length P is {got}, which is not a whole number; send \"len\" as an integer of at least 1")]
    LengthNotANumber { got: String },
    #[error("the prefix length P = {len} is more than any model's window holds (limit {limit}); choose a smaller P")]
    LengthTooLarge { len: String, limit: usize },
    #[error(
        "a prefix of P = {len} rows of H = {hidden_size} values is larger than any message carries ({limit} values); check H, or choose a smaller P"
    )]
    TooManyValues {
        len: usize,
        hidden_size: usize,
        limit: usize,
    },
    #[error("the hidden size H is 0; take H from the model card (tokens_embed_size)")]
    HiddenSizeZero,
    #[error("soft_prefix is {got}, not an object; send {{\"len\": P, \"data_b64\": \"...\"}}")]
    NotAnObject { got: String },
    #[error("soft_prefix has no {field:?}; send {{\"len\": P, \"data_b64\": \"...\"}}")]
    FieldMissing { field: &'static str },
    #[error("soft_prefix.data_b64 is {got}, not a string; send the base64 of P x H little-endian bf16 words")]
    DataNotAString { got: String },
    #[error(
        "soft_prefix.data_b64 is not base64 ({detail}); encode the P x H little-endian bf16 words with the standard alphabet"
    )]
    NotBase64 { detail: String },
    /// Both sizes and H, and the H that the data would fit where there is one.
    #[error(
        "the prefix holds {got_bytes} bytes, but P = {len} rows of H = {hidden_size} bf16 values are {expected_bytes} bytes{}",
        fits(*got_bytes, *len, *hidden_size)
    )]
    WrongSize {
        got_bytes: usize,
        expected_bytes: u128,
        len: usize,
        hidden_size: usize,
    },
    #[error("{got} values are no whole number of rows of width H = {hidden_size}; give P x {hidden_size} values")]
    RaggedValues { got: usize, hidden_size: usize },
    #[error(
        "the prefix is made for H = {got}, but this model's rows are H = {hidden_size} wide; build the prefix again for this model"
    )]
    WrongWidth { got: usize, hidden_size: usize },
    #[error(
        "value {column} of row {row} is {value} in bf16; every value must be finite, because one NaN or infinite row poisons \
         all later positions: choose a smaller magnitude or correct the data"
    )]
    NotFinite { row: usize, column: usize, value: bf16 },
    #[error("the magnitude is {value}; give a finite number")]
    MagnitudeNotFinite { value: f64 },
    #[error("the magnitude is {value} token norms; a norm cannot be negative, give 0 or more")]
    MagnitudeNegative { value: f64 },
    #[error(
        "a magnitude in token norms needs the vocabulary's median norm, got {got}; ask the unit for its vocabulary first, or give a raw value"
    )]
    MedianNormUnusable { got: String },
    #[error("a prefix made from words needs the embedding rows of {text:?}; ask the unit to embed the text first")]
    RowsMissing { text: String },
    #[error("the text {text:?} has no tokens, so there are no rows to make a prefix of; write at least one word")]
    NoTokens { text: String },
    #[error(
        "\"unscaled\" means rows as they are, of words or of a file; a {kind} prefix needs a magnitude, raw or in token norms"
    )]
    UnscaledNeedsWords { kind: &'static str },
    #[error("the blend stands at t = {t}; give a number from 0 (the first text) to 1 (the second)")]
    BlendOutOfRange { t: f64 },
    #[error(
        "{text:?} and {minus:?} have the same mean row, so there is no contrast between them; choose two different texts"
    )]
    NoContrast { text: String, minus: String },
    #[error("a prefix of sampled tokens needs the rows of those tokens; ask the unit to draw them first")]
    SampleMissing,
    #[error("the rows imported from {name:?} (sha256 {sha256}) are not at hand; import the file again")]
    StoredMissing { name: String, sha256: String },
    #[error(
        "the rows at hand for {name:?} have the sha256 {found}, but the recipe names {sha256}; import the original file again"
    )]
    StoredDiffers {
        name: String,
        sha256: String,
        found: String,
    },
    #[error("the envelope has no points; draw it, or remove it")]
    EnvelopeEmpty,
    #[error("point {point} of the envelope is {value}; every factor must be finite: draw it again")]
    EnvelopeNotFinite { point: usize, value: f64 },
    /// The window's numbers: prefix, prompt (template and text) and window.
    #[error(
        "{prefix} prefix rows + {prompt} prompt tokens ({template} of them the template) + {output} for the output are {}, \
         but the window holds {window} positions; {}",
        *prefix as u128 + *prompt as u128 + *output as u128,
        window_remedy(*prefix, *prompt, *window)
    )]
    WindowExceeded {
        prefix: usize,
        template: usize,
        prompt: usize,
        output: usize,
        window: usize,
    },
}

fn fits(got_bytes: usize, len: usize, hidden_size: usize) -> String {
    let row_bytes = hidden_size.saturating_mul(2);
    if row_bytes != 0 && got_bytes != 0 && got_bytes.is_multiple_of(row_bytes) {
        let rows = got_bytes / row_bytes;
        format!(" (these would be P = {rows}); send len = {rows}, or the rows that are missing")
    } else if got_bytes != 0 && len != 0 && got_bytes.is_multiple_of(len.saturating_mul(2)) {
        let width = got_bytes / (len * 2);
        format!(" (these would be rows of H = {width}); build the prefix for this model's H = {hidden_size}")
    } else {
        format!("; send exactly P x {hidden_size} little-endian bf16 words")
    }
}

fn window_remedy(prefix: usize, prompt: usize, window: usize) -> String {
    match window.checked_sub(prompt) {
        Some(room) if room > 1 && prefix >= room => format!("shorten the prefix below P = {room} or the prompt"),
        _ => "shorten the prompt, the prefix or the output".to_owned(),
    }
}

/// Checks P and H before memory is taken for so many values.
pub(super) fn check_size(len: usize, hidden_size: usize) -> Result<(), PrefixError> {
    if hidden_size == 0 {
        return Err(PrefixError::HiddenSizeZero);
    }
    if len == 0 {
        return Err(PrefixError::LengthZero);
    }
    if len > MAX_LEN {
        return Err(too_large(len));
    }
    if len.checked_mul(hidden_size).is_none_or(|values| values > MAX_VALUES) {
        return Err(PrefixError::TooManyValues {
            len,
            hidden_size,
            limit: MAX_VALUES,
        });
    }
    Ok(())
}

pub(super) fn too_large(len: impl ToString) -> PrefixError {
    PrefixError::LengthTooLarge {
        len: len.to_string(),
        limit: MAX_LEN,
    }
}
