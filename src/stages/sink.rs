//! From logits to scores.

use std::cmp::Ordering;

use crate::vocabulary::contract::Activation;
use crate::vocabulary::outcome::Prediction;
use crate::vocabulary::reason::{Reason, Rejection};

/// Turns one tile's logits into its prediction, under the model contract.
#[derive(Clone, Copy, Debug)]
pub struct Scorer {
    /// How logits become scores.
    pub activation: Activation,
    /// Number of classes to keep; a model with fewer keeps all of them.
    pub top_k: usize,
}

impl Scorer {
    /// Scores one tile.
    ///
    /// - `logits`: `[num_classes]`, at least one
    /// - returns: scores in 0 to 1 for softmax and sigmoid, the logits themselves for `none`
    ///
    /// Classes are ranked by their logits, which orders them as their scores do but keeps apart what
    /// an activation rounds to the same score. Of equal logits the lowest id comes first.
    ///
    /// # Errors
    ///
    /// [`Reason::NotFinite`] if a logit is NaN or infinite.
    pub fn predict(&self, logits: &[f32]) -> Result<Prediction, Rejection> {
        if let Some(class_id) = logits.iter().position(|logit| !logit.is_finite()) {
            return Err(Rejection::new(
                Reason::NotFinite,
                format!("logit {class_id} is {}", logits[class_id]),
            ));
        }
        let best = best_classes(logits, self.top_k.max(1));
        let scores = self.scores(logits, &best);
        let ranked: Vec<(u32, f32)> = best.into_iter().zip(scores).collect();
        let (class_id, score) =
            *ranked.first().expect("a classifier has at least one class, by its contract");
        let top_k = if self.top_k == 0 { Vec::new() } else { ranked };
        Ok(Prediction { class_id, score, top_k })
    }

    fn scores(&self, logits: &[f32], best: &[u32]) -> Vec<f32> {
        let chosen = best.iter().map(|&class_id| f64::from(logits[class_id as usize]));
        match self.activation {
            Activation::None => chosen.map(|logit| logit as f32).collect(),
            Activation::Sigmoid => chosen.map(|logit| (1.0 / (1.0 + (-logit).exp())) as f32).collect(),
            Activation::Softmax => {
                // Shifted by the largest logit: no power overflows, and the sum is at least 1.
                let largest = f64::from(logits[best[0] as usize]);
                let sum: f64 = logits.iter().map(|&logit| (f64::from(logit) - largest).exp()).sum();
                chosen.map(|logit| ((logit - largest).exp() / sum) as f32).collect()
            }
        }
    }
}

/// Returns the ids of the `count` largest logits, largest first; of equals, the lowest id first.
fn best_classes(logits: &[f32], count: usize) -> Vec<u32> {
    let order = |&a: &u32, &b: &u32| {
        let by_logit = logits[b as usize].partial_cmp(&logits[a as usize]);
        by_logit.unwrap_or(Ordering::Equal).then(a.cmp(&b))
    };
    let mut classes: Vec<u32> = (0..logits.len() as u32).collect();
    if count < classes.len() {
        classes.select_nth_unstable_by(count - 1, order);
        classes.truncate(count);
    }
    classes.sort_unstable_by(order);
    classes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn scorer(activation: Activation, top_k: usize) -> Scorer {
        Scorer { activation, top_k }
    }

    #[test]
    fn softmax_of_known_logits() {
        let prediction = scorer(Activation::Softmax, 2).predict(&[1.0, 3.0, 2.0]).unwrap();
        assert_eq!(prediction.class_id, 1);
        // e³/(e+e²+e³) and e²/(e+e²+e³), from a calculator.
        assert!((prediction.score - 0.665_240_96).abs() < 1e-7);
        assert_eq!(prediction.top_k.iter().map(|best| best.0).collect::<Vec<_>>(), [1, 2]);
        assert!((prediction.top_k[1].1 - 0.244_728_47).abs() < 1e-7);
    }

    #[test]
    fn softmax_survives_huge_logits() {
        let prediction = scorer(Activation::Softmax, 3).predict(&[3.0e38, -3.0e38, 3.0e38]).unwrap();
        assert_eq!(prediction.top_k, [(0, 0.5), (2, 0.5), (1, 0.0)]);
    }

    #[test]
    fn sigmoid_scores_each_class_for_itself() {
        let prediction = scorer(Activation::Sigmoid, 3).predict(&[0.0, -1000.0, 1000.0]).unwrap();
        assert_eq!(prediction.top_k, [(2, 1.0), (0, 0.5), (1, 0.0)]);
    }

    #[test]
    fn classes_that_round_to_one_score_keep_the_order_of_their_logits() {
        let prediction = scorer(Activation::Sigmoid, 2).predict(&[100.0, 200.0]).unwrap();
        assert_eq!(prediction.top_k, [(1, 1.0), (0, 1.0)]);
    }

    #[test]
    fn without_activation_the_logit_is_the_score() {
        let prediction = scorer(Activation::None, 1).predict(&[-4.0, 0.1]).unwrap();
        assert_eq!((prediction.class_id, prediction.score), (1, 0.1));
    }

    #[test]
    fn of_equal_logits_the_lowest_id_wins() {
        let prediction = scorer(Activation::Softmax, 2).predict(&[0.0, 7.0, 7.0, -0.0, 7.0]).unwrap();
        assert_eq!(prediction.class_id, 1);
        assert_eq!(prediction.top_k.iter().map(|best| best.0).collect::<Vec<_>>(), [1, 2]);
    }

    #[test]
    fn top_k_of_zero_is_empty_and_of_many_is_all() {
        assert!(scorer(Activation::Softmax, 0).predict(&[1.0, 2.0]).unwrap().top_k.is_empty());
        assert_eq!(scorer(Activation::Softmax, 9).predict(&[1.0, 2.0]).unwrap().top_k.len(), 2);
    }

    #[test]
    fn a_logit_that_is_no_number_is_rejected() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let rejection = scorer(Activation::Softmax, 1).predict(&[0.0, bad]).unwrap_err();
            assert_eq!(rejection.reason, Reason::NotFinite);
            assert!(rejection.detail.starts_with("logit 1 is "), "{}", rejection.detail);
        }
    }

    proptest! {
        /// Partial selection finds what a full sort finds.
        #[test]
        fn the_best_are_those_of_a_full_sort(
            logits in prop::collection::vec((-9i8..9).prop_map(f32::from), 1..60), count in 1usize..70,
        ) {
            let mut all: Vec<u32> = (0..logits.len() as u32).collect();
            all.sort_by(|&a, &b| logits[b as usize].total_cmp(&logits[a as usize]));
            all.truncate(count);
            prop_assert_eq!(best_classes(&logits, count), all);
        }
    }
}
