//! Where the tokens of a pass stand.

use decoder_layer::{Parts, Place};
use std::ops::Range;

/// The positions of a pass, and the angles of each way of turning that layers have: some
/// models have two, and each is computed once.
#[derive(Debug)]
pub struct Places<'a> {
    positions: Range<usize>,
    made: Vec<(&'a Parts, Place)>,
}

impl<'a> Places<'a> {
    /// So many tokens, which follow `start` others.
    #[must_use]
    pub fn new(start: usize, tokens: usize) -> Self {
        Places { positions: start..start + tokens, made: Vec::new() }
    }

    /// The place for a layer with these parts.
    pub fn of(&mut self, parts: &'a Parts) -> &Place {
        let alike = |(other, _): &(&Parts, Place)| other.rotary == parts.rotary;
        let at = self.made.iter().position(alike).unwrap_or_else(|| {
            let place = parts.place(self.positions.clone(), self.positions.end);
            self.made.push((parts, place));
            self.made.len() - 1
        });
        &self.made[at].1
    }
}
