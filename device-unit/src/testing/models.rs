//! The real models that tests run on, found or fetched by the product's own code. Compiled for tests only.

use std::path::PathBuf;

use crate::models::ModelStore;

/// Set to 1, tests run on the Qwen 0.5B model too.
const WITH_QWEN: &str = "SOFTPREFIX_TEST_QWEN";

/// SmolLM2-135M, fetched (98 MB) where it is not there yet.
///
/// Safe to call from many tests and programs at once: one fetches, the others wait.
///
/// # Panics
/// Where it cannot be had, with the sentence that says why.
#[must_use]
pub fn small_model() -> PathBuf {
    fetched("small")
}

/// Qwen2.5-Coder-0.5B where `SOFTPREFIX_TEST_QWEN` is 1, fetched (491 MB) where it is not there yet; else `None`.
///
/// # Panics
/// Where it was asked for and cannot be had, with the sentence that says why.
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

/// A build that cannot fetch (for another processor) runs on what other tests have fetched.
#[cfg(not(feature = "fetch"))]
fn fetched(name: &str) -> PathBuf {
    let found = ModelStore::from_env().find(name);
    found
        .unwrap_or_else(|| {
            panic!("there is no model {name:?} here; run this package's tests with the feature `fetch` first")
        })
        .path
}
