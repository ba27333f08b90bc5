//! The groups of columns that a table is made of, in its order.
//!
//! ```text
//! identity  window  outcome  prediction  embedding  extra?   geo? medical? tags?
//! └──────────────── every table ───────────────────┘ manifest └ what the sources are ┘
//! ```
//!
//! A group knows its fields, makes its columns of the rows of a shard, says what belongs into the file's metadata, and
//! reads its columns back. A new one is a file here, a line in `domains_of` and in `domains_in`, and a field of [`TileRow`]; `tests` holds the
//! contract that all of them keep.

mod embedding;
mod extra;
mod geo;
mod identity;
mod medical;
mod outcome;
mod prediction;
mod tags;
#[cfg(test)]
mod tests;
mod window;

use std::fmt;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch};
use arrow::datatypes::{Field, Schema};

use self::embedding::EmbeddingGroup;
use self::extra::ExtraGroup;
use self::geo::GeoGroup;
pub use self::geo::{GEO_KEY, describe as describe_geometry, geometry_type};
use self::identity::IdentityGroup;
use self::medical::MedicalGroup;
use self::outcome::OutcomeGroup;
use self::prediction::PredictionGroup;
use self::tags::TagsGroup;
use self::window::WindowGroup;
use super::file::ShardRows;
use super::schema::TableSpec;
use super::stored_columns::{BadColumn, StoredColumns};
use crate::config::{Grid, Pipeline};
use crate::vocabulary::error::{Error, Result};
use crate::vocabulary::outcome::{Outcome, TileRow};
use crate::vocabulary::reason::{Reason, Rejection};
use crate::vocabulary::tile_id::TileId;

/// Columns that belong together.
pub trait ColumnGroup: fmt::Debug + Send + Sync {
    /// Returns its fields in the order of the table. A group whose first field is missing is not in a table.
    fn fields(&self) -> Vec<Field>;

    /// Makes its columns, one per field, of all rows of a shard.
    ///
    /// # Errors
    ///
    /// [`crate::vocabulary::error::Kind::Bug`] if the rows do not fit: they come from our own pipeline.
    fn columns<'a>(&self, shard: &ShardRows<'a>) -> Result<Vec<Column<'a>>>;

    /// Returns the file metadata that its readers need, keys as other tools know them.
    fn metadata(&self, _shard: &ShardRows<'_>) -> Vec<(String, String)> {
        Vec::new()
    }

    /// Sets what the group's columns say of one row; nothing, if a row does not hold it (the embedding, the manifest's
    /// columns).
    ///
    /// # Errors
    ///
    /// Which column is missing, of another type, or has a value that this version does not know.
    fn read_back(
        &self,
        _stored: &StoredColumns<'_>,
        _at: usize,
        _row: &mut TileRow,
    ) -> Result<(), BadColumn> {
        Ok(())
    }
}

/// One top-level column of a whole shard.
pub enum Column<'a> {
    /// As Arrow has it.
    Array(ArrayRef),
    /// Each row's embedding, or null.
    Embedding(Vec<Option<&'a [f32]>>),
}

impl Column<'_> {
    fn of(array: impl Array + 'static) -> Self {
        Self::Array(Arc::new(array))
    }
}

/// Returns the groups of a table in its order.
pub(super) fn groups(spec: &TableSpec) -> Vec<Arc<dyn ColumnGroup>> {
    let (labels, top_k) = (spec.labels.clone(), spec.top_k);
    let mut groups = of_each_row(PredictionGroup { classifier: spec.classifier, labels, top_k });
    groups.push(Arc::new(EmbeddingGroup { kind: spec.embedding_type, length: spec.embedding_length }));
    groups.push(Arc::new(ExtraGroup { fields: spec.extra.clone() }));
    groups.extend(spec.domains.iter().cloned());
    groups
}

fn of_each_row(predictions: PredictionGroup) -> Vec<Arc<dyn ColumnGroup>> {
    vec![Arc::new(IdentityGroup), Arc::new(WindowGroup), Arc::new(OutcomeGroup), Arc::new(predictions)]
}

/// Returns the groups of the table of a pipeline that only tables of some kinds of sources have.
pub(super) fn domains_of(pipeline: &Pipeline) -> Vec<Arc<dyn ColumnGroup>> {
    match &pipeline.grid {
        Grid::Whole => Vec::new(),
        // They lie on the Earth.
        Grid::Windows(_) => vec![Arc::new(GeoGroup)],
        Grid::Frames(_) => {
            let kept = pipeline.privacy.iter().filter_map(|privacy| TagsGroup::of(&privacy.keep_tags));
            let kept = kept.map(|group| Arc::new(group) as Arc<dyn ColumnGroup>);
            std::iter::once(Arc::new(MedicalGroup) as Arc<dyn ColumnGroup>).chain(kept).collect()
        }
    }
}

/// Returns those that a stored table has.
fn domains_in(schema: &Schema) -> Vec<Arc<dyn ColumnGroup>> {
    let is_stored = |group: &Arc<dyn ColumnGroup>| {
        group.fields().first().is_some_and(|field| schema.field_with_name(field.name()).is_ok())
    };
    let always: [Arc<dyn ColumnGroup>; 2] = [Arc::new(GeoGroup), Arc::new(MedicalGroup)];
    let kept = TagsGroup::stored_in(schema).map(|group| Arc::new(group) as Arc<dyn ColumnGroup>);
    always.into_iter().filter(is_stored).chain(kept).collect()
}

/// Reads rows of a stored table back: all but their embeddings and the manifest's columns.
#[derive(Debug)]
pub struct RowGroups {
    groups: Vec<Arc<dyn ColumnGroup>>,
    /// What every row starts as. A row's tile id is a hash, so it is made once and not per row.
    blank: TileRow,
}

impl RowGroups {
    /// Returns the groups of a stored table.
    ///
    /// - `classifier`: whether its model has one
    #[must_use]
    pub fn of(schema: &Schema, classifier: bool) -> Self {
        let mut groups = of_each_row(PredictionGroup { classifier, labels: None, top_k: 0 });
        groups.extend(domains_in(schema));
        Self { groups, blank: blank() }
    }

    /// Returns the names of the columns that [`Self::read`] needs.
    #[must_use]
    pub fn columns(&self) -> Vec<String> {
        self.groups.iter().flat_map(|group| group.fields()).map(|field| field.name().clone()).collect()
    }

    /// Reads a row; which of its shard's embeddings is its own is not stored, and 0.
    ///
    /// # Errors
    ///
    /// As [`ColumnGroup::read_back`].
    pub fn read(&self, stored: &RecordBatch, at: usize) -> Result<TileRow, BadColumn> {
        let mut row = self.blank.clone();
        for group in &self.groups {
            group.read_back(&StoredColumns(stored), at, &mut row)?;
        }
        Ok(row)
    }
}

/// A row of which nothing is known yet.
fn blank() -> TileRow {
    TileRow {
        tile_id: TileId::of("", 0, 0, None),
        source: "".into(),
        source_version: None,
        level: 0,
        frame: 0,
        window: None,
        outcome: Outcome::Rejected(Rejection::new(Reason::Empty, "")),
        geo: None,
        medical: None,
    }
}

/// Returns a number as the table's signed integers have it.
fn int32(what: &str, number: u32) -> Result<i32> {
    i32::try_from(number).map_err(|_| Error::bug(format!("{what} {number} does not fit the table's Int32")))
}
