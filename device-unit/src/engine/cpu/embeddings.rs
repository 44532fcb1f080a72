//! The embedding table, read row by row from the mapped file.
//!
//! A row is what the engine is fed: the stored values, dequantised, rounded to bf16 (nearest, ties to even). Nothing is
//! held in memory beside the file's own pages. It knows tokens as numbers, and no text.

use std::sync::Arc;

use half::bf16;

use crate::engine::{EngineError, TokenEmbeddings};
use crate::gguf::dequantise;
use crate::gguf::{GgufFile, TensorInfo};

/// The table `token_embd.weight` of an open file.
pub struct MappedEmbeddings {
    file: Arc<GgufFile>,
    table: TensorInfo,
}

impl MappedEmbeddings {
    /// `table` is a tensor of `file`.
    pub(super) fn new(file: Arc<GgufFile>, table: TensorInfo) -> Self {
        Self { file, table }
    }
}

impl TokenEmbeddings for MappedEmbeddings {
    fn hidden_size(&self) -> usize {
        self.table.columns()
    }

    fn vocab_size(&self) -> usize {
        self.table.rows()
    }

    fn row(&self, token: u32, out: &mut [bf16]) -> Result<(), EngineError> {
        let vocab_size = self.vocab_size();
        let missing = EngineError::NoSuchToken { token, vocab_size };
        if out.len() != self.hidden_size() {
            return Err(EngineError::RaggedRows {
                got: out.len(),
                hidden_size: self.hidden_size(),
            });
        }
        let bytes = self.table.kind.bytes_of(self.hidden_size());
        let row = self
            .file
            .data(&self.table)
            .chunks_exact(bytes)
            .nth(token as usize)
            .ok_or(missing)?;
        let mut values = vec![0.0; out.len()];
        dequantise(self.table.kind, row, &mut values);
        for (out, value) in out.iter_mut().zip(values) {
            *out = bf16::from_f32(value);
        }
        Ok(())
    }
}
