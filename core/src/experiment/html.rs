//! An experiment as one HTML page to send to somebody: plots, table, highlighted differences, identity cards. The page loads nothing
//! and runs no script, follows light and dark, and can be printed.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::ops::Range;
use std::time::{Duration, Instant};

use super::analysis::{Analysis, Extent, Group, Point};
use super::drawing::{self, escape};
use super::export::in_plan_order;
use super::html_cards;
use super::journal::Experiment;
use super::record::{Applied, Outcome, Record};
use super::svg::{Chart, Dot, Line};
use crate::compare::{Granularity, Measure, Verdict, diff};
use crate::protocol::extension::{StoredWeights, WeightRounding};
use crate::time;

/// The language of the labels and sentences of a page.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Language {
    /// `lang="en"`.
    #[default]
    English,
    /// `lang="ja"`.
    Japanese,
}

impl Language {
    fn pick(self, english: &'static str, japanese: &'static str) -> &'static str {
        match self {
            Self::English => english,
            Self::Japanese => japanese,
        }
    }
}

/// Index of the table column before which the columns with scores are inserted.
const DEEP: usize = 6;

/// Time limit for the difference of one pair.
const DIFF_TIME: Duration = Duration::from_millis(500);

const STYLE: &str = "\
:root{--ink:#1c1c1e;--soft:#5f5f66;--line:#d9d9de;--paper:#fff;--panel:#f5f5f7;--gone:#ffe1dc;--gone-ink:#8a1f11;--new:#d9f2e0;\
--new-ink:#0b5a28;--accent:#0072b2}\
@media (prefers-color-scheme:dark){:root{--ink:#ececf0;--soft:#a0a0a8;--line:#3a3a40;--paper:#1c1c1e;--panel:#26262a;--gone:#4d2019;\
--gone-ink:#ffb4a6;--new:#173d25;--new-ink:#9be3b4;--accent:#56b4e9}}\
*{box-sizing:border-box}body{margin:0 auto;max-width:1160px;padding:24px;background:var(--paper);color:var(--ink);\
font:15px/1.55 system-ui,-apple-system,'Segoe UI','Hiragino Sans','Noto Sans CJK JP','Noto Sans JP',sans-serif}\
h1{font-size:26px;margin:0 0 4px}h2{font-size:20px;margin:36px 0 10px;border-top:1px solid var(--line);padding-top:18px}\
h3{font-size:16px;margin:0 0 6px}a{color:var(--accent)}.soft{color:var(--soft)}\
dl{display:grid;grid-template-columns:max-content 1fr;gap:2px 14px;margin:8px 0}dt{color:var(--soft)}dd{margin:0;overflow-wrap:anywhere}\
.text{white-space:pre-wrap;overflow-wrap:anywhere}.mono{font-family:ui-monospace,Menlo,Consolas,monospace;font-size:13px}\
.notes{background:var(--panel);border-left:4px solid var(--accent);padding:8px 14px;margin:12px 0}.notes p{margin:4px 0}\
.charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(440px,1fr));gap:14px}.charts svg{width:100%;height:auto;\
border:1px solid var(--line);border-radius:8px}\
.scroll{overflow-x:auto}table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums;font-size:12px;margin-top:18px}\
th,td{padding:4px 5px;border-bottom:1px solid var(--line);text-align:right;white-space:nowrap}th:first-child,td:first-child,\
th:nth-child(2),td:nth-child(2){text-align:left}th{color:var(--soft);font-weight:600}\
.case{border:1px solid var(--line);border-radius:10px;padding:14px 16px;margin:14px 0}\
.pair{display:grid;grid-template-columns:1fr 1fr;gap:14px;margin-top:8px}.pair>div{background:var(--panel);border-radius:6px;\
padding:8px 10px}.pair h4{margin:0 0 4px;font-size:12px;color:var(--soft);font-weight:600}\
del{background:var(--gone);color:var(--gone-ink);text-decoration:line-through}ins{background:var(--new);color:var(--new-ink);\
text-decoration:underline;text-decoration-thickness:2px}\
.word{display:inline-block;border:1px solid currentColor;border-radius:10px;padding:0 8px;font-size:12px}\
.loop,.failed,.empty{color:var(--gone-ink)}.same,.inside_noise{color:var(--soft)}\
@media (max-width:700px){.pair{grid-template-columns:1fr}.charts{grid-template-columns:1fr}}\
@media print{body{max-width:none;padding:0;font-size:9.5pt;line-height:1.4;background:#fff;color:#000}h1{font-size:17pt}h2{font-size:13pt}h3{font-size:11pt}\
.case{padding:8pt 10pt;margin:8pt 0}dl{margin:4pt 0}.case>p{margin:2pt 0}.case{font-size:8.5pt}.kl,.pair{margin-top:4pt}.kl,.pair>div{padding:4pt 7pt}.case .text{line-height:1.35}.case .kl .text{line-height:1.5}\
.case,.charts svg,tr,.notes{break-inside:avoid}\
h2,h3{break-after:avoid}a{color:inherit;text-decoration:none}.scroll{overflow:visible}table{font-size:7pt}th,td{padding:1px 3px}.word{font-size:7pt;padding:0 4px}\
.charts{grid-template-columns:1fr 1fr}del,ins{-webkit-print-color-adjust:exact;print-color-adjust:exact}@page{margin:14mm}}";

/// The experiment as an HTML page. All texts of prompts and outputs are escaped.
pub fn to_html(experiment: &Experiment, records: &[Record], language: Language) -> String {
    let records = &in_plan_order(records);
    let analysis = Analysis::of(records);
    let by_id: HashMap<&str, (usize, &Record)> = records
        .iter()
        .enumerate()
        .map(|(i, record)| (record.id.as_str(), (i, record)))
        .collect();
    let page = Page { language, by_id };
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
    let several = analysis.groups.iter().any(|group| {
        let first = &analysis.groups[0];
        (&group.key.address, &group.key.model) != (&first.key.address, &first.key.model)
    });
    for group in &analysis.groups {
        page.write_group(&mut out, group, several);
    }
    out.push_str("</body></html>\n");
    out
}

struct Page<'r> {
    language: Language,
    /// Each record with its number on the page, by id.
    by_id: HashMap<&'r str, (usize, &'r Record)>,
}

impl Page<'_> {
    fn word(&self, english: &'static str, japanese: &'static str) -> &'static str {
        self.language.pick(english, japanese)
    }

    fn weights(&self, weights: &[StoredWeights]) -> String {
        let words = weights.iter().map(|stored| {
            let how = match stored.how {
                WeightRounding::Exact => self.word("as in the file", "ファイルのまま"),
                WeightRounding::ScalesRounded => self.word("scales rounded to f16", "スケールを f16 に丸め"),
                WeightRounding::Rounded => self.word("rounded to 8 bits", "8 ビットに丸め"),
                WeightRounding::Unknown => self.word("unknown", "不明"),
            };
            format!("{} × {} ({how})", stored.kind, stored.count)
        });
        words.collect::<Vec<_>>().join(", ")
    }

    fn write_head(&self, out: &mut String, experiment: &Experiment, records: &[Record]) {
        let module = &experiment.module;
        let failed = records.iter().filter(|record| record.error().is_some()).count();
        let _ = writeln!(
            out,
            "<p class=\"soft\">{} · {} {} · {} {}</p>",
            time::utc(experiment.started_unix),
            records.len(),
            self.word("cases", "件"),
            failed,
            self.word("failed", "件失敗")
        );
        out.push_str("<dl>");
        let mut line = |name: &str, value: &str| {
            if !value.is_empty() {
                let _ = write!(out, "<dt>{name}</dt><dd>{}</dd>", escape(value));
            }
        };
        line(self.word("Model", "モデル"), &module.model);
        line(self.word("Module", "モジュール"), &module.address);
        line(
            self.word("Unit", "ユニット"),
            module.unit.as_deref().unwrap_or_default(),
        );
        line(
            self.word("Computes on", "計算"),
            module.backend.as_deref().unwrap_or_default(),
        );
        line(
            self.word("Hidden size H", "隠れ次元 H"),
            &module.hidden_size.to_string(),
        );
        line(
            self.word("Model file SHA-256", "モデルの SHA-256"),
            module.model_sha256.as_deref().unwrap_or_default(),
        );
        line(self.word("Weights", "重み"), &self.weights(&module.weights));
        let norm = module
            .median_norm
            .map(|norm| format!("{norm:.4} (L2)"))
            .unwrap_or_default();
        line(self.word("1 token norm", "1 トークンノルム"), &norm);
        line(
            self.word("Written by", "作成"),
            records
                .first()
                .map(|record| record.written_by.as_str())
                .unwrap_or_default(),
        );
        out.push_str("</dl>\n");
    }

    /// `several`: whether groups ran on different modules, so that the group names its own.
    fn write_group(&self, out: &mut String, group: &Group, several: bool) {
        let _ = writeln!(
            out,
            "<h2>{}</h2><dl><dt>{}</dt><dd class=\"text\" dir=\"auto\">{}</dd><dt>{}</dt><dd class=\"text\" dir=\"auto\">{}</dd></dl>",
            escape(&one_line(&group.key.prompt.user, 60)),
            self.word("System", "システム"),
            escape(&group.key.prompt.system),
            self.word("Prompt", "プロンプト"),
            escape(&group.key.prompt.user),
        );
        if let Some(words) = self.settings_words(group) {
            let _ = writeln!(out, "<p>{}</p>", escape(&words));
        }
        if several {
            let _ = writeln!(
                out,
                "<p><strong>{}</strong> · {}</p>",
                escape(&group.key.model),
                escape(&group.key.address)
            );
        }
        out.push_str("<div class=\"notes\">");
        for sentence in [self.noise_sentence(group), self.proof_sentence(group)] {
            let _ = write!(out, "<p>{}</p>", escape(&sentence));
        }
        out.push_str("</div>\n<div class=\"charts\">");
        for chart in charts(group, self) {
            out.push_str(&chart.element());
        }
        out.push_str("</div>\n");
        self.write_table(out, group);
        for point in &group.points {
            self.write_case(out, group, point);
        }
    }

    /// The settings that affect the texts; `None` where none is set.
    fn settings_words(&self, group: &Group) -> Option<String> {
        let settings = &group.key.settings;
        let mut words = Vec::new();
        if let Some(tokens) = settings.max_new_tokens {
            words.push(match self.language {
                Language::English => format!("at most {tokens} output tokens"),
                Language::Japanese => format!("出力は最大 {tokens} トークン"),
            });
        }
        if let Some(positions) = settings.max_token_len {
            words.push(match self.language {
                Language::English => format!("{positions} positions"),
                Language::Japanese => format!("{positions} 位置"),
            });
        }
        if !settings.other.is_empty() {
            words.push(serde_json::Value::Object(settings.other.clone()).to_string());
        }
        (!words.is_empty()).then(|| words.join(self.word(", ", "、")))
    }

    fn noise_sentence(&self, group: &Group) -> String {
        match (&group.noise, self.language) {
            (None, Language::English) => {
                "The baseline ran once: nothing is known about the noise of this module.".to_owned()
            }
            (None, Language::Japanese) => {
                "ベースラインは 1 回だけなので、このモジュールの揺らぎはわかりません。".to_owned()
            }
            (Some(noise), Language::English) if noise.is_none() => {
                format!(
                    "Deterministic: all {} runs of the baseline gave the same text.",
                    noise.runs
                )
            }
            (Some(noise), Language::Japanese) if noise.is_none() => {
                format!("決定的: ベースライン {} 回はすべて同じ出力でした。", noise.runs)
            }
            (Some(noise), Language::English) => format!(
                "Noise: {} runs of the baseline differ from one another down to chrF2 {:.1}. An effect above that is no effect.",
                noise.runs, noise.chrf2
            ),
            (Some(noise), Language::Japanese) => format!(
                "揺らぎ: ベースライン {} 回の間でも chrF2 は {:.1} まで下がります。それ以上の値は効果とはいえません。",
                noise.runs, noise.chrf2
            ),
        }
    }

    fn proof_sentence(&self, group: &Group) -> String {
        use super::analysis::Proof;
        let proof = group.proof();
        match (self.language, proof) {
            (Language::English, proof) => proof.sentence().to_owned(),
            (_, Proof::NothingToProve) => "プレフィックスは送られていません。".to_owned(),
            (_, Proof::Echoed) => "ユニットはすべてのプレフィックスをダイジェストで確認しました。".to_owned(),
            (_, Proof::PartlyEchoed) => {
                "ユニットは一部のプレフィックスをダイジェストで確認しましたが、ほかについては示しません。".to_owned()
            }
            (_, Proof::NoBaseline) => {
                "ユニットはプレフィックスを使ったかどうかを示さず、それを見分けるベースラインもありません。".to_owned()
            }
            (_, Proof::Contradicted) => {
                "ユニットは送ったものと違うプレフィックスを返しました。この結果は信用できません。".to_owned()
            }
            (_, Proof::TextChanged) => {
                "ユニットは適用の有無を示しませんが、出力は揺らぎを超えて変わりました。".to_owned()
            }
            (_, Proof::NoEffect) => {
                "プレフィックスを送っても出力がベースラインと一致しています。LLM ユニット側で prefix 合成が有効か\
                （JSON 受理 → bf16 復元 → 埋め込み先頭に合成）を確認してください。"
                    .to_owned()
            }
        }
    }

    fn verdict(&self, verdict: Verdict) -> &'static str {
        match (self.language, verdict) {
            (Language::English, verdict) => verdict.word(),
            (_, Verdict::Baseline) => "ベースライン",
            (_, Verdict::Same) => "同じ",
            (_, Verdict::InsideNoise) => "揺らぎの内",
            (_, Verdict::Changed) => "変化",
            (_, Verdict::Loop) => "繰り返し",
            (_, Verdict::Empty) => "空",
            (_, Verdict::Failed) => "失敗",
        }
    }

    fn number(&self, point: &Point) -> usize {
        self.by_id.get(point.record.as_str()).map_or(0, |(number, _)| *number)
    }

    fn write_table(&self, out: &mut String, group: &Group) {
        let heads = [
            self.word("case", "ケース"),
            "",
            "P",
            self.word("value", "値"),
            "× norm",
            "chrF2",
            "indel",
            "difflib",
            "autojunk",
            "Leven.",
            self.word("same chars", "一致文字"),
            "dist-2",
            "dist-4",
            self.word("chars", "文字"),
            self.word("first s", "初出 s"),
            self.word("all s", "全体 s"),
            "tok/s",
        ];
        let scored = group.points.iter().any(|point| point.is_scored());
        let mut heads = heads.to_vec();
        if scored {
            heads.splice(DEEP..DEEP, ["KL", self.word("perpl.", "PPL")]);
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
            let deep = |measure: Measure| scored.then(|| show(m.and_then(|m| measure.value(m)), 3));
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
                escape(&point.name),
                self.badges(verdict, point)
            );
            let mut cells = cells.to_vec();
            // The first two headings have no cell in this list.
            cells.splice(
                DEEP - 2..DEEP - 2,
                [Measure::KlMean, Measure::Perplexity].into_iter().filter_map(deep),
            );
            for cell in cells {
                let _ = write!(out, "<td>{cell}</td>");
            }
            out.push_str("</tr>\n");
        }
        out.push_str("</tbody></table></div>\n");
    }

    /// Badges with the verdict and with where the text was cut off.
    fn badges(&self, verdict: Verdict, point: &Point) -> String {
        let mut out = self.badge(verdict);
        if let Extent::Cut { characters } = point.extent {
            let words = match self.language {
                Language::English => format!("cut off after {characters} characters"),
                Language::Japanese => format!("{characters} 文字で途切れた"),
            };
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
            escape(&point.name),
            self.badges(verdict, point),
            escape(&record.recipe_words())
        );
        self.write_identity(out, record, group.applied(point));
        if let Some(error) = record.error() {
            let _ = write!(out, "<p class=\"failed\">{}</p>", escape(error));
        }
        if let Outcome::Failed(failure) = &record.outcome
            && !failure.partial_text.is_empty()
        {
            let _ = write!(
                out,
                "<h4>{}</h4><div class=\"text\" dir=\"auto\">{}</div>",
                self.word("what had come until then", "それまでに届いた分"),
                escape(&failure.partial_text)
            );
        }
        if let (Some(scores), Some(baseline)) = (&record.scores, &group.baseline)
            && !scores.places.is_empty()
        {
            let _ = write!(
                out,
                "<div class=\"kl\"><h4>{} · {}</h4><div class=\"text\" dir=\"auto\">{}</div></div>",
                self.word("baseline, coloured by KL", "ベースライン（KL による色分け）"),
                html_cards::scale(),
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
                    "<div class=\"pair\"><div><h4>{}</h4><div class=\"text\" dir=\"auto\">{}</div></div>\
                     <div><h4>{}</h4><div class=\"text\" dir=\"auto\">{}</div></div></div>",
                    self.word("baseline", "ベースライン"),
                    marked(&baseline.text, difference.removed(), "del"),
                    escape(&point.name),
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

    /// Writes the prefix's identity card: size, norms, digest, and whether it was applied.
    fn write_identity(&self, out: &mut String, record: &Record, applied: Applied) {
        let Some(prefix) = &record.prefix else { return };
        let [low, median, high] = prefix.row_norms;
        let norms = match record.module.median_norm.filter(|norm| *norm > 0.0) {
            Some(norm) => format!(
                "{:.3} / {:.3} / {:.3} × token norm",
                low / norm,
                median / norm,
                high / norm
            ),
            None => format!("{low:.4} / {median:.4} / {high:.4}"),
        };
        let applied = match applied {
            Applied::Proven => self.word("confirmed by the unit", "ユニットが確認"),
            Applied::Contradicted => self.word(
                "the unit named another prefix",
                "ユニットは別のプレフィックスを返しました",
            ),
            Applied::Plausible => self.word(
                "the unit does not say, but the text changed",
                "ユニットは示しませんが、テキストは変わりました",
            ),
            Applied::Doubtful => self.word(
                "probably ignored: the text did not change",
                "おそらく無視されました（テキストが変わっていません）",
            ),
            Applied::Unknown | Applied::NoPrefix => self.word("the unit does not say", "ユニットは示しません"),
        };
        let _ = write!(
            out,
            "<dl><dt>P × H</dt><dd>{} × {}</dd><dt>{}</dt><dd>{norms}{}</dd><dt>SHA-256</dt><dd class=\"mono\">{}</dd>\
             <dt>{}</dt><dd>{applied}</dd>",
            prefix.len,
            prefix.hidden_size,
            self.word("Row norms, smallest / median / largest", "行ノルム 最小 / 中央 / 最大"),
            html_cards::norms(prefix, record.module.median_norm).unwrap_or_default(),
            escape(&prefix.sha256),
            self.word("Applied", "適用")
        );
        if let Some(scores) = &record.scores {
            let deep = &scores.measures;
            let _ = write!(
                out,
                "<dt>{}</dt><dd>{} {:.3} · p95 {:.3} · {} {:.3} nats · {} {:.0} %</dd><dt>{}</dt><dd>{} {} · {} {:.2} → {:.2}</dd>",
                self.word("KL at the baseline's tokens", "基準トークンの KL"),
                self.word("mean", "平均"),
                deep.kl_mean,
                deep.kl_p95,
                self.word("largest", "最大"),
                deep.kl_max,
                self.word("same likeliest token", "第1候補の一致"),
                deep.same_top * 100.0,
                self.word("Perplexity", "パープレキシティ"),
                self.word("of this text under the base", "この文（基準モデル）"),
                scores.perplexity.map_or("–".to_owned(), |value| format!("{value:.2}")),
                self.word("of the baseline's text", "基準の文"),
                deep.perplexity_base,
                deep.perplexity_prefixed
            );
        }
        out.push_str("</dl>");
    }
}

fn charts(group: &Group, page: &Page<'_>) -> Vec<Chart> {
    let lines = group.lines();
    if lines.is_empty() {
        return Vec::new();
    }
    let in_norms = group
        .points
        .iter()
        .filter(|point| point.series.is_some())
        .all(|point| point.token_norms.is_some());
    let regimes = if in_norms {
        vec![
            (
                0.0,
                0.05,
                page.word("under the norm's floor", "ノルムの床より下").to_owned(),
            ),
            (0.1, 3.0, page.word("token-like", "トークン並み").to_owned()),
            (5.0, f64::MAX, page.word("overdriven", "過大").to_owned()),
        ]
    } else {
        Vec::new()
    };
    let chart =
        |title: String, band: Option<(f64, f64, String)>, y_range, value: &dyn Fn(&Point) -> Option<f64>| Chart {
            title,
            x_label: if in_norms {
                "× token norm"
            } else {
                page.word("raw value", "生の値")
            }
            .to_owned(),
            lines: lines
                .iter()
                .map(|(series, points)| Line {
                    label: series.label.clone(),
                    points: points
                        .iter()
                        .filter_map(|point| dot(group, point, value(point)?, page))
                        .collect(),
                })
                .collect(),
            band,
            y_range,
            regimes: regimes.clone(),
        };
    let of = |measure: Measure, title: &'static str| {
        let band = group.noise_floor(measure).map(|floor| {
            let top = measure.full_scale().unwrap_or(floor);
            (
                floor,
                top,
                page.word("noise: the baseline against itself", "揺らぎ: ベースライン同士")
                    .to_owned(),
            )
        });
        let y_range = measure.full_scale().map(|top| (0.0, top));
        chart(title.to_owned(), band, y_range, &|point| {
            measure.value(point.measures.as_ref()?)
        })
    };
    let mut out = vec![
        of(
            Measure::Chrf2,
            page.word("chrF2 against the baseline", "chrF2 (ベースライン比)"),
        ),
        of(
            Measure::Indel,
            page.word("Indel ratio against the baseline", "indel 比 (ベースライン比)"),
        ),
        of(
            Measure::FirstDivergence,
            page.word("Characters shared from the start", "先頭から一致する文字数"),
        ),
        of(
            Measure::Distinct4,
            page.word(
                "Distinct 4-grams (crossed: collapsed into repetition)",
                "異なる 4-gram の割合 (× は反復への崩壊)",
            ),
        ),
        of(Measure::Length, page.word("Length in characters", "文字数")),
        chart(page.word("Seconds", "秒").to_owned(), None, None, &|point| {
            Some(point.elapsed_sec)
        }),
    ];
    let scored = group.points.iter().any(|point| point.is_scored());
    if scored {
        let deep = [
            of(
                Measure::KlMean,
                page.word("Mean KL at the baseline's tokens, nats", "基準トークンの平均 KL (nat)"),
            ),
            of(
                Measure::Perplexity,
                page.word(
                    "Perplexity of the text under the base",
                    "出力のパープレキシティ (基準モデル)",
                ),
            ),
        ];
        out.splice(2..2, deep);
    }
    out
}

fn dot(group: &Group, point: &Point, value: f64, page: &Page<'_>) -> Option<Dot> {
    point.error.is_none().then(|| Dot {
        magnitude: point.magnitude(),
        value,
        title: format!("{}: {value:.4} ({})", point.name, page.verdict(group.verdict(point))),
        link: page
            .by_id
            .get(point.record.as_str())
            .map(|(number, _)| format!("#case-{number}")),
        is_loop: group.verdict(point) == Verdict::Loop,
    })
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
fn one_line(text: &str, most: usize) -> String {
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
