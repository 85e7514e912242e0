//! What is read, and what is refused since it is not.

use crate::common::{Folder, Tensor, f32s, file, layer_and, zeros};

fn x() -> Tensor {
    zeros("x", &[1, 3])
}

#[track_caller]
fn refused(folder: &Folder, flags: &str, says: &str) {
    let ran = folder.forward(flags);
    assert!(ran.code == 1 && ran.stderr.contains(says), "{says}: {ran:?}");
    assert!(!folder.path("out").exists());
}

#[test]
fn the_others_are_named_and_counted() {
    let more = ["a", "b", "c", "d", "e", "f", "g"].map(|name| zeros(name, &[1]));
    let [weight, bias] = crate::common::layer();
    let all: Vec<_> = [weight, bias, x()].into_iter().chain(more).collect();
    let folder = Folder::new().with("in", file(&all));
    let says = "error: a: this layer does not read it, and no chapter has it; --ignore a \
                goes on without it; not read either: b, c, d, e and 2 more\n";
    refused(&folder, "", says);
}

#[test]
fn what_is_ignored_is_as_if_it_were_not_there() {
    let folder = Folder::new().with("in", layer_and([f32s("x", &[1, 3], &[1.0; 3])]));
    assert_eq!(folder.forward("--ignore scale.bias").code, 0);
    assert_eq!(folder.out("y").1, [6.0, 60.0]);
    let folder = Folder::new().with("in", layer_and([x()]));
    refused(&folder, "--ignore scale.weight", "no tensor `scale.weight`");
    refused(&folder, "--ignore scale.*", "no tensor `scale.weight`");
    refused(
        &folder,
        "--ignore scael.bias",
        "no tensor `scael.bias` in DIR/in; did you",
    );
    refused(&folder, "--ignore q*", "no tensor `q*` in DIR/in");
}

#[test]
fn the_file_with_x_holds_what_belongs_to_x() {
    let input = || layer_and([x()]);
    let with = |more: Tensor| {
        let other = file(&[f32s("x", &[1, 3], &[1.0; 3]), more]);
        Folder::new().with("in", input()).with("other", other)
    };
    refused(&with(zeros("head_mask", &[1])), "--x DIR/other", "head_mask: ");
    refused(&with(zeros("nonsense", &[1])), "--x DIR/other", "nonsense: this layer");
    // The x of another layer may be taken without its weights, and that of the input, or
    // of what was an output, is not missed.
    for more in [zeros("scale.weight", &[5, 5]), zeros("y", &[1])] {
        let folder = with(more);
        assert_eq!(folder.forward("--x DIR/other").code, 0);
        assert_eq!(folder.out("y").1, [6.5, 59.5]);
    }
    let folder = with(zeros("nonsense", &[1]));
    assert_eq!(folder.forward("--x DIR/other --ignore nonsense").code, 0);
}

#[test]
fn behind_a_prefix_the_rest_of_the_checkpoint_is_not_looked_at() {
    let tensors = [
        zeros("l.1.scale.weight", &[2, 3]),
        zeros("l.1.x", &[1, 3]),
        zeros("l.10.scale.weight", &[2, 3]),
        zeros("l.10.q_norm.weight", &[3]),
        zeros("embed.weight", &[7, 3]),
    ];
    let folder = Folder::new().with("in", file(&tensors));
    for prefix in ["l.1", "l.1."] {
        assert_eq!(folder.forward(&format!("--prefix {prefix}")).code, 0);
    }
    std::fs::remove_file(folder.path("out")).unwrap();
    refused(&folder, "--prefix l.10 --x DIR/in", "no tensor `x`");
}
