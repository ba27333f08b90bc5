//! Sorts any number of sources in bounded memory: an external merge sort.
//!
//! ```text
//! push ─▶ buffer ─(full)─▶ sorted run on disk ─┐
//!                          sorted run on disk ─┼─▶ merge, join duplicates ─▶ sorted entries
//!                          …                  ─┘   (at most 64 runs at a time)
//! ```
//!
//! Runs are files without a name: a killed process leaves nothing behind.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::storage::sanitise;

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
    pub uri: String,
    /// Entity tag or the like, see [`crate::storage::ObjectInfo::version`]; `None` if nobody has looked.
    pub version: Option<String>,
    /// Number of bytes; `None` if nobody has looked.
    pub size: Option<u64>,
    /// The manifest's other columns, encoded by [`super::ExtraCodec`].
    pub extra: Option<Vec<u8>>,
    /// The STAC item that it is, as JSON of [`crate::stac::Item`].
    pub item: Option<Vec<u8>>,
}

/// Collects entries in any order.
pub(super) struct Spool {
    folder: PathBuf,
    buffer_bytes: usize,
    text: Vec<u8>,
    index: Vec<(u32, u32)>,
    runs: VecDeque<File>,
}

/// Entries in the order of their URIs, each URI once. Clones share the data.
#[derive(Clone)]
pub struct Sorted {
    data: Data,
    /// Number of entries.
    pub num_entries: u64,
    /// Sum of the known sizes, in bytes.
    pub num_bytes: u64,
}

#[derive(Clone)]
enum Data {
    Memory(Arc<Vec<u8>>),
    Disk(Arc<File>),
}

impl Spool {
    /// Makes an empty spool that keeps its runs in `folder`.
    pub(super) fn new(folder: &Path, buffer_bytes: usize) -> Self {
        Self {
            folder: folder.to_path_buf(),
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
        self.index.push((start as u32, entry.uri.len() as u32));
        if self.text.len() + self.index.len() * INDEX_BYTES < self.buffer_bytes {
            return Ok(());
        }
        let run = self.new_run(|out, spool| spool.write_sorted(out))?;
        self.runs.push_back(run);
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
        let mut last = Vec::with_capacity(self.text.len());
        self.write_sorted(&mut last).map_err(|cause| self.failed(cause))?;
        self.text = Vec::new();
        self.index = Vec::new();
        while self.runs.len() > FAN_IN {
            let some: Vec<File> = self.runs.drain(..FAN_IN).collect();
            let mut inputs: Vec<Records> = some.into_iter().map(Records::of_file).collect();
            let mut counts = Counts::default();
            let run = self.new_run(|out, _| merge(&mut inputs, out, &mut counts))?;
            counts.conflict()?;
            self.runs.push_back(run);
        }
        let on_disk = !self.runs.is_empty();
        let mut inputs: Vec<Records> =
            std::mem::take(&mut self.runs).into_iter().map(Records::of_file).collect();
        inputs.push(Records::of_memory(Arc::new(last)));
        let mut counts = Counts::default();
        let data = if on_disk {
            Data::Disk(Arc::new(self.new_run(|out, _| merge(&mut inputs, out, &mut counts))?))
        } else {
            let mut joined = Vec::new();
            merge(&mut inputs, &mut joined, &mut counts).map_err(|cause| self.failed(cause))?;
            Data::Memory(Arc::new(joined))
        };
        counts.conflict()?;
        Ok(Sorted { data, num_entries: counts.entries, num_bytes: counts.bytes })
    }

    fn write_sorted(&mut self, out: &mut dyn Write) -> io::Result<()> {
        let text = &self.text;
        let uri = |(start, length): (u32, u32)| {
            let start = start as usize + HEADER_BYTES;
            &text[start..start + length as usize]
        };
        // The position as tie-breaker keeps the first of several equal URIs first.
        self.index.sort_unstable_by(|a, b| uri(*a).cmp(uri(*b)).then(a.0.cmp(&b.0)));
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
        match &self.data {
            Data::Memory(text) => Entries { records: Records::of_memory(Arc::clone(text)), failed: false },
            Data::Disk(file) => Entries { records: Records::of_shared(Arc::clone(file)), failed: false },
        }
    }
}

/// Yields entries in the order of their URIs; ends after the first error.
pub struct Entries {
    records: Records,
    failed: bool,
}

impl Iterator for Entries {
    type Item = Result<Entry>;

    fn next(&mut self) -> Option<Result<Entry>> {
        if self.failed {
            return None;
        }
        let entry = self.records.next_entry().transpose()?;
        self.failed = entry.is_err();
        Some(entry.map_err(|cause| Error::unavailable("cannot read the sorted sources again").because(cause)))
    }
}

/// Joins sorted inputs into one; inputs that come earlier win.
fn merge(inputs: &mut [Records], out: &mut dyn Write, counts: &mut Counts) -> io::Result<()> {
    let mut heads: Vec<Option<Entry>> = Vec::with_capacity(inputs.len());
    let mut order = BinaryHeap::with_capacity(inputs.len());
    for (number, input) in inputs.iter_mut().enumerate() {
        let head = input.next_entry()?;
        order.extend(head.as_ref().map(|entry| Reverse((entry.uri.clone(), number))));
        heads.push(head);
    }
    let mut current: Option<Entry> = None;
    while let Some(Reverse((_, number))) = order.pop() {
        let entry = heads[number].take().expect("an input in the heap has a head");
        heads[number] = inputs[number].next_entry()?;
        order.extend(heads[number].as_ref().map(|entry| Reverse((entry.uri.clone(), number))));
        match &mut current {
            Some(same) if same.uri == entry.uri => counts.join(same, entry),
            _ => {
                if let Some(done) = current.replace(entry) {
                    counts.write(out, &done)?;
                }
            }
        }
    }
    current.map_or(Ok(()), |done| counts.write(out, &done))
}

#[derive(Default)]
struct Counts {
    entries: u64,
    bytes: u64,
    conflict: Option<String>,
}

impl Counts {
    fn write(&mut self, out: &mut dyn Write, entry: &Entry) -> io::Result<()> {
        self.entries += 1;
        self.bytes += entry.size.unwrap_or(0);
        write_entry(out, entry)
    }

    /// Joins two entries of one URI: what one of them does not know, the other may.
    fn join(&mut self, first: &mut Entry, second: Entry) {
        if first.extra.is_some() && second.extra.is_some() && first.extra != second.extra {
            self.conflict.get_or_insert_with(|| first.uri.clone());
        }
        if first.version.is_none() {
            first.version = second.version;
        }
        first.size = first.size.or(second.size);
        if first.extra.is_none() {
            first.extra = second.extra;
        }
        if first.item.is_none() {
            first.item = second.item;
        }
    }

    fn conflict(&self) -> Result<()> {
        self.conflict.as_ref().map_or(Ok(()), |uri| {
            Err(Error::config(format!("the manifest has {} twice, with different values", sanitise(uri)))
                .hint("a source is one row of the manifest: remove all but one"))
        })
    }
}

/// Record: total length, URI length, flags, size (8 bytes), version length, extra length, then the four texts.
const HEADER_BYTES: usize = 4 + 4 + 1 + 8 + 4 + 4;
const HAS_VERSION: u8 = 1;
const HAS_SIZE: u8 = 2;
const HAS_EXTRA: u8 = 4;
const HAS_ITEM: u8 = 8;

fn write_entry(out: &mut (impl Write + ?Sized), entry: &Entry) -> io::Result<()> {
    let version = entry.version.as_deref().unwrap_or_default().as_bytes();
    let extra = entry.extra.as_deref().unwrap_or_default();
    let item = entry.item.as_deref().unwrap_or_default();
    let length = HEADER_BYTES + entry.uri.len() + version.len() + extra.len() + item.len();
    let mut flags = 0;
    for (flag, is_set) in [
        (HAS_VERSION, entry.version.is_some()),
        (HAS_SIZE, entry.size.is_some()),
        (HAS_EXTRA, entry.extra.is_some()),
        (HAS_ITEM, entry.item.is_some()),
    ] {
        flags |= if is_set { flag } else { 0 };
    }
    let mut header = [0; HEADER_BYTES];
    header[..4].copy_from_slice(&(length as u32).to_le_bytes());
    header[4..8].copy_from_slice(&(entry.uri.len() as u32).to_le_bytes());
    header[8] = flags;
    header[9..17].copy_from_slice(&entry.size.unwrap_or(0).to_le_bytes());
    header[17..21].copy_from_slice(&(version.len() as u32).to_le_bytes());
    header[21..].copy_from_slice(&(extra.len() as u32).to_le_bytes());
    for part in [&header[..], entry.uri.as_bytes(), version, extra, item] {
        out.write_all(part)?;
    }
    Ok(())
}

fn read_u32(bytes: &[u8]) -> usize {
    u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]) as usize
}

fn record_length(record: &[u8]) -> usize {
    read_u32(record)
}

fn entry_of(record: &[u8]) -> io::Result<Entry> {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).map_err(io::Error::other);
    let (header, rest) = record.split_at(HEADER_BYTES);
    let (uri, rest) = rest.split_at(read_u32(&header[4..]));
    let (version, rest) = rest.split_at(read_u32(&header[17..]));
    let (extra, item) = rest.split_at(read_u32(&header[21..]));
    let has = |flag| header[8] & flag != 0;
    let mut size = [0; 8];
    size.copy_from_slice(&header[9..17]);
    Ok(Entry {
        uri: text(uri)?,
        version: has(HAS_VERSION).then(|| text(version)).transpose()?,
        size: has(HAS_SIZE).then(|| u64::from_le_bytes(size)),
        extra: has(HAS_EXTRA).then(|| extra.to_vec()),
        item: has(HAS_ITEM).then(|| item.to_vec()),
    })
}

/// Reads records one after the other.
struct Records {
    reader: BufReader<Source>,
    record: Vec<u8>,
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
    fn of_file(file: File) -> Self {
        Self::of_shared(Arc::new(file))
    }

    fn of_shared(file: Arc<File>) -> Self {
        Self::of(Source::Disk(file, 0))
    }

    fn of_memory(text: Arc<Vec<u8>>) -> Self {
        Self::of(Source::Memory(text, 0))
    }

    fn of(source: Source) -> Self {
        Self { reader: BufReader::with_capacity(READ_BUFFER_BYTES, source), record: Vec::new() }
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
        entry_of(&self.record).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    fn entry(uri: &str) -> Entry {
        Entry { uri: uri.to_owned(), ..Entry::default() }
    }

    fn sorted(buffer_bytes: usize, entries: impl IntoIterator<Item = Entry>) -> Result<Sorted> {
        let folder = tempfile::tempdir().unwrap();
        let mut spool = Spool::new(folder.path(), buffer_bytes);
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
                let uris: Vec<String> = sorted.entries().map(|entry| entry.unwrap().uri).collect();
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
    fn a_disk_that_cannot_be_written_is_unavailable() {
        let mut spool = Spool::new(Path::new("/proc/nowhere"), 1);
        assert_eq!(spool.push(&entry("a")).unwrap_err().kind(), Kind::Unavailable);
    }

    /// A million keys: `cargo test --release -- --ignored million --nocapture` prints time and memory.
    #[test]
    #[ignore = "a measurement"]
    fn a_million_keys_need_little_memory() {
        let started = std::time::Instant::now();
        let folder = tempfile::tempdir().unwrap();
        let mut spool = Spool::new(folder.path(), BUFFER_BYTES);
        for number in shuffled(1_000_000) {
            let uri = format!("s3://scenes/2024/collection/{:03}/tile-{number:09}.jpg", number % 512);
            let version = Some(format!("{number:032x}"));
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
