//! Every kind of prefix by hand and in a sweep, files in and out, and what a prefix is: workbench and bridge against a real unit.

use std::fs;
use std::path::{Path, PathBuf};

use softprefix::messages::Event;
use softprefix::model::{
    Bilingual, Envelope, ExportForm, KindChoice, MagnitudeUnit, Nearest, Refusal, Remembered, Unavailable,
};
use softprefix::workbench::sweep::{Stage, SweepUnavailable};
use softprefix::workbench::{Action, Dialog, MaterialAction, Notice, SweepAction};
use softprefix_core::experiment::Applied;
use softprefix_core::experiment::analysis::Proof;
use softprefix_core::prefix::{Generator, PrefixKind, Rounding, SoftPrefix, files};

use crate::hardship::stock_module;
use crate::support::{Harness, at, points, serve, tiny_model};

/// The width of the tiny model's rows.
const H: usize = 64;

fn material(harness: &mut Harness, action: MaterialAction) {
    harness.apply(Action::Material(action));
}

fn sweep(harness: &mut Harness, action: SweepAction) {
    harness.apply(Action::Sweep(action));
}

/// Three rows of small numbers that differ from row to row.
fn rows(width: usize) -> SoftPrefix {
    let values: Vec<f32> = (0..3 * width)
        .map(|place| ((place * 7919) % 97) as f32 / 970.0 - 0.05)
        .collect();
    SoftPrefix::from_f32(width, &values, Rounding::NearestEven).unwrap()
}

fn adapter(folder: &Path, width: usize) -> PathBuf {
    let place = folder.join(format!("adapter-{width}"));
    files::export_peft(&rows(width), &place, Some("tiny"), None).unwrap();
    place
}

fn import(harness: &mut Harness, path: PathBuf) {
    material(harness, MaterialAction::Import(path));
    harness.until("the file", |workbench| {
        workbench.prefix.imported.is_some() || matches!(workbench.notice, Some(Notice::Refused(_)))
    });
}

/// A unit, a prefix store, and a file that was imported.
fn ready(folder: &Path) -> Harness {
    let mut harness = Harness::new();
    make_ready(&mut harness, folder);
    harness
}

fn make_ready(harness: &mut Harness, folder: &Path) {
    harness.use_prefix_store(&folder.join("prefixes"));
    harness.connect(at(serve(tiny_model())));
    harness.apply(Action::SetMaxTokens(4));
    harness.apply(Action::SetLen(2));
    import(harness, adapter(folder, H));
}

#[test]
fn every_kind_of_prefix_runs_and_the_unit_confirms_its_summary() {
    let folder = tempfile::tempdir().unwrap();
    let mut harness = ready(folder.path());
    material(&mut harness, MaterialAction::SetGenerator(Generator::PythonRandom));
    material(&mut harness, MaterialAction::SetEnvelope(Envelope::FadeOut));
    for kind in KindChoice::ALL {
        harness.apply(Action::SetKind(kind));
        harness.apply(Action::SetUnscaled(true));
        harness.run();
        assert_eq!(harness.applied(), Applied::Proven, "{kind:?}");
        let sent = harness.current().0.prefix.clone().unwrap();
        assert_eq!(KindChoice::of(&sent.recipe.kind), Some(kind));
        assert_eq!(sent.recipe.kind.envelope(), Some(&[1.0, 0.0][..]), "{kind:?}");
        harness.until("the summary", |workbench| !workbench.next_prefix.stale);
        let built = harness.workbench.next_prefix.built.clone().unwrap().unwrap();
        assert_eq!(built.sha256, sent.sha256, "{kind:?}");
        assert!(
            built.row_norms[2] > 0.0 && built.row_norms[0] == 0.0,
            "{kind:?}: the second row fades to nothing"
        );
    }
    assert_eq!(points(&harness.workbench), KindChoice::ALL.len());
}

fn sweep_through(harness: &mut Harness) {
    sweep(harness, SweepAction::Start);
    harness.until("the sweep", |workbench| {
        workbench.sweep.is_busy() || matches!(workbench.sweep.stage, Stage::Ended(_))
    });
    harness.until("its end", |workbench| matches!(workbench.sweep.stage, Stage::Ended(_)));
}

#[test]
fn every_kind_of_prefix_runs_in_a_sweep_and_single_rows_go_without_the_envelope() {
    let folder = tempfile::tempdir().unwrap();
    let mut harness = ready(folder.path());
    sweep(&mut harness, SweepAction::SetLengths(vec![1, 3]));
    sweep(&mut harness, SweepAction::SetMagnitudes("0, 2".to_owned()));
    material(&mut harness, MaterialAction::SetEnvelope(Envelope::OnlyFirst));
    for kind in KindChoice::ALL {
        harness.apply(Action::SetKind(kind));
        sweep_through(&mut harness);
        let records: Vec<_> = harness.workbench.sweep.records().cloned().collect();
        assert_eq!(records.len(), 2 + 4, "{kind:?}");
        for record in &records {
            assert_eq!(record.error(), None, "{kind:?} {}", record.case.name);
            if let Some(recipe) = &record.case.recipe {
                assert_eq!(KindChoice::of(&recipe.kind), Some(kind));
                let envelope = (recipe.len == 3).then_some(&[1.0, 0.0, 0.0][..]);
                assert_eq!(recipe.kind.envelope(), envelope, "{kind:?} P = {}", recipe.len);
            }
        }
        assert_eq!(harness.workbench.sweep.groups().next().unwrap().proof(), Proof::Echoed);
        // The fields can be taken from what was run.
        let id = harness.workbench.sweep.experiment().unwrap().experiment.id.clone();
        harness.until("its line in the history", |workbench| {
            workbench.library.get(&id).is_some()
        });
        harness.apply(Action::SetKind(KindChoice::Constant));
        sweep(&mut harness, SweepAction::CloneSettings(id));
        assert_eq!(harness.workbench.prefix.kind, kind);
        assert_eq!(harness.workbench.prefix.envelope, Envelope::OnlyFirst);
        assert_eq!(harness.workbench.sweep.form.lengths, [1, 3]);
    }
}

#[test]
fn an_imported_adapter_is_swept_and_its_sweep_is_run_again_after_the_file_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let library = folder.path().join("experiments");
    let mut harness = Harness::in_library(&library);
    make_ready(&mut harness, folder.path());
    let file = harness.workbench.prefix.imported.clone().unwrap();
    assert_eq!(file.sha256, rows(H).sha256());
    sweep(&mut harness, SweepAction::SetLengths(vec![3]));
    sweep(&mut harness, SweepAction::SetUnit(MagnitudeUnit::Raw));
    sweep(&mut harness, SweepAction::SetMagnitudes("1".to_owned()));
    sweep_through(&mut harness);
    let sent = |harness: &Harness| {
        let records = harness.workbench.sweep.records();
        let sent: Vec<_> = records
            .filter_map(|record| Some(record.prefix.as_ref()?.sha256.clone()))
            .collect();
        sent
    };
    assert_eq!(
        sent(&harness),
        std::slice::from_ref(&file.sha256),
        "at a factor of 1 the rows are the file's"
    );
    drop(harness);

    fs::remove_dir_all(folder.path().join(format!("adapter-{H}"))).unwrap();
    let mut later = Harness::in_library(&library).with_prefix_store(&folder.path().join("prefixes"));
    later.connect(at(serve(tiny_model())));
    let id = later.workbench.library.experiments[0].experiment.id.clone();
    sweep(&mut later, SweepAction::RunAgain(id));
    later.until("its end", |workbench| matches!(workbench.sweep.stage, Stage::Ended(_)));
    assert_eq!(sent(&later), std::slice::from_ref(&file.sha256));
    assert_eq!(later.workbench.prefix.imported.as_ref().unwrap().sha256, file.sha256);
}

#[test]
fn rows_missing_from_the_store_are_reported() {
    let folder = tempfile::tempdir().unwrap();
    let here = ready(folder.path());
    let mut elsewhere = Harness::new().with_prefix_store(&folder.path().join("another store"));
    elsewhere.workbench.prefix = here.workbench.prefix.clone();
    elsewhere.connect(at(serve(tiny_model())));
    elsewhere.until("the reason", |workbench| {
        matches!(workbench.next_prefix.built, Some(Err(_)))
    });
    let Some(Err(problem)) = &elsewhere.workbench.next_prefix.built else {
        unreachable!()
    };
    assert!(problem.to_string().contains("Import the file again"), "{problem}");
}

#[test]
fn live_mode_runs_again_when_the_blend_moves() {
    let folder = tempfile::tempdir().unwrap();
    let mut harness = ready(folder.path());
    harness.apply(Action::SetKind(KindChoice::Blend));
    harness.apply(Action::SetLive(true));
    harness.until("the first run", |workbench| {
        points(workbench) > 0 && !workbench.is_running()
    });
    material(&mut harness, MaterialAction::SetBlend(0.25));
    harness.until("the second run", |workbench| {
        let last = workbench
            .tuning
            .points()
            .next_back()
            .and_then(|(record, _)| record.case.recipe.clone());
        matches!(last.map(|recipe| recipe.kind), Some(PrefixKind::Blend { t, .. }) if t == 0.25)
    });
}

#[test]
fn files_that_are_no_prefix_for_this_model_are_refused_with_the_reason_and_change_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| folder.path().join(name);
    let tuned = adapter(folder.path(), 2 * 4 * H);
    let config = tuned.join("adapter_config.json");
    fs::write(
        &config,
        fs::read_to_string(&config)
            .unwrap()
            .replace("PROMPT_TUNING", "PREFIX_TUNING"),
    )
    .unwrap();
    fs::write(place("weights.pt"), b"\x80\x02}q\x00.").unwrap();
    fs::write(place("notes.npy"), b"not an array").unwrap();
    fs::write(place("empty.safetensors"), b"").unwrap();
    let poisoned: Vec<u8> = {
        files::export_npy(&rows(H), &place("fine.npy")).unwrap();
        let mut bytes = fs::read(place("fine.npy")).unwrap();
        let last = bytes.len() - 4;
        bytes[last..].copy_from_slice(&f32::NAN.to_le_bytes());
        bytes
    };
    fs::write(place("poisoned.npy"), poisoned).unwrap();

    let mut harness = Harness::new().with_prefix_store(&place("prefixes"));
    harness.connect(at(serve(tiny_model())));
    for (path, why, words) in [
        (adapter(folder.path(), 80), Refusal::OtherWidth, "hidden size of 80"),
        (tuned, Refusal::PrefixTuning, "PREFIX_TUNING"),
        (place("weights.pt"), Refusal::Pickle, "weights.pt is a Python pickle"),
        (place("notes.npy"), Refusal::NoPrefix, "notes.npy"),
        (place("empty.safetensors"), Refusal::NoPrefix, "empty.safetensors"),
        (place("poisoned.npy"), Refusal::BadValues, "NaN"),
        (place("missing.npy"), Refusal::Unreadable, "missing.npy"),
    ] {
        let before = harness.workbench.prefix.clone();
        harness.workbench.notice = None;
        import(&mut harness, path);
        let Some(Notice::Refused(refused)) = &harness.workbench.notice else {
            panic!("{:?}", harness.workbench.notice);
        };
        let Bilingual { en, ja } = &refused.sentence;
        assert_eq!(refused.why, why, "{en}");
        assert!(en.contains(words), "{en}");
        let folders = folder.path().to_string_lossy();
        for sentence in [en, ja] {
            assert!(!sentence.contains(&*folders), "only the name: {sentence}");
        }
        assert_eq!(harness.workbench.prefix, before);
    }
    assert!(!place("prefixes").exists(), "nothing was kept");
}

#[test]
fn an_exported_prefix_is_imported_bit_for_bit() {
    let folder = tempfile::tempdir().unwrap();
    let mut harness = ready(folder.path());
    harness.apply(Action::SetKind(KindChoice::RandomNormal));
    harness.apply(Action::SetLen(5));
    harness.apply(Action::SetMagnitude(3.0));
    harness.until("the summary", |workbench| {
        !workbench.next_prefix.stale && matches!(&workbench.next_prefix.built, Some(Ok(built)) if built.len == 5)
    });
    let sent = harness.workbench.next_prefix.built.clone().unwrap().unwrap().sha256;
    for (form, name) in [(ExportForm::Peft, "mine"), (ExportForm::Npy, "mine.npy")] {
        harness.apply(Action::SetKind(KindChoice::RandomNormal));
        harness.until("the summary", |workbench| !workbench.next_prefix.stale);
        harness.workbench.notice = None;
        material(&mut harness, MaterialAction::Export(form));
        let question = harness.question();
        let path = folder.path().join(name);
        let answer = Some(path.clone());
        harness
            .bridge
            .await_answer(async move { Event::Chosen { question, path: answer } });
        harness.until("the file", |workbench| {
            matches!(workbench.notice, Some(Notice::Saved(_)))
        });

        harness.workbench.prefix.imported = None;
        import(&mut harness, path);
        let file = harness.workbench.prefix.imported.clone().unwrap();
        assert_eq!(file.sha256, sent, "{name}");
        let about = file.about.unwrap();
        assert_eq!((about.rows, about.hidden_size, about.exact), (5, H, true));
        harness.until("the summary of the file", |workbench| {
            matches!(&workbench.next_prefix.built, Some(Ok(built)) if built.sha256 == sent)
                && !workbench.next_prefix.stale
        });
        assert_eq!(harness.workbench.prefix.len, 5);
    }
}

#[test]
fn the_sheet_shows_norms_digest_and_neighbours_without_blocking() {
    let folder = tempfile::tempdir().unwrap();
    let mut harness = ready(folder.path());
    harness.apply(Action::SetKind(KindChoice::Words));
    harness.apply(Action::SetWords("ab".to_owned()));
    harness.apply(Action::SetUnscaled(true));
    harness.apply(Action::SetLen(2));
    harness.apply(Action::ShowDialog(Dialog::Identity));
    assert_eq!(harness.workbench.dialog, Some(Dialog::Identity), "open at once");
    assert_eq!(harness.workbench.sheet.as_ref().unwrap().summary, None);
    harness.until("the neighbours", |workbench| {
        workbench
            .sheet
            .as_ref()
            .is_some_and(|sheet| sheet.nearest != Nearest::Pending)
    });
    let sheet = harness.workbench.sheet.clone().unwrap();
    let summary = sheet.summary.unwrap().unwrap();
    assert_eq!((summary.len, summary.hidden_size, summary.norms.len()), (2, H, 2));
    assert!(summary.token_norm.is_some());
    harness.until("the summary", |workbench| !workbench.next_prefix.stale);
    assert_eq!(
        summary.sha256,
        harness.workbench.next_prefix.built.clone().unwrap().unwrap().sha256
    );
    let Nearest::Known(found) = sheet.nearest else {
        panic!("{:?}", sheet.nearest);
    };
    assert_eq!(found.len(), 2);
    for (row, word) in found.iter().zip(["a", "b"]) {
        assert_eq!(row[0].text, word);
        assert!(row[0].cosine > 0.999 && !row[0].is_doubtful());
        assert!(row.len() > 1);
    }
}

#[test]
fn a_stock_module_gives_the_rows_of_a_token_but_no_neighbours() {
    let mut harness = Harness::new();
    harness.connect(at(stock_module(serve(tiny_model()))));
    harness.apply(Action::ShowDialog(Dialog::Identity));
    harness.until("the sheet", |workbench| {
        workbench
            .sheet
            .as_ref()
            .is_some_and(|sheet| sheet.nearest != Nearest::Pending)
    });
    let sheet = harness.workbench.sheet.clone().unwrap();
    assert_eq!(sheet.nearest, Nearest::Unsupported);
    assert_eq!(sheet.summary.unwrap().unwrap().token_norm, None);

    harness.apply(Action::SetKind(KindChoice::Sampled));
    harness.until("the reason", |workbench| {
        matches!(workbench.next_prefix.built, Some(Err(_)))
    });
    let Some(Err(problem)) = &harness.workbench.next_prefix.built else {
        unreachable!()
    };
    assert!(problem.remedy.en.contains("softprefix-unit"), "{problem}");
}

#[test]
fn run_is_disabled_by_missing_material_which_is_named() {
    let mut harness = Harness::new();
    harness.connect(at(serve(tiny_model())));
    harness.apply(Action::SetKind(KindChoice::Imported));
    assert_eq!(harness.workbench.why_not_run(), Some(Unavailable::NoPrefixFile));
    assert_eq!(harness.workbench.why_not_sweep(), Some(SweepUnavailable::NoMaterial));
    harness.apply(Action::SetKind(KindChoice::Contrast));
    assert_eq!(harness.workbench.why_not_run(), None);
    material(&mut harness, MaterialAction::SetContrastMinus("喜び".to_owned()));
    assert_eq!(harness.workbench.why_not_run(), Some(Unavailable::SameTexts));
    material(&mut harness, MaterialAction::SetContrastMinus(String::new()));
    assert_eq!(harness.workbench.why_not_run(), Some(Unavailable::NoWords));
    harness.apply(Action::SetKind(KindChoice::Blend));
    material(&mut harness, MaterialAction::SetBlendTo(String::new()));
    assert_eq!(harness.workbench.why_not_run(), Some(Unavailable::NoWords));
}

#[test]
fn the_material_of_prefixes_is_restored_at_the_next_start() {
    #[derive(Default)]
    struct Memory(std::collections::HashMap<String, String>);
    impl eframe::Storage for Memory {
        fn get_string(&self, key: &str) -> Option<String> {
            self.0.get(key).cloned()
        }
        fn set_string(&mut self, key: &str, value: String) {
            self.0.insert(key.to_owned(), value);
        }
        fn remove_string(&mut self, key: &str) {
            self.0.remove(key);
        }
        fn flush(&mut self) {}
    }
    let folder = tempfile::tempdir().unwrap();
    let mut harness = ready(folder.path());
    for generator in [Generator::SplitMix64V1, Generator::PythonRandom] {
        for envelope in [Envelope::OnlyFirst, Envelope::Drawn(vec![0.2, 1.0, 0.4])] {
            material(&mut harness, MaterialAction::SetGenerator(generator));
            material(&mut harness, MaterialAction::SetEnvelope(envelope));
            let mut memory = Memory::default();
            let remembered = harness.workbench.remembered();
            eframe::set_value(&mut memory, Remembered::KEY, &remembered);
            assert_eq!(
                eframe::get_value::<Remembered>(&memory, Remembered::KEY),
                Some(remembered)
            );
        }
    }
}

#[test]
fn a_file_that_is_named_at_the_start_waits_until_the_width_of_the_rows_is_known() {
    let folder = tempfile::tempdir().unwrap();
    for (width, imported) in [(H, true), (80, false)] {
        let mut harness = Harness::new().with_prefix_store(&folder.path().join("prefixes"));
        harness.apply(Action::Connect(at(serve(tiny_model()))));
        import(&mut harness, adapter(folder.path(), width));
        assert!(harness.workbench.module.is_ready());
        assert_eq!(harness.workbench.prefix.imported.is_some(), imported);
        if !imported {
            let refused = matches!(&harness.workbench.notice, Some(Notice::Refused(refused)) if refused.why == Refusal::OtherWidth);
            assert!(refused, "{:?}", harness.workbench.notice);
        }
    }
    // Where no module comes, the file is read all the same.
    let mut harness = Harness::new().with_prefix_store(&folder.path().join("prefixes"));
    harness.apply(Action::Connect(at(crate::support::closed_port())));
    import(&mut harness, adapter(folder.path(), H));
    assert!(harness.workbench.prefix.imported.is_some());
}
