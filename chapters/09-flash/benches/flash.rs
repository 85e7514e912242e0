//! Times the versions of the chapter one after the other, sizes of tiles, and decoding
//! beside the bare reading of memory; and measures how much memory a pass asks for.
//!
//!     cargo bench -p flash               print the figures
//!     cargo bench -p flash -- --record   and keep them in benches/recorded.csv and memory.csv

use anyhow::{Context, Result};
use attention::{Mask, attend};
use chapter_cli::bench::{Bench, sum_on_all_cores, timed};
use flash::experiments::{
    CACHED, DECODE, HEAD_DIM, HEADS, TILES, TIMED, VERSIONS, Version, normal,
};
use flash::kernel::{Tuning, Vectors};
use flash::{Tile, attend_tuned, decode};
use grouped_query::{Groups, attend_stacked};
use nalgebra::DMatrix;
use std::process::Command;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().collect();
    if let Some(at) = arguments.iter().position(|a| a == "--peak") {
        return peak(&arguments[at + 1], arguments[at + 2].parse()?);
    }
    // The products of the plain versions would use all cores, if not told otherwise
    // before the first of them.
    if std::env::var_os("MATMUL_NUM_THREADS").is_none() {
        let mut again = Command::new(std::env::current_exe()?);
        again.args(&arguments[1..]).env("MATMUL_NUM_THREADS", "1");
        anyhow::ensure!(again.status()?.success(), "the benchmark failed");
        return Ok(());
    }
    let memory = memory()?;
    println!(
        "on this processor \"vectors up to 8\" hold {} numbers, and \"widest vectors\" {}",
        Vectors::UpToEight.lanes(),
        Vectors::Widest.lanes(),
    );
    let mut table = Bench::start();
    versions(&mut table)?;
    tiles(&mut table)?;
    decoding(&mut table)?;
    table.finish(env!("CARGO_MANIFEST_DIR"))?;
    if arguments.iter().any(|a| a == "--record") {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/memory.csv");
        std::fs::write(path, memory).with_context(|| format!("cannot write {path}"))?;
    }
    Ok(())
}

/// Each version of the chapter on the same queries, keys and values, full and causal.
fn versions(table: &mut Bench) -> Result<()> {
    let [q, k, v] = [1, 2, 3].map(|seed| normal(TIMED, HEADS * HEAD_DIM, seed));
    let groups = Groups::new(HEADS, HEADS)?;
    let one = rayon::ThreadPoolBuilder::new().num_threads(1).build()?;
    for (suffix, mask) in [("full", Mask::None), ("causal", Mask::Causal { offset: 0 })]
    {
        let run = |version: &Version| {
            let run = || version.run(&q, &k, &v, groups, &mask);
            if version.cores == 1 { one.install(|| timed(run)) } else { timed(run) }
        };
        let names = VERSIONS.map(|version| format!("{}_{suffix}", version.name));
        let runs = VERSIONS.map(|version| move || run(&version));
        let cases: Vec<_> = names
            .iter()
            .zip(&runs)
            .map(|(name, run)| (name.as_str(), TIMED, run as &dyn Fn() -> _))
            .collect();
        table.measure(&cases);
    }
    Ok(())
}

/// The same pass with other numbers of keys in a tile.
fn tiles(table: &mut Bench) -> Result<()> {
    let [q, k, v] = [1, 2, 3].map(|seed| normal(TIMED, HEADS * HEAD_DIM, seed));
    let groups = Groups::new(HEADS, HEADS)?;
    let run = |keys| {
        let tuning = Tuning { tile: Tile { queries: 128, keys }, ..Tuning::default() };
        let (k, v) = (k.as_view(), v.as_view());
        timed(|| attend_tuned(&q, k, v, groups, &Mask::None, tuning))
    };
    let runs = TILES.map(|keys| move || run(keys));
    let cases: Vec<_> = TILES
        .iter()
        .zip(&runs)
        .map(|(&keys, run)| ("tile", keys, run as &dyn Fn() -> _))
        .collect();
    table.measure(&cases);
    Ok(())
}

/// One token of 32 query heads over a long cache, here and in chapter 5, and a plain sum
/// of the same cache.
fn decoding(table: &mut Bench) -> Result<()> {
    let q = normal(1, 32 * 128, 1);
    for kv_heads in DECODE {
        let [k, v] = [2, 3].map(|seed| normal(CACHED, kv_heads * 128, seed));
        let read = || timed(|| sum_on_all_cores(&[k.as_slice(), v.as_slice()]));
        let (k, v) = (k.as_view(), v.as_view());
        let groups = Groups::new(32, kv_heads)?;
        let ours = || timed(|| decode(&q, k, v, groups));
        let stacked = || timed(|| attend_stacked(&q, k, v, groups));
        table.measure(&[
            ("stacked", kv_heads, &stacked),
            ("decode", kv_heads, &ours),
            ("read", kv_heads, &read),
        ]);
    }
    Ok(())
}

/// `case,n,mib`: what a pass of eight heads adds to the memory of a process, each in a
/// process of its own.
fn memory() -> Result<String> {
    let mut text = String::from("case,n,mib\n");
    if !std::path::Path::new("/proc/self/status").exists() {
        println!("no /proc here, so that memory is not measured");
        return Ok(text);
    }
    for case in ["flash", "matrix"] {
        for n in [1024, 2048, 4096, 8192, 16384] {
            let mut alone = Command::new(std::env::current_exe()?);
            let ran = alone.args(["--peak", case, &n.to_string()]).output()?;
            let line = String::from_utf8(ran.stdout)?;
            print!("{line}");
            text += &line;
        }
    }
    Ok(text)
}

/// Prints the line of [`memory`] for one case.
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
    println!("{case},{n},{:.1}", (kib("VmHWM")? - before) / 1024.0);
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
