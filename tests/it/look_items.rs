//! `inspect` and `chip` take what a run takes: STAC items, folders and patterns; and they say of each what a run does.
//!
//! `agree` holds them against runs, item by item.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use serde_json::{Value, json};

use crate::agree::Echo;
use crate::fixture::{assert_exit, png, stderr};
use crate::support;
use crate::support::fault_proxy::FaultProxy;

const WINDOWS: [&str; 2] = ["--set", "tiles.grid=regular"];

fn data(name: &str) -> Option<PathBuf> {
    support::test_data().map(|data| data.join(name))
}

fn inspect(arguments: &[&str]) -> Output {
    support::tilefleet().arg("inspect").args(arguments).output().unwrap()
}

fn chip(source: &str, out: &Path, arguments: &[&str]) -> Output {
    support::tilefleet().args(["chip", source, "--force", "--out"]).arg(out).args(arguments).output().unwrap()
}

fn said(output: &Output) -> Vec<Value> {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("no JSON: {}", stderr(output)))
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8 names")
}

fn assert_says(output: &Output, code: i32, words: &[&str]) {
    assert_exit(output, code);
    for word in words {
        assert!(stderr(output).contains(word), "no `{word}` in:\n{}", stderr(output));
    }
}

/// The path of the contract of a model of RGB pictures.
fn picture_model(folder: &Path) -> String {
    Echo::picture(folder);
    folder.join("picture.contract.toml").display().to_string()
}

#[test]
fn an_item_is_shown_with_the_files_that_a_run_takes() {
    let Some(item) = data("faults/stac/mix2/base.json") else { return };
    let bands = [text(&item), "--set", "tiles.grid=regular", "--set", "tiles.bands=nir,red"];
    let output = inspect(&[&bands[..], &["--json"]].concat());
    assert_exit(&output, 0);
    let said = &said(&output)[0];
    assert_eq!(said["item"]["id"], "base");
    assert_eq!(said["item"]["cloud_cover"], 5.0);
    assert_eq!(said["item"]["datetime"], "2024-06-01T10:00:00Z");
    let assets = said["item"]["assets"].as_array().unwrap();
    let found: Vec<_> = assets.iter().map(|asset| (&asset["keys"], &asset["bands"][0]["name"])).collect();
    assert_eq!(found, [(&json!(["nir"]), &json!("nir")), (&json!(["red"]), &json!("red"))]);
    for asset in assets {
        let file = asset["source"].as_str().unwrap();
        let alone = inspect(&["--json", "--set", "tiles.grid=regular", file]);
        let alone: Vec<Value> = serde_json::from_slice(&alone.stdout).unwrap();
        assert_eq!((&asset["image"], &asset["status"]), (&alone[0]["image"], &alone[0]["status"]), "{file}");
    }
    let output = inspect(&bands);
    let shown = String::from_utf8(output.stdout).unwrap();
    for words in [
        "  item        base, 2024-06-01T10:00:00Z, 5 % clouds",
        "  asset       red\n",
        "  file        file:///",
        "uint16",
    ] {
        assert!(shown.contains(words), "no `{words}` in:\n{shown}");
    }
    let output = inspect(&[&[text(&item)], &WINDOWS[..]].concat());
    assert_exit(&output, 0);
    let shown = String::from_utf8(output.stdout).unwrap();
    assert!(
        shown.contains("--model or tiles.bands decides which of its assets a run reads; it has nir, red"),
        "{shown}"
    );
}

/// With a model: which band of which file, what its samples mean, and how many windows there are.
#[test]
fn an_item_is_judged_for_a_model() {
    let Some(item) = data("faults/stac/two.json") else { return };
    let folder = tempfile::tempdir().unwrap();
    let model = picture_model(folder.path());
    let for_model = [&WINDOWS[..], &["--model", &model]].concat();
    let output = inspect(&[&[text(&item), "--json"], &for_model[..]].concat());
    let [one, two] = &said(&output)[..] else { panic!("two items: {}", stderr(&output)) };
    assert_exit(&output, 0);
    assert_eq!((&one["status"], &two["status"]), (&json!("ok"), &json!("ok")));
    let numbers: Vec<_> =
        one["item"]["assets"][0]["bands"].as_array().unwrap().iter().map(|band| &band["number"]).collect();
    assert_eq!(numbers, [1, 1, 1], "each band is the first of an asset of its own, as the item has it");
    assert!(one["windows"]["count"].as_u64() > Some(100) && one["windows"]["width"] == 20, "{one}");
    let output = inspect(&[&[text(&item), "--set", "tiles.bands=red,green,nir"], &for_model[..]].concat());
    assert_says(
        &output,
        65,
        &["a run would reject 2 of 2 sources", "bands_mismatch: there is no band `nir`"],
    );
}

/// Of several items one has to be named, as rows name it or by its id.
#[test]
fn of_several_items_chip_takes_one() {
    let Some(two) = data("faults/stac/two.json") else { return };
    let folder = tempfile::tempdir().unwrap();
    let (model, out) = (picture_model(folder.path()), folder.path().join("a.npy"));
    let input = [&WINDOWS[..], &["--stage", "input", "--model", &model, "--window", "20,40,20,20"]].concat();
    let two = text(&two);
    let output = chip(two, &out, &input);
    assert_says(&output, 64, &["is 2 sources", "two.json#S2A_1, ", "two.json#S2A_1@l2a"]);
    let mut chips = Vec::new();
    for item in ["S2A_1", "S2A_1@l2a"] {
        assert_exit(&chip(&format!("{two}#{item}"), &out, &input), 0);
        chips.push(fs::read(&out).unwrap());
    }
    assert_eq!(chips.len(), 2);
    let output = chip(&format!("{two}#S2A_2"), &out, &input);
    assert_says(&output, 64, &["no item S2A_2 in", "two.json#S2A_1"]);

    let red = data("faults/stac/red.tif").unwrap();
    let feature = |id: &str| {
        json!({"type": "Feature", "stac_version": "1.0.0", "id": id, "geometry": null, "links": [],
               "properties": {"datetime": "2024-06-01T10:00:00Z"},
               "assets": {"red": {"href": red, "eo:bands": [{"name": "red"}]}}})
    };
    let mut self_linked = feature("b");
    self_linked["links"] = json!([{"rel": "self", "href": "https://archive.example/b"}]);
    let document = folder.path().join("items.json");
    let items = json!({"type": "FeatureCollection", "features": [feature("a"), self_linked]});
    fs::write(&document, items.to_string()).unwrap();
    let bands = [&WINDOWS[..], &["--json"]].concat();
    for (id, source) in
        [("a", format!("file://{}#a", document.display())), ("b", "https://archive.example/b".to_owned())]
    {
        let output = inspect(&[&[format!("{}#{id}", document.display()).as_str()], &bands[..]].concat());
        assert_exit(&output, 0);
        assert_eq!(said(&output)[0]["source"], source);
    }
}

/// Samples as stored are those of one file.
#[test]
fn the_stored_samples_of_an_item_are_those_of_its_file() {
    let (Some(two), Some(base)) = (data("faults/stac/two.json"), data("faults/stac/mix2/base.json")) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let (out, expected) = (folder.path().join("a.npy"), folder.path().join("b.npy"));
    let window = ["--set", "tiles.grid=regular", "--window", "3,5,70,60"];
    let bands = [&window[..], &["--set", "tiles.bands=red,green,blue"]].concat();
    let first = format!("{}#S2A_1@l2a", two.display());
    assert_exit(&chip(&first, &out, &bands), 0);
    let file = data("satellite/geotiff/rasterio/RGB.byte.tif").unwrap();
    assert_exit(&chip(text(&file), &expected, &window), 0);
    assert_eq!(fs::read(&out).unwrap(), fs::read(&expected).unwrap());
    let output = chip(&first, &out, &window);
    assert_says(&output, 64, &["choose one of its files", "tiles.bands="]);
    let bands = [&window[..], &["--set", "tiles.bands=red,nir"]].concat();
    let output = chip(text(&base), &out, &bands);
    assert_says(&output, 64, &["are in 2 files", "mix2/red.tif", "mix2/nir.tif", "--stage input"]);
}

/// Dates, clouds and the area leave items out as in a run, which has no row for them then.
#[test]
fn items_that_a_run_leaves_out_are_not_shown() {
    let Some(item) = data("faults/stac/mix2/base.json") else { return };
    let folder = tempfile::tempdir().unwrap();
    let cases = [
        ("input.stac.dates=2025-01-01/..", "1 outside of the dates"),
        ("input.stac.max_cloud_cover=4", "1 with more clouds"),
        ("tiles.aoi=100,10,101,11", "1 outside of the area"),
    ];
    for (setting, words) in cases {
        let more = ["--set", "tiles.grid=regular", "--set", "tiles.bands=red", "--set", setting];
        let output = inspect(&[&[text(&item), "--json"], &more[..]].concat());
        assert_says(&output, 0, &[words]);
        assert_eq!(said(&output), Vec::<Value>::new());
        let output = chip(text(&item), &folder.path().join("a.npy"), &more);
        assert_says(&output, 64, &["a run finds no sources in", words]);
    }
    let taken = [
        "--set",
        "input.stac.dates=2024-06-01/2024-06-02",
        "--set",
        "input.stac.max_cloud_cover=5",
        "--json",
    ];
    let output = inspect(&[&[text(&item)], &WINDOWS[..], &taken[..]].concat());
    assert_eq!(said(&output).len(), 1);
    let output = inspect(&[text(&item), "--set", "input.uris=[\"a\"]"]);
    assert_says(&output, 78, &["`input.uris` has no effect here"]);
}

/// A folder and a pattern are the sources that a run makes of them.
#[test]
fn folders_and_patterns_are_the_sources_of_a_run() {
    let folder = tempfile::tempdir().unwrap();
    for (number, name) in ["a.png", "sub/b.png", "notes.txt", "c.jpg"].iter().enumerate() {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, png(number, false)).unwrap();
    }
    let names = |argument: &str| {
        let output = inspect(&["--json", argument]);
        assert_exit(&output, 0);
        let name = |said: &Value| said["source"].as_str().unwrap().rsplit('/').next().unwrap().to_owned();
        said(&output).iter().map(name).collect::<Vec<_>>()
    };
    assert_eq!(names(text(folder.path())), ["a.png", "c.jpg", "b.png"]);
    assert_eq!(names(&format!("{}/*.png", folder.path().display())), ["a.png"]);
    let out = folder.path().join("out.npy");
    assert_says(&chip(text(folder.path()), &out, &[]), 64, &["is 3 sources", "/sub/b.png"]);
    assert_exit(&chip(&format!("{}/sub", folder.path().display()), &out, &[]), 0);
    let nothing = format!("{}/*.webp", folder.path().display());
    assert_says(&inspect(&[&nothing]), 78, &["no sources were found"]);
    let missing = format!("{}/no.json", folder.path().display());
    assert_says(&inspect(&[&[missing.as_str()], &WINDOWS[..]].concat()), 78, &["no.json does not exist"]);
}

/// What a model gets is a tile of a run, or it is refused: every window of a row is taken, its neighbours are not.
#[test]
fn the_input_stage_has_no_window_that_a_run_has_not() {
    let Some(scene) = data("satellite/geotiff/rasterio/RGB.byte.tif") else { return };
    let folder = tempfile::tempdir().unwrap();
    let (model, out) = (picture_model(folder.path()), folder.path().join("a.npy"));
    let input = |window: &str, more: &[&str]| {
        let fixed = ["--stage", "input", "--model", &model, "--window", window];
        chip(text(&scene), &out, &[&fixed[..], more].concat())
    };
    // 791 × 718 pixels, windows of 20: the last ones are shifted inward.
    for window in ["0,0,20,20", "20,40,20,20", "771,698,20,20"] {
        assert_exit(&input(window, &WINDOWS), 0);
    }
    let refused = [
        ("3,0,20,20", "--window 0,0,20,20 is the nearest"),
        ("11,40,20,20", "--window 20,40,20,20 is the nearest"),
        ("770,698,20,20", "--window 771,698,20,20 is the nearest"),
        ("0,0,40,40", "40 × 36 windows of 20×20"),
        ("0,0,21,20", "--window 0,0,20,20 is the nearest"),
    ];
    for (window, words) in refused {
        assert_says(&input(window, &WINDOWS), 64, &["is not a tile of a run", words]);
    }
    let overlapping = [&WINDOWS[..], &["--set", "tiles.stride=10"]].concat();
    assert_exit(&input("10,40,20,20", &overlapping), 0);
    let elsewhere = [&WINDOWS[..], &["--set", "tiles.aoi=-78,24,-77.9,24.1"]].concat();
    assert_says(&input("0,0,20,20", &elsewhere), 64, &["not a tile of a run with this `tiles.aoi`"]);

    let output = input("0,0,20,20", &[]);
    assert_says(
        &output,
        64,
        &["is not a tile of a run", "`tiles.grid` is \"whole\"", "--set tiles.grid=regular"],
    );
    assert_exit(&input("0,0,791,718", &[]), 0);
    assert_exit(&chip(text(&scene), &out, &["--window", "3,0,20,21"]), 0);
}

/// With the default grid an item is no picture, and both the row and `inspect` name the setting that takes it.
#[test]
fn an_item_under_the_default_grid_names_the_other() {
    let Some(item) = data("faults/stac/mix2/base.json") else { return };
    let folder = tempfile::tempdir().unwrap();
    let words = "not_an_image: its content is not JPEG, PNG, WebP or TIFF; STAC items are read with \
         tiles.grid = \"regular\"";
    assert_says(&inspect(&[text(&item)]), 65, &["a run would reject file:///", words]);
    assert_says(&chip(text(&item), &folder.path().join("a.npy"), &[]), 65, &[words]);
    let grids = &said(&inspect(&["--json", text(&item)]))[0]["grids"];
    assert_eq!((&grids["whole"]["status"], &grids["regular"]["status"]), (&json!("rejected"), &json!("ok")));
    Echo::picture(folder.path());
    let (model, table) = (folder.path().join("picture.onnx"), folder.path().join("table"));
    let mut run = support::tilefleet();
    run.args(["run", "--input", text(&item), "--model", text(&model), "--output", text(&table)]);
    assert_says(&run.output().unwrap(), 65, &[]);
    let rejects = support::tilefleet().arg("rejects").arg(&table).arg("--json").output().unwrap();
    let shown = String::from_utf8(rejects.stdout).unwrap();
    assert!(shown.contains("STAC items are read with tiles.grid = \\\"regular\\\""), "{shown}");
}

/// What is said of the other grid counts for the model, too.
#[test]
fn both_grids_are_judged_for_the_model() {
    let (Some(deep), Some(float)) = (
        data("satellite/geotiff/derived/landsat8_u16x3_lzw_pred2_strip_bigendian.tif"),
        data("satellite/geotiff/rasterio/float_nan.tif"),
    ) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let model = picture_model(folder.path());
    let bands = ["--set", "tiles.bands=[1,2,3]"];
    for (file, grid) in [(&deep, &[][..]), (&deep, &WINDOWS[..]), (&float, &[]), (&float, &WINDOWS)] {
        let file = text(file);
        let with_bands = if grid.is_empty() { &[][..] } else { &bands[..] };
        let with_model = inspect(&[&["--json", "--model", &model, file], grid, with_bands].concat());
        assert_exit(&with_model, 65);
        let grids = &said(&with_model)[0]["grids"];
        for name in ["whole", "regular"] {
            assert_eq!(grids[name]["status"], "rejected", "{file} {name}: {grids}");
        }
        let without = said(&inspect(&[&["--json", file], grid].concat()));
        let grids = &without[0]["grids"];
        assert_eq!(
            (&grids["whole"]["status"], &grids["regular"]["status"]),
            (&json!("ok"), &json!("ok")),
            "{file}"
        );
    }
    let scene = data("satellite/geotiff/rasterio/RGB.byte.tif").unwrap();
    let grids = said(&inspect(&["--json", "--model", &model, text(&scene)]))[0]["grids"].clone();
    assert_eq!((&grids["whole"]["status"], &grids["regular"]["status"]), (&json!("ok"), &json!("ok")));
    let output = inspect(&["--model", &model, text(&deep)]);
    let shown = String::from_utf8(output.stdout).unwrap();
    assert!(shown.contains("as windows  rejected, b"), "{shown}");
}

/// What is readable is not said to be undecodable, and neither is what is not there.
#[test]
fn what_is_wrong_is_said_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let model = picture_model(folder.path());
    let (deep, good) = (folder.path().join("deep.png"), folder.path().join("good.png"));
    fs::write(&deep, png(0, true)).unwrap();
    fs::write(&good, png(1, false)).unwrap();
    let (deep, good) = (text(&deep), text(&good));
    let for_model = ["--model", &model];
    let cases: [(&[&str], i32, &[&str]); 5] = [
        (&[deep], 65, &["error: a run would reject file:///", "deep.png\n  because: bit_depth_mismatch: "]),
        (&["/nowhere/a.png"], 78, &["error: file:///nowhere/a.png does not exist"]),
        (&[good, "/nowhere/a.png"], 78, &["error: 1 of 2 sources cannot be read", "does not exist"]),
        (&[good, deep], 65, &["error: a run would reject 1 of 2 sources"]),
        (&[deep, "/nowhere/a.png"], 78, &["of 2 sources a run would reject 1, and 1 cannot be read"]),
    ];
    for (sources, code, words) in cases {
        let output = inspect(&[sources, &for_model].concat());
        assert_says(&output, code, words);
        assert!(!stderr(&output).contains("decode"), "{}", stderr(&output));
    }
}

/// To be described and to be judged for a model, a scene's header is read once.
#[test]
fn a_header_is_read_once() {
    let Some(scenes) = data("satellite/geotiff/rasterio") else { return };
    let folder = tempfile::tempdir().unwrap();
    let model = picture_model(folder.path());
    let reads = |more: &[&str]| {
        let server = FaultProxy::before_folder(&scenes);
        let uri = format!("{}/RGB.byte.tif", server.endpoint());
        let output = inspect(&[&["--json", uri.as_str()], &WINDOWS[..], more].concat());
        assert_exit(&output, 0);
        server.requests().iter().filter(|request| request.starts_with("GET")).count()
    };
    let described = reads(&[]);
    assert!(described > 0);
    assert_eq!(reads(&["--model", &model]), described);
}
