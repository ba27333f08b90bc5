//! Nearest neighbours: the answers are those of the plain SQL definition, whatever the files look like.

use std::fs::{self, File};
use std::path::Path;

use arrow::array::RecordBatch;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::{Value, json};
use tilefleet::input::storage::{ObjectUri, Storage, StorageOptions};
use tilefleet::output::provenance::Provenance;
use tilefleet::output::table::{EmbeddingType, ShardRows, TableSpec, encode};
use tilefleet::output::{Output, Run, Scope, Tile};
use tilefleet::stages::commit::commit;
use tilefleet::vocabulary::outcome::Counts;
use tilefleet::vocabulary::outcome::{Outcome, TileRow};
use tilefleet::vocabulary::process::Process;
use tilefleet::vocabulary::reason::{Reason, Rejection};
use tilefleet_testing::Random;

use crate::fixture::{Job, assert_exit, shard_files, stderr};
use crate::query::{ask, query};
use crate::support;

const LENGTH: usize = 67;

/// What a filled tile holds, by the number in its file's name and by its run.
enum Content {
    Noise(u64),
    Zeros,
    /// The same for all such tiles.
    Copy,
    Reject,
}

/// Plans a run over what is new and commits its shards without a model.
fn plan_and_fill(job: &Job, kind: EmbeddingType, content: impl Fn(&str) -> Content) {
    assert_exit(&support::tilefleet().arg("plan").arg(&job.pipeline).output().unwrap(), 0);
    let uri = ObjectUri::parse(job.table().to_str().unwrap()).unwrap();
    let output = Output::open(&Storage::new(StorageOptions::default()).unwrap(), &uri, Process::real());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let runs = output.snapshot(Scope::All).await.unwrap().runs;
        let run = runs.last().and_then(|standing| standing.run.planned()).expect("it was planned above");
        for number in 0..run.num_shards() {
            commit_shard(run, number, kind, &content).await;
        }
    });
}

async fn commit_shard(run: &Run, number: u32, kind: EmbeddingType, content: &impl Fn(&str) -> Content) {
    let mut embeddings = Vec::new();
    let mut row = |tile: Tile| {
        let name = tile.source.uri.for_reading().rsplit('/').next().unwrap();
        let embedding = match content(name) {
            Content::Noise(seed) => Some(noise(seed)),
            Content::Zeros => Some(vec![0.0; LENGTH]),
            Content::Copy => Some(noise(u64::MAX)),
            Content::Reject => None,
        };
        let outcome = match embedding {
            Some(values) => {
                embeddings.extend(values);
                let embedding = embeddings.len() / LENGTH - 1;
                Outcome::Ok { detail: None, prediction: None, embedding }
            }
            None => Outcome::Rejected(Rejection::new(Reason::Truncated, "ends in row 7")),
        };
        let Tile { id: tile_id, source, level, frame, window, .. } = tile;
        let (source, source_version) = (source.uri, source.version);
        TileRow { tile_id, source, source_version, level, frame, window, outcome, geo: None, medical: None }
    };
    let rows: Vec<TileRow> = run.shard(number).await.unwrap().tiles.into_iter().map(&mut row).collect();
    let spec = TableSpec {
        embedding_length: LENGTH,
        embedding_type: kind,
        classifier: false,
        labels: None,
        top_k: 0,
        extra: None,
        domains: Vec::new(),
    };
    let mut counts = Counts::default();
    for row in &rows {
        counts.add(&row.outcome);
    }
    let mut provenance = Provenance::new(run, number, "test");
    provenance.set_counts(&counts);
    let shard = ShardRows { shard: number, rows: &rows, embeddings: &embeddings, extra: None };
    let file = encode(&spec, &shard, provenance.pairs()).unwrap();
    commit(&run.output, &run.shard_key(number), file, &provenance).await.unwrap();
}

/// Floats of −0.5 to 0.5 that depend on the seed only.
fn noise(seed: u64) -> Vec<f32> {
    let mut random = Random(seed);
    std::iter::repeat_with(|| random.around_0()).take(LENGTH).collect()
}

/// Two runs over 300 tiles: the second replaces every fifth source of the first.
fn two_runs(kind: EmbeddingType) -> Job {
    let name = if kind == EmbeddingType::Float32 { "float32" } else { "float16" };
    let job = Job::new(0, &format!("embedding = \"{name}\"\n[plan]\nshard_tiles = 64"));
    let number = |name: &str| name[..5].parse::<u64>().unwrap();
    (0..300).for_each(|index| job.write_image(&format!("{index:05}.jpg"), b"first"));
    plan_and_fill(&job, kind, |name| match number(name) {
        number if number % 10 == 3 => Content::Reject,
        number if number % 50 == 17 => Content::Zeros,
        number => Content::Noise(number),
    });
    (0..300).step_by(5).for_each(|index| job.write_image(&format!("{index:05}.jpg"), b"second"));
    plan_and_fill(&job, kind, |name| match number(name) {
        number if number % 50 == 20 => Content::Reject,
        number => Content::Noise(number + 1000),
    });
    job
}

fn tile_of(table: &Path, name: &str) -> String {
    let found = ask(table, &format!("SELECT tile_id FROM tiles WHERE source LIKE '%/{name}'"));
    found[0]["tile_id"].as_str().unwrap().to_owned()
}

/// Compares `nearest` with its definition; what has no similarity comes last, in any order.
fn assert_as_defined(table: &Path, id: &str, count: usize) {
    let found = ask(table, &format!("SELECT tile_id, run, similarity FROM nearest('{id}', {count})"));
    let defined = format!(
        "SELECT tile_id, run, cosine_similarity(embedding, (SELECT embedding FROM tiles WHERE tile_id = '{id}')) \
         AS similarity FROM tiles WHERE tile_id <> '{id}' AND embedding IS NOT NULL \
         ORDER BY similarity DESC NULLS LAST"
    );
    let expected = ask(table, &defined);
    let (found, expected) = (found.as_array().unwrap(), expected.as_array().unwrap());
    assert_eq!(found.len(), count.min(expected.len()));
    let similar = |rows: &[Value]| {
        rows.iter().take_while(|row| !row["similarity"].is_null()).cloned().collect::<Vec<Value>>()
    };
    let (found_similar, expected_similar) = (similar(found), similar(expected));
    assert_eq!(found_similar, expected_similar[..count.min(expected_similar.len())]);
    assert!(found[found_similar.len()..].iter().all(|row| expected.contains(row)));
}

/// With nulls, rejects, zero vectors, replaced sources, both types, and files of other writers.
#[test]
fn neighbours_are_those_of_the_definition() {
    for kind in [EmbeddingType::Float32, EmbeddingType::Float16] {
        let job = two_runs(kind);
        let table = job.table();
        let counts = ask(
            &table,
            "SELECT count(*) AS n, count(embedding) AS ok, count(DISTINCT run) AS runs FROM tiles",
        );
        assert_eq!(counts, json!([{ "n": 300, "ok": 264, "runs": 2 }]));
        let (old, new) = (tile_of(&table, "00002.jpg"), tile_of(&table, "00005.jpg"));
        for id in [&old, &new] {
            for count in [0, 1, 10, 1000] {
                assert_as_defined(&table, id, count);
            }
        }
        for path in shard_files(&table).values().step_by(2) {
            rewrite_as_others_do(path);
        }
        for count in [1, 10, 1000] {
            assert_as_defined(&table, &old, count);
        }
    }
}

/// Writes a shard again as Parquet's own writer would: compressed, with dictionaries.
fn rewrite_as_others_do(path: &Path) {
    let reader =
        ParquetRecordBatchReaderBuilder::try_new(File::open(path).unwrap()).unwrap().build().unwrap();
    let batches: Vec<RecordBatch> = reader.map(Result::unwrap).collect();
    let mut writer = ArrowWriter::try_new(File::create(path).unwrap(), batches[0].schema(), None).unwrap();
    for batch in &batches {
        writer.write(batch).unwrap();
    }
    writer.close().unwrap();
}

/// More tiles look exactly like it than are asked for, and it is not one of them.
#[test]
fn a_tile_is_not_its_own_neighbour() {
    let job = Job::new(0, "[plan]\nshard_tiles = 8");
    (0..20).for_each(|index| job.write_image(&format!("{index:05}.jpg"), b"x"));
    plan_and_fill(
        &job,
        EmbeddingType::Float32,
        |name| if name < "00012" { Content::Copy } else { Content::Zeros },
    );
    for name in ["00000.jpg", "00007.jpg", "00011.jpg"] {
        let id = tile_of(&job.table(), name);
        let found = ask(&job.table(), &format!("SELECT tile_id, similarity FROM nearest('{id}', 3)"));
        let found = found.as_array().unwrap();
        assert_eq!(found.len(), 3);
        assert!(found.iter().all(|row| row["similarity"] == 1.0 && row["tile_id"] != *id), "{found:?}");
    }
    let zero = query(
        &job.table(),
        &format!("SELECT * FROM nearest('{}', 3)", tile_of(&job.table(), "00015.jpg")),
        &[],
    );
    assert_exit(&zero, 64);
    assert!(stderr(&zero).contains("all values of its embedding are zero"), "{}", stderr(&zero));
}

/// Nothing is found only where there is nothing; what cannot be compared says why.
#[test]
fn a_tile_without_embedding_has_no_neighbours_and_says_why() {
    let job = two_runs(EmbeddingType::Float32);
    let refused = |id: &str| {
        let out = job.path("answer.csv");
        let sql = format!("SELECT * FROM nearest('{id}', 3)");
        let output = query(&job.table(), &sql, &["--format", "csv", "--out", out.to_str().unwrap()]);
        assert_exit(&output, 64);
        assert!(output.stdout.is_empty());
        stderr(&output)
    };
    let unknown = refused("0123456789abcdef0123456789abcdef");
    assert!(unknown.contains("there is no tile 0123456789abcdef0123456789abcdef in `tiles`"), "{unknown}");
    assert!(unknown.contains("hint: "), "{unknown}");
    let rejected = refused(&tile_of(&job.table(), "00013.jpg"));
    assert!(rejected.contains("has no embedding") && rejected.contains("rejected: truncated"), "{rejected}");
    let replaced_by_reject = refused(&tile_of(&job.table(), "00020.jpg"));
    assert!(replaced_by_reject.contains("has no embedding"), "{replaced_by_reject}");
    let names = fs::read_dir(job.folder.path()).unwrap().map(|entry| entry.unwrap().file_name());
    let left: Vec<_> =
        names.filter(|name| !["images", "table", "photos.toml"].contains(&name.to_str().unwrap())).collect();
    assert!(left.is_empty(), "a failing query leaves nothing: {left:?}");
}

/// What the answer says can be asked on: filtered, joined, ordered.
#[test]
fn neighbours_are_a_table_like_others() {
    let job = two_runs(EmbeddingType::Float32);
    let id = tile_of(&job.table(), "00002.jpg");
    let all = ask(&job.table(), &format!("SELECT source, similarity FROM nearest('{id}', 9)"));
    let sorted = format!("SELECT source, similarity FROM nearest('{id}', 9) ORDER BY similarity DESC");
    assert_eq!(ask(&job.table(), &sorted), all);
    let worst = format!("SELECT source, similarity FROM nearest('{id}', 9) ORDER BY similarity LIMIT 1");
    assert_eq!(ask(&job.table(), &worst)[0], all[8]);
    let joined = format!(
        "SELECT n.source, n.similarity FROM nearest('{id}', 9) AS n JOIN tiles USING (tile_id) \
         WHERE n.similarity > {} ORDER BY n.similarity DESC",
        all[3]["similarity"]
    );
    assert_eq!(ask(&job.table(), &joined), json!(all.as_array().unwrap()[..3]));
    let number = ask(&job.table(), &format!("SELECT count(*) AS n FROM nearest('{id}', 9)"));
    assert_eq!(number, json!([{ "n": 9 }]));
}
