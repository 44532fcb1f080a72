//! An experiment as one HTML page to send to somebody: plots, table, highlighted differences, summaries of the prefixes. The page loads nothing
//! and runs no script, follows light and dark, and can be printed.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::ops::Range;
use std::time::{Duration, Instant};

use super::analysis::{Analysis, Extent, Group, Point};
use super::drawing::{self, escape};
use super::export::in_plan_order;
use super::html_cards;
use super::html_charts::charts;
use super::html_text;
use super::journal::Experiment;
use super::label::LabelWords;
use super::plan::Prompt;
use super::rating::Stars;
use super::record::{Applied, CaseOutcome, Record};
use super::words;
use crate::bilingual;
use crate::compare::{Granularity, Measure, Noise, Verdict, diff};
use crate::language::Bilingual;
pub use crate::language::Language;
use crate::prefix::PrefixKind;
use crate::protocol::Sampling;
use crate::protocol::extension::StoredWeights;
use crate::time;

/// Index of the table column before which the columns with scores are inserted.
const SCORES_AT: usize = 6;

/// Time limit for the difference of one pair.
const DIFF_TIME: Duration = Duration::from_millis(500);

const STYLE: &str = "\
:root{--ink:#1c1c1e;--soft:#5f5f66;--line:#d9d9de;--paper:#fff;--panel:#f5f5f7;--gone:#e0ebf6;--gone-ink:#0b5cb8;--new:#fae8dc;\
--new-ink:#d45b00;--broken:#ad124c}\
@media (prefers-color-scheme:dark){:root{--ink:#ececf0;--soft:#a0a0a8;--line:#3a3a40;--paper:#1c1c1e;--panel:#26262a;--gone:#2c3f55;\
--gone-ink:#7db7ff;--new:#4e3a26;--new-ink:#ff9e45;--broken:#ff7fa0}}\
*{box-sizing:border-box}body{margin:0 auto;max-width:1160px;padding:24px;background:var(--paper);color:var(--ink);\
font:15px/1.55 system-ui,-apple-system,'Segoe UI','Hiragino Sans','Noto Sans CJK JP','Noto Sans JP',sans-serif}\
h1{font-size:26px;margin:0 0 4px}h2{font-size:20px;margin:36px 0 10px;border-top:1px solid var(--line);padding-top:18px}\
h3{font-size:16px;margin:0 0 6px}a{color:inherit}.soft{color:var(--soft)}\
dl{display:grid;grid-template-columns:max-content 1fr;gap:2px 14px;margin:8px 0}dt{color:var(--soft)}dd{margin:0;overflow-wrap:anywhere}\
.text{white-space:pre-wrap;overflow-wrap:anywhere}.mono{font-family:ui-monospace,Menlo,Consolas,monospace;font-size:13px}\
.notes{background:var(--panel);border-left:4px solid var(--soft);padding:8px 14px;margin:12px 0}.notes p{margin:4px 0}\
.charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(440px,1fr));gap:14px}.charts svg{width:100%;height:auto;\
border:1px solid var(--line);border-radius:8px}\
.scroll{overflow-x:auto}table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums;font-size:12px;margin-top:18px}\
th,td{padding:4px 5px;border-bottom:1px solid var(--line);text-align:right;white-space:nowrap}th{vertical-align:bottom}\
th:nth-child(n+3){writing-mode:vertical-rl;padding:4px}:lang(en) th:nth-child(n+3){transform:rotate(180deg);text-align:left}th:first-child,td:first-child,\
th:nth-child(2),td:nth-child(2){text-align:left}td:first-child{white-space:normal;min-width:12em}th{color:var(--soft);font-weight:600}\
.case{border:1px solid var(--line);border-radius:10px;padding:14px 16px;margin:14px 0}\
.pair{display:grid;grid-template-columns:1fr 1fr;gap:14px;margin-top:8px}.pair>div{background:var(--panel);border-radius:6px;\
padding:8px 10px}.pair h4{margin:0 0 4px;font-size:12px;color:var(--soft);font-weight:600}\
.gone{color:var(--gone-ink)}.new{color:var(--new-ink)}\
del,ins{color:inherit;text-decoration:none;-webkit-box-decoration-break:clone;box-decoration-break:clone}\
del{background:var(--gone);border-bottom:2px dashed var(--gone-ink)}ins{background:var(--new);border-bottom:2px solid var(--new-ink)}\
.word{display:inline-block;border:1px solid currentColor;border-radius:10px;padding:0 8px;font-size:12px}\
.loop,.failed,.empty{color:var(--broken)}.same,.inside_noise{color:var(--soft)}\
@media (max-width:700px){.pair{grid-template-columns:1fr}.charts{grid-template-columns:1fr}}\
@media print{body{max-width:none;padding:0 1px;font-size:9.5pt;line-height:1.4;background:#fff;color:#000}h1{font-size:17pt}h2{font-size:13pt}h3{font-size:11pt}\
.case{padding:8pt 10pt;margin:8pt 0}dl{margin:4pt 0}.case>p{margin:2pt 0}.case{font-size:8.5pt}.kl,.pair{margin-top:4pt}.kl,.pair>div{padding:4pt 7pt}.case .text{line-height:1.35}.case .kl .text{line-height:1.5}\
.charts svg,tr,.notes,.kl,.case dl{break-inside:avoid}\
h2,h3,h4,.case>p,.case dl{break-after:avoid}.text{orphans:3;widows:3}a{color:inherit;text-decoration:none}.scroll{overflow:visible}table{font-size:7pt}th,td{padding:1px 3px}.word{font-size:7pt;padding:0 4px}\
.charts{grid-template-columns:1fr 1fr}del,ins{-webkit-print-color-adjust:exact;print-color-adjust:exact}@page{margin:14mm}}";

/// The language of a page, and what the caller knows better than the records.
pub struct PageWords<'w> {
    /// The language of labels and sentences.
    pub language: Language,
    /// The title of a prompt; a prompt without one is called by its first words.
    pub title_of: &'w dyn Fn(&Prompt) -> Option<String>,
    /// The message of the error of a failed case; where there is none, the record's own, which is English.
    pub error_of: &'w dyn Fn(&Record) -> Option<String>,
}

impl From<Language> for PageWords<'_> {
    /// Prompts without titles, and errors in English.
    fn from(language: Language) -> Self {
        Self {
            language,
            title_of: &|_| None,
            error_of: &|_| None,
        }
    }
}

/// The experiment as an HTML page. All texts of prompts and outputs are escaped.
pub fn to_html(experiment: &Experiment, records: &[Record], words: &PageWords<'_>) -> String {
    let language = words.language;
    let records = &in_plan_order(records);
    let analysis = Analysis::of(records);
    let by_id: HashMap<&str, (usize, &Record)> = records
        .iter()
        .enumerate()
        .map(|(i, record)| (record.id.as_str(), (i, record)))
        .collect();
    let several = |same: &dyn Fn(&Group, &Group) -> bool| {
        let first = analysis.groups.first();
        first.is_some_and(|first| analysis.groups.iter().any(|group| !same(first, group)))
    };
    let page = Page {
        words,
        language,
        by_id,
        several_prompts: several(&|a, b| a.key.prompt == b.key.prompt),
        several_modules: several(&|a, b| (&a.key.address, &a.key.model) == (&b.key.address, &b.key.model)),
    };
    let lang = language.pick("en", "ja");
    let name = escape(&experiment.name);
    let mut out = format!(
        "<!DOCTYPE html>\n<html lang=\"{lang}\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\
         <title>{name}</title><style>{STYLE}{}{}</style></head><body>\n<h1>{name}</h1>\n",
        html_cards::STYLE,
        drawing::STYLE
    );
    page.write_head(&mut out, experiment, records);
    page.write_means(&mut out, &analysis);
    for (number, group) in analysis.groups.iter().enumerate() {
        page.write_group(&mut out, group, (number + 1, analysis.groups.len()));
    }
    out.push_str("</body></html>\n");
    out
}

/// The data that the parts of a page are made from.
pub(super) struct Page<'r> {
    pub(super) language: Language,
    /// Each record with its number on the page, by id.
    pub(super) by_id: HashMap<&'r str, (usize, &'r Record)>,
    words: &'r PageWords<'r>,
    several_prompts: bool,
    several_modules: bool,
}

impl Page<'_> {
    /// A text in the language of the page.
    pub(super) fn text<T>(&self, text: Bilingual<T>) -> T {
        self.language.pick(text.en, text.ja)
    }

    fn measure(&self, measure: Measure) -> &'static str {
        self.text(measure.name())
    }

    /// What a prompt is called: its title, or its first words.
    fn title(&self, prompt: &Prompt) -> String {
        (self.words.title_of)(prompt).unwrap_or_else(|| one_line(&prompt.user, 40))
    }

    pub(super) fn kind(&self, kind: &PrefixKind) -> String {
        self.text(words::kind(kind))
    }

    pub(super) fn label_words<R>(&self, with: impl FnOnce(&LabelWords<'_>) -> R) -> R {
        with(&LabelWords {
            baseline: self.text(words::BASELINE),
            raw: self.text(words::RAW),
            unscaled: self.text(words::UNSCALED),
            cut: self.text(words::CUT_OFF),
            comma: self.text(words::COMMA),
            kind: &|kind| self.kind(kind),
        })
    }

    /// What a run is called among those of its group.
    fn short_label(&self, record: &Record) -> String {
        self.label_words(|words| words.label(record, &[]))
    }

    /// What a run is called on the page: `0.05×, P 1, constant, Spring poem`.
    fn label(&self, record: &Record) -> String {
        let mut place = Vec::new();
        if self.several_prompts {
            place.push(self.title(&record.prompt));
        }
        if self.several_modules {
            place.push(record.module.model.clone());
        }
        self.label_words(|words| words.label(record, &place))
    }

    pub(super) fn label_of(&self, point: &Point) -> String {
        let record = self.by_id.get(point.record.as_str());
        record.map_or_else(|| point.name.clone(), |(_, record)| self.short_label(record))
    }

    fn weights(&self, weights: &[StoredWeights]) -> String {
        let descriptions = weights.iter().map(|stored| self.text(stored.description()));
        descriptions.collect::<Vec<_>>().join(self.text(words::COMMA))
    }

    fn write_head(&self, out: &mut String, experiment: &Experiment, records: &[Record]) {
        let module = &experiment.module;
        let failed = records.iter().filter(|record| record.error().is_some()).count();
        let _ = writeln!(
            out,
            "<p class=\"soft\">{} · {}</p>",
            time::local_with_zone(experiment.started_unix),
            self.text(html_text::counts(records.len(), failed))
        );
        out.push_str("<dl>");
        let mut line = |name: &str, value: &str| {
            if !value.is_empty() {
                let _ = write!(out, "<dt>{name}</dt><dd>{}</dd>", escape(value));
            }
        };
        line(self.text(words::MODEL), &module.model);
        line(self.text(words::MODULE), &module.address);
        line(self.text(html_text::UNIT), module.unit.as_deref().unwrap_or_default());
        line(
            self.text(html_text::BACKEND),
            module.backend.as_deref().unwrap_or_default(),
        );
        line(self.text(html_text::HIDDEN_SIZE), &module.hidden_size.to_string());
        line(
            self.text(html_text::MODEL_SHA256),
            module.model_sha256.as_deref().unwrap_or_default(),
        );
        line(self.text(html_text::WEIGHTS), &self.weights(&module.weights));
        let norm = module
            .median_norm
            .map(|norm| format!("{norm:.4} (L2)"))
            .unwrap_or_default();
        line(self.text(html_text::TOKEN_NORM), &norm);
        line(
            self.text(html_text::WRITTEN_BY),
            records
                .first()
                .map(|record| record.written_by.as_str())
                .unwrap_or_default(),
        );
        out.push_str("</dl>\n");
    }

    /// ` · model` if there are records of several modules.
    pub(super) fn module_words(&self, group: &Group) -> String {
        if self.several_modules {
            format!(
                " · {} <span class=\"soft\">{}</span>",
                escape(&group.key.model),
                escape(&group.key.address)
            )
        } else {
            String::new()
        }
    }

    /// `place`: the number of the group, and how many there are.
    fn write_group(&self, out: &mut String, group: &Group, place: (usize, usize)) {
        let number = match self.several_prompts {
            false => String::new(),
            true => format!(
                "<span class=\"soft\">{}</span> ",
                self.text(html_text::number_of(place.0, place.1))
            ),
        };
        let _ = writeln!(
            out,
            "<h2>{number}{}{}</h2><dl><dt>{}</dt><dd class=\"text\" dir=\"auto\">{}</dd><dt>{}</dt><dd class=\"text\" dir=\"auto\">{}</dd>\
             <dt>{}</dt><dd>{}</dd></dl>",
            escape(&self.title(&group.key.prompt)),
            self.module_words(group),
            self.text(words::SYSTEM),
            escape(&group.key.prompt.system),
            self.text(words::PROMPT),
            escape(&group.key.prompt.user),
            self.text(html_text::OUTPUT),
            escape(&self.settings_words(group)),
        );
        out.push_str("<div class=\"notes\">");
        let noise = self.text(Noise::sentence(group.noise.as_ref()));
        for sentence in [&*noise, self.text(group.proof().sentence())] {
            let _ = write!(out, "<p>{}</p>", escape(sentence));
        }
        out.push_str("</div>\n<div class=\"charts\">");
        if let Some(map) = self.map(group) {
            out.push_str(&map.drawing().element());
        }
        for chart in charts(group, self) {
            out.push_str(&chart.element());
        }
        out.push_str("</div>\n");
        self.write_table(out, group);
        for point in &group.points {
            self.write_case(out, group, point);
        }
    }

    /// The settings that affect the texts: token limits, sampling and its seed.
    fn settings_words(&self, group: &Group) -> String {
        let settings = &group.key.settings;
        let mut parts = Vec::new();
        if let Some(tokens) = settings.max_new_tokens {
            parts.push(self.text(bilingual!("at most {tokens} tokens", "最大 {tokens} トークン")));
        }
        if let Some(positions) = settings.max_token_len {
            parts.push(self.text(bilingual!("{positions} positions", "{positions} 位置")));
        }
        match settings.sampling() {
            Ok(None) => parts.push(self.text(html_text::OWN_SAMPLING).to_owned()),
            Ok(Some(sampling)) => parts.extend(self.sampling_words(&sampling)),
            // Settings of another program: as they are.
            Err(_) => parts.push(serde_json::Value::Object(settings.other.clone()).to_string()),
        }
        parts.join(self.text(words::COMMA))
    }

    fn sampling_words(&self, sampling: &Sampling) -> Vec<String> {
        let mut parts = Vec::new();
        if sampling.is_greedy() {
            parts.push(self.text(words::GREEDY).to_owned());
        }
        if let Some(k) = sampling.top_k {
            parts.push(format!("top-k {k}"));
        }
        if let Some(p) = sampling.top_p {
            parts.push(format!("top-p {p}"));
        }
        if let Some(temperature) = sampling.temperature {
            parts.push(format!("{} {temperature}", self.text(html_text::TEMPERATURE)));
        }
        if let Some((penalty, window)) = sampling.repetition_penalty {
            parts.push(self.text(bilingual!(
                "repetition penalty {penalty} over {window} tokens",
                "反復ペナルティ {penalty}（{window} トークン）"
            )));
        }
        if let Some(seed) = sampling.seed {
            parts.push(format!("{} {seed}", self.text(html_text::SEED)));
        }
        parts
    }

    pub(super) fn verdict(&self, verdict: Verdict) -> &'static str {
        self.text(verdict.name())
    }

    fn number(&self, point: &Point) -> usize {
        self.by_id.get(point.record.as_str()).map_or(0, |(number, _)| *number)
    }

    fn write_table(&self, out: &mut String, group: &Group) {
        let heads = [
            self.text(html_text::RUN),
            "",
            "P",
            self.text(words::RAW_VALUE),
            self.text(html_text::TOKEN_NORMS),
            self.measure(Measure::Chrf2),
            self.measure(Measure::Indel),
            self.measure(Measure::Difflib),
            self.measure(Measure::DifflibAutojunk),
            self.measure(Measure::Levenshtein),
            self.measure(Measure::FirstDivergence),
            self.measure(Measure::Distinct2),
            self.measure(Measure::Distinct4),
            self.measure(Measure::Length),
            self.text(html_text::FIRST_TOKEN),
            self.text(html_text::WHOLE_OUTPUT),
            self.text(words::TOKENS_PER_SECOND),
        ];
        let scored = group.points.iter().any(|point| point.is_scored());
        let mut heads = heads.to_vec();
        let rated = group.points.iter().any(|point| self.stars_of(point).is_some());
        if rated {
            heads.push(self.text(words::STARS));
        }
        if scored {
            heads.splice(
                SCORES_AT..SCORES_AT,
                [Measure::KlMean, Measure::Perplexity].map(|measure| self.measure(measure)),
            );
        }
        out.push_str("<div class=\"scroll\"><table><thead><tr>");
        for head in heads {
            let _ = write!(out, "<th>{head}</th>");
        }
        out.push_str("</tr></thead><tbody>\n");
        for point in &group.points {
            let verdict = group.verdict(point);
            let m = point.measures.as_ref();
            let show =
                |value: Option<f64>, digits: usize| value.map_or("–".to_owned(), |value| format!("{value:.digits$}"));
            let short = |value: Option<f64>| value.map_or("–".to_owned(), |value| format!("{value}"));
            let score = |measure: Measure| scored.then(|| show(m.and_then(|m| measure.value(m)), 3));
            let cells = [
                point
                    .series
                    .as_ref()
                    .map_or("–".to_owned(), |series| series.recipe.len.to_string()),
                short(point.raw),
                show(point.token_norms, 3),
                show(m.map(|m| m.chrf2), 2),
                show(m.map(|m| m.indel), 4),
                show(m.map(|m| m.difflib), 4),
                show(m.map(|m| m.difflib_autojunk), 4),
                show(m.map(|m| m.levenshtein), 4),
                m.map_or("–".to_owned(), |m| m.first_divergence.graphemes.to_string()),
                show(m.and_then(|m| m.distinct2), 3),
                show(m.and_then(|m| m.distinct4), 3),
                m.map_or("–".to_owned(), |m| m.length.graphemes.to_string()),
                show(point.ttft_sec, 2),
                show(Some(point.elapsed_sec), 2),
                show(point.tokens_per_sec, 1),
            ];
            let _ = write!(
                out,
                "<tr><td><a href=\"#case-{}\">{}</a></td><td>{}</td>",
                self.number(point),
                escape(&self.label_of(point)),
                self.badges(verdict, point)
            );
            let mut cells = cells.to_vec();
            // The first two headings have no cell in this list.
            cells.splice(
                SCORES_AT - 2..SCORES_AT - 2,
                [Measure::KlMean, Measure::Perplexity].into_iter().filter_map(score),
            );
            if rated {
                cells.push(self.stars_of(point).map_or_else(|| "–".to_owned(), html_cards::stars));
            }
            for cell in cells {
                let _ = write!(out, "<td>{cell}</td>");
            }
            out.push_str("</tr>\n");
        }
        out.push_str("</tbody></table></div>\n");
    }

    /// The stars of a case.
    fn stars_of(&self, point: &Point) -> Option<Stars> {
        let (_, record) = self.by_id.get(point.record.as_str())?;
        record.rating.stars
    }

    /// Badges with the verdict and with where the text was cut off.
    fn badges(&self, verdict: Verdict, point: &Point) -> String {
        let mut out = self.badge(verdict);
        if let Extent::Cut { characters } = point.extent {
            let words = self.text(words::cut_off_after(characters));
            let _ = write!(out, " <span class=\"word failed\">{words}</span>");
        }
        out
    }

    fn badge(&self, verdict: Verdict) -> String {
        let class = serde_json::json!(verdict).as_str().unwrap_or_default().to_owned();
        format!("<span class=\"word {class}\">{}</span>", self.verdict(verdict))
    }

    fn write_case(&self, out: &mut String, group: &Group, point: &Point) {
        let Some((number, record)) = self.by_id.get(point.record.as_str()) else {
            return;
        };
        let verdict = group.verdict(point);
        let _ = write!(
            out,
            "<section class=\"case\" id=\"case-{number}\"><h3>{} {}</h3><p class=\"soft\">{}</p>",
            escape(&self.label(record)),
            self.badges(verdict, point),
            escape(&record.case.name)
        );
        if !record.rating.is_empty() {
            let stars = record.rating.stars.map(html_cards::stars).unwrap_or_default();
            let _ = write!(
                out,
                "<p class=\"rating\" dir=\"auto\">{stars} {}</p>",
                escape(&record.rating.note)
            );
        }
        self.write_identity(out, record, group.applied(point));
        if let Some(error) = record.error() {
            let words = (self.words.error_of)(record);
            let words = words.as_deref().unwrap_or(error);
            let _ = write!(out, "<p class=\"failed\">{}</p>", escape(words));
        }
        if let CaseOutcome::Failed(failure) = &record.outcome
            && !failure.partial_text.is_empty()
        {
            let _ = write!(
                out,
                "<h4>{}</h4><div class=\"text\" dir=\"auto\">{}</div>",
                self.text(html_text::RECEIVED),
                escape(&failure.partial_text)
            );
        }
        if let (Some(scores), Some(baseline)) = (&record.scores, &group.baseline)
            && !scores.places.is_empty()
        {
            let _ = write!(
                out,
                "<div class=\"kl\"><h4>{} · {}</h4><div class=\"text\" dir=\"auto\">{}</div></div>",
                self.text(html_text::COLOURED),
                html_cards::scale(self.text(words::NATS)),
                html_cards::coloured(&baseline.text, scores)
            );
        }
        match (&group.baseline, record.text()) {
            (Some(baseline), Some(text)) if verdict != Verdict::Baseline && verdict != Verdict::Same => {
                let difference = diff(
                    &baseline.text,
                    text,
                    Granularity::Auto,
                    Some(Instant::now() + DIFF_TIME),
                );
                let _ = write!(
                    out,
                    "<div class=\"pair\"><div><h4><span class=\"gone\">○</span> {}</h4><div class=\"text\" dir=\"auto\">{}</div></div>\
                     <div><h4><span class=\"new\">●</span> {}</h4><div class=\"text\" dir=\"auto\">{}</div></div></div>",
                    self.text(words::BASELINE),
                    marked(&baseline.text, difference.removed(), "del"),
                    escape(&self.short_label(record)),
                    marked(text, difference.added(), "ins")
                );
            }
            (_, Some(text)) if verdict != Verdict::Same => {
                let _ = write!(out, "<div class=\"text\" dir=\"auto\">{}</div>", escape(text));
            }
            _ => {}
        }
        out.push_str("</section>\n");
    }

    /// Writes the prefix's summary: size, norms, digest, and whether it was applied.
    fn write_identity(&self, out: &mut String, record: &Record, applied: Applied) {
        let Some(prefix) = &record.prefix else { return };
        let [low, median, high] = prefix.row_norms;
        let norms = match record.module.median_norm.filter(|norm| *norm > 0.0) {
            Some(norm) => format!(
                "{:.3} / {:.3} / {:.3} {}",
                low / norm,
                median / norm,
                high / norm,
                self.text(html_text::TIMES_TOKEN_NORM)
            ),
            None => format!("{low:.4} / {median:.4} / {high:.4}"),
        };
        let _ = write!(
            out,
            "<dl><dt>P × H</dt><dd>{} × {}</dd><dt>{}</dt><dd>{norms}{}</dd><dt>SHA-256</dt><dd class=\"mono\">{}</dd>\
             <dt>{}</dt><dd>{}</dd>",
            prefix.len,
            prefix.hidden_size,
            self.text(html_text::ROW_NORMS),
            html_cards::norms(prefix, record.module.median_norm).unwrap_or_default(),
            escape(&prefix.sha256),
            self.text(html_text::APPLIED),
            self.text(applied.name())
        );
        if let Some(scores) = &record.scores {
            let measures = &scores.measures;
            let _ = write!(
                out,
                "<dt>{}</dt><dd>{} {:.3} · p95 {:.3} · {} {:.3} {} · {} {:.0} %</dd><dt>{}</dt><dd>{} {} · {} {:.2} → {:.2}</dd>",
                self.text(html_text::KL),
                self.text(html_text::MEAN),
                measures.kl_mean,
                measures.kl_p95,
                self.text(words::MAX),
                measures.kl_max,
                self.text(words::NATS),
                self.text(words::SAME_TOP),
                measures.same_top * 100.0,
                self.measure(Measure::Perplexity),
                self.text(html_text::OF_THIS_OUTPUT),
                scores.perplexity.map_or("–".to_owned(), |value| format!("{value:.2}")),
                self.text(html_text::OF_THE_BASELINE),
                measures.perplexity_reference,
                measures.perplexity_prefixed
            );
        }
        out.push_str("</dl>");
    }
}

/// A text with its changed ranges in `element`, which also strikes through or underlines them for readers without
/// colours.
fn marked(text: &str, marks: impl Iterator<Item = Range<usize>>, element: &str) -> String {
    let mut out = String::with_capacity(text.len() * 2);
    let piece = |range: Range<usize>| escape(text.get(range).unwrap_or_default());
    let mut end = 0;
    for mark in marks {
        out += &piece(end..mark.start);
        end = mark.end;
        let _ = write!(out, "<{element}>{}</{element}>", piece(mark));
    }
    out + &piece(end..text.len())
}

/// The first `most` characters of a text in one line.
pub(super) fn one_line(text: &str, most: usize) -> String {
    let mut out: String = text
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
        .chars()
        .take(most)
        .collect();
    if text.chars().count() > most {
        out.push('…');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changed_text_is_marked_without_losing_a_character() {
        let (a, b) = ("私は<猫>です", "私は<犬>です");
        let d = diff(a, b, Granularity::Grapheme, None);
        assert_eq!(marked(a, d.removed(), "del"), "私は&lt;<del>猫</del>&gt;です");
        assert_eq!(marked(b, d.added(), "ins"), "私は&lt;<ins>犬</ins>&gt;です");
    }
}
