//! A disk that is full soon.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A file system of this size in memory; none where this user may not mount one.
pub struct SmallDisk(pub PathBuf);

impl SmallDisk {
    /// Mounts one on a new folder.
    pub fn mount(folder: &Path, size: &str) -> Option<Self> {
        fs::create_dir(folder).unwrap();
        if mount(&format!("size={size}"), folder) {
            return Some(Self(folder.to_owned()));
        }
        // Not `missing`: CI must not need to be root.
        tilefleet_testing::skipped::not_on_this_machine("no tmpfs can be mounted");
        None
    }

    /// Makes room.
    pub fn grow(&self, size: &str) {
        assert!(mount(&format!("remount,size={size}"), &self.0));
    }
}

fn mount(options: &str, folder: &Path) -> bool {
    let mut mount = Command::new("mount");
    mount.args(["-t", "tmpfs", "-o", options, "tilefleet-test"]).arg(folder);
    mount.output().is_ok_and(|output| output.status.success())
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg(&self.0).status();
        assert!(unmounted.is_ok_and(|status| status.success()) || std::thread::panicking());
    }
}
