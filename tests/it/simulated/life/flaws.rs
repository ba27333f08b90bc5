//! Deliberately broken variants of what we do: each must be caught.
//!
//! All but three lie between a process and its store, so that the product has no flags for them.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};

use futures::StreamExt as _;
use futures::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    ObjectStoreExt as _, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult,
};

use super::super::store::{Answer, Gate};
use super::cast::Command;

/// What is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Flaw {
    /// A PUT replaces what is there, and says that it was first. The probe of the store does not find out.
    Overwrites,
    /// A PUT without a clear answer is taken for a success.
    TakesSilenceForSuccess,
    /// A shard whose PUT has no clear answer is put once more, under another name.
    PutsUnderAnotherName,
    /// A worker that is to stop commits what it has of a shard.
    CommitsParts,
    /// A deletion writes the tombstone last.
    DeletesFirst,
    /// A worker does not look for the tombstone once its shard is put.
    LooksForNoTombstone,
    /// Whoever writes into a run's record does not look for the tombstone afterwards.
    LeavesItsRecord,
    /// A compaction knows of tombstones only what it has listed at its beginning.
    TrustsItsListing,
    /// A planner that has lost the election goes on with its own sources.
    KeepsItsSources,
    /// A worker of an array leaves what is not of its share to others, whether they come or not.
    KeepsToItsShare,
    /// A worker does not note which shards it begins, so that whoever comes after it dies of the same tile.
    NotesNothing,
}

impl Flaw {
    pub const ALL: [Self; 11] = [
        Self::Overwrites,
        Self::TakesSilenceForSuccess,
        Self::PutsUnderAnotherName,
        Self::CommitsParts,
        Self::DeletesFirst,
        Self::LooksForNoTombstone,
        Self::LeavesItsRecord,
        Self::TrustsItsListing,
        Self::KeepsItsSources,
        Self::KeepsToItsShare,
        Self::NotesNothing,
    ];

    fn concerns(self, command: &Command) -> bool {
        self != Self::TrustsItsListing || matches!(command, Command::Compact { .. })
    }
}

/// A process's view of the store, seen by a build that is broken.
#[derive(Clone)]
pub struct Flawed {
    gate: Gate,
    flaw: Flaw,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    /// A tombstone that is written once all is deleted.
    tombstone: Option<(Path, PutPayload)>,
    /// The tombstone that is not looked for, of the run that something was put for last.
    put_last: Option<String>,
    /// Tombstones that were there at first.
    known: Option<Vec<Path>>,
    /// Sources of lost elections.
    own: Arc<InMemory>,
}

/// Returns the store as a process for a command sees it.
pub fn store_of(gate: Gate, flaw: Option<Flaw>, command: &Command) -> Arc<dyn ObjectStore> {
    match flaw.filter(|flaw| flaw.concerns(command)) {
        Some(flaw) => Arc::new(Flawed { gate, flaw, state: Arc::default() }),
        None => Arc::new(gate),
    }
}

fn is_unclear(answer: &object_store::Result<PutResult>) -> bool {
    matches!(answer, Err(error) if !matches!(error, Error::AlreadyExists { .. } | Error::Precondition { .. }))
}

fn nothing() -> PutResult {
    PutResult { e_tag: None, version: None }
}

fn not_found(key: &Path) -> Error {
    Error::NotFound { path: key.to_string(), source: "nobody has looked".into() }
}

fn run_of_shard(key: &str) -> Option<&str> {
    let (_, rest) = key.split_once("/tiles/run=")?;
    rest.split_once("/shard-").map(|(run, _)| run)
}

/// Returns the run whose plan is now complete, or which is summed up.
fn run_of_record(key: &str) -> Option<&str> {
    let (_, rest) = key.split_once("/_tilefleet/")?;
    rest.split_once('/').filter(|(_, name)| ["run.json", "summary.json"].contains(name)).map(|(run, _)| run)
}

impl Flawed {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    async fn put(
        &self,
        key: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> object_store::Result<PutResult> {
        let name = key.as_ref();
        match self.flaw {
            Flaw::Overwrites if !name.ends_with("-probe.txt") => {
                self.gate.put_opts(key, payload, PutOptions { mode: PutMode::Overwrite, ..options }).await
            }
            Flaw::TakesSilenceForSuccess => {
                let answer = self.gate.put_opts(key, payload, options).await;
                if is_unclear(&answer) { Ok(nothing()) } else { answer }
            }
            Flaw::PutsUnderAnotherName if name.contains("/shard-") => {
                let answer = self.gate.put_opts(key, payload.clone(), options.clone()).await;
                if !is_unclear(&answer) {
                    return answer;
                }
                let other = Path::from(name.replace(".parquet", "-again.parquet"));
                self.gate.put_opts(&other, payload, options).await
            }
            Flaw::DeletesFirst if name.ends_with("/deleted.json") => {
                self.state().tombstone = Some((key.clone(), payload));
                Ok(nothing())
            }
            Flaw::LooksForNoTombstone | Flaw::LeavesItsRecord => {
                let answer = self.gate.put_opts(key, payload, options).await;
                let run = if self.flaw == Flaw::LooksForNoTombstone {
                    run_of_shard(name)
                } else {
                    run_of_record(name)
                };
                self.state().put_last = run.map(|run| format!("table/_tilefleet/{run}/deleted.json"));
                answer
            }
            Flaw::KeepsItsSources if name.ends_with("/sources.parquet") => {
                let answer = self.gate.put_opts(key, payload.clone(), options).await;
                if matches!(answer, Err(Error::AlreadyExists { .. })) {
                    let own = Arc::clone(&self.state().own);
                    own.put(key, payload).await?;
                }
                answer
            }
            _ => self.gate.put_opts(key, payload, options).await,
        }
    }

    async fn get(&self, key: &Path, options: GetOptions) -> object_store::Result<GetResult> {
        let own = Arc::clone(&self.state().own);
        match self.flaw {
            Flaw::LooksForNoTombstone | Flaw::LeavesItsRecord => {
                if self.state().put_last.take_if(|tombstone| **tombstone == *key.as_ref()).is_some() {
                    return Err(not_found(key));
                }
                self.gate.get_opts(key, options).await
            }
            Flaw::TrustsItsListing => {
                self.list_tombstones().await?;
                if !options.head || !key.as_ref().ends_with("/deleted.json") {
                    return self.gate.get_opts(key, options).await;
                }
                let is_known = self.state().known.as_ref().is_some_and(|known| known.contains(key));
                if is_known { self.gate.get_opts(key, options).await } else { Err(not_found(key)) }
            }
            Flaw::KeepsItsSources if own.head(key).await.is_ok() => own.get_opts(key, options).await,
            _ => self.gate.get_opts(key, options).await,
        }
    }

    /// Lists tombstones, once.
    async fn list_tombstones(&self) -> object_store::Result<()> {
        if self.state().known.is_some() {
            return Ok(());
        }
        let mut listing = self.gate.list(Some(&Path::from("table/_tilefleet")));
        let mut known = Vec::new();
        while let Some(object) = listing.next().await {
            known.push(object?.location);
        }
        self.state().known = Some(known);
        Ok(())
    }

    async fn delete(&self, key: Path) -> object_store::Result<Path> {
        self.gate.delete(&key).await?;
        let is_last = key.as_ref().ends_with("/run.json");
        let tombstone = if is_last { self.state().tombstone.take() } else { None };
        if let Some((key, payload)) = tombstone {
            self.gate.put(&key, payload).await?;
        }
        Ok(key)
    }
}

impl fmt::Debug for Flawed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a store seen by a build with {:?}", self.flaw)
    }
}

impl fmt::Display for Flawed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl ObjectStore for Flawed {
    fn put_opts<'a, 'b, 'c>(
        &'a self,
        location: &'b Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Answer<'c, PutResult>
    where
        'a: 'c,
        'b: 'c,
        Self: 'c,
    {
        Box::pin(self.put(location, payload, options))
    }

    fn put_multipart_opts<'a, 'b, 'c>(
        &'a self,
        location: &'b Path,
        options: PutMultipartOptions,
    ) -> Answer<'c, Box<dyn MultipartUpload>>
    where
        'a: 'c,
        'b: 'c,
        Self: 'c,
    {
        self.gate.put_multipart_opts(location, options)
    }

    fn get_opts<'a, 'b, 'c>(&'a self, location: &'b Path, options: GetOptions) -> Answer<'c, GetResult>
    where
        'a: 'c,
        'b: 'c,
        Self: 'c,
    {
        Box::pin(self.get(location, options))
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, object_store::Result<Path>>,
    ) -> BoxStream<'static, object_store::Result<Path>> {
        if self.flaw != Flaw::DeletesFirst {
            return self.gate.delete_stream(locations);
        }
        let flawed = self.clone();
        let delete = move |location: object_store::Result<Path>| {
            let flawed = flawed.clone();
            async move { flawed.delete(location?).await }
        };
        locations.then(delete).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        self.gate.list(prefix)
    }

    fn list_with_delimiter<'a, 'b, 'c>(&'a self, prefix: Option<&'b Path>) -> Answer<'c, ListResult>
    where
        'a: 'c,
        'b: 'c,
        Self: 'c,
    {
        self.gate.list_with_delimiter(prefix)
    }

    fn copy_opts<'a, 'b, 'c, 'd>(
        &'a self,
        from: &'b Path,
        to: &'c Path,
        options: CopyOptions,
    ) -> Answer<'d, ()>
    where
        'a: 'd,
        'b: 'd,
        'c: 'd,
        Self: 'd,
    {
        self.gate.copy_opts(from, to, options)
    }
}
