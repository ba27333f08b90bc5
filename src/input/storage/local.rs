//! Local files: read in one go, listed in order, written whole or not at all.
//!
//! All functions block; [`super::Bucket`] calls them off the async threads.

use std::fmt;
use std::fs::{self, File, Metadata, OpenOptions, Permissions};
use std::io::{self, Read as _, Write as _};
use std::ops::ControlFlow;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use bytes::Bytes;
use rustix::buffer::spare_capacity;
use rustix::io::{pread, retry_on_intr};

use super::bucket::{Expected, Object, ObjectInfo, Put};
use super::own;
use super::store_error::{StoreError, classify_io, io_failure, write_failure};
use super::uri::{encode_name, encode_path};
use crate::vocabulary::error::{Error, Result};
use crate::vocabulary::identity::Naming;

/// A file or folder that is read, and how it is named.
pub(super) struct LocalPath {
    /// Where it is.
    pub(super) path: PathBuf,
    /// How it is named.
    pub(super) naming: Naming,
}

impl fmt::Display for LocalPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&shown(&self.path, &self.naming))
    }
}

/// Returns what is shown of a path: the path, or the name of its URI where that is secret.
fn shown(path: &Path, naming: &Naming) -> String {
    if naming.is_secret() {
        naming.name(&format!("file:///{}", encode_path(path))).into_owned()
    } else {
        path.display().to_string()
    }
}

/// Reads a whole file of at most `max_bytes` that is as expected.
pub(super) fn read(from: &LocalPath, expected: &Expected, max_bytes: u64) -> Result<Object, StoreError> {
    let (file, metadata) = open(from)?;
    let (size, version) = (metadata.len(), version_of(&metadata));
    expected.check(Some(size), Some(&version))?;
    if size > max_bytes {
        return Err(StoreError::TooLarge { size });
    }
    let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or(0));
    // One byte more than announced, so that a file that grows meanwhile is noticed and not read on for ever.
    let read = file.take(size.saturating_add(1)).read_to_end(&mut bytes);
    read.map_err(|cause| classify_io(cause, &format!("read {from}")))?;
    if bytes.len() as u64 != size {
        return Err(StoreError::Changed { version: None });
    }
    Ok(Object { bytes: Bytes::from(bytes), version: Some(version), size })
}

/// Reads `length` bytes from `start`, or up to the end of the file, if it is the one that is expected.
pub(super) fn read_range(
    from: &LocalPath,
    start: u64,
    length: u64,
    expected: &Expected,
) -> Result<Bytes, StoreError> {
    let (file, metadata) = open(from)?;
    expected.check(Some(metadata.len()), Some(&version_of(&metadata)))?;
    let length = length.min(metadata.len().saturating_sub(start));
    let bytes = read_at(&file, start, usize::try_from(length).unwrap_or(usize::MAX));
    bytes.map(Bytes::from).map_err(|cause| classify_io(cause, &format!("read {from}")))
}

/// Reads bytes into memory that is not filled with zeros first.
fn read_at(file: &File, start: u64, length: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(length);
    while bytes.len() < length {
        let at = start + bytes.len() as u64;
        let read = retry_on_intr(|| pread(file, spare_capacity(&mut bytes), at))?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    // There may be room for more than was asked for.
    bytes.truncate(length);
    Ok(bytes)
}

/// Looks at a file without reading it.
pub(super) fn head(file: &LocalPath, key: &str) -> Result<ObjectInfo, StoreError> {
    let metadata =
        fs::metadata(&file.path).map_err(|cause| classify_io(cause, &format!("look at {file}")))?;
    if !metadata.is_file() {
        return Err(StoreError::Gone);
    }
    Ok(info_of(key.to_owned(), &metadata))
}

fn open(from: &LocalPath) -> Result<(File, Metadata), StoreError> {
    // Without NONBLOCK, opening a named pipe waits for a writer that may never come.
    let nonblock = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or(0);
    let file = OpenOptions::new().read(true).custom_flags(nonblock).open(&from.path);
    let opened = file.and_then(|file| file.metadata().map(|metadata| (file, metadata)));
    let (file, metadata) = opened.map_err(|cause| classify_io(cause, &format!("read {from}")))?;
    if metadata.is_file() { Ok((file, metadata)) } else { Err(StoreError::Gone) }
}

/// A file's version: its size and the time it was last written, in nanoseconds.
fn version_of(metadata: &Metadata) -> String {
    let nanoseconds = i128::from(metadata.mtime()) * 1_000_000_000 + i128::from(metadata.mtime_nsec());
    format!("{}-{nanoseconds}", metadata.len())
}

fn info_of(key: String, metadata: &Metadata) -> ObjectInfo {
    ObjectInfo {
        key,
        size: metadata.len(),
        version: Some(version_of(metadata)),
        modified: metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH),
    }
}

/// Returns at most `most` entries of a folder in any order, those that can be looked at; folders end in
/// a slash. `None` if there is no such folder.
///
/// # Errors
///
/// `Config` if the folder may not be read, `Unavailable` if the disk fails.
pub(super) fn peek(folder: &LocalPath, most: usize) -> Result<Option<Vec<ObjectInfo>>> {
    let doing = || format!("list {folder}");
    let entries = match fs::read_dir(&folder.path) {
        Ok(entries) => entries,
        Err(cause) => match classify_io(cause, &doing()) {
            StoreError::Gone => return Ok(None),
            fault => return Err(fault.into_error(folder)),
        },
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.map_err(|cause| io_failure(cause, &doing()))?.path();
        if let Ok(metadata) = fs::metadata(&path) {
            let slash = if metadata.is_dir() { "/" } else { "" };
            found.push(info_of(encode_path(&path) + slash, &metadata));
        }
        if found.len() == most {
            break;
        }
    }
    Ok(Some(found))
}

/// Walks all files below `root` in the order of their keys and hands them to `visit`.
///
/// Symbolic links are followed, but not to a folder that is being walked. Memory holds the names of
/// the folders on the way, one after the other.
///
/// # Errors
///
/// `Config` if `root` is not a folder or a folder may not be read, `Unavailable` if the disk fails.
pub(super) fn walk(root: &LocalPath, visit: &mut dyn FnMut(ObjectInfo) -> ControlFlow<()>) -> Result<()> {
    let metadata = fs::metadata(&root.path).map_err(|cause| io_failure(cause, &format!("list {root}")))?;
    if !metadata.is_dir() {
        return Err(Error::config(format!("cannot list {root}"))
            .because("it is not a folder")
            .hint("name a folder, or a glob such as 'images/*.jpg'"));
    }
    let mut place = LocalPath { path: root.path.clone(), naming: root.naming.clone() };
    let mut key = encode_path(&root.path);
    let mut ancestors = vec![(metadata.dev(), metadata.ino())];
    walk_folder(&mut place, &mut key, &mut ancestors, visit).map(|_| ())
}

fn walk_folder(
    place: &mut LocalPath,
    key: &mut String,
    ancestors: &mut Vec<(u64, u64)>,
    visit: &mut dyn FnMut(ObjectInfo) -> ControlFlow<()>,
) -> Result<ControlFlow<()>> {
    let failed = |cause| io_failure(cause, &format!("list {place}"));
    let entries = match fs::read_dir(&place.path) {
        // Vanished since the folder above it was read.
        Err(cause) if cause.kind() == io::ErrorKind::NotFound && ancestors.len() > 1 => {
            return Ok(ControlFlow::Continue(()));
        }
        entries => entries.map_err(failed)?,
    };
    let names = Names::of(entries).map_err(failed)?;
    let key_length = key.len();
    for index in 0..names.len() {
        let name = names.get(index);
        place.path.push(std::ffi::OsStr::from_bytes(name));
        if !key.is_empty() {
            key.push('/');
        }
        key.push_str(&encode_name(name));
        let flow = visit_entry(place, key, ancestors, visit)?;
        place.path.pop();
        key.truncate(key_length);
        if flow.is_break() {
            return Ok(flow);
        }
    }
    Ok(ControlFlow::Continue(()))
}

fn visit_entry(
    place: &mut LocalPath,
    key: &mut String,
    ancestors: &mut Vec<(u64, u64)>,
    visit: &mut dyn FnMut(ObjectInfo) -> ControlFlow<()>,
) -> Result<ControlFlow<()>> {
    let metadata = match fs::metadata(&place.path) {
        Ok(metadata) => metadata,
        Err(cause) => match classify_io(cause, &format!("look at {place}")) {
            // Vanished since its folder was read, or a link to nothing: no file.
            StoreError::Gone => return Ok(ControlFlow::Continue(())),
            fault => return Err(fault.into_error(place)),
        },
    };
    if metadata.is_file() {
        return Ok(visit(info_of(key.clone(), &metadata)));
    }
    let id = (metadata.dev(), metadata.ino());
    if !metadata.is_dir() || ancestors.contains(&id) {
        return Ok(ControlFlow::Continue(()));
    }
    ancestors.push(id);
    let flow = walk_folder(place, key, ancestors, visit);
    ancestors.pop();
    flow
}

/// The names of one folder, sorted as keys are, packed into one buffer: a folder may hold millions.
struct Names {
    bytes: Vec<u8>,
    entries: Vec<(u32, u16, bool)>,
}

impl Names {
    fn of(folder: fs::ReadDir) -> io::Result<Self> {
        let mut names = Self { bytes: Vec::new(), entries: Vec::new() };
        for entry in folder {
            let entry = entry?;
            let kind = entry.file_type()?;
            let is_folder = if kind.is_symlink() { entry.path().is_dir() } else { kind.is_dir() };
            names.push(entry.file_name().as_bytes(), is_folder)?;
        }
        let bytes = &names.bytes;
        names.entries.sort_unstable_by(|a, b| sort_key(bytes, *a).cmp(sort_key(bytes, *b)));
        Ok(names)
    }

    fn push(&mut self, name: &[u8], is_folder: bool) -> io::Result<()> {
        let start =
            u32::try_from(self.bytes.len()).map_err(|_| io::Error::other("the folder is too large"))?;
        let length = u16::try_from(name.len()).map_err(|_| io::Error::other("a name is too long"))?;
        self.bytes.extend_from_slice(name);
        self.entries.push((start, length, is_folder));
        Ok(())
    }

    fn len(&self) -> usize {
        self.entries.len()
    }

    fn get(&self, index: usize) -> &[u8] {
        let (start, length, _) = self.entries[index];
        &self.bytes[start as usize..start as usize + usize::from(length)]
    }
}

/// A folder sorts as if its name ended in a slash: that is the order of the keys below it.
fn sort_key(bytes: &[u8], (start, length, is_folder): (u32, u16, bool)) -> impl Iterator<Item = u8> + '_ {
    let name = &bytes[start as usize..start as usize + usize::from(length)];
    name.iter().copied().chain(is_folder.then_some(b'/'))
}

/// Creates `target` with this content, or finds that it exists.
///
/// The content is written and flushed in `staging` and then linked, so that `target` is there as a
/// whole or not at all, and two writers cannot both create it. Folders are created as needed.
///
/// # Errors
///
/// `Config` if a folder may not be written or `staging` is on another file system, `Unavailable` if
/// the disk is full or fails or somebody removes the staged file.
pub(super) fn put_new(target: &Path, staging: &Path, bytes: &[u8]) -> Result<Put> {
    let failed = |cause| write_failure(cause, &format!("write {}", target.display()));
    if target.exists() {
        return Ok(Put::Exists);
    }
    let staged = stage(target, staging, bytes)?;
    let put = match fs::hard_link(&staged, target) {
        Ok(()) => Put::Created,
        Err(cause) if cause.kind() == io::ErrorKind::AlreadyExists => Put::Exists,
        Err(cause) if cause.kind() == io::ErrorKind::CrossesDevices => {
            return Err(other_file_system(target, staging));
        }
        // No hard links here (some network and FUSE file systems).
        Err(_) => rename_new(&staged, target).map_err(failed)?,
    };
    sync_parent(target).map_err(failed)?;
    Ok(put)
}

/// Writes `target`, replacing what is there, as a whole or not at all.
pub(super) fn put_replace(target: &Path, staging: &Path, bytes: &[u8]) -> Result<()> {
    let failed = |cause| write_failure(cause, &format!("write {}", target.display()));
    let staged = stage(target, staging, bytes)?;
    match fs::rename(&staged, target) {
        Ok(()) => sync_parent(target).map_err(failed),
        Err(cause) if cause.kind() == io::ErrorKind::CrossesDevices => {
            Err(other_file_system(target, staging))
        }
        Err(cause) => Err(failed(cause)),
    }
}

/// Writes the content into a new file of `staging` and flushes it; the file goes when it is dropped.
fn stage(target: &Path, staging: &Path, bytes: &[u8]) -> Result<tempfile::TempPath> {
    let failed = |cause| write_failure(cause, &format!("write {}", target.display()));
    create_folders(target.parent().unwrap_or(target)).map_err(failed)?;
    own::check_staging(staging)?;
    create_folders(staging).map_err(failed)?;
    let mut file = tempfile::Builder::new()
        .prefix(own::STAGED)
        // What a file of the user gets, less their umask; temporary files are private otherwise.
        .permissions(Permissions::from_mode(0o666))
        .tempfile_in(staging)
        .map_err(failed)?;
    write_early(file.as_file_mut(), bytes).and_then(|()| file.as_file().sync_all()).map_err(failed)?;
    Ok(file.into_temp_path())
}

/// Writes piece by piece, and lets the system begin with each at once: less is left to wait for in the end.
fn write_early(file: &mut File, bytes: &[u8]) -> io::Result<()> {
    const PIECE: usize = 1 << 20;
    for (index, piece) in bytes.chunks(PIECE).enumerate() {
        file.write_all(piece)?;
        if piece.len() == PIECE {
            begin_flush(file, index * PIECE, PIECE);
        }
    }
    Ok(())
}

/// Asks for some bytes to be written back; whether they were is told by flushing the file.
#[cfg(target_os = "linux")]
fn begin_flush(file: &File, start: usize, len: usize) {
    use std::os::fd::AsRawFd as _;
    #[expect(unsafe_code, reason = "no crate of ours has this call")]
    // SAFETY: it takes plain numbers, and the file is open.
    unsafe {
        libc::sync_file_range(file.as_raw_fd(), start as i64, len as i64, libc::SYNC_FILE_RANGE_WRITE);
    }
}

#[cfg(not(target_os = "linux"))]
fn begin_flush(_file: &File, _start: usize, _len: usize) {}

#[cfg(target_os = "linux")]
fn rename_new(from: &Path, to: &Path) -> io::Result<Put> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        Ok(()) => Ok(Put::Created),
        Err(rustix::io::Errno::EXIST) => Ok(Put::Exists),
        Err(cause) => Err(cause.into()),
    }
}

#[cfg(not(target_os = "linux"))]
fn rename_new(_from: &Path, _to: &Path) -> io::Result<Put> {
    Err(io::Error::new(io::ErrorKind::Unsupported, "the file system has no hard links"))
}

fn other_file_system(target: &Path, staging: &Path) -> Error {
    Error::config(format!("{} and {} are on different file systems", staging.display(), target.display()))
        .hint("choose an output whose folders are all on one file system")
}

/// Creates a folder and those above it, each made durable in its parent.
fn create_folders(folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    if let Some(parent) = folder.parent() {
        create_folders(parent)?;
    }
    match fs::create_dir(folder) {
        Err(cause) if cause.kind() != io::ErrorKind::AlreadyExists => Err(cause),
        _ => sync_parent(folder),
    }
}

/// Makes the entry of `path` in its folder durable.
fn sync_parent(path: &Path) -> io::Result<()> {
    let parent = path.parent().unwrap_or(path);
    match File::open(parent).and_then(|folder| folder.sync_all()) {
        // Some network file systems cannot flush folders; they keep them durable by themselves.
        Err(cause) if matches!(cause.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported) => {
            Ok(())
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vocabulary::error::Kind;
    use std::os::unix::fs::symlink;

    fn at(path: &Path) -> LocalPath {
        LocalPath { path: path.to_path_buf(), naming: Naming::default() }
    }

    fn listed(root: &Path) -> Vec<String> {
        let mut keys = Vec::new();
        walk(&at(root), &mut |info| {
            keys.push(info.key);
            ControlFlow::Continue(())
        })
        .unwrap();
        let prefix = format!("{}/", encode_path(root));
        keys.into_iter().map(|key| key.strip_prefix(&prefix).unwrap().to_owned()).collect()
    }

    #[test]
    fn reading_is_bounded_and_says_what_was_wrong() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        fs::write(&path, b"0123456789").unwrap();
        let object = read(&at(&path), &Expected::default(), 10).unwrap();
        assert_eq!((&object.bytes[..], object.size), (&b"0123456789"[..], 10));
        assert_eq!(object.version, head(&at(&path), "a").unwrap().version);
        assert!(object.version.unwrap().starts_with("10-"));
        assert!(matches!(read(&at(&path), &Expected::default(), 9), Err(StoreError::TooLarge { size: 10 })));
        assert!(matches!(
            read(&at(&folder.path().join("b")), &Expected::default(), 9),
            Err(StoreError::Gone)
        ));
        assert!(matches!(read(&at(&path.join("b")), &Expected::default(), 9), Err(StoreError::Gone)));
        assert!(matches!(read(&at(folder.path()), &Expected::default(), 9), Err(StoreError::Gone)));
        let any = Expected::default();
        assert_eq!(&read_range(&at(&path), 2, 3, &any).unwrap()[..], b"234");
        assert_eq!(&read_range(&at(&path), 8, 30, &any).unwrap()[..], b"89");
    }

    #[test]
    fn a_file_that_is_not_the_expected_one_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        fs::write(&path, b"0123456789").unwrap();
        let expected = |size, version: Option<&str>| Expected { size, version: version.map(Into::into) };
        let version = head(&at(&path), "a").unwrap().version;
        assert!(read(&at(&path), &expected(Some(10), version.as_deref()), 10).is_ok());
        for other in [expected(Some(9), None), expected(None, Some("10-1"))] {
            assert!(
                matches!(read(&at(&path), &other, 5), Err(StoreError::Changed { .. })),
                "before any limit"
            );
        }
    }

    #[test]
    fn a_look_into_a_folder_sees_what_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("x");
        assert!(peek(&at(&root), 9).unwrap().is_none());
        fs::create_dir_all(root.join("sub")).unwrap();
        fs::write(root.join("a 1%"), b"").unwrap();
        symlink(root.join("nowhere"), root.join("broken")).unwrap();
        let mut keys: Vec<_> =
            peek(&at(&root), 9).unwrap().unwrap().into_iter().map(|info| info.key).collect();
        keys.sort();
        let key = encode_path(&root);
        assert_eq!(keys, [format!("{key}/a 1%25"), format!("{key}/sub/")]);
        assert_eq!(peek(&at(&root), 1).unwrap().unwrap().len(), 1);
    }

    #[test]
    fn a_named_pipe_does_not_hang_the_reader() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pipe");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &path,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::from_raw_mode(0o600),
            0,
        )
        .unwrap();
        assert!(matches!(read(&at(&path), &Expected::default(), 9), Err(StoreError::Gone)));
    }

    #[test]
    fn the_walk_is_in_key_order_and_follows_links_but_no_loops() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        for path in ["b/2", "b/1", "b.txt", "a", "c/d/e"] {
            fs::create_dir_all(root.join(path).parent().unwrap()).unwrap();
            fs::write(root.join(path), b"x").unwrap();
        }
        symlink(root.join("a"), root.join("z-link")).unwrap();
        symlink(root.join("nowhere"), root.join("z-broken")).unwrap();
        symlink(root, root.join("c/loop")).unwrap();
        assert_eq!(listed(root), ["a", "b.txt", "b/1", "b/2", "c/d/e", "z-link"]);
        let absent = walk(&at(&root.join("absent")), &mut |_| ControlFlow::Continue(())).unwrap_err();
        assert_eq!(absent.kind(), Kind::Config);
    }

    /// A run may be deleted while the table is listed.
    #[test]
    fn a_folder_that_vanishes_while_it_is_walked_is_empty() {
        let folder = tempfile::tempdir().unwrap();
        let walked = |ancestors: &[(u64, u64)]| {
            let mut path = at(&folder.path().join("run=1"));
            let mut key = encode_path(&path.path);
            walk_folder(&mut path, &mut key, &mut ancestors.to_vec(), &mut |_| ControlFlow::Continue(()))
        };
        assert!(walked(&[(0, 0), (0, 1)]).unwrap().is_continue());
        assert_eq!(walked(&[(0, 0)]).unwrap_err().kind(), Kind::Config, "the folder that was asked for");
    }

    #[test]
    fn a_file_is_created_once_and_nothing_else_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let (target, staging) = (folder.path().join("table/run=1/a"), folder.path().join("staging"));
        assert_eq!(put_new(&target, &staging, b"one").unwrap(), Put::Created);
        assert_eq!(put_new(&target, &staging, b"two").unwrap(), Put::Exists);
        assert_eq!(fs::read(&target).unwrap(), b"one");
        put_replace(&target, &staging, b"three").unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"three");
        assert_eq!(listed(folder.path()), ["table/run=1/a"]);
        let mode = fs::metadata(&target).unwrap().permissions().mode();
        assert_ne!(mode & 0o044, 0, "others may read it, as any file of the user: {mode:o}");
    }

    #[test]
    fn what_somebody_else_removes_is_written_again_later() {
        let failed = |code| write_failure(io::Error::from_raw_os_error(code), "write /a");
        assert_eq!(failed(2).kind(), Kind::Unavailable, "ENOENT: the staged file was swept away");
        assert_eq!(failed(30).kind(), Kind::Config, "EROFS");
        assert_eq!(failed(13).kind(), Kind::Config, "EACCES");
        assert_eq!(failed(28).kind(), Kind::Unavailable, "ENOSPC");
    }

    #[test]
    fn of_racing_writers_one_creates() {
        let folder = tempfile::tempdir().unwrap();
        let (target, staging) = (folder.path().join("t/a"), folder.path().join("s"));
        let race = || {
            std::thread::scope(|scope| {
                let writers: Vec<_> = (0..8u8)
                    .map(|writer| {
                        scope.spawn({
                            let (t, s) = (&target, &staging);
                            move || put_new(t, s, &[writer; 4096])
                        })
                    })
                    .collect();
                writers.into_iter().map(|writer| writer.join().unwrap().unwrap()).collect::<Vec<_>>()
            })
        };
        let created = race().into_iter().filter(|put| *put == Put::Created).count();
        assert_eq!(created, 1);
        let content = fs::read(&target).unwrap();
        assert!(
            content.len() == 4096 && content.iter().all(|byte| *byte == content[0]),
            "one writer's content"
        );
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn without_links_a_rename_still_replaces_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        fs::write(&from, b"1").unwrap();
        assert_eq!(rename_new(&from, &to).unwrap(), Put::Created);
        fs::write(&from, b"2").unwrap();
        assert_eq!(rename_new(&from, &to).unwrap(), Put::Exists);
        assert_eq!(fs::read(&to).unwrap(), b"1");
    }
}
