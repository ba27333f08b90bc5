//! Opens sources that are read by blocks: the one place where a planner, a worker and whoever looks at a source make an
//! object a file of which the blocks can be had.

use std::sync::Arc;

use crate::formats::reader::parse_scene;
use crate::formats::tiff::{BlockId, BlockTable, Page, TiffHeader, parse_blocks};
use crate::input::byte_ranges::RangeReader;
use crate::input::storage::{ObjectUri, StoreError};
use crate::vocabulary::reason::Rejection;

/// An object whose header has been read.
pub struct OpenRaster {
    file: TiffHeader,
    reader: Arc<RangeReader>,
}

impl OpenRaster {
    /// Reads the header of an object.
    ///
    /// # Errors
    ///
    /// As the store answers; [`StoreError::Changed`] if the object is another than expected.
    pub async fn open(reader: Arc<RangeReader>) -> Result<Result<Self, Rejection>, StoreError> {
        let file = reader.parse(parse_scene).await?;
        Ok(file.map(|file| Self { file, reader }))
    }

    /// Returns what its header says.
    #[must_use]
    pub fn file(&self) -> &TiffHeader {
        &self.file
    }

    /// Returns how its bytes are read.
    #[must_use]
    pub fn reader(&self) -> &Arc<RangeReader> {
        &self.reader
    }

    /// Returns where it lies.
    #[must_use]
    pub fn uri(&self) -> &ObjectUri {
        self.reader.uri()
    }

    /// Returns a page of the object: the samples of a level, or its mask.
    ///
    /// # Panics
    ///
    /// If there is no such level.
    #[must_use]
    pub fn page(&self, level: usize, mask: bool) -> &Page {
        let level = &self.file.levels[level];
        match &level.mask {
            Some(page) if mask => page,
            _ => &level.pixels,
        }
    }

    /// Reads where blocks of a page lie.
    ///
    /// # Errors
    ///
    /// As [`Self::open`].
    pub async fn table(
        &self,
        level: usize,
        mask: bool,
        blocks: &[BlockId],
    ) -> Result<Result<BlockTable, Rejection>, StoreError> {
        let page = self.page(level, mask);
        self.reader.parse(|object| parse_blocks(object, page, blocks)).await
    }
}
