//! What an engine differentiates, where it can: how unlikely a model finds wanted tokens, with respect to its first rows. It knows no
//! model.

use std::sync::Arc;

use half::bf16;

use crate::errors::EngineError;

/// One text behind some rows that are learned, and what is wanted of the model's predictions.
#[derive(Debug, Clone)]
pub struct Example {
    /// n x H embedding rows, those that are learned first.
    pub rows: Vec<bf16>,
    /// How many rows are learned.
    pub learned: usize,
    /// What is wanted after the last rows: the first for the row `targets.len()` before the end. At least one, at most n.
    pub targets: Vec<Target>,
    /// What each target's loss is multiplied by.
    pub weight: f32,
}

/// What a model is to predict at one place.
#[derive(Debug, Clone)]
pub enum Target {
    /// This token: the loss is -ln of its probability.
    Token(u32),
    /// What these V logits predict: the loss is KL(these || the prediction).
    Logits(Arc<[f32]>),
}

/// What one example came to.
#[derive(Debug, Clone, PartialEq)]
pub struct Gradient {
    /// The sum of the targets' losses times the weight, in nats, of a forward pass in f32.
    pub loss: f64,
    /// Its derivative with respect to the learned rows, row by row. Not finite where the model's numbers leave the range of f32.
    pub rows: Vec<f32>,
}

/// An engine that can differentiate. One example at a time, in shares of work between which the engine may be used for anything else.
///
/// The rule for every implementation: the numbers are the same bits on any number of threads.
pub trait Differentiable {
    /// Bytes that an example of so many rows and targets takes while it is worked on.
    fn gradient_bytes(&self, rows: usize, targets: usize) -> usize;

    /// Takes an example; one that is being worked on is given up.
    ///
    /// # Errors
    /// [`EngineError::RaggedRows`], [`EngineError::WindowExceeded`], [`EngineError::NoSuchToken`]; [`EngineError::Machinery`] for targets
    /// that do not fit the rows.
    fn begin_gradient(&mut self, example: Example) -> Result<(), EngineError>;

    /// Does a share of the work, some milliseconds; the gradient once all is done. `None` for ever where nothing was begun.
    fn advance_gradient(&mut self) -> Option<Gradient>;

    /// Frees what an example holds.
    fn give_up_gradient(&mut self);
}
