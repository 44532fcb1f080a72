//! Imports, exports and describes prefixes off the UI thread.

use std::path::Path;
use std::sync::Arc;

use softprefix_core::prefix::files::{self, FileError};
use softprefix_core::prefix::{
    Origin, PrefixKind, PrefixRecipe, PrefixStore, PrefixStoreError, PrefixSummary, Rounding, SoftPrefix,
};

use super::events::Events;
use crate::errors::{self, task_failed};
use crate::messages::{Event, MaterialEvent, MaterialRequest};
use crate::model::{Bilingual, ExportForm, ImportedFile, Nearest, Problem, Refusal, RefusedFile, without_folders};
use crate::session::Session;

/// Processes one request and sends its events.
pub(super) async fn work(
    request: MaterialRequest,
    session: Option<Arc<Session>>,
    prefix_store: Option<PrefixStore>,
    events: Events,
) {
    let report = |event| events.send(Event::Material(Box::new(event)));
    match request {
        // The worker handles it.
        MaterialRequest::UsePrefixStore { .. } => {}
        MaterialRequest::Import {
            path,
            hidden_size,
            rounding,
        } => {
            let read =
                tokio::task::spawn_blocking(move || import(&path, hidden_size, rounding, prefix_store.as_ref())).await;
            report(match read {
                Ok(Ok((file, norms))) => MaterialEvent::Imported { file, norms },
                Ok(Err(refused)) => MaterialEvent::Refused(refused),
                Err(error) => MaterialEvent::Failed(task_failed(error)),
            })
            .await;
        }
        MaterialRequest::Export {
            path,
            form,
            recipe,
            base_model,
        } => {
            let written = export(&path, form, &recipe, base_model, session.as_deref()).await;
            report(match written {
                Ok(()) => MaterialEvent::Exported(path),
                Err(problem) => MaterialEvent::Failed(problem),
            })
            .await;
        }
        MaterialRequest::Identify { recipe } => {
            let Some(session) = session else {
                let summary = Err(errors::not_connected());
                return report(MaterialEvent::Identified { recipe, summary }).await;
            };
            let prefix = match session.build(&recipe).await {
                Ok(prefix) => prefix,
                Err(problem) => {
                    let summary = Err(problem);
                    return report(MaterialEvent::Identified { recipe, summary }).await;
                }
            };
            // The summary first, since the search for neighbours covers the whole vocabulary.
            let summary = Ok(session.identity(&prefix));
            report(MaterialEvent::Identified {
                recipe: recipe.clone(),
                summary,
            })
            .await;
            let nearest = match session.nearest(&prefix).await {
                Ok(Some(rows)) => Nearest::Known(rows),
                Ok(None) => Nearest::Unsupported,
                Err(error) => Nearest::Failed(session.problem(error)),
            };
            report(MaterialEvent::Nearest { recipe, nearest }).await;
        }
    }
}

fn import(
    path: &Path,
    hidden_size: Option<usize>,
    rounding: Rounding,
    prefix_store: Option<&PrefixStore>,
) -> Result<(ImportedFile, Vec<f64>), RefusedFile> {
    let refused = |why, text: Bilingual| RefusedFile {
        why,
        sentence: Bilingual::new(without_folders(&text.en, path), without_folders(&text.ja, path)),
    };
    let of_file = |error: &FileError| refused(Refusal::of(error), errors::prefix_file(error).whole());
    let imported = files::import(path, hidden_size, rounding).map_err(|error| of_file(&error))?;
    let Some(prefix_store) = prefix_store else {
        let no_place = Bilingual::new(
            "No folder for imported prefixes was named. Start the program with one.",
            "読み込んだプレフィックスを置くフォルダーが指定されていません。指定して起動し直してください。",
        );
        return Err(refused(Refusal::NotSaved, no_place));
    };
    // The rows are needed again later, when the file may be gone.
    prefix_store.put(&imported.prefix).map_err(|error| match error {
        PrefixStoreError::File(error) => of_file(&error),
        error => refused(Refusal::NotSaved, errors::prefix_store(&error).whole()),
    })?;
    let norms = PrefixSummary::of(&imported.prefix, None).norms;
    Ok((ImportedFile::from(&imported), norms))
}

async fn export(
    path: &Path,
    form: ExportForm,
    recipe: &PrefixRecipe,
    base_model: Option<String>,
    session: Option<&Session>,
) -> Result<(), Problem> {
    let prefix = session.ok_or_else(errors::not_connected)?.build(recipe).await?;
    let (to, kind) = (path.to_owned(), recipe.kind.clone());
    let work = move || {
        // The note is true of exactly these rows.
        let origin = match &kind {
            PrefixKind::Imported { origin, sha256, .. } if prefix.sha256() == *sha256 => origin,
            _ => &Origin::File,
        };
        write(&prefix, &to, form, base_model.as_deref(), origin)
    };
    match tokio::task::spawn_blocking(work).await {
        Ok(written) => written,
        Err(error) => Err(task_failed(error)),
    }
}

/// Writes rows in a format. Blocks on the disk.
pub(super) fn write(
    prefix: &SoftPrefix,
    to: &Path,
    form: ExportForm,
    base_model: Option<&str>,
    origin: &Origin,
) -> Result<(), Problem> {
    let note = origin.note(prefix).map(|note| note.to_string());
    let written = match form {
        ExportForm::Safetensors => files::export_safetensors(prefix, to, note.as_deref()),
        ExportForm::Peft => files::export_peft(prefix, to, base_model, note.as_deref()),
        ExportForm::Npy => files::export_npy(prefix, to),
    };
    written.map_err(|error| errors::prefix_file_problem(&error))
}
