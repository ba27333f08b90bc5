//! Brings the embeddings of labelled tiles into memory.
//!
//! Our own pages are read as they lie in the file ([`StoredEmbeddings`]), and only those parts that hold a
//! labelled tile; what another writer has laid out otherwise goes through Parquet's general reader.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float32Type};
use bytes::Bytes;
use futures::stream::{self, StreamExt, TryStreamExt};

use super::{Embeddings, LabelledRows};
use crate::output::table::{StoredEmbeddings, StoredPart};
use crate::output::{Output, ParquetObject};
use crate::vocabulary::error::{Error, Result};

/// Read in one go: worth a request, and few enough for several at once.
const PART_BYTES: u64 = 4 << 20;
/// Parts under way.
const PARTS_AHEAD: usize = 8;
/// Files whose footers are read ahead.
const FILES_AHEAD: usize = 4;
const EMBEDDING: &str = "embedding";

impl LabelledRows {
    /// Reads the embeddings of all labelled tiles, in their order.
    ///
    /// Memory: four bytes a float, and some parts of 4 MiB.
    ///
    /// # Errors
    ///
    /// As the store answers; `Config` if a file is damaged; `Unavailable` if a run was deleted meanwhile.
    pub async fn read(&self, output: &Output) -> Result<Embeddings> {
        let length = self.model.contract.output.embedding_length;
        let mut matrix = Matrix { values: vec![0.0; self.tiles.len() * length], length, num_read: 0 };
        let files = self.by_file();
        let opened = stream::iter(files).map(|file| self.open(output, file)).buffered(FILES_AHEAD);
        let parts = opened.map_ok(|file| stream::iter(file.parts()).map(Ok)).try_flatten();
        let mut fetched = std::pin::pin!(parts.map_ok(Part::fetch).try_buffered(PARTS_AHEAD));
        while let Some(part) = fetched.try_next().await? {
            part.copy(&mut matrix).await?;
        }
        if matrix.num_read != self.tiles.len() {
            return Err(Error::config("a tile with the status `ok` has no embedding")
                .hint("`tilefleet verify OUTPUT` shows which file is damaged"));
        }
        Ok(Embeddings { values: matrix.values, length })
    }

    /// Divides the tiles by file: `(file, [(row, place among the tiles)])`, rows rising.
    fn by_file(&self) -> Vec<(u32, Vec<(usize, usize)>)> {
        let mut places: Vec<(u32, usize, usize)> = self
            .tiles
            .iter()
            .enumerate()
            .map(|(place, tile)| (tile.shard, tile.row as usize, place))
            .collect();
        places.sort_unstable();
        let files = places.chunk_by(|a, b| a.0 == b.0);
        files.map(|file| (file[0].0, file.iter().map(|(_, row, place)| (*row, *place)).collect())).collect()
    }

    async fn open(&self, output: &Output, file: (u32, Vec<(usize, usize)>)) -> Result<Arc<Opened>> {
        let shard = &self.shards[file.0 as usize];
        let object = ParquetObject::open_indexed(&output.bucket, &shard.key, shard.size_bytes).await?;
        Ok(Arc::new(Opened { object, wanted: file.1 }))
    }
}

/// The embeddings as they come in.
struct Matrix {
    values: Vec<f32>,
    length: usize,
    num_read: usize,
}

impl Matrix {
    fn set(&mut self, place: usize, embedding: &[f32]) {
        self.values[place * self.length..(place + 1) * self.length].copy_from_slice(embedding);
        self.num_read += 1;
    }
}

/// A file whose footer was read, and which of its rows go where.
struct Opened {
    object: ParquetObject,
    /// Row and place, rows rising.
    wanted: Vec<(usize, usize)>,
}

/// Rows that are read in one go.
struct Part {
    file: Arc<Opened>,
    group: usize,
    /// Number in the file of the row group's first row.
    first_row: usize,
    /// Counted from the group's first row.
    rows: Range<usize>,
    stored: Option<StoredPart>,
}

/// A part, and its bytes if its pages seem to be of our layout.
struct Fetched {
    part: Part,
    bytes: Option<Bytes>,
}

impl Opened {
    /// Divides the file, and leaves out what holds no row that is wanted.
    fn parts(self: Arc<Self>) -> Vec<Part> {
        let mut parts = Vec::new();
        let mut first_row = 0;
        for (group, metadata) in self.object.parquet().row_groups().iter().enumerate() {
            let num_rows = metadata.num_rows() as usize;
            let part =
                |rows: Range<usize>, stored| Part { file: self.clone(), group, first_row, rows, stored };
            match StoredEmbeddings::of(self.object.parquet(), self.object.schema(), group) {
                Some(stored) => parts.extend(
                    stored
                        .parts(PART_BYTES)
                        .into_iter()
                        .map(|stored| part(stored.rows.clone(), Some(stored))),
                ),
                None => parts.push(part(0..num_rows, None)),
            }
            first_row += num_rows;
        }
        parts.retain(|part| !part.wanted().is_empty());
        parts
    }
}

impl Part {
    /// Row and place of what is wanted of this part.
    fn wanted(&self) -> &[(usize, usize)] {
        let (first, end) = (self.first_row + self.rows.start, self.first_row + self.rows.end);
        let before = |bound: usize| self.file.wanted.partition_point(|(row, _)| *row < bound);
        &self.file.wanted[before(first)..before(end)]
    }

    async fn fetch(self) -> Result<Fetched> {
        let bytes = match &self.stored {
            Some(stored) => Some(self.file.object.read_bytes(stored.bytes.clone()).await?),
            None => None,
        };
        Ok(Fetched { part: self, bytes })
    }

    fn other_length(&self, found: usize, wanted: usize) -> Error {
        Error::config(format!("embeddings in {} have {found} values", self.file.object.key()))
            .because(format!("those of the model have {wanted}"))
            .hint("`tilefleet verify OUTPUT` shows which files do not belong there")
    }
}

impl Fetched {
    async fn copy(&self, matrix: &mut Matrix) -> Result<()> {
        if let (Some(stored), Some(bytes)) = (&self.part.stored, &self.bytes) {
            if stored.length() != matrix.length {
                return Err(self.part.other_length(stored.length(), matrix.length));
            }
            let num_read = matrix.num_read;
            if self.copy_stored(stored, bytes, matrix) {
                return Ok(());
            }
            matrix.num_read = num_read;
        }
        self.copy_others(matrix).await
    }

    /// Returns whether the pages are of our layout after all.
    fn copy_stored(&self, stored: &StoredPart, bytes: &Bytes, matrix: &mut Matrix) -> bool {
        let mut wanted = self.part.wanted().iter().peekable();
        stored.visit(bytes, |row, embedding| {
            let row = self.part.first_row + row;
            if let (Some((_, place)), Some(embedding)) = (wanted.next_if(|(next, _)| *next == row), embedding)
            {
                matrix.set(*place, embedding);
            }
        })
    }

    async fn copy_others(&self, matrix: &mut Matrix) -> Result<()> {
        let Part { file, group, first_row, rows, .. } = &self.part;
        let mut wanted = self.part.wanted().iter().peekable();
        let mut row = first_row + rows.start;
        let mut batches = file.object.stream_rows(*group, rows.clone(), &[EMBEDDING])?;
        while let Some(batch) = batches.try_next().await? {
            for at in 0..batch.num_rows() {
                if let Some((_, place)) = wanted.next_if(|(next, _)| *next == row)
                    && let Some(embedding) = embedding(&batch, at)
                {
                    if embedding.len() != matrix.length {
                        return Err(self.part.other_length(embedding.len(), matrix.length));
                    }
                    matrix.set(*place, &embedding);
                }
                row += 1;
            }
        }
        Ok(())
    }
}

/// Returns one row of the embedding column; `None` for a null, or where it is not a list of numbers.
fn embedding(batch: &RecordBatch, row: usize) -> Option<Vec<f32>> {
    let column = batch.column_by_name(EMBEDDING)?;
    let values = match column.data_type() {
        DataType::FixedSizeList(..) => {
            let lists = column.as_fixed_size_list();
            lists.is_valid(row).then(|| lists.value(row))?
        }
        DataType::List(_) => {
            let lists = column.as_list::<i32>();
            lists.is_valid(row).then(|| lists.value(row))?
        }
        _ => return None,
    };
    let values = cast(&values, &DataType::Float32).ok().filter(|values| values.null_count() == 0)?;
    Some(values.as_primitive::<Float32Type>().values().to_vec())
}
