//! Local models: where they are found, their names, cards, and loading.
#![cfg(feature = "cpu")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Map, Value, json};
use softprefix_unit::engine::Logits;
use softprefix_unit::model::{LoadError, ModelSource};
use softprefix_unit::models::{MODULE_QWEN, ModelStore, Place, Places};
use softprefix_unit::testing::{TinyModel, qwen_model, small_model};

fn write(model: &TinyModel, path: &Path) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    model.write(path).unwrap();
}

/// A model with the card data of the module's Qwen.
fn qwen_shaped() -> TinyModel {
    TinyModel {
        hidden_size: 896,
        layers: 24,
        heads: 14,
        kv_heads: 2,
        feed_forward: 32,
        ..TinyModel::qwen2()
    }
}

fn modes(store: &ModelStore) -> Vec<String> {
    store
        .cards()
        .iter()
        .map(|card| card["mode"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn models_are_found_in_all_places_and_the_first_of_each_name_wins() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    write(&TinyModel::qwen2(), &at("named/Mine.gguf"));
    write(&TinyModel::qwen2(), &at("own/a.gguf"));
    write(&TinyModel::llama(), &at("own/b.GGUF"));
    write(&TinyModel::llama(), &at("other/a.gguf"));
    write(
        &TinyModel::llama(),
        &at("hub/models--Owner--Name/snapshots/0123/c.gguf"),
    );
    // None of these is a model: a truncated file, another file, an unfinished hub download.
    fs::write(at("own/d.gguf.0123456789abcdef.part"), "GGUF").unwrap();
    fs::write(at("own/notes.txt"), "").unwrap();
    write(
        &TinyModel::llama(),
        &at("hub/models--Owner--Name/blobs/4567.incomplete"),
    );

    let places = Places {
        others: vec![at("other"), at("missing")],
        hub_cache: Some(at("hub")),
        ..Places::only(at("own"))
    };
    let store = ModelStore::new(places.with_named(at("named/Mine.gguf")));
    assert_eq!(modes(&store), ["Mine", "a", "b", "c"]);
    assert_eq!(store.find("A.gguf").unwrap().path, at("own/a.gguf"));
    assert_eq!(store.find("B.GGUF").unwrap().path, at("own/b.GGUF"));
    assert_eq!(store.find("nothing").map(|model| model.name), None);
}

#[cfg(unix)]
#[test]
fn a_file_of_the_hugging_face_cache_is_found_through_its_link() {
    let folder = tempfile::tempdir().unwrap();
    let hub = folder.path().join("hub");
    let repository = hub.join("models--Qwen--Qwen2.5-0.5B-Instruct-GGUF");
    write(&qwen_shaped(), &repository.join("blobs/abc"));
    let link = repository.join("snapshots/0123/qwen2.5-0.5b-instruct-q4_k_m.gguf");
    fs::create_dir_all(link.parent().unwrap()).unwrap();
    std::os::unix::fs::symlink("../../blobs/abc", &link).unwrap();
    // A link without its target is not a model.
    std::os::unix::fs::symlink("../../blobs/gone", link.with_file_name("gone.gguf")).unwrap();

    let store = ModelStore::new(Places {
        hub_cache: Some(hub),
        ..Places::only(folder.path().join("own"))
    });
    let found = store.find("qwen").unwrap();
    assert_eq!((found.path, found.entry.unwrap().short_name), (link, "qwen"));
    assert_eq!(store.found().len(), 1);
}

#[test]
fn the_environment_sets_our_folder_and_the_hub_cache() {
    // Environment variables belong to the whole process, so a child process looks.
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_prints_places", "--nocapture"])
        .env("SOFTPREFIX_CHILD", "1")
        .env("SOFTPREFIX_MODEL_DIR", "/one")
        .env("HF_HUB_CACHE", "/two")
        .output()
        .unwrap();
    let output_text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output_text.contains(r#"own: "/one""#) && output_text.contains(r#"hub_cache: Some("/two")"#),
        "{output_text}"
    );
    assert!(
        output_text.contains("softprefix"),
        "the app's cache is looked into as well: {output_text}"
    );
}

#[test]
fn child_prints_places() {
    if std::env::var_os("SOFTPREFIX_CHILD").is_some() {
        println!("{:?}", Places::from_env());
    }
}

#[test]
fn a_card_contains_the_files_metadata() {
    let folder = tempfile::tempdir().unwrap();
    let model = TinyModel::qwen2();
    write(&model, &folder.path().join("tiny.gguf"));
    let store = ModelStore::new(Places::only(folder.path().to_owned()));
    let cards = store.cards();
    assert_eq!(cards.len(), 1);
    let card = &cards[0];
    assert_eq!((&card["mode"], &card["type"]), (&json!("tiny"), &json!("llm")));
    assert_eq!(card["capabilities"], json!(["text_generation", "chat"]));
    assert_eq!(
        card["mode_param"],
        json!({
            "tokenizer_type": 1, "axmodel_num": model.layers, "tokens_embed_num": model.vocab_size(),
            "tokens_embed_size": model.hidden_size, "max_token_len": model.window, "b_bos": false, "b_eos": false,
            "filename_model": "tiny.gguf",
        })
    );
    // The path on this machine must not be sent to clients.
    assert!(!card.to_string().contains(folder.path().to_str().unwrap()));
}

#[test]
fn the_first_qwen_of_the_catalogue_has_the_modules_name_as_an_alias() {
    let folder = tempfile::tempdir().unwrap();
    let own = folder.path();
    write(&TinyModel::qwen2(), &own.join("another-shape.gguf"));
    let store = ModelStore::new(Places::only(own.to_owned()));
    assert!(store.find(MODULE_QWEN).is_none());

    for (file, answers) in [
        ("finetuned.gguf", "finetuned"),
        ("qwen2.5-0.5b-instruct-q4_k_m.gguf", "qwen2.5-0.5b-instruct-q4_k_m"),
        ("a-third.gguf", "qwen2.5-0.5b-instruct-q4_k_m"),
    ] {
        write(&qwen_shaped(), &own.join(file));
        assert_eq!(store.find(MODULE_QWEN).unwrap().name, answers);
    }
    let cards = store.cards();
    let module = cards.last().unwrap();
    assert_eq!(module["mode"], MODULE_QWEN);
    assert_eq!(module["softprefix"]["alias_of"], "qwen2.5-0.5b-instruct-q4_k_m");
    assert_eq!(module["mode_param"]["tokens_embed_size"], 896);
    assert_eq!(module["mode_param"].get("max_token_len"), None);
    assert_eq!(cards.iter().filter(|card| card["mode"] == MODULE_QWEN).count(), 1);
}

/// An Ollama folder with one model under `HOST/OWNER/NAME/TAG`.
fn ollama(folder: &Path, tag: &str, layers: &[(&str, &str)], model: &TinyModel) {
    let layers: Vec<Value> = (layers.iter())
        .map(|(kind, digest)| json!({"mediaType": format!("application/vnd.ollama.image.{kind}"), "digest": format!("sha256:{digest}"), "size": 1}))
        .collect();
    let manifest = folder.join("manifests").join(tag);
    fs::create_dir_all(manifest.parent().unwrap()).unwrap();
    fs::write(manifest, json!({"schemaVersion": 2, "layers": layers}).to_string()).unwrap();
    write(model, &folder.join("blobs/sha256-0123abcd"));
}

#[test]
fn models_in_the_caches_of_other_programs_are_found_and_named_by_their_path() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    write(&TinyModel::qwen3(), &at("lm/Qwen/Qwen3-0.6B-GGUF/Qwen3-0.6B-Q8_0.gguf"));
    write(&TinyModel::llama(), &at("llama.cpp/ggml-org_tiny_tiny.gguf"));
    write(
        &TinyModel::llama(),
        &at("hub/models--Owner--Name/snapshots/0123/c.gguf"),
    );
    write(&TinyModel::llama(), &at("own/mine.gguf"));
    let model = [("model", "0123abcd"), ("template", "4567")];
    ollama(
        &at("ollama"),
        "registry.ollama.ai/library/qwen2.5/0.5b",
        &model,
        &TinyModel::qwen2(),
    );
    ollama(
        &at("ollama"),
        "registry.ollama.ai/someone/tuned/latest",
        &model,
        &TinyModel::qwen2(),
    );
    ollama(
        &at("ollama"),
        "hf.co/Owner/Name-GGUF/Q4_K_M",
        &model,
        &TinyModel::qwen2(),
    );
    // None of these: an adapter would be ignored, a file is missing, and a name leaves the folder.
    let adapted = [("model", "0123abcd"), ("adapter", "89ab")];
    ollama(
        &at("ollama"),
        "registry.ollama.ai/library/adapted/latest",
        &adapted,
        &TinyModel::qwen2(),
    );
    ollama(
        &at("ollama"),
        "registry.ollama.ai/library/gone/latest",
        &[("model", "ffff")],
        &TinyModel::qwen2(),
    );
    ollama(
        &at("ollama"),
        "registry.ollama.ai/library/out/latest",
        &[("model", "../../own/mine")],
        &TinyModel::qwen2(),
    );
    let places = Places {
        hub_cache: Some(at("hub")),
        lm_studio: vec![at("lm"), at("missing")],
        ollama: vec![at("ollama")],
        llama_cpp: Some(at("llama.cpp")),
        ..Places::only(at("own"))
    };
    let store = ModelStore::new(places);
    let found: Vec<(String, Place)> = store
        .found()
        .into_iter()
        .map(|model| (model.name, model.place))
        .collect();
    let expected = [
        ("mine", Place::Own),
        ("c", Place::HuggingFace),
        ("Qwen3-0.6B-Q8_0", Place::LmStudio),
        ("ggml-org_tiny_tiny", Place::LlamaCpp),
        ("hf.co/Owner/Name-GGUF:Q4_K_M", Place::Ollama),
        ("qwen2.5:0.5b", Place::Ollama),
        ("someone/tuned:latest", Place::Ollama),
    ];
    assert_eq!(found, expected.map(|(name, place)| (name.to_owned(), place)));
    assert!(store.found().iter().all(|model| model.info.is_ok()));
    store.load("qwen2.5:0.5b", &Map::new(), &|_, _| ()).unwrap();
}

#[test]
fn a_model_in_several_files_has_one_name_and_is_complete_or_names_the_missing_file() {
    let folder = tempfile::tempdir().unwrap();
    let part = |number: usize| format!("split-0000{number}-of-00003.gguf");
    let copy = |number: usize| {
        let from = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/fixtures/cases")
            .join(part(number));
        fs::copy(from, folder.path().join(part(number))).unwrap()
    };
    let store = ModelStore::new(Places::only(folder.path().to_owned()));
    let bytes = copy(1) + copy(3);
    let found = store.found();
    assert_eq!(found.len(), 1, "one model");
    let reason = found[0].info.as_ref().unwrap_err().to_string();
    assert!(reason.contains("missing: split-00002-of-00003.gguf"), "{reason}");
    assert_eq!(store.cards(), Vec::<Value>::new());
    let bytes = bytes + copy(2);
    assert_eq!(modes(&store), ["split"]);
    assert_eq!(store.find("split").unwrap().info.unwrap().bytes, bytes);
    assert_eq!(store.find(&part(1)).unwrap().name, "split");
    let model = store.load("split", &Map::new(), &|_, _| ()).unwrap();
    assert_eq!((model.digest, model.engine.info().hidden_size), (None, 64));
}

#[test]
fn a_usable_model_is_not_hidden_by_an_unusable_one_of_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::create_dir_all(at("own")).unwrap();
    fs::write(at("own/tiny.gguf"), "cut").unwrap();
    write(&TinyModel::qwen2(), &at("other/tiny.gguf"));
    let places = Places {
        others: vec![at("other")],
        ..Places::only(at("own"))
    };
    let store = ModelStore::new(places.clone());
    let found = store.found();
    assert_eq!(found.len(), 1);
    assert_eq!((&found[0].path, found[0].info.is_ok()), (&at("other/tiny.gguf"), true));
    assert!(store.load("tiny", &Map::new(), &|_, _| ()).is_ok());
    // A file that is named is the one that is loaded, and the error has what is wrong with it.
    let store = ModelStore::new(places.with_named(at("own/tiny.gguf")));
    let found = store.found();
    assert_eq!((&found[0].path, found[0].info.is_err()), (&at("own/tiny.gguf"), true));
}

#[test]
fn the_revision_that_a_hub_cache_names_as_main_comes_first_and_its_sub_folders_are_searched() {
    let folder = tempfile::tempdir().unwrap();
    let hub = folder.path().join("hub");
    let repository = hub.join("models--Owner--Name");
    for revision in ["0123", "9abc", "def0"] {
        write(
            &TinyModel::qwen2(),
            &repository.join(format!("snapshots/{revision}/m.gguf")),
        );
    }
    write(&TinyModel::llama(), &repository.join("snapshots/9abc/Q8_0/m-Q8_0.gguf"));
    fs::create_dir_all(repository.join("refs")).unwrap();
    fs::write(repository.join("refs/main"), "9abc\n").unwrap();
    let store = ModelStore::new(Places {
        hub_cache: Some(hub),
        ..Places::only(folder.path().join("own"))
    });
    let found = |name: &str| store.find(name).unwrap().path;
    assert_eq!(found("m"), repository.join("snapshots/9abc/m.gguf"));
    assert_eq!(found("m-Q8_0"), repository.join("snapshots/9abc/Q8_0/m-Q8_0.gguf"));
}

#[test]
fn a_model_in_several_files_is_looked_at_again_when_one_of_them_changes() {
    let folder = tempfile::tempdir().unwrap();
    let part = |number: usize| format!("split-0000{number}-of-00003.gguf");
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/cases");
    for number in [1, 2, 3] {
        fs::copy(cases.join(part(number)), folder.path().join(part(number))).unwrap();
    }
    let store = ModelStore::new(Places::only(folder.path().to_owned()));
    assert_eq!(modes(&store), ["split"]);
    fs::remove_file(folder.path().join(part(3))).unwrap();
    let reason = store.find("split").unwrap().info.unwrap_err().to_string();
    assert!(reason.contains("missing: split-00003-of-00003.gguf"), "{reason}");
    fs::write(folder.path().join(part(3)), "cut").unwrap();
    let reason = store.find("split").unwrap().info.unwrap_err().to_string();
    assert!(reason.contains("split-00003-of-00003.gguf"), "{reason}");
    fs::copy(cases.join(part(3)), folder.path().join(part(3))).unwrap();
    assert!(store.find("split").unwrap().info.is_ok());
}

fn load_error(store: &ModelStore, name: &str) -> LoadError {
    match store.load(name, &Map::new(), &|_, _| ()) {
        Ok(_) => panic!("{name} was loaded"),
        Err(error) => error,
    }
}

#[test]
fn files_that_cannot_be_run_have_no_card_and_a_reason_in_their_error() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let whole = TinyModel::qwen2().bytes();
    fs::write(at("short.gguf"), &whole[..whole.len() / 2]).unwrap();
    fs::write(at("text.gguf"), "this is no model").unwrap();
    fs::write(at("empty.gguf"), "").unwrap();
    write(
        &TinyModel {
            architecture: "mamba".into(),
            ..TinyModel::qwen2()
        },
        &at("mamba.gguf"),
    );
    let store = ModelStore::new(Places::only(folder.path().to_owned()));

    assert_eq!(store.cards(), Vec::<Value>::new());
    for (name, wanted) in [
        ("short", "it is truncated"),
        ("text", "it is not a GGUF file"),
        ("empty", "the file is empty"),
        ("mamba", "\"mamba\"; this engine runs"),
    ] {
        let message = load_error(&store, name).to_string();
        assert!(
            message.contains(wanted) && message.contains(at(&format!("{name}.gguf")).to_str().unwrap()),
            "{message}"
        );
        let found = store.found().into_iter().find(|model| model.name == name).unwrap();
        assert_eq!(found.info.unwrap_err().to_string(), message);
    }
    let message = load_error(&store, "gone").to_string();
    assert!(
        message.contains("no model named \"gone\"") && message.contains("softprefix models"),
        "{message}"
    );
}

#[test]
fn a_replaced_file_is_read_again() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("x.gguf");
    let store = ModelStore::new(Places::only(folder.path().to_owned()));
    fs::write(&file, "no model").unwrap();
    assert!(store.cards().is_empty());
    write(&TinyModel::qwen2(), &file);
    assert_eq!(modes(&store), ["x"]);
    fs::remove_file(&file).unwrap();
    assert!(store.cards().is_empty());
}

#[test]
fn a_refused_file_is_not_read_again_until_it_changes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.gguf");
    let sound = TinyModel::qwen2().bytes();
    let store = ModelStore::new(Places::only(folder.path().to_owned()));
    let started = std::time::SystemTime::now();
    let is_usable = |bytes: &[u8], seconds: u64| {
        fs::write(&path, bytes).unwrap();
        let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
        file.set_modified(started + std::time::Duration::from_secs(seconds))
            .unwrap();
        store.find("x").unwrap().info.is_ok()
    };
    assert!(!is_usable(&[b"GGUG", &sound[4..]].concat(), 1));
    assert!(!is_usable(&sound, 1), "of the same length and time");
    assert!(is_usable(&sound, 2));
}

#[test]
fn a_loaded_model_has_its_settings_its_digest_and_the_overrides_of_the_set_up() {
    let folder = tempfile::tempdir().unwrap();
    write(&qwen_shaped(), &folder.path().join("x.gguf"));
    let store = ModelStore::new(Places::only(folder.path().to_owned()));
    let overrides = json!({"tokens_embed_num": 7, "b_eos": true});
    let fractions = std::sync::Mutex::new(Vec::new());
    let model = store
        .load("X", overrides.as_object().unwrap(), &|fraction, _| {
            fractions.lock().unwrap().push(fraction)
        })
        .unwrap();

    assert_eq!(model.engine.info().hidden_size, 896);
    assert_eq!(model.tokenizer.vocab_size(), qwen_shaped().vocab_size());
    assert!(model.template.full_stop_after_system);
    assert_eq!(model.stop_tokens, model.tokenizer.stop_tokens());
    assert_eq!(model.settings["tokens_embed_num"], 7);
    assert_eq!(model.settings["b_eos"], true);
    assert_eq!(model.settings["tokens_embed_size"], 896);
    assert_eq!(model.digest, Some(store.sha256(&folder.path().join("x.gguf")).unwrap()));
    let fractions = fractions.into_inner().unwrap();
    assert_eq!((fractions.first(), fractions.last()), (Some(&0.0), Some(&1.0)));
    assert!(fractions.windows(2).all(|pair| pair[0] <= pair[1]), "{fractions:?}");

    let module = store.load(MODULE_QWEN, &Map::new(), &|_, _| ()).unwrap();
    assert_eq!(module.settings.get("max_token_len"), None);
}

/// Everything on a real model: it is found and loaded, and answers a question through template and tokenizer sensibly.
#[test]
fn the_small_model_answers_a_question() {
    let folder = tempfile::tempdir().unwrap();
    let store = ModelStore::new(Places::only(folder.path().to_owned()).with_named(small_model()));
    let mut model = store.load("small", &Map::new(), &|_, _| ()).unwrap();
    assert_eq!(
        model.digest.as_deref(),
        softprefix_unit::models::entry("small").unwrap().sha256
    );
    assert!(answer(&mut model, "What is the capital of France?").contains("Paris"));
}

#[test]
fn qwen_answers_a_question_under_the_modules_name() {
    let Some(path) = qwen_model() else { return };
    let folder = tempfile::tempdir().unwrap();
    let store = ModelStore::new(Places::only(folder.path().to_owned()).with_named(path));
    let mut model = store.load(MODULE_QWEN, &Map::new(), &|_, _| ()).unwrap();
    assert!(answer(&mut model, "What is the capital of France?").contains("Paris"));
}

/// Returns up to 16 greedy tokens.
fn answer(model: &mut softprefix_unit::model::LoadedModel, question: &str) -> String {
    let text = model.template.render("You are a helpful assistant", question).unwrap();
    let mut next = model
        .tokenizer
        .encode(&text, softprefix_unit::tokenizer::Special::Parse)
        .unwrap();
    let table = model.engine.embeddings();
    let sequence = model.engine.open(next.len() + 16).unwrap();
    let mut out = Vec::new();
    for _ in 0..16 {
        let rows = table.rows(&next).unwrap();
        let logits = model.engine.feed(sequence, &rows, Logits::Last).unwrap();
        let best = (0..logits.len())
            .max_by(|&a, &b| logits[a].total_cmp(&logits[b]))
            .unwrap() as u32;
        if model.stop_tokens.contains(&best) {
            break;
        }
        out.push(best);
        next = vec![best];
    }
    String::from_utf8_lossy(&model.tokenizer.decode(&out)).into_owned()
}
