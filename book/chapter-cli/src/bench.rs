//! What the chapters' benchmarks share: cases that take turns, a table of their times, and
//! a recording that figures can be drawn from.

use rayon::prelude::*;
use std::hint::black_box;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

/// A name, a size, and a run that times itself.
pub type Case<'a> = (&'a str, usize, &'a dyn Fn() -> Duration);

/// A benchmark at work.
pub struct Bench {
    recording: String,
}

impl Bench {
    /// Prints the head of the table.
    #[must_use]
    pub fn start() -> Bench {
        println!("{:<16} {:>6} {:>10} {:>10} {:>10}", "", "n", "min", "median", "max");
        Bench { recording: String::from("case,n,min_ms\n") }
    }

    /// Times the cases in turns, so that a slow moment of the machine is shared by all of
    /// them: at least six times each, and for about three seconds.
    pub fn measure(&mut self, cases: &[Case]) {
        let mut times: Vec<Vec<Duration>> = vec![Vec::new(); cases.len()];
        let started = Instant::now();
        for round in 0.. {
            if round > 6 && started.elapsed() > Duration::from_secs(3) {
                break;
            }
            for ((_, _, run), times) in cases.iter().zip(&mut times) {
                let time = run();
                if round > 0 {
                    times.push(time);
                }
            }
        }
        for ((case, n, _), times) in cases.iter().zip(&mut times) {
            times.sort();
            let ms = |time: Duration| time.as_secs_f64() * 1e3;
            let (min, max) = (ms(times[0]), ms(times[times.len() - 1]));
            let median = ms(times[times.len() / 2]);
            println!("{case:<16} {n:>6} {min:>8.3}ms {median:>8.3}ms {max:>8.3}ms");
            self.recording += &format!("{case},{n},{min:.4}\n");
        }
    }

    /// If the command line has `--record`, keeps the shortest times in
    /// `benches/recorded.csv` of the chapter whose manifest lies in `folder`.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn finish(self, folder: &str) -> io::Result<()> {
        if std::env::args().any(|argument| argument == "--record") {
            let path = Path::new(folder).join("benches/recorded.csv");
            std::fs::write(&path, self.recording)?;
            println!("recorded in {}; now draw the plots", path.display());
        }
        Ok(())
    }
}

/// How long `run` takes, without what becomes of its result.
pub fn timed<T>(run: impl FnOnce() -> T) -> Duration {
    let start = Instant::now();
    let result = black_box(run());
    let time = start.elapsed();
    drop(result);
    time
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
    use super::{sum, sum_on_all_cores};

    #[test]
    fn every_number_is_summed_once() {
        for count in [0, 1, 63, 64, 65, 5000, 1 << 17] {
            let numbers = vec![1.0; count];
            assert_eq!(sum(&numbers), count as f32);
            assert_eq!(sum_on_all_cores(&[&numbers, &numbers]), 2.0 * count as f32);
        }
    }
}
