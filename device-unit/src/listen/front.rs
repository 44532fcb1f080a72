//! Routing of messages, and the actions of llm-sys itself (PROTOCOL 2 and 2.1).
//!
//! No action runs commands, moves files or restarts the machine for a peer: such actions are refused.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use softprefix_core::protocol::message::{SYS, UNREADABLE_REQUEST_ID, action, object, to_data};
use softprefix_core::protocol::{Code, ErrorField, Reply, frame};

use tokio::runtime::Handle;

use super::intake::Incoming;
use crate::budget::{Budget, Charge};
use crate::machine;
use crate::request_text::{self, Request, Unreadable, is_for_sys, unreadable_reply};
use crate::tasks;
use crate::unit::{Peer, Unit, request_memory_full, rpc_answer};

/// The version of llm-sys that is imitated.
const VERSION: &str = "v1.6";

/// The model that is preinstalled on the module.
const MODULE_MODEL: &str = "qwen2.5-0.5B-prefill-20e";
const AXCL_CMMINFO: &str = "axcl_cmminfo";

/// Actions of llm-sys that give a peer power over the machine.
const REFUSED: [&str; 8] = [
    "bashexec",
    "push",
    "pull",
    "update",
    "upgrade",
    "rmmode",
    "reboot",
    "uartsetup",
];

/// The behaviour of llm-sys, with one unit.
#[derive(Clone)]
pub struct Front {
    unit: Unit,
}

impl Front {
    pub fn new(unit: Unit) -> Self {
        Self { unit }
    }

    /// Processes one message. Never blocks; replies go to `peer`.
    pub fn take(&self, incoming: Incoming, charge: Charge, peer: &Peer) {
        match incoming {
            Incoming::Message(text) => match request_text::read(text, charge) {
                Ok(request) => self.route(request, peer),
                Err(Unreadable::BraceEscapes) => peer.sink().send(reset_message("")),
                Err(Unreadable::Broken) => peer.reply(&unreadable_reply()),
            },
            Incoming::Raw { header, payload } => match raw_message(&header, &payload, charge) {
                Ok(request) => self.route(request, peer),
                Err(_) => peer.reply(&unreadable_reply()),
            },
            Incoming::Bson => {
                let mut reply = unreadable_reply();
                reply.error.message.push_str(": BSON is not understood here; send JSON");
                peer.reply(&reply);
            }
            Incoming::Broken => peer.reply(&unreadable_reply()),
            Incoming::Unbalanced => peer.sink().send(reset_message("")),
            Incoming::TooLarge => peer.sink().send(reset_message(
                ": the message is larger than this module takes (16 MiB), or never ends; the connection is closed",
            )),
            Incoming::NoRoom => {
                let mut error = request_memory_full(self.unit.memory());
                error.message.push_str(" The connection is closed.");
                peer.reply(&Reply::error(UNREADABLE_REQUEST_ID, SYS, error));
            }
        }
    }

    /// The unit's memory budget.
    pub fn memory(&self) -> &Budget {
        self.unit.memory()
    }

    fn route(&self, request: Request, peer: &Peer) {
        let unit = request.work_id.split('.').next().unwrap_or_default();
        if request.action == action::INFERENCE {
            if self.unit.is_task(&request.work_id) {
                self.unit.call(request, peer);
            } else {
                peer.reply(&Reply::stock_error(request.request_id, request.work_id, Code::PUSH));
            }
        } else if is_for_sys(&request.work_id) {
            self.answer(request, peer);
        } else if unit == self.unit.name() {
            self.unit.call(request, peer);
        } else {
            peer.reply(&Reply::stock_error(
                request.request_id,
                request.work_id,
                Code::UNIT_CALL,
            ));
        }
    }

    /// The actions of llm-sys itself.
    fn answer(&self, request: Request, peer: &Peer) {
        let Request {
            request_id,
            work_id,
            action,
            object,
            ..
        } = request;
        let data_reply = |object: &str, data: Value| Reply::data(request_id.clone(), work_id.clone(), object, data);
        let reply = match action.as_str() {
            action::PING => Reply::ok(request_id, work_id),
            action::VERSION => data_reply(object::SYS_TEXT, VERSION.into()),
            action::VERSION2 => data_reply(object::SYS_STREAM, json!([])),
            action::LSMODE => data_reply(object::LSMODE, cards_in_order(self.unit.cards()).into()),
            action::LSTASK => Reply::stock_error(request_id, work_id, Code::NOT_AVAILABLE),
            // The second name is that of the PCIe cards' memory; M5Stack's OpenAI server uses either, depending on its
            // version.
            action::CMMINFO | AXCL_CMMINFO => data_reply(object::CMMINFO, to_data(&machine::cmminfo())),
            action::HWINFO => {
                let peer = peer.clone();
                tasks::spawn(&Handle::current(), "reading this machine's state", async move {
                    // The stock module always answers as `sys` here.
                    peer.reply(&Reply::data(
                        request_id,
                        SYS,
                        object::HWINFO,
                        to_data(&machine::hwinfo().await),
                    ));
                });
                return;
            }
            action::RESET => {
                // For a client, a restart means that its tasks are gone. The connections stay.
                self.unit.reset();
                let mut reply = Reply::ok(request_id, work_id);
                reply.error.message = "llm server restarting ...".into();
                reply
            }
            action::UNIT_CALL => {
                let object = object.unwrap_or_default();
                // The calls need a ZeroMQ address for their replies, which TCP clients do not have: only the names are
                // checked.
                let answer = match object.split_once('.') {
                    Some((SYS, "list_action")) => r#"{"actions":["list_action"]}"#.to_owned(),
                    Some((unit, name)) if unit == self.unit.name() => rpc_answer(name),
                    _ => String::new(),
                };
                let data = serde_json::from_str(&answer).unwrap_or(Value::String(answer));
                data_reply(&object, data)
            }
            refused if REFUSED.contains(&refused) => {
                let stock = Code::ACTION.stock_message().unwrap_or_default();
                let message = format!("{stock}: {refused} is not offered by this module");
                Reply::error(request_id, work_id, ErrorField::new(Code::ACTION, message))
            }
            _ => Reply::stock_error(request_id, work_id, Code::ACTION),
        };
        peer.reply(&reply);
    }
}

/// Public clients use the first language model of the list and are made for this one.
fn cards_in_order(mut cards: Vec<Value>) -> Vec<Value> {
    cards.sort_by_key(|card| card["mode"] != MODULE_MODEL);
    cards
}

/// The message to a client beyond the most connections.
pub fn too_many_connections() -> Vec<u8> {
    turned_away("Too many clients are connected; close some of them.")
}

/// The message to a client without the secret.
pub fn belongs_to_another() -> Vec<u8> {
    turned_away(
        "This module serves the program that started it and no other; start softprefix-unit --listen for your own use.",
    )
}

fn turned_away(sentence: &str) -> Vec<u8> {
    let stock = Code::NOT_AVAILABLE.stock_message().unwrap_or_default();
    let sentence = format!("{stock} {sentence}");
    frame::encode(&Reply::error(
        UNREADABLE_REQUEST_ID,
        SYS,
        ErrorField::new(Code::NOT_AVAILABLE, sentence),
    ))
}

/// The error that llm-sys sends after broken framing, in its form with spaces and without a line end (PROTOCOL 1.6).
fn reset_message(detail: &str) -> Vec<u8> {
    let created = softprefix_core::time::now() as u64;
    format!(
        "{{\"request_id\": \"{UNREADABLE_REQUEST_ID}\",\"work_id\": \"{SYS}\",\"created\": {created},\"error\":{{\"code\":-1, \
         \"message\":\"reace reset{detail}\"}}}}"
    )
    .into_bytes()
}

/// The header object with the bytes that followed as its `data`, in base64.
fn raw_message(header: &[u8], payload: &[u8], charge: Charge) -> Result<Request, Unreadable> {
    let mut text = String::from("{\"data\":\"");
    STANDARD.encode_string(payload, &mut text);
    text.push_str("\"}");
    Request::with_data(header, text.into_bytes(), charge)
}
