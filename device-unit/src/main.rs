//! `softprefix-unit`: the unit as a program. Selects the transport and the source of models.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, bail};
use clap::{Args, Parser, ValueEnum};
use softprefix_unit::budget::Budget;
#[cfg(all(feature = "bus", unix))]
use softprefix_unit::bus::{self, BusOptions};
use softprefix_unit::model::ModelSource;
use softprefix_unit::unit::{Unit, UnitOptions};
use softprefix_unit::{listen, log, self_test};

/// A unit that puts a soft prefix in front of the token embeddings of a language model.
#[derive(Parser)]
#[command(version, about)]
struct Arguments {
    #[command(flatten)]
    task: Task,

    /// Model to load at the start: a name, or the path of a GGUF file. Clients can load other models.
    #[arg(long, value_name = "NAME|PATH")]
    model: Option<String>,

    /// Engine that runs models [default: npu if its runtime is installed, else cpu]
    #[arg(long, value_enum)]
    engine: Option<Engine>,

    /// Number of threads [default: one per physical core]
    #[arg(long, value_name = "N")]
    threads: Option<usize>,

    /// With --bus: the unit's name at llm-sys, and the first part of its tasks' ids
    #[arg(long, value_name = "NAME", default_value = "llm")]
    unit_name: String,

    /// With --bus: the folder of the files rpc.sys and rpc.<unit>
    #[arg(long, value_name = "FOLDER", default_value = "/tmp")]
    bus_folder: PathBuf,

    /// Memory for clients in MiB: a quarter for their requests, the rest for what runs (the KV caches of inferences) [default:
    /// 2048, or half
    /// of the machine's memory if that is less]
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u32).range(128..))]
    memory: Option<u32>,

    /// Do not draft tokens. The texts are the same, but take longer
    #[arg(long)]
    no_drafts: bool,

    /// Allow --listen on an address that other machines can reach. There is no password: anyone who reaches it can list and load
    /// models, run
    /// inferences and end those of others, and read this machine's load, memory and address. It opens no files and no shell
    #[arg(long)]
    allow_remote: bool,

    /// Do not announce a unit that other machines can reach on the local network (mDNS)
    #[cfg(feature = "announce")]
    #[arg(long)]
    no_announce: bool,
}

#[derive(Args)]
#[group(required = true, multiple = false)]
struct Task {
    /// Listen on TCP and answer like llm-sys with this unit. Clients of a module expect port 10001
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,

    /// Serve llm-sys over ZeroMQ, in place of the stock llm unit
    #[cfg(all(feature = "bus", unix))]
    #[arg(long)]
    bus: bool,

    /// Load --model, check that it handles prefixes correctly, and print the result of each check
    #[arg(long)]
    self_test: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Engine {
    /// This machine's processor, with GGUF files
    Cpu,
    /// An Axera NPU, with the module's own models
    Npu,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    log::start("softprefix-unit", "RUST_LOG", "info");
    match run(arguments) {
        Ok(code) => code,
        Err(error) => {
            // On one line with its causes, as shown by `systemctl status`.
            eprintln!("softprefix-unit: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let (source, model) = models(&arguments, &runtime)?;
    if arguments.task.self_test {
        let model = model.context("--self-test needs a model: --model NAME or --model PATH")?;
        return test(source.as_ref(), &model);
    }
    let memory = match arguments.memory {
        Some(mib) => Budget::new(usize::try_from(mib)?.saturating_mul(1 << 20)),
        None => Budget::default(),
    };
    tracing::info!("memory budget for clients: {} MiB", memory.limit() >> 20);
    let options = UnitOptions {
        memory,
        drafts: !arguments.no_drafts,
        on_load: Some(Arc::new(|model, fraction, stage| {
            tracing::info!("{model}: {:3.0} %, {stage}", fraction * 100.0);
        })),
        ..UnitOptions::default()
    };
    #[cfg(all(feature = "bus", unix))]
    if arguments.task.bus {
        let options = UnitOptions {
            name: arguments.unit_name.clone(),
            ..options
        };
        let bus = BusOptions {
            folder: std::path::absolute(&arguments.bus_folder)?,
        };
        let started = |unit: &Unit| preload(unit, model);
        runtime.block_on(bus::serve(source, options, bus, started, terminated()))?;
        return Ok(ExitCode::SUCCESS);
    }
    let unit = Arc::new(Unit::new(source, options));
    if let Some(address) = arguments.task.listen {
        let listener = runtime.block_on(listen::bind(address, arguments.allow_remote))?;
        let address = listener.local_addr()?;
        tracing::info!("listening on {address}");
        if !address.ip().is_loopback() {
            tracing::warn!(
                "there is no password: anyone who reaches {address} can list and load models, run inferences and end those of others, and \
                 read this machine's load, memory and address"
            );
        }
        #[cfg(feature = "announce")]
        let _announced = announce(address, arguments.no_announce);
        preload(&unit, model);
        runtime.block_on(listen::serve(listener, unit, terminated()));
    }
    Ok(ExitCode::SUCCESS)
}

/// Announces a unit that other machines can reach. Without the announcement it works as well.
#[cfg(feature = "announce")]
fn announce(address: SocketAddr, is_off: bool) -> Option<softprefix_unit::announce::Announcement> {
    if address.ip().is_loopback() || is_off {
        return None;
    }
    match softprefix_unit::announce::Announcement::start(address) {
        Ok(announcement) => {
            tracing::info!("announced on the local network; --no-announce turns this off");
            Some(announcement)
        }
        Err(error) => {
            tracing::warn!("{error}");
            None
        }
    }
}

/// Loads a model in the background. A set-up of the same model meanwhile waits for this load.
fn preload(unit: &Unit, model: Option<String>) {
    let Some(model) = model else { return };
    let unit = unit.clone();
    std::thread::spawn(move || match unit.preload(&model) {
        Ok(()) => tracing::info!("{model} is ready"),
        Err(sentence) => tracing::error!("{model} is not ready: {sentence}"),
    });
}

/// Completes when the process receives SIGTERM or Ctrl-C.
async fn terminated() {
    #[cfg(unix)]
    {
        let terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate());
        if let Ok(mut terminate) = terminate {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = tokio::signal::ctrl_c() => {}
            }
            return;
        }
    }
    let _ = tokio::signal::ctrl_c().await;
}

fn test(source: &dyn ModelSource, name: &str) -> anyhow::Result<ExitCode> {
    let progress = |fraction: f32, stage| tracing::info!("{name}: {:3.0} %, {stage}", fraction * 100.0);
    let mut model = source.load(name, &serde_json::Map::new(), &progress)?;
    let results = self_test::run(&mut model);
    for result in &results {
        println!(
            "{} {}: {}",
            if result.passed { "ok  " } else { "FAIL" },
            result.check,
            result.detail
        );
    }
    let passed = results.iter().all(|result| result.passed);
    Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Returns the source of models, and the name in it of the model given by --model.
fn models(
    arguments: &Arguments,
    runtime: &tokio::runtime::Runtime,
) -> anyhow::Result<(Arc<dyn ModelSource>, Option<String>)> {
    let path = (arguments.model.as_deref().map(Path::new)).filter(|model| is_path(model));
    let path = path.map(Path::to_owned);
    if let Some(path) = &path {
        let about = std::fs::metadata(path).with_context(|| format!("{} cannot be opened", path.display()))?;
        if about.is_dir() {
            bail!("{} is a folder; give the path of a GGUF file in it", path.display());
        }
    }
    let engine = arguments.engine.unwrap_or_else(|| {
        if path.is_none() && npu_is_there() {
            Engine::Npu
        } else {
            Engine::Cpu
        }
    });
    match engine {
        Engine::Cpu => cpu_models(arguments, path),
        Engine::Npu if path.is_some() => bail!("the NPU runs the module's own models, by name, not a GGUF file"),
        Engine::Npu => npu_models(arguments, runtime),
    }
}

/// Whether a model is given by the path of its file, which may be missing. Names may contain slashes, too: those of Ollama's models do.
fn is_path(model: &Path) -> bool {
    let begins_as_path = model.is_absolute() || model.starts_with(".") || model.starts_with("..");
    let ends_as_path = || {
        let is_in_folder = model.parent().is_some_and(|folder| folder != Path::new(""));
        is_in_folder
            && model
                .extension()
                .is_some_and(|suffix| suffix.eq_ignore_ascii_case("gguf"))
    };
    begins_as_path || ends_as_path() || model.is_file()
}

#[cfg(feature = "cpu")]
fn cpu_models(arguments: &Arguments, path: Option<PathBuf>) -> anyhow::Result<(Arc<dyn ModelSource>, Option<String>)> {
    use softprefix_unit::engine::cpu::CpuOptions;
    use softprefix_unit::models::{ModelStore, Places};

    let mut places = Places::from_env();
    let mut name = arguments.model.clone();
    if let Some(path) = path {
        // A link keeps its own name, by which the further files of a split model are found: in a Hugging Face cache, all are links to
        // files named by their digests.
        let path = std::path::absolute(&path).with_context(|| format!("{} has no absolute path", path.display()))?;
        name = path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
        places = places.with_named(path);
    }
    let options = CpuOptions {
        threads: arguments.threads,
        ..CpuOptions::default()
    };
    Ok((Arc::new(ModelStore::new(places).with_engine(options)), name))
}

#[cfg(not(feature = "cpu"))]
fn cpu_models(_: &Arguments, _: Option<PathBuf>) -> anyhow::Result<(Arc<dyn ModelSource>, Option<String>)> {
    bail!("this program was built without the CPU engine; build it with the feature `cpu`, or use --engine npu")
}

#[cfg(feature = "npu")]
fn npu_is_there() -> bool {
    let folders = softprefix_unit::engine::axera::default_library_folders();
    folders.iter().any(|folder| folder.join("libax_engine.so").exists())
}

#[cfg(not(feature = "npu"))]
fn npu_is_there() -> bool {
    false
}

#[cfg(feature = "npu")]
fn npu_models(
    arguments: &Arguments,
    runtime: &tokio::runtime::Runtime,
) -> anyhow::Result<(Arc<dyn ModelSource>, Option<String>)> {
    use softprefix_unit::engine::axera::{ModelFolders, default_library_folders};
    use softprefix_unit::models::AxeraModels;

    let mut folders = ModelFolders::default();
    #[cfg(all(feature = "bus", unix))]
    if arguments.task.bus {
        // llm-sys knows the module's model folders; the defaults apply if it does not answer.
        let keys = [
            "config_base_mode_path",
            "config_model_d",
            "config_base_mode_config_path",
        ];
        let bus = BusOptions {
            folder: std::path::absolute(&arguments.bus_folder)?,
        };
        let values = runtime.block_on(bus::settings(&bus, &keys));
        let places = [&mut folders.base, &mut folders.cards, &mut folders.etc];
        for (place, value) in places.into_iter().zip(values) {
            if let Some(value) = value {
                *place = value.into();
            }
        }
    }
    let _ = runtime;
    let models = AxeraModels::new(folders, default_library_folders());
    Ok((Arc::new(models), arguments.model.clone()))
}

#[cfg(not(feature = "npu"))]
fn npu_models(_: &Arguments, _: &tokio::runtime::Runtime) -> anyhow::Result<(Arc<dyn ModelSource>, Option<String>)> {
    bail!("this program was built without the NPU engine; build it with the feature `npu`, or use --engine cpu")
}
