//! The form of LLM Comparator, which shows pairs of texts side by side.

use std::collections::HashMap;

use serde_json::{Value, json};

use super::super::analysis::{Analysis, Group, Point};
use super::super::journal::Experiment;
use super::super::record::Record;
use super::in_plan_order;
use crate::compare::{Measure, Measures};

/// JSON for LLM Comparator: each prefixed text (B) beside its baseline (A).
///
/// Nobody preferred one of both texts, so every score is 0; the measures, and a person's stars and note on B, are custom fields.
///
/// # Errors
/// Where a value has no JSON form, which is a fault of this program.
pub fn to_llm_comparator(experiment: &Experiment, records: &[Record]) -> Result<String, serde_json::Error> {
    let records = in_plan_order(records);
    let analysis = Analysis::of(&records);
    let by_id: HashMap<&str, &Record> = records.iter().map(|record| (record.id.as_str(), record)).collect();
    let mut examples = Vec::new();
    for group in &analysis.groups {
        let Some(baseline) = &group.baseline else { continue };
        for point in group.points.iter().filter(|point| point.series.is_some()) {
            let record = by_id.get(point.record.as_str());
            if let (Some(measures), Some(record)) = (&point.measures, record) {
                examples.push(example(group, point, measures, &baseline.text, record));
            }
        }
    }
    let field = |name: &str, kind: &str| json!({"name": name, "type": kind});
    let words = [
        field("case", "string"),
        field("prefix", "category"),
        field("verdict", "category"),
    ];
    let numbers = Measure::ALL.map(|measure| field(measure.id(), "number"));
    let schema: Vec<Value> = words
        .into_iter()
        .chain([field("magnitude", "number")])
        .chain(numbers)
        .chain([
            field("sha256", "string"),
            field("stars", "number"),
            field("note", "string"),
        ])
        .collect();
    let model = &experiment.module.model;
    crate::json::indented(&json!({
        "metadata": {"source_path": experiment.id, "custom_fields_schema": schema},
        "models": [{"name": format!("{model} baseline")}, {"name": format!("{model} prefixed")}],
        "examples": examples,
    }))
}

fn example(group: &Group, point: &Point, measures: &Measures, baseline: &str, record: &Record) -> Value {
    let mut fields = serde_json::Map::new();
    fields.insert("case".to_owned(), json!(point.name));
    fields.insert(
        "prefix".to_owned(),
        json!(point.series.as_ref().map(|series| series.label.clone())),
    );
    fields.insert("verdict".to_owned(), json!(group.verdict(point).name().en));
    fields.insert("magnitude".to_owned(), json!(point.magnitude()));
    for measure in Measure::ALL {
        fields.insert(measure.id().to_owned(), json!(measure.value(measures)));
    }
    fields.insert(
        "sha256".to_owned(),
        json!(record.prefix.as_ref().map(|prefix| prefix.sha256.as_str())),
    );
    fields.insert("stars".to_owned(), json!(record.rating.stars));
    fields.insert("note".to_owned(), json!(record.rating.note));
    json!({
        "input_text": group.key.prompt.user,
        "tags": [],
        "output_text_a": baseline,
        "output_text_b": record.text().unwrap_or_default(),
        "score": 0.0,
        "individual_rater_scores": [],
        "custom_fields": fields,
    })
}
