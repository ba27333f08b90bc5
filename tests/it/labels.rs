//! What models, labels and settings leave open is said: never a wrong score, a lost label or another table without
//! a word.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use serde_json::{Value, json};
use tilefleet::vocabulary::contract::Contract;

use crate::fixture::{Job, Row, assert_exit, model, rows, stderr};
use crate::support;

fn tilefleet(words: &[&str], file: &Path, more: &[&str]) -> Output {
    support::tilefleet().args(words).arg(file).args(more).output().unwrap()
}

fn inspect(model: &Path, more: &[&str]) -> Output {
    tilefleet(&["model", "inspect"], model, more)
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Copies a built network and takes its contract away, as somebody else's is.
fn foreign(folder: &Path, name: &str, arguments: &[&str]) -> PathBuf {
    let bytes = fs::read(model(name, arguments)).unwrap();
    let key = b"tilefleet.contract";
    let at = bytes.windows(key.len()).position(|piece| piece == key).unwrap();
    let mut without = bytes;
    without[at..at + key.len()].copy_from_slice(b"somebody.elses_key");
    let path = folder.join("net.onnx");
    fs::write(&path, without).unwrap();
    path
}

const RGB: [&str; 9] =
    ["--arch", "resnet18", "--classes", "2", "--size", "64", "--input-type", "float32", "--keep-exact"];
const NINE_BANDS: [&str; 8] = ["--arch", "resnet18", "--classes", "2", "--channels", "9", "--size", "64"];

/// One logit: softmax over it scored every tile 1.0.
#[test]
fn a_network_of_one_logit_scores_by_sigmoid() {
    let Some(data) = support::test_data() else { return };
    let job = Job::new(6, "");
    let network = job.path("binary.onnx");
    fs::copy(data.join("faults/onnx/binary.onnx"), &network).unwrap();
    let output = job.run(&["--model", network.to_str().unwrap()]);
    assert_exit(&output, 0);
    let said = stderr(&output);
    assert!(
        said.contains("binary has no contract; assumed: red, green, blue")
            && said.contains("sigmoid of the one logit"),
        "{said}"
    );
    assert!(!said.contains("softmax"), "{said}");
    let scores: Vec<f32> = rows(&job.table()).iter().map(|row| row.score.unwrap()).collect();
    assert!(scores.iter().all(|score| (0.0..1.0).contains(score)), "{scores:?}");
    assert!(scores.iter().any(|score| score.to_bits() != scores[0].to_bits()), "all alike: {scores:?}");

    // Written down it is refused: nobody can have meant it.
    let skeleton = inspect(&network, &["--skeleton"]);
    assert_exit(&skeleton, 0);
    let contract = text(&skeleton).replace("activation = \"sigmoid\"", "activation = \"softmax\"");
    fs::write(Contract::path_for(&network), contract).unwrap();
    let output =
        job.run(&["--model", network.to_str().unwrap(), "--output", job.path("other").to_str().unwrap()]);
    assert_exit(&output, 78);
    assert!(
        stderr(&output).contains("softmax over one class") && stderr(&output).contains("hint: one logit"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn inspect_says_whether_a_run_could_use_a_model() {
    let job = Job::new(1, "");
    let network = foreign(job.folder.path(), "nine-bands", &NINE_BANDS);
    let path = network.to_str().unwrap();
    let run = job.run(&["--model", path]);
    let looked = inspect(&network, &[]);
    assert_exit(&looked, 78);
    assert_eq!(stderr(&looked), stderr(&run), "inspect says what a run says");
    let said = text(&looked);
    assert!(said.contains("usable      no: there is no contract") && !said.contains("error"), "{said}");
    assert!(stderr(&looked).contains("--skeleton"), "{}", stderr(&looked));
    let looked = inspect(&network, &["--json"]);
    assert_exit(&looked, 78);
    let report: Value = serde_json::from_slice(&looked.stdout).unwrap();
    assert_eq!((&report["usable"], &report["contract"]), (&false.into(), &Value::Null));
    assert!(report["unusable"]["because"][0].as_str().unwrap().contains("there is no contract"), "{report}");
    assert!(!report["unusable"]["hints"].as_array().unwrap().is_empty(), "{report}");

    // A network without a classifier is used if its features are named, by a run and here.
    let rgb = [&RGB[..2], &RGB[4..], &["--headless"]].concat();
    let network = foreign(job.folder.path(), "headless-rgb", &rgb);
    let path = network.to_str().unwrap();
    let unnamed = inspect(&network, &[]);
    assert_exit(&unnamed, 78);
    assert!(stderr(&unnamed).contains("`--embedding` of `model inspect`"), "{}", stderr(&unnamed));
    let named = inspect(&network, &["--embedding", "embedding", "--json"]);
    // The length of the features stands in the graph's output.
    assert_exit(&named, 0);
    let report: Value = serde_json::from_slice(&named.stdout).unwrap();
    assert_eq!(
        (&report["usable"], &report["contract"]["output"]["embedding"]),
        (&true.into(), &json!("embedding"))
    );
    assert_exit(&job.run(&["--model", path, "--set", "model.embedding=embedding"]), 0);
    let wrong = inspect(&network, &["--embedding", "nowhere"]);
    assert_exit(&wrong, 78);
}

/// What is known loads as it is; what is not is refused until somebody fills it in.
#[test]
fn a_skeleton_is_a_contract_to_begin_with() {
    let job = Job::new(2, "");
    let network = foreign(job.folder.path(), "rgb-of-somebody", &RGB);
    let contract = Contract::path_for(&network);
    // As a shell does before it starts what answers into the file.
    fs::write(&contract, "").unwrap();
    let skeleton = inspect(&network, &["--skeleton"]);
    assert_exit(&skeleton, 0);
    assert_eq!(stderr(&skeleton), "");
    fs::remove_file(&contract).unwrap();
    let assumed: Value = serde_json::from_slice(&inspect(&network, &["--json"]).stdout).unwrap();
    fs::write(&contract, &skeleton.stdout).unwrap();
    assert!(text(&skeleton).contains("activation = \"softmax\"  # assumed"), "{}", text(&skeleton));
    let written: Value = serde_json::from_slice(&inspect(&network, &["--json"]).stdout).unwrap();
    assert_eq!(
        (&assumed["contract"]["origin"], &written["contract"]["origin"]),
        (&json!("assumed"), &json!("file"))
    );
    assert_eq!(assumed["contract"]["digest"], written["contract"]["digest"], "{}", text(&skeleton));
    assert_eq!(
        text(&inspect(&network, &["--skeleton"])),
        Contract::load(&contract).unwrap().to_toml().unwrap()
    );
    let output = job.run(&["--model", network.to_str().unwrap()]);
    assert_exit(&output, 0);
    assert!(!stderr(&output).contains("assumed"), "{}", stderr(&output));

    fs::remove_file(&contract).unwrap();
    let network = foreign(job.folder.path(), "nine-bands", &NINE_BANDS);
    let skeleton = inspect(&network, &["--skeleton"]);
    assert_exit(&skeleton, 0);
    assert!(
        stderr(&skeleton)
            .contains("fill in before the model can be used: input.bands, input.unit, input.normalise"),
        "{}",
        stderr(&skeleton)
    );
    let text = text(&skeleton);
    for known in [
        "layout = \"nchw\"",
        "width = 64",
        "embedding = \"embedding\"",
        "embedding_length = 512",
        "num_classes = 2",
    ] {
        assert!(text.lines().any(|line| line.starts_with(known)), "{known}\n{text}");
    }
    assert!(
        stderr(&skeleton).contains("based on the graph alone: there is no contract"),
        "{}",
        stderr(&skeleton)
    );
    fs::write(&contract, &text).unwrap();
    let refused = inspect(&network, &[]);
    assert_exit(&refused, 78);
    assert!(stderr(&refused).contains("missing field `bands`"), "{}", stderr(&refused));
    let names: Vec<String> = (1..=9).map(|band| format!("\"b{band}\"")).collect();
    let filled = text
        .replace(
            "# bands = [\"\", \"\", \"\", \"\", \"\", \"\", \"\", \"\", \"\"]",
            &format!("bands = [{}]", names.join(", ")),
        )
        .replace("# unit = ", "unit = ");
    fs::write(&contract, &filled).unwrap();
    assert_exit(&inspect(&network, &[]), 0);
    let all = filled.replace("# [input.normalise]", "[input.normalise]").replace("# scale", "scale");
    let all = all.replace("# mean = [0.0", "mean = [1.0").replace("# std", "std");
    fs::write(&contract, &all).unwrap();
    assert_exit(&inspect(&network, &[]), 0);
    assert_eq!(
        Contract::load(&contract).unwrap().input.normalise.unwrap().mean[0].to_bits(),
        1.0_f64.to_bits()
    );
}

/// Weights trained with another resize lose accuracy without an error: whoever builds is told.
#[test]
fn build_says_what_it_assumes_and_the_flag_for_the_other() {
    let folder = tempfile::tempdir().unwrap();
    let build = |more: &[&str]| {
        let words =
            ["model", "build", "--arch", "resnet18", "--seed", "1", "--classes", "2", "--force", "--out"];
        let output = tilefleet(&words, &folder.path().join("m.onnx"), more);
        assert_exit(&output, 0);
        text(&output)
    };
    let said = build(&[]);
    for part in
        ["short side to 232, then the centre 224×224", "--resize 256", "bilinear", "0.485, 0.456, 0.406 "]
    {
        assert!(said.contains(part), "{part}\n{said}");
    }
    assert!(!build(&["--resize", "256"]).contains("short side"), "it was said");
    let answer =
        |more: &[&str]| -> Value { serde_json::from_str(&build(&[more, &["--json"]].concat())).unwrap() };
    let assumed = answer(&["--resize", "256", "--bands", "red,green,blue"])["preprocessing"].take();
    assert_eq!(assumed["resize"]["short_side"], 256);
    assert_eq!(
        assumed["assumed"],
        json!(["size", "interpolation", "unit", "scale", "mean", "std", "activation"])
    );
    let contract = folder.path().join("c.contract.toml");
    build(&["--input-type", "float32"]);
    fs::rename(folder.path().join("m.contract.toml"), &contract).unwrap();
    let words = ["model", "build", "--arch", "resnet18", "--seed", "1", "--force", "--out"];
    let output =
        tilefleet(&words, &folder.path().join("m.onnx"), &["--contract", contract.to_str().unwrap()]);
    assert_exit(&output, 0);
    assert!(!text(&output).contains("assumed"), "a contract says all: {}", text(&output));
}

/// `label,patient,split` of each image; a patient has four, of one class each.
fn patients(job: &Job, split: impl Fn(usize) -> &'static str) -> PathBuf {
    let folder = fs::canonicalize(job.folder.path()).unwrap();
    let mut text = "source,label,patient,split,value\n".to_owned();
    for index in 0..40 {
        let (patient, image) = (index / 4, folder.join(format!("images/{index:05}.jpg")));
        let (kind, split) = (patient % 2, split(index));
        writeln!(text, "{},kind {kind},p{patient},{split},{}", image.display(), index as f64 / 2.0).unwrap();
    }
    let path = folder.join("labels.csv");
    fs::write(&path, text).unwrap();
    path
}

fn head(job: &Job, table: &Path, more: &[&str]) -> Output {
    let mut command = support::tilefleet();
    command.args(["model", "head"]).arg(table).arg("--out").arg(job.path("head.onnx"));
    command.args(["--force"]).args(more).output().unwrap()
}

fn without_split(labels: &Path) -> PathBuf {
    let text = fs::read_to_string(labels).unwrap();
    let path = labels.with_file_name("unsplit.csv");
    fs::write(&path, text.replacen(",split,", ",halves,", 1)).unwrap();
    path
}

#[test]
fn a_group_is_on_one_side() {
    let job = Job::new(40, "");
    job.run_ok(&[]);
    let labels = patients(&job, |index| ["train", "test"][index % 2]);
    let unsplit = without_split(&labels);
    let unsplit = unsplit.to_str().unwrap();
    let answer = |more: &[&str]| -> Value {
        let output = head(&job, &job.table(), &[&["--labels", unsplit, "--json"], more].concat());
        assert_exit(&output, 0);
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let plain = answer(&[]);
    assert_eq!((&plain["grouped_by"], &plain["num_held_out"]), (&json!("source"), &json!(8)));
    assert_eq!(plain["groups"], json!({"fitted": 32, "held_out": 8, "on_both_sides": 0}));
    assert_eq!(
        answer(&["--group", "tile_id"])["confusion"],
        plain["confusion"],
        "of images that are a tile each"
    );
    let grouped = answer(&["--group", "patient"]);
    assert_eq!((&grouped["grouped_by"], &grouped["num_held_out"]), (&json!("patient"), &json!(8)));
    assert_eq!(grouped["groups"], json!({"fitted": 8, "held_out": 2, "on_both_sides": 0}));
    assert_eq!(answer(&["--group", "patient"]), grouped, "the same again");
    let said = text(&head(&job, &job.table(), &["--labels", unsplit, "--group", "patient"]));
    assert!(
        said.contains("8 held out, chosen by patient\ngroups     by patient: 8 to fit on, 2 held out\n"),
        "{said}"
    );

    // The labels' own split divides patients: nobody may ask for both.
    let split = head(&job, &job.table(), &["--labels", labels.to_str().unwrap(), "--group", "patient"]);
    assert_exit(&split, 78);
    assert!(
        stderr(&split).contains(
            "puts 10 of the groups by `patient` into both `train` and `test`: p0, p1, p2, …\n  hint: "
        ),
        "{}",
        stderr(&split)
    );
    assert_exit(&head(&job, &job.table(), &["--labels", labels.to_str().unwrap()]), 0);
    let wrong = head(&job, &job.table(), &["--labels", unsplit, "--group", "hospital"]);
    assert_exit(&wrong, 78);
    assert!(
        stderr(&wrong).contains("no column `hospital`") && stderr(&wrong).contains("`extra.COLUMN`"),
        "{}",
        stderr(&wrong)
    );
}

#[test]
fn a_manifests_column_groups_as_well() {
    let job = Job::new(40, "");
    let labels = patients(&job, |_| "");
    let manifest =
        fs::read_to_string(without_split(&labels)).unwrap().replacen("source,label", "uri,kind", 1);
    fs::write(job.path("list.csv"), manifest).unwrap();
    let manifest = format!("input.manifest={}", job.path("list.csv").display());
    job.run_ok(&["--set", "input.uris=[]", "--set", &manifest]);
    for more in [
        &["--label-column", "kind", "--group", "patient"][..],
        &["--label-column", "kind", "--group", "extra.patient"],
        &["--labels", without_split(&labels).to_str().unwrap(), "--group", "extra.patient"],
    ] {
        let output = head(&job, &job.table(), &[more, &["--json"]].concat());
        assert_exit(&output, 0);
        let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(answer["grouped_by"], "extra.patient");
        assert_eq!(answer["groups"], json!({"fitted": 8, "held_out": 2, "on_both_sides": 0}), "{more:?}");
    }
}

/// Windows of one scene are alike: they stay together unless somebody wants otherwise.
#[test]
fn windows_of_one_scene_are_on_one_side() {
    let Some(data) = support::test_data() else { return };
    let job = Job::new(0, "[tiles]\ngrid = \"regular\"\nsize = 160");
    fs::create_dir(job.path("scenes")).unwrap();
    for copy in 0..4 {
        let scene = data.join("satellite/geotiff/rasterio/RGB.byte.tif");
        fs::copy(scene, job.path(&format!("scenes/{copy}.tif"))).unwrap();
    }
    job.run_ok(&["--input", job.path("scenes").to_str().unwrap()]);
    let mut text = "tile_id,label,split\n".to_owned();
    let tiles: Vec<Row> = rows(&job.table()).into_iter().filter(|row| row.status == "ok").collect();
    for (at, row) in tiles.iter().enumerate() {
        writeln!(text, "{},{},{}", row.tile_id, ["sea", "land"][at % 2], ["train", "train", "test"][at % 3])
            .unwrap();
    }
    let labels = job.path("labels.csv");
    fs::write(&labels, &text).unwrap();
    let divided = head(&job, &job.table(), &["--labels", labels.to_str().unwrap()]);
    assert_exit(&divided, 0);
    assert!(
        self::text(&divided).contains("4 on both sides, as the column `split` says"),
        "{}",
        self::text(&divided)
    );
    fs::write(&labels, text.replacen(",split", ",halves", 1)).unwrap();
    let answer = |more: &[&str]| -> Value {
        let output =
            head(&job, &job.table(), &[&["--labels", labels.to_str().unwrap(), "--json"], more].concat());
        assert_exit(&output, 0);
        serde_json::from_slice(&output.stdout).unwrap()
    };
    assert_eq!(answer(&[])["groups"], json!({"fitted": 3, "held_out": 1, "on_both_sides": 0}));
    let each = answer(&["--group", "tile_id"]);
    assert_eq!(
        each["groups"]["fitted"].as_u64().unwrap() + each["groups"]["held_out"].as_u64().unwrap(),
        tiles.len() as u64
    );
    // Of one scene nothing can be held out as a whole, and the report says so.
    let one: String = text
        .split_inclusive('\n')
        .filter(|line| {
            line.starts_with("tile_id")
                || tiles.iter().any(|row| row.source.ends_with("/0.tif") && line.starts_with(&row.tile_id))
        })
        .collect();
    fs::write(&labels, one.replacen(",split", ",halves", 1)).unwrap();
    let said = self::text(&head(&job, &job.table(), &["--labels", labels.to_str().unwrap()]));
    assert!(
        said.contains("accuracy   unknown, since no tile was held out: no source can be spared")
            && said.contains("--group tile_id"),
        "{said}"
    );
}

#[test]
fn measurements_are_no_classes() {
    let job = Job::new(40, "");
    job.run_ok(&[]);
    let labels = without_split(&patients(&job, |_| "train"));
    let output = head(&job, &job.table(), &["--labels", labels.to_str().unwrap(), "--label-column", "value"]);
    assert_exit(&output, 78);
    assert!(
        stderr(&output).contains("measurements, such as 0.5") && stderr(&output).contains("hint: "),
        "{}",
        stderr(&output)
    );
    let output = head(
        &job,
        &job.table(),
        &["--labels", labels.to_str().unwrap(), "--label-column", "source", "--key", "source"],
    );
    assert_exit(&output, 78);
    assert!(stderr(&output).contains("40 of 40 classes have a single labelled tile"), "{}", stderr(&output));
}

/// Images that were listed have no columns: labels of them stand in a file, or the images in a manifest.
#[test]
fn labels_in_a_column_need_a_manifest() {
    let job = Job::new(2, "");
    job.run_ok(&[]);
    let labels = job.path("labels.csv");
    fs::write(&labels, "source,label\nimages/00000.jpg,sea\nimages/00001.jpg,land\n").unwrap();
    let labels = ["--labels", labels.to_str().unwrap(), "--group", "extra.patient"];
    for (flags, what, way) in [
        (&["--label-column", "kind"][..], "no labels in the column `kind`", "--labels FILE"),
        (&labels[..], "no groups in the column `patient`", "group by `source` or `tile_id`"),
    ] {
        let output = head(&job, &job.table(), flags);
        assert_exit(&output, 78);
        let said = stderr(&output);
        assert!(said.contains(what) && said.contains("CSV or Parquet manifest (`input.manifest`)"), "{said}");
        let hint = said.lines().find(|line| line.starts_with("  hint: ")).unwrap();
        assert!(hint.contains(way) && !said.contains("extra"), "{said}");
    }

    let job = Job::new(2, "");
    fs::write(job.path("list.csv"), "uri,site,kind\nimages/00000.jpg,a,x\nimages/00001.jpg,b,y\n").unwrap();
    let manifest = format!("input.manifest={}", job.path("list.csv").display());
    job.run_ok(&["--set", "input.uris=[]", "--set", &manifest]);
    let said = stderr(&head(&job, &job.table(), &["--label-column", "class"]));
    assert!(said.contains("no column `class`") && said.contains("its columns are: site, kind"), "{said}");
}

/// A pipeline whose rows do not fit says in what it differs, and so does one that begins anew beside others.
#[test]
fn another_lineage_names_the_settings_that_differ() {
    let job = Job::new(2, "");
    let first = job.run(&[]);
    assert_exit(&first, 0);
    assert!(!stderr(&first).contains("other work"), "{}", stderr(&first));
    let refused = job.run(&["--set", "output.embedding=float16"]);
    assert_exit(&refused, 78);
    let said = stderr(&refused);
    assert!(said.contains("because: output.embedding is `float32` there and `float16` here\n"), "{said}");
    let wider = model("wider", &["--arch", "resnet50", "--classes", "10", "--size", "64", "--resize", "72"]);
    let said = stderr(&job.run(&["--model", wider.to_str().unwrap()]));
    assert!(said.contains("embedding_length of the contract is 512 there and 2048 here"), "{said}");
    let again = job.run(&["--set", "output.top_k=3"]);
    assert_exit(&again, 0);
    let said = stderr(&again);
    assert!(
        said.contains("covers all sources, since its settings differ from those of photos-")
            && said.contains("output.top_k is 5 there and 3 here"),
        "{said}"
    );
    assert!(!stderr(&job.run(&["--set", "output.top_k=3"])).contains("other work"), "said once");
}
