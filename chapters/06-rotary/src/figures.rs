//! The chapter's figures, one function each.

use crate::dials::{Dials, Hand};
use crate::experiments::{
    self, HEAD_DIM, OCTAVES, Stored, THETA, THETA_LLAMA_3, on_previous,
};
use crate::{Llama3Scaling, Pairing, Rotary};
use anyhow::Result;
use attention::example::grouped as thousands;
use figures::{Axis, Chart, Figure, Heatmap, Hue, Words};
use half::f16;
use nalgebra::DMatrix;

/// All of them, in the order in which the chapter shows them.
///
/// # Errors
/// When the model's slices or the recording cannot be read.
pub fn all() -> Result<Vec<Figure>> {
    Ok(vec![
        distance()?,
        dials()?,
        previous()?,
        scores()?,
        wavelengths()?,
        scaling()?,
        rounded()?,
        time()?,
    ])
}

/// A query and a key that are moved along together.
///
/// # Errors
/// When the dials cannot be drawn.
pub fn distance() -> Result<Figure> {
    distance_at(1.0)
}

/// [`distance`] with another turn from token to token, in radians.
///
/// # Errors
/// When the dials cannot be drawn.
pub fn distance_at(turn: f64) -> Result<Figure> {
    /// Where query and key point before they are turned, in radians.
    const BEFORE: (f64, f64) = (0.6, 0.2);
    const APART: [usize; 2] = [1, 2];
    const KEYS: [usize; 4] = [0, 3, 7, 30];
    let hands = |row: usize, column: usize| {
        let (query, key) = (KEYS[column] + APART[row], KEYS[column]);
        let hand = |name, angle, hue| Hand { name, angle, hue };
        vec![
            hand("key", BEFORE.1 + key as f64 * turn, Hue::Muted),
            hand("query", BEFORE.0 + query as f64 * turn, Hue::Rotary),
        ]
    };
    let angle = |apart: usize| {
        let angle = BEFORE.0 - BEFORE.1 + apart as f64 * turn;
        angle.to_degrees().rem_euclid(360.0).round()
    };
    let turned = if turn == 1.0 { "one radian" } else { &*format!("{turn} radians") };
    let words = Words {
        title: "Both turn, and the angle between them stays".into(),
        caption: format!(
            "The angle from key to query depends on how far apart they stand, and not on \
             where. One pair of features of a query (ring at the tip) and of a key (cross), \
             turned by {turned} per token. Along a row both move on, and the angle between them \
             keeps its {} degrees where the query is one token further than the key, and \
             its {} where it is two.",
            angle(1),
            angle(2),
        ),
        alt: format!(
            "Two rows of four dials with two hands each. Along a row the hands point \
             elsewhere in each dial; the angle between them is {} degrees in all of the \
             first row and {} in all of the second.",
            angle(1),
            angle(2),
        ),
    };
    let rows = APART.map(|apart| format!("{apart} apart")).to_vec();
    let columns = KEYS.map(|key| key.to_string()).to_vec();
    let dials = Dials::new(rows, columns, "position of the key", hands);
    Ok(Figure::draw("distance", words, &dials)?)
}

/// The four pairs of a head of eight at several positions.
///
/// # Errors
/// When the dials cannot be drawn.
pub fn dials() -> Result<Figure> {
    const POSITIONS: [usize; 7] = [0, 1, 2, 3, 20, 200, 2000];
    let rotary = Rotary::new(8, THETA, Pairing::Halves)?;
    let frequency = |pair: usize| f64::from(rotary.frequencies()[pair]);
    let words = Words {
        title: "Fast hands tell neighbors apart, slow hands tell regions".into(),
        caption: "A head of four pairs shows its position like a clock with four hands. The \
                  first pair turns by one radian per token and points anywhere after a few; \
                  the last turns by a thousandth and has hardly moved at position 200. Each \
                  pair turns ten times slower than the one above it, since the head has 8 features \
                  and θ is 10,000."
            .into(),
        alt: "Four rows of seven dials for positions 0, 1, 2, 3, 20, 200 and 2,000. In the \
              first row the hand turns by 57 degrees from position to position; in the \
              second by 6; the third stands at 11 degrees at position 20 and the last at 11 \
              degrees at position 200."
            .into(),
    };
    let rows = (0..4).map(|pair| format!("pair {pair}")).collect();
    let columns = POSITIONS.map(|position| position.to_string()).to_vec();
    let hands = |pair: usize, column: usize| {
        let angle = POSITIONS[column] as f64 * frequency(pair);
        vec![Hand { name: "hand", angle, hue: Hue::Rotary }]
    };
    Ok(Figure::draw("dials", words, &Dials::new(rows, columns, "position", hands))?)
}

/// The head that looks at the token before, without its positions, and one made to.
///
/// # Errors
/// When the model's slices cannot be read.
pub fn previous() -> Result<Figure> {
    let maps = experiments::previous()?;
    let [learned, blind, made] =
        [&maps.learned, &maps.blind, &maps.constructed].map(on_previous);
    let words = Words {
        title: "Without positions this head is lost; a head that turns is not".into(),
        caption: format!(
            "A head that looks at the token before needs to know where tokens stand. \
             Above: layer 0, head 2 of MiniLM when no position vectors are added to \
             the words; mean weight on the token before {blind:.2}, where it is \
             {learned:.2} with them. Below: a head whose queries and keys are the same \
             for all words, and turn, keys one token further; {made:.3} on the token \
             before, on the same words without position vectors.",
        ),
        alt: format!(
            "Two heat-maps of 14 by 14 weights. The upper has no diagonal, mean \
             {blind:.2}; its rows look at single words, and the two rows of “the” are \
             the same. The lower is heavy along the diagonal just below the main one, \
             mean {made:.3}, and light elsewhere.",
        ),
    };
    let map = |title: &str, weights: &DMatrix<f32>| {
        let weight = |query, key| f64::from(weights[(query, key)]);
        Heatmap::new(&maps.tokens, &maps.tokens, weight)
            .range(0.0, 1.0)
            .title(title)
            .value_axis("weight")
    };
    let blind = map("MiniLM, no position vectors", &maps.blind).keyless();
    let made = map("made of rotation, no position vectors", &maps.constructed);
    Ok(Figure::panels("previous", words, 1, &[&blind, &made])?)
}

/// The score of a query and a key that agree, against their distance.
///
/// # Errors
/// When the chart cannot be drawn.
pub fn scores() -> Result<Figure> {
    let line = |theta| -> Result<Vec<(f64, f64)>> {
        let rotary = experiments::llama(theta)?;
        // Between 1 and 2 there is no other distance.
        let half_octaves = (0..=34).filter(|&step| step != 1);
        let point = |step| {
            let distance = 2_f64.powf(f64::from(step) / 2.0);
            Ok((distance, experiments::mean_score(&rotary, distance)?))
        };
        half_octaves.map(point).collect()
    };
    let (paper, llama) = (line(THETA)?, line(THETA_LLAMA_3)?);
    let at = |line: &[(f64, f64)], distance: f64| {
        line.iter().find(|point| point.0 >= distance).map_or(f64::NAN, |point| point.1)
    };
    let words = Words {
        title: "An equal query and key score less from afar".into(),
        caption: format!(
            "A query and a key that are equal score lower the further apart they stand, and \
             a larger θ stretches the fall. The score of two equal vectors of 128 features, \
             as a share of its value at distance 0, averaged over the distances from each \
             point to the next: at 1,024 tokens {:.2} with θ = 10,000 and {:.2} with \
             500,000.",
            at(&paper, 1024.0),
            at(&llama, 1024.0),
        ),
        alt: format!(
            "Two lines that fall over distances from 1 to 131,072 on a log axis. With θ = \
             10,000 from {:.2} to {:.2} at 1,024 and about 0 from 8,192 on; with θ = 500,000 \
             from {:.2} to {:.2} at 1,024, {:.2} at 8,192 and about 0 at the end.",
            paper[0].1,
            at(&paper, 1024.0),
            llama[0].1,
            at(&llama, 1024.0),
            at(&llama, 8192.0),
        ),
    };
    let plot = Chart::new(
        Axis::log2("tokens apart").range(1.0, 131_072.0),
        Axis::linear("score, share of that at 0").range(-0.2, 1.0),
    )
    .line("θ = 10,000", Hue::Muted, paper)
    .line("θ = 500,000", Hue::Rotary, llama)
    .horizontal(0.0, "");
    Ok(Figure::draw("scores", words, &plot)?)
}

/// In how many tokens each pair goes around.
///
/// # Errors
/// When the chart cannot be drawn.
pub fn wavelengths() -> Result<Figure> {
    wavelengths_with(THETA_LLAMA_3)
}

/// [`wavelengths`] with another θ beside the paper's.
///
/// # Errors
/// When it is not a positive number.
pub fn wavelengths_with(theta: f64) -> Result<Figure> {
    let line = |theta| -> Result<Vec<(f64, f64)>> {
        let lengths = experiments::wavelengths(&experiments::llama(theta)?);
        Ok(lengths.iter().enumerate().map(|(i, &l)| (i as f64, l)).collect())
    };
    let (paper, llama) = (line(THETA)?, line(theta)?);
    let within = |theta| -> Result<usize> {
        Ok(experiments::turning_within(&experiments::llama(theta)?, 8192.0))
    };
    let (of_paper, of_llama) = (within(THETA)?, within(theta)?);
    let written = thousands(theta.round() as u64);
    let pairs = HEAD_DIM / 2;
    let words = Words {
        title: "Each pair has its own wavelength".into(),
        caption: format!(
            "From pair to pair the wavelength grows by the same factor, and θ says how far it \
             gets. Tokens in which each of the {pairs} pairs of a head of {HEAD_DIM} goes around \
             once. Within 8,192 tokens {of_paper} pairs complete a turn with θ = 10,000, and \
             {of_llama} with {written}; the others do not get around."
        ),
        alt: format!(
            "Two straight lines on a log axis over pairs 0 to 63, both starting at {:.1} tokens. \
             With θ = 10,000 the last pair takes {} tokens, with {written} it takes {}. A \
             level line at 8,192 crosses them after {of_paper} and {of_llama} pairs.",
            paper[0].1,
            thousands(paper[63].1 as u64),
            thousands(llama[63].1 as u64),
        ),
    };
    let plot = Chart::new(
        Axis::linear("pair").range(0.0, 63.0).ticks(&[0.0, 16.0, 32.0, 48.0, 63.0]),
        Axis::log("tokens for one turn"),
    )
    .line("θ = 10,000", Hue::Muted, paper)
    .line(&format!("θ = {written}"), Hue::Rotary, llama)
    .horizontal(8192.0, "8,192 tokens");
    Ok(Figure::draw("wavelengths", words, &plot)?)
}

/// Which pairs Llama 3.1 slows down.
///
/// # Errors
/// When the chart cannot be drawn.
pub fn scaling() -> Result<Figure> {
    let (before, after) =
        (experiments::llama(THETA_LLAMA_3)?, experiments::llama_3_1()?);
    let lengths = experiments::wavelengths(&before);
    let slower = before.frequencies().iter().zip(after.frequencies());
    let slower = slower.map(|(before, after)| f64::from(before / after));
    let points: Vec<_> = lengths.into_iter().zip(slower).collect();
    let [kept, between, slowed] = experiments::scaled_pairs()?;
    let Llama3Scaling { factor, low_freq_factor, high_freq_factor, original_context } =
        Llama3Scaling::LLAMA_3_1;
    let (short, long) =
        (original_context / high_freq_factor, original_context / low_freq_factor);
    let (shortest, longest) = (thousands(short as u64), thousands(long as u64));
    let words = Words {
        title: "NTK by parts: pairs that hardly came around are slowed down".into(),
        caption: format!(
            "Llama 3.1 leaves its fast pairs as they were trained and makes the slow ones \
             {factor} times slower. Each mark is one of the 64 pairs. The {kept} whose \
             wavelength is below {shortest} tokens are kept, the {slowed} above {longest} are \
             slowed down in full, and {between} lie between.",
        ),
        alt: format!(
            "Points over the wavelength on a log axis. {kept} points lie at 1 up to \
             {shortest} tokens, {between} rise from there to {longest}, and {slowed} lie at \
             {factor}.",
        ),
    };
    let plot = Chart::new(
        Axis::log("tokens for one turn, before"),
        Axis::linear("times slower").range(0.0, 9.0).ticks(&[1.0, 2.0, 4.0, 6.0, 8.0]),
    )
    .scatter("", Hue::Rotary, points)
    .vertical(short, "")
    .vertical(long, "8,192 tokens");
    Ok(Figure::draw("scaling", words, &plot)?)
}

/// How many positions are left when they are stored in fewer bits.
///
/// # Errors
/// When the chart cannot be drawn.
pub fn rounded() -> Result<Figure> {
    let line = |stored: Stored| {
        let sizes = (6..=16).map(|power| 1_usize << power);
        sizes.map(move |n| (n as f64, stored.distinct(0..n) as f64)).collect::<Vec<_>>()
    };
    let of = |stored: Stored| stored.distinct(0..4096);
    let (of_bf16, of_f16) = (of(Stored::Bf16), of(Stored::F16));
    let last = OCTAVES[4].clone();
    let weight = experiments::rounded_previous(Stored::Bf16, last.clone())?;
    let words = Words {
        title: "In bf16, positions past 256 run together".into(),
        caption: format!(
            "Of 4,096 positions, bf16 can tell {of_bf16} apart and f16 {}. A position that is \
             rounded before it becomes an angle gives its neighbors the same angle, in every \
             pair; the head that looks at the token before then puts {weight:.2} of its weight \
             there at positions {} to {}. f32 holds every position up to 16,777,216.",
            thousands(of_f16 as u64),
            thousands(last.start as u64),
            thousands(last.end as u64 - 1),
        ),
        alt: format!(
            "Three lines over text lengths from 64 to 65,536 on log axes. f32 rises with \
             the length. bf16 leaves it at 256 and reaches {of_bf16} at 4,096 and {} at 65,536; \
             f16 leaves it at 2,048 and ends at 65,504, its largest number.",
            thousands(Stored::Bf16.distinct(0..65_536) as u64),
        ),
    };
    // Past its largest number f16 holds no position: its line ends there.
    let mut f16_line = line(Stored::F16);
    let most = f16::MAX.to_f32() as usize;
    f16_line.pop();
    f16_line.push((most as f64, Stored::F16.distinct(0..most) as f64));
    let plot = Chart::new(
        Axis::log2("tokens of the text"),
        Axis::log2("positions that differ"),
    )
    .line("f32", Hue::Rotary, line(Stored::F32))
    .line("f16", Hue::Accent, f16_line)
    .line("bf16", Hue::Muted, line(Stored::Bf16));
    Ok(Figure::draw("rounded", words, &plot)?)
}

/// What rotation takes of a layer's time, as recorded.
///
/// # Errors
/// When the recording cannot be read.
pub fn time() -> Result<Figure> {
    let recorded = experiments::recorded()?;
    let line = |case| recorded.line(case).collect::<Vec<_>>();
    let at = |case, n| recorded.milliseconds(case, n);
    let share = |n| -> Result<f64> {
        Ok(100.0 * (at("table", n)? + at("rotate", n)?) / at("whole", n)?)
    };
    let words = Words {
        title: "Turning is a small part of a layer".into(),
        caption: format!(
            "Angles and rotation together take {:.1} percent of a causal layer at 128 tokens \
             and {:.1} percent at 2,048. A layer of 16 heads of 64 on 4 kv heads and \
             1,024 features, on all cores but for angles and rotation. A model makes \
             the table of cosines and sines once for all of its layers, and rotates in \
             each.",
            share(128)?,
            share(2048)?,
        ),
        alt: format!(
            "Four rising lines on log axes from 128 to 2,048 tokens. The whole layer goes \
             from {:.1} to {:.0} ms, its projections from {:.1} to {:.0}, the table of \
             angles from {:.2} to {:.2} and the rotation from {:.2} to {:.2}.",
            at("whole", 128)?,
            at("whole", 2048)?,
            at("project", 128)?,
            at("project", 2048)?,
            at("table", 128)?,
            at("table", 2048)?,
            at("rotate", 128)?,
            at("rotate", 2048)?,
        ),
    };
    let plot = Chart::new(Axis::log2("tokens"), Axis::log("time, ms"))
        .measured("layer", Hue::GroupedQuery, line("whole"))
        .measured("projections", Hue::Muted, line("project"))
        .measured("table", Hue::Accent, line("table"))
        .measured("rotation", Hue::Rotary, line("rotate"));
    Ok(Figure::measured("time", words, &recorded.measured(), 1, &[&plot])?)
}
