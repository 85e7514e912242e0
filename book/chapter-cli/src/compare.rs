//! `compare`: what another program gives beside what the layer here does.

use crate::batch::Batch;
use crate::configured::Configured;
use crate::forward::{Inputs, Places};
use crate::message::{one_line, shape};
use crate::tensors::Tensors;
use crate::unread::expect_all_read;
use crate::{Chapter, TensorError};
use anyhow::{Result, anyhow, bail};
use nalgebra::DMatrix;
use serde_json::json;
use slips::{Compare, Differ, Finding, Named, Part, Rounding, Trace, Verdict, Yours};
use std::io::Write;
use std::path::PathBuf;

/// The flags of `compare`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments<F: clap::Args> {
    /// The safetensors file that holds the layer
    #[arg(long, value_name = "FILE")]
    input: PathBuf,

    /// The safetensors file that holds what your program gives
    #[arg(long, value_name = "FILE")]
    yours: PathBuf,

    /// The config.json of the model, which sets the flags of the layer
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// With --config: which layer it is, counted from 0
    #[arg(long, value_name = "N", requires = "config")]
    layer: Option<usize>,

    /// The file that holds x, if it is not the input
    #[arg(long, value_name = "FILE")]
    pub(crate) x: Option<PathBuf>,

    /// Go on without a tensor of the input, as if it were not there; may be repeated
    #[arg(long, value_name = "NAME")]
    ignore: Vec<String>,

    /// What stands before the names of the layer's tensors
    #[arg(long, default_value = "", hide_default_value = true)]
    prefix: String,

    /// Print one line of JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    flags: F,
}

/// What the file of the other program may hold.
pub(crate) const FILES_OF_YOURS: &str = "\
Your file holds at least one of these, in F32, F16 or BF16, with a leading b where x has
one:
  q, k, v            [n, heads · width], [heads, n, width] or [n, heads, width]; queries
                     and keys before or after they are turned
  scores             [heads, n, m], with the mask or without it
  attention_weights  [heads, n, m]
  heads              as q: what the heads found, before the output projection
  y                  [n, d_out]
The more of them, the less there is to search for.

It exits with 0 if they agree, also where yours are rounded to bf16 or f16; with 3 if they
differ. Then it says which is the first that differs, where, and which slip, or which two at
once, give exactly your numbers.";

/// Compares, and says whether they agree.
///
/// # Errors
/// When a file, a tensor or a flag is not as it should be.
pub(crate) fn compare<C: Chapter>(
    arguments: &Arguments<C::Flags>,
    configured: Option<&Configured>,
    stdout: &mut dyn Write,
) -> Result<bool> {
    if !C::COMPARES {
        bail!("{} has no layer to compare with", C::NAME);
    }
    let places = Places {
        input: &arguments.input,
        x: arguments.x.as_deref(),
        prefix: &arguments.prefix,
        ignore: &arguments.ignore,
        layer: arguments.layer,
    };
    let Inputs { input, x_file, prefix } = &Inputs::open(&places)?;
    let tensors = input.with_prefix(prefix);
    let expected = configured.map(Configured::expected);
    if let Some(expected) = &expected {
        expected.expect_tensors(&tensors)?;
    }
    let flags = &arguments.flags;
    let layer = match configured {
        Some(configured) => C::load_described(configured.layer(), flags, &tensors)?,
        None => C::load(flags, &tensors)?,
    };
    let theirs = Theirs::open(&arguments.yours)?;
    let mut verdicts = Vec::new();
    if C::READS_X {
        let batch = Batch::read(input, x_file.as_ref(), prefix)?;
        if let Some(expected) = &expected {
            expected.expect_tokens(batch.m)?;
            expected.expect_masks(batch.sequences.iter().flat_map(|one| &one.mask))?;
        }
        expect_all_read(&tensors, x_file.as_ref(), C::NAME)?;
        let all = batch.sequences.len();
        for (at, sequence) in batch.sequences.iter().enumerate() {
            let ours = C::compared(&layer, &arguments.flags, sequence)?;
            let of_batch = batch.size.is_some().then_some([at, all]);
            verdicts.push(theirs.verdict(&*ours, of_batch)?);
        }
    } else {
        expect_all_read(&tensors, None, C::NAME)?;
        let ours = C::compared_run(&layer, &arguments.flags)?;
        verdicts.push(theirs.verdict(&*ours, None)?);
    }
    let worst = verdicts.iter().map(|verdict| verdict.worst).fold(0.0, f32::max);
    let differs = |verdict: &&Verdict| matches!(verdict.finding, Finding::Differ(_));
    let count = verdicts.iter().filter(differs).count();
    let told = verdicts.iter().enumerate().find(|(_, verdict)| differs(verdict));
    if arguments.json {
        writeln!(stdout, "{}", in_json(worst, told.map(|(_, v)| v), &verdicts))?;
    } else {
        let text = match told {
            None => agreement(worst, &verdicts),
            Some((at, verdict)) => {
                let which = match verdicts.len() {
                    1 => String::new(),
                    all => {
                        format!("in {count} of {all} sequences, as in sequence {at}: ")
                    }
                };
                format!("{which}{}", difference(verdict))
            }
        };
        writeln!(stdout, "{text}")?;
    }
    Ok(told.is_none())
}

/// The file of the other program.
struct Theirs {
    file: Tensors,
    held: Vec<Part>,
}

impl Theirs {
    fn open(path: &std::path::Path) -> Result<Self> {
        let file = Tensors::open(path)?;
        let held: Vec<Part> =
            Part::ALL.into_iter().filter(|part| file.contains(part.name())).collect();
        if held.is_empty() {
            let names = Part::ALL.map(Part::name).join(", ");
            bail!("--yours: no tensor to compare; wanted y, or any of {names}");
        }
        Ok(Theirs { file, held })
    }

    /// What comes of one sequence, `[which, of how many]` if there is a batch.
    fn verdict(
        &self,
        ours: &dyn Compare,
        of_batch: Option<[usize; 2]>,
    ) -> Result<Verdict> {
        let misfit = |_| anyhow!("the sizes of the layer do not fit together");
        let right = ours.right().map_err(misfit)?;
        let mut yours = Yours::default();
        for &part in &self.held {
            yours = yours.with(part, self.read(part, &right, of_batch)?);
        }
        ours.compare(&yours).map_err(misfit)
    }

    /// A part as matrices, in whichever way it was written down: if in more than one, the
    /// one that is nearest to ours.
    fn read(
        &self,
        part: Part,
        right: &Trace,
        of_batch: Option<[usize; 2]>,
    ) -> Result<Vec<DMatrix<f32>>, TensorError> {
        let name = part.name();
        let values = self.file.values(name)?;
        let (mut dims, mut numbers) = (values.shape, &values.numbers[..]);
        if let (Some([at, all]), Some((&first, rest))) = (of_batch, dims.split_first())
            && first == all
        {
            let each = numbers.len() / all.max(1);
            numbers = &numbers[at * each..(at + 1) * each];
            dims = rest.to_vec();
        }
        let (rank, flat) = if part.is_of_maps() { (3, 2) } else { (2, 2) };
        while dims.len() > rank && dims[0] == 1 && (dims.len() > 3 || rank == 2) {
            dims.remove(0);
        }
        if dims.len() == flat && part.is_of_maps() {
            dims.insert(0, 1);
        }
        let ways = if part.is_of_maps() {
            maps(&dims, numbers).into_iter().collect()
        } else {
            flat_ways(&dims, numbers)
        };
        let nearest = ways.into_iter().min_by(|one, two| {
            right.distance(part, one).total_cmp(&right.distance(part, two))
        });
        let wanted = if part.is_of_maps() { "[heads, n, m]" } else { "[n, width]" };
        nearest.ok_or_else(|| {
            let what = format!("shape {}, wanted {wanted}", shape(&dims));
            self.file.unclear(name, &what)
        })
    }
}

fn from_rows(rows: usize, columns: usize, numbers: &[f64]) -> DMatrix<f32> {
    DMatrix::from_row_iterator(rows, columns, numbers.iter().map(|x| *x as f32))
}

fn maps(dims: &[usize], numbers: &[f64]) -> Option<Vec<DMatrix<f32>>> {
    let &[heads, rows, columns] = dims else { return None };
    let each = rows * columns;
    let one = |h: usize| from_rows(rows, columns, &numbers[h * each..(h + 1) * each]);
    Some((0..heads).map(one).collect())
}

/// `[n, width]`; or three numbers, of which the first or the second counts the heads.
fn flat_ways(dims: &[usize], numbers: &[f64]) -> Vec<Vec<DMatrix<f32>>> {
    match *dims {
        [rows, columns] => vec![vec![from_rows(rows, columns, numbers)]],
        [a, b, width] => {
            let by_heads = DMatrix::from_fn(b, a * width, |row, column| {
                numbers[(column / width * b + row) * width + column % width] as f32
            });
            vec![vec![from_rows(a, b * width, numbers)], vec![by_heads]]
        }
        _ => Vec::new(),
    }
}

/// Three digits, as in `3e-7`.
fn digits(x: f32) -> String {
    if x == 0.0 || (0.001..1000.0).contains(&x) {
        let rounded = format!("{x:.3}");
        return rounded.trim_end_matches('0').trim_end_matches('.').to_owned();
    }
    format!("{x:.0e}")
}

fn agreement(worst: f32, verdicts: &[Verdict]) -> String {
    let how = verdicts.iter().find_map(|verdict| match verdict.finding {
        Finding::Agree(how @ (Rounding::Brain | Rounding::Half)) => Some(how),
        _ => None,
    });
    let worst = digits(worst);
    match how {
        Some(how) => format!(
            "agrees to {worst}: your numbers are ours in {}, which keeps {} digits",
            type_of(how),
            if how == Rounding::Brain { "two to three" } else { "three to four" }
        ),
        None => format!("agrees to {worst}"),
    }
}

fn type_of(rounding: Rounding) -> &'static str {
    match rounding {
        Rounding::Brain => "bf16",
        Rounding::Half => "f16 or TF32",
        Rounding::None | Rounding::Sums => "f32",
    }
}

fn difference(verdict: &Verdict) -> String {
    let Finding::Differ(differ) = &verdict.finding else { return String::new() };
    let Differ { first, off, size, place, ways, relation } = differ;
    let by = match off {
        Some(off) => {
            format!(" by up to {} (ours go up to {})", digits(*off), digits(*size))
        }
        None => String::new(),
    };
    let mut lines =
        vec![format!("{} is the first to differ{by}: {place}", first.name())];
    for (at, way) in ways.iter().enumerate() {
        let when = match (at, way.len()) {
            (0, 1) => "this is what one slip gives:",
            (0, _) => "this is what two slips give together:",
            _ => "the same numbers come of:",
        };
        lines.push(when.to_owned());
        lines.extend(way.iter().map(told));
    }
    if ways.is_empty() {
        lines.push(match relation {
            Some(relation) => format!("no slip that is known gives it; {relation}"),
            None => "no slip that is known here gives it, alone or with another".into(),
        });
    }
    lines.iter().map(|line| one_line(line)).collect::<Vec<_>>().join("\n")
}

fn told(slip: &Named) -> String {
    let Named { name, says, page, section, hidden_by, seen } = slip;
    let hidden = hidden_by.map(|input| format!("; hidden by {input}"));
    let seen: Vec<String> = seen
        .iter()
        .map(|thread| format!("{}#{}", thread.repository, thread.number))
        .collect();
    let seen = match seen.len() {
        0 => String::new(),
        _ => format!("; seen in {}", seen.join(", ")),
    };
    let hidden = hidden.unwrap_or_default();
    format!("  {name}: {says} (book/src/{page}.md#{section}{hidden}{seen})")
}

fn in_json(
    worst: f32,
    differs: Option<&Verdict>,
    verdicts: &[Verdict],
) -> serde_json::Value {
    let worst = worst.is_finite().then_some(worst);
    if let Some(Finding::Differ(differ)) = differs.map(|verdict| &verdict.finding) {
        let names = |way: &Vec<Named>| -> Vec<&str> {
            way.iter().map(|slip| slip.name).collect()
        };
        return json!({
            "agrees": false,
            "worst": worst,
            "first": differ.first.name(),
            "place": differ.place,
            "slips": differ.ways.first().map(names).unwrap_or_default(),
            "ways": differ.ways.iter().map(names).collect::<Vec<_>>(),
            "relation": differ.relation,
        });
    }
    let coarse = verdicts.iter().find_map(|verdict| match verdict.finding {
        Finding::Agree(how @ (Rounding::Brain | Rounding::Half)) => Some(type_of(how)),
        _ => None,
    });
    json!({ "agrees": true, "worst": worst, "precision": coarse })
}
