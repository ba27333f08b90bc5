//! `level`, `frame`, `x`, `y`, `width`, `height`: which pixels of the source.

use arrow::array::Int32Array;
use arrow::datatypes::{DataType, Field, Int32Type};

use super::{Column, ColumnGroup, int32};
use crate::output::table::file::ShardRows;
use crate::output::table::stored_columns::{BadColumn, StoredColumns, number_at};
use crate::vocabulary::error::Result;
use crate::vocabulary::geometry::Window;
use crate::vocabulary::outcome::TileRow;

const EDGES: [&str; 4] = ["x", "y", "width", "height"];

#[derive(Debug)]
pub(super) struct WindowGroup;

impl ColumnGroup for WindowGroup {
    fn fields(&self) -> Vec<Field> {
        let whole_numbers = ["level", "frame"].map(|name| Field::new(name, DataType::Int32, false));
        let edges = EDGES.map(|name| Field::new(name, DataType::Int32, true));
        whole_numbers.into_iter().chain(edges).collect()
    }

    fn columns<'a>(&self, shard: &ShardRows<'a>) -> Result<Vec<Column<'a>>> {
        let rows = shard.rows;
        Ok(vec![
            whole_numbers(rows, "level", |row| row.level)?,
            whole_numbers(rows, "frame", |row| row.frame)?,
            edges(rows, "x", |window| window.x)?,
            edges(rows, "y", |window| window.y)?,
            edges(rows, "width", |window| window.width)?,
            edges(rows, "height", |window| window.height)?,
        ])
    }

    fn read_back(&self, stored: &StoredColumns<'_>, at: usize, row: &mut TileRow) -> Result<(), BadColumn> {
        row.level = stored.numbers::<Int32Type>("level")?.value(at) as u32;
        row.frame = stored.numbers::<Int32Type>("frame")?.value(at) as u32;
        let mut edges = [None; 4];
        for (edge, name) in edges.iter_mut().zip(EDGES) {
            *edge = number_at(stored.numbers::<Int32Type>(name)?, at).map(|edge| edge as u32);
        }
        row.window = match edges {
            [Some(x), Some(y), Some(width), Some(height)] => Some(Window { x, y, width, height }),
            _ => None,
        };
        Ok(())
    }
}

fn whole_numbers<'a>(rows: &[TileRow], name: &str, number: fn(&TileRow) -> u32) -> Result<Column<'a>> {
    let numbers = rows.iter().map(|row| int32(name, number(row)));
    Ok(Column::of(Int32Array::from(numbers.collect::<Result<Vec<i32>>>()?)))
}

fn edges<'a>(rows: &[TileRow], name: &str, edge: fn(Window) -> u32) -> Result<Column<'a>> {
    let edges = rows.iter().map(|row| row.window.map(|window| int32(name, edge(window))).transpose());
    Ok(Column::of(edges.collect::<Result<Int32Array>>()?))
}
