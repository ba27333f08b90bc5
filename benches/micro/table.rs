//! Encode, commit and compare.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use arrow::array::{Array, RecordBatch};
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Field};
use bytes::Bytes;
use datafusion::common::ScalarValue;
use datafusion::common::config::ConfigOptions;
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use tilefleet::answers::query::functions::CosineSimilarity;
use tilefleet::input::storage::{ObjectUri, Put, Storage, StorageOptions};
use tilefleet::output::Output;
use tilefleet::output::table::{EmbeddingType, ShardRows, TableSpec, encode};
use tilefleet::vocabulary::outcome::{Outcome, Prediction, TileRow};
use tilefleet::vocabulary::process::Process;
use tilefleet::vocabulary::reason::{Reason, Rejection};
use tilefleet::vocabulary::tile_id::TileId;

use super::{ROUNDS, Random, median};

const ROWS: usize = 4096;
const LENGTH: usize = 2048;
const CLASSES: u32 = 1000;

pub(super) fn measure() {
    let shard = Shard::new(LENGTH);
    let (file, batch) = (shard.encode(), shard.batch());
    println!("a shard: {ROWS} rows, {LENGTH} floats, {:.1} MB", file.len() as f64 / 1e6);
    encoding(&shard, &batch);
    committing(&file);
    comparing(&batch);
}

/// Whole shards, and what of the time goes into the embeddings: the same rows with one float cost the rest.
fn encoding(shard: &Shard, batch: &RecordBatch) {
    let narrow = Shard::new(1);
    let narrow_batch = narrow.batch();
    let mut seconds: [Vec<f64>; 4] = Default::default();
    for _ in 0..ROUNDS {
        seconds[0].push(timed(|| shard.encode()));
        seconds[1].push(timed(|| as_others_do(batch)));
        seconds[2].push(timed(|| narrow.encode()));
        seconds[3].push(timed(|| as_others_do(&narrow_batch)));
    }
    let embeddings = |whole: &[f64], rest: &[f64]| -> Vec<f64> {
        whole.iter().zip(rest).map(|(whole, rest)| whole - rest).collect()
    };
    let [ours, theirs, our_rest, their_rest] = &seconds;
    compare("whole shard", ours, theirs);
    compare("embeddings alone", &embeddings(ours, our_rest), &embeddings(theirs, their_rest));
}

fn compare(what: &str, ours: &[f64], theirs: &[f64]) {
    let rate = |seconds: &[f64]| {
        let mut rates: Vec<f64> = seconds.iter().map(|seconds| megabytes() / seconds).collect();
        median(&mut rates)
    };
    let mut ratios: Vec<f64> = ours.iter().zip(theirs).map(|(ours, theirs)| theirs / ours).collect();
    println!(
        "encode, {what}: {:.0} MB/s, parquet-rs with its defaults {:.0} MB/s, ratio {:.2}",
        rate(ours),
        rate(theirs),
        median(&mut ratios)
    );
}

fn megabytes() -> f64 {
    (ROWS * LENGTH * size_of::<f32>()) as f64 / 1e6
}

fn timed<T>(work: impl FnOnce() -> T) -> f64 {
    let start = Instant::now();
    black_box(work());
    start.elapsed().as_secs_f64()
}

fn as_others_do(batch: &RecordBatch) -> Vec<u8> {
    let mut writer =
        ArrowWriter::try_new(Vec::new(), batch.schema(), None).expect("columns that Parquet has");
    writer.write(batch).expect("memory takes everything");
    writer.into_inner().expect("memory takes everything")
}

fn committing(file: &Bytes) {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let uri = ObjectUri::parse(&folder.path().display().to_string()).expect("a local path");
    let storage = Storage::new(StorageOptions::default()).expect("defaults are consistent");
    let output = Output::open(&storage, &uri, Process::real());
    let runtime = tokio::runtime::Runtime::new().expect("threads can be started");
    let mut rates: Vec<f64> = (0..ROUNDS)
        .map(|round| {
            let key = format!("{}/tiles/{round}.parquet", uri.key());
            let seconds = timed(|| {
                let put = runtime.block_on(output.bucket.put_new(&key, file.clone()));
                assert_eq!(put.expect("the disk has room"), Put::Created);
            });
            file.len() as f64 / 1e6 / seconds
        })
        .collect();
    println!("commit, local: {:.0} MB/s", median(&mut rates));
}

fn comparing(batch: &RecordBatch) {
    let embeddings = batch["embedding"].clone();
    let one = ScalarValue::try_from_array(&embeddings, 0).expect("the first row is ok");
    let float = Arc::new(Field::new("similarity", DataType::Float32, true));
    let field = Arc::new(Field::new("embedding", embeddings.data_type().clone(), true));
    let compare = || {
        CosineSimilarity::default().invoke_with_args(ScalarFunctionArgs {
            args: vec![ColumnarValue::Array(embeddings.clone()), ColumnarValue::Scalar(one.clone())],
            arg_fields: vec![field.clone(), field.clone()],
            number_rows: ROWS,
            return_field: float.clone(),
            config_options: Arc::new(ConfigOptions::default()),
        })
    };
    let Ok(ColumnarValue::Array(found)) = compare() else { panic!("a column has a similarity a row") };
    assert_eq!(found.null_count(), embeddings.null_count());
    let mut rates: Vec<f64> = (0..ROUNDS).map(|_| ROWS as f64 / 1e6 / timed(compare)).collect();
    println!("cosine_similarity, {LENGTH} floats to a constant: {:.2} million rows/s", median(&mut rates));
}

/// The rows of one shard.
struct Shard {
    spec: TableSpec,
    rows: Vec<TileRow>,
    embeddings: Vec<f32>,
}

impl Shard {
    fn new(embedding_length: usize) -> Self {
        let labels: Vec<String> = (0..CLASSES).map(|id| format!("class {id}")).collect();
        let spec = TableSpec {
            embedding_length,
            embedding_type: EmbeddingType::Float32,
            classifier: true,
            labels: Some(labels.into()),
            top_k: 5,
            extra: None,
            domains: Vec::new(),
        };
        let mut random = Random(1);
        let embeddings = (0..ROWS * embedding_length).map(|_| random.below(1 << 20) as f32 / 1e6).collect();
        Self { spec, rows: (0..ROWS).map(|number| row(&mut random, number)).collect(), embeddings }
    }

    fn encode(&self) -> Bytes {
        let Self { spec, rows, embeddings } = self;
        encode(spec, &ShardRows { shard: 7, rows, embeddings, extra: None }, &[]).expect("rows fit the spec")
    }

    /// The same table as one record batch.
    fn batch(&self) -> RecordBatch {
        let reader = ParquetRecordBatchReaderBuilder::try_new(self.encode()).expect("a whole file");
        let schema = reader.schema().clone();
        let batches: Result<Vec<_>, _> = reader.build().expect("a whole file").collect();
        concat_batches(&schema, &batches.expect("a whole file")).expect("one schema")
    }
}

fn row(random: &mut Random, number: usize) -> TileRow {
    let source: Arc<str> = format!("s3://scenes/2026/07/{number:07}.jpg").into();
    let outcome = if number % 100 == 99 {
        Outcome::Rejected(Rejection::new(Reason::Truncated, "ends in row 7"))
    } else {
        let class_id = random.below(CLASSES as usize) as u32;
        let score = random.below(1 << 20) as f32 / (1 << 20) as f32;
        let top_k = (0..5).map(|rank| ((class_id + rank) % CLASSES, score / (rank + 1) as f32)).collect();
        let prediction = Some(Prediction { class_id, score, top_k });
        Outcome::Ok { detail: None, prediction, embedding: number }
    };
    TileRow {
        geo: None,
        medical: None,
        tile_id: TileId::of(&source, 0, 0, None),
        source: source.into(),
        source_version: Some(format!("{number:032x}").into()),
        level: 0,
        frame: 0,
        window: None,
        outcome,
    }
}
