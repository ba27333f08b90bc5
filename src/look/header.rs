//! Reads of an object what its header needs: a first range, then those that the parser asks for.

use std::ops::Range;

use super::Looker;
use crate::decode::guard;
use crate::fetch::too_large;
use crate::format::image::{
    ImageFormat, ImageHeader, Parsed, parse_header, parse_partial, sniff, sniff_partial,
};
use crate::format::partial::Partial;
use crate::reason::Rejection;
use crate::storage::{Bucket, Fault, ObjectInfo, ObjectUri};

/// So much is read at least: the whole header of most files, in one request.
const FIRST_BYTES: usize = 64 << 10;
/// So much is read at most of a file whose header goes on and on.
const MOST_AHEAD_BYTES: usize = 8 << 20;

/// What was found out about an object.
pub(super) struct Looked {
    pub(super) size_bytes: u64,
    pub(super) version: Option<String>,
    /// Number of bytes that were read to find it out.
    pub(super) read_bytes: u64,
    /// The format by content, also where the header is damaged.
    pub(super) format: Option<ImageFormat>,
    pub(super) header: Result<ImageHeader, Rejection>,
    /// Why a run would not even read the object.
    pub(super) unread: Option<Rejection>,
}

impl Looker {
    /// Reads the header of an object.
    pub(super) async fn header(&self, uri: &ObjectUri) -> Result<Looked, Fault> {
        let bucket = self.storage.bucket(uri);
        match bucket.head(uri.key()).await {
            Ok(info) => match self.header_by_ranges(&bucket, &info).await {
                // Many web servers know no ranges.
                Err(Fault::Failed(_)) if uri.scheme().is_http() => self.header_of_whole(&bucket, uri).await,
                looked => looked,
            },
            // Such an answer has no body that tells what is wrong; one to a request for the object has.
            Err(Fault::Gone | Fault::Forbidden) => self.header_of_whole(&bucket, uri).await,
            Err(fault) => Err(fault),
        }
    }

    async fn header_by_ranges(&self, bucket: &Bucket, info: &ObjectInfo) -> Result<Looked, Fault> {
        let mut object = Partial::new(usize::try_from(info.size).unwrap_or(usize::MAX));
        let mut ahead = ReadAhead::default();
        let mut read_bytes = 0;
        let unread = (info.size > self.max_object_bytes).then(|| too_large(info.size, self.max_object_bytes));
        let header = loop {
            let parsed = guard::catch(|| Ok(parse_partial(&object)));
            let needed = match parsed.unwrap_or_else(|crash| Parsed::Done(Err(crash))) {
                Parsed::Done(header) => break header,
                Parsed::Needs(range) => range,
            };
            if let Some(rejection) = unread.clone().filter(|_| read_bytes >= self.max_object_bytes) {
                break Err(rejection);
            }
            let length = ahead.length(&needed);
            let bytes = bucket.get_range(&info.key, needed.start as u64, length as u64).await?;
            if bytes.len() < needed.len() {
                return Err(Fault::Changed { version: None });
            }
            object.add(needed.start, &bytes);
            read_bytes += bytes.len() as u64;
        };
        let format = sniff_partial(&object);
        Ok(Looked {
            size_bytes: info.size,
            version: info.version.clone(),
            read_bytes,
            format,
            header,
            unread,
        })
    }

    async fn header_of_whole(&self, bucket: &Bucket, uri: &ObjectUri) -> Result<Looked, Fault> {
        match bucket.get(uri.key(), self.max_object_bytes).await {
            Ok(object) => Ok(Looked {
                size_bytes: object.size,
                version: object.version,
                read_bytes: object.bytes.len() as u64,
                format: sniff(&object.bytes),
                header: guard::catch(|| parse_header(&object.bytes)),
                unread: None,
            }),
            Err(Fault::TooLarge { size }) => {
                let rejection = too_large(size, self.max_object_bytes);
                Ok(Looked {
                    size_bytes: size,
                    version: None,
                    read_bytes: 0,
                    format: None,
                    header: Err(rejection.clone()),
                    unread: Some(rejection),
                })
            }
            Err(fault) => Err(fault),
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
        self.length = if goes_on { (2 * self.length).min(MOST_AHEAD_BYTES) } else { FIRST_BYTES };
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
