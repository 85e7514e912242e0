//! The preface's pictures: the map of the crates, and how the book keeps itself true.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use anyhow::Result;
use figures::{Diagram, Figure, Hue, Slot, Words};

use crate::reading::workspace::{Crate, Workspace};

/// Where the pictures lie, relative to the root.
pub(crate) const FOLDER: &str = "images/weave";

/// What stands beside the book: no chapter needs it, and the map is clearer without.
const COURSE: [&str; 3] = ["course", "exercises", "syllabus"];

/// How many boxes fit side by side.
const ACROSS: usize = 3;

/// Draws both pictures.
///
/// # Errors
/// When a manifest cannot be read, or a picture cannot be drawn.
pub(crate) fn draw(root: &Path) -> Result<Vec<Figure>> {
    let workspace = Workspace::open(root, None)?;
    let crates: Vec<&Crate> =
        workspace.crates().filter(|one| !COURSE.contains(&one.name.as_str())).collect();
    Ok(vec![chapters(&crates)?, truth()?])
}

/// The crates, each below those that it needs.
fn chapters(crates: &[&Crate]) -> Result<Figure> {
    let needs: BTreeMap<&str, BTreeSet<&str>> = crates
        .iter()
        .map(|one| (one.name.as_str(), direct_needs(one, crates)))
        .collect();
    let slots = slots(crates);
    let mut diagram = Diagram::new();
    for one in crates {
        let lines = [one.name.as_str(), &role(one)];
        diagram = diagram.node(&one.name, slots[one.name.as_str()], &lines, hue(one));
    }
    let mut told = Vec::new();
    for (name, needs) in &needs {
        for need in needs {
            let (from, to) = (slots[need], slots[name]);
            let is_below = from.column == to.column && from.row + 1 == to.row;
            diagram = if is_below {
                diagram.arrow(need, name, "")
            } else {
                diagram.elbow(need, name, "")
            };
        }
        let needs: Vec<&str> = needs.iter().copied().collect();
        if !needs.is_empty() {
            told.push(format!("{name} needs {}", needs.join(", ")));
        }
    }
    let words = Words {
        title: "No chapter needs a later one".into(),
        caption: "The reading order is the dependency graph. An arrow leads from a crate to \
                  one that builds on it, as their manifests say; where it can be reached by \
                  way of another, the direct arrow is left out, and so is the course, since \
                  no crate here depends on it."
            .into(),
        alt: format!("The crates of the workspace and what they build on: {}.", told.join("; ")),
    };
    Ok(Figure::draw("chapters", words, &diagram)?)
}

/// What a crate needs and does not get by way of another.
fn direct_needs<'a>(one: &'a Crate, crates: &[&'a Crate]) -> BTreeSet<&'a str> {
    let named = |name: &str| crates.iter().copied().find(|one| one.name == name);
    let mut beyond = BTreeSet::new();
    let mut open: Vec<&str> =
        one.needs.iter().filter_map(|name| named(name)).flat_map(names).collect();
    while let Some(name) = open.pop() {
        if beyond.insert(name) {
            open.extend(named(name).into_iter().flat_map(names));
        }
    }
    names(one).filter(|name| !beyond.contains(name) && named(name).is_some()).collect()
}

fn names(one: &Crate) -> impl Iterator<Item = &str> {
    one.needs.iter().map(String::as_str)
}

/// The rows of the map from the foundations down, each with chapters in reading order,
/// moved around in a circle where an arrow would otherwise find no room.
fn slots<'a>(crates: &[&'a Crate]) -> BTreeMap<&'a str, Slot> {
    let mut levels: BTreeMap<usize, Vec<&Crate>> = BTreeMap::new();
    for one in crates {
        levels.entry(level(one, crates)).or_default().push(one);
    }
    let rows = levels.values_mut().flat_map(|level| {
        level.sort_by_key(|one| &one.folder);
        level.chunks(ACROSS)
    });
    let mut slots = BTreeMap::new();
    for (row, side_by_side) in rows.enumerate() {
        let across = side_by_side.len();
        let places = |turn: usize| {
            let column = move |i| (i + turn) % across;
            let place = move |(i, one): (usize, &&'a Crate)| (column(i), *one);
            side_by_side.iter().enumerate().map(place)
        };
        let fits = |turn: &usize| {
            places(*turn).all(|(column, one)| {
                !goes_around(Slot { column, row }, &direct_needs(one, crates), &slots)
            })
        };
        let turn = (0..across).find(fits).unwrap_or(0);
        let row = places(turn)
            .map(|(column, one)| (one.name.as_str(), Slot { column, row }))
            .collect::<Vec<_>>();
        slots.extend(row);
    }
    slots
}

/// Whether an arrow to a box here would go around others to the right of all columns,
/// where there is no room.
fn goes_around(
    slot: Slot,
    needs: &BTreeSet<&str>,
    above: &BTreeMap<&str, Slot>,
) -> bool {
    let last = slot.column == ACROSS - 1;
    let mut needs = needs.iter().filter_map(|need| above.get(need));
    last && needs.any(|need| need.column == slot.column && need.row + 1 < slot.row)
}

/// How many crates stand below this one, one upon another.
fn level(one: &Crate, crates: &[&Crate]) -> usize {
    let below = crates.iter().filter(|other| one.needs.contains(&other.name));
    below.map(|other| level(other, crates) + 1).max().unwrap_or(0)
}

fn role(one: &Crate) -> String {
    match chapter_number(one) {
        Some(number) => format!("chapter {number}"),
        None => one.folder.display().to_string(),
    }
}

fn chapter_number(one: &Crate) -> Option<usize> {
    one.folder.file_name()?.to_str()?.split_once('-')?.0.parse().ok()
}

/// Chapters 1 to 9 have the hue of their mechanism, which the crate of figures keeps in
/// the order of the chapters.
fn hue(one: &Crate) -> Hue {
    match chapter_number(one) {
        Some(number @ 1..=9) => Hue::ALL[number - 1],
        _ => Hue::Muted,
    }
}

/// What holds prose, code, outputs and pictures together.
fn truth() -> Result<Figure> {
    let at = |column, row| Slot { column, row };
    let diagram = Diagram::new()
        .node("snapshots", at(0, 0), &["outputs", "snapshots/*.snap"], Hue::Muted)
        .node("code", at(0, 1), &["code", "src/lib.rs"], Hue::Attention)
        .node("images", at(0, 2), &["pictures", "images/*.svg"], Hue::Muted)
        .node("prose", at(1, 0), &["prose", "book/src/*.md"], Hue::Muted)
        .node("weave", at(1, 1), &["weave"], Hue::Accent)
        .node("pages", at(2, 1), &["pages", "*.html"], Hue::Muted)
        .arrow("code", "snapshots", "cargo test")
        .arrow("code", "images", "cargo test")
        .arrow("snapshots", "weave", "")
        .arrow("code", "weave", "")
        .arrow("images", "weave", "")
        .arrow("prose", "weave", "")
        .arrow("weave", "pages", "");
    let words = Words {
        title: "Nothing on a page is typed twice".into(),
        caption: "`cargo test` holds the code to the outputs and pictures that it gave; \
                  `weave` holds the prose to all three and refuses to build a page that \
                  names what is not there or leaves out what is."
            .into(),
        alt: "Code leads to outputs and to pictures, and cargo test checks both arrows. \
              Outputs, code, pictures and prose lead to weave, and weave to the pages."
            .into(),
    };
    Ok(Figure::draw("truth", words, &diagram)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_committed_pictures_are_current() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let drawn = draw(&root).unwrap();
        if let Err(stale) = figures::check_current(&root.join(FOLDER), &drawn) {
            let told: Vec<_> = stale.iter().map(ToString::to_string).collect();
            panic!("{}\ndraw them with `cargo run -- plots`", told.join("\n"));
        }
    }

    #[test]
    fn arrows_that_others_imply_are_left_out() {
        let named = |name: &str, needs: &[&str]| Crate {
            name: name.into(),
            folder: name.into(),
            needs: needs.iter().map(|&name| name.into()).collect(),
            ..Crate::default()
        };
        let [low, mid, high] =
            [named("low", &[]), named("mid", &["low"]), named("high", &["low", "mid"])];
        let crates = [&low, &mid, &high];
        assert_eq!(direct_needs(&high, &crates), BTreeSet::from(["mid"]));
        assert_eq!(level(&high, &crates), 2);
    }
}
