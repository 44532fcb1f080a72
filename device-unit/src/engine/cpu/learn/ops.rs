//! Derivatives of the operations between the products: the gradient of an operation's input from the gradient of its output.

use crate::engine::cpu::kernel::Kernel;
use crate::engine::cpu::kernel::math::{LANES, exp, largest, sum};
use crate::engine::gradient::Target;

/// Adds to `out` the gradient of a row x from the gradient `d` of the normalised row:
///
/// ```text
/// y[i] = x[i] s w[i]      s = (mean of squares + epsilon)^(-1/2)
/// out[i] += s w[i] d[i] - x[i] s^3 / width * sum over j of  w[j] d[j] x[j]
/// ```
pub struct RmsNormBackward<'a> {
    pub x: &'a [f32],
    pub weight: &'a [f32],
    pub epsilon: f32,
    pub d: &'a [f32],
    pub out: &'a mut [f32],
}

impl Kernel for RmsNormBackward<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self {
            x,
            weight,
            epsilon,
            d,
            out,
        } = self;
        // In f64, because the squares of large bf16 values overflow f32.
        let (mut squares, mut dots) = ([0.0f64; LANES], [0.0f64; LANES]);
        for ((x, weight), d) in x.chunks(LANES).zip(weight.chunks(LANES)).zip(d.chunks(LANES)) {
            for (lane, ((&x, &weight), &d)) in x.iter().zip(weight).zip(d).enumerate() {
                squares[lane] += f64::from(x) * f64::from(x);
                dots[lane] += f64::from(weight * d) * f64::from(x);
            }
        }
        let (squares, dot): (f64, f64) = (squares.into_iter().sum(), dots.into_iter().sum());
        let width = x.len() as f64;
        let scale = 1.0 / (squares / width + f64::from(epsilon)).sqrt();
        let (scale, correction) = (scale as f32, (scale * scale * scale * dot / width) as f32);
        for (((out, &x), &weight), &d) in out.iter_mut().zip(x).zip(weight).zip(d) {
            *out += scale * weight * d - x * correction;
        }
    }
}

/// Computes the gradient of gate and up from `gated`, the gradient of silu(gate) up.
pub struct SwiGluBackward<'a> {
    pub gate_up: &'a [f32],
    pub gated: &'a [f32],
    pub out: &'a mut [f32],
}

impl Kernel for SwiGluBackward<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let width = self.gated.len();
        let (gates, ups) = self.gate_up.split_at(width);
        let (of_gates, of_ups) = self.out.split_at_mut(width);
        for ((((of_gate, of_up), &gate), &up), &d) in
            of_gates.iter_mut().zip(of_ups).zip(gates).zip(ups).zip(self.gated)
        {
            let sigmoid = 1.0 / (1.0 + exp(-gate));
            *of_gate = d * up * sigmoid * (1.0 + gate * (1.0 - sigmoid));
            *of_up = d * gate * sigmoid;
        }
    }
}

/// Replaces the logits by the gradient of a target's weighted loss, and returns that loss.
pub struct LossGradient<'a> {
    pub logits: &'a mut [f32],
    pub target: &'a Target,
    pub weight: f32,
}

impl Kernel for LossGradient<'_> {
    type Output = f64;

    #[inline(always)]
    fn run(self) -> f64 {
        let Self { logits, target, weight } = self;
        let loss = match target {
            Target::Token(token) => {
                let logit_of_token = logits.get(*token as usize).copied().unwrap_or(f32::NAN);
                let (highest, total) = softmax_times(logits, weight);
                if let Some(logit) = logits.get_mut(*token as usize) {
                    *logit -= weight;
                }
                f64::from(highest) - f64::from(logit_of_token) + libm::log(f64::from(total))
            }
            Target::Logits(expected) => {
                let mut probabilities = expected.to_vec();
                let (expected_highest, expected_total) = softmax_times(&mut probabilities, 1.0);
                // Sum of p_expected (expected - ours), in the order of the tokens.
                let mut difference = [0.0f64; LANES];
                for ((probabilities, expected), ours) in probabilities
                    .chunks(LANES)
                    .zip(expected.chunks(LANES))
                    .zip(logits.chunks(LANES))
                {
                    for (lane, ((&probability, &expected), &ours)) in
                        probabilities.iter().zip(expected).zip(ours).enumerate()
                    {
                        difference[lane] += f64::from(probability) * (f64::from(expected) - f64::from(ours));
                    }
                }
                let (highest, total) = softmax_times(logits, weight);
                for (logit, probability) in logits.iter_mut().zip(&probabilities) {
                    *logit -= weight * probability;
                }
                let difference: f64 = difference.into_iter().sum();
                let ln = |highest: f32, total: f32| f64::from(highest) + libm::log(f64::from(total));
                difference - ln(expected_highest, expected_total) + ln(highest, total)
            }
        };
        loss * f64::from(weight)
    }
}

/// Replaces the logits by `weight` times their probabilities. Returns the highest logit, and the sum of e^(logit - highest).
#[inline(always)]
fn softmax_times(logits: &mut [f32], weight: f32) -> (f32, f32) {
    let highest = largest(logits);
    for logit in logits.iter_mut() {
        *logit = exp(*logit - highest);
    }
    let total = sum(logits);
    let factor = weight / total;
    for logit in logits.iter_mut() {
        *logit *= factor;
    }
    (highest, total)
}
