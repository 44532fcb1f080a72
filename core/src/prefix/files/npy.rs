//! NumPy's `.npy`, format versions 1 to 3: one array of numbers. Arrays of Python objects are refused, not unpickled.
//!
//! Format: <https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html>

use std::ops::RangeInclusive;

use super::FileError;
use super::table::{Stored, Table, rows_and_columns};

pub(super) const MAGIC: &[u8] = b"\x93NUMPY";
/// Longest header that is read; NumPy's have one or two hundred bytes.
const LONGEST_HEADER: usize = 64 << 10;

/// Reads an array of shape `[P, H]`, `[1, P, H]` or `[H]`. The data must have exactly the length that the header gives.
pub(super) fn read<'a>(file: &str, bytes: &'a [u8]) -> Result<Table<'a>, FileError> {
    let malformed = |detail: String| FileError::Malformed {
        file: file.to_owned(),
        kind: ".npy",
        detail,
    };
    let cut = || malformed("it ends within its header".to_owned());
    let rest = bytes
        .strip_prefix(MAGIC)
        .ok_or_else(|| malformed("it does not begin as one".to_owned()))?;
    let (version, rest) = rest.split_first_chunk::<2>().ok_or_else(cut)?;
    let (length, rest) = match version[0] {
        1 => {
            let (length, rest) = rest.split_first_chunk::<2>().ok_or_else(cut)?;
            (usize::from(u16::from_le_bytes(*length)), rest)
        }
        2 | 3 => {
            let (length, rest) = rest.split_first_chunk::<4>().ok_or_else(cut)?;
            (u32::from_le_bytes(*length) as usize, rest)
        }
        other => return Err(malformed(format!("its format version {other} is not known"))),
    };
    if length > LONGEST_HEADER {
        return Err(malformed(format!("its header claims {length} bytes")));
    }
    let (header, data) = rest.split_at_checked(length).ok_or_else(cut)?;
    let header = std::str::from_utf8(header).map_err(|error| malformed(format!("its header is no text: {error}")))?;
    let Header {
        descr,
        by_columns,
        shape,
    } = Header::parse(header)
        .ok_or_else(|| malformed(format!("its header cannot be understood: {}", short(header))))?;

    let (big_endian, code) = match descr.split_at_checked(1) {
        Some((">", code)) => (true, code),
        Some(("<" | "|" | "=", code)) => (false, code),
        _ => (false, descr),
    };
    let stored = match code {
        "f4" => Stored::F32,
        "f2" => Stored::F16,
        "f8" => Stored::F64,
        // NumPy stores types that it does not know, such as JAX's bf16, as V2.
        "V2" => Stored::Bf16,
        "u2" if are_bf16_bits(data, big_endian) => Stored::Bf16,
        "u2" => {
            return Err(FileError::UnclearWords { file: file.to_owned() });
        }
        _ if code.starts_with('O') => return Err(FileError::Pickle { file: file.to_owned() }),
        _ => {
            let mut found = short(descr);
            if matches!(code, "f12" | "f16") {
                found.push_str(" (NumPy's longdouble)");
            }
            return Err(FileError::WrongType {
                file: file.to_owned(),
                found,
            });
        }
    };
    let Some((rows, width)) = rows_and_columns(&shape) else {
        return Err(FileError::NotOneTable {
            file: file.to_owned(),
            found: format!("an array of {} dimensions", shape.len()),
        });
    };
    let expected = (rows as u128 * width as u128).saturating_mul(stored.size() as u128);
    if expected != data.len() as u128 {
        return Err(malformed(format!(
            "{rows} x {width} values of {} would be {expected} bytes, and {} are there",
            stored.name(),
            data.len()
        )));
    }
    Ok(Table {
        rows,
        width,
        one_dimension: shape.len() == 1,
        stored,
        big_endian,
        by_columns,
        bytes: data,
    })
}

/// Whether words of 16 bits are the bits of a prefix in bf16, and neither those of f16 nor whole numbers.
///
/// The rows of a prefix have many magnitudes, most of them within a few octaves of each other and about as large as the values of token
/// embeddings. The words of positive floats are ordered like the floats; an octave is 128 words of bf16, and 1,024 of f16. What is taken
/// for bf16 by mistake has its middle four fifths within two thirds of an octave in f16, or between the whole numbers 14,336 and 17,536. Values that have few
/// magnitudes, as those of a constant prefix, can be either.
fn are_bf16_bits(data: &[u8], big_endian: bool) -> bool {
    const FEWEST_MAGNITUDES: usize = 8;
    /// Words between the first and the last tenth of the values: five octaves of bf16. The embeddings of tokens have about four.
    const WIDEST: usize = 5 * 128;
    /// Between which words the last tenth begins: the bits of 2^-10 and of 2^10 in bf16.
    const LARGE: RangeInclusive<usize> = 0x3a80..=0x4480;
    let mut counts = vec![0_usize; 1 << 15];
    for bytes in data.chunks_exact(2) {
        let word = match *bytes {
            [a, b] if big_endian => u16::from_be_bytes([a, b]),
            [a, b] => u16::from_le_bytes([a, b]),
            _ => 0,
        };
        counts[usize::from(word & 0x7fff)] += 1;
    }
    // Zero is the same word in all three.
    counts[0] = 0;
    let total: usize = counts.iter().sum();
    let word_at = |rank: usize| {
        let mut up_to = 0;
        counts.iter().position(|count| {
            up_to += count;
            up_to > rank
        })
    };
    let (low, high) = (
        word_at(total / 10),
        word_at(total - total / 10 - usize::from(total > 0)),
    );
    let magnitudes = counts.iter().filter(|count| **count > 0).count();
    low.zip(high)
        .is_none_or(|(low, high)| magnitudes >= FEWEST_MAGNITUDES && LARGE.contains(&high) && high - low <= WIDEST)
}

/// An array of P x H little-endian f32 values.
pub(super) fn write(rows: usize, width: usize, values: impl Iterator<Item = f32>) -> Vec<u8> {
    let dictionary = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({rows}, {width}), }}");
    // Magic, version, length, dictionary and line end fill whole blocks of 64 bytes.
    let before = MAGIC.len() + 2 + 2;
    let length = (before + dictionary.len() + 1).next_multiple_of(64) - before;
    let mut bytes = MAGIC.to_vec();
    bytes.extend([1, 0]);
    bytes.extend((length as u16).to_le_bytes());
    bytes.extend(dictionary.as_bytes());
    bytes.resize(before + length - 1, b' ');
    bytes.push(b'\n');
    values.for_each(|value| bytes.extend(value.to_le_bytes()));
    bytes
}

fn short(text: &str) -> String {
    text.chars().take(60).collect()
}

/// The three entries of an array's header.
struct Header<'a> {
    descr: &'a str,
    by_columns: bool,
    shape: Vec<usize>,
}

impl<'a> Header<'a> {
    /// The header is a Python dictionary with these three keys, in any order.
    fn parse(text: &'a str) -> Option<Self> {
        let mut scanner = Scanner { rest: text };
        let (mut descr, mut by_columns, mut shape) = (None, None, None);
        scanner.expect('{')?;
        while !scanner.accept('}') {
            let key = scanner.string()?;
            scanner.expect(':')?;
            match key {
                "descr" => descr = Some(scanner.string()?),
                "fortran_order" => by_columns = Some(scanner.truth()?),
                "shape" => shape = Some(scanner.numbers()?),
                _ => return None,
            }
            if !scanner.accept(',') {
                scanner.expect('}')?;
                break;
            }
        }
        scanner.is_done().then_some(())?;
        Some(Self {
            descr: descr?,
            by_columns: by_columns?,
            shape: shape?,
        })
    }
}

struct Scanner<'a> {
    rest: &'a str,
}

impl<'a> Scanner<'a> {
    fn accept(&mut self, wanted: char) -> bool {
        self.rest = self.rest.trim_start();
        match self.rest.strip_prefix(wanted) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn expect(&mut self, wanted: char) -> Option<()> {
        self.accept(wanted).then_some(())
    }

    fn string(&mut self) -> Option<&'a str> {
        let quote = if self.accept('\'') {
            '\''
        } else {
            self.expect('"')?;
            '"'
        };
        let (text, rest) = self.rest.split_once(quote)?;
        self.rest = rest;
        Some(text)
    }

    fn truth(&mut self) -> Option<bool> {
        self.rest = self.rest.trim_start();
        for (word, value) in [("True", true), ("False", false)] {
            if let Some(rest) = self.rest.strip_prefix(word) {
                self.rest = rest;
                return Some(value);
            }
        }
        None
    }

    fn numbers(&mut self) -> Option<Vec<usize>> {
        self.expect('(')?;
        let mut numbers = Vec::new();
        while !self.accept(')') {
            self.rest = self.rest.trim_start();
            let end = self.rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(self.rest.len());
            numbers.push(self.rest[..end].parse().ok()?);
            // Python 2 wrote 4L.
            self.rest = self.rest[end..].trim_start_matches('L');
            if !self.accept(',') {
                self.expect(')')?;
                break;
            }
        }
        Some(numbers)
    }

    fn is_done(&self) -> bool {
        self.rest.trim().is_empty()
    }
}
