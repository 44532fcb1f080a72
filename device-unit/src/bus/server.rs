//! The unit's REP socket for calls, `rpc.<unit>`. Every call is answered at once, because llm-sys blocks all its clients until it is
//! (PROTOCOL 3.1); the calls are executed in order by another task.

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
use crate::tasks::log_panic;
use crate::unit::{Peer, Unit, rpc_answer};

/// Most calls that wait to be executed.
const WAITING: usize = 1024;
/// Most callers at once: llm-sys, and each unit that calls this one.
const CALLERS: usize = 64;
/// Limit for writing an answer; other callers wait meanwhile.
const ANSWERING: Duration = Duration::from_secs(1);

pub struct Server(Listener);

/// Queue of calls in the order of their answers: a caller's second call, made after the answer to the first, must not
/// overtake it.
type Calls = Arc<Mutex<mpsc::Sender<(Request, Peer)>>>;

/// Binds the unit's address. Removes the socket of a killed unit, but not that of a running one.
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
        tracing::info!("removed {}, left by a unit that was killed", path.display());
    }
    let listener = Listener::bind(&options.url(unit)).map_err(|error| cannot(error.to_string()))?;
    Ok(Server(listener))
}

impl Server {
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Answers calls and passes them to `unit`. Never returns.
    pub async fn run(&self, unit: &Unit, module: &Arc<Module>) {
        let (calls, mut waiting) = mpsc::channel::<(Request, Peer)>(WAITING);
        let carrying_out = async {
            while let Some((request, peer)) = waiting.recv().await {
                let unit = unit.clone();
                let (request_id, work_id) = (request.request_id.clone(), request.work_id.clone());
                let there = peer.clone();
                // On a blocking thread: linking waits for llm-sys.
                let carried_out = tokio::task::spawn_blocking(move || unit.call(request, &peer)).await;
                if let Err(error) = carried_out {
                    tracing::error!(%error, "a call could not be executed");
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
                            // An error ends only this caller's connection.
                            if let Err(error) = answer(stream, &calls, &module).await {
                                tracing::debug!(%error, "a caller has disconnected");
                            }
                        });
                    }
                    Some(ended) = callers.join_next() => log_panic(ended, "answering a caller"),
                }
            }
        };
        tokio::join!(answering, carrying_out);
    }
}

/// Answers the calls of one caller until it disconnects.
async fn answer(stream: UnixStream, calls: &Calls, module: &Module) -> std::io::Result<()> {
    let mut caller = Connection::accept(stream, Kind::Reply, &module.memory).await?;
    loop {
        let mut frames = caller.receive().await?;
        // The envelope: REQ sends an empty frame first, routers insert more before it. All of it is returned with the
        // answer.
        let Some(envelope) = frames.iter().position(Vec::is_empty) else {
            tracing::debug!("a call without an envelope");
            continue;
        };
        let call = frames.split_off(envelope + 1);
        let name = call
            .first()
            .map(|frame| String::from_utf8_lossy(frame).into_owned())
            .unwrap_or_default();
        let answer = rpc_answer(&name);
        let reply: Vec<&[u8]> = frames.iter().map(Vec::as_slice).chain([answer.as_bytes()]).collect();
        let calls = calls.lock().await;
        let sent = tokio::time::timeout(ANSWERING, caller.send(&reply)).await;
        dispatch(&calls, module, name, call.get(1).map_or(&[][..], Vec::as_slice));
        drop(calls);
        // After a partly written answer the connection cannot be used.
        sent.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()))?;
    }
}

/// Queues a call. Its argument is the client's address and the request as the client wrote it.
fn dispatch(calls: &mpsc::Sender<(Request, Peer)>, module: &Module, name: String, argument: &[u8]) {
    let Some((address, text)) = split_pair(argument) else {
        // A call by another program than llm-sys, which expects no reply besides the answer.
        tracing::debug!(name, "a call without address and request");
        return;
    };
    let peer = module.addresses.peer(&String::from_utf8_lossy(address));
    match request_text::read(text.to_vec(), charge_of(&module.memory, text.len())) {
        Ok(mut request) => {
            request.action = name;
            if let Err(error) = calls.try_send((request, peer)) {
                let (request, peer) = error.into_inner();
                let sentence = "Not available at the moment. Too many calls are waiting; try again later.";
                let error = ErrorField::new(Code::NOT_AVAILABLE, sentence);
                peer.reply(&Reply::error(request.request_id, request.work_id, error));
            }
        }
        Err(_) => peer.reply(&request_text::unreadable_reply()),
    }
}
