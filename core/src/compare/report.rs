//! The report on a results file: every measure of every case against the baseline, the noise between baselines, and a verdict for
//! each; as values, as a table for a shell, and as JSON.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use super::{Measures, ResultEntry, ResultsFile};
use crate::bilingual;
use crate::language::Bilingual;

/// Version of the JSON form.
pub const REPORT_VERSION: u32 = 1;

/// All cases of a results file, measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// [`REPORT_VERSION`].
    pub version: u32,
    /// Name of the model's card.
    pub model: String,
    /// `host:port`.
    pub module: String,
    /// System prompt of all cases.
    pub system_prompt: String,
    /// User's prompt of all cases.
    pub user_prompt: String,
    /// Name of the case that all are measured against.
    pub baseline: String,
    /// The noise floor; `None` where the baseline ran once.
    pub noise: Option<Noise>,
    /// In the order of the file.
    pub rows: Vec<Row>,
    /// Remarks on the reliability of the numbers, in English sentences.
    pub notes: Vec<String>,
}

/// The noise floor: the smallest values between the first run of the baseline and later ones.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Noise {
    /// Runs of the baseline, the first one included.
    pub runs: usize,
    /// Smallest chrF2 between the first baseline and a later one.
    pub chrf2: f64,
    /// Smallest indel ratio.
    pub indel: f64,
    /// Smallest difflib ratio, without autojunk.
    pub difflib: f64,
    /// Smallest normalised Levenshtein.
    pub levenshtein: f64,
    /// Fewest code points shared from the start.
    pub first_divergence: usize,
}

/// One case against the baseline.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// Name of the case in the file.
    pub name: String,
    /// Whether a prefix was sent, one of magnitude 0 included.
    pub has_prefix: bool,
    /// P.
    pub prefix_len: usize,
    /// Raw magnitude.
    pub val: Option<f64>,
    /// Magnitude in token norms, where the file has it.
    pub token_norms: Option<f64>,
    /// `None` for a case that failed.
    pub measures: Option<Measures>,
    /// Seconds from sending to the end of the output.
    pub elapsed_sec: f64,
    /// Seconds to the first piece of text; `None` where the output arrived whole, or the file does not say.
    pub ttft_sec: Option<f64>,
    /// Number of output tokens; `None` where the file does not hold their ids.
    pub tokens: Option<usize>,
    /// Output tokens divided by `elapsed_sec`.
    pub tokens_per_sec: Option<f64>,
    /// Why the output ended, as the unit names it.
    pub finish_reason: Option<String>,
    /// The sentence of the failure; `None` where the case succeeded.
    pub error: Option<String>,
    /// Code points of a text that was cut off by the error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cut_after: Option<usize>,
    /// One word for the case.
    pub verdict: Verdict,
}

/// The verdict on a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The baseline of the others.
    Baseline,
    /// The same text as the baseline.
    Same,
    /// No further from the baseline than the baseline is from itself.
    InsideNoise,
    /// Another text.
    Changed,
    /// Another text that repeats itself more than the baseline does.
    Loop,
    /// No text at all.
    Empty,
    /// The case failed; the row has the error.
    Failed,
}

impl Verdict {
    /// The name that people read.
    pub const fn name(self) -> Bilingual<&'static str> {
        let (en, ja) = match self {
            Self::Baseline => ("baseline", "ベースライン"),
            Self::Same => ("same as the baseline", "ベースラインと同じ"),
            Self::InsideNoise => ("within the noise", "ノイズの範囲内"),
            Self::Changed => ("changed", "変化あり"),
            Self::Loop => ("repeats itself", "反復"),
            Self::Empty => ("empty", "空"),
            Self::Failed => ("failed", "失敗"),
        };
        Bilingual { en, ja }
    }
}

impl Noise {
    /// The noise floor from the measures of every later baseline against the first; `None` without any.
    pub fn of<'m>(repeats: impl IntoIterator<Item = &'m Measures>) -> Option<Self> {
        let mut out: Option<Self> = None;
        for m in repeats {
            let noise = out.get_or_insert(Self {
                runs: 1,
                chrf2: f64::INFINITY,
                indel: f64::INFINITY,
                difflib: f64::INFINITY,
                levenshtein: f64::INFINITY,
                first_divergence: usize::MAX,
            });
            noise.runs += 1;
            noise.chrf2 = noise.chrf2.min(m.chrf2);
            noise.indel = noise.indel.min(m.indel);
            noise.difflib = noise.difflib.min(m.difflib);
            noise.levenshtein = noise.levenshtein.min(m.levenshtein);
            noise.first_divergence = noise.first_divergence.min(m.first_divergence.code_points);
        }
        out
    }

    /// The noise of a module as a sentence; `None` where the baseline ran once.
    pub fn sentence(noise: Option<&Self>) -> Bilingual {
        let Some(noise) = noise else {
            return Bilingual::new(
                "The baseline ran once, so the noise of this module is not known.",
                "ベースラインは 1 回だけなので、このモジュールのノイズはわかりません。",
            );
        };
        let (runs, chrf2) = (noise.runs, noise.chrf2);
        if noise.is_zero() {
            bilingual!(
                "Deterministic: all {runs} runs of the baseline gave the same output.",
                "決定的：ベースライン {runs} 回はすべて同じ出力でした。"
            )
        } else {
            bilingual!(
                "Noise: the lowest chrF2 between {runs} runs of the baseline is {chrf2:.1}. Values above it are no evidence of an effect.",
                "ノイズ：ベースライン {runs} 回の間の chrF2 は最小で {chrf2:.1} です。これより上の値では効果があるとはいえません。"
            )
        }
    }

    /// True if every run of the baseline gave the same text.
    pub fn is_zero(&self) -> bool {
        self.indel >= 1.0
    }

    /// True if a text is no further from the baseline than the baseline is from itself (by chrF2, the headline measure).
    pub fn holds(&self, measures: &Measures) -> bool {
        !self.is_zero() && measures.chrf2 >= self.chrf2
    }
}

impl Verdict {
    /// The verdict on a text with these measures against its baseline, given the noise between baselines.
    pub fn of(measures: &Measures, noise: Option<&Noise>) -> Self {
        if measures.is_same() {
            Self::Same
        } else if measures.length.code_points == 0 {
            Self::Empty
        } else if noise.is_some_and(|noise| noise.holds(measures)) {
            Self::InsideNoise
        } else if measures.repetition.is_collapse() {
            Self::Loop
        } else {
            Self::Changed
        }
    }
}

impl From<&ResultsFile> for Report {
    fn from(file: &ResultsFile) -> Self {
        let mut notes = file.doubts();
        let at = file.baseline().unwrap_or_else(|| {
            notes.push("This file has no baseline; the first case is used in its place.".to_owned());
            0
        });
        let none = ResultEntry::default();
        let baseline = file.results.get(at).unwrap_or(&none);
        if baseline.error().is_some() {
            notes.push(
                "The baseline failed; all measures are against the text that arrived before the error.".to_owned(),
            );
        }
        let tokens = |entry: &'_ ResultEntry| entry.extra.as_ref().and_then(|extra| extra.tokens.clone());
        let baseline_tokens = tokens(baseline);
        let measured: Vec<Option<Measures>> = file
            .results
            .iter()
            .map(|entry| {
                let text_tokens = tokens(entry);
                entry.error().is_none().then(|| {
                    Measures::of(&baseline.out_text, &entry.out_text)
                        .with_tokens(baseline_tokens.as_deref(), text_tokens.as_deref())
                })
            })
            .collect();
        let is_repeat = |i: usize, entry: &ResultEntry| i != at && !entry.has_prefix;
        let repeats = file
            .results
            .iter()
            .enumerate()
            .filter(|(i, entry)| is_repeat(*i, entry));
        let noise = Noise::of(repeats.filter_map(|(i, _)| measured.get(i).and_then(Option::as_ref)));
        notes.push(Noise::sentence(noise.as_ref()).en);
        let rows = file.results.iter().zip(measured).enumerate();
        let rows: Vec<Row> = rows
            .map(|(i, (entry, measures))| Row::of(entry, measures, i == at, noise.as_ref()))
            .collect();
        let with_prefix: Vec<&Row> = rows
            .iter()
            .filter(|row| row.has_prefix && row.error.is_none())
            .collect();
        if !with_prefix.is_empty() && with_prefix.iter().all(|row| row.verdict == Verdict::Same) {
            notes.push(
                "No prefix changed the text at all. A module whose unit does not know soft_prefix ignores it silently: \
                 check that the prefix was applied."
                    .to_owned(),
            );
        }
        let meta = &file.meta;
        Self {
            version: REPORT_VERSION,
            model: meta.model.clone(),
            module: if meta.host.is_empty() {
                String::new()
            } else {
                format!("{}:{}", meta.host, meta.port)
            },
            system_prompt: meta.system_prompt.clone(),
            user_prompt: meta.user_prompt.clone(),
            baseline: baseline.name.clone(),
            noise,
            rows,
            notes,
        }
    }
}

impl Row {
    fn of(entry: &ResultEntry, measures: Option<Measures>, is_baseline: bool, noise: Option<&Noise>) -> Self {
        let extra = entry.extra.clone().unwrap_or_default();
        let tokens = extra.tokens.as_ref().map(Vec::len);
        let rate = tokens
            .filter(|_| entry.elapsed_sec > 0.0)
            .map(|count| count as f64 / entry.elapsed_sec);
        let verdict = match &measures {
            _ if is_baseline => Verdict::Baseline,
            None => Verdict::Failed,
            Some(measures) => Verdict::of(measures, noise),
        };
        Self {
            name: entry.name.clone(),
            has_prefix: entry.has_prefix,
            prefix_len: entry.prefix_len,
            val: entry.val,
            token_norms: extra.token_norms,
            measures,
            elapsed_sec: entry.elapsed_sec,
            ttft_sec: extra.ttft_sec,
            tokens,
            tokens_per_sec: rate,
            finish_reason: extra.finish_reason,
            cut_after: (extra.error.is_some() && !entry.out_text.is_empty()).then(|| entry.out_text.chars().count()),
            error: extra.error,
            verdict,
        }
    }
}

impl Report {
    /// The JSON form, indented, with a line break at the end.
    ///
    /// # Errors
    /// Where a value has no JSON form, which is a fault of this program.
    pub fn to_json(&self) -> Result<String, serde_json::Error> {
        crate::json::indented(self)
    }

    /// A table for a terminal: heading, one line for each case, notes. Columns without any value are left out.
    pub fn to_table(&self) -> String {
        type Cell = fn(&Row) -> Option<String>;
        fn m(row: &Row, pick: impl Fn(&Measures) -> Option<String>) -> Option<String> {
            row.measures.as_ref().and_then(pick)
        }
        let columns: [(&str, Cell); 18] = [
            ("case", |row| Some(on_one_line(&row.name))),
            ("P", |row| {
                Some(if row.has_prefix {
                    row.prefix_len.to_string()
                } else {
                    "-".to_owned()
                })
            }),
            ("value", |row| row.val.map(short)),
            ("x norm", |row| row.token_norms.map(short)),
            ("chrF2", |row| m(row, |m| Some(format!("{:.2}", m.chrf2)))),
            ("indel", |row| m(row, |m| Some(format!("{:.4}", m.indel)))),
            ("difflib", |row| m(row, |m| Some(format!("{:.4}", m.difflib)))),
            ("autojunk", |row| m(row, |m| Some(format!("{:.4}", m.difflib_autojunk)))),
            ("leven.", |row| m(row, |m| Some(format!("{:.4}", m.levenshtein)))),
            ("same chars", |row| {
                m(row, |m| Some(m.first_divergence.graphemes.to_string()))
            }),
            ("same tokens", |row| {
                m(row, |m| m.first_divergence_tokens.map(|n| n.to_string()))
            }),
            ("dist-2", |row| m(row, |m| m.distinct2.map(|d| format!("{d:.3}")))),
            ("dist-4", |row| m(row, |m| m.distinct4.map(|d| format!("{d:.3}")))),
            ("chars", |row| m(row, |m| Some(m.length.graphemes.to_string()))),
            ("tokens", |row| row.tokens.map(|n| n.to_string())),
            ("first s", |row| row.ttft_sec.map(|s| format!("{s:.2}"))),
            ("all s", |row| Some(format!("{:.2}", row.elapsed_sec))),
            ("", |row| Some(row.verdict.name().en.to_owned())),
        ];
        let mut out = String::new();
        for (name, text) in [
            ("model", &self.model),
            ("module", &self.module),
            ("system", &self.system_prompt),
            ("prompt", &self.user_prompt),
        ] {
            if !text.is_empty() {
                let _ = writeln!(out, "{name:7} {}", on_one_line(text));
            }
        }
        let baseline = on_one_line(&self.baseline);
        let _ = writeln!(out, "{:7} {baseline} (all measures are against it)\n", "base");

        let table: Vec<(&str, Vec<Option<String>>)> = columns
            .iter()
            .map(|(title, cell)| (*title, self.rows.iter().map(cell).collect::<Vec<_>>()))
            .filter(|(_, cells)| cells.iter().any(Option::is_some))
            .collect();
        let widths: Vec<usize> = table
            .iter()
            .map(|(title, cells)| {
                cells
                    .iter()
                    .flatten()
                    .map(|c| display_width(c))
                    .max()
                    .unwrap_or(0)
                    .max(display_width(title))
            })
            .collect();
        let mut line = |cells: Vec<&str>| {
            let mut text = String::new();
            for (i, (cell, &width)) in cells.into_iter().zip(&widths).enumerate() {
                let pad = " ".repeat(width.saturating_sub(display_width(cell)));
                // Text is aligned left, numbers right.
                let words = i == 0 || i + 1 == widths.len();
                text += &if words {
                    format!("{cell}{pad}  ")
                } else {
                    format!("{pad}{cell}  ")
                };
            }
            let _ = writeln!(out, "{}", text.trim_end());
        };
        line(table.iter().map(|(title, _)| *title).collect());
        for i in 0..self.rows.len() {
            line(
                table
                    .iter()
                    .map(|(_, cells)| cells.get(i).and_then(Option::as_deref).unwrap_or("-"))
                    .collect(),
            );
        }
        let failed = self.rows.iter().filter_map(|row| {
            let error = row.error.as_ref()?;
            let cut = match row.cut_after {
                Some(characters) => format!(" (the text was cut off after {characters} characters)"),
                None => String::new(),
            };
            Some(on_one_line(&format!("{}: {error}{cut}", row.name)))
        });
        let notes: Vec<String> = failed.chain(self.notes.iter().cloned()).collect();
        if !notes.is_empty() {
            out.push('\n');
        }
        for note in notes {
            let _ = writeln!(out, "* {note}");
        }
        out
    }
}

fn on_one_line(text: &str) -> String {
    text.replace(['\n', '\r'], " ")
}

/// A number with at most four digits after the point: `1e-4`, `7.62e-4`, `0.58`, `58.1`.
fn short(value: f64) -> String {
    if value != 0.0 && (value.abs() < 1e-3 || value.abs() >= 1e6) {
        let text = format!("{value:.3e}");
        let (digits, power) = text.split_once('e').unwrap_or((&text, "0"));
        return format!("{}e{power}", digits.trim_end_matches('0').trim_end_matches('.'));
    }
    let rounded = (value * 1e4).round() / 1e4;
    rounded.to_string()
}

/// Cells that a text takes in a terminal: two for East Asian wide characters and emoji, none for combining marks.
fn display_width(text: &str) -> usize {
    text.chars()
        .map(|c| match c {
            '\u{300}'..='\u{36F}' | '\u{200B}'..='\u{200F}' | '\u{3099}' | '\u{309A}' | '\u{FE00}'..='\u{FE0F}' => 0,
            '\u{1100}'..='\u{115F}'
            | '\u{2E80}'..='\u{A4CF}'
            | '\u{AC00}'..='\u{D7A3}'
            | '\u{F900}'..='\u{FAFF}'
            | '\u{FE30}'..='\u{FE6F}'
            | '\u{FF01}'..='\u{FF60}'
            | '\u{FFE0}'..='\u{FFE6}'
            | '\u{1F300}'..='\u{1FAFF}'
            | '\u{20000}'..='\u{3FFFD}' => 2,
            _ => 1,
        })
        .sum()
}
