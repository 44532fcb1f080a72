//! The example experiment in `assets/demo`: its pages show what its files contain.

#![allow(clippy::unwrap_used, clippy::panic)] // Helpers of tests fail the test.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use softprefix::model::RunKind;
use softprefix::recording::{DEMO, Line, Recording};
use softprefix_core::compare::Verdict;
use softprefix_core::experiment::{Analysis, Experiment, Group, Point, Prompt, Record, export};
use softprefix_core::prefix::Magnitude;

fn demo_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../assets/demo")
}

fn text_of(name: &str) -> String {
    std::fs::read_to_string(demo_folder().join(name)).unwrap()
}

fn example() -> (Experiment, Vec<Record>) {
    export::from_json(text_of("story.json").as_bytes(), "story").unwrap()
}

/// Magnitude in token norms, as the plan names it; `None` for a baseline.
fn magnitude(record: &Record) -> Option<f64> {
    match record.case.recipe.as_ref()?.magnitude {
        Magnitude::TokenNorms(norms) => Some(norms),
        _ => None,
    }
}

/// A row of a page's table.
struct Row<'p> {
    magnitude: f64,
    chrf2: f64,
    perplexity: &'p str,
    /// What is quoted of the output.
    quoted: &'p str,
    happens: &'p str,
}

/// A line of a table that begins with a magnitude.
fn row_of(line: &str) -> Option<Row<'_>> {
    let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
    let [magnitude, chrf2, perplexity, quoted, happens] = cells[..] else {
        return None;
    };
    Some(Row {
        magnitude: magnitude.strip_suffix('×')?.parse().ok()?,
        chrf2: chrf2.parse().ok()?,
        perplexity,
        quoted: quoted.trim_end_matches('…'),
        happens,
    })
}

/// The tables of a page.
fn tables(page: &str) -> Vec<Vec<Row<'_>>> {
    let blocks = page
        .split("\n\n")
        .map(|block| block.lines().filter_map(row_of).collect());
    blocks.filter(|rows: &Vec<Row<'_>>| !rows.is_empty()).collect()
}

/// The points of a group from small to large, with their records.
fn from_small_to_large<'a>(group: &'a Group, records: &HashMap<&str, &'a Record>) -> Vec<(f64, &'a Point, &'a Record)> {
    let mut points: Vec<_> = group
        .points
        .iter()
        .filter_map(|point| {
            let record = records[point.record.as_str()];
            Some((magnitude(record)?, point, record))
        })
        .collect();
    points.sort_by(|a, b| a.0.total_cmp(&b.0));
    points
}

/// An output in one line, as a table quotes it.
fn in_one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn the_figures_and_words_of_the_pages_are_those_of_the_results() {
    let (experiment, records) = example();
    let analysis = Analysis::of(&records);
    let by_id: HashMap<&str, &Record> = records.iter().map(|record| (record.id.as_str(), record)).collect();
    for (name, leaves, collapses) in [
        ("STORY.md", "leaves the baseline", "collapses"),
        ("STORY.ja.md", "ベースラインから離れる", "崩れる"),
    ] {
        let page = text_of(name);
        let tables = tables(&page);
        assert_eq!(tables.len(), analysis.groups.len(), "{name}: a table for each prompt");
        for (group, rows) in analysis.groups.iter().zip(tables) {
            assert!(
                page.contains(&group.key.prompt.user),
                "{name} asks {:?}",
                group.key.prompt.user
            );
            let baseline = &group.baseline.as_ref().unwrap().text;
            assert!(
                page.contains(&in_one_line(baseline)),
                "{name} quotes the baseline {baseline:?}"
            );
            assert!(group.is_deterministic(), "what moves is moved by the prefix");
            let points = from_small_to_large(group, &by_id);
            for row in &rows {
                let here = format!("{name}, {:?}, {}×", group.key.prompt.user, row.magnitude);
                let (_, point, record) = points
                    .iter()
                    .find(|(magnitude, ..)| *magnitude == row.magnitude)
                    .unwrap_or_else(|| panic!("{here} was not run"));
                let measures = point.measures.as_ref().unwrap();
                assert_eq!(measures.chrf2.round(), row.chrf2, "{here}: chrF2");
                let perplexity = format!("{:.1}", measures.perplexity.unwrap());
                assert_eq!(perplexity, row.perplexity, "{here}: perplexity");
                let output = in_one_line(record.output());
                assert!(
                    output.contains(row.quoted),
                    "{here}: {:?} is not in {output:?}",
                    row.quoted
                );
            }
            let first = |is_it: &dyn Fn(Verdict) -> bool| {
                let mut found = points.iter().filter(|(magnitude, ..)| *magnitude > 0.0);
                found.find_map(|(magnitude, point, _)| is_it(group.verdict(point)).then_some(*magnitude))
            };
            let sentence_of = |words: &str| {
                rows.iter()
                    .find(|row| row.happens.contains(words))
                    .map(|row| row.magnitude)
            };
            let moved = |verdict| !matches!(verdict, Verdict::Same | Verdict::InsideNoise);
            assert_eq!(sentence_of(leaves), first(&moved), "{name}: {leaves}");
            assert_eq!(
                sentence_of(collapses),
                first(&|verdict| verdict == Verdict::Loop),
                "{name}: {collapses}"
            );
        }
        let model = &experiment.module.model;
        assert!(page.contains(model), "{name} names {model}");
    }
}

#[test]
fn the_reports_are_those_of_the_results() {
    let (experiment, records) = example();
    for (name, language) in [("story.html", "en"), ("story.ja.html", "ja")] {
        let page = text_of(name);
        assert!(page.contains(&format!("<html lang=\"{language}\">")), "{name}");
        assert!(page.contains(&experiment.module.model), "{name}");
        for record in &records {
            let digest = record.prefix.as_ref().map_or("", |prefix| &prefix.sha256);
            assert!(page.contains(digest), "{name} lacks {}", record.case.name);
        }
    }
}

/// The outputs of a recording: the prompt, the digest of the prefix (empty for a baseline) and the text.
fn recorded() -> Vec<(Prompt, String, String)> {
    let recording = Recording::read(DEMO, "demo.jsonl").unwrap();
    let mut prompt = Prompt::default();
    let mut sent = String::new();
    let mut out = Vec::new();
    for (_, line) in recording.lines {
        match line {
            Line::Prompt(form) => prompt = form.prompt(),
            Line::Began(RunKind::Prefixed, Some(prefix)) => sent = prefix.sha256,
            Line::Ended(RunKind::Prefixed, answer) => out.push((prompt.clone(), sent.clone(), answer.text)),
            Line::Ended(_, answer) => out.push((prompt.clone(), String::new(), answer.text)),
            _ => {}
        }
    }
    out
}

#[test]
fn the_recording_shows_the_same_texts_as_the_results() {
    let (_, records) = example();
    let recorded = recorded();
    assert!(recorded.len() > 10, "{} outputs", recorded.len());
    for (prompt, sha256, text) in recorded {
        let is_it = |record: &&Record| {
            record.prompt == prompt && record.prefix.as_ref().map_or("", |prefix| prefix.sha256.as_str()) == sha256
        };
        let record = records.iter().find(is_it);
        let record = record.unwrap_or_else(|| panic!("{:?} with {sha256:?} is not in the results", prompt.user));
        assert_eq!(record.output(), text, "{:?} at {:?}", prompt.user, magnitude(record));
    }
}

#[test]
fn the_example_is_small_and_contains_no_folders_or_addresses() {
    let mut bytes = 0;
    for file in std::fs::read_dir(demo_folder()).unwrap() {
        let content = std::fs::read(file.unwrap().path()).unwrap();
        bytes += content.len();
        let text = String::from_utf8(content).unwrap();
        for private in ["/home/", "/root/", "/Users/", "127.0.0.1"] {
            assert!(!text.contains(private), "{private}");
        }
    }
    assert!(bytes < 1_000_000, "{bytes} bytes");
}
