//! `tags`: attributes of DICOM objects that `privacy.keep_tags` names, as one struct; only where there are any.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, StringArray, StructArray};
use arrow::datatypes::{DataType, Field, Fields, Schema};

use super::{Column, ColumnGroup};
use crate::output::table::file::ShardRows;
use crate::output::table::stored_columns::{BadColumn, StoredColumns, text_at};
use crate::vocabulary::error::Result;
use crate::vocabulary::kept_tag::KeptTag;
use crate::vocabulary::outcome::TileRow;

const NAME: &str = "tags";

#[derive(Debug)]
pub(super) struct TagsGroup {
    /// One per attribute, by keyword.
    fields: Fields,
}

impl TagsGroup {
    /// Returns the group of a table that keeps these; `None` if there are none.
    pub(super) fn of(kept: &[KeptTag]) -> Option<Self> {
        let field = |kept: &KeptTag| Field::new(kept.keyword, DataType::Utf8, true);
        Some(Self { fields: kept.iter().map(field).collect() }).filter(|_| !kept.is_empty())
    }

    /// Returns the group of a stored table; `None` if it has no such column.
    pub(super) fn stored_in(schema: &Schema) -> Option<Self> {
        match schema.field_with_name(NAME).ok()?.data_type() {
            DataType::Struct(fields) => Some(Self { fields: fields.clone() }),
            _ => None,
        }
    }
}

impl ColumnGroup for TagsGroup {
    fn fields(&self) -> Vec<Field> {
        vec![Field::new(NAME, DataType::Struct(self.fields.clone()), true)]
    }

    fn columns<'a>(&self, shard: &ShardRows<'a>) -> Result<Vec<Column<'a>>> {
        let rows = || shard.rows.iter().map(|row| row.medical.as_ref().map(|medical| &medical.tags));
        let values = self.fields.iter().map(|field| {
            let value = |tags: Option<&'a Arc<BTreeMap<String, String>>>| tags?.get(field.name());
            Arc::new(rows().map(value).collect::<StringArray>()) as ArrayRef
        });
        let is_told = rows().map(|tags| tags.is_some_and(|tags| !tags.is_empty())).collect::<Vec<_>>();
        let tags = StructArray::try_new(self.fields.clone(), values.collect(), Some(is_told.into()));
        Ok(vec![Column::of(tags.map_err(|error| shard.wrong(&error.to_string()))?)])
    }

    fn read_back(&self, stored: &StoredColumns<'_>, at: usize, row: &mut TileRow) -> Result<(), BadColumn> {
        let tags = stored.structs(NAME)?;
        let mut told = BTreeMap::new();
        for field in self.fields.iter().filter(|_| tags.is_valid(at)) {
            let missing = || BadColumn::Missing(format!("{NAME}.{}", field.name()));
            let values = tags.column_by_name(field.name()).ok_or_else(missing)?;
            let values = values.as_any().downcast_ref::<StringArray>().ok_or_else(missing)?;
            told.extend(text_at(values, at).map(|value| (field.name().clone(), value.to_owned())));
        }
        row.medical.get_or_insert_default().tags = Arc::new(told);
        Ok(())
    }
}
