//! What a soft prefix is, how it is made, how it travels, and what is refused. Reference values were computed in Python with
//! its own SplitMix64 and `struct`, as existing scripts make their prefixes.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use half::bf16;
use proptest::prelude::*;
use serde_json::json;
use softprefix_core::prefix::{
    EmbeddingRows, Generator, MAX_LEN, Magnitude, PrefixError, PrefixKind, PrefixRecipe, Rounding, SoftPrefix,
    SoftPrefixField, TokenPiece, WindowBudget, decode, decode_value, encode, inject,
};
use softprefix_core::protocol::{Code, ErrorField};

const H: usize = 896;

fn recipe(kind: PrefixKind, len: usize, magnitude: Magnitude, rounding: Rounding) -> PrefixRecipe {
    PrefixRecipe {
        kind,
        len,
        magnitude,
        rounding,
    }
}

fn constant(v: f64, rounding: Rounding) -> SoftPrefix {
    recipe(PrefixKind::Constant, 1, Magnitude::Raw(v), rounding)
        .build(H, None, None)
        .unwrap()
}

fn words(rows: &[[f32; 2]]) -> EmbeddingRows {
    EmbeddingRows {
        hidden_size: 2,
        rows: rows.iter().flatten().map(|&value| bf16::from_f32(value)).collect(),
        tokens: (0..rows.len() as u32)
            .map(|id| TokenPiece {
                id,
                text: format!("t{id}"),
            })
            .collect(),
    }
}

fn of_words(len: usize, magnitude: Magnitude) -> PrefixRecipe {
    recipe(
        PrefixKind::Words {
            text: "two words".into(),
        },
        len,
        magnitude,
        Rounding::NearestEven,
    )
}

#[test]
fn a_truncated_constant_is_byte_for_byte_what_existing_scripts_send() {
    let prefix = constant(0.01, Rounding::Truncate);
    assert!(prefix.values().iter().all(|value| value.to_bits() == 0x3C23));
    let field = encode(&prefix);
    assert_eq!(field.len, 1);
    assert_eq!(&field.data_b64[..8], "IzwjPCM8");
    assert_eq!(field.data_b64.len(), (H * 2).div_ceil(3) * 4);
    assert_eq!(
        prefix.sha256(),
        "f9cb909d32d613560a7d30719206fb4f39ddf204ec64b2bc37e056ec8faf3bd8"
    );
}

#[test]
fn rounding_to_nearest_even_differs_from_truncation_where_the_lower_half_is_large() {
    for (v, truncated, nearest) in [
        (1e-4, 0x38D1, 0x38D2),
        (0.001, 0x3A83, 0x3A83),
        (0.01, 0x3C23, 0x3C24),
        (0.05, 0x3D4C, 0x3D4D),
        (0.1, 0x3DCC, 0x3DCD),
        (0.2, 0x3E4C, 0x3E4D),
        (0.5, 0x3F00, 0x3F00),
        (1.0, 0x3F80, 0x3F80),
        (2.0, 0x4000, 0x4000),
        (0.0, 0, 0),
    ] {
        assert_eq!(
            constant(v, Rounding::Truncate).get(0).unwrap()[0].to_bits(),
            truncated,
            "{v} truncated"
        );
        assert_eq!(
            constant(v, Rounding::NearestEven).get(0).unwrap()[0].to_bits(),
            nearest,
            "{v} rounded"
        );
    }
    // Ties go to even.
    assert_eq!(
        Rounding::NearestEven.round(f32::from_bits(0x3F80_8000)).to_bits(),
        0x3F80
    );
    assert_eq!(
        Rounding::NearestEven.round(f32::from_bits(0x3F81_8000)).to_bits(),
        0x3F82
    );
}

#[test]
fn a_prefix_has_a_shape_rows_norms_and_bytes() {
    let prefix = SoftPrefix::from_f32(2, &[3.0, 4.0, 0.0, -1.0], Rounding::NearestEven).unwrap();
    assert_eq!((prefix.len(), prefix.hidden_size()), (2, 2));
    assert_eq!(prefix.get(1).unwrap(), [bf16::ZERO, bf16::NEG_ONE]);
    assert_eq!(prefix.get(2), None);
    assert_eq!(prefix.row_norms(), [5.0, 1.0]);
    assert_eq!(prefix.to_le_bytes(), [0x40, 0x40, 0x80, 0x40, 0, 0, 0x80, 0xBF]);
}

#[test]
fn nan_and_infinity_are_refused_with_their_place() {
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::from_bits(0x7F80_0001)] {
        for rounding in [Rounding::NearestEven, Rounding::Truncate] {
            let error = SoftPrefix::from_f32(2, &[0.0, 0.0, 0.0, bad], rounding).unwrap_err();
            assert!(
                matches!(error, PrefixError::NotFinite { row: 1, column: 1, .. }),
                "{error}"
            );
            // People count from 1.
            assert!(error.to_string().starts_with("value 2 of row 2 is"), "{error}");
        }
    }
    let error = recipe(PrefixKind::Constant, 1, Magnitude::Raw(1e39), Rounding::NearestEven).build(H, None, None);
    assert!(matches!(error, Err(PrefixError::NotFinite { .. })));
    let field = SoftPrefixField {
        len: 1,
        data_b64: "gH8AAA==".into(),
    };
    let error = decode(&field, 2).unwrap_err();
    assert_eq!(ErrorField::from(&error).code, Code::PREFIX_NOT_FINITE);
    assert!(error.to_string().contains("value 1 of row 1 is inf"), "{error}");
}

#[test]
fn magnitudes_that_are_no_finite_numbers_are_refused() {
    for bad in [f64::NAN, f64::INFINITY] {
        for magnitude in [Magnitude::Raw(bad), Magnitude::TokenNorms(bad)] {
            let error = recipe(PrefixKind::Constant, 1, magnitude, Rounding::NearestEven).build(H, None, Some(0.5));
            assert!(matches!(error, Err(PrefixError::MagnitudeNotFinite { .. })));
        }
    }
    let negative = recipe(
        PrefixKind::Constant,
        1,
        Magnitude::TokenNorms(-1.0),
        Rounding::NearestEven,
    );
    assert!(matches!(
        negative.build(H, None, Some(0.5)),
        Err(PrefixError::MagnitudeNegative { .. })
    ));
    for median in [None, Some(0.0), Some(f64::NAN)] {
        let error = recipe(
            PrefixKind::Constant,
            1,
            Magnitude::TokenNorms(1.0),
            Rounding::NearestEven,
        )
        .build(H, None, median);
        assert!(matches!(error, Err(PrefixError::MedianNormUnusable { .. })));
    }
}

#[test]
fn lengths_zero_and_huge_are_refused_by_a_recipe() {
    let build =
        |len| recipe(PrefixKind::Constant, len, Magnitude::Raw(0.1), Rounding::NearestEven).build(H, None, None);
    assert_eq!(build(0), Err(PrefixError::LengthZero));
    assert!(matches!(build(MAX_LEN + 1), Err(PrefixError::LengthTooLarge { .. })));
    assert!(matches!(build(usize::MAX), Err(PrefixError::LengthTooLarge { .. })));
    let error = recipe(PrefixKind::Constant, 1, Magnitude::Raw(0.1), Rounding::NearestEven).build(0, None, None);
    assert_eq!(error, Err(PrefixError::HiddenSizeZero));
}

#[test]
fn every_wrong_len_on_the_wire_gets_its_own_sentence() {
    let with_len = |len: serde_json::Value| decode_value(&json!({"len": len, "data_b64": "AAAAAA=="}), 2);
    assert!(with_len(json!(1)).is_ok());
    assert!(with_len(json!(1.0)).is_ok());
    assert_eq!(with_len(json!(0)), Err(PrefixError::LengthZero));
    assert_eq!(with_len(json!(-3)), Err(PrefixError::LengthNegative { len: -3 }));
    for huge in [json!(1_000_000_000_u64), json!(u64::MAX), json!(1e300)] {
        assert!(matches!(with_len(huge), Err(PrefixError::LengthTooLarge { .. })));
    }
    for not_whole in [json!("1"), json!(1.5), json!(null), json!([1]), json!(true)] {
        assert!(matches!(with_len(not_whole), Err(PrefixError::LengthNotANumber { .. })));
    }
}

#[test]
fn a_soft_prefix_of_the_wrong_json_type_gets_its_own_sentence() {
    assert!(matches!(
        decode_value(&json!("x"), 2),
        Err(PrefixError::NotAnObject { .. })
    ));
    assert_eq!(
        decode_value(&json!({"data_b64": ""}), 2),
        Err(PrefixError::FieldMissing { field: "len".into() })
    );
    assert_eq!(
        decode_value(&json!({"len": 1}), 2),
        Err(PrefixError::FieldMissing {
            field: "data_b64".into()
        })
    );
    assert!(matches!(
        decode_value(&json!({"len": 1, "data_b64": 7}), 2),
        Err(PrefixError::DataNotAString { .. })
    ));
}

#[test]
fn wrong_base64_is_refused_and_missing_padding_is_not() {
    for bad in ["!!!!", "AAAA AAAA", "A", "AAAA\n"] {
        let error = decode(
            &SoftPrefixField {
                len: 1,
                data_b64: bad.into(),
            },
            2,
        )
        .unwrap_err();
        assert!(matches!(error, PrefixError::NotBase64 { .. }), "{bad:?}: {error}");
        assert_eq!(ErrorField::from(&error).code, Code::PREFIX_SIZE);
    }
    assert!(
        decode(
            &SoftPrefixField {
                len: 1,
                data_b64: "AAAAAA".into()
            },
            2
        )
        .is_ok()
    );
}

#[test]
fn a_prefix_of_the_wrong_width_is_refused_with_both_sizes_and_the_hidden_size() {
    let wide = recipe(PrefixKind::Constant, 2, Magnitude::Raw(0.5), Rounding::NearestEven)
        .build(895, None, None)
        .unwrap();
    let error = decode(&encode(&wide), H).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the prefix holds 3580 bytes, but P = 2 rows of H = 896 bf16 values are 3584 bytes (these would be rows of H = 895); \
         build the prefix for this model's H = 896"
    );
    assert_eq!(ErrorField::from(&error).code, Code::PREFIX_SIZE);
    let right = recipe(PrefixKind::Constant, 3, Magnitude::Raw(0.5), Rounding::NearestEven)
        .build(H, None, None)
        .unwrap();
    let error = decode(
        &SoftPrefixField {
            len: 2,
            ..encode(&right)
        },
        H,
    )
    .unwrap_err();
    let remedy = "these would be P = 3); send len = 3, or 2 rows";
    assert!(error.to_string().ends_with(remedy), "{error}");
}

#[test]
fn a_prefix_that_fills_the_module_s_window_travels_unchanged() {
    let kind = PrefixKind::RandomNormal {
        seed: 1,
        generator: Generator::default(),
    };
    let prefix = recipe(kind, 127, Magnitude::Raw(0.02), Rounding::NearestEven)
        .build(H, None, None)
        .unwrap();
    let field = encode(&prefix);
    assert_eq!(field.data_b64.len(), (127 * H * 2).div_ceil(3) * 4);
    assert_eq!(decode(&field, H).unwrap(), prefix);
    assert_eq!(decode_value(&serde_json::to_value(&field).unwrap(), H).unwrap(), prefix);
}

#[test]
fn the_window_budget_is_refused_with_its_numbers() {
    let budget = WindowBudget {
        prefix: 100,
        template: 20,
        prompt: 10,
        output: 1,
        window: 128,
    };
    assert_eq!((budget.used(), budget.room()), (130, 0));
    let error = budget.check().unwrap_err();
    assert_eq!(
        error.to_string(),
        "100 prefix rows + 30 prompt tokens (20 of them the template) + 1 for the output are 131, but the window holds 128 \
         positions; shorten the prefix below P = 98 or the prompt"
    );
    assert_eq!(ErrorField::from(&error).code, Code::WINDOW);
    assert_eq!(WindowBudget { prefix: 97, ..budget }.check(), Ok(()));
    assert!(
        WindowBudget {
            prefix: usize::MAX,
            ..budget
        }
        .check()
        .is_err()
    );
}

#[test]
fn the_same_seed_gives_the_same_bytes_for_ever() {
    let generator = Generator::SplitMix64V1;
    let uniform = PrefixKind::RandomUniform { seed: 42, generator };
    let normal = PrefixKind::RandomNormal { seed: 42, generator };
    for (kind, rounding, digest) in [
        (
            &uniform,
            Rounding::NearestEven,
            "6b38e5432923ac6a7c93788670a0a49048a237c2592d6afddfcaf3dbc7eddba1",
        ),
        (
            &uniform,
            Rounding::Truncate,
            "44656fabc156702134c9c2b84058707a031bcb1d96faa9eccd126394b88b0903",
        ),
        (
            &normal,
            Rounding::NearestEven,
            "e371d8428a1cac015fde93d05cad131bc9ea0090a47e9372690b44c03172f82d",
        ),
    ] {
        let prefix = recipe(kind.clone(), 4, Magnitude::Raw(0.02), rounding)
            .build(H, None, None)
            .unwrap();
        assert_eq!(prefix.sha256(), digest, "{kind:?} {rounding:?}");
    }
    let other = PrefixKind::RandomUniform { seed: 43, generator };
    let build = |kind: &PrefixKind, len| {
        recipe(kind.clone(), len, Magnitude::Raw(0.02), Rounding::NearestEven).build(H, None, None)
    };
    assert_ne!(build(&uniform, 4), build(&other, 4));
    // A longer prefix of the same seed begins with the shorter one.
    assert_eq!(
        build(&uniform, 4).unwrap().values(),
        &build(&uniform, 5).unwrap().values()[..4 * H]
    );
}

#[test]
fn random_values_have_the_spread_they_are_named_for() {
    let rms = |kind| {
        let prefix = recipe(kind, 64, Magnitude::Raw(1.0), Rounding::NearestEven)
            .build(H, None, None)
            .unwrap();
        let sum: f64 = prefix.values().iter().map(|value| value.to_f64().powi(2)).sum();
        (sum / prefix.values().len() as f64).sqrt()
    };
    let generator = Generator::default();
    assert!((rms(PrefixKind::RandomUniform { seed: 7, generator }) - 1.0 / 3f64.sqrt()).abs() < 0.005);
    assert!((rms(PrefixKind::RandomNormal { seed: 7, generator }) - 1.0).abs() < 0.01);
}

#[test]
fn words_are_repeated_or_cut_to_the_length_bit_for_bit() {
    let table = words(&[[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]);
    let rows = |len| {
        of_words(len, Magnitude::Unscaled)
            .build(2, Some(&table), None)
            .unwrap()
            .values()
            .to_vec()
    };
    assert_eq!(rows(3), table.rows);
    assert_eq!(rows(2), table.rows[..4]);
    assert_eq!(rows(5), [table.rows.clone(), table.rows[..4].to_vec()].concat());
}

#[test]
fn words_take_a_magnitude_in_token_norms_row_by_row() {
    let table = words(&[[3.0, 4.0], [0.0, 0.0], [0.0, 0.5]]);
    let prefix = of_words(3, Magnitude::TokenNorms(2.0))
        .build(2, Some(&table), Some(0.5))
        .unwrap();
    let norms = prefix.row_norms();
    assert!(
        (norms[0] - 1.0).abs() < 0.005 && (norms[2] - 1.0).abs() < 0.005,
        "{norms:?}"
    );
    assert_eq!(norms[1], 0.0, "a row of zeros has no direction to grow in");
    let prefix = of_words(1, Magnitude::Raw(0.5)).build(2, Some(&table), None).unwrap();
    assert_eq!(prefix.get(0).unwrap(), [bf16::from_f32(1.5), bf16::from_f32(2.0)]);
}

#[test]
fn words_need_rows_of_the_model_s_width() {
    let table = words(&[[3.0, 4.0]]);
    let recipe = of_words(1, Magnitude::Unscaled);
    assert!(matches!(
        recipe.build(2, None, None),
        Err(PrefixError::RowsMissing { .. })
    ));
    assert_eq!(
        recipe.build(3, Some(&table), None),
        Err(PrefixError::WrongWidth { got: 2, hidden_size: 3 })
    );
    assert!(matches!(
        recipe.build(2, Some(&words(&[])), None),
        Err(PrefixError::NoTokens { .. })
    ));
    let unscaled = PrefixRecipe {
        magnitude: Magnitude::Unscaled,
        kind: PrefixKind::Constant,
        ..recipe
    };
    assert_eq!(
        unscaled.build(2, None, None),
        Err(PrefixError::MagnitudeMissing {
            kind: "constant".into()
        })
    );
}

#[test]
fn a_magnitude_in_token_norms_is_the_l2_norm_over_the_vocabulary_s_median() {
    let median = 0.515;
    let generator = Generator::default();
    for kind in [
        PrefixKind::Constant,
        PrefixKind::RandomUniform { seed: 3, generator },
        PrefixKind::RandomNormal { seed: 3, generator },
    ] {
        for x in [0.01, 0.58, 1.0, 58.0] {
            let prefix = recipe(kind.clone(), 3, Magnitude::TokenNorms(x), Rounding::NearestEven);
            for norm in prefix.build(H, None, Some(median)).unwrap().row_norms() {
                assert!(
                    (f64::from(norm) / (x * median) - 1.0).abs() < 0.004,
                    "{kind:?} at {x}: {norm}"
                );
            }
        }
    }
    let constant = |magnitude| recipe(PrefixKind::Constant, 1, magnitude, Rounding::NearestEven);
    let norms = |raw| constant(Magnitude::Raw(raw)).token_norms_at(H, Some(median)).unwrap();
    let v = constant(Magnitude::TokenNorms(1.0)).raw_at(H, Some(median)).unwrap();
    assert!((v - 0.0172).abs() < 1e-4, "{v}");
    assert!((norms(0.01) - 0.58).abs() < 0.005);
    assert!((norms(v) - 1.0).abs() < 1e-12);
    assert!((norms(-v) - 1.0).abs() < 1e-12, "a norm has no sign");
    assert_eq!(
        constant(Magnitude::TokenNorms(1.0)).raw_at(H, None),
        None,
        "without the vocabulary it is not known"
    );
    assert_eq!(
        constant(Magnitude::TokenNorms(0.0)).raw_at(H, None),
        Some(0.0),
        "0 is 0 in every unit"
    );
    let words = PrefixKind::Words { text: "a".into() };
    let words = recipe(words, 1, Magnitude::TokenNorms(0.0), Rounding::NearestEven);
    assert_eq!(words.raw_at(H, None), None, "rows that are not drawn have no raw value");
}

#[test]
fn no_prefix_and_a_prefix_of_zeros_are_two_things() {
    let tokens = vec![bf16::ONE; 4];
    assert_eq!(inject(None, tokens.clone()), tokens);
    let zeros = SoftPrefix::from_bf16(2, vec![bf16::ZERO; 2]).unwrap();
    assert_eq!(
        inject(Some(&zeros), tokens),
        [bf16::ZERO, bf16::ZERO, bf16::ONE, bf16::ONE, bf16::ONE, bf16::ONE]
    );
}

#[test]
fn recipes_survive_being_stored() {
    let generator = Generator::SplitMix64V1;
    for (kind, magnitude) in [
        (PrefixKind::Constant, Magnitude::Raw(0.1)),
        (
            PrefixKind::RandomUniform {
                seed: u64::MAX,
                generator,
            },
            Magnitude::TokenNorms(1.5),
        ),
        (PrefixKind::RandomNormal { seed: 0, generator }, Magnitude::Raw(1e-4)),
        (
            PrefixKind::Words {
                text: "海の \"声\" {x}\\".into(),
            },
            Magnitude::Unscaled,
        ),
    ] {
        let stored = recipe(kind, 3, magnitude, Rounding::Truncate);
        let text = serde_json::to_string(&stored).unwrap();
        assert_eq!(serde_json::from_str::<PrefixRecipe>(&text).unwrap(), stored, "{text}");
    }
    let stored = recipe(
        PrefixKind::RandomNormal { seed: 5, generator },
        2,
        Magnitude::TokenNorms(1.0),
        Rounding::NearestEven,
    );
    assert_eq!(
        serde_json::to_value(&stored).unwrap(),
        json!({
            "kind": {"type": "random_normal", "seed": 5, "generator": "softprefix.splitmix64-v1"},
            "len": 2,
            "magnitude": {"token_norms": 1.0},
            "rounding": "nearest_even",
        })
    );
}

/// Few, as many as a window has, and as many as a peer can claim.
fn count() -> impl Strategy<Value = usize> {
    prop_oneof![0..40_usize, 0..40_000_usize, any::<usize>(), Just(usize::MAX)]
}

proptest! {
    #[test]
    fn the_arithmetic_of_the_window_never_overflows(
        prefix in count(), template in count(), prompt in count(), output in count(), window in 0..1_usize << 24,
    ) {
        let budget = WindowBudget { prefix, template, prompt, output, window };
        let used = [prefix, template, prompt].iter().map(|&count| count as u128).sum::<u128>();
        prop_assert_eq!(budget.used() as u128, used.min(usize::MAX as u128));
        prop_assert_eq!(budget.room() as u128, (window as u128).saturating_sub(used));
        match budget.check() {
            Ok(()) => prop_assert!(used + output as u128 <= window as u128),
            Err(error) => {
                prop_assert!(used + output as u128 > window as u128);
                prop_assert!(error.to_string().contains(&format!("holds {window} positions")), "{error}");
            }
        }
    }

    #[test]
    fn any_finite_rows_come_back_from_the_wire_bit_for_bit(hidden_size in 1usize..9, rows in 1usize..9, seed in any::<u64>()) {
        let mut state = seed;
        let values: Vec<bf16> = (0..hidden_size * rows)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                bf16::from_bits((state >> 40) as u16)
            })
            .map(|value| if value.is_finite() { value } else { bf16::ZERO })
            .collect();
        let prefix = SoftPrefix::from_bf16(hidden_size, values.clone()).unwrap();
        let back = decode(&encode(&prefix), hidden_size).unwrap();
        let bits = |values: &[bf16]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
        prop_assert_eq!(bits(back.values()), bits(&values));
        prop_assert!(hidden_size == 1 || decode(&encode(&prefix), hidden_size - 1).is_err());
    }

    #[test]
    fn no_json_at_all_makes_the_reader_panic(len in any::<f64>(), data in ".*", hidden_size in 0usize..5) {
        let _ = decode_value(&json!({"len": len, "data_b64": data}), hidden_size);
    }
}

#[test]
fn no_memory_is_taken_for_sizes_that_no_model_has() {
    for kind in [
        PrefixKind::Constant,
        PrefixKind::RandomNormal {
            seed: 1,
            generator: Generator::default(),
        },
    ] {
        let recipe = recipe(kind, 4, Magnitude::Raw(0.1), Rounding::NearestEven);
        for hidden_size in [1_000_000_000_000, usize::MAX] {
            let refused = recipe.build_from(hidden_size, &[], None).unwrap_err();
            assert!(matches!(refused, PrefixError::TooManyValues { .. }), "{refused}");
        }
    }
    let field = SoftPrefixField {
        len: 1,
        data_b64: String::new(),
    };
    assert!(matches!(
        decode(&field, usize::MAX),
        Err(PrefixError::TooManyValues { .. })
    ));
}
