//! Lines and points over two axes.

use crate::axis::{Ends, Frame, Margins, Scale, labels_height};
use crate::canvas::{
    Anchor, Area, Canvas, LEADING, Pen, Point, SMALL, Type, at, shorten, width_of,
};
use crate::legend::{Legend, Sample};
use crate::{Axis, FigureError, Hue, Paint, Plot, Spread, Table};

/// Series of points, as lines or on their own. Points without a place (NaN, infinities,
/// outside a chosen range, not positive on a log axis) are left out; lines break there.
#[derive(Clone, Debug)]
pub struct Chart {
    title: String,
    x: Axis,
    y: Axis,
    series: Vec<Series>,
    rules: Vec<Rule>,
}

#[derive(Clone, Debug)]
struct Series {
    label: String,
    hue: Hue,
    shape: Shape,
    points: Vec<(f64, f64)>,
    /// Of what was measured, at the same places as `points`; else empty.
    spreads: Vec<Spread>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Shape {
    Line,
    Scatter,
}

/// A reference line across the plot.
#[derive(Clone, Debug)]
struct Rule {
    across: Across,
    label: String,
}

#[derive(Clone, Copy, Debug)]
enum Across {
    X(f64),
    Y(f64),
}

impl Chart {
    /// An empty chart.
    #[must_use]
    pub fn new(x: Axis, y: Axis) -> Chart {
        Chart { title: String::new(), x, y, series: Vec::new(), rules: Vec::new() }
    }

    /// A title of its own, for a chart among panels.
    #[must_use]
    pub fn title(mut self, title: &str) -> Chart {
        title.clone_into(&mut self.title);
        self
    }

    /// Adds a line through `points`, in their order. An empty label names nothing.
    #[must_use]
    pub fn line(
        self,
        label: &str,
        hue: Hue,
        points: impl IntoIterator<Item = (f64, f64)>,
    ) -> Chart {
        self.with(label, hue, Shape::Line, points)
    }

    /// Adds points on their own.
    #[must_use]
    pub fn scatter(
        self,
        label: &str,
        hue: Hue,
        points: impl IntoIterator<Item = (f64, f64)>,
    ) -> Chart {
        self.with(label, hue, Shape::Scatter, points)
    }

    fn with(
        mut self,
        label: &str,
        hue: Hue,
        shape: Shape,
        points: impl IntoIterator<Item = (f64, f64)>,
    ) -> Chart {
        let (label, points) = (label.to_owned(), points.into_iter().collect());
        self.series.push(Series { label, hue, shape, points, spreads: Vec::new() });
        self
    }

    /// Adds a line through the medians of what was measured, each with a bar that spans
    /// the middle half. The figure has to say where it was measured: [`Figure::measured`].
    ///
    /// [`Figure::measured`]: crate::Figure::measured
    #[must_use]
    pub fn measured(
        self,
        label: &str,
        hue: Hue,
        points: impl IntoIterator<Item = (f64, Spread)>,
    ) -> Chart {
        self.with_spreads(label, hue, Shape::Line, points)
    }

    /// As [`Chart::measured`], without the line.
    #[must_use]
    pub fn measured_points(
        self,
        label: &str,
        hue: Hue,
        points: impl IntoIterator<Item = (f64, Spread)>,
    ) -> Chart {
        self.with_spreads(label, hue, Shape::Scatter, points)
    }

    fn with_spreads(
        mut self,
        label: &str,
        hue: Hue,
        shape: Shape,
        points: impl IntoIterator<Item = (f64, Spread)>,
    ) -> Chart {
        let (xs, spreads): (Vec<f64>, Vec<Spread>) = points.into_iter().unzip();
        let points = xs.into_iter().zip(spreads.iter().map(|s| s.median)).collect();
        self.series.push(Series {
            label: label.to_owned(),
            hue,
            shape,
            points,
            spreads,
        });
        self
    }

    /// Adds an upright reference line at `x`.
    #[must_use]
    pub fn vertical(mut self, x: f64, label: &str) -> Chart {
        self.rules.push(Rule { across: Across::X(x), label: label.to_owned() });
        self
    }

    /// Adds a level reference line at `y`.
    #[must_use]
    pub fn horizontal(mut self, y: f64, label: &str) -> Chart {
        self.rules.push(Rule { across: Across::Y(y), label: label.to_owned() });
        self
    }

    fn scales(&self) -> Result<(Scale, Scale), FigureError> {
        let drawn = |&(x, y): &(f64, f64)| {
            self.x.position(x).is_some() && self.y.position(y).is_some()
        };
        if let Some(empty) = self.series.iter().find(|s| !s.points.iter().any(drawn)) {
            return Err(FigureError::NoData(empty.label.clone()));
        }
        if self.series.is_empty() {
            return Err(FigureError::NoData(self.y.label().to_owned()));
        }
        let points = || self.series.iter().flat_map(|s| &s.points).filter(|p| drawn(p));
        let spreads = || self.series.iter().flat_map(|s| &s.spreads);
        let ends_of_bars = || spreads().flat_map(|s| [s.low, s.high]);
        let rules = || self.rules.iter().map(|rule| rule.across);
        let rules_x =
            rules().filter_map(|r| if let Across::X(x) = r { Some(x) } else { None });
        let rules_y =
            rules().filter_map(|r| if let Across::Y(y) = r { Some(y) } else { None });
        let lines_only = self.series.iter().all(|s| s.shape == Shape::Line);
        let ends = if lines_only { Ends::Data } else { Ends::Round };
        let x = self.x.scale(points().map(|p| p.0).chain(rules_x), ends)?;
        let ys = points().map(|p| p.1).chain(ends_of_bars()).chain(rules_y);
        let y = self.y.scale(ys, Ends::Round)?;
        Ok((x, y))
    }

    /// Fewer than five lines are named where they end, if that leaves them room; all
    /// else is named in a legend.
    fn naming(&self, width: f64) -> Naming {
        let labelled = || self.series.iter().filter(|s| !s.label.is_empty());
        let widest = labelled().map(|s| width_of(&s.label, SMALL)).fold(0.0, f64::max);
        let lines_only = labelled().all(|s| s.shape == Shape::Line);
        if labelled().count() == 0 {
            return Naming::None;
        }
        if lines_only && labelled().count() < 5 && widest < width * 0.3 {
            return Naming::Direct { room: LABEL_GAP + LEADER_ROOM + widest };
        }
        let entries = labelled().map(|s| match s.shape {
            Shape::Line => (s.label.as_str(), Sample::Line(s.hue)),
            Shape::Scatter => (s.label.as_str(), Sample::Point(s.hue)),
        });
        Naming::Legend(Legend::new(entries, width))
    }

    fn paint_series(&self, canvas: &Canvas, frame: &Frame) -> Result<(), FigureError> {
        for series in &self.series {
            paint_spreads(canvas, frame, series)?;
            let places = series.points.iter().map(|&(x, y)| frame.place(x, y));
            match series.shape {
                Shape::Line => {
                    let places: Vec<_> = places.collect();
                    paint_line(canvas, series.hue, &places)?;
                }
                Shape::Scatter => {
                    let radius =
                        if series.points.len() > MANY_POINTS { 2.0 } else { 3.2 };
                    for place in places.flatten() {
                        canvas.marker(series.hue, place, radius)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn paint_rules(&self, canvas: &Canvas, frame: &Frame) -> Result<(), FigureError> {
        let Area { x, y, width, height } = frame.plot;
        let ink = self.ink(frame);
        for rule in &self.rules {
            let label = shorten(&rule.label, SMALL, width - 2.0 * RULE_GAP);
            let size = (width_of(&label, SMALL), SMALL * LEADING);
            let (ends, spots) = match rule.across {
                Across::X(value) => {
                    let Some(x) = frame.place_x(value) else { continue };
                    ([at(x, y), at(x, y + height)], beside(x, size, &frame.plot))
                }
                Across::Y(value) => {
                    let Some(y) = frame.place_y(value) else { continue };
                    ([at(x, y), at(x + width, y)], along(y, size, &frame.plot))
                }
            };
            canvas.line(&ends, Pen::new(Paint::MutedInk, 1.2))?;
            let spot = quietest(&spots, &frame.plot, &ink);
            let set = Type::new(SMALL, Paint::MutedInk, Anchor::Start).rimmed();
            canvas.words(&label, at(spot.x, spot.center().y), set)?;
        }
        Ok(())
    }

    /// Points all over what the series cover, for labels to keep away from.
    fn ink(&self, frame: &Frame) -> Vec<Point> {
        let mut ink = Vec::new();
        for series in &self.series {
            let places = series.points.iter().map(|&(x, y)| frame.place(x, y));
            let places: Vec<_> = places.collect();
            ink.extend(places.iter().flatten());
            for pair in places.windows(2).filter(|_| series.shape == Shape::Line) {
                let [Some(a), Some(b)] = pair else { continue };
                let between = (1..8).map(|i| f64::from(i) / 8.0);
                ink.extend(
                    between.map(|t| at(a.x + (b.x - a.x) * t, a.y + (b.y - a.y) * t)),
                );
            }
        }
        ink
    }

    /// Names each line to the right of the plot, at the height where it ends or as near
    /// as its neighbors allow. Where lines end at the same place, a marker tells whose
    /// name it is.
    fn name_directly(&self, canvas: &Canvas, frame: &Frame) -> Result<(), FigureError> {
        let end =
            |s: &Series| s.points.iter().rev().find_map(|&(x, y)| frame.place(x, y));
        let labelled = self.series.iter().filter(|s| !s.label.is_empty());
        let mut ends: Vec<_> = labelled.filter_map(|s| Some((s, end(s)?))).collect();
        ends.sort_by(|a, b| a.1.y.total_cmp(&b.1.y));
        let wanted: Vec<f64> = ends.iter().map(|end| end.1.y).collect();
        let (top, right) = (frame.plot.y, frame.plot.x + frame.plot.width);
        let heights = spread(&wanted, SMALL * LEADING, (top, top + frame.plot.height));
        let close = |a: Point, b: Point| (a.x - b.x).hypot(a.y - b.y) < 2.0 * MARKER;
        let shared = |end| ends.iter().filter(|other| close(other.1, end)).count() > 1;
        for (&(series, end), height) in ends.iter().zip(heights) {
            let mut label = at(right + LABEL_GAP, height);
            let away = right - end.x > LABEL_GAP || (end.y - height).abs() > 2.0;
            if away {
                // In the color of the line it would seem to continue it.
                label.x += LEADER_ROOM;
                let tip = at(label.x - LEADER_GAP, height);
                canvas.line(&[end, tip], Pen::new(Paint::MutedInk, 0.8))?;
                if shared(end) {
                    canvas.marker(series.hue, tip, MARKER)?;
                }
            }
            if series.points.len() > FEW_POINTS {
                canvas.marker(series.hue, end, MARKER)?;
            }
            let set = Type::new(SMALL, Paint::Ink, Anchor::Start);
            canvas.words(&series.label, label, set)?;
        }
        Ok(())
    }
}

/// How the reader is told which series is which.
enum Naming {
    None,
    Direct { room: f64 },
    Legend(Legend),
}

/// From the plot to a label beside it: room for the last marker.
const LABEL_GAP: f64 = 10.0;
const MARKER: f64 = 3.2;
/// How far a label steps back that a leader goes to.
const LEADER_ROOM: f64 = 11.0;
/// From the tip of the leader to the label: room for a marker.
const LEADER_GAP: f64 = 6.0;
/// From a reference line to its label.
const RULE_GAP: f64 = 5.0;
/// Lines with more points than this are drawn without markers.
const FEW_POINTS: usize = 24;
/// How wide the stroke is at the end of a bar of what was measured.
const BAR_END: f64 = 6.0;
/// Scatters with more points than this get smaller ones.
const MANY_POINTS: usize = 150;

impl Plot for Chart {
    fn title(&self) -> &str {
        &self.title
    }

    fn height(&self, width: f64) -> f64 {
        let legend = match self.naming(width) {
            Naming::Legend(legend) => legend.height(),
            Naming::None | Naming::Direct { .. } => 0.0,
        };
        (width * 0.5).max(140.0) + legend + labels_height(&self.x, &self.y, width)
    }

    fn paint(&self, canvas: &Canvas) -> Result<(), FigureError> {
        let (x, y) = self.scales()?;
        let naming = self.naming(canvas.width());
        let mut margins = Margins::default();
        match &naming {
            Naming::None => {}
            Naming::Direct { room } => margins.right = *room,
            Naming::Legend(legend) => {
                legend.paint(canvas)?;
                margins.top = legend.height();
            }
        }
        let frame = Frame::draw(canvas, x, y, margins)?;
        self.paint_rules(canvas, &frame)?;
        self.paint_series(canvas, &frame)?;
        if let Naming::Direct { .. } = naming {
            self.name_directly(canvas, &frame)?;
        }
        Ok(())
    }

    fn is_measured(&self) -> bool {
        self.series.iter().any(|series| !series.spreads.is_empty())
    }

    fn table(&self) -> Table {
        if self.series.iter().all(Series::is_function) {
            self.wide()
        } else {
            self.long()
        }
    }
}

fn paint_line(
    canvas: &Canvas,
    hue: Hue,
    places: &[Option<Point>],
) -> Result<(), FigureError> {
    let runs = places.split(Option::is_none);
    let runs: Vec<Vec<Point>> =
        runs.map(|run| run.iter().flatten().copied().collect()).collect();
    for run in runs.iter().filter(|run| run.len() > 1) {
        canvas.line(run, Pen::series(hue))?;
    }
    let few = places.len() <= FEW_POINTS;
    for &place in runs.iter().filter(|run| few || run.len() == 1).flatten() {
        canvas.marker(hue, place, MARKER)?;
    }
    Ok(())
}

/// An upright bar through each median, with a short level stroke at either end. One that is
/// shorter than the marker on it hides behind it.
fn paint_spreads(
    canvas: &Canvas,
    frame: &Frame,
    series: &Series,
) -> Result<(), FigureError> {
    let pen = Pen::new(Paint::Hue(series.hue), 1.2);
    for (&(x, _), spread) in series.points.iter().zip(&series.spreads) {
        let ends = [frame.place(x, spread.low), frame.place(x, spread.high)];
        let [Some(low), Some(high)] = ends else { continue };
        canvas.line(&[low, high], pen)?;
        for end in [low, high] {
            let half = BAR_END / 2.0;
            canvas.line(&[at(end.x - half, end.y), at(end.x + half, end.y)], pen)?;
        }
    }
    Ok(())
}

/// Where the label of an upright rule may stand: right or left of it, at either end.
fn beside(x: f64, (width, height): (f64, f64), plot: &Area) -> [Area; 4] {
    let (top, bottom) = (plot.y + 1.0, plot.y + plot.height - height - 1.0);
    let (right, left) = (x + RULE_GAP, x - RULE_GAP - width);
    [(right, top), (left, top), (right, bottom), (left, bottom)].map(|(x, y)| Area {
        x,
        y,
        width,
        height,
    })
}

/// Where the label of a level rule may stand: above or below it, at either end.
fn along(y: f64, (width, height): (f64, f64), plot: &Area) -> [Area; 4] {
    let (above, below) = (y - height, y + 1.0);
    let (left, right) = (plot.x + RULE_GAP, plot.x + plot.width - RULE_GAP - width);
    [(left, above), (right, above), (left, below), (right, below)].map(|(x, y)| Area {
        x,
        y,
        width,
        height,
    })
}

/// The first of the spots within the plot that cover the least ink.
fn quietest(spots: &[Area; 4], plot: &Area, ink: &[Point]) -> Area {
    let within = |spot: &&Area| {
        spot.x >= plot.x
            && spot.x + spot.width <= plot.x + plot.width
            && spot.y >= plot.y
            && spot.y + spot.height <= plot.y + plot.height
    };
    let covered = |spot: &&Area| {
        let is_under = |p: &&Point| {
            (spot.x..=spot.x + spot.width).contains(&p.x)
                && (spot.y..=spot.y + spot.height).contains(&p.y)
        };
        ink.iter().filter(is_under).count()
    };
    *spots.iter().filter(within).min_by_key(covered).unwrap_or(&spots[0])
}

/// Heights at least `gap` apart, as near to the wanted ones (in order) as that allows:
/// the mean of pushing everything down and of pushing everything up.
fn spread(wanted: &[f64], gap: f64, (top, bottom): (f64, f64)) -> Vec<f64> {
    let down = pushed(wanted.iter().copied(), |before, y| y.max(before + gap));
    let up = pushed(wanted.iter().rev().copied(), |after, y| y.min(after - gap));
    let mean = down.iter().zip(up.iter().rev()).map(|(a, b)| f64::midpoint(*a, *b));
    let last = wanted.len().saturating_sub(1) as f64;
    let ceiling = mean.enumerate().map(|(i, y)| y.max(top + i as f64 * gap));
    let floor =
        ceiling.enumerate().map(|(i, y)| y.min(bottom - (last - i as f64) * gap));
    floor.collect()
}

fn pushed(
    wanted: impl Iterator<Item = f64>,
    push: impl Fn(f64, f64) -> f64,
) -> Vec<f64> {
    wanted
        .scan(None, |before, y| {
            let y = before.map_or(y, |before| push(before, y));
            *before = Some(y);
            Some(y)
        })
        .collect()
}

impl Series {
    /// The value of a point, in the words of a table.
    fn write(&self, point: usize, axis: &Axis) -> String {
        match self.spreads.get(point) {
            Some(spread) => spread.write(axis),
            None => axis.write(self.points[point].1),
        }
    }

    /// Whether it gives one y for an x.
    fn is_function(&self) -> bool {
        let mut xs: Vec<f64> = self.points.iter().map(|p| p.0).collect();
        xs.sort_by(f64::total_cmp);
        xs.windows(2).all(|pair| pair[0] != pair[1])
    }
}

impl Chart {
    /// A row for each x, a column for each series.
    fn wide(&self) -> Table {
        let points = self.series.iter().flat_map(|s| &s.points);
        let mut xs: Vec<f64> = points.map(|p| p.0).collect();
        xs.sort_by(f64::total_cmp);
        xs.dedup();
        let heads = self.series.iter().map(|s| match s.label.as_str() {
            "" => self.y.label().to_owned(),
            label => format!("{label} ({})", self.y.label()),
        });
        let row = |&x: &f64| {
            let ys = self.series.iter().map(|s| {
                let point = s.points.iter().position(|p| p.0 == x);
                point.map(|point| s.write(point, &self.y)).unwrap_or_default()
            });
            std::iter::once(self.x.write(x)).chain(ys).collect()
        };
        Table {
            columns: std::iter::once(self.x.label().to_owned()).chain(heads).collect(),
            rows: xs.iter().map(row).collect(),
        }
    }

    /// A row for each point.
    fn long(&self) -> Table {
        let row = |s: &Series, point: usize| {
            let x = self.x.write(s.points[point].0);
            vec![s.label.clone(), x, s.write(point, &self.y)]
        };
        let points = |s: &Series| 0..s.points.len();
        let rows = self.series.iter().flat_map(|s| points(s).map(move |p| row(s, p)));
        Table {
            columns: ["series", self.x.label(), self.y.label()]
                .map(str::to_owned)
                .into(),
            rows: rows.collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_stay_where_they_have_room() {
        assert_eq!(spread(&[10.0, 50.0, 90.0], 15.0, (0.0, 100.0)), [10.0, 50.0, 90.0]);
    }

    #[test]
    fn colliding_labels_move_apart_evenly() {
        assert_eq!(spread(&[50.0, 50.0], 10.0, (0.0, 100.0)), [45.0, 55.0]);
        assert_eq!(spread(&[50.0, 50.0, 50.0], 10.0, (0.0, 100.0)), [40.0, 50.0, 60.0]);
    }

    #[test]
    fn a_rule_is_labelled_where_the_plot_is_empty() {
        let plot = Area { x: 0.0, y: 0.0, width: 100.0, height: 100.0 };
        let spots = beside(50.0, (20.0, 10.0), &plot);
        assert_eq!(quietest(&spots, &plot, &[]), spots[0]);
        let ink = [spots[0].center(), spots[1].center()];
        assert_eq!(quietest(&spots, &plot, &ink), spots[2]);
        let at_the_edge = beside(95.0, (20.0, 10.0), &plot);
        assert_eq!(quietest(&at_the_edge, &plot, &[]), at_the_edge[1]);
    }

    #[test]
    fn labels_do_not_leave_the_plot() {
        assert_eq!(spread(&[0.0, 1.0], 10.0, (0.0, 100.0)), [0.0, 10.0]);
        assert_eq!(spread(&[99.0, 100.0], 10.0, (0.0, 100.0)), [90.0, 100.0]);
    }
}
