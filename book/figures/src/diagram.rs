//! Boxes and arrows on a grid.

use crate::canvas::{
    Anchor, Area, Canvas, LEADING, Pen, Point, SMALL, TEXT, Type, at, width_of,
};
use crate::{FigureError, Hue, Paint, Plot, Table};

/// Boxes on a grid, joined by arrows. Columns are as wide as their widest box.
#[derive(Clone, Debug, Default)]
pub struct Diagram {
    title: String,
    nodes: Vec<Node>,
    arrows: Vec<Arrow>,
}

/// A cell of a diagram's grid, counted from the upper left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    /// To the right.
    pub column: usize,
    /// Downwards.
    pub row: usize,
}

#[derive(Clone, Debug)]
struct Node {
    id: String,
    slot: Slot,
    lines: Vec<String>,
    hue: Hue,
}

#[derive(Clone, Debug)]
struct Arrow {
    from: String,
    to: String,
    label: String,
    route: Route,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Route {
    Straight,
    Elbow,
}

impl Diagram {
    /// An empty diagram.
    #[must_use]
    pub fn new() -> Diagram {
        Diagram::default()
    }

    /// A title of its own, for a diagram among panels.
    #[must_use]
    pub fn title(mut self, title: &str) -> Diagram {
        title.clone_into(&mut self.title);
        self
    }

    /// Adds a box with these lines of words.
    #[must_use]
    pub fn node(mut self, id: &str, slot: Slot, lines: &[&str], hue: Hue) -> Diagram {
        let lines = lines.iter().map(|&line| line.to_owned()).collect();
        self.nodes.push(Node { id: id.to_owned(), slot, lines, hue });
        self
    }

    /// Adds a straight arrow between two boxes. An empty label says nothing.
    #[must_use]
    pub fn arrow(self, from: &str, to: &str, label: &str) -> Diagram {
        self.with(from, to, label, Route::Straight)
    }

    /// Adds an arrow with right angles: between rows, it runs through the gap above the
    /// lower box; within a column, it goes around on the right; within a row, below.
    #[must_use]
    pub fn elbow(self, from: &str, to: &str, label: &str) -> Diagram {
        self.with(from, to, label, Route::Elbow)
    }

    fn with(mut self, from: &str, to: &str, label: &str, route: Route) -> Diagram {
        let [from, to, label] = [from, to, label].map(str::to_owned);
        self.arrows.push(Arrow { from, to, label, route });
        self
    }

    fn check(&self) -> Result<(), FigureError> {
        if self.nodes.is_empty() {
            return Err(FigureError::NoData("diagram".to_owned()));
        }
        for (i, node) in self.nodes.iter().enumerate() {
            let clash = |other: &&Node| other.id == node.id || other.slot == node.slot;
            if let Some(other) = self.nodes[..i].iter().find(clash) {
                let (first, second) = (other.id.clone(), node.id.clone());
                return Err(FigureError::NodesClash { first, second });
            }
        }
        for id in self.arrows.iter().flat_map(|arrow| [&arrow.from, &arrow.to]) {
            if self.find(id).is_none() {
                return Err(FigureError::UnknownNode(id.clone()));
            }
        }
        Ok(())
    }

    fn find(&self, id: &str) -> Option<&Node> {
        self.nodes.iter().find(|node| node.id == id)
    }

    /// Both ends of an arrow, where they exist.
    fn ends(&self, arrow: &Arrow) -> Option<(&Node, &Node)> {
        Some((self.find(&arrow.from)?, self.find(&arrow.to)?))
    }
}

impl Node {
    fn width(&self) -> f64 {
        let widths = self.lines.iter().map(|line| width_of(line, TEXT));
        widths.fold(0.0, f64::max) + 2.0 * PADDING
    }

    fn height(&self) -> f64 {
        self.lines.len().max(1) as f64 * TEXT * LEADING + 1.4 * PADDING
    }

    fn paint(&self, canvas: &Canvas, area: Area) -> Result<(), FigureError> {
        canvas.fill(area, Paint::Paper, 1.0)?;
        canvas.fill(area, Paint::Hue(self.hue), 0.12)?;
        canvas.outline(area, Pen::new(Paint::Hue(self.hue), 1.5))?;
        let middle = area.center();
        let first = middle.y - (self.lines.len() as f64 - 1.0) / 2.0 * TEXT * LEADING;
        for (i, line) in self.lines.iter().enumerate() {
            // The first line names the box, the others explain it.
            let paint = if i == 0 { Paint::Ink } else { Paint::MutedInk };
            let place = at(middle.x, first + i as f64 * TEXT * LEADING);
            canvas.words(line, place, Type::new(TEXT, paint, Anchor::Middle))?;
        }
        Ok(())
    }
}

impl Plot for Diagram {
    fn title(&self) -> &str {
        &self.title
    }

    fn height(&self, width: f64) -> f64 {
        Layout::new(self, width).height
    }

    fn paint(&self, canvas: &Canvas) -> Result<(), FigureError> {
        self.check()?;
        let layout = Layout::new(self, canvas.width());
        if layout.needed > canvas.width() {
            let (needed, available) = (layout.needed.ceil(), canvas.width());
            return Err(FigureError::TooWide { needed, available });
        }
        let routes: Vec<_> = self
            .arrows
            .iter()
            .filter_map(|arrow| {
                Some((arrow, layout.route(self.ends(arrow)?, arrow.route)))
            })
            .collect();
        for (_, route) in &routes {
            paint_arrow(canvas, route)?;
        }
        for node in &self.nodes {
            node.paint(canvas, layout.area(node.slot))?;
        }
        for (arrow, route) in &routes {
            paint_label(canvas, &arrow.label, route)?;
        }
        Ok(())
    }

    fn table(&self) -> Table {
        let name = |node: &Node| node.lines.join(" ");
        let row = |arrow: &Arrow| {
            let (from, to) = self.ends(arrow)?;
            Some(vec![name(from), arrow.label.clone(), name(to)])
        };
        Table {
            columns: ["from", "arrow", "to"].map(str::to_owned).into(),
            rows: self.arrows.iter().filter_map(row).collect(),
        }
    }
}

/// Columns and rows with their places on the canvas.
struct Layout {
    columns: Vec<Band>,
    rows: Vec<Band>,
    /// The width that boxes, arrows and labels need.
    needed: f64,
    height: f64,
}

/// A column or a row of the grid on the canvas.
#[derive(Clone, Copy, Debug)]
struct Band {
    /// Its number in the slots. Numbers that no box has take no room.
    number: usize,
    start: f64,
    length: f64,
    /// The room after it.
    gap: f64,
}

const PADDING: f64 = 9.0;
/// The least room between boxes, and the most that spare width adds to it.
const GAP: f64 = 30.0;
const SPARE_GAP: f64 = 34.0;
const DETOUR: f64 = 15.0;
const HEAD: f64 = 8.0;

impl Layout {
    fn new(diagram: &Diagram, width: f64) -> Layout {
        let columns = bands(diagram, |slot| slot.column, Node::width);
        let rows = bands(diagram, |slot| slot.row, Node::height);
        let mut layout = Layout { columns, rows, needed: 0.0, height: 0.0 };
        layout.widen_gaps_for_labels(diagram);
        layout.stack();
        let tightest = layout.reach(diagram);

        let gaps = layout.columns.len().saturating_sub(1).max(1) as f64;
        let spare = (width - tightest.width).max(0.0) / gaps;
        layout.columns.iter_mut().for_each(|column| column.gap += spare.min(SPARE_GAP));
        layout.stack();
        let reach = layout.reach(diagram);

        let left = (width - reach.width).max(0.0) / 2.0 - reach.x;
        layout.columns.iter_mut().for_each(|column| column.start += left);
        layout.rows.iter_mut().for_each(|row| row.start -= reach.y);
        layout.needed = tightest.width;
        layout.height = reach.height;
        layout
    }

    /// Labels need gaps of their own: between columns above a level arrow and beside a
    /// detour, between rows above the level part of an elbow.
    fn widen_gaps_for_labels(&mut self, diagram: &Diagram) {
        let widen = |bands: &mut [Band], number: usize, needed: f64| {
            if let Some(band) = bands.iter_mut().find(|band| band.number == number) {
                band.gap = band.gap.max(needed);
            }
        };
        for arrow in diagram.arrows.iter().filter(|arrow| !arrow.label.is_empty()) {
            let Some((from, to)) = diagram.ends(arrow) else { continue };
            let (from, to) = (from.slot, to.slot);
            let width = width_of(&arrow.label, SMALL);
            let left = from.column.min(to.column);
            let above = self.rows.iter().map(|row| row.number);
            let above = above.filter(|row| *row < from.row.max(to.row)).max();
            match (arrow.route, from.row == to.row, from.column == to.column) {
                (Route::Straight, true, _) => {
                    widen(&mut self.columns, left, width + HEAD + 6.0);
                }
                (Route::Elbow, false, true) => {
                    widen(&mut self.columns, left, DETOUR + width + 16.0);
                }
                (Route::Elbow, false, false) => {
                    widen(&mut self.rows, above.unwrap_or_default(), GAP + SMALL / 2.0);
                }
                (Route::Straight, false, _) | (Route::Elbow, true, _) => {}
            }
        }
    }

    /// Puts the bands one after the other.
    fn stack(&mut self) {
        for bands in [&mut self.columns, &mut self.rows] {
            let mut start = 0.0;
            for band in bands {
                band.start = start;
                start += band.length + band.gap;
            }
        }
    }

    /// The rectangle around all that is drawn.
    fn reach(&self, diagram: &Diagram) -> Area {
        let boxes = diagram.nodes.iter().map(|node| self.area(node.slot));
        let mut areas: Vec<Area> = boxes.collect();
        for arrow in &diagram.arrows {
            let Some(ends) = diagram.ends(arrow) else { continue };
            let route = self.route(ends, arrow.route);
            areas.extend(route.iter().map(|p| Area {
                x: p.x,
                y: p.y,
                width: 0.0,
                height: 0.0,
            }));
            areas.extend(label_place(&arrow.label, &route).map(|(_, area)| area));
        }
        around(&areas)
    }

    fn area(&self, slot: Slot) -> Area {
        let span = |bands: &[Band], number: usize| {
            let band = bands.iter().find(|band| band.number == number);
            band.map_or((0.0, 0.0), |band| (band.start, band.length))
        };
        let (x, width) = span(&self.columns, slot.column);
        let (y, height) = span(&self.rows, slot.row);
        Area { x, y, width, height }
    }

    /// The corners of an arrow, from border to border.
    fn route(&self, (from, to): (&Node, &Node), route: Route) -> Vec<Point> {
        let (a, b) = (self.area(from.slot), self.area(to.slot));
        let (start, end) = (a.center(), b.center());
        let (a_bottom, b_bottom) = (a.y + a.height, b.y + b.height);
        match route {
            Route::Straight => vec![border(&a, end), border(&b, start)],
            Route::Elbow if from.slot.row == to.slot.row => {
                let y = a_bottom + DETOUR;
                vec![
                    at(start.x, a_bottom),
                    at(start.x, y),
                    at(end.x, y),
                    at(end.x, b_bottom),
                ]
            }
            Route::Elbow if from.slot.column == to.slot.column => {
                let right = a.x + a.width;
                let x = right + DETOUR;
                vec![at(right, start.y), at(x, start.y), at(x, end.y), at(right, end.y)]
            }
            Route::Elbow => {
                let (leave, enter, y) = if a.y < b.y {
                    (a_bottom, b.y, b.y - GAP / 2.0)
                } else {
                    (a.y, b_bottom, b_bottom + GAP / 2.0)
                };
                vec![at(start.x, leave), at(start.x, y), at(end.x, y), at(end.x, enter)]
            }
        }
    }
}

/// The columns or rows in use, as long as their longest box.
fn bands(
    diagram: &Diagram,
    along: fn(Slot) -> usize,
    length: fn(&Node) -> f64,
) -> Vec<Band> {
    let mut numbers: Vec<usize> = diagram.nodes.iter().map(|n| along(n.slot)).collect();
    numbers.sort_unstable();
    numbers.dedup();
    let band = |number| {
        let inside = diagram.nodes.iter().filter(|node| along(node.slot) == number);
        let length = inside.map(length).fold(0.0, f64::max);
        Band { number, start: 0.0, length, gap: GAP }
    };
    numbers.into_iter().map(band).collect()
}

/// The smallest rectangle around others, with room for the width of their lines.
fn around(areas: &[Area]) -> Area {
    let left = areas.iter().map(|a| a.x).fold(f64::INFINITY, f64::min) - 1.0;
    let top = areas.iter().map(|a| a.y).fold(f64::INFINITY, f64::min) - 1.0;
    let right = areas.iter().map(|a| a.x + a.width).fold(f64::NEG_INFINITY, f64::max);
    let bottom = areas.iter().map(|a| a.y + a.height).fold(f64::NEG_INFINITY, f64::max);
    if areas.is_empty() {
        return Area { x: 0.0, y: 0.0, width: 0.0, height: 0.0 };
    }
    Area { x: left, y: top, width: right - left + 1.0, height: bottom - top + 1.0 }
}

/// Where the line from the middle of a box towards `target` leaves it.
fn border(area: &Area, target: Point) -> Point {
    let middle = area.center();
    let (dx, dy) = (target.x - middle.x, target.y - middle.y);
    let share = (area.width / 2.0 / dx.abs()).min(area.height / 2.0 / dy.abs());
    // An arrow from a box to itself has no direction.
    let share = if share.is_finite() { share } else { 0.0 };
    at(middle.x + dx * share, middle.y + dy * share)
}

fn paint_arrow(canvas: &Canvas, route: &[Point]) -> Result<(), FigureError> {
    let [.., before, tip] = route else { return Ok(()) };
    let length = (tip.x - before.x).hypot(tip.y - before.y).max(1.0);
    let (dx, dy) = ((tip.x - before.x) / length, (tip.y - before.y) / length);
    let base = at(tip.x - dx * HEAD, tip.y - dy * HEAD);
    let (wx, wy) = (-dy * HEAD / 2.2, dx * HEAD / 2.2);
    let mut line = route.to_vec();
    line.pop();
    line.push(base);
    canvas.line(&line, Pen::new(Paint::Ink, 1.3))?;
    let head = [*tip, at(base.x + wx, base.y + wy), at(base.x - wx, base.y - wy)];
    canvas.polygon(&head, Paint::Ink)
}

fn paint_label(
    canvas: &Canvas,
    label: &str,
    route: &[Point],
) -> Result<(), FigureError> {
    let Some((anchor, area)) = label_place(label, route) else { return Ok(()) };
    let middle = area.center();
    let x = if anchor == Anchor::Start { area.x } else { middle.x };
    let set = Type::new(SMALL, Paint::Ink, anchor).rimmed();
    canvas.words(label, at(x, middle.y), set)
}

/// Above the longest part of a route where that is level, to its right where it is not.
fn label_place(label: &str, route: &[Point]) -> Option<(Anchor, Area)> {
    if label.is_empty() {
        return None;
    }
    let length = |part: &[Point]| (part[1].x - part[0].x).hypot(part[1].y - part[0].y);
    let longest = route.windows(2).max_by(|a, b| length(a).total_cmp(&length(b)))?;
    let [a, b] = [longest[0], longest[1]];
    let middle = at(f64::midpoint(a.x, b.x), f64::midpoint(a.y, b.y));
    let (width, height) = (width_of(label, SMALL), SMALL * LEADING);
    if (a.x - b.x).abs() > (a.y - b.y).abs() {
        let (x, y) = (middle.x - width / 2.0, middle.y - height - 1.0);
        Some((Anchor::Middle, Area { x, y, width, height }))
    } else {
        let (x, y) = (middle.x + 7.0, middle.y - height / 2.0);
        Some((Anchor::Start, Area { x, y, width, height }))
    }
}
