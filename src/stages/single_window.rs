//! One window of a scene, read outside of a run as a run reads it: surveyed, fetched, decoded, composed.
//!
//! ```text
//! source ─▶ open: survey, check ─▶ OpenScene ─▶ read: cuts, blocks, compose ─▶ WindowChip
//! ```
//!
//! In goes a source and what a run would ask of it; out comes a scene, then the chips of its windows, or why a run rejects
//! them. `inspect`, `chip` and calibration call it. Blocks are read for one window and not kept; what windows share in a
//! run, its queues and its budgets are those of `stages/pipeline`.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::sync::Arc;

use crate::formats::image::DecodeLimits;
use crate::formats::raster::{BlockId, GridId};
use crate::input::byte_ranges::{ReadError, ReadOptions};
use crate::input::open::OpenRaster;
use crate::input::source::{Entry, ItemRecord};
use crate::input::storage::{ObjectUri, Storage, StoreError};
use crate::scene::skip::Skipped;
use crate::scene::{SceneLayout, SourceWindow, Tiling};
use crate::stages::compose::{SceneChip, SourceSamples, composite};
use crate::stages::decode::blocks::{Block, decode_block};
use crate::stages::fetch;
use crate::stages::fetch::{OpenScene, blocks_of, check_size};
use crate::stages::preprocess::Preprocess;
use crate::stages::survey::HeaderReader;
use crate::vocabulary::error::{Error, Result};
use crate::vocabulary::geometry::{Size, Window};
use crate::vocabulary::reason::{Rejection, SourceError};

/// Blocks of one object by their place. One that cannot be decoded fails those who need it.
pub type Blocks = HashMap<(GridId, BlockId), Result<Block, Rejection>>;

/// Surveys a source as planning does, and finds out what a run would if an object of it does not answer.
///
/// - `max_windows`: more windows of one scene are a rejection
/// - `item`: that of the entry
/// - `known`: objects whose headers have been read
/// - `reads`: how others are read
///
/// # Errors
///
/// [`SourceError`]: what a run would reject, or `Config` or `Unavailable` if a store is away or the access is wrong.
pub async fn survey(
    storage: &Storage,
    tiling: &Arc<Tiling>,
    max_windows: u64,
    (entry, item): (&Entry, Option<&ItemRecord>),
    known: &[Arc<OpenRaster>],
    reads: ReadOptions,
) -> Result<OpenScene, SourceError> {
    let surveyor = HeaderReader::new(storage.clone(), tiling.clone(), max_windows, reads);
    let (survey, objects) = surveyor.survey_objects(entry, item, known).await?;
    match survey {
        SceneLayout::Scene(scene) => Ok(OpenScene::new(scene, objects)),
        SceneLayout::Rejected { reason, detail } => Err(Rejection::new(reason, detail).into()),
        SceneLayout::Unanswered { uri } => Err(unanswered(storage, &ObjectUri::of(&uri)?).await?.into()),
    }
}

/// Returns why a run rejects a source for an object that did not answer.
async fn unanswered(storage: &Storage, uri: &ObjectUri) -> Result<Rejection> {
    let bucket = storage.bucket(uri);
    let found = match bucket.head(uri.key()).await {
        // An answer to this may say nothing of what reading it does.
        Ok(_) => bucket.get_range(uri.key(), 0, 1).await.map(|_| ()),
        Err(fault) => Err(fault),
    };
    match found {
        Err(StoreError::Gone) => Ok(fetch::gone()),
        Err(StoreError::Forbidden) => Ok(fetch::forbidden()),
        Err(StoreError::Failed(error)) => Err(error),
        Ok(()) | Err(_) => Err(Error::unavailable(format!("{uri} cannot be read by ranges"))),
    }
}

/// Reads windows of scenes as a run with this tiling does.
#[derive(Clone, Copy)]
pub struct WindowReader<'a> {
    /// Where objects lie.
    pub storage: &'a Storage,
    /// Of windows and blocks.
    pub limits: &'a DecodeLimits,
    /// How scenes are cut.
    pub tiling: &'a Arc<Tiling>,
    /// What the model takes.
    pub how: &'a Preprocess,
    /// More windows of one scene are a rejection.
    pub max_windows: u64,
}

/// A window that was read.
pub struct WindowChip {
    /// Its pixels.
    pub chip: SceneChip,
    /// Why a run gives its row no prediction, if it leaves the window out.
    pub skipped: Option<Skipped>,
}

impl WindowReader<'_> {
    /// Surveys and opens a source, and compares what its headers say with the contract.
    ///
    /// - `known`: objects whose headers have been read
    /// - `reads`: how others are read
    ///
    /// # Errors
    ///
    /// As [`survey`].
    pub async fn open(
        &self,
        source: (&Entry, Option<&ItemRecord>),
        known: &[Arc<OpenRaster>],
        reads: ReadOptions,
    ) -> Result<OpenScene, SourceError> {
        let opened = survey(self.storage, self.tiling, self.max_windows, source, known, reads).await?;
        let side = self.tiling.size;
        self.how.check(self.how.bands(), opened.kind(), Size::new(side, side))?;
        Ok(opened)
    }

    /// Reads one window.
    ///
    /// - `frame`, `window`: of the scene
    ///
    /// # Errors
    ///
    /// [`SourceError`]
    pub async fn read(
        &self,
        opened: &OpenScene,
        frame: u32,
        window: Window,
    ) -> Result<WindowChip, SourceError> {
        let cuts = opened.scene.cuts(frame, window, self.tiling.size);
        check_size(opened, &cuts, self.limits)?;
        let blocks = blocks(opened, &cuts).await?;
        Ok(self.composed(opened, cuts, &blocks)?)
    }

    fn composed(
        &self,
        opened: &OpenScene,
        cuts: Vec<SourceWindow>,
        blocks: &[Blocks],
    ) -> Result<WindowChip, Rejection> {
        let piece = |cut: SourceWindow| {
            let SourceWindow { object, frame, level, .. } = cut;
            let block = |part, id| {
                blocks[object][&(GridId { frame, level, part }, id)].as_ref().map_err(Clone::clone)
            };
            SourceSamples::read(cut, opened.objects[object].file(), block)
        };
        let pieces: Vec<SourceSamples> = cuts.into_iter().map(piece).collect::<Result<_, _>>()?;
        let rules = self.tiling.skip_rules();
        let chip = composite(&opened.scene, &rules, self.how.bands(), self.tiling.size, &pieces);
        Ok(WindowChip { skipped: rules.after_pixels(&chip.measured), chip })
    }
}

/// Reads and decodes what cuts need, object by object.
async fn blocks(opened: &OpenScene, cuts: &[SourceWindow]) -> Result<Vec<Blocks>, SourceError> {
    let mut blocks = Vec::with_capacity(opened.objects.len());
    for (number, object) in opened.objects.iter().enumerate() {
        let object = object.opened();
        let keys = cuts.iter().flat_map(|cut| blocks_of(opened, cut)).filter(|key| key.object == number);
        let found = decoded(object, keys.map(|key| (key.grid, key.id))).await;
        blocks.push(found.map_err(|error| match error {
            ReadError::Rejected(rejection) => SourceError::Rejected(rejection),
            ReadError::Store(fault) => fault.into_error(object.uri()).into(),
        })?);
    }
    Ok(blocks)
}

/// Reads and decodes blocks, each once.
///
/// # Errors
///
/// [`ReadError`]
pub async fn decoded(
    object: &OpenRaster,
    needed: impl IntoIterator<Item = (GridId, BlockId)>,
) -> Result<Blocks, ReadError> {
    let mut grids: BTreeMap<GridId, Vec<BlockId>> = BTreeMap::new();
    for (grid, id) in needed {
        grids.entry(grid).or_default().push(id);
    }
    let mut blocks = Blocks::new();
    for (grid, mut ids) in grids {
        ids.sort_unstable();
        ids.dedup();
        let table = object.table(grid, &ids).await?;
        let ranges: Vec<_> = ids.iter().map(|&id| table.range(id)).collect();
        let stored: Vec<Range<u64>> = ranges.iter().filter_map(|range| range.clone().ok()?).collect();
        let mut bytes = object.reader().read(&stored).await?.into_iter();
        for (id, range) in ids.into_iter().zip(ranges) {
            let block = range.and_then(|range| {
                let stored = range.map(|_| bytes.next().expect("one for each range"));
                decode_block(&object.grid(grid).spec(id), stored.as_deref())
            });
            blocks.insert((grid, id), block);
        }
    }
    Ok(blocks)
}
