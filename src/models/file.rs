//! Files that are whole or absent: staged beside their target, synced, then given their name.

use std::fs::{File, Permissions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use crate::vocabulary::error::{Error, Kind, Result};

/// Returns an error if the file exists; for asking before long work.
///
/// # Errors
///
/// [`Kind::Usage`].
pub fn refuse_existing(path: &Path) -> Result<()> {
    if path.exists() { Err(exists(path)) } else { Ok(()) }
}

/// Writes a file.
///
/// - `replace`: whether a file of that name may be replaced
///
/// # Errors
///
/// [`Kind::Usage`] where the file exists and may not be replaced, [`Kind::Config`] where the folder is
/// missing or may not be written, [`Kind::Unavailable`] for other trouble, such as a full disk.
pub fn write(path: &Path, bytes: &[u8], replace: bool) -> Result<()> {
    write_with(path, replace, |staged| {
        staged.as_file_mut().write_all(bytes).map_err(|cause| cannot_write(path, cause))
    })
}

/// Writes a file whose content `fill` puts into the staged one; otherwise as [`write()`].
///
/// # Errors
///
/// As [`write()`], and those of `fill`.
pub fn write_with(
    path: &Path,
    replace: bool,
    fill: impl FnOnce(&mut NamedTempFile) -> Result<()>,
) -> Result<()> {
    Staged::new(path, fill)?.publish(replace)
}

/// A file that is written and synced, but for its name.
#[derive(Debug)]
pub(super) struct Staged {
    file: NamedTempFile,
    path: PathBuf,
}

impl Staged {
    /// Writes a file beside `path`, hidden and under a name of its own, which nobody takes for anything.
    pub(super) fn new(path: &Path, fill: impl FnOnce(&mut NamedTempFile) -> Result<()>) -> Result<Self> {
        let mut file = tempfile::Builder::new()
            .prefix(".tilefleet-")
            // Like any new file: everyone whom the umask lets.
            .permissions(Permissions::from_mode(0o666))
            .tempfile_in(folder_of(path))
            .map_err(|cause| cannot_write(path, cause))?;
        fill(&mut file)?;
        file.as_file().sync_all().map_err(|cause| cannot_write(path, cause))?;
        Ok(Self { file, path: path.to_owned() })
    }

    /// Gives it its name, which survives a crash when this returns.
    pub(super) fn publish(self, replace: bool) -> Result<()> {
        let Self { file, path } = self;
        let persisted = if replace { file.persist(&path) } else { file.persist_noclobber(&path) };
        persisted.map_err(|failure| match failure.error.kind() {
            ErrorKind::AlreadyExists => exists(&path),
            _ => cannot_write(&path, failure.error),
        })?;
        let folder = File::open(folder_of(&path)).and_then(|folder| folder.sync_all());
        folder.map_err(|cause| cannot_write(&path, cause))
    }
}

/// Returns the folder that a file lies in.
pub(super) fn folder_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(folder) if folder != Path::new("") => folder.to_owned(),
        _ => PathBuf::from("."),
    }
}

fn exists(path: &Path) -> Error {
    Error::usage(format!("{} exists already", path.display()))
        .hint("replace it with --force, or choose another name")
}

/// Says that a file cannot be written: who acts depends on why.
pub(super) fn cannot_write(path: &Path, cause: std::io::Error) -> Error {
    let kind = match cause.kind() {
        ErrorKind::NotFound
        | ErrorKind::NotADirectory
        | ErrorKind::IsADirectory
        | ErrorKind::PermissionDenied => Kind::Config,
        _ => Kind::Unavailable,
    };
    let hint = match kind {
        Kind::Config => "choose a folder that exists and is writable",
        _ => "check the disk and its free space, then try again",
    };
    Error::new(kind, format!("cannot write {}", path.display())).because(cause).hint(hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_existing_file_is_replaced_only_on_request() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.onnx");
        write(&path, b"one", false).unwrap();
        assert_eq!(write(&path, b"two", false).unwrap_err().kind(), Kind::Usage);
        assert_eq!(std::fs::read(&path).unwrap(), b"one");
        write(&path, b"two", true).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"two");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing staged is left");
    }

    #[test]
    fn a_failure_while_filling_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.onnx");
        assert!(write_with(&path, false, |_| Err(Error::bug("no"))).is_err());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_missing_folder_is_for_a_person_to_mend() {
        let folder = tempfile::tempdir().unwrap();
        let error = write(&folder.path().join("no/such/m.onnx"), b"", false).unwrap_err();
        assert_eq!(error.kind(), Kind::Config);
    }
}
