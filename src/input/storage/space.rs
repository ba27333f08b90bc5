//! How much room a local file system has left.

use std::path::Path;

/// Returns how many bytes may still be written into a folder, or into the nearest one above it that exists.
///
/// `None` if the file system does not say: some that lie behind a network report no size at all.
#[must_use]
pub fn free_bytes(folder: &Path) -> Option<u64> {
    let existing = folder.ancestors().find(|folder| folder.is_dir())?;
    let said = rustix::fs::statvfs(existing).ok()?;
    (said.f_blocks > 0).then(|| said.f_bavail.saturating_mul(said.f_frsize))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_is_not_there_yet_has_the_room_of_those_above() {
        let folder = tempfile::tempdir().unwrap();
        let free = free_bytes(folder.path()).unwrap();
        assert!(free > 0);
        // Others write meanwhile.
        let below = free_bytes(&folder.path().join("not/there/yet")).unwrap();
        assert!(free.abs_diff(below) < free / 2 + (1 << 30), "{free} {below}");
        assert_eq!(free_bytes(Path::new("relative/and/not/there")), None);
    }
}
