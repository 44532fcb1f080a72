//! Helpers that load a model, feed it rows, and choose tokens greedily.

use half::bf16;
use serde_json::Map;
use softprefix_unit::engine::{Engine, EngineError, Logits};
use softprefix_unit::model::{LoadError, LoadedModel, ModelSource};

use crate::world::{MODEL, World};

pub fn load(world: &World) -> Result<LoadedModel, LoadError> {
    world.models().load(MODEL, &Map::new(), &|_, _| {})
}

pub fn rows(engine: &dyn Engine, tokens: &[u32]) -> Vec<bf16> {
    engine.embeddings().rows(tokens).unwrap()
}

pub fn prefix(hidden_size: usize, len: usize, value: f32) -> Vec<bf16> {
    (0..len * hidden_size)
        .map(|i| bf16::from_f32(if i % 3 == 0 { -value } else { value }))
        .collect()
}

pub fn argmax(logits: &[f32]) -> u32 {
    (0..logits.len())
        .rev()
        .max_by(|a, b| logits[*a].total_cmp(&logits[*b]))
        .unwrap() as u32
}

/// Decodes greedily; returns the ids and the logits of each step.
pub fn greedy(
    engine: &mut dyn Engine,
    prompt: &[bf16],
    steps: usize,
) -> Result<(Vec<u32>, Vec<Vec<f32>>), EngineError> {
    let sequence = engine.open(engine.info().window)?;
    let result = (|| {
        let mut logits = vec![engine.feed(sequence, prompt, Logits::Last)?];
        let mut ids = vec![argmax(&logits[0])];
        while ids.len() < steps {
            let next = rows(engine, &ids[ids.len() - 1..]);
            logits.push(engine.feed(sequence, &next, Logits::Last)?);
            ids.push(argmax(&logits[logits.len() - 1]));
        }
        Ok((ids, logits))
    })();
    engine.close(sequence);
    result
}

pub const PROMPT: [u32; 7] = [257, 104, 101, 108, 108, 111, 258];
