//! Finds modules on the local network by multicast DNS, and asks them what they are. Nothing is asked on any other
//! address than those that were found and those that the user named.

use std::collections::BTreeSet;
use std::net::IpAddr;

use mdns_sd::{HostnameResolutionEvent, Receiver, ResolvedService, ServiceDaemon, ServiceEvent};
use softprefix_core::client::ConnectOptions;
use softprefix_core::protocol::discovery::{MODULE_HOST, SERVICE_TYPE};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use super::events::Events;
use crate::errors::{self, problem_of};
use crate::messages::{DiscoveryEvent, DiscoveryRequest, Event};
use crate::model::{FoundModule, ModuleAnswer, Problem, Target};
use crate::session::ModuleProbe;

/// Maximum number of modules that are asked, since anybody can announce any number.
const MAX_MODULES: usize = 32;

/// The part of the bridge that finds modules.
#[derive(Default)]
pub(super) struct Discovery {
    /// Dropped to end the search.
    stop: Option<oneshot::Sender<()>>,
}

impl Discovery {
    pub(super) fn handle(&mut self, request: DiscoveryRequest, events: &Events) {
        match request {
            DiscoveryRequest::Start { known } => {
                let (stop, stopped) = oneshot::channel();
                self.stop = Some(stop);
                let own = events.clone();
                let work = async move {
                    let (sender, mut found) = mpsc::channel(MAX_MODULES);
                    let forward = async {
                        while let Some(found) = found.recv().await {
                            own.send(event(DiscoveryEvent::Found(found))).await;
                        }
                    };
                    let search = async {
                        let problem = search(known, sender).await;
                        own.send(event(DiscoveryEvent::Failed(problem))).await;
                    };
                    tokio::select! {
                        _ = stopped => {}
                        _ = async { tokio::join!(forward, search) } => {}
                    }
                };
                events.spawn(work, |problem| event(DiscoveryEvent::Failed(problem)));
            }
            DiscoveryRequest::Stop => self.stop = None,
        }
    }
}

fn event(event: DiscoveryEvent) -> Event {
    Event::Discovery(Box::new(event))
}

/// Searches until it is dropped, and sends each module when it is found and when it has answered. The modules at the
/// `known` addresses are asked, too. Returns only if the network cannot be searched, and then why.
pub async fn search(known: Vec<String>, found: mpsc::Sender<FoundModule>) -> Problem {
    let mut asked = BTreeSet::new();
    let mut asking = JoinSet::new();
    let mut add = |asking: &mut JoinSet<()>, address: String, name: String| {
        if asked.len() < MAX_MODULES && asked.insert(address.clone()) {
            asking.spawn(ask(address, name, found.clone()));
        }
    };
    for address in known {
        add(&mut asking, address, String::new());
    }
    let mut searching = match Searching::start() {
        Ok(searching) => searching,
        Err(error) => {
            // The known modules may answer all the same.
            while asking.join_next().await.is_some() {}
            return errors::cannot_search(&error);
        }
    };
    loop {
        tokio::select! {
            next = searching.next() => match next {
                Some((address, name)) => add(&mut asking, address, name),
                None => return errors::cannot_search(&mdns_sd::Error::Msg("the search ended".to_owned())),
            },
            Some(_) = asking.join_next() => {}
        }
    }
}

/// Asks a module what it is.
async fn ask(address: String, name: String, found: mpsc::Sender<FoundModule>) {
    let module = |answer| FoundModule {
        address: address.clone(),
        name: name.clone(),
        answer,
    };
    // The receiver is dropped when the search ends, which ends this task, too.
    let _ = found.send(module(ModuleAnswer::Pending)).await;
    let answer = match ModuleProbe::at(&address, ConnectOptions::default()).await {
        Ok(probe) => ModuleAnswer::Module {
            model: probe.model().map(|card| card.name.clone()),
            ours: probe.ours,
        },
        Err(error) => ModuleAnswer::Problem(problem_of(&error)),
    };
    let _ = found.send(module(answer)).await;
}

/// A running search. Dropping it ends it.
struct Searching {
    daemon: ServiceDaemon,
    services: Receiver<ServiceEvent>,
    hosts: Receiver<HostnameResolutionEvent>,
}

impl Searching {
    fn start() -> Result<Self, mdns_sd::Error> {
        let daemon = ServiceDaemon::new()?;
        Ok(Self {
            services: daemon.browse(SERVICE_TYPE)?,
            hosts: daemon.resolve_hostname(MODULE_HOST, None)?,
            daemon,
        })
    }

    /// Returns the address and the name of the next module; `None` if the search has ended.
    async fn next(&mut self) -> Option<(String, String)> {
        loop {
            tokio::select! {
                event = self.services.recv_async() => {
                    if let ServiceEvent::ServiceResolved(service) = event.ok()?
                        && let Some(found) = of_service(&service)
                    {
                        return Some(found);
                    }
                }
                event = self.hosts.recv_async() => {
                    if let HostnameResolutionEvent::AddressesFound(host, addresses) = event.ok()?
                        && let Some(ip) = best(addresses.iter().map(|address| address.to_ip_addr()))
                    {
                        let name = host.trim_end_matches('.').trim_end_matches(".local").to_owned();
                        return Some((at(ip, Target::DEFAULT_PORT), name));
                    }
                }
            }
        }
    }
}

impl Drop for Searching {
    fn drop(&mut self) {
        if let Err(error) = self.daemon.shutdown() {
            tracing::debug!(%error, "the search on the local network goes on");
        }
    }
}

fn of_service(service: &ResolvedService) -> Option<(String, String)> {
    let ip = best(service.addresses.iter().map(|address| address.to_ip_addr()))?;
    let name = service.fullname.strip_suffix(SERVICE_TYPE).unwrap_or(&service.fullname);
    let name: String = name.trim_end_matches('.').chars().filter(|c| !c.is_control()).collect();
    Some((at(ip, service.port), name))
}

/// Returns the address to use: IPv4 if there is one, and none that needs an interface's name.
fn best(addresses: impl Iterator<Item = IpAddr>) -> Option<IpAddr> {
    let rank = |ip: &IpAddr| match ip {
        IpAddr::V4(ip) if !ip.is_loopback() => 0,
        IpAddr::V6(ip) if !ip.is_loopback() => 1,
        _ => 2,
    };
    addresses
        .filter(|ip| !matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local()))
        .min_by_key(|ip| (rank(ip), *ip))
}

fn at(ip: IpAddr, port: u16) -> String {
    std::net::SocketAddr::new(ip, port).to_string()
}
