//! Matrices as grids of shaded cells.

use crate::axis::number;
use crate::canvas::{
    Anchor, Area, Canvas, LEADING, Pen, SMALL, Type, at, shorten, width_of,
};
use crate::theme::HEAT_STEPS;
use crate::{FigureError, Paint, Plot, Table};

/// A matrix, one cell a value, the first row on top. NaN stands for a cell without a
/// value: it is left empty and crossed out.
#[derive(Clone, Debug)]
pub struct Heatmap {
    title: String,
    rows: Side,
    columns: Side,
    values: Vec<f64>,
    range: Option<(f64, f64)>,
    value_label: String,
    absent_label: String,
    decimals: Option<usize>,
    marks: Vec<Cell>,
    keyless: bool,
}

/// The labels along one side of the matrix.
#[derive(Clone, Debug)]
struct Side {
    name: String,
    labels: Vec<String>,
}

#[derive(Clone, Copy, Debug)]
struct Cell {
    row: usize,
    column: usize,
}

impl Heatmap {
    /// A matrix with a row for each row label and a column for each column label. Empty
    /// labels are not drawn; none are drawn where cells are too small for them.
    #[must_use]
    pub fn new(
        row_labels: impl IntoIterator<Item = impl Into<String>>,
        column_labels: impl IntoIterator<Item = impl Into<String>>,
        value: impl Fn(usize, usize) -> f64,
    ) -> Heatmap {
        let rows = Side::new(row_labels.into_iter().map(Into::into).collect());
        let columns = Side::new(column_labels.into_iter().map(Into::into).collect());
        let row = |row| (0..columns.labels.len()).map(move |column| (row, column));
        let cells = (0..rows.labels.len()).flat_map(row);
        Heatmap {
            title: String::new(),
            values: cells.map(|(row, column)| value(row, column)).collect(),
            rows,
            columns,
            range: None,
            value_label: String::new(),
            absent_label: "no value".to_owned(),
            decimals: None,
            marks: Vec::new(),
            keyless: false,
        }
    }

    /// A title of its own, for a heat-map among panels.
    #[must_use]
    pub fn title(mut self, title: &str) -> Heatmap {
        title.clone_into(&mut self.title);
        self
    }

    /// The values at the ends of the color ramp; without it, the least and the greatest.
    /// Values beyond take the color of the nearer end.
    #[must_use]
    pub fn range(self, low: f64, high: f64) -> Heatmap {
        Heatmap { range: Some((low, high)), ..self }
    }

    /// What a row is: `query`.
    #[must_use]
    pub fn row_axis(mut self, name: &str) -> Heatmap {
        name.clone_into(&mut self.rows.name);
        self
    }

    /// What a column is: `key`.
    #[must_use]
    pub fn column_axis(mut self, name: &str) -> Heatmap {
        name.clone_into(&mut self.columns.name);
        self
    }

    /// What a value is, with its unit: `weight`. Stands beside the color bar.
    #[must_use]
    pub fn value_axis(mut self, name: &str) -> Heatmap {
        name.clone_into(&mut self.value_label);
        self
    }

    /// Why a cell has no value: `hidden by the mask`. Stands below the matrix.
    #[must_use]
    pub fn absent(mut self, why: &str) -> Heatmap {
        why.clone_into(&mut self.absent_label);
        self
    }

    /// Prints the values, with this many decimals, if the cells are wide enough for all.
    #[must_use]
    pub fn values(self, decimals: usize) -> Heatmap {
        Heatmap { decimals: Some(decimals), ..self }
    }

    /// Without its color bar, for a panel beside others that have the same one.
    #[must_use]
    pub fn keyless(self) -> Heatmap {
        Heatmap { keyless: true, ..self }
    }

    /// Outlines a cell in the accent color.
    #[must_use]
    pub fn mark(mut self, row: usize, column: usize) -> Heatmap {
        self.marks.push(Cell { row, column });
        self
    }

    /// The values at the ends of the ramp.
    fn ends(&self) -> Result<(f64, f64), FigureError> {
        if let Some((low, high)) = self.range {
            return if low < high && (high - low).is_finite() {
                Ok((low, high))
            } else {
                let axis = self.value_label.clone();
                Err(FigureError::Range { axis, low, high })
            };
        }
        let values = || self.values.iter().copied().filter(|v| v.is_finite());
        let low = values().fold(f64::INFINITY, f64::min);
        let high = values().fold(f64::NEG_INFINITY, f64::max);
        if low > high {
            return Err(FigureError::NoData(self.value_label.clone()));
        }
        Ok((low, high))
    }

    fn cells(&self) -> impl Iterator<Item = (Cell, f64)> {
        let width = self.columns.labels.len().max(1);
        let cell = move |i| Cell { row: i / width, column: i % width };
        self.values.iter().enumerate().map(move |(i, &value)| (cell(i), value))
    }

    /// Where the matrix lies on a canvas of this width.
    fn grid(&self, width: f64) -> Grid {
        let (rows, columns) = (self.rows.labels.len(), self.columns.labels.len());
        let side_for = |left: f64| {
            let fitting = (width - left - 2.0) / columns.max(1) as f64;
            fitting.min(TALLEST / rows.max(1) as f64).clamp(0.5, WIDEST_CELL)
        };
        // Labels take room from the cells, and cells too small for them drop them.
        let labels = self.rows.widest().max(width_of(&self.rows.head(Row), SMALL));
        let labels = labels.min(width / 2.0) + 6.0;
        let labelled = self.rows.have_room(side_for(labels));
        let left = if labelled { labels } else { 1.0 };
        let side = side_for(left);
        let above = if labelled { self.columns.height(side) } else { 0.0 };
        let named = !self.rows.name.is_empty() || !self.columns.name.is_empty();
        let head = if named { SMALL * LEADING } else { 0.0 };
        Grid { left, top: above + head + 4.0, side, rows, columns, labelled }
    }

    fn paint_cells(
        &self,
        canvas: &Canvas,
        grid: &Grid,
        share: impl Fn(f64) -> f64,
    ) -> Result<(), FigureError> {
        let mut cells: Vec<(Cell, f64)> =
            self.cells().filter(|c| !c.1.is_nan()).collect();
        // One shade after the other, so that each becomes a single path.
        let shade = |value: f64| (share(value) * f64::from(HEAT_STEPS)).round() as u8;
        cells.sort_by_key(|(_, value)| shade(*value));
        for (cell, value) in cells {
            canvas.fill(grid.area(cell), Paint::heat(share(value)), 1.0)?;
        }
        for (cell, _) in self.cells().filter(|c| c.1.is_nan()) {
            cross_out(canvas, grid.area(cell))?;
        }
        canvas.outline(grid.whole(), Pen::new(Paint::MutedInk, 1.0))
    }

    fn paint_values(
        &self,
        canvas: &Canvas,
        grid: &Grid,
        share: impl Fn(f64) -> f64,
    ) -> Result<(), FigureError> {
        let Some(decimals) = self.decimals else { return Ok(()) };
        let write = |value: f64| without_minus_zero(format!("{value:.decimals$}"));
        let shown = || self.cells().filter(|c| c.1.is_finite());
        let widest = shown().map(|c| width_of(&write(c.1), SMALL)).fold(0.0, f64::max);
        if widest + 2.0 > grid.side {
            return Ok(());
        }
        for (cell, value) in shown() {
            let ink = Paint::on_heat(share(value));
            let set = Type::new(SMALL, ink, Anchor::Middle);
            canvas.words(&write(value), grid.area(cell).center(), set)?;
        }
        Ok(())
    }

    fn paint_labels(&self, canvas: &Canvas, grid: &Grid) -> Result<(), FigureError> {
        if !grid.labelled {
            return self.paint_names(canvas, grid);
        }
        let right = Type::new(SMALL, Paint::Ink, Anchor::End);
        for (row, label) in self.rows.labels.iter().enumerate() {
            let middle = grid.area(Cell { row, column: 0 }).center();
            let label = shorten(label, SMALL, grid.left - 6.0);
            canvas.words(&label, at(grid.left - 5.0, middle.y), right)?;
        }
        let upright = self.columns.fits(grid.side);
        if upright || self.columns.have_room(grid.side) {
            let (anchor, lift) = if upright {
                (Anchor::Middle, SMALL * 0.7)
            } else {
                (Anchor::Upwards, 4.0)
            };
            let set = Type::new(SMALL, Paint::Ink, anchor);
            for (column, label) in self.columns.labels.iter().enumerate() {
                let middle = grid.area(Cell { row: 0, column }).center();
                canvas.words(label, at(middle.x, grid.top - lift), set)?;
            }
        }
        self.paint_names(canvas, grid)
    }

    /// What rows and columns are, above the corner where both begin.
    fn paint_names(&self, canvas: &Canvas, grid: &Grid) -> Result<(), FigureError> {
        let (row, column) = (self.rows.head(Row), self.columns.head(Column));
        let start = Type::new(SMALL, Paint::MutedInk, Anchor::Start);
        let line = SMALL * 0.6;
        if !grid.labelled {
            let both = format!("{row} {column}");
            return canvas.words(both.trim(), at(grid.left, line), start);
        }
        canvas.words(&column, at(grid.left, line), start)?;
        let end = Type::new(SMALL, Paint::MutedInk, Anchor::End);
        let above_rows = (grid.top - SMALL * 0.8).max(line);
        canvas.words(&row, at(grid.left - 5.0, above_rows), end)
    }

    /// The color bar, with the values at its ends, and what a crossed cell means.
    fn paint_key(
        &self,
        canvas: &Canvas,
        grid: &Grid,
        (low, high): (f64, f64),
    ) -> Result<(), FigureError> {
        let start = Type::new(SMALL, Paint::Ink, Anchor::Start);
        let y = grid.top + grid.whole().height + KEY / 2.0 + 4.0;
        let mut x = grid.left;
        for words in [self.value_label.as_str(), &number(low)] {
            canvas.words(words, at(x, y), start)?;
            x += width_of(words, SMALL) + if words.is_empty() { 0.0 } else { 5.0 };
        }
        let high = number(high);
        let room = canvas.width() - x - width_of(&high, SMALL) - 6.0;
        let width = BAR_WIDTH.min(room).max(1.0);
        let bar = Area { x, y: y - 5.0, width, height: 10.0 };
        paint_ramp(canvas, bar)?;
        x += bar.width + 5.0;
        canvas.words(&high, at(x, y), start)?;
        if self.values.iter().any(|v| v.is_nan()) {
            let (x, y) = self.absent_place(x + width_of(&high, SMALL), y, canvas, grid);
            cross_out(canvas, Area { x, y: y - 6.0, width: 12.0, height: 12.0 })?;
            canvas.words(&self.absent_label, at(x + 17.0, y), start)?;
        }
        Ok(())
    }

    /// Beside the color bar if there is room, else below it.
    fn absent_place(&self, x: f64, y: f64, canvas: &Canvas, grid: &Grid) -> (f64, f64) {
        let width = 16.0 + 17.0 + width_of(&self.absent_label, SMALL);
        if x + width <= canvas.width() {
            (x + 16.0, y)
        } else {
            (grid.left, y + SMALL * LEADING)
        }
    }
}

/// The tallest that a matrix gets.
const TALLEST: f64 = 560.0;
const WIDEST_CELL: f64 = 56.0;
const BAR_WIDTH: f64 = 64.0;
/// The height of the line with the color bar.
const KEY: f64 = 22.0;

impl Plot for Heatmap {
    fn title(&self) -> &str {
        &self.title
    }

    fn height(&self, width: f64) -> f64 {
        let grid = self.grid(width);
        if self.keyless {
            return grid.top + grid.whole().height + 2.0;
        }
        let absent = self.values.iter().any(|v| v.is_nan());
        grid.top
            + grid.whole().height
            + KEY
            + if absent { SMALL * LEADING } else { 4.0 }
    }

    fn paint(&self, canvas: &Canvas) -> Result<(), FigureError> {
        let (low, high) = self.ends()?;
        let share = |value: f64| {
            if high > low {
                ((value - low) / (high - low)).clamp(0.0, 1.0)
            } else {
                0.5
            }
        };
        let grid = self.grid(canvas.width());
        self.paint_cells(canvas, &grid, share)?;
        self.paint_values(canvas, &grid, share)?;
        self.paint_labels(canvas, &grid)?;
        for &Cell { row, column } in &self.marks {
            if row >= grid.rows || column >= grid.columns {
                return Err(FigureError::NoSuchCell { row, column });
            }
            let pen = Pen::new(Paint::Hue(crate::Hue::Accent), 2.0);
            canvas.outline(grid.area(Cell { row, column }), pen)?;
        }
        if self.keyless {
            return Ok(());
        }
        self.paint_key(canvas, &grid, (low, high))
    }

    fn table(&self) -> Table {
        let corner = match (self.rows.name.as_str(), self.columns.name.as_str()) {
            ("", column) => column.to_owned(),
            (row, "") => row.to_owned(),
            (row, column) => format!("{row} \\ {column}"),
        };
        let width = self.columns.labels.len().max(1);
        let cells = |row: &[f64]| row.iter().map(|&v| number(v)).collect::<Vec<_>>();
        let rows = self.rows.labels.iter().zip(self.values.chunks(width));
        Table {
            columns: std::iter::once(corner)
                .chain(self.columns.labels.clone())
                .collect(),
            rows: rows
                .map(|(label, row)| [vec![label.clone()], cells(row)].concat())
                .collect(),
        }
    }
}

/// The matrix on the canvas: square cells below and right of its labels.
struct Grid {
    left: f64,
    top: f64,
    side: f64,
    rows: usize,
    columns: usize,
    labelled: bool,
}

impl Grid {
    fn area(&self, Cell { row, column }: Cell) -> Area {
        Area {
            x: self.left + column as f64 * self.side,
            y: self.top + row as f64 * self.side,
            width: self.side,
            height: self.side,
        }
    }

    fn whole(&self) -> Area {
        Area {
            x: self.left,
            y: self.top,
            width: self.columns as f64 * self.side,
            height: self.rows as f64 * self.side,
        }
    }
}

/// Which way a side runs.
#[derive(Clone, Copy)]
enum Direction {
    Row,
    Column,
}
use Direction::{Column, Row};

impl Side {
    fn new(labels: Vec<String>) -> Side {
        Side { name: String::new(), labels }
    }

    /// The name with an arrow in the direction in which the labels run.
    fn head(&self, direction: Direction) -> String {
        match (self.name.as_str(), direction) {
            ("", _) => String::new(),
            (name, Row) => format!("{name} ↓"),
            (name, Column) => format!("{name} →"),
        }
    }

    fn widest(&self) -> f64 {
        self.labels.iter().map(|label| width_of(label, SMALL)).fold(0.0, f64::max)
    }

    /// Whether the labels do not overlap when they are stacked, one a cell.
    fn have_room(&self, side: f64) -> bool {
        let drawn =
            self.labels.iter().enumerate().filter(|(_, label)| !label.is_empty());
        let places: Vec<f64> = drawn.map(|(i, _)| i as f64 * side).collect();
        places.windows(2).all(|pair| pair[1] - pair[0] >= SMALL)
    }

    /// Whether the labels fit upright above their cells.
    fn fits(&self, side: f64) -> bool {
        self.widest() + 2.0 <= side
    }

    /// The height that the labels need above the cells.
    fn height(&self, side: f64) -> f64 {
        if self.fits(side) {
            SMALL * LEADING
        } else if self.have_room(side) {
            self.widest() + 6.0
        } else {
            0.0
        }
    }
}

/// A cell without a value: bare, with a stroke through it.
fn cross_out(canvas: &Canvas, area: Area) -> Result<(), FigureError> {
    let Area { x, y, width, height } = area;
    let inset = width * 0.3;
    let from = at(x + inset, y + height - inset);
    let to = at(x + width - inset, y + inset);
    canvas.line(&[from, to], Pen::new(Paint::MutedInk, 0.8))
}

fn paint_ramp(canvas: &Canvas, area: Area) -> Result<(), FigureError> {
    const PARTS: u8 = 9;
    let width = area.width / f64::from(PARTS);
    for part in 0..PARTS {
        let x = area.x + f64::from(part) * width;
        let share = f64::from(part) / f64::from(PARTS - 1);
        canvas.fill(Area { x, width, ..area }, Paint::heat(share), 1.0)?;
    }
    canvas.outline(area, Pen::new(Paint::MutedInk, 0.8))
}

fn without_minus_zero(written: String) -> String {
    let zero = written.trim_start_matches('-');
    let is_zero = zero.chars().all(|digit| matches!(digit, '0' | '.'));
    if is_zero { zero.to_owned() } else { written }
}
