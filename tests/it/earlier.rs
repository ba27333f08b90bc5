//! An output that an earlier build wrote: it is read, resumed, verified, queried, and compacted by this one.
//!
//! `tests/fixtures/earlier` holds a bucket as the build of commit 6a7a57c left it, and what that build answered. It is
//! written by `TILEFLEET_EARLIER=PATH_OF_THAT_BINARY cargo test --test it -- --ignored write_the_output`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};
use tilefleet::formats::cog_writer::{self, Band, Colours, Image, Place, Reduce, System};
use tilefleet::geo::GeoTransform;
use tilefleet::vocabulary::geometry::Size;

use crate::fixture::{assert_exit, jpeg, small_model, stderr};
use crate::support::{self, S3Server};

const BUCKET: &str = "earlier";
const PHOTOS: &str = "s3://earlier/photos";
const WINDOWS: &str = "s3://earlier/windows";
const ROWS: &str = "SELECT tile_id, source, status, reason, class_id, label, score, array_slice(embedding, 1, 8) AS begins FROM tiles \
                    ORDER BY tile_id";
const WINDOW_ROWS: &str = "SELECT tile_id, width, height, status, class_id, score, valid_fraction, bbox.xmin AS west, \
                           bbox.ymax AS north FROM tiles ORDER BY tile_id";

/// A bucket, and a binary to use it with.
struct Bucket {
    server: S3Server,
    folder: tempfile::TempDir,
    program: PathBuf,
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/earlier")
}

impl Bucket {
    fn new(program: &Path) -> Option<Self> {
        let server = support::seaweedfs()?;
        server.create_bucket(BUCKET);
        let folder = tempfile::Builder::new().prefix("tilefleet-").tempdir().unwrap();
        fs::copy(small_model(), folder.path().join("model.onnx")).unwrap();
        for (name, uris, more) in [
            ("photos", "images/", "[plan]\nshard_tiles = 3\n[limits]\nmax_reject_ratio = 0.2"),
            ("windows", "scenes/", "[plan]\nshard_tiles = 4\n[tiles]\ngrid = \"regular\""),
        ] {
            let text = format!(
                "name = \"{name}\"\n[input]\nuris = [\"s3://{BUCKET}/{uris}\"]\n[model]\nfile = \"{}\"\n\
                 [output]\nuri = \"s3://{BUCKET}/{name}\"\n{more}\n",
                folder.path().join("model.onnx").display()
            );
            fs::write(folder.path().join(format!("{name}.toml")), text).unwrap();
        }
        Some(Self { server, folder, program: program.to_owned() })
    }

    fn command(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(&self.program);
        command.envs(S3Server::variables(&self.server.endpoint(), S3Server::OWNER));
        command.args(arguments).current_dir(self.folder.path()).output().unwrap()
    }

    fn ok(&self, arguments: &[&str]) -> String {
        let output = self.command(arguments);
        assert_exit(&output, 0);
        String::from_utf8(output.stdout).unwrap()
    }

    fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.ok(arguments)).unwrap()
    }

    fn rows(&self, table: &str) -> Value {
        self.json(&["query", table, if table == PHOTOS { ROWS } else { WINDOW_ROWS }, "--json"])
    }

    fn runs(&self) -> Vec<Value> {
        let runs = self.json(&["runs", PHOTOS, "--json"]);
        runs.as_array().unwrap().iter().filter(|run| run["state"] != "deleted").cloned().collect()
    }

    fn last_run(&self) -> String {
        self.runs().last().unwrap()["run_id"].as_str().unwrap().to_owned()
    }

    fn put_image(&self, index: usize) {
        self.server.put(BUCKET, &format!("images/{index:05}.jpg"), jpeg(index));
    }

    fn save(&self, folder: &Path) {
        for key in self.server.keys(BUCKET, "") {
            let path = folder.join(&key);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, self.server.get(BUCKET, &key)).unwrap();
        }
    }
}

fn scene() -> Vec<u8> {
    let band = |name: &str| Band { description: name.to_owned(), scale: None };
    let sample = |at: u32| (at.wrapping_mul(2_654_435_761) >> 24) as u8;
    let transform = GeoTransform([9.0, 0.001, 0.0, 50.0, 0.0, -0.001]);
    let image = Image {
        size: Size { width: 192, height: 128 },
        bands: ["red", "green", "blue"].map(band).to_vec(),
        samples: (0..192 * 128 * 3).map(sample).collect(),
        nodata: None,
        reduce: Reduce::Mean,
        colours: Colours::Values,
        place: Some(Place { transform, system: System::Epsg(4326) }),
        notes: Vec::new(),
    };
    cog_writer::encode(&image).unwrap()
}

/// Two completed runs, a retry of a file that was repaired, a deleted run, and one that is not finished.
#[test]
#[ignore = "writes the fixture, with the binary that TILEFLEET_EARLIER names"]
fn write_the_output_of_an_earlier_build() {
    let program = std::env::var_os("TILEFLEET_EARLIER").expect("TILEFLEET_EARLIER names a binary");
    let bucket = Bucket::new(Path::new(&program)).expect("SeaweedFS is needed");
    (0..7).for_each(|index| bucket.put_image(index));
    bucket.server.put(BUCKET, "images/00007.jpg", jpeg(7)[..700].to_vec());
    bucket.server.put(BUCKET, "images/00008.jpg", jpeg(8)[..700].to_vec());
    bucket.server.put(BUCKET, "scenes/placed.tif", scene());
    assert_exit(&bucket.command(&["run", "photos.toml"]), 65);
    bucket.ok(&["run", "windows.toml"]);
    bucket.put_image(7);
    bucket.ok(&["rejects", PHOTOS, "--retry", "--reason", "truncated"]);
    bucket.ok(&["run", "photos.toml", "--set", "output.top_k=3", "--limit", "2"]);
    let limited = bucket.last_run();
    bucket.ok(&["runs", PHOTOS, "delete", &limited, "--yes"]);
    (9..17).for_each(|index| bucket.put_image(index));
    bucket.ok(&["plan", "photos.toml"]);
    bucket.server.delete(BUCKET, "images/00016.jpg");
    bucket.ok(&["run", "photos.toml"]);
    let finished = json!({ "photos": bucket.rows(PHOTOS), "windows": bucket.rows(WINDOWS) });
    // As if its worker had died with one shard to go.
    let last = bucket.last_run();
    let keys = bucket.server.keys(BUCKET, "photos/");
    let gone = |key: &&String| {
        key.contains(&last) && (key.contains("shard-00000000") || key.ends_with("summary.json"))
    };
    keys.iter().filter(gone).for_each(|key| bucket.server.delete(BUCKET, key));
    let folder = fixtures();
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    bucket.save(&folder.join("bucket"));
    let answers = json!({ "open": bucket.rows(PHOTOS), "finished": finished });
    fs::write(folder.join("answers.json"), serde_json::to_string_pretty(&answers).unwrap()).unwrap();
}

/// Rows that were there are the same to the last bit; those computed now are the same but for the rounding of another
/// processor.
fn check_resumed(rows: &Value, open: &Value, finished: &Value) {
    let of = |rows: &Value| rows.as_array().unwrap().clone();
    assert!(of(open).iter().all(|row| of(rows).contains(row)), "{rows:#} lacks rows of {open:#}");
    assert_eq!(of(rows).len(), of(finished).len());
    for (row, expected) in of(rows).iter().zip(&of(finished)) {
        assert!(is_near(row, expected), "{row:#} is not {expected:#}");
    }
}

fn is_near(found: &Value, expected: &Value) -> bool {
    match (found, expected) {
        (Value::Object(found), Value::Object(expected)) => {
            let near = |(key, value): (&String, &Value)| found.get(key).is_some_and(|it| is_near(it, value));
            found.len() == expected.len() && expected.iter().all(near)
        }
        (Value::Array(found), Value::Array(expected)) => {
            found.len() == expected.len() && found.iter().zip(expected).all(|(a, b)| is_near(a, b))
        }
        // What is counted or numbered is the same.
        (Value::Number(found), Value::Number(expected)) if found.is_f64() && expected.is_f64() => {
            let (found, expected) = (found.as_f64().unwrap(), expected.as_f64().unwrap());
            (found - expected).abs() <= 1e-4 * expected.abs().max(0.1)
        }
        _ => found == expected,
    }
}

/// What that build answered, this one answers: before and after it has finished the open run, and once all runs are one.
#[test]
fn an_output_of_an_earlier_build_is_read_resumed_verified_and_compacted() {
    let Some(bucket) = Bucket::new(Path::new(env!("CARGO_BIN_EXE_tilefleet"))) else { return };
    bucket.server.put_dir(BUCKET, "", &fixtures().join("bucket"));
    let answers: Value = serde_json::from_slice(&fs::read(fixtures().join("answers.json")).unwrap()).unwrap();
    let finished = &answers["finished"];
    assert!(
        finished["photos"].as_array().unwrap().len() == 17
            && finished["windows"].as_array().unwrap().len() == 6
    );

    let states: Vec<Value> = bucket.runs().iter().map(|run| run["state"].clone()).collect();
    assert_eq!(states, ["complete", "complete", "open"]);
    assert_eq!(bucket.rows(PHOTOS), answers["open"], "as it was left");
    assert_eq!(bucket.rows(WINDOWS), finished["windows"]);
    let open = bucket.last_run();
    bucket.ok(&["run", "photos.toml"]);
    assert_eq!(bucket.last_run(), open, "it is resumed and none is begun");
    let rows = bucket.rows(PHOTOS);
    check_resumed(&rows, &answers["open"], &finished["photos"]);
    let rejects = bucket.json(&["rejects", PHOTOS, "--json"]);
    let reasons: Vec<&str> =
        rejects.as_array().unwrap().iter().map(|reject| reject["reason"].as_str().unwrap()).collect();
    assert_eq!(reasons, ["truncated", "not_found"], "that build wrote `gone`");
    bucket.ok(&["run", "windows.toml"]);
    bucket.ok(&["verify", PHOTOS]);
    bucket.ok(&["verify", WINDOWS, "--deep"]);

    bucket.ok(&["runs", PHOTOS, "compact"]);
    assert_eq!(bucket.runs().len(), 1);
    let mut compacted = rows;
    let gone = |row: &&mut Value| row["reason"] == "gone";
    for row in compacted.as_array_mut().unwrap().iter_mut().filter(gone) {
        row["reason"] = "not_found".into();
    }
    assert_eq!(bucket.rows(PHOTOS), compacted);
    bucket.ok(&["verify", PHOTOS, "--deep"]);
}

/// That build wrote `gone` where this one writes `not_found`: both codes find both rows, and a retry takes both.
#[test]
fn a_reason_that_was_renamed_is_one_with_its_new_name() {
    let Some(bucket) = Bucket::new(Path::new(env!("CARGO_BIN_EXE_tilefleet"))) else { return };
    bucket.server.put_dir(BUCKET, "", &fixtures().join("bucket"));
    bucket.ok(&["run", "photos.toml"]);
    (17..23).for_each(|index| bucket.put_image(index));
    bucket.ok(&["plan", "photos.toml"]);
    bucket.server.delete(BUCKET, "images/00022.jpg");
    bucket.ok(&["run", "photos.toml"]);
    let stored = "SELECT reason FROM rejects WHERE reason <> 'truncated' ORDER BY source";
    assert_eq!(
        bucket.json(&["query", PHOTOS, stored, "--json"]),
        json!([{ "reason": "gone" }, { "reason": "not_found" }])
    );

    for (code, warns) in [("gone", true), ("not_found", false)] {
        let found = bucket.command(&["rejects", PHOTOS, "--reason", code, "--json"]);
        assert_exit(&found, 0);
        let rejects: Value = serde_json::from_slice(&found.stdout).unwrap();
        let found_rows: Vec<_> = rejects.as_array().unwrap().iter().map(|reject| &reject["reason"]).collect();
        assert_eq!(found_rows, ["not_found", "not_found"], "{code}");
        assert_eq!(
            stderr(&found).contains("the reason `gone` is now `not_found`"),
            warns,
            "{}",
            stderr(&found)
        );
    }
    let counted = bucket.runs().iter().map(|run| run["counts"]["reasons"].clone()).collect::<Vec<_>>();
    assert!(counted.iter().all(|reasons| reasons.get("gone").is_none()), "{counted:?}");

    for index in [16, 22] {
        bucket.put_image(index);
    }
    bucket.ok(&["rejects", PHOTOS, "--retry", "--reason", "not_found"]);
    let left = bucket.json(&["rejects", PHOTOS, "--json"]);
    let left: Vec<_> = left.as_array().unwrap().iter().map(|reject| &reject["reason"]).collect();
    assert_eq!(left, ["truncated"]);
}
