//! The machine's `pip`, which knows the machine's package index.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use super::python;
use super::wheels::Wheel;
use crate::vocabulary::error::{Error, Result};

/// A Python with pip.
pub(super) struct Pip {
    pub python: PathBuf,
    /// Variables on top of the environment, such as another index.
    pub environment: Vec<(&'static str, OsString)>,
}

impl Pip {
    /// Returns the one that this machine is set up with.
    pub fn of_this_machine() -> Self {
        Self { python: python(), environment: Vec::new() }
    }

    /// Downloads a wheel into a new folder and returns its file.
    ///
    /// # Errors
    ///
    /// `Unavailable` if the index cannot be reached; `Config` if there is no Python or no pip, or the index has
    /// no such wheel.
    pub fn fetch(&self, wheel: &Wheel, folder: &Path) -> Result<PathBuf> {
        let output = self.download(wheel, folder)?;
        if !output.status.success() {
            return Err(failure(&String::from_utf8_lossy(&output.stderr), &self.python, wheel));
        }
        let is_it = |path: &PathBuf| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.starts_with(&wheel.file_start())
                && path.extension().is_some_and(|extension| extension == "whl")
        };
        fs::read_dir(folder)
            .into_iter()
            .flatten()
            .filter_map(|entry| Some(entry.ok()?.path()))
            .find(is_it)
            .ok_or_else(|| {
                Error::config(format!("pip reported success, but there is no wheel of {}", wheel.package))
            })
    }

    fn download(&self, wheel: &Wheel, folder: &Path) -> Result<Output> {
        Command::new(&self.python)
            .args(["-m", "pip", "download", "--quiet", "--no-input", "--disable-pip-version-check"])
            .args(["--no-deps", "--only-binary=:all:", "--implementation", "cp", "--python-version", "3.11"])
            .args(["--abi", "cp311", "--platform", wheel.platform])
            .arg("--dest")
            .arg(folder)
            .arg(format!("{}=={}", wheel.package, wheel.version))
            // Nothing is installed into any Python, so a policy against that does not matter here.
            .env("PIP_REQUIRE_VIRTUALENV", "0")
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .output()
            .map_err(|error| {
                Error::config(format!("cannot start {} to fetch ONNX Runtime", self.python.display()))
                    .because(error)
                    .hint("install Python 3 with pip, name one in TILEFLEET_PYTHON, or pass a wheel with `--wheel FILE`")
            })
    }
}

/// Tells what kept pip from its work by what it printed; its exit status is always 1.
fn failure(stderr: &str, python: &Path, wheel: &Wheel) -> Error {
    let lines = || stderr.lines().map(str::trim).filter(|line| !line.is_empty());
    let cause = lines().rfind(|line| line.starts_with("ERROR:")).or_else(|| lines().next_back());
    let cause = cause.unwrap_or("pip gave no reason").trim_start_matches("ERROR:").trim().to_owned();
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
    Error::config(format!("pip cannot fetch {} {}", wheel.package, wheel.version))
        .because(cause)
        .hint("check pip's index (`pip config list`), or pass a wheel with `--wheel FILE`")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::cache::Build;
    use crate::runtime::wheels::wheels_for;
    use crate::vocabulary::error::Kind;

    #[test]
    fn pips_failures_say_who_acts_next() {
        let wheel = &wheels_for(Build::Cpu, "linux", "x86_64").unwrap()[0];
        let kind = |stderr: &str| failure(stderr, Path::new("python3"), wheel).kind();
        let offline = "WARNING: Retrying (Retry(total=0)) after connection broken by 'NewConnectionError'\n\
            ERROR: No matching distribution found for onnxruntime==1.32.0";
        assert_eq!(kind(offline), Kind::Unavailable);
        assert_eq!(kind("ERROR: No matching distribution found for onnxruntime==1.32.0"), Kind::Config);
        assert_eq!(kind("/usr/bin/python3: No module named pip"), Kind::Config);
        let error = failure("ERROR: no such index\nhint: try another", Path::new("python3"), wheel);
        assert!(error.render().contains("because: no such index"));
    }
}
