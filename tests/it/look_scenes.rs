//! `inspect` and `chip` of scenes: the samples and the description that GDAL gives, and only what is needed is read.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use serde_json::{Value, json};

use crate::fixture::{assert_exit, stderr};
use crate::scenes::{digest, golden_windows};
use crate::support;
use crate::support::s3_server::S3Server;

fn scenes() -> Option<PathBuf> {
    Some(support::test_data()?.join("satellite/geotiff"))
}

/// What these look at are windows.
const WINDOWS: [&str; 2] = ["--set", "tiles.grid=regular"];

fn run(arguments: &[&str]) -> Output {
    support::tilefleet().args(arguments).args(WINDOWS).output().unwrap()
}

fn described(source: &Path) -> Value {
    let output = run(&["inspect", "--json", source.to_str().unwrap()]);
    assert_exit(&output, 0);
    let described: Value = serde_json::from_slice(&output.stdout).unwrap();
    described[0].clone()
}

/// Returns the samples of a `.npy` file as bytes.
fn samples_of(npy: &Path) -> Vec<u8> {
    let bytes = fs::read(npy).unwrap();
    let header = usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    bytes[10 + header..].to_vec()
}

/// Windows of every level are those of GDAL.
#[test]
fn chips_of_scenes_are_the_arrays_of_gdal() {
    let Some(folder) = scenes() else { return };
    let out = tempfile::tempdir().unwrap();
    let out = out.path().join("chip.npy");
    let names = [
        "rasterio/cogeo.tif",
        "rio-tiler/cog_scale.tif",
        "derived/landsat8_u16x3_lzw_pred2_planarsep_tiled.tif",
        "derived/landsat8_u16x3_lzw_pred2_strip_bigendian.tif",
        "rasterio/float_nan.tif",
        "rio-tiler/cog_cmap.tif",
    ];
    let mut compared = 0;
    for name in names {
        let path = folder.join(name);
        for told in golden_windows(&format!("geotiff/{name}")).iter().step_by(5) {
            let [x, y, width, height] = told.window;
            let (window, level) = (format!("{x},{y},{width},{height}"), told.level.to_string());
            let arguments = ["chip", path.to_str().unwrap(), "--out", out.to_str().unwrap(), "--force"];
            let output = run(&[&arguments[..], &["--window", &window, "--level", &level]].concat());
            assert_exit(&output, 0);
            let found = digest(&samples_of(&out));
            assert!(told.digests.contains(&found), "{name}, {window} of level {level}");
            compared += 1;
        }
    }
    assert!(compared > 30, "{compared} windows");
}

/// Bands, levels, blocks and what else a header says.
#[test]
fn scenes_are_described() {
    let Some(folder) = scenes() else { return };
    let image = described(&folder.join("rio-tiler/cog_scale.tif"))["image"].clone();
    let scene = &image["scene"];
    assert_eq!(
        image["levels"],
        json!([{"width": 256, "height": 256}, {"width": 128, "height": 128}, {"width": 64, "height": 64}])
    );
    assert_eq!((&scene["valid_by"], &scene["nodata"]), (&json!("nodata"), &json!("0")));
    assert_eq!((&scene["bands"][0]["scale"], &scene["bands"][0]["offset"]), (&json!(0.0001), &json!(1000.0)));
    assert_eq!(scene["levels"][0]["block_width"], 64);
    let cogeo = described(&folder.join("rasterio/cogeo.tif"));
    assert_eq!(cogeo["image"]["photometric"], "rgb, stored as YCbCr");
    assert_eq!(cogeo["image"]["scene"]["valid_by"], "mask");
    assert!(cogeo["read_bytes"].as_u64() <= Some(65_536), "{cogeo}");
    let endian = described(&folder.join("derived/landsat8_u16x3_lzw_pred2_strip_bigendian.tif"));
    assert_eq!(endian["image"]["scene"]["big_endian"], true);
    assert_eq!(
        (&endian["image"]["scene"]["predictor"], &endian["image"]["scene"]["epsg"]),
        (&json!(2), &json!(32_618))
    );
    let plain = described(&folder.join("codecs/minisblack-1c-8b.tiff"));
    assert_eq!(plain["image"]["levels"].as_array().unwrap().len(), 1, "no place, and a scene all the same");

    let output = run(&["inspect", folder.join("rasterio/cogeo.tif").to_str().unwrap()]);
    let shown = String::from_utf8(output.stdout).unwrap();
    for words in ["7: 1024×1024, 512×512", "4 tiles of 512×512", "by mask", "EPSG:", "1, red"] {
        assert!(shown.contains(words), "no `{words}` in:\n{shown}");
    }
}

/// A damaged block costs the windows that need it; wrong questions are 64, and limits hold.
#[test]
fn what_is_wrong_with_a_window_is_said() {
    let Some(folder) = scenes() else { return };
    let out = tempfile::tempdir().unwrap();
    let out = out.path().join("chip.npy");
    let chip = |name: &str, arguments: &[&str]| {
        let path = folder.join(name);
        let fixed = ["chip", path.to_str().unwrap(), "--out", out.to_str().unwrap(), "--force"];
        run(&[&fixed[..], arguments].concat())
    };
    let cases: [(&str, &[&str], i32, &str); 6] = [
        ("rasterio/corrupt.tif", &["--window", "0,0,512,512"], 0, ""),
        (
            "rasterio/corrupt.tif",
            &["--window", "500,500,20,20"],
            65,
            "because: corrupt: a block or its tables are not JPEG",
        ),
        ("rasterio/cogeo.tif", &["--level", "7"], 64, "has no level 7, only levels 0 to 6"),
        ("rasterio/cogeo.tif", &["--level", "6", "--window", "0,0,17,1"], 64, "which is 16×16"),
        ("rasterio/cogeo.tif", &["--frame", "1"], 64, "only frame 0"),
        ("rasterio/cogeo.tif", &["--set", "limits.max_pixels=1000000"], 65, "because: too_large: "),
    ];
    for (name, arguments, code, words) in cases {
        let output = chip(name, arguments);
        assert_exit(&output, code);
        assert!(stderr(&output).contains(words), "no `{words}` in:\n{}", stderr(&output));
    }
    let png = out.with_extension("png");
    let path = folder.join("rasterio/cogeo.tif");
    assert_exit(&run(&["chip", path.to_str().unwrap(), "--level", "3", "--out", png.to_str().unwrap()]), 0);
    assert_eq!(&fs::read(&png).unwrap()[1..4], b"PNG");
}

/// From a bucket comes what comes from a folder, and of the file only blocks that the window needs.
#[test]
fn a_window_costs_its_blocks() {
    let Some(folder) = scenes() else { return };
    let Some(server) = support::seaweedfs() else { return };
    server.create_bucket("scenes");
    let path = folder.join("rio-tiler/cog_cmap.tif");
    let size = path.metadata().unwrap().len();
    server.put("scenes", "a.tif", fs::read(&path).unwrap());
    let out = tempfile::tempdir().unwrap();
    let out = out.path().join("chip.npy");
    let mut read = Vec::new();
    for source in [path.to_str().unwrap(), "s3://scenes/a.tif"] {
        let variables = S3Server::variables(&server.endpoint(), S3Server::OWNER);
        let arguments = ["chip", source, "--window", "3000,3000,300,300", "--json", "--force", "--out"];
        let output =
            support::tilefleet().args(arguments).arg(&out).args(WINDOWS).envs(variables).output().unwrap();
        assert_exit(&output, 0);
        let said: Value = serde_json::from_slice(&output.stdout).unwrap();
        read.push((said["read_bytes"].as_u64().unwrap(), digest(&samples_of(&out))));
    }
    assert_eq!(read[0], read[1]);
    assert!(read[0].0 < size / 5, "{} of {size} bytes", read[0].0);
}
