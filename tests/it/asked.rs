//! What a query may be asked, and where from: scenes with and without a place, files of whoever asks, outlines.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;
use std::process::{Output, Stdio};
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, RecordBatch, StringArray};
use parquet::arrow::ArrowWriter;
use serde_json::{Value, json};
use tilefleet::formats::cog_writer;
use tilefleet::formats::cog_writer::{Band, Colours, Image, Place, Reduce, System};
use tilefleet::geo::GeoTransform;
use tilefleet::vocabulary::geometry::Size;

use crate::fixture::{Job, assert_exit, stderr};
use crate::query::{ask, query};
use crate::support::{self, S3Server};

const SIDE: u32 = 128;

/// A scene of three bands, four windows of 64 pixels.
fn scene(place: Option<Place>, seed: u32) -> Vec<u8> {
    let band = |name: &str| Band { description: name.to_owned(), scale: None };
    let sample = |at: u32| (at.wrapping_mul(2_654_435_761).wrapping_add(seed * 40_503) >> 24) as u8;
    let image = Image {
        size: Size { width: SIDE, height: SIDE },
        bands: ["red", "green", "blue"].map(band).to_vec(),
        samples: (0..SIDE * SIDE * 3).map(sample).collect(),
        nodata: None,
        reduce: Reduce::Mean,
        colours: Colours::Values,
        place,
        notes: Vec::new(),
    };
    cog_writer::encode(&image).unwrap()
}

/// Windows of a scene east of Greenwich, windows of one without a place, and a file that is no scene.
fn job() -> Job {
    let job = Job::new(0, "[tiles]\ngrid = \"regular\"\n[limits]\nmax_reject_ratio = 0.5");
    let transform = GeoTransform([9.0, 0.001, 0.0, 50.0, 0.0, -0.001]);
    job.write_image("placed.tif", &scene(Some(Place { transform, system: System::Epsg(4326) }), 1));
    job.write_image("nowhere.tif", &scene(None, 2));
    job.write_image("broken.tif", b"II*\0");
    job.run_ok(&[]);
    job
}

fn number(table: &Path, sql: &str) -> Value {
    let answer = ask(table, sql);
    answer[0].as_object().unwrap().values().next().unwrap().clone()
}

/// Edges of a box are never null in the files; of a row without one they are all the same.
#[test]
fn rows_without_a_box_have_no_edges() {
    let job = job();
    let table = job.table();
    let counts = "SELECT count(*) AS n, count(bbox) AS boxes, count(geometry) AS outlines FROM tiles";
    assert_eq!(ask(&table, counts), json!([{ "n": 9, "boxes": 4, "outlines": 4 }]));
    let edges = ask(&table, "SELECT source, bbox, bbox['xmin'] AS west, bbox['ymax'] AS north FROM tiles");
    for row in edges.as_array().unwrap() {
        let edge = |name: &str| row["bbox"].get(name).cloned().unwrap_or_default();
        assert_eq!((&row["west"], &row["north"]), (&edge("xmin"), &edge("ymax")), "{row}");
        assert_eq!(row["west"].is_null(), !row["source"].as_str().unwrap().ends_with("placed.tif"), "{row}");
    }
    for (sql, expected) in [
        ("SELECT count(*) FROM tiles WHERE bbox['xmin'] IS NULL", json!(5)),
        ("SELECT count(*) FROM tiles WHERE bbox['xmin'] < 1000", json!(4)),
        ("SELECT count(*) FROM tiles WHERE tiles.bbox.xmin >= 0 AND status = 'ok'", json!(4)),
        ("SELECT count(*) FROM tiles WHERE NOT (bbox['xmin'] > 1000)", json!(4)),
        ("SELECT count(bbox['xmin']) FROM tiles_all", json!(4)),
        ("SELECT min(bbox['xmin']) FROM tiles", json!(9.0)),
        ("SELECT min(xmin) FROM (SELECT unnest(bbox) FROM tiles) AS u(xmin, ymin, xmax, ymax)", json!(9.0)),
        ("SELECT bbox['xmin'] FROM tiles ORDER BY bbox['xmin'] NULLS LAST LIMIT 1", json!(9.0)),
        ("SELECT bbox['xmin'] FROM tiles ORDER BY bbox['xmin'] NULLS FIRST LIMIT 1", json!(null)),
        ("SELECT count(DISTINCT bbox['xmin']) FROM tiles", json!(2)),
        ("SELECT count(*) FROM tiles AS a JOIN tiles AS b ON a.bbox['xmin'] = b.bbox['xmin']", json!(8)),
        ("SELECT sum(CASE WHEN bbox['ymin'] > -91 THEN 1 ELSE 0 END) FROM tiles", json!(4)),
    ] {
        assert_eq!(number(&table, sql), expected, "{sql}");
    }
}

/// Conditions on members are looked at before embeddings are read, as those on columns are.
#[test]
fn conditions_on_members_read_little() {
    let job = job();
    let plan = |condition: &str| {
        let sql = format!("EXPLAIN ANALYZE SELECT embedding FROM tiles_all WHERE {condition}");
        ask(&job.table(), &sql)[0]["plan"].as_str().unwrap().to_owned()
    };
    for condition in ["bbox['xmin'] > 1000", "bbox['xmin'] BETWEEN 500 AND 501", "bbox['ymin'] IN (-1000)"] {
        let plan = plan(condition);
        let pruned = plan.split("pushdown_rows_pruned=").nth(1).expect("the scan has a filter");
        assert!(pruned.starts_with('9'), "all rows are left out within the scan: {plan}");
    }
}

#[test]
fn neighbours_say_where_they_lie() {
    let job = job();
    let table = job.table();
    let placed =
        "SELECT tile_id, centre_lon, centre_lat FROM tiles WHERE geometry IS NOT NULL ORDER BY tile_id";
    let placed = ask(&table, placed);
    let id = placed[0]["tile_id"].as_str().unwrap();
    let nearest = ask(&table, &format!("SELECT * FROM nearest('{id}', 9)"));
    let rows = nearest.as_array().unwrap();
    assert_eq!(rows.len(), 7, "the others that are ok");
    for row in rows {
        let known = placed.as_array().unwrap().iter().find(|it| it["tile_id"] == row["tile_id"]);
        let axis = |name: &str| known.map_or(Value::Null, |known| known[name].clone());
        assert_eq!((&row["centre_lon"], &row["centre_lat"]), (&axis("centre_lon"), &axis("centre_lat")));
        assert!(row["source"].is_string() && row["x"].is_number() && row["similarity"].is_number(), "{row}");
    }
    assert!(rows.iter().any(|row| row["centre_lon"].is_number()), "{nearest}");
}

/// The first digits of an id are enough, if no other begins so.
#[test]
fn a_tile_is_named_as_a_commit_is() {
    let job = Job::new(40, "");
    job.run_ok(&[]);
    let table = job.table();
    let ids = ask(&table, "SELECT tile_id FROM tiles ORDER BY tile_id");
    let ids: Vec<&str> = ids.as_array().unwrap().iter().map(|row| row["tile_id"].as_str().unwrap()).collect();
    let begin = |digits: &str| ids.iter().filter(|id| id.starts_with(digits)).count();
    let shortest = |id: &str| (1..32).find(|count| begin(&id[..*count]) == 1).unwrap();
    let neighbours = |of: &str| ask(&table, &format!("SELECT tile_id, similarity FROM nearest({of}, 3)"));
    let id = ids[7];
    let whole = neighbours(&format!("'{id}'"));
    assert_eq!(whole.as_array().unwrap().len(), 3);
    let digits = &id[..shortest(id)];
    for of in [
        format!("'{digits}'"),
        format!("'{}'", digits.to_uppercase()),
        format!("(SELECT tile_id FROM tiles WHERE tile_id LIKE '{digits}%')"),
        format!("(SELECT '{digits}')"),
    ] {
        assert_eq!(neighbours(&of), whole, "{of}");
    }
    // A vector has no tile of its own to leave out.
    let of_vector = neighbours(&format!("(SELECT embedding FROM tiles WHERE tile_id = '{id}')"));
    assert_eq!(of_vector[0]["tile_id"], id);
    assert_eq!(of_vector.as_array().unwrap()[1..], whole.as_array().unwrap()[..2]);
    let mean = "(SELECT mean_embedding(embedding) FROM tiles)";
    let by_hand = format!(
        "SELECT tile_id, cosine_similarity(embedding, {mean}) AS similarity FROM tiles ORDER BY 2 DESC LIMIT 3"
    );
    assert_eq!(neighbours(mean), ask(&table, &by_hand));

    let refused = |of: &str| {
        let output = query(&table, &format!("SELECT * FROM nearest({of}, 3)"), &[]);
        assert_exit(&output, 64);
        stderr(&output)
    };
    let shared = (0..16).map(|digit| format!("{digit:x}")).find(|digit| begin(digit) > 1).unwrap();
    let ambiguous = refused(&format!("'{shared}'"));
    let named = ids.iter().filter(|id| ambiguous.contains(**id)).count();
    assert!(ambiguous.contains("begins more than one tile id") && named > 1, "{ambiguous}");
    assert!(ambiguous.contains(".jpg"), "{ambiguous}");
    let unknown = refused(&format!("'{}0123456789'", &id[..12]));
    assert!(unknown.contains("no tile id in `tiles` begins with") && unknown.contains(id), "{unknown}");
    let by_name = refused("'00003.jpg'");
    assert!(by_name.contains("is not a tile id") && by_name.contains("00003.jpg)"), "{by_name}");
    for (of, said) in [
        ("(SELECT tile_id FROM tiles)", "more than one row"),
        ("(SELECT tile_id FROM tiles WHERE false)", "no row"),
        ("(SELECT reason FROM tiles LIMIT 1)", "null"),
        ("(SELECT shard FROM tiles LIMIT 1)", "nearest takes a tile id"),
        ("[0, 0]", "all of its values are zero"),
        ("''", "is not a tile id"),
        ("'0123_5%'", "is not a tile id"),
    ] {
        assert!(refused(of).contains(said), "{of}: {}", refused(of));
    }
}

fn command(job: &Job, arguments: &[&str], input: &str) -> Output {
    let mut command = support::tilefleet();
    command.current_dir(job.folder.path()).arg("query").arg("table").args(arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // Who does not read is done before all is written.
    _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

fn answer(job: &Job, arguments: &[&str], input: &str) -> Value {
    let output = command(job, &[arguments, &["--json"]].concat(), input);
    assert_exit(&output, 0);
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn queries_come_from_files_and_standard_input() {
    let job = Job::new(3, "");
    job.run_ok(&[]);
    let sql = "-- how many\nSELECT count(*) AS n\nFROM tiles;\n";
    fs::write(job.path("count.sql"), format!("\u{feff}{sql}")).unwrap();
    let expected = json!([{ "n": 3 }]);
    assert_eq!(answer(&job, &["-f", "count.sql"], ""), expected);
    assert_eq!(answer(&job, &["--file", "-"], sql), expected);
    assert_eq!(answer(&job, &["-"], sql), expected);
    fs::write(job.path("none.sql"), "\n").unwrap();
    fs::write(job.path("odd.sql"), b"SELECT '\xff'").unwrap();
    fs::write(job.path("two.sql"), "SELECT 1; SELECT 2").unwrap();
    fs::write(job.path("write.sql"), "CREATE TABLE x AS SELECT 1").unwrap();
    fs::write(job.path("long.sql"), format!("SELECT '{}'", "x".repeat(2 << 20))).unwrap();
    for (arguments, said) in [
        (&["-f", "missing.sql"][..], "cannot read the query from missing.sql"),
        (&["-f", "none.sql"], "there is no query in none.sql"),
        (&["-"], "there is no query in standard input"),
        (&["-f", "odd.sql"], "UTF-8"),
        (&["-f", "two.sql"], "the query is not valid"),
        (&["-f", "write.sql"], "queries are read-only"),
        (&["-f", "long.sql"], "the query is too long"),
        (&["count.sql"], "tilefleet query OUTPUT -f count.sql"),
        (&["-f", "count.sql", "SELECT 1"], "cannot be used with"),
        (&[], "required"),
    ] {
        let output = command(&job, arguments, "");
        assert_exit(&output, 64);
        assert!(stderr(&output).contains(said), "{arguments:?}: {}", stderr(&output));
    }
}

fn write_parquet(path: &Path, columns: Vec<(&str, ArrayRef)>) {
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let mut writer = ArrowWriter::try_new(File::create(path).unwrap(), batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

/// Texts keep what they are: a whole number with a zero before it is none.
#[test]
fn own_files_are_tables() {
    let job = Job::new(3, "");
    job.run_ok(&[]);
    let ids = ask(&job.table(), "SELECT tile_id FROM tiles ORDER BY source");
    let id = |row: usize| ids[row]["tile_id"].as_str().unwrap();
    let labels = format!("tile_id,truth,plot,area\n{},cat,007,1.5\n{},\"a, dog\",012,2\n", id(0), id(2));
    fs::write(job.path("labels.csv"), labels).unwrap();
    let names: ArrayRef = Arc::new(StringArray::from(vec!["cat", "a, dog"]));
    let costs: ArrayRef = Arc::new(Float64Array::from(vec![2.0, 3.0]));
    write_parquet(&job.path("costs of 100%.parquet"), vec![("truth", names), ("cost", costs)]);
    let tables = ["--table", "labels=labels.csv", "--table", "costs=costs of 100%.parquet"];
    let sql = "SELECT truth, plot, area * cost AS price FROM tiles JOIN labels USING (tile_id) \
               JOIN costs USING (truth) ORDER BY source";
    assert_eq!(
        answer(&job, &[&tables[..], &[sql]].concat(), ""),
        json!([{ "truth": "cat", "plot": "007", "price": 3.0 }, { "truth": "a, dog", "plot": "012", "price": 6.0 }])
    );
    let sql = "SELECT column_name, data_type FROM information_schema.columns WHERE table_name = 'labels'";
    let types = answer(&job, &[&tables[..], &[sql]].concat(), "");
    let kind = |row: usize| types[row]["data_type"].as_str().unwrap();
    assert_eq!((kind(1), kind(2), kind(3)), ("Utf8", "Utf8", "Float64"));

    fs::write(job.path("empty.csv"), "").unwrap();
    fs::write(job.path("uneven.csv"), "a,b\n1,2\n3\n").unwrap();
    fs::write(job.path("text.parquet"), "no table").unwrap();
    for (table, sql, code, said) in [
        ("tiles=labels.csv", "SELECT 1", 64, "there is a table `tiles` already"),
        ("t=missing.csv", "SELECT 1", 78, "missing.csv"),
        ("t=missing.parquet", "SELECT 1", 78, "missing.parquet"),
        ("t=empty.csv", "SELECT 1", 78, "empty.csv"),
        ("t=uneven.csv", "SELECT 1", 78, "cannot read the table"),
        ("t=text.parquet", "SELECT 1", 78, "cannot read the table"),
        ("t=labels.csv", "INSERT INTO t VALUES ('a', 'b', 'c', 1)", 64, "queries are read-only"),
        ("t=labels.csv", "DROP TABLE t", 64, "queries are read-only"),
    ] {
        let output = command(&job, &["--table", table, sql], "");
        assert_exit(&output, code);
        assert!(stderr(&output).contains(said) && !stderr(&output).contains("verify"), "{}", stderr(&output));
    }
    assert_eq!(fs::read_to_string(job.path("uneven.csv")).unwrap(), "a,b\n1,2\n3\n");
}

#[test]
fn own_files_lie_where_outputs_do() {
    let Some(server) = support::seaweedfs() else { return };
    let job = Job::new(1, "");
    job.run_ok(&[]);
    let ids: ArrayRef = Arc::new(StringArray::from(vec!["a", "b"]));
    write_parquet(&job.path("ids.parquet"), vec![("id", ids)]);
    server.create_bucket("own");
    server.put("own", "lists/ids one.parquet", fs::read(job.path("ids.parquet")).unwrap());
    server.put("own", "lists/ids.csv", "id\n01\n02\n03\n");
    let mut command = support::tilefleet();
    let variables = S3Server::variables(&server.endpoint(), S3Server::OWNER);
    command.envs(variables).arg("query").arg(job.table()).args([
        "--table",
        "a=s3://own/lists/ids one.parquet",
        "--table",
        "b=s3://own/lists/ids.csv",
        "SELECT (SELECT count(*) FROM a) AS a, (SELECT max(id) FROM b) AS b",
        "--json",
    ]);
    let output = command.output().unwrap();
    assert_exit(&output, 0);
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(answer, json!([{ "a": 2, "b": "03" }]));
}

#[test]
fn answers_come_as_geojson() {
    let job = job();
    let out = job.path("tiles.geojson");
    let sql = "SELECT source, geometry, label, score, bbox FROM tiles ORDER BY source, x, y";
    let output = query(&job.table(), sql, &["--out", out.to_str().unwrap()]);
    assert_exit(&output, 0);
    let collection: Value = serde_json::from_slice(&fs::read(&out).unwrap()).unwrap();
    assert_eq!(collection["type"], "FeatureCollection");
    let features = collection["features"].as_array().unwrap();
    assert_eq!(features.len(), 9);
    let bare = ask(&job.table(), "SELECT source, label, score, bbox FROM tiles ORDER BY source, x, y");
    for (feature, properties) in features.iter().zip(bare.as_array().unwrap()) {
        assert_eq!((&feature["type"], &feature["properties"]), (&json!("Feature"), properties));
        let is_placed = properties["source"].as_str().unwrap().ends_with("placed.tif");
        assert_eq!(feature["geometry"].is_object(), is_placed, "{feature}");
    }
    let first = features.iter().find(|feature| feature["geometry"].is_object()).unwrap();
    let ring = first["geometry"]["coordinates"][0].as_array().unwrap();
    let rounded = |axis: &Value| (axis.as_f64().unwrap() * 1000.0).round() / 1000.0;
    let ring: Vec<[f64; 2]> = ring.iter().map(|point| [rounded(&point[0]), rounded(&point[1])]).collect();
    assert_eq!(first["geometry"]["type"], "Polygon");
    assert!(ring.first() == ring.last() && ring.contains(&[9.0, 50.0]), "longitude first: {ring:?}");
    let doubled: f64 = ring.windows(2).map(|edge| edge[0][0] * edge[1][1] - edge[1][0] * edge[0][1]).sum();
    assert!(doubled > 0.0, "counter-clockwise: {ring:?}");

    let alone = query(&job.table(), "SELECT geometry FROM tiles LIMIT 1", &["--format", "geojson"]);
    assert_exit(&alone, 0);
    let alone: Value = serde_json::from_slice(&alone.stdout).unwrap();
    assert_eq!(alone["features"][0]["properties"], json!({}));
    let none = query(&job.table(), "SELECT geometry FROM tiles WHERE false", &["--format", "geojson"]);
    let none: Value = serde_json::from_slice(&none.stdout).unwrap();
    assert_eq!(none, json!({ "type": "FeatureCollection", "features": [] }));
    for sql in ["SELECT source FROM tiles", "SELECT source AS geometry FROM tiles"] {
        let refused = query(&job.table(), sql, &["--format", "geojson"]);
        assert_exit(&refused, 64);
        assert!(stderr(&refused).contains("select the column `geometry`"), "{}", stderr(&refused));
    }
}

/// JSON has no such numbers; they are null there.
#[test]
fn what_is_no_finite_number_is_null_in_json() {
    let job = Job::new(1, "");
    job.run_ok(&[]);
    let sql =
        "SELECT CAST('NaN' AS DOUBLE) AS a, CAST('-inf' AS DOUBLE) AS b, [CAST('inf' AS FLOAT), 1] AS c";
    assert_eq!(ask(&job.table(), sql), json!([{ "a": null, "b": null, "c": [null, 1.0] }]));
    let csv = query(&job.table(), sql, &["--format", "csv"]);
    assert_eq!(String::from_utf8_lossy(&csv.stdout), "a,b,c\nNaN,-inf,\"[null,1.0]\"\n");
}

/// Returns what stands in fences of a language.
fn blocks<'a>(page: &'a str, language: &str) -> Vec<&'a str> {
    let fence = format!("```{language}\n");
    page.split(&fence).skip(1).map(|rest| rest.split("```").next().unwrap()).collect()
}

/// Every query of the page that tilefleet is to answer, as it stands there.
#[test]
fn the_page_asks_what_is_answered() {
    let job = Job::new(12, "");
    job.run_ok(&[]);
    std::os::unix::fs::symlink("table", job.path("out")).unwrap();
    let tile = &ask(&job.table(), "SELECT tile_id, source, class_id FROM predictions LIMIT 1")[0];
    let text = |name: &str| tile[name].as_str().unwrap();
    let name = text("source").rsplit('/').next().unwrap();
    fs::write(job.path("labels.csv"), format!("tile_id,truth,label\n{},x,y\n", text("tile_id"))).unwrap();
    let page = include_str!("../../docs/how-to/query-a-table.md")
        .replace("class_id = 7", &format!("class_id = {}", tile["class_id"]))
        .replace("0123456789abcdef0123456789abcdef", text("tile_id"))
        .replace("0123ab", &text("tile_id")[..12])
        .replace("'…'", &format!("'{}'", text("tile_id")))
        .replace("a.jpg", name);
    let queries = blocks(&page, "sql").into_iter().filter(|block| !block.starts_with("-- newest.sql"));
    let queries: Vec<&str> = queries.flat_map(|block| block.split(";\n")).collect();
    assert_eq!(queries.len(), 3, "{queries:?}");
    for sql in queries {
        assert!(!ask(&job.table(), sql).as_array().unwrap().is_empty(), "{sql}");
    }
    let folder = Path::new(env!("CARGO_BIN_EXE_tilefleet")).parent().unwrap();
    let mut num_commands = 0;
    for block in blocks(&page, "sh") {
        let block = block.replace("\\\n", " ");
        for line in block.lines().filter(|line| line.starts_with("tilefleet query out ")) {
            let mut command = std::process::Command::new("sh");
            command.env_clear().env("PATH", format!("{}:/usr/bin:/bin", folder.display()));
            command.args(["-c", line]).current_dir(job.folder.path());
            assert_exit(&command.output().unwrap(), 0);
            num_commands += 1;
        }
    }
    assert_eq!(num_commands, 4);
    assert!(job.path("newest.parquet").is_file());
}
