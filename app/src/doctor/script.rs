//! Shell scripts for a module: fixed text, with every value that comes from outside handed over as a quoted variable.
//!
//! It runs nothing. Two rules keep it safe: a body is a constant of this program, never put together; and a value reaches the shell
//! only inside single quotes, so that no name, path or model can be read as a command.

use std::fmt::Write as _;

/// A script for `sh -s`: variables, then a body that may use them.
///
/// The whole text is one function that is called on the last line. A shell reads its standard input as it goes; were the connection
/// lost half-way through a plain script, its first half would have been carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Script {
    variables: Vec<(&'static str, String)>,
    body: &'static str,
}

/// A value that no shell variable can hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the value for {name} holds a NUL character, which no path or name can; check what was given")]
pub struct UnusableValue {
    pub name: &'static str,
}

/// What every body may rely on: `say KEY VALUE` answers a pair, the locale is plain, the path is a module's full one.
const PREAMBLE: &str = r#"
LC_ALL=C; export LC_ALL
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin; export PATH
say() { printf '%s\0%s\0' "$1" "$2"; }
"#;

impl Script {
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
    /// [`UnusableValue`] where the value holds a NUL.
    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Result<Self, UnusableValue> {
        let value = value.into();
        if value.contains('\0') {
            return Err(UnusableValue { name });
        }
        self.variables.push((name, value));
        Ok(self)
    }

    /// The text for a shell's standard input.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::from("softprefix_main() {\n");
        text.push_str(PREAMBLE.trim_start());
        for (name, value) in &self.variables {
            let _ = writeln!(text, "{name}={}", quote(value));
        }
        text.push_str(self.body.trim());
        text.push_str("\n}\nsoftprefix_main\n");
        text
    }

    /// The variables, as the person is shown them above the commands.
    pub fn variables(&self) -> &[(&'static str, String)] {
        &self.variables
    }
}

/// One word for a POSIX shell, whatever is in it.
#[must_use]
pub fn quote(value: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+=:@%,".contains(c);
    if !value.is_empty() && value.chars().all(plain) {
        value.to_owned()
    } else {
        format!("'{}'", value.replace('\'', r"'\''"))
    }
}

/// The pairs that a script said: keys and values, each ended by a NUL. A torn last pair is left out.
#[must_use]
pub fn pairs(output: &[u8]) -> Vec<(String, String)> {
    let mut fields: Vec<&[u8]> = output.split(|byte| *byte == 0).collect();
    fields.pop(); // What follows the last NUL is no whole field.
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    fields
        .chunks_exact(2)
        .map(|pair| (text(pair[0]), text(pair[1])))
        .collect()
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
            .spawn()
            .unwrap();
        shell.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        shell.wait_with_output().unwrap().stdout
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
                pairs(&run(&script.text())),
                [("value".to_owned(), value.to_owned())],
                "{value:?}"
            );
        }
    }

    #[test]
    fn half_a_script_does_nothing() {
        let text = Script::new("say done one\nsay done two").text();
        for cut in 0..text.len() - "softprefix_main\n".len() {
            assert_eq!(run(&text[..cut]), b"", "cut at {cut}");
        }
        assert_eq!(pairs(&run(&text)).len(), 2);
    }

    #[test]
    fn a_nul_is_refused() {
        assert_eq!(Script::new("").with("V", "a\0b"), Err(UnusableValue { name: "V" }));
    }

    #[test]
    fn a_torn_answer_gives_its_whole_pairs() {
        assert_eq!(pairs(b"a\0b\0c\0d"), [("a".to_owned(), "b".to_owned())]);
        assert_eq!(pairs(b""), []);
    }
}
