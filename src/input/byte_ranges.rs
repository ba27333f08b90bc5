//! One object that is read by ranges: a header once, and then only the blocks that are needed.
//!
//! All who read parts of an object do it here: planning, fetching and looking at sources. What a header needed is
//! kept, so that blocks that came along with it are not fetched again; neighbouring blocks come with one request.
//! Every answer is compared with the size and the version that were planned or found. An object that cannot be
//! read by ranges is read as a whole, and its ranges are parts of that. It decodes nothing.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use tokio::sync::{Mutex, Semaphore};

use crate::formats::partial::{Parsed, Partial};
use crate::input::storage::{Bucket, Expected, Object, ObjectUri, Storage, StoreError};
use crate::vocabulary::guard;
use crate::vocabulary::reason::{Reason, Rejection, SourceError};
use crate::vocabulary::traffic::Traffic;

/// How much of a header is read at once; GDAL reads as much.
const HEADER_BYTES: usize = 16 << 10;
/// Ranges closer than this, in bytes, are fetched with one request.
const GAP_BYTES: u64 = 4 << 10;
/// Maximum bytes per request, unless a single block is larger.
const REQUEST_BYTES: u64 = 4 << 20;
/// Requests for one call that are under way at once; what all calls share limits them further.
const REQUESTS_AT_ONCE: usize = 32;

/// What those who read at once share, and how far ahead headers are read.
#[derive(Clone, Debug)]
pub struct ReadOptions {
    /// A request waits for one of these.
    pub requests: Arc<Semaphore>,
    /// Counts requests and bytes.
    pub traffic: Arc<Traffic>,
    /// Number of header bytes that one request reads, at first and at most.
    pub ahead: ReadAhead,
    /// Maximum number of header bytes of an object that is larger; a longer header is a rejection.
    pub max_header_bytes: u64,
}

impl ReadOptions {
    /// Reads headers in small steps, whatever their size.
    #[must_use]
    pub fn new(requests: Arc<Semaphore>, traffic: Arc<Traffic>) -> Self {
        let ahead = ReadAhead::new(HEADER_BYTES, HEADER_BYTES);
        Self { requests, traffic, ahead, max_header_bytes: u64::MAX }
    }
}

/// Why nothing came of an object.
#[derive(Debug)]
pub enum ReadError {
    /// It answers, but with something that is refused tomorrow as well.
    Rejected(Rejection),
    /// As the store answers; [`StoreError::Changed`] if the object is another than expected.
    Store(StoreError),
}

impl From<Rejection> for ReadError {
    fn from(rejection: Rejection) -> Self {
        Self::Rejected(rejection)
    }
}

impl From<StoreError> for ReadError {
    fn from(fault: StoreError) -> Self {
        Self::Store(fault)
    }
}

impl ReadError {
    /// Returns what was read or why it is refused, for those to whom a rejection is an answer.
    ///
    /// # Errors
    ///
    /// As the store answers.
    pub fn answer<T>(read: Result<T, Self>) -> Result<Result<T, Rejection>, StoreError> {
        match read {
            Ok(value) => Ok(Ok(value)),
            Err(Self::Rejected(rejection)) => Ok(Err(rejection)),
            Err(Self::Store(fault)) => Err(fault),
        }
    }

    /// Returns the same for those who cannot do without the object: what its store answers ends the command.
    #[must_use]
    pub fn at(self, uri: &ObjectUri) -> SourceError {
        match self {
            Self::Rejected(rejection) => rejection.into(),
            Self::Store(fault) => fault.into_error(uri).into(),
        }
    }
}

/// One object in a store.
pub struct RangeReader {
    bucket: Bucket,
    uri: ObjectUri,
    expected: Expected,
    num_bytes: u64,
    /// All bytes of an object that cannot be read by ranges.
    whole: Option<Bytes>,
    header: Mutex<HeaderBytes>,
    options: ReadOptions,
}

/// What has been read of an object for its header.
struct HeaderBytes {
    object: Partial,
    ahead: ReadAhead,
    num_read: u64,
}

impl RangeReader {
    /// Prepares to read an object of known size; nothing is read yet.
    ///
    /// - `version`: what it has to be; `None`: any
    #[must_use]
    pub fn new(
        storage: &Storage,
        uri: &ObjectUri,
        num_bytes: u64,
        version: Option<Arc<str>>,
        options: ReadOptions,
    ) -> Self {
        let object = Partial::new(usize::try_from(num_bytes).unwrap_or(usize::MAX));
        let header = HeaderBytes { object, ahead: options.ahead.clone(), num_read: 0 };
        Self {
            bucket: storage.bucket(uri),
            uri: uri.clone(),
            expected: Expected { size: Some(num_bytes), version },
            num_bytes,
            whole: None,
            header: Mutex::new(header),
            options,
        }
    }

    /// Finds out size and version of an object; `None` if the store does not tell its size: it cannot be read by ranges.
    ///
    /// # Errors
    ///
    /// As the store answers.
    pub async fn open(
        storage: &Storage,
        uri: &ObjectUri,
        options: ReadOptions,
    ) -> Result<Option<Self>, StoreError> {
        let info = storage.bucket(uri).head(uri.key()).await?;
        let version = info.version.clone().map(Into::into);
        Ok(info.known_size().map(|size| Self::new(storage, uri, size, version, options)))
    }

    /// Reads all of an object, one that cannot be read by ranges.
    ///
    /// # Errors
    ///
    /// [`StoreError::TooLarge`] if it has more than `max_bytes`; else as the store answers.
    pub async fn open_whole(
        storage: &Storage,
        uri: &ObjectUri,
        max_bytes: u64,
        options: ReadOptions,
    ) -> Result<Self, StoreError> {
        let Object { bytes, version, .. } = storage.bucket(uri).get(uri.key(), max_bytes).await?;
        let size = bytes.len() as u64;
        let mut reader = Self::new(storage, uri, size, version.map(Into::into), options);
        let header = reader.header.get_mut();
        header.object.add(0, &bytes);
        header.num_read = size;
        reader.options.traffic.add(bytes.len());
        reader.whole = Some(bytes);
        Ok(reader)
    }

    /// Returns where the object lies.
    #[must_use]
    pub fn uri(&self) -> &ObjectUri {
        &self.uri
    }

    /// Returns its size.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.num_bytes
    }

    /// Returns the version that it has to have, if that is known.
    #[must_use]
    pub fn version(&self) -> Option<&Arc<str>> {
        self.expected.version.as_ref()
    }

    /// Returns all of its bytes, if it cannot be read by ranges.
    #[must_use]
    pub fn whole(&self) -> Option<&Bytes> {
        self.whole.as_ref()
    }

    /// Returns the number of bytes that all who share its options have read.
    #[must_use]
    pub fn read_bytes(&self) -> u64 {
        self.options.traffic.bytes()
    }

    /// Looks at what has been read for its header, without reading more.
    pub async fn seen<T>(&self, look: impl FnOnce(&Partial) -> T) -> T {
        look(&self.header.lock().await.object)
    }

    /// Runs a parser, and brings what it asks for until it is done.
    ///
    /// # Errors
    ///
    /// [`ReadError`]; a parser that crashes is a rejection, and so is a header without end.
    pub async fn parse<T>(&self, parse: impl Fn(&Partial) -> Parsed<T>) -> Result<T, ReadError> {
        let mut header = self.header.lock().await;
        loop {
            let needed = match guard::catch_decoder_panic(|| Ok(parse(&header.object)))? {
                Parsed::Done(found) => return Ok(found?),
                Parsed::Needs(range) => range,
            };
            let end = needed.start.saturating_add(header.ahead.length(&needed));
            let bytes = self.bring(&mut header.num_read, needed.start..end).await?;
            header.object.add(needed.start, &bytes);
        }
    }

    /// As [`Self::parse`], for a parser that goes through the object and remembers what it has seen: it gets exactly what
    /// it asks for, and nothing of that is kept.
    ///
    /// # Errors
    ///
    /// As [`Self::parse`].
    pub async fn walk<T>(&self, step: impl Fn(&Partial) -> Parsed<T>) -> Result<T, ReadError> {
        let mut header = self.header.lock().await;
        loop {
            let parsed = guard::catch_decoder_panic(|| Ok(step(&header.object)));
            header.object.end_passing();
            let needed = match parsed? {
                Parsed::Done(found) => return Ok(found?),
                Parsed::Needs(range) => range,
            };
            let bytes = self.bring(&mut header.num_read, needed.clone()).await?;
            header.object.pass(needed.start, &bytes);
        }
    }

    /// Fetches what a parser needs, up to the end of the object.
    async fn bring(&self, num_read: &mut u64, needed: Range<usize>) -> Result<Bytes, ReadError> {
        let max = self.options.max_header_bytes;
        if *num_read >= max && self.num_bytes > max {
            return Err(too_large(self.num_bytes, max).into());
        }
        let bytes = self.fetch(needed.start as u64..(needed.end as u64).min(self.num_bytes)).await?;
        *num_read += bytes.len() as u64;
        Ok(bytes)
    }

    /// Returns the bytes of ranges, in their order. Ranges that lie close together are fetched as one.
    ///
    /// # Errors
    ///
    /// As the store answers; [`StoreError::Changed`] if the object is another than expected.
    pub async fn read(&self, ranges: &[Range<u64>]) -> Result<Vec<Bytes>, StoreError> {
        if let Some(whole) = &self.whole {
            return Ok(ranges.iter().map(|at| whole.slice(at.start as usize..at.end as usize)).collect());
        }
        let mut found: Vec<Option<Bytes>> = {
            let header = self.header.lock().await;
            ranges.iter().map(|range| header.object.held(range).map(Bytes::copy_from_slice)).collect()
        };
        let missing: Vec<usize> = (0..ranges.len()).filter(|&at| found[at].is_none()).collect();
        let asking: Vec<_> =
            requests(ranges, missing).into_iter().map(|request| self.answer(request)).collect();
        let mut answers = stream::iter(asking).buffer_unordered(REQUESTS_AT_ONCE);
        while let Some((request, bytes)) = answers.try_next().await? {
            for &at in &request.answers {
                let start = (ranges[at].start - request.range.start) as usize;
                let length = (ranges[at].end - ranges[at].start) as usize;
                found[at] = Some(bytes.slice(start..start + length));
            }
        }
        Ok(found.into_iter().map(|bytes| bytes.expect("every range was held or fetched")).collect())
    }

    async fn answer(&self, request: Request) -> Result<(Request, Bytes), StoreError> {
        let bytes = self.fetch(request.range.clone()).await?;
        Ok((request, bytes))
    }

    async fn fetch(&self, range: Range<u64>) -> Result<Bytes, StoreError> {
        let _turn = self.options.requests.acquire().await.expect("the semaphore is never closed");
        let (key, length) = (self.uri.key(), range.end - range.start);
        let bytes = self.bucket.get_range_expected(key, range.start, length, &self.expected).await?;
        if bytes.len() as u64 != length {
            return Err(StoreError::Changed { version: None });
        }
        self.options.traffic.add(bytes.len());
        Ok(bytes)
    }
}

/// Reads an object that is decoded as a whole.
///
/// - `max_bytes`: a larger one is a rejection
///
/// # Errors
///
/// [`ReadError`].
pub async fn read_whole(storage: &Storage, uri: &ObjectUri, max_bytes: u64) -> Result<Object, ReadError> {
    storage.bucket(uri).get(uri.key(), max_bytes).await.map_err(|fault| match fault {
        StoreError::TooLarge { size } => too_large(size, max_bytes).into(),
        fault => fault.into(),
    })
}

/// Rejects an object that has more bytes than `limits.max_object` allows.
#[must_use]
pub fn too_large(num_bytes: u64, limit: u64) -> Rejection {
    let detail = format!("the object has {num_bytes} bytes, limits.max_object allows {limit}");
    Rejection::new(Reason::TooLarge, detail)
}

/// How much of a header is read at once: twice as much each time that a parser continues where the last read ended,
/// as with a PNG of many small chunks; little where it jumps.
#[derive(Clone, Debug)]
pub struct ReadAhead {
    first_bytes: usize,
    max_bytes: usize,
    end: usize,
    length: usize,
}

impl ReadAhead {
    /// Begins with `first_bytes`, and doubles up to `max_bytes`.
    #[must_use]
    pub fn new(first_bytes: usize, max_bytes: usize) -> Self {
        Self { first_bytes, max_bytes, end: 0, length: first_bytes / 2 }
    }

    /// Returns how much to read from the beginning of a range that is needed.
    fn length(&mut self, needed: &Range<usize>) -> usize {
        let continues = (self.end..=self.end.saturating_add(self.length)).contains(&needed.start);
        self.length = if continues { (2 * self.length).min(self.max_bytes) } else { self.first_bytes };
        let length = self.length.max(needed.len());
        self.end = needed.start.saturating_add(length);
        length
    }
}

/// One request, and which of the ranges it answers.
struct Request {
    range: Range<u64>,
    answers: Vec<usize>,
}

/// Joins ranges into requests.
fn requests(ranges: &[Range<u64>], mut wanted: Vec<usize>) -> Vec<Request> {
    wanted.sort_by_key(|&at| ranges[at].start);
    let mut requests: Vec<Request> = Vec::new();
    for at in wanted {
        let range = ranges[at].clone();
        match requests.last_mut() {
            Some(last)
                if range.start <= last.range.end + GAP_BYTES
                    && range.end.max(last.range.end) - last.range.start <= REQUEST_BYTES =>
            {
                last.range.end = last.range.end.max(range.end);
                last.answers.push(at);
            }
            _ => requests.push(Request { range, answers: vec![at] }),
        }
    }
    requests
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vocabulary::error::Error;

    #[test]
    fn what_continues_is_read_in_larger_steps_and_what_jumps_in_small_ones() {
        let mut ahead = ReadAhead::new(64 << 10, 8 << 20);
        assert_eq!(ahead.length(&(0..12)), 64 << 10);
        assert_eq!(ahead.length(&(65_536..65_544)), 128 << 10);
        assert_eq!(ahead.length(&(200_000..200_008)), 256 << 10, "a small gap");
        assert_eq!(ahead.length(&(90_000_000..90_000_008)), 64 << 10);
        assert_eq!(ahead.length(&(0..40_000_000)), 40_000_000);
        assert_eq!(ahead.length(&(40_000_000..40_000_001)), 128 << 10);
        let mut steps = ReadAhead::new(16 << 10, 16 << 10);
        assert_eq!([0..12, 16_384..16_385, 32_768..32_769].map(|range| steps.length(&range)), [16 << 10; 3]);
    }

    /// Each of the three who may have to act: nobody, since it is refused for good; whoever runs the store; a person.
    #[test]
    fn what_was_not_read_is_refused_or_as_the_store_answers() {
        let uri = ObjectUri::of(&"s3://b/a.tif".into()).unwrap();
        let refused = || ReadError::from(Rejection::new(Reason::Corrupt, "no directory"));
        assert!(
            matches!(ReadError::answer::<()>(Err(refused())), Ok(Err(why)) if why.reason == Reason::Corrupt)
        );
        assert!(matches!(refused().at(&uri), SourceError::Rejected(why) if why.detail == "no directory"));
        assert!(matches!(ReadError::answer(Ok(3)), Ok(Ok(3))));
        let away = || StoreError::Failed(Error::unavailable("the store is away"));
        assert!(matches!(ReadError::answer::<()>(Err(away().into())), Err(StoreError::Failed(_))));
        for (fault, exit_code) in [(away(), 75), (StoreError::Gone, 78), (StoreError::Forbidden, 78)] {
            match ReadError::from(fault).at(&uri) {
                SourceError::Failed(error) => assert_eq!(error.kind().exit_code(), exit_code, "{error}"),
                SourceError::Rejected(why) => panic!("{why}"),
            }
        }
    }

    fn joined(ranges: &[Range<u64>]) -> Vec<(Range<u64>, Vec<usize>)> {
        let requests = requests(ranges, (0..ranges.len()).collect());
        requests.into_iter().map(|request| (request.range, request.answers)).collect()
    }

    #[test]
    fn neighbours_come_with_one_request() {
        let ranges = [100..200, 5000..6000, 208..300, 10_200..10_300];
        assert_eq!(
            joined(&ranges),
            [(100..300, vec![0, 2]), (5000..6000, vec![1]), (10_200..10_300, vec![3])]
                .map(|(range, answers)| (range, answers))
        );
        assert_eq!(joined(&[0..100, 50..80]), [(0..100, vec![0, 1])]);
        let large = [0..REQUEST_BYTES, REQUEST_BYTES..REQUEST_BYTES + 1];
        assert_eq!(joined(&large).len(), 2);
    }
}
