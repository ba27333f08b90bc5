//! One object that is read by ranges: a header once, and then only the blocks that are needed.
//!
//! Planning, fetching and looking at scenes share it. What a header needed is kept, so that blocks that came
//! along with it are not fetched again; neighbouring blocks come with one request. Every answer is held
//! against the size and the version that were planned. It decodes nothing.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use tokio::sync::{Mutex, Semaphore};

use crate::formats::partial::{Parsed, Partial};
use crate::input::storage::{Bucket, Expected, ObjectUri, Storage, StoreError};
use crate::vocabulary::reason::Rejection;
use crate::vocabulary::traffic::Traffic;

/// How much of a header is read at once; GDAL reads as much.
const HEADER_BYTES: u64 = 16 << 10;
/// So many bytes nobody asked for are read at most, rather than asked around.
const GAP_BYTES: u64 = 4 << 10;
/// A request asks for so many bytes at most, unless a single block is larger.
const REQUEST_BYTES: u64 = 4 << 20;
/// Requests for one call that are under way at once; what all calls share limits them further.
const REQUESTS_AT_ONCE: usize = 32;

/// One object in a store.
pub struct RangeReader {
    bucket: Bucket,
    key: String,
    expected: Expected,
    num_bytes: u64,
    header: Mutex<Partial>,
    requests: Arc<Semaphore>,
    traffic: Arc<Traffic>,
}

impl RangeReader {
    /// Prepares to read an object of known size; nothing is read yet.
    ///
    /// - `version`: what it has to be; `None`: any
    /// - `requests`: shared by all who read at once
    #[must_use]
    pub fn new(
        storage: &Storage,
        uri: &ObjectUri,
        num_bytes: u64,
        version: Option<Arc<str>>,
        requests: Arc<Semaphore>,
        traffic: Arc<Traffic>,
    ) -> Self {
        Self {
            bucket: storage.bucket(uri),
            key: uri.key().to_owned(),
            expected: Expected { size: Some(num_bytes), version },
            num_bytes,
            header: Mutex::new(Partial::new(usize::try_from(num_bytes).unwrap_or(usize::MAX))),
            requests,
            traffic,
        }
    }

    /// Runs a parser, and brings what it asks for until it is done.
    ///
    /// # Errors
    ///
    /// As the store answers; [`StoreError::Changed`] if the object is another than expected.
    pub async fn parse<T>(
        &self,
        parse: impl Fn(&Partial) -> Parsed<T>,
    ) -> Result<Result<T, Rejection>, StoreError> {
        let mut object = self.header.lock().await;
        loop {
            let needed = match parse(&object) {
                Parsed::Done(parsed) => return Ok(parsed),
                Parsed::Needs(range) => range.start as u64..range.end as u64,
            };
            let end = needed.end.max(needed.start + HEADER_BYTES).min(self.num_bytes);
            let bytes = self.fetch(needed.start..end).await?;
            object.add(needed.start as usize, &bytes);
        }
    }

    /// Returns the bytes of ranges, in their order. Ranges that lie close together are fetched as one.
    ///
    /// # Errors
    ///
    /// As [`Self::parse`].
    pub async fn read(&self, ranges: &[Range<u64>]) -> Result<Vec<Bytes>, StoreError> {
        let mut found: Vec<Option<Bytes>> = {
            let header = self.header.lock().await;
            ranges.iter().map(|range| header.held(range).map(Bytes::copy_from_slice)).collect()
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
        let _turn = self.requests.acquire().await.expect("the semaphore is never closed");
        let length = range.end - range.start;
        let bytes = self.bucket.get_range_expected(&self.key, range.start, length, &self.expected).await?;
        if bytes.len() as u64 != length {
            return Err(StoreError::Changed { version: None });
        }
        self.traffic.add(bytes.len());
        Ok(bytes)
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
