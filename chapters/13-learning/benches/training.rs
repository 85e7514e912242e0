//! Trains every mechanism on every task of `training::experiments`, one after the other.
//!
//!     cargo bench -p learning --bench training               print how it goes
//!     cargo bench -p learning --bench training -- --record   and keep it in
//!                                                            benches/training.csv
//!     cargo bench -p learning --bench training -- WORD       only those whose name has
//!                                                            this word, with their rows

use anyhow::{Context, Result};
use chapter_cli::bench::conditions;
use learning::training::experiments::{
    EVERY, Experiment, PERCENT, POOLED, POOLINGS, SEEDS, STEPS, experiments, uptraining,
};
use learning::training::{Run, Task, Variant};
use std::fs;
use std::time::Instant;

/// Sequences that say how well a pooled model recalls.
const JUDGED: usize = 200;

/// The columns of a recording.
const COLUMNS: &str = "case,n,median,low,high,calls,faults";

fn main() -> Result<()> {
    let word = std::env::args().skip(1).find(|argument| !argument.starts_with("--"));
    let (start, mut rows) = (Instant::now(), String::new());
    for experiment in experiments() {
        let named = |word: &String| experiment.case("").contains(word);
        if word.as_ref().is_none_or(named) {
            rows += &trained(experiment)?;
        }
    }
    if word.as_ref().is_none_or(|word| "uptraining".contains(word)) {
        rows += &uptrained()?;
    }
    let minutes = start.elapsed().as_secs_f64() / 60.0;
    println!("{minutes:.1} minutes");
    if word.is_some() {
        print!("{rows}");
    } else if std::env::args().any(|argument| argument == "--record") {
        let folder = env!("CARGO_MANIFEST_DIR");
        let path = format!("{folder}/benches/training.csv");
        let said = conditions(folder, "nats, and shares of judged tokens");
        let seeds = SEEDS.map(|seed| seed.to_string()).join(" ");
        let said = format!("{said}# minutes: {minutes:.1}\n# seeds: {seeds}\n");
        fs::write(&path, format!("{said}{COLUMNS}\n{rows}"))
            .with_context(|| format!("cannot write {path}"))?;
    }
    Ok(())
}

/// The rows of one mechanism on one task: all seeds together.
fn trained(experiment: Experiment) -> Result<String> {
    let start = Instant::now();
    let runs = SEEDS.map(|seed| points(experiment, seed));
    let runs = runs.into_iter().collect::<Result<Vec<_>>>()?;
    let mut rows = String::new();
    for (what, column) in [("loss", 0), ("accuracy", 1)] {
        for point in 0..experiment.steps / EVERY {
            let mut found: Vec<f64> =
                runs.iter().map(|run| run[point][column]).collect();
            found.sort_by(f64::total_cmp);
            let (low, high) = (found[0], found[found.len() - 1]);
            let (median, seeds) = (found[found.len() / 2], found.len());
            let step = (point + 1) * EVERY;
            let case = experiment.case(what);
            rows += &format!("{case},{step},{median:.4},{low:.4},{high:.4},{seeds},\n");
        }
    }
    let last = runs.iter().map(|run| format!("{:.3}", run[run.len() - 1][1]));
    println!(
        "{:<32} accuracy in the end {}  {:.1} s",
        experiment.case(""),
        last.collect::<Vec<_>>().join(" "),
        start.elapsed().as_secs_f64()
    );
    Ok(rows)
}

/// Loss and accuracy of one run, each the mean of [`EVERY`] steps.
fn points(experiment: Experiment, seed: u64) -> Result<Vec<[f64; 2]>> {
    let mut run = experiment.run(seed)?;
    let mut points = Vec::new();
    for _ in 0..experiment.steps / EVERY {
        let mut sum = [0.0; 2];
        for _ in 0..EVERY {
            let step = run.step()?;
            sum[0] += step.loss / EVERY as f64;
            sum[1] += step.accuracy / EVERY as f64;
        }
        points.push(sum);
    }
    Ok(points)
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
fn uptrained() -> Result<String> {
    let (task, variant) = (Task::Recall, Variant::MultiHead);
    let trained = SEEDS.map(|seed| {
        let mut run = Experiment { task, variant, steps: STEPS }.run(seed)?;
        for _ in 0..STEPS {
            run.step()?;
        }
        Ok(run)
    });
    let trained = trained.into_iter().collect::<Result<Vec<Run>>>()?;
    let mut rows = String::new();
    for kv_heads in POOLED {
        for (name, pooling) in POOLINGS {
            for percent in PERCENT {
                let found = trained.iter().map(|trained| {
                    let mut run = uptraining(trained, kv_heads, pooling, percent)?;
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
