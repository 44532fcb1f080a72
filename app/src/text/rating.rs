//! The words of stars and notes on runs, in each language.

use softprefix_core::experiment::{Rating, Stars, words};

use crate::model::Language;

/// The words of one language.
pub struct RatingText {
    pub stars: &'static str,
    /// A number of stars, or that there are none.
    pub count: fn(Option<Stars>) -> String,
    pub note: &'static str,
    pub add_note: &'static str,
    pub title: &'static str,
    pub hint: &'static str,
    pub save: &'static str,
    /// The column of the table of runs.
    pub column: &'static str,
    /// What the keys do in the table of runs.
    pub table_about: &'static str,
}

impl RatingText {
    pub fn of(language: Language) -> &'static Self {
        language.pick(&ENGLISH, &JAPANESE)
    }

    /// A rating in words: stars, then the note; empty where there is neither.
    pub fn words(&self, rating: &Rating) -> String {
        let stars = rating.stars.map(|stars| (self.count)(Some(stars)));
        let note = (!rating.note.is_empty()).then(|| rating.note.replace('\n', " "));
        stars.into_iter().chain(note).collect::<Vec<_>>().join(" · ")
    }
}

static ENGLISH: RatingText = RatingText {
    stars: "Stars of this run",
    count: |stars| match stars.map(Stars::count) {
        None => "no stars".to_owned(),
        Some(1) => "1 star".to_owned(),
        Some(count) => format!("{count} stars"),
    },
    note: "Note",
    add_note: "Add a note",
    title: "Stars and note",
    hint: "What is special about this run?",
    save: "Save",
    column: words::STARS.en,
    table_about: "Keys in the table: 0 to 5 give stars, Delete removes them, E writes a note, Space chooses.",
};

static JAPANESE: RatingText = RatingText {
    stars: "この実行の星",
    count: |stars| match stars.map(Stars::count) {
        None => "星なし".to_owned(),
        Some(count) => format!("星 {count}"),
    },
    note: "メモ",
    add_note: "メモを付ける",
    title: "星とメモ",
    hint: "この実行で気づいたこと",
    save: "保存",
    column: words::STARS.ja,
    table_about: "表のキー：0〜5 で星、Delete で取り消し、E でメモ、Space で選択。",
};
