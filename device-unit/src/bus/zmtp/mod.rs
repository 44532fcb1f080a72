//! ZeroMQ over Unix sockets: REQ, SUB, PUSH, REP and PUB as ZMTP 3.0 (RFC 23) has them, mechanism NULL.
//!
//! By hand, because the units and llm-sys hang on what the `zeromq` crate leaves open. Who connects has to know that a peer has
//! gone without writing to it, to be held up by a peer that does not read, and to know that a subscription has arrived. Who
//! is connected to must answer whatever the others do: the crate's REP and PUB (0.7) take a lock for as long as they send and wait
//! for it with the thread when a peer goes, so that a caller who comes at that moment can stop them for good.
//! It knows no message's meaning.

mod connection;
mod frames;
mod listener;

use std::io;
use std::path::{Path, PathBuf};

pub use connection::{Connection, Wish};
pub use frames::frame;
pub use listener::{Listener, remove_stale};

/// What a socket is.
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

    /// The sockets that one of this kind may be connected to.
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
