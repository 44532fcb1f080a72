//! Prefixes on a module: what a recipe needs is fetched from the unit or taken from the shelf, and kept; what is known of a prefix
//! that was built is told. It knows no window.

use std::sync::{Arc, PoisonError};

use softprefix_core::client::Task;
use softprefix_core::prefix::{
    EmbeddingRows, IdentityCard, Magnitude, Need, Neighbour, PrefixRecipe, Shelf, SoftPrefix,
};
use softprefix_core::protocol::extension::feature;

use super::Session;
use crate::errors::{problem_of, shelf_problem};
use crate::model::{BuiltPrefix, Problem, ProblemKind, norm_per_raw};

/// Rows of so many needs are kept: words are typed, and every keystroke is a new text.
const KEPT: usize = 64;
/// Tokens that are told for a row.
const NEIGHBOURS: usize = 5;

impl Session {
    /// Where imported prefixes are kept. Without a shelf a recipe that names one cannot be built.
    #[must_use]
    pub fn with_shelf(mut self, shelf: Option<Shelf>) -> Self {
        self.shelf = shelf;
        self
    }

    pub fn shelf(&self) -> Option<&Shelf> {
        self.shelf.as_ref()
    }

    /// Builds the prefix that `recipe` describes, for this model. What it needs is asked for once.
    ///
    /// # Errors
    /// Why the recipe gives no prefix here.
    pub async fn build(&self, recipe: &PrefixRecipe) -> Result<SoftPrefix, Problem> {
        let Some(hidden_size) = self.facts.hidden_size else {
            return Err(Problem::new(
                ProblemKind::Input,
                "The module does not say how wide its model's rows are (no tokens_embed_size on the card).",
                "Choose another model, or install softprefix-unit on the module.",
            )
            .in_japanese(
                "モジュールがモデルの行の幅を示しません（カードに tokens_embed_size がありません）。",
                "別のモデルを選ぶか、モジュールに softprefix-unit を導入してください。",
            ));
        };
        let mut materials = Vec::new();
        for need in recipe.needs() {
            materials.push(self.material(need).await?);
        }
        let median = self.vocabulary.as_ref().map(|vocabulary| vocabulary.median);
        let recipe = recipe.clone();
        let work = move || {
            let materials: Vec<&EmbeddingRows> = materials.iter().map(Arc::as_ref).collect();
            recipe.build_from(hidden_size, &materials, median)
        };
        match tokio::task::spawn_blocking(work).await {
            Ok(built) => built.map_err(|error| told(&error)),
            Err(error) => Err(Problem::new(
                ProblemKind::Input,
                format!("Building the prefix broke off ({error})."),
                "Choose other settings and report this.",
            )),
        }
    }

    async fn material(&self, need: Need) -> Result<Arc<EmbeddingRows>, Problem> {
        if let Some(rows) = self.rows.lock().unwrap_or_else(PoisonError::into_inner).get(&need) {
            return Ok(Arc::clone(rows));
        }
        let rows = match &need {
            Need::Stored { sha256, .. } => self.imported(sha256.clone()).await?,
            Need::Text(_) => {
                let task = self.able(feature::EMBED, "its embedding rows").await?;
                task.material(&need).await.map_err(|error| problem_of(&error))?
            }
            Need::Sample { .. } => {
                let task = self.able(feature::SAMPLE, "rows of tokens that it draws").await?;
                task.material(&need).await.map_err(|error| problem_of(&error))?
            }
        };
        let rows = Arc::new(rows);
        let mut known = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= KEPT {
            known.clear();
        }
        known.insert(need, Arc::clone(&rows));
        Ok(rows)
    }

    async fn imported(&self, sha256: String) -> Result<EmbeddingRows, Problem> {
        let Some(shelf) = self.shelf.clone() else {
            return Err(Problem::new(
                ProblemKind::File,
                "No folder for imported prefixes was named, so their rows are not at hand.",
                "Choose another kind of prefix.",
            ));
        };
        match tokio::task::spawn_blocking(move || shelf.get(&sha256)).await {
            Ok(Ok(prefix)) => Ok(EmbeddingRows::from(&prefix)),
            Ok(Err(error)) => Err(shelf_problem(&error)),
            Err(error) => Err(Problem::new(
                ProblemKind::File,
                format!("Reading the imported prefix broke off ({error})."),
                "Try again.",
            )),
        }
    }

    /// The task, where its unit has `feature`.
    async fn able(&self, feature: &str, what: &str) -> Result<Task, Problem> {
        let Some(task) = self.task().await else {
            return Err(Problem::new(
                ProblemKind::Module,
                "There is no task on the module to ask for the rows of this prefix.",
                "Run once, or reconnect.",
            )
            .in_japanese(
                "このプレフィックスの行を尋ねるためのタスクがモジュールにありません。",
                "一度実行するか、再接続してください。",
            ));
        };
        if task.support().is_some_and(|support| support.has(feature)) {
            return Ok(task);
        }
        Err(Problem::new(
            ProblemKind::Input,
            format!("This module's unit does not tell {what}, so such a prefix cannot be made here."),
            "Choose another kind of prefix, or a module with softprefix-unit.",
        )
        .in_japanese(
            "このモジュールのユニットは必要な行を教えないため、この種類のプレフィックスを作れません。",
            "別の種類のプレフィックスを選ぶか、softprefix-unit のモジュールに接続してください。",
        ))
    }

    async fn task(&self) -> Option<Task> {
        let current = self.current.lock().await;
        current.as_ref().map(|current| current.task.clone())
    }

    /// What a prefix looks like from outside.
    pub fn identity(&self, prefix: &SoftPrefix) -> IdentityCard {
        IdentityCard::of(prefix, self.vocabulary.as_ref().map(|vocabulary| vocabulary.median))
    }

    /// The tokens nearest to each row; `None` where the unit cannot tell.
    ///
    /// # Errors
    /// What the module said.
    pub async fn nearest(&self, prefix: &SoftPrefix) -> Result<Option<Vec<Vec<Neighbour>>>, Problem> {
        let Some(task) = self.task().await else {
            return Ok(None);
        };
        if !task.support().is_some_and(|support| support.has(feature::NEAREST)) {
            return Ok(None);
        }
        let found = task.nearest(prefix, NEIGHBOURS).await;
        found.map(Some).map_err(|error| problem_of(&error))
    }

    /// Facts about a prefix that was built from `recipe`.
    pub fn describe(&self, recipe: &PrefixRecipe, prefix: &SoftPrefix) -> BuiltPrefix {
        let card = self.identity(prefix);
        let vocabulary = self.vocabulary.as_ref().map(|vocabulary| vocabulary.median);
        let raw = match recipe.magnitude {
            Magnitude::Raw(raw) => Some(raw),
            Magnitude::TokenNorms(norms) => vocabulary
                .zip(norm_per_raw(&recipe.kind, prefix.hidden_size()))
                .map(|(vocabulary, per_raw)| norms * vocabulary / per_raw),
            Magnitude::Unscaled => None,
        };
        BuiltPrefix {
            len: card.len,
            hidden_size: card.hidden_size,
            norms: card.in_token_norms(card.median),
            sha256: card.sha256,
            norm_min: card.min,
            norm_median: card.median,
            norm_max: card.max,
            raw,
        }
    }
}

fn told(error: &softprefix_core::prefix::PrefixError) -> Problem {
    Problem::told(ProblemKind::Input, crate::errors::prefix(error))
}
