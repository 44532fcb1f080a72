//! Recordings of a session at the workbench: what was moved, run and answered, each with its time.
//!
//! # The file, version 2
//! JSON lines. The first is the header: `{"softprefix_recording":2,"written_by":"softprefix 0.1.0","at_unix":...}`. Each further line has
//! a time `t`, in milliseconds since the start of the recording and never decreasing, and one of
//!
//! | key | means |
//! |---|---|
//! | `module` | a module is ready: `model`, `hidden_size`, `window`, ..., and its `vocabulary`'s norms; never its address |
//! | `lost` | the connection was lost: `sentence` and `remedy`, each in English and Japanese |
//! | `prefix`, `prompt` | the fields of the form that changed (the first line of each has all of them) |
//! | `view` | measure of the plot, granularity of the diff |
//! | `count` | tokens of template and prompt, window, prefill |
//! | `session` | another session is shown, without runs until `case` adds them |
//! | `case` | finished runs that are added to the session, as a results file; `group` is their group |
//! | `group` | without `case`: the prompt, settings and module whose runs are shown from now on |
//! | `run` | a run starts: `b` baseline, `p` prefixed, `r` the baseline again |
//! | `began` | it was sent, with its prefix |
//! | `b`, `p`, `r` | text of that run arrives |
//! | `end` | it ended: how, and after what time; the `text` only where it differs from what was received |
//! | `failed`, `dropped` | it ended without an answer |
//! | `look` | a point was opened: its index among the points of the group, `null` for the last |
//! | `remove`, `clear` | points were removed |
//! | `external` | commands of other programs, as a line of the pipe has them |
//! | `over` | the recording was ended; a file without it was interrupted |
//!
//! The run of `began`, `end` and `failed` is in their key `side`. Of a group, the module's address is a name. A `case` without a `group`, of an
//! earlier version, is of the fields' prompt and shown from now on. Unknown keys are ignored; an unknown version is refused. A last line that is cut off, as after a crash, is ignored.
//! A recording shows Tune. What is learned, chosen or searched for in Find is left out; the runs of a prefix that came from there are in it.
//! A recording contains texts, times and digests: none of the user's settings, files or addresses.

mod form;
mod line;
mod prepared;

pub(crate) use form::REMOTE;
pub use form::{Broken, Recording, VERSION, Writer};
pub use line::Line;
pub use prepared::PreparedRecording;

/// The recording that is part of the program.
pub const DEMO: &[u8] = include_bytes!("../../../assets/demo/demo.jsonl");
