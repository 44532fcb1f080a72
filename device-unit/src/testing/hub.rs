//! A small HTTP server on loopback that serves model files like the hub, and can simulate its failures.

#![allow(clippy::unwrap_used, reason = "helper of tests")]

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use sha2::{Digest, Sha256};

/// The commit that it announces.
pub const COMMIT: &str = "9217f5db79a29953eb74d5343926648285ec7e67";

/// How a [`Server`] serves a file, and with which failures.
#[derive(Clone)]
pub struct ServerBehaviour {
    /// The file.
    pub content: Vec<u8>,
    /// What it announces; `None`: the tag of a small file, which is no SHA-256.
    pub digest: Option<String>,
    /// Whether it announces the file's size.
    pub announces_size: bool,
    /// Whether it serves ranges.
    pub ranges: bool,
    /// Accepts connections and sends nothing.
    pub silent: bool,
    /// Answers everything with this status.
    pub status: Option<u16>,
    /// Closes the connection after so many bytes of the file; one entry for each `GET`, then no more.
    pub breaks: Vec<usize>,
    /// Stalls after so many bytes of the file.
    pub stalls: Option<usize>,
    /// Waits so long before each 64 KiB.
    pub pace: Duration,
}

impl ServerBehaviour {
    /// Serves this file without failures.
    pub fn of(content: &[u8]) -> Self {
        Self {
            content: content.to_vec(),
            digest: Some(hex::encode(Sha256::digest(content))),
            announces_size: true,
            ranges: true,
            silent: false,
            status: None,
            breaks: Vec::new(),
            stalls: None,
            pace: Duration::ZERO,
        }
    }
}

/// A running server. It ends when dropped.
pub struct Server {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    /// The files, each under a part of its path on the hub.
    files: Mutex<Vec<(String, ServerBehaviour)>>,
    /// `(first line, Range)` of each request.
    requests: Mutex<Vec<(String, Option<String>)>>,
    over: AtomicBool,
}

impl Server {
    /// Serves one file, whatever it is asked for.
    pub fn start(behaviour: ServerBehaviour) -> Self {
        Self::with_files(vec![("", behaviour)])
    }

    /// Serves several files, each under its name. Others are not found.
    pub fn with_files(files: Vec<(&str, ServerBehaviour)>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            files: Mutex::new(
                files
                    .into_iter()
                    .map(|(name, behaviour)| (name.to_owned(), behaviour))
                    .collect(),
            ),
            requests: Mutex::default(),
            over: AtomicBool::new(false),
        });
        let for_thread = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if for_thread.over.load(Ordering::Relaxed) {
                    return;
                }
                let shared = Arc::clone(&for_thread);
                // Some tests disconnect on purpose.
                thread::spawn(move || serve(stream, &shared));
            }
        });
        Self { address, shared }
    }

    /// Its address, for [`FetchOptions::endpoint`](crate::models::FetchOptions::endpoint).
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The `Range` of every `GET` of the file's bytes.
    pub fn transfers(&self) -> Vec<Option<String>> {
        let requests = self.shared.requests.lock().unwrap();
        requests
            .iter()
            .filter(|(line, _)| line.starts_with("GET /cdn/"))
            .map(|(_, range)| range.clone())
            .collect()
    }

    /// How often the bytes of the file with this name were asked for.
    pub fn transfers_of(&self, name: &str) -> usize {
        let files = self.shared.files.lock().unwrap();
        let at = files.iter().position(|(own, _)| own == name);
        let line = at.map(|at| format!("GET /cdn/{at} "));
        let requests = self.shared.requests.lock().unwrap();
        let is_its = |(first, _): &&(String, _)| line.as_ref().is_some_and(|line| first.starts_with(line));
        requests.iter().filter(is_its).count()
    }

    /// Changes how the first file is served.
    pub fn change(&self, change: impl FnOnce(&mut ServerBehaviour)) {
        change(&mut self.shared.files.lock().unwrap()[0].1);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(self.address);
    }
}

fn serve(stream: TcpStream, shared: &Shared) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let Some(first) = lines.next().transpose()? else {
        return Ok(());
    };
    let mut range = None;
    for line in lines {
        let line = line?;
        if line.is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(": ")
            && name.eq_ignore_ascii_case("range")
        {
            range = Some(value.to_owned());
        }
    }
    shared.requests.lock().unwrap().push((first.clone(), range.clone()));
    let path = first.split(' ').nth(1).unwrap_or_default();
    let (at, mut behaviour) = {
        let files = shared.files.lock().unwrap();
        let at = match path.strip_prefix("/cdn/") {
            Some(at) => at.parse().ok(),
            None => files.iter().position(|(name, _)| path.contains(name.as_str())),
        };
        match at.and_then(|at: usize| Some((at, files.get(at)?.1.clone()))) {
            Some(found) => found,
            None => {
                return write!(
                    &stream,
                    "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
                );
            }
        }
    };
    if behaviour.silent {
        while !shared.over.load(Ordering::Relaxed) {
            thread::sleep(Duration::from_millis(20));
        }
        return Ok(());
    }
    let mut out = stream;
    if let Some(status) = behaviour.status {
        return write!(
            out,
            "HTTP/1.1 {status} No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        );
    }
    if !first.contains(" /cdn/") {
        let tag = match &behaviour.digest {
            Some(digest) => format!("X-Repo-Commit: {COMMIT}\r\nX-Linked-Etag: \"{digest}\"\r\n"),
            None => String::new(),
        };
        let size = match behaviour.digest.is_some() && behaviour.announces_size {
            true => format!("X-Linked-Size: {}\r\n", behaviour.content.len()),
            false => String::new(),
        };
        return write!(
            out,
            "HTTP/1.1 302 Found\r\nLocation: /cdn/{at}\r\n{tag}{size}Content-Length: 0\r\nConnection: close\r\n\r\n"
        );
    }
    let whole = behaviour.content.len();
    let from = range
        .filter(|_| behaviour.ranges)
        .and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok());
    let start: usize = from.unwrap_or(0);
    if start > 0 && start >= whole {
        return write!(
            out,
            "HTTP/1.1 416 Range Not Satisfiable\r\nContent-Range: bytes */{whole}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        );
    }
    match from {
        Some(_) => write!(
            out,
            "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes {start}-{}/{whole}\r\n",
            whole - 1
        )?,
        None => write!(out, "HTTP/1.1 200 OK\r\nETag: \"{}\"\r\n", "1".repeat(40))?,
    }
    write!(out, "Content-Length: {}\r\nConnection: close\r\n\r\n", whole - start)?;
    if first.starts_with("HEAD ") {
        return Ok(());
    }
    let breaks = (!behaviour.breaks.is_empty()).then(|| shared.files.lock().unwrap()[at].1.breaks.remove(0));
    let body = behaviour.content.split_off(start);
    let mut sent = 0;
    for chunk in body.chunks(64 * 1024) {
        thread::sleep(behaviour.pace);
        if breaks.is_some_and(|limit| sent >= limit) {
            return Ok(());
        }
        // A stalled transfer continues when it is released.
        let is_stalled = || {
            shared.files.lock().unwrap()[at]
                .1
                .stalls
                .is_some_and(|limit| sent >= limit)
        };
        while is_stalled() && !shared.over.load(Ordering::Relaxed) {
            thread::sleep(Duration::from_millis(20));
        }
        out.write_all(chunk)?;
        sent += chunk.len();
    }
    Ok(())
}
