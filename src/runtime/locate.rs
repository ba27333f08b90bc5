//! Finding the library.

use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::{Deserialize, Serialize};

use super::cache::Build;
use super::libraries::library_of;
use super::{is_recent, python};
use crate::vocabulary::error::{Error, Result};
use crate::vocabulary::provider::Provider;

/// Where the library lies, and which rule found it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Located {
    /// The library's file.
    pub path: PathBuf,
    /// The rule that found it.
    pub origin: Origin,
}

/// The places that are searched, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// The environment variable `ORT_DYLIB_PATH`.
    Variable,
    /// The folder of the running executable.
    Executable,
    /// The cache, where `tilefleet runtime install` puts it.
    Cache,
    /// An installed Python package `onnxruntime` or `onnxruntime-gpu`.
    PythonPackage,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Variable => "ORT_DYLIB_PATH",
            Self::Executable => "beside the executable",
            Self::Cache => "cache",
            Self::PythonPackage => "Python package onnxruntime",
        })
    }
}

/// Finds the ONNX Runtime library for a provider without loading it.
///
/// Searches `ORT_DYLIB_PATH`, the executable's folder, the cache, and an installed Python package
/// (which is found, but not imported). The first one that has the provider wins, else the first one.
///
/// # Errors
///
/// [`Kind::Config`](crate::vocabulary::error::Kind::Config) if there is none, or if `ORT_DYLIB_PATH` is set but is no
/// file: what was asked for is not silently replaced.
pub fn locate(provider: Provider) -> Result<Located> {
    Places::of_this_process().search(provider)
}

/// Finds every ONNX Runtime that [`locate`] could choose, the likeliest first, each once.
///
/// # Errors
///
/// As [`locate`].
pub fn locate_all() -> Result<Vec<Located>> {
    let places = Places::of_this_process();
    let first = places.search(Provider::Cpu)?;
    if first.origin == Origin::Variable {
        return Ok(vec![first]);
    }
    let mut others = places.candidates();
    others.retain(|other| other.path != first.path);
    Ok([first].into_iter().chain(others).collect())
}

/// The places to search, as a value for the sake of the tests.
struct Places {
    variable: Option<OsString>,
    executable_dir: Option<PathBuf>,
    /// The cache's folders, that for the CPU first.
    caches: Vec<PathBuf>,
    python: PathBuf,
}

impl Places {
    fn of_this_process() -> Self {
        Self {
            variable: std::env::var_os("ORT_DYLIB_PATH"),
            executable_dir: std::env::current_exe().ok().and_then(|path| Some(path.parent()?.to_owned())),
            caches: Build::ALL.iter().filter_map(|build| build.library_dir().ok()).collect(),
            python: python(),
        }
    }

    fn search(&self, provider: Provider) -> Result<Located> {
        if let Some(value) = self.variable.as_ref().filter(|value| !value.is_empty()) {
            return named_library(Path::new(value));
        }
        let mut candidates = self.in_folders();
        let has_it = |located: &Located| has_provider(&located.path, provider);
        // Python is only asked where nothing else will do: that takes longer than all the rest.
        if !candidates.iter().any(has_it) {
            candidates.extend(packaged_library(&self.python));
        }
        let found = candidates.iter().position(has_it).unwrap_or(0);
        if candidates.is_empty() { Err(self.not_found()) } else { Ok(candidates.swap_remove(found)) }
    }

    /// Returns all there are, wherever they lie.
    fn candidates(&self) -> Vec<Located> {
        self.in_folders().into_iter().chain(packaged_library(&self.python)).collect()
    }

    fn in_folders(&self) -> Vec<Located> {
        let executable = self.executable_dir.iter().map(|folder| (folder, Origin::Executable));
        let caches = self.caches.iter().map(|folder| (folder, Origin::Cache));
        let located = |(folder, origin): (&PathBuf, Origin)| {
            newest_library(folder).map(|path| Located { path, origin })
        };
        executable.chain(caches).filter_map(located).collect()
    }

    fn not_found(&self) -> Error {
        let place = |path: &Option<PathBuf>| path.as_ref().map_or("-".into(), |p| p.display().to_string());
        let searched = format!(
            "ORT_DYLIB_PATH is not set, and neither {} nor {} has a library, nor has {} the Python package \
             onnxruntime 1.24 or newer",
            place(&self.executable_dir),
            place(&self.caches.first().cloned()),
            self.python.display()
        );
        Error::config("ONNX Runtime is not installed")
            .because(searched)
            .hint("run `tilefleet runtime install`")
    }
}

/// Returns whether the library's folder holds a provider, too.
fn has_provider(library: &Path, provider: Provider) -> bool {
    library_of(provider).is_none_or(|name| library.with_file_name(name).is_file())
}

fn named_library(path: &Path) -> Result<Located> {
    if path.is_file() {
        return Ok(Located { path: path.to_owned(), origin: Origin::Variable });
    }
    Err(Error::config(format!("ORT_DYLIB_PATH names {}, which is not a file", path.display()))
        .hint("correct it, or unset it to use the library of `tilefleet runtime install`"))
}

/// Asks Python where its package lies. Python starts in the root folder, because it looks for packages
/// in the working folder first and nobody vouches for what lies there.
fn packaged_library(python: &Path) -> Option<Located> {
    const QUESTION: &str = "import importlib.util as u; s = u.find_spec('onnxruntime'); \
        print(s.submodule_search_locations[0] if s and s.submodule_search_locations else '')";
    let answer = Command::new(python)
        .args(["-c", QUESTION])
        .current_dir("/")
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()
        .filter(|answer| answer.status.success())?;
    let package = String::from_utf8(answer.stdout).ok()?;
    let package = package.trim();
    if package.is_empty() { None } else { library_of_package(Path::new(package)) }
}

fn library_of_package(package: &Path) -> Option<Located> {
    let path = newest_library(&package.join("capi"))?;
    let version = version_in_name(path.file_name()?.to_str()?)?;
    let version = version.iter().map(u64::to_string).collect::<Vec<_>>().join(".");
    is_recent(&version).then_some(Located { path, origin: Origin::PythonPackage })
}

/// Returns the library of the highest version in a folder.
pub(super) fn newest_library(folder: &Path) -> Option<PathBuf> {
    fs::read_dir(folder)
        .ok()?
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            let version = version_in_name(path.file_name()?.to_str()?)?;
            path.is_file().then_some((version, path))
        })
        .max()
        .map(|(_, path)| path)
}

/// Returns the version in a library's file name, empty for an unversioned name; `None` for other files.
fn version_in_name(name: &str) -> Option<Vec<u64>> {
    let rest = name.strip_prefix("libonnxruntime.")?;
    let version = if cfg!(target_os = "macos") {
        rest.strip_suffix("dylib")?.trim_end_matches('.')
    } else {
        rest.strip_prefix("so")?.trim_start_matches('.')
    };
    version.split('.').filter(|part| !part.is_empty()).map(|part| part.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vocabulary::error::Kind;

    fn library(version: &str) -> String {
        if cfg!(target_os = "macos") {
            format!("libonnxruntime.{version}.dylib")
        } else {
            format!("libonnxruntime.so.{version}")
        }
    }

    fn folder_with(names: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for name in names {
            fs::write(folder.path().join(name), b"").unwrap();
        }
        folder
    }

    fn nowhere() -> Places {
        Places { variable: None, executable_dir: None, caches: Vec::new(), python: "/no/such/python".into() }
    }

    #[test]
    fn the_highest_version_wins_and_other_libraries_do_not_count() {
        let (old, new) = (library("1.9.0"), library("1.32.0"));
        let folder = folder_with(&[&old, &new, "libonnxruntime_providers_shared.so", "libonnxruntime.txt"]);
        assert_eq!(newest_library(folder.path()), Some(folder.path().join(&new)));
        assert_eq!(newest_library(&folder.path().join("missing")), None);
    }

    #[test]
    fn the_executables_folder_comes_before_the_cache() {
        let name = library("1.32.0");
        let (beside, cached) = (folder_with(&[&name]), folder_with(&[&name]));
        let mut places = Places {
            executable_dir: Some(beside.path().into()),
            caches: vec![cached.path().into()],
            ..nowhere()
        };
        assert_eq!(places.search(Provider::Cpu).unwrap().origin, Origin::Executable);
        places.executable_dir = Some(folder_with(&[]).path().into());
        assert_eq!(places.search(Provider::Cpu).unwrap().path, cached.path().join(&name));
    }

    #[test]
    fn a_library_with_the_provider_comes_before_those_without() {
        let name = library("1.32.0");
        let (plain, gpu) = (folder_with(&[&name]), folder_with(&[&name, "libonnxruntime_providers_cuda.so"]));
        let caches = vec![plain.path().into(), gpu.path().into()];
        let mut places = Places { caches, ..nowhere() };
        let folder =
            |places: &Places, provider| places.search(provider).unwrap().path.parent().unwrap().to_owned();
        assert_eq!(folder(&places, Provider::Cpu), plain.path());
        assert_eq!(folder(&places, Provider::Cuda), gpu.path());
        // None has it: whoever loads it says so.
        assert_eq!(folder(&places, Provider::Tensorrt), plain.path());
        places.caches.remove(0);
        assert_eq!(folder(&places, Provider::Cpu), gpu.path());
    }

    #[test]
    fn a_missing_named_library_is_not_replaced_by_another() {
        let cached = folder_with(&[&library("1.32.0")]);
        let variable = Some(OsString::from("/no/such/libonnxruntime.so"));
        let places = Places { variable, caches: vec![cached.path().into()], ..nowhere() };
        let error = places.search(Provider::Cpu).unwrap_err();
        assert_eq!(error.kind(), Kind::Config);
        assert!(error.to_string().contains("/no/such/libonnxruntime.so"));
    }

    #[test]
    fn nothing_found_names_the_command_to_run() {
        let error = nowhere().search(Provider::Cpu).unwrap_err();
        assert_eq!(error.kind(), Kind::Config);
        assert_eq!(error.hints(), ["run `tilefleet runtime install`"]);
    }

    #[test]
    fn a_python_package_is_used_if_it_is_recent() {
        let package = folder_with(&[]);
        let capi = package.path().join("capi");
        fs::create_dir(&capi).unwrap();
        fs::write(capi.join(library("1.20.1")), b"").unwrap();
        assert_eq!(library_of_package(package.path()), None);
        fs::write(capi.join(library("1.31.0")), b"").unwrap();
        let found = Located { path: capi.join(library("1.31.0")), origin: Origin::PythonPackage };
        assert_eq!(library_of_package(package.path()), Some(found));
    }
}
