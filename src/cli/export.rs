//! `tilefleet export OUTPUT`

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::answers::export::{Asked, MapQuestion, describe_run, maps};
use crate::cli::output_args::PlaceArgs;
use crate::cli::{block_on, print_json, show};
use crate::input::stac::describe;
use crate::models::file;
use crate::output::{Output, RunId};
use crate::vocabulary::error::{Error, Result};

/// Exports completed runs to other formats
///
/// `--stac`: a STAC Collection of a run, with one Item per file of the table and one, with the MLM extension, for its
/// model. Rows are not copied; only the files' footers are read.
///
/// `--cog`: two cloud-optimised `GeoTIFFs` per scene, NAME-class.tif with the predicted class of each window and
/// NAME-score.tif with its score. A pixel is a window; windows without a prediction are nodata.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  tilefleet export s3://tables/scenes --stac --out catalogue
  tilefleet export table --stac --out table/stac --license CC-BY-4.0
  tilefleet export table --cog --out maps")]
pub struct Args {
    #[command(flatten)]
    place: PlaceArgs,

    #[command(flatten)]
    format: Format,

    /// The folder to write to; created if it does not exist
    #[arg(long, value_name = "FOLDER")]
    out: PathBuf,

    /// The run [default: the newest complete run; for maps, the newest row of each tile]
    #[arg(long, value_name = "ID")]
    run: Option<String>,

    /// Licence of the embeddings, as an SPDX identifier
    #[arg(long, value_name = "SPDX", default_value = "other", conflicts_with = "cog")]
    license: String,

    /// Replace files that exist
    #[arg(long)]
    force: bool,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What is written.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct Format {
    /// Describe a run as a STAC Collection
    #[arg(long)]
    stac: bool,

    /// Draw predicted classes and their scores as maps
    #[arg(long)]
    cog: bool,
}

/// Runs the command.
pub fn run(args: Args) -> Result<()> {
    let output = args.place.open()?;
    let run = args.run.as_deref().map(RunId::parse).transpose()?;
    if args.format.cog { draw(&args, &output, run) } else { catalogue(&args, &output, run) }
}

fn catalogue(args: &Args, output: &Output, run: Option<RunId>) -> Result<()> {
    let collection = args.out.join("collection.json");
    if !args.force {
        file::refuse_existing(&collection)?;
    }
    let asked = Asked { run, folder: args.out.clone(), license: args.license.clone() };
    let description = block_on(describe_run(output, &asked))?;
    let documents = describe(&description)?;
    make_folder(&args.out.join("items"))?;
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
    let items = show::counted(items as u64, "item");
    println!("{}  {items} of run {}", collection.display(), description.run);
    Ok(())
}

fn draw(args: &Args, output: &Output, run: Option<RunId>) -> Result<()> {
    let maps = block_on(maps(output, &MapQuestion { run }))?;
    let names = names(maps.iter().map(|map| &*map.source));
    let paths = |name: &str| ["class", "score"].map(|kind| args.out.join(format!("{name}-{kind}.tif")));
    if !args.force {
        names.iter().flat_map(|name| paths(name)).try_for_each(|path| file::refuse_existing(&path))?;
    }
    make_folder(&args.out)?;
    let mut written = Vec::with_capacity(maps.len());
    for (map, name) in maps.iter().zip(&names) {
        let [class, score] = paths(name);
        file::write(&class, &map.classes()?, args.force)?;
        file::write(&score, &map.scores()?, args.force)?;
        if args.json {
            written.push(json!({
                "source": map.source, "class": class, "score": score, "placed": map.placed,
                "width": map.size.width, "height": map.size.height, "mapped": map.num_mapped,
            }));
        } else {
            println!("{}", line(&class, map));
        }
    }
    if args.json { print_json(&json!({"maps": written})) } else { Ok(()) }
}

fn line(path: &Path, map: &crate::answers::export::Map) -> String {
    let (all, mapped) = (map.size.num_pixels(), map.num_mapped);
    let have = show::form(mapped, "has", "have");
    let windows = format!("{} {have} a class", show::counted_of(mapped, all, "window"));
    let placed = if map.placed { "" } else { "; without georeference, as the scene has none" };
    format!("{}  {}, {windows}{placed}", path.display(), map.size)
}

fn make_folder(folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder).map_err(|cause| {
        Error::config(format!("cannot create the folder {}", folder.display()))
            .because(cause)
            .hint("choose a writable folder")
    })
}

/// Names files after their sources: the last part of the URI without its extension, and a number where
/// several are called the same.
fn names<'a>(sources: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut taken = HashSet::new();
    let mut free = |name: String| {
        let numbered = (2..).map(|number| format!("{name}.{number}"));
        let mut names = std::iter::once(name.clone()).chain(numbered);
        names.find(|name| taken.insert(name.to_lowercase())).expect("there are more numbers than files")
    };
    sources.map(|source| free(name_of(source))).collect()
}

fn name_of(source: &str) -> String {
    let path = source.split(['?', '#']).next().unwrap_or_default();
    let last = path.rsplit('/').find(|part| !part.is_empty()).unwrap_or_default();
    let stem = last.rsplit_once('.').map_or(last, |(stem, _)| stem);
    let is_plain = |character: char| character.is_alphanumeric() || "-_.".contains(character);
    let plain = |character: char| if is_plain(character) { character } else { '_' };
    if stem.is_empty() { "scene".to_owned() } else { stem.chars().map(plain).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_named_after_their_scenes() {
        let sources = [
            "s3://b/a/B04.tif",
            "s3://b/c/b04.tiff",
            "https://h/x y.json#item",
            "s3://b/b04.2.tif",
            "s3://b/.tif",
        ];
        assert_eq!(names(sources.into_iter()), ["B04", "b04.2", "x_y", "b04.2.2", "scene"]);
    }
}
