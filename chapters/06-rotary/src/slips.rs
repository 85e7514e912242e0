//! What people do otherwise with rotation: each slip as a function, with what is said of
//! it.

use crate::{Pairing, Rotary, RotaryAttention};
use attention::Mask;
use grouped_query::slips as groups;
use multi_head::slips as heads;
use nalgebra::DMatrix;
use slips::{Layer, Looks, Map, Projected, Projecting, Rounding, Slip, Slips, Thread};

/// The page of this chapter.
const PAGE: &str = "rotary";

/// How tokens become queries and keys that are turned.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Turned {
    projecting: Projecting,
    /// How they turn.
    pub turning: Turning,
}

/// How queries and keys are turned. The default is right.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Turning {
    what: What,
    pairs: Pairs,
    order: Order,
    positions: Positions,
    hands: Hands,
    sign: Sign,
    size: Size,
}

/// What turns.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
enum What {
    #[default]
    Both,
    Nothing,
    KeysAlone,
    QueriesAlone,
    ValuesToo,
    Twice,
}

/// Which features turn together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
enum Pairs {
    #[default]
    Own,
    Other,
    /// Where only a part of a head turns: all of it.
    OfWholeHead,
    /// The last features in place of the first.
    OfLastPart,
}

/// Whose features were brought into the order of the other pairing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
enum Order {
    #[default]
    Own,
    Queries,
    Keys,
    Both,
}

/// Where tokens stand.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
enum Positions {
    #[default]
    FromZero,
    QueriesFromOne,
    KeysFromOne,
    FromOne,
    /// Each head at its own number.
    AlongHeads,
    FromTheEnd,
    /// Keys at the remainder by so many: their slots in a ring.
    KeysInSlots(usize),
}

/// How fast each pair turns.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
enum Hands {
    #[default]
    Own,
    Unscaled,
    OfBase(u32),
    HalfExponent,
    TwiceExponent,
    Faster,
    AllAlike,
    Backwards,
    AnglesInBf16,
}

/// Which way they turn.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
enum Sign {
    #[default]
    Own,
    Back,
    KeysBack,
    MinusLost,
    SineForCosine,
}

/// By how much what turns grows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
enum Size {
    #[default]
    Own,
    Forgotten,
    Squared,
}

/// Those of rotation, for whatever is turned.
#[must_use]
#[expect(clippy::too_many_lines, reason = "a list")]
pub fn of_rotation() -> Slips<Turning> {
    let one = "one token at position 0";
    let own = vec![
        turning(
            "other-pairing",
            |way| way.pairs = Pairs::Other,
            "The wrong features turn together: half-split pairs are i and i + width / 2, \
             neighbors are 2i and 2i + 1, and these weights have the other ones.",
        )
        .hidden_by("one token at position 0, or a head of two features")
        .seen(&[Thread::of("ooples/AiDotNet", 2074)]),
        turning(
            "queries-and-keys-reordered",
            |way| way.order = Order::Both,
            "The features of queries and keys are in the order of the other pairing: the \
             weights were permuted, or not permuted, for another rotation than yours.",
        )
        .hidden_by("position 0")
        .seen(&[
            Thread::of("ooples/AiDotNet", 2074),
            Thread::of("rasbt/LLMs-from-scratch", 750),
        ]),
        turning(
            "queries-reordered",
            |way| way.order = Order::Queries,
            "The features of the queries alone are in the order of the other pairing: \
             their weights were permuted, and those of the keys were not.",
        ),
        turning(
            "keys-reordered",
            |way| way.order = Order::Keys,
            "The features of the keys alone are in the order of the other pairing: their \
             weights were permuted, and those of the queries were not.",
        ),
        turning(
            "not-turned",
            |way| way.what = What::Nothing,
            "Your queries and keys are as they came out of the projection: nothing turned \
             them.",
        )
        .hidden_by(one),
        turning(
            "queries-left",
            |way| way.what = What::KeysAlone,
            "Your keys turn and your queries do not.",
        )
        .hidden_by(one),
        turning(
            "keys-left",
            |way| way.what = What::QueriesAlone,
            "Your queries turn and your keys do not.",
        )
        .hidden_by(one),
        turning(
            "values-too",
            |way| way.what = What::ValuesToo,
            "Your values are turned as well: only queries and keys are compared, so only \
             they turn.",
        )
        .hidden_by(one),
        turning(
            "turned-twice",
            |way| way.what = What::Twice,
            "Your queries and keys are turned by twice the angle: they were rotated two \
             times.",
        )
        .hidden_by(one),
        turning(
            "positions-from-one",
            |way| way.positions = Positions::FromOne,
            "Your first token stands at position 1: positions are counted from 0. Scores \
             do not change, but queries and keys do.",
        ),
        turning(
            "queries-one-on",
            |way| way.positions = Positions::QueriesFromOne,
            "Your queries are turned one position further than your keys.",
        ),
        turning(
            "keys-one-on",
            |way| way.positions = Positions::KeysFromOne,
            "Your keys are turned one position further than your queries.",
        ),
        turning(
            "along-the-heads",
            |way| way.positions = Positions::AlongHeads,
            "Every token of a head is turned alike, and the next head further: positions \
             were counted along the heads.",
        )
        .hidden_by("one head and one token"),
        turning(
            "positions-from-the-end",
            |way| way.positions = Positions::FromTheEnd,
            "Your last token stands at position 0: positions are counted from the end.",
        ),
        turning(
            "scaling-forgotten",
            |way| way.hands = Hands::Unscaled,
            "Your hands turn as fast as the base says: the scaling for long texts is \
             forgotten.",
        )
        .hidden_by("one token at position 0"),
        turning(
            "base-ten-thousand",
            |way| way.hands = Hands::OfBase(10_000),
            "Your frequencies are those of base 10,000, and this layer has another \
             (rope_theta).",
        )
        .hidden_by("a base of 10,000"),
        turning(
            "base-half-a-million",
            |way| way.hands = Hands::OfBase(500_000),
            "Your frequencies are those of base 500,000, and this layer has another \
             (rope_theta).",
        ),
        turning(
            "base-a-million",
            |way| way.hands = Hands::OfBase(1_000_000),
            "Your frequencies are those of base 1,000,000, and this layer has another \
             (rope_theta).",
        ),
        turning(
            "i-over-width",
            |way| way.hands = Hands::HalfExponent,
            "Your exponent is i over the width of a head: it is 2i over it.",
        )
        .hidden_by("a single pair"),
        turning(
            "two-i-over-pairs",
            |way| way.hands = Hands::TwiceExponent,
            "Your exponent is 2i over the number of pairs: it is 2i over the width of a \
             head.",
        )
        .hidden_by("a single pair"),
        turning(
            "faster-and-faster",
            |way| way.hands = Hands::Faster,
            "Your last pair spins fastest: the exponent has lost its minus.",
        )
        .hidden_by("a single pair"),
        turning(
            "one-exponent-for-all",
            |way| way.hands = Hands::AllAlike,
            "All of your pairs turn at the same speed: the exponent is a division of whole \
             numbers, which is 0, or does not grow.",
        )
        .hidden_by("a single pair"),
        turning(
            "pairs-from-the-last",
            |way| way.hands = Hands::Backwards,
            "Your first pair turns as the last one should: pairs are counted from the end.",
        )
        .hidden_by("a single pair"),
        turning(
            "angles-in-bf16",
            |way| way.hands = Hands::AnglesInBf16,
            "Your angles are kept in bf16, where far positions coincide: compute them in \
             f32.",
        )
        .hidden_by("short texts"),
        turning(
            "turned-back",
            |way| way.sign = Sign::Back,
            "Your queries and keys turn backwards: the minus is at the other sine, or the \
             two features of each pair have changed places.",
        )
        .hidden_by("position 0"),
        turning(
            "keys-turned-back",
            |way| way.sign = Sign::KeysBack,
            "Your keys turn backwards: scores depend on the sum of the positions, and not \
             on their difference.",
        )
        .hidden_by("position 0"),
        turning(
            "minus-lost",
            |way| way.sign = Sign::MinusLost,
            "Your pairs change their length: both sines have a plus, and one of them needs \
             a minus.",
        )
        .hidden_by("position 0"),
        turning(
            "sine-for-cosine",
            |way| way.sign = Sign::SineForCosine,
            "At position 0 your pairs are a quarter turn on: sine and cosine have changed \
             places.",
        ),
        turning(
            "whole-head-turned",
            |way| way.pairs = Pairs::OfWholeHead,
            "All of a head turns, and only a part of it should (partial_rotary_factor).",
        )
        .hidden_by("a head that turns as a whole"),
        turning(
            "last-part-turned",
            |way| way.pairs = Pairs::OfLastPart,
            "The last features of a head turn, and the first should.",
        )
        .hidden_by("a head that turns as a whole"),
        turning(
            "attention-factor-forgotten",
            |way| way.size = Size::Forgotten,
            "Your cosines and sines are not multiplied by the attention factor of the \
             scaling.",
        )
        .hidden_by("a scaling without a factor"),
        turning(
            "attention-factor-twice",
            |way| way.size = Size::Squared,
            "Your cosines and sines are multiplied by the attention factor twice.",
        )
        .hidden_by("a scaling without a factor"),
    ];
    let hands = ["i-over-width", "two-i-over-pairs", "faster-and-faster"];
    let longer =
        ["scaling-forgotten", "attention-factor-forgotten", "attention-factor-twice"];
    let order = ["queries-and-keys-reordered", "queries-reordered", "keys-reordered"];
    Slips::own(PAGE, own)
        .under("one-hand-is-not-enough", &hands)
        .under("llama-31-slows-the-slow-hands", &longer)
        .under("from-one-pairing-to-the-other", &order)
}

fn turning(
    name: &'static str,
    make: fn(&mut Turning),
    says: &'static str,
) -> Slip<Turning> {
    Slip::before(name, make, says)
}

/// All of this chapter, and of those that it stands on.
#[must_use]
pub fn slips() -> Slips<Turned> {
    let turning = of_rotation().within(|way: &mut Turned| &mut way.turning);
    let projecting =
        heads::of_projections().within(|way: &mut Turned| &mut way.projecting);
    turning.and(groups::of_heads()).and(projecting)
}

/// A layer that turns its queries and keys.
pub struct Steps<'a> {
    projected: Projected<'a>,
    turns: Turns<'a>,
}

/// The layer on tokens `x` (tokens, `model_dim`), step by step. `plain` turns as the base
/// alone says.
#[must_use]
pub fn steps<'a>(
    layer: &'a RotaryAttention,
    x: &'a DMatrix<f32>,
    mask: &Mask,
    plain: Rotary,
) -> Steps<'a> {
    let projected = groups::steps(&layer.layer, x, x, mask);
    Steps { projected, turns: Turns { rotary: &layer.rotary, plain } }
}

impl Layer for Steps<'_> {
    type Before = Turned;

    fn looks(&self, before: &Turned) -> Option<Looks> {
        let mut looks = self.projected.looks(&before.projecting)?;
        let headed = &mut looks.headed;
        let how = before.turning;
        [headed.q, headed.k] = self.turns.ordered(how, &headed.q, &headed.k);
        looks.unturned = Some([headed.q.clone(), headed.k.clone()]);
        self.turns.turn(how, &mut headed.q, &mut headed.k)?;
        self.turns.turn_values(how, &mut headed.v, headed.kv_heads)?;
        Some(looks)
    }

    fn output(&self) -> Option<Map<'_>> {
        self.projected.output
    }

    fn x(&self) -> Option<&DMatrix<f32>> {
        Some(self.projected.x)
    }
}

/// How heads turn, and how they would if nothing was scaled.
pub struct Turns<'a> {
    /// As the layer says.
    pub rotary: &'a Rotary,
    /// As the base alone says.
    pub plain: Rotary,
}

impl Turns<'_> {
    /// Turns queries and keys (tokens, heads · width) that way; nothing, where there is no
    /// such way.
    pub fn turn(
        &self,
        how: Turning,
        q: &mut DMatrix<f32>,
        k: &mut DMatrix<f32>,
    ) -> Option<()> {
        if !matches!(how.what, What::Nothing | What::KeysAlone) {
            self.turn_one(how, q, false)?;
        }
        if !matches!(how.what, What::Nothing | What::QueriesAlone) {
            self.turn_one(how, k, true)?;
        }
        Some(())
    }

    /// Turns values (tokens, `kv_heads` · width), where that way turns them.
    pub fn turn_values(
        &self,
        how: Turning,
        v: &mut DMatrix<f32>,
        kv_heads: usize,
    ) -> Option<()> {
        if how.what != What::ValuesToo {
            return Some(());
        }
        let is_as_wide = v.ncols() == kv_heads * self.rotary.head_dim();
        is_as_wide.then(|| self.turn_one(how, v, false))?
    }

    fn turn_one(
        &self,
        how: Turning,
        x: &mut DMatrix<f32>,
        is_keys: bool,
    ) -> Option<()> {
        let width = self.rotary.head_dim();
        let tokens = x.nrows();
        let hands = self.hands(how, tokens)?;
        let pairs = hands.len();
        let first = match how.pairs {
            Pairs::OfLastPart if 2 * pairs == width => return None,
            Pairs::OfLastPart => width - 2 * pairs,
            _ => 0,
        };
        let pairing = match (how.pairs, self.rotary.pairing) {
            (Pairs::Other, Pairing::Halves) => Pairing::Neighbors,
            (Pairs::Other, Pairing::Neighbors) => Pairing::Halves,
            (_, own) => own,
        };
        let amplitude = match how.size {
            Size::Own => self.rotary.amplitude,
            Size::Forgotten => 1.0,
            Size::Squared => self.rotary.amplitude * self.rotary.amplitude,
        };
        // By pair and token; heads turn alike, if they are not taken for positions.
        let angles = |head: usize| {
            let one = |row: usize, i: usize| {
                let angle = how.angle(row, head, tokens, hands[i], is_keys);
                let (sin, cos) = angle.sin_cos();
                [sin, cos].map(|x| x as f32 * amplitude)
            };
            DMatrix::from_fn(tokens, pairs, one)
        };
        let mut turns = angles(0);
        for head in 0..x.ncols() / width {
            if head > 0 && how.positions == Positions::AlongHeads {
                turns = angles(head);
            }
            for i in 0..pairs {
                let (a, b) = pairing.features(i, pairs);
                let [a, b] = [a, b].map(|at| head * width + first + at);
                for row in 0..tokens {
                    let pair = [x[(row, a)], x[(row, b)]];
                    [x[(row, a)], x[(row, b)]] = how.sign.turned(pair, turns[(row, i)]);
                }
            }
        }
        Some(())
    }

    fn hands(&self, how: Turning, tokens: usize) -> Option<Vec<f64>> {
        let own = self.rotary.frequencies_at(tokens);
        let width = 2 * own.len();
        let wide = |all: &[f32]| all.iter().map(|f| f64::from(*f)).collect::<Vec<_>>();
        if how.pairs == Pairs::OfWholeHead {
            let head = self.rotary.head_dim();
            let base = f64::from(*self.plain.frequencies().last()?);
            let last = (width - 2) as f64 / width as f64;
            let theta = (1.0 / base).powf(1.0 / last);
            let hand = |i: usize| theta.powf(-((2 * i) as f64) / head as f64);
            return (head > width && width > 2)
                .then(|| (0..head / 2).map(hand).collect());
        }
        let powers = |power: f64| -> Vec<f64> {
            wide(self.plain.frequencies()).iter().map(|f| f.powf(power)).collect()
        };
        Some(match how.hands {
            Hands::Own | Hands::AnglesInBf16 => wide(&own),
            Hands::Unscaled => wide(self.plain.frequencies()),
            Hands::OfBase(base) => {
                let exponent = |i: usize| -((2 * i) as f64) / width as f64;
                (0..own.len()).map(|i| f64::from(base).powf(exponent(i))).collect()
            }
            Hands::HalfExponent => powers(0.5),
            Hands::TwiceExponent => powers(2.0),
            Hands::Faster => powers(-1.0),
            Hands::AllAlike => vec![1.0; own.len()],
            Hands::Backwards => wide(&own).into_iter().rev().collect(),
        })
    }

    /// Queries and keys with the features of each head in the order of the other pairing,
    /// where that way has them so.
    #[must_use]
    pub fn ordered(
        &self,
        how: Turning,
        q: &DMatrix<f32>,
        k: &DMatrix<f32>,
    ) -> [DMatrix<f32>; 2] {
        [
            self.reordered(q, how, [Order::Queries, Order::Both]),
            self.reordered(k, how, [Order::Keys, Order::Both]),
        ]
    }

    fn reordered(
        &self,
        x: &DMatrix<f32>,
        how: Turning,
        whose: [Order; 2],
    ) -> DMatrix<f32> {
        if !whose.contains(&how.order) {
            return x.clone();
        }
        let (width, pairs) = (self.rotary.head_dim(), self.rotary.frequencies().len());
        let (own, other) = match self.rotary.pairing {
            Pairing::Halves => (Pairing::Halves, Pairing::Neighbors),
            Pairing::Neighbors => (Pairing::Neighbors, Pairing::Halves),
        };
        let mut from: Vec<usize> = (0..x.ncols()).collect();
        for head in 0..x.ncols() / width {
            for i in 0..pairs {
                let (old, new) = (own.features(i, pairs), other.features(i, pairs));
                from[head * width + new.0] = head * width + old.0;
                from[head * width + new.1] = head * width + old.1;
            }
        }
        x.select_columns(&from)
    }
}

impl Sign {
    /// Two features, turned by an angle with this sine and cosine.
    fn turned(self, [one, two]: [f32; 2], [sin, cos]: [f32; 2]) -> [f32; 2] {
        match self {
            Sign::MinusLost => [one * cos + two * sin, one * sin + two * cos],
            Sign::SineForCosine => [one * sin - two * cos, one * cos + two * sin],
            _ => [one * cos - two * sin, one * sin + two * cos],
        }
    }
}

impl Turning {
    /// The same, where a key is turned by its slot in a ring of so many.
    #[must_use]
    pub fn with_keys_in_slots(self, slots: usize) -> Self {
        Turning { positions: Positions::KeysInSlots(slots), ..self }
    }

    fn angle(
        self,
        row: usize,
        head: usize,
        tokens: usize,
        hand: f64,
        is_keys: bool,
    ) -> f64 {
        let position = match (self.positions, is_keys) {
            (Positions::FromOne, _)
            | (Positions::KeysFromOne, true)
            | (Positions::QueriesFromOne, false) => row + 1,
            (Positions::AlongHeads, _) => head,
            (Positions::FromTheEnd, _) => tokens - 1 - row,
            (Positions::KeysInSlots(slots), true) => row % slots,
            _ => row,
        };
        let angle = position as f64 * hand;
        let angle = match self.hands {
            Hands::AnglesInBf16 => {
                f64::from(Rounding::Brain.of(Rounding::Brain.of(position as f32)
                    * Rounding::Brain.of(hand as f32)))
            }
            _ => angle,
        };
        let angle = if self.what == What::Twice { 2.0 * angle } else { angle };
        match (self.sign, is_keys) {
            (Sign::Back, _) | (Sign::KeysBack, true) => -angle,
            _ => angle,
        }
    }
}
