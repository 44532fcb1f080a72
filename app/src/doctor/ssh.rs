//! The way to a module: the system's own `ssh` and `scp`, with the person's keys, configuration and known hosts.
//!
//! It carries scripts and files; it knows no check and no remedy. Nothing is ever asked for at a terminal (BatchMode), one connection
//! is shared by all calls, and each call has a time-out.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};

use super::script::{Script, pairs};

/// Where a module is reached, as one gives it to `ssh`: `user@host`, a host, or an alias of the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Host(String);

impl Host {
    /// # Errors
    /// [`SshError::BadHost`] for anything that `ssh` could take for an option, a command or a second argument.
    pub fn parse(text: &str) -> Result<Self, SshError> {
        let text = text.trim();
        let allowed = |c: char| c.is_ascii_alphanumeric() || "._-@:%[]".contains(c);
        if text.is_empty()
            || text.starts_with('-')
            || !text.chars().all(allowed)
            || text.matches('@').count() > 1
            || text.contains("@-")
        {
            return Err(SshError::BadHost { given: text.to_owned() });
        }
        Ok(Self(text.to_owned()))
    }

    /// As given.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Without the user: what the TCP side connects to.
    #[must_use]
    pub fn address(&self) -> &str {
        self.0.split_once('@').map_or(self.0.as_str(), |(_, host)| host)
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
    #[error("{given:?} is no host name; give user@host, as for ssh")]
    BadHost { given: String },
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
        "the connection to {host} was lost ({detail}); check again: a remedy under way finishes there or is taken back"
    )]
    Lost { host: String, detail: String },
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

/// What a script answered.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Answer {
    pub pairs: Vec<(String, String)>,
    /// The script's own exit status.
    pub status: i32,
    /// What it wrote to standard error: shown where something failed.
    pub errors: String,
}

impl Answer {
    /// The first value of a key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        self.pairs
            .iter()
            .find(|(k, _)| k == key)
            .map(|(_, value)| value.as_str())
    }

    /// All values of a key.
    pub fn all<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a str> {
        self.pairs
            .iter()
            .filter(move |(k, _)| k == key)
            .map(|(_, value)| value.as_str())
    }

    /// Whether a key was answered `yes`.
    #[must_use]
    pub fn yes(&self, key: &str) -> bool {
        self.get(key) == Some("yes")
    }
}

/// A shared connection. Dropping it closes the master.
pub struct Ssh {
    host: Host,
    options: SshOptions,
    // Short on purpose: a socket's path is limited to about 100 bytes, which macOS' own temporary folder nearly fills.
    control: tempfile::TempDir,
}

impl Ssh {
    /// Connects and asks for nothing but an answer.
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
    /// [`SshError`] where the connection failed. A script's own failure is its [`Answer::status`].
    pub async fn run(&self, script: &Script, limit: Duration) -> Result<Answer, SshError> {
        let mut child = self.start(script).await?;
        let work = async {
            let (mut out, mut err) = (Vec::new(), Vec::new());
            let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
            let read_out = async {
                if let Some(mut pipe) = stdout {
                    let _ = pipe.read_to_end(&mut out).await;
                }
            };
            let read_err = async {
                if let Some(mut pipe) = stderr {
                    let _ = pipe.read_to_end(&mut err).await;
                }
            };
            tokio::join!(read_out, read_err);
            (child.wait().await, out, err)
        };
        let (status, out, err) = tokio::time::timeout(limit, work)
            .await
            .map_err(|_| SshError::TimedOut {
                host: self.host.0.clone(),
                seconds: limit.as_secs(),
            })?;
        let errors = String::from_utf8_lossy(&err).trim().to_owned();
        let status = status.map_err(|error| self.lost(&error.to_string()))?.code();
        let pairs = pairs(&out);
        match status {
            Some(255) | None => Err(self.explain(&errors, !pairs.is_empty())),
            Some(status) => Ok(Answer { pairs, status, errors }),
        }
    }

    /// Runs a script whose output is told as it comes. The script's last line should be a status of its own.
    ///
    /// # Errors
    /// As [`run`](Self::run); [`SshError::Cancelled`] where `line` answered false (the script itself goes on until it is told).
    pub async fn stream(&self, script: &Script, mut chunk: impl FnMut(&[u8]) -> bool + Send) -> Result<i32, SshError> {
        let mut child = self.start(script).await?;
        let (Some(mut out), Some(mut err)) = (child.stdout.take(), child.stderr.take()) else {
            return Err(self.lost("no pipes"));
        };
        let mut errors = Vec::new();
        let mut buffer = vec![0; 16 * 1024];
        let read_err = async {
            let _ = err.read_to_end(&mut errors).await;
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
            Some(255) | None => Err(self.explain(String::from_utf8_lossy(&errors).trim(), true)),
            Some(status) => Ok(status),
        }
    }

    /// Copies a file to a path of the module. The path is a constant of this program, as `scp` may read it with a shell.
    ///
    /// # Errors
    /// [`SshError::CopyFailed`] and those of the connection.
    pub async fn upload(&self, local: &Path, remote: &'static str, limit: Duration) -> Result<(), SshError> {
        let local = std::path::absolute(local).unwrap_or_else(|_| local.to_owned());
        let mut command = Command::new("scp");
        command
            .args(self.arguments("-P"))
            .arg("-q")
            .arg("--")
            .arg(&local)
            .arg(format!("{}:{remote}", self.host.0));
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let output = tokio::time::timeout(limit, command.output())
            .await
            .map_err(|_| SshError::TimedOut {
                host: self.host.0.clone(),
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
                host: self.host.0.clone(),
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

    async fn start(&self, script: &Script) -> Result<Child, SshError> {
        let mut command = Command::new("ssh");
        command
            .args(self.arguments("-p"))
            .arg("-T")
            .arg("--")
            .arg(&self.host.0)
            .arg("sh -s");
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let mut child = command.spawn().map_err(|error| SshError::NoProgram {
            detail: error.to_string(),
        })?;
        if let Some(mut stdin) = child.stdin.take() {
            // A pipe that breaks here means that ssh has ended: its own words say why.
            let _ = stdin.write_all(script.text().as_bytes()).await;
            let _ = stdin.shutdown().await;
        }
        Ok(child)
    }

    fn lost(&self, detail: &str) -> SshError {
        SshError::Lost {
            host: self.host.0.clone(),
            detail: detail.to_owned(),
        }
    }

    /// Turns `ssh`'s own words into the sentence with the right remedy.
    fn explain(&self, errors: &str, answered: bool) -> SshError {
        let host = self.host.0.clone();
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
        // The master would stay for its 30 s; its folder goes now, so it is asked to go too. Nobody waits for it.
        let mut command = std::process::Command::new("ssh");
        command
            .args(self.arguments("-p"))
            .args(["-O", "exit", "--"])
            .arg(&self.host.0);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        if let Ok(mut child) = command.spawn() {
            let _ = child.wait();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_that_ssh_could_misread_are_refused() {
        for good in [
            "root@192.168.1.5",
            "m5",
            "root@m5stack-LLM.local",
            "root@fe80::1%en0",
            "[::1]",
        ] {
            assert_eq!(Host::parse(good).unwrap().as_str(), good);
        }
        for bad in [
            "",
            " ",
            "-oProxyCommand=id",
            "root@-x",
            "a b",
            "a;id",
            "$(id)",
            "a\nb",
            "a'b",
            "`id`",
            "a@b@c",
            "user@host/..",
            "日本",
        ] {
            assert!(matches!(Host::parse(bad), Err(SshError::BadHost { .. })), "{bad:?}");
        }
        assert_eq!(Host::parse("root@m5").unwrap().address(), "m5");
    }
}
