//! Chat templates of model files: Jinja, as the Hugging Face libraries and llama.cpp render it.

use std::sync::Arc;
use std::thread;

use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, Error, ErrorKind, context};
use minijinja_contrib::pycompat::unknown_method_callback;

use super::LONGEST_TEXT;

/// Longest template in bytes. Those of models have up to 20 KB.
pub(super) const LONGEST_TEMPLATE: usize = 32 << 10;
/// Most work and memory of a rendering: instructions, or 64 bytes each. Templates of models take a few hundred, and copy the texts up to
/// ten times.
const FUEL: u64 = 50_000 + 32 * LONGEST_TEXT as u64 / 64;
/// Stack to compile and to render. An expression may have a level for each two bytes of a template, and a value, which is dropped level by
/// level, one for each instruction. What is not used takes addresses, not memory.
const STACK: usize = FUEL as usize * 512;
const NAME: &str = "chat_template";

/// A template as a file contains it.
#[derive(Debug, Clone)]
pub(super) struct JinjaTemplate {
    environment: Arc<Environment<'static>>,
    bos_token: String,
    eos_token: String,
}

impl JinjaTemplate {
    /// Compiles a template. `bos_token` and `eos_token` are the tokens that begin and end a text, as templates write them; empty where the
    /// file names none.
    ///
    /// # Errors
    /// What is wrong with it, as a clause.
    pub fn new(source: &str, bos_token: String, eos_token: String) -> Result<Self, String> {
        Ok(Self {
            environment: Arc::new(on_large_stack(|| compile(source))?),
            bos_token,
            eos_token,
        })
    }

    /// The text of a conversation, up to the beginning of the model's answer.
    ///
    /// # Errors
    /// Why it cannot be rendered, as a clause: the template needs something that is not here, raises an exception, or takes too much time
    /// or memory.
    pub fn render(&self, system: &str, user: &str) -> Result<String, String> {
        let message = |role: &str, content: &str| context! { role, content };
        let conversation = context! {
            messages => [message("system", system), message("user", user)],
            add_generation_prompt => true,
            bos_token => &self.bos_token,
            eos_token => &self.eos_token,
        };
        on_large_stack(|| self.environment.get_template(NAME)?.render(&conversation))
    }
}

/// Runs `work` on a thread of its own with a stack of [`STACK`] bytes.
fn on_large_stack<T: Send>(work: impl FnOnce() -> Result<T, Error> + Send) -> Result<T, String> {
    let done = thread::scope(|scope| {
        let worker = thread::Builder::new().stack_size(STACK);
        worker.spawn_scoped(scope, work).map(thread::ScopedJoinHandle::join)
    });
    done.map_err(|error| error.to_string())?
        .map_err(|_| "the template engine failed".to_owned())?
        .map_err(clause)
}

fn compile(source: &str) -> Result<Environment<'static>, Error> {
    let mut environment = Environment::new();
    let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
    environment.set_syntax(syntax?);
    environment.set_fuel(Some(FUEL));
    environment.set_unknown_method_callback(|state, value, method, arguments| match method {
        // It fills up to any width at no cost.
        "format" => Err(ErrorKind::UnknownMethod.into()),
        _ => unknown_method_callback(state, value, method, arguments),
    });
    environment.add_function("raise_exception", |message: String| -> Result<String, Error> {
        Err(Error::new(ErrorKind::InvalidOperation, message))
    });
    environment.add_template_owned(NAME, source.to_owned())?;
    Ok(environment)
}

fn clause(error: Error) -> String {
    error.to_string().chars().take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn render(source: &str) -> Result<String, String> {
        JinjaTemplate::new(source, String::new(), String::new())?.render("system", "user")
    }

    #[test]
    fn values_and_expressions_of_any_depth_end_in_an_error_or_a_text() {
        let text = "{{ messages[1].content }}";
        let brackets = |count: usize| format!("{{% set x = {}{} %}}{text}", "[".repeat(count), "]".repeat(count));
        assert_eq!(render(&brackets(20)).unwrap(), "user");
        assert!(render(&brackets(10_000)).unwrap_err().contains("recursion"));
        // Each turn puts the value into twenty more lists.
        let nested = |loops: &str, ends: &str| {
            let (open, close) = ("[".repeat(20), "]".repeat(20));
            format!("{{% set kept = namespace(x=0) %}}{loops}{{% set kept.x = {open}kept.x{close} %}}{ends}{text}")
        };
        let turns = |count: u32| (format!("{{% for i in range({count}) %}}"), "{% endfor %}");
        let (start, end) = turns(4000);
        assert_eq!(render(&nested(&start, end)).unwrap(), "user");
        assert!(
            render(&nested(&start.repeat(2), &end.repeat(2)))
                .unwrap_err()
                .contains("fuel")
        );
        let chain = format!("{{{{ 1{} }}}}{text}", "+1".repeat(10_000));
        assert_eq!(render(&chain).unwrap(), "10001user");
    }
}
