//! What a source is called, where people or programs can see it.
//!
//! The URI of a source may name a patient. So no room passes it as plain text: a [`SourceUri`] shows itself as the
//! [`Naming`] says that it carries, wherever it is printed, logged, put into an error or written as JSON. The naming
//! is given to it when the source is listed, or read from `sources.parquet`. Reading the URI itself takes a call of
//! [`SourceUri::for_reading`], which is for input and output alone.
//!
//! ```text
//! Storage::naming ─▶ listing, manifest, items ─▶ SourceUri ─▶ errors, logs, JSON, rows: its name
//!                                                   └─ for_reading ─▶ requests, the table that workers read from
//! ```
//!
//! It keeps no map from names to URIs, and hides nothing but URIs and what others say of them.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::error::Error as StdError;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, LazyLock};

use hmac::{Hmac, Mac};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::Sha256;

use crate::vocabulary::error::Result;

/// Decides what a run shows of its sources. The tests below hold the contract that every policy passes.
pub trait NamingPolicy: fmt::Debug + Send + Sync {
    /// Returns what is shown instead of a URI, be it of a source, a folder, a host or a pattern: always the same,
    /// and of two URIs never the same. It borrows from the URI only where it is the URI.
    fn name<'a>(&self, uri: &'a str) -> Cow<'a, str>;

    /// Returns what is shown instead of the version of an object, such as its `ETag`: of equal versions of one URI the
    /// same.
    fn version<'a>(&self, uri: &str, version: &'a str) -> Cow<'a, str>;

    /// Returns whether names keep secret what they stand for.
    fn is_secret(&self) -> bool;
}

/// Shows URIs as they are.
#[derive(Clone, Copy, Debug)]
pub struct PlainUris;

impl NamingPolicy for PlainUris {
    fn name<'a>(&self, uri: &'a str) -> Cow<'a, str> {
        Cow::Borrowed(uri)
    }

    fn version<'a>(&self, _uri: &str, version: &'a str) -> Cow<'a, str> {
        Cow::Borrowed(version)
    }

    fn is_secret(&self) -> bool {
        false
    }
}

/// Shows the first 128 bits of HMAC-SHA256 (RFC 2104) over the URI, as 32 lower-case hex digits: without the key
/// nobody can find out, or check a guess, which URI it was.
#[derive(Clone)]
pub struct Pseudonyms {
    keyed: Hmac<Sha256>,
}

/// Opens every message, so that the name of a source is never that of something else under the same key.
const DOMAIN: &[u8] = b"tilefleet source v1\0";
/// Begins what stands for the URI of a source that was erased; its name follows.
pub const ERASED: &str = "erased:";
/// The same for the versions of sources: whoever can list a bucket knows sizes, times and `ETag`s.
const VERSION: &[u8] = b"tilefleet version v1\0";

/// Makes names with a key.
impl From<Hmac<Sha256>> for Pseudonyms {
    fn from(keyed: Hmac<Sha256>) -> Self {
        Self { keyed }
    }
}

impl NamingPolicy for Pseudonyms {
    fn name<'a>(&self, uri: &'a str) -> Cow<'a, str> {
        // No URI begins so: nobody knows any more what it was.
        if let Some(name) = uri.strip_prefix(ERASED) {
            return Cow::Owned(name.to_owned());
        }
        let digest = self.keyed.clone().chain_update(DOMAIN).chain_update(uri).finalize().into_bytes();
        Cow::Owned(hex::encode(&digest[..16]))
    }

    fn version<'a>(&self, uri: &str, version: &'a str) -> Cow<'a, str> {
        let framed = |keyed: Hmac<Sha256>, text: &str| {
            keyed.chain_update((text.len() as u64).to_be_bytes()).chain_update(text)
        };
        let keyed = framed(framed(self.keyed.clone().chain_update(VERSION), uri), version);
        Cow::Owned(hex::encode(&keyed.finalize().into_bytes()[..16]))
    }

    fn is_secret(&self) -> bool {
        true
    }
}

/// Says nothing of the key.
impl fmt::Debug for Pseudonyms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pseudonyms").finish_non_exhaustive()
    }
}

/// A [`NamingPolicy`], passed along with what it names; clones share it.
#[derive(Clone, Debug)]
pub struct Naming(Arc<dyn NamingPolicy>);

/// What stands in place of words of others, where names are secret.
const WITHHELD: &str = "not shown, since it may name a source";

impl Naming {
    /// Names sources by this policy.
    pub fn new(policy: impl NamingPolicy + 'static) -> Self {
        Self(Arc::new(policy))
    }

    /// Returns whether names keep secret what they stand for.
    #[must_use]
    pub fn is_secret(&self) -> bool {
        self.0.is_secret()
    }

    /// Returns the name for a URI, or for what leads to one: a folder, a host, a pattern, a key.
    #[must_use]
    pub fn name<'a>(&self, uri: &'a str) -> Cow<'a, str> {
        self.0.name(uri)
    }

    /// Returns words of others, such as a server's, a parser's or a document's, if they can be shown: where names are
    /// secret, what such words hold is anybody's guess.
    #[must_use]
    pub fn quote<'a>(&self, words: &'a str) -> Cow<'a, str> {
        if self.is_secret() { Cow::Borrowed(WITHHELD) } else { Cow::Borrowed(words) }
    }

    /// Returns the cause of an error, if its words can be shown; see [`Self::quote`].
    pub fn cause(
        &self,
        cause: impl Into<Box<dyn StdError + Send + Sync>>,
    ) -> Box<dyn StdError + Send + Sync> {
        if self.is_secret() { WITHHELD.into() } else { cause.into() }
    }

    /// Returns a source that is named so.
    pub fn source(&self, uri: impl Into<Arc<str>>) -> SourceUri {
        SourceUri { uri: uri.into(), naming: self.clone() }
    }

    /// Returns whether both are the same policy.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

/// Shows URIs.
impl Default for Naming {
    fn default() -> Self {
        static PLAIN: LazyLock<Naming> = LazyLock::new(|| Naming::new(PlainUris));
        PLAIN.clone()
    }
}

/// The canonical URI of a source, of one of its objects, or of a place that leads to some.
///
/// Displays, debugs and serialises as its name. Two are equal, and come in order, as their URIs do, however they are
/// named. Made of plain text, or read from JSON, it shows its URI; [`Naming::source`] makes one that is named
/// otherwise.
#[derive(Clone)]
pub struct SourceUri {
    uri: Arc<str>,
    naming: Naming,
}

impl SourceUri {
    /// Returns the URI itself: to read what lies there, to compare places, and to write the table that workers read
    /// from. Never for what somebody may see.
    #[must_use]
    pub fn for_reading(&self) -> &str {
        &self.uri
    }

    /// Returns its name, as shown and as in the column `source`. Tile ids are hashes of it: with plain URIs anybody can
    /// compute them; those of a pseudonymised run depend on the key as well, for a hash of a URI that can be guessed
    /// would name it.
    #[must_use]
    pub fn name(&self) -> Cow<'_, str> {
        self.naming.name(&self.uri)
    }

    /// Returns [`Self::name`] to be kept, shared with this URI where that is the name.
    #[must_use]
    pub fn shared_name(&self) -> Arc<str> {
        match self.name() {
            Cow::Borrowed(_) => self.uri.clone(),
            Cow::Owned(name) => name.into(),
        }
    }

    /// Returns what is shown of a version of it.
    #[must_use]
    pub fn version<'a>(&self, version: &'a str) -> Cow<'a, str> {
        self.naming.0.version(&self.uri, version)
    }

    /// Returns how it is named.
    #[must_use]
    pub fn naming(&self) -> &Naming {
        &self.naming
    }

    /// Returns the same URI, named so.
    #[must_use]
    pub fn named(self, naming: &Naming) -> Self {
        Self { uri: self.uri, naming: naming.clone() }
    }

    /// Writes the URI itself, for a field of a record that workers read from.
    ///
    /// # Errors
    ///
    /// As the serialiser.
    pub fn serialize_for_reading<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.serialize_str(self.for_reading())
    }
}

impl<T: Into<Arc<str>>> From<T> for SourceUri {
    fn from(uri: T) -> Self {
        Naming::default().source(uri)
    }
}

impl Default for SourceUri {
    fn default() -> Self {
        Self::from("")
    }
}

impl fmt::Display for SourceUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name())
    }
}

impl fmt::Debug for SourceUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.name(), f)
    }
}

impl Serialize for SourceUri {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.serialize_str(&self.name())
    }
}

impl<'de> Deserialize<'de> for SourceUri {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        String::deserialize(input).map(Self::from)
    }
}

impl PartialEq for SourceUri {
    fn eq(&self, other: &Self) -> bool {
        self.uri == other.uri
    }
}

impl Eq for SourceUri {}

impl PartialOrd for SourceUri {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for SourceUri {
    fn cmp(&self, other: &Self) -> Ordering {
        self.uri.cmp(&other.uri)
    }
}

impl Hash for SourceUri {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.uri.hash(state);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::vocabulary::keys::Keys;

    const KEY: &[u8] = b"0123456789abcdef";
    /// Places that are easily confused: one within the other, one text apart, one name in two folders.
    const URIS: [&str; 8] = [
        "file:///clinic/Doe_Jane/head.dcm",
        "file:///clinic/Doe_Jane/head.dcm#2",
        "file:///clinic/Doe_Jane",
        "file:///clinic/Doe_Joan/head.dcm",
        "s3://clinic/Doe_Jane/head.dcm",
        "https://clinic.example/Doe%20Jane",
        "file:///clinic/Müller.dcm",
        "",
    ];

    fn pseudonyms(key: &[u8]) -> Naming {
        Keys::new(key).unwrap().naming()
    }

    /// All ways in which a source is shown.
    fn shown(source: &SourceUri) -> [String; 4] {
        let json = serde_json::to_string(source).unwrap();
        [source.to_string(), format!("{source:?}"), json, source.name().into_owned()]
    }

    /// What holds of every policy. `other`: another of its kind, or the same.
    fn check(naming: &Naming, other: &Naming) {
        let names: HashSet<String> = URIS.iter().map(|uri| naming.name(uri).into_owned()).collect();
        assert_eq!(names.len(), URIS.len(), "two sources have one name");
        for uri in URIS {
            let source = naming.source(uri);
            assert_eq!(shown(&source), shown(&naming.source(uri.to_owned()).clone()), "names change");
            assert_eq!(source.for_reading(), uri);
            assert_eq!(source, SourceUri::from(uri), "how it is named makes it no other source");
            let parts = uri.split(['/', ':', '#', '.', '_', '%']).filter(|part| part.len() > 2);
            for text in shown(&source) {
                let plain = parts.clone().all(|part| text.contains(part));
                let hidden = parts.clone().all(|part| !text.contains(part)) && text.len() >= 32;
                assert!(if naming.is_secret() { hidden } else { plain }, "{text} for {uri}");
            }
            assert_eq!(naming.name(uri) == other.name(uri), !naming.is_secret(), "{uri}");
            let version = |uri: &str, text| naming.source(uri).version(text).into_owned();
            assert_eq!(version(uri, "v1"), version(uri, "v1"));
            assert_ne!(version(uri, "v1"), version(uri, "v2"));
            assert_eq!(version(uri, "v1") == version("elsewhere", "v1"), !naming.is_secret());
            assert_eq!(version(uri, "v1") == "v1", !naming.is_secret());
            assert_eq!(naming.quote(uri) == uri, !naming.is_secret() || uri == WITHHELD);
        }
        let mut sources: Vec<SourceUri> = URIS.iter().map(|uri| naming.source(*uri)).collect();
        let mut plain = URIS;
        sources.sort();
        plain.sort_unstable();
        assert!(sources.iter().map(SourceUri::for_reading).eq(plain), "order is that of the URIs");
    }

    #[test]
    fn plain_uris_keep_the_contract_and_read_back() {
        check(&Naming::default(), &Naming::new(PlainUris));
        for uri in URIS {
            let source = SourceUri::from(uri);
            assert_eq!(shown(&source)[0], uri);
            let again: SourceUri = serde_json::from_str(&shown(&source)[2]).unwrap();
            assert_eq!(again, source);
        }
    }

    #[test]
    fn pseudonyms_keep_the_contract_and_another_key_changes_all() {
        check(&pseudonyms(KEY), &pseudonyms(b"0123456789abcdeg"));
    }

    /// Computed apart from this code, with Python's hmac and hashlib over the documented bytes.
    #[test]
    fn pseudonyms_are_those_of_the_documented_bytes() {
        let source = pseudonyms(KEY).source("s3://a/ü.tif");
        assert_eq!(source.name(), "d4b36c73d4144172d009cb12d87b4010");
        assert_eq!(source.version("\"etag\""), "aebb04bc39eaa87f74baab1d1bea8972");
    }

    #[test]
    fn no_key_is_shown() {
        let source = pseudonyms(KEY).source("a");
        assert_eq!(format!("{:?}", source.naming()), "Naming(Pseudonyms { .. })");
    }
}
