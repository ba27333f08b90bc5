//! `tilefleet export OUTPUT`

use std::path::PathBuf;

use serde_json::json;

use crate::cli::output_args::PlaceArgs;
use crate::cli::{block_on, print_json};
use crate::error::{Error, Result};
use crate::export::{Asked, describe_run};
use crate::model::file;
use crate::plan::RunId;
use crate::stac::describe;

/// Writes completed runs in other people's formats
///
/// `--stac`: a STAC Collection of a run, with an Item for each file of its rows and one, with the MLM extension,
/// for its model. Rows stay where they are; only their files' footers are read.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  tilefleet export s3://tables/scenes --stac --out catalogue
  tilefleet export table --stac --out table/stac --license CC-BY-4.0")]
pub struct Args {
    #[command(flatten)]
    place: PlaceArgs,

    /// Describe a run as a STAC Collection
    #[arg(long, required = true)]
    stac: bool,

    /// The folder to write to; it is made if need be
    #[arg(long, value_name = "FOLDER")]
    out: PathBuf,

    /// The run; otherwise the newest that is complete
    #[arg(long, value_name = "ID")]
    run: Option<String>,

    /// Licence of the embeddings, as an SPDX identifier
    #[arg(long, value_name = "SPDX", default_value = "other")]
    license: String,

    /// Replace files that exist
    #[arg(long)]
    force: bool,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(args: Args) -> Result<()> {
    let output = args.place.open()?;
    let run = args.run.as_deref().map(RunId::parse).transpose()?;
    let collection = args.out.join("collection.json");
    if !args.force {
        file::refuse_existing(&collection)?;
    }
    let asked = Asked { run, folder: args.out.clone(), license: args.license };
    let description = block_on(describe_run(&output, &asked))?;
    let documents = describe(&description)?;
    let folder = args.out.join("items");
    std::fs::create_dir_all(&folder).map_err(|cause| {
        Error::config(format!("cannot make the folder {}", folder.display()))
            .because(cause)
            .hint("choose a folder that can be written to")
    })?;
    for document in &documents {
        let text = serde_json::to_vec_pretty(&document.json)
            .map_err(|cause| Error::bug("cannot write a description as JSON").because(cause))?;
        // What an export that was interrupted has left is written anew; the collection tells that one ended.
        file::write(&args.out.join(&document.path), &text, true)?;
    }
    let items = description.shards.len();
    if args.json {
        return print_json(&json!({"run": description.run, "collection": collection, "items": items}));
    }
    println!("{}  {items} items of run {}", collection.display(), description.run);
    Ok(())
}
