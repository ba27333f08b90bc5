//! What the integration tests share: the binary, test data, Python, servers of stores, faults.
//!
//! A test that lacks something passes, and is listed at the end of `make test` (`skipped`); with
//! `TILEFLEET_REQUIRE_ALL=1`, as in CI, it fails instead.

pub mod broker;
pub mod clock;
pub mod cluster;
pub mod fault_proxy;
pub mod lending;
pub mod nats_server;
pub mod s3_server;
pub mod sigv4;
pub mod skew;
pub mod small_disk;
pub mod store_server;

use std::env;
use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;

pub use fault_proxy::{Fault, FaultProxy, Rule};
pub use s3_server::S3Server;
pub use store_server::{Azurite, FakeGcs};
use tilefleet::runtime::cache_dir;
pub use tilefleet_testing::oracle::python;
pub use tilefleet_testing::skipped::test_data;

/// Reports what a test cannot do without, and returns `None`.
///
/// # Panics
///
/// If `TILEFLEET_REQUIRE_ALL` is 1.
pub fn skip<T>(what: &str) -> Option<T> {
    tilefleet_testing::skipped::missing(what);
    None
}

/// Returns whether the tests run as root.
pub fn is_root() -> bool {
    stdout_of(Command::new("id").arg("-u")).trim() == "0"
}

/// Starts SeaweedFS, a real S3 server, for one test.
pub fn seaweedfs() -> Option<S3Server> {
    let weed = project().join(".venv/bin/weed");
    if weed.is_file() {
        Some(S3Server::start(&weed))
    } else {
        skip("no .venv/bin/weed: run scripts/test-env")
    }
}

/// Starts Azurite, Microsoft's own server of Azure's blobs, for one test.
pub fn azurite() -> Option<Azurite> {
    let program = project().join(".venv/node_modules/.bin/azurite-blob");
    if program.is_file() {
        Some(Azurite::start(&program))
    } else {
        skip(
            "no .venv/node_modules/.bin/azurite-blob: install Node.js with npm, then run scripts/test-stores",
        )
    }
}

/// Starts fake-gcs-server, which answers as Google Cloud Storage, for one test.
pub fn fake_gcs() -> Option<FakeGcs> {
    let program = project().join(".venv/bin/fake-gcs-server");
    if program.is_file() {
        Some(FakeGcs::start(&program))
    } else {
        skip("no .venv/bin/fake-gcs-server: run scripts/test-stores")
    }
}

/// Returns the binary under test, ready for arguments, in an environment without anybody's settings or
/// credentials. It finds ONNX Runtime where this process does.
pub fn tilefleet() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tilefleet"));
    command.env_clear().env("HOME", "/nonexistent");
    command.env("TILEFLEET_CACHE", cache_dir().expect("the test process has a home folder"));
    // What is said is compared as people read it, though nobody sits at a terminal.
    command.env("TILEFLEET_LOG_FORMAT", "text");
    for name in ["PATH", "TMPDIR", "ORT_DYLIB_PATH"] {
        if let Some(value) = env::var_os(name) {
            command.env(name, value);
        }
    }
    command
}

/// Returns the same on an emulated Haswell: x86 with AVX2, without VNNI.
pub fn haswell() -> Option<Command> {
    let qemu = "qemu-x86_64";
    if !cfg!(target_arch = "x86_64") || Command::new(qemu).arg("-version").output().is_err() {
        return skip("no qemu-x86_64 on x86: apt-get install qemu-user");
    }
    let native = tilefleet();
    let mut command = Command::new(qemu);
    // Without what the emulator lacks of a Haswell, and says so for every thread.
    command
        .args(["-cpu", "Haswell,-pcid,-x2apic,-tsc-deadline,-hle,-invpcid,-rtm"])
        .arg(native.get_program());
    command.env_clear();
    command.envs(native.get_envs().filter_map(|(name, value)| Some((name, value?))));
    Some(command)
}

/// Returns whether this processor adds products of 8-bit integers without saturating.
pub fn has_vnni() -> bool {
    use tilefleet::stages::infer::arithmetic::Products;
    Products::here() != Products::Saturating
}

/// Returns what a command printed, if it succeeded.
///
/// # Panics
///
/// If it failed; the message is what it said.
pub fn stdout_of(command: &mut Command) -> String {
    let output = command.output().expect("the command starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?} ended with {}:\n{said}", output.status);
    String::from_utf8(output.stdout).expect("commands print UTF-8")
}

/// Runs a Python program of the tests and returns what it printed.
pub fn run_python<A: AsRef<OsStr>>(python: &Path, program: &str, arguments: &[A]) -> String {
    stdout_of(Command::new(python).arg("-c").arg(program).args(arguments))
}

pub fn project() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn the_binary_sees_no_credentials_and_finds_the_cache() {
    let command = tilefleet();
    let names: Vec<_> = command.get_envs().map(|(name, _)| name.to_string_lossy().into_owned()).collect();
    assert!(names.iter().any(|name| name == "TILEFLEET_CACHE"));
    assert!(!names.iter().any(|name| name.starts_with("AWS_") || name == "USER"));
}

#[test]
fn python_has_the_pinned_packages() {
    let Some(python) = python() else { return };
    let program = "import PIL, duckdb, numpy, onnxruntime, pandas, polars, pyarrow, sys; print(sys.argv[1], PIL.__version__)";
    assert_eq!(run_python(&python, program, &["Pillow"]), "Pillow 13.0.0\n");
}

#[test]
fn test_data_has_a_readme() {
    let Some(folder) = test_data() else { return };
    assert!(folder.join("README.md").is_file());
}
