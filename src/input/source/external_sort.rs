//! Sorts any number of sources in bounded memory: an external merge sort.
//!
//! ```text
//! push ─▶ buffer ─(full)─▶ sorted run on disk ─┐
//!                          sorted run on disk ─┼─▶ merge, join duplicates ─▶ sorted entries
//!                          …                  ─┘   (at most 64 runs at a time)
//! ```
//!
//! Entries are in order of URI, then of identity. Items of one URI that are not the same get names of their own
//! in the last merge; since these sort elsewhere, they are sorted and merged once more.
//!
//! Runs are files without a name: a killed process leaves nothing behind.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::twins::renamed;
use crate::input::storage::shown;
use crate::vocabulary::error::{Error, Result};
use crate::vocabulary::identity::{Naming, SourceUri};

/// Default size of the buffer, in bytes.
pub(super) const BUFFER_BYTES: usize = 16 << 20;
/// How many runs are merged at a time; each needs an open file and a read buffer.
const FAN_IN: usize = 64;
const READ_BUFFER_BYTES: usize = 64 << 10;
/// What an entry costs besides its text: its place in the buffer's index.
const INDEX_BYTES: usize = size_of::<(u32, u32)>();

/// One source as discovered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// Canonical URI.
    pub uri: SourceUri,
    /// Entity tag or the like, see [`crate::input::storage::ObjectInfo::version`]; `None` if nobody has looked.
    pub version: Option<String>,
    /// Number of bytes; `None` if nobody has looked, or the store does not say.
    pub size: Option<u64>,
    /// Whether it could not be looked at, so that nothing is known of it.
    pub in_trouble: bool,
    /// The manifest's other columns, encoded by [`super::ExtraCodec`].
    pub extra: Option<Vec<u8>>,
    /// The STAC item that it is, as JSON of [`crate::input::stac::Item`].
    pub item: Option<Vec<u8>>,
    /// What tells a STAC item apart from others of its URI, such as its collection; empty for anything else.
    pub identity: String,
}

/// Collects entries in any order.
pub(super) struct Spool {
    folder: PathBuf,
    naming: Naming,
    buffer_bytes: usize,
    text: Vec<u8>,
    index: Vec<(u32, u32)>,
    runs: VecDeque<Data>,
}

/// Entries in the order of their URIs, each URI once. Clones share the data.
#[derive(Clone)]
pub struct Sorted {
    data: Data,
    naming: Naming,
    /// Number of entries.
    pub num_entries: u64,
    /// Sum of the known sizes, in bytes.
    pub num_bytes: u64,
    /// How many entries were the same as another one.
    pub num_repeated: u64,
    /// How many items had the URI of another item, and got a name of their own.
    pub num_renamed: u64,
    /// Maximum number to iterate over, from the first.
    pub(super) limit: Option<u64>,
}

#[derive(Clone)]
enum Data {
    Memory(Arc<Vec<u8>>),
    Disk(Arc<File>),
}

impl Spool {
    /// Makes an empty spool that keeps its runs in `folder`; on disk sources are not named, but by `naming` when they
    /// are read again.
    pub(super) fn new(folder: &Path, buffer_bytes: usize, naming: Naming) -> Self {
        Self {
            folder: folder.to_path_buf(),
            naming,
            buffer_bytes,
            text: Vec::new(),
            index: Vec::new(),
            runs: VecDeque::new(),
        }
    }

    /// Adds an entry. Blocks for the time of a disk write when the buffer is full.
    ///
    /// # Errors
    ///
    /// `Unavailable` if the disk is full or fails.
    pub(super) fn push(&mut self, entry: &Entry) -> Result<()> {
        let start = self.text.len();
        write_entry(&mut self.text, entry).expect("writing to memory cannot fail");
        self.index.push((start as u32, entry.uri.for_reading().len() as u32));
        if self.text.len() + self.index.len() * INDEX_BYTES < self.buffer_bytes {
            return Ok(());
        }
        let run = self.new_run(|out, spool| spool.write_sorted(out))?;
        self.runs.push_back(Data::Disk(Arc::new(run)));
        self.text.clear();
        self.index.clear();
        Ok(())
    }

    /// Sorts and joins what was pushed.
    ///
    /// # Errors
    ///
    /// `Config` if a URI came with two different sets of additional columns; `Unavailable` if the disk
    /// is full or fails.
    pub(super) fn finish(mut self) -> Result<Sorted> {
        let (mut num_repeated, mut num_renamed) = (0, 0);
        loop {
            let mut twins = Self::new(&self.folder, self.buffer_bytes, self.naming.clone());
            let (data, counts) = self.merge_all(&mut twins)?;
            num_repeated += counts.repeated;
            if counts.renamed == 0 {
                let Counts { entries: num_entries, bytes: num_bytes, .. } = counts;
                let naming = self.naming;
                let limit = None;
                return Ok(Sorted { data, naming, num_entries, num_bytes, num_repeated, num_renamed, limit });
            }
            num_renamed += counts.renamed;
            twins.runs.push_back(data);
            self = twins;
        }
    }

    /// Merges everything that was pushed; items that are given another name go to `twins`.
    fn merge_all(&mut self, twins: &mut Self) -> Result<(Data, Counts)> {
        let mut last = Vec::with_capacity(self.text.len());
        self.write_sorted(&mut last).map_err(|cause| self.failed(cause))?;
        self.text = Vec::new();
        self.index = Vec::new();
        let mut repeated = 0;
        while self.runs.len() > FAN_IN {
            let some: Vec<Data> = self.runs.drain(..FAN_IN).collect();
            let mut inputs: Vec<Records> = some.iter().map(|run| Records::of(run, &self.naming)).collect();
            let mut counts = Counts::default();
            let run = self.new_run(|out, _| merge(&mut inputs, out, &mut counts, None))?;
            counts.conflict()?;
            repeated += counts.repeated;
            self.runs.push_back(Data::Disk(Arc::new(run)));
        }
        let on_disk = self.runs.iter().any(|run| matches!(run, Data::Disk(_)));
        let mut inputs: Vec<Records> = self.runs.iter().map(|run| Records::of(run, &self.naming)).collect();
        self.runs.clear();
        inputs.push(Records::of(&Data::Memory(Arc::new(last)), &self.naming));
        let mut counts = Counts { repeated, ..Counts::default() };
        let data = if on_disk {
            let merged = self.new_run(|out, _| merge(&mut inputs, out, &mut counts, Some(twins)))?;
            Data::Disk(Arc::new(merged))
        } else {
            let mut joined = Vec::new();
            merge(&mut inputs, &mut joined, &mut counts, Some(twins)).map_err(|cause| self.failed(cause))?;
            Data::Memory(Arc::new(joined))
        };
        counts.conflict()?;
        Ok((data, counts))
    }

    fn write_sorted(&mut self, out: &mut dyn Write) -> io::Result<()> {
        let text = &self.text;
        let key = |(start, uri_length): (u32, u32)| {
            let header = &text[start as usize..];
            let (uri, rest) = header[HEADER_BYTES..].split_at(uri_length as usize);
            (uri, &rest[..read_u32(&header[IDENTITY_LENGTH_AT..])])
        };
        // The position as tie-breaker keeps the first of several equal entries first.
        self.index.sort_unstable_by(|a, b| key(*a).cmp(&key(*b)).then(a.0.cmp(&b.0)));
        for &(start, _) in &self.index {
            let record = &text[start as usize..];
            out.write_all(&record[..record_length(record)])?;
        }
        Ok(())
    }

    fn new_run(&mut self, fill: impl FnOnce(&mut dyn Write, &mut Self) -> io::Result<()>) -> Result<File> {
        let file = std::fs::create_dir_all(&self.folder).and_then(|()| tempfile::tempfile_in(&self.folder));
        let file = file.map_err(|cause| self.failed(cause))?;
        let mut out = BufWriter::with_capacity(1 << 20, file);
        fill(&mut out, self).map_err(|cause| self.failed(cause))?;
        out.into_inner().map_err(|cause| self.failed(cause.into_error()))
    }

    fn failed(&self, cause: io::Error) -> Error {
        Error::unavailable(format!("cannot sort the sources in {}", self.folder.display()))
            .because(cause)
            .hint("sorting needs disk space for a copy of all URIs; choose another folder with TMPDIR")
    }
}

impl Sorted {
    /// Iterates over all entries, from the start; blocks for disk reads.
    #[must_use]
    pub fn entries(&self) -> Entries {
        let left = self.limit.unwrap_or(u64::MAX);
        Entries { records: Records::of(&self.data, &self.naming), failed: false, left }
    }
}

/// Yields entries in the order of their URIs; ends after the first error.
pub struct Entries {
    records: Records,
    failed: bool,
    left: u64,
}

impl Iterator for Entries {
    type Item = Result<Entry>;

    fn next(&mut self) -> Option<Result<Entry>> {
        if self.failed || self.left == 0 {
            return None;
        }
        self.left -= 1;
        let entry = self.records.next_entry().transpose()?;
        self.failed = entry.is_err();
        Some(entry.map_err(|cause| Error::unavailable("cannot read the sorted sources again").because(cause)))
    }
}

/// Joins sorted inputs into one; of what is the same, inputs that come earlier win.
///
/// - `twins`: where items go that have the URI of another one, under a name of their own; `None`: they stay, since
///   not all items are here yet
fn merge(
    inputs: &mut [Records],
    out: &mut dyn Write,
    counts: &mut Counts,
    mut twins: Option<&mut Spool>,
) -> io::Result<()> {
    let key = |entry: &Entry, number| Reverse((entry.uri.clone(), entry.identity.clone(), number));
    let mut heads: Vec<Option<Entry>> = Vec::with_capacity(inputs.len());
    let mut order = BinaryHeap::with_capacity(inputs.len());
    for (number, input) in inputs.iter_mut().enumerate() {
        let head = input.next_entry()?;
        order.extend(head.as_ref().map(|entry| key(entry, number)));
        heads.push(head);
    }
    let mut group = Group::default();
    while let Some(Reverse((.., number))) = order.pop() {
        let entry = heads[number].take().expect("an input in the heap has a head");
        heads[number] = inputs[number].next_entry()?;
        order.extend(heads[number].as_ref().map(|entry| key(entry, number)));
        group.add(entry, out, counts, twins.as_deref_mut())?;
    }
    group.last.map_or(Ok(()), |last| counts.write(out, &last))
}

/// Entries of one URI, as they come in order.
#[derive(Default)]
struct Group {
    /// The one that may still be joined with others.
    last: Option<Entry>,
    /// The identity of the item that came last.
    identity: String,
}

impl Group {
    fn add(
        &mut self,
        entry: Entry,
        out: &mut dyn Write,
        counts: &mut Counts,
        twins: Option<&mut Spool>,
    ) -> io::Result<()> {
        let identity = entry.identity.clone();
        match &mut self.last {
            Some(last) if last.uri == entry.uri => {
                if self.identity.is_empty() || identity == self.identity {
                    counts.join(last, entry);
                } else if let Some(twins) = twins {
                    let uri = renamed(entry.uri.for_reading(), &self.identity, &identity);
                    counts.renamed += 1;
                    let uri = entry.uri.naming().source(uri);
                    twins.push(&Entry { uri, ..entry }).map_err(io::Error::other)?;
                } else {
                    let done = std::mem::replace(last, entry);
                    counts.write(out, &done)?;
                }
            }
            _ => {
                if let Some(done) = self.last.replace(entry) {
                    counts.write(out, &done)?;
                }
            }
        }
        self.identity = identity;
        Ok(())
    }
}

#[derive(Default)]
struct Counts {
    entries: u64,
    bytes: u64,
    repeated: u64,
    renamed: u64,
    conflict: Option<SourceUri>,
}

impl Counts {
    fn write(&mut self, out: &mut dyn Write, entry: &Entry) -> io::Result<()> {
        self.entries += 1;
        self.bytes += entry.size.unwrap_or(0);
        write_entry(out, entry)
    }

    /// Joins two entries of one URI: what one of them does not know, the other may.
    fn join(&mut self, first: &mut Entry, second: Entry) {
        self.repeated += 1;
        if first.extra.is_some() && second.extra.is_some() && first.extra != second.extra {
            self.conflict.get_or_insert_with(|| first.uri.clone());
        }
        if first.item.is_none() && second.item.is_some() {
            // The same document, listed as an object and read as an item.
            (first.version, first.item, first.identity) = (second.version, second.item, second.identity);
        } else if first.version.is_none() {
            first.version = second.version;
        }
        first.size = first.size.or(second.size);
        if first.extra.is_none() {
            first.extra = second.extra;
        }
    }

    fn conflict(&self) -> Result<()> {
        self.conflict.as_ref().map_or(Ok(()), |uri| {
            let source = shown(uri.for_reading(), uri.naming());
            Err(Error::config(format!("the manifest has {source} twice, with different values"))
                .hint("a manifest has one row per source: remove all but one"))
        })
    }
}

/// Record: total length, URI length, flags, size (8 bytes), lengths of identity, version and extra, then the
/// five texts in the order of [`write_entry`].
const HEADER_BYTES: usize = 4 + 4 + 1 + 8 + 4 + 4 + 4;
const IDENTITY_LENGTH_AT: usize = 17;
const HAS_VERSION: u8 = 1;
const HAS_SIZE: u8 = 2;
const HAS_EXTRA: u8 = 4;
const HAS_ITEM: u8 = 8;
const IN_TROUBLE: u8 = 16;

fn write_entry(out: &mut (impl Write + ?Sized), entry: &Entry) -> io::Result<()> {
    let (uri, identity) = (entry.uri.for_reading().as_bytes(), entry.identity.as_bytes());
    let version = entry.version.as_deref().unwrap_or_default().as_bytes();
    let extra = entry.extra.as_deref().unwrap_or_default();
    let item = entry.item.as_deref().unwrap_or_default();
    let texts = [uri, identity, version, extra, item];
    let length = HEADER_BYTES + texts.iter().map(|text| text.len()).sum::<usize>();
    let mut flags = 0;
    for (flag, is_set) in [
        (HAS_VERSION, entry.version.is_some()),
        (HAS_SIZE, entry.size.is_some()),
        (HAS_EXTRA, entry.extra.is_some()),
        (HAS_ITEM, entry.item.is_some()),
        (IN_TROUBLE, entry.in_trouble),
    ] {
        flags |= if is_set { flag } else { 0 };
    }
    let mut header = [0; HEADER_BYTES];
    header[..4].copy_from_slice(&(length as u32).to_le_bytes());
    header[4..8].copy_from_slice(&(uri.len() as u32).to_le_bytes());
    header[8] = flags;
    header[9..17].copy_from_slice(&entry.size.unwrap_or(0).to_le_bytes());
    header[17..21].copy_from_slice(&(identity.len() as u32).to_le_bytes());
    header[21..25].copy_from_slice(&(version.len() as u32).to_le_bytes());
    header[25..].copy_from_slice(&(extra.len() as u32).to_le_bytes());
    out.write_all(&header)?;
    texts.iter().try_for_each(|text| out.write_all(text))
}

fn read_u32(bytes: &[u8]) -> usize {
    u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]) as usize
}

fn record_length(record: &[u8]) -> usize {
    read_u32(record)
}

fn entry_of(record: &[u8], naming: &Naming) -> io::Result<Entry> {
    let text = |bytes| str::from_utf8(bytes).map_err(io::Error::other);
    let (header, rest) = record.split_at(HEADER_BYTES);
    let (uri, rest) = rest.split_at(read_u32(&header[4..]));
    let (identity, rest) = rest.split_at(read_u32(&header[IDENTITY_LENGTH_AT..]));
    let (version, rest) = rest.split_at(read_u32(&header[21..]));
    let (extra, item) = rest.split_at(read_u32(&header[25..]));
    let has = |flag| header[8] & flag != 0;
    let mut size = [0; 8];
    size.copy_from_slice(&header[9..17]);
    Ok(Entry {
        uri: naming.source(text(uri)?),
        version: has(HAS_VERSION).then(|| text(version).map(str::to_owned)).transpose()?,
        size: has(HAS_SIZE).then(|| u64::from_le_bytes(size)),
        in_trouble: has(IN_TROUBLE),
        extra: has(HAS_EXTRA).then(|| extra.to_vec()),
        item: has(HAS_ITEM).then(|| item.to_vec()),
        identity: text(identity)?.to_owned(),
    })
}

/// Reads records one after the other.
struct Records {
    reader: BufReader<Source>,
    record: Vec<u8>,
    naming: Naming,
}

/// Bytes at a position of its own, so that several readers can share them.
enum Source {
    Memory(Arc<Vec<u8>>, usize),
    Disk(Arc<File>, u64),
}

impl Read for Source {
    fn read(&mut self, target: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Memory(text, at) => {
                let count = target.len().min(text.len() - *at);
                target[..count].copy_from_slice(&text[*at..*at + count]);
                *at += count;
                Ok(count)
            }
            Self::Disk(file, at) => {
                let count = file.read_at(target, *at)?;
                *at += count as u64;
                Ok(count)
            }
        }
    }
}

impl Records {
    fn of(data: &Data, naming: &Naming) -> Self {
        let source = match data {
            Data::Memory(text) => Source::Memory(Arc::clone(text), 0),
            Data::Disk(file) => Source::Disk(Arc::clone(file), 0),
        };
        let reader = BufReader::with_capacity(READ_BUFFER_BYTES, source);
        Self { reader, record: Vec::new(), naming: naming.clone() }
    }

    fn next_entry(&mut self) -> io::Result<Option<Entry>> {
        self.record.resize(4, 0);
        match self.reader.read_exact(&mut self.record) {
            Err(cause) if cause.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            other => other?,
        }
        let length = record_length(&self.record);
        self.record.resize(length, 0);
        self.reader.read_exact(&mut self.record[4..])?;
        entry_of(&self.record, &self.naming).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vocabulary::error::Kind;

    fn entry(uri: &str) -> Entry {
        Entry { uri: uri.into(), ..Entry::default() }
    }

    fn sorted(buffer_bytes: usize, entries: impl IntoIterator<Item = Entry>) -> Result<Sorted> {
        let folder = tempfile::tempdir().unwrap();
        let mut spool = Spool::new(folder.path(), buffer_bytes, Naming::default());
        for entry in entries {
            spool.push(&entry)?;
        }
        let sorted = spool.finish()?;
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "runs have no names");
        Ok(sorted)
    }

    /// A fixed permutation of `0..count`.
    fn shuffled(count: u64) -> impl Iterator<Item = u64> {
        (0..count).map(move |index| (index * 7919 + 13) % count)
    }

    #[test]
    fn any_number_comes_out_sorted_whatever_the_buffer() {
        // Runs of one entry each need several rounds of merging; the last buffer holds everything.
        for buffer_bytes in [1, 2000, 1 << 20] {
            let entries = shuffled(1009)
                .map(|number| Entry { size: Some(number), ..entry(&format!("s3://b/{number:05}")) });
            let sorted = sorted(buffer_bytes, entries).unwrap();
            assert_eq!(sorted.num_entries, 1009);
            assert_eq!(sorted.num_bytes, 1009 * 1008 / 2);
            for _ in 0..2 {
                let uris: Vec<SourceUri> = sorted.entries().map(|entry| entry.unwrap().uri).collect();
                assert!(uris.is_sorted() && uris.len() == 1009);
            }
        }
    }

    #[test]
    fn entries_survive_unchanged() {
        let full = Entry {
            version: Some("v".into()),
            size: Some(0),
            extra: Some(vec![0, 255]),
            item: Some(b"{}".to_vec()),
            identity: "c\0a\0d".into(),
            ..entry("s3://b/ä")
        };
        let empty = Entry { version: Some(String::new()), extra: Some(Vec::new()), ..entry("s3://b/b") };
        for buffer_bytes in [1, 1 << 20] {
            let sorted = sorted(buffer_bytes, [full.clone(), empty.clone(), entry("s3://a")]).unwrap();
            let back: Vec<Entry> = sorted.entries().map(Result::unwrap).collect();
            assert_eq!(back, [entry("s3://a"), empty.clone(), full.clone()]);
        }
    }

    #[test]
    fn a_repeated_uri_is_one_source_unless_it_contradicts_itself() {
        for buffer_bytes in [1, 1 << 20] {
            let known = Entry { version: Some("v".into()), size: Some(3), ..entry("a") };
            let described = Entry { extra: Some(vec![1]), ..entry("a") };
            let same =
                sorted(buffer_bytes, [described.clone(), known, described.clone(), entry("b")]).unwrap();
            assert_eq!((same.num_entries, same.num_bytes), (2, 3));
            let first = same.entries().next().unwrap().unwrap();
            assert_eq!((first.version.as_deref(), first.extra), (Some("v"), Some(vec![1])));
            let other = Entry { extra: Some(vec![2]), ..entry("a") };
            let error = sorted(buffer_bytes, [described, other]).err().unwrap();
            assert_eq!(error.kind(), Kind::Config);
            assert!(error.to_string().contains("has a twice"), "{error}");
        }
    }

    #[test]
    fn items_of_one_uri_are_as_many_sources_as_there_are_items() {
        let item = |uri: &str, identity: &str| Entry {
            version: Some(identity.into()),
            item: Some(identity.into()),
            identity: identity.into(),
            ..entry(uri)
        };
        let (l1c, l2a, later) = ("l1c\0aa\x0011", "l2a\0aa\x0022", "l2a\0aa\x0033");
        // Whatever the order and the buffer, the first by identity keeps the URI; equal ones are one.
        for buffer_bytes in [1, 300, 1 << 20] {
            for turn in 0..4 {
                let mut entries =
                    vec![item("d#i", l2a), item("d#i", l1c), item("d#i", later), item("d#i", l2a)];
                entries.rotate_left(turn);
                // Sorts between a URI and what follows from it.
                entries.extend((0..200).map(|number| entry(&format!("d#i!{number:03}"))));
                let sorted = sorted(buffer_bytes, entries).unwrap();
                assert_eq!((sorted.num_entries, sorted.num_repeated, sorted.num_renamed), (203, 1, 2));
                let all: Vec<Entry> = sorted.entries().map(Result::unwrap).collect();
                assert!(all.is_sorted_by(|a, b| a.uri < b.uri));
                let items: Vec<(&str, &str)> = all
                    .iter()
                    .filter(|entry| entry.item.is_some())
                    .map(|entry| (entry.uri.for_reading(), entry.version.as_deref().unwrap()))
                    .collect();
                assert_eq!(items, [("d#i", l1c), ("d#i@l2a", l2a), ("d#i@l2a@aa@33", later)]);
            }
        }
    }

    #[test]
    fn a_document_that_is_listed_and_read_is_the_item() {
        let listed = Entry { version: Some("etag".into()), size: Some(9), ..entry("d.json") };
        let item = Entry {
            version: Some("digest".into()),
            item: Some(vec![1]),
            identity: "i".into(),
            ..entry("d.json")
        };
        for entries in [[listed.clone(), item.clone()], [item.clone(), listed.clone()]] {
            let all: Vec<Entry> = sorted(1, entries).unwrap().entries().map(Result::unwrap).collect();
            assert_eq!(all, [Entry { size: Some(9), ..item.clone() }]);
        }
    }

    #[test]
    fn a_disk_that_cannot_be_written_is_unavailable() {
        let mut spool = Spool::new(Path::new("/proc/nowhere"), 1, Naming::default());
        assert_eq!(spool.push(&entry("a")).unwrap_err().kind(), Kind::Unavailable);
    }

    /// A million keys: `cargo test --release -- --ignored million --nocapture` prints time and memory.
    #[test]
    #[ignore = "a measurement"]
    fn a_million_keys_need_little_memory() {
        let started = std::time::Instant::now();
        let folder = tempfile::tempdir().unwrap();
        let mut spool = Spool::new(folder.path(), BUFFER_BYTES, Naming::default());
        for number in shuffled(1_000_000) {
            let uri = format!("s3://scenes/2024/collection/{:03}/tile-{number:09}.jpg", number % 512);
            let version = Some(format!("{number:032x}"));
            let uri = uri.into();
            spool.push(&Entry { uri, version, size: Some(number), ..Entry::default() }).unwrap();
        }
        let pushed = started.elapsed();
        let sorted = spool.finish().unwrap();
        let finished = started.elapsed();
        let count = sorted.entries().map(Result::unwrap).count();
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let peak = status.lines().find(|line| line.starts_with("VmHWM")).unwrap();
        println!(
            "{count} keys: pushed {pushed:?}, sorted {finished:?}, read {:?}, {peak}",
            started.elapsed()
        );
        assert_eq!(count, 1_000_000);
    }
}
