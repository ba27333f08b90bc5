//! STAC items as sources: documents that hold or lead to them, and searches.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use futures::TryStreamExt as _;
use globset::GlobMatcher;
use serde::{Deserialize, Serialize};

use super::pattern::relative;
use super::twins::{identity_of, identity_of_bad};
use super::{Entry, Odd, Search};
use crate::input::stac;
use crate::input::stac::{BadItem, Filter, Item, StacLimits, Verdict};
use crate::input::storage::{ObjectInfo, ObjectUri, StoreError, shown};
use crate::vocabulary::error::{Error, Result};

/// Bytes of a document that show whether it is STAC.
pub const DOCUMENT_START_BYTES: u64 = 64 << 10;
/// Names of what may be a STAC document or table.
const EXTENSIONS: [&str; 4] = ["json", "geojson", "parquet", "geoparquet"];

/// Which STAC items are taken.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ItemSpec {
    /// By date and clouds and place.
    pub filter: Filter,
    /// An API to search for them.
    pub search: Option<stac::Search>,
    /// What one document may lead to.
    pub limits: StacLimits,
}

/// What became of the items of one document or search.
#[derive(Default)]
struct Judged {
    verdicts: BTreeMap<Verdict, u64>,
    num_bad: u64,
}

impl Judged {
    fn words(&self) -> String {
        let mut text = String::new();
        for (verdict, count) in &self.verdicts {
            let _ = write!(text, ", {count} {}", verdict.words());
        }
        if self.num_bad > 0 {
            let _ = write!(text, ", {} that cannot be used", self.num_bad);
        }
        text
    }
}

impl Search {
    /// Tells whether an object that was named is STAC rather than an image.
    pub(super) async fn is_stac(&self, uri: &ObjectUri, info: &ObjectInfo) -> Result<bool> {
        if self.items.is_none() || !may_be_stac(uri) || info.size == 0 {
            return Ok(false);
        }
        let length = DOCUMENT_START_BYTES.min(info.size);
        let head = match self.storage.bucket(uri).get_range(uri.key(), 0, length).await {
            Ok(head) => head,
            Err(StoreError::Failed(error)) => return Err(error),
            Err(_) => return Ok(false),
        };
        Ok(begins_like_stac(uri, &head))
    }

    /// Adds the items that a document holds or leads to.
    pub(super) async fn add_items(&mut self, uri: &ObjectUri, spool_folder: &Path) -> Result<()> {
        let (storage, spec) = (self.storage.clone(), self.items.clone().unwrap_or_default());
        let mut judged = Judged::default();
        let mut visit = |found| self.add_item(found, &spec.filter, &mut judged);
        stac::read(&storage, uri, &spec.limits, spool_folder, &mut visit).await?;
        self.looked_at.push(format!("{uri}: STAC items{}", judged.words()));
        Ok(())
    }

    /// Adds the items of all documents of a folder that a pattern takes.
    pub(super) async fn add_documents(
        &mut self,
        folder: &ObjectUri,
        matcher: &GlobMatcher,
        spool_folder: &Path,
    ) -> Result<()> {
        let bucket = self.storage.bucket(folder);
        let mut listing = bucket.list(folder.key());
        let (mut num_documents, mut odd) = (0_u64, Odd::default());
        while let Some(info) = listing.try_next().await? {
            if !info.is_addressable() {
                odd.add(&info.key, folder.naming());
            } else if matcher.is_match(relative(folder, &info.key)) {
                num_documents += 1;
                self.add_items(&bucket.uri(&info.key), spool_folder).await?;
            }
        }
        self.num_ignored += odd.count;
        if num_documents == 0 {
            self.looked_at.push(format!("no document below {folder} matches{odd}"));
        }
        odd.warn(folder);
        Ok(())
    }

    /// Adds the items that a search finds.
    pub(super) async fn add_search(&mut self, search: &stac::Search, filter: &Filter) -> Result<()> {
        let mut judged = Judged::default();
        // An API leaves out by itself what it was asked to.
        self.filtered |= *filter != Filter::default();
        let mut pages = search.start(&self.storage).await?;
        while let Some(page) = pages.next().await? {
            for found in page {
                self.add_item(found, filter, &mut judged)?;
            }
        }
        let api = shown(&search.api, self.storage.naming());
        self.looked_at.push(format!("{api}: STAC items of a search{}", judged.words()));
        Ok(())
    }

    fn add_item(&mut self, found: stac::Found, filter: &Filter, judged: &mut Judged) -> Result<()> {
        let verdict = found.as_ref().map(|item| filter.judge(item));
        self.filtered |= verdict.is_ok_and(Verdict::is_elsewhere);
        match verdict {
            Ok(verdict) => *judged.verdicts.entry(verdict).or_default() += 1,
            Err(_) => judged.num_bad += 1,
        }
        if verdict.is_ok_and(|verdict| verdict != Verdict::Taken) {
            return Ok(());
        }
        self.spool.push(&entry(found)?)
    }
}

/// Returns whether an object that begins with these bytes, [`DOCUMENT_START_BYTES`] of them or all, is treated as STAC.
pub fn begins_like_stac(uri: &ObjectUri, head: &[u8]) -> bool {
    may_be_stac(uri) && (head.starts_with(b"PAR1") || stac::looks_like_stac(head))
}

/// Returns whether an object may be a STAC document or table, by its name.
pub(super) fn may_be_stac(uri: &ObjectUri) -> bool {
    let extension = Path::new(uri.key()).extension().map(std::ffi::OsStr::to_ascii_lowercase);
    match extension {
        Some(extension) => EXTENSIONS.iter().any(|known| extension == *known),
        None => uri.scheme().is_http(),
    }
}

/// Makes a source of an item; its version is a digest of what it says.
fn entry(found: stac::Found) -> Result<Entry> {
    let (uri, record, digest) = match found {
        Ok(item) => (item.uri.clone(), Ok(item), None),
        // It is looked at again as any other object, and comes to nothing or to a row of its own.
        Err(BadItem { uri, unread: true, .. }) => {
            return Ok(Entry { uri, in_trouble: true, ..Entry::default() });
        }
        Err(BadItem { uri, why, digest, .. }) => (uri, Err(UnusableItem(why)), Some(digest)),
    };
    let json = serde_json::to_vec::<ItemRecord>(&record)
        .map_err(|error| Error::bug("cannot write a STAC item").because(error))?;
    let version = stac::digest_of(&json);
    let identity = match (&record, digest) {
        (Ok(item), _) => identity_of(item, &version),
        (Err(_), digest) => identity_of_bad(&digest.unwrap_or_default()),
    };
    Ok(Entry { uri, version: Some(version), item: Some(json), identity, ..Entry::default() })
}

/// Why a STAC item cannot be used, for people; it lies in plans as text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{0}")]
#[serde(transparent)]
pub struct UnusableItem(String);

/// An item, or why there is none, as it lies in [`Entry::item`].
pub type ItemRecord = std::result::Result<Item, UnusableItem>;

impl Entry {
    /// Returns the STAC item that this source is, or why it cannot be used; `None` if it is not an item.
    ///
    /// # Errors
    ///
    /// `Bug` if the record cannot be read again.
    pub fn stac_item(&self) -> Result<Option<ItemRecord>> {
        let record = self.item.as_deref().map(serde_json::from_slice).transpose();
        let mut record: Option<ItemRecord> =
            record.map_err(|error| Error::bug("cannot read a STAC item again").because(error))?;
        if let Some(Ok(item)) = &mut record {
            item.uri = std::mem::take(&mut item.uri).named(self.uri.naming());
        }
        Ok(record)
    }
}
