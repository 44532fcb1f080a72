//! `qwen.tiktoken`: one line for each token, with the base64 of its bytes, a space and its rank, which is the token's id.

use std::collections::HashMap;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use softprefix_core::bilingual;

use super::{PreTokenization, TokenKind, TokenizerError, Vocabulary, byte_level};

/// Special tokens after the last rank of the file, in the order of Qwen2.5's `tokenizer.json`.
const SPECIALS: [(&str, TokenKind); 22] = [
    ("<|endoftext|>", TokenKind::Control),
    ("<|im_start|>", TokenKind::Control),
    ("<|im_end|>", TokenKind::Control),
    ("<|object_ref_start|>", TokenKind::Control),
    ("<|object_ref_end|>", TokenKind::Control),
    ("<|box_start|>", TokenKind::Control),
    ("<|box_end|>", TokenKind::Control),
    ("<|quad_start|>", TokenKind::Control),
    ("<|quad_end|>", TokenKind::Control),
    ("<|vision_start|>", TokenKind::Control),
    ("<|vision_end|>", TokenKind::Control),
    ("<|vision_pad|>", TokenKind::Control),
    ("<|image_pad|>", TokenKind::Control),
    ("<|video_pad|>", TokenKind::Control),
    ("<tool_call>", TokenKind::UserDefined),
    ("</tool_call>", TokenKind::UserDefined),
    ("<|fim_prefix|>", TokenKind::Control),
    ("<|fim_middle|>", TokenKind::Control),
    ("<|fim_suffix|>", TokenKind::Control),
    ("<|fim_pad|>", TokenKind::Control),
    ("<|repo_name|>", TokenKind::Control),
    ("<|file_sep|>", TokenKind::Control),
];

/// Reads the file as a vocabulary with merges.
pub(super) fn read(path: &Path) -> Result<Vocabulary, TokenizerError> {
    let text =
        softprefix_core::files::read_text(path, super::LARGEST_FILE).map_err(|source| TokenizerError::Unreadable {
            path: path.to_owned(),
            source,
        })?;
    parse(&text, &path.display().to_string())
}

fn parse(text: &str, source: &str) -> Result<Vocabulary, TokenizerError> {
    let bad = |line: usize, en: &str, ja: &str| {
        let line = line + 1;
        TokenizerError::bad_vocabulary(source, bilingual!("line {line}: {en}", "{line} 行目：{ja}"))
    };
    let mut tokens: Vec<Vec<u8>> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        if line.is_empty() {
            continue;
        }
        let (token, rank) = line.split_once(' ').ok_or_else(|| {
            bad(
                number,
                "no blank between token and rank",
                "トークンと順位の間に空白がありません",
            )
        })?;
        let token = STANDARD
            .decode(token)
            .map_err(|_| bad(number, "the token is not base64", "トークンが Base64 ではありません"))?;
        let rank: usize = rank
            .trim_end()
            .parse()
            .map_err(|_| bad(number, "the rank is not a number", "順位が数ではありません"))?;
        if rank != tokens.len() {
            let before = tokens.len();
            let reason = bilingual!(
                "the rank is {rank}, but {before} tokens came before it",
                "順位が {rank} ですが、その前のトークンは {before} 個です"
            );
            return Err(bad(number, &reason.en, &reason.ja));
        }
        if token.is_empty() {
            return Err(bad(number, "the token is empty", "トークンが空です"));
        }
        tokens.push(token);
    }
    if tokens.is_empty() {
        return Err(TokenizerError::bad_vocabulary(
            source,
            bilingual!("it is empty", "空です"),
        ));
    }

    let ranks: HashMap<&[u8], u32> = tokens.iter().map(Vec::as_slice).zip(0..).collect();
    let merges = (tokens.iter().zip(0..))
        .filter(|(token, _)| token.len() > 1)
        .filter_map(|(token, rank)| halves(token, rank, &ranks))
        .map(|(left, right)| (byte_level::to_text(left), byte_level::to_text(right)))
        .collect();

    let mut vocabulary = Vocabulary {
        source: source.to_owned(),
        kinds: vec![TokenKind::Normal; tokens.len()],
        tokens: tokens.iter().map(|token| byte_level::to_text(token)).collect(),
        merges,
        pre: PreTokenization::Qwen2,
        ends: Vec::new(),
        turn_end: None,
    };
    for (name, kind) in SPECIALS {
        vocabulary.tokens.push(name.to_owned());
        vocabulary.kinds.push(kind);
    }
    Ok(vocabulary)
}

/// The two tokens whose merge makes `token`: what remains when its bytes are merged by all tokens of lower rank.
///
/// The file lists tokens in the order in which training made them, so the last merge of each is the one that made it.
/// `None` for a token that is not made of two (none in Qwen's files).
fn halves<'t>(token: &'t [u8], rank: u32, ranks: &HashMap<&[u8], u32>) -> Option<(&'t [u8], &'t [u8])> {
    let mut starts: Vec<usize> = (0..=token.len()).collect();
    while starts.len() > 3 {
        let best = starts
            .windows(3)
            .enumerate()
            .filter_map(|(at, ends)| ranks.get(&token[ends[0]..ends[2]]).map(|&pair| (pair, at)))
            .filter(|&(pair, _)| pair < rank)
            .min()?;
        starts.remove(best.1 + 1);
    }
    Some(token.split_at(starts[1]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(tokens: &[&str]) -> String {
        tokens
            .iter()
            .enumerate()
            .map(|(rank, token)| format!("{} {rank}\n", STANDARD.encode(token)))
            .collect()
    }

    #[test]
    fn merges_are_found_again_from_the_ranks() {
        let vocabulary = parse(
            &file(&["a", "b", "c", " ", "ab", "bc", " ab", "abab", " ababc"]),
            "test",
        )
        .unwrap();
        let merges: Vec<(&str, &str)> = vocabulary
            .merges
            .iter()
            .map(|(l, r)| (l.as_str(), r.as_str()))
            .collect();
        // " ababc": a b merge first, then " " with "ab", then ... "abab" is never reached from it: three parts remain.
        assert_eq!(merges, [("a", "b"), ("b", "c"), ("Ġ", "ab"), ("ab", "ab")]);
    }

    #[test]
    fn the_special_tokens_of_qwen_follow_the_last_rank() {
        let vocabulary = parse(&file(&["a", "b"]), "test").unwrap();
        assert_eq!(vocabulary.tokens[2], "<|endoftext|>");
        assert_eq!(vocabulary.tokens[4], "<|im_end|>");
        assert_eq!(vocabulary.kinds[16], TokenKind::UserDefined);
    }

    #[test]
    fn a_broken_line_is_named_by_its_number() {
        for (text, wanted) in [
            ("YQ== 0\nYg==\n", "line 2: no blank"),
            ("YQ== 0\n!! 1\n", "line 2: the token is not base64"),
            ("YQ== zero\n", "line 1: the rank is not a number"),
            ("YQ== 0\nYg== 2\n", "line 2: the rank is 2, but 1 tokens came before it"),
            ("", "it is empty"),
        ] {
            let message = parse(text, "x.tiktoken").unwrap_err().to_string();
            assert!(message.contains(wanted), "{message}");
        }
    }
}
