//! Words for errors of what is to be run: plans, and searches for a prefix or a threshold.

use softprefix_core::experiment::plan::MAX_CASES;
use softprefix_core::experiment::{PlanError, PrefixSearchError, ThresholdError};
use softprefix_core::prefix::{MAX_DIMENSION, MAX_LEN};
use softprefix_core::search::{MAX_POPULATION, SearchError};

use super::{ErrorText, Part, because};

/// Describes a plan that cannot be run.
#[must_use]
pub fn plan(error: &PlanError) -> ErrorText {
    let (what, todo) = match error {
        PlanError::NoPrompts => ("プロンプトがありません。".to_owned(), "一つ以上追加してください。"),
        PlanError::EmptyPrompt { number } => (
            format!("{number} 番目のプロンプトが空です。"),
            "何か書くか、取り除いてください。",
        ),
        PlanError::NoLengths { number } => (
            format!("{number} 番目のプレフィックスに長さ P がありません。"),
            "1 以上の値を一つ以上指定してください。",
        ),
        PlanError::BadLength { number, len } => (
            format!("{number} 番目のプレフィックスの長さが P = {len} です。P は 1 以上 {MAX_LEN} 以下にしてください。"),
            "",
        ),
        PlanError::NoMagnitudes { number } => (
            format!("{number} 番目のプレフィックスに大きさがありません。"),
            "一つ以上指定してください（0 でもかまいません）。",
        ),
        PlanError::BadMagnitude { number, value } => (
            format!("{number} 番目のプレフィックスの大きさが {value} で、有限の数ではありません。"),
            "直してください。",
        ),
        PlanError::NegativeNorm { number, value } => (
            format!("{number} 番目のプレフィックスの大きさがノルム比 {value} です。ノルムは負になりません。"),
            "生の値で指定してください。",
        ),
        PlanError::BadLogRange { number, from, to } => (
            format!(
                "{number} 番目のプレフィックスの対数の範囲が {from} から {to} までです。両端とも 0 より大きくなければなりません。"
            ),
            "0 は別の値として加えてください。",
        ),
        PlanError::UnscaledNeedsWords { number, .. } => (
            format!(
                "{number} 番目のプレフィックスに大きさがありません。「行をそのまま使う」のは言葉かファイルの行だけです。"
            ),
            "大きさを選んでください。",
        ),
        PlanError::TooMany { cases } => (
            format!("ケースが {cases} 件になり、上限の {MAX_CASES} 件を超えています。"),
            "プロンプト、長さ、大きさ、繰り返しのいずれかを減らしてください。",
        ),
        PlanError::NoRepeats => (
            "各ケースの実行回数が 0 です。".to_owned(),
            "繰り返しを 1 以上にしてください。",
        ),
        PlanError::BadSetting { key } => (
            format!("設定「{key}」がないか、型が正しくありません。"),
            "ファイルを直してください。",
        ),
    };
    ErrorText::of(&error.to_string(), Part::Last(". "), what, todo)
}

/// Describes a search for a prefix that cannot begin or go on.
#[must_use]
pub fn search(error: &SearchError) -> ErrorText {
    let (what, todo) = match error {
        SearchError::Dimension { dimension, most } => (
            format!("{dimension} 次元の探索はここではできません。"),
            format!("1 から {} までにしてください。", most.min(&MAX_DIMENSION)),
        ),
        SearchError::Population { population } => (
            format!("一世代の候補を {population} 個にはできません。"),
            format!("2 から {MAX_POPULATION} までにしてください。"),
        ),
        SearchError::Spread { spread } => (
            format!("最初の候補の広がりが {spread} です。"),
            "0 より大きい数にしてください。".to_owned(),
        ),
        SearchError::NormLimit { limit } => (
            format!("行のノルムの上限が {limit} です。"),
            "0 より大きい数にしてください。".to_owned(),
        ),
        SearchError::NoScale => (
            "元の行がすべて 0 で、モジュールも語彙のノルムを示さないため、歩幅を決められません。".to_owned(),
            "大きさのあるプレフィックスから始めてください。".to_owned(),
        ),
        SearchError::Results { got, wanted } => (
            format!("候補 {wanted} 個に対して結果が {got} 個です。"),
            "候補ごとに一つずつ、順番どおりに渡してください。".to_owned(),
        ),
        SearchError::ResultNotANumber { candidate, value } => (
            format!("候補 {} の結果が {value} です。", candidate + 1),
            "数を、出力がなければ無限大を渡してください。".to_owned(),
        ),
        SearchError::NoSuchCandidate { candidate, population } => (
            format!("候補 {} はありません。", candidate + 1),
            format!("この世代の候補は {population} 個です。"),
        ),
        SearchError::Damaged { what } => (
            because("保存された探索の状態が壊れています", what),
            "元のプレフィックスから探索し直してください。".to_owned(),
        ),
        SearchError::NoObjective => (
            "目的が指定されていません。".to_owned(),
            "文、言葉、またはベースラインからの距離を指定してください。".to_owned(),
        ),
        SearchError::NoLikelihood => (
            "このモジュールは文を採点できません。".to_owned(),
            "文との近さを chrF2 で測るか、コンピューター上の softprefix-unit に接続してください。".to_owned(),
        ),
        SearchError::EmptyWord => (
            "含めたい言葉か含めたくない言葉に、空のものがあります。".to_owned(),
            "書くか、取り除いてください。".to_owned(),
        ),
        SearchError::Floor { floor } => (
            format!("distinct-4 の下限が {floor} です。"),
            "0 から 1 までの数にしてください。".to_owned(),
        ),
    };
    ErrorText::of(&error.to_string(), Part::Last("; "), what, todo)
}

/// Describes a search for a prefix that cannot be started.
#[must_use]
pub fn prefix_search(error: &PrefixSearchError) -> ErrorText {
    match error {
        PrefixSearchError::Plan(error) => plan(error),
        PrefixSearchError::Search(error) => search(error),
    }
}

/// Describes a search for a threshold that cannot be started.
#[must_use]
pub fn threshold(error: &ThresholdError) -> ErrorText {
    let (what, todo) = match error {
        ThresholdError::BadRange { low, high } => (
            format!(
                "{low} から {high} までの範囲は探索できません。両端とも 0 より大きく、はじめの方が小さくなければなりません。"
            ),
            "直してください。",
        ),
        ThresholdError::TooFewRuns { runs } => (
            format!("{runs} 回の実行では範囲を探索できません。3 回以上にしてください。"),
            "",
        ),
    };
    ErrorText::of(&error.to_string(), Part::Last(". "), what, todo)
}
