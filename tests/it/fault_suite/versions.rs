//! Workers of two versions in one run.

use std::collections::BTreeSet;
use std::process::Command;

use bytes::Bytes;
use parquet::file::reader::FileReader;
use parquet::file::serialized_reader::SerializedFileReader;

use super::{Bench, Fault, OF_SHARDS, at_put};
use crate::fixture::assert_exit;

/// An older worker plans the run and commits a shard before it dies; a newer one commits the rest while another old one
/// is held back. Each shard says who wrote it, nobody minds the other, and both versions verify the run.
#[test]
fn two_versions_of_the_worker_share_a_run() {
    let Some(bench) = Bench::new(80, "[plan]\nshard_tiles = 2") else { return };
    let older = |mut command: Command| {
        command.env("TILEFLEET_TEST_VERSION", "0.0.9");
        command
    };
    bench.meets(at_put(Fault::DoneInSilence, OF_SHARDS), older(bench.command(&[]))).kill();
    bench.proxy.clear();
    let late = bench.meets(at_put(Fault::Held, OF_SHARDS), older(bench.command(&[])));
    assert_exit(&bench.command_beside().output().unwrap(), 0);
    bench.proxy.clear();
    late.ended_with(0);
    assert!(bench.proxy.answers_after_hold().iter().all(|status| *status == 412));
    bench.assert_sound(80);
    assert_exit(&older(bench.asking(&["verify"])).output().unwrap(), 0);
    let versions: BTreeSet<String> = bench.shards().into_values().map(version_of).collect();
    let expected = BTreeSet::from(["0.0.9".to_owned(), env!("CARGO_PKG_VERSION").to_owned()]);
    assert_eq!(versions, expected);
}

/// The version that a shard was written by.
fn version_of(shard: Vec<u8>) -> String {
    let reader = SerializedFileReader::new(Bytes::from(shard)).unwrap();
    let pairs = reader.metadata().file_metadata().key_value_metadata().unwrap().clone();
    pairs.into_iter().find(|pair| pair.key == "tilefleet.version").unwrap().value.unwrap()
}
