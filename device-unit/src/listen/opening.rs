//! Who speaks on a connection, told by its first bytes. It knows no messages.
//!
//! A page in a web browser can make the browser send any text to any port of its machine, behind a request line that it has no say in.
//! The port's own protocol would skip that line as garbage and obey the text, so a connection that begins like this is closed before
//! anything on it is read. A page cannot do without the line: methods that are not listed here are asked for with OPTIONS first.

use softprefix_core::protocol::extension::Secret;

/// How HTTP requests begin.
const METHODS: [&[u8]; 10] = [
    b"GET ",
    b"HEAD ",
    b"POST ",
    b"PUT ",
    b"DELETE ",
    b"CONNECT ",
    b"OPTIONS ",
    b"TRACE ",
    b"PATCH ",
    // HTTP/2 without an upgrade.
    b"PRI ",
];
/// How a TLS handshake begins: the record's type, and the first half of its version.
const TLS: &[u8] = &[0x16, 0x03];

/// Somebody who is not to be heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stranger {
    /// A web browser, or another client of HTTP.
    Http,
    Tls,
    /// The unit serves one program alone, and this is another one.
    WithoutSecret,
}

/// What the first bytes say.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Not enough of them yet.
    Open,
    /// These bytes are to be read as messages, and all that come after them.
    Heard(Vec<u8>),
    Refused(Stranger),
}

/// The first bytes of a connection: never more than a line with a secret.
#[derive(Debug)]
pub struct Opening {
    secret: Option<Secret>,
    bytes: Vec<u8>,
}

impl Opening {
    /// With a `secret`, nobody is heard whose first line is another than its.
    pub fn new(secret: Option<Secret>) -> Self {
        Self {
            secret,
            bytes: Vec::new(),
        }
    }

    /// Whether the first bytes must come soon: a line with a secret is not typed by hand.
    pub fn is_urgent(&self) -> bool {
        self.secret.is_some()
    }

    /// Takes the next bytes. Called until it says who speaks.
    pub fn push(&mut self, bytes: &[u8]) -> Verdict {
        // Blanks mean nothing between messages, and are not to be held.
        let bytes = if self.bytes.is_empty() {
            bytes.trim_ascii_start()
        } else {
            bytes
        };
        self.bytes.extend_from_slice(bytes);
        match (said(&self.bytes), &self.secret) {
            (Said::By(stranger), _) => Verdict::Refused(stranger),
            (Said::Undecided, _) => Verdict::Open,
            (Said::Else, None) => Verdict::Heard(std::mem::take(&mut self.bytes)),
            (Said::Else, Some(secret)) => match self.bytes.split_at_checked(Secret::LINE_BYTES) {
                Some((line, rest)) if secret.is_line(line) => Verdict::Heard(rest.to_vec()),
                None if !self.bytes.contains(&b'\n') => Verdict::Open,
                _ => Verdict::Refused(Stranger::WithoutSecret),
            },
        }
    }
}

enum Said {
    Undecided,
    By(Stranger),
    Else,
}

fn said(bytes: &[u8]) -> Said {
    if METHODS.iter().any(|method| bytes.starts_with(method)) {
        Said::By(Stranger::Http)
    } else if bytes.starts_with(TLS) {
        Said::By(Stranger::Tls)
    } else if METHODS.iter().chain([&TLS]).any(|start| start.starts_with(bytes)) {
        Said::Undecided
    } else {
        Said::Else
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The verdict on bytes that come in pieces of `size`, with the bytes behind those that were needed for it.
    fn verdict(mut opening: Opening, bytes: &[u8], size: usize) -> Verdict {
        for (number, piece) in bytes.chunks(size).enumerate() {
            match opening.push(piece) {
                Verdict::Open => {}
                Verdict::Heard(mut heard) => {
                    heard.extend_from_slice(&bytes[((number + 1) * size).min(bytes.len())..]);
                    return Verdict::Heard(heard);
                }
                refused => return refused,
            }
        }
        Verdict::Open
    }

    #[test]
    fn http_requests_and_tls_handshakes_are_refused_however_they_are_cut() {
        let cases: [(&[u8], Stranger); 6] = [
            (b"POST / HTTP/1.1\r\nHost: 127.0.0.1:10001\r\n\r\n{}", Stranger::Http),
            (b"GET /?{} HTTP/1.1\r\n", Stranger::Http),
            (b"\r\n \tOPTIONS * HTTP/1.1\r\n", Stranger::Http),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Stranger::Http),
            (&[0x16, 0x03, 0x01, 0x02, 0x00, 0x01], Stranger::Tls),
            (&[b'\n', 0x16, 0x03, 0x03], Stranger::Tls),
        ];
        for (bytes, stranger) in cases {
            for size in 1..=bytes.len() {
                assert_eq!(
                    verdict(Opening::new(None), bytes, size),
                    Verdict::Refused(stranger),
                    "{bytes:?} in pieces of {size}"
                );
            }
        }
    }

    #[test]
    fn whatever_else_old_clients_begin_with_is_heard() {
        for bytes in [
            &b"{\"request_id\":\"p\"}"[..],
            b"[{}]",
            b"}",
            b"hello this is some garbage text\n{}",
            b"POSTED {}",
            b"Get it",
            b"1234567890{}",
            b"PRIVATE\n",
            b"\x16\x02",
            b"\xff\xfe",
        ] {
            for size in 1..=bytes.len() {
                assert_eq!(verdict(Opening::new(None), bytes, size), Verdict::Heard(bytes.to_vec()));
            }
        }
    }

    #[test]
    fn with_a_secret_only_its_line_opens_and_what_follows_is_heard() {
        let (secret, other) = (Secret::random().unwrap(), Secret::random().unwrap());
        let good = [secret.line(), b"{\"a\":1}".to_vec()].concat();
        for size in 1..=good.len() {
            assert_eq!(
                verdict(Opening::new(Some(secret.clone())), &good, size),
                Verdict::Heard(b"{\"a\":1}".to_vec())
            );
        }
        for bad in [
            b"{\"request_id\":\"p\",\"work_id\":\"sys\",\"action\":\"ping\"}\n".to_vec(),
            other.line(),
            secret.line().to_ascii_uppercase(),
            b"{".repeat(Secret::LINE_BYTES),
        ] {
            assert_eq!(
                verdict(Opening::new(Some(secret.clone())), &bad, 5),
                Verdict::Refused(Stranger::WithoutSecret)
            );
        }
        assert_eq!(
            verdict(Opening::new(Some(secret)), b"POST / HTTP/1.1\r\n", 3),
            Verdict::Refused(Stranger::Http)
        );
    }

    proptest! {
        #[test]
        fn the_verdict_does_not_depend_on_how_the_bytes_arrive_and_little_is_held(
            bytes in prop::collection::vec(prop_oneof![
                prop::sample::select(b"GETPOSHADIRV \n{\x16\x03".to_vec()),
                any::<u8>(),
            ], 0..100),
            size in 1usize..20,
        ) {
            prop_assert_eq!(verdict(Opening::new(None), &bytes, size), verdict(Opening::new(None), &bytes, 100));
        }
    }
}
