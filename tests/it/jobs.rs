//! Whole jobs on local files: rows, resume, incremental runs, racing workers, refusals.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::path::Path;
use std::process::Stdio;

use arrow::array::AsArray;
use serde_json::{Value, json};

use crate::fixture::{
    Job, assert_exit, ended, jpeg, model, png, rows, shard_files, signal, stderr, wait_until,
};
use crate::support;
use crate::support::small_disk::SmallDisk;

/// Every kind of bad input becomes one rejected row with its code; the others are untouched.
#[test]
fn bad_input_is_a_row_with_a_reason() {
    let job = Job::new(30, "[limits]\nmax_reject_ratio = 0.5\nmax_pixels = 1_000_000");
    let whole = jpeg(900);
    job.write_image("bad-early.jpg", &whole[..whole.len() / 10]);
    job.write_image("bad-half.jpg", &whole[..whole.len() / 2]);
    job.write_image("bad-end.jpg", &whole[..whole.len() - 2]);
    job.write_image("bad-zero.jpg", b"");
    job.write_image("bad-text.jpg", b"not an image at all");
    job.write_image("bad-16bit.png", &png(1, true));
    job.write_image("bad-bomb.png", &bomb());
    job.write_image("good-misnamed.png", &jpeg(3));
    job.run_ok(&[]);
    job.verify_ok();
    let rows = rows(&job.table());
    let reasons: BTreeMap<&str, &str> =
        rows.iter().filter_map(|row| Some((row.file(), row.reason.as_deref()?))).collect();
    let expected = BTreeMap::from([
        ("bad-16bit.png", "bit_depth_mismatch"),
        ("bad-bomb.png", "too_large"),
        ("bad-early.jpg", "truncated"),
        ("bad-end.jpg", "truncated"),
        ("bad-half.jpg", "truncated"),
        ("bad-text.jpg", "not_an_image"),
        ("bad-zero.jpg", "empty"),
    ]);
    assert_eq!(reasons, expected);
    assert_eq!(rows.iter().filter(|row| row.status == "ok").count(), 31);
    assert!(rows.iter().all(|row| (row.status == "ok") == row.embedding.is_some()));
    let misnamed = rows.iter().find(|row| row.file() == "good-misnamed.png").unwrap();
    assert_eq!(misnamed.detail.as_deref(), Some("named .png, content is JPEG"));
}

fn bomb() -> Vec<u8> {
    let mut bytes = Vec::new();
    drop(png::Encoder::new(&mut bytes, 50_000, 50_000).write_header().unwrap());
    bytes
}

/// Beyond the limit the run still commits everything, and says so with exit 65.
#[test]
fn too_many_rejects_commit_and_exit_65() {
    let job = Job::new(3, "[limits]\nmax_reject_ratio = 0.2");
    job.write_image("bad.jpg", b"");
    let output = job.run(&[]);
    assert_exit(&output, 65);
    assert!(stderr(&output).contains("1 of 4 tiles was rejected (25.0 %)"), "{}", stderr(&output));
    job.verify_ok();
    assert_eq!(rows(&job.table()).len(), 4);
}

/// What the error counts is what `runs` counts, and the commands that it names can be typed as they stand.
#[test]
fn too_many_rejects_name_figures_and_commands_that_exist() {
    let job = Job::new(3, "");
    job.write_image("bad.jpg", b"");
    let table = fs::canonicalize(job.folder.path()).unwrap().join("table");
    let output = job.run(&["--output", table.to_str().unwrap()]);
    assert_exit(&output, 65);
    let said = stderr(&output);
    let hint = said.lines().find(|line| line.starts_with("  hint: ")).unwrap().to_owned();
    let commands: Vec<&str> = hint.split('`').skip(1).step_by(2).collect();
    let [rejects, runs, enough] = commands[..] else { panic!("{hint}") };
    for (command, figures) in [(rejects, "empty  1 tile\n"), (runs, "4 tiles: 3 ok, 0 skipped, 1 rejected")] {
        let mut words = command.split(' ');
        assert_eq!(words.next(), Some("tilefleet"));
        let told = support::tilefleet().args(words).output().unwrap();
        assert_exit(&told, 0);
        assert!(String::from_utf8_lossy(&told.stdout).contains(figures), "{command}");
    }
    // With the limit that is proposed as many are within it.
    fs::remove_dir_all(&table).unwrap();
    let words: Vec<&str> = enough.split(' ').collect();
    assert_eq!(words, ["--set", "limits.max_reject_ratio=0.25"]);
    assert_exit(&job.run(&[&["--output", table.to_str().unwrap()][..], &words].concat()), 0);
}

/// One is one: numbers and words agree in what people read.
#[test]
fn one_thing_is_told_in_the_singular() {
    let job = Job::new(1, "");
    job.write_image("notes.txt", b"no image");
    let first = job.run(&["-v"]);
    assert_exit(&first, 0);
    let said = stderr(&first);
    for sentence in [
        "1 file is not an image by its extension and left out: 1 .txt",
        "1 source with ",
        "2 objects below ",
        "1 of which is not an image by its extension",
    ] {
        assert!(said.contains(sentence), "no `{sentence}` in {said}");
    }
    fs::remove_file(job.path("images/00000.jpg")).unwrap();
    job.write_image("other.jpg", &jpeg(1));
    let said = stderr(&job.run(&["-v"]));
    assert!(said.contains("1 source is new"), "{said}");
    assert!(said.contains("1 source of earlier runs is not in the input any more; its rows stay"), "{said}");
}

/// A second run has nothing to do; a third covers just what is new or has changed.
#[test]
fn a_run_covers_what_is_new_or_changed() {
    let job = Job::new(10, "[plan]\nshard_tiles = 4");
    job.run_ok(&[]);
    assert_eq!(shard_files(&job.table()).len(), 3);
    let again = job.run_ok(&[]);
    assert!(again.contains("nothing new"), "{again}");
    job.write_image("00003.jpg", &jpeg(333));
    job.write_image("new.jpg", &jpeg(444));
    let third: Value = serde_json::from_str(&job.run_ok(&["--json"])).unwrap();
    assert!(third["run_id"].as_str().unwrap().ends_with("-0002"), "{third}");
    assert_eq!(third["summary"]["tiles"], 2);
    job.verify_ok();
    let rows = rows(&job.table());
    assert_eq!(rows.len(), 12);
    let ids: HashSet<_> = rows.iter().map(|row| &row.tile_id).collect();
    assert_eq!(ids.len(), 11, "the changed image keeps its tile id");
}

/// The same input gives the same rows, whatever the number of threads and shards.
#[test]
fn two_outputs_of_one_input_agree() {
    let job = Job::new(12, "");
    let other = job.path("other");
    job.run_ok(&["--set", "plan.shard_tiles=5", "--set", "run.batch=4"]);
    job.run_ok(&["--output", other.to_str().unwrap(), "--set", "run.threads=1"]);
    let (first, second) = (rows(&job.table()), rows(&other));
    assert_eq!(first.len(), 12);
    for (left, right) in first.iter().zip(&second) {
        assert_eq!(
            (&left.tile_id, &left.source, left.class_id),
            (&right.tile_id, &right.source, right.class_id)
        );
        let pairs = left.embedding.iter().flatten().zip(right.embedding.iter().flatten());
        assert!(
            pairs.clone().count() == 512
                && pairs.clone().all(|(a, b)| (a - b).abs() <= 1e-4 * a.abs().max(1.0))
        );
    }
    assert!(first[0].embedding != first[1].embedding, "different images, different embeddings");
}

/// Workers that start at once adopt one plan and leave every tile once.
#[test]
fn two_and_four_workers_at_once_share_one_run() {
    for num_workers in [2, 4] {
        let job = Job::new(48, "[plan]\nshard_tiles = 3");
        let workers: Vec<_> = (0..num_workers)
            .map(|_| job.run_command(&[]))
            .map(|mut command| command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap())
            .collect();
        for worker in workers {
            assert_exit(&worker.wait_with_output().unwrap(), 0);
        }
        let verdicts = job.verify_ok();
        assert_eq!(verdicts.as_array().unwrap().len(), 1, "{verdicts}");
        let rows = rows(&job.table());
        let ids: HashSet<_> = rows.iter().map(|row| &row.tile_id).collect();
        assert_eq!((rows.len(), ids.len()), (48, 48));
    }
}

/// Another model size does not fit the same table.
#[test]
fn another_lineage_is_refused_before_any_work() {
    let job = Job::new(3, "");
    job.run_ok(&[]);
    let before = shard_files(&job.table());
    let wider = model("wider", &["--arch", "resnet50", "--classes", "10", "--size", "64", "--resize", "72"]);
    let output = job.run(&["--model", wider.to_str().unwrap()]);
    assert_exit(&output, 78);
    assert!(stderr(&output).contains("has another schema"), "{}", stderr(&output));
    assert!(stderr(&output).contains("choose another output"), "{}", stderr(&output));
    assert_eq!(shard_files(&job.table()), before);
}

/// The same network with other weights is another run over everything in the same output.
#[test]
fn another_fingerprint_is_another_run() {
    let job = Job::new(3, "");
    job.run_ok(&[]);
    let retrained = model(
        "retrained",
        &["--seed", "8", "--arch", "resnet18", "--classes", "10", "--size", "64", "--resize", "72"],
    );
    job.run_ok(&["--model", retrained.to_str().unwrap()]);
    assert_eq!(job.verify_ok().as_array().unwrap().len(), 2);
    assert_eq!(rows(&job.table()).len(), 6);
}

/// A run id whose record was planned for another fingerprint is never continued.
#[test]
fn a_record_of_another_fingerprint_is_refused() {
    let job = Job::new(3, "");
    job.run_ok(&[]);
    let record = fs::read_dir(job.path("table/_tilefleet"))
        .unwrap()
        .map(|entry| entry.unwrap().path().join("run.json"));
    let record = record.into_iter().find(|path| path.exists()).unwrap();
    let mut json: Value = serde_json::from_slice(&fs::read(&record).unwrap()).unwrap();
    json["fingerprint"] = "0".repeat(64).into();
    fs::write(&record, json.to_string()).unwrap();
    let output = job.run(&[]);
    assert_exit(&output, 78);
    assert!(stderr(&output).contains("another fingerprint"), "{}", stderr(&output));
}

/// A manifest's further columns come along, typed.
#[test]
fn manifest_columns_come_along() {
    let job = Job::new(4, "");
    let manifest = job.path("manifest.csv");
    fs::write(&manifest, "uri,site,weight\nimages/00002.jpg,north,1.5\nimages/00000.jpg,south,2.5\n")
        .unwrap();
    let manifest = format!("input.manifest={}", manifest.display());
    job.run_ok(&["--set", "input.uris=[]", "--set", &manifest]);
    job.verify_ok();
    let file = shard_files(&job.table()).into_values().next().unwrap();
    let reader =
        parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder::try_new(fs::File::open(file).unwrap());
    let batch = reader.unwrap().build().unwrap().next().unwrap().unwrap();
    let extra = batch["extra"].as_struct();
    let sites: Vec<_> = extra["site"].as_string::<i32>().iter().flatten().collect();
    assert_eq!(sites, ["south", "north"], "rows are in order of URI");
    assert_eq!(extra["weight"].as_primitive::<arrow::datatypes::Float64Type>().values(), &[2.5, 1.5]);
}

/// What other readers find in the column `extra`: pyarrow's types, DuckDB's, and values.
const EXTRA_TYPES: &str = "import sys, glob, duckdb, pyarrow.parquet as pq\n\
    file, = glob.glob(sys.argv[1] + '/tiles/*/*.parquet')\n\
    for field in pq.read_schema(file).field('extra').type:\n\
    \x20   name = field.name\n\
    \x20   kind = duckdb.sql(f\"SELECT DISTINCT typeof(extra.{name}) FROM '{file}'\").fetchone()[0]\n\
    \x20   value = f'epoch_ms(extra.{name})' if kind.startswith('TIMESTAMP') and '[' not in kind else f'extra.{name}'\n\
    \x20   value = duckdb.sql(f\"SELECT ({value})::VARCHAR FROM '{file}' ORDER BY source\").fetchone()[0]\n\
    \x20   print(name, field.type, kind, value, sep=' | ')\n";

fn extra_types(python: &Path, table: &Path) -> Vec<String> {
    support::run_python(python, EXTRA_TYPES, &[table]).lines().map(str::to_owned).collect()
}

/// Parquet has no times in seconds: they were bare integers to whoever reads the files.
#[test]
fn times_of_a_csv_manifest_are_timestamps_to_other_readers() {
    let Some(python) = support::python() else { return };
    let job = Job::new(2, "");
    let manifest = job.path("manifest.csv");
    let text = "uri,utc,zero,local,fine,leap,day\n\
        images/00000.jpg,2024-05-01T10:00:00Z,2024-05-01 10:00:00+00:00,2024-05-01T10:00:00,\
        2024-05-01T10:00:00.123456Z,2016-12-31T23:59:60Z,2024-05-01\n\
        images/00001.jpg,2024-05-01T10:00:01Z,2024-05-01 10:00:01+00:00,2024-05-01T10:00:01,\
        2024-05-01T10:00:01.123456Z,2016-12-31T23:59:59Z,2024-05-02\n";
    fs::write(&manifest, text).unwrap();
    let set = format!("input.manifest={}", manifest.display());
    let run = || job.run(&["--set", "input.uris=[]", "--set", &set]);
    assert_exit(&run(), 0);
    let expected = [
        "utc | timestamp[ms, tz=UTC] | TIMESTAMP WITH TIME ZONE | 1714557600000",
        "zero | timestamp[ms, tz=UTC] | TIMESTAMP WITH TIME ZONE | 1714557600000",
        "local | timestamp[ms] | TIMESTAMP | 1714557600000",
        "fine | timestamp[us, tz=UTC] | TIMESTAMP WITH TIME ZONE | 1714557600123",
        "leap | string | VARCHAR | 2016-12-31T23:59:60Z",
        "day | date32[day] | DATE | 2024-05-01",
    ];
    assert_eq!(extra_types(&python, &job.table()), expected);

    // An output of an earlier build keeps its columns, and a run with others is refused before it writes.
    let record = job.table().join("_tilefleet/output.json");
    let mut json: Value = serde_json::from_slice(&fs::read(&record).unwrap()).unwrap();
    assert_eq!(json["extra"][0], "utc: Timestamp(ms, \"UTC\")");
    json["extra"][0] = "utc: Timestamp(s)".into();
    fs::write(&record, json.to_string()).unwrap();
    fs::write(&manifest, text.replace("10:00:01Z", "10:00:02Z")).unwrap();
    let refused = run();
    assert_exit(&refused, 78);
    let said = stderr(&refused);
    assert!(said.contains("the manifest's columns (utc: Timestamp(ms, \"UTC\")"), "{said}");
    assert!(said.contains("differ from those of the output") && said.contains("utc: Timestamp(s)"), "{said}");
    assert_eq!(shard_files(&job.table()).len(), 1);
}

/// Types that Arrow has and Parquet has not.
#[test]
fn times_of_a_parquet_manifest_are_times_to_other_readers() {
    let Some(python) = support::python() else { return };
    let job = Job::new(1, "");
    let manifest = job.path("manifest.parquet");
    let program = "import sys, datetime, pyarrow as pa, pyarrow.parquet as pq\n\
        at = datetime.datetime(2024, 5, 1, 10)\n\
        columns = {\n\
        \x20   'uri': pa.array(['images/00000.jpg']),\n\
        \x20   'second': pa.array([at], pa.timestamp('s')),\n\
        \x20   'utc': pa.array([at], pa.timestamp('s', tz='UTC')),\n\
        \x20   'day': pa.array([at.date()], pa.date64()),\n\
        \x20   'clock': pa.array([at.time()], pa.time32('s')),\n\
        \x20   'lasts': pa.array([datetime.timedelta(seconds=90)], pa.duration('s')),\n\
        \x20   'many': pa.array([[at]], pa.list_(pa.timestamp('s'))),\n\
        }\n\
        pq.write_table(pa.table(columns), sys.argv[1])";
    support::run_python(&python, program, &[&manifest]);
    let set = format!("input.manifest={}", manifest.display());
    job.run_ok(&["--set", "input.uris=[]", "--set", &set]);
    let expected = [
        "second | timestamp[ms] | TIMESTAMP | 1714557600000",
        "utc | timestamp[ms, tz=UTC] | TIMESTAMP WITH TIME ZONE | 1714557600000",
        "day | date32[day] | DATE | 2024-05-01",
        "clock | time32[ms] | TIME | 10:00:00",
        "lasts | duration[s] | BIGINT | 90",
        "many | list<element: timestamp[ms]> | TIMESTAMP[] | ['2024-05-01 10:00:00']",
    ];
    assert_eq!(extra_types(&python, &job.table()), expected);
}

/// What stands in the manifest stands in the table, also after it was corrected; rows taken out stay, and that is said.
#[cfg(feature = "query")]
#[test]
fn corrected_values_of_a_manifest_reach_the_table() {
    let job = Job::new(3, "");
    let manifest = job.path("manifest.csv");
    let set = format!("input.manifest={}", manifest.display());
    let run = |rows: &str| {
        fs::write(&manifest, format!("uri,site\n{rows}")).unwrap();
        let output = job.run(&["--set", "input.uris=[]", "--set", &set, "--json"]);
        assert_exit(&output, 0);
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        (report["this_process"]["settled"].as_u64().unwrap(), stderr(&output))
    };
    let [a, b, c] = [0, 1, 2].map(|index| format!("images/{index:05}.jpg"));
    assert_eq!(run(&format!("{a},north\n{b},south\n{c},\n")).0, 3);
    assert_eq!(run(&format!("{a},north\n{b},south\n{c},\n")).0, 0, "nothing new");
    assert_eq!(run(&format!("{a},north\n{b},west\n{c},\n")).0, 1, "one value was corrected");
    let (settled, said) = run(&format!("{a},north\n{b},west\n"));
    assert_eq!(settled, 0);
    assert!(said.contains("1 source of earlier runs is not in the input any more"), "{said}");
    let sql = "SELECT coalesce(extra['site'], '-') AS site FROM tiles ORDER BY source";
    let sites =
        support::stdout_of(support::tilefleet().arg("query").arg(job.table()).args([sql, "--format", "csv"]));
    assert_eq!(sites.lines().skip(1).collect::<Vec<_>>(), ["north", "west", "-"]);
    job.verify_ok();
}

/// SIGTERM and SIGINT end a run early with their codes; the next run finishes it.
#[test]
fn signals_drain_and_the_next_run_goes_on() {
    for (name, code) in [("TERM", 143), ("INT", 130)] {
        let job = Job::new(400, "[plan]\nshard_tiles = 5\n[run]\nthreads = 1\nbatch = 1");
        let mut worker = job.run_command(&[]);
        let worker = worker.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        wait_until("the first shard is committed", || !shard_files(&job.table()).is_empty());
        signal(&worker, name);
        assert_exit(&ended(worker), code);
        assert_exit(&job.verify(), 75);
        job.run_ok(&[]);
        job.verify_ok();
        assert_eq!(rows(&job.table()).len(), 400);
    }
}

/// Shards are small enough by default that an interruption loses little of a short run.
#[test]
fn an_interrupted_run_of_two_thousand_tiles_keeps_what_is_done() {
    let job = Job::new(2000, "[run]\nthreads = 1\nbatch = 1");
    let mut worker = job.run_command(&[]);
    let worker = worker.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    wait_until("some shards are committed", || shard_files(&job.table()).len() > 1);
    signal(&worker, "INT");
    assert_exit(&ended(worker), 130);
    let kept = rows(&job.table()).len();
    assert!((2 * 256..2000).contains(&kept), "{kept} rows are kept");
    let report: Value = serde_json::from_str(&job.run_ok(&["--json"])).unwrap();
    assert_eq!(report["this_process"]["settled"], 2000 - kept);
    assert_eq!(report["summary"]["shards"], 8, "as they were planned");
    job.verify_ok();
    assert_eq!(rows(&job.table()).len(), 2000);
}

/// A limited run is a run over the first sources, says so everywhere, and is never taken for the whole.
#[test]
fn a_limited_run_says_so_and_the_next_one_covers_the_rest() {
    let job = Job::new(5, "[plan]\nshard_tiles = 1");
    let table = job.table();
    let told = |command: &str| {
        let output = support::tilefleet().arg(command).arg(&table).output().unwrap();
        assert_exit(&output, 0);
        String::from_utf8(output.stdout).unwrap()
    };
    let files = || rows(&table).iter().map(|row| row.file().to_owned()).collect::<Vec<_>>();
    let part = "of the first 2 of 5 sources; a run without --limit covers the 3 sources left\n";
    let first = job.run_ok(&["--limit", "2"]);
    assert!(first.contains("-0001  complete: 2 tiles in 2 shards") && first.contains(part), "{first}");
    assert_eq!(files(), ["00000.jpg", "00001.jpg"]);
    assert!(told("status").contains(part) && told("runs").contains(part));
    let again = job.run_ok(&["--limit", "2"]);
    let left =
        "each of the first 2 of 5 sources has its rows; a run without --limit covers the 3 sources left\n";
    assert!(again.contains(&format!("-0001  nothing new: {left}")), "{again}");
    let again: Value = serde_json::from_str(&job.run_ok(&["--limit", "2", "--json"])).unwrap();
    assert_eq!(again["limit"], json!({"sources": 2, "of": 5}));
    for dry in [&[][..], &["--dry-run"]] {
        let plan = [&["--limit", "2"], dry].concat();
        let plan = support::tilefleet().arg("plan").arg(&job.pipeline).args(plan).output().unwrap();
        assert_exit(&plan, 0);
        assert!(String::from_utf8_lossy(&plan.stdout).contains(left), "{plan:?}");
    }
    job.verify_ok();

    // One that was begun is finished by whoever comes; who wants all gets all.
    let plan = support::tilefleet().arg("plan").arg(&job.pipeline).args(["--limit", "3"]).output().unwrap();
    assert_exit(&plan, 0);
    assert!(String::from_utf8_lossy(&plan.stdout).contains("of the first 3 of 5 sources"));
    let whole = job.run_ok(&[]);
    assert!(whole.contains("-0003  complete: 2 tiles") && !whole.contains("of the first"), "{whole}");
    assert_eq!(files().len(), 5);
    // What the limited runs covered stays told, and nobody is sent to cover the rest again.
    for listed in [told("status"), told("runs")] {
        assert!(listed.contains("of the first 2 of 5 sources\n"), "{listed}");
        assert!(!listed.contains("--limit"), "{listed}");
    }
    let limit_of_all: Value = serde_json::from_str(&job.run_ok(&["--limit", "9", "--json"])).unwrap();
    assert_eq!(limit_of_all.get("limit"), None);
    job.verify_ok();
    let nothing = job.run(&["--limit", "2"]);
    assert!(!stderr(&nothing).contains("not in the input"), "{}", stderr(&nothing));

    // And who wants a part does not get all because that was begun.
    (5..9).for_each(|index| job.write_image(&format!("{index:05}.jpg"), &jpeg(index)));
    let plan = support::tilefleet().arg("plan").arg(&job.pipeline).output().unwrap();
    assert_exit(&plan, 0);
    let refused = job.run(&["--limit", "3"]);
    assert_exit(&refused, 64);
    assert!(
        stderr(&refused).contains("covers 4 sources: a limit cannot change that"),
        "{}",
        stderr(&refused)
    );
    assert!(job.run_ok(&["--limit", "4"]).contains("-0004  complete: 4 tiles"));
}

/// A run that an earlier build planned in one shard goes on in one, and says nothing of it.
#[test]
fn plans_of_fixed_shards_go_on_as_they_are() {
    let job = Job::new(100, "");
    let plan =
        support::tilefleet().arg("plan").arg(&job.pipeline).args(["--set", "plan.shard_tiles=4096"]).output();
    assert_exit(&plan.unwrap(), 0);
    let output = job.run(&["--json"]);
    assert_exit(&output, 0);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["summary"]["shards"], 1);
    assert!(!stderr(&output).contains("shards of"), "{}", stderr(&output));
}

/// That a disk is too small is said when the plan is made, before anything is computed; what fits is committed.
#[test]
fn a_disk_that_is_too_small_is_said_at_the_start() {
    let job = Job::new(400, "");
    let Some(disk) = SmallDisk::mount(&job.path("disk"), "600k") else { return };
    let table = disk.0.join("table");
    let output = ["--output", table.to_str().unwrap()];
    let says = |said: &str| {
        // 400 tiles of 512 floats, and what else there is of a row.
        said.contains("about 1000.0 KiB will be written to") && said.contains("KiB are free")
    };
    let mut plan = support::tilefleet();
    let planned = plan.arg("plan").arg(&job.pipeline).args(output).output().unwrap();
    assert_exit(&planned, 0);
    assert!(says(&stderr(&planned)), "{}", stderr(&planned));
    let full = job.run(&output);
    assert_exit(&full, 75);
    assert!(says(&stderr(&full)), "{}", stderr(&full));
    let num_kept = rows(&table).len();
    assert!((64..400).contains(&num_kept), "{num_kept}");
    // With room for all nothing is said.
    let roomy = job.run(&[]);
    assert_exit(&roomy, 0);
    assert!(!stderr(&roomy).contains("are free"), "{}", stderr(&roomy));
}

/// `plan --dry-run` counts and writes nothing; `plan` publishes what `run` then adopts.
#[test]
fn a_plan_can_be_looked_at_and_published() {
    let job = Job::new(7, "[plan]\nshard_tiles = 3");
    let plan = |arguments: &[&str]| {
        let output = support::tilefleet()
            .arg("plan")
            .arg(&job.pipeline)
            .arg("--json")
            .args(arguments)
            .output()
            .unwrap();
        assert_exit(&output, 0);
        serde_json::from_slice::<Value>(&output.stdout).unwrap()
    };
    let dry = plan(&["--dry-run"]);
    assert_eq!((&dry["tiles"], &dry["shards"], &dry["published"]), (&7.into(), &3.into(), &false.into()));
    assert!(!job.table().exists(), "a dry run writes nothing");
    let published = plan(&[]);
    assert_eq!((&published["shards"], &published["published"]), (&3.into(), &true.into()));
    job.write_image("late.jpg", &jpeg(77));
    let report: Value = serde_json::from_str(&job.run_ok(&["--json"])).unwrap();
    assert_eq!(report["summary"]["tiles"], 7, "the published plan is immutable");
    let status = support::tilefleet().arg("status").arg(job.table()).arg("--json").output().unwrap();
    let status: Value = serde_json::from_slice(&status.stdout).unwrap();
    assert_eq!((&status[0]["complete"], &status[0]["open"]), (&true.into(), &0.into()));
}

/// Of two pipelines that start at once on a new output, one decides what its rows look like.
#[test]
fn two_lineages_at_once_leave_one_table() {
    let job = Job::new(20, "");
    let wider =
        model("wider-at-once", &["--arch", "resnet50", "--classes", "10", "--size", "64", "--resize", "72"]);
    let other = job.path("other.toml");
    fs::copy(&job.pipeline, &other).unwrap();
    let spawn = |pipeline: &Path, arguments: &[&str]| {
        let mut command = support::tilefleet();
        command
            .arg("run")
            .arg(pipeline)
            .args(arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    };
    let workers = [spawn(&job.pipeline, &[]), spawn(&other, &["--model", wider.to_str().unwrap()])];
    let mut codes: Vec<_> =
        workers.into_iter().map(|worker| worker.wait_with_output().unwrap().status.code()).collect();
    codes.sort_unstable();
    assert_eq!(codes, [Some(0), Some(78)]);
    job.verify_ok();
    assert_eq!(rows(&job.table()).len(), 20);
}

/// A planner that died after the election is finished by the next worker, over the elected sources.
#[test]
fn a_half_published_plan_is_finished() {
    let job = Job::new(6, "[plan]\nshard_tiles = 2");
    let plan = support::tilefleet().arg("plan").arg(&job.pipeline).output().unwrap();
    assert_exit(&plan, 0);
    let run = fs::read_dir(job.path("table/_tilefleet")).unwrap().map(|entry| entry.unwrap().path());
    let run = run.into_iter().find(|path| path.join("run.json").exists()).unwrap();
    fs::remove_file(run.join("run.json")).unwrap();
    fs::remove_file(run.join("plan/part-00000.parquet")).unwrap();
    job.write_image("late.jpg", &jpeg(99));
    // The elected plan has shards of 2, whatever this worker's own setting.
    job.run_ok(&["--set", "plan.shard_tiles=3"]);
    job.verify_ok();
    assert_eq!(shard_files(&job.table()).len(), 3);
    assert_eq!(rows(&job.table()).len(), 6);
}

/// Finding nothing new is success, also after a run with many rejects; finding nothing at all is not.
#[test]
fn nothing_new_is_success_and_nothing_at_all_is_not() {
    let job = Job::new(2, "[limits]\nmax_reject_ratio = 0.1");
    job.write_image("bad.jpg", b"");
    assert_exit(&job.run(&[]), 65);
    assert_exit(&job.run(&[]), 0);
    fs::rename(job.path("images"), job.path("moved")).unwrap();
    fs::create_dir(job.path("images")).unwrap();
    let output = job.run(&[]);
    assert_exit(&output, 78);
    assert!(stderr(&output).contains("no sources were found"), "{}", stderr(&output));
}

/// A batch larger than the queue's share of `run.memory` still fills: none leaves partial by `max_wait` but
/// the last.
#[test]
fn a_batch_fills_however_small_the_memory() {
    let job = Job::new(150, "");
    let settings = ["run.memory=1MiB", "run.batch=64", "run.max_wait=2m", "run.sessions=2"];
    let flags = settings.iter().flat_map(|setting| ["--set", setting]);
    let report = job.run_ok(&std::iter::once("--json").chain(flags).collect::<Vec<_>>());
    let report: Value = serde_json::from_str(&report).unwrap();
    assert_eq!(report["summary"]["ok"], 150);
    let seconds = report["this_process"]["seconds"].as_f64().unwrap();
    assert!(seconds < 120.0, "a batch waited for chips that had no room: {seconds} s");
}
