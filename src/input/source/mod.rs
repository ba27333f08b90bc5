//! Finds the sources of a run: folders, single objects, patterns, and manifests.
//!
//! Goes in: what `[input]` of the pipeline file says. Comes out: all sources in the order of their
//! canonical URIs, each once, with version and size where known, in bounded memory whatever their
//! number. The planner calls it. It reads no object but the manifest.
//!
//! ```text
//! listing  ─┐
//! HEAD     ─┼─▶ spool (sorts on disk) ─▶ Discovered
//! manifest ─┘
//! ```

mod beside;
mod csv;
mod external_sort;
mod extra;
mod items;
mod manifest;
mod pattern;
mod twins;

pub use csv::check_quotation;
pub use csv::open as open_csv;

#[cfg(test)]
mod tests;

use std::fmt::{self, Write as _};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures::{StreamExt as _, TryStreamExt as _, stream};

pub use self::external_sort::{Entries, Entry, Sorted};
pub use self::extra::ExtraCodec;
pub use self::items::{DOCUMENT_START_BYTES, ItemRecord, ItemSpec, UnusableItem, begins_like_stac};

use self::beside::Beside;
use self::external_sort::{BUFFER_BYTES, Spool};
use self::manifest::{Manifest, Rows};
use self::pattern::{Pattern, relative};
use crate::input::storage::{
    ObjectInfo, ObjectUri, Sample, Storage, StoreError, Tally, percent_decoded, shown,
};
use crate::vocabulary::error::{Error, Result};
use crate::vocabulary::identity::Naming;
use crate::vocabulary::words::{counted, form};

/// How many manifest rows are looked up at a time.
const HEAD_CONCURRENCY: usize = 32;
/// How many pieces of a manifest are read ahead of the look-ups.
const ROWS_AHEAD: usize = 2;

/// Maximum number of inputs that a summary names.
const MAX_SHOWN: usize = 8;

/// What to look for: `[input]` of the pipeline file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct InputSpec {
    /// Folders, key prefixes, single objects and patterns; URIs or local paths.
    pub uris: Vec<String>,
    /// URI of a Parquet or CSV table with a column `uri`.
    pub manifest: Option<String>,
    /// Places that the manifest's URIs must lie in; empty: see [`discover`].
    pub allow: Vec<String>,
    /// Whether each object of the manifest is looked up for its version and size.
    pub look_up: bool,
    /// Which STAC items are taken; `None`: a STAC document is a file like any other.
    pub items: Option<ItemSpec>,
    /// Maximum number of sources, the first in order of their URIs.
    pub limit: Option<u64>,
    /// Columns of the manifest that are kept; `None`: all, or none where names are secret.
    pub keep_columns: Option<Vec<String>>,
    /// Left out with all that lies below: the output and its vault, which would else become input of its next run.
    pub exclude: Vec<ObjectUri>,
}

/// The sources that were found.
pub struct Discovered {
    /// All sources in order; can be iterated any number of times.
    pub sources: Sorted,
    /// Seen and left out: names that begin with a dot, folder markers, what lies beside images and is none by its
    /// name, what lies in [`InputSpec::exclude`], and keys that cannot be addressed.
    pub num_ignored: u64,
    /// Whether STAC items were there or searched for, and dates, clouds or area left them out.
    pub filtered: bool,
    /// Decodes [`Entry::extra`]; `None` without a manifest or if it has no other columns.
    pub extra: Option<Arc<ExtraCodec>>,
    /// Columns of the manifest that the table does not get.
    pub columns_left_out: usize,
    /// For each input, what was looked at and how much of it was taken, for people.
    pub looked_at: Vec<String>,
}

impl Discovered {
    /// Says in one paragraph where was looked, what was found and what was left out, for people.
    #[must_use]
    pub fn summary(&self) -> String {
        let shown = self.looked_at.len().min(MAX_SHOWN);
        let mut places = self.looked_at[..shown].join("; ");
        if self.looked_at.len() > shown {
            write!(places, "; and {} more", self.looked_at.len() - shown)
                .expect("writing to a string cannot fail");
        }
        let Sorted { num_entries, num_bytes, num_repeated, .. } = self.sources;
        let repeated =
            if num_repeated > 0 { format!(", {num_repeated} listed twice") } else { String::new() };
        let ignored = self.num_ignored;
        let (sources, bytes) = (counted(num_entries, "source"), counted(num_bytes, "byte"));
        format!("{sources} with {bytes}, {ignored} ignored{repeated} ({places})")
    }

    /// Returns how many sources are taken if not all of those that were found.
    #[must_use]
    pub fn limit(&self) -> Option<u64> {
        self.sources.limit
    }

    /// Fails if there is no source at all, unless that is because of what was asked of STAC items: a night may
    /// bring none.
    ///
    /// # Errors
    ///
    /// `Config`, with what was looked at.
    pub fn require_some(&self) -> Result<()> {
        if self.sources.num_entries > 0 || self.filtered {
            return Ok(());
        }
        Err(Error::config("no sources were found").because(self.summary()).hint(
            "check [input]: a folder is searched with all its subfolders, `*` does not match `/`, a manifest \
             has one row per source",
        ))
    }
}

/// Finds all sources; large numbers of them are sorted in files of `spool_folder`.
///
/// Names that begin with a dot, folder markers, keys that cannot be addressed and what lies in
/// [`InputSpec::exclude`] are left out and counted; so is what is not an image by its extension, unless it is
/// named itself or
/// by a pattern with its ending. What is found twice is one source; items that share a URI and are not the same are
/// as many sources. A manifest may name
/// objects in any bucket and on any web server, but local files only if it is one itself; `allow`
/// replaces these rules by its own. A manifest's object that is gone or forbidden stays a source, and so does one
/// that cannot be looked at while others of its host can.
///
/// # Errors
///
/// `Config` if an input is not valid or not there, access is denied, or the manifest is wrong;
/// `Unavailable` if a store is away or the disk is full. Finding nothing is not an error here.
pub async fn discover(spec: &InputSpec, storage: &Storage, spool_folder: &Path) -> Result<Discovered> {
    let mut search = Search {
        storage: storage.clone(),
        spool: Spool::new(spool_folder, BUFFER_BYTES, storage.naming().clone()),
        items: spec.items.clone(),
        exclude: spec.exclude.clone(),
        num_ignored: 0,
        filtered: false,
        looked_at: Vec::new(),
        tally: Arc::default(),
        named: Vec::new(),
    };
    let naming = storage.naming();
    let patterns = spec.uris.iter().map(|text| Pattern::parse(text, naming)).collect::<Result<Vec<_>>>()?;
    search.named = patterns.iter().filter_map(Pattern::place).cloned().collect();
    for (pattern, text) in patterns.into_iter().zip(&spec.uris) {
        search.add(pattern, text, spool_folder).await?;
    }
    if let Some(ItemSpec { filter, search: Some(query), .. }) = &spec.items {
        search.add_search(query, filter).await?;
    }
    let ManifestColumns { kept: extra, num_left_out: columns_left_out } = match &spec.manifest {
        Some(manifest) => search.add_manifest(manifest, spec, spool_folder).await?,
        None => ManifestColumns::default(),
    };
    search.tally.check()?;
    let Search { spool, num_ignored, filtered, looked_at, .. } = search;
    let mut sources = spool.finish()?;
    sources.limit = spec.limit.filter(|limit| *limit < sources.num_entries);
    warn_of_equal_names(&sources);
    Ok(Discovered { sources, num_ignored, filtered, extra, columns_left_out, looked_at })
}

/// Returns what an input names if it is not a pattern.
///
/// # Errors
///
/// `Config` if the URI or the pattern is not valid.
pub fn place(text: &str) -> Result<Option<ObjectUri>> {
    Ok(Pattern::parse(text, &Naming::default())?.place().cloned())
}

/// Returns the object that an input is, where it need not be asked for to know that it is not a folder, pattern, or
/// STAC.
///
/// - `items`: whether STAC is taken
///
/// # Errors
///
/// `Config` if the URI or the pattern is not valid.
pub fn single_object(text: &str, items: bool) -> Result<Option<ObjectUri>> {
    let Some(uri) = place(text)? else { return Ok(None) };
    let names_folder = uri.key().is_empty() || text.ends_with('/');
    let is_folder = uri.local_path().is_some_and(|path| path.is_dir());
    let may_be_more =
        is_folder || (names_folder && !uri.scheme().is_http()) || (items && items::may_be_stac(&uri));
    // Of what is not there nothing else can be said.
    let is_missing = uri.local_path().is_some_and(|path| !path.exists());
    Ok(Some(uri).filter(|_| is_missing || !may_be_more))
}

/// Splits what names an item within its document, `DOCUMENT#ITEM`, as rows name it; `None` if it is no such name.
#[must_use]
pub fn item_within(text: &str) -> Option<(ObjectUri, &str)> {
    let whole = ObjectUri::parse(text).ok();
    if whole.as_ref().and_then(ObjectUri::local_path).is_some_and(|path| path.exists()) {
        return None;
    }
    let (document, item) = text.split_once('#')?;
    let document = ObjectUri::parse(document).ok().filter(items::may_be_stac)?;
    Some((document, item))
}

fn warn_of_equal_names(sources: &Sorted) {
    let Sorted { num_repeated, num_renamed, .. } = sources;
    if *num_repeated > 0 {
        let (sources, were) = (counted(*num_repeated, "source"), form(*num_repeated, "was", "were"));
        tracing::warn!("{sources} {were} listed more than once; each is one source");
    }
    if *num_renamed > 0 {
        let (items, have) = (counted(*num_renamed, "STAC item"), form(*num_renamed, "has", "have"));
        let say = form(*num_renamed, "says", "say");
        tracing::warn!(
            "{items} {have} the URI of another one, but {say} something else; each becomes a separate \
             source, with its collection or a digest of its files appended to the URI"
        );
    }
}

/// The columns of a manifest beside `uri`.
#[derive(Default)]
struct ManifestColumns {
    kept: Option<Arc<ExtraCodec>>,
    num_left_out: usize,
}

struct Search {
    storage: Storage,
    spool: Spool,
    items: Option<ItemSpec>,
    exclude: Vec<ObjectUri>,
    num_ignored: u64,
    filtered: bool,
    looked_at: Vec<String>,
    tally: Arc<Tally>,
    /// All places that are named one by one.
    named: Vec<ObjectUri>,
}

impl Search {
    async fn add(&mut self, pattern: Pattern, text: &str, spool_folder: &Path) -> Result<()> {
        match pattern {
            Pattern::Place(uri) => self.add_place(&uri, text, spool_folder).await,
            Pattern::Glob { folder, matcher, .. } if self.items.is_some() && text.ends_with("json") => {
                self.add_documents(&folder, &matcher, spool_folder).await
            }
            Pattern::Glob { folder, matcher, hidden } => {
                let local = folder.scheme().is_local();
                let takes = |key: &str| {
                    let key = relative(&folder, key);
                    if local && key.contains('%') {
                        matcher.is_match(&*String::from_utf8_lossy(&percent_decoded(key)))
                    } else {
                        matcher.is_match(key)
                    }
                };
                let (names_hidden, names_ending) = (hidden, !text.ends_with('*'));
                self.add_folder(&folder, &takes, Named { names_hidden, names_ending }, text).await.map(|_| ())
            }
        }
    }

    /// Adds an object, or all objects of a folder: which of the two it is, the store says.
    async fn add_place(&mut self, uri: &ObjectUri, text: &str, spool_folder: &Path) -> Result<()> {
        let is_folder = uri.key().is_empty() || text.ends_with('/');
        let found = if is_folder && !uri.scheme().is_http() {
            Err(StoreError::Gone)
        } else {
            self.storage.bucket(uri).head(uri.key()).await
        };
        let fault = match found {
            Ok(info) if self.is_stac(uri, &info).await? => return self.add_items(uri, spool_folder).await,
            Ok(info) => {
                self.tally.answered(uri);
                return self.add_object(uri, Some(info));
            }
            // Named one by one: the others say whether it is this one or its host.
            Err(StoreError::Failed(error)) if !is_folder => {
                let others = async { Ok(Sample::of_host(uri).among(&self.named)) };
                self.tally.in_trouble_unlike(&self.storage, uri, error, others).await?;
                return self.add_entry(uri, Entry { in_trouble: true, ..entry_of(uri, None) });
            }
            Err(StoreError::Failed(error)) => return Err(error),
            Err(fault) => fault,
        };
        if uri.scheme().is_http() {
            self.tally.answered(uri);
            // Named one by one, like a row of a manifest: if it is gone, that becomes its row.
            return self.add_object(uri, None);
        }
        if matches!(fault, StoreError::Forbidden) && uri.scheme().is_local() {
            return Err(fault.into_error(uri));
        }
        let num_seen = self.add_folder(uri, &|_| true, Named::default(), text).await?;
        // Without the right to list, S3 says "forbidden" for what is not there, too. It could be
        // listed, and nothing lies below it: so it is an object, and one that may not be read.
        if num_seen == 0 && matches!(fault, StoreError::Forbidden) {
            self.add_object(uri, None)?;
        }
        Ok(())
    }

    fn add_object(&mut self, uri: &ObjectUri, info: Option<ObjectInfo>) -> Result<()> {
        self.add_entry(uri, entry_of(uri, info))
    }

    fn add_entry(&mut self, uri: &ObjectUri, entry: Entry) -> Result<()> {
        let taken = self.take(uri, entry)?;
        let ignored = if taken { "" } else { ", ignored: it is part of the output" };
        self.looked_at.push(format!("{uri}: one object{ignored}"));
        Ok(())
    }

    /// Adds a source, unless it is excluded; returns whether it was added.
    fn take(&mut self, uri: &ObjectUri, entry: Entry) -> Result<bool> {
        let excluded = self.is_excluded(uri);
        if excluded {
            self.num_ignored += 1;
        } else {
            self.spool.push(&entry)?;
        }
        Ok(!excluded)
    }

    fn is_excluded(&self, uri: &ObjectUri) -> bool {
        self.exclude.iter().any(|place| uri.is_within(place))
    }

    /// Adds what `takes` of a folder; returns how many objects there are at all.
    async fn add_folder(
        &mut self,
        folder: &ObjectUri,
        takes: &(dyn Fn(&str) -> bool + Sync),
        named: Named,
        text: &str,
    ) -> Result<u64> {
        let bucket = self.storage.bucket(folder);
        let mut listing = bucket.list(folder.key());
        let (mut num_seen, mut num_taken, mut num_others) = (0, 0, 0);
        let (ignored_before, mut odd, mut beside) = (self.num_ignored, Odd::default(), Beside::default());
        while let Some(info) = listing.try_next().await? {
            num_seen += 1;
            if !info.is_addressable() {
                odd.add(&info.key, folder.naming());
            } else if info.key.ends_with('/')
                || (!named.names_hidden && is_hidden(relative(folder, &info.key)))
            {
                self.num_ignored += 1;
            } else if takes(&info.key) {
                let uri = bucket.uri(&info.key);
                if self.is_excluded(&uri) || named.names_ending || !beside.takes(&info.key) {
                    num_taken += u64::from(self.take(&uri, entry_of(&uri, Some(info)))?);
                }
            } else {
                num_others += 1;
            }
        }
        self.num_ignored += odd.count + beside.count();
        odd.warn(folder);
        let mut left_out = String::new();
        if beside.count() > 0 {
            let count = beside.count();
            let no_images =
                form(count, "is not an image by its extension", "are not images by their extensions");
            left_out = format!(", {count} of which {no_images}: {beside}{}", beside.advice());
            tracing::warn!("{folder}: {} {no_images} and left out: {beside}", counted(count, "file"));
        }
        let do_not = form(num_others, "does not", "do not");
        let others = if num_others > 0 { format!(", {num_others} {do_not} match") } else { String::new() };
        self.looked_at.push(format!(
            "{}: {} below {folder}, {num_taken} of them taken{others}, {} ignored{odd}{left_out}",
            shown(text, folder.naming()),
            counted(num_seen, "object"),
            self.num_ignored - ignored_before,
        ));
        Ok(num_seen)
    }

    async fn add_manifest(
        &mut self,
        text: &str,
        spec: &InputSpec,
        spool_folder: &Path,
    ) -> Result<ManifestColumns> {
        let uri = self.storage.source(text)?;
        let rules = Rules::new(&uri, &spec.allow)?;
        let unusable = |cause| Error::unavailable("cannot write a copy of the manifest").because(cause);
        std::fs::create_dir_all(spool_folder).map_err(unusable)?;
        let copy = tempfile::NamedTempFile::new_in(spool_folder).map_err(unusable)?.into_temp_path();
        let download = self.storage.bucket(&uri).download(uri.key(), &copy).await;
        download.map_err(|fault| fault.into_error(format!("the manifest {uri}")))?;

        let (sender, mut receiver) = tokio::sync::mpsc::channel::<Rows>(ROWS_AHEAD);
        let path = copy.to_path_buf();
        let all = Arc::new(AllRows { path: path.clone(), rules });
        let (manifest_uri, keep) = (uri.clone(), spec.keep_columns.clone());
        let reader = tokio::task::spawn_blocking(move || {
            let manifest = Manifest::open(&path, &manifest_uri, keep.as_deref())?;
            let columns = ManifestColumns { kept: manifest.codec(), num_left_out: manifest.num_left_out() };
            manifest.read(&mut |rows| match sender.blocking_send(rows) {
                Ok(()) => ControlFlow::Continue(()),
                Err(_) => ControlFlow::Break(()),
            })?;
            Ok(columns)
        });
        let mut num_rows = 0;
        while let Some(rows) = receiver.recv().await {
            num_rows += rows.uris.len();
            self.add_rows(rows, &all, spec.look_up).await?;
        }
        self.looked_at.push(format!("{uri}: a manifest with {}", counted(num_rows as u64, "row")));
        reader.await.map_err(|cause| Error::bug("the manifest's reader did not finish").because(cause))?
    }

    async fn add_rows(&mut self, rows: Rows, all: &Arc<AllRows>, look_up: bool) -> Result<()> {
        let mut sources = Vec::with_capacity(rows.uris.len());
        for (number, (reference, extra)) in (rows.first..).zip(rows.uris.iter().zip(rows.extra)) {
            sources.push((all.rules.resolve(reference, number)?, extra));
        }
        let (storage, tally) = (self.storage.clone(), self.tally.clone());
        let looked_up = stream::iter(sources).map(|(uri, extra)| {
            let (storage, tally, all) = (storage.clone(), tally.clone(), all.clone());
            async move {
                let entry = if look_up {
                    one_of_many(&storage, &uri, &tally, all).await?
                } else {
                    entry_of(&uri, None)
                };
                Ok::<_, Error>((uri, Entry { extra, ..entry }))
            }
        });
        let mut looked_up = looked_up.buffered(HEAD_CONCURRENCY);
        while let Some((uri, entry)) = looked_up.try_next().await? {
            self.take(&uri, entry)?;
        }
        Ok(())
    }
}

/// A manifest's copy, to be read once more.
struct AllRows {
    path: PathBuf,
    rules: Rules,
}

impl AllRows {
    /// Draws a sample of what the manifest names on the host of `uri`.
    async fn sample(self: Arc<Self>, uri: &ObjectUri) -> Result<Sample> {
        let mut sample = Sample::of_host(uri);
        let draw = move || {
            Manifest::open(&self.path, &self.rules.manifest, None)?.read(&mut |rows| {
                // What cannot be resolved ends the first reading with its row.
                let uris =
                    (rows.first..).zip(&rows.uris).filter_map(|(row, uri)| self.rules.resolve(uri, row).ok());
                uris.for_each(|uri| sample.offer(&uri));
                ControlFlow::Continue(())
            })?;
            Ok(sample)
        };
        let drawn = tokio::task::spawn_blocking(draw).await;
        drawn.map_err(|cause| Error::bug("the manifest's reader did not finish").because(cause))?
    }
}

/// What a pattern names itself, so that it is taken though a folder would leave it out.
#[derive(Clone, Copy, Default)]
struct Named {
    /// Names that begin with a dot.
    names_hidden: bool,
    /// The ending, whatever it is.
    names_ending: bool,
}

/// Keys that cannot be addressed.
#[derive(Default)]
struct Odd {
    count: u64,
    first: Option<String>,
}

impl Odd {
    fn add(&mut self, key: &str, naming: &Naming) {
        self.count += 1;
        self.first.get_or_insert_with(|| shown(key, naming).into_owned());
    }

    fn warn(&self, folder: &ObjectUri) {
        if let Some(first) = &self.first {
            let (keys, are) = (counted(self.count, "key"), form(self.count, "is", "are"));
            tracing::warn!("{folder}: {keys} cannot be addressed and {are} left out, such as {first:?}");
        }
    }
}

impl fmt::Display for Odd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(first) = &self.first else { return Ok(()) };
        let have = form(self.count, "has a key", "have keys");
        write!(f, ", {} of which {have} that cannot be addressed, such as {first:?}", self.count)
    }
}

/// Looks at one source; version and size are `None` if it is gone or forbidden, which becomes its row.
///
/// # Errors
///
/// As the store answers, if it is away.
pub async fn look_up(storage: &Storage, uri: &ObjectUri) -> Result<Entry> {
    Ok(entry_of(uri, looked_up(storage, uri).await?))
}

/// Looks at one source of many: one that is in trouble is left to the run if its host answers for others.
///
/// # Errors
///
/// As [`Tally::in_trouble_unlike`].
async fn one_of_many(storage: &Storage, uri: &ObjectUri, tally: &Tally, all: Arc<AllRows>) -> Result<Entry> {
    match looked_up(storage, uri).await {
        Ok(info) => {
            tally.answered(uri);
            Ok(entry_of(uri, info))
        }
        Err(error) => {
            tally.in_trouble_unlike(storage, uri, error, all.sample(uri)).await?;
            Ok(Entry { in_trouble: true, ..entry_of(uri, None) })
        }
    }
}

/// Looks at one object; `None` if it is gone or forbidden.
async fn looked_up(storage: &Storage, uri: &ObjectUri) -> Result<Option<ObjectInfo>> {
    match storage.bucket(uri).head(uri.key()).await {
        Ok(info) => Ok(Some(info)),
        Err(StoreError::Failed(error)) => Err(error),
        Err(_) => Ok(None),
    }
}

fn entry_of(uri: &ObjectUri, info: Option<ObjectInfo>) -> Entry {
    let (size, version) = info.map_or((None, None), |info| (info.known_size(), info.version));
    Entry { uri: uri.identity().clone(), version, size, ..Entry::default() }
}

fn is_hidden(key: &str) -> bool {
    key.split('/').any(|segment| segment.starts_with('.'))
}

/// Which objects a manifest may name: a manifest from elsewhere must not read this machine's files.
struct Rules {
    manifest: ObjectUri,
    folder: ObjectUri,
    allow: Vec<ObjectUri>,
}

impl Rules {
    fn new(manifest: &ObjectUri, allow: &[String]) -> Result<Self> {
        let allow = allow
            .iter()
            .map(|text| ObjectUri::parse_named(text, manifest.naming()))
            .collect::<Result<_>>()?;
        Ok(Self { manifest: manifest.clone(), folder: manifest.parent(), allow })
    }

    fn resolve(&self, reference: &str, row: u64) -> Result<ObjectUri> {
        let here = || format!("row {row} of {} cannot be used", self.manifest);
        let uri = self.folder.resolve(reference).map_err(|cause| Error::config(here()).because(cause))?;
        if uri.key().is_empty() {
            return Err(Error::config(here())
                .because(format!("{uri} names no object"))
                .hint("name a file in every row; folders are searched with input.uris"));
        }
        if self.allows(&uri) {
            return Ok(uri);
        }
        let hint = if self.allow.is_empty() {
            "a manifest from a store may name local files only if input.allow lists their folder"
        } else {
            "to allow it, add it to input.allow"
        };
        Err(Error::config(here()).because(format!("{uri} is not allowed")).hint(hint))
    }

    fn allows(&self, uri: &ObjectUri) -> bool {
        if self.allow.is_empty() {
            !uri.scheme().is_local() || self.manifest.scheme().is_local()
        } else {
            self.allow.iter().any(|place| uri.is_within(place))
        }
    }
}
