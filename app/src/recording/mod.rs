//! Recordings of a session at the workbench: what was moved, run and answered, each with its time.
//!
//! # The file, version 1
//! JSON lines. The first says what it is: `{"softprefix_recording":1,"written_by":"softprefix 0.1.0","at_unix":...}`. Each
//! further line has a time `t`, in milliseconds since the recording began and never smaller than the one before, and one of
//!
//! | key | means |
//! |---|---|
//! | `module` | a module is ready: `model`, `hidden_size`, `window`, ..., and its `vocabulary`'s norms; never its address |
//! | `lost` | the module is gone: the sentence and what to do |
//! | `prefix`, `prompt` | the fields that changed of what is edited (the first line of each has all of them) |
//! | `view` | measure of the plot, granularity of the diff |
//! | `count` | tokens of template and prompt, window, prefill |
//! | `case` | a baseline and its runs that are there from now on, as a results file |
//! | `run` | a run of a side begins: `b` baseline, `p` prefixed, `r` the baseline once more |
//! | `began` | it was sent, with what prefix |
//! | `b`, `p`, `r` | text of that side arrives |
//! | `end` | it ended: how, after what time; the `text` only where it is not what had arrived |
//! | `failed`, `dropped` | it ended without an answer |
//! | `look` | a point was opened: its place among the points of the case, `null` for the last |
//! | `remove`, `clear` | points were taken away |
//! | `over` | the recording was ended; without it, it broke off |
//!
//! Keys that are not known are passed over; a version that is not known is refused. A last line that is torn, as a crash leaves
//! it, is left out. A recording holds texts, times and digests: nothing of the person's settings, files or addresses.
//!
//! This module knows the form of the file and the workbench's own types; it reads no file and starts nothing.

mod form;
mod line;
mod session;

pub use form::{Broken, Recording, VERSION, Writer};
pub use line::Line;
pub use session::Session;

/// The recording that is part of the program.
pub const DEMO: &[u8] = include_bytes!("../../../assets/demo/demo.jsonl");
