//! The table as other people read it: `DataFusion`, pyarrow, `DuckDB`, Polars and pandas.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, StringArray, StructArray};
use arrow::compute::{cast, concat_batches};
use arrow::datatypes::{DataType, Field, Fields, Float32Type, Int64Type};
use datafusion::prelude::{ParquetReadOptions, SessionContext};
use half::f16;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::file::reader::{FileReader, SerializedFileReader};
use serde_json::{Value, json};
use tilefleet::output::table::{EmbeddingType, ShardRows, TableSpec, encode, schema};
use tilefleet::vocabulary::geometry::Window;
use tilefleet::vocabulary::identity::SourceUri;
use tilefleet::vocabulary::outcome::{Outcome, Prediction, TileRow};
use tilefleet::vocabulary::reason::{Reason, Rejection};
use tilefleet::vocabulary::tile_id::TileId;

use crate::support;

const LENGTH: usize = 96;
const ROWS_PER_SHARD: usize = 100;
const LABELS: [&str; 3] = ["river", "forest", "town"];
const RUNS: [&str; 2] = ["tiles-0123abcd-1", "tiles-0123abcd-2"];

/// A table of two runs with one and two shards, and what it holds.
struct Fixture {
    folder: tempfile::TempDir,
    expected: Vec<Value>,
    kind: EmbeddingType,
}

impl Fixture {
    fn write(kind: EmbeddingType) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut expected = Vec::new();
        for (run, shard) in [(RUNS[0], 0), (RUNS[1], 0), (RUNS[1], 1)] {
            let rows: Vec<TileRow> = (0..ROWS_PER_SHARD).map(|number| row(shard, number)).collect();
            let embeddings: Vec<f32> = (0..ROWS_PER_SHARD * LENGTH).map(value).collect();
            let extra = extra();
            // Differs from file to file, as timings do: readers must not take it for another schema.
            let provenance = [("attempt".to_owned(), format!("{run} {shard}"))];
            let whole = ShardRows { shard, rows: &rows, embeddings: &embeddings, extra: Some(&extra) };
            let file = encode(&spec(kind), &whole, &provenance).unwrap();
            let place = folder.path().join("tiles").join(format!("run={run}"));
            fs::create_dir_all(&place).unwrap();
            fs::write(place.join(format!("shard-{shard:08}.parquet")), file).unwrap();
            expected
                .extend(rows.iter().enumerate().map(|(number, row)| expect(kind, run, shard, number, row)));
        }
        let key = |row: &Value| format!("{} {}", row["run"], row["tile_id"]);
        expected.sort_by_key(key);
        Self { folder, expected, kind }
    }

    fn table(&self) -> PathBuf {
        self.folder.path().join("tiles")
    }

    fn files(&self) -> Vec<PathBuf> {
        let runs = fs::read_dir(self.table()).unwrap().map(|run| run.unwrap().path());
        runs.flat_map(|run| fs::read_dir(run).unwrap()).map(|file| file.unwrap().path()).collect()
    }

    fn count(&self, status: &str) -> usize {
        self.expected.iter().filter(|row| row["status"] == status).count()
    }
}

fn spec(embedding_type: EmbeddingType) -> TableSpec {
    TableSpec {
        embedding_length: LENGTH,
        embedding_type,
        classifier: true,
        labels: Some(LABELS.map(String::from).to_vec().into()),
        top_k: 2,
        extra: Some(extra().fields().clone()),
        domains: Vec::new(),
    }
}

fn extra() -> StructArray {
    let sites =
        (0..ROWS_PER_SHARD).map(|number| (!number.is_multiple_of(5)).then(|| format!("site {number}")));
    let columns: Vec<ArrayRef> =
        vec![Arc::new(sites.collect::<StringArray>()), Arc::new(Int64Array::from_iter_values(0..100))];
    let fields =
        vec![Field::new("site", DataType::Utf8, true), Field::new("visit number", DataType::Int64, true)];
    StructArray::new(Fields::from(fields), columns, None)
}

fn value(place: usize) -> f32 {
    (place * 7919 % 1000) as f32 / 999.0
}

/// Three kinds of outcome; embeddings are used from the last to the first, so order matters.
fn row(shard: u32, number: usize) -> TileRow {
    let source: SourceUri = format!("s3://scenes/{shard}/{number:03}.jpg").into();
    let window =
        number.is_multiple_of(2).then_some(Window { x: 224 * number as u32, y: 0, width: 224, height: 224 });
    let outcome = match number % 10 {
        3 => Outcome::Rejected(Rejection::new(Reason::Truncated, "ends in row 7")),
        6 => Outcome::Skipped { reason: Reason::Empty, detail: None },
        _ => {
            let best = (number % 3) as u32;
            let top_k = vec![(best, 0.75), ((best + 1) % 3, 0.25)];
            let prediction = Some(Prediction { class_id: best, score: 0.75, top_k });
            Outcome::Ok { detail: None, prediction, embedding: ROWS_PER_SHARD - 1 - number }
        }
    };
    let tile_id = TileId::of(&source.name(), 0, 0, window);
    let source_version = Some(Arc::from("\"etag\""));
    TileRow { tile_id, source, source_version, level: 0, frame: 0, window, outcome, geo: None, medical: None }
}

/// The row as a reader should see it.
fn expect(kind: EmbeddingType, run: &str, shard: u32, number: usize, row: &TileRow) -> Value {
    let (status, reason, detail) = match &row.outcome {
        Outcome::Ok { .. } => ("ok", None, None),
        Outcome::Skipped { reason, .. } => ("skipped", Some(reason.code()), None),
        Outcome::Rejected(rejection) => ("rejected", Some("truncated"), Some(rejection.detail.as_str())),
    };
    let stored = |value: f32| match kind {
        EmbeddingType::Float32 => value,
        EmbeddingType::Float16 => f16::from_f32(value).to_f32(),
    };
    let own = (ROWS_PER_SHARD - 1 - number) * LENGTH;
    let embedding: Vec<f32> = (own..own + LENGTH).map(|place| stored(value(place))).collect();
    let ok = status == "ok";
    let best = number % 3;
    let entry = |id: usize, score: f32| json!({ "class_id": id, "label": LABELS[id], "score": score });
    json!({
        "run": run,
        "tile_id": row.tile_id.to_string(),
        "source": row.source,
        "source_version": "\"etag\"",
        "shard": shard,
        "level": 0,
        "x": row.window.map(|window| window.x),
        "height": row.window.map(|window| window.height),
        "status": status,
        "reason": reason,
        "detail": detail,
        "class_id": ok.then_some(best),
        "label": ok.then(|| LABELS[best]),
        "score": ok.then_some(0.75),
        "top_k": ok.then(|| [entry(best, 0.75), entry((best + 1) % 3, 0.25)]),
        "embedding": ok.then_some(embedding),
        "extra": { "site": (!number.is_multiple_of(5)).then(|| format!("site {number}")), "visit number": number },
    })
}

async fn query(table: &Path, sql: &str) -> RecordBatch {
    let session = SessionContext::new();
    let options =
        ParquetReadOptions::default().table_partition_cols(vec![("run".to_owned(), DataType::Utf8)]);
    session.register_parquet("tiles", table.to_str().unwrap(), options).await.unwrap();
    let answer = session.sql(sql).await.unwrap();
    let batches = answer.collect().await.unwrap();
    concat_batches(&batches[0].schema(), &batches).unwrap()
}

fn integers(answer: &RecordBatch, column: usize) -> Vec<i64> {
    answer.column(column).as_primitive::<Int64Type>().values().to_vec()
}

#[tokio::test]
async fn datafusion_counts_rows_by_run_and_status() {
    let fixture = Fixture::write(EmbeddingType::Float32);
    let sql = "select run, count(*), count(*) filter (where status = 'rejected'), count(embedding) \
               from tiles group by run order by run";
    let answer = query(&fixture.table(), sql).await;
    let runs = cast(answer.column(0), &DataType::Utf8).unwrap();
    assert_eq!(runs.as_string::<i32>().iter().flatten().collect::<Vec<_>>(), RUNS);
    assert_eq!(integers(&answer, 1), [100, 200]);
    assert_eq!(integers(&answer, 2), [10, 20]);
    assert_eq!(integers(&answer, 3), [80, 160]);
    assert_eq!((fixture.count("ok"), fixture.count("skipped")), (240, 30));
}

#[tokio::test]
async fn datafusion_finds_a_tile_with_all_its_values() {
    for kind in [EmbeddingType::Float32, EmbeddingType::Float16] {
        let fixture = Fixture::write(kind);
        let wanted =
            fixture.expected.iter().find(|row| row["status"] == "ok" && row["run"] == RUNS[1]).unwrap();
        let sql = format!(
            "select embedding, top_k, extra from tiles where run = '{}' and tile_id = '{}'",
            RUNS[1],
            wanted["tile_id"].as_str().unwrap()
        );
        let answer = query(&fixture.table(), &sql).await;
        assert_eq!(answer.num_rows(), 1);
        let floats = cast(&answer.column(0).as_fixed_size_list().value(0), &DataType::Float32).unwrap();
        assert_eq!(json!(floats.as_primitive::<Float32Type>().values().to_vec()), wanted["embedding"]);

        // DataFusion may hand out strings as views; what they say is the same.
        let schema = schema(&spec(kind));
        let column = |name: &str, index: usize| {
            cast(answer.column(index), schema.field_with_name(name).unwrap().data_type()).unwrap()
        };
        let top_k = column("top_k", 1).as_list::<i32>().value(0);
        let labels = top_k.as_struct().column_by_name("label").unwrap().as_string::<i32>().clone();
        let scores = top_k.as_struct().column_by_name("score").unwrap().as_primitive::<Float32Type>();
        assert_eq!(
            json!([labels.value(0), labels.value(1)]),
            json!([&wanted["label"], &wanted["top_k"][1]["label"]])
        );
        assert_eq!(scores.values(), &[0.75, 0.25]);
        let extra = column("extra", 2);
        let visits = extra.as_struct().column_by_name("visit number").unwrap().as_primitive::<Int64Type>();
        assert_eq!(json!(visits.value(0)), wanted["extra"]["visit number"]);
    }
}

#[test]
fn pyarrow_duckdb_polars_and_pandas_read_what_was_written() {
    let Some(python) = support::python() else { return };
    for kind in [EmbeddingType::Float32, EmbeddingType::Float16] {
        let fixture = Fixture::write(kind);
        let expected = fixture.folder.path().join("expected.json");
        let name = if kind == EmbeddingType::Float32 { "float" } else { "halffloat" };
        let content = json!({ "embedding_type": name, "embedding_length": LENGTH, "rows": fixture.expected });
        fs::write(&expected, content.to_string()).unwrap();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/oracles/read_table.py");
        let output = Command::new(&python).arg(script).arg(fixture.table()).arg(&expected).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{:?}: {said}", fixture.kind);
        println!("{}", said.trim());
    }
}

#[test]
fn readers_can_prune_by_the_metadata() {
    let fixture = Fixture::write(EmbeddingType::Float32);
    for file in fixture.files() {
        let reader = SerializedFileReader::new(fs::File::open(&file).unwrap()).unwrap();
        let group = reader.metadata().row_group(0);
        let chunk =
            |path: &str| group.columns().iter().find(|chunk| chunk.column_path().string() == path).unwrap();
        let status = chunk("status").statistics().unwrap();
        assert_eq!(status.min_bytes_opt(), Some("ok".as_bytes()));
        assert_eq!(status.max_bytes_opt(), Some("skipped".as_bytes()));
        assert_eq!(chunk("class_id").statistics().unwrap().null_count_opt(), Some(20));
        assert!(chunk("reason").column_index_offset().is_some());
        let embedding = chunk("embedding.list.element");
        let statistics = embedding.statistics().unwrap();
        assert_eq!((statistics.null_count_opt(), statistics.min_bytes_opt()), (Some(20), None));
        assert!(embedding.dictionary_page_offset().is_none());
        assert!(embedding.offset_index_offset().is_some());

        let builder = ParquetRecordBatchReaderBuilder::try_new(fs::File::open(&file).unwrap()).unwrap();
        let filter = builder.get_row_group_column_bloom_filter(0, 0).unwrap().unwrap();
        let run = file.parent().unwrap().file_name().unwrap().to_str().unwrap();
        let number = file.file_stem().unwrap().to_str().unwrap().strip_prefix("shard-").unwrap();
        let shard: u32 = number.parse().unwrap();
        assert!(run.starts_with("run=tiles-0123abcd-"));
        for number in 0..ROWS_PER_SHARD {
            assert!(filter.check(&row(shard, number).tile_id.to_string().as_str()));
        }
    }
}
