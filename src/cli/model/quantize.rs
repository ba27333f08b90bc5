//! `tilefleet model quantize`: makes an int8 model of an fp32 one.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::str::FromStr;

use clap::ValueEnum;
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::calibrate::{Calibration, Quantised, Reader, Settings, Split, TileSelection, Tiles};
use crate::cli::local_model::{local_model, refuse_uri};
use crate::cli::run::assumptions;
use crate::cli::{WrongArgument, block_on, print_json, show};
use crate::config::looking;
use crate::input::storage::StorageOptions;
use crate::models;
use crate::models::build::BuiltModel;
use crate::models::quantise::Method;
use crate::models::{Model, Overrides, file};
use crate::observe::stderr::{Level, say};
use crate::runtime;
use crate::stages::infer::arithmetic::Products;
use crate::vocabulary::contract::precision::Precision;
use crate::vocabulary::contract::{Contract, Quantisation};
use crate::vocabulary::contract::{Target, WeightRange};
use crate::vocabulary::error::{Error, Result};

/// Leaves out a value in a hundred thousand at each end: single outliers, and nothing that matters.
const USUAL_PERCENTILE: f64 = 99.999;
/// A mean cosine below this is worth a warning.
const TOO_FAR: f64 = 0.99;

/// Makes an int8 model from an fp32 one, and compares both
///
/// The ranges of the activations are measured on some tiles, read as a run would read them. Both models are compared
/// on other tiles, and the result is written to the contract. Convolutions, hidden fully connected layers, residual
/// sums and maximum pools become 8-bit; the embedding, its pooling and the classifier stay float. On processors with
/// VNNI a ResNet-152 runs three to four times as fast. The network must be fp32, with opset 13 or newer.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  tilefleet model quantize resnet152.onnx --calibration s3://photos/2026/ \\
      --out resnet152-int8.onnx
  tilefleet model quantize my.onnx --calibration images/ --method entropy \\
      --exclude conv1,layer1.0.conv1 --out my-int8.onnx
  tilefleet model quantize my.onnx --calibration images/ --target tensorrt \\
      --out my-trt.onnx")]
pub struct Args {
    /// The fp32 model, a path or a URI, with its contract beside it or inside it; otherwise ImageNet's is assumed
    #[arg(value_name = "MODEL.onnx")]
    model: PathBuf,
    /// Images like those of later runs: folders, objects, globs; local, s3://, gs://, az://
    #[arg(long, value_name = "URI", num_args = 1.., required = true)]
    calibration: Vec<String>,
    /// The ONNX file to write; the contract goes beside it, as FILE.contract.toml
    #[arg(long, value_name = "FILE.onnx")]
    out: PathBuf,

    /// Where the model will run
    #[arg(long, value_enum, default_value = "cpu")]
    target: Target,
    /// Range of the integer weights: `reduced`, -64 to 64, gives the same rows on all processors; `full`, -127 to
    /// 127, gives other rows on x86 processors without VNNI [default: reduced for cpu, full for tensorrt]
    #[arg(long, value_enum, hide_default_value = true)]
    weights: Option<WeightRange>,
    /// How ranges are chosen: smallest to largest value, without the tails, or with the least loss
    #[arg(long, value_enum, default_value = "percentile")]
    method: MethodName,
    /// Percentage of values below the upper end of a range, and above its lower end [default: 99.999]
    #[arg(long, value_name = "P")]
    percentile: Option<Percent>,
    /// Layers to keep in float, by the names of their nodes, weights or results; repeatable
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    exclude: Vec<String>,
    /// Keep the N most sensitive layers in float. `auto`: as many as a mean cosine of 0.99 on the calibration tiles
    /// needs, at most one in eight
    #[arg(long, value_name = "N|auto", default_value = "auto")]
    keep_worst: KeepWorst,

    /// Number of tiles to calibrate with [default: 256, at most two thirds of all tiles; with --held-out at most all]
    #[arg(long, value_name = "N")]
    calibration_tiles: Option<NonZeroUsize>,
    /// Images to compare on, none of which may be in --calibration; named like those [default: tiles of --calibration that
    /// are not used to calibrate]
    #[arg(long, value_name = "URI", num_args = 1..)]
    held_out: Vec<String>,
    /// Number of tiles to compare on [default: 128, at most a third of all tiles; with --held-out at most all of those]
    #[arg(long, value_name = "N")]
    held_out_tiles: Option<NonZeroUsize>,

    /// Tensor with the features, if it cannot be detected
    #[arg(long, value_name = "NAME")]
    embedding: Option<String>,
    /// Tensor with the raw classifier outputs, if it cannot be detected
    #[arg(long, value_name = "NAME")]
    logits: Option<String>,
    /// Settings of `[storage]`, `[tiles]`, `[limits]` or `[input]`, such as `--set tiles.sixteen_bit=scale`; repeatable
    #[arg(long = "set", value_name = "SECTION.KEY=VALUE")]
    set: Vec<String>,
    /// CPU threads [default: as many as the machine has]
    #[arg(long, value_name = "N")]
    threads: Option<NonZeroUsize>,
    /// Replace files that exist
    #[arg(long)]
    force: bool,
    /// Print the answer as JSON
    #[arg(long)]
    json: bool,
}

/// A method as on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum MethodName {
    Minmax,
    Percentile,
    Entropy,
}

/// A percentage that leaves at least the middle.
#[derive(Clone, Copy, Debug)]
struct Percent(f64);

impl FromStr for Percent {
    type Err = WrongArgument;

    fn from_str(text: &str) -> Result<Self, WrongArgument> {
        match text.parse() {
            Ok(percent) if percent > 50.0 && percent <= 100.0 => Ok(Self(percent)),
            _ => Err(WrongArgument("expected a number above 50 and up to 100, such as 99.999")),
        }
    }
}

/// How many layers stay float by themselves.
#[derive(Clone, Copy, Debug)]
enum KeepWorst {
    Auto,
    Number(usize),
}

impl FromStr for KeepWorst {
    type Err = WrongArgument;

    fn from_str(text: &str) -> Result<Self, WrongArgument> {
        match text.parse() {
            _ if text == "auto" => Ok(Self::Auto),
            Ok(number) => Ok(Self::Number(number)),
            Err(_) => Err(WrongArgument("expected a number of layers or `auto`")),
        }
    }
}

/// Quantises a model, writes it with its contract, and says how near it comes.
///
/// # Errors
///
/// [`Kind::Usage`](crate::vocabulary::error::Kind::Usage) where a file exists and `--force` is not given;
/// [`Kind::Config`](crate::vocabulary::error::Kind::Config) where the model cannot be quantised or there are too few tiles.
pub fn run(args: &Args) -> Result<()> {
    let settings = args.settings()?;
    refuse_uri("--out", &args.out)?;
    if !args.force {
        [&args.out, &Contract::path_for(&args.out)]
            .into_iter()
            .try_for_each(|path| file::refuse_existing(path))?;
    }
    let threads = rayon::ThreadPoolBuilder::new().num_threads(settings.threads.get()).build_global();
    threads.map_err(|cause| Error::unavailable("cannot start the threads").because(cause))?;
    args.check_processor(Products::here())?;
    let looking = looking(&args.set)?;
    let model = args.load(&looking.storage)?;
    let calibration = Calibration::new(runtime::load()?, &model, &settings)?;
    let mut input = model.contract.input.clone();
    input.accept = looking.tiles.over(input.accept);
    let reader = Reader::new(&looking, &input, Calibration::batch(&model))?;
    let tiles = block_on(reader.read(&args.wanted()))?;
    say_what_is_left_out(&tiles);
    let Quantised { bytes, contract } = calibration.quantise(&tiles)?;
    let digest = hex::encode(Sha256::digest(&bytes));
    let built = BuiltModel { bytes, digest, contract };
    built.write(&args.out, args.force)?;
    args.print(&model, &built)
}

impl Args {
    fn settings(&self) -> Result<Settings> {
        if self.percentile.is_some() && self.method != MethodName::Percentile {
            return Err(Error::usage("--percentile needs the method `percentile`")
                .hint("leave it out, or choose that method"));
        }
        let cores = || std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        Ok(Settings {
            target: self.target,
            weights: self.weights(),
            method: match self.method {
                MethodName::Minmax => Method::Minmax,
                MethodName::Percentile => {
                    Method::Percentile(self.percentile.map_or(USUAL_PERCENTILE, |it| it.0))
                }
                MethodName::Entropy => Method::Entropy,
            },
            exclude: self.exclude.clone(),
            keep_worst: match self.keep_worst {
                KeepWorst::Auto => None,
                KeepWorst::Number(number) => Some(number),
            },
            threads: self.threads.unwrap_or_else(cores),
        })
    }

    fn weights(&self) -> WeightRange {
        self.weights.unwrap_or_else(|| WeightRange::usual(self.target))
    }

    /// Refuses to measure what a processor with VNNI would compute on one without.
    fn check_processor(&self, products: Products) -> Result<()> {
        if self.weights() == WeightRange::Reduced || products != Products::Saturating {
            return Ok(());
        }
        if self.target == Target::Tensorrt {
            say(
                Level::Warn,
                "the comparison is of this processor's results: it has no VNNI, so sums saturate",
            );
            return Ok(());
        }
        Err(Error::config("full-range weights cannot be compared here")
            .because("this processor has no VNNI: its 16-bit sums saturate, so its results differ")
            .hint("use `--weights reduced`, or quantise on a processor with AVX512-VNNI or AVX-VNNI"))
    }

    fn load(&self, storage: &StorageOptions) -> Result<Model> {
        let overrides = Overrides { embedding: self.embedding.clone(), logits: self.logits.clone() };
        let model = local_model(&self.model, storage)?.read(|path| models::load(path, &overrides))?;
        if let Some(assumed) = assumptions(&model) {
            say(Level::Warn, &assumed);
        }
        Ok(model)
    }

    fn wanted(&self) -> TileSelection {
        TileSelection {
            calibration: self.calibration.clone(),
            held_out: self.held_out.clone(),
            num_calibration: self.calibration_tiles,
            num_held_out: self.held_out_tiles,
        }
    }

    fn print(&self, model: &Model, built: &BuiltModel) -> Result<()> {
        let contract = Contract::path_for(&self.out);
        let record = built.contract.quantisation.as_ref().expect("every int8 model has a record");
        if record.cosine_mean < TOO_FAR {
            say(
                Level::Warn,
                &format!(
                    "the embeddings differ: mean cosine {:.4}; try another --method, more tiles, or --keep-worst",
                    record.cosine_mean
                ),
            );
        }
        if self.json {
            return print_json(&json!({
                "model": self.out,
                "contract": contract,
                "name": built.contract.name,
                "digest": built.digest,
                "num_bytes": built.bytes.len(),
                "precision": Precision::Int8.name(),
                "quantisation": record,
            }));
        }
        let megabytes = |bytes: usize| bytes as f64 / 1e6;
        let (ours, theirs) = (megabytes(built.bytes.len()), megabytes(model.bytes.len()));
        println!("{}  {ours:.1} MB of {theirs:.1} MB  sha256 {}", self.out.display(), built.digest);
        println!("{}", contract.display());
        print_record(record);
        Ok(())
    }
}

/// Prints how near the models are, as far as it was measured.
fn print_record(record: &Quantisation) {
    let calibrated_on = show::counted(record.calibration_tiles as u64, "tile");
    println!("ranges      {} over {calibrated_on}, for {}", record.method, record.target);
    if let Some(weights) = record.weights {
        println!("weights     {weights} range, -{0} to {0}", weights.largest());
    }
    let held_out = show::counted(record.held_out_tiles as u64, "other tile");
    println!("compared    on {held_out} with the fp32 model:");
    println!("  embedding cosine {:.5} mean, {:.5} minimum", record.cosine_mean, record.cosine_min);
    if let (Some(agreement), Some(error)) = (record.top1_agreement, record.logits_error) {
        println!("  class     the same for {:.1} %", 100.0 * agreement);
        println!("  logits    {:.1} % error (root mean square)", 100.0 * error);
    }
    println!("layers      {} in int8, {} float", record.int8_layers, record.float_layers.len());
    for left in &record.float_layers {
        println!("  {}: {}", left.layer, left.reason);
    }
}

/// Says which tiles a run would reject.
fn say_what_is_left_out(tiles: &Split) {
    let left_out: Vec<_> = [&tiles.calibration, &tiles.held_out]
        .into_iter()
        .flat_map(|Tiles { left_out, .. }| left_out)
        .collect();
    if let Some(first) = left_out.first() {
        let count = show::counted(left_out.len() as u64, "tile");
        say(Level::Warn, &format!("{count} left out; the first is {first}"));
    }
}
