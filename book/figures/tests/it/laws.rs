//! What holds for any data.

use figures::{
    Axis, Bars, Chart, Diagram, Figure, FigureError, Heatmap, Histogram, Hue,
};
use figures::{Plot, Slot, Words, check_current, save};
use proptest::collection::vec;
use proptest::prelude::*;
use roxmltree::Document;

fn draw(plot: &dyn Plot, title: &str) -> Result<Figure, FigureError> {
    let words = Words { title: title.into(), caption: "c".into(), alt: "a".into() };
    Figure::draw("figure", words, plot)
}

/// Ordinary numbers, and now and then any double: subnormals, infinities, NaN.
fn number() -> impl Strategy<Value = f64> {
    prop_oneof![
        8 => -10.0..10.0,
        8 => 0.001..1e6,
        1 => any::<f64>(),
        1 => Just(f64::NAN),
        1 => Just(0.0),
    ]
}

fn axis() -> impl Strategy<Value = Axis> {
    let kind = prop_oneof![
        Just(Axis::linear as fn(&str) -> Axis),
        Just(Axis::log as fn(&str) -> Axis),
        Just(Axis::log2 as fn(&str) -> Axis),
    ];
    let range = proptest::option::weighted(0.2, (number(), number()));
    let ticks = proptest::option::weighted(0.3, vec(number(), 0..4));
    (kind, any::<String>(), range, ticks).prop_map(|(kind, label, range, ticks)| {
        let axis = kind(&label);
        let axis = range.map_or(axis.clone(), |(low, high)| axis.range(low, high));
        ticks.map_or(axis.clone(), |ticks| axis.ticks(&ticks))
    })
}

fn hue() -> impl Strategy<Value = Hue> {
    proptest::sample::select(Hue::ALL.to_vec())
}

/// The picture is XML, and every point of it lies on the sheet.
fn is_sound(drawn: Result<Figure, FigureError>) -> Result<(), TestCaseError> {
    let Ok(figure) = drawn else { return Ok(()) };
    let document = Document::parse(figure.svg())
        .map_err(|e| TestCaseError::fail(e.to_string()))?;
    let sheet = document.root_element();
    let size = |name| {
        sheet.attribute(name).unwrap_or_default().parse::<f64>().unwrap_or_default()
    };
    let (width, height) = (size("width"), size("height"));
    prop_assert!(width == 440.0 && height > 0.0 && height.is_finite());
    for mark in sheet.children().filter(|node| node.has_attribute("d")) {
        let path = mark.attribute("d").unwrap_or_default();
        prop_assert!(!path.contains("NaN") && !path.contains("inf"), "{path}");
        let corners = path.split(['M', 'L']).filter_map(|corner| {
            let corner = corner.split(['h', 'z']).next()?;
            let (x, y) = corner.split_once(' ')?;
            Some((x.parse::<f64>().ok()?, y.parse::<f64>().ok()?))
        });
        for (x, y) in corners {
            let on =
                (-1.0..=width + 1.0).contains(&x) && (-1.0..=height + 1.0).contains(&y);
            prop_assert!(on, "({x}, {y}) is not on {width} × {height}");
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn charts_draw_anything_or_say_why(
        (x, y) in (axis(), axis()),
        title in any::<String>(),
        lines in vec((any::<String>(), hue(), vec((number(), number()), 1..30)), 0..6),
        points in vec((number(), number()), 1..30),
        (upright, level) in (number(), number()),
    ) {
        let mut chart = Chart::new(x, y).vertical(upright, &title).horizontal(level, &title);
        for (label, hue, points) in lines {
            chart = chart.line(&label, hue, points);
        }
        is_sound(draw(&chart, "t"))?;
        is_sound(draw(&chart.scatter(&title, Hue::Accent, points), &format!("t {title}")))?;
    }

    #[test]
    fn bars_draw_anything_or_say_why(
        axis in axis(),
        series in vec((any::<String>(), hue(), vec(number(), 3)), 0..4),
        names in vec(any::<String>(), 3),
    ) {
        let mut bars = Bars::new(axis, names);
        for (label, hue, values) in series {
            bars = bars.series(&label, hue, values);
        }
        is_sound(draw(&bars, "t"))?;
    }

    #[test]
    fn histograms_draw_anything_or_say_why(
        axis in axis(),
        values in vec(number(), 0..20),
        bins in 0..30_usize,
    ) {
        is_sound(draw(&Histogram::new(axis, values, bins), "t"))?;
    }

    #[test]
    fn heatmaps_draw_anything_or_say_why(
        labels in vec(any::<String>(), 0..20),
        values in vec(number(), 400),
        range in proptest::option::of((number(), number())),
    ) {
        let value = |row: usize, column: usize| values[row * 20 + column];
        let heatmap = Heatmap::new(labels.clone(), labels, value).values(2).row_axis("query");
        let heatmap = match range {
            Some((low, high)) => heatmap.range(low, high),
            None => heatmap,
        };
        is_sound(draw(&heatmap, "t"))?;
    }

    #[test]
    fn diagrams_draw_anything_or_say_why(
        nodes in vec((0..3_usize, any::<usize>(), ".{0,8}"), 1..6),
        arrows in vec((0..6_usize, 0..6_usize, ".{0,5}", any::<bool>()), 0..6),
    ) {
        let mut diagram = Diagram::new();
        for (i, (column, row, words)) in nodes.iter().enumerate() {
            let slot = Slot { column: *column, row: *row };
            diagram = diagram.node(&i.to_string(), slot, &[words], Hue::Flash);
        }
        for (from, to, label, straight) in arrows {
            let (from, to) = (from % nodes.len(), to % nodes.len());
            let (from, to) = (from.to_string(), to.to_string());
            diagram = if straight {
                diagram.arrow(&from, &to, &label)
            } else {
                diagram.elbow(&from, &to, &label)
            };
        }
        is_sound(draw(&diagram, "t"))?;
    }

    #[test]
    fn the_last_digit_of_an_f32_changes_nothing(
        points in vec((0.0..1e3, -1e3..1e3), 2..20),
        noise in -1e-7..1e-7,
    ) {
        let chart = |scale: f64| {
            let points = points.iter().map(|&(x, y)| (x * scale, y * scale));
            let plot = Chart::new(Axis::linear("x"), Axis::linear("y"));
            draw(&plot.line("line", Hue::Flash, points), "t").unwrap()
        };
        let dir = tempfile::tempdir().unwrap();
        save(dir.path(), &[chart(1.0)]).unwrap();
        let checked = check_current(dir.path(), &[chart(1.0 + noise)]);
        prop_assert!(checked.is_ok(), "{checked:?}");
    }
}

#[test]
fn the_same_data_gives_the_same_bytes() {
    let draw = || {
        let map = Heatmap::new(["a", "b"], ["a", "b"], |r, c| (r + c) as f64);
        draw(&map, "t").unwrap()
    };
    assert_eq!(draw(), draw());
}

#[test]
fn every_color_is_a_property_with_a_fallback() {
    let mut chart = Chart::new(Axis::linear("x"), Axis::log("y"));
    for hue in Hue::ALL {
        chart = chart.line("l", hue, [(0.0, 1.0), (1.0, 2.0)]);
    }
    let figure = draw(&chart, "t").unwrap();
    let document = Document::parse(figure.svg()).unwrap();
    let colors = document.descendants().flat_map(|node| node.attributes());
    let colors = colors.filter(|a| matches!(a.name(), "fill" | "stroke"));
    let mut seen = 0;
    for color in colors.filter(|a| a.value() != "none") {
        assert!(color.value().starts_with("var(--fig-"), "{}", color.value());
        seen += 1;
    }
    assert!(seen > 11);
}
