//! What a batch yields.

use ort::value::Tensor;

use crate::error::{Error, Result};
use crate::model::contract::Output;

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
    Plain(Vec<f32>),
}

impl Floats {
    pub(super) fn copied(tensor: &Tensor<f32>) -> Self {
        Self::Plain(tensor.extract_tensor().1.to_vec())
    }

    fn all(&self) -> &[f32] {
        match self {
            Self::Tensor(tensor) => tensor.extract_tensor().1,
            Self::Plain(values) => values,
        }
    }

    fn shape(&self) -> String {
        match self {
            Self::Tensor(tensor) => format!("{:?}", tensor.extract_tensor().0),
            Self::Plain(values) => format!("[{}]", values.len()),
        }
    }
}

impl Outputs {
    /// Makes the outputs of something that is no session of ONNX Runtime.
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
        let (embeddings, logits) = (Floats::Plain(embeddings), logits.map(Floats::Plain));
        Self { embeddings, logits, embedding_length, num_classes, len }
    }

    /// Takes what a session gave for `num_chips`, of which the first `len` count.
    ///
    /// # Errors
    ///
    /// [`Kind::Config`](crate::error::Kind::Config) if the sizes, some of which are only known now, are not
    /// those of the contract.
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
        check_size("embedding", &outputs.embeddings, num_chips, outputs.embedding_length)?;
        if let Some(logits) = &outputs.logits {
            check_size("logits", logits, num_chips, outputs.num_classes)?;
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

fn check_size(what: &str, values: &Floats, num_chips: usize, length: usize) -> Result<()> {
    if values.all().len() == num_chips * length {
        return Ok(());
    }
    Err(mismatch(format!(
        "a batch of {num_chips} gave {what} of shape {}, not [{num_chips}, {length}]",
        values.shape()
    )))
}

/// Says that a model is not what its contract says.
pub(super) fn mismatch(cause: String) -> Error {
    Error::config("the model does not match its contract")
        .because(cause)
        .hint("compare the contract with `tilefleet model inspect`")
}
