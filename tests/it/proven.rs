//! What `verify` proves and `status` says, and what neither mistakes for damage.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BooleanArray, RecordBatch, StringArray};
use arrow::compute::{concat_batches, nullif};
use arrow::datatypes::Int32Type;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::file::properties::WriterProperties;

use crate::fixture::{Job, assert_exit, jpeg, shard_files, stderr};
use crate::support;
use crate::support::fault_proxy::{Fault, FaultProxy, Rule};
use crate::support::s3_server::S3Server;

/// What is missing, foreign or altered.
#[test]
fn verify_finds_every_kind_of_damage() {
    let job = Job::new(9, "[plan]\nshard_tiles = 3");
    job.run_ok(&[]);
    let files: Vec<_> = shard_files(&job.table()).into_values().collect();
    let kept = fs::read(&files[1]).unwrap();

    fs::remove_file(&files[1]).unwrap();
    assert_exit(&job.verify(), 75);

    fs::copy(&files[0], &files[1]).unwrap();
    assert_violated(&job.verify(), "is planned");

    for damaged in [&kept[..kept.len() / 2], b"", b"not Parquet at all"] {
        fs::write(&files[1], damaged).unwrap();
        assert_violated(&job.verify(), "it is damaged");
    }

    fs::write(&files[1], &kept).unwrap();
    job.verify_ok();
    fs::write(files[1].with_file_name("shard-00000007.parquet"), &kept).unwrap();
    assert_violated(&job.verify(), "is not a shard of the plan");
}

/// Nothing may lie in the table's folder but shards; with `--run` nothing in that run's folder.
#[test]
fn strangers_in_the_table_are_found() {
    let job = Job::new(2, "");
    job.run_ok(&[]);
    let run = run_ids(&job).remove(0);
    let file = shard_files(&job.table()).into_values().next().unwrap();
    let tiles = job.path("table/tiles");
    let strangers = [
        tiles.join("notes.txt"),
        tiles.join("run=other-00000000-0001/shard-00000000.parquet"),
        // Readers would see its rows as another run's.
        tiles.join(format!("run={}/shard-00000000.parquet", run.replace("-0001", "-00001"))),
        tiles.join("copy/shard-00000000.parquet"),
    ];
    for stranger in strangers {
        fs::create_dir_all(stranger.parent().unwrap()).unwrap();
        fs::copy(&file, &stranger).unwrap();
        assert_violated(&job.verify(), "belongs to no run of this output");
        assert_exit(&verify(&job, &["--run", &run]), 0);
        fs::remove_file(&stranger).unwrap();
    }
    job.verify_ok();
    fs::write(file.with_file_name("notes.txt"), "").unwrap();
    assert_violated(&verify(&job, &["--run", &run]), "is not a shard of the plan");
}

/// A planner that was killed leaves a run that everybody can see.
#[test]
fn a_run_without_plan_is_seen_and_not_complete() {
    let job = Job::new(3, "");
    fs::create_dir(job.table()).unwrap();
    assert_exit(&job.verify(), 78);
    assert_exit(&status(&job, &[]), 78);
    job.run_ok(&[]);
    let first = run_ids(&job).remove(0);
    let rows = shard_files(&job.table()).into_values().next().unwrap();

    // Beside a complete run.
    job.write_image("new.jpg", &jpeg(444));
    job.run_ok(&[]);
    let second = run_ids(&job).remove(1);
    unpublish(&job, &second);
    assert_violated(&job.verify(), "the plan of its run does not");
    fs::remove_dir_all(job.path(&format!("table/tiles/run={second}"))).unwrap();
    let output = job.verify();
    assert_exit(&output, 75);
    assert!(stderr(&output).contains("its plan is not published yet"), "{}", stderr(&output));
    assert_exit(&verify(&job, &["--run", &second]), 75);
    assert_exit(&verify(&job, &["--run", &first]), 0);

    let listed: serde_json::Value = serde_json::from_slice(&status(&job, &["--json"]).stdout).unwrap();
    assert_eq!((&listed[0]["planned"], &listed[0]["complete"]), (&true.into(), &true.into()));
    assert_eq!((&listed[1]["planned"], &listed[1]["complete"]), (&false.into(), &false.into()));
    assert_eq!(listed[1]["run_id"], second);
    let text = String::from_utf8(status(&job, &["--run", &second]).stdout).unwrap();
    assert!(text.contains("being planned"), "{text}");

    // Alone.
    fs::remove_dir_all(job.path(&format!("table/_tilefleet/{second}"))).unwrap();
    unpublish(&job, &first);
    fs::remove_file(rows).unwrap();
    assert_exit(&job.verify(), 75);
    assert_exit(&status(&job, &[]), 0);
    assert_exit(&verify(&job, &["--run", &second]), 78);

    // Whoever runs the pipeline again finishes the plan.
    job.run_ok(&[]);
    job.verify_ok();
}

/// The plan that is read is the plan that was published.
#[test]
fn an_altered_plan_is_found() {
    let job = Job::new(3, "");
    job.run_ok(&[]);
    let part = record(&job, "plan/part-00000.parquet");
    let rows = shard_files(&job.table()).into_values().next().unwrap();
    fs::remove_file(rows).unwrap();
    assert_exit(&job.verify(), 75);
    let kept = fs::read(&part).unwrap();

    rewrite(&part, |plan| plan.slice(0, 2));
    let output = job.verify();
    assert_violated(&output, "the plan has 2 tiles, its record says 3");
    assert_violated(&output, "do not match its digest");
    assert_violated(&output, "tiles of 2 of 3 sources");

    fs::write(&part, &kept).unwrap();
    rewrite(&part, |plan| concat_batches(&plan.schema(), [&plan.slice(0, 2), &plan.slice(1, 1)]).unwrap());
    let output = job.verify();
    assert_violated(&output, "is planned twice");
    assert!(!violations(&output).contains("its record says"), "{output:?}");

    fs::write(&part, &kept).unwrap();
    rewrite(&part, |plan| {
        let levels: arrow::array::Int32Array =
            plan["level"].as_primitive::<Int32Type>().unary(|level| level + 1);
        with_column(plan, "level", Arc::new(levels))
    });
    assert_violated(&job.verify(), "is not in the tiling of source 0");

    fs::write(&part, &kept[..kept.len() - 1]).unwrap();
    assert_violated(&job.verify(), "it is damaged");
}

/// Plan, sources and rows name the same places.
#[test]
fn rows_and_plan_agree_with_the_sources() {
    let job = Job::new(3, "");
    job.run_ok(&[]);
    let sources = record(&job, "sources.parquet");
    let rows = shard_files(&job.table()).into_values().next().unwrap();

    let kept = fs::read(&sources).unwrap();
    rewrite(&sources, |table| renamed(table, "uri"));
    let output = job.verify();
    assert_violated(&output, "is not in the tiling of source 1");
    assert_violated(&output, "differs from the plan");

    fs::write(&sources, &kept).unwrap();
    rewrite(&sources, |table| table.slice(0, 2));
    assert_violated(&job.verify(), "is planned with source 2, but there are 2");

    fs::write(&sources, &kept).unwrap();
    job.verify_ok();
    rewrite(&rows, Clone::clone);
    job.verify_ok();
    rewrite(&rows, |table| renamed(table, "source"));
    assert_violated(&job.verify(), "differs from the plan");
}

/// Rows that are ok have an embedding, and no others do.
#[test]
fn a_missing_embedding_is_found() {
    let job = Job::new(3, "[limits]\nmax_reject_ratio = 1.0");
    job.write_image("bad.jpg", b"");
    job.run_ok(&[]);
    job.verify_ok();
    let rows = shard_files(&job.table()).into_values().next().unwrap();
    rewrite(&rows, |table| {
        let first: BooleanArray = (0..table.num_rows()).map(|row| Some(row == 0)).collect();
        with_column(table, "embedding", nullif(&table["embedding"], &first).unwrap())
    });
    assert_violated(&job.verify(), "2 rows of row group 0 have no embedding, and 1 is not ok");
}

/// What cannot be read proves nothing: refused or lost access is no violation. And whoever could write
/// an output with `storage.*` can look at it with the same.
#[test]
fn trouble_with_the_access_is_no_violation() {
    let Some(server) = support::seaweedfs() else { return };
    let job = Job::new(3, "");
    job.run_ok(&[]);
    server.create_bucket("tables");
    server.put_dir("tables", "table", &job.table());
    let look = |command: &str, endpoint: &str, arguments: &[&str]| {
        let mut process = support::tilefleet();
        process.args([command, "s3://tables/table", "--set", "storage.max_retries=1", "--json"]);
        process.args(["--set", &format!("storage.endpoint={endpoint}")]).args(arguments);
        process.envs(credentials(S3Server::OWNER)).output().unwrap()
    };
    for command in ["verify", "status"] {
        assert_exit(&look(command, &server.endpoint(), &[]), 0);
    }
    for (status, code) in [(403, 78), (401, 78), (503, 75)] {
        let proxy = FaultProxy::before_server(&server);
        proxy.add(Rule::new(Fault::Status(status)).on_method("GET").on_key("shard-00000000"));
        let output = look("verify", &proxy.endpoint(), &["--set", "storage.retry_timeout=1s"]);
        assert_exit(&output, code);
        assert!(!stderr(&output).contains("violates"), "{}", stderr(&output));
    }
}

fn credentials(owner: support::s3_server::Credentials) -> [(&'static str, &'static str); 3] {
    let (access, secret) = (owner.access_key, owner.secret_key);
    [("AWS_ACCESS_KEY_ID", access), ("AWS_SECRET_ACCESS_KEY", secret), ("AWS_REGION", "us-east-1")]
}

/// Only `[storage]` can be set there; the environment counts as it does for `run`.
#[test]
fn status_and_verify_take_storage_settings_only() {
    let job = Job::new(1, "");
    job.run_ok(&[]);
    for look in [verify, status] {
        assert_exit(&look(&job, &["--set", "storage.region=eu"]), 0);
        let refused = look(&job, &["--set", "storage.endpont=http://host"]);
        assert_exit(&refused, 78);
        assert!(stderr(&refused).contains("did you mean `storage.endpoint`?"), "{}", stderr(&refused));
        assert_exit(&look(&job, &["--set", "run.batch=3"]), 78);
        assert_exit(&look(&job, &["--set", "storage.region"]), 64);
    }
    let mut command = support::tilefleet();
    command.arg("verify").arg(job.table());
    assert_exit(&command.env("TILEFLEET_STORAGE_MAX_RETRIES", "many").output().unwrap(), 78);
}

fn verify(job: &Job, arguments: &[&str]) -> Output {
    look(job, "verify", arguments)
}

fn status(job: &Job, arguments: &[&str]) -> Output {
    look(job, "status", arguments)
}

fn look(job: &Job, command: &str, arguments: &[&str]) -> Output {
    support::tilefleet().arg(command).arg(job.table()).args(arguments).output().unwrap()
}

fn violations(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn assert_violated(output: &Output, what: &str) {
    assert_exit(output, 70);
    assert!(violations(output).contains(what), "`{what}` is not in\n{}", violations(output));
}

/// The ids of an output's runs, in order.
fn run_ids(job: &Job) -> Vec<String> {
    let records = fs::read_dir(job.path("table/_tilefleet")).unwrap();
    let mut ids: Vec<String> =
        records.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    ids.retain(|id| !id.starts_with('.') && id != "output.json");
    ids.sort();
    ids
}

/// A file of the record of the only run.
fn record(job: &Job, name: &str) -> PathBuf {
    job.path("table/_tilefleet").join(&run_ids(job)[0]).join(name)
}

/// Takes a run back to where its sources are elected and nothing is planned.
fn unpublish(job: &Job, run: &str) {
    let record = job.path("table/_tilefleet").join(run);
    fs::remove_file(record.join("run.json")).unwrap();
    fs::remove_dir_all(record.join("plan")).unwrap();
}

/// Writes a Parquet file again, as one row group, with other rows and the same metadata.
fn rewrite(path: &Path, edit: impl Fn(&RecordBatch) -> RecordBatch) {
    let reader = ParquetRecordBatchReaderBuilder::try_new(fs::File::open(path).unwrap()).unwrap();
    let mut metadata = reader.metadata().file_metadata().key_value_metadata().cloned().unwrap_or_default();
    metadata.retain(|entry| entry.key != "ARROW:schema");
    let schema = reader.schema().clone();
    let batches: Vec<_> = reader.build().unwrap().map(Result::unwrap).collect();
    let edited = edit(&concat_batches(&schema, &batches).unwrap());
    let properties = WriterProperties::builder().set_key_value_metadata(Some(metadata)).build();
    // A new file, so that nothing else that links to the old one changes.
    fs::remove_file(path).unwrap();
    let file = fs::File::create(path).unwrap();
    let mut writer = ArrowWriter::try_new(file, edited.schema(), Some(properties)).unwrap();
    writer.write(&edited).unwrap();
    writer.close().unwrap();
}

fn with_column(table: &RecordBatch, name: &str, column: ArrayRef) -> RecordBatch {
    let mut columns = table.columns().to_vec();
    columns[table.schema().index_of(name).unwrap()] = column;
    RecordBatch::try_new(table.schema(), columns).unwrap()
}

/// The same rows, but the second has another URI that still stands in order.
fn renamed(table: &RecordBatch, column: &str) -> RecordBatch {
    let uris = table[column].as_string::<i32>().iter().enumerate();
    let uris: StringArray =
        uris.map(|(row, uri)| uri.map(|uri| if row == 1 { format!("{uri}x") } else { uri.into() })).collect();
    with_column(table, column, Arc::new(uris))
}
