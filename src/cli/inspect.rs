//! `tilefleet inspect SOURCE…`

use std::path::PathBuf;

use futures::{StreamExt, stream};

use super::chip::contract_of;
use super::{block_on, print_json, show};
use crate::answers::inspect::{
    Asset, Band, Blocks, Description, Image, Inspector, Item, ItemBand, Medical, Scene, Source, Sources,
    Status, Verdict, Windows,
};
use crate::config::looking;
use crate::formats::reader::TileGrid;
use crate::observe::stderr::{Level, say};
use crate::vocabulary::error::{Error, Kind, Result};

/// Number of sources that are read at once.
const AT_ONCE: usize = 8;

/// Shows the properties of images: format, size, bands, samples, compression
///
/// Only the header is read, a few KiB of most files. So `ok` means that a run with these settings would begin to
/// decode the image; `tilefleet chip` shows whether its data are complete. A source is one tile, unless `tiles.grid`
/// is "regular": then TIFFs are cut into windows. With `--model`, `ok` also means that the model takes such images,
/// and the number of windows is shown. With `tiles.grid` "regular", STAC documents are read as in a run: each item is
/// described with the files that hold the model's bands, or those of `tiles.bands`. Exit 65: a run would reject at
/// least one of them.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  tilefleet inspect photo.jpg
  tilefleet inspect s3://photos/2026/a.jpg s3://photos/2026/b.tif --json
  tilefleet inspect scene.tif --set tiles.grid=regular --model resnet50.onnx
  tilefleet inspect item.json --set tiles.grid=regular \\
      --set tiles.bands=red,green,blue
  tilefleet inspect scan.png --set limits.max_pixels=1_000_000_000")]
pub struct Args {
    /// Images, folders, patterns or STAC documents, as in `input.uris`: local paths, s3://, gs://, az:// or
    /// http(s):// URLs
    #[arg(required = true, value_name = "SOURCE")]
    sources: Vec<String>,

    /// The run's model, or its contract: a path or a URI
    #[arg(long, value_name = "FILE.onnx|FILE.toml")]
    model: Option<PathBuf>,

    /// Settings of the run, such as `--set tiles.grid=regular`; repeatable
    #[arg(long = "set", value_name = "SECTION.KEY=VALUE")]
    set: Vec<String>,

    /// Print JSON: an array with one object per source
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(args: Args) -> Result<()> {
    let settings = looking(&args.set)?;
    let contract = args.model.as_deref().map(|path| contract_of(path, &settings.storage)).transpose()?;
    let looker = Inspector::new(&settings, contract.map(|contract| contract.input))?;
    let looked = block_on(look(&looker, &args.sources))?;
    let num_sources = looked.len();
    let mut errors = Vec::new();
    let mut descriptions = Vec::new();
    for (source, looked) in looked {
        let description = looked.unwrap_or_else(|error| {
            let description = Description::failed(&source, looker.grid(), &error);
            errors.push(error);
            description
        });
        errors.extend(description.check().err());
        descriptions.push(description);
    }
    if args.json {
        // Where none could be looked at, the error is the only answer.
        if errors.is_empty() || descriptions.iter().any(|description| description.status != Status::Failed) {
            print_json(&descriptions)?;
        }
    } else {
        // Of a single source that failed, the error says all there is to say.
        let shown = |description: &&Description| description.status != Status::Failed || num_sources > 1;
        descriptions.iter().filter(shown).for_each(print);
    }
    worst(errors, num_sources)
}

/// Describes all sources that the arguments lead to, by name; an argument that leads to none is one that failed.
async fn look(looker: &Inspector, arguments: &[String]) -> Result<Vec<(String, Result<Description>)>> {
    let mut found = Vec::new();
    for argument in arguments {
        match looker.sources(argument).await {
            Ok(Sources { sources, left_out }) => {
                if let Some(left_out) = left_out {
                    say(
                        Level::Info,
                        &format!("dates, clouds or area exclude some items of {argument}: {left_out}"),
                    );
                }
                found.extend(sources.into_iter().map(Ok));
            }
            // What is wrong with the command line is wrong with all of it.
            Err(error) if error.kind() == Kind::Usage => return Err(error),
            Err(error) => found.push(Err((argument.clone(), error))),
        }
    }
    let looks = stream::iter(found).map(async |found: std::result::Result<Source, _>| match found {
        Ok(source) => (source.uri.to_string(), looker.describe(&source).await),
        Err((argument, error)) => (argument, Err(error)),
    });
    Ok(looks.buffered(AT_ONCE).collect().await)
}

/// Ends with the error that most needs a person.
fn worst(errors: Vec<Error>, num_sources: usize) -> Result<()> {
    let num_errors = errors.len();
    let num_rejected = errors.iter().filter(|error| error.kind() == Kind::Rejected).count();
    let Some(worst) = errors.into_iter().rev().max_by_key(|error| severity(error.kind())) else {
        return Ok(());
    };
    if num_sources == 1 {
        return Err(worst);
    }
    let message = match (num_rejected, num_errors - num_rejected) {
        (rejected, 0) => format!("a run would reject {rejected} of {num_sources} sources"),
        (0, failed) => format!("{failed} of {num_sources} sources cannot be read"),
        (rejected, failed) => {
            format!("of {num_sources} sources a run would reject {rejected}, and {failed} cannot be read")
        }
    };
    Err(Error::new(worst.kind(), message).because(worst))
}

fn severity(kind: Kind) -> u8 {
    match kind {
        Kind::Bug => 3,
        Kind::Rejected => 0,
        Kind::Unavailable | Kind::LeaseLost => 1,
        _ => 2,
    }
}

fn print(description: &Description) {
    println!("{}", description.source);
    print_lines(2, lines(description));
    let Some(item) = &description.item else { return };
    for asset in &item.assets {
        println!("  asset       {}", asset.keys.join(", "));
        print_lines(4, asset_lines(asset));
    }
    let notes = item.notes.iter().map(|note| ("note", note.clone()));
    print_lines(2, notes.chain(without_bands(description, item)));
}

fn print_lines(indent: usize, lines: impl IntoIterator<Item = (&'static str, String)>) {
    for (name, value) in lines {
        println!("{:indent$}{name:<12}{}", "", show::hanging(&value, indent + 12));
    }
}

/// Says what is missing where nothing says which files are taken.
fn without_bands(description: &Description, item: &Item) -> Option<(&'static str, String)> {
    let keys = item.asset_keys.join(", ");
    let what = format!("--model or tiles.bands decides which of its assets a run reads; it has {keys}");
    (description.status == Status::Ok && item.assets.is_empty()).then_some(("note", what))
}

fn item_line(item: &Item) -> String {
    let collection = item.collection.as_ref().map(|collection| format!("of {collection}"));
    let clouds = item.cloud_cover.map(|percent| format!("{percent} % clouds"));
    let parts = [Some(item.id.clone()), collection, item.datetime.clone(), clouds];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

fn counted(windows: &Windows) -> String {
    let Windows { count, width, height, level } = windows;
    format!("{} of {width}×{height} at level {level}", show::count(*count))
}

fn asset_lines(asset: &Asset) -> Vec<(&'static str, String)> {
    let Verdict { status, reason, detail } = &asset.verdict;
    let mut lines =
        vec![("file", asset.source.clone()), ("status", verdict(*status, *reason, detail.as_deref()))];
    lines.extend(asset.bands.iter().map(|band| ("takes", taken(band))));
    lines.extend(asset.format.map(|format| ("format", format.to_owned())));
    lines.extend(asset.image.iter().flat_map(image_lines));
    lines.extend(asset.size_bytes.map(|size| ("object", object(size, asset.version.as_deref()))));
    lines.extend(asset.size_bytes.map(|_| ("read", show::bytes(asset.read_bytes))));
    lines
}

/// Says what a run makes of a band.
fn taken(band: &ItemBand) -> String {
    let number = band.number.map(|number| format!("band {number}"));
    let value = band.scale.zip(band.offset).filter(|values| *values != (1.0, 0.0));
    let value = value.map(|(scale, offset)| conversion(scale, offset));
    [Some(band.name.clone()), number, value].into_iter().flatten().collect::<Vec<_>>().join(", ")
}

fn conversion(scale: f64, offset: f64) -> String {
    format!("value = sample × {scale} + {offset}")
}

fn object(size_bytes: u64, version: Option<&str>) -> String {
    let version = version.map_or_else(String::new, |version| format!(", version {version}"));
    format!("{}{version}", show::bytes(size_bytes))
}

fn lines(description: &Description) -> Vec<(&'static str, String)> {
    let mut lines = vec![("status", status(description))];
    lines.extend(otherwise(description));
    lines.extend(description.windows.as_ref().map(|windows| ("windows", counted(windows))));
    lines.extend(description.item.as_ref().map(|item| ("item", item_line(item))));
    if let Some(format) = description.format {
        let agrees = description.extension_agrees.unwrap_or(true);
        let note = if agrees { "" } else { ", though the name says otherwise" };
        lines.push(("format", format!("{format}{note}")));
    }
    if let Some(image) = &description.image {
        lines.extend(image_lines(image));
    }
    lines.extend(description.medical.iter().flat_map(medical_lines));
    if let Some(size) = description.size_bytes {
        lines.push(("object", object(size, description.version.as_deref())));
        lines.push(("read", show::bytes(description.read_bytes)));
    }
    lines
}

fn status(description: &Description) -> String {
    let Description { status, reason, detail, .. } = description;
    verdict(*status, *reason, detail.as_deref())
}

fn verdict(status: Status, reason: Option<&str>, detail: Option<&str>) -> String {
    let detail = detail.unwrap_or_default();
    match (status, reason) {
        (Status::Ok, _) => "ok, by its header".to_owned(),
        (Status::Rejected, Some(reason)) => format!("rejected, {reason}: {detail}"),
        _ => format!("failed: {detail}"),
    }
}

/// Says what a run of the other grid would do with a TIFF.
fn otherwise(description: &Description) -> Option<(&'static str, String)> {
    let grids = description.grids.as_ref().filter(|_| description.format == Some("TIFF"))?;
    let (name, other) = match description.grid {
        TileGrid::Whole => ("as windows", &grids.regular),
        TileGrid::Regular | TileGrid::Frames => ("as a whole", &grids.whole),
    };
    let Verdict { status, reason, detail } = other;
    Some((name, verdict(*status, *reason, detail.as_deref())))
}

fn image_lines(image: &Image) -> Vec<(&'static str, String)> {
    let turned = match image.orientation {
        1 => String::new(),
        code => {
            format!(" as seen, {}×{} as stored, orientation {code}", image.stored_width, image.stored_height)
        }
    };
    let how = [image.subsampling, image.interlaced.then_some("interlaced")].into_iter().flatten();
    let compression: Vec<&str> = std::iter::once(image.compression.as_str()).chain(how).collect();
    let frames = match image.num_pages {
        _ if image.scene.is_some() || image.num_frames > 1 => image.num_frames.to_string(),
        0 | 1 => image.num_frames.to_string(),
        pages => format!("{}, the first of {pages} pages", image.num_frames),
    };
    let stored_bits =
        format!("{} {} stored", image.stored_bits, if image.stored_bits == 1 { "bit" } else { "bits" });
    let decoded = show::bytes(image.decoded_bytes);
    let mut lines = vec![
        ("size", format!("{}×{}{turned}", image.width, image.height)),
        ("bands", format!("{}, {}", image.num_bands, image.photometric)),
        ("samples", format!("{}, {stored_bits}, {decoded} decoded", image.sample_type)),
        ("compression", compression.join(", ")),
        ("levels", levels(image)),
        ("frames", frames),
    ];
    if let Some(scene) = &image.scene {
        lines.extend(scene_lines(scene));
    }
    if image.icc_profile {
        lines.push(("profile", "ICC, which is not applied".to_owned()));
    }
    lines
}

fn medical_lines(medical: &Medical) -> Vec<(&'static str, String)> {
    let sign = if medical.signed { "signed" } else { "unsigned" };
    let range = medical.modality_range.map(|(low, high)| format!("{low} to {high}"));
    let window = medical.window.map(|(centre, width)| format!("centre {centre}, width {width}"));
    let spacing = medical.pixel_spacing.map(|[rows, columns]| format!("{rows} mm × {columns} mm"));
    let stored = format!("{}, {} bits, {sign}", medical.photometric, medical.bits_stored);
    let lines = [
        ("modality", medical.modality.clone()),
        ("stored", Some(stored)),
        ("values", range),
        ("window", window),
        ("spacing", spacing),
        ("view", medical.view_position.clone()),
        ("laterality", medical.laterality.clone()),
        ("burned in", burned_in(medical)),
    ];
    lines.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}

/// Says whether text may be burned into the pixels, and what a run makes of that.
fn burned_in(medical: &Medical) -> Option<String> {
    let says = medical.burned_in_annotation.as_deref();
    if !medical.may_be_burned_in {
        return says.map(str::to_owned);
    }
    let says = says.unwrap_or("not said, as usual for its kind");
    Some(format!("{says}: rejected with pseudonyms, unless privacy.burned_in says otherwise"))
}

/// Names the sizes of the levels, if there is more than one.
fn levels(image: &Image) -> String {
    let sizes = image.levels.iter().map(|level| format!("{}×{}", level.width, level.height));
    match image.levels.len() {
        1 => "1".to_owned(),
        count => format!("{count}: {}", sizes.collect::<Vec<_>>().join(", ")),
    }
}

fn scene_lines(scene: &Scene) -> Vec<(&'static str, String)> {
    let Blocks { layout, block_width, block_height, num_blocks, .. } = &scene.levels[0];
    let block = layout.strip_suffix('s').unwrap_or(layout);
    let mut blocks = format!("{} of {block_width}×{block_height}", show::counted(*num_blocks, block));
    blocks.push_str(if scene.separate_bands { ", each of one band" } else { "" });
    let predictor = (scene.predictor > 1).then(|| format!(", predictor {}", scene.predictor));
    blocks.push_str(&predictor.unwrap_or_default());
    let valid = match (scene.valid_by, &scene.nodata) {
        ("nodata", Some(nodata)) => format!("all except {nodata}"),
        ("all", _) => "all pixels".to_owned(),
        (by, _) => format!("by {by}"),
    };
    let kind = [(scene.big_tiff, "BigTIFF"), (scene.big_endian, "big-endian")];
    let kind: Vec<&str> = kind.into_iter().filter_map(|(is, name)| is.then_some(name)).collect();
    let mut lines = vec![("blocks", blocks), ("valid", valid)];
    if !kind.is_empty() {
        lines.push(("file", kind.join(", ")));
    }
    lines.push(("crs", scene.crs.clone()));
    lines.extend(scene.pixel_size.map(|[width, height]| ("pixel size", format!("{width} × {height}"))));
    let extent = |[west, south, east, north]: [f64; 4]| {
        format!("west {west:.6}, south {south:.6}, east {east:.6}, north {north:.6}")
    };
    lines.extend(scene.extent.map(|bbox| ("extent", extent(bbox))));
    lines.extend(scene.bands.iter().enumerate().map(|(number, band)| ("band", described(number, band))));
    lines.extend(scene.notes.iter().map(|note| ("note", note.clone())));
    lines
}

/// Says what is known of a band; people count bands from 1, as GDAL does.
fn described(number: usize, band: &Band) -> String {
    let scaled = (band.scale, band.offset) != (1.0, 0.0);
    let parts = [
        Some(format!("{}, {}", number + 1, band.colour)),
        band.description.clone(),
        scaled.then(|| conversion(band.scale, band.offset)),
        band.unit.clone(),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_error_decides() {
        let error = |kind| Error::new(kind, format!("{kind:?}"));
        let code = |kinds: &[Kind]| {
            worst(kinds.iter().map(|&kind| error(kind)).collect(), 9).map_err(|e| e.kind().exit_code())
        };
        assert_eq!(code(&[]), Ok(()));
        assert_eq!(code(&[Kind::Rejected, Kind::Unavailable]), Err(75));
        assert_eq!(code(&[Kind::Config, Kind::Unavailable, Kind::Rejected]), Err(78));
        let first = worst(vec![error(Kind::Rejected), Error::new(Kind::Rejected, "second")], 3).unwrap_err();
        assert_eq!(first.render(), "error: a run would reject 2 of 3 sources\n  because: Rejected");
        let said = |kinds: &[Kind]| {
            worst(kinds.iter().map(|&kind| error(kind)).collect(), 9).unwrap_err().to_string()
        };
        assert_eq!(said(&[Kind::Config, Kind::Config]), "2 of 9 sources cannot be read");
        let both = said(&[Kind::Config, Kind::Rejected, Kind::Rejected]);
        assert_eq!(both, "of 9 sources a run would reject 2, and 1 cannot be read");
    }
}
