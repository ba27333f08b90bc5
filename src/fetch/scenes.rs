//! Opens scenes and brings their blocks.

use std::collections::{HashMap, VecDeque};
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use tokio::sync::{OnceCell, Semaphore};

use super::Fetcher;
use super::reading::BlockKey;
use crate::error::{Error, Result};
use crate::format::tiff::{BlockId, BlockTable, Page, TiffHeader, parse_blocks};
use crate::observe::Traffic;
use crate::plan::Source;
use crate::plan::parse_scene;
use crate::raster::Ranged;
use crate::reason::{Reason, Rejection};
use crate::scene::{Scene, SceneObject, Survey};
use crate::storage::{Fault, ObjectUri};

/// So many scenes stay open: those of the shards in memory, and their neighbours.
const MOST_OPEN: usize = 8;

/// What helps where an object of a scene has changed.
const RETRY_CUTS_ANEW: &str = "; `tilefleet rejects OUTPUT --retry` cuts the scene anew";

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

type Slot = Arc<OnceCell<Result<Arc<OpenScene>, Rejection>>>;

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
        if open.len() > MOST_OPEN {
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
}

/// One object of an open scene.
pub struct OpenObject {
    /// Its header.
    pub header: TiffHeader,
    source: Source,
    uri: ObjectUri,
    ranged: Ranged,
}

/// Where the blocks of one source lie that a shard needs.
#[derive(Default)]
pub struct Tables(HashMap<(usize, usize, bool), BlockTable>);

/// The bytes of a block; no bytes for one that is not stored.
pub type Arrived = (BlockKey, Result<Option<Bytes>, Rejection>);

impl Fetcher {
    /// Opens a scene, or finds out why it cannot be.
    ///
    /// # Errors
    ///
    /// If a store is away or the access is wrong: the run stops and the shard stays open.
    pub async fn open_scene(&self, source: &Source) -> Result<Result<Arc<OpenScene>, Rejection>> {
        let scene = match &source.survey {
            Some(Survey::Scene(scene)) => scene,
            Some(Survey::Rejected { reason, detail }) => {
                return Ok(Err(Rejection::new(*reason, detail.clone())));
            }
            Some(Survey::Unanswered { uri }) => return self.judge_unanswered(source, uri).await.map(Err),
            None => return self.judge_unanswered(source, &source.uri).await.map(Err),
        };
        let slot = self.scenes.slot(scene);
        slot.get_or_try_init(|| self.open_objects(scene)).await.cloned()
    }

    /// An object that did not answer when planned is gone now, or has come back meanwhile.
    async fn judge_unanswered(&self, source: &Source, uri: &str) -> Result<Rejection> {
        let uri = ObjectUri::parse(uri)?;
        match self.storage.bucket(&uri).head(uri.key()).await {
            Ok(_) => Ok(Rejection::new(
                Reason::Changed,
                format!("{uri} did not answer when it was planned and is there now{RETRY_CUTS_ANEW}"),
            )),
            Err(fault) => self.judge_fault(fault, source, &uri).await,
        }
    }

    async fn open_objects(&self, scene: &Arc<Scene>) -> Result<Result<Arc<OpenScene>, Rejection>> {
        let mut objects = Vec::with_capacity(scene.objects.len());
        for opened in
            futures::future::join_all(scene.objects.iter().map(|object| self.open_object(object))).await
        {
            match opened? {
                Ok(object) => objects.push(object),
                Err(rejection) => return Ok(Err(rejection)),
            }
        }
        Ok(Ok(Arc::new(OpenScene { scene: scene.clone(), objects })))
    }

    async fn open_object(&self, planned: &SceneObject) -> Result<Result<OpenObject, Rejection>> {
        let uri = ObjectUri::parse(&planned.uri)?;
        let Scenes { requests, local_reads, traffic, .. } = &self.scenes;
        let requests = if uri.local_path().is_some() { local_reads } else { requests };
        let (requests, traffic) = (requests.clone(), traffic.clone());
        let version = planned.version.clone();
        let ranged = Ranged::new(&self.storage, &uri, planned.size_bytes, version, requests, traffic);
        let source = Source {
            uri: planned.uri.clone(),
            version: planned.version.clone(),
            size_bytes: Some(planned.size_bytes),
            ..Source::default()
        };
        let header = match ranged.parse(parse_scene).await {
            Ok(Ok(header)) => header,
            Ok(Err(rejection)) => return Ok(Err(rejection)),
            Err(fault) => return self.judge_fault(fault, &source, &uri).await.map(Err),
        };
        self.memory.was_read(&uri);
        if !header.levels.iter().map(|level| level.pixels.size).eq(planned.levels.iter().copied()) {
            let detail = format!("{uri} has other levels than when it was planned{RETRY_CUTS_ANEW}");
            return Ok(Err(Rejection::new(Reason::Changed, detail)));
        }
        Ok(Ok(OpenObject { header, source, uri, ranged }))
    }

    /// Reads where blocks lie.
    ///
    /// # Errors
    ///
    /// As [`Self::open_scene`].
    pub async fn tables(&self, scene: &OpenScene, keys: &[BlockKey]) -> Result<Result<Tables, Rejection>> {
        let mut wanted: HashMap<(usize, usize, bool), Vec<BlockId>> = HashMap::new();
        for key in keys {
            wanted.entry((key.object, key.level, key.mask)).or_default().push(key.id);
        }
        let mut tables = Tables::default();
        for ((object, level, mask), blocks) in wanted {
            let opened = &scene.objects[object];
            let page = opened.page(level, mask);
            let read = opened.ranged.parse(|partial| parse_blocks(partial, page, &blocks)).await;
            match self.judged(read, opened).await? {
                Ok(Ok(table)) => tables.0.insert((object, level, mask), table),
                Ok(Err(rejection)) | Err(rejection) => return Ok(Err(rejection)),
            };
        }
        Ok(Ok(tables))
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
    ) -> Result<Result<Vec<Arrived>, Rejection>> {
        let mut arrived = Vec::with_capacity(keys.len());
        for (object, opened) in scene.objects.iter().enumerate() {
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
            match self.judged(opened.ranged.read(&ranges).await, opened).await? {
                Ok(bytes) => {
                    arrived.extend(found.into_iter().zip(bytes).map(|(key, bytes)| (key, Ok(Some(bytes)))));
                }
                Err(rejection) => return Ok(Err(rejection)),
            }
        }
        Ok(Ok(arrived))
    }

    /// Tells what is wrong with one object from what is wrong with its store.
    async fn judged<T>(&self, read: Result<T, Fault>, object: &OpenObject) -> Result<Result<T, Rejection>> {
        match read {
            Ok(value) => Ok(Ok(value)),
            Err(fault) => self.judge_fault(fault, &object.source, &object.uri).await.map(Err),
        }
    }
}

impl OpenObject {
    /// Returns a page of the object: the samples of a level, or its mask.
    ///
    /// # Panics
    ///
    /// If a mask is asked for and there is none.
    #[must_use]
    pub fn page(&self, level: usize, mask: bool) -> &Page {
        let level = &self.header.levels[level];
        match &level.mask {
            Some(page) if mask => page,
            _ => &level.pixels,
        }
    }
}

impl Tables {
    /// Returns where a block lies; `None` if it is not stored.
    ///
    /// # Errors
    ///
    /// [`Reason::Truncated`] if the object ends before it does.
    pub fn range(&self, key: BlockKey) -> Result<Option<Range<u64>>, Rejection> {
        self.0[&(key.object, key.level, key.mask)].range(key.id)
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
