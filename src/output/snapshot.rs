//! The runs of an output and what is committed of them, as they stood at one moment.
//!
//! ```text
//! records listed ─▶ table listed ─▶ runs opened ─▶ records listed once more
//!       ▲                                            │ another run was planned or deleted meanwhile
//!       └────────────────────────────────────────────┘
//! ```
//!
//! A run's rows appear after its plan, and go only after its tombstone is there. So if both lists of the
//! records name the same runs and tombstones, every listed shard belongs to a run that was opened, and no
//! row of an opened run went while the table was listed. A compaction that ends, and the deletion of what
//! it replaces, are thus seen as one step.

use std::collections::BTreeMap;

use futures::TryStreamExt;

use super::RunRecord;
use super::layout::ACCEPTED;
use super::origin::Origin;
use super::run::{Committed, Output, Run, Table};
use crate::output::Election;
use crate::output::RunId;
use crate::vocabulary::error::{Error, Result};
use crate::vocabulary::time::Timestamp;

/// How often the runs may change while they are read.
const MAX_LOOKS: u32 = 8;

/// Which runs are looked at.
#[derive(Clone, Copy, Debug)]
pub enum Scope<'a> {
    /// All runs and the whole table.
    All,
    /// One run, and of the table only its folder.
    Run(&'a RunId),
    /// The runs of one family; the table is not listed.
    RunSeries(&'a str),
}

impl<'a> Scope<'a> {
    /// Returns the scope of a command that may be about one run only.
    #[must_use]
    pub fn of(only: Option<&'a RunId>) -> Self {
        only.map_or(Self::All, Self::Run)
    }

    fn holds(self, id: &RunId) -> bool {
        match self {
            Self::All => true,
            Self::Run(only) => only == id,
            Self::RunSeries(family) => family == id.family(),
        }
    }
}

/// A run that has any record and is not deleted.
pub enum KnownRun {
    /// Its plan is published.
    Planned(Box<Run>),
    /// Its plan is not complete: a worker is about to publish it, or was killed before it could.
    Planning(Planning),
}

/// A run whose plan is not complete.
#[derive(Clone, Debug)]
pub struct Planning {
    /// Its id.
    pub id: RunId,
    /// Why it exists.
    pub origin: Origin,
}

impl KnownRun {
    /// Returns its id.
    #[must_use]
    pub fn id(&self) -> &RunId {
        match self {
            Self::Planned(run) => &run.id,
            Self::Planning(planning) => &planning.id,
        }
    }

    /// Returns why it exists.
    #[must_use]
    pub fn origin(&self) -> &Origin {
        match self {
            Self::Planned(run) => &run.record.origin,
            Self::Planning(planning) => &planning.origin,
        }
    }

    /// Returns the run if its plan is complete.
    #[must_use]
    pub fn planned(&self) -> Option<&Run> {
        match self {
            Self::Planned(run) => Some(run),
            Self::Planning(_) => None,
        }
    }
}

/// A run with what is committed of it.
pub struct RunState {
    /// The run.
    pub run: KnownRun,
    /// What the folder of its rows holds.
    pub found: Committed,
    /// Whether it was accepted, whatever was rejected of it.
    pub accepted: bool,
}

impl RunState {
    /// Returns the run if its plan is complete and every shard is committed.
    #[must_use]
    pub fn completed(&self) -> Option<&Run> {
        self.run.planned().filter(|run| self.found.shards.len() == run.num_shards() as usize)
    }
}

/// A run that has a tombstone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeletedRun {
    /// Its id.
    pub id: RunId,
    /// What is left in the folder of its rows.
    pub found: Committed,
    /// How many objects are left of its record, beside the tombstone.
    pub num_records: u64,
}

impl DeletedRun {
    /// Returns how many of its objects are left: its deletion was interrupted, or a worker that did not
    /// know of it went on.
    #[must_use]
    pub fn num_left(&self) -> u64 {
        self.num_records + (self.found.shards.len() + self.found.strays.len()) as u64
    }
}

/// The runs of an output at one moment.
pub struct Snapshot {
    /// Those that are not deleted, oldest first within a family.
    pub runs: Vec<RunState>,
    /// Those that are deleted.
    pub deleted: Vec<DeletedRun>,
    /// What the table's folder holds of no run.
    pub rest: Table,
    records: Records,
}

impl Snapshot {
    /// Returns the completed runs, oldest first within a family.
    #[must_use]
    pub fn completed(&self) -> Vec<&Run> {
        self.runs.iter().filter_map(RunState::completed).collect()
    }

    /// Returns a run that is not deleted.
    #[must_use]
    pub fn standing(&self, id: &RunId) -> Option<&RunState> {
        self.runs.iter().find(|standing| standing.run.id() == id)
    }

    /// Returns whether any run is beyond the scope that was looked at.
    #[must_use]
    pub fn is_part(&self) -> bool {
        self.records.has_others
    }

    /// Returns whether there is neither a run nor anything left of one.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty() && self.deleted.iter().all(|run| run.num_left() == 0)
    }

    /// Says that what was to be looked at is not there: any run, or this one.
    #[must_use]
    pub fn nothing(&self, output: &Output, only: Option<&RunId>) -> Error {
        match only.filter(|only| self.deleted.iter().any(|run| run.id == **only)) {
            Some(id) => Error::config(format!("run {id} of {} is deleted", output.uri))
                .hint(format!("`tilefleet runs {}` lists the runs", output.uri)),
            None => output.no_run(only),
        }
    }

    /// Returns the sequence number that the next run of a family gets: deleted runs keep theirs.
    #[must_use]
    pub fn next_sequence(&self, family: &str) -> u32 {
        let ids = self.records.runs.keys().filter(|id| id.family() == family);
        ids.map(RunId::sequence).max().map_or(1, |last| last + 1)
    }
}

/// What the folder of records holds, run by run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Records {
    runs: BTreeMap<RunId, Record>,
    /// Whether there are runs out of scope.
    has_others: bool,
}

/// What is there of one run's record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Record {
    deleted: bool,
    accepted: bool,
    num_objects: u64,
}

impl Records {
    /// Returns whether the same runs are there and the same of them are deleted or accepted.
    fn same_runs(&self, other: &Self) -> bool {
        let state = |records: &Self| -> Vec<(RunId, bool, bool)> {
            records.runs.iter().map(|(id, record)| (id.clone(), record.deleted, record.accepted)).collect()
        };
        state(self) == state(other)
    }
}

impl Output {
    /// Reads the runs as they are at one time.
    ///
    /// ```
    /// use tilefleet::input::storage::{ObjectUri, Storage, StorageOptions};
    /// use tilefleet::output::{Output, Scope};
    /// use tilefleet::vocabulary::process::Process;
    ///
    /// let storage = Storage::new(StorageOptions::default())?;
    /// let uri = ObjectUri::parse("tests/fixtures/earlier/bucket/photos")?;
    /// let output = Output::open(&storage, &uri, Process::real());
    ///
    /// let snapshot = tokio::runtime::Runtime::new()?.block_on(output.snapshot(Scope::All))?;
    /// let completed = snapshot.completed();
    /// assert_eq!(completed[0].id.to_string(), "photos-b48a615d-0001");
    /// assert_eq!((completed.len(), snapshot.deleted.len()), (2, 1));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// Memory: 32 bytes a committed shard, and the footer of every run's table of sources.
    ///
    /// # Errors
    ///
    /// As the store answers; `Config` if a record is damaged; `Unavailable` if runs come and go faster
    /// than they can be looked at.
    pub async fn snapshot(&self, scope: Scope<'_>) -> Result<Snapshot> {
        let mut records = self.records(scope).await?;
        for _ in 0..MAX_LOOKS {
            let looked = self.look(scope, &records).await;
            let after = self.records(scope).await?;
            if records.same_runs(&after) {
                return looked;
            }
            records = after;
        }
        Err(busy())
    }

    /// Does something with the runs; does it again, which must do no harm, if it failed and runs were planned
    /// or deleted meanwhile.
    ///
    /// # Errors
    ///
    /// As [`Self::snapshot`] and `work`.
    pub async fn consistently<T>(
        &self,
        scope: Scope<'_>,
        work: impl AsyncFn(Snapshot) -> Result<T>,
    ) -> Result<T> {
        for _ in 0..MAX_LOOKS {
            let snapshot = self.snapshot(scope).await?;
            let records = snapshot.records.clone();
            match work(snapshot).await {
                Err(_) if !records.same_runs(&self.records(scope).await?) => {}
                done => return done,
            }
        }
        Err(busy())
    }

    async fn look(&self, scope: Scope<'_>, records: &Records) -> Result<Snapshot> {
        let mut table = match scope {
            Scope::All => self.table(None).await?,
            Scope::Run(id) => self.table(Some(id)).await?,
            Scope::RunSeries(_) => Table::default(),
        };
        let mut snapshot = Snapshot {
            runs: Vec::new(),
            deleted: Vec::new(),
            rest: Table::default(),
            records: records.clone(),
        };
        for (id, record) in &records.runs {
            if record.deleted {
                let (found, num_records) = (table.take(id), record.num_objects);
                snapshot.deleted.push(DeletedRun { id: id.clone(), found, num_records });
                continue;
            }
            let run = self.known_run(id).await?;
            let found = match &run {
                KnownRun::Planned(run) => run.committed_in(&mut table),
                KnownRun::Planning(_) => table.take(id),
            };
            snapshot.runs.push(RunState { run, found, accepted: record.accepted });
        }
        snapshot.rest = table;
        settle_ages(&mut snapshot.runs);
        Ok(snapshot)
    }

    async fn known_run(&self, id: &RunId) -> Result<KnownRun> {
        if let Some(run) = Run::open(self, id).await? {
            return Ok(KnownRun::Planned(Box::new(run)));
        }
        let sources = self.sources(id).await?;
        let origin = sources.map(|table| Election::of(&table, id)).transpose()?.map(|found| found.origin);
        Ok(KnownRun::Planning(Planning { id: id.clone(), origin: origin.unwrap_or_default() }))
    }

    /// Returns the last run of each family that has a record and is not deleted.
    ///
    /// # Errors
    ///
    /// As the store answers; `Config` if a record is damaged.
    pub async fn last_of_families(&self, scope: Scope<'_>) -> Result<Vec<RunId>> {
        let mut last: BTreeMap<String, RunId> = BTreeMap::new();
        let records = self.records(scope).await?;
        // Runs of one family come in the order of their sequence.
        for (id, _) in records.runs.into_iter().filter(|(_, record)| !record.deleted) {
            last.insert(id.family().to_owned(), id);
        }
        Ok(last.into_values().collect())
    }

    /// Returns the record of the run that was planned last, whatever its family; `None` if there is none that
    /// stands and is planned.
    ///
    /// # Errors
    ///
    /// As the store answers; `Config` if a record is damaged.
    pub async fn latest_record(&self) -> Result<Option<RunRecord>> {
        let mut latest: Option<RunRecord> = None;
        for id in self.last_of_families(Scope::All).await? {
            let Some(record) = RunRecord::read(&self.bucket, &self.layout, &id).await? else { continue };
            if latest.as_ref().is_none_or(|latest| latest.planned_at < record.planned_at) {
                latest = Some(record);
            }
        }
        Ok(latest)
    }

    async fn records(&self, scope: Scope<'_>) -> Result<Records> {
        let root = self.layout.records();
        let mut records = Records::default();
        let mut objects = self.list(&root);
        while let Some(object) = objects.try_next().await? {
            let Some((name, rest)) = object.key.strip_prefix(&root).and_then(|key| key.split_once('/'))
            else {
                continue;
            };
            // Another spelling of an id, such as one with more zeros, is not one of our runs.
            let spelled_alike = |id: &RunId| id.to_string() == name;
            let Some(id) = RunId::parse(name).ok().filter(spelled_alike) else { continue };
            if !scope.holds(&id) {
                records.has_others = true;
                continue;
            }
            if object.key.ends_with('/') {
                continue; // A folder marker, which is no object.
            }
            let record = records.runs.entry(id).or_default();
            record.accepted |= rest == ACCEPTED;
            if rest == "deleted.json" { record.deleted = true } else { record.num_objects += 1 }
        }
        Ok(records)
    }
}

/// Makes later runs of a family newer than earlier ones, whatever a copy did to the times of records that
/// do not say when they were planned.
fn settle_ages(runs: &mut [RunState]) {
    let mut newest: Option<(String, Timestamp)> = None;
    for standing in runs {
        let KnownRun::Planned(run) = &mut standing.run else { continue };
        if run.record.origin.is_compaction() {
            continue;
        }
        if let Some((family, before)) = &newest
            && family == run.id.family()
            && run.as_of <= *before
        {
            run.as_of = before.next();
        }
        newest = Some((run.id.family().to_owned(), run.as_of));
    }
}

fn busy() -> Error {
    Error::unavailable("runs of this output are planned and deleted faster than they can be read")
        .hint("try again when fewer commands use this output")
}
