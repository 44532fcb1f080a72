//! The injector unit: an LLM unit for StackFlow that puts a soft prefix in front of the token embeddings before prefill.
//!
//! It knows the core, models on disk, engines and transports. It knows nothing of a user interface.
//!
//! # Kept from the stock unit, and not
//!
//! The unit takes the place of StackFlow's `llm_llm` (and, listening by itself, of `llm_sys` before it). What a client or
//! another unit meets:
//!
//! | behaviour | here |
//! |---|---|
//! | messages in any number of pieces, several in one, with or without line ends, in an array | same |
//! | lone braces in a text | changed, without llm-sys: they work. llm-sys stalls or answers -2; `\u007b` and `\u007d` work in both |
//! | `\{` and `\}` in an inference | same: taken as braces, now in stream form and beside a prefix too |
//! | broken JSON | same codes (-2, -1 in llm-sys' own form); changed: a connection is never poisoned, and garbage lines are told |
//! | messages without end | changed: refused beyond 16 MiB, and the connection is closed; llm-sys takes all |
//! | escapes in texts (`\u` pairs, a last backslash), a `request_id` that equals a field's name or holds quotes | changed: all arrive as they were meant; there they vanish or arrive mangled |
//! | `RAW` headers | same, also behind llm-sys where the header has data already, which it leaves there without its name; changed, without llm-sys: the byte behind the payload is not eaten. `BON` (BSON): -2 instead of silence |
//! | replies: keys in alphabetical order, compact, UTF-8, one line each | same; changed: braces in texts go out as `\u007b` and `\u007d` |
//! | `sys` ping, version, version2, lsmode, lstask, cmminfo, hwinfo, unknown actions | same; hwinfo answers zeros where the machine says nothing |
//! | `sys` bashexec, push, pull, update, upgrade, rmmode, reboot, uartsetup | changed: refused (-3), nothing runs for a peer |
//! | `sys` reset | changed: ends all tasks; connections stay |
//! | set-up: required keys, -2 in the name of `kws`, -5, -21 at two tasks, numbers from 1000 | same; changed: behind the words of -5 comes a sentence that says why |
//! | a set-up in progress | changed: everything else is answered meanwhile |
//! | an inference right behind the set-up's reply | changed: never lost (there 2 of 40) |
//! | plain, stream, base64 input and both; `finish` true unless it says otherwise; `index` as text | same |
//! | frames of several clients at once | changed: collected for each task, client and request apart; there they mix |
//! | data that is a number, a list or an object in plain form | same: its text is the prompt (an object's keys in order, a list whole); changed: with a prefix in it -33, never spoken; null is no data |
//! | an empty prompt, no data | changed: -34 instead of silence |
//! | -23, -25 | same codes; changed: to whoever caused them, under the request's own ids |
//! | several inferences on a task | changed: they run as one batch, each with its own `request_id` and address; there four queue up, the rest is dropped, and ids and addresses are overwritten. Beyond what may wait: -10 |
//! | output in frames of three tokens, an empty last frame, `index` from 0 | same; changed: always cut at characters and always ended, whatever the text; the index is the inference's own; a client that reads slowly gets larger frames |
//! | `max_token_len` counts positions, 127 where nothing is said | same; changed: a prompt with prefix that leaves no room is refused (-32) with the numbers, instead of an empty answer or one token |
//! | the Qwen template with its added full stop, special tokens in texts | same |
//! | the end of a text | changed: at `<\|im_end\|>` too; there generation goes on behind it |
//! | top-k 10 without seed where nothing is said | changed: greedy; sampling as the card or the set-up says, repeatable by its `seed` |
//! | a soft prefix in the finish frame | same, echoed in the reply's `soft_prefix`; also with `finish` 1 or left out, and however the JSON is laid out |
//! | a prefix of the wrong size or type, `len` as text, not base64 | changed: -30 with both sizes; there it is ignored, or ends the unit |
//! | a prefix with NaN or infinity | changed: -31 |
//! | a prefix on an earlier frame or in plain form | changed: -33 |
//! | pause ends what runs with its normal last frame, and holds nothing back | same |
//! | exit: last frames first, then the answer; the number is not used again | same; changed: answered when llm-sys has the number back, so that nothing sent later gets lost |
//! | taskinfo | same, with `soft_prefix` saying what this unit can; changed: asking diverts nobody's stream |
//! | work (-18), bad ids (-6), link (-20) and unlink | same |
//! | unknown actions | changed: -18 instead of silence |
//! | `enoutput` false: results are published only | same |
//! | a task without `llm` among its inputs | changed: -4 instead of silence |
//! | `asr.N`, `whisper.N` in, last frame only; `kws.N` stops; output published for others | same |
//! | a client that leaves | changed: its inferences end; nothing blocks, and memory is bounded. There the unit can hang for good |
//! | llm-sys restarts | changed: the tasks it has forgotten are ended at once; there they count until somebody ends them |
//! | a stale file at its address | same: removed; changed: a unit that answers there is left alone, and this one ends |
//! | SIGTERM gives numbers back and removes the file | same |
//!
//! Added, and told in `taskinfo`: see [`softprefix_core::protocol::extension`].

#[cfg(all(feature = "bus", unix))]
pub mod bus;
pub mod engine;
pub mod listen;
pub mod model;
#[cfg(feature = "cpu")]
pub mod models;
mod outbox;
mod request_text;
pub mod scheduler;
pub mod self_test;
#[cfg(feature = "testing")]
#[doc(hidden)]
pub mod testing;
pub mod tokenizer;
pub mod unit;
