//! A run whose plan is published: its record, its tiles and which shards are committed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arrow::array::StructArray;
use bytes::Bytes;
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use tokio::sync::{Mutex, OnceCell};

use crate::input::storage::{Bucket, ObjectInfo, ObjectUri, Put, Storage, StoreError};
use crate::output::layout::{Layout, RunId, SHARDS_PER_PART, shard_of_name};
use crate::output::lineage::OutputRecord;
use crate::output::record::RunRecord;
use crate::output::sources::{Source, SourceTable};
use crate::output::tiles::{PlanPart, PlannedTile};
use crate::vocabulary::error::{Error, Kind, Result};
use crate::vocabulary::geometry::Window;
use crate::vocabulary::identity::Naming;
use crate::vocabulary::process::Process;
use crate::vocabulary::tile_id::TileId;
use crate::vocabulary::time::Timestamp;

/// How often an object is put before the store is treated as unavailable.
const MAX_PUTS: u32 = 4;
/// Grows with each attempt.
const PAUSE: Duration = Duration::from_millis(250);
/// For whoever finds the object.
const PROBE: &[u8] = b"tilefleet tested with this object that the store has create-only writes\n";

/// An output: the table and the records of its runs.
#[derive(Clone)]
pub struct Output {
    /// Where it lies.
    pub uri: ObjectUri,
    /// Its bucket.
    pub bucket: Bucket,
    /// Its names.
    pub layout: Layout,
    /// Who reads and writes it.
    pub process: Arc<Process>,
    /// How its sources are named, in whatever is written here.
    pub naming: Naming,
    /// Where the tables of sources lie instead of here, with their URIs.
    vault: Option<Vault>,
}

/// Where the tables of an output's sources lie.
#[derive(Clone)]
enum Vault {
    /// In the output itself, with their URIs: it is seen by this process alone.
    Itself,
    /// In a folder of another place, which the output's record names; it is read once.
    Elsewhere { place: Arc<Output>, folder: Arc<OnceCell<Output>> },
}

impl Output {
    /// Names the output at `uri` as `process` sees it; nothing is read or written yet.
    #[must_use]
    pub fn open(storage: &Storage, uri: &ObjectUri, process: Arc<Process>) -> Self {
        let layout = Layout::new(uri.key());
        let bucket = storage.bucket(uri).with_staging(&layout.staging()).with_own(uri.key());
        Self { uri: uri.clone(), bucket, layout, process, naming: storage.naming().clone(), vault: None }
    }

    /// Returns the same output, which keeps the tables that tell the URIs of its sources in a folder of another place.
    #[must_use]
    pub fn with_vault(self, place: Self) -> Self {
        let vault = Vault::Elsewhere { place: Arc::new(place), folder: Arc::default() };
        Self { vault: Some(vault), ..self }
    }

    /// Returns the same output, which keeps the URIs of its sources although their names are secret: it goes with this
    /// process.
    #[must_use]
    pub fn keeping_uris(self) -> Self {
        Self { vault: Some(Vault::Itself), ..self }
    }

    /// Returns where the tables of sources lie with their URIs.
    ///
    /// # Errors
    ///
    /// `Config` if that is this output, and the names in it are to be secret; as [`OutputRecord::read`].
    pub async fn vault(&self) -> Result<&Self> {
        match &self.vault {
            Some(Vault::Elsewhere { place, folder }) => {
                folder.get_or_try_init(async || Ok(place.below(&self.vault_folder().await?))).await
            }
            None if self.naming.is_secret() => {
                Err(Error::config(format!("nothing may tell the URIs of sources in {}", self.uri))
                    .hint("name a vault to keep them in: `privacy.vault`"))
            }
            Some(Vault::Itself) | None => Ok(self),
        }
    }

    /// Returns the places that it writes to: none of them is input of a run.
    pub fn places(&self) -> impl Iterator<Item = &ObjectUri> {
        let vault = match &self.vault {
            Some(Vault::Elsewhere { place, .. }) => Some(&place.uri),
            Some(Vault::Itself) | None => None,
        };
        std::iter::once(&self.uri).chain(vault)
    }

    /// Returns where this process reads the tables of sources: their names, which lie in the output, or their URIs, if it
    /// can make names of them.
    async fn place_of_sources(&self) -> Result<&Self> {
        if self.naming.is_secret() { self.vault().await } else { Ok(self) }
    }

    /// Returns whether the URIs of sources are kept in another place.
    #[must_use]
    pub fn has_vault(&self) -> bool {
        matches!(self.vault, Some(Vault::Elsewhere { .. }))
    }

    async fn vault_folder(&self) -> Result<String> {
        let privacy = OutputRecord::read(self).await?.and_then(|record| record.privacy);
        let none = || {
            Error::config(format!("the output {} names no folder of a vault", self.uri))
                .hint("its sources have no pseudonyms, or nothing was ever planned there")
        };
        Ok(privacy.ok_or_else(none)?.folder)
    }

    /// Returns the output in a folder of this one.
    fn below(&self, folder: &str) -> Self {
        let uri = self.uri.join(folder);
        let layout = Layout::new(uri.key());
        let bucket = self.bucket.clone().with_staging(&layout.staging()).with_own(uri.key());
        Self { uri, bucket, layout, vault: None, ..self.clone() }
    }

    /// Opens the table of a run's sources; `None` if none is elected.
    ///
    /// # Errors
    ///
    /// As [`SourceTable::open`] and [`Self::vault`].
    pub async fn sources(&self, id: &RunId) -> Result<Option<SourceTable>> {
        let place = self.place_of_sources().await?;
        SourceTable::open(&place.bucket, &place.layout.sources(id), &self.naming).await
    }

    /// Says that what was to be looked at does not exist: any run, or this one.
    #[must_use]
    pub fn no_run(&self, only: Option<&RunId>) -> Error {
        let what = only.map_or_else(|| "no run".to_owned(), |id| format!("no run {id}"));
        let hint = match only {
            Some(_) => format!("`tilefleet runs {}` lists the output's runs", self.uri),
            None => "check the output's address; `tilefleet run` makes runs".to_owned(),
        };
        Error::config(format!("there is {what} in {}", self.uri)).hint(hint)
    }

    /// Lists a folder; one that does not exist yet is empty, as in a bucket.
    pub fn list(&self, folder: &str) -> BoxStream<'static, Result<ObjectInfo>> {
        match self.bucket.uri(folder).local_path() {
            Some(path) if !path.exists() => stream::empty().boxed(),
            _ => self.bucket.list(folder),
        }
    }

    /// Creates an object, or finds that one is there, perhaps by a request of this process whose answer was lost.
    ///
    /// # Errors
    ///
    /// As the store answers; `Unavailable` if it contradicts itself.
    pub async fn create(&self, key: &str, bytes: Bytes) -> Result<Put> {
        let unclear = match self.create_clearly(key, bytes.clone()).await {
            Err(error) if error.kind() == Kind::Unavailable => error,
            clear => return clear,
        };
        // Nobody sends a create-only write again whose answer did not come: it may have been done.
        match self.bucket.head(key).await {
            Ok(_) => Ok(Put::Exists),
            Err(StoreError::Gone) => self.create_clearly(key, bytes).await,
            Err(_) => Err(unclear),
        }
    }

    /// Creates an object, or finds that somebody has created it before.
    async fn create_clearly(&self, key: &str, bytes: Bytes) -> Result<Put> {
        for attempt in 1..=MAX_PUTS {
            if self.bucket.put_new(key, bytes.clone()).await? == Put::Created {
                return Ok(Put::Created);
            }
            // Some stores say "exists" of what never landed (S3: 409 where two writers meet), so look.
            match self.bucket.head(key).await {
                Ok(_) => return Ok(Put::Exists),
                Err(StoreError::Gone) if attempt < MAX_PUTS => {
                    // Two writers that met here must not meet again.
                    self.process.sleep(self.process.jittered(PAUSE * attempt)).await;
                }
                Err(StoreError::Gone) => {}
                Err(fault) => return Err(fault.into_error(self.bucket.uri(key))),
            }
        }
        Err(contradicts_itself(&self.bucket, key))
    }

    /// Creates what several workers may want to create, each with another content: the first one's counts.
    ///
    /// # Errors
    ///
    /// As [`Output::create`]; `Config` if the store would let the last one's count.
    pub async fn elect(&self, key: &str, bytes: Bytes) -> Result<Put> {
        self.prove_create_only().await?;
        self.create(key, bytes).await
    }

    /// Finds out whether the store keeps an object that is there when it is asked to.
    ///
    /// The probe stays: whoever finds it there needs one request only.
    async fn prove_create_only(&self) -> Result<()> {
        if self.bucket.is_local() {
            return Ok(());
        }
        let probe = self.layout.create_only_probe();
        for _ in 0..2 {
            if self.create_clearly(&probe, Bytes::from_static(PROBE)).await? == Put::Exists {
                return Ok(());
            }
        }
        Err(Error::config(format!("the store of {} ignores create-only writes", self.uri))
            .because(format!("it accepted a second create-only write of {}", self.bucket.uri(&probe)))
            .hint(
                "workers would overwrite each other's rows: use a store that honours `If-None-Match: *` (an \
                 update of this one may), or a local folder",
            ))
    }

    /// Lists the table's folder once, or only the folder of one run's rows.
    ///
    /// A shard is committed after its run is planned: list first and open the runs then, and the run of
    /// every listed shard is there.
    ///
    /// # Errors
    ///
    /// As the store answers.
    pub async fn table(&self, only: Option<&RunId>) -> Result<Table> {
        let root = self.layout.table();
        let folder = only.map_or_else(|| root.clone(), |id| self.layout.rows(id));
        let mut table = Table::default();
        let mut objects = self.list(&folder);
        while let Some(object) = objects.try_next().await? {
            table.add(&root, object);
        }
        Ok(table)
    }
}

/// Says that an object can neither be created nor seen.
pub fn contradicts_itself(bucket: &Bucket, key: &str) -> Error {
    let uri = bucket.uri(key);
    Error::unavailable(format!("the store says first that {uri} exists, then that it does not")).hint(
        "run the same command again; if the error stays, the store does not support create-only writes: use \
         another one",
    )
}

/// What the table's folder holds, run by run.
#[derive(Clone, Debug, Default)]
pub struct Table {
    /// By run, whether that run is known or not; no plan has been asked yet.
    runs: BTreeMap<RunId, Committed>,
    /// Keys of objects in no run's folder.
    strays: Vec<String>,
}

impl Table {
    fn add(&mut self, root: &str, object: ObjectInfo) {
        let path = object.key.strip_prefix(root).and_then(|path| path.strip_prefix("run="));
        match path.and_then(|path| path.split_once('/')).map(|(id, name)| (RunId::parse(id), id, name)) {
            _ if object.key.ends_with('/') => {} // A folder marker, which holds no row.
            // Readers see `run=` as it is written, so that no other spelling of an id stands for it.
            Some((Ok(run), id, name)) if run.to_string() == id => {
                let number = shard_of_name(name);
                self.runs.entry(run).or_default().add(number, object);
            }
            _ => self.strays.push(object.key),
        }
    }

    /// Takes out what lies in the folder of one run's rows.
    pub fn take(&mut self, id: &RunId) -> Committed {
        self.runs.remove(id).unwrap_or_default()
    }

    /// Returns the keys of what was not taken out, shards first.
    pub fn rest<'a>(&'a self, layout: &'a Layout) -> impl Iterator<Item = String> + 'a {
        let foreign = self.runs.iter().flat_map(|(id, found)| found.keys(layout, id));
        foreign.chain(self.strays.iter().cloned())
    }
}

/// One tile with everything that fetching and writing its row needs.
#[derive(Clone, Debug)]
pub struct Tile {
    /// Identity of the place.
    pub id: TileId,
    /// Number of the source in the run.
    pub source_id: u64,
    /// The source it is cut from.
    pub source: Source,
    /// Resolution step.
    pub level: u32,
    /// Frame of a multi-frame source.
    pub frame: u32,
    /// The pixels; `None` for the whole source.
    pub window: Option<Window>,
}

/// The tiles of one shard, in order.
#[derive(Clone, Debug)]
pub struct Shard {
    /// Its number.
    pub number: u32,
    /// Its tiles.
    pub tiles: Vec<Tile>,
    /// The manifest's additional columns, one row per tile.
    pub extra: Option<StructArray>,
}

/// A run whose plan is published.
pub struct Run {
    /// Its id.
    pub id: RunId,
    /// Its record.
    pub record: RunRecord,
    /// Its place among the runs; see [`RunRecord::as_of`].
    pub as_of: Timestamp,
    /// The output it belongs to.
    pub output: Output,
    /// Its sources.
    pub sources: SourceTable,
    part: Mutex<Option<PlanPart>>,
}

/// One committed shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommittedShard {
    /// Its number.
    pub number: u32,
    /// Size of its object.
    pub size_bytes: u64,
    /// When the store took it.
    pub committed_at: SystemTime,
}

/// What the folder of a run's rows holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Committed {
    /// Committed shards in order.
    pub shards: Vec<CommittedShard>,
    /// Keys of objects that are not shard of the plan.
    pub strays: Vec<String>,
}

impl Committed {
    fn add(&mut self, number: Option<u32>, object: ObjectInfo) {
        match number {
            Some(number) => self.shards.push(CommittedShard {
                number,
                size_bytes: object.size,
                committed_at: object.modified,
            }),
            None => self.strays.push(object.key),
        }
    }

    /// Returns the keys of all objects, shards first.
    pub fn keys<'a>(&'a self, layout: &'a Layout, id: &'a RunId) -> impl Iterator<Item = String> + 'a {
        let shards = self.shards.iter().map(move |shard| layout.shard(id, shard.number));
        shards.chain(self.strays.iter().cloned())
    }
}

impl Run {
    /// Opens a run; `None` if its plan is not complete.
    ///
    /// # Errors
    ///
    /// As the store answers; `Config` if the record is damaged.
    pub async fn open(output: &Output, id: &RunId) -> Result<Option<Self>> {
        let Some(record) = RunRecord::read(&output.bucket, &output.layout, id).await? else {
            return Ok(None);
        };
        let Some(sources) = output.sources(id).await? else {
            return Err(without_sources(output, id).await?);
        };
        let as_of = match record.as_of {
            Some(as_of) => as_of,
            None => recorded_at(output, id).await?,
        };
        let (id, output) = (id.clone(), output.clone());
        Ok(Some(Self { id, record, as_of, output, sources, part: Mutex::new(None) }))
    }

    /// Returns when it was planned, as far as its record says; else when the record was taken.
    #[must_use]
    pub fn planned_at(&self) -> Timestamp {
        self.record.planned_at.unwrap_or(self.as_of)
    }

    /// Orders runs by age: of two runs that cover one tile, the greater is the newer.
    #[must_use]
    pub fn age(&self) -> (Timestamp, u32, &RunId) {
        (self.as_of, self.id.sequence(), &self.id)
    }

    /// Returns another handle on the same run.
    #[must_use]
    pub fn handle(&self) -> Self {
        Self {
            id: self.id.clone(),
            record: self.record.clone(),
            as_of: self.as_of,
            output: self.output.clone(),
            sources: self.sources.clone(),
            part: Mutex::new(None),
        }
    }

    /// Returns the number of planned shards.
    #[must_use]
    pub fn num_shards(&self) -> u32 {
        self.record.plan.shards
    }

    /// Returns the number of tiles of a shard: all shards are full but the last.
    #[must_use]
    pub fn num_tiles(&self, shard: u32) -> u64 {
        let plan = &self.record.plan;
        let before = u64::from(shard) * u64::from(plan.shard_tiles);
        plan.tiles.saturating_sub(before).min(plan.shard_tiles.into())
    }

    /// Returns the object that commits a shard.
    #[must_use]
    pub fn shard_key(&self, shard: u32) -> String {
        self.output.layout.shard(&self.id, shard)
    }

    /// Reads the planned tiles of a shard.
    ///
    /// # Errors
    ///
    /// As the store answers; `Config` if the plan is damaged.
    pub async fn planned_tiles(&self, shard: u32) -> Result<Vec<PlannedTile>> {
        self.part_of(shard).await?.tiles(shard).await
    }

    async fn part_of(&self, shard: u32) -> Result<PlanPart> {
        let mut cached = self.part.lock().await;
        if let Some(part) = cached.as_ref().filter(|part| part.holds(shard)) {
            return Ok(part.clone());
        }
        Ok(cached.insert(self.part(shard / SHARDS_PER_PART).await?).clone())
    }

    /// Returns the number of parts that the plan has.
    pub(super) fn num_parts(&self) -> u32 {
        self.num_shards().div_ceil(SHARDS_PER_PART)
    }

    /// Opens a part of the plan.
    pub(super) async fn part(&self, number: u32) -> Result<PlanPart> {
        let key = self.output.layout.plan_part(&self.id, number);
        PlanPart::open(&self.output.bucket, &key, number).await
    }

    /// Reads a shard: its tiles joined with their sources.
    ///
    /// # Errors
    ///
    /// As the store answers; `Config` if the record is damaged.
    pub async fn shard(&self, number: u32) -> Result<Shard> {
        let planned = self.planned_tiles(number).await?;
        let (Some(first), Some(last)) = (
            planned.iter().map(|tile| tile.source_id).min(),
            planned.iter().map(|tile| tile.source_id).max(),
        ) else {
            return Ok(Shard { number, tiles: Vec::new(), extra: None });
        };
        let range = self.sources.read(first..last + 1).await?;
        let rows: Vec<usize> = planned.iter().map(|tile| (tile.source_id - first) as usize).collect();
        let extra = range.extra.map(|extra| take_rows(&extra, &rows)).transpose()?;
        let tiles = planned.into_iter().zip(rows).map(|(tile, row)| Tile {
            id: tile.id,
            source_id: tile.source_id,
            source: range.sources[row].clone(),
            level: tile.level,
            frame: tile.frame,
            window: tile.window,
        });
        Ok(Shard { number, tiles: tiles.collect(), extra })
    }

    /// Lists what the folder of this run's rows holds.
    ///
    /// # Errors
    ///
    /// As the store answers.
    pub async fn committed(&self) -> Result<Committed> {
        Ok(self.committed_in(&mut self.output.table(Some(&self.id)).await?))
    }

    /// Takes what the folder of this run's rows holds out of a listing.
    pub fn committed_in(&self, table: &mut Table) -> Committed {
        let Committed { shards, mut strays } = table.take(&self.id);
        let (mut shards, beyond): (Vec<_>, Vec<_>) =
            shards.into_iter().partition(|shard| shard.number < self.num_shards());
        strays.extend(beyond.iter().map(|shard| self.shard_key(shard.number)));
        shards.sort_by_key(|shard| shard.number);
        Committed { shards, strays }
    }

    /// Returns whether every planned shard is committed.
    ///
    /// # Errors
    ///
    /// As the store answers.
    pub async fn complete(&self) -> Result<bool> {
        Ok(self.committed().await?.shards.len() == self.num_shards() as usize)
    }
}

/// Says that the sources of a planned run are not where they should be.
async fn without_sources(output: &Output, id: &RunId) -> Result<Error> {
    let place = output.place_of_sources().await?;
    let missing = Error::config(format!("{} is missing", place.bucket.uri(&place.layout.sources(id))));
    Ok(missing.hint(if place.uri == output.uri {
        "the run's record was damaged; use another output"
    } else {
        "`privacy.vault` must be the place that the run was planned with"
    }))
}

/// Returns when the store took a record that does not say when it was made.
async fn recorded_at(output: &Output, id: &RunId) -> Result<Timestamp> {
    let key = output.layout.run_json(id);
    let info = output.bucket.head(&key).await.map_err(|fault| fault.into_error(&key))?;
    Ok(info.modified.into())
}

/// Picks rows; contiguous rows cost nothing.
fn take_rows(extra: &StructArray, rows: &[usize]) -> Result<StructArray> {
    use arrow::array::{AsArray, UInt64Array};
    if rows.iter().enumerate().all(|(index, row)| index == *row) {
        return Ok(extra.slice(0, rows.len()));
    }
    let indices = UInt64Array::from_iter_values(rows.iter().map(|row| *row as u64));
    let taken = arrow::compute::take(&(Arc::new(extra.clone()) as arrow::array::ArrayRef), &indices, None)
        .map_err(|error| Error::bug("cannot pick manifest rows").because(error))?;
    Ok(taken.as_struct().clone())
}
