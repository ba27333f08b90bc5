//! `tilefleet demo`: what it makes, from photos to radiology, and what it says of it.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Output;

use crate::fixture::{assert_exit, rows, stderr};
use crate::{dicom, support};

/// What the demo has left in its folder, and what it has said.
struct Demo {
    folder: tempfile::TempDir,
    output: Output,
}

impl Demo {
    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join("tilefleet-demo").join(name)
    }

    fn said(&self) -> String {
        String::from_utf8_lossy(&self.output.stdout).into_owned()
    }

    fn verify(&self, table: &str) {
        let output = support::tilefleet().arg("verify").arg(self.path(table)).output().unwrap();
        assert_exit(&output, 0);
    }
}

/// One demo, since it takes a minute: it exits 0 though it holds rejects on purpose.
#[test]
fn the_demo_ends_in_verified_tables() {
    let folder = tempfile::tempdir().unwrap();
    let output = support::tilefleet().arg("demo").current_dir(folder.path()).output().unwrap();
    assert_exit(&output, 0);
    let demo = Demo { folder, output };
    photos_are_told_apart(&demo);
    the_scene_is_mapped(&demo);
    radiology_tells_no_name(&demo);
    radiology_is_run_again_by_hand(&demo);
    phantoms_are_what_pydicom_reads(&demo);
}

fn photos_are_told_apart(demo: &Demo) {
    let said = demo.said();
    for words in
        ["verified: 5 of 5 shards", "the weights are random", "class", "truncated-half.jpg", "too_large"]
    {
        assert!(said.to_lowercase().contains(words), "no `{words}` in:\n{said}");
    }
    let (_, share) = said.split_once("60 labelled images held out, the head gets ").unwrap();
    let share: u32 = share.split_once(" % right").unwrap().0.parse().unwrap();
    assert!(share >= 70, "the head gets {share} % right, one in five by chance");
    let new = rows(&demo.path("kinds-table"));
    let right = new.iter().filter(|row| row.label.as_deref() == row.source.rsplit('/').nth(1));
    assert!(new.len() == 20 && right.count() >= 12, "{new:?}");
    demo.verify("table");
}

fn the_scene_is_mapped(demo: &Demo) {
    demo.verify("scene-table");
    let Some(python) = support::python() else { return };
    let check = "import sys; from rio_cogeo import cog_validate; print([cog_validate(file, quiet=True) for file in sys.argv[1:]])";
    let files = ["scene/scene.tif", "maps/scene-class.tif", "maps/scene-score.tif"];
    let files = files.map(|file| demo.path(file).display().to_string());
    let said = support::run_python(&python, check, &files.each_ref().map(String::as_str));
    assert_eq!(said.trim(), "[(True, [], []), (True, [], []), (True, [], [])]");
}

/// Every patient of the demo is called so, and so is every folder.
const NAME: &str = "madeup";

fn radiology_tells_no_name(demo: &Demo) {
    let said = demo.said();
    let (_, said) = said.split_once("── radiology").unwrap();
    let (said, _) = said.split_once("\nThe table lies in").unwrap();
    for text in [said, &stderr(&demo.output)] {
        assert!(!text.to_lowercase().contains(NAME), "{text}");
    }
    let mut settings = insta::Settings::clone_current();
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!("demo_radiology", redacted(said)));
    let mode = fs::metadata(demo.path("radiology-key")).unwrap().permissions().mode();
    assert_eq!(mode & 0o077, 0, "others can read the key");
    demo.verify("radiology-table");
    let reasons: BTreeSet<String> =
        rows(&demo.path("radiology-table")).into_iter().filter_map(|row| row.reason).collect();
    assert_eq!(reasons, BTreeSet::from(["burned_in", "not_image", "truncated"].map(str::to_owned)));
}

/// Replaces keys, and leaves out embeddings, sizes and frames of tables, which differ from demo to demo.
fn redacted(said: &str) -> String {
    let word = |word: &str| {
        let is_key = word.len() == 8 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
        let is_run = word.starts_with("radiology-") && word.ends_with("-0001");
        if is_key || is_run { "KEY".to_owned() } else { word.to_owned() }
    };
    let line = |line: &str| {
        let line = line.rsplit_once('|').map_or(line, |(cells, _)| cells.rsplit_once('|').unwrap().0);
        let line = if line.starts_with("None of ") { line.split(": ").next().unwrap() } else { line };
        line.split(' ').map(word).collect::<Vec<_>>().join(" ").trim_end().to_owned()
    };
    let lines = said.lines().filter(|line| !line.starts_with('+')).map(line);
    lines.collect::<Vec<_>>().join("\n")
}

/// The file that the demo leaves is a pipeline; every object has its row.
fn radiology_is_run_again_by_hand(demo: &Demo) {
    let output = support::tilefleet().arg("run").arg(demo.path("radiology.toml")).output().unwrap();
    assert_exit(&output, 0);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains("nothing new: every source has its rows"), "{said}");
}

fn phantoms_are_what_pydicom_reads(demo: &Demo) {
    let num_frames = dicom::compare_with_pydicom(&demo.path("studies"), "chest-cut.dcm");
    assert!(num_frames.is_none_or(|num| num == 18), "{num_frames:?} frames");
}
