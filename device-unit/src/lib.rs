//! The injector unit: an LLM unit for StackFlow that puts a soft prefix in front of the token embeddings before prefill.
//!
//! The program `softprefix-unit` serves it on llm-sys' bus or on a TCP port; the workbench runs it in its own process.
//!
//! # Floors
//!
//! Imports go down this list, never up and never across; `tests/floors.rs` checks them.
//!
//! ```text
//! main.rs, bin/           the programs
//! bus/ | listen/          transports: behind llm-sys over ZeroMQ | alone on a TCP port
//! outbox.rs               the queue of messages to one client
//! unit/                   tasks, requests, replies
//! models/ | scheduler/    models on disk: finding, fetching, loading | which sequences an engine computes next
//!   | self_test.rs        | checks of a loaded model
//!   | request_text.rs     | parsing a request
//! model.rs                a loaded model: engine, tokenizer, template, settings
//! engine/cpu | engine/axera   GGUF on the processor | the module's NPU
//! engine/                 the interface of engines; sampling; likelihoods
//! tokenizer/              text to tokens and back
//! gguf/                   the file format: metadata, tensors, numbers
//! stored_file.rs          a file that is read while its model is in use
//! budget.rs               the memory that clients may make the unit hold
//! errors.rs | files.rs    errors of models and engines | opening files whose names a peer may choose
//!   | machine.rs | tasks.rs   | properties of this machine | logging of panicked tasks
//! ```
//!
//! # Compatibility with the stock unit
//!
//! The unit replaces StackFlow's `llm_llm` and, when it listens on TCP, `llm_sys` as well. "Same" means as the stock
//! programs behave; "there" means in the stock programs; "without llm-sys" means when the unit listens on TCP.
//!
//! | behaviour of the stock programs | this unit |
//! |---|---|
//! | messages in any number of pieces, several in one, with or without line ends, in an array | same |
//! | lone braces in a text | changed, without llm-sys: they work. llm-sys stalls or answers -2; `\u007b` and `\u007d` work in both |
//! | `\{` and `\}` in an inference | same: taken as braces, now in stream form and beside a prefix too |
//! | broken JSON | same codes (-2, -1 in llm-sys' own form); changed: a connection is never poisoned, and garbage lines are reported |
//! | a web browser (an HTTP request or a TLS handshake as the first bytes) | changed, without llm-sys: the connection is closed and nothing on it is read; llm-sys obeys what a web page sends |
//! | messages without end | changed: refused beyond 16 MiB, and the connection is closed; llm-sys takes all |
//! | escapes in texts (`\u` pairs, a last backslash), a `request_id` that equals a field's name or holds quotes | changed: all arrive as they were meant; there they vanish or arrive mangled |
//! | memory | changed: one budget for all clients, stated in `taskinfo`; beyond it requests are refused (-10) and inferences wait; there it grows with what is sent, and with what is only begun |
//! | many idle connections | changed: beyond 256, the one that has been idle for longest and has no task is closed |
//! | `request_id`, `work_id` and `action` must be texts (-2), here of at most 256 bytes; their order, other fields, and `object` and `data` that are left out, do not matter; an empty `work_id` is `sys`; a unit that is not there: -9; an unknown task: -4 for an inference | same; changed, without llm-sys: a `work_id` that begins with a dot gets -9 instead of silence |
//! | `RAW` headers | same, also behind llm-sys where the header has data already, which it leaves there without its name; changed, without llm-sys: the byte behind the payload is not eaten. `BON` (BSON): -2 instead of silence |
//! | replies: keys in alphabetical order, compact, UTF-8, one line each; `"None"` where there is no data | same; changed: braces in texts go out as `\u007b` and `\u007d` |
//! | replies of different requests overtake each other | changed: replies to a client arrive in the order in which they were sent |
//! | `sys` ping, version, version2, lsmode, lstask, cmminfo, hwinfo, unknown actions | same; changed, without llm-sys: lsmode lists the module's own model first, cmminfo gives the host's memory where there is no NPU, hwinfo gives zeros for unknown values, and an action without the data that it reads is answered; there llm-sys crashes at the last two |
//! | `sys` unit_call | same behind llm-sys; changed, without it: only the names are checked (`None`, or `NotAction`), and nothing is executed |
//! | `sys` bashexec, push, pull, update, upgrade, rmmode, reboot, uartsetup | changed: refused (-3), nothing runs for a peer |
//! | `sys` reset | changed: ends all tasks; connections stay |
//! | set-up: required keys, `input` as a text or a list, unknown keys ignored, -2 in the name of `kws`, -5, -21 at two tasks, numbers from 1000, one used up also by a set-up that fails | same; changed: the message of -5 also says why |
//! | keys of the set-up override the card's; `response_format` is a stream where it says `stream`, and comes back as `object` whatever it says | same |
//! | tokenizer servers (`tokenizer_type` 2) | changed: the model's `tokenizer.json` is read; no Python server, no port and no wait |
//! | a set-up in progress | changed: all other requests are answered meanwhile |
//! | an inference right behind the set-up's reply | changed: never lost (there 2 of 40) |
//! | plain, stream, base64 input and both; `finish` true unless it says otherwise; `index` as text | same |
//! | frames of several clients at once | changed: collected for each task, client and request apart; there they mix |
//! | data that is a number, true or an object in plain form | same: its text is the prompt; changed: with a prefix in it -33 |
//! | data that is a list or null | changed: a list's whole text is the prompt, null is no data; there `["a","b"]` becomes `[a`, and null the word |
//! | frames and inferences are not acknowledged | same |
//! | an empty prompt, no data | changed: -34 instead of silence |
//! | -23, -25 | same codes; changed: sent to the client that caused them, under the request's own ids |
//! | several inferences on a task | changed: they run as one batch, each with its own `request_id` and address; there four queue up, the rest is dropped, and ids and addresses are overwritten. Beyond the queue: -10 |
//! | output in frames of three tokens, an empty last frame, `index` from 0 | same; changed: always cut at characters and always ended, whatever the text; a few milliseconds apart, so that a client that reads once for each message loses none (not where `softprefix` options were sent); the index is the inference's own; a client that reads slowly gets larger frames, and drafted tokens that one step accepts come in one |
//! | `max_token_len` counts positions (prefix, prompt, output), 127 by default | same |
//! | input that is too long, with a prefix or without | changed: refused (-32) with the numbers; there an empty answer, garbage, or one token |
//! | an engine that fails | changed: -11 with a message; there silence |
//! | the Qwen template with its added full stop, special tokens in texts | same |
//! | the end of a text | changed: at `<\|im_end\|>` too; there generation continues after it |
//! | top-k 10 without seed by default | changed: greedy by default; sampling by the card or the set-up, repeatable by its `seed`; a temperature, top-k or penalty of 0 is off |
//! | a soft prefix in the finish frame, beside base64 texts too, for that inference only; its rows stand in front of the whole template, bit for bit as sent | same, echoed in the reply's `soft_prefix`; changed: also with `finish` 1 or left out, and however the JSON is laid out |
//! | a prefix of the wrong size or type, `len` as text or below 1, not base64 | changed: -30 with both sizes; there it is ignored, or ends the unit |
//! | input of the NPU at prefill | changed: zeros and indices up to the window every time; there rows of the last request stay (the second run's time-out) |
//! | a prefix with NaN or infinity | changed: -31 |
//! | a prefix on an earlier frame or in plain form | changed: -33 |
//! | pause ends running inferences with their normal last frame, and does not delay later ones | same |
//! | exit: last frames first, then the answer; the number is not used again | same; changed: answered when llm-sys has the number back, so that nothing sent later gets lost |
//! | taskinfo | same, with `soft_prefix` saying what this unit can and which of the model's weights were rounded; changed: the request does not divert another client's stream |
//! | work (-18), bad ids (-6), link (-20) and unlink | same |
//! | unknown actions | same to llm-sys (`NotAction`); changed: -18 to the client instead of silence |
//! | `enoutput` false: results are published only | same |
//! | a task without `llm` among its inputs | changed: -4 instead of silence |
//! | `asr.N`, `whisper.N` in, last frame only, answered to the client of the last request; `kws.N` stops; output published for others | same; changed: escapes in other units' texts are undone |
//! | places on the bus: calls at `rpc.<unit>`, two frames in and one out at once, `None` by convention, `list_action`; numbers and addresses by `register_unit` and `release_unit`, other units and model folders by `sql_select`; an inference's own `zmq_com` | same |
//! | the unit asks for `serial_zmq_url` until it has it | changed: never asked; llm-sys gives the serial port's name to the last TCP client, and the unit sends nothing that was not requested |
//! | a client that leaves; its tasks stay | same; changed: its inferences end, nothing blocks, and memory is bounded. There the unit can hang for good |
//! | llm-sys restarts | changed: the tasks it has forgotten are ended at once; there they count until a client ends them |
//! | a stale file at its address | same: removed; changed: a unit that answers there is left alone, and this one ends; as are files that are not sockets, and those outside the folder of the bus |
//! | file names in a set-up | changed: they stay inside the model's folder and name regular files; there any file is read, as root |
//! | SIGTERM gives numbers back and removes the file | same |
//!
//! Additions, announced in `taskinfo`: see [`softprefix_core::protocol::extension`].
#![doc = include_str!("model-files.md")]
#![warn(missing_docs)]

pub mod budget;
#[cfg(all(feature = "bus", unix))]
pub mod bus;
pub mod engine;
pub mod errors;
#[cfg(feature = "cpu")]
pub mod gguf;
pub mod listen;
mod machine;
pub mod model;
#[cfg(any(feature = "cpu", feature = "npu"))]
pub mod models;
mod outbox;
mod request_text;
pub mod scheduler;
pub mod self_test;
#[cfg(any(feature = "cpu", feature = "npu"))]
mod stored_file;
mod tasks;
#[cfg(feature = "testing")]
#[doc(hidden)]
pub mod testing;
pub mod tokenizer;
pub mod unit;
