//! Reads of an object what its header needs: a first range, then those that the parser asks for.

use std::ops::Range;

use bytes::Bytes;

use super::Inspector;
use crate::formats::image::{ImageFormat, ImageHeader, sniff_partial};
use crate::formats::partial::{Parsed, Partial};
use crate::formats::reader::{Header, TileGrid, parse, parse_scene};
use crate::formats::tiff::TiffHeader;
use crate::input::storage::{Bucket, ObjectInfo, ObjectUri, StoreError};
use crate::stages::fetch::too_large;
use crate::vocabulary::guard;
use crate::vocabulary::reason::Rejection;

/// So much is read at least: the whole header of most files, in one request.
const FIRST_BYTES: usize = 64 << 10;
/// So much is read at most of a file whose header goes on and on.
const MAX_AHEAD_BYTES: usize = 8 << 20;

/// What was found out about an object.
pub(super) struct HeaderReport {
    pub(super) size_bytes: u64,
    pub(super) version: Option<String>,
    /// Number of bytes that were read to find it out.
    pub(super) read_bytes: u64,
    /// Why a run that reads whole objects does not read this one.
    pub(super) unread: Option<Rejection>,
    /// The format by content, also where the header is damaged.
    pub(super) format: Option<ImageFormat>,
    /// What the header says to a run whose sources are one tile each.
    pub(super) picture: Result<ImageHeader, Rejection>,
    /// What it says to one that cuts scenes into windows.
    pub(super) scene: Result<Box<TiffHeader>, Rejection>,
    /// What has been read.
    pub(super) object: Partial,
    /// All bytes, where no less could be had.
    pub(super) whole: Option<Bytes>,
}

impl Inspector {
    /// Reads the header of an object.
    pub(super) async fn header(&self, uri: &ObjectUri) -> Result<HeaderReport, StoreError> {
        let bucket = self.storage.bucket(uri);
        match bucket.head(uri.key()).await {
            Ok(info) if info.known_size().is_none() => self.header_of_whole(&bucket, uri).await,
            Ok(info) => match self.header_by_ranges(&bucket, &info).await {
                // Many web servers know no ranges.
                Err(StoreError::Failed(_)) if uri.scheme().is_http() => {
                    self.header_of_whole(&bucket, uri).await
                }
                looked => looked,
            },
            // Such an answer has no body that tells what is wrong; one to a request for the object has.
            Err(StoreError::Gone | StoreError::Forbidden) => self.header_of_whole(&bucket, uri).await,
            Err(fault) => Err(fault),
        }
    }

    async fn header_by_ranges(&self, bucket: &Bucket, info: &ObjectInfo) -> Result<HeaderReport, StoreError> {
        let mut ranges = Ranges::new(bucket, info, self.max_object_bytes);
        let scene = ranges.scene().await?;
        let picture = ranges.picture().await?;
        let Ranges { object, read_bytes, .. } = ranges;
        Ok(HeaderReport {
            size_bytes: info.size,
            version: info.version.clone(),
            read_bytes,
            format: sniff_partial(&object),
            // A run does not even read it.
            unread: (info.size > self.max_object_bytes).then(|| too_large(info.size, self.max_object_bytes)),
            picture,
            scene,
            object,
            whole: None,
        })
    }

    async fn header_of_whole(&self, bucket: &Bucket, uri: &ObjectUri) -> Result<HeaderReport, StoreError> {
        match bucket.get(uri.key(), self.max_object_bytes).await {
            Ok(whole) => {
                let mut object = Partial::new(whole.bytes.len());
                object.add(0, &whole.bytes);
                let mut ranges = Ranges::again(bucket, uri.key(), object, Some(whole.bytes), whole.size);
                let scene = ranges.scene().await?;
                let picture = ranges.picture().await?;
                let Ranges { object, whole: bytes, read_bytes, .. } = ranges;
                Ok(HeaderReport {
                    size_bytes: whole.size,
                    version: whole.version,
                    read_bytes,
                    format: sniff_partial(&object),
                    unread: None,
                    picture,
                    scene,
                    object,
                    whole: bytes,
                })
            }
            Err(StoreError::TooLarge { size }) => {
                let rejection = too_large(size, self.max_object_bytes);
                Ok(HeaderReport {
                    size_bytes: size,
                    version: None,
                    read_bytes: 0,
                    format: None,
                    picture: Err(rejection.clone()),
                    scene: Err(rejection.clone()),
                    unread: Some(rejection),
                    object: Partial::new(0),
                    whole: None,
                })
            }
            Err(fault) => Err(fault),
        }
    }
}

/// Reads an object as far as parsers ask for it.
pub(super) struct Ranges<'a> {
    bucket: &'a Bucket,
    key: &'a str,
    object: Partial,
    /// All bytes, where no less could be had.
    whole: Option<Bytes>,
    ahead: ReadAhead,
    pub(super) read_bytes: u64,
    most_bytes: u64,
    size: u64,
}

impl<'a> Ranges<'a> {
    fn new(bucket: &'a Bucket, info: &'a ObjectInfo, most_bytes: u64) -> Self {
        let object = Partial::new(usize::try_from(info.size).unwrap_or(usize::MAX));
        let (key, size) = (info.key.as_str(), info.size);
        Self {
            bucket,
            key,
            object,
            whole: None,
            ahead: ReadAhead::default(),
            read_bytes: 0,
            most_bytes,
            size,
        }
    }

    /// Goes on with an object whose header has been read.
    pub(super) fn again(
        bucket: &'a Bucket,
        key: &'a str,
        object: Partial,
        whole: Option<Bytes>,
        read_bytes: u64,
    ) -> Self {
        let ahead = ReadAhead::default();
        Self { bucket, key, object, whole, ahead, read_bytes, most_bytes: u64::MAX, size: 0 }
    }

    /// Reads a range, as far as the object goes.
    pub(super) async fn get(&self, start: u64, length: u64) -> Result<Bytes, StoreError> {
        match &self.whole {
            Some(whole) => {
                let end = (start + length).min(whole.len() as u64);
                Ok(whole.slice(start.min(end) as usize..end as usize))
            }
            None => self.bucket.get_range(self.key, start, length).await,
        }
    }

    /// Reads what the header says to a run whose sources are one tile each.
    async fn picture(&mut self) -> Result<Result<ImageHeader, Rejection>, StoreError> {
        let header = self.answer(|object| parse(TileGrid::Whole, object)).await?;
        Ok(header.map(|header| match header {
            Header::Picture(header) => header,
            Header::Scene(_) => unreachable!("no scene is read whole"),
        }))
    }

    /// Reads what the header says to a run that cuts scenes into windows.
    async fn scene(&mut self) -> Result<Result<Box<TiffHeader>, Rejection>, StoreError> {
        Ok(self.answer(parse_scene).await?.map(Box::new))
    }

    /// Runs a parser until it has an answer; a crash of it is one, and so is a header without end.
    pub(super) async fn answer<T>(
        &mut self,
        parse: impl Fn(&Partial) -> Parsed<T>,
    ) -> Result<Result<T, Rejection>, StoreError> {
        loop {
            let parsed = guard::catch_decoder_panic(|| Ok(parse(&self.object)));
            let needed = match parsed.unwrap_or_else(|crash| Parsed::Done(Err(crash))) {
                Parsed::Done(answer) => return Ok(answer),
                Parsed::Needs(range) => range,
            };
            if self.read_bytes >= self.most_bytes && self.size > self.most_bytes {
                return Ok(Err(too_large(self.size, self.most_bytes)));
            }
            let length = self.ahead.length(&needed);
            let bytes = self.get(needed.start as u64, length as u64).await?;
            if bytes.len() < needed.len() {
                return Err(StoreError::Changed { version: None });
            }
            self.object.add(needed.start, &bytes);
            self.read_bytes += bytes.len() as u64;
        }
    }
}

/// How much is read at once: twice as much each time that a parser goes on where the last read ended,
/// as with a PNG of many small chunks; little where it jumps.
struct ReadAhead {
    end: usize,
    length: usize,
}

impl Default for ReadAhead {
    fn default() -> Self {
        Self { end: 0, length: FIRST_BYTES / 2 }
    }
}

impl ReadAhead {
    /// Returns how much to read from the beginning of a range that is needed.
    fn length(&mut self, needed: &Range<usize>) -> usize {
        let goes_on = (self.end..=self.end + self.length).contains(&needed.start);
        self.length = if goes_on { (2 * self.length).min(MAX_AHEAD_BYTES) } else { FIRST_BYTES };
        let length = self.length.max(needed.len());
        self.end = needed.start + length;
        length
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_on_is_read_in_larger_steps_and_what_jumps_in_small_ones() {
        let mut ahead = ReadAhead::default();
        assert_eq!(ahead.length(&(0..12)), 64 << 10);
        assert_eq!(ahead.length(&(65_536..65_544)), 128 << 10);
        assert_eq!(ahead.length(&(200_000..200_008)), 256 << 10, "a small gap");
        assert_eq!(ahead.length(&(90_000_000..90_000_008)), 64 << 10);
        assert_eq!(ahead.length(&(0..40_000_000)), 40_000_000);
        assert_eq!(ahead.length(&(40_000_000..40_000_001)), 128 << 10);
    }
}
