//! Learning a prefix, for window and shell: the best rows so far are always in a file, which survives the module and this process. Also
//! reads files of examples and prompts.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::error::Category;
use softprefix_core::client::{self, ClientError, Task};
use softprefix_core::experiment::{LearnPlan, ModuleIdentity};
use softprefix_core::prefix::{Learned, LearningSettings, Origin, PrefixStore, SoftPrefix, decode, files};
use softprefix_core::protocol::learn::{Example, LearnFrame};

use crate::errors::{self, prefix_file_problem, prefix_store_problem, task_failed};
use crate::model::{Bilingual, Problem, ProblemKind};

/// Output tokens beyond the target's in a run that tests learned rows, so that text after the target is seen.
pub const TOKENS_BEYOND_TARGET: usize = 24;
/// Maximum size of a file of examples or prompts, in bytes.
const MAX_FILE_SIZE: u64 = 8 << 20;
/// Maximum number of invalid lines that a message names.
const MAX_NAMED_LINES: usize = 10;

/// The best rows so far, which are saved.
#[derive(Debug, Clone, PartialEq)]
pub struct BestRows {
    pub rows: SoftPrefix,
    pub learned: Learned,
}

/// A prefix that is being learned. Dropping it cancels learning.
pub struct Learner {
    learning: client::Learning,
    plan: LearnPlan,
    module: ModuleIdentity,
    file: PathBuf,
    store: Option<PrefixStore>,
    settings: Option<LearningSettings>,
    best: Option<BestRows>,
}

impl Learner {
    /// Starts on a task of the module. The best rows are written to `file`; the last ones are put into `store`, so that a record of a run
    /// with them can be repeated.
    ///
    /// # Errors
    /// If the unit cannot learn, or the connection is lost.
    pub fn begin(
        task: &Task,
        plan: LearnPlan,
        module: ModuleIdentity,
        file: PathBuf,
        store: Option<PrefixStore>,
    ) -> Result<Self, Problem> {
        let learning = task.learn(&plan.request).map_err(|error| problem(error, &module))?;
        Ok(Self {
            learning,
            plan,
            module,
            file,
            store,
            settings: None,
            best: None,
        })
    }

    /// Returns the best rows so far.
    pub fn best(&self) -> Option<&BestRows> {
        self.best.as_ref()
    }

    /// Returns the unit's next frame. Cancel safe. Show a frame only after [`Learner::save_frame`] has returned.
    ///
    /// # Errors
    /// Errors of the unit and of the connection.
    pub async fn next_frame(&mut self) -> Result<LearnFrame, Problem> {
        let received = self.learning.next().await;
        let received = received.map_err(|error| problem(error, &self.module))?;
        received.ok_or_else(|| {
            Problem::new(
                ProblemKind::Module,
                Bilingual::new(
                    "The unit ended without its last frame.",
                    "ユニットが最後の報告なしに終わりました。",
                ),
                Bilingual::new("Start again.", "もう一度開始してください。"),
            )
        })
    }

    /// Writes the frame's rows, if it has any, to the file; returns the frame without them. Not cancel safe.
    ///
    /// # Errors
    /// If the rows are invalid, or the file cannot be written.
    pub async fn save_frame(&mut self, mut frame: LearnFrame) -> Result<LearnFrame, Problem> {
        self.settings = frame.settings.or(self.settings);
        let Some(field) = frame.best.rows.take() else {
            return Ok(frame);
        };
        let rows = decode(&field, self.module.hidden_size)
            .map_err(|error| Problem::from_text(ProblemKind::Module, errors::prefix(&error)))?;
        let learned = self.plan.learned(self.settings, &self.module, &frame);
        let best = BestRows { rows, learned };
        let (file, store, kept) = (self.file.clone(), self.store.clone(), best.clone());
        let last = frame.finish;
        let write = move || write(&kept, &file, store.as_ref().filter(|_| last));
        tokio::task::spawn_blocking(write).await.map_err(task_failed)??;
        self.best = Some(best);
        Ok(frame)
    }

    /// Asks the unit to stop: its last frame then has the best rows so far.
    ///
    /// # Errors
    /// If the connection is closed.
    pub fn stop(&self) -> Result<(), Problem> {
        self.learning.stop().map_err(|error| problem(error, &self.module))
    }
}

fn problem(error: ClientError, module: &ModuleIdentity) -> Problem {
    errors::session(&error.into(), module.is_embedded())
}

fn write(best: &BestRows, file: &Path, store: Option<&PrefixStore>) -> Result<(), Problem> {
    let note = Origin::Learned(Box::new(best.learned.clone())).note(&best.rows);
    let note = note.map(|note| note.to_string());
    files::export_safetensors(&best.rows, file, note.as_deref()).map_err(|error| prefix_file_problem(&error))?;
    match store {
        Some(store) => store
            .put(&best.rows)
            .map(drop)
            .map_err(|error| prefix_store_problem(&error)),
        None => Ok(()),
    }
}

/// Reads a file of examples or prompts, without a byte order mark.
///
/// # Errors
/// If it cannot be read, or is too large.
pub fn text_of(path: &Path) -> Result<String, Problem> {
    let text =
        softprefix_core::files::read_text(path, MAX_FILE_SIZE).map_err(|error| errors::cannot_read(path, &error))?;
    let unmarked = text.strip_prefix('\u{feff}').map(str::to_owned);
    Ok(unmarked.unwrap_or(text))
}

/// Reads a file of examples, one per line.
///
/// # Errors
/// If it cannot be read, or has invalid lines, which are named by their numbers.
pub fn examples(path: &Path) -> Result<Vec<Example>, Problem> {
    let text = text_of(path)?;
    let (mut found, mut faults) = (Vec::new(), Vec::new());
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        match example(line) {
            Ok(example) => found.push(example),
            Err(why) => faults.push((number + 1, why)),
        }
    }
    let file = path.display();
    match faults.first() {
        Some((_, why)) => {
            let numbers: Vec<String> = faults
                .iter()
                .take(MAX_NAMED_LINES)
                .map(|(number, _)| number.to_string())
                .collect();
            let more = faults.len().saturating_sub(MAX_NAMED_LINES);
            let (lines, and_more) = match (faults.len(), more) {
                (1, _) => ("line", String::new()),
                (_, 0) => ("lines", String::new()),
                (_, more) => ("lines", format!(" and {more} more")),
            };
            let Bilingual { en, ja } = why;
            let and_more_ja = if more > 0 {
                format!("、ほか {more} 行")
            } else {
                String::new()
            };
            Err(Problem::new(
                ProblemKind::File,
                Bilingual::new(
                    format!(
                        "{file}: {lines} {}{and_more} cannot be used ({en}).",
                        numbers.join(", ")
                    ),
                    format!("{file}：{} 行目{and_more_ja}は使えません（{ja}）。", numbers.join("、")),
                ),
                Bilingual::new(
                    "Each line is {\"prompt\": \"...\", \"target\": \"...\"}.",
                    "各行を {\"prompt\": \"...\", \"target\": \"...\"} の形にしてください。",
                ),
            ))
        }
        None if found.is_empty() => Err(Problem::new(
            ProblemKind::File,
            Bilingual::new(format!("{file} has no examples."), format!("{file} に例がありません。")),
            Bilingual::new(
                "Write a line {\"prompt\": \"...\", \"target\": \"...\"} for each.",
                "例ごとに {\"prompt\": \"...\", \"target\": \"...\"} の行を書いてください。",
            ),
        )),
        None => Ok(found),
    }
}

/// Parses an example.
fn example(line: &str) -> Result<Example, Bilingual> {
    #[derive(Deserialize)]
    struct Line {
        prompt: String,
        target: String,
    }
    match serde_json::from_str(line) {
        Ok(Line { prompt, target }) if !prompt.trim().is_empty() && !target.trim().is_empty() => {
            Ok(Example { prompt, target })
        }
        Ok(_) => Err(Bilingual {
            en: "an empty prompt or target".to_owned(),
            ja: "プロンプトか目標の出力が空です".to_owned(),
        }),
        Err(error) => {
            // Its line is always 1, and its column counts bytes.
            let before = line.floor_char_boundary(error.column().saturating_sub(1));
            let character = line[..before].chars().count() + 1;
            let whole = error.to_string();
            let reason = whole
                .rsplit_once(" at line ")
                .map_or(whole.as_str(), |(reason, _)| reason);
            Err(match error.classify() {
                Category::Data => Bilingual {
                    en: reason.to_owned(),
                    ja: "\"prompt\" と \"target\" の二つの文字列がありません".to_owned(),
                },
                _ => Bilingual {
                    en: format!("{reason}, at character {character}"),
                    ja: format!("{character} 文字目が JSON として読めません"),
                },
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use softprefix_core::files::faults::{Fault, inject};
    use softprefix_core::prefix::Rounding;

    use super::*;
    use crate::model::Language;

    #[test]
    fn invalid_lines_of_an_examples_file_are_named_by_their_numbers() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("examples.jsonl");
        let good = "{\"prompt\": \"a\", \"target\": \"b\"}";
        let read = |text: String| {
            std::fs::write(&path, text).unwrap();
            examples(&path).map_err(|problem| Language::ALL.map(|of| problem.whole(of)))
        };
        assert_eq!(read(format!("\u{feff}{good}\n\n{good}\n")).unwrap().len(), 2);
        let [en, ja] = read(format!("{good}\n{{\"prompt\": \"日本語\", x\n")).unwrap_err();
        assert!(en.contains(", at character 19") && !en.contains("at line"), "{en}");
        assert!(ja.contains("19 文字目"), "{ja}");
        let [en, ja] = read(format!("{good}\nnot json\n{good}\n{{\"prompt\": \"a\"}}\n")).unwrap_err();
        assert!(
            en.contains("lines 2, 4 cannot be used") && ja.contains("2、4 行目"),
            "{en} {ja}"
        );
        let [en, _] = read("{\"prompt\": \"a\", \"target\": \" \"}\n".into()).unwrap_err();
        assert!(en.contains("line 1 cannot be used (an empty prompt"), "{en}");
        let [en, _] = read("what\n".repeat(14)).unwrap_err();
        assert!(en.contains("9, 10 and 4 more cannot"), "{en}");
        for (line, reason) in [
            ("what", "1 文字目が JSON として読めません"),
            (
                "{\"prompt\": \"a\"}",
                "\"prompt\" と \"target\" の二つの文字列がありません",
            ),
        ] {
            let [_, ja] = read(line.into()).unwrap_err();
            assert!(ja.contains(reason), "{ja}");
        }
        let [en, ja] = read("\n".into()).unwrap_err();
        assert!(en.contains("has no examples") && ja.contains("例がありません"), "{en}");
    }

    /// The best rows after a step.
    fn best(step: usize) -> BestRows {
        let values = [0.5 + step as f32; 4];
        BestRows {
            rows: SoftPrefix::from_f32(2, &values, Rounding::default()).unwrap(),
            learned: serde_json::from_value(serde_json::json!({
                "objective": "", "examples": 1, "preserved": 0, "data_sha256": "", "first_prompt": "", "first_target": "",
                "init": "target", "seed": 0, "steps_asked": 1, "step": step, "loss": 1.0, "likelihood": 1.0, "matched": 0,
                "wanted": 1, "model": "m",
            }))
            .unwrap(),
        }
    }

    #[test]
    fn a_failure_at_any_step_of_writing_keeps_the_old_or_the_new_rows_and_names_the_file() {
        let names = |folder: &Path| {
            let files = std::fs::read_dir(folder).unwrap();
            files.map(|file| file.unwrap().file_name()).collect::<Vec<_>>()
        };
        for (fault, reasons) in [
            (
                Fault::Broken as fn(usize) -> Fault,
                ["os error 5", "ディスクの入出力エラーです"],
            ),
            (Fault::Full, ["os error 28", "ディスクに空きがありません"]),
        ] {
            for at in 0.. {
                let folder = tempfile::tempdir().unwrap();
                let file = folder.path().join("rows.safetensors");
                let store = PrefixStore::new(folder.path().join("prefixes"));
                write(&best(0), &file, Some(&store)).unwrap();
                let injected = inject(folder.path(), fault(at));
                let written = write(&best(1), &file, Some(&store));
                let met = injected.was_met();
                drop(injected);
                assert_eq!(written.is_err(), met, "{:?}: {written:?}", fault(at));
                let imported = files::import(&file, None, Rounding::default()).unwrap();
                let recipe = imported.recipe();
                let step = recipe.kind.learned().unwrap().step;
                assert_eq!(imported.prefix, best(step).rows, "{:?}", fault(at));
                let left = (names(folder.path()).len(), names(store.folder()).len());
                assert_eq!(left, if met { (2, 1) } else { (2, 2) }, "{:?}", fault(at));
                let Err(problem) = written else {
                    assert!(step == 1 && at >= 8, "{at} steps");
                    store.get(&best(1).rows.sha256(), None).unwrap();
                    break;
                };
                // The store comes after the file.
                let named = if step == 0 { "rows.safetensors" } else { "prefixes" };
                for (language, reason) in Language::ALL.into_iter().zip(reasons) {
                    let sentence = problem.whole(language);
                    assert!(sentence.contains(named) && sentence.contains(reason), "{sentence}");
                }
                assert_eq!(problem.kind, ProblemKind::File);
                write(&best(1), &file, Some(&store)).unwrap();
            }
        }
    }
}
