//! What mdBook sends to a preprocessor: a context and the book, as JSON.

use anyhow::{Context, Result, bail};
use mdbook_core::{MDBOOK_VERSION, book::Book};
use mdbook_preprocessor::PreprocessorContext;
use serde::Deserialize;
use serde::de::IgnoredAny;

/// What every version of mdBook says of itself.
#[derive(Deserialize)]
struct Sender {
    mdbook_version: String,
}

/// The context and the book.
///
/// # Errors
/// When another version of mdBook is at the other end, whose words mean something else, or
/// none at all.
pub(crate) fn parse(sent: &str) -> Result<(PreprocessorContext, Book)> {
    let needed = release(MDBOOK_VERSION);
    let sender: Result<(Sender, IgnoredAny), _> = serde_json::from_str(sent);
    if let Ok((Sender { mdbook_version: found }, _)) = sender
        && release(&found) != needed
    {
        bail!(
            "mdBook {needed} is needed, and this is mdBook {found}: install it with `cargo \
             install mdbook --version ^{needed}`, or build the book with `cargo run`"
        );
    }
    serde_json::from_str(sent).with_context(|| {
        format!("expected a context and a book as JSON, as mdBook {needed} sends them")
    })
}

/// `0.5` of `0.5.4`: versions that share it understand each other.
fn release(version: &str) -> &str {
    let end = version.match_indices('.').nth(1).map_or(version.len(), |(at, _)| at);
    &version[..end]
}

#[cfg(test)]
mod tests {
    use super::release;

    #[test]
    fn a_release_is_what_stays_compatible() {
        for (version, expected) in
            [("0.5.4", "0.5"), ("0.4.52", "0.4"), ("0.6.0-beta.1", "0.6"), ("1", "1")]
        {
            assert_eq!(release(version), expected);
        }
    }
}
