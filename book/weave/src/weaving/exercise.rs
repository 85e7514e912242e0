//! `{{#exercise}}` and `{{#course}}`: what `course.toml` says there is to do. Everything
//! works without scripts; boxes to tick are added by `book/theme/course.js`.

use syllabus::{Chapter, Exercise, Kind};

use crate::{
    html,
    reading::{directive::CratePath, workspace::Workspace},
    report::{Fault, did_you_mean},
};

/// The head of an exercise, to which links lead.
///
/// # Errors
/// When the chapter has no such exercise, or its `course.toml` cannot be read.
pub(crate) fn head(workspace: &Workspace, path: &CratePath) -> Result<String, Fault> {
    let chapter = chapter(workspace, &path.krate)?;
    let names = || chapter.exercises.iter().map(|exercise| exercise.name.as_str());
    let exercise = chapter.exercise(&path.name).ok_or_else(|| {
        let hint = did_you_mean(&path.name, names());
        let krate = &path.krate;
        Fault::Here(format!("no exercise `{}` of crate `{krate}`{hint}", path.name))
    })?;
    let id = html::attribute(&chapter.id(exercise));
    let anchor = html::attribute(&anchor(&exercise.name));
    let (kind, title) = (exercise.kind, html::text(&exercise.title));
    let section = html::attribute(&exercise.section);
    Ok(format!(
        concat!(
            r#"<div class="exercise" id="{anchor}" data-exercise="{id}">"#,
            r#"<strong>{title}</strong> <span class="kind">{kind}</span> "#,
            r##"<a href="#{section}">read for it</a> "##,
            r#"<code>cargo course check {id}</code></div>"#
        ),
        anchor = anchor,
        id = id,
        title = title,
        kind = kind,
        section = section,
    ))
}

fn anchor(exercise: &str) -> String {
    format!("exercise-{exercise}")
}

/// The chapters in reading order with their exercises, each linked to where it stands, with
/// what there is to do and the name that `cargo course` knows it by.
///
/// # Errors
/// When a `course.toml` cannot be read.
pub(crate) fn list(workspace: &Workspace) -> Result<String, Fault> {
    let mut all = Vec::new();
    for krate in workspace.crates() {
        all.extend(workspace.syllabus(krate)?);
    }
    // Crates come by their names, chapters by their numbers.
    all.sort_by(|one, other| one.folder.cmp(&other.folder));
    let mut chapters = String::new();
    for chapter in all {
        let exercises = chapter.exercises.iter().map(|exercise| {
            format!(
                concat!(
                    r#"<li data-exercise="{id}"><a href="{page}#{anchor}">{title}</a> "#,
                    r#"<span class="kind">{task}; <code>{id}</code></span></li>"#
                ),
                id = html::attribute(&chapter.id(exercise)),
                page = html::attribute(&chapter.page()),
                anchor = html::attribute(&anchor(&exercise.name)),
                title = html::text(&exercise.title),
                task = task(exercise),
            )
        });
        chapters += &format!(
            concat!(
                r#"<li data-chapter="{name}"><a href="{page}">{folder}</a> "#,
                r#"<span class="kind"><code>cargo course start {name}</code></span>"#,
                r#"<ul>{}</ul></li>"#
            ),
            exercises.collect::<String>(),
            name = html::attribute(&chapter.name),
            page = html::attribute(&chapter.page()),
            folder = html::text(&chapter.folder),
        );
    }
    Ok(format!(r#"<ol class="course">{chapters}</ol>"#))
}

/// What a reader does, in a few words of HTML.
fn task(exercise: &Exercise) -> String {
    match (exercise.kind, &exercise.body) {
        (Kind::Implement, Some(body)) => {
            format!("write <code>{}</code>", html::text(body))
        }
        (Kind::Implement, None) => "write a function".to_owned(),
        (Kind::ByHand, _) => "numbers by hand".to_owned(),
        (Kind::Investigate, _) => "predict a number, then measure it".to_owned(),
    }
}

fn chapter<'a>(workspace: &'a Workspace, krate: &str) -> Result<&'a Chapter, Fault> {
    let folder = workspace.folder(krate)?;
    let file = folder.join(syllabus::FILE);
    let found = workspace.crates().find(|one| one.name == krate);
    let chapter = found.map(|found| workspace.syllabus(found)).transpose()?.flatten();
    chapter.ok_or_else(|| Fault::Here(format!("there is no {}", file.display())))
}
