//! One window of a scene as a run gives it to the model: surveyed, cut, stacked.

use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroUsize;
use std::ops::Range;
use std::sync::Arc;

use tokio::sync::Semaphore;

use super::chip::Wanted;
use super::{not_had, rejected};
use crate::decode::blocks::{Block, Part, decode_block};
use crate::decode::scene::{Piece, SceneChip, stack};
use crate::error::{Error, Result};
use crate::fetch::{BlockKey, OpenObject, OpenScene, blocks_of, check_size};
use crate::format::image::Limits;
use crate::format::reader::{TileGrid, parse_scene};
use crate::format::tiff::{BlockId, parse_blocks};
use crate::geometry::{Size, Window};
use crate::observe::Traffic;
use crate::plan::{Surveyor, grid_of};
use crate::preprocess::Preprocess;
use crate::raster::Ranged;
use crate::reason::{Reason, Rejection};
use crate::scene::{Cut, Scene, Survey, Tiling};
use crate::source::Entry;
use crate::storage::{ObjectUri, Storage};

/// So many requests are on their way at once.
const AT_ONCE: NonZeroUsize = NonZeroUsize::new(8).expect("8 is not 0");

/// Blocks by their place; a block that cannot be decoded fails the window.
type Blocks = HashMap<BlockKey, Result<Block, Rejection>>;

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
    /// Surveys a source as planning does, and holds what its headers say against the contract.
    pub(super) async fn survey(&self, uri: &ObjectUri) -> Result<Result<Arc<Scene>, Rejection>> {
        let surveyor = Surveyor::new(self.storage.clone(), self.tiling.clone(), self.max_windows, AT_ONCE);
        let entry = Entry { uri: uri.to_string(), ..Entry::default() };
        match surveyor.survey(entry).await?.survey {
            Some(Survey::Scene(scene)) => Ok(Ok(scene)),
            Some(Survey::Rejected { reason, detail }) => Ok(Err(Rejection::new(reason, detail))),
            Some(Survey::Unanswered { .. }) | None => {
                Err(Error::unavailable(format!("{uri} does not answer any more")))
            }
        }
    }

    /// Tells by the headers alone whether the model takes the windows of a scene.
    pub(super) fn check(&self, scene: &OpenScene) -> Result<(), Rejection> {
        let side = self.tiling.size;
        self.how.check(self.how.bands(), scene.kind(), Size::new(side, side))
    }

    /// Reads one window.
    pub(super) async fn read(&self, uri: &ObjectUri, wanted: Wanted) -> Result<ReadWindow> {
        let reject = |rejection| rejected(uri, TileGrid::Regular, rejection);
        let scene = self.survey(uri).await?.map_err(reject)?;
        let traffic = Arc::new(Traffic::default());
        let opened = self.open(&scene, &traffic).await?;
        self.check(&opened).map_err(reject)?;
        let window = chosen(uri, &scene, wanted)?;
        let cuts = scene.cuts(window, self.tiling.size);
        check_size(&opened, &cuts, self.limits).map_err(reject)?;
        let blocks = blocks(uri, &opened, &cuts).await?;
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
    pub(super) async fn open(&self, scene: &Arc<Scene>, traffic: &Arc<Traffic>) -> Result<OpenScene> {
        let requests = Arc::new(Semaphore::new(AT_ONCE.get()));
        let mut objects = Vec::with_capacity(scene.objects.len());
        for object in &scene.objects {
            let uri = ObjectUri::parse(&object.uri)?;
            let version = object.version.clone();
            let (requests, traffic) = (requests.clone(), traffic.clone());
            let ranged = Ranged::new(self.storage, &uri, object.size_bytes, version, requests, traffic);
            let header = ranged.parse(parse_scene).await.map_err(|fault| not_had(fault, &uri))?;
            let header = header.map_err(|rejection| rejected(&uri, TileGrid::Regular, rejection))?;
            objects.push(OpenObject::new(header, uri, ranged));
        }
        Ok(OpenScene::new(scene.clone(), objects))
    }

    fn stacked(&self, opened: &OpenScene, cuts: Vec<Cut>, blocks: &Blocks) -> Result<SceneChip, Rejection> {
        let piece = |cut: Cut| {
            let (object, level) = (cut.object, cut.level);
            let block = |part: Part, id| {
                let key = BlockKey { object, level, mask: part == Part::Mask, id };
                blocks[&key].as_ref().map_err(Clone::clone)
            };
            Piece::read(cut, &opened.objects[object].header, block)
        };
        let pieces: Vec<Piece> = cuts.into_iter().map(piece).collect::<Result<_, _>>()?;
        let (side, clouds) = (self.tiling.size, self.tiling.clouds.as_ref());
        Ok(stack(&opened.scene, clouds, self.how.bands(), side, &pieces))
    }
}

/// Returns which window is meant; without one, the only one.
fn chosen(uri: &ObjectUri, scene: &Scene, wanted: Wanted) -> Result<Window> {
    let Scene { size, level, .. } = *scene;
    let side = Size::new(scene.window.width.min(size.width), scene.window.height.min(size.height));
    let first = Window { x: 0, y: 0, width: side.width, height: side.height };
    if wanted.frame != 0 || (wanted.level != 0 && wanted.level != level) {
        return Err(Error::usage(format!("a run cuts {uri} at level {level}, frame 0")));
    }
    let (across, down) = grid_of(scene);
    let named = || {
        let Size { width, height } = side;
        Error::usage(format!("a run cuts {uri} into {across} × {down} windows of {side}"))
            .because(format!("they are counted in pixels of its level {level}, which is {size}"))
            .hint(format!("name one with --window: the first is 0,0,{width},{height}"))
    };
    match wanted.window {
        None if (across, down) == (1, 1) => Ok(first),
        Some(window) if window.size() == side && window.is_within(size) => Ok(window),
        _ => Err(named()),
    }
}

/// Reads and decodes what cuts need.
async fn blocks(uri: &ObjectUri, opened: &OpenScene, cuts: &[Cut]) -> Result<Blocks> {
    let mut wanted: BTreeMap<(usize, usize, bool), Vec<BlockId>> = BTreeMap::new();
    for key in cuts.iter().flat_map(|cut| blocks_of(opened, cut)) {
        wanted.entry((key.object, key.level, key.mask)).or_default().push(key.id);
    }
    let mut blocks = Blocks::new();
    for ((object, level, mask), mut ids) in wanted {
        ids.sort_unstable();
        ids.dedup();
        let (page, ranged) = (opened.objects[object].page(level, mask), opened.objects[object].ranged());
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
