//! GPT-2's encoding of bytes as printable characters, which byte-level vocabularies use.

use std::sync::LazyLock;

/// The character of each byte: itself where it is printable in Latin-1, else the next free one from U+0100 on.
static CHARS: LazyLock<[char; 256]> = LazyLock::new(|| {
    let mut chars = ['\0'; 256];
    let mut spare = 0x100_u32;
    for byte in 0..=255_u8 {
        chars[usize::from(byte)] = if matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF) {
            char::from(byte)
        } else {
            let next = char::from_u32(spare).unwrap_or(char::REPLACEMENT_CHARACTER);
            spare += 1;
            next
        };
    }
    chars
});

/// The byte of each character below U+0144, where the alphabet ends.
static BYTES: LazyLock<[Option<u8>; 0x144]> = LazyLock::new(|| {
    let mut bytes = [None; 0x144];
    for byte in 0..=255_u8 {
        bytes[CHARS[usize::from(byte)] as usize] = Some(byte);
    }
    bytes
});

/// Appends the bytes that a vocabulary entry stands for. An entry outside the alphabet stands for its own UTF-8.
pub(super) fn append_bytes(token: &str, out: &mut Vec<u8>) {
    let start = out.len();
    for character in token.chars() {
        match BYTES.get(character as usize).copied().flatten() {
            Some(byte) => out.push(byte),
            None => {
                out.truncate(start);
                out.extend_from_slice(token.as_bytes());
                return;
            }
        }
    }
}

/// Writes bytes in the alphabet.
pub(super) fn to_text(bytes: &[u8]) -> String {
    bytes.iter().map(|&byte| CHARS[usize::from(byte)]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_survives_the_way_into_the_alphabet_and_back() {
        let all: Vec<u8> = (0..=255).collect();
        let mut back = Vec::new();
        append_bytes(&to_text(&all), &mut back);
        assert_eq!(back, all);
    }

    #[test]
    fn a_blank_is_written_as_the_well_known_g_with_dot() {
        assert_eq!(to_text(b" a\n"), "\u{120}a\u{10a}");
    }

    #[test]
    fn an_entry_outside_the_alphabet_stands_for_itself() {
        let mut out = b"x".to_vec();
        append_bytes("a日", &mut out);
        assert_eq!(out, "xa日".as_bytes());
    }
}
