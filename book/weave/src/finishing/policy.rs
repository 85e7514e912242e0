//! What a finished page may load and run: what lies beside it, and the inline scripts that
//! were there when the book was built. Nothing else, whatever finds its way into a page.

use base64::{Engine, engine::general_purpose::STANDARD};
use sha2::{Digest, Sha256};

use crate::audience::Audience;

/// A page with its Content-Security-Policy, which has to come before what it governs.
///
/// # Errors
/// When the page has no place for it.
pub(crate) fn apply(page: &str, needs: Needs) -> Result<String, String> {
    let charset = r#"<meta charset="utf-8">"#;
    let start = page.to_ascii_lowercase().find(charset);
    let start = start.ok_or_else(|| format!("the page template has no {charset}"))?;
    let (before, after) = page.split_at(start + charset.len());
    let policy = policy(page, needs);
    Ok(format!(
        "{before}\n        <meta http-equiv=\"Content-Security-Policy\" content=\"{policy}\">{after}"
    ))
}

/// What some books need beyond the rest.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Needs {
    /// Who looks at the pages: an author's listen for news.
    pub audience: Audience,
    /// Whether the book brings `WebAssembly`.
    pub wasm: bool,
}

fn policy(page: &str, needs: Needs) -> String {
    // Some browsers hold that no file on disk is `self`, and a book may be read from disk.
    let own = "'self' file:";
    let scripts = hashes(inline_scripts(page));
    let wasm = if needs.wasm { " 'wasm-unsafe-eval'" } else { "" };
    let styles = inline_styles(page);
    let unsafe_hashes = if styles.is_empty() { "" } else { " 'unsafe-hashes'" };
    let styles = hashes(styles.into_iter().chain(elements(page, "style")));
    let news = match needs.audience {
        Audience::Readers => "",
        Audience::Author => " ws://localhost:* ws://127.0.0.1:*",
    };
    [
        "default-src 'none'".to_owned(),
        format!("script-src {own}{wasm}{scripts}"),
        format!("style-src {own}{unsafe_hashes}{styles}"),
        format!("img-src {own} data:"),
        format!("font-src {own}"),
        format!("connect-src {own}{news}"),
        format!("frame-src {own}"),
        format!("base-uri {own}"),
        format!("form-action {own}"),
    ]
    .join("; ")
}

/// The sources of all that is run from the page itself, each with a space before it.
fn hashes<'a>(texts: impl IntoIterator<Item = &'a str>) -> String {
    let mut hashes: Vec<String> = texts
        .into_iter()
        .map(|text| format!(" 'sha256-{}'", STANDARD.encode(Sha256::digest(text))))
        .collect();
    hashes.sort();
    hashes.dedup();
    hashes.concat()
}

fn inline_scripts(page: &str) -> impl Iterator<Item = &str> {
    elements(page, "script").filter(|text| !text.is_empty())
}

/// What stands between `<name …>` and `</name>`, for elements that hold no others.
fn elements<'a>(page: &'a str, name: &str) -> impl Iterator<Item = &'a str> {
    let (open, close) = (format!("<{name}"), format!("</{name}>"));
    let starts: Vec<usize> =
        page.match_indices(&open).map(|(at, _)| at + open.len()).collect();
    starts.into_iter().filter_map(move |start| {
        let is_named = page[start..].starts_with([' ', '>', '\n']);
        let from = start + page[start..].find('>')? + 1;
        let to = from + page[from..].find(&close)?;
        is_named.then_some(&page[from..to])
    })
}

/// The values of all `style` attributes.
fn inline_styles(page: &str) -> Vec<&str> {
    page.match_indices(" style=\"")
        .filter_map(|(at, opening)| {
            let from = at + opening.len();
            let is_inside_tag = page[..at].rfind('<') > page[..at].rfind('>');
            let to = from + page[from..].find('"')?;
            is_inside_tag.then_some(&page[from..to])
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const READERS: Needs = Needs { audience: Audience::Readers, wasm: false };

    fn policy_of(body: &str) -> String {
        let page = format!("<head><meta charset=\"UTF-8\"></head>{body}");
        let page = apply(&page, READERS).unwrap();
        page.split("content=\"").nth(1).unwrap().split('"').next().unwrap().to_owned()
    }

    #[test]
    fn scripts_run_if_they_were_there_when_the_book_was_built() {
        // printf 'f()' | openssl dgst -sha256 -binary | base64
        let hash = "'sha256-GcEEE0IkDzIP5EQ6DXZaDPORqT5RTBELX8Fyzyg9yvo='";
        assert!(policy_of("<script>f()</script>").contains(hash));
        assert!(!policy_of("<script src=\"f.js\"></script>").contains("sha256"));
        assert!(!policy_of("").contains("unsafe"));
    }

    #[test]
    fn a_style_attribute_is_allowed_by_itself() {
        assert!(
            policy_of("<p style=\"color: red\">")
                .contains("style-src 'self' file: 'unsafe-hashes' 'sha256-")
        );
        assert!(!policy_of("<p>a style=\"color: red\"</p>").contains("unsafe"));
    }

    #[test]
    fn a_page_without_a_place_for_it_is_refused() {
        assert!(apply("<head></head>", READERS).is_err());
    }
}
