//! The model that an argument names, as a file of this machine.

use std::path::Path;

use super::block_on;
use crate::input::storage::{Storage, StorageOptions};
use crate::model_cache;
use crate::model_cache::{LocalModel, ModelPlace};
use crate::vocabulary::error::{Error, Result};

/// Brings the model that an argument names, with all that belongs to it.
pub(super) fn local_model(given: &Path, storage: &StorageOptions) -> Result<LocalModel> {
    model_at(&ModelPlace::of(given)?, storage)
}

/// Brings the model that lies at a place, with all that belongs to it.
pub(super) fn model_at(place: &ModelPlace, storage: &StorageOptions) -> Result<LocalModel> {
    if let ModelPlace::File(path) = place {
        // Where nothing is asked for, no threads have to be started.
        return Ok(LocalModel::of_file(path.clone()));
    }
    block_on(model_cache::bring(place, &Storage::new(storage.clone())?))
}

/// As [`local_model`], of a single file, such as a contract.
pub(super) fn local_file(given: &Path, storage: &StorageOptions) -> Result<LocalModel> {
    let place = ModelPlace::of(given)?;
    if let ModelPlace::File(path) = place {
        return Ok(LocalModel::of_file(path));
    }
    block_on(model_cache::bring_file(&place, &Storage::new(storage.clone())?))
}

/// Refuses a URI where a file is to be written; `flag` names it.
pub(super) fn refuse_uri(flag: &str, path: &Path) -> Result<()> {
    if !path.to_str().is_some_and(|text| text.contains("://")) {
        return Ok(());
    }
    Err(Error::usage(format!("{flag} takes the path of a local file, not a URI"))
        .hint("write to this machine, then copy what was written with the tools of your store"))
}
