//! A disk that is full.

use std::collections::BTreeSet;
use std::fs;

use crate::fixture::{Job, assert_exit, rows, shard_files};
use crate::support;
use crate::support::small_disk::SmallDisk;

/// It is full while the plan is written, at the first shards, or later: 75. Once there is room, the same command goes on
/// from there, and nothing half-written is left.
#[test]
fn a_disk_that_is_full_loses_nothing() {
    let job = Job::new(200, "[plan]\nshard_tiles = 8");
    for size in ["8k", "32k", "200k"] {
        let Some(disk) = SmallDisk::mount(&job.path(&format!("disk-{size}")), size) else { return };
        let table = disk.0.join("table");
        let output = ["--output", table.to_str().unwrap()];
        assert_exit(&job.run(&output), 75);
        let kept = shard_files(&table).len();
        assert!(kept < 25, "{size}");
        disk.grow("64m");
        assert_exit(&job.run(&output), 0);
        assert_exit(&support::tilefleet().arg("verify").arg(&table).output().unwrap(), 0);
        let rows = rows(&table);
        let ids: BTreeSet<_> = rows.iter().map(|row| &row.tile_id).collect();
        assert_eq!((rows.len(), ids.len()), (200, 200), "{size}, {kept} shards kept");
        assert!(shard_files(&table).keys().all(|name| name.ends_with(".parquet")));
        let staging = table.join("_tilefleet/.staging");
        assert_eq!(fs::read_dir(staging).map_or(0, Iterator::count), 0, "{size}");
    }
}
