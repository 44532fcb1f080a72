//! Builds shell scripts for a module: fixed text, with every external value passed as a quoted variable.
//!
//! Two rules keep a script safe: its body is a constant of this program, never concatenated at run time; and values
//! reach the shell only as one quoted word each ([`quote`]), so that no name, path or model can be read as a command.
//!
//! The answer of a script is enclosed in two markers that contain a random name for each run: neither the output of a login
//! shell's start-up files nor that of the script's own commands is part of it.

use std::fmt::Write as _;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};

/// A script for `sh -s`: variables, then a body that may use them.
///
/// The whole text is one function that is called on the last line. A shell executes its standard input as it reads it;
/// if the connection broke in the middle of a plain script, its first half would have been executed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Script {
    variables: Vec<(&'static str, String)>,
    body: &'static str,
}

/// A value that a shell variable cannot hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the value for {name} holds a NUL character, which no path or name can; check what was given")]
pub struct UnusableValue {
    pub name: &'static str,
}

/// Common to all scripts: `say KEY VALUE` answers a pair, and the locale and the path are fixed.
const PREAMBLE: &str = r#"
LC_ALL=C; export LC_ALL
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin; export PATH
say() { printf '%s\0%s\0' "$1" "$2" >&3; }
"#;

/// Returns a random name of 16 hexadecimal digits.
#[must_use]
pub fn random_name() -> String {
    format!("{:016x}", RandomState::new().build_hasher().finish())
}

impl Script {
    /// A script with this body. The body runs as a function: it ends early by `return`, never by `exit` or `set -e`, with which the end of
    /// the answer would be missing.
    #[must_use]
    pub const fn new(body: &'static str) -> Self {
        Self {
            variables: Vec::new(),
            body,
        }
    }

    /// Sets a variable for the body.
    ///
    /// # Errors
    /// [`UnusableValue`] if the value contains a NUL.
    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Result<Self, UnusableValue> {
        let value = value.into();
        if value.contains('\0') {
            return Err(UnusableValue { name });
        }
        self.variables.push((name, value));
        Ok(self)
    }

    /// Returns the text for a shell's standard input, without an answer: the output of the commands is the shell's own. A
    /// body that uses `say` needs descriptor 3 to be open.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::from("softprefix_main() {\n");
        self.write_body(&mut text);
        text.push_str("}\nsoftprefix_main\n");
        text
    }

    /// Returns the same text with the pairs of `say` between markers on standard output, for [`answer`] to parse. All
    /// other output of the commands goes to standard error.
    #[must_use]
    pub fn answering(&self, mark: &str) -> String {
        let mut text = String::from("softprefix_body() {\n");
        self.write_body(&mut text);
        let mark = quote(mark);
        let _ = write!(
            text,
            "}}\nsoftprefix_main() {{\nprintf '\\0begin %s\\0' {mark}\nsoftprefix_body 3>&1 >&2 </dev/null\nset -- $?\n\
             printf '\\0end %s\\0' {mark}\nreturn \"$1\"\n}}\nsoftprefix_main\n"
        );
        text
    }

    fn write_body(&self, text: &mut String) {
        text.push_str(PREAMBLE.trim_start());
        for (name, value) in &self.variables {
            let _ = writeln!(text, "{name}={}", quote(value));
        }
        text.push_str(self.body.trim());
        text.push('\n');
    }
}

/// Quotes any text as one word for a POSIX shell.
#[must_use]
pub fn quote(value: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+=:@%,".contains(c);
    if !value.is_empty() && value.chars().all(plain) {
        value.to_owned()
    } else {
        format!("'{}'", value.replace('\'', r"'\''"))
    }
}

/// The result of looking for an answer in the output of an [answering](Script::answering) script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// The whole answer, as keys and values.
    Whole(Vec<(String, String)>),
    /// The answer begins but does not end.
    Torn,
    /// There is no answer.
    Nothing,
}

/// Finds a script's answer in its output.
#[must_use]
pub fn answer(output: &[u8], mark: &str) -> Found {
    let find_marker = |text: &[u8], what: &str| {
        let mark = format!("\0{what} {mark}\0").into_bytes();
        text.windows(mark.len())
            .position(|window| window == mark)
            .map(|at| (at, at + mark.len()))
    };
    let Some((_, begin)) = find_marker(output, "begin") else {
        return Found::Nothing;
    };
    let Some((end, _)) = find_marker(&output[begin..], "end") else {
        return Found::Torn;
    };
    let mut fields: Vec<&[u8]> = output[begin..begin + end].split(|byte| *byte == 0).collect();
    fields.pop(); // The empty field after the last NUL.
    let text = |bytes: &[u8]| printable(&String::from_utf8_lossy(bytes));
    Found::Whole(
        fields
            .chunks_exact(2)
            .map(|pair| (text(pair[0]), text(pair[1])))
            .collect(),
    )
}

/// Replaces the control characters that a terminal would interpret in a module's text by U+FFFD; line ends and tabs stay.
#[must_use]
pub fn printable(text: &str) -> String {
    let shown = |c: char| {
        if c.is_control() && !"\n\r\t".contains(c) {
            '\u{fffd}'
        } else {
            c
        }
    };
    text.chars().map(shown).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;
    use std::process::{Command, Stdio};

    fn run(text: &str) -> Vec<u8> {
        let mut shell = Command::new("sh")
            .arg("-s")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        shell.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        shell.wait_with_output().unwrap().stdout
    }

    fn pairs(output: &[u8]) -> Vec<(String, String)> {
        match answer(output, "m") {
            Found::Whole(pairs) => pairs,
            other => panic!("{other:?} in {output:?}"),
        }
    }

    #[test]
    fn no_value_is_ever_interpreted() {
        for value in [
            "plain",
            "",
            " ",
            "a b",
            "'",
            "''",
            "\"",
            "$(touch /tmp/no)",
            "`id`",
            ";id",
            "a\nb",
            "-n",
            "\\",
            "%s",
            "&&",
            "日本語 の 名前",
            "#",
            "*",
            "~root",
        ] {
            let script = Script::new(r#"say value "$V""#).with("V", value).unwrap();
            assert_eq!(
                pairs(&run(&script.answering("m"))),
                [("value".to_owned(), value.to_owned())],
                "{value:?}"
            );
        }
    }

    #[test]
    fn a_truncated_script_does_nothing() {
        let text = Script::new("say done one\nsay done two").answering("m");
        for cut in 0..text.len() - "softprefix_main\n".len() {
            assert_eq!(run(&text[..cut]), b"", "cut at {cut}");
        }
        assert_eq!(pairs(&run(&text)).len(), 2);
    }

    #[test]
    fn only_complete_pairs_are_parsed_as_an_answer() {
        let script = Script::new(r"echo chatter; say key value; printf 'state\0broken\0'; return 7").answering("m");
        let noisy = format!("echo hello; printf 'key\\0noise\\0'\n{script}echo bye\n");
        assert_eq!(pairs(&run(&noisy)), [("key".to_owned(), "value".to_owned())]);
        assert_eq!(answer(b"key\0noise\0", "m"), Found::Nothing);
        assert_eq!(answer(b"\0begin m\0key\0value\0", "m"), Found::Torn);
        assert_eq!(answer(b"\0begin n\0key\0value\0\0end n\0", "m"), Found::Nothing);
        assert_ne!(random_name(), random_name());
    }

    #[test]
    fn no_control_character_of_a_module_reaches_a_terminal() {
        let script = Script::new(r#"say file "$(printf 'a\033]0;title\007b\n\tc')""#).answering("m");
        assert_eq!(pairs(&run(&script))[0].1, "a\u{fffd}]0;title\u{fffd}b\n\tc");
    }

    #[test]
    fn the_exit_status_is_that_of_the_body() {
        let mut shell = Command::new("sh")
            .arg("-s")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let script = Script::new("say a b; return 7").answering("m");
        shell.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
        assert_eq!(shell.wait().unwrap().code(), Some(7));
    }

    #[test]
    fn a_nul_is_refused() {
        assert_eq!(Script::new("").with("V", "a\0b"), Err(UnusableValue { name: "V" }));
    }
}
