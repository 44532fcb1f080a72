//! Control by other programs over OSC: one socket that receives commands, one that sends notifications.
//!
//! Packets are read as fast as they arrive, so that a flood of them is counted rather than queued; the window gets the
//! last command of each name, at most once every [`LIVE_DELAY`].

pub mod osc;

use std::io;
use std::net::SocketAddr;

use tokio::net::{UdpSocket, lookup_host};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

use super::events::Events;
use crate::errors;
use crate::messages::{Event, ExternalEvent, ExternalRequest};
use crate::model::{Endpoint, LIVE_DELAY, Notification, Problem, Received};

/// Maximum length of a datagram, in bytes.
const MAX_PACKET_SIZE: usize = 65_536;
/// Number of notifications that wait to be sent. More are dropped: they are late already.
const WAITING: usize = 1024;

/// The part of the bridge for the control by other programs.
#[derive(Default)]
pub(super) struct External {
    open: Option<Open>,
    /// Has the last sockets, until it has closed them; the next ones may be of the same port.
    task: Option<JoinHandle<()>>,
}

struct Open {
    notifications: mpsc::Sender<Notification>,
    /// Dropped to close the sockets.
    _stop: oneshot::Sender<()>,
}

impl External {
    pub(super) fn handle(&mut self, request: ExternalRequest, events: &Events) {
        match request {
            ExternalRequest::Open { listen, send_to } => {
                self.open = None;
                let before = self.task.take();
                let (notifications, notified) = mpsc::channel(WAITING);
                let (stop, mut stopped) = oneshot::channel();
                let own = events.clone();
                let work = async move {
                    if let Some(before) = before
                        && let Err(error) = before.await
                    {
                        tracing::warn!(%error, "the sockets before were not closed in order");
                    }
                    let opened = tokio::select! {
                        _ = &mut stopped => return,
                        opened = Sockets::open(listen, send_to) => opened,
                    };
                    match opened {
                        Ok(sockets) => {
                            own.send(event(sockets.opened())).await;
                            sockets.serve(notified, stopped, &own).await;
                        }
                        Err(problem) => own.send(event(ExternalEvent::Refused(problem))).await,
                    }
                };
                self.task = Some(events.spawn(work, |problem| event(ExternalEvent::Refused(problem))));
                self.open = Some(Open {
                    notifications,
                    _stop: stop,
                });
            }
            ExternalRequest::Close => self.open = None,
            ExternalRequest::Notify(notification) => {
                if let Some(open) = &self.open
                    && let Err(error) = open.notifications.try_send(notification)
                {
                    tracing::warn!(%error, "a notification is dropped");
                }
            }
        }
    }
}

fn event(event: ExternalEvent) -> Event {
    Event::External(Box::new(event))
}

struct Sockets {
    listen: Option<(UdpSocket, SocketAddr)>,
    send: Option<(UdpSocket, SocketAddr)>,
}

impl Sockets {
    async fn open(listen: Option<Endpoint>, send_to: Option<Endpoint>) -> Result<Self, Problem> {
        let mut sockets = Self {
            listen: None,
            send: None,
        };
        if let Some(endpoint) = listen {
            let bound = async {
                let socket = UdpSocket::bind(resolve(&endpoint).await?).await?;
                let address = socket.local_addr()?;
                Ok((socket, address))
            };
            let bound = bound.await;
            sockets.listen = Some(bound.map_err(|error| errors::cannot_listen(&endpoint, &error))?);
        }
        if let Some(endpoint) = send_to {
            let bound = async {
                let address = resolve(&endpoint).await?;
                let from: SocketAddr = match address {
                    address if address.ip().is_loopback() => (address.ip(), 0).into(),
                    SocketAddr::V4(_) => ([0; 4], 0).into(),
                    SocketAddr::V6(_) => ([0_u16; 8], 0).into(),
                };
                Ok((UdpSocket::bind(from).await?, address))
            };
            let bound = bound.await;
            sockets.send = Some(bound.map_err(|error| errors::cannot_send(&endpoint.to_string(), &error))?);
        }
        Ok(sockets)
    }

    fn opened(&self) -> ExternalEvent {
        let address = |socket: &Option<(UdpSocket, SocketAddr)>| socket.as_ref().map(|(_, address)| *address);
        ExternalEvent::Opened {
            listen: address(&self.listen),
            send_to: address(&self.send),
        }
    }

    /// Receives and sends until `stopped`.
    async fn serve(
        self,
        mut notifications: mpsc::Receiver<Notification>,
        stopped: oneshot::Receiver<()>,
        events: &Events,
    ) {
        let receive = async {
            if let Some((socket, _)) = &self.listen {
                receive(socket, events).await;
            }
        };
        let send = async {
            let mut fails = false;
            while let Some(notification) = notifications.recv().await {
                let Some((socket, address)) = &self.send else { continue };
                let sent = send(socket, *address, &notification).await;
                if let (Err(error), false) = (&sent, fails) {
                    let problem = errors::cannot_send(&address.to_string(), error);
                    events.send(event(ExternalEvent::NotSent(problem))).await;
                }
                fails = sent.is_err();
            }
        };
        tokio::select! {
            _ = stopped => {}
            _ = async { tokio::join!(receive, send) } => {}
        }
    }
}

async fn resolve(endpoint: &Endpoint) -> io::Result<SocketAddr> {
    let mut addresses = lookup_host(endpoint.to_string()).await?;
    addresses.next().ok_or_else(|| io::ErrorKind::NotFound.into())
}

async fn receive(socket: &UdpSocket, events: &Events) {
    let mut packet = vec![0; MAX_PACKET_SIZE];
    let mut received = Received::default();
    let mut due = Instant::now();
    loop {
        let deliver = async {
            sleep_until(due).await;
            events.sender.reserve().await
        };
        tokio::select! {
            got = socket.recv_from(&mut packet) => match got {
                Ok((len, _)) => received.add(osc::parse(&packet[..len])),
                Err(error) => {
                    // Some systems report here that an earlier datagram did not arrive.
                    tracing::debug!(%error, "no packet");
                    tokio::task::yield_now().await;
                }
            },
            room = deliver, if !received.is_empty() => {
                // Closed when the app exits.
                let Ok(room) = room else { return };
                room.send(event(ExternalEvent::Received(std::mem::take(&mut received))));
                (events.wake)();
                due = Instant::now() + LIVE_DELAY;
            }
        }
    }
}

async fn send(socket: &UdpSocket, address: SocketAddr, notification: &Notification) -> io::Result<()> {
    let datagram = osc::datagram(notification).map_err(|error| io::Error::other(error.to_string()))?;
    socket.send_to(&datagram, address).await.map(drop)
}
