//! Where a model lies.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::input::storage::{ObjectUri, split_scheme};
use crate::vocabulary::error::{Error, Result};

/// Where a model lies: what `model.file` and the flags name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ModelPlace {
    /// A file of this machine, by the path that was given.
    File(PathBuf),
    /// An object of a store, or of a web server.
    Object(ObjectUri),
}

impl ModelPlace {
    /// Reads a path or a URI: s3://, gs://, az://, abfss://, http(s):// or file://.
    ///
    /// # Errors
    ///
    /// [`Kind::Config`](crate::vocabulary::error::Kind::Config) if it is a URI that names no object, or one with
    /// credentials or a signature: it is recorded with the run.
    pub fn parse(text: &str) -> Result<Self> {
        if split_scheme(text).is_none() && !text.starts_with("file:") {
            return Ok(Self::File(text.into()));
        }
        let uri = ObjectUri::parse(text)?;
        match uri.local_path() {
            Some(path) => Ok(Self::File(path)),
            None if uri.key().is_empty() => {
                Err(Error::config(format!("{uri} names no object"))
                    .hint("give the key of the ONNX file, too"))
            }
            None => Ok(Self::Object(uri)),
        }
    }

    /// As [`Self::parse`], of what the command line takes for a path.
    ///
    /// # Errors
    ///
    /// As [`Self::parse`].
    pub fn of(path: &Path) -> Result<Self> {
        path.to_str().map_or_else(|| Ok(Self::File(path.to_owned())), Self::parse)
    }

    /// Returns the object, unless it is a file of this machine.
    #[must_use]
    pub fn object(&self) -> Option<&ObjectUri> {
        match self {
            Self::File(_) => None,
            Self::Object(uri) => Some(uri),
        }
    }
}

impl fmt::Display for ModelPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Object(uri) => uri.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stay_as_they_are_and_uris_are_objects() {
        let file = |path: &str| ModelPlace::File(path.into());
        for (text, place) in [
            ("m.onnx", file("m.onnx")),
            ("../a b/%41.onnx", file("../a b/%41.onnx")),
            ("file:///models/a%20b.onnx", file("/models/a b.onnx")),
        ] {
            assert_eq!(ModelPlace::parse(text).unwrap(), place);
        }
        for (text, shown) in [
            ("s3://models/a/net.onnx", "s3://models/a/net.onnx"),
            ("HTTPS://host:443/a%20b.onnx", "https://host/a%20b.onnx"),
        ] {
            let place = ModelPlace::parse(text).unwrap();
            assert_eq!((place.object().is_some(), place.to_string().as_str()), (true, shown));
        }
    }

    /// It would be recorded, and shown to everybody who reads the table.
    #[test]
    fn a_uri_with_a_secret_is_refused_without_showing_it() {
        for text in [
            "https://user:secret@host/m.onnx",
            "https://host/m.onnx?sig=secret",
            "s3://key:secret@models/m.onnx",
            "ftp://user:secret@host/m.onnx",
        ] {
            let said = ModelPlace::parse(text).unwrap_err().render();
            assert!(!said.contains("secret"), "{said}");
        }
        let said = ModelPlace::parse("s3://models").unwrap_err().render();
        assert!(said.contains("s3://models/ names no object"), "{said}");
    }
}
