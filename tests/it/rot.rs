//! Bits that flip in committed files: `verify --deep` finds them, and a compaction that would copy them stops.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringArray, StructArray};
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::file::properties::WriterProperties;
use tilefleet::input::storage::{ObjectUri, Storage, StorageOptions};
use tilefleet::maintenance::verify::{Depth, Verdict, verify};
use tilefleet::output::{Output, Run, RunId};
use tilefleet::vocabulary::process::Process;
use tilefleet_testing::Random;

use crate::fixture::{Job, assert_exit, jpeg, rows, shard_files, stderr};
use crate::support;

/// One complete run of one shard, with a reject.
fn job(embedding: &str) -> Job {
    let job = Job::new(12, "[limits]\nmax_reject_ratio = 1.0");
    job.write_image("bad.jpg", b"");
    job.run_ok(&["--set", &format!("output.embedding={embedding}")]);
    job
}

fn only_shard(job: &Job) -> PathBuf {
    let mut files = shard_files(&job.table()).into_values();
    let shard = files.next().unwrap();
    assert!(files.next().is_none());
    shard
}

fn run_of(job: &Job, runtime: &tokio::runtime::Runtime) -> Run {
    let uri = ObjectUri::parse(job.table().to_str().unwrap()).unwrap();
    let output = Output::open(&Storage::new(StorageOptions::default()).unwrap(), &uri, Process::real());
    let shard = only_shard(job);
    let id = shard.parent().unwrap().file_name().unwrap().to_str().unwrap().strip_prefix("run=").unwrap();
    runtime.block_on(Run::open(&output, &RunId::parse(id).unwrap())).unwrap().unwrap()
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// What a general reader makes of a file; `None` if it cannot read it.
fn read(file: &Bytes) -> Option<Vec<RecordBatch>> {
    let file = file.clone();
    let read = move || -> Option<Vec<RecordBatch>> {
        let reader = ParquetRecordBatchReaderBuilder::try_new(file).ok()?;
        reader.build().ok()?.collect::<Result<_, _>>().ok()
    };
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(read)).ok().flatten()
}

fn deep(arguments: &[&str], table: &Path) -> std::process::Output {
    support::tilefleet().arg("verify").arg(table).arg("--deep").args(arguments).output().unwrap()
}

/// Flips all over a file: in pages, headers, indexes, Bloom filter and footer.
#[test]
fn every_flipped_bit_is_found() {
    for embedding in ["float32", "float16"] {
        let job = job(embedding);
        let (shard, runtime) = (only_shard(&job), runtime());
        let run = run_of(&job, &runtime);
        let sound = fs::read(&shard).unwrap();
        let rows = read(&sound.clone().into()).unwrap();
        let verdict = || -> Verdict { runtime.block_on(verify(&run, Depth::Pages)).unwrap() };
        assert_eq!((verdict().num_violations, verdict().without_checksums), (0, Some(0)));
        // Where the key stands by which the checksum is found: without it the file is one without checksums.
        let key = sound.windows(18).position(|bytes| bytes == b"tilefleet.checksum").unwrap();
        let name = key - 1..key + 20;
        let mut random = Random(0x5EED);
        let tail = sound.len() - 6000;
        let all = (0..600).map(|_| random.below(sound.len() * 8)).collect::<Vec<_>>();
        let in_tail = (0..200).map(|_| tail * 8 + random.below(6000 * 8)).collect::<Vec<_>>();
        // What the last columns say of themselves: one that seems to reach into the footer hid the checksum.
        let keys = sound.windows(24).position(|bytes| bytes == b"tilefleet.schema_version").unwrap();
        let last_columns = (keys - 60) * 8..keys * 8;
        let (mut num_changed, mut num_hidden) = (0, 0);
        for bit in all.into_iter().chain(in_tail).chain(last_columns) {
            let mut flipped = sound.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            fs::write(&shard, &flipped).unwrap();
            let now = read(&flipped.into());
            let changed = now.as_ref() != Some(&rows);
            let is_found = verdict().num_violations > 0;
            assert!(
                is_found || name.contains(&(bit / 8)),
                "bit {bit} of {}, changed: {changed}",
                sound.len()
            );
            assert!(is_found || !changed);
            num_changed += u64::from(changed);
            num_hidden += u64::from(changed && now.is_some());
        }
        println!("of 1,280 flips {num_changed} change what is read, {num_hidden} of them without an error");
        assert!(num_hidden > 50);
    }
}

/// Readers that check pages find a checksum at each, in every column. On one thread: with several, pyarrow 26 ends now and then
/// with "terminate called" after an error, on a machine that is busy.
#[test]
fn pyarrow_checks_the_pages_of_every_column() {
    let Some(python) = support::python() else { return };
    let job = job("float32");
    let program = "import sys, pyarrow, pyarrow.parquet as pq\n\
        path = sys.argv[1]\n\
        sound = open(path, 'rb').read()\n\
        table = pq.ParquetFile(path, page_checksum_verification=True).read(use_threads=False)\n\
        group = pq.ParquetFile(path).metadata.row_group(0)\n\
        found = 0\n\
        for index in range(group.num_columns):\n\
        \x20   column = group.column(index)\n\
        \x20   start = column.dictionary_page_offset or column.data_page_offset\n\
        \x20   for place in {start + column.total_compressed_size - 1, column.data_page_offset - 1}:\n\
        \x20       if place < start: continue\n\
        \x20       flipped = bytearray(sound)\n\
        \x20       flipped[place] ^= 1\n\
        \x20       try:\n\
        \x20           pq.ParquetFile(pyarrow.BufferReader(bytes(flipped)), page_checksum_verification=True)\
        .read(use_threads=False)\n\
        \x20           print('not found in', column.path_in_schema)\n\
        \x20       except OSError as error:\n\
        \x20           assert 'CRC' in str(error), error\n\
        found += group.num_columns\n\
        print(table.num_rows, found == group.num_columns)";
    let printed = support::run_python(&python, program, &[only_shard(&job)]);
    assert_eq!(printed, "13 True\n");
}

/// Writes a shard as an earlier build would have: the same rows, no checksums.
fn without_checksums(shard: &Path) {
    let reader = ParquetRecordBatchReaderBuilder::try_new(fs::File::open(shard).unwrap()).unwrap();
    let mut pairs = reader.metadata().file_metadata().key_value_metadata().unwrap().clone();
    pairs.retain(|pair| pair.key != "tilefleet.checksum" && pair.key != "ARROW:schema");
    let properties = WriterProperties::builder().set_key_value_metadata(Some(pairs)).build();
    let batches: Vec<RecordBatch> = reader.build().unwrap().map(Result::unwrap).collect();
    let mut writer =
        ArrowWriter::try_new(fs::File::create(shard).unwrap(), batches[0].schema(), Some(properties))
            .unwrap();
    for batch in &batches {
        writer.write(batch).unwrap();
    }
    writer.close().unwrap();
}

#[test]
fn files_without_checksums_are_decoded_and_said_to_have_none() {
    let job = job("float32");
    let shard = only_shard(&job);
    let told = deep(&[], &job.table());
    assert_exit(&told, 0);
    let said = String::from_utf8_lossy(&told.stdout).into_owned();
    assert!(said.contains("every page was decoded and compared with its checksum"), "{said}");
    without_checksums(&shard);
    let told = deep(&[], &job.table());
    assert_exit(&told, 0);
    let said = String::from_utf8_lossy(&told.stdout).into_owned();
    assert!(said.contains("1 file from an earlier version, without checksums"), "{said}");
    // What cannot be decoded is found all the same.
    let mut cut = fs::read(&shard).unwrap();
    let middle = cut.len() / 2;
    cut[100..middle].fill(0xff);
    fs::write(&shard, &cut).unwrap();
    assert_exit(&deep(&[], &job.table()), 70);
}

/// What is damaged is not copied, and what it was to replace stays.
#[test]
fn a_compaction_copies_no_damage() {
    let job = job("float32");
    let first = only_shard(&job);
    job.write_image("new.jpg", &jpeg(77));
    job.run_ok(&[]);
    let sound = fs::read(&first).unwrap();
    let reader = ParquetRecordBatchReaderBuilder::try_new(Bytes::from(sound.clone())).unwrap();
    let group = reader.metadata().row_group(0).clone();
    for column in ["embedding", "score", "source"] {
        let chunk = group.columns().iter().find(|chunk| chunk.column_path().parts()[0] == column).unwrap();
        let (start, length) = chunk.byte_range();
        let mut flipped = sound.clone();
        flipped[(start + length / 2) as usize] ^= 4;
        fs::write(&first, &flipped).unwrap();
        let refused = support::tilefleet().arg("runs").arg(job.table()).arg("compact").output().unwrap();
        assert_exit(&refused, 78);
        assert!(stderr(&refused).contains("it is damaged"), "{column}: {}", stderr(&refused));
        assert!(shard_files(&job.table()).len() >= 2, "{column}: nothing was deleted");
    }
    fs::write(&first, &sound).unwrap();
    let compacted = support::tilefleet().arg("runs").arg(job.table()).arg("compact").output().unwrap();
    assert_exit(&compacted, 0);
    assert_eq!(rows(&job.table()).len(), 14);
    assert_exit(&deep(&[], &job.table()), 0);
}

/// Two complete runs over a manifest; some of its values read like the checksum's key.
fn manifest_job() -> Job {
    let job = Job::new(8, "");
    for num_rows in [6, 8] {
        let rows = (0..num_rows).map(|row| {
            let label = if row == 0 { "tilefleet.checksum".to_owned() } else { format!("label {row}") };
            format!("images/{row:05}.jpg,{label},{}\n", row * 7919)
        });
        fs::write(job.path("list.csv"), format!("uri,label,weight\n{}", rows.collect::<String>())).unwrap();
        let manifest = format!("input.manifest={}", job.path("list.csv").display());
        job.run_ok(&["--set", "input.uris=[]", "--set", &manifest]);
    }
    job
}

/// The record of the older run.
fn first_record(job: &Job) -> PathBuf {
    let entries = fs::read_dir(job.table().join("_tilefleet")).unwrap();
    let mut folders: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    folders.retain(|folder| folder.join("run.json").exists());
    folders.sort();
    folders.remove(0)
}

/// What all readers of the table find.
fn table_of(job: &Job) -> Vec<RecordBatch> {
    shard_files(&job.table())
        .into_values()
        .flat_map(|file| read(&fs::read(file).unwrap().into()).unwrap())
        .collect()
}

fn compact(job: &Job) -> std::process::Output {
    support::tilefleet().arg("runs").arg(job.table()).arg("compact").output().unwrap()
}

/// Values of the manifest are copied from the table of sources, and rows are found by the plan.
#[test]
fn every_flipped_bit_of_a_plan_and_its_sources_is_found() {
    let (job, runtime) = (manifest_job(), runtime());
    let record = first_record(&job);
    let uri = ObjectUri::parse(job.table().to_str().unwrap()).unwrap();
    let output = Output::open(&Storage::new(StorageOptions::default()).unwrap(), &uri, Process::real());
    let id = RunId::parse(record.file_name().unwrap().to_str().unwrap()).unwrap();
    // A record that cannot be opened is found as well.
    let num_found = || -> Option<u64> {
        let run = runtime.block_on(Run::open(&output, &id)).ok()??;
        let verdict = runtime.block_on(verify(&run, Depth::Pages)).ok()?;
        assert_eq!(verdict.without_checksums, Some(0));
        Some(verdict.num_violations)
    };
    assert_eq!(num_found(), Some(0));
    for name in ["sources.parquet", "plan/part-00000.parquet"] {
        let file = record.join(name);
        let sound = fs::read(&file).unwrap();
        let key = sound.windows(21).position(|bytes| bytes == b"\x12tilefleet.checksum\x18\x08").unwrap();
        let mut random = Random(0x5EED);
        let mut num_hidden = 0;
        for _ in 0..300 {
            let bit = random.below(sound.len() * 8);
            // Without the key the file is one without checksums.
            if (key..key + 21).contains(&(bit / 8)) {
                continue;
            }
            let mut flipped = sound.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            num_hidden += u64::from(read(&flipped.clone().into()).is_some());
            fs::write(&file, &flipped).unwrap();
            assert!(num_found() != Some(0), "bit {bit} of {name}");
        }
        fs::write(&file, &sound).unwrap();
        assert!(num_hidden > 20, "{num_hidden} flips of {name} are no error to a general reader");
    }
    assert_eq!(num_found(), Some(0));
}

/// What a compaction is planned by is checked before anything is copied or deleted.
#[test]
fn a_compaction_goes_by_no_damaged_plan() {
    let job = manifest_job();
    let before = table_of(&job);
    let record = first_record(&job);
    for (name, column) in
        [("sources.parquet", "label"), ("sources.parquet", "uri"), ("plan/part-00000.parquet", "tile_id")]
    {
        let file = record.join(name);
        let sound = fs::read(&file).unwrap();
        let reader = ParquetRecordBatchReaderBuilder::try_new(Bytes::from(sound.clone())).unwrap();
        let group = reader.metadata().row_group(0).clone();
        let of_column = |chunk: &&parquet::file::metadata::ColumnChunkMetaData| {
            chunk.column_path().parts().last().is_some_and(|last| last == column)
        };
        let (start, length) = group.columns().iter().find(of_column).unwrap().byte_range();
        for place in [start + length / 3, start + length / 2, start + length - 3] {
            let mut flipped = sound.clone();
            flipped[place as usize] ^= 4;
            fs::write(&file, &flipped).unwrap();
            let refused = compact(&job);
            assert_exit(&refused, 78);
            assert!(stderr(&refused).contains("it is damaged"), "{name}: {}", stderr(&refused));
            assert!(
                stderr(&refused).contains("nothing was copied or deleted"),
                "{name}: {}",
                stderr(&refused)
            );
            assert_eq!(table_of(&job), before, "{name}");
        }
        fs::write(&file, &sound).unwrap();
    }
    // The record says which runs are newer, and is held against the sources.
    let file = record.join("run.json");
    let sound = fs::read_to_string(&file).unwrap();
    let mut altered: serde_json::Value = serde_json::from_str(&sound).unwrap();
    altered["as_of"] = "2031-01-01T00:00:00Z".into();
    fs::write(&file, altered.to_string()).unwrap();
    let refused = compact(&job);
    assert_exit(&refused, 78);
    assert!(stderr(&refused).contains("`as_of` differs from sources.parquet"), "{}", stderr(&refused));
    assert_eq!(table_of(&job), before);
    fs::write(&file, &sound).unwrap();
    assert_exit(&compact(&job), 0);
    assert_exit(&deep(&[], &job.table()), 0);
    let extra = |batches: &[RecordBatch]| -> Vec<String> {
        let column = |batch: &RecordBatch, row| {
            arrow::util::display::array_value_to_string(&batch["extra"], row).unwrap()
        };
        let of_batch =
            |batch: &RecordBatch| (0..batch.num_rows()).map(|row| column(batch, row)).collect::<Vec<_>>();
        let mut all: Vec<String> = batches.iter().flat_map(of_batch).collect();
        all.sort();
        all
    };
    let after = table_of(&job);
    assert_eq!((extra(&after), extra(&before).len()), (extra(&before), 8));
}

/// Tables of sources of earlier builds have no checksum; but every row says what stood in the manifest.
#[test]
fn a_table_without_checksums_that_contradicts_its_rows_is_not_copied() {
    let job = manifest_job();
    let before = table_of(&job);
    let file = first_record(&job).join("sources.parquet");
    without_checksums(&file);
    let told = deep(&[], &job.table());
    assert_exit(&told, 0);
    let said = String::from_utf8_lossy(&told.stdout).into_owned();
    assert!(said.contains("1 file from an earlier version, without checksums"), "{said}");
    rewrite_label(&file);
    let refused = compact(&job);
    assert_exit(&refused, 78);
    assert!(stderr(&refused).contains("differs from their sources.parquet"), "{}", stderr(&refused));
    for batch in &before {
        assert!(table_of(&job).contains(batch), "nothing was deleted");
    }
}

/// Gives every source another label.
fn rewrite_label(file: &Path) {
    let reader = ParquetRecordBatchReaderBuilder::try_new(fs::File::open(file).unwrap()).unwrap();
    let pairs = reader.metadata().file_metadata().key_value_metadata().unwrap().clone();
    let pairs = pairs.into_iter().filter(|pair| pair.key != "ARROW:schema").collect();
    let properties = WriterProperties::builder().set_key_value_metadata(Some(pairs)).build();
    let batch = reader.build().unwrap().next().unwrap().unwrap();
    let mut writer =
        ArrowWriter::try_new(fs::File::create(file).unwrap(), batch.schema(), Some(properties)).unwrap();
    let extra = batch["extra"].as_struct();
    let labels: StringArray = extra["label"].as_string::<i32>().iter().map(|_| Some("wrong")).collect();
    let columns = vec![Arc::new(labels) as ArrayRef, extra["weight"].clone()];
    let extra = StructArray::new(extra.fields().clone(), columns, extra.nulls().cloned());
    let at = batch.schema().index_of("extra").unwrap();
    let mut columns = batch.columns().to_vec();
    columns[at] = Arc::new(extra);
    writer.write(&RecordBatch::try_new(batch.schema(), columns).unwrap()).unwrap();
    writer.close().unwrap();
}
