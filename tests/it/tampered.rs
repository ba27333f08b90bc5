//! Records that somebody has altered: they end in a message, and lead nowhere outside.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Array, Int64Array, RecordBatch};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::file::properties::WriterProperties;
use serde_json::{Value, json};

use crate::fixture::{Job, assert_exit, jpeg, shard_files, stderr, wait_until};
use crate::support;

/// Two complete runs, of two shards and of one.
fn two_runs() -> Job {
    let job = Job::new(3, "[plan]\nshard_tiles = 2");
    job.run_ok(&[]);
    job.write_image("new.jpg", &jpeg(9));
    job.run_ok(&[]);
    job
}

fn records(job: &Job) -> Vec<PathBuf> {
    let entries = fs::read_dir(job.table().join("_tilefleet")).unwrap();
    let mut folders: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    folders.retain(|folder| folder.join("run.json").exists());
    folders.sort();
    folders
}

fn read(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn command(table: &Path, arguments: &[&str]) -> Output {
    let mut command = support::tilefleet();
    command.arg(arguments[0]).arg(table).args(&arguments[1..]).output().unwrap()
}

/// Every command that reads records; none may crash.
fn all_commands(table: &Path) -> Vec<(&'static str, Output)> {
    [
        ("verify", &["verify"][..]),
        ("status", &["status"]),
        ("runs", &["runs"]),
        ("compact", &["runs", "compact"]),
    ]
    .map(|(name, arguments)| (name, command(table, arguments)))
    .into()
}

/// Paths of all numbers in a JSON document.
fn numbers(value: &Value, path: &str, found: &mut Vec<String>) {
    match value {
        Value::Number(_) => found.push(path.to_owned()),
        Value::Object(map) => {
            map.iter().for_each(|(key, below)| numbers(below, &format!("{path}/{key}"), found));
        }
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(at, below)| numbers(below, &format!("{path}/{at}"), found));
        }
        _ => {}
    }
}

#[test]
fn an_altered_run_record_is_named_with_its_field() {
    let job = two_runs();
    let record = records(&job)[0].join("run.json");
    let sound = read(&record);
    let cases = [
        ("/format", json!(7), "`format`"),
        ("/run_id", json!("photos-00000000-0001"), "`run_id`"),
        ("/origin", json!({"compaction": {"of": ["photos-00000000-0001"]}}), "`origin`"),
        ("/plan/shards", json!(u32::MAX), "`plan.shards`"),
        ("/plan/shards", json!(0), "`plan.shards`"),
        ("/plan/tiles", json!(1_u64 << 60), "`plan.tiles`"),
        ("/plan/shard_tiles", json!(0), "`plan.shard_tiles`"),
        ("/plan/shard_tiles", json!(u32::MAX), "`plan.shard_tiles`"),
        ("/plan/sources", json!(u64::MAX), "`plan.sources`"),
        ("/model/contract/output/embedding_length", json!(0), "output.embedding_length"),
        ("/model/contract/output/embedding_length", json!(1_u64 << 60), "output.embedding_length"),
        ("/model/contract/output/classifier/num_classes", json!(1_u64 << 60), "num_classes"),
        ("/model/contract/input/width", json!(u32::MAX), "input"),
    ];
    for (path, value, field) in cases {
        let mut altered = sound.clone();
        *altered.pointer_mut(path).unwrap() = value.clone();
        fs::write(&record, altered.to_string()).unwrap();
        for (name, output) in all_commands(&job.table()) {
            assert_exit(&output, 78);
            let said = stderr(&output);
            assert!(said.contains("run.json") && said.contains(field), "{name}, {path} is {value}: {said}");
        }
    }
}

/// Whatever number stands anywhere, every command ends with a code of its own.
#[test]
fn no_number_in_a_record_crashes_a_command() {
    let job = two_runs();
    let folders = records(&job);
    let files = ["run.json", "summary.json"].map(|name| folders[0].join(name));
    let (mut num_tried, mut unnoticed) = (0, std::collections::BTreeSet::new());
    for file in files {
        let sound = read(&file);
        let mut paths = Vec::new();
        numbers(&sound, "", &mut paths);
        for path in paths {
            for value in
                [json!(0), json!(u32::MAX), json!(1_u64 << 60), json!(u64::MAX), json!(-1), json!(0.5)]
            {
                let mut altered = sound.clone();
                *altered.pointer_mut(&path).unwrap() = value.clone();
                fs::write(&file, altered.to_string()).unwrap();
                for (name, output) in [
                    ("runs", command(&job.table(), &["runs"])),
                    ("verify", command(&job.table(), &["verify"])),
                ] {
                    let code = output.status.code();
                    let said = stderr(&output);
                    assert!(
                        matches!(code, Some(0 | 70 | 75 | 78)),
                        "{name}, {path} is {value}: {code:?} {said}"
                    );
                    assert!(!said.contains("panicked"), "{name}, {path} is {value}: {said}");
                    if name == "verify" && code == Some(0) && altered != sound {
                        let file = file.file_name().unwrap().to_str().unwrap();
                        unnoticed.insert(format!("{file}{path}"));
                    }
                }
                num_tried += 1;
            }
        }
        fs::write(&file, sound.to_string()).unwrap();
    }
    assert!(num_tried > 60, "{num_tried}");
    // What a run was asked for proves nothing; a summary that is not of its run is counted anew.
    let proves_nothing = |place: &&String| {
        let rest = ["max_reject_ratio", "model/contract/input/resize/short_side", "plan/source_bytes"];
        place.starts_with("run.json/pipeline/")
            || place.starts_with("summary.json/")
            || rest.iter().any(|rest| **place == format!("run.json/{rest}"))
    };
    let missed: Vec<_> = unnoticed.iter().filter(|place| !proves_nothing(place)).collect();
    assert!(missed.is_empty(), "verify does not notice {missed:?}");
    job.verify_ok();
}

fn rewrite(path: &Path, change: impl Fn(&RecordBatch) -> RecordBatch) {
    let reader = ParquetRecordBatchReaderBuilder::try_new(fs::File::open(path).unwrap()).unwrap();
    let metadata = reader.metadata().file_metadata().key_value_metadata().cloned();
    let rows = reader.metadata().row_groups().iter().map(|group| group.num_rows() as usize).max();
    let properties = WriterProperties::builder()
        .set_key_value_metadata(metadata)
        .set_max_row_group_row_count(rows)
        .build();
    let batches: Vec<RecordBatch> = reader.build().unwrap().map(|batch| change(&batch.unwrap())).collect();
    let file = fs::File::create(path).unwrap();
    let mut writer = ArrowWriter::try_new(file, batches[0].schema(), Some(properties)).unwrap();
    for batch in &batches {
        writer.write(batch).unwrap();
    }
    writer.close().unwrap();
}

fn with(batch: &RecordBatch, name: &str, column: ArrayRef) -> RecordBatch {
    let at = batch.schema().index_of(name).unwrap();
    let mut columns = batch.columns().to_vec();
    columns[at] = column;
    RecordBatch::try_new(batch.schema(), columns).unwrap()
}

/// Plans and tables of sources hold numbers that others reckon with.
#[test]
fn altered_plans_and_sources_end_in_a_message() {
    type Column = Box<dyn Fn(usize) -> ArrayRef>;
    let job = two_runs();
    let run = records(&job)[0].file_name().unwrap().to_owned();
    let longs =
        |value: i64| -> Column { Box::new(move |rows| Arc::new(Int64Array::from_value(value, rows))) };
    let ints = |value: i32| -> Column { Box::new(move |rows| Arc::new(Int32Array::from_value(value, rows))) };
    let cases = [
        ("plan/part-00000.parquet", "source_id", longs(-1), true),
        ("plan/part-00000.parquet", "source_id", longs(1 << 60), true),
        ("plan/part-00000.parquet", "level", ints(-1), true),
        ("plan/part-00000.parquet", "shard", ints(-1), true),
        ("sources.parquet", "size", longs(-1), true),
        ("sources.parquet", "size", longs(i64::MAX), false),
    ];
    for (number, (name, column, values, is_wrong)) in cases.into_iter().enumerate() {
        let table = job.path(&format!("copy-{number}"));
        assert!(Command::new("cp").arg("-a").arg(job.table()).arg(&table).status().unwrap().success());
        rewrite(&table.join("_tilefleet").join(&run).join(name), |batch| {
            with(batch, column, values(batch.num_rows()))
        });
        for (command, output) in all_commands(&table) {
            let (code, said) = (output.status.code(), stderr(&output));
            assert!(matches!(code, Some(0 | 70 | 78)), "{command}, {column} of {name}: {code:?} {said}");
            assert!(!said.contains("panicked"), "{command}, {column} of {name}: {said}");
            if command == "verify" && is_wrong {
                assert!(matches!(code, Some(70 | 78)), "{column} of {name}: {code:?} {said}");
            }
        }
    }
}

/// Folders that a record of a compaction could name, and that links could lead to.
struct Planted {
    job: Job,
    outside: PathBuf,
}

impl Planted {
    fn new() -> Self {
        let job = two_runs();
        let outside = job.path("photos-20261128-1200");
        fs::create_dir_all(outside.join("empty")).unwrap();
        for name in ["holiday.jpg", "put-kept", "run.json"] {
            fs::write(outside.join(name), b"mine").unwrap();
            let hour_ago = std::time::SystemTime::now() - std::time::Duration::from_hours(1);
            fs::File::open(outside.join(name)).unwrap().set_modified(hour_ago).unwrap();
        }
        Self { job, outside }
    }

    fn assert_untouched(&self) {
        assert!(
            ["holiday.jpg", "put-kept", "run.json", "empty"]
                .iter()
                .all(|name| self.outside.join(name).exists())
        );
    }
}

/// The id of another folder in the place of a run that a compaction replaces.
#[test]
fn a_record_that_names_another_folder_deletes_nothing() {
    let planted = Planted::new();
    let (job, table) = (&planted.job, planted.job.table());
    let newest = records(job)[1].join("run.json");
    let sound = read(&newest);
    for id in [
        "../../photos-20261128-1200",
        "../photos-20261128-1200",
        "/photos-20261128-1200",
        "..%2f..%2fphotos-20261128-1200",
    ] {
        let mut altered = sound.clone();
        altered["origin"] = json!({"compaction": {"of": [id]}});
        fs::write(&newest, altered.to_string()).unwrap();
        for arguments in [&["runs", "compact"][..], &["runs", "delete", id, "--yes"], &["verify"]] {
            let output = command(&table, arguments);
            assert!(matches!(output.status.code(), Some(64 | 78)), "{arguments:?}: {}", stderr(&output));
        }
        planted.assert_untouched();
    }
    // Nor does the tombstone's, or that of the table of sources.
    fs::write(&newest, sound.to_string()).unwrap();
    let tombstone = json!({"run_id": "x", "tool_version": "1", "deleted_at": "2026-11-28T00:00:00Z", "why": {"compacted_into": "../../photos-20261128-1200"}});
    fs::write(newest.with_file_name("deleted.json"), tombstone.to_string()).unwrap();
    let id = newest.parent().unwrap().file_name().unwrap().to_str().unwrap().to_owned();
    assert_exit(&command(&table, &["runs", "delete", &id, "--yes"]), 78);
    planted.assert_untouched();
}

#[test]
fn links_within_a_run_lead_no_deletion_outside() {
    let planted = Planted::new();
    let (job, table) = (&planted.job, planted.job.table());
    let ids: Vec<String> =
        records(job).iter().map(|path| path.file_name().unwrap().to_str().unwrap().to_owned()).collect();
    // Within its folders they go as links.
    for folder in [format!("tiles/run={}", ids[0]), format!("_tilefleet/{}", ids[0])] {
        symlink(&planted.outside, table.join(&folder).join("folder")).unwrap();
        symlink(planted.outside.join("holiday.jpg"), table.join(&folder).join("file.jpg")).unwrap();
    }
    assert_exit(&command(&table, &["runs", "delete", &ids[0], "--yes"]), 0);
    planted.assert_untouched();
    assert!(!table.join(format!("tiles/run={}", ids[0])).exists());
    // A folder of a run that is itself a link is not gone through.
    let rows = table.join(format!("tiles/run={}", ids[1]));
    fs::remove_dir_all(&rows).unwrap();
    symlink(&planted.outside, &rows).unwrap();
    let refused = command(&table, &["runs", "delete", &ids[1], "--yes", "--force"]);
    assert_exit(&refused, 78);
    assert!(stderr(&refused).contains("is a link"), "{}", stderr(&refused));
    planted.assert_untouched();
}

#[test]
fn a_staging_folder_that_is_a_link_is_refused() {
    let planted = Planted::new();
    let staging = planted.job.table().join("_tilefleet/.staging");
    let _ = fs::remove_dir_all(&staging);
    symlink(&planted.outside, &staging).unwrap();
    planted.job.write_image("more.jpg", &jpeg(12));
    let refused = planted.job.run(&[]);
    assert_exit(&refused, 78);
    assert!(stderr(&refused).contains(".staging"), "{}", stderr(&refused));
    planted.assert_untouched();
    assert_eq!(fs::read_dir(&planted.outside).unwrap().count(), 4, "and nothing was put there");
    fs::remove_file(&staging).unwrap();
    planted.job.run_ok(&[]);
    planted.job.verify_ok();
    wait_until("all is there", || shard_files(&planted.job.table()).len() == 4);
}

/// All that lies below a folder, links followed.
fn listing(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(listing(&path));
        }
        found.push(path);
    }
    found.sort();
    found
}

#[test]
fn a_link_is_refused_before_anything_is_written() {
    let job = two_runs();
    let table = job.table();
    let id = records(&job)[0].file_name().unwrap().to_str().unwrap().to_owned();
    let moved = job.path("moved");
    let links =
        ["tiles".to_owned(), "_tilefleet".to_owned(), format!("tiles/run={id}"), format!("_tilefleet/{id}")];
    for link in links {
        let place = table.join(&link);
        fs::rename(&place, &moved).unwrap();
        symlink(&moved, &place).unwrap();
        let before = listing(&table);
        for arguments in [&["runs", "delete", &id, "--yes", "--force"][..], &["runs", "compact"]] {
            let refused = command(&table, arguments);
            assert_exit(&refused, 78);
            assert!(stderr(&refused).contains("is a link"), "{link}: {}", stderr(&refused));
            assert_eq!(listing(&table), before, "{link}: {arguments:?} changed something");
        }
        if !link.contains('/') {
            job.write_image("later.jpg", &jpeg(13));
            let refused = job.run(&[]);
            assert_exit(&refused, 78);
            assert_eq!(listing(&table), before, "{link}: a run changed something");
        }
        job.verify_ok();
        fs::remove_file(&place).unwrap();
        fs::rename(&moved, &place).unwrap();
    }
    job.run_ok(&[]);
    assert_exit(&command(&table, &["runs", "compact"]), 0);
    job.verify_ok();
}

/// A compaction that is complete and has something left to delete takes it up only where it can.
#[test]
fn a_link_stops_a_compaction_that_is_taken_up_before_it_decides() {
    let job = two_runs();
    let table = job.table();
    let ids: Vec<String> =
        records(&job).iter().map(|path| path.file_name().unwrap().to_str().unwrap().to_owned()).collect();
    let kept = job.path("kept");
    fs::create_dir(&kept).unwrap();
    for folder in [format!("tiles/run={}", ids[0]), format!("_tilefleet/{}", ids[0])] {
        assert!(Command::new("cp").arg("-a").arg(table.join(&folder)).arg(&kept).status().unwrap().success());
    }
    assert_exit(&command(&table, &["runs", "compact"]), 0);
    // As if it had been killed before it came to the first run.
    let compaction = records(&job).pop().unwrap();
    fs::remove_file(compaction.join(format!("replaces/{}.json", ids[0]))).unwrap();
    let (rows, record) =
        (table.join(format!("tiles/run={}", ids[0])), table.join("_tilefleet").join(&ids[0]));
    fs::remove_dir_all(&record).unwrap();
    fs::rename(kept.join(&ids[0]), &record).unwrap();
    symlink(kept.join(format!("run={}", ids[0])), &rows).unwrap();
    let before = listing(&table);
    assert_exit(&command(&table, &["runs", "compact"]), 78);
    assert_eq!(listing(&table), before);
    fs::remove_file(&rows).unwrap();
    fs::rename(kept.join(format!("run={}", ids[0])), &rows).unwrap();
    assert_exit(&command(&table, &["runs", "compact"]), 0);
    assert!(!rows.exists());
    job.verify_ok();
}
