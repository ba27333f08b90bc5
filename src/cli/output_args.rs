//! The arguments of every command that looks at an output.

use std::path::PathBuf;

use crate::config::{Secrets, secrets, storage_options};
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

/// The vault of an output whose sources have pseudonyms.
#[derive(Clone, Debug, clap::Args)]
pub struct VaultArgs {
    /// Where the URIs of sources are that have pseudonyms [default: `TILEFLEET_PRIVACY_VAULT`]
    #[arg(long, value_name = "URI")]
    vault: Option<String>,
}

/// The vault of an output whose sources have pseudonyms, and their key.
#[derive(Clone, Debug, clap::Args)]
pub struct SecretArgs {
    #[command(flatten)]
    vault: VaultArgs,

    /// File with the key of the pseudonyms [default: `TILEFLEET_PRIVACY_KEY_FILE`, otherwise the key in
    /// `TILEFLEET_PRIVACY_KEY`]
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
}

impl PlaceArgs {
    /// Names the output with its vault if one is given: its sources are shown by their names all the same.
    ///
    /// # Errors
    ///
    /// As [`Self::open`]; `Config` if the vault lies in the output.
    pub fn open_with_vault(&self, args: &VaultArgs) -> Result<Output> {
        let (output, storage) = self.open_with_storage()?;
        match args.vault.clone().or(secrets(&[])?.vault) {
            Some(vault) => output.with_vault_at(&storage, &vault),
            None => Ok(output),
        }
    }

    /// Opens the output with key and vault, if it has pseudonyms.
    ///
    /// # Errors
    ///
    /// As [`Self::open`] and [`Output::unlocked`].
    pub async fn unlock(&self, args: &SecretArgs) -> Result<Output> {
        let uri = ObjectUri::parse(&self.output)?;
        let storage = Storage::new(storage_options(&self.set)?)?;
        let given = secrets(&[])?;
        let secrets = Secrets {
            key_file: args.key_file.clone().or(given.key_file),
            vault: args.vault.vault.clone().or(given.vault),
        };
        Output::unlocked(&storage, &uri, Process::real(), &secrets).await
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
