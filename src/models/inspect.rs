//! Says what an ONNX file holds: for `tilefleet model inspect`.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use serde::Serialize;

use super::graph::{Graph, TensorInfo};
use super::load::{ContractOrigin, Overrides, load};
use super::network::Network;
use super::onnx::{GraphProto, ModelProto};
use crate::models::precision_of;
use crate::vocabulary::contract::Contract;
use crate::vocabulary::contract::precision::Precision;
use crate::vocabulary::error::{Error, Result};
use crate::vocabulary::words::counted;

/// What an ONNX file holds.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Path as given.
    pub file: String,
    /// Size of the file, and of those that its weights lie in.
    pub num_bytes: usize,
    /// What identifies it: SHA-256 of the file, in hex; if weights lie in other files, that of all their digests.
    pub digest: String,
    /// Tool that wrote it, with its version if it says.
    pub producer: String,
    /// Version of the file format.
    pub ir_version: i64,
    /// Version of each operator set by domain; ONNX's own is `ai.onnx`.
    pub opsets: BTreeMap<String, i64>,
    /// Inputs of the graph.
    pub inputs: Vec<TensorInfo>,
    /// Outputs of the graph.
    pub outputs: Vec<TensorInfo>,
    /// Number of elements of all initializers.
    pub num_parameters: u64,
    /// Precision of the network's arithmetic.
    pub precision: Precision,
    /// How often each operator occurs.
    pub operators: BTreeMap<String, usize>,
    /// Whether a run could use it as it is.
    pub usable: bool,
    /// The contract, if there is one that fits.
    pub contract: Option<ContractReport>,
    /// Why a run could not use it.
    #[serde(serialize_with = "serialize_error")]
    pub unusable: Option<Error>,
}

/// Message, causes and hints, as in messages of the log format `json`.
#[expect(clippy::ref_option, reason = "serde passes the field by reference")]
fn serialize_error<S: serde::Serializer>(error: &Option<Error>, serializer: S) -> Result<S::Ok, S::Error> {
    let parts = error.as_ref().map(|error| {
        serde_json::json!({"message": error.to_string(), "because": error.causes(), "hints": error.hints()})
    });
    parts.serialize(serializer)
}

/// The contract of a usable model.
#[derive(Clone, Debug, Serialize)]
pub struct ContractReport {
    /// Where it comes from.
    pub origin: ContractOrigin,
    /// SHA-256 of its canonical JSON, in hex.
    pub digest: String,
    /// What of it nobody said, in words.
    pub assumed: Vec<String>,
    /// The contract.
    #[serde(flatten)]
    pub contract: Contract,
}

impl Report {
    /// Reads a file. That a model has no contract, or does not fit it, is a finding and not an error.
    ///
    /// - `overrides`: what a pipeline would name
    ///
    /// # Errors
    ///
    /// [`Kind::Config`](crate::vocabulary::error::Kind::Config): unreadable, or no ONNX.
    pub fn of(path: &Path, overrides: &Overrides) -> Result<Self> {
        let network = Network::read(path)?;
        let mut report = Self::of_graph(path, &network.proto);
        report.num_bytes = network.num_bytes;
        report.digest.clone_from(&network.digest);
        // Reading again costs less than holding a large model twice.
        drop(network);
        match load(path, overrides) {
            Ok(model) => {
                let (origin, digest, assumed) = (model.contract_origin, model.contract_digest, model.assumed);
                report.usable = true;
                report.contract = Some(ContractReport { origin, digest, assumed, contract: model.contract });
            }
            Err(error) => report.unusable = Some(error),
        }
        Ok(report)
    }

    /// Says what a run would say of the model.
    ///
    /// # Errors
    ///
    /// That of [`load`].
    pub fn check(&self) -> Result<()> {
        self.unusable.as_ref().map_or(Ok(()), |error| Err(error.again()))
    }

    fn of_graph(path: &Path, proto: &ModelProto) -> Self {
        let empty = GraphProto::default();
        let graph_proto = proto.graph.as_ref().unwrap_or(&empty);
        let graph = Graph::new(graph_proto);
        let mut operators = BTreeMap::new();
        for node in &graph_proto.node {
            *operators.entry(node.op_type().to_owned()).or_insert(0) += 1;
        }
        let opsets = proto.opset_import.iter().map(|opset| {
            let domain = if opset.is_onnx() { "ai.onnx" } else { opset.domain() };
            (domain.to_owned(), opset.version.unwrap_or_default())
        });
        Self {
            file: path.display().to_string(),
            num_bytes: 0,
            digest: String::new(),
            producer: format!("{} {}", proto.producer_name(), proto.producer_version()).trim().to_owned(),
            ir_version: proto.ir_version.unwrap_or_default(),
            opsets: opsets.collect(),
            inputs: graph.inputs(),
            outputs: graph.outputs(),
            num_parameters: num_parameters(graph_proto),
            precision: precision_of(graph_proto),
            operators,
            usable: false,
            contract: None,
            unusable: None,
        }
    }
}

fn num_parameters(graph: &GraphProto) -> u64 {
    let elements = |dims: &[i64]| dims.iter().fold(1_u64, |all, &dim| all.saturating_mul(dim.unsigned_abs()));
    graph.initializer.iter().fold(0, |sum, tensor| sum.saturating_add(elements(&tensor.dims)))
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let opsets: Vec<String> =
            self.opsets.iter().map(|(domain, version)| format!("{domain} {version}")).collect();
        let operators: Vec<String> =
            self.operators.iter().map(|(name, count)| format!("{name} {count}")).collect();
        writeln!(f, "file        {}", self.file)?;
        writeln!(f, "size        {:.1} MB", self.num_bytes as f64 / 1e6)?;
        writeln!(f, "sha256      {}", self.digest)?;
        writeln!(f, "producer    {}", if self.producer.is_empty() { "unknown" } else { &self.producer })?;
        writeln!(f, "format      IR {}, opset {}", self.ir_version, opsets.join(", "))?;
        writeln!(f, "operators   {} ({})", self.operators.values().sum::<usize>(), operators.join(", "))?;
        writeln!(f, "parameters  {}", grouped(self.num_parameters))?;
        writeln!(f, "precision   {}", self.precision)?;
        for (what, tensors) in [("input", &self.inputs), ("output", &self.outputs)] {
            for tensor in tensors {
                writeln!(f, "{what:<12}{}: {tensor}", tensor.name)?;
            }
        }
        match (&self.contract, &self.unusable) {
            (Some(contract), _) => {
                writeln!(f, "usable      yes")?;
                contract.fmt(f)
            }
            (None, Some(error)) => {
                let reason = error.causes().pop().unwrap_or_else(|| error.to_string());
                writeln!(f, "usable      no: {}\ncontract    none", reason.lines().next().unwrap_or_default())
            }
            (None, None) => Ok(()),
        }
    }
}

impl fmt::Display for ContractReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let origin = match self.origin {
            ContractOrigin::File => "from the file beside the model",
            ContractOrigin::Metadata => "from the model's metadata",
            ContractOrigin::Stac => "from the STAC Item beside the model",
            ContractOrigin::Assumed => "ASSUMED: there is none, so ImageNet's is used",
        };
        writeln!(f, "contract    {}, {origin}", self.contract.name)?;
        writeln!(f, "  sha256    {}", self.digest)?;
        for assumption in &self.assumed {
            writeln!(f, "  assumed   {assumption}")?;
        }
        self.fmt_input(f)?;
        self.fmt_output(f)?;
        match &self.contract.quantisation {
            Some(record) => writeln!(
                f,
                "  quantised for {}, {} in int8, {} float; embedding cosine {:.5} on {}",
                record.target,
                counted(record.int8_layers as u64, "layer"),
                record.float_layers.len(),
                record.cosine_mean,
                counted(record.held_out_tiles as u64, "tile")
            ),
            None => Ok(()),
        }
    }
}

impl ContractReport {
    fn fmt_input(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let input = &self.contract.input;
        match &input.units {
            Some(units) => {
                let bands: Vec<String> =
                    input.bands.iter().zip(units).map(|(band, unit)| format!("{band} in {unit}")).collect();
                writeln!(f, "  bands     {}", bands.join(", "))?;
            }
            None => writeln!(f, "  bands     {} in {}", input.bands.join(", "), input.unit)?,
        }
        match input.resize {
            Some(resize) => {
                let exact = if resize.keep_exact { ", unless it already has the size" } else { "" };
                let (short_side, filter) = (resize.short_side, resize.interpolation);
                writeln!(
                    f,
                    "  size      {}×{}, short side to {short_side} ({filter}){exact}",
                    input.width, input.height
                )?;
            }
            None => writeln!(f, "  size      {}×{}, other sizes are rejected", input.width, input.height)?,
        }
        match &input.normalise {
            Some(normalise) => {
                let scaled = format!("sample × {}", normalise.scale);
                let clamped = match normalise.clamp {
                    Some([least, greatest]) => format!("clamp({scaled}, {least}, {greatest})"),
                    None => scaled,
                };
                writeln!(f, "  normalise ({clamped} − {:?}) / {:?}", normalise.mean, normalise.std)?;
            }
            None => writeln!(f, "  normalise in the graph, or not at all")?,
        }
        Ok(())
    }

    fn fmt_output(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let output = &self.contract.output;
        writeln!(f, "  embedding {}, {} features", output.embedding, output.embedding_length)?;
        match &output.classifier {
            Some(classifier) => {
                let labels = if classifier.labels.is_some() { "with labels" } else { "without labels" };
                let (logits, num_classes) = (&classifier.logits, classifier.num_classes);
                let classes = counted(num_classes as u64, "class");
                writeln!(
                    f,
                    "  logits    {logits}, {classes} {labels}, activation {}",
                    classifier.activation
                )?;
            }
            None => writeln!(f, "  logits    none (headless)")?,
        }
        Ok(())
    }
}

/// Writes a number with a separator every three digits.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::build::{BuildOptions, build};
    use crate::models::resnet::Architecture;
    use crate::models::weights::Weights;

    #[test]
    fn a_built_model_reports_what_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.onnx");
        let weights = Weights::from_seed(1, Architecture::Resnet18, 3, Some(5));
        build(&weights, &BuildOptions::new(Architecture::Resnet18, "toy", 3))
            .unwrap()
            .write(&path, false)
            .unwrap();
        let report = Report::of(&path, &Overrides::default()).unwrap();
        report.check().unwrap();
        assert_eq!(report.operators["Conv"], 20);
        assert_eq!(report.opsets["ai.onnx"], 17);
        let text = report.to_string();
        assert!(text.contains("input       input: uint8 [N, 224, 224, 3]"), "{text}");
        assert!(text.contains("contract    toy, from the file beside the model"), "{text}");
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["contract"]["origin"], "file");
        assert_eq!(json["outputs"][1]["shape"], serde_json::json!(["N", 5]));
    }

    #[test]
    fn numbers_are_grouped() {
        assert_eq!(grouped(60_192_808), "60,192,808");
        assert_eq!(grouped(999), "999");
    }
}
