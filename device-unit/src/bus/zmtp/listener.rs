//! A bound socket: a file to which others connect.

use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::net::{UnixListener, UnixStream};

use super::path_of;

/// Pause after a failed accept, as when the process has too many open files.
const RETRY_AFTER: Duration = Duration::from_millis(50);

/// Accepts connections. Dropping it removes its file.
#[derive(Debug)]
pub struct Listener {
    listener: UnixListener,
    path: PathBuf,
    /// Device and inode of the file: another file at the same path is not removed.
    file: (u64, u64),
}

impl Listener {
    /// Binds `url`, where no file may exist. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn bind(url: &str) -> io::Result<Self> {
        let path = path_of(url)?;
        let listener = UnixListener::bind(&path)?;
        let file = identity(&path)?;
        Ok(Self { listener, path, file })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The next connection, before its handshake. Cancel safe.
    pub async fn accept(&self) -> UnixStream {
        loop {
            match self.listener.accept().await {
                Ok((stream, _)) => return stream,
                Err(error) => {
                    tracing::warn!(%error, "connections to {} cannot be accepted", self.path.display());
                    tokio::time::sleep(RETRY_AFTER).await;
                }
            }
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|file| file == self.file)
            && let Err(error) = std::fs::remove_file(&self.path)
        {
            tracing::warn!(%error, path = %self.path.display(), "a socket file could not be removed");
        }
    }
}

/// Removes the socket that a killed process left at `path`. Returns whether there was one.
///
/// # Errors
/// Those of the file system; `AlreadyExists` where another kind of file is there.
pub fn remove_stale(path: &Path) -> io::Result<bool> {
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
        Ok(metadata) if metadata.file_type().is_socket() => std::fs::remove_file(path).map(|()| true),
        Ok(_) => Err(io::Error::new(
            io::ErrorKind::AlreadyExists,
            "the file there is not a socket; move it away",
        )),
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let metadata = std::fs::symlink_metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_a_socket_is_removed_from_an_address() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        assert!(!remove_stale(&path).unwrap());
        std::mem::forget(Listener::bind(&format!("ipc://{}", path.display())).unwrap());
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert_eq!(remove_stale(&link).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert!(remove_stale(&path).unwrap());
        std::fs::write(&path, "a person's").unwrap();
        assert_eq!(remove_stale(&path).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(std::fs::read(&path).unwrap(), b"a person's");
    }

    #[tokio::test]
    async fn the_file_is_removed_with_its_listener_and_that_of_a_later_listener_stays() {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("ipc://{}", folder.path().join("s").display());
        let first = Listener::bind(&url).unwrap();
        assert!(Listener::bind(&url).is_err(), "taken");
        std::fs::remove_file(first.path()).unwrap();
        let second = Listener::bind(&url).unwrap();
        drop(first);
        assert!(second.path().exists());
        UnixStream::connect(second.path()).await.unwrap();
        let path = second.path().to_owned();
        drop(second);
        assert!(!path.exists());
    }
}
