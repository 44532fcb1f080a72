//! Gradients of a loss on a model's predictions with respect to the first embedding rows of a text.

use std::sync::Arc;

use half::bf16;

use crate::errors::EngineError;

/// A text with learned rows in front, and the targets of its predictions.
#[derive(Debug, Clone)]
pub struct Example {
    /// n x H embedding rows, the learned ones first.
    pub rows: Vec<bf16>,
    /// Number of learned rows.
    pub learned: usize,
    /// Targets of the predictions after the last `targets.len()` rows. At least one, at most n.
    pub targets: Vec<Target>,
    /// Factor of the loss.
    pub weight: f32,
}

/// What the model should predict at one position.
#[derive(Debug, Clone)]
pub enum Target {
    /// This token: the loss is -ln p(token).
    Token(u32),
    /// The distribution of these V logits: the loss is KL(these || the prediction).
    Logits(Arc<[f32]>),
}

/// The result of one example.
#[derive(Debug, Clone, PartialEq)]
pub struct Gradient {
    /// Weighted sum of the targets' losses in nats, from a forward pass in f32.
    pub loss: f64,
    /// Its derivative with respect to the learned rows, learned x H. Not finite if the computation overflows f32.
    pub rows: Vec<f32>,
}

/// Computes gradients, one example at a time, in pieces of work between which the engine can run other steps.
///
/// The results must be the same bits on any number of threads.
pub trait Differentiable {
    /// Returns the bytes needed for an example of so many rows and targets.
    fn gradient_bytes(&self, rows: usize, targets: usize) -> usize;

    /// Begins an example; one in progress is aborted.
    ///
    /// # Errors
    /// [`EngineError::RaggedRows`], [`EngineError::WindowExceeded`], [`EngineError::NoSuchToken`]; [`EngineError::InvalidExample`] if the
    /// targets do not fit the rows.
    fn begin_gradient(&mut self, example: Example) -> Result<(), EngineError>;

    /// Does a few milliseconds of work, and returns the gradient when it is complete. Returns `None` if no example was begun.
    fn advance_gradient(&mut self) -> Option<Gradient>;

    /// Aborts the example in progress and frees its memory.
    fn abort_gradient(&mut self);
}
