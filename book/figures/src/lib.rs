//! Figures for the book: data in, SVG text out.
//!
//! A figure is drawn for a phone (440 CSS pixels wide), follows the reader's theme
//! (every color is a CSS custom property with a fallback, see [`THEME`]), carries its
//! own words and data (`<title>`, `<desc>`, and JSON in `<metadata>`), and is the same
//! to the byte whenever it is drawn from the same data.
//!
//! ```
//! use figures::{Axis, Chart, Figure, Hue, Words};
//!
//! let chart = Chart::new(Axis::log2("tokens"), Axis::linear("time, ms")).line(
//!     "attention",
//!     Hue::Attention,
//!     [(64.0, 0.4), (128.0, 1.5), (256.0, 6.1)],
//! );
//! let words = Words {
//!     title: "Twice the tokens, four times the time".into(),
//!     caption: "Time grows with the square of the length.".into(),
//!     alt: "A line from 0.4 ms at 64 tokens to 6.1 ms at 256.".into(),
//! };
//! let figure = Figure::draw("time", words, &chart)?;
//! assert!(figure.svg().contains("four times the time"));
//! # Ok::<(), figures::FigureError>(())
//! ```

mod axis;
mod bars;
mod canvas;
mod chart;
mod diagram;
mod disguise;
mod error;
mod figure;
mod files;
mod heatmap;
mod histogram;
mod legend;
mod plot;
mod spread;
mod svg;
mod theme;
mod words;

pub use axis::{Axis, Format};
pub use bars::Bars;
pub use canvas::{
    Anchor, Area, Canvas, LEADING, Pen, Point, SMALL, TEXT, Type, at, width_of, wrap,
};
pub use chart::Chart;
pub use diagram::{Diagram, Slot};
pub use error::FigureError;
pub use figure::Figure;
pub use files::{Stale, check_current, check_one, save};
pub use heatmap::Heatmap;
pub use histogram::Histogram;
pub use plot::Plot;
pub use spread::Spread;
pub use theme::{Hue, Paint, Property, THEME, theme_css};
pub use words::{Table, Words};
