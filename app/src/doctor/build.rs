//! Builds the C++ unit on the module (set-up guide, section 1.4): streams the output, answers its questions, watches
//! the free memory, and can be stopped at any time.

use std::time::Duration;

use softprefix_core::protocol::Utf8Cutter;

use super::remedies::TREE;
use super::script::{Script, printable};
use super::ssh::{Ssh, SshError};

/// A build is stopped when less memory than this is free, in MiB.
pub const FLOOR_MIB: u32 = 48;

const BUILD: &str = include_str!("build/start.sh");

const STOP: &str = include_str!("build/stop.sh");

/// What a running build reports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BuildOutput {
    Text(String),
    /// Free memory of the module, in MiB.
    FreeMemory(u64),
}

/// Builds the C++ unit with `scons -j1`, answering all questions with yes. Calls `report` with the output as it arrives
/// and with the module's free memory every two seconds; returning `false` from it stops the build.
///
/// Returns the build's exit status, which is 3 if less than `floor_mib` of memory was free.
///
/// # Errors
/// Those of the connection; [`SshError::Cancelled`] after the build was stopped on request.
pub async fn build(
    ssh: &Ssh,
    floor_mib: u32,
    mut report: impl FnMut(BuildOutput) -> bool + Send,
) -> Result<i32, SshError> {
    let script = Script::new(BUILD)
        .with("TREE", TREE)?
        .with("FLOOR", floor_mib.to_string())?;
    let mut splitter = MarkerSplitter::default();
    let ended = ssh.stream(&script, |chunk| splitter.push(chunk, &mut report)).await;
    if matches!(ended, Err(SshError::Cancelled)) {
        ssh.run(&Script::new(STOP), Duration::from_secs(20)).await?;
    }
    ended
}

/// Returns the commands of a build, for display.
#[must_use]
pub fn shown() -> String {
    format!("cd {TREE}/projects/llm_framework\nyes Y | scons -j1")
}

/// Maximum number of digits in a marker.
const MAX_MARKER_DIGITS: usize = 20;

/// Separates the script's memory markers (RS, free MiB, US) from the build's own output.
#[derive(Default)]
struct MarkerSplitter {
    mark: Option<Vec<u8>>,
    letters: Utf8Cutter,
}

impl MarkerSplitter {
    fn push(&mut self, chunk: &[u8], report: &mut impl FnMut(BuildOutput) -> bool) -> bool {
        let mut text = Vec::new();
        let mut memory = None;
        for &byte in chunk {
            match (&mut self.mark, byte) {
                (None, 0x1e) => self.mark = Some(Vec::new()),
                (None, _) => text.push(byte),
                (Some(mark), b'0'..=b'9') if mark.len() < MAX_MARKER_DIGITS => mark.push(byte),
                (Some(mark), 0x1f) => {
                    memory = std::str::from_utf8(mark)
                        .ok()
                        .and_then(|mib| mib.parse().ok())
                        .or(memory);
                    self.mark = None;
                }
                // Not a marker: the build's own text.
                (Some(mark), _) => {
                    text.append(mark);
                    text.push(byte);
                    self.mark = None;
                }
            }
        }
        let text = printable(&self.letters.push(&text));
        let mut continues = true;
        if !text.is_empty() {
            continues &= report(BuildOutput::Text(text));
        }
        if let Some(memory) = memory {
            continues &= report(BuildOutput::FreeMemory(memory));
        }
        continues
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markers_are_separated_from_the_text_at_every_chunk_boundary() {
        let whole = "コンパイル\x1e780\x1f中\x1e779\x1f。".as_bytes();
        for cut in 0..=whole.len() {
            let (mut text, mut memory, mut splitter) = (String::new(), Vec::new(), MarkerSplitter::default());
            for chunk in [&whole[..cut], &whole[cut..]] {
                splitter.push(chunk, &mut |output| {
                    match output {
                        BuildOutput::Text(more) => text.push_str(&more),
                        BuildOutput::FreeMemory(mib) => memory.push(mib),
                    }
                    true
                });
            }
            assert_eq!(text, "コンパイル中。", "cut at {cut}");
            assert_eq!(memory.last(), Some(&779), "cut at {cut}");
        }
    }

    #[test]
    fn an_incomplete_marker_is_text_and_is_not_buffered_without_bound() {
        let mut text = String::new();
        let mut splitter = MarkerSplitter::default();
        for chunk in [
            &b"a\x1eno mark "[..],
            &b"\x1e"[..],
            &b"9".repeat(1 << 16)[..],
            b"\x1b[2Jb",
        ] {
            splitter.push(chunk, &mut |output| {
                if let BuildOutput::Text(more) = output {
                    text.push_str(&more);
                }
                true
            });
            assert!(
                splitter
                    .mark
                    .as_ref()
                    .is_none_or(|mark| mark.len() <= MAX_MARKER_DIGITS)
            );
        }
        assert_eq!(text, format!("ano mark {}\u{fffd}[2Jb", "9".repeat(1 << 16)));
    }
}
