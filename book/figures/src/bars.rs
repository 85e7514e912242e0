//! Bars for categories, lying down: their names and values have room on a phone.

use crate::axis::{Ends, Frame, Margins, Scale, labels_height};
use crate::canvas::{Anchor, Area, Canvas, Pen, SMALL, Type, at, width_of, wrap};
use crate::legend::{Legend, Sample};
use crate::{Axis, FigureError, Hue, Paint, Plot, Spread, Table};

/// One bar a category and series, from zero, with its value at its end. A value that is
/// not a number has a dash for a bar.
#[derive(Clone, Debug)]
pub struct Bars {
    title: String,
    categories_label: String,
    categories: Vec<String>,
    axis: Axis,
    series: Vec<Series>,
}

#[derive(Clone, Debug)]
struct Series {
    label: String,
    hue: Hue,
    values: Vec<f64>,
    /// Of what was measured, one for each of `values`; else empty.
    spreads: Vec<Spread>,
}

impl Bars {
    /// Bars for `categories`, whose values lie on a linear `axis`.
    #[must_use]
    pub fn new(
        axis: Axis,
        categories: impl IntoIterator<Item = impl Into<String>>,
    ) -> Bars {
        Bars {
            title: String::new(),
            categories_label: String::new(),
            categories: categories.into_iter().map(Into::into).collect(),
            axis,
            series: Vec::new(),
        }
    }

    /// A title of its own, for bars among panels.
    #[must_use]
    pub fn title(mut self, title: &str) -> Bars {
        title.clone_into(&mut self.title);
        self
    }

    /// What the categories are: `layer`, `groups`. Stands above their names.
    #[must_use]
    pub fn categories_label(mut self, label: &str) -> Bars {
        label.clone_into(&mut self.categories_label);
        self
    }

    /// Adds a bar to each category. An empty label names nothing.
    #[must_use]
    pub fn series(
        mut self,
        label: &str,
        hue: Hue,
        values: impl IntoIterator<Item = f64>,
    ) -> Bars {
        let (label, values) = (label.to_owned(), values.into_iter().collect());
        self.series.push(Series { label, hue, values, spreads: Vec::new() });
        self
    }

    /// Adds a bar to each category, as long as the median of what was measured, with a
    /// line over its end that spans the middle half. The figure has to say where it was
    /// measured: [`Figure::measured`](crate::Figure::measured).
    #[must_use]
    pub fn measured(
        mut self,
        label: &str,
        hue: Hue,
        spreads: impl IntoIterator<Item = Spread>,
    ) -> Bars {
        let spreads: Vec<Spread> = spreads.into_iter().collect();
        let values = spreads.iter().map(|spread| spread.median).collect();
        self.series.push(Series { label: label.to_owned(), hue, values, spreads });
        self
    }

    fn check(&self) -> Result<(), FigureError> {
        if self.axis.is_log() {
            return Err(FigureError::BarsOnLog(self.axis.label().to_owned()));
        }
        let drawn = |v: &f64| self.axis.position(*v).is_some();
        for Series { label, values, .. } in &self.series {
            if values.len() != self.categories.len() {
                return Err(FigureError::Length {
                    series: label.clone(),
                    expected: self.categories.len(),
                    found: values.len(),
                });
            }
            if !values.iter().any(drawn) {
                return Err(FigureError::NoData(label.clone()));
            }
        }
        if self.series.is_empty() {
            return Err(FigureError::NoData(self.axis.label().to_owned()));
        }
        Ok(())
    }

    fn legend(&self, width: f64) -> Legend {
        let labelled = self.series.iter().filter(|s| !s.label.is_empty());
        Legend::new(labelled.map(|s| (s.label.as_str(), Sample::Bar(s.hue))), width)
    }

    /// The names of the categories, wrapped to at most a third of the width.
    fn names(&self, width: f64) -> Vec<Vec<String>> {
        self.categories.iter().map(|name| wrap(name, SMALL, width / 3.0)).collect()
    }

    /// The height of one category: its bars or its name, whichever is higher.
    fn slot(&self, names: &[Vec<String>]) -> f64 {
        let lines = names.iter().map(Vec::len).max().unwrap_or(1);
        let bars = self.series.len() as f64 * BAR;
        bars.max(lines as f64 * SMALL * 1.2) + BETWEEN
    }

    fn paint_bars(&self, canvas: &Canvas, frame: &Frame) -> Result<(), FigureError> {
        let slot = frame.plot.height / self.categories.len().max(1) as f64;
        let first = (slot - self.series.len() as f64 * BAR) / 2.0;
        let zero = frame.place_x(0.0).unwrap_or(frame.plot.x);
        for (i, series) in self.series.iter().enumerate() {
            for (category, &value) in series.values.iter().enumerate() {
                let y = frame.plot.y + category as f64 * slot + first + i as f64 * BAR;
                let Some(end) = frame.place_x(value) else {
                    let set = Type::new(SMALL, Paint::MutedInk, Anchor::Start);
                    canvas.words("–", at(zero + 4.0, y + BAR / 2.0), set)?;
                    continue;
                };
                let (x, width) = (zero.min(end), (end - zero).abs());
                let bar = Area { x, y: y + 1.0, width, height: BAR - 2.0 };
                canvas.fill(bar, Paint::Hue(series.hue), 1.0)?;
                let farthest = match series.spreads.get(category) {
                    Some(spread) => paint_spread(canvas, frame, spread, y + BAR / 2.0)?,
                    None => end,
                };
                let (x, anchor) = if value < 0.0 {
                    (end - 4.0, Anchor::End)
                } else {
                    (end.max(farthest) + 4.0, Anchor::Start)
                };
                let set = Type::new(SMALL, Paint::Ink, anchor).rimmed();
                canvas.words(&self.axis.write(value), at(x, y + BAR / 2.0), set)?;
            }
        }
        let bottom = frame.plot.y + frame.plot.height;
        canvas.line(
            &[at(zero, frame.plot.y), at(zero, bottom)],
            Pen::new(Paint::Ink, 1.2),
        )
    }

    fn paint_names(
        &self,
        canvas: &Canvas,
        frame: &Frame,
        names: &[Vec<String>],
    ) -> Result<(), FigureError> {
        let slot = frame.plot.height / names.len().max(1) as f64;
        let set = Type::new(SMALL, Paint::Ink, Anchor::End);
        for (category, lines) in names.iter().enumerate() {
            let middle = frame.plot.y + (category as f64 + 0.5) * slot;
            let first = middle - (lines.len() as f64 - 1.0) / 2.0 * SMALL * 1.2;
            for (i, line) in lines.iter().enumerate() {
                let y = first + i as f64 * SMALL * 1.2;
                canvas.words(line, at(frame.plot.x - 6.0, y), set)?;
            }
        }
        let above = at(frame.plot.x - 6.0, frame.plot.y - SMALL * 0.8);
        let set = Type::new(SMALL, Paint::MutedInk, Anchor::End);
        canvas.words(&self.categories_label, above, set)
    }
}

/// A level line from one end of the middle half to the other, with a stroke at either end,
/// in ink with a rim of paper, so that it is seen on the bar and beside it. Gives how far it
/// reaches to the right.
fn paint_spread(
    canvas: &Canvas,
    frame: &Frame,
    spread: &Spread,
    y: f64,
) -> Result<f64, FigureError> {
    let ends = [frame.place_x(spread.low), frame.place_x(spread.high)];
    let [Some(low), Some(high)] = ends else { return Ok(0.0) };
    let half = BAR_END / 2.0;
    let strokes = [
        [at(low, y), at(high, y)],
        [at(low, y - half), at(low, y + half)],
        [at(high, y - half), at(high, y + half)],
    ];
    for pen in [Pen::new(Paint::Paper, 3.6), Pen::new(Paint::Ink, 1.2)] {
        for stroke in strokes {
            canvas.line(&stroke, pen)?;
        }
    }
    Ok(high)
}

const BAR: f64 = 16.0;
/// How long the stroke is at the end of a line of what was measured.
const BAR_END: f64 = 6.0;
const BETWEEN: f64 = 8.0;

impl Plot for Bars {
    fn title(&self) -> &str {
        &self.title
    }

    fn height(&self, width: f64) -> f64 {
        let bars = self.slot(&self.names(width)) * self.categories.len() as f64;
        let labels = labels_height(&self.axis, &Axis::linear(""), width);
        bars + self.legend(width).height() + self.head() + labels
    }

    fn paint(&self, canvas: &Canvas) -> Result<(), FigureError> {
        self.check()?;
        let legend = self.legend(canvas.width());
        legend.paint(canvas)?;
        let names = self.names(canvas.width());
        let values = || self.series.iter().flat_map(|s| s.values.iter().copied());
        let farthest = || self.series.iter().flat_map(|s| &s.spreads).map(|s| s.high);
        let lines = names.iter().flatten().chain([&self.categories_label]);
        let longest = |words: &mut dyn Iterator<Item = f64>| words.fold(0.0, f64::max);
        let margins = Margins {
            top: legend.height() + self.head(),
            left: longest(&mut lines.map(|line| width_of(line, SMALL))),
            right: longest(&mut values().map(|v| width_of(&self.axis.write(v), SMALL)))
                + 8.0,
        };
        let x =
            self.axis.scale(values().chain(farthest()).chain([0.0]), Ends::Round)?;
        let y = Scale::categories(self.categories.len());
        let frame = Frame::draw(canvas, x, y, margins)?;
        self.paint_bars(canvas, &frame)?;
        self.paint_names(canvas, &frame, &names)
    }

    fn is_measured(&self) -> bool {
        self.series.iter().any(|series| !series.spreads.is_empty())
    }

    fn table(&self) -> Table {
        let heads = self.series.iter().map(|s| match s.label.as_str() {
            "" => self.axis.label().to_owned(),
            label => format!("{label} ({})", self.axis.label()),
        });
        let row = |(i, category): (usize, &String)| {
            let cells = self.series.iter().map(|s| match s.spreads.get(i) {
                Some(spread) => spread.write(&self.axis),
                None => {
                    s.values.get(i).map(|&v| self.axis.write(v)).unwrap_or_default()
                }
            });
            std::iter::once(category.clone()).chain(cells).collect()
        };
        Table {
            columns: std::iter::once(self.categories_label.clone())
                .chain(heads)
                .collect(),
            rows: self.categories.iter().enumerate().map(row).collect(),
        }
    }
}

impl Bars {
    fn head(&self) -> f64 {
        if self.categories_label.is_empty() { 0.0 } else { SMALL * 1.2 }
    }
}
