//! Fits a classifier on the embeddings of an output and the labels that people gave its tiles.
//!
//! ```text
//! labels ─▶ survey: which rows are labelled, which are held out ─▶ read embeddings ─▶ fit ─▶ evaluate
//! ```
//!
//! Goes in: an output and labels. Comes out: a [`Trained`] classifier and how good it is on tiles that it was
//! not fitted on. It neither runs a network nor writes anything; [`crate::models::head`] puts the classifier
//! into the ONNX file. Only identities, labels and the embeddings of labelled rows are read.

pub mod fit;
mod groups;
mod labelled_rows;
mod labels;
mod rows;
mod split;

use serde::Serialize;

use crate::models::head::Linear;
use crate::output::{ModelRecord, RunId};
use crate::vocabulary::contract::HeadKind;
use crate::vocabulary::contract::{Activation, FittedOn};
use crate::vocabulary::error::{Error, Result};
use crate::vocabulary::words::counted;
use fit::{ClassScore, Evaluation, Rows, Samples, evaluate, predict};

pub use groups::GroupCounts;
pub use labelled_rows::{LabelledRows, NotUsed, survey};
pub use labels::{LabelFile, Labels};
pub use split::Split;

/// Maximum bytes of the embeddings and the fit's working memory.
pub const MAX_BYTES: u64 = 4 << 30;

/// How a classifier is to be fitted.
#[derive(Clone, Debug)]
pub struct Request {
    /// Only the rows of this run, whether newer ones replace them or not.
    pub run: Option<RunId>,
    /// Which classifier.
    pub kind: HeadKind,
    /// Strength of the penalty, above 0.
    pub l2: f64,
    /// Share of each class that is held out, unless the labels say which tiles are.
    pub held_out: f64,
    /// What is held out or fitted on as a whole; `None`: sources, unless the labels divide them.
    pub group: Option<Group>,
    /// Mixed into the hash that chooses tiles.
    pub seed: u64,
    /// Maximum number of tiles.
    pub max_tiles: Option<usize>,
}

/// What tiles have in common that are alike, so that none is held out while others are fitted on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Group {
    /// Their source: a scene, a slide.
    Source,
    /// Nothing: each tile for itself.
    Tile,
    /// The value in a column of the labels' file.
    Labels(String),
    /// The value in a column of the manifest.
    Extra(String),
}

impl Group {
    /// Reads what somebody typed.
    ///
    /// - `has_file`: whether labels come from a file, whose columns are meant then
    #[must_use]
    pub fn parse(column: &str, has_file: bool) -> Self {
        match (column, column.strip_prefix("extra.")) {
            ("source", _) => Self::Source,
            ("tile_id", _) => Self::Tile,
            (column, None) if has_file => Self::Labels(column.to_owned()),
            (_, Some(column)) | (column, None) => Self::Extra(column.to_owned()),
        }
    }
}

impl std::fmt::Display for Group {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Source => f.write_str("source"),
            Self::Tile => f.write_str("tile_id"),
            Self::Labels(column) => f.write_str(column),
            Self::Extra(column) => write!(f, "extra.{column}"),
        }
    }
}

/// The embeddings of labelled tiles; those to fit on come first.
#[derive(Clone, Debug)]
pub struct Embeddings {
    /// `[n, length]`
    pub values: Vec<f32>,
    /// Floats of one.
    pub length: usize,
}

/// A classifier, and how good it is.
#[derive(Clone, Debug)]
pub struct Trained {
    /// The classifier.
    pub linear: Linear,
    /// How its logits become scores.
    pub activation: Activation,
    /// Steps of the optimiser; 0 for a solution in closed form.
    pub iterations: usize,
    /// The largest part of the gradient at the end.
    pub gradient: f64,
    /// On the tiles that it was fitted on.
    pub on_fitted: Evaluation,
    /// On the tiles that were held out.
    pub on_held_out: Evaluation,
}

/// One class of a trained classifier.
#[derive(Clone, Debug, Serialize)]
pub struct ClassReport {
    /// Its name.
    pub label: String,
    /// Tiles that it was fitted on.
    pub num_fitted: u64,
    /// Tiles that were held out.
    pub num_held_out: u64,
    /// On those held out.
    #[serde(flatten)]
    pub score: ClassScore,
}

/// Refuses what would not fit into memory.
///
/// # Errors
///
/// `Usage` with the number of tiles that would fit.
pub fn check_memory(survey: &LabelledRows, kind: HeadKind) -> Result<()> {
    let (length, num_classes) = (survey.model.contract.output.embedding_length, survey.classes.len());
    let needed = |num: usize| {
        let embeddings = (num as u64).saturating_mul(4 * length as u64);
        embeddings.saturating_add(fit::num_bytes(kind, num, length, num_classes))
    };
    let num = survey.tiles.len();
    if needed(num) <= MAX_BYTES {
        return Ok(());
    }
    let error = Error::usage(format!(
        "{} of {} and {} need {:.1} GiB, more than {} GiB",
        counted(num as u64, "embedding"),
        counted(length as u64, "number"),
        counted(num_classes as u64, "class"),
        needed(num) as f64 / (1_u64 << 30) as f64,
        MAX_BYTES >> 30
    ));
    let fits = (1..=num.ilog2()).map(|halvings| num >> halvings).find(|num| needed(*num) <= MAX_BYTES);
    Err(match fits {
        Some(fits) => error.hint(format!("fit on a sample: --max-tiles {fits}")),
        None if kind == HeadKind::Ridge => error.hint("give fewer classes, or --kind logistic"),
        None => error.hint("give fewer classes"),
    })
}

/// Fits and evaluates.
///
/// # Errors
///
/// `Config` if the embeddings cannot be told apart by numbers, such as for want of any finite weights.
pub fn train(survey: &LabelledRows, embeddings: &Embeddings, request: &Request) -> Result<Trained> {
    let length = embeddings.length;
    let (fitted, held_out) = embeddings.values.split_at(survey.num_fitted * length);
    let (fitted, held_out) = (Rows { values: fitted, length }, Rows { values: held_out, length });
    let classes: Vec<u32> = survey.tiles.iter().map(|tile| tile.class).collect();
    let (fitted_classes, held_out_classes) = classes.split_at(survey.num_fitted);
    let num_classes = survey.classes.len();
    let samples = Samples { rows: fitted, classes: fitted_classes, num_classes };
    let found = fit::fit(request.kind, &samples, request.l2).ok_or_else(|| {
        Error::config("no classifier was found for these embeddings")
            .because("the fit does not converge, or its weights are not finite")
            .hint("raise --l2; if most tiles have almost the same embedding, the network does not suit them")
    })?;
    Ok(Trained {
        activation: match request.kind {
            HeadKind::Logistic => Activation::Softmax,
            HeadKind::Ridge => Activation::None,
        },
        iterations: found.iterations,
        gradient: found.gradient,
        on_fitted: evaluate(fitted_classes, &predict(&found.linear, fitted), num_classes),
        on_held_out: evaluate(held_out_classes, &predict(&found.linear, held_out), num_classes),
        linear: found.linear,
    })
}

impl Trained {
    /// Says in the contract's words how it was fitted.
    #[must_use]
    pub fn fitted_on(&self, survey: &LabelledRows, request: &Request, labels: &Labels) -> FittedOn {
        FittedOn {
            kind: request.kind,
            l2: request.l2,
            num_tiles: survey.num_fitted as u64,
            num_held_out: survey.num_held_out() as u64,
            accuracy: self.on_held_out.accuracy,
            runs: survey.runs.iter().map(ToString::to_string).collect(),
            labels: labels.origin(),
            backbone: survey.model.digest.clone(),
        }
    }

    /// Returns a report of each class, in order of class id.
    #[must_use]
    pub fn classes(&self, survey: &LabelledRows) -> Vec<ClassReport> {
        let count = |evaluation: &Evaluation, class: usize| evaluation.confusion[class].iter().sum();
        let scores = self.on_held_out.classes();
        let class = |(class, (label, score)): (usize, (&String, ClassScore))| ClassReport {
            label: label.clone(),
            num_fitted: count(&self.on_fitted, class),
            num_held_out: count(&self.on_held_out, class),
            score,
        };
        survey.classes.iter().zip(scores).enumerate().map(class).collect()
    }
}

/// Returns the name of a backbone's contract with a head.
#[must_use]
pub fn name_of(model: &ModelRecord) -> String {
    let name = &model.contract.name;
    if name.ends_with("-head") { name.clone() } else { format!("{name}-head") }
}
