//! What planning would do, with a look at the headers that planning itself does not read.

use std::collections::BTreeMap;

use futures::{StreamExt, stream};

use super::Inspector;
use crate::config::{Grid, InspectOptions, Pipeline};
use crate::input::storage::ObjectUri;
use crate::scene::{BurnedIn, FrameTiling};
use crate::stages::plan::Preview;
use crate::stages::worker::Job;
use crate::vocabulary::error::Result;
use crate::vocabulary::reason::Rejection;

/// Returns what planning would do, writing nothing.
///
/// # Errors
///
/// As [`Job::preview`]; as the store answers where none of the sources that are looked at can be read.
pub async fn preview(job: &Job) -> Result<Preview> {
    let preview = job.preview().await?;
    if preview.sample.is_empty() {
        return Ok(preview);
    }
    let concurrency = job.pipeline().run.fetch_concurrency.get();
    let looker = looker(job)?;
    let looks = stream::iter(&preview.sample)
        .map(|uri| async { looker.check(&ObjectUri::of(uri)?).await })
        .buffer_unordered(concurrency);
    let looks: Vec<Result<Option<Rejection>>> = looks.collect().await;
    let (mut rejected, mut troubles) = (BTreeMap::new(), Vec::new());
    for look in looks {
        match look {
            Ok(Some(rejection)) => *rejected.entry(rejection.reason.code()).or_default() += 1,
            Ok(None) => {}
            Err(error) => troubles.push(error),
        }
    }
    let unanswered = troubles.len() as u64;
    let looked_at = preview.sample.len() as u64 - unanswered;
    // One that is in trouble says nothing of the others, all of them say that their store is away.
    match troubles.pop().filter(|_| looked_at == 0) {
        Some(error) => Err(error),
        None => Ok(Preview { rejected, looked_at: Some(looked_at), unanswered, ..preview }),
    }
}

fn looker(job: &Job) -> Result<Inspector> {
    let Pipeline { storage, limits, tiles, grid, input, privacy, .. } = job.pipeline().clone();
    let frames = if let Grid::Frames(frames) = &grid { frames.clone() } else { FrameTiling::default() };
    let burned_in = privacy.map_or(BurnedIn::Allow, |privacy| privacy.burned_in);
    let stac = input.stac;
    let settings = InspectOptions { storage, limits, tiles, grid, other_grid: None, frames, burned_in, stac };
    Inspector::with_storage(&settings, Some(job.model().contract.input.clone()), job.storage().clone())
}
