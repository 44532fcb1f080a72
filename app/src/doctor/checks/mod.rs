//! The checks over ssh, one file for each part of a module. Each is independent of the others, reads only, and can be
//! repeated.

pub mod build;
pub mod cards;
pub mod interpreter;
pub mod libstdcxx;
pub mod service;
pub mod unfinished;
pub mod unit;

use std::time::Duration;

/// Long enough for a module that is swapping.
pub(in crate::doctor) const READ_LIMIT: Duration = Duration::from_secs(45);
/// The same for scripts that change something.
pub(in crate::doctor) const CHANGE_LIMIT: Duration = Duration::from_secs(90);
