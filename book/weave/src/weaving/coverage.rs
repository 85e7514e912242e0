//! Nothing is told twice, nothing is left out: what the whole book has to show.

use std::{
    collections::{HashMap, HashSet},
    path::{Path, PathBuf},
};

use crate::{
    reading::{
        directive::Directive,
        glossary::{self, Glossary},
        snapshots,
        workspace::{Crate, Workspace},
    },
    report::{Fault, Problem},
};

/// A directive, and where it stands.
pub(crate) struct Use {
    /// The page, relative to the book's root.
    pub page: PathBuf,
    /// Counted from 1.
    pub line: usize,
    /// What it asks for.
    pub directive: Directive,
}

/// A term of the glossary that stands in bold, and where.
pub(crate) struct Introduction {
    /// The page, relative to the book's root.
    pub page: PathBuf,
    /// Counted from 1.
    pub line: usize,
    /// As the glossary lists it.
    pub term: String,
}

/// What the chapters behind `pages` leave out or tell twice.
pub(crate) fn check(
    workspace: &Workspace,
    uses: &[Use],
    pages: &[PathBuf],
) -> Vec<Problem> {
    let used = used_files(workspace, uses);
    let mut problems = Vec::new();
    for page in pages {
        let Some(chapter) = workspace.told_on(page) else { continue };
        let krate = chapter.name.as_str();
        let told: Vec<&Use> = uses.iter().filter(|one| one.page == *page).collect();
        problems.extend(told_twice(&told, krate));
        problems.extend(never_told(workspace, &told, krate, page));
        problems.extend(unused(workspace, &used, krate, &chapter.folder));
        problems.extend(exercises(workspace, &told, chapter, page));
    }
    problems
}

/// Each term is introduced once, in the chapter that the glossary names, and listed.
pub(crate) fn terms(
    workspace: &Workspace,
    glossary: &Glossary,
    introduced: &[Introduction],
    uses: &[Use],
) -> Vec<Problem> {
    let mut problems = Vec::new();
    for term in &glossary.terms {
        let name = term.name();
        let is_home = |one: &&Introduction| {
            workspace.told_on(&one.page).is_some_and(|told| told.name == term.chapter)
        };
        let all = introduced.iter().filter(|one| one.term == name);
        let (home, others): (Vec<_>, Vec<_>) = all.partition(is_home);
        if home.is_empty() {
            let message = format!(
                "`{name}` is not introduced in `{}`: write **{name}** there, once",
                term.chapter
            );
            problems.push(term.problem(workspace, message));
        }
        for again in home.iter().skip(1).chain(&others) {
            let message = format!(
                "`{name}` stands in bold where it is introduced, in `{}`, and nowhere else",
                term.chapter
            );
            problems.push(Problem {
                file: again.page.clone(),
                line: again.line,
                message,
            });
        }
    }
    let is_listed = |one: &Use| {
        one.directive == Directive::Glossary && one.page.ends_with(glossary::PAGE)
    };
    if let (Some(first), false) = (glossary.terms.first(), uses.iter().any(is_listed)) {
        let message = format!(
            "no page shows this list: `{{{{#glossary}}}}` belongs in {}",
            glossary::PAGE
        );
        problems.push(first.problem(workspace, message));
    }
    problems
}

fn told_twice(told: &[&Use], krate: &str) -> Vec<Problem> {
    let mut first_told: HashMap<&str, usize> = HashMap::new();
    let mut problems = Vec::new();
    for Use { page, line, directive } in told {
        let Directive::Code(path) = directive else { continue };
        if path.krate != krate {
            continue;
        }
        if let Some(first) = first_told.get(path.name.as_str()) {
            let message =
                format!("`{}` is shown twice: first at line {first}", path.name);
            problems.push(Problem { file: page.clone(), line: *line, message });
        } else {
            first_told.insert(&path.name, *line);
        }
    }
    problems
}

fn never_told(
    workspace: &Workspace,
    told: &[&Use],
    krate: &str,
    page: &Path,
) -> Vec<Problem> {
    let shows = |name: &str| {
        told.iter().any(|one| match &one.directive {
            Directive::Code(path) => path.krate == krate && path.name == name,
            Directive::Rest(rest) => rest == krate,
            _ => false,
        })
    };
    let source = match workspace.root_source(krate) {
        Ok(source) => source,
        Err(fault) => return vec![fault.at(page, 1)],
    };
    let missing = source.to_be_told().into_iter().filter(|item| !shows(&item.name));
    missing
        .map(|item| {
            let message = format!(
                "`{name}` is shown nowhere in {page}: show it with \
                 {{{{#code {path}::{name}}}}} or carry it with {{{{#rest {path}}}}}",
                name = item.name,
                page = page.display(),
                path = krate.replace('-', "_"),
            );
            let line = source.lines(&(item.code..item.span.end)).0;
            Problem { file: source.path.clone(), line, message }
        })
        .collect()
}

fn unused(
    workspace: &Workspace,
    used: &HashSet<PathBuf>,
    krate: &str,
    folder: &Path,
) -> Vec<Problem> {
    let images = workspace.images(krate).unwrap_or_default();
    let snapshots = workspace.files(&snapshots::folder(folder), "snap");
    let figures = workspace.files(&images, "svg");
    let asked_with = |word: &str, what: &str, file: PathBuf| Problem {
        message: format!(
            "this {what} is used nowhere in the book: show it with \
             {{{{#{word} {}::{}}}}}, or delete it",
            krate.replace('-', "_"),
            snapshots::short_name(&file),
        ),
        file,
        line: 1,
    };
    let snapshots = snapshots
        .into_iter()
        .filter(|file| !used.contains(file))
        .map(|file| asked_with("output", "snapshot", file));
    let figures = figures
        .into_iter()
        .filter(|file| !used.contains(file))
        .map(|file| asked_with("figure", "figure", file));
    snapshots.chain(figures).collect()
}

/// Each exercise of a chapter stands on its page once, and no other's does.
fn exercises(
    workspace: &Workspace,
    told: &[&Use],
    found: &Crate,
    page: &Path,
) -> Vec<Problem> {
    let krate = found.name.as_str();
    let chapter = match workspace.syllabus(found) {
        Ok(chapter) => chapter,
        Err(fault) => return vec![fault.at(page, 1)],
    };
    let placed: Vec<_> = told
        .iter()
        .filter_map(|one| match &one.directive {
            Directive::Exercise(path) => Some((path, one.line)),
            _ => None,
        })
        .collect();
    let problem =
        |file: &Path, line, message| Problem { file: file.to_owned(), line, message };
    let strangers = placed.iter().filter(|(path, _)| path.krate != krate);
    let mut problems: Vec<Problem> = strangers
        .map(|(path, line)| {
            let message =
                format!("the exercise belongs on the page of `{}`", path.krate);
            problem(page, *line, message)
        })
        .collect();
    for exercise in chapter.iter().flat_map(|chapter| &chapter.exercises) {
        let name = &exercise.name;
        let mut places =
            placed.iter().filter(|(path, _)| path.krate == krate && path.name == *name);
        match (places.next(), places.next()) {
            (Some(_), None) => {}
            (Some((_, first)), Some((_, second))) => {
                let message =
                    format!("exercise `{name}` stands twice: first at line {first}");
                problems.push(problem(page, *second, message));
            }
            (None, _) => {
                let message = format!(
                    "exercise `{name}` stands nowhere in {}: place it with \
                     {{{{#exercise {}::{name}}}}}",
                    page.display(),
                    krate.replace('-', "_"),
                );
                problems.push(problem(&found.folder.join(syllabus::FILE), 1, message));
            }
        }
    }
    problems
}

/// The snapshots and drawings that some page asks for. What does not exist has been
/// reported where it was asked for.
fn used_files(workspace: &Workspace, uses: &[Use]) -> HashSet<PathBuf> {
    let file = |one: &Use| -> Result<Option<PathBuf>, Fault> {
        Ok(match &one.directive {
            Directive::Output(path) | Directive::Value(path, _) => {
                Some(snapshots::find(workspace, path)?)
            }
            Directive::Figure(path) => {
                Some(workspace.images(&path.krate)?.join(format!("{}.svg", path.name)))
            }
            Directive::Code(_)
            | Directive::Diff(..)
            | Directive::Rest(_)
            | Directive::Exercise(_)
            | Directive::Course
            | Directive::Glossary
            | Directive::Chapter(_) => None,
        })
    };
    uses.iter().filter_map(|one| file(one).ok().flatten()).collect()
}
