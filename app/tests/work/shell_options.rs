//! Options of the shell's commands: each test fails where its option is ignored.

use std::path::Path;
use std::process::Output;

use serde_json::Value;
use softprefix_core::experiment::journal::JOURNAL_VERSION;
use softprefix_core::experiment::{Entry, Experiment, Journal, ModuleIdentity, Record, SavedExperiment};
use softprefix_core::prefix::{PrefixKind, Rounding, files};

use crate::shell::{code, experiments, left_behind, program, stderr, stdout};
use crate::support::{serve, tasks_at, tiny_model};

/// Runs the program with the history of `folder`.
fn run(folder: &Path, args: &[&str]) -> Output {
    program(&folder.join("state"), args).output().unwrap()
}

/// The results file of a comparison at one magnitude.
fn compared(folder: &Path, module: &str, more: &[&str]) -> Value {
    let out = folder.join("results.json").to_string_lossy().into_owned();
    let usual = ["compare", "--module", module, "--prompt", "Why?", "--out", &out];
    let done = run(folder, &[&usual[..], more].concat());
    assert_eq!(code(&done), 0, "{more:?}: {}", stderr(&done));
    serde_json::from_slice(&std::fs::read(out).unwrap()).unwrap()
}

fn names(results: &Value) -> Vec<String> {
    let results = results["results"].as_array().unwrap();
    results
        .iter()
        .map(|entry| entry["name"].as_str().unwrap().to_owned())
        .collect()
}

/// What a sweep with these arguments leaves in a history of its own, and what it prints.
fn swept(module: &str, more: &[&str]) -> (SavedExperiment, String) {
    let folder = tempfile::tempdir().unwrap();
    let done = run(folder.path(), &[&["sweep", "--module", module], more].concat());
    assert_eq!(code(&done), 0, "{more:?}: {}", stderr(&done));
    let saved = experiments(&folder.path().join("state")).remove(0);
    (saved, stdout(&done))
}

const SHORT: [&str; 4] = ["--values", "0.5", "--max-tokens", "4"];
const WHY: [&str; 2] = ["--prompt", "Why?"];

fn cases(saved: &SavedExperiment) -> Vec<&Record> {
    saved.records.iter().filter(|record| !record.is_baseline()).collect()
}

fn longest(saved: &SavedExperiment) -> usize {
    let tokens = |record: &Record| record.tokens().map_or(0, <[u32]>::len);
    saved.records.iter().map(tokens).max().unwrap()
}

#[test]
fn compare_takes_the_position_of_a_blend_the_system_prompt_and_raw_values() {
    let folder = tempfile::tempdir().unwrap();
    let module = serve(tiny_model()).to_string();
    let short = ["--baselines", "1", "--max-tokens", "4"];
    let with = |more: &[&str]| compared(folder.path(), &module, &[&short[..], more].concat());
    let at = |t: &str| {
        let results = with(&["--blend", "sea", "sky", "--len", "3", "--t", t]);
        results["results"][1]["softprefix"].clone()
    };
    assert_eq!(at("0.25")["recipe"]["kind"]["t"], 0.25);
    assert_ne!(at("0.25")["sha256"], at("0.75")["sha256"]);

    let plain = with(&["--values", "0.5"]);
    let pirate = with(&["--values", "0.5", "--system", "Answer like a pirate."]);
    assert_eq!(pirate["meta"]["system_prompt"], "Answer like a pirate.");
    assert_ne!(pirate["results"][0]["out_text"], plain["results"][0]["out_text"]);

    // Rows of words are sent as they are, or at the usual raw values.
    assert_eq!(names(&with(&["--words", "sea"])), ["baseline", "prefix_as_is"]);
    let raw = names(&with(&["--words", "sea", "--raw"]));
    assert!(
        raw.len() > 3 && raw[1..].iter().all(|name| name.starts_with("prefix_val_")),
        "{raw:?}"
    );
}

#[test]
fn compare_and_sweep_take_the_usual_values_of_their_unit_where_none_are_given() {
    let folder = tempfile::tempdir().unwrap();
    let module = serve(tiny_model()).to_string();
    for (unit, last) in [(&[][..], "prefix_val_2.0"), (&["--token-norms"], "prefix_norm_12.0")] {
        let more = [&["--max-tokens", "1"], unit].concat();
        let mut of_compare = names(&compared(folder.path(), &module, &more));
        of_compare.retain(|name| name.starts_with("prefix"));
        let saved = swept(&module, &[&WHY[..], &["--no-kl"], &more].concat()).0;
        let mut of_sweep = cases(&saved);
        of_sweep.sort_by_key(|record| record.case.index);
        let of_sweep: Vec<&String> = of_sweep.into_iter().map(|record| &record.case.name).collect();
        assert_eq!(of_compare.iter().collect::<Vec<_>>(), of_sweep);
        assert_eq!(of_compare.last().unwrap(), last);
    }
}

#[test]
fn the_limit_of_tokens_holds_in_compare_and_sweep() {
    let module = serve(tiny_model()).to_string();
    for limit in [3, 7] {
        let tokens = limit.to_string();
        let limited = ["--values", "0.5", "--max-tokens", &tokens];
        assert_eq!(longest(&swept(&module, &[&WHY[..], &limited].concat()).0), limit);
        let folder = tempfile::tempdir().unwrap();
        compared(folder.path(), &module, &limited);
        assert_eq!(longest(&experiments(&folder.path().join("state"))[0]), limit);
    }
}

#[test]
fn sweep_makes_every_kind_of_prefix_from_its_arguments() {
    let folder = tempfile::tempdir().unwrap();
    let module = serve(tiny_model()).to_string();
    let rows: Vec<f32> = (0..128).map(|place| (place % 13) as f32 / 100.0).collect();
    let rows = softprefix_core::prefix::SoftPrefix::from_f32(64, &rows, Rounding::NearestEven).unwrap();
    files::export_peft(&rows, &folder.path().join("adapter"), None, None).unwrap();
    let adapter = folder.path().join("adapter").to_string_lossy().into_owned();
    for (more, kind) in [
        (vec!["--kind", "uniform", "--seed", "3"], "random_uniform"),
        (vec!["--kind", "normal", "--generator", "python"], "random_normal"),
        (vec!["--words", "sea"], "words"),
        (vec!["--blend", "sea", "sky", "--t", "0.25"], "blend"),
        (vec!["--contrast", "sea", "sky"], "contrast"),
        (vec!["--kind", "sampled"], "sampled_vocabulary"),
        (vec!["--prefix-file", &adapter], "imported"),
    ] {
        let (saved, _) = swept(&module, &[&WHY[..], &SHORT, &more].concat());
        let recipe = cases(&saved)[0].case.recipe.as_ref().unwrap();
        let made = serde_json::to_value(recipe).unwrap();
        assert_eq!(made["kind"]["type"], kind, "{made}");
        match kind {
            "random_uniform" => assert_eq!(made["kind"]["seed"], 3),
            "random_normal" => assert_eq!(made["kind"]["generator"], "python.random"),
            "blend" => assert_eq!(made["kind"]["t"], 0.25),
            _ => {}
        }
    }
    let shaped = ["--len", "3", "--envelope", "1,0.5,0", "--rounding", "truncate"];
    let (saved, _) = swept(&module, &[&WHY[..], &SHORT, &shaped].concat());
    let recipe = cases(&saved)[0].case.recipe.clone().unwrap();
    assert!(matches!(recipe.kind, PrefixKind::Shaped { .. }));
    assert_eq!(recipe.rounding, Rounding::Truncate);
}

#[test]
fn sweep_takes_token_norms_several_prompts_a_system_prompt_and_baselines() {
    let module = serve(tiny_model()).to_string();
    let more = [
        "--token-norms",
        "--system",
        "Be brief.",
        "--prompt",
        "And how?",
        "--baselines",
        "3",
    ];
    let (saved, printed) = swept(&module, &[&WHY[..], &SHORT, &more].concat());
    assert!(saved.records.iter().all(|record| record.prompt.system == "Be brief."));
    for prompt in ["Why?", "And how?"] {
        let of = |record: &&Record| record.prompt.user == prompt;
        assert_eq!(saved.records.iter().filter(of).count(), 4 + 1, "{prompt}");
        assert_eq!(cases(&saved).into_iter().filter(of).count(), 1, "{prompt}");
        assert!(printed.contains(prompt), "{printed}");
    }
    assert_eq!(printed.matches("prefix_norm_0.5").count(), 2, "{printed}");
}

#[test]
fn sweep_scores_its_cases_by_default_and_writes_a_file_for_llm_comparator() {
    let folder = tempfile::tempdir().unwrap();
    let module = serve(tiny_model()).to_string();
    let usual = [&WHY[..], &SHORT].concat();
    let scored = |saved: &SavedExperiment| saved.records.iter().filter(|record| record.scores.is_some()).count();
    assert_eq!(scored(&swept(&module, &usual).0), 1);
    let file = folder.path().join("comparator.json").to_string_lossy().into_owned();
    let more = ["--no-kl", "--llm-comparator", &file];
    assert_eq!(scored(&swept(&module, &[&usual[..], &more].concat()).0), 0);
    let file: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    assert_eq!(file["models"].as_array().unwrap().len(), 2);
    assert!(!file["examples"].as_array().unwrap().is_empty());
}

#[test]
fn sweep_and_learn_run_a_model_file_in_the_embedded_unit_where_no_module_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let model = tiny_model().to_string_lossy().into_owned();
    let usual = [&["sweep", "--model", &model], &WHY[..], &SHORT].concat();
    let done = run(folder.path(), &usual);
    assert_eq!(code(&done), 0, "{}", stderr(&done));
    let saved = experiments(&folder.path().join("state")).remove(0);
    assert_eq!(saved.experiment.module.model, "tiny");

    let out = folder.path().join("found.safetensors").to_string_lossy().into_owned();
    let args = [
        "learn", "--model", &model, "--prompt", "a", "--target", "b", "--steps", "2", "--out", &out,
    ];
    let done = run(folder.path(), &args);
    assert!(matches!(code(&done), 0 | 3), "{}", stderr(&done));
    assert!(Path::new(&out).exists());
}

/// The output of learning with these arguments, and the recipe in its file.
fn learned(module: &str, more: &[&str]) -> (Output, Value) {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("found.safetensors");
    let file = out.to_string_lossy().into_owned();
    let usual = ["learn", "--module", module, "--out", &file, "--len", "2"];
    let done = run(folder.path(), &[&usual[..], more].concat());
    assert!(matches!(code(&done), 0 | 3), "{more:?}: {}", stderr(&done));
    let bytes = std::fs::read(&out).unwrap();
    let header = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header: Value = serde_json::from_slice(&bytes[8..8 + header]).unwrap();
    let recipe = header["__metadata__"]["softprefix"].as_str().unwrap();
    (done, serde_json::from_str(recipe).unwrap())
}

const LAND: [&str; 4] = ["--prompt", "Tell me.", "--target", "the land"];

#[test]
fn learn_takes_examples_in_batches_and_prompts_whose_answers_stay() {
    let folder = tempfile::tempdir().unwrap();
    let module = serve(tiny_model()).to_string();
    let examples = folder.path().join("examples.jsonl");
    let pair = |prompt: &str| format!("{{\"prompt\": \"{prompt}\", \"target\": \"the sea\"}}\n");
    std::fs::write(&examples, ["one", "two", "three"].map(pair).concat()).unwrap();
    let examples = examples.to_string_lossy().into_owned();
    let (_, recipe) = learned(&module, &["--examples", &examples, "--batch", "1", "--steps", "3"]);
    assert_eq!(
        (&recipe["examples"], &recipe["settings"]["batch"]),
        (&3.into(), &1.into()),
        "{recipe}"
    );
    let (_, both) = learned(
        &module,
        &[&LAND[..], &["--examples", &examples, "--steps", "1"]].concat(),
    );
    assert_eq!(both["examples"], 4);

    let preserved = folder.path().join("preserved.txt");
    std::fs::write(&preserved, "What is the sky?\nWho are you?\n").unwrap();
    let preserved = preserved.to_string_lossy().into_owned();
    let keep = |weight: &str| {
        let more = ["--preserve", &preserved, "--preserve-weight", weight, "--steps", "3"];
        learned(&module, &[&LAND[..], &more].concat())
    };
    let (done, recipe) = keep("0.5");
    assert_eq!(recipe["preserved"], 2, "{recipe}");
    assert!(stdout(&done).contains("KL"), "{}", stdout(&done));
    assert_ne!(keep("20").1["rows_sha256"], recipe["rows_sha256"]);
}

#[test]
fn learn_takes_the_initial_rows_the_rate_the_system_prompt_and_the_limit_of_norms() {
    let module = serve(tiny_model()).to_string();
    let with = |more: &[&str]| learned(&module, &[&LAND[..], &["--steps", "1"], more].concat()).1;
    let words = with(&["--init", "words", "--words", "the sea"]);
    let random = |seed: &str| with(&["--init", "random", "--seed", seed]);
    assert_eq!(words["init"]["words"], "the sea", "{words}");
    assert_eq!(random("1")["init"], "random");
    assert_ne!(random("1")["rows_sha256"], random("2")["rows_sha256"]);
    assert_eq!(with(&["--lr", "0.25"])["settings"]["lr"], 0.25);
    let plain = with(&[]);
    let brief = with(&["--system", "Be brief."]);
    assert_ne!(plain["loss"], brief["loss"]);
    let limited = with(&["--norm-limit", "0.5"]);
    assert_ne!(limited["settings"]["norms"], plain["settings"]["norms"], "{limited}");
    let free = with(&["--norm-limit", "off"]);
    assert_eq!(
        (&limited["norm_limit"]["token_norms"], &free["norm_limit"]),
        (&0.5.into(), &"off".into()),
        "{free}"
    );
}

#[test]
fn learn_exits_left_over_tasks_only_with_the_option() {
    let folder = tempfile::tempdir().unwrap();
    let address = serve(tiny_model());
    let module = address.to_string();
    let _taken = left_behind(address);
    let out = folder.path().join("found.safetensors").to_string_lossy().into_owned();
    let usual = ["learn", "--module", &module, "--out", &out, "--steps", "1"];
    let refused = run(folder.path(), &[&usual[..], &LAND].concat());
    assert_eq!(code(&refused), 3, "{}", stderr(&refused));
    assert!(stderr(&refused).contains("--exit-tasks"), "{}", stderr(&refused));
    assert_eq!(tasks_at(address).len(), 2);
    let done = run(folder.path(), &[&usual[..], &LAND, &["--exit-tasks"]].concat());
    assert!(Path::new(&out).exists(), "{}", stderr(&done));
}

#[test]
fn report_of_a_file_with_several_experiments_is_a_list() {
    let folder = tempfile::tempdir().unwrap();
    let module = serve(tiny_model()).to_string();
    let journal = folder.path().join("own.journal").to_string_lossy().into_owned();
    for prompt in ["Why?", "How?"] {
        let usual = ["sweep", "--module", &module, "--prompt", prompt, "--journal", &journal];
        let done = run(folder.path(), &[&usual[..], &SHORT].concat());
        assert_eq!(code(&done), 0, "{}", stderr(&done));
    }
    let report = run(folder.path(), &["report", &journal, "--json"]);
    let list: Value = serde_json::from_slice(&report.stdout).unwrap();
    assert_eq!(list.as_array().map(Vec::len), Some(2), "{list}");
    let table = stdout(&run(folder.path(), &["report", &journal]));
    assert!(table.contains("Why?") && table.contains("How?"), "{table}");
}

#[test]
fn a_file_whose_only_experiment_is_deleted_or_not_the_one_that_was_chosen_is_explained() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("own.journal");
    let (journal, csv) = (path.to_string_lossy().into_owned(), folder.path().join("a.csv"));
    let csv = csv.to_string_lossy().into_owned();
    let experiment = Experiment {
        version: JOURNAL_VERSION,
        id: "e".to_owned(),
        name: "Spring".to_owned(),
        started_unix: 1_795_406_700.0,
        plan: None,
        module: ModuleIdentity::default(),
    };
    let (mut open, ..) = Journal::open(&path).unwrap();
    open.append(&Entry::Started(Box::new(experiment))).unwrap();
    let other = run(folder.path(), &["export", &journal, "--csv", &csv, "--experiment", "2"]);
    assert_eq!(code(&other), 2, "{}", stderr(&other));
    assert!(
        stderr(&other).contains("There is no experiment 2"),
        "{}",
        stderr(&other)
    );
    assert!(stderr(&other).contains("--experiment: 1 Spring"), "{}", stderr(&other));

    open.append(&Entry::Deleted { id: "e".to_owned() }).unwrap();
    drop(open);
    for arguments in [
        &["report", &journal][..],
        &["report", &journal, "--json"],
        &["export", &journal, "--csv", &csv],
    ] {
        let done = run(folder.path(), arguments);
        assert_eq!((code(&done), stdout(&done).as_str()), (4, ""), "{}", stderr(&done));
        assert!(stderr(&done).contains("were deleted"), "{}", stderr(&done));
    }
}

#[test]
fn models_are_listed_as_here_unusable_or_to_fetch() {
    let folder = tempfile::tempdir().unwrap();
    let models = folder.path().join("models");
    std::fs::create_dir(&models).unwrap();
    std::fs::copy(tiny_model(), models.join("good.gguf")).unwrap();
    std::fs::write(models.join("broken.gguf"), b"GGUF\x03\0\0\0").unwrap();
    let is_named_freely = cfg!(unix);
    if is_named_freely {
        std::fs::write(models.join("two\nlines\tand\x1b[2J.gguf"), b"GGUF\x03\0\0\0").unwrap();
    }
    for args in [&["models"][..], &["models", "list"]] {
        let mut command = program(&folder.path().join("state"), args);
        let done = command
            .env("SOFTPREFIX_MODEL_DIR", &models)
            .env("HOME", folder.path())
            .env("XDG_CACHE_HOME", folder.path().join("cache"))
            .env_remove("HF_HOME")
            .env_remove("HF_HUB_CACHE")
            .output()
            .unwrap();
        let table = stdout(&done);
        let line = |name: &str| {
            table
                .lines()
                .find(|line| line.contains(name))
                .unwrap_or_default()
                .to_owned()
        };
        assert!(line("good").contains("here"), "{table}");
        assert!(line("broken").contains("unusable"), "{table}");
        let escaped = line(r"two\nlines\tand\u{1b}[2J ");
        assert!(!is_named_freely || escaped.contains("unusable"), "{table}");
        assert!(!table.lines().any(|line| line.starts_with("lines")), "{table}");
        assert!(line("qwen2.5-0.5b-instruct").contains("to download"), "{table}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn without_a_folder_of_ones_own_files_lie_where_the_system_keeps_them() {
    let folder = tempfile::tempdir().unwrap();
    let module = serve(tiny_model()).to_string();
    let done = program(
        folder.path(),
        &[&["sweep", "--module", &module], &WHY[..], &SHORT].concat(),
    )
    .env_remove("SOFTPREFIX_STATE_DIR")
    .env_remove("XDG_DATA_HOME")
    .env("HOME", folder.path())
    .output()
    .unwrap();
    assert_eq!(code(&done), 0, "{}", stderr(&done));
    assert_eq!(experiments(&folder.path().join(".local/share/softprefix")).len(), 1);
}
