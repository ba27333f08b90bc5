//! Trained networks on labelled images give the counts that Python gives; real photos make a table.

use std::collections::HashSet;
use std::path::Path;

use crate::fixture::{Job, Mednist, Row, rows};
use crate::support;

/// Correct predictions of Python's ONNX Runtime with Pillow on the same 500 JPEGs; within 2 of these.
pub const REFERENCE: [(&str, usize); 2] = [("resnet20_cifar10.onnx", 400), ("resnet56_cifar10.onnx", 415)];

/// CIFAR-10's classes in order of class id: the folders' names.
pub const CLASSES: [&str; 10] =
    ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"];

/// Foreign networks without a contract get ImageNet's, said and recorded, and predict as in Python.
#[test]
fn trained_networks_predict_as_in_python() {
    let Some(data) = support::test_data() else { return };
    for (network, reference) in REFERENCE {
        let (photos, network) = (data.join("photos/cifar10"), data.join("models").join(network));
        let correct = num_correct(&photos, &network);
        println!("{}: {correct} correct, Python has {reference}", network.display());
        assert!(correct.abs_diff(reference) <= 2, "{correct} correct, Python has {reference}");
    }
}

/// Runs a network over the labelled photos and counts where it says the folder's name.
pub fn num_correct(photos: &Path, network: &Path) -> usize {
    let job = Job::new(0, "");
    let output = job.run(&["--input", photos.to_str().unwrap(), "--model", network.to_str().unwrap()]);
    crate::fixture::assert_exit(&output, 0);
    // A foreign network without a contract gets ImageNet's; one that we made has its own.
    let has_contract = network.with_extension("contract.toml").is_file();
    assert_eq!(crate::fixture::stderr(&output).contains("assumed"), !has_contract, "the assumption is said");
    job.verify_ok();
    let rows = rows(&job.table());
    assert_eq!(rows.len(), 500);
    assert!(rows.iter().all(|row| row.embedding.as_ref().is_some_and(|embedding| embedding.len() == 64)));
    rows.iter().filter(|row| is_right(row)).count()
}

/// Returns whether a row's class is the name of its photo's folder.
pub fn is_right(row: &Row) -> bool {
    let folder = row.source.rsplit('/').nth(1).unwrap();
    row.class_id.map(|class| CLASSES[class as usize]) == Some(folder)
}

/// 480 real medical JPEGs through a seeded ResNet-152: 480 rows, proven.
#[test]
fn mednist_through_resnet152_is_480_rows() {
    let Some(data) = support::test_data() else { return };
    let table = Mednist::of(&data).table();
    let verdict = support::tilefleet().arg("verify").arg(&table).output().unwrap();
    crate::fixture::assert_exit(&verdict, 0);
    let rows = rows(&table);
    assert_eq!(rows.len(), 480);
    assert!(rows.iter().all(|row| row.status == "ok"));
    assert!(rows.iter().all(|row| row.embedding.as_ref().is_some_and(|embedding| embedding.len() == 2048)));
    let distinct: HashSet<_> = rows.iter().map(|row| row.tile_id.as_str()).collect();
    assert_eq!(distinct.len(), 480);
}
