//! Witnesses: other sources of the run, of which one that can be read shows that a store works.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::ops::Range;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use futures::{StreamExt, TryStreamExt, stream};

use crate::input::storage::{ObjectUri, shuffling};
use crate::output::SourceTable;
use crate::vocabulary::error::Result;
use crate::vocabulary::identity::SourceUri;

/// So many sources before and after the failing one are asked for.
const NUM_NEAR: usize = 8;
/// So many sources spread over the whole run are asked for.
const NUM_SPREAD: u64 = 16;
/// So many sources drawn from all of a place are asked for.
const NUM_DRAWN: u64 = 64;
/// So many sources are looked up at once.
const LOOKUPS: usize = 8;
/// So many sources of a place that were read last are asked for.
const NUM_LAST: usize = 16;
/// So many sources of other folders that were read before are asked for.
const NUM_RECENT: usize = 8;
/// The search for a URI's place in the table ends with a read of this many sources.
const SEARCH_ROWS: u64 = 4096;
/// So many folders are remembered.
const MAX_FOLDERS: usize = 1024;

/// So many reads of a place are remembered by when they were.
const MAX_READS: usize = 64;

/// For each folder, the source that was last read from it; for each place, its last reads.
#[derive(Default)]
pub(super) struct RecentlyRead {
    by_folder: Mutex<HashMap<String, ObjectUri>>,
    by_place: Mutex<HashMap<String, VecDeque<(Instant, ObjectUri)>>>,
}

/// Returns what fails together: a bucket, a web server, or a folder of this machine.
fn place_text(uri: &ObjectUri) -> &str {
    if uri.scheme().is_local() { folder_text(uri) } else { uri.bucket_key() }
}

impl RecentlyRead {
    /// Remembers that this object was read.
    pub(super) fn add(&self, uri: &ObjectUri) {
        self.add_read(uri);
        let folder = folder_text(uri);
        let mut by_folder = self.by_folder.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(last) = by_folder.get_mut(folder) {
            last.clone_from(uri);
            return;
        }
        if by_folder.len() >= MAX_FOLDERS {
            by_folder.clear();
        }
        by_folder.insert(folder.to_owned(), uri.clone());
    }

    fn add_read(&self, uri: &ObjectUri) {
        let mut by_place = self.by_place.lock().unwrap_or_else(PoisonError::into_inner);
        let place = place_text(uri);
        if by_place.len() >= MAX_FOLDERS && !by_place.contains_key(place) {
            by_place.clear();
        }
        if !by_place.contains_key(place) {
            by_place.insert(place.to_owned(), VecDeque::new());
        }
        let Some(reads) = by_place.get_mut(place) else { return };
        if reads.len() == MAX_READS {
            reads.pop_front();
        }
        reads.push_back((Instant::now(), uri.clone()));
    }

    /// Returns how many reads of the place of `uri` ended after `began`, of those that are remembered.
    pub(super) fn num_since(&self, uri: &ObjectUri, began: Instant) -> usize {
        let by_place = self.by_place.lock().unwrap_or_else(PoisonError::into_inner);
        let reads = by_place.get(place_text(uri));
        reads.map_or(0, |reads| reads.iter().filter(|(at, _)| *at > began).count())
    }

    /// Returns objects of the place of `uri` that were read before, the last first.
    pub(super) fn of_place(&self, uri: &ObjectUri) -> Vec<ObjectUri> {
        let by_place = self.by_place.lock().unwrap_or_else(PoisonError::into_inner);
        let mut last: Vec<ObjectUri> = Vec::new();
        for (_, read) in by_place.get(place_text(uri)).into_iter().flatten().rev() {
            if last.len() < NUM_LAST && read != uri && !last.contains(read) {
                last.push(read.clone());
            }
        }
        last
    }

    /// Returns objects below `folder` that were read before, that of `uri`'s own folder first.
    fn below(&self, folder: &ObjectUri, uri: &ObjectUri) -> Vec<ObjectUri> {
        let by_folder = self.by_folder.lock().unwrap_or_else(PoisonError::into_inner);
        let own = by_folder.get(folder_text(uri));
        let others = by_folder.values().filter(|other| other.is_within(folder)).take(NUM_RECENT);
        own.into_iter().chain(others).filter(|other| *other != uri).cloned().collect()
    }
}

fn folder_text(uri: &ObjectUri) -> &str {
    uri.for_reading().rsplit_once('/').map_or("", |(folder, _)| folder)
}

/// Sources below `folder` other than `uri`: those read before, those near it, those spread over the
/// run. Each part is to be looked up only when the one before it did not help.
pub(super) struct ReadableSiblings<'a> {
    pub(super) sources: &'a SourceTable,
    pub(super) recent: &'a RecentlyRead,
    pub(super) folder: &'a ObjectUri,
    pub(super) uri: &'a ObjectUri,
}

impl ReadableSiblings<'_> {
    /// Those that were read before.
    pub(super) fn recent(&self) -> Vec<ObjectUri> {
        self.recent.below(self.folder, self.uri)
    }

    /// The neighbours in the order of the sources, which is that of their URIs.
    pub(super) async fn near(&self) -> Result<Vec<ObjectUri>> {
        let (mut low, mut high) = (0, self.sources.num_sources());
        while high - low > SEARCH_ROWS {
            let middle = low + (high - low) / 2;
            let range = self.sources.read(middle..middle + 1).await?;
            if range.sources[0].uri <= *self.uri.identity() { low = middle } else { high = middle }
        }
        let sources = self.sources.read(low..high).await?.sources;
        let place = sources.partition_point(|source| source.uri < *self.uri.identity());
        let near = place.saturating_sub(NUM_NEAR)..(place + 1 + NUM_NEAR).min(sources.len());
        self.chosen(sources[near].iter().map(|source| &source.uri))
    }

    /// Some of all parts of the run.
    pub(super) async fn spread(&self) -> Result<Vec<ObjectUri>> {
        let mut witnesses = Vec::new();
        for id in spread(self.sources.num_sources()) {
            let range = self.sources.read(id..id + 1).await?;
            witnesses.extend(self.chosen(range.sources.iter().map(|source| &source.uri))?);
        }
        Ok(witnesses)
    }

    /// Some of all that lie below the folder, drawn by the URI of the failing one.
    pub(super) async fn drawn(&self) -> Result<Vec<ObjectUri>> {
        let range = self.range().await?;
        let found: Vec<_> = stream::iter(drawn(range, self.uri.for_reading()))
            .map(|id| async move { self.sources.read(id..id + 1).await })
            .buffered(LOOKUPS)
            .try_collect()
            .await?;
        self.chosen(found.iter().flat_map(|range| &range.sources).map(|source| &source.uri))
    }

    /// Returns the ids of the sources below the folder: they lie together, as sources are in the order of their URIs.
    async fn range(&self) -> Result<Range<u64>> {
        let folder = self.folder.for_reading();
        let start = self.partition_point(0, |uri| uri < folder).await?;
        let end = self.partition_point(start, |uri| uri.starts_with(folder)).await?;
        Ok(start..end)
    }

    /// Returns the first id from `low` on for whose URI `is_before` does not hold.
    async fn partition_point(&self, low: u64, is_before: impl Fn(&str) -> bool) -> Result<u64> {
        let (mut low, mut high) = (low, self.sources.num_sources());
        while high - low > SEARCH_ROWS {
            let middle = low + (high - low) / 2;
            let range = self.sources.read(middle..middle + 1).await?;
            if is_before(range.sources[0].uri.for_reading()) { low = middle + 1 } else { high = middle }
        }
        let sources = self.sources.read(low..high).await?.sources;
        Ok(low + sources.partition_point(|source| is_before(source.uri.for_reading())) as u64)
    }

    fn chosen<'b>(&self, uris: impl Iterator<Item = &'b SourceUri>) -> Result<Vec<ObjectUri>> {
        let uris = uris.map(ObjectUri::of);
        let chosen = |uri: &ObjectUri| uri != self.uri && uri.is_within(self.folder);
        uris.filter(|uri| uri.as_ref().map_or(true, chosen)).collect()
    }
}

fn spread(num_sources: u64) -> impl Iterator<Item = u64> {
    let step = num_sources.div_ceil(NUM_SPREAD).max(1);
    (0..num_sources).step_by(usize::try_from(step).unwrap_or(usize::MAX))
}

/// Draws some ids; all where there are not many.
fn drawn(ids: Range<u64>, seed: &str) -> BTreeSet<u64> {
    let count = ids.end - ids.start;
    if count <= NUM_DRAWN {
        return ids.collect();
    }
    (0..NUM_DRAWN).map(|number| ids.start + shuffling(seed, &number.to_string()) % count).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stages::fetch::outage_check::tests::table_of;

    fn uri(text: &str) -> ObjectUri {
        ObjectUri::parse(text).unwrap()
    }

    #[test]
    fn the_spread_is_wide_and_thin() {
        assert_eq!(spread(3).collect::<Vec<_>>(), [0, 1, 2]);
        let many: Vec<u64> = spread(1_000_000).collect();
        assert!(many.len() <= 16 && many[15] > 900_000, "{many:?}");
    }

    #[test]
    fn what_is_drawn_is_wide() {
        assert!(drawn(5..8, "a").into_iter().eq(5..8));
        let many = drawn(1000..1_000_000, "a");
        assert!(many.len() > 60 && many.iter().all(|id| (1000..1_000_000).contains(id)));
        assert!(many.first() < Some(&200_000) && many.last() > Some(&800_000), "{many:?}");
        assert_ne!(many, drawn(1000..1_000_000, "b"));
    }

    #[tokio::test]
    async fn a_sample_is_of_the_place_alone() {
        let big = (0..20_000).map(|number| format!("s3://a/{number:05}"));
        let small = (0..30).map(|number| format!("s3://b/{number:02}"));
        let sources = table_of(big.chain(small).chain(["s3://bc/1".to_owned()])).await;
        let recent = RecentlyRead::default();
        let draw = async |folder: &str, text: &str| {
            let (folder, uri) = (uri(folder), uri(text));
            ReadableSiblings { sources: &sources, recent: &recent, folder: &folder, uri: &uri }
                .drawn()
                .await
                .unwrap()
        };
        assert_eq!(draw("s3://b/", "s3://b/01").await.len(), 29);
        let many = draw("s3://a/", "s3://a/00000").await;
        assert!(many.iter().all(|uri| uri.for_reading().starts_with("s3://a/")));
        assert!(many.iter().any(|uri| uri.for_reading() > "s3://a/15000"), "{many:?}");
        assert_eq!(draw("s3://none/", "s3://none/1").await, []);
    }

    #[tokio::test]
    async fn neighbours_are_found_in_a_large_table_and_stay_in_the_bucket() {
        let big = (0..20_000).map(|number| format!("s3://a/{number:05}"));
        let small = (0..3).map(|number| format!("s3://b/{number}"));
        let sources = table_of(big.chain(small)).await;
        let recent = RecentlyRead::default();
        let near = async |folder: &str, text: &str| {
            let (folder, uri) = (uri(folder), uri(text));
            let witnesses =
                ReadableSiblings { sources: &sources, recent: &recent, folder: &folder, uri: &uri };
            witnesses.near().await.unwrap().iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(near("s3://b/", "s3://b/1").await, ["s3://b/0", "s3://b/2"]);
        let middle = near("s3://a/", "s3://a/07777").await;
        assert_eq!(middle.len(), 16);
        assert!(middle.contains(&"s3://a/07776".to_owned()) && middle.contains(&"s3://a/07778".to_owned()));
    }

    #[test]
    fn what_was_read_last_in_the_same_folder_comes_first() {
        let recent = RecentlyRead::default();
        for text in ["/d/x/1", "/d/y/1", "/d/y/2", "/e/1"] {
            recent.add(&uri(text));
        }
        let below = recent.below(&uri("/d"), &uri("/d/y/3"));
        assert_eq!(below[0], uri("/d/y/2"));
        assert!(below.contains(&uri("/d/x/1")) && !below.contains(&uri("/e/1")), "{below:?}");
    }
}
