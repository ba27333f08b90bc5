//! `tilefleet chip SOURCE --out FILE`

use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde_json::json;

use super::local_model::{local_file, local_model, refuse_uri};
use super::run::assumptions;
use super::{WrongArgument, block_on, print_json};
use crate::answers::inspect::{
    ChipRequest, FileFormat, Inspector, MedicalStage, ModelInput, Picture, Source,
};
use crate::config::looking;
use crate::input::storage::StorageOptions;
use crate::models;
use crate::models::file;
use crate::observe::stderr::{Level, say};
use crate::vocabulary::contract::Contract;
use crate::vocabulary::error::{Error, Result};
use crate::vocabulary::geometry::Window;

/// Writes the decoded samples of an image, or of a window of it, to a file
///
/// Writes the samples that a run with these settings decodes: unscaled, in the image's own type, as `[height, width,
/// bands]`. By default a source is one picture, with its orientation and palette applied. With `--set
/// tiles.grid=regular` it is a scene: samples are written as stored, and only the blocks of the window are read, from
/// the level of --level. With `--stage input` the samples are the model's input: bands chosen, scaled, resized,
/// cropped, and normalised unless the graph does that; as `[height, width, bands]` for a model that takes NHWC
/// (uint8, normalised in the graph), as `[bands, height, width]` for one that takes NCHW (float32). The window must
/// then be a tile of the run: with the default grid the whole image, otherwise a window of the run's grid. A STAC
/// item is a source too; name one item of a document as DOCUMENT#ID. A damaged image is an error with the reason code
/// that a run would write, exit 65.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  tilefleet chip photo.jpg --out photo.npy
  tilefleet chip s3://photos/2026/a.jpg --window 64,32,224,224 --out window.png
  tilefleet chip a.tif --set tiles.grid=regular --window 0,0,64,64 --out a.npy
  tilefleet chip photo.jpg --stage input --model resnet152.onnx --out input.npy
  tilefleet chip ct.dcm --stage modality --frame 3 --out hounsfield.npy
  tilefleet chip items.json#S2A_1 --set tiles.grid=regular \\
      --set tiles.bands=red --out red.npy")]
pub struct Args {
    /// The image or STAC item: a local path, an s3://, gs://, az:// or http(s):// URL
    source: String,

    /// The file to write: .npy for any samples, .png for 8 and 16 bits of grey, RGB and alpha
    #[arg(long, value_name = "FILE")]
    out: PathBuf,

    /// The window, in pixels of the oriented image or of the scene's level [default: the whole image]; with `--stage
    /// input` a window of the run
    #[arg(long, value_name = "X,Y,W,H")]
    window: Option<WindowArg>,

    /// The level of a scene: 0 is full size, then come the overviews; plain images have only level 0
    #[arg(long, value_name = "N", default_value_t = 0)]
    level: u32,

    /// The frame; plain images have only frame 0
    #[arg(long, value_name = "N", default_value_t = 0)]
    frame: u32,

    /// Which samples to write
    #[arg(long, value_enum, default_value = "stored")]
    stage: Stage,

    /// The model, or its contract, for `--stage input`: a path or a URI
    #[arg(long, value_name = "FILE.onnx|FILE.toml", required_if_eq("stage", "input"))]
    model: Option<PathBuf>,

    /// Settings of the run, such as `--set tiles.sixteen_bit=scale`; repeatable
    #[arg(long = "set", value_name = "SECTION.KEY=VALUE")]
    set: Vec<String>,

    /// Replace the file if it exists
    #[arg(long)]
    force: bool,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// How far the samples have come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Stage {
    /// Decoded, as stored in the image
    Stored,
    /// A DICOM frame in the unit of its modality, such as Hounsfield units
    Modality,
    /// A DICOM frame as a viewer shows it, 8 bits
    Display,
    /// As given to the model
    Input,
}

impl Stage {
    fn name(self) -> &'static str {
        match self {
            Self::Stored => "stored",
            Self::Modality => "modality",
            Self::Display => "display",
            Self::Input => "input",
        }
    }
}

/// A window as written on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct WindowArg(Window);

impl FromStr for WindowArg {
    type Err = WrongArgument;

    fn from_str(text: &str) -> Result<Self, WrongArgument> {
        let numbers: Result<Vec<u32>, _> = text.split(',').map(|number| number.trim().parse()).collect();
        match numbers.as_deref() {
            Ok(&[x, y, width, height]) => Ok(Self(Window { x, y, width, height })),
            _ => Err(WrongArgument("a window is four whole numbers: X,Y,WIDTH,HEIGHT")),
        }
    }
}

/// Runs the command.
pub fn run(args: Args) -> Result<()> {
    refuse_uri("--out", &args.out)?;
    let format = FileFormat::of(&args.out)?;
    if !args.force {
        file::refuse_existing(&args.out)?;
    }
    let settings = looking(&args.set)?;
    let contract = args.contract(&settings.storage)?;
    let for_model = contract.is_some();
    let looker = Inspector::new(&settings, contract.map(|contract| contract.input))?;
    let wanted =
        ChipRequest { window: args.window.map(|window| window.0), level: args.level, frame: args.frame };
    let (source, found) = block_on(async {
        let source = looker.sources(&args.source).await?.only(&args.source)?;
        let found = if for_model {
            looker.input(&source, wanted).await?
        } else {
            let (chip, read_bytes) = match args.stage {
                Stage::Modality => looker.frame(&source, wanted, MedicalStage::Modality).await?,
                Stage::Display => looker.frame(&source, wanted, MedicalStage::Display).await?,
                Stage::Stored | Stage::Input => looker.chip(&source, wanted).await?,
            };
            let ChipRequest { window, level, .. } = wanted;
            ModelInput { picture: chip.into(), window, level, skipped: None, read_bytes }
        };
        Ok((source, found))
    })?;
    found.picture.check(format)?;
    write(&found.picture, format, &args.out, args.force)?;
    if let Some(skipped) = &found.skipped {
        let (code, detail) = (skipped.reason.code(), &skipped.detail);
        say(Level::Warn, &format!("a run leaves this window out, {code}: {detail}"));
    }
    args.print(&source, &found)
}

/// Reads the contract of a model, or a contract; says on standard error what is assumed without one.
pub(super) fn contract_of(path: &Path, storage: &StorageOptions) -> Result<Contract> {
    if path.extension().is_some_and(|extension| extension == "toml") {
        return local_file(path, storage)?.read(Contract::load);
    }
    let model = local_model(path, storage)?.read(|path| models::load(path, &models::Overrides::default()))?;
    if let Some(assumed) = assumptions(&model) {
        say(Level::Warn, &assumed);
    }
    Ok(model.contract)
}

fn write(picture: &Picture, format: FileFormat, path: &Path, replace: bool) -> Result<()> {
    let failed = || Error::unavailable(format!("cannot write {}", path.display()));
    file::write_with(path, replace, |staged| {
        let mut out = BufWriter::new(staged.as_file_mut());
        picture.write(format, &mut out).map_err(|cause| failed().because(cause))?;
        out.flush().map_err(|cause| failed().because(cause))
    })
}

impl Args {
    /// Returns the contract of the model, if it is asked for.
    fn contract(&self, storage: &StorageOptions) -> Result<Option<Contract>> {
        match (self.stage, &self.model) {
            (Stage::Input, Some(path)) => contract_of(path, storage).map(Some),
            (_, None) => Ok(None),
            (Stage::Stored | Stage::Modality | Stage::Display, Some(_)) => {
                Err(Error::usage("--model has no effect on samples as stored")
                    .hint("add `--stage input`, or leave out --model"))
            }
        }
    }

    fn print(&self, source: &Source, found: &ModelInput) -> Result<()> {
        let ModelInput { picture, window, level, skipped, read_bytes } = found;
        let sample_type = picture.samples.type_name();
        if self.json {
            let window = window.map(|w| [w.x, w.y, w.width, w.height]);
            return print_json(&json!({
                "source": source.uri,
                "out": self.out,
                "stage": self.stage.name(),
                "window": window,
                "level": level,
                "frame": self.frame,
                "shape": picture.shape,
                "axes": picture.axes,
                "sample_type": sample_type,
                "bands": picture.bands.to_string(),
                "skipped": skipped.as_ref().map(|skipped| skipped.reason.code()),
                "read_bytes": read_bytes,
            }));
        }
        let [a, b, c] = picture.shape;
        let axes = picture.axes.join(", ");
        println!("{}  {sample_type} [{a}, {b}, {c}] ({axes}), {}", self.out.display(), picture.bands);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_is_four_numbers() {
        let window = |text: &str| text.parse::<WindowArg>().ok().map(|window| window.0);
        assert_eq!(window("1,2, 3,4"), Some(Window { x: 1, y: 2, width: 3, height: 4 }));
        for wrong in ["", "1,2,3", "1,2,3,4,5", "-1,2,3,4", "1;2;3;4", "1.5,2,3,4"] {
            assert_eq!(window(wrong), None, "{wrong}");
        }
    }
}
