//! The texts about the material, the files and the details of prefixes, in each language.

use softprefix_core::prefix::Origin;
use softprefix_core::prefix::files::Format;

use crate::model::{Envelope, ExportForm, KindChoice, Language, Refusal};

/// The words of one language.
pub struct PrefixText {
    /// One sentence for each kind.
    pub about: fn(KindChoice) -> &'static str,

    // What it is made of.
    pub generator: &'static str,
    pub generator_ours: &'static str,
    pub generator_python: &'static str,
    /// What repeats an old script's rows, byte for byte.
    pub python_about: &'static str,
    pub from: &'static str,
    pub to: &'static str,
    /// The rows of an imported prefix, by its name, in the place of either text of a blend.
    pub from_rows: fn(&str) -> String,
    pub to_rows: fn(&str) -> String,
    pub blend: &'static str,
    pub type_blend: &'static str,
    pub text: &'static str,
    pub minus: &'static str,
    pub file: &'static str,
    pub no_file: &'static str,
    pub choose: &'static str,
    pub choose_other: &'static str,
    pub drop_hint: &'static str,
    pub format: fn(Format) -> &'static str,
    /// `8 x 896`, how values are stored.
    pub table: fn(usize, usize, &str) -> String,
    /// The file has fewer rows than P asks for.
    pub file_repeats: fn(usize, usize) -> String,
    /// What rows were learned for: the beginnings of the only example's prompt and target.
    from_example: fn(&str, &str) -> String,
    from_examples: fn(usize) -> String,
    /// What rows were learned for, their loss, and how many of the target's tokens they give.
    learned: fn(&str, f64, usize, usize) -> String,
    /// The step of learned rows, the maximum number of steps, and the seed.
    pub learned_steps: fn(usize, usize, u64) -> String,
    /// The prefix near which rows were found, and the generation.
    found: fn(&str, u64) -> String,
    pub base_model: fn(&str) -> String,
    pub rounded: &'static str,
    pub file_unknown: &'static str,
    pub refusal: fn(Refusal) -> &'static str,

    // The envelope.
    pub envelope: &'static str,
    pub envelope_about: &'static str,
    pub envelopes: fn(&Envelope) -> &'static str,
    /// Bar number, of so many, factor.
    pub bar: fn(usize, usize, f64) -> String,

    // What it is.
    pub identity: &'static str,
    pub identity_title: &'static str,
    pub export: &'static str,
    /// The accessible name, since there is another Export button in the top bar.
    pub export_named: &'static str,
    pub export_as: fn(ExportForm) -> &'static str,
    pub shape: &'static str,
    pub made_of: &'static str,
    pub digest: &'static str,
    pub norms: &'static str,
    pub norms_raw: &'static str,
    /// Least, median, most.
    pub norms_of: fn(&str, &str, &str) -> String,
    pub band: &'static str,
    pub no_vocabulary: &'static str,
    pub row: fn(usize) -> String,
    /// From and to.
    pub rows: fn(usize, usize) -> String,
    pub rows_more: fn(usize) -> String,
    pub nearest: &'static str,
    pub caution: &'static str,
    /// So many of so many rows are far from every token.
    pub far: fn(usize, usize) -> String,
    pub zero_row: &'static str,
    pub searching: &'static str,
    pub nearest_unsupported: &'static str,
    pub building: &'static str,
    pub not_connected: &'static str,
    pub nothing_to_build: &'static str,
    pub cosine: &'static str,
}

impl PrefixText {
    /// The words of a language.
    #[must_use]
    pub fn of(language: Language) -> &'static Self {
        language.pick(&ENGLISH, &JAPANESE)
    }

    /// Returns what rows were learned for and how far, or where they were found; `None` of those of a file.
    pub fn about_origin(&self, origin: &Origin) -> Option<String> {
        match origin {
            Origin::File => None,
            Origin::Learned(learned) => {
                let what = match learned.examples {
                    0 | 1 => {
                        let (prompt, target) = learned.beginnings();
                        (self.from_example)(&prompt, &target)
                    }
                    examples => (self.from_examples)(examples),
                };
                Some((self.learned)(
                    &what,
                    learned.likelihood,
                    learned.matched,
                    learned.wanted,
                ))
            }
            Origin::Found(found) => Some((self.found)(&found.near, found.generation)),
        }
    }
}

fn format(format: Format) -> &'static str {
    match format {
        Format::Peft => "PEFT",
        Format::Safetensors => "safetensors",
        Format::Npy => "npy",
        Format::Kobold => "KoboldAI",
    }
}

static ENGLISH: PrefixText = PrefixText {
    about: |kind| match kind {
        KindChoice::Constant => "Every value of every row is the same number.",
        KindChoice::RandomUniform => "Random numbers, spread evenly around 0.",
        KindChoice::RandomNormal => "Random numbers, most of them near 0.",
        KindChoice::Words => "The model's own rows for these words.",
        KindChoice::Blend => "Rows that lie between those of two texts.",
        KindChoice::Contrast => "The mean row of one text minus that of another.",
        KindChoice::Sampled => "The model's own rows for tokens drawn at random.",
        KindChoice::Imported => "Rows from a file: PEFT, safetensors, npy, npz, zip.",
    },
    generator: "Generator",
    generator_ours: "SplitMix64",
    generator_python: "Python random.Random",
    python_about: "With raw values and truncation, the rows equal those of an older script byte for byte.",
    from: "First text",
    to: "Second text",
    from_rows: |name| format!("“{name}” in place of the first"),
    to_rows: |name| format!("“{name}” in place of the second"),
    blend: "Blend",
    type_blend: "Type the blend",
    text: "Text",
    minus: "Minus",
    file: "File",
    no_file: "No file yet",
    choose: "Choose a file…",
    choose_other: "Another file…",
    drop_hint: "or drop one, or a PEFT folder, on the window",
    format,
    table: |rows, width, stored| format!("{rows} × {width}, {stored}"),
    file_repeats: |rows, len| match rows {
        1 => format!("The file has 1 row: it is repeated to fill P = {len}."),
        _ => format!("The file has {rows} rows: they are repeated, from the first on, to fill P = {len}."),
    },
    from_example: |prompt, target| format!("to answer “{prompt}” with “{target}”"),
    from_examples: |examples| format!("from {examples} examples"),
    learned: |what, loss, matched, wanted| format!("{what}; loss {loss:.2}, {matched} of {wanted} tokens"),
    learned_steps: |step, steps, seed| format!("rows of step {step} of {steps}, seed {seed}"),
    found: |near, generation| format!("near “{near}”, generation {generation}"),
    base_model: |model| format!("made for {model}"),
    rounded: "values were rounded to bf16",
    file_unknown: "imported before",
    refusal: |why| match why {
        Refusal::Pickle => "Pickles are never opened",
        Refusal::PrefixTuning => "This is prefix tuning, not a soft prefix",
        Refusal::OtherAdapter => "This kind of adapter cannot be used",
        Refusal::OtherWidth => "Made for a model of another hidden size",
        Refusal::NoPrefix => "This file contains no readable prefix",
        Refusal::BadValues => "This file contains values that a prefix cannot have",
        Refusal::TooLarge => "This file is too large for a prefix",
        Refusal::Unreadable => "This file cannot be read",
        Refusal::NotSaved => "The prefix cannot be saved",
    },
    envelope: "Row envelope",
    envelope_about: "Drag or use arrow keys; double click resets.",
    envelopes: |envelope| match envelope {
        Envelope::Flat => "Flat",
        Envelope::FadeIn => "Fade in",
        Envelope::FadeOut => "Fade out",
        Envelope::OnlyFirst => "First only",
        Envelope::Drawn(_) => "drawn",
    },
    bar: |bar, of, factor| format!("{bar} of {of}: {factor:.2}"),
    identity: "Details…",
    identity_title: "About this prefix",
    export: "Export",
    export_named: "Export the prefix",
    export_as: |form| match form {
        ExportForm::Safetensors => "safetensors file…",
        ExportForm::Peft => "PEFT folder (safetensors)…",
        ExportForm::Npy => "NumPy file (.npy)…",
    },
    shape: "Rows × hidden size",
    made_of: "Made of",
    digest: "SHA-256 of its bf16 bytes",
    norms: "L2 norm of each row, in token norms",
    norms_raw: "L2 norm of each row",
    norms_of: |least, median, most| format!("min {least}, median {median}, max {most}"),
    band: "where 90 % of the vocabulary's rows lie",
    no_vocabulary: "This module does not report its vocabulary's norms, so there is nothing to compare with.",
    row: |row| format!("Row {row}"),
    rows: |from, to| format!("Rows {from}–{to}"),
    rows_more: |more| match more {
        1 => "and 1 row more".to_owned(),
        _ => format!("and {more} rows more"),
    },
    nearest: "Nearest tokens",
    caution: "Tokens below a cosine of 0.3 say nothing about a row: even noise reaches 0.16 to some token. Near ones can mislead, too; only \
              the output shows what a row does.",
    far: |far, rows| match rows {
        1 => "This row is far from every token.".to_owned(),
        _ if far == rows => "All rows are far from every token.".to_owned(),
        _ => format!("{far} of {rows} rows are far from every token."),
    },
    zero_row: "zeros, no direction",
    searching: "Searching the vocabulary…",
    nearest_unsupported: "This module's unit does not report the nearest tokens; softprefix-unit does.",
    building: "Building the prefix…",
    not_connected: "Connect a module: the prefix is built for its model.",
    nothing_to_build: "The prefix is incomplete: a text or a file is missing.",
    cosine: "cosine",
};

static JAPANESE: PrefixText = PrefixText {
    about: |kind| match kind {
        KindChoice::Constant => "すべての行のすべての値が同じ数です。",
        KindChoice::RandomUniform => "0 を中心に均等に散らばる乱数です。",
        KindChoice::RandomNormal => "0 の近くに集まる乱数です。",
        KindChoice::Words => "言葉に対応するモデル自身の行です。",
        KindChoice::Blend => "2 つの言葉の間にある行です。",
        KindChoice::Contrast => "一方の言葉の平均の行から、他方のそれを引いたものです。",
        KindChoice::Sampled => "語彙から無作為に引いたトークンの行です。",
        KindChoice::Imported => "ファイルから読み込んだ行です。",
    },
    generator: "乱数の生成",
    generator_ours: "SplitMix64",
    generator_python: "Python random.Random",
    python_about: "生の値と切り捨てにすると、以前のスクリプトの行をバイト単位で再現します。",
    from: "1 つ目の言葉",
    to: "2 つ目の言葉",
    from_rows: |name| format!("1 つ目に「{name}」を使う"),
    to_rows: |name| format!("2 つ目に「{name}」を使う"),
    blend: "ブレンド",
    type_blend: "ブレンドの位置を入力",
    text: "言葉",
    minus: "引く言葉",
    file: "ファイル",
    no_file: "ファイルはまだありません",
    choose: "ファイルを選ぶ…",
    choose_other: "別のファイル…",
    drop_hint: "ファイルや PEFT フォルダーをウィンドウにドロップしても読み込めます",
    format,
    table: |rows, width, stored| format!("{rows} × {width}、{stored}"),
    file_repeats: |rows, len| format!("ファイルは {rows} 行です。P = {len} になるまで先頭から繰り返します。"),
    from_example: |prompt, target| format!("「{prompt}」に「{target}」と答える"),
    from_examples: |examples| format!("{examples} 件の例から"),
    learned: |what, loss, matched, wanted| format!("{what}。損失 {loss:.2}、{wanted} トークン中 {matched}"),
    learned_steps: |step, steps, seed| format!("{steps} ステップ中 {step} の行、シード {seed}"),
    found: |near, generation| format!("「{near}」の近く、第 {generation} 世代"),
    base_model: |model| format!("対象モデル: {model}"),
    rounded: "値は bf16 に丸められました",
    file_unknown: "以前に読み込んだもの",
    refusal: |why| match why {
        Refusal::Pickle => "pickle は開きません",
        Refusal::PrefixTuning => "これは prefix tuning で、ソフトプレフィックスではありません",
        Refusal::OtherAdapter => "この種類のアダプターは使えません",
        Refusal::OtherWidth => "隠れ層の幅が異なるモデル用のファイルです",
        Refusal::NoPrefix => "読み取れるプレフィックスがこのファイルにありません",
        Refusal::BadValues => "プレフィックスに使えない値が含まれています",
        Refusal::TooLarge => "プレフィックスとしては大きすぎるファイルです",
        Refusal::Unreadable => "ファイルを読み取れません",
        Refusal::NotSaved => "プレフィックスを保存できません",
    },
    envelope: "行ごとの強さ",
    envelope_about: "ドラッグか矢印キー、ダブルクリックで戻す",
    envelopes: |envelope| match envelope {
        Envelope::Flat => "一定",
        Envelope::FadeIn => "強める",
        Envelope::FadeOut => "弱める",
        Envelope::OnlyFirst => "先頭のみ",
        Envelope::Drawn(_) => "手描き",
    },
    bar: |bar, of, factor| format!("{of} 本中 {bar} 本目: {factor:.2}"),
    identity: "詳しく見る…",
    identity_title: "このプレフィックスについて",
    export: "書き出す",
    export_named: "プレフィックスを書き出す",
    export_as: |form| match form {
        ExportForm::Safetensors => "safetensors ファイル…",
        ExportForm::Peft => "PEFT フォルダー（safetensors）…",
        ExportForm::Npy => "NumPy ファイル（.npy）…",
    },
    shape: "行数 × 隠れ層の幅",
    made_of: "材料",
    digest: "bf16 バイト列の SHA-256",
    norms: "各行の L2 ノルム（ノルム比）",
    norms_raw: "各行の L2 ノルム",
    norms_of: |least, median, most| format!("最小 {least}、中央値 {median}、最大 {most}"),
    band: "語彙の行の 90 % が入る範囲",
    no_vocabulary: "このモジュールは語彙のノルムを報告しないため、比較できません。",
    row: |row| format!("{row} 行目"),
    rows: |from, to| format!("{from}–{to} 行目"),
    rows_more: |more| format!("ほか {more} 行"),
    nearest: "近いトークン",
    caution: "コサインが 0.3 未満のトークンは行の意味を表しません。ノイズでも 0.16 程度までは近づきます。近くても意味が同じとは限らず、行の働きは\
              出力でしかわかりません。",
    far: |far, rows| match rows {
        1 => "この行はどのトークンからも遠く離れています。".to_owned(),
        _ if far == rows => "すべての行が、どのトークンからも遠く離れています。".to_owned(),
        _ => format!("{rows} 行中 {far} 行は、どのトークンからも遠く離れています。"),
    },
    zero_row: "ゼロの行（向きなし）",
    searching: "語彙を調べています…",
    nearest_unsupported: "このモジュールのユニットは近いトークンを報告しません（softprefix-unit は報告します）。",
    building: "プレフィックスを作っています…",
    not_connected: "モジュールに接続してください。プレフィックスはそのモデルに合わせて作られます。",
    nothing_to_build: "プレフィックスが未完成です。文かファイルが足りません。",
    cosine: "コサイン",
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_and_every_refusal_has_words_of_its_own_in_every_language() {
        for language in Language::ALL {
            let text = PrefixText::of(language);
            let mut words: Vec<&str> = KindChoice::ALL.map(text.about).to_vec();
            words.extend(Refusal::ALL.map(text.refusal));
            words.extend(ExportForm::ALL.map(text.export_as));
            words.extend(Envelope::READY_MADE.iter().map(text.envelopes));
            let count = words.len();
            words.sort_unstable();
            words.dedup();
            assert_eq!(words.len(), count, "{language:?}");
            assert!(words.iter().all(|words| !words.is_empty()));
        }
    }
}
