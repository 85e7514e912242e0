//! What the chapters' benchmarks share: cases that take turns, a table of their times, and
//! a recording that figures can be drawn from.

use crate::machine;
use crate::recording::{COLUMNS, PRODUCT, READ_MIB};
use nalgebra::DMatrix;
use rayon::prelude::*;
use std::fmt::Debug;
use std::hint::black_box;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

/// Calls of each case that are timed, at the least: enough for quartiles that one busy
/// moment of the machine does not move.
const CALLS: usize = 21;
/// And at the most.
pub const MOST_CALLS: usize = 500;
/// Calls with `--quick`, which shows that a benchmark runs.
const FEW_CALLS: usize = 5;
/// For so long the cases of short runs take turns.
const WHILE: Duration = Duration::from_secs(5);
/// Runs that are not timed, in which page faults are counted.
const COUNTED: usize = 3;

/// Cases that take turns, so that a slow moment of the machine is shared by all of them.
/// What is compared belongs to the same turns, and so do the roofs that bound it.
#[derive(Default)]
pub struct Turns<'a> {
    cases: Vec<Case<'a>>,
}

struct Case<'a> {
    name: String,
    n: usize,
    run: Box<dyn FnMut() -> Duration + 'a>,
}

impl<'a> Turns<'a> {
    /// Nobody's turn yet.
    #[must_use]
    pub fn new() -> Turns<'a> {
        Turns::default()
    }

    /// Adds a case by name and size. A run says itself how long it took, which leaves out
    /// what it prepares: see [`timed`].
    pub fn add(&mut self, name: &str, n: usize, run: impl FnMut() -> Duration + 'a) {
        self.cases.push(Case { name: name.to_owned(), n, run: Box::new(run) });
    }
}

/// A benchmark at work.
pub struct Bench {
    rows: String,
}

impl Bench {
    /// Prints the head of the table.
    #[must_use]
    pub fn start() -> Bench {
        println!(
            "{:<20} {:>6} {:>9} {:>9} {:>9} {:>5} {:>6}",
            "milliseconds", "n", "quarter", "median", "3/4", "calls", "faults"
        );
        Bench { rows: String::new() }
    }

    /// Lets the cases take turns. Median and quartiles are what is kept of their times:
    /// half of the calls lie between the quartiles, and the rare call that another program
    /// interrupted moves neither.
    pub fn measure(&mut self, turns: Turns) {
        if has_flag("--quick") {
            self.take_turns(FEW_CALLS, Duration::ZERO, turns);
        } else {
            self.take_turns(CALLS, WHILE, turns);
        }
    }

    /// At least so many calls of each case, and for so long.
    fn take_turns(&mut self, calls: usize, long: Duration, Turns { mut cases }: Turns) {
        let mut times: Vec<Vec<Duration>> = vec![Vec::new(); cases.len()];
        let mut started = Instant::now();
        for round in 0..=MOST_CALLS {
            if round > calls && started.elapsed() > long {
                break;
            }
            for (case, times) in cases.iter_mut().zip(&mut times) {
                let time = (case.run)();
                match round {
                    // Caches are empty, and memory is met for the first time.
                    0 => started = Instant::now(),
                    _ => times.push(time),
                }
            }
        }
        for (case, times) in cases.iter_mut().zip(times) {
            let faults = page_faults(&mut case.run);
            self.keep(&case.name, case.n, times, faults);
        }
    }

    fn keep(
        &mut self,
        case: &str,
        n: usize,
        mut times: Vec<Duration>,
        faults: Option<u64>,
    ) {
        times.sort();
        let calls = times.len();
        let at =
            |quarter: usize| times[(quarter * (calls - 1) + 2) / 4].as_secs_f64() * 1e3;
        let [low, median, high] = [at(1), at(2), at(3)];
        let faults = faults.map_or(String::new(), |faults| faults.to_string());
        println!(
            "{case:<20} {n:>6} {low:>9.4} {median:>9.4} {high:>9.4} {calls:>5} {faults:>6}"
        );
        self.rows +=
            &format!("{case},{n},{median:.4},{low:.4},{high:.4},{calls},{faults}\n");
    }

    /// The rows of the recording so far.
    #[must_use]
    pub fn rows(&self) -> &str {
        &self.rows
    }

    /// Adds the rows that another process has measured.
    pub fn keep_rows(&mut self, rows: &str) {
        self.rows += rows;
    }

    /// If the command line has `--record`, keeps medians and quartiles, and where they were
    /// measured, in `benches/recorded.csv` of the chapter whose manifest lies in `folder`.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn finish(self, folder: &str) -> io::Result<()> {
        record(folder, "recorded.csv", "ms", &self.rows)
    }
}

/// If the command line has `--record`, keeps `rows` of `case,n,median,low,high,calls,faults`
/// in this unit as `benches/NAME` of the chapter whose manifest lies in `folder`.
///
/// # Errors
/// When the file cannot be written.
pub fn record(folder: &str, name: &str, unit: &str, rows: &str) -> io::Result<()> {
    if has_flag("--record") {
        let path = Path::new(folder).join("benches").join(name);
        let conditions = conditions(folder, unit);
        std::fs::write(&path, format!("{conditions}{COLUMNS}\n{rows}"))?;
        println!("recorded in {}; now draw the plots", path.display());
    }
    Ok(())
}

/// What bounds the times beside it: reading memory and nothing else, and a product so
/// large that it reads next to nothing. Both on all cores.
pub struct Roofs {
    numbers: Vec<f32>,
    square: DMatrix<f32>,
}

impl Roofs {
    /// What is read and multiplied.
    #[must_use]
    pub fn new() -> Roofs {
        let entry = |i, j| ((31 * i + 17 * j) % 97) as f32 / 97.0;
        let square = DMatrix::from_fn(PRODUCT, PRODUCT, entry);
        Roofs { numbers: vec![1.0; READ_MIB << 18], square }
    }

    /// Adds the cases `read` and `product`, which [`Recorded::roofs`] reads. They belong to
    /// the turns of what they bound: how fast memory is differs from one minute to the
    /// next on a machine with other users.
    ///
    /// [`Recorded::roofs`]: crate::Recorded::roofs
    pub fn take_turns<'a>(&'a self, turns: &mut Turns<'a>) {
        turns.add("read", READ_MIB, || timed(|| sum_on_all_cores(&[&self.numbers])));
        turns.add("product", PRODUCT, || timed(|| &self.square * &self.square));
    }
}

impl Default for Roofs {
    fn default() -> Roofs {
        Roofs::new()
    }
}

fn has_flag(flag: &str) -> bool {
    std::env::args().any(|argument| argument == flag)
}

/// The lines with which a recording begins whose numbers have this unit, made on this
/// machine. `folder` is one of the book.
#[must_use]
pub fn conditions(folder: &str, unit: &str) -> String {
    machine::conditions(Path::new(folder), unit)
}

/// How long `run` takes, without what becomes of its result.
pub fn timed<T>(run: impl FnOnce() -> T) -> Duration {
    let start = Instant::now();
    let result = black_box(run());
    let time = start.elapsed();
    drop(result);
    time
}

/// [`timed`], for what can fail.
///
/// # Panics
/// When it fails: an error is soon there, and its time says nothing.
pub fn tried<T, E: Debug>(run: impl FnOnce() -> Result<T, E>) -> Duration {
    timed(|| run().expect("a benchmark runs what fits together"))
}

/// Pages that the system gives this process anew in a run, the median of a few, where the
/// system counts them. What maps memory afresh has many, and its time is not its own.
fn page_faults(run: &mut dyn FnMut() -> Duration) -> Option<u64> {
    let mut counts = [0; COUNTED];
    for count in &mut counts {
        let before = faults_so_far()?;
        run();
        *count = faults_so_far()?.saturating_sub(before);
    }
    counts.sort_unstable();
    Some(counts[COUNTED / 2])
}

/// Linux counts them in a field of /proc/self/stat (proc(5), `minflt`).
fn faults_so_far() -> Option<u64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The name before the last parenthesis may hold anything.
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_whitespace().nth(7)?.parse().ok()
}

/// The sum of `numbers`, on one core: little arithmetic for what is read, so that its time
/// is that of the memory.
#[must_use]
pub fn sum(numbers: &[f32]) -> f32 {
    // Lanes that do not wait for one another.
    let mut sums = [0.0; 64];
    let (chunks, rest) = numbers.as_chunks::<64>();
    for chunk in chunks {
        for (sum, number) in sums.iter_mut().zip(chunk) {
            *sum += number;
        }
    }
    sums.iter().chain(rest).sum()
}

/// [`sum`] of all `parts`, by all cores.
#[must_use]
pub fn sum_on_all_cores(parts: &[&[f32]]) -> f32 {
    // 256 KiB: enough for a core to be busy, and many for each.
    const PIECE: usize = 1 << 16;
    parts.par_iter().flat_map(|part| part.par_chunks(PIECE)).map(sum).sum()
}

#[cfg(test)]
mod tests {
    use super::{Bench, Turns, sum, sum_on_all_cores};
    use std::time::Duration;

    #[test]
    fn every_number_is_summed_once() {
        for count in [0, 1, 63, 64, 65, 5000, 1 << 17] {
            let numbers = vec![1.0; count];
            assert_eq!(sum(&numbers), count as f32);
            assert_eq!(sum_on_all_cores(&[&numbers, &numbers]), 2.0 * count as f32);
        }
    }

    #[test]
    fn median_and_quartiles_are_kept() {
        let mut bench = Bench::start();
        let times = [9, 1, 8, 2, 7, 3, 6, 4, 5].map(Duration::from_millis);
        bench.keep("case", 64, times.to_vec(), Some(12));
        assert_eq!(bench.rows, "case,64,5.0000,3.0000,7.0000,9,12\n");
    }

    #[test]
    fn a_warming_run_is_not_counted() {
        let mut calls = 0_u64;
        let mut turns = Turns::new();
        turns.add("case", 1, || {
            calls += 1;
            Duration::from_millis(if calls == 1 { 100 } else { 2 })
        });
        let mut bench = Bench::start();
        bench.take_turns(21, Duration::ZERO, turns);
        assert!(
            bench.rows.starts_with("case,1,2.0000,2.0000,2.0000,21,"),
            "{}",
            bench.rows
        );
    }
}
