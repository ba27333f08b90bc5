//! Fetching the library.
//!
//! The official Python wheels carry it, so the machine's `pip` brings it from whatever index is
//! configured there, a company's mirror included. What arrives is checked against digests pinned here. The build
//! for GPUs brings NVIDIA's libraries, too, all into one folder, so that nothing but the driver is needed.

use std::env::consts::{ARCH, OS};
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use zip::ZipArchive;

use super::cache::{Build, cannot_write, sha256_of};
use super::locate::newest_library;
use super::pip::Pip;
use super::wheels::{Wheel, wheels_for};
use crate::vocabulary::error::{Error, Result};

/// How to install.
#[derive(Clone, Debug, Default)]
pub struct InstallOptions {
    /// Which build.
    pub build: Build,
    /// Wheels that are already here, instead of those fetched by `pip`; the same digests hold for them.
    pub wheels: Vec<PathBuf>,
    /// Fetches again although the library is there.
    pub force: bool,
}

/// An installed library.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Installed {
    /// The library's file in the cache.
    pub path: PathBuf,
    /// Its version.
    pub version: &'static str,
    /// Whether this call brought it; otherwise it was already there.
    pub fetched: bool,
    /// The wheels that it comes from.
    pub wheels: &'static [Wheel],
}

/// Puts a pinned ONNX Runtime into the cache, unless it is there.
///
/// The library appears in one step, so that several processes may install at once.
///
/// # Errors
///
/// `Unavailable` if the package index cannot be reached or the disk is full.
/// `Config` if there is no wheel for this machine, no Python or no pip, if the index has no such
/// wheel, if a wheel is not the pinned one, or if the cache cannot be written to.
pub fn install(options: &InstallOptions) -> Result<Installed> {
    let target = options.build.library_dir()?;
    let version = options.build.version();
    let wheels = wheels_for(options.build, OS, ARCH)?;
    if let Some(path) = newest_library(&target).filter(|_| !options.force) {
        return Ok(Installed { path, version, fetched: false, wheels });
    }
    let source = match options.wheels.as_slice() {
        [] => Source::Index(Pip::of_this_machine()),
        files => Source::Files(match_files(wheels, files)?),
    };
    let path = bring(wheels, &source, &target, options.force)?;
    Ok(Installed { path, version, fetched: true, wheels })
}

/// Where wheels come from.
enum Source {
    Index(Pip),
    /// One file a wheel, in their order; their digests are right.
    Files(Vec<PathBuf>),
}

/// Unpacks all wheels into one folder and moves it to its place; returns the library's file there.
fn bring(wheels: &[Wheel], source: &Source, target: &Path, force: bool) -> Result<PathBuf> {
    let stage = new_stage(target.parent().unwrap_or(Path::new("")))?;
    let unpacked = stage.path().join("library");
    fs::create_dir(&unpacked).map_err(|error| cannot_write(&unpacked, error))?;
    for (index, wheel) in wheels.iter().enumerate() {
        match source {
            Source::Files(files) => unpack(&files[index], wheel, &unpacked)?,
            Source::Index(pip) => {
                let folder = stage.path().join(wheel.package);
                tracing::info!(package = wheel.package, version = wheel.version, "fetching");
                let file = pip.fetch(wheel, &folder)?;
                check_digest(&file, wheel)?;
                unpack(&file, wheel, &unpacked)?;
                // GPU libraries take gigabytes: each wheel goes as soon as it is unpacked.
                fs::remove_dir_all(&folder).map_err(|error| cannot_write(&folder, error))?;
            }
        }
    }
    make_readable_by_all(&unpacked).map_err(|error| cannot_write(&unpacked, error))?;
    publish(&unpacked, target, force)?;
    newest_library(target)
        .ok_or_else(|| Error::unavailable(format!("{} was removed while installing", target.display())))
}

/// Creates a folder beside the target: a rename is only atomic within one file system.
fn new_stage(cache: &Path) -> Result<TempDir> {
    fs::create_dir_all(cache).map_err(|error| cannot_write(cache, error))?;
    tempfile::Builder::new().prefix(".stage-").tempdir_in(cache).map_err(|error| cannot_write(cache, error))
}

/// Finds for each wheel the given file that it is, by its digest.
fn match_files(wheels: &[Wheel], files: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let digests = files
        .iter()
        .map(|file| sha256_of(file).map_err(|error| cannot_read(file, error)))
        .collect::<Result<Vec<_>>>()?;
    for (file, digest) in files.iter().zip(&digests) {
        if wheels.iter().all(|wheel| wheel.sha256 != digest) {
            return Err(foreign(file, digest, wheels));
        }
    }
    let file_of = |wheel: &Wheel| {
        let at = digests.iter().position(|digest| digest == wheel.sha256);
        at.map(|at| files[at].clone()).ok_or_else(|| {
            Error::config(format!("the wheel of {} {} is missing", wheel.package, wheel.version))
                .hint(format!("give one `--wheel FILE` for each of {}", names(wheels)))
        })
    };
    wheels.iter().map(file_of).collect()
}

fn foreign(file: &Path, digest: &str, wheels: &[Wheel]) -> Error {
    match wheels {
        [wheel] => {
            wrong_digest(file, digest, wheel).hint(format!("give the wheel for {} from PyPI", wheel.platform))
        }
        _ => Error::config(format!("{} is not one of the expected wheels", file_name(file)))
            .because(format!("its SHA-256 is {digest}"))
            .hint(format!("give these files from PyPI: {}", names(wheels))),
    }
}

fn names(wheels: &[Wheel]) -> String {
    let name = |wheel: &Wheel| format!("{} {} ({})", wheel.package, wheel.version, wheel.platform);
    wheels.iter().map(name).collect::<Vec<_>>().join(", ")
}

fn check_digest(file: &Path, wheel: &Wheel) -> Result<()> {
    let found = sha256_of(file).map_err(|error| cannot_read(file, error))?;
    if found == wheel.sha256 {
        return Ok(());
    }
    Err(wrong_digest(file, &found, wheel).hint(format!(
        "the package index serves another file: fetch the wheel for {} from PyPI",
        wheel.platform
    )))
}

fn wrong_digest(file: &Path, found: &str, wheel: &Wheel) -> Error {
    Error::config(format!("{} is not the official {} {}", file_name(file), wheel.package, wheel.version))
        .because(format!("its SHA-256 is {found}, not {}", wheel.sha256))
}

/// Writes the shared libraries of a wheel into a folder.
fn unpack(file: &Path, wheel: &Wheel, folder: &Path) -> Result<()> {
    let broken = |error: zip::result::ZipError| {
        Error::config(format!("{} is not a readable wheel", file_name(file))).because(error)
    };
    let opened = File::open(file).map_err(|error| cannot_read(file, error))?;
    let mut archive = ZipArchive::new(opened).map_err(broken)?;
    for index in 0..archive.len() {
        let mut entry = archive.by_index(index).map_err(broken)?;
        let entry_name = entry.name().map_err(broken)?.into_owned();
        if let Some(name) = wheel.library_name(&entry_name) {
            let target = folder.join(name);
            write_whole(&mut entry, &target).map_err(|error| cannot_write(&target, error))?;
        }
    }
    Ok(())
}

fn write_whole(entry: &mut impl Read, target: &Path) -> io::Result<()> {
    let mut file = File::create_new(target)?;
    io::copy(entry, &mut file)?;
    file.sync_all()
}

/// An image may be built by root and run by another user.
#[cfg(unix)]
fn make_readable_by_all(folder: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755))
}

#[cfg(not(unix))]
fn make_readable_by_all(_folder: &Path) -> io::Result<()> {
    Ok(())
}

/// Moves the unpacked folder to its final name, or leaves what another process has put there meanwhile.
fn publish(unpacked: &Path, target: &Path, force: bool) -> Result<()> {
    if newest_library(unpacked).is_none() {
        return Err(Error::config("the wheel does not contain an ONNX Runtime library"));
    }
    if target.exists() && (force || newest_library(target).is_none()) {
        fs::remove_dir_all(target).map_err(|error| cannot_write(target, error))?;
    }
    match fs::rename(unpacked, target) {
        Err(_) if newest_library(target).is_some() => Ok(()),
        renamed => renamed.map_err(|error| cannot_write(target, error)),
    }
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}

fn cannot_read(path: &Path, cause: io::Error) -> Error {
    Error::config(format!("cannot read {}", path.display()))
        .because(cause)
        .hint("check the path that `--wheel` names")
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::vocabulary::error::Kind;
    use tilefleet_testing::skipped;

    fn wheel_with(folder: &Path, entries: &[&str]) -> PathBuf {
        let path = folder.join("some.whl");
        let mut archive = zip::ZipWriter::new(File::create(&path).unwrap());
        for entry in entries {
            archive.start_file(*entry, zip::write::SimpleFileOptions::default()).unwrap();
            archive.write_all(entry.as_bytes()).unwrap();
        }
        archive.finish().unwrap();
        path
    }

    fn names_in(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> =
            fs::read_dir(folder).unwrap().map(|e| file_name(&e.unwrap().path())).collect();
        names.sort();
        names
    }

    const LIBRARY: &str = "onnxruntime/capi/libonnxruntime.so.1.32.0";

    fn wheel() -> Wheel {
        wheels_for(Build::Cpu, "linux", "x86_64").unwrap()[0]
    }

    #[test]
    fn only_the_libraries_leave_the_wheel_and_none_leaves_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        let shared = "onnxruntime/capi/libonnxruntime_providers_shared.so";
        let file = wheel_with(
            folder.path(),
            &[
                LIBRARY,
                shared,
                "onnxruntime/capi/onnxruntime_pybind11_state.so",
                "onnxruntime/capi/../../libonnxruntime.so.9.9.9",
                "onnxruntime/capi/libonnxruntime/../../../evil.so",
                "/onnxruntime/capi/libonnxruntime.so.8.8.8",
            ],
        );
        let unpacked = folder.path().join("library");
        fs::create_dir(&unpacked).unwrap();
        unpack(&file, &wheel(), &unpacked).unwrap();
        assert_eq!(names_in(&unpacked), ["libonnxruntime.so.1.32.0", "libonnxruntime_providers_shared.so"]);
        assert_eq!(names_in(folder.path()), ["library", "some.whl"]);
    }

    #[test]
    fn another_file_than_the_pinned_one_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = wheel_with(folder.path(), &[LIBRARY]);
        let error = check_digest(&file, &wheel()).unwrap_err();
        assert_eq!(error.kind(), Kind::Config);
        assert!(error.render().contains(wheel().sha256));
        let gpu = wheels_for(Build::Cuda, "linux", "x86_64").unwrap();
        let error = match_files(gpu, &[file]).unwrap_err();
        assert!(error.to_string().ends_with("some.whl is not one of the expected wheels"), "{error}");
        assert!(error.render().contains("nvidia-cudnn-cu13 9.19.0.56"), "{}", error.render());
        assert_eq!(
            match_files(gpu, &[]).unwrap_err().to_string(),
            "the wheel of onnxruntime-gpu 1.31.1 is missing"
        );
    }

    /// A wheel as pip takes it, and how it would be pinned.
    fn pinned(index: &Path, package: &'static str, entry: &str, libraries: &'static [&'static str]) -> Wheel {
        let name = package.replace('-', "_");
        let file = index.join(format!("{name}-1.0-py3-none-manylinux2014_x86_64.whl"));
        let mut archive = zip::ZipWriter::new(File::create(&file).unwrap());
        let metadata = format!("Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n");
        let tags = "Wheel-Version: 1.0\nRoot-Is-Purelib: false\nTag: py3-none-manylinux2014_x86_64\n";
        for (entry, content) in [
            (format!("{name}-1.0.dist-info/METADATA"), metadata.as_str()),
            (format!("{name}-1.0.dist-info/WHEEL"), tags),
            (format!("{name}-1.0.dist-info/RECORD"), ""),
            (entry.to_owned(), package),
        ] {
            archive.start_file(entry, zip::write::SimpleFileOptions::default()).unwrap();
            archive.write_all(content.as_bytes()).unwrap();
        }
        archive.finish().unwrap();
        Wheel {
            package,
            version: "1.0",
            platform: "manylinux2014_x86_64",
            sha256: sha256_of(&file).unwrap().leak(),
            folder: if libraries == ["libonnxruntime"] { "onnxruntime/capi" } else { "nvidia/*/lib" },
            libraries,
        }
    }

    /// A package index of two wheels, asked by the machine's own pip; nothing is fetched from elsewhere.
    #[cfg(target_os = "linux")]
    #[test]
    fn pip_brings_all_wheels_into_one_folder() {
        let folder = tempfile::tempdir().unwrap();
        let index = folder.path().join("index");
        fs::create_dir(&index).unwrap();
        let wheels = [
            pinned(&index, "onnxruntime-gpu", "onnxruntime/capi/libonnxruntime.so.1.0", &["libonnxruntime"]),
            pinned(&index, "nvidia-fake", "nvidia/fake/lib/libfake.so.13", &["libfake.so"]),
        ];
        let pip = || Pip {
            python: super::super::python(),
            environment: vec![("PIP_NO_INDEX", "1".into()), ("PIP_FIND_LINKS", index.clone().into())],
        };
        let target = folder.path().join("cache").join("onnxruntime");
        let path = match bring(&wheels, &Source::Index(pip()), &target, false) {
            Err(error)
                if error.render().contains("pip to fetch") || error.render().contains("cannot start") =>
            {
                skipped::missing(&error.render());
                return;
            }
            brought => brought.unwrap(),
        };
        assert_eq!(path, target.join("libonnxruntime.so.1.0"));
        assert_eq!(names_in(&target), ["libfake.so.13", "libonnxruntime.so.1.0"]);
        assert_eq!(names_in(target.parent().unwrap()), ["onnxruntime"]);

        // An index that serves another file under the same name, and one that has none.
        let forged = [Wheel { sha256: wheel().sha256, ..wheels[1] }];
        let error = bring(&forged, &Source::Index(pip()), &target, true).unwrap_err();
        assert!(error.to_string().contains("is not the official nvidia-fake 1.0"), "{error}");
        let absent = [Wheel { package: "nvidia-absent", ..wheels[1] }];
        let error = bring(&absent, &Source::Index(pip()), &target, true).unwrap_err();
        assert_eq!(error.kind(), Kind::Config);
        assert_eq!(error.to_string(), "pip cannot fetch nvidia-absent 1.0");
        // What was installed is still there.
        assert_eq!(names_in(&target), ["libfake.so.13", "libonnxruntime.so.1.0"]);
    }

    #[test]
    fn digests_are_sha256() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("abc");
        fs::write(&path, b"abc").unwrap();
        // FIPS 180-4, the one-block example.
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(sha256_of(&path).unwrap(), expected);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn who_comes_second_keeps_what_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("onnxruntime");
        for content in ["first", "second"] {
            let unpacked = folder.path().join(content);
            fs::create_dir(&unpacked).unwrap();
            fs::write(unpacked.join("libonnxruntime.so.1.32.0"), content).unwrap();
            publish(&unpacked, &target, false).unwrap();
        }
        assert_eq!(fs::read(target.join("libonnxruntime.so.1.32.0")).unwrap(), b"first");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_folder_without_a_library_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let (target, unpacked) = (folder.path().join("onnxruntime"), folder.path().join("new"));
        fs::create_dir(&target).unwrap();
        fs::write(target.join("leftover"), b"").unwrap();
        fs::create_dir(&unpacked).unwrap();
        assert_eq!(publish(&unpacked, &target, false).unwrap_err().kind(), Kind::Config);
        fs::write(unpacked.join("libonnxruntime.so.1.32.0"), b"").unwrap();
        publish(&unpacked, &target, false).unwrap();
        assert_eq!(names_in(&target), ["libonnxruntime.so.1.32.0"]);
    }
}
