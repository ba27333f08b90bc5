//! SQL over outputs: the tables, the functions, the formats, and how little a narrow question reads.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Output;

use serde_json::{Value, json};

use crate::fixture::{Job, Row, assert_exit, jpeg, rows, rows_of_file, stderr, wait_until};
use crate::support;

pub fn query(table: &Path, sql: &str, arguments: &[&str]) -> Output {
    support::tilefleet().arg("query").arg(table).arg(sql).args(arguments).output().unwrap()
}

pub fn ask(table: &Path, sql: &str) -> Value {
    let output = query(table, sql, &["--json"]);
    assert_exit(&output, 0);
    serde_json::from_slice(&output.stdout).unwrap()
}

fn text(table: &Path, sql: &str, arguments: &[&str]) -> String {
    let output = query(table, sql, arguments);
    assert_exit(&output, 0);
    String::from_utf8(output.stdout).unwrap()
}

/// `tiles` shows every source once, as the newest completed run has it; `tiles_all` shows everything.
#[test]
fn tiles_are_those_of_the_newest_completed_runs() {
    let job = Job::new(10, "[plan]\nshard_tiles = 4\n[limits]\nmax_reject_ratio = 0.5");
    job.run_ok(&[]);
    job.write_image("00003.jpg", b"");
    job.write_image("new.jpg", &jpeg(444));
    job.run_ok(&[]);
    let counts = ask(
        &job.table(),
        "SELECT (SELECT count(*) FROM tiles) AS tiles, (SELECT count(*) FROM tiles_all) AS every, \
         (SELECT count(DISTINCT source) FROM tiles) AS sources, \
         (SELECT count(*) FROM predictions) AS predictions, (SELECT count(*) FROM rejects) AS rejects",
    );
    let expected = json!([{ "tiles": 11, "every": 12, "sources": 11, "predictions": 10, "rejects": 1 }]);
    assert_eq!(counts, expected);
    let reject = ask(&job.table(), "SELECT run, reason, source FROM rejects");
    assert!(reject[0]["run"].as_str().unwrap().ends_with("-0002"), "{reject}");
    assert!(reject[0]["source"].as_str().unwrap().ends_with("00003.jpg"), "{reject}");
    assert_eq!(reject[0]["reason"], "empty");

    let runs = "SELECT complete, tiles, shards, committed_shards FROM runs ORDER BY run";
    let second = json!({ "complete": true, "tiles": 2, "shards": 1, "committed_shards": 1 });
    let first = json!({ "complete": true, "tiles": 10, "shards": 3, "committed_shards": 3 });
    assert_eq!(ask(&job.table(), runs), json!([first, second]));

    // As if the second run had been killed before its only shard: it is not complete, so the first is shown.
    let (last, path) = crate::fixture::shard_files(&job.table()).pop_last().unwrap();
    assert!(last.contains("-0002/"), "{last}");
    fs::remove_file(path).unwrap();
    let output = query(&job.table(), "SELECT count(*) AS n, count(embedding) AS ok FROM tiles", &["--json"]);
    assert_exit(&output, 0);
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(answer, json!([{ "n": 10, "ok": 10 }]));
    assert!(stderr(&output).contains("is not complete"), "{}", stderr(&output));
}

/// A file is what its name says, or nothing is written; that one was written is said where logs go.
#[test]
fn the_name_of_an_answers_file_says_its_format() {
    let job = Job::new(3, "");
    job.run_ok(&[]);
    let sql = "SELECT source, status FROM tiles";
    for name in ["answer.tsv", "answer", "answer.xlsx"] {
        let path = job.path(name);
        let refused = query(&job.table(), sql, &["--out", path.to_str().unwrap()]);
        assert_exit(&refused, 64);
        let said = stderr(&refused);
        assert!(
            [".csv", ".json", ".geojson", ".parquet", "--format"].iter().all(|way| said.contains(way)),
            "{said}"
        );
        assert!(!path.exists());
    }
    let named = job.path("answer.tsv");
    let told = query(&job.table(), sql, &["--format", "csv", "--out", named.to_str().unwrap()]);
    assert_exit(&told, 0);
    assert_eq!(stderr(&told), format!("3 rows in {}\n", named.display()));
    assert!(told.stdout.is_empty() && fs::read_to_string(&named).unwrap().starts_with("source,status\n"));
    let one = job.path("one.TXT");
    let one_row = ["--out", one.to_str().unwrap(), "--log-format", "json"];
    let told = query(&job.table(), "SELECT count(*) AS n FROM tiles", &one_row);
    let line: Value = serde_json::from_str(&stderr(&told)).unwrap();
    assert_eq!((&line["rows"], &line["path"]), (&1.into(), &json!(one.display().to_string())), "{line}");
    assert!(fs::read_to_string(&one).unwrap().ends_with("\n1 row\n"));
}

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum::<f64>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

fn embedding(row: &Row) -> &[f32] {
    row.embedding.as_deref().expect("the row is ok")
}

#[test]
fn neighbours_and_means_are_those_of_the_textbook() {
    let job = Job::new(20, "[limits]\nmax_reject_ratio = 0.5");
    job.write_image("broken.jpg", b"");
    job.run_ok(&[]);
    let rows: Vec<Row> = rows(&job.table()).into_iter().filter(|row| row.status == "ok").collect();
    let asked = &rows[7];
    let mut expected: Vec<(f64, &str)> = rows
        .iter()
        .filter(|row| row.tile_id != asked.tile_id)
        .map(|row| (cosine(embedding(row), embedding(asked)), row.tile_id.as_str()))
        .collect();
    expected.sort_by(|a, b| b.0.total_cmp(&a.0));
    let nearest = format!("SELECT tile_id, similarity FROM nearest('{}', 5)", asked.tile_id);
    let by_hand = format!(
        "SELECT tile_id, cosine_similarity(embedding, (SELECT embedding FROM tiles WHERE tile_id = '{0}')) \
         AS similarity FROM tiles WHERE tile_id <> '{0}' AND status = 'ok' ORDER BY similarity DESC LIMIT 5",
        asked.tile_id
    );
    for sql in [nearest, by_hand] {
        let found = ask(&job.table(), &sql);
        for (found, (similarity, id)) in found.as_array().unwrap().iter().zip(&expected) {
            assert!((found["similarity"].as_f64().unwrap() - similarity).abs() < 1e-6, "{found}");
            assert_eq!(found["tile_id"], **id);
        }
        assert_eq!(found.as_array().unwrap().len(), 5);
    }

    let mean = ask(&job.table(), "SELECT run, mean_embedding(embedding) AS mean FROM tiles GROUP BY run");
    for (index, found) in mean[0]["mean"].as_array().unwrap().iter().enumerate() {
        let sum: f64 = rows.iter().map(|row| f64::from(embedding(row)[index])).sum();
        assert!((found.as_f64().unwrap() - sum / rows.len() as f64).abs() < 1e-6);
    }
    let nothing = "SELECT mean_embedding(embedding) AS mean FROM tiles WHERE status = 'skipped'";
    assert_eq!(ask(&job.table(), nothing), json!([{ "mean": null }]));
    let literal = "SELECT cosine_similarity([1, 0], [1.0, 1.0]) AS c, cosine_similarity([0], [1]) AS none";
    let answer = ask(&job.table(), literal);
    assert!((answer[0]["c"].as_f64().unwrap() - 0.5f64.sqrt()).abs() < 1e-6 && answer[0]["none"].is_null());
}

#[test]
fn answers_come_as_table_csv_json_and_parquet() {
    let job = Job::new(3, "");
    job.run_ok(&[]);
    let sql = "SELECT source, class_id, top_k, embedding FROM tiles ORDER BY source";
    let table = text(&job.table(), sql, &[]);
    assert!(table.contains("… 512 in all]") && table.ends_with("3 rows\n"), "{table}");
    let csv = text(&job.table(), sql, &["--format", "csv"]);
    assert_eq!(csv.lines().next(), Some("source,class_id,top_k,embedding"));
    assert_eq!(csv.lines().count(), 4);
    assert!(csv.contains("00001.jpg") && csv.contains("\"\"score\"\""), "{csv}");
    assert_eq!(ask(&job.table(), sql).as_array().unwrap().len(), 3);

    let out = job.path("answer.parquet");
    let to_file = ["--format", "parquet", "--out", out.to_str().unwrap()];
    text(&job.table(), "SELECT * FROM tiles ORDER BY source", &to_file);
    assert_eq!(rows_of_file(&out), rows(&job.table()));
    assert_exit(&query(&job.table(), sql, &to_file), 64);
    assert_eq!(rows_of_file(&out), rows(&job.table()), "nothing was written over it");
    text(&job.table(), "SELECT * FROM tiles WHERE status = 'ok'", &[&to_file[..], &["--force"]].concat());
    let failing = "SELECT * FROM tiles WHERE 1 / (shard - shard) = 0";
    assert_exit(&query(&job.table(), failing, &[&to_file[..], &["--force"]].concat()), 64);
    assert_eq!(rows_of_file(&out).len(), 3, "a failing query replaces nothing");
    assert_exit(&query(&job.table(), sql, &["--format", "parquet"]), 64);
    let none = "SELECT source FROM tiles WHERE false";
    assert_eq!(ask(&job.table(), none), json!([]));
    assert!(text(&job.table(), none, &[]).ends_with("0 rows\n"));
}

/// What cannot be answered says why; nothing is changed by a query.
#[test]
fn wrong_queries_are_refused() {
    let job = Job::new(1, "");
    let early = support::tilefleet().arg("query").arg(job.table()).arg("SELECT 1").output().unwrap();
    assert_exit(&early, 78);
    assert!(stderr(&early).contains("there is no run"), "{}", stderr(&early));
    assert_exit(&support::tilefleet().arg("plan").arg(&job.pipeline).output().unwrap(), 0);
    let planned = query(&job.table(), "SELECT 1", &[]);
    assert_exit(&planned, 75);
    assert!(stderr(&planned).contains("nothing is committed"), "{}", stderr(&planned));
    job.run_ok(&[]);
    let refused = [
        "SELEKT 1",
        "SELECT nothing FROM tiles",
        "SELECT * FROM nowhere",
        "DROP VIEW tiles",
        "CREATE TABLE x AS SELECT 1",
        "COPY (SELECT 1) TO 'x.parquet'",
        "INSERT INTO runs SELECT * FROM runs",
        "SELECT cosine_similarity(source, embedding) FROM tiles",
        "SELECT cosine_similarity([1], embedding) FROM tiles",
        "SELECT mean_embedding(source) FROM tiles",
        "SELECT cosine_similarity([1, NULL], [1, 2])",
        "SELECT * FROM nearest('x')",
        "SELECT * FROM nearest('x', -1)",
        "SELECT 1 / (shard - shard) FROM tiles",
        "SELECT source FROM tiles WHERE 1 / (shard - shard) = 0",
    ];
    for sql in refused {
        let output = query(&job.table(), sql, &[]);
        assert_exit(&output, 64);
        assert!(stderr(&output).contains("the query is not valid"), "{sql}: {}", stderr(&output));
    }
}

/// A question for one tile, or for one class, reads a small part of the bytes.
#[test]
fn narrow_questions_read_little() {
    let job = Job::new(400, "[plan]\nshard_tiles = 50");
    job.run_ok(&[]);
    let files = crate::fixture::shard_files(&job.table());
    let all: u64 = files.values().map(|path| path.metadata().unwrap().len()).sum();
    let rows = rows(&job.table());
    let tile = format!("SELECT embedding FROM tiles WHERE tile_id = '{}'", rows[123].tile_id);
    let mut classes: BTreeMap<i32, u64> = BTreeMap::new();
    for row in &rows {
        *classes.entry(row.class_id.unwrap()).or_default() += 1;
    }
    let (class, _) = classes.iter().min_by_key(|(_, count)| **count).unwrap();
    let class = format!("SELECT tile_id, score FROM tiles WHERE class_id = {class}");
    for (sql, part) in [(tile, 0.25), (class, 0.1)] {
        let explained = ask(&job.table(), &format!("EXPLAIN ANALYZE {sql}"));
        let plan = explained[0]["plan"].as_str().unwrap();
        let scanned = bytes_scanned(plan);
        println!("{scanned} of {all} bytes: {sql}");
        assert!(scanned > 0 && (scanned as f64) < part * all as f64, "{scanned} of {all} bytes\n{plan}");
    }
}

/// Returns what a plan's scan says, such as `bytes_scanned=12.3 K`.
fn bytes_scanned(plan: &str) -> u64 {
    let (_, rest) = plan.split_once("bytes_scanned=").expect("the scan counts its bytes");
    let said = rest.split([',', ']']).next().unwrap();
    let (number, unit) = said.split_once(' ').unwrap_or((said, ""));
    let factor = match unit {
        "" | "B" => 1.0,
        "K" | "KB" => 1e3,
        "M" | "MB" => 1e6,
        other => panic!("an unknown unit {other}"),
    };
    (number.parse::<f64>().expect("a number") * factor) as u64
}

/// A person who gives up finds no half of an answer.
#[test]
fn an_interrupted_query_leaves_no_file() {
    let job = Job::new(3, "");
    job.run_ok(&[]);
    let out = job.path("answers");
    fs::create_dir(&out).unwrap();
    let file = out.join("all.csv");
    let endless = "SELECT * FROM range(1, 9000000000000)";
    let arguments = ["--format", "csv", "--out", file.to_str().unwrap()];
    let mut child =
        support::tilefleet().arg("query").arg(job.table()).arg(endless).args(arguments).spawn().unwrap();
    let staged =
        || fs::read_dir(&out).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len()).sum::<u64>();
    wait_until("some of the answer is written", || staged() > 0);
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_eq!(fs::read_dir(&out).unwrap().count(), 0);
}
