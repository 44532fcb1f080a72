//! How far an output has moved: diff for people, similarity measures (each names its reference), results files.
//! It knows texts, not modules, prefixes or windows.

mod chrf;
mod diff;
mod difflib;
mod lcs;
mod measure;
mod similarity;

pub mod report;

pub use diff::{Diff, Granularity, Side, Span, SpanKind, diff};
pub use measure::Measure;
pub use similarity::{FirstDivergence, LOOP_BELOW, Lengths, Measures, shared_tokens};
