//! Figures painted and written away from the window's thread.

use std::path::Path;

use super::events::Events;
use crate::messages::{Event, WriteFigure};
use crate::model::{Problem, ProblemKind};

pub(super) async fn write(request: WriteFigure, events: Events) {
    let path = request.path.clone();
    let work = tokio::task::spawn_blocking(move || written(&request, &request.path));
    let event = match work.await {
        Ok(Ok(())) => Event::FigureSaved(path),
        Ok(Err(problem)) => Event::FileProblem(problem),
        Err(error) => Event::FileProblem(Problem::new(
            ProblemKind::File,
            format!("Writing the figure broke off ({error})."),
            "Try again.",
        )),
    };
    events.send(event).await;
}

fn written(request: &WriteFigure, path: &Path) -> Result<(), Problem> {
    let bytes = request
        .form
        .write(&request.drawing, request.paper)
        .map_err(|sentence| Problem::new(ProblemKind::File, sentence, "Save it as the other form."))?;
    std::fs::write(path, bytes).map_err(|error| {
        Problem::new(
            ProblemKind::File,
            format!("{} cannot be written ({error}).", path.display()),
            "Choose another place.",
        )
    })
}
