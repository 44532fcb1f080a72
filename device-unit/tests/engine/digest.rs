//! Digests of the logits' bits, which must be the same on every tier, number of threads and processor. They change only if the arithmetic
//! is changed on purpose.

use std::path::Path;

use half::bf16;
use softprefix_core::prefix::{Magnitude, PrefixKind};
use softprefix_unit::engine::cpu::kernel::Tier;
use softprefix_unit::testing::{qwen_model, small_model};

use crate::harness::{Answer, Bench, Case, Feed};

const TOKENS: usize = 32;

/// Without a prefix and with one.
const SMOLLM2: [&str; 2] = [
    "a86427e8ec98a43a24ba32647f3fd4366167b13b09297c1aa6e4f50195269f6b",
    "df1558332cf4fd187051cf30725e043be114c4b210fd45087022e103c41b76d0",
];
const QWEN: [&str; 2] = [
    "28182ee7ffefe3e6e24d740426130438fccb1480fee860df6c77e1255b591290",
    "4d0c8d50bee325472c55f267504f71f0ef8d213677cb7b7669f1f3550b4fc9ac",
];

/// 32 greedy tokens after ten given ones, without and with a prefix. Tokens are given by id, so that only arithmetic is tested.
fn cases(bench: &Bench) -> Vec<Case> {
    let kind = PrefixKind::RandomNormal {
        seed: 1,
        generator: Default::default(),
    };
    let prefix = bench.prefix(kind, 4, Magnitude::Raw(0.02));
    let text = bench.rows(&[28, 314, 1592, 6535, 897, 9323, 84, 6264, 3383, 27943]);
    let prefixed: Vec<bf16> = prefix.values().iter().chain(&text).copied().collect();
    vec![
        Case {
            rows: text,
            tokens: TOKENS,
        },
        Case {
            rows: prefixed,
            tokens: TOKENS,
        },
    ]
}

fn assert_digests(path: &Path, tiers: impl Iterator<Item = Tier>, expected: [&str; 2]) {
    for tier in tiers {
        let mut bench = Bench::new(path, 2, Some(tier));
        let cases = cases(&bench);
        let answers = bench.together(&cases, |_| 0, Feed::Whole);
        let digests: Vec<&str> = answers.iter().map(|Answer { digest, .. }| digest.as_str()).collect();
        let texts: Vec<String> = answers
            .iter()
            .map(|a| String::from_utf8_lossy(&bench.tokenizer.decode(&a.tokens)).into_owned())
            .collect();
        assert_eq!(digests, expected, "the logits' bits with {tier}; texts: {texts:?}");
    }
}

fn supported() -> impl Iterator<Item = Tier> {
    Tier::ALL.into_iter().filter(|tier| tier.is_supported())
}

#[test]
fn the_logits_of_smollm2_have_this_digest_with_every_tier() {
    assert_digests(&small_model(), supported(), SMOLLM2);
}

#[test]
fn the_logits_of_qwen_have_this_digest_with_every_fast_tier() {
    if let Some(path) = qwen_model() {
        // The reference implementation takes minutes on this model; the kernels' own tests compare it with the others.
        assert_digests(&path, supported().filter(|&tier| tier != Tier::Scalar), QWEN);
    }
}
