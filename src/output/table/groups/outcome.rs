//! `status`, `reason`, `detail`: what became of the tile.

use arrow::array::StringArray;
use arrow::datatypes::{DataType, Field};

use super::{Column, ColumnGroup};
use crate::output::table::file::ShardRows;
use crate::output::table::stored_columns::{BadColumn, StoredColumns, text_at};
use crate::vocabulary::error::Result;
use crate::vocabulary::outcome::{Outcome, TileRow};
use crate::vocabulary::reason::{Reason, Rejection};

#[derive(Debug)]
pub(super) struct OutcomeGroup;

impl ColumnGroup for OutcomeGroup {
    fn fields(&self) -> Vec<Field> {
        vec![
            Field::new("status", DataType::Utf8, false),
            Field::new("reason", DataType::Utf8, true),
            Field::new("detail", DataType::Utf8, true),
        ]
    }

    fn columns<'a>(&self, shard: &ShardRows<'a>) -> Result<Vec<Column<'a>>> {
        let outcomes = || shard.rows.iter().map(|row| &row.outcome);
        let reasons = outcomes().map(|outcome| reason(outcome).map(Reason::code));
        Ok(vec![
            Column::of(StringArray::from_iter_values(outcomes().map(status))),
            Column::of(reasons.collect::<StringArray>()),
            Column::of(outcomes().map(detail).collect::<StringArray>()),
        ])
    }

    fn read_back(&self, stored: &StoredColumns<'_>, at: usize, row: &mut TileRow) -> Result<(), BadColumn> {
        let detail = text_at(stored.text("detail")?, at).map(str::to_owned);
        let code = text_at(stored.text("reason")?, at).unwrap_or_default();
        let unknown =
            |column: &'static str, value: &str| BadColumn::Unknown { column, value: value.to_owned() };
        let reason = || Reason::of_code(code).ok_or_else(|| unknown("reason", code));
        row.outcome = match stored.text("status")?.value(at) {
            "ok" => Outcome::Ok { detail, prediction: None, embedding: 0 },
            "skipped" => Outcome::Skipped { reason: reason()?, detail },
            // A reject always has its particulars, so a null there is not what was written.
            "rejected" => {
                let detail = detail.ok_or_else(|| BadColumn::Missing("detail".to_owned()))?;
                Outcome::Rejected(Rejection::new(reason()?, detail))
            }
            other => return Err(unknown("status", other)),
        };
        Ok(())
    }
}

fn status(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Ok { .. } => "ok",
        Outcome::Skipped { .. } => "skipped",
        Outcome::Rejected(_) => "rejected",
    }
}

fn reason(outcome: &Outcome) -> Option<Reason> {
    match outcome {
        Outcome::Ok { .. } => None,
        Outcome::Skipped { reason, .. } => Some(*reason),
        Outcome::Rejected(rejection) => Some(rejection.reason),
    }
}

fn detail(outcome: &Outcome) -> Option<&str> {
    match outcome {
        Outcome::Ok { detail, .. } | Outcome::Skipped { detail, .. } => detail.as_deref(),
        Outcome::Rejected(rejection) => Some(&rejection.detail),
    }
}
