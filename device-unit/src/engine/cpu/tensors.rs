//! Which tensors a model of this shape has. A file must have them, in these dimensions, and none besides: a tensor that nothing
//! reads would mean a text that is silently wrong.

use std::collections::HashSet;

use crate::errors::LoadError;
use crate::gguf::GgufFile;

use super::config::{Config, ROPE_FACTORS};
use super::kernel::PANEL;

/// The table of token embeddings.
pub const TABLE: &str = "token_embd.weight";
/// The matrix before the logits; where it is missing, the table of embeddings is taken.
pub const OUTPUT: &str = "output.weight";

/// Whether weights of so many bytes cannot come from a file of `stored` bytes: packed ones take at most 3.3 times the bytes of any
/// stored type, and tensors do not share bytes. Nothing is allocated before this is known.
fn is_too_much(packed: u64, stored: u64) -> bool {
    packed > stored.saturating_mul(8).saturating_add(1 << 20)
}

/// One tensor of a model.
struct Wanted {
    name: String,
    columns: usize,
    rows: usize,
    needed: bool,
}

/// Checks that `file` has every tensor that `config` asks for and none that would not be used, and gives V.
///
/// # Errors
/// [`LoadError::BadFile`] for a tensor that is missing or of another shape; [`LoadError::Unsupported`] for one that this engine
/// does not use, by its name.
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
    // Layer by layer, so that a number of layers that no file has ends at the first that is missing.
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

/// The tensors that no layer has.
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

/// The tensors of one layer.
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
        // A tiny model's matrices are filled up to whole panels.
        assert!(!is_too_much(500_000, 20_000));
    }
}
