//! Trained networks on labelled images give the counts that Python gives; real photos make a table.

use std::collections::HashSet;

use crate::fixture::{Job, Mednist, rows};
use crate::support;

/// Correct predictions of Python's ONNX Runtime with Pillow on the same 500 JPEGs; within 2 of these.
const REFERENCE: [(&str, usize); 2] = [("resnet20_cifar10.onnx", 400), ("resnet56_cifar10.onnx", 415)];

/// CIFAR-10's classes in order of class id: the folders' names.
const CLASSES: [&str; 10] =
    ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"];

/// Foreign networks without a contract get ImageNet's, said and recorded, and predict as in Python.
#[test]
fn trained_networks_predict_as_in_python() {
    let Some(data) = support::test_data() else { return };
    for (network, reference) in REFERENCE {
        let job = Job::new(0, "");
        let (photos, network) = (data.join("photos/cifar10"), data.join("models").join(network));
        let arguments = ["--input", photos.to_str().unwrap(), "--model", network.to_str().unwrap()];
        let output = job.run(&arguments);
        crate::fixture::assert_exit(&output, 0);
        assert!(crate::fixture::stderr(&output).contains("assumed"), "the assumption is said");
        job.verify_ok();
        let rows = rows(&job.table());
        assert_eq!(rows.len(), 500);
        let correct = rows.iter().filter(|row| {
            let folder = row.source.rsplit('/').nth(1).unwrap();
            row.class_id.map(|class| CLASSES[class as usize]) == Some(folder)
        });
        let correct = correct.count();
        println!("{}: {correct} correct, Python has {reference}", network.display());
        assert!(correct.abs_diff(reference) <= 2, "{correct} correct, Python has {reference}");
        assert!(rows.iter().all(|row| row.embedding.as_ref().is_some_and(|embedding| embedding.len() == 64)));
    }
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
