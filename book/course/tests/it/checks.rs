//! What a check says to a reader's own code: one build of the first chapter, many answers.

use std::{
    fs,
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    sync::mpsc::channel,
    thread,
    time::Duration,
};

use crate::common::{self, Reader};

const LIB: &str = "01-attention/src/lib.rs";
const SHEET: &str = "01-attention/answers/by-hand.toml";
/// A build of the chapter from nothing, on a busy machine.
const PATIENCE: Duration = Duration::from_mins(5);

const CHECK: &str = "expect_shape(\"k\", k.shape(), (k.nrows(), q.ncols()), \"\")?;";

/// Answers to `scores`, by name. Compiling one takes longer than checking it, so that all
/// are compiled at once, and the environment says which is given.
const SCORES: [(&str, &str); 10] = [
    ("unscaled", "CHECK Ok(q * k.transpose())"),
    ("unscaled and unchecked", "Ok(q * k.transpose())"),
    (
        "sevens",
        "CHECK let sevens = nalgebra::DMatrix::repeat(q.nrows(), k.nrows(), 7.0);
         Ok(q * k.transpose() * 0.0 + sevens)",
    ),
    (
        "sometimes unscaled",
        "CHECK let d = if q.nrows() > 1 { 1.0 } else { q.ncols() as f32 };
         Ok(q * k.transpose() / d.sqrt())",
    ),
    ("panic", "panic!(\"what now\")"),
    (
        "not transposed",
        "CHECK
    let product = q * k;
    Ok(product / (q.ncols() as f32).sqrt())",
    ),
    (
        "printed",
        "CHECK println!(\"first {}\", q.len()); dbg!(k.len()); print!(\"last\");
         Ok(q * k.transpose())",
    ),
    ("exit", "std::process::exit(0)"),
    ("memory", "let all = vec![0_f32; 1 << 44]; Ok(q * all[k.len()])"),
    ("right", "CHECK Ok(q * k.transpose() / (q.ncols() as f32).sqrt())"),
];

/// Answers to `attend`.
const ATTEND: [(&str, &str); 3] = [
    (
        "scores alone",
        "let s = scores(q, k)?; Ok(Attended { output: s.clone(), weights: s })",
    ),
    (
        "right",
        "expect_shape(\"v\", v.shape(), (k.nrows(), v.ncols()), \"\")?;
         let mut scores = scores(q, k)?; mask.hide(&mut scores)?;
         let weights = softmax(scores);
         let output = average(weights.as_view(), v, |query, key| mask.sees(query, key));
         Ok(Attended { output, weights })",
    ),
    (
        "without mask",
        "expect_shape(\"v\", v.shape(), (k.nrows(), v.ncols()), \"\")?;
         let scores = scores(q, k)?; let weights = softmax(scores);
         let output = average(weights.as_view(), v, |query, key| mask.sees(query, key));
         Ok(Attended { output, weights })",
    ),
];

/// A body that gives the answer that a variable names, and none if it names none.
fn body(function: &str, answers: &[(&str, &str)]) -> String {
    let arm = |(name, body): &(&str, &str)| {
        format!("Ok({name:?}) => {{ {} }}\n", body.replace("CHECK", CHECK))
    };
    let arms: String = answers.iter().map(arm).collect();
    let variable = variable(function);
    format!(
        "match std::env::var({variable:?}).as_deref() {{ {arms} _ => {} }}",
        todo(function)
    )
}

fn variable(function: &str) -> String {
    format!("ANSWER_TO_{}", function.to_uppercase())
}

fn todo(function: &str) -> String {
    format!("todo!(\"write `{function}`\")")
}

/// A reader who has written `Mask::hide`, and everything for `scores` and `attend`.
fn who_has_tried_everything(reader: &Reader) {
    let answers = [("scores", &SCORES[..]), ("attend", &ATTEND)];
    for (function, answers) in answers {
        reader.replace(LIB, &todo(function), &body(function, answers));
    }
    let book = common::book().join("chapters/01-attention/src/lib.rs");
    let book = fs::read_to_string(book).unwrap();
    let hides = book.split_once("pub fn hide(").unwrap().1.split_once("{\n").unwrap().1;
    let hides = hides.split_once("\n    }\n").unwrap().0;
    reader.replace(LIB, &todo("Mask::hide"), hides);
}

/// What a check says to these answers to `scores` and `attend`.
fn told_of(reader: &Reader, exercise: &str, scores: &str, attend: &str) -> String {
    let mut command = reader.command();
    command.env(variable("scores"), scores).env(variable("attend"), attend);
    let output = command.args(["check", exercise]).output().unwrap();
    String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
}

/// What a check of `scores` says to this answer.
fn told(reader: &Reader, answer: &str) -> String {
    told_of(reader, "scores", answer, "")
}

#[test]
fn a_check_says_what_it_is() {
    let reader = Reader::of_attention();

    let said = reader.refuses(&["check", "scores"]);
    assert!(said.contains("`scores` is not written yet. It waits in"), "{said}");

    who_has_tried_everything(&reader);
    let said = told(&reader, "unscaled");
    assert!(said.contains("Your scores are too large by √d_k"), "{said}");
    assert!(said.contains("Read again: \"Scaling keeps softmax awake"), "{said}");
    assert!(!said.contains("no mistake that is known"), "{said}");

    // Once the chapter is built, what is unwritten comes with an example.
    let said = reader.refuses(&["check", "scores"]);
    assert!(said.contains("What is wanted, on a small case"), "{said}");
    assert!(said.contains("q kᵀ") && said.contains("expected"), "{said}");

    // Two mistakes at once that explain every case: both.
    let said = told(&reader, "unscaled and unchecked");
    assert!(said.contains("Several things at once"), "{said}");
    assert!(said.contains("1. Your scores are too large by √d_k"), "{said}");
    assert!(said.contains("2. Your numbers are right, but keys"), "{said}");

    // Nobody's mistake: what holds of all cases, and the smallest, side by side.
    let said = told(&reader, "sevens");
    assert!(said.contains("Your answer differs in"), "{said}");
    assert!(said.contains("no mistake that is known here"), "{said}");
    assert!(said.contains("expected   got\n      0          7"), "{said}");

    // A mistake that is made in some cases only is said to be.
    let said = told(&reader, "sometimes unscaled");
    let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(said.contains("Your scores are too large by √d_k"), "{said}");
    assert!(said.contains("It is made only sometimes"), "{said}");
    assert!(said.contains("rows of `q` is more than"), "{said}");

    a_panic_is_passed_on(&reader);
    what_code_prints_and_how_it_ends_is_told(&reader);

    let said = told(&reader, "right");
    assert!(said.contains("✓ attention/scores"), "{said}");
    assert!(reader.says(&["list"]).contains("✓ attention/scores"));

    a_function_that_calls_others_is_told_whose_fault_it_is(&reader);

    // The whole chapter, a line for each.
    let said = reader.refuses(&["check", "attention"]);
    assert!(said.contains("attention/softmax                to be written"), "{said}");
    assert!(said.contains("1 of 6 pass"), "{said}");

    a_compiler_is_passed_on(&reader);
    names_and_signatures_that_changed_are_told(&reader);
    a_sheet_is_read_as_a_reader_writes_it(&reader);
    watching_checks_on_every_save(&reader);
}

// What follows shares the build of the test above, which takes a while.

fn a_compiler_is_passed_on(reader: &Reader) {
    // A compiler's words come as they are, with whose they are.
    let before = reader.read(LIB);
    reader.replace(LIB, &body("scores", &SCORES), "q * k");
    let said = told(reader, "");
    assert!(said.contains("error[E0308]: mismatched types"), "{said}");
    assert!(said.contains("This belongs to attention/scores."), "{said}");
    reader.write(LIB, &before);
}

fn a_panic_is_passed_on(reader: &Reader) {
    let said = told(reader, "panic");
    assert!(
        said.contains("`scores` panics in line") && said.contains("what now"),
        "{said}"
    );

    // The line is the reader's own, though the panic is nalgebra's.
    let said = told(reader, "not transposed");
    assert!(said.contains("K has to be transposed"), "{said}");
    assert!(said.contains("`scores` panics in line"), "{said}");
    assert!(said.contains("      let product = q * k;"), "{said}");
}

fn what_code_prints_and_how_it_ends_is_told(reader: &Reader) {
    // What the code prints is shown for the case that is shown, on both streams and in
    // order, and does not confuse the check.
    let said = told(reader, "printed");
    assert!(said.contains("your code printed for it\n      first 2\n"), "{said}");
    assert!(said.contains("k.len() = 2\n      last\n"), "{said}");
    assert!(said.contains("Your scores are too large by √d_k"), "{said}");

    // Whatever ends the program has a name.
    let said = told(reader, "exit");
    assert!(said.contains("Your code ended the program (exit code 0)"), "{said}");
    assert!(
        said.contains("It happened on this case:") && said.contains("    q"),
        "{said}"
    );
    let said = told(reader, "memory");
    assert!(said.contains("asked for more memory than there is"), "{said}");
}

fn a_function_that_calls_others_is_told_whose_fault_it_is(reader: &Reader) {
    // A function that calls an unwritten one is told to wait.
    let said = told_of(reader, "attend", "", "scores alone");
    assert!(said.contains("which is not written yet: do attention/scores"), "{said}");

    // One that is right is not blamed for one that it calls and that is not.
    let said = told_of(reader, "attend", "unscaled", "right");
    assert!(said.contains("Yours is right by itself"), "{said}");
    assert!(said.contains("attention/scores, which it calls"), "{said}");
    // And one that is wrong as well is told what is its own.
    let said = told_of(reader, "attend", "unscaled", "without mask");
    assert!(said.contains("attention/attend calls attention/scores"), "{said}");
    assert!(said.contains("Your queries see what the mask hides"), "{said}");
}

fn names_and_signatures_that_changed_are_told(reader: &Reader) {
    // A name or a signature that the check needs and does not find is told as such.
    let before = reader.read(LIB);
    reader.replace(LIB, "pub fn softmax_by_rows(", "pub fn by_rows(");
    let said = reader.refuses(&["check", "scores"]);
    assert!(said.contains("The check calls `softmax_by_rows`, and"), "{said}");
    assert!(said.contains("cargo course reset attention/softmax"), "{said}");
    assert!(!said.contains("error["), "{said}");
    reader.says(&["reset", "softmax"]);
    assert!(told(reader, "unscaled").contains("too large by √d_k"));
    reader.write(LIB, &before);
    reader.replace(
        LIB,
        "    k: DMatrixView<f32>,\n) -> Result<DMatrix<f32>",
        "    k: &DMatrix<f32>,\n) -> Result<DMatrix<f32>",
    );
    let said = reader.refuses(&["check", "softmax"]);
    assert!(said.contains("as the chapter declares it"), "{said}");
    reader.write(LIB, &before);
}

fn a_sheet_is_read_as_a_reader_writes_it(reader: &Reader) {
    let told = |scores: &str, weights: &str, output: &str| {
        let sheet =
            format!("scores = {scores}\nweights = {weights}\noutput = {output}\n");
        reader.write(SHEET, &sheet);
        let output = reader.command().args(["check", "by-hand"]).output().unwrap();
        String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
    };
    let said = reader.refuses(&["check", "by-hand"]);
    assert!(said.contains("Still to be filled in"), "{said}");
    for blank in ["nan", "\"?\""] {
        let weights = format!("[0.035, {blank}, 0.705]");
        let said = told("[1, 3, 4]", &weights, "[7.4, 9.6]");
        assert!(said.contains("by-hand.toml: weights."), "{said}");
    }
    let said = told("[1, 3, 4]", "[0.035, \"half\", 0.705]", "[7.4, 9.6]");
    assert!(said.contains("`half` is not a number; numbers are written as"), "{said}");
    let said = told("[1, \"3\", 4]", "[0.035, 0.259, 0.705]", "[7.4, 9.6]");
    assert!(said.contains("✓ attention/by-hand"), "{said}");
    let said = told("[1, 3]", "[0.035, 0.259, 0.705]", "[7.4, 9.6]");
    assert!(said.contains("`scores` wants 1 × 3 numbers and has 2"), "{said}");
    let said = told("[2, 6, 8]", "[0.002, 0.119, 0.879]", "[8.8, 10.0]");
    assert!(said.contains("Your scores are the dot products themselves"), "{said}");
    // A number that is merely wrong is marked, and the right one is not given away.
    let said = told("[1, 3, 4]", "[0.035, 0.259, 0.705]", "[7.4, 9.0]");
    assert!(said.contains("output ≠") && !said.contains("9.6"), "{said}");
    let said = told("[1, 3, 4]", "[0.035, 0.259, 0.705]", "[7.4, 9.6]");
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

fn watching_checks_on_every_save(reader: &Reader) {
    reader.says(&["reset", "attention/by-hand"]);
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
        "scores = [1, 3, 4]\nweights = [0.035, 0.259, 0.705]\noutput = [7.4, 9.6]\n";
    reader.write(SHEET, right);
    wait_for("✓ attention/by-hand");
}
