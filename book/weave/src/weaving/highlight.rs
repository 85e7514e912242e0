//! Colors for Rust at build time, in the classes that mdBook's themes already style. The
//! listings compile, so the compiler's own lexer is enough: what it takes for a token is one.

use ra_ap_rustc_lexer::{FrontmatterAllowed, LiteralKind, Token, TokenKind, tokenize};

use crate::html;

const COMMENT: &str = "hljs-comment";
const STRING: &str = "hljs-string";
const NUMBER: &str = "hljs-number";
const LITERAL: &str = "hljs-literal";
const KEYWORD: &str = "hljs-keyword";
const LIFETIME: &str = "hljs-symbol";
const ATTRIBUTE: &str = "hljs-meta";
const NAME: &str = "hljs-title";
const KNOWN: &str = "hljs-built_in";
const PLAIN: &str = "";

/// Words of the language, and the types that it brings.
const KEYWORDS: [&str; 54] = [
    "Self", "as", "async", "await", "bool", "break", "char", "const", "continue",
    "crate", "dyn", "else", "enum", "extern", "f32", "f64", "fn", "for", "i128", "i16",
    "i32", "i64", "i8", "if", "impl", "in", "isize", "let", "loop", "match", "mod",
    "move", "mut", "pub", "ref", "return", "self", "static", "str", "struct", "super",
    "trait", "type", "u128", "u16", "u32", "u64", "u8", "unsafe", "use", "usize",
    "where", "while", "yield",
];
/// Words after which something is given a name.
const NAMING: [&str; 6] = ["fn", "struct", "enum", "trait", "type", "mod"];
/// What every file of Rust knows.
const PRELUDE: [&str; 9] =
    ["Box", "Err", "None", "Ok", "Option", "Result", "Some", "String", "Vec"];

/// Rust as HTML, on one line. Each row of the code is an element of its own, which knows
/// how far it is indented: what does not fit goes on below, a little further in.
pub(crate) fn rust(code: &str) -> String {
    let mut rows = code.split_inclusive('\n');
    let mut runs = Runs::default();
    for (class, text) in Lexer::of(code) {
        for piece in text.split_inclusive('\n') {
            runs.push(class, piece);
            if piece.ends_with('\n') {
                runs.end_row(rows.next().unwrap_or_default());
            }
        }
    }
    if let Some(last) = rows.next() {
        runs.end_row(last);
    }
    runs.finish()
}

/// Rust, token by token, each with its class.
struct Lexer<'a> {
    rest: &'a str,
    /// What the rest consists of, and how many bytes each of it takes.
    tokens: Vec<Token>,
    next: usize,
    /// Whether the last word said that a name follows.
    naming: bool,
    /// How many brackets of an attribute are open.
    brackets: usize,
}

impl<'a> Lexer<'a> {
    fn of(code: &'a str) -> Lexer<'a> {
        let tokens = tokenize(code, FrontmatterAllowed::No).collect();
        Lexer { rest: code, tokens, next: 0, naming: false, brackets: 0 }
    }

    /// What comes `ahead` tokens later.
    fn kind(&self, ahead: usize) -> Option<TokenKind> {
        self.tokens.get(self.next + ahead).map(|token| token.kind)
    }

    /// The class of what comes next, and of how many tokens it consists.
    fn class(&mut self) -> Option<(&'static str, usize)> {
        use {LiteralKind as L, TokenKind as T};
        let kind = self.kind(0)?;
        let named = self.naming && kind == T::Ident;
        self.naming &= kind == T::Whitespace;
        Some(match kind {
            T::LineComment { .. } | T::BlockComment { .. } => (COMMENT, 1),
            T::Literal { kind: L::Int { .. } | L::Float { .. }, .. } => (NUMBER, 1),
            T::Literal { .. } => (STRING, 1),
            T::Lifetime { .. } => (LIFETIME, 1),
            T::Ident => self.word(named),
            T::Pound => match (self.kind(1), self.kind(2)) {
                (Some(T::OpenBracket), _) => (ATTRIBUTE, 2),
                (Some(T::Bang), Some(T::OpenBracket)) => (ATTRIBUTE, 3),
                _ => (PLAIN, 1),
            },
            _ => (PLAIN, 1),
        })
    }

    fn word(&mut self, named: bool) -> (&'static str, usize) {
        let word = &self.rest[..self.tokens[self.next].len as usize];
        self.naming = NAMING.contains(&word);
        let is_macro = self.kind(1) == Some(TokenKind::Bang)
            && self.kind(2) != Some(TokenKind::Eq);
        match word {
            "true" | "false" => (LITERAL, 1),
            _ if KEYWORDS.contains(&word) => (KEYWORD, 1),
            _ if is_macro => (KNOWN, 2),
            _ if named => (NAME, 1),
            _ if PRELUDE.contains(&word) => (KNOWN, 1),
            _ => (PLAIN, 1),
        }
    }
}

impl<'a> Iterator for Lexer<'a> {
    type Item = (&'static str, &'a str);

    fn next(&mut self) -> Option<(&'static str, &'a str)> {
        let (class, tokens) = self.class()?;
        let taken = &self.tokens[self.next..self.next + tokens];
        let length = taken.iter().map(|token| token.len as usize).sum();
        self.next += tokens;
        let (text, rest) = self.rest.split_at(length);
        self.rest = rest;
        let was_open = self.brackets > 0;
        match text {
            "#[" | "#![" => self.brackets = 1,
            "[" if was_open => self.brackets += 1,
            "]" if was_open => self.brackets -= 1,
            _ => {}
        }
        let speaks = [COMMENT, STRING].contains(&class);
        let is_attribute = (was_open || self.brackets > 0) && !speaks;
        Some((if is_attribute { ATTRIBUTE } else { class }, text))
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

    /// Ends the row of `line`.
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

#[cfg(test)]
mod tests {
    use super::*;

    fn classes(code: &str) -> Vec<(&str, &str)> {
        Lexer::of(code).filter(|(class, _)| *class != PLAIN).collect()
    }

    #[test]
    fn names_are_colored_where_they_are_given() {
        assert_eq!(
            classes("pub fn forward(&self) -> Vec<f32>"),
            [
                (KEYWORD, "pub"),
                (KEYWORD, "fn"),
                (NAME, "forward"),
                (KEYWORD, "self"),
                (KNOWN, "Vec"),
                (KEYWORD, "f32"),
            ]
        );
        assert_eq!(classes("forward(x)?; a != b; vec![]"), [(KNOWN, "vec!")]);
    }

    #[test]
    fn numbers_end_where_ranges_and_methods_begin() {
        for (code, number) in [
            ("0..n", "0"),
            ("1.max(n)", "1"),
            ("1.)", "1."),
            ("2.5e-4_f32*x", "2.5e-4_f32"),
            ("1e-6", "1e-6"),
            ("0x1e-6", "0x1e"),
            ("12_582_912.0", "12_582_912.0"),
        ] {
            assert_eq!(classes(code)[0], (NUMBER, number));
        }
    }

    #[test]
    fn strings_end_at_their_own_quote() {
        for (code, string) in [
            (r#""a \\" b"#, r#""a \\""#),
            (r#""\"fn" fn"#, r#""\"fn""#),
            ("r#\"a\"b\"# c", "r#\"a\"b\"#"),
            ("b'\\'' c", "b'\\''"),
            ("'\"' c", "'\"'"),
            ("\"open", "\"open"),
        ] {
            let colored = classes(code);
            assert_eq!(colored[0], (STRING, string));
        }
        assert_eq!(classes("&'a q"), [(LIFETIME, "'a")]);
    }

    #[test]
    fn an_attribute_is_one_up_to_its_last_bracket() {
        let code = "#[error(\"x]\", [1])]\nfn";
        let meta: String = Lexer::of(code)
            .filter(|(class, _)| *class == ATTRIBUTE)
            .map(|(_, text)| text)
            .collect();
        assert_eq!(meta, "#[error(, [1])]");
        assert_eq!(classes("a[#b]"), []);
    }

    #[test]
    fn no_text_is_lost() {
        for code in
            ["", "é'", "'", "\"", "/*", "r#", "#[", "1e-", "fn é() {\n\n  'é'\n"]
        {
            let text: String = Lexer::of(code).map(|(_, text)| text).collect();
            assert_eq!(text, code);
        }
    }
}
