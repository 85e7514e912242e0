//! `gradients`, as it is typed.

use chapter_cli::testing::{File, Program};

const LEARNING: Program = Program::new(env!("CARGO_BIN_EXE_learning"));
const FILES: &str = "--input layer --output out";

/// A layer of two heads on one key, two tokens, and the gradient of its output.
fn layer() -> File {
    File::new()
        .linear("q_proj", [4, 3])
        .linear("k_proj", [2, 3])
        .linear("v_proj", [2, 3])
        .linear("o_proj", [5, 4])
        .f32s("x", &[2, 3])
        .f32s("dy", &[2, 5])
}

const GROUPED: &str = "--mechanism grouped-query --heads 2 --kv-heads 1 --causal";

fn gradients(flags: &str) -> String {
    format!("gradients {FILES} {flags}")
}

#[test]
fn every_tensor_of_the_layer_gets_a_gradient_in_its_shape() {
    let file = layer();
    let written = LEARNING.writes(file.bytes(), &gradients(GROUPED));
    let mut wanted = vec!["dx".to_owned()];
    let of_layer = file.names().into_iter().filter(|name| name.contains("_proj"));
    wanted.extend(of_layer.map(|name| format!("d.{name}")));
    wanted.sort();
    assert_eq!(written.names(), wanted);
    for name in &wanted {
        let of = name.strip_prefix("d.").unwrap_or("x");
        assert_eq!(written.shape(name).unwrap(), file.shape(of).unwrap().0, "{name}");
    }
}

#[test]
fn names_keep_their_prefix() {
    let flags = gradients(&format!("{GROUPED} --prefix model.layers.1"));
    let written = LEARNING.writes(layer().behind("model.layers.1.").bytes(), &flags);
    assert!(
        written.contains("d.model.layers.1.q_proj.weight"),
        "{:?}",
        written.names()
    );
}

#[test]
fn it_does_not_matter_where_the_mechanism_stands() {
    let line = format!("gradients {GROUPED} {FILES}");
    let one = LEARNING.run(layer().bytes(), &line).holds("out");
    let other = LEARNING.run(layer().bytes(), &gradients(GROUPED)).holds("out");
    assert!(one.is_some());
    assert_eq!(one, other);
}

#[test]
fn a_batch_gives_a_gradient_for_each_x_and_the_sum_of_the_others() {
    let one = LEARNING.writes(layer().bytes(), &gradients(GROUPED));
    let twice = |name: &str| {
        let file = layer();
        let (shape, _) = file.shape(name).unwrap();
        [&[1], shape].concat()
    };
    let batch = layer().without("x").without("dy");
    let batch = batch.f32s("x", &twice("x")).f32s("dy", &twice("dy"));
    let all = LEARNING.writes(batch.bytes(), &gradients(GROUPED));
    assert_eq!(all.shape("dx").unwrap(), [1, 2, 3]);
    assert_eq!(
        all.shape("d.q_proj.weight").unwrap(),
        one.shape("d.q_proj.weight").unwrap()
    );
}

#[test]
fn what_does_not_fit_is_refused_in_one_line() {
    let refused = |file: File, flags: &str, says: &str| {
        LEARNING.refuses(file.bytes(), &gradients(flags), says);
    };
    refused(layer().without("dy"), GROUPED, "no tensor `dy` in layer");
    refused(
        layer().without("dy").f32s("dy", &[3, 5]),
        GROUPED,
        "dy: shape [3, 5], wanted [2, 5], because it has the shape of y",
    );
    refused(
        layer().without("dy").f32s("dy", &[2, 4]),
        GROUPED,
        "dy: expected (2, 5), found (2, 4)",
    );
    refused(layer().f32s("q_norm.weight", &[2]), GROUPED, "q_norm.weight: ");
    refused(layer(), "--heads 2", "--mechanism is missing: which layer is it? one of");
    refused(
        layer(),
        "--mechanism delta --heads 2",
        "--mechanism delta: there is no such mechanism, or it cannot be differentiated",
    );
    refused(layer(), "--mechanism multi-head --causal", "missing --heads");
    refused(
        layer(),
        "--mechanism sliding-window --heads 2 --kv-heads 1 --window 2 --cache 1",
        "--cache: gradients go through all tokens at once",
    );
    refused(layer(), "--mechanism decoder-layer", "--config is missing");
}

#[test]
fn each_mechanism_has_a_help_of_its_own() {
    let help = LEARNING.run("", "gradients --mechanism latent --help").stdout;
    for word in ["--nope-dim", "d.NAME", "dy", "--config"] {
        assert!(help.contains(word), "{word}: {help}");
    }
}

#[test]
fn without_a_command_it_prints_the_worked_example() {
    let printed = LEARNING.run("", "").stdout;
    let worked = learning::example::worked().unwrap();
    assert_eq!(printed.trim_end(), worked.trim_end());
}
