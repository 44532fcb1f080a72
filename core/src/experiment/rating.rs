//! The user's rating of a run: stars and a note.

use serde::{Deserialize, Serialize};

/// The user's rating of a run. The default is none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Rating {
    /// `None` where the run is not rated, which is not the same as 0 stars.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stars: Option<Stars>,
    /// One or more lines; empty for no note.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub note: String,
}

impl Rating {
    /// Whether there are neither stars nor a note.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// A number of stars, 0 to [`Stars::MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub struct Stars(u8);

impl Stars {
    /// The most stars.
    pub const MAX: u8 = 5;

    /// That many stars; `None` above [`Stars::MAX`].
    pub fn new(count: u8) -> Option<Self> {
        (count <= Self::MAX).then_some(Self(count))
    }

    /// The number of stars.
    pub fn count(self) -> u8 {
        self.0
    }
}

impl From<Stars> for u8 {
    fn from(stars: Stars) -> Self {
        stars.0
    }
}

/// More stars than [`Stars::MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} stars are more than {max}", max = Stars::MAX)]
pub struct TooManyStars(pub u8);

impl TryFrom<u8> for Stars {
    type Error = TooManyStars;

    fn try_from(count: u8) -> Result<Self, TooManyStars> {
        Self::new(count).ok_or(TooManyStars(count))
    }
}
