//! The finished book as one file for reading devices: an EPUB 3 of the same pages. It reads
//! the pages that the weaver has finished and knows nothing of how they came about.

mod color;
mod xhtml;

use std::{
    fs::{self, File},
    io::{Seek, Write},
    path::PathBuf,
    time::{Duration, UNIX_EPOCH},
};

use anyhow::{Context, Result};
use humantime::format_rfc3339_seconds;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use zip::{CompressionMethod, ZipWriter, write::SimpleFileOptions};

use xhtml::{Body, escape, escape_attribute};

/// What a reading device needs to know of the look of the weaver's pages.
const STYLE: &str = include_str!("style.css");

/// Faces that a device may lack, where the book brings them: signs of formulas and boxes of
/// outputs.
const FONTS: [&str; 2] = ["maths.woff2", "code.woff2"];

/// What a shelf of books shows, if the book has it: `npm run cards` draws it.
const COVER: &str = "images/cover.png";

const CONTAINER: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<container version="1.0" xmlns="urn:oasis:names:tc:opendocument:xmlns:container">
  <rootfiles>
    <rootfile full-path="book/package.opf" media-type="application/oebps-package+xml"/>
  </rootfiles>
</container>
"#;

/// A finished book, and what its title page says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Edition {
    /// The folder with `book.toml`, in which fonts and cover are looked for.
    pub root: PathBuf,
    /// The folder with the finished pages, relative to the root.
    pub folder: PathBuf,
    /// What the book is called.
    pub title: String,
    /// What it is about, in a sentence.
    pub description: String,
    /// Who wrote it.
    pub authors: Vec<String>,
    /// The language of its text, such as `en`.
    pub language: String,
    /// Its pages, in their order.
    pub pages: Vec<Page>,
}

/// One page of an [`Edition`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Page {
    /// The finished page, relative to the folder of the edition.
    pub file: PathBuf,
    /// Its line in the table of contents.
    pub name: String,
}

/// Writes the edition to a file beside its folder, whole or not at all, and gives the
/// file's name relative to the root.
///
/// # Errors
/// When a page cannot be read, or the file cannot be written.
pub fn write(edition: &Edition) -> Result<PathBuf> {
    let file = edition.folder.with_added_extension("epub");
    let about = || format!("cannot write {}", file.display());
    let place = edition.root.join(&file);
    let beside =
        tempfile::NamedTempFile::new_in(place.parent().unwrap_or(&edition.root))
            .with_context(about)?;
    pack(edition, beside.as_file()).with_context(about)?;
    beside.persist(&place).with_context(about)?;
    Ok(file)
}

/// A page as it goes into the EPUB.
struct Chapter<'a> {
    page: &'a Page,
    body: Body,
}

impl Chapter<'_> {
    fn file(&self) -> String {
        self.page.file.with_extension("xhtml").display().to_string()
    }
}

fn pack(edition: &Edition, output: &File) -> Result<()> {
    let Edition { root, folder, pages, .. } = edition;
    let chapters = pages
        .iter()
        .map(|page| {
            let file = root.join(folder).join(&page.file);
            let html = fs::read_to_string(&file)
                .with_context(|| format!("cannot read {}", file.display()))?;
            Ok(Chapter { page, body: xhtml::body(&html)? })
        })
        .collect::<Result<Vec<_>>>()?;

    let faces = root.join("book/theme/fonts");
    let mut fonts = FONTS.to_vec();
    fonts.retain(|font| faces.join(font).is_file());

    let mut zip = ZipWriter::new(output);
    // The type of the file has to be the first thing in it, as it is.
    add(&mut zip, "mimetype", CompressionMethod::Stored, b"application/epub+zip")?;
    let mut add = |name: &str, content: &[u8]| {
        add(&mut zip, name, CompressionMethod::Deflated, content)
    };
    add("META-INF/container.xml", CONTAINER.as_bytes())?;
    let cover = root.join(COVER);
    let cover = cover.is_file().then(|| fs::read(&cover)).transpose()?;
    let cover_item = match cover {
        Some(_) => item("cover", "cover.png", "image/png", "cover-image"),
        None => String::new(),
    };
    let package = package(edition, &chapters, &fonts, &cover_item);
    add("book/package.opf", package.as_bytes())?;
    if let Some(image) = cover {
        add("book/cover.png", &image)?;
    }
    add("book/nav.xhtml", contents(edition, &chapters).as_bytes())?;
    add("book/style.css", STYLE.as_bytes())?;
    for font in &fonts {
        let bytes = fs::read(faces.join(font))
            .with_context(|| format!("cannot read {font}"))?;
        add(&format!("book/{font}"), &bytes)?;
    }
    for chapter in &chapters {
        let text = document(edition, &chapter.page.name, "", &chapter.body.xhtml);
        add(&format!("book/{}", chapter.file()), text.as_bytes())?;
    }
    zip.finish()?;
    Ok(())
}

fn add<W: Write + Seek>(
    zip: &mut ZipWriter<W>,
    name: &str,
    method: CompressionMethod,
    content: &[u8],
) -> Result<()> {
    // The same book gives the same bytes: no entry knows when it was packed.
    let options = SimpleFileOptions::default()
        .compression_method(method)
        .last_modified_time(zip::DateTime::default());
    zip.start_file(name, options)?;
    Ok(zip.write_all(content)?)
}

fn package(
    book: &Edition,
    chapters: &[Chapter],
    fonts: &[&str],
    cover: &str,
) -> String {
    let title = escape(&book.title);
    let language = &book.language;
    let description = escape(&book.description);
    let authors: String = book
        .authors
        .iter()
        .map(|author| format!("    <dc:creator>{}</dc:creator>\n", escape(author)))
        .collect();
    let fonts: String = fonts
        .iter()
        .enumerate()
        .map(|(i, font)| item(&format!("font{i}"), font, "font/woff2", ""))
        .collect();
    let items: String = chapters
        .iter()
        .enumerate()
        .map(|(i, chapter)| {
            let properties =
                [("mathml", chapter.body.mathml), ("svg", chapter.body.svg)];
            let properties: Vec<&str> = properties
                .iter()
                .filter(|(_, has)| *has)
                .map(|(name, _)| *name)
                .collect();
            let id = format!("page{i}");
            item(&id, &chapter.file(), "application/xhtml+xml", &properties.join(" "))
        })
        .collect();
    let spine: String = (0..chapters.len())
        .map(|i| format!("    <itemref idref=\"page{i}\"/>\n"))
        .collect();
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <package xmlns=\"http://www.idpf.org/2007/opf\" version=\"3.0\" unique-identifier=\"id\" xml:lang=\"{language}\">\n\
         \x20 <metadata xmlns:dc=\"http://purl.org/dc/elements/1.1/\">\n\
         \x20   <dc:identifier id=\"id\">{}</dc:identifier>\n\
         \x20   <dc:title>{title}</dc:title>\n\
         \x20   <dc:language>{language}</dc:language>\n\
         {authors}\
         \x20   <dc:description>{description}</dc:description>\n\
         \x20   <dc:rights>Text and figures: CC BY 4.0. Code: MIT or Apache-2.0.</dc:rights>\n\
         \x20   <meta property=\"dcterms:modified\">{}</meta>\n\
         \x20 </metadata>\n\
         \x20 <manifest>\n{}{}{cover}{fonts}{items}\x20 </manifest>\n\
         \x20 <spine>\n{spine}\x20 </spine>\n\
         </package>\n",
        identifier(&title),
        modified(),
        item("nav", "nav.xhtml", "application/xhtml+xml", "nav"),
        item("style", "style.css", "text/css", ""),
    )
}

fn item(id: &str, file: &str, kind: &str, properties: &str) -> String {
    let properties = match properties {
        "" => String::new(),
        some => format!(" properties=\"{some}\""),
    };
    let file = escape_attribute(file);
    format!(
        "    <item id=\"{id}\" href=\"{file}\" media-type=\"{kind}\"{properties}/>\n"
    )
}

/// The book's number among all others: the same for all its editions.
fn identifier(title: &str) -> String {
    let hash: String =
        Sha256::digest(title)[..16].iter().map(|byte| format!("{byte:02x}")).collect();
    // As RFC 9562 wants it of numbers that are made by a rule of one's own.
    let uuid = [&hash[..8], &hash[8..12], &hash[13..16], &hash[17..20], &hash[20..]];
    let [a, b, c, d, e] = uuid;
    format!("urn:uuid:{a}-{b}-8{c}-8{d}-{e}")
}

/// When the book was changed, which the build can only know if it is told
/// (<https://reproducible-builds.org/specs/source-date-epoch>).
fn modified() -> String {
    let told = std::env::var("SOURCE_DATE_EPOCH").ok();
    let seconds = told.and_then(|seconds| seconds.trim().parse().ok()).unwrap_or(0);
    let time = UNIX_EPOCH.checked_add(Duration::from_secs(seconds));
    format_rfc3339_seconds(time.unwrap_or(UNIX_EPOCH)).to_string()
}

fn contents(book: &Edition, chapters: &[Chapter]) -> String {
    let entry = |chapter: &Chapter| {
        let file = chapter.file();
        let sections: String = chapter
            .body
            .sections
            .iter()
            .map(|(id, title)| {
                format!("<li><a href=\"{file}#{id}\">{}</a></li>\n", escape(title))
            })
            .collect();
        let sections = match sections.as_str() {
            "" => sections,
            some => format!("\n<ol>\n{some}</ol>\n"),
        };
        format!(
            "<li><a href=\"{file}\">{}</a>{sections}</li>\n",
            escape(&chapter.page.name)
        )
    };
    let entries: String = chapters.iter().map(entry).collect();
    let nav = format!(
        "<nav epub:type=\"toc\" id=\"toc\">\n<h1>Contents</h1>\n<ol>\n{entries}</ol>\n</nav>"
    );
    let epub = " xmlns:epub=\"http://www.idpf.org/2007/ops\"";
    document(book, "Contents", epub, &nav)
}

fn document(book: &Edition, title: &str, namespaces: &str, body: &str) -> String {
    let language = &book.language;
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<!DOCTYPE html>\n\
         <html xmlns=\"http://www.w3.org/1999/xhtml\"{namespaces} lang=\"{language}\" xml:lang=\"{language}\">\n\
         <head>\n<meta charset=\"UTF-8\"/>\n<title>{}</title>\n\
         <link rel=\"stylesheet\" href=\"style.css\"/>\n</head>\n<body>\n{body}\n</body>\n</html>\n",
        escape(title)
    )
}
