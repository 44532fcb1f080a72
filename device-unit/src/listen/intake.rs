//! Extraction of messages from the bytes of a connection, at least as tolerant as llm-sys.
//!
//! llm-sys counts braces, also inside strings, so a correct client's lone brace in a text stalls it. Here strings are
//! parsed. Text that is not JSON is cut by counting braces, as llm-sys cuts it, so that old and broken clients are in step again
//! after an error.

use std::collections::VecDeque;

use crate::budget::{Budget, Charge};

/// One item of a connection's input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Incoming {
    /// `{...}`, most likely one JSON object.
    Message(Vec<u8>),
    /// A header `{"RAW":n,...}` and the n bytes after it.
    Raw { header: Vec<u8>, payload: Vec<u8> },
    /// A header `{"BON":n...`, whose n bytes were read and dropped: BSON is not understood, here as in the stock build.
    Bson,
    /// Text that is not a message.
    Broken,
    /// An unbalanced `}`.
    Unbalanced,
    /// A message beyond the limit. Nothing after it is read.
    TooLarge,
    /// A message for which no memory is left. Nothing after it is read.
    NoRoom,
}

impl Incoming {
    /// Whether nothing after it is read.
    #[must_use]
    pub fn is_last(&self) -> bool {
        matches!(self, Self::TooLarge | Self::NoRoom)
    }
}

/// Cuts a connection's bytes into messages. Memory is bounded by the limit, and charged for every byte that is held.
#[derive(Debug)]
pub struct Intake {
    limit: usize,
    state: State,
    /// The charge of the incomplete message.
    charge: Charge,
    ready: VecDeque<(Incoming, Charge)>,
    finished: bool,
}

#[derive(Debug)]
enum State {
    /// Between messages.
    Outside {
        skipped: usize,
        garbage: bool,
    },
    Inside(Message),
    /// After a header with `RAW` or `BON`.
    Payload {
        header: Vec<u8>,
        payload: Vec<u8>,
        length: usize,
        is_raw: bool,
    },
}

const OUTSIDE: State = State::Outside {
    skipped: 0,
    garbage: false,
};

/// An incomplete message.
#[derive(Debug)]
struct Message {
    text: Vec<u8>,
    /// Open braces outside strings.
    depth: usize,
    in_string: bool,
    escaped: bool,
    /// The last byte outside strings that is not white space, the opening quote of a string standing for the whole string.
    previous: u8,
    counted: BraceCount,
    /// Whether it is not JSON; then only `counted` is used.
    broken: bool,
}

/// llm-sys' count: every brace that is not directly after a backslash.
#[derive(Debug, Default, Clone, Copy)]
struct BraceCount {
    depth: usize,
    last: u8,
    /// The length at which the count first returned to zero.
    complete_at: Option<usize>,
}

impl BraceCount {
    /// Counts the byte with which the text has `length` bytes.
    fn take(&mut self, byte: u8, length: usize) {
        if self.last != b'\\' {
            match byte {
                b'{' => self.depth += 1,
                b'}' => {
                    self.depth = self.depth.saturating_sub(1);
                    if self.depth == 0 && self.complete_at.is_none() {
                        self.complete_at = Some(length);
                    }
                }
                _ => {}
            }
        }
        self.last = byte;
    }
}

/// The effect of a byte on a message.
enum Progress {
    More,
    Complete,
    /// The message cannot be JSON.
    Violated,
}

impl Message {
    fn new() -> Self {
        Self {
            text: Vec::new(),
            depth: 0,
            in_string: false,
            escaped: false,
            previous: 0,
            counted: BraceCount::default(),
            broken: false,
        }
    }

    fn take(&mut self, byte: u8) -> Progress {
        self.text.push(byte);
        self.counted.take(byte, self.text.len());
        if self.broken {
            return if self.counted.complete_at.is_some() {
                Progress::Complete
            } else {
                Progress::More
            };
        }
        if self.in_string {
            return self.take_in_string(byte);
        }
        let fits = match byte {
            b' ' | b'\t' | b'\r' | b'\n' => return Progress::More,
            b'{' => {
                self.depth += 1;
                matches!(self.previous, 0 | b':' | b',' | b'[')
            }
            b'"' => {
                self.in_string = true;
                let fits = matches!(self.previous, b'{' | b':' | b',' | b'[');
                self.previous = byte;
                return if fits { Progress::More } else { Progress::Violated };
            }
            b'}' => {
                // At least 1 until now: the text begins with a brace.
                self.depth -= 1;
                if self.depth == 0 {
                    return Progress::Complete;
                }
                true
            }
            b'[' | b']' | b',' | b':' | b'0'..=b'9' | b'+' | b'-' | b'.' | b'E' => true,
            // Letters of true, false, null and exponents.
            b't' | b'r' | b'u' | b'e' | b'f' | b'a' | b'l' | b's' | b'n' => true,
            _ => false,
        };
        self.previous = byte;
        if fits { Progress::More } else { Progress::Violated }
    }

    fn take_in_string(&mut self, byte: u8) -> Progress {
        match byte {
            _ if self.escaped => self.escaped = false,
            b'\\' => self.escaped = true,
            b'"' => self.in_string = false,
            0..=0x1f => return Progress::Violated,
            _ => {}
        }
        Progress::More
    }
}

impl Intake {
    /// An intake for messages of at most `limit` bytes, charged to `memory`.
    #[must_use]
    pub fn new(limit: usize, memory: &Budget) -> Self {
        Self {
            limit,
            state: OUTSIDE,
            charge: memory.message(),
            ready: VecDeque::new(),
            finished: false,
        }
    }

    /// Adds received bytes; call [`next`](Self::next) for the messages in them.
    pub fn push(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() && !self.finished {
            bytes = match &mut self.state {
                State::Payload { .. } => self.take_payload(bytes),
                State::Inside(_) => self.take_inside(bytes),
                State::Outside { .. } => self.take_outside(bytes),
            };
        }
    }

    /// The next unit of input with the charge of its bytes; `None` if more bytes are needed.
    pub fn next(&mut self) -> Option<(Incoming, Charge)> {
        self.ready.pop_front()
    }

    /// Ends a message, which takes its charge along.
    fn deliver(&mut self, incoming: Incoming) {
        self.ready.push_back((incoming, self.charge.take()));
    }

    /// Charges buffered bytes; returns `false` and ends the intake where there is no room for them.
    fn hold(&mut self, bytes: usize) -> bool {
        let held = self.charge.grow(bytes);
        if !held {
            self.finish(Incoming::NoRoom);
        }
        held
    }

    /// Whether llm-sys would consider the buffered text a complete message, although it is not. After some silence it
    /// will not become one: call [`give_up`](Self::give_up).
    #[must_use]
    pub fn is_doubtful(&self) -> bool {
        matches!(&self.state, State::Inside(message) if message.counted.complete_at.is_some())
    }

    /// Treats a doubtful message as broken.
    pub fn give_up(&mut self) {
        if self.is_doubtful() {
            self.cut_by_counting();
        }
    }

    fn finish(&mut self, with: Incoming) {
        self.finished = true;
        self.state = OUTSIDE;
        self.deliver(with);
    }

    fn take_outside<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let State::Outside { skipped, garbage } = &mut self.state else {
            return bytes;
        };
        for (i, &byte) in bytes.iter().enumerate() {
            match byte {
                b'{' => {
                    self.state = State::Inside(Message::new());
                    return &bytes[i..];
                }
                b'}' => {
                    *garbage = false;
                    self.ready.push_back((Incoming::Unbalanced, self.charge.take()));
                }
                b'\n' if std::mem::take(garbage) => self.ready.push_back((Incoming::Broken, self.charge.take())),
                // White space, and the brackets and commas of an array of messages.
                b' ' | b'\t' | b'\r' | b'\n' | b'[' | b']' | b',' | 0 => {}
                _ => *garbage = true,
            }
            *skipped += 1;
            if *skipped > self.limit {
                self.finish(Incoming::TooLarge);
                return &[];
            }
        }
        &[]
    }

    fn take_inside<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let State::Inside(message) = &mut self.state else {
            return bytes;
        };
        for (i, &byte) in bytes.iter().enumerate() {
            match message.take(byte) {
                Progress::More if message.text.len() >= self.limit => {
                    self.finish(Incoming::TooLarge);
                    return &[];
                }
                Progress::More => {}
                Progress::Complete => {
                    let broken = message.broken;
                    let mut text = std::mem::take(&mut message.text);
                    // It may be buffered for long.
                    text.shrink_to_fit();
                    self.state = OUTSIDE;
                    if !self.hold(i + 1) {
                        return &[];
                    }
                    if broken {
                        self.deliver(Incoming::Broken)
                    } else {
                        self.classify(text)
                    }
                    return &bytes[i + 1..];
                }
                Progress::Violated if message.counted.complete_at.is_some() => {
                    self.cut_by_counting();
                    return &bytes[i + 1..];
                }
                Progress::Violated => message.broken = true,
            }
        }
        self.hold(bytes.len());
        &[]
    }

    /// Cuts the buffered text as llm-sys does. The remainder is incomplete by that count, too.
    fn cut_by_counting(&mut self) {
        let State::Inside(message) = std::mem::replace(&mut self.state, OUTSIDE) else {
            return;
        };
        let mut rest = message.text.as_slice();
        while let Some(end) = count(rest) {
            let (piece, after) = rest.split_at(end);
            // A piece that is a valid message is kept.
            if serde_json::from_slice::<serde::de::IgnoredAny>(piece).is_ok() {
                self.deliver(Incoming::Message(piece.to_vec()));
            } else {
                self.deliver(Incoming::Broken);
            }
            let next = after.iter().position(|&byte| byte == b'{').unwrap_or(after.len());
            rest = &after[next..];
        }
        if !rest.is_empty() {
            let mut message = Message::new();
            for &byte in rest {
                if !matches!(message.take(byte), Progress::More) {
                    message.broken = true;
                }
            }
            if self.hold(rest.len()) {
                self.state = State::Inside(message);
            }
        }
    }

    fn classify(&mut self, text: Vec<u8>) {
        let (is_raw, after_key) = match (text.strip_prefix(b"{\"RAW\":"), text.strip_prefix(b"{\"BON\":")) {
            (Some(rest), _) => (true, rest),
            (_, Some(rest)) => (false, rest),
            _ => return self.deliver(Incoming::Message(text)),
        };
        let digits = after_key.strip_prefix(b"\"").unwrap_or(after_key);
        let length = digits.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let length = std::str::from_utf8(&digits[..length])
            .ok()
            .and_then(|digits| digits.parse::<usize>().ok());
        match length {
            None => self.deliver(Incoming::Broken),
            Some(length) if length > self.limit => self.finish(Incoming::TooLarge),
            Some(0) if is_raw => self.deliver(Incoming::Raw {
                header: text,
                payload: Vec::new(),
            }),
            Some(0) => self.deliver(Incoming::Bson),
            Some(length) => {
                self.state = State::Payload {
                    header: text,
                    payload: Vec::new(),
                    length,
                    is_raw,
                }
            }
        }
    }

    fn take_payload<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let State::Payload {
            header,
            payload,
            length,
            is_raw,
        } = &mut self.state
        else {
            return bytes;
        };
        let (now, rest) = bytes.split_at(bytes.len().min(*length - payload.len()));
        payload.extend_from_slice(now);
        let whole = (payload.len() == *length).then(|| {
            let (header, mut payload) = (std::mem::take(header), std::mem::take(payload));
            payload.shrink_to_fit();
            if *is_raw {
                Incoming::Raw { header, payload }
            } else {
                Incoming::Bson
            }
        });
        if !self.hold(now.len()) {
            return &[];
        }
        if let Some(whole) = whole {
            self.state = OUTSIDE;
            self.deliver(whole);
        }
        rest
    }
}

/// The end of the first message by counting braces, if there is one.
fn count(text: &[u8]) -> Option<usize> {
    let mut counted = BraceCount::default();
    for (i, &byte) in text.iter().enumerate() {
        counted.take(byte, i + 1);
        if counted.complete_at.is_some() {
            return counted.complete_at;
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::budget::Purpose;

    fn intake(limit: usize) -> Intake {
        Intake::new(limit, &Budget::default())
    }

    fn next(intake: &mut Intake) -> Option<Incoming> {
        intake.next().map(|(incoming, _)| incoming)
    }

    fn all(bytes: &[u8]) -> Vec<Incoming> {
        let mut intake = intake(1 << 20);
        intake.push(bytes);
        std::iter::from_fn(|| next(&mut intake)).collect()
    }

    fn message(text: &str) -> Incoming {
        Incoming::Message(text.as_bytes().to_vec())
    }

    const PING: &str = r#"{"request_id":"p","work_id":"sys","action":"ping"}"#;

    #[test]
    fn messages_need_nothing_between_them_and_may_have_line_ends_and_blanks() {
        let expected = vec![message(PING), message(PING), message(PING)];
        assert_eq!(all(format!("{PING}{PING}\r\n  {PING}\n\n").as_bytes()), expected);
    }

    #[test]
    fn an_array_is_taken_as_what_is_inside() {
        assert_eq!(
            all(format!("[{PING},{PING}]\n").as_bytes()),
            vec![message(PING), message(PING)]
        );
    }

    #[test]
    fn lone_braces_in_strings_do_not_stall() {
        for text in [
            r#"{"data":"a { b"}"#,
            r#"{"data":"a } b"}"#,
            r#"{"data":"a } { b"}"#,
            r#"{"data":"x\\{ } y"}"#,
        ] {
            assert_eq!(
                all(format!("{text}{PING}").as_bytes()),
                vec![message(text), message(PING)],
                "{text}"
            );
        }
    }

    #[test]
    fn a_stray_closing_brace_is_reported_and_the_next_message_is_read() {
        assert_eq!(
            all(format!("}}{PING}").as_bytes()),
            vec![Incoming::Unbalanced, message(PING)]
        );
    }

    #[test]
    fn broken_json_is_reported_once_and_the_next_message_is_read() {
        for broken in [
            "{hello}",
            r#"{"request_id":"z9" "work_id":"sys","action":"ping"}"#,
            "{\"data\":\"line1\nline2\"}",
            r#"{"data":"never closed}"#,
            r#"{"data":never opened"}"#,
            "{'request_id':'single'}",
        ] {
            let expected = vec![Incoming::Broken, message(PING)];
            assert_eq!(all(format!("{broken}{PING}\n").as_bytes()), expected, "{broken}");
            assert_eq!(
                all(format!("{broken}\n{PING}\n").as_bytes()),
                expected,
                "{broken}, on a line of its own"
            );
        }
    }

    #[test]
    fn a_message_without_its_last_brace_does_not_swallow_the_next_ones_for_ever() {
        let mut intake = intake(1 << 20);
        intake.push(format!("{{\"a\":{{\"b\":1}}\n{PING}\n").as_bytes());
        intake.push(b"}");
        intake.push(PING.as_bytes());
        let seen: Vec<_> = std::iter::from_fn(|| next(&mut intake)).collect();
        assert_eq!(
            seen,
            vec![Incoming::Broken, message(PING)],
            "as llm-sys: one brace sets it right"
        );
    }

    #[test]
    fn a_string_left_open_is_given_up_after_silence() {
        let mut intake = intake(1 << 20);
        intake.push(br#"{"request_id":"r","data":"never closed}"#);
        assert_eq!(next(&mut intake), None);
        assert!(intake.is_doubtful());
        intake.give_up();
        assert_eq!(next(&mut intake), Some(Incoming::Broken));
        intake.push(PING.as_bytes());
        assert_eq!(next(&mut intake), Some(message(PING)));
    }

    #[test]
    fn a_line_that_is_not_json_is_reported() {
        assert_eq!(
            all(format!("GET / HTTP/1.1\r\n{PING}\n").as_bytes()),
            vec![Incoming::Broken, message(PING)]
        );
    }

    #[test]
    fn raw_bytes_follow_their_header_with_or_without_a_separator() {
        let header = r#"{"RAW":5,"object":"llm.utf-8.base64"}"#;
        let raw = Incoming::Raw {
            header: header.as_bytes().to_vec(),
            payload: b"he{}o".to_vec(),
        };
        assert_eq!(
            all(format!("{header}he{{}}o\n{PING}").as_bytes()),
            vec![raw.clone(), message(PING)]
        );
        assert_eq!(
            all(format!("{header}he{{}}o{PING}").as_bytes()),
            vec![raw, message(PING)]
        );
        assert_eq!(
            all(format!("{{\"BON\":3}}abc{PING}").as_bytes()),
            vec![Incoming::Bson, message(PING)]
        );
        assert_eq!(
            all(format!("{{\"RAW\":\"x\"}}{PING}").as_bytes()),
            vec![Incoming::Broken, message(PING)]
        );
    }

    #[test]
    fn any_message_beyond_the_limit_ends_the_intake() {
        for filler in [b'a', b' ', b'{', b'"', b'\n', b'['] {
            for start in ["", "{", "{\"data\":\""] {
                let mut intake = intake(1000);
                intake.push(start.as_bytes());
                for _ in 0..30 {
                    intake.push(&[filler; 100]);
                }
                let last = std::iter::from_fn(|| next(&mut intake)).last();
                assert_eq!(
                    last,
                    Some(Incoming::TooLarge),
                    "{start:?} and then {:?}",
                    filler as char
                );
            }
        }
        let mut intake = intake(1000);
        intake.push(br#"{"RAW":1001}"#);
        assert_eq!(next(&mut intake), Some(Incoming::TooLarge));
    }

    #[test]
    fn a_message_is_charged_by_its_bytes_from_the_first_to_its_drop() {
        let budget = Budget::new(0);
        let mut intake = Intake::new(1 << 20, &budget);
        intake.push(&PING.as_bytes()[..10]);
        assert_eq!(budget.used(Purpose::Requests), 10);
        intake.push(&PING.as_bytes()[10..]);
        intake.push(b"\n  {\"half");
        let (incoming, charge) = intake.next().unwrap();
        drop(incoming);
        assert!(budget.used(Purpose::Requests) >= PING.len());
        drop(charge);
        assert!(budget.used(Purpose::Requests) < 10, "the half message alone");
        drop(intake);
        assert_eq!(budget.used(Purpose::Requests), 0);
    }

    #[test]
    fn where_no_memory_is_left_nothing_more_is_read() {
        let budget = Budget::new(0);
        let share = budget.share(Purpose::Requests);
        let others = budget.charge(Purpose::Requests, share - 100).unwrap();
        let mut intake = Intake::new(1 << 20, &budget);
        intake.push(PING.as_bytes());
        assert_eq!(next(&mut intake), Some(message(PING)));
        intake.push(format!("{{\"data\":\"{}", "x".repeat(100)).as_bytes());
        assert_eq!(next(&mut intake), Some(Incoming::NoRoom));
        intake.push(PING.as_bytes());
        assert_eq!(next(&mut intake), None);
        assert_eq!(budget.used(Purpose::Requests), share - 100);
        drop(others);
    }

    proptest! {
        #[test]
        fn any_bytes_are_taken_without_panic_and_cut_the_same_however_they_arrive(
            bytes in prop::collection::vec(prop_oneof![
                3 => prop::sample::select(b"{}\"\\:,[] \nax1{}\"".to_vec()),
                1 => any::<u8>(),
            ], 0..200),
            size in 1usize..20,
        ) {
            let whole = all(&bytes);
            let mut intake = intake(1 << 20);
            for piece in bytes.chunks(size) {
                intake.push(piece);
            }
            prop_assert_eq!(std::iter::from_fn(|| next(&mut intake)).collect::<Vec<_>>(), whole);
        }

        #[test]
        fn every_json_object_is_read(text in ".*", size in 1usize..20) {
            let object = serde_json::json!({"request_id": text, "data": {"delta": text}}).to_string();
            let both = format!("{object}{object}");
            let mut intake = intake(1 << 20);
            for piece in both.as_bytes().chunks(size) {
                intake.push(piece);
            }
            prop_assert_eq!(next(&mut intake), Some(message(&object)));
            prop_assert_eq!(next(&mut intake), Some(message(&object)));
        }

        #[test]
        fn after_any_bytes_silence_and_a_brace_a_message_is_read(
            bytes in prop::collection::vec(any::<u8>(), 0..100),
        ) {
            prop_assume!(!bytes.windows(7).any(|window| window == b"{\"RAW\":" || window == b"{\"BON\":"));
            let mut intake = intake(1 << 20);
            intake.push(&bytes);
            // As many closing braces as could be open, and a line end, which ends a string that is open.
            intake.push(b"\n");
            intake.push(&vec![b'}'; bytes.len() + 1]);
            intake.give_up();
            intake.push(b"\n");
            intake.push(PING.as_bytes());
            prop_assert_eq!(std::iter::from_fn(|| next(&mut intake)).last(), Some(message(PING)));
        }
    }
}
