//! The life of an output: runs are listed, deleted and compacted, and no tile is ever lost or shown twice.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use arrow::array::{AsArray, RecordBatch};
use serde_json::Value;
use tilefleet::input::storage::{ObjectUri, Storage, StorageOptions};
use tilefleet::output;
use tilefleet::output::{RunId, Tombstone, Why};
use tilefleet::vocabulary::error::Kind;
use tilefleet::vocabulary::process::Process;
use tilefleet_testing::Random;

use crate::fixture::{Job, assert_exit, jpeg, rows, shard_files, shown, shown_columns, stderr, wait_until};
use crate::support;
use crate::support::s3_server::S3Server;
use crate::support::{Fault, FaultProxy, Rule};

const LENIENT: &str = "[limits]\nmax_reject_ratio = 1.0";

/// All that `tiles` says but where the rows lie.
const ROWS: &str = "* EXCLUDE (run, shard)";

fn runs_command(table: &Path, arguments: &[&str]) -> Command {
    let mut command = support::tilefleet();
    command.arg("runs").arg(table).args(arguments);
    command
}

fn runs(table: &Path, arguments: &[&str]) -> Output {
    runs_command(table, arguments).output().unwrap()
}

fn answer(table: &Path, arguments: &[&str]) -> Value {
    let output = runs(table, &[arguments, &["--json"]].concat());
    assert_exit(&output, 0);
    serde_json::from_slice(&output.stdout).unwrap()
}

fn ids(table: &Path) -> Vec<String> {
    let listed = answer(table, &[]);
    listed.as_array().unwrap().iter().map(|run| run["run_id"].as_str().unwrap().to_owned()).collect()
}

fn verify(table: &Path) -> Output {
    support::tilefleet().arg("verify").arg(table).output().unwrap()
}

/// Verified, or not complete, but never violated.
fn assert_sound(table: &Path) {
    let output = verify(table);
    assert!(
        matches!(output.status.code(), Some(0 | 75)),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        stderr(&output)
    );
}

/// Twelve nights: each brings new images, most change an old one, some bring rubbish.
fn twelve_nights(settings: &str) -> Job {
    let job = Job::new(3, &format!("[plan]\nshard_tiles = 4\n{LENIENT}\n{settings}"));
    for night in 0..12 {
        for index in 0..3 {
            job.write_image(&format!("n{night:02}-{index}.jpg"), &jpeg(100 * night + index));
        }
        if night % 4 == 1 {
            job.write_image(&format!("n{night:02}-bad.jpg"), b"");
        }
        if night % 3 == 2 {
            job.write_image("00001.jpg", &jpeg(7000 + night));
            job.write_image(&format!("n{:02}-1.jpg", night - 2), &jpeg(8000 + night));
        }
        job.run_ok(&[]);
    }
    job
}

#[test]
fn twelve_nights_become_one_run() {
    let job = twelve_nights("");
    let table = job.table();
    let newest = ids(&table).pop().unwrap();
    // A retry is one more run, which replaces one tile.
    job.write_image("n01-bad.jpg", &jpeg(3));
    let retry = support::tilefleet().arg("rejects").arg(&table).args(["--retry", "--json"]).output().unwrap();
    assert_exit(&retry, 0);
    let (before, num_files) = (shown_columns(&table, ROWS), shard_files(&table).len());
    assert_eq!(before.num_rows(), 3 + 36 + 3);
    crate::accept::assert_duckdb_finds_the_newest(&table);
    assert_eq!(ids(&table).len(), 13);

    let compacted = answer(&table, &["compact"]);
    // Eight images that changed, and the tiles that were retried: each reject.
    let expected = serde_json::json!([8 + 3, 42, num_files]);
    let found = &compacted[0];
    assert_eq!(
        serde_json::json!([found["superseded"], found["tiles"], found["removed"]["files"]]),
        expected,
        "{compacted}"
    );
    assert_eq!(job.verify_ok().as_array().unwrap().len(), 1);
    assert_eq!(shown_columns(&table, ROWS), before);
    let files = shard_files(&table);
    assert!(files.len() < num_files && files.len() == 42_usize.div_ceil(4), "{} files", files.len());
    let all = ids(&table);
    assert!(all.len() == 1 && all[0].ends_with("-0014"), "{all:?}");

    // Nothing is left to do, neither here nor for the pipeline, and the next number is another.
    assert_eq!(answer(&table, &["compact"]), serde_json::json!([]));
    assert!(job.run_ok(&[]).contains("nothing new"));
    job.write_image("late.jpg", &jpeg(4));
    assert!(job.run_ok(&[]).contains("-0015  complete: 1 tile"));
    let listed = answer(&table, &["list"]);
    assert_eq!(listed[0]["origin"]["compaction"]["of"].as_array().unwrap().len(), 13);
    assert_eq!(listed[0]["origin"]["compaction"]["of"][1], newest);
    assert_eq!((&listed[0]["counts"]["rejected"], &listed[1]["origin"]), (&2.into(), &"pipeline".into()));
    // Larger shards, and a compaction of a compaction.
    let before = shown_columns(&table, ROWS);
    answer(&table, &["compact", "--shard-tiles", "100"]);
    assert_eq!((shown_columns(&table, ROWS), shard_files(&table).len()), (before, 1));
    job.verify_ok();
    let metadata = metadata(shard_files(&table).values().next().unwrap());
    let constant = |key: &str| metadata.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str());
    let from = format!("{},{}", all[0], all[0].replace("-0014", "-0015"));
    assert_eq!(constant("tilefleet.compacted_from"), Some(&*from));
    assert_eq!(
        (constant("tilefleet.provider"), constant("tilefleet.precision")),
        (Some("cpu"), Some("fp32"))
    );
    read_elsewhere(&table, 43);
}

fn metadata(file: &Path) -> Vec<(String, String)> {
    let file = fs::File::open(file).unwrap();
    let reader = parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder::try_new(file).unwrap();
    let pairs = reader.metadata().file_metadata().key_value_metadata().unwrap();
    pairs.iter().filter_map(|pair| Some((pair.key.clone(), pair.value.clone()?))).collect()
}

/// Readers that know nothing of runs see one folder with each tile once.
fn read_elsewhere(table: &Path, num_rows: usize) {
    let Some(python) = support::python() else { return };
    let program = "import sys, os, duckdb, pyarrow.dataset as ds\n\
        tiles = sys.argv[1]\n\
        data = ds.dataset(tiles, partitioning='hive')\n\
        sql = f\"SELECT count(DISTINCT tile_id), count(*) FROM read_parquet('{tiles}/*/*.parquet')\"\n\
        print(len(os.listdir(tiles)), data.count_rows(), *duckdb.sql(sql).fetchone())";
    let printed = support::run_python(&python, program, &[table.join("tiles")]);
    assert_eq!(printed, format!("1 {num_rows} {num_rows} {num_rows}\n"));
}

/// Half-precision embeddings and the manifest's columns are copied as they are.
#[test]
fn compaction_keeps_float16_and_manifest_columns() {
    let job = Job::new(9, "");
    let manifest = job.path("list.csv");
    let set = format!("input.manifest={}", manifest.display());
    let arguments = ["--set", "input.uris=[]", "--set", &set, "--set", "output.embedding=float16"];
    let mut text = "uri,site,weight\n".to_owned();
    for night in 0..3 {
        for index in 0..3 {
            let (image, weight) = (3 * night + 2 - index, if index == 1 { "" } else { "0.5" });
            writeln!(text, "images/{image:05}.jpg,site {image},{weight}").unwrap();
        }
        fs::write(&manifest, &text).unwrap();
        job.run_ok(&arguments);
    }
    let before = shown_columns(&job.table(), ROWS);
    assert_eq!((before.num_rows(), before["extra"].as_struct()["weight"].null_count()), (9, 3));
    assert!(format!("{:?}", before.schema()).contains("Float16"));
    answer(&job.table(), &["compact"]);
    assert_eq!(shown_columns(&job.table(), ROWS), before);
    job.verify_ok();
    assert!(job.run_ok(&arguments).contains("nothing new"));
}

/// Deleting the newest run brings the older rows back; its id is never used again.
#[test]
fn a_deleted_run_is_gone_for_good() {
    let job = Job::new(6, "");
    let table = job.table();
    job.run_ok(&[]);
    let first = shown(&table);
    job.write_image("00002.jpg", &jpeg(333));
    job.write_image("new.jpg", &jpeg(444));
    job.run_ok(&[]);
    let newest = ids(&table).pop().unwrap();

    let refused = runs(&table, &["delete", &newest]);
    assert_exit(&refused, 64);
    let said = String::from_utf8_lossy(&refused.stdout).into_owned();
    assert!(said.contains("`tiles` loses 1 tile, and shows 1 tile of other runs instead"), "{said}");
    assert!(stderr(&refused).contains("--yes"), "{}", stderr(&refused));
    assert_eq!(shown(&table).len(), 7, "nothing was deleted");
    assert_exit(&runs(&table, &["delete", "photos-00000000-0009", "--yes"]), 78);

    answer(&table, &["delete", &newest, "--yes"]);
    assert_eq!(shown(&table), first);
    job.verify_ok();
    assert!(!table.join(format!("tiles/run={newest}")).exists());
    let record: Vec<_> = fs::read_dir(table.join("_tilefleet").join(&newest)).unwrap().collect();
    assert!(record.len() == 1 && table.join(format!("_tilefleet/{newest}/deleted.json")).exists());
    answer(&table, &["delete", &newest, "--yes"]);

    let report = job.run_ok(&[]);
    assert!(report.contains("-0003  complete: 2 tiles"), "what was deleted is covered again: {report}");
    assert_eq!(shown(&table).len(), 7);
    job.verify_ok();

    // All of them: then the output is empty, and its numbers go on.
    let all = ids(&table);
    answer(&table, &["delete", &all[0], &all[1], "--yes"]);
    assert_exit(&verify(&table), 78);
    assert_exit(&runs(&table, &[]), 78);
    assert!(job.run_ok(&[]).contains("-0004  complete: 7 tiles"));
}

/// What a deletion or a late worker left is told, is no row, and goes when the run is deleted again.
#[test]
fn leftovers_of_a_deleted_run_are_no_rows() {
    let job = Job::new(6, "[plan]\nshard_tiles = 2");
    let table = job.table();
    job.run_ok(&[]);
    job.write_image("00002.jpg", &jpeg(333));
    job.run_ok(&[]);
    let first = ids(&table).remove(0);
    let kept: Vec<(PathBuf, Vec<u8>)> = shard_files(&table)
        .into_iter()
        .filter(|(name, _)| name.contains("-0001/"))
        .map(|(_, path)| (path.clone(), fs::read(path).unwrap()))
        .collect();
    answer(&table, &["delete", &first, "--yes"]);
    job.verify_ok();
    fs::create_dir_all(kept[1].0.parent().unwrap()).unwrap();
    fs::write(&kept[1].0, &kept[1].1).unwrap();

    let output = verify(&table);
    assert_exit(&output, 75);
    let said = stderr(&output);
    assert!(said.contains("is deleted, but objects of it are left: 1") && said.contains("delete"), "{said}");
    assert_eq!(count(&table, "tiles"), 1);
    assert_eq!(count(&table, "tiles_all"), 1);
    let status = support::tilefleet().arg("status").arg(&table).output().unwrap();
    assert!(String::from_utf8_lossy(&status.stdout).contains("deleted, but 1 object of it left"));
    assert_eq!(answer(&table, &[])[1]["state"], "deleted");
    let status = support::tilefleet().arg("status").arg(&table).arg("--json").output().unwrap();
    let status: Value = serde_json::from_slice(&status.stdout).unwrap();
    assert_eq!(status[1]["left_of_deleted"], 1);
    let with_counts = status.as_array().unwrap().iter().filter(|run| run.get("counts").is_some());
    assert_eq!(with_counts.count(), 0, "nobody has counted: {status}");
    assert_exit(
        &support::tilefleet().arg("verify").arg(&table).args(["--run", &first]).output().unwrap(),
        75,
    );
    answer(&table, &["delete", &first, "--yes"]);
    job.verify_ok();
    let gone = support::tilefleet().arg("verify").arg(&table).args(["--run", &first]).output().unwrap();
    assert_exit(&gone, 78);
    assert!(stderr(&gone).contains("is deleted"), "{}", stderr(&gone));
}

fn count(table: &Path, view: &str) -> u64 {
    let sql = format!("SELECT count(*) AS n FROM {view}");
    let output = support::tilefleet().arg("query").arg(table).arg(sql).arg("--json").output().unwrap();
    assert_exit(&output, 0);
    serde_json::from_slice::<Value>(&output.stdout).unwrap()[0]["n"].as_u64().unwrap()
}

/// A run that is not complete may have a worker on it.
#[test]
fn an_open_run_is_deleted_only_by_force() {
    let job = Job::new(3, "");
    job.run_ok(&[]);
    job.write_image("new.jpg", &jpeg(3));
    assert_exit(&support::tilefleet().arg("plan").arg(&job.pipeline).output().unwrap(), 0);
    let open = ids(&job.table()).pop().unwrap();
    let refused = runs(&job.table(), &["delete", &open, "--yes"]);
    assert_exit(&refused, 64);
    assert!(stderr(&refused).contains("--force"), "{}", stderr(&refused));
    answer(&job.table(), &["delete", &open, "--yes", "--force"]);
    job.verify_ok();
    assert!(job.run_ok(&[]).contains("-0003  complete: 1 tile"));
}

/// Runs are chosen by age; nothing goes without `--yes`, and what goes is shown.
#[test]
fn old_runs_are_deleted_by_their_age() {
    let job = Job::new(3, "");
    let table = job.table();
    job.run_ok(&[]);
    let between = Instant::now();
    std::thread::sleep(Duration::from_secs(3));
    job.write_image("00002.jpg", &jpeg(333));
    job.run_ok(&[]);
    let all = ids(&table);
    // Planned before `between`, and not after.
    let age = || format!("{}ms", between.elapsed().as_millis());
    let nothing = runs(&table, &["delete", "--older-than", "30d", "--yes"]);
    assert_exit(&nothing, 0);
    assert!(String::from_utf8_lossy(&nothing.stdout).contains("no run is old enough"));
    let asked = runs(&table, &["delete", "--older-than", &age()]);
    assert_exit(&asked, 64);
    let said = String::from_utf8_lossy(&asked.stdout).into_owned();
    assert!(said.contains(&all[0]) && !said.contains(&all[1]), "{said}");
    assert!(said.contains("`tiles` loses 2 tiles"), "{said}");
    assert_eq!(ids(&table), all);
    let deleted = answer(&table, &["delete", "--older-than", &age(), "--yes"]);
    assert_eq!((deleted.as_array().unwrap().len(), &deleted[0]["run_id"]), (1, &Value::from(all[0].clone())));
    assert_eq!(ids(&table), all[1..]);
    job.verify_ok();
    assert_exit(&runs(&table, &["delete", &all[1], "--older-than", "1s"]), 64);
    assert_exit(&runs(&table, &["delete", "--older-than", "a month"]), 64);
    assert_exit(&runs(&table, &["delete"]), 64);
}

/// A worker on a run that is deleted meanwhile ends with 75, and its late rows are not counted.
#[test]
fn a_worker_on_a_deleted_run_fails() {
    let job = Job::new(300, "[plan]\nshard_tiles = 2\n[run]\nthreads = 1\nbatch = 1");
    let worker = job.run_command(&[]).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    wait_until("some shards are committed", || shard_files(&job.table()).len() > 3);
    let id = ids(&job.table()).remove(0);
    answer(&job.table(), &["delete", &id, "--yes", "--force"]);
    assert_exit(&worker.wait_with_output().unwrap(), 75);
    answer(&job.table(), &["delete", &id, "--yes"]);
    assert!(job.run_ok(&[]).contains("-0002  complete: 300 tiles"));
    job.verify_ok();
    assert_eq!((rows(&job.table()).len(), shown(&job.table()).len()), (300, 300));
}

/// Writes a tombstone and deletes nothing: a deletion that has come so far.
fn bury(table: &Path, folder: &str, run: &str) {
    let record = table.join("_tilefleet").join(folder);
    fs::create_dir_all(&record).unwrap();
    let tombstone = Tombstone::new(&RunId::parse(run).unwrap(), Why::Deleted, Process::real().now());
    // Readers beside us see all of it or nothing.
    fs::write(record.join("half"), serde_json::to_vec(&tombstone).unwrap()).unwrap();
    fs::rename(record.join("half"), record.join("deleted.json")).unwrap();
}

/// After the tombstone a worker leaves no more rows, and stops.
#[test]
fn no_rows_come_after_a_tombstone() {
    let job = Job::new(300, "[plan]\nshard_tiles = 2\n[run]\nthreads = 1\nbatch = 1");
    let worker = job.run_command(&[]).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    wait_until("some shards are committed", || shard_files(&job.table()).len() > 3);
    let id = ids(&job.table()).remove(0);
    bury(&job.table(), &id, &id);
    let before = shard_files(&job.table()).len();
    assert!(before < 150, "the worker was done before; make the job longer");
    let ended = worker.wait_with_output().unwrap();
    assert_exit(&ended, 75);
    assert!(stderr(&ended).contains("was deleted while it was in progress"), "{}", stderr(&ended));
    assert!(shard_files(&job.table()).len() <= before, "rows of a deleted run");
}

/// A record whose name is another spelling of a run's id says nothing of that run.
#[test]
fn another_spelling_of_an_id_is_no_run() {
    let job = Job::new(3, "");
    job.run_ok(&[]);
    let id = ids(&job.table()).remove(0);
    bury(&job.table(), &id.replace("-0001", "-00001"), &id);
    assert_eq!((ids(&job.table()), shown(&job.table()).len()), (vec![id], 3));
    job.verify_ok();
}

/// Compacting the older of two pipelines over the same images does not make it the newer.
#[test]
fn an_old_family_stays_old() {
    let job = Job::new(4, LENIENT);
    let table = job.table();
    job.write_image("bad.jpg", b"");
    job.run_ok(&[]);
    job.write_image("00001.jpg", &jpeg(33));
    job.run_ok(&[]);
    job.run_ok(&["--set", "name=second", "--set", "output.top_k=3"]);
    let before = shown_columns(&table, "*");
    assert!(
        shown_columns(&table, "run")["run"]
            .as_string::<i32>()
            .iter()
            .flatten()
            .all(|run| run.starts_with("second-"))
    );
    answer(&table, &["compact"]);
    assert_eq!(ids(&table).len(), 2);
    assert_eq!(shown_columns(&table, "*"), before);
    job.verify_ok();

    // Nor does a retry of its rejects: none of them is shown.
    let first = ids(&table).remove(0);
    let rejects =
        support::tilefleet().arg("rejects").arg(&table).args(["--run", &first, "--json"]).output().unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&rejects.stdout).unwrap().as_array().unwrap().len(), 1);
    assert_exit(&support::tilefleet().arg("rejects").arg(&table).arg("--retry").output().unwrap(), 0);
    assert!(ids(&table).pop().unwrap().starts_with("second-"));
    assert_eq!(shown(&table).len(), 5);
    job.verify_ok();
}

fn started(table: &Path, arguments: &[&str]) -> Child {
    runs_command(table, arguments).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Begins a compaction that ends in its sixth shard: a folder stands where its file would go.
fn interrupted_compaction(table: &Path) {
    let number = ids(table).len() + 1;
    let run = ids(table)[0].replace("-0001", &format!("-{number:04}"));
    let obstacle = table.join(format!("tiles/run={run}/shard-00000005.parquet"));
    fs::create_dir_all(&obstacle).unwrap();
    let output = runs(table, &["compact"]);
    assert_exit(&output, 75);
    fs::remove_dir(&obstacle).unwrap();
    let num_copied = shard_files(table).keys().filter(|name| name.contains(&run)).count();
    assert_eq!(num_copied, 5, "{}", stderr(&output));
}

/// A pipeline that is run while a compaction lies unfinished neither goes on with it nor is stopped by it,
/// and its rows are the newer ones.
#[test]
fn a_run_beside_an_unfinished_compaction_wins() {
    let job = twelve_nights("");
    let table = job.table();
    interrupted_compaction(&table);
    let unfinished = verify(&table);
    assert_exit(&unfinished, 75);
    assert!(stderr(&unfinished).contains("runs OUTPUT compact"), "{}", stderr(&unfinished));

    job.write_image("00000.jpg", &jpeg(1234));
    job.write_image("n03-0.jpg", b"");
    assert!(job.run_ok(&[]).contains("-0014  complete: 2 tiles"));
    assert!(job.run_ok(&[]).contains("nothing new"));
    let before = shown_columns(&table, ROWS);
    // What is being compacted cannot be taken away from under it.
    let refused = runs(&table, &["delete", &ids(&table)[4], "--yes"]);
    assert_exit(&refused, 75);
    assert!(stderr(&refused).contains("is being compacted into"), "{}", stderr(&refused));

    let compacted = answer(&table, &["compact"]);
    assert_eq!(compacted[0]["continued"], true);
    assert_eq!(ids(&table).len(), 2);
    assert_eq!(shown_columns(&table, ROWS), before);
    let row = |rows: &[crate::fixture::Row], file: &str| {
        rows.iter().find(|row| row.file() == file).unwrap().status.clone()
    };
    let rows = shown(&table);
    assert_eq!((row(&rows, "n03-0.jpg"), rows.len()), ("rejected".into(), 42));
    job.verify_ok();
    answer(&table, &["compact"]);
    assert_eq!((shown_columns(&table, ROWS), ids(&table).len()), (before, 1));
    job.verify_ok();
}

/// A compaction that is given up leaves the runs as they were.
#[test]
fn an_unfinished_compaction_can_be_given_up() {
    let job = twelve_nights("");
    let table = job.table();
    let before = shown_columns(&table, "*");
    interrupted_compaction(&table);
    let id = ids(&table).pop().unwrap();
    assert_exit(&runs(&table, &["delete", &id, "--yes"]), 64);
    answer(&table, &["delete", &id, "--yes", "--force"]);
    assert_eq!(shown_columns(&table, "*"), before);
    job.verify_ok();
    answer(&table, &["compact"]);
    assert!(ids(&table)[0].ends_with("-0014"));
    job.verify_ok();
}

/// Three runs, each with images of its own and a newer 00001.jpg.
fn three_nights() -> Job {
    let job = Job::new(3, &format!("[plan]\nshard_tiles = 1\n{LENIENT}"));
    for night in 0..3 {
        job.write_image("00001.jpg", &jpeg(70 + night));
        job.write_image(&format!("n{night}.jpg"), &jpeg(80 + night));
        job.run_ok(&[]);
    }
    job
}

/// Compacts until it is to be decided that this run goes: a folder stands where that would be said. Returns the
/// new run.
fn stopped_before_deleting(table: &Path, run: &str) -> String {
    let all = ids(table);
    let compaction = all[0].replace("-0001", &format!("-{:04}", all.len() + 1));
    stopped_at(table, &format!("{compaction}/replaces/{run}.json"));
    assert_eq!(ids(table).pop(), Some(compaction.clone()));
    compaction
}

/// Compacts until this object of the records is to be written, where a folder stands.
fn stopped_at(table: &Path, name: &str) {
    let obstacle = table.join("_tilefleet").join(name);
    fs::create_dir_all(&obstacle).unwrap();
    assert_exit(&runs(table, &["compact"]), 75);
    fs::remove_dir(&obstacle).unwrap();
}

/// Once it is decided that a run goes, somebody may be about to delete it: its compaction is not given up for it.
#[test]
fn a_run_that_may_go_any_moment_is_not_given_back() {
    let job = three_nights();
    let (table, all) = (job.table(), ids(&job.table()));
    let before = shown_columns(&table, ROWS);
    stopped_at(&table, &format!("{}/deleted.json", all[0]));
    let compaction = ids(&table).pop().unwrap();
    let damaged = shard_files(&table).into_iter().find(|(name, _)| name.contains(&compaction)).unwrap().1;
    fs::write(&damaged, b"damaged").unwrap();
    let refused = runs(&table, &["delete", &compaction, "--yes"]);
    assert_exit(&refused, 75);
    let said = stderr(&refused);
    assert!(said.contains(&format!("has begun to delete the runs that it replaces: {}", all[0])), "{said}");
    assert_exit(&runs(&table, &["compact"]), 70);
    assert_eq!(ids(&table).len(), 4);
    // Without the damaged shard the rows are copied again, as long as they are there.
    fs::remove_file(&damaged).unwrap();
    answer(&table, &["compact"]);
    assert!(damaged.is_file());
    assert_eq!((shown_columns(&table, ROWS), ids(&table)), (before, vec![compaction]));
    job.verify_ok();
}

/// A deletion that was killed once it had decided is finished by giving it again; until then nothing else goes.
#[test]
fn a_compaction_that_is_half_given_up_deletes_nothing() {
    let job = three_nights();
    let (table, all) = (job.table(), ids(&job.table()));
    let before = shown_columns(&table, ROWS);
    let compaction = stopped_before_deleting(&table, &all[0]);
    let [first, of] = [&all[0], &compaction].map(|id| RunId::parse(id).unwrap());
    assert_eq!(block_on(opened(&table).decide(&of, &first, output::Fate::Keep)).unwrap(), output::Fate::Keep);
    let refused = runs(&table, &["compact"]);
    assert_exit(&refused, 75);
    assert!(
        stderr(&refused).contains(&format!("compaction {compaction} is being deleted")),
        "{}",
        stderr(&refused)
    );
    answer(&table, &["delete", &compaction, "--yes"]);
    assert_eq!((shown_columns(&table, ROWS), ids(&table)), (before.clone(), all));
    answer(&table, &["compact"]);
    assert_eq!((shown_columns(&table, ROWS), ids(&table).len()), (before, 1));
    job.verify_ok();
}

/// Smaller shards, asked for after a run was planned, are not taken silently for granted.
#[test]
fn a_plan_that_stays_says_so() {
    let job = Job::new(3, "[plan]\nshard_tiles = 3");
    assert_exit(&support::tilefleet().arg("plan").arg(&job.pipeline).output().unwrap(), 0);
    let id = ids(&job.table()).remove(0);
    let smaller = ["--set", "plan.shard_tiles=1"];
    let dry =
        support::tilefleet().arg("plan").arg(&job.pipeline).arg("--dry-run").args(smaller).output().unwrap();
    let output = job.run(&smaller);
    for output in [&dry, &output] {
        assert_exit(output, 0);
        let said = stderr(output);
        let stays = format!("run {id} is resumed as planned, in shards of 3 tiles, not 1");
        assert!(said.contains(&stays) && said.contains(&format!("delete {id} --yes --force")), "{said}");
    }
    assert_eq!(shard_files(&job.table()).len(), 1);
    assert!(!stderr(&job.run(&smaller)).contains("is resumed as planned"), "it is complete");
}

/// What comes back may be more than what goes: windows in place of a scene that was rejected as one tile.
#[test]
fn what_comes_back_is_counted() {
    let job = Job::new(0, "[tiles]\ngrid = \"regular\"\nsize = 64\n[limits]\nmax_reject_ratio = 1.0");
    let scene = |name: &str, side: usize| {
        let samples: Vec<u8> = (0..side * side * 3).map(|index| (index % 251) as u8).collect();
        let mut bytes = std::io::Cursor::new(Vec::new());
        let mut encoder = tiff::encoder::TiffEncoder::new(&mut bytes).unwrap();
        encoder.write_image::<tiff::encoder::colortype::RGB8>(side as u32, side as u32, &samples).unwrap();
        job.write_image(name, &bytes.into_inner());
    };
    scene("a.tif", 256);
    job.run_ok(&[]);
    let table = job.table();
    let before = shown(&table).len();
    assert_eq!(before, 16);
    job.write_image("a.tif", b"II*\0");
    job.run_ok(&[]);
    assert_eq!(shown(&table).len(), 1);
    let newest = ids(&table).pop().unwrap();
    let asked = runs(&table, &["delete", &newest]);
    let said = String::from_utf8_lossy(&asked.stdout).into_owned();
    assert!(said.contains("`tiles` loses 1 tile, and shows 16 tiles of other runs instead"), "{said}");
    answer(&table, &["delete", &newest, "--yes"]);
    assert_eq!(shown(&table).len(), before);
}

fn opened(table: &Path) -> output::Output {
    let uri = ObjectUri::parse(table.to_str().unwrap()).unwrap();
    output::Output::open(&Storage::new(StorageOptions::default()).unwrap(), &uri, Process::real())
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Runtime::new().unwrap().block_on(work)
}

/// As long as a compaction deletes what it replaces, it is not deleted: it may be all there is of a row.
#[test]
fn a_compaction_that_has_deleted_a_part_is_not_deleted() {
    let job = three_nights();
    let (table, all) = (job.table(), ids(&job.table()));
    let before = shown_columns(&table, ROWS);
    let compaction = stopped_before_deleting(&table, &all[1]);
    assert_eq!(ids(&table), [&all[1], &all[2], &compaction].map(String::clone), "the oldest is deleted");
    let refused = runs(&table, &["delete", &compaction, "--yes", "--force"]);
    assert_exit(&refused, 75);
    let said = stderr(&refused);
    assert!(
        said.contains(&all[2])
            && said.contains(&format!("finish it with `tilefleet runs file://{} compact`", table.display())),
        "{said}"
    );
    let refused = runs(&table, &["delete", &all[2], "--yes"]);
    assert_exit(&refused, 75);
    assert!(!stderr(&refused).contains("undo the compaction"), "{}", stderr(&refused));
    assert_eq!(shown_columns(&table, ROWS), before);

    // All that it replaces may go with it.
    let copy = job.path("copy");
    copied(&table, &copy);
    answer(&copy, &["delete", &all[1], &all[2], &compaction, "--yes"]);
    assert_exit(&runs(&copy, &[]), 78);

    assert_eq!(answer(&table, &["compact"])[0]["continued"], true);
    assert_eq!(shown_columns(&table, ROWS), before);
    job.verify_ok();
    answer(&table, &["delete", &compaction, "--yes"]);
    assert!(job.run_ok(&[]).contains("complete: 6 tiles"));
}

/// A compaction that is not sound deletes nothing; so it can be given up.
#[test]
fn a_damaged_compaction_can_be_given_up() {
    let job = three_nights();
    let table = job.table();
    let before = shown_columns(&table, ROWS);
    let compaction = stopped_before_deleting(&table, &ids(&table)[0]);
    let shard = shard_files(&table).into_iter().find(|(name, _)| name.contains(&compaction)).unwrap().1;
    fs::write(&shard, b"damaged").unwrap();
    let refused = runs(&table, &["compact"]);
    assert_exit(&refused, 70);
    assert!(stderr(&refused).contains("so nothing more was deleted"), "{}", stderr(&refused));
    answer(&table, &["delete", &compaction, "--yes"]);
    assert_eq!(shown_columns(&table, ROWS), before);
    job.verify_ok();
}

/// A compaction that is deleted all the same stops at the next run that it would delete.
#[test]
fn a_compaction_that_is_deleted_deletes_no_more() {
    let job = three_nights();
    for trial in 0.. {
        assert!(trial < 30, "it went on to delete each time");
        let table = job.path(&format!("copy-{trial}"));
        copied(&job.table(), &table);
        let all = ids(&table);
        let first = table.join(format!("_tilefleet/{}/deleted.json", all[0]));
        let compaction = all[0].replace("-0001", "-0004");
        let child = started(&table, &["compact"]);
        let give_up = Instant::now() + Duration::from_mins(1);
        while !first.exists() && Instant::now() < give_up {}
        bury(&table, &compaction, &compaction);
        let ended = child.wait_with_output().unwrap();
        if ended.status.success() {
            continue;
        }
        assert_exit(&ended, 75);
        let said = stderr(&ended);
        assert!(said.contains(&format!("run {compaction} was deleted while it was in progress")), "{said}");
        assert!(ids(&table).contains(&all[2]), "the newest stays: {said}");
        break;
    }
}

/// A run that is compacted between the question and the deletion is not gone, and that is said.
#[test]
fn a_deletion_that_a_compaction_beat_says_so() {
    let job = three_nights();
    let (table, all) = (job.table(), ids(&job.table()));
    let before = shown_columns(&table, ROWS);
    let (output, newest) = (opened(&table), RunId::parse(&all[2]).unwrap());
    let proposal = block_on(tilefleet::maintenance::runs::propose(&output, &[newest])).unwrap();
    answer(&table, &["compact"]);
    let compaction = ids(&table).pop().unwrap();
    let error = block_on(tilefleet::maintenance::runs::delete(&output, &proposal)).unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable);
    assert!(error.to_string().contains(&format!("was compacted into {compaction}")), "{error}");
    assert_eq!(shown_columns(&table, ROWS), before);
    // What was compacted when the question was asked is no surprise.
    answer(&table, &["delete", &all[2], "--yes"]);
}

/// A compaction that is finished between the question and the deletion is not given up any more.
#[test]
fn a_compaction_that_was_finished_meanwhile_stays() {
    let job = three_nights();
    let table = job.table();
    let before = shown_columns(&table, ROWS);
    interrupted_compaction(&table);
    let compaction = RunId::parse(&ids(&table)[3]).unwrap();
    let output = opened(&table);
    let proposal = block_on(tilefleet::maintenance::runs::propose(&output, &[compaction])).unwrap();
    answer(&table, &["compact"]);
    let error = block_on(tilefleet::maintenance::runs::delete(&output, &proposal)).unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable, "{error}");
    assert_eq!(shown_columns(&table, ROWS), before);
    job.verify_ok();
}

/// A run that somebody deletes while a compaction copies it does not stay as the compaction's.
#[test]
fn a_run_that_is_deleted_under_a_compaction_is_told() {
    let job = three_nights();
    let (table, all) = (job.table(), ids(&job.table()));
    let compaction = stopped_before_deleting(&table, &all[0]);
    block_on(opened(&table).delete_run(&RunId::parse(&all[2]).unwrap(), Why::Deleted)).unwrap();
    let refused = runs(&table, &["compact"]);
    assert_exit(&refused, 78);
    let said = stderr(&refused);
    assert!(
        said.contains(&format!("{} was deleted while it was compacted into {compaction}", all[2])),
        "{said}"
    );
    assert_eq!(ids(&table).len(), 3, "nothing more was deleted");

    // The advice is right: what is left of the others is shown again.
    let asked = runs(&table, &["delete", &compaction]);
    assert_exit(&asked, 64);
    let said = String::from_utf8_lossy(&asked.stdout).into_owned();
    assert!(said.contains("`tiles` loses 1 tile, and shows 5 tiles of other runs instead"), "{said}");
    answer(&table, &["delete", &compaction, "--yes"]);
    assert!(shown(&table).iter().all(|row| row.file() != "n2.jpg"));
    answer(&table, &["compact"]);
    assert_eq!((ids(&table).len(), shown(&table).len()), (1, 5));
    job.verify_ok();
}

/// A retry is not compacted without the run that it corrects: a compaction covers whole sources.
#[test]
fn a_retry_is_compacted_with_what_it_corrects() {
    let job = Job::new(3, LENIENT);
    let table = job.table();
    job.write_image("bad.jpg", b"");
    job.run_ok(&[]);
    job.write_image("bad.jpg", &jpeg(3));
    let retry = support::tilefleet().arg("rejects").arg(&table).arg("--retry").output().unwrap();
    assert_exit(&retry, 0);
    job.write_image("new.jpg", &jpeg(4));
    job.run_ok(&[]);
    let all = ids(&table);
    let refused = runs(&table, &["compact", "--runs", &all[1..].join(",")]);
    assert_exit(&refused, 64);
    let said = stderr(&refused);
    assert!(said.contains(&format!("run {} is a retry", all[1])) && said.contains("bad.jpg"), "{said}");
    assert_eq!(ids(&table), all);
    let before = shown_columns(&table, ROWS);
    answer(&table, &["compact", "--runs", &all[..2].join(",")]);
    assert_eq!((shown_columns(&table, ROWS), ids(&table).len()), (before, 2));
    job.verify_ok();
}

#[test]
fn some_runs_can_be_compacted_if_none_lies_between() {
    let job = twelve_nights("");
    let (table, all) = (job.table(), ids(&job.table()));
    let before = shown_columns(&table, ROWS);
    let gap = runs(&table, &["compact", "--runs", &format!("{},{}", all[2], all[4])]);
    assert_exit(&gap, 64);
    assert!(stderr(&gap).contains(&format!("run {} lies between", all[3])), "{}", stderr(&gap));
    assert_exit(&runs(&table, &["compact", "--runs", "photos-00000000-0001"]), 78);
    assert_eq!(answer(&table, &["compact", "--runs", &all[2]]), serde_json::json!([]));
    answer(&table, &["compact", "--runs", &all[2..7].join(",")]);
    assert_eq!((ids(&table).len(), shown_columns(&table, ROWS)), (8, before.clone()));
    job.verify_ok();
    answer(&table, &["compact"]);
    assert_eq!((ids(&table).len(), shown_columns(&table, ROWS)), (1, before));
    job.verify_ok();
}

/// Records that say neither why nor when a run was planned are those of pipelines, in the order of their
/// numbers, whatever a copy of the output did to the times of its files.
#[test]
fn records_of_older_versions_are_read() {
    let job = Job::new(4, "");
    let table = job.table();
    for night in 0..3 {
        job.write_image("00001.jpg", &jpeg(50 + night));
        job.run_ok(&[]);
    }
    let before = shown_columns(&table, "*");
    for (id, age) in ids(&table).iter().zip(0_u64..) {
        let record = table.join(format!("_tilefleet/{id}/run.json"));
        let mut json: Value = serde_json::from_slice(&fs::read(&record).unwrap()).unwrap();
        for field in ["origin", "planned_at", "as_of"] {
            json.as_object_mut().unwrap().remove(field).unwrap();
        }
        fs::write(&record, json.to_string()).unwrap();
        let time = std::time::SystemTime::now() - Duration::from_hours(age);
        fs::File::open(&record).unwrap().set_modified(time).unwrap();
    }
    assert_eq!(shown_columns(&table, "*"), before);
    assert!(job.run_ok(&[]).contains("nothing new"));
    job.write_image("00001.jpg", &jpeg(60));
    job.run_ok(&[]);
    let before = shown_columns(&table, ROWS);
    answer(&table, &["compact", "--runs", &ids(&table)[..3].join(",")]);
    assert_eq!(shown_columns(&table, ROWS), before);
    answer(&table, &["compact"]);
    assert_eq!((shown_columns(&table, ROWS), ids(&table).len()), (before, 1));
    job.verify_ok();
}

/// Copies an output, so that it can be compacted again.
fn copied(table: &Path, to: &Path) {
    assert!(Command::new("cp").arg("-a").arg(table).arg(to).status().unwrap().success());
}

fn kill(mut child: Child) -> bool {
    let killed = child.try_wait().unwrap().is_none();
    child.kill().unwrap();
    child.wait().unwrap();
    killed
}

/// Killed twelve times in compacting and deleting, at any instruction: `tiles` shows the same rows each
/// time, and in the end they lie in one run.
#[test]
fn kills_in_a_compaction_lose_and_double_nothing() {
    let job = twelve_nights("");
    let expected = shown_columns(&job.table(), ROWS);
    let mut random = Random(0x5DEE_CE66);
    let (mut num_killed, mut num_before, mut num_after) = (0, 0, 0);
    for trial in 0.. {
        let table = job.path(&format!("copy-{trial}"));
        copied(&job.table(), &table);
        while ids(&table).len() > 1 {
            let files = shard_files(&table).len();
            let child = started(&table, &["compact", "--shard-tiles", "2"]);
            let step = random.below(12);
            let tombstones = || {
                fs::read_dir(table.join("_tilefleet"))
                    .unwrap()
                    .filter(|run| run.as_ref().unwrap().path().join("deleted.json").exists())
                    .count()
            };
            let deleted = tombstones();
            let give_up = Instant::now() + Duration::from_millis(400);
            while shard_files(&table).len() < files + step
                && tombstones() <= deleted + step / 4
                && Instant::now() < give_up
            {}
            std::thread::sleep(Duration::from_millis(random.below(6) as u64));
            if kill(child) {
                num_killed += 1;
                if tombstones() == 0 { num_before += 1 } else { num_after += 1 }
            }
            assert_sound(&table);
            assert_eq!(shown_columns(&table, ROWS), expected, "after kill {num_killed}");
        }
        while answer(&table, &["compact"]) != serde_json::json!([]) {}
        assert_exit(&verify(&table), 0);
        assert_eq!(shown_columns(&table, ROWS), expected);
        if num_killed >= 12 {
            break;
        }
    }
    println!("{num_killed} kills: {num_before} while copying, {num_after} while deleting");
}

/// Killed in deleting: the tiles are those from before or those of the older runs, and deleting again ends it.
#[test]
fn kills_in_a_deletion_leave_one_or_the_other() {
    let job = Job::new(60, "[plan]\nshard_tiles = 1");
    job.run_ok(&[]);
    let older = shown(&job.table());
    (0..30).for_each(|index| job.write_image(&format!("{index:05}.jpg"), &jpeg(900 + index)));
    job.run_ok(&[]);
    let newer = shown(&job.table());
    let newest = ids(&job.table()).pop().unwrap();
    let mut random = Random(0x2545_F491);
    let (mut num_before, mut num_after) = (0, 0);
    for trial in 0..10 {
        let table = job.path(&format!("copy-{trial}"));
        copied(&job.table(), &table);
        let child = started(&table, &["delete", &newest, "--yes"]);
        // Every third kill falls into the start, the others after some files went.
        if trial % 3 == 0 {
            std::thread::sleep(Duration::from_millis(random.below(10) as u64));
        } else {
            let left = 90 - 1 - random.below(29);
            wait_until("some files went", || shard_files(&table).len() <= left);
        }
        kill(child);
        assert_sound(&table);
        let rows = shown(&table);
        if table.join(format!("_tilefleet/{newest}/deleted.json")).exists() {
            num_after += 1;
            assert_eq!(rows, older);
        } else {
            num_before += 1;
            assert_eq!(rows, newer);
        }
        answer(&table, &["delete", &newest, "--yes"]);
        assert_eq!((shown(&table).len(), shard_files(&table).len()), (60, 60));
        assert_exit(&verify(&table), 0);
    }
    println!("{num_before} kills before the tombstone, {num_after} after");
}

/// Two compactions at once share the work, and one may delete what the other still copies.
#[test]
fn compactions_at_once_make_one_run() {
    let job = twelve_nights("");
    let expected = shown_columns(&job.table(), ROWS);
    let both: Vec<Child> =
        (0..3).map(|_| started(&job.table(), &["compact", "--shard-tiles", "1"])).collect();
    for child in both {
        assert_exit(&child.wait_with_output().unwrap(), 0);
    }
    assert_eq!(ids(&job.table()).len(), 1);
    assert_eq!(shown_columns(&job.table(), ROWS), expected);
    job.verify_ok();
}

/// In a bucket, each kind of request fails once in mid-compaction; it goes on, and nothing is lost.
#[test]
fn a_bucket_that_fails_in_mid_compaction_loses_nothing() {
    let Some(server) = support::seaweedfs() else { return };
    let job = twelve_nights("");
    server.create_bucket("tables");
    server.put_dir("tables", "table", &job.table());
    let expected = shown_columns(&job.table(), ROWS);
    let at = |endpoint: &str, command: &str, arguments: &[&str]| {
        let mut process = support::tilefleet();
        process.args([command, "s3://tables/table"]).args(arguments);
        process.args(["--set", "storage.max_retries=0", "--set", "storage.retry_timeout=1s"]);
        process.envs(S3Server::variables(endpoint, S3Server::OWNER)).output().unwrap()
    };
    let here = server.endpoint();
    let shown_there = || -> RecordBatch {
        let out = job.path("there.parquet");
        let _ = fs::remove_file(&out);
        let sql = format!("SELECT {ROWS} FROM tiles ORDER BY source, tile_id");
        assert_exit(&at(&here, "query", &[&sql, "--format", "parquet", "--out", out.to_str().unwrap()]), 0);
        let file = fs::File::open(&out).unwrap();
        let reader = parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder::try_new(file).unwrap();
        let schema = reader.schema().clone();
        let batches: Vec<_> = reader.build().unwrap().map(Result::unwrap).collect();
        arrow::compute::concat_batches(&schema, &batches).unwrap()
    };
    let lost = |method, key| Rule::new(Fault::LostReply).on_method(method).on_key(key).times(1);
    let never = |method, key| Rule::new(Fault::Status(503)).on_method(method).on_key(key);
    let faults = [
        [lost("PUT", "-0013/sources.parquet"), never("PUT", "-0013/plan/")],
        [lost("PUT", "-0013/plan/"), never("PUT", "-0013/run.json")],
        [lost("PUT", "-0013/run.json"), never("PUT", "-0013/shard-00000000")],
        [lost("PUT", "-0013/shard-00000003"), never("PUT", "-0013/shard-00000005")],
        [lost("PUT", "-0013/shard-00000005"), never("GET", "-0010/shard-00000000")],
        [lost("PUT", "-0013/summary.json"), never("PUT", "-0001/deleted.json")],
        [lost("PUT", "-0001/deleted.json"), never("POST", "?delete")],
        [lost("POST", "?delete"), never("POST", "?delete")],
        [lost("POST", "?delete"), never("POST", "?delete")],
        [lost("POST", "?delete"), never("PUT", "-0007/deleted.json")],
    ];
    // Open runs and half deleted ones are 75. After the sixth the new run is complete, and no old one is touched.
    for (number, rules) in faults.into_iter().enumerate() {
        let proxy = FaultProxy::before_server(&server);
        let what = format!("{rules:?}");
        for rule in rules {
            proxy.add(rule);
        }
        assert_exit(&at(&proxy.endpoint(), "runs", &["compact"]), 75);
        let code = at(&here, "verify", &[]).status.code();
        assert!(!proxy.befallen().is_empty(), "{what}");
        assert_eq!(code, Some(if number == 5 { 0 } else { 75 }), "after {what}");
        assert_eq!(shown_there(), expected, "after {what}");
    }
    assert_exit(&at(&here, "runs", &["compact"]), 0);
    let verified = at(&here, "verify", &["--json"]);
    assert_exit(&verified, 0);
    assert_eq!(serde_json::from_slice::<Value>(&verified.stdout).unwrap().as_array().unwrap().len(), 1);
    assert_eq!(shown_there(), expected);
    let folders: BTreeSet<String> = server
        .keys("tables", "table/tiles")
        .iter()
        .map(|key| key.rsplit_once('/').unwrap().0.to_owned())
        .collect();
    assert_eq!(folders.len(), 1, "{folders:?}");
}

/// Someone who queries all the while never sees a tile twice, nor one missing.
#[test]
fn a_reader_beside_a_compaction_sees_each_tile_once() {
    let job = twelve_nights("");
    let table = job.table();
    let expected = shown_columns(&table, ROWS);
    let sql = "SELECT count(*) AS n, count(DISTINCT tile_id) AS ids, count(DISTINCT run) AS runs FROM tiles";
    let mut compaction = started(&table, &["compact", "--shard-tiles", "1"]);
    let mut num_answers = 0;
    while compaction.try_wait().unwrap().is_none() {
        let output = support::tilefleet().arg("query").arg(&table).arg(sql).arg("--json").output().unwrap();
        match output.status.code() {
            Some(0) => {
                let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
                assert_eq!((&answer[0]["n"], &answer[0]["ids"]), (&42.into(), &42.into()), "{answer}");
                num_answers += 1;
            }
            // The files went while they were read: asked again, it is answered.
            code => assert_eq!(code, Some(75), "{}", stderr(&output)),
        }
    }
    assert_exit(&compaction.wait_with_output().unwrap(), 0);
    println!("{num_answers} answers beside the compaction");
    assert_eq!(shown_columns(&table, ROWS), expected);
}
