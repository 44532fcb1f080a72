//! The real models for tests, found or fetched by the product's own code. Compiled for tests only.

use std::path::PathBuf;

use crate::models::ModelStore;

/// If this is 1, tests also run on the Qwen 0.5B model.
const WITH_QWEN: &str = "SOFTPREFIX_TEST_QWEN";

/// Returns the path of SmolLM2-135M, and fetches it (98 MB) if it is missing.
///
/// Can be called concurrently by many tests and processes: one fetches, the others wait.
///
/// # Panics
/// If the model is not available, with the error message.
#[must_use]
pub fn small_model() -> PathBuf {
    fetched("small")
}

/// Returns the path of Qwen2.5-Coder-0.5B if `SOFTPREFIX_TEST_QWEN` is 1, and fetches it (491 MB) if it is missing; else `None`.
///
/// # Panics
/// If it is requested but not available, with the error message.
#[must_use]
pub fn qwen_model() -> Option<PathBuf> {
    std::env::var_os(WITH_QWEN)
        .is_some_and(|value| value == "1")
        .then(|| fetched("qwen-coder"))
}

#[cfg(feature = "fetch")]
fn fetched(name: &str) -> PathBuf {
    use std::sync::atomic::AtomicBool;

    use crate::models::{Entry, FetchOptions, entry};

    let entries: Vec<&'static Entry> = entry(name).into_iter().collect();
    let outcome = ModelStore::from_env().fetch(&entries, &FetchOptions::from_env(), &AtomicBool::new(false), &|_| ());
    outcome.unwrap_or_else(|error| panic!("{error}")).path
}

/// A build without `fetch` (for another processor) uses what other tests have fetched.
#[cfg(not(feature = "fetch"))]
fn fetched(name: &str) -> PathBuf {
    let found = ModelStore::from_env().find(name);
    found
        .unwrap_or_else(|| {
            panic!("there is no model {name:?}; run this package's tests with the feature `fetch` first")
        })
        .path
}
