//! `tile_id`, `source`, `source_version`, `shard`: which tile of which source.

use arrow::array::{Int32Array, StringArray};
use arrow::datatypes::{DataType, Field};

use super::{Column, ColumnGroup, int32};
use crate::output::table::file::ShardRows;
use crate::output::table::stored_columns::{BadColumn, StoredColumns, text_at, tile_id_at};
use crate::vocabulary::error::Result;
use crate::vocabulary::outcome::TileRow;

#[derive(Debug)]
pub(super) struct IdentityGroup;

impl ColumnGroup for IdentityGroup {
    fn fields(&self) -> Vec<Field> {
        vec![
            Field::new("tile_id", DataType::Utf8, false),
            Field::new("source", DataType::Utf8, false),
            Field::new("source_version", DataType::Utf8, true),
            Field::new("shard", DataType::Int32, false),
        ]
    }

    fn columns<'a>(&self, shard: &ShardRows<'a>) -> Result<Vec<Column<'a>>> {
        let rows = || shard.rows.iter();
        let versions = rows().map(|row| row.source_version.as_deref());
        Ok(vec![
            Column::of(StringArray::from_iter_values(rows().map(|row| row.tile_id.to_string()))),
            Column::of(StringArray::from_iter_values(rows().map(|row| row.source.name()))),
            Column::of(versions.collect::<StringArray>()),
            Column::of(Int32Array::from_value(int32("shard", shard.shard)?, shard.rows.len())),
        ])
    }

    fn read_back(&self, stored: &StoredColumns<'_>, at: usize, row: &mut TileRow) -> Result<(), BadColumn> {
        row.tile_id = tile_id_at(stored.text("tile_id")?, at)?;
        row.source = stored.text("source")?.value(at).into();
        row.source_version = text_at(stored.text("source_version")?, at).map(Into::into);
        Ok(())
    }
}
