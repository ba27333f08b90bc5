//! The model contract: what a model expects and yields.
//!
//! A TOML file beside the ONNX file (`model.contract.toml` for `model.onnx`). The tensors' names and
//! types bind it to the graph; [`crate::models::load()`] checks that they are really there.

pub mod mlm;
mod per_band;
pub mod precision;
mod quantisation;

use std::fmt;
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::vocabulary::error::{Error, Result};
use crate::vocabulary::words::counted;
pub use per_band::PerBand;
pub use precision::Precision;
pub use quantisation::{LeftFloat, Target, WeightRange};

/// The version of the format that this build reads and writes.
pub const VERSION: u32 = 1;

/// Most floats of an embedding, and most classes: a row of more is nothing that a table could hold.
pub const MAX_OUTPUTS: usize = 1 << 24;

/// Longest side of a model's input, in pixels.
pub const MAX_SIDE_PX: u32 = 1 << 16;

/// Key of the ONNX metadata entry that holds a contract as JSON.
pub const METADATA_KEY: &str = "tilefleet.contract";

/// What a model expects and yields.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Contract {
    /// Version of this format.
    #[serde(rename = "contract")]
    pub version: u32,
    /// A name that people recognise, such as `resnet152-imagenet`.
    pub name: String,
    /// Digest of its network, in hex: SHA-256 of the file, see [`crate::models::pair`]. Absent where nobody wrote it.
    ///
    /// It says which network the contract is of, not what that is: a contract in force has none, and no digest of a
    /// contract covers it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model_digest: Option<String>,
    /// What goes in.
    pub input: Input,
    /// What comes out.
    pub output: Output,
    /// How an int8 model was made and how near it comes to its original; absent for others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quantisation: Option<Quantisation>,
}

/// How an int8 model was made, and how near it comes to the fp32 model on tiles that it was not made from.
///
/// A record: it changes no row, which is why a run's fingerprint leaves it out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Quantisation {
    /// What it is to run on.
    pub target: Target,
    /// Which integers the weights are; absent in models of earlier versions, where they are of the full range.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weights: Option<WeightRange>,
    /// How ranges were chosen: `minmax`, `percentile 99.99`, `entropy`.
    pub method: String,
    /// SHA-256 of the fp32 file, in hex.
    pub source_digest: String,
    /// Whether nobody wrote the fp32 model's contract and `ImageNet`'s was assumed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub assumed_contract: bool,
    /// Number of tiles that the ranges were taken from.
    pub calibration_tiles: usize,
    /// Number of other tiles, on which the following was measured.
    pub held_out_tiles: usize,
    /// Mean cosine of the angle between both models' embeddings of a tile.
    pub cosine_mean: f64,
    /// The smallest such cosine.
    pub cosine_min: f64,
    /// Share of tiles of which both say the same class; absent without a classifier.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top1_agreement: Option<f64>,
    /// Root mean square of the logits' difference over that of the logits; absent without a classifier.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logits_error: Option<f64>,
    /// Number of layers in 8 bits.
    pub int8_layers: usize,
    /// Layers that stayed float, and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub float_layers: Vec<LeftFloat>,
    /// What the model gives for synthetic chips: whoever computes something else computes other rows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub probes: Vec<StoredProbe>,
}

/// A synthetic chip, and what the int8 model gave for it where it was made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoredProbe {
    /// What it looks like: `dark` or `bright`.
    pub chip: String,
    /// Its darkest sample, as the input tensor takes it.
    pub low: f64,
    /// Its brightest sample.
    pub high: f64,
    /// Name of the embedding's tensor.
    pub tensor: String,
    /// Values of that embedding: up to 64, evenly spread.
    pub embedding: Vec<f64>,
}

/// The model's input tensor and how pixels become it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// Name of the input tensor.
    pub tensor: String,
    /// Order of the axes; axis 0 is always the batch.
    pub layout: Layout,
    /// Element type of the input tensor.
    pub sample_type: SampleType,
    /// Band names in order, such as `["red", "green", "blue"]`; their number is the number of channels.
    pub bands: Vec<String>,
    /// What one sample means: `srgb8` (8-bit display values), `dn` (raw digital numbers), `reflectance`, …
    pub unit: String,
    /// The units of the bands in their order, where they differ; they come before `unit`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub units: Option<Vec<String>>,
    /// Width of the input, in pixels.
    pub width: u32,
    /// Height of the input, in pixels.
    pub height: u32,
    /// How a tile of another size becomes one of this size; absent: such a tile is rejected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resize: Option<Resize>,
    /// `value = (clamp(sample × scale) − mean) / std`; absent where the graph normalises by itself
    /// (always for `uint8`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub normalise: Option<Normalise>,
    /// Which other kinds of image are converted instead of rejected.
    #[serde(default)]
    pub accept: Accept,
}

impl Input {
    /// Returns the number of samples of one chip: width × height × bands.
    #[must_use]
    pub fn num_samples(&self) -> usize {
        self.width as usize * self.height as usize * self.bands.len()
    }

    /// Returns what a sample of a band means.
    #[must_use]
    pub fn unit_of(&self, band: usize) -> &str {
        self.units.as_ref().and_then(|units| units.get(band)).unwrap_or(&self.unit)
    }
}

/// Order of the axes of the input tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Layout {
    /// `[n, height, width, bands]`
    Nhwc,
    /// `[n, bands, height, width]`
    Nchw,
}

/// Element type of the input tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum SampleType {
    /// Unsigned 8-bit.
    Uint8,
    /// 32-bit float.
    Float32,
}

/// Resize of the short side, then a centre crop to the input size (torchvision, timm).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Resize {
    /// Length of the short side after resizing, in pixels.
    pub short_side: u32,
    /// The antialiased filter.
    pub interpolation: Interpolation,
    /// Whether a tile that already has the input's size is used as it is.
    #[serde(default)]
    pub keep_exact: bool,
}

/// Antialiased resampling filter, as in Pillow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Interpolation {
    /// Triangle filter, support 1.
    Bilinear,
    /// Keys cubic with a = −0.5, support 2.
    Bicubic,
}

/// Normalisation outside the graph.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Normalise {
    /// Factor applied to the stored sample, one for all bands or one for each; 1/255 for `ImageNet` models.
    pub scale: PerBand,
    /// Least and greatest value after scaling; what lies beyond becomes them. Absent: nothing does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clamp: Option<[f64; 2]>,
    /// Mean of each band after scaling.
    pub mean: Vec<f64>,
    /// Standard deviation of each band after scaling.
    pub std: Vec<f64>,
}

/// Which other kinds of image are converted instead of rejected.
///
/// The defaults are those of `PIL.Image.convert("RGB")`, which the training code of `ImageNet` models
/// applies, except that 16-bit images are never made 8-bit unasked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Accept {
    /// A grey image for a three-band model.
    pub grey: AcceptGrey,
    /// An alpha band that the model does not take.
    pub alpha: AcceptAlpha,
    /// A 16-bit image for an 8-bit model.
    pub sixteen_bit: AcceptSixteenBit,
}

impl Default for Accept {
    fn default() -> Self {
        Self { grey: AcceptGrey::Replicate, alpha: AcceptAlpha::Drop, sixteen_bit: AcceptSixteenBit::Reject }
    }
}

/// What happens to a grey image where three bands are expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AcceptGrey {
    /// The grey band becomes all three.
    Replicate,
    /// The tile is rejected with `bands_mismatch`.
    Reject,
}

/// What happens to an alpha band that the model does not take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AcceptAlpha {
    /// Alpha is dropped, colours stay as stored.
    Drop,
    /// The tile is rejected with `bands_mismatch`.
    Reject,
}

/// What happens to a 16-bit image where 8 bits are expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AcceptSixteenBit {
    /// The tile is rejected with `bit_depth_mismatch`.
    Reject,
    /// Samples are scaled from 0..=65535 to 0..=255, rounded to nearest.
    Scale,
}

/// The model's output tensors.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Output {
    /// Name of the tensor with the pooled features, `[n, embedding_length]`.
    pub embedding: String,
    /// Number of floats of one embedding.
    pub embedding_length: usize,
    /// The classifier; absent for a headless model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub classifier: Option<Classifier>,
}

/// The classifier's output.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Classifier {
    /// Name of the tensor with the raw outputs, `[n, num_classes]`.
    pub logits: String,
    /// Number of classes.
    pub num_classes: usize,
    /// How logits become scores.
    pub activation: Activation,
    /// Class names in order of class id; absent where they are not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<Vec<String>>,
    /// How it was fitted; absent unless `tilefleet model head` made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fitted: Option<FittedOn>,
}

/// Which classifier is fitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum HeadKind {
    /// Multinomial logistic regression; its scores are probabilities after a softmax
    Logistic,
    /// Least squares on targets of −1 and 1; its scores are not probabilities
    Ridge,
}

/// How a classifier was fitted on embeddings of its network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FittedOn {
    /// Which classifier it is.
    pub kind: HeadKind,
    /// Strength of the penalty on large weights.
    pub l2: f64,
    /// Number of tiles that it was fitted on.
    pub num_tiles: u64,
    /// Number of tiles that were held out.
    pub num_held_out: u64,
    /// Share of right predictions on those; absent if there were none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accuracy: Option<f64>,
    /// The runs that the embeddings are from.
    pub runs: Vec<String>,
    /// Where the labels are from: SHA-256 of their file, in hex, or `extra.` and the manifest's column.
    pub labels: String,
    /// SHA-256 of the ONNX file that made the embeddings, in hex.
    pub backbone: String,
}

/// How logits become scores.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Activation {
    /// One class per tile.
    Softmax,
    /// Each class for itself (multi-label).
    Sigmoid,
    /// The model's output already is the score.
    None,
}

impl Contract {
    /// Returns where the contract of a model lies: `x.contract.toml` for `x.onnx`.
    pub fn path_for(model: &Path) -> PathBuf {
        model.with_extension("contract.toml")
    }

    /// Reads a contract file and validates it.
    ///
    /// # Errors
    ///
    /// [`Kind::Config`](crate::vocabulary::error::Kind::Config): unreadable, an unknown or missing key, or values that
    /// contradict each other.
    pub fn load(path: &Path) -> Result<Self> {
        let fails = || {
            Error::config(format!("cannot read model contract {}", path.display()))
                .hint("correct the contract; `tilefleet model build` writes an example")
        };
        let text = std::fs::read_to_string(path).map_err(|cause| fails().because(cause))?;
        Self::from_toml(&text).map_err(|cause| fails().because(cause))
    }

    /// Parses and validates TOML.
    ///
    /// ```
    /// use tilefleet::vocabulary::contract::Contract;
    ///
    /// let text = r#"
    ///     contract = 1
    ///     name = "tiny"
    ///
    ///     [input]
    ///     tensor = "input"
    ///     layout = "nchw"
    ///     sample_type = "float32"
    ///     bands = ["red", "green", "blue"]
    ///     unit = "srgb8"
    ///     width = 32
    ///     height = 32
    ///
    ///     [output]
    ///     embedding = "features"
    ///     embedding_length = 64
    /// "#;
    /// let contract = Contract::from_toml(text)?;
    /// assert_eq!(contract.input.num_samples(), 32 * 32 * 3);
    ///
    /// let other = text.replace("width = 32", "width = 0");
    /// assert_eq!(Contract::from_toml(&other).unwrap_err().to_string(), "input size 0×32 has no pixels");
    /// # Ok::<(), tilefleet::vocabulary::error::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`Self::load`].
    pub fn from_toml(text: &str) -> Result<Self> {
        let contract: Self = toml::from_str(text).map_err(|cause| {
            let hint = nearest_key(cause.message());
            with_hint(Error::config("the contract is not well-formed").because(cause), hint)
        })?;
        contract.validate()?;
        contract.check_scores()?;
        Ok(contract)
    }

    /// Parses and validates JSON, as in ONNX metadata.
    ///
    /// # Errors
    ///
    /// As [`Self::load`].
    pub fn from_json(text: &str) -> Result<Self> {
        let contract: Self = serde_json::from_str(text).map_err(|cause| {
            let hint = nearest_key(&cause.to_string());
            with_hint(Error::config("the contract is not well-formed").because(cause), hint)
        })?;
        contract.validate()?;
        contract.check_scores()?;
        Ok(contract)
    }

    /// Renders the contract as the TOML of a contract file.
    ///
    /// # Errors
    ///
    /// [`Kind::Bug`](crate::vocabulary::error::Kind::Bug) where a value cannot be written.
    pub fn to_toml(&self) -> Result<String> {
        toml::to_string(self).map_err(|cause| Error::bug("cannot render a model contract").because(cause))
    }

    /// Renders the contract as JSON without white space and with sorted keys: equal contracts give equal
    /// text, whichever network they are of.
    ///
    /// # Errors
    ///
    /// [`Kind::Bug`](crate::vocabulary::error::Kind::Bug) where a value cannot be written.
    pub fn to_canonical_json(&self) -> Result<String> {
        let value = serde_json::to_value(Self { model_digest: None, ..self.clone() })
            .map_err(|cause| Error::bug("cannot render a model contract").because(cause))?;
        Ok(canonical(&value))
    }

    /// Returns the SHA-256 of the canonical JSON, in hex.
    ///
    /// # Errors
    ///
    /// As [`Self::to_canonical_json`].
    pub fn digest(&self) -> Result<String> {
        Ok(hex::encode(Sha256::digest(self.to_canonical_json()?)))
    }

    /// Returns what of the contract gives a row its meaning; the rest is a record of how the model was made.
    #[must_use]
    pub fn meaning(&self) -> Self {
        let mut meaning = Self { model_digest: None, quantisation: None, ..self.clone() };
        if let Some(classifier) = &mut meaning.output.classifier {
            classifier.fitted = None;
        }
        meaning
    }

    /// Checks what can be checked without the graph.
    ///
    /// # Errors
    ///
    /// [`Kind::Config`](crate::vocabulary::error::Kind::Config) with the key and the reason.
    pub fn validate(&self) -> Result<()> {
        if self.version != VERSION {
            return Err(Error::config(format!("contract version {} is unknown", self.version))
                .hint(format!("this build reads version {VERSION}")));
        }
        if let Some(digest) = &self.model_digest
            && !(digest.len() == 64 && digest.bytes().all(|byte| byte.is_ascii_hexdigit()))
        {
            return Err(Error::config(format!("model_digest is `{digest}`, not 64 hex digits"))
                .hint("`tilefleet model inspect` shows a network's digest as sha256"));
        }
        self.input.validate()?;
        self.output.validate()
    }

    /// Refuses scores that say nothing: softmax over one class is 1 whatever the network says.
    ///
    /// Not part of [`Self::validate`], so that runs which were made so can still be read.
    ///
    /// # Errors
    ///
    /// [`Kind::Config`](crate::vocabulary::error::Kind::Config).
    pub fn check_scores(&self) -> Result<()> {
        let is_constant = |classifier: &&Classifier| {
            classifier.num_classes == 1 && classifier.activation == Activation::Softmax
        };
        match self.output.classifier.as_ref().filter(is_constant) {
            None => Ok(()),
            Some(classifier) => Err(Error::config(format!(
                "output.classifier.activation is softmax over one class (`{}`), which is 1.0 for every tile",
                classifier.logits
            ))
            .hint(
                "one logit means yes or no: write `activation = \"sigmoid\"`, or \"none\" for the model's own number (in an \
                 MLM Item: `post_processing_function`)",
            )),
        }
    }
}

impl Input {
    fn validate(&self) -> Result<()> {
        if self.bands.is_empty() {
            return Err(Error::config("input.bands is empty"));
        }
        if self.width == 0 || self.height == 0 {
            return Err(Error::config(format!("input size {}×{} has no pixels", self.width, self.height)));
        }
        if self.width.max(self.height) > MAX_SIDE_PX {
            let (width, height) = (self.width, self.height);
            return Err(Error::config(format!(
                "input size {width}×{height} is above {MAX_SIDE_PX} pixels per side"
            )));
        }
        if let Some(units) = &self.units
            && units.len() != self.bands.len()
        {
            return Err(Error::config(format!(
                "input.units has {} for {}",
                counted(units.len() as u64, "value"),
                counted(self.bands.len() as u64, "band")
            )));
        }
        if let Some(resize) = self.resize
            && resize.short_side < self.width.max(self.height)
        {
            return Err(Error::config(format!(
                "input.resize.short_side {} is smaller than the input, {}×{}",
                resize.short_side, self.width, self.height
            )));
        }
        match &self.normalise {
            Some(_) if self.sample_type == SampleType::Uint8 => {
                Err(Error::config("input.normalise is set, but a uint8 input is normalised in the graph"))
            }
            Some(normalise) => normalise.validate(self.bands.len()),
            None => Ok(()),
        }
    }
}

impl Normalise {
    /// Checks that there is a usable value for each band.
    ///
    /// # Errors
    ///
    /// [`Kind::Config`](crate::vocabulary::error::Kind::Config) with the key and the reason.
    pub fn validate(&self, num_bands: usize) -> Result<()> {
        let scales = match &self.scale {
            PerBand::All(_) => num_bands,
            PerBand::Each(values) => values.len(),
        };
        for (key, count) in [("scale", scales), ("mean", self.mean.len()), ("std", self.std.len())] {
            if count != num_bands {
                return Err(Error::config(format!(
                    "input.normalise.{key} has {} for {}",
                    counted(count as u64, "value"),
                    counted(num_bands as u64, "band")
                )));
            }
        }
        if let Some([least, greatest]) = self.clamp
            && !(least.is_finite() && greatest.is_finite() && least < greatest)
        {
            return Err(Error::config(format!("input.normalise.clamp [{least}, {greatest}] is not a range")));
        }
        let scales = self.scale.values();
        let finite = self.mean.iter().chain(&self.std).chain(scales).all(|value| value.is_finite());
        if !finite || scales.contains(&0.0) {
            return Err(Error::config("input.normalise holds a scale of 0 or a value that is not finite"));
        }
        if self.std.iter().any(|&std| std <= 0.0) {
            return Err(Error::config("input.normalise.std holds a value that is not positive"));
        }
        Ok(())
    }
}

impl Output {
    fn validate(&self) -> Result<()> {
        if !(1..=MAX_OUTPUTS).contains(&self.embedding_length) {
            let length = self.embedding_length;
            return Err(Error::config(format!(
                "output.embedding_length is {length}, not between 1 and {MAX_OUTPUTS}"
            )));
        }
        self.classifier.as_ref().map_or(Ok(()), Classifier::validate)
    }
}

impl Classifier {
    fn validate(&self) -> Result<()> {
        if !(1..=MAX_OUTPUTS).contains(&self.num_classes) {
            let count = self.num_classes;
            return Err(Error::config(format!(
                "output.classifier.num_classes is {count}, not between 1 and {MAX_OUTPUTS}"
            )));
        }
        match &self.labels {
            Some(labels) if labels.len() != self.num_classes => Err(self.other_number(labels.len())),
            _ => Ok(()),
        }
    }
}

impl Classifier {
    fn other_number(&self, num_labels: usize) -> Error {
        let error = Error::config(format!(
            "output.classifier.labels has {} for {}",
            counted(num_labels as u64, "name"),
            counted(self.num_classes as u64, "class")
        ));
        // Both sides of a yes or no are often named where the network has one logit for it.
        match (self.num_classes, num_labels) {
            (1, 2) => error.hint("the model has one logit: name only its class"),
            _ => error,
        }
    }
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nhwc => "nhwc",
            Self::Nchw => "nchw",
        })
    }
}

impl fmt::Display for SampleType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Uint8 => "uint8",
            Self::Float32 => "float32",
        })
    }
}

impl fmt::Display for Interpolation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bilinear => "bilinear",
            Self::Bicubic => "bicubic",
        })
    }
}

impl fmt::Display for Activation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Softmax => "softmax",
            Self::Sigmoid => "sigmoid",
            Self::None => "none",
        })
    }
}

/// Sorts the keys itself: whether `serde_json` does depends on what other crates ask of it.
fn canonical(value: &Value) -> String {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_unstable_by_key(|(key, _)| *key);
            let parts: Vec<String> = entries
                .into_iter()
                .map(|(key, value)| format!("{}:{}", Value::from(key.as_str()), canonical(value)))
                .collect();
            format!("{{{}}}", parts.join(","))
        }
        Value::Array(values) => {
            let parts: Vec<String> = values.iter().map(canonical).collect();
            format!("[{}]", parts.join(","))
        }
        scalar => scalar.to_string(),
    }
}

fn with_hint(error: Error, hint: Option<String>) -> Error {
    match hint {
        Some(hint) => error.hint(hint),
        None => error,
    }
}

/// Finds the known key that an unknown one was probably meant to be, from serde's message, which puts
/// the unknown key and then all known ones into backticks.
fn nearest_key(message: &str) -> Option<String> {
    if !message.contains("unknown field") {
        return None;
    }
    let mut quoted = message.split('`').skip(1).step_by(2);
    let unknown = quoted.next()?;
    let nearest = quoted.min_by_key(|known| edit_distance(unknown, known))?;
    Some(format!("did you mean `{nearest}` instead of `{unknown}`?"))
}

/// Levenshtein distance, in characters.
fn edit_distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, &y) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contract() -> Contract {
        Contract {
            version: VERSION,
            name: "toy".to_owned(),
            model_digest: None,
            input: Input {
                tensor: "input".to_owned(),
                layout: Layout::Nchw,
                sample_type: SampleType::Float32,
                bands: ["red", "green", "blue"].map(str::to_owned).to_vec(),
                unit: "srgb8".to_owned(),
                units: None,
                width: 224,
                height: 224,
                resize: Some(Resize {
                    short_side: 232,
                    interpolation: Interpolation::Bilinear,
                    keep_exact: true,
                }),
                normalise: Some(Normalise {
                    scale: (1.0 / 255.0).into(),
                    clamp: None,
                    mean: vec![0.485, 0.456, 0.406],
                    std: vec![0.229, 0.224, 0.225],
                }),
                accept: Accept::default(),
            },
            output: Output {
                embedding: "embedding".to_owned(),
                embedding_length: 8,
                classifier: Some(Classifier {
                    logits: "logits".to_owned(),
                    num_classes: 2,
                    activation: Activation::Softmax,
                    labels: Some(vec!["sea \"blue\"".to_owned(), "land".to_owned()]),
                    fitted: Some(FittedOn {
                        kind: HeadKind::Ridge,
                        l2: 0.1,
                        num_tiles: 80,
                        num_held_out: 0,
                        accuracy: None,
                        runs: vec!["photos-01234567-0001".to_owned()],
                        labels: "extra.site".to_owned(),
                        backbone: "00ff".to_owned(),
                    }),
                }),
            },
            quantisation: None,
        }
    }

    fn message(changed: impl FnOnce(&mut Contract)) -> String {
        let mut contract = contract();
        changed(&mut contract);
        contract.validate().unwrap_err().to_string()
    }

    #[test]
    fn a_contract_survives_toml_and_json() {
        let contract = contract();
        assert_eq!(Contract::from_toml(&contract.to_toml().unwrap()).unwrap(), contract);
        assert_eq!(Contract::from_json(&contract.to_canonical_json().unwrap()).unwrap(), contract);
        let of_one = Contract { model_digest: Some("0f".repeat(32)), ..contract.clone() };
        assert_eq!(Contract::from_toml(&of_one.to_toml().unwrap()).unwrap(), of_one);
        // What lies in the network cannot hold its digest.
        assert_eq!(of_one.to_canonical_json().unwrap(), contract.to_canonical_json().unwrap());
    }

    #[test]
    fn the_digest_depends_on_every_value_and_on_nothing_else() {
        let mut contract = contract();
        contract.output.classifier.as_mut().unwrap().fitted = None;
        let digest = contract.digest().unwrap();
        // As before there were `units`, `clamp`, a scale for each band, and fitted heads: old runs can be resumed.
        assert_eq!(digest, "c8c024170f3cf7eb8238baa24eb513f65b24fb2b3b6df6c14606b1eb503fc0db");
        assert_eq!(digest, contract.clone().digest().unwrap());
        let of_one = Contract { model_digest: Some("0f".repeat(32)), ..contract.clone() };
        assert_eq!(digest, of_one.digest().unwrap());
        assert_eq!(of_one.meaning(), contract.meaning());
        let mut other = contract;
        other.input.normalise.as_mut().unwrap().mean[2] += 1e-12;
        assert_ne!(digest, other.digest().unwrap());
    }

    #[test]
    fn canonical_json_has_sorted_keys() {
        let value: Value = serde_json::from_str(r#"{"b": [1, {"z": null, "a": "\n"}], "a": 0.5}"#).unwrap();
        assert_eq!(canonical(&value), r#"{"a":0.5,"b":[1,{"a":"\n","z":null}]}"#);
    }

    #[test]
    fn an_unknown_key_is_answered_with_the_nearest() {
        let text = contract().to_toml().unwrap().replace("embedding_length", "embeding_length");
        let error = Contract::from_toml(&text).unwrap_err();
        assert_eq!(error.kind().exit_code(), 78);
        assert!(
            error.render().contains("did you mean `embedding_length` instead of `embeding_length`?"),
            "{}",
            error.render()
        );
    }

    #[test]
    fn contradictions_are_named() {
        assert_eq!(
            message(|contract| contract.input.bands.truncate(2)),
            "input.normalise.mean has 3 values for 2 bands"
        );
        assert_eq!(
            message(|contract| contract.output.classifier.as_mut().unwrap().num_classes = 3),
            "output.classifier.labels has 2 names for 3 classes"
        );
        assert_eq!(
            message(|contract| contract.input.sample_type = SampleType::Uint8),
            "input.normalise is set, but a uint8 input is normalised in the graph"
        );
        assert_eq!(
            message(|contract| contract.input.height = 240),
            "input.resize.short_side 232 is smaller than the input, 224×240"
        );
        assert_eq!(
            message(|contract| contract.input.normalise.as_mut().unwrap().scale = PerBand::Each(vec![1.0])),
            "input.normalise.scale has 1 value for 3 bands"
        );
        assert_eq!(
            message(|contract| contract.input.normalise.as_mut().unwrap().clamp = Some([1.0, 0.0])),
            "input.normalise.clamp [1, 0] is not a range"
        );
        assert_eq!(
            message(|contract| contract.input.units = Some(vec!["dn".to_owned()])),
            "input.units has 1 value for 3 bands"
        );
        assert!(message(|contract| contract.version = 2).contains("version 2"));
        assert_eq!(
            message(|contract| contract.model_digest = Some("abc".to_owned())),
            "model_digest is `abc`, not 64 hex digits"
        );
        assert!(message(|contract| contract.input.normalise.as_mut().unwrap().std[0] = 0.0).contains("std"));
    }

    #[test]
    fn softmax_over_one_class_is_refused_where_it_is_written_and_read_where_it_was_run() {
        let mut contract = contract();
        let classifier = contract.output.classifier.as_mut().unwrap();
        (classifier.num_classes, classifier.labels) = (1, Some(vec!["sea".to_owned()]));
        assert!(contract.validate().is_ok(), "runs made before this was refused are still read");
        for error in [
            Contract::from_toml(&contract.to_toml().unwrap()).unwrap_err(),
            Contract::from_json(&contract.to_canonical_json().unwrap()).unwrap_err(),
        ] {
            assert_eq!(error.kind().exit_code(), 78);
            let message = error.render();
            assert!(message.contains("softmax over one class (`logits`)"), "{message}");
            assert!(
                message.contains("hint: one logit means yes or no: write `activation = \"sigmoid\"`"),
                "{message}"
            );
        }
        for activation in [Activation::Sigmoid, Activation::None] {
            contract.output.classifier.as_mut().unwrap().activation = activation;
            assert!(Contract::from_toml(&contract.to_toml().unwrap()).is_ok(), "{activation}");
        }
        contract.output.classifier.as_mut().unwrap().labels = Some(["no", "yes"].map(str::to_owned).to_vec());
        let message = contract.validate().unwrap_err().render();
        assert!(message.contains("2 names for 1 class\n  hint: the model has one logit"), "{message}");
    }

    #[test]
    fn bands_may_differ_in_scale_and_unit() {
        let mut contract = contract();
        contract.input.units = Some(["tci8", "dn", "dn"].map(str::to_owned).to_vec());
        let normalise = contract.input.normalise.as_mut().unwrap();
        normalise.scale = PerBand::Each(vec![1.0 / 255.0, 1.0 / 8160.0, 1.0]);
        normalise.clamp = Some([0.0, 1.0]);
        assert_eq!(Contract::from_toml(&contract.to_toml().unwrap()).unwrap(), contract);
        assert_eq!(Contract::from_json(&contract.to_canonical_json().unwrap()).unwrap(), contract);
        assert_eq!((contract.input.unit_of(0), contract.input.unit_of(2)), ("tci8", "dn"));
        let text = contract.to_toml().unwrap().replace("clamp = [0.0, 1.0]", "clamp = [0, 1]");
        assert_eq!(Contract::from_toml(&text).unwrap(), contract);
        let text = text.replace("scale = [", "scale = [\"a\", ");
        let error = Contract::from_toml(&text).unwrap_err().render();
        assert!(error.contains("expected a number, or a list with one number per band"), "{error}");
    }

    #[test]
    fn the_contract_lies_beside_the_model() {
        assert_eq!(Contract::path_for(Path::new("m/net.v2.onnx")), Path::new("m/net.v2.contract.toml"));
    }
}
