//! Saving a plot: it is drawn when requested, and written when the file was chosen.

use std::path::PathBuf;

use softprefix_core::experiment::drawing::Paper;

use super::Workbench;
use crate::figure::ImageFormat;
use crate::messages::{FileQuestion, Request, WriteFigure};
use crate::model::Figure;

impl Workbench {
    pub(super) fn ask_for_figure(&mut self, figure: Figure, form: ImageFormat, paper: Paper) {
        if self.file.asking {
            return;
        }
        let suggested = format!("{}.{}", figure.stem, form.extension());
        self.figure = Some((figure, paper));
        self.ask(FileQuestion::SaveFigure { suggested, form });
    }

    pub(super) fn save_figure(&mut self, path: PathBuf, form: ImageFormat) {
        if let Some((Figure { drawing, .. }, paper)) = self.figure.take() {
            self.file.write(&path);
            self.pending_requests.push(Request::SaveFigure(Box::new(WriteFigure {
                path,
                drawing,
                form,
                paper,
            })));
        }
    }
}
