//! A table for spreadsheets.

use std::collections::HashMap;

use serde_json::{Value, json};

use super::super::analysis::{Analysis, Extent, Group, Point};
use super::super::record::{PrefixIdentity, Record};
use super::in_plan_order;
use crate::compare::Measure;

/// One line for each record, with every measure; RFC 4180, UTF-8 with a byte order mark (spreadsheets need it for Japanese).
///
/// A text that a spreadsheet would interpret as a formula gets an apostrophe in front. `sampling` is `greedy`, `sampled`, or `module` where
/// nothing was asked for, so that the module's default applies; it is empty where the settings are those of another program.
pub fn to_csv(records: &[Record]) -> String {
    let records = in_plan_order(records);
    let analysis = Analysis::of(&records);
    let mut by_id: HashMap<&str, (&Group, &Point)> = HashMap::new();
    for group in &analysis.groups {
        by_id.extend(group.points.iter().map(|point| (point.record.as_str(), (group, point))));
    }
    let mut out = String::from("\u{FEFF}");
    let fixed = [
        "id",
        "case",
        "module",
        "model",
        "system_prompt",
        "user_prompt",
        "prefix",
        "P",
        "H",
        "raw_value",
        "token_norms",
        "sha256",
        "applied",
        "verdict",
    ];
    let tail = [
        "tokens",
        "first_token_sec",
        "elapsed_sec",
        "tokens_per_sec",
        "finish_reason",
        "cut",
        "error",
        "text",
        "model_sha256",
        "max_new_tokens",
        "max_token_len",
        "sampling",
        "temperature",
        "top_k",
        "top_p",
        "repetition_penalty",
        "seed",
        "unit",
        "written_by",
        "drafted",
        "drafts_accepted",
        "stars",
        "note",
    ];
    let measures = Measure::ALL.map(Measure::id);
    let head: Vec<&str> = fixed
        .into_iter()
        .chain(measures)
        .chain([
            "first_divergence_tokens",
            "kl_p95",
            "kl_max",
            "same_top",
            "perplexity_base",
            "perplexity_prefixed",
        ])
        .chain(tail)
        .collect();
    out.push_str(&head.join(","));
    out.push_str("\r\n");
    for record in &records {
        let found = by_id.get(record.id.as_str());
        let prefix = record.prefix.as_ref();
        let number = |value: Option<f64>| value.map(|value| value.to_string()).unwrap_or_default();
        let count = |value: Option<usize>| value.map(|value| value.to_string()).unwrap_or_default();
        let words = |value: Value| value.as_str().unwrap_or_default().to_owned();
        let mut cells = vec![
            record.id.clone(),
            record.case.name.clone(),
            record.module.address.clone(),
            record.module.model.clone(),
            record.prompt.system.clone(),
            record.prompt.user.clone(),
            record.recipe_words(),
            count(prefix.map(|prefix| prefix.len)),
            record.module.hidden_size.to_string(),
            number(prefix.and_then(PrefixIdentity::raw)),
            number(record.token_norms()),
            prefix.map(|prefix| prefix.sha256.clone()).unwrap_or_default(),
            format!(
                "{:?}",
                found.map_or_else(|| record.applied(), |(group, point)| group.applied(point))
            )
            .to_lowercase(),
            found
                .map(|(group, point)| words(json!(group.verdict(point))))
                .unwrap_or_default(),
        ];
        let measured = found.and_then(|(_, point)| point.measures.as_ref());
        cells.extend(Measure::ALL.map(|measure| number(measured.and_then(|m| measure.value(m)))));
        cells.push(count(measured.and_then(|m| m.first_divergence_tokens)));
        let measures = record.scores.as_ref().map(|scores| scores.measures);
        cells.extend([
            number(measures.map(|measures| measures.kl_p95)),
            number(measures.map(|measures| measures.kl_max)),
            number(measures.map(|measures| measures.same_top)),
            number(measures.map(|measures| measures.perplexity_reference)),
            number(measures.map(|measures| measures.perplexity_prefixed)),
            count(record.tokens().map(<[u32]>::len)),
            number(record.answer().and_then(|answer| answer.ttft_sec)),
            record.elapsed_sec().to_string(),
            number(record.tokens_per_sec()),
            record
                .answer()
                .map(|answer| words(json!(answer.finish_reason)))
                .unwrap_or_default(),
            match found.map(|(_, point)| point.extent) {
                Some(Extent::Cut { .. }) => "cut".to_owned(),
                _ => String::new(),
            },
            record.error().unwrap_or_default().to_owned(),
            record.output().to_owned(),
        ]);
        // What else an output depends on.
        let usage = record.answer().and_then(|answer| answer.usage.as_ref());
        let sampling = record.settings.sampling();
        let drawn = match &sampling {
            Ok(None) => "module",
            Ok(Some(sampling)) if sampling.is_greedy() => "greedy",
            Ok(Some(_)) => "sampled",
            Err(_) => "",
        };
        let sampling = sampling.ok().flatten().unwrap_or_default();
        cells.extend([
            record.module.model_sha256.clone().unwrap_or_default(),
            count(record.settings.max_new_tokens),
            record
                .settings
                .max_token_len
                .map(|positions| positions.to_string())
                .unwrap_or_default(),
            drawn.to_owned(),
            number(sampling.temperature),
            sampling.top_k.map(|k| k.to_string()).unwrap_or_default(),
            number(sampling.top_p),
            sampling
                .repetition_penalty
                .map(|(penalty, tokens)| format!("{penalty} over {tokens} tokens"))
                .unwrap_or_default(),
            sampling.seed.map(|seed| seed.to_string()).unwrap_or_default(),
            record.module.unit.clone().unwrap_or_default(),
            record.written_by.clone(),
            count(usage.map(|usage| usage.drafted)),
            count(usage.map(|usage| usage.accepted)),
            record
                .rating
                .stars
                .map(|stars| stars.count().to_string())
                .unwrap_or_default(),
            record.rating.note.clone(),
        ]);
        let cells: Vec<String> = cells.iter().map(|cell| csv_cell(cell)).collect();
        out.push_str(&cells.join(","));
        out.push_str("\r\n");
    }
    out
}

fn csv_cell(text: &str) -> String {
    // Numbers may begin with a sign; anything else that begins like a formula is text.
    // Spreadsheets take full-width signs for the usual ones.
    const SIGNS: [char; 11] = ['=', '+', '-', '@', '＝', '＋', '－', '＠', '\t', '\r', '\n'];
    let is_formula = text.starts_with(SIGNS) && text.parse::<f64>().is_err();
    let text = if is_formula {
        format!("'{text}")
    } else {
        text.to_owned()
    };
    if text.contains(['"', ',', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text
    }
}
