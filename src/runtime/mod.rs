//! ONNX Runtime itself: fetching the library, finding it, loading it.
//!
//! The library is loaded at run time, so that one binary serves machines with and without a GPU:
//! whoever brings a GPU build of ONNX Runtime gets its execution providers.

mod cache;
pub mod doctor;
pub mod driver;
mod elf;
pub mod engines;
pub mod failure;
#[cfg(all(test, target_os = "linux"))]
mod fake_library;
mod install;
pub mod libraries;
mod locate;
mod pip;
pub mod probe;
pub mod registration;
mod wheels;

use std::ffi::{CStr, c_char};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};

use ort::environment::Environment;
use ort::logging::LogLevel;
use ort::session::Session as OrtSession;
use ort::session::builder::{AutoDevicePolicy, SessionBuilder};

use crate::vocabulary::error::{Error, Result};
use crate::vocabulary::provider::Provider;

pub use cache::{Build, cache_dir, cannot_write, sha256_of};
pub use failure::Failure;
pub use install::{InstallOptions, Installed, install};
pub use locate::{Located, Origin, locate, locate_all};
pub use wheels::Wheel;

/// The oldest minor version of ONNX Runtime 1.x whose C API has what `ort` calls (feature `api-24`).
const OLDEST_MINOR: u32 = 24;

static RUNTIME: OnceLock<Runtime> = OnceLock::new();
static LOADING: Mutex<()> = Mutex::new(());

/// The loaded library and its one environment.
#[derive(Debug)]
pub struct Runtime {
    pub(crate) environment: Environment,
    /// Where the library was found.
    pub located: Located,
    /// The library's version, such as `1.32.0`.
    pub version: String,
}

/// Finds and loads an ONNX Runtime for the CPU, as [`load_for`].
///
/// # Errors
///
/// As [`load_for`].
pub fn load() -> Result<&'static Runtime> {
    load_for(Provider::Cpu)
}

/// Finds and loads an ONNX Runtime that has a provider, or any if none has, once a process; later calls return
/// the same runtime, whatever they ask for.
///
/// # Errors
///
/// [`Kind::Config`](crate::vocabulary::error::Kind::Config) if there is no library, or if the one found cannot be
/// loaded or is older than 1.24.
pub fn load_for(provider: Provider) -> Result<&'static Runtime> {
    let _loading = LOADING.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(runtime) = RUNTIME.get() {
        return Ok(runtime);
    }
    let runtime = open(locate(provider)?)?;
    Ok(RUNTIME.get_or_init(|| runtime))
}

fn open(located: Located) -> Result<Runtime> {
    let path = &located.path;
    let version = library_version(path)?;
    if !is_recent(&version) {
        let message = format!("ONNX Runtime {version} at {} is too old", path.display());
        return Err(Error::config(message).hint(format!("1.{OLDEST_MINOR} or newer is needed: {ADVICE}")));
    }
    // `ort`'s lazy path panics on a bad library; `init_from` returns an error.
    let environment = ort::init_from(path)
        .map_err(|error| cannot_load(path, error.to_string()))?
        .with_name("tilefleet")
        .with_telemetry(false)
        .build()
        .map_err(|error| cannot_load(path, error.to_string()))?;
    // The environment starts at the most talkative level and formats each message before it is filtered.
    environment.set_log_level(LogLevel::Warning);
    Ok(Runtime { environment, located, version })
}

const ADVICE: &str = "run `tilefleet runtime install`, or set ORT_DYLIB_PATH to another library";

fn cannot_load(path: &Path, cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::config(format!("cannot load ONNX Runtime from {}", path.display())).because(cause).hint(ADVICE)
}

/// The head of the C API's `OrtApiBase`, which is the same in every version.
#[repr(C)]
struct ApiBase {
    get_api: unsafe extern "system" fn(u32) -> *const std::ffi::c_void,
    get_version_string: unsafe extern "system" fn() -> *const c_char,
}

/// Reads the version out of the library, whatever its file is called.
#[expect(unsafe_code, reason = "calls the C entry point that ort does not expose before it is initialised")]
fn library_version(path: &Path) -> Result<String> {
    // SAFETY: the file is the one the user chose as ONNX Runtime; loading it runs its initialisers.
    let library = unsafe { libloading::Library::new(path) }.map_err(|error| cannot_load(path, error))?;
    // SAFETY: `OrtGetApiBase` has this signature in every version, takes nothing, and returns a static.
    let version = unsafe {
        let entry = library
            .get::<unsafe extern "system" fn() -> *const ApiBase>(b"OrtGetApiBase\0")
            .map_err(|error| cannot_load(path, error))?;
        let base = entry().as_ref().ok_or_else(|| cannot_load(path, "it has no C API"))?;
        CStr::from_ptr((base.get_version_string)()).to_string_lossy().into_owned()
    };
    // ONNX Runtime does not survive being unloaded, and `ort` loads it again in a moment.
    std::mem::forget(library);
    Ok(version)
}

fn is_recent(version: &str) -> bool {
    let mut parts = version.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
    let (major, minor) = (parts.next().unwrap_or(0), parts.next().unwrap_or(0));
    major == 1 && minor >= OLDEST_MINOR
}

/// Returns the Python that fetches wheels and is asked for packages: `TILEFLEET_PYTHON`, else `python3`.
fn python() -> PathBuf {
    std::env::var_os("TILEFLEET_PYTHON")
        .filter(|value| !value.is_empty())
        .map_or_else(|| PathBuf::from("python3"), PathBuf::from)
}

/// Begins a session.
///
/// # Errors
///
/// As ONNX Runtime answers.
pub fn new_builder(runtime: &Runtime) -> ort::Result<SessionBuilder> {
    // `ort` asks for the most efficient device by default, which may be another than the one requested.
    Ok(OrtSession::builder(&runtime.environment)?.with_auto_device(AutoDevicePolicy::PreferCPU)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vocabulary::error::Kind;

    #[test]
    fn versions_are_compared_as_numbers() {
        assert!(is_recent("1.32.0") && is_recent("1.24.0") && is_recent("1.100.2"));
        assert!(!is_recent("1.9.1") && !is_recent("1.23.2") && !is_recent("2.0.0") && !is_recent("unknown"));
    }

    #[test]
    fn a_file_that_is_no_library_is_an_error_and_not_a_panic() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("libonnxruntime.so");
        std::fs::write(&path, b"not a library").unwrap();
        let error = open(Located { path: path.clone(), origin: Origin::Variable }).unwrap_err();
        assert_eq!(error.kind(), Kind::Config);
        assert!(error.to_string().contains(&path.display().to_string()));
    }
}
