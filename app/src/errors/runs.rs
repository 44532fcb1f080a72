//! Words for errors of a run: what interrupted it, and what failed while it went on.

use softprefix_core::experiment::{CaseOutcome, Failure, Record, RunError};

use super::{ErrorText, Part, journal_problem, session};
use crate::model::{Bilingual, Problem, ProblemKind};

/// Returns the problem of a case that failed; `None` where there is an output. Records of earlier versions and imported ones hold only the
/// English message.
#[must_use]
pub fn case(record: &Record) -> Option<Problem> {
    match &record.outcome {
        CaseOutcome::Failed(failure) => Some(failure_problem(failure, record.module.is_embedded())),
        CaseOutcome::Done(_) => None,
    }
}

pub(super) fn failure_problem(failure: &Failure, is_embedded: bool) -> Problem {
    match failure.whole_cause() {
        Some(cause) => session(&cause, is_embedded),
        None => Problem::new(ProblemKind::Module, failure.error.clone(), ""),
    }
}

/// Converts an error of a run to a problem.
pub fn run(error: &RunError) -> Problem {
    let (what, todo) = match error {
        RunError::Session { error, is_embedded } => return session(error, *is_embedded),
        RunError::Journal(error) => return journal_problem(error),
        RunError::Panicked(panic) => (
            format!("本ソフトの不具合で止まりました（「{panic}」）。終わった実行はすべて残っています。"),
            "再開すると続きを実行します。繰り返す場合は報告してください。",
        ),
        RunError::CasesLost { count, first } => (
            format!(
                "本ソフトの不具合で {count} 回の実行が止まり、記録がありません（「{first}」）。ほかはすべて残っています。"
            ),
            "再開するとその分を実行し直します。繰り返す場合は報告してください。",
        ),
    };
    let text = ErrorText::of(&error.to_string(), Part::Last(". "), what, todo);
    Problem::from_text(ProblemKind::Program, text)
}

/// Describes that the module could not be checked for any effect of prefixes, for this reason; the run goes on.
pub fn canary(error: &RunError) -> Problem {
    let Problem { kind, sentence, .. } = run(error);
    let Bilingual { en, ja } = sentence;
    Problem::new(
        kind,
        Bilingual::new(
            format!("It could not be tested whether the module applies prefixes. {en}"),
            format!("モジュールがプレフィックスを使うかどうかを確かめられませんでした。{ja}"),
        ),
        Bilingual::new(
            "Compare the outputs with the baseline before you rely on them.",
            "信頼する前に、出力をベースラインと見比べてください。",
        ),
    )
}
