//! Chat templates of model files: Jinja, as the Hugging Face libraries and llama.cpp render it.

use std::sync::Arc;
use std::thread;

use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, Error, ErrorKind, context};
use minijinja_contrib::pycompat::unknown_method_callback;

use super::LONGEST_TEXT;

/// Longest template in bytes. Those of models have up to 20 KB.
pub(super) const LONGEST_TEMPLATE: usize = 32 << 10;
/// Stack to compile a template: each two bytes may be one more level of an expression.
const STACK: usize = LONGEST_TEMPLATE << 11;
/// Most work and memory of a rendering: instructions, or 64 bytes each. Templates of models take a few hundred, and copy the texts up to
/// ten times.
const FUEL: u64 = 50_000 + 32 * LONGEST_TEXT as u64 / 64;
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
        let compiled = thread::scope(|scope| {
            let compiler = thread::Builder::new().stack_size(STACK);
            let compiler = compiler.spawn_scoped(scope, || compile(source));
            compiler.map(thread::ScopedJoinHandle::join)
        });
        let environment = compiled
            .map_err(|error| error.to_string())?
            .map_err(|_| "it cannot be compiled".to_owned())?
            .map_err(clause)?;
        Ok(Self {
            environment: Arc::new(environment),
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
        let template = self.environment.get_template(NAME);
        template
            .and_then(|template| template.render(conversation))
            .map_err(clause)
    }
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
