//! Windows of scenes, from planned to decoded.
//!
//! ```text
//! group of windows ─▶ fetch new blocks ─▶ decode them ─▶ keep ─▶ cut and stack ─▶ preprocess ─▶ chips
//!   (some ahead)        tokio, ranges       rayon         until    rayon, a window each
//!                                                       last use
//! ```
//!
//! Each block is fetched and decoded once for all windows of a source in a shard. Room for the blocks that are
//! kept is taken before the first of them is fetched, and whoever has it waits for nothing but what frees
//! itself, so that shards cannot wait for each other for ever.

use std::collections::HashMap;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use futures::{StreamExt, stream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::budget::Reservation;
use super::infer_loop::QueuedChip;
use super::shard::OpenShard;
use super::tensor::Tensor;
use super::{ChipSender, Queues, Stages};
use crate::formats::dicom::DicomFile;
use crate::formats::raster::GridId;
use crate::scene::skip::{Measured, SkipRules, Skipped, WindowHeaders};
use crate::scene::{SourceWindow, Tiling};
use crate::stages::compose::frame;
use crate::stages::compose::{SceneChip, SourceSamples, composite, composite_into};
use crate::stages::decode::blocks::Block;
use crate::stages::fetch::{
    BlockKey, FetchError, FetchedBlock, Miss, OpenScene, ReadGroup, ReadPlan, Tables, check_size, crashed,
    sample_bytes,
};
use crate::vocabulary::error::{Error, Result};
use crate::vocabulary::geometry::Size;
use crate::vocabulary::reason::{Reason, Rejection, SourceError};

/// So many groups of windows are fetched ahead, as far as their bytes have room.
const GROUPS_AHEAD: usize = 8;

/// Decoded blocks by their index; a block that cannot be decoded fails the windows that need it.
type Blocks = HashMap<BlockKey, Arc<Result<Block, Rejection>>>;

/// The windows of one shard.
pub(super) struct SceneTask {
    pub(super) stages: Arc<Stages>,
    pub(super) queues: Arc<Queues>,
    pub(super) shard: Arc<OpenShard>,
    pub(super) tiling: Arc<Tiling>,
    pub(super) skip_rules: SkipRules,
    pub(super) chips: ChipSender<QueuedChip>,
}

impl SceneTask {
    /// Sends all windows on their way, source by source.
    pub(super) async fn run(self) -> Result<()> {
        let sources = stream::iter(self.sources()).map(|tiles| self.source(tiles));
        let mut sources = std::pin::pin!(sources.buffer_unordered(self.sources_at_once()));
        while let Some(source) = sources.next().await {
            if !source? {
                return Ok(());
            }
        }
        self.shard.all_fed();
        Ok(())
    }

    /// Returns which tiles are those of one source, source by source.
    fn sources(&self) -> Vec<Range<usize>> {
        let tiles = &self.shard.shard.tiles;
        let mut sources = Vec::new();
        let mut start = 0;
        while start < tiles.len() {
            let source = &tiles[start].source.uri;
            let end = start + tiles[start..].iter().take_while(|tile| tile.source.uri == *source).count();
            sources.push(start..end);
            start = end;
        }
        sources
    }

    /// A scene has many windows, enough for all cores; most medical images are one tile.
    fn sources_at_once(&self) -> usize {
        if self.tiling.is_of_frames() { self.stages.fetch_concurrency.get() } else { 1 }
    }

    /// Sends the windows of one source on their way; returns `false` if a stop was asked for before the end.
    async fn source(&self, tiles: Range<usize>) -> Result<bool> {
        let fetcher = &self.stages.fetcher;
        if self.shard.is_lost() {
            // Nothing of it will be committed.
            return self.miss_all(tiles, &Miss::PutOff);
        }
        let opened = match fetcher.open_scene(self.shard.tile(tiles.start)).await {
            Ok(opened) => opened,
            Err(error) => return self.miss_all(tiles, &error.miss()?),
        };
        if let Err(rejection) = self.check(&opened) {
            return self.miss_all(tiles, &rejection.into());
        }
        let (indices, cuts) = self.cuts(&opened, tiles.clone());
        let reading = ReadPlan::of(&opened, &cuts, self.stages.memory_bytes / 4);
        let keys: Vec<BlockKey> = reading.blocks().collect();
        let tables = match fetcher.tables(&opened, &keys).await {
            Ok(tables) => tables,
            Err(error) => return self.miss_all(indices, &error.miss()?),
        };
        // Besides the blocks, each thread holds the samples of the window that it works on.
        let window =
            |cuts: &Vec<SourceWindow>| cuts.iter().map(|cut| sample_bytes(&opened, cut)).sum::<u64>();
        let samples = cuts.iter().map(window).max().unwrap_or(0);
        let threads = self.stages.decode_threads.get() as u64;
        let kept_bytes = reading.kept_bytes.saturating_add(samples.saturating_mul(threads));
        let kept_bytes = kept_bytes.saturating_add(self.working_bytes(&opened, &tables, &keys));
        // Windows that are being made hold it, too: their blocks are gone only with the last of them.
        let kept = Arc::new(self.queues.decoded.reserve(kept_bytes).await);
        let fetching = Arc::new(Fetching {
            stages: self.stages.clone(),
            queues: self.queues.clone(),
            opened: opened.clone(),
            tables,
        });
        let groups = stream::iter(reading.groups).then(move |group| fetching.clone().start(group));
        let mut groups = std::pin::pin!(groups.buffered(GROUPS_AHEAD));
        let mut blocks = Blocks::new();
        while let Some(fetched) = groups.next().await {
            if self.stages.stop.stopped() {
                // The shard stays open: it would not be whole before the process has to end.
                return Ok(false);
            }
            let (group, arrived) = fetched.map_err(crashed)?;
            let windows = indices[group.tiles.clone()].iter().zip(&cuts[group.tiles.clone()]);
            match arrived {
                Ok((arrived, reservation)) => {
                    self.decode(&opened, arrived, &mut blocks).await?;
                    drop(reservation);
                    for (&index, cuts) in windows {
                        let needed = match &self.tiling.frames {
                            Some(_) => WindowBlocks::take(cuts, &mut blocks),
                            None => WindowBlocks::of(&opened, cuts, &blocks),
                        };
                        self.cut(&opened, index, needed, kept.clone()).await;
                    }
                }
                Err(error) => {
                    return self.miss_all(indices[group.tiles.start..].iter().copied(), &error.miss()?);
                }
            }
            for key in &group.to_evict {
                blocks.remove(key);
            }
        }
        Ok(true)
    }

    /// Returns how much memory is set aside for the decoders of frames besides what they decode. Their own estimates are of
    /// the worst stream: what goes beyond a share that leaves room for all threads is not counted, or they would wait for
    /// each other.
    fn working_bytes(&self, opened: &OpenScene, tables: &Tables, keys: &[BlockKey]) -> u64 {
        if self.tiling.frames.is_none() {
            return 0;
        }
        let of_frame = |key: &BlockKey| {
            let stored = tables.range(*key).ok().flatten().map_or(0, |range| range.end - range.start);
            opened.dicom().frame(key.grid.frame).working_bytes(stored)
        };
        let at_once = keys.len().min(self.stages.decode_threads.get()) as u64;
        let share = self.stages.memory_bytes / 4 / self.stages.decode_threads.get() as u64;
        keys.iter().map(of_frame).max().unwrap_or(0).min(share).saturating_mul(at_once)
    }

    /// Rejects by the headers alone what the model does not take, before a block is fetched.
    fn check(&self, opened: &OpenScene) -> Result<(), Rejection> {
        let Stages { preprocess, .. } = &*self.stages;
        if let Some(tiling) = &self.tiling.frames {
            return preprocess.check_frames(opened.dicom(), &tiling.preset);
        }
        let side = self.tiling.size;
        preprocess.check(preprocess.bands(), opened.kind(), Size::new(side, side))
    }

    /// Returns which tiles are read, and what each needs; rejects those outside of the scene, and skips those of which headers
    /// say enough.
    fn cuts(&self, opened: &OpenScene, tiles: Range<usize>) -> (Vec<usize>, Vec<Vec<SourceWindow>>) {
        let (mut indices, mut cuts) = (Vec::new(), Vec::new());
        for index in tiles {
            let tile = self.shard.tile(index);
            match tile.window.filter(|window| window.is_within(opened.scene.size)) {
                Some(window) if opened.scene.has(tile.frame, tile.level) => {
                    let cut = opened.scene.cuts(tile.frame, window, self.tiling.size);
                    if let Err(rejection) = check_size(opened, &cut, &self.stages.limits) {
                        self.reject(index, rejection);
                        continue;
                    }
                    let headers = WindowHeaders { scene: &opened.scene, cuts: &cut };
                    if let Some((skipped, measured)) = self.skip_rules.before_pixels(&headers) {
                        self.shard.measured(index, measured);
                        skip(&self.stages, &self.shard, index, skipped);
                        continue;
                    }
                    indices.push(index);
                    cuts.push(cut);
                }
                _ => {
                    let detail = opened.scene.extent();
                    self.reject(index, Rejection::new(Reason::OutsideImage, detail));
                }
            }
        }
        (indices, cuts)
    }

    /// Decodes blocks on the CPU pool, all at once.
    async fn decode(
        &self,
        opened: &Arc<OpenScene>,
        arrived: Vec<FetchedBlock>,
        blocks: &mut Blocks,
    ) -> Result<()> {
        let mut decoding = Vec::with_capacity(arrived.len());
        for (key, stored) in arrived {
            let (answer, answered) = oneshot::channel();
            let spec = opened.objects[key.object].grid(key.grid).spec(key.id);
            let progress = self.stages.progress.clone();
            let (decoder, watch) = (self.shard.decoder.clone(), self.queues.watch.clone());
            self.queues.pool.spawn(move || {
                let started = Instant::now();
                let _watched = watch.begin(&decoder);
                let decode = |stored: Option<_>| decoder.block(&spec, stored.as_deref());
                let block = stored.map_err(SourceError::from).and_then(decode);
                progress.decoded(started.elapsed());
                // Nobody waits for it if the run is being abandoned.
                let _ = answer.send(block);
            });
            decoding.push((key, answered));
        }
        for (key, answered) in decoding {
            let block = answered.await.map_err(|error| Error::bug("decoding crashed").because(error))?;
            blocks.insert(key, Arc::new(SourceError::answer(block)?));
        }
        Ok(())
    }

    /// Waits for room, then cuts one window out of its blocks on the CPU pool.
    async fn cut(&self, opened: &Arc<OpenScene>, index: usize, needed: WindowBlocks, kept: Arc<Reservation>) {
        let reservation = self.queues.chips.reserve(self.stages.tensor_bytes()).await;
        let opened = opened.clone();
        let window = WindowTask {
            stages: self.stages.clone(),
            shard: self.shard.clone(),
            tiling: self.tiling.clone(),
            skip_rules: self.skip_rules.clone(),
            index,
        };
        let (chips, stop) = (self.chips.clone(), self.stages.stop.clone());
        let job = move || {
            let started = Instant::now();
            let drawn = needed.draw(&opened, &window);
            drop(kept);
            window.finish(drawn, reservation, started, &chips);
        };
        self.queues.pool.spawn(move || {
            if catch_unwind(AssertUnwindSafe(job)).is_err() {
                stop.fail(Error::bug("preprocessing crashed"));
            }
        });
    }

    #[expect(clippy::unnecessary_wraps, reason = "ends the ways through a source, like its other ends")]
    fn miss_all(&self, indices: impl IntoIterator<Item = usize>, miss: &Miss) -> Result<bool> {
        for index in indices {
            match miss {
                Miss::Rejected(rejection) => self.reject(index, rejection.clone()),
                Miss::PutOff | Miss::Room(_) => {
                    self.shard.put_off(index);
                }
            }
        }
        Ok(true)
    }

    fn reject(&self, index: usize, rejection: Rejection) {
        reject(&self.stages, &self.shard, index, rejection);
    }
}

/// What fetching the groups of one source needs.
struct Fetching {
    stages: Arc<Stages>,
    queues: Arc<Queues>,
    opened: Arc<OpenScene>,
    tables: Tables,
}

impl Fetching {
    /// Waits for room, then fetches the blocks of a group in a task of its own.
    async fn start(self: Arc<Self>, group: ReadGroup) -> JoinHandle<Fetched> {
        let reservation = self.queues.fetched.reserve(self.tables.stored_bytes(&group.to_fetch)).await;
        tokio::spawn(async move {
            let started = Instant::now();
            let arrived = self.stages.fetcher.blocks(&self.opened, &self.tables, &group.to_fetch).await;
            self.stages.progress.fetch_took(started.elapsed());
            (group, arrived.map(|arrived| (arrived, reservation)))
        })
    }
}

/// A group and its blocks with the room they take, or why none of them could be had.
type Fetched = (ReadGroup, Result<(Vec<FetchedBlock>, Reservation), FetchError>);

fn reject(stages: &Stages, shard: &OpenShard, index: usize, rejection: Rejection) {
    let tile = shard.tile(index);
    tracing::debug!(tile = %tile.id, reason = rejection.reason.code(), "rejected");
    stages.progress.rejected();
    shard.reject(index, rejection);
}

fn skip(stages: &Stages, shard: &OpenShard, index: usize, Skipped { reason, detail }: Skipped) {
    stages.progress.skipped();
    shard.skip(index, reason, detail);
}

/// The decoded blocks of one window.
struct WindowBlocks {
    cuts: Vec<SourceWindow>,
    blocks: Blocks,
}

impl WindowBlocks {
    fn of(opened: &OpenScene, cuts: &[SourceWindow], blocks: &Blocks) -> Self {
        let keys = cuts.iter().flat_map(|cut| crate::stages::fetch::blocks_of(opened, cut));
        let found = keys.map(|key| (key, blocks[&key].clone())).collect();
        Self { cuts: cuts.to_vec(), blocks: found }
    }

    /// Takes the block of a frame, which nothing else needs.
    fn take(cuts: &[SourceWindow], blocks: &mut Blocks) -> Self {
        let (grid, id) = DicomFile::block(cuts[0].frame);
        let found = blocks.remove_entry(&BlockKey { object: 0, grid, id });
        Self { cuts: cuts.to_vec(), blocks: found.into_iter().collect() }
    }

    /// Stacks the window's bands; the first block that is damaged is its rejection.
    fn draw(self, opened: &OpenScene, window: &WindowTask) -> Result<Drawn, Rejection> {
        if let Some(tiling) = &window.tiling.frames {
            let (key, block) = self.blocks.into_iter().next().expect("a frame is one block");
            let chip =
                frame::render(opened.dicom(), key.grid.frame, &tiling.preset, Arc::unwrap_or_clone(block)?)?;
            return Ok(Drawn::Chip(chip.into()));
        }
        let mut pieces = Vec::with_capacity(self.cuts.len());
        for cut in self.cuts {
            let file = opened.objects[cut.object].file();
            let SourceWindow { object, frame, level, .. } = cut;
            let block = |part, id| {
                let key = BlockKey { object, grid: GridId { frame, level, part }, id };
                self.blocks[&key].as_ref().as_ref().map_err(Clone::clone)
            };
            pieces.push(SourceSamples::read(cut, file, block)?);
        }
        let (stages, scene) = (&window.stages, &opened.scene);
        let (side, rules) = (window.tiling.size, &window.skip_rules);
        if let Some(direct) = stages.preprocess.direct(Size::new(side, side))
            && let Tensor::F32(mut slot) = stages.spare.take()
        {
            let measured = composite_into(scene, rules, side, &pieces, direct, &mut slot);
            match measured {
                Some(measured) => return Ok(Drawn::Tensor(Tensor::F32(slot), measured)),
                None => stages.spare.give_back(Tensor::F32(slot)),
            }
        }
        Ok(Drawn::Chip(composite(scene, rules, stages.preprocess.bands(), side, &pieces)))
    }
}

/// A window that is stacked.
enum Drawn {
    /// It is to be laid out as the model's input.
    Chip(SceneChip),
    /// It is laid out already.
    Tensor(Tensor, Measured),
}

impl Drawn {
    fn measured(&self) -> &Measured {
        match self {
            Self::Chip(chip) => &chip.measured,
            Self::Tensor(_, measured) => measured,
        }
    }

    fn tensor(self, stages: &Stages) -> Result<Tensor, Rejection> {
        match self {
            Self::Chip(chip) => stages.chip_tensor(chip.chip),
            Self::Tensor(tensor, _) => Ok(tensor),
        }
    }

    fn give_back(self, stages: &Stages) {
        if let Self::Tensor(tensor, _) = self {
            stages.spare.give_back(tensor);
        }
    }
}

/// One window between the stages.
struct WindowTask {
    stages: Arc<Stages>,
    shard: Arc<OpenShard>,
    tiling: Arc<Tiling>,
    skip_rules: SkipRules,
    index: usize,
}

impl WindowTask {
    fn finish(
        self,
        drawn: Result<Drawn, Rejection>,
        reservation: Reservation,
        started: Instant,
        chips: &ChipSender<QueuedChip>,
    ) {
        let tensor = drawn.and_then(|drawn| {
            let skipped = self.skip_rules.after_pixels(drawn.measured());
            self.shard.measured(self.index, drawn.measured().clone());
            match skipped {
                Some(skipped) => {
                    drawn.give_back(&self.stages);
                    Ok(Err(skipped))
                }
                None => drawn.tensor(&self.stages).map(Ok),
            }
        });
        self.stages.progress.decoded(started.elapsed());
        match tensor {
            Ok(Ok(tensor)) => {
                let Self { shard, index, .. } = self;
                chips.send(QueuedChip {
                    shard,
                    index,
                    tensor: Some(tensor),
                    detail: None,
                    reservation: Some(reservation),
                });
            }
            Ok(Err(skipped)) => skip(&self.stages, &self.shard, self.index, skipped),
            Err(rejection) => reject(&self.stages, &self.shard, self.index, rejection),
        }
    }
}
