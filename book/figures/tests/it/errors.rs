//! What cannot be drawn is said so, by name.

use figures::{
    Axis, Bars, Chart, Diagram, Figure, FigureError, Heatmap, Histogram, Hue, Spread,
};
use figures::{Plot, Slot, Words};

fn words() -> Words {
    Words { title: "t".into(), caption: "c".into(), alt: "a".into() }
}

#[track_caller]
fn refused(plot: &dyn Plot, why: &str) {
    let error = Figure::draw("figure", words(), plot).unwrap_err();
    assert_eq!(error.to_string(), why);
}

fn chart() -> Chart {
    Chart::new(Axis::linear("x"), Axis::linear("y")).line(
        "ok",
        Hue::Flash,
        [(0.0, 1.0)],
    )
}

#[test]
fn words_are_required() {
    for (part, words) in [
        ("title", Words { title: " ".into(), ..words() }),
        ("caption", Words { caption: String::new(), ..words() }),
        ("alt", Words { alt: "\n".into(), ..words() }),
    ] {
        let error = Figure::draw("scaling", words, &chart()).unwrap_err();
        assert_eq!(error.to_string(), format!("figure scaling: its {part} is empty"));
    }
}

#[test]
fn names_are_file_names() {
    for name in ["", "two words", "../up", "Grün"] {
        let error = Figure::draw(name, words(), &chart()).unwrap_err();
        assert!(matches!(error, FigureError::Name(found) if found == name));
    }
}

#[test]
fn panels_fit_side_by_side() {
    for (columns, plots) in [(0, 1), (5, 1), (2, 0)] {
        let chart = chart();
        let plots = vec![&chart as &dyn Plot; plots];
        let error = Figure::panels("figure", words(), columns, &plots).unwrap_err();
        assert!(matches!(error, FigureError::Panels { .. }), "{error}");
    }
}

#[test]
fn what_was_measured_says_where() {
    let spread = Spread { low: 0.5, median: 1.0, high: 3.0 };
    let chart = chart().measured("times", Hue::Accent, [(0.0, spread)]);
    let bars = Bars::new(Axis::linear("time, ms"), ["one"]);
    let bars = bars.measured("", Hue::Flash, [spread]);
    for plot in [&chart as &dyn Plot, &bars] {
        let error = Figure::draw("time", words(), plot).unwrap_err();
        assert!(matches!(&error, FigureError::Unmeasured(name) if name == "time"));
        let error = Figure::measured("time", words(), " ", 1, &[plot]).unwrap_err();
        assert!(matches!(error, FigureError::Unmeasured(_)), "{error}");
        let figure =
            Figure::measured("time", words(), "One core.", 1, &[plot]).unwrap();
        assert!(figure.svg().contains(r#""measured":"One core.""#), "{}", figure.svg());
    }
}

#[test]
fn a_series_needs_a_point_with_a_place() {
    let why = r#""lost" has no data that can be drawn"#;
    refused(&chart().line("lost", Hue::Accent, []), why);
    refused(
        &chart().scatter("lost", Hue::Accent, [(f64::NAN, 1.0), (1.0, f64::INFINITY)]),
        why,
    );
    let log = Chart::new(Axis::log("x"), Axis::linear("y"));
    refused(&log.line("lost", Hue::Accent, [(0.0, 1.0), (-1.0, 1.0)]), why);
    let empty = Chart::new(Axis::linear("x"), Axis::linear("lost"));
    refused(&empty, why);
    refused(&Histogram::new(Axis::linear("lost"), [f64::NAN], 3), why);
    refused(&Heatmap::new(["a"], ["b"], |_, _| f64::NAN).value_axis("lost"), why);
}

#[test]
fn a_range_has_an_inside() {
    for (axis, why) in [
        (Axis::linear("x").range(1.0, 1.0), r#"axis "x": the range from 1 to 1"#),
        (
            Axis::linear("x").range(0.0, f64::NAN),
            r#"axis "x": the range from 0 to NaN"#,
        ),
        (Axis::log("x").range(0.0, 1.0), r#"axis "x": the range from 0 to 1"#),
    ] {
        let chart =
            Chart::new(axis, Axis::linear("y")).line("", Hue::Flash, [(1.0, 1.0)]);
        refused(&chart, &format!("{why} cannot be drawn"));
    }
}

#[test]
fn bars_need_a_value_for_each_category_and_a_zero() {
    let bars = |axis| Bars::new(axis, ["a", "b"]);
    let short = bars(Axis::linear("y")).series("mean", Hue::Flash, [1.0]);
    refused(&short, r#"bars "mean": expected 2 values, found 1"#);
    let log = bars(Axis::log("y")).series("mean", Hue::Flash, [1.0, 2.0]);
    refused(&log, r#"axis "y": bars start at zero and need a linear axis"#);
}

#[test]
fn a_mark_needs_a_cell() {
    let heatmap = Heatmap::new(["a"], ["b"], |_, _| 1.0).mark(0, 1);
    refused(&heatmap, "there is no cell in row 0, column 1 to mark");
}

#[test]
fn a_diagram_is_well_formed() {
    let slot = |column| Slot { column, row: 0 };
    let one = Diagram::new().node("q", slot(0), &["query"], Hue::Flash);
    refused(
        &one.clone().arrow("q", "keys", ""),
        r#"there is no box "keys" for an arrow"#,
    );
    refused(
        &one.clone().node("k", slot(0), &["keys"], Hue::Flash),
        r#"boxes "q" and "k" have the same id or the same slot"#,
    );
    let long = "a line that is far too long for the page, on which it stands alone";
    let error =
        Figure::draw("d", words(), &one.node("l", slot(1), &[long], Hue::Flash));
    assert!(
        matches!(error, Err(FigureError::TooWide { needed, .. }) if needed > 440.0)
    );
}
