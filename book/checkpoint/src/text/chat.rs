//! A conversation as the one text that a model was trained to continue.

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Serde, Value};
use minijinja::{Environment, Error, ErrorKind, context};
use minijinja_contrib::pycompat::unknown_method_callback;
use serde::Serialize;

/// What somebody says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Message {
    /// `system`, `user` or `assistant`.
    pub role: String,
    /// The words.
    pub content: String,
}

impl Message {
    /// What the user says.
    #[must_use]
    pub fn user(content: &str) -> Self {
        Message { role: "user".to_owned(), content: content.to_owned() }
    }
}

/// Whether the text ends where the model's reply begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reply {
    /// It does: the model continues with its reply.
    Begins,
    /// It ends with the last message.
    Absent,
}

/// A template of a model, and the tokens that it may name.
#[derive(Debug, Clone)]
pub(crate) struct Chat {
    pub(crate) template: String,
    pub(crate) bos: Option<String>,
    pub(crate) eos: Option<String>,
}

/// So many steps of a template, and no more: one that came with a file may not end.
const STEPS: u64 = 10_000_000;

impl Chat {
    /// Fills in the template as Transformers does: with `messages`,
    /// `add_generation_prompt`, `bos_token` and `eos_token`.
    pub(crate) fn fill(
        &self,
        messages: &[Message],
        reply: Reply,
    ) -> Result<String, String> {
        let told = |error: Error| error.to_string();
        let mut environment = Environment::new();
        // As Transformers has it: a line of the template that is a statement gives none.
        let mut syntax = SyntaxConfig::builder();
        syntax.trim_blocks(true).lstrip_blocks(true);
        environment.set_syntax(syntax.build().map_err(told)?);
        environment.set_fuel(Some(STEPS));
        environment.set_unknown_method_callback(unknown_method_callback);
        environment.add_function("raise_exception", |what: String| {
            Err::<String, Error>(Error::new(ErrorKind::InvalidOperation, what))
        });
        let template = environment.template_from_str(&self.template).map_err(told)?;
        let filled = template.render(context! {
            messages => Value::from(Serde(messages)),
            add_generation_prompt => reply == Reply::Begins,
            bos_token => self.bos.clone(),
            eos_token => self.eos.clone(),
        });
        filled.map_err(told)
    }
}
