//! The words of the Find view, in each language.

use std::time::Duration;

use softprefix_core::protocol::learn::{LearnEnd, LearnLoss};
use softprefix_core::search::Score;

use crate::model::{
    FindMode, InitChoice, Language, LearnUnavailable, NormChoice, RelativeToParent, Reproduced, SearchUnavailable, Unit,
};

/// The words of one language.
pub struct FindText {
    pub tab: &'static str,
    pub mode: &'static str,
    pub modes: fn(FindMode) -> &'static str,
    pub about: fn(FindMode) -> &'static str,

    // The fields.
    pub prompt: &'static str,
    pub prompt_hint: &'static str,
    pub target: &'static str,
    pub target_hint: &'static str,
    /// The shown example, of so many.
    pub example_of: fn(usize, usize) -> String,
    /// In the menu of examples: its number and the beginning of its target; whether it is held out.
    pub example: fn(usize, &str, bool) -> String,
    pub examples: &'static str,
    pub add_example: &'static str,
    pub remove_example: &'static str,
    pub open_examples: &'static str,
    pub held_out: &'static str,
    pub held_out_about: &'static str,
    pub instruction: &'static str,
    pub instruction_hint: &'static str,
    pub instruction_about: &'static str,
    pub len: &'static str,
    pub init: &'static str,
    pub inits: fn(InitChoice) -> &'static str,
    pub words: &'static str,
    pub norm: &'static str,
    pub norms: fn(NormChoice) -> &'static str,
    pub preserve: &'static str,
    pub preserve_about: &'static str,
    pub steps: &'static str,
    pub seed: &'static str,
    pub same_seed: &'static str,

    // Running.
    pub start: &'static str,
    pub again: &'static str,
    pub stop: &'static str,
    pub use_in_tune: &'static str,
    pub export: &'static str,
    pub export_named: &'static str,
    pub learn_unavailable: fn(&LearnUnavailable) -> String,
    pub ready: &'static str,
    pub starting: &'static str,
    pub stopping: &'static str,
    /// How much of the target the output reproduces, and the first and the current loss.
    pub verdict: fn(Option<Reproduced>, &LearnLoss, f64, f64) -> String,
    pub ended: fn(LearnEnd) -> &'static str,
    pub interrupted: &'static str,
    /// Number of steps, maximum number, and time left.
    pub step: fn(usize, usize, Option<Duration>) -> String,
    pub undone: fn(usize) -> String,
    pub not_converged: &'static str,

    // Choose and Search.
    /// The prefix in Tune, by its label.
    pub around: fn(&str) -> String,
    pub around_text: &'static str,
    pub from_text: &'static str,
    pub from_text_about: &'static str,
    pub candidates_title: &'static str,
    pub candidates_about: &'static str,
    pub spread: &'static str,
    pub dimension: &'static str,
    pub objective: &'static str,
    /// Whether the text counts by its likelihood, or by the output's chrF2 with it.
    pub near_text: fn(bool) -> &'static str,
    pub by_likelihood: &'static str,
    pub by_likelihood_about: &'static str,
    pub by_likelihood_off: &'static str,
    pub wanted_words: &'static str,
    pub unwanted_words: &'static str,
    pub words_hint: &'static str,
    pub away: &'static str,
    pub floor: &'static str,
    pub budget: &'static str,
    pub search_unavailable: fn(&SearchUnavailable) -> String,
    pub choose_ready: &'static str,
    pub choose_empty: &'static str,
    pub choose_start: &'static str,
    pub start_over: &'static str,
    /// The generation, and whether its candidates are running.
    pub choose_head: fn(u64, bool) -> String,
    pub candidate: fn(usize) -> String,
    pub candidate_waiting: &'static str,
    pub candidate_streaming: &'static str,
    pub pick: fn(usize) -> String,
    pub step_back: &'static str,
    pub run_missing: &'static str,
    pub line: &'static str,
    pub line_about: &'static str,
    pub line_empty: &'static str,
    /// A chosen prefix, for a screen reader: generation, candidate, norm and cosine.
    pub choice: fn(u64, usize, Option<RelativeToParent>) -> String,
    pub search_ready: &'static str,
    pub search_start: &'static str,
    pub search_again: &'static str,
    /// Continues an interrupted search.
    pub resume_search: &'static str,
    /// Number of finished runs of an interrupted search, and of all.
    pub search_interrupted: fn(usize, usize) -> String,
    /// The best score, and the number of runs.
    pub search_verdict: fn(f64, usize) -> String,
    /// Number of finished runs, of all, and the time left.
    pub search_progress: fn(usize, usize, Option<Duration>) -> String,
    pub search_complete: &'static str,
    /// All candidates of a generation gave the same text.
    pub search_flat: &'static str,
    pub search_cancelled: &'static str,
    pub search_no_effect: &'static str,
    pub scores: &'static str,
    pub scores_about: &'static str,
    pub scores_empty: &'static str,
    pub score_parts: fn(&Score) -> String,
    pub best_output: &'static str,
    pub best_empty: &'static str,
    pub best_runs: &'static str,

    // The cards.
    pub loss: &'static str,
    pub loss_unit: &'static str,
    pub loss_empty: &'static str,
    pub line_held_out: fn(usize) -> &'static str,
    pub line_instruction: &'static str,
    pub line_target: &'static str,
    pub line_plain: &'static str,
    pub divergence: fn(f64) -> String,
    pub output: &'static str,
    pub output_step: fn(usize) -> String,
    pub output_empty: &'static str,
    pub output_waiting: &'static str,
    pub cut_off: &'static str,
    pub rows: &'static str,
    pub rows_about: &'static str,
    pub rows_empty: &'static str,
    pub band: &'static str,
}

impl FindText {
    pub fn of(language: Language) -> &'static Self {
        language.pick(&ENGLISH, &JAPANESE)
    }
}

fn loss_words(before: f64, now: f64) -> String {
    format!("{before:.2} → {now:.2}")
}

static ENGLISH: FindText = FindText {
    tab: "Find",
    mode: "How to find a prefix",
    modes: |mode| match mode {
        FindMode::Learn => "Learn",
        FindMode::Choose => "Choose",
        FindMode::Search => "Search",
    },
    about: |mode| match mode {
        FindMode::Learn => {
            "Learns rows that make the model give this output. It runs on the module's processor; live runs go first."
        }
        FindMode::Choose => {
            "Runs candidates around the prefix in Tune. Choose the output that you like best, and the next candidates lie closer to it."
        }
        FindMode::Search => {
            "Runs candidates around the prefix in Tune, or around the wanted text, and scores them. Works with any module."
        }
    },
    prompt: "Prompt",
    prompt_hint: "What the user says",
    target: "Target output",
    target_hint: "What the model should answer, word for word",
    example_of: |shown, all| match all {
        1 => "1 example".to_owned(),
        _ => format!("{shown} of {all} examples"),
    },
    example: |number, target, held_out| {
        let held_out = if held_out { " (held out)" } else { "" };
        format!("{number}. {target}{held_out}")
    },
    examples: "Examples",
    add_example: "Add an example",
    remove_example: "Remove this example",
    open_examples: "Open a .jsonl file…",
    held_out: "Hold out the last",
    held_out_about: "These examples are used for validation only.",
    instruction: "Compare with an instruction",
    instruction_hint: "e.g. Answer like an old sailor.",
    instruction_about: "The plot also shows the loss with this text before each prompt and without a prefix.",
    len: "Vectors P",
    init: "Initialise from",
    inits: |init| match init {
        InitChoice::Target => "target tokens",
        InitChoice::Words => "words",
        InitChoice::Random => "random",
        InitChoice::Present => "prefix in Tune",
    },
    words: "Words to begin with",
    norm: "Row norm",
    norms: |norm| match norm {
        NormChoice::Vocabulary => "as vocabulary",
        NormChoice::FourTimes => "up to 4×",
        NormChoice::Any => "any",
    },
    preserve: "Preserve other prompts",
    preserve_about: "Keeps the outputs of other prompts as they are without the prefix, as far as possible.",
    steps: "Steps",
    seed: "Seed",
    same_seed: "same seed, same rows",
    start: "Learn",
    again: "Learn again",
    stop: "Stop",
    use_in_tune: "Use in Tune",
    export: "Export",
    export_named: "Export the learned rows",
    learn_unavailable: |off| match off {
        LearnUnavailable::StillConnecting => super::STILL_CONNECTING.en.to_owned(),
        LearnUnavailable::NotConnected => super::NOT_CONNECTED.en.to_owned(),
        LearnUnavailable::CannotLearn(None) => {
            "A stock module cannot learn. Start the embedded module, or connect to a softprefix-unit on a computer."
                .to_owned()
        }
        LearnUnavailable::CannotLearn(Some(unit)) => {
            format!("{unit} cannot learn with its engine. Start the embedded module, or update the unit.")
        }
        LearnUnavailable::NoHistory => super::NO_HISTORY.en.to_owned(),
        LearnUnavailable::EmptyPrompt(number) => format!("Example {number} has no prompt. Write at least one word."),
        LearnUnavailable::EmptyTarget(1) => "Write the output that you want, at least one word.".to_owned(),
        LearnUnavailable::EmptyTarget(number) => format!("Example {number} has no target. Write at least one word."),
        LearnUnavailable::NoWords => "Write the words to begin with.".to_owned(),
        LearnUnavailable::NoPresent => {
            "The prefix in Tune is incomplete. Complete it there, or start from something else.".to_owned()
        }
        LearnUnavailable::OtherMode => super::OTHER_MODE.en.to_owned(),
        LearnUnavailable::WrongField => super::INVALID_FIELD.en.to_owned(),
    },
    ready: "Press Learn. The best rows so far are always saved.",
    starting: "Starting",
    stopping: "Stopping after this step",
    verdict: |reproduced, loss, before, now| {
        let loss_now = loss_words(before, now);
        match reproduced {
            Some(Reproduced {
                done,
                of,
                unit: Unit::Word,
                ..
            }) => format!("{done} of {of} target words reproduced; loss {loss_now}."),
            Some(Reproduced { done, of, .. }) => {
                format!("{done} of {of} target characters reproduced; loss {loss_now}.")
            }
            None => format!(
                "{} of {} target tokens likeliest; loss {loss_now}.",
                loss.matched, loss.wanted
            ),
        }
    },
    ended: |end| match end {
        LearnEnd::Reached => "reached",
        LearnEnd::NotReached => "all steps taken",
        LearnEnd::Stopped => "stopped",
        LearnEnd::Unknown => "ended",
    },
    interrupted: "interrupted; the best rows are saved",
    step: |step, steps, left| match left {
        Some(left) => format!("step {step} of {steps}, {}", about(left)),
        None => format!("step {step} of {steps}"),
    },
    undone: |steps| match steps {
        1 => "1 step was undone: its numbers were not finite".to_owned(),
        _ => format!("{steps} steps were undone: their numbers were not finite"),
    },
    not_converged: "Not every word is reproduced. More steps, more vectors, another seed or a larger norm may help.",
    around: |label| format!("Around the prefix in Tune: {label}"),
    around_text: "Around the rows of the wanted text",
    from_text: "Start from the text's own rows",
    from_text_about: "Around random rows every text is about equally likely, so a search there reaches little.",
    candidates_title: "Candidates",
    candidates_about: "outputs side by side",
    spread: "Initial distance, in token norms",
    dimension: "Dimensions",
    objective: "Objective",
    near_text: |by_likelihood| match by_likelihood {
        true => "Likelihood of this text (mean ln p)",
        false => "Output close to this text (chrF2)",
    },
    by_likelihood: "Score by likelihood, not by output",
    by_likelihood_about: "Scores how likely the text is with each candidate, which tells candidates apart whose outputs are equal.",
    by_likelihood_off: "This module does not score texts, so outputs are compared by chrF2.",
    wanted_words: "Wanted words",
    unwanted_words: "Unwanted words",
    words_hint: "e.g. sea, storm",
    away: "Far from the baseline",
    floor: "Minimum distinct-4",
    budget: "Runs",
    search_unavailable: |off| {
        match off {
            SearchUnavailable::StillConnecting => super::STILL_CONNECTING.en,
            SearchUnavailable::NotConnected => super::NOT_CONNECTED.en,
            SearchUnavailable::NoHistory => super::NO_HISTORY.en,
            SearchUnavailable::EmptyPrompt => "Write a prompt.",
            SearchUnavailable::NoPrefix => "The prefix in Tune is incomplete. Complete it there.",
            SearchUnavailable::NoObjective => "Enter an objective: a text, words, or distance from the baseline.",
            SearchUnavailable::OtherModel(model) => {
                return format!("This search ran with {model}. Connect to that model to resume it.");
            }
            SearchUnavailable::OtherMode => super::OTHER_MODE.en,
            SearchUnavailable::WrongField => super::INVALID_FIELD.en,
        }
        .to_owned()
    },
    choose_ready: "Press Start, and choose with the keys 1 to 4.",
    choose_empty: "The outputs of two to four candidates appear here, side by side.",
    choose_start: "Start",
    start_over: "Start over",
    choose_head: |generation, busy| match busy {
        true => format!("Generation {generation}: candidates are running."),
        false => format!("Generation {generation}: which output is best?"),
    },
    candidate: |number| format!("Candidate {number}"),
    candidate_waiting: "waiting",
    candidate_streaming: "streaming",
    pick: |number| format!("Choose {number}"),
    step_back: "Step back",
    run_missing: "Run the rest",
    line: "Chosen so far",
    line_about: "norm and cosine relative to the first prefix; click to go back",
    line_empty: "Each chosen candidate appears here, with its norm and its cosine to the first prefix.",
    choice: |generation, candidate, relative_to_parent| {
        let place = format!("Generation {generation}, candidate {candidate}");
        match relative_to_parent {
            Some(RelativeToParent { norm, cosine }) => format!("{place}: norm {norm:.2}×, cosine {cosine:.2}"),
            None => place,
        }
    },
    search_ready: "Press Search. The best output so far can be used at any time.",
    search_start: "Search",
    search_again: "Search again",
    resume_search: "Resume",
    search_interrupted: |done, total| format!("interrupted after {done} of {total} runs, which are saved"),
    search_verdict: |score, runs| match runs {
        1 => format!("Best score {score:.3} after 1 run."),
        _ => format!("Best score {score:.3} after {runs} runs."),
    },
    search_progress: |done, total, left| match left {
        Some(left) => format!("{done} of {total} runs, {}", about(left)),
        None => format!("{done} of {total} runs"),
    },
    search_complete: "all runs finished",
    search_flat: "All candidates of the last generation gave the same output. Increase the initial distance to reach further.",
    search_cancelled: "stopped; the runs are saved",
    search_no_effect: "Even a large prefix changes nothing: this module ignores prefixes.",
    scores: "Score",
    scores_about: "each run, and the best so far",
    scores_empty: "Each run appears here with its score.",
    score_parts: |score| {
        let mut parts = vec![format!("score {:.3}", score.total)];
        parts.extend(score.mean_ln_p.map(|value| format!("ln p {value:.2}")));
        parts.extend(score.similarity.map(|value| format!("chrF2 {value:.1}")));
        parts.push(format!("{:.1} from the baseline", score.distance));
        if score.below_floor {
            parts.push("repeats itself".to_owned());
        }
        parts.join(", ")
    },
    best_output: "Best output",
    best_empty: "The best output so far appears here.",
    best_runs: "Best runs",
    loss: "Loss",
    loss_unit: "nats per token",
    loss_empty: "The loss appears here while rows are learned.",
    line_held_out: |count| match count {
        1 => "held-out example",
        _ => "held-out examples",
    },
    line_instruction: "given as instruction",
    line_target: "target given as text",
    line_plain: "without a prefix",
    divergence: |kl| format!("other prompts: KL {kl:.3}"),
    output: "Current output",
    output_step: |step| format!("step {step}"),
    output_empty: "What the model says with the best rows so far appears here.",
    output_waiting: "Waiting for the first run with the rows.",
    cut_off: "cut off",
    rows: "Learned rows",
    rows_about: "norms compared with the vocabulary; nearest tokens are only a hint",
    rows_empty: "The rows appear here, with the tokens nearest to them.",
    band: "vocabulary, 1 to 99 %",
};

/// Formats the time left.
fn about(left: Duration) -> String {
    match left.as_secs() {
        0..90 => format!("about {} s left", left.as_secs().max(1)),
        seconds => format!("about {} min left", (seconds + 30) / 60),
    }
}

fn about_ja(left: Duration) -> String {
    match left.as_secs() {
        0..90 => format!("残り約 {} 秒", left.as_secs().max(1)),
        seconds => format!("残り約 {} 分", (seconds + 30) / 60),
    }
}

static JAPANESE: FindText = FindText {
    tab: "探索",
    mode: "プレフィックスの探し方",
    modes: |mode| match mode {
        FindMode::Learn => "学習",
        FindMode::Choose => "選択",
        FindMode::Search => "自動探索",
    },
    about: |mode| match mode {
        FindMode::Learn => {
            "モデルがこの出力を返すような行を学習します。モジュールの CPU で動き、ライブ実行が優先されます。"
        }
        FindMode::Choose => {
            "「調整」のプレフィックスの周りの候補を実行します。いちばん良い出力を選ぶと、次の候補はそれに近づきます。"
        }
        FindMode::Search => {
            "「調整」のプレフィックス、または目標の文の周りの候補を実行して採点します。どのモジュールでも使えます。"
        }
    },
    prompt: "プロンプト",
    prompt_hint: "ユーザーの発言",
    target: "目標の出力",
    target_hint: "モデルに答えさせたい文",
    example_of: |shown, all| match all {
        1 => "例 1 件".to_owned(),
        _ => format!("例 {shown} / {all}"),
    },
    example: |number, target, held_out| {
        let held_out = if held_out { "（検証用）" } else { "" };
        format!("{number}. {target}{held_out}")
    },
    examples: "例",
    add_example: "例を追加",
    remove_example: "この例を削除",
    open_examples: ".jsonl ファイルを開く…",
    held_out: "検証用に残す数",
    held_out_about: "これらの例は検証だけに使い、学習には使いません。",
    instruction: "比べる指示文",
    instruction_hint: "例：老いた船乗りのように答えて。",
    instruction_about: "プレフィックスなしで、この文をプロンプトの前に置いたときの損失をグラフに描きます。",
    len: "ベクトル数 P",
    init: "初期値",
    inits: |init| match init {
        InitChoice::Target => "目標のトークン",
        InitChoice::Words => "言葉",
        InitChoice::Random => "乱数",
        InitChoice::Present => "「調整」の内容",
    },
    words: "初期値にする言葉",
    norm: "行のノルム",
    norms: |norm| match norm {
        NormChoice::Vocabulary => "語彙と同じ範囲",
        NormChoice::FourTimes => "4× まで",
        NormChoice::Any => "制限なし",
    },
    preserve: "ほかのプロンプトを保つ",
    preserve_about: "ほかのプロンプトの出力を、できるだけプレフィックスなしのまま保ちます。",
    steps: "ステップ数",
    seed: "シード",
    same_seed: "同じシードなら同じ行",
    start: "学習を開始",
    again: "もう一度学習",
    stop: "停止",
    use_in_tune: "「調整」で使う",
    export: "書き出す",
    export_named: "学習した行を書き出す",
    learn_unavailable: |off| {
        match off {
        LearnUnavailable::StillConnecting => super::STILL_CONNECTING.ja.to_owned(),
        LearnUnavailable::NotConnected => super::NOT_CONNECTED.ja.to_owned(),
        LearnUnavailable::CannotLearn(None) => {
            "標準のモジュールは学習できません。内蔵モジュールを起動するか、コンピューター上の softprefix-unit に接続してください。".to_owned()
        }
        LearnUnavailable::CannotLearn(Some(unit)) => {
            format!("{unit} のエンジンは学習できません。内蔵モジュールを起動するか、ユニットを更新してください。")
        }
        LearnUnavailable::NoHistory => super::NO_HISTORY.ja.to_owned(),
        LearnUnavailable::EmptyPrompt(number) => format!("例 {number} のプロンプトが空です。1 語以上書いてください。"),
        LearnUnavailable::EmptyTarget(1) => "欲しい出力を 1 語以上書いてください。".to_owned(),
        LearnUnavailable::EmptyTarget(number) => format!("例 {number} の目標が空です。1 語以上書いてください。"),
        LearnUnavailable::NoWords => "初期値にする言葉を書いてください。".to_owned(),
        LearnUnavailable::NoPresent => {
            "「調整」のプレフィックスに足りないものがあります。そこで補うか、別の初期値を選んでください。".to_owned()
        }
        LearnUnavailable::OtherMode => super::OTHER_MODE.ja.to_owned(),
        LearnUnavailable::WrongField => super::INVALID_FIELD.ja.to_owned(),
    }
    },
    ready: "「学習を開始」を押してください。最良の行は毎ステップ保存されます。",
    starting: "開始しています",
    stopping: "このステップで停止します",
    verdict: |reproduced, loss, before, now| {
        let loss_now = loss_words(before, now);
        match reproduced {
            Some(Reproduced {
                done,
                of,
                unit: Unit::Word,
                ..
            }) => format!("目標の {of} 語のうち {done} 語を再現。損失 {loss_now}"),
            Some(Reproduced { done, of, .. }) => format!("目標の {of} 文字のうち {done} 文字を再現。損失 {loss_now}"),
            None => format!(
                "目標の {} トークンのうち {} が第 1 候補。損失 {loss_now}",
                loss.wanted, loss.matched
            ),
        }
    },
    ended: |end| match end {
        LearnEnd::Reached => "達成",
        LearnEnd::NotReached => "全ステップ終了",
        LearnEnd::Stopped => "停止",
        LearnEnd::Unknown => "終了",
    },
    interrupted: "中断。最良の行は保存済み",
    step: |step, steps, left| match left {
        Some(left) => format!("ステップ {step} / {steps}、{}", about_ja(left)),
        None => format!("ステップ {step} / {steps}"),
    },
    undone: |steps| format!("{steps} ステップを取り消しました（値が有限でないため）"),
    not_converged: "目標のすべては再現されていません。ステップ数、ベクトル数、ノルムの上限を増やすか、シードを変えてみてください。",
    around: |label| format!("「調整」のプレフィックスの周り：{label}"),
    around_text: "目標の文の行の周り",
    from_text: "目標の文の行から始める",
    from_text_about: "乱数の行の周りではどの文も同じくらいの尤度なので、探索してもあまり変わりません。",
    candidates_title: "候補",
    candidates_about: "出力を並べて表示",
    spread: "最初の距離（ノルム比）",
    dimension: "次元数",
    objective: "目的",
    near_text: |by_likelihood| match by_likelihood {
        true => "この文の尤度（平均 ln p）",
        false => "この文に近い出力（chrF2）",
    },
    by_likelihood: "出力ではなく尤度で採点",
    by_likelihood_about: "候補ごとにこの文がどれだけ起こりやすいかを採点します。出力が同じ候補も区別できます。",
    by_likelihood_off: "このモジュールは文を採点できないため、出力を chrF2 で比べます。",
    wanted_words: "含めたい言葉",
    unwanted_words: "含めたくない言葉",
    words_hint: "例：海、嵐",
    away: "ベースラインから離れる",
    floor: "distinct-4 の下限",
    budget: "実行回数",
    search_unavailable: |off| {
        match off {
            SearchUnavailable::StillConnecting => super::STILL_CONNECTING.ja,
            SearchUnavailable::NotConnected => super::NOT_CONNECTED.ja,
            SearchUnavailable::NoHistory => super::NO_HISTORY.ja,
            SearchUnavailable::EmptyPrompt => "プロンプトを書いてください。",
            SearchUnavailable::NoPrefix => "「調整」のプレフィックスに足りないものがあります。そこで補ってください。",
            SearchUnavailable::NoObjective => "目的を指定してください（文、言葉、またはベースラインからの距離）。",
            SearchUnavailable::OtherModel(model) => {
                return format!("この探索は {model} で実行されました。続けるには、そのモデルに接続してください。");
            }
            SearchUnavailable::OtherMode => super::OTHER_MODE.ja,
            SearchUnavailable::WrongField => super::INVALID_FIELD.ja,
        }
        .to_owned()
    },
    choose_ready: "「開始」を押し、1〜4 のキーで選んでください。",
    choose_empty: "2〜4 個の候補の出力がここに並びます。",
    choose_start: "開始",
    start_over: "最初から",
    choose_head: |generation, busy| match busy {
        true => format!("第 {generation} 世代：候補を実行中です。"),
        false => format!("第 {generation} 世代：どの出力がいちばん良いですか？"),
    },
    candidate: |number| format!("候補 {number}"),
    candidate_waiting: "待機中",
    candidate_streaming: "出力中",
    pick: |number| format!("{number} を選ぶ"),
    step_back: "一つ戻る",
    run_missing: "残りを実行",
    line: "これまでの選択",
    line_about: "最初のプレフィックスに対するノルムとコサイン。クリックで戻ります",
    line_empty: "選んだ候補が、最初のプレフィックスに対するノルムとコサインとともに表示されます。",
    choice: |generation, candidate, relative_to_parent| {
        let place = format!("第 {generation} 世代の候補 {candidate}");
        match relative_to_parent {
            Some(RelativeToParent { norm, cosine }) => format!("{place}：ノルム {norm:.2}×、コサイン {cosine:.2}"),
            None => place,
        }
    },
    search_ready: "「探索を開始」を押してください。その時点で最良の出力をいつでも使えます。",
    search_start: "探索を開始",
    search_again: "もう一度探索",
    resume_search: "再開",
    search_interrupted: |done, total| format!("{total} 回のうち {done} 回で中断。実行結果は保存済みです"),
    search_verdict: |score, runs| format!("{runs} 回実行して最良のスコアは {score:.3}"),
    search_progress: |done, total, left| match left {
        Some(left) => format!("{done} / {total} 回、{}", about_ja(left)),
        None => format!("{done} / {total} 回"),
    },
    search_complete: "すべて実行しました",
    search_flat: "直前の世代の候補はすべて同じ出力でした。最初の距離を大きくすると、より遠くまで探せます。",
    search_cancelled: "停止しました。実行結果は保存済みです",
    search_no_effect: "大きなプレフィックスでも出力が変わりません。このモジュールはプレフィックスを無視しています。",
    scores: "スコア",
    scores_about: "各実行と、それまでの最良値",
    scores_empty: "各実行のスコアがここに表示されます。",
    score_parts: |score| {
        let mut parts = vec![format!("スコア {:.3}", score.total)];
        parts.extend(score.mean_ln_p.map(|value| format!("ln p {value:.2}")));
        parts.extend(score.similarity.map(|value| format!("chrF2 {value:.1}")));
        parts.push(format!("ベースラインとの差 {:.1}", score.distance));
        if score.below_floor {
            parts.push("反復".to_owned());
        }
        parts.join("、")
    },
    best_output: "最良の出力",
    best_empty: "それまでの最良の出力がここに表示されます。",
    best_runs: "上位の実行",
    loss: "損失",
    loss_unit: "トークンあたり nat",
    loss_empty: "学習中の損失がここに表示されます。",
    line_held_out: |_| "検証用の例",
    line_instruction: "指示文として与えた場合",
    line_target: "目標を文として与えた場合",
    line_plain: "プレフィックスなし",
    divergence: |kl| format!("ほかのプロンプト：KL {kl:.3}"),
    output: "現在の出力",
    output_step: |step| format!("ステップ {step}"),
    output_empty: "最良の行を使ったモデルの出力がここに表示されます。",
    output_waiting: "最初の実行を待っています。",
    cut_off: "途中まで",
    rows: "学習した行",
    rows_about: "ノルムを語彙と比較。近いトークンは手がかりで、意味そのものではありません",
    rows_empty: "行と、それに最も近いトークンがここに表示されます。",
    band: "語彙の 1〜99 %",
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remaining_time_is_in_seconds_or_minutes() {
        assert_eq!(about(Duration::from_millis(300)), "about 1 s left");
        assert_eq!(about(Duration::from_secs(118)), "about 2 min left");
        assert_eq!(about_ja(Duration::from_secs(89)), "残り約 89 秒");
    }
}
