//! Control by other programs, over OSC or through a pipe: the commands they send, the notifications they get, and how
//! the range of a sensor is mapped to that of a control. Values only: sockets are in the bridge.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{Bilingual, PRESETS, bilingual};

/// Delay of Live mode after the last change before it runs. Commands of other programs are applied at most this often.
pub const LIVE_DELAY: Duration = Duration::from_millis(150);
/// The beginning of every OSC address.
pub const ROOT: &str = "/softprefix/";
/// The highest row that has an address.
pub const HIGHEST_ROW: usize = 1024;
/// Maximum length of a line of the pipe, in bytes.
pub const MAX_LINE_LENGTH: usize = 64 << 10;
/// Maximum length of a prompt, in bytes.
const MAX_PROMPT_LENGTH: usize = 32 << 10;

/// A command of another program.
#[derive(Debug, Clone, PartialEq)]
pub enum ExternalCommand {
    /// The magnitude in the current unit, after its [`Mapping`].
    Magnitude(f64),
    /// P after its mapping, rounded to a whole number.
    Len(f64),
    Seed(u64),
    /// The factor of a row, after its mapping. The first row is 1; rows beyond P have no effect.
    Row(usize, f64),
    /// The position of a blend, after its mapping.
    Blend(f64),
    Prompt(String),
    /// The number of a preset; the first is 1.
    Preset(usize),
    /// Runs now. Buttons send `false` when they are released, which does nothing.
    Run(bool),
}

/// An argument of a command.
#[derive(Debug, Clone, PartialEq)]
pub enum Argument {
    Number(f64),
    Text(String),
}

/// Why a packet or a line is refused. It is then refused as a whole.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ExternalError {
    #[error("it is not valid JSON ({0}); send one object per line, such as {{\"magnitude\": 0.5}}")]
    NotJson(String),
    #[error("it is not an object; send one object per line, such as {{\"magnitude\": 0.5}}")]
    NotAnObject,
    #[error("it has no command; send a key such as \"magnitude\" or \"run\"")]
    NoCommand,
    #[error("it is longer than {MAX_LINE_LENGTH} bytes; send a shorter line")]
    TooLong,
    #[error("it is not UTF-8 text; send JSON in UTF-8")]
    NotUtf8,
    #[error("the input cannot be read ({0}); start the command again")]
    Unreadable(String),
    #[error("it is not an OSC packet ({0}); send OSC 1.0 over UDP")]
    NotOsc(String),
    #[error("{0} is unknown; the names are magnitude, p, seed, row/N, blend, prompt, preset and run")]
    Unknown(String),
    #[error("{name} takes {expected}")]
    Argument { name: String, expected: Expected },
    #[error("a recording is shown; leave it first")]
    Playing,
}

/// The arguments that a command takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    Number,
    WholeNumber,
    Prompt,
    Preset,
    Run,
    Row,
    Scalar,
}

impl Expected {
    fn sentence(self) -> Bilingual {
        let presets = PRESETS.len();
        match self {
            Self::Number => Bilingual::new("one finite number", "有限の数値一つ"),
            Self::WholeNumber => Bilingual::new("one whole number from 0 to 2^53", "0 から 2^53 までの整数一つ"),
            Self::Prompt => Bilingual::new(
                "one text that is not empty, of at most 32 KiB",
                "空でない文字列一つ（32 KiB まで）",
            ),
            Self::Preset => bilingual!(
                "the number of a preset, 1 to {presets}",
                "プリセットの番号（1 から {presets}）"
            ),
            Self::Run => Bilingual::new(
                "nothing, or one number, of which 0 does nothing",
                "引数なし、または数値一つ（0 は何もしない）",
            ),
            Self::Row => bilingual!("a row from 1 to {HIGHEST_ROW}", "1 から {HIGHEST_ROW} までの行番号"),
            Self::Scalar => Bilingual::new("a number or a text", "数値または文字列"),
        }
    }
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.sentence().en)
    }
}

impl ExternalError {
    /// Returns the sentence in both languages.
    pub fn sentence(&self) -> Bilingual {
        let japanese = match self {
            Self::NotJson(why) => {
                format!(
                    "JSON ではありません。1 行に一つ、{{\"magnitude\": 0.5}} のように送ってください（詳細：「{why}」）"
                )
            }
            Self::NotAnObject => {
                "オブジェクトではありません。1 行に一つ、{\"magnitude\": 0.5} のように送ってください".to_owned()
            }
            Self::NoCommand => "命令がありません。\"magnitude\" や \"run\" などのキーを送ってください".to_owned(),
            Self::TooLong => format!("{MAX_LINE_LENGTH} バイトを超えています。短い行を送ってください"),
            Self::NotUtf8 => "UTF-8 の文字列ではありません。JSON を UTF-8 で送ってください".to_owned(),
            Self::Unreadable(why) => format!("入力を読めません。コマンドを起動し直してください（詳細：「{why}」）"),
            Self::NotOsc(why) => {
                format!("OSC パケットではありません。OSC 1.0 を UDP で送ってください（詳細：「{why}」）")
            }
            Self::Unknown(name) => format!(
                "{name} という名前はありません。使えるのは magnitude、p、seed、row/N、blend、prompt、preset、run です"
            ),
            Self::Argument { name, expected } => format!("{name} に渡せるのは{}です", expected.sentence().ja),
            Self::Playing => "記録を再生中です。再生を終えてから操作してください".to_owned(),
        };
        Bilingual::new(self.to_string(), japanese)
    }
}

impl ExternalCommand {
    /// Parses a name (`magnitude`, or its address `/softprefix/magnitude`) with its arguments.
    ///
    /// # Errors
    /// If there is no such name, or if it does not take these arguments.
    pub fn parse(address: &str, arguments: &[Argument]) -> Result<Self, ExternalError> {
        let name = address.strip_prefix(ROOT).unwrap_or(address);
        let wrong = |expected| ExternalError::Argument {
            name: shortened(name),
            expected,
        };
        let number = || match arguments {
            [Argument::Number(value)] if value.is_finite() => Ok(*value),
            _ => Err(wrong(Expected::Number)),
        };
        let whole = |expected, range: std::ops::RangeInclusive<f64>| match arguments {
            [Argument::Number(value)] if value.fract() == 0.0 && range.contains(value) => Ok(*value as u64),
            _ => Err(wrong(expected)),
        };
        match name {
            "magnitude" => number().map(Self::Magnitude),
            "p" => number().map(Self::Len),
            // Larger numbers of JSON or OSC are not exact.
            "seed" => whole(Expected::WholeNumber, 0.0..=(1_u64 << 53) as f64).map(Self::Seed),
            "blend" => number().map(Self::Blend),
            "prompt" => match arguments {
                [Argument::Text(text)] if !text.trim().is_empty() && text.len() <= MAX_PROMPT_LENGTH => {
                    Ok(Self::Prompt(text.clone()))
                }
                _ => Err(wrong(Expected::Prompt)),
            },
            "preset" => whole(Expected::Preset, 1.0..=PRESETS.len() as f64).map(|number| Self::Preset(number as usize)),
            "run" => match arguments {
                [] => Ok(Self::Run(true)),
                [Argument::Number(value)] if value.is_finite() => Ok(Self::Run(*value != 0.0)),
                _ => Err(wrong(Expected::Run)),
            },
            _ => {
                let Some(row) = name.strip_prefix("row/") else {
                    return Err(ExternalError::Unknown(shortened(address)));
                };
                match row.parse() {
                    Ok(row) if (1..=HIGHEST_ROW).contains(&row) => number().map(|factor| Self::Row(row, factor)),
                    _ => Err(wrong(Expected::Row)),
                }
            }
        }
    }

    /// Parses a line of the pipe: an object with a key for each command.
    ///
    /// # Errors
    /// If any of it is invalid.
    pub fn parse_line(line: &str) -> Result<Vec<Self>, ExternalError> {
        if line.len() > MAX_LINE_LENGTH {
            return Err(ExternalError::TooLong);
        }
        let value: Value = serde_json::from_str(line).map_err(|error| ExternalError::NotJson(error.to_string()))?;
        let Value::Object(fields) = value else {
            return Err(ExternalError::NotAnObject);
        };
        if fields.is_empty() {
            return Err(ExternalError::NoCommand);
        }
        let fields = fields.into_iter();
        fields
            .map(|(name, value)| Self::parse(&name, &arguments(&name, value)?))
            .collect()
    }

    /// Returns the name without the root of addresses.
    pub fn name(&self) -> String {
        match self {
            Self::Magnitude(_) => "magnitude".to_owned(),
            Self::Len(_) => "p".to_owned(),
            Self::Seed(_) => "seed".to_owned(),
            Self::Row(row, _) => format!("row/{row}"),
            Self::Blend(_) => "blend".to_owned(),
            Self::Prompt(_) => "prompt".to_owned(),
            Self::Preset(_) => "preset".to_owned(),
            Self::Run(_) => "run".to_owned(),
        }
    }

    /// Returns the value as JSON.
    pub fn value(&self) -> Value {
        match self {
            Self::Magnitude(value) | Self::Len(value) | Self::Row(_, value) | Self::Blend(value) => json!(value),
            Self::Seed(seed) => json!(seed),
            Self::Prompt(text) => json!(text),
            Self::Preset(number) => json!(number),
            Self::Run(pressed) => json!(pressed),
        }
    }

    /// Returns commands of different names as one object, which [`ExternalCommand::parse_line`] reads.
    pub fn to_object(commands: &[Self]) -> Map<String, Value> {
        commands
            .iter()
            .map(|command| (command.name(), command.value()))
            .collect()
    }

    /// Returns whether a later command makes this one needless. The release of a button does not undo its press.
    fn is_replaced_by(&self, later: &Self) -> bool {
        match (self, later) {
            (Self::Run(pressed), Self::Run(again)) => *again || !pressed,
            (Self::Row(row, _), Self::Row(other, _)) => row == other,
            _ => std::mem::discriminant(self) == std::mem::discriminant(later),
        }
    }
}

/// Converts a JSON value to arguments.
fn arguments(name: &str, value: Value) -> Result<Vec<Argument>, ExternalError> {
    let scalar = |value: Value| match value {
        Value::Number(number) => number.as_f64().map(Argument::Number),
        Value::String(text) => Some(Argument::Text(text)),
        Value::Bool(pressed) => Some(Argument::Number(f64::from(u8::from(pressed)))),
        _ => None,
    };
    let wrong = || ExternalError::Argument {
        name: shortened(name),
        expected: Expected::Scalar,
    };
    match value {
        Value::Null => Ok(Vec::new()),
        Value::Array(values) => values.into_iter().map(scalar).collect::<Option<_>>().ok_or_else(wrong),
        value => Ok(vec![scalar(value).ok_or_else(wrong)?]),
    }
}

/// Returns a received name without control characters, short enough for a message.
fn shortened(name: &str) -> String {
    const SHOWN: usize = 60;
    match name.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", name[..end].escape_debug()),
        None => name.escape_debug().to_string(),
    }
}

/// What was received since the last delivery. Its size is bounded, whatever is received: of each name only the last
/// command is kept.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Received {
    /// In the order of arrival.
    pub commands: Vec<ExternalCommand>,
    /// Number of packets or lines.
    pub packets: u64,
    /// Number of those that were refused.
    pub refused: u64,
    /// Why the last of them was refused.
    pub why: Option<ExternalError>,
}

impl Received {
    /// Adds the commands of a packet or line, or counts it as refused.
    pub fn add(&mut self, parsed: Result<Vec<ExternalCommand>, ExternalError>) {
        self.packets += 1;
        match parsed {
            Ok(commands) => {
                for command in commands {
                    self.commands.retain(|earlier| !earlier.is_replaced_by(&command));
                    self.commands.push(command);
                }
            }
            Err(error) => {
                self.refused += 1;
                self.why = Some(error);
            }
        }
    }

    pub fn is_empty(&self) -> bool {
        self.packets == 0
    }
}

/// The state of the workbench, for other programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExternalState {
    Disconnected,
    Connecting,
    Idle,
    /// An output is being generated or measured.
    Running,
}

impl ExternalState {
    pub fn name(self) -> &'static str {
        match self {
            Self::Disconnected => "disconnected",
            Self::Connecting => "connecting",
            Self::Idle => "idle",
            Self::Running => "running",
        }
    }
}

/// A message to other programs.
#[derive(Debug, Clone, PartialEq)]
pub enum Notification {
    State(ExternalState),
    /// The next piece of the output with the prefix.
    Token(String),
    /// The complete output with the prefix.
    Text(String),
    /// chrF2 of that output against the baseline, 0 to 100.
    Similarity(f64),
    /// A run or the connection failed.
    Error(String),
}

impl Notification {
    /// Returns the name without the root of addresses.
    pub fn name(&self) -> &'static str {
        match self {
            Self::State(_) => "state",
            Self::Token(_) => "token",
            Self::Text(_) => "text",
            Self::Similarity(_) => "similarity",
            Self::Error(_) => "error",
        }
    }

    /// Returns the object that is a line of the pipe.
    pub fn to_json(&self) -> Value {
        let value = match self {
            Self::State(state) => json!(state.name()),
            Self::Token(text) | Self::Text(text) | Self::Error(text) => json!(text),
            Self::Similarity(similarity) => json!(similarity),
        };
        json!({self.name(): value})
    }
}

/// A linear mapping from the range of a sensor to that of a control.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Mapping {
    /// If off, values are used as they are received.
    pub on: bool,
    /// Received values.
    pub from: [f64; 2],
    /// Values of the control.
    pub to: [f64; 2],
}

impl Default for Mapping {
    fn default() -> Self {
        Self {
            on: false,
            from: [0.0, 1.0],
            to: [0.0, 1.0],
        }
    }
}

impl Mapping {
    /// Maps a received value; values outside the range are clamped to it. A range without width maps to its lower end.
    pub fn map(&self, value: f64) -> f64 {
        if !self.on {
            return value;
        }
        let [low, high] = self.from;
        let share = (value - low) / (high - low);
        let share = if share.is_finite() { share.clamp(0.0, 1.0) } else { 0.0 };
        self.to[0] * (1.0 - share) + self.to[1] * share
    }
}

/// A control whose values are mapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mapped {
    Magnitude,
    Len,
    Row,
    Blend,
}

impl Mapped {
    pub const ALL: [Self; 4] = [Self::Magnitude, Self::Len, Self::Row, Self::Blend];
}

/// What is stored of the control by other programs. Whether it is on is not stored: it is off unless asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ExternalSettings {
    /// The address to listen on, see [`Endpoint::parse`]; empty for none.
    pub listen: String,
    /// The address that gets the notifications; empty for none.
    pub send_to: String,
    pub magnitude: Mapping,
    pub len: Mapping,
    pub row: Mapping,
    pub blend: Mapping,
}

impl Default for ExternalSettings {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:9000".to_owned(),
            send_to: String::new(),
            magnitude: Mapping {
                to: [0.0, 4.0],
                ..Mapping::default()
            },
            len: Mapping {
                to: [1.0, 16.0],
                ..Mapping::default()
            },
            row: Mapping::default(),
            blend: Mapping::default(),
        }
    }
}

impl ExternalSettings {
    pub fn mapping(&self, of: Mapped) -> &Mapping {
        match of {
            Mapped::Magnitude => &self.magnitude,
            Mapped::Len => &self.len,
            Mapped::Row => &self.row,
            Mapped::Blend => &self.blend,
        }
    }

    pub fn mapping_mut(&mut self, of: Mapped) -> &mut Mapping {
        match of {
            Mapped::Magnitude => &mut self.magnitude,
            Mapped::Len => &mut self.len,
            Mapped::Row => &mut self.row,
            Mapped::Blend => &mut self.blend,
        }
    }

    /// Returns the same with every number finite.
    #[must_use]
    pub(super) fn within_bounds(mut self) -> Self {
        let usual = Self::default();
        for of in Mapped::ALL {
            let Mapping { from, to, .. } = self.mapping(of);
            if !from.iter().chain(to).all(|end| end.is_finite()) {
                *self.mapping_mut(of) = *usual.mapping(of);
            }
        }
        self
    }
}

/// An address of OSC over UDP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    host: String,
    port: u16,
}

impl Endpoint {
    /// Parses `HOST:PORT`, or a port alone, which means loopback.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let (host, port) = text.rsplit_once(':').unwrap_or(("", text));
        let is_bracketed = host.starts_with('[') && host.ends_with(']');
        let is_plain = !host.contains([':', '[', ']', '/']) && !host.contains(char::is_whitespace);
        if !is_bracketed && !is_plain {
            return None;
        }
        Some(Self {
            host: if host.is_empty() { "127.0.0.1" } else { host }.to_owned(),
            port: port.parse().ok()?,
        })
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Returns whether only programs of this machine are reached. A name other than `localhost` is not resolved, and
    /// counts as another machine.
    pub fn is_loopback(&self) -> bool {
        let address = self.host.trim_matches(['[', ']']).parse::<IpAddr>();
        self.host.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_is_read_from_a_line_and_written_as_it_was() {
        for (line, command) in [
            (r#"{"magnitude":0.5}"#, ExternalCommand::Magnitude(0.5)),
            (r#"{"p":4.0}"#, ExternalCommand::Len(4.0)),
            (r#"{"seed":7}"#, ExternalCommand::Seed(7)),
            (r#"{"row/3":0.25}"#, ExternalCommand::Row(3, 0.25)),
            (r#"{"blend":1.0}"#, ExternalCommand::Blend(1.0)),
            (r#"{"prompt":"海"}"#, ExternalCommand::Prompt("海".into())),
            (r#"{"preset":1}"#, ExternalCommand::Preset(1)),
            (r#"{"run":true}"#, ExternalCommand::Run(true)),
        ] {
            assert_eq!(ExternalCommand::parse_line(line), Ok(vec![command.clone()]));
            let written = Value::Object(ExternalCommand::to_object(std::slice::from_ref(&command)));
            assert_eq!(written.to_string(), line);
            let address = format!("{ROOT}{}", command.name());
            let value = arguments("", command.value()).unwrap();
            assert_eq!(ExternalCommand::parse(&address, &value), Ok(command));
        }
        let pressed = |line| ExternalCommand::parse_line(line);
        assert_eq!(pressed(r#"{"run":null}"#), Ok(vec![ExternalCommand::Run(true)]));
        assert_eq!(
            pressed(r#"{"/softprefix/run":[0]}"#),
            Ok(vec![ExternalCommand::Run(false)])
        );
    }

    #[test]
    fn an_invalid_command_is_refused_completely_with_a_sentence_in_both_languages() {
        for (line, sentence) in [
            ("what", "not valid JSON"),
            ("[1]", "not an object"),
            ("{}", "no command"),
            (r#"{"volume":1}"#, "volume is unknown"),
            (r#"{"magnitude":"much"}"#, "one finite number"),
            (r#"{"magnitude":[1,2]}"#, "one finite number"),
            (r#"{"magnitude":null}"#, "one finite number"),
            (r#"{"magnitude":1e999}"#, "not valid JSON"),
            (r#"{"magnitude":{}}"#, "a number or a text"),
            (r#"{"magnitude":2,"seed":-1}"#, "one whole number"),
            (r#"{"seed":1.5}"#, "one whole number"),
            (r#"{"seed":1e300}"#, "one whole number"),
            (r#"{"row/0":1}"#, "a row from 1"),
            (r#"{"row/x":1}"#, "a row from 1"),
            (r#"{"row/99999999999999999999":1}"#, "a row from 1"),
            (r#"{"prompt":"  "}"#, "not empty"),
            (r#"{"preset":0}"#, "the number of a preset"),
            (r#"{"preset":99}"#, "the number of a preset"),
            (r#"{"run":"now"}"#, "nothing, or one number"),
        ] {
            let error = ExternalCommand::parse_line(line).unwrap_err();
            assert!(error.to_string().contains(sentence), "{line}: {error}");
            assert_ne!(error.sentence().en, error.sentence().ja);
        }
        let long = format!("{{\"prompt\":\"{}\"}}", "a".repeat(MAX_LINE_LENGTH));
        assert_eq!(ExternalCommand::parse_line(&long), Err(ExternalError::TooLong));
        let nan = [Argument::Number(f64::NAN)];
        assert!(ExternalCommand::parse("/softprefix/magnitude", &nan).is_err());
        let endless = ExternalCommand::parse(&"/x\n".repeat(1000), &[])
            .unwrap_err()
            .to_string();
        assert!(endless.len() < 300 && !endless.contains('\n'), "{endless}");
    }

    #[test]
    fn of_each_name_the_last_command_is_kept_and_a_released_button_does_not_undo_its_press() {
        let mut received = Received::default();
        for line in [
            r#"{"magnitude":1}"#,
            r#"{"run":1}"#,
            r#"{"row/1":0.1,"row/2":0.2}"#,
            r#"{"volume":1}"#,
            r#"{"run":0}"#,
            r#"{"row/1":0.3,"magnitude":2}"#,
        ] {
            received.add(ExternalCommand::parse_line(line));
        }
        assert_eq!(
            received.commands,
            [
                ExternalCommand::Run(true),
                ExternalCommand::Row(2, 0.2),
                ExternalCommand::Run(false),
                ExternalCommand::Magnitude(2.0),
                ExternalCommand::Row(1, 0.3),
            ]
        );
        assert_eq!((received.packets, received.refused), (6, 1));
        assert!(matches!(received.why, Some(ExternalError::Unknown(_))));
    }

    #[test]
    fn however_much_is_received_what_waits_is_bounded() {
        let mut received = Received::default();
        for packet in 0..20_000_usize {
            received.add(Ok(vec![
                ExternalCommand::Row(packet % HIGHEST_ROW + 1, packet as f64),
                ExternalCommand::Prompt(packet.to_string()),
                ExternalCommand::Run(packet % 2 == 0),
            ]));
        }
        assert!(
            received.commands.len() <= HIGHEST_ROW + 3,
            "{}",
            received.commands.len()
        );
        assert_eq!(received.packets, 20_000);
    }

    #[test]
    fn a_mapping_maps_its_ends_and_clamps_what_is_outside() {
        let mapping = Mapping {
            on: true,
            from: [0.0, 127.0],
            to: [0.5, 4.5],
        };
        assert_eq!(
            [mapping.map(0.0), mapping.map(127.0), mapping.map(63.5)],
            [0.5, 4.5, 2.5]
        );
        assert_eq!([mapping.map(-5.0), mapping.map(1e9)], [0.5, 4.5]);
        let inverted = Mapping {
            from: [1.0, 0.0],
            ..mapping
        };
        assert_eq!([inverted.map(0.0), inverted.map(1.0)], [4.5, 0.5]);
        let flat = Mapping {
            from: [1.0, 1.0],
            ..mapping
        };
        assert_eq!(flat.map(1.0), 0.5);
        assert_eq!(Mapping::default().map(17.0), 17.0);
    }

    #[test]
    fn an_address_without_a_host_is_loopback_and_only_loopback_counts_as_such() {
        for (text, written, is_loopback) in [
            ("9000", "127.0.0.1:9000", true),
            (":9000", "127.0.0.1:9000", true),
            ("localhost:9000", "localhost:9000", true),
            ("[::1]:9000", "[::1]:9000", true),
            ("127.3.2.1:9000", "127.3.2.1:9000", true),
            ("0.0.0.0:9000", "0.0.0.0:9000", false),
            ("[::]:9000", "[::]:9000", false),
            ("synth.local:57120", "synth.local:57120", false),
        ] {
            let endpoint = Endpoint::parse(text).unwrap();
            assert_eq!(
                (endpoint.to_string().as_str(), endpoint.is_loopback()),
                (written, is_loopback)
            );
        }
        for text in [
            "",
            "host",
            "host:",
            "host:99999",
            "::1:9000",
            "a b:1",
            "http://a:1",
            "[::1:1",
        ] {
            assert_eq!(Endpoint::parse(text), None, "{text}");
        }
    }
}
