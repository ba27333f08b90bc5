//! Models, wherever they lie, as files of this machine.
//!
//! Goes in: where a model lies. Comes out: a path that [`crate::models`] reads, with the contract, the STAC Item and the
//! weights of the network in the same folder. A local file stays where it is. Objects of a store are fetched once for
//! all processes of a machine: each is kept under the digest of its content, and a version that has been fetched before
//! costs one request that reads nothing. Whoever runs, plans, inspects or changes a model calls it.
//!
//! ```text
//! look (version) ─▶ index: known? ──────────────────────────────▶ blob, compared with its digest ─▶ view
//!                     │ no                                          ▲
//!                     └▶ turn (lock of the object) ─▶ stage ─▶ blob, index
//! ```
//!
//! It reads no networks but for the names of the files beside them, and deletes nothing that is whole.

mod cache;
mod fetch;
mod place;

use std::path::{Path, PathBuf};

pub use self::place::ModelPlace;

use self::fetch::Fetch;
use crate::input::storage::{ObjectUri, Storage};
use crate::vocabulary::error::{Error, Result};

/// A model, or a contract, that is a file of this machine.
#[derive(Clone, Debug)]
pub struct LocalModel {
    path: PathBuf,
    fetched_from: Option<ObjectUri>,
}

impl LocalModel {
    /// Takes a file of this machine as it is.
    #[must_use]
    pub fn of_file(path: PathBuf) -> Self {
        Self { path, fetched_from: None }
    }

    /// Reads it; an error names the object that was fetched, beside the copy.
    ///
    /// # Errors
    ///
    /// As `read`.
    pub fn read<T>(&self, read: impl FnOnce(&Path) -> Result<T>) -> Result<T> {
        read(&self.path).map_err(|error| match &self.fetched_from {
            None => error,
            Some(uri) => Error::new(error.kind(), format!("{uri} cannot be used")).because(error),
        })
    }

    /// Returns where the file lies.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Brings a model to this machine, with whatever lies beside it and belongs to it.
///
/// - `storage`: access to the stores; its requests are not limited by what inputs may lead to
///
/// # Errors
///
/// [`Kind::Config`](crate::vocabulary::error::Kind::Config) if there is no such object, it may not be read, or it is too
/// large; [`Kind::Unavailable`](crate::vocabulary::error::Kind::Unavailable) if the store is away or the disk is full.
pub async fn bring(place: &ModelPlace, storage: &Storage) -> Result<LocalModel> {
    bring_by(place, async |uri| Fetch::new(uri, storage)?.model().await).await
}

/// Brings one file to this machine, such as a contract.
///
/// # Errors
///
/// As [`bring`].
pub async fn bring_file(place: &ModelPlace, storage: &Storage) -> Result<LocalModel> {
    bring_by(place, async |uri| Fetch::new(uri, storage)?.single_file().await).await
}

async fn bring_by(
    place: &ModelPlace,
    fetch: impl AsyncFnOnce(&ObjectUri) -> Result<PathBuf>,
) -> Result<LocalModel> {
    let uri = match place {
        ModelPlace::File(path) => return Ok(LocalModel::of_file(path.clone())),
        ModelPlace::Object(uri) => uri,
    };
    let path = fetch(uri)
        .await
        .map_err(|error| Error::new(error.kind(), format!("cannot fetch {uri}")).because(error))?;
    Ok(LocalModel { path, fetched_from: Some(uri.clone()) })
}
