//! One STAC document of whatever kind, from its bytes.

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::item::Item;
use super::wire::{Place, item_of};
use crate::error::{Error, Result};
use crate::storage::{ObjectUri, sanitise};

/// An item that cannot be used, with why; it becomes a row like any source whose header cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadItem {
    /// Where it stands: its URI, or that of the document that holds it.
    pub uri: String,
    /// What is wrong with it.
    pub why: String,
}

/// What a document is.
#[derive(Debug)]
pub(super) enum Document {
    Item(Box<Item>),
    Page(Page),
    Catalog(Catalog),
}

/// Items, all or one page of them.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) items: Vec<Result<Item, BadItem>>,
    /// Where the next page is.
    pub(super) next: Option<Link>,
}

/// A catalog or collection, of which only the links matter here.
#[derive(Debug)]
pub(super) struct Catalog {
    pub(super) links: Vec<Link>,
}

/// A link to another document, in STAC API also the request that it takes.
#[derive(Clone, Debug, Deserialize, PartialEq)]
pub(super) struct Link {
    #[serde(default)]
    pub(super) rel: String,
    #[serde(default)]
    pub(super) href: String,
    #[serde(rename = "type")]
    pub(super) media_type: Option<String>,
    pub(super) method: Option<String>,
    pub(super) body: Option<Value>,
    #[serde(default)]
    pub(super) merge: bool,
}

/// Looks at the type first, then at no more than it needs.
#[derive(Deserialize)]
struct Head<'a> {
    #[serde(rename = "type")]
    kind: Option<String>,
    stac_version: Option<String>,
    #[serde(borrow)]
    features: Option<Vec<&'a RawValue>>,
    #[serde(default)]
    links: Vec<Link>,
}

/// Returns whether an object that begins with these bytes seems to be a STAC document in JSON.
///
/// A photo, a table or `GeoJSON` without STAC's keys is none. It takes what `input.uris` names one by one; what
/// turns out to be no STAC after all is an error when it is read.
pub fn looks_like_stac(head: &[u8]) -> bool {
    let head = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head);
    let begins = head.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{');
    let has = |key: &[u8]| head.windows(key.len()).any(|piece| piece == key);
    begins && (has(b"\"stac_version\"") || (has(b"\"FeatureCollection\"") && has(b"\"features\"")))
}

/// Reads a document.
///
/// # Errors
///
/// `Config` if it is no STAC.
pub(super) fn parse(bytes: &[u8], at: &ObjectUri) -> Result<Document> {
    let no_stac = || {
        Error::config(format!("{at} is no STAC document"))
            .hint("give an item, an item collection, a collection, a catalog, or a stac-geoparquet table")
    };
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let text = std::str::from_utf8(bytes).map_err(|cause| no_stac().because(cause))?;
    let head: Head<'_> = serde_json::from_str(text).map_err(|cause| no_stac().because(cause))?;
    match head.kind.as_deref() {
        Some("Feature") => {
            let place = Place { document: at, is_own: true };
            let item = item_of(text, &place).map_err(|cause| no_stac().because(cause))?;
            Ok(Document::Item(Box::new(item)))
        }
        Some("FeatureCollection") => Ok(Document::Page(page_of(head, at))),
        Some("Collection" | "Catalog") => Ok(Document::Catalog(Catalog { links: head.links })),
        // Before version 1.0 a catalog had no type.
        None if head.stac_version.is_some() => Ok(Document::Catalog(Catalog { links: head.links })),
        Some(other) => Err(no_stac().because(format!("its type is `{}`", sanitise(other)))),
        None => Err(no_stac().because("it has neither a type nor a stac_version")),
    }
}

fn page_of(head: Head<'_>, at: &ObjectUri) -> Page {
    let place = Place { document: at, is_own: false };
    let features = head.features.unwrap_or_default();
    let items = features.iter().map(|feature| read_item(feature.get(), &place)).collect();
    let next = head.links.into_iter().find(|link| link.rel == "next");
    Page { items, next }
}

/// Reads one item; one that cannot be used is handed on with what is wrong with it.
pub(super) fn read_item(json: &str, place: &Place<'_>) -> Result<Item, BadItem> {
    item_of(json, place).map_err(|error| BadItem { uri: uri_of(json, place), why: why(&error) })
}

/// Says an error in one line.
pub(super) fn why(error: &Error) -> String {
    let causes = error.causes();
    std::iter::once(error.to_string()).chain(causes).collect::<Vec<_>>().join(": ")
}

fn uri_of(json: &str, place: &Place<'_>) -> String {
    #[derive(Deserialize)]
    struct Named {
        id: Option<String>,
    }
    match serde_json::from_str::<Named>(json).ok().and_then(|named| named.id) {
        Some(id) if !place.is_own => format!("{}#{id}", place.document),
        _ => place.document.to_string(),
    }
}
