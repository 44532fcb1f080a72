//! The tensors of a model. A file must have all of them, with these dimensions, and no others: an unused tensor would mean that the
//! model's output is silently wrong.

use std::collections::HashSet;

use crate::errors::LoadError;
use crate::gguf::GgufFile;

use super::config::{Config, ROPE_FACTORS};
use super::kernel::PANEL;

/// The table of token embeddings.
pub const TABLE: &str = "token_embd.weight";
/// The output matrix; if it is missing, the table of token embeddings is used.
pub const OUTPUT: &str = "output.weight";

/// Returns `true` if weights of `packed` bytes cannot come from a file of `stored` bytes. Packed weights take at most 3.3 times the bytes
/// of any stored type, and tensors do not share bytes. Checked before anything is allocated.
fn is_too_much(packed: u64, stored: u64) -> bool {
    packed > stored.saturating_mul(8).saturating_add(1 << 20)
}

/// A tensor that the model has.
struct Wanted {
    name: String,
    columns: usize,
    rows: usize,
    needed: bool,
}

/// Checks that `file` has every tensor of `config` and no other, and returns V.
///
/// # Errors
/// [`LoadError::BadFile`] for a tensor that is missing or has another shape; [`LoadError::Unsupported`] with the name of a tensor that
/// this engine does not use.
pub fn check(file: &GgufFile, config: &Config) -> Result<usize, LoadError> {
    let bad = |reason: String| LoadError::BadFile {
        path: file.path().to_owned(),
        reason,
    };
    let vocab_size = file.tensor(TABLE).map_or(0, |table| table.rows());
    if let Some(said) = config.vocab_size.filter(|said| *said != vocab_size) {
        return Err(bad(format!(
            "its {}.vocab_size is {said}, and its {TABLE} has {vocab_size} rows",
            config.architecture
        )));
    }
    let mut used = HashSet::new();
    let mut packed = 0_u64;
    let ends = whole_model(config, vocab_size).into_iter();
    // Checked layer by layer, so that an absurd number of layers ends at the first missing tensor.
    for wanted in ends.chain((0..config.layers).flat_map(|number| layer(config, number))) {
        let Some(tensor) = file.tensor(&wanted.name) else {
            if wanted.needed {
                return Err(bad(format!("it lacks the tensor {}", wanted.name)));
            }
            continue;
        };
        if tensor.columns() != wanted.columns || tensor.rows() != wanted.rows || wanted.rows == 0 {
            return Err(bad(format!(
                "the tensor {} has the dimensions {:?}; the metadata asks for {} x {}",
                wanted.name, tensor.dimensions, wanted.columns, wanted.rows
            )));
        }
        packed += (wanted.columns as u64).saturating_mul(wanted.rows.next_multiple_of(PANEL) as u64);
        used.insert(wanted.name);
    }
    if is_too_much(packed, file.bytes()) {
        return Err(bad(format!(
            "its tensors would take {packed} bytes, too much for a file of {}",
            file.bytes()
        )));
    }
    let mut unused: Vec<&str> = file.tensors().map(|tensor| tensor.name.as_str()).collect();
    unused.retain(|name| !used.contains(*name));
    unused.sort_unstable();
    match unused.first() {
        None => Ok(vocab_size),
        Some(name) => Err(LoadError::Unsupported {
            path: file.path().to_owned(),
            reason: format!(
                "it has the tensor {name}, which is not computed here for {}, so that its text would be wrong",
                config.architecture
            ),
        }),
    }
}

/// Returns the tensors outside the layers.
fn whole_model(config: &Config, vocab_size: usize) -> Vec<Wanted> {
    let h = config.hidden_size;
    let mut all = vec![
        needed(TABLE.into(), h, vocab_size),
        needed("output_norm.weight".into(), h, 1),
        optional(OUTPUT.into(), h, vocab_size),
        optional("output.bias".into(), vocab_size, 1),
    ];
    if config.architecture == "llama" {
        all.push(optional(ROPE_FACTORS.into(), config.rope.pairs(), 1));
    }
    all
}

/// Returns the tensors of one layer.
fn layer(config: &Config, number: usize) -> Vec<Wanted> {
    let (h, queries, kv, wide) = (
        config.hidden_size,
        config.query_width(),
        config.kv_width(),
        config.feed_forward,
    );
    let name = |part: &str| format!("blk.{number}.{part}");
    let mut all = vec![
        needed(name("attn_norm.weight"), h, 1),
        needed(name("ffn_norm.weight"), h, 1),
    ];
    for (part, columns, rows) in [
        ("attn_q", h, queries),
        ("attn_k", h, kv),
        ("attn_v", h, kv),
        ("attn_output", queries, h),
        ("ffn_gate", h, wide),
        ("ffn_up", h, wide),
        ("ffn_down", wide, h),
    ] {
        all.push(needed(name(part) + ".weight", columns, rows));
        all.push(optional(name(part) + ".bias", rows, 1));
    }
    if config.head_norms {
        all.push(needed(name("attn_q_norm.weight"), config.head_size, 1));
        all.push(needed(name("attn_k_norm.weight"), config.head_size, 1));
    }
    all
}

fn needed(name: String, columns: usize, rows: usize) -> Wanted {
    Wanted {
        name,
        columns,
        rows,
        needed: true,
    }
}

fn optional(name: String, columns: usize, rows: usize) -> Wanted {
    Wanted {
        needed: false,
        ..needed(name, columns, rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_megabytes_cannot_become_gigabytes() {
        assert!(is_too_much(6_800_000_000, 4_700_000));
        assert!(is_too_much(u64::MAX, 4_700_000));
        assert!(!is_too_much(444_000_000, 491_400_064));
        // The matrices of a tiny model are padded to whole panels.
        assert!(!is_too_much(500_000, 20_000));
    }
}
