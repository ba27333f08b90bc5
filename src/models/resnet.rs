//! The `ResNet` family: which layers each architecture has, and what their parameters are called.
//!
//! This is version 1.5 as in torchvision and timm: the stride of a bottleneck sits on its 3×3 convolution.
//!
//! # Reference
//!
//! He et al., "Deep Residual Learning for Image Recognition", table 1; torchvision, `models/resnet.py`.

use std::fmt;
use std::str::FromStr;

use clap::ValueEnum;

use crate::vocabulary::error::Error;

/// A member of the family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, ValueEnum)]
pub enum Architecture {
    /// 18 layers, basic blocks.
    Resnet18,
    /// 34 layers, basic blocks.
    Resnet34,
    /// 50 layers, bottlenecks.
    Resnet50,
    /// 101 layers, bottlenecks.
    Resnet101,
    /// 152 layers, bottlenecks.
    Resnet152,
}

/// A convolution without bias and the batch norm behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConvSpec {
    /// State-dict name of the convolution, such as `layer1.0.conv2`.
    pub conv: String,
    /// State-dict name of the batch norm, such as `layer1.0.bn2`.
    pub norm: String,
    /// Number of channels that go in.
    pub in_channels: usize,
    /// Number of channels that come out.
    pub out_channels: usize,
    /// Height and width of the kernel; the padding is half of it.
    pub kernel: usize,
    /// Stride on both axes.
    pub stride: usize,
    /// Where in the block it stands.
    pub role: Role,
}

/// Where in its block a convolution stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The 7×7 at the network's start.
    Stem,
    /// In the branch, with a `ReLU` behind it.
    Inner,
    /// The last of the branch; the shortcut is added to its output.
    Last,
    /// The 1×1 that makes the shortcut fit.
    Shortcut,
}

/// A residual block: `relu(branch(x) + shortcut(x))`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockSpec {
    /// State-dict name, such as `layer1.0`.
    pub name: String,
    /// The branch's convolutions in order.
    pub branch: Vec<ConvSpec>,
    /// The shortcut's convolution; absent for the identity.
    pub shortcut: Option<ConvSpec>,
}

/// Name and shape of a parameter in the state dict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParameterSpec {
    /// State-dict name, such as `layer1.0.bn2.running_var`.
    pub name: String,
    /// Shape; convolutions are `[out, in, height, width]`, the classifier `[classes, features]`.
    pub shape: Vec<usize>,
}

/// The channels of the stem's output.
const STEM_CHANNELS: usize = 64;

impl Architecture {
    /// Every architecture, smallest first.
    pub const ALL: [Self; 5] =
        [Self::Resnet18, Self::Resnet34, Self::Resnet50, Self::Resnet101, Self::Resnet152];

    /// Returns the name, such as `resnet152`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Resnet18 => "resnet18",
            Self::Resnet34 => "resnet34",
            Self::Resnet50 => "resnet50",
            Self::Resnet101 => "resnet101",
            Self::Resnet152 => "resnet152",
        }
    }

    /// Returns the number of blocks of each of the four stages.
    pub fn num_blocks(self) -> [usize; 4] {
        match self {
            Self::Resnet18 => [2, 2, 2, 2],
            Self::Resnet34 | Self::Resnet50 => [3, 4, 6, 3],
            Self::Resnet101 => [3, 4, 23, 3],
            Self::Resnet152 => [3, 8, 36, 3],
        }
    }

    fn has_bottlenecks(self) -> bool {
        matches!(self, Self::Resnet50 | Self::Resnet101 | Self::Resnet152)
    }

    fn expansion(self) -> usize {
        if self.has_bottlenecks() { 4 } else { 1 }
    }

    /// Returns the number of features before the classifier: 512, or 2048 with bottlenecks.
    pub fn embedding_length(self) -> usize {
        512 * self.expansion()
    }

    /// Returns the 7×7 convolution at the start, for a number of input channels.
    pub fn stem(self, in_channels: usize) -> ConvSpec {
        let (conv, norm) = ("conv1".to_owned(), "bn1".to_owned());
        ConvSpec {
            conv,
            norm,
            in_channels,
            out_channels: STEM_CHANNELS,
            kernel: 7,
            stride: 2,
            role: Role::Stem,
        }
    }

    /// Returns the residual blocks in order.
    pub fn blocks(self) -> Vec<BlockSpec> {
        let mut blocks = Vec::new();
        let mut in_channels = STEM_CHANNELS;
        for (stage, num_blocks) in self.num_blocks().into_iter().enumerate() {
            for index in 0..num_blocks {
                let stride = if stage > 0 && index == 0 { 2 } else { 1 };
                let block = self.block(stage, index, in_channels, stride);
                in_channels = self.stage_channels(stage);
                blocks.push(block);
            }
        }
        blocks
    }

    /// Channels that leave a stage (0 to 3).
    fn stage_channels(self, stage: usize) -> usize {
        (STEM_CHANNELS << stage) * self.expansion()
    }

    fn block(self, stage: usize, index: usize, in_channels: usize, stride: usize) -> BlockSpec {
        let name = format!("layer{}.{index}", stage + 1);
        let (width, out_channels) = (STEM_CHANNELS << stage, self.stage_channels(stage));
        // Kernel, output channels and stride of each convolution of the branch.
        let shapes: &[(usize, usize, usize)] = if self.has_bottlenecks() {
            &[(1, width, 1), (3, width, stride), (1, out_channels, 1)]
        } else {
            &[(3, width, stride), (3, out_channels, 1)]
        };
        let mut channels = in_channels;
        let mut branch = Vec::with_capacity(shapes.len());
        for (position, &(kernel, out_channels, stride)) in shapes.iter().enumerate() {
            let role = if position + 1 == shapes.len() { Role::Last } else { Role::Inner };
            let (conv, norm) = (format!("{name}.conv{}", position + 1), format!("{name}.bn{}", position + 1));
            branch.push(ConvSpec { conv, norm, in_channels: channels, out_channels, kernel, stride, role });
            channels = out_channels;
        }
        let shortcut = (stride != 1 || in_channels != out_channels).then(|| ConvSpec {
            conv: format!("{name}.downsample.0"),
            norm: format!("{name}.downsample.1"),
            in_channels,
            out_channels,
            kernel: 1,
            stride,
            role: Role::Shortcut,
        });
        BlockSpec { name, branch, shortcut }
    }

    /// Returns every convolution, stem first.
    pub fn convolutions(self, in_channels: usize) -> Vec<ConvSpec> {
        let blocks =
            self.blocks().into_iter().flat_map(|block| block.branch.into_iter().chain(block.shortcut));
        std::iter::once(self.stem(in_channels)).chain(blocks).collect()
    }

    /// Returns every parameter and running statistic of the state dict, `num_batches_tracked` left out.
    ///
    /// - `num_classes`: of the classifier; `None` for a headless network
    pub fn parameters(self, in_channels: usize, num_classes: Option<usize>) -> Vec<ParameterSpec> {
        let mut parameters: Vec<ParameterSpec> =
            self.convolutions(in_channels).iter().flat_map(ConvSpec::parameters).collect();
        if let Some(num_classes) = num_classes {
            let shape = vec![num_classes, self.embedding_length()];
            parameters.push(ParameterSpec { name: "fc.weight".to_owned(), shape });
            parameters.push(ParameterSpec { name: "fc.bias".to_owned(), shape: vec![num_classes] });
        }
        parameters
    }
}

impl ConvSpec {
    /// Returns the shape of the weights, `[out, in, height, width]`.
    pub fn shape(&self) -> [usize; 4] {
        [self.out_channels, self.in_channels, self.kernel, self.kernel]
    }

    /// Returns the parameters of the convolution and its batch norm.
    fn parameters(&self) -> Vec<ParameterSpec> {
        let weight = ParameterSpec { name: format!("{}.weight", self.conv), shape: self.shape().to_vec() };
        let norm = ["weight", "bias", "running_mean", "running_var"].into_iter().map(|field| ParameterSpec {
            name: format!("{}.{field}", self.norm),
            shape: vec![self.out_channels],
        });
        std::iter::once(weight).chain(norm).collect()
    }
}

impl fmt::Display for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Architecture {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Self::ALL.into_iter().find(|architecture| architecture.name() == text).ok_or_else(|| {
            Error::config(format!("unknown architecture `{text}`"))
                .hint("known architectures: resnet18, resnet34, resnet50, resnet101 and resnet152")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Parameters without running statistics, as torchvision counts them.
    fn num_trainable(architecture: Architecture) -> usize {
        architecture
            .parameters(3, Some(1000))
            .iter()
            .filter(|parameter| !parameter.name.contains("running_"))
            .map(|parameter| parameter.shape.iter().product::<usize>())
            .sum()
    }

    /// Numbers published in torchvision's model table (`num_params`).
    #[test]
    fn parameter_counts_are_torchvisions() {
        let counts = Architecture::ALL.map(num_trainable);
        assert_eq!(counts, [11_689_512, 21_797_672, 25_557_032, 44_549_160, 60_192_808]);
    }

    #[test]
    fn resnet152_has_155_convolutions() {
        assert_eq!(Architecture::Resnet152.convolutions(3).len(), 155);
    }

    #[test]
    fn the_stride_of_a_bottleneck_sits_on_its_3x3() {
        let blocks = Architecture::Resnet50.blocks();
        let block = blocks.iter().find(|block| block.name == "layer2.0").unwrap();
        let strides: Vec<_> = block.branch.iter().map(|conv| (conv.kernel, conv.stride)).collect();
        assert_eq!(strides, [(1, 1), (3, 2), (1, 1)]);
        assert_eq!(block.shortcut.as_ref().unwrap().stride, 2);
    }

    #[test]
    fn each_convolution_takes_what_the_one_before_yields() {
        for architecture in Architecture::ALL {
            let mut channels = STEM_CHANNELS;
            for block in architecture.blocks() {
                let entry = channels;
                for conv in &block.branch {
                    assert_eq!(conv.in_channels, channels, "{}", conv.conv);
                    channels = conv.out_channels;
                }
                let arriving = block.shortcut.as_ref().map_or(entry, |shortcut| shortcut.out_channels);
                assert_eq!(arriving, channels, "{}", block.name);
            }
            assert_eq!(channels, architecture.embedding_length());
        }
    }

    #[test]
    fn names_parse_back() {
        for architecture in Architecture::ALL {
            assert_eq!(architecture.to_string().parse::<Architecture>().unwrap(), architecture);
        }
        assert!("resnet1000".parse::<Architecture>().is_err());
    }
}
