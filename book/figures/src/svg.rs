//! From what plotters writes to what a page can show: colors become roles, tenths
//! become pixels, neighbors with one style become one path, words are added.

use crate::disguise::{DASHED, RIMMED, TENTHS};
use crate::{Hue, Paint, Table, theme};
use roxmltree::{Document, Node};
use serde::{Deserialize, Serialize};
use std::fmt::Write;

/// What a drawing carries for the page around it, as JSON in its `<metadata>`.
#[derive(Serialize, Deserialize, PartialEq)]
pub(crate) struct Metadata {
    pub(crate) caption: String,
    pub(crate) table: Table,
    /// Of what was measured: where, when and with what.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) measured: Option<String>,
}

/// The finished file.
pub(crate) fn document(
    name: &str,
    title: &str,
    alt: &str,
    metadata: &Metadata,
    (width, height): (f64, f64),
    drawing: &str,
) -> Result<String, serde_json::Error> {
    let metadata = serde_json::to_string(metadata)?;
    Ok(format!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" role="img" aria-labelledby="{name}-title {name}-desc" font-family="system-ui, sans-serif">
<title id="{name}-title">{}</title>
<desc id="{name}-desc">{}</desc>
<metadata>{}</metadata>
<style>{}</style>
{drawing}</svg>
"#,
        escape(title),
        escape(alt),
        escape(&metadata),
        theme::standalone_css(drawing),
    ))
}

/// The drawing within the `<svg>` that plotters wrote.
pub(crate) fn dress(plotted: &str) -> Result<String, roxmltree::Error> {
    let document = Document::parse(plotted)?;
    let mut drawing = String::new();
    let mut path = Path::default();
    let marks = document.root_element().children().filter(Node::is_element);
    for mark in marks {
        let style = style(mark);
        if let Some(data) = path_data(mark) {
            if path.style != style {
                path.flush(&mut drawing);
                path.style = style;
            }
            path.data.push_str(&data);
        } else {
            path.flush(&mut drawing);
            drawing.push_str(&other(mark, &style));
        }
    }
    path.flush(&mut drawing);
    Ok(drawing)
}

/// Marks in a row that share a style, gathered into one element: a heat-map has
/// hundreds of cells, and a page a dozen of those.
#[derive(Default)]
struct Path {
    style: String,
    data: String,
}

impl Path {
    fn flush(&mut self, drawing: &mut String) {
        if !self.data.is_empty() {
            let _ = writeln!(drawing, r#"<path{} d="{}"/>"#, self.style, self.data);
        }
        *self = Path::default();
    }
}

/// Rectangles and open lines, as path data.
fn path_data(mark: Node) -> Option<String> {
    match mark.tag_name().name() {
        "rect" => {
            let [x, y, w, h] = ["x", "y", "width", "height"].map(|a| pixels(mark, a));
            Some(format!("M{x} {y}h{w}v{h}h-{w}z"))
        }
        "line" => {
            let [x1, y1, x2, y2] = ["x1", "y1", "x2", "y2"].map(|a| pixels(mark, a));
            Some(format!("M{x1} {y1}L{x2} {y2}"))
        }
        "polyline" => Some(format!("M{}", points(mark).join("L"))),
        _ => None,
    }
}

/// Everything else stays the element that it is.
fn other(mark: Node, style: &str) -> String {
    match mark.tag_name().name() {
        "circle" => {
            let [x, y, r] = ["cx", "cy", "r"].map(|a| pixels(mark, a));
            format!("<circle cx=\"{x}\" cy=\"{y}\" r=\"{r}\"{style}/>\n")
        }
        "polygon" => {
            format!("<path{style} d=\"M{}z\"/>\n", points(mark).join("L"))
        }
        _ => text(mark, style),
    }
}

fn text(mark: Node, style: &str) -> String {
    let words = mark.text().unwrap_or_default().trim_matches('\n');
    if words.is_empty() {
        return String::new();
    }
    let [x, y, size] = ["x", "y", "font-size"].map(|a| pixels(mark, a));
    // Half an x-height, as plotters has it, leaves capitals and digits too high.
    let dy = match mark.attribute("dy") {
        Some("0.5ex") | None => "0.35em",
        Some(dy) => dy,
    };
    let mut set = format!(r#" x="{x}" y="{y}" dy="{dy}" font-size="{size}""#);
    match mark.attribute("text-anchor") {
        Some("start") | None => {}
        Some(anchor) => set += &format!(r#" text-anchor="{anchor}""#),
    }
    if mark.has_attribute("font-weight") {
        set += r#" font-weight="bold""#;
    }
    if mark.has_attribute("transform") {
        set += &format!(r#" transform="rotate(-90 {x} {y})""#);
    }
    format!("<text{set}{style}>{}</text>\n", escape(words))
}

/// The attributes that say how a mark looks, led by a space.
fn style(mark: Node) -> String {
    let mut style = String::new();
    let fill = mark.attribute("fill").unwrap_or("none");
    let _ = write!(style, r#" fill="{}""#, color(fill));
    match mark.attribute("stroke") {
        Some("none") | None => {}
        Some(stroke) => {
            let width = pixels(mark, "stroke-width");
            let color = color(stroke);
            let _ = write!(style, r#" stroke="{color}" stroke-width="{width}""#);
            if let Some(dash) = dash(stroke) {
                let _ = write!(style, r#" stroke-dasharray="{dash}""#);
            }
        }
    }
    if matches!(undisguise(fill), Some((Paint::Heat(_), _))) {
        // Smoothed edges of neighboring cells would let the paper shine through.
        style += r#" shape-rendering="crispEdges""#;
    }
    if undisguise(fill).is_some_and(|(_, flag)| flag == RIMMED) {
        let paper = Paint::Paper.css();
        let _ =
            write!(style, r#" stroke="{paper}" stroke-width="3" paint-order="stroke""#);
    }
    match mark.attribute("opacity") {
        Some("1") | None => {}
        Some(opacity) => style += &format!(r#" opacity="{opacity}""#),
    }
    style
}

fn color(plotted: &str) -> String {
    undisguise(plotted).map_or_else(|| plotted.to_owned(), |(paint, _)| paint.css())
}

fn dash(stroke: &str) -> Option<&'static str> {
    match undisguise(stroke)? {
        (Paint::Hue(hue), DASHED) => {
            Some(Hue::look(hue).dash).filter(|d| !d.is_empty())
        }
        _ => None,
    }
}

/// The role and the flag behind a `#rrggbb`.
fn undisguise(plotted: &str) -> Option<(Paint, u8)> {
    let hex = plotted.strip_prefix('#')?;
    let byte = |at: usize| u8::from_str_radix(hex.get(at..at + 2)?, 16).ok();
    Some((Paint::from_disguise(byte(0)?, byte(2)?)?, byte(4)?))
}

/// An attribute in tenths, as CSS pixels.
fn pixels(mark: Node, attribute: &str) -> f64 {
    let plotted = mark.attribute(attribute).and_then(|v| v.parse().ok());
    from_tenths(plotted.unwrap_or(TENTHS))
}

fn points(mark: Node) -> Vec<String> {
    let pair = |pair: &str| {
        let (x, y) = pair.split_once(',')?;
        let (x, y) = (x.parse().ok()?, y.parse().ok()?);
        Some(format!("{} {}", from_tenths(x), from_tenths(y)))
    };
    let points = mark.attribute("points").unwrap_or_default();
    points.split_whitespace().filter_map(pair).collect()
}

fn from_tenths(plotted: f64) -> f64 {
    plotted.round() / TENTHS
}

/// Words for XML: its own signs escaped, control characters (which it forbids) left out.
fn escape(words: &str) -> String {
    let mut escaped = String::with_capacity(words.len());
    for letter in words.chars().filter(|&letter| is_xml(letter)) {
        match letter {
            '&' => escaped += "&amp;",
            '<' => escaped += "&lt;",
            '>' => escaped += "&gt;",
            letter => escaped.push(letter),
        }
    }
    escaped
}

/// Whether XML 1.0 allows this character (§2.2).
pub(crate) fn is_xml(letter: char) -> bool {
    !matches!(letter, '\0'..='\x08' | '\x0b' | '\x0c' | '\x0e'..='\x1f' | '\u{fffe}' | '\u{ffff}')
}
