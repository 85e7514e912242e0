//! One small drawing of each kind, as a page gets it.

use figures::{Axis, Bars, Chart, Diagram, Figure, Format, Heatmap, Histogram, Hue};
use figures::{Plot, Slot, Spread, Words};

fn words() -> Words {
    Words {
        title: "Q & A".into(),
        caption: "A `<s>` costs $n^2$.".into(),
        alt: "From 1 to 3.".into(),
    }
}

fn svg(plot: &dyn Plot) -> String {
    Figure::draw("small", words(), plot).unwrap().svg().to_owned()
}

#[test]
fn lines_end_at_their_names() {
    let chart = Chart::new(Axis::log2("tokens"), Axis::linear("time, ms"))
        .line("[CLS] & <s>", Hue::Attention, [(1.0, 0.0), (4.0, f64::NAN), (16.0, 2.0)])
        .line("", Hue::Accent, [(1.0, 1.0), (16.0, 1.0)])
        .horizontal(1.5, "limit");
    insta::assert_snapshot!(svg(&chart));
}

#[test]
fn points_are_named_in_a_legend() {
    let chart = Chart::new(
        Axis::linear("x").range(0.0, 1.0).ticks(&[0.0, 1.0]),
        Axis::log("bytes").format(Format::Short),
    )
    .scatter(
        "seen",
        Hue::Rotary,
        [(0.0, 1e3), (0.0, 1e6), (0.5, -1.0), (2.0, 1e4)],
    );
    insta::assert_snapshot!(svg(&chart));
}

#[test]
fn bars_start_at_zero_and_end_with_their_values() {
    let bars = Bars::new(Axis::linear("error"), ["two heads", "one"])
        .categories_label("groups")
        .series("mean", Hue::GroupedQuery, [0.5, -0.25])
        .series("first", Hue::Accent, [1.0, f64::NAN]);
    insta::assert_snapshot!(svg(&bars));
}

#[test]
fn what_was_measured_has_bars_of_its_middle_half() {
    let spread = |low, median, high| Spread { low, median, high };
    let chart = Chart::new(Axis::log2("tokens"), Axis::linear("time, ms"))
        .measured(
            "steady",
            Hue::Attention,
            [(1.0, spread(1.0, 1.0, 1.0)), (4.0, spread(1.5, 2.0, 9.0))],
        )
        .measured_points("points", Hue::Flash, [(2.0, spread(3.0, 4.0, 5.0))]);
    let bars = Bars::new(Axis::linear("time, ms"), ["one", "two"])
        .series("roof", Hue::Muted, [1.0, 2.0])
        .measured("took", Hue::Accent, [spread(1.0, 2.0, 8.0), spread(2.0, 2.5, 3.0)]);
    let plots: [&dyn Plot; 2] = [&chart, &bars];
    let figure = Figure::measured("small", words(), "One core, 2026.", 1, &plots);
    insta::assert_snapshot!(figure.unwrap().svg());
}

#[test]
fn histogram_counts_every_value_once() {
    let values = [0.0, 0.1, 0.5, 1.0, f64::NAN, f64::INFINITY];
    let histogram = Histogram::new(Axis::linear("weight"), values, 2).hue(Hue::Flash);
    insta::assert_snapshot!(svg(&histogram));
}

#[test]
fn heatmap_shows_values_marks_and_gaps() {
    let weights = [[1.0, f64::NAN], [0.25, 0.75]];
    let heatmap = Heatmap::new(["the", "cat"], ["the", "cat"], |row, column| {
        weights[row][column]
    })
    .row_axis("query")
    .column_axis("key")
    .value_axis("weight")
    .absent("hidden")
    .range(0.0, 1.0)
    .values(2)
    .mark(1, 1);
    insta::assert_snapshot!(svg(&heatmap));
}

#[test]
fn diagram_joins_boxes() {
    let slot = |column, row| Slot { column, row };
    let diagram = Diagram::new()
        .node("q", slot(0, 0), &["query", "1 × d"], Hue::Attention)
        .node("k", slot(1, 0), &["keys"], Hue::Muted)
        .node("s", slot(0, 1), &["scores"], Hue::Flash)
        .arrow("q", "s", "dot")
        .elbow("k", "s", "");
    insta::assert_snapshot!(svg(&diagram));
}

#[test]
fn panels_share_one_table() {
    let line = |title: &str, y: f64| {
        Chart::new(Axis::linear("x"), Axis::linear("y")).title(title).line(
            "",
            Hue::Latent,
            [(0.0, 0.0), (1.0, y)],
        )
    };
    let bars = Bars::new(Axis::linear("y"), ["a"]).series("", Hue::Latent, [2.0]);
    let (left, right) = (line("up", 1.0), line("down", -1.0));
    let figure = Figure::panels("pair", words(), 2, &[&left, &right, &bars]).unwrap();
    let metadata = figure.svg().lines().find(|line| line.starts_with("<metadata>"));
    insta::assert_snapshot!(metadata.unwrap());
}

#[test]
fn columns_of_one_name_keep_their_places() {
    let map = |high: f64| {
        let value =
            move |_, column| high + f64::from(u8::try_from(column).unwrap_or(0));
        Heatmap::new(["it"], ["the", "cat", "the"], value)
    };
    let figure = Figure::panels("pair", words(), 1, &[&map(0.0), &map(10.0)]).unwrap();
    let metadata = figure.svg().lines().find(|line| line.starts_with("<metadata>"));
    let metadata = metadata.unwrap();
    assert!(metadata.contains(r#"["1","it","0","1","2"]"#), "{metadata}");
    assert!(metadata.contains(r#"["2","it","10","11","12"]"#), "{metadata}");
}
