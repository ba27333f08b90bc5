//! Opens scenes and brings their blocks.

use std::collections::{HashMap, VecDeque};
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use tokio::sync::{OnceCell, Semaphore};

use super::read_plan::BlockKey;
use super::{FetchError, Fetcher, Miss, Origin, probe};
use crate::formats::dicom::DicomFile;
use crate::formats::raster::{BlockGrid, BlockId, BlockTable, GridId, RasterFile};
use crate::formats::reader::TileGrid;
use crate::input::byte_ranges::{RangeReader, ReadOptions};
use crate::input::open::OpenRaster;
use crate::input::storage::ObjectUri;
use crate::output::{Source, Tile};
use crate::scene::{Scene, SceneLayout, SceneObject};
use crate::vocabulary::error::{Error, Result};
use crate::vocabulary::identity::SourceUri;
use crate::vocabulary::reason::{Reason, Rejection};
use crate::vocabulary::sample::SampleKind;
use crate::vocabulary::traffic::Traffic;

/// So many scenes stay open: those of the shards in memory, and their neighbours.
const MAX_OPEN: usize = 8;

/// What helps where an object of a scene has changed.
const RETRY_CUTS_ANEW: &str = "; `tilefleet rejects OUTPUT --retry` cuts the scene again";

/// So many local files are read at once: more make nothing faster, and each holds its bytes.
const LOCAL_READS: usize = 4;

/// Scenes that are open.
pub(super) struct Scenes {
    requests: Arc<Semaphore>,
    local_reads: Arc<Semaphore>,
    traffic: Arc<Traffic>,
    /// The last ones used, newest last.
    open: Mutex<VecDeque<(Arc<Scene>, Slot)>>,
}

/// A scene that is open, or why it never will be.
type KnownScene = Result<Arc<OpenScene>, Rejection>;

type Slot = Arc<OnceCell<KnownScene>>;

impl Scenes {
    pub(super) fn new(requests: Arc<Semaphore>, traffic: Arc<Traffic>) -> Self {
        let local_reads = Arc::new(Semaphore::new(LOCAL_READS));
        Self { requests, local_reads, traffic, open: Mutex::default() }
    }

    fn slot(&self, scene: &Arc<Scene>) -> Slot {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = open.iter().position(|(known, _)| known == scene) {
            let (known, slot) = open.remove(at).expect("it was found there");
            open.push_back((known, slot.clone()));
            return slot;
        }
        let slot = Slot::default();
        open.push_back((scene.clone(), slot.clone()));
        if open.len() > MAX_OPEN {
            open.pop_front();
        }
        slot
    }
}

/// A scene whose headers have been read.
pub struct OpenScene {
    /// It.
    pub scene: Arc<Scene>,
    /// Its objects, in order.
    pub objects: Vec<OpenObject>,
    source_id: u64,
}

/// One object of an open scene.
pub struct OpenObject {
    opened: Arc<OpenRaster>,
    source: Source,
}

/// Where the blocks of one source lie that a shard needs.
#[derive(Default)]
pub struct Tables(HashMap<(usize, GridId), BlockTable>);

/// The bytes of a block; no bytes for one that is not stored.
pub type FetchedBlock = (BlockKey, Result<Option<Bytes>, Rejection>);

impl Fetcher {
    /// Opens the scene of a tile, or finds out why it cannot be.
    ///
    /// # Errors
    ///
    /// [`FetchError`].
    pub async fn open_scene(&self, tile: &Tile) -> Result<Arc<OpenScene>, FetchError> {
        let source = &tile.source;
        let scene = match &source.survey {
            Some(SceneLayout::Scene(scene)) => scene,
            Some(SceneLayout::Rejected { reason, detail, .. }) => {
                return Err(Rejection::new(*reason, detail.clone()).into());
            }
            Some(SceneLayout::Unanswered { uri }) => {
                return Err(self.judge_unanswered(tile, uri).await?.into());
            }
            None => return Err(self.judge_unanswered(tile, &source.uri).await?.into()),
        };
        for object in &scene.objects {
            if let Some(miss) = self.troubles.known(tile.source_id, &ObjectUri::of(&object.uri)?) {
                return Err(miss.into());
            }
        }
        let slot = self.scenes.slot(scene);
        let opened = slot.get_or_try_init(|| self.open_objects(scene, tile.source_id)).await;
        // A rejection is for all who ask; anything else may be another when somebody asks again.
        Ok(opened?.clone()?)
    }

    /// An object that did not answer when planned is gone now, or in trouble, or has come back meanwhile.
    async fn judge_unanswered(&self, tile: &Tile, uri: &SourceUri) -> Result<Miss> {
        let uri = ObjectUri::of(uri)?;
        if let Some(miss) = self.troubles.known(tile.source_id, &uri) {
            return Ok(miss);
        }
        let from = Origin { source: &tile.source, source_id: tile.source_id, began: Instant::now() };
        match probe(&self.storage, &uri).await {
            Ok(()) => Ok(Rejection::new(
                Reason::Changed,
                format!(
                    "it could not be read when it was planned, but can be read now{RETRY_CUTS_ANEW} ({uri})"
                ),
            )
            .into()),
            Err(fault) => self.judge_fault(fault, &from, &uri).await,
        }
    }

    async fn open_objects(&self, scene: &Arc<Scene>, source_id: u64) -> Result<KnownScene, FetchError> {
        let mut objects = Vec::with_capacity(scene.objects.len());
        let grid = if scene.medical.is_some() { TileGrid::Frames } else { TileGrid::Regular };
        let opening = scene.objects.iter().map(|object| self.open_object(grid, object, source_id));
        for opened in futures::future::join_all(opening).await {
            match opened {
                Ok(object) => objects.push(object),
                Err(FetchError::Missed(Miss::Rejected(rejection))) => return Ok(Err(rejection)),
                Err(error) => return Err(error),
            }
        }
        self.troubles.was_read(source_id);
        Ok(Ok(Arc::new(OpenScene { scene: scene.clone(), objects, source_id })))
    }

    async fn open_object(
        &self,
        grid: TileGrid,
        planned: &SceneObject,
        source_id: u64,
    ) -> Result<OpenObject, FetchError> {
        let uri = ObjectUri::of(&planned.uri)?;
        let Scenes { requests, local_reads, traffic, .. } = &self.scenes;
        let requests = if uri.local_path().is_some() { local_reads } else { requests };
        let (requests, traffic) = (requests.clone(), traffic.clone());
        let version = planned.version.clone();
        let reads = ReadOptions::new(requests, traffic);
        let reader = RangeReader::new(&self.storage, &uri, planned.size_bytes, version, reads);
        let source = Source {
            uri: planned.uri.clone(),
            version: planned.version.clone(),
            size_bytes: Some(planned.size_bytes),
            ..Source::default()
        };
        let from = Origin { source: &source, source_id, began: Instant::now() };
        let opened = self.judged(OpenRaster::open(grid, Arc::new(reader)).await, &from, &uri).await?;
        self.reads.was_read(&uri);
        if opened.file().sizes() != planned.levels || opened.file().num_frames() != planned.num_frames {
            let detail = format!("its levels have changed since it was planned{RETRY_CUTS_ANEW} ({uri})");
            return Err(Rejection::new(Reason::Changed, detail).into());
        }
        Ok(OpenObject { opened: Arc::new(opened), source })
    }

    /// Reads where blocks lie.
    ///
    /// # Errors
    ///
    /// As [`Self::open_scene`].
    pub async fn tables(&self, scene: &OpenScene, keys: &[BlockKey]) -> Result<Tables, FetchError> {
        let mut wanted: HashMap<(usize, GridId), Vec<BlockId>> = HashMap::new();
        for key in keys {
            wanted.entry((key.object, key.grid)).or_default().push(key.id);
        }
        let mut tables = Tables::default();
        for ((object, grid), blocks) in wanted {
            let OpenObject { opened, source } = &scene.objects[object];
            let from = Origin { source, source_id: scene.source_id, began: Instant::now() };
            let read = opened.table(grid, &blocks).await;
            tables.0.insert((object, grid), self.judged(read, &from, opened.uri()).await?);
        }
        Ok(tables)
    }

    /// Brings blocks, those of one object that lie together with one request.
    ///
    /// - returns: every block, or why all of them fail
    ///
    /// # Errors
    ///
    /// As [`Self::open_scene`].
    pub async fn blocks(
        &self,
        scene: &OpenScene,
        tables: &Tables,
        keys: &[BlockKey],
    ) -> Result<Vec<FetchedBlock>, FetchError> {
        let mut arrived = Vec::with_capacity(keys.len());
        for (object, OpenObject { opened, source }) in scene.objects.iter().enumerate() {
            let (mut found, mut ranges) = (Vec::new(), Vec::new());
            for key in keys.iter().filter(|key| key.object == object) {
                match tables.range(*key) {
                    Ok(Some(range)) => {
                        found.push(*key);
                        ranges.push(range);
                    }
                    Ok(None) => arrived.push((*key, Ok(None))),
                    Err(rejection) => arrived.push((*key, Err(rejection))),
                }
            }
            let from = Origin { source, source_id: scene.source_id, began: Instant::now() };
            let read = opened.reader().read(&ranges).await;
            let bytes = self.judged(read, &from, opened.uri()).await?;
            arrived.extend(found.into_iter().zip(bytes).map(|(key, bytes)| (key, Ok(Some(bytes)))));
        }
        Ok(arrived)
    }
}

impl OpenScene {
    /// Takes a scene whose objects have been opened outside of a run.
    #[must_use]
    pub fn new(scene: Arc<Scene>, objects: Vec<Arc<OpenRaster>>) -> Self {
        let object = |opened| OpenObject { opened, source: Source::default() };
        Self { scene, objects: objects.into_iter().map(object).collect(), source_id: 0 }
    }

    /// Returns the one object of a scene whose frames are tiles.
    ///
    /// # Panics
    ///
    /// If its windows are tiles.
    #[must_use]
    pub fn dicom(&self) -> &DicomFile {
        self.objects[0].file().dicom().expect("frames are those of a DICOM object")
    }

    /// Returns the type of the samples of a chip.
    #[must_use]
    pub fn kind(&self) -> SampleKind {
        self.scene.chip_kind(|object| self.objects[object].file().pixels(0, 0).stored.kind)
    }
}

impl OpenObject {
    /// Returns what its header says.
    #[must_use]
    pub fn file(&self) -> &dyn RasterFile {
        self.opened.file()
    }

    /// Returns the object as it is read outside of a run.
    #[must_use]
    pub fn opened(&self) -> &OpenRaster {
        &self.opened
    }

    /// Returns the blocks of samples or mask of a level.
    #[must_use]
    pub fn grid(&self, id: GridId) -> &BlockGrid {
        self.opened.grid(id)
    }
}

impl Tables {
    /// Returns where a block lies; `None` if it is not stored.
    ///
    /// # Errors
    ///
    /// [`Reason::Truncated`] if the object ends before it does.
    pub fn range(&self, key: BlockKey) -> Result<Option<Range<u64>>, Rejection> {
        self.0[&(key.object, key.grid)].range(key.id)
    }

    /// Returns how many bytes blocks have as stored.
    #[must_use]
    pub fn stored_bytes(&self, keys: &[BlockKey]) -> u64 {
        let stored = keys.iter().filter_map(|key| self.range(*key).ok().flatten());
        stored.map(|range| range.end - range.start).sum()
    }
}

/// Says that a task of ours did not come to its end.
pub(crate) fn crashed(cause: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::bug("fetching crashed").because(cause)
}
