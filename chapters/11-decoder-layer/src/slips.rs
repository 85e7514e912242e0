//! What people do otherwise with the parts around the softmax: each slip as a function, with
//! what is said of it.

use crate::{Centering, DecoderLayer, HeadNorm};
use attention::{Mask, slips as one_head};
use grouped_query::slips as groups;
use multi_head::slips as heads;
use nalgebra::DMatrix;
use rotary::Rotary;
use rotary::slips::{Turning, Turns, of_rotation};
use slips::{
    Around, Cap, Capped, Kept, Layer, Looks, Map, Projected, Projecting, Sinks, Slip,
    Slips, Sunk, Thread, attention as known,
};

/// The page of this chapter.
const PAGE: &str = "decoder-layer";

/// How tokens become queries and keys that are ready to meet, and what stands between their
/// scores and the output. The default is right.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Parted {
    projecting: Projecting,
    turning: Turning,
    clip: Clip,
    norm: Norm,
    temperature: Heat,
    scale: Scale,
    cap: Bound,
    sink: Sink,
    gate: Gate,
}

/// What is clipped.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
enum Clip {
    #[default]
    Right,
    LeftOut,
}

/// What is normed, and how.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
enum Norm {
    #[default]
    Right,
    LeftOut,
    OfQueriesAlone,
    OfKeysAlone,
    AfterRotation,
    OverAllHeads,
    HeadByHead,
    Centered,
    NotCentered,
    WithoutGain,
    GainPlusOne,
    GainWithoutOne,
    OfValuesToo,
}

/// How queries grow with their position.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
enum Heat {
    #[default]
    Right,
    LeftOut,
    OfKeysToo,
}

/// What scores are multiplied by.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
enum Scale {
    #[default]
    Right,
    OverRoot,
    OverRootToo,
}

/// What scores are bounded by.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
enum Bound {
    #[default]
    Right,
    LeftOut,
    Otherwise(Capped),
}

/// What becomes of a sink.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
enum Sink {
    #[default]
    Right,
    LeftOut,
    OverRoot,
    OfFirstHead,
    ToTheLastValue,
}

/// How far a gate opens.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
enum Gate {
    #[default]
    Right,
    LeftOut,
    WithoutSigmoid,
    UpsideDown,
    Silu,
}

/// Those of what happens to queries and keys before they meet.
fn before_they_meet() -> Vec<Slip<Parted>> {
    let one = "gains of 1";
    vec![
        part(
            "norm-left-out",
            |way| way.norm = Norm::LeftOut,
            "Queries and keys are not normed: what q_norm and k_norm hold is not used.",
        ),
        part(
            "norm-of-queries-alone",
            |way| way.norm = Norm::OfQueriesAlone,
            "Your queries are normed and your keys are not.",
        ),
        part(
            "norm-of-keys-alone",
            |way| way.norm = Norm::OfKeysAlone,
            "Your keys are normed and your queries are not.",
        ),
        part(
            "norm-of-values-too",
            |way| way.norm = Norm::OfValuesToo,
            "Your values are normed as the keys are: only queries and keys have a norm.",
        ),
        part(
            "norm-after-rotation",
            |way| way.norm = Norm::AfterRotation,
            "Queries and keys are normed after they have turned. The norm comes first; with \
             a gain, the order matters.",
        )
        .hidden_by(one)
        .seen(&[Thread::of("karpathy/nanochat", 743)]),
        part(
            "norm-over-all-heads",
            |way| way.norm = Norm::OverAllHeads,
            "All heads are normed together, and each should be normed by itself.",
        )
        .hidden_by("one head, or heads that are equally long")
        .seen(&[Thread::of("vllm-project/vllm", 16_311)]),
        part(
            "norm-head-by-head",
            |way| way.norm = Norm::HeadByHead,
            "Each head is normed by itself, and all of them should be normed together.",
        )
        .hidden_by("one head, or heads that are equally long"),
        part(
            "norm-centered",
            |way| way.norm = Norm::Centered,
            "The mean is subtracted before queries and keys are normed, as LayerNorm does: \
             this is an RMS norm, which does not.",
        )
        .hidden_by("heads of mean zero"),
        part(
            "norm-not-centered",
            |way| way.norm = Norm::NotCentered,
            "The mean is not subtracted before queries and keys are normed: this is a \
             LayerNorm, and not an RMS norm.",
        )
        .hidden_by("heads of mean zero"),
        part(
            "norm-without-gain",
            |way| way.norm = Norm::WithoutGain,
            "The learned gains of the norms are left out.",
        )
        .hidden_by(one),
        part(
            "gain-plus-one",
            |way| way.norm = Norm::GainPlusOne,
            "Your gains are larger by 1: those of Gemma are stored without their 1, those of \
             others are not.",
        ),
        part(
            "gain-without-its-one",
            |way| way.norm = Norm::GainWithoutOne,
            "Your gains are smaller by 1: Gemma stores the gain minus 1, and the 1 has to be \
             added.",
        )
        .seen(&[Thread::of("llmmanorg/llmman", 151)]),
        part(
            "clip-left-out",
            |way| way.clip = Clip::LeftOut,
            "Queries, keys and values are not clipped (clip_qkv).",
        )
        .hidden_by("small numbers"),
        part(
            "temperature-left-out",
            |way| way.temperature = Heat::LeftOut,
            "Your queries do not grow with their position: the temperature for long texts is \
             left out.",
        )
        .hidden_by("a text that is no longer than the first step"),
        part(
            "temperature-of-keys-too",
            |way| way.temperature = Heat::OfKeysToo,
            "Your keys grow with their position, too: only queries have a temperature.",
        )
        .hidden_by("a text that is no longer than the first step"),
    ]
}

/// Those of the scores and the softmax.
fn around_the_softmax() -> Vec<Slip<Parted>> {
    let plain = "a scale of one over the root of a head's width";
    vec![
        part(
            "scale-of-a-plain-layer",
            |way| way.scale = Scale::OverRoot,
            "Your scores are divided by the root of a head's width, and this layer has a \
             scale of its own (query_pre_attn_scalar, attention_multiplier and the like).",
        )
        .hidden_by(plain)
        .seen(&[Thread::of("antonellof/ferrox", 40)]),
        part(
            "scale-and-root",
            |way| way.scale = Scale::OverRootToo,
            "Your scores are multiplied by the layer's own scale, and divided by the root of \
             a head's width as well.",
        ),
        part(
            "cap-left-out",
            |way| way.cap = Bound::LeftOut,
            "Your scores have no cap (attn_logit_softcapping).",
        )
        .hidden_by("small scores")
        .seen(&[Thread::of("vllm-project/vllm-metal", 665)]),
        part(
            "cap-after-mask",
            |way| way.cap = Bound::Otherwise(Capped::AfterTheMask),
            "The cap comes after the mask and brings hidden scores back from minus infinity: \
             it comes first.",
        )
        .hidden_by("no mask, or a large cap"),
        part(
            "cap-before-scale",
            |way| way.cap = Bound::Otherwise(Capped::BeforeTheScale),
            "Your products are capped before they are scaled: the scale comes first.",
        )
        .hidden_by("small scores"),
        part(
            "cap-cut-off",
            |way| way.cap = Bound::Otherwise(Capped::Cut),
            "Your scores are cut off at the cap: a tanh bends them, those below the cap too.",
        )
        .hidden_by("small scores"),
        part(
            "cap-of-weights",
            |way| way.cap = Bound::Otherwise(Capped::OfWeights),
            "Your weights are capped, and not the scores.",
        )
        .hidden_by("small scores"),
        part(
            "sink-left-out",
            |way| way.sink = Sink::LeftOut,
            "Your rows sum to one: the sink takes no share.",
        )
        .hidden_by("a sink of minus infinity")
        .seen(&[Thread::of("modular/modular", 6591)]),
        part(
            "sink-over-root",
            |way| way.sink = Sink::OverRoot,
            "Your sinks are divided by the root of a head's width, as if they were products: \
             they are scores already.",
        )
        .hidden_by("sinks of 0")
        .seen(&[Thread::of("ROCm/rocm-libraries", 12_229)]),
        part(
            "sink-of-first-head",
            |way| way.sink = Sink::OfFirstHead,
            "All of your heads have the sink of the first one.",
        )
        .hidden_by("one head, or equal sinks"),
        part(
            "sink-given-a-value",
            |way| way.sink = Sink::ToTheLastValue,
            "Your weights have moved by one key, and the sink's share went to the last \
             value: the column of the sink is the one to drop.",
        ),
        part(
            "gate-left-out",
            |way| way.gate = Gate::LeftOut,
            "The output gate is left out: all that the heads found passes.",
        ),
        part(
            "gate-without-sigmoid",
            |way| way.gate = Gate::WithoutSigmoid,
            "What the heads found is multiplied by the gate itself: its sigmoid says how far \
             it opens.",
        ),
        part(
            "gate-upside-down",
            |way| way.gate = Gate::UpsideDown,
            "Your gates close where they should open: the exponent is minus the gate.",
        )
        .hidden_by("gates of 0"),
        part(
            "gate-silu",
            |way| way.gate = Gate::Silu,
            "What the heads found is multiplied by the gate as well as by its sigmoid: that \
             is the gate of a feed-forward, and not this one.",
        ),
    ]
}

/// Those of the parts.
fn of_parts() -> Slips<Parted> {
    let norms = [
        "norm-left-out",
        "norm-of-queries-alone",
        "norm-of-keys-alone",
        "norm-of-values-too",
        "norm-centered",
        "norm-not-centered",
        "norm-without-gain",
        "gain-plus-one",
    ];
    let caps = ["cap-before-scale", "cap-cut-off", "cap-of-weights"];
    let sinks = ["sink-of-first-head", "sink-given-a-value"];
    let gates =
        ["gate-left-out", "gate-without-sigmoid", "gate-upside-down", "gate-silu"];
    let scales = ["scale-and-root", "temperature-left-out", "temperature-of-keys-too"];
    Slips::own(PAGE, [before_they_meet(), around_the_softmax()].concat())
        .under("qk-norm", &norms)
        .under("soft-capping", &caps)
        .under("learned-sinks", &sinks)
        .under("output-gate", &gates)
        .under("scales", &scales)
        .under("all-parts", &["clip-left-out"])
}

fn part(name: &'static str, make: fn(&mut Parted), says: &'static str) -> Slip<Parted> {
    Slip::before(name, make, says)
}

/// All of this chapter, and of those that it stands on.
#[must_use]
pub fn slips() -> Slips<Parted> {
    let short = "a text that is no longer than the window";
    let windows = Slips::of_attention("sliding-window", known::of_windows())
        .hidden_by("window-forgotten", short)
        .hidden_by("window-one-more", short);
    let turning = of_rotation().within(|way: &mut Parted| &mut way.turning);
    let projecting =
        heads::of_projections().within(|way: &mut Parted| &mut way.projecting);
    of_parts().and(windows).and(turning).and(groups::of_heads()).and(projecting)
}

/// A layer with all of its parts.
pub struct Steps<'a> {
    layer: &'a DecoderLayer,
    projected: Projected<'a>,
    /// As the layer turns, and as the base alone says.
    turns: Option<Turns<'a>>,
    /// (tokens, heads · `v_dim`): the gate as it was projected.
    gate: Option<DMatrix<f32>>,
}

/// The layer on tokens `x` (tokens, `model_dim`), step by step. `plain` turns as the base
/// alone says; without it, as the layer does.
#[must_use]
pub fn steps<'a>(
    layer: &'a DecoderLayer,
    x: &'a DMatrix<f32>,
    mask: &Mask,
    plain: Option<Rotary>,
) -> Steps<'a> {
    let DecoderLayer { q_proj, k_proj, v_proj, o_proj, gate_proj, parts } = layer;
    let projected = Projected {
        x,
        context: x,
        maps: [q_proj, k_proj, v_proj].map(one_head::map),
        output: Some(one_head::map(o_proj)),
        heads: parts.groups.heads(),
        kv_heads: parts.groups.kv_heads(),
        sees: one_head::sees(mask),
        kept: Kept::default(),
    };
    let turns = parts.rotary.as_ref().map(|rotary| {
        let plain = plain.unwrap_or_else(|| rotary.clone());
        Turns { rotary, plain }
    });
    let gate = gate_proj.as_ref().and_then(|gate_proj| gate_proj.forward(x).ok());
    Steps { layer, projected, turns, gate }
}

impl Steps<'_> {
    /// Whether the layer has the parts that were taken otherwise: without one, nothing can
    /// be done wrong with it.
    fn has_parts(&self, way: &Parted) -> bool {
        let parts = &self.layer.parts;
        let needs = [
            (way.norm != Norm::default(), parts.norms.is_some()),
            (way.turning != Turning::default(), self.turns.is_some()),
            (way.clip != Clip::default(), parts.clip.is_some()),
            (way.temperature != Heat::default(), parts.temperature.is_some()),
            (way.cap != Bound::default(), parts.cap.is_some()),
            (way.sink != Sink::default(), parts.sinks.is_some()),
            (way.gate != Gate::default(), self.gate.is_some()),
        ];
        needs.into_iter().all(|(needed, there)| !needed || there)
    }

    /// Norms queries and keys, and values where they are taken for keys.
    fn norm(&self, how: Norm, [q, k, v]: [&mut DMatrix<f32>; 3]) -> Option<()> {
        let Some(norms) = &self.layer.parts.norms else { return Some(()) };
        let head_dim = self.layer.parts.head_dim;
        let normed = |norm: &HeadNorm, how, x: &mut DMatrix<f32>| {
            otherwise(norm, how, [head_dim, x.ncols()])?.apply(x).ok()
        };
        if !matches!(how, Norm::LeftOut | Norm::OfKeysAlone) {
            normed(&norms.q, how, q)?;
        }
        if !matches!(how, Norm::LeftOut | Norm::OfQueriesAlone) {
            normed(&norms.k, how, k)?;
        }
        if how == Norm::OfValuesToo {
            normed(&norms.k, how, v)?;
        }
        Some(())
    }

    fn around(&self, way: &Parted) -> Around {
        let parts = &self.layer.parts;
        let root = (parts.head_dim as f32).sqrt();
        let how = match way.cap {
            Bound::Otherwise(how) => how,
            Bound::Right | Bound::LeftOut => Capped::Right,
        };
        let cap = parts.cap.filter(|_| way.cap != Bound::LeftOut);
        let sinks = parts.sinks.as_ref().filter(|_| way.sink != Sink::LeftOut);
        let goes = match way.sink {
            Sink::ToTheLastValue => Sunk::ToTheLastValue,
            _ => Sunk::ToNobody,
        };
        let sinks = sinks.map(|sinks| {
            let score = |sink: &f32| match way.sink {
                Sink::OverRoot => sink / root,
                Sink::OfFirstHead => sinks[0],
                _ => *sink,
            };
            Sinks { scores: sinks.iter().map(score).collect(), goes }
        });
        let open = |x: f32| 1.0 / (1.0 + (-x).exp());
        let gate = self.gate.as_ref().filter(|_| way.gate != Gate::LeftOut);
        let gate = gate.map(|gate| {
            gate.map(|x| match way.gate {
                Gate::WithoutSigmoid => x,
                Gate::UpsideDown => open(-x),
                Gate::Silu => x * open(x),
                Gate::Right | Gate::LeftOut => open(x),
            })
        });
        Around { cap: cap.map(|most| Cap { most, how }), sinks, gate }
    }
}

/// The norm that way, of features of which so many are a head, and so many are all;
/// nothing, where it is so already.
fn otherwise(
    norm: &HeadNorm,
    how: Norm,
    [head_dim, all]: [usize; 2],
) -> Option<HeadNorm> {
    let mut norm = norm.clone();
    let is_centered = norm.centering == Centering::Mean;
    match how {
        Norm::OverAllHeads if norm.span == head_dim => norm.span = all,
        Norm::HeadByHead if norm.span == all => norm.span = head_dim,
        Norm::Centered if !is_centered => norm.centering = Centering::Mean,
        Norm::NotCentered if is_centered => norm.centering = Centering::None,
        Norm::OverAllHeads | Norm::HeadByHead | Norm::Centered | Norm::NotCentered => {
            return None;
        }
        Norm::WithoutGain => norm.gain.fill(1.0),
        Norm::GainPlusOne => norm.gain.add_scalar_mut(1.0),
        Norm::GainWithoutOne => norm.gain.add_scalar_mut(-1.0),
        _ => {}
    }
    Some(norm)
}

impl Layer for Steps<'_> {
    type Before = Parted;

    fn looks(&self, before: &Parted) -> Option<Looks> {
        if !self.has_parts(before) {
            return None;
        }
        let parts = &self.layer.parts;
        let mut looks = self.projected.looks(&before.projecting)?;
        let headed = &mut looks.headed;
        if let Some(most) = parts.clip.filter(|_| before.clip == Clip::Right) {
            for x in [&mut headed.q, &mut headed.k, &mut headed.v] {
                x.apply(|x| *x = x.clamp(-most, most));
            }
        }
        let is_late = before.norm == Norm::AfterRotation;
        if !is_late {
            self.norm(before.norm, [&mut headed.q, &mut headed.k, &mut headed.v])?;
        }
        if let Some(turns) = &self.turns {
            [headed.q, headed.k] = turns.ordered(before.turning, &headed.q, &headed.k);
            looks.unturned = Some([headed.q.clone(), headed.k.clone()]);
            turns.turn(before.turning, &mut headed.q, &mut headed.k)?;
            turns.turn_values(before.turning, &mut headed.v, headed.kv_heads)?;
        }
        if is_late {
            self.norm(before.norm, [&mut headed.q, &mut headed.k, &mut headed.v])?;
        }
        if let Some(temperature) = parts.temperature {
            let heat = before.temperature;
            let grow = |x: &mut DMatrix<f32>| {
                for (position, mut row) in x.row_iter_mut().enumerate() {
                    row *= temperature.at(position);
                }
            };
            if heat != Heat::LeftOut {
                grow(&mut headed.q);
            }
            if heat == Heat::OfKeysToo {
                grow(&mut headed.k);
            }
        }
        let root = (parts.head_dim as f32).sqrt();
        looks.stretch = match before.scale {
            Scale::Right => parts.scale * root,
            Scale::OverRoot => 1.0,
            Scale::OverRootToo => parts.scale,
        };
        looks.around = self.around(before);
        Some(looks)
    }

    fn output(&self) -> Option<Map<'_>> {
        self.projected.output
    }

    fn x(&self) -> Option<&DMatrix<f32>> {
        Some(self.projected.x)
    }
}
