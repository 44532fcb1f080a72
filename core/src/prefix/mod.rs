//! Soft prefixes: the value, its recipe, its wire form, its files, and its place in front of the token rows.
//!
//! A soft prefix is P embedding rows of width H (the model's hidden size) that take the positions 0..P-1, before every
//! token of the chat template. It is prompt tuning at the input embedding (Lester et al. 2021), not prefix tuning.

mod build;
mod error;
pub mod files;
mod generator;
mod inject;
mod mersenne;
mod recipe;
mod soft_prefix;
mod store;
mod subspace;
mod summary;
mod wire;

pub use build::envelope_at;
pub use error::PrefixError;
pub use generator::{Generator, split_mix};
pub use inject::{WindowBudget, inject};
pub use recipe::{
    BlendEndpoint, EmbeddingRows, FoundBy, Learned, LearnedInit, LearningSettings, MAX_HIDDEN_SIZE, MAX_LEN,
    MAX_VALUES, Magnitude, MagnitudeUnit, Need, NormLimit, Origin, PrefixKind, PrefixRecipe, SearchOrigin, TokenPiece,
};
pub use soft_prefix::{Rounding, SoftPrefix};
pub use store::{PrefixStore, PrefixStoreError};
pub use subspace::{MAX_DIMENSION, Subspace};
pub use summary::{COSINE_CAUTION, Neighbour, PrefixSummary};
pub use wire::{SentPrefix, SoftPrefixField, decode, decode_value, encode};
