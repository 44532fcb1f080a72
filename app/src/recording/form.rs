//! Reads and writes the file format of recordings: [`Writer`] formats one line at a time, [`Recording::read`] parses a
//! whole file or refuses it with one sentence.
//!
//! A line is written by the model's own types with serde. The end of a run has a row of its own, which leaves out the text that has
//! already arrived, and whose times are numbers of milliseconds without digits that are not shown.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use softprefix_core::compare::{Measure, ResultsFile};
use softprefix_core::experiment::journal::JOURNAL_VERSION;
use softprefix_core::experiment::session::EMBEDDED;
use softprefix_core::experiment::{
    Answer, Experiment, GroupKey, ModuleIdentity, PrefixIdentity, Record, WRITTEN_BY, export,
};
use softprefix_core::prefix::{MAX_LEN, PrefixRecipe};
use softprefix_core::protocol::extension::{FinishReason, SoftPrefixEcho, TokenCounts, Usage};

use super::Line;
use crate::errors::because;
use crate::model::{
    Bilingual, ExternalCommand, Histogram, ModuleFacts, PrefixForm, Problem, ProblemKind, PromptForm, RunKind, Timings,
    Vocabulary,
};

/// The version that is written, and the newest that can be read.
pub const VERSION: u32 = 2;

/// The address of a module that is not embedded: its own is not recorded.
pub(crate) const REMOTE: &str = "StackFlow";

/// Upper bound for numbers of tokens, positions and rows: more than any model has.
const MOST: usize = 1 << 24;

/// A recording: what happened, in order.
#[derive(Debug, Clone, Default)]
pub struct Recording {
    pub written_by: String,
    /// Start time, in seconds since 1970.
    pub at_unix: u64,
    /// Events with their time in milliseconds since the start, in ascending order.
    pub lines: Vec<(u64, Line)>,
}

/// Why a file cannot be played.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    #[error("{0} is not a recording of this program; choose a file that it recorded.")]
    NotOne(String),
    #[error(
        "{name} was recorded by a newer version (format {version}, this program reads {VERSION}); update softprefix to play it."
    )]
    Newer { name: String, version: u64 },
    #[error("{name} is damaged in line {line} ({why}); record it again or use an undamaged copy.")]
    Line { name: String, line: usize, why: String },
    #[error("{0} is an empty recording; record for longer.")]
    Empty(String),
}

impl Broken {
    /// Converts the error to a problem in both languages.
    pub fn problem(&self) -> Problem {
        let japanese = match self {
            Self::NotOne(name) => {
                format!("{name} は本ソフトの記録ではありません。本ソフトで記録したファイルを選んでください。")
            }
            Self::Newer { name, version } => format!(
                "{name} は新しい版の本ソフトが記録したものです（形式 {version}、この版が読めるのは {VERSION} まで）。本ソフトを更新してください。"
            ),
            Self::Line { name, line, why } => {
                because(&format!("{name} の {line} 行目が壊れています"), why)
                    + "記録し直すか、壊れていないコピーを使ってください。"
            }
            Self::Empty(name) => format!("{name} には再生できるものがありません。もう少し長く記録してください。"),
        };
        Problem::new(ProblemKind::File, Bilingual::new(self.to_string(), japanese), "")
    }
}

/// The first line.
#[derive(Serialize, Deserialize)]
struct Head {
    softprefix_recording: u64,
    #[serde(default)]
    written_by: String,
    #[serde(default)]
    at_unix: u64,
}

/// A further line: a time and one of the other keys.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct Row {
    t: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    module: Option<Map<String, Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lost: Option<ProblemRow>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prefix: Option<Map<String, Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt: Option<Map<String, Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    view: Option<ViewRow>,
    #[serde(skip_serializing_if = "Option::is_none")]
    count: Option<TokenCounts>,
    #[serde(skip_serializing_if = "is_false")]
    session: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    case: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    group: Option<Box<GroupKey>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    run: Option<RunKind>,
    #[serde(skip_serializing_if = "Option::is_none")]
    began: Option<BeganRow>,
    #[serde(skip_serializing_if = "Option::is_none")]
    b: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    p: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    r: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    end: Option<EndRow>,
    #[serde(skip_serializing_if = "Option::is_none")]
    failed: Option<FailedRow>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dropped: Option<RunKind>,
    /// `Some(None)` is the last point.
    #[serde(
        rename = "look",
        skip_serializing_if = "Option::is_none",
        deserialize_with = "present"
    )]
    opened: Option<Option<usize>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    remove: Option<usize>,
    #[serde(skip_serializing_if = "is_false")]
    clear: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    external: Option<Map<String, Value>>,
    #[serde(skip_serializing_if = "is_false")]
    over: bool,
}

fn is_false(value: &bool) -> bool {
    !value
}

/// Distinguishes `null` from a missing key.
fn present<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<Option<usize>>, D::Error> {
    Option::deserialize(from).map(Some)
}

#[derive(Serialize, Deserialize)]
struct ModuleRow {
    /// Without its address.
    #[serde(flatten)]
    identity: ModuleIdentity,
    #[serde(default)]
    embedded: bool,
    #[serde(default)]
    latency_us: u64,
    #[serde(default)]
    concurrency: usize,
    /// Of earlier versions, which did not write the name of every unit.
    #[serde(default, skip_serializing)]
    ours: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    vocabulary: Option<Vocabulary>,
}

/// What went wrong and what to do next. Earlier versions wrote both in English only.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum ProblemRow {
    Bilingual { sentence: Bilingual, remedy: Bilingual },
    English([String; 2]),
}

impl From<ProblemRow> for Problem {
    fn from(row: ProblemRow) -> Self {
        match row {
            ProblemRow::Bilingual { sentence, remedy } => Self::new(ProblemKind::Module, sentence, remedy),
            ProblemRow::English([sentence, remedy]) => Self::new(ProblemKind::Module, sentence, remedy),
        }
    }
}

#[derive(Serialize, Deserialize)]
struct ViewRow {
    measure: Value,
    granularity: Value,
}

#[derive(Serialize, Deserialize)]
struct BeganRow {
    #[serde(rename = "side")]
    kind: RunKind,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    built: Option<Map<String, Value>>,
}

#[derive(Serialize, Deserialize)]
struct EndRow {
    #[serde(rename = "side")]
    kind: RunKind,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    finish: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    first_ms: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    elapsed_ms: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tokens: Option<usize>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tokens_per_second: Option<f64>,
    #[serde(default, skip_serializing_if = "is_false")]
    echoed: bool,
}

#[derive(Serialize, Deserialize)]
struct FailedRow {
    #[serde(rename = "side")]
    kind: RunKind,
    because: ProblemRow,
}

/// State that reader and writer keep from line to line: the forms, and the text received of each kind of run.
#[derive(Default)]
struct Memory {
    prefix: Map<String, Value>,
    prompt: Map<String, Value>,
    texts: [String; 3],
    /// The module's address, which is kept out of the file.
    address: String,
    /// The recipe with which the prefixed run started.
    recipe: Option<PrefixRecipe>,
    /// The prefix that was sent.
    sent: Option<PrefixIdentity>,
}

impl Memory {
    fn text(&mut self, kind: RunKind) -> &mut String {
        &mut self.texts[match kind {
            RunKind::Baseline => 0,
            RunKind::Prefixed => 1,
            RunKind::BaselineRepeat => 2,
        }]
    }

    /// Returns the prefix of a run, if it has one.
    fn sent(&self, kind: RunKind) -> Option<&PrefixIdentity> {
        self.sent.as_ref().filter(|_| kind == RunKind::Prefixed)
    }
}

/// Formats a recording line by line.
#[derive(Default)]
pub struct Writer {
    memory: Memory,
    at: u64,
}

impl Writer {
    /// Returns the first line of a file.
    pub fn head(at_unix: u64) -> String {
        let head = Head {
            softprefix_recording: u64::from(VERSION),
            written_by: WRITTEN_BY.to_owned(),
            at_unix,
        };
        written(&head)
    }

    /// Returns the line for an event `at` milliseconds after the start; `None` if it has no effect any more.
    pub fn line(&mut self, at: u64, line: &Line) -> Option<String> {
        self.at = self.at.max(at);
        let mut row = Row {
            t: self.at,
            ..Row::default()
        };
        match line {
            Line::Module { facts, vocabulary } => {
                self.memory.address = if facts.is_embedded() {
                    String::new()
                } else {
                    facts.identity.address.clone()
                };
                row.module = Some(fields_of(&module_row(facts, vocabulary.as_deref()))?);
            }
            Line::Lost(problem) => row.lost = Some(self.because(problem)),
            Line::Prefix(form) => row.prefix = Some(changes(&mut self.memory.prefix, &**form)?),
            Line::Prompt(form) => row.prompt = Some(changes(&mut self.memory.prompt, &**form)?),
            Line::View { measure, granularity } => {
                row.view = Some(ViewRow {
                    measure: serde_json::to_value(measure).ok()?,
                    granularity: serde_json::to_value(granularity).ok()?,
                });
            }
            Line::Count(count) => row.count = Some(*count),
            Line::Session => row.session = true,
            Line::Case { group, records } => {
                row.case = Some(case_row(records)?);
                row.group = group.as_deref().map(Self::without_address);
            }
            Line::Group(key) => row.group = Some(Self::without_address(key)),
            Line::Run(kind) => {
                self.memory.text(*kind).clear();
                row.run = Some(*kind);
            }
            Line::Began(kind, sent) => {
                if *kind == RunKind::Prefixed {
                    self.memory.sent = sent.as_deref().cloned();
                }
                row.began = Some(BeganRow {
                    kind: *kind,
                    built: sent.as_deref().and_then(fields_of),
                });
            }
            Line::Text(kind, text) => {
                self.memory.text(*kind).push_str(text);
                let text = Some(text.clone());
                match kind {
                    RunKind::Baseline => row.b = text,
                    RunKind::Prefixed => row.p = text,
                    RunKind::BaselineRepeat => row.r = text,
                }
            }
            Line::Ended(kind, answer) => {
                let arrived = std::mem::take(self.memory.text(*kind));
                row.end = Some(end_row(*kind, answer, &arrived, self.memory.sent(*kind)));
            }
            Line::Failed(kind, problem) => {
                row.failed = Some(FailedRow {
                    kind: *kind,
                    because: self.because(problem),
                });
            }
            Line::Dropped(kind) => row.dropped = Some(*kind),
            Line::Opened(at) => row.opened = Some(*at),
            Line::Remove(at) => row.remove = Some(*at),
            Line::Clear => row.clear = true,
            Line::External(commands) => row.external = Some(ExternalCommand::to_object(commands)),
            Line::Over => row.over = true,
        }
        Some(written(&row))
    }

    /// Returns the key with a name instead of the module's address, as the line of a module is read with.
    fn without_address(key: &GroupKey) -> Box<GroupKey> {
        let name = match key.address.as_str() {
            EMBEDDED => EMBEDDED,
            _ => REMOTE,
        };
        Box::new(GroupKey {
            address: name.to_owned(),
            ..key.clone()
        })
    }

    fn because(&self, problem: &Problem) -> ProblemRow {
        let own = &self.memory.address;
        let without = |text: &Bilingual| {
            Bilingual::new(
                without_addresses(&text.en, own, ["The module", "the module"]),
                without_addresses(&text.ja, own, ["モジュール"; 2]),
            )
        };
        ProblemRow::Bilingual {
            sentence: without(&problem.sentence),
            remedy: without(&problem.remedy),
        }
    }
}

/// Replaces every address in a sentence by a name for the module, which is `first` at the beginning: `own` with or without its port, and
/// whatever has the form of an IP address.
fn without_addresses(text: &str, own: &str, [first, later]: [&str; 2]) -> String {
    let host = own.rsplit_once(':').map_or(own, |(host, _)| host);
    let own = [own, host, host.trim_matches(['[', ']'])];
    let is_address = |word: &str| {
        own.iter().any(|own| !own.is_empty() && own.eq_ignore_ascii_case(word))
            || word.parse::<SocketAddr>().is_ok()
            || word.trim_matches(['[', ']']).parse::<IpAddr>().is_ok()
    };
    // Japanese has no blanks between an address and the words around it.
    let in_word = |c: char| c.is_ascii_alphanumeric() || "._-:[]%".contains(c) || (!c.is_ascii() && own[0].contains(c));
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find(in_word) {
        let (before, from) = rest.split_at(start);
        let (run, after) = from.split_at(from.find(|c| !in_word(c)).unwrap_or(from.len()));
        // A sentence's own full stop or colon.
        let word = run.trim_end_matches(['.', ':']);
        out.push_str(before);
        out.push_str(match (is_address(word), out.is_empty()) {
            (false, _) => word,
            (true, true) => first,
            (true, false) => later,
        });
        out.push_str(&run[word.len()..]);
        rest = after;
    }
    out.push_str(rest);
    out
}

#[expect(
    clippy::expect_used,
    reason = "rows are plain structs and maps with text keys, which JSON always has a form for"
)]
fn written(value: &impl Serialize) -> String {
    let mut line = serde_json::to_string(value).expect("a row has a form in JSON");
    line.push('\n');
    line
}

fn fields_of(value: &impl Serialize) -> Option<Map<String, Value>> {
    match serde_json::to_value(value) {
        Ok(Value::Object(fields)) => Some(fields),
        _ => None,
    }
}

/// Returns the fields that differ from `before`, and replaces `before` by the new form.
fn changes(before: &mut Map<String, Value>, form: &impl Serialize) -> Option<Map<String, Value>> {
    let now = fields_of(form)?;
    let changed: Map<String, Value> = now
        .iter()
        .filter(|(key, value)| before.get(*key) != Some(*value))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    *before = now;
    (!changed.is_empty()).then_some(changed)
}

fn module_row(facts: &ModuleFacts, vocabulary: Option<&Vocabulary>) -> ModuleRow {
    ModuleRow {
        identity: ModuleIdentity {
            address: String::new(),
            card: Value::Null,
            ..facts.identity.clone()
        },
        embedded: facts.is_embedded(),
        latency_us: u64::try_from(facts.latency.as_micros()).unwrap_or(u64::MAX),
        concurrency: facts.concurrency,
        ours: false,
        vocabulary: vocabulary.cloned(),
    }
}

/// Returns runs of one prompt as a results file, without the module's address; `None` if there are none.
fn case_row(records: &[Record]) -> Option<Value> {
    let mut records = records.to_vec();
    for (index, record) in records.iter_mut().enumerate() {
        record.module.address.clear();
        // The file has them in the order of their indices, which is that of their starts.
        record.case.index = index;
    }
    let first = records.first()?;
    let experiment = Experiment {
        version: JOURNAL_VERSION,
        id: String::new(),
        name: String::new(),
        started_unix: first.started_unix,
        plan: None,
        module: first.module.clone(),
    };
    let file = export::to_results_file(&experiment, &records, first.case.prompt);
    serde_json::to_value(file).ok()
}

fn end_row(kind: RunKind, answer: &Answer, arrived: &str, sent: Option<&PrefixIdentity>) -> EndRow {
    // Rounded as the panes show them; more digits would only enlarge the file.
    let ms = |time: Duration| (time.as_secs_f64() * 10_000.0).round() / 10.0;
    let timings = Timings::of(answer);
    let finish = serde_json::to_value(answer.finish_reason).ok();
    EndRow {
        kind,
        text: (answer.text != arrived).then(|| answer.text.clone()),
        finish: finish.and_then(|name| name.as_str().map(str::to_owned)),
        first_ms: timings.first_token.map(ms),
        elapsed_ms: timings.elapsed.map(ms),
        tokens: timings.tokens,
        tokens_per_second: timings.tokens_per_second.map(|rate| (rate * 10.0).round() / 10.0),
        echoed: answer
            .echo
            .as_ref()
            .zip(sent)
            .is_some_and(|(echo, sent)| echo.sha256 == sent.sha256),
    }
}

impl Recording {
    /// Parses a file; `name` is what error messages call it.
    ///
    /// # Errors
    /// If it is not a recording, of a newer version, damaged, or empty.
    pub fn read(bytes: &[u8], name: &str) -> Result<Self, Broken> {
        let not_one = || Broken::NotOne(name.to_owned());
        let mut rows = bytes.split_inclusive(|&byte| byte == b'\n');
        let head: Head = rows
            .next()
            .and_then(|first| serde_json::from_slice(first).ok())
            .ok_or_else(not_one)?;
        if head.softprefix_recording == 0 {
            return Err(not_one());
        }
        if head.softprefix_recording > u64::from(VERSION) {
            return Err(Broken::Newer {
                name: name.to_owned(),
                version: head.softprefix_recording,
            });
        }
        let mut memory = Memory::default();
        let mut lines: Vec<(u64, Line)> = Vec::new();
        for (at, row) in rows.enumerate() {
            let broken = |why: String| Broken::Line {
                name: name.to_owned(),
                line: at + 2,
                why,
            };
            if row.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            let parsed: Row = match serde_json::from_slice(row) {
                Ok(parsed) => parsed,
                // A last line without a line end was cut off when the program was killed.
                Err(_) if !row.ends_with(b"\n") => break,
                Err(error) => return Err(broken(without_place(&error))),
            };
            let before = lines.last().map_or(0, |(before, _)| *before);
            if parsed.t < before {
                return Err(broken("its time lies before the line above".to_owned()));
            }
            let time = parsed.t;
            if let Some(line) = line_of(parsed, &mut memory, name).map_err(broken)? {
                lines.push((time, line));
            }
        }
        if lines.iter().all(|(_, line)| *line == Line::Over) {
            return Err(Broken::Empty(name.to_owned()));
        }
        Ok(Self {
            written_by: head.written_by,
            at_unix: head.at_unix,
            lines,
        })
    }

    /// Returns the time of the last line.
    pub fn length(&self) -> Duration {
        Duration::from_millis(self.lines.last().map_or(0, |(at, _)| *at))
    }
}

/// Returns serde's message without its own line and column.
fn without_place(error: &serde_json::Error) -> String {
    let message = error.to_string();
    message.split(" at line ").next().unwrap_or_default().to_owned()
}

fn line_of(row: Row, memory: &mut Memory, name: &str) -> Result<Option<Line>, String> {
    for (text, kind) in [
        (row.b, RunKind::Baseline),
        (row.p, RunKind::Prefixed),
        (row.r, RunKind::BaselineRepeat),
    ] {
        if let Some(text) = text {
            memory.text(kind).push_str(&text);
            return Ok(Some(Line::Text(kind, text)));
        }
    }
    let line = if let Some(module) = row.module {
        let (facts, vocabulary) = module_of(module)?;
        Line::Module {
            facts: Box::new(facts),
            vocabulary,
        }
    } else if let Some(words) = row.lost {
        Line::Lost(words.into())
    } else if let Some(changed) = row.prefix {
        memory.prefix.extend(changed);
        let mut form: PrefixForm = form_of(&memory.prefix)?;
        form.len = form.len.clamp(1, MAX_LEN);
        if !form.magnitude.is_finite() {
            return Err("a magnitude is not a number".to_owned());
        }
        Line::Prefix(Box::new(form))
    } else if let Some(changed) = row.prompt {
        memory.prompt.extend(changed);
        let mut form: PromptForm = form_of(&memory.prompt)?;
        form.max_tokens = form.max_tokens.clamp(1, MOST);
        Line::Prompt(Box::new(form))
    } else if let Some(view) = row.view {
        // An unknown measure or unit is replaced by the default.
        Line::View {
            measure: serde_json::from_value(view.measure).unwrap_or(Measure::Chrf2),
            granularity: serde_json::from_value(view.granularity).unwrap_or_default(),
        }
    } else if let Some(count) = row.count {
        Line::Count(TokenCounts {
            template: count.template.min(MOST),
            prompt: count.prompt.min(MOST),
            window: count.window.min(MOST),
            prefill_window: count.prefill_window.min(MOST),
        })
    } else if let Some(case) = row.case {
        let file = ResultsFile::from_json(case.to_string().as_bytes()).map_err(|error| error.to_string())?;
        let (_, records) = export::from_results_file(&file, name).map_err(|error| error.to_string())?;
        let group = row.group;
        Line::Case { group, records }
    } else if let Some(key) = row.group {
        Line::Group(key)
    } else if row.session {
        Line::Session
    } else if let Some(kind) = row.run {
        memory.text(kind).clear();
        if kind == RunKind::Prefixed {
            memory.recipe = Some(form_of::<PrefixForm>(&memory.prefix)?.recipe());
            memory.sent = None;
        }
        Line::Run(kind)
    } else if let Some(began) = row.began {
        let recipe = match memory.recipe.clone() {
            Some(recipe) => recipe,
            None => form_of::<PrefixForm>(&memory.prefix)?.recipe(),
        };
        let sent = began.built.map(|built| identity_of(built, &recipe)).transpose()?;
        if began.kind == RunKind::Prefixed {
            memory.sent.clone_from(&sent);
        }
        Line::Began(began.kind, sent.map(Box::new))
    } else if let Some(end) = row.end {
        let kind = end.kind;
        let arrived = std::mem::take(memory.text(kind));
        let answer = answer_of(end, arrived, memory.sent(kind));
        Line::Ended(kind, Box::new(answer))
    } else if let Some(failed) = row.failed {
        Line::Failed(failed.kind, failed.because.into())
    } else if let Some(kind) = row.dropped {
        Line::Dropped(kind)
    } else if let Some(at) = row.opened {
        Line::Opened(at)
    } else if let Some(at) = row.remove {
        Line::Remove(at)
    } else if row.clear {
        Line::Clear
    } else if let Some(commands) = row.external {
        let text = Value::Object(commands).to_string();
        Line::External(ExternalCommand::parse_line(&text).map_err(|error| error.to_string())?)
    } else if row.over {
        Line::Over
    } else {
        return Ok(None);
    };
    Ok(Some(line))
}

fn form_of<T: serde::de::DeserializeOwned>(fields: &Map<String, Value>) -> Result<T, String> {
    serde_json::from_value(Value::Object(fields.clone())).map_err(|error| without_place(&error))
}

/// Parses the prefix of a run. Earlier versions wrote its norms one by one, and no recipe: it is that of the fields when the run started.
fn identity_of(mut built: Map<String, Value>, recipe: &PrefixRecipe) -> Result<PrefixIdentity, String> {
    if !built.contains_key("recipe") {
        let norms = ["norm_min", "norm_median", "norm_max"].map(|key| built.get(key).cloned());
        let token_norms = built.get("norms").cloned();
        for (key, value) in [
            ("recipe", json!(recipe)),
            ("row_norms", json!(norms)),
            ("token_norms", json!(token_norms)),
        ] {
            built.insert(key.to_owned(), value);
        }
    }
    let identity: PrefixIdentity = form_of(&built)?;
    Ok(PrefixIdentity {
        len: identity.len.min(MAX_LEN),
        hidden_size: identity.hidden_size.min(MOST),
        ..identity
    })
}

fn module_of(mut fields: Map<String, Value>) -> Result<(ModuleFacts, Option<Arc<Vocabulary>>), String> {
    // Earlier versions wrote null for what is not known, and no address.
    fields.retain(|_, value| !value.is_null());
    for (key, value) in [("address", json!("")), ("model", json!("")), ("hidden_size", json!(0))] {
        fields.entry(key).or_insert(value);
    }
    let row: ModuleRow = form_of(&fields)?;
    let identity = row.identity;
    let facts = ModuleFacts {
        identity: ModuleIdentity {
            address: if row.embedded { EMBEDDED } else { REMOTE }.to_owned(),
            hidden_size: identity.hidden_size.min(MOST),
            unit: identity.unit.or(row.ours.then(|| "softprefix-unit".to_owned())),
            version: identity.version.filter(|version| !version.is_empty()),
            median_norm: row.vocabulary.as_ref().map(|vocabulary| vocabulary.median),
            window: identity.window.map(|positions| positions.min(MOST)),
            prefill_window: identity.prefill_window.map(|positions| positions.min(MOST)),
            ..identity
        },
        latency: Duration::from_micros(row.latency_us),
        concurrency: row.concurrency.min(MOST),
        ..ModuleFacts::default()
    };
    let Some(mut vocabulary) = row.vocabulary else {
        return Ok((facts, None));
    };
    let Histogram {
        log10_min, log10_max, ..
    } = vocabulary.histogram;
    if !(vocabulary.median.is_finite() && vocabulary.median > 0.0 && log10_min < log10_max) {
        return Err("the norms of the vocabulary are not numbers above 0".to_owned());
    }
    vocabulary.hidden_size = vocabulary.hidden_size.clamp(1, MOST);
    Ok((facts, Some(Arc::new(vocabulary))))
}

fn answer_of(row: EndRow, arrived: String, sent: Option<&PrefixIdentity>) -> Answer {
    let seconds = |ms: Option<f64>| ms.map(|ms| ms / 1000.0).filter(|time| time.is_finite() && *time >= 0.0);
    let reason = row
        .finish
        .map(Value::String)
        .map(serde_json::from_value::<FinishReason>);
    let finish_reason = reason.and_then(Result::ok).unwrap_or(FinishReason::Unknown);
    let prefix_len = sent.map_or(0, |sent| sent.len);
    let usage = row
        .tokens
        .map(|tokens| Usage::of_rate(tokens.min(MOST), row.tokens_per_second, finish_reason, prefix_len));
    Answer {
        text: row.text.unwrap_or(arrived),
        tokens: None,
        finish_reason,
        echo: sent.filter(|_| row.echoed).map(|sent| SoftPrefixEcho {
            hidden_size: sent.hidden_size,
            len: sent.len,
            sha256: sent.sha256.clone(),
        }),
        usage,
        ttft_sec: seconds(row.first_ms),
        elapsed_sec: seconds(row.elapsed_ms).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use softprefix_core::experiment::{Case, CaseOutcome};

    use super::*;

    #[test]
    fn no_sentence_of_a_recording_contains_an_address() {
        for (own, text, kept) in [
            (
                "192.168.1.20:10001",
                "the connection to 192.168.1.20:10001 was lost: the module closed it",
                "the connection to the module was lost: the module closed it",
            ),
            (
                "m5stack.local:10001",
                "M5stack.local:10001 does not answer. Log in (`ssh root@m5stack.local`).",
                "The module does not answer. Log in (`ssh root@the module`).",
            ),
            (
                "[fd00::7]:10001",
                "no route to fd00::7, [fd00::7]:10001 or [fd00::7]: try again.",
                "no route to the module, the module or the module: try again.",
            ),
            // Another address than the module's is left out, too.
            (
                "lab:10001",
                "10.0.0.3: no route; 10.0.0.3.",
                "The module: no route; the module.",
            ),
            // Words that contain the name, versions and times stay.
            (
                "lab:10001",
                "the label of softprefix-unit 0.1.0 at 12:30:45, 第2回。",
                "the label of softprefix-unit 0.1.0 at 12:30:45, 第2回。",
            ),
            // Japanese has no blanks around a name.
            (
                "lab:10001",
                "lab:10001との接続が切れました（10.0.0.3）。",
                "The moduleとの接続が切れました（the module）。",
            ),
            ("", "nothing: at all.", "nothing: at all."),
        ] {
            assert_eq!(without_addresses(text, own, ["The module", "the module"]), kept);
        }
    }

    fn lines(text: &str) -> Vec<Line> {
        let file = format!("{{\"softprefix_recording\":1}}\n{text}");
        let recording = Recording::read(file.as_bytes(), "x").unwrap();
        recording.lines.into_iter().map(|(_, line)| line).collect()
    }

    #[test]
    fn a_problem_is_recorded_in_both_languages_without_addresses_and_read_from_earlier_versions_in_english() {
        let mut writer = Writer::default();
        let mut facts = ModuleFacts::default();
        facts.identity.address = "lab:10001".to_owned();
        let mut text = writer
            .line(
                0,
                &Line::Module {
                    facts: Box::new(facts),
                    vocabulary: None,
                },
            )
            .unwrap();
        let sentence = Bilingual::new("lab:10001 is lost.", "lab:10001 との接続が切れました。");
        let problem = Problem::new(
            ProblemKind::Module,
            sentence,
            Bilingual::new("Reconnect.", "再接続してください。"),
        );
        text += &writer.line(1, &Line::Lost(problem)).unwrap();
        text += "{\"t\":2,\"lost\":[\"The module is lost.\",\"Reconnect.\"]}\n";
        assert!(!text.contains("lab"), "{text}");
        let read = lines(&text);
        let [Line::Module { facts, .. }, Line::Lost(problem), Line::Lost(earlier)] = &read[..] else {
            panic!("{read:?}")
        };
        assert_eq!(facts.identity.address, "StackFlow");
        assert_eq!(
            problem.sentence,
            Bilingual::new("The module is lost.", "モジュール との接続が切れました。")
        );
        assert_eq!(problem.remedy.ja, "再接続してください。");
        assert_eq!(earlier.sentence, "The module is lost.".into());
    }

    #[test]
    fn a_case_and_its_group_name_the_module_in_use_and_have_no_address() {
        let mut facts = ModuleFacts::default();
        facts.identity.address = "lab:10001".to_owned();
        facts.identity.model = "tiny".to_owned();
        let record_of = |address: &str| {
            let module = ModuleIdentity {
                address: address.to_owned(),
                ..facts.identity.clone()
            };
            let form = PromptForm::default();
            let answer = Answer::new("Text.", FinishReason::Stop, 0.1);
            Record::new(
                "session",
                Case::new(0, 0, 0, None),
                form.prompt(),
                form.settings(),
                module,
                CaseOutcome::Done(answer),
            )
        };
        for (address, name) in [("lab:10001", REMOTE), ("other:10001", REMOTE), (EMBEDDED, EMBEDDED)] {
            let record = record_of(address);
            let group = Box::new(GroupKey::of(&record));
            let facts = Box::new(facts.clone());
            let mut writer = Writer::default();
            let text: String = [
                Line::Module {
                    facts,
                    vocabulary: None,
                },
                Line::Case {
                    group: Some(group.clone()),
                    records: vec![record],
                },
                Line::Group(group.clone()),
            ]
            .iter()
            .filter_map(|line| writer.line(0, line))
            .collect();
            assert!(!text.contains(":10001"), "{text}");
            let read = lines(&text);
            let [
                _,
                Line::Case {
                    group: of_case,
                    records,
                },
                Line::Group(shown),
            ] = &read[..]
            else {
                panic!("{read:?}")
            };
            let named = GroupKey {
                address: name.to_owned(),
                ..*group
            };
            assert_eq!((of_case.as_deref(), &**shown), (Some(&named), &named));
            assert_eq!(records[0].text(), Some("Text."));
        }
    }

    #[test]
    fn the_prefix_of_a_run_is_read_as_it_was_written_and_from_earlier_versions_with_the_recipe_of_the_fields() {
        let sent = PrefixIdentity {
            recipe: PrefixForm::default().recipe(),
            len: 4,
            hidden_size: 896,
            sha256: "ab".repeat(32),
            row_norms: [0.5, 0.75, 1.0],
            token_norms: Some(2.5),
        };
        let mut writer = Writer::default();
        let form = writer.line(0, &Line::Prefix(Box::default())).unwrap();
        let began = Line::Began(RunKind::Prefixed, Some(Box::new(sent.clone())));
        let written = writer.line(1, &began).unwrap();
        let earlier = format!(
            "{{\"t\":1,\"began\":{{\"side\":\"p\",\"built\":{{\"len\":4,\"hidden_size\":896,\"sha256\":\"{}\",\"norm_min\":0.5,\
             \"norm_median\":0.75,\"norm_max\":1.0,\"norms\":2.5,\"raw\":0.025}}}}}}\n",
            sent.sha256
        );
        for line in [written, earlier] {
            assert_eq!(lines(&format!("{form}{line}"))[1], began, "{line}");
        }
        for damaged in ["5", "[]", "{}", "{\"recipe\":1}"] {
            let file = format!(
                "{{\"softprefix_recording\":1}}\n{form}{{\"t\":1,\"began\":{{\"side\":\"p\",\"built\":{damaged}}}}}\n"
            );
            Recording::read(file.as_bytes(), "x").unwrap_err();
        }
    }
}
