//! NVIDIA's driver: which devices there are.
//!
//! Asked through the driver API, which needs the driver's own library and nothing else of CUDA.

use std::ffi::{CStr, FromBytesUntilNulError, c_char, c_int, c_uint};
use std::path::Path;

use libloading::{Library, Symbol};
use serde::Serialize;

use super::libraries::loader_says;

/// The driver's library, as the loader finds it.
pub const LIBRARY: &str = "libcuda.so.1";

/// One accelerator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Gpu {
    /// Its number, as in `run.devices`.
    pub number: u32,
    /// Such as `NVIDIA H100 80GB HBM3`.
    pub name: String,
    /// Compute capability, major and minor.
    pub capability: (u32, u32),
}

/// What a driver says of its machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Gpus {
    /// The newest CUDA that the driver serves, major and minor.
    pub cuda: (u32, u32),
    /// The devices in the driver's order; `CUDA_VISIBLE_DEVICES` is heeded.
    pub devices: Vec<Gpu>,
}

// CUDA driver API, `cuda.h`: enumeration `CUdevice_attribute`, type `CUresult`.
const CAPABILITY_MAJOR: c_int = 75;
const CAPABILITY_MINOR: c_int = 76;
const SUCCESS: c_int = 0;
const NO_DEVICE: c_int = 100;

type One<T> = unsafe extern "C" fn(T) -> c_int;
type Two<T, U> = unsafe extern "C" fn(T, U) -> c_int;
type Three<T, U, V> = unsafe extern "C" fn(T, U, V) -> c_int;

/// Why a driver says nothing.
#[derive(Debug, thiserror::Error)]
pub enum DriverError {
    /// The loader does not find it, or a function of it.
    #[error("{}", loader_says(.0))]
    NotLoaded(libloading::Error),
    /// A function failed.
    #[error("{function} gave error {code}")]
    Failed {
        /// Its name.
        function: &'static str,
        /// What it returned.
        code: c_int,
    },
    /// The name of a device has no end.
    #[error(transparent)]
    EndlessName(#[from] FromBytesUntilNulError),
}

/// Asks the driver of this machine.
///
/// # Errors
///
/// There is no driver, or it does not answer. A driver without devices is not an error.
pub fn gpus() -> Result<Gpus, DriverError> {
    Driver::open(LIBRARY.as_ref())?.gpus()
}

/// A driver that has been initialised.
struct Driver(Library);

impl Driver {
    #[expect(unsafe_code, reason = "a driver is reached through its C interface only")]
    fn open(library: &Path) -> Result<Self, DriverError> {
        // SAFETY: loading the installed driver runs its initialisers, as in every program that uses it.
        let library = unsafe { Library::new(library) }.map_err(DriverError::NotLoaded)?;
        Ok(Self(library))
    }

    fn gpus(&self) -> Result<Gpus, DriverError> {
        match self.call("cuInit", |function: Symbol<'_, One<c_uint>>| one(*function, 0))? {
            SUCCESS | NO_DEVICE => {}
            code => return Err(DriverError::Failed { function: "cuInit", code }),
        }
        let version = self.number("cuDriverGetVersion")?;
        let count = self.number("cuDeviceGetCount").unwrap_or(0);
        let devices = (0..count).map(|number| self.gpu(number)).collect::<Result<_, DriverError>>()?;
        Ok(Gpus { cuda: (version / 1000, version % 1000 / 10), devices })
    }

    fn gpu(&self, number: u32) -> Result<Gpu, DriverError> {
        let mut device: c_int = 0;
        let code = self.call("cuDeviceGet", |function: Symbol<'_, Two<*mut c_int, c_int>>| {
            two(*function, &raw mut device, number as c_int)
        })?;
        succeeded("cuDeviceGet", code)?;
        let capability =
            (self.attribute(CAPABILITY_MAJOR, device)?, self.attribute(CAPABILITY_MINOR, device)?);
        Ok(Gpu { number, name: self.name(device)?, capability })
    }

    fn name(&self, device: c_int) -> Result<String, DriverError> {
        let mut text: [c_char; 256] = [0; 256];
        let code =
            self.call("cuDeviceGetName", |function: Symbol<'_, Three<*mut c_char, c_int, c_int>>| {
                three(*function, text.as_mut_ptr(), text.len() as c_int, device)
            })?;
        succeeded("cuDeviceGetName", code)?;
        let bytes = text.map(c_char::cast_unsigned);
        let name = CStr::from_bytes_until_nul(&bytes)?;
        Ok(name.to_string_lossy().into_owned())
    }

    fn attribute(&self, attribute: c_int, device: c_int) -> Result<u32, DriverError> {
        let mut value: c_int = 0;
        let name = "cuDeviceGetAttribute";
        let code = self.call(name, |function: Symbol<'_, Three<*mut c_int, c_int, c_int>>| {
            three(*function, &raw mut value, attribute, device)
        })?;
        succeeded(name, code)?;
        Ok(value.unsigned_abs())
    }

    /// Calls a function that writes one integer.
    fn number(&self, name: &'static str) -> Result<u32, DriverError> {
        let mut value: c_int = 0;
        let code = self.call(name, |function: Symbol<'_, One<*mut c_int>>| one(*function, &raw mut value))?;
        succeeded(name, code)?;
        Ok(value.unsigned_abs())
    }

    #[expect(unsafe_code, reason = "a driver is reached through its C interface only")]
    fn call<F>(&self, name: &str, call: impl FnOnce(Symbol<'_, F>) -> c_int) -> Result<c_int, DriverError> {
        // SAFETY: every caller names a function of the driver API together with its type in `cuda.h`.
        let function = unsafe { self.0.get::<F>(name) }.map_err(DriverError::NotLoaded)?;
        Ok(call(function))
    }
}

#[expect(unsafe_code, reason = "a driver is reached through its C interface only")]
fn one<T>(function: One<T>, argument: T) -> c_int {
    // SAFETY: pointers among the arguments lead to variables of the caller that outlive the call.
    unsafe { function(argument) }
}

#[expect(unsafe_code, reason = "a driver is reached through its C interface only")]
fn two<T, U>(function: Two<T, U>, first: T, second: U) -> c_int {
    // SAFETY: as in `one`.
    unsafe { function(first, second) }
}

#[expect(unsafe_code, reason = "a driver is reached through its C interface only")]
fn three<T, U, V>(function: Three<T, U, V>, first: T, second: U, third: V) -> c_int {
    // SAFETY: as in `one`; a text buffer is passed with its length.
    unsafe { function(first, second, third) }
}

fn succeeded(function: &'static str, code: c_int) -> Result<(), DriverError> {
    if code == SUCCESS { Ok(()) } else { Err(DriverError::Failed { function, code }) }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use crate::runtime::fake_library::compile;

    const FAKE: &str = r#"
        #include <string.h>
        int cuInit(unsigned flags) { return INIT; }
        int cuDriverGetVersion(int *version) { *version = 13010; return 0; }
        int cuDeviceGetCount(int *count) { *count = 2; return INIT; }
        int cuDeviceGet(int *device, int number) { *device = 7 + number; return 0; }
        int cuDeviceGetName(char *name, int length, int device) {
            strncpy(name, device == 7 ? "Fake A" : "Fake B", length); return 0; }
        int cuDeviceGetAttribute(int *value, int attribute, int device) {
            *value = attribute == 75 ? 9 : device - 7; return 0; }
    "#;

    #[test]
    fn a_driver_names_its_devices() {
        let folder = tempfile::tempdir().unwrap();
        let Some(library) = compile(folder.path(), "libcuda.so.1", &FAKE.replace("INIT", "0"), &[]) else {
            return;
        };
        let gpus = Driver::open(&library).unwrap().gpus().unwrap();
        assert_eq!(gpus.cuda, (13, 1));
        let gpu = |number, name: &str, minor| Gpu { number, name: name.into(), capability: (9, minor) };
        assert_eq!(gpus.devices, [gpu(0, "Fake A", 0), gpu(1, "Fake B", 1)]);
    }

    #[test]
    fn a_driver_without_devices_has_none() {
        let folder = tempfile::tempdir().unwrap();
        let Some(library) = compile(folder.path(), "libcuda.so.1", &FAKE.replace("INIT", "100"), &[]) else {
            return;
        };
        assert_eq!(Driver::open(&library).unwrap().gpus().unwrap().devices, []);
    }

    #[test]
    fn a_driver_that_fails_says_how() {
        let folder = tempfile::tempdir().unwrap();
        let Some(library) = compile(folder.path(), "libcuda.so.1", &FAKE.replace("INIT", "803"), &[]) else {
            return;
        };
        assert_eq!(Driver::open(&library).unwrap().gpus().unwrap_err().to_string(), "cuInit gave error 803");
        assert!(Driver::open(Path::new("/no/such/driver")).is_err());
    }
}
