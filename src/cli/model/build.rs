//! `tilefleet model build`: makes a `ResNet`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::ValueEnum;
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use serde_json::json;

use crate::cli::local_model::refuse_uri;
use crate::cli::{WrongArgument, show};
use crate::models::build::{
    BuildOptions, BuiltModel, Choice, Preprocessing, build, build_for, imagenet, usual_resize,
};
use crate::models::file;
use crate::models::resnet::Architecture;
use crate::models::weights::Weights;
use crate::vocabulary::contract::precision::Precision;
use crate::vocabulary::contract::{Activation, Contract, Interpolation, Resize, SampleType};
use crate::vocabulary::error::{Error, Result};
use crate::vocabulary::visible;

/// The flags whose values a contract holds.
const CONTRACT_FLAGS: [&str; 16] = [
    "channels",
    "classes",
    "headless",
    "name",
    "labels",
    "activation",
    "input_type",
    "size",
    "resize",
    "interpolation",
    "keep_exact",
    "bands",
    "unit",
    "scale",
    "mean",
    "std",
];

/// The arguments of `tilefleet model build`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  tilefleet model build --arch resnet152 --weights resnet152.safetensors \\
      --out resnet152.onnx
  tilefleet model build --arch resnet50 --seed 1 --channels 9 --headless \\
      --out backbone.onnx
  tilefleet model build --arch resnet152 --weights backbone.safetensors \\
      --contract satlas-sentinel2-resnet152-si-ms.contract.toml \\
      --out backbone.onnx")]
#[command(group = clap::ArgGroup::new("source").required(true))]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub struct Args {
    /// The network
    #[arg(long, value_enum, value_name = "ARCH")]
    arch: Architecture,
    /// The ONNX file to write; the contract goes beside it, as FILE.contract.toml
    #[arg(long, value_name = "FILE.onnx")]
    out: PathBuf,

    /// Trained weights, a safetensors file with the names of torchvision or timm
    #[arg(long, value_name = "FILE", group = "source")]
    weights: Option<PathBuf>,
    /// Prefix of the tensor names in the weights, such as `backbone.` [default: detected]
    #[arg(long, requires = "weights")]
    prefix: Option<String>,
    /// Random weights, the same on every machine; their predictions mean nothing
    #[arg(long, value_name = "N", group = "source")]
    seed: Option<u64>,
    /// Also write the seeded weights to this file
    #[arg(long, value_name = "FILE.safetensors", conflicts_with = "weights")]
    weights_out: Option<PathBuf>,
    /// Number of bands of a seeded network [default: 3]
    #[arg(long, value_name = "N", conflicts_with = "weights", value_parser = clap::value_parser!(u16).range(1..))]
    channels: Option<u16>,
    /// Number of classes of a seeded network [default: 1000]
    #[arg(long, value_name = "N", conflicts_with_all = ["weights", "headless"], value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    classes: Option<u32>,
    /// Leave the classifier out: embeddings only
    #[arg(long)]
    headless: bool,
    /// Build the model that this contract describes
    #[arg(long, value_name = "FILE.contract.toml", conflicts_with_all = CONTRACT_FLAGS)]
    contract: Option<PathBuf>,

    /// Name in the contract [default: from the architecture, the seed or the weights' file, and the precision]
    #[arg(long)]
    name: Option<String>,
    /// Class names, one per line, in order of class id
    #[arg(long, value_name = "FILE", conflicts_with = "headless")]
    labels: Option<PathBuf>,
    /// How logits become scores [default: softmax, or sigmoid for a single class]
    #[arg(long, value_enum, conflicts_with = "headless", hide_default_value = true)]
    activation: Option<Activation>,

    /// Precision of the convolutions: fp16 for GPUs; int8 is made by `tilefleet model quantize`
    #[arg(long, value_parser = precisions(), default_value = "fp32")]
    precision: Precision,
    /// Element type of the input: uint8 is normalised in the graph [default: uint8 for three bands,
    /// otherwise float32]
    #[arg(long, value_enum, value_name = "TYPE")]
    input_type: Option<SampleType>,
    /// Height and width of the input, in pixels [default: 224]
    #[arg(long, value_name = "PX", value_parser = clap::value_parser!(u32).range(1..=16_384))]
    size: Option<u32>,
    /// Length of the short side to which tiles are resized before the centre crop, or `none` to reject
    /// tiles of another size [default: 232/224 of the size for three bands, otherwise none]
    #[arg(long, value_name = "PX|none")]
    resize: Option<ResizeTo>,
    /// Filter of --resize, antialiased as in Pillow [default: bilinear]
    #[arg(long, value_enum, hide_default_value = true)]
    interpolation: Option<Interpolation>,
    /// Do not resize tiles that already have the input's size
    #[arg(long)]
    keep_exact: bool,
    /// Names of the bands in order [default: red,green,blue, or band1, band2, …]
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    bands: Vec<String>,
    /// What a sample means, such as srgb8, dn or reflectance [default: srgb8 for three bands, otherwise dn]
    #[arg(long)]
    unit: Option<String>,
    /// Factor applied to samples before mean and std [default: 1/255 for three bands or uint8, otherwise 1]
    #[arg(long, value_name = "FACTOR")]
    scale: Option<f64>,
    /// Mean of each band after scaling [default: 0.485,0.456,0.406 for three bands, otherwise 0]
    #[arg(long, value_name = "X,…", value_delimiter = ',', allow_negative_numbers = true)]
    mean: Vec<f64>,
    /// Standard deviation of each band after scaling [default: 0.229,0.224,0.225 for three bands, otherwise 1]
    #[arg(long, value_name = "X,…", value_delimiter = ',')]
    std: Vec<f64>,

    /// Replace files that exist
    #[arg(long)]
    force: bool,
    /// Print the answer as JSON
    #[arg(long)]
    json: bool,
}

/// Takes what can be built; int8 is not offered, but understood, so that it can be said how to get it.
fn precisions() -> impl TypedValueParser<Value = Precision> {
    let name = |precision: Precision| {
        PossibleValue::new(precision.name()).hide(!matches!(precision, Precision::Fp32 | Precision::Fp16))
    };
    let names = [Precision::Fp32, Precision::Fp16, Precision::Int8].map(name);
    PossibleValuesParser::new(names)
        .map(|name| Precision::from_str(&name, false).expect("it is one of the names above"))
}

/// A length in pixels, or none.
#[derive(Clone, Copy, Debug)]
enum ResizeTo {
    ShortSide(u32),
    None,
}

impl FromStr for ResizeTo {
    type Err = WrongArgument;

    fn from_str(text: &str) -> Result<Self, WrongArgument> {
        match text.parse() {
            _ if text == "none" => Ok(Self::None),
            Ok(short_side) => Ok(Self::ShortSide(short_side)),
            Err(_) => Err(WrongArgument("expected a number of pixels or `none`")),
        }
    }
}

/// Builds a model, writes it with its contract, and says what was written.
///
/// # Errors
///
/// [`Kind::Usage`](crate::vocabulary::error::Kind::Usage) where a file exists and `--force` is not given; otherwise as
/// [`Weights::from_file`], [`build`] and [`BuiltModel::write`].
pub fn run(args: &Args) -> Result<()> {
    refuse_uri("--out", &args.out)?;
    if !args.force {
        refuse_existing(args)?;
    }
    let contract = args.contract.as_deref().map(Contract::load).transpose()?;
    let weights = args.open_weights(contract.as_ref())?;
    let (built, preprocessing) = if let Some(contract) = &contract {
        let built = build_for(&weights, args.arch, contract, args.precision)?;
        let normalise = contract.input.normalise.clone().unwrap_or_else(imagenet);
        let preprocessing = Preprocessing::of(&built.contract, &normalise, &BTreeSet::new());
        (built, preprocessing)
    } else {
        let options = args.options(&weights)?;
        let built = build(&weights, &options)?;
        let preprocessing = Preprocessing::of(&built.contract, &options.normalise, &options.assumed);
        (built, preprocessing)
    };
    if let (Some(path), Weights::Seeded(seeded)) = (&args.weights_out, &weights) {
        seeded.write(path, args.force)?;
    }
    built.write(&args.out, args.force)?;
    let ignored = match &weights {
        Weights::File(file) => file.ignored(),
        Weights::Seeded(_) => &[],
    };
    print_built(&args.out, &built, &preprocessing, ignored, args.json);
    Ok(())
}

/// Asks before the work, not after it.
fn refuse_existing(args: &Args) -> Result<()> {
    let contract = Contract::path_for(&args.out);
    [Some(&args.out), Some(&contract), args.weights_out.as_ref()]
        .into_iter()
        .flatten()
        .try_for_each(|path| file::refuse_existing(path))
}

fn print_built(
    out: &Path,
    built: &BuiltModel,
    preprocessing: &Preprocessing,
    ignored: &[String],
    json: bool,
) {
    let contract = Contract::path_for(out);
    if json {
        let answer = json!({
            "model": out,
            "contract": contract,
            "name": built.contract.name,
            "digest": built.digest,
            "num_bytes": built.bytes.len(),
            "ignored_tensors": ignored,
            "preprocessing": preprocessing,
        });
        std::println!("{}", visible::json(&answer.to_string()));
        return;
    }
    println!("{}  {:.1} MB  sha256 {}", out.display(), built.bytes.len() as f64 / 1e6, built.digest);
    println!("{}", contract.display());
    if !ignored.is_empty() {
        println!("weights that are not used: {}", ignored.join(", "));
    }
    let assumed = assumed(preprocessing);
    if !assumed.is_empty() {
        println!(
            "assumed, since no flag says otherwise; values that differ from the training cost accuracy:"
        );
        for (name, value, flag) in assumed {
            println!("{}", assumption(name, &value, &flag, show::terminal_width()));
        }
    }
}

/// Where the values of assumptions begin, and how wide their column is.
const VALUE_AT: usize = 13;
const VALUE_WIDTH: usize = 42;

/// Writes an assumption in columns; what is too long for a column continues below.
///
/// - `width`: of the terminal; without one a flag stands in one line
fn assumption(name: &str, value: &str, flag: &str, width: Option<usize>) -> String {
    const FLAG_AT: usize = VALUE_AT + VALUE_WIDTH + 1;
    let room = width.map_or(usize::MAX, |width| width.saturating_sub(FLAG_AT).max(LEAST_FLAG));
    let (values, flags) = (show::wrapped(value, VALUE_WIDTH), show::wrapped(flag, room));
    let cell = |lines: &[String], at: usize| lines.get(at).cloned().unwrap_or_default();
    let line = |at: usize| {
        let name = if at == 0 { name } else { "" };
        let line = format!("  {name:<10} {:<VALUE_WIDTH$} {}", cell(&values, at), cell(&flags, at));
        line.trim_end().to_owned()
    };
    (0..values.len().max(flags.len())).map(line).collect::<Vec<_>>().join("\n")
}

/// A narrower column of flags is not read but spelled out.
const LEAST_FLAG: usize = 16;

/// Says what nobody chose: its name, its value, and the flag that chooses another.
fn assumed(preprocessing: &Preprocessing) -> Vec<(&'static str, String, String)> {
    let Preprocessing { size, resize, bands, unit, normalise, activation, assumed } = preprocessing;
    let row = |choice: &Choice| match choice {
        Choice::Size => ("size", format!("{size}×{size}"), "--size PX".to_owned()),
        Choice::Resize => ("resize", resized(*size, *resize), other_resize(*size, *resize)),
        Choice::Interpolation => (
            "filter",
            resize.map_or_else(String::new, |it| it.interpolation.to_string()),
            other_filter(*resize),
        ),
        Choice::Bands => ("bands", bands.join(", "), "--bands NAME,…".to_owned()),
        Choice::Unit => ("unit", unit.clone(), "--unit NAME".to_owned()),
        Choice::Scale => ("scale", normalise.scale.to_string(), "--scale FACTOR".to_owned()),
        Choice::Mean => ("mean", of_each(&normalise.mean), "--mean X,…".to_owned()),
        Choice::Std => ("std", of_each(&normalise.std), "--std X,…".to_owned()),
        Choice::Activation => {
            let scores = activation.map_or_else(String::new, |activation| activation.to_string());
            ("activation", scores, "--activation NAME".to_owned())
        }
    };
    assumed.iter().map(row).collect()
}

/// Lists one number for each band, or says once what all of them have.
fn of_each(numbers: &[f64]) -> String {
    match numbers {
        [first, _, _, _, ..] if numbers.iter().all(|number| number.total_cmp(first).is_eq()) => {
            format!("{first} for each of {}", show::counted(numbers.len() as u64, "band"))
        }
        _ => numbers.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
    }
}

fn resized(size: u32, resize: Option<Resize>) -> String {
    match resize {
        Some(Resize { short_side, .. }) => {
            format!("short side to {short_side}, then the centre {size}×{size}")
        }
        None => "none: tiles of another size are rejected".to_owned(),
    }
}

/// Names the proportion that was usual before: 256 to 224, of torchvision's first weights.
fn other_resize(size: u32, resize: Option<Resize>) -> String {
    let others = (u64::from(size) * 8).div_ceil(7);
    match resize {
        Some(_) => format!("--resize {others} for weights like torchvision's V1; --resize none"),
        None => "--resize PX".to_owned(),
    }
}

fn other_filter(resize: Option<Resize>) -> String {
    match resize.map(|resize| resize.interpolation) {
        Some(Interpolation::Bicubic) => "--interpolation bilinear".to_owned(),
        _ => "--interpolation bicubic".to_owned(),
    }
}

impl Args {
    fn open_weights(&self, contract: Option<&Contract>) -> Result<Weights> {
        match (&self.weights, self.seed) {
            (None, Some(seed)) if contract.is_some() => {
                let (num_bands, num_classes) = contract.map_or((3, None), |contract| {
                    let classifier = contract.output.classifier.as_ref();
                    (contract.input.bands.len(), classifier.map(|classifier| classifier.num_classes))
                });
                Ok(Weights::from_seed(seed, self.arch, num_bands, num_classes))
            }
            (Some(path), _) => Weights::from_file(path, self.arch, self.prefix.as_deref()),
            (None, Some(seed)) => {
                let num_classes = (!self.headless).then_some(self.classes.unwrap_or(1000) as usize);
                Ok(Weights::from_seed(seed, self.arch, self.channels.unwrap_or(3).into(), num_classes))
            }
            (None, None) => Err(Error::usage("neither --weights nor --seed is given")
                .hint("add --weights FILE.safetensors, or --seed N for random ones")),
        }
    }

    fn options(&self, weights: &Weights) -> Result<BuildOptions> {
        let mut options = BuildOptions::new(self.arch, &self.contract_name(), weights.in_channels());
        options.size = self.size();
        options.activation = self.activation(weights);
        options.headless = self.headless;
        options.precision = self.precision;
        options.labels = self.labels.as_deref().map(read_labels).transpose()?;
        options.resize = self.resize(options.resize.is_some());
        if !self.bands.is_empty() {
            options.bands.clone_from(&self.bands);
        }
        if let Some(unit) = &self.unit {
            options.unit.clone_from(unit);
        }
        self.set_samples(&mut options)?;
        for choice in self.chosen() {
            options.assumed.remove(&choice);
        }
        Ok(options)
    }

    /// What flags choose.
    fn chosen(&self) -> impl Iterator<Item = Choice> {
        [
            (self.size.is_some(), Choice::Size),
            (self.resize.is_some(), Choice::Resize),
            (self.interpolation.is_some(), Choice::Interpolation),
            (!self.bands.is_empty(), Choice::Bands),
            (self.unit.is_some(), Choice::Unit),
            (self.scale.is_some(), Choice::Scale),
            (!self.mean.is_empty(), Choice::Mean),
            (!self.std.is_empty(), Choice::Std),
            (self.activation.is_some(), Choice::Activation),
        ]
        .into_iter()
        .filter_map(|(is_chosen, choice)| is_chosen.then_some(choice))
    }

    fn size(&self) -> u32 {
        self.size.unwrap_or(224)
    }

    fn activation(&self, weights: &Weights) -> Activation {
        let usual = if weights.num_classes() == Some(1) { Activation::Sigmoid } else { Activation::Softmax };
        self.activation.unwrap_or(usual)
    }

    /// Sets type and normalisation.
    fn set_samples(&self, options: &mut BuildOptions) -> Result<()> {
        if let Some(sample_type) = self.input_type {
            options.sample_type = sample_type;
        }
        let is_rgb = options.bands.len() == 3;
        if options.sample_type == SampleType::Uint8 && !is_rgb {
            let examples = [(&self.mean, "--mean 0.5,0.5"), (&self.std, "--std 0.2,0.2")];
            let missing = examples.into_iter().filter_map(|(given, flag)| given.is_empty().then_some(flag));
            let missing: Vec<&str> = missing.collect();
            if !missing.is_empty() {
                return Err(Error::usage("a uint8 input of other than three bands needs --mean and --std")
                    .hint(format!("give one value per band, such as {}", missing.join(" "))));
            }
            options.normalise.scale = (1.0 / 255.0).into();
        }
        if let Some(scale) = self.scale {
            options.normalise.scale = scale.into();
        }
        if !self.mean.is_empty() {
            options.normalise.mean.clone_from(&self.mean);
        }
        if !self.std.is_empty() {
            options.normalise.std.clone_from(&self.std);
        }
        Ok(())
    }

    fn resize(&self, is_usual: bool) -> Option<Resize> {
        let usual = usual_resize(self.size(), self.interpolation.unwrap_or(Interpolation::Bilinear));
        match self.resize {
            Some(ResizeTo::ShortSide(short_side)) => {
                Some(Resize { short_side, keep_exact: self.keep_exact, ..usual })
            }
            Some(ResizeTo::None) => None,
            None => is_usual.then_some(Resize { keep_exact: self.keep_exact, ..usual }),
        }
    }

    fn contract_name(&self) -> String {
        if let Some(name) = &self.name {
            return name.clone();
        }
        let arch = self.arch.name();
        let stem = self.weights.as_deref().and_then(Path::file_stem).map(|stem| stem.to_string_lossy());
        let name = match (stem, self.seed) {
            (Some(stem), _) if stem.starts_with(arch) => stem.into_owned(),
            (Some(stem), _) => format!("{arch}-{stem}"),
            (None, Some(seed)) => format!("{arch}-seed{seed}"),
            (None, None) => arch.to_owned(),
        };
        match self.precision {
            Precision::Fp32 => name,
            other => format!("{name}-{other}"),
        }
    }
}

/// Reads one label a line; blank lines at the end do not count.
fn read_labels(path: &Path) -> Result<Vec<String>> {
    let text = std::fs::read_to_string(path).map_err(|cause| {
        Error::config(format!("cannot read labels {}", path.display()))
            .because(cause)
            .hint("give a text file with one class name per line")
    })?;
    Ok(text.trim_end().lines().map(|line| line.trim().to_owned()).collect())
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::*;
    use crate::cli::model::{Command, run};
    use crate::vocabulary::error::Kind;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(subcommand)]
        command: Command,
    }

    fn parse(words: &str) -> Result<Command, clap::Error> {
        Cli::try_parse_from(std::iter::once("model").chain(words.split(' '))).map(|cli| cli.command)
    }

    fn options(words: &str) -> Result<BuildOptions> {
        let Command::Build(args) = parse(&format!("build --arch resnet18 --out m.onnx {words}")).unwrap()
        else {
            panic!("not build");
        };
        args.options(&args.open_weights(None)?)
    }

    #[test]
    fn three_bands_are_8_bit_imagenet() {
        let options = options("--seed 7").unwrap();
        assert_eq!(
            (options.sample_type, options.size, options.name.as_str()),
            (SampleType::Uint8, 224, "resnet18-seed7")
        );
        assert_eq!(options.resize.unwrap().short_side, 232);
        assert_eq!(options.normalise, imagenet());
    }

    /// The one that costs most if it is wrong comes with the flag for the other.
    #[test]
    fn what_no_flag_says_is_said_and_what_one_says_is_not() {
        let said = |words: &str| {
            let options = options(words).unwrap();
            let built =
                build(&Weights::from_seed(7, Architecture::Resnet18, options.bands.len(), Some(2)), &options)
                    .unwrap();
            assumed(&Preprocessing::of(&built.contract, &options.normalise, &options.assumed))
        };
        let all = said("--seed 7");
        let names: Vec<&str> = all.iter().map(|(name, ..)| *name).collect();
        assert_eq!(
            names,
            ["size", "resize", "filter", "bands", "unit", "scale", "mean", "std", "activation"]
        );
        let (_, resize, flag) = &all[1];
        assert_eq!(resize, "short side to 232, then the centre 224×224");
        assert!(flag.starts_with("--resize 256 "), "{flag}");
        assert!(said("--seed 7 --size 384")[0].2.starts_with("--resize 439 "));
        let none = "--seed 7 --size 64 --resize none --bands a,b,c --unit dn --scale 1 --mean 0,0,0 --std 1,1,1 --headless";
        assert_eq!(said(none), []);
        assert_eq!(said("--seed 7 --channels 2 --size 64")[0].1, "none: tiles of another size are rejected");
    }

    /// Nine bands: names that do not fit continue below, and the flags stay in their column.
    #[test]
    fn assumptions_of_many_bands_stay_in_their_columns() {
        let names = "band1, band2, band3, band4, band5, band6, band7, band8, band9";
        let bands = assumption("bands", names, "--bands NAME,…", None);
        assert_eq!(
            bands,
            "  bands      band1, band2, band3, band4, band5, band6,  --bands NAME,…\n             band7, band8, band9"
        );
        assert_eq!(
            assumption("unit", "dn", "--unit NAME", None),
            format!("  unit       {:<42} --unit NAME", "dn")
        );
        assert_eq!(
            (of_each(&[0.0; 9]), of_each(&[0.5, 0.25])),
            ("0 for each of 9 bands".into(), "0.5, 0.25".into())
        );
        let resize = "--resize 256 for weights like torchvision's V1; --resize none";
        let lines = assumption("resize", "short side to 232, then the centre 224×224", resize, Some(80));
        assert!(lines.lines().count() > 1 && lines.lines().all(|line| line.chars().count() <= 80), "{lines}");
    }

    #[test]
    fn the_help_offers_what_can_be_built() {
        let mut build = Cli::command();
        let build = build.find_subcommand_mut("build").unwrap();
        let help = build.render_long_help().to_string();
        assert!(help.contains("[possible values: fp32, fp16]") && !help.contains("fp16, int8"), "{help}");
        let int8 = options("--seed 1 --precision int8").unwrap();
        let weights = Weights::from_seed(1, Architecture::Resnet18, 3, Some(2));
        assert!(
            crate::models::build::build(&weights, &int8).unwrap_err().render().contains("model quantize")
        );
    }

    #[test]
    fn a_build_without_weights_names_both_ways_to_get_some() {
        let error = parse("build --arch resnet18 --out m.onnx").unwrap_err().to_string();
        assert!(error.contains("--weights") && error.contains("--seed"), "{error}");
    }

    #[test]
    fn a_single_class_is_scored_by_sigmoid() {
        let activation = |words: &str| options(&format!("--seed 7 {words}")).unwrap().activation;
        assert_eq!(activation("--classes 1"), Activation::Sigmoid);
        assert_eq!(activation("--classes 2"), Activation::Softmax);
        let parsed = options("--seed 7 --classes 1 --activation softmax").unwrap();
        let weights = Weights::from_seed(7, Architecture::Resnet18, 3, Some(1));
        let message = build(&weights, &parsed).unwrap_err().render();
        assert!(message.contains("1.0 for every tile\n  hint: give `--activation sigmoid`"), "{message}");
    }

    #[test]
    fn other_bands_are_float_and_taken_as_they_are() {
        let options = options("--seed 7 --channels 9 --size 64").unwrap();
        assert_eq!(
            (options.sample_type, options.bands.len(), options.resize),
            (SampleType::Float32, 9, None)
        );
        assert_eq!(options.unit, "dn");
    }

    #[test]
    fn flags_win_over_defaults() {
        let flags = "--seed 7 --size 384 --resize 400 --interpolation bicubic --keep-exact --mean=-1,0.5,0 --std 1,2,3 --activation sigmoid";
        let parsed = options(flags).unwrap();
        let resize = Resize { short_side: 400, interpolation: Interpolation::Bicubic, keep_exact: true };
        assert_eq!(parsed.resize, Some(resize));
        assert_eq!(parsed.normalise.mean, [-1.0, 0.5, 0.0]);
        assert_eq!(parsed.activation, Activation::Sigmoid);
        assert_eq!(options("--seed 7 --resize none").unwrap().resize, None);
        assert_eq!(options("--seed 7 --size 448").unwrap().resize.unwrap().short_side, 464);
    }

    #[test]
    fn contradictory_flags_are_refused() {
        for words in [
            "",
            "--seed 1 --weights w",
            "--seed 1 --headless --classes 3",
            "--weights w --channels 3",
            "--seed 1 --resize x",
            "--seed 1 --contract c.toml --size 64",
            "--seed 1 --contract c.toml --channels 9",
        ] {
            assert!(
                parse(format!("build --arch resnet18 --out m.onnx {words}").trim_end()).is_err(),
                "{words}"
            );
        }
        let error = options("--seed 1 --channels 1 --input-type uint8").unwrap_err();
        assert_eq!(error.kind(), Kind::Usage);
    }

    #[test]
    fn a_build_writes_model_contract_and_weights_and_never_overwrites_unasked() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).display().to_string();
        let words = format!(
            "build --arch resnet18 --seed 3 --classes 2 --size 32 --out {} --weights-out {}",
            path("m.onnx"),
            path("w.safetensors")
        );
        run(parse(&words).unwrap()).unwrap();
        let first = std::fs::read(path("m.onnx")).unwrap();
        assert!(Contract::load(Path::new(&path("m.contract.toml"))).is_ok());
        assert_eq!(run(parse(&words).unwrap()).unwrap_err().kind(), Kind::Usage);
        // The written weights give the same network.
        let words = format!(
            "build --arch resnet18 --weights {} --size 32 --name resnet18-seed3 --out {} --force",
            path("w.safetensors"),
            path("m.onnx")
        );
        run(parse(&words).unwrap()).unwrap();
        assert!(std::fs::read(path("m.onnx")).unwrap() == first, "bytes differ");
    }

    #[test]
    fn labels_are_lines() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("labels.txt");
        std::fs::write(&path, "sea\nland, dry \r\n\n").unwrap();
        assert_eq!(read_labels(&path).unwrap(), ["sea", "land, dry"]);
    }
}
