//! Figures as files, and whether the files are what the code draws now.

use crate::{Figure, Table, svg::Metadata};
use roxmltree::{Document, Node, NodeType};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::{fmt, fs, io};

/// Writes each figure to `dir/name.svg`, whole or not at all. Removes nothing.
///
/// # Errors
/// When the folder or a file cannot be written; the error names it.
pub fn save(dir: &Path, figures: &[Figure]) -> io::Result<()> {
    fs::create_dir_all(dir).map_err(|e| naming(dir, &e))?;
    for figure in figures {
        let path = path(dir, figure);
        // Renaming is one step: a reader sees the old file or the new one.
        let draft = dir.join(format!(".{}.svg.draft", figure.name()));
        fs::write(&draft, figure.svg()).map_err(|e| naming(&draft, &e))?;
        fs::rename(&draft, &path).map_err(|e| naming(&path, &e))?;
    }
    Ok(())
}

/// A file that is not what the code draws.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stale {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub why: String,
}

impl fmt::Display for Stale {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.why)
    }
}

/// Checks that `dir` holds these figures and no other `.svg`. Elements, attributes and
/// words must be the same; places may be half a CSS pixel apart and table cells differ
/// in a last digit, as another processor's rounding may have it.
///
/// # Errors
/// Every file that is missing, stray or different, with its first difference.
pub fn check_current(dir: &Path, figures: &[Figure]) -> Result<(), Vec<Stale>> {
    let mut stale = strays(dir, figures);
    stale.extend(figures.iter().filter_map(|figure| check_one(dir, figure).err()));
    if stale.is_empty() { Ok(()) } else { Err(stale) }
}

/// [`check_current`] for one figure, whatever else `dir` holds.
///
/// # Errors
/// When its file is missing or different, with the first difference.
pub fn check_one(dir: &Path, figure: &Figure) -> Result<(), Stale> {
    let path = path(dir, figure);
    let compared = fs::read_to_string(&path)
        .map_err(|error| format!("cannot be read ({error})"))
        .and_then(|committed| compare(&committed, figure.svg()));
    compared.map_err(|why| {
        let why =
            format!("{why}; draw it with `cargo run -p {} -- plots`", chapter(dir));
        Stale { path, why }
    })
}

/// The crate that draws into `images/05-grouped-query` is `grouped-query`.
fn chapter(dir: &Path) -> String {
    let name = dir.file_name().unwrap_or_default().to_string_lossy();
    name.trim_start_matches(|c: char| c.is_ascii_digit() || c == '-').to_owned()
}

fn path(dir: &Path, figure: &Figure) -> PathBuf {
    dir.join(format!("{}.svg", figure.name()))
}

fn naming(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

fn strays(dir: &Path, figures: &[Figure]) -> Vec<Stale> {
    let drawn: BTreeSet<_> = figures.iter().map(|figure| path(dir, figure)).collect();
    let files =
        fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut strays: Vec<_> = files
        .filter(|path| {
            path.extension().is_some_and(|e| e == "svg") && !drawn.contains(path)
        })
        .map(|path| Stale {
            path,
            why: "no figure has this name; remove it".to_owned(),
        })
        .collect();
    strays.sort_by(|a, b| a.path.cmp(&b.path));
    strays
}

/// How far apart places may be, in CSS pixels.
const NEAR: f64 = 0.5;
/// How far apart numbers in the table may be, relative to their size: one in the last of
/// three digits, and a little.
const CLOSE: f64 = 1.1e-2;

/// The first difference between two drawings, if there is one.
fn compare(committed: &str, drawn: &str) -> Result<(), String> {
    let parse = |svg| Document::parse(svg).map_err(|e| format!("is not XML ({e})"));
    let (committed, drawn) = (parse(committed)?, parse(drawn)?);
    let counted = |d: &Document| d.descendants().filter(telling).count();
    let pairs = committed
        .descendants()
        .filter(telling)
        .zip(drawn.descendants().filter(telling));
    for (old, new) in pairs {
        compare_nodes(old, new)?;
    }
    match (counted(&committed), counted(&drawn)) {
        (old, new) if old != new => Err(format!("has {old} nodes, now {new}")),
        _ => Ok(()),
    }
}

/// Elements and words, but not the white space between elements.
fn telling(node: &Node) -> bool {
    match node.node_type() {
        NodeType::Element => true,
        NodeType::Text => node.text().is_some_and(|words| !words.trim().is_empty()),
        NodeType::Root | NodeType::PI | NodeType::Comment => false,
    }
}

fn compare_nodes(old: Node, new: Node) -> Result<(), String> {
    let place = new.parent_element().map_or("svg", |parent| parent.tag_name().name());
    if old.is_text() && new.is_text() {
        let (old, new) =
            (old.text().unwrap_or_default(), new.text().unwrap_or_default());
        let (what, same) = match place {
            "metadata" => ("the caption or the table", same_metadata(old, new)),
            place => (place, old == new),
        };
        return if same { Ok(()) } else { Err(differs(what, old, new)) };
    }
    let (old_tag, tag) = (old.tag_name().name(), new.tag_name().name());
    if old_tag != tag || old.is_text() != new.is_text() {
        return Err(differs(&format!("an element in {place}"), old_tag, tag));
    }
    let names =
        |node: Node| node.attributes().map(|a| a.name().to_owned()).collect::<Vec<_>>();
    if names(old) != names(new) {
        let (old, new) = (names(old).join(" "), names(new).join(" "));
        return Err(differs(&format!("the attributes of a {tag}"), &old, &new));
    }
    for (old, new) in old.attributes().zip(new.attributes()) {
        if !same_attribute(new.name(), old.value(), new.value()) {
            return Err(differs(
                &format!("{} of a {tag}", new.name()),
                old.value(),
                new.value(),
            ));
        }
    }
    Ok(())
}

/// Says where two values part, with a little of what comes before.
fn differs(what: &str, old: &str, new: &str) -> String {
    let same = old.chars().zip(new.chars()).take_while(|(a, b)| a == b).count();
    let from = same.saturating_sub(20);
    let part = |words: &str| words.chars().skip(from).take(60).collect::<String>();
    format!("{what} was {:?}, now {:?}", part(old), part(new))
}

fn same_attribute(name: &str, old: &str, new: &str) -> bool {
    const PLACES: [&str; 10] =
        ["d", "x", "y", "cx", "cy", "r", "width", "height", "viewBox", "transform"];
    old == new || PLACES.contains(&name) && same_places(old, new)
}

/// The same but for numbers, which are near each other.
fn same_places(old: &str, new: &str) -> bool {
    same_numbers(old, new, |a, b| (a - b).abs() <= NEAR)
}

fn same_numbers(old: &str, new: &str, near: impl Fn(f64, f64) -> bool) -> bool {
    let (old, new) = (pieces(old), pieces(new));
    let same = |pair: (&Piece, &Piece)| match pair {
        (Piece::Number(a), Piece::Number(b)) => near(*a, *b),
        (a, b) => a == b,
    };
    old.len() == new.len() && old.iter().zip(&new).all(same)
}

#[derive(PartialEq)]
enum Piece<'a> {
    Number(f64),
    Other(&'a str),
}

/// Numbers and what stands between them.
fn pieces(value: &str) -> Vec<Piece<'_>> {
    let is_numeric = |c: char| c.is_ascii_digit() || matches!(c, '.' | '-');
    let mut pieces = Vec::new();
    let mut rest = value;
    while let Some(first) = rest.chars().next() {
        let numeric = is_numeric(first);
        let end = rest.find(|c| is_numeric(c) != numeric).unwrap_or(rest.len());
        let (piece, after) = rest.split_at(end);
        pieces.push(piece.parse().map_or(Piece::Other(piece), Piece::Number));
        rest = after;
    }
    pieces
}

fn same_metadata(old: &str, new: &str) -> bool {
    let parse = |json| serde_json::from_str::<Metadata>(json).ok();
    match (parse(old), parse(new)) {
        (Some(old), Some(new)) => {
            old.caption == new.caption
                && old.measured == new.measured
                && same_table(&old.table, &new.table)
        }
        _ => old == new,
    }
}

fn same_table(old: &Table, new: &Table) -> bool {
    let same_row = |(old, new): (&Vec<String>, &Vec<String>)| {
        old.len() == new.len()
            && old.iter().zip(new).all(|(old, new)| same_cell(old, new))
    };
    old.columns == new.columns
        && old.rows.len() == new.rows.len()
        && old.rows.iter().zip(&new.rows).all(same_row)
}

fn same_cell(old: &str, new: &str) -> bool {
    let (old, new) = (old.replace(',', ""), new.replace(',', ""));
    same_numbers(&old, &new, |a, b| (a - b).abs() <= CLOSE * a.abs().max(b.abs()))
}
