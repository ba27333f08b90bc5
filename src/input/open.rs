//! Opens sources that are read by blocks: the one place where a planner, a worker and whoever looks at a source make an
//! object a file whose blocks can be read.

use std::sync::Arc;

use crate::formats::partial::Partial;
use crate::formats::raster::{BlockGrid, BlockId, BlockTable, GridId, RasterFile};
use crate::formats::reader::{TileGrid, parse_scene};
use crate::input::byte_ranges::{RangeReader, ReadError};
use crate::input::storage::ObjectUri;

/// An object whose header has been read.
pub struct OpenRaster {
    file: Arc<dyn RasterFile>,
    reader: Arc<RangeReader>,
}

impl OpenRaster {
    /// Reads the header of an object.
    ///
    /// - `grid`: any but [`TileGrid::Whole`]
    ///
    /// # Errors
    ///
    /// [`ReadError`]
    pub async fn open(grid: TileGrid, reader: Arc<RangeReader>) -> Result<Self, ReadError> {
        Ok(Self::new(reader.parse(|object| parse_scene(grid, object)).await?, reader))
    }

    /// Takes a file whose header has been read.
    #[must_use]
    pub fn new(file: Arc<dyn RasterFile>, reader: Arc<RangeReader>) -> Self {
        Self { file, reader }
    }

    /// Returns what its header says.
    #[must_use]
    pub fn file(&self) -> &dyn RasterFile {
        &*self.file
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

    /// Returns the blocks of samples or mask of a level.
    ///
    /// # Panics
    ///
    /// If there is no such frame, level or mask.
    #[must_use]
    pub fn grid(&self, id: GridId) -> &BlockGrid {
        self.file.grid(id).expect("the grid is one of the file's")
    }

    /// Reads where blocks of a grid lie.
    ///
    /// # Errors
    ///
    /// As [`Self::open`].
    pub async fn table(&self, id: GridId, blocks: &[BlockId]) -> Result<BlockTable, ReadError> {
        let locate = |object: &Partial| self.file.locate(object, id, blocks);
        // Without a table of them, compressed frames of DICOM are found from header to header, which lie far apart.
        if self.file.dicom().is_some() {
            self.reader.walk(locate).await
        } else {
            self.reader.parse(locate).await
        }
    }
}
