//! The arguments of every command that looks at an output.

use crate::config::storage_options;
use crate::input::storage::{ObjectUri, Storage};
use crate::output::{Output, RunId};
use crate::vocabulary::error::Result;
use crate::vocabulary::process::Process;

/// The output, and how to get at it.
#[derive(Clone, Debug, clap::Args)]
pub struct PlaceArgs {
    /// The output's folder or bucket prefix
    output: String,

    /// Settings of the store, such as `--set storage.region=eu-north-1`; repeatable
    #[arg(long = "set", global = true, value_name = "storage.KEY=VALUE")]
    set: Vec<String>,
}

impl PlaceArgs {
    /// Names the output; nothing is read yet.
    ///
    /// # Errors
    ///
    /// `Usage` or `Config` for what the address or a setting gets wrong.
    pub fn open(&self) -> Result<Output> {
        Ok(self.open_with_storage()?.0)
    }

    /// Names the output, and how other objects are got at; nothing is read yet.
    ///
    /// # Errors
    ///
    /// As [`Self::open`].
    pub fn open_with_storage(&self) -> Result<(Output, Storage)> {
        let uri = ObjectUri::parse(&self.output)?;
        let storage = Storage::new(storage_options(&self.set)?)?;
        Ok((Output::open(&storage, &uri, Process::real()), storage))
    }
}

/// An output, or one run of it.
#[derive(Clone, Debug, clap::Args)]
pub struct OutputArgs {
    #[command(flatten)]
    place: PlaceArgs,

    /// Only this run [default: all runs of the output]
    #[arg(long, value_name = "ID")]
    run: Option<String>,

    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

impl OutputArgs {
    /// Names the output, and the run if one was given; nothing is read yet.
    ///
    /// # Errors
    ///
    /// `Usage` or `Config` for what the address, the run's id or a setting gets wrong.
    pub fn open(&self) -> Result<(Output, Option<RunId>)> {
        let run = self.run.as_deref().map(RunId::parse).transpose()?;
        Ok((self.place.open()?, run))
    }
}
