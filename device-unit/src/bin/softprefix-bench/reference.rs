//! A slow reference implementation of the models in f32 and f64, for comparison with the engine, here and in its tests. It shares only the
//! file reader with the engine.

use anyhow::{Context, Result};
use half::bf16;
use softprefix_unit::gguf::{GgufFile, dequantise};

/// Returns the logits after every row of `rows` (n x H), with the file's weights as stored.
///
/// # Errors
/// Fails if the file lacks metadata or a tensor.
pub fn logits(file: &GgufFile, rows: &[bf16]) -> Result<Vec<Vec<f32>>> {
    let architecture = file.str("general.architecture").context("no architecture")?;
    let number = |key: &str| -> Result<usize> {
        let value = file.u32(&format!("{architecture}.{key}"));
        Ok(value.with_context(|| format!("no {key}"))? as usize)
    };
    let float = |key: &str| {
        let value = file.f32(&format!("{architecture}.{key}"));
        value.with_context(|| format!("no {key}"))
    };
    let h = number("embedding_length")?;
    let (heads, kv_heads) = (number("attention.head_count")?, number("attention.head_count_kv")?);
    let head = h / heads;
    let base = f64::from(float("rope.freq_base")?);
    let epsilon = float("attention.layer_norm_rms_epsilon")?;
    let n = rows.len() / h;

    let mut x: Vec<f32> = rows.iter().map(|value| value.to_f32()).collect();
    for layer in 0..number("block_count")? {
        let name = |part: &str| format!("blk.{layer}.{part}");
        let normed = norm(&x, &vector(file, &name("attn_norm.weight"))?, epsilon);
        let project = |part: &str| -> Result<Vec<f32>> {
            let mut out = multiply(file, &name(&format!("{part}.weight")), &normed, n)?;
            if file.tensor(&name(&format!("{part}.bias"))).is_some() {
                let bias = vector(file, &name(&format!("{part}.bias")))?;
                out.chunks_exact_mut(bias.len())
                    .for_each(|row| row.iter_mut().zip(&bias).for_each(|(x, b)| *x += b));
            }
            Ok(out)
        };
        let (mut q, mut k, v) = (project("attn_q")?, project("attn_k")?, project("attn_v")?);
        for values in [(&mut q, heads), (&mut k, kv_heads)] {
            for (position, row) in values.0.chunks_exact_mut(values.1 * head).enumerate() {
                row.chunks_exact_mut(head)
                    .for_each(|part| rotate(part, position, base, architecture == "qwen2"));
            }
        }
        let mut attended = vec![0.0; n * h];
        for row in 0..n {
            for number in 0..heads {
                let kv = number / (heads / kv_heads) * head;
                let query = &q[row * h + number * head..][..head];
                let key = |t: usize| &k[t * kv_heads * head + kv..][..head];
                let scores: Vec<f64> = (0..=row).map(|t| dot(query, key(t)) / (head as f64).sqrt()).collect();
                let highest = scores.iter().copied().fold(f64::MIN, f64::max);
                let weights: Vec<f64> = scores.iter().map(|score| (score - highest).exp()).collect();
                let all: f64 = weights.iter().sum();
                for d in 0..head {
                    let value = |t: usize| f64::from(v[t * kv_heads * head + kv + d]);
                    let sum: f64 = weights.iter().enumerate().map(|(t, weight)| weight * value(t)).sum();
                    attended[row * h + number * head + d] = (sum / all) as f32;
                }
            }
        }
        add(&mut x, &multiply(file, &name("attn_output.weight"), &attended, n)?);
        let normed = norm(&x, &vector(file, &name("ffn_norm.weight"))?, epsilon);
        let mut gate = multiply(file, &name("ffn_gate.weight"), &normed, n)?;
        let up = multiply(file, &name("ffn_up.weight"), &normed, n)?;
        gate.iter_mut()
            .zip(&up)
            .for_each(|(gate, up)| *gate = *gate / (1.0 + (-*gate).exp()) * up);
        add(&mut x, &multiply(file, &name("ffn_down.weight"), &gate, n)?);
    }
    let normed = norm(&x, &vector(file, "output_norm.weight")?, epsilon);
    let output = if file.tensor("output.weight").is_some() {
        "output.weight"
    } else {
        "token_embd.weight"
    };
    let all = multiply(file, output, &normed, n)?;
    Ok(all.chunks_exact(all.len() / n).map(<[f32]>::to_vec).collect())
}

fn vector(file: &GgufFile, name: &str) -> Result<Vec<f32>> {
    let tensor = file.tensor(name).with_context(|| format!("no tensor {name}"))?;
    let mut values = vec![0.0; tensor.columns() * tensor.rows()];
    dequantise(tensor.kind, &file.read(tensor)?, &mut values);
    Ok(values)
}

/// Returns n x outputs.
fn multiply(file: &GgufFile, name: &str, x: &[f32], n: usize) -> Result<Vec<f32>> {
    let tensor = file.tensor(name).with_context(|| format!("no tensor {name}"))?;
    let (inputs, outputs) = (tensor.columns(), tensor.rows());
    let bytes = tensor.kind.bytes_of(inputs);
    let mut out = vec![0.0; n * outputs];
    let mut row = vec![0.0; inputs];
    for (output, stored) in file.read(tensor)?.chunks_exact(bytes).enumerate() {
        dequantise(tensor.kind, stored, &mut row);
        for (number, x) in x.chunks_exact(inputs).enumerate() {
            out[number * outputs + output] = dot(&row, x) as f32;
        }
    }
    Ok(out)
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    let mut lanes = [0.0_f32; 16];
    for (a, b) in a.chunks(16).zip(b.chunks(16)) {
        for ((lane, a), b) in lanes.iter_mut().zip(a).zip(b) {
            *lane += a * b;
        }
    }
    lanes.iter().map(|lane| f64::from(*lane)).sum()
}

fn add(x: &mut [f32], y: &[f32]) {
    x.iter_mut().zip(y).for_each(|(x, y)| *x += y);
}

fn norm(x: &[f32], weight: &[f32], epsilon: f32) -> Vec<f32> {
    let mut out = Vec::with_capacity(x.len());
    for row in x.chunks_exact(weight.len()) {
        let mean = row.iter().map(|v| f64::from(*v) * f64::from(*v)).sum::<f64>() / row.len() as f64;
        let scale = 1.0 / (mean + f64::from(epsilon)).sqrt();
        out.extend(row.iter().zip(weight).map(|(v, w)| (f64::from(*v) * scale) as f32 * w));
    }
    out
}

fn rotate(head: &mut [f32], position: usize, base: f64, halves: bool) {
    let pairs = head.len() / 2;
    for i in 0..pairs {
        let (a, b) = if halves { (i, i + pairs) } else { (2 * i, 2 * i + 1) };
        let (sin, cos) = (position as f64 * base.powf(-(i as f64) / pairs as f64)).sin_cos();
        let (first, second) = (f64::from(head[a]), f64::from(head[b]));
        head[a] = (first * cos - second * sin) as f32;
        head[b] = (first * sin + second * cos) as f32;
    }
}

/// Returns KL(exact || ours) of two rows of logits, in nats.
pub fn kl(exact: &[f32], ours: &[f32]) -> f64 {
    let (exact, ours) = (log_softmax(exact), log_softmax(ours));
    exact.iter().zip(&ours).map(|(p, q)| p.exp() * (p - q)).sum()
}

/// Returns the ln of the probabilities.
pub fn log_softmax(logits: &[f32]) -> Vec<f64> {
    let highest = logits.iter().copied().fold(f32::MIN, f32::max);
    let all: f64 = logits.iter().map(|logit| f64::from(logit - highest).exp()).sum();
    logits
        .iter()
        .map(|logit| f64::from(logit - highest) - all.ln())
        .collect()
}
