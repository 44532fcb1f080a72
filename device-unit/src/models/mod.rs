//! Models on disk: where they are looked for, what they are, and how missing ones are fetched.
//!
//! It knows files, metadata and two ways over the network; it knows no task, no transport and no arithmetic.

mod card;
mod catalogue;
mod digest;
#[cfg(feature = "fetch")]
mod fetch;
mod places;
mod store;

pub use card::ModelInfo;
pub use catalogue::{CATALOGUE, Entry, MODULE_QWEN, by_default, entry};
#[cfg(feature = "fetch")]
pub use fetch::{FetchError, FetchOptions, FetchProgress, Fetched, HubError, Step, Way, WayError, WheelError};
pub use places::Places;
pub use store::{FoundModel, ModelStore};
