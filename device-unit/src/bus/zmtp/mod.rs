//! ZeroMQ over Unix sockets: REQ, SUB, PUSH, REP and PUB as in ZMTP 3.0 (RFC 23), mechanism NULL.
//!
//! The crate `zeromq` is not used, since the bus needs what it does not have. The connecting side must notice that a peer has gone
//! without writing to it, must be slowed down by a peer that does not read, and must know when a subscription has arrived. The
//! listening side must answer whatever other peers do: the crate's REP and PUB (0.7) hold a lock while they send and block the
//! thread on it when a peer disconnects, so that a caller at that moment can stop them for good.

mod connection;
mod frames;
mod listener;

use std::io;
use std::path::{Path, PathBuf};

pub use connection::{Connection, SubscriberCommand};
pub use frames::frame;
pub use listener::{Listener, remove_stale};

/// A socket type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Request,
    Reply,
    Subscriber,
    Publisher,
    Push,
}

impl Kind {
    fn name(self) -> &'static [u8] {
        match self {
            Self::Request => b"REQ",
            Self::Reply => b"REP",
            Self::Subscriber => b"SUB",
            Self::Publisher => b"PUB",
            Self::Push => b"PUSH",
        }
    }

    /// The types to which a socket of this type can be connected.
    fn partners(self) -> [&'static [u8]; 2] {
        match self {
            Self::Request => [b"REP", b"ROUTER"],
            Self::Reply => [b"REQ", b"DEALER"],
            Self::Subscriber => [b"PUB", b"XPUB"],
            Self::Publisher => [b"SUB", b"XSUB"],
            Self::Push => [b"PULL", b"PULL"],
        }
    }
}

/// The file of an `ipc://` address.
pub fn path_of(url: &str) -> io::Result<PathBuf> {
    let path = url.strip_prefix("ipc://").filter(|path| Path::new(path).is_absolute());
    path.map(PathBuf::from).ok_or_else(|| {
        io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("{url:?} is no ipc:// address of a file"),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_absolute_ipc_addresses_are_files() {
        assert_eq!(
            path_of("ipc:///tmp/llm/8001.sock").unwrap(),
            Path::new("/tmp/llm/8001.sock")
        );
        for url in ["tcp://127.0.0.1:1", "ipc://relative", "", "/tmp/x"] {
            assert!(path_of(url).is_err());
        }
    }
}
