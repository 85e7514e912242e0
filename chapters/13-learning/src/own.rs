//! What became of the chapter's own model: how its training went, what it has to say, and
//! what its parts are worth on text that it has not read.

use crate::inside::goes_on;
use crate::tales::{model, pieces, text};
use crate::training::{Example, Model, Sight, Text};
use crate::{LossError, cross_entropy};
use anyhow::{Context, Result};
use chapter_cli::Recorded;
use grouped_query::Pooling;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use rayon::prelude::*;

/// Pieces of a sequence, sequences of a step, and steps of the run that is recorded.
pub const SIZE: usize = 128;
/// See [`SIZE`].
pub const BATCH: usize = 32;
/// See [`SIZE`].
pub const STEPS: usize = 8000;
/// The largest rate of that run.
pub const RATE: f32 = 5e-3;

/// Sequences on which changes are compared.
const COMPARED: usize = 24;

/// Columns of an output.
const WIDE: usize = 46;

/// The recording of the run: nats per piece at each step, in training and held out.
///
/// # Errors
/// When it cannot be read, or does not say where it was made.
pub fn recorded() -> Result<Recorded> {
    Recorded::parse(include_str!("../benches/tales.csv"))
        .context("chapters/13-learning/benches/tales.csv")
}

/// What the model makes of three beginnings.
///
/// # Errors
/// When it cannot go on.
pub fn said() -> Result<String> {
    let mut said = String::new();
    for (seed, begun) in [(1, "Once upon a time"), (2, "The wolf"), (3, "'Alas!' said")]
    {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let more = goes_on(model(), begun, 60, 0.7, || rng.random())?;
        let words = format!("{begun}{}", more.replace('\n', " / "));
        said += &wrapped(&words, WIDE);
        said += " ...\n\n";
    }
    Ok(said.trim_end().to_owned() + "\n")
}

fn wrapped(words: &str, width: usize) -> String {
    let mut lines = vec![String::new()];
    for word in words.split_whitespace() {
        let last = lines.last().map_or(0, String::len);
        match lines.last_mut() {
            Some(line) if last == 0 => line.push_str(word),
            Some(line) if last + 1 + word.len() < width - 3 => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines.join("\n")
}

/// A layer, a head, and what was measured of it.
pub type OfHead = (usize, usize, f64);

/// What was measured on text that no step has read.
#[derive(Debug, Clone, PartialEq)]
pub struct HeldOut {
    /// Nats per piece of the model in 8 bits, on all of it.
    pub loss: f64,
    /// Bits per character.
    pub bits: f64,
    /// Nats per piece, if only the share of each piece is known.
    pub counting: f64,
    /// The same, if what follows each piece is known as well.
    pub pairs: f64,
    /// Nats per piece that a change costs, on a part of it.
    pub changes: Vec<(String, f64)>,
    /// For each layer and head: nats per piece that it costs to switch it off.
    pub heads: Vec<OfHead>,
    /// The head that looks most at the piece before, and with what share of its weight.
    pub previous: OfHead,
    /// The head that looks most at the piece after an earlier occurrence of the same, and
    /// with what share of its weight, where there is one.
    pub induction: OfHead,
}

/// Measures [`HeldOut`].
///
/// # Errors
/// When the tales cannot be read.
pub fn held_out() -> Result<HeldOut> {
    let text = Text::new(pieces().encode(&text()?)?);
    let all = text.held_out(SIZE);
    let loss = loss_of(model(), &all)?;
    let judged = all.iter().map(|example| example.tokens.len()).sum::<usize>();
    let letters: usize = all
        .iter()
        .flat_map(|example| example.targets.iter().flatten())
        .map(|piece| pieces().text(*piece).len())
        .sum();
    let (counting, pairs) = counted(text.read(), &all);
    let part = &all[..COMPARED.min(all.len())];
    let before = loss_of(model(), part)?;
    let costs = |change: &dyn Fn(&mut Model) -> Result<()>| -> Result<f64> {
        let mut changed = model().clone();
        change(&mut changed)?;
        Ok(loss_of(&changed, part)? - before)
    };
    let pooled = |kv_heads| -> Result<f64> {
        Ok(loss_of(&model().clone().pooled(kv_heads, Pooling::Mean)?, part)? - before)
    };
    let looking = |sight| {
        costs(&move |changed| {
            changed.look(sight);
            Ok(())
        })
    };
    let window = |window| looking(Sight::Window { window, first: 0 });
    let changes = vec![
        ("pooled_2".to_owned(), pooled(2)?),
        ("pooled_1".to_owned(), pooled(1)?),
        ("window_16".to_owned(), window(16)?),
        ("window_4".to_owned(), window(4)?),
        ("unmasked".to_owned(), looking(Sight::All)?),
    ];
    let mut heads = Vec::new();
    for layer in 0..model().shape().layers {
        for head in 0..model().shape().heads {
            let cost = costs(&move |changed| Ok(changed.switch_off(layer, head)?))?;
            heads.push((layer, head, cost));
        }
    }
    let [previous, induction] = roles(part)?;
    let bits = loss * judged as f64 / letters as f64 / std::f64::consts::LN_2;
    Ok(HeldOut { loss, bits, counting, pairs, changes, heads, previous, induction })
}

/// Nats per piece.
fn loss_of(model: &Model, sequences: &[Example]) -> Result<f64> {
    let of = |Example { tokens, targets }: &Example| -> Result<(f64, f64)> {
        let logits = model.forward(tokens)?.logits;
        let loss: Result<_, LossError> = cross_entropy(&logits, targets);
        let judged = tokens.len() as f64;
        Ok((f64::from(loss?.loss) * judged, judged))
    };
    let losses: Vec<Result<_>> = sequences.par_iter().map(of).collect();
    let losses = losses.into_iter().collect::<Result<Vec<_>>>()?;
    let (sum, judged) = losses.iter().fold((0.0, 0.0), |(a, b), (c, d)| (a + c, b + d));
    Ok(sum / judged)
}

/// Nats per piece, by counts of pieces and by counts of pairs. Each count of a piece is one
/// higher than it was, so that nothing is impossible.
fn counted(read: &[usize], judged: &[Example]) -> (f64, f64) {
    let kinds = pieces().count();
    let (mut one, mut two) = (vec![1.0; kinds], vec![0.0; kinds * kinds]);
    for pair in read.windows(2) {
        one[pair[1]] += 1.0;
        two[pair[0] * kinds + pair[1]] += 1.0;
    }
    let all: f64 = one.iter().sum();
    let share = |piece: usize| one[piece] / all;
    let (mut counting, mut pairs, mut count) = (0.0, 0.0, 0.0);
    for Example { tokens, targets } in judged {
        for (before, next) in tokens.iter().zip(targets.iter().flatten()) {
            let row = &two[before * kinds..(before + 1) * kinds];
            let seen: f64 = row.iter().sum();
            // What follows a rare piece is guessed from all pieces.
            let rare = 10.0;
            let pair = (row[*next] + rare * share(*next)) / (seen + rare);
            counting -= share(*next).ln();
            pairs -= pair.ln();
            count += 1.0;
        }
    }
    (counting / count, pairs / count)
}

/// The heads with the most weight on the piece before, and on the piece after an earlier
/// occurrence of the one that looks.
fn roles(sequences: &[Example]) -> Result<[OfHead; 2]> {
    let shape = model().shape();
    let of = |Example { tokens, .. }: &Example| -> Result<Vec<[f64; 4]>> {
        let pass = model().forward(tokens)?;
        let mut sums = Vec::new();
        for layer in 0..shape.layers {
            for weights in pass.weights(layer) {
                let [mut previous, mut after, mut rows, mut repeats] = [0.0; 4];
                for query in 1..tokens.len() {
                    previous += f64::from(weights[(query, query - 1)]);
                    rows += 1.0;
                    // The piece just before is the first role's.
                    let earlier =
                        (0..query - 1).filter(|at| tokens[*at] == tokens[query]);
                    let earlier: Vec<usize> = earlier.collect();
                    if !earlier.is_empty() {
                        let on = earlier.iter().map(|at| weights[(query, at + 1)]);
                        after += f64::from(on.sum::<f32>());
                        repeats += 1.0;
                    }
                }
                sums.push([previous, rows, after, repeats]);
            }
        }
        Ok(sums)
    };
    let mut all = vec![[0.0; 4]; shape.layers * shape.heads];
    for sequence in sequences {
        for (sum, more) in all.iter_mut().zip(of(sequence)?) {
            for (sum, more) in sum.iter_mut().zip(more) {
                *sum += more;
            }
        }
    }
    let best = |part: usize| -> Result<OfHead> {
        let shares = all.iter().map(|sums| sums[part] / sums[part + 1]).enumerate();
        let (place, share) =
            shares.max_by(|a, b| a.1.total_cmp(&b.1)).context("no head")?;
        Ok((place / shape.heads, place % shape.heads, share))
    };
    Ok([best(0)?, best(2)?])
}
