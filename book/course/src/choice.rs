//! Which exercise is meant: by its name, or by what the reader has done so far.

use anyhow::{Context, Result, bail};
use syllabus::{Chapter, Exercise};

use crate::course::{Chosen, Course, did_you_mean};

impl Course {
    /// The exercise that `name` means, or the next one if it is none.
    ///
    /// # Errors
    /// When there is no such exercise, or several.
    pub(crate) fn choose(&self, name: Option<&str>) -> Result<Chosen<'_>> {
        let Some(name) = name else { return self.next() };
        if let Some((chapter, exercise)) = name.split_once('/') {
            let chapter = self.chapter(chapter)?;
            return exercise_of(chapter, exercise);
        }
        let progress = self.progress()?;
        let here = progress.chapter.as_deref().and_then(|name| self.chapter(name).ok());
        if let Some(chapter) = here
            && let Some(exercise) = chapter.exercise(name)
        {
            return Ok(Chosen { chapter, exercise });
        }
        let all = self.all().filter(|chosen| chosen.exercise.name == name);
        match all.collect::<Vec<_>>()[..] {
            [one] => Ok(one),
            [] => {
                let ids: Vec<String> = self.all().map(|chosen| chosen.id()).collect();
                let names = self.all().map(|chosen| chosen.exercise.name.as_str());
                let names = names.chain(ids.iter().map(String::as_str));
                bail!("no exercise `{name}`{}", did_you_mean(name, names))
            }
            [one, ..] => {
                bail!("several exercises are called `{name}`; say `{}`", one.id())
            }
        }
    }

    /// What is not done yet: where the reader was last, and else in what was begun.
    ///
    /// # Errors
    /// When nothing was begun, or all of it is done.
    fn next(&self) -> Result<Chosen<'_>> {
        let progress = self.progress()?;
        let begun = || self.chapters.iter().filter(|chapter| self.has_begun(chapter));
        if begun().next().is_none() {
            let first = self.chapters.first().map_or("CHAPTER", |c| c.name.as_str());
            bail!("nothing is begun yet: cargo course start {first}");
        }
        let here =
            |chapter: &&Chapter| Some(&chapter.name) == progress.chapter.as_ref();
        let (last, others): (Vec<_>, Vec<_>) = begun().partition(here);
        for chapter in last.into_iter().chain(others) {
            let open = |exercise: &&Exercise| !progress.is_done(&chapter.id(exercise));
            if let Some(exercise) = chapter.exercises.iter().find(open) {
                return Ok(Chosen { chapter, exercise });
            }
        }
        match self.chapters.iter().find(|chapter| !self.has_begun(chapter)) {
            Some(chapter) => bail!(
                "all that you began is done: go on with cargo course start {}",
                chapter.name
            ),
            None => bail!("every exercise of every chapter is done"),
        }
    }
}

fn exercise_of<'a>(chapter: &'a Chapter, name: &str) -> Result<Chosen<'a>> {
    let exercise = chapter.exercise(name).with_context(|| {
        let names = chapter.exercises.iter().map(|exercise| exercise.name.as_str());
        let hint = did_you_mean(name, names);
        format!("chapter `{}` has no exercise `{name}`{hint}", chapter.name)
    })?;
    Ok(Chosen { chapter, exercise })
}
