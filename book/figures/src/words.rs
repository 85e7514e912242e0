//! What a figure says in words: for those who cannot see it, and in a table.

use serde::{Deserialize, Serialize};

/// The words of a figure. None may be empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Words {
    /// The finding, drawn on top.
    pub title: String,
    /// What goes below the picture, as Markdown; its first sentence is the message.
    pub caption: String,
    /// What a reader is told who cannot see it: the finding and the main numbers.
    pub alt: String,
}

/// The data of a plot, as cells of words.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Table {
    /// The heads.
    pub columns: Vec<String>,
    /// The rows, each as long as `columns`.
    pub rows: Vec<Vec<String>>,
}
