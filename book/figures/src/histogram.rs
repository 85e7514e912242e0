//! How values are distributed.

use crate::axis::{Ends, Frame, Margins, Scale, labels_height};
use crate::canvas::{Area, Canvas};
use crate::{Axis, FigureError, Format, Hue, Paint, Plot, Table};

/// Counts of values in bins of equal width (equal ratio on a log axis). Values without
/// a place on the axis are not counted.
#[derive(Clone, Debug)]
pub struct Histogram {
    title: String,
    axis: Axis,
    hue: Hue,
    values: Vec<f64>,
    bins: usize,
}

impl Histogram {
    /// The distribution of `values` over `bins` (at least one).
    #[must_use]
    pub fn new(
        axis: Axis,
        values: impl IntoIterator<Item = f64>,
        bins: usize,
    ) -> Histogram {
        Histogram {
            title: String::new(),
            axis,
            hue: Hue::Muted,
            values: values.into_iter().collect(),
            bins: bins.max(1),
        }
    }

    /// A title of its own, for a histogram among panels.
    #[must_use]
    pub fn title(mut self, title: &str) -> Histogram {
        title.clone_into(&mut self.title);
        self
    }

    /// The mechanism that the values come from.
    #[must_use]
    pub fn hue(self, hue: Hue) -> Histogram {
        Histogram { hue, ..self }
    }

    fn counted(&self) -> Result<(Scale, Vec<Bin>), FigureError> {
        let values = self.values.iter().copied();
        let scale = self.axis.scale(values.clone(), Ends::Round)?;
        let positions: Vec<f64> = values.filter_map(|v| scale.position(v)).collect();
        if positions.is_empty() {
            return Err(FigureError::NoData(self.axis.label().to_owned()));
        }
        let (low, high) = scale.ends();
        let width = (high - low) / self.bins as f64;
        let mut counts = vec![0_usize; self.bins];
        for position in positions {
            // Values on a border, give or take a last digit, belong to the bin above.
            let bin = ((position - low) / width + 1e-6).max(0.0) as usize;
            counts[bin.min(self.bins - 1)] += 1;
        }
        let border = |i: usize| self.axis.value(low + i as f64 * width);
        let bin = |(i, count)| Bin { low: border(i), high: border(i + 1), count };
        let bins = counts.into_iter().enumerate().map(bin).collect();
        Ok((scale, bins))
    }
}

/// Values from `low` up to `high`.
struct Bin {
    low: f64,
    high: f64,
    count: usize,
}

impl Plot for Histogram {
    fn title(&self) -> &str {
        &self.title
    }

    fn height(&self, width: f64) -> f64 {
        (width * 0.45).max(130.0) + labels_height(&self.axis, &count_axis(), width)
    }

    fn paint(&self, canvas: &Canvas) -> Result<(), FigureError> {
        let (x, bins) = self.counted()?;
        let counts = bins.iter().map(|bin| bin.count as f64);
        let mut y_axis = count_axis();
        if bins.iter().all(|bin| bin.count < 5) {
            // Round numbers would halve them.
            y_axis = y_axis.ticks(&[0.0, 1.0, 2.0, 3.0, 4.0]);
        }
        let y = y_axis.scale(counts.chain([0.0]), Ends::Round)?;
        let frame = Frame::draw(canvas, x, y, Margins::default())?;
        let bottom = frame.plot.y + frame.plot.height;
        for bin in bins.iter().filter(|bin| bin.count > 0) {
            let corner = frame.place(bin.low, bin.count as f64);
            if let (Some(corner), Some(right)) = (corner, frame.place_x(bin.high)) {
                let width = (right - corner.x - 0.8).max(0.5);
                let height = bottom - corner.y;
                let bar = Area { x: corner.x + 0.4, y: corner.y, width, height };
                canvas.fill(bar, Paint::Hue(self.hue), 1.0)?;
            }
        }
        Ok(())
    }

    fn table(&self) -> Table {
        let row = |bin: Bin| {
            [bin.low, bin.high, bin.count as f64].map(|v| Format::Plain.write(v)).into()
        };
        let label = self.axis.label();
        let bins = self.counted().map(|(_, bins)| bins).unwrap_or_default();
        Table {
            columns: vec![
                format!("{label}, from"),
                "to".to_owned(),
                "count".to_owned(),
            ],
            rows: bins.into_iter().map(row).collect(),
        }
    }
}

fn count_axis() -> Axis {
    Axis::linear("count")
}
