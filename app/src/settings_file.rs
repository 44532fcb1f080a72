//! The file with the window's settings and fields. It is replaced atomically, and a file that cannot be read is renamed, not overwritten.

use std::io;
use std::path::{Path, PathBuf};

use softprefix_core::{files, time};

use crate::errors;
use crate::model::{Bilingual, Language, Problem, ProblemKind, Remembered};

/// Maximum size of a settings file, which contains only what a user typed.
const MAX_FILE_SIZE: u64 = 16 << 20;

/// The file and its content.
#[derive(Debug)]
pub struct SettingsFile {
    /// `None` if the file could be neither read nor renamed; it is then not overwritten.
    path: Option<PathBuf>,
    saved: Vec<u8>,
    was_read: bool,
}

impl SettingsFile {
    /// Reads the file at `path`. If there is none, `older` returns what an earlier version stored elsewhere. Numbers out of bounds are
    /// corrected.
    ///
    /// If the file could not be read, also returns the reason and its new name; the settings are then the defaults.
    pub fn open(
        path: &Path,
        older: impl FnOnce() -> Result<Option<Remembered>, Problem>,
    ) -> (Self, Remembered, Option<Problem>) {
        let mut was_read = false;
        let (remembered, problem, usable) = match read(path) {
            Ok(Some(remembered)) => {
                was_read = true;
                (remembered, None, true)
            }
            Ok(None) => match older() {
                Ok(older) => {
                    was_read = older.is_some();
                    let remembered = older.unwrap_or_else(|| Remembered::of_first_start(Language::of_environment()));
                    (remembered, None, true)
                }
                Err(problem) => (Remembered::default(), Some(problem), true),
            },
            Err(error) => match set_aside(path, |kept| std::fs::rename(path, kept)) {
                Ok(kept) => (
                    Remembered::default(),
                    Some(unreadable_kept_as(path, &error, &kept)),
                    true,
                ),
                Err(_) => (Remembered::default(), Some(left_as_it_is(path, &error)), false),
            },
        };
        let file = Self {
            path: usable.then(|| path.to_owned()),
            saved: Vec::new(),
            was_read,
        };
        (file, remembered.within_bounds(), problem)
    }

    /// Returns whether the fields of an earlier start were read, from this file or from what an earlier version stored.
    pub fn was_read(&self) -> bool {
        self.was_read
    }

    /// Replaces the file unless the last call that succeeded wrote the same. The first call always writes.
    ///
    /// # Errors
    /// Why it cannot be written; the old file is then unchanged.
    pub fn save(&mut self, remembered: &Remembered) -> Result<(), Problem> {
        let Some(path) = &self.path else { return Ok(()) };
        let written = serde_json::to_vec_pretty(remembered)
            .map_err(io::Error::from)
            .and_then(|bytes| {
                if bytes != self.saved {
                    if let Some(folder) = path.parent() {
                        std::fs::create_dir_all(folder)?;
                    }
                    files::write_private(path, &bytes)?;
                    self.saved = bytes;
                }
                Ok(())
            });
        written.map_err(|error| not_saved(path, &error))
    }
}

/// Copies a file of an earlier version that cannot be read, before it is overwritten.
pub fn set_aside_older(path: &Path) -> Problem {
    let unreadable_content = io::Error::new(io::ErrorKind::InvalidData, "it is not what this program writes");
    match set_aside(path, |kept| std::fs::copy(path, kept).map(|_| ())) {
        Ok(kept) => unreadable_kept_as(path, &unreadable_content, &kept),
        Err(_) => unreadable(
            path,
            &unreadable_content,
            Bilingual::new(
                "The window replaces this file, and it could not be copied: copy it elsewhere now if you need it.",
                "このファイルはウィンドウが上書きします。控えを作れなかったので、必要なら今すぐ別の場所にコピーしてください。",
            ),
        ),
    }
}

/// Returns whether the window system has stored nothing in its file.
pub fn is_empty(path: &Path) -> bool {
    files::read_text(path, MAX_FILE_SIZE).is_ok_and(|text| text.trim() == "{}")
}

/// Returns `None` if there is no file.
fn read(path: &Path) -> io::Result<Option<Remembered>> {
    match files::read(path, MAX_FILE_SIZE) {
        Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Moves or copies the file to an unused name.
fn set_aside(path: &Path, to: impl Fn(&Path) -> io::Result<()>) -> io::Result<PathBuf> {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let stamp = time::stamp(time::now());
    let names = (0..100).map(|again| match again {
        0 => format!("{name}.unreadable-{stamp}"),
        again => format!("{name}.unreadable-{stamp}-{again}"),
    });
    let free = names.map(|name| path.with_file_name(name)).find(|kept| !kept.exists());
    let kept = free.ok_or(io::ErrorKind::AlreadyExists)?;
    to(&kept)?;
    Ok(kept)
}

fn unreadable_kept_as(path: &Path, error: &io::Error, kept: &Path) -> Problem {
    let kept = kept.display();
    let remedy = Bilingual::new(
        format!("The unreadable file is kept as {kept}."),
        format!("読めなかったファイルは {kept} に残してあります。"),
    );
    unreadable(path, error, remedy)
}

fn left_as_it_is(path: &Path, error: &io::Error) -> Problem {
    let remedy = Bilingual::new(
        "The file is left unchanged, and nothing is saved to it; check its permissions and those of its folder.",
        "ファイルはそのまま残し、何も書き込みません。ファイルとフォルダーのアクセス権を確かめてください。",
    );
    unreadable(path, error, remedy)
}

fn unreadable(path: &Path, error: &io::Error, remedy: Bilingual) -> Problem {
    let path = path.display();
    Problem::new(
        ProblemKind::File,
        Bilingual::new(
            format!("The settings in {path} cannot be read ({error}). The window starts with the defaults."),
            errors::because(
                &format!("{path} の設定を読めないため、既定の設定で起動しました"),
                &error.to_string(),
            ),
        ),
        remedy,
    )
}

fn not_saved(path: &Path, error: &io::Error) -> Problem {
    let path = path.display();
    Problem::new(
        ProblemKind::File,
        Bilingual::new(
            format!("The settings cannot be saved in {path} ({error}). The file still has the previous ones."),
            errors::because(
                &format!("設定を {path} に保存できません。前回の設定は残っています"),
                &error.to_string(),
            ),
        ),
        Bilingual::new(
            "Free some space or check the folder's permissions; saving is tried again later.",
            "空き容量を増やすか、フォルダーの権限を確かめてください。後でもう一度保存します。",
        ),
    )
}

#[cfg(test)]
mod tests {
    use softprefix_core::files::faults::{Fault, inject};

    use super::*;
    use crate::model::Settings;

    fn open(path: &Path) -> (SettingsFile, Remembered, Option<Problem>) {
        SettingsFile::open(path, || Ok(None))
    }

    fn zoomed(zoom: f32) -> Remembered {
        let mut remembered = Remembered::default();
        remembered.settings.zoom = zoom;
        remembered
    }

    fn names(folder: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(folder).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn what_was_saved_is_there_at_the_next_start_and_an_older_versions_file_counts_until_then() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/settings.json");
        let (mut file, remembered, problem) = SettingsFile::open(&path, || Ok(Some(zoomed(1.5))));
        assert_eq!((remembered.settings.zoom, problem), (1.5, None));
        file.save(&zoomed(2.0)).unwrap();
        let (_, remembered, problem) = SettingsFile::open(&path, || Ok(Some(zoomed(1.5))));
        assert_eq!((remembered.settings.zoom, problem), (2.0, None));
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o077, 0);
        }
    }

    #[test]
    fn unreadable_settings_are_moved_aside_and_reported() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("settings.json");
        for torn in ["", "{", "[1]", "{\"settings\": {\"zoom\": \"large\"}}", "\u{0}\u{0}"] {
            std::fs::write(&path, torn).unwrap();
            let before = names(folder.path()).len();
            let (mut file, remembered, problem) = open(&path);
            assert_eq!(remembered, Remembered::default().within_bounds());
            assert!(problem.unwrap().remedy.en.contains(".unreadable-"));
            assert!(!path.exists());
            file.save(&zoomed(1.5)).unwrap();
            let kept = names(folder.path());
            assert_eq!(kept.len(), before + 1, "{kept:?}");
            let texts = kept
                .iter()
                .map(|name| std::fs::read_to_string(folder.path().join(name)));
            assert!(texts.flatten().any(|text| text == torn), "{torn:?} is kept");
        }
    }

    #[test]
    fn settings_that_can_neither_be_read_nor_moved_are_not_written_over() {
        let folder = tempfile::tempdir().unwrap();
        // A file in place of the folder makes every access fail, even for root.
        let path = folder.path().join("file/settings.json");
        std::fs::write(folder.path().join("file"), "a person's").unwrap();
        let (mut file, _, problem) = open(&path);
        assert!(problem.unwrap().remedy.en.contains("left unchanged"));
        file.save(&zoomed(1.5)).unwrap();
        assert_eq!(std::fs::read(folder.path().join("file")).unwrap(), b"a person's");
    }

    #[test]
    fn numbers_of_a_file_are_brought_within_their_bounds() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("settings.json");
        let (least, most) = (*Settings::ZOOM.start(), *Settings::ZOOM.end());
        for (zoom, expected) in [("0", least), ("1e30", most), ("-1", least), ("1.25", 1.25)] {
            let text = format!(
                r#"{{"settings": {{"zoom": {zoom}, "texts_height": -1, "pair_height": -3}},
                    "prefix": {{"magnitude": 1e308, "len": 1000000000000, "blend": 7}},
                    "prompt": {{"max_tokens": 0, "preset": 99}}, "sweep": {{"repeats": 1000000000000, "lens": [0]}}}}"#
            );
            std::fs::write(&path, text).unwrap();
            let (_, remembered, problem) = open(&path);
            assert_eq!(problem, None);
            assert_eq!(remembered.settings.zoom, expected, "{zoom}");
            assert_eq!(remembered.settings.texts_height, None);
            assert_eq!(remembered.settings.pair_height, None);
            assert!(remembered.prefix.len <= softprefix_core::prefix::MAX_LEN);
            assert_eq!(remembered.prefix.blend, 1.0);
            assert_eq!(remembered.prompt.max_tokens, 1);
            assert_eq!(remembered.sweep.repeats, 100);
            assert!(remembered.sweep.lengths.iter().all(|&len| len > 0));
        }
        let mut remembered = Remembered::default();
        remembered.settings.zoom = f32::NAN;
        remembered.prefix.magnitude = f64::NAN;
        remembered.prefix.blend = f64::INFINITY;
        let bounded = remembered.within_bounds();
        assert_eq!(bounded.settings.zoom, 1.0);
        assert!(bounded.prefix.magnitude.is_finite() && bounded.prefix.blend.is_finite());
    }

    #[test]
    fn a_failure_at_any_step_of_saving_keeps_the_old_or_the_new_settings_and_is_reported() {
        for fault in [Fault::Broken, Fault::Full] {
            for at in 0.. {
                let folder = tempfile::tempdir().unwrap();
                let path = folder.path().join("settings.json");
                open(&path).0.save(&zoomed(1.5)).unwrap();
                let (mut file, _, _) = open(&path);
                let injected = inject(folder.path(), fault(at));
                let saved = file.save(&zoomed(2.0));
                let met = injected.was_met();
                drop(injected);
                assert_eq!(saved.is_err(), met, "{at}");
                assert_eq!(open(&path).1.settings.zoom, if met { 1.5 } else { 2.0 });
                assert_eq!(names(folder.path()), ["settings.json"], "nothing half-written is left");
                if !met {
                    assert!(at > 2, "there are several steps");
                    break;
                }
                assert!(saved.unwrap_err().sentence.en.contains("cannot be saved"));
                file.save(&zoomed(2.0)).unwrap();
                assert_eq!(open(&path).1.settings.zoom, 2.0);
            }
        }
    }
}
