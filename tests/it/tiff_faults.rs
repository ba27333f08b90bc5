//! TIFFs and scenes that are not as they should be: the samples that GDAL and Pillow read, or a row that says why not.
//!
//! `scripts/oracles/tiff_oracle.py` and `windows_oracle.py` write them; others come from the test data's `faults`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use serde_json::{Value, json};

use crate::fixture::{Job, Row, assert_exit, model, shown, stderr};
use crate::scenes::digest;
use crate::support;

fn faults() -> Option<PathBuf> {
    support::test_data().map(|data| data.join("faults"))
}

fn oracle(script: &str, arguments: &[&str]) -> Option<String> {
    let python = support::python()?;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/oracles").join(script);
    Some(support::run_python(&python, &fs::read_to_string(script).unwrap(), arguments))
}

fn command(arguments: &[&str]) -> Output {
    support::tilefleet().args(arguments).output().unwrap()
}

/// The digest of all samples that `chip` writes, or the reason code of its refusal.
fn chip(source: &Path, folder: &Path) -> Result<String, String> {
    let out = folder.join("chip.npy");
    let output = command(&["chip", source.to_str().unwrap(), "--force", "--out", out.to_str().unwrap()]);
    if output.status.success() {
        let bytes = fs::read(&out).unwrap();
        let header = usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
        return Ok(digest(&bytes[10 + header..]));
    }
    assert_exit(&output, 65);
    let said = stderr(&output);
    let (_, reason) = said.split_once("because: ").unwrap();
    Err(reason.split(':').next().unwrap().to_owned())
}

fn inspected(source: &Path) -> Value {
    let output = command(&["inspect", "--json", source.to_str().unwrap()]);
    let described: Value = serde_json::from_slice(&output.stdout).unwrap();
    described[0].clone()
}

/// One band of stored samples, as windows of 64.
fn job_of_samples(tiles: &str) -> (Job, String) {
    let float = ["--input-type", "float32", "--unit", "dn", "--size", "64", "--channels", "1"];
    let model = model("one", &[&["--arch", "resnet18", "--classes", "10"][..], &float].concat());
    (job(&format!("bands = [1]\n{tiles}")), model.to_str().unwrap().to_owned())
}

fn job(tiles: &str) -> Job {
    Job::new(0, &format!("[tiles]\ngrid = \"regular\"\n{tiles}\n[limits]\nmax_reject_ratio = 1"))
}

/// Status, or reason code, of each file's row.
fn outcomes(rows: &[Row]) -> BTreeMap<String, String> {
    let outcome = |row: &Row| row.reason.clone().unwrap_or_else(|| row.status.clone());
    rows.iter().map(|row| (row.file().to_owned(), outcome(row))).collect()
}

fn run_of(job: &Job, input: &Path, more: &[&str]) -> BTreeMap<String, String> {
    job.run_ok(&[&["--input", input.to_str().unwrap()], more].concat());
    job.verify_ok();
    outcomes(&shown(&job.table()))
}

/// What becomes of `LAYOUT-CODEC-WRONG[-big].tif`: its samples (`ok`), or a rejection.
fn expected_of(name: &str) -> &'static str {
    let parts: Vec<&str> = name.trim_end_matches(".tif").split('-').collect();
    let (layout, codec, wrong) = (parts[0], parts[1], parts[2]);
    let alone = matches!(layout, "strip" | "tile");
    match (codec, wrong) {
        (_, "beyond") | ("deflate", "small" | "second_small") => "truncated",
        ("deflate", "no_size" | "no_sizes" | "no_tag") if alone => "ok",
        (_, "in_header")
        | ("deflate", "no_size" | "second_no_size" | "no_sizes" | "no_tag" | "few_sizes") => "corrupt",
        _ => "ok",
    }
}

/// Byte counts of 0, too small, too large or missing: strips and tiles, stored as they are and compressed, TIFF and
/// `BigTIFF`, as scenes and as plain images. Whatever GDAL or Pillow reads right is read.
#[test]
fn blocks_of_a_wrong_size_hold_the_samples_of_gdal_and_pillow() {
    let folder = tempfile::tempdir().unwrap();
    let Some(told) = oracle("tiff_oracle.py", &["sizes", folder.path().to_str().unwrap()]) else { return };
    let told: Value = serde_json::from_str(&told).unwrap();
    let readers = told["readers"].as_object().unwrap();
    assert!(readers.len() > 100, "{} files", readers.len());
    let mut expected = BTreeMap::new();
    for (name, readers) in readers {
        let outcome = expected_of(name);
        assert!(outcome == "ok" || readers == &json!([]), "{name} is read by {readers}");
        for kind in ["plain", "scene"] {
            let found = chip(&folder.path().join(kind).join(name), folder.path());
            match outcome {
                "ok" if name.contains("not_stored") => assert!(found.is_ok(), "{kind} {name}: {found:?}"),
                "ok" => assert_eq!(found.as_deref(), Ok(told["digest"].as_str().unwrap()), "{kind} {name}"),
                reason => assert_eq!(found, Err(reason.to_owned()), "{kind} {name}"),
            }
        }
        expected.insert(name.clone(), outcome.to_owned());
    }
    let (scenes, model) = job_of_samples("");
    assert_eq!(run_of(&scenes, &folder.path().join("scene"), &["--model", &model]), expected);
    let plain = Job::new(0, "[limits]\nmax_reject_ratio = 1");
    assert_eq!(run_of(&plain, &folder.path().join("plain"), &[]), expected);
}

#[test]
fn what_samples_mean_need_not_be_said() {
    let folder = tempfile::tempdir().unwrap();
    let Some(told) = oracle("tiff_oracle.py", &["grey", folder.path().to_str().unwrap()]) else { return };
    let told: BTreeMap<String, Value> = serde_json::from_str(&told).unwrap();
    for (name, told) in &told {
        for kind in ["plain", "scene"] {
            let path = folder.path().join(kind).join(name);
            assert_eq!(
                chip(&path, folder.path()).as_deref(),
                Ok(told["gdal"].as_str().unwrap()),
                "{kind} {name}"
            );
        }
    }
    assert_eq!((&told["u16.tif"]["pillow"], &told["f32.tif"]["pillow"]), (&json!(true), &json!(true)));
    let (job, model) = job_of_samples("");
    let found = run_of(&job, &folder.path().join("scene"), &["--model", &model]);
    assert!(found.len() == 4 && found.values().all(|outcome| outcome == "ok"), "{found:?}");
}

/// The small files of the issue, each with the model that its samples fit.
#[test]
fn faulty_tiffs_have_their_outcome() {
    let Some(folder) = faults() else { return };
    let folder = folder.join("tiff");
    let names = ["one_count0", "plain_one_count0", "count_all_full", "no_photometric"];
    let paths = names.map(|name| folder.join(format!("{name}.tif")));
    let words: Vec<&str> =
        std::iter::once("digest").chain(paths.iter().map(|path| path.to_str().unwrap())).collect();
    let Some(told) = oracle("tiff_oracle.py", &words) else { return };
    let told: Vec<String> = serde_json::from_str(&told).unwrap();
    let out = tempfile::tempdir().unwrap();
    for (path, told) in paths.iter().zip(told) {
        assert_eq!(chip(path, out.path()), Ok(told), "{}", path.display());
        let (job, model) = job_of_samples("");
        let found = run_of(&job, path, &["--model", &model]);
        assert!(found.values().eq(["ok"]), "{found:?}");
    }
    let plain = Job::new(0, "");
    let found = run_of(&plain, &folder.join("plain_one_count0.tif"), &[]);
    assert!(found.values().eq(["ok"]), "{found:?}");
    // Each beside a good file.
    let beside = |(job, model): (Job, String), good: &str, name: &str, reason: &str| {
        for name in [good, name] {
            fs::copy(folder.join(name), job.path("images").join(name)).unwrap();
        }
        let expected = [(good, "ok"), (name, reason)].map(|(name, is)| (name.to_owned(), is.to_owned()));
        assert_eq!(run_of(&job, &job.path("images"), &["--model", &model]), expected.into());
    };
    beside(job_of_samples(""), "no_photometric.tif", "nan_z_nocrs.tif", "corrupt");
    // Only `scale` is set for it: an offset that nobody says is 0.
    beside(job_of_reflectance("scale = 0.5"), "no_photometric.tif", "scale0.tif", "unit_mismatch");
    beside(job_of_reflectance("scale = 0.5"), "no_photometric.tif", "scalenan.tif", "unit_mismatch");
}

/// One band of reflectance, converted as the file says.
fn job_of_reflectance(tiles: &str) -> (Job, String) {
    let float = ["--input-type", "float32", "--unit", "reflectance", "--size", "64", "--channels", "1"];
    let model = model("reflectance", &[&["--arch", "resnet18", "--classes", "10"][..], &float].concat());
    (job(&format!("bands = [1]\n{tiles}")), model.to_str().unwrap().to_owned())
}

/// Numbers that are not finite in what places or scales a scene: a row each, and the others are computed. Every
/// survey reads back, so that the run can be verified, repeated and retried.
#[test]
fn numbers_that_are_not_finite_cost_their_own_row() {
    let folder = tempfile::tempdir().unwrap();
    if oracle("tiff_oracle.py", &["places", folder.path().to_str().unwrap()]).is_none() {
        return;
    }
    let of = |name: &str| match name.trim_end_matches(".tif") {
        // The place of the last is finite in the file, and overflows where it is computed: none.
        "good" | "height_nan" | "nodata_nan" | "nodata_inf" | "scale_comma" | "huge" | "thin" | "tiny"
        | "tie_overflows" => "ok",
        name if name.starts_with("scale_") || name.starts_with("offset_") => "unit_mismatch",
        _ => "corrupt",
    };
    let (job, model) = job_of_reflectance("");
    let found = run_of(&job, folder.path(), &["--model", &model]);
    let expected: BTreeMap<String, String> =
        found.keys().map(|name| (name.clone(), of(name).to_owned())).collect();
    assert_eq!(found, expected);
    assert!(found.len() > 20, "{found:?}");
    let again = job.run_ok(&["--input", folder.path().to_str().unwrap(), "--model", &model, "--json"]);
    assert_eq!(serde_json::from_str::<Value>(&again).unwrap()["nothing_new"], true);
    let retry = support::tilefleet().arg("rejects").arg(job.table()).arg("--retry").output().unwrap();
    assert!(matches!(retry.status.code(), Some(0 | 65)), "{}", stderr(&retry));
    job.verify_ok();

    // Asked for metres, a scene needs a pixel that can be measured in them.
    let (job, model) = job_of_reflectance("gsd = 20");
    let found = run_of(&job, folder.path(), &["--model", &model]);
    assert_eq!(found["good.tif"], "ok");
    for name in ["tiny.tif", "thin.tif", "huge.tif", "tie_overflows.tif"] {
        assert_eq!(found[name], "grid_mismatch", "{name}");
    }
}

/// The digest of the samples that `chip` writes of a scene.
fn chip_of_scene(source: &Path, folder: &Path) -> String {
    let out = folder.join("scene.npy");
    let (source, out_text) = (source.to_str().unwrap(), out.to_str().unwrap());
    let regular = ["chip", source, "--force", "--out", out_text, "--set", "tiles.grid=regular"];
    assert_exit(&command(&regular), 0);
    let bytes = fs::read(&out).unwrap();
    let header = usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    digest(&bytes[10 + header..])
}

/// Texts, fractions and numbers beyond the samples: what GDAL takes for no data is none, and blocks that are not stored
/// hold what GDAL has there.
#[test]
fn nodata_is_what_gdal_takes_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let Some(told) = oracle("tiff_oracle.py", &["nodata", folder.path().to_str().unwrap()]) else { return };
    let told: BTreeMap<String, String> = serde_json::from_str(&told).unwrap();
    let scenes = folder.path().join("scene");
    for (name, told) in &told {
        assert_eq!(&chip_of_scene(&scenes.join(name), folder.path()), told, "{name}");
    }
    // So small that no network overflows.
    let (job, model) = job_of_samples("scale = 1e-30\noffset = 0\nmin_valid_fraction = 0");
    let found = run_of(&job, &scenes, &["--model", &model]);
    assert!(found.len() == told.len() && found.values().all(|outcome| outcome == "ok"), "{found:?}");
    let tiles = job.path("table/tiles");
    let said = oracle("windows_oracle.py", &["validity", tiles.to_str().unwrap(), scenes.to_str().unwrap()]);
    let said: Value = serde_json::from_str(&said.unwrap()).unwrap();
    let off = said["of"].as_object().unwrap();
    let wrong: Vec<_> = off.iter().filter(|(_, off)| off.as_f64().is_none_or(|off| off > 1e-6)).collect();
    assert!(off.len() == told.len() && wrong.is_empty(), "{wrong:?}");
    let notes = inspected(&scenes.join("uint8-1.tif"))["image"]["scene"]["notes"].to_string();
    assert!(notes.contains("0 0 0") && notes.contains("is read as 0, as in GDAL"), "{notes}");
}

/// Quotes, capitals, CDATA, entities and what is no XML: scale, offset, unit and name are GDAL's, or the scale is none.
#[test]
fn metadata_of_gdal_are_read_as_xml() {
    let folder = tempfile::tempdir().unwrap();
    let Some(told) = oracle("tiff_oracle.py", &["items", folder.path().to_str().unwrap()]) else { return };
    let told: BTreeMap<String, Value> = serde_json::from_str(&told).unwrap();
    let refused = ["mixed", "nested", "nan", "no_number", "no_end", "no_end_tag", "wrong_end_tag"];
    let refused = refused.map(|name| format!("{name}.tif"));
    let scenes = folder.path().join("scene");
    for (name, told) in &told {
        let band = inspected(&scenes.join(name))["image"]["scene"]["bands"][0].clone();
        if refused.contains(name) {
            assert!(
                band["scale"].is_null() || band["scale"] == 0.0 || band["offset"].is_null(),
                "{name}: {band}"
            );
            continue;
        }
        let found = json!([band["scale"], band["offset"], band["unit"], band["description"]]);
        assert_eq!(&found, told, "{name}");
    }
    let (job, model) = job_of_reflectance("");
    let found = run_of(&job, &scenes, &["--model", &model]);
    let unscaled = |told: &Value| told[0] == 1.0 && told[1] == 0.0;
    for (name, outcome) in &found {
        let is_refused = refused.contains(name) || unscaled(&told[name]);
        assert_eq!(outcome, if is_refused { "unit_mismatch" } else { "ok" }, "{name}");
    }
    let notes = inspected(&scenes.join("no_end.tif"))["image"]["scene"]["notes"].to_string();
    assert!(notes.contains("(tag 42112) cannot be read"), "{notes}");
}

/// Keys that agree are placed where GDAL places them, those that contradict each other nowhere.
#[test]
fn keys_that_contradict_each_other_place_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let Some(told) = oracle("tiff_oracle.py", &["keys", folder.path().to_str().unwrap()]) else { return };
    let told: BTreeMap<String, Value> = serde_json::from_str(&told).unwrap();
    assert!(told.len() > 20);
    for (name, told) in &told {
        let scene = inspected(&folder.path().join("scene").join(name))["image"]["scene"].clone();
        if name.starts_with("other_") {
            assert_eq!((&scene["extent"], &scene["epsg"]), (&Value::Null, &Value::Null), "{name}");
            assert!(scene["crs"].to_string().contains("is not supported"), "{name}: {scene}");
            continue;
        }
        let [west, south, east, north]: [f64; 4] =
            serde_json::from_value(scene["extent"].clone()).expect(name);
        let [longitude, latitude]: [f64; 2] = serde_json::from_value(told.clone()).unwrap();
        assert!((west..east).contains(&longitude), "{name}: {scene} {told}");
        assert!((f64::midpoint(south, north) - latitude).abs() < 5e-5, "{name}: {scene} {told}");
    }
}

/// The last directory leads to the first one: the first page is read under either grid.
#[test]
fn a_ring_of_directories_ends_where_it_began() {
    let folder = tempfile::tempdir().unwrap();
    let Some(told) = oracle("tiff_oracle.py", &["sizes", folder.path().to_str().unwrap()]) else { return };
    let told: Value = serde_json::from_str(&told).unwrap();
    let mut bytes = fs::read(folder.path().join("scene/strip-none-sound.tif")).unwrap();
    let start = bytes[4..8].to_vec();
    let at = u32::from_le_bytes(start.clone().try_into().unwrap()) as usize;
    let link = at + 2 + 12 * usize::from(u16::from_le_bytes([bytes[at], bytes[at + 1]]));
    bytes[link..link + 4].copy_from_slice(&start);
    let ring = folder.path().join("ring.tif");
    fs::write(&ring, bytes).unwrap();
    let told = told["digest"].as_str().unwrap();
    assert_eq!(chip(&ring, folder.path()).as_deref(), Ok(told));
    assert_eq!(chip_of_scene(&ring, folder.path()), told);
    let notes = inspected(&ring)["image"]["scene"]["notes"].to_string();
    assert!(notes.contains("form a loop"), "{notes}");
}

#[test]
fn a_factor_of_0_is_refused_at_start() {
    for (setting, names) in [
        ("scale = 0", "tiles.scale"),
        ("scale = [0.1, 0.0]", "tiles.scale"),
        ("scale = 1e-60", "tiles.scale"),
        ("offset = 1e60", "tiles.offset"),
    ] {
        let job = job(setting);
        let output = job.run(&[]);
        assert_exit(&output, 78);
        assert!(stderr(&output).contains(names), "{}", stderr(&output));
    }
}

/// Without `tiles.scale` and `tiles.offset` the file's scale of 0 is a rejection; with both it does not matter.
#[test]
fn a_scale_of_0_can_be_replaced() {
    let Some(folder) = faults() else { return };
    for (settings, expected) in [
        ("scale = 0.0001\noffset = 0", "ok"),
        ("scale = 0.0001", "unit_mismatch"),
        ("offset = 0", "unit_mismatch"),
    ] {
        let (job, model) = job_of_reflectance(settings);
        let found = run_of(&job, &folder.join("tiff/scale0.tif"), &["--model", &model]);
        assert!(found.values().eq([expected]), "{settings}: {found:?}");
    }
    let described = inspected(&folder.join("tiff/scale0.tif"));
    let notes = described["image"]["scene"]["notes"].to_string();
    assert!(notes.contains("scale 0 and offset 10 are not a conversion"), "{notes}");
}

fn three_bands() -> String {
    let float = ["--input-type", "float32", "--unit", "dn", "--size", "64"];
    model("three", &[&["--arch", "resnet18", "--classes", "10"][..], &float].concat())
        .to_str()
        .unwrap()
        .to_owned()
}

/// Mask, nodata and alpha, each there or not, with overviews: `valid_fraction` is rasterio's `dataset_mask()` at full
/// size and on the overviews, and `inspect` names what decides.
#[test]
fn one_of_mask_nodata_and_alpha_decides() {
    let folder = tempfile::tempdir().unwrap();
    let scenes = folder.path().to_str().unwrap();
    if oracle("windows_oracle.py", &["make-valid", scenes]).is_none() {
        return;
    }
    let mut decides: BTreeMap<&str, usize> = BTreeMap::new();
    for entry in fs::read_dir(folder.path()).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let valid_by = match name.split('-').collect::<Vec<_>>()[..] {
            ["full" | "half", ..] => "mask",
            [_, _, "half"] => "alpha",
            [_, "0", _] => "nodata",
            _ => "all",
        };
        assert_eq!(inspected(&path)["image"]["scene"]["valid_by"], valid_by, "{name}");
        *decides.entry(valid_by).or_default() += 1;
    }
    assert_eq!(decides, [("all", 1), ("alpha", 2), ("mask", 8), ("nodata", 1)].into());
    for (gsd, level) in [("\"native\"", 0), ("20", 1), ("40", 2)] {
        let job = job(&format!("bands = [1, 2, 3]\ngsd = {gsd}"));
        job.run_ok(&["--model", &three_bands(), "--input", scenes]);
        let tiles = job.path("table/tiles");
        let said = oracle("windows_oracle.py", &["validity", tiles.to_str().unwrap(), scenes]).unwrap();
        let said: Value = serde_json::from_str(&said).unwrap();
        assert!(said["worst"].as_f64().unwrap() < 1e-6, "at {gsd}: {said}");
        assert_eq!((&said["levels"], &said["rows"]), (&json!([level]), &json!(12 * (16 >> (2 * level)))));
    }
}

/// A copy of a scene whose nodata tag has become one that nobody knows.
fn without_nodata(scene: &Path, copy: &Path) {
    let mut bytes = fs::read(scene).unwrap();
    let tag = [42_113_u16.to_le_bytes(), 2_u16.to_le_bytes()].concat();
    let at = bytes.windows(4).position(|entry| entry == tag).unwrap();
    bytes[at..at + 2].copy_from_slice(&65_000_u16.to_le_bytes());
    fs::write(copy, bytes).unwrap();
}

/// With a mask the nodata tag changes nothing, neither as stored nor averaged; nor does an item's nodata.
#[test]
fn nodata_beside_a_mask_changes_nothing() {
    let Some(folder) = faults() else { return };
    let model = three_bands();
    for gsd in ["\"native\"", "20"] {
        let job = job(&format!("bands = [1, 2, 3]\ngsd = {gsd}"));
        let scene = folder.join("scene/mask_and_nodata.tif");
        fs::copy(&scene, job.path("images/with.tif")).unwrap();
        without_nodata(&scene, &job.path("images/without.tif"));
        job.run_ok(&["--model", &model]);
        let rows = shown(&job.table());
        assert_eq!(rows.iter().map(Row::file).collect::<Vec<_>>(), ["with.tif", "without.tif"]);
        assert_eq!(rows[0].embedding, rows[1].embedding, "gsd {gsd}");
        // A nodata that the pipeline names is honoured beside the mask.
        let named = job.run(&[
            "--model",
            &model,
            "--set",
            "tiles.nodata=0",
            "--output",
            job.path("named").to_str().unwrap(),
        ]);
        assert_exit(&named, 0);
        let is_same = shown(&job.path("named"))[0].embedding == rows[0].embedding;
        // As stored, red of 0 becomes 0; averaged, it takes no part.
        assert_eq!(is_same, gsd != "20", "gsd {gsd}");
    }
}

#[test]
fn nodata_of_an_item_does_not_overrule_a_mask() {
    let Some(folder) = faults() else { return };
    let model = three_bands();
    let embedding = |nodata: Option<i32>| {
        let job = job("bands = [\"data/1\", \"data/2\", \"data/3\"]");
        fs::copy(folder.join("scene/mask_and_nodata.tif"), job.path("images/scene.tif")).unwrap();
        let band = nodata.map_or(json!({}), |nodata| json!({"nodata": nodata}));
        let item = json!({
            "type": "Feature", "stac_version": "1.0.0", "id": "one", "geometry": null, "links": [],
            "properties": {"datetime": "2024-05-01T10:00:00Z"},
            "assets": {"data": {"href": "./scene.tif", "type": "image/tiff", "raster:bands": [band, band, band]}},
        });
        fs::write(job.path("images/one.json"), item.to_string()).unwrap();
        job.run_ok(&["--model", &model, "--input", job.path("images/one.json").to_str().unwrap()]);
        shown(&job.table())[0].embedding.clone().unwrap()
    };
    assert_eq!(embedding(None), embedding(Some(0)));
}

#[test]
fn inspect_says_that_alpha_decides() {
    let Some(folder) = faults() else { return };
    let described = inspected(&folder.join("scene/alpha_nodata0.tif"));
    assert_eq!(described["image"]["scene"]["valid_by"], "alpha");
    let described = inspected(&folder.join("scene/mask_and_nodata.tif"));
    assert_eq!(described["image"]["scene"]["valid_by"], "mask");
}

#[test]
fn slides_are_refused_and_other_pyramids_are_not() {
    let Some(data) = support::test_data() else { return };
    let slides = data.join("medical/slides");
    let svs = slides.join("small_HE.svs");
    let described = inspected(&svs);
    assert_eq!((&described["status"], &described["reason"]), (&json!("rejected"), &json!("unsupported")));
    assert!(described["detail"].as_str().unwrap().contains("slides are not read yet"), "{described}");
    let out = tempfile::tempdir().unwrap();
    assert_eq!(chip(&svs, out.path()), Err("unsupported".to_owned()));
    for job in [job(""), Job::new(0, "[limits]\nmax_reject_ratio = 1")] {
        let found = run_of(&job, &svs, &[]);
        assert!(found.values().eq(["unsupported"]), "{found:?}");
    }
    let pyramid = inspected(&slides.join("cmu1_small_region_pyramid_jpeg90_ycbcr_tile256.tif"));
    assert_eq!(pyramid["image"]["levels"].as_array().map(Vec::len), Some(5));
}

/// What helps is in the row.
#[test]
fn sixteen_bits_for_an_eight_bit_model_name_a_way_out() {
    let Some(data) = support::test_data() else { return };
    let scene = data.join("satellite/geotiff/derived/landsat8_u16x3_deflate_bigtiff_cog.tif");
    let job = job("bands = [1, 2, 3]");
    assert!(run_of(&job, &scene, &[]).values().eq(["bit_depth_mismatch"]));
    let detail = shown(&job.table())[0].detail.clone().unwrap();
    for words in ["srgb8", "uint16", "gdal_translate -ot Byte -scale", "--input-type float32 --unit dn"] {
        assert!(detail.contains(words), "no `{words}` in {detail}");
    }
}
