//! The stages of one process, from open shards to committed ones.
//!
//! ```text
//!  shards      tokio tasks        rayon pool            a thread a session     tokio + blocking
//! ┌──────┐    ┌───────┐ fetched ┌────────────┐ chips  ┌───────┐   finished   ┌────────────────┐
//! │ feed │───▶│ fetch │────────▶│ decode and │───────▶│ infer │─────────────▶│ encode, commit │
//! └──────┘    └───────┘  bytes  │ preprocess │ bytes  └───────┘    shards    └────────────────┘
//!     ▲                         └────────────┘                                      │
//!     └──────────────── room for the next shard ◀──────────────────────────────────┘
//! ```
//!
//! Encoded images, images being decoded and chips are each bounded in bytes, the shards held in memory in number; so peak
//! memory does not depend on how many tiles a run has. Tiles of neighbouring shards share batches.
//! Only this module and the worker see the whole row of stages.

mod batches;
mod budget;
mod geo_rows;
mod infer_loop;
mod leases;
mod sample;
mod scenes;
mod shard;
mod stop;
mod tensor;
mod watch;

use std::num::NonZeroUsize;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use futures::FutureExt;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;

use crate::formats::image::{DecodeLimits, ImageFormat, ImageHeader};
use crate::observe::{Progress, Widths};
use crate::output::provenance::{Provenance, REQUEST_SECONDS, SECONDS, WORKER};
use crate::output::table;
use crate::output::table::{ShardRows, TableSpec};
use crate::output::{Run, Shard, Tile};
use crate::scene::Tiling;
use crate::stages::commit::commit_shard;
use crate::stages::decode;
use crate::stages::decode::Decoder;
use crate::stages::fetch::{FetchedTile, Fetcher, Miss, TileOutcome};
use crate::stages::infer::SessionSlot;
use crate::stages::preprocess::{Preprocess, WholeImage};
use crate::stages::sink::Scorer;
use crate::stages::work::WorkSource;
use crate::vocabulary::chip::Chip;
use crate::vocabulary::contract::{Input, SampleType};
use crate::vocabulary::error::{Error, Result};
use crate::vocabulary::identity::SourceUri;
use crate::vocabulary::outcome::{CommittedBy, Counts};
use crate::vocabulary::reason::{Rejection, SourceError};

use watch::Watch;

use batches::{Batches, ChipSender, batches};
use leases::{Answer, Leases};
use scenes::SceneTask;

pub use budget::{ByteBudget, Reservation};
pub use infer_loop::QueuedChip;
pub use leases::HeldLease;
pub use shard::{FinishedShard, OpenShard, SettledShard};
pub use stop::Stop;
pub use tensor::{SpareTensors, Tensor};
pub use watch::Isolation;

/// Shards held in memory at once if they are large: one being filled, one whose last tiles are under way, one being
/// committed.
const SHARDS_IN_MEMORY: usize = 3;

/// So many frames of local files per decoding thread are being read or decoded: to be further ahead only pushes them out
/// of caches.
const LOCAL_FRAMES: usize = 4;

/// What the stages of a run need.
pub struct Stages {
    /// The run.
    pub run: Arc<Run>,
    /// Brings bytes.
    pub fetcher: Arc<Fetcher>,
    /// How scenes are cut into windows; `None`: every source is one tile.
    pub tiling: Option<Arc<Tiling>>,
    /// Limits on what is decoded.
    pub limits: DecodeLimits,
    /// Decodes in child processes.
    pub isolation: Isolation,
    /// The model's input.
    pub input: Input,
    /// Turns chips into the model's input.
    pub preprocess: Preprocess,
    /// Buffers for chips.
    pub spare: Arc<SpareTensors>,
    /// From logits to scores; `None` for a headless model.
    pub scorer: Option<Scorer>,
    /// The table's columns.
    pub table: TableSpec,
    /// File metadata that is the same for all shards of this process.
    pub constants: Vec<(String, String)>,
    /// Chips a session run.
    pub batch: NonZeroUsize,
    /// A partial batch leaves after this long.
    pub max_wait: Duration,
    /// After a stop was asked for, what is under way may take this long before it is abandoned.
    pub grace: Duration,
    /// Requests under way at once.
    pub fetch_concurrency: NonZeroUsize,
    /// Threads that decode.
    pub decode_threads: NonZeroUsize,
    /// Bytes of encoded images, images being decoded and chips together; there is always room for a batch of chips per session
    /// and one more.
    pub memory_bytes: u64,
    /// Counters.
    pub progress: Arc<Progress>,
    /// Ends the stages early.
    pub stop: Stop,
}

/// The bounds of the queues, and the ways from stage to stage.
struct Queues {
    pool: rayon::ThreadPool,
    requests: Arc<Semaphore>,
    /// Frames of local files, from request to decoded.
    local_frames: Arc<Semaphore>,
    /// Encoded images, from request to decoded.
    fetched: ByteBudget,
    /// Decoded images and what their decoders work with, while they are decoded and resized.
    decoded: ByteBudget,
    /// Chips, until they are in a batch.
    chips: ByteBudget,
    /// What is being decoded in this process, and how long.
    watch: Arc<Watch>,
}

/// Works on shards until there are no more, and returns once all of them are committed.
///
/// Shards with an object that cannot be read are tried again when all others are done, and stay open in the end. A
/// shard whose lease is lost is dropped. When the worker stops, what it holds is put back.
///
/// # Errors
///
/// The first error of any stage, or why a stop was asked for; shards that are not committed by then
/// stay open. `Unavailable` if shards stay open since objects cannot be read.
pub async fn process(stages: Arc<Stages>, slots: Vec<SessionSlot>, work: Arc<dyn WorkSource>) -> Result<()> {
    let num_sessions = slots.len();
    stages.progress.set_widths(stages.widths(num_sessions));
    let (chips_in, chips_out) = batches(stages.batch, stages.max_wait);
    let (settled_in, settled_out) = tokio::sync::mpsc::unbounded_channel();
    let inference = start_sessions(&stages, slots, &chips_out)?;
    drop(chips_out);
    let (run, progress) = (stages.run.clone(), stages.progress.clone());
    let leases = Arc::new(Leases::new(work, run, progress, stages.isolation.hangs_after()));
    let queues = Arc::new(stages.queues(num_sessions)?);
    let _watching = stages.isolation.watch(&queues.watch, &stages.stop);
    let feeder = Feeder {
        room_for_shards: Arc::new(Semaphore::new(stages.num_shards_at_once(num_sessions))),
        queues: queues.clone(),
        stages: stages.clone(),
        leases: leases.clone(),
        chips: chips_in,
        settled: settled_in,
    };
    let feeding = tokio::spawn(feed(feeder));
    let committing = tokio::spawn(commit_settled(stages.clone(), leases.clone(), settled_out));

    let ended = async {
        let fed = join(feeding.await);
        let committed = join(committing.await);
        fed.and(committed)
    };
    tokio::pin!(ended);
    let result = tokio::select! {
        result = &mut ended => result,
        () = stages.stop.wait() => {
            // What is far enough along still gets committed; the rest stays open.
            tokio::time::timeout(stages.grace, &mut ended).await.unwrap_or(Ok(()))
        }
    };
    leases.put_back_all(queues.watch.has_seen_too_long()).await;
    if let Some(cause) = stages.stop.take_cause() {
        return Err(cause);
    }
    result?;
    for thread in inference {
        thread.join().map_err(|_| Error::bug("a session's thread crashed"))?;
    }
    if let Some(cause) = stages.stop.take_cause() {
        return Err(cause);
    }
    match leases.num_left_open().await? {
        0 => Ok(()),
        num_shards => Err(stages.fetcher.put_off_error(num_shards)),
    }
}

fn join<T>(result: std::result::Result<Result<T>, tokio::task::JoinError>) -> Result<T> {
    result.map_err(|error| Error::bug("a stage crashed").because(error))?
}

fn start_sessions(
    stages: &Arc<Stages>,
    slots: Vec<SessionSlot>,
    chips: &Batches<QueuedChip>,
) -> Result<Vec<JoinHandle<()>>> {
    slots.into_iter().enumerate().map(|(index, slot)| start_session(stages, slot, chips, index)).collect()
}

fn start_session(
    stages: &Arc<Stages>,
    slot: SessionSlot,
    chips: &Batches<QueuedChip>,
    index: usize,
) -> Result<JoinHandle<()>> {
    let inference = infer_loop::InferLoop {
        slot,
        chips: chips.clone(),
        scorer: stages.scorer,
        embedding_type: stages.table.embedding_type,
        progress: stages.progress.clone(),
        stop: stages.stop.clone(),
        spare: stages.spare.clone(),
    };
    let stages = stages.clone();
    let run = move || match catch_unwind(AssertUnwindSafe(|| inference.run())) {
        Ok(Ok(())) => {}
        Ok(Err(error)) => stages.stop.fail(error),
        Err(_) => stages.stop.fail(Error::bug("a session's thread crashed")),
    };
    std::thread::Builder::new()
        .name(format!("session-{index}"))
        .spawn(run)
        .map_err(|error| Error::unavailable("cannot start a thread").because(error))
}

/// Opens shard after shard and sends their tiles on their way.
async fn feed(feeder: Feeder) -> Result<()> {
    let stop = feeder.stages.stop.clone();
    let result: Result<()> = tokio::select! {
        result = feeder.feed_all() => result,
        () = stop.wait() => Ok(()),
    };
    if let Err(error) = result {
        stop.fail(error);
    }
    Ok(())
}

/// Opens shards.
struct Feeder {
    stages: Arc<Stages>,
    queues: Arc<Queues>,
    leases: Arc<Leases>,
    room_for_shards: Arc<Semaphore>,
    chips: ChipSender<QueuedChip>,
    settled: UnboundedSender<SettledShard>,
}

impl Feeder {
    /// Feeds shards until the source has no more.
    async fn feed_all(&self) -> Result<()> {
        let mut pass = 0;
        while let Some((lease, room)) = self.next().await? {
            let number = lease.shard();
            let shard = self.stages.run.shard(number).await?;
            if shard.tiles.is_empty() {
                return Err(Error::config(format!(
                    "shard {number} of run {} has no tiles",
                    self.stages.run.id
                )));
            }
            let times = self.leases.num_put_off(number);
            if times > pass {
                pass = times;
                self.stages.fetcher.try_hosts_again();
            }
            if self.is_put_off(&shard, times).await? {
                self.leases.give_up(&lease).await?;
                continue;
            }
            let decoder = self.begin(&lease).await?;
            self.send(shard, lease, decoder, room).await;
        }
        Ok(())
    }

    /// Notes that the shard is begun; returns who decodes its tiles.
    async fn begin(&self, lease: &HeldLease) -> Result<Decoder> {
        let Stages { run, isolation, .. } = &*self.stages;
        let num_others = if isolation.keeps_notes() { lease.begin(run).await? } else { 0 };
        tracing::info!(run = %run.id, shard = lease.shard(), attempt = num_others + 1, "shard begun");
        Ok(isolation.decoder(lease.shard(), num_others))
    }

    /// Waits for room, then for the next shard.
    async fn next(&self) -> Result<Option<(Arc<HeldLease>, OwnedSemaphorePermit)>> {
        let room = self.room_for_shards.clone().acquire_owned().await.expect("the semaphore is never closed");
        loop {
            match self.leases.next().await? {
                Answer::Shard(lease) => return Ok(Some((lease, room))),
                Answer::Elsewhere(shard) => {
                    self.stages.progress.done_elsewhere(self.stages.run.num_tiles(shard));
                }
                Answer::Wait(time) => {
                    // What is there may be all that comes: partial batches need not wait for more.
                    let _pause = self.chips.pause();
                    self.leases.wait(time).await;
                }
                Answer::Done => return Ok(None),
            }
        }
    }

    /// Returns whether the shard needs an object that still cannot be read. What others have tried in vain is left
    /// for later; then it is asked for before anything else of its shard.
    ///
    /// - `times`: how often the shard was put off
    async fn is_put_off(&self, shard: &Shard, times: usize) -> Result<bool> {
        let fetcher = &self.stages.fetcher;
        if !fetcher.is_troubled(shard.tiles.iter().map(|tile| tile.source_id)) {
            return Ok(false);
        }
        if times == 0 {
            return Ok(true);
        }
        let mut put_off = false;
        let mut asked = None;
        for tile in &shard.tiles {
            if asked == Some(tile.source_id) || !fetcher.is_troubled(std::iter::once(tile.source_id)) {
                continue;
            }
            asked = Some(tile.source_id);
            put_off |= if self.stages.tiling.is_some() {
                match fetcher.open_scene(tile).await {
                    Ok(_) => false,
                    Err(error) => error.miss()? == Miss::PutOff,
                }
            } else {
                let fetched = fetcher.fetch(std::slice::from_ref(tile), UNKNOWN_SIZE_BYTES).await?;
                matches!(fetched[..], [Err(Miss::PutOff)])
            };
        }
        Ok(put_off)
    }

    /// Sends the tiles of a shard on their way.
    async fn send(&self, shard: Shard, lease: Arc<HeldLease>, decoder: Decoder, place: OwnedSemaphorePermit) {
        let Self { stages, queues, chips, .. } = self;
        let cell_km = stages.tiling.as_ref().map(|tiling| tiling.cell_km);
        let progress = stages.progress.clone();
        let shard = OpenShard::new(shard, lease, decoder, place, self.settled.clone(), cell_km, progress);
        if let Some(tiling) = &stages.tiling {
            send_windows(stages, queues, &shard, tiling, chips);
            return;
        }
        let mut left = 0..shard.shard.tiles.len();
        while !left.is_empty() {
            let end = left.start + Fetcher::group_len(&shard.shard.tiles[left.clone()]);
            send_tiles(stages, queues, &shard, left.start..end, chips).await;
            left.start = end;
        }
        shard.all_fed();
    }
}

impl Stages {
    fn queues(&self, num_sessions: usize) -> Result<Queues> {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(self.decode_threads.get())
            .thread_name(|index| format!("decode-{index}"))
            .build()
            .map_err(|error| Error::unavailable("cannot start the decoding threads").because(error))?;
        Ok(Queues {
            pool,
            requests: Arc::new(Semaphore::new(self.fetch_concurrency.get())),
            local_frames: Arc::new(Semaphore::new(LOCAL_FRAMES * self.decode_threads.get())),
            fetched: ByteBudget::new(self.fetched_bytes()),
            decoded: ByteBudget::new(self.memory_bytes / 8 * 6),
            chips: ByteBudget::new(self.chip_bytes(num_sessions)),
            watch: Arc::default(),
        })
    }

    /// Returns how many bytes of chips may wait: a batch for each session and another one at least, or no
    /// batch would ever be whole.
    fn chip_bytes(&self, num_sessions: usize) -> u64 {
        let num_chips = (num_sessions as u64 + 1) * self.batch.get() as u64;
        (self.memory_bytes / 8).max(num_chips * ByteBudget::rounded(self.tensor_bytes()))
    }

    /// Returns how many bytes of encoded images may be there at once.
    fn fetched_bytes(&self) -> u64 {
        self.memory_bytes / 8
    }

    /// Returns how many things each stage can do at once; images that are large for `run.memory` leave room
    /// for fewer requests than are allowed.
    fn widths(&self, num_sessions: usize) -> Widths {
        let plan = &self.run.record.plan;
        let mean_bytes = plan.source_bytes.checked_div(plan.sources).filter(|&mean| mean > 0);
        let that_fit = self.fetched_bytes() / mean_bytes.unwrap_or(UNKNOWN_SIZE_BYTES);
        Widths {
            fetch: that_fit.clamp(1, self.fetch_concurrency.get() as u64) as f64,
            decode: self.decode_threads.get() as f64,
            model: num_sessions as f64,
            write: self.num_shards_at_once(num_sessions) as f64,
        }
    }

    /// Returns how many shards may be in memory at once: of small ones so many that requests and sessions are all
    /// busy, and others are being committed beside.
    fn num_shards_at_once(&self, num_sessions: usize) -> usize {
        let under_way = (num_sessions + 1) * self.batch.get() + self.fetch_concurrency.get();
        let shards_under_way = under_way.div_ceil(self.run.record.plan.shard_tiles as usize);
        shards_under_way + SHARDS_IN_MEMORY - 1
    }

    /// Returns the size of one chip as the model wants it.
    fn tensor_bytes(&self) -> u64 {
        let element = match self.input.sample_type {
            SampleType::Uint8 => 1,
            SampleType::Float32 => 4,
        };
        self.input.num_samples() as u64 * element
    }
}

/// Lets the windows of a shard go their way in a task of their own.
fn send_windows(
    stages: &Arc<Stages>,
    queues: &Arc<Queues>,
    shard: &Arc<OpenShard>,
    tiling: &Arc<Tiling>,
    chips: &ChipSender<QueuedChip>,
) {
    let stop = stages.stop.clone();
    let task = SceneTask {
        stages: stages.clone(),
        queues: queues.clone(),
        shard: shard.clone(),
        tiling: tiling.clone(),
        skip_rules: tiling.skip_rules(),
        chips: chips.clone(),
    };
    tokio::spawn(async move {
        match AssertUnwindSafe(task.run()).catch_unwind().await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => stop.fail(error),
            Err(_) => stop.fail(Error::bug("cutting windows crashed")),
        }
    });
}

/// A source whose size is unknown is taken to have so many bytes until it turns out to have more.
const UNKNOWN_SIZE_BYTES: u64 = 1 << 20;

/// Waits until the tiles may be fetched, then lets them go their way in a task of their own.
async fn send_tiles(
    stages: &Arc<Stages>,
    queues: &Arc<Queues>,
    shard: &Arc<OpenShard>,
    range: Range<usize>,
    chips: &ChipSender<QueuedChip>,
) {
    let request = queues.requests.clone().acquire_owned().await.expect("the semaphore is never closed");
    let sizes = shard.shard.tiles[range.clone()].iter().map(|tile| tile.source.size_bytes);
    let reservation =
        queues.fetched.reserve(sizes.map(|size| size.unwrap_or(UNKNOWN_SIZE_BYTES)).sum()).await;
    let (stages, queues, shard) = (stages.clone(), queues.clone(), shard.clone());
    let stop = stages.stop.clone();
    let task = FetchTask { stages, queues, shard, range, reservation, request }.run(chips.clone());
    tokio::spawn(async move {
        if AssertUnwindSafe(task).catch_unwind().await.is_err() {
            stop.fail(Error::bug("fetching crashed"));
        }
    });
}

/// The tiles of one request.
struct FetchTask {
    stages: Arc<Stages>,
    queues: Arc<Queues>,
    shard: Arc<OpenShard>,
    range: Range<usize>,
    /// Their encoded bytes.
    reservation: Reservation,
    request: OwnedSemaphorePermit,
}

impl FetchTask {
    async fn run(self, chips: ChipSender<QueuedChip>) {
        let Self { stages, queues, shard, range, reservation, request } = self;
        let started = Instant::now();
        let tiles = &shard.shard.tiles[range.clone()];
        let (fetched, reservation) = fetch_within(&stages.fetcher, &queues.fetched, tiles, reservation).await;
        // Files that are read in groups come at once: to be far ahead of decoding only pushes them out of caches.
        let request = (range.len() > 1).then_some(request);
        stages.progress.fetch_took(started.elapsed());
        let fetched = match fetched {
            Ok(fetched) => fetched,
            Err(error) => return stages.stop.fail(error),
        };
        let reservation = Arc::new((reservation, request));
        for (index, fetched) in range.zip(fetched) {
            let (stages, queues, shard) = (stages.clone(), queues.clone(), shard.clone());
            let tile = TileTask { stages, queues, shard, index, _reservation: reservation.clone() };
            match fetched {
                // Nothing of it will be committed.
                Ok(_) if tile.shard.is_given_up() => tile.put_off(),
                Ok(fetched) => tile.decode(fetched, &chips).await,
                Err(Miss::Rejected(rejection)) => tile.reject(rejection),
                Err(Miss::PutOff | Miss::Room(_)) => tile.put_off(),
            }
        }
    }
}

/// What tiles came to, one by one.
type Fetched = Result<Vec<TileOutcome>>;

/// Fetches tiles. One that turns out larger than was thought waits for its room with nothing in its hands, so that
/// nobody waits for it, and is fetched anew.
async fn fetch_within(
    fetcher: &Fetcher,
    budget: &ByteBudget,
    tiles: &[Tile],
    reservation: Reservation,
) -> (Fetched, Reservation) {
    let (mut room, mut reservation) = (UNKNOWN_SIZE_BYTES, reservation);
    loop {
        match fetcher.fetch(tiles, room).await {
            Ok(fetched) if let [Err(Miss::Room(needed))] = fetched[..] => {
                drop(reservation);
                (room, reservation) = (needed, budget.reserve(needed).await);
            }
            fetched => return (fetched, reservation),
        }
    }
}

/// One tile between the stages.
struct TileTask {
    stages: Arc<Stages>,
    queues: Arc<Queues>,
    shard: Arc<OpenShard>,
    index: usize,
    /// The encoded bytes of all tiles of its request, and of local files the request.
    _reservation: Arc<(Reservation, Option<OwnedSemaphorePermit>)>,
}

impl TileTask {
    /// Waits for room, then decodes and preprocesses on the CPU pool: the one bridge from tokio to rayon.
    async fn decode(self, fetched: FetchedTile, chips: &ChipSender<QueuedChip>) {
        self.stages.progress.fetched(fetched.bytes.len());
        let image = match self.stages.open(&fetched.bytes) {
            Ok(image) => image,
            Err(rejection) => return self.reject(rejection),
        };
        // In this order everywhere: whoever holds room to decode waits for nothing more.
        let reservation = self.queues.chips.reserve(self.stages.tensor_bytes()).await;
        let decoding =
            self.queues.decoded.reserve(decode::working_bytes(&image.header, &fetched.bytes)).await;
        let (queues, chips) = (self.queues.clone(), chips.clone());
        let stop = self.stages.stop.clone();
        let job = move || {
            let started = Instant::now();
            let watched = self.queues.watch.begin(&self.shard.decoder);
            let tensor = self.stages.tensor(&self.shard.decoder, &image, &fetched.bytes);
            drop(watched);
            self.stages.progress.decoded(started.elapsed());
            drop(decoding);
            match tensor {
                Ok(tensor) => {
                    let detail = wrong_extension(&image.header, &self.shard.tile(self.index).source.uri);
                    let Self { shard, index, .. } = self;
                    chips.send(QueuedChip {
                        shard,
                        index,
                        tensor: Some(tensor),
                        detail,
                        reservation: Some(reservation),
                    });
                }
                Err(SourceError::Rejected(rejection)) => self.reject(rejection),
                Err(SourceError::Failed(error)) => self.stages.stop.fail(error),
            }
        };
        queues.pool.spawn(move || {
            if catch_unwind(AssertUnwindSafe(job)).is_err() {
                stop.fail(Error::bug("preprocessing crashed"));
            }
        });
    }

    fn reject(&self, rejection: Rejection) {
        let tile = self.shard.tile(self.index);
        tracing::debug!(tile = %tile.id, reason = rejection.reason.code(), "rejected");
        self.stages.progress.rejected();
        self.shard.reject(self.index, rejection);
    }

    fn put_off(&self) {
        self.shard.put_off(self.index);
    }
}

impl Stages {
    /// Reads a header, and rejects what it alone shows to be no input of the model.
    fn open(&self, bytes: &[u8]) -> Result<WholeImage, Rejection> {
        WholeImage::open(bytes, &self.limits, &self.preprocess)
    }

    fn tensor(&self, decoder: &Decoder, image: &WholeImage, bytes: &[u8]) -> Result<Tensor, SourceError> {
        let mut tensor = self.spare.take();
        let decode = |needed| decoder.image(&image.header, bytes, &self.limits, needed);
        image.write_by(decode, &self.preprocess, tensor.slot())?;
        Ok(tensor)
    }

    fn chip_tensor(&self, chip: Chip) -> Result<Tensor, Rejection> {
        let mut tensor = self.spare.take();
        let fitted = self.preprocess.apply(&chip, tensor.slot());
        decode::recycle(chip);
        fitted.map(|()| tensor)
    }
}

/// Returns the note on a row whose content is another format than its name says. Where names are secret, an extension is
/// shown that is usual for images: any other may be a part of a name.
fn wrong_extension(header: &ImageHeader, source: &SourceUri) -> Option<String> {
    let uri = source.for_reading();
    let name = uri.rsplit('/').next().unwrap_or(uri);
    let (_, extension) = name.rsplit_once('.')?;
    if header.format.extension_matches(name) {
        return None;
    }
    let formats = [ImageFormat::Jpeg, ImageFormat::Png, ImageFormat::WebP, ImageFormat::Tiff];
    let is_usual = formats.iter().any(|format| format.extension_matches(name));
    let named = if is_usual || !source.naming().is_secret() {
        format!("named .{extension}")
    } else {
        "named as no image".to_owned()
    };
    Some(format!("{named}, content is {}", header.format))
}

/// Encodes and commits finished shards, several at once, until no stage can finish another; ends the leases of all.
async fn commit_settled(
    stages: Arc<Stages>,
    leases: Arc<Leases>,
    mut settled: UnboundedReceiver<SettledShard>,
) -> Result<()> {
    let mut commits = JoinSet::new();
    while let Some(shard) = settled.recv().await {
        let (stages, leases) = (stages.clone(), leases.clone());
        commits.spawn(async move {
            let ended = match shard {
                SettledShard::Finished(shard) => stages.finish(shard, &leases).await,
                SettledShard::GivenUp(lease) => leases.give_up(&lease).await,
            };
            if let Err(error) = ended {
                stages.stop.fail(error);
            }
        });
        while commits.try_join_next().is_some() {}
    }
    while let Some(done) = commits.join_next().await {
        done.map_err(|error| Error::bug("committing crashed").because(error))?;
    }
    Ok(())
}

impl Stages {
    /// Commits a shard, unless another worker may have it by now, and ends its lease.
    async fn finish(self: &Arc<Self>, shard: FinishedShard, leases: &Leases) -> Result<()> {
        let lease = shard.lease.clone();
        if lease.is_lost() {
            shard.rows.iter().for_each(|row| self.progress.taken_back(&row.outcome));
            return leases.give_up(&lease).await;
        }
        let by = self.commit(shard).await?;
        leases.done(&lease, by).await
    }

    async fn commit(self: &Arc<Self>, shard: FinishedShard) -> Result<CommittedBy> {
        let started = Instant::now();
        let number = shard.number;
        let mut counts = Counts::default();
        shard.rows.iter().for_each(|row| counts.add(&row.outcome));
        let mut provenance = Provenance::new(&self.run, number, &self.run.output.process.unique_name());
        provenance.set_counts(&counts);
        provenance.set(SECONDS, format!("{:.3}", shard.took.as_secs_f64()));
        provenance.set(WORKER, self.run.output.process.name());
        if let Some(seconds) = self.progress.snapshot().seconds_per_request() {
            provenance.set(REQUEST_SECONDS, format!("{seconds:.3}"));
        }
        for (key, value) in &self.constants {
            provenance.set(key, value.clone());
        }
        let (stages, pairs) = (self.clone(), provenance.pairs().to_vec());
        let (bytes, place) = tokio::task::spawn_blocking(move || stages.encode(shard, &pairs))
            .await
            .map_err(|error| Error::bug("encoding crashed").because(error))??;
        let committed = commit_shard(&self.run, number, bytes, &provenance).await?;
        drop(place);
        self.progress.committed(committed, &counts, started.elapsed());
        tracing::info!(run = %self.run.id, shard = number, ?committed, rows = counts.tiles(), "shard committed");
        Ok(committed)
    }

    fn encode(
        &self,
        shard: FinishedShard,
        provenance: &[(String, String)],
    ) -> Result<(bytes::Bytes, Option<OwnedSemaphorePermit>)> {
        let rows = ShardRows {
            shard: shard.number,
            rows: &shard.rows,
            embeddings: &shard.embeddings,
            extra: shard.extra.as_ref(),
        };
        Ok((table::encode(&self.table, &rows, provenance)?, shard.permit))
    }
}
