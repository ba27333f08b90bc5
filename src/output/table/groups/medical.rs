//! `modality`, `patient_key`, `study_key`, …: what an object says of a medical image, its ids as keys; for frames of DICOM
//! objects.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Date32Array, Float64Array, Float64Builder, ListArray,
    ListBuilder, StringArray, UInt16Array,
};
use arrow::datatypes::{DataType, Date32Type, Field, Float64Type, UInt16Type};

use super::{Column, ColumnGroup};
use crate::output::table::file::ShardRows;
use crate::output::table::stored_columns::{BadColumn, StoredColumns, flag_at, number_at, text_at};
use crate::vocabulary::error::Result;
use crate::vocabulary::outcome::{MedicalRow, TileRow};

/// Takes a text of a row.
type TextOf = fn(&MedicalRow) -> &Option<Arc<str>>;

/// The columns of texts, and where each comes from.
const TEXTS: [(&str, TextOf); 11] = [
    ("modality", |row| &row.modality),
    ("patient_key", |row| &row.patient_key),
    ("study_key", |row| &row.study_key),
    ("series_key", |row| &row.series_key),
    ("instance_key", |row| &row.instance_key),
    ("sop_class", |row| &row.sop_class),
    ("transfer_syntax", |row| &row.transfer_syntax),
    ("photometric", |row| &row.photometric),
    ("laterality", |row| &row.laterality),
    ("view_position", |row| &row.view_position),
    ("preset", |row| &row.preset),
];

#[derive(Debug)]
pub(super) struct MedicalGroup;

impl ColumnGroup for MedicalGroup {
    fn fields(&self) -> Vec<Field> {
        let texts = TEXTS.iter().map(|(name, _)| Field::new(*name, DataType::Utf8, true));
        let list = || DataType::List(Arc::new(Field::new_list_field(DataType::Float64, true)));
        let others = [
            ("bits_stored", DataType::UInt16),
            ("slice_position", DataType::Float64),
            ("pixel_spacing", list()),
            ("orientation", list()),
            ("study_date", DataType::Date32),
            ("mpp", DataType::Float64),
            ("may_be_burned_in", DataType::Boolean),
        ];
        texts.chain(others.map(|(name, kind)| Field::new(name, kind, true))).collect()
    }

    fn columns<'a>(&self, shard: &ShardRows<'a>) -> Result<Vec<Column<'a>>> {
        let rows = || shard.rows.iter().map(|row| row.medical.as_deref());
        let texts = TEXTS.iter().map(|(_, of)| {
            Column::of(rows().map(|row| row.and_then(|row| of(row).as_deref())).collect::<StringArray>())
        });
        let number = |of: fn(&MedicalRow) -> Option<f64>| {
            Column::of(rows().map(|row| row.and_then(of)).collect::<Float64Array>())
        };
        let others = [
            Column::of(rows().map(|row| row?.bits_stored).collect::<UInt16Array>()),
            number(|row| row.slice_position),
            Column::of(lists(rows().map(|row| Some(row?.pixel_spacing?.to_vec())))),
            Column::of(lists(rows().map(|row| Some(row?.orientation?.to_vec())))),
            Column::of(rows().map(|row| row?.study_date).collect::<Date32Array>()),
            number(|row| row.mpp),
            Column::of(rows().map(|row| row?.may_be_burned_in).collect::<BooleanArray>()),
        ];
        Ok(texts.chain(others).collect())
    }

    fn read_back(&self, stored: &StoredColumns<'_>, at: usize, row: &mut TileRow) -> Result<(), BadColumn> {
        let text = |name| Ok::<_, BadColumn>(text_at(stored.text(name)?, at).map(Into::into));
        let number = |name| Ok::<_, BadColumn>(number_at(stored.numbers::<Float64Type>(name)?, at));
        row.medical = Some(Box::new(MedicalRow {
            modality: text("modality")?,
            patient_key: text("patient_key")?,
            study_key: text("study_key")?,
            series_key: text("series_key")?,
            instance_key: text("instance_key")?,
            sop_class: text("sop_class")?,
            transfer_syntax: text("transfer_syntax")?,
            photometric: text("photometric")?,
            laterality: text("laterality")?,
            view_position: text("view_position")?,
            preset: text("preset")?,
            bits_stored: number_at(stored.numbers::<UInt16Type>("bits_stored")?, at),
            slice_position: number("slice_position")?,
            pixel_spacing: list_at(*stored, "pixel_spacing", at)?,
            orientation: list_at(*stored, "orientation", at)?,
            study_date: number_at(stored.numbers::<Date32Type>("study_date")?, at),
            mpp: number("mpp")?,
            may_be_burned_in: flag_at(stored.flags("may_be_burned_in")?, at),
            tags: Arc::default(),
        }));
        Ok(())
    }
}

fn lists(rows: impl Iterator<Item = Option<Vec<f64>>>) -> ListArray {
    let mut lists = ListBuilder::new(Float64Builder::new());
    for row in rows {
        match row {
            Some(numbers) => {
                lists.values().append_slice(&numbers);
                lists.append(true);
            }
            None => lists.append(false),
        }
    }
    lists.finish()
}

/// Reads a list of so many numbers; `None` for null, and for another length.
fn list_at<const N: usize>(
    stored: StoredColumns<'_>,
    name: &str,
    at: usize,
) -> Result<Option<[f64; N]>, BadColumn> {
    let lists = stored.lists(name)?;
    if lists.is_null(at) {
        return Ok(None);
    }
    let numbers: ArrayRef = lists.value(at);
    let numbers = numbers.as_primitive_opt::<Float64Type>();
    Ok(numbers.and_then(|numbers| numbers.values().as_ref().try_into().ok()))
}
