//! Runs over scenes: windows, stacked bands, places on the Earth, and what may be wrong with them.
//!
//! `scripts/oracles/windows_oracle.py` cuts the same windows with rasterio; as images of their own, they must
//! give the same embeddings.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Float32Type, Float64Type, Int32Type};
use serde_json::Value;
use tilefleet::formats::partial::{Parsed, Partial};
use tilefleet::formats::raster::{BlockId, GridId, Part, RasterFile};
use tilefleet::formats::tiff::parse_header;
use tilefleet::vocabulary::geometry::Window;

use crate::fixture::{Job, Row, assert_exit, model, rows, shown, shown_columns, stderr};
use crate::support;
use crate::support::fault_proxy::FaultProxy;
use crate::support::s3_server::S3Server;

const LANDSAT: &str = "LC08_L1TP_016037_20170813_20170814_01_RT";
const SIX_BANDS: &str = "bands = [\"B2\", \"B3\", \"B4\", \"B5\", \"B6\", \"B7\"]";

fn geotiffs() -> Option<PathBuf> {
    support::test_data().map(|data| data.join("satellite/geotiff"))
}

fn rgb_scene() -> Option<PathBuf> {
    geotiffs().map(|folder| folder.join("rasterio/RGB.byte.tif"))
}

/// A job over scenes; more keys of `[tiles]` come with the settings.
fn job(tiles: &str) -> Job {
    Job::new(0, &format!("[tiles]\ngrid = \"regular\"\n{tiles}"))
}

fn run(job: &Job, scene: &Path, more: &[&str]) -> Value {
    let input = ["--input", scene.to_str().unwrap(), "--json"];
    serde_json::from_str(&job.run_ok(&[&input, more].concat())).unwrap()
}

fn oracle(arguments: &[&str]) -> Option<String> {
    let python = support::python()?;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/oracles/windows_oracle.py");
    Some(support::run_python(&python, &fs::read_to_string(script).unwrap(), arguments))
}

/// Embeddings of the rows that have one, by tile id.
fn embeddings(table: &Path) -> BTreeMap<String, Vec<f32>> {
    rows(table).into_iter().filter_map(|row| Some((row.tile_id, row.embedding?))).collect()
}

/// Runs every window as an image of its own; returns the embeddings by the window's tile id.
fn embeddings_of_crops(
    table: &Path,
    bands: &[String],
    arguments: &[&str],
) -> Option<BTreeMap<String, Vec<f32>>> {
    let job = Job::new(0, "");
    let crops = job.path("images");
    let tiles = table.join("tiles");
    let mut words = vec!["crops", tiles.to_str().unwrap(), crops.to_str().unwrap()];
    words.extend(bands.iter().map(String::as_str));
    oracle(&words)?;
    job.run_ok(arguments);
    let of_crop = |row: Row| Some((row.file().strip_suffix(".tif")?.to_owned(), row.embedding?));
    Some(rows(&job.table()).into_iter().filter_map(of_crop).collect())
}

fn assert_same_embeddings(found: &BTreeMap<String, Vec<f32>>, expected: &BTreeMap<String, Vec<f32>>) {
    assert!(found.keys().eq(expected.keys()), "{} tiles, {} expected", found.len(), expected.len());
    for (tile, embedding) in found {
        let differences = embedding.iter().zip(&expected[tile]).map(|(a, b)| (a - b).abs());
        let largest = differences.fold(0.0, f32::max);
        assert!(largest <= 1e-5, "tile {tile} differs by {largest}");
    }
}

#[test]
fn windows_hold_the_pixels_of_the_scene() {
    let Some(scene) = rgb_scene() else { return };
    let job = job("size = 80");
    let report = run(&job, &scene, &[]);
    // 791×718 pixels: 10 × 9 windows, the last column and row shifted inward.
    assert_eq!(report["summary"]["tiles"], 90);
    job.verify_ok();
    let bands: Vec<String> = (1..=3).map(|band| format!("{}:{band}", scene.display())).collect();
    let found = embeddings(&job.table());
    assert!(found.len() > 70, "only windows without data are skipped");
    let Some(expected) = embeddings_of_crops(&job.table(), &bands, &[]) else { return };
    assert_same_embeddings(&found, &expected);
    let skipped: Vec<Row> = rows(&job.table()).into_iter().filter(|row| row.status == "skipped").collect();
    assert_eq!(skipped.len() + found.len(), 90);
    assert!(skipped.iter().all(|row| row.reason.as_deref() == Some("nodata")));
    assert!(run(&job, &scene, &[])["nothing_new"].as_bool().unwrap());
}

#[test]
fn rows_say_where_they_lie() {
    let Some(scene) = rgb_scene() else { return };
    let job = job("size = 200");
    run(&job, &scene, &[]);
    let tiles = job.path("table/tiles");
    let Some(said) = oracle(&["footprints", tiles.to_str().unwrap(), scene.to_str().unwrap()]) else {
        return;
    };
    let said: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(said["rows"], 16);
    assert!(said["worst"].as_f64().unwrap() < 1e-6, "{said}");
    let Some(said) = oracle(&["readers", tiles.to_str().unwrap()]) else { return };
    let said: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((&said["geopandas"], &said["duckdb"], &said["valid"]), (&16.into(), &16.into(), &true.into()));
    assert_eq!(said["crs"], "OGC:CRS84");
    assert_eq!(said["failed"], serde_json::json!([]), "by geoparquet-validator");
    assert!(said["passed"].as_u64().unwrap() >= 15, "{said}");
    let columns = shown_columns(&job.table(), "epsg, cell, gsd, valid_fraction, x");
    let numbers = columns["epsg"].as_primitive::<Int32Type>();
    assert!(numbers.values().iter().all(|code| *code == 32618));
    let gsd = columns["gsd"].as_primitive::<Float64Type>();
    assert!((gsd.value(0) - 300.04).abs() < 0.1, "{}", gsd.value(0));
    let valid = columns["valid_fraction"].as_primitive::<Float32Type>();
    assert!(
        valid.values().iter().any(|valid| *valid > 0.9) && valid.values().iter().any(|valid| *valid < 0.5)
    );
    assert!(columns["cell"].as_string::<i32>().iter().all(|cell| cell.unwrap().contains('U')));
}

fn made(job: &Job, kind: &str) -> Option<PathBuf> {
    let path = job.path(&format!("images/{kind}.tif"));
    oracle(&["make", kind, path.to_str().unwrap()])?;
    Some(path)
}

/// Runs a scene that the oracle makes, and holds the share of valid pixels of each window against GDAL's.
fn assert_valid_pixels(kind: &str, tiles: &str, model: Option<&Path>, nodata: Option<&str>) {
    let job = job(&format!("size = 64\n{tiles}"));
    let Some(scene) = made(&job, kind) else { return };
    let model = model.map(|model| ["--model", model.to_str().unwrap()]);
    let report = run(&job, &scene, model.as_ref().map_or(&[], |model| model));
    let tiles = job.path("table/tiles");
    let mut words = vec!["validity", tiles.to_str().unwrap(), scene.to_str().unwrap()];
    words.extend(nodata);
    let Some(said) = oracle(&words) else { return };
    let said: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(said["rows"], report["summary"]["tiles"]);
    assert!(report["summary"]["skipped"].as_u64().unwrap() > 0, "{kind}: {report}");
    assert!(said["worst"].as_f64().unwrap() < 1e-6, "{kind}: {said}");
}

fn three_band_model() -> PathBuf {
    let float = ["--input-type", "float32", "--unit", "dn", "--size", "64"];
    model("three", &[&["--arch", "resnet18", "--classes", "10"][..], &float].concat())
}

#[test]
fn what_is_valid_is_what_gdal_says() {
    let model = three_band_model();
    assert_valid_pixels("alpha", "bands = [1, 2, 3]", None, None);
    assert_valid_pixels("mask", "", None, None);
    // The overview has no mask: it is not read.
    assert_valid_pixels("mask", "gsd = 20", None, None);
    let nodata = "-9999.9";
    let tiles = format!("bands = [1, 2, 3]\nnodata = {nodata}");
    assert_valid_pixels("float", &tiles, Some(&model), Some(nodata));
}

/// Where nothing is said of clouds a window is not clear.
#[test]
fn windows_outside_of_the_clouds_file_are_not_clear() {
    let clouds = "cloud_band = \"scl\"\ncloud_values = [9]\nmax_cloud_fraction = 0.5";
    let job = job(&format!("size = 64\nbands = [\"data/1\", \"data/2\", \"data/3\"]\n{clouds}"));
    if made(&job, "alpha").and_then(|_| made(&job, "clouds")).is_none() {
        return;
    }
    let item = write_item(&job, "alpha.tif", Some("clouds.tif"));
    run(&job, &item, &[]);
    let columns = shown_columns(&job.table(), "x, y, status, reason, cloud_fraction, valid_fraction");
    let fractions = columns["cloud_fraction"].as_primitive::<Float32Type>();
    let reasons = columns["reason"].as_string::<i32>();
    let valid = columns["valid_fraction"].as_primitive::<Float32Type>();
    for row in 0..columns.num_rows() {
        let edge = |name: &str| columns[name].as_primitive::<Int32Type>().value(row);
        // Clouds cover 128 × 128 pixels of 10 m, of which none is valid.
        let covered = edge("x") < 128 && edge("y") < 128;
        assert_eq!(fractions.is_valid(row), covered && valid.value(row) > 0.0);
        let expected = if valid.value(row) == 0.0 { "nodata" } else { "clouds" };
        assert_eq!(reasons.value(row), expected, "window {}, {}", edge("x"), edge("y"));
    }
}

fn landsat_item() -> Option<PathBuf> {
    support::test_data().map(|data| data.join(format!("satellite/stac/landsat8-local/{LANDSAT}.json")))
}

fn six_band_model() -> String {
    let arguments = ["--arch", "resnet152", "--classes", "10", "--channels", "6", "--size", "64"];
    model("six", &arguments).to_str().unwrap().to_owned()
}

fn number(report: &Value, key: &str) -> u64 {
    report["this_process"][key].as_u64().unwrap_or_else(|| panic!("{key} in {report}"))
}

/// The bytes of the six bands: every strip is needed.
fn six_bands_bytes(folder: &Path) -> u64 {
    let file = |band: u32| folder.join(format!("{LANDSAT}_B{band}.TIF"));
    (2..=7).map(|band| fs::metadata(file(band)).unwrap().len()).sum()
}

#[test]
fn six_bands_of_a_stac_item_are_stacked() {
    let (Some(item), Some(folder)) = (landsat_item(), geotiffs()) else { return };
    let (job, model) = (job(SIX_BANDS), six_band_model());
    let report = run(&job, &item, &["--model", &model]);
    assert_eq!((&report["summary"]["tiles"], &report["summary"]["ok"]), (&20.into(), &20.into()));
    job.verify_ok();
    let folder = folder.join("landsat8-scene");
    let needed = six_bands_bytes(&folder);
    let fetched = number(&report, "fetched_bytes");
    println!("local: {fetched} bytes fetched of {needed}, {} requests", number(&report, "fetch_requests"));
    assert!(fetched * 10 <= needed * 12, "{fetched} bytes for {needed}");
    let bands: Vec<String> = (2..=7)
        .map(|band| format!("{}:1", folder.join(format!("{LANDSAT}_B{band}.TIF")).display()))
        .collect();
    let Some(expected) = embeddings_of_crops(&job.table(), &bands, &["--model", &model]) else { return };
    assert_same_embeddings(&embeddings(&job.table()), &expected);
    let columns = shown_columns(&job.table(), "datetime, epsg");
    let when = columns["datetime"].as_primitive::<arrow::datatypes::TimestampMicrosecondType>();
    assert_eq!(when.value(0), 1_502_639_655_000_000, "2017-08-13T15:54:15Z");
}

#[test]
fn scenes_in_a_bucket_give_the_same_rows() {
    let (Some(item), Some(folder)) = (landsat_item(), geotiffs()) else { return };
    let Some(server) = support::seaweedfs() else { return };
    let (job, model) = (job(SIX_BANDS), six_band_model());
    run(&job, &item, &["--model", &model]);
    server.create_bucket("scenes");
    server.put_dir("scenes", "geotiff/landsat8-scene", &folder.join("landsat8-scene"));
    let name = format!("stac/landsat8-local/{LANDSAT}.json");
    server.put("scenes", &name, fs::read(&item).unwrap());
    let proxy = FaultProxy::before_server(&server);
    let mut command =
        job.run_command(&["--model", &model, "--input", &format!("s3://scenes/{name}"), "--json"]);
    command.args(["--output", "s3://scenes/table"]);
    command.envs(S3Server::variables(&proxy.endpoint(), S3Server::OWNER));
    let output = command.output().unwrap();
    assert_exit(&output, 0);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let (needed, fetched) =
        (six_bands_bytes(&folder.join("landsat8-scene")), number(&report, "fetched_bytes"));
    println!("s3: {fetched} bytes fetched of {needed}, {} requests", number(&report, "fetch_requests"));
    assert!(fetched * 10 <= needed * 12, "{fetched} bytes for {needed}");
    let asked = proxy
        .requests()
        .iter()
        .filter(|request| request.contains("_B") && request.starts_with("GET"))
        .count();
    // A header when planning, and what the run counted.
    assert_eq!(asked as u64, number(&report, "fetch_requests") + 6, "{:#?}", proxy.requests());
    let local = embeddings(&job.table());
    let keys = server.keys("scenes", "table/tiles/");
    let remote = keys.iter().flat_map(|key| {
        let bytes = bytes::Bytes::from(server.get("scenes", key));
        let reader = parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder::try_new(bytes).unwrap();
        reader
            .build()
            .unwrap()
            .flat_map(|batch| crate::fixture::rows_of_batch(&batch.unwrap()))
            .collect::<Vec<_>>()
    });
    let mut remote: Vec<Vec<f32>> = remote.filter_map(|row| row.embedding).collect();
    let mut local: Vec<Vec<f32>> = local.into_values().collect();
    let order = |a: &Vec<f32>, b: &Vec<f32>| a.partial_cmp(b).unwrap();
    remote.sort_by(order);
    local.sort_by(order);
    assert_eq!(remote, local);
}

/// A copy of a tiled LZW scene with one block destroyed; returns its path and the block's pixels.
fn with_damaged_block(scene: &Path, job: &Job) -> (PathBuf, Window) {
    let mut bytes = fs::read(scene).unwrap();
    let header = parse_header(&bytes).unwrap();
    let page = header.pixels(0, 0);
    let id = BlockId(page.num_across() + 1);
    let mut object = Partial::new(bytes.len());
    object.add(0, &bytes);
    let place = GridId { frame: 0, level: 0, part: Part::Pixels };
    let Parsed::Done(table) = header.locate(&object, place, &[id]) else { panic!("all of it is there") };
    let range = table.unwrap().range(id).unwrap().unwrap();
    bytes[range.start as usize..range.end as usize].fill(0xFF);
    let path = job.path("images/damaged.tif");
    fs::write(&path, bytes).unwrap();
    (path, page.block_window(id))
}

fn windows(table: &Path) -> Vec<(String, Option<String>, Window)> {
    let columns = shown_columns(table, "status, reason, x, y, width, height");
    let text = |name: &str, row: usize| {
        let column = columns[name].as_string::<i32>();
        column.is_valid(row).then(|| column.value(row).to_owned())
    };
    let edge = |name: &str, row: usize| columns[name].as_primitive::<Int32Type>().value(row) as u32;
    let window = |row: usize| {
        let [x, y, width, height] = ["x", "y", "width", "height"].map(|name| edge(name, row));
        (text("status", row).unwrap(), text("reason", row), Window { x, y, width, height })
    };
    (0..columns.num_rows()).map(window).collect()
}

#[test]
fn a_damaged_block_costs_the_windows_that_need_it_and_a_retry_brings_them_back() {
    let Some(folder) = geotiffs() else { return };
    let scene = folder.join("rasterio/rgb_lzw.tif");
    let job = job("size = 64");
    let (damaged, block) = with_damaged_block(&scene, &job);
    let more = ["--set", "limits.max_reject_ratio=1"];
    run(&job, &damaged, &more);
    job.verify_ok();
    let meets = |window: &Window| {
        window.x < block.x + block.width
            && block.x < window.x + window.width
            && window.y < block.y + block.height
            && block.y < window.y + window.height
    };
    let found = windows(&job.table());
    assert!(
        found.iter().any(|(status, ..)| status == "rejected")
            && found.iter().any(|(status, ..)| status == "ok")
    );
    for (status, reason, window) in &found {
        assert_eq!(status == "rejected", meets(window), "{status} {reason:?} {window}");
    }
    // Repaired, the rejected windows and no others are computed again.
    fs::copy(&scene, &damaged).unwrap();
    retry(&job);
    let after = windows(&job.table());
    assert_eq!(after.len(), found.len());
    assert!(after.iter().all(|(status, ..)| status != "rejected"), "{after:?}");
    // The repaired file is another version: the next run covers it as a whole.
    let report = run(&job, &damaged, &more);
    assert!(!report["nothing_new"].as_bool().unwrap());
    assert_eq!(report["summary"]["tiles"], found.len());
}

#[test]
fn a_catalog_that_leads_nowhere_is_told() {
    let job = job("size = 100");
    let catalog = job.path("catalog.json");
    let text = serde_json::json!({"type": "Catalog", "stac_version": "1.0.0", "id": "c", "description": "", "links": []});
    fs::write(&catalog, text.to_string()).unwrap();
    let output = job.run(&["--input", catalog.to_str().unwrap()]);
    let said = stderr(&output);
    assert!(said.contains("catalogs without items") && said.contains("catalog.json"), "{said}");
}

#[test]
fn a_scene_whose_header_is_wrong_is_one_row() {
    let Some(scene) = rgb_scene() else { return };
    let job = job("size = 100");
    let sound = fs::read(&scene).unwrap();
    job.write_image("a.tif", &sound);
    job.write_image("cut.tif", &sound[..4]);
    job.write_image("photo.tif", &crate::fixture::jpeg(1));
    job.write_image("text.tif", b"II? this is no image");
    let grey = geotiffs().unwrap().join("rasterio/float.tif");
    job.write_image("grey.tif", &fs::read(grey).unwrap());
    let lenient = ["--set", "limits.max_reject_ratio=1"];
    let plan = support::stdout_of(
        support::tilefleet().arg("plan").arg(&job.pipeline).args(["--dry-run", "--json"]).args(lenient),
    );
    let plan: Value = serde_json::from_str(&plan).unwrap();
    assert_eq!(plan["tiles"], 64 + 4);
    let rejected = &plan["rejected"];
    assert_eq!(rejected["unsupported"], 1, "{rejected}");
    job.run_ok(&["--set", "limits.max_reject_ratio=1"]);
    job.verify_ok();
    let reasons: BTreeMap<String, String> = shown(&job.table())
        .into_iter()
        .filter(|row| row.status == "rejected")
        .map(|row| (row.file().to_owned(), row.reason.clone().unwrap()))
        .collect();
    let expected = [
        ("cut.tif", "truncated"),
        ("grey.tif", "bands_mismatch"),
        ("photo.tif", "unsupported"),
        ("text.tif", "not_an_image"),
    ];
    let expected: BTreeMap<String, String> =
        expected.map(|(file, reason)| (file.to_owned(), reason.to_owned())).into();
    assert_eq!(reasons, expected);
    // Repaired, a scene is cut as a whole; the other sizes are rejected again.
    job.write_image("cut.tif", &sound);
    retry(&job);
    job.verify_ok();
    let after = shown(&job.table());
    assert_eq!(after.len(), 64 + 64 + 3);
    assert_eq!(after.iter().filter(|row| row.status == "rejected").count(), 3);
}

fn retry(job: &Job) -> String {
    let mut command = support::tilefleet();
    let output = command.arg("rejects").arg(job.table()).arg("--retry").output().unwrap();
    assert!(matches!(output.status.code(), Some(0 | 65)), "{}", stderr(&output));
    String::from_utf8(output.stdout).unwrap()
}

fn write_item(job: &Job, asset: &str, clouds: Option<&str>) -> PathBuf {
    let file = |name: &str| serde_json::json!({"href": format!("./{name}"), "type": "image/tiff"});
    let mut item = serde_json::json!({
        "type": "Feature", "stac_version": "1.0.0", "id": "one", "geometry": null, "links": [],
        "properties": {"datetime": "2024-05-01T10:00:00Z"},
        "assets": {"data": file(asset)},
    });
    if let Some(clouds) = clouds {
        item["assets"]["scl"] = file(clouds);
    }
    let path = job.path("images/one.json");
    fs::write(&path, item.to_string()).unwrap();
    path
}

fn num_rejected(found: &[(String, Option<String>, Window)]) -> usize {
    found.iter().filter(|(status, ..)| status == "rejected").count()
}

/// Runs an item whose file has a damaged block; returns the number of windows.
fn run_damaged_item(job: &Job, scene: &Path) -> usize {
    let item = write_item(job, "asset.tif", None);
    let (damaged, _) = with_damaged_block(scene, job);
    fs::rename(&damaged, job.path("images/asset.tif")).unwrap();
    run(job, &item, &["--set", "limits.max_reject_ratio=1"]);
    let found = windows(&job.table());
    assert!(found.len() > 9 && (1..found.len()).contains(&num_rejected(&found)), "{found:?}");
    found.len()
}

const DATA_BANDS: &str = "size = 64\nbands = [\"data/1\", \"data/2\", \"data/3\"]";

#[test]
fn a_scene_whose_file_was_missing_is_cut_by_a_retry() {
    let Some(folder) = geotiffs() else { return };
    let job = job(DATA_BANDS);
    let (item, more) = (write_item(&job, "asset.tif", None), ["--set", "limits.max_reject_ratio=1"]);
    job.write_image("beside.txt", b"the folder is there");
    run(&job, &item, &more);
    let found = shown(&job.table());
    assert_eq!((found.len(), found[0].reason.as_deref()), (1, Some("not_found")), "{found:?}");
    fs::copy(folder.join("rasterio/RGB.byte.tif"), job.path("images/asset.tif")).unwrap();
    assert!(run(&job, &item, &more)["nothing_new"].as_bool().unwrap(), "the item has not changed");
    retry(&job);
    let cut = windows(&job.table());
    assert_eq!((cut.len(), num_rejected(&cut)), (13 * 12, 0), "791×718 pixels");
    job.verify_ok();
}

/// Behind an item that has not changed only a retry notices another file: all windows are computed again.
#[test]
fn a_scene_of_an_item_is_of_one_file() {
    let Some(folder) = geotiffs() else { return };
    let (scene, job) = (folder.join("rasterio/rgb_lzw.tif"), job(DATA_BANDS));
    let num_windows = run_damaged_item(&job, &scene);
    fs::copy(&scene, job.path("images/asset.tif")).unwrap();
    let said = retry(&job);
    assert!(said.contains(&format!("{num_windows} tiles")), "{said}");
    let found = windows(&job.table());
    assert_eq!((found.len(), num_rejected(&found)), (num_windows, 0));
    job.verify_ok();
}

#[test]
fn a_scene_of_an_item_that_has_become_another_is_cut_anew() {
    let Some(folder) = geotiffs() else { return };
    let (scene, job) = (folder.join("rasterio/rgb_lzw.tif"), job(DATA_BANDS));
    run_damaged_item(&job, &scene);
    job.write_image("asset.tif", b"no scene any more");
    retry(&job);
    let found = windows(&job.table());
    assert_eq!((found.len(), found[0].1.as_deref()), (1, Some("not_an_image")), "{found:?}");
    job.verify_ok();
    fs::copy(folder.join("rasterio/RGB.byte.tif"), job.path("images/asset.tif")).unwrap();
    retry(&job);
    let cut = windows(&job.table());
    assert_eq!((cut.len(), num_rejected(&cut)), (13 * 12, 0), "791×718 pixels");
    job.verify_ok();
    let mut compact = support::tilefleet();
    assert_exit(&compact.arg("runs").arg(job.table()).arg("compact").output().unwrap(), 0);
    let sorted = |mut found: Vec<(String, Option<String>, Window)>| {
        found.sort_by_key(|(.., window)| (window.y, window.x));
        found
    };
    assert_eq!(sorted(windows(&job.table())), sorted(cut));
}

/// A scene that a repaired header places elsewhere is a row that says so, and a run is never empty.
#[test]
fn a_scene_that_turns_out_to_lie_elsewhere_is_a_row() {
    let Some(scene) = rgb_scene() else { return };
    let job = job("size = 100\naoi = \"9.5,53.3,10.4,53.8\"");
    job.write_image("cut.tif", &fs::read(&scene).unwrap()[..4]);
    job.run_ok(&["--set", "limits.max_reject_ratio=1"]);
    fs::copy(&scene, job.path("images/cut.tif")).unwrap();
    retry(&job);
    let found = shown(&job.table());
    assert_eq!((found.len(), found[0].reason.as_deref()), (1, Some("grid_mismatch")), "{found:?}");
    job.verify_ok();
}

#[test]
fn only_windows_that_touch_the_area_are_planned() {
    let Some(scene) = rgb_scene() else { return };
    let job = job("size = 100\naoi = \"-78.0,24.5,-77.8,24.6\"");
    run(&job, &scene, &[]);
    let centres = shown_columns(
        &job.table(),
        "bbox['xmin'] AS west, bbox['ymin'] AS south, bbox['xmax'] AS east, bbox['ymax'] AS north",
    );
    let edge = |name: &str, row: usize| centres[name].as_primitive::<Float64Type>().value(row);
    assert!((1..=4).contains(&centres.num_rows()), "{}", centres.num_rows());
    for row in 0..centres.num_rows() {
        let meets = edge("west", row) < -77.8
            && edge("east", row) > -78.0
            && edge("south", row) < 24.6
            && edge("north", row) > 24.5;
        assert!(meets);
    }
    let elsewhere = job.run_ok(&[
        "--input",
        scene.to_str().unwrap(),
        "--set",
        "tiles.aoi=9.5,53.3,10.4,53.8",
        "--output",
        job.path("none").to_str().unwrap(),
    ]);
    assert!(elsewhere.contains("nothing found: no source lies within tiles.aoi"), "{elsewhere}");
    let swapped = job.run(&["--input", scene.to_str().unwrap(), "--set", "tiles.aoi=-77.8,24.5,-78.0,24.6"]);
    assert!(stderr(&swapped).contains("were west and east swapped?"), "{}", stderr(&swapped));
}

/// A global grid of cell centres reaches half a cell beyond both poles: its outer windows end there.
#[test]
fn windows_at_the_poles_have_a_place_and_touch_only_areas_there() {
    let Some(data) = support::test_data() else { return };
    let scene = data.join("faults/scene/era5_like.tif");
    let job = job("size = 32\nbands = [\"1\", \"1\", \"1\"]");
    run(&job, &scene, &["--set", "tiles.aoi=11,48,12,49"]);
    assert_eq!(rows(&job.table()).len(), 1);
    fs::remove_dir_all(job.table()).unwrap();

    let report = run(&job, &scene, &[]);
    assert_eq!(report["summary"]["tiles"], 12 * 6);
    let place = shown_columns(
        &job.table(),
        "centre_lat, cell, bbox['ymin'] AS south, bbox['ymax'] AS north, geometry",
    );
    assert_eq!(place["geometry"].null_count() + place["cell"].null_count(), 0);
    let degrees = |name: &str| place[name].as_primitive::<Float64Type>().values().to_vec();
    let (north, south) = (degrees("north"), degrees("south"));
    assert!(north.contains(&90.0) && north.iter().all(|degrees| *degrees <= 90.0));
    assert!(south.contains(&-90.0) && south.iter().all(|degrees| *degrees >= -90.0));
}

#[test]
fn clouds_are_skipped_and_their_share_recorded() {
    let Some(item) = landsat_item() else { return };
    let clouds = "cloud_band = \"BQA\"\ncloud_bits = [4]\nmax_cloud_fraction = 0.25";
    let (job, model) = (job(&format!("{SIX_BANDS}\n{clouds}")), six_band_model());
    run(&job, &item, &["--model", &model]);
    job.verify_ok();
    let columns = shown_columns(&job.table(), "status, reason, cloud_fraction");
    let (statuses, reasons) = (columns["status"].as_string::<i32>(), columns["reason"].as_string::<i32>());
    let fractions = columns["cloud_fraction"].as_primitive::<Float32Type>();
    let mut num_skipped = 0;
    for row in 0..columns.num_rows() {
        let cloudy = fractions.value(row) > 0.25;
        assert_eq!(statuses.value(row), if cloudy { "skipped" } else { "ok" });
        if cloudy {
            assert_eq!(reasons.value(row), "clouds");
            num_skipped += 1;
        }
    }
    assert!((1..20).contains(&num_skipped), "{num_skipped} skipped");
}

#[test]
fn a_coarser_resolution_is_read_from_an_overview() {
    let Some(folder) = geotiffs() else { return };
    let scene = folder.join("rio-tiler/mosaic_cog1.tif");
    let model = three_band_model();
    let of = |gsd: &str| {
        let job = job(&format!("bands = [1, 2, 3]\ngsd = {gsd}"));
        let report = run(&job, &scene, &["--model", model.to_str().unwrap(), "--set", "tiles.nodata=0"]);
        (number(&report, "fetched_bytes"), shown_columns(&job.table(), "level, width, gsd"))
    };
    let inspected = support::stdout_of(support::tilefleet().arg("inspect").arg(&scene).arg("--json"));
    assert!(inspected.contains("levels"), "{inspected}");
    let (native_bytes, native) = of("\"native\"");
    let gsd = native["gsd"].as_primitive::<Float64Type>().value(0);
    let (coarse_bytes, coarse) = of(&format!("{}", gsd * 4.0));
    assert!(coarse_bytes * 4 < native_bytes, "{coarse_bytes} of {native_bytes}");
    let level = |columns: &RecordBatch| columns["level"].as_primitive::<Int32Type>().value(0);
    assert_eq!((level(&native), level(&coarse)), (0, 2));
    assert!(native.num_rows() > 8 * coarse.num_rows(), "{} {}", native.num_rows(), coarse.num_rows());
}

/// Windows of a stored level hold the pixels that rasterio reads of that overview.
#[test]
fn a_level_is_cut_as_it_is_stored() {
    let Some(folder) = geotiffs() else { return };
    let scene = folder.join("rio-tiler/mosaic_cog1.tif");
    let bands: Vec<String> = (1..=3).map(|band| format!("{}:{band}", scene.display())).collect();
    let model = three_band_model();
    let model = ["--model", model.to_str().unwrap()];
    let of_level = |level: u32| job(&format!("bands = [1, 2, 3]\nnodata = \"none\"\nlevel = {level}"));
    let mut pixels = Vec::new();
    for (level, num_windows) in [(0, 13 * 13), (1, 7 * 7), (2, 4 * 4)] {
        let job = of_level(level);
        assert_eq!(run(&job, &scene, &model)["summary"]["tiles"], num_windows);
        let columns = shown_columns(&job.table(), "level, width, gsd");
        let edge = |name: &str| columns[name].as_primitive::<Int32Type>().value(0);
        assert_eq!((edge("level"), edge("width")), (level as i32, 64));
        pixels.push(columns["gsd"].as_primitive::<Float64Type>().value(0));
        let Some(expected) = embeddings_of_crops(&job.table(), &bands, &model) else { return };
        assert_eq!(expected.len(), num_windows);
        assert_same_embeddings(&embeddings(&job.table()), &expected);
    }
    let ratios = [pixels[1] / pixels[0], pixels[2] / pixels[1]];
    assert!(ratios.iter().all(|ratio| (ratio - 2.0).abs() < 0.01), "{pixels:?}");
    let job = of_level(3);
    let input = ["--input", scene.to_str().unwrap()];
    assert_exit(&job.run(&[&input[..], &model].concat()), 65);
    let row = rows(&job.table()).pop().unwrap();
    assert_eq!(row.reason.as_deref(), Some("grid_mismatch"));
    assert_eq!(row.detail.as_deref(), Some("`tiles.level` = 3, but the last level of the file is 2"));
}

#[test]
fn compacted_windows_keep_their_place() {
    let Some(scene) = rgb_scene() else { return };
    let job = job("size = 100");
    let sound = fs::read(&scene).unwrap();
    job.write_image("a.tif", &sound);
    job.run_ok(&[]);
    job.write_image("b.tif", &sound);
    job.run_ok(&[]);
    let columns =
        "tile_id, geometry, bbox, centre_lon, centre_lat, epsg, cell, gsd, valid_fraction, status, embedding";
    let before = shown_columns(&job.table(), columns);
    let mut compact = support::tilefleet();
    compact.arg("runs").arg(job.table()).args(["compact"]);
    assert_exit(&compact.output().unwrap(), 0);
    job.verify_ok();
    assert_eq!(shown_columns(&job.table(), columns), before);
    assert_eq!(before.num_rows(), 128);
}

/// Runs a scene, exports its maps, and holds them against the table with rasterio and rio-cogeo.
fn assert_maps_are_right(scene: &Path, tiles: &str) {
    let job = job(tiles);
    let report = run(&job, scene, &[]);
    let maps = job.path("maps");
    let export = || {
        let mut command = support::tilefleet();
        command.arg("export").arg(job.table()).args(["--cog", "--json", "--out"]).arg(&maps);
        command.output().unwrap()
    };
    let output = export();
    assert_exit(&output, 0);
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(told["maps"][0]["mapped"], report["summary"]["ok"]);
    assert_exit(&export(), 64);
    let stem = scene.file_stem().unwrap().to_str().unwrap();
    let [class, score] = ["class", "score"].map(|kind| maps.join(format!("{stem}-{kind}.tif")));
    let tiles = job.path("table/tiles");
    let paths = [&tiles, &class, &score, scene].map(|path| path.to_str().unwrap().to_owned());
    let [tiles, class, score, scene] = &paths;
    let Some(said) = oracle(&["maps", tiles, class, score, scene]) else { return };
    let said: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((&said["rows"], &said["problems"]), (&report["summary"]["tiles"], &serde_json::json!([])));
}

#[test]
fn maps_show_the_rows_where_they_lie() {
    let Some(scene) = rgb_scene() else { return };
    assert_maps_are_right(&scene, "size = 80");
    assert_maps_are_right(&scene, "size = 80\nstride = 40");
    assert_maps_are_right(&scene, "size = 80\nstride = 133");
}

#[test]
fn maps_need_windows_and_classes() {
    let whole = Job::new(2, "");
    whole.run_ok(&[]);
    let export = |table: &Path, format: &str| {
        let mut command = support::tilefleet();
        command.arg("export").arg(table).args([format, "--out"]).arg(whole.path("maps")).output().unwrap()
    };
    let output = export(&whole.table(), "--cog");
    assert_exit(&output, 78);
    assert!(stderr(&output).contains("tiles.grid"), "{}", stderr(&output));
    let Some(scene) = rgb_scene() else { return };
    let headless = model("headless", &["--arch", "resnet18", "--headless", "--size", "64"]);
    let job = job("size = 200");
    run(&job, &scene, &["--model", headless.to_str().unwrap()]);
    let output = export(&job.table(), "--cog");
    assert_exit(&output, 78);
    assert!(stderr(&output).contains("model head"), "{}", stderr(&output));
}

/// A retry's rows take the place of those that were rejected.
#[test]
fn maps_show_what_a_retry_brought() {
    let Some(folder) = geotiffs() else { return };
    let scene = folder.join("rasterio/rgb_lzw.tif");
    let job = job("size = 64");
    let (damaged, _) = with_damaged_block(&scene, &job);
    let report = run(&job, &damaged, &["--set", "limits.max_reject_ratio=1"]);
    let mapped = |name: &str| {
        let mut command = support::tilefleet();
        command.arg("export").arg(job.table()).args(["--cog", "--json", "--out"]).arg(job.path(name));
        let told: Value = serde_json::from_str(&support::stdout_of(&mut command)).unwrap();
        told["maps"][0]["mapped"].as_u64().unwrap()
    };
    let counts = &report["summary"];
    assert_eq!(mapped("before"), counts["ok"].as_u64().unwrap());
    fs::copy(&scene, &damaged).unwrap();
    retry(&job);
    assert_eq!(mapped("after"), counts["ok"].as_u64().unwrap() + counts["rejected"].as_u64().unwrap());
}

#[test]
fn a_pipeline_that_contradicts_the_model_is_refused() {
    let Some(scene) = rgb_scene() else { return };
    let refused = |tiles: &str, words: &[&str]| {
        let job = job(tiles);
        let output = job.run(&["--input", scene.to_str().unwrap()]);
        assert_exit(&output, 78);
        let said = stderr(&output);
        assert!(words.iter().all(|word| said.contains(word)), "{said}");
    };
    refused("unit = \"reflectance\"", &["srgb8", "reflectance"]);
    refused("bands = [1, 2]", &["2 bands", "takes 3"]);
    refused("scale = [1.0, 2.0]", &["tiles.scale"]);
    refused("aoi = \"1,2\"", &["area of interest"]);
    refused("max_cloud_fraction = 0.5", &["tiles.cloud_band"]);
    let whole = Job::new(1, "[tiles]\nstride = 7");
    let output = whole.run(&[]);
    assert_exit(&output, 78);
    assert!(stderr(&output).contains("tiles.grid"), "{}", stderr(&output));
}

fn faults(name: &str) -> Option<PathBuf> {
    support::test_data().map(|data| data.join("faults").join(name))
}

#[test]
fn items_of_one_id_have_rows_each() {
    let Some(two) = faults("stac/two.json") else { return };
    let job = job("size = 256\nbands = [\"red\", \"green\", \"blue\"]");
    run(&job, &two, &["--set", "limits.max_reject_ratio=1"]);
    let mut sources: Vec<String> = rows(&job.table()).into_iter().map(|row| row.source).collect();
    sources.sort_unstable();
    sources.dedup();
    let ends: Vec<&str> = sources.iter().map(|source| source.rsplit('/').next().unwrap()).collect();
    assert_eq!(ends, ["two.json#S2A_1", "two.json#S2A_1@l2a"], "the first by collection keeps the name");
    job.verify_ok();
}

/// Its samples are 16-bit, which the model does not take: so the file was found and read.
#[test]
fn a_local_reference_is_a_uri_reference() {
    let Some(item) = faults("stac/space_encoded.json") else { return };
    let job = job("");
    run(&job, &item, &["--set", "limits.max_reject_ratio=1", "--set", "tiles.bands=red,red,nir"]);
    let found = shown(&job.table());
    assert_eq!((found.len(), found[0].reason.as_deref()), (1, Some("bit_depth_mismatch")), "{found:?}");
}

#[test]
fn a_scene_of_too_many_windows_is_one_reject() {
    let Some(scene) = rgb_scene() else { return };
    let job = job("size = 64");
    let more = ["--set", "limits.max_reject_ratio=1", "--set", "limits.max_windows=155"];
    run(&job, &scene, &more);
    let found = shown(&job.table());
    assert_eq!((found.len(), found[0].reason.as_deref()), (1, Some("too_large")), "{found:?}");
    assert!(
        found[0].detail.as_ref().unwrap().contains("156 windows, but `limits.max_windows` is 155"),
        "{found:?}"
    );
}
