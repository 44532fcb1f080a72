//! A module's file system in a folder: model card, compiled models, embeddings, tokenizer and the stand-in's libraries.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::AtomicBool;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use base64::Engine as _;
use half::bf16;
use libloading::Library;
use serde_json::{Value, json};
use softprefix_unit::engine::axera::ModelFolders;
use softprefix_unit::gguf::{GgufFile, dequantise};
use softprefix_unit::models::AxeraModels;
use softprefix_unit::testing::TinyModel;

pub const MODEL: &str = "tiny-p16";
/// Rows of a prefill, and positions of the cache, in the models of the tests.
pub const PREFILL: usize = 16;
pub const CACHE: usize = 40;

/// The stand-in has one state per process, so tests run one at a time.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

pub struct World {
    pub root: tempfile::TempDir,
    pub gguf: PathBuf,
    pub tiny: TinyModel,
    standin: Library,
    _turn: MutexGuard<'static, ()>,
}

/// Builds the stand-in once per test process (or takes it from SOFTPREFIX_TEST_STANDIN, for other processors).
fn standin_library() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| {
        if let Some(path) = std::env::var_os("SOFTPREFIX_TEST_STANDIN") {
            return path.into();
        }
        let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("standin-{}.so", std::process::id()));
        let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| OsString::from("rustc"));
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/axera/standin.rs");
        let status = Command::new(rustc)
            .args([
                "--edition",
                "2024",
                "--crate-type",
                "cdylib",
                "--crate-name",
                "standin",
                "-O",
                "-o",
            ])
            .arg(&out)
            .arg(&source)
            .status()
            .unwrap();
        assert!(status.success(), "the stand-in runtime does not build");
        out
    })
}

impl World {
    pub fn new() -> Self {
        Self::with(TinyModel::qwen2())
    }

    pub fn with(tiny: TinyModel) -> Self {
        Self::sized(tiny, PREFILL, CACHE)
    }

    /// A model with prefill groups of `prefill` rows and caches of `cache` positions.
    pub fn sized(tiny: TinyModel, prefill: usize, cache: usize) -> Self {
        let turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let root = tempfile::tempdir().unwrap();
        for folder in ["lib", "data/models", "etc", "run"] {
            std::fs::create_dir_all(root.path().join(folder)).unwrap();
        }
        // One file under both names, because the stand-in is one library.
        let library = root.path().join("lib/libax_sys.so");
        std::fs::copy(standin_library(), &library).unwrap();
        std::os::unix::fs::symlink("libax_sys.so", root.path().join("lib/libax_engine.so")).unwrap();
        let gguf = root.path().join("tiny.gguf");
        tiny.write(&gguf).unwrap();
        // SAFETY: the stand-in's own library, without constructors.
        let standin = unsafe { Library::new(&library) }.unwrap();
        let world = Self {
            root,
            gguf,
            tiny,
            standin,
            _turn: turn,
        };
        world.write_model(prefill, cache);
        world.reset(0);
        world
    }

    pub fn folders(&self) -> ModelFolders {
        let at = |folder: &str| self.root.path().join(folder);
        ModelFolders {
            base: at("data"),
            cards: at("data/models"),
            etc: at("etc"),
            current: at("run"),
        }
    }

    pub fn models(&self) -> AxeraModels {
        AxeraModels::new(self.folders(), vec![self.root.path().join("lib")])
    }

    pub fn model_folder(&self) -> PathBuf {
        self.root.path().join("data").join(MODEL)
    }

    /// Clears the log and the violations, and makes the call with the number `fail_at` fail (0: none).
    pub fn reset(&self, fail_at: u64) {
        // SAFETY: the stand-in's function of this type.
        unsafe { self.standin.get::<extern "C" fn(u64)>(b"standin_reset").unwrap()(fail_at) }
    }

    /// Makes the release with the number `fail_at` (a buffer, a handle, the engine, the system) report a failure.
    pub fn fail_release(&self, fail_at: u64) {
        // SAFETY: the stand-in's function of this type.
        unsafe { self.standin.get::<extern "C" fn(u64)>(b"standin_fail_release").unwrap()(fail_at) }
    }

    /// Sets `flag` while the call with the number `at` runs.
    pub fn set_at(&self, at: u64, flag: &'static AtomicBool) {
        // SAFETY: the stand-in's function of this type; the flag lives for ever.
        unsafe {
            self.standin
                .get::<extern "C" fn(u64, *const AtomicBool)>(b"standin_set_at")
                .unwrap()(at, flag)
        }
    }

    fn report(&self, what: i32) -> Vec<String> {
        // SAFETY: the stand-in's function of this type; it writes at most the length given.
        let text = unsafe {
            let report = self
                .standin
                .get::<unsafe extern "C" fn(i32, *mut u8, usize) -> usize>(b"standin_report")
                .unwrap();
            let mut bytes = vec![0u8; report(what, std::ptr::null_mut(), 0)];
            report(what, bytes.as_mut_ptr(), bytes.len());
            String::from_utf8(bytes).unwrap()
        };
        text.lines().map(str::to_owned).collect()
    }

    pub fn log(&self) -> Vec<String> {
        self.report(0)
    }

    pub fn violations(&self) -> Vec<String> {
        self.report(1)
    }

    pub fn still_held(&self) -> Vec<String> {
        self.report(2)
    }

    /// Returns the first layer's input of the last prefill.
    pub fn prefilled(&self) -> Vec<bf16> {
        let hex = self.report(3).concat();
        let word = |at: usize| u16::from_str_radix(&hex[at..at + 4], 16).unwrap().swap_bytes();
        (0..hex.len()).step_by(4).map(|at| bf16::from_bits(word(at))).collect()
    }

    pub fn card(&self) -> Value {
        json!({"mode": MODEL, "type": "llm", "capabilities": ["text_generation", "chat"], "mode_param": {
            "tokenizer_type": 1, "filename_tokenizer_model": "qwen.tiktoken",
            "filename_tokens_embed": "model.embed_tokens.weight.bfloat16.bin", "filename_post_axmodel": "qwen2_post.axmodel",
            "template_filename_axmodel": "qwen2_p16_l%d_together.axmodel", "axmodel_num": self.tiny.layers,
            "tokens_embed_num": self.tiny.vocab_size(), "tokens_embed_size": self.tiny.hidden_size,
            "b_bos": false, "b_eos": false, "b_use_mmap_load_embed": true, "b_dynamic_load_axmodel_layer": false }})
    }

    pub fn write_card(&self, card: &Value) {
        std::fs::write(
            self.root.path().join(format!("data/models/mode_{MODEL}.json")),
            card.to_string(),
        )
        .unwrap();
    }

    /// Makes the model available under another name, too.
    #[allow(dead_code, reason = "for tests of the whole program")]
    pub fn is_also_called(&self, name: &str) {
        let data = self.root.path().join("data");
        std::os::unix::fs::symlink(MODEL, data.join(name)).unwrap();
        std::fs::write(data.join(format!("models/mode_{name}.json")), self.card().to_string()).unwrap();
    }

    fn write_model(&self, prefill: usize, cache: usize) {
        let folder = self.model_folder();
        std::fs::create_dir_all(&folder).unwrap();
        self.write_card(&self.card());

        let file = GgufFile::open(&self.gguf).unwrap();
        let values = |name: &str| {
            let tensor = file.tensor(name).unwrap();
            let mut out = vec![0f32; tensor.columns() * tensor.rows()];
            dequantise(tensor.kind, &file.read(tensor).unwrap(), &mut out);
            out
        };
        let table = values("token_embd.weight");
        let bytes: Vec<u8> = table.iter().flat_map(|v| bf16::from_f32(*v).to_le_bytes()).collect();
        std::fs::write(folder.join("model.embed_tokens.weight.bfloat16.bin"), bytes).unwrap();

        let width = self.tiny.hidden_size / self.tiny.heads;
        let header = |kind: usize| {
            let mut bytes = b"STANDIN1".to_vec();
            for word in [
                kind,
                self.tiny.hidden_size,
                self.tiny.heads,
                self.tiny.kv_heads,
                width,
                self.tiny.feed_forward,
                cache,
                prefill,
                self.tiny.vocab_size(),
            ] {
                bytes.extend(u32::try_from(word).unwrap().to_le_bytes());
            }
            bytes.extend(10_000f32.to_le_bytes());
            bytes.extend(1e-6f32.to_le_bytes());
            bytes
        };
        let write = |name: String, kind: usize, parts: &[String]| {
            let mut bytes = header(kind);
            for part in parts {
                bytes.extend(values(part).iter().flat_map(|v| v.to_le_bytes()));
            }
            std::fs::write(folder.join(name), bytes).unwrap();
        };
        for layer in 0..self.tiny.layers {
            let parts = [
                "attn_norm.weight",
                "attn_q.weight",
                "attn_q.bias",
                "attn_k.weight",
                "attn_k.bias",
                "attn_v.weight",
                "attn_v.bias",
                "attn_output.weight",
                "ffn_norm.weight",
                "ffn_gate.weight",
                "ffn_up.weight",
                "ffn_down.weight",
            ];
            write(
                format!("qwen2_p16_l{layer}_together.axmodel"),
                0,
                &parts.map(|part| format!("blk.{layer}.{part}")),
            );
        }
        write(
            "qwen2_post.axmodel".into(),
            1,
            &["output_norm.weight".into(), "token_embd.weight".into()],
        );

        let ranks: String = (0..=255u8)
            .map(|byte| format!("{} {byte}\n", base64::engine::general_purpose::STANDARD.encode([byte])))
            .collect();
        std::fs::write(folder.join("qwen.tiktoken"), ranks).unwrap();
    }
}
