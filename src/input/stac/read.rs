//! Reads STAC from wherever it lies, following links.

use std::collections::HashSet;
use std::path::Path;

use futures::StreamExt as _;
use futures::stream;

use super::document::{BadItem, Catalog, Document, Link, Page, parse, read_item, why};
use super::geoparquet;
use super::href::resolve;
use super::item::Item;
use super::search;
use super::wire::Place;
use crate::input::storage::{ObjectUri, Sample, Storage, StoreError, Tally, redact, shown};
use crate::vocabulary::error::{Error, Result};
use crate::vocabulary::words::counted;

/// How many items of one catalog are read at a time.
const CONCURRENCY: usize = 16;

/// What a document may cost that somebody else has written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StacLimits {
    /// The largest JSON document, in bytes.
    pub document_bytes: u64,
    /// The largest table, in bytes.
    pub table_bytes: u64,
    /// How many documents are read, or pages of a search: `limits.max_stac_documents`.
    pub documents: u64,
    /// How many items there may be: `limits.max_stac_items`.
    pub items: u64,
    /// How deep catalogs may lie in each other.
    pub depth: u32,
}

impl Default for StacLimits {
    fn default() -> Self {
        Self {
            document_bytes: 64 << 20,
            table_bytes: 4 << 30,
            documents: 1_000_000,
            items: 1_000_000,
            depth: 32,
        }
    }
}

/// An item, or what is in its place.
pub type Found = Result<Item, BadItem>;

/// Where items go; an error of it ends the reading.
pub(super) type Visit<'a> = dyn FnMut(Found) -> Result<()> + Send + 'a;

/// Reads all items that a document holds or leads to, in the order of its links.
///
/// - `uri`: an item, an item collection, a collection, a catalog, or a stac-geoparquet table (`.parquet`)
/// - `spool_folder`: where a table is copied to while it is read
///
/// # Errors
///
/// `Config` if it is one page of several or an API, or leads beyond a limit; `Unavailable` if a store is away.
/// What is wrong with one document or one item comes as a [`BadItem`] instead.
pub async fn read(
    storage: &Storage,
    uri: &ObjectUri,
    limits: &StacLimits,
    spool_folder: &Path,
    visit: &mut Visit<'_>,
) -> Result<()> {
    let mut walk = Walk::new(storage, uri, *limits);
    if is_table(uri.key()) {
        return walk.table(uri, spool_folder, visit).await;
    }
    while let Some((uri, depth)) = walk.open.pop() {
        let document = match walk.load(&uri).await {
            Ok(document) => document,
            Err(StoreError::Failed(error)) => return Err(error),
            Err(fault) => {
                walk.hand_on(Err(BadItem::new(uri.identity().clone(), fault.to_string(), b"")), visit)?;
                continue;
            }
        };
        match parse(&document, &uri, 0) {
            Ok(Document::Item(item)) => walk.hand_on(*item, visit)?,
            Ok(Document::Page(page)) => walk.page(&uri, page, visit).await?,
            Ok(Document::Catalog(catalog)) if !catalog.leads_somewhere() => walk.leads_nowhere(uri),
            Ok(Document::Catalog(catalog)) => walk.catalog(&uri, depth, catalog, visit).await?,
            Err(error) => {
                walk.hand_on(
                    Err(BadItem::new(uri.identity().clone(), no_document(&error), &document)),
                    visit,
                )?;
            }
        }
    }
    walk.warn();
    walk.tally.check()
}

/// Says why a document is not STAC; the row already has its address.
fn no_document(error: &Error) -> String {
    let causes = error.causes();
    std::iter::once("it is not a STAC document".to_owned()).chain(causes).collect::<Vec<_>>().join(": ")
}

fn is_table(key: &str) -> bool {
    let extension = Path::new(key).extension().unwrap_or_default();
    extension.eq_ignore_ascii_case("parquet") || extension.eq_ignore_ascii_case("geoparquet")
}

/// What is left to read, and how much has been.
struct Walk<'a> {
    storage: &'a Storage,
    limits: StacLimits,
    start: ObjectUri,
    /// Documents to read, the next one last, with their depth.
    open: Vec<(ObjectUri, u32)>,
    /// Every document that was ever on that list: links may lead in circles.
    known: HashSet<ObjectUri>,
    num_items: u64,
    /// Catalogs and collections without a link that is followed: their number, and the first.
    empty: (u64, Option<ObjectUri>),
    tally: Tally,
}

impl<'a> Walk<'a> {
    fn new(storage: &'a Storage, start: &ObjectUri, limits: StacLimits) -> Self {
        let known = HashSet::from([start.clone()]);
        let (start, open) = (start.clone(), vec![(start.clone(), 0)]);
        Self { storage, limits, start, open, known, num_items: 0, empty: (0, None), tally: Tally::default() }
    }

    fn leads_nowhere(&mut self, uri: ObjectUri) {
        self.empty.0 += 1;
        self.empty.1.get_or_insert(uri);
    }

    fn warn(&self) {
        if let (number, Some(first)) = &self.empty {
            tracing::warn!(
                "{number} catalogs without items, since they have no link to an item or another catalog, \
                 such as {first}"
            );
        }
    }

    fn hand_on(&mut self, found: Found, visit: &mut Visit<'_>) -> Result<()> {
        self.num_items += 1;
        if self.num_items > self.limits.items {
            return Err(self.beyond(&counted(self.limits.items, "item"), "limits.max_stac_items"));
        }
        visit(found)
    }

    fn beyond(&self, what: &str, limit: &str) -> Error {
        Error::config(format!("{} links to more than {what}", self.start)).hint(format!(
            "name a collection further down, search a STAC API for what you need, or raise {limit}"
        ))
    }

    fn too_deep(&self) -> Error {
        Error::config(format!(
            "{} links to more than {} of catalogs",
            self.start,
            counted(self.limits.depth.into(), "level")
        ))
        .hint("name a collection further down, or search a STAC API for what you need")
    }

    async fn load(&self, uri: &ObjectUri) -> Result<bytes::Bytes, StoreError> {
        let object = self.storage.bucket(uri).get(uri.key(), self.limits.document_bytes).await?;
        Ok(object.bytes)
    }

    /// Remembers a document; returns whether it is a new one.
    fn is_new(&mut self, uri: &ObjectUri) -> Result<bool> {
        let is_new = self.known.insert(uri.clone());
        if self.known.len() as u64 > self.limits.documents {
            let most = counted(self.limits.documents, "document");
            return Err(self.beyond(&most, "limits.max_stac_documents"));
        }
        Ok(is_new)
    }

    /// Hands on a page of items, and those of the pages after it.
    async fn page(&mut self, uri: &ObjectUri, page: Page, visit: &mut Visit<'_>) -> Result<()> {
        for found in page.items {
            self.hand_on(found, visit)?;
        }
        match page.next {
            Some(next) if uri.scheme().is_http() => self.follow(uri, next, visit).await,
            Some(next) => Err(Error::config(format!("{uri} is one of several pages"))
                .because(format!("the next page is {}", shown(&next.href, uri.naming())))
                .hint("save all items into one item collection")),
            None => Ok(()),
        }
    }

    async fn follow(&mut self, base: &ObjectUri, first: Link, visit: &mut Visit<'_>) -> Result<()> {
        let mut pages = search::Pages::follow(self.storage, base, first, self.num_items, self.limits)?;
        while let Some(items) = pages.next().await? {
            for found in items {
                self.hand_on(found, visit)?;
            }
        }
        Ok(())
    }

    async fn catalog(
        &mut self,
        uri: &ObjectUri,
        depth: u32,
        catalog: Catalog,
        visit: &mut Visit<'_>,
    ) -> Result<()> {
        let links = |rel: &'static str| catalog.links.iter().filter(move |link| link.rel == rel);
        if links("search").next().is_some() {
            return Err(Error::config(format!("{uri} is a STAC API"))
                .because("it links to all items of its archive".to_owned())
                .hint("search it instead, with [input.stac]"));
        }
        if depth >= self.limits.depth && links("child").next().is_some() {
            return Err(self.too_deep());
        }
        let mut items = Vec::new();
        for link in links("item") {
            match self.target(uri, link) {
                Ok(item) if self.is_new(&item)? => items.push(item),
                Ok(_) => {}
                Err(error) => self.no_link(uri, link, &error, visit)?,
            }
        }
        self.items(&items, visit).await?;
        if let Some(api) = links("items").next().filter(|_| links("item").next().is_none()) {
            self.follow(uri, api.clone(), visit).await?;
        }
        // The list is taken from its end: the first child must come last.
        let children: Vec<&Link> = links("child").collect();
        for link in children.into_iter().rev() {
            match self.target(uri, link) {
                Ok(child) if self.is_new(&child)? => self.open.push((child, depth + 1)),
                Ok(_) => {}
                Err(error) => self.no_link(uri, link, &error, visit)?,
            }
        }
        Ok(())
    }

    /// Returns the document that a link leads to.
    ///
    /// # Errors
    ///
    /// As [`resolve`]; `Config` if `input.allow` does not name that place.
    fn target(&self, uri: &ObjectUri, link: &Link) -> Result<ObjectUri> {
        let target = resolve(&link.href, &uri.parent())?;
        if self.storage.may_lead(&self.start, &target) {
            return Ok(target);
        }
        Err(Error::config(format!("{target} is not allowed; to allow it, add it to input.allow")))
    }

    /// Hands on a link that cannot be followed: whatever it was to lead to is missing.
    fn no_link(&mut self, uri: &ObjectUri, link: &Link, error: &Error, visit: &mut Visit<'_>) -> Result<()> {
        let why = format!("its link `{}` cannot be followed: {}", redact(&link.rel), why(error));
        self.hand_on(Err(BadItem::new(uri.identity().clone(), why, link.href.as_bytes())), visit)
    }

    /// Reads items, several at a time, and hands them on in their order.
    async fn items(&mut self, uris: &[ObjectUri], visit: &mut Visit<'_>) -> Result<()> {
        let (storage, most) = (self.storage, self.limits.document_bytes);
        let load = |number: usize| {
            let (bucket, key) = (storage.bucket(&uris[number]), uris[number].key().to_owned());
            async move { (number, bucket.get(&key, most).await) }
        };
        let mut loaded = stream::iter(0..uris.len()).map(load).buffered(CONCURRENCY);
        while let Some((number, object)) = loaded.next().await {
            let uri = &uris[number];
            let found = match object {
                Ok(object) => {
                    self.tally.answered(uri);
                    single(&object.bytes, uri)
                }
                Err(fault) => Err(self.unread(uri, fault, uris).await?),
            };
            self.hand_on(found, visit)?;
        }
        Ok(())
    }

    /// Describes an item whose document could not be read; `all`: those of its catalog.
    ///
    /// # Errors
    ///
    /// As [`Tally::in_trouble_unlike`].
    async fn unread(&self, uri: &ObjectUri, fault: StoreError, all: &[ObjectUri]) -> Result<BadItem> {
        let bad = BadItem::new(uri.identity().clone(), fault.to_string(), b"");
        if let StoreError::Failed(error) = fault {
            let others = async { Ok(Sample::of_host(uri).among(all)) };
            self.tally.in_trouble_unlike(self.storage, uri, error, others).await?;
            return Ok(BadItem { unread: true, ..bad });
        }
        self.tally.answered(uri);
        Ok(bad)
    }

    async fn table(&mut self, uri: &ObjectUri, spool_folder: &Path, visit: &mut Visit<'_>) -> Result<()> {
        let unusable = |cause| Error::unavailable("cannot write a copy of the table").because(cause);
        std::fs::create_dir_all(spool_folder).map_err(unusable)?;
        let copy = tempfile::NamedTempFile::new_in(spool_folder).map_err(unusable)?.into_temp_path();
        let bucket = self.storage.bucket(uri);
        let info = bucket.head(uri.key()).await.map_err(|fault| fault.into_error(uri))?;
        if let Some(size) = info.known_size().filter(|size| *size > self.limits.table_bytes) {
            return Err(StoreError::TooLarge { size }.into_error(uri));
        }
        bucket.download(uri.key(), &copy).await.map_err(|fault| fault.into_error(uri))?;
        let (sender, mut receiver) = tokio::sync::mpsc::channel::<Vec<Found>>(2);
        let (path, name) = (copy.to_path_buf(), uri.clone());
        let reader = tokio::task::spawn_blocking(move || {
            geoparquet::read(&path, &name, &mut |items| sender.blocking_send(items).is_ok())
        });
        while let Some(items) = receiver.recv().await {
            for found in items {
                self.hand_on(found, visit)?;
            }
        }
        reader.await.map_err(|cause| Error::bug("the table's reader did not finish").because(cause))?
    }
}

/// Reads the document of one item.
fn single(bytes: &[u8], uri: &ObjectUri) -> Found {
    let text = std::str::from_utf8(bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes));
    match text {
        Ok(text) => read_item(text, &Place { document: uri, within: None }),
        Err(cause) => Err(BadItem::new(uri.identity().clone(), format!("it is not JSON: {cause}"), bytes)),
    }
}
