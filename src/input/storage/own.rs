//! Deletion of local files: only below one folder, and never by way of a link.
//!
//! Every path is walked from that folder, which a person has named, part by part, each opened within the one
//! before (`openat`) and none of them a symbolic link. So nothing outside is reached, whatever a record names
//! or somebody puts there meanwhile. A link that lies where a file could lie goes as a link; what it points to
//! stays.

use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path};
use std::time::Duration;

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat, fstat, openat, statat, unlinkat};
use rustix::io::Errno;

use super::store_error::io_failure;
use crate::vocabulary::error::{Error, Result};

/// How the names of staged files begin.
pub(super) const STAGED: &str = "put-";

/// A file, or a link, below a folder.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// Where it lies, from the folder on.
    pub(super) path: std::path::PathBuf,
    /// Its size; of a link that of what it says.
    pub(super) size: u64,
}

/// Removes a file below `root`; one that is not there is fine.
pub(super) fn delete(root: &Path, target: &Path) -> Result<()> {
    let Some((folder, name)) = parent_of(root, target)? else { return Ok(()) };
    match unlinkat(&folder, &name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(cause) => Err(io_failure(cause.into(), &format!("delete {}", target.display()))),
    }
}

/// Checks that a folder of `root` can be deleted from: no part of its path is a link. It need not be there.
pub(super) fn check(root: &Path, folder: &Path) -> Result<()> {
    open_folder(root, folder).map(|_| ())
}

/// Lists all files below a folder of `root`; one that is not there holds none.
pub(super) fn list(root: &Path, folder: &Path) -> Result<Vec<Found>> {
    let mut found = Vec::new();
    if let Some(opened) = open_folder(root, folder)? {
        let failed = |cause: Errno| io_failure(cause.into(), &format!("list {}", folder.display()));
        list_into(&opened, Path::new(""), &mut found).map_err(failed)?;
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(found)
}

fn list_into(folder: &OwnedFd, path: &Path, found: &mut Vec<Found>) -> rustix::io::Result<()> {
    for name in names(folder)? {
        let path = path.join(&name);
        match open_within(folder, &name) {
            Ok(below) => list_into(&below, &path, found)?,
            // A file, or a link.
            Err(Errno::NOTDIR | Errno::LOOP) => match statat(folder, &name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => found.push(Found { path, size: stat.st_size as u64 }),
                Err(Errno::NOENT) => {}
                Err(cause) => return Err(cause),
            },
            Err(Errno::NOENT) => {}
            Err(cause) => return Err(cause),
        }
    }
    Ok(())
}

/// Removes a folder of `root` and those below it, as far as they hold nothing.
pub(super) fn remove_empty_folders(root: &Path, folder: &Path) -> Result<()> {
    let failed = |cause: Errno| io_failure(cause.into(), &format!("remove the folder {}", folder.display()));
    let Some((parent, name)) = parent_of(root, folder)? else { return Ok(()) };
    remove_empty(&parent, &name).map_err(failed)
}

fn remove_empty(parent: &OwnedFd, name: &OsStr) -> rustix::io::Result<()> {
    let folder = match open_within(parent, name) {
        Ok(folder) => folder,
        // Gone, or no folder: a file and a link stay.
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(()),
        Err(cause) => return Err(cause),
    };
    for below in names(&folder)? {
        remove_empty(&folder, &below)?;
    }
    match unlinkat(parent, name, AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOENT | Errno::NOTEMPTY | Errno::EXIST) => Ok(()),
        Err(cause) => Err(cause),
    }
}

/// Removes what writers that were killed have left in `staging`, a folder of `root`; files younger than `age`
/// may be in use, and those of other names are not ours.
pub(super) fn sweep(root: &Path, staging: &Path, age: Duration) {
    // Leftovers do no harm but take up space: whatever stands in the way, the next run tries again.
    let Ok(Some(folder)) = open_folder(root, staging) else { return };
    let Some(now) = now_of(&folder) else { return };
    for name in names(&folder).unwrap_or_default() {
        let staged = name.as_bytes().starts_with(STAGED.as_bytes());
        if staged && is_old_file(&folder, &name, now, age) {
            let _ = unlinkat(&folder, &name, AtFlags::empty());
        }
    }
}

/// Returns the time by the clock that tells when files are written: a disk that machines share has its own, and this
/// machine's may be wrong.
fn now_of(folder: &OwnedFd) -> Option<Duration> {
    let name = format!("{STAGED}clock-{}", std::process::id());
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
    let file = openat(folder, &name, flags, Mode::RUSR | Mode::WUSR).ok()?;
    let now = fstat(&file).ok().map(|stat| since_epoch(&stat));
    let _ = unlinkat(folder, &name, AtFlags::empty());
    now
}

/// Returns when a file was written.
fn since_epoch(stat: &Stat) -> Duration {
    Duration::from_secs(u64::try_from(stat.st_mtime).unwrap_or(0))
}

fn is_old_file(folder: &OwnedFd, name: &OsStr, now: Duration, age: Duration) -> bool {
    let Ok(stat) = statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) else { return false };
    let is_old = now.saturating_sub(since_epoch(&stat)) > age;
    is_old && FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
}

/// Opens the folder that `target` lies in; `None` if that is not there. Returns also the target's name.
fn parent_of(root: &Path, target: &Path) -> Result<Option<(OwnedFd, OsString)>> {
    let outside = || Error::bug(format!("{} lies outside of {}", target.display(), root.display()));
    let name = target.file_name().ok_or_else(outside)?;
    let parent = target.parent().ok_or_else(outside)?;
    Ok(open_folder(root, parent)?.map(|folder| (folder, name.to_owned())))
}

/// Opens a folder at or below `root`; `None` if it is not there.
fn open_folder(root: &Path, folder: &Path) -> Result<Option<OwnedFd>> {
    let failed = |cause: Errno| io_failure(cause.into(), &format!("open {}", folder.display()));
    let outside = || Error::bug(format!("{} lies outside of {}", folder.display(), root.display()));
    let below = folder.strip_prefix(root).map_err(|_| outside())?;
    // The root is what a person has named, links and all.
    let mut opened = match openat(CWD, root, FOLDER, Mode::empty()) {
        Ok(opened) => opened,
        // Nothing lies in a file; whoever writes to it says so.
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
        Err(cause) => return Err(failed(cause)),
    };
    for part in below.components() {
        let Component::Normal(name) = part else { return Err(outside()) };
        opened = match open_within(&opened, name) {
            Ok(opened) => opened,
            Err(Errno::NOENT) => return Ok(None),
            Err(Errno::NOTDIR | Errno::LOOP) => return Err(no_folder(root, folder, name)),
            Err(cause) => return Err(failed(cause)),
        };
    }
    Ok(Some(opened))
}

const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// Opens a folder within another; a link is none.
fn open_within(folder: &OwnedFd, name: &OsStr) -> rustix::io::Result<OwnedFd> {
    openat(folder, name, FOLDER | OFlags::NOFOLLOW, Mode::empty())
}

fn no_folder(root: &Path, folder: &Path, name: &OsStr) -> Error {
    Error::config(format!(
        "nothing was deleted in {}: `{}` is a link or a file",
        folder.display(),
        name.display()
    ))
    .hint(format!(
        "tilefleet deletes only within {} itself: replace the link by the folder; only the output as a whole \
         may be a link or on another disk",
        root.display()
    ))
}

/// Returns the names in a folder, but for itself and the one above it.
fn names(folder: &OwnedFd) -> rustix::io::Result<Vec<OsString>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(OsStr::from_bytes(name).to_owned());
        }
    }
    Ok(names)
}

/// Refuses a staging folder that is a link: what is staged would lie somewhere else.
pub(super) fn check_staging(staging: &Path) -> Result<()> {
    if !std::fs::symlink_metadata(staging).is_ok_and(|metadata| metadata.is_symlink()) {
        return Ok(());
    }
    Err(Error::config(format!("the staging folder {} is a link", staging.display()))
        .hint("remove the link: files are staged within the output itself"))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::PathBuf;
    use std::time::SystemTime;

    use super::*;
    use crate::vocabulary::error::Kind;

    /// An output, and beside it a folder with a file that nobody may touch.
    struct Planted {
        folder: tempfile::TempDir,
    }

    impl Planted {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            for path in ["out/tiles/run=a/x.parquet", "out/_tilefleet/.staging/put-old", "outside/put-kept"] {
                let path = folder.path().join(path);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, b"abc").unwrap();
            }
            fs::create_dir(folder.path().join("outside/empty")).unwrap();
            Self { folder }
        }

        fn path(&self, name: &str) -> PathBuf {
            self.folder.path().join(name)
        }

        fn assert_untouched(&self) {
            assert!(self.path("outside/put-kept").is_file() && self.path("outside/empty").is_dir());
        }
    }

    #[test]
    fn files_and_empty_folders_go() {
        let planted = Planted::new();
        let (root, run) = (planted.path("out"), planted.path("out/tiles/run=a"));
        fs::create_dir_all(run.join("deep/er")).unwrap();
        let found = list(&root, &run).unwrap();
        assert_eq!(found, [Found { path: "x.parquet".into(), size: 3 }]);
        remove_empty_folders(&root, &run).unwrap();
        assert!(run.join("x.parquet").exists() && !run.join("deep").exists());
        for _ in 0..2 {
            delete(&root, &run.join("x.parquet")).unwrap();
            remove_empty_folders(&root, &run).unwrap();
        }
        assert!(!run.exists() && root.join("tiles").exists());
        assert_eq!(list(&root, &run).unwrap(), []);
    }

    #[test]
    fn nothing_outside_is_deleted_whatever_the_path() {
        let planted = Planted::new();
        let root = planted.path("out");
        for path in
            ["outside/put-kept", "out/../outside/put-kept", "out/tiles/../../outside/put-kept", "out2/x"]
        {
            let path = planted.path(path);
            assert_eq!(delete(&root, &path).unwrap_err().kind(), Kind::Bug, "{}", path.display());
            assert!(list(&root, path.parent().unwrap()).is_err());
            assert!(remove_empty_folders(&root, path.parent().unwrap()).is_err());
        }
        planted.assert_untouched();
    }

    #[test]
    fn links_are_not_followed() {
        let planted = Planted::new();
        let (root, run) = (planted.path("out"), planted.path("out/tiles/run=a"));
        symlink(planted.path("outside"), run.join("folder")).unwrap();
        symlink(planted.path("outside/put-kept"), run.join("file")).unwrap();
        let found: Vec<PathBuf> = list(&root, &run).unwrap().into_iter().map(|found| found.path).collect();
        assert_eq!(found, ["file", "folder", "x.parquet"].map(PathBuf::from));
        let refused = delete(&root, &run.join("folder/put-kept")).unwrap_err();
        assert!(
            refused.kind() == Kind::Config && refused.to_string().contains("`folder` is a link"),
            "{refused}"
        );
        remove_empty_folders(&root, &run).unwrap();
        for path in found {
            delete(&root, &run.join(path)).unwrap();
        }
        remove_empty_folders(&root, &run).unwrap();
        assert!(!run.exists(), "links go as links");
        symlink(planted.path("outside"), &run).unwrap();
        assert!(list(&root, &run).is_err() && delete(&root, &run.join("put-kept")).is_err());
        remove_empty_folders(&root, &run).unwrap();
        planted.assert_untouched();
    }

    #[test]
    fn a_root_may_itself_be_a_link() {
        let planted = Planted::new();
        symlink(planted.path("out"), planted.path("linked")).unwrap();
        let root = planted.path("linked");
        delete(&root, &root.join("tiles/run=a/x.parquet")).unwrap();
        assert!(!planted.path("out/tiles/run=a/x.parquet").exists());
    }

    #[test]
    fn a_sweep_takes_old_staged_files_only() {
        let planted = Planted::new();
        let (root, staging) = (planted.path("out"), planted.path("out/_tilefleet/.staging"));
        fs::write(staging.join("other"), b"x").unwrap();
        symlink(planted.path("outside/put-kept"), staging.join("put-link")).unwrap();
        let hour_ago = SystemTime::now() - Duration::from_hours(1);
        for name in ["put-old", "other"] {
            fs::File::open(staging.join(name)).unwrap().set_modified(hour_ago).unwrap();
        }
        fs::File::open(planted.path("outside/put-kept")).unwrap().set_modified(hour_ago).unwrap();
        fs::write(staging.join("put-new"), b"x").unwrap();
        sweep(&root, &staging, Duration::from_mins(10));
        let mut left: Vec<_> =
            fs::read_dir(&staging).unwrap().map(|file| file.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["other", "put-link", "put-new"]);

        fs::remove_dir_all(&staging).unwrap();
        symlink(planted.path("outside"), &staging).unwrap();
        sweep(&root, &staging, Duration::from_mins(10));
        assert!(check_staging(&staging).is_err());
        planted.assert_untouched();
    }
}
