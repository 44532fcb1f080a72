//! The terms and sentences of the HTML report that are not among the [terms that the window has, too](super::words).

use super::words::Term;
use crate::bilingual;
use crate::compare::Measure;
use crate::language::{Bilingual, term};

// The head of the page and of a prompt.
pub(super) const UNIT: Term = term("Unit", "ユニット");
pub(super) const BACKEND: Term = term("Computes on", "計算");
pub(super) const HIDDEN_SIZE: Term = term("Hidden size H", "隠れ層の幅 H");
pub(super) const MODEL_SHA256: Term = term("Model file SHA-256", "モデルの SHA-256");
pub(super) const WEIGHTS: Term = term("Weights", "重み");
pub(super) const TOKEN_NORM: Term = term("Token norm", "トークンノルム");
pub(super) const WRITTEN_BY: Term = term("Written by", "作成");
pub(super) const OUTPUT: Term = term("Output", "出力");
pub(super) const OWN_SAMPLING: Term = term("the module's own sampling", "サンプリングはモジュールの既定");
pub(super) const TEMPERATURE: Term = term("temperature", "温度");
pub(super) const SEED: Term = term("seed", "シード");

// The columns of the table.
pub(super) const RUN: Term = term("run", "実行");
pub(super) const TOKEN_NORMS: Term = term("× token norm", "ノルム比");
pub(super) const FIRST_TOKEN: Term = term("first token, s", "最初のトークン（秒）");
pub(super) const WHOLE_OUTPUT: Term = term("whole output, s", "出力全体（秒）");

// A run.
pub(super) const RECEIVED: Term = term("received before the error", "それまでに届いた分");
pub(super) const COLOURED: Term = term("baseline, coloured by KL", "ベースライン（KL による色分け）");
pub(super) const TIMES_TOKEN_NORM: Term = term("× token norm", "（ノルム比）");
pub(super) const ROW_NORMS: Term = term("Row norms: min / median / max", "行のノルム：最小 / 中央値 / 最大");
pub(super) const APPLIED: Term = term("Applied", "適用");
pub(super) const KL: Term = term("KL at the baseline's tokens", "ベースラインのトークンでの KL");
pub(super) const MEAN: Term = term("mean", "平均");
pub(super) const OF_THIS_OUTPUT: Term = term(
    "of this output under the model without the prefix",
    "この出力（プレフィックスなしのモデル）",
);
pub(super) const OF_THE_BASELINE: Term = term("of the baseline's output", "ベースラインの出力");

// The plots.
pub(super) const SECONDS: Term = term("Seconds", "秒");
pub(super) const BELOW_ZERO: Term = term(", values below 0", "、0 未満の値");
pub(super) const MAP_AXIS: Term = term("magnitude; crossed: repeats itself", "大きさ（× は反復）");

/// The numbers of runs and of failed ones.
pub(super) fn counts(runs: usize, failed: usize) -> Bilingual {
    let noun = if runs == 1 { "run" } else { "runs" };
    bilingual!("{runs} {noun} · {failed} failed", "実行 {runs} 回 · 失敗 {failed} 件")
}

/// Before the heading of a prompt.
pub(super) fn number_of(number: usize, prompts: usize) -> Bilingual {
    bilingual!("{number} of {prompts}:", "{number} / {prompts}：")
}

/// The heading of the means.
pub(super) fn all_prompts(prompts: usize) -> Bilingual {
    bilingual!("All {prompts} prompts", "プロンプト {prompts} 件の平均")
}

/// After the name of a measure: what it is of, or in.
pub(super) fn measure_note(measure: Measure) -> Term {
    match measure {
        Measure::Chrf2 | Measure::Indel | Measure::Difflib | Measure::DifflibAutojunk | Measure::Levenshtein => {
            term(" against the baseline", "（ベースライン比）")
        }
        Measure::FirstDivergence | Measure::Length => term(", characters", "（文字）"),
        Measure::Distinct2 | Measure::Distinct4 => term(" (crossed: repeats itself)", "（× は反復）"),
        Measure::KlMean => term(" at the baseline's tokens, nats", "（ベースラインのトークン、nat）"),
        Measure::Perplexity => term(" under the model without the prefix", "（プレフィックスなしのモデル）"),
    }
}
