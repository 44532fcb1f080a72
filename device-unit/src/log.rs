//! The log of a program, on standard error.

use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// Starts the log of `program`. The environment variable `variable` names what is written, as `debug` or
/// `softprefix_unit=debug,info`; without it, or if it cannot be read, `usual` does, in the same form.
pub fn start(program: &str, variable: &str, usual: &str) {
    let wanted = std::env::var(variable).unwrap_or_else(|_| usual.to_owned());
    let filter = wanted.parse::<Targets>().unwrap_or_else(|error| {
        eprintln!("{program}: {variable} is not used, since it cannot be read ({error})");
        usual.parse().unwrap_or_default()
    });
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let started = tracing_subscriber::registry()
        .with(layer.with_filter(filter))
        .try_init();
    if let Err(error) = started {
        eprintln!("{program}: the log could not be started ({error})");
    }
}
