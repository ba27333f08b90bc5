//! The contract of a group of columns, and that each keeps it.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StructArray};
use arrow::array::{Int64Array, StringArray};
use arrow::datatypes::{DataType, Field, Fields, Schema};

use super::super::stored_columns::{BadColumn, StoredColumns};
use super::*;
use crate::config::EmbeddingType;
use crate::vocabulary::geometry::Window;
use crate::vocabulary::kept_tag::KeptTag;
use crate::vocabulary::outcome::{GeoRow, MedicalRow, Prediction};

/// Rows of all kinds, each with its part of a scene or without.
fn rows() -> Vec<TileRow> {
    let window = Window { x: 3, y: 0, width: 224, height: 112 };
    let prediction = Prediction { class_id: 7, score: 0.5, top_k: vec![(7, 0.5), (0, 0.25)] };
    let outcomes = [
        Outcome::Ok { detail: Some("jpeg named .png".into()), prediction: Some(prediction), embedding: 0 },
        Outcome::Skipped { reason: Reason::Nodata, detail: Some("98 % of it".into()) },
        Outcome::Skipped { reason: Reason::Clouds, detail: None },
        Outcome::Rejected(Rejection::new(Reason::Truncated, "ends in row 3")),
    ];
    let row = |(number, outcome): (u32, Outcome)| {
        let (source, window) = (format!("s3://scenes/{number}.tif"), (number != 1).then_some(window));
        TileRow {
            tile_id: TileId::of(&source, 2, number, window),
            source: source.into(),
            source_version: (number == 0).then(|| "etag".into()),
            level: 2,
            frame: number,
            window,
            outcome,
            geo: Some(Box::new(if number == 2 { GeoRow::default() } else { place(number) })),
            medical: Some(Box::new(if number == 2 { MedicalRow::default() } else { medical(number) })),
        }
    };
    (0..).zip(outcomes).map(row).collect()
}

fn medical(number: u32) -> MedicalRow {
    let text = |text: &str| Some(text.into());
    MedicalRow {
        modality: text("CT"),
        patient_key: text("4a4a"),
        study_key: text("5b"),
        series_key: None,
        instance_key: text("6c"),
        sop_class: text("1.2.840.10008.5.1.4.1.1.2"),
        transfer_syntax: text("1.2.840.10008.1.2.1"),
        photometric: text("MONOCHROME2"),
        bits_stored: Some(12),
        slice_position: Some(-1.5 * f64::from(number)),
        pixel_spacing: Some([0.5, 0.25]),
        orientation: Some([1.0, 0.0, 0.0, 0.0, 1.0, 0.0]),
        laterality: None,
        view_position: text("PA"),
        study_date: Some(-1),
        preset: text("display"),
        mpp: None,
        may_be_burned_in: Some(number == 1),
        tags: Arc::new(if number == 1 { BTreeMap::new() } else { [("KVP".into(), "120".into())].into() }),
    }
}

fn tags_group() -> TagsGroup {
    let kept = ["PatientAge", "KVP"].map(|name| KeptTag::of_people(name).unwrap());
    TagsGroup::of(&kept).unwrap()
}

fn place(number: u32) -> GeoRow {
    GeoRow {
        geometry: Some(vec![1, 3, 0, 0, 0, 0, 0, 0, 0]),
        bbox: Some([9.0, 49.5, 9.25, 50.0]),
        centre: Some([9.125, 49.75]),
        epsg: Some(32632),
        datetime: Some(-1_000_001),
        cell: Some("8a1f".into()),
        valid_fraction: Some(0.75),
        gsd: Some(10.0 + f64::from(number)),
        cloud_fraction: None,
    }
}

fn every_group() -> Vec<Arc<dyn ColumnGroup>> {
    let spec = TableSpec {
        embedding_length: 3,
        embedding_type: EmbeddingType::Float16,
        classifier: true,
        labels: None,
        top_k: 2,
        extra: Some(extra().fields().clone()),
        domains: vec![Arc::new(GeoGroup), Arc::new(MedicalGroup), Arc::new(tags_group())],
    };
    groups(&spec)
}

fn extra() -> StructArray {
    let sites: ArrayRef = Arc::new(StringArray::from(vec![Some("Kiel"), None, Some("Ulm"), Some("Ulm")]));
    StructArray::new(Fields::from(vec![Field::new("site", DataType::Utf8, true)]), vec![sites], None)
}

/// Checks what every group promises, with rows of all kinds.
fn check(group: &dyn ColumnGroup) {
    let (rows, extra) = (rows(), extra());
    let shard = ShardRows { shard: 42, rows: &rows, embeddings: &[1.0, 2.0, 3.0], extra: Some(&extra) };
    let (fields, columns) = (group.fields(), group.columns(&shard).unwrap());
    assert_eq!(fields.len(), columns.len(), "{group:?}: a column per field");
    for (field, column) in fields.iter().zip(&columns) {
        check_column(field, column, rows.len());
    }
    let none = ShardRows { shard: 42, rows: &[], embeddings: &[], extra: Some(&extra.slice(0, 0)) };
    assert_eq!(group.columns(&none).unwrap().len(), fields.len(), "{group:?}: of no rows, too");
    let keys = group.metadata(&shard).into_iter().map(|(key, _)| key);
    assert!(keys.into_iter().all(|key| !key.starts_with("tilefleet.")), "{group:?}: those are ours alone");
}

fn check_column(field: &Field, column: &Column<'_>, num_rows: usize) {
    match column {
        Column::Array(array) => {
            assert_eq!((array.data_type(), array.len()), (field.data_type(), num_rows), "{field}");
            assert!(field.is_nullable() || array.null_count() == 0, "{field} is null somewhere");
        }
        Column::Embedding(embeddings) => assert_eq!(embeddings.len(), num_rows),
    }
}

/// Checks that a group which rows hold reads back what it wrote, and nothing else of a row.
///
/// - `start`: the row without what the group reads
/// - `end`: the row with what it reads
fn check_read_back(group: &dyn ColumnGroup, start: fn(&TileRow) -> TileRow, end: fn(&TileRow) -> TileRow) {
    let rows = rows();
    let stored = stored(group, &rows);
    for (at, row) in rows.iter().enumerate() {
        let mut read = start(row);
        group.read_back(&StoredColumns(&stored), at, &mut read).unwrap();
        assert_eq!(read, end(row), "{group:?}");
    }
    // Each column that is missing or of another type is named.
    for (number, field) in group.fields().iter().enumerate() {
        let all: Vec<usize> = (0..stored.num_columns()).filter(|other| *other != number).collect();
        let without = stored.project(&all).unwrap();
        let outcome = group.read_back(&StoredColumns(&without), 0, &mut start(&rows[0]));
        let not_needed = ["shard", "label"].contains(&field.name().as_str());
        let missing = Err(BadColumn::Missing(field.name().clone()));
        assert_eq!(outcome, if not_needed { Ok(()) } else { missing });
    }
}

fn stored(group: &dyn ColumnGroup, rows: &[TileRow]) -> RecordBatch {
    let columns = group.columns(&ShardRows { shard: 1, rows, embeddings: &[], extra: None }).unwrap();
    let arrays = columns.into_iter().map(|column| match column {
        Column::Array(array) => array,
        Column::Embedding(_) => panic!("rows do not hold it"),
    });
    RecordBatch::try_new(Arc::new(Schema::new(group.fields())), arrays.collect()).unwrap()
}

#[test]
fn every_group_keeps_the_contract() {
    for group in every_group() {
        check(&*group);
    }
}

#[test]
fn what_rows_hold_is_read_back() {
    check_read_back(
        &IdentityGroup,
        |row| {
            let TileRow { tile_id, source, source_version, .. } = blank();
            TileRow { tile_id, source, source_version, ..row.clone() }
        },
        TileRow::clone,
    );
    check_read_back(
        &WindowGroup,
        |row| TileRow { level: 0, frame: 0, window: None, ..row.clone() },
        TileRow::clone,
    );
    let predictions = PredictionGroup { classifier: true, labels: None, top_k: 2 };
    check_read_back(&predictions, without_prediction, TileRow::clone);
    check_read_back(&GeoGroup, |row| TileRow { geo: None, ..row.clone() }, TileRow::clone);
    check_read_back(&MedicalGroup, |row| TileRow { medical: None, ..row.clone() }, without_tags);
    check_read_back(&tags_group(), without_tags, TileRow::clone);
}

fn without_tags(row: &TileRow) -> TileRow {
    let medical = row.medical.clone().map(|medical| MedicalRow { tags: Arc::default(), ..*medical });
    TileRow { medical: medical.map(Box::new), ..row.clone() }
}

fn without_prediction(row: &TileRow) -> TileRow {
    let mut row = row.clone();
    if let Outcome::Ok { prediction, .. } = &mut row.outcome {
        *prediction = None;
    }
    row
}

#[test]
fn outcomes_are_read_back_but_for_what_the_classifier_says() {
    let rows: Vec<TileRow> = rows().iter().map(without_prediction).collect();
    let stored = stored(&OutcomeGroup, &rows);
    for (at, row) in rows.iter().enumerate() {
        let mut read = TileRow { outcome: blank().outcome, ..row.clone() };
        OutcomeGroup.read_back(&StoredColumns(&stored), at, &mut read).unwrap();
        assert_eq!(&read, row);
    }
}

#[test]
fn what_only_later_versions_know_is_named() {
    let outcome = |status, reason| {
        outcome_of([Some(status), Some(reason), Some("")]).map(drop).map_err(|bad| bad.to_string())
    };
    let unknown = |column, value| {
        Err(format!("column `{column}` has the value `{value}`, which is unknown to this version"))
    };
    assert_eq!(outcome("postponed", "truncated"), unknown("status", "postponed"));
    assert_eq!(outcome("rejected", "too_blue"), unknown("reason", "too_blue"));
    assert_eq!(outcome("rejected", "gone"), Ok(()), "as builds before this one wrote it");
}

/// Reads back an outcome of which `status`, `reason` and `detail` are these.
fn outcome_of(values: [Option<&str>; 3]) -> Result<Outcome, BadColumn> {
    let columns = ["status", "reason", "detail"].into_iter().zip(values);
    let column = |(name, value)| (name, Arc::new(StringArray::from(vec![value])) as ArrayRef, true);
    let stored = RecordBatch::try_from_iter_with_nullable(columns.map(column)).unwrap();
    let mut row = blank();
    OutcomeGroup.read_back(&StoredColumns(&stored), 0, &mut row).map(|()| row.outcome)
}

/// Every reject is written with its particulars; a copy must not make an empty text of none.
#[test]
fn a_reject_without_its_particulars_is_refused() {
    let missing = Err(BadColumn::Missing("detail".to_owned()));
    assert_eq!(outcome_of([Some("rejected"), Some("truncated"), None]), missing);
    let skipped = Outcome::Skipped { reason: Reason::Clouds, detail: None };
    assert_eq!(outcome_of([Some("skipped"), Some("clouds"), None]), Ok(skipped));
}

/// A group that a test adds to a table: the second kind of a domain.
#[derive(Debug)]
struct Areas;

impl ColumnGroup for Areas {
    fn fields(&self) -> Vec<Field> {
        vec![Field::new("area_px", DataType::Int64, true)]
    }

    fn columns<'a>(&self, shard: &ShardRows<'a>) -> Result<Vec<Column<'a>>> {
        let area =
            |row: &TileRow| row.window.map(|window| i64::from(window.width) * i64::from(window.height));
        Ok(vec![Column::of(shard.rows.iter().map(area).collect::<Int64Array>())])
    }

    fn metadata(&self, _shard: &ShardRows<'_>) -> Vec<(String, String)> {
        vec![("area".into(), "pixels".into())]
    }
}

#[test]
fn a_table_has_the_groups_of_its_domains_and_their_metadata() {
    check(&Areas);
    let spec = TableSpec {
        embedding_length: 1,
        embedding_type: EmbeddingType::Float32,
        classifier: true,
        labels: None,
        top_k: 2,
        extra: None,
        domains: vec![Arc::new(Areas), Arc::new(GeoGroup), Arc::new(MedicalGroup), Arc::new(tags_group())],
    };
    let rows = rows();
    let shard = ShardRows { shard: 0, rows: &rows, embeddings: &[1.0], extra: None };
    let file = super::super::encode(&spec, &shard, &[]).unwrap();
    let file = parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder::try_new(file).unwrap();
    let keys = file.metadata().file_metadata().key_value_metadata().unwrap();
    assert!(["area", GEO_KEY].iter().all(|key| keys.iter().any(|pair| pair.key == **key)));
    let table = file.build().unwrap().next().unwrap().unwrap();
    let areas = table.column_by_name("area_px").unwrap();
    let expected: ArrayRef = Arc::new(Int64Array::from(vec![Some(25088), None, Some(25088), Some(25088)]));
    assert_eq!(areas, &expected);
    let groups = RowGroups::of(&table.schema(), true);
    let read: Vec<TileRow> = (0..rows.len()).map(|at| groups.read(&table, at).unwrap()).collect();
    assert_eq!(read, rows);
}
