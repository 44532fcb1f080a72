//! The embedding table of an NPU model: a file of raw little-endian bf16, `tokens_embed_num` rows of `tokens_embed_size`.

use std::path::Path;

use half::bf16;
use softprefix_core::bilingual;

use crate::engine::{EngineError, TokenEmbeddings};
use crate::errors::LoadError;
use crate::stored_file::StoredFile;

/// The table. Rows are copied as stored.
pub struct EmbeddingFile {
    file: StoredFile,
    hidden_size: usize,
    vocab_size: usize,
}

impl EmbeddingFile {
    /// Opens the file and checks its size, which the stock unit does not do.
    ///
    /// # Errors
    /// [`LoadError::Unreadable`]; [`LoadError::BadFile`] if the size is not `vocab_size x hidden_size x 2` bytes.
    pub fn open(path: &Path, vocab_size: usize, hidden_size: usize) -> Result<Self, LoadError> {
        let file = StoredFile::open(path)?;
        let bytes = file.len();
        let expected = (vocab_size as u128)
            .saturating_mul(hidden_size as u128)
            .saturating_mul(2);
        if u128::from(bytes) != expected || hidden_size == 0 {
            let reason = bilingual!(
                "it has {bytes} bytes, but tokens_embed_num {vocab_size} x tokens_embed_size {hidden_size} x 2 are {expected}",
                "{bytes} バイトですが、tokens_embed_num {vocab_size} x tokens_embed_size {hidden_size} x 2 は {expected} です"
            );
            return Err(LoadError::bad_file(path, reason));
        }
        Ok(Self {
            file,
            hidden_size,
            vocab_size,
        })
    }
}

impl TokenEmbeddings for EmbeddingFile {
    fn hidden_size(&self) -> usize {
        self.hidden_size
    }

    fn vocab_size(&self) -> usize {
        self.vocab_size
    }

    fn row(&self, token: u32, out: &mut [bf16]) -> Result<(), EngineError> {
        let no_such_token = EngineError::NoSuchToken {
            token,
            vocab_size: self.vocab_size,
        };
        if token as usize >= self.vocab_size {
            return Err(no_such_token);
        }
        if out.len() != self.hidden_size {
            return Err(EngineError::RaggedRows {
                got: out.len(),
                hidden_size: self.hidden_size,
            });
        }
        let mut bytes = vec![0; self.hidden_size * 2];
        let at = u64::from(token) * bytes.len() as u64;
        let unreadable = |error: std::io::Error| EngineError::unreadable_rows(self.file.path(), &error);
        self.file.read_at(&mut bytes, at).map_err(unreadable)?;
        for (value, bytes) in out.iter_mut().zip(bytes.chunks_exact(2)) {
            *value = bf16::from_le_bytes([bytes[0], bytes[1]]);
        }
        Ok(())
    }
}
