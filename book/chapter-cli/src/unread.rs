//! What a file holds beside what was read: a layer that is computed without a part of it
//! is another layer.

use crate::error::TensorError;
use crate::inputs::{self, OUTPUTS, input};
use crate::known::known;
use crate::masks;
use crate::message::brief;
use crate::tensors::Tensors;
use anyhow::{Result, bail};

/// Tensors that are neither read nor harmless.
struct Unread {
    /// With the prefix, and without it.
    names: Vec<[String; 2]>,
}

/// Asks whether everything in the files was read that stands behind the prefix of `layer`,
/// or is known as an input of attention. `x_file` is the one with x, if it is another.
///
/// # Errors
/// When it was not: then something would be left out of the output. `here` is the chapter.
pub(crate) fn expect_all_read(
    layer: &Tensors,
    x_file: Option<&Tensors>,
    here: &str,
) -> Result<()> {
    let bare = layer.with_prefix("");
    expect_once(layer, &bare)?;
    let mut unread = Unread::behind_prefix(layer);
    // What comes from the file with x comes from there.
    let is_in_x_file =
        |name: &str| x_file.is_some_and(|file| is_input(name) && file.contains(name));
    unread.names.retain(|[_, name]| !is_in_x_file(name));
    unread.add_inputs(&bare);
    unread.names.retain(|[full, name]| full != name || !is_in_x_file(name));
    if let Some(file) = x_file {
        unread.add_beside_x(file, layer);
    }
    unread.expect_none(here)
}

/// A tensor that was read behind the prefix does not stand in front of it, too.
fn expect_once(layer: &Tensors, bare: &Tensors) -> Result<(), TensorError> {
    let unread = layer.unread();
    let mut read = layer.names();
    read.retain(|name| !unread.contains(name) && bare.contains(name));
    match read.first() {
        Some(name) if layer.full_name(name) != *name => {
            Err(TensorError::Twice { names: [layer.full_name(name), name.clone()] })
        }
        _ => Ok(()),
    }
}

/// Whether a sequence has something of that name.
fn is_input(name: &str) -> bool {
    let understood = masks::NAMES.contains(&name) || POSITIONS.contains(&name);
    understood || input(name).is_some()
}

/// The names of positions that are understood.
pub(crate) const POSITIONS: [&str; 2] = ["position_ids", "cache_position"];

impl Unread {
    fn behind_prefix(layer: &Tensors) -> Self {
        let unread = layer.unread().into_iter();
        let unread = unread.filter(|name| !OUTPUTS.contains(&name.as_str()));
        Unread { names: unread.map(|name| [layer.full_name(&name), name]).collect() }
    }

    /// Adds inputs that stand without the prefix, and were not read there.
    fn add_inputs(&mut self, bare: &Tensors) {
        let unread = bare.unread();
        let known = inputs::names().chain(masks::NAMES).chain(POSITIONS);
        for name in known {
            let twin = [name.to_owned(), name.to_owned()];
            if unread.iter().any(|other| other == name) && !self.names.contains(&twin) {
                self.names.push(twin);
            }
        }
    }

    /// Adds what stands in the file with x behind the prefix, or without any, and has no
    /// twin in the layer.
    fn add_beside_x(&mut self, file: &Tensors, layer: &Tensors) {
        let behind = file.with_prefix(layer.prefix());
        let is_layers = |name: &String| layer.contains(name);
        let mut more = Unread::behind_prefix(&behind).names;
        let bare = file.with_prefix("");
        let alone = Unread::behind_prefix(&bare).names.into_iter();
        more.extend(alone.filter(|[name, _]| !name.contains('.')));
        more.retain(|[_, name]| !is_layers(name));
        more.retain(|names| !self.names.contains(names));
        self.names.extend(more);
    }

    /// # Errors
    /// When there is something.
    fn expect_none(mut self, here: &str) -> Result<()> {
        const SHOWN: usize = 4;
        self.names.sort_by(|a, b| a[1].cmp(&b[1]));
        self.names.dedup();
        let Some(([full, name], others)) = self.names.split_first() else {
            return Ok(());
        };
        let what = match (input(name), known(name)) {
            (Some(what), _) => what.to_owned(),
            (None, Some(known)) => known.told(here),
            (None, None) => "this layer does not read it, and no chapter has it".into(),
        };
        let shown: Vec<_> = others.iter().take(SHOWN).map(|o| brief(&o[1])).collect();
        let rest = match others.len().saturating_sub(SHOWN) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let others = match shown.len() {
            0 => String::new(),
            _ => format!("; not read either: {}{rest}", shown.join(", ")),
        };
        let (full, name) = (brief(full), brief(name));
        bail!("{full}: {what}; --ignore {name} goes on without it{others}")
    }
}
