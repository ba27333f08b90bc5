//! A contract file to begin with: what the graph tells, with a comment where it tells nothing.
//!
//! Where a contract is known or can be assumed, it is that one, and loads as it is. Otherwise lines of what nobody can
//! know are commented out: such a file is refused until they are filled in.

use std::path::Path;

use super::build::imagenet;
use super::graph::{Axis, Graph, TensorInfo, type_name};
use super::load::{ContractOrigin, Overrides, assumed_classifier, known_contract, single_input};
use super::network::Network;
use super::onnx::{FLOAT, GraphProto, UINT8};
use crate::vocabulary::contract::{
    Accept, AcceptAlpha, AcceptGrey, AcceptSixteenBit, Contract, Input, Layout, Normalise, Output,
    SampleType, VERSION,
};
use crate::vocabulary::error::{Error, Result};

/// The text of a contract file, and what somebody has to fill in.
#[derive(Debug)]
pub struct Skeleton {
    /// TOML.
    pub text: String,
    /// Keys that are commented out, such as `input.bands`; empty if the file loads as it is.
    pub unknown: Vec<String>,
    /// Why the graph alone was asked: no contract, or none that fits.
    pub why: Option<Error>,
}

/// Names in a graph may hold anything; none of it ends a comment.
fn one_line(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect()
}

/// What is to be said of a line of the file.
struct Note {
    section: &'static str,
    /// Empty: the whole section.
    key: &'static str,
    is_unknown: bool,
    text: String,
}

impl Note {
    fn on(section: &'static str, key: &'static str, text: impl Into<String>) -> Self {
        Self { section, key, is_unknown: false, text: text.into() }
    }

    fn dotted_key(&self) -> String {
        let parts = [self.section, self.key].into_iter().filter(|part| !part.is_empty());
        parts.collect::<Vec<_>>().join(".")
    }

    fn unknown(section: &'static str, key: &'static str, text: impl Into<String>) -> Self {
        Self { is_unknown: true, ..Self::on(section, key, text) }
    }
}

impl Skeleton {
    /// Writes the contract of an ONNX file, as far as it is known.
    ///
    /// An empty contract file beside the model counts as none: a shell makes it before the answer goes into it.
    ///
    /// # Errors
    ///
    /// [`Kind::Config`](crate::vocabulary::error::Kind::Config): unreadable, no ONNX, or a graph of several inputs.
    pub fn of(path: &Path, overrides: &Overrides) -> Result<Self> {
        let Network { proto, .. } = Network::read(path)?;
        let why = match known_contract(path, &proto, overrides) {
            Ok((contract, ContractOrigin::Assumed)) => {
                return Self::new("", &contract, &assumed_notes(&contract));
            }
            Ok((contract, _)) => return Self::new("", &contract, &[]),
            Err(error) => Some(error),
        };
        let empty = GraphProto::default();
        let graph = Graph::new(proto.graph.as_ref().unwrap_or(&empty));
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let (contract, notes) = guessed(name, &graph, overrides)?;
        let outputs: Vec<String> =
            graph.outputs().iter().map(|output| format!("{} {output}", output.name)).collect();
        let head = format!("# Outputs of the graph: {}\n", one_line(&outputs.join("; ")));
        Ok(Self { why, ..Self::new(&head, &contract, &notes)? })
    }

    fn new(head: &str, contract: &Contract, notes: &[Note]) -> Result<Self> {
        let mut text = head.to_owned();
        let mut section = String::new();
        for line in contract.to_toml()?.lines() {
            let header = line.strip_prefix('[').and_then(|line| line.strip_suffix(']'));
            if let Some(name) = header {
                name.clone_into(&mut section);
            }
            let key = if header.is_some() { "" } else { line.split(" = ").next().unwrap_or_default() };
            let note = |key: &str| notes.iter().find(|note| note.section == section && note.key == key);
            let on_line = note(key).filter(|_| !key.is_empty() || header.is_some());
            let is_unknown = |note: Option<&Note>| note.is_some_and(|note| note.is_unknown);
            if !line.is_empty() && (is_unknown(note("")) || is_unknown(on_line)) {
                text.push_str("# ");
            }
            text.push_str(line);
            if let Some(note) = on_line {
                text.push_str("  # ");
                text.push_str(&one_line(&note.text));
            }
            text.push('\n');
        }
        let unknown = notes.iter().filter(|note| note.is_unknown).map(Note::dotted_key).collect();
        Ok(Self { text, unknown, why: None })
    }
}

/// What nobody wrote of a model for which `ImageNet`'s contract is assumed.
fn assumed_notes(contract: &Contract) -> Vec<Note> {
    let mut notes = vec![
        Note::on("input", "bands", "assumed"),
        Note::on("input", "unit", "assumed: 8-bit display values"),
        Note::on("input.resize", "", "assumed; leave the section out to reject tiles of another size"),
        Note::on("input.normalise", "", "assumed: ImageNet's"),
        Note::on("output", "embedding", "the input of the last matrix product"),
    ];
    if let Some(classifier) = &contract.output.classifier {
        let scores = "assumed; softmax: one class per tile, sigmoid: independent classes, none: the graph's \
             own values";
        notes.push(Note::on("output.classifier", "activation", scores));
        notes.push(Note::on("output.classifier", "num_classes", labels_wanted(classifier.num_classes)));
    }
    notes
}

fn labels_wanted(num_classes: usize) -> String {
    let names = if num_classes == 1 { "name" } else { "names" };
    format!("add `labels = [\"…\"]` with {num_classes} {names} for the column `label`")
}

/// Fills in what the graph tells of a model that has no contract.
fn guessed(name: String, graph: &Graph<'_>, overrides: &Overrides) -> Result<(Contract, Vec<Note>)> {
    let mut notes = Vec::new();
    let input = guessed_input(&single_input(graph)?, &mut notes);
    let output = guessed_output(graph, overrides, &mut notes);
    Ok((Contract { version: VERSION, name, model_digest: None, input, output, quantisation: None }, notes))
}

fn guessed_input(tensor: &TensorInfo, notes: &mut Vec<Note>) -> Input {
    let mut unknown = |key, text: String| notes.push(Note::unknown("input", key, text));
    let axes = match tensor.shape.as_deref() {
        Some([_, a, b, c]) => [a, b, c].map(length),
        _ => [None; 3],
    };
    let layout = layout_of(axes);
    if layout.is_none() {
        unknown("layout", format!("fill in: nchw or nhwc; the graph's input is {tensor}"));
    }
    let [num_bands, height, width] = match layout {
        Some(Layout::Nhwc) => [axes[2], axes[0], axes[1]],
        Some(Layout::Nchw) => axes,
        None => [None; 3],
    };
    let sample_type = match tensor.elem_type {
        Some(FLOAT) => SampleType::Float32,
        Some(UINT8) => SampleType::Uint8,
        other => {
            unknown("sample_type", format!("fill in: float32 or uint8; the graph's is {}", type_name(other)));
            SampleType::Float32
        }
    };
    let how_many = num_bands.map_or_else(|| "the".to_owned(), |bands| bands.to_string());
    unknown("bands", format!("fill in: {how_many} names in the model's order"));
    unknown("unit", "fill in the unit of the samples: srgb8, dn (as stored), reflectance, …".to_owned());
    for (key, length) in [("width", width), ("height", height)] {
        if length.is_none() {
            unknown(key, "fill in: pixels; the graph takes any".to_owned());
        }
    }
    let num_bands = num_bands.unwrap_or(3) as usize;
    // What to fill in is nobody's to say; of three bands this is what most likely has to be.
    let rgb = (num_bands == 3).then(|| ["red", "green", "blue"].map(str::to_owned).to_vec());
    let normalise = (sample_type == SampleType::Float32).then(|| {
        let how = "fill in (sample × scale − mean) / std per band; leave it out only if the graph normalises";
        notes.push(Note::unknown("input.normalise", "", how));
        if rgb.is_some() {
            return imagenet();
        }
        let (mean, std) = (vec![0.0; num_bands], vec![1.0; num_bands]);
        Normalise { scale: 1.0.into(), clamp: None, mean, std }
    });
    notes.push(Note::on(
        "input.accept",
        "",
        "other images to accept: grey as \"replicate\", alpha as \"drop\"",
    ));
    Input {
        tensor: tensor.name.clone(),
        layout: layout.unwrap_or(Layout::Nchw),
        sample_type,
        unit: if rgb.is_some() { "srgb8" } else { "dn" }.to_owned(),
        bands: rgb.unwrap_or_else(|| vec![String::new(); num_bands]),
        units: None,
        width: width.unwrap_or(224),
        height: height.unwrap_or(224),
        resize: None,
        normalise,
        accept: Accept {
            grey: AcceptGrey::Reject,
            alpha: AcceptAlpha::Reject,
            sixteen_bit: AcceptSixteenBit::Reject,
        },
    }
}

fn length(axis: &Axis) -> Option<u32> {
    match axis {
        Axis::Fixed(length) => u32::try_from(*length).ok(),
        Axis::Named(_) | Axis::Unknown => None,
    }
}

/// Tells which of three axes are height and width: those that are alike, or that vary.
fn layout_of(axes: [Option<u32>; 3]) -> Option<Layout> {
    /// More bands than that are rare, and fewer pixels per side are.
    const MAX_BANDS: u32 = 16;
    let may_be_bands = |axis: Option<u32>| axis.is_some_and(|length| length <= MAX_BANDS);
    match axes {
        [a, b, c] if a != b && b == c && a.is_some() => Some(Layout::Nchw),
        [a, b, c] if a == b && b != c && c.is_some() => Some(Layout::Nhwc),
        [a, _, c] if may_be_bands(a) && !may_be_bands(c) => Some(Layout::Nchw),
        [a, _, c] if may_be_bands(c) && !may_be_bands(a) => Some(Layout::Nhwc),
        _ => None,
    }
}

fn guessed_output(graph: &Graph<'_>, overrides: &Overrides, notes: &mut Vec<Note>) -> Output {
    let outputs = graph.outputs();
    let found: Vec<_> = outputs
        .iter()
        .filter_map(|output| Some((output.name.clone(), graph.classifier_before(&output.name)?)))
        .collect();
    let only = if let [only] = &found[..] { Some(only) } else { None };
    let logits = overrides.logits.clone().or_else(|| only.map(|(logits, _)| logits.clone()));
    let before = logits.as_ref().and_then(|logits| graph.classifier_before(logits));
    let embedding = overrides.embedding.clone().or_else(|| before.map(|found| found.embedding));
    if embedding.is_none() {
        notes.push(Note::unknown(
            "output",
            "embedding",
            "fill in: the tensor with the pooled features, [N, length]",
        ));
    }
    let embedding_length = embedding.as_ref().and_then(|embedding| graph.num_features(embedding));
    if embedding_length.is_none() {
        notes.push(Note::unknown("output", "embedding_length", "fill in: length of an embedding"));
    }
    let classifier = logits.map(|logits| {
        let num_classes = graph.num_features(&logits);
        match num_classes {
            None => notes.push(Note::unknown(
                "output.classifier",
                "num_classes",
                "fill in: number of logits per tile",
            )),
            Some(classes) => notes.push(Note::on("output.classifier", "num_classes", labels_wanted(classes))),
        }
        notes.push(Note::on("output.classifier", "activation", "assumed; softmax, sigmoid or none"));
        assumed_classifier(graph, &logits, num_classes.unwrap_or(2))
    });
    let first = outputs.into_iter().next().map(|output| output.name);
    Output {
        embedding: embedding.or(first).unwrap_or_default(),
        embedding_length: embedding_length.unwrap_or(1),
        classifier,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(a: Option<u32>, b: Option<u32>, c: Option<u32>) -> Option<Layout> {
        layout_of([a, b, c])
    }

    #[test]
    fn the_axes_that_are_alike_are_height_and_width() {
        assert_eq!(layout(Some(3), Some(224), Some(224)), Some(Layout::Nchw));
        assert_eq!(layout(Some(200), Some(64), Some(64)), Some(Layout::Nchw));
        assert_eq!(layout(Some(224), Some(224), Some(3)), Some(Layout::Nhwc));
        assert_eq!(layout(Some(9), None, None), Some(Layout::Nchw));
        assert_eq!(layout(None, None, Some(200)), Some(Layout::Nhwc));
        assert_eq!(layout(Some(4), Some(64), Some(128)), Some(Layout::Nchw));
        assert_eq!(layout(Some(64), Some(128), Some(4)), Some(Layout::Nhwc));
        for unclear in
            [[None; 3], [Some(64); 3], [Some(8), Some(16), Some(4)], [Some(300), Some(200), Some(100)]]
        {
            assert_eq!(layout_of(unclear), None, "{unclear:?}");
        }
    }

    /// Whatever names a graph has, no line of the file is theirs to write.
    #[test]
    fn a_comment_ends_where_its_line_does() {
        let contract = "contract = 1\nname = \"n\"\n[input]\ntensor = \"x\"\nlayout = \"nchw\"\nsample_type = \"uint8\"\n\
                        bands = [\"a\"]\nunit = \"dn\"\nwidth = 8\nheight = 8\n[output]\nembedding = \"e\"\nembedding_length = 4\n";
        let contract = Contract::from_toml(contract).unwrap();
        let notes = [
            Note::on("input", "width", "axis `a\nunit = \"evil\"`"),
            Note::unknown("output", "", "all of it"),
        ];
        let skeleton = Skeleton::new("", &contract, &notes).unwrap();
        assert!(skeleton.text.contains("width = 8  # axis `a unit = \"evil\"`\n"), "{}", skeleton.text);
        assert!(
            skeleton.text.contains("# [output]  # all of it\n# embedding = \"e\"\n# embedding_length = 4\n"),
            "{}",
            skeleton.text
        );
        assert_eq!(skeleton.unknown, ["output"]);
    }
}
