//! One window of a scene as a run gives it to the model: surveyed, cut, stacked.

use std::sync::Arc;

use super::blocks::{Blocks, decoded};
use super::chip::ChipRequest;
use super::header::reads;
use super::source::Source;
use super::{not_had, rejected};
use crate::formats::image::Limits;
use crate::formats::reader::TileGrid;
use crate::input::byte_ranges::ReadOptions;
use crate::input::open::OpenRaster;
use crate::input::storage::{ObjectUri, Storage, StoreError};
use crate::scene::{Scene, SceneLayout, SourceWindow, Tiling};
use crate::stages::compose::{SceneChip, SourceSamples, composite};
use crate::stages::decode::blocks::Part;
use crate::stages::fetch;
use crate::stages::fetch::{OpenScene, blocks_of, check_size};
use crate::stages::preprocess::Preprocess;
use crate::stages::survey::{HeaderReader, grid_of, is_in_grid, is_planned, nearest_window};
use crate::vocabulary::error::{Error, Result};
use crate::vocabulary::geometry::{Size, Window};
use crate::vocabulary::reason::{Reason, Rejection};

/// Surveys a source as planning does, and finds out what a run would if an object of it does not answer.
///
/// - `max_windows`: more windows of one scene are a rejection
/// - `known`: objects whose headers have been read
/// - `reads`: how others are read
pub(super) async fn survey(
    storage: &Storage,
    tiling: &Arc<Tiling>,
    max_windows: u64,
    source: &Source,
    known: &[Arc<OpenRaster>],
    reads: ReadOptions,
) -> Result<Result<OpenScene, Rejection>> {
    let surveyor = HeaderReader::new(storage.clone(), tiling.clone(), max_windows, reads);
    let (survey, objects) = surveyor.survey_objects(&source.entry, source.item()?, known).await?;
    match survey {
        SceneLayout::Scene(scene) => Ok(Ok(OpenScene::new(scene, objects))),
        SceneLayout::Rejected { reason, detail } => Ok(Err(Rejection::new(reason, detail))),
        SceneLayout::Unanswered { uri } => unanswered(storage, &ObjectUri::parse(&uri)?).await.map(Err),
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
pub(super) struct WindowReader<'a> {
    pub(super) storage: &'a Storage,
    pub(super) limits: &'a Limits,
    pub(super) tiling: &'a Arc<Tiling>,
    pub(super) how: &'a Preprocess,
    /// More windows of one scene are a rejection.
    pub(super) max_windows: u64,
}

/// A window that was read.
pub(super) struct ReadWindow {
    pub(super) chip: SceneChip,
    pub(super) window: Window,
    pub(super) level: u32,
    /// Why a run gives its row no prediction, if it leaves the window out.
    pub(super) skipped: Option<(Reason, String)>,
    pub(super) read_bytes: u64,
}

impl WindowReader<'_> {
    /// Tells by the headers alone how a run cuts a source, or why it rejects all of it.
    ///
    /// - `known`: objects whose headers have been read
    pub(super) async fn judge(
        &self,
        source: &Source,
        known: &[Arc<OpenRaster>],
    ) -> Result<Result<Arc<Scene>, Rejection>> {
        let opened = self.opened(source, known, reads(u64::MAX)).await?;
        Ok(opened.map(|opened| opened.scene))
    }

    /// Surveys and opens a source, and holds what its headers say against the contract.
    async fn opened(
        &self,
        source: &Source,
        known: &[Arc<OpenRaster>],
        reads: ReadOptions,
    ) -> Result<Result<OpenScene, Rejection>> {
        let opened = survey(self.storage, self.tiling, self.max_windows, source, known, reads).await?;
        Ok(opened.and_then(|opened| self.check(&opened).map(|()| opened)))
    }

    fn check(&self, scene: &OpenScene) -> Result<(), Rejection> {
        let side = self.tiling.size;
        self.how.check(self.how.bands(), scene.kind(), Size::new(side, side))
    }

    /// Reads one window.
    pub(super) async fn read(&self, source: &Source, wanted: ChipRequest) -> Result<ReadWindow> {
        let uri = source.uri.as_str();
        let reads = reads(u64::MAX);
        let traffic = reads.traffic.clone();
        let opened = self.opened(source, &[], reads).await?;
        let opened = opened.map_err(|rejection| rejected(uri, TileGrid::Regular, rejection))?;
        let scene = opened.scene.clone();
        let window = self.chosen(uri, &scene, wanted)?;
        let reject = |rejection| rejected(format!("{window} of {uri}"), TileGrid::Regular, rejection);
        let cuts = scene.cuts(window, self.tiling.size);
        check_size(&opened, &cuts, self.limits).map_err(reject)?;
        let blocks = blocks(&opened, &cuts).await?;
        let chip = self.stacked(&opened, cuts, &blocks).map_err(reject)?;
        let (valid, clouds) = (chip.measured.valid_fraction, chip.measured.cloud_fraction);
        Ok(ReadWindow {
            skipped: self.tiling.skips(valid, clouds),
            chip,
            window,
            level: scene.level,
            read_bytes: traffic.bytes(),
        })
    }

    /// Returns which window is meant; without one, the only one.
    fn chosen(&self, uri: &str, scene: &Arc<Scene>, wanted: ChipRequest) -> Result<Window> {
        let level = scene.level;
        if wanted.frame != 0 || (wanted.level != 0 && wanted.level != level) {
            return Err(Error::usage(format!("a run cuts {uri} at level {level}, frame 0")));
        }
        let only = (grid_of(scene) == (1, 1)).then(|| nearest_window(scene, 0, 0));
        match wanted.window.or(only).filter(|window| is_planned(scene, self.tiling, *window)) {
            Some(window) => Ok(window),
            None if wanted.window.or(only).is_some_and(|window| is_in_grid(scene, window)) => {
                Err(Error::usage(format!("no run with this `tiles.aoi` has that window of {uri}"))
                    .hint("leave tiles.aoi out, or name a window that touches it"))
            }
            None => Err(not_planned(uri, scene, wanted.window)),
        }
    }

    fn stacked(
        &self,
        opened: &OpenScene,
        cuts: Vec<SourceWindow>,
        blocks: &[Blocks],
    ) -> Result<SceneChip, Rejection> {
        let piece = |cut: SourceWindow| {
            let (object, level) = (cut.object, cut.level);
            let block =
                |part, id| blocks[object][&(level, part == Part::Mask, id)].as_ref().map_err(Clone::clone);
            SourceSamples::read(cut, opened.objects[object].file(), block)
        };
        let pieces: Vec<SourceSamples> = cuts.into_iter().map(piece).collect::<Result<_, _>>()?;
        let (side, clouds) = (self.tiling.size, self.tiling.clouds.as_ref());
        Ok(composite(&opened.scene, clouds, self.how.bands(), side, &pieces))
    }
}

/// Says of a window that no run has it, and which one is near.
fn not_planned(uri: &str, scene: &Scene, wanted: Option<Window>) -> Error {
    let Scene { size, level, .. } = *scene;
    let (x, y) = wanted.map_or((0, 0), |window| (window.x, window.y));
    let near = nearest_window(scene, x, y);
    let (across, down) = grid_of(scene);
    let cut = format!("a run cuts {uri} into {across} × {down} windows of {}", near.size());
    let error = match wanted {
        None => Error::usage(cut),
        Some(window) => Error::usage(format!("no run has the window {window} of {uri}")).because(cut),
    };
    let Window { x, y, width, height } = near;
    error.hint(format!(
        "--window {x},{y},{width},{height} is the nearest of that grid, in pixels of level {level}, which is {size}; \
         without `--stage input` any window can be written, samples as stored"
    ))
}

/// Reads and decodes what cuts need, object by object.
async fn blocks(opened: &OpenScene, cuts: &[SourceWindow]) -> Result<Vec<Blocks>> {
    let mut blocks = Vec::with_capacity(opened.objects.len());
    for (number, object) in opened.objects.iter().enumerate() {
        let (object, uri) = (object.opened(), object.opened().uri());
        let keys = cuts.iter().flat_map(|cut| blocks_of(opened, cut)).filter(|key| key.object == number);
        let found = decoded(object, keys.map(|key| (key.level, key.mask, key.id))).await;
        let found = found.map_err(|fault| not_had(fault, uri))?;
        blocks.push(found.map_err(|why| rejected(uri, TileGrid::Regular, why))?);
    }
    Ok(blocks)
}
