//! Prefixes made of the model's own rows (blend, contrast, samples), envelopes, and CPython's random numbers, which were made by
//! `fixtures/prefix/make_fixtures.py`.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use half::bf16;
use proptest::prelude::*;
use serde_json::{Value, json};
use softprefix_core::prefix::{
    BlendEndpoint, EmbeddingRows, FoundBy, Generator, Learned, Magnitude, Need, Neighbour, Origin, PrefixError,
    PrefixKind, PrefixRecipe, PrefixSummary, Rounding, SearchOrigin, SoftPrefix, envelope_at, files,
};

const H: usize = 4;

fn rows(rows: &[[f32; H]]) -> EmbeddingRows {
    EmbeddingRows {
        hidden_size: H,
        rows: rows.iter().flatten().map(|&value| bf16::from_f32(value)).collect(),
        tokens: Vec::new(),
    }
}

fn recipe(kind: PrefixKind, len: usize, magnitude: Magnitude) -> PrefixRecipe {
    PrefixRecipe::new(kind, len, magnitude)
}

fn blend(t: f64) -> PrefixKind {
    PrefixKind::Blend {
        from: "sea".into(),
        to: "forest".into(),
        t,
    }
}

fn contrast() -> PrefixKind {
    PrefixKind::Contrast {
        text: "sea".into(),
        minus: "forest".into(),
    }
}

fn sea() -> EmbeddingRows {
    rows(&[[1.0, 0.0, 0.0, 0.0], [0.0, 2.0, 0.0, -0.0]])
}

fn forest() -> EmbeddingRows {
    rows(&[[0.0, 0.0, 3.0, 0.0], [0.0, 0.0, 0.0, 4.0], [1.0, 1.0, 1.0, 1.0]])
}

fn values(prefix: &SoftPrefix) -> Vec<f32> {
    prefix.values().iter().map(|value| value.to_f32()).collect()
}

fn fixture() -> Vec<Value> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/prefix/python_random.json");
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn numbers(list: &Value) -> Vec<u64> {
    let texts = list.as_array().unwrap().iter();
    texts.map(|text| text.as_str().unwrap().parse().unwrap()).collect()
}

#[test]
fn a_blend_at_its_ends_is_the_text_itself_bit_by_bit() {
    let (sea, forest) = (sea(), forest());
    let at = |t| {
        recipe(blend(t), 5, Magnitude::Unscaled)
            .build_from(H, &[&sea, &forest], None)
            .unwrap()
    };
    for (t, text, own) in [(0.0, "sea", &sea), (1.0, "forest", &forest)] {
        let words = recipe(PrefixKind::Words { text: text.into() }, 5, Magnitude::Unscaled);
        assert_eq!(at(t), words.build(H, Some(own), None).unwrap());
    }
}

#[test]
fn a_blend_with_stored_rows_needs_and_checks_them_and_older_recipes_stay_texts() {
    let stored = SoftPrefix::from_bf16(H, sea().rows.clone()).unwrap();
    let kind = |sha256: String| PrefixKind::Blend {
        from: BlendEndpoint::Stored {
            name: "learned".into(),
            sha256,
        },
        to: "forest".into(),
        t: 0.0,
    };
    let of = recipe(kind(stored.sha256()), 2, Magnitude::Unscaled);
    let built = of.build_from(H, &[&sea(), &forest()], None).unwrap();
    assert_eq!(built, stored, "at 0 the stored rows alone");
    let other = recipe(kind("00".repeat(32)), 2, Magnitude::Unscaled);
    let refused = other.build_from(H, &[&sea(), &forest()], None);
    assert!(matches!(refused, Err(PrefixError::StoredDiffers { .. })), "{refused:?}");
    let json = serde_json::to_value(&of).unwrap();
    assert_eq!(serde_json::from_value::<PrefixRecipe>(json).unwrap(), of);
    let older = serde_json::to_value(blend(0.5)).unwrap();
    assert_eq!(older["from"], "sea", "as it was written before rows could be blended");
}

#[test]
fn a_blend_is_between_its_rows_and_has_their_length() {
    let prefix = recipe(blend(0.25), 3, Magnitude::Unscaled)
        .build_from(H, &[&sea(), &forest()], None)
        .unwrap();
    let norms: Vec<f32> = prefix.row_norms();
    // Lengths 1 and 3, 2 and 4, 1 (repeated) and 2.
    for (norm, wanted) in norms.iter().zip([1.5, 2.5, 1.25]) {
        assert!((norm - wanted).abs() < 0.01, "{norms:?}");
    }
    let first = prefix.get(0).unwrap();
    assert_eq!(first[0], first[2], "0.75 x 1 and 0.25 x 3 weigh the same");
    assert_eq!((first[1], first[3]), (bf16::ZERO, bf16::ZERO));
}

#[test]
fn a_blend_beyond_its_ends_is_refused() {
    for t in [-0.1, 1.1, f64::NAN] {
        let error = recipe(blend(t), 1, Magnitude::Unscaled).build_from(H, &[&sea(), &forest()], None);
        assert!(matches!(error, Err(PrefixError::BlendOutOfRange { .. })));
    }
}

#[test]
fn a_contrast_is_the_difference_of_the_mean_rows_in_every_row() {
    let four = rows(&[[1.0, 1.0, 3.0, 0.0], [0.0, 0.0, 1.0, 4.0]]);
    let prefix = recipe(contrast(), 2, Magnitude::Unscaled)
        .build_from(H, &[&sea(), &four], None)
        .unwrap();
    let row = [0.0, 0.5, -2.0, -2.0];
    assert_eq!(values(&prefix), [row, row].concat());
    let sized = recipe(contrast(), 1, Magnitude::TokenNorms(3.0))
        .build_from(H, &[&sea(), &four], Some(0.5))
        .unwrap();
    assert!((sized.row_norms()[0] - 1.5).abs() < 0.01);
    let same = recipe(contrast(), 1, Magnitude::TokenNorms(3.0)).build_from(H, &[&sea(), &sea()], Some(0.5));
    assert!(
        matches!(same, Err(PrefixError::NoContrast { .. })),
        "there is nothing to give a length to"
    );
}

#[test]
fn a_recipe_names_what_it_needs_in_order() {
    let text = |text: &str| Need::Text(text.into());
    let needs = |kind| recipe(kind, 7, Magnitude::Unscaled).needs();
    assert_eq!(needs(PrefixKind::Constant), []);
    assert_eq!(needs(PrefixKind::Words { text: "sea".into() }), [text("sea")]);
    assert_eq!(needs(blend(0.5)), [text("sea"), text("forest")]);
    assert_eq!(needs(contrast().shaped(Some(vec![1.0]))), [text("sea"), text("forest")]);
    let sampled = PrefixKind::SampledVocabulary {
        seed: 3,
        generator: Generator::default(),
    };
    let need = Need::Sample {
        count: 7,
        seed: 3,
        generator: Generator::default(),
    };
    assert_eq!(needs(sampled.clone()), [need]);
    let missing = recipe(sampled, 7, Magnitude::Unscaled).build(H, None, None);
    assert_eq!(missing, Err(PrefixError::SampleMissing));
    let second = recipe(blend(0.5), 1, Magnitude::Unscaled).build(H, Some(&sea()), None);
    assert!(matches!(second, Err(PrefixError::RowsMissing { text }) if text == "forest"));
}

#[test]
fn an_envelope_weighs_rows_along_straight_lines_for_every_length() {
    assert_eq!([0, 1, 2].map(|row| envelope_at(&[1.0, 0.0], row, 3)), [1.0, 0.5, 0.0]);
    assert_eq!(
        [0, 1, 2, 3, 4].map(|row| envelope_at(&[0.0, 1.0, 0.5], row, 5)),
        [0.0, 0.5, 1.0, 0.75, 0.5]
    );
    assert_eq!(envelope_at(&[0.3, 9.0], 0, 1), 0.3, "one row has the first point");
    assert_eq!(envelope_at(&[0.3], 5, 9), 0.3);

    let shaped = PrefixKind::Constant.shaped(Some(vec![1.0, 0.0]));
    let prefix = recipe(shaped, 3, Magnitude::Raw(2.0)).build(H, None, None).unwrap();
    assert_eq!(values(&prefix), [[2.0; H], [1.0; H], [0.0; H]].concat());
}

#[test]
fn an_envelope_of_ones_changes_no_bit_of_unscaled_words() {
    let words = PrefixKind::Words { text: "forest".into() };
    let plain = recipe(words.clone(), 4, Magnitude::Unscaled);
    let shaped = recipe(words.shaped(Some(vec![1.0, 1.0])), 4, Magnitude::Unscaled);
    let table = forest();
    assert_eq!(
        plain.build(H, Some(&table), None).unwrap(),
        shaped.build(H, Some(&table), None).unwrap()
    );
}

#[test]
fn an_unusable_envelope_is_refused() {
    let with = |envelope: Vec<f64>| {
        recipe(PrefixKind::Constant.shaped(Some(envelope)), 2, Magnitude::Raw(1.0)).build(H, None, None)
    };
    assert_eq!(with(vec![]), Err(PrefixError::EnvelopeEmpty));
    let error = with(vec![1.0, f64::INFINITY]).unwrap_err();
    assert!(
        matches!(error, PrefixError::EnvelopeNotFinite { point: 1, .. }),
        "{error}"
    );
    // People count from 1.
    assert!(error.to_string().starts_with("point 2 of the envelope"), "{error}");
}

#[test]
fn shaping_again_replaces_the_envelope() {
    let once = PrefixKind::Constant.shaped(Some(vec![0.5]));
    let twice = once.clone().shaped(Some(vec![0.25]));
    assert_eq!(
        (twice.envelope(), twice.base()),
        (Some(&[0.25][..]), &PrefixKind::Constant)
    );
    assert_eq!(once.shaped(None), PrefixKind::Constant);
    assert_eq!(twice.name(), "constant");
}

fn stored(origin: Origin) -> PrefixKind {
    PrefixKind::Imported {
        name: "pirate".into(),
        sha256: "00".repeat(32),
        origin,
    }
}

fn found() -> SearchOrigin {
    SearchOrigin {
        by: FoundBy::Person,
        near: "spring".into(),
        generation: 3,
        record: "search/12".into(),
        model: "tiny".into(),
    }
}

fn learned() -> Learned {
    serde_json::from_value(json!({
        "objective": "", "examples": 1, "preserved": 0, "data_sha256": "", "first_prompt": "Tell me", "first_target": "The sea",
        "init": "target", "seed": u64::MAX, "steps_asked": 200, "step": 84, "loss": 0.1, "likelihood": 0.1, "matched": 5,
        "wanted": 6, "model": "tiny",
    }))
    .unwrap()
}

#[test]
fn a_file_of_rows_has_their_origin_and_not_that_of_other_rows() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rows.safetensors");
    let rows = SoftPrefix::from_bf16(H, sea().rows.clone()).unwrap();
    let other = SoftPrefix::from_bf16(H, forest().rows.clone()).unwrap();
    assert_eq!(Origin::File.note(&rows), None);
    for origin in [Origin::Learned(Box::new(learned())), Origin::Found(Box::new(found()))] {
        let note = origin.note(&rows).unwrap().to_string();
        for (of, expected) in [(&rows, &origin), (&other, &Origin::File)] {
            files::export_safetensors(of, &path, Some(&note)).unwrap();
            let imported = files::import(&path, Some(H), Rounding::default()).unwrap();
            assert_eq!(&imported.origin, expected, "{note}");
        }
    }
    // A recipe of a time in which rows were imported or learned.
    let older = json!({"type": "imported", "name": "pirate", "sha256": "00".repeat(32), "learned": learned()});
    let older: PrefixKind = serde_json::from_value(older).unwrap();
    assert_eq!(older, stored(Origin::Learned(Box::new(learned()))));
    let damaged = json!({"type": "imported", "name": "pirate", "sha256": "00".repeat(32), "learned": {"step": 1}});
    assert!(
        serde_json::from_value::<PrefixKind>(damaged).is_err(),
        "nothing is ignored"
    );
}

#[test]
fn recipes_are_kept_as_json_and_come_back_the_same() {
    let kinds = [
        blend(0.1),
        contrast(),
        PrefixKind::SampledVocabulary {
            seed: u64::MAX,
            generator: Generator::PythonRandom,
        },
        stored(Origin::File),
        stored(Origin::Found(Box::new(found()))),
        stored(Origin::Learned(Box::new(learned()))).shaped(Some(vec![0.1, 1.0])),
        PrefixKind::RandomNormal {
            seed: 1,
            generator: Generator::PythonRandom,
        }
        .shaped(Some(vec![0.1, 1.0])),
    ];
    for kind in kinds {
        let recipe = recipe(kind, 2, Magnitude::TokenNorms(0.1));
        let text = serde_json::to_string(&recipe).unwrap();
        assert_eq!(serde_json::from_str::<PrefixRecipe>(&text).unwrap(), recipe, "{text}");
    }
    let short: PrefixKind = serde_json::from_value(json!({"type": "sampled_vocabulary", "seed": 1})).unwrap();
    assert!(matches!(
        short,
        PrefixKind::SampledVocabulary {
            generator: Generator::SplitMix64V1,
            ..
        }
    ));
}

#[test]
fn pythons_generator_has_other_names_in_older_notes() {
    for name in ["python.random", "python.random.uniform", "python.random.gauss"] {
        assert_eq!(
            serde_json::from_value::<Generator>(json!(name)).unwrap(),
            Generator::PythonRandom
        );
    }
    assert_eq!(Generator::PythonRandom.name(), "python.random");
}

#[test]
fn pythons_numbers_are_repeated_from_every_seed() {
    for seed in fixture() {
        let number: u64 = seed["seed"].as_str().unwrap().parse().unwrap();
        // Candidates are found by the same 53 bits: 1024 of them show the upper ten, a thousand draws deep.
        let candidates: Vec<u32> = (0..1024).collect();
        let drawn = Generator::PythonRandom.sample(number, 1000, &candidates);
        let expected: Vec<u32> = numbers(&seed["random_53_bits"])
            .iter()
            .map(|bits| (bits >> 43) as u32)
            .collect();
        assert_eq!(drawn[..5], expected[..5], "seed {number}");
        assert_eq!(drawn[995..], expected[5..], "seed {number}");
    }
}

#[test]
fn prefixes_of_old_scripts_come_out_byte_for_byte() {
    for seed in fixture() {
        let number: u64 = seed["seed"].as_str().unwrap().parse().unwrap();
        let generator = Generator::PythonRandom;
        let kinds = [
            (
                "uniform",
                PrefixKind::RandomUniform {
                    seed: number,
                    generator,
                },
            ),
            (
                "gauss",
                PrefixKind::RandomNormal {
                    seed: number,
                    generator,
                },
            ),
        ];
        for (name, kind) in kinds {
            let old = PrefixRecipe {
                kind,
                len: 4,
                magnitude: Magnitude::Raw(0.05),
                rounding: Rounding::Truncate,
            };
            let made = old.build(896, None, None).unwrap();
            let expected = seed[format!("{name}_0.05_truncated_sha256")].as_str().unwrap();
            assert_eq!(made.sha256(), expected, "{name}, seed {number}");
            let first: Vec<f64> = numbers(&seed[name]).into_iter().map(f64::from_bits).collect();
            for (value, expected) in made.values().iter().zip(&first) {
                assert_eq!(*value, Rounding::Truncate.round((expected * 0.05) as f32));
            }
        }
    }
}

#[test]
fn a_sample_is_drawn_from_the_candidates_alone_and_is_repeated_by_its_seed() {
    let candidates = [5, 7, 11];
    let drawn = Generator::default().sample(9, 300, &candidates);
    assert_eq!(drawn, Generator::default().sample(9, 300, &candidates));
    assert_ne!(drawn, Generator::default().sample(10, 300, &candidates));
    for candidate in candidates {
        let count = drawn.iter().filter(|&&token| token == candidate).count();
        assert!((60..140).contains(&count), "{candidate} came {count} times of 300");
    }
    assert!(Generator::default().sample(9, 3, &[]).is_empty());
}

#[test]
fn a_prefix_summary_has_the_norms_of_the_rows_raw_and_in_token_norms() {
    let prefix = SoftPrefix::from_f32(2, &[3.0, 4.0, 0.0, 0.0, 6.0, 8.0, 0.0, 1.0], Rounding::NearestEven).unwrap();
    let summary = PrefixSummary::of(&prefix, Some(0.5));
    assert_eq!(
        (summary.len, summary.hidden_size, summary.sha256.as_str()),
        (4, 2, prefix.sha256().as_str())
    );
    assert_eq!(summary.norms, [5.0, 0.0, 10.0, 1.0]);
    assert_eq!((summary.min, summary.median, summary.max), (0.0, 3.0, 10.0));
    assert_eq!(summary.token_norm, Some(0.5));
    for unknown in [None, Some(0.0), Some(f64::NAN)] {
        assert_eq!(PrefixSummary::of(&prefix, unknown).token_norm, None);
    }
}

#[test]
fn a_neighbour_below_a_cosine_of_0_3_is_doubtful() {
    let at = |cosine| Neighbour {
        id: 1,
        text: "a".into(),
        cosine,
    };
    assert!(at(0.16).is_doubtful() && at(f64::NAN).is_doubtful() && !at(0.31).is_doubtful());
}

proptest! {
    #[test]
    fn every_factor_of_an_envelope_is_between_its_points(
        envelope in prop::collection::vec(0.0..2.0f64, 1..9),
        len in 1usize..40,
    ) {
        let least = envelope.iter().copied().fold(f64::INFINITY, f64::min);
        let most = envelope.iter().copied().fold(0.0, f64::max);
        for row in 0..len {
            let factor = envelope_at(&envelope, row, len);
            prop_assert!(factor >= least - 1e-12 && factor <= most + 1e-12);
        }
        prop_assert_eq!(envelope_at(&envelope, 0, len), envelope[0]);
        if len > 1 {
            prop_assert!((envelope_at(&envelope, len - 1, len) - envelope[envelope.len() - 1]).abs() < 1e-12);
        }
    }
}
