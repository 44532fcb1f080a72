//! The gradient of a loss with respect to the first rows of a sequence: a forward pass in f32 that keeps activations, and a backward
//! pass, both with the packed weights.
//!
//! Only rows are learned, so only gradients of activations are needed. d is the gradient of the residual stream x, and a matrix W has a
//! row for each output, so that a product is y = x W^T forward and dx = dy W backward. A layer, from its end:
//!
//! ```text
//! d_gated    = d W_down        d_gate_up = gradient of silu(gate) up, given d_gated
//! d         += gradient of rms_norm, given d_gate_up W_gate_up
//! d_attended = d W_output      d_qkv = gradient of attention, given d_attended
//! d         += gradient of rms_norm, given d_qkv W_qkv
//! ```
//!
//! Each layer keeps its input, its queries, keys and values, the residual stream between attention and feed-forward, and the gates. Unlike
//! the engine's own forward pass, this one does not round activations to 8-bit integers: it gives the direction of a step, and the engine
//! evaluates the result.
//!
//! A gradient is the same bits on any number of threads and any processor, because each sum has a fixed order, as in `kernel`. The
//! scheduler's updates of the rows sum in a fixed order as well, so the same seed gives the same rows everywhere. A test compares the
//! digest of learned rows over all tiers.

mod attention;
mod ops;

use half::bf16;

use super::config::Config;
use super::forward::Model;
use super::kernel::float::{matmul, matmul_transposed};
use super::weights::{Layer, Linear};
use crate::engine::EngineError;
use crate::engine::gradient::{Example, Gradient, Target};
use attention::Heads;
use ops::{LossGradient, RmsNormBackward, SwiGluBackward};

/// The forward and backward pass of one example.
pub struct GradientPass {
    targets: Vec<Target>,
    loss_weight: f32,
    learned_rows: usize,
    row_count: usize,
    /// Cosines and sines of each row.
    angles: Vec<f32>,
    /// Rows x H: the residual stream, in the backward pass its gradient.
    x: Vec<f32>,
    activations: Vec<LayerActivations>,
    /// Targets x V (the vocabulary's size): logits, then their gradient.
    logits: Vec<f32>,
    loss: f64,
    stage: Stage,
}

/// Activations of one layer that the backward pass needs.
struct LayerActivations {
    /// Rows x H: the input of the layer.
    x: Vec<f32>,
    /// Rows x (queries + keys + values), before normalisation and rotation.
    qkv: Vec<f32>,
    /// Rows x H: the residual stream after attention, the input of the feed-forward half.
    middle: Vec<f32>,
    /// Rows x (gate + up).
    gate_up: Vec<f32>,
}

/// The pieces of work, in order.
#[derive(Clone, Copy)]
enum Stage {
    Forward(usize),
    Logits,
    Loss,
    Backward(usize),
}

/// Returns the maximum bytes of a pass over `rows` rows with `targets` targets: four for each value of these buffers, where qkv is the
/// width of queries, keys and values together, and gate_up that of both gates.
///
/// | buffers | values |
/// |---|---|
/// | the activations of all layers ([`LayerActivations`]: `x`, `middle`, `qkv`, `gate_up`) | rows x layers x (2 H + qkv + gate_up) |
/// | the cosines and sines of the rows' positions | rows x angles |
/// | of one layer: the residual stream, the normalised rows, and a copy of each in tiles while it is multiplied | rows x 4 H |
/// | of one layer: the product qkv, the heads made from it, the gradient of either, and a copy in tiles | rows x 4 qkv |
/// | of one layer: the gates, the gated values, the gradient of either, and a copy in tiles | rows x 4 gate_up |
/// | attention, of one query head of every key head at a time: probabilities, gradients of the scores, and the transpose of each | rows x rows x 4 key heads |
/// | the logits, or their gradient, and a copy in tiles | targets x 2 V |
/// | the normalised rows of the targets, their gradient, and a copy of each in tiles | targets x 4 H |
pub fn pass_bytes(config: &Config, vocab_size: usize, rows: usize, targets: usize) -> usize {
    let hidden = config.hidden_size;
    let qkv = config.query_width() + 2 * config.kv_width();
    let gate_up = 2 * config.feed_forward;
    let activations = config.layers.saturating_mul(2 * hidden + qkv + gate_up);
    let one_layer = 4 * hidden + 4 * qkv + 4 * gate_up;
    let per_row = activations
        .saturating_add(config.rope.angles_len())
        .saturating_add(one_layer);
    let attention = rows.saturating_mul(rows).saturating_mul(4 * config.kv_heads);
    let per_target = 2 * vocab_size + 4 * hidden;
    rows.saturating_mul(per_row)
        .saturating_add(attention)
        .saturating_add(targets.saturating_mul(per_target))
        .saturating_mul(size_of::<f32>())
}

impl GradientPass {
    /// A pass over one example; `window` is the largest number of rows.
    ///
    /// # Errors
    /// [`EngineError::RaggedRows`], [`EngineError::WindowExceeded`], [`EngineError::NoSuchToken`]; [`EngineError::InvalidExample`] without
    /// targets, with more targets or learned rows than rows, and for logits of another vocabulary.
    pub fn new(model: &Model, example: Example, vocab_size: usize, window: usize) -> Result<Self, EngineError> {
        let Example {
            rows: values,
            learned: learned_rows,
            targets,
            weight: loss_weight,
        } = example;
        let (got, hidden_size) = (values.len(), model.config.hidden_size);
        if values.is_empty() || got % hidden_size != 0 {
            return Err(EngineError::RaggedRows { got, hidden_size });
        }
        let row_count = got / hidden_size;
        if row_count > window {
            return Err(EngineError::WindowExceeded {
                wanted: row_count,
                window,
            });
        }
        for target in &targets {
            match target {
                Target::Token(token) if *token as usize >= vocab_size => {
                    let token = *token;
                    return Err(EngineError::NoSuchToken { token, vocab_size });
                }
                Target::Logits(logits) if logits.len() != vocab_size => {
                    return Err(invalid_example(format!("{} logits of {vocab_size}", logits.len())));
                }
                _ => {}
            }
        }
        if targets.is_empty() || targets.len() > row_count || learned_rows > row_count {
            return Err(invalid_example(format!(
                "{} targets and {learned_rows} learned rows of {row_count}",
                targets.len()
            )));
        }
        let width = model.config.rope.angles_len();
        let mut angles = vec![0.0; row_count * width];
        for (position, angles) in angles.chunks_exact_mut(width).enumerate() {
            model.config.rope.angles(position, angles);
        }
        Ok(Self {
            targets,
            loss_weight,
            learned_rows,
            row_count,
            angles,
            x: values.into_iter().map(bf16::to_f32).collect(),
            activations: Vec::with_capacity(model.weights.layers.len()),
            logits: Vec::new(),
            loss: 0.0,
            stage: Stage::Forward(0),
        })
    }

    /// Does the next piece of work, and returns the gradient after the last one.
    pub fn step(&mut self, model: &Model) -> Option<Gradient> {
        match self.stage {
            Stage::Forward(number) => {
                self.stage = match model.weights.layers.get(number) {
                    Some(layer) => {
                        self.forward(model, layer);
                        Stage::Forward(number + 1)
                    }
                    None => Stage::Logits,
                };
            }
            Stage::Logits => {
                self.compute_logits(model);
                self.stage = Stage::Loss;
            }
            Stage::Loss => {
                self.begin_backward(model);
                self.stage = Stage::Backward(self.activations.len());
            }
            Stage::Backward(layers_left) => {
                let activations = self.activations.pop();
                match (activations, layers_left.checked_sub(1)) {
                    (Some(activations), Some(number)) => {
                        self.backward(model, &model.weights.layers[number], &activations);
                        self.stage = Stage::Backward(number);
                    }
                    _ => {
                        return Some(Gradient {
                            loss: self.loss,
                            rows: self.x[..self.learned_rows * model.config.hidden_size].to_vec(),
                        });
                    }
                }
            }
        }
        None
    }

    fn forward(&mut self, model: &Model, layer: &Layer) {
        let mut normed = Vec::new();
        let x = self.x.clone();
        model.norm(&x, &layer.attention_norm, &mut normed);
        let qkv = linear(model, &layer.qkv, &normed);
        let attended = Heads::of(model, layer, &self.angles, &qkv).attend(model);
        add(&mut self.x, &linear(model, &layer.output, &attended));
        let middle = self.x.clone();
        model.norm(&middle, &layer.feed_forward_norm, &mut normed);
        let gate_up = linear(model, &layer.gate_up, &normed);
        let width = model.config.feed_forward;
        let mut gated = vec![0.0; self.row_count * width];
        model.gate(&gate_up, &mut gated);
        add(&mut self.x, &linear(model, &layer.down, &gated));
        self.activations.push(LayerActivations {
            x,
            qkv,
            middle,
            gate_up,
        });
    }

    /// Returns the index in `x` of the first value of the rows that predict targets.
    fn first_target_offset(&self, hidden_size: usize) -> usize {
        (self.row_count - self.targets.len()) * hidden_size
    }

    fn compute_logits(&mut self, model: &Model) {
        let mut normed = Vec::new();
        let last = &self.x[self.first_target_offset(model.config.hidden_size)..];
        model.norm(last, &model.weights.norm, &mut normed);
        self.logits = linear(model, &model.weights.vocabulary, &normed);
    }

    /// Computes the loss, and its gradient with respect to the last layer's output.
    fn begin_backward(&mut self, model: &Model) {
        let hidden_size = model.config.hidden_size;
        let vocabulary = &model.weights.vocabulary.matrix;
        let mut losses = vec![0.0; self.targets.len()];
        let (targets, weight) = (&self.targets, self.loss_weight);
        let mut rows: Vec<(&mut [f32], &mut f64)> = self
            .logits
            .chunks_exact_mut(vocabulary.outputs())
            .zip(&mut losses)
            .collect();
        model.pool.for_each_piece(&mut rows, 1, |number, row| {
            for (logits, loss) in row {
                **loss = model.tier.run(LossGradient {
                    logits,
                    target: &targets[number],
                    weight,
                });
            }
        });
        self.loss = losses.iter().sum();
        let mut normed = vec![0.0; self.targets.len() * hidden_size];
        matmul_transposed(&model.pool, model.tier, vocabulary, &self.logits, &mut normed);
        self.logits = Vec::new();
        let last = self.first_target_offset(hidden_size);
        let x = std::mem::replace(&mut self.x, vec![0.0; self.row_count * hidden_size]);
        rms_norm_backward(model, &x[last..], &model.weights.norm, &normed, &mut self.x[last..]);
    }

    fn backward(&mut self, model: &Model, layer: &Layer, activations: &LayerActivations) {
        let gated = linear_backward(model, &layer.down, &self.x);
        let mut gate_up = vec![0.0; activations.gate_up.len()];
        let width = model.config.feed_forward;
        model.for_each_row(&mut gate_up, 2 * width, |row, out| {
            model.tier.run(SwiGluBackward {
                gate_up: &activations.gate_up[row * 2 * width..(row + 1) * 2 * width],
                gated: &gated[row * width..(row + 1) * width],
                out,
            });
        });
        let normed = linear_backward(model, &layer.gate_up, &gate_up);
        rms_norm_backward(
            model,
            &activations.middle,
            &layer.feed_forward_norm,
            &normed,
            &mut self.x,
        );
        let attended = linear_backward(model, &layer.output, &self.x);
        let qkv = Heads::of(model, layer, &self.angles, &activations.qkv).attend_backward(
            model,
            layer,
            &activations.qkv,
            &attended,
        );
        let normed = linear_backward(model, &layer.qkv, &qkv);
        rms_norm_backward(model, &activations.x, &layer.attention_norm, &normed, &mut self.x);
    }
}

/// Returns `x` times the matrix, plus the bias.
fn linear(model: &Model, linear: &Linear, x: &[f32]) -> Vec<f32> {
    let Linear { matrix, bias } = linear;
    let mut out = vec![0.0; x.len() / matrix.inputs() * matrix.outputs()];
    matmul(&model.pool, model.tier, matrix, x, &mut out);
    if let Some(bias) = bias {
        out.chunks_exact_mut(bias.len()).for_each(|row| add(row, bias));
    }
    out
}

/// Returns the gradient of the input of [`linear`] from the gradient `d` of its output.
fn linear_backward(model: &Model, linear: &Linear, d: &[f32]) -> Vec<f32> {
    let matrix = &linear.matrix;
    let mut out = vec![0.0; d.len() / matrix.outputs() * matrix.inputs()];
    matmul_transposed(&model.pool, model.tier, matrix, d, &mut out);
    out
}

/// Adds to `out` the gradient of the rows `x` from the gradient `d` of the normalised rows.
fn rms_norm_backward(model: &Model, x: &[f32], weight: &[f32], d: &[f32], out: &mut [f32]) {
    let width = weight.len();
    model.for_each_row(out, width, |row, out| {
        model.tier.run(RmsNormBackward {
            x: &x[row * width..(row + 1) * width],
            weight,
            epsilon: model.config.rms_epsilon,
            d: &d[row * width..(row + 1) * width],
            out,
        });
    });
}

fn add(x: &mut [f32], y: &[f32]) {
    x.iter_mut().zip(y).for_each(|(x, y)| *x += y);
}

fn invalid_example(detail: String) -> EngineError {
    EngineError::InvalidExample { detail }
}

#[cfg(test)]
mod tests;
