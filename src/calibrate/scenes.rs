//! Windows of scenes for a calibration, cut and read as a run with these settings does.

use std::num::NonZeroUsize;
use std::sync::Arc;

use futures::{StreamExt as _, TryStreamExt as _, stream};
use tokio::sync::Semaphore;

use super::pool::{LeftOut, Pool, SceneWindows, spread};
use crate::config::InspectOptions;
use crate::formats::image::DecodeLimits;
use crate::input::byte_ranges::ReadOptions;
use crate::input::source::{Entry, ItemSpec, Sorted};
use crate::input::storage::Storage;
use crate::scene::{BurnedIn, Tiling};
use crate::stages::fetch::OpenScene;
use crate::stages::preprocess::Preprocess;
use crate::stages::single_window::WindowReader;
use crate::stages::survey::planned_windows;
use crate::stages::worker::tiling;
use crate::vocabulary::contract::Input;
use crate::vocabulary::error::Result;
use crate::vocabulary::identity::Naming;
use crate::vocabulary::identity::SourceUri;
use crate::vocabulary::reason::{Rejection, SourceError};

/// Maximum number of scenes whose windows are chosen from; of more, these are spread evenly over all.
const MAX_SCENES: usize = 512;
/// Scenes opened, and requests made, at a time.
const AT_ONCE: NonZeroUsize = NonZeroUsize::new(8).expect("8 is not 0");

/// How scenes are found and cut.
pub(super) struct Scenes {
    tiling: Arc<Tiling>,
    /// Which STAC items are taken.
    pub(super) items: ItemSpec,
    max_windows: u64,
    burned_in: BurnedIn,
}

impl Scenes {
    /// Returns `None` if every source is one tile.
    pub(super) fn new(settings: &InspectOptions, input: &Input) -> Result<Option<Self>> {
        let Some(tiling) = tiling::resolve(&settings.grid, input)? else { return Ok(None) };
        let items = tiling::items(&settings.stac, &settings.limits, tiling.aoi.as_ref(), &Naming::default())?;
        let (max_windows, burned_in) = (settings.limits.max_windows, settings.burned_in);
        Ok(Some(Self { tiling: Arc::new(tiling), items, max_windows, burned_in }))
    }

    /// Returns what reads windows for a model.
    pub(super) fn windows<'a>(
        &'a self,
        storage: &'a Storage,
        limits: &'a DecodeLimits,
        how: &'a Preprocess,
    ) -> WindowReader<'a> {
        let Self { tiling, max_windows, burned_in, .. } = self;
        WindowReader { storage, limits, tiling, how, max_windows: *max_windows, burned_in: *burned_in }
    }

    /// Opens scenes, and lists their windows.
    pub(super) async fn pool(&self, windows: &WindowReader<'_>, sources: &Sorted) -> Result<Pool> {
        let some =
            spread(sources.entries(), sources.num_entries, MAX_SCENES.min(sources.num_entries as usize));
        let reads = ReadOptions::new(Arc::new(Semaphore::new(AT_ONCE.get())), Arc::default());
        let opened = stream::iter(some).map(|entry| open(windows, entry, reads.clone()));
        let mut opened = opened.buffered(AT_ONCE.get());
        let (mut scenes, mut left_out) = (Vec::new(), Vec::new());
        while let Some((source, opened)) = opened.try_next().await? {
            match opened {
                Ok(scene) => scenes.push(SceneWindows {
                    source,
                    num_windows: planned_windows(&scene.scene, &self.tiling).count() as u64,
                    scene: Arc::new(scene),
                }),
                Err(why) => left_out.push(LeftOut { source, window: None, why }),
            }
        }
        Ok(Pool::of_windows(scenes, self.tiling.clone(), left_out))
    }
}

async fn open(
    windows: &WindowReader<'_>,
    entry: Result<Entry>,
    reads: ReadOptions,
) -> Result<(SourceUri, Result<OpenScene, Rejection>)> {
    let entry = entry?;
    let item = entry.stac_item()?;
    let opened = windows.open((&entry, item.as_ref()), &[], reads).await;
    Ok((entry.uri, SourceError::answer(opened)?))
}
