//! Rows of committed shards, read back as they were before they were columns.

mod geo;

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{
    Array, AsArray, Float32Array, Int32Array, ListArray, RecordBatch, StringArray, StructArray,
};
use arrow::compute::{cast, concat_batches};
use arrow::datatypes::{DataType, Field, Float32Type, Int32Type};

use crate::output::provenance::in_file;
use crate::output::table::StoredEmbeddings;
use crate::output::{Checksums, ParquetObject, Run, Tile, check_rest};
use crate::vocabulary::error::{Error, Result};
use crate::vocabulary::geometry::Window;
use crate::vocabulary::outcome::{Outcome, Prediction, TileRow};
use crate::vocabulary::reason::{Reason, Rejection};

/// Bytes of embeddings that are read at once: two pages as the sink writes them.
const WINDOW_BYTES: usize = 2 << 20;

/// Every column but the embedding, the manifest's and those of windows.
const COLUMNS: [&str; 16] = [
    "tile_id",
    "source",
    "source_version",
    "level",
    "frame",
    "x",
    "y",
    "width",
    "height",
    "status",
    "reason",
    "detail",
    "class_id",
    "score",
    "top_k",
    "shard",
];

const EXTRA: &str = "extra";

/// Reads rows of one run; cheap as long as they are asked for in the order of the run.
///
/// Memory: one shard without its embeddings, and 2 MiB of these.
pub(super) struct RowReader {
    run: Arc<Run>,
    classifier: bool,
    open: Option<OpenFile>,
}

struct OpenFile {
    number: u32,
    object: ParquetObject,
    checksums: Checksums,
    rows: RecordBatch,
    /// The manifest's columns, if there are any.
    extra: Option<Arc<StructArray>>,
    /// First row of `embeddings`.
    first: usize,
    embeddings: Vec<Option<Vec<f32>>>,
    provider: String,
    precision: String,
    /// What the integers were; files of earlier versions do not say.
    arithmetic: Option<String>,
}

/// A row with its embedding.
pub(super) struct Copied {
    pub(super) row: TileRow,
    /// `[embedding_length]`; empty unless the tile is `ok`.
    pub(super) embedding: Vec<f32>,
    /// The manifest's columns of its whole shard, if there are any: those of the row are among them.
    pub(super) extra: Option<Arc<StructArray>>,
}

/// Where rows of a shard were computed, each name once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Computed {
    pub(super) providers: BTreeSet<String>,
    pub(super) precisions: BTreeSet<String>,
    pub(super) arithmetics: BTreeSet<String>,
}

impl RowReader {
    pub(super) fn new(run: Arc<Run>) -> Self {
        let classifier = run.record.model.contract.output.classifier.is_some();
        Self { run, classifier, open: None }
    }

    /// Reads one row; the shard's place among the outcomes' embeddings is `embedding`.
    ///
    /// # Errors
    ///
    /// As the store answers; `Config` if the row is not that of the tile.
    pub(super) async fn read(
        &mut self,
        shard: u32,
        row: usize,
        tile: &Tile,
        embedding: usize,
        computed: &mut Computed,
    ) -> Result<Copied> {
        if self.open.as_ref().is_none_or(|open| open.number != shard) {
            self.open = Some(OpenFile::open(&self.run, shard).await?);
        }
        let open = self.open.as_mut().expect("it was opened above");
        let copied = open.row(row, tile, embedding, self.classifier)?;
        computed.providers.insert(open.provider.clone());
        computed.precisions.insert(open.precision.clone());
        computed.arithmetics.extend(open.arithmetic.clone());
        let is_ok = matches!(copied.outcome, Outcome::Ok { .. });
        let embedding = if is_ok { open.embedding(row).await? } else { Vec::new() };
        Ok(Copied { row: copied, embedding, extra: open.extra.clone() })
    }
}

impl OpenFile {
    async fn open(run: &Run, number: u32) -> Result<Self> {
        let key = run.shard_key(number);
        let object = ParquetObject::open_with_pages(&run.output.bucket, &key)
            .await?
            .ok_or_else(|| Error::unavailable(format!("{key} has vanished")).hint("try again"))?;
        // What is read here is all that is left of it once the run is deleted.
        let checksums = check_rest(&object).await?;
        let has = |name: &str| object.schema().field_with_name(name).is_ok();
        let geo = if has("geometry") { &geo::COLUMNS[..] } else { &[] };
        let extra = if has(EXTRA) { &[EXTRA][..] } else { &[] };
        let columns = [&COLUMNS[..], geo, extra].concat();
        let batches = object.read_columns(&columns).await?;
        let schema =
            batches.first().map(RecordBatch::schema).ok_or_else(|| damaged(&key, "it has no rows"))?;
        let rows = concat_batches(&schema, &batches)
            .map_err(|error| Error::bug("cannot join rows").because(error))?;
        let extra = rows.column_by_name(EXTRA).and_then(|extra| extra.as_struct_opt());
        let extra = extra.map(|extra| Arc::new(extra.clone()));
        let mut metadata = object.key_values();
        let mut constant = |name: &str| metadata.remove(&in_file(name)).unwrap_or_default();
        let (provider, precision) = (constant("provider"), constant("precision"));
        let arithmetic = Some(constant("arithmetic")).filter(|name| !name.is_empty());
        let embeddings = Vec::new();
        Ok(Self {
            number,
            object,
            checksums,
            rows,
            extra,
            first: 0,
            embeddings,
            provider,
            precision,
            arithmetic,
        })
    }

    fn row(&self, row: usize, tile: &Tile, embedding: usize, classifier: bool) -> Result<TileRow> {
        let wrong = |what: &str| damaged(self.object.key(), what);
        let columns =
            Columns::of(&self.rows).ok_or_else(|| wrong("a column is missing or of another type"))?;
        if row >= self.rows.num_rows() || columns.tile_ids.value(row) != tile.id.to_string() {
            return Err(wrong(&format!("row {row} is not that of tile {}", tile.id)));
        }
        Ok(TileRow {
            tile_id: tile.id,
            source: columns.sources.value(row).into(),
            source_version: text(columns.versions, row).map(Into::into),
            level: columns.levels.value(row) as u32,
            frame: columns.frames.value(row) as u32,
            window: columns.window(row),
            geo: geo::read(&self.rows, row).map_err(|what| wrong(&what))?.map(Box::new),
            outcome: columns.outcome(row, embedding, classifier).ok_or_else(|| {
                wrong(&format!("the outcome of tile {} is unknown to this version", tile.id))
            })?,
        })
    }

    async fn embedding(&mut self, row: usize) -> Result<Vec<f32>> {
        if row < self.first || row >= self.first + self.embeddings.len() {
            self.read_window(row).await?;
        }
        let embedding = row.checked_sub(self.first).and_then(|at| self.embeddings.get_mut(at)?.take());
        // Each row is asked for once.
        embedding.ok_or_else(|| damaged(self.object.key(), "an embedding is missing"))
    }

    /// Reads the embeddings around a row: the pages as the sink wrote them, checked, where they are of its layout.
    async fn read_window(&mut self, row: usize) -> Result<()> {
        let key = self.object.key();
        let (group, before) = self.group_of(row).ok_or_else(|| damaged(key, "it has fewer rows"))?;
        let stored = StoredEmbeddings::of(self.object.parquet(), self.object.schema(), group);
        let parts = stored.map_or_else(Vec::new, |stored| stored.parts(WINDOW_BYTES as u64));
        let part = parts.into_iter().find(|part| part.rows.contains(&(row - before)));
        if let Some(part) = part {
            let bytes = self.object.read_bytes(part.bytes.clone()).await?;
            if self.checksums == Checksums::Agree && !part.is_sound(&bytes) {
                return Err(self.object.damaged("a page of embeddings does not match its checksum"));
            }
            let mut embeddings = Vec::with_capacity(part.rows.len());
            if part.visit(&bytes, |_, embedding| embeddings.push(embedding.map(<[f32]>::to_vec))) {
                (self.first, self.embeddings) = (before + part.rows.start, embeddings);
                return Ok(());
            }
        }
        self.decode_window(row).await
    }

    /// Returns the row group that holds a row, and the number of rows before that group.
    fn group_of(&self, row: usize) -> Option<(usize, usize)> {
        let mut before = 0;
        for (number, group) in self.object.parquet().row_groups().iter().enumerate() {
            let num_rows = group.num_rows() as usize;
            if row < before + num_rows {
                return Some((number, before));
            }
            before += num_rows;
        }
        None
    }

    /// Reads the embeddings from a row on by way of Parquet's reader, whatever their layout.
    async fn decode_window(&mut self, row: usize) -> Result<()> {
        let wrong = || damaged(self.object.key(), "its embeddings are of another type");
        let row_bytes = match self.object.schema().field_with_name("embedding").map(Field::data_type) {
            Ok(DataType::FixedSizeList(element, length)) => {
                element.data_type().primitive_width().unwrap_or(4).saturating_mul(*length as usize)
            }
            _ => return Err(wrong()),
        };
        let take = (WINDOW_BYTES / row_bytes.max(1)).clamp(1, self.rows.num_rows() - row);
        let batches = self.object.read_slice(&["embedding"], row, take).await?;
        let mut embeddings = Vec::with_capacity(take);
        for batch in &batches {
            let lists = batch.column(0).as_fixed_size_list_opt().ok_or_else(wrong)?;
            for list in lists.iter() {
                // Every float16 is a float32, and rounds back to itself.
                let floats = list.map(|values| cast(&values, &DataType::Float32)).transpose();
                let floats = floats.map_err(|error| wrong().because(error))?;
                embeddings.push(floats.map(|floats| floats.as_primitive::<Float32Type>().values().to_vec()));
            }
        }
        (self.first, self.embeddings) = (row, embeddings);
        Ok(())
    }
}

pub(super) fn damaged(key: &str, what: &str) -> Error {
    Error::config(format!("{key} cannot be copied: {what}"))
        .hint("`tilefleet verify OUTPUT` shows which file is damaged; nothing was deleted")
}

fn text(column: &StringArray, row: usize) -> Option<&str> {
    column.is_valid(row).then(|| column.value(row))
}

/// The columns of a shard.
struct Columns<'a> {
    tile_ids: &'a StringArray,
    sources: &'a StringArray,
    versions: &'a StringArray,
    levels: &'a Int32Array,
    frames: &'a Int32Array,
    edges: [&'a Int32Array; 4],
    statuses: &'a StringArray,
    reasons: &'a StringArray,
    details: &'a StringArray,
    class_ids: &'a Int32Array,
    scores: &'a Float32Array,
    top_k: &'a ListArray,
}

impl<'a> Columns<'a> {
    /// Returns `None` if one is missing or of another type.
    fn of(rows: &'a RecordBatch) -> Option<Self> {
        let text = |name: &str| rows.column_by_name(name)?.as_string_opt::<i32>();
        let int32 = |name: &str| rows.column_by_name(name)?.as_primitive_opt::<Int32Type>();
        Some(Self {
            tile_ids: text("tile_id")?,
            sources: text("source")?,
            versions: text("source_version")?,
            levels: int32("level")?,
            frames: int32("frame")?,
            edges: [int32("x")?, int32("y")?, int32("width")?, int32("height")?],
            statuses: text("status")?,
            reasons: text("reason")?,
            details: text("detail")?,
            class_ids: int32("class_id")?,
            scores: rows.column_by_name("score")?.as_primitive_opt::<Float32Type>()?,
            top_k: rows.column_by_name("top_k")?.as_list_opt::<i32>()?,
        })
    }

    fn window(&self, row: usize) -> Option<Window> {
        let [x, y, width, height] = self.edges.map(|edge| edge.is_valid(row).then(|| edge.value(row) as u32));
        Some(Window { x: x?, y: y?, width: width?, height: height? })
    }

    /// Returns `None` if the outcome is unknown.
    fn outcome(&self, row: usize, embedding: usize, classifier: bool) -> Option<Outcome> {
        let detail = text(self.details, row).map(str::to_owned);
        let reason = || text(self.reasons, row).and_then(Reason::of_code);
        match self.statuses.value(row) {
            "ok" if classifier => {
                Some(Outcome::Ok { detail, prediction: Some(self.prediction(row)?), embedding })
            }
            "ok" => Some(Outcome::Ok { detail, prediction: None, embedding }),
            "skipped" => Some(Outcome::Skipped { reason: reason()?, detail }),
            "rejected" => Some(Outcome::Rejected(Rejection::new(reason()?, detail?))),
            _ => None,
        }
    }

    fn prediction(&self, row: usize) -> Option<Prediction> {
        let best = self.top_k.value(row);
        let best = best.as_struct_opt()?;
        let class_ids = best.column_by_name("class_id")?.as_primitive_opt::<Int32Type>()?;
        let scores = best.column_by_name("score")?.as_primitive_opt::<Float32Type>()?;
        let ranked = class_ids.values().iter().map(|id| *id as u32).zip(scores.values().iter().copied());
        Some(Prediction {
            class_id: self.class_ids.is_valid(row).then(|| self.class_ids.value(row) as u32)?,
            score: self.scores.value(row),
            top_k: ranked.collect(),
        })
    }
}
