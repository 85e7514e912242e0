//! What a check says to a reader's own code: one build of the first chapter, many edits.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    sync::mpsc::channel,
    thread,
    time::Duration,
};

use crate::common::Reader;

const LIB: &str = "01-attention/src/lib.rs";
const SHEET: &str = "01-attention/answers/by-hand.toml";
/// A build of the chapter from nothing, on a busy machine.
const PATIENCE: Duration = Duration::from_mins(5);
const TODO: &str = "todo!(\"write `scores`\")";

/// What a check of `scores` says to this body.
fn told(reader: &Reader, body: &str) -> String {
    let before = reader.read(LIB);
    reader.replace(LIB, TODO, body);
    let output = reader.command().args(["check", "scores"]).output().unwrap();
    reader.write(LIB, &before);
    String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
}

const CHECK: &str = "expect_shape(\"k\", k.shape(), (k.nrows(), q.ncols()), \"\")?;";

#[test]
fn a_check_says_what_it_is() {
    let reader = Reader::of_attention();

    let said = reader.refuses(&["check", "scores"]);
    assert!(said.contains("`scores` is not written yet. It waits in"), "{said}");

    let said = told(&reader, &format!("{CHECK} Ok(q * k.transpose())"));
    assert!(said.contains("Your scores are too large by √d_k"), "{said}");
    assert!(said.contains("Read again: \"Scaling keeps softmax awake\""), "{said}");
    assert!(!said.contains("That is not all"), "{said}");

    // Once the chapter is built, what is unwritten comes with an example.
    let said = reader.refuses(&["check", "scores"]);
    assert!(said.contains("What is wanted, on a small case"), "{said}");
    assert!(said.contains("q kᵀ") && said.contains("expected"), "{said}");

    // Two mistakes at once: the larger first.
    let said = told(&reader, "Ok(q * k.transpose())");
    assert!(said.contains("Your scores are too large by √d_k"), "{said}");
    assert!(said.contains("That is not all"), "{said}");

    // Nobody's mistake: the smallest case, side by side.
    let said = told(
        &reader,
        &format!(
            "{CHECK} Ok(q * k.transpose() * 0.0 + nalgebra::DMatrix::repeat(q.nrows(), k.nrows(), 7.0))"
        ),
    );
    assert!(said.contains("none of the mistakes that"), "{said}");
    assert!(said.contains("expected   got\n      0          7"), "{said}");

    // A compiler's words come as they are, with whose they are.
    let said = told(&reader, "q * k");
    assert!(said.contains("error[E0308]: mismatched types"), "{said}");
    assert!(said.contains("This belongs to attention/scores."), "{said}");

    let said = told(&reader, "panic!(\"what now\")");
    assert!(
        said.contains("`scores` panics in line") && said.contains("what now"),
        "{said}"
    );

    // What the code prints is shown, and does not confuse the check.
    let said = told(
        &reader,
        &format!("{CHECK} print!(\"{{}}\", q.len()); Ok(q * k.transpose())"),
    );
    assert!(said.contains("your code printed:"), "{said}");
    assert!(said.contains("Your scores are too large by √d_k"), "{said}");

    let right = format!("{CHECK} Ok(q * k.transpose() / (q.ncols() as f32).sqrt())");
    let said = told(&reader, &right);
    assert!(said.contains("✓ attention/scores"), "{said}");
    assert!(reader.says(&["list"]).contains("✓ attention/scores"));

    // A function that calls an unwritten one is told to wait.
    reader.replace(
        LIB,
        "todo!(\"write `attend`\")",
        "let s = scores(q, k)?; Ok(Attended { output: s.clone(), weights: s })",
    );
    let said = reader.refuses(&["check", "attend"]);
    assert!(said.contains("which is not written yet: do attention/scores"), "{said}");

    // The whole chapter, a line for each.
    let said = reader.refuses(&["check", "attention"]);
    assert!(said.contains("attention/mask                   to be written"), "{said}");
    assert!(said.contains("0 of 6 pass"), "{said}");
}

#[test]
fn a_sheet_is_read_as_a_reader_writes_it() {
    let reader = Reader::of_attention();
    let told = |scores: &str, weights: &str, output: &str| {
        let sheet =
            format!("scores = {scores}\nweights = {weights}\noutput = {output}\n");
        reader.write(SHEET, &sheet);
        let output = reader.command().args(["check", "by-hand"]).output().unwrap();
        String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
    };
    let said = reader.refuses(&["check", "by-hand"]);
    assert!(said.contains("Still to be filled in"), "{said}");
    let said = told("[0, 2, 2]", "[0.063, \"?\", 0.468]", "[5.3, 9.4]");
    assert!(said.contains("by-hand.toml: weights."), "{said}");
    let said = told("[0, 2]", "[0.063, 0.468, 0.468]", "[5.3, 9.4]");
    assert!(said.contains("`scores` wants 1 × 3 numbers and has 2"), "{said}");
    let said = told("[0, 4, 4]", "[0.009, 0.495, 0.495]", "[5.0, 9.9]");
    assert!(said.contains("Your scores are the dot products themselves"), "{said}");
    // A number that is merely wrong is marked, and the right one is not given away.
    let said = told("[0, 2, 2]", "[0.063, 0.468, 0.468]", "[5.3, 9.0]");
    assert!(said.contains("output ≠") && !said.contains("9.4"), "{said}");
    let said = told("[0, 2, 2]", "[0.063, 0.468, 0.468]", "[5.3, 9.4]");
    assert!(said.contains("✓ attention/by-hand"), "{said}");
    // A prediction is never wrong, and stands beside what is so.
    let sheet = "01-attention/answers/temperature.toml";
    reader.write(sheet, "predicted = 3.5\nfactor = 1.68\n");
    let output = reader.command().args(["check", "temperature"]).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains("you said   it is") && said.contains("3.5"), "{said}");
    assert!(!said.contains("the same"), "{said}");
}

/// Ends a program that does not end by itself.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn watching_checks_on_every_save() {
    let reader = Reader::of_attention();
    let mut command = Command::new(env!("CARGO_BIN_EXE_course"));
    command.arg("--my").arg(reader.my()).args(["watch", "attention/by-hand"]);
    let mut running = Running(command.stdout(Stdio::piped()).spawn().unwrap());
    let lines = BufReader::new(running.0.stdout.take().unwrap()).lines();
    let (told, heard) = channel();
    // Ends when the program does.
    thread::spawn(move || {
        lines.map_while(Result::ok).try_for_each(|line| told.send(line))
    });
    let wait_for = |words: &str| {
        let mut so_far = String::new();
        while !so_far.contains(words) {
            let line = heard.recv_timeout(PATIENCE);
            so_far +=
                &line.unwrap_or_else(|_| panic!("{words:?} did not come: {so_far}"));
            so_far.push('\n');
        }
    };
    wait_for("Still to be filled in");
    wait_for("waiting for you to save");
    let right =
        "scores = [0, 2, 2]\nweights = [0.063, 0.468, 0.468]\noutput = [5.3, 9.4]\n";
    reader.write(SHEET, right);
    wait_for("✓ attention/by-hand");
}
