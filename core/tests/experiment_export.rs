//! Analysis and exports as a specification: what records say, and in which forms they leave and come back.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

mod common;

use std::path::Path;

use half::bf16;
use serde_json::{Value, json};
use softprefix_core::compare::{Measure, Report, ResultsFile, Verdict};
use softprefix_core::experiment::export::{self, ImportError};
use softprefix_core::experiment::html::{self, Language};
use softprefix_core::experiment::{
    Analysis, Applied, CaseOutcome, CaseScores, Experiment, Extent, Group, Magnitudes, Plan, Point, Prompt, Proof,
    Rating, Record, Settings, Spread, Stars, Sweep, Values, over_prompts, words,
};
use softprefix_core::files;
use softprefix_core::files::faults::{Fault, inject};
use softprefix_core::prefix::files::{FileError, export_npy, export_peft, export_safetensors, import};
use softprefix_core::prefix::{
    FoundBy, Learned, Magnitude, Origin, PrefixKind, PrefixStore, Rounding, SearchOrigin, SoftPrefix,
};
use softprefix_core::protocol::Sampling;
use softprefix_core::protocol::extension::SoftPrefixEcho;

const BASE: &str = "こんにちは。私は人工知能です。何かお手伝いできることはありますか?";

/// Lets each step of `write` fail in turn, once with EIO and once with ENOSPC from there on, in a folder as `prepare` makes it. `read` gives
/// what a reader finds there, `None` where it refuses. What is found after a failure is what was there before, or is refused where
/// `may_be_refused`, and no temporary file is left.
fn with_each_step_refused<T: PartialEq>(
    what: &str,
    prepare: impl Fn(&Path),
    write: impl Fn(&Path) -> Result<(), String>,
    read: impl Fn(&Path) -> Option<T>,
    may_be_refused: bool,
) {
    for fault in [Fault::Broken as fn(usize) -> Fault, Fault::Full] {
        for at in 0.. {
            let what = format!("{what}, {:?}", fault(at));
            let folder = tempfile::tempdir().unwrap();
            prepare(folder.path());
            let old = read(folder.path());
            let injected = inject(folder.path(), fault(at));
            let written = write(folder.path());
            let met = injected.was_met();
            drop(injected);
            assert_eq!(written.is_err(), met, "{what}");
            if let Err(sentence) = &written {
                assert!(sentence.contains("os error"), "{what}: {sentence}");
            }
            let found = read(folder.path());
            let parts = files_in(folder.path()).filter(|name| name.starts_with(".softprefix-"));
            assert_eq!(parts.count(), 0, "{what}: a part is left");
            if !met {
                assert!(at >= 4, "{what}: there are more steps than {at}");
                assert!(found != old && found.is_some(), "{what}: the new one is not there");
                break;
            }
            assert!(
                found == old || (may_be_refused && found.is_none()),
                "{what}: neither the old one nor refused"
            );
        }
    }
}

/// Names of all files below a folder.
fn files_in(folder: &Path) -> impl Iterator<Item = String> {
    let mut names = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            if entry.path().is_dir() {
                folders.push(entry.path());
            } else {
                names.push(entry.file_name().into_string().unwrap());
            }
        }
    }
    names.into_iter()
}

#[test]
fn whichever_step_the_disk_refuses_an_export_is_the_old_file_or_the_new_one() {
    let (experiment, records) = sweep();
    let results = export::to_results_file(&experiment, &records, 0);
    let old = |folder: &Path| std::fs::write(folder.join("export"), "the older one").unwrap();
    let read = |folder: &Path| std::fs::read_to_string(folder.join("export")).ok();
    for (form, text) in [
        ("JSON", export::to_json(&experiment, &records).unwrap()),
        ("CSV", export::to_csv(&records)),
        (
            "LLM Comparator",
            export::to_llm_comparator(&experiment, &records).unwrap(),
        ),
        ("HTML", html::to_html(&experiment, &records, &Language::English.into())),
    ] {
        let write = |folder: &Path| {
            let path = folder.join("export");
            files::write_whole(&path, text.as_bytes()).map_err(|error| error.to_string())
        };
        with_each_step_refused(form, old, write, read, false);
    }
    let write = |folder: &Path| {
        let path = folder.join("export");
        results.write(&path).map_err(|error| error.to_string())
    };
    with_each_step_refused("results file", old, write, read, false);
}

#[test]
fn whichever_step_the_disk_refuses_an_exported_prefix_is_the_old_one_or_the_new_one_or_refused() {
    // As many rows as the new one, so that no count tells them apart.
    let old = SoftPrefix::from_bf16(8, vec![bf16::ONE; 16]).unwrap();
    let new = SoftPrefix::from_bf16(8, vec![bf16::NEG_ONE; 16]).unwrap();
    let message = |error: FileError| error.to_string();
    let rows = |path: &Path| import(path, None, Rounding::NearestEven).ok();

    let path = |folder: &Path| folder.join("prefix.safetensors");
    with_each_step_refused(
        "safetensors",
        |folder| export_safetensors(&old, &path(folder), None).unwrap(),
        |folder| export_safetensors(&new, &path(folder), Some("{}")).map_err(message),
        |folder| rows(&path(folder)),
        false,
    );
    let path = |folder: &Path| folder.join("prefix.npy");
    with_each_step_refused(
        "npy",
        |folder| export_npy(&old, &path(folder)).unwrap(),
        |folder| export_npy(&new, &path(folder)).map_err(message),
        |folder| rows(&path(folder)),
        false,
    );
    let path = |folder: &Path| folder.join("adapter");
    for was_there in [true, false] {
        with_each_step_refused(
            "PEFT",
            |folder| {
                if was_there {
                    export_peft(&old, &path(folder), Some("old model"), None).unwrap();
                }
            },
            |folder| export_peft(&new, &path(folder), Some("new model"), None).map_err(message),
            |folder| rows(&path(folder)),
            true,
        );
    }
    let digest = new.sha256();
    for damaged in [false, true] {
        with_each_step_refused(
            "store",
            |folder| {
                if damaged {
                    std::fs::write(folder.join(format!("{digest}.safetensors")), "damaged").unwrap();
                }
            },
            |folder| {
                let stored = PrefixStore::new(folder).put(&new);
                stored.map(drop).map_err(|error| error.to_string())
            },
            |folder| PrefixStore::new(folder).get(&digest, None).ok(),
            false,
        );
    }
}

/// No prompt has a title.
/// Two prompts at two lengths and three magnitudes, sampled; the texts of the second prompt move less.
fn two_prompts() -> (Experiment, Vec<Record>) {
    let prompt = |user: &str| Prompt {
        system: String::new(),
        user: user.into(),
    };
    let sweep = Sweep {
        kind: PrefixKind::Constant,
        lengths: vec![1, 4],
        magnitudes: Magnitudes::TokenNorms(Values::List(vec![0.0, 0.05, 2.0])),
        rounding: Rounding::default(),
    };
    let sampling = Sampling {
        top_k: Some(10),
        temperature: Some(0.8),
        seed: Some(7),
        ..Sampling::default()
    };
    let plan = Plan {
        prompts: vec![prompt("春の花の詩を書いてください。"), prompt("Write a <short> reply.")],
        closing: false,
        settings: Settings::new(64, &sampling),
        ..Plan::new(prompt(""), sweep)
    };
    let experiment = common::experiment("two", plan);
    let cases = common::plan_of(&experiment).cases().unwrap();
    let records = cases.iter().map(|case| {
        let size = match case.recipe.as_ref().map(|recipe| recipe.magnitude) {
            Some(Magnitude::TokenNorms(size)) => size,
            _ => 0.0,
        };
        let text = match (size > 1.0, case.prompt) {
            (false, _) => BASE.to_owned(),
            (true, 0) => "猫が窓の外を見ている。".to_owned(),
            (true, _) => BASE.replace("何か", "少し"),
        };
        common::record(&experiment, case, &text)
    });
    let records = records.collect();
    (experiment, records)
}

/// The ten-value sweep: small values change nothing, larger ones a little, the largest loop; one case failed.
fn sweep() -> (Experiment, Vec<Record>) {
    let experiment = common::experiment("sweep", common::plan());
    let texts = [
        BASE,
        BASE,
        BASE,
        BASE,
        "こんにちは。私はAIです。<b>何か</b>お手伝いできますか?",
        "はい、\"私\"は猫です。",
    ];
    let cases = common::plan_of(&experiment).cases().unwrap();
    let records = cases.iter().map(|case| match case.index {
        _ if case.recipe.is_none() => common::record(&experiment, case, BASE),
        8 => common::failed(
            &experiment,
            case,
            "no answer within 60 s. Check the module, then run the case again.",
        ),
        9.. => common::record(&experiment, case, &"の".repeat(100)),
        i => common::record(
            &experiment,
            case,
            texts.get(i).copied().unwrap_or("=1+1, 猫\n「二行目」"),
        ),
    });
    let mut records: Vec<Record> = records.collect();
    for record in records
        .iter_mut()
        .filter(|record| record.prefix.is_some() && record.text().is_some())
    {
        record.scores = Some(Box::new(common::scores(&experiment, &record.case, BASE)));
    }
    (experiment, records)
}

fn verdicts(records: &[Record]) -> Vec<Verdict> {
    let analysis = Analysis::of(records);
    analysis.groups[0]
        .points
        .iter()
        .map(|point| analysis.groups[0].verdict(point))
        .collect()
}

#[test]
fn a_sweep_is_read_at_one_glance() {
    use Verdict::{Baseline, Changed, Failed, Loop, Same};
    let (_, records) = sweep();
    let wanted = [
        Baseline, Same, Same, Same, Changed, Changed, Changed, Changed, Failed, Loop, Loop, Same,
    ];
    assert_eq!(verdicts(&records), wanted);
    let analysis = Analysis::of(&records);
    let group = &analysis.groups[0];
    assert!(group.is_deterministic());
    assert_eq!(
        (group.proof(), group.noise_floor(Measure::Chrf2)),
        (Proof::Echoed, Some(100.0))
    );
    let lines = group.lines();
    assert_eq!(
        (lines.len(), lines[0].1.len(), lines[0].0.label.as_str()),
        (1, 10, "constant, P 1")
    );
    assert!(
        lines[0]
            .1
            .windows(2)
            .all(|pair| pair[0].magnitude() <= pair[1].magnitude())
    );
}

#[test]
fn the_order_in_which_cases_finish_does_not_matter_while_they_arrive() {
    let (_, mut records) = sweep();
    let in_order = Analysis::of(&records);
    records.reverse();
    // Without a baseline nothing can be said yet.
    let waiting = Analysis::of(records.iter().filter(|record| !record.is_baseline()));
    assert!(waiting.groups[0].points.iter().all(|point| point.measures.is_none()));
    let reversed = Analysis::of(&records);
    for point in &in_order.groups[0].points {
        assert_eq!(reversed.find(&point.record).unwrap().1.measures, point.measures);
    }
}

#[test]
fn prompts_and_modules_are_groups_of_their_own() {
    let (_, mut records) = sweep();
    let mut other = records.clone();
    for record in &mut other {
        record.module.address = "192.168.1.20:10001".into();
        record.id += "-device";
    }
    records.append(&mut other);
    let analysis = Analysis::of(&records);
    assert_eq!(
        analysis
            .groups
            .iter()
            .map(|group| group.points.len())
            .collect::<Vec<_>>(),
        [12, 12]
    );
}

#[test]
fn a_change_of_the_token_limit_or_of_the_model_file_alone_is_another_group() {
    let (_, records) = sweep();
    let changed = |change: &dyn Fn(&mut Record)| {
        let mut other = records.clone();
        other.iter_mut().for_each(change);
        Analysis::of(records.iter().chain(&other)).groups.len()
    };
    assert_eq!(changed(&|record| record.settings.max_new_tokens = Some(7)), 2);
    assert_eq!(changed(&|record| record.settings.max_token_len = Some(99)), 2);
    let sampling = |record: &mut Record| drop(record.settings.other.insert("temperature".into(), 0.7.into()));
    assert_eq!(changed(&sampling), 2);
    assert_eq!(changed(&|record| record.settings.streaming = Some(true)), 1);

    let mut known = records.clone();
    known
        .iter_mut()
        .for_each(|record| record.module.model_sha256 = Some("a".repeat(64)));
    let mut other = known.clone();
    other
        .iter_mut()
        .for_each(|record| record.module.model_sha256 = Some("b".repeat(64)));
    assert_eq!(Analysis::of(known.iter().chain(&other)).groups.len(), 2);
    let mut silent = known.clone();
    silent.iter_mut().for_each(|record| record.module.model_sha256 = None);
    assert_eq!(
        Analysis::of(known.iter().chain(&silent)).groups.len(),
        1,
        "a digest that is not known is no other one"
    );
}

#[test]
fn a_truncated_text_is_marked_as_truncated_in_every_form() {
    let (experiment, mut records) = sweep();
    if let CaseOutcome::Failed(failure) = &mut records[8].outcome {
        failure.partial_text = "こんに".into();
    }
    let analysis = Analysis::of(&records);
    let extents: Vec<Extent> = analysis.groups[0].points.iter().map(|point| point.extent).collect();
    assert_eq!(extents[8], Extent::Cut { characters: 3 });
    assert!(
        extents
            .iter()
            .enumerate()
            .all(|(i, extent)| i == 8 || *extent == Extent::Complete)
    );

    let page = html::to_html(&experiment, &records, &Language::English.into());
    assert!(page.contains("cut off after 3 characters") && page.contains(">こんに</div>"));
    assert!(html::to_html(&experiment, &records, &Language::Japanese.into()).contains("途中まで（3 文字）"));
    let csv = read_csv(&export::to_csv(&records));
    let column = csv[0].iter().position(|head| head == "cut").unwrap();
    assert_eq!((csv[9][column].as_str(), csv[8][column].as_str()), ("cut", ""));
    let file = export::to_results_file(&experiment, &records, 0);
    assert!(
        Report::from(&file)
            .to_table()
            .contains("the text was cut off after 3 characters")
    );
    let (_, back) = export::from_results_file(&file, "back").unwrap();
    assert_eq!(
        Analysis::of(&back).groups[0].points[8].extent,
        Extent::Cut { characters: 3 }
    );
}

#[test]
fn values_below_0_lie_by_their_size_on_a_line_of_their_own() {
    let (_, mut records) = sweep();
    for record in records.iter_mut().skip(2).take(2) {
        let prefix = record.prefix.as_mut().unwrap();
        let Magnitude::Raw(value) = prefix.recipe.magnitude else {
            panic!("{prefix:?}")
        };
        prefix.recipe.magnitude = Magnitude::Raw(-value);
        prefix.token_norms = None;
    }
    let analysis = Analysis::of(&records);
    let lines = analysis.groups[0].lines();
    assert_eq!(lines.len(), 2);
    let (series, points) = &lines[1];
    assert_eq!(series.label, "constant, P 1, values below 0");
    assert!(points.iter().all(|point| point.raw < Some(0.0)));
    assert_eq!(points[0].magnitude(), 1e-4);
}

#[test]
fn whether_prefixes_were_applied_is_concluded_from_all_runs() {
    let (_, mut records) = sweep();
    if let CaseOutcome::Done(answer) = &mut records[5].outcome {
        answer.echo = None;
    }
    assert_eq!(Analysis::of(&records).groups[0].proof(), Proof::PartlyEchoed);
    for record in &mut records {
        if let CaseOutcome::Done(answer) = &mut record.outcome {
            answer.echo = None;
        }
    }
    let without_baseline = records.iter().filter(|record| !record.is_baseline());
    assert_eq!(Analysis::of(without_baseline).groups[0].proof(), Proof::NoBaseline);
}

#[test]
fn a_results_file_keeps_what_was_acknowledged_and_plans_the_cases_it_has() {
    let (experiment, mut records) = sweep();
    // As the user turns the slider: other units, kinds and lengths in one file.
    for (record, magnitude) in records[2..4].iter_mut().zip([0.5, 3.0]) {
        let prefix = record.prefix.as_mut().unwrap();
        prefix.recipe.magnitude = Magnitude::TokenNorms(magnitude);
        record.case.recipe = Some(prefix.recipe.clone());
    }
    let mut file = export::to_results_file(&experiment, &records, 0);
    // As version 0.1.0 wrote it.
    file.extra.as_mut().unwrap().other.remove("plan");
    let file = ResultsFile::from_json(file.to_json().unwrap().as_bytes()).unwrap();
    let (opened, back) = export::from_results_file(&file, "back").unwrap();
    assert_eq!(Analysis::of(&back).groups[0].proof(), Proof::Echoed);
    let planned = opened.plan.unwrap().cases().unwrap();
    for record in back.iter().filter(|record| !record.is_baseline()) {
        assert!(
            planned.iter().any(|case| case.recipe == record.case.recipe),
            "{} has a cell",
            record.case.name
        );
    }
    assert_eq!(planned.iter().filter(|case| case.recipe.is_some()).count(), 10);
    assert_eq!(planned.len(), back.len());
}

#[test]
fn a_noisy_module_has_a_band_and_effects_inside_it_are_none() {
    let (experiment, mut records) = sweep();
    let cases = common::plan_of(&experiment).cases().unwrap();
    records[11] = common::record(
        &experiment,
        &cases[11],
        "こんばんは。私は人工知能です。お手伝いしますか?",
    );
    records[1] = common::record(
        &experiment,
        &cases[1],
        "こんにちは。私は人工知能です。何かお手伝いできますか?",
    );
    let analysis = Analysis::of(&records);
    let group = &analysis.groups[0];
    assert!(!group.is_deterministic() && group.noise_floor(Measure::Indel).unwrap() < 1.0);
    assert_eq!(group.verdict(&group.points[1]), Verdict::InsideNoise);
    assert_eq!(group.verdict(&group.points[9]), Verdict::Loop);
}

#[test]
fn it_is_exported_whether_the_prefix_was_applied() {
    let without_echo = |records: &mut [Record]| {
        for record in records {
            if let CaseOutcome::Done(answer) = &mut record.outcome {
                answer.echo = None;
            }
        }
    };
    let (experiment, mut records) = sweep();
    assert_eq!(records[5].applied(), Applied::Proven);
    without_echo(&mut records);
    assert_eq!(
        (records[5].applied(), Analysis::of(&records).groups[0].proof()),
        (Applied::Unknown, Proof::TextChanged)
    );

    let cases = common::plan_of(&experiment).cases().unwrap();
    let mut ignored: Vec<Record> = cases
        .iter()
        .map(|case| common::record(&experiment, case, BASE))
        .collect();
    without_echo(&mut ignored);
    let proof = Analysis::of(&ignored).groups[0].proof();
    assert_eq!(proof, Proof::NoEffect);
    assert!(proof.sentence().en.contains("ignores soft_prefix silently"));

    let (_, mut wrong) = sweep();
    if let CaseOutcome::Done(answer) = &mut wrong[5].outcome {
        answer.echo = Some(SoftPrefixEcho::of(&common::some_prefix()));
    }
    assert_eq!(Analysis::of(&wrong).groups[0].proof(), Proof::Contradicted);
}

#[test]
fn exported_json_is_read_back_unchanged() {
    let (experiment, records) = sweep();
    let text = export::to_json(&experiment, &records).unwrap();
    let (experiment_again, records_again) = export::from_json(text.as_bytes(), "x").unwrap();
    assert_eq!((experiment_again, records_again), (experiment, records));
}

/// Checks a value against the part of JSON Schema that our schema uses; returns what is wrong.
fn validate(value: &Value, schema: &Value, root: &Value, at: &str, wrong: &mut Vec<String>) {
    if let Some(path) = schema["$ref"].as_str() {
        return validate(
            value,
            root.pointer(path.trim_start_matches('#')).unwrap(),
            root,
            at,
            wrong,
        );
    }
    if let Some(choices) = schema["anyOf"].as_array() {
        let fits = choices.iter().any(|choice| {
            let mut inner = Vec::new();
            validate(value, choice, root, at, &mut inner);
            inner.is_empty()
        });
        return if !fits {
            wrong.push(format!("{at}: none of the choices fits"))
        };
    }
    if let Some(constant) = schema.get("const").filter(|constant| *constant != value) {
        wrong.push(format!("{at}: {value} is not {constant}"));
    }
    if schema["enum"]
        .as_array()
        .is_some_and(|choices| !choices.contains(value))
    {
        wrong.push(format!("{at}: {value} is not among the choices"));
    }
    let is = |kind: &str| match kind {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_u64() || value.is_i64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        other => panic!("the schema uses the type {other}"),
    };
    let fits = match &schema["type"] {
        Value::String(kind) => is(kind),
        Value::Array(kinds) => kinds.iter().any(|kind| is(kind.as_str().unwrap())),
        _ => true,
    };
    if !fits {
        wrong.push(format!("{at}: {value} is no {}", schema["type"]));
    }
    for key in schema["required"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
    {
        if value.get(key).is_none() {
            wrong.push(format!("{at}: {key} is missing"));
        }
    }
    if let (Some(map), Some(known)) = (value.as_object(), schema["properties"].as_object()) {
        for (key, value) in map {
            match known.get(key) {
                Some(schema) => validate(value, schema, root, &format!("{at}/{key}"), wrong),
                // Kinds of prefixes have their own fields.
                None if at.ends_with("/kind") => {}
                None => wrong.push(format!("{at}/{key}: not documented")),
            }
        }
    }
    if let (Some(items), Some(schema)) = (value.as_array(), schema.get("items")) {
        for (i, item) in items.iter().enumerate() {
            validate(item, schema, root, &format!("{at}/{i}"), wrong);
        }
    }
}

#[test]
fn stars_and_notes_leave_with_their_case_in_every_form() {
    let (experiment, mut records) = sweep();
    let rating = Rating {
        stars: Stars::new(4),
        note: "=warm, \"calm\"\n<b>二行目</b>".to_owned(),
    };
    records[5].rating = rating.clone();
    let rows = read_csv(&export::to_csv(&records));
    let column = |name: &str| rows[0].iter().position(|head| head == name).unwrap();
    assert_eq!(rows[6][column("stars")], "4");
    assert_eq!(
        rows[6][column("note")],
        format!("'{}", rating.note),
        "no spreadsheet runs it"
    );
    assert_eq!((&*rows[5][column("stars")], &*rows[5][column("note")]), ("", ""));

    let name = &records[5].case.name;
    for text in [
        export::to_json(&experiment, &records).unwrap(),
        export::to_results_file(&experiment, &records, 0).to_json().unwrap(),
    ] {
        let (_, back) = export::from_json(text.as_bytes(), "again").unwrap();
        let rated: Vec<&Record> = back.iter().filter(|record| !record.rating.is_empty()).collect();
        assert_eq!(rated.len(), 1);
        assert_eq!((&rated[0].case.name, &rated[0].rating), (name, &rating));
    }
    let value: Value = serde_json::from_str(&export::to_json(&experiment, &records).unwrap()).unwrap();
    let schema: Value = serde_json::from_str(export::JSON_SCHEMA).unwrap();
    let mut wrong = Vec::new();
    validate(&value, &schema, &schema, "", &mut wrong);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));

    let value: Value = serde_json::from_str(&export::to_llm_comparator(&experiment, &records).unwrap()).unwrap();
    let examples = value["examples"].as_array().unwrap();
    let fields = |case: &str| {
        let of = examples.iter().find(|example| example["custom_fields"]["case"] == case);
        of.unwrap()["custom_fields"].clone()
    };
    assert_eq!(
        (&fields(name)["stars"], &fields(name)["note"]),
        (&4.into(), &rating.note.into())
    );
    assert_eq!(fields(&records[4].case.name)["stars"], Value::Null);

    let page = html::to_html(&experiment, &records, &Language::English.into());
    assert!(
        page.contains("aria-label=\"4/5\">★★★★☆</span>"),
        "the table and the case show stars"
    );
    assert!(
        page.contains("&lt;b&gt;二行目&lt;/b&gt;"),
        "a note is text and no markup"
    );
    records[5].rating = Rating::default();
    let page = html::to_html(&experiment, &records, &Language::English.into());
    assert!(!page.contains("★"), "without ratings there is no column for them");
}

#[test]
fn exported_json_matches_its_schema_and_every_field_is_documented() {
    let (mut experiment, records) = sweep();
    experiment.plan.as_mut().unwrap().settings.max_new_tokens = Some(64);
    let schema: Value = serde_json::from_str(export::JSON_SCHEMA).unwrap();
    let value: Value = serde_json::from_str(&export::to_json(&experiment, &records).unwrap()).unwrap();
    let mut wrong = Vec::new();
    validate(&value, &schema, &schema, "", &mut wrong);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_results_file_of_an_experiment_opens_as_an_experiment_again() {
    let (experiment, records) = sweep();
    let file = export::to_results_file(&experiment, &records, 0);
    assert_eq!(file.meta.vals, softprefix_core::experiment::SCRIPT_VALUES);
    assert_eq!(
        (file.meta.host.as_str(), file.meta.port, file.meta.prefix_len),
        ("127.0.0.1", 10001, 1)
    );
    assert_eq!((file.results[0].name.as_str(), file.results[0].val), ("baseline", None));
    assert_eq!(
        (file.results[5].name.as_str(), file.results[5].val),
        ("prefix_val_0.01", Some(0.01))
    );

    let (again, records_again) = export::from_json(file.to_json().unwrap().as_bytes(), "imported").unwrap();
    assert_eq!(
        (again.name.as_str(), again.id.as_str()),
        (experiment.name.as_str(), "imported")
    );
    assert_eq!(again.module, experiment.module);
    assert_eq!(verdicts(&records_again), verdicts(&records));
    for (before, after) in records.iter().zip(&records_again) {
        assert_eq!(
            (before.text(), before.error(), before.tokens()),
            (after.text(), after.error(), after.tokens())
        );
        assert_eq!(before.prefix, after.prefix);
        assert_eq!(before.prompt, after.prompt);
    }
}

#[test]
fn a_results_file_names_the_module_of_its_records_and_keeps_the_number_of_a_repeat() {
    // A session began on another module than the one on which these ran.
    let (mut experiment, mut records) = sweep();
    let ran_on = experiment.module.clone();
    experiment.module.model = "an earlier model".into();
    experiment.module.hidden_size = 576;
    let prefixed = records.iter().position(|record| record.prefix.is_some()).unwrap();
    records[prefixed].case.repeat = 2;

    let file = export::to_results_file(&experiment, &records, 0);
    assert_eq!(
        (&file.meta.model, file.meta.hidden_size),
        (&ran_on.model, ran_on.hidden_size)
    );
    let (again, records_again) = export::from_json(file.to_json().unwrap().as_bytes(), "again").unwrap();
    assert_eq!(again.module, ran_on);
    assert!(records_again.iter().all(|record| record.module == ran_on));
    let repeats = |records: &[Record]| records.iter().map(|record| record.case.repeat).collect::<Vec<_>>();
    assert_eq!(repeats(&records_again), repeats(&records));
}

#[test]
fn a_failed_run_does_not_change_the_unit_of_a_reports_axis_and_no_dot_is_drawn_in_another_unit() {
    let (experiment, records) = sweep();
    let page = |records: &[Record]| html::to_html(&experiment, records, &Language::English.into());
    let raw = words::AXIS_RAW.en;
    let norms = words::AXIS_NORMS.en;
    let is_failed = |record: &&Record| record.error().is_some();
    assert_eq!(records.iter().filter(is_failed).count(), 1);
    let mut failed_early = records.clone();
    // It failed before its rows were built, so its norm is unknown.
    failed_early
        .iter_mut()
        .find(|record| record.error().is_some())
        .unwrap()
        .prefix = None;
    let in_norms = page(&failed_early);
    assert!(in_norms.contains(norms) && !in_norms.contains(raw));

    // One that ran without a known norm: all are placed by their raw values.
    let mut mixed = records.clone();
    let without_norm = mixed
        .iter_mut()
        .rfind(|record| record.prefix.is_some() && record.error().is_none())
        .unwrap();
    without_norm.module.median_norm = None;
    without_norm.prefix.as_mut().unwrap().token_norms = None;
    let in_raw = page(&mixed);
    assert!(in_raw.contains(raw) && !in_raw.contains(norms));

    // And one whose magnitude is known in token norms only has no place there.
    let dots = |page: &str| page.matches("<circle").count();
    let only_norms = mixed.iter_mut().find(|record| record.prefix.is_some()).unwrap();
    let norms = only_norms.token_norms().unwrap();
    let in_norms = Magnitude::TokenNorms(norms);
    only_norms.case.recipe.as_mut().unwrap().magnitude = in_norms;
    only_norms.prefix.as_mut().unwrap().recipe.magnitude = in_norms;
    assert!(dots(&page(&mixed)) < dots(&in_raw));
}

#[test]
fn a_file_of_the_existing_script_becomes_an_experiment_with_the_prefixes_it_sent() {
    let text = r#"{"meta": {"host": "10.0.0.2", "port": 10001, "model": "m", "user_prompt": "q", "P": 1, "H": 896, "vals": [0.01]},
        "results": [{"name": "baseline", "has_prefix": false, "val": null, "out_text": "a", "H": 896, "elapsed_sec": 2.5},
                    {"name": "prefix_val_0.01", "has_prefix": true, "P": 1, "H": 896, "val": 0.01, "out_text": "b"}]}"#;
    let (experiment, records) = export::from_json(text.as_bytes(), "s").unwrap();
    assert_eq!(experiment.module.address, "10.0.0.2:10001");
    let prefix = records[1].prefix.as_ref().unwrap();
    assert_eq!(prefix.recipe.magnitude, Magnitude::Raw(0.01));
    // 896 values of 0x3C23, which is 0.01 truncated.
    let value = f64::from(half::bf16::from_bits(0x3C23).to_f32());
    assert!((prefix.row_norms[1] - 896_f64.sqrt() * value).abs() < 1e-6);
    assert_eq!(prefix.sha256.len(), 64);
    assert!(records[0].is_baseline() && records[0].elapsed_sec() == 2.5);
    assert_eq!(experiment.plan.unwrap().cases().unwrap().len(), 2, "as many as it has");
}

#[test]
fn what_version_1_saved_in_the_tune_view_opens_with_its_limit_its_sampling_and_its_proof() {
    let (experiment, records) = export::from_json(include_bytes!("fixtures/v1/compare.json"), "t").unwrap();
    assert!(experiment.plan.is_none(), "it is a session of tuning");
    assert_eq!(records.len(), 6);
    let settings = &records[0].settings;
    assert_eq!(settings.max_new_tokens, Some(12));
    assert_eq!(
        settings.sampling().unwrap(),
        Some(softprefix_core::protocol::Sampling::default())
    );
    for record in records.iter().filter(|record| !record.is_baseline()) {
        assert_eq!(record.applied(), Applied::Proven, "{}", record.case.name);
        assert_eq!(record.answer().unwrap().usage.as_ref().unwrap().completion_tokens, 12);
    }
    assert_eq!(
        (records[0].module.address.as_str(), records[0].module.window),
        ("embedded", Some(8192))
    );
    assert!(records[0].module.unit.is_some());
}

#[test]
fn what_version_1_exported_from_a_sweep_opens() {
    let (experiment, records) = export::from_json(include_bytes!("fixtures/v1/sweep.json"), "x").unwrap();
    assert_eq!(records.len(), experiment.plan.unwrap().cases().unwrap().len());
    assert!(records.iter().any(|record| record.scores.is_some()));
    let (_, records) = export::from_json(include_bytes!("fixtures/v1/sweep-results.json"), "x").unwrap();
    assert_eq!(records[0].settings.max_new_tokens, Some(10), "not 1");
    assert!(records.iter().all(|record| record.text().is_some()));
}

#[test]
fn a_setting_or_a_recipe_that_cannot_be_read_is_an_error_and_no_default() {
    let (experiment, records) = sweep();
    let file = export::to_results_file(&experiment, &records, 0).to_json().unwrap();
    let file: Value = serde_json::from_str(&file).unwrap();
    for (place, bad, key) in [
        ("/results/1/softprefix/recipe/rounding", json!("upwards"), "recipe"),
        ("/results/1/softprefix/finish_reason", json!(7), "results[1]"),
        (
            "/softprefix/settings",
            json!({"max_new_tokens": "many"}),
            "softprefix.settings",
        ),
        ("/softprefix/module/median_norm", json!("half"), "softprefix.module"),
        ("/softprefix/plan/repeats", json!(-1), "softprefix.plan"),
    ] {
        let mut edited = file.clone();
        *edited.pointer_mut(place).expect(place) = bad;
        let error = export::from_json(edited.to_string().as_bytes(), "x")
            .unwrap_err()
            .to_string();
        assert!(error.contains(key), "{place}: {error}");
    }
    let mut settings = common::plan().settings;
    assert_eq!(settings.sampling().unwrap(), None, "left to the module");
    settings.other.insert("enable_top_k_sampling".into(), true.into());
    assert!(settings.sampling().is_err(), "a top-k without its k");
}

#[test]
fn what_is_neither_is_refused_with_a_sentence() {
    let refusal = |text: &str| export::from_json(text.as_bytes(), "x").unwrap_err();
    assert!(refusal("").to_string().contains("not complete JSON (line 1, column 0)"));
    assert!(
        refusal("{}")
            .to_string()
            .contains("\"format\" is not \"softprefix-experiment\"")
    );
    assert!(matches!(
        refusal(r#"{"format":"softprefix-experiment","version":9}"#),
        ImportError::TooNew { found: 9 }
    ));
    assert!(
        refusal(r#"{"format":"softprefix-experiment"}"#)
            .to_string()
            .contains("\"version\" is missing")
    );
    for version in ["\"1\"", "1.0", "-1", "null"] {
        let message = refusal(&format!(r#"{{"format":"softprefix-experiment","version":{version}}}"#)).to_string();
        assert!(
            message.contains("\"version\" is not a whole number from 0 up"),
            "{message}"
        );
    }
    assert!(
        refusal(r#"{"format":"softprefix-experiment","version":1}"#)
            .to_string()
            .contains("missing field `experiment`")
    );
    assert!(refusal(r#"{"meta":{}}"#).to_string().contains("lacks \"results\""));
}

/// A plain reader of RFC 4180.
fn read_csv(text: &str) -> Vec<Vec<String>> {
    let (mut rows, mut row, mut cell, mut quoted) = (vec![], vec![], String::new(), false);
    let mut chars = text.trim_start_matches('\u{FEFF}').chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => cell.push(chars.next().unwrap()),
            '"' => quoted = !quoted,
            ',' if !quoted => row.push(std::mem::take(&mut cell)),
            '\r' if !quoted => {}
            '\n' if !quoted => {
                row.push(std::mem::take(&mut cell));
                rows.push(std::mem::take(&mut row));
            }
            c => cell.push(c),
        }
    }
    rows
}

#[test]
fn the_csv_has_a_line_for_each_record_with_any_text() {
    let (experiment, records) = sweep();
    let rows = read_csv(&export::to_csv(&records));
    assert_eq!(rows.len(), 13);
    assert!(rows.iter().all(|row| row.len() == rows[0].len()));
    let column = |name: &str| rows[0].iter().position(|head| head == name).unwrap();
    assert_eq!(rows[5 + 1][column("raw_value")], "0.01");
    assert_eq!(rows[5 + 1][column("text")], "はい、\"私\"は猫です。");
    assert_eq!(
        rows[6 + 1][column("text")],
        "'=1+1, 猫\n「二行目」",
        "no spreadsheet runs it"
    );
    assert_eq!(rows[1][column("chrf2")], "100");
    assert_eq!(rows[9][column("verdict")], "failed");
    assert!(rows[9][column("error")].starts_with("no answer"));
    for measure in Measure::ALL {
        column(measure.id());
    }
    assert_eq!(
        common::plan_of(&experiment).cases().unwrap()[2].name,
        rows[3][column("case")]
    );
}

#[test]
fn what_a_spreadsheet_takes_for_a_formula_is_text_also_in_full_width() {
    let (_, mut records) = sweep();
    for start in ["=", "+", "-", "@", "＝", "＋", "－", "＠", "\t", "\r", "\n"] {
        let text = format!("{start}HYPERLINK(1)");
        if let CaseOutcome::Done(answer) = &mut records[1].outcome {
            answer.text.clone_from(&text);
        }
        let rows = read_csv(&export::to_csv(&records));
        let column = rows[0].iter().position(|head| head == "text").unwrap();
        assert_eq!(rows[2][column], format!("'{text}"));
    }
}

#[test]
fn every_export_is_in_the_plans_order_whichever_case_ended_first() {
    let (experiment, records) = sweep();
    // As after a run that was killed: a late case ended early, the baseline came again in between.
    let mut ended: Vec<_> = records.clone();
    ended.reverse();
    ended.swap(1, 7);
    assert_eq!(export::to_csv(&ended), export::to_csv(&records));
    assert_eq!(
        export::to_json(&experiment, &ended).unwrap(),
        export::to_json(&experiment, &records).unwrap()
    );
    assert_eq!(
        export::to_llm_comparator(&experiment, &ended).unwrap(),
        export::to_llm_comparator(&experiment, &records).unwrap()
    );
    let page = |records| html::to_html(&experiment, records, &Language::English.into());
    assert_eq!(page(&ended), page(&records));
}

#[test]
fn llm_comparator_json_has_every_required_field() {
    let (experiment, records) = sweep();
    let value: Value = serde_json::from_str(&export::to_llm_comparator(&experiment, &records).unwrap()).unwrap();
    assert_eq!(value["models"].as_array().unwrap().len(), 2);
    let schema = value["metadata"]["custom_fields_schema"].as_array().unwrap();
    let examples = value["examples"].as_array().unwrap();
    assert_eq!(examples.len(), 9, "every prefixed case that succeeded");
    for example in examples {
        assert_eq!(example["output_text_a"], BASE);
        assert!(
            example["input_text"].is_string() && example["output_text_b"].is_string() && example["score"].is_number()
        );
        assert!(example["tags"].is_array() && example["individual_rater_scores"].is_array());
        for field in schema {
            assert!(
                example["custom_fields"].get(field["name"].as_str().unwrap()).is_some(),
                "{field}"
            );
        }
    }
}

#[test]
fn the_html_report_needs_nothing_from_outside_and_no_text_breaks_out() {
    let (mut experiment, mut records) = sweep();
    experiment.name = "<script>alert(1)</script>".into();
    if let CaseOutcome::Done(answer) = &mut records[5].outcome {
        answer.text = "</div><script>alert(2)</script>\u{0}".into();
    }
    for (language, word) in [(Language::English, "Deterministic"), (Language::Japanese, "決定的")] {
        let page = html::to_html(&experiment, &records, &language.into());
        assert!(page.contains(word));
        assert!(!page.contains("<script") && !page.contains("src=") && !page.contains("http-equiv=\"refresh"));
        assert_eq!(
            page.matches("http").count(),
            page.matches("http://www.w3.org/2000/svg").count() + page.matches("http-equiv").count()
        );
        assert_eq!(
            page.matches("class=\"chart\"").count(),
            9,
            "the map and eight plots, two of them about what was scored"
        );
        assert_eq!(page.matches("<section").count(), 12);
        assert!(page.contains("<del>") && page.contains("<ins>"));
        for tag in ["div", "section", "table", "dl", "svg", "ins", "del", "a", "p"] {
            let opened = page.matches(&format!("<{tag}>")).count() + page.matches(&format!("<{tag} ")).count();
            assert_eq!(opened, page.matches(&format!("</{tag}>")).count(), "{tag}");
        }
        if let Ok(folder) = std::env::var("SOFTPREFIX_TEST_KEEP") {
            std::fs::write(std::path::Path::new(&folder).join(format!("{language:?}.html")), &page).unwrap();
        }
    }
}

#[test]
fn an_experiment_without_any_record_exports_in_every_form() {
    let (experiment, _) = sweep();
    assert_eq!(
        export::from_json(export::to_json(&experiment, &[]).unwrap().as_bytes(), "x")
            .unwrap()
            .1,
        []
    );
    assert_eq!(read_csv(&export::to_csv(&[])).len(), 1);
    assert!(html::to_html(&experiment, &[], &Language::English.into()).contains("0 runs"));
    assert!(
        ResultsFile::from_json(
            export::to_results_file(&experiment, &[], 0)
                .to_json()
                .unwrap()
                .as_bytes()
        )
        .is_err()
    );
    serde_json::from_str::<Value>(&export::to_llm_comparator(&experiment, &[]).unwrap()).unwrap();
}

#[test]
fn names_become_file_names() {
    let (mut experiment, _) = sweep();
    for (name, stem) in [
        ("朝の実験 P=1/4", "朝の実験_P_1_4"),
        ("../../etc", "etc"),
        ("", "experiment"),
        ("...", "experiment"),
    ] {
        experiment.name = name.into();
        assert_eq!(export::file_stem(&experiment), stem);
    }
}

#[test]
fn scores_are_measures_like_others_and_leave_with_their_case_in_every_form() {
    let (experiment, records) = sweep();
    let analysis = Analysis::of(&records);
    let id = &records[5].id;
    let (_, point) = analysis.find(id).unwrap();
    let measures = point.measures.as_ref().unwrap();
    let scores = records[5].scores.as_ref().unwrap();
    assert_eq!(Measure::KlMean.value(measures), Some(scores.measures.kl_mean));
    assert_eq!(Measure::Perplexity.value(measures), Some(3.25));
    // A case that was not scored has none, and one that is scored later gets them then.
    let bare: Vec<Record> = records
        .iter()
        .cloned()
        .map(|record| Record { scores: None, ..record })
        .collect();
    let mut later = Analysis::of(&bare);
    assert_eq!(
        Measure::KlMean.value(later.find(id).unwrap().1.measures.as_ref().unwrap()),
        None
    );
    for record in records.iter().filter(|record| record.scores.is_some()) {
        later.add_scores(&record.id, record.scores.as_ref().unwrap());
    }
    assert_eq!(later, analysis);

    let rows = read_csv(&export::to_csv(&records));
    let column = |name: &str| rows[0].iter().position(|head| head == name).unwrap();
    assert_eq!(rows[6][column("kl_mean")], scores.measures.kl_mean.to_string());
    assert_eq!(rows[6][column("same_top")], "0.75");
    assert_eq!(rows[1][column("kl_mean")], "", "the baseline has no KL to itself");
    let file = export::to_results_file(&experiment, &records, 0);
    let (_, back) = export::from_json(file.to_json().unwrap().as_bytes(), "again").unwrap();
    let back = back
        .iter()
        .find(|record| record.case.name == records[5].case.name)
        .unwrap();
    // The baseline has another id there.
    let wanted = CaseScores {
        baseline: "again/0".to_owned(),
        ..(**records[5].scores.as_ref().unwrap()).clone()
    };
    assert_eq!(back.scores.as_deref(), Some(&wanted));
}

#[test]
fn the_report_calls_runs_and_prompts_as_people_do_and_states_all_that_the_texts_depend_on() {
    let (experiment, records) = two_prompts();
    let title_of = |prompt: &Prompt| prompt.user.contains("春").then(|| "Spring poem".to_owned());
    let page_in = |language| {
        let words = html::PageWords {
            language,
            title_of: &title_of,
            error_of: &|_| None,
        };
        html::to_html(&experiment, &records, &words)
    };
    let page = page_in(Language::English);
    for words in [
        "<h3>0.05×, P 1, constant, Spring poem ",
        "<h3>2×, P 4, constant, Write a &lt;short&gt; reply. ",
        "<h3>Baseline, Spring poem ",
        "1 of 2:</span> Spring poem</h2>",
        "2 of 2:</span> Write a &lt;short&gt; reply.</h2>",
        "<h2>All 2 prompts</h2>",
        "at most 64 tokens, top-k 10, temperature 0.8, seed 7",
        &"ab".repeat(32),
        "127.0.0.1:10001",
        "softprefix 0.1.0",
    ] {
        assert!(page.contains(words), "{words}");
    }
    let page = page_in(Language::Japanese);
    for words in [
        "<h3>0.05×、P 1、定数、Spring poem ",
        "最大 64 トークン、top-k 10、温度 0.8、シード 7",
    ] {
        assert!(page.contains(words), "{words}");
    }
    let (experiment, records) = sweep();
    let page = html::to_html(&experiment, &records, &Language::English.into());
    assert!(page.contains("<h3>0.01 raw, P 1, constant ") && !page.contains("1 of 1"));
}

#[test]
fn removed_words_are_blue_and_dashed_and_added_ones_orange_and_solid_as_on_screen() {
    let (experiment, records) = sweep();
    let page = html::to_html(&experiment, &records, &Language::English.into());
    assert!(page.contains("--gone-ink:#0b5cb8") && page.contains("border-bottom:2px dashed var(--gone-ink)"));
    assert!(page.contains("--new-ink:#d45b00") && page.contains("border-bottom:2px solid var(--new-ink)"));
    // Nothing else is in these colours.
    let rest = page.split("</style>").nth(1).unwrap();
    for colour in ["#0072b2", "#d55e00", "#0b5cb8", "#d45b00"] {
        assert!(!rest.contains(colour), "{colour}");
    }
}

#[test]
fn the_map_of_a_report_spreads_its_colours_over_what_is_there_and_writes_the_ends_of_the_scale() {
    let (experiment, records) = two_prompts();
    let page = html::to_html(&experiment, &records, &Language::English.into());
    let analysis = Analysis::of(&records);
    let farthest = analysis.groups[0]
        .points
        .iter()
        .filter_map(|point| point.measures.as_ref());
    let farthest = farthest.map(|measures| measures.chrf2).fold(100.0, f64::min);
    assert!(farthest < 20.0, "{farthest}");
    assert!(page.contains("near the baseline 100</text>"));
    assert!(page.contains(&format!(">{farthest:.0} far from it</text>")));
    // The nearest cell is all blue and the farthest all orange.
    assert!(page.contains("fill=\"#2f5e94\"><title>100</title>"));
    assert!(page.contains(&format!("fill=\"#a85a14\"><title>{farthest:.0}</title>")));
}

#[test]
fn over_several_prompts_a_measure_has_its_mean_and_its_spread_where_every_prompt_was_run() {
    let (_, mut records) = two_prompts();
    let spreads = |records: &[Record]| {
        let analysis = Analysis::of(records);
        let groups: Vec<&Group> = analysis.groups.iter().collect();
        let lines = over_prompts(&groups, Measure::Chrf2, |point| point.token_norms);
        let lines = lines.into_iter().map(|(series, spreads)| (series.recipe.len, spreads));
        lines.collect::<Vec<(usize, Vec<Spread>)>>()
    };
    let analysis = Analysis::of(&records);
    let at_two = |group: &Group| {
        let point = group
            .points
            .iter()
            .find(|point| point.token_norms == Some(2.0))
            .unwrap();
        point.measures.as_ref().unwrap().chrf2
    };
    let [low, high] = [at_two(&analysis.groups[0]), at_two(&analysis.groups[1])];
    assert!(low < high && high < 100.0);
    let lines = spreads(&records);
    assert_eq!(lines.iter().map(|(len, _)| *len).collect::<Vec<_>>(), [1, 4]);
    for (_, line) in &lines {
        assert_eq!(
            line.iter().map(|spread| spread.magnitude).collect::<Vec<_>>(),
            [0.0, 0.05, 2.0]
        );
        assert_eq!((line[0].mean, line[0].least, line[0].most), (100.0, 100.0, 100.0));
        assert_eq!((line[2].least, line[2].most), (low, high));
        assert!((line[2].mean - (low + high) / 2.0).abs() < 1e-9);
    }
    let groups: Vec<&Group> = analysis.groups.iter().collect();
    let elsewhere = |point: &Point| point.token_norms.filter(|norms| *norms > 0.0).map(|norms| 10.0 * norms);
    let lines = over_prompts(&groups, Measure::Chrf2, elsewhere);
    assert_eq!(
        lines[0].1.iter().map(|spread| spread.magnitude).collect::<Vec<_>>(),
        [0.5, 20.0],
        "points are where they are placed, and one without a place is left out"
    );
    // A magnitude that one prompt lacks is no mean of both, and one prompt has no mean at all.
    records.retain(|record| record.case.prompt == 0 || record.token_norms() != Some(0.05));
    assert_eq!(spreads(&records)[0].1.len(), 2);
    records.retain(|record| record.case.prompt == 0);
    assert_eq!(spreads(&records), []);
}

#[test]
fn the_csv_has_the_numbers_of_drafted_and_accepted_tokens() {
    let (_, mut records) = sweep();
    if let CaseOutcome::Done(answer) = &mut records[1].outcome {
        let usage = answer.usage.as_mut().unwrap();
        (usage.drafted, usage.accepted) = (40, 31);
    }
    let rows = read_csv(&export::to_csv(&records));
    let column = |name: &str| rows[0].iter().position(|head| head == name).unwrap();
    assert_eq!(
        (
            rows[2][column("drafted")].as_str(),
            rows[2][column("drafts_accepted")].as_str()
        ),
        ("40", "31")
    );
    assert_eq!(rows[1][column("drafted")], "0");
    assert_eq!(rows[9][column("drafted")], "", "a failed case counts nothing");
}

#[test]
fn learned_rows_are_named_with_what_they_were_learned_for_in_the_table_and_in_both_reports() {
    let (experiment, mut records) = sweep();
    let learned: Learned = serde_json::from_value(json!({
        "objective": "", "examples": 3, "preserved": 0, "data_sha256": "", "first_prompt": "Tell me\nsomething.",
        "first_target": "The sea knew his name.", "init": "target", "seed": 1, "steps_asked": 200, "step": 84, "loss": 0.1,
        "likelihood": 0.1, "matched": 5, "wanted": 6, "model": "tiny",
    }))
    .unwrap();
    for record in records.iter_mut().filter(|record| !record.is_baseline()) {
        let recipe = record.prefix.as_mut().map(|prefix| &mut prefix.recipe);
        for recipe in recipe.into_iter().chain(record.case.recipe.as_mut()) {
            recipe.kind = PrefixKind::Imported {
                name: "The sea".into(),
                sha256: "ab".repeat(32),
                origin: Origin::Learned(Box::new(learned.clone())),
            };
        }
    }
    let english =
        r#"learned to answer "Tell me something." with "The sea knew his name." and 2 more examples (abababab)"#;
    let rows = read_csv(&export::to_csv(&records));
    assert!(
        rows.iter().any(|row| row.iter().any(|cell| cell.starts_with(english))),
        "{rows:?}"
    );
    let report = |language: Language| {
        let html = html::to_html(&experiment, &records, &language.into());
        html.replace("&quot;", "\"").replace("&#34;", "\"")
    };
    assert!(report(Language::English).contains("learned to answer"));
    let japanese = "「Tell me something.」に「The sea knew his name.」と答えるよう学習、ほか 2 例（abababab）";
    assert!(report(Language::Japanese).contains(japanese));
}

#[test]
fn rows_that_were_found_are_named_by_who_found_them_in_the_table_and_in_both_reports() {
    for (by, english, japanese) in [
        (
            FoundBy::Person,
            r#"chosen near "spring" (generation 3, abababab)"#,
            "「spring」の近くから選択（第 3 世代、abababab）",
        ),
        (
            FoundBy::Objective,
            r#"found near "spring" by search (generation 3, abababab)"#,
            "「spring」の近くを探索（第 3 世代、abababab）",
        ),
    ] {
        let (experiment, mut records) = sweep();
        for record in records.iter_mut().filter(|record| !record.is_baseline()) {
            let recipe = record.prefix.as_mut().map(|prefix| &mut prefix.recipe);
            for recipe in recipe.into_iter().chain(record.case.recipe.as_mut()) {
                recipe.kind = PrefixKind::Imported {
                    name: "spring +3".into(),
                    sha256: "ab".repeat(32),
                    origin: Origin::Found(Box::new(SearchOrigin {
                        by,
                        near: "spring".into(),
                        generation: 3,
                        record: "search/12".into(),
                        model: "tiny".into(),
                    })),
                };
            }
        }
        let rows = read_csv(&export::to_csv(&records));
        let is_named = |row: &Vec<String>| row.iter().any(|cell| cell.starts_with(english));
        assert!(rows.iter().any(is_named), "{rows:?}");
        for (language, words) in [(Language::English, english), (Language::Japanese, japanese)] {
            let html = html::to_html(&experiment, &records, &language.into());
            let html = html.replace("&quot;", "\"").replace("&#34;", "\"");
            assert!(html.contains(words), "{words}");
        }
    }
}

#[test]
fn the_csv_has_every_setting_on_which_an_output_depends() {
    let (_, mut records) = two_prompts();
    // Case by case: sampled as it is planned, greedy in three ways, the module's own, and another program's.
    let greedy = Settings {
        max_token_len: Some(320),
        ..Settings::new(64, &Sampling::default())
    };
    let penalty = Sampling {
        repetition_penalty: Some((1.2, 50)),
        ..Sampling::default()
    };
    let cold = Sampling {
        temperature: Some(0.0),
        top_k: Some(10),
        ..Sampling::default()
    };
    let theirs = Settings {
        other: json!({"temperature": "hot"}).as_object().unwrap().clone(),
        ..Settings::default()
    };
    let nucleus = Sampling {
        top_p: Some(0.9),
        ..Sampling::default()
    };
    for (record, settings) in records.iter_mut().skip(1).zip([
        greedy,
        Settings::new(8, &penalty),
        Settings::new(8, &cold),
        Settings::default(),
        theirs,
        Settings::new(8, &nucleus),
    ]) {
        record.settings = settings;
    }
    records[2].module.address = "192.168.1.20:10001".into();
    records[2].module.model = "stock".into();
    records[2].module.model_sha256 = None;
    records[2].module.unit = None;
    records[3].written_by = "softprefix 0.2.0".into();
    let rows = read_csv(&export::to_csv(&records));
    let columns = [
        "user_prompt",
        "module",
        "model",
        "model_sha256",
        "unit",
        "written_by",
        "max_new_tokens",
        "max_token_len",
        "sampling",
        "temperature",
        "top_k",
        "top_p",
        "repetition_penalty",
        "seed",
    ];
    let places = columns.map(|name| rows[0].iter().position(|head| head == name).unwrap());
    let of = |id: &str| {
        let row = rows.iter().find(|row| row[0] == id).unwrap();
        places.map(|place| row[place].clone())
    };
    let digest = "ab".repeat(32);
    let here = [
        "127.0.0.1:10001",
        "qwen2.5-0.5B-prefill-20e",
        &digest,
        "softprefix-unit 0.1.0",
        "softprefix 0.1.0",
    ];
    let stock = ["192.168.1.20:10001", "stock", "", "", "softprefix 0.1.0"];
    let newer = [here[0], here[1], here[2], here[3], "softprefix 0.2.0"];
    let planned = ["64", "", "sampled", "0.8", "10", "", "", "7"];
    for (record, module, settings) in [
        (0, here, planned),
        (1, here, ["64", "320", "greedy", "", "", "", "", ""]),
        (2, stock, ["8", "", "greedy", "", "", "", "1.2 over 50 tokens", ""]),
        (3, newer, ["8", "", "greedy", "0", "10", "", "", ""]),
        (4, here, ["", "", "module", "", "", "", "", ""]),
        (5, here, ["", "", "", "", "", "", "", ""]),
        (6, here, ["8", "", "sampled", "", "", "0.9", "", ""]),
        (7, here, planned),
        (records.len() - 1, here, planned),
    ] {
        let record = &records[record];
        let wanted = [&[record.prompt.user.as_str()][..], &module, &settings].concat();
        assert_eq!(of(&record.id)[..], wanted[..], "{}", record.id);
    }
    let prompts: std::collections::BTreeSet<_> = records.iter().map(|record| &record.prompt.user).collect();
    assert_eq!(prompts.len(), 2);
}

#[test]
fn a_report_in_japanese_has_no_english_units_and_its_time_has_a_zone() {
    let experiments = [sweep(), two_prompts()];
    let pages = |language: Language| {
        let page = |(experiment, records): &(Experiment, Vec<Record>)| {
            let page = html::to_html(experiment, records, &language.into());
            page.split("</style>").nth(1).unwrap().to_owned()
        };
        experiments.iter().map(page).collect::<String>()
    };
    let (english, japanese) = (pages(Language::English), pages(Language::Japanese));
    for words in ["tokens/s", " nats ", "× token norm", "constant, P 1</text>"] {
        assert!(english.contains(words), "{words}");
    }
    for words in ["tokens/s", "nats", "token norm", "constant", " s</th>"] {
        assert!(!japanese.contains(words), "{words}");
    }
    for words in [
        "トークン/秒",
        "ノルム比",
        " nat ",
        "大きさ（ノルム比）",
        "定数、P 1</text>",
        ">反復</span>",
    ] {
        assert!(japanese.contains(words), "{words}");
    }
    let time = softprefix_core::time::local_with_zone(experiments[0].0.started_unix);
    let head = format!("<p class=\"soft\">{time}");
    assert!(
        time.contains(" (UTC") && english.contains(&head) && japanese.contains(&head),
        "{time}"
    );
}
