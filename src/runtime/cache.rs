//! The per-user cache.

use std::env;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use std::str::FromStr;

use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::vocabulary::error::{Error, Kind, Result};

/// Returns the folder for files that can be fetched again: `TILEFLEET_CACHE`, else `tilefleet` in
/// `XDG_CACHE_HOME`, else in `~/.cache`. It need not exist.
///
/// # Errors
///
/// [`Kind::Config`] if none of these is set and there is no home folder.
pub fn cache_dir() -> Result<PathBuf> {
    cache_dir_from(|name| env::var_os(name)).ok_or_else(|| {
        Error::config("there is no cache folder: HOME is not set")
            .hint("set TILEFLEET_CACHE to a writable folder")
    })
}

/// Says that something in the cache cannot be written: who acts depends on why.
pub fn cannot_write(path: &Path, cause: io::Error) -> Error {
    use io::ErrorKind::{NotADirectory, NotFound, PermissionDenied, ReadOnlyFilesystem};
    let permanent = matches!(cause.kind(), PermissionDenied | ReadOnlyFilesystem | NotADirectory | NotFound);
    let kind = if permanent { Kind::Config } else { Kind::Unavailable };
    Error::new(kind, format!("cannot write {}", path.display()))
        .because(cause)
        .hint("set TILEFLEET_CACHE to a writable folder with free space")
}

/// Returns SHA-256 of a file, in hex.
///
/// # Errors
///
/// As the disk answers.
pub fn sha256_of(file: &Path) -> io::Result<String> {
    let mut file = File::open(file)?;
    let mut digest = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            count => digest.update(&buffer[..count]),
        }
    }
    Ok(hex::encode(digest.finalize()))
}

/// A build of ONNX Runtime that `tilefleet runtime install` brings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Build {
    /// For processors.
    #[default]
    Cpu,
    /// For processors and NVIDIA GPUs, with NVIDIA's libraries.
    Cuda,
}

impl Build {
    /// Every build.
    pub const ALL: [Self; 2] = [Self::Cpu, Self::Cuda];

    /// Returns the pinned version.
    #[must_use]
    pub fn version(self) -> &'static str {
        match self {
            Self::Cpu => "1.32.0",
            Self::Cuda => "1.31.1",
        }
    }

    /// Returns the folder that it is unpacked into. It need not exist.
    ///
    /// # Errors
    ///
    /// As [`cache_dir`].
    pub fn library_dir(self) -> Result<PathBuf> {
        let kind = match self {
            Self::Cpu => "cpu",
            Self::Cuda => "cuda13",
        };
        Ok(cache_dir()?.join(format!("onnxruntime-{}-{kind}", self.version())))
    }
}

/// There is no build of that name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnknownBuild {
    /// Another has its provider.
    #[error("the build for `cuda` also has TensorRT's provider; TensorRT 10 itself comes from NVIDIA")]
    Tensorrt,
    /// Nobody knows it.
    #[error("choose `cpu` or `cuda`")]
    Other,
}

impl FromStr for Build {
    type Err = UnknownBuild;

    fn from_str(provider: &str) -> std::result::Result<Self, UnknownBuild> {
        match provider {
            "cpu" => Ok(Self::Cpu),
            "cuda" => Ok(Self::Cuda),
            "tensorrt" => Err(UnknownBuild::Tensorrt),
            _ => Err(UnknownBuild::Other),
        }
    }
}

fn cache_dir_from(variable: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let set = |name: &str| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set("TILEFLEET_CACHE")
        .or_else(|| set("XDG_CACHE_HOME").map(|path| path.join("tilefleet")))
        .or_else(|| set("HOME").map(|path| path.join(".cache").join("tilefleet")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_specific_variable_names_the_cache() {
        let dir = |set: &[(&str, &str)]| {
            cache_dir_from(|name| set.iter().find(|(key, _)| *key == name).map(|(_, value)| value.into()))
        };
        let home = ("HOME", "/home/ann");
        assert_eq!(dir(&[home]), Some(PathBuf::from("/home/ann/.cache/tilefleet")));
        assert_eq!(dir(&[home, ("XDG_CACHE_HOME", "/c")]), Some(PathBuf::from("/c/tilefleet")));
        let ours = ("TILEFLEET_CACHE", "/ours");
        assert_eq!(dir(&[home, ("XDG_CACHE_HOME", "/c"), ours]), Some(PathBuf::from("/ours")));
        assert_eq!(dir(&[home, ("TILEFLEET_CACHE", "")]), Some(PathBuf::from("/home/ann/.cache/tilefleet")));
        assert_eq!(dir(&[]), None);
    }
}
