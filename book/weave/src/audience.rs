//! Who a book is built for.

/// Where an author's page listens for the news that the book has changed.
pub(crate) const RELOAD: &str = "__livereload";

/// Who the book is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Audience {
    /// Readers: the pages are what will be published.
    Readers,
    /// An author at work: the pages load anew when the book changes.
    Author,
}
