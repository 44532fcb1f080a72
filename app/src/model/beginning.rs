//! The beginning of a text, for names, menus and lists.

use unicode_segmentation::UnicodeSegmentation as _;

/// Returns the first `count` characters, as a reader counts them, of `text` in one line, with an ellipsis where more follow.
pub fn beginning(text: &str, count: usize) -> String {
    match text.grapheme_indices(true).nth(count) {
        Some((end, _)) => format!("{}…", in_one_line(&text[..end])),
        None => in_one_line(text),
    }
}

fn in_one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_beginning_is_one_line_of_whole_characters_and_says_where_more_follows() {
        assert_eq!(beginning("春の海\nひねもす", 5), "春の海 ひ…");
        assert_eq!(beginning("  two \n\n words  ", 60), "two words");
        assert_eq!(beginning("👩‍👩‍👧‍👧👩‍👩‍👧‍👧", 1), "👩‍👩‍👧‍👧…");
        assert_eq!(beginning("", 3), "");
    }
}
