//! The chapter's own model at work, as a figure: what comes next, and the maps of all heads.

use crate::inside::{Asked, OPENING, SHOWN, inside as inside_at_work};
use crate::own::recorded;
use crate::tales::pieces;
use crate::training::experiments::machine;
use anyhow::{Context, Result};
use attention::example::grouped;
use figures::{
    Anchor, Area, Axis, Bars, Canvas, Chart, Figure, FigureError, Format, Heatmap, Hue,
    Paint, Pen, Plot, SMALL, Table, Type, Words, at,
};
use nalgebra::DMatrix;

/// Pieces whose probabilities are drawn.
const NEXT: usize = 8;

/// How the training of the chapter's own model went.
///
/// # Errors
/// When the recording cannot be read.
pub fn tales() -> Result<Figure> {
    let recorded = recorded()?;
    let line = |case: &str| -> Vec<(f64, f64)> {
        recorded.spreads(case).map(|(step, loss)| (step as f64, loss.median)).collect()
    };
    let (training, held_out) = (line("training"), line("held out"));
    let at = |line: &[(f64, f64)]| line.last().map_or(f64::NAN, |point| point.1);
    let (read, unread) = (at(&training), at(&held_out));
    let lowest = held_out.iter().min_by(|a, b| a.1.total_cmp(&b.1));
    let (step, least) = lowest.copied().context("nothing was held out")?;
    let step = grouped(step as u64);
    let words = Words {
        title: "From the middle on it gets better only on text that it reads".into(),
        caption: format!(
            "Nats per piece in training, and on the last hundredth of the text, which no \
             step reads. The line of that part is lowest after {step} steps, at {least:.2}, \
             and ends at {unread:.2}; the other falls to {read:.2}. One run, one seed: the \
             two lines part within the first pass over the text."
        ),
        alt: format!(
            "Two lines over the steps of training, steep at first. Training falls to \
             {read:.2} nats. The text that is held out reaches {least:.2} after {step} steps \
             and then rises to {unread:.2}."
        ),
    };
    let made = machine(&recorded);
    let chart = Chart::new(
        Axis::linear("steps"),
        Axis::linear("nats per piece").range(2.0, 6.0),
    )
    .line("in training", Hue::Muted, training)
    .line("held out", Hue::Accent, held_out);
    Ok(Figure::measured("tales", words, &made, 1, &[&chart])?)
}

/// The chapter's own model on [`OPENING`].
///
/// # Errors
/// When the figure cannot be drawn.
pub fn inside() -> Result<Figure> {
    inside_of(&Asked::of(OPENING), SHOWN)
}

/// What the model makes of a text, as it is or with changes, and the map of one of its heads.
///
/// # Errors
/// As for [`crate::inside::inside`], or when there is no such head.
pub fn inside_of(asked: &Asked, (layer, head): (usize, usize)) -> Result<Figure> {
    let found = inside_at_work(asked)?;
    let map = found.weights.get(layer).and_then(|heads| heads.get(head));
    let map = map.with_context(|| format!("no head {head} in layer {layer}"))?;
    let tokens: Vec<String> = found.pieces.iter().map(|piece| label(*piece)).collect();
    let mut order: Vec<usize> = (0..found.next.len()).collect();
    order.sort_by(|a, b| found.next[*b].total_cmp(&found.next[*a]));
    order.truncate(NEXT);
    let of_these = |shares: &[f32]| -> Vec<f64> {
        order.iter().map(|piece| f64::from(shares[*piece])).collect()
    };
    let (next, as_trained) = (of_these(&found.next), of_these(&found.as_trained));
    let first = label(order[0]);
    let (last, count) = (&tokens[tokens.len() - 1], tokens.len());
    let (most, trained) = (100.0 * next[0], 100.0 * as_trained[0]);
    let compared = if asked.as_trained() {
        String::new()
    } else {
        format!(" As it was trained, it would give `{first}` {trained:.0} %.")
    };
    let words = Words {
        title: format!("After “{last}”, the model expects “{first}”"),
        caption: format!(
            "The likeliest next pieces, and where each of {count} pieces looks in every head \
             of the chapter's own model. `{first}` has {most:.0} %.{compared} \
             The outlined map, layer {layer}, head {head}, is drawn once more below. `·` is \
             the space before a word."
        ),
        alt: format!(
            "Bars: {}. Below, a small heat-map for each head, and a large one of layer {layer}, \
             head {head}.",
            order
                .iter()
                .zip(&next)
                .map(|(piece, share)| {
                    format!("{} {:.0} %", label(*piece), 100.0 * share)
                })
                .collect::<Vec<_>>()
                .join(", "),
        ),
    };
    let axis = Axis::linear("probability of being next").format(Format::Percent);
    let mut bars = Bars::new(axis, order.iter().map(|piece| label(*piece)))
        .title("What comes next")
        .series(if asked.as_trained() { "" } else { "changed" }, Hue::Accent, next);
    if !asked.as_trained() {
        bars = bars.series("as trained", Hue::Muted, as_trained);
    }
    let maps = Maps {
        weights: &found.weights,
        outlined: (layer, head),
        off: asked.off,
        tokens: &tokens,
    };
    let weight = |query: usize, key: usize| f64::from(map[(query, key)]);
    let large = Heatmap::new(&tokens, &tokens, weight)
        .title(&format!("Layer {layer}, head {head}"))
        .range(0.0, 1.0)
        .row_axis("query")
        .column_axis("key")
        .value_axis("weight");
    Ok(Figure::panels("inside", words, 1, &[&bars, &maps, &large])?)
}

/// A piece as a label: a dot for the space before a word, a sign for the end of a line.
fn label(piece: usize) -> String {
    pieces().text(piece).replace(' ', "·").replace('\n', "⏎")
}

/// A small map for each head, a row of them for each layer: who looks at whom, with queries
/// from top to bottom and keys from left to right.
pub(crate) struct Maps<'a> {
    /// (queries, keys) for each head of each layer.
    pub(crate) weights: &'a [Vec<DMatrix<f32>>],
    /// The layer and head that are outlined.
    pub(crate) outlined: (usize, usize),
    /// The layer and head that are crossed out.
    pub(crate) off: Option<(usize, usize)>,
    /// A name for each token.
    pub(crate) tokens: &'a [String],
}

/// Room for `layer 0` on the left, between maps, and above them.
const LEFT: f64 = 46.0;
const BETWEEN: f64 = 6.0;
const ABOVE: f64 = 18.0;

impl Maps<'_> {
    fn side(&self, width: f64) -> f64 {
        let heads = self.weights.iter().map(Vec::len).max().unwrap_or(1).max(1) as f64;
        ((width - LEFT) / heads - BETWEEN).max(1.0)
    }

    /// Where the map of a head lies.
    fn area(&self, layer: usize, head: usize, width: f64) -> Area {
        let side = self.side(width);
        Area {
            x: LEFT + head as f64 * (side + BETWEEN),
            y: ABOVE + layer as f64 * (side + BETWEEN),
            width: side,
            height: side,
        }
    }
}

/// Shades of a small map.
const SHADES: f64 = 8.0;

/// The cells of a map that are not of the lightest shade, by their shades, so that each
/// shade becomes one path; neighbors of one shade in a row are one rectangle.
///
/// There are few shades: a weight that another processor computes with another last digit
/// should not become another picture.
fn runs(weights: &DMatrix<f32>) -> Vec<(Paint, usize, usize, usize)> {
    let mut runs: Vec<(Paint, usize, usize, usize)> = Vec::new();
    for (query, row) in weights.row_iter().enumerate() {
        for (key, weight) in row.iter().enumerate() {
            let paint = Paint::heat((f64::from(*weight) * SHADES).round() / SHADES);
            if paint == Paint::heat(0.0) {
                continue;
            }
            match runs.last_mut() {
                Some((last, of, _, end))
                    if (*last, *of, *end) == (paint, query, key) =>
                {
                    *end += 1;
                }
                _ => runs.push((paint, query, key, key + 1)),
            }
        }
    }
    let shade = |paint: &Paint| if let Paint::Heat(step) = paint { *step } else { 0 };
    runs.sort_by_key(|(paint, ..)| shade(paint));
    runs
}

impl Plot for Maps<'_> {
    fn title(&self) -> &'static str {
        "Every head"
    }

    fn height(&self, width: f64) -> f64 {
        ABOVE + self.weights.len() as f64 * (self.side(width) + BETWEEN)
    }

    fn paint(&self, canvas: &Canvas<'_>) -> Result<(), FigureError> {
        let width = canvas.width();
        let name = |anchor| Type::new(SMALL, Paint::MutedInk, anchor);
        for head in 0..self.weights.first().map_or(0, Vec::len) {
            let middle = self.area(0, head, width).center().x;
            let place = at(middle, ABOVE - 10.0);
            canvas.words(&format!("head {head}"), place, name(Anchor::Middle))?;
        }
        for (layer, heads) in self.weights.iter().enumerate() {
            let middle = self.area(layer, 0, width).center().y;
            let place = at(0.0, middle);
            canvas.words(&format!("layer {layer}"), place, name(Anchor::Start))?;
            for (head, weights) in heads.iter().enumerate() {
                let area = self.area(layer, head, width);
                canvas.fill(area, Paint::heat(0.0), 1.0)?;
                let cell = area.width / weights.nrows().max(1) as f64;
                for (paint, query, from, to) in runs(weights) {
                    let run = Area {
                        x: area.x + from as f64 * cell,
                        y: area.y + query as f64 * cell,
                        width: (to - from) as f64 * cell,
                        height: cell,
                    };
                    canvas.fill(run, paint, 1.0)?;
                }
                let outlined = self.outlined == (layer, head);
                let pen = if outlined {
                    Pen::new(Paint::Hue(Hue::Accent), 2.0)
                } else {
                    Pen::new(Paint::MutedInk, 0.6)
                };
                canvas.outline(area, pen)?;
                if self.off == Some((layer, head)) {
                    let Area { x, y, width, height } = area;
                    let pen = Pen::new(Paint::Hue(Hue::Accent), 1.6);
                    canvas.line(&[at(x, y), at(x + width, y + height)], pen)?;
                    canvas.line(&[at(x, y + height), at(x + width, y)], pen)?;
                }
            }
        }
        Ok(())
    }

    /// What the last token looks at most, in every head.
    fn table(&self) -> Table {
        let columns = ["layer", "head", "the last token looks most at", "with"];
        let row = |layer: usize, head: usize, weights: &DMatrix<f32>| {
            let last = weights.nrows().checked_sub(1)?;
            let row = weights.row(last).transpose();
            let most = row.argmax();
            let token = self.tokens.get(most.0)?.clone();
            let weight = format!("{:.2}", most.1);
            Some(vec![layer.to_string(), head.to_string(), token, weight])
        };
        let mut rows = Vec::new();
        for (layer, heads) in self.weights.iter().enumerate() {
            let of_layer = heads.iter().enumerate();
            rows.extend(of_layer.filter_map(|(head, map)| row(layer, head, map)));
        }
        Table { columns: columns.map(str::to_owned).to_vec(), rows }
    }
}
