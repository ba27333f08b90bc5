//! `tilefleet inspect SOURCE…`

use std::path::PathBuf;

use futures::{StreamExt, stream};

use super::chip::contract_of;
use super::{block_on, print_json, show};
use crate::config::looking;
use crate::error::{Error, Kind, Result};
use crate::format::reader::TileGrid;
use crate::look::{Band, Blocks, Description, Image, Looker, Scene, Status, Verdict};
use crate::storage::ObjectUri;

/// So many sources are looked at at once.
const AT_ONCE: usize = 8;

/// Says what the decoder sees of images: format, size, bands, samples, compression
///
/// Only the header is read, a few KiB of most files. So `ok` means that a run with these settings would begin to
/// decode the image; whether its data are whole, `tilefleet chip` tells. A run takes a source as one tile unless
/// `tiles.grid` is "regular": then it cuts TIFFs into windows. With `--model`, `ok` also means that the model takes
/// such images. Exit 65: a run would reject one of them.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  tilefleet inspect photo.jpg
  tilefleet inspect s3://photos/2026/a.jpg s3://photos/2026/b.tif --json
  tilefleet inspect scene.tif --set tiles.grid=regular --model resnet50.onnx
  tilefleet inspect scan.png --set limits.max_pixels=1_000_000_000")]
pub struct Args {
    /// Images: local paths, s3://, gs://, az:// or http(s):// addresses.
    #[arg(required = true, value_name = "SOURCE")]
    sources: Vec<String>,

    /// The model, or its contract, of the run that is meant.
    #[arg(long, value_name = "FILE.onnx|FILE.toml")]
    model: Option<PathBuf>,

    /// How to get at them and what a run would do, such as `--set tiles.grid=regular`; repeatable
    #[arg(long = "set", value_name = "SECTION.KEY=VALUE")]
    set: Vec<String>,

    /// Print JSON: an array with an object for each source.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(args: Args) -> Result<()> {
    let uris: Vec<ObjectUri> =
        args.sources.iter().map(|source| ObjectUri::parse(source)).collect::<Result<_>>()?;
    let input = args.model.as_deref().map(contract_of).transpose()?.map(|contract| contract.input);
    let looker = Looker::new(&looking(&args.set)?, input)?;
    let looked: Vec<Result<Description>> = block_on(async {
        let looks = stream::iter(&uris).map(|uri| looker.describe(uri));
        Ok(looks.buffered(AT_ONCE).collect().await)
    })?;
    let mut errors = Vec::new();
    let mut descriptions = Vec::new();
    for (uri, looked) in uris.iter().zip(looked) {
        let description = looked.unwrap_or_else(|error| {
            let description = Description::failed(uri, looker.grid(), &error);
            errors.push(error);
            description
        });
        errors.extend(description.check().err());
        descriptions.push(description);
    }
    if args.json {
        // Where none could be looked at, the error is the only answer.
        if descriptions.iter().any(|description| description.status != Status::Failed) {
            print_json(&descriptions)?;
        }
    } else {
        // Of a single source that failed, the error says all there is to say.
        let shown = |description: &&Description| description.status != Status::Failed || uris.len() > 1;
        descriptions.iter().filter(shown).for_each(print);
    }
    worst(errors, uris.len())
}

/// Ends with the error that most needs a person.
fn worst(errors: Vec<Error>, num_sources: usize) -> Result<()> {
    let num_errors = errors.len();
    let Some(worst) = errors.into_iter().rev().max_by_key(|error| severity(error.kind())) else {
        return Ok(());
    };
    if num_sources == 1 {
        return Err(worst);
    }
    let message = format!("{num_errors} of {num_sources} sources cannot be decoded");
    Err(Error::new(worst.kind(), message).because(worst))
}

fn severity(kind: Kind) -> u8 {
    match kind {
        Kind::Bug => 3,
        Kind::Rejected => 0,
        Kind::Unavailable => 1,
        _ => 2,
    }
}

fn print(description: &Description) {
    println!("{}", description.source);
    for (name, value) in lines(description) {
        println!("  {name:<12}{}", show::hanging(&value, 14));
    }
}

fn lines(description: &Description) -> Vec<(&'static str, String)> {
    let mut lines = vec![("status", status(description))];
    lines.extend(otherwise(description));
    if let Some(format) = description.format {
        let agrees = description.extension_agrees.unwrap_or(true);
        let note = if agrees { "" } else { ", though the name says otherwise" };
        lines.push(("format", format!("{format}{note}")));
    }
    if let Some(image) = &description.image {
        lines.extend(image_lines(image));
    }
    if let Some(size) = description.size_bytes {
        let version = description.version.as_ref().map_or_else(String::new, |v| format!(", version {v}"));
        lines.push(("object", format!("{}{version}", show::bytes(size))));
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
        TileGrid::Regular => ("as a whole", &grids.whole),
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
        _ if image.scene.is_some() => image.num_frames.to_string(),
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
    let mut blocks = format!("{num_blocks} {layout} of {block_width}×{block_height}");
    blocks.push_str(if scene.separate_bands { ", each of one band" } else { "" });
    let predictor = (scene.predictor > 1).then(|| format!(", predictor {}", scene.predictor));
    blocks.push_str(&predictor.unwrap_or_default());
    let valid = match (scene.valid_by, &scene.nodata) {
        ("nodata", Some(nodata)) => format!("all but {nodata}"),
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
        scaled.then(|| format!("value = sample × {} + {}", band.scale, band.offset)),
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
        assert_eq!(first.render(), "error: 2 of 3 sources cannot be decoded\n  because: Rejected");
    }
}
