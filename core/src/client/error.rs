//! Errors of the client. Each message says what happened, to what, and what to do next.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::prefix::PrefixError;
use crate::protocol::message::SYS;
use crate::protocol::{Code, ErrorField};

/// Why a request to a module failed. Text that had already arrived is kept ([`ClientError::text_so_far`]).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum ClientError {
    /// The TCP connection was refused, or the address cannot be resolved.
    #[error(
        "could not connect to {address}: {detail}; check the address, that the module is on and in the same network, and that \
         llm-sys runs on it (`systemctl status llm-sys`)"
    )]
    Connect {
        /// `host:port` as it was tried.
        address: String,
        /// The system's message.
        detail: String,
    },
    /// The TCP connection was not established within [`ConnectOptions::connect`](super::ConnectOptions::connect).
    #[error(
        "{address} did not accept a connection within {seconds} s; check the address, the network and that the module is on"
    )]
    ConnectTimedOut {
        /// `host:port` as it was tried.
        address: String,
        /// The limit that passed.
        seconds: f64,
    },
    /// The connection broke. A restart of llm-sys looks the same; it forgets every task.
    #[error(
        "the connection to {address} was lost: {detail}; reconnect and set up the model again (if llm-sys has restarted, it has \
         forgotten its tasks)"
    )]
    ConnectionLost {
        /// `host:port` of the module.
        address: String,
        /// The system's message, or which side closed the connection.
        detail: String,
    },
    /// The peer sent bytes that are not StackFlow messages; the connection is closed.
    #[error(
        "{address} does not speak StackFlow: it sent {excerpt:?}; check host and port (the module's llm-sys listens on 10001)"
    )]
    Garbage {
        /// `host:port` of the peer.
        address: String,
        /// The first bytes that could not be read, at most 60.
        excerpt: String,
    },
    /// A request was not answered within its limit ([`ConnectOptions::request`](super::ConnectOptions::request) unless
    /// the action has its own).
    #[error(
        "{work_id} did not answer {action:?} within {seconds} s; try again, and if it stays silent, restart what should have answered \
         on the module (`systemctl restart {}`)",
        if work_id == SYS { "llm-sys" } else { "llm-llm" }
    )]
    NoAnswer {
        /// The action that was asked for, such as `taskinfo`.
        action: String,
        /// The unit or task that was asked, such as `llm.1000`.
        work_id: String,
        /// The limit that passed.
        seconds: f64,
    },
    /// The module answered with an error code.
    #[error("{}", refusal(action, work_id, error))]
    Refused {
        /// The action that was asked for, such as `setup`.
        action: String,
        /// The unit or task that was asked, such as `llm.1000`.
        work_id: String,
        /// The `error` of the reply.
        error: ErrorField,
    },
    /// The reply is a success, but its `data` does not have the form that the action promises.
    #[error(
        "the answer to {action:?} cannot be used: {detail}; update the module's software, or check what answers at this address"
    )]
    Unreadable {
        /// The action that was asked for.
        action: String,
        /// What is wrong with the data.
        detail: String,
    },
    /// The set-up was not answered within [`ConnectOptions::set_up`](super::ConnectOptions::set_up). If the module
    /// answers later, the task is ended.
    #[error(
        "setting up {model:?} took more than {seconds} s; wait until the module is idle and try again, or restart llm-llm on it"
    )]
    SetUpTimedOut {
        /// Name of the model that was to be set up.
        model: String,
        /// The limit that passed.
        seconds: f64,
    },
    /// The unit runs as many tasks as it can, and none of them is known to be a lost one of this program. The caller decides
    /// which may be ended.
    #[error(
        "the module already runs as many tasks as it can ({}), of another or an earlier client, so none was ended; \
         end those that are not needed, then set up again",
        ids.join(", ")
    )]
    TaskFull {
        /// Work ids of all tasks of the LLM unit, of all clients.
        ids: Vec<String>,
    },
    /// The task has ended, or its id now belongs to another model.
    #[error("the task {work_id} no longer exists on the module ({detail}); set up the model again")]
    TaskGone {
        /// The id that the task had.
        work_id: String,
        /// How the module showed it.
        detail: String,
    },
    /// Neither the request nor the `taskinfo` that was sent after it was answered.
    #[error(
        "the unit hangs: {work_id} answered neither the request nor a request for its state within {seconds} s; restart it on \
         the module (`systemctl restart llm-llm`, or sys.reset) and set up again"
    )]
    UnitSilent {
        /// The task that was asked.
        work_id: String,
        /// Time since the request was sent.
        seconds: f64,
    },
    /// The inference was not answered, although `taskinfo` still names the task.
    #[error(
        "the module accepted the inference and never answered, although {work_id} is alive ({seconds} s waited); set up the model \
         again, shorten the prompt, or allow more time"
    )]
    NeverAnswered {
        /// The task that was asked.
        work_id: String,
        /// Time since the inference was sent.
        seconds: f64,
    },
    /// No frame arrived within [`ConnectOptions::idle`](super::ConnectOptions::idle) after an earlier one.
    #[error(
        "the answer stopped before its end: nothing was received for {seconds} s after {} characters, which are kept; ask for whole texts \
         instead of streaming (a stock unit's stream stops at a character cut between two tokens)",
        text.chars().count()
    )]
    StreamStopped {
        /// The text that arrived before; not serialised.
        #[serde(skip)]
        text: String,
        /// Silence since the last frame.
        seconds: f64,
    },
    /// The inference did not finish within its deadline ([`InferenceRequest::deadline`](super::InferenceRequest::deadline)), or on a stock
    /// module brought no frame within [`ConnectOptions::first_frame`](super::ConnectOptions::first_frame), and was stopped.
    #[error("the inference was not finished after {seconds} s and was stopped; {} characters are kept. Allow more time or fewer tokens", text.chars().count())]
    DeadlinePassed {
        /// The text that arrived before; not serialised.
        #[serde(skip)]
        text: String,
        /// Time since the inference was sent.
        seconds: f64,
    },
    /// The inference was stopped by its caller, and the module sent no last reply.
    #[error("the inference was stopped; {} characters are kept", text.chars().count())]
    Stopped {
        /// The text that arrived before; not serialised.
        #[serde(skip)]
        text: String,
    },
    /// The last reply arrived without any text and without `usage` (our unit explains an empty text by its `usage`).
    #[error(
        "the module answered with an empty text, which is how a stock unit says that prefix and prompt do not fit into its window, \
         or that max_token_len leaves no room (it counts prefix + prompt + output); shorten the prompt or the prefix, or raise it"
    )]
    EmptyAnswer,
    /// The prompt has no characters. Found before anything is sent.
    #[error("the prompt is empty; write something (a stock unit would drop it silently)")]
    EmptyPrompt,
    /// The prompt contains U+0000. Found before anything is sent.
    #[error("the prompt contains a NUL character, at which a unit would cut it; remove it")]
    NulInPrompt,
    /// A unit that confirms prefixes echoed another prefix than the one sent, or none.
    #[error(
        "the unit did not confirm the prefix it was sent ({detail}), so its output cannot be trusted to come from it; update \
         softprefix-unit and try again"
    )]
    PrefixNotConfirmed {
        /// Length, width and SHA-256 of both.
        detail: String,
    },
    /// The unit does not list the feature that a request needs.
    #[error(
        "{work_id} cannot do {feature:?}: only our own unit can; connect to the embedded module or to a softprefix-unit"
    )]
    Unsupported {
        /// The task that was asked.
        work_id: String,
        /// One of the names in [`extension::feature`](crate::protocol::extension::feature).
        feature: String,
    },
    /// The prefix cannot be built or sent.
    #[error(transparent)]
    Prefix(#[from] PrefixError),
}

impl ClientError {
    /// The error code, where the module sent one.
    pub fn code(&self) -> Option<Code> {
        match self {
            Self::Refused { error, .. } => Some(error.code),
            Self::TaskFull { .. } => Some(Code::TASK_FULL),
            _ => None,
        }
    }

    /// The text that had arrived before the failure.
    pub fn text_so_far(&self) -> Option<&str> {
        match self {
            Self::StreamStopped { text, .. } | Self::DeadlinePassed { text, .. } | Self::Stopped { text } => Some(text),
            _ => None,
        }
    }

    /// The same error with another text in place of the one that had arrived; unchanged where it has none.
    #[must_use]
    pub fn with_text(mut self, text_so_far: &str) -> Self {
        if let Self::StreamStopped { text, .. } | Self::DeadlinePassed { text, .. } | Self::Stopped { text } = &mut self
        {
            text_so_far.clone_into(text);
        }
        self
    }

    /// What to do where the module is the unit in this process: the message names services of a module's system, which such a unit is
    /// not. `None` where the message is right there, too.
    pub fn local_remedy(&self) -> Option<LocalRemedy> {
        match self {
            Self::NoAnswer { .. }
            | Self::SetUpTimedOut { .. }
            | Self::UnitSilent { .. }
            | Self::NeverAnswered { .. }
            | Self::StreamStopped { .. } => Some(LocalRemedy::Relieve),
            Self::Connect { .. }
            | Self::ConnectTimedOut { .. }
            | Self::ConnectionLost { .. }
            | Self::Garbage { .. } => Some(LocalRemedy::Reconnect),
            Self::Refused { error, .. } => {
                let names_service = own_sentence(error).is_none() && error.code.remedy().contains("llm-");
                names_service.then_some(LocalRemedy::Reconnect)
            }
            _ => None,
        }
    }

    /// The message where the module is the unit in this process; see [`ClientError::local_remedy`].
    pub fn local_message(&self) -> String {
        let message = self.to_string();
        let Some(remedy) = self.local_remedy() else {
            return message;
        };
        let mark = if matches!(self, Self::Refused { .. }) {
            ". "
        } else {
            "; "
        };
        let what = message.split_once(mark).map_or(message.as_str(), |(what, _)| what);
        format!("{what}; {remedy}")
    }

    /// Whether the connection is closed, so that only [`Module::reconnect`](super::Module::reconnect) helps.
    pub fn is_disconnect(&self) -> bool {
        matches!(self, Self::ConnectionLost { .. } | Self::Garbage { .. })
    }

    /// Whether the task can no longer be used, so that the model must be set up again.
    pub fn needs_set_up(&self) -> bool {
        self.is_disconnect()
            || matches!(
                self,
                Self::TaskGone { .. } | Self::UnitSilent { .. } | Self::NeverAnswered { .. }
            )
    }
}

/// What helps against an error of the unit in this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LocalRemedy {
    /// The machine must have more time or memory for it.
    Relieve,
    /// A new connection starts it again.
    Reconnect,
}

impl fmt::Display for LocalRemedy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Relieve => {
                "this computer may be very busy or short of memory: close what else runs on it, or choose a smaller model, and try again"
            }
            Self::Reconnect => "reconnect: it starts again",
        })
    }
}

/// A measured time in seconds, rounded to tenths, since the messages show it.
pub(super) fn seconds_to_tenths(time: Duration) -> f64 {
    (time.as_secs_f64() * 10.0).round() / 10.0
}

/// What our unit says of a refusal in a sentence of its own.
fn own_sentence(error: &ErrorField) -> Option<&str> {
    let sentence = match error.code.stock_message() {
        // Our unit keeps the stock message in front, for clients that compare it.
        // A full stop after it is one unit's spelling of the stock message.
        Some(stock) => error.message.strip_prefix(stock)?.trim_start_matches('.').trim(),
        None => &error.message,
    };
    Some(sentence).filter(|sentence| !sentence.is_empty())
}

fn refusal(action: &str, work_id: &str, error: &ErrorField) -> String {
    let ErrorField { code, message } = error;
    let meaning = code.meaning();
    if let Some(sentence) = own_sentence(error) {
        return format!("{sentence} ({action} on {work_id}, code {code})");
    }
    let remedy = code.remedy();
    if message.is_empty() || code.stock_message().is_some_and(|stock| message.starts_with(stock)) {
        format!("{work_id} refused {action:?} with code {code} ({message}): {meaning}. {remedy}")
    } else {
        format!("{work_id} refused {action:?} with code {code}: {message} ({meaning}). {remedy}")
    }
}
