//! What answers at an address. Changes nothing there.

use std::time::Duration;

use softprefix_core::client::{ClientError, ConnectOptions, Module};
use softprefix_core::protocol::card::ModelCard;
use softprefix_core::protocol::message::LLM;

/// A module, as it answers.
#[derive(Debug)]
pub struct ModuleProbe {
    pub address: String,
    pub latency: Duration,
    /// Version of llm-sys.
    pub version: String,
    pub cards: Vec<ModelCard>,
    /// Number of model cards that cannot be read.
    pub unreadable: usize,
    /// A module without an LLM unit answers with an error.
    pub tasks: Result<Vec<String>, ClientError>,
    /// Whether it runs our unit.
    pub ours: bool,
}

impl ModuleProbe {
    /// Asks the module at `address`.
    ///
    /// # Errors
    /// If it cannot be reached, or stops to answer.
    pub async fn at(address: &str, limits: ConnectOptions) -> Result<Self, ClientError> {
        let module = Module::connect(address, limits).await?;
        module.ping().await?;
        let latency = module.ping().await?;
        let version = module.version().await?;
        let (cards, unreadable) = module.model_list().await?;
        let tasks = answered(module.tasks().await)?;
        let ours = module.runs_our_unit(&cards).await?;
        Ok(Self {
            address: module.address().to_owned(),
            latency,
            version,
            cards,
            unreadable,
            tasks,
            ours,
        })
    }

    /// Returns the first language model.
    pub fn model(&self) -> Option<&ModelCard> {
        self.cards.iter().find(|card| card.kind == LLM)
    }
}

/// Returns the module's answer, including an error code.
///
/// # Errors
/// If there is no answer: the connection was lost or timed out.
fn answered<T>(reply: Result<T, ClientError>) -> Result<Result<T, ClientError>, ClientError> {
    match reply {
        Err(error @ (ClientError::Refused { .. } | ClientError::Unreadable { .. })) => Ok(Err(error)),
        Err(error) => Err(error),
        Ok(value) => Ok(Ok(value)),
    }
}
