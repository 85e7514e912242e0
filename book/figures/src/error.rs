//! Why a figure cannot be drawn.

/// Why a figure cannot be drawn.
#[derive(Debug, thiserror::Error)]
pub enum FigureError {
    /// Names become file names and ids.
    #[error("figure name {0:?}: expected lower-case letters, digits and hyphens")]
    Name(String),
    /// One of the [`Words`](crate::Words) is empty.
    #[error("figure {figure}: its {part} is empty")]
    Words {
        /// The figure's name.
        figure: String,
        /// `title`, `caption` or `alt`.
        part: &'static str,
    },
    /// What was measured is drawn without the line that says where.
    #[error(
        "figure {0}: it draws what was measured and does not say where; draw it with \
         `Figure::measured` and the line of its recording"
    )]
    Unmeasured(String),
    /// There is nothing to draw, or nothing that has a place on the axes.
    #[error("{0:?} has no data that can be drawn")]
    NoData(String),
    /// A series of bars does not fit the categories.
    #[error("bars {series:?}: expected {expected} values, found {found}")]
    Length {
        /// Its label.
        series: String,
        /// As many as there are categories.
        expected: usize,
        /// As many as there are values.
        found: usize,
    },
    /// Bars start at zero, which a log axis does not have.
    #[error("axis {0:?}: bars start at zero and need a linear axis")]
    BarsOnLog(String),
    /// A chosen range has no inside.
    #[error("axis {axis:?}: the range from {low} to {high} cannot be drawn")]
    Range {
        /// Its label.
        axis: String,
        /// Where it was to begin.
        low: f64,
        /// Where it was to end.
        high: f64,
    },
    /// A marked cell lies outside the matrix.
    #[error("there is no cell in row {row}, column {column} to mark")]
    NoSuchCell {
        /// Counted from 0.
        row: usize,
        /// Counted from 0.
        column: usize,
    },
    /// An arrow leads to or from a box that does not exist.
    #[error("there is no box {0:?} for an arrow")]
    UnknownNode(String),
    /// Two boxes have the same id or the same slot.
    #[error("boxes {first:?} and {second:?} have the same id or the same slot")]
    NodesClash {
        /// The one that was there.
        first: String,
        /// The one that came second.
        second: String,
    },
    /// A diagram is too wide for the page.
    #[error("the diagram is {needed} wide and there is room for {available}")]
    TooWide {
        /// In CSS pixels.
        needed: f64,
        /// In CSS pixels.
        available: f64,
    },
    /// There are no plots, or they do not fit side by side.
    #[error(
        "figure {figure}: {plots} plots in {columns} columns; expected 1 to 4 columns"
    )]
    Panels {
        /// The figure's name.
        figure: String,
        /// How many there are.
        plots: usize,
        /// How many were to stand side by side.
        columns: usize,
    },
    /// Plotters failed.
    #[error("drawing failed")]
    Drawing(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl<E: std::error::Error + Send + Sync + 'static>
    From<plotters::drawing::DrawingAreaErrorKind<E>> for FigureError
{
    fn from(error: plotters::drawing::DrawingAreaErrorKind<E>) -> Self {
        FigureError::Drawing(Box::new(error))
    }
}
