//! The vocabulary inside a GGUF file.

use std::collections::HashSet;

use crate::gguf::KeyUse::{Computed, Meaningless, Only};
use crate::gguf::{GgufFile, KeyTable, MetaValue, StringTable, check_keys, is_off};

use super::{END_OF_TEXT, IM_END, PreTokenization, TokenKind, Tokenizer, TokenizerError, Vocabulary};

const MODEL: &str = "tokenizer.ggml.model";
const PRE: &str = "tokenizer.ggml.pre";
const TOKENS: &str = "tokenizer.ggml.tokens";
const TOKEN_TYPES: &str = "tokenizer.ggml.token_type";
const MERGES: &str = "tokenizer.ggml.merges";
/// Begins a turn of a chat.
const IM_START: &str = "<|im_start|>";
/// Tokens of the chat template and the end of a text, which are control tokens whatever type a file gives them.
const MARKS: [&str; 3] = [IM_START, IM_END, END_OF_TEXT];
/// Keys of tokens that end a text, besides those of the chat template.
const ENDS: [&str; 3] = [
    "tokenizer.ggml.eos_token_id",
    "tokenizer.ggml.eot_token_id",
    "tokenizer.ggml.eom_token_id",
];
/// Several such tokens in a list, as Ollama writes them.
const ENDS_LIST: &str = "tokenizer.ggml.eos_token_ids";
/// Most bytes of a token that is searched for in every text, and of all such tokens: the search takes up to a kilobyte for each byte. Models
/// have a few dozen of them, of twenty bytes.
const LONGEST_SPECIAL: usize = 1 << 10;
const MOST_SPECIAL: usize = 64 << 10;

/// The treatment of each key below `tokenizer.`. A key that is not listed is refused by name.
pub(crate) const KEYS: &KeyTable = &[
    ("ggml.model", Computed),
    ("ggml.pre", Computed),
    ("ggml.tokens", Computed),
    ("ggml.token_type", Computed),
    ("ggml.merges", Computed),
    ("ggml.eos_token_id", Computed),
    ("ggml.eot_token_id", Computed),
    ("ggml.eom_token_id", Computed),
    ("ggml.eos_token_ids", Computed),
    ("ggml.add_bos_token", Only(is_off, "false, nothing in front of a text")),
    ("ggml.add_eos_token", Only(is_off, "false, nothing behind a text")),
    ("ggml.add_sep_token", Only(is_off, "false, nothing between texts")),
    ("ggml.add_padding_token", Only(is_off, "false, no text is filled up")),
    ("ggml.add_unknown_token", Only(is_off, "false, as read for BERT alone")),
    ("ggml.add_cls_token", Only(is_off, "false, as read for BERT alone")),
    ("ggml.add_mask_token", Only(is_off, "false, as read for BERT alone")),
    ("ggml.scores", Meaningless("byte-level BPE goes by the merges")),
    (
        "ggml.add_space_prefix",
        Meaningless("read for SentencePiece vocabularies alone"),
    ),
    (
        "ggml.remove_extra_whitespaces",
        Meaningless("read for SentencePiece vocabularies alone"),
    ),
    ("ggml.token_type_count", Meaningless("read for BERT alone")),
    ("ggml.bos_token_id", Meaningless("nothing is put in front of a text")),
    (
        "ggml.unknown_token_id",
        Meaningless("a character without a token is left out of the text"),
    ),
    ("ggml.padding_token_id", Meaningless("no text is filled up")),
    ("ggml.seperator_token_id", Meaningless("one text at a time")),
    ("ggml.separator_token_id", Meaningless("one text at a time")),
    ("ggml.cls_token_id", Meaningless("read for BERT alone")),
    ("ggml.mask_token_id", Meaningless("read for BERT alone")),
    (
        "ggml.prefix_token_id",
        Meaningless("for filling gaps in code, which is not done here"),
    ),
    (
        "ggml.suffix_token_id",
        Meaningless("for filling gaps in code, which is not done here"),
    ),
    (
        "ggml.middle_token_id",
        Meaningless("for filling gaps in code, which is not done here"),
    ),
    (
        "ggml.fim_*",
        Meaningless("for filling gaps in code, which is not done here"),
    ),
    (
        "chat_template",
        Only(is_chatml, "a template of ChatML, whose turns end with <|im_end|>"),
    ),
    (
        "chat_template*",
        Meaningless("prompts are written in ChatML, as the stock unit writes them"),
    ),
    ("huggingface.json", Meaningless("says again what the lists say")),
];

/// Whether a chat template writes ChatML, or there is none.
fn is_chatml(template: &MetaValue) -> bool {
    template
        .as_str()
        .is_some_and(|template| template.is_empty() || template.contains(IM_END))
}

impl Tokenizer {
    /// The tokenizer in the metadata of a GGUF file.
    ///
    /// # Errors
    /// [`TokenizerError::UnknownKind`] where it is no byte-level BPE; [`TokenizerError::UnknownSplit`] where the way to cut text is unknown;
    /// [`TokenizerError::BadVocabulary`] where lists are missing or do not belong together.
    pub fn from_gguf(file: &GgufFile) -> Result<Self, TokenizerError> {
        Self::from_vocabulary(Vocabulary::from_gguf(file)?)
    }
}

impl Vocabulary {
    /// The vocabulary as the file's metadata lists it.
    ///
    /// # Errors
    /// As [`Tokenizer::from_gguf`].
    pub fn from_gguf(file: &GgufFile) -> Result<Self, TokenizerError> {
        let source = file.path().display().to_string();
        let bad = |reason: String| TokenizerError::BadVocabulary {
            what: source.clone(),
            reason,
        };
        Self::check_gguf(file)?;
        let pre = pre_tokenization(file)?;
        let (tokens, merges) = (list(file, TOKENS)?, list(file, MERGES)?);
        let kinds = file.u32s(TOKEN_TYPES).ok_or_else(|| missing(file, TOKEN_TYPES))?;
        // Some exporters list the template's special tokens as normal ones, which would be split as text.
        let kinds = (tokens.iter().zip(kinds))
            .map(|(token, number)| {
                if MARKS.contains(&token) {
                    TokenKind::Control
                } else {
                    kind(number)
                }
            })
            .collect();
        let merges = (pairs(merges).map_err(bad)?.iter())
            .map(|(left, right)| ((*left).to_owned(), (*right).to_owned()))
            .collect();
        Ok(Self {
            tokens: tokens.iter().map(str::to_owned).collect(),
            kinds,
            ends: ends(file)?,
            merges,
            pre,
            source,
        })
    }

    /// Checks, in some ten milliseconds, that the file's vocabulary is of a known kind, complete, and made for ChatML.
    /// Returns the number of its tokens.
    ///
    /// # Errors
    /// As [`Tokenizer::from_gguf`], and [`TokenizerError::BadVocabulary`] where `<|im_start|>` or `<|im_end|>` is missing or a key is
    /// not known.
    pub fn check_gguf(file: &GgufFile) -> Result<usize, TokenizerError> {
        let bad = |reason: String| TokenizerError::BadVocabulary {
            what: file.path().display().to_string(),
            reason,
        };
        pre_tokenization(file)?;
        check_keys(file, "tokenizer.", KEYS).map_err(bad)?;
        ends(file)?;
        let merges = list(file, MERGES)?;
        let tokens = list(file, TOKENS)?;
        let kinds = file.u32s(TOKEN_TYPES).ok_or_else(|| missing(file, TOKEN_TYPES))?;
        if kinds.len() != tokens.len() {
            return Err(bad(format!(
                "it has {} tokens but {} token types",
                tokens.len(),
                kinds.len()
            )));
        }
        check_special(tokens, &kinds).map_err(bad)?;
        let known: HashSet<&str> = tokens.iter().collect();
        for mark in [IM_START, IM_END] {
            if !known.contains(mark) {
                return Err(bad(format!(
                    "it has no token {mark}, so it is not made for chats in ChatML"
                )));
            }
        }
        check_merges(merges, &known).map_err(bad)?;
        Ok(tokens.len())
    }
}

/// Checks the lengths of the tokens that are searched for in every text.
fn check_special(tokens: &StringTable, kinds: &[u32]) -> Result<(), String> {
    let is_special = |kind: u32| matches!(self::kind(kind), TokenKind::Control | TokenKind::UserDefined);
    let mut all = 0;
    for (number, (token, _)) in (tokens.iter().zip(kinds).enumerate()).filter(|(_, (_, kind))| is_special(**kind)) {
        if token.len() > LONGEST_SPECIAL {
            return Err(format!(
                "its special token {number} has {} bytes, more than {LONGEST_SPECIAL}",
                token.len()
            ));
        }
        all += token.len();
    }
    if all > MOST_SPECIAL {
        return Err(format!("its special tokens have {all} bytes, more than {MOST_SPECIAL}"));
    }
    Ok(())
}

/// Checks that both parts of each merge and what they make are tokens.
fn check_merges(merges: &StringTable, known: &HashSet<&str>) -> Result<(), String> {
    let mut whole = String::new();
    for ((left, right), number) in pairs(merges)?.into_iter().zip(1_usize..) {
        whole.clear();
        whole.push_str(left);
        whole.push_str(right);
        if let Some(missing) = [left, right, whole.as_str()]
            .into_iter()
            .find(|part| !known.contains(part))
        {
            return Err(format!(
                "its merge {number} needs the token {missing:?}, which it has not"
            ));
        }
    }
    Ok(())
}

/// The two parts of each merge.
fn pairs(merges: &StringTable) -> Result<Vec<(&str, &str)>, String> {
    (merges.iter().zip(1_usize..))
        .map(|(merge, number)| {
            merge
                .split_once(' ')
                .ok_or_else(|| format!("its merge {number} is no pair: {merge:?}"))
        })
        .collect()
}

fn pre_tokenization(file: &GgufFile) -> Result<PreTokenization, TokenizerError> {
    let what = || file.path().display().to_string();
    match file.str(MODEL).ok_or_else(|| missing(file, MODEL))? {
        "gpt2" => {}
        other => {
            return Err(TokenizerError::UnknownKind {
                what: what(),
                kind: other.to_owned(),
            });
        }
    }
    // Older converters leave the key out; for these architectures the value is always the same.
    let implied = match file.str("general.architecture") {
        Some("qwen2" | "qwen3") => Some("qwen2"),
        _ => None,
    };
    let named = match file.metadata(PRE) {
        Some(value) => Some(value.as_str().ok_or_else(|| unusable(file, PRE))?),
        None => implied,
    };
    match named.ok_or_else(|| missing(file, PRE))? {
        "qwen2" => Ok(PreTokenization::Qwen2),
        "smollm" => Ok(PreTokenization::SmolLm),
        other => Err(TokenizerError::UnknownSplit {
            what: what(),
            pre: other.to_owned(),
        }),
    }
}

/// The tokens that the file names as ends. A number outside u32, such as -1, stands for none.
fn ends(file: &GgufFile) -> Result<Vec<u32>, TokenizerError> {
    let mut ends = Vec::new();
    for (key, value) in ENDS.iter().filter_map(|key| Some((key, file.metadata(key)?))) {
        if !value.is_integer() {
            return Err(unusable(file, key));
        }
        ends.extend(value.as_u32());
    }
    if let Some(value) = file.metadata(ENDS_LIST) {
        ends.extend(value.as_u32s().ok_or_else(|| unusable(file, ENDS_LIST))?);
    }
    Ok(ends)
}

fn list<'f>(file: &'f GgufFile, key: &str) -> Result<&'f StringTable, TokenizerError> {
    file.strings(key).ok_or_else(|| missing(file, key))
}

fn missing(file: &GgufFile, key: &str) -> TokenizerError {
    TokenizerError::BadVocabulary {
        what: file.path().display().to_string(),
        reason: format!("its metadata lacks {key}"),
    }
}

fn unusable(file: &GgufFile, key: &str) -> TokenizerError {
    TokenizerError::BadVocabulary {
        what: file.path().display().to_string(),
        reason: format!("its metadata has no usable {key}"),
    }
}

/// Token types as llama.cpp numbers them: 1 normal, 2 unknown, 3 control, 4 user defined, 5 unused, 6 byte.
fn kind(number: u32) -> TokenKind {
    match number {
        2 | 3 => TokenKind::Control,
        4 => TokenKind::UserDefined,
        5 => TokenKind::Unused,
        _ => TokenKind::Normal,
    }
}
