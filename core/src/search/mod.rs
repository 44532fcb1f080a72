//! Search for a prefix by trying: candidates around a parent prefix are run, and told by rank which of them were better. It needs no
//! gradient and no logits, so it works on any module that answers with text.
//!
//! [`CmaEs`] proposes points, [`PrefixSearch`] makes them recipes of prefixes, and an [`Objective`] judges texts where no person does.
//! Each state is a value: proposing does not change it, telling gives the next one, and stepping back is taking an earlier one.

mod candidates;
mod cma;
mod eigen;
mod error;
mod objective;

pub use candidates::{PrefixSearch, SearchSettings};
pub use cma::{CmaEs, MAX_POPULATION, Method};
pub use error::SearchError;
pub use objective::{Closeness, Objective, Score};
