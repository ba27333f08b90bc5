//! How well predictions agree with labels.

use serde::Serialize;

/// Agreement of predictions with labels.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Evaluation {
    /// Share of right predictions; `None` without any.
    pub accuracy: Option<f64>,
    /// How often each class (a row) was taken for each class (a column).
    pub confusion: Vec<Vec<u64>>,
}

/// Agreement for one class.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct ClassScore {
    /// Share of right predictions among those of this class; `None` if it was never predicted.
    pub precision: Option<f64>,
    /// Share of this class that was found; `None` if there was none.
    pub recall: Option<f64>,
}

/// Compares the class of each sample with the predicted one.
#[must_use]
pub fn evaluate(classes: &[u32], predicted: &[u32], num_classes: usize) -> Evaluation {
    let mut confusion = vec![vec![0; num_classes]; num_classes];
    for (class, predicted) in classes.iter().zip(predicted) {
        confusion[*class as usize][*predicted as usize] += 1;
    }
    let right = (0..num_classes).map(|class| confusion[class][class]).sum();
    Evaluation { accuracy: share(right, classes.len() as u64), confusion }
}

impl Evaluation {
    /// Returns precision and recall of each class.
    #[must_use]
    pub fn classes(&self) -> Vec<ClassScore> {
        let score = |class: usize| {
            let right = self.confusion[class][class];
            let predicted = self.confusion.iter().map(|row| row[class]).sum();
            let there = self.confusion[class].iter().sum();
            ClassScore { precision: share(right, predicted), recall: share(right, there) }
        };
        (0..self.confusion.len()).map(score).collect()
    }
}

fn share(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_labels_and_columns_predictions() {
        let evaluation = evaluate(&[0, 0, 0, 1], &[0, 1, 1, 1], 3);
        assert_eq!(evaluation.accuracy, Some(0.5));
        assert_eq!(evaluation.confusion, [[1, 2, 0], [0, 1, 0], [0, 0, 0]]);
        let classes = evaluation.classes();
        assert_eq!((classes[0].precision, classes[0].recall), (Some(1.0), Some(1.0 / 3.0)));
        assert_eq!((classes[2].precision, classes[2].recall), (None, None));
        assert_eq!(evaluate(&[], &[], 2).accuracy, None);
    }
}
