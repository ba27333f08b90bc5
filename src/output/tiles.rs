//! `plan/part-NNNNN.parquet`: the tiles of a run, a row group a shard.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Int32Array, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use bytes::Bytes;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use sha2::{Digest, Sha256};

use crate::input::storage::Bucket;
use crate::output::layout::SHARDS_PER_PART;
use crate::output::parquet_object::ParquetObject;
use crate::output::table::{BadColumn, StoredColumns, SummedFile, number_at, tile_id_at};
use crate::vocabulary::error::{Error, Result};
use crate::vocabulary::geometry::Window;
use crate::vocabulary::tile_id::TileId;

/// One tile as planned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedTile {
    /// Identity of the place.
    pub id: TileId,
    /// Which source it is cut from.
    pub source_id: u64,
    /// Resolution step.
    pub level: u32,
    /// Frame of a multi-frame source.
    pub frame: u32,
    /// The pixels; `None` for the whole source.
    pub window: Option<Window>,
}

fn schema() -> SchemaRef {
    let window = |name: &str| Field::new(name, DataType::Int32, true);
    Arc::new(Schema::new(vec![
        Field::new("shard", DataType::Int32, false),
        Field::new("tile_id", DataType::Utf8, false),
        Field::new("source_id", DataType::Int64, false),
        Field::new("level", DataType::Int32, false),
        Field::new("frame", DataType::Int32, false),
        window("x"),
        window("y"),
        window("width"),
        window("height"),
    ]))
}

/// Writes plan parts: push the tiles of one shard after the other, take each part when it is full.
pub struct PlanWriter {
    file: Option<SummedFile>,
    digest: Sha256,
    num_shards: u32,
    num_tiles: u64,
}

/// What a whole plan amounts to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanTotals {
    /// Number of shards.
    pub num_shards: u32,
    /// Number of tiles.
    pub num_tiles: u64,
    /// SHA-256 over the tile ids in order.
    pub digest: String,
}

impl Default for PlanWriter {
    fn default() -> Self {
        Self { file: None, digest: Sha256::new(), num_shards: 0, num_tiles: 0 }
    }
}

impl PlanWriter {
    /// Appends one shard; returns `(part number, file)` when that fills a part.
    ///
    /// # Errors
    ///
    /// `Bug` if Parquet cannot be written.
    pub fn push(&mut self, tiles: &[PlannedTile]) -> Result<Option<(u32, Bytes)>> {
        let batch = record_batch(self.num_shards, tiles)?;
        let file = match &mut self.file {
            Some(file) => file,
            empty => empty.insert(new_file()?),
        };
        file.write(&batch).map_err(bug)?;
        for tile in tiles {
            self.digest.update(tile.id.to_string());
        }
        self.num_shards += 1;
        self.num_tiles += tiles.len() as u64;
        if self.num_shards.is_multiple_of(SHARDS_PER_PART) { self.take_part() } else { Ok(None) }
    }

    /// Ends the plan; returns the last part, if one is open, and the totals.
    ///
    /// # Errors
    ///
    /// `Bug` if Parquet cannot be written.
    pub fn finish(mut self) -> Result<(Option<(u32, Bytes)>, PlanTotals)> {
        let last = self.take_part()?;
        let digest = hex::encode(self.digest.finalize());
        Ok((last, PlanTotals { num_shards: self.num_shards, num_tiles: self.num_tiles, digest }))
    }

    fn take_part(&mut self) -> Result<Option<(u32, Bytes)>> {
        let Some(file) = self.file.take() else { return Ok(None) };
        let part = (self.num_shards - 1) / SHARDS_PER_PART;
        Ok(Some((part, file.finish(Vec::new()).map_err(bug)?)))
    }
}

fn new_file() -> Result<SummedFile> {
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        // A row group is a shard, whatever its size.
        .set_max_row_group_row_count(None)
        .set_column_dictionary_enabled("tile_id".into(), false)
        .set_created_by(concat!("tilefleet ", env!("CARGO_PKG_VERSION")).to_owned())
        .build();
    SummedFile::new(schema(), properties).map_err(bug)
}

fn record_batch(shard: u32, tiles: &[PlannedTile]) -> Result<RecordBatch> {
    let whole_number = |value: fn(&PlannedTile) -> u32| -> ArrayRef {
        Arc::new(Int32Array::from_iter_values(tiles.iter().map(|tile| value(tile) as i32)))
    };
    let window = |value: fn(&Window) -> u32| -> ArrayRef {
        Arc::new(
            tiles.iter().map(|tile| tile.window.as_ref().map(|w| value(w) as i32)).collect::<Int32Array>(),
        )
    };
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int32Array::from_value(shard as i32, tiles.len())),
        Arc::new(StringArray::from_iter_values(tiles.iter().map(|tile| tile.id.to_string()))),
        Arc::new(Int64Array::from_iter_values(tiles.iter().map(|tile| tile.source_id as i64))),
        whole_number(|tile| tile.level),
        whole_number(|tile| tile.frame),
        window(|w| w.x),
        window(|w| w.y),
        window(|w| w.width),
        window(|w| w.height),
    ];
    RecordBatch::try_new(schema(), columns).map_err(bug)
}

/// One published plan part, read shard by shard.
#[derive(Clone)]
pub struct PlanPart {
    object: ParquetObject,
    first_shard: u32,
}

impl PlanPart {
    /// Opens the part that holds `shard`, whose object lies at `key`.
    ///
    /// # Errors
    ///
    /// As the store answers; `Config` if the part is missing or damaged.
    pub async fn open(bucket: &Bucket, key: &str, part: u32) -> Result<Self> {
        let object = ParquetObject::open(bucket, key).await?.ok_or_else(|| {
            Error::config(format!("the plan's {key} is missing"))
                .hint("the run's record was damaged; start a new run in another output")
        })?;
        Ok(Self { object, first_shard: part * SHARDS_PER_PART })
    }

    /// Returns the object that it is.
    pub(super) fn object(&self) -> &ParquetObject {
        &self.object
    }

    /// Returns whether this part holds the shard.
    #[must_use]
    pub fn holds(&self, shard: u32) -> bool {
        shard / SHARDS_PER_PART == self.first_shard / SHARDS_PER_PART
    }

    /// Reads the tiles of one shard in order.
    ///
    /// # Errors
    ///
    /// As the store answers; `Config` if the part is damaged.
    pub async fn tiles(&self, shard: u32) -> Result<Vec<PlannedTile>> {
        let group = (shard - self.first_shard) as usize;
        let mut tiles = Vec::new();
        for batch in self.object.read(vec![group], None).await? {
            append_tiles(&batch, shard, &mut tiles)?;
        }
        Ok(tiles)
    }
}

fn append_tiles(batch: &RecordBatch, shard: u32, tiles: &mut Vec<PlannedTile>) -> Result<()> {
    let damaged = || Error::config(format!("the plan of shard {shard} is damaged"));
    let columns = Columns::of(batch).map_err(|bad| damaged().because(bad))?;
    for row in 0..batch.num_rows() {
        if whole_number(columns.shards, row) != Some(shard) {
            return Err(damaged());
        }
        let id = tile_id_at(columns.ids, row).map_err(|bad| damaged().because(bad))?;
        tiles.push(columns.tile(row, id).ok_or_else(damaged)?);
    }
    Ok(())
}

/// The columns of a plan part.
struct Columns<'a> {
    shards: &'a Int32Array,
    ids: &'a StringArray,
    sources: &'a Int64Array,
    levels: &'a Int32Array,
    frames: &'a Int32Array,
    /// `x`, `y`, `width`, `height`
    edges: [&'a Int32Array; 4],
}

impl<'a> Columns<'a> {
    fn of(batch: &'a RecordBatch) -> Result<Self, BadColumn> {
        let stored = StoredColumns(batch);
        Ok(Self {
            shards: stored.numbers("shard")?,
            ids: stored.text("tile_id")?,
            sources: stored.numbers("source_id")?,
            levels: stored.numbers("level")?,
            frames: stored.numbers("frame")?,
            edges: [
                stored.numbers("x")?,
                stored.numbers("y")?,
                stored.numbers("width")?,
                stored.numbers("height")?,
            ],
        })
    }

    /// Returns the tile of a row; `None` if a number is negative, or missing where there must be one.
    fn tile(&self, row: usize, id: TileId) -> Option<PlannedTile> {
        let window = if self.edges[0].is_valid(row) {
            let [x, y, width, height] = self.edges.map(|edge| whole_number(edge, row));
            Some(Window { x: x?, y: y?, width: width?, height: height? })
        } else {
            None
        };
        Some(PlannedTile {
            id,
            source_id: u64::try_from(number_at(self.sources, row)?).ok()?,
            level: whole_number(self.levels, row)?,
            frame: whole_number(self.frames, row)?,
            window,
        })
    }
}

fn whole_number(column: &Int32Array, row: usize) -> Option<u32> {
    u32::try_from(number_at(column, row)?).ok()
}

fn bug(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::bug("cannot write the plan").because(error)
}
