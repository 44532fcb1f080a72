//! Announces the unit on the local network by multicast DNS, so that clients find it without its address.

use std::net::SocketAddr;
use std::time::Duration;

use mdns_sd::{IfKind, ServiceDaemon, ServiceInfo};
use softprefix_core::protocol::discovery::{SERVICE_TYPE, UNIT_KEY};

/// Limit for taking the announcement back.
const GOODBYE: Duration = Duration::from_secs(1);

/// The unit cannot be announced.
#[derive(Debug, thiserror::Error)]
#[error("the unit is not announced on the local network ({0}); clients need its address")]
pub struct AnnounceError(#[from] mdns_sd::Error);

/// An announcement. Dropping it takes it back.
pub struct Announcement {
    daemon: ServiceDaemon,
    service: String,
}

impl Announcement {
    /// Announces a unit that listens on `address` as the service [`SERVICE_TYPE`], on the interfaces of that address.
    ///
    /// # Errors
    /// If the network cannot be used for it.
    pub fn start(address: SocketAddr) -> Result<Self, AnnounceError> {
        let daemon = ServiceDaemon::new()?;
        let port = address.port();
        // Two units on one machine have different ports; the library distinguishes machines of the same name.
        let machine = machine();
        let instance = format!("softprefix-unit on {machine}, port {port}");
        let host = format!("{machine}-softprefix-{port}.local.");
        let properties = [(UNIT_KEY, concat!("softprefix-unit ", env!("CARGO_PKG_VERSION")))];
        let ip = address.ip();
        let service = if ip.is_unspecified() {
            ServiceInfo::new(SERVICE_TYPE, &instance, &host, "", port, &properties[..])?.enable_addr_auto()
        } else {
            daemon.disable_interface(IfKind::All)?;
            daemon.enable_interface(ip)?;
            ServiceInfo::new(SERVICE_TYPE, &instance, &host, ip, port, &properties[..])?
        };
        let name = service.get_fullname().to_owned();
        daemon.register(service)?;
        Ok(Self { daemon, service: name })
    }
}

impl Drop for Announcement {
    fn drop(&mut self) {
        let taken_back = self.daemon.unregister(&self.service);
        let is_taken_back = taken_back.is_ok_and(|status| status.recv_timeout(GOODBYE).is_ok());
        if let (Err(_), _) | (_, false) = (self.daemon.shutdown(), is_taken_back) {
            tracing::debug!("the announcement was not taken back; it expires");
        }
    }
}

/// Returns the machine's name as a label of a domain name.
fn machine() -> String {
    let name = gethostname::gethostname();
    let label: String = name
        .to_string_lossy()
        .split('.')
        .next()
        .unwrap_or_default()
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .take(30)
        .collect();
    match label.trim_matches('-') {
        "" => "machine".to_owned(),
        label => label.to_owned(),
    }
}
