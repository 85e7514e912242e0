//! The legend of plots with many series: samples and words, in as many rows as needed.

use crate::canvas::{Anchor, Area, Canvas, Pen, SMALL, Type, at, shorten, width_of};
use crate::{FigureError, Hue, Paint};

/// What stands before a label.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Sample {
    Line(Hue),
    Point(Hue),
    Bar(Hue),
}

/// Entries with their places.
pub(crate) struct Legend {
    entries: Vec<Entry>,
}

struct Entry {
    label: String,
    sample: Sample,
    x: f64,
    row: usize,
}

const ROW: f64 = 18.0;
const GAP: f64 = 14.0;

impl Legend {
    /// Fills rows of this width, one entry after the other.
    pub(crate) fn new<'a>(
        entries: impl Iterator<Item = (&'a str, Sample)>,
        width: f64,
    ) -> Legend {
        let (mut x, mut row) = (0.0, 0);
        let place = |(label, sample): (&str, Sample)| {
            let label = shorten(label, SMALL, width - sample.width());
            let needed = sample.width() + width_of(&label, SMALL);
            if x > 0.0 && x + needed > width {
                (x, row) = (0.0, row + 1);
            }
            let entry = Entry { label, sample, x, row };
            x += needed + GAP;
            entry
        };
        Legend { entries: entries.map(place).collect() }
    }

    pub(crate) fn height(&self) -> f64 {
        self.entries.last().map_or(0.0, |last| (last.row + 1) as f64 * ROW + 4.0)
    }

    /// At the top of the canvas.
    pub(crate) fn paint(&self, canvas: &Canvas) -> Result<(), FigureError> {
        for Entry { label, sample, x, row } in &self.entries {
            let y = (*row as f64 + 0.5) * ROW;
            sample.paint(canvas, *x, y)?;
            let set = Type::new(SMALL, Paint::Ink, Anchor::Start);
            canvas.words(label, at(x + sample.width(), y), set)?;
        }
        Ok(())
    }
}

impl Sample {
    /// With the gap to the label.
    fn width(self) -> f64 {
        match self {
            Sample::Line(_) => 38.0,
            Sample::Point(_) | Sample::Bar(_) => 15.0,
        }
    }

    fn paint(self, canvas: &Canvas, x: f64, y: f64) -> Result<(), FigureError> {
        match self {
            Sample::Line(hue) => {
                canvas.line(&[at(x, y), at(x + 32.0, y)], Pen::series(hue))?;
                canvas.marker(hue, at(x + 16.0, y), 3.2)
            }
            Sample::Point(hue) => canvas.marker(hue, at(x + 5.0, y), 3.6),
            Sample::Bar(hue) => {
                let area = Area { x, y: y - 5.0, width: 10.0, height: 10.0 };
                canvas.fill(area, Paint::Hue(hue), 1.0)
            }
        }
    }
}
