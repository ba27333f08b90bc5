//! One window of a scene, read outside of a run as a run reads it: surveyed, fetched, decoded, composed.
//!
//! ```text
//! source ─▶ open: survey, check ─▶ OpenScene
//! window ─▶ cuts ─▶ skipped_unread? ─▶ fetch ─▶ FetchedWindow ─▶ draw: decode, compose ─▶ WindowChip
//! ```
//!
//! In goes a source and what a run would ask of it; out comes a scene, then the chips of its windows, or why a run rejects
//! them. `inspect`, `chip` and calibration call it. `fetch` decodes nothing, and `draw` waits for nothing and takes all
//! cores. Blocks are read for one window and not kept; what windows share in a run, its queues and its budgets are those of
//! `stages/pipeline`.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use rayon::prelude::*;

use crate::formats::dicom::DicomFile;
use crate::formats::image::DecodeLimits;
use crate::formats::raster::{BlockId, GridId};
use crate::input::byte_ranges::{ReadError, ReadOptions};
use crate::input::open::OpenRaster;
use crate::input::source::{Entry, ItemRecord};
use crate::input::storage::{ObjectUri, Storage, StoreError};
use crate::scene::skip::{Skipped, WindowHeaders};
use crate::scene::{BurnedIn, MedicalRules, SceneLayout, SourceWindow, Tiling};
use crate::stages::compose::{SceneChip, SourceSamples, composite, frame};
use crate::stages::decode::blocks::{Block, decode_block};
use crate::stages::fetch;
use crate::stages::fetch::{OpenScene, blocks_of, check_size};
use crate::stages::preprocess::Preprocess;
use crate::stages::survey::HeaderReader;
use crate::vocabulary::error::{Error, Result};
use crate::vocabulary::geometry::{Size, Window};
use crate::vocabulary::reason::{Rejection, SourceError};

/// Blocks of one object as stored, by their place: no bytes of one that is not stored.
pub type StoredBlocks = HashMap<(GridId, BlockId), Result<Option<Bytes>, Rejection>>;

/// The same, decoded. One that cannot be decoded fails those who need it.
pub type Blocks = HashMap<(GridId, BlockId), Result<Block, Rejection>>;

/// Surveys a source as planning does, and finds out what a run would if an object of it does not answer.
///
/// - `max_windows`: more windows of one scene are a rejection
/// - `item`: that of the entry
/// - `known`: objects whose headers have been read
/// - `reads`: how others are read
/// - `burned_in`: what becomes of medical images that may have text burned in
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
    burned_in: BurnedIn,
) -> Result<OpenScene, SourceError> {
    let rules = MedicalRules { burned_in, ..MedicalRules::default() };
    let surveyor = HeaderReader::new(storage.clone(), tiling.clone(), max_windows, reads).telling(rules);
    let (survey, objects) = surveyor.survey_objects(entry, item, known).await?;
    match survey {
        SceneLayout::Scene(scene) => Ok(OpenScene::new(scene, objects)),
        SceneLayout::Rejected { reason, detail, .. } => Err(Rejection::new(reason, detail).into()),
        SceneLayout::Unanswered { uri } => Err(unanswered(storage, &ObjectUri::of(&uri)?).await?.into()),
    }
}

/// Returns why a run rejects a source for an object that did not answer.
async fn unanswered(storage: &Storage, uri: &ObjectUri) -> Result<Rejection> {
    match fetch::probe(storage, uri).await {
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
    /// What becomes of medical images that may have text burned in.
    pub burned_in: BurnedIn,
}

/// A window whose blocks were read, and are not decoded yet.
pub struct FetchedWindow {
    /// What it needs of each of its objects.
    cuts: Vec<SourceWindow>,
    /// Of each object of the scene.
    blocks: Vec<StoredBlocks>,
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
        let (tiling, max_windows) = (self.tiling, self.max_windows);
        let opened = survey(self.storage, tiling, max_windows, source, known, reads, self.burned_in).await?;
        if let Some(tiling) = &self.tiling.frames {
            self.how.check_frames(opened.dicom(), &tiling.preset)?;
            return Ok(opened);
        }
        let side = self.tiling.size;
        self.how.check(self.how.bands(), opened.kind(), Size::new(side, side))?;
        Ok(opened)
    }

    /// Returns what a window needs of each object.
    ///
    /// - `frame`, `window`: of the scene
    ///
    /// # Errors
    ///
    /// [`Reason::TooLarge`](crate::vocabulary::reason::Reason::TooLarge)
    pub fn cuts(
        &self,
        opened: &OpenScene,
        frame: u32,
        window: Window,
    ) -> Result<Vec<SourceWindow>, Rejection> {
        let cuts = opened.scene.cuts(frame, window, self.tiling.size);
        check_size(opened, &cuts, self.limits)?;
        Ok(cuts)
    }

    /// Returns why a run leaves a window out without reading it, if headers say enough for that.
    #[must_use]
    pub fn skipped_unread(&self, opened: &OpenScene, cuts: &[SourceWindow]) -> Option<Skipped> {
        let headers = WindowHeaders { scene: &opened.scene, cuts };
        self.tiling.skip_rules().before_pixels(&headers).map(|(skipped, _)| skipped)
    }

    /// Decodes the blocks of a window on all cores, and stacks its bands.
    ///
    /// # Errors
    ///
    /// The first of its blocks that is damaged.
    pub fn draw(&self, opened: &OpenScene, window: FetchedWindow) -> Result<WindowChip, Rejection> {
        let objects = opened.objects.iter().zip(&window.blocks);
        let mut blocks: Vec<Blocks> =
            objects.map(|(object, stored)| decoded(object.opened(), stored)).collect();
        if let Some(tiling) = &self.tiling.frames {
            let frame = window.cuts[0].frame;
            let block = blocks[0].remove(&DicomFile::block(frame)).expect("a frame is one block")?;
            let chip = frame::render(opened.dicom(), frame, &tiling.preset, block)?;
            return Ok(WindowChip { chip: chip.into(), skipped: None });
        }
        let piece = |cut: SourceWindow| {
            let SourceWindow { object, frame, level, .. } = cut;
            let block = |part, id| {
                blocks[object][&(GridId { frame, level, part }, id)].as_ref().map_err(Clone::clone)
            };
            SourceSamples::read(cut, opened.objects[object].file(), block)
        };
        let pieces: Vec<SourceSamples> = window.cuts.into_iter().map(piece).collect::<Result<_, _>>()?;
        let rules = self.tiling.skip_rules();
        let chip = composite(&opened.scene, &rules, self.how.bands(), self.tiling.size, &pieces);
        Ok(WindowChip { skipped: rules.after_pixels(&chip.measured), chip })
    }

    /// Reads one window, also one that a run leaves out unread.
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
        let cuts = self.cuts(opened, frame, window)?;
        Ok(self.draw(opened, FetchedWindow::fetch(opened, cuts).await?)?)
    }
}

impl FetchedWindow {
    /// Reads the blocks of a window, object by object.
    ///
    /// # Errors
    ///
    /// [`SourceError`]
    pub async fn fetch(opened: &OpenScene, cuts: Vec<SourceWindow>) -> Result<Self, SourceError> {
        let mut blocks = Vec::with_capacity(opened.objects.len());
        for (number, object) in opened.objects.iter().enumerate() {
            let object = object.opened();
            let keys = cuts.iter().flat_map(|cut| blocks_of(opened, cut));
            let needed = keys.filter(|key| key.object == number).map(|key| (key.grid, key.id));
            blocks.push(stored(object, needed).await.map_err(|error| error.at(object.uri()))?);
        }
        Ok(Self { cuts, blocks })
    }

    /// Returns how many bytes its blocks take.
    #[must_use]
    pub fn num_bytes(&self) -> usize {
        let blocks = self.blocks.iter().flat_map(StoredBlocks::values);
        blocks.map(|block| block.as_ref().map_or(0, |bytes| bytes.as_ref().map_or(0, Bytes::len))).sum()
    }
}

/// Reads blocks of an object as stored, each once.
///
/// # Errors
///
/// [`ReadError`]
pub async fn stored(
    object: &OpenRaster,
    needed: impl IntoIterator<Item = (GridId, BlockId)>,
) -> Result<StoredBlocks, ReadError> {
    let mut grids: BTreeMap<GridId, Vec<BlockId>> = BTreeMap::new();
    for (grid, id) in needed {
        grids.entry(grid).or_default().push(id);
    }
    let mut blocks = StoredBlocks::new();
    for (grid, mut ids) in grids {
        ids.sort_unstable();
        ids.dedup();
        let table = object.table(grid, &ids).await?;
        let ranges: Vec<_> = ids.iter().map(|&id| table.range(id)).collect();
        let stored: Vec<Range<u64>> = ranges.iter().filter_map(|range| range.clone().ok()?).collect();
        let mut bytes = object.reader().read(&stored).await?.into_iter();
        for (id, range) in ids.into_iter().zip(ranges) {
            let block = range.map(|range| range.map(|_| bytes.next().expect("one was read for each range")));
            blocks.insert((grid, id), block);
        }
    }
    Ok(blocks)
}

/// Decodes blocks of an object on all cores.
#[must_use]
pub fn decoded(object: &OpenRaster, stored: &StoredBlocks) -> Blocks {
    let block = |(&(grid, id), stored): (&(GridId, BlockId), &Result<Option<Bytes>, Rejection>)| {
        let stored = stored.as_ref().map_err(Clone::clone);
        let block = stored.and_then(|stored| decode_block(&object.grid(grid).spec(id), stored.as_deref()));
        ((grid, id), block)
    };
    stored.par_iter().map(block).collect()
}
