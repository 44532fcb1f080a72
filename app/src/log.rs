//! Diagnostics on standard error, enabled by `SOFTPREFIX_LOG=debug`. Results and errors are never written here.

use tracing::level_filters::LevelFilter;
use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

const VARIABLE: &str = "SOFTPREFIX_LOG";

/// Starts the log. Without `SOFTPREFIX_LOG` only warnings of our own crates are written.
pub fn start() {
    // The crates are `softprefix`, `softprefix_core` and `softprefix_unit`.
    let usual = || Targets::new().with_target("softprefix", LevelFilter::WARN);
    let filter = match std::env::var(VARIABLE).map(|text| text.parse::<Targets>()) {
        Ok(Ok(filter)) => filter,
        Ok(Err(error)) => {
            eprintln!("softprefix: {VARIABLE} is not used, since it cannot be read ({error})");
            usual()
        }
        Err(_) => usual(),
    };
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let started = tracing_subscriber::registry().with(layer.with_filter(filter)).try_init();
    if let Err(error) = started {
        eprintln!("softprefix: the log could not be started ({error})");
    }
}
