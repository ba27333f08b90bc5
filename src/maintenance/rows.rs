//! Rows of committed shards, read back as they were before they were columns.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch, StructArray};
use arrow::compute::{cast, concat_batches};
use arrow::datatypes::{DataType, Field, Float32Type};

use crate::output::provenance::in_file;
use crate::output::table::{RowGroups, StoredColumns, StoredEmbeddings};
use crate::output::{Checksums, ParquetObject, Run, Tile, check_rest};
use crate::vocabulary::error::{Error, Result};
use crate::vocabulary::outcome::{Outcome, TileRow};

/// Bytes of embeddings that are read at once: two pages as the sink writes them.
const WINDOW_BYTES: usize = 2 << 20;

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
    groups: RowGroups,
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
            self.open = Some(OpenFile::open(&self.run, shard, self.classifier).await?);
        }
        let open = self.open.as_mut().expect("it was opened above");
        let copied = open.row(row, tile, embedding)?;
        computed.providers.insert(open.provider.clone());
        computed.precisions.insert(open.precision.clone());
        computed.arithmetics.extend(open.arithmetic.clone());
        let is_ok = matches!(copied.outcome, Outcome::Ok { .. });
        let embedding = if is_ok { open.embedding(row).await? } else { Vec::new() };
        Ok(Copied { row: copied, embedding, extra: open.extra.clone() })
    }
}

impl OpenFile {
    async fn open(run: &Run, number: u32, classifier: bool) -> Result<Self> {
        let key = run.shard_key(number);
        let object = ParquetObject::open_with_pages(&run.output.bucket, &key)
            .await?
            .ok_or_else(|| Error::unavailable(format!("{key} has vanished")).hint("try again"))?;
        // What is read here is all that is left of it once the run is deleted.
        let checksums = check_rest(&object).await?;
        let groups = RowGroups::of(object.schema(), classifier);
        let mut columns = groups.columns();
        columns.extend(object.schema().field_with_name(EXTRA).is_ok().then(|| EXTRA.to_owned()));
        let columns: Vec<&str> = columns.iter().map(String::as_str).collect();
        let batches = object.read_columns(&columns).await?;
        let schema =
            batches.first().map(RecordBatch::schema).ok_or_else(|| damaged(&key, "it has no rows"))?;
        let rows = concat_batches(&schema, &batches)
            .map_err(|error| Error::bug("cannot join rows").because(error))?;
        let extra = StoredColumns(&rows).structs(EXTRA).ok().map(|extra| Arc::new(extra.clone()));
        let mut metadata = object.key_values();
        let mut constant = |name: &str| metadata.remove(&in_file(name)).unwrap_or_default();
        let (provider, precision) = (constant("provider"), constant("precision"));
        let arithmetic = Some(constant("arithmetic")).filter(|name| !name.is_empty());
        let embeddings = Vec::new();
        Ok(Self {
            number,
            object,
            checksums,
            groups,
            rows,
            extra,
            first: 0,
            embeddings,
            provider,
            precision,
            arithmetic,
        })
    }

    fn row(&self, row: usize, tile: &Tile, embedding: usize) -> Result<TileRow> {
        let other = || damaged(self.object.key(), &format!("row {row} is not that of tile {}", tile.id));
        if row >= self.rows.num_rows() {
            return Err(other());
        }
        let stored = self.groups.read(&self.rows, row);
        let mut stored = stored.map_err(|bad| damaged(self.object.key(), &bad.to_string()))?;
        if stored.tile_id != tile.id {
            return Err(other());
        }
        if let Outcome::Ok { embedding: own, .. } = &mut stored.outcome {
            *own = embedding;
        }
        Ok(stored)
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

/// Says that an object's rows cannot be copied.
pub(super) fn damaged(key: &str, what: &str) -> Error {
    Error::config(format!("{key} cannot be copied: {what}"))
        .hint("`tilefleet verify OUTPUT` shows which file is damaged; nothing was deleted")
}
