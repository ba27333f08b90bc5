//! The cache of one machine: files by their digests, and which version of which object has which digest.
//!
//! ```text
//! models/blobs/SHA256          a file, whole
//! models/index/URI.json        the version that was fetched, and its digest; URI: its SHA-256
//! models/views/FILES/NAME      links to blobs, under the names that the objects have; FILES: SHA-256 of names and digests
//! models/locks/URI             whoever fetches that object holds it
//! models/.stage-URI-…          what is being fetched
//! ```
//!
//! A file gets its name in `blobs` when it is whole and synced, so several processes may fetch at once, and a killed one
//! leaves a staged file that the next one removes. All functions but [`Cache::turn`] block.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions, Permissions, TryLockError};
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tempfile::NamedTempFile;

use crate::input::storage::{ObjectUri, free_bytes};
use crate::runtime::{cache_dir, cannot_write, sha256_of};
use crate::vocabulary::error::{Error, Result};
use crate::vocabulary::words;

/// How often a process looks whether another has fetched what it needs.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// A process that fetches nothing for so long is not waited for: it may be stopped.
const SILENCE: Duration = Duration::from_mins(2);

/// The cache.
#[derive(Clone, Debug)]
pub(super) struct Cache {
    root: PathBuf,
    silence: Duration,
}

/// A file in the cache, whose content has this digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Blob {
    /// SHA-256, in hex.
    pub(super) digest: String,
    /// Number of bytes.
    pub(super) num_bytes: u64,
}

/// What was fetched of an object.
#[derive(Serialize, Deserialize)]
struct Entry {
    uri: String,
    version: String,
    num_bytes: u64,
    sha256: String,
}

impl Cache {
    /// Names the cache of this machine, which need not exist.
    pub(super) fn of_this_machine() -> Result<Self> {
        Ok(Self::at(cache_dir()?.join("models")))
    }

    pub(super) fn at(root: PathBuf) -> Self {
        Self { root, silence: SILENCE }
    }

    /// Returns where it lies.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// Returns where a blob lies.
    pub(super) fn path_of(&self, blob: &Blob) -> PathBuf {
        self.root.join("blobs").join(&blob.digest)
    }

    /// Finds a version of an object that was fetched before, and compares its content with its digest; what is damaged
    /// is removed.
    pub(super) fn find(&self, uri: &ObjectUri, version: Option<&str>, size: Option<u64>) -> Option<Blob> {
        let text = fs::read_to_string(self.index(uri)).ok()?;
        let Entry { uri: of, version: known, num_bytes, sha256 } = serde_json::from_str(&text).ok()?;
        let is_it = of == uri.for_reading() && Some(known.as_str()) == version;
        let blob = Blob { digest: sha256, num_bytes };
        (is_it && size.is_none_or(|size| size == num_bytes) && self.is_whole(&blob)).then_some(blob)
    }

    fn is_whole(&self, blob: &Blob) -> bool {
        let path = self.path_of(blob);
        let Ok(found) = sha256_of(&path) else { return false };
        if found == blob.digest {
            return true;
        }
        tracing::warn!("{} is damaged, and is fetched again", path.display());
        let _ = fs::remove_file(path);
        false
    }

    /// Makes a file for what is about to be fetched; removes what a killed process has left of the same object.
    ///
    /// - `is_our_turn`: whether nobody else fetches it
    pub(super) fn stage(
        &self,
        uri: &ObjectUri,
        size: Option<u64>,
        is_our_turn: bool,
    ) -> Result<NamedTempFile> {
        make_folder(&self.root)?;
        let prefix = stage_prefix(uri);
        if is_our_turn {
            self.staged(&prefix).for_each(|left| drop(fs::remove_file(left)));
        }
        check_room(&self.root, size, free_bytes(&self.root))?;
        new_file(&self.root, &prefix)
    }

    /// Gives a fetched file its place.
    pub(super) fn keep(&self, staged: NamedTempFile, uri: &ObjectUri, version: Option<&str>) -> Result<Blob> {
        let failed = |cause| cannot_write(staged.path(), cause);
        let num_bytes = staged.as_file().metadata().map_err(failed)?.len();
        let digest = sha256_of(staged.path()).map_err(failed)?;
        staged.as_file().sync_all().map_err(failed)?;
        let blob = Blob { digest, num_bytes };
        make_folder(&self.root.join("blobs"))?;
        persist(staged, &self.path_of(&blob))?;
        if let Some(version) = version {
            let entry = Entry {
                uri: uri.for_reading().to_owned(),
                version: version.to_owned(),
                num_bytes,
                sha256: blob.digest.clone(),
            };
            self.note(uri, &entry)?;
        }
        Ok(blob)
    }

    fn note(&self, uri: &ObjectUri, entry: &Entry) -> Result<()> {
        let json = serde_json::to_vec(entry).expect("texts and numbers are JSON");
        make_folder(&self.root.join("index"))?;
        let mut file = new_file(&self.root.join("index"), ".stage-")?;
        file.write_all(&json).map_err(|cause| cannot_write(file.path(), cause))?;
        persist(file, &self.index(uri))
    }

    /// Makes a folder in which blobs have these names; returns where it is.
    ///
    /// - `files`: names, without folders, and blobs
    pub(super) fn view(&self, files: &BTreeMap<String, Blob>) -> Result<PathBuf> {
        let digests: BTreeMap<&str, &str> =
            files.iter().map(|(name, blob)| (name.as_str(), blob.digest.as_str())).collect();
        let json = serde_json::to_vec(&digests).expect("texts are JSON");
        let folder = self.root.join("views").join(hex::encode(Sha256::digest(json)));
        for (name, digest) in digests {
            let (link, target) = (folder.join(name), Path::new("../../blobs").join(digest));
            let is_there = || fs::read_link(&link).is_ok_and(|found| found == target);
            if is_there() {
                continue;
            }
            make_folder(&folder)?;
            match symlink(&target, &link) {
                // Another process was faster.
                Err(_) if is_there() => {}
                linked => linked.map_err(|cause| cannot_write(&link, cause))?,
            }
        }
        Ok(folder)
    }

    /// Waits until nobody else fetches an object; returns what holds the others off, or `None` where that is not to be
    /// had: the file system has no locks, or whoever has the turn fetches nothing.
    pub(super) async fn turn(&self, uri: &ObjectUri) -> Result<Option<File>> {
        let lock = self.open_lock(uri)?;
        let prefix = stage_prefix(uri);
        let mut seen = (self.num_staged_bytes(&prefix), Instant::now());
        let mut waits = false;
        loop {
            match lock.try_lock() {
                Ok(()) => return Ok(Some(lock)),
                Err(TryLockError::Error(_)) => return Ok(None),
                Err(TryLockError::WouldBlock) => {}
            }
            if !std::mem::replace(&mut waits, true) {
                tracing::info!("another process fetches {uri}");
            }
            let now = self.num_staged_bytes(&prefix);
            if now != seen.0 {
                seen = (now, Instant::now());
            }
            if seen.1.elapsed() > self.silence {
                tracing::warn!("another process has stopped fetching {uri}; this one does not wait for it");
                return Ok(None);
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    fn open_lock(&self, uri: &ObjectUri) -> Result<File> {
        let folder = self.root.join("locks");
        make_folder(&folder)?;
        let path = folder.join(name_of(uri));
        let opened = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
        opened.map_err(|cause| cannot_write(&path, cause))
    }

    fn num_staged_bytes(&self, prefix: &str) -> u64 {
        self.staged(prefix).filter_map(|path| Some(fs::metadata(path).ok()?.len())).sum()
    }

    fn staged(&self, prefix: &str) -> impl Iterator<Item = PathBuf> {
        let entries = fs::read_dir(&self.root).into_iter().flatten().flatten();
        let is_it = move |entry: &fs::DirEntry| entry.file_name().to_string_lossy().starts_with(prefix);
        entries.filter(is_it).map(|entry| entry.path())
    }

    fn index(&self, uri: &ObjectUri) -> PathBuf {
        self.root.join("index").join(name_of(uri) + ".json")
    }
}

fn make_folder(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).map_err(|cause| cannot_write(folder, cause))
}

fn new_file(folder: &Path, prefix: &str) -> Result<NamedTempFile> {
    tempfile::Builder::new()
        .prefix(prefix)
        // An image may be built by root and run by another user.
        .permissions(Permissions::from_mode(0o666))
        .tempfile_in(folder)
        .map_err(|cause| cannot_write(folder, cause))
}

fn persist(file: NamedTempFile, path: &Path) -> Result<()> {
    file.persist(path).map(drop).map_err(|failure| cannot_write(path, failure.error))
}

fn name_of(uri: &ObjectUri) -> String {
    hex::encode(Sha256::digest(uri.for_reading()))
}

fn stage_prefix(uri: &ObjectUri) -> String {
    format!(".stage-{}-", name_of(uri))
}

/// - `size`, `free`: in bytes; `None` if nobody says
fn check_room(folder: &Path, size: Option<u64>, free: Option<u64>) -> Result<()> {
    match size.zip(free) {
        Some((size, free)) if size > free => Err(Error::unavailable(format!(
            "{} has {} free, and {} are to be fetched",
            folder.display(),
            words::bytes(free),
            words::bytes(size)
        ))
        .hint("free some space, or set TILEFLEET_CACHE to a folder on another disk")),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vocabulary::error::Kind;

    struct Place {
        folder: tempfile::TempDir,
        cache: Cache,
    }

    impl Place {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let cache = Cache::at(folder.path().join("models"));
            Self { folder, cache }
        }

        fn keep(&self, uri: &ObjectUri, version: Option<&str>, content: &[u8]) -> Blob {
            let mut staged = self.cache.stage(uri, Some(content.len() as u64), true).unwrap();
            staged.write_all(content).unwrap();
            self.cache.keep(staged, uri, version).unwrap()
        }

        fn names(&self, folder: &str) -> Vec<String> {
            let entries = fs::read_dir(self.folder.path().join("models").join(folder)).into_iter().flatten();
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
        }
    }

    fn uri(key: &str) -> ObjectUri {
        ObjectUri::parse(&format!("s3://models/{key}")).unwrap()
    }

    /// FIPS 180-4, the one-block example.
    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn a_version_that_was_kept_is_found_and_no_other() {
        let (place, a) = (Place::new(), uri("a.onnx"));
        assert_eq!(place.cache.find(&a, Some("1"), Some(3)), None);
        let blob = place.keep(&a, Some("1"), b"abc");
        assert_eq!(blob, Blob { digest: ABC.to_owned(), num_bytes: 3 });
        assert_eq!(fs::read(place.cache.path_of(&blob)).unwrap(), b"abc");
        for size in [Some(3), None] {
            assert_eq!(place.cache.find(&a, Some("1"), size).as_ref(), Some(&blob));
        }
        for (version, size) in [(Some("2"), Some(3)), (None, Some(3)), (Some("1"), Some(4))] {
            assert_eq!(place.cache.find(&a, version, size), None, "{version:?} {size:?}");
        }
        assert_eq!(place.cache.find(&uri("b.onnx"), Some("1"), Some(3)), None);
        // The same content of another object is kept once; the newer version replaces what was known.
        place.keep(&uri("b.onnx"), Some("7"), b"abc");
        place.keep(&a, Some("2"), b"abcd");
        assert_eq!((place.names("blobs").len(), place.names("index").len()), (2, 2));
        assert_eq!(place.cache.find(&a, Some("1"), Some(3)), None);
    }

    /// A store that tells no version may have anything there the next time.
    #[test]
    fn what_has_no_version_is_never_found() {
        let (place, a) = (Place::new(), uri("a.onnx"));
        place.keep(&a, None, b"abc");
        assert_eq!(place.cache.find(&a, None, Some(3)), None);
        assert!(place.names("index").is_empty());
    }

    #[test]
    fn what_is_damaged_is_not_found_and_goes() {
        let (place, a) = (Place::new(), uri("a.onnx"));
        let blob = place.keep(&a, Some("1"), b"abc");
        fs::write(place.cache.path_of(&blob), b"xyz").unwrap();
        assert_eq!(place.cache.find(&a, Some("1"), Some(3)), None);
        assert!(place.names("blobs").is_empty());
        assert_eq!(place.keep(&a, Some("1"), b"abc"), blob);
        fs::write(place.cache.index(&a), b"{").unwrap();
        assert_eq!(place.cache.find(&a, Some("1"), Some(3)), None, "as after a crash of the machine");
    }

    #[test]
    fn what_a_killed_process_left_goes_with_the_next_turn_of_that_object() {
        let (place, a, b) = (Place::new(), uri("a.onnx"), uri("b.onnx"));
        let left = |uri: &ObjectUri| place.cache.stage(uri, None, true).unwrap().keep().unwrap().1;
        let (of_a, of_b) = (left(&a), left(&b));
        place.cache.stage(&a, None, false).unwrap();
        assert!(of_a.exists(), "somebody else may be writing it");
        place.cache.stage(&a, None, true).unwrap();
        assert!(!of_a.exists() && of_b.exists());
        assert!(place.names("blobs").is_empty());
    }

    #[test]
    fn a_view_has_the_names_of_the_objects() {
        let place = Place::new();
        let of = |name: &str, content| (name.to_owned(), place.keep(&uri(name), Some("1"), content));
        let files = BTreeMap::from([of("net.onnx", b"network"), of("net.contract.toml", b"contract")]);
        let view = place.cache.view(&files).unwrap();
        assert_eq!(fs::read(view.join("net.onnx")).unwrap(), b"network");
        assert_eq!(fs::read(view.join("net.contract.toml")).unwrap(), b"contract");
        assert_eq!(place.cache.view(&files).unwrap(), view);
        let others = BTreeMap::from([of("net.onnx", b"network"), of("net.contract.toml", b"another")]);
        assert_ne!(place.cache.view(&others).unwrap(), view);
        assert_eq!(fs::read(view.join("net.contract.toml")).unwrap(), b"contract");
    }

    #[tokio::test]
    async fn one_at_a_time_has_the_turn_of_an_object() {
        let (place, a) = (Place::new(), uri("a.onnx"));
        let turn = place.cache.turn(&a).await.unwrap();
        assert!(turn.is_some());
        assert!(place.cache.turn(&uri("b.onnx")).await.unwrap().is_some(), "another object");
        let cache = place.cache.clone();
        let (next, waits) = (tokio::spawn(async move { cache.turn(&a).await.unwrap() }), LOOK_EVERY * 3);
        tokio::time::sleep(waits).await;
        assert!(!next.is_finished());
        drop(turn);
        assert!(next.await.unwrap().is_some());
    }

    /// Such as one that was stopped (SIGSTOP) while it had the turn.
    #[tokio::test]
    async fn who_fetches_nothing_is_not_waited_for() {
        let (mut place, a) = (Place::new(), uri("a.onnx"));
        place.cache.silence = Duration::ZERO;
        let _turn = place.cache.turn(&a).await.unwrap();
        assert!(place.cache.turn(&a).await.unwrap().is_none());
    }

    #[test]
    fn a_disk_that_is_too_full_is_said_before_anything_is_fetched() {
        let folder = Path::new("/cache/models");
        assert!(check_room(folder, Some(5), Some(5)).is_ok());
        assert!(check_room(folder, None, Some(0)).is_ok() && check_room(folder, Some(9), None).is_ok());
        let error = check_room(folder, Some(3 << 20), Some(1 << 20)).unwrap_err();
        assert_eq!(error.kind(), Kind::Unavailable);
        let said = error.render();
        assert!(said.contains("/cache/models has 1.0 MiB free, and 3.0 MiB are to be fetched"), "{said}");
        assert!(said.contains("TILEFLEET_CACHE"), "{said}");
    }

    #[test]
    fn a_cache_that_is_no_folder_is_for_a_person_to_mend() {
        let place = Place::new();
        fs::write(place.folder.path().join("models"), b"").unwrap();
        let error = place.cache.stage(&uri("a.onnx"), None, true).unwrap_err();
        assert!(error.render().contains("TILEFLEET_CACHE"), "{}", error.render());
    }
}
