//! Writes recordings and reads them for playback. Each line is written as it arrives, with its time, so that a
//! recording survives a crash of the program.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use softprefix_core::files::OutFile;
use softprefix_core::{files, time};

use super::events::Events;
use crate::errors::{because, cannot_read, task_failed};
use crate::messages::{Event, RecordingEvent, RecordingRequest};
use crate::model::{Bilingual, Problem, ProblemKind};
use crate::recording::{DEMO, PreparedRecording, Recording, Writer};

/// Maximum file size in MiB: an hour of text and slider moves takes a tenth of it.
const MAX_FILE_MIB: u64 = 64;

struct Tape {
    file: OutFile,
    writer: Writer,
    /// `None` until the state at the start is written.
    since: Option<Instant>,
}

/// The recordings' part of the bridge.
#[derive(Default)]
pub(super) struct Recordings {
    folder: Option<PathBuf>,
    tape: Option<Tape>,
}

impl Recordings {
    pub(super) async fn handle(&mut self, request: RecordingRequest, events: &Events) {
        match request {
            RecordingRequest::Folder(folder) => self.folder = Some(folder),
            RecordingRequest::Begin => match begin(self.folder.as_deref()) {
                Ok(tape) => self.tape = Some(tape),
                Err(problem) => report(events, RecordingEvent::CannotWrite(problem)).await,
            },
            RecordingRequest::Line(line) => {
                let Some(tape) = &mut self.tape else { return };
                let at = tape.since.map_or(0, |since| since.elapsed().as_millis());
                let at = u64::try_from(at).unwrap_or(u64::MAX);
                let Some(words) = tape.writer.line(at, &line) else {
                    return;
                };
                if let Err(error) = tape.file.write_all(words.as_bytes()) {
                    let path = tape.file.path().display();
                    let problem = Problem::new(
                        ProblemKind::File,
                        Bilingual::new(
                            format!("The recording {path} cannot be written ({error})."),
                            because(&format!("記録 {path} に書き込めません"), &error.to_string()),
                        ),
                        Bilingual::new(
                            "What was recorded so far is in the file; free some space and record again.",
                            "ここまでの記録は残っています。空き容量を増やして、記録し直してください。",
                        ),
                    );
                    self.tape = None;
                    report(events, RecordingEvent::CannotWrite(problem)).await;
                }
            }
            RecordingRequest::StartClock => {
                if let Some(tape) = &mut self.tape {
                    tape.since = Some(Instant::now());
                }
            }
            RecordingRequest::End => {
                if let Some(Tape { file, .. }) = self.tape.take() {
                    let path = file.path().to_owned();
                    report(events, RecordingEvent::Ended { path }).await;
                }
            }
            RecordingRequest::Move { from, to } => in_the_background(events, move || move_file(&from, to)),
            RecordingRequest::Open(path) => in_the_background(events, move || match read(&path) {
                Ok(recording) => RecordingEvent::Opened {
                    recording: Arc::new(recording),
                },
                Err(problem) => RecordingEvent::Refused(problem),
            }),
            RecordingRequest::OpenDemo => in_the_background(events, || match demo() {
                Ok(recording) => RecordingEvent::Opened { recording },
                Err(problem) => RecordingEvent::Refused(problem),
            }),
        }
    }
}

async fn report(events: &Events, event: RecordingEvent) {
    events.send(Event::Recording(Box::new(event))).await;
}

fn in_the_background(events: &Events, work: impl FnOnce() -> RecordingEvent + Send + 'static) {
    let events = events.clone();
    tokio::spawn(async move {
        let event = tokio::task::spawn_blocking(work)
            .await
            .unwrap_or_else(|error| RecordingEvent::Refused(task_failed(error)));
        report(&events, event).await;
    });
}

fn begin(folder: Option<&Path>) -> Result<Tape, Problem> {
    let folder = folder.map_or_else(std::env::temp_dir, Path::to_owned);
    let cannot = |error: std::io::Error| {
        Problem::new(
            ProblemKind::File,
            Bilingual::new(
                format!("No recording can be written into {} ({error}).", folder.display()),
                because(
                    &format!("{} に記録を書き込めません", folder.display()),
                    &error.to_string(),
                ),
            ),
            Bilingual::new(
                "Check the folder's rights and the space on its disk.",
                "フォルダーの権限と、ディスクの空き容量を確かめてください。",
            ),
        )
    };
    std::fs::create_dir_all(&folder).map_err(cannot)?;
    let now = time::now();
    let stamp = time::stamp(now);
    // Two recordings may begin in the same second.
    let mut file = (0..100)
        .find_map(|again| {
            let name = match again {
                0 => format!("recording-{stamp}.jsonl"),
                again => format!("recording-{stamp}-{again}.jsonl"),
            };
            match OutFile::create_private(&folder.join(name)) {
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => None,
                made => Some(made),
            }
        })
        .unwrap_or_else(|| Err(std::io::ErrorKind::AlreadyExists.into()))
        .map_err(cannot)?;
    if let Err(error) = file.write_all(Writer::head(now as u64).as_bytes()) {
        // Nothing was recorded yet.
        if let Err(error) = std::fs::remove_file(file.path()) {
            tracing::warn!(%error, path = %file.path().display(), "a recording that could not begin cannot be removed");
        }
        return Err(cannot(error));
    }
    Ok(Tape {
        file,
        writer: Writer::default(),
        since: None,
    })
}

fn move_file(from: &Path, to: PathBuf) -> RecordingEvent {
    if from == to {
        return RecordingEvent::Moved { path: to };
    }
    // Copies the file to another disk.
    let moved = std::fs::rename(from, &to).or_else(|_| {
        files::write_private(&to, &files::read(from, MAX_FILE_MIB << 20)?)?;
        std::fs::remove_file(from)
    });
    match moved {
        Ok(()) => RecordingEvent::Moved { path: to },
        Err(error) => {
            let (to, from) = (to.display(), from.display());
            RecordingEvent::Refused(Problem::new(
                ProblemKind::File,
                Bilingual::new(
                    format!("{to} cannot be written ({error})."),
                    because(&format!("{to} に書き込めません"), &error.to_string()),
                ),
                Bilingual::new(
                    format!("The recording is kept as {from}."),
                    format!("記録は {from} に残してあります。"),
                ),
            ))
        }
    }
}

/// Reads a file and prepares it for playback.
///
/// # Errors
/// Why it cannot be played.
pub fn read(path: &Path) -> Result<PreparedRecording, Problem> {
    let cannot = |error: std::io::Error| cannot_read(path, &error);
    let megabytes = std::fs::metadata(path).map_err(cannot)?.len() >> 20;
    if megabytes > MAX_FILE_MIB {
        let path = path.display();
        return Err(Problem::new(
            ProblemKind::File,
            Bilingual::new(
                format!("{path} is too large for a recording ({megabytes} MB)."),
                format!("{path} は記録としては大きすぎます（{megabytes} MB）。"),
            ),
            Bilingual::new(
                "Choose a file that this program recorded.",
                "本ソフトで記録したファイルを選んでください。",
            ),
        ));
    }
    let bytes = files::read(path, MAX_FILE_MIB << 20).map_err(cannot)?;
    let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
    let recording = Recording::read(&bytes, &name).map_err(|error| error.problem())?;
    Ok(PreparedRecording::new(Some(name.into_owned()), recording))
}

/// Prepares the built-in recording for playback.
///
/// # Errors
/// None, as long as the file in the repository is intact (a test checks it).
pub fn demo() -> Result<Arc<PreparedRecording>, Problem> {
    let recording = Recording::read(DEMO, "demo.jsonl").map_err(|error| error.problem())?;
    Ok(Arc::new(PreparedRecording::new(None, recording)))
}
