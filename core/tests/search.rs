//! A search for a prefix: CMA-ES as ask and tell, candidates as recipes, and what judges texts.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use proptest::prelude::*;
use sha2::{Digest as _, Sha256};
use softprefix_core::prefix::{
    EmbeddingRows, Magnitude, Need, PrefixError, PrefixKind, PrefixRecipe, PrefixSummary, Rounding, SoftPrefix,
};
use softprefix_core::protocol::extension::{Percentiles, Vocabulary};
use softprefix_core::protocol::learn::NormLimit;
use softprefix_core::search::{Closeness, CmaEs, Method, Objective, PrefixSearch, SearchError, SearchSettings};

fn sphere(x: &[f64]) -> f64 {
    x.iter().map(|x| (x - 1.0) * (x - 1.0)).sum()
}

fn rosenbrock(x: &[f64]) -> f64 {
    let pairs = x.iter().zip(&x[1..]);
    pairs
        .map(|(a, b)| 100.0 * (b - a * a) * (b - a * a) + (1.0 - a) * (1.0 - a))
        .sum()
}

/// n, and the medians over eleven seeds of pycma 4.5.0's evaluations on both functions, with the same start, step size and population.
const REFERENCE: [(usize, usize, usize); 2] = [(4, 529, 1268), (8, 1081, 3487)];

/// Evaluations until `f` is at most 1e-8, from the origin with a step size of 0.5.
fn evaluations(method: Method, n: usize, seed: u64, f: fn(&[f64]) -> f64, most: usize) -> Option<usize> {
    let mut search = CmaEs::new(method, n, None, 0.5, seed).unwrap();
    let mut count = 0;
    while count < most {
        let results: Vec<f64> = search.ask().iter().map(|point| f(point)).collect();
        for result in &results {
            count += 1;
            if *result <= 1e-8 {
                return Some(count);
            }
        }
        search = search.tell(&results).unwrap();
    }
    None
}

fn median(method: Method, n: usize, f: fn(&[f64]) -> f64, most: usize) -> usize {
    let mut found: Vec<usize> = (1..=11)
        .map(|seed| evaluations(method, n, seed, f, most).unwrap_or(usize::MAX))
        .collect();
    found.sort_unstable();
    found[5]
}

#[test]
fn sphere_and_rosenbrock_are_solved_within_the_evaluations_of_the_reference_and_a_fifth() {
    for (n, of_sphere, of_rosenbrock) in REFERENCE {
        for (name, f, reference) in [
            ("sphere", sphere as fn(&[f64]) -> f64, of_sphere),
            ("rosenbrock", rosenbrock, of_rosenbrock),
        ] {
            let found = median(Method::CmaEs, n, f, 2 * reference);
            println!("{name} {n}: {found} evaluations, pycma {reference}");
            assert!(
                found <= reference + reference / 5,
                "{name} {n}: {found}, pycma {reference}"
            );
        }
    }
    assert_eq!(median(Method::Random, 8, sphere, 4000), usize::MAX);
}

#[test]
fn the_same_seed_proposes_the_same_points_on_every_processor() {
    let mut search = CmaEs::new(Method::CmaEs, 6, Some(7), 0.3, 42).unwrap();
    for _ in 0..30 {
        let results: Vec<f64> = search.ask().iter().map(|point| rosenbrock(point)).collect();
        search = search.tell(&results).unwrap();
    }
    let bytes: Vec<u8> = search.ask().concat().into_iter().flat_map(f64::to_le_bytes).collect();
    assert_eq!(hex::encode(Sha256::digest(bytes)), POINTS);
    let other = CmaEs::new(Method::CmaEs, 6, Some(7), 0.3, 43).unwrap();
    assert_ne!(
        CmaEs::new(Method::CmaEs, 6, Some(7), 0.3, 42).unwrap().ask(),
        other.ask()
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn a_search_continues_the_same_after_it_is_written_and_read(
        n in 1_usize..9, population in 2_usize..9, seed: u64, results in prop::collection::vec(-1e9_f64..1e9, 5 * 8)
    ) {
        let mut search = CmaEs::new(Method::CmaEs, n, Some(population), 0.7, seed).unwrap();
        for results in results.chunks(8) {
            let text = serde_json::to_string(&search).unwrap();
            let read: CmaEs = serde_json::from_str(&text).unwrap();
            prop_assert_eq!(&read, &search);
            prop_assert_eq!(read.ask(), search.ask());
            search = search.tell(&results[..population]).unwrap();
        }
    }

    #[test]
    fn only_the_ranks_of_results_count(seed: u64, results in prop::collection::vec(-1e3_f64..1e3, 6)) {
        let search = CmaEs::new(Method::CmaEs, 3, Some(6), 1.0, seed).unwrap();
        let stretched: Vec<f64> = results.iter().map(|result| result * 8.0 + 1.0).collect();
        prop_assert_eq!(search.tell(&results).unwrap(), search.tell(&stretched).unwrap());
    }

    #[test]
    fn any_results_leave_finite_points(
        n in 1_usize..5, seed: u64, results in prop::collection::vec(prop::option::of(-1e300_f64..1e300), 40 * 4)
    ) {
        let mut search = CmaEs::new(Method::CmaEs, n, Some(4), 1e-3, seed).unwrap();
        for results in results.chunks(4) {
            let results: Vec<f64> = results.iter().map(|result| result.unwrap_or(f64::INFINITY)).collect();
            search = search.tell(&results).unwrap();
            prop_assert!(search.ask().concat().iter().all(|value| value.is_finite()));
        }
    }
}

#[test]
fn picking_one_of_four_moves_the_next_ones_towards_it() {
    for seed in 0..20 {
        let mut search = CmaEs::new(Method::CmaEs, 4, Some(4), 0.5, seed).unwrap();
        for _ in 0..60 {
            let points = search.ask();
            let best = (0..4)
                .min_by(|a, b| sphere(&points[*a]).total_cmp(&sphere(&points[*b])))
                .unwrap();
            search = search.pick(best).unwrap();
        }
        assert!(sphere(search.mean()) < 0.1, "seed {seed}: {}", sphere(search.mean()));
    }
    let search = CmaEs::new(Method::CmaEs, 4, Some(3), 0.5, 1).unwrap();
    let by_rank = search.tell(&[7.0, -1.0, 7.0]).unwrap();
    assert_eq!(
        search.pick(1).unwrap(),
        by_rank,
        "a pick is a ranking in which the others are equal"
    );
}

#[test]
fn results_that_are_all_equal_keep_the_step_size_near_where_it_was() {
    let mut search = CmaEs::new(Method::CmaEs, 8, None, 0.5, 3).unwrap();
    for _ in 0..50 {
        search = search.tell(&vec![1.0; search.population()]).unwrap();
    }
    assert!((0.05..5.0).contains(&search.sigma()), "{}", search.sigma());
}

#[test]
fn bad_input_is_refused_with_a_sentence() {
    let new = |n, population, sigma| CmaEs::new(Method::CmaEs, n, population, sigma, 0).unwrap_err();
    assert!(matches!(new(0, None, 1.0), SearchError::Dimension { dimension: 0, .. }));
    assert!(matches!(new(usize::MAX, Some(4), 1.0), SearchError::Dimension { .. }));
    assert_eq!(new(2, Some(1), 1.0), SearchError::Population { population: 1 });
    assert!(matches!(new(2, Some(usize::MAX), 1.0), SearchError::Population { .. }));
    for sigma in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert!(matches!(new(2, None, sigma), SearchError::Spread { .. }));
    }
    let search = CmaEs::new(Method::CmaEs, 2, Some(3), 1.0, 0).unwrap();
    assert_eq!(
        search.tell(&[1.0, 2.0]).unwrap_err(),
        SearchError::Results { got: 2, wanted: 3 }
    );
    let wrong = search.tell(&[1.0, f64::NAN, 2.0]).unwrap_err();
    assert!(wrong.to_string().contains("candidate 2 is NaN"), "{wrong}");
    assert!(search.tell(&[f64::NEG_INFINITY, 0.0, 2.0]).is_err());
    assert!(search.tell(&[f64::INFINITY; 3]).is_ok(), "no candidate gave an output");
    let error = search.pick(3).unwrap_err();
    assert!(error.to_string().contains("no candidate 4"), "{error}");

    let written = serde_json::to_value(&search).unwrap();
    for (field, value) in [
        ("mean", serde_json::json!([])),
        ("mean", serde_json::json!([0.0, 0.0, 0.0])),
        ("covariance", serde_json::json!([1.0])),
        ("sigma", serde_json::json!(-1.0)),
        ("population", serde_json::json!(0)),
    ] {
        let mut damaged = written.clone();
        damaged[field] = value;
        assert!(serde_json::from_value::<CmaEs>(damaged).is_err(), "{field}");
    }
}

const POINTS: &str = "9c2c0fbff9dfe997d57b508928d39e44b4bd1bdb8e66fecc499a887ed2f306ac";
const ROWS: &str = "0c51308c9fb64eb369b955968652af62ccce163254624167fd3183c93be06658";

const H: usize = 8;

fn vocabulary() -> Vocabulary {
    Vocabulary {
        hidden_size: H,
        histogram: None,
        max: 1.0,
        percentiles: Percentiles {
            p1: 0.3,
            p5: 0.35,
            p25: 0.45,
            p50: 0.5,
            p75: 0.6,
            p95: 0.7,
            p99: 0.8,
        },
        rms: 0.2,
        rows: 10,
    }
}

fn parent(norm: f32) -> SoftPrefix {
    let value = norm / (H as f32).sqrt();
    SoftPrefix::from_f32(H, &[value; 2 * H], Rounding::NearestEven).unwrap()
}

fn build(recipe: &PrefixRecipe, parent: &SoftPrefix) -> SoftPrefix {
    recipe.build(H, Some(&EmbeddingRows::from(parent)), None).unwrap()
}

fn norms(prefix: &SoftPrefix) -> Vec<f64> {
    PrefixSummary::of(prefix, None).norms
}

#[test]
fn candidates_are_recipes_around_the_parent_that_name_it_by_digest() {
    let parent = parent(0.5);
    let settings = SearchSettings {
        dimension: 4,
        population: Some(3),
        spread: 0.4,
        seed: 11,
        ..SearchSettings::default()
    };
    let search = PrefixSearch::new(&parent, "sea", &settings, Some(&vocabulary())).unwrap();
    assert_eq!(
        build(&search.centre(), &parent),
        parent,
        "the centre is the parent at first"
    );
    let recipes = search.candidates();
    assert_eq!(recipes.len(), 3);
    for recipe in &recipes {
        let PrefixKind::Chosen {
            parent: digest,
            generation: 1,
            point,
            ..
        } = &recipe.kind
        else {
            panic!("{recipe:?}");
        };
        assert_eq!((digest, point.len()), (&parent.sha256(), 4));
        let stored = Need::Stored {
            name: "sea".into(),
            sha256: parent.sha256(),
        };
        assert_eq!(recipe.needs(), [stored]);
        let text = serde_json::to_string(recipe).unwrap();
        assert!(text.contains("\"chosen\""), "{text}");
        let read: PrefixRecipe = serde_json::from_str(&text).unwrap();
        assert_eq!(build(&read, &parent).sha256(), build(recipe, &parent).sha256());
    }
    let rows: Vec<SoftPrefix> = recipes.iter().map(|recipe| build(recipe, &parent)).collect();
    assert!(rows[0] != rows[1] && rows[1] != rows[2] && rows[0] != parent);
    assert_eq!(rows[0].sha256(), ROWS, "the same bytes on every processor");
    assert!(rows[0].cosine(&parent).unwrap() < 1.0);

    let next = search.pick(1).unwrap();
    assert_eq!((next.generation(), next.population()), (1, 3));
    assert!(matches!(
        next.candidates()[0].kind,
        PrefixKind::Chosen { generation: 2, .. }
    ));
    let towards = build(&next.centre(), &parent);
    assert!(towards.cosine(&rows[1]).unwrap() > parent.cosine(&rows[1]).unwrap());
    let text = serde_json::to_string(&next).unwrap();
    assert_eq!(serde_json::from_str::<PrefixSearch>(&text).unwrap(), next);
    // A step back is the earlier value.
    assert_eq!(search.candidates(), recipes);

    let scaled = PrefixRecipe {
        magnitude: Magnitude::TokenNorms(2.0),
        ..recipes[0].clone()
    };
    let scaled = scaled.build(H, Some(&EmbeddingRows::from(&parent)), Some(0.5)).unwrap();
    assert!(norms(&scaled).iter().all(|norm| (norm - 1.0).abs() < 0.01));
}

#[test]
fn rows_have_norms_of_the_vocabulary_unless_the_limit_is_changed() {
    let parent = parent(0.5);
    let of = |norm_limit, vocabulary: Option<&Vocabulary>| -> Vec<f64> {
        let settings = SearchSettings {
            norm_limit,
            spread: 4.0,
            population: Some(20),
            ..SearchSettings::default()
        };
        let search = PrefixSearch::new(&parent, "sea", &settings, vocabulary).unwrap();
        let recipes = search.candidates();
        recipes
            .iter()
            .flat_map(|recipe| norms(&build(recipe, &parent)))
            .collect()
    };
    let within = |norms: &[f64], low: f64, high: f64| norms.iter().all(|norm| (low * 0.99..high * 1.01).contains(norm));
    let known = vocabulary();
    assert!(within(&of(NormLimit::Vocabulary, Some(&known)), 0.3, 0.8));
    assert!(within(&of(NormLimit::TokenNorms(3.0), Some(&known)), 0.0, 1.5));
    assert!(of(NormLimit::Off, Some(&known)).iter().any(|norm| *norm > 1.6));
    // A stock module reports no norms: the parent's own rows are the measure.
    assert!(within(&of(NormLimit::Vocabulary, None), 0.25, 1.0));
}

#[test]
fn a_vocabulary_without_a_usable_median_gives_no_range_of_norms_either() {
    let parent = parent(0.1);
    let settings = SearchSettings::default();
    let search = |vocabulary: Option<&Vocabulary>| PrefixSearch::new(&parent, "sea", &settings, vocabulary).unwrap();
    for p50 in [0.0, f64::NAN] {
        let mut unusable = vocabulary();
        unusable.percentiles.p50 = p50;
        assert_eq!(search(Some(&unusable)), search(None), "{p50}");
    }
}

#[test]
fn a_search_without_a_scale_or_with_a_wrong_size_does_not_begin() {
    let zero = SoftPrefix::from_f32(H, &[0.0; H], Rounding::NearestEven).unwrap();
    let settings = SearchSettings::default();
    let new = |settings: &SearchSettings| PrefixSearch::new(&zero, "zero", settings, None).unwrap_err();
    assert_eq!(new(&settings), SearchError::NoScale);
    assert!(PrefixSearch::new(&zero, "zero", &settings, Some(&vocabulary())).is_ok());
    for dimension in [0, H + 1] {
        let settings = SearchSettings {
            dimension,
            ..SearchSettings::default()
        };
        assert_eq!(new(&settings), SearchError::Dimension { dimension, most: H });
    }
    let settings = SearchSettings {
        norm_limit: NormLimit::TokenNorms(f64::NAN),
        ..SearchSettings::default()
    };
    let limited = PrefixSearch::new(&zero, "zero", &settings, Some(&vocabulary()));
    assert!(matches!(limited, Err(SearchError::NormLimit { .. })));
}

#[test]
fn a_point_that_was_edited_is_refused_when_it_is_built() {
    let parent = parent(0.5);
    let search = PrefixSearch::new(&parent, "sea", &SearchSettings::default(), None).unwrap();
    let refused = |change: &dyn Fn(&mut PrefixKind)| {
        let mut recipe = search.centre();
        change(&mut recipe.kind);
        recipe.build(H, Some(&EmbeddingRows::from(&parent)), None).unwrap_err()
    };
    let short = refused(&|kind| {
        if let PrefixKind::Chosen { point, .. } = kind {
            point.pop();
        }
    });
    assert!(matches!(short, PrefixError::SubspaceUnusable { .. }), "{short}");
    let far = refused(&|kind| {
        if let PrefixKind::Chosen { point, subspace, .. } = kind {
            point[0] = 1e300;
            subspace.norms = None;
        }
    });
    assert!(matches!(far, PrefixError::NotFinite { .. }), "{far}");
    let band = refused(&|kind| {
        if let PrefixKind::Chosen { subspace, .. } = kind {
            subspace.norms = Some((2.0, 1.0));
        }
    });
    assert!(matches!(band, PrefixError::SubspaceUnusable { .. }), "{band}");
    let other = refused(&|kind| {
        if let PrefixKind::Chosen { parent, .. } = kind {
            *parent = "ab".repeat(32);
        }
    });
    assert!(matches!(other, PrefixError::StoredDiffers { .. }), "{other}");
}

const BASELINE: &str = "I am a helpful assistant, and I can answer your questions about the world.";

#[test]
fn each_part_of_an_objective_adds_to_the_score() {
    let sea = "The sea is wide and the waves are high tonight.";
    let to_text = Objective {
        text: Some(sea.into()),
        ..Objective::default()
    };
    let exact = to_text.score(BASELINE, sea, None);
    assert_eq!((exact.total, exact.similarity), (1.0, Some(100.0)));
    assert!(to_text.score(BASELINE, "The sea is calm.", None).total > to_text.score(BASELINE, BASELINE, None).total);

    let words = Objective {
        wanted: vec!["sea".into(), "waves".into()],
        unwanted: vec!["assistant".into()],
        ..Objective::default()
    };
    let both = words.score(BASELINE, sea, None);
    assert_eq!((both.total, both.wanted, both.unwanted), (1.0, 2, 0));
    assert_eq!(words.score(BASELINE, "The sea has an assistant.", None).total, -0.5);
    let blank = Objective {
        text: Some(" \n".into()),
        ..words
    };
    assert_eq!(blank.wanted_text(), None);
    assert_eq!(blank.score(BASELINE, sea, None), both, "a blank text is none");

    let away = Objective {
        away: true,
        ..Objective::default()
    };
    assert_eq!(away.score(BASELINE, BASELINE, None).total, 0.0);
    assert!(away.score(BASELINE, sea, None).total > 0.5);
}

#[test]
fn a_loop_ranks_below_every_text_that_is_none_unless_the_baseline_loops_too() {
    let away = Objective {
        away: true,
        ..Objective::default()
    };
    let turning = "la la ".repeat(40);
    let collapsed = away.score(BASELINE, &turning, None);
    assert!(collapsed.below_floor && collapsed.total <= -1.0, "{collapsed:?}");
    let unwanted = Objective {
        unwanted: vec!["sea".into()],
        ..Objective::default()
    };
    assert!(unwanted.score(BASELINE, "Only the sea.", None).total >= -1.0);
    assert!(
        away.score(BASELINE, "x", None).below_floor,
        "too short to be judged is no distance"
    );
    assert!(!away.score(&"lo lo ".repeat(40), &turning, None).below_floor);
    let no_floor = Objective { floor: 0.0, ..away };
    assert!(!no_floor.score(BASELINE, &turning, None).below_floor);
}

#[test]
fn an_objective_that_asks_for_nothing_or_cannot_be_measured_is_refused() {
    let none = Objective::default();
    assert_eq!(none.check().unwrap_err(), SearchError::NoObjective);
    let blank = Objective {
        text: Some("  ".into()),
        ..Objective::default()
    };
    assert_eq!(blank.check().unwrap_err(), SearchError::NoObjective);
    let empty = Objective {
        wanted: vec!["sea".into(), " ".into()],
        ..Objective::default()
    };
    assert_eq!(empty.check().unwrap_err(), SearchError::EmptyWord);
    for floor in [-0.1, 1.1, f64::NAN] {
        let odd = Objective {
            away: true,
            floor,
            ..Objective::default()
        };
        assert!(matches!(odd.check(), Err(SearchError::Floor { .. })));
    }
}

#[test]
fn the_likelihood_of_the_wanted_text_decides_between_equal_texts_and_is_a_measure_of_its_own() {
    let chrf2 = Objective {
        text: Some("The sea is wide.".into()),
        ..Objective::default()
    };
    let output = "I can answer your questions about the sea.";
    let [likely, unlikely, unknown] = [Some(-2.0), Some(-3.0), None].map(|of| chrf2.score(BASELINE, output, of));
    assert_eq!(likely.total, unlikely.total);
    assert!(likely.is_better_than(&unlikely) && unlikely.is_better_than(&unknown) && !likely.is_better_than(&likely));
    let closer = chrf2.score(BASELINE, "The sea is wide, and I can answer.", Some(-9.0));
    assert!(closer.is_better_than(&likely), "the text counts first");
    let likelihood = Objective {
        by: Closeness::Likelihood,
        ..chrf2
    };
    let [likely, unlikely] = [-0.1, -3.0].map(|of| likelihood.score(BASELINE, output, Some(of)));
    assert!((likely.total - (-0.1_f64).exp()).abs() < 1e-12 && likely.is_better_than(&unlikely));
}
