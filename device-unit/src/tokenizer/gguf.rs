//! The vocabulary inside a GGUF file.

use std::collections::HashSet;

use softprefix_core::bilingual;
use softprefix_core::language::Bilingual;

use crate::gguf::KeyUse::{Computed, Meaningless, Only};
use crate::gguf::{GgufFile, KeyTable, MetaValue, StringTable, check_keys, is_off};

use super::huggingface::unequal_counts;
use super::jinja::{JinjaTemplate, LONGEST_TEMPLATE, RenderError};
use super::{ChatTemplate, END_OF_TEXT, IM_END, PreTokenization, TokenKind, Tokenizer, TokenizerError, Vocabulary};

const MODEL: &str = "tokenizer.ggml.model";
const PRE: &str = "tokenizer.ggml.pre";
const TOKENS: &str = "tokenizer.ggml.tokens";
const TOKEN_TYPES: &str = "tokenizer.ggml.token_type";
const MERGES: &str = "tokenizer.ggml.merges";
const BOS: &str = "tokenizer.ggml.bos_token_id";
const ADD_BOS: &str = "tokenizer.ggml.add_bos_token";
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
/// Names that end a text in some vocabularies, and have another use beside others.
const END: &str = "<|end|>";
const RETURN: &str = "<|return|>";
const CALL: &str = "<|call|>";
const CALLS: &str = "<|calls|>";
const FLUSH: &str = "<|flush|>";
const CLOSING_S: &str = "</s>";
const TOOL_RESPONSE: &str = "<|tool_response>";
/// Tokens that end a text by their name, as in llama.cpp. Those without bars are ordinary text where a file lists them as normal tokens:
/// `</s>` in Qwen's vocabulary closes a line of HTML.
const NAMED_ENDS: [&str; 33] = [
    END_OF_TEXT,
    IM_END,
    "<|eot_id|>",
    "<|eom_id|>",
    END,
    "<|end_of_text|>",
    RETURN,
    CALL,
    CALLS,
    FLUSH,
    TOOL_RESPONSE,
    "<turn|>",
    "<end_of_turn>",
    "<end_of_utterance>",
    "<eos>",
    CLOSING_S,
    "<EOT>",
    "_<EOT>",
    "[EOT]",
    "[EOS]",
    "<｜end▁of▁sentence｜>",
    "[e~[",
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
    ("ggml.add_bos_token", Computed),
    (
        "ggml.add_eos_token",
        Only(
            is_off,
            Bilingual {
                en: "false, nothing behind a text",
                ja: "false（テキストの後に何も付けない）",
            },
        ),
    ),
    (
        "ggml.add_sep_token",
        Only(
            is_off,
            Bilingual {
                en: "false, nothing between texts",
                ja: "false（テキストの間に何も入れない）",
            },
        ),
    ),
    (
        "ggml.add_padding_token",
        Only(
            is_off,
            Bilingual {
                en: "false, no text is filled up",
                ja: "false（テキストを詰め物で伸ばさない）",
            },
        ),
    ),
    (
        "ggml.add_unknown_token",
        Only(
            is_off,
            Bilingual {
                en: "false, as read for BERT alone",
                ja: "false（BERT だけが使う設定）",
            },
        ),
    ),
    (
        "ggml.add_cls_token",
        Only(
            is_off,
            Bilingual {
                en: "false, as read for BERT alone",
                ja: "false（BERT だけが使う設定）",
            },
        ),
    ),
    (
        "ggml.add_mask_token",
        Only(
            is_off,
            Bilingual {
                en: "false, as read for BERT alone",
                ja: "false（BERT だけが使う設定）",
            },
        ),
    ),
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
    /// [`TokenizerError::BadVocabulary`] where the metadata it needs is of another type; [`TokenizerError::Unsupported`] where prompts begin
    /// with a token that is not special.
    pub fn from_gguf(file: &GgufFile) -> Result<Self, TokenizerError> {
        let tokens = list(file, TOKENS)?;
        let token = |key: &str| {
            let id = named_token(file, key, tokens)?;
            Ok(id.and_then(|id| tokens.get(id as usize)).unwrap_or_default().to_owned())
        };
        let bos = token(BOS)?;
        let mut template = Self::for_architecture(file.str("general.architecture").unwrap_or_default());
        template.bos = (begins_texts(file, tokens)?).then(|| bos.clone());
        let source = match file.metadata(CHAT_TEMPLATE) {
            None => "",
            Some(value) => value.as_str().ok_or_else(|| unusable(file, CHAT_TEMPLATE))?,
        };
        if source.is_empty() {
            return Ok(template);
        }
        let bad = |reason: Bilingual| TokenizerError::Template {
            what: file.path().display().to_string(),
            reason,
        };
        if source.len() > LONGEST_TEMPLATE {
            let bytes = source.len();
            return Err(bad(bilingual!(
                "its {CHAT_TEMPLATE} has {bytes} bytes, more than {LONGEST_TEMPLATE}",
                "{CHAT_TEMPLATE} が {bytes} バイトで、{LONGEST_TEMPLATE} を超えています"
            )));
        }
        let cannot = |error: RenderError| {
            let detail = error.into_clause();
            bad(bilingual!(
                "its {CHAT_TEMPLATE} cannot be rendered ({detail})",
                "{CHAT_TEMPLATE} からプロンプトを作れません（詳細：「{detail}」）"
            ))
        };
        let own = JinjaTemplate::new(source, bos, token(EOS)?).map_err(cannot)?;
        let (system, user) = ("Answer briefly.", "Is the sea deep?");
        let rendered = own.render(system, user).map_err(cannot)?;
        for (text, en, ja) in [
            (system, "the system prompt", "システムプロンプト"),
            (user, "the user's text", "ユーザーのテキスト"),
        ] {
            if !rendered.contains(text) {
                return Err(bad(bilingual!(
                    "its {CHAT_TEMPLATE} leaves out {en}",
                    "{CHAT_TEMPLATE} が{ja}を省いてしまいます"
                )));
            }
        }
        // Without the user's text, its length is what a prompt has besides it.
        own.render(system, "").map_err(cannot)?;
        template.own = Some(own);
        Ok(template)
    }
}

/// Whether a token is a mark although a file gives it another type: some exporters list those of the template as normal tokens, which
/// would be split as text. A user-defined token is found as a whole anyway, and is text unless it ends one.
fn is_mark(token: &str, kind: TokenKind, template: &str) -> bool {
    let has_bars = token.starts_with("<|") && token.ends_with("|>");
    let is_named = NAMED_ENDS.contains(&token);
    has_bars && (is_named || kind != TokenKind::UserDefined && (token == IM_START || template.contains(token)))
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
        let bad = |reason: Bilingual| TokenizerError::bad_vocabulary(&source, reason);
        Self::check_gguf(file)?;
        let pre = pre_tokenization(file)?;
        let (tokens, merges) = (list(file, TOKENS)?, list(file, MERGES)?);
        let (kinds, ends) = kinds_and_ends(file, tokens)?;
        let merges = (pairs(merges).map_err(bad)?.iter())
            .map(|(left, right)| ((*left).to_owned(), (*right).to_owned()))
            .collect();
        Ok(Self {
            ends,
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
    /// As [`Tokenizer::from_gguf`] and [`ChatTemplate::from_gguf`], and [`TokenizerError::Unsupported`] where the template writes
    /// `<|im_start|>` or `<|im_end|>` and the vocabulary does not have it, or a key is not known.
    pub fn check_gguf(file: &GgufFile) -> Result<usize, TokenizerError> {
        let bad = |reason: Bilingual| TokenizerError::bad_vocabulary(file.path().display(), reason);
        let unsupported = |reason: Bilingual| unsupported(file, reason);
        pre_tokenization(file)?;
        check_keys(file, "tokenizer.", KEYS).map_err(unsupported)?;
        let merges = list(file, MERGES)?;
        let tokens = list(file, TOKENS)?;
        let (kinds, _) = kinds_and_ends(file, tokens)?;
        check_special(tokens, &kinds).map_err(unsupported)?;
        let mut known = HashSet::with_capacity(tokens.len());
        for token in tokens.iter() {
            // Texts without a token have none in several places.
            if !known.insert(token) && !token.is_empty() {
                return Err(bad(bilingual!(
                    "it lists the token {token:?} twice",
                    "トークン {token:?} が二つあります"
                )));
            }
        }
        let rendered = ChatTemplate::from_gguf(file)?.render("S", "U")?;
        for mark in [IM_START, IM_END] {
            if rendered.contains(mark) && !known.contains(mark) {
                return Err(unsupported(bilingual!(
                    "it has no token {mark}, so it is not made for chats in ChatML",
                    "トークン {mark} がなく、ChatML の会話のための語彙ではありません"
                )));
            }
        }
        check_merges(merges, &known).map_err(bad)?;
        Ok(tokens.len())
    }
}

/// Checks the lengths of the tokens that are searched for in every text.
fn check_special(tokens: &StringTable, kinds: &[TokenKind]) -> Result<(), Bilingual> {
    let is_special = |kind: &TokenKind| matches!(kind, TokenKind::Control | TokenKind::UserDefined);
    let mut all = 0;
    for (number, (token, _)) in (tokens.iter().zip(kinds).enumerate()).filter(|(_, (_, kind))| is_special(kind)) {
        if token.len() > LONGEST_SPECIAL {
            let bytes = token.len();
            return Err(bilingual!(
                "its special token {number} has {bytes} bytes, more than {LONGEST_SPECIAL}",
                "特殊トークン {number} が {bytes} バイトで、{LONGEST_SPECIAL} を超えています"
            ));
        }
        all += token.len();
    }
    if all > MOST_SPECIAL {
        return Err(bilingual!(
            "its special tokens have {all} bytes, more than {MOST_SPECIAL}",
            "特殊トークンが合わせて {all} バイトで、{MOST_SPECIAL} を超えています"
        ));
    }
    Ok(())
}

/// Checks that both parts of each merge and what they make are tokens.
fn check_merges(merges: &StringTable, known: &HashSet<&str>) -> Result<(), Bilingual> {
    let mut whole = String::new();
    for ((left, right), number) in pairs(merges)?.into_iter().zip(1_usize..) {
        whole.clear();
        whole.push_str(left);
        whole.push_str(right);
        if let Some(missing) = [left, right, whole.as_str()]
            .into_iter()
            .find(|part| !known.contains(part))
        {
            return Err(bilingual!(
                "its merge {number} needs the token {missing:?}, which it has not",
                "マージ {number} に必要なトークン {missing:?} がありません"
            ));
        }
    }
    Ok(())
}

/// The two parts of each merge.
fn pairs(merges: &StringTable) -> Result<Vec<(&str, &str)>, Bilingual> {
    (merges.iter().zip(1_usize..))
        .map(|(merge, number)| {
            merge.split_once(' ').ok_or_else(|| {
                bilingual!(
                    "its merge {number} is no pair: {merge:?}",
                    "マージ {number} が二つの部分に分かれていません：{merge:?}"
                )
            })
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
        "qwen2" | "deepseek-r1-qwen" | "megrez" | "kormo" | "f2llmv2" => Ok(PreTokenization::Qwen2),
        "smollm" => Ok(PreTokenization::SmolLm),
        other => Err(TokenizerError::UnknownSplit {
            what: what(),
            pre: other.to_owned(),
        }),
    }
}

/// The kind of each token, and the tokens that end a text.
fn kinds_and_ends(file: &GgufFile, tokens: &StringTable) -> Result<(Vec<TokenKind>, Vec<u32>), TokenizerError> {
    let mut kinds = kinds(file, tokens)?;
    let mut ends = ends(file, tokens, &kinds)?;
    let text = |id: u32| tokens.get(id as usize);
    let named: HashSet<&str> = ends.iter().filter_map(|&id| text(id)).collect();
    let has = |names: &[&str]| names.iter().any(|name| named.contains(name));
    // As in llama.cpp: between the parts of an answer, and closing a line of HTML.
    let separates = has(&[CALL, CALLS]) && has(&[FLUSH]) || has(&[RETURN]) && has(&[CALL, CALLS]);
    let is_html = has(&[TOOL_RESPONSE, "<|plamo:eos|>"]);
    for (name, kind, is_none) in [
        (END, TokenKind::UserDefined, separates),
        (CLOSING_S, TokenKind::Normal, is_html),
    ] {
        if is_none && let Some(at) = ends.iter().position(|&id| text(id) == Some(name)) {
            kinds[ends[at] as usize] = kind;
            ends.retain(|&id| text(id) != Some(name));
        }
    }
    Ok((kinds, ends))
}

/// The tokens that end a text, by the file's keys and by their names.
fn ends(file: &GgufFile, tokens: &StringTable, kinds: &[TokenKind]) -> Result<Vec<u32>, TokenizerError> {
    let is_end = |token: &str, kind: TokenKind| kind != TokenKind::Normal && NAMED_ENDS.contains(&token);
    let mut ends: Vec<u32> = (tokens.iter().zip(kinds).zip(0..))
        .filter_map(|((token, kind), id)| is_end(token, *kind).then_some(id))
        .collect();
    for key in ENDS {
        ends.extend(named_token(file, key, tokens)?);
    }
    if let Some(value) = file.metadata(ENDS_LIST) {
        for id in value.as_u32s().ok_or_else(|| unusable(file, ENDS_LIST))? {
            ends.push(in_vocabulary(file, ENDS_LIST, id, tokens)?);
        }
    }
    Ok(ends)
}

/// The token that a key names. A number outside u32, such as -1, stands for none, and so does the largest, which is -1 as well.
fn named_token(file: &GgufFile, key: &str, tokens: &StringTable) -> Result<Option<u32>, TokenizerError> {
    let Some(value) = file.metadata(key) else {
        return Ok(None);
    };
    if !value.is_integer() {
        return Err(unusable(file, key));
    }
    let id = value.as_u32().filter(|id| *id != u32::MAX);
    id.map(|id| in_vocabulary(file, key, id, tokens)).transpose()
}

fn in_vocabulary(file: &GgufFile, key: &str, id: u32, tokens: &StringTable) -> Result<u32, TokenizerError> {
    let count = tokens.len();
    if id as usize >= count {
        let reason = bilingual!(
            "its {key} is {id}, and it has {count} tokens",
            "{key} は {id} ですが、トークンは {count} 個です"
        );
        return Err(TokenizerError::bad_vocabulary(file.path().display(), reason));
    }
    Ok(id)
}

/// Whether a token is put in front of each prompt.
fn begins_texts(file: &GgufFile, tokens: &StringTable) -> Result<bool, TokenizerError> {
    match file.metadata(ADD_BOS).map(|value| (value, value.as_bool())) {
        None => Ok(false),
        Some((value, _)) if is_off(value) => Ok(false),
        Some((_, Some(true))) => {
            // Its name is put in front of the text, where only a special token is found by its name.
            let kinds = kinds(file, tokens)?;
            let kind = named_token(file, BOS, tokens)?.and_then(|id| kinds.get(id as usize));
            if !matches!(kind, Some(TokenKind::Control | TokenKind::UserDefined)) {
                let reason = bilingual!(
                    "its {ADD_BOS} is true, and no {BOS} names a special token",
                    "{ADD_BOS} が true なのに、特殊トークンを示す {BOS} がありません"
                );
                return Err(unsupported(file, reason));
            }
            Ok(true)
        }
        Some(_) => Err(unusable(file, ADD_BOS)),
    }
}

/// The token that ends a turn where the file's own template does not write `<|im_end|>`; `None` in ChatML.
fn turn_end(file: &GgufFile) -> Option<u32> {
    let template = file.str(CHAT_TEMPLATE).filter(|template| !template.is_empty())?;
    let named = |key: &str| {
        let id = file.metadata(key).and_then(MetaValue::as_u32);
        id.filter(|id| *id != u32::MAX)
    };
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
            unequal_counts(tokens.len(), numbers.len()),
        ));
    }
    let template = file
        .str(CHAT_TEMPLATE)
        .filter(|template| template.len() <= LONGEST_TEMPLATE);
    let template = template.unwrap_or_default();
    let kind = |(token, number)| {
        let kind = kind(number);
        if is_mark(token, kind, template) {
            TokenKind::Control
        } else {
            kind
        }
    };
    Ok(tokens.iter().zip(numbers).map(kind).collect())
}

fn list<'f>(file: &'f GgufFile, key: &str) -> Result<&'f StringTable, TokenizerError> {
    file.strings(key).ok_or_else(|| missing(file, key))
}

fn missing(file: &GgufFile, key: &str) -> TokenizerError {
    let reason = bilingual!("its metadata lacks {key}", "メタデータに {key} がありません");
    TokenizerError::bad_vocabulary(file.path().display(), reason)
}

fn unusable(file: &GgufFile, key: &str) -> TokenizerError {
    let reason = bilingual!(
        "its metadata has no usable {key}",
        "メタデータに使える {key} がありません"
    );
    TokenizerError::bad_vocabulary(file.path().display(), reason)
}

fn unsupported(file: &GgufFile, reason: Bilingual) -> TokenizerError {
    TokenizerError::Unsupported {
        what: file.path().display().to_string(),
        reason,
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
