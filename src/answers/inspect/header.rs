//! Reads of an object what its header needs: a first range, then those that the parser asks for.

use std::num::NonZeroUsize;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::Semaphore;

use super::Inspector;
use crate::formats::image::{ImageFormat, ImageHeader, sniff_partial};
use crate::formats::reader::{Header, TileGrid, parse};
use crate::input::byte_ranges::{RangeReader, ReadAhead, ReadError, ReadOptions, too_large};
use crate::input::open::OpenRaster;
use crate::input::source::{DOCUMENT_START_BYTES, begins_like_stac};
use crate::input::storage::{ObjectUri, StoreError};
use crate::vocabulary::reason::Rejection;

/// Minimum number of bytes that one request reads: the whole header of most files.
const FIRST_BYTES: usize = 64 << 10;
/// Maximum number of bytes that one request reads of a long header.
const MAX_AHEAD_BYTES: usize = 8 << 20;
/// Maximum number of requests at once.
const AT_ONCE: NonZeroUsize = NonZeroUsize::new(8).expect("8 is not 0");

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
    /// Whether it is one that a run that takes STAC takes for it.
    pub(super) is_stac: bool,
    /// What the header says to a run whose sources are one tile each.
    pub(super) picture: Result<ImageHeader, Rejection>,
    /// What it says to one that reads blocks: that cuts scenes into windows, or makes tiles of frames.
    pub(super) scene: Result<Arc<OpenRaster>, Rejection>,
    /// All bytes of an object that cannot be read by ranges.
    pub(super) whole: Option<Bytes>,
}

impl HeaderReport {
    async fn of(reader: RangeReader, max_bytes: u64) -> Result<Self, StoreError> {
        let size = reader.size_bytes();
        let reader = Arc::new(reader);
        let picture = reader.parse(|object| parse(TileGrid::Whole, object)).await;
        let picture = ReadError::answer(picture)?.map(picture_of);
        let (format, is_stac) = reader
            .seen(|object| {
                let start = object.held(&(0..DOCUMENT_START_BYTES.min(size)));
                let is_stac = start.is_some_and(|start| begins_like_stac(reader.uri(), start));
                (sniff_partial(object), is_stac)
            })
            .await;
        let is_dicom = format == Some(ImageFormat::Dicom);
        let grid = if is_dicom { TileGrid::Frames } else { TileGrid::Regular };
        let scene = ReadError::answer(OpenRaster::open(grid, reader.clone()).await)?.map(Arc::new);
        Ok(Self {
            size_bytes: size,
            version: reader.version().map(ToString::to_string),
            read_bytes: reader.read_bytes(),
            // A run does not even read it.
            unread: (size > max_bytes).then(|| too_large(size, max_bytes)),
            format,
            is_stac,
            picture,
            scene,
            whole: reader.whole().cloned(),
        })
    }

    /// Stands for an object that is larger than may be read, and cannot be read by ranges.
    fn unread(size_bytes: u64, rejection: Rejection) -> Self {
        Self {
            size_bytes,
            version: None,
            read_bytes: 0,
            format: None,
            is_stac: false,
            picture: Err(rejection.clone()),
            scene: Err(rejection.clone()),
            unread: Some(rejection),
            whole: None,
        }
    }

    /// Returns the scene as a survey takes it that does not read its header again; none that was read as a whole, since
    /// a run reads scenes by ranges.
    pub(super) fn known(&self) -> Option<Arc<OpenRaster>> {
        self.scene.as_ref().ok().filter(|_| self.whole.is_none()).cloned()
    }
}

/// Returns how what is looked at is read.
pub(super) fn reads(max_header_bytes: u64) -> ReadOptions {
    ReadOptions {
        ahead: ReadAhead::new(FIRST_BYTES, MAX_AHEAD_BYTES),
        max_header_bytes,
        ..ReadOptions::new(Arc::new(Semaphore::new(AT_ONCE.get())), Arc::default())
    }
}

impl Inspector {
    /// Reads the header of an object.
    pub(super) async fn header(&self, uri: &ObjectUri) -> Result<HeaderReport, StoreError> {
        match RangeReader::open(&self.storage, uri, reads(self.max_object_bytes)).await {
            Ok(Some(reader)) => match HeaderReport::of(reader, self.max_object_bytes).await {
                // Many web servers know no ranges.
                Err(StoreError::Failed(_)) if uri.scheme().is_http() => self.header_of_whole(uri).await,
                looked => looked,
            },
            // An answer to this has no body that tells what is wrong; one to a request for the object has.
            Ok(None) | Err(StoreError::Gone | StoreError::Forbidden) => self.header_of_whole(uri).await,
            Err(fault) => Err(fault),
        }
    }

    async fn header_of_whole(&self, uri: &ObjectUri) -> Result<HeaderReport, StoreError> {
        let max = self.max_object_bytes;
        match RangeReader::open_whole(&self.storage, uri, max, reads(u64::MAX)).await {
            Ok(reader) => HeaderReport::of(reader, max).await,
            Err(StoreError::TooLarge { size }) => Ok(HeaderReport::unread(size, too_large(size, max))),
            Err(fault) => Err(fault),
        }
    }
}

fn picture_of(header: Header) -> ImageHeader {
    match header {
        Header::Picture(header) => header,
        Header::Scene(_) => unreachable!("no scene is read whole"),
    }
}
