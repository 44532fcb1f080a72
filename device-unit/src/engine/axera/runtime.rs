#![allow(unsafe_code)] // The binding to the runtime libraries: each block states what makes it sound.

//! Opens the module's runtime libraries at run time, initialises them once, and shuts them down in order.

use std::ffi::CStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_NOW, Symbol};

use super::abi;
use crate::engine::EngineError;

/// Why the runtime cannot be used. Each message ends with a remedy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RuntimeError {
    /// The library is in none of the searched folders.
    #[error(
        "the NPU runtime library {library} was not found (looked in {searched}); on a module, find it with \
         `find /opt /usr/local/m5stack /usr/lib -name \"{library}*\"` and name its folder in SOFTPREFIX_AX_LIB_DIR, or register \
         the folder with ldconfig; elsewhere, use the CPU engine"
    )]
    NotFound {
        /// File name of the library.
        library: String,
        /// The folders that were searched.
        searched: String,
    },
    /// The library needs a newer libstdc++ than the one that is found.
    #[error(
        "the NPU runtime library {library} needs a newer libstdc++ than the one that is found ({detail}); point \
         /usr/local/m5stack/lib/gcc-10.3/libstdc++.so.6 to the system's /usr/lib/aarch64-linux-gnu/libstdc++.so.6 (keep the old one)"
    )]
    OldCxxLibrary {
        /// File name of the library.
        library: String,
        /// The loader's message.
        detail: String,
    },
    /// A dependency of the library is not found.
    #[error(
        "the NPU runtime library {library} cannot be loaded because {missing} is missing; find {missing} under /opt or \
         /usr/local/m5stack and register its folder with ldconfig"
    )]
    MissingDependency {
        /// File name of the library.
        library: String,
        /// File name of the library that is missing.
        missing: String,
    },
    /// The library cannot be loaded for another reason.
    #[error(
        "the NPU runtime library {library} cannot be loaded: {detail}; check that it belongs to this processor and system"
    )]
    Unloadable {
        /// File name of the library.
        library: String,
        /// The loader's message.
        detail: String,
    },
    /// The library does not have a function.
    #[error(
        "the NPU runtime library {library} has no function {symbol}; install the module's own runtime packages again"
    )]
    NoSymbol {
        /// File name of the library.
        library: String,
        /// Name of the function.
        symbol: String,
    },
    /// A call of the runtime returned an error.
    #[error(
        "{call} failed with code {code:#x}; another process may hold the NPU: stop the stock LLM unit, or restart the module"
    )]
    Refused {
        /// Name of the function.
        call: &'static str,
        /// What it returned.
        code: i32,
    },
}

impl From<RuntimeError> for EngineError {
    fn from(error: RuntimeError) -> Self {
        EngineError::backend("the NPU runtime", error.to_string(), "then start again")
    }
}

/// Returns the folders where the runtime libraries are searched, in order: `SOFTPREFIX_AX_LIB_DIR`, then the known folders of modules and
/// boards. The system's own search path comes last.
#[must_use]
pub fn default_library_folders() -> Vec<PathBuf> {
    let mut folders: Vec<PathBuf> = std::env::var_os("SOFTPREFIX_AX_LIB_DIR")
        .map(PathBuf::from)
        .into_iter()
        .collect();
    folders.extend(
        [
            "/opt/m5stack/lib",
            "/usr/local/m5stack/lib",
            "/usr/local/m5stack/lib/gcc-10.3",
            "/usr/local/m5stack/lib/ax-lib",
            "/opt/lib",
            "/opt/usr/lib",
            "/soc/lib",
        ]
        .map(PathBuf::from),
    );
    folders
}

/// The functions in use. They are valid while the libraries beside them are open.
pub(super) struct Api {
    pub sys_init: Symbol<abi::Plain>,
    pub sys_deinit: Symbol<abi::Plain>,
    pub mem_alloc: Symbol<abi::MemAlloc>,
    pub mem_alloc_cached: Symbol<abi::MemAlloc>,
    pub mem_free: Symbol<abi::MemFree>,
    pub invalidate_cache: Symbol<abi::CacheOp>,
    pub engine_init: Symbol<abi::EngineInit>,
    pub engine_deinit: Symbol<abi::Plain>,
    pub engine_version: Symbol<abi::EngineVersion>,
    pub create_handle: Symbol<abi::CreateHandle>,
    pub destroy_handle: Symbol<abi::OnHandle>,
    pub create_context: Symbol<abi::OnHandle>,
    pub create_context_v2: Symbol<abi::CreateContextV2>,
    pub group_count: Symbol<abi::GroupCount>,
    pub group_info: Symbol<abi::GroupInfo>,
    pub run_sync: Symbol<abi::RunSync>,
    pub run_group_sync: Symbol<abi::RunGroupSync>,
}

/// The initialised runtime. Dropping the last reference shuts the engine down, then the system layer, then closes the libraries.
pub struct Runtime {
    pub(super) api: Api,
    version: String,
    // Fields drop in the order of declaration: the dependent library first.
    _engine: Library,
    _interpreter: Option<Library>,
    _sys: Library,
}

impl Runtime {
    /// Opens and initialises `libax_sys` (with global symbols), `libax_interpreter` if it is found, and `libax_engine`.
    ///
    /// The interpreter is opened by path first because `libax_engine` depends on it, and on some modules the loader does not search its
    /// folder.
    ///
    /// # Errors
    /// A [`RuntimeError`] with the library, what is wrong with it, and a remedy.
    pub fn open(folders: &[PathBuf]) -> Result<Arc<Self>, RuntimeError> {
        let sys = open_library("libax_sys.so", folders)?;
        let interpreter = find("libax_interpreter.so", folders)
            .map(|path| load(&path, "libax_interpreter.so"))
            .transpose()?;
        let engine = open_library("libax_engine.so", folders)?;
        let s = |name| Named {
            library: &sys,
            file: "libax_sys.so",
            name,
        };
        let e = |name| Named {
            library: &engine,
            file: "libax_engine.so",
            name,
        };
        // SAFETY: the types are those of the interface as described in `abi`, looked up under their own names.
        let api = unsafe {
            Api {
                sys_init: s("AX_SYS_Init").get()?,
                sys_deinit: s("AX_SYS_Deinit").get()?,
                mem_alloc: s("AX_SYS_MemAlloc").get()?,
                mem_alloc_cached: s("AX_SYS_MemAllocCached").get()?,
                mem_free: s("AX_SYS_MemFree").get()?,
                invalidate_cache: s("AX_SYS_MinvalidateCache").get()?,
                engine_init: e("AX_ENGINE_Init").get()?,
                engine_deinit: e("AX_ENGINE_Deinit").get()?,
                engine_version: e("AX_ENGINE_GetVersion").get()?,
                create_handle: e("AX_ENGINE_CreateHandle").get()?,
                destroy_handle: e("AX_ENGINE_DestroyHandle").get()?,
                create_context: e("AX_ENGINE_CreateContext").get()?,
                create_context_v2: e("AX_ENGINE_CreateContextV2").get()?,
                group_count: e("AX_ENGINE_GetGroupIOInfoCount").get()?,
                group_info: e("AX_ENGINE_GetGroupIOInfo").get()?,
                run_sync: e("AX_ENGINE_RunSync").get()?,
                run_group_sync: e("AX_ENGINE_RunGroupIOSync").get()?,
            }
        };

        // SAFETY: the first calls into the libraries, in the required order; the attributes are zeroed and outlive the call.
        unsafe {
            match (api.sys_init)() {
                0 => {}
                code => {
                    return Err(RuntimeError::Refused {
                        call: "AX_SYS_Init",
                        code,
                    });
                }
            }
            let mut attributes = abi::NpuAttributes::default();
            let code = (api.engine_init)(&raw mut attributes);
            if code != 0 {
                (api.sys_deinit)();
                return Err(RuntimeError::Refused {
                    call: "AX_ENGINE_Init",
                    code,
                });
            }
        }
        // SAFETY: the engine is initialised; the string is the library's own, constant and NUL-terminated.
        let version = unsafe {
            let text = (api.engine_version)();
            if text.is_null() {
                "unknown".to_owned()
            } else {
                CStr::from_ptr(text).to_string_lossy().into_owned()
            }
        };
        Ok(Arc::new(Self {
            api,
            version,
            _engine: engine,
            _interpreter: interpreter,
            _sys: sys,
        }))
    }

    /// Returns the version that the engine library reports.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        // SAFETY: every handle and buffer holds an `Arc` of this runtime, so none is left; the libraries are still open.
        let (engine, sys) = unsafe { ((self.api.engine_deinit)(), (self.api.sys_deinit)()) };
        if engine != 0 || sys != 0 {
            tracing::warn!("the NPU runtime did not shut down cleanly (engine {engine:#x}, system {sys:#x})");
        }
    }
}

struct Named<'a> {
    library: &'a Library,
    file: &'a str,
    name: &'a str,
}

impl Named<'_> {
    /// # Safety
    /// `T` must be the function's type.
    unsafe fn get<T>(&self) -> Result<Symbol<T>, RuntimeError> {
        // SAFETY: the caller vouches for the type.
        unsafe { self.library.get(self.name.as_bytes()) }.map_err(|_| RuntimeError::NoSymbol {
            library: self.file.into(),
            symbol: self.name.into(),
        })
    }
}

fn find(file: &str, folders: &[PathBuf]) -> Option<PathBuf> {
    folders
        .iter()
        .map(|folder| folder.join(file))
        .find(|path| path.exists())
}

fn open_library(file: &str, folders: &[PathBuf]) -> Result<Library, RuntimeError> {
    match find(file, folders) {
        Some(path) => load(&path, file),
        // A bare name makes the loader search the system's path.
        None => load(Path::new(file), file).map_err(|error| match error {
            RuntimeError::MissingDependency { missing, .. } if missing == file => RuntimeError::NotFound {
                library: file.into(),
                searched: folders
                    .iter()
                    .map(|f| f.display().to_string())
                    .chain(["the system's path".into()])
                    .collect::<Vec<_>>()
                    .join(", "),
            },
            other => other,
        }),
    }
}

fn load(path: &Path, file: &str) -> Result<Library, RuntimeError> {
    // SAFETY: the libraries' constructors run here. They are the module's own runtime, chosen by the user. RTLD_NOW makes a missing
    // function an error here instead of a crash later.
    unsafe { Library::open(Some(path), RTLD_NOW | RTLD_GLOBAL) }.map_err(|error| explain(file, &flatten(&error)))
}

/// Returns the message of `dlerror`, which is the error's source.
fn flatten(error: &libloading::Error) -> String {
    std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string)
}

/// Maps the loader's message to the error with the right remedy.
fn explain(file: &str, detail: &str) -> RuntimeError {
    let library = file.to_owned();
    if detail.contains("GLIBCXX_") || detail.contains("CXXABI_") {
        return RuntimeError::OldCxxLibrary {
            library,
            detail: detail.to_owned(),
        };
    }
    if detail.contains("cannot open shared object file") {
        let missing = detail.split(':').next().unwrap_or(file).trim().to_owned();
        return RuntimeError::MissingDependency { library, missing };
    }
    RuntimeError::Unloadable {
        library,
        detail: detail.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_library_that_is_not_found_is_named_with_the_searched_folders() {
        let folder = tempfile::tempdir().unwrap();
        let error = Runtime::open(&[folder.path().to_owned()]).err().unwrap();
        let RuntimeError::NotFound { library, searched } = &error else {
            panic!("{error:?}")
        };
        assert_eq!(library, "libax_sys.so");
        assert!(searched.contains(&folder.path().display().to_string()));
        assert!(error.to_string().contains("SOFTPREFIX_AX_LIB_DIR"));
    }

    #[test]
    fn the_loaders_messages_map_to_the_right_remedies() {
        let cxx = explain(
            "libax_engine.so",
            "/lib/libstdc++.so.6: version `GLIBCXX_3.4.30' not found (required by libax_engine.so)",
        );
        assert!(matches!(&cxx, RuntimeError::OldCxxLibrary { detail, .. } if detail.contains("GLIBCXX_3.4.30")));
        let missing = explain(
            "libax_engine.so",
            "libax_interpreter.so: cannot open shared object file: No such file or directory",
        );
        assert_eq!(
            missing,
            RuntimeError::MissingDependency {
                library: "libax_engine.so".into(),
                missing: "libax_interpreter.so".into()
            }
        );
        assert!(missing.to_string().contains("ldconfig"));
    }

    #[test]
    fn a_file_that_is_not_a_library_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("libax_sys.so"), b"not an ELF file").unwrap();
        let error = Runtime::open(&[folder.path().to_owned()]).err().unwrap();
        assert!(
            matches!(&error, RuntimeError::Unloadable { library, .. } if library == "libax_sys.so"),
            "{error:?}"
        );
    }
}
