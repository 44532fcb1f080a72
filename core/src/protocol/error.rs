//! Error codes of the stock programs and of our unit, with meaning and remedy.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The code of a reply's `error`. 0 is success; unknown codes are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Code(pub i32);

impl Code {
    /// Success.
    pub const OK: Self = Self(0);
    /// llm-sys lost the boundary between messages on this connection, or failed within a request.
    pub const RESET: Self = Self(-1);
    /// The message is not JSON, or a set-up's `data` is not an object.
    pub const JSON: Self = Self(-2);
    /// llm-sys has no such action, or does not allow it over TCP.
    pub const ACTION: Self = Self(-3);
    /// No task has this work id, so the inference was not forwarded.
    pub const PUSH: Self = Self(-4);
    /// The unit cannot load the model: its card or a required field of the set-up is missing, or the engine failed.
    pub const MODEL_LOADING: Self = Self(-5);
    /// The unit has no task of this number.
    pub const NO_SUCH_UNIT: Self = Self(-6);
    /// The unit is not running. A unit that hangs gives no reply at all.
    pub const UNIT_CALL: Self = Self(-9);
    /// Not offered, as `lstask` on any module; also how our unit refuses a request without memory for it, and a client
    /// without the [`Secret`](super::extension::Secret).
    pub const NOT_AVAILABLE: Self = Self(-10);
    /// The inference failed in the unit, or its task ended meanwhile.
    pub const MODEL_RUN: Self = Self(-11);
    /// A path is not absolute, or there is no such file.
    pub const FILE: Self = Self(-17);
    /// The unit has no such action.
    pub const NO_UNIT_ACTION: Self = Self(-18);
    /// Two units' tasks cannot be linked.
    pub const LINK: Self = Self(-20);
    /// The unit runs as many tasks as it can.
    pub const TASK_FULL: Self = Self(-21);
    /// A parameter has the wrong form.
    pub const PARAMETER: Self = Self(-22);
    /// The text of an inference is not the base64 that its `object` announces.
    pub const BASE64: Self = Self(-23);
    /// An inference without text, to units other than the LLM unit (see [`Code::EMPTY_PROMPT`]).
    pub const NO_DATA: Self = Self(-24);
    /// The frames of a streamed prompt are out of order.
    pub const STREAM_INDEX: Self = Self(-25);
    /// Our unit only: the soft prefix has the wrong size or type. The stock unit ignores such a prefix silently.
    pub const PREFIX_SIZE: Self = Self(-30);
    /// Our unit only: the soft prefix holds NaN or infinity.
    pub const PREFIX_NOT_FINITE: Self = Self(-31);
    /// Our unit only: prefix, prompt and output do not fit into the window.
    pub const WINDOW: Self = Self(-32);
    /// Our unit only: a soft prefix where it cannot be used (plain form, an earlier frame).
    pub const PREFIX_UNUSABLE: Self = Self(-33);
    /// Our unit only: the prompt is empty. The stock unit does not reply.
    pub const EMPTY_PROMPT: Self = Self(-34);
    /// Our unit only: the model's chat template refuses this text; another one can be run. The stock unit has a template that takes all.
    pub const TEXT_REFUSED: Self = Self(-35);

    /// Every code with a known meaning, except 0.
    pub const ALL: [Self; 23] = [
        Self::RESET,
        Self::JSON,
        Self::ACTION,
        Self::PUSH,
        Self::MODEL_LOADING,
        Self::NO_SUCH_UNIT,
        Self::UNIT_CALL,
        Self::NOT_AVAILABLE,
        Self::MODEL_RUN,
        Self::FILE,
        Self::NO_UNIT_ACTION,
        Self::LINK,
        Self::TASK_FULL,
        Self::PARAMETER,
        Self::BASE64,
        Self::NO_DATA,
        Self::STREAM_INDEX,
        Self::PREFIX_SIZE,
        Self::PREFIX_NOT_FINITE,
        Self::WINDOW,
        Self::PREFIX_UNUSABLE,
        Self::EMPTY_PROMPT,
        Self::TEXT_REFUSED,
    ];

    /// Whether this is [`Code::OK`].
    pub fn is_ok(self) -> bool {
        self == Self::OK
    }

    /// The message exactly as the stock programs spell it, where they have one for this code. [`Code::JSON`] is spelled
    /// without a full stop by llm-sys and with one by a unit's set-up: this is llm-sys's spelling.
    pub fn stock_message(self) -> Option<&'static str> {
        Some(match self {
            Self::OK => "",
            Self::RESET => "reace reset",
            Self::JSON => "json format error",
            Self::ACTION => "action match false",
            Self::PUSH => "inference data push false",
            Self::MODEL_LOADING => "Model loading failed.",
            Self::NO_SUCH_UNIT => "Unit Does Not Exist",
            Self::UNIT_CALL => "unit call false",
            Self::NOT_AVAILABLE => "Not available at the moment.",
            Self::MODEL_RUN => "Model run failed.",
            Self::NO_UNIT_ACTION => "not have unit action!",
            Self::LINK => "link false",
            Self::TASK_FULL => "task full",
            Self::BASE64 => "Base64 decoding error.",
            Self::NO_DATA => "inference data is empty",
            Self::STREAM_INDEX => "Stream data index error.",
            _ => return None,
        })
    }

    /// The meaning for the request, as a clause.
    pub fn meaning(self) -> &'static str {
        match self {
            Self::OK => "the request was carried out",
            Self::RESET => "llm-sys lost track of the messages on this connection",
            Self::JSON => "the request was not the JSON that is expected",
            Self::ACTION => "llm-sys does not know this action, or does not allow it",
            Self::PUSH => "no task with this id is known to llm-sys",
            Self::MODEL_LOADING => "the unit could not load the model",
            Self::NO_SUCH_UNIT => "the unit has no task with this id",
            Self::UNIT_CALL => "the unit is not running on the module",
            Self::NOT_AVAILABLE => "llm-sys does not offer this at the moment",
            Self::MODEL_RUN => "the model could not run, or its task was gone when the text arrived",
            Self::FILE => "the file was not found or its path is not absolute",
            Self::NO_UNIT_ACTION => "the unit does not know this action",
            Self::LINK => "the tasks could not be linked",
            Self::TASK_FULL => "the unit already runs as many tasks as it can",
            Self::PARAMETER => "a parameter has the wrong form",
            Self::BASE64 => "the text sent as base64 could not be decoded",
            Self::NO_DATA => "the inference carried no text",
            Self::STREAM_INDEX => "the frames of the prompt did not arrive as 0, 1, 2 ...",
            Self::PREFIX_SIZE => "the soft prefix has the wrong size or type",
            Self::PREFIX_NOT_FINITE => "the soft prefix holds NaN or infinity",
            Self::WINDOW => "prefix, prompt and output do not fit into the window",
            Self::PREFIX_UNUSABLE => "a soft prefix cannot be used in this request",
            Self::EMPTY_PROMPT => "the prompt is empty",
            Self::TEXT_REFUSED => "the model's chat template refuses this text",
            _ => "the module sent a code that this program does not know",
        }
    }

    /// What to do about it, as one or more sentences.
    pub fn remedy(self) -> &'static str {
        match self {
            Self::OK => "Nothing needs to be done.",
            Self::RESET => "Reconnect; if it comes back, another program may be writing to the same connection.",
            Self::JSON => "Check the request; reconnect if it happens with requests that worked before.",
            Self::ACTION => "Check the action's name, and update the module's llm-sys if the action is newer than it.",
            Self::PUSH => {
                "Set up the model again: the set-up failed, the task was ended by someone, or llm-sys has restarted."
            }
            Self::MODEL_LOADING => {
                "Check the model's name against the list of models, that its package is installed on the module, and that \
                 no other model fills the memory (restarting llm-llm frees it)."
            }
            Self::NO_SUCH_UNIT => "Set up the model again: the unit has restarted or the task has ended.",
            Self::UNIT_CALL => {
                "On the module, run `systemctl status llm-llm` and `ldd /opt/m5stack/bin/llm_llm-*`: if GLIBCXX_3.4.30 or \
                 libax_interpreter.so is not found, point the libstdc++ link in /usr/local/m5stack/lib/gcc-10.3 to the \
                 system's, or add the folder of the Axera libraries to ld.so.conf.d and run ldconfig; then restart llm-llm."
            }
            Self::NOT_AVAILABLE => "Ask the unit itself (taskinfo).",
            Self::MODEL_RUN => "Set up the model again; if it fails again, restart llm-llm on the module.",
            Self::FILE => "Give an absolute path of a file that exists on the module.",
            Self::NO_UNIT_ACTION => "Use setup, inference, pause, exit, taskinfo, link or unlink.",
            Self::LINK => "Set up the other unit's task first; only asr and kws tasks can be linked.",
            Self::TASK_FULL => "End a task that is no longer needed, then set up again.",
            Self::PARAMETER => "Check the parameters of the request.",
            Self::BASE64 => "Send standard base64 without line breaks.",
            Self::NO_DATA => "Send a text that is not empty.",
            Self::STREAM_INDEX => {
                "Send the frames of a prompt with index 0, 1, 2 ... and let no other client write to this task."
            }
            Self::PREFIX_SIZE => "Build the prefix for this model's hidden size.",
            Self::PREFIX_NOT_FINITE => "Choose a smaller magnitude, or correct the data.",
            Self::WINDOW => "Shorten the prompt, the prefix or the output.",
            Self::PREFIX_UNUSABLE => "Send the prefix in stream form, in the frame with finish true.",
            Self::EMPTY_PROMPT => "Write a prompt.",
            Self::TEXT_REFUSED => "Change the prompt or the system prompt.",
            _ => "Look at the module's log (`journalctl -u llm-sys -u llm-llm`).",
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// `error` of a reply.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorField {
    /// What went wrong, as a number; [`Code::OK`] on success.
    pub code: Code,
    /// Free text from the sender; empty on success.
    #[serde(default)]
    pub message: String,
}

impl ErrorField {
    /// Code 0 with an empty message.
    pub fn ok() -> Self {
        Self {
            code: Code::OK,
            message: String::new(),
        }
    }

    /// A code with the stock program's message, or with its meaning where the stock programs have none.
    pub fn stock(code: Code) -> Self {
        Self {
            code,
            message: code.stock_message().unwrap_or_else(|| code.meaning()).to_owned(),
        }
    }

    /// A code with a message of the caller's own.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }

    /// An error with the code [`Code::PARAMETER`].
    pub fn parameter(message: impl Into<String>) -> Self {
        Self::new(Code::PARAMETER, message)
    }
}

impl From<&crate::prefix::PrefixError> for ErrorField {
    /// The code under which a unit refuses a prefix; the message is the error's.
    fn from(error: &crate::prefix::PrefixError) -> Self {
        use crate::prefix::PrefixError;
        let code = match error {
            PrefixError::NotFinite { .. } => Code::PREFIX_NOT_FINITE,
            PrefixError::WindowExceeded { .. } => Code::WINDOW,
            _ => Code::PREFIX_SIZE,
        };
        Self::new(code, error.to_string())
    }
}
