//! `softprefix learn` as a script meets it: the file, the exit codes, the errors of invalid input, and what is left of a learning that was
//! cut off.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use softprefix_core::prefix::{Rounding, SoftPrefix, files};
use softprefix_unit::testing::small_model;

use crate::hardship::stock_module;
use crate::shell::{program, rows_in, stderr, writing};
use crate::support::{serve, tasks_at, tiny_model, wait_for};

fn learn(folder: &Path, module: SocketAddr, more: &[&str]) -> Output {
    writing("found.safetensors", "learn", folder, module, more)
}

const ONE: [&str; 4] = ["--prompt", "Tell me something.", "--target", "the land"];

/// Forwards everything until the unit has reported the step; then closes the connection.
pub fn cut_off_after(module: SocketAddr, step: usize) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let (client, _) = listener.accept().unwrap();
        let mut unit = TcpStream::connect(module).unwrap();
        let (mut from, mut to) = (client.try_clone().unwrap(), unit.try_clone().unwrap());
        std::thread::spawn(move || std::io::copy(&mut from, &mut to));
        let (mut client, mut seen, mut buffer) = (client, Vec::new(), [0; 4096]);
        let wanted = format!("\"step\":{step},\"steps\":");
        loop {
            let count = unit.read(&mut buffer).unwrap_or(0);
            seen.extend_from_slice(&buffer[..count]);
            if count == 0 || String::from_utf8_lossy(&seen).contains(&wanted) {
                break;
            }
            client.write_all(&buffer[..count]).unwrap();
        }
        let _ = client.shutdown(std::net::Shutdown::Both);
        let _ = unit.shutdown(std::net::Shutdown::Both);
    });
    address
}

#[test]
fn learned_rows_are_a_file_with_their_recipe_that_other_commands_take() {
    let folder = tempfile::tempdir().unwrap();
    let module = serve(tiny_model());
    let arguments = [&ONE[..], &["--len", "3", "--steps", "6", "--seed", "7", "--lr", "0.5"]].concat();
    let done = learn(folder.path(), module, &arguments);
    // A tiny random model reaches no target in six steps: that is reported, and the best rows are there.
    assert_eq!(done.status.code(), Some(3), "{}", stderr(&done));
    let printed = String::from_utf8_lossy(&done.stdout).into_owned();
    assert!(
        printed.contains("not the target yet") && printed.contains("the model says"),
        "{printed}"
    );
    let rows = rows_in(folder.path(), "found.safetensors");
    assert_eq!((rows.len(), rows.hidden_size()), (3, 64));
    assert!(printed.contains(&rows.sha256()), "{printed}");
    let bytes = std::fs::read(folder.path().join("found.safetensors")).unwrap();
    let header = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header: Value = serde_json::from_slice(&bytes[8..8 + header]).unwrap();
    let recipe: Value = serde_json::from_str(header["__metadata__"]["softprefix"].as_str().unwrap()).unwrap();
    assert_eq!(
        (&recipe["kind"], &recipe["seed"], &recipe["steps_asked"]),
        (&"learned".into(), &7.into(), &6.into())
    );
    for digest in ["data_sha256", "model_sha256"] {
        assert_eq!(recipe[digest].as_str().unwrap().len(), 64, "{recipe}");
    }
    assert!(recipe["loss"].is_number() && recipe["settings"]["norms"].is_array());
    let imported = files::import(&folder.path().join("found.safetensors"), Some(64), Rounding::default()).unwrap();
    assert_eq!(imported.recipe().kind.learned().unwrap().first_target, "the land");

    let again = tempfile::tempdir().unwrap();
    learn(again.path(), module, &arguments);
    assert_eq!(
        rows_in(again.path(), "found.safetensors"),
        rows,
        "the same seed gives the same rows"
    );

    let file = folder.path().join("found.safetensors").to_string_lossy().into_owned();
    let results = folder.path().join("results.json").to_string_lossy().into_owned();
    let address = module.to_string();
    let compare = [
        "compare",
        "--module",
        &address,
        "--prompt",
        "Why?",
        "--max-tokens",
        "4",
        "--baselines",
        "1",
    ];
    let done = program(
        &folder.path().join("state"),
        &[&compare[..], &["--prefix-file", &file, "--out", &results]].concat(),
    )
    .output()
    .unwrap();
    assert_eq!(done.status.code(), Some(0), "{}", stderr(&done));
    let read: Value = serde_json::from_slice(&std::fs::read(&results).unwrap()).unwrap();
    assert_eq!(read["results"][1]["softprefix"]["sha256"], rows.sha256());
    // And it can be continued.
    let done = learn(
        folder.path(),
        module,
        &[&ONE[..], &["--init", "file", "--from", &file, "--steps", "2"]].concat(),
    );
    assert!(stderr(&done).contains("at first"), "{}", stderr(&done));
    assert_eq!(rows_in(folder.path(), "found.safetensors").len(), 3);
}

#[test]
fn invalid_input_is_reported_before_learning_starts() {
    let folder = tempfile::tempdir().unwrap();
    let module = serve(tiny_model());
    let path = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_string_lossy().into_owned()
    };
    let good = "{\"prompt\": \"a\", \"target\": \"b\"}\n";
    let broken = path("broken.jsonl", &format!("{good}what\n{good}{{\"prompt\": 1}}\n"));
    let long = "land ".repeat(3000);
    let narrow = folder.path().join("narrow.npy");
    files::export_npy(
        &SoftPrefix::from_f32(32, &[0.1; 64], Rounding::default()).unwrap(),
        &narrow,
    )
    .unwrap();
    let narrow = narrow.to_string_lossy().into_owned();
    for (more, code, sentence) in [
        (
            vec!["--prompt", "a", "--target", " "],
            2,
            "Example 1 has an empty prompt or target",
        ),
        (vec!["--examples", &*broken], 4, "lines 2, 4 cannot be used"),
        (vec!["--prompt", "a", "--target", &*long], 3, "Example 1:"),
        (
            vec!["--prompt", "a", "--target", "b", "--init", "file", "--from", &*narrow],
            4,
            "hidden size of 32",
        ),
        (vec!["--prompt", "a", "--target", "b", "--steps", "0"], 2, "--steps"),
        (vec!["--prompt", "a", "--target", "b", "--lr", "-1"], 2, "above 0"),
        (vec!["--prompt", "a"], 2, "--target"),
    ] {
        let done = learn(folder.path(), module, &more);
        let printed = stderr(&done);
        assert!(
            done.status.code() == Some(code) && printed.contains(sentence),
            "{printed}"
        );
        assert!(!folder.path().join("found.safetensors").exists(), "{sentence}");
    }
    let done = learn(folder.path(), stock_module(module), &ONE);
    assert!(
        done.status.code() == Some(3) && stderr(&done).contains("cannot do \"learn\""),
        "{}",
        stderr(&done)
    );
    let unwritable = learn(&folder.path().join("nowhere"), module, &ONE);
    assert!(
        unwritable.status.code() == Some(4) && stderr(&unwritable).contains("cannot be written"),
        "{}",
        stderr(&unwritable)
    );
}

#[test]
fn the_best_rows_so_far_are_on_disk_when_the_unit_disappears() {
    let folder = tempfile::tempdir().unwrap();
    let module = cut_off_after(serve(tiny_model()), 5);
    let done = learn(
        folder.path(),
        module,
        &[&ONE[..], &["--steps", "5000", "--lr", "0.2"]].concat(),
    );
    let printed = stderr(&done);
    assert!(
        done.status.code() == Some(3) && printed.contains("The best rows so far are in"),
        "{printed}"
    );
    assert_eq!(rows_in(folder.path(), "found.safetensors").len(), 8);
}

#[cfg(unix)]
#[test]
fn where_no_rows_can_be_written_learning_ends_with_4_and_the_reason_and_no_task_is_left() {
    let folder = tempfile::tempdir().unwrap();
    let module = serve(tiny_model());
    let (module_name, out) = (module.to_string(), folder.path().join("found.safetensors"));
    let out = out.to_string_lossy();
    let args = ["learn", "--module", &module_name, "--out", &out];
    let learn = program(&folder.path().join("state"), &[&args[..], &ONE].concat());
    // Like a full disk, the system then refuses every byte that is written to a file.
    let done = Command::new("sh")
        .args(["-c", "trap '' XFSZ; ulimit -f 0; exec \"$@\"", "sh"])
        .arg(learn.get_program())
        .args(learn.get_args())
        .envs(learn.get_envs().filter_map(|(name, value)| Some((name, value?))))
        .output()
        .unwrap();
    let printed = stderr(&done);
    assert_eq!(done.status.code(), Some(4), "{printed}");
    assert!(
        printed.contains("found.safetensors") && printed.contains("os error 27"),
        "{printed}"
    );
    let left = std::fs::read_dir(folder.path()).unwrap();
    let mut left = left.map(|file| file.unwrap().file_name());
    assert!(left.all(|name| name == "state"), "nothing is left of the file");
    assert_eq!(tasks_at(module), [] as [String; 0]);
}

#[test]
fn learning_that_reaches_the_target_exits_with_0_and_its_rows_reproduce_it() {
    let folder = tempfile::tempdir().unwrap();
    let module = serve(small_model());
    let target = "The red lantern swings.";
    let done = learn(
        folder.path(),
        module,
        &["--prompt", "Tell me something.", "--target", target],
    );
    let printed = String::from_utf8_lossy(&done.stdout).into_owned();
    assert_eq!(done.status.code(), Some(0), "{printed}{}", stderr(&done));
    assert!(
        printed.ends_with(&format!("with them the model says: {target}\n")),
        "{printed}"
    );
    assert!(!printed.contains("not the target yet"), "{printed}");
    assert_eq!(tasks_at(module), [] as [String; 0]);
}

#[cfg(unix)]
#[test]
fn interrupted_learning_exits_with_130_and_leaves_its_best_rows_and_no_task() {
    let folder = tempfile::tempdir().unwrap();
    let module = serve(tiny_model());
    // Ten thousand steps of sixty-four long examples take hours, and rows that do not move reach no target.
    let examples = folder.path().join("examples.jsonl");
    let line = format!(
        "{{\"prompt\": \"Tell me something.\", \"target\": \"{}\"}}\n",
        "the land ".repeat(40)
    );
    std::fs::write(&examples, line.repeat(64)).unwrap();
    let (module_name, examples) = (module.to_string(), examples.to_string_lossy().into_owned());
    let out = folder.path().join("found.safetensors");
    let out_name = out.to_string_lossy().into_owned();
    let args = [
        &[
            "learn",
            "--module",
            &module_name,
            "--out",
            &out_name,
            "--examples",
            &examples,
        ][..],
        &["--steps", "10000", "--batch", "64", "--lr", "1e-9"],
    ]
    .concat();
    let running = program(&folder.path().join("state"), &args)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Whether the file can be written is tried first, and leaves nothing.
    wait_for("the rows", || out.metadata().is_ok_and(|file| file.len() > 0));
    let sent = Command::new("kill").args(["-INT", &running.id().to_string()]).status();
    assert!(sent.unwrap().success());
    let done = running.wait_with_output().unwrap();
    assert_eq!(done.status.code(), Some(130), "{}", stderr(&done));
    let printed = String::from_utf8_lossy(&done.stdout).into_owned();
    assert!(
        printed.contains(&rows_in(folder.path(), "found.safetensors").sha256()),
        "{printed}"
    );
    assert!(
        stderr(&done).contains("the best rows so far are in"),
        "{}",
        stderr(&done)
    );
    assert_eq!(tasks_at(module), [] as [String; 0]);
}
