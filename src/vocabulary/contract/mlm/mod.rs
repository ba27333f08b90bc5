//! STAC's Machine Learning Model extension, 1.x: an Item that describes a model, read as its contract.
//!
//! | MLM | contract |
//! |---|---|
//! | `mlm:name` | `name` |
//! | `mlm:input[].bands` | `bands`; a band that is computed (`expression`) is refused |
//! | `mlm:input[].input` | size, layout, type; an axis that is not a batch, band, row or column must have length 1 |
//! | `mlm:input[].value_scaling` | `normalise`, see `scaling` |
//! | `mlm:input[].resize_type` | nothing: a tile of another size is rejected, since other resizers give other pixels |
//! | `unit` and `data_type` of the bands | `unit`, `units`; `srgb8` for 8-bit red, green and blue, else `dn` |
//! | `mlm:output[].classification:classes` | `labels`, in the order of `value`, see `classes` |
//! | `mlm:output[].post_processing_function` | `activation`, if it names softmax or sigmoid; `none` for a regression without |
//!
//! What a contract cannot say (`processing`, a function before the model, …) is an error that names it, never
//! left out. What concerns training, hardware and frameworks is not looked at.
//!
//! # Reference
//!
//! <https://github.com/stac-extensions/mlm>, versions 1.0 to 1.4.

mod classes;
mod scaling;
mod write;

use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use self::scaling::{Scaling, Statistics};
pub use self::write::item;
use crate::vocabulary::contract::{
    Accept, AcceptAlpha, AcceptGrey, AcceptSixteenBit, Activation, Input, Layout, SampleType,
};
use crate::vocabulary::error::{Error, Result};
use crate::vocabulary::words::counted;

/// The largest Item that is read, in bytes.
pub(crate) const MAX_BYTES: u64 = 16 << 20;

/// What an MLM Item says of a model.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Mlm {
    pub(crate) name: String,
    /// The input; its tensor is the name that the Item gives, which may be no tensor's.
    pub(crate) input: Input,
    /// Names that the Item gives its outputs of features.
    pub(crate) features: Vec<String>,
    /// The other outputs; of several those with labels.
    outputs: Vec<Classes>,
}

/// What it says of the classifier.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Classes {
    /// Name that the Item gives this output.
    pub(crate) output: String,
    pub(crate) labels: Option<Vec<String>>,
    /// What follows the model's output; `None` if the Item does not say.
    pub(crate) activation: Option<Activation>,
}

/// Height and width of the graph's input, where they are fixed.
pub(crate) type GraphSize = Option<(u32, u32)>;

#[derive(Deserialize)]
struct Item {
    #[serde(rename = "type")]
    kind: String,
    properties: Properties,
    #[serde(default)]
    assets: std::collections::BTreeMap<String, Described>,
}

#[derive(Deserialize)]
struct Properties {
    #[serde(rename = "mlm:name")]
    name: Option<String>,
    #[serde(rename = "mlm:input", deserialize_with = "one_or_more")]
    input: Vec<ModelInput>,
    #[serde(rename = "mlm:output", default, deserialize_with = "one_or_more")]
    output: Vec<ModelOutput>,
    #[serde(flatten)]
    described: Described,
}

/// A list, or its only member without the brackets.
fn one_or_more<'de, D: Deserializer<'de>, T: DeserializeOwned>(deserializer: D) -> Result<Vec<T>, D::Error> {
    let items = match Value::deserialize(deserializer)? {
        Value::Null => Vec::new(),
        Value::Array(items) => items,
        one => vec![one],
    };
    items.into_iter().map(|item| serde_json::from_value(item).map_err(serde::de::Error::custom)).collect()
}

/// Bands as an Item or its model's asset describes them.
#[derive(Deserialize)]
struct Described {
    #[serde(default)]
    bands: Vec<Band>,
    #[serde(default, rename = "raster:bands")]
    raster_bands: Vec<Band>,
    #[serde(default, rename = "eo:bands")]
    eo_bands: Vec<Band>,
    #[serde(flatten)]
    others: Map<String, Value>,
}

#[derive(Deserialize)]
struct Band {
    name: Option<String>,
    unit: Option<String>,
    data_type: Option<String>,
}

#[derive(Deserialize)]
struct ModelInput {
    #[serde(default)]
    name: String,
    #[serde(default)]
    bands: Vec<ModelBand>,
    input: Structure,
    value_scaling: Option<Vec<Option<Scaling>>>,
    pre_processing_function: Option<Value>,
    // Versions before 1.3.
    norm_type: Option<String>,
    norm_clip: Option<Value>,
    statistics: Option<OneOrMore>,
}

/// Statistics for all bands, or a list for each.
#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMore {
    One(Statistics),
    More(Vec<Statistics>),
}

#[derive(Deserialize)]
#[serde(untagged)]
enum ModelBand {
    Name(String),
    Object { name: String, expression: Option<Value> },
}

#[derive(Deserialize)]
struct Structure {
    shape: Vec<i64>,
    dim_order: Vec<String>,
    data_type: String,
}

#[derive(Deserialize)]
struct ModelOutput {
    #[serde(default)]
    name: String,
    #[serde(default)]
    tasks: Vec<String>,
    post_processing_function: Option<Value>,
    #[serde(flatten)]
    others: Map<String, Value>,
}

/// How the names of Items beside a model end, the first that is there counts; and whether such a file is an Item for
/// certain.
pub(crate) const ENDINGS: [(&str, bool); 2] = [("stac.json", true), ("json", false)];

/// Finds the Item beside a model: `NAME.stac.json`, else a `NAME.json` that is an MLM Item.
///
/// # Errors
///
/// [`Kind::Config`](crate::vocabulary::error::Kind::Config) if a file is there and cannot be read.
pub(crate) fn find(model: &Path) -> Result<Option<(PathBuf, String)>> {
    for (extension, is_ours) in ENDINGS {
        let path = model.with_extension(extension);
        let cannot =
            |cause: std::io::Error| Error::config(format!("cannot read {}", path.display())).because(cause);
        if !path.try_exists().map_err(cannot)? {
            continue;
        }
        if std::fs::metadata(&path).map_err(cannot)?.len() > MAX_BYTES {
            if is_ours {
                return Err(Error::config(format!("{} has more than {MAX_BYTES} bytes", path.display())));
            }
            continue;
        }
        // A JSON file of that name may be anything: another tool's settings, tokens, labels.
        let bytes = std::fs::read(&path).map_err(cannot)?;
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if is_ours || is_mlm(&text) {
            return Ok(Some((path, text)));
        }
    }
    Ok(None)
}

fn is_mlm(text: &str) -> bool {
    let item: Option<Value> = serde_json::from_str(text).ok();
    let Some(Value::Object(item)) = item else { return false };
    let is_mlm = |properties: &Map<String, Value>| properties.keys().any(|key| key.starts_with("mlm:"));
    item.get("type").is_some_and(|kind| kind == "Feature")
        && item.get("properties").and_then(Value::as_object).is_some_and(is_mlm)
}

/// Reads an Item.
///
/// - `size`: of the graph's input, where the Item leaves it open
///
/// # Errors
///
/// [`Kind::Config`](crate::vocabulary::error::Kind::Config): no MLM Item, or one that says what a contract cannot.
pub(crate) fn parse(text: &str, size: GraphSize) -> Result<Mlm> {
    let item: Item = serde_json::from_str(text)
        .map_err(|cause| Error::config("it is not a STAC Item with `mlm:input`").because(cause))?;
    if item.kind != "Feature" {
        return Err(Error::config(format!("it is not a STAC Item, its type is `{}`", item.kind)));
    }
    let Properties { name, input, output, described } = item.properties;
    let model = match <[ModelInput; 1]>::try_from(input) {
        Ok([model]) => model,
        Err(inputs) => {
            return Err(Error::config(format!(
                "`mlm:input` describes {}",
                counted(inputs.len() as u64, "input")
            ))
            .hint("a model takes one tensor of images"));
        }
    };
    let described: Vec<&Described> = std::iter::once(&described).chain(item.assets.values()).collect();
    Ok(Mlm {
        name: name.unwrap_or_else(|| "unnamed".to_owned()),
        input: model.input(&described, size)?,
        features: output
            .iter()
            .filter(|output| output.is_features())
            .map(|output| output.name.clone())
            .collect(),
        outputs: outputs(&output, &described)?,
    })
}

impl Mlm {
    /// Returns what the Item says of the classifier, if anything.
    ///
    /// - `logits`: the output that is wanted, where somebody named one
    ///
    /// # Errors
    ///
    /// [`Kind::Config`](crate::vocabulary::error::Kind::Config) where several outputs list different classes.
    pub(crate) fn classes(&self, logits: Option<&str>) -> Result<Option<&Classes>> {
        let named = self.outputs.iter().find(|output| Some(output.output.as_str()) == logits);
        let first = self.outputs.first();
        if named.is_some()
            || self.outputs.iter().all(|other| first.is_some_and(|first| first.labels == other.labels))
        {
            return Ok(named.or(first));
        }
        let names: Vec<&str> = self.outputs.iter().map(|output| output.output.as_str()).collect();
        Err(Error::config(format!("several outputs list classes: {}", names.join(", ")))
            .hint("name one with `--set model.logits=…`"))
    }
}

impl ModelInput {
    fn input(&self, described: &[&Described], size: GraphSize) -> Result<Input> {
        if let Some(function) = &self.pre_processing_function {
            return Err(unsupported("pre_processing_function", function));
        }
        let bands = self.bands.iter().map(ModelBand::plain_name).collect::<Result<Vec<_>>>()?;
        if bands.is_empty() {
            return Err(Error::config("`mlm:input` names no bands")
                .hint("list them in `bands`, in the model's order"));
        }
        let (layout, height, width) = self.input.axes(bands.len(), size)?;
        let sample_type = match self.input.data_type.as_str() {
            "float32" => SampleType::Float32,
            "uint8" => SampleType::Uint8,
            other => {
                return Err(Error::config(format!("input of data_type `{other}` is not supported"))
                    .hint("float32 and uint8 are supported"));
            }
        };
        let units: Vec<String> = bands.iter().map(|band| unit_of(band, &bands, described)).collect();
        let is_same = units.iter().all(|unit| *unit == units[0]);
        Ok(Input {
            tensor: self.name.clone(),
            layout,
            sample_type,
            unit: units[0].clone(),
            units: (!is_same).then_some(units),
            width,
            height,
            resize: None,
            normalise: self.normalise(bands.len())?,
            bands,
            accept: Accept {
                grey: AcceptGrey::Reject,
                alpha: AcceptAlpha::Reject,
                sixteen_bit: AcceptSixteenBit::Reject,
            },
        })
    }

    fn normalise(&self, num_bands: usize) -> Result<Option<crate::vocabulary::contract::Normalise>> {
        if let Some(scalings) = self.value_scaling.as_ref().filter(|scalings| !scalings.is_empty()) {
            return scaling::normalise(scalings, num_bands);
        }
        if let Some(clip) = self.norm_clip.as_ref().filter(|clip| !clip.is_null()) {
            return Err(unsupported("norm_clip", clip));
        }
        match &self.norm_type {
            None => Ok(None),
            Some(norm_type) => {
                let statistics = match &self.statistics {
                    Some(OneOrMore::One(statistics)) => std::slice::from_ref(statistics),
                    Some(OneOrMore::More(statistics)) => statistics,
                    None => &[],
                };
                scaling::normalise(&scaling::from_statistics(norm_type, statistics)?, num_bands)
            }
        }
    }
}

impl ModelBand {
    fn plain_name(&self) -> Result<String> {
        match self {
            Self::Name(name) | Self::Object { name, expression: None | Some(Value::Null) } => {
                Ok(name.clone())
            }
            Self::Object { name, expression: Some(expression) } => {
                Err(unsupported(&format!("expression of band `{name}`"), expression))
            }
        }
    }
}

impl Structure {
    /// Returns layout, height and width.
    fn axes(&self, num_bands: usize, size: GraphSize) -> Result<(Layout, u32, u32)> {
        let wrong = |why: String| {
            Error::config(format!(
                "an input of shape {:?} in the order {:?} is not supported",
                self.shape, self.dim_order
            ))
            .because(why)
        };
        if self.shape.len() != self.dim_order.len() {
            return Err(wrong("shape and dim_order have different lengths".to_owned()));
        }
        let mut order = String::new();
        let (mut height, mut width) = (None, None);
        for (name, &length) in self.dim_order.iter().zip(&self.shape) {
            match name.to_ascii_lowercase().as_str() {
                "batch" | "b" | "n" => order.push('n'),
                "channel" | "channels" | "band" | "bands" | "c" => {
                    if length != -1 && usize::try_from(length) != Ok(num_bands) {
                        return Err(wrong(format!(
                            "it has {length} {} and names {}",
                            if length == 1 { "channel" } else { "channels" },
                            counted(num_bands as u64, "band")
                        )));
                    }
                    order.push('c');
                }
                "height" | "y" | "h" => {
                    height = u32::try_from(length).ok().filter(|length| *length > 0);
                    order.push('h');
                }
                "width" | "x" | "w" => {
                    width = u32::try_from(length).ok().filter(|length| *length > 0);
                    order.push('w');
                }
                _ => return Err(wrong(format!("the axis `{name}` is not batch, channel, height or width"))),
            }
        }
        let layout =
            match order.as_str() {
                "nchw" => Layout::Nchw,
                "nhwc" => Layout::Nhwc,
                _ => return Err(wrong(
                    "the axes are neither batch, channel, height, width nor batch, height, width, channel"
                        .to_owned(),
                )),
            };
        let (height, width) = (height.or(size.map(|size| size.0)), width.or(size.map(|size| size.1)));
        match (height, width) {
            (Some(height), Some(width)) => Ok((layout, height, width)),
            _ => Err(wrong("neither it nor the graph gives the size of a tile".to_owned())
                .hint("write the size into `shape`, or a contract file beside the model")),
        }
    }
}

/// Returns what a band's samples mean, as far as the Item says.
fn unit_of(band: &str, all: &[String], described: &[&Described]) -> String {
    let lists = described.iter().flat_map(|place| [&place.bands, &place.raster_bands, &place.eo_bands]);
    let found: Vec<&Band> = lists.flatten().filter(|other| other.name.as_deref() == Some(band)).collect();
    if let Some(unit) = found.iter().find_map(|band| band.unit.clone()) {
        return unit;
    }
    let is_eight_bit = found.iter().any(|band| band.data_type.as_deref() == Some("uint8"));
    let is_colour =
        all.len() == 3 && ["red", "green", "blue"].iter().all(|name| all.iter().any(|band| band == name));
    if is_eight_bit && is_colour { "srgb8" } else { "dn" }.to_owned()
}

impl ModelOutput {
    fn is_features(&self) -> bool {
        self.has_task(&["feature-extraction", "similarity-search", "embedding"])
    }

    fn has_task(&self, names: &[&str]) -> bool {
        self.tasks.iter().any(|task| names.contains(&task.as_str()))
    }

    fn is_of_whole_tiles(&self) -> bool {
        self.has_task(&["classification", "scene-classification", "regression"])
    }

    fn classes(&self, labels: Option<Vec<String>>) -> Result<Classes> {
        let activation = match self.post_processing_function.as_ref().filter(|function| !function.is_null()) {
            Some(function) => Some(activation_of(function)?),
            None => self.has_task(&["regression"]).then_some(Activation::None),
        };
        Ok(Classes { output: self.name.clone(), labels, activation })
    }
}

/// Returns the outputs that may be the classifier: those with labels before others, and of several those about
/// whole tiles. Labels may also stand in the Item's properties or with its model's asset.
fn outputs(outputs: &[ModelOutput], described: &[&Described]) -> Result<Vec<Classes>> {
    let mut found = Vec::new();
    for output in outputs {
        let labels = classes::of_output(&output.others)?;
        if labels.is_some() || !output.is_features() {
            found.push((output, labels));
        }
    }
    if found.iter().any(|(_, labels)| labels.is_some()) {
        found.retain(|(_, labels)| labels.is_some());
    }
    if found.iter().any(|(output, _)| output.is_of_whole_tiles()) {
        found.retain(|(output, _)| output.is_of_whole_tiles());
    }
    if found.iter().any(|(_, labels)| labels.is_some()) {
        return found.into_iter().map(|(output, labels)| output.classes(labels)).collect();
    }
    let labels = labels_beside(described)?;
    match (&found[..], labels) {
        ([(output, _)], labels) => Ok(vec![output.classes(labels)?]),
        (_, None) => Ok(Vec::new()),
        (_, labels) => Ok(vec![Classes { output: String::new(), labels, activation: None }]),
    }
}

/// - `described`: the properties, then the assets
fn labels_beside(described: &[&Described]) -> Result<Option<Vec<String>>> {
    for (at, place) in described.iter().enumerate() {
        let is_model = || {
            let roles = place.others.get("roles").and_then(Value::as_array);
            place.others.contains_key("mlm:artifact_type")
                || roles.is_some_and(|roles| roles.contains(&"mlm:model".into()))
        };
        if at == 0 || is_model() {
            let labels = classes::of_place(&place.others)?;
            if labels.is_some() {
                return Ok(labels);
            }
        }
    }
    Ok(None)
}

fn activation_of(function: &Value) -> Result<Activation> {
    let text = function.get("expression").unwrap_or(function).to_string().to_ascii_lowercase();
    match (text.contains("softmax"), text.contains("sigmoid")) {
        (true, false) if !text.contains("log") => Ok(Activation::Softmax),
        (false, true) if !text.contains("log") => Ok(Activation::Sigmoid),
        _ => Err(unsupported("post_processing_function", function)),
    }
}

/// What a contract cannot express.
fn unsupported(what: &str, value: &Value) -> Error {
    const MOST: usize = 200;
    let text: String = value.to_string().chars().take(MOST).collect();
    Error::config(format!("`{what}` cannot be expressed in a contract: {text}"))
        .hint("write a contract file beside the model, and apply this step to the tiles beforehand")
}

#[cfg(test)]
mod tests;
