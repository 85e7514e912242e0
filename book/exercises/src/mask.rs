//! Masks, drawn for every chapter that has one: none, causal ones with keys before the
//! first query, and pair by pair with queries that see nothing.

use nalgebra::DMatrix;
use slips::Sees;

use crate::draw::Draw;

impl Draw {
    /// A mask for so many queries and keys, which is shown as the chapters write it. Now
    /// and then it has a row too many.
    pub fn mask(&mut self, queries: usize, keys: usize) -> Sees {
        match self
            .pick(&["none", "causal", "causal", "causal", "none", "pairs", "pairs"])
        {
            "causal" => {
                let last = keys.saturating_sub(queries);
                let offset = self.pick(&[0, 0, last, 1, 2, 3]);
                self.show("mask", format!("Causal {{ offset: {offset} }}"));
                Sees::UpTo { offset }
            }
            "pairs" => {
                let more = self.rarely();
                let mut allowed = self.flags(queries + more, keys);
                for mut row in allowed.row_iter_mut() {
                    if self.pick(&[false, false, false, true]) {
                        row.fill(false);
                    }
                }
                self.show("mask: Allowed, with 1 for true", allowed.clone());
                Sees::Pairs(allowed)
            }
            _ => {
                self.show("mask", "None");
                Sees::Everything
            }
        }
    }

    /// Now and then moves the scores of some queries far above or below 0, where `exp` is
    /// infinite or nothing. A feature that all keys share does it: it changes no weight. `q`
    /// (queries, heads · width), `k` (keys, kv heads · width). Two hundred and fifty is
    /// enough for that, and little enough for numbers that were rounded in another order.
    /// Sixty is not enough: who takes scores for hidden that are merely low is wrong there.
    pub fn lift(&mut self, q: &mut DMatrix<f32>, k: &mut DMatrix<f32>, width: usize) {
        let lift = self.pick(&[250.0, 250.0, 60.0]);
        self.lift_by(lift, q, k, width);
    }

    /// The same by so much.
    pub fn lift_by(
        &mut self,
        lift: f32,
        q: &mut DMatrix<f32>,
        k: &mut DMatrix<f32>,
        width: usize,
    ) {
        if width == 0 || !self.pick(&[false, false, false, true]) {
            return;
        }
        for column in (0..k.ncols()).step_by(width) {
            k.column_mut(column).fill(lift);
        }
        for column in (0..q.ncols()).step_by(width) {
            for row in 0..q.nrows() {
                q[(row, column)] = self.pick(&[0.0, 1.0, -1.0]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::Draw;
    use nalgebra::DMatrix;
    use slips::Sees;

    #[test]
    fn every_kind_of_mask_is_drawn() {
        let masks: Vec<Sees> =
            (0..200).map(|seed| Draw::by_chance(seed, 1.0).mask(2, 5)).collect();
        let some = |is: fn(&Sees) -> bool| masks.iter().any(is);
        assert!(some(|mask| *mask == Sees::Everything));
        assert!(some(|mask| *mask == Sees::UpTo { offset: 3 }));
        assert!(some(|mask| !mask.fits(2, 5)));
        let blind = |mask: &Sees| (0..5).all(|key| !mask.sees(0, key));
        assert!(some(blind), "a query that sees nothing");
        assert_eq!(Draw::again(&[]).mask(2, 5), Sees::Everything);
    }

    #[test]
    fn scores_are_lifted_by_the_same_for_all_keys() {
        let mut lifted = 0;
        for seed in 0..40 {
            let mut draw = Draw::by_chance(seed, 1.0);
            let (mut q, mut k) = (DMatrix::zeros(2, 4), DMatrix::zeros(3, 2));
            draw.lift(&mut q, &mut k, 2);
            lifted += usize::from(k.amax() > 100.0);
            let scores = q.columns(2, 2) * k.transpose();
            assert!(scores.row_iter().all(|row| row.max() == row.min()));
        }
        assert!((2..30).contains(&lifted));
    }
}
