//! The async StackFlow client: connection, module, task.
//!
//! [`Module::connect`] → [`Module::set_up`] → [`Task::infer`] → [`Inference::next`]. Every wait has a limit, every error message
//! names a remedy, and the client can handle a peer that is silent, sends garbage or forgets its tasks. [`Task::support`] describes what
//! the unit supports: our own unit runs many inferences of one task at once and confirms every prefix; any other is treated as a stock
//! unit, which gets one inference at a time.

mod abandoned_tasks;
mod connection;
mod error;
mod inference;
mod learn;
mod module;
mod score;
mod stop;
mod task;

pub use error::{ClientError, LocalRemedy};
pub use inference::{Inference, InferenceEvent, InferenceRequest, Note, Outcome};
pub use learn::Learning;
pub use module::{ConnectOptions, DEFAULT_PORT, Module};
pub use score::{ScoreRequest, ScoredText};
pub use stop::Stop;
pub use task::Task;
