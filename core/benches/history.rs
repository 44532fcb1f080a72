//! How long a history of 10,000 cases takes to open, to search and to analyse.

#![allow(clippy::unwrap_used, reason = "a bench is a test")]

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use softprefix_core::experiment::{Analysis, Entry, Journal, experiments};

#[path = "../tests/common/mod.rs"]
mod common;

/// A journal of `count` cases of about 300 characters each.
fn journal(count: usize) -> (tempfile::TempDir, std::path::PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("history");
    let experiment = common::experiment("e", common::plan());
    let cases = common::plan_of(&experiment).cases().unwrap();
    let text = "吾輩は猫である。名前はまだ無い。どこで生れたかとんと見当がつかぬ。".repeat(9);
    let records: Vec<Entry> = (0..12)
        .map(|i| Entry::Case(Box::new(common::record(&experiment, &cases[i], &text))))
        .collect();
    // One line of each kind is written by the journal; the rest are copies, since every append waits for the disk.
    let (mut journal, _, _) = Journal::open(&path).unwrap();
    journal.append(&Entry::Started(Box::new(experiment))).unwrap();
    let head = std::fs::read(&path).unwrap().len();
    for record in &records {
        journal.append(record).unwrap();
    }
    drop(journal);
    let bytes = std::fs::read(&path).unwrap();
    let mut many = bytes[..head].to_vec();
    for _ in 0..count.div_ceil(records.len()) {
        many.extend_from_slice(&bytes[head..]);
    }
    std::fs::write(&path, &many).unwrap();
    (folder, path)
}

fn bench(criterion: &mut Criterion) {
    let (_folder, path) = journal(10_000);
    let mut group = criterion.benchmark_group("history of 10,000 cases");
    group.sample_size(10);
    group.bench_function("open", |bench| {
        bench.iter(|| experiments(Journal::open(&path).unwrap().1))
    });
    let history = experiments(Journal::read(&path).unwrap().0);
    assert!(history[0].records.len() >= 10_000);
    group.bench_function("search", |bench| {
        bench.iter(|| history[0].matches(black_box(&["猫".to_owned(), "nowhere".to_owned()])))
    });
    group.bench_function("analyse 12 cases", |bench| {
        bench.iter(|| Analysis::of(black_box(&history[0].records[..12])))
    });
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
