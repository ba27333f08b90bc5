//! Files of tests.

use std::path::{Path, PathBuf};
use std::{env, fs, process};

/// An empty folder of this process for files of a test, which goes with the value.
#[derive(Debug)]
pub struct Scratch(PathBuf);

impl Scratch {
    /// Makes a folder; no other of this process has this name.
    ///
    /// # Panics
    ///
    /// If it cannot be made.
    pub fn new(name: &str) -> Self {
        let folder = env::temp_dir().join(format!("tilefleet-{name}-{}", process::id()));
        // What a process of the same number has left.
        drop(fs::remove_dir_all(&folder));
        fs::create_dir_all(&folder).expect("a folder for files of the test");
        Self(folder)
    }

    /// Returns where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

/// Returns numbers of 16 bits, least significant byte first.
pub fn words(bytes: &[u8]) -> Vec<u16> {
    bytes.as_chunks().0.iter().map(|&pair| u16::from_le_bytes(pair)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_begins_empty_and_goes_with_its_value() {
        let first = Scratch::new("scratch");
        fs::write(first.path().join("file"), "text").unwrap();
        let second = Scratch::new("scratch");
        assert_eq!(fs::read_dir(second.path()).unwrap().count(), 0);
        let path = second.path().to_owned();
        drop(second);
        assert!(!path.exists());
    }
}
