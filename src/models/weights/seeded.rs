//! Parameters from a seed: the same numbers on every machine, for ever.
//!
//! Seeded networks stand in for trained ones in demonstrations, tests and benchmarks; what they predict
//! means nothing. The generator is part of the interface: a change of it changes the digest of every
//! seeded model, so it must not be touched.
//!
//! - Each tensor has its own stream, so tensors can be made in any order: `SplitMix64`, whose state is the
//!   first 8 bytes (little-endian) of SHA-256 over `"tilefleet weights 1\0"`, the seed (8 bytes,
//!   little-endian) and the tensor's name.
//! - Each 64-bit output gives one number in [0, 1): its upper 24 bits / 2²⁴, exact in `f32`. All further
//!   arithmetic is `f64` with IEEE-exact operations only (no logarithm, no cosine), rounded to `f32` at
//!   the end, so that no mathematical library can change a bit.
//! - Convolutions: He-uniform, ±√(6 / fan-in), then the mean of each filter is taken away. Without that,
//!   the positive mean that every `ReLU` leaves behind grows through the layers until all images look alike
//!   to the classifier.
//! - Batch norm: scale, shift, mean and variance all differ from 1 and 0, so that folding is exercised.
//!   The last one of a branch is scaled by 1/√(number of blocks): then the variance grows by at most a
//!   constant factor, however many blocks there are.
//! - Classifier: like a filter, with standard deviation 1/√(features) times a gain; shift ±0.1.
//!
//! # Reference
//!
//! Steele, Lea and Flood, "Fast splittable pseudorandom number generators" (2014); He et al., "Delving
//! deep into rectifiers" (2015), section 2.2.

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::Path;

use safetensors::{Dtype, View};
use sha2::{Digest, Sha256};

use crate::models::file;
use crate::models::resnet::{Architecture, Role};
use crate::vocabulary::error::{Error, Result};
use crate::vocabulary::random::SplitMix64;

const DOMAIN: &[u8] = b"tilefleet weights 1\0";

/// Scale of the stem's batch norm: filters without mean see only the contrast of an image, and natural
/// images have little of it between neighbouring pixels.
const STEM_GAIN: f64 = 3.0;
/// Scale of a shortcut's batch norm; makes up for the mean that its convolution does not see.
const SHORTCUT_GAIN: f64 = 1.5;
/// Shift of a shortcut's batch norm, which makes features sparser and images less alike.
const SHORTCUT_SHIFT: f64 = -0.4;
/// Scale of the classifier; brings the logits to a standard deviation of about 1.
const CLASSIFIER_GAIN: f64 = 1.5;

/// Parameters generated from a seed.
#[derive(Debug)]
pub struct SeededWeights {
    seed: u64,
    in_channels: usize,
    num_classes: Option<usize>,
    tensors: Vec<(String, Recipe)>,
    index: HashMap<String, usize>,
}

/// How a tensor is made.
#[derive(Clone, Debug)]
struct Recipe {
    shape: Vec<usize>,
    fill: Fill,
}

#[derive(Clone, Copy, Debug)]
enum Fill {
    /// Uniform in ±`bound`, then each row (axis 0) loses its mean.
    Filters { bound: f64 },
    /// Uniform between the bounds.
    Uniform { low: f64, high: f64 },
}

impl SeededWeights {
    /// Prepares the parameters; each is generated when asked for.
    pub fn new(
        seed: u64,
        architecture: Architecture,
        in_channels: usize,
        num_classes: Option<usize>,
    ) -> Self {
        let roles = norm_roles(architecture);
        let num_blocks = architecture.num_blocks().iter().sum::<usize>() as f64;
        let tensors: Vec<(String, Recipe)> = architecture
            .parameters(in_channels, num_classes)
            .into_iter()
            .map(|parameter| {
                let fill = fill(&parameter.name, &parameter.shape, &roles, num_blocks);
                (parameter.name, Recipe { shape: parameter.shape, fill })
            })
            .collect();
        let index = tensors.iter().enumerate().map(|(at, (name, _))| (name.clone(), at)).collect();
        Self { seed, in_channels, num_classes, tensors, index }
    }

    /// Returns the number of input channels.
    pub fn in_channels(&self) -> usize {
        self.in_channels
    }

    /// Returns the number of classes; `None` for a headless network.
    pub fn num_classes(&self) -> Option<usize> {
        self.num_classes
    }

    /// Generates a parameter, row-major.
    ///
    /// # Panics
    ///
    /// Where the architecture has no such parameter.
    pub fn tensor(&self, parameter: &str) -> Vec<f32> {
        let (name, recipe) = &self.tensors[self.index[parameter]];
        recipe.generate(stream_of(self.seed, name))
    }

    /// Writes all parameters as safetensors, one tensor in memory at a time.
    ///
    /// - `replace`: whether a file of that name may be replaced
    ///
    /// # Errors
    ///
    /// As [`file::write()`].
    pub fn write(&self, path: &Path, replace: bool) -> Result<()> {
        let views = self.tensors.iter().map(|(name, recipe)| {
            let stream = stream_of(self.seed, name);
            (name.as_str(), SeededView { recipe, stream })
        });
        file::write_with(path, replace, |staged| {
            safetensors::serialize_to_file(views, None, staged.path()).map_err(|cause| {
                Error::unavailable(format!("cannot write weights {}", path.display())).because(cause)
            })
        })
    }
}

/// What each batch norm stands behind, by its state-dict name.
fn norm_roles(architecture: Architecture) -> HashMap<String, Role> {
    architecture.convolutions(1).into_iter().map(|conv| (conv.norm, conv.role)).collect()
}

fn fill(name: &str, shape: &[usize], roles: &HashMap<String, Role>, num_blocks: f64) -> Fill {
    let (layer, field) = name.rsplit_once('.').expect("every state-dict name has a field");
    if let Some(&role) = roles.get(layer) {
        return norm_fill(role, field, num_blocks);
    }
    let fan_in = shape[1..].iter().product::<usize>() as f64;
    match (layer, field) {
        ("fc", "bias") => around(0.0, 0.1),
        ("fc", _) => Fill::Filters { bound: CLASSIFIER_GAIN * (3.0 / fan_in).sqrt() },
        _ => Fill::Filters { bound: (6.0 / fan_in).sqrt() },
    }
}

fn norm_fill(role: Role, field: &str, num_blocks: f64) -> Fill {
    let gain = match role {
        Role::Stem => STEM_GAIN,
        Role::Inner => 1.0,
        Role::Last => (1.0 / num_blocks).sqrt(),
        Role::Shortcut => SHORTCUT_GAIN,
    };
    let shift = if role == Role::Shortcut { SHORTCUT_SHIFT } else { 0.0 };
    match field {
        "weight" => around(gain, 0.2 * gain),
        "bias" => around(shift, 0.1 * gain),
        "running_mean" => around(0.0, 0.1),
        _ => around(1.0, 0.2),
    }
}

fn around(middle: f64, distance: f64) -> Fill {
    Fill::Uniform { low: middle - distance, high: middle + distance }
}

impl Recipe {
    fn num_elements(&self) -> usize {
        self.shape.iter().product()
    }

    fn generate(&self, mut stream: SplitMix64) -> Vec<f32> {
        let (low, high) = match self.fill {
            Fill::Filters { bound } => (-bound, bound),
            Fill::Uniform { low, high } => (low, high),
        };
        let span = high - low;
        let mut elements: Vec<f32> =
            (0..self.num_elements()).map(|_| (low + span * f64::from(stream.unit())) as f32).collect();
        if let Fill::Filters { .. } = self.fill {
            let row = self.num_elements() / self.shape[0];
            elements.chunks_exact_mut(row).for_each(take_mean_away);
        }
        elements
    }
}

fn take_mean_away(row: &mut [f32]) {
    let sum = row.iter().fold(0.0, |sum, &element| sum + f64::from(element));
    let mean = sum / row.len() as f64;
    for element in row {
        *element = (f64::from(*element) - mean) as f32;
    }
}

/// Returns the numbers of one tensor.
fn stream_of(seed: u64, name: &str) -> SplitMix64 {
    let digest = Sha256::new()
        .chain_update(DOMAIN)
        .chain_update(seed.to_le_bytes())
        .chain_update(name.as_bytes())
        .finalize();
    SplitMix64(u64::from_le_bytes(*digest.first_chunk().expect("SHA-256 has 32 bytes")))
}

/// A tensor that is generated when the file writer comes to it.
struct SeededView<'a> {
    recipe: &'a Recipe,
    stream: SplitMix64,
}

impl View for SeededView<'_> {
    fn dtype(&self) -> Dtype {
        Dtype::F32
    }

    fn shape(&self) -> &[usize] {
        &self.recipe.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        let mut bytes = Vec::with_capacity(self.data_len());
        for element in self.recipe.generate(self.stream) {
            bytes.extend_from_slice(&element.to_le_bytes());
        }
        bytes.into()
    }

    fn data_len(&self) -> usize {
        4 * self.recipe.num_elements()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_bits_for_ever() {
        let weights = SeededWeights::new(7, Architecture::Resnet18, 3, Some(1000));
        let mut digest = Sha256::new();
        for (name, _) in &weights.tensors {
            for element in weights.tensor(name) {
                digest.update(element.to_le_bytes());
            }
        }
        assert_eq!(
            hex::encode(digest.finalize()),
            "293fb40593050dd3036d333dfcc7b6b0d98b69e71ac1a373c952b39480e71f4a"
        );
    }

    #[test]
    fn another_seed_gives_other_numbers() {
        let tensor = |seed| SeededWeights::new(seed, Architecture::Resnet18, 3, None).tensor("conv1.weight");
        assert_ne!(tensor(1), tensor(2));
    }

    #[test]
    fn filters_have_no_mean_and_he_variance() {
        let weights = SeededWeights::new(1, Architecture::Resnet50, 3, None).tensor("layer1.0.conv2.weight");
        let fan_in = 64 * 9;
        for filter in weights.chunks_exact(fan_in) {
            let sum: f64 = filter.iter().map(|&weight| f64::from(weight)).sum();
            assert!(sum.abs() < 1e-5, "{sum}");
        }
        let squares: f64 = weights.iter().map(|&weight| f64::from(weight).powi(2)).sum();
        let variance = squares / weights.len() as f64;
        assert!((variance * fan_in as f64 - 2.0).abs() < 0.05, "{variance}");
    }

    #[test]
    fn every_batch_norm_does_something() {
        let weights = SeededWeights::new(1, Architecture::Resnet152, 3, None);
        for (name, recipe) in weights.tensors.iter().filter(|(name, _)| !name.contains("conv")) {
            let elements = recipe.generate(stream_of(1, name));
            let bits: HashSet<u32> = elements.iter().map(|element| element.to_bits()).collect();
            assert!(bits.len() > elements.len() / 2, "{name}");
            if name.ends_with("running_var") {
                assert!(elements.iter().all(|&element| element > 0.5), "{name}");
            }
        }
    }
}
