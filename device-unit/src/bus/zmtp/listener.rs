//! A bound socket: the file others connect to. It knows nothing of what is said there.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::net::{UnixListener, UnixStream};

use super::path_of;

/// How long to wait after a connection could not be taken, as when all the files a process may have are open.
const BREATH: Duration = Duration::from_millis(50);

/// Takes connections until it is dropped; then its file is gone.
#[derive(Debug)]
pub struct Listener {
    listener: UnixListener,
    path: PathBuf,
    /// The file by its device and number: a later one at the same place belongs to somebody else.
    file: (u64, u64),
}

impl Listener {
    /// Binds `url`, where no file may be. To be called within the runtime.
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

    /// The next who connects; the handshake is still to come. Given up, it loses nobody.
    pub async fn accept(&self) -> UnixStream {
        loop {
            match self.listener.accept().await {
                Ok((stream, _)) => return stream,
                Err(error) => {
                    tracing::warn!(%error, "nobody can connect to {} at the moment", self.path.display());
                    tokio::time::sleep(BREATH).await;
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

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let metadata = std::fs::symlink_metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_file_goes_with_the_listener_and_a_later_ones_stays() {
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
