//! Times the versions of the chapter one after the other, sizes of tiles, decoding beside
//! the bare reading of memory, and Linformer beside the finished pass; and measures how much
//! memory a pass asks for.
//!
//!     cargo bench -p flash               print the times
//!     cargo bench -p flash -- --record   and keep them in benches/recorded.csv and memory.csv

use anyhow::{Context, Result, ensure};
use attention::{Mask, attend};
use chapter_cli::bench::{Bench, Roofs, Turns, record, sum_on_all_cores, timed, tried};
use decoding::experiments::Appending;
use flash::experiments::{
    CACHED, CONDENSED, CONDENSED_ROWS, DECODE, HEAD_DIM, HEADS, LENGTHS, TILES, TIMED,
    VERSIONS, normal,
};
use flash::kernel::{Tuning, Vectors};
use flash::{Tile, attend_tuned, decode};
use grouped_query::{Groups, attend_stacked};
use linformer::attend_condensed;
use linformer::experiments::random;
use nalgebra::{DMatrix, DMatrixView};
use std::fs;
use std::hint::black_box;
use std::process::Command;
use std::rc::Rc;

/// Where a process of this benchmark leaves its rows for another.
const ROWS: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/versions.csv");
/// Processes of a case whose memory is measured.
const PROCESSES: usize = 3;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().collect();
    if let Some(at) = arguments.iter().position(|a| a == "--peak") {
        return peak(&arguments[at + 1], arguments[at + 2].parse()?);
    }
    if arguments.iter().any(|a| a == "--versions") {
        return versions();
    }
    match memory()? {
        Some(rows) => record(env!("CARGO_MANIFEST_DIR"), "memory.csv", "MiB", &rows)?,
        None => println!("no /proc/self/status here, so memory is not measured"),
    }
    println!(
        "on this processor \"vectors up to 8\" hold {} numbers, and \"widest vectors\" {}",
        Vectors::UpToEight.lanes(),
        Vectors::Widest.lanes(),
    );
    // Most versions are on one core, and so are their products only if that is said before
    // the first product of the process.
    let mut one_core = Command::new(std::env::current_exe()?);
    one_core.args(&arguments[1..]).arg("--versions").env("MATMUL_NUM_THREADS", "1");
    ensure!(one_core.status()?.success(), "the benchmark of the versions failed");

    let roofs = Roofs::new();
    let mut turns = Turns::new();
    roofs.take_turns(&mut turns);
    tiles(&mut turns)?;
    decoding(&mut turns)?;
    beside_linformer(&mut turns)?;
    let mut bench = Bench::start();
    bench.measure(turns);
    bench.keep_rows(&fs::read_to_string(ROWS).with_context(|| ROWS)?);
    Ok(bench.finish(env!("CARGO_MANIFEST_DIR"))?)
}

/// Each version of the chapter on the same queries, keys and values, full and causal.
fn versions() -> Result<()> {
    let all = Rc::new([1, 2, 3].map(|seed| normal(TIMED, HEADS * HEAD_DIM, seed)));
    let groups = Groups::new(HEADS, HEADS)?;
    let one = Rc::new(rayon::ThreadPoolBuilder::new().num_threads(1).build()?);
    let mut turns = Turns::new();
    for (suffix, mask) in [("full", Mask::None), ("causal", Mask::Causal { offset: 0 })]
    {
        for version in VERSIONS {
            let (all, one, mask) = (Rc::clone(&all), Rc::clone(&one), mask.clone());
            turns.add(&format!("{}_{suffix}", version.name), TIMED, move || {
                let [q, k, v] = &*all;
                let run = || tried(|| version.run(q, k, v, groups, &mask));
                if version.cores == 1 { one.install(run) } else { run() }
            });
        }
    }
    let mut bench = Bench::start();
    bench.measure(turns);
    fs::write(ROWS, bench.rows()).with_context(|| ROWS)
}

/// The finished pass with other numbers of keys in a tile.
fn tiles(turns: &mut Turns) -> Result<()> {
    let all = Rc::new([1, 2, 3].map(|seed| normal(TIMED, HEADS * HEAD_DIM, seed)));
    let groups = Groups::new(HEADS, HEADS)?;
    for keys in TILES {
        let all = Rc::clone(&all);
        let tuning = Tuning { tile: Tile { queries: 128, keys }, ..Tuning::default() };
        turns.add("tile", keys, move || {
            let [q, k, v] = &*all;
            let (k, v) = (k.as_view(), v.as_view());
            tried(|| attend_tuned(q, k, v, groups, &Mask::None, tuning))
        });
    }
    Ok(())
}

/// One token of 32 query heads over a long cache, here and in chapter 5, a plain sum of the
/// same cache, and what a step does before it attends.
fn decoding(turns: &mut Turns) -> Result<()> {
    let q = Rc::new(normal(1, 32 * 128, 1));
    for kv_heads in DECODE {
        let cache = Rc::new([2, 3].map(|seed| normal(CACHED, kv_heads * 128, seed)));
        let groups = Groups::new(32, kv_heads)?;
        let steps: [(&str, Step); 2] = [
            ("stacked", |q, k, v, groups| {
                black_box(attend_stacked(q, k, v, groups)).expect("the shapes fit");
            }),
            ("decode", |q, k, v, groups| {
                black_box(decode(q, k, v, groups)).expect("the shapes fit");
            }),
        ];
        for (name, step) in steps {
            let (q, cache) = (Rc::clone(&q), Rc::clone(&cache));
            turns.add(name, kv_heads, move || {
                let [k, v] = cache.each_ref().map(DMatrix::as_view);
                timed(|| step(&q, k, v, groups))
            });
        }
        turns.add("read_cache", kv_heads, move || {
            let [k, v] = cache.each_ref().map(DMatrix::as_slice);
            timed(|| sum_on_all_cores(&[k, v]))
        });
        let mut appending = Appending::new(CACHED, kv_heads * 128)?;
        turns.add("append", kv_heads, move || appending.one());
    }
    Ok(())
}

type Step = fn(&DMatrix<f32>, DMatrixView<f32>, DMatrixView<f32>, Groups);

/// One head over n: this chapter's pass, which has all keys, beside Linformer, which has
/// 256 rows that are made of them.
fn beside_linformer(turns: &mut Turns) -> Result<()> {
    let one = Groups::new(1, 1)?;
    for n in CONDENSED {
        let all = Rc::new([1, 2, 3].map(|seed| normal(n, HEAD_DIM, seed)));
        let along = [random(CONDENSED_ROWS, n, 4)?, random(CONDENSED_ROWS, n, 5)?];
        let same = Rc::clone(&all);
        turns.add("one_head", n, move || {
            let [q, k, v] = &*same;
            tried(|| flash::attend(q, k.as_view(), v.as_view(), one, &Mask::None))
        });
        let same = Rc::clone(&all);
        turns.add("one_head_matrix", n, move || {
            let [q, k, v] = same.each_ref().map(DMatrix::as_view);
            tried(|| attend(q, k, v, &Mask::None))
        });
        turns.add("linformer", n, move || {
            let ([q, k, v], [e, f]) = (all.each_ref().map(DMatrix::as_view), &along);
            tried(|| attend_condensed(q, k, v, e, f))
        });
    }
    Ok(())
}

/// The rows of what a pass of eight heads adds to the memory of a process, a few processes
/// for each.
fn memory() -> Result<Option<String>> {
    if !std::path::Path::new("/proc/self/status").exists() {
        return Ok(None);
    }
    let mut rows = String::new();
    for case in ["flash", "matrix"] {
        for n in LENGTHS {
            let mut mib = Vec::new();
            for _ in 0..PROCESSES {
                let mut alone = Command::new(std::env::current_exe()?);
                let ran = alone.args(["--peak", case, &n.to_string()]).output()?;
                mib.push(String::from_utf8(ran.stdout)?.trim().parse::<f64>()?);
            }
            mib.sort_by(f64::total_cmp);
            let [low, median, high] = [mib[0], mib[PROCESSES / 2], mib[PROCESSES - 1]];
            println!("{case:<20} {n:>6} {low:>9.1} {median:>9.1} {high:>9.1} MiB");
            rows +=
                &format!("{case},{n},{median:.1},{low:.1},{high:.1},{PROCESSES},\n");
        }
    }
    Ok(Some(rows))
}

/// Prints how many MiB one case adds.
fn peak(case: &str, n: usize) -> Result<()> {
    let kib = |field: &str| -> Result<f64> {
        let status = std::fs::read_to_string("/proc/self/status")?;
        let line = status.lines().find(|line| line.starts_with(field));
        let number = line.and_then(|line| line.split_whitespace().nth(1));
        Ok(number.context("/proc/self/status is not as it was")?.parse()?)
    };
    let [q, k, v] = [1, 2, 3].map(|seed| normal(n, HEADS * HEAD_DIM, seed));
    let before = kib("VmRSS")?;
    let output = match case {
        "flash" => flash::attend(
            &q,
            k.as_view(),
            v.as_view(),
            Groups::new(HEADS, HEADS)?,
            &Mask::None,
        )?,
        _ => one_matrix_at_a_time(&q, &k, &v)?,
    };
    std::hint::black_box(output);
    println!("{:.1}", (kib("VmHWM")? - before) / 1024.0);
    Ok(())
}

/// Chapter 1's attention for one head after the other; the weights of a head are gone
/// before the next begins.
fn one_matrix_at_a_time(
    q: &DMatrix<f32>,
    k: &DMatrix<f32>,
    v: &DMatrix<f32>,
) -> Result<DMatrix<f32>> {
    let mut output = DMatrix::zeros(q.nrows(), q.ncols());
    for first in (0..q.ncols()).step_by(HEAD_DIM) {
        let head =
            |matrix: &'_ DMatrix<f32>| matrix.columns(first, HEAD_DIM).into_owned();
        let (q, k, v) = (head(q), head(k), head(v));
        let found = attend(q.as_view(), k.as_view(), v.as_view(), &Mask::None)?;
        output.columns_mut(first, HEAD_DIM).copy_from(&found.output);
    }
    Ok(output)
}
