//! Missing runtime libraries, functions and dependencies: each is named with a remedy, and nothing has been started.

use std::path::{Path, PathBuf};

use softprefix_unit::engine::axera::{Runtime, RuntimeError};

use crate::world::World;

/// A folder with copies of the stand-in in which a name is changed.
struct Libraries {
    folder: tempfile::TempDir,
    whole: Vec<u8>,
}

impl Libraries {
    fn of(world: &World) -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            whole: std::fs::read(world.root.path().join("lib/libax_sys.so")).unwrap(),
        }
    }

    /// Writes `file` with the last letter of `name` changed wherever it occurs; returns whether it occurs.
    fn put(&self, file: &str, name: Option<&str>) -> bool {
        let mut bytes = self.whole.clone();
        let mut found = false;
        if let Some(name) = name {
            let name = [b"\0", name.as_bytes(), b"\0"].concat();
            for at in 0..bytes.len() - name.len() {
                if bytes[at..].starts_with(&name) {
                    bytes[at + name.len() - 2] = b'%';
                    found = true;
                }
            }
        }
        // A new file each time, because the loader identifies files by inode.
        let path = self.folder.path().join(file);
        let _ = std::fs::remove_file(&path);
        std::fs::write(&path, bytes).unwrap();
        found
    }

    fn open(&self) -> Result<(), RuntimeError> {
        Runtime::open(&self.places()).map(|_| ())
    }

    fn places(&self) -> Vec<PathBuf> {
        vec![Path::new("/nonexistent").to_owned(), self.folder.path().to_owned()]
    }
}

#[test]
fn a_library_that_is_in_no_folder_is_named_with_the_searched_folders() {
    let world = World::new();
    let libraries = Libraries::of(&world);
    for (present, absent) in [(None, "libax_sys.so"), (Some("libax_sys.so"), "libax_engine.so")] {
        if let Some(file) = present {
            libraries.put(file, None);
        }
        let error = libraries.open().unwrap_err();
        let RuntimeError::NotFound { library, searched } = &error else {
            panic!("{error:?}")
        };
        assert_eq!(library, absent);
        for place in libraries.places() {
            assert!(searched.contains(&place.display().to_string()), "{searched}");
        }
        assert!(error.to_string().contains("SOFTPREFIX_AX_LIB_DIR"), "{error}");
    }
}

#[test]
fn a_library_without_a_required_function_is_named_with_it() {
    let world = World::new();
    let libraries = Libraries::of(&world);
    let of =
        |prefix: &str, names: &str| -> Vec<String> { names.split(' ').map(|name| format!("{prefix}{name}")).collect() };
    let sys = of(
        "AX_SYS_",
        "Init Deinit MemAlloc MemAllocCached MemFree MinvalidateCache",
    );
    let engine = of(
        "AX_ENGINE_",
        "Init Deinit GetVersion CreateHandle DestroyHandle CreateContext CreateContextV2 GetGroupIOInfoCount GetGroupIOInfo \
         RunSync RunGroupIOSync",
    );
    for (file, other, names) in [
        ("libax_sys.so", "libax_engine.so", sys),
        ("libax_engine.so", "libax_sys.so", engine),
    ] {
        for name in names {
            libraries.put(other, None);
            assert!(libraries.put(file, Some(&name)), "the stand-in has {name}");
            let expected = RuntimeError::NoSymbol {
                library: file.to_owned(),
                symbol: name,
            };
            assert_eq!(libraries.open().unwrap_err(), expected);
        }
    }
}

#[test]
fn a_missing_dependency_of_a_library_is_named() {
    let world = World::new();
    let libraries = Libraries::of(&world);
    libraries.put("libax_sys.so", None);
    assert!(libraries.put("libax_engine.so", Some("libc.so.6")));
    let error = libraries.open().unwrap_err();
    let missing = RuntimeError::MissingDependency {
        library: "libax_engine.so".into(),
        missing: "libc.so.%".into(),
    };
    assert_eq!(error, missing);
    assert!(error.to_string().contains("ldconfig"), "{error}");

    // A function that the library itself calls and nothing defines.
    assert!(libraries.put("libax_engine.so", Some("memcpy")));
    let error = libraries.open().unwrap_err();
    assert!(
        matches!(&error, RuntimeError::Unloadable { library, detail } if library == "libax_engine.so" && detail.contains("memcp%")),
        "{error:?}"
    );
}

/// On some modules the loader does not search the interpreter's folder, although it is next to the engine.
#[cfg(target_os = "linux")]
#[test]
fn the_interpreter_next_to_the_engine_is_found() {
    if std::env::var_os("SOFTPREFIX_TEST_STANDIN").is_some() {
        return; // Needs a compiler for this processor.
    }
    let world = World::new();
    let libraries = Libraries::of(&world);
    let at = |file: &str| libraries.folder.path().join(file);
    let build = |source: &Path, out: &Path, links: &[String]| {
        let mut compiler = std::process::Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
        compiler.args([
            "--edition",
            "2024",
            "--crate-type",
            "cdylib",
            "--crate-name",
            "part",
            "-o",
        ]);
        compiler.arg(out).arg(source);
        for link in links {
            compiler.arg(format!("-Clink-arg={link}"));
        }
        assert!(compiler.status().unwrap().success());
    };
    let elsewhere = tempfile::tempdir().unwrap();
    let (source, interpreter) = (at("interpreter.rs"), elsewhere.path().join("libax_interpreter.so"));
    std::fs::write(&source, "").unwrap();
    build(&source, &interpreter, &["-Wl,-soname,libax_interpreter.so".into()]);
    let engine = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/axera/standin.rs");
    let needs = ["-Wl,--no-as-needed".into(), interpreter.display().to_string()];
    build(&engine, &at("libax_engine.so"), &needs);
    libraries.put("libax_sys.so", None);

    let missing = RuntimeError::MissingDependency {
        library: "libax_engine.so".into(),
        missing: "libax_interpreter.so".into(),
    };
    assert_eq!(libraries.open().unwrap_err(), missing);
    std::fs::rename(&interpreter, at("libax_interpreter.so")).unwrap();
    libraries.open().unwrap();
}
