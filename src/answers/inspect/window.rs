//! One window of a scene as a run gives it to the model: surveyed, cut, stacked.

use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroUsize;
use std::ops::Range;
use std::sync::Arc;

use tokio::sync::Semaphore;

use super::chip::ChipRequest;
use super::source::Source;
use super::{not_had, rejected};
use crate::formats::image::Limits;
use crate::formats::reader::{TileGrid, parse_scene};
use crate::formats::tiff::{BlockId, parse_blocks};
use crate::input::byte_ranges::RangeReader;
use crate::input::storage::{ObjectUri, Storage, StoreError};
use crate::scene::{Scene, SceneLayout, SourceWindow, Tiling};
use crate::stages::compose::{SceneChip, SourceSamples, composite};
use crate::stages::decode::blocks::{Block, Part, decode_block};
use crate::stages::fetch;
use crate::stages::fetch::{BlockKey, OpenObject, OpenScene, blocks_of, check_size};
use crate::stages::preprocess::Preprocess;
use crate::stages::survey::{HeaderReader, grid_of, is_in_grid, is_planned, nearest_window};
use crate::vocabulary::error::{Error, Result};
use crate::vocabulary::geometry::{Size, Window};
use crate::vocabulary::reason::{Reason, Rejection};
use crate::vocabulary::traffic::Traffic;

/// So many requests are on their way at once.
const AT_ONCE: NonZeroUsize = NonZeroUsize::new(8).expect("8 is not 0");

/// Blocks by their place; a block that cannot be decoded fails the window.
type Blocks = HashMap<BlockKey, Result<Block, Rejection>>;

/// Surveys a source as planning does, and finds out what a run would if an object of it does not answer.
///
/// - `max_windows`: more windows of one scene are a rejection
pub(super) async fn survey(
    storage: &Storage,
    tiling: &Arc<Tiling>,
    max_windows: u64,
    source: &Source,
) -> Result<Result<Arc<Scene>, Rejection>> {
    let surveyor = HeaderReader::new(storage.clone(), tiling.clone(), max_windows, AT_ONCE);
    match surveyor.survey(source.entry.clone()).await?.survey {
        Some(SceneLayout::Scene(scene)) => Ok(Ok(scene)),
        Some(SceneLayout::Rejected { reason, detail }) => Ok(Err(Rejection::new(reason, detail))),
        Some(SceneLayout::Unanswered { uri }) => unanswered(storage, &ObjectUri::parse(&uri)?).await.map(Err),
        None => Err(Error::unavailable(format!("{} does not answer any more", source.uri))),
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
    pub(super) async fn judge(&self, source: &Source) -> Result<Result<Arc<Scene>, Rejection>> {
        let opened = self.opened(source, &Arc::new(Traffic::default())).await?;
        Ok(opened.map(|opened| opened.scene))
    }

    /// Surveys and opens a source, and holds what its headers say against the contract.
    async fn opened(&self, source: &Source, traffic: &Arc<Traffic>) -> Result<Result<OpenScene, Rejection>> {
        let scene = match survey(self.storage, self.tiling, self.max_windows, source).await? {
            Ok(scene) => scene,
            Err(rejection) => return Ok(Err(rejection)),
        };
        let opened = self.open(&scene, traffic).await?;
        Ok(self.check(&opened).map(|()| opened))
    }

    fn check(&self, scene: &OpenScene) -> Result<(), Rejection> {
        let side = self.tiling.size;
        self.how.check(self.how.bands(), scene.kind(), Size::new(side, side))
    }

    /// Reads one window.
    pub(super) async fn read(&self, source: &Source, wanted: ChipRequest) -> Result<ReadWindow> {
        let uri = source.uri.as_str();
        let traffic = Arc::new(Traffic::default());
        let opened = self.opened(source, &traffic).await?;
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

    /// Opens the objects of a scene.
    async fn open(&self, scene: &Arc<Scene>, traffic: &Arc<Traffic>) -> Result<OpenScene> {
        let requests = Arc::new(Semaphore::new(AT_ONCE.get()));
        let mut objects = Vec::with_capacity(scene.objects.len());
        for object in &scene.objects {
            let uri = ObjectUri::parse(&object.uri)?;
            let version = object.version.clone();
            let (requests, traffic) = (requests.clone(), traffic.clone());
            let ranged = RangeReader::new(self.storage, &uri, object.size_bytes, version, requests, traffic);
            let header = ranged.parse(parse_scene).await.map_err(|fault| not_had(fault, &uri))?;
            let header = header.map_err(|rejection| rejected(&uri, TileGrid::Regular, rejection))?;
            objects.push(OpenObject::new(header, uri, ranged));
        }
        Ok(OpenScene::new(scene.clone(), objects))
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
        blocks: &Blocks,
    ) -> Result<SceneChip, Rejection> {
        let piece = |cut: SourceWindow| {
            let (object, level) = (cut.object, cut.level);
            let block = |part: Part, id| {
                let key = BlockKey { object, level, mask: part == Part::Mask, id };
                blocks[&key].as_ref().map_err(Clone::clone)
            };
            SourceSamples::read(cut, &opened.objects[object].header, block)
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

/// Reads and decodes what cuts need.
async fn blocks(opened: &OpenScene, cuts: &[SourceWindow]) -> Result<Blocks> {
    let mut wanted: BTreeMap<(usize, usize, bool), Vec<BlockId>> = BTreeMap::new();
    for key in cuts.iter().flat_map(|cut| blocks_of(opened, cut)) {
        wanted.entry((key.object, key.level, key.mask)).or_default().push(key.id);
    }
    let mut blocks = Blocks::new();
    for ((object, level, mask), mut ids) in wanted {
        ids.sort_unstable();
        ids.dedup();
        let found = &opened.objects[object];
        let (page, ranged, uri) = (found.page(level, mask), found.ranged(), found.uri());
        let table = ranged.parse(|partial| parse_blocks(partial, page, &ids)).await;
        let table = table
            .map_err(|fault| not_had(fault, uri))?
            .map_err(|why| rejected(uri, TileGrid::Regular, why))?;
        let ranges: Vec<_> = ids.iter().map(|&id| table.range(id)).collect();
        let stored: Vec<Range<u64>> = ranges.iter().filter_map(|range| range.clone().ok()?).collect();
        let bytes = ranged.read(&stored).await.map_err(|fault| not_had(fault, uri))?;
        let mut bytes = bytes.iter();
        for (id, range) in ids.into_iter().zip(ranges) {
            let block = range.and_then(|range| {
                let stored = range.map(|_| &bytes.next().expect("one for each range")[..]);
                decode_block(page, id, stored)
            });
            blocks.insert(BlockKey { object, level, mask, id }, block);
        }
    }
    Ok(blocks)
}
