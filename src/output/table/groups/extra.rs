//! `extra`: the manifest's additional columns as one struct, only where there are any.

use arrow::array::{Array, StructArray};
use arrow::datatypes::{DataType, Field, Fields};

use super::{Column, ColumnGroup};
use crate::output::table::file::ShardRows;
use crate::vocabulary::error::Result;

#[derive(Debug)]
pub(super) struct ExtraGroup {
    pub(super) fields: Option<Fields>,
}

impl ColumnGroup for ExtraGroup {
    fn fields(&self) -> Vec<Field> {
        let fields = self.fields.iter();
        fields.map(|fields| Field::new("extra", DataType::Struct(fields.clone()), true)).collect()
    }

    fn columns<'a>(&self, shard: &ShardRows<'a>) -> Result<Vec<Column<'a>>> {
        let found = shard.extra.map(StructArray::fields);
        if found != self.fields.as_ref() {
            let what = format!("extra columns are {found:?}, the table has {:?}", self.fields);
            return Err(shard.wrong(&what));
        }
        if let Some(extra) = shard.extra.filter(|extra| extra.len() != shard.rows.len()) {
            let (rows, extra) = (shard.rows.len(), extra.len());
            return Err(shard.wrong(&format!("{rows} rows, but {extra} rows of extra columns")));
        }
        Ok(shard.extra.map(|extra| Column::of(extra.clone())).into_iter().collect())
    }
}
