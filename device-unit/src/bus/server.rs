//! The unit's address for llm-sys' calls: REP on `rpc.<unit>`. Every call is answered at once, because llm-sys holds everybody
//! up until it is (PROTOCOL 3.1); the work is done elsewhere, in the order of the calls.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use softprefix_core::protocol::{Code, ErrorField, Reply};
use tokio::net::UnixStream;
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinSet;

use super::sys::split_pair;
use super::zmtp::{Connection, Kind, Listener, remove_stale};
use super::{BusError, BusOptions, Module, charge_of};
use crate::request_text::{self, Request};
use crate::tasks::tell_panic;
use crate::unit::{Peer, Unit, answer_to_call};

/// Calls that may wait to be carried out.
const WAITING: usize = 1024;
/// Callers at once: llm-sys is one, and each unit that asks another.
const CALLERS: usize = 64;
/// How long an answer may take to be taken; others wait meanwhile.
const ANSWERING: Duration = Duration::from_secs(1);

pub struct Server(Listener);

/// Calls on their way to be carried out, in the order of their answers: who makes a second call on the answer to the first must not
/// overtake it.
type Calls = Arc<Mutex<mpsc::Sender<(Request, Peer)>>>;

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
    if remove_stale(&path).map_err(|error| cannot(error.to_string()))? {
        tracing::info!("removed {}, which a unit left that was killed", path.display());
    }
    let listener = Listener::bind(&options.url(unit)).map_err(|error| cannot(error.to_string()))?;
    Ok(Server(listener))
}

impl Server {
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Answers calls, and has `unit` carry them out. It never returns.
    pub async fn run(&self, unit: &Unit, module: &Arc<Module>) {
        let (calls, mut waiting) = mpsc::channel::<(Request, Peer)>(WAITING);
        let carrying_out = async {
            while let Some((request, peer)) = waiting.recv().await {
                let unit = unit.clone();
                let (request_id, work_id) = (request.request_id.clone(), request.work_id.clone());
                let there = peer.clone();
                // Links ask llm-sys, and wait for it.
                let carried_out = tokio::task::spawn_blocking(move || unit.call(request, &peer)).await;
                if let Err(error) = carried_out {
                    tracing::error!(%error, "a call could not be carried out");
                    let sentence = "Model run failed. The unit failed unexpectedly; see its log.";
                    there.reply(&Reply::error(
                        request_id,
                        work_id,
                        ErrorField::new(Code::MODEL_RUN, sentence),
                    ));
                }
            }
        };
        let answering = async {
            let calls = Arc::new(Mutex::new(calls));
            let mut callers = JoinSet::new();
            loop {
                tokio::select! {
                    stream = self.0.accept(), if callers.len() < CALLERS => {
                        let (calls, module) = (Arc::clone(&calls), Arc::clone(module));
                        callers.spawn(async move {
                            // Whoever breaks off or speaks no REQ; the others are not touched by it.
                            if let Err(error) = answer(stream, &calls, &module).await {
                                tracing::debug!(%error, "a caller has gone");
                            }
                        });
                    }
                    Some(ended) = callers.join_next() => tell_panic(ended, "answering a caller"),
                }
            }
        };
        tokio::join!(answering, carrying_out);
    }
}

/// Answers the calls of one who has connected, until it goes.
async fn answer(stream: UnixStream, calls: &Calls, module: &Module) -> std::io::Result<()> {
    let mut caller = Connection::accept(stream, Kind::Reply, &module.memory).await?;
    loop {
        let mut frames = caller.receive().await?;
        // REQ puts an empty frame in front, routers on the way put more before that: all of it goes back with the answer.
        let Some(envelope) = frames.iter().position(Vec::is_empty) else {
            tracing::debug!("a call without an envelope");
            continue;
        };
        let call = frames.split_off(envelope + 1);
        let name = call
            .first()
            .map(|frame| String::from_utf8_lossy(frame).into_owned())
            .unwrap_or_default();
        let answer = answer_to_call(&name);
        let reply: Vec<&[u8]> = frames.iter().map(Vec::as_slice).chain([answer.as_bytes()]).collect();
        let calls = calls.lock().await;
        let sent = tokio::time::timeout(ANSWERING, caller.send(&reply)).await;
        dispatch(&calls, module, name, call.get(1).map_or(&[][..], Vec::as_slice));
        drop(calls);
        // What was not written whole leaves nothing to go on with.
        sent.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()))?;
    }
}

/// Passes a call on to be carried out: the client's address, and the request as it wrote it.
fn dispatch(calls: &mpsc::Sender<(Request, Peer)>, module: &Module, name: String, argument: &[u8]) {
    let Some((address, text)) = split_pair(argument) else {
        // A question of another program than llm-sys; it has its answer.
        tracing::debug!(name, "a call without address and request");
        return;
    };
    let peer = module.addresses.peer(&String::from_utf8_lossy(address));
    match request_text::read(text.to_vec(), charge_of(&module.memory, text.len())) {
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
