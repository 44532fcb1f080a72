//! What can go wrong between us and a module. Each sentence says what happened, to what, and what to do next.

use crate::prefix::PrefixError;
use crate::protocol::{Code, ErrorField};

/// Why a request to a module failed. Where text had already arrived it is kept ([`ClientError::text_so_far`]).
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ClientError {
    #[error(
        "could not connect to {address}: {detail}; check the address, that the module is on and in the same network, and that \
         llm-sys runs on it (`systemctl status llm-sys`)"
    )]
    Connect { address: String, detail: String },
    #[error(
        "{address} did not accept a connection within {seconds} s; check the address, the network and that the module is on"
    )]
    ConnectTimedOut { address: String, seconds: f64 },
    /// Also what a restart of llm-sys looks like: it forgets every task.
    #[error(
        "the connection to {address} was lost: {detail}; reconnect and set up the model again (if llm-sys has restarted, it has \
         forgotten its tasks)"
    )]
    ConnectionLost { address: String, detail: String },
    #[error(
        "{address} does not speak StackFlow: it sent {excerpt:?}; check host and port (the module's llm-sys listens on 10001)"
    )]
    Garbage { address: String, excerpt: String },
    #[error(
        "{work_id} did not answer {action:?} within {seconds} s; try again, and if it stays silent, restart the unit on the module \
         (`systemctl restart llm-llm`)"
    )]
    NoAnswer {
        action: String,
        work_id: String,
        seconds: f64,
    },
    /// The module answered with an error code.
    #[error("{}", refusal(action, work_id, error))]
    Refused {
        action: String,
        work_id: String,
        error: ErrorField,
    },
    #[error(
        "the answer to {action:?} cannot be used: {detail}; update the module's software, or check what answers at this address"
    )]
    Unreadable { action: String, detail: String },
    #[error(
        "setting up {model:?} took more than {seconds} s; wait until the module is idle and try again, or restart llm-llm on it"
    )]
    SetUpTimedOut { model: String, seconds: f64 },
    /// The caller decides whether these tasks may be ended.
    #[error(
        "the module already runs as many tasks as it can ({}), perhaps left by a former client; end those that are not needed, \
         then set up again",
        ids.join(", ")
    )]
    TaskFull { ids: Vec<String> },
    #[error("the task {work_id} no longer exists on the module ({detail}); set up the model again")]
    TaskGone { work_id: String, detail: String },
    #[error(
        "the unit hangs: {work_id} answered neither the inference nor a question for its state within {seconds} s; restart it on \
         the module (`systemctl restart llm-llm`, or sys.reset) and set up again"
    )]
    UnitSilent { work_id: String, seconds: f64 },
    #[error(
        "the module accepted the inference and never answered, although {work_id} is alive ({seconds} s waited); set up the model \
         again, shorten the prompt, or allow more time"
    )]
    NeverAnswered { work_id: String, seconds: f64 },
    #[error(
        "the stream stopped without an end: nothing came for {seconds} s after {} characters, which are kept; ask for whole texts \
         instead of streaming (a stock unit's stream stops at a character cut between two tokens)",
        text.chars().count()
    )]
    StreamStopped { text: String, seconds: f64 },
    #[error("the inference was not finished after {seconds} s and was stopped; {} characters are kept. Allow more time or fewer tokens", text.chars().count())]
    DeadlinePassed { text: String, seconds: f64 },
    #[error("the inference was stopped; {} characters are kept", text.chars().count())]
    Stopped { text: String },
    #[error(
        "the module answered with an empty text, which is how a stock unit says that prefix and prompt do not fit into its window, \
         or that max_token_len leaves no room (it counts prefix + prompt + output); shorten the prompt or the prefix, or raise it"
    )]
    EmptyAnswer,
    #[error("the prompt is empty; write something (a stock unit would drop it silently)")]
    EmptyPrompt,
    #[error("the prompt holds a NUL character, at which a unit would cut it; remove it")]
    NulInPrompt,
    #[error(
        "the unit did not confirm the prefix it was sent ({detail}), so its output cannot be trusted to come from it; update \
         softprefix-unit and try again"
    )]
    PrefixNotConfirmed { detail: String },
    #[error(
        "{work_id} cannot do {feature:?}: only our own unit can; connect to the embedded module or to a softprefix-unit"
    )]
    Unsupported { work_id: String, feature: String },
    #[error(transparent)]
    Prefix(#[from] PrefixError),
}

impl ClientError {
    /// The code, where the module sent one.
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

    /// Whether the connection is gone, so that only a reconnect helps.
    pub fn is_disconnect(&self) -> bool {
        matches!(self, Self::ConnectionLost { .. } | Self::Garbage { .. })
    }

    /// Whether the task is of no use any more, so that the model must be set up again.
    pub fn needs_set_up(&self) -> bool {
        self.is_disconnect()
            || matches!(
                self,
                Self::TaskGone { .. } | Self::UnitSilent { .. } | Self::NeverAnswered { .. }
            )
    }
}

fn refusal(action: &str, work_id: &str, error: &ErrorField) -> String {
    let ErrorField { code, message } = error;
    let meaning = code.meaning();
    if code.stock_message().is_none() && !message.is_empty() {
        // Our unit sends whole sentences.
        return format!("{message} ({action} on {work_id}, code {code})");
    }
    if let Some(sentence) = code
        .stock_message()
        .and_then(|stock| message.strip_prefix(stock))
        .map(str::trim)
        && !sentence.is_empty()
    {
        // Our unit keeps the stock message in front, for clients that compare it, and then says what is wrong.
        return format!("{sentence} ({action} on {work_id}, code {code})");
    }
    let remedy = code.remedy();
    if message.is_empty() || code.stock_message() == Some(message) {
        format!("{work_id} refused {action:?} with code {code} ({message}): {meaning}. {remedy}")
    } else {
        format!("{work_id} refused {action:?} with code {code}: {message} ({meaning}). {remedy}")
    }
}
