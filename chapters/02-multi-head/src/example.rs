//! What the chapter prints: each function is one block of output in the book, and
//! `cargo run -p multi-head` shows some of them.

use crate::experiments::{self, Cost, TwoPlaces, relative_error};
use crate::{LayerError, MultiHeadAttention, Projected, attend_heads, columns_of};
use anyhow::Result;
use attention::example::{grouped, table};
use attention::{Linear, Mask, scores};
use nalgebra::{DMatrix, dmatrix};
use std::fmt::Write;

const TOY: [&str; 3] = ["sun", "moon", "both"];

/// The matrices of the worked example. The columns of head 0 are the layer of chapter 1.
struct Toy {
    x: DMatrix<f32>,
    w_q: DMatrix<f32>,
    w_k: DMatrix<f32>,
    w_v: DMatrix<f32>,
    w_o: DMatrix<f32>,
}

fn toy() -> Toy {
    Toy {
        x: dmatrix![1.0, 0.0; 0.0, 1.0; 1.0, 1.0],
        w_q: dmatrix![
            1.0, 0.0, 1.0, 0.0, 0.0, 2.0, 0.0, 2.0;
            0.0, 2.0, 0.0, 2.0, 2.0, 0.0, 2.0, 0.0
        ],
        w_k: dmatrix![
            2.0, 0.0, 2.0, 0.0, 1.0, 0.0, 1.0, 0.0;
            2.0, 1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 1.0
        ],
        w_v: dmatrix![10.0, 0.0, 10.0, 0.0; 0.0, 10.0, 0.0, 10.0],
        w_o: dmatrix![1.0, 0.0; 0.0, 1.0; -1.0, 0.0; 0.0, -1.0],
    }
}

impl Toy {
    fn layer(&self) -> Result<MultiHeadAttention, LayerError> {
        let plain = |weight: &DMatrix<f32>| Linear::new(weight.clone(), None);
        let (q, k) = (plain(&self.w_q)?, plain(&self.w_k)?);
        MultiHeadAttention::new(q, k, plain(&self.w_v)?, plain(&self.w_o)?, 2)
    }
}

/// The tokens and the layer of the worked example.
///
/// # Errors
/// None that can happen: the shapes are fixed.
pub fn toy_layer() -> Result<(DMatrix<f32>, MultiHeadAttention), LayerError> {
    let toy = toy();
    let layer = toy.layer()?;
    Ok((toy.x, layer))
}

/// The task that one head cannot do.
///
/// # Errors
/// None that can happen: the shapes are fixed.
pub fn two_places() -> Result<String> {
    let TwoPlaces { carried, wanted, one_head, two_heads } = experiments::two_places()?;
    let mut text = String::from("carries  wanted  1 head     2 heads\n");
    for i in 0..carried.nrows() {
        let pair = |m: &DMatrix<f32>| [m[(i, 0)], m[(i, 1)]];
        let ([a, b], [c, d]) = (pair(&carried), pair(&wanted));
        let ([e, f], [g, h]) = (pair(&one_head), pair(&two_heads));
        write!(text, "{a:>3} {b:>3} {c:>4} {d:>3}")?;
        writeln!(text, "  {e:>4.1} {f:>4.1}  {g:>4.1} {h:>4.1}")?;
    }
    Ok(text)
}

/// The learned matrices of the worked example.
#[must_use]
pub fn three_tokens_learned() -> String {
    let toy = toy();
    let wide = |title, w| side_by_side(title, &["", ""], w, 0);
    let w_o = side_by_side_rows("W_O", &toy.w_o);
    [wide("W_Q", &toy.w_q), wide("W_K", &toy.w_k), wide("W_V", &toy.w_v), w_o]
        .join("\n")
}

/// The worked example: every intermediate of one small forward pass of two heads.
///
/// # Errors
/// None that can happen: the shapes are fixed.
pub fn three_tokens() -> Result<String> {
    let toy = toy();
    let layer = toy.layer()?;
    let Projected { q, k, v } = layer.project(&toy.x, &toy.x)?;
    let found = attend_heads(&q, &k, &v, 2, &Mask::None)?;
    let wide =
        |title: &str, m: &DMatrix<f32>, digits| side_by_side(title, &TOY, m, digits);
    let square =
        |title: &str, m: &DMatrix<f32>, digits| table(title, &TOY, &[], m, digits);
    let mut blocks = vec![
        square("x: three tokens, two features", &toy.x, 0),
        wide("q = x W_Q     head 0 | head 1", &q, 0),
        wide("k = x W_K     head 0 | head 1", &k, 0),
        wide("v = x W_V     head 0 | head 1", &v, 0),
    ];
    for (h, weights) in found.weights.iter().enumerate() {
        let scores = scores(columns_of(h, &q, 4), columns_of(h, &k, 4))?;
        blocks.push(square(&format!("scores of head {h}"), &scores, 0));
        blocks.push(square(&format!("weights of head {h}"), weights, 3));
    }
    let output = layer.o_proj().forward(&found.found)?;
    blocks.push(wide("found         head 0 | head 1", &found.found, 2));
    blocks.push(square("output = found W_O", &output, 2));
    Ok(blocks.join("\n"))
}

/// The worked example's output as a sum over heads.
///
/// # Errors
/// None that can happen: the shapes are fixed.
pub fn sum_over_heads() -> Result<String> {
    let toy = toy();
    let layer = toy.layer()?;
    let Projected { q, k, v } = layer.project(&toy.x, &toy.x)?;
    let found = attend_heads(&q, &k, &v, 2, &Mask::None)?;
    let part = |h| columns_of(h, &found.found, 2) * toy.w_o.rows(2 * h, 2);
    let blocks = [
        ("head 0 · rows 0 and 1 of W_O", part(0)),
        ("head 1 · rows 2 and 3 of W_O", part(1)),
        ("their sum", part(0) + part(1)),
    ];
    Ok(blocks.map(|(title, m)| table(title, &TOY, &[], &m, 2)).join("\n"))
}

/// The twelve heads of layer 3 in numbers.
///
/// # Errors
/// When the model's slice cannot be read.
pub fn twelve_heads() -> Result<String> {
    let real = experiments::real(3)?;
    let mut text = String::from("head  [CLS]  previous  next  moved\n");
    for h in 0..real.layer.heads {
        let (cls, previous, next) =
            (real.parked(h), real.on_previous(h), real.on_next(h));
        let moved = real.moved_without(h)?;
        writeln!(text, "{h:>4} {cls:>6.2} {previous:>9.2} {next:>5.2} {moved:>6.2}")?;
    }
    Ok(text)
}

/// What a layer of width 512 costs on 512 tokens, in millions, from the formulas.
///
/// # Errors
/// When a `String` cannot be written to.
pub fn cost() -> Result<String> {
    let mut text = String::from("                     in millions\n");
    text += "heads  width  params  MACs  exps\n";
    for heads in [1, 2, 4, 8, 16, 32, 64] {
        let Cost { parameters, projections, attention, weights } =
            experiments::cost(512, heads, 512);
        let millions = |number: u64| number as f64 / 1e6;
        let (width, parameters) = (512 / heads, millions(parameters));
        let products = millions(projections + attention);
        let weights = millions(weights);
        writeln!(
            text,
            "{heads:>5} {width:>6} {parameters:>7.2} {products:>5.0} {weights:>5.1}"
        )?;
    }
    Ok(text)
}

/// Heads cut from rows instead of columns.
///
/// # Errors
/// When the model's slice cannot be read.
pub fn cut_from_rows() -> Result<String> {
    let toy = toy();
    let Projected { v, .. } = toy.layer()?.project(&toy.x, &toy.x)?;
    let mut text = side_by_side("v: head 0 | head 1", &TOY, &v, 0);
    for (h, block) in experiments::cut_from_rows(&v, 2).iter().enumerate() {
        text += &format!("\nhead {h}, cut from rows\n");
        for row in block.row_iter() {
            writeln!(text, "       {:>4}{:>4}", row[0], row[1])?;
        }
    }
    let real = experiments::real(3)?;
    text += "\ntokens   error of the output\n";
    for n in [1, 2, 4, 14] {
        let right = real
            .attention
            .forward(&real.layer.x.rows(0, n).into_owned(), &Mask::None)?;
        let wrong = experiments::output_cut_from_rows(&real, n)?;
        writeln!(text, "{n:>6} {:>10.2}", relative_error(&wrong, &right.output))?;
    }
    Ok(text)
}

/// Scores divided by the root of the model's width.
///
/// # Errors
/// When the model's slice cannot be read.
pub fn scaled_by_width() -> Result<String> {
    let real = experiments::real(3)?;
    let mut text = String::from("heads  too flat by  error\n");
    for heads in [1, 2, 4, 12] {
        let right = experiments::shared(&real.layer, heads)?;
        let right = right.forward(&real.layer.x, &Mask::None)?.output;
        let wrong = experiments::output_scaled_by_width(&real, heads)?;
        let factor = (heads as f32).sqrt();
        writeln!(
            text,
            "{heads:>5} {factor:>12.2} {:>6.2}",
            relative_error(&wrong, &right)
        )?;
    }
    Ok(text)
}

/// Heads averaged where they should stand side by side.
///
/// # Errors
/// When the model's slice cannot be read.
pub fn averaged() -> Result<String> {
    let real = experiments::real(3)?;
    let width = real.layer.head_dim();
    let one = columns_of(1, &real.found.found, width);
    let copies = DMatrix::from_fn(one.nrows(), 12 * width, |i, j| one[(i, j % width)]);
    let error = |context: &DMatrix<f32>| -> Result<f32> {
        let o_proj = real.attention.o_proj();
        let wrong = o_proj.forward(&experiments::averaged(context, 12))?;
        Ok(relative_error(&wrong, &o_proj.forward(context)?))
    };
    Ok(format!(
        "heads                  error\n\
         the twelve of layer 3 {:>6.2}\n\
         head 1, twelve times  {:>6.2}\n",
        error(&real.found.found)?,
        error(&copies)?,
    ))
}

/// Every single number that the prose quotes.
///
/// # Errors
/// When the model's slice or the recording cannot be read.
pub fn facts() -> Result<String> {
    let mut text = String::new();
    let mut fact = |key: &str, value: String| writeln!(text, "{key}: {value}");
    let (first, second, third) =
        (experiments::real(0)?, experiments::real(1)?, experiments::real(3)?);
    fact("previous", format!("{:.2}", first.on_previous(2)))?;
    fact("next", format!("{:.2}", second.on_next(8)))?;
    fact("it_animal", format!("{:.2}", third.weight(1, "it", "animal")?))?;
    let to_animal = (0..12).map(|h| third.weight(h, "it", "animal"));
    fact("it_animal_mean", format!("{:.2}", to_animal.sum::<Result<f32>>()? / 12.0))?;

    let moved = (0..12).map(|h| third.moved_without(h)).collect::<Result<Vec<_>>>()?;
    let parked: Vec<f32> = (0..12).map(|h| third.parked(h)).collect();
    let sum: f32 = moved.iter().sum();
    fact("moved_mean", format!("{:.2}", sum / 12.0))?;
    fact("moved_sum", format!("{sum:.1}"))?;
    for (name, h) in [
        ("least", place(&moved, |a, b| a < b)),
        ("most", place(&moved, |a, b| a > b)),
        ("least_parked", place(&parked, |a, b| a < b)),
    ] {
        fact(&format!("{name}_head"), h.to_string())?;
        fact(&format!("{name}_parks"), format!("{:.2}", parked[h]))?;
        fact(&format!("{name}_moves"), format!("{:.2}", moved[h]))?;
        fact(&format!("{name}_first_value"), format!("{:.2}", third.first_value(h)?))?;
        let mean = third.moved_with_mean(h)?;
        fact(&format!("{name}_moves_from_mean"), format!("{mean:.2}"))?;
    }
    let all = experiments::parked_and_moved()?;
    fact("heads", all.len().to_string())?;
    fact(
        "correlation",
        format!("{:.2}", experiments::correlation(&all)).replace('-', "−"),
    )?;

    let spectrum = experiments::spectrum()?;
    let above =
        |values: &[f64]| values.iter().filter(|v| **v > experiments::ZERO).count();
    fact("passage", spectrum.tokens.to_string())?;
    fact("rank_wide", above(&spectrum.wide).to_string())?;
    fact("weights_33rd", format!("{:.1}", spectrum.weights[32] * 100.0))?;
    for heads in [3, 12, 24] {
        let ranks = experiments::ranks(heads)?;
        let most = ranks.iter().max().copied().unwrap_or(0);
        fact(&format!("rank_{heads}_heads"), most.to_string())?;
    }

    fact("parameters", grouped(experiments::cost(512, 8, 512).parameters))?;
    let recorded = experiments::recorded()?;
    let ms = |case, n| recorded.milliseconds(case, n);
    fact("slowdown_8", format!("{:.1}", ms("layer", 8)? / ms("layer", 1)?))?;
    fact("slowdown_64", format!("{:.1}", ms("layer", 64)? / ms("layer", 1)?))?;
    for heads in [1, 64] {
        fact(&format!("softmax_{heads}"), format!("{:.1}", ms("softmax", heads)?))?;
        fact(&format!("products_{heads}"), format!("{:.1}", ms("products", heads)?))?;
        let at_hand = ms("products_at_hand", heads)?;
        fact(&format!("products_at_hand_{heads}"), format!("{at_hand:.1}"))?;
    }
    for heads in [8, 64] {
        fact(&format!("in_turn_{heads}"), format!("{:.1}", ms("in_turn", heads)?))?;
        fact(&format!("attend_{heads}"), format!("{:.1}", ms("attend_heads", heads)?))?;
    }
    for n in [128, 2048] {
        let share = ms("projections", n)? / ms("eight_heads", n)?;
        fact(&format!("projections_{n}"), format!("{:.0}", share * 100.0))?;
    }
    Ok(text)
}

/// Where the entry stands that beats all others.
fn place(values: &[f32], beats: fn(f32, f32) -> bool) -> usize {
    let better =
        |best: usize, i: usize| if beats(values[i], values[best]) { i } else { best };
    (0..values.len()).fold(0, better)
}

/// A titled matrix with a bar between the columns of two heads, one row a line.
fn side_by_side(
    title: &str,
    rows: &[&str],
    matrix: &DMatrix<f32>,
    digits: usize,
) -> String {
    let middle = matrix.ncols() / 2;
    let width = if digits > 0 { digits + 4 } else { 3 };
    let mut text = format!("{title}\n");
    for (label, row) in rows.iter().zip(matrix.row_iter()) {
        text += &format!("  {label:<4}");
        for (column, cell) in row.iter().enumerate() {
            let bar = if column == middle { " |" } else { "" };
            text += &format!("{bar}{:>width$.digits$}", cell + 0.0);
        }
        text.push('\n');
    }
    text
}

/// A titled matrix with a line between the rows of two heads.
fn side_by_side_rows(title: &str, matrix: &DMatrix<f32>) -> String {
    let mut text = format!("{title}\n");
    for (i, row) in matrix.row_iter().enumerate() {
        if i == matrix.nrows() / 2 {
            text += "      ------\n";
        }
        let cells: String = row.iter().map(|cell| format!("{cell:>3}")).collect();
        text += &format!("      {cells}\n");
    }
    text
}
