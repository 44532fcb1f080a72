//! What the CPU engine does with each metadata key of a GGUF file below `general.` and the architecture's name. A key that is not listed is
//! refused by name. Keys below `tokenizer.` are listed beside the tokenizer.

use softprefix_core::language::Bilingual;

use crate::gguf::KeyUse::{Computed, Meaningless, Only};
use crate::gguf::{KeyTable, MetaValue, is_off};

const OFF: Bilingual<&str> = Bilingual {
    en: "0, which changes nothing",
    ja: "0（何も変えない値）",
};
const NO_EXPERTS: Bilingual<&str> = Bilingual {
    en: "0, no experts",
    ja: "0（エキスパートなし）",
};

/// Keys below `general.`.
pub(super) const GENERAL: &KeyTable = &[
    ("architecture", Computed),
    ("alignment", Computed),
    (
        "type",
        Only(
            |value| value.as_str() == Some("model"),
            Bilingual {
                en: "\"model\"",
                ja: "\"model\"",
            },
        ),
    ),
    (
        "quantization_version",
        Only(
            |value| value.as_u32() == Some(2),
            Bilingual {
                en: "2, the layout of blocks since 2023",
                ja: "2（2023 年からのブロックの形）",
            },
        ),
    ),
    (
        "sampling.*",
        Meaningless("a suggestion; sampling is set by the set-up and the card"),
    ),
    ("*", Meaningless("describes the file to people")),
];

/// Keys below the architecture's name.
pub(super) const ARCHITECTURE: &KeyTable = &[
    ("context_length", Computed),
    ("embedding_length", Computed),
    ("block_count", Computed),
    ("feed_forward_length", Computed),
    ("vocab_size", Computed),
    ("attention.head_count", Computed),
    ("attention.head_count_kv", Computed),
    ("attention.key_length", Computed),
    ("attention.value_length", Computed),
    ("attention.head_dim", Computed),
    ("attention.layer_norm_rms_epsilon", Computed),
    ("rope.dimension_count", Computed),
    ("rope.freq_base", Computed),
    ("rope.scale_linear", Computed),
    ("rope.scaling.type", Computed),
    ("rope.scaling.factor", Computed),
    ("rope.scaling.attn_factor", Computed),
    ("rope.scaling.original_context_length", Computed),
    ("rope.scaling.yarn_ext_factor", Computed),
    ("rope.scaling.yarn_beta_fast", Computed),
    ("rope.scaling.yarn_beta_slow", Computed),
    (
        "rope.scaling.yarn_attn_factor",
        Only(|value| value.as_f32() == Some(1.0), Bilingual { en: "1", ja: "1" }),
    ),
    ("rope.scaling.yarn_log_multiplier", Only(is_off, OFF)),
    ("rope.scaling.finetuned", Meaningless("tells how the model was trained")),
    (
        "attention.causal",
        Only(
            |value| value.as_bool() == Some(true),
            Bilingual { en: "true", ja: "true" },
        ),
    ),
    ("attention.sliding_window", Computed),
    (
        "use_parallel_residual",
        Meaningless("read for GPT-NeoX alone; older converters wrote true for every model"),
    ),
    ("attention.clamp_kqv", Only(is_off, OFF)),
    ("attention.max_alibi_bias", Only(is_off, OFF)),
    ("attention.scale", Only(is_off, OFF)),
    ("attn_logit_softcapping", Only(is_off, OFF)),
    ("final_logit_softcapping", Only(is_off, OFF)),
    ("logit_scale", Only(is_off, OFF)),
    ("residual_scale", Only(is_off, OFF)),
    ("embedding_scale", Only(is_off, OFF)),
    ("leading_dense_block_count", Only(is_off, NO_EXPERTS)),
    ("expert_*", Only(is_off, NO_EXPERTS)),
    (
        "pooling_type",
        Only(
            is_off,
            Bilingual {
                en: "0, every row's own output",
                ja: "0（行ごとの出力）",
            },
        ),
    ),
    (
        "tensor_data_layout",
        Only(
            is_usual_layout,
            Bilingual {
                en: "the architecture's own layout",
                ja: "そのモデルの構造に固有の並び",
            },
        ),
    ),
];

/// Older converters store the name of the layout that all files of the architecture have.
fn is_usual_layout(value: &MetaValue) -> bool {
    matches!(value.as_str(), Some("reference" | "Meta AI original pth"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gguf::KeyUse;

    #[test]
    fn the_documentation_names_every_key_with_what_is_done_with_it() {
        let documentation = include_str!("../../model-files.md");
        for (prefix, table) in [
            ("general.", GENERAL),
            ("llama.", ARCHITECTURE),
            ("tokenizer.", crate::tokenizer::KEYS),
        ] {
            for (key, key_use) in table {
                let front = format!("| key `{prefix}{}", key.trim_end_matches('*'));
                let mut rows = documentation.lines().filter(|line| line.starts_with(&front));
                // These must be there, or fit other numbers.
                let is_checked = matches!(
                    *key,
                    "ggml.tokens"
                        | "ggml.token_type"
                        | "ggml.merges"
                        | "attention.value_length"
                        | "attention.head_dim"
                        | "attention.sliding_window"
                        | "rope.dimension_count"
                );
                let wanted = match key_use {
                    KeyUse::Computed if is_checked => "| refused |".to_owned(),
                    KeyUse::Computed => "| computed |".to_owned(),
                    KeyUse::Meaningless(reason) => format!("| meaningless: {reason} |"),
                    KeyUse::Only(..) => "| refused |".to_owned(),
                };
                assert!(
                    rows.any(|row| row.ends_with(&wanted)),
                    "{front} has no row that ends with {wanted}"
                );
            }
        }
    }
}
