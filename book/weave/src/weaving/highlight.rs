//! Colors for Rust at build time, in the classes that mdBook's themes already style. The
//! listings compile, so a lexer is enough: what it takes for a token is one.

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
    /// The last word, if it said that a name follows.
    naming: bool,
    /// How many brackets of an attribute are open.
    brackets: usize,
}

impl<'a> Lexer<'a> {
    fn of(code: &'a str) -> Lexer<'a> {
        Lexer { rest: code, naming: false, brackets: 0 }
    }

    /// The class of the token that comes next, and its length in bytes.
    fn token(&mut self) -> Option<(&'static str, usize)> {
        let rest = self.rest;
        let first = rest.chars().next()?;
        if first.is_whitespace() {
            return Some((PLAIN, rest.len() - rest.trim_start().len()));
        }
        let named = std::mem::take(&mut self.naming);
        let token = if rest.starts_with("//") {
            (COMMENT, rest.find('\n').unwrap_or(rest.len()))
        } else if rest.starts_with("/*") {
            (COMMENT, rest.find("*/").map_or(rest.len(), |at| at + 2))
        } else if let Some(length) = string(rest) {
            (STRING, length)
        } else if first == '\'' {
            quoted(rest)
        } else if first.is_ascii_digit() {
            (NUMBER, number(rest))
        } else if is_letter(first) {
            self.word(named)
        } else if let Some(opening) =
            ["#[", "#!["].into_iter().find(|o| rest.starts_with(o))
        {
            (ATTRIBUTE, opening.len())
        } else {
            (PLAIN, first.len_utf8())
        };
        Some(token)
    }

    fn word(&mut self, named: bool) -> (&'static str, usize) {
        let length = run(self.rest, is_letter);
        let (word, after) = self.rest.split_at(length);
        self.naming = NAMING.contains(&word);
        let is_macro = after.starts_with('!') && !after.starts_with("!=");
        match word {
            "true" | "false" => (LITERAL, length),
            _ if KEYWORDS.contains(&word) => (KEYWORD, length),
            _ if is_macro => (KNOWN, length + 1),
            _ if named => (NAME, length),
            _ if PRELUDE.contains(&word) => (KNOWN, length),
            _ => (PLAIN, length),
        }
    }
}

impl<'a> Iterator for Lexer<'a> {
    type Item = (&'static str, &'a str);

    fn next(&mut self) -> Option<(&'static str, &'a str)> {
        let (class, length) = self.token()?;
        let (token, rest) = self.rest.split_at(length);
        self.rest = rest;
        let was_open = self.brackets > 0;
        match token {
            "#[" | "#![" => self.brackets = 1,
            "[" if was_open => self.brackets += 1,
            "]" if was_open => self.brackets -= 1,
            _ => {}
        }
        let speaks = [COMMENT, STRING].contains(&class);
        let is_attribute = (was_open || self.brackets > 0) && !speaks;
        Some((if is_attribute { ATTRIBUTE } else { class }, token))
    }
}

/// How long a string is, raw or not, if that is what the text begins with.
fn string(text: &str) -> Option<usize> {
    let prefix = ["br", "cr", "b", "c", "r"].into_iter().find(|p| text.starts_with(p));
    let start = prefix.map_or(0, str::len);
    let hashes = text[start..].len() - text[start..].trim_start_matches('#').len();
    let is_raw = prefix.is_some_and(|prefix| prefix.ends_with('r'));
    let inside = text[start + hashes..].strip_prefix('"')?;
    let from = text.len() - inside.len();
    if is_raw {
        let close = format!("\"{}", "#".repeat(hashes));
        return Some(
            inside.find(&close).map_or(text.len(), |at| from + at + close.len()),
        );
    }
    (hashes == 0).then(|| closing(inside, '"').map_or(text.len(), |at| from + at))
}

/// Where what `quote` has opened is closed again.
fn closing(inside: &str, quote: char) -> Option<usize> {
    let mut escaped = false;
    let closes = |(_, c): &(usize, char)| {
        let closes = *c == quote && !escaped;
        escaped = *c == '\\' && !escaped;
        closes
    };
    inside.char_indices().find(closes).map(|(at, _)| at + 1)
}

/// A lifetime, or a letter in quotes.
fn quoted(text: &str) -> (&'static str, usize) {
    let inside = &text[1..];
    let name = run(inside, is_letter);
    if name > 0 && !inside[name..].starts_with('\'') {
        return (LIFETIME, 1 + name);
    }
    (STRING, closing(inside, '\'').map_or(1, |at| 1 + at))
}

/// How long a number is, with what stands after its point and the type at its end.
fn number(text: &str) -> usize {
    let digits = |text: &str| run(text, is_letter);
    let signed = |length: usize| {
        let is_hex = text.starts_with("0x");
        let exponent = text[..length].ends_with(['e', 'E']) && !is_hex;
        if exponent && text[length..].starts_with(['-', '+']) {
            length + 1 + digits(&text[length + 1..])
        } else {
            length
        }
    };
    let whole = signed(digits(text));
    match text[whole..].strip_prefix('.') {
        Some(after) if after.starts_with(|c: char| c.is_ascii_digit()) => {
            signed(whole + 1 + digits(after))
        }
        Some(after) if !after.starts_with(|c: char| c == '.' || is_letter(c)) => {
            whole + 1
        }
        _ => whole,
    }
}

/// How many bytes at the beginning of a text are letters that fit.
fn run(text: &str, fits: fn(char) -> bool) -> usize {
    text.find(|c| !fits(c)).unwrap_or(text.len())
}

fn is_letter(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
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
            ("b'\\'' c", "'\\''"),
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
