//! The per-user cache.

use std::env;
use std::ffi::OsString;
use std::path::PathBuf;

use super::PINNED_VERSION;
use crate::error::{Error, Result};

/// Returns the folder for files that can be fetched again: `TILEFLEET_CACHE`, else `tilefleet` in
/// `XDG_CACHE_HOME`, else in `~/.cache`. It need not exist.
///
/// # Errors
///
/// [`Kind::Config`](crate::error::Kind::Config) if none of these is set and there is no home folder.
pub fn cache_dir() -> Result<PathBuf> {
    cache_dir_from(|name| env::var_os(name)).ok_or_else(|| {
        Error::config("there is no folder for the cache: HOME is not set")
            .hint("set TILEFLEET_CACHE to a folder that can be written to")
    })
}

/// Returns the folder that `tilefleet runtime install` unpacks ONNX Runtime into. It need not exist.
///
/// # Errors
///
/// As [`cache_dir`].
pub fn library_dir() -> Result<PathBuf> {
    Ok(cache_dir()?.join(format!("onnxruntime-{PINNED_VERSION}-cpu")))
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
