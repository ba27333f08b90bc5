//! Runs with too many rejects wait to be accepted, and runs that cut scenes differently live side by side: no
//! setting that is wrong costs a row that was right.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use crate::fixture::{Job, assert_exit, jpeg, rows, shard_files, shown, shown_columns, stderr, wait_until};
use crate::query::ask;
use crate::support;

fn tilefleet(command: &str, table: &Path, arguments: &[&str]) -> Output {
    support::tilefleet().arg(command).arg(table).args(arguments).output().unwrap()
}

fn text(output: &Output) -> String {
    assert_exit(output, 0);
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn answer(command: &str, table: &Path, arguments: &[&str]) -> Value {
    let output = tilefleet(command, table, &[arguments, &["--json"]].concat());
    assert_exit(&output, 0);
    serde_json::from_slice(&output.stdout).unwrap()
}

fn ids(table: &Path) -> Vec<String> {
    let listed = answer("runs", table, &[]);
    listed.as_array().unwrap().iter().map(|run| run["run_id"].as_str().unwrap().to_owned()).collect()
}

fn newest(table: &Path) -> String {
    ids(table).into_iter().max_by_key(|id| id[id.len() - 4..].to_owned()).unwrap()
}

/// Runs, and expects 65; returns what it said.
fn too_many_rejects(job: &Job, arguments: &[&str]) -> String {
    let output = job.run(arguments);
    assert_exit(&output, 65);
    stderr(&output)
}

fn record(table: &Path, run: &str, name: &str) -> PathBuf {
    table.join("_tilefleet").join(run).join(name)
}

/// Ten good rows, then a night of three images of which two are broken.
fn a_bad_night() -> Job {
    let job = Job::new(10, "");
    job.run_ok(&[]);
    for index in 0..2 {
        job.write_image(&format!("bad-{index}.jpg"), b"");
    }
    job.write_image("00003.jpg", b"not an image any more");
    job.write_image("good.jpg", &jpeg(77));
    job
}

#[test]
fn a_run_above_its_limit_is_not_current_until_it_is_accepted() {
    let job = a_bad_night();
    let (table, before) = (job.table(), shown(&job.table()));
    let said = too_many_rejects(&job, &[]);
    let run = newest(&table);
    let command = format!("accept {run}`");
    assert!(said.contains("3 of 4 tiles were rejected") && said.contains(&command), "{said}");
    assert_eq!(
        (rows(&table).len(), shown(&table)),
        (14, before.clone()),
        "all is committed, nothing replaced"
    );
    assert_duckdb_finds_the_newest(&table);
    job.verify_ok();

    // Everybody says so, and names the command.
    let status = text(&tilefleet("status", &table, &["--run", &run]));
    assert!(status.contains("complete, not accepted") && status.contains(&command), "{status}");
    assert!(text(&tilefleet("runs", &table, &[])).contains(&command));
    assert_eq!(answer("runs", &table, &[])[1]["accepted"], false);
    assert_eq!(
        ask(&table, "SELECT accepted FROM runs ORDER BY run"),
        json!([{"accepted": true}, {"accepted": false}])
    );
    let query = support::tilefleet().arg("query").arg(&table).arg("SELECT 1").output().unwrap();
    assert!(stderr(&query).contains(&command), "{}", stderr(&query));
    let rejects = tilefleet("rejects", &table, &[]);
    assert_eq!(text(&rejects), "no rejects\n");
    assert!(stderr(&rejects).contains(&command), "{}", stderr(&rejects));
    assert_eq!(answer("rejects", &table, &["--run", &run]).as_array().unwrap().len(), 3);

    // Its sources are not done: the next run plans them again, and does not become current either.
    let report = job.run(&["--json"]);
    assert_exit(&report, 65);
    let report: Value = serde_json::from_slice(&report.stdout).unwrap();
    assert_eq!((&report["summary"]["tiles"], &report["current"]), (&4.into(), &false.into()));
    assert_eq!(shown(&table), before);

    assert_duckdb_finds_the_newest(&table);

    let again = newest(&table);
    let told = answer("runs", &table, &["accept", &again]);
    let changed = json!([told["was_current"], told["gained"], told["replaced"], told["lost"]]);
    assert_eq!(changed, json!([false, 3, 1, 0]), "{told}");
    assert_eq!((shown(&table).len(), answer("rejects", &table, &[]).as_array().unwrap().len()), (13, 3));
    assert!(text(&tilefleet("runs", &table, &["accept", &again])).contains("is already current"));
    assert!(job.run_ok(&[]).contains("nothing new"), "its sources are done");
    assert_duckdb_finds_the_newest(&table);

    // Deleting it takes the acceptance along, and brings back what was before; the other one still waits.
    answer("runs", &table, &["delete", &again, "--yes"]);
    assert!(!record(&table, &again, "accepted.json").exists());
    assert_eq!(shown(&table), before);
    assert_exit(&tilefleet("runs", &table, &["accept", &again]), 78);
    assert_exit(&tilefleet("runs", &table, &["accept", "photos-00000000-0009"]), 78);
    assert!(!record(&table, &again, "accepted.json").exists());
    job.verify_ok();
}

/// A bad night that was put right is the past: nobody is asked to accept what newer runs have covered.
#[test]
fn a_run_that_newer_ones_cover_warns_no_more() {
    let job = a_bad_night();
    let table = job.table();
    too_many_rejects(&job, &[]);
    let waiting = newest(&table);
    let warnings = || {
        ["query", "rejects"].map(|command| {
            let sql: &[&str] = if command == "query" { &["SELECT 1"] } else { &[] };
            let output = tilefleet(command, &table, sql);
            assert_exit(&output, 0);
            stderr(&output)
        })
    };
    // Three of its four sources are covered; of the fourth it still has the only row.
    job.write_image("bad-0.jpg", &jpeg(500));
    job.write_image("00003.jpg", &jpeg(503));
    fs::remove_file(job.path("images/bad-1.jpg")).unwrap();
    job.run_ok(&[]);
    assert!(warnings().iter().all(|said| said.contains(&format!("accept {waiting}`"))), "{:?}", warnings());
    assert_eq!(answer("status", &table, &["--run", &waiting])[0]["superseded"], false);

    job.write_image("bad-1.jpg", &jpeg(501));
    job.run_ok(&[]);
    assert!(warnings().iter().all(|said| !said.contains(&waiting)), "{:?}", warnings());
    for command in ["status", "runs"] {
        let listed = text(&tilefleet(command, &table, &[]));
        assert!(listed.contains("newer runs have covered its sources since then\n"), "{listed}");
        assert!(!listed.contains("accept "), "{listed}");
    }
    let status = &answer("status", &table, &["--run", &waiting])[0];
    assert_eq!((&status["accepted"], &status["superseded"]), (&false.into(), &true.into()), "{status}");
    let accepted = ask(&table, "SELECT count(*) AS n FROM runs WHERE NOT accepted");
    assert_eq!(accepted, json!([{"n": 1}]), "it is not accepted all the same");

    // Without the newer runs its rows are the only ones again.
    let newer: Vec<String> = ids(&table).into_iter().filter(|id| *id > waiting).collect();
    for id in newer {
        answer("runs", &table, &["delete", &id, "--yes"]);
    }
    assert!(warnings().iter().all(|said| said.contains(&format!("accept {waiting}`"))));
}

/// Windows of another area leave a run's own rows where they are: it waits on.
#[test]
fn a_newer_run_of_another_area_covers_nothing_of_a_run_that_waits() {
    let Some(job) = scene_job("bands = [1, 2, 3]") else { return };
    let table = job.table();
    job.write_image("b.tif", b"II? this is no image");
    let west = ["--set", "tiles.aoi=-79,23.5,-77.5,26"];
    let east = ["--set", "tiles.aoi=-77.6,23.5,-76,26", "--set", "limits.max_reject_ratio=0.5"];
    job.run_ok(&["--set", "limits.max_reject_ratio=0.5"]);
    too_many_rejects(&job, &west);
    let waiting =
        ids(&table).into_iter().find(|id| answer("status", &table, &["--run", id])[0]["accepted"] == false);
    let waiting = waiting.unwrap();
    job.run_ok(&east);
    assert_eq!(answer("status", &table, &["--run", &waiting])[0]["superseded"], false);
    let query = tilefleet("query", &table, &["SELECT 1"]);
    assert!(stderr(&query).contains(&format!("accept {waiting}`")), "{}", stderr(&query));
}

/// Whatever their names, runs are listed as they came; by all commands alike.
#[test]
fn runs_and_status_list_in_the_order_of_planning() {
    let job = Job::new(2, "");
    for name in ["zebra", "apple", "moth"] {
        job.run_ok(&["--set", &format!("name={name}")]);
    }
    let names = |command: &str, key: &str| -> Vec<String> {
        let listed = answer(command, &job.table(), &[]);
        let ids = listed.as_array().unwrap().iter().map(|run| run[key].as_str().unwrap().to_owned());
        ids.map(|id| id.split('-').next().unwrap().to_owned()).collect()
    };
    for command in ["runs", "status"] {
        assert_eq!(names(command, "run_id"), ["zebra", "apple", "moth"], "{command}");
        let listed = text(&tilefleet(command, &job.table(), &[]));
        let firsts: Vec<&str> = listed.lines().filter(|line| !line.starts_with(' ')).collect();
        assert!(firsts[0].starts_with("zebra-") && firsts[2].starts_with("moth-"), "{listed}");
    }
}

/// What is current follows from the files, whether somebody has summed them up or not.
#[test]
fn a_run_is_judged_alike_without_its_summary() {
    let job = a_bad_night();
    let (table, before) = (job.table(), shown(&job.table()));
    too_many_rejects(&job, &[]);
    let run = newest(&table);
    fs::remove_file(record(&table, &run, "summary.json")).unwrap();
    assert_eq!(answer("status", &table, &["--run", &run])[0]["accepted"], false);
    assert_eq!(shown(&table), before);
    assert!(!record(&table, &run, "summary.json").exists(), "readers write nothing");
    assert!(too_many_rejects(&job, &[]).contains("3 of 4 tiles"), "planned again");
}

/// The first run has nothing to replace: it is shown, and stays so beside good runs.
#[test]
fn the_first_run_of_an_output_is_current() {
    let job = Job::new(2, "");
    job.write_image("bad.jpg", b"");
    let table = job.table();
    let said = too_many_rejects(&job, &[]);
    assert!(!said.contains("accept "), "{said}");
    let first = newest(&table);
    let accepted: Value =
        serde_json::from_slice(&fs::read(record(&table, &first, "accepted.json")).unwrap()).unwrap();
    assert_eq!((&accepted["run_id"], &accepted["why"]), (&json!(first), &json!("first")));
    for index in 3..20 {
        job.write_image(&format!("{index:05}.jpg"), &jpeg(index));
    }
    job.run_ok(&[]);
    assert_eq!(shown(&table).len(), 20);
    // As if its worker had been killed before it could say so.
    fs::remove_file(record(&table, &first, "accepted.json")).unwrap();
    assert_eq!(shown(&table).len(), 20);
    assert!(job.run_ok(&[]).contains("nothing new"));
}

/// Tables of earlier builds, whose records have no limit, show what they showed.
#[test]
fn runs_of_earlier_builds_are_current() {
    let job = a_bad_night();
    let table = job.table();
    too_many_rejects(&job, &[]);
    let path = record(&table, &newest(&table), "run.json");
    let mut run: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    assert_eq!(run.as_object_mut().unwrap().remove("max_reject_ratio"), Some(json!(0.1)));
    fs::write(&path, run.to_string()).unwrap();
    assert_eq!(shown(&table).len(), 13);
    assert!(job.run_ok(&[]).contains("nothing new"));
}

#[test]
fn a_run_may_be_accepted_beforehand() {
    let job = a_bad_night();
    let table = job.table();
    let said = too_many_rejects(&job, &["--accept"]);
    assert!(!said.contains("accept "), "{said}");
    assert_eq!(shown(&table).len(), 13);

    // Also while it is open; and raising the limit of a run that is open says the same.
    for raised in [false, true] {
        for index in 0..2 {
            job.write_image(&format!("late-{raised}-{index}.jpg"), b"");
        }
        assert_exit(&support::tilefleet().arg("plan").arg(&job.pipeline).output().unwrap(), 0);
        let open = newest(&table);
        if raised {
            job.run_ok(&["--set", "limits.max_reject_ratio=1"]);
        } else {
            assert!(text(&tilefleet("runs", &table, &["accept", &open])).contains("when it is complete"));
            too_many_rejects(&job, &[]);
        }
        assert_eq!(newest(&table), open);
        assert_eq!(answer("status", &table, &["--run", &open])[0]["accepted"], true);
    }
    assert_eq!(shown(&table).len(), 17);
}

/// Compaction copies what is current, and lets the others be.
#[test]
fn compaction_leaves_out_what_nobody_has_accepted() {
    let job = a_bad_night();
    let table = job.table();
    too_many_rejects(&job, &[]);
    let waiting = newest(&table);
    job.write_image("00003.jpg", &jpeg(303));
    for index in 0..2 {
        fs::remove_file(job.path(&format!("images/bad-{index}.jpg"))).unwrap();
    }
    job.run_ok(&[]);
    let before = shown(&table);
    let sources: Vec<_> = before.iter().map(|row| (row.file().to_owned(), row.embedding.clone())).collect();
    let refused = tilefleet("runs", &table, &["compact", "--runs", &waiting]);
    assert_exit(&refused, 64);
    assert!(stderr(&refused).contains("accept"), "{}", stderr(&refused));
    let told = answer("runs", &table, &["compact"]);
    assert_eq!(told[0]["replaced"].as_array().unwrap().len(), 2, "{told}");
    let after: Vec<_> =
        shown(&table).iter().map(|row| (row.file().to_owned(), row.embedding.clone())).collect();
    assert_eq!(after, sources);
    assert!(ids(&table).contains(&waiting));
    assert_eq!(
        answer("status", &table, &["--run", &waiting])[0]["accepted"],
        false,
        "the first it never was"
    );
    assert_eq!(answer("runs", &table, &["compact"]), json!([]));
    job.verify_ok();
    // What the night brought that nobody has covered since, accepting it shows.
    answer("runs", &table, &["accept", &waiting]);
    assert_eq!(shown(&table).len(), before.len() + 2);
    assert_duckdb_finds_the_newest(&table);
    job.verify_ok();
}

/// A compaction is as new as the newest run it copies: it must not pass another pipeline's newer rows.
#[test]
fn compaction_does_not_overtake_another_pipeline() {
    let job = Job::new(4, "");
    let table = job.table();
    job.run_ok(&[]);
    let second = ["--set", "name=second", "--set", "output.top_k=3"];
    job.run_ok(&second);
    job.write_image("late.jpg", &jpeg(50));
    job.run_ok(&[]);
    let before = shown_columns(&table, "*");
    let of_second = || ask(&table, "SELECT count(*) AS n FROM tiles WHERE run LIKE 'second-%'");
    assert_eq!(of_second(), json!([{"n": 4}]));
    assert_eq!(answer("runs", &table, &["compact"]), json!([]), "nothing can be merged");
    let photos: Vec<String> = ids(&table).into_iter().filter(|id| id.starts_with("photos-")).collect();
    let refused = tilefleet("runs", &table, &["compact", "--runs", &photos[0], "--runs", &photos[1]]);
    assert_exit(&refused, 64);
    assert!(stderr(&refused).contains("another pipeline"), "{}", stderr(&refused));
    assert_eq!(shown_columns(&table, "*"), before);
    // What came later can be.
    job.write_image("later.jpg", &jpeg(51));
    job.run_ok(&[]);
    let told = answer("runs", &table, &["compact"]);
    assert_eq!((&told[0]["tiles"], told[0]["replaced"].as_array().unwrap().len()), (&2.into(), 2), "{told}");
    assert_eq!((shown(&table).len(), of_second()), (6, json!([{"n": 4}])));
    job.verify_ok();
    assert_duckdb_finds_the_newest(&table);
}

/// Rejects of a run that waits are not retried; once it is accepted they are, and the table is judged.
#[test]
fn a_retry_is_judged_by_the_table_it_leaves() {
    let job = Job::new(40, "");
    job.run_ok(&[]);
    let table = job.table();
    for index in 0..4 {
        job.write_image(&format!("bad-{index}.jpg"), b"");
    }
    too_many_rejects(&job, &[]);
    let waiting = newest(&table);
    let nothing = tilefleet("rejects", &table, &["--retry"]);
    assert_eq!(text(&nothing), "nothing to retry\n");
    assert!(stderr(&nothing).contains(&format!("accept {waiting}`")), "{}", stderr(&nothing));
    assert_eq!(ids(&table).len(), 2);

    answer("runs", &table, &["accept", &waiting]);
    job.write_image("bad-0.jpg", &jpeg(900));
    // One of four repaired: three of 44 is within the limit.
    let told = answer("rejects", &table, &["--retry"]);
    let figures =
        json!([told[0]["summary"]["rejected"], told[0]["table"]["rejected"], told[0]["table"]["tiles"]]);
    assert_eq!(figures, json!([3, 3, 44]), "{told}");
    let above = tilefleet("rejects", &table, &["--retry", "--set", "limits.max_reject_ratio=0.05"]);
    assert_exit(&above, 65);
    assert!(stderr(&above).contains("3 of 44 tiles of the table"), "{}", stderr(&above));
    assert_eq!(shown(&table).iter().filter(|row| row.status == "rejected").count(), 3);
    assert_duckdb_finds_the_newest(&table);

    // A run that finds nothing new speaks of the table, not of the retry before it.
    let report = job.run_ok(&[]);
    assert!(report.contains("in the table: 44 tiles: 41 ok, 0 skipped, 3 rejected"), "{report}");
    let report: Value = serde_json::from_str(&job.run_ok(&["--json"])).unwrap();
    assert_eq!((&report["table"]["tiles"], &report["table"]["ok"]), (&44.into(), &41.into()), "{report}");
    assert_eq!((&report["table"]["reasons"], &report["run_id"]), (&json!({"empty": 3}), &json!(waiting)));
}

/// The SQL that docs/how-to/query-a-table.md gives for DuckDB finds the rows that `tiles` shows, and so does what stands before it.
pub fn assert_duckdb_finds_the_newest(table: &Path) {
    let Some(python) = support::python() else { return };
    let docs = include_str!("../../docs/how-to/query-a-table.md");
    let (_, sql) = docs.split_once("```sql\n-- newest.sql").expect("it is in docs/how-to/query-a-table.md");
    let (sql, _) = sql.split_once("```").expect("it ends");
    let sql = format!("--{sql}").replace("'out/", &format!("'{}/", table.display()));
    let program = "import sys, duckdb, json\n\
        rows = duckdb.sql(f'SELECT run, tile_id, status FROM ({sys.argv[1]}\\n) ORDER BY ALL').fetchall()\n\
        print(json.dumps([dict(zip(['run', 'tile_id', 'status'], row)) for row in rows]))";
    let found: Value = serde_json::from_str(&support::run_python(&python, program, &[&sql])).unwrap();
    let expected = ask(table, "SELECT run, tile_id, status FROM tiles ORDER BY run, tile_id");
    let number = |rows: &Value| rows.as_array().unwrap().len();
    assert_eq!(found, expected, "{} rows, not {}", number(&found), number(&expected));
}

fn scene_job(tiles: &str) -> Option<Job> {
    let scene = support::test_data()?.join("satellite/geotiff/rasterio/RGB.byte.tif");
    let job = Job::new(0, &format!("[tiles]\ngrid = \"regular\"\nsize = 100\n{tiles}"));
    fs::copy(scene, job.path("images/a.tif")).unwrap();
    Some(job)
}

fn dry_run(job: &Job, arguments: &[&str]) -> Output {
    support::tilefleet().arg("plan").arg(&job.pipeline).arg("--dry-run").args(arguments).output().unwrap()
}

/// A typo in `tiles.bands` after 64 good rows: what `plan --dry-run` says, what `run` does.
#[test]
fn a_typo_costs_no_row() {
    let Some(job) = scene_job("bands = [1, 2, 3]") else { return };
    let table = job.table();
    job.run_ok(&[]);
    let before = shown(&table);
    assert_eq!(before.len(), 64);
    fs::copy(job.path("images/a.tif"), job.path("images/b.tif")).unwrap();
    let typo = ["--set", "tiles.bands=[1, 2, \"blu\"]"];
    let dry = dry_run(&job, &typo);
    assert_exit(&dry, 65);
    let said = String::from_utf8_lossy(&dry.stdout).into_owned();
    assert!(said.contains("2 sources rejected by their headers: bands_mismatch"), "{said}");
    assert!(said.contains("`tiles` would gain 2 tiles, show other rows of 0, and lose 0"), "{said}");
    assert!(stderr(&dry).contains("2 of 2 tiles would be rejected"), "{}", stderr(&dry));
    let preview = dry_run(&job, &[&typo[..], &["--json"]].concat());
    let preview: Value = serde_json::from_slice(&preview.stdout).unwrap();
    assert_eq!((&preview["rejected"], &preview["tiles"]), (&json!({"bands_mismatch": 2}), &2.into()));

    let said = too_many_rejects(&job, &typo);
    assert!(said.contains("accept "), "{said}");
    assert_eq!(shown(&table), before);
    // Mended, the pipeline goes on where it was.
    assert!(job.run_ok(&[]).contains("complete: 64 tiles"));
    assert_eq!(shown(&table).len(), 128);
    job.verify_ok();
    // Accepted all the same, the two rows stand beside the others.
    let typo_run =
        ids(&table).into_iter().find(|id| answer("status", &table, &["--run", id])[0]["accepted"] == false);
    answer("runs", &table, &["accept", &typo_run.unwrap()]);
    // Newer windows replace the word that there are none; beside older ones it stands.
    assert_eq!(shown(&table).len(), 129);
    assert_duckdb_finds_the_newest(&table);
}

/// Most of the sources count as well as most of the tiles: one large scene does not make up for others.
#[test]
fn sources_count_like_tiles() {
    let Some(job) = scene_job("bands = [1, 2, 3]") else { return };
    let table = job.table();
    job.run_ok(&[]);
    fs::copy(job.path("images/a.tif"), job.path("images/b.tif")).unwrap();
    job.write_image("c.tif", b"II? this is no image");
    for output in [dry_run(&job, &[]), job.run(&[])] {
        assert_exit(&output, 65);
        assert!(stderr(&output).contains("1 of 2 sources"), "{}", stderr(&output));
    }
    assert_eq!((rows(&table).len(), shown(&table).len()), (64 + 65, 64));
    // The figures can be found again where the runs are listed.
    assert!(text(&tilefleet("runs", &table, &[])).contains("  1 of 2 sources rejected by its header\n"));
    let listed = answer("runs", &table, &[]);
    assert_eq!((&listed[1]["sources"], &listed[1]["rejected_sources"]), (&2.into(), &1.into()), "{listed}");
    job.run_ok(&["--set", "limits.max_reject_ratio=0.5"]);
    assert_eq!(shown(&table).len(), 129);
}

/// The same the other way round: a source that could not be cut, and then can.
#[test]
fn windows_replace_the_row_that_said_there_are_none() {
    let Some(job) = scene_job("bands = [1, 2, \"blu\"]") else { return };
    let table = job.table();
    too_many_rejects(&job, &[]);
    assert_eq!(shown(&table).len(), 1, "the first run is shown");
    let mended = ["--set", "tiles.bands=[1, 2, 3]"];
    job.run_ok(&mended);
    let found = shown(&table);
    assert_eq!((found.len(), found.iter().filter(|row| row.status == "rejected").count()), (64, 0));
    assert_duckdb_finds_the_newest(&table);
    // One that has become smaller has fewer windows, and none of the old ones.
    let Some(smaller) = support::test_data().map(|data| data.join("satellite/geotiff/rasterio/rgb_lzw.tif"))
    else {
        return;
    };
    fs::copy(smaller, job.path("images/a.tif")).unwrap();
    job.run_ok(&mended);
    assert_eq!(ids(&table).len(), 3);
    assert!(shown(&table).iter().all(|row| !found.contains(row)));
    assert_duckdb_finds_the_newest(&table);
    job.verify_ok();
}

/// Embeddings in order of tile, as text, and the families that the shown rows are of.
fn embeddings_and_families(table: &Path) -> (Value, Value) {
    let embeddings =
        ask(table, "SELECT tile_id, embedding[1] AS a, embedding[2] AS b FROM tiles ORDER BY tile_id");
    (embeddings, ask(table, "SELECT DISTINCT left(run, length(run) - 5) AS family FROM tiles"))
}

/// A setting that was wrong and costs no reject, then the right one again: `tiles` shows what it showed.
#[test]
fn a_setting_that_was_put_right_is_shown_again() {
    let Some(scenes) = scene_job("bands = [1, 2, 3]") else { return };
    let photos = Job::new(3, "");
    let cases = [(scenes, ["--set", "tiles.bands=[3, 2, 1]"], 64), (photos, ["--set", "output.top_k=3"], 3)];
    for (job, typo, num_tiles) in cases {
        let table = job.table();
        job.run_ok(&[]);
        let right = embeddings_and_families(&table);
        job.run_ok(&typo);
        let wrong = embeddings_and_families(&table);
        assert_ne!(right.1, wrong.1);

        let preview = dry_run(&job, &["--json"]);
        assert_exit(&preview, 0);
        let preview: Value = serde_json::from_slice(&preview.stdout).unwrap();
        assert_eq!(preview["table"], json!({"lost": 0, "replaced": num_tiles, "gained": 0}));
        let again = job.run(&[]);
        assert_exit(&again, 0);
        assert!(stderr(&again).contains("planned again"), "{}", stderr(&again));
        assert_eq!(embeddings_and_families(&table), right);
        assert!(job.run_ok(&[]).contains("nothing new"));
        assert_duckdb_finds_the_newest(&table);

        // As often as somebody changes his mind; and what is new comes with what is planned again.
        job.run_ok(&typo);
        assert_eq!(embeddings_and_families(&table), wrong);
        fs::copy(
            fs::read_dir(job.path("images")).unwrap().next().unwrap().unwrap().path(),
            job.path("images/late.tif"),
        )
        .unwrap();
        job.run_ok(&[]);
        assert_eq!(embeddings_and_families(&table).1, right.1);
        assert!(shown(&table).len() > num_tiles);
        assert!(job.run_ok(&[]).contains("nothing new"));
        job.verify_ok();
    }
}

/// However the clock of whoever made the wrong rows went, the right ones are the newer.
#[test]
fn rows_that_are_planned_again_are_newer_than_a_fast_clock() {
    let job = Job::new(3, "");
    let table = job.table();
    job.run_ok(&[]);
    let right = embeddings_and_families(&table);
    let typo = ["--set", "output.top_k=3"];
    job.run_ok(&typo);
    let wrong =
        ids(&table).into_iter().find(|id| !right.1[0]["family"].as_str().is_some_and(|f| id.starts_with(f)));
    let path = record(&table, &wrong.unwrap(), "run.json");
    let mut run: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    run["as_of"] = "2096-01-01T00:00:00Z".into();
    fs::write(&path, run.to_string()).unwrap();
    job.run_ok(&[]);
    assert_eq!(embeddings_and_families(&table), right);
    assert!(job.run_ok(&[]).contains("nothing new"));
}

/// A pipeline of another name is meant to be another one: nothing goes back and forth, and a warning says so.
#[test]
fn newer_rows_of_another_pipeline_are_told() {
    let job = Job::new(3, "");
    let table = job.table();
    job.run_ok(&[]);
    let second = ["--set", "name=second", "--set", "output.top_k=3"];
    job.run_ok(&second);
    let other = newest(&table);
    for output in [job.run(&[]), dry_run(&job, &[])] {
        assert_exit(&output, 0);
        let said = stderr(&output);
        let whose = ids(&table).into_iter().find(|id| id.starts_with("second-")).unwrap();
        assert!(
            said.contains(&format!(
                "of 3 sources of this pipeline `tiles` shows newer rows of another one (run {whose})"
            )),
            "{said}"
        );
        assert!(String::from_utf8_lossy(&output.stdout).contains("nothing new"));
    }
    assert!(!stderr(&job.run(&second)).contains("newer rows"), "{other}");
}

/// With the grid `whole` planning reads no header; a dry run does, and ends as the run would.
#[test]
fn a_dry_run_looks_at_whole_images() {
    let job = Job::new(2, "[limits]\nmax_reject_ratio = 0.5");
    assert_exit(&dry_run(&job, &[]), 0);
    job.write_image("empty.jpg", b"");
    job.write_image("text.jpg", b"hello");
    let dry = dry_run(&job, &[]);
    assert_exit(&dry, 0);
    let said = String::from_utf8_lossy(&dry.stdout).into_owned();
    assert!(said.contains("1 source rejected by its header: not_an_image"), "{said}");
    assert!(said.contains("1 source rejected by its header: empty"), "{said}");
    job.write_image("gif.jpg", b"GIF89a");
    let preview = dry_run(&job, &["--json"]);
    assert_exit(&preview, 65);
    assert!(stderr(&preview).contains("3 of 5 sources"), "{}", stderr(&preview));
    let preview: Value = serde_json::from_slice(&preview.stdout).unwrap();
    assert_eq!((&preview["looked_at"], preview.get("sample")), (&5.into(), None));
    let told: u64 =
        preview["rejected"].as_object().unwrap().values().map(|number| number.as_u64().unwrap()).sum();
    assert_eq!(told, 3, "{preview}");
    assert!(!job.table().exists());
    assert_exit(&job.run(&[]), 65);

    // Of many, as many as are said, from the first to the last.
    let job = Job::new(0, "");
    (0..1500).for_each(|number| {
        job.write_image(&format!("{number:04}.jpg"), if number < 1200 { b"" } else { b"text" });
    });
    let dry = dry_run(&job, &[]);
    assert_exit(&dry, 65);
    let said = String::from_utf8_lossy(&dry.stdout).into_owned();
    assert!(said.contains("headers of 1,000 of 1,500 sources read"), "{said}");
    assert!(said.contains("800 sources rejected by their headers: empty"), "{said}");
    assert!(said.contains("200 sources rejected by their headers: not_an_image"), "{said}");
    assert!(stderr(&dry).contains("1,000 of 1,000 sources looked at"), "{}", stderr(&dry));
}

/// Two areas of one scene live together; where they meet the newer row is shown.
#[test]
fn another_area_replaces_only_tiles_of_equal_id() {
    let Some(job) = scene_job("") else { return };
    let table = job.table();
    let west = ["--set", "tiles.aoi=-79,23.5,-77.5,26"];
    let east = ["--set", "tiles.aoi=-77.6,23.5,-76,26"];
    job.run_ok(&west);
    let first = shown(&table).len();
    let dry = dry_run(&job, &east);
    assert_exit(&dry, 0);
    let said = String::from_utf8_lossy(&dry.stdout).into_owned();
    assert!(said.contains("and lose 0"), "{said}");
    job.run_ok(&east);
    let both = ask(&table, "SELECT run, count(*) AS n FROM tiles GROUP BY run ORDER BY n");
    let number = |row: &Value| row["n"].as_u64().unwrap() as usize;
    let both: Vec<usize> = both.as_array().unwrap().iter().map(number).collect();
    let all = rows(&table).len();
    assert!(both.len() == 2 && first < 64 && all > 64, "{both:?} of {all}, {first} in the west");
    assert_eq!(shown(&table).len(), 64, "the areas cover the scene, and overlap");
    let distinct = ask(&table, "SELECT count(DISTINCT tile_id) AS n FROM tiles");
    assert_eq!(distinct, json!([{"n": 64}]));
    for area in [west, east] {
        assert!(job.run_ok(&area).contains("nothing new"));
    }

    // A retry, a compaction of each, and deletion see the same table.
    text(&tilefleet("runs", &table, &["compact"]));
    assert_eq!(shown(&table).len(), 64);
    let ids = ids(&table);
    let eastern =
        ids.iter().find(|id| answer("status", &table, &["--run", id])[0]["tiles"] != first).unwrap();
    let proposed = tilefleet("runs", &table, &["delete", eastern, "--json"]);
    assert_exit(&proposed, 64);
    let proposed: Value = serde_json::from_slice(&proposed.stdout).unwrap();
    assert_eq!((&proposed["vanish"], &proposed["fall_back"]), (&(64 - first).into(), &(all - 64).into()));
    answer("runs", &table, &["delete", eastern, "--yes"]);
    assert_eq!(shown(&table).len(), first);
    job.verify_ok();

    // A scene that has changed is cut anew within its own area; the other area's rows stay.
    job.run_ok(&east);
    let scene = fs::read(job.path("images/a.tif")).unwrap();
    fs::write(job.path("images/a.tif"), [&scene[..], b"\0"].concat()).unwrap();
    job.run_ok(&west);
    assert_eq!(shown(&table).len(), 64);
    job.verify_ok();
    assert_duckdb_finds_the_newest(&table);
}

/// What `run` refuses of a manifest, `plan --dry-run` does, too.
#[test]
fn a_dry_run_finds_what_the_run_would_refuse() {
    let job = Job::new(3, "");
    let manifest = job.path("list.csv");
    let set = format!("input.manifest={}", manifest.display());
    let arguments = ["--set", "input.uris=[]", "--set", &set];
    fs::write(&manifest, "uri,site\nimages/00000.jpg,a\n").unwrap();
    job.run_ok(&arguments);
    fs::write(&manifest, "uri,site,weight\nimages/00000.jpg,a,1\nimages/00001.jpg,b,2\n").unwrap();
    let (dry, run) = (dry_run(&job, &arguments), job.run(&arguments));
    assert_exit(&dry, 78);
    assert_eq!((run.status.code(), stderr(&run)), (Some(78), stderr(&dry)));
    assert!(stderr(&dry).contains("the manifest's columns"), "{}", stderr(&dry));
    let before = ids(&job.table());
    fs::write(&manifest, "uri,site\nimages/00000.jpg,a\nimages/00001.jpg,b\n").unwrap();
    assert_exit(&dry_run(&job, &arguments), 0);
    assert_eq!(ids(&job.table()), before, "nothing was written");
}

/// A night without a scene is no misconfiguration: no dates, too cloudy, elsewhere.
#[test]
fn nothing_within_dates_clouds_or_area_is_success() {
    let Some(job) = scene_job("") else { return };
    let item = json!({
        "type": "Feature", "stac_version": "1.0.0", "id": "one", "links": [], "bbox": [-79, 23, -76, 26],
        "geometry": {"type": "Point", "coordinates": [-78, 24]},
        "properties": {"datetime": "2024-05-01T10:00:00Z", "eo:cloud_cover": 80},
        "assets": {"data": {"href": "./a.tif", "type": "image/tiff"}},
    });
    let path = job.path("images/one.json");
    fs::write(&path, item.to_string()).unwrap();
    let input =
        ["--input", path.to_str().unwrap(), "--set", "tiles.bands=[\"data/1\", \"data/2\", \"data/3\"]"];
    let filters =
        ["input.stac.dates=2025-01-01/..", "input.stac.max_cloud_cover=10", "tiles.aoi=9.5,53.3,10.4,53.8"];
    for found in [false, true] {
        for filter in filters {
            let arguments = [&input[..], &["--set", filter]].concat();
            let report = job.run_ok(&arguments);
            let named = ["tiles.aoi", "input.stac.dates", "input.stac.max_cloud_cover"]
                .iter()
                .all(|key| report.contains(key));
            // The area is part of what a row means, so that no run of it was there before.
            assert!(
                if found && !filter.starts_with("tiles") { report.contains("nothing new") } else { named },
                "{report}"
            );
            let report: Value =
                serde_json::from_str(&job.run_ok(&[&arguments[..], &["--json"]].concat())).unwrap();
            assert_eq!(report["nothing_new"], true, "{report}");
            assert_exit(&dry_run(&job, &arguments), 0);
            assert_exit(
                &support::tilefleet().arg("plan").arg(&job.pipeline).args(&arguments).output().unwrap(),
                0,
            );
        }
        job.run_ok(&input);
        assert_eq!(shown(&job.table()).len(), 64);
    }
    // An area in which no window of a file lies is the same; an input that is not there is not.
    let file = job.path("images/a.tif");
    let elsewhere = ["--input", file.to_str().unwrap(), "--set", "tiles.aoi=9.5,53.3,10.4,53.8"];
    assert!(job.run_ok(&elsewhere).contains("tiles.aoi"));
    assert_exit(&job.run(&["--input", job.path("nowhere").to_str().unwrap()]), 78);
    // Asking for a cloud cover that no item states is a setting to change.
    let mut silent = item;
    silent["properties"].as_object_mut().unwrap().remove("eo:cloud_cover");
    fs::write(&path, silent.to_string()).unwrap();
    let output = job.run(&[&input[..], &["--set", "input.stac.max_cloud_cover=10"]].concat());
    assert_exit(&output, 78);
    assert!(stderr(&output).contains("without eo:cloud_cover"), "{}", stderr(&output));
}

/// After the only worker died there is no time left to tell, but for how long nothing has happened.
#[test]
fn status_tells_that_nobody_is_at_work() {
    let job = Job::new(300, "[plan]\nshard_tiles = 2\n[run]\nthreads = 1\nbatch = 1");
    let table = job.table();
    let mut worker = job.run_command(&[]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    wait_until("some shards are committed", || shard_files(&table).len() > 5);
    worker.kill().unwrap();
    assert!(!worker.wait().unwrap().success(), "it ended before the kill; make the job longer");
    let said = text(&tilefleet("status", &table, &[]));
    assert!(said.contains("tiles/s") && said.contains(" left, last commit "), "{said}");
    // As if that were 35 seconds ago.
    for (path, seconds) in shard_files(&table).values().zip(35..) {
        let then = SystemTime::now() - Duration::from_secs(seconds);
        fs::File::options().write(true).open(path).unwrap().set_modified(then).unwrap();
    }
    let said = text(&tilefleet("status", &table, &[]));
    assert!(said.contains("no progress for 35") && !said.contains(" left"), "{said}");
    let told = &answer("status", &table, &[])[0];
    assert_eq!((&told["stalled"], &told["seconds_left"]), (&true.into(), &Value::Null), "{told}");
    job.run_ok(&[]);
    let told = &answer("status", &table, &[])[0];
    assert_eq!((&told["stalled"], &told["seconds_left"]), (&false.into(), &0.0.into()), "{told}");
}
