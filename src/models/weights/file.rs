//! Parameters from a safetensors file with torchvision's or timm's names.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use half::{bf16, f16};
use safetensors::tensor::{Metadata, TensorInfo};
use safetensors::{Dtype, SafeTensors};

use crate::models::resnet::{Architecture, ParameterSpec};
use crate::vocabulary::error::{Error, Result};

/// How many names an error lists before it says "and so many more".
const MAX_NAMES: usize = 5;

/// The parameters in a safetensors file, checked against an architecture.
#[derive(Debug)]
pub struct FileWeights {
    path: PathBuf,
    bytes: Bytes,
    data_start: usize,
    metadata: Metadata,
    prefix: String,
    in_channels: usize,
    num_classes: Option<usize>,
    ignored: Vec<String>,
}

impl FileWeights {
    /// Reads the file and compares it with the architecture; see [`super::Weights::from_file`].
    ///
    /// # Errors
    ///
    /// [`Kind::Config`](crate::vocabulary::error::Kind::Config): unreadable, no safetensors, tensors missing, unknown,
    /// of another shape or of a type that holds no real numbers.
    pub fn open(path: &Path, architecture: Architecture, prefix: Option<&str>) -> Result<Self> {
        let bytes = std::fs::read(path).map_err(|cause| {
            Error::config(format!("cannot read weights {}", path.display()))
                .because(cause)
                .hint("give a safetensors file, or --seed N for random weights")
        })?;
        Self::from_bytes(path, bytes.into(), architecture, prefix)
    }

    fn from_bytes(
        path: &Path,
        bytes: Bytes,
        architecture: Architecture,
        prefix: Option<&str>,
    ) -> Result<Self> {
        // The whole is checked here, once: offsets are in order and within the file.
        SafeTensors::deserialize(&bytes).map_err(|cause| not_safetensors(path, cause))?;
        let (header_bytes, metadata) =
            SafeTensors::read_metadata(&bytes).map_err(|cause| not_safetensors(path, cause))?;
        let names: BTreeSet<String> = metadata.tensors().into_keys().collect();
        let prefix = match prefix {
            Some(prefix) => prefix.to_owned(),
            None => find_prefix(path, &names)?,
        };
        let mut weights = Self {
            path: path.to_owned(),
            data_start: 8 + header_bytes,
            bytes,
            metadata,
            prefix,
            in_channels: 0,
            num_classes: None,
            ignored: Vec::new(),
        };
        weights.in_channels = weights.axis_length("conv1.weight", 1)?;
        if weights.info("fc.weight").is_some() || weights.info("fc.bias").is_some() {
            weights.num_classes = Some(weights.axis_length("fc.weight", 0)?);
        }
        let parameters = architecture.parameters(weights.in_channels, weights.num_classes);
        weights.check(architecture, &names, &parameters)?;
        Ok(weights)
    }

    /// Returns the number of input channels of the first convolution.
    pub fn in_channels(&self) -> usize {
        self.in_channels
    }

    /// Returns the number of classes; `None` where the file has no `fc`.
    pub fn num_classes(&self) -> Option<usize> {
        self.num_classes
    }

    /// Returns what stands before the names in the file, such as `module.`.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Returns the tensors that lie outside the prefix and are not used, such as a projection head.
    pub fn ignored(&self) -> &[String] {
        &self.ignored
    }

    /// Returns the elements of a parameter, row-major.
    ///
    /// # Errors
    ///
    /// [`Kind::Config`](crate::vocabulary::error::Kind::Config) where an element is not a finite number.
    pub fn tensor(&self, parameter: &str) -> Result<Vec<f64>> {
        let info = self.info(parameter).ok_or_else(|| self.missing(parameter))?;
        let (start, end) = info.data_offsets;
        let raw = &self.bytes[self.data_start + start..self.data_start + end];
        let elements = f64_elements(raw, info.dtype).ok_or_else(|| self.wrong_type(parameter, info.dtype))?;
        if elements.iter().any(|element| !element.is_finite()) {
            let name = self.full_name(parameter);
            return Err(self.error(&format!("tensor {name} holds values that are not finite numbers")));
        }
        Ok(elements)
    }

    fn full_name(&self, parameter: &str) -> String {
        format!("{}{parameter}", self.prefix)
    }

    fn info(&self, parameter: &str) -> Option<&TensorInfo> {
        self.metadata.info(&self.full_name(parameter))
    }

    fn axis_length(&self, parameter: &str, axis: usize) -> Result<usize> {
        let info = self.info(parameter).ok_or_else(|| self.missing(parameter))?;
        info.shape.get(axis).copied().filter(|&length| length > 0).ok_or_else(|| {
            self.error(&format!("tensor {} has shape {:?}", self.full_name(parameter), info.shape))
        })
    }

    /// Holds names, shapes and types against the architecture.
    fn check(
        &mut self,
        architecture: Architecture,
        names: &BTreeSet<String>,
        parameters: &[ParameterSpec],
    ) -> Result<()> {
        let wanted: BTreeSet<String> =
            parameters.iter().map(|parameter| self.full_name(&parameter.name)).collect();
        let missing: Vec<&String> = wanted.difference(names).collect();
        let others: Vec<&String> = names.difference(&wanted).filter(|name| !is_counter(name)).collect();
        let (unknown, ignored): (Vec<&String>, Vec<&String>) =
            others.into_iter().partition(|name| name.starts_with(&self.prefix));
        if !missing.is_empty() {
            let error =
                self.error(&format!("{architecture} needs {}, which the file does not have", list(&missing)));
            return Err(error.hint(self.advice(names)));
        }
        if !unknown.is_empty() {
            let error =
                self.error(&format!("the file has {}, which {architecture} does not have", list(&unknown)));
            return Err(error.hint(self.advice(names)));
        }
        for parameter in parameters {
            self.check_tensor(parameter)?;
        }
        self.ignored = ignored.into_iter().cloned().collect();
        Ok(())
    }

    fn check_tensor(&self, parameter: &ParameterSpec) -> Result<()> {
        let info = self.info(&parameter.name).ok_or_else(|| self.missing(&parameter.name))?;
        if info.shape != parameter.shape {
            return Err(self.error(&format!(
                "tensor {} has shape {:?}, expected {:?}",
                self.full_name(&parameter.name),
                info.shape,
                parameter.shape
            )));
        }
        if f64_elements(&[], info.dtype).is_none() {
            return Err(self.wrong_type(&parameter.name, info.dtype));
        }
        Ok(())
    }

    /// Says which architecture the file holds, if it is one that we know.
    fn advice(&self, names: &BTreeSet<String>) -> String {
        let holds = |architecture: Architecture| {
            let convolutions = architecture.convolutions(self.in_channels);
            let blocks = names.iter().filter(|name| name.starts_with(&self.prefix) && is_convolution(name));
            convolutions.iter().all(|conv| {
                self.info(&format!("{}.weight", conv.conv)).is_some_and(|info| info.shape == conv.shape())
            }) && blocks.count() == convolutions.len()
        };
        match Architecture::ALL.into_iter().find(|&architecture| holds(architecture)) {
            Some(architecture) => format!("the file has the convolutions of {architecture}"),
            None => "give the weights of a plain ResNet with the names of torchvision or timm".to_owned(),
        }
    }

    fn missing(&self, parameter: &str) -> Error {
        self.error(&format!("the file has no tensor {}", self.full_name(parameter)))
    }

    fn wrong_type(&self, parameter: &str, dtype: Dtype) -> Error {
        let name = self.full_name(parameter);
        self.error(&format!("tensor {name} is {dtype:?}, expected F64, F32, F16 or BF16"))
    }

    fn error(&self, what: &str) -> Error {
        Error::config(format!("weights {} do not fit: {what}", self.path.display()))
    }
}

fn not_safetensors(path: &Path, cause: safetensors::SafeTensorError) -> Error {
    Error::config(format!("{} is not a whole safetensors file", path.display()))
        .because(cause)
        .hint("convert other formats with the Python package `safetensors`, for instance `save_file(model.state_dict(), ...)`")
}

/// Finds what stands before the names, such as `module.` or `backbone.`.
fn find_prefix(path: &Path, names: &BTreeSet<String>) -> Result<String> {
    let candidates: Vec<&str> = names
        .iter()
        .filter_map(|name| name.strip_suffix("conv1.weight"))
        .filter(|prefix| {
            let has = |rest: &str| names.contains(&format!("{prefix}{rest}"));
            has("bn1.weight") && has("layer1.0.conv1.weight") && has("layer4.0.conv1.weight")
        })
        .collect();
    match candidates[..] {
        [prefix] => Ok(prefix.to_owned()),
        [] => Err(Error::config(format!("{} does not contain a ResNet", path.display())).hint(
            "expected names are those of torchvision and timm, such as conv1.weight, bn1.weight and \
             layer1.0.conv1.weight, with any prefix",
        )),
        _ => Err(Error::config(format!("{} contains several ResNets", path.display()))
            .hint(format!("choose one with --prefix: {}", candidates.join(", ")))),
    }
}

fn is_counter(name: &str) -> bool {
    name.ends_with("num_batches_tracked")
}

fn is_convolution(name: &str) -> bool {
    name.rsplit('.').nth(1).is_some_and(|layer| layer.starts_with("conv"))
        || name.ends_with("downsample.0.weight")
}

/// Names the first few.
fn list(names: &[&String]) -> String {
    let shown: Vec<&str> = names.iter().take(MAX_NAMES).map(|name| name.as_str()).collect();
    let more = names.len().saturating_sub(MAX_NAMES);
    if more == 0 { shown.join(", ") } else { format!("{} and {more} more", shown.join(", ")) }
}

/// Widens little-endian elements; `None` for a type that holds no real numbers.
fn f64_elements(raw: &[u8], dtype: Dtype) -> Option<Vec<f64>> {
    Some(match dtype {
        Dtype::F64 => raw.as_chunks().0.iter().map(|&chunk| f64::from_le_bytes(chunk)).collect(),
        Dtype::F32 => raw.as_chunks().0.iter().map(|&chunk| f32::from_le_bytes(chunk).into()).collect(),
        Dtype::F16 => raw.as_chunks().0.iter().map(|&chunk| f16::from_le_bytes(chunk).into()).collect(),
        Dtype::BF16 => raw.as_chunks().0.iter().map(|&chunk| bf16::from_le_bytes(chunk).into()).collect(),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use safetensors::tensor::TensorView;

    use super::*;
    use crate::models::weights::SeededWeights;
    use crate::vocabulary::error::Kind;

    const ARCH: Architecture = Architecture::Resnet18;

    /// Tensors of a file by name: type, shape and bytes.
    struct Tensors(BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)>);

    impl Tensors {
        /// A resnet18 with two bands and five classes, without the bulk: all weights are zero.
        fn zeros() -> Self {
            let tensors = ARCH.parameters(2, Some(5)).into_iter().map(|parameter| {
                let raw = vec![0; 4 * parameter.shape.iter().product::<usize>()];
                (parameter.name, (Dtype::F32, parameter.shape, raw))
            });
            Self(tensors.collect())
        }

        fn prefixed(self, prefix: &str) -> Self {
            Self(self.0.into_iter().map(|(name, tensor)| (format!("{prefix}{name}"), tensor)).collect())
        }

        fn with(mut self, name: &str, dtype: Dtype, shape: &[usize], raw: Vec<u8>) -> Self {
            self.0.insert(name.to_owned(), (dtype, shape.to_vec(), raw));
            self
        }

        fn without(mut self, names: &[&str]) -> Self {
            self.0.retain(|name, _| !names.contains(&name.as_str()));
            self
        }

        fn open_as(&self, architecture: Architecture, prefix: Option<&str>) -> Result<FileWeights> {
            let views = self.0.iter().map(|(name, (dtype, shape, raw))| {
                (name.as_str(), TensorView::new(*dtype, shape.clone(), raw).unwrap())
            });
            let bytes = safetensors::serialize(views, None).unwrap();
            FileWeights::from_bytes(Path::new("w.safetensors"), bytes.into(), architecture, prefix)
        }

        fn open(&self) -> Result<FileWeights> {
            self.open_as(ARCH, None)
        }

        /// The rendered error of a file that does not fit.
        fn refused(&self) -> String {
            let error = self.open().unwrap_err();
            assert_eq!(error.kind(), Kind::Config);
            error.render()
        }
    }

    #[test]
    fn bands_and_classes_come_from_the_file() {
        let weights = Tensors::zeros().open().unwrap();
        assert_eq!((weights.in_channels(), weights.num_classes()), (2, Some(5)));
    }

    #[test]
    fn a_file_without_classifier_is_headless() {
        let weights = Tensors::zeros().without(&["fc.weight", "fc.bias"]).open().unwrap();
        assert_eq!(weights.num_classes(), None);
    }

    #[test]
    fn counters_are_no_weights() {
        let counter = vec![0; 8];
        let tensors = Tensors::zeros().with("bn1.num_batches_tracked", Dtype::I64, &[], counter);
        assert!(tensors.open().is_ok());
    }

    #[test]
    fn any_prefix_is_found_and_what_lies_outside_is_reported() {
        for prefix in ["module.", "backbone.", "model.encoder."] {
            let tensors =
                Tensors::zeros().prefixed(prefix).with("projector.weight", Dtype::F32, &[1], vec![0; 4]);
            let weights = tensors.open().unwrap();
            assert_eq!(weights.prefix(), prefix);
            assert_eq!(weights.ignored(), ["projector.weight"]);
            assert_eq!(weights.tensor("bn1.bias").unwrap().len(), 64);
        }
    }

    #[test]
    fn of_several_networks_one_must_be_chosen() {
        let mut tensors = Tensors::zeros().prefixed("encoder_q.");
        tensors.0.extend(Tensors::zeros().prefixed("encoder_k.").0);
        assert!(tensors.refused().contains("encoder_k., encoder_q."), "{}", tensors.refused());
        assert!(tensors.open_as(ARCH, Some("encoder_q.")).is_ok());
    }

    #[test]
    fn missing_unknown_and_misshapen_tensors_are_named() {
        let missing = Tensors::zeros().without(&["layer3.1.bn2.running_var", "fc.bias"]).refused();
        assert!(
            missing.contains("needs fc.bias, layer3.1.bn2.running_var, which the file does not have"),
            "{missing}"
        );
        let unknown = Tensors::zeros().with("layer1.0.se.fc1.weight", Dtype::F32, &[1], vec![0; 4]).refused();
        assert!(unknown.contains("layer1.0.se.fc1.weight, which resnet18 does not have"), "{unknown}");
        let shape =
            Tensors::zeros().with("layer1.0.conv1.weight", Dtype::F32, &[64, 64, 1, 1], vec![0; 16_384]);
        let shape = shape.refused();
        assert!(shape.contains("has shape [64, 64, 1, 1], expected [64, 64, 3, 3]"), "{shape}");
        let integer = Tensors::zeros().with("fc.bias", Dtype::I32, &[5], vec![0; 20]).refused();
        assert!(integer.contains("fc.bias is I32"), "{integer}");
    }

    #[test]
    fn another_architecture_is_recognised() {
        let error = Tensors::zeros().open_as(Architecture::Resnet34, None).unwrap_err().render();
        assert!(error.contains("the file has the convolutions of resnet18"), "{error}");
        assert!(error.contains("more, which the file does not have"), "{error}");
    }

    #[test]
    fn foreign_names_and_broken_files_are_refused() {
        let foreign = Tensors::zeros().prefixed("x.").without(&["x.bn1.weight"]).refused();
        assert!(foreign.contains("does not contain a ResNet"), "{foreign}");
        let broken = FileWeights::from_bytes(Path::new("w"), Bytes::from_static(b"nonsense"), ARCH, None);
        assert_eq!(broken.unwrap_err().kind(), Kind::Config);
    }

    #[test]
    fn every_float_type_is_widened_exactly() {
        let values = [0.5, -2.0, 1.0, 0.0, 3.25_f32];
        let half: Vec<u8> = values.iter().flat_map(|&value| f16::from_f32(value).to_le_bytes()).collect();
        let brain: Vec<u8> = values.iter().flat_map(|&value| bf16::from_f32(value).to_le_bytes()).collect();
        let single: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        let double: Vec<u8> = values.iter().flat_map(|&value| f64::from(value).to_le_bytes()).collect();
        let expected = values.map(f64::from);
        for (dtype, raw) in
            [(Dtype::F16, half), (Dtype::BF16, brain), (Dtype::F32, single), (Dtype::F64, double)]
        {
            let weights = Tensors::zeros().with("fc.bias", dtype, &[5], raw).open().unwrap();
            assert_eq!(weights.tensor("fc.bias").unwrap(), expected, "{dtype:?}");
        }
    }

    #[test]
    fn a_value_that_is_not_finite_is_refused() {
        let raw = [1.0, f32::NAN, 0.0, 0.0, 0.0].iter().flat_map(|value| value.to_le_bytes()).collect();
        let weights = Tensors::zeros().with("fc.bias", Dtype::F32, &[5], raw).open().unwrap();
        assert!(weights.tensor("fc.bias").unwrap_err().to_string().contains("fc.bias holds values"));
    }

    #[test]
    fn seeded_weights_that_were_written_are_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("w.safetensors");
        let seeded = SeededWeights::new(5, ARCH, 4, None);
        seeded.write(&path, false).unwrap();
        let weights = FileWeights::open(&path, ARCH, None).unwrap();
        for name in ["conv1.weight", "layer4.0.downsample.1.running_var"] {
            let expected: Vec<f64> = seeded.tensor(name).into_iter().map(f64::from).collect();
            assert_eq!(weights.tensor(name).unwrap(), expected);
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
