//! `embedding`: the features of the tile, as the pages of [`crate::output::table`]'s own writer.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field};

use super::{Column, ColumnGroup};
use crate::config::EmbeddingType;
use crate::output::table::file::ShardRows;
use crate::vocabulary::error::Result;
use crate::vocabulary::outcome::{Outcome, TileRow};

#[derive(Debug)]
pub(super) struct EmbeddingGroup {
    pub(super) kind: EmbeddingType,
    pub(super) length: usize,
}

impl ColumnGroup for EmbeddingGroup {
    fn fields(&self) -> Vec<Field> {
        let element = match self.kind {
            EmbeddingType::Float32 => DataType::Float32,
            EmbeddingType::Float16 => DataType::Float16,
        };
        let length = i32::try_from(self.length).expect("embedding length fits, checked by the contract");
        let element = Arc::new(Field::new("element", element, false));
        vec![Field::new("embedding", DataType::FixedSizeList(element, length), true)]
    }

    fn columns<'a>(&self, shard: &ShardRows<'a>) -> Result<Vec<Column<'a>>> {
        if self.length == 0 {
            return Err(shard.wrong("the embedding has no values"));
        }
        let own = shard.rows.iter().map(|row| self.of_row(shard, row));
        Ok(vec![Column::Embedding(own.collect::<Result<_>>()?)])
    }
}

impl EmbeddingGroup {
    fn of_row<'a>(&self, shard: &ShardRows<'a>, row: &TileRow) -> Result<Option<&'a [f32]>> {
        let Outcome::Ok { embedding, .. } = row.outcome else { return Ok(None) };
        let start = embedding.saturating_mul(self.length);
        let values = shard.embeddings.get(start..start.saturating_add(self.length));
        values.map(Some).ok_or_else(|| {
            let count = shard.embeddings.len() / self.length;
            shard.wrong(&format!("embedding {embedding} of {count}"))
        })
    }
}
