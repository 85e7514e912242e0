//! What the first command compiles, the tests use as it is. Cargo compiles a crate again
//! for every set of features that is asked of it, and whatever stands on that crate too.

use std::{collections::BTreeSet, process::Command};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

/// Every package below those asked for, with the features that it is compiled with.
fn compiled(arguments: &[&str]) -> BTreeSet<String> {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--offline", "--locked", "--prefix=none", "--no-dedupe"])
        .args(["--format", "{p} {f}"])
        .args(arguments)
        .current_dir(ROOT)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn the_tests_use_what_the_first_command_has_compiled() {
    let first = compiled(&["--package=weave", "--edges=normal,build"]);
    let all = compiled(&["--workspace", "--edges=normal,build,dev"]);
    assert!(first.len() > 100 && all.len() > first.len(), "{}", first.len());
    let again: Vec<&String> = first.difference(&all).collect();
    assert!(
        again.is_empty(),
        "`cargo test --workspace` compiles these with more features, and again; ask for \
         these in book/weave/Cargo.toml: {again:#?}"
    );
}
