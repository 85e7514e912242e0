//! Axes: from data to a range, ticks and their words; and the frame of a plot.

use crate::canvas::{Anchor, Area, Canvas, LEADING, Pen, Point, SMALL, TEXT, Type, at};
use crate::canvas::{width_of, wrap};
use crate::disguise::TENTHS;
use crate::{FigureError, Paint};

/// Magnitudes beyond this are taken for mistakes and not drawn, like infinities.
const FARTHEST: f64 = 1e100;

/// One axis of a plot: its label with the unit, its scale, and what its ticks look like.
#[derive(Clone, Debug)]
pub struct Axis {
    label: String,
    growth: Growth,
    range: Option<(f64, f64)>,
    ticks: Option<Vec<f64>>,
    format: Format,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Growth {
    Linear,
    /// The base that unasked-for ticks are powers of.
    Log(f64),
}

/// How the numbers of an axis are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// `1,024`, `0.25`.
    #[default]
    Plain,
    /// `1k`, `4M`, `2G`: powers of a thousand.
    Short,
    /// `1 KiB`, `4 MiB`: powers of 1,024.
    Bytes,
    /// `25 %` for 0.25.
    Percent,
}

impl Axis {
    /// Equal steps.
    #[must_use]
    pub fn linear(label: &str) -> Axis {
        Axis {
            label: label.to_owned(),
            growth: Growth::Linear,
            range: None,
            ticks: None,
            format: Format::Plain,
        }
    }

    /// Equal ratios, with ticks at powers of ten. The drawing says so beside the label.
    /// Points that are not positive have no place on it and are left out.
    #[must_use]
    pub fn log(label: &str) -> Axis {
        Axis { growth: Growth::Log(10.0), ..Axis::linear(label) }
    }

    /// As [`Axis::log`], with ticks at powers of two.
    #[must_use]
    pub fn log2(label: &str) -> Axis {
        Axis { growth: Growth::Log(2.0), ..Axis::log(label) }
    }

    /// The ends of the axis; without it, the data decides. What lies outside is left out.
    #[must_use]
    pub fn range(self, low: f64, high: f64) -> Axis {
        Axis { range: Some((low, high)), ..self }
    }

    /// The places of the ticks; without it, round numbers. Crowded ones are thinned.
    #[must_use]
    pub fn ticks(self, ticks: &[f64]) -> Axis {
        Axis { ticks: Some(ticks.to_vec()), ..self }
    }

    /// How its numbers are written.
    #[must_use]
    pub fn format(self, format: Format) -> Axis {
        Axis { format, ..self }
    }

    pub(crate) fn label(&self) -> &str {
        &self.label
    }

    /// The label as it is drawn.
    fn heading(&self) -> String {
        match self.growth {
            Growth::Linear => self.label.clone(),
            Growth::Log(_) => format!("{}, log scale", self.label),
        }
    }

    pub(crate) fn is_log(&self) -> bool {
        self.growth != Growth::Linear
    }

    /// A number as the ticks and value labels of this axis write it.
    pub(crate) fn write(&self, value: f64) -> String {
        self.format.write(value)
    }

    /// Where a value lies on an axis without ends; nothing for values without a place.
    pub(crate) fn position(&self, value: f64) -> Option<f64> {
        if !value.is_finite() || value.abs() > FARTHEST {
            return None;
        }
        match self.growth {
            Growth::Linear => Some(value),
            Growth::Log(_) if value > 1.0 / FARTHEST => Some(value.log10()),
            Growth::Log(_) => None,
        }
    }

    /// The value at a position.
    pub(crate) fn value(&self, position: f64) -> f64 {
        match self.growth {
            Growth::Linear => position,
            Growth::Log(_) => tidy(10f64.powf(position)),
        }
    }

    /// The axis with its ends and ticks settled for these values.
    pub(crate) fn scale(
        &self,
        values: impl Iterator<Item = f64>,
        unasked: Ends,
    ) -> Result<Scale, FigureError> {
        let positions = values.filter_map(|value| self.position(value));
        let mut ends = match self.range {
            Some(range) => self.chosen_ends(range)?,
            None => apart(positions.fold(NOWHERE, widened)),
        };
        let enclosing =
            self.range.is_none() && !self.is_log() && unasked == Ends::Round;
        let ticks = self.tick_positions(ends, enclosing);
        if enclosing {
            ends = ticks.iter().copied().fold(ends, widened);
        }
        Ok(Scale {
            axis: self.clone(),
            low: ends.0,
            high: ends.1,
            ticks: ticks
                .into_iter()
                .filter(|t| (ends.0..=ends.1).contains(t))
                .collect(),
        })
    }

    fn chosen_ends(&self, (low, high): (f64, f64)) -> Result<(f64, f64), FigureError> {
        match (self.position(low), self.position(high)) {
            (Some(start), Some(end)) if start < end => Ok((start, end)),
            _ => Err(FigureError::Range { axis: self.label.clone(), low, high }),
        }
    }

    /// Chosen ticks, or round numbers.
    fn tick_positions(&self, ends: (f64, f64), enclosing: bool) -> Vec<f64> {
        match (&self.ticks, self.growth) {
            (Some(ticks), _) => {
                ticks.iter().filter_map(|&t| self.position(t)).collect()
            }
            (None, Growth::Linear) => round_numbers(ends, enclosing),
            (None, Growth::Log(base)) => powers(base, ends),
        }
    }
}

/// Where a linear axis ends that was given no range.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Ends {
    /// With the data.
    Data,
    /// At the round numbers around the data.
    Round,
}

const NOWHERE: (f64, f64) = (f64::INFINITY, f64::NEG_INFINITY);

fn widened((low, high): (f64, f64), value: f64) -> (f64, f64) {
    (low.min(value), high.max(value))
}

/// Ends that are told apart: equal ones are moved, none at all become 0 and 1.
fn apart((low, high): (f64, f64)) -> (f64, f64) {
    let size = low.abs().max(high.abs());
    if low > high {
        (0.0, 1.0)
    } else if high - low > size * 1e-9 && size > 1.0 / FARTHEST {
        (low, high)
    } else if size > 1.0 / FARTHEST {
        (low - size / 10.0, high + size / 10.0)
    } else {
        (-1.0, 1.0)
    }
}

/// About six numbers 1, 2 or 5 times a power of ten apart. A range that misses a
/// round number by a rounding error does not reach for the next one.
fn round_numbers((low, high): (f64, f64), enclosing: bool) -> Vec<f64> {
    const SLACK: f64 = 1e-4;
    let rough = (high - low) / 5.5;
    let power = 10f64.powf(rough.log10().floor());
    let factor = [1.0, 2.0, 5.0].into_iter().find(|factor| factor * power >= rough);
    let step = factor.unwrap_or(10.0) * power;
    let (first, last) = if enclosing {
        ((low / step + SLACK).floor(), (high / step - SLACK).ceil())
    } else {
        ((low / step - SLACK).ceil(), (high / step + SLACK).floor())
    };
    let count = (last - first).clamp(0.0, 12.0) as u32;
    (0..=count).map(|i| tidy((first + f64::from(i)) * step)).collect()
}

/// Without the digits that multiplication leaves behind: 0.3, not 0.30000000000000004.
fn tidy(value: f64) -> f64 {
    format!("{value:.9e}").parse().unwrap_or(value)
}

/// The logarithms of the powers of a base within the ends; of a part of a decade, also
/// 2 and 5 times the powers of ten.
fn powers(base: f64, (low, high): (f64, f64)) -> Vec<f64> {
    let decade = base.log10();
    let (first, last) = ((low / decade).floor() as i32, (high / decade).ceil() as i32);
    let factors: &[f64] =
        if base == 10.0 && high - low < 2.0 { &[1.0, 2.0, 5.0] } else { &[1.0] };
    let inside = low - 1e-9..=high + 1e-9;
    (first..=last)
        .flat_map(|power| {
            factors.iter().map(move |f| f.log10() + f64::from(power) * decade)
        })
        .filter(|tick| inside.contains(tick))
        .map(|tick| tick.clamp(low, high))
        .collect()
}

impl Format {
    /// The number in words. Nothing for a number that is none.
    #[must_use]
    pub fn write(self, value: f64) -> String {
        const SHORT: [&str; 5] = ["", "k", "M", "G", "T"];
        const BYTES: [&str; 5] = [" B", " KiB", " MiB", " GiB", " TiB"];
        match self {
            Format::Plain => number(value),
            _ if value.is_nan() => String::new(),
            Format::Short => scaled(value, 1000.0, &SHORT),
            Format::Bytes => scaled(value, 1024.0, &BYTES),
            Format::Percent => format!("{} %", number(value * 100.0)),
        }
    }
}

fn scaled(value: f64, base: f64, units: &[&str]) -> String {
    let mut value = value;
    let mut units = units.iter();
    let mut unit = units.next().copied().unwrap_or_default();
    for next in units {
        // A hair below the next unit is the next unit.
        if value.abs() < base * (1.0 - 1e-9) {
            break;
        }
        value /= base;
        unit = next;
    }
    format!("{}{unit}", number(value))
}

/// Whole numbers in full with commas, others to three significant digits (four from
/// one to ten thousand, since the whole part stays).
pub(crate) fn number(value: f64) -> String {
    if !value.is_finite() {
        return if value.is_nan() {
            String::new()
        } else {
            format!("{value}").replace("inf", "∞")
        };
    }
    let size = value.abs();
    let nearest = value.round();
    if size != 0.0 && !(1e-4..1e15).contains(&size) {
        let written = format!("{value:.2e}");
        let (digits, power) = written.split_once('e').unwrap_or((&written, "0"));
        return format!("{}e{power}", trimmed(digits));
    }
    if size >= 999.5 || (value - nearest).abs() <= size * 1e-6 {
        return with_commas(nearest);
    }
    let decimals = 2 - size.log10().floor() as i32;
    trimmed(&format!("{value:.*}", decimals.max(0) as usize)).to_owned()
}

fn trimmed(digits: &str) -> &str {
    if digits.contains('.') {
        digits.trim_end_matches('0').trim_end_matches('.')
    } else {
        digits
    }
}

fn with_commas(whole: f64) -> String {
    let digits = format!("{:.0}", whole.abs());
    let mut written = if whole < 0.0 { "-".to_owned() } else { String::new() };
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i) % 3 == 0 {
            written.push(',');
        }
        written.push(digit);
    }
    written
}

/// An axis whose ends and ticks are settled.
#[derive(Clone, Debug)]
pub(crate) struct Scale {
    pub(crate) axis: Axis,
    low: f64,
    high: f64,
    ticks: Vec<f64>,
}

impl Scale {
    /// An axis for categories: from 0 to `count`, without ticks.
    pub(crate) fn categories(count: usize) -> Scale {
        let axis = Axis::linear("");
        Scale { axis, low: 0.0, high: count as f64, ticks: Vec::new() }
    }

    /// Where a value lies; nothing for values without a place between the ends.
    pub(crate) fn position(&self, value: f64) -> Option<f64> {
        // A value on the end belongs to the axis even where rounding says otherwise.
        let slack = (self.high - self.low) * 1e-6;
        let position = self.axis.position(value)?;
        (self.low - slack..=self.high + slack).contains(&position).then_some(position)
    }

    pub(crate) fn write_tick(&self, position: f64) -> String {
        self.axis.write(self.axis.value(position))
    }

    /// The positions of both ends.
    pub(crate) fn ends(&self) -> (f64, f64) {
        (self.low, self.high)
    }

    pub(crate) fn widest_tick(&self) -> f64 {
        let widths = self.ticks.iter().map(|&t| width_of(&self.write_tick(t), SMALL));
        widths.fold(0.0, f64::max)
    }

    /// Drops every other tick until the rest have room on `length` pixels.
    fn thinned(mut self, length: f64, room: impl Fn(&Scale) -> f64) -> Scale {
        let span = self.high - self.low;
        let crowded = |scale: &Scale| {
            let gaps =
                scale.ticks.windows(2).map(|t| (t[1] - t[0]).abs() / span * length);
            gaps.fold(f64::INFINITY, f64::min) < room(scale)
        };
        while self.ticks.len() > 2 && crowded(&self) {
            self.ticks = self.ticks.into_iter().step_by(2).collect();
        }
        self
    }

    /// Where a position lies when the axis runs from one place to another.
    fn along(&self, position: f64, from: f64, to: f64) -> f64 {
        let share = (position - self.low) / (self.high - self.low);
        whole_tenths(from + whole_tenths(share * (to - from)))
    }
}

/// The room around a plot, in CSS pixels, beyond what its axes need.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Margins {
    pub(crate) top: f64,
    pub(crate) left: f64,
    pub(crate) right: f64,
}

/// A plot's axes, grid and labels, drawn; and where values lie between them.
pub(crate) struct Frame {
    x: Scale,
    y: Scale,
    /// The rectangle between the axes.
    pub(crate) plot: Area,
}

/// The height that labels and ticks of two axes take away from a plot of this width.
pub(crate) fn labels_height(x: &Axis, y: &Axis, width: f64) -> f64 {
    let lines = |axis: &Axis| wrap(&axis.heading(), TEXT, width).len() as f64;
    (lines(x) + lines(y)) * TEXT * LEADING + TICK_ROOM + SMALL
}

const TICK_ROOM: f64 = 2.0 * SMALL;

impl Frame {
    /// Draws the axes. The label of the y axis stands above it, upright, where it can be
    /// read without turning the head and costs no width.
    pub(crate) fn draw(
        canvas: &Canvas,
        x: Scale,
        y: Scale,
        margins: Margins,
    ) -> Result<Frame, FigureError> {
        let above = wrap(&y.axis.heading(), TEXT, canvas.width());
        let below = wrap(&x.axis.heading(), TEXT, canvas.width());
        let width = canvas.width();
        let left = (margins.left + y.widest_tick() + 8.0).min(width * 0.6);
        let right = margins.right.max(x.widest_tick() / 2.0 + 2.0).min(width * 0.35);
        let top = margins.top + above.len() as f64 * TEXT * LEADING + SMALL / 2.0;
        let bottom = TICK_ROOM + below.len() as f64 * TEXT * LEADING;
        let plot = Area {
            x: left,
            y: top,
            width: width - left - right,
            height: (canvas.height() - top - bottom).max(1.0),
        };
        let x = x.thinned(plot.width, |x| x.widest_tick() + SMALL);
        let y = y.thinned(plot.height, |_| SMALL * LEADING);
        let frame = Frame { x, y, plot };
        frame.paint_grid(canvas)?;
        frame.paint_ticks(canvas)?;
        label_axes(canvas, plot, margins.top, &above, &below)?;
        Ok(frame)
    }

    /// The place of a pair of values; nothing where one has no place on its axis.
    pub(crate) fn place(&self, x: f64, y: f64) -> Option<Point> {
        Some(self.at(self.x.position(x)?, self.y.position(y)?))
    }

    /// How far from the left a value lies.
    pub(crate) fn place_x(&self, x: f64) -> Option<f64> {
        Some(self.at(self.x.position(x)?, self.y.low).x)
    }

    /// How far from the top a value lies.
    pub(crate) fn place_y(&self, y: f64) -> Option<f64> {
        Some(self.at(self.x.low, self.y.position(y)?).y)
    }

    /// The place of a pair of positions.
    fn at(&self, x: f64, y: f64) -> Point {
        let [left, top, right, bottom] = self.edges();
        // What lies on an edge is drawn within it.
        at(self.x.along(x, left, right - TENTH), self.y.along(y, bottom - TENTH, top))
    }

    /// Left, top, right and bottom of the plot, where they come to lie on the canvas.
    fn edges(&self) -> [f64; 4] {
        let Area { x, y, width, height } = self.plot;
        [x, y, x + width, y + height].map(whole_tenths)
    }

    fn paint_grid(&self, canvas: &Canvas) -> Result<(), FigureError> {
        let pen = Pen::new(Paint::Grid, 1.0);
        for &x in &self.x.ticks {
            canvas.line(&[self.at(x, self.y.low), self.at(x, self.y.high)], pen)?;
        }
        for &y in &self.y.ticks {
            canvas.line(&[self.at(self.x.low, y), self.at(self.x.high, y)], pen)?;
        }
        Ok(())
    }

    fn paint_ticks(&self, canvas: &Canvas) -> Result<(), FigureError> {
        const LENGTH: f64 = 4.0;
        const TO_LABEL: f64 = 2.0 * LENGTH;
        let pen = Pen::new(Paint::MutedInk, 1.0);
        let set = |anchor| Type::new(SMALL, Paint::MutedInk, anchor);
        let [lowest, highest, last] = [
            self.at(self.x.low, self.y.low),
            self.at(self.x.low, self.y.high),
            self.at(self.x.high, self.y.low),
        ];

        let [edge, _, _, bottom] = self.edges();
        let left = edge - TENTH;
        canvas.line(&[at(left, highest.y), at(left, lowest.y)], pen)?;
        for &tick in &self.y.ticks {
            let y = self.at(self.x.low, tick).y;
            let place = at(edge - TO_LABEL, y);
            canvas.words(&self.y.write_tick(tick), place, set(Anchor::End))?;
            canvas.line(&[at(left - LENGTH, y), at(left, y)], pen)?;
        }

        canvas.line(&[at(lowest.x, bottom), at(last.x, bottom)], pen)?;
        for &tick in &self.x.ticks {
            let x = self.at(tick, self.y.low).x;
            let place = at(x, bottom + TO_LABEL);
            let set = set(Anchor::Middle).hanging();
            canvas.words(&self.x.write_tick(tick), place, set)?;
            canvas.line(&[at(x, bottom), at(x, bottom + LENGTH)], pen)?;
        }
        Ok(())
    }
}

/// The finest step of a drawing, in CSS pixels.
const TENTH: f64 = 1.0 / TENTHS;

fn whole_tenths(length: f64) -> f64 {
    (length * TENTHS).round() / TENTHS
}

fn label_axes(
    canvas: &Canvas,
    plot: Area,
    top: f64,
    above: &[String],
    below: &[String],
) -> Result<(), FigureError> {
    let line = |i: usize| (i as f64 + 0.5) * TEXT * LEADING;
    for (i, words) in above.iter().enumerate() {
        let set = Type::new(TEXT, Paint::Ink, Anchor::Start);
        canvas.words(words, at(0.0, top + line(i)), set)?;
    }
    for (i, words) in below.iter().enumerate() {
        let set = Type::new(TEXT, Paint::Ink, Anchor::Middle);
        let half = width_of(words, TEXT) / 2.0;
        let x = plot.center().x.min(canvas.width() - half).max(half);
        canvas.words(words, at(x, plot.y + plot.height + TICK_ROOM + line(i)), set)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_three_digits_and_their_whole_part() {
        for (value, written) in [
            (0.0, "0"),
            (-0.0, "0"),
            (0.65, "0.65"),
            (0.6549, "0.655"),
            (-12.34, "-12.3"),
            (3.0, "3"),
            (2.999_999_9, "3"),
            (1024.4, "1,024"),
            (-4_194_304.0, "-4,194,304"),
            (0.000_012_3, "1.23e-5"),
            (6.02e23, "6.02e23"),
            (f64::NAN, ""),
            (f64::NEG_INFINITY, "-∞"),
        ] {
            assert_eq!(number(value), written, "{value}");
        }
    }

    #[test]
    fn formats_pick_the_unit() {
        for (format, value, written) in [
            (Format::Short, 999.0, "999"),
            (Format::Short, 1000.0, "1k"),
            (Format::Short, 2_500_000.0, "2.5M"),
            (Format::Bytes, 512.0, "512 B"),
            (Format::Bytes, 131_072.0, "128 KiB"),
            (Format::Percent, 0.933, "93.3 %"),
            (Format::Percent, f64::NAN, ""),
        ] {
            assert_eq!(format.write(value), written, "{format:?} {value}");
        }
    }

    #[test]
    fn ticks_are_round() {
        assert_eq!(round_numbers((0.0, 3.46), true), [0.0, 1.0, 2.0, 3.0, 4.0]);
        assert_eq!(round_numbers((0.1, 0.95), false), [0.2, 0.4, 0.6, 0.8]);
        let both_ways = round_numbers((-12.0, 7.5), true);
        assert_eq!(both_ways, [-15.0, -10.0, -5.0, 0.0, 5.0, 10.0]);
    }

    #[test]
    fn a_rounding_error_does_not_reach_for_the_next_tick() {
        let exact = round_numbers((0.0, 1.0), true);
        assert_eq!(round_numbers((0.0, 1.000_000_1), true), exact);
        assert_eq!(round_numbers((-1e-7, 1.0), true), exact);
    }

    #[test]
    fn log_ticks_are_powers() {
        let ticks = |axis: Axis, ends: [f64; 2]| {
            let scale = axis.scale(ends.into_iter(), Ends::Data).unwrap();
            scale.ticks.iter().map(|&t| scale.write_tick(t)).collect::<Vec<_>>()
        };
        assert_eq!(ticks(Axis::log2("n"), [1.0, 8.0]), ["1", "2", "4", "8"]);
        assert_eq!(ticks(Axis::log("n"), [0.01, 10.0]), ["0.01", "0.1", "1", "10"]);
        assert_eq!(ticks(Axis::log("n"), [1.0, 20.0]), ["1", "2", "5", "10", "20"]);
    }

    #[test]
    fn ends_that_are_equal_are_moved_apart() {
        assert_eq!(apart((5.0, 5.0)), (4.5, 5.5));
        assert_eq!(apart((0.0, 0.0)), (-1.0, 1.0));
        assert_eq!(apart(NOWHERE), (0.0, 1.0));
    }
}
