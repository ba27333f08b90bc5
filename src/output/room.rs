//! Whether a local output has room for what is about to be written: said at the start, not after all the computing.

use std::path::Path;

use crate::input::storage::free_bytes;
use crate::output::run::Output;
use crate::vocabulary::words;

/// Warns if a local output has less free space than an estimate in bytes.
///
/// Staged files need no room of their own: they lie on the same file system and become the table's.
pub fn warn_if_short(output: &Output, num_bytes: u64) {
    let folder = output.uri.local_path();
    if let Some(warning) = folder.and_then(|folder| shortage(&folder, num_bytes, free_bytes(&folder))) {
        tracing::warn!("{warning}");
    }
}

/// - `free_bytes`: `None` if the file system does not say
fn shortage(folder: &Path, num_bytes: u64, free_bytes: Option<u64>) -> Option<String> {
    let free_bytes = free_bytes.filter(|free| *free < num_bytes)?;
    Some(format!(
        "about {} will be written to {}, but only {} are free: if the disk gets full, the run exits 75 and \
         keeps what is committed; free some space, or choose another output",
        words::bytes(num_bytes),
        folder.display(),
        words::bytes(free_bytes)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn less_room_than_the_table_needs_is_said_with_figures() {
        let said = |num_bytes, free| shortage(Path::new("/srv/table"), num_bytes, free);
        let warning = said(34 << 30, Some(12 << 30)).unwrap();
        assert!(
            warning.starts_with("about 34.0 GiB will be written to /srv/table, but only 12.0 GiB are free"),
            "{warning}"
        );
        assert_eq!(said(34 << 30, Some(34 << 30)), None);
        assert_eq!(said(0, Some(0)), None);
        assert_eq!(said(34 << 30, None), None);
    }
}
