//! Black-box search for a prefix: candidates around a parent prefix are run, and the search continues from their ranks. It needs no
//! gradient and no logits, so it works with any module that answers with text.
//!
//! [`CmaEs`] proposes points, [`PrefixSearch`] converts them to recipes of prefixes, and an [`Objective`] scores texts unless the user judges
//! them. A search is an immutable value: proposing candidates does not change it, their results give the next value, and a step back uses an
//! earlier value.

mod cma;
mod eigen;
mod error;
mod objective;
mod prefix_search;

pub use cma::{CmaEs, MAX_POPULATION, Method};
pub use error::SearchError;
pub use objective::{Closeness, Objective, Score};
pub use prefix_search::{PrefixSearch, SearchSettings};
