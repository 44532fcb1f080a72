//! Errors of prefixes. Each message says what happened, to what, and what to do.

use std::borrow::Cow;

use half::bf16;
use serde::{Deserialize, Serialize};

use super::recipe::{MAX_LEN, MAX_VALUES};

/// Why a prefix was refused.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum PrefixError {
    /// P is 0. Sending no prefix is allowed.
    #[error(
        "the prefix length P is 0; send at least one row, or no prefix at all (these are two different experiments)"
    )]
    LengthZero,
    /// P is below 0.
    #[error("the prefix length P is {len}, which is negative; P counts rows and starts at 1")]
    LengthNegative {
        /// P as it was sent.
        len: i64,
    },
    /// `len` is of another type, or has a fraction.
    #[error("the prefix length P is {got}, which is not a whole number; send \"len\" as an integer of at least 1")]
    LengthNotANumber {
        /// The start of what was sent.
        got: String,
    },
    /// P is more than [`MAX_LEN`].
    #[error("the prefix length P = {len} is more than any model's window holds (limit {limit}); choose a smaller P")]
    LengthTooLarge {
        /// P as it was sent, which may not fit any integer type.
        len: String,
        /// [`MAX_LEN`].
        limit: usize,
    },
    /// P x H is more than [`MAX_VALUES`].
    #[error(
        "a prefix of P = {len} rows of H = {hidden_size} values is larger than any message can be ({limit} values); check H, or choose a smaller P"
    )]
    TooManyValues {
        /// P.
        len: usize,
        /// H of the model.
        hidden_size: usize,
        /// [`MAX_VALUES`].
        limit: usize,
    },
    /// H is 0: the model's width is not known.
    #[error("the hidden size H is 0; take H from the model card (tokens_embed_size)")]
    HiddenSizeZero,
    /// `soft_prefix` is of another JSON type.
    #[error("soft_prefix is {got}, not an object; send {{\"len\": P, \"data_b64\": \"...\"}}")]
    NotAnObject {
        /// The start of what was sent.
        got: String,
    },
    /// `soft_prefix` does not have both of its fields.
    #[error("soft_prefix has no {field:?}; send {{\"len\": P, \"data_b64\": \"...\"}}")]
    FieldMissing {
        /// `len` or `data_b64`.
        field: Cow<'static, str>,
    },
    /// `data_b64` is of another JSON type.
    #[error("soft_prefix.data_b64 is {got}, not a string; send the base64 of P x H little-endian bf16 words")]
    DataNotAString {
        /// The start of what was sent.
        got: String,
    },
    /// `data_b64` holds characters outside the standard alphabet, or is cut.
    #[error(
        "soft_prefix.data_b64 is not base64 ({detail}); encode the P x H little-endian bf16 words with the standard alphabet"
    )]
    NotBase64 {
        /// What the decoder found, with its place.
        detail: String,
    },
    /// The data does not have P x H x 2 bytes. The message also names the P or H that the data would fit.
    #[error(
        "the prefix holds {got_bytes} bytes, but P = {len} rows of H = {hidden_size} bf16 values are {expected_bytes} bytes{}",
        fits(*got_bytes, *len, *hidden_size)
    )]
    WrongSize {
        /// Bytes after decoding.
        got_bytes: usize,
        /// P x H x 2; a `u128`, since a peer chooses P.
        expected_bytes: u128,
        /// P as it was sent.
        len: usize,
        /// H of the model.
        hidden_size: usize,
    },
    /// The number of values is no multiple of H.
    #[error("{got} values are not a whole number of rows of H = {hidden_size} values; give P x {hidden_size} values")]
    RaggedValues {
        /// Number of values.
        got: usize,
        /// H.
        hidden_size: usize,
    },
    /// The rows are those of a model of another width.
    #[error(
        "the prefix is made for a hidden size of {got}, but this model's is {hidden_size}; build the prefix again for this model"
    )]
    WrongWidth {
        /// Width of the rows.
        got: usize,
        /// H of the model.
        hidden_size: usize,
    },
    /// A value is NaN or infinite. The first one is named.
    #[error(
        "value {} of row {} is {value} in bf16; every value must be finite, because one NaN or infinite row poisons \
         all later positions: choose a smaller magnitude or correct the data",
        column + 1,
        row + 1
    )]
    NotFinite {
        /// Row of the value, from 0.
        row: usize,
        /// Place in the row, from 0.
        column: usize,
        /// The value after rounding.
        value: bf16,
    },
    /// The magnitude is NaN or infinite.
    #[error("the magnitude is {value}; give a finite number")]
    MagnitudeNotFinite {
        /// The magnitude as given.
        value: f64,
    },
    /// A magnitude in token norms is below 0. Raw values may be.
    #[error("the magnitude is {value} token norms; a norm cannot be negative, give 0 or more")]
    MagnitudeNegative {
        /// The magnitude as given, in token norms.
        value: f64,
    },
    /// The vocabulary's median norm is unknown, 0, or not finite.
    #[error(
        "a magnitude in token norms needs the vocabulary's median norm, got {got}; ask the unit for its vocabulary first, or give a raw value"
    )]
    MedianNormUnusable {
        /// The median as given, or `none`.
        got: String,
    },
    /// No rows were given for a text that the recipe needs.
    #[error("a prefix made from words needs the embedding rows of {text:?}; ask the unit to embed the text first")]
    RowsMissing {
        /// The text.
        text: String,
    },
    /// The rows given for a text are empty: the tokenizer gave no token.
    #[error("the text {text:?} has no tokens, so there are no rows to make a prefix of; write at least one word")]
    NoTokens {
        /// The text.
        text: String,
    },
    /// [`Magnitude::Unscaled`](super::Magnitude::Unscaled) on a kind that does not allow it
    /// ([`PrefixKind::allows_unscaled`](super::PrefixKind::allows_unscaled)).
    #[error(
        "\"unscaled\" means rows as they are, of words or of a file; a {kind} prefix needs a magnitude, raw or in token norms"
    )]
    // The name in records of earlier versions.
    #[serde(rename = "unscaled_needs_own_size")]
    MagnitudeMissing {
        /// [`PrefixKind::name`](super::PrefixKind::name).
        kind: Cow<'static, str>,
    },
    /// The position of a blend is outside 0 to 1.
    #[error("the position of the blend is t = {t}; give a number from 0 (the first end) to 1 (the second)")]
    BlendOutOfRange {
        /// The position as given.
        t: f64,
    },
    /// Both texts of a contrast have the same mean row, so the difference is zero.
    #[error(
        "{text:?} and {minus:?} have the same mean row, so there is no contrast between them; choose two different texts"
    )]
    NoContrast {
        /// The first text.
        text: String,
        /// The text that is subtracted.
        minus: String,
    },
    /// No rows were given for the drawn tokens.
    #[error("a prefix of sampled tokens needs the rows of those tokens; ask the unit to draw them first")]
    SampleMissing,
    /// No rows were given for an imported prefix.
    #[error("the rows imported from {name:?} (sha256 {sha256}) are not stored here; import the file again")]
    StoredMissing {
        /// Name under which the prefix was imported.
        name: String,
        /// Digest that the recipe names.
        sha256: String,
    },
    /// The file of an imported prefix is there and cannot be read.
    #[error("the stored rows of {name:?} cannot be used: {detail}; import the original file again")]
    StoredUnreadable {
        /// Name under which the prefix was imported.
        name: String,
        /// What happened to which file.
        detail: String,
    },
    /// The rows given for an imported prefix are not those that the recipe names.
    #[error(
        "the stored rows of {name:?} have the sha256 {found}, but the recipe names {sha256}; import the original file again"
    )]
    StoredDiffers {
        /// Name under which the prefix was imported.
        name: String,
        /// Digest that the recipe names.
        sha256: String,
        /// Digest of the rows given.
        found: String,
    },
    /// A number of a subspace, or of a point in it, cannot be used.
    #[error("the point of a search cannot be used: {detail}; search again from the parent prefix")]
    SubspaceUnusable {
        /// What is wrong with it.
        detail: String,
    },
    /// An envelope without points.
    #[error("the envelope has no points; draw it, or remove it")]
    EnvelopeEmpty,
    /// A point of the envelope is NaN or infinite. The first one is named.
    #[error("point {} of the envelope is {value}; every factor must be finite: draw it again", point + 1)]
    EnvelopeNotFinite {
        /// Index of the point, from 0.
        point: usize,
        /// Its factor.
        value: f64,
    },
    /// Prefix, prompt and output need more positions than the window has.
    #[error(
        "{prefix} prefix rows + {prompt} prompt tokens ({template} of them the template) + {output} for the output are {}, \
         but the window holds {window} positions; {}",
        *prefix as u128 + *prompt as u128 + *output as u128,
        window_remedy(*prefix, *prompt, *window)
    )]
    WindowExceeded {
        /// Rows of the prefix, P.
        prefix: usize,
        /// Tokens of the chat template, part of `prompt`.
        template: usize,
        /// Tokens of the template and of the user's text.
        prompt: usize,
        /// Tokens for which the output needs room.
        output: usize,
        /// Positions of the window.
        window: usize,
    },
}

fn fits(got_bytes: usize, len: usize, hidden_size: usize) -> String {
    let row_bytes = hidden_size.saturating_mul(2);
    if row_bytes != 0 && got_bytes != 0 && got_bytes.is_multiple_of(row_bytes) {
        let rows = got_bytes / row_bytes;
        format!(" (these would be P = {rows}); send len = {rows}, or {len} rows")
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

/// Checks P and H before memory is allocated by them.
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
