//! The widgets of the window. A widget draws its arguments and returns the user's changes; it has no access to the
//! workbench, and its strings are passed in. Every interactive widget has a name and a value in the accessibility tree.

pub mod axis;
pub mod budget;
pub mod button;
pub mod chip;
pub mod diff;
pub mod entry;
pub mod envelope;
pub mod fold;
pub mod heatmap;
pub mod icon;
pub mod kl;
pub mod learned_rows;
pub mod lines;
pub mod list_field;
pub mod loss;
pub mod magnitude;
pub mod norms;
pub mod paint;
pub mod plot;
pub mod progress;
pub mod scores;
pub mod segmented;
pub mod select;
pub mod slider;
pub mod stage;
pub mod stars;
pub mod status;
pub mod toggle;
