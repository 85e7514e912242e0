//! What the chapters' tests ask of their commands, asked of the example chapter.

use chapter_cli::testing::{Contract, Dtype, File, Program};

const FORWARD: &str = "forward --input layer --output out";

/// Cargo puts examples beside the folder of the tests, and builds both.
fn scale() -> Program {
    let test = std::env::current_exe().unwrap();
    let folder = test.ancestors().nth(2).unwrap().join("examples");
    let path = folder.join(format!("scale{}", std::env::consts::EXE_SUFFIX));
    Program::new(path.into_os_string().into_string().unwrap().leak())
}

fn layer() -> File {
    File::new().linear("scale", [2, 3]).f32s("x", &[4, 3])
}

#[test]
fn the_example_keeps_all_of_them() {
    Contract::new(scale(), FORWARD, layer()).is_kept();
    let masked = layer().with("mask", Dtype::BOOL, &[4, 4]);
    Contract::new(scale(), FORWARD, masked).is_kept();
}

#[test]
#[should_panic(expected = "which should say \"no tensor `x`\"")]
fn a_good_file_is_not_taken_for_a_bad_one() {
    scale().refuses(layer(), FORWARD, "no tensor `x`");
}

#[test]
#[should_panic(expected = "should say \"no tensor `y`\"")]
fn what_is_said_is_compared() {
    scale().refuses(layer().without("x"), FORWARD, "no tensor `y`");
}

#[test]
#[should_panic(expected = "z is not in")]
fn a_file_that_is_not_good_breaks_the_contract() {
    let spoilt = layer().renamed("x", "z");
    Contract::new(scale(), FORWARD, spoilt).is_kept();
}

#[test]
#[should_panic(expected = "which should say \"missing --heads\"")]
fn a_flag_that_can_be_left_out_breaks_the_contract() {
    let command = "forward --input layer --output out --heads 1";
    Contract::new(scale(), command, layer()).refuses_wrong_values_of_flags();
}

#[test]
#[should_panic(expected = "scale.weight is not in")]
fn help_that_is_silent_breaks_the_contract() {
    let plots = "plots --out folder";
    Contract::new(scale(), plots, layer()).help_names_what_it_reads();
}

#[test]
#[should_panic(expected = "no bias to leave out")]
fn a_file_is_not_spoilt_by_leaving_out_what_it_has_not() {
    let _ = layer().without("bias");
}
