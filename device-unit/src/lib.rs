//! The injector unit: an LLM unit for StackFlow that puts a soft prefix in front of the token embeddings before prefill.
//!
//! It knows the core, models on disk, engines and transports. It knows nothing of a user interface.

#[cfg(all(feature = "bus", unix))]
pub mod bus;
pub mod engine;
pub mod listen;
pub mod model;
#[cfg(feature = "cpu")]
pub mod models;
mod outbox;
mod request_text;
pub mod scheduler;
pub mod self_test;
#[cfg(feature = "testing")]
#[doc(hidden)]
pub mod testing;
pub mod tokenizer;
pub mod unit;
