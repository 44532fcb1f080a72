//! Diagnostics on standard error, enabled by `SOFTPREFIX_LOG=debug`. Results and errors are never written here.

use tracing_subscriber::EnvFilter;

/// Starts the log. Without `SOFTPREFIX_LOG` only warnings of our own crates are written.
pub fn start() {
    let filter = EnvFilter::try_from_env("SOFTPREFIX_LOG")
        .unwrap_or_else(|_| EnvFilter::new("off,softprefix=warn,softprefix_core=warn,softprefix_unit=warn"));
    let started = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .try_init();
    if let Err(error) = started {
        eprintln!("softprefix: the log could not be started ({error})");
    }
}
