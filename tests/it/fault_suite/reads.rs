//! Answers that break off, stall, never come, or are those of another object.

use std::time::Duration;

use super::{Bench, Fault, Rule, at_image};
use crate::fixture::{assert_exit, jpeg, stderr, wait_until};
use crate::support;

/// For answers that stop: in each case several in a row are waited for.
const VERY_SHORT_WAIT: [&str; 2] = ["--set", "storage.request_timeout=1s"];

/// Whatever fails once is read again, images and the records of the run alike; nobody has to be told.
#[test]
fn an_answer_that_fails_once_is_asked_for_again() {
    let Some(bench) = Bench::new(12, "[plan]\nshard_tiles = 3") else { return };
    let faults = [Fault::BreakOff, Fault::Stall, Fault::Silence, Fault::Status(500)];
    for (index, fault) in faults.iter().enumerate() {
        bench.proxy.add(at_image(fault.clone(), index).times(1));
    }
    let read = |fault: &Fault, key: &str| Rule::new(fault.clone()).on_method("GET").on_key(key).times(1);
    let records = ["/sources.parquet", "/plan/", "/run.json"];
    for (key, fault) in records.into_iter().flat_map(|key| faults.iter().map(move |fault| (key, fault))) {
        bench.proxy.add(read(fault, key));
    }
    // A listing that ends early must not pass for the whole.
    for fault in &faults {
        bench.proxy.add(read(fault, "list-type"));
    }
    let patient = ["--set", "storage.max_retries=8", "--set", "storage.retry_timeout=30s"];
    assert_exit(&bench.run(&[&VERY_SHORT_WAIT[..], &patient].concat()), 0);
    assert_eq!(bench.proxy.befallen().len(), faults.len() * (2 + records.len()));
    bench.assert_sound(12);
}

/// An object whose answer stops in the middle each time: 75, and all others are done. Once it is whole, so is the run.
#[test]
fn an_object_that_stalls_keeps_its_shard_open_and_no_other() {
    let Some(bench) = Bench::new(24, "[plan]\nshard_tiles = 3") else { return };
    bench.proxy.add(at_image(Fault::Stall, 4));
    let output = bench.run(&VERY_SHORT_WAIT);
    assert_exit(&output, 75);
    let said = stderr(&output);
    assert!(said.contains("1 object cannot be read for now, so 1 shard stays open"), "{said}");
    assert_eq!(bench.rows().len(), 21);
    bench.assert_verdict(75);
    bench.proxy.clear();
    assert_exit(&bench.run(&[]), 0);
    bench.assert_sound(24);
}

/// An image is replaced while its answer is on the way: it is a reject that says so, and a retry reads the new one.
#[test]
fn an_image_that_changes_while_it_is_read_is_rejected_and_read_by_a_retry() {
    let Some(bench) = Bench::new(12, "[plan]\nshard_tiles = 3\n[limits]\nmax_reject_ratio = 0.5") else {
        return;
    };
    let worker = bench.worker_that_meets(at_image(Fault::Held, 7));
    bench.remote.server.put("scenes", "images/00007.jpg", jpeg(70));
    bench.proxy.clear();
    worker.ended_with(0);
    let rows = bench.assert_whole(12);
    let rejected: Vec<_> = rows.iter().filter(|row| row.status != "ok").collect();
    assert_eq!(rejected.len(), 1);
    assert_eq!((rejected[0].file(), rejected[0].reason.as_deref()), ("00007.jpg", Some("changed")));
    assert_exit(&bench.ask(&["rejects", "--retry"]), 0);
    bench.assert_verdict(0);
    assert_eq!(bench.rows().iter().filter(|row| row.status == "ok").count(), 12);
}

/// A scene is replaced between its header and its blocks: no window is made of both.
#[test]
fn a_scene_that_changes_while_it_is_read_mixes_nothing() {
    let Some(data) = support::test_data() else { return };
    let settings = "[tiles]\ngrid = \"regular\"\nsize = 400\n[limits]\nmax_reject_ratio = 1.0";
    let Some(bench) = Bench::new(0, settings) else { return };
    let scene = |name: &str| std::fs::read(data.join("satellite/geotiff/rasterio").join(name)).unwrap();
    let put = |content: Vec<u8>| bench.remote.server.put("scenes", "images/scene.tif", content);
    put(scene("RGB.byte.tif"));
    assert_exit(&bench.plan(), 0);
    let is_read = |request: &String| request == "GET /scenes/images/scene.tif";
    // The header passes.
    let of_scene = |fault| Rule::new(fault).on_method("GET").on_key("scene.tif");
    bench.proxy.add(of_scene(Fault::Delay(Duration::ZERO)).times(1));
    let worker = bench.worker_that_meets(of_scene(Fault::Held));
    wait_until("a block is asked for", || bench.proxy.requests().iter().filter(|it| is_read(it)).count() > 1);
    put(scene("RGB2.byte.tif"));
    bench.proxy.clear();
    worker.ended_with(0);
    bench.assert_verdict(0);
    let rows = bench.rows();
    assert_eq!(rows.len(), 4);
    let changed = rows.iter().filter(|row| row.reason.as_deref() == Some("changed")).count();
    assert_eq!(changed, 4, "{rows:?}");
}
