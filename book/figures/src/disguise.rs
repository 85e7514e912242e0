//! What passes through plotters unseen, so that the SVG that comes out can be understood:
//! finer pixels, and a third byte of a color that says more than a color can. The first
//! two bytes are those of [`Paint::disguise`](crate::Paint).

/// Plotters counts in whole pixels. Ten of them to a CSS pixel keep slopes smooth.
pub(crate) const TENTHS: f64 = 10.0;

/// The third byte of a disguised color: the line takes the dash of its hue.
pub(crate) const DASHED: u8 = 1;

/// The third byte of a disguised color: the words get a rim of paper.
pub(crate) const RIMMED: u8 = 2;
