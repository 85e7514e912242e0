//! What happens where memory ends.

use chapter_cli::testing::{File, Program};

const MULTI_HEAD: Program = Program::new(env!("CARGO_BIN_EXE_multi-head"));

/// 64 heads that look at 2,048 tokens have more weights than 800 MB hold.
#[test]
fn weights_that_do_not_fit_are_one_line_and_without_them_it_runs() {
    let layer = ["q_proj", "k_proj", "v_proj", "o_proj"]
        .iter()
        .fold(File::new(), |file, proj| file.linear(proj, [64, 64]))
        .f32s("x", &[2048, 64]);
    let forward = "forward --input layer --output out --heads 64";
    let ran = MULTI_HEAD.run_within(800_000, &layer, forward);
    let says =
        "error: the attention weights [64, 2048, 2048] take 1.1 GB, all in all 1.1 GB";
    assert!(ran.stderr.starts_with(says), "{ran:?}");
    assert!(ran.stderr.contains("--no-weights leaves them out"), "{ran:?}");
    assert_eq!((ran.code, ran.stderr.lines().count()), (1, 1));

    let lean = format!("{forward} --no-weights");
    let ran = MULTI_HEAD.run_within(800_000, &layer, &lean);
    let wrote = "wrote y [2048, 64] to out\n";
    assert_eq!((ran.code, ran.stdout.as_str(), ran.stderr.as_str()), (0, wrote, ""));
}
