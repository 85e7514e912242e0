//! Colors for Rust at build time, in the classes that mdBook's themes already style.

use std::sync::LazyLock;

use syntect::parsing::{ParseState, Scope, ScopeStack, SyntaxSet};

use crate::html;

/// What a scope of the grammar is called in mdBook's stylesheets. The first prefix that
/// fits wins; an empty class leaves the text as it is.
const CLASSES: [(&str, &str); 16] = [
    ("comment", "hljs-comment"),
    ("string", "hljs-string"),
    ("constant.numeric", "hljs-number"),
    ("constant.language", "hljs-literal"),
    ("constant.character", "hljs-string"),
    ("keyword.operator", OPERATOR),
    ("keyword", "hljs-keyword"),
    ("storage.modifier.lifetime", "hljs-symbol"),
    ("entity.name.lifetime", "hljs-symbol"),
    ("storage", "hljs-keyword"),
    ("variable.language", "hljs-keyword"),
    ("variable.annotation", "hljs-meta"),
    ("meta.annotation", "hljs-meta"),
    ("entity.name", "hljs-title"),
    ("support.macro", "hljs-built_in"),
    ("support.type", "hljs-built_in"),
];

/// The grammar's word for `as` and `in`, which are keywords, and for `+`, which is not.
const OPERATOR: &str = "operator";

struct Grammar {
    syntaxes: SyntaxSet,
    classes: Vec<(Scope, &'static str)>,
}

static GRAMMAR: LazyLock<Grammar> = LazyLock::new(|| Grammar {
    syntaxes: SyntaxSet::load_defaults_newlines(),
    classes: CLASSES
        .iter()
        .filter_map(|(prefix, class)| Some((Scope::new(prefix).ok()?, *class)))
        .collect(),
});

/// Rust as HTML, on one line. Each row of the code is an element of its own, which knows
/// how far it is indented: what does not fit goes on below, a little further in.
pub(crate) fn rust(code: &str) -> String {
    let Some(syntax) = GRAMMAR.syntaxes.find_syntax_by_extension("rs") else {
        return html::text(code);
    };
    let mut state = ParseState::new(syntax);
    let mut scopes = ScopeStack::new();
    let mut runs = Runs::default();
    for line in code.split_inclusive('\n') {
        let mut done = 0;
        for (at, op) in state.parse_line(line, &GRAMMAR.syntaxes).unwrap_or_default() {
            runs.push(class(&scopes, &line[done..at]), &line[done..at]);
            done = at;
            // A grammar that pops what it has not pushed costs colors, no text.
            let _ = scopes.apply(&op);
        }
        runs.push(class(&scopes, &line[done..]), &line[done..]);
        runs.end_row(line);
    }
    runs.finish()
}

/// The class of the innermost scope that has one.
fn class(scopes: &ScopeStack, text: &str) -> &'static str {
    let known = |scope: &Scope| {
        let fits = |(prefix, _): &&(Scope, _)| prefix.is_prefix_of(*scope);
        GRAMMAR.classes.iter().find(fits).map(|(_, class)| *class)
    };
    match scopes.as_slice().iter().rev().find_map(known).unwrap_or_default() {
        OPERATOR if text.chars().all(char::is_alphabetic) => "hljs-keyword",
        OPERATOR => "",
        class => class,
    }
}

/// Text gathered into the longest stretches of one class.
#[derive(Default)]
struct Runs {
    html: String,
    /// Where the rows that are complete end.
    rows: usize,
    class: &'static str,
    text: String,
}

impl Runs {
    fn push(&mut self, class: &'static str, text: &str) {
        if class != self.class && !text.is_empty() {
            self.flush();
            self.class = class;
        }
        self.text.push_str(text);
    }

    fn flush(&mut self) {
        let text = html::text(&std::mem::take(&mut self.text));
        match self.class {
            _ if text.is_empty() => {}
            "" => self.html.push_str(&text),
            class => {
                self.html += &format!(r#"<span class="{class}">{text}</span>"#);
            }
        }
    }

    fn end_row(&mut self, line: &str) {
        self.flush();
        let spaces = line.len() - line.trim_start_matches(' ').len();
        let depth = if line.trim().is_empty() { 0 } else { spaces / 4 };
        let row = self.html.split_off(self.rows);
        self.html += &match depth {
            0 => format!(r#"<span class="row">{row}</span>"#),
            depth => format!(r#"<span class="row i{depth}">{row}</span>"#),
        };
        self.rows = self.html.len();
    }

    fn finish(mut self) -> String {
        self.flush();
        self.html
    }
}
