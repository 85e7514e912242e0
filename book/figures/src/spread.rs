//! A number that was measured: where its middle lies, and how far it spreads.

use crate::axis::Axis;

/// What was found when one thing was measured many times.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// A quarter of what was found is not above this.
    pub low: f64,
    /// Half of it is not above this.
    pub median: f64,
    /// Three quarters of it are not above this.
    pub high: f64,
}

impl Spread {
    /// The same in another unit, or per piece. Where `convert` falls as its argument
    /// grows, the ends change places.
    #[must_use]
    pub fn map(self, convert: impl Fn(f64) -> f64) -> Spread {
        let ends = [convert(self.low), convert(self.high)];
        let [low, high] = [ends[0].min(ends[1]), ends[0].max(ends[1])];
        Spread { low, median: convert(self.median), high }
    }

    /// As the tables of an axis write it: `10.1 (9.9 to 10.6)`.
    pub(crate) fn write(self, axis: &Axis) -> String {
        let [low, median, high] =
            [self.low, self.median, self.high].map(|value| axis.write(value));
        format!("{median} ({low} to {high})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_falls_where_a_time_rises() {
        let time = Spread { low: 2.0, median: 4.0, high: 5.0 };
        let rate = time.map(|seconds| 100.0 / seconds);
        assert_eq!(rate, Spread { low: 20.0, median: 25.0, high: 50.0 });
    }
}
