//! Asks a second module for its models before anything is run on the first, without setting anything up.

use std::path::Path;

use softprefix_core::client::{ConnectOptions, Module};

use crate::errors::{problem_of, task_failed};
use crate::messages::SecondModuleAnswer;
use crate::model::{Bilingual, Problem, ProblemKind, Target};
use crate::session::embedded::{self, Models};

/// Returns whether the module has `model`, or else its language models.
///
/// # Errors
/// If it cannot be reached, or has no language model.
pub(crate) async fn ask(target: Target, model: String, limits: ConnectOptions) -> Result<SecondModuleAnswer, Problem> {
    let (name, models) = match &target {
        Target::Remote { address, .. } => {
            let failed = |error| problem_of(&error);
            let module = Module::connect(address, limits).await.map_err(failed)?;
            let cards = module.cards().await.map_err(failed)?;
            let models = cards.into_iter().filter(|card| card.is_language_model());
            (address.clone(), models.map(|card| card.name).collect::<Vec<_>>())
        }
        Target::Embedded { .. } if is_file(&model) => {
            return Ok(SecondModuleAnswer::Has(target.with_model(Some(model))));
        }
        Target::Embedded { .. } => {
            let choices = tokio::task::spawn_blocking(|| embedded::choices(&Models::from_env())).await;
            let choices = choices.map_err(task_failed)?;
            let present = choices.into_iter().filter(|choice| choice.present);
            ("embedded".to_owned(), present.map(|choice| choice.name).collect())
        }
    };
    if models.contains(&model) {
        return Ok(SecondModuleAnswer::Has(target.with_model(Some(model))));
    }
    if models.is_empty() {
        return Err(Problem::new(
            ProblemKind::Model,
            Bilingual::new(
                format!("The second module ({name}) has no language model."),
                format!("もう一つのモジュール（{name}）に言語モデルがありません。"),
            ),
            Bilingual::new(
                "Install or download one there, or run on one module.",
                "モデルを入れるか、一つのモジュールだけで実行してください。",
            ),
        ));
    }
    Ok(SecondModuleAnswer::Missing { model, models })
}

/// Returns whether a model is given as a file.
fn is_file(model: &str) -> bool {
    Path::new(model).components().count() > 1
}
