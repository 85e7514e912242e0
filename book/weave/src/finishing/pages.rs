//! What is done to finished pages: each says what it is to those who find or share it, and
//! what it may load. Beside them lie a list for search engines and the cards that stand for
//! chapters elsewhere.

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, anyhow};
use mdbook_core::{book::Chapter, config::Config};
use mdbook_driver::MDBook;
use walkdir::WalkDir;

use super::{
    addresses,
    policy::{self, Needs},
    styles::Styles,
};
use crate::{audience::Audience, html};

/// Where the cards of pages are kept, one `attention.png` per page.
const CARDS: &str = "images/cards";
/// What a search engine shows of a description.
const DESCRIPTION: usize = 160;

/// Where the finished book is read, with a slash at the end, as book.toml says.
pub(crate) fn site(config: &Config) -> Result<Option<String>> {
    let site = config.get::<String>("preprocessor.weave.site")?;
    Ok(site.map(|site| format!("{}/", site.trim_end_matches('/'))))
}

/// The folder of the site, which the page of a wrong address has to name: nobody knows how
/// deep it will be shown.
pub(crate) fn folder_of(site: &str) -> &str {
    let place = site.split_once("://").map_or(site, |(_, place)| place);
    place.find('/').map_or("/", |at| &place[at..])
}

/// The finished page of a chapter whose prose lies at `path`.
pub(crate) fn file_of(path: &Path) -> PathBuf {
    if path.file_stem().is_some_and(|stem| stem == "README") {
        path.with_file_name("index.html")
    } else {
        path.with_extension("html")
    }
}

/// Completes the pages of `book`, which lie in `folder`, and lists those that somebody may
/// look for.
///
/// # Errors
/// When a page cannot be read or written, or lacks what is to be completed.
pub(crate) fn finish(
    root: &Path,
    book: &MDBook,
    folder: &Path,
    audience: Audience,
) -> Result<Vec<Page>> {
    let site = site(&book.config)?;
    let pages: Vec<Page> = book.book.chapters().filter_map(Page::of).collect();
    let moved = addresses::moved(book);
    copy_cards(root, folder, &pages, &moved)?;
    let needs = Needs { audience, wasm: holds(folder, "wasm")? };
    let mut styles = Styles::of(folder);
    for file in files(folder, "html")? {
        let about = || format!("cannot finish {}", file.display());
        let mut text = fs::read_to_string(&file).with_context(about)?;
        let name = file.strip_prefix(folder)?;
        if let Some(page) = pages.iter().find(|page| page.file == name) {
            text = page
                .introduce(&text, book, site.as_deref(), folder)
                .with_context(about)?;
        } else if let Some(to) = name.to_str().and_then(|name| moved.get(name)) {
            if let Some(site) = &site {
                let canonical =
                    |base: &str| format!("rel=\"canonical\" href=\"{base}{to}\"");
                text = text.replace(&canonical(""), &canonical(site));
            }
        } else if name == Path::new("404.html") {
            text = text.replace("<!-- chapters -->", &list(&pages));
        }
        // A column without a heading has an empty cell there, not an empty heading.
        let text = text.replace("<th></th>", "<td></td>");
        let text = styles.join(&text).with_context(about)?;
        let text =
            policy::apply(&text, needs).map_err(|e| anyhow!(e)).with_context(about)?;
        fs::write(&file, text).with_context(about)?;
    }
    if let Some(site) = site {
        fs::write(folder.join("sitemap.xml"), sitemap(&site, &pages))?;
        let robots = format!("User-agent: *\nAllow: /\n\nSitemap: {site}sitemap.xml\n");
        fs::write(folder.join("robots.txt"), robots)?;
    }
    Ok(pages)
}

/// A page that somebody may look for.
pub(crate) struct Page {
    /// From the top of the book.
    pub file: PathBuf,
    /// As the table of contents has it, number and all.
    pub name: String,
}

impl Page {
    fn of(chapter: &Chapter) -> Option<Page> {
        let file = file_of(chapter.path.as_ref()?);
        let number =
            chapter.number.as_ref().map(|n| format!("{n} ")).unwrap_or_default();
        Some(Page { file, name: format!("{number}{}", chapter.name) })
    }

    /// The page's address below that of the site.
    fn address(&self) -> String {
        match self.file.to_string_lossy().replace('\\', "/").as_str() {
            "index.html" => String::new(),
            other => other.to_owned(),
        }
    }

    fn card(&self) -> PathBuf {
        card_of(&self.file)
    }

    /// The page with a head that says what it is.
    fn introduce(
        &self,
        text: &str,
        book: &MDBook,
        site: Option<&str>,
        folder: &Path,
    ) -> Result<String> {
        let start =
            text.find("<meta name=\"description\"").context("no description")?;
        let end = start + text[start..].find('>').context("no description")? + 1;
        let description = first_words(text).context("no first paragraph")?;
        let title = book.config.book.title.clone().unwrap_or_default();
        let mut tags = vec![meta("name", "description", &description)];
        if let Some(site) = site {
            let address = format!("{site}{}", self.address());
            tags.push(format!(r#"<link rel="canonical" href="{address}">"#));
            tags.push(meta("property", "og:type", "article"));
            tags.push(meta("property", "og:site_name", &html::attribute(&title)));
            tags.push(meta("property", "og:title", &html::attribute(&self.name)));
            tags.push(meta("property", "og:description", &description));
            tags.push(meta("property", "og:url", &address));
            if folder.join(self.card()).is_file() {
                let card = format!("{site}{}", self.card().display());
                tags.push(meta("property", "og:image", &card));
                tags.push(meta("property", "og:image:width", "1200"));
                tags.push(meta("property", "og:image:height", "630"));
                let alt = format!("{}: title and first figure", self.name);
                tags.push(meta("property", "og:image:alt", &html::attribute(&alt)));
                tags.push(meta("name", "twitter:card", "summary_large_image"));
            }
        }
        Ok(format!("{}{}{}", &text[..start], tags.join("\n        "), &text[end..]))
    }
}

/// A tag of the head; `content` is escaped already.
fn meta(kind: &str, name: &str, content: &str) -> String {
    format!(r#"<meta {kind}="{name}" content="{content}">"#)
}

/// The first sentences of a page, fit for an attribute.
fn first_words(page: &str) -> Option<String> {
    let main = &page[page.find("<main")?..];
    let paragraph = &main[main.find("<p>")? + 3..];
    let paragraph = without_tags(&paragraph[..paragraph.find("</p>")?]);
    let mut words = String::new();
    for sentence in paragraph.split_inclusive(". ") {
        if !words.is_empty() && words.len() + sentence.trim_end().len() > DESCRIPTION {
            break;
        }
        words += sentence;
    }
    Some(words.trim_end().replace('"', "&quot;"))
}

fn without_tags(html: &str) -> String {
    let texts = html.split('<').enumerate().map(|(i, piece)| match i {
        0 => piece,
        _ => piece.split_once('>').map_or("", |(_, text)| text),
    });
    texts.collect::<String>().split_whitespace().collect::<Vec<_>>().join(" ")
}

fn list(pages: &[Page]) -> String {
    let items = pages.iter().map(|page| {
        let (file, name) = (page.file.display(), html::text(&page.name));
        format!("<li><a href=\"{file}\">{name}</a></li>\n")
    });
    format!("<ul>\n{}</ul>", items.collect::<String>())
}

fn sitemap(site: &str, pages: &[Page]) -> String {
    let entry =
        |page: &Page| format!("<url><loc>{site}{}</loc></url>\n", page.address());
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <urlset xmlns=\"http://www.sitemaps.org/schemas/sitemap/0.9\">\n{}</urlset>\n",
        pages.iter().map(entry).collect::<String>()
    )
}

/// The card of each page, under the addresses that the page once had, too: an image cannot
/// lead on, and what was shared earlier still shows it.
fn copy_cards(
    root: &Path,
    folder: &Path,
    pages: &[Page],
    moved: &HashMap<String, String>,
) -> Result<()> {
    for page in pages {
        let from = root.join(CARDS).join(page.card().file_name().unwrap_or_default());
        if !from.is_file() {
            continue;
        }
        let once = moved.iter().filter(|(_, to)| page.file == Path::new(to));
        let once = once.map(|(from, _)| card_of(Path::new(from)));
        for card in once.chain([page.card()]) {
            let to = folder.join(card);
            fs::create_dir_all(to.parent().unwrap_or(folder))?;
            fs::copy(&from, &to)
                .with_context(|| format!("cannot copy {}", from.display()))?;
        }
    }
    Ok(())
}

/// Where the card of the page `file` lies, both from the top of the book.
fn card_of(file: &Path) -> PathBuf {
    Path::new("cards").join(file.with_extension("png"))
}

fn holds(folder: &Path, extension: &str) -> Result<bool> {
    Ok(!files(folder, extension)?.is_empty())
}

/// The files of a folder and the folders in it that end in `extension`, sorted.
fn files(folder: &Path, extension: &str) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in WalkDir::new(folder).sort_by_file_name() {
        let path = entry?.into_path();
        if path.extension().is_some_and(|one| one == extension) && path.is_file() {
            found.push(path);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_description_ends_with_a_sentence() {
        let long = "a".repeat(DESCRIPTION);
        let page =
            format!("<main>\n<h1>T</h1><p>Say <em>\"x\"</em> &amp; y. {long}.</p>");
        assert_eq!(first_words(&page).unwrap(), "Say &quot;x&quot; &amp; y.");
    }

    #[test]
    fn the_folder_of_a_site_is_what_follows_its_name() {
        assert_eq!(folder_of("https://example.org/"), "/");
        assert_eq!(folder_of("https://example.org/a/book/"), "/a/book/");
    }
}
