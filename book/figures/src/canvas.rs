//! The sheet that plots are painted on: lengths in CSS pixels, colors by role.

use crate::disguise::{DASHED, RIMMED, TENTHS};
use crate::{FigureError, Hue, Paint, svg::is_xml, theme::Marker};
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

/// The size of ordinary words, in CSS pixels on a drawing 440 wide.
pub const TEXT: f64 = 13.0;

/// The size of the smallest words: tick labels and numbers in cells.
pub const SMALL: f64 = 12.0;

/// From one line of words to the next, as a multiple of their size.
pub const LEADING: f64 = 1.3;

/// A place on the canvas, in CSS pixels from its upper left corner.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// To the right.
    pub x: f64,
    /// Downwards.
    pub y: f64,
}

/// Shorthand for a [`Point`].
#[must_use]
pub const fn at(x: f64, y: f64) -> Point {
    Point { x, y }
}

/// An upright rectangle on the canvas, in CSS pixels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Area {
    /// Left edge.
    pub x: f64,
    /// Upper edge.
    pub y: f64,
    /// From left to right.
    pub width: f64,
    /// From top to bottom.
    pub height: f64,
}

impl Area {
    /// The point in its middle.
    #[must_use]
    pub fn center(&self) -> Point {
        at(self.x + self.width / 2.0, self.y + self.height / 2.0)
    }
}

/// How a line is drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pen {
    paint: Paint,
    width: f64,
    dashed: Dashed,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Dashed {
    No,
    LikeItsHue,
}

impl Pen {
    /// A solid line, `width` CSS pixels wide.
    #[must_use]
    pub const fn new(paint: Paint, width: f64) -> Pen {
        Pen { paint, width, dashed: Dashed::No }
    }

    /// The line of a series, with the dash pattern of its hue.
    #[must_use]
    pub const fn series(hue: Hue) -> Pen {
        Pen { paint: Paint::Hue(hue), width: 2.0, dashed: Dashed::LikeItsHue }
    }

    fn style(self) -> ShapeStyle {
        let RGBColor(kind, index, _) = self.paint.disguise();
        let flag = if self.dashed == Dashed::No { 0 } else { DASHED };
        ShapeStyle {
            color: RGBColor(kind, index, flag).to_rgba(),
            filled: false,
            stroke_width: tenths(self.width) as u32,
        }
    }
}

/// Where words stand relative to their point. Their middle line runs through it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Anchor {
    /// They begin there.
    Start,
    /// They are centered on it.
    Middle,
    /// They end there.
    End,
    /// They begin there and run upwards.
    Upwards,
}

/// How words are set.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Type {
    size: f64,
    paint: Paint,
    anchor: Anchor,
    weight: Weight,
    height: Height,
    flag: u8,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Weight {
    Regular,
    Bold,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Height {
    Around,
    Below,
}

impl Type {
    /// Ordinary words.
    #[must_use]
    pub const fn new(size: f64, paint: Paint, anchor: Anchor) -> Type {
        let (weight, height) = (Weight::Regular, Height::Around);
        Type { size, paint, anchor, weight, height, flag: 0 }
    }

    /// Heavier.
    #[must_use]
    pub const fn bold(self) -> Type {
        Type { weight: Weight::Bold, ..self }
    }

    /// Below its point, in place of around it.
    #[must_use]
    pub const fn hanging(self) -> Type {
        Type { height: Height::Below, ..self }
    }

    /// With a rim of paper, which keeps words readable that lie on lines.
    #[must_use]
    pub const fn rimmed(self) -> Type {
        Type { flag: RIMMED, ..self }
    }
}

/// A part of a drawing.
pub struct Canvas<'a> {
    pub(crate) area: DrawingArea<SVGBackend<'a>, Shift>,
}

impl<'a> Canvas<'a> {
    /// In CSS pixels.
    #[must_use]
    pub fn width(&self) -> f64 {
        f64::from(self.area.dim_in_pixel().0) / TENTHS
    }

    /// In CSS pixels.
    #[must_use]
    pub fn height(&self) -> f64 {
        f64::from(self.area.dim_in_pixel().1) / TENTHS
    }

    /// A straight or broken line.
    ///
    /// # Errors
    /// When plotters fails.
    pub fn line(&self, points: &[Point], pen: Pen) -> Result<(), FigureError> {
        let path: Vec<_> = points.iter().map(|&p| pixel(p)).collect();
        Ok(self.area.draw(&PathElement::new(path, pen.style()))?)
    }

    /// The outline of a rectangle.
    ///
    /// # Errors
    /// When plotters fails.
    pub fn outline(&self, area: Area, pen: Pen) -> Result<(), FigureError> {
        let Area { x, y, width, height } = area;
        let (right, bottom) = (x + width, y + height);
        let corners =
            [at(x, y), at(right, y), at(right, bottom), at(x, bottom), at(x, y)];
        self.line(&corners, pen)
    }

    /// A filled rectangle; `opacity` from 0 to 1.
    ///
    /// # Errors
    /// When plotters fails.
    pub fn fill(
        &self,
        area: Area,
        paint: Paint,
        opacity: f64,
    ) -> Result<(), FigureError> {
        let far = at(area.x + area.width, area.y + area.height);
        let corners = [pixel(at(area.x, area.y)), pixel(far)];
        let style = paint.disguise().mix(opacity).filled();
        Ok(self.area.draw(&Rectangle::new(corners, style))?)
    }

    /// A filled polygon.
    ///
    /// # Errors
    /// When plotters fails.
    pub fn polygon(&self, corners: &[Point], paint: Paint) -> Result<(), FigureError> {
        let corners: Vec<_> = corners.iter().map(|&p| pixel(p)).collect();
        Ok(self.area.draw(&Polygon::new(corners, paint.disguise()))?)
    }

    /// A filled disc.
    ///
    /// # Errors
    /// When plotters fails.
    pub fn disc(
        &self,
        center: Point,
        radius: f64,
        paint: Paint,
    ) -> Result<(), FigureError> {
        let style = paint.disguise().filled();
        Ok(self.area.draw(&Circle::new(pixel(center), tenths(radius), style))?)
    }

    /// A circle.
    ///
    /// # Errors
    /// When plotters fails.
    pub fn circle(
        &self,
        center: Point,
        radius: f64,
        pen: Pen,
    ) -> Result<(), FigureError> {
        Ok(self.area.draw(&Circle::new(pixel(center), tenths(radius), pen.style()))?)
    }

    /// One line of words.
    ///
    /// # Errors
    /// When plotters fails.
    pub fn words(
        &self,
        words: &str,
        place: Point,
        set: Type,
    ) -> Result<(), FigureError> {
        let RGBColor(kind, index, _) = set.paint.disguise();
        let words: String = words.chars().filter(|&letter| is_xml(letter)).collect();
        // The SVG backend divides by 1.24 what it is given as a size.
        let font = ("sans-serif", set.size * TENTHS * 1.24).into_font();
        let font = match set.weight {
            Weight::Regular => font,
            Weight::Bold => font.style(FontStyle::Bold),
        };
        let (font, side) = match set.anchor {
            Anchor::Start => (font, HPos::Left),
            Anchor::Middle => (font, HPos::Center),
            Anchor::End => (font, HPos::Right),
            Anchor::Upwards => (font.transform(FontTransform::Rotate270), HPos::Left),
        };
        let height = match set.height {
            Height::Around => VPos::Center,
            Height::Below => VPos::Top,
        };
        let style =
            font.color(&RGBColor(kind, index, set.flag)).pos(Pos::new(side, height));
        Ok(self.area.draw(&Text::new(words, pixel(place), style))?)
    }

    /// The marker of a hue.
    ///
    /// # Errors
    /// When plotters fails.
    pub fn marker(
        &self,
        hue: Hue,
        center: Point,
        radius: f64,
    ) -> Result<(), FigureError> {
        let (paint, r, d) = (Paint::Hue(hue), radius, radius * 1.3);
        let pen = Pen::new(paint, 1.6);
        let around = |offsets: &[(f64, f64)]| -> Vec<Point> {
            offsets.iter().map(|(x, y)| at(center.x + x, center.y + y)).collect()
        };
        let square = around(&[(-r, -r), (r, -r), (r, r), (-r, r), (-r, -r)]);
        let diamond = around(&[(0.0, -d), (d, 0.0), (0.0, d), (-d, 0.0), (0.0, -d)]);
        let up = around(&[(-d, r), (0.0, -d), (d, r), (-d, r)]);
        match hue.look().marker {
            Marker::Disc => self.disc(center, r, paint),
            Marker::Ring => self.circle(center, r, pen),
            Marker::Square => self.polygon(&square, paint),
            Marker::Frame => self.line(&square, pen),
            Marker::Diamond => self.polygon(&diamond, paint),
            Marker::Lozenge => self.line(&diamond, pen),
            Marker::Up => self.polygon(&up, paint),
            Marker::Tent => self.line(&up, pen),
            Marker::Down => {
                self.polygon(&around(&[(-d, -r), (0.0, d), (d, -r)]), paint)
            }
            Marker::Cross => {
                self.line(&around(&[(-r, -r), (r, r)]), pen)?;
                self.line(&around(&[(-r, r), (r, -r)]), pen)
            }
            Marker::Plus => {
                self.line(&around(&[(-d, 0.0), (d, 0.0)]), pen)?;
                self.line(&around(&[(0.0, -d), (0.0, d)]), pen)
            }
        }
    }

    /// A smaller canvas that lies within this one.
    pub(crate) fn part(&self, area: Area) -> Canvas<'a> {
        let size = (tenths(area.width) as u32, tenths(area.height) as u32);
        let area = self.area.clone().shrink(pixel(at(area.x, area.y)), size);
        Canvas { area }
    }
}

/// How wide words come out, in CSS pixels: an estimate on the safe side, since an SVG
/// cannot know the reader's font.
#[must_use]
pub fn width_of(words: &str, size: f64) -> f64 {
    words.chars().map(ems).sum::<f64>() * size
}

fn ems(letter: char) -> f64 {
    match letter {
        'i' | 'j' | 'l' | '.' | ',' | ':' | ';' | '\'' | '|' | '!' | 'I' => 0.32,
        'f' | 't' | 'r' | '(' | ')' | '[' | ']' | ' ' | '/' | '-' => 0.4,
        'm' | 'w' | 'M' | 'W' | '@' | '%' | '—' | '→' | '←' => 0.92,
        'A'..='Z' => 0.7,
        '\u{2e80}'.. => 1.0,
        _ => 0.62,
    }
}

/// Words broken into lines no wider than `width`: at spaces, and within words that are
/// wider than a line.
#[must_use]
pub fn wrap(words: &str, size: f64, width: f64) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for mut word in words.split_whitespace() {
        if let Some(line) = lines.last_mut()
            && width_of(&format!("{line} {word}"), size) <= width
        {
            line.push(' ');
            line.push_str(word);
            continue;
        }
        while width_of(word, size) > width {
            let (line, rest) = word.split_at(fitting(word, size, width));
            lines.push(line.to_owned());
            word = rest;
        }
        if !word.is_empty() {
            lines.push(word.to_owned());
        }
    }
    lines
}

/// Words no wider than `width`, shortened if they must be.
pub(crate) fn shorten(words: &str, size: f64, width: f64) -> String {
    if width_of(words, size) <= width {
        return words.to_owned();
    }
    let kept = fitting(words, size, width - width_of("…", size));
    format!("{}…", &words[..kept])
}

/// How many bytes of the words fit, but at least one letter.
fn fitting(words: &str, size: f64, width: f64) -> usize {
    let mut used = 0.0;
    let mut ends = words.char_indices().map(|(at, letter)| {
        used += ems(letter) * size;
        (at, used)
    });
    let too_far = ends.position(|(at, used)| at > 0 && used > width);
    too_far.map_or(words.len(), |letters| {
        words.chars().take(letters).map(char::len_utf8).sum()
    })
}

fn pixel(point: Point) -> (i32, i32) {
    (tenths(point.x), tenths(point.y))
}

fn tenths(length: f64) -> i32 {
    (length * TENTHS).round() as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_break_at_spaces_and_within_words_that_are_too_long() {
        let width = width_of("hidden by", 12.0);
        assert_eq!(wrap("hidden by the mask", 12.0, width), ["hidden by", "the mask"]);
        assert_eq!(wrap("abcdegh", 10.0, 13.0), ["ab", "cd", "eg", "h"]);
        assert!(wrap(" ", 12.0, width).is_empty());
    }

    #[test]
    fn shortened_words_fit_and_say_so() {
        assert_eq!(shorten("key", 12.0, 100.0), "key");
        let short = shorten("grouped-query", 12.0, 50.0);
        assert!(short.starts_with("gro") && short.ends_with('…'), "{short}");
        assert!(width_of(&short, 12.0) <= 50.0);
    }
}
