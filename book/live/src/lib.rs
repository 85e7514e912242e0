//! The book's own figures, redrawn in the page from a reader's inputs.
//!
//! `figures.toml` lists the figures and their controls, for the weaver; [`draw`] calls the
//! function that drew the committed figure; `live.js` stands between the page and here.
//! Nothing in here draws: a live figure that shows something else than the chapter's code
//! would be another figure.

mod page;
mod slice;

use anyhow::{Context, Result, bail};
use attention::Mask;
use attention::experiments::{OPENING, Place};
use attention::figures::{
    Hidden, masked_map, scaling_among, temperature_of, who_looks_at_whom,
};
use choosing::figures::ceiling_with;
use decoder_layer::experiments::Switched;
use decoder_layer::figures::parts_of;
use figures::Figure;
use flash::{Tile, figures::walk_with};
use grouped_query::figures::groups_of;
use latent::figures::one_vector_of;
use learning::figures::inside_of;
use learning::inside::Asked;
use learning::training::Sight;
use linformer::figures::errors_of;
use rotary::figures::{distance_at, wavelengths_with};
use serde::Deserialize;
use sliding_window::figures::sight_of;
use std::collections::BTreeMap;
use std::str::FromStr;

/// What a reader has asked for.
#[derive(Debug, Clone, Deserialize)]
pub struct Request {
    /// As the prose writes it: `attention::scaling`.
    pub figure: String,
    /// The controls' values by the controls' names.
    pub inputs: BTreeMap<String, String>,
}

impl Request {
    fn input<T: FromStr>(&self, name: &str) -> Result<T> {
        let value = self.inputs.get(name).with_context(|| format!("no {name}"))?;
        let unfit = || format!("{name}: `{value}` does not fit");
        value.parse().ok().with_context(unfit)
    }

    /// [`Request::input`], or nothing where it is `none`.
    fn unless_none<T: FromStr>(&self, name: &str) -> Result<Option<T>> {
        match &*self.input::<String>(name)? {
            "none" => Ok(None),
            _ => self.input(name).map(Some),
        }
    }
}

/// Draws a figure from a request, and from the file of weights that `figures.toml` names
/// for it, if it names one.
///
/// # Errors
/// When there is no such figure, an input is missing or unfit, or the file is.
pub fn draw(request: &Request, weights: &[u8]) -> Result<Figure> {
    let real = |place| slice::read(place, weights);
    match &*request.figure {
        "attention::it_looks_at_animal" => {
            let (layer, head) = (request.input("layer")?, request.input("head")?);
            who_looks_at_whom(&real(Place { layer, head })?, request.input("query")?)
        }
        "attention::scaling" => {
            scaling_among(request.input("keys")?, request.input("d_k")?)
        }
        "attention::temperature" => {
            let (query, temperature) =
                (request.input("query")?, request.input("temperature")?);
            temperature_of(&real(OPENING)?, query, temperature)
        }
        "attention::causal_map" => {
            let hidden = match &*request.input::<String>("hidden")? {
                "nothing" => Hidden::Nothing,
                "later" => Hidden::Later,
                "ends" => Hidden::Ends,
                "far" => Hidden::Far,
                other => bail!("hidden: `{other}` does not fit"),
            };
            masked_map(&real(OPENING)?, hidden)
        }
        "grouped_query::groups" => {
            groups_of(request.input("heads")?, request.input("kv_heads")?)
        }
        "rotary::distance" => distance_at(request.input("turn")?),
        "rotary::wavelengths" => wavelengths_with(request.input("theta")?),
        "latent::one_vector" => {
            let (rank, rope) = (request.input("rank")?, request.input("rope")?);
            one_vector_of(rank, rope, request.input("heads")?)
        }
        "linformer::errors" => {
            let layer = match &*request.input::<String>("layer")? {
                "all" => None,
                _ => Some(request.input("layer")?),
            };
            errors_of(layer, request.input("r")?)
        }
        "flash::walk" => {
            let [queries, keys, step] =
                ["queries", "keys", "step"].map(|name| request.input(name));
            let mask = match &*request.input::<String>("mask")? {
                "none" => Mask::None,
                "causal" => Mask::Causal { offset: 0 },
                other => bail!("mask: `{other}` does not fit"),
            };
            walk_with(Tile { queries: queries?, keys: keys? }, mask, step?)
        }
        "sliding_window::sight" => {
            let (window, first) = (request.input("window")?, request.input("first")?);
            sight_of(request.input("head")?, window, first)
        }
        "decoder_layer::parts" => parts_of(switched(request)?),
        "choosing::ceiling" => {
            let shape = ["heads", "kv_heads", "layers", "context"];
            let [heads, kv_heads, layers, context] =
                shape.map(|name| request.input(name));
            let machine = request.input::<String>("machine")?;
            ceiling_with(heads?, kv_heads?, layers?, context?, &machine)
        }
        other => bail!("there is no live figure `{other}`"),
    }
}

/// Draws a figure of the model that learned in this book, which comes with it.
///
/// # Errors
/// When there is no such figure, an input is missing or unfit, or the text is.
pub fn draw_model(request: &Request) -> Result<Figure> {
    if request.figure != "learning::inside" {
        bail!("there is no live figure `{}`", request.figure);
    }
    let off = match &*request.input::<String>("off")? {
        "none" => None,
        place => {
            let (layer, head) = place.split_once('.').context("off: no layer.head")?;
            Some((layer.parse()?, head.parse()?))
        }
    };
    let sight = match request.unless_none::<String>("sight")?.as_deref() {
        None => Sight::Causal,
        Some("all") => Sight::All,
        Some(window) => Sight::Window { window: window.parse()?, first: 0 },
    };
    let asked = Asked {
        text: request.input("text")?,
        temperature: request.input("temperature")?,
        off,
        kv_heads: request.input("kv_heads")?,
        sight,
    };
    inside_of(&asked, (request.input("layer")?, request.input("head")?))
}

/// The parts of a layer that a reader has switched on; `none` is off.
fn switched(request: &Request) -> Result<Switched> {
    let on = |name| match &*request.input::<String>(name)? {
        "yes" => Ok(true),
        "no" => Ok(false),
        other => bail!("{name}: `{other}` does not fit"),
    };
    Ok(Switched {
        norm: on("norm")?,
        rotation: on("rotation")?,
        cap: request.unless_none("cap")?,
        sink: request.unless_none("sink")?,
        window: request.unless_none("window")?,
        sharper: request.input("scale")?,
    })
}
