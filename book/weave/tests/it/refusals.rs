//! What a book is refused for, and what its author is told.

use crate::common::Fixture;

const PAGE: &str = "book/src/softmax.md";
const NEXT_PAGE: &str = "book/src/scaled-softmax.md";
const SOURCE: &str = "chapters/01-softmax/src/lib.rs";
const DRAWING: &str = "images/01-softmax/sharpness.svg";
/// A line of the first page that each test may put something else for: line 5.
const FREE: &str = "A function:";

#[test]
fn an_unknown_crate() {
    check(
        |book| {
            book.replace(
                PAGE,
                "{{#code softmax::softmax}}",
                "{{#code sofmax::softmax}}",
            );
        },
        &["book/src/softmax.md:7: no crate `sofmax` in chapters/ or book/; \
             did you mean `softmax`?"],
    );
}

#[test]
fn an_unknown_item() {
    check(
        |book| book.replace(PAGE, "::MAX_SCORE", "::MAX_SCROE"),
        &["book/src/softmax.md:19: no item `MAX_SCROE` in crate `softmax` \
             (chapters/01-softmax/src/lib.rs); did you mean `MAX_SCORE`?"],
    );
}

#[test]
fn an_unknown_method() {
    check(
        |book| book.replace(PAGE, "Warm::apply", "Warm::aply"),
        &["book/src/softmax.md:13: no item `Warm::aply` in crate `softmax` \
             (chapters/01-softmax/src/lib.rs); did you mean `Warm::apply`?"],
    );
}

const GLOSSARY: &str = "book/glossary.toml";

#[test]
fn a_term_that_no_page_introduces_or_two_do() {
    check(
        |book| {
            book.with_glossary();
            book.replace(NEXT_PAGE, "## The whole", "A **Soft max** again.");
        },
        &[
            "book/src/scaled-softmax.md:10: `soft max` stands in bold where it is \
             introduced, in `softmax`, and nowhere else",
            "book/glossary.toml:2: `soft max` is not introduced in `softmax`: write \
             **soft max** there, once",
            "book/glossary.toml:8: `part` is not introduced in `softmax`: write **part** \
             there, once",
        ],
    );
}

#[test]
fn a_glossary_that_no_page_shows() {
    check(
        |book| {
            book.with_glossary();
            book.replace(PAGE, FREE, "A **soft max** and a **part**.");
            book.replace("book/src/glossary.md", "{{#glossary}}", "Nothing.");
        },
        &["book/glossary.toml:2: no page shows this list: `{{#glossary}}` belongs in \
             glossary.md"],
    );
}

#[test]
fn a_glossary_of_unknown_chapters_and_of_words_with_two_meanings() {
    check(
        |book| {
            book.with_glossary();
            book.replace(
                GLOSSARY,
                "\"shares\"]\nchapter = \"softmax\"",
                "\"Soft max\"]\nchapter = \"softmix\"",
            );
        },
        &[
            "book/glossary.toml:8: `soft max` stands for `soft max` already",
            "book/glossary.toml:8: no chapter `softmix` in chapters/; did you mean `softmax`?",
        ],
    );
}

#[test]
fn a_glossary_with_a_formula_or_a_key_too_many() {
    check(
        |book| {
            book.with_glossary();
            book.replace(PAGE, FREE, "A **soft max** and a **part**.");
            book.replace(GLOSSARY, "`exp`", "$e^x$");
        },
        &["book/src/glossary.md:5: a line of the glossary is text"],
    );
    check(
        |book| {
            book.with_glossary();
            book.replace(GLOSSARY, "says = \"One", "page = \"x\"\nsays = \"One");
        },
        &[
            "book/glossary.toml:11: unknown field `page`, expected one of `name`, `also`, \
             `chapter`, `says`",
        ],
    );
}

const COURSE: &str = "chapters/01-softmax/course.toml";
const EXERCISE: &str = r#"
[[exercise]]
name = "soft-max"
kind = "implement"
title = "Shares"
section = "listings"
body = "softmax"
hints = ["a", "b", "c"]
"#;

#[test]
fn an_exercise_that_is_on_no_page() {
    check(
        |book| book.write(COURSE, EXERCISE),
        &["chapters/01-softmax/course.toml:1: exercise `soft-max` stands nowhere in \
             book/src/softmax.md: place it with {{#exercise softmax::soft-max}}"],
    );
}

#[test]
fn an_exercise_that_stands_twice() {
    let twice = "{{#exercise softmax::soft-max}}\n\n{{#exercise softmax::soft-max}}";
    check(
        |book| {
            book.write(COURSE, EXERCISE);
            book.replace(PAGE, FREE, twice);
        },
        &["book/src/softmax.md:7: exercise `soft-max` stands twice: first at line 5"],
    );
}

#[test]
fn an_exercise_on_the_page_of_another_chapter() {
    check(
        |book| {
            book.write(COURSE, EXERCISE);
            book.replace(PAGE, FREE, "{{#exercise softmax::soft-max}}");
            book.replace(
                NEXT_PAGE,
                "## The whole",
                "{{#exercise softmax::soft-max}}\n\n## The whole",
            );
        },
        &["book/src/scaled-softmax.md:10: the exercise belongs on the page of \
             `softmax`"],
    );
}

#[test]
fn an_unknown_exercise() {
    check(
        |book| {
            book.write(COURSE, EXERCISE);
            book.replace(PAGE, FREE, "{{#exercise softmax::soft-maks}}");
        },
        &[
            "book/src/softmax.md:5: no exercise `soft-maks` of crate `softmax`; \
             did you mean `soft-max`?",
            "chapters/01-softmax/course.toml:1: exercise `soft-max` stands nowhere in \
             book/src/softmax.md: place it with {{#exercise softmax::soft-max}}",
        ],
    );
}

#[test]
fn an_exercise_without_all_hints() {
    check(
        |book| {
            book.write(COURSE, EXERCISE.replace(", \"c\"", ""));
            book.replace(PAGE, FREE, "{{#exercise softmax::soft-max}}");
        },
        &[
            "chapters/01-softmax/course.toml:1: exercise `soft-max`: 3 hints are wanted, \
             one a level, none of them empty",
        ],
    );
}

#[test]
fn an_exercise_that_points_to_no_section() {
    check(
        |book| {
            book.write(COURSE, EXERCISE.replace("\"listings\"", "\"listing\""));
            book.replace(PAGE, FREE, "{{#exercise softmax::soft-max}}");
        },
        &["book/src/softmax.md:1: the link `#listing` finds no such heading in \
             book/src/softmax.md; did you mean `listings`?"],
    );
}

#[test]
fn an_item_that_the_source_has_twice() {
    let twin = "#[cfg(unix)]\npub fn softmax() {}\n\n#[must_use]";
    check(
        |book| {
            book.replace(SOURCE, "#[must_use]", twin);
        },
        &[
            "book/src/softmax.md:7: `softmax` is ambiguous: \
             chapters/01-softmax/src/lib.rs has it at lines 15 and 22",
            "book/src/scaled-softmax.md:8: `softmax` is ambiguous: \
             chapters/01-softmax/src/lib.rs has it at lines 15 and 22",
        ],
    );
}

#[test]
fn an_unknown_snapshot() {
    check(
        |book| book.replace(PAGE, "three_scores", "tree_scores"),
        &[
            "book/src/softmax.md:85: no snapshot `tree_scores` of crate \
             `softmax` in chapters/01-softmax/tests/it/snapshots; did you mean \
             `three_scores`?",
            "chapters/01-softmax/tests/it/snapshots/it__outputs__three_scores.snap:1: \
             this snapshot is used nowhere in the book: show it with {{#output \
             softmax::three_scores}}, or delete it",
        ],
    );
}

#[test]
fn an_output_that_a_phone_would_cut() {
    let file = "chapters/01-softmax/tests/it/snapshots/it__outputs__three_scores.snap";
    let fits = "é".repeat(46);
    let text = format!("---\n---\n{fits}\n{fits}!\n");
    check(
        |book| book.write(file, &text),
        &[
            "chapters/01-softmax/tests/it/snapshots/it__outputs__three_scores.snap:4: 47 \
             characters side by side: on a phone there is room for 46",
        ],
    );
}

#[test]
fn a_snapshot_name_in_two_files() {
    let twin = "chapters/01-softmax/tests/it/snapshots/it__laws__three_scores.snap";
    check(
        |book| book.write(twin, "---\n---\n"),
        &[
            "book/src/softmax.md:85: two snapshots are called \
             `three_scores`: \
             chapters/01-softmax/tests/it/snapshots/it__laws__three_scores.snap and \
             chapters/01-softmax/tests/it/snapshots/it__outputs__three_scores.snap",
            "chapters/01-softmax/tests/it/snapshots/it__laws__three_scores.snap:1: \
             this snapshot is used nowhere in the book: show it with {{#output \
             softmax::three_scores}}, or delete it",
            "chapters/01-softmax/tests/it/snapshots/it__outputs__three_scores.snap:1: \
             this snapshot is used nowhere in the book: show it with {{#output \
             softmax::three_scores}}, or delete it",
        ],
    );
}

#[test]
fn an_unknown_value() {
    check(
        |book| book.replace(PAGE, "facts.share", "facts.shares"),
        &["book/src/softmax.md:73: no value `shares` in the snapshot \
             chapters/01-softmax/tests/it/snapshots/it__outputs__facts.snap; did you \
             mean `share`?"],
    );
}

#[test]
fn an_unknown_figure() {
    check(
        |book| book.replace(PAGE, "softmax::sharpness", "softmax::sharpnes"),
        &[
            "book/src/softmax.md:89: no figure `sharpnes` in \
             images/01-softmax; did you mean `sharpness`?",
            "images/01-softmax/sharpness.svg:1: this figure is used nowhere in \
             the book: show it with {{#figure softmax::sharpness}}, or delete \
             it",
        ],
    );
}

#[test]
fn a_malformed_directive() {
    check(
        |book| {
            book.replace(PAGE, FREE, "{{#code MAX_SCORE}} {{#value softmax::facts}}");
        },
        &[
            "book/src/softmax.md:5: malformed `{{#code MAX_SCORE}}`: \
             expected `{{#code crate::item}}`",
            "book/src/softmax.md:5: malformed `{{#value softmax::facts}}`: \
             expected `{{#value crate::snapshot.key}}`",
        ],
    );
}

#[test]
fn a_directive_that_is_not_closed() {
    check(
        |book| book.replace(PAGE, FREE, "{{#output softmax::three_scores"),
        &["book/src/softmax.md:5: `{{#output softmax::three_scores` is not \
             closed by `}}` on its line"],
    );
}

#[test]
fn an_unknown_directive() {
    check(
        |book| {
            book.replace(
                PAGE,
                FREE,
                "{{#vlue softmax::facts.share}} {{#include x.rs}}",
            );
        },
        &[
            "book/src/softmax.md:5: no directive `include`",
            "book/src/softmax.md:5: no directive `vlue`; did you mean \
             `value`?",
        ],
    );
}

#[test]
fn a_block_amid_a_sentence() {
    check(
        |book| book.replace(PAGE, FREE, "See {{#output softmax::three_scores}}"),
        &["book/src/softmax.md:5: `{{#output}}` has to stand on a line of \
             its own"],
    );
}

#[test]
fn an_item_told_twice() {
    check(
        |book| book.replace(PAGE, FREE, "{{#code softmax::softmax}}"),
        &["book/src/softmax.md:7: `softmax` is shown twice: first at line \
             5"],
    );
}

#[test]
fn a_public_item_never_told() {
    check(
        |book| book.replace(PAGE, "{{#rest softmax}}", ""),
        &["chapters/01-softmax/src/lib.rs:38: `Warm::new` is shown nowhere in \
             book/src/softmax.md: show it with {{#code softmax::Warm::new}} \
             or carry it with {{#rest softmax}}"],
    );
}

#[test]
fn an_unused_snapshot() {
    check(
        |book| book.replace(PAGE, "{{#output softmax::three_scores}}", ""),
        &["chapters/01-softmax/tests/it/snapshots/it__outputs__three_scores.snap:1: \
             this snapshot is used nowhere in the book: show it with {{#output \
             softmax::three_scores}}, or delete it"],
    );
}

#[test]
fn an_unused_figure() {
    check(
        |book| {
            book.replace(PAGE, "{{#figure softmax::sharpness}}", "");
            book.replace(NEXT_PAGE, "#fig-sharpness", "");
        },
        &["images/01-softmax/sharpness.svg:1: this figure is used nowhere in \
             the book: show it with {{#figure softmax::sharpness}}, or delete \
             it"],
    );
}

#[test]
fn code_without_a_language() {
    check(
        |book| book.replace(PAGE, FREE, "```\nx\n```\n\n    indented"),
        &[
            "book/src/softmax.md:5: code without a language: open it with \
             ```rust, ```console or ```text",
            "book/src/softmax.md:9: code without a language: open it with \
             ```rust, ```console or ```text",
        ],
    );
}

#[test]
fn a_formula_that_does_not_parse() {
    check(
        |book| book.replace(PAGE, FREE, r"A $\fraction{1}{2}$ and $$\frac{1}$$."),
        &[
            "book/src/softmax.md:5: formula `\\fraction{1}{2}`: Unknown \
             command \"\\fraction\".",
            "book/src/softmax.md:5: formula `\\frac{1}`: Expected argument \
             but reached end of input.",
        ],
    );
}

#[test]
fn a_formula_that_does_not_end() {
    check(
        |book| book.replace(PAGE, FREE, r"A $\frac{1$ is none, nor is $x, but $5 is."),
        &["book/src/softmax.md:5: a `$` that belongs to no formula: close \
             the formula and its braces, or write `\\$` for a dollar"],
    );
}

#[test]
fn a_figure_without_text_alternative() {
    check(
        |book| book.replace(DRAWING, "A line that rises from 0 to 1.", " "),
        &["images/01-softmax/sharpness.svg:1: a figure without text \
             alternative (`<desc>`)"],
    );
}

#[test]
fn a_figure_without_title() {
    check(
        |book| book.replace(DRAWING, ">A line<", "><"),
        &["images/01-softmax/sharpness.svg:1: a figure without title \
             (`<title>`)"],
    );
}

#[test]
fn a_figure_without_table() {
    check(
        |book| book.replace(DRAWING, r#""table""#, r#""tables""#),
        &["images/01-softmax/sharpness.svg:1: a figure whose <metadata> is \
             not caption and table: missing field `table` at line 1 column 128"],
    );
}

#[test]
fn a_figure_that_is_not_well_formed() {
    check(
        |book| book.replace(DRAWING, "</text>", ""),
        &["images/01-softmax/sharpness.svg:9: a figure that is not \
             well-formed: expected 'text' tag, not 'svg' at 9:1"],
    );
}

#[test]
fn a_caption_that_does_not_parse() {
    check(
        |book| book.replace(DRAWING, "sqrt", "sqqrt"),
        &["images/01-softmax/sharpness.svg:1: a figure whose caption has a \
             fault: formula `\\sqqrt{d_k}`: Unknown command \"\\sqqrt\"."],
    );
}

#[test]
fn source_that_does_not_parse() {
    check(
        |book| book.replace(SOURCE, "pub trait Sharpen {", "pub trait {"),
        &["chapters/01-softmax/src/lib.rs:71: this is not Rust: expected \
             identifier"],
    );
}

#[test]
fn a_link_to_nowhere() {
    check(
        |book| book.replace(PAGE, FREE, "[There](scaled-sofmax.md)"),
        &["book/src/softmax.md:5: the link `scaled-sofmax.md` leads \
             nowhere; did you mean `scaled-softmax.md`?"],
    );
}

#[test]
fn a_link_to_a_heading_that_does_not_exist() {
    let links = "[here](#value), [there](scaled-softmax.md#the-diference)";
    check(
        |book| book.replace(PAGE, FREE, links),
        &[
            "book/src/softmax.md:5: the link `#value` finds no such heading \
             in book/src/softmax.md; did you mean `values`?",
            "book/src/softmax.md:5: the link \
             `scaled-softmax.md#the-diference` finds no such heading in \
             book/src/scaled-softmax.md; did you mean `the-difference`?",
        ],
    );
}

#[test]
fn a_link_out_of_the_book() {
    check(
        |book| {
            book.replace(PAGE, FREE, "[source](../../chapters/01-softmax/src/lib.rs)");
        },
        &["book/src/softmax.md:5: the link \
             `../../chapters/01-softmax/src/lib.rs` leaves the book"],
    );
}

#[test]
fn a_chapter_that_does_not_exist() {
    check(
        |book| {
            book.replace("book/src/SUMMARY.md", "scaled-softmax.md", "scaled.md");
        },
        &["book/src/SUMMARY.md:6: no such chapter: book/src/scaled.md"],
    );
}

#[test]
fn an_image_without_text_alternative() {
    check(
        |book| book.replace(PAGE, FREE, "![](https://example.org/x.png)"),
        &["book/src/softmax.md:5: an image without a text alternative: \
             `![what it shows](…)`"],
    );
}

#[test]
fn an_unknown_chapter() {
    check(
        |book| book.replace(PAGE, FREE, "In {{#chapter sofmax}}, {{#chapter}}."),
        &[
            "book/src/softmax.md:5: malformed `{{#chapter}}`: expected `{{#chapter crate}}`",
            "book/src/softmax.md:5: no chapter `sofmax` in chapters/; did you mean \
             `softmax`?",
        ],
    );
}

#[test]
fn a_number_of_a_chapter_that_is_typed() {
    let typed = "the number of a chapter is typed: write {{#chapter NAME}}, {{#Chapter NAME}} \
                 where a sentence begins, or {{#number NAME}} after \"chapters\"";
    let lines =
        [6, 8, 10, 12].map(|line| format!("book/src/softmax.md:{line}: {typed}"));
    check(
        |book| {
            let prose = "`chapter 1` and \n*chapters\n1 and 2*.\n> Chapter 1\n\n- [chapter 1](#values)\n\n\
                         <details><summary>Chapter\n2?</summary></details>";
            book.replace(PAGE, FREE, prose);
        },
        &lines.each_ref().map(String::as_str),
    );
}

#[test]
fn a_folder_that_has_another_number() {
    check(
        |book| {
            book.replace(PAGE, FREE, "`my/02-softmax` and 2001-softmax, 01-softmax-b");
        },
        &["book/src/softmax.md:5: `02-softmax` is not there: the chapter lies in \
             chapters/01-softmax"],
    );
}

#[test]
fn a_page_that_is_listed_under_another_number() {
    let page = |name: &str| format!("- [{name}]({}.md)", name.to_lowercase());
    check(
        |book| {
            let summary = "book/src/SUMMARY.md";
            book.replace(
                summary,
                &page("Softmax"),
                "- [Softmax](softmax.md)\n- [New](new.md)",
            );
            book.write("book/src/new.md", "# New\n");
        },
        &[
            "book/src/SUMMARY.md:7: scaled-softmax.md is chapter 3 here and has the folder \
             chapters/02-scaled-softmax: move one of the two",
        ],
    );
}

#[test]
fn an_address_that_is_lost() {
    let list = "404.html\nindex.html\nold.html\nscaled-softmax.html\n";
    check(
        |book| book.write("book/addresses.txt", list),
        &[
            "book/addresses.txt:3: nothing answers at `old.html` any more: lead it on in \
             [output.html.redirect] of book.toml, as \"/old.html\" = \"PAGE.html\"",
            "book/addresses.txt:5: `softmax.html` is published from now on: add it to this \
             list",
        ],
    );
}

#[test]
fn an_address_that_leads_astray_and_a_link_to_one_that_has_moved() {
    let moved = "[output.html.redirect]\n\"/old.html\" = \"softmax.html\"\n";
    let listed =
        "index.html\nold.html\nolder.html\nscaled-softmax.html\nsoftmax.html\n";
    check(
        |book| {
            let config =
                std::fs::read_to_string(book.root().join("book.toml")).unwrap();
            book.write(
                "book.toml",
                format!("{config}\n{moved}\"/older.html\" = \"old.html\"\n"),
            );
            book.write("book/addresses.txt", listed);
        },
        &[
            "book.toml:1: `/older.html` is led on to `old.html`, which is no page of the book",
        ],
    );
    check(
        |book| {
            let config =
                std::fs::read_to_string(book.root().join("book.toml")).unwrap();
            book.write("book.toml", format!("{config}\n{moved}"));
            book.replace(PAGE, FREE, "[There](old.md#values)");
        },
        &["book/src/softmax.md:5: the link `old.md#values` leads to a page that is \
             `softmax.md` now"],
    );
}

#[test]
fn everything_at_once_in_reading_order() {
    check(
        |book| {
            book.replace(NEXT_PAGE, "## The whole", "{{#nothing}}");
            book.replace(PAGE, FREE, "$\\nothing$ and {{#code softmax::nothing}}");
            book.replace(PAGE, "{{#rest softmax}}", "{{#rest softmx}}");
        },
        &[
            "book/src/softmax.md:5: `{{#code}}` has to stand on a line of \
             its own",
            "book/src/softmax.md:5: formula `\\nothing`: Unknown command \
             \"\\nothing\".",
            "book/src/softmax.md:93: no crate `softmx` in chapters/ or \
             book/; did you mean `softmax`?",
            "book/src/scaled-softmax.md:10: no directive `nothing`",
            "chapters/01-softmax/src/lib.rs:38: `Warm::new` is shown nowhere in \
             book/src/softmax.md: show it with {{#code softmax::Warm::new}} \
             or carry it with {{#rest softmax}}",
        ],
    );
}

/// A book that was good and is edited so is refused in these words; the pages of the good
/// one stay as they were.
#[track_caller]
fn check(edit: impl FnOnce(&Fixture), expected: &[&str]) {
    let book = Fixture::new();
    book.weave_well();
    let good = book.finished();
    edit(&book);

    let refused = book.weave();
    assert_eq!(refused.status.code(), Some(1));
    assert!(refused.stdout.is_empty());
    let told = String::from_utf8(refused.stderr).unwrap();
    let plural = if expected.len() == 1 { "" } else { "s" };
    let end = "the last good book is left as it was";
    let end = format!("{} problem{plural}; {end}", expected.len());
    assert_eq!(told.lines().collect::<Vec<_>>(), [expected, &[&end]].concat());
    assert!(book.finished() == good);
}
