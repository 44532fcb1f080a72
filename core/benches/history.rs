//! How long a session of 20,000 live runs takes to open, to search and to analyse.

#![allow(clippy::unwrap_used, reason = "a bench is a test")]

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use softprefix_core::experiment::{Analysis, Comparison, Entry, Experiment, Library, Record, SavedExperiment};

#[path = "../tests/common/mod.rs"]
mod common;

const RUNS: usize = 20_000;

/// A library with a session of tuning of so many runs, with about 300 characters each.
fn library() -> (tempfile::TempDir, Library) {
    let folder = tempfile::tempdir().unwrap();
    let library = Library::open(folder.path()).unwrap();
    let planned = common::experiment("session", common::plan());
    let cases = common::plan_of(&planned).cases().unwrap();
    let text = "吾輩は猫である。名前はまだ無い。どこで生れたかとんと見当がつかぬ。".repeat(9);
    let session = Experiment {
        plan: None,
        ..planned.clone()
    };
    let mut lines = vec![Entry::Started(Box::new(session))];
    lines.extend((0..RUNS).map(|index| {
        let mut case = cases[index % cases.len()].clone();
        case.index = index;
        Entry::Case(Box::new(common::record(&planned, &case, &format!("{index} {text}"))))
    }));
    library.add("session", &lines).unwrap();
    (folder, library)
}

/// What the Tune view does with the records before it can show them: what is to be measured is measured behind the window.
fn note(saved: &SavedExperiment) -> (Analysis, Vec<Comparison>) {
    let mut analysis = Analysis::default();
    let comparisons = saved.records.iter().flat_map(|record| analysis.note(record)).collect();
    (analysis, comparisons)
}

fn bench(criterion: &mut Criterion) {
    let (_folder, library) = library();
    let mut group = criterion.benchmark_group(format!("session of {RUNS} runs"));
    group.sample_size(10);
    group.bench_function("open", |bench| {
        bench.iter(|| {
            let (saved, _) = library.read("session").unwrap();
            assert_eq!(note(&saved).1.len(), RUNS);
        })
    });
    group.bench_function("lock to go on with", |bench| {
        bench.iter(|| library.append_to("session").unwrap().saved.records.len())
    });
    library.list().unwrap();
    group.bench_function("list from the index", |bench| {
        bench.iter(|| library.list().unwrap().experiments.len())
    });
    let (saved, _) = library.read("session").unwrap();
    group.bench_function("search", |bench| {
        bench.iter(|| saved.matches(black_box(&["猫".to_owned(), "nowhere".to_owned()])))
    });
    let few: Vec<&Record> = saved.records.iter().take(12).collect();
    group.bench_function("analyse 12 runs", |bench| {
        bench.iter(|| Analysis::of(few.iter().copied()))
    });
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
