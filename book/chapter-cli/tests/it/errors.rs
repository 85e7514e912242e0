//! Whatever is wrong, there is one line about it, and no output.

use crate::common::{
    Folder, Tensor, bools, claim, f32s, file, layer, layer_and, raw, zeros,
};
use safetensors::Dtype;
use std::fmt::Write;
use std::fs;

/// A snapshot with errors of the system, which each system numbers in its own way.
#[cfg(unix)]
macro_rules! assert_system_snapshot {
    ($lines:expr) => {
        insta::with_settings!({ filters => [(r"os error \d+", "os error N")] }, {
            insta::assert_snapshot!($lines);
        });
    };
}

/// What is wrong, the file DIR/in, and the flags beside --input and --output.
type BadFile = (&'static str, Vec<u8>, &'static str);

#[test]
fn a_bad_file_gets_one_line() {
    let mut lines = String::new();
    for (wrong, bytes, flags) in bad_files() {
        let folder = Folder::new()
            .with("in", bytes)
            .with("bad", "not tensors")
            .with("few", file(&[zeros("y", &[1])]));
        let line = only_line(&folder, &format!("{FORWARD} {flags}"), 1);
        writeln!(lines, "{wrong}:\n  {line}").unwrap();
    }
    insta::assert_snapshot!(lines);
}

const FORWARD: &str = "forward --input DIR/in --output DIR/out";

fn bad_files() -> Vec<BadFile> {
    let mut cases = damaged_files();
    cases.extend(hostile_files());
    cases.extend(misnamed_tensors());
    cases.extend(misshapen_tensors());
    cases
}

fn damaged_files() -> Vec<BadFile> {
    let good = layer_and([zeros("x", &[1, 3])]);
    let cut = good[..good.len() - 5].to_vec();
    let longer = [&good[..], &[0; 3]].concat();
    let no_header = good[..40].to_vec();
    let not_utf8 = [&4_u64.to_le_bytes()[..], b"{\"\xff\"}"].concat();
    vec![
        ("empty", vec![], ""),
        ("three bytes", vec![1, 2, 3], ""),
        ("eight bytes", vec![0; 8], ""),
        ("text", b"It was the best of times, it was the worst of times".to_vec(), ""),
        ("pickle", b"PK\x03\x04\x00\x00\x08\x08\x00\x00\x00\x00".to_vec(), ""),
        ("cut in the data", cut, ""),
        ("cut in the header", no_header, ""),
        ("more than it says", longer, ""),
        ("not UTF-8", not_utf8, ""),
        ("not JSON", claim("{]", 0), ""),
        ("not an object", claim("[1, 2]", 0), ""),
        ("no tensors", claim("{}", 0), ""),
        ("half a header", claim(r#"{"x":{"dtype":"F32","#, 0), ""),
        ("no dtype", claim(r#"{"x":{"shape":[1],"data_offsets":[0,4]}}"#, 4), ""),
        ("unknown dtype", claim(&one("F33", "[1]", "[0,4]"), 4), ""),
        ("negative shape", claim(&one("F32", "[-1]", "[0,4]"), 4), ""),
        ("half a shape", claim(&one("F32", "[0.5]", "[0,4]"), 4), ""),
        ("metadata of numbers", claim(r#"{"__metadata__":{"a":1}}"#, 0), ""),
        ("x is bad", good.clone(), "--x DIR/bad"),
        ("x holds no x", good, "--x DIR/few"),
    ]
}

/// A header with one tensor.
fn one(dtype: &str, shape: &str, offsets: &str) -> String {
    let info =
        format!(r#"{{"dtype":"{dtype}","shape":{shape},"data_offsets":{offsets}}}"#);
    format!(r#"{{"scale.weight":{info}}}"#)
}

fn hostile_files() -> Vec<BadFile> {
    let two_to_63 = [&(1_u64 << 63).to_le_bytes()[..], b"{}"].concat();
    let all_ones = [&u64::MAX.to_le_bytes()[..], b"{}"].concat();
    let nested = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let overlap = r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},
        "b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}"#;
    let gap = r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}"#;
    let twice = r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},
        "a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}"#;
    let wide = one("F32", "[0, 1000000000000]", "[0,0]");
    let overflow = one("F32", "[4294967296, 4294967296, 4294967296]", "[0,0]");
    let flat = format!("[{}]", vec!["1"; 10_000].join(","));
    vec![
        ("header of 2^63 bytes", two_to_63, ""),
        ("header of 2^64 - 1 bytes", all_ones, ""),
        ("deep JSON", claim(&nested, 0), ""),
        ("overlapping tensors", claim(overlap, 12), ""),
        ("a gap before a tensor", claim(gap, 8), ""),
        ("the same name twice", claim(twice, 8), ""),
        ("offsets backwards", claim(&one("F32", "[1]", "[4,0]"), 4), ""),
        ("offsets beyond the file", claim(&one("F32", "[100]", "[0,400]"), 4), ""),
        ("offsets beyond counting", claim(&one("F32", "[1]", "[0,1e30]"), 4), ""),
        ("shape larger than offsets", claim(&one("F32", "[2]", "[0,4]"), 4), ""),
        ("shape that overflows", claim(&overflow, 0), ""),
        ("sizes that overflow together", claim(&huge_tensors(), 0), ""),
        ("half a byte", claim(&one("F4", "[1]", "[0,1]"), 1), ""),
        ("nothing, but wide", claim(&wide, 0), ""),
        ("ten thousand dimensions", claim(&one("F32", &flat, "[0,4]"), 4), ""),
        ("ten thousand long names", claim(&hostile_names(), 0), ""),
        ("a long dtype", claim(&one(&"F".repeat(10_000), "[1]", "[0,4]"), 4), ""),
    ]
}

/// Eight tensors, of 2^61 - 1 bytes each: with the header, more than a u64 can count.
fn huge_tensors() -> String {
    let size = (1_u64 << 61) - 1;
    let tensors: Vec<String> = (0..8)
        .map(|i| {
            let offsets = [i * size, (i + 1) * size];
            format!(
                r#""{i}":{{"dtype":"U8","shape":[{size}],"data_offsets":{offsets:?}}}"#
            )
        })
        .collect();
    format!("{{{}}}", tensors.join(","))
}

/// Tensors without data, each with a name of a thousand characters, of which some would
/// clear the terminal.
fn hostile_names() -> String {
    let tensors: Vec<String> = (0..10_000)
        .map(|i| {
            let name = format!(r"{i:05}\n\u001b[2J\r{}", "é".repeat(990));
            format!(r#""{name}":{{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}"#)
        })
        .collect();
    format!("{{{}}}", tensors.join(","))
}

fn misnamed_tensors() -> Vec<BadFile> {
    let x = || zeros("x", &[1, 3]);
    let weight = |name: &str| zeros(name, &[2, 3]);
    let many: Vec<_> = (0..33).map(|i| weight(&format!("h.{i}.weight"))).collect();
    let newline = file(&[weight("scale\n.weight"), x()]);
    vec![
        ("no weight", file(&[x()]), ""),
        ("misspelt weight", file(&[weight("scael.weight"), weight("other"), x()]), ""),
        ("another weight", file(&[weight("q_proj.weight"), x()]), ""),
        ("33 others", file(&many), ""),
        ("no prefix", file(&[weight("l.0.scale.weight"), x()]), ""),
        ("needless prefix", file(&[weight("scale.weight"), x()]), "--prefix l.0."),
        (
            "prefix of layer 1",
            file(&[weight("l.10.scale.weight"), x()]),
            "--prefix l.1",
        ),
        ("a name of two lines", newline, ""),
        ("no x", file(&layer()), ""),
        ("no x behind the prefix", file(&[weight("l.scale.weight")]), "--prefix l."),
    ]
}

fn misshapen_tensors() -> Vec<BadFile> {
    let [weight, bias] = layer();
    let [x, weight_of] = [
        |shape: &[usize]| zeros("x", shape),
        |shape: &[usize]| zeros("scale.weight", shape),
    ];
    let i64s = |name: &str, shape: &[usize]| {
        raw(name, Dtype::I64, shape, vec![0; 8 * shape.iter().product::<usize>()])
    };
    let mask = |shape: &[usize]| bools("mask", shape, &vec![1; shape.iter().product()]);
    let context = |shape: &[usize]| zeros("context", shape);
    let with_x = |x: &[usize], more: Tensor| layer_and([zeros("x", x), more]);
    vec![
        ("weight of rank 1", file(&[weight_of(&[6]), x(&[1, 3])]), ""),
        ("weight of rank 3", file(&[weight_of(&[1, 2, 3]), x(&[1, 3])]), ""),
        ("weight of integers", file(&[i64s("scale.weight", &[2, 3])]), ""),
        ("bias of rank 2", file(&[weight, zeros("scale.bias", &[1, 2])]), ""),
        ("bias too long", file(&[weight_of(&[3, 3]), bias]), ""),
        ("x of rank 0", layer_and([f32s("x", &[], &[1.0])]), ""),
        ("x of rank 1", layer_and([x(&[14])]), ""),
        ("x of rank 4", layer_and([x(&[1, 1, 1, 3])]), ""),
        ("x of integers", layer_and([i64s("x", &[1, 3])]), ""),
        ("x of booleans", layer_and([bools("x", &[1, 3], &[1; 3])]), ""),
        ("x without features", layer_and([x(&[1_000_000, 0])]), ""),
        ("x of endless nothing", layer_and([x(&[1 << 40, 0, 3])]), ""),
        ("x too wide", layer_and([x(&[1, 4])]), ""),
        ("context of rank 1", with_x(&[2, 3], context(&[3])), ""),
        ("context without features", with_x(&[2, 3], context(&[2, 0])), ""),
        ("context of a batch, x not", with_x(&[2, 3], context(&[2, 5, 3])), ""),
        ("context of another batch", with_x(&[4, 2, 3], context(&[3, 5, 3])), ""),
        ("mask of numbers", with_x(&[2, 3], f32s("mask", &[2, 2], &[1.0; 4])), ""),
        ("mask of rank 1", with_x(&[2, 3], mask(&[2])), ""),
        ("mask of other tokens", with_x(&[2, 3], mask(&[2, 3])), ""),
        ("mask of another batch", with_x(&[4, 2, 3], mask(&[3, 2, 2])), ""),
        ("mask of a batch, x not", with_x(&[2, 3], mask(&[1, 2, 2])), ""),
        (
            "mask that forgets the context",
            layer_and([x(&[1, 2, 3]), context(&[5, 3]), mask(&[1, 2, 2])]),
            "",
        ),
        ("no heads", with_x(&[2, 3], mask(&[2, 2])), "--heads 0"),
    ]
}

// The words after the path are those of the operating system.
#[cfg(unix)]
#[test]
fn a_bad_path_gets_one_line() {
    let commands = [
        "forward --input DIR/nowhere --output DIR/out",
        "forward --input DIR --output DIR/out",
        "forward --input DIR/in/side --output DIR/out",
        "forward --input DIR/in --output DIR/out --x DIR/nowhere",
        "forward --input DIR/in --output DIR/nowhere/out",
        "forward --input DIR/in --output DIR/in/side",
        "forward --input DIR/in --output DIR",
        "forward --input DIR/in --output DIR/folder/",
        "plots --out DIR/in",
        "plots --out DIR/in/side",
    ];
    let mut lines = String::new();
    for command in commands {
        let folder = Folder::new().with("in", layer_and([zeros("x", &[1, 3])]));
        let line = only_line(&folder, command, 1);
        writeln!(lines, "{command}\n  {line}").unwrap();
    }
    assert_system_snapshot!(lines);
}

#[test]
fn a_wrong_flag_gets_one_line() {
    let commands = [
        "--hlep",
        "forwrad",
        "draw",
        "--input DIR/in",
        "plots --in DIR/in",
        "plots forward",
        "forward",
        "forward --input DIR/in",
        "forward --input DIR/in --output DIR/out --hedas 2",
        "forward --input DIR/in --output DIR/out --heads",
        "forward --input DIR/in --output DIR/out --heads two",
        "forward --input DIR/in --output DIR/out --heads=-1",
        "forward --input DIR/in --output DIR/out --heads 1 --heads 2",
        "forward --input DIR/in --output DIR/out --repeat 0",
        "forward --input DIR/in --output DIR/out --repeat -3",
        "forward --input DIR/in --output DIR/out --repeat 1.5",
        "forward --input DIR/in --output DIR/out --repeat 5000000000",
        "forward --input DIR/in --output DIR/out --prefix",
        "forward --input DIR/in --output DIR/out stray",
        "forward --input DIR/in --output= ",
    ];
    let mut lines = String::new();
    for command in commands {
        let folder = Folder::new().with("in", layer_and([zeros("x", &[1, 3])]));
        let line = only_line(&folder, command, 2);
        writeln!(lines, "{command}\n  {line}").unwrap();
    }
    insta::assert_snapshot!(lines);
}

#[test]
fn an_argument_of_many_lines_still_gets_one_line() {
    let folder = Folder::new();
    for argument in
        ["a\n\nUsage: \u{1b}[31mb", "--\u{1b}c\r\n", &"long ".repeat(10_000)]
    {
        let ran = folder.run_each(["forward", "--heads", argument]);
        assert_eq!(ran.code, 2);
        assert_one_line(&ran.stderr);
        let input = ["forward", "--output", "DIR/out", "--input", argument];
        assert_one_line(&folder.run_each(input).stderr);
    }
}

#[test]
fn an_output_that_is_there_survives_a_failure() {
    let folder = Folder::new().with("in", layer_and([zeros("x", &[1, 4])]));
    let folder = folder.with("out", "precious");
    only_line(&folder, FORWARD, 1);
    assert_eq!(fs::read(folder.path("out")).unwrap(), b"precious");
}

#[cfg(unix)]
mod unix {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::os::unix::net::UnixListener;

    #[test]
    fn what_is_not_a_file_is_neither_read_nor_replaced() {
        let folder = Folder::new().with("in", layer_and([zeros("x", &[1, 3])]));
        let _socket = UnixListener::bind(folder.path("socket")).unwrap();
        symlink("loop", folder.path("loop")).unwrap();
        let commands = [
            "forward --input DIR/in --output /dev/null",
            "forward --input DIR/in --output DIR/socket",
            "forward --input DIR/in --output DIR/loop",
            "forward --input /dev/zero --output DIR/out",
            "forward --input DIR/socket --output DIR/out",
            "forward --input DIR/loop --output DIR/out",
        ];
        let mut lines = String::new();
        for command in commands {
            writeln!(lines, "{command}\n  {}", only_line(&folder, command, 1)).unwrap();
        }
        assert_system_snapshot!(lines);
    }

    #[test]
    fn a_name_that_no_file_can_have_is_found_before_the_computation() {
        let folder = Folder::new().with("in", layer_and([zeros("x", &[1, 4])]));
        let long = "o".repeat(300);
        for (command, cannot) in [
            (format!("forward --input DIR/in --output DIR/{long}"), "cannot write"),
            (format!("forward --output DIR/out --input DIR/{long}"), "cannot read"),
        ] {
            let line = only_line(&folder, &command, 1);
            assert!(line.contains(cannot) && line.contains("name too long"), "{line}");
        }
    }

    #[test]
    fn a_read_only_place_stays_as_it_is() {
        let folder = Folder::new().with("in", layer_and([zeros("x", &[1, 3])]));
        let folder = folder.with("out", "precious");
        let locked = folder.path("locked");
        fs::create_dir(&locked).unwrap();
        for (path, mode) in [(&locked, 0o555), (&folder.path("out"), 0o444)] {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        }
        // Nothing is read-only to root, who may run this in a container.
        let root = fs::write(locked.join("probe"), "").is_ok();
        for command in ["DIR/locked/out", "DIR/out"] {
            let ran = folder.run(&format!("forward --input DIR/in --output {command}"));
            assert_eq!(ran.code, u8::from(!root), "{ran:?}");
            if !root {
                assert_one_line(&ran.stderr);
                let wanted = format!("error: cannot write {command}: ");
                let reason = ran.stderr.strip_prefix(&wanted).unwrap();
                assert!(
                    reason.to_lowercase().contains("permission denied"),
                    "{reason}"
                );
            }
        }
        fs::set_permissions(&locked, fs::Permissions::from_mode(0o755)).unwrap();
    }
}

/// What a failing command says, having left the folder as it was.
#[track_caller]
fn only_line(folder: &Folder, command: &str, code: u8) -> String {
    let before = folder.content();
    let ran = folder.run(command);
    assert_eq!(ran.code, code, "{command}: {ran:?}");
    assert_eq!(ran.stdout, "", "{command}");
    assert!(folder.content() == before, "{command} changed the folder");
    assert_one_line(&ran.stderr);
    ran.stderr.trim_end().to_owned()
}

#[track_caller]
fn assert_one_line(stderr: &str) {
    let line = stderr.strip_suffix('\n').expect("a line ends");
    assert!(line.starts_with("error: "), "{line}");
    assert!(!line.chars().any(char::is_control), "{line:?}");
    assert!(line.chars().count() < 1_600, "{line}");
}
