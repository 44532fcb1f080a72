//! Models on disk: finding, describing, fetching and loading them.
//!
//! [`ModelStore`] finds the models in [`Places`] and loads one with its engine, tokenizer and template. [`by_default`] and [`entry`]
//! name what can be fetched.

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
pub use catalogue::{CATALOGUE, Entry, MODULE_QWEN, by_default, entry, small};
#[cfg(feature = "fetch")]
pub use fetch::{
    FetchError, FetchOptions, FetchProgress, FetchSource, FetchStep, Fetched, HubError, SourceError, WheelError,
};
#[cfg(feature = "cpu")]
pub use places::{Place, Places};
#[cfg(feature = "cpu")]
pub use store::{FoundModel, ModelStore};
