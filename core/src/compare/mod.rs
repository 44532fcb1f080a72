//! Comparison of outputs: differences for people, similarity measures (each names its reference), and results files.

mod chrf;
mod diff;
mod difflib;
mod likelihood;
mod measure;
mod repetition;
mod results_file;
mod similarity;

mod report;

pub use diff::{Change, Diff, Granularity, diff, is_cjk};
pub use likelihood::{KL_STEPS, LikelihoodMeasures, kl_step, percentile, perplexity, token_ranges};
pub use measure::Measure;
pub use repetition::Repetition;
pub use report::{Noise, REPORT_VERSION, Report, Row, Verdict};
pub use results_file::{
    EXTRA_VERSION, FileExtra, Meta, ResultEntry, ResultExtra, ResultsError, ResultsFile, preview, sha1_hex,
};
pub use similarity::{FirstDivergence, Lengths, Measures};
