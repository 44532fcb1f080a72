//! The secret with which a client authenticates to a unit that serves one program: part of our extension of StackFlow.

use std::fmt;

/// Beginning of the line.
const START: &str = "softprefix ";
/// Random bytes of a secret.
const RANDOM_BYTES: usize = 32;

/// A secret shared by a unit and its own clients: 256 random bits, as 64 hexadecimal digits.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Length of the line in bytes, the line feed included.
    pub const LINE_BYTES: usize = START.len() + 2 * RANDOM_BYTES + 1;

    /// A new secret from the system's random generator.
    ///
    /// # Errors
    /// Where the system's generator fails.
    pub fn random() -> std::io::Result<Self> {
        let mut bytes = [0; RANDOM_BYTES];
        getrandom::fill(&mut bytes).map_err(std::io::Error::from)?;
        Ok(Self(hex::encode(bytes)))
    }

    /// The first line of a connection: `softprefix <64 hexadecimal digits>` and a line feed.
    pub fn line(&self) -> Vec<u8> {
        format!("{START}{}\n", self.0).into_bytes()
    }

    /// Whether `line` is [`Secret::line`]. Takes the same time wherever the first wrong byte is.
    pub fn is_line(&self, line: &[u8]) -> bool {
        let own = self.line();
        own.len() == line.len()
            && own
                .iter()
                .zip(line)
                .fold(0, |different, (own, given)| different | (own ^ given))
                == 0
    }
}

impl fmt::Debug for Secret {
    /// Hides the secret: options are written into logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_its_own_line_is_taken() {
        let (secret, other) = (Secret::random().unwrap(), Secret::random().unwrap());
        assert_eq!(secret.line().len(), Secret::LINE_BYTES);
        assert!(secret.is_line(&secret.line()));
        assert!(!secret.is_line(&other.line()));
        for at in 0..Secret::LINE_BYTES {
            let mut line = secret.line();
            line[at] ^= 1;
            assert!(!secret.is_line(&line));
            assert!(!secret.is_line(&line[..at]));
        }
    }

    #[test]
    fn it_is_not_written_into_logs() {
        let secret = Secret::random().unwrap();
        let line = String::from_utf8(secret.line()).unwrap();
        let digits = line.trim().rsplit(' ').next().unwrap();
        assert!(!format!("{secret:?}").contains(&digits[..4]));
    }
}
