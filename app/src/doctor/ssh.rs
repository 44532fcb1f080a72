//! The connection to a module: runs the system's `ssh` and `scp` with the user's keys, configuration and known hosts.
//!
//! Nothing is ever asked at a terminal (BatchMode), all calls share one connection, and each call has a time-out.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, Command};

use super::script::{self, Found, Script};

/// Maximum size of a script's output, including what a shell prints around the answer.
const MAX_OUTPUT_SIZE: usize = 4 << 20;
/// Size of the part of standard error that is kept: the last, since ssh's own message comes last.
const LAST: usize = 64 << 10;

/// The address of a module: `user@host`, a host, or an alias of the ssh configuration, optionally with the port of
/// llm-sys.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Host {
    given: String,
    user: Option<String>,
    /// Without the brackets of an IPv6 address.
    address: String,
    port: Option<u16>,
}

impl Host {
    /// Parses `[USER@]HOST[:PORT]`; an IPv6 address needs brackets if a port follows it.
    ///
    /// # Errors
    /// [`SshError::BadHost`] for anything that `ssh` could read as an option, a command or a second argument;
    /// [`SshError::Embedded`] for the embedded module.
    pub fn parse(text: &str) -> Result<Self, SshError> {
        let text = text.trim();
        if text == "embedded" {
            return Err(SshError::Embedded);
        }
        Self::read(text).ok_or_else(|| SshError::BadHost { given: text.to_owned() })
    }

    fn read(text: &str) -> Option<Self> {
        let (user, place) = match text.split_once('@') {
            Some((user, place)) => (Some(user), place),
            None => (None, text),
        };
        let (address, port) = if let Some(bracketed) = place.strip_prefix('[') {
            let (address, rest) = bracketed.split_once(']')?;
            match rest {
                "" => (address, None),
                _ => (address, Some(rest.strip_prefix(':')?)),
            }
        } else {
            match place.split_once(':') {
                Some((address, port)) if !port.contains(':') => (address, Some(port)),
                _ => (place, None),
            }
        };
        let word = |text: &str, others: &str| {
            !text.is_empty()
                && !text.starts_with('-')
                && text.chars().all(|c| c.is_ascii_alphanumeric() || others.contains(c))
        };
        if user.is_some_and(|user| !word(user, "._-")) || !word(address, "._-:%") {
            return None;
        }
        Some(Self {
            given: text.to_owned(),
            user: user.map(str::to_owned),
            address: address.to_owned(),
            port: port.map(str::parse).transpose().ok()?,
        })
    }

    /// Returns the host as given.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.given
    }

    /// Returns the address for TCP: without the user, with the port if one was given.
    #[must_use]
    pub fn address(&self) -> String {
        match self.port {
            Some(port) => format!("{}:{port}", self.bracketed()),
            None => self.address.clone(),
        }
    }

    /// Returns whether the host can be reached over ssh: an address with a port and without a user is that of llm-sys
    /// only.
    #[must_use]
    pub fn is_for_ssh(&self) -> bool {
        self.user.is_some() || self.port.is_none()
    }

    /// Returns the argument for `ssh`.
    fn login(&self) -> String {
        self.at(&self.address)
    }

    /// Returns the argument for `scp` with a path on the module. A colon ends the host, so that an IPv6 address needs
    /// brackets.
    fn file(&self, path: &str) -> String {
        format!("{}:{path}", self.at(&self.bracketed()))
    }

    fn at(&self, address: &str) -> String {
        match &self.user {
            Some(user) => format!("{user}@{address}"),
            None => address.to_owned(),
        }
    }

    fn bracketed(&self) -> String {
        if self.address.contains(':') {
            format!("[{}]", self.address)
        } else {
            self.address.clone()
        }
    }
}

/// How `ssh` is called. The default is what a terminal would do, without questions.
#[derive(Debug, Clone)]
pub struct SshOptions {
    /// Another configuration file (`-F`).
    pub config: Option<PathBuf>,
    pub port: Option<u16>,
    pub connect_timeout: Duration,
}

impl Default for SshOptions {
    fn default() -> Self {
        Self {
            config: None,
            port: None,
            connect_timeout: Duration::from_secs(8),
        }
    }
}

/// Why the module could not be asked. Each sentence ends with what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SshError {
    #[error("{given:?} is not a host name; give user@host, as for ssh")]
    BadHost { given: String },
    #[error(
        "the embedded module is a part of this program; the doctor looks at modules that ssh reaches: give user@host"
    )]
    Embedded,
    #[error("there is no `ssh` program here ({detail}); install OpenSSH, or use the checks that port 10001 allows")]
    NoProgram { detail: String },
    #[error("{host} does not accept the keys offered; put yours there with `ssh-copy-id {host}`, then check again")]
    Denied { host: String },
    #[error(
        "{host} is not known yet; connect once by hand with `ssh {host}`, compare its fingerprint, then check again"
    )]
    UnknownHost { host: String },
    #[error(
        "{host} shows another host key than before; if the module was set up anew, remove the old key with `ssh-keygen -R {host}`; \
         if not, somebody else may be answering: do not go on"
    )]
    HostKeyChanged { host: String },
    #[error("{host} cannot be reached ({detail}); check cable, address and that the module is on")]
    Unreachable { host: String, detail: String },
    #[error(
        "the connection to {host} was lost ({detail}); check again: a remedy under way finishes there or is undone"
    )]
    Lost { host: String, detail: String },
    #[error(
        "{host} ended a script before its last line ({detail}); check again: what it had begun is reported or undone then"
    )]
    CutOff { host: String, detail: String },
    #[error("{host} did not run a script ({detail}); give the account a shell that runs `sh`, then check again")]
    NoShell { host: String, detail: String },
    #[error("{host} printed more than {mib} MiB; check what its shell's start-up files print, then try again")]
    TooMuch { host: String, mib: usize },
    #[error("{host} did not answer within {seconds} s; check again, or restart the module")]
    TimedOut { host: String, seconds: u64 },
    #[error("{path} could not be copied to {host} ({detail}); check the free space there")]
    CopyFailed {
        host: String,
        path: PathBuf,
        detail: String,
    },
    #[error("{0}")]
    Unusable(#[from] super::script::UnusableValue),
    #[error("stopped on request")]
    Cancelled,
}

/// The answer of a script.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Answer {
    pub pairs: Vec<(String, String)>,
    /// The script's exit status.
    pub status: i32,
    /// The script's standard error, which is shown after a failure.
    pub errors: String,
}

impl Answer {
    /// Returns the first value of a key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        self.pairs
            .iter()
            .find(|(k, _)| k == key)
            .map(|(_, value)| value.as_str())
    }

    /// Returns all values of a key.
    pub fn all<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a str> {
        self.pairs
            .iter()
            .filter(move |(k, _)| k == key)
            .map(|(_, value)| value.as_str())
    }

    /// Returns whether the value of a key is `yes`.
    #[must_use]
    pub fn yes(&self, key: &str) -> bool {
        self.get(key) == Some("yes")
    }
}

/// A shared connection. Dropping it closes the ssh master process.
pub struct Ssh {
    host: Host,
    options: SshOptions,
    // A short path: that of a socket is limited to about 100 bytes, which the temporary folder of macOS nearly fills.
    control: tempfile::TempDir,
}

impl Ssh {
    /// Connects, and checks that a command can be run.
    ///
    /// # Errors
    /// [`SshError`]: why not, and what to do.
    pub async fn open(host: Host, options: SshOptions) -> Result<Self, SshError> {
        let control = tempfile::Builder::new()
            .prefix("spx-")
            .tempdir_in(if cfg!(unix) { Path::new("/tmp") } else { Path::new(".") })
            .map_err(|error| SshError::NoProgram {
                detail: format!("no folder for the connection's socket: {error}"),
            })?;
        let ssh = Self { host, options, control };
        let limit = ssh.options.connect_timeout + Duration::from_secs(7);
        ssh.run(&Script::new("say hello yes"), limit).await?;
        Ok(ssh)
    }

    #[must_use]
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// Runs a script and waits for its end.
    ///
    /// # Errors
    /// [`SshError`] if the connection failed or the script did not run to its end. A failure of the script itself is
    /// its [`Answer::status`].
    pub async fn run(&self, script: &Script, limit: Duration) -> Result<Answer, SshError> {
        let host = || self.host.login();
        let mark = script::random_name();
        let mut child = self.start(&script.answering(&mark)).await?;
        let (Some(out), Some(err)) = (child.stdout.take(), child.stderr.take()) else {
            return Err(self.lost("no pipes"));
        };
        let lost = |error: std::io::Error| self.lost(&error.to_string());
        let work = async {
            let (out, errors) = tokio::try_join!(most(out), last(err)).map_err(lost)?;
            // Dropping the child kills it.
            let out = out.ok_or_else(|| SshError::TooMuch {
                host: host(),
                mib: MAX_OUTPUT_SIZE >> 20,
            })?;
            let status = child.wait().await.map_err(lost)?;
            Ok::<_, SshError>((status.code(), out, errors))
        };
        let (status, out, errors) = tokio::time::timeout(limit, work)
            .await
            .map_err(|_| SshError::TimedOut {
                host: host(),
                seconds: limit.as_secs(),
            })??;
        let answer = script::answer(&out, &mark);
        let failed = matches!(status, Some(255) | None);
        let detail = || {
            let words = String::from_utf8_lossy(&out);
            let line = errors.lines().next_back().or_else(|| words.lines().next_back());
            script::printable(line.unwrap_or("nothing was printed").trim())
        };
        match answer {
            Found::Whole(pairs) => Ok(Answer {
                pairs,
                status: status.unwrap_or(255),
                errors,
            }),
            // The rest may be the output of the script's commands: ssh's own message comes last.
            Found::Torn if failed && !errors.is_empty() => Err(self.lost(&detail())),
            Found::Torn => Err(SshError::CutOff {
                host: host(),
                detail: detail(),
            }),
            Found::Nothing if failed => Err(self.explain(&errors, false)),
            Found::Nothing => Err(SshError::NoShell {
                host: host(),
                detail: detail(),
            }),
        }
    }

    /// Runs a script and passes its output to `chunk` as it arrives. The last line of the script must set its exit
    /// status.
    ///
    /// # Errors
    /// As [`run`](Self::run); [`SshError::Cancelled`] if `chunk` returned `false` (the script itself continues until it
    /// is asked to stop).
    pub async fn stream(&self, script: &Script, mut chunk: impl FnMut(&[u8]) -> bool + Send) -> Result<i32, SshError> {
        let mut child = self.start(&script.text()).await?;
        let (Some(mut out), Some(err)) = (child.stdout.take(), child.stderr.take()) else {
            return Err(self.lost("no pipes"));
        };
        let mut errors = String::new();
        let mut buffer = vec![0; 16 * 1024];
        let read_err = async {
            match last(err).await {
                Ok(words) => errors = words,
                Err(error) => errors = error.to_string(),
            }
        };
        let read_out = async {
            loop {
                match out.read(&mut buffer).await {
                    Ok(0) | Err(_) => return true,
                    Ok(n) if !chunk(&buffer[..n]) => return false,
                    Ok(_) => {}
                }
            }
        };
        let read_all = async {
            tokio::pin!(read_err);
            tokio::pin!(read_out);
            let mut errors_done = false;
            loop {
                tokio::select! {
                    () = &mut read_err, if !errors_done => errors_done = true,
                    whole = &mut read_out => return whole,
                }
            }
        };
        if !read_all.await {
            let _ = child.kill().await;
            return Err(SshError::Cancelled);
        }
        let status = child
            .wait()
            .await
            .map_err(|error| self.lost(&error.to_string()))?
            .code();
        match status {
            Some(255) | None => Err(self.explain(&errors, true)),
            Some(status) => Ok(status),
        }
    }

    /// Copies a file to a path on the module, which `scp` may pass to a shell: only letters, digits and `/._-`.
    ///
    /// # Errors
    /// [`SshError::CopyFailed`] and those of the connection.
    pub async fn upload(&self, local: &Path, remote: &str, limit: Duration) -> Result<(), SshError> {
        let local = std::path::absolute(local).unwrap_or_else(|_| local.to_owned());
        let mut command = Command::new("scp");
        command
            .args(self.arguments("-P"))
            .arg("-q")
            .arg("--")
            .arg(&local)
            .arg(self.host.file(remote));
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let output = tokio::time::timeout(limit, command.output())
            .await
            .map_err(|_| SshError::TimedOut {
                host: self.host.login(),
                seconds: limit.as_secs(),
            })?
            .map_err(|error| SshError::NoProgram {
                detail: error.to_string(),
            })?;
        if output.status.success() {
            return Ok(());
        }
        let errors = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        match self.explain(&errors, true) {
            SshError::Lost { detail, .. } => Err(SshError::CopyFailed {
                host: self.host.login(),
                path: local,
                detail,
            }),
            other => Err(other),
        }
    }

    fn arguments(&self, port_flag: &str) -> Vec<OsString> {
        let mut arguments: Vec<OsString> = Vec::new();
        if let Some(config) = &self.options.config {
            arguments.extend(["-F".into(), config.clone().into_os_string()]);
        }
        if let Some(port) = self.options.port {
            arguments.extend([port_flag.into(), port.to_string().into()]);
        }
        let mut control = OsString::from("ControlPath=");
        control.push(self.control.path().join("m"));
        for option in [
            "BatchMode=yes".into(),
            OsString::from(format!(
                "ConnectTimeout={}",
                self.options.connect_timeout.as_secs().max(1)
            )),
            "ServerAliveInterval=5".into(),
            "ServerAliveCountMax=3".into(),
            "ControlMaster=auto".into(),
            "ControlPersist=30".into(),
            control,
        ] {
            arguments.extend(["-o".into(), option]);
        }
        arguments
    }

    async fn start(&self, script: &str) -> Result<Child, SshError> {
        let mut command = Command::new("ssh");
        command
            .args(self.arguments("-p"))
            .arg("-T")
            .arg("--")
            .arg(self.host.login())
            .arg("sh -s");
        // A Ctrl-C at the terminal is for this program, which may still have to clean up on the module.
        #[cfg(unix)]
        command.process_group(0);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let mut child = command.spawn().map_err(|error| SshError::NoProgram {
            detail: error.to_string(),
        })?;
        if let Some(mut stdin) = child.stdin.take() {
            // A broken pipe means that ssh has exited; its own message says why.
            let _ = stdin.write_all(script.as_bytes()).await;
            let _ = stdin.shutdown().await;
        }
        Ok(child)
    }

    fn lost(&self, detail: &str) -> SshError {
        SshError::Lost {
            host: self.host.login(),
            detail: detail.to_owned(),
        }
    }

    /// Maps ssh's message to the error with the right remedy.
    fn explain(&self, errors: &str, answered: bool) -> SshError {
        let host = self.host.login();
        let last = errors.lines().last().unwrap_or("no word from ssh").trim().to_owned();
        let has = |text: &str| errors.contains(text);
        if has("REMOTE HOST IDENTIFICATION HAS CHANGED") {
            SshError::HostKeyChanged { host }
        } else if has("Host key verification failed") {
            SshError::UnknownHost { host }
        } else if has("Permission denied") {
            SshError::Denied { host }
        } else if [
            "Could not resolve",
            "Connection refused",
            "timed out",
            "No route",
            "unreachable",
            "Name or service",
        ]
        .iter()
        .any(|t| has(t))
        {
            if answered {
                self.lost(&last)
            } else {
                SshError::Unreachable { host, detail: last }
            }
        } else {
            self.lost(&last)
        }
    }
}

impl Drop for Ssh {
    fn drop(&mut self) {
        // The master process would stay for 30 s, but its folder is removed now; so it is asked to exit, without waiting
        // for it.
        let mut command = std::process::Command::new("ssh");
        command
            .args(self.arguments("-p"))
            .args(["-O", "exit", "--"])
            .arg(self.host.login());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        if let Ok(mut child) = command.spawn() {
            let _ = child.wait();
        }
    }
}

/// Reads all of a pipe; returns `None` if it is more than [`MAX_OUTPUT_SIZE`].
async fn most(pipe: impl AsyncRead + Unpin) -> std::io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    pipe.take(MAX_OUTPUT_SIZE as u64 + 1).read_to_end(&mut bytes).await?;
    Ok((bytes.len() <= MAX_OUTPUT_SIZE).then_some(bytes))
}

/// Reads a pipe to its end and returns the last [`LAST`] bytes.
async fn last(mut pipe: impl AsyncRead + Unpin) -> std::io::Result<String> {
    let mut bytes = Vec::new();
    let mut buffer = vec![0; 16 << 10];
    loop {
        match pipe.read(&mut buffer).await? {
            0 => return Ok(script::printable(String::from_utf8_lossy(&bytes).trim())),
            n => bytes.extend_from_slice(&buffer[..n]),
        }
        if bytes.len() > LAST {
            bytes.drain(..bytes.len() - LAST);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_read_as_ssh_scp_and_the_tcp_side_want_it() {
        for (given, login, file, address) in [
            (
                "root@192.168.1.5",
                "root@192.168.1.5",
                "root@192.168.1.5:/f",
                "192.168.1.5",
            ),
            ("m5", "m5", "m5:/f", "m5"),
            (
                "root@m5stack-LLM.local",
                "root@m5stack-LLM.local",
                "root@m5stack-LLM.local:/f",
                "m5stack-LLM.local",
            ),
            (
                "root@fe80::1%en0",
                "root@fe80::1%en0",
                "root@[fe80::1%en0]:/f",
                "fe80::1%en0",
            ),
            ("[::1]", "::1", "[::1]:/f", "::1"),
            ("root@[::1]:10001", "root@::1", "root@[::1]:/f", "[::1]:10001"),
            (
                "192.168.1.5:10001",
                "192.168.1.5",
                "192.168.1.5:/f",
                "192.168.1.5:10001",
            ),
        ] {
            let host = Host::parse(given).unwrap();
            assert_eq!(host.as_str(), given);
            assert_eq!(
                (host.login(), host.file("/f"), host.address()),
                (login.into(), file.into(), address.into())
            );
        }
    }

    #[test]
    fn an_address_with_a_port_and_no_user_is_no_ssh_host() {
        for (given, for_ssh) in [
            ("m5", true),
            ("::1", true),
            ("root@m5:10001", true),
            ("m5:10001", false),
            ("[::1]:10001", false),
        ] {
            assert_eq!(Host::parse(given).unwrap().is_for_ssh(), for_ssh, "{given}");
        }
    }

    #[test]
    fn hosts_that_ssh_could_misread_are_refused() {
        for bad in [
            "",
            " ",
            "-oProxyCommand=id",
            "root@-x",
            "[-x]",
            "@m5",
            "a b",
            "a;id",
            "$(id)",
            "a\nb",
            "a'b",
            "`id`",
            "a@b@c",
            "user@host/..",
            "日本",
            "m5:",
            "m5:x",
            "m5:70000",
            "[::1",
            "[::1]x",
            "a]b",
        ] {
            assert!(matches!(Host::parse(bad), Err(SshError::BadHost { .. })), "{bad:?}");
        }
        assert_eq!(Host::parse("embedded"), Err(SshError::Embedded));
    }

    #[tokio::test]
    async fn output_is_kept_up_to_a_bound() {
        assert_eq!(most(&b"whole"[..]).await.unwrap(), Some(b"whole".to_vec()));
        assert_eq!(most(tokio::io::repeat(b'y')).await.unwrap(), None);
        let endless = tokio::io::repeat(b'y').take(10 << 20);
        assert_eq!(last(endless.chain(&b"the reason\n"[..])).await.unwrap().len(), LAST - 1);
    }
}
