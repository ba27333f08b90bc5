//! `tilefleet model inspect`: looks into any ONNX file.

use std::path::PathBuf;

use crate::cli::local_model::local_model;
use crate::cli::print_json;
use crate::config::storage_options;
use crate::model_cache::LocalModel;
use crate::models::Overrides;
use crate::models::inspect::Report;
use crate::models::skeleton::Skeleton;
use crate::observe::stderr::{Level, say};
use crate::vocabulary::error::Result;

/// Shows inputs, outputs, parameters, digest and contract of an ONNX file, and whether a run could use it
///
/// Exits 78 and says why if a run could not use the model as it is. With --skeleton it prints the draft of a contract
/// file instead: what is known or assumed, with the entries to fill in commented out.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  tilefleet model inspect resnet152.onnx
  tilefleet model inspect s3://models/resnet152.onnx --json
  tilefleet model inspect my.onnx --embedding pool --skeleton \\
      > my.contract.toml")]
pub struct Args {
    /// The ONNX file: a path or a URI
    #[arg(value_name = "FILE.onnx")]
    file: PathBuf,
    /// Tensor with the features, as `model.embedding` of a pipeline
    #[arg(long, value_name = "NAME")]
    embedding: Option<String>,
    /// Tensor with the raw classifier outputs, as `model.logits` of a pipeline
    #[arg(long, value_name = "NAME")]
    logits: Option<String>,
    /// Print the draft of a contract file
    #[arg(long, conflicts_with = "json")]
    skeleton: bool,
    /// Settings of the store, such as `--set storage.region=eu-north-1`; repeatable
    #[arg(long = "set", value_name = "storage.KEY=VALUE")]
    set: Vec<String>,
    /// Print the answer as JSON
    #[arg(long)]
    json: bool,
}

/// Says what an ONNX file holds, and whether a run could use it.
///
/// # Errors
///
/// [`Kind::Config`](crate::vocabulary::error::Kind::Config) where the file cannot be read, is not ONNX or cannot
/// be used as it is; as [`crate::model_cache::bring`], if it lies in a store.
pub fn run(args: &Args) -> Result<()> {
    let overrides = Overrides { embedding: args.embedding.clone(), logits: args.logits.clone() };
    let model = local_model(&args.file, &storage_options(&args.set)?)?;
    if args.skeleton {
        return print_skeleton(&model, &overrides);
    }
    let report = model.read(|path| Report::of(path, &overrides))?;
    // The copy of an object lies elsewhere.
    let report = Report { file: args.file.display().to_string(), ..report };
    if args.json {
        print_json(&report)?;
    } else {
        print!("{report}");
    }
    report.check()
}

fn print_skeleton(model: &LocalModel, overrides: &Overrides) -> Result<()> {
    let skeleton = model.read(|path| Skeleton::of(path, overrides))?;
    print!("{}", skeleton.text);
    if let Some(why) = &skeleton.why {
        let reasons = [&[why.to_string()], &why.causes()[..]].concat();
        say(Level::Warn, &format!("based on the graph alone: {}", reasons.join(": ")));
    }
    if !skeleton.unknown.is_empty() {
        say(Level::Warn, &format!("fill in before the model can be used: {}", skeleton.unknown.join(", ")));
    }
    Ok(())
}
