//! How long the difference and the measures of two texts of 20,000 characters take (and 5,000, a long answer of a small model).

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use softprefix_core::compare::{Granularity, Measures, diff};

/// `length` characters drawn from `alphabet` as often as languages draw them (low numbers more often), and the same text edited.
fn texts(alphabet: &[char], length: usize, seed: u64) -> (String, String) {
    let mut state = seed;
    let mut next = move |below: usize| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    let mut draw = || alphabet[next(alphabet.len()).min(next(alphabet.len()))];
    let text: Vec<char> = (0..length).map(|_| draw()).collect();
    let edited = text
        .iter()
        .enumerate()
        .map(|(at, &c)| if at % 17 == 3 { draw() } else { c });
    (text.iter().collect(), edited.collect())
}

fn bench(criterion: &mut Criterion) {
    let latin: Vec<char> = "etaoin shrdlucmfwypvbgkjqxz".chars().collect();
    let kana_kanji: Vec<char> = ('ぁ'..='ん').chain('一'..='嘀').collect();
    for (script, alphabet) in [("english", &latin), ("japanese", &kana_kanji)] {
        for length in [5_000, 20_000] {
            let (a, near) = texts(alphabet, length, 1);
            let (far, _) = texts(alphabet, length, 2);
            for (kind, b) in [("edited", &near), ("unrelated", &far)] {
                let mut group = criterion.benchmark_group(format!("{script}/{length}/{kind}"));
                group.sample_size(10);
                group.bench_function("diff", |bench| {
                    bench.iter(|| diff(black_box(&a), black_box(b), Granularity::Grapheme, None));
                });
                group.bench_function("measures", |bench| {
                    bench.iter(|| Measures::of(black_box(&a), black_box(b)))
                });
                group.finish();
            }
        }
    }
}

criterion_group!(benches, bench);
criterion_main!(benches);
