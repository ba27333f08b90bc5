//! What a batch yields.

use ort::value::Tensor;

use crate::models::shape::may_be_row;
use crate::vocabulary::contract::Output;
use crate::vocabulary::error::{Error, Result};

/// What a session yields for one batch. On the CPU the memory is ONNX Runtime's and is not copied.
#[derive(Debug)]
pub struct Outputs {
    embeddings: Floats,
    logits: Option<Floats>,
    embedding_length: usize,
    num_classes: usize,
    len: usize,
}

/// Numbers of a batch, row-major.
#[derive(Debug)]
pub(super) enum Floats {
    Tensor(Tensor<f32>),
    Plain { values: Vec<f32>, shape: Vec<i64> },
}

impl Floats {
    pub(super) fn copied(tensor: &Tensor<f32>) -> Self {
        let (shape, values) = tensor.extract_tensor();
        Self::Plain { values: values.to_vec(), shape: shape.to_vec() }
    }

    /// Takes rows, one behind the other.
    fn rows(values: Vec<f32>, num_rows: usize) -> Self {
        let shape = vec![num_rows as i64, (values.len() / num_rows) as i64];
        Self::Plain { values, shape }
    }

    fn all(&self) -> &[f32] {
        match self {
            Self::Tensor(tensor) => tensor.extract_tensor().1,
            Self::Plain { values, .. } => values,
        }
    }

    fn shape(&self) -> &[i64] {
        match self {
            Self::Tensor(tensor) => tensor.extract_tensor().0,
            Self::Plain { shape, .. } => shape,
        }
    }
}

impl Outputs {
    /// Makes the outputs of something that is not a session of ONNX Runtime.
    ///
    /// - `embeddings`: `[len, embedding_length]`, row-major
    /// - `logits`: `[len, num_classes]`, row-major; `None` for a headless model
    ///
    /// # Panics
    ///
    /// If `len` is 0 or does not divide both.
    #[must_use]
    pub fn new(embeddings: Vec<f32>, logits: Option<Vec<f32>>, len: usize) -> Self {
        let num_classes = logits.as_ref().map_or(0, |logits| logits.len() / len);
        let embedding_length = embeddings.len() / len;
        assert_eq!(embeddings.len(), embedding_length * len, "embeddings of {len} chips");
        let rows = |values| Floats::rows(values, len);
        let (embeddings, logits) = (rows(embeddings), logits.map(rows));
        Self { embeddings, logits, embedding_length, num_classes, len }
    }

    /// Takes what a session gave for `num_chips`, of which the first `len` count.
    ///
    /// # Errors
    ///
    /// [`Kind::Config`](crate::vocabulary::error::Kind::Config) if the shapes, of which some axes are only known now, are not
    /// those of the contract: the batch first, then a row.
    pub(super) fn of(
        (embeddings, logits): (Floats, Option<Floats>),
        contract: &Output,
        num_chips: usize,
        len: usize,
    ) -> Result<Self> {
        let outputs = Self {
            embeddings,
            logits,
            embedding_length: contract.embedding_length,
            num_classes: contract.classifier.as_ref().map_or(0, |classifier| classifier.num_classes),
            len,
        };
        check_shape("embedding", &outputs.embeddings, num_chips, outputs.embedding_length)?;
        if let Some(logits) = &outputs.logits {
            check_shape("logits", logits, num_chips, outputs.num_classes)?;
        }
        Ok(outputs)
    }

    /// Returns the number of chips, the padding left out.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Returns whether there is nothing; a session never yields that.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Returns the pooled features, `[len, embedding_length]`, row-major.
    #[must_use]
    pub fn embeddings(&self) -> &[f32] {
        &self.embeddings.all()[..self.len * self.embedding_length]
    }

    /// Returns the raw classifier outputs, `[len, num_classes]`, row-major; `None` for a headless model.
    #[must_use]
    pub fn logits(&self) -> Option<&[f32]> {
        Some(&self.logits.as_ref()?.all()[..self.len * self.num_classes])
    }
}

fn check_shape(what: &str, values: &Floats, num_chips: usize, length: usize) -> Result<()> {
    let shape = values.shape();
    if is_batch_of_rows(shape, Some(num_chips), length) {
        return Ok(());
    }
    Err(mismatch(format!(
        "a batch of {num_chips} gave {what} of shape {shape:?}, not [{num_chips}, {length}]"
    )))
}

/// Whether a shape is that of a row for each chip: the batch first, then the row.
///
/// - `shape`: negative where a length is not known yet
/// - `num_chips`: chips of the batch; `None` if any number will do
pub(super) fn is_batch_of_rows(shape: &[i64], num_chips: Option<usize>, length: usize) -> bool {
    let known = |axis: &i64| u64::try_from(*axis).ok();
    let Some((batch, row)) = shape.split_first() else { return false };
    let is_batch = known(batch).zip(num_chips).is_none_or(|(found, wanted)| found == wanted as u64);
    is_batch && may_be_row(row.iter().map(known), length)
}

/// Says that a model is not what its contract says.
pub(super) fn mismatch(cause: String) -> Error {
    Error::config("the model does not match its contract")
        .because(cause)
        .hint("compare the contract with `tilefleet model inspect`")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shape_has_the_batch_first_and_then_one_row() {
        let fits = |shape: &[i64]| is_batch_of_rows(shape, Some(2), 8);
        assert!(fits(&[2, 8]) && fits(&[2, 8, 1, 1]) && fits(&[-1, 8]) && fits(&[2, -1]));
        // As many numbers each time.
        for shape in [&[8, 2][..], &[16], &[1, 16], &[4, 4], &[2, 2, 4], &[2, 1, 1, 2, 4], &[]] {
            assert!(!fits(shape), "{shape:?}");
        }
        assert!(is_batch_of_rows(&[5, 8], None, 8) && is_batch_of_rows(&[3], Some(3), 1));
    }
}
