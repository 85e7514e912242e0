//! What every kind of plot can do.

use crate::{Canvas, FigureError, Table};

/// What can be drawn into a figure.
pub trait Plot {
    /// A title of its own, for a plot among others. May be empty.
    fn title(&self) -> &str;

    /// The height that it wants on a canvas of this width, both in CSS pixels.
    fn height(&self, width: f64) -> f64;

    /// Paints it.
    ///
    /// # Errors
    /// When its data cannot be drawn.
    fn paint(&self, canvas: &Canvas<'_>) -> Result<(), FigureError>;

    /// Whether it draws what was measured. Then the figure has to say where:
    /// [`Figure::measured`](crate::Figure::measured).
    fn is_measured(&self) -> bool {
        false
    }

    /// Its data.
    fn table(&self) -> Table;
}
