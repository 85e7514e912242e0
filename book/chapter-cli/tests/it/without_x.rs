//! A chapter whose file holds no x: it reads what it runs on under names of its own.

use crate::common::{Folder, f32s, file, zeros};
use anyhow::{Result, ensure};
use chapter_cli::{Chapter, Described, Flag, Lack, SideBySide, Tensors};
use figures::Figure;
use nalgebra::DMatrix;

/// Doubles `heads` [h, n, d].
struct Twice;

#[derive(clap::Args)]
struct Flags {
    /// Say another number of heads than there are
    #[arg(long, default_value_t = 0)]
    more: usize,
}

impl Chapter for Twice {
    const NAME: &'static str = "twice";
    const FOLDER: &'static str = "00-twice";
    const ABOUT: &'static str = "Heads, doubled.";
    const FORWARD_HELP: &'static str = "The file holds heads [h, n, d].";
    const READS_X: bool = false;

    type Flags = Flags;
    type Layer = Vec<DMatrix<f32>>;

    fn example() -> Result<String> {
        Ok("2 · 1 = 2".into())
    }

    fn figures() -> Result<Vec<Figure>> {
        Ok(vec![])
    }

    fn flags_of(layer: &mut Described) -> Result<Vec<Flag>, Lack> {
        layer.never("its heads are not doubled")
    }

    fn load(_: &Flags, tensors: &Tensors) -> Result<Vec<DMatrix<f32>>> {
        Ok(tensors.stack("heads", "[h, n, d]")?.matrices)
    }

    fn run(heads: &Vec<DMatrix<f32>>, flags: &Flags) -> Result<SideBySide> {
        ensure!(!heads.is_empty(), "no heads");
        let columns: Vec<_> = heads.iter().flat_map(DMatrix::column_iter).collect();
        let y = DMatrix::from_columns(&columns) * 2.0;
        Ok(SideBySide { y, heads: heads.len() + flags.more })
    }
}

/// Two heads of two rows and three columns.
fn heads() -> Vec<u8> {
    let numbers: Vec<f32> = (0..12_u8).map(f32::from).collect();
    file(&[f32s("heads", &[2, 2, 3], &numbers)])
}

#[test]
fn heads_side_by_side_are_written_one_after_the_other() {
    let folder = Folder::new().with("in", heads());
    let ran = folder.forward_of::<Twice>("");
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    assert_eq!(ran.stdout, "wrote y [2, 2, 3] to DIR/out\n");
    let doubled = (0..12_u8).map(|i| 2.0 * f32::from(i)).collect();
    assert_eq!(folder.out("y"), (vec![2, 2, 3], doubled));
}

#[test]
fn it_is_timed_like_the_others() {
    let ran = Folder::new().with("in", heads()).forward_of::<Twice>("--repeat 4");
    let lines: Vec<&str> = ran.stdout.lines().collect();
    assert!(lines[0].starts_with("forward: min ") && lines[0].ends_with("(4 runs)"));
    assert_eq!(lines[1], "wrote y [2, 2, 3] to DIR/out");
}

#[test]
fn rows_may_be_none() {
    let folder = Folder::new().with("in", file(&[zeros("heads", &[2, 0, 3])]));
    assert_eq!(folder.forward_of::<Twice>("").code, 0);
    assert_eq!(folder.out("y"), (vec![2, 0, 3], vec![]));
}

#[test]
fn what_fails_is_told_in_one_line_and_nothing_is_written() {
    for (input, flags, code, says) in [
        (file(&[zeros("x", &[2, 3])]), "", 1, "no tensor `heads` in DIR/in"),
        (file(&[zeros("heads", &[0, 2, 3])]), "", 1, "no heads"),
        (heads(), "--more 3", 1, "6 columns cannot be split among 5 heads"),
        (heads(), "--x DIR/in", 2, "unexpected argument '--x': twice reads no x"),
    ] {
        let folder = Folder::new().with("in", input);
        let ran = folder.forward_of::<Twice>(flags);
        assert_eq!((ran.code, ran.stdout.as_str()), (code, ""), "{flags}");
        assert!(ran.stderr.starts_with(&format!("error: {says}")), "{}", ran.stderr);
        assert_eq!(ran.stderr.lines().count(), 1);
        assert!(!folder.path("out").exists());
    }
}

#[test]
fn its_help_does_not_speak_of_x() {
    let help = Folder::new().run_of::<Twice>("forward --help").stdout;
    assert!(help.contains("The file holds heads [h, n, d]."), "{help}");
    assert!(!help.contains("--x") && !help.contains("x is [n, d]"), "{help}");
    let help = Folder::new().run("forward --help").stdout;
    assert!(help.contains("--x") && help.contains("x is [n, d]"), "{help}");
}
