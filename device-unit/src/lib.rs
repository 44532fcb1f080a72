//! A unit for language models on StackFlow that puts a soft prefix in front of the token embeddings before prefill.
//!
//! The program `softprefix-unit` serves it behind llm-sys or on a TCP port; the workbench runs it in its own process.
//!
//! # Layers
//!
//! A module imports only from lower lines of this list; `tests/floors.rs` checks that.
//!
//! ```text
//! main.rs, bin/           the programs
//! announce.rs             announcing the unit on the local network
//! bus/ | listen/          transports: behind llm-sys over ZeroMQ | alone on a TCP port
//! outbox.rs               the queue of messages to one client
//! unit/                   tasks, requests, replies
//! models/ | scheduler/    models on disk: finding, fetching, loading | continuous batching on an engine
//!   | self_test.rs        | checks of a loaded model
//!   | request_text.rs     | parsing a request
//! model.rs                a loaded model: engine, tokenizer, template, settings
//! engine/cpu | engine/axera   GGUF on the processor | the module's NPU
//! engine/                 the interface of engines; sampling; likelihoods
//! tokenizer/              text to tokens and back
//! gguf/                   the file format: metadata, tensors, numbers
//! stored_file.rs          a file that is read while its model is loaded
//! budget.rs               the memory budget for clients
//! errors.rs | machine.rs  errors of models and engines | properties of this machine
//!   | tasks.rs            | logging of panicked tasks
//! ```
//!
//! # The protocol
//!
//! "PROTOCOL 5.2" in a comment is section 5.2 of `core/src/protocol/PROTOCOL.md`.
//!
//! # Compatibility with the stock unit
//!
//! The unit replaces StackFlow's `llm_llm` and, when it listens on TCP, `llm_sys` as well. "Same" means like the
//! stock programs; "there" means in the stock programs; "without llm-sys" means when the unit listens on TCP.
//!
//! | behaviour of the stock programs | this unit |
//! |---|---|
//! | messages in any number of pieces, several in one, with or without line ends, in an array | same |
//! | unbalanced braces in a string | changed, without llm-sys: they work. llm-sys stalls or answers -2; `\u007b` and `\u007d` work in both |
//! | `\{` and `\}` in an inference | same: read as braces; changed: in stream form and with a prefix, too |
//! | broken JSON | same codes (-2, -1 in llm-sys' own form); changed: a connection is never poisoned, and garbage lines are reported |
//! | a web browser (an HTTP request or a TLS handshake as the first bytes) | changed, without llm-sys: the connection is closed and nothing on it is processed; llm-sys executes what a web page sends |
//! | endless messages | changed: refused beyond 16 MiB, and the connection is closed; llm-sys takes all |
//! | escapes in strings (`\u` pairs, a final backslash), a `request_id` that equals a field's name or contains quotes | changed: all arrive unchanged; there they are lost or garbled |
//! | memory | changed: one budget for all clients, stated in `taskinfo`; beyond it requests are refused (-10) and inferences wait; there it grows with everything that is sent, unfinished messages included |
//! | many idle connections | changed: beyond 256, the connection without a task that has been idle for longest is closed |
//! | `request_id`, `work_id` and `action` must be strings (-2), here of at most 256 bytes; the order of fields does not matter, other fields are ignored, `object` and `data` are optional; an empty `work_id` is `sys`; an unknown unit: -9; an unknown task: -4 for an inference | same; changed, without llm-sys: a `work_id` that begins with a dot gets -9 instead of silence |
//! | `RAW` headers | same, also behind llm-sys when the header already has data, whose name llm-sys removes; changed, without llm-sys: the byte after the payload is not swallowed. `BON` (BSON): -2 instead of silence |
//! | replies: keys in alphabetical order, compact, UTF-8, one line each; `"None"` where there is no data | same; changed: braces in strings are sent as `\u007b` and `\u007d` |
//! | replies to different requests can overtake each other | changed: replies to a client arrive in the order in which they were sent |
//! | `sys` ping, version, version2, lsmode, lstask, cmminfo, hwinfo, unknown actions | same; changed, without llm-sys: lsmode lists the module's own model first, cmminfo gives the host's memory where there is no NPU, hwinfo gives zeros for unknown values, and an action without required data gets an error; there llm-sys crashes in the last two cases |
//! | `sys` unit_call | same behind llm-sys; changed, without it: only the names are checked (`None`, or `NotAction`), and nothing is executed |
//! | `sys` bashexec, push, pull, update, upgrade, rmmode, reboot, uartsetup | changed: refused (-3), nothing is executed for a client |
//! | `sys` reset | changed: ends all tasks; connections stay |
//! | set-up: required keys, `input` as a string or a list, unknown keys ignored, -2 with the work_id `kws`, -5, -21 at two tasks, numbers from 1000, including failed set-ups | same; changed: the message of -5 also says why |
//! | keys of the set-up override the card's; `response_format` selects streaming if it contains `stream`, and is returned as `object` in any case | same |
//! | tokenizer servers (`tokenizer_type` 2) | changed: the model's `tokenizer.json` is read; no Python server, no port and no wait |
//! | a set-up in progress | changed: all other requests are answered meanwhile |
//! | an inference right after the set-up's reply | changed: never lost (there 2 of 40) |
//! | plain, stream and base64 input, stream and base64 combined; `finish` is true unless it is `false`; `index` as a string | same |
//! | frames of several clients at once | changed: collected separately for each task, client and request; there they mix |
//! | data that is a number, true or an object in plain form | same: its text is the prompt; changed: -33 if it contains a prefix |
//! | data that is a list or null | changed: a list's whole text is the prompt, null is no data; there `["a","b"]` becomes `[a`, and null becomes the word |
//! | frames and inferences are not acknowledged | same |
//! | an empty prompt, no data | changed: -34 instead of silence |
//! | a text that a template refuses (there is one template there, which takes all) | changed: -35 where the model file's own chat template refuses it |
//! | -23, -25 | same codes; changed: sent to the client that caused them, under the request's own ids |
//! | several inferences on a task | changed: they run as one batch, each with its own `request_id` and address; there four are queued, the rest is dropped, and ids and addresses are overwritten. If the queue is full: -10 |
//! | output in frames of three tokens, an empty last frame, `index` from 0 | same; changed: always divided between characters and always ended; a few milliseconds apart, so that a client that takes each read for one message and has one inference at a time loses none (except if `softprefix` options were sent); each inference has its own index; a client that reads slowly gets larger frames, and drafted tokens that are accepted in one step are sent in one frame |
//! | `max_token_len` counts positions (prefix, prompt, output), 127 by default | same |
//! | input that is too long, with or without a prefix | changed: refused (-32) with the numbers; there an empty answer, garbage, or one token |
//! | an engine that fails | changed: -11 with a message; there silence |
//! | the Qwen template with its added full stop, special tokens in texts | same |
//! | the end of a text | changed: at `<\|im_end\|>` too; there generation continues after it |
//! | top-k 10 without seed by default | changed: greedy by default; sampling by the card or the set-up, repeatable by its `seed`; a temperature or top-p of 0 is greedy, a top-k or penalty of 0 is off |
//! | a soft prefix in the finish frame, also with base64 text, for that inference only; its rows come before the whole template, bit for bit as sent | same, echoed in the reply's `soft_prefix`; changed: also with `finish` 1 or left out, and with any JSON layout |
//! | a prefix of the wrong size or type, `len` as text or below 1, not base64 | changed: -30 with both sizes; there it is ignored, or ends the unit |
//! | input of the NPU at prefill | changed: zeros and indices up to the window every time; there rows of the last request remain, which can make the second run time out |
//! | a prefix with NaN or infinity | changed: -31 |
//! | a prefix on an earlier frame or in plain form | changed: -33 |
//! | pause ends running inferences with their normal last frame, and does not delay later ones | same |
//! | exit: last frames first, then the reply; the number is not used again | same; changed: answered after llm-sys has released the number, so that later requests are not lost |
//! | taskinfo | same, with the unit's features and the conversion of the model's weights in `soft_prefix`; changed: the request does not redirect another client's stream |
//! | work (-18), bad ids (-6), link (-20) and unlink | same |
//! | unknown actions | same to llm-sys (`NotAction`); changed: -18 to the client instead of silence |
//! | `enoutput` false: results are published only | same |
//! | a task without `llm` among its inputs | changed: -4 instead of silence |
//! | `asr.N`, `whisper.N` in, last frame only, answered to the client of the last request; `kws.N` stops; output published for others | same; changed: escapes in other units' texts are undone |
//! | addresses on the bus: calls at `rpc.<unit>`, two frames in and one out at once, `None` by convention, `list_action`; numbers and addresses by `register_unit` and `release_unit`, other units and model folders by `sql_select`; an inference's own `zmq_com` | same |
//! | the unit requests `serial_zmq_url` until it has it | changed: never requested; llm-sys gives the serial port's name to the last TCP client, and the unit sends nothing that was not requested |
//! | a client that disconnects; its tasks stay | same; changed: its inferences end, nothing blocks, and memory is bounded. There the unit can hang for good |
//! | llm-sys restarts | changed: the tasks it has forgotten are ended at once; there they count until a client ends them |
//! | a stale file at its address | same: removed; changed: if a unit answers there, this one ends instead; files that are not sockets or outside the bus folder are not removed |
//! | file names in a set-up | changed: they stay inside the model's folder and name regular files; there any file is read, as root |
//! | SIGTERM releases the numbers and removes the file | same |
//!
//! Additions, announced in `taskinfo`: see [`softprefix_core::protocol::extension`].
#![doc = include_str!("model-files.md")]
#![warn(missing_docs)]

#[cfg(feature = "announce")]
pub mod announce;
pub mod budget;
#[cfg(all(feature = "bus", unix))]
pub mod bus;
pub mod engine;
pub mod errors;
#[cfg(feature = "cpu")]
pub mod gguf;
pub mod listen;
pub mod log;
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
