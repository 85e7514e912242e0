//! Trains every mechanism on every task of `training::experiments`, one after the other.
//!
//!     cargo bench -p learning --bench training               print how it goes
//!     cargo bench -p learning --bench training -- --record   and keep it in
//!                                                            benches/training.csv
//!     cargo bench -p learning --bench training -- WORD …     only those whose name has one
//!                                                            of these words, with their rows
//!     … -- --record WORD …                                   and put these in the place of
//!                                                            what they were, or behind it

use anyhow::{Context, Result, ensure};
use chapter_cli::bench::conditions;
use learning::training::born::{BORN, Look, told};
use learning::training::experiments::{
    EVERY, Experiment, LONGER, MERGINGS, PERCENT, POOLED, SEEDS, STEPS, STRETCHES,
    UNMASKED, experiments, masked_again, more, stretched, uptraining,
};
use learning::training::{Run, Task, Variant};
use std::collections::{HashMap, HashSet};
use std::fs;
use std::time::Instant;

/// Sequences that say how well a model does without learning from them.
const JUDGED: usize = 200;

/// The columns of a recording.
const COLUMNS: &str = "case,n,median,low,high,calls,faults";

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (flags, words): (Vec<_>, Vec<_>) =
        arguments.into_iter().partition(|argument| argument.starts_with("--"));
    let asked =
        |name: &str| words.is_empty() || words.iter().any(|word| name.contains(word));
    let (start, mut rows) = (Instant::now(), String::new());
    let (mut ended, mut maps) = (Ended::default(), None);
    for experiment in experiments().into_iter().chain(more()) {
        if asked(&experiment.name()) {
            rows += &trained(experiment, &mut ended)?;
        }
    }
    if asked("uptraining") {
        rows += &uptrained(&mut ended)?;
    }
    if asked("masked again") {
        rows += &unmasked(&mut ended)?;
    }
    if asked("longer") {
        rows += &longer(&mut ended)?;
    }
    if asked("born") {
        let (more, found) = birth()?;
        rows += &more;
        maps = Some(found);
    }
    let minutes = start.elapsed().as_secs_f64() / 60.0;
    println!("{minutes:.1} minutes");
    if flags.iter().any(|flag| flag == "--record") {
        record(&rows, minutes, words.is_empty())?;
        if let Some(maps) = maps {
            keep("born.csv", &maps)?;
        }
    } else if !words.is_empty() {
        print!("{rows}");
    }
    Ok(())
}

/// Puts the rows into the recording: all of it anew, or in the place of those of the same
/// cases. Then the others stay, if they were made on such a machine, and the minutes of
/// both are added.
fn record(rows: &str, minutes: f64, anew: bool) -> Result<()> {
    let folder = env!("CARGO_MANIFEST_DIR");
    let path = format!("{folder}/benches/training.csv");
    let mut said = conditions(folder, "nats, and shares of judged tokens");
    let (mut kept, mut minutes) = (String::new(), minutes);
    if !anew {
        let old = fs::read_to_string(&path)
            .with_context(|| format!("cannot read {path}: --record without a word"))?;
        for key in ["processor", "cores", "instructions", "system", "rustc", "crates"] {
            let (was, is) = (line_of(&old, key), line_of(&said, key));
            ensure!(
                was == is,
                "{path} was recorded with `{was}`, and this is `{is}`: record all anew"
            );
        }
        minutes += line_of(&old, "minutes").parse::<f64>().context("# minutes")?;
        let (was, is) = (line_of(&old, "book"), line_of(&said, "book"));
        let all =
            if was.contains(is) { was.to_owned() } else { format!("{was}; {is}") };
        said = said.replace(&format!("# book: {is}"), &format!("# book: {all}"));
        let case = |row: &str| row.split(',').next().map(str::to_owned);
        let new: HashSet<_> = rows.lines().map(case).collect();
        let table = old.lines().filter(|line| !line.starts_with('#')).skip(1);
        for row in table.filter(|row| !new.contains(&case(row))) {
            kept += &format!("{row}\n");
        }
    }
    let seeds = SEEDS.map(|seed| seed.to_string()).join(" ");
    said += &format!("# minutes: {minutes:.1}\n# seeds: {seeds}\n");
    keep("training.csv", &format!("{said}{COLUMNS}\n{kept}{rows}"))
}

/// What a recording says of itself under a key.
fn line_of<'a>(recording: &'a str, key: &str) -> &'a str {
    let head = format!("# {key}: ");
    recording.lines().find_map(|line| line.strip_prefix(&head)).unwrap_or("")
}

fn keep(name: &str, text: &str) -> Result<()> {
    let path = format!("{}/benches/{name}", env!("CARGO_MANIFEST_DIR"));
    fs::write(&path, text).with_context(|| format!("cannot write {path}"))
}

/// The runs of all seeds, at their end, by the names of their experiments.
#[derive(Default)]
struct Ended(HashMap<String, Vec<Run>>);

impl Ended {
    /// Those of an experiment, which are trained if they have not been.
    fn of(&mut self, experiment: Experiment) -> Result<&[Run]> {
        if !self.0.contains_key(&experiment.name()) {
            trained(experiment, self)?;
        }
        Ok(&self.0[&experiment.name()])
    }
}

/// The rows of one mechanism on one task: all seeds together.
fn trained(experiment: Experiment, ended: &mut Ended) -> Result<String> {
    let start = Instant::now();
    let (mut runs, mut all) = (Vec::new(), Vec::new());
    for seed in SEEDS {
        let mut run = experiment.run(seed)?;
        let points = (0..experiment.steps / EVERY).map(|_| point(&mut run));
        all.push(points.collect::<Result<Vec<_>>>()?);
        runs.push(run);
    }
    ended.0.insert(experiment.name(), runs);
    let mut rows = String::new();
    for (what, column) in [("loss", 0), ("accuracy", 1)] {
        for point in 0..experiment.steps / EVERY {
            let found = all.iter().map(|points| points[point][column]).collect();
            rows += &row(&experiment.case(what), (point + 1) * EVERY, found);
        }
    }
    let last = all.iter().map(|points| format!("{:.3}", points[points.len() - 1][1]));
    println!(
        "{:<40} accuracy in the end {}  {:.1} s",
        experiment.name(),
        last.collect::<Vec<_>>().join(" "),
        start.elapsed().as_secs_f64()
    );
    Ok(rows)
}

/// [`EVERY`] steps, and the mean of their losses and accuracies.
fn point(run: &mut Run) -> Result<[f64; 2]> {
    let mut sum = [0.0; 2];
    for _ in 0..EVERY {
        let step = run.step()?;
        sum[0] += step.loss / EVERY as f64;
        sum[1] += step.accuracy / EVERY as f64;
    }
    Ok(sum)
}

/// A line of the recording: what the seeds have found.
fn row(case: &str, n: usize, mut found: Vec<f64>) -> String {
    found.sort_by(f64::total_cmp);
    let (low, high) = (found[0], found[found.len() - 1]);
    let (median, seeds) = (found[found.len() / 2], found.len());
    format!("{case},{n},{median:.4},{low:.4},{high:.4},{seeds},\n")
}

/// The rows of uptraining: multi-head models that recall, with pooled heads, trained for
/// some percent of the steps.
fn uptrained(ended: &mut Ended) -> Result<String> {
    let trained = ended.of(Experiment::new(Task::Recall, Variant::MultiHead, STEPS))?;
    let mut rows = String::new();
    for kv_heads in POOLED {
        for (name, merging) in MERGINGS {
            for percent in PERCENT {
                let found = trained.iter().map(|trained| {
                    let mut run = uptraining(trained, kv_heads, merging, percent)?;
                    for _ in 0..run.settings.steps {
                        run.step()?;
                    }
                    Ok(run.accuracy(JUDGED)?)
                });
                let found = found.collect::<Result<Vec<_>>>()?;
                println!(
                    "uptraining to {kv_heads} by {name}, {percent} %: {found:.3?}"
                );
                rows += &row(&format!("uptraining {name} {kv_heads}"), percent, found);
            }
        }
    }
    Ok(rows)
}

/// The rows of models that learned without a mask: how much they have right without it,
/// and, if it can be put back, with it.
fn unmasked(ended: &mut Ended) -> Result<String> {
    let mut rows = String::new();
    for experiment in UNMASKED {
        if experiment.variant != Variant::Unmasked {
            continue;
        }
        let (mut without, mut with) = (Vec::new(), Vec::new());
        for run in ended.of(experiment)? {
            let asked = run.unseen(JUDGED)?;
            without.push(run.model.accuracy(&asked)?);
            with.push(masked_again(run.model.clone()).accuracy(&asked)?);
        }
        println!("{}: {without:.3?}, masked again {with:.3?}", experiment.name());
        rows += &row(&experiment.case("not masked again"), experiment.steps, without);
        rows += &row(&experiment.case("masked again"), experiment.steps, with);
    }
    Ok(rows)
}

/// The rows of trained models that are asked about sequences of once and twice the length
/// that they have seen, with each rotation.
fn longer(ended: &mut Ended) -> Result<String> {
    let mut rows = String::new();
    for experiment in LONGER {
        let task = experiment.task;
        let runs = ended.of(experiment)?;
        for stretch in STRETCHES {
            let (mut once, mut twice) = (Vec::new(), Vec::new());
            for run in runs {
                let trained = task.tokens(run.settings.size);
                let rotary = stretched(run.model.shape(), trained, stretch)?;
                let model = run.model.clone().rotated(&rotary)?;
                once.push(model.accuracy(&run.unseen(JUDGED)?)?);
                twice.push(model.accuracy(&run.unseen_longer(task, JUDGED))?);
            }
            println!(
                "longer {}, {stretch}: {once:.3?}, twice {twice:.3?}",
                task.name()
            );
            let case = format!("longer {} {stretch}", task.name());
            rows += &row(&case, 1, once);
            rows += &row(&case, 2, twice);
        }
    }
    Ok(rows)
}

/// The rows of one run in which an induction head comes to be: its loss, and how much of
/// their weight the best heads put where they should. And the maps of the head.
fn birth() -> Result<(String, String)> {
    let (experiment, seed) = BORN;
    let mut run = experiment.run(seed)?;
    let (mut losses, mut looks) = (Vec::new(), vec![(0, Look::at(&run)?)]);
    while run.taken() < experiment.steps {
        losses.push((run.taken() + EVERY, point(&mut run)?[0]));
        looks.push((run.taken(), Look::at(&run)?));
    }
    Ok(told(&losses, &looks))
}
