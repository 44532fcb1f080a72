//! The tensors of a model. A file must have all of them, with these dimensions, and no others: an unused tensor would mean that the
//! model's output is silently wrong.

use softprefix_core::bilingual;
use softprefix_core::language::Bilingual;

use crate::errors::LoadError;
use crate::gguf::{GgufFile, TensorInfo};

use super::config::{Config, ROPE_FACTORS};
use super::kernel::PANEL;

/// The table of token embeddings.
pub const TABLE: &str = "token_embd.weight";
/// The output matrix; if it is missing, the table of token embeddings is used.
pub const OUTPUT: &str = "output.weight";

/// Returns `true` if weights of `packed` bytes cannot come from a file of `stored` bytes. Packed weights take at most 3.3 times the bytes
/// of any stored type, and tensors do not share bytes. Checked before anything is allocated.
fn exceeds_file(packed: u64, stored: u64) -> bool {
    packed > stored.saturating_mul(8).saturating_add(1 << 20)
}

/// A tensor that the model has.
struct ExpectedTensor {
    name: String,
    columns: usize,
    rows: usize,
    required: bool,
}

/// Checks that `file` has every tensor of `config` and no other, and returns the table of token embeddings, which has V rows.
///
/// # Errors
/// [`LoadError::BadFile`] for a tensor that is missing or has another shape; [`LoadError::Unsupported`] with the name of a tensor that
/// this engine does not use.
pub fn check<'a>(file: &'a GgufFile, config: &Config) -> Result<&'a TensorInfo, LoadError> {
    let bad = |reason: Bilingual| LoadError::bad_file(file.path(), reason);
    // Before those that are missing: a model of another form has other tensors in their place.
    let mut unknown: Vec<&str> = file.tensors().map(|tensor| tensor.name.as_str()).collect();
    unknown.retain(|name| !is_known(config, name));
    unknown.sort_unstable();
    if let Some(name) = unknown.first() {
        let architecture = &config.architecture;
        return Err(LoadError::Unsupported {
            path: file.path().to_owned(),
            reason: bilingual!(
                "it has the tensor {name}, which is not computed here for {architecture}, so that its text would be wrong",
                "{architecture} では使わないテンソル {name} があり、出力が正しくなりません"
            ),
        });
    }
    let missing = |name: &str| {
        bad(bilingual!(
            "the tensor {name} is missing",
            "テンソル {name} がありません"
        ))
    };
    let table = file.tensor(TABLE).ok_or_else(|| missing(TABLE))?;
    let vocab_size = table.rows();
    if let Some(stated) = config.vocab_size.filter(|stated| *stated != vocab_size) {
        let architecture = &config.architecture;
        return Err(bad(bilingual!(
            "its {architecture}.vocab_size is {stated}, and its {TABLE} has {vocab_size} rows",
            "{architecture}.vocab_size は {stated} ですが、{TABLE} は {vocab_size} 行です"
        )));
    }
    let mut packed = 0_u64;
    let outside_layers = model_tensors(config, vocab_size).into_iter();
    // Checked layer by layer, so that an absurd number of layers ends at the first missing tensor.
    for expected in outside_layers.chain((0..config.layers).flat_map(|number| layer_tensors(config, number))) {
        let Some(tensor) = file.tensor(&expected.name) else {
            if expected.required {
                return Err(missing(&expected.name));
            }
            continue;
        };
        if tensor.columns() != expected.columns || tensor.rows() != expected.rows || expected.rows == 0 {
            let (
                dimensions,
                ExpectedTensor {
                    name, columns, rows, ..
                },
            ) = (&tensor.dimensions, &expected);
            return Err(bad(bilingual!(
                "the tensor {name} has the dimensions {dimensions:?}; the metadata asks for {columns} x {rows}",
                "テンソル {name} の次元は {dimensions:?} ですが、メタデータによれば {columns} x {rows} です"
            )));
        }
        packed += (expected.columns as u64).saturating_mul(expected.rows.next_multiple_of(PANEL) as u64);
    }
    if exceeds_file(packed, file.bytes()) {
        let bytes = file.bytes();
        return Err(bad(bilingual!(
            "its tensors would take {packed} bytes, too much for a file of {bytes}",
            "テンソルに {packed} バイト必要で、{bytes} バイトのファイルには多すぎます"
        )));
    }
    Ok(table)
}

/// Returns whether the model of `config` may have a tensor of this name.
fn is_known(config: &Config, name: &str) -> bool {
    let number = (name.strip_prefix("blk.")).and_then(|rest| rest.split_once('.')?.0.parse().ok());
    let of_layer = number
        .filter(|number| *number < config.layers)
        .map(|number| layer_tensors(config, number));
    let known = of_layer.unwrap_or_else(|| model_tensors(config, 0));
    known.iter().any(|known| known.name == name)
}

/// Returns the tensors outside the layers.
fn model_tensors(config: &Config, vocab_size: usize) -> Vec<ExpectedTensor> {
    let h = config.hidden_size;
    let mut all = vec![
        required(TABLE.into(), h, vocab_size),
        required("output_norm.weight".into(), h, 1),
        optional(OUTPUT.into(), h, vocab_size),
        optional("output.bias".into(), vocab_size, 1),
    ];
    if config.architecture == "llama" {
        all.push(optional(ROPE_FACTORS.into(), config.rope.pairs(), 1));
    }
    all
}

/// Returns the tensors of one layer.
fn layer_tensors(config: &Config, number: usize) -> Vec<ExpectedTensor> {
    let (h, queries, kv, wide) = (
        config.hidden_size,
        config.query_width(),
        config.kv_width(),
        config.feed_forward,
    );
    let name = |part: &str| format!("blk.{number}.{part}");
    let mut all = vec![
        required(name("attn_norm.weight"), h, 1),
        required(name("ffn_norm.weight"), h, 1),
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
        all.push(required(name(part) + ".weight", columns, rows));
        all.push(optional(name(part) + ".bias", rows, 1));
    }
    if config.head_norms {
        all.push(required(name("attn_q_norm.weight"), config.head_size, 1));
        all.push(required(name("attn_k_norm.weight"), config.head_size, 1));
    }
    all
}

fn required(name: String, columns: usize, rows: usize) -> ExpectedTensor {
    ExpectedTensor {
        name,
        columns,
        rows,
        required: true,
    }
}

fn optional(name: String, columns: usize, rows: usize) -> ExpectedTensor {
    ExpectedTensor {
        required: false,
        ..required(name, columns, rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TinyModel;

    #[test]
    fn the_documentation_has_a_row_for_every_tensor_and_another_where_it_may_not_be_missing() {
        let documentation = include_str!("../../model-files.md");
        let folder = tempfile::tempdir().unwrap();
        for model in [TinyModel::llama(), TinyModel::qwen2(), TinyModel::qwen3()] {
            let path = folder.path().join("m.gguf");
            model.write(&path).unwrap();
            let config = Config::read(&GgufFile::open(&path).unwrap()).unwrap();
            let outside_layers = model_tensors(&config, model.vocab_size());
            for ExpectedTensor { name, required, .. } in outside_layers.into_iter().chain(layer_tensors(&config, 0)) {
                let front = format!("| tensor `{name}` of `");
                let has_row = |end: &str| {
                    let mut rows = documentation.lines().filter(|line| line.starts_with(&front));
                    rows.any(|row| row.ends_with(end))
                };
                assert!(has_row("` | computed |"), "{name}");
                assert_eq!(has_row("` = nothing | refused |"), required, "{name}");
            }
        }
    }

    #[test]
    fn a_small_file_cannot_claim_gigabytes_of_weights() {
        assert!(exceeds_file(6_800_000_000, 4_700_000));
        assert!(exceeds_file(u64::MAX, 4_700_000));
        assert!(!exceeds_file(444_000_000, 491_400_064));
        // The matrices of a tiny model are padded to whole panels.
        assert!(!exceeds_file(500_000, 20_000));
    }
}
