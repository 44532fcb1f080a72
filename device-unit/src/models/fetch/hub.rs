//! Fetching from the Hugging Face hub: HTTPS, resumed by byte ranges.
//!
//! `ureq` is used instead of the hub's own `hf-hub`, which since 1.0 brings in reqwest, aws-lc (a C and assembler build)
//! and a second download protocol, where one `HEAD` and one `GET` suffice.

use std::io::Read;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, SyncSender};
use std::time::Duration;

use ureq::http::{HeaderMap, Response, StatusCode};
use ureq::{Agent, Body};

use crate::models::catalogue::HubPlace;

use super::error::{HubError, SourceFailure};
use super::part::PartFile;

/// Interval at which a waiting fetch checks for a cancel.
pub(super) const CANCEL_CHECK_INTERVAL: Duration = Duration::from_millis(100);
const CHUNK: usize = 256 * 1024;
/// A broken transfer is resumed if it brought at least this many bytes.
const MIN_PROGRESS: u64 = 64 * 1024;
const MAX_REDIRECTS: u32 = 8;

/// Access to the hub for one fetch.
pub(super) struct Hub<'a> {
    pub endpoint: &'a str,
    /// Limit for each answer.
    pub patience: Duration,
    /// Limit for a stall of a running transfer.
    pub stall: Duration,
    pub cancel: &'a AtomicBool,
}

/// Digest and size of a file, as the hub announces them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Announced {
    pub sha256: String,
    pub bytes: Option<u64>,
    /// The repository's commit.
    pub commit: Option<String>,
}

enum Event {
    /// The transfer begins at this byte of the file.
    From(u64),
    Bytes(Vec<u8>),
    End(Result<(), String>),
    Refused(u16),
}

impl Hub<'_> {
    pub(super) fn address(&self, place: &HubPlace) -> String {
        let endpoint = self.endpoint.trim_end_matches('/');
        format!(
            "{endpoint}/{}/resolve/{}/{}",
            place.repository, place.revision, place.file
        )
    }

    /// Asks for the file's digest and size.
    ///
    /// The hub answers a `HEAD` with a redirect to the storage, and gives SHA-256 and size in headers of that redirect
    /// (`x-linked-etag`, `x-linked-size`), so redirects are followed only until these are seen.
    pub(super) fn ask(&self, address: &str) -> Result<Announced, SourceFailure<HubError>> {
        let agent: Agent = Agent::config_builder()
            .timeout_global(Some(self.patience))
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .accept_encoding("identity")
            .user_agent(USER_AGENT)
            .build()
            .into();
        let (sender, receiver) = mpsc::sync_channel(1);
        let asked = address.to_owned();
        // On a thread of its own, which ends with its time-out: name resolution cannot be interrupted, and a cancel
        // must act at once.
        in_background(move || {
            let _ = sender.send(announced(&agent, &asked));
        });
        loop {
            match receiver.recv_timeout(CANCEL_CHECK_INTERVAL) {
                Ok(answer) => return answer.map_err(SourceFailure::Source),
                Err(RecvTimeoutError::Timeout) if !self.cancel.load(Ordering::Relaxed) => {}
                Err(RecvTimeoutError::Timeout) => return Err(SourceFailure::Cancelled),
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(no_answer(address, "the request ended without an answer".into()).into());
                }
            }
        }
    }

    /// Fetches the file from where `part` ends. `arrived` is called with the length after each step.
    pub(super) fn download(
        &self,
        address: &str,
        total: Option<u64>,
        part: &mut PartFile,
        arrived: &mut dyn FnMut(u64),
    ) -> Result<(), SourceFailure<HubError>> {
        if total.is_some_and(|total| part.len() > total) {
            self.cut(part, 0)?;
        }
        loop {
            if total == Some(part.len()) {
                return Ok(());
            }
            let before = part.len();
            match self.one_connection(address, part, arrived) {
                Ok(()) if total.is_none_or(|total| part.len() >= total) => return Ok(()),
                // Connections are often closed cleanly before the end of the file.
                Ok(()) if part.len() >= before + MIN_PROGRESS => {}
                Ok(()) => {
                    let detail = "the connection was closed".to_owned();
                    return Err(HubError::Interrupted {
                        address: address.to_owned(),
                        bytes: part.len(),
                        detail,
                    }
                    .into());
                }
                // The part is the whole file, or too long, which its digest shows.
                Err(SourceFailure::Source(HubError::Status { status, .. }))
                    if total.is_none() && before > 0 && status == StatusCode::RANGE_NOT_SATISFIABLE.as_u16() =>
                {
                    return Ok(());
                }
                Err(SourceFailure::Source(HubError::Interrupted { .. })) if part.len() >= before + MIN_PROGRESS => {}
                Err(failure) => return Err(failure),
            }
            tracing::info!(address, from = part.len(), "the transfer broke off and is resumed");
        }
    }

    fn one_connection(
        &self,
        address: &str,
        part: &mut PartFile,
        arrived: &mut dyn FnMut(u64),
    ) -> Result<(), SourceFailure<HubError>> {
        let agent: Agent = Agent::config_builder()
            .timeout_connect(Some(self.patience))
            .timeout_recv_response(Some(self.stall))
            .timeout_per_read(Some(self.stall))
            .http_status_as_error(false)
            .max_redirects(MAX_REDIRECTS)
            .accept_encoding("identity")
            .user_agent(USER_AGENT)
            .build()
            .into();
        let (sender, receiver) = mpsc::sync_channel(4);
        let (asked, from) = (address.to_owned(), part.len());
        in_background(move || pull(&agent, &asked, from, &sender));

        let interrupted = |done: u64, detail: String| HubError::Interrupted {
            address: address.to_owned(),
            bytes: done,
            detail,
        };
        loop {
            if self.cancel.load(Ordering::Relaxed) {
                return Err(SourceFailure::Cancelled);
            }
            match receiver.recv_timeout(CANCEL_CHECK_INTERVAL) {
                Ok(Event::From(start)) => self.cut(part, start)?,
                Ok(Event::Bytes(bytes)) => {
                    part.append(&bytes)
                        .map_err(|source| SourceFailure::Disk(part.path().to_owned(), source))?;
                    arrived(part.len());
                }
                Ok(Event::End(Ok(()))) => return Ok(()),
                Ok(Event::End(Err(detail))) => return Err(interrupted(part.len(), detail).into()),
                Ok(Event::Refused(status)) => {
                    return Err(HubError::Status {
                        address: address.to_owned(),
                        status,
                    }
                    .into());
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(interrupted(part.len(), "the transfer ended without an error".into()).into());
                }
            }
        }
    }

    fn cut(&self, part: &mut PartFile, len: u64) -> Result<(), SourceFailure<HubError>> {
        part.cut(len)
            .map_err(|source| SourceFailure::Disk(part.path().to_owned(), source))
    }
}

const USER_AGENT: &str = concat!("softprefix/", env!("CARGO_PKG_VERSION"));

fn in_background(work: impl FnOnce() + Send + 'static) {
    // If the thread cannot be started, the channel is dropped, which the receiver reports.
    let thread = std::thread::Builder::new().name("softprefix-fetch".into()).spawn(work);
    if let Err(error) = thread {
        tracing::warn!(%error, "no thread for a transfer");
    }
}

fn no_answer(address: &str, detail: String) -> HubError {
    HubError::NoAnswer {
        address: address.to_owned(),
        detail,
    }
}

fn announced(agent: &Agent, address: &str) -> Result<Announced, HubError> {
    let mut at = address.to_owned();
    let mut commit = None;
    for _ in 0..MAX_REDIRECTS {
        let response = agent
            .head(&at)
            .call()
            .map_err(|error| no_answer(address, error.to_string()))?;
        let (status, headers) = (response.status(), response.headers());
        commit = commit.or_else(|| text_in(headers, "x-repo-commit").map(str::to_owned));
        if let Some(sha256) = digest_in(headers, "x-linked-etag") {
            return Ok(Announced {
                sha256,
                commit,
                bytes: number_in(headers, "x-linked-size"),
            });
        }
        if let (true, Some(next)) = (status.is_redirection(), text_in(headers, "location")) {
            at = joined(&at, next);
            continue;
        }
        if status != StatusCode::OK {
            return Err(HubError::Status {
                address: address.to_owned(),
                status: status.as_u16(),
            });
        }
        return match digest_in(headers, "etag") {
            Some(sha256) => Ok(Announced {
                sha256,
                commit,
                bytes: number_in(headers, "content-length"),
            }),
            None => Err(HubError::NoDigest {
                address: address.to_owned(),
            }),
        };
    }
    Err(no_answer(address, "it redirects without end".into()))
}

/// Sends the file's bytes from `from` on (or from 0, where the server knows no ranges) through `sender`.
fn pull(agent: &Agent, address: &str, from: u64, sender: &SyncSender<Event>) {
    let mut request = agent.get(address);
    if from > 0 {
        request = request.header("Range", format!("bytes={from}-"));
    }
    let mut response = match request.call() {
        Ok(response) => response,
        Err(error) => {
            let _ = sender.send(Event::End(Err(error.to_string())));
            return;
        }
    };
    let start = match start_of(&response, from) {
        Ok(start) => start,
        Err(status) => {
            let _ = sender.send(Event::Refused(status));
            return;
        }
    };
    if sender.send(Event::From(start)).is_err() {
        return;
    }
    let mut body = response.body_mut().as_reader();
    loop {
        let mut chunk = vec![0; CHUNK];
        let event = match body.read(&mut chunk) {
            Ok(0) => Event::End(Ok(())),
            Ok(count) => {
                chunk.truncate(count);
                Event::Bytes(chunk)
            }
            Err(error) => Event::End(Err(error.to_string())),
        };
        let last = matches!(event, Event::End(_));
        // Fails if the receiver was cancelled.
        if sender.send(event).is_err() || last {
            return;
        }
    }
}

/// The byte of the file at which the answer begins; the status where its body cannot be used.
fn start_of(response: &Response<Body>, from: u64) -> Result<u64, u16> {
    match response.status() {
        StatusCode::OK => Ok(0),
        StatusCode::PARTIAL_CONTENT => {
            let range = text_in(response.headers(), "content-range").and_then(|range| range.strip_prefix("bytes "));
            let start = range
                .and_then(|range| range.split('-').next())
                .and_then(|start| start.parse().ok());
            // One that begins behind `from` would leave a hole. One that begins before it is used: the part is cut to there.
            start
                .filter(|&start: &u64| start <= from)
                .ok_or(StatusCode::PARTIAL_CONTENT.as_u16())
        }
        other => Err(other.as_u16()),
    }
}

fn text_in<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name)?.to_str().ok()
}

fn number_in(headers: &HeaderMap, name: &str) -> Option<u64> {
    text_in(headers, name)?.trim().parse().ok()
}

/// A SHA-256 in an entity tag. Tags of files outside the large-file storage are SHA-1, which is not accepted.
fn digest_in(headers: &HeaderMap, name: &str) -> Option<String> {
    let tag = text_in(headers, name)?.trim();
    let tag = tag.strip_prefix("W/").unwrap_or(tag).trim_matches('"');
    (tag.len() == 64 && tag.bytes().all(|byte| byte.is_ascii_hexdigit())).then(|| tag.to_ascii_lowercase())
}

/// The absolute address of a `Location` in an answer from `at`.
fn joined(at: &str, location: &str) -> String {
    let is_scheme =
        |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b));
    if location.split_once("://").is_some_and(|(scheme, _)| is_scheme(scheme)) {
        return location.to_owned();
    }
    // A query may contain slashes, too.
    let at = at.split(['?', '#']).next().unwrap_or(at);
    let scheme_end = at.find("://").map_or(0, |position| position + 3);
    let host_end = at[scheme_end..]
        .find('/')
        .map_or(at.len(), |position| scheme_end + position);
    if location.starts_with("//") {
        return format!("{}{location}", &at[..scheme_end.saturating_sub(2)]);
    }
    if location.starts_with('/') {
        return format!("{}{location}", &at[..host_end]);
    }
    let folder_end = at.rfind('/').filter(|&end| end >= host_end).unwrap_or(host_end);
    format!("{}/{location}", &at[..folder_end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations_are_joined_to_where_they_were_met() {
        for (location, wanted) in [
            ("https://cdn.example/x", "https://cdn.example/x"),
            ("//cdn.example/x", "https://cdn.example/x"),
            ("/other/x", "https://hub.example/other/x"),
            ("x", "https://hub.example/a/b/x"),
            (
                "/x?next=https://cdn.example/y",
                "https://hub.example/x?next=https://cdn.example/y",
            ),
        ] {
            assert_eq!(joined("https://hub.example/a/b/c", location), wanted);
            assert_eq!(joined("https://hub.example/a/b/c?from=/d/e", location), wanted);
        }
        assert_eq!(joined("https://hub.example", "x"), "https://hub.example/x");
    }

    #[test]
    fn only_a_sha256_counts_as_a_digest() {
        let mut headers = HeaderMap::new();
        for (tag, wanted) in [
            (format!("\"{}\"", "a".repeat(64)), true),
            (format!("W/\"{}\"", "A1".repeat(32)), true),
            (format!("\"{}\"", "a".repeat(40)), false),
            (format!("\"{}\"", "g".repeat(64)), false),
        ] {
            headers.insert("etag", tag.parse().unwrap());
            assert_eq!(digest_in(&headers, "etag").is_some(), wanted, "{tag}");
        }
    }
}
