//! Diagnostics on standard error, enabled by `SOFTPREFIX_LOG=debug`. Results and errors are never written here.

/// Starts the log. Without `SOFTPREFIX_LOG` only warnings of our own crates are written, whose names begin alike.
pub fn start() {
    softprefix_unit::log::start("softprefix", "SOFTPREFIX_LOG", "softprefix=warn");
}
