//! The KV cache of a sequence: keys and values of all positions in all layers.
//!
//! It grows in chunks of positions. Within a chunk, layer and head, keys are transposed (value d of all positions, then value d + 1), so
//! that the dot products with a query vectorize over positions. Values are stored position by position.

use std::collections::TryReserveError;

/// Positions per chunk.
pub const CHUNK: usize = 64;

/// Keys and values of one sequence.
pub struct Cache {
    kv_heads: usize,
    head_size: usize,
    layers: usize,
    chunks: Vec<Vec<f32>>,
}

impl Cache {
    pub fn new(layers: usize, kv_heads: usize, head_size: usize) -> Self {
        Self {
            kv_heads,
            head_size,
            layers,
            chunks: Vec::new(),
        }
    }

    /// Allocates room for `positions` positions.
    ///
    /// # Errors
    /// Fails if memory cannot be allocated. The stored positions are kept.
    pub fn grow(&mut self, positions: usize) -> Result<(), TryReserveError> {
        let chunk_len = self.chunk_len();
        while self.chunks.len() * CHUNK < positions {
            let mut chunk = Vec::new();
            chunk.try_reserve_exact(chunk_len)?;
            chunk.resize(chunk_len, 0.0);
            self.chunks.push(chunk);
        }
        Ok(())
    }

    /// Returns the bytes that a cache of `positions` positions takes.
    pub fn bytes(&self, positions: usize) -> usize {
        positions
            .div_ceil(CHUNK)
            .saturating_mul(self.chunk_len() * size_of::<f32>())
    }

    fn chunk_len(&self) -> usize {
        self.layers * self.kv_heads * 2 * self.plane()
    }

    /// Returns the number of values of one layer's and head's keys (or values) in a chunk.
    fn plane(&self) -> usize {
        CHUNK * self.head_size
    }

    fn at(&self, layer: usize, kv_head: usize) -> usize {
        (layer * self.kv_heads + kv_head) * 2 * self.plane()
    }

    /// Stores the key and value of one head at one position. The position must be within the size passed to [`Cache::grow`].
    pub fn store(&mut self, layer: usize, kv_head: usize, position: usize, key: &[f32], value: &[f32]) {
        let (at, plane, head_size) = (self.at(layer, kv_head), self.plane(), self.head_size);
        let chunk = &mut self.chunks[position / CHUNK][at..at + 2 * plane];
        let (keys, values) = chunk.split_at_mut(plane);
        let place = position % CHUNK;
        for (column, &key) in keys.chunks_exact_mut(CHUNK).zip(key) {
            column[place] = key;
        }
        values[place * head_size..(place + 1) * head_size].copy_from_slice(value);
    }

    /// Returns the chunks of one layer and head that hold the first `positions` positions, in order, as (keys: head size x [`CHUNK`],
    /// values: [`CHUNK`] x head size).
    pub fn chunks(&self, layer: usize, kv_head: usize, positions: usize) -> impl Iterator<Item = (&[f32], &[f32])> {
        let (at, plane) = (self.at(layer, kv_head), self.plane());
        self.chunks[..positions.div_ceil(CHUNK)]
            .iter()
            .map(move |chunk| chunk[at..at + 2 * plane].split_at(plane))
    }
}
