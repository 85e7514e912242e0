//! What the chapter prints: each function is one block of output in the book, and
//! `cargo run -p learning` shows the first.

use crate::experiments::{self, HEAD, Real, Steps, Toy, counting, thousands};
use crate::own::{self, HeldOut};
use crate::tales;
use crate::training::born;
use crate::training::experiments::{
    EVERY, Experiment, LONGER, MERGINGS, PERCENT, POOLED, ROWS, STEPS, STRETCHES,
    UNMASKED, WINDOW, experiments, more, recorded, size,
};
use crate::training::{Task, Text, Variant};
use anyhow::{Context, Result};
use attention::example::table;
use chapter_cli::Recorded;
use figures::Spread;
use nalgebra::{DMatrix, DVector};
use std::fmt::Write;

const TOKENS: [&str; 2] = ["sun", "moon"];

/// What `cargo run -p learning` prints.
///
/// # Errors
/// None that can happen: the shapes are fixed.
pub fn worked() -> Result<String> {
    Ok([there()?, back()?, slopes()?].join("\n"))
}

/// The worked example, forward.
///
/// # Errors
/// None that can happen: the shapes are fixed.
pub fn there() -> Result<String> {
    let toy = experiments::toy();
    let Steps { weights, output, loss, d_output, .. } = toy.steps()?;
    let blocks = [
        shown("q", &toy.q, 1),
        shown("k", &toy.k, 0),
        shown("v", &toy.v, 0),
        table("A, causal", &TOKENS, &TOKENS, &weights, 2),
        shown("O = A v", &output, 2),
        shown("dO = O − what was wanted", &d_output, 2),
    ];
    Ok(format!("{}\nloss = Σ dO² / 2: {loss:.2}\n", blocks.join("\n")))
}

/// The worked example, backward.
///
/// # Errors
/// None that can happen: the shapes are fixed.
pub fn back() -> Result<String> {
    let Steps { d_weights, d_scores, gradients, .. } = experiments::toy().steps()?;
    let pairs = |title: &str, m: &DMatrix<f32>| table(title, &TOKENS, &TOKENS, m, 1);
    let blocks = [
        shown("dv = Aᵀ dO", &gradients.v, 1),
        pairs("dA = dO vᵀ", &d_weights),
        pairs("dS = A ∘ (dA − rowsum(A ∘ dA))", &d_scores),
        shown("dq = dS k / √4", &gradients.q, 1),
        shown("dk = dSᵀ q / √4", &gradients.k, 1),
    ];
    Ok(blocks.join("\n"))
}

fn shown(title: &str, m: &DMatrix<f32>, digits: usize) -> String {
    table(title, &TOKENS, &[], m, digits)
}

/// Gradients beside slopes that were measured.
///
/// # Errors
/// None that can happen: the shapes are fixed.
pub fn slopes() -> Result<String> {
    let nudge = experiments::NUDGE;
    let mut text = format!("number      −{nudge}    +{nudge}  slope  gradient\n");
    for slope in experiments::slopes()? {
        let [less, more] = slope.losses;
        let (name, measured, gradient) = (slope.name, slope.measured, slope.gradient);
        write!(text, "{name:<9} {less:>7.4}  {more:>7.4}")?;
        writeln!(text, " {measured:>6.2} {gradient:>9.2}")?;
    }
    Ok(text)
}

/// How each weight of a row moves with each score.
///
/// # Errors
/// None that can happen: the shapes are fixed.
pub fn jacobian() -> Result<String> {
    let a = DVector::from_vec(vec![0.7, 0.2, 0.1]);
    let moves = DMatrix::from_diagonal(&a) - &a * a.transpose();
    let keys = ["s0", "s1", "s2"];
    Ok(table("weights 0.7, 0.2, 0.1", &["a0", "a1", "a2"], &keys, &moves, 2))
}

/// What each mistake is off by, and on what input it is not.
///
/// # Errors
/// None that can happen: the shapes are fixed.
pub fn mistakes() -> Result<String> {
    let mut text = String::from("mistake            off by  hidden by    off by\n");
    for mistake in experiments::mistakes()? {
        let experiments::Mistake { name, off, hidden_by, hidden } = mistake;
        // + 0.0 turns a -0.0 into 0.0, and the rounding what is left of a sum into 0.
        let hidden = (hidden * 1e3).round() / 1e3 + 0.0;
        writeln!(text, "{name:<18} {off:>6.2}  {hidden_by:<11}  {hidden:>6.2}")?;
    }
    Ok(text)
}

/// The row of `it` in the real head: as it was trained, after pooling, and what the
/// gradient of each score says. A negative gradient asks for more.
///
/// # Errors
/// When the slice cannot be read.
pub fn row() -> Result<String> {
    let real = Real::load()?;
    let it = real.place_of("it")?;
    let mut text = String::from("key       trained  pooled  1,000 dS\n");
    for (key, token) in real.tokens[..=it].iter().enumerate() {
        let [trained, pooled, d] =
            [&real.trained, &real.pooled, &real.d_scores].map(|map| map[(it, key)]);
        let d = (1e4 * d).round() / 10.0 + 0.0;
        writeln!(text, "{token:<9} {trained:>7.2} {pooled:>7.2} {d:>9.1}")?;
    }
    Ok(text)
}

/// What an optimizer keeps, and what the way back computes, beside the way there.
/// A layer there and back, as `cargo bench -p learning` recorded it.
fn times(facts: &mut Facts) -> Result<()> {
    let recorded = Recorded::parse(include_str!("../benches/recorded.csv"))
        .context("chapters/13-learning/benches/recorded.csv")?;
    for case in ["plain", "tiles", "pytorch"] {
        let time = recorded.milliseconds(case, 1024)?;
        facts.push(&format!("time_{case}"), format!("{time:.0}"));
    }
    facts.push("time_processor", recorded.condition("processor"));
    facts.push("time_cores", recorded.condition("cores"));
    Ok(())
}

fn costs(facts: &mut Facts) {
    // One head of 64, 1,024 tokens: a product of n × m × d takes 2 n m d operations.
    let product = 2.0 * 1024.0 * 1024.0 * 64.0 / 1e6;
    for (name, products) in [("there", 2.0), ("back", 4.0), ("back_flash", 5.0)] {
        facts.push(name, format!("{:.0}", products * product));
    }
    let mebibytes = |numbers: f64| numbers * 4.0 / f64::from(1 << 20);
    let saved = mebibytes(8.0 * 16_384.0 * 16_384.0);
    facts.push("map_long", format!("{:.0} GiB", saved / 1024.0));
    facts.push("lse_long", format!("{:.1} MiB", mebibytes(8.0 * 16_384.0)));
}

/// `key: value` lines.
#[derive(Default)]
struct Facts(String);

impl Facts {
    fn push(&mut self, name: &str, value: impl std::fmt::Display) {
        self.0 += &format!("{name}: {value}\n");
    }

    /// The share that was right, at a step of a run of so many.
    fn right(&mut self, name: &str, recorded: &Recorded, of: Experiment) -> Result<()> {
        let Experiment { steps, .. } = of;
        self.spread(name, recorded.spread(&of.case("accuracy"), steps)?);
        let loss = recorded.spread(&of.case("loss"), steps)?;
        self.push(&format!("{name}_loss"), format!("{:.2}", loss.median));
        Ok(())
    }

    fn spread(&mut self, name: &str, spread: Spread) {
        let Spread { low, median, high } = spread.map(|share| 100.0 * share);
        self.push(name, format!("{median:.0} %"));
        self.push(&format!("{name}_low"), format!("{low:.0} %"));
        self.push(&format!("{name}_high"), format!("{high:.0} %"));
    }
}

/// The numbers that the prose quotes.
///
/// # Errors
/// When the slice or the recording cannot be read.
pub fn facts() -> Result<String> {
    let mut facts = Facts::default();
    of_toy(&mut facts)?;
    of_real(&mut facts)?;
    of_training(&mut facts)?;
    costs(&mut facts);
    times(&mut facts)?;
    Ok(facts.0)
}

fn of_toy(facts: &mut Facts) -> Result<()> {
    let toy = experiments::toy();
    let stepped: Toy = toy.stepped(0.1)?;
    let (before, after) = (toy.steps()?, stepped.steps()?);
    facts.push("toy_loss", format!("{:.2}", before.loss));
    facts.push("toy_loss_after", format!("{:.2}", after.loss));
    facts.push("toy_weight_after", format!("{:.2}", after.weights[(1, 0)]));
    facts.push("toy_moon_after", format!("{:.2}", after.output[1]));
    facts.push("toy_sun_after", format!("{:.2}", after.output[0]));
    Ok(())
}

fn of_real(facts: &mut Facts) -> Result<()> {
    let real = Real::load()?;
    let (it, animal) = (real.place_of("it")?, real.place_of("animal")?);
    let (d, pooled) = (&real.d_scores, &real.pooled);
    facts.push("head", HEAD);
    facts.push("animal", format!("{:.2}", real.trained[(it, animal)]));
    facts.push("animal_pooled", format!("{:.2}", pooled[(it, animal)]));
    let of_animal = format!("{:.1}", 1e3 * d[(it, animal)]);
    facts.push("animal_d", of_animal.replace('-', "−"));
    facts.push("first_pooled", format!("{:.2}", pooled[(it, 0)]));
    facts.push("first_d", format!("{:.1}", 1e3 * d[(it, 0)]));
    facts.push("largest_d", format!("{:.1}", 1e3 * d.amax()));
    let sums = d.column_sum().amax() / d.amax();
    facts.push("row_sums", if sums < 1e-4 { "0" } else { "more" });
    facts
        .push("off_share", format!("{:.0} %", 100.0 * real.losses[0] / real.losses[1]));
    Ok(())
}

/// The numbers of the chapter's own model that the prose quotes.
///
/// # Errors
/// When the tales or the recording cannot be read.
pub fn tales_facts() -> Result<String> {
    let mut facts = Facts::default();
    of_tales(&mut facts)?;
    of_held_out(&mut facts)?;
    Ok(facts.0)
}

fn of_tales(facts: &mut Facts) -> Result<()> {
    let (shape, text) = (tales::model().shape(), tales::text()?);
    let read = Text::new(tales::pieces().encode(&text)?).read().len();
    facts.push("megabytes", format!("{:.1}", text.len() as f64 / 1e6));
    facts.push("vocabulary", thousands(shape.vocabulary));
    facts.push("pieces", format!("{:.2}", read as f64 / 1e6));
    let mut model = tales::model().clone();
    let parameters = model.parameters().iter().map(|p| p.numbers.len()).sum();
    facts.push("parameters", thousands(parameters));
    facts.push("layers", shape.layers);
    facts.push("heads", shape.heads);
    facts.push("head_dim", shape.head_dim());
    facts.push("batch", own::BATCH);
    facts.push("size", own::SIZE);
    facts.push("steps", thousands(own::STEPS));
    let drawn = (own::STEPS * own::BATCH * own::SIZE) as f64;
    facts.push("times", format!("{:.0}", drawn / read as f64));
    let recorded = own::recorded()?;
    facts.push("minutes", recorded.condition("minutes"));
    for (name, case) in [("read", "training"), ("unread", "held out")] {
        let loss = recorded.spread(case, own::STEPS)?.median;
        facts.push(name, format!("{loss:.2}"));
    }
    Ok(())
}

fn of_held_out(facts: &mut Facts) -> Result<()> {
    let HeldOut { loss, bits, counting, pairs, changes, heads, previous, induction } =
        own::held_out()?;
    facts.push("packed", format!("{loss:.2}"));
    facts.push("bits", format!("{bits:.2}"));
    facts.push("counting", format!("{counting:.2}"));
    facts.push("pairs", format!("{pairs:.2}"));
    for (name, nats) in changes {
        facts.push(&name, format!("{nats:.2}"));
    }
    let mut heads = heads;
    heads.sort_by(|a, b| b.2.total_cmp(&a.2));
    let named =
        |(layer, head, _): (usize, usize, f64)| format!("head {head} of layer {layer}");
    for (name, head) in [
        ("dearest", heads[0]),
        ("second", heads[1]),
        ("cheapest", heads[heads.len() - 1]),
    ] {
        facts.push(name, named(head));
        facts.push(&format!("{name}_nats"), format!("{:.2}", head.2));
    }
    for (name, head) in [("previous", previous), ("induction", induction)] {
        facts.push(name, named(head));
        facts.push(&format!("{name}_share"), format!("{:.0} %", 100.0 * head.2));
    }
    Ok(())
}

fn of_training(facts: &mut Facts) -> Result<()> {
    let recorded = recorded()?;
    let of = Experiment::new;
    for experiment in experiments().into_iter().chain(more()) {
        let name = experiment.name().replace(['-', ' '], "_");
        facts.right(&name, &recorded, experiment)?;
    }
    let halfway = |variant, steps| {
        let case = of(Task::Recall, variant, steps).case("accuracy");
        recorded.spread(&case, STEPS / 2)
    };
    facts.spread("recall_multi_head_half", halfway(Variant::MultiHead, STEPS)?);
    facts.spread("recall_grouped_query_half", halfway(Variant::GroupedQuery, STEPS)?);
    let linformer = of(Task::Recall, Variant::Linformer, STEPS).case("accuracy");
    facts.spread("recall_linformer_half", recorded.spread(&linformer, STEPS / 2)?);
    of_changed(facts, &recorded)?;
    let mut run = of(Task::Recall, Variant::MultiHead, STEPS).run(1)?;
    let parameters: usize =
        run.model.parameters().iter().map(|p| p.numbers.len()).sum();
    facts.push("parameters", thousands(parameters));
    let counted = counting(size(Task::Recall), 4000);
    facts.push("counting_loss", format!("{:.2}", counted.loss));
    facts.push("counting_right", format!("{:.0} %", 100.0 * counted.accuracy));
    let circle = size(Task::Induction) as f64;
    facts.push("circle_loss", format!("{:.2}", circle.ln()));
    let nothing = (2.0 * circle).ln();
    facts.push("nothing_loss", format!("{nothing:.2}"));
    facts.push("window", WINDOW);
    let within = experiments::within(size(Task::Recall), WINDOW);
    facts.push("within_window", format!("{:.0} %", 100.0 * within));
    let case = of(Task::Recall, Variant::MultiQuery, STEPS).case("loss");
    let plateau = recorded.spread(&case, STEPS / 2)?.median;
    facts.push("plateau", format!("{plateau:.2}"));
    facts.push("steps", thousands(STEPS));
    facts.push("twice", thousands(2 * STEPS));
    facts.push("five_times", thousands(5 * STEPS));
    facts.push("every", EVERY);
    facts.push("minutes", recorded.condition("minutes"));
    Ok(())
}

/// Of trained models that are pooled, masked again, or asked about longer sequences; and of
/// the run in which a head comes to be.
fn of_changed(facts: &mut Facts, recorded: &Recorded) -> Result<()> {
    for kv_heads in POOLED {
        for (name, _) in MERGINGS {
            for percent in PERCENT {
                let case = format!("uptraining {name} {kv_heads}");
                let found = recorded.spread(&case, percent)?;
                facts.spread(&format!("up_{name}_{kv_heads}_{percent}"), found);
            }
        }
    }
    for experiment in UNMASKED {
        if experiment.variant == Variant::Unmasked {
            let found =
                recorded.spread(&experiment.case("masked again"), experiment.steps)?;
            facts.spread(&format!("{}_masked_again", experiment.task.name()), found);
        }
    }
    for experiment in LONGER {
        for stretch in STRETCHES {
            let task = experiment.task.name();
            for (length, times) in [("once", 1), ("twice", 2)] {
                let case = format!("longer {task} {stretch}");
                let name =
                    format!("{length}_{task}_{stretch}").replace(['-', ' '], "_");
                facts.spread(&name, recorded.spread(&case, times)?);
            }
        }
    }
    let [before, after] = born::maps()?;
    for (name, head) in [("before", before), ("after", after)] {
        facts.push(&format!("born_{name}"), head.step);
        for what in ["previous", "followed"] {
            let share = recorded.spread(&format!("born {what}"), head.step)?.median;
            let share = format!("{:.0} %", 100.0 * share);
            facts.push(&format!("born_{what}_{name}"), share);
        }
    }
    facts.push("rows", ROWS);
    Ok(())
}
