//! One STAC document of whatever kind, from its bytes.

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use super::item::Item;
use super::wire::{Place, item_of};
use crate::input::storage::{ObjectUri, redact};
use crate::vocabulary::error::{Error, Result};
use crate::vocabulary::identity::SourceUri;

/// An item that cannot be used, with why; it becomes a row like any source whose header cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadItem {
    /// Where it stands: its URI, or that of the document that holds it.
    pub uri: SourceUri,
    /// What is wrong with it.
    pub why: String,
    /// Digest of what is written there, in hex: the same item found twice has the same.
    pub digest: String,
    /// Whether its document could not be read, so that nothing is known of it.
    pub unread: bool,
}

/// Returns 128 bits of SHA-256 in hex.
pub fn digest_of(bytes: &[u8]) -> String {
    hex::encode(&Sha256::digest(bytes)[..16])
}

impl BadItem {
    /// Describes an item that cannot be used.
    ///
    /// - `written`: what stands in its place; empty if that could not be read
    pub fn new(uri: SourceUri, why: String, written: &[u8]) -> Self {
        Self { uri, why, digest: digest_of(written), unread: false }
    }
}

/// What a document is.
#[derive(Debug)]
pub(super) enum Document {
    Item(Box<Result<Item, BadItem>>),
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

impl Catalog {
    /// Returns whether it has any link that is followed, or that says that it is an API.
    pub(super) fn leads_somewhere(&self) -> bool {
        self.links.iter().any(|link| matches!(link.rel.as_str(), "item" | "items" | "child" | "search"))
    }
}

/// A link to another document, in STAC API also the request that it takes.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
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
    kind: Option<Value>,
    stac_version: Option<Value>,
    #[serde(borrow)]
    features: Option<&'a RawValue>,
    #[serde(borrow)]
    links: Option<&'a RawValue>,
    #[serde(borrow)]
    assets: Option<&'a RawValue>,
    #[serde(borrow)]
    properties: Option<&'a RawValue>,
    #[serde(borrow)]
    geometry: Option<&'a RawValue>,
}

impl Head<'_> {
    /// Returns the links, each read by itself: one that is written wrongly does not affect the others. `None` if they
    /// are not list.
    fn links(&self) -> Option<Vec<Link>> {
        let Some(links) = self.links else { return Some(Vec::new()) };
        let links: Vec<&RawValue> = serde_json::from_str(links.get()).ok()?;
        Some(links.into_iter().map(|link| link_of(link.get())).collect())
    }

    /// Returns whether it has what an item or a list of items has, and no catalog needs.
    fn holds_items(&self) -> bool {
        [self.features, self.assets, self.properties, self.geometry].iter().any(Option::is_some)
    }
}

/// Reads a link; of one that is written wrongly no more than what it is for, so that it leads nowhere.
fn link_of(json: &str) -> Link {
    #[derive(Deserialize)]
    struct Named {
        rel: String,
    }
    serde_json::from_str(json).unwrap_or_else(|_| Link {
        rel: serde_json::from_str::<Named>(json).map(|named| named.rel).unwrap_or_default(),
        ..Link::default()
    })
}

/// Returns whether an object that begins with these bytes seems to be a STAC document in JSON.
///
/// A photo, a table or `GeoJSON` without STAC's keys is not one. It takes what `input.uris` names one by one; what
/// turns out to be no STAC after all is an error when it is read.
pub fn looks_like_stac(head: &[u8]) -> bool {
    let head = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head);
    let begins = head.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{');
    let has = |key: &[u8]| head.windows(key.len()).any(|piece| piece == key);
    begins && (has(b"\"stac_version\"") || (has(b"\"FeatureCollection\"") && has(b"\"features\"")))
}

/// Reads a document.
///
/// - `first`: position of its first item, where it is a page of several
///
/// # Errors
///
/// `Config` if it is not STAC. What is wrong with one item comes as a [`BadItem`] instead.
pub(super) fn parse(bytes: &[u8], at: &ObjectUri, first: u64) -> Result<Document> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let text = std::str::from_utf8(bytes).map_err(|cause| no_stac(at).because(at.naming().cause(cause)))?;
    if text.trim_start().starts_with('[') {
        let why = "invalid type: it is a list; items must be in a FeatureCollection";
        return Err(no_stac(at).because(why));
    }
    let cause = match serde_json::from_str(text) {
        Ok(head) => return document_of(head, text, at, first),
        Err(cause) => cause,
    };
    // One number that JSON does not have must not take the other items along.
    let marked = numbers_marked(text).ok_or_else(|| no_stac(at).because(at.naming().cause(cause)))?;
    let head =
        serde_json::from_str(&marked).map_err(|cause| no_stac(at).because(at.naming().cause(cause)))?;
    document_of(head, &marked, at, first)
}

fn no_stac(at: &ObjectUri) -> Error {
    Error::config(format!("{at} is not a STAC document"))
        .hint("give an item, an item collection, a collection, a catalog, or a stac-geoparquet table")
}

fn document_of(head: Head<'_>, text: &str, at: &ObjectUri, first: u64) -> Result<Document> {
    match head.kind.as_ref().and_then(Value::as_str) {
        Some("Feature") => {
            Ok(Document::Item(Box::new(read_item(text, &Place { document: at, within: None }))))
        }
        Some("FeatureCollection") => Ok(Document::Page(page_of(&head, at, first))),
        Some("Collection" | "Catalog") => catalog_of(&head, at),
        // Before version 1.0 a catalog had no type.
        None if head.stac_version.is_some() => match catalog_of(&head, at) {
            Ok(Document::Catalog(catalog)) if catalog.leads_somewhere() || !head.holds_items() => {
                Ok(Document::Catalog(catalog))
            }
            Err(error) if !head.holds_items() => Err(error),
            _ => Ok(untyped(&head, text, at)),
        },
        Some(_) if head.holds_items() => Ok(untyped(&head, text, at)),
        Some(other) => {
            Err(no_stac(at).because(format!("its type is `{}`", at.naming().quote(&redact(other)))))
        }
        None => Err(no_stac(at).because("it has neither a type nor a stac_version")),
    }
}

fn catalog_of(head: &Head<'_>, at: &ObjectUri) -> Result<Document> {
    let links = head.links().ok_or_else(|| no_stac(at).because("its `links` are not a list"))?;
    Ok(Document::Catalog(Catalog { links }))
}

/// Describes what is written like an item, or like a list of items, but does not say that it is one.
fn untyped(head: &Head<'_>, text: &str, at: &ObjectUri) -> Document {
    let said = head.kind.as_ref().map_or_else(|| "missing or null".to_owned(), |kind| format!("`{kind}`"));
    let (what, right) = match head.features {
        Some(_) => ("a list of items", "FeatureCollection"),
        None => ("an item", "Feature"),
    };
    let why = format!("its `type` is {}; that of {what} is \"{right}\"", redact(&said));
    Document::Item(Box::new(Err(BadItem::new(at.identity().clone(), why, text.as_bytes()))))
}

fn page_of(head: &Head<'_>, at: &ObjectUri, first: u64) -> Page {
    let bad = |why: &str, written: Option<&RawValue>| {
        let written = written.map_or("", RawValue::get);
        Err(BadItem::new(at.identity().clone(), why.to_owned(), written.as_bytes()))
    };
    let features = head.features.and_then(|list| serde_json::from_str::<Vec<&RawValue>>(list.get()).ok());
    let item = |(feature, position): (&RawValue, u64)| {
        let place = Place { document: at, within: Some(format!("/features/{position}")) };
        read_item(feature.get(), &place)
    };
    let mut items: Vec<_> = match features {
        Some(features) => features.into_iter().zip(first..).map(item).collect(),
        None => {
            vec![bad("its `features` are missing, null or not a list, so it has no items", head.features)]
        }
    };
    let links = head.links();
    if links.is_none() {
        items.push(bad(
            "its `links` are not a list, so it is not known whether its items are complete",
            head.links,
        ));
    }
    let next = links.into_iter().flatten().find(|link| link.rel == "next");
    Page { items, next }
}

/// Stands for a number that JSON does not have.
const NO_NUMBER: &str = "\u{10FFFF}NaN";
/// What some write for such numbers (RFC 8259, section 6, does not permit them).
const NO_NUMBERS: [&str; 3] = ["-Infinity", "Infinity", "NaN"];

/// Puts a text in the place of numbers that JSON does not have; `None` if there are none.
fn numbers_marked(text: &str) -> Option<String> {
    let mut marked = String::new();
    let (mut done, mut at, mut in_text) = (0, 0, false);
    let bytes = text.as_bytes();
    while at < bytes.len() {
        match bytes[at] {
            b'\\' if in_text => at += 1,
            b'"' => in_text = !in_text,
            b'-' | b'I' | b'N' if !in_text => {
                let found = NO_NUMBERS.iter().find(|number| bytes[at..].starts_with(number.as_bytes()));
                if let Some(number) = found {
                    marked.push_str(&text[done..at]);
                    marked.extend(["\"", NO_NUMBER, "\""]);
                    at += number.len() - 1;
                    done = at + 1;
                }
            }
            _ => {}
        }
        at += 1;
    }
    (done > 0).then(|| marked + &text[done..])
}

/// Reads one item; one that cannot be used is handed on with what is wrong with it.
pub(super) fn read_item(json: &str, place: &Place<'_>) -> Result<Item, BadItem> {
    let bad = |why: String| BadItem::new(uri_of(json, place), why, json.as_bytes());
    if json.contains(NO_NUMBER) {
        return Err(bad("it is not JSON: it contains NaN or Infinity, which JSON does not allow".to_owned()));
    }
    item_of(json, place).map_err(|error| bad(why(&error)))
}

/// Says an error in one line.
pub(super) fn why(error: &Error) -> String {
    let causes = error.causes();
    std::iter::once(error.to_string()).chain(causes).collect::<Vec<_>>().join(": ")
}

fn uri_of(json: &str, place: &Place<'_>) -> SourceUri {
    #[derive(Deserialize)]
    struct Named {
        id: Option<String>,
    }
    let id = serde_json::from_str::<Named>(json).ok().and_then(|named| named.id);
    match (id, &place.within) {
        (_, None) => place.document.identity().clone(),
        (Some(id), _) => place.within_document(&id),
        (None, Some(position)) => place.within_document(position),
    }
}
