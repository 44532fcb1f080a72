//! The vocabulary inside a GGUF file.

use std::collections::HashSet;

use crate::gguf::KeyUse::{Computed, Meaningless, Only};
use crate::gguf::{GgufFile, KeyTable, MetaValue, StringTable, check_keys, is_off};

use super::jinja::{JinjaTemplate, LONGEST_TEMPLATE};
use super::{ChatTemplate, END_OF_TEXT, IM_END, PreTokenization, TokenKind, Tokenizer, TokenizerError, Vocabulary};

const MODEL: &str = "tokenizer.ggml.model";
const PRE: &str = "tokenizer.ggml.pre";
const TOKENS: &str = "tokenizer.ggml.tokens";
const TOKEN_TYPES: &str = "tokenizer.ggml.token_type";
const MERGES: &str = "tokenizer.ggml.merges";
const BOS: &str = "tokenizer.ggml.bos_token_id";
const EOS: &str = "tokenizer.ggml.eos_token_id";
const EOT: &str = "tokenizer.ggml.eot_token_id";
pub(crate) const CHAT_TEMPLATE: &str = "tokenizer.chat_template";
/// Begins a turn of a chat.
const IM_START: &str = "<|im_start|>";
/// Keys of tokens that end a text. Those for filling gaps in code separate files and repositories, which a text does not go beyond.
const ENDS: [&str; 6] = [
    EOS,
    EOT,
    "tokenizer.ggml.eom_token_id",
    "tokenizer.ggml.fim_pad_token_id",
    "tokenizer.ggml.fim_rep_token_id",
    "tokenizer.ggml.fim_sep_token_id",
];
/// Several such tokens in a list, as Ollama writes them.
const ENDS_LIST: &str = "tokenizer.ggml.eos_token_ids";
/// Tokens that end a text by their name, as in llama.cpp. Those without bars are ordinary text where a file lists them as normal tokens:
/// `</s>` in Qwen's vocabulary closes a line of HTML.
const NAMED_ENDS: [&str; 31] = [
    END_OF_TEXT,
    IM_END,
    "<|eot_id|>",
    "<|eom_id|>",
    "<|end|>",
    "<|end_of_text|>",
    "<|return|>",
    "<|call|>",
    "<|calls|>",
    "<|flush|>",
    "<|tool_response>",
    "<turn|>",
    "<end_of_turn>",
    "<end_of_utterance>",
    "<eos>",
    "</s>",
    "<EOT>",
    "_<EOT>",
    "[EOT]",
    "[EOS]",
    "<|fim_pad|>",
    "<fim-pad>",
    "<fim_pad>",
    "<PAD>",
    "[PAD]",
    "<|fim_repo|>",
    "<|repo_name|>",
    "<fim-repo>",
    "<REPO>",
    "<reponame>",
    "<|file_sep|>",
];
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
    ("ggml.fim_pad_token_id", Computed),
    ("ggml.fim_rep_token_id", Computed),
    ("ggml.fim_sep_token_id", Computed),
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
    ("ggml.bos_token_id", Computed),
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
    ("chat_template", Computed),
    (
        "chat_template*",
        Meaningless("for other uses, such as tools; the template without a name is used"),
    ),
    ("huggingface.json", Meaningless("says again what the lists say")),
];

impl ChatTemplate {
    /// The chat template of a model file: its own, or ChatML where it has none. The stock unit's full stop is added for `qwen2`.
    ///
    /// # Errors
    /// [`TokenizerError::Template`] where it cannot be rendered, or leaves out the system prompt or the user's text;
    /// [`TokenizerError::BadVocabulary`] where the metadata it needs is of another type.
    pub fn from_gguf(file: &GgufFile) -> Result<Self, TokenizerError> {
        let mut template = Self::for_architecture(file.str("general.architecture").unwrap_or_default());
        let source = match file.metadata(CHAT_TEMPLATE) {
            None => "",
            Some(value) => value.as_str().ok_or_else(|| unusable(file, CHAT_TEMPLATE))?,
        };
        if source.is_empty() {
            return Ok(template);
        }
        let bad = |reason: String| TokenizerError::Template {
            what: file.path().display().to_string(),
            reason: format!("its {CHAT_TEMPLATE} {reason}"),
        };
        if source.len() > LONGEST_TEMPLATE {
            let bytes = source.len();
            return Err(bad(format!("has {bytes} bytes, more than {LONGEST_TEMPLATE}")));
        }
        let tokens = list(file, TOKENS)?;
        let token = |key: &str| {
            let id = file.metadata(key);
            if id.is_some_and(|id| !id.is_integer()) {
                return Err(unusable(file, key));
            }
            let text = id.and_then(MetaValue::as_u32).and_then(|id| tokens.get(id as usize));
            Ok(text.unwrap_or_default().to_owned())
        };
        let cannot = |reason: String| bad(format!("cannot be rendered ({reason})"));
        let own = JinjaTemplate::new(source, token(BOS)?, token(EOS)?).map_err(cannot)?;
        let (system, user) = ("Answer briefly.", "Is the sea deep?");
        let rendered = own.render(system, user).map_err(cannot)?;
        for (text, what) in [(system, "the system prompt"), (user, "the user's text")] {
            if !rendered.contains(text) {
                return Err(bad(format!("leaves out {what}")));
            }
        }
        // Without the user's text, its length is what a prompt has besides it.
        own.render(system, "").map_err(cannot)?;
        template.own = Some(own);
        Ok(template)
    }
}

/// Whether a token is a mark whatever type a file gives it: some exporters list those of the template as normal tokens, which would be
/// split as text.
fn is_mark(token: &str, template: &str) -> bool {
    let has_bars = token.starts_with("<|") && token.ends_with("|>");
    has_bars && (token == IM_START || NAMED_ENDS.contains(&token) || template.contains(token))
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
        let bad = |reason: String| TokenizerError::bad_vocabulary(&source, reason);
        Self::check_gguf(file)?;
        let pre = pre_tokenization(file)?;
        let (tokens, merges) = (list(file, TOKENS)?, list(file, MERGES)?);
        let kinds = kinds(file, tokens)?;
        let merges = (pairs(merges).map_err(bad)?.iter())
            .map(|(left, right)| ((*left).to_owned(), (*right).to_owned()))
            .collect();
        Ok(Self {
            ends: ends(file, tokens, &kinds)?,
            turn_end: turn_end(file),
            tokens: tokens.iter().map(str::to_owned).collect(),
            kinds,
            merges,
            pre,
            source,
        })
    }

    /// Checks, in some ten milliseconds, that the file's vocabulary is of a known kind and complete, and that its chat template can be
    /// rendered. Returns the number of its tokens.
    ///
    /// # Errors
    /// As [`Tokenizer::from_gguf`] and [`ChatTemplate::from_gguf`], and [`TokenizerError::BadVocabulary`] where the template writes
    /// `<|im_start|>` or `<|im_end|>` and the vocabulary does not have it, or a key is not known.
    pub fn check_gguf(file: &GgufFile) -> Result<usize, TokenizerError> {
        let bad = |reason: String| TokenizerError::bad_vocabulary(file.path().display(), reason);
        pre_tokenization(file)?;
        check_keys(file, "tokenizer.", KEYS).map_err(bad)?;
        let merges = list(file, MERGES)?;
        let tokens = list(file, TOKENS)?;
        let kinds = kinds(file, tokens)?;
        ends(file, tokens, &kinds)?;
        check_special(tokens, &kinds).map_err(bad)?;
        let known: HashSet<&str> = tokens.iter().collect();
        let rendered = ChatTemplate::from_gguf(file)?.render("S", "U")?;
        for mark in [IM_START, IM_END] {
            if rendered.contains(mark) && !known.contains(mark) {
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
fn check_special(tokens: &StringTable, kinds: &[TokenKind]) -> Result<(), String> {
    let is_special = |kind: &TokenKind| matches!(kind, TokenKind::Control | TokenKind::UserDefined);
    let mut all = 0;
    for (number, (token, _)) in (tokens.iter().zip(kinds).enumerate()).filter(|(_, (_, kind))| is_special(kind)) {
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

/// The tokens that end a text, by the file's keys and by their names. A number outside u32, such as -1, stands for none.
fn ends(file: &GgufFile, tokens: &StringTable, kinds: &[TokenKind]) -> Result<Vec<u32>, TokenizerError> {
    let is_end = |token: &str, kind: TokenKind| kind != TokenKind::Normal && NAMED_ENDS.contains(&token);
    let mut ends: Vec<u32> = (tokens.iter().zip(kinds).zip(0..))
        .filter_map(|((token, kind), id)| is_end(token, *kind).then_some(id))
        .collect();
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

/// The token that ends a turn where the file's own template does not write `<|im_end|>`; `None` in ChatML.
fn turn_end(file: &GgufFile) -> Option<u32> {
    let template = file.str(CHAT_TEMPLATE).filter(|template| !template.is_empty())?;
    let named = |key: &str| file.metadata(key).and_then(MetaValue::as_u32);
    if template.contains(IM_END) {
        return None;
    }
    named(EOT).or_else(|| named(EOS))
}

/// The kind of each token.
fn kinds(file: &GgufFile, tokens: &StringTable) -> Result<Vec<TokenKind>, TokenizerError> {
    let numbers = file.u32s(TOKEN_TYPES).ok_or_else(|| missing(file, TOKEN_TYPES))?;
    if numbers.len() != tokens.len() {
        return Err(TokenizerError::bad_vocabulary(
            file.path().display(),
            format!("it has {} tokens but {} token types", tokens.len(), numbers.len()),
        ));
    }
    let template = file
        .str(CHAT_TEMPLATE)
        .filter(|template| template.len() <= LONGEST_TEMPLATE);
    let template = template.unwrap_or_default();
    let kind = |(token, number)| {
        if is_mark(token, template) {
            TokenKind::Control
        } else {
            kind(number)
        }
    };
    Ok(tokens.iter().zip(numbers).map(kind).collect())
}

fn list<'f>(file: &'f GgufFile, key: &str) -> Result<&'f StringTable, TokenizerError> {
    file.strings(key).ok_or_else(|| missing(file, key))
}

fn missing(file: &GgufFile, key: &str) -> TokenizerError {
    TokenizerError::bad_vocabulary(file.path().display(), format!("its metadata lacks {key}"))
}

fn unusable(file: &GgufFile, key: &str) -> TokenizerError {
    TokenizerError::bad_vocabulary(file.path().display(), format!("its metadata has no usable {key}"))
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
