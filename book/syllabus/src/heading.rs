//! Headings of the pages, to which exercises point.

/// A heading, taken apart.
///
/// ```
/// use syllabus::Heading;
///
/// let plain = Heading::of("## Where people go wrong").unwrap();
/// assert_eq!(plain.anchor(), "where-people-go-wrong");
/// let named = Heading::of("### One hand: RoPE {#one-hand}").unwrap();
/// assert_eq!((named.words, &*named.anchor()), ("One hand: RoPE", "one-hand"));
/// assert_eq!(Heading::of("no heading"), None);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heading<'a> {
    /// Its words, as on the page.
    pub words: &'a str,
    /// What `{#…}` behind the words says, if there is one.
    id: Option<&'a str>,
}

impl<'a> Heading<'a> {
    /// From a line of Markdown, if it is one.
    #[must_use]
    pub fn of(line: &'a str) -> Option<Self> {
        let words = line.strip_prefix('#')?.trim_start_matches('#').trim();
        let with_id = words.strip_suffix('}').and_then(|words| words.rsplit_once("{#"));
        Some(match with_id {
            Some((words, id)) => Heading { words: words.trim_end(), id: Some(id) },
            None => Heading { words, id: None },
        })
    }

    /// The anchor by which mdBook links to it.
    #[must_use]
    pub fn anchor(self) -> String {
        let letter = |c: char| match c {
            c if c.is_alphanumeric() || c == '_' || c == '-' => Some(c),
            c if c.is_whitespace() => Some('-'),
            _ => None,
        };
        let from_words =
            || self.words.to_lowercase().chars().filter_map(letter).collect();
        self.id.map_or_else(from_words, str::to_owned)
    }
}
