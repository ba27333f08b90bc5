//! The judge: is it this one object, or is its store away?
//!
//! All evidence is taken after the failure that is judged; nothing that was seen before counts. Those
//! who ask about one folder or bucket at the same time share the search.
//!
//! ```text
//! gone, in a bucket      another source of the run can be read from it, or the folder can be listed
//!                        and something else in it can be read
//! gone, local            something else lies in its folder; if the folder is gone, too: something
//!                        lies in the folder above, and a source of the run below that can be read
//! forbidden              another source of the bucket or of the local folder can be read, or something
//!                        else in the folder can
//! cannot be read         enough others of its bucket or web server were read meanwhile, or can be now; of a
//!                        local file others of its folder, or of the first above it that holds any
//! ```
//!
//! Those that are asked are neighbours and a sample of all, in an order drawn by the hash of their URIs: what is bad
//! often lies together, and must not hide what is good.
//!
//! A local folder that is there and empty shows nothing: so looks a place where nothing is mounted. A
//! source that did not answer when it was planned was probably mistyped: that its bucket or the local
//! folder above answers is enough.

use std::time::Instant;

use futures::{StreamExt, stream};

use super::readable_siblings::{ReadableSiblings, RecentlyRead};
use super::shared::SharedAnswers;
use crate::input::storage::{Bucket, ObjectInfo, ObjectUri, Storage, StoreError, Trouble, shuffling};
use crate::output::SourceTable;
use crate::vocabulary::error::Result;

/// So many objects of a folder are looked at.
const MAX_LISTED: usize = 1000;
/// So many of them are asked for.
const MAX_ASKED: usize = 48;
/// So many objects are asked for at once. Where none of the first is given, all others are: of a store that is away each
/// takes its time.
const ASKED_AT_ONCE: usize = 16;
/// So much of an object is read to see whether its store gives it.
const BEGINNING: u64 = 16 << 10;
/// So much of one whose server sends no parts.
const MAX_READ: u64 = 64 << 20;

/// Whether other objects of a place answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Others {
    /// Not one.
    None,
    /// Some, but not as many as were asked for.
    Few,
    /// As many as were asked for; where there are fewer, more than half of them.
    Enough,
}

impl Others {
    fn of(num_answered: usize, num_asked: usize, wanted: usize) -> Self {
        let are_all = num_asked < wanted;
        match num_answered {
            0 => Self::None,
            _ if num_answered >= wanted || (are_all && 2 * num_answered > num_asked) => Self::Enough,
            _ => Self::Few,
        }
    }
}

/// Since when an object is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Missing {
    /// It answered when it was planned.
    SincePlanned,
    /// It did not answer then either.
    NeverSeen,
}

/// What a fetcher remembers for its judgements.
#[derive(Default)]
pub(super) struct RecentReads {
    recent: RecentlyRead,
    answers: SharedAnswers<bool>,
    others: SharedAnswers<Others>,
}

impl RecentReads {
    /// Remembers that an object was read: the first to be asked when another of its folder fails.
    pub(super) fn was_read(&self, uri: &ObjectUri) {
        self.recent.add(uri);
    }
}

/// Looks for evidence that a store works.
#[derive(Clone, Copy)]
pub(super) struct OutageCheck<'a> {
    pub(super) storage: &'a Storage,
    pub(super) sources: &'a SourceTable,
    /// What this run writes proves nothing about what it reads.
    pub(super) output: &'a ObjectUri,
    pub(super) reads: &'a RecentReads,
}

impl OutageCheck<'_> {
    /// Returns whether the store of an object that is gone is seen to work without it.
    ///
    /// # Errors
    ///
    /// As the store answers, if it is away or the folder may not be listed.
    pub(super) async fn store_answers(&self, uri: &ObjectUri, missing: Missing) -> Result<bool> {
        // A web server has no folders, and an answer of 404 about each of its places.
        if uri.scheme().is_http() {
            return Ok(true);
        }
        let folder = uri.parent();
        if uri.scheme().is_local() {
            let question = format!("{missing:?} {folder}");
            return self.reads.answers.ask(question, self.local_folder_answers(uri, missing)).await;
        }
        if self.a_witness_answers(&uri.with_key(""), uri).await? {
            return Ok(true);
        }
        let question = format!("{missing:?} {folder}");
        self.reads.answers.ask(question, self.prefix_answers(uri, missing)).await
    }

    /// Returns whether other objects of the place of a forbidden one can be read.
    ///
    /// # Errors
    ///
    /// As the store answers, if it is away.
    pub(super) async fn others_are_readable(&self, uri: &ObjectUri) -> Result<bool> {
        let place = if uri.scheme().is_local() { uri.parent() } else { uri.with_key("") };
        if self.a_witness_answers(&place, uri).await? {
            return Ok(true);
        }
        if uri.scheme().is_http() {
            return Ok(false);
        }
        let question = format!("readable {}", uri.parent());
        self.reads.answers.ask(question, self.something_is_readable(uri)).await
    }

    /// Returns whether so many other objects of the place of one that cannot be read answered since `began`, or do
    /// now.
    ///
    /// # Errors
    ///
    /// As the plan's store answers.
    pub(super) async fn others_answer(
        &self,
        uri: &ObjectUri,
        began: Instant,
        wanted: usize,
    ) -> Result<Others> {
        if self.reads.recent.num_since(uri, began) >= wanted {
            return Ok(Others::Enough);
        }
        let place = if uri.scheme().is_local() { uri.parent() } else { uri.with_key("") };
        self.reads.others.ask(place.to_string(), self.ask_others(place.clone(), uri, wanted)).await
    }

    async fn ask_others(&self, place: ObjectUri, uri: &ObjectUri, wanted: usize) -> Result<Others> {
        let mut place = place;
        loop {
            let witnesses = self.witnesses_of(&place, uri);
            let mut others = witnesses.near().await?;
            others.extend(witnesses.drawn().await?);
            if others.len() < wanted && !uri.scheme().is_http() {
                others.extend(self.listed(&place, uri).await);
            }
            let others = before(self.reads.recent.of_place(uri), shuffled(others, uri));
            if !others.is_empty() || !uri.scheme().is_local() || place.key().is_empty() {
                let answered = self.num_readable(&others, wanted).await;
                return Ok(Others::of(answered, others.len(), wanted));
            }
            // A folder with nothing else in it shows nothing.
            place = place.parent();
        }
    }

    /// Returns who finds sources of the run below `folder` that might be asked.
    fn witnesses_of<'b>(&'b self, folder: &'b ObjectUri, uri: &'b ObjectUri) -> ReadableSiblings<'b> {
        ReadableSiblings { sources: self.sources, recent: &self.reads.recent, folder, uri }
    }

    /// Returns some objects that lie where `uri` does, or in a local folder; none if they cannot be listed.
    async fn listed(&self, place: &ObjectUri, uri: &ObjectUri) -> Vec<ObjectUri> {
        let folder = if uri.scheme().is_local() { place.clone() } else { uri.parent() };
        let bucket = self.storage.bucket(uri);
        let entries = bucket.peek(folder.key(), MAX_LISTED).await.ok().flatten().unwrap_or_default();
        self.some_of(&bucket, entries, uri)
    }

    /// Counts objects that can be read, up to `wanted`; several are asked for at once.
    async fn num_readable(&self, uris: &[ObjectUri], wanted: usize) -> usize {
        let (first, rest) = uris.split_at(uris.len().min(ASKED_AT_ONCE));
        let among_first = self.num_readable_of(first, wanted, ASKED_AT_ONCE).await;
        if among_first >= wanted {
            return among_first;
        }
        let at_once = if among_first == 0 { rest.len().max(1) } else { ASKED_AT_ONCE };
        among_first + self.num_readable_of(rest, wanted - among_first, at_once).await
    }

    async fn num_readable_of(&self, uris: &[ObjectUri], wanted: usize, at_once: usize) -> usize {
        let ask = |uri: ObjectUri| {
            let bucket = self.storage.bucket(&uri);
            async move { is_given(&bucket, uri.key()).await.then_some(uri) }
        };
        let asking: Vec<_> = uris.iter().cloned().map(ask).collect();
        let mut asked = std::pin::pin!(stream::iter(asking).buffer_unordered(at_once));
        let mut num_readable = 0;
        while num_readable < wanted
            && let Some(answer) = asked.next().await
        {
            if let Some(uri) = answer {
                self.reads.was_read(&uri);
                num_readable += 1;
            }
        }
        num_readable
    }

    async fn local_folder_answers(&self, uri: &ObjectUri, missing: Missing) -> Result<bool> {
        let bucket = self.storage.bucket(uri);
        let mut folder = uri.parent();
        if let Some(entries) = bucket.peek(folder.key(), MAX_LISTED).await? {
            return Ok(!self.others(&bucket, entries, uri).is_empty());
        }
        let entries = loop {
            folder = folder.parent();
            match bucket.peek(folder.key(), MAX_LISTED).await? {
                None if !folder.key().is_empty() => {}
                entries => break entries.unwrap_or_default(),
            }
        };
        let answers = !self.others(&bucket, entries, uri).is_empty();
        Ok(answers && (missing == Missing::NeverSeen || self.ask_witnesses(&folder, uri).await?))
    }

    async fn prefix_answers(&self, uri: &ObjectUri, missing: Missing) -> Result<bool> {
        match missing {
            Missing::NeverSeen => {
                self.storage.bucket(uri).probe(uri.parent().key()).await?;
                Ok(true)
            }
            Missing::SincePlanned => self.something_is_readable(uri).await,
        }
    }

    /// Returns whether anything in the folder of `uri` but itself can be read.
    async fn something_is_readable(&self, uri: &ObjectUri) -> Result<bool> {
        let bucket = self.storage.bucket(uri);
        let entries = bucket.peek(uri.parent().key(), MAX_LISTED).await?.unwrap_or_default();
        self.any_is_readable(&self.some_of(&bucket, entries, uri)).await
    }

    /// Returns some objects of a listing that may be asked for, from all its parts.
    fn some_of(&self, bucket: &Bucket, entries: Vec<ObjectInfo>, uri: &ObjectUri) -> Vec<ObjectUri> {
        let mut others = self.others(bucket, entries, uri);
        others.retain(|other| !other.key.ends_with('/'));
        let mut others = shuffled(others.iter().map(|other| bucket.uri(&other.key)).collect(), uri);
        others.truncate(MAX_ASKED);
        others
    }

    /// Leaves out the object itself, hidden names, and what lies in or above the output.
    fn others(&self, bucket: &Bucket, entries: Vec<ObjectInfo>, uri: &ObjectUri) -> Vec<ObjectInfo> {
        let counts = |entry: &ObjectInfo| {
            let other = bucket.uri(&entry.key);
            let name = other.key().rsplit('/').next().unwrap_or_default();
            let is_ours = other.is_within(self.output) || self.output.is_within(&other);
            other != *uri && !name.starts_with('.') && !is_ours
        };
        entries.into_iter().filter(counts).collect()
    }

    /// Returns whether a source of the run below `folder` can be read; the search is shared.
    async fn a_witness_answers(&self, folder: &ObjectUri, uri: &ObjectUri) -> Result<bool> {
        self.reads.answers.ask(format!("witness {folder}"), self.ask_witnesses(folder, uri)).await
    }

    async fn ask_witnesses(&self, folder: &ObjectUri, uri: &ObjectUri) -> Result<bool> {
        let witnesses = self.witnesses_of(folder, uri);
        if self.any_is_readable(&witnesses.recent()).await.is_ok_and(|is_readable| is_readable) {
            return Ok(true);
        }
        let mut others = witnesses.near().await?;
        others.extend(witnesses.spread().await?);
        self.any_is_readable(&shuffled(others, uri)).await
    }

    /// Returns whether any can be read. One that is in trouble itself shows nothing; where none can, it is the store's.
    async fn any_is_readable(&self, uris: &[ObjectUri]) -> Result<bool> {
        let ask = |uri: ObjectUri| {
            let bucket = self.storage.bucket(&uri);
            async move { (bucket.is_readable(uri.key()).await, uri) }
        };
        let (first, rest) = uris.split_at(uris.len().min(1));
        let mut trouble = None;
        for (uris, at_once) in [(first, 1), (rest, ASKED_AT_ONCE)] {
            let asking: Vec<_> = uris.iter().cloned().map(ask).collect();
            let mut asked = std::pin::pin!(stream::iter(asking).buffer_unordered(at_once));
            while let Some((answer, uri)) = asked.next().await {
                match answer {
                    Ok(true) => {
                        self.reads.was_read(&uri);
                        return Ok(true);
                    }
                    Ok(false) => {}
                    Err(error) if Trouble::of(&error).is_some() => {
                        trouble.get_or_insert(error);
                    }
                    Err(error) => return Err(error),
                }
            }
        }
        trouble.map_or(Ok(false), Err)
    }
}

/// Returns URIs, each once, in an order that says nothing of where they lie: objects that fail together lie together.
fn shuffled(mut uris: Vec<ObjectUri>, seed: &ObjectUri) -> Vec<ObjectUri> {
    uris.sort_unstable();
    uris.dedup();
    uris.sort_by_cached_key(|uri| shuffling(seed.for_reading(), uri.for_reading()));
    uris
}

/// Returns both, each once.
fn before(mut first: Vec<ObjectUri>, then: Vec<ObjectUri>) -> Vec<ObjectUri> {
    first.extend(then.into_iter().filter(|uri| !first.contains(uri)).collect::<Vec<_>>());
    first
}

/// Returns whether a store gives the beginning of an object: that it announces it shows nothing where answers break off.
async fn is_given(bucket: &Bucket, key: &str) -> bool {
    match bucket.get_range(key, 0, BEGINNING).await {
        Ok(_) => true,
        Err(StoreError::Failed(error)) => match Trouble::of(&error) {
            // An empty object has no beginning.
            Some(Trouble::Answered(416)) => true,
            Some(Trouble::NoRanges) => {
                matches!(bucket.get(key, MAX_READ).await, Ok(_) | Err(StoreError::TooLarge { .. }))
            }
            _ => false,
        },
        Err(_) => false,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::fs;
    use std::sync::Arc;

    use arrow::array::{ArrayRef, RecordBatch, StringArray, new_null_array};
    use arrow::datatypes::DataType::{Int64, Utf8};
    use bytes::Bytes;
    use object_store::memory::InMemory;
    use parquet::arrow::ArrowWriter;
    use parquet::file::properties::WriterProperties;
    use tilefleet_testing::http::Server;

    use super::*;
    use crate::input::storage::StorageOptions;
    use crate::vocabulary::identity::Naming;

    /// A table of sources in memory; `uris` must be in order.
    pub(in crate::stages::fetch) async fn table_of(uris: impl Iterator<Item = String>) -> SourceTable {
        let uris: ArrayRef = Arc::new(StringArray::from_iter_values(uris));
        let nulls = |of| new_null_array(of, uris.len());
        let columns = [("uri", uris.clone()), ("version", nulls(&Utf8)), ("size", nulls(&Int64))];
        let rows =
            RecordBatch::try_from_iter_with_nullable(columns.map(|(name, of)| (name, of, true))).unwrap();
        // As many rows a group as the planner writes: ids are found by them.
        let groups = WriterProperties::builder().set_max_row_group_row_count(Some(8192)).build();
        let mut writer = ArrowWriter::try_new(Vec::new(), rows.schema(), Some(groups)).unwrap();
        writer.write(&rows).unwrap();
        let bucket = Bucket::over(Arc::new(InMemory::new()), "s3://plan");
        bucket.put_new("sources", writer.into_inner().unwrap().into()).await.unwrap();
        SourceTable::open(&bucket, "sources", &Naming::default()).await.unwrap().unwrap()
    }

    /// A judge's belongings: `s3://b` in memory, local files, and a run over some of them.
    struct Case {
        storage: Storage,
        bucket: Bucket,
        sources: SourceTable,
        output: ObjectUri,
        reads: RecentReads,
    }

    impl Case {
        async fn new(uris: &[String], output: &str) -> Self {
            let storage = Storage::new(StorageOptions::default()).unwrap();
            let bucket = Bucket::over(Arc::new(InMemory::new()), "s3://b").with_own("");
            storage.register(bucket.clone());
            let sources = table_of(uris.iter().cloned()).await;
            let output = ObjectUri::parse(output).unwrap();
            Self { storage, bucket, sources, output, reads: RecentReads::default() }
        }

        async fn put(&self, key: &str) {
            self.bucket.put_replace(key, Bytes::from_static(b"x")).await.unwrap();
        }

        async fn answers(&self, uri: &str, missing: Missing) -> bool {
            let (storage, sources) = (&self.storage, &self.sources);
            let judge = OutageCheck { storage, sources, output: &self.output, reads: &self.reads };
            judge.store_answers(&ObjectUri::parse(uri).unwrap(), missing).await.unwrap()
        }
    }

    fn keys(keys: &[&str]) -> Vec<String> {
        keys.iter().map(|key| format!("s3://b/{key}")).collect()
    }

    #[tokio::test]
    async fn a_bucket_is_judged_by_what_can_be_read_now() {
        let case = Case::new(&keys(&["i/1", "i/2", "i/3"]), "s3://b/table").await;
        case.put("i/2").await;
        assert!(case.answers("s3://b/i/1", Missing::SincePlanned).await);
        case.bucket.delete("i/2").await.unwrap();
        // Our own output does not tell that the input is there.
        case.put("table/tiles/x").await;
        assert!(!case.answers("s3://b/i/1", Missing::SincePlanned).await, "the proof is not remembered");
        assert!(case.answers("s3://b/i/1", Missing::NeverSeen).await, "mistyped, and the bucket answers");
        case.put("i/not-of-this-run").await;
        assert!(case.answers("s3://b/i/1", Missing::SincePlanned).await, "something else lies there");
    }

    /// A server whose `/bad…` answer 500 and whose `/good…` are there.
    fn partly_broken() -> Server {
        Server::answering(|asked, _| {
            if asked.target.starts_with("/good") { (200, "x".into()) } else { (500, String::new()) }
        })
    }

    async fn others(uris: &[String]) -> Others {
        let options = StorageOptions { max_retries: 0, allow_http: true, ..StorageOptions::default() };
        let (storage, sources) = (Storage::new(options).unwrap(), table_of(uris.iter().cloned()).await);
        let (output, reads) = (ObjectUri::parse("s3://b/table").unwrap(), RecentReads::default());
        let judge = OutageCheck { storage: &storage, sources: &sources, output: &output, reads: &reads };
        let uri = ObjectUri::parse(&uris[0]).unwrap();
        judge.others_answer(&uri, Instant::now(), 10).await.unwrap()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn bad_neighbours_do_not_hide_a_host_that_answers() {
        let server = partly_broken();
        let urls = |name: &str, count: usize| -> Vec<String> {
            (0..count).map(|number| format!("{}/{name}{number:05}", server.url())).collect()
        };
        for (num_bad, num_good, expected) in [
            (12, 40, Others::Enough),
            (60, 40, Others::Enough),
            (5000, 5000, Others::Enough),
            (60, 3, Others::Few),
            (60, 0, Others::None),
        ] {
            let all = [urls("bad", num_bad), urls("good", num_good)].concat();
            assert_eq!(others(&all).await, expected, "{num_bad} bad, {num_good} good");
        }
    }

    #[tokio::test]
    async fn a_local_folder_that_is_empty_or_away_shows_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().to_str().unwrap();
        let uri = |name: &str| format!("file://{root}/{name}");
        let names = ["a/1", "a/2", "b/1"].map(uri);
        let case = Case::new(&names, &uri("out")).await;
        for name in ["a", "b", "out"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        let write = |name: &str| fs::write(folder.path().join(name), b"x").unwrap();
        write("a/2");
        assert!(case.answers(&names[0], Missing::SincePlanned).await);
        fs::remove_file(folder.path().join("a/2")).unwrap();
        write("b/1");
        // An empty folder looks like one where nothing is mounted, whatever its neighbours hold.
        assert!(!case.answers(&names[0], Missing::SincePlanned).await);
        assert!(!case.answers(&names[0], Missing::NeverSeen).await);
        write("a/.hidden");
        assert!(!case.answers(&names[0], Missing::SincePlanned).await);
        // A folder that was removed from among others is gone with what it held.
        fs::remove_dir_all(folder.path().join("a")).unwrap();
        assert!(case.answers(&names[0], Missing::SincePlanned).await);
        fs::rename(folder.path().join("b"), folder.path().join("c")).unwrap();
        assert!(!case.answers(&names[0], Missing::SincePlanned).await, "all inputs were moved away");
        assert!(case.answers(&names[0], Missing::NeverSeen).await, "a mistyped folder");
    }
}
