//! Paints and writes figures off the UI thread.

use std::path::Path;

use super::events::Events;
use crate::errors::{because, cannot_write, task_failed};
use crate::messages::{Event, WriteFigure};
use crate::model::{Bilingual, Problem, ProblemKind};

pub(super) async fn write(request: WriteFigure, events: Events) {
    let path = request.path.clone();
    let work = tokio::task::spawn_blocking(move || written(&request, &request.path));
    let event = match work.await {
        Ok(Ok(())) => Event::FigureSaved(path),
        Ok(Err(problem)) => Event::FileProblem(problem),
        Err(error) => Event::FileProblem(task_failed(error)),
    };
    events.send(event).await;
}

fn written(request: &WriteFigure, path: &Path) -> Result<(), Problem> {
    let bytes = request.form.write(&request.drawing, request.paper).map_err(|error| {
        Problem::new(
            ProblemKind::File,
            Bilingual::new(
                format!("The figure cannot be drawn in this format ({error})."),
                because("図をこの形式で書き出せません", &error),
            ),
            Bilingual::new("Save it in the other format.", "もう一方の形式で保存してください。"),
        )
    })?;
    softprefix_core::files::write_whole(path, &bytes).map_err(|error| cannot_write(path, &error))
}
