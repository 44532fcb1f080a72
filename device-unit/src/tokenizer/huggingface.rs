//! Pipelines of the crate `tokenizers`, from a [`Vocabulary`] or from a `tokenizer.json`.

use std::path::Path;

use softprefix_core::bilingual;
use softprefix_core::language::Bilingual;
use tokenizers::decoders::byte_level::ByteLevel as ByteLevelDecoder;
use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::normalizers::unicode::NFC;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{AddedToken, ModelWrapper, PreTokenizerWrapper, SplitDelimiterBehavior, Tokenizer};

use super::{Pieces, PreTokenization, TokenKind, TokenizerError, Vocabulary};

/// The pattern of Qwen2's and Qwen2.5's `tokenizer.json`.
const QWEN2_PATTERN: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// The pipeline of a vocabulary, with the same steps as the model's own `tokenizer.json`.
pub(super) fn build(vocabulary: Vocabulary) -> Result<Tokenizer, TokenizerError> {
    let Vocabulary {
        source,
        tokens,
        kinds,
        merges,
        pre,
        ends: _,
        turn_end: _,
    } = vocabulary;
    let unusable = |error: tokenizers::Error| TokenizerError::bad_vocabulary(&source, quoted(&error));
    if tokens.len() != kinds.len() {
        let reason = unequal_counts(tokens.len(), kinds.len());
        return Err(TokenizerError::bad_vocabulary(&source, reason));
    }
    let added: Vec<AddedToken> = (tokens.iter().zip(&kinds))
        .filter(|(_, kind)| matches!(kind, TokenKind::Control | TokenKind::UserDefined))
        .map(|(token, kind)| AddedToken::from(token.as_str(), *kind == TokenKind::Control).normalized(false))
        .collect();

    let mut ids = Vocab::with_capacity(tokens.len());
    for (token, id) in tokens.into_iter().zip(0_u32..) {
        ids.insert(token, id);
    }
    let model = BPE::builder().vocab_and_merges(ids, merges).build().map_err(unusable)?;

    let mut tokenizer = Tokenizer::new(model);
    match pre {
        PreTokenization::Qwen2 => {
            tokenizer.with_normalizer(Some(NFC));
            let pattern = SplitPattern::Regex(QWEN2_PATTERN.to_owned());
            let split = Split::new(pattern, SplitDelimiterBehavior::Isolated, false).map_err(unusable)?;
            tokenizer.with_pre_tokenizer(Some(Sequence::new(vec![
                PreTokenizerWrapper::Split(split),
                PreTokenizerWrapper::ByteLevel(ByteLevel::new(false, false, false)),
            ])));
        }
        PreTokenization::SmolLm => {
            tokenizer.with_pre_tokenizer(Some(Sequence::new(vec![
                PreTokenizerWrapper::Digits(Digits::new(true)),
                PreTokenizerWrapper::ByteLevel(ByteLevel::new(false, true, true)),
            ])));
        }
    }
    tokenizer.with_decoder(Some(ByteLevelDecoder::default()));
    tokenizer.add_tokens(&added);
    Ok(tokenizer)
}

/// Reads a `tokenizer.json` and the bytes of its tokens.
pub(super) fn read(path: &Path) -> Result<(Tokenizer, Pieces), TokenizerError> {
    let bytes =
        softprefix_core::files::read(path, super::LARGEST_FILE).map_err(|source| TokenizerError::Unreadable {
            path: path.to_owned(),
            source,
        })?;
    let bad = |reason: Bilingual| TokenizerError::bad_vocabulary(path.display(), reason);
    let tokenizer = Tokenizer::from_bytes(bytes).map_err(|error| bad(quoted(&error)))?;
    let ModelWrapper::BPE(model) = tokenizer.get_model() else {
        return Err(bad(bilingual!("it is not of the BPE kind", "BPE の語彙ではありません")));
    };
    if model.byte_fallback || !is_byte_level(&tokenizer) {
        return Err(bad(bilingual!(
            "its BPE does not work on bytes",
            "バイト単位の BPE ではありません"
        )));
    }

    let added = tokenizer.get_added_tokens_decoder();
    let vocabulary = tokenizer.get_vocab(true);
    let size = vocabulary.values().max().map_or(0, |&id| id as usize + 1);
    // Ids in a file may have gaps, which must not cost gigabytes.
    if size > 16 * vocabulary.len() + 1024 {
        let count = vocabulary.len();
        return Err(bad(bilingual!(
            "it numbers {count} tokens up to {size}",
            "{count} 個のトークンの番号が {size} まであります"
        )));
    }
    let mut by_id: Vec<Option<(&str, TokenKind)>> = vec![None; size];
    for (text, &id) in &vocabulary {
        let kind = match added.get(&id) {
            Some(token) if token.special => TokenKind::Control,
            Some(_) => TokenKind::UserDefined,
            None => TokenKind::Normal,
        };
        by_id[id as usize] = Some((text, kind));
    }
    let mut pieces = Pieces::with_capacity(size);
    for slot in by_id {
        let (text, kind) = slot.unwrap_or(("", TokenKind::Unused));
        pieces.push(text, kind);
    }
    Ok((tokenizer, pieces))
}

/// The message of the library, which is in English.
fn quoted(error: &tokenizers::Error) -> Bilingual {
    bilingual!("{error}", "詳細：「{error}」")
}

/// Why a vocabulary whose lists do not belong together cannot be used.
pub(super) fn unequal_counts(tokens: usize, kinds: usize) -> Bilingual {
    bilingual!(
        "it has {tokens} tokens but {kinds} token types",
        "トークンは {tokens} 個ですが、トークンの種類は {kinds} 個です"
    )
}

fn is_byte_level(tokenizer: &Tokenizer) -> bool {
    fn contains(pre: &PreTokenizerWrapper) -> bool {
        match pre {
            PreTokenizerWrapper::ByteLevel(_) => true,
            PreTokenizerWrapper::Sequence(sequence) => sequence.as_ref().iter().any(contains),
            _ => false,
        }
    }
    tokenizer.get_pre_tokenizer().is_some_and(contains)
}
