//! Frequencies that depend on how long a text is.

/// What takes the place of the frequencies in texts of more than `trained` tokens.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Longer {
    pub(crate) trained: f64,
    pub(crate) what: What,
}

/// Which frequencies they are.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum What {
    /// Those of a base that grows with the text.
    Base { theta: f64, factor: f64 },
    /// The same for all longer texts.
    Listed(Vec<f32>),
}

impl Longer {
    /// The frequencies of so many `pairs` in a text of `tokens`, if it is a longer one.
    pub(crate) fn of(&self, tokens: usize, pairs: usize) -> Option<Vec<f32>> {
        let tokens = tokens as f64;
        if tokens <= self.trained {
            return None;
        }
        Some(match &self.what {
            What::Listed(frequencies) => frequencies.clone(),
            What::Base { theta, factor } => {
                let features = (2 * pairs) as f64;
                let grown = factor * tokens / self.trained - (factor - 1.0);
                let base = theta * grown.powf(features / (features - 2.0));
                let frequency = |i| base.powf(-((2 * i) as f64) / features) as f32;
                (0..pairs).map(frequency).collect()
            }
        })
    }
}
