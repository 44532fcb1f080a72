//! A task that is set up for one system text, who answers there, and the material of its prefixes. It knows no plan and no journal.

use std::collections::HashMap;
use std::sync::Arc;

use crate::client::{ClientError, Task};
use crate::experiment::record::ModuleIdentity;
use crate::prefix::{EmbeddingRows, Need, PrefixError, PrefixRecipe, Shelf, SoftPrefix};
use crate::protocol::extension::feature;

/// A task that is set up for one system text, with what is known about the module.
pub(super) struct Session {
    pub(super) task: Task,
    pub(super) words_from: Option<Task>,
    pub(super) shelf: Option<Shelf>,
    pub(super) identity: ModuleIdentity,
    /// Rows that were asked for already.
    pub(super) rows: tokio::sync::Mutex<HashMap<Need, Arc<EmbeddingRows>>>,
}

impl Session {
    /// Builds a case's prefix, asking for the rows that it needs.
    pub(super) async fn build(&self, recipe: &PrefixRecipe) -> Result<SoftPrefix, ClientError> {
        let mut materials = Vec::new();
        for need in recipe.needs() {
            materials.push(self.material(need).await?);
        }
        let materials: Vec<&EmbeddingRows> = materials.iter().map(Arc::as_ref).collect();
        Ok(recipe.build_from(self.identity.hidden_size, &materials, self.identity.median_norm)?)
    }

    async fn material(&self, need: Need) -> Result<Arc<EmbeddingRows>, ClientError> {
        let mut known = self.rows.lock().await;
        if let Some(rows) = known.get(&need) {
            return Ok(Arc::clone(rows));
        }
        let rows = match (&need, &self.shelf) {
            (Need::Stored { name, sha256 }, Some(shelf)) => match shelf.get(sha256) {
                Ok(prefix) => EmbeddingRows::from(&prefix),
                Err(error) => {
                    tracing::warn!(%error, "an imported prefix is not at hand");
                    return Err(PrefixError::StoredMissing {
                        name: name.clone(),
                        sha256: sha256.clone(),
                    }
                    .into());
                }
            },
            _ => {
                let able = self.task.support().is_some_and(|support| support.has(feature::EMBED));
                let asked = match &self.words_from {
                    Some(other) if !able => other,
                    _ => &self.task,
                };
                asked.material(&need).await?
            }
        };
        let rows = Arc::new(rows);
        known.insert(need, Arc::clone(&rows));
        Ok(rows)
    }
}

/// Who answers, as far as it says. What cannot be asked stays empty: an experiment must not fail for it.
pub(super) async fn identify(task: &Task, words_from: Option<&Task>, address: Option<String>) -> ModuleIdentity {
    let module = task.module();
    let model = task.set_up().model.clone();
    let card = module
        .cards()
        .await
        .unwrap_or_default()
        .into_iter()
        .find(|card| card.name == model);
    let support = task.support();
    let hidden_size = support
        .map(|support| support.hidden_size)
        .or(card.as_ref().and_then(|card| card.hidden_size));
    let said = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    ModuleIdentity {
        address: address.unwrap_or_else(|| module.address().to_owned()),
        model,
        card: card.map(|card| card.raw).unwrap_or_default(),
        hidden_size: hidden_size.unwrap_or_default(),
        unit: support.and_then(|support| said(&support.unit)),
        backend: support.and_then(|support| said(&support.backend)),
        model_sha256: support.and_then(|support| support.model_sha256.clone()),
        weights: support.map(|support| support.weights.clone()).unwrap_or_default(),
        version: module.version().await.ok(),
        template: if support.is_some() {
            "the unit's"
        } else {
            "the stock unit's"
        }
        .to_owned(),
        median_norm: median_norm(task, words_from).await,
    }
}

async fn median_norm(task: &Task, words_from: Option<&Task>) -> Option<f64> {
    let able = |task: &Task| task.support().is_some_and(|support| support.has(feature::VOCABULARY));
    let asked = if able(task) { task } else { words_from? };
    asked
        .vocabulary()
        .await
        .ok()
        .map(|vocabulary| vocabulary.percentiles.p50)
}
