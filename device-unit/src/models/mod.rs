//! Models on disk: where they are looked for, what they are, how missing ones are fetched, and how engine, tokenizer and
//! template are put together.
//!
//! It knows files, metadata and two ways over the network; it knows no task, no transport and no arithmetic.

#[cfg(feature = "npu")]
mod axera;
#[cfg(feature = "cpu")]
mod card;
#[cfg(feature = "cpu")]
mod catalogue;
#[cfg(feature = "cpu")]
mod digest;
#[cfg(feature = "fetch")]
mod fetch;
#[cfg(feature = "cpu")]
mod places;
#[cfg(feature = "cpu")]
mod store;

#[cfg(feature = "npu")]
pub use axera::AxeraModels;
#[cfg(feature = "cpu")]
pub use card::ModelInfo;
#[cfg(feature = "cpu")]
pub use catalogue::{CATALOGUE, Entry, MODULE_QWEN, by_default, entry};
#[cfg(feature = "fetch")]
pub use fetch::{FetchError, FetchOptions, FetchProgress, Fetched, HubError, Step, Way, WayError, WheelError};
#[cfg(feature = "cpu")]
pub use places::{Place, Places};
#[cfg(feature = "cpu")]
pub use store::{FoundModel, ModelStore};
