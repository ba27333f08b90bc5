//! One bucket, or the local file system: read, list, and write whole objects.

use std::ops::{ControlFlow, Range};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::{Bytes, BytesMut};
use futures::FutureExt as _;
use futures::future::{BoxFuture, ready};
use futures::stream::{self, BoxStream, StreamExt as _, TryStreamExt as _};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{
    GetOptions, GetRange, GetResult, ObjectMeta, ObjectStore, ObjectStoreExt as _, PutMode, PutOptions,
    PutPayload, coalesce_ranges,
};
use tokio::sync::OnceCell;

use super::connect::StorePlan;
use super::local::{self, LocalPath};
use super::own;
use super::pace::{LeastPace, Pace, PieceError};
use super::request_timeout::UNKNOWN_SIZE;
use super::store_error::{
    StoreError, classify, classify_io, classify_web, failure, io_failure, refuses_to_show, trouble_of,
};
use super::trouble::Trouble;
use super::unaddressable_keys;
use super::uri::{ObjectUri, Scheme, encode_name, path_of_key};
use crate::vocabulary::error::{Error, Result};
use crate::vocabulary::identity::Naming;
use crate::vocabulary::words::counted;

/// How often the reading of one object starts over when its stream breaks or stalls.
const READ_ATTEMPTS: u32 = 3;
/// Staged files older than this belong to nobody: a single write takes seconds.
const LEFTOVER_AGE: Duration = Duration::from_mins(10);
/// How many zero-byte objects of a listing are looked at in parallel.
const MARKER_LOOKUPS: usize = 16;

/// A whole object in memory.
#[derive(Clone, Debug)]
pub struct Object {
    /// Its content.
    pub bytes: Bytes,
    /// The version that was read; see [`ObjectInfo::version`].
    pub version: Option<String>,
    /// Number of bytes.
    pub size: u64,
}

/// What is known of an object before it is read; what is `None` may be anything.
#[derive(Clone, Debug, Default)]
pub struct Expected {
    /// Its number of bytes.
    pub size: Option<u64>,
    /// Its version; see [`ObjectInfo::version`].
    pub version: Option<Arc<str>>,
}

impl Expected {
    /// Fails with [`StoreError::Changed`] if what was found is known to be another object.
    pub(super) fn check(&self, size: Option<u64>, version: Option<&str>) -> Result<(), StoreError> {
        let other_version = self.version.as_deref().zip(version).is_some_and(|(known, found)| known != found);
        if other_version || self.size.zip(size).is_some_and(|(known, found)| known != found) {
            return Err(StoreError::Changed { version: version.map(str::to_owned) });
        }
        Ok(())
    }
}

/// What a store says about an object without reading it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectInfo {
    /// Key inside the bucket; ends in `/` for a folder marker, which is not an object of its own. It may be
    /// one that cannot be asked for, see [`ObjectInfo::is_addressable`].
    pub key: String,
    /// Number of bytes; [`u64::MAX`] if the store does not say.
    pub size: u64,
    /// The entity tag without its quotes; for files `<size>-<mtime in nanoseconds>`.
    ///
    /// Version ids are not used: listings do not give them, so that planning could not compare.
    pub version: Option<String>,
    /// When it was last written.
    pub modified: SystemTime,
}

impl ObjectInfo {
    /// Returns whether the object can be asked for: keys with empty, `.` or `..` segments or control
    /// characters can only be listed.
    #[must_use]
    pub fn is_addressable(&self) -> bool {
        unaddressable_keys::is_addressable(&self.key)
    }

    /// Returns the number of bytes, if the store says it.
    #[must_use]
    pub fn known_size(&self) -> Option<u64> {
        known(self.size)
    }
}

/// What a create-only write did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Put {
    /// The object is there now and was not before.
    Created,
    /// An object was there already, and is as it was.
    ///
    /// Some stores also answer so when two writers met and neither won, and a repeated request can
    /// find its own first try: look at the object before concluding anything.
    Exists,
}

/// One bucket, or the local file system. Clones share connections.
#[derive(Clone)]
pub struct Bucket {
    root: Arc<ObjectUri>,
    inner: Arc<Inner>,
    staging: Option<Arc<PathBuf>>,
    /// The key of the folder below which things may be deleted; `None`: nowhere.
    own: Option<Arc<str>>,
}

struct Inner {
    backend: Backend,
    pace: LeastPace,
}

enum Backend {
    Local,
    Remote { plan: Option<StorePlan>, store: OnceCell<Arc<dyn ObjectStore>> },
}

impl Bucket {
    /// Makes the bucket that holds all local files.
    pub(super) fn local(root: ObjectUri) -> Self {
        Self::new(root, Backend::Local, LeastPace { silence: Duration::MAX, bytes_a_second: 0 })
    }

    /// Makes a bucket that connects when it is first used.
    pub(super) fn remote(root: ObjectUri, plan: StorePlan) -> Self {
        let pace = plan.pace();
        Self::new(root, Backend::Remote { plan: Some(plan), store: OnceCell::new() }, pace)
    }

    /// Makes a bucket of any store, for tests; `uri` is what it pretends to be, such as `s3://test`.
    ///
    /// # Panics
    ///
    /// If `uri` is not a URI.
    #[must_use]
    pub fn over(store: Arc<dyn ObjectStore>, uri: &str) -> Self {
        let root = ObjectUri::parse(uri).expect("the caller names a valid bucket").with_key("");
        let backend = Backend::Remote { plan: None, store: OnceCell::new_with(Some(store)) };
        Self::new(root, backend, LeastPace { silence: Duration::from_secs(20), bytes_a_second: 0 })
    }

    fn new(root: ObjectUri, backend: Backend, pace: LeastPace) -> Self {
        Self { root: Arc::new(root), inner: Arc::new(Inner { backend, pace }), staging: None, own: None }
    }

    /// Returns the same bucket, whose objects are named so.
    pub(super) fn named(self, naming: &Naming) -> Self {
        if self.root.naming().is(naming) {
            return self;
        }
        Self { root: Arc::new(ObjectUri::clone(&self.root).named(naming)), ..self }
    }

    /// Returns the same bucket with a folder for unfinished local writes; stores need none.
    ///
    /// `folder` is a key. It must be on the file system of what is written, and outside of any folder
    /// that others read: what a killed process leaves behind, it leaves there.
    #[must_use]
    pub fn with_staging(&self, folder: &str) -> Self {
        let staging = self.is_local().then(|| Arc::new(path_of_key(folder.trim_end_matches('/'))));
        Self { staging, ..self.clone() }
    }

    /// Returns the same bucket with a folder below which things may be deleted; elsewhere nothing is.
    ///
    /// `folder` is a key; an empty one is the whole bucket.
    #[must_use]
    pub fn with_own(&self, folder: &str) -> Self {
        Self { own: Some(folder.trim_matches('/').into()), ..self.clone() }
    }

    /// Returns whether objects are files of this machine.
    #[must_use]
    pub fn is_local(&self) -> bool {
        matches!(self.inner.backend, Backend::Local)
    }

    /// Returns the URI of a key.
    #[must_use]
    pub fn uri(&self, key: &str) -> ObjectUri {
        self.root.with_key(key)
    }

    /// Reads a whole object.
    ///
    /// # Errors
    ///
    /// [`StoreError::TooLarge`] before anything is transferred if the object has more than `max_bytes`;
    /// else as [`StoreError`] says.
    pub async fn get(&self, key: &str, max_bytes: u64) -> Result<Object, StoreError> {
        self.get_expected(key, &Expected::default(), max_bytes).await
    }

    /// Reads a whole object if it is still the one that is expected.
    ///
    /// # Errors
    ///
    /// [`StoreError::Changed`] before anything is transferred if the object is another; else as
    /// [`Bucket::get`].
    pub async fn get_expected(
        &self,
        key: &str,
        expected: &Expected,
        max_bytes: u64,
    ) -> Result<Object, StoreError> {
        let Some(store) = self.store().await? else {
            let (file, expected) = (self.file(key), expected.clone());
            return blocking(move || local::read(&file, &expected, max_bytes)).await?;
        };
        let take = |opened| async move { Ok(self.collect(opened, key, max_bytes).await) }.boxed();
        let object = self.read_again(&**store, key, GetOptions::default(), expected, take).await?;
        expected.check(Some(object.size), None)?;
        Ok(object)
    }

    /// Opens an object and takes its content, from the start again if the transfer breaks.
    ///
    /// - `take`: its outer error is that of where the content goes, which nothing is read again for
    async fn read_again<'a, T>(
        &'a self,
        store: &'a dyn ObjectStore,
        key: &'a str,
        options: GetOptions,
        expected: &'a Expected,
        take: impl Fn(GetResult) -> BoxFuture<'a, Result<Result<T, StoreError>, StoreError>>,
    ) -> Result<T, StoreError> {
        let path = self.path(key)?;
        let mut attempt = 1;
        loop {
            let opened = store.get_opts(&path, options.clone()).await;
            let opened = opened.map_err(|cause| self.fault(&cause, "read", key))?;
            expected.check(known(opened.meta.size), version_of(&opened.meta).as_deref())?;
            match take(opened).await? {
                Err(StoreError::Failed(_)) if attempt < READ_ATTEMPTS => attempt += 1,
                taken => return taken,
            }
        }
    }

    /// Reads several local files, each if it is still the one that is expected, on one thread.
    ///
    /// # Errors
    ///
    /// `Bug` if this is not a local bucket; of each file as [`Bucket::get_expected`].
    pub async fn get_local_files(
        &self,
        wanted: Vec<(String, Expected)>,
        max_bytes: u64,
    ) -> Result<Vec<Result<Object, StoreError>>> {
        if !self.is_local() {
            return Err(Error::bug(format!("{} is not a local folder", self.root)));
        }
        let bucket = self.clone();
        let read =
            move |(key, expected): &(String, Expected)| local::read(&bucket.file(key), expected, max_bytes);
        blocking(move || wanted.iter().map(read).collect()).await
    }

    /// Returns whether an object can be read now; its content stays where it is.
    ///
    /// # Errors
    ///
    /// As the store answers, if it is not this one object that is gone or forbidden.
    pub async fn is_readable(&self, key: &str) -> Result<bool> {
        // Of an object above the limit nothing but its headers is asked for.
        match self.get(key, 0).await {
            Ok(_) | Err(StoreError::TooLarge { .. } | StoreError::Changed { .. }) => Ok(true),
            Err(StoreError::Gone | StoreError::Forbidden) => Ok(false),
            Err(StoreError::Failed(error)) => Err(error),
        }
    }

    async fn collect(&self, opened: GetResult, key: &str, max_bytes: u64) -> Result<Object, StoreError> {
        let size = known(opened.meta.size);
        if let Some(size) = size.filter(|size| *size > max_bytes) {
            return Err(StoreError::TooLarge { size });
        }
        let version = version_of(&opened.meta);
        let mut stream = opened.into_stream();
        let mut bytes = BytesMut::with_capacity(size.map_or(0, |size| usize::try_from(size).unwrap_or(0)));
        let mut pace = self.inner.pace.begin();
        while let Some(piece) = self.next_piece(&mut stream, &mut pace, key).await? {
            if (bytes.len() + piece.len()) as u64 > max_bytes {
                return Err(StoreError::TooLarge { size: (bytes.len() + piece.len()) as u64 });
            }
            bytes.extend_from_slice(&piece);
        }
        let read = bytes.len() as u64;
        if let Some(size) = size.filter(|size| *size != read) {
            return Err(self.cut_short(read, size, key));
        }
        Ok(Object { bytes: bytes.freeze(), version, size: read })
    }

    async fn next_piece(
        &self,
        stream: &mut BoxStream<'static, object_store::Result<Bytes>>,
        pace: &mut Pace,
        key: &str,
    ) -> Result<Option<Bytes>, StoreError> {
        pace.next(stream).await.map_err(|error| match error {
            PieceError::Failed(cause) => match self.fault(&cause, "read", key) {
                // Headers came, so the object is there and readable; only the transfer broke.
                StoreError::Failed(error) => StoreError::Failed(error),
                fault => self.trouble(Trouble::BrokenOff, fault.to_string(), key),
            },
            PieceError::TooSlow(slow) => self.trouble(Trouble::TooSlow, slow.to_string(), key),
        })
    }

    /// Says that an object cannot be read for now.
    fn trouble(&self, trouble: Trouble, why: String, key: &str) -> StoreError {
        Error::unavailable(format!("cannot {}", self.doing("read", key))).because(trouble.said(why)).into()
    }

    /// Reads `length` bytes from `start`, or up to the object's end.
    ///
    /// # Errors
    ///
    /// As [`StoreError`] says; `Failed` if the object ends before `start`.
    pub async fn get_range(&self, key: &str, start: u64, length: u64) -> Result<Bytes, StoreError> {
        self.get_range_expected(key, start, length, &Expected::default()).await
    }

    /// Reads several ranges of an object, in their order; those that are at most so many bytes apart with one request.
    ///
    /// # Errors
    ///
    /// As [`Bucket::get_range`].
    pub async fn get_ranges(
        &self,
        key: &str,
        ranges: &[Range<u64>],
        max_gap_bytes: u64,
    ) -> Result<Vec<Bytes>, StoreError> {
        let get = |range: Range<u64>| self.get_range(key, range.start, range.end - range.start);
        coalesce_ranges(ranges, get, max_gap_bytes).await
    }

    /// As [`Bucket::get_range`], if the object is still the one that is expected.
    ///
    /// # Errors
    ///
    /// [`StoreError::Changed`] if the object is another; else as [`Bucket::get_range`].
    pub async fn get_range_expected(
        &self,
        key: &str,
        start: u64,
        length: u64,
        expected: &Expected,
    ) -> Result<Bytes, StoreError> {
        if length == 0 {
            return Ok(Bytes::new());
        }
        let Some(store) = self.store().await? else {
            let (file, expected) = (self.file(key), expected.clone());
            return blocking(move || local::read_range(&file, start, length, &expected)).await?;
        };
        let range = Some(GetRange::Bounded(start..start.saturating_add(length)));
        let options = GetOptions { range, ..GetOptions::default() };
        let take = |opened| async move { Ok(self.collect_range(opened, key, length).await) }.boxed();
        self.read_again(&**store, key, options, expected, take).await
    }

    async fn collect_range(&self, opened: GetResult, key: &str, length: u64) -> Result<Bytes, StoreError> {
        let announced = opened.range.end - opened.range.start;
        let mut stream = opened.into_stream();
        let mut bytes = BytesMut::with_capacity(usize::try_from(announced.min(length)).unwrap_or(0));
        let mut pace = self.inner.pace.begin();
        while let Some(piece) = self.next_piece(&mut stream, &mut pace, key).await? {
            bytes.extend_from_slice(&piece);
            if bytes.len() as u64 > announced {
                return Err(self.trouble(
                    Trouble::BadAnswer,
                    "the answer is longer than the requested range".to_owned(),
                    key,
                ));
            }
        }
        if bytes.len() as u64 != announced {
            return Err(self.trouble(Trouble::BrokenOff, "the answer was cut short".to_owned(), key));
        }
        Ok(bytes.freeze())
    }

    /// Copies an object into a local file, piece by piece; returns its number of bytes.
    ///
    /// # Errors
    ///
    /// As [`StoreError`] says; `Failed` with `Unavailable` if the disk is full.
    pub async fn download(&self, key: &str, to: &FilePath) -> Result<u64, StoreError> {
        self.download_expected(key, to, &Expected::default(), u64::MAX).await
    }

    /// As [`Bucket::download`], if the object is still the one that is expected; starts over when the transfer breaks.
    ///
    /// # Errors
    ///
    /// [`StoreError::Changed`] before anything is transferred if the object is another, [`StoreError::TooLarge`] if it
    /// has more than `max_bytes`; else as [`Bucket::download`].
    pub async fn download_expected(
        &self,
        key: &str,
        to: &FilePath,
        expected: &Expected,
        max_bytes: u64,
    ) -> Result<u64, StoreError> {
        let Some(store) = self.store().await? else {
            let (from, to) = (path_of_key(key), to.to_path_buf());
            let copied = blocking(move || std::fs::copy(&from, &to)).await?;
            return copied.map_err(|cause| classify_io(cause, &self.doing("read", key)));
        };
        let take = |opened| async move { Ok(self.copy(opened, key, to, max_bytes).await?) }.boxed();
        self.read_again(&**store, key, GetOptions::default(), expected, take).await
    }

    /// Copies what was opened; the outer error is that of the local file.
    async fn copy(
        &self,
        opened: GetResult,
        key: &str,
        to: &FilePath,
        max_bytes: u64,
    ) -> Result<Result<u64, StoreError>> {
        let failed = |cause| io_failure(cause, &format!("write {}", to.display()));
        let size = known(opened.meta.size);
        if let Some(size) = size.filter(|size| *size > max_bytes) {
            return Ok(Err(StoreError::TooLarge { size }));
        }
        let mut stream = opened.into_stream();
        let mut file = tokio::fs::File::create(to).await.map_err(failed)?;
        let (mut num_bytes, mut pace) = (0, self.inner.pace.begin());
        loop {
            match self.next_piece(&mut stream, &mut pace, key).await {
                Err(fault) => return Ok(Err(fault)),
                Ok(None) => break,
                Ok(Some(piece)) => {
                    num_bytes += piece.len() as u64;
                    if num_bytes > max_bytes {
                        return Ok(Err(StoreError::TooLarge { size: num_bytes }));
                    }
                    tokio::io::AsyncWriteExt::write_all(&mut file, &piece).await.map_err(failed)?;
                }
            }
        }
        tokio::io::AsyncWriteExt::flush(&mut file).await.map_err(failed)?;
        Ok(match size.filter(|size| *size != num_bytes) {
            Some(size) => Err(self.cut_short(num_bytes, size, key)),
            None => Ok(num_bytes),
        })
    }

    /// Says that an answer ended before the object did.
    fn cut_short(&self, received: u64, size: u64, key: &str) -> StoreError {
        let short = format!("received {} instead of {size}", counted(received, "byte"));
        self.trouble(Trouble::BrokenOff, short, key)
    }

    /// Looks at an object without reading it. Where a web server does not let it be looked at, its first byte is asked
    /// for, and the answer to that counts.
    ///
    /// # Errors
    ///
    /// As [`StoreError`] says. A store's answer to this request has no body, so that a missing bucket looks like a
    /// missing object and refused credentials like a forbidden one; [`Bucket::probe`] tells them apart.
    pub async fn head(&self, key: &str) -> Result<ObjectInfo, StoreError> {
        let Some(store) = self.store().await? else {
            let (file, key) = (self.file(key), key.to_owned());
            return blocking(move || local::head(&file, &key)).await?;
        };
        let path = self.path(key)?;
        let found = match store.head(&path).await {
            Err(cause) if self.root.scheme().is_http() && refuses_to_show(&cause) => {
                look_by_reading(&**store, &path).await
            }
            found => found,
        };
        let mut info = found.map(info_of).map_err(|cause| self.fault(&cause, "look at", key))?;
        if info.known_size().is_none() {
            // Who does not say it of the whole says it of a part.
            let range = Some(GetRange::Bounded(0..1));
            let part = store.get_opts(&path, GetOptions { range, ..GetOptions::default() }).await;
            info.size = part.map_or(info.size, |part| part.meta.size);
        }
        Ok(info)
    }

    /// Lists all objects below a folder, in bounded memory; local files come in the order of their keys.
    ///
    /// Keys are relative to the bucket. Folder markers are yielded with a trailing slash.
    ///
    /// # Errors
    ///
    /// `Config` if there is no such bucket or local folder or it may not be listed, or the store
    /// cannot list (`http`); `Unavailable` if the store is away.
    pub fn list(&self, prefix: &str) -> BoxStream<'static, Result<ObjectInfo>> {
        if self.is_local() {
            return list_local(self.file(prefix.trim_matches('/')));
        }
        let bucket = self.clone();
        let prefix = prefix.trim_matches('/').to_owned();
        stream::once(async move { bucket.list_store(prefix).await }).try_flatten().boxed()
    }

    async fn list_store(self, prefix: String) -> Result<BoxStream<'static, Result<ObjectInfo>>> {
        let doing = self.doing("list", &prefix);
        if self.root.scheme().is_http() {
            return Err(Error::config(format!("cannot {doing}"))
                .because("web servers cannot list objects".to_owned())
                .hint("name each object, or give a manifest with a column `uri`"));
        }
        let store = self.store().await?.cloned().ok_or_else(|| Error::bug("a store was expected"))?;
        let path = self.path(&prefix)?;
        let entries = store.list((!prefix.is_empty()).then_some(&path));
        let naming = self.root.naming().clone();
        let entries =
            entries.map(move |entry| entry.map(info_of).map_err(|cause| failure(&cause, &doing, &naming)));
        Ok(entries.map(move |entry| self.clone().with_marker(entry)).buffered(MARKER_LOOKUPS).boxed())
    }

    /// Looks into a folder: returns at most `most` objects below it, or `None` if it is a local folder
    /// that is not there. Of a local folder only its own entries are seen, in any order; folders end
    /// in a slash, and links that lead nowhere are left out.
    ///
    /// # Errors
    ///
    /// As [`Bucket::list`].
    pub async fn peek(&self, folder: &str, most: usize) -> Result<Option<Vec<ObjectInfo>>> {
        if self.is_local() {
            let folder = self.file(folder);
            return blocking(move || local::peek(&folder, most)).await?;
        }
        self.list(folder).take(most).try_collect().await.map(Some)
    }

    /// Gives a folder marker its slash back: `object_store` strips it, and the marker of an empty
    /// folder then looks like an empty object.
    async fn with_marker(self, entry: Result<ObjectInfo>) -> Result<ObjectInfo> {
        let mut info = entry?;
        if info.size == 0 && matches!(self.head(&info.key).await, Err(StoreError::Gone)) {
            info.key.push('/');
        }
        Ok(info)
    }

    /// Creates an object, or finds that one is there.
    ///
    /// # Errors
    ///
    /// `Config` if it may not be written there or the store has no create-only writes. `Unavailable`
    /// if the answer got lost: the object may then be there all the same, so look.
    pub async fn put_new(&self, key: &str, bytes: Bytes) -> Result<Put> {
        let Some(store) = self.store_to_change("write", key).await? else {
            let (target, staging) = (path_of_key(key), self.staging(key)?);
            return blocking(move || local::put_new(&target, &staging, &bytes)).await?;
        };
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        match store.put_opts(&self.path(key)?, PutPayload::from_bytes(bytes), options).await {
            Ok(_) => Ok(Put::Created),
            Err(object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. }) => {
                Ok(Put::Exists)
            }
            Err(cause) => Err(self.failure(&cause, "write", key)),
        }
    }

    /// Writes an object, replacing what is there, as a whole or not at all.
    ///
    /// # Errors
    ///
    /// `Config` if it may not be written there, `Unavailable` if the store or the disk fails.
    pub async fn put_replace(&self, key: &str, bytes: Bytes) -> Result<()> {
        let Some(store) = self.store_to_change("write", key).await? else {
            let (target, staging) = (path_of_key(key), self.staging(key)?);
            return blocking(move || local::put_replace(&target, &staging, &bytes)).await?;
        };
        let written = store.put(&self.path(key)?, PutPayload::from_bytes(bytes)).await;
        written.map(|_| ()).map_err(|cause| self.failure(&cause, "write", key))
    }

    /// Removes what local writers that were killed have left in the staging folder.
    pub async fn sweep_staging(&self) {
        let staging = self.staging.clone().filter(|_| self.is_local());
        if let (Some(staging), Some(own)) = (staging, self.own.as_deref().map(path_of_key)) {
            // A sweep that crashes leaves what it would have removed.
            let _ = tokio::task::spawn_blocking(move || own::sweep(&own, &staging, LEFTOVER_AGE)).await;
        }
    }

    /// Lists the objects below a folder that are to be deleted. Of a local folder links are listed as such, and
    /// not what they point to.
    ///
    /// # Errors
    ///
    /// As [`Bucket::list`]; `Bug` if the folder does not lie within [`Bucket::with_own`].
    pub async fn list_own(&self, folder: &str) -> Result<Vec<(String, u64)>> {
        let own = self.check_own(folder)?;
        if !self.is_local() {
            let objects = self.list(folder).try_filter(|object| ready(!object.key.ends_with('/')));
            return objects.map_ok(|object| (object.key, object.size)).try_collect().await;
        }
        let folder = folder.trim_end_matches('/').to_owned();
        let path = path_of_key(&folder);
        let found = blocking(move || own::list(&own, &path)).await??;
        let key = |found: &own::Found| format!("{folder}/{}", encode_name(found.path.as_os_str().as_bytes()));
        Ok(found.iter().map(|found| (key(found), found.size)).collect())
    }

    /// Checks that local folders lie within [`Bucket::with_own`] and are not reached by way of a link, as whatever
    /// deletes in them demands; a store has no links.
    ///
    /// # Errors
    ///
    /// `Config` if a part of a path is a link or a file, `Bug` if a folder lies elsewhere.
    pub async fn check_owned(&self, folders: impl IntoIterator<Item = String>) -> Result<()> {
        if !self.is_local() {
            return Ok(());
        }
        for folder in folders {
            let (own, path) = (self.check_own(&folder)?, path_of_key(folder.trim_end_matches('/')));
            blocking(move || own::check(&own, &path)).await??;
        }
        Ok(())
    }

    /// Returns the folder below which things may be deleted, if `key` lies there.
    fn check_own(&self, key: &str) -> Result<PathBuf> {
        let own = self.own.as_deref();
        let below = own.and_then(|own| key.strip_prefix(own));
        let is_below = below.is_some_and(|rest| own == Some("") || rest.starts_with('/'));
        match own.filter(|_| is_below) {
            Some(own) => Ok(path_of_key(own)),
            None => {
                Err(Error::bug(format!("{} lies outside of the folders that may be deleted", self.uri(key))))
            }
        }
    }

    /// Removes an object; one that is not there is fine.
    ///
    /// # Errors
    ///
    /// `Config` if that is not allowed, `Unavailable` if the store or the disk fails, `Bug` if the object does
    /// not lie within [`Bucket::with_own`].
    pub async fn delete(&self, key: &str) -> Result<()> {
        let own = self.check_own(key)?;
        let Some(store) = self.store_to_change("delete", key).await? else {
            let path = path_of_key(key);
            return blocking(move || own::delete(&own, &path)).await?;
        };
        match store.delete(&self.path(key)?).await.map_err(|cause| self.fault(&cause, "delete", key)) {
            Ok(()) | Err(StoreError::Gone) => Ok(()),
            Err(fault) => Err(fault.into_error(self.uri(key))),
        }
    }

    /// Removes local folders at and below `folder` that hold nothing; a store has no folders.
    ///
    /// # Errors
    ///
    /// `Config` if that is not allowed, `Unavailable` if the disk fails, `Bug` if the folder does not lie within
    /// [`Bucket::with_own`].
    pub async fn remove_empty_folders(&self, folder: &str) -> Result<()> {
        if !self.is_local() {
            return Ok(());
        }
        let own = self.check_own(folder)?;
        let path = path_of_key(folder.trim_end_matches('/'));
        blocking(move || own::remove_empty_folders(&own, &path)).await?
    }

    /// Checks that the bucket is there and that this folder of it can be listed; it may be empty.
    ///
    /// Local folders must exist. Of a web server only that it answers can be known.
    ///
    /// # Errors
    ///
    /// `Config` if there is no such bucket or folder, or access is denied; `Unavailable` if the store
    /// cannot be reached.
    pub async fn probe(&self, prefix: &str) -> Result<()> {
        if self.root.scheme().is_http() {
            return match self.head(prefix).await {
                Err(StoreError::Failed(error)) => Err(error),
                _ => Ok(()),
            };
        }
        if self.is_local() {
            let path = path_of_key(prefix);
            let doing = self.doing("list", prefix);
            return blocking(move || {
                std::fs::read_dir(&path).map(|_| ()).map_err(|cause| io_failure(cause, &doing))
            })
            .await?;
        }
        self.list(prefix).try_next().await.map(|_| ())
    }

    /// Returns a folder as a store of its own, for libraries that bring their own reader.
    ///
    /// # Errors
    ///
    /// `Config` if there is no such local folder, or as connecting fails.
    pub async fn folder(&self, key: &str) -> Result<Arc<dyn ObjectStore>> {
        if let Some(store) = self.store().await? {
            let prefix = self.path(key.trim_matches('/'))?;
            return Ok(Arc::new(PrefixStore::new(Arc::clone(store), prefix)));
        }
        let path = path_of_key(key);
        let store = LocalFileSystem::new_with_prefix(&path).map_err(|cause| {
            let folder = self.file(key);
            Error::config(format!("cannot open the folder {folder}"))
                .because(self.root.naming().quote(&cause.to_string()).into_owned())
        })?;
        Ok(Arc::new(store))
    }

    /// Connects if that has not been done; `None` for local files.
    async fn store(&self) -> Result<Option<&Arc<dyn ObjectStore>>> {
        let Backend::Remote { plan, store } = &self.inner.backend else { return Ok(None) };
        let connect = async || match plan {
            Some(plan) => plan.open(&self.root).await,
            None => Err(Error::bug("a bucket has neither a store nor a plan for one")),
        };
        store.get_or_try_init(connect).await.map(Some)
    }

    /// As [`Self::store`], for a request that changes something; `verb` is what it does to `key`.
    async fn store_to_change(&self, verb: &str, key: &str) -> Result<Option<&Arc<dyn ObjectStore>>> {
        if let Backend::Remote { plan: Some(plan), .. } = &self.inner.backend
            && self.root.scheme() == Scheme::Gs
            && plan.reads_google_only()
        {
            // object_store would ask for a token for it all the same, and wait for one in vain.
            return Err(Error::config(format!("cannot {}", self.doing(verb, key)))
                .because("anonymous access to gs:// can only read")
                .hint(
                    "give credentials (GOOGLE_SERVICE_ACCOUNT, or those of the machine) without storage.anonymous \
                     and GOOGLE_SKIP_SIGNATURE, or choose another output",
                ));
        }
        self.store().await
    }

    fn path(&self, key: &str) -> Result<Path> {
        Path::parse(key).map_err(|_| {
            Error::config(format!("the key of {} cannot be addressed", self.uri(key)))
                .hint("keys with empty, `.` or `..` segments or control characters are not supported")
        })
    }

    fn staging(&self, key: &str) -> Result<Arc<PathBuf>> {
        let missing = || Error::bug(format!("no staging folder was chosen for {}", self.uri(key)));
        self.staging.clone().ok_or_else(missing)
    }

    fn fault(&self, cause: &object_store::Error, verb: &str, key: &str) -> StoreError {
        let classify = if self.root.scheme().is_http() { classify_web } else { classify };
        classify(cause, &self.doing(verb, key), self.root.naming())
    }

    fn failure(&self, cause: &object_store::Error, verb: &str, key: &str) -> Error {
        failure(cause, &self.doing(verb, key), self.root.naming())
    }

    /// Returns the local file or folder that a key names.
    fn file(&self, key: &str) -> LocalPath {
        LocalPath { path: path_of_key(key), naming: self.root.naming().clone() }
    }

    fn doing(&self, verb: &str, key: &str) -> String {
        format!("{verb} {}", self.uri(key))
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|cause| Error::bug("a file operation did not finish").because(cause))
}

/// Walks on a blocking thread, a bounded number of entries ahead of the reader; hands over many at a time, as waking
/// a task costs more than looking at a file.
fn list_local(root: LocalPath) -> BoxStream<'static, Result<ObjectInfo>> {
    const AT_ONCE: usize = 256;
    const AHEAD: usize = 4;
    let (sender, receiver) = tokio::sync::mpsc::channel(AHEAD);
    let walk = move || {
        let mut found = Vec::new();
        let walked = local::walk(&root, &mut |info| {
            found.push(Ok(info));
            let is_wanted = found.len() < AT_ONCE || sender.blocking_send(std::mem::take(&mut found)).is_ok();
            if is_wanted { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        found.extend(walked.err().map(Err));
        // Whoever has stopped listening does not want the error either.
        let _ = sender.blocking_send(found);
    };
    let start = async move {
        tokio::task::spawn_blocking(walk);
        stream::unfold(receiver, |mut receiver| async move {
            receiver.recv().await.map(|found| (stream::iter(found), receiver))
        })
    };
    stream::once(start).flatten().flatten().boxed()
}

/// Looks at an object by asking for its first byte; if that cannot be had alone, or there is none, for the whole, of
/// which nothing but the headers is read.
async fn look_by_reading(store: &dyn ObjectStore, path: &Path) -> object_store::Result<ObjectMeta> {
    let range = Some(GetRange::Bounded(0..1));
    let part = store.get_opts(path, GetOptions { range, ..GetOptions::default() }).await;
    let opened = match part {
        Err(cause) if matches!(trouble_of(&cause), Some(Trouble::NoRanges | Trouble::Answered(416))) => {
            store.get_opts(path, GetOptions::default()).await
        }
        part => part,
    };
    opened.map(|opened| opened.meta)
}

fn info_of(meta: ObjectMeta) -> ObjectInfo {
    let version = version_of(&meta);
    let modified = meta.last_modified.into();
    ObjectInfo { key: unaddressable_keys::restored(meta.location.into()), size: meta.size, version, modified }
}

/// Returns a size that the store has announced.
fn known(size: u64) -> Option<u64> {
    Some(size).filter(|size| *size != UNKNOWN_SIZE)
}

/// The entity tag without quotes; without one, size and time, if the store gives both.
fn version_of(meta: &ObjectMeta) -> Option<String> {
    let tag = meta.e_tag.as_ref().map(|tag| tag.replace('"', "")).filter(|tag| !tag.is_empty());
    tag.or_else(|| {
        let modified: SystemTime = meta.last_modified.into();
        let since = modified.duration_since(SystemTime::UNIX_EPOCH).ok().filter(|since| !since.is_zero())?;
        Some(format!("{}-{}", known(meta.size)?, since.as_nanos()))
    })
}
