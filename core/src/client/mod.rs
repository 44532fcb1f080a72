//! The async StackFlow client: connection, module, task. It knows TCP and the protocol, and nothing of how a unit computes.
//!
//! [`Module::connect`] → [`Module::set_up`] → [`Task::infer`] → [`Inference::next`]. Every wait has a limit, every failure is a
//! sentence with a remedy, and a peer that is silent, talks nonsense or forgets its tasks is survived. What a module promises is
//! told by [`Task::support`]: our own unit runs many inferences of one task at once and confirms every prefix; any other is
//! taken for a stranger, which gets one inference at a time.

mod connection;
mod error;
mod inference;
mod module;
mod score;
mod task;

pub use error::ClientError;
pub use inference::{Inference, InferenceEvent, InferenceRequest, Note, Outcome};
pub use module::{ConnectOptions, DEFAULT_PORT, Module};
pub use score::{ScoreRequest, ScoredText};
pub use task::Task;
