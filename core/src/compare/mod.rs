//! Comparison of outputs: differences for people, similarity measures (each names its reference), and results files.

mod chrf;
mod likelihood;
mod diff;
mod difflib;
mod measure;
mod repetition;
mod results_file;
mod similarity;

mod report;

pub use likelihood::{LikelihoodMeasures, KL_STEPS, kl_step, perplexity, token_ranges};
pub use diff::{Change, Diff, Granularity, diff, is_cjk};
pub use measure::Measure;
pub use repetition::Repetition;
pub use report::{Noise, REPORT_VERSION, Report, Row, Verdict};
pub use results_file::{
    EXTRA_VERSION, FileExtra, Meta, ResultEntry, ResultExtra, ResultsError, ResultsFile, preview, sha1_hex,
};
pub use similarity::{FirstDivergence, Lengths, Measures};
