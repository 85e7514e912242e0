//! A sheet with a title and one or more plots, as a finished file.

use crate::canvas::{Anchor, Area, Canvas, LEADING, TEXT, Type, at, wrap};
use crate::disguise::TENTHS;
use crate::svg::{self, Metadata};
use crate::{FigureError, Paint, Plot, Table, Words};
use plotters::prelude::{IntoDrawingArea, SVGBackend};

/// A finished picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Figure {
    name: String,
    svg: String,
}

/// How wide every figure is drawn, in CSS pixels: a phone held upright.
const WIDTH: f64 = 440.0;
const EDGE: f64 = 8.0;
const GUTTER: f64 = 18.0;
const TITLE: f64 = 15.0;
/// How much wider bold words are.
const BOLD: f64 = 1.08;

impl Figure {
    /// Draws one plot.
    ///
    /// # Errors
    /// When the words are incomplete or the data cannot be drawn.
    pub fn draw(
        name: &str,
        words: Words,
        plot: &dyn Plot,
    ) -> Result<Figure, FigureError> {
        Figure::panels(name, words, 1, &[plot])
    }

    /// Draws several plots in rows of `columns`, from left to right.
    ///
    /// # Errors
    /// When the words are incomplete, there are no plots, more than four columns, or
    /// when the data of one cannot be drawn.
    pub fn panels(
        name: &str,
        words: Words,
        columns: usize,
        plots: &[&dyn Plot],
    ) -> Result<Figure, FigureError> {
        if plots.iter().any(|plot| plot.is_measured()) {
            return Err(FigureError::Unmeasured(name.to_owned()));
        }
        Figure::of(name, words, None, columns, plots)
    }

    /// As [`Figure::panels`], of what was measured. `measured` says where, when and with
    /// what; the page shows it below the caption.
    ///
    /// # Errors
    /// As for [`Figure::panels`], or when `measured` is empty.
    pub fn measured(
        name: &str,
        words: Words,
        measured: &str,
        columns: usize,
        plots: &[&dyn Plot],
    ) -> Result<Figure, FigureError> {
        if measured.trim().is_empty() {
            return Err(FigureError::Unmeasured(name.to_owned()));
        }
        Figure::of(name, words, Some(measured.to_owned()), columns, plots)
    }

    fn of(
        name: &str,
        words: Words,
        measured: Option<String>,
        columns: usize,
        plots: &[&dyn Plot],
    ) -> Result<Figure, FigureError> {
        check(name, &words)?;
        if plots.is_empty() || !(1..=4).contains(&columns) {
            let (figure, plots) = (name.to_owned(), plots.len());
            return Err(FigureError::Panels { figure, plots, columns });
        }
        let title = wrap(&words.title, TITLE * BOLD, WIDTH - 2.0 * EDGE);
        let layout = lay_out(title.len(), columns, plots);
        let mut plotted = String::new();
        paint(&mut plotted, &title, &layout)?;
        let drawing =
            svg::dress(&plotted).map_err(|e| FigureError::Drawing(e.into()))?;
        let size = (WIDTH, layout.height);
        let Words { title, caption, alt } = words;
        let metadata = Metadata { caption, table: combined_table(plots), measured };
        let svg = svg::document(name, &title, &alt, &metadata, size, &drawing)
            .map_err(|e| FigureError::Drawing(e.into()))?;
        Ok(Figure { name: name.to_owned(), svg })
    }

    /// The name, which is also that of its file.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The picture, a complete file.
    #[must_use]
    pub fn svg(&self) -> &str {
        &self.svg
    }
}

fn check(name: &str, words: &Words) -> Result<(), FigureError> {
    let is_plain = |c: char| matches!(c, 'a'..='z' | '0'..='9' | '-' | '_');
    if name.is_empty() || !name.chars().all(is_plain) {
        return Err(FigureError::Name(name.to_owned()));
    }
    let parts =
        [("title", &words.title), ("caption", &words.caption), ("alt", &words.alt)];
    for (part, words) in parts {
        if words.trim().is_empty() {
            return Err(FigureError::Words { figure: name.to_owned(), part });
        }
    }
    Ok(())
}

/// The panels with their places on the sheet.
struct Layout<'a> {
    panels: Vec<Panel<'a>>,
    height: f64,
}

struct Panel<'a> {
    plot: &'a dyn Plot,
    title: Vec<String>,
    /// Title and plot.
    area: Area,
    /// The height that the titles in its row take.
    head: f64,
}

fn lay_out<'a>(
    title_lines: usize,
    columns: usize,
    plots: &[&'a dyn Plot],
) -> Layout<'a> {
    let columns = columns.min(plots.len());
    let gutters = (columns - 1) as f64 * GUTTER;
    let width = ((WIDTH - 2.0 * EDGE - gutters) / columns as f64).floor();
    let mut y = EDGE + title_lines as f64 * TITLE * LEADING + 6.0;
    let mut panels = Vec::new();
    for row in plots.chunks(columns) {
        let titles = row.iter().map(|plot| wrap(plot.title(), TEXT * BOLD, width));
        let titles: Vec<_> = titles.collect();
        let lines = titles.iter().map(Vec::len).max().unwrap_or(0) as f64;
        let head = if lines > 0.0 { lines * TEXT * LEADING + 4.0 } else { 0.0 };
        let tallest = row.iter().map(|plot| plot.height(width)).fold(0.0, f64::max);
        let height = head + tallest.ceil();
        for (column, (&plot, title)) in row.iter().zip(titles).enumerate() {
            let x = EDGE + column as f64 * (width + GUTTER);
            panels.push(Panel {
                plot,
                title,
                area: Area { x, y, width, height },
                head,
            });
        }
        y += height + GUTTER;
    }
    Layout { panels, height: (y - GUTTER + EDGE).ceil() }
}

fn paint(
    buffer: &mut String,
    title: &[String],
    layout: &Layout,
) -> Result<(), FigureError> {
    let size = [WIDTH, layout.height].map(|length| (length * TENTHS) as u32);
    let area = SVGBackend::with_string(buffer, size.into()).into_drawing_area();
    let sheet = Canvas { area };
    let (width, height) = (WIDTH, layout.height);
    // A file that stands alone cannot know what page it lies on, so it brings its own.
    sheet.fill(Area { x: 0.0, y: 0.0, width, height }, Paint::Paper, 1.0)?;
    let heading = |size| Type::new(size, Paint::Ink, Anchor::Start).bold();
    for (i, line) in title.iter().enumerate() {
        let y = EDGE + (i as f64 + 0.5) * TITLE * LEADING;
        sheet.words(line, at(EDGE, y), heading(TITLE))?;
    }
    for Panel { plot, title, area, head } in &layout.panels {
        for (i, line) in title.iter().enumerate() {
            let y = area.y + (i as f64 + 0.5) * TEXT * LEADING;
            sheet.words(line, at(area.x, y), heading(TEXT))?;
        }
        let (y, height) = (area.y + head, area.height - head);
        plot.paint(&sheet.part(Area { y, height, ..*area }))?;
    }
    Ok(())
}

/// One table for all panels: a column that names the panel, and the columns of each. Panels
/// share columns of one name; the second `the` of one panel is the second of the next.
fn combined_table(plots: &[&dyn Plot]) -> Table {
    if let [plot] = plots {
        return plot.table();
    }
    let mut columns = vec!["panel".to_owned()];
    let mut rows: Vec<Vec<String>> = Vec::new();
    for (i, plot) in plots.iter().enumerate() {
        let table = plot.table();
        let title = plot.title();
        let panel =
            if title.is_empty() { (i + 1).to_string() } else { title.to_owned() };
        let mut places: Vec<usize> = Vec::new();
        for column in &table.columns {
            let free =
                |place: &usize| columns[*place] == *column && !places.contains(place);
            let place = (1..columns.len()).find(free).unwrap_or_else(|| {
                columns.push(column.clone());
                columns.len() - 1
            });
            places.push(place);
        }
        for row in table.rows {
            let mut cells = vec![String::new(); columns.len()];
            cells[0].clone_from(&panel);
            for (place, cell) in places.iter().zip(row) {
                cells[*place] = cell;
            }
            rows.push(cells);
        }
    }
    for row in &mut rows {
        row.resize(columns.len(), String::new());
    }
    Table { columns, rows }
}
