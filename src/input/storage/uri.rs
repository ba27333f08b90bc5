//! Canonical names of objects: one text for one object.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::ffi::OsString;
use std::fmt::{self, Write as _};
use std::hash::{Hash, Hasher};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

use url::Url;

use super::redact::redact;
use crate::vocabulary::error::{Error, Result};
use crate::vocabulary::identity::{Naming, SourceUri};

/// How an object is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// A file of this machine, `file:///data/a.jpg`.
    File,
    /// Amazon S3 and what speaks its protocol, `s3://bucket/key`.
    S3,
    /// Google Cloud Storage, `gs://bucket/key`.
    Gs,
    /// Azure Blob Storage, `az://container/key` or `abfss://container@account.dfs.core.windows.net/key`.
    Az,
    /// Plain HTTP, `http://host/path`.
    Http,
    /// HTTP over TLS, `https://host/path`.
    Https,
}

impl Scheme {
    /// Returns whether objects of this scheme are files of this machine.
    #[must_use]
    pub fn is_local(self) -> bool {
        self == Self::File
    }

    /// Returns whether objects are reached by plain HTTP, which can neither list nor create.
    #[must_use]
    pub fn is_http(self) -> bool {
        matches!(self, Self::Http | Self::Https)
    }
}

/// The canonical URI of an object, a folder or a key prefix, taken apart for reading; it shows itself as its
/// [`SourceUri`] does, and so do all places that are derived from it.
///
/// Two URIs are equal if and only if their texts are. A trailing slash is not part of it: `s3://b/a/`
/// and `s3://b/a` are the same place. Keys of `s3`, `gs` and `az` are taken literally; `%` means `%`.
/// `file` keeps everything readable but `%`, `?`, `#`, control characters and bytes that are not
/// UTF-8, which are percent-encoded; `http` URLs are encoded as browsers do.
#[derive(Clone)]
pub struct ObjectUri {
    identity: SourceUri,
    scheme: Scheme,
    store: String,
    key: String,
}

const URL_FORM: &str = "write http://host/path or https://host/path";

impl ObjectUri {
    /// Parses a URI or a local path.
    ///
    /// A text without a scheme is a local path and taken literally; a relative one is resolved
    /// against the current folder. `.` and `..` are resolved by name, symbolic links are kept.
    ///
    /// ```
    /// use tilefleet::input::storage::ObjectUri;
    ///
    /// let uri = ObjectUri::parse("s3://photos/2026/../2025/a.jpg");
    /// assert!(uri.is_err(), "a key is not a path");
    ///
    /// let uri = ObjectUri::parse("s3://photos/2025/a.jpg")?;
    /// assert_eq!(uri.key(), "2025/a.jpg");
    /// assert_eq!(uri.parent().to_string(), "s3://photos/2025");
    ///
    /// let uri = ObjectUri::parse("/data/2026/../2025/a.jpg")?;
    /// assert_eq!(uri.to_string(), "file:///data/2025/a.jpg");
    ///
    /// let error = ObjectUri::parse("https://host/a.jpg?signature=secret").unwrap_err();
    /// assert_eq!(error.to_string(), "`https://host/a.jpg?…` has a query or a fragment");
    /// # Ok::<(), tilefleet::vocabulary::error::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// `Config` if the scheme is unknown, the bucket is missing, the key cannot be addressed, or the
    /// URL carries credentials or a query: it would be recorded in every row.
    pub fn parse(text: &str) -> Result<Self> {
        if text.is_empty() {
            return Err(Error::config("an empty URI names no object").hint("give a local path or a URI"));
        }
        let Some((scheme, rest)) = split_scheme(text) else {
            return Self::from_path(Path::new(text.strip_prefix("file:").unwrap_or(text)));
        };
        match scheme.as_str() {
            "file" => Self::parse_file_url(text, rest),
            "s3" | "s3a" => Self::in_bucket(Scheme::S3, rest, text),
            "gs" | "gcs" => Self::in_bucket(Scheme::Gs, rest, text),
            "az" | "azure" | "abfs" | "abfss" => Self::in_bucket(Scheme::Az, rest, text),
            "http" | "https" => Self::parse_http(text),
            other => {
                Err(Error::config(format!("the scheme `{other}` of `{}` is not supported", redact(text)))
                    .hint("use a local path, file://, s3://, gs://, az://, abfss://, http:// or https://"))
            }
        }
    }

    /// Names a local file or folder; a relative path is resolved against the current folder.
    ///
    /// # Errors
    ///
    /// `Unavailable` if the current folder is needed and gone.
    pub fn from_path(path: &Path) -> Result<Self> {
        let absolute = std::path::absolute(path)
            .map_err(|cause| Error::unavailable("cannot resolve the current folder").because(cause))?;
        Ok(Self::new(Scheme::File, String::new(), encode_path(&lexically_normal(&absolute))))
    }

    /// Takes the URI of a source apart, for reading; it is named as the source is.
    ///
    /// # Errors
    ///
    /// As [`ObjectUri::parse`].
    pub fn of(source: &SourceUri) -> Result<Self> {
        Self::parse_named(source.for_reading(), source.naming())
    }

    /// Parses what somebody has written, and names it so; an error about it shows no more than the naming does.
    ///
    /// # Errors
    ///
    /// As [`ObjectUri::parse`].
    pub fn parse_named(text: &str, naming: &Naming) -> Result<Self> {
        Self::parse(text).map(|uri| uri.named(naming)).map_err(|error| in_secret(error, text, naming))
    }

    /// Returns the same place, named so.
    #[must_use]
    pub fn named(self, naming: &Naming) -> Self {
        Self { identity: self.identity.named(naming), ..self }
    }

    fn parse_file_url(text: &str, rest: &str) -> Result<Self> {
        let path = rest.strip_prefix("localhost").unwrap_or(rest);
        if !path.starts_with('/') {
            return Err(Error::config(format!("`{text}` names another machine"))
                .hint("write file:///absolute/path, with three slashes"));
        }
        Self::from_path(Path::new(&OsString::from_vec(percent_decoded(path))))
    }

    fn in_bucket(scheme: Scheme, rest: &str, text: &str) -> Result<Self> {
        let (store, key) = rest.split_once('/').unwrap_or((rest, ""));
        if store.is_empty() || store.contains(char::is_whitespace) {
            return Err(Error::config(format!("`{}` names no bucket", redact(text)))
                .hint("write scheme://bucket/key, such as s3://photos/2026/"));
        }
        // Only Azure has an account before the host; anywhere else this would be a user and a password.
        if store.contains('@') && (scheme != Scheme::Az || store.contains(':')) {
            return Err(has_credentials(text));
        }
        let key = key.trim_matches('/');
        check_key(key, text)?;
        Ok(Self::new(scheme, store.to_owned(), key.to_owned()))
    }

    fn parse_http(text: &str) -> Result<Self> {
        let url = Url::parse(text).map_err(|cause| {
            Error::config(format!("`{}` is not a URL", redact(text))).because(cause).hint(URL_FORM)
        })?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(has_credentials(text));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(Error::config(format!("`{}` has a query or a fragment", redact(text))).hint(
                "a signature in a URL expires and would be recorded in every row: name the bucket (s3://, gs://, \
                 az://) and give credentials instead; write a literal `?` as %3F and `#` as %23",
            ));
        }
        let scheme = if url.scheme() == "http" { Scheme::Http } else { Scheme::Https };
        let store = host_and_port(&url);
        let mut segments = Vec::new();
        for segment in url.path_segments().into_iter().flatten() {
            segments.push(http_segment(segment, text)?);
        }
        let key = segments.join("/");
        let key = key.trim_matches('/');
        check_key(key, text)?;
        Ok(Self::new(scheme, store, key.to_owned()))
    }

    fn new(scheme: Scheme, store: String, key: String) -> Self {
        let text = match scheme {
            Scheme::File => format!("file:///{key}"),
            Scheme::S3 => format!("s3://{store}/{key}"),
            Scheme::Gs => format!("gs://{store}/{key}"),
            Scheme::Az if store.contains('@') => format!("abfss://{store}/{key}"),
            Scheme::Az => format!("az://{store}/{key}"),
            Scheme::Http => http_text("http", &store, &key),
            Scheme::Https => http_text("https", &store, &key),
        };
        Self { identity: text.into(), scheme, store, key }
    }

    /// Returns the canonical text itself; see [`SourceUri::for_reading`].
    #[must_use]
    pub fn for_reading(&self) -> &str {
        self.identity.for_reading()
    }

    /// Returns it as it is passed between rooms.
    #[must_use]
    pub fn identity(&self) -> &SourceUri {
        &self.identity
    }

    /// Returns how it is named.
    #[must_use]
    pub fn naming(&self) -> &Naming {
        self.identity.naming()
    }

    /// Returns how the object is reached.
    #[must_use]
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// Returns the bucket, the container (with `@account.host` where given) or `host:port`; empty for files.
    #[must_use]
    pub fn store(&self) -> &str {
        &self.store
    }

    /// Returns the key inside the bucket, without slashes at either end; empty for the root.
    ///
    /// For files it is the absolute path without its first slash, percent-encoded as in the text.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Returns an id of store and bucket without credentials, such as `s3://bucket` or `file://`.
    #[must_use]
    pub fn bucket_key(&self) -> &str {
        let text = self.for_reading();
        let start = text.find("://").map_or(0, |at| at + 3);
        let length = text[start..].find('/').unwrap_or(text.len() - start);
        &text[..start + length]
    }

    /// Returns [`Self::bucket_key`] as it is shown.
    #[must_use]
    pub fn bucket_name(&self) -> Cow<'_, str> {
        self.naming().name(self.bucket_key())
    }

    /// Returns the path of a local file; `None` for any other scheme.
    #[must_use]
    pub fn local_path(&self) -> Option<PathBuf> {
        self.scheme.is_local().then(|| path_of_key(&self.key))
    }

    /// Returns the URI of another key of the same bucket, as yielded by [`super::Bucket::list`].
    #[must_use]
    pub fn with_key(&self, key: &str) -> Self {
        Self::new(self.scheme, self.store.clone(), key.trim_matches('/').to_owned()).named(self.naming())
    }

    /// Returns the URI of `relative` below this folder; `relative` is taken as a key, not as a path.
    #[must_use]
    pub fn join(&self, relative: &str) -> Self {
        match self.key.as_str() {
            "" => self.with_key(relative),
            key => self.with_key(&format!("{key}/{}", relative.trim_matches('/'))),
        }
    }

    /// Returns the folder that holds this object; the root is its own parent.
    #[must_use]
    pub fn parent(&self) -> Self {
        self.with_key(self.key.rsplit_once('/').map_or("", |(folder, _)| folder))
    }

    /// Resolves a reference as written in a manifest inside this folder.
    ///
    /// `reference` may be a full URI, an absolute local path, or relative to this folder with `.` and
    /// `..` in it. Relative references beside an `http` manifest are percent-decoded, as in HTML.
    ///
    /// # Errors
    ///
    /// `Config` as for [`ObjectUri::parse`], and if `..` leaves the bucket.
    pub fn resolve(&self, reference: &str) -> Result<Self> {
        let resolved = self.resolve_plainly(reference).map(|uri| uri.named(self.naming()));
        resolved.map_err(|error| in_secret(error, reference, self.naming()))
    }

    fn resolve_plainly(&self, reference: &str) -> Result<Self> {
        if reference.is_empty() || reference.starts_with('/') || split_scheme(reference).is_some() {
            return Self::parse(reference);
        }
        if let Some(folder) = self.local_path() {
            return Self::from_path(&folder.join(reference));
        }
        if self.scheme.is_http() {
            let mut base = self.for_reading().to_owned();
            if !base.ends_with('/') {
                base.push('/');
            }
            let joined = Url::parse(&base).and_then(|base| base.join(reference));
            return joined
                .map_err(|cause| {
                    Error::config(format!("`{}` is not a URL", redact(reference))).because(cause)
                })
                .and_then(|url| Self::parse(url.as_str()));
        }
        let mut segments: Vec<&str> = self.key.split('/').filter(|segment| !segment.is_empty()).collect();
        for segment in reference.split('/') {
            match segment {
                ".." if segments.pop().is_none() => {
                    return Err(Error::config(format!(
                        "`{reference}` points outside of {}",
                        self.bucket_key()
                    )));
                }
                "" | "." | ".." => {}
                name => segments.push(name),
            }
        }
        let key = segments.join("/");
        check_key(&key, reference)?;
        Ok(self.with_key(&key))
    }

    /// Returns whether this is `folder` or lies below it.
    #[must_use]
    pub fn is_within(&self, folder: &Self) -> bool {
        let folder = folder.for_reading().trim_end_matches('/');
        self.for_reading().strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

impl fmt::Display for ObjectUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.identity.fmt(f)
    }
}

impl fmt::Debug for ObjectUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.identity, f)
    }
}

impl PartialEq for ObjectUri {
    fn eq(&self, other: &Self) -> bool {
        self.identity == other.identity
    }
}

impl Eq for ObjectUri {}

impl PartialOrd for ObjectUri {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for ObjectUri {
    fn cmp(&self, other: &Self) -> Ordering {
        self.identity.cmp(&other.identity)
    }
}

impl Hash for ObjectUri {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.identity.hash(state);
    }
}

impl std::str::FromStr for ObjectUri {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::parse(text)
    }
}

/// Splits `scheme://rest`; the scheme comes back in lower case.
pub fn split_scheme(text: &str) -> Option<(String, &str)> {
    let (scheme, rest) = text.split_once("://")?;
    let mut characters = scheme.chars();
    let first_is_letter = characters.next().is_some_and(|first| first.is_ascii_alphabetic());
    let valid =
        first_is_letter && characters.all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'));
    valid.then(|| (scheme.to_ascii_lowercase(), rest))
}

/// Returns the path that a local key names.
pub fn path_of_key(key: &str) -> PathBuf {
    let mut bytes = vec![b'/'];
    bytes.extend(percent_decoded(key));
    PathBuf::from(OsString::from_vec(bytes))
}

/// Returns the local key of an absolute, normalised path.
pub(crate) fn encode_path(path: &Path) -> String {
    encode_name(path.as_os_str().as_bytes().strip_prefix(b"/").unwrap_or_default())
}

/// Percent-encodes what would be ambiguous in a `file` URI and leaves the rest readable.
pub(crate) fn encode_name(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '%' | '?' | '#' | '\0'..='\x1f' | '\x7f' => {
                    write!(text, "%{:02X}", character as u32).expect("writing to a string cannot fail");
                }
                readable => text.push(readable),
            }
        }
        for byte in chunk.invalid() {
            write!(text, "%{byte:02X}").expect("writing to a string cannot fail");
        }
    }
    text
}

/// Decodes `%XX`; anything else, a lone `%` included, stays as it is.
pub fn percent_decoded(text: &str) -> Vec<u8> {
    percent_encoding::percent_decode_str(text).collect()
}

fn lexically_normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir => {
                normal.pop();
            }
            Component::CurDir => {}
            other => normal.push(other),
        }
    }
    normal
}

fn host_and_port(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

fn http_segment(segment: &str, text: &str) -> Result<String> {
    let decoded = String::from_utf8(percent_decoded(segment)).ok().filter(|name| !name.contains('/'));
    decoded.ok_or_else(|| Error::config(format!("`{}` has an encoded slash or is not UTF-8", redact(text))))
}

fn http_text(scheme: &str, store: &str, key: &str) -> String {
    let root = format!("{scheme}://{store}/");
    let mut url = Url::parse(&root).expect("scheme and host come from a parsed URL");
    if let Ok(mut segments) = url.path_segments_mut() {
        segments.clear().extend(key.split('/').filter(|segment| !segment.is_empty()));
    }
    url.into()
}

/// Keeps what an error says of a text to itself, where names are secret.
fn in_secret(error: Error, text: &str, naming: &Naming) -> Error {
    if naming.is_secret() {
        Error::new(error.kind(), format!("`{}` is no URI that can be read", naming.name(text)))
    } else {
        error
    }
}

fn has_credentials(text: &str) -> Error {
    Error::config(format!("`{}` carries credentials", redact(text)))
        .hint("a URI is recorded in every row: give credentials through the environment or a profile")
}

fn check_key(key: &str, text: &str) -> Result<()> {
    let bad = key
        .split('/')
        .any(|segment| matches!(segment, "." | "..") || (segment.is_empty() && !key.is_empty()));
    if bad || key.chars().any(|c| c.is_ascii_control()) {
        return Err(Error::config(format!("the key of `{}` cannot be addressed", redact(text)))
            .hint("keys with empty, `.` or `..` segments or control characters are not supported"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vocabulary::error::Kind;
    use crate::vocabulary::keys::Keys;

    fn canonical(text: &str) -> String {
        ObjectUri::parse(text).unwrap().to_string()
    }

    #[test]
    fn one_object_has_one_text() {
        for (written, expected) in [
            ("/data/a.jpg", "file:///data/a.jpg"),
            ("/data/./x/..//a.jpg", "file:///data/a.jpg"),
            ("file:///data/a.jpg", "file:///data/a.jpg"),
            ("file:/data/a.jpg", "file:///data/a.jpg"),
            ("file://localhost/data/a.jpg", "file:///data/a.jpg"),
            ("/data/é ü.jpg", "file:///data/é ü.jpg"),
            ("/data/50%.jpg", "file:///data/50%25.jpg"),
            ("file:///data/50%25.jpg", "file:///data/50%25.jpg"),
            ("/data/a#1?.jpg", "file:///data/a%231%3F.jpg"),
            ("/", "file:///"),
            ("S3://bucket/a/b.jpg", "s3://bucket/a/b.jpg"),
            ("s3a://bucket/a/b/", "s3://bucket/a/b"),
            ("s3://bucket", "s3://bucket/"),
            ("s3://bucket/50%25.jpg", "s3://bucket/50%25.jpg"),
            ("gcs://bucket/a b", "gs://bucket/a b"),
            ("azure://box/a", "az://box/a"),
            ("abfs://box@acct.dfs.core.windows.net/a", "abfss://box@acct.dfs.core.windows.net/a"),
            ("HTTPS://Example.com:443/a%20b/%7Ec", "https://example.com/a%20b/~c"),
            ("http://localhost:8080/x/../a", "http://localhost:8080/a"),
            ("https://example.com", "https://example.com/"),
        ] {
            assert_eq!(canonical(written), expected, "{written}");
            assert_eq!(canonical(expected), expected, "canonical text is a fixed point");
        }
    }

    #[test]
    fn relative_paths_become_absolute() {
        let folder = std::env::current_dir().unwrap();
        assert_eq!(ObjectUri::parse("x/../a.jpg").unwrap().local_path().unwrap(), folder.join("a.jpg"));
    }

    #[test]
    fn names_that_are_not_utf8_survive() {
        let path = PathBuf::from(OsString::from_vec(b"/data/\xff%.jpg".to_vec()));
        let uri = ObjectUri::from_path(&path).unwrap();
        assert_eq!(uri.to_string(), "file:///data/%FF%25.jpg");
        assert_eq!(uri.local_path().unwrap(), path);
    }

    #[test]
    fn parts_are_told_apart() {
        for (text, bucket, key) in [
            ("/data/a.jpg", "file://", "data/a.jpg"),
            ("s3://b/x/y", "s3://b", "x/y"),
            ("s3://b", "s3://b", ""),
            ("https://h:81/a b", "https://h:81", "a b"),
            ("abfss://c@a.host/k", "abfss://c@a.host", "k"),
        ] {
            let uri = ObjectUri::parse(text).unwrap();
            assert_eq!((uri.bucket_key(), uri.key()), (bucket, key));
            assert_eq!(uri.with_key(key), uri);
        }
        let folder = ObjectUri::parse("s3://b/out").unwrap();
        assert_eq!(folder.join("a/b").for_reading(), "s3://b/out/a/b");
        assert_eq!(folder.parent().for_reading(), "s3://b/");
        assert!(folder.join("a").is_within(&folder));
        assert!(!ObjectUri::parse("s3://b/outside").unwrap().is_within(&folder));
    }

    #[test]
    fn what_cannot_be_meant_is_refused_without_its_secrets() {
        for (text, part) in [
            ("ftp://host/a", "scheme `ftp`"),
            ("s3:///key", "no bucket"),
            ("s3://AKIA:SECRETKEY@bucket/a", "carries credentials"),
            ("https://me:SECRETKEY@host/a", "carries credentials"),
            ("https://host/a?X-Amz-Signature=SECRETKEY", "query"),
            ("s3://b/a//b", "cannot be addressed"),
            ("s3://b/../c", "cannot be addressed"),
            ("https://h/a%2Fb", "encoded slash"),
            ("", "empty"),
        ] {
            let error = ObjectUri::parse(text).unwrap_err();
            assert_eq!(error.kind(), Kind::Config);
            assert!(error.render().contains(part), "{}", error.render());
            assert!(!error.render().contains("SECRETKEY"), "{}", error.render());
        }
    }

    /// Names follow the places that are derived from one, and errors about them say nothing.
    #[test]
    fn whatever_is_derived_from_a_place_is_named_like_it() {
        let secret = Keys::new(b"0123456789abcdef").unwrap().naming();
        let place = ObjectUri::parse_named("s3://clinic/Doe_Jane/a.dcm", &secret).unwrap();
        let web = ObjectUri::parse_named("https://clinic.example/Doe_Jane", &secret).unwrap();
        for uri in [place.parent(), place.with_key("Doe_Jane"), place.join("Doe_Jane"), place.clone()] {
            assert_eq!(uri.to_string(), secret.name(uri.for_reading()));
        }
        let resolved = [place.resolve("Doe_Jane"), web.resolve("b%20Doe_Jane"), place.resolve("/Doe_Jane")];
        assert!(resolved.into_iter().all(|uri| uri.unwrap().naming().is(&secret)));
        assert_eq!(place.bucket_name(), secret.name("s3://clinic"));
        for error in [
            place.resolve("../../../Doe_Jane").unwrap_err(),
            place.resolve("ftp://Doe_Jane/a").unwrap_err(),
            web.resolve("https://Doe_Jane:secret@host/a").unwrap_err(),
            ObjectUri::parse_named("s3://clinic/../Doe_Jane", &secret).unwrap_err(),
        ] {
            assert!(!error.render().contains("Doe") && error.kind() == Kind::Config, "{}", error.render());
        }
    }

    #[test]
    fn references_resolve_against_the_manifest_folder() {
        let s3 = ObjectUri::parse("s3://b/list").unwrap();
        assert_eq!(s3.resolve("img/a.jpg").unwrap().for_reading(), "s3://b/list/img/a.jpg");
        assert_eq!(s3.resolve("../img/./a.jpg").unwrap().for_reading(), "s3://b/img/a.jpg");
        assert_eq!(s3.resolve("gs://c/a").unwrap().for_reading(), "gs://c/a");
        assert!(s3.resolve("../../a.jpg").is_err());
        let local = ObjectUri::parse("/data/list").unwrap();
        assert_eq!(local.resolve("../a%.jpg").unwrap().for_reading(), "file:///data/a%25.jpg");
        assert_eq!(local.resolve("/x/a.jpg").unwrap().for_reading(), "file:///x/a.jpg");
        let web = ObjectUri::parse("https://h/list").unwrap();
        assert_eq!(web.resolve("a%20b.jpg").unwrap().for_reading(), "https://h/list/a%20b.jpg");
        assert_eq!(web.resolve("../a.jpg").unwrap().for_reading(), "https://h/a.jpg");
    }
}
