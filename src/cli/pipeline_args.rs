//! The arguments of every command that works on a pipeline.

use std::num::NonZeroU32;
use std::path::PathBuf;

use crate::config::{Loaded, Pipeline};
use crate::vocabulary::error::Result;

/// The pipeline file and what changes from run to run.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct PipelineArgs {
    /// The pipeline file, such as pipelines/tiles.toml; without one give --input, --model and --output
    pub pipeline: Option<PathBuf>,

    /// A folder, file, glob or URL to read instead of all of the pipeline's input; repeatable
    #[arg(long = "input", value_name = "URI")]
    pub inputs: Vec<String>,

    /// Where the table goes, `output.uri`
    #[arg(long, value_name = "URI")]
    pub output: Option<String>,

    /// The ONNX file, `model.file`: a path or a URI
    #[arg(long, value_name = "FILE")]
    pub model: Option<PathBuf>,

    /// Precision of the network's arithmetic, `run.precision`
    #[arg(long, value_name = "PRECISION")]
    pub precision: Option<String>,

    /// Execution provider, `run.provider`; one that does not work is an error
    #[arg(long, value_name = "PROVIDER")]
    pub provider: Option<String>,

    /// Only windows that touch this area, `tiles.aoi`: a GeoJSON file, or WEST,SOUTH,EAST,NORTH in degrees
    #[arg(long, value_name = "AREA", allow_hyphen_values = true)]
    pub aoi: Option<String>,

    /// Only STAC items of these dates, `input.stac.dates`, such as 2024-05-01/2024-08-31
    #[arg(long, value_name = "FROM/TO")]
    pub dates: Option<String>,

    /// Only the first N sources in order of their URIs, `input.limit`; the next run without it covers the rest
    #[arg(long, value_name = "N")]
    pub limit: Option<NonZeroU32>,

    /// Any other setting, such as `--set run.batch=32`; repeatable
    #[arg(long = "set", value_name = "SECTION.KEY=VALUE")]
    pub set: Vec<String>,
}

impl PipelineArgs {
    /// Merges defaults, file, environment and flags.
    ///
    /// # Errors
    ///
    /// `Config` for what the file or a value gets wrong.
    pub fn load(self) -> Result<Loaded> {
        let path = self.pipeline.clone();
        Pipeline::load(path.as_deref(), &self.into())
    }
}
