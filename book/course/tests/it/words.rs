//! What the course says, where nothing has to be built for it.

use crate::common::Reader;

#[test]
fn whoever_has_not_begun_is_told_how() {
    let said = Reader::new().says(&[]);
    assert!(
        said.contains("nothing is begun yet: cargo course start attention"),
        "{said}"
    );
    let said = Reader::new().refuses(&["check"]);
    assert!(said.contains("cargo course start attention"), "{said}");
}

#[test]
fn without_a_word_it_says_where_one_is_and_what_is_next() {
    let said = Reader::of_attention().says(&[]);
    assert!(said.contains("01-attention         ░░░░░░░░░░░░░░░░░░░░ 0/6\n"), "{said}");
    assert!(said.contains("next: attention/by-hand"), "{said}");
    assert!(said.contains("read attention.html#three-tokens-by-hand"), "{said}");
}

#[test]
fn hints_come_one_at_a_time() {
    let reader = Reader::of_attention();
    let hints =
        |n: usize| (1..=3).map(|k| format!("{k} of 3.")).take(n).collect::<Vec<_>>();
    for shown in [1, 2, 3, 3] {
        let said = reader.says(&["hint", "softmax"]);
        let found: Vec<_> =
            hints(3).into_iter().filter(|hint| said.contains(hint)).collect();
        assert_eq!(found, hints(shown), "{said}");
        assert_eq!(said.contains("cargo course solution"), shown == 3);
    }
}

#[test]
fn a_solution_is_shown_to_those_who_are_sure() {
    let reader = Reader::of_attention();
    let answered = |answer: &str| {
        let mut command = reader.command();
        let command = command.args(["solution", "scores"]).write_stdin(answer);
        String::from_utf8(command.assert().success().get_output().stdout.clone())
            .unwrap()
    };
    for no in ["", "n\n", "maybe\n"] {
        assert!(!answered(no).contains("k.transpose()"));
    }
    let shown = answered("y\n");
    assert!(shown.contains("-     todo!(\"write `scores`\")"), "{shown}");
    assert!(
        shown.contains("+     Ok(q / (d_k as f32).sqrt() * k.transpose())"),
        "{shown}"
    );
}

#[test]
fn names_that_are_nearly_right_are_understood() {
    let reader = Reader::of_attention();
    let said = reader.refuses(&["hint", "sofmax"]);
    assert_eq!(said, "no exercise `sofmax`; did you mean `softmax`?\n");
    let said = reader.refuses(&["start", "atention"]);
    assert_eq!(
        said,
        "no chapter `atention` has exercises; did you mean `attention`?\n"
    );
    let said = reader.refuses(&["check", "attention/masks"]);
    assert_eq!(
        said,
        "chapter `attention` has no exercise `masks`; did you mean `mask`?\n"
    );
    // By number and by folder, too.
    for name in ["1", "01-attention"] {
        assert!(reader.says(&["start", name]).contains("stays as it is"));
    }
}

#[test]
fn progress_goes_over_in_one_line() {
    let reader = Reader::of_attention();
    assert_eq!(reader.says(&["progress"]), "course:1:\n");
    let line = "course:1:attention/mask,attention/scores";
    let said = reader.says(&["progress", line]);
    assert_eq!(
        said,
        format!("2 taken over: attention/mask, attention/scores\n{line}\n")
    );
    assert_eq!(reader.says(&["progress", line]), format!("nothing new\n{line}\n"));
    assert!(reader.says(&["list"]).contains("✓ attention/mask"));
    let said = reader.refuses(&["progress", "course:1:attention/masks"]);
    assert!(said.contains("no exercise `attention/masks`; nothing was taken over"));
}

#[test]
fn what_a_quiz_finds_missing_is_asked_again() {
    let reader = Reader::of_attention();
    let quiz = |answers: &str| {
        let mut command = reader.command();
        let command = command.args(["quiz", "attention"]).write_stdin(answers);
        String::from_utf8(command.assert().success().get_output().stdout.clone())
            .unwrap()
    };
    let said = quiz("\ny\n\ny\n\nn\n\ny\n\ny\n");
    assert!(
        said.contains("4 of 5 known") && said.contains("1 kept for next time"),
        "{said}"
    );
    let said = quiz("\ny\n");
    assert!(said.contains("1 of 1. Queries and keys are multiplied by 10."), "{said}");
    assert!(
        said.contains("1 of 1 known") && !said.contains("kept for next time"),
        "{said}"
    );
    assert!(quiz("").contains("1 of 5."));
}

#[test]
fn every_question_of_the_book_can_be_read_in_a_terminal() {
    let chapters = syllabus::chapters(&crate::common::book()).unwrap();
    let reader = Reader::new();
    for chapter in chapters {
        let mut command = reader.command();
        let command =
            command.args(["quiz", &chapter.name]).write_stdin("\ny\n".repeat(20));
        let said = command.assert().success().get_output().stdout.clone();
        let said = String::from_utf8(said).unwrap();
        assert!(said.matches(" of ").count() > 3, "{}: {said}", chapter.name);
        for left in ["{{#", "$", "</", "\\"] {
            assert!(!said.contains(left), "{}: {left} in {said}", chapter.name);
        }
    }
}

#[test]
fn an_assistant_is_asked_to_be_a_tutor() {
    let agents = Reader::of_attention().read("AGENTS.md");
    assert!(agents.contains("Never write the body of an exercise"));
}
