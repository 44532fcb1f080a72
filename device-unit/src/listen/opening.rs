//! The first bytes of a connection: web browsers and clients without the secret are refused.
//!
//! A page in a web browser can make the browser send any text to any port of its machine, after a request line that the page does not
//! control. The port's own protocol would skip that line as garbage and execute the text, so a connection that begins like this is
//! closed before anything on it is read. A page cannot avoid the line: for methods that are not listed here the browser first sends
//! OPTIONS.

use softprefix_core::protocol::extension::Secret;

/// Beginnings of HTTP requests.
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
    // HTTP/2 with prior knowledge.
    b"PRI ",
];
/// Beginning of a TLS handshake: the record's type and the first half of its version.
const TLS: &[u8] = &[0x16, 0x03];

/// A client that is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusedClient {
    /// A web browser, or another client of HTTP.
    Http,
    Tls,
    /// A client without the secret of a unit that serves one program.
    WithoutSecret,
}

/// The decision on a client by its first bytes.
#[derive(Debug, PartialEq, Eq)]
pub enum Decision {
    /// More bytes are needed.
    Undecided,
    /// Accepted; these bytes and all after them are messages.
    Accepted(Vec<u8>),
    Refused(RefusedClient),
}

/// The first bytes of a connection, at most a line with a secret.
#[derive(Debug)]
pub struct Opening {
    secret: Option<Secret>,
    bytes: Vec<u8>,
}

impl Opening {
    /// With a `secret`, clients must first send its line.
    pub fn new(secret: Option<Secret>) -> Self {
        Self {
            secret,
            bytes: Vec::new(),
        }
    }

    /// Whether the first bytes must come soon: a line with a secret is sent by a program.
    pub fn is_urgent(&self) -> bool {
        self.secret.is_some()
    }

    /// Adds bytes. Call it until it decides.
    pub fn push(&mut self, bytes: &[u8]) -> Decision {
        // White space between messages is ignored and not buffered.
        let bytes = if self.bytes.is_empty() {
            bytes.trim_ascii_start()
        } else {
            bytes
        };
        self.bytes.extend_from_slice(bytes);
        match (detect(&self.bytes), &self.secret) {
            (Detected::Refused(refused), _) => Decision::Refused(refused),
            (Detected::Undecided, _) => Decision::Undecided,
            (Detected::Messages, None) => Decision::Accepted(std::mem::take(&mut self.bytes)),
            (Detected::Messages, Some(secret)) => match self.bytes.split_at_checked(Secret::LINE_BYTES) {
                Some((line, rest)) if secret.is_line(line) => Decision::Accepted(rest.to_vec()),
                None if !self.bytes.contains(&b'\n') => Decision::Undecided,
                _ => Decision::Refused(RefusedClient::WithoutSecret),
            },
        }
    }
}

enum Detected {
    Undecided,
    Refused(RefusedClient),
    Messages,
}

fn detect(bytes: &[u8]) -> Detected {
    if METHODS.iter().any(|method| bytes.starts_with(method)) {
        Detected::Refused(RefusedClient::Http)
    } else if bytes.starts_with(TLS) {
        Detected::Refused(RefusedClient::Tls)
    } else if METHODS.iter().chain([&TLS]).any(|start| start.starts_with(bytes)) {
        Detected::Undecided
    } else {
        Detected::Messages
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The decision on bytes that come in pieces of `size`, with the bytes behind those that were needed for it.
    fn decision(mut opening: Opening, bytes: &[u8], size: usize) -> Decision {
        for (number, piece) in bytes.chunks(size).enumerate() {
            match opening.push(piece) {
                Decision::Undecided => {}
                Decision::Accepted(mut accepted) => {
                    accepted.extend_from_slice(&bytes[((number + 1) * size).min(bytes.len())..]);
                    return Decision::Accepted(accepted);
                }
                refused => return refused,
            }
        }
        Decision::Undecided
    }

    #[test]
    fn http_requests_and_tls_handshakes_are_refused_however_they_are_cut() {
        let cases: [(&[u8], RefusedClient); 6] = [
            (
                b"POST / HTTP/1.1\r\nHost: 127.0.0.1:10001\r\n\r\n{}",
                RefusedClient::Http,
            ),
            (b"GET /?{} HTTP/1.1\r\n", RefusedClient::Http),
            (b"\r\n \tOPTIONS * HTTP/1.1\r\n", RefusedClient::Http),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", RefusedClient::Http),
            (&[0x16, 0x03, 0x01, 0x02, 0x00, 0x01], RefusedClient::Tls),
            (&[b'\n', 0x16, 0x03, 0x03], RefusedClient::Tls),
        ];
        for (bytes, refused) in cases {
            for size in 1..=bytes.len() {
                assert_eq!(
                    decision(Opening::new(None), bytes, size),
                    Decision::Refused(refused),
                    "{bytes:?} in pieces of {size}"
                );
            }
        }
    }

    #[test]
    fn everything_else_that_old_clients_begin_with_is_accepted() {
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
                assert_eq!(
                    decision(Opening::new(None), bytes, size),
                    Decision::Accepted(bytes.to_vec())
                );
            }
        }
    }

    #[test]
    fn with_a_secret_only_its_line_is_accepted_and_what_follows_is_read() {
        let (secret, other) = (Secret::random().unwrap(), Secret::random().unwrap());
        let good = [secret.line(), b"{\"a\":1}".to_vec()].concat();
        for size in 1..=good.len() {
            assert_eq!(
                decision(Opening::new(Some(secret.clone())), &good, size),
                Decision::Accepted(b"{\"a\":1}".to_vec())
            );
        }
        for bad in [
            b"{\"request_id\":\"p\",\"work_id\":\"sys\",\"action\":\"ping\"}\n".to_vec(),
            other.line(),
            secret.line().to_ascii_uppercase(),
            b"{".repeat(Secret::LINE_BYTES),
        ] {
            assert_eq!(
                decision(Opening::new(Some(secret.clone())), &bad, 5),
                Decision::Refused(RefusedClient::WithoutSecret)
            );
        }
        assert_eq!(
            decision(Opening::new(Some(secret)), b"POST / HTTP/1.1\r\n", 3),
            Decision::Refused(RefusedClient::Http)
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
            prop_assert_eq!(decision(Opening::new(None), &bytes, size), decision(Opening::new(None), &bytes, 100));
        }
    }
}
