//! A plot of clock faces: what turns is easier to see as a hand than as a number.

use figures::{
    Anchor, Canvas, FigureError, Hue, LEADING, Paint, Pen, Plot, SMALL, Table, Type,
    at, width_of,
};
use std::f64::consts::TAU;

/// A grid of dials, each with one hand or two.
pub(crate) struct Dials {
    rows: Vec<String>,
    columns: Vec<String>,
    column_axis: String,
    hands: Vec<Vec<Hand>>,
}

/// Where a hand points, counter-clockwise from the right, in radians.
#[derive(Clone)]
pub(crate) struct Hand {
    pub(crate) name: &'static str,
    pub(crate) angle: f64,
    pub(crate) hue: Hue,
}

impl Dials {
    /// A dial for each row label and each column label, with the hands that `hands` gives
    /// for that row and column. Between two hands there is an arc.
    pub(crate) fn new(
        rows: Vec<String>,
        columns: Vec<String>,
        column_axis: &str,
        hands: impl Fn(usize, usize) -> Vec<Hand>,
    ) -> Dials {
        let cell = |i| hands(i / columns.len(), i % columns.len());
        let hands = (0..rows.len() * columns.len()).map(cell).collect();
        Dials { rows, columns, column_axis: column_axis.to_owned(), hands }
    }

    fn left(&self) -> f64 {
        let widths = self.rows.iter().map(|row| width_of(row, SMALL));
        widths.fold(0.0, f64::max) + 8.0
    }

    /// The side of the square that a dial has.
    fn cell(&self, width: f64) -> f64 {
        ((width - self.left()) / self.columns.len() as f64).min(110.0)
    }
}

const LINE: f64 = SMALL * LEADING;

impl Plot for Dials {
    fn title(&self) -> &'static str {
        ""
    }

    fn height(&self, width: f64) -> f64 {
        2.0 * LINE + self.rows.len() as f64 * self.cell(width)
    }

    fn paint(&self, canvas: &Canvas<'_>) -> Result<(), FigureError> {
        let (left, cell) = (self.left(), self.cell(canvas.width()));
        let radius = cell / 2.0 - 4.0;
        let middle = |column: usize| left + (column as f64 + 0.5) * cell;
        let across = Type::new(SMALL, Paint::Ink, Anchor::Middle);
        let center = left + self.columns.len() as f64 * cell / 2.0;
        let quiet = Type::new(SMALL, Paint::MutedInk, Anchor::Middle);
        canvas.words(&self.column_axis, at(center, LINE * 0.5), quiet)?;
        for (c, label) in self.columns.iter().enumerate() {
            canvas.words(label, at(middle(c), LINE * 1.5), across)?;
        }
        for (r, label) in self.rows.iter().enumerate() {
            let y = 2.0 * LINE + (r as f64 + 0.5) * cell;
            let start = Type::new(SMALL, Paint::Ink, Anchor::Start);
            canvas.words(label, at(0.0, y), start)?;
            for c in 0..self.columns.len() {
                let center = at(middle(c), y);
                canvas.circle(center, radius, Pen::new(Paint::Grid, 1.2))?;
                let on = |angle: f64, share: f64| {
                    let (x, y) = (angle.cos(), -angle.sin());
                    at(center.x + share * radius * x, center.y + share * radius * y)
                };
                let hands = &self.hands[r * self.columns.len() + c];
                if let [from, to] = &hands[..] {
                    let step = |i: u32| {
                        from.angle + (to.angle - from.angle) * f64::from(i) / 24.0
                    };
                    let arc: Vec<_> = (0..=24).map(|i| on(step(i), 0.45)).collect();
                    canvas.line(&arc, Pen::new(Paint::MutedInk, 1.2))?;
                }
                for hand in hands {
                    let pen = Pen::new(Paint::Hue(hand.hue), 2.0);
                    canvas.line(&[center, on(hand.angle, 0.82)], pen)?;
                    canvas.marker(hand.hue, on(hand.angle, 0.88), 3.2)?;
                }
            }
        }
        Ok(())
    }

    fn table(&self) -> Table {
        let mut columns = vec![String::new(), self.column_axis.clone()];
        let several = self.hands.iter().flatten().map(|hand| hand.name);
        let mut names: Vec<&str> = several.collect();
        names.sort_unstable();
        names.dedup();
        columns.extend(names.iter().map(|name| format!("{name}, degrees")));
        let row = |i: usize| {
            let (r, c) = (i / self.columns.len(), i % self.columns.len());
            let mut row = vec![self.rows[r].clone(), self.columns[c].clone()];
            row.extend(names.iter().map(|name| {
                let hand = self.hands[i].iter().find(|hand| hand.name == *name);
                hand.map_or(String::new(), |hand| {
                    // Tenths, so that differences of hands agree with what a caption rounds;
                    // rounded before they are wrapped, so that 360 is written as 0.
                    let tenths = (hand.angle / TAU * 3600.0).round().rem_euclid(3600.0);
                    format!("{:.1}", tenths / 10.0)
                })
            }));
            row
        };
        Table { columns, rows: (0..self.hands.len()).map(row).collect() }
    }
}
