//! The embedding table, read row by row from the file.
//!
//! A row is what the engine is fed: the stored values, dequantised and rounded to bf16 (nearest, ties to even). Nothing is cached; if the
//! file has changed since it was opened, reading is an error.

use std::sync::Arc;

use half::bf16;

use crate::engine::{EngineError, TokenEmbeddings};
use crate::gguf::dequantise;
use crate::gguf::{GgufFile, TensorInfo};

/// The table `token_embd.weight` of an open file.
pub struct StoredEmbeddings {
    file: Arc<GgufFile>,
    table: TensorInfo,
}

impl StoredEmbeddings {
    /// Creates the table from a tensor of `file`.
    pub(super) fn new(file: Arc<GgufFile>, table: TensorInfo) -> Self {
        Self { file, table }
    }
}

impl TokenEmbeddings for StoredEmbeddings {
    fn hidden_size(&self) -> usize {
        self.table.columns()
    }

    fn vocab_size(&self) -> usize {
        self.table.rows()
    }

    fn row(&self, token: u32, out: &mut [bf16]) -> Result<(), EngineError> {
        let vocab_size = self.vocab_size();
        if out.len() != self.hidden_size() {
            return Err(EngineError::RaggedRows {
                got: out.len(),
                hidden_size: self.hidden_size(),
            });
        }
        if token as usize >= vocab_size {
            return Err(EngineError::NoSuchToken { token, vocab_size });
        }
        let mut row = vec![0; self.table.row_bytes()];
        let at = u64::from(token) * row.len() as u64;
        let unreadable = |error: std::io::Error| EngineError::unreadable_rows(self.file.path(), &error);
        self.file.read_into(&self.table, at, &mut row).map_err(unreadable)?;
        let mut values = vec![0.0; out.len()];
        dequantise(self.table.kind, &row, &mut values);
        for (out, value) in out.iter_mut().zip(values) {
            *out = bf16::from_f32(value);
        }
        if !out.iter().all(|value| value.is_finite()) {
            return Err(EngineError::backend(
                format!("reading the embedding table {}", self.file.path().display()),
                format!(
                    "the row of token {token} in {} has numbers that are not finite",
                    self.table.name
                ),
                "download the model again or choose another",
            ));
        }
        Ok(())
    }
}
