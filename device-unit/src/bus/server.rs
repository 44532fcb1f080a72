//! The unit's address for llm-sys' calls: REP on `rpc.<unit>`. Every call is answered at once, because llm-sys holds everybody
//! up until it is (PROTOCOL 3.1); the work is done elsewhere, in the order of the calls.

use std::path::{Path, PathBuf};
use std::time::Duration;

use softprefix_core::protocol::extension;
use softprefix_core::protocol::message::action;
use softprefix_core::protocol::{Code, ErrorField, Reply, Request};
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use zeromq::{RepSocket, Socket, SocketRecv, SocketSend, ZmqMessage};

use super::sys::split_pair;
use super::{BusError, BusOptions, Module};
use crate::request_text;
use crate::unit::{Peer, Unit};

/// The actions of the stock unit, in the words and the order in which it lists them.
const LIST: &str = r#"{"actions":["taskinfo","link","exit","work","pause","setup","unlink","list_action"]}"#;
/// What a call is answered with by convention.
const DONE: &str = "None";
/// Calls that may wait to be carried out.
const WAITING: usize = 1024;
/// How long an answer may take to be taken.
const ANSWERING: Duration = Duration::from_secs(1);

pub struct Server {
    socket: RepSocket,
    path: PathBuf,
}

/// Takes the unit's address. A file that a killed unit left there is removed; a unit that answers there is left alone.
///
/// # Errors
/// [`BusError`].
pub async fn bind(options: &BusOptions, unit: &str) -> Result<Server, BusError> {
    let path = options.folder.join(format!("rpc.{unit}"));
    if UnixStream::connect(&path).await.is_ok() {
        return Err(BusError::Taken { path });
    }
    let cannot = |reason: String| BusError::Bind {
        path: path.clone(),
        reason,
    };
    match std::fs::remove_file(&path) {
        Ok(()) => tracing::info!("removed {}, which a unit left that was killed", path.display()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(cannot(error.to_string())),
    }
    let mut socket = RepSocket::new();
    socket
        .bind(&options.url(unit))
        .await
        .map_err(|error| cannot(error.to_string()))?;
    Ok(Server { socket, path })
}

impl Server {
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Answers calls, and has `unit` carry them out. It never returns.
    pub async fn run(&mut self, unit: &Unit, module: &Module) {
        let (calls, mut waiting) = mpsc::channel::<(Request, Peer)>(WAITING);
        let serving = unit.clone();
        let carrying_out = async move {
            while let Some((request, peer)) = waiting.recv().await {
                let unit = serving.clone();
                // Links ask llm-sys, and wait for it.
                let _ = tokio::task::spawn_blocking(move || unit.call(request, &peer)).await;
            }
        };
        let answering = async {
            loop {
                let message = match self.socket.recv().await {
                    Ok(message) => message,
                    Err(error) => {
                        // A caller that broke off, or spoke no REQ; the others are not touched by it.
                        tracing::debug!(%error, "a call could not be read");
                        tokio::time::sleep(Duration::from_millis(5)).await;
                        continue;
                    }
                };
                let frames = message.into_vec();
                let name = frames
                    .first()
                    .map(|frame| String::from_utf8_lossy(frame).into_owned())
                    .unwrap_or_default();
                let argument = frames.get(1).map(|frame| frame.to_vec()).unwrap_or_default();
                let answer = match name.as_str() {
                    "list_action" => LIST.to_owned(),
                    known if is_known(known) => DONE.to_owned(),
                    other => format!("{other} NotAction"),
                };
                let sending = self.socket.send(ZmqMessage::from(answer));
                if !matches!(tokio::time::timeout(ANSWERING, sending).await, Ok(Ok(()))) {
                    tracing::debug!(name, "a caller did not wait for its answer");
                }
                dispatch(&calls, module, name, &argument);
            }
        };
        tokio::join!(answering, carrying_out);
    }

    /// Gives the address back.
    pub async fn close(mut self) {
        self.socket.unbind_all().await;
        let _ = std::fs::remove_file(&self.path);
    }
}

fn is_known(name: &str) -> bool {
    let stock = [
        action::TASKINFO,
        action::LINK,
        action::EXIT,
        action::WORK,
        action::PAUSE,
        action::SETUP,
        action::UNLINK,
    ];
    let ours = [
        extension::EMBED,
        extension::VOCABULARY,
        extension::BUDGET,
        extension::NEAREST,
        extension::SCORE,
        extension::STOP,
    ];
    stock.contains(&name) || ours.contains(&name)
}

/// Passes a call on to be carried out: the client's address, and the request as it wrote it.
fn dispatch(calls: &mpsc::Sender<(Request, Peer)>, module: &Module, name: String, argument: &[u8]) {
    let Some((address, text)) = split_pair(argument) else {
        // A question of another program than llm-sys; it has its answer.
        tracing::debug!(name, "a call without address and request");
        return;
    };
    let peer = module.addresses.peer(&String::from_utf8_lossy(address));
    match request_text::read(text) {
        Ok(mut request) => {
            request.action = name;
            if let Err(error) = calls.try_send((request, peer)) {
                let (request, peer) = error.into_inner();
                let sentence = "Not available at the moment. Too many calls are waiting; ask again later.";
                let error = ErrorField::new(Code::NOT_AVAILABLE, sentence);
                peer.reply(&Reply::error(request.request_id, request.work_id, error));
            }
        }
        Err(_) => peer.reply(&request_text::unreadable()),
    }
}
