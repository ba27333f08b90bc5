//! The libraries that an execution provider stands on: found, loaded in order, or named as missing.
//!
//! ONNX Runtime reports the first library that the loader does not find, and loads cuDNN only at the first
//! convolution. So all of them are loaded here, before a provider is registered: those beside ONNX Runtime by
//! their full path, so that neither `LD_LIBRARY_PATH` nor an installed CUDA is needed. The loader takes a
//! library that is there already for every later request of the same name.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::driver;
use super::elf::needed;
use crate::runtime::Runtime;
use crate::vocabulary::error::{Error, Result};
use crate::vocabulary::provider::Provider;

/// What providers load when they first compute, and cannot do without.
const LAZY: &[&str] = &["libcudnn.so.9", driver::LIBRARY];

/// What cuDNN loads while it works; it is taken from beside ONNX Runtime if it is there.
const OPTIONAL: &[&str] = &["libnvrtc-builtins.so.13.0", "libnvrtc.so.13", "libcufft.so.12"];

/// A library that the loader does not find.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Missing {
    name: String,
    /// What the loader says.
    reason: String,
}

/// Loads what a provider needs.
///
/// # Errors
///
/// [`Kind::Config`](crate::vocabulary::error::Kind::Config), naming every library that is missing.
pub fn load(runtime: &Runtime, provider: Provider) -> Result<()> {
    let Some(file) = library_of(provider) else { return Ok(()) };
    let beside = runtime.located.path.parent().unwrap_or(Path::new("")).to_owned();
    let file = beside.join(file);
    // A library that holds the provider itself needs no other file.
    if !file.is_file() {
        return Ok(());
    }
    let mut loader = Loader { folders: folders(&beside), seen: BTreeSet::new(), missing: Vec::new() };
    loader.load_needed(&file);
    for name in LAZY {
        loader.load(name);
    }
    for name in OPTIONAL {
        loader.load_if_beside(name);
    }
    if loader.missing.is_empty() { Ok(()) } else { Err(refusal(provider, &loader.missing)) }
}

/// Returns the file beside ONNX Runtime that holds a provider; `None` for the CPU's, which is always in the library
/// itself.
pub(super) fn library_of(provider: Provider) -> Option<&'static str> {
    match provider {
        Provider::Cpu => None,
        Provider::Cuda => Some("libonnxruntime_providers_cuda.so"),
        Provider::Tensorrt => Some("libonnxruntime_providers_tensorrt.so"),
    }
}

/// Returns where NVIDIA's libraries lie beside an ONNX Runtime: in its own folder, or, in a Python
/// environment, in the folders of the `nvidia-*` packages.
fn folders(beside: &Path) -> Vec<PathBuf> {
    let packages = beside.ancestors().nth(2).map(|packages| packages.join("nvidia"));
    let packages = packages.and_then(|nvidia| std::fs::read_dir(nvidia).ok()).into_iter().flatten();
    let mut found: Vec<_> = packages.filter_map(|entry| Some(entry.ok()?.path().join("lib"))).collect();
    found.sort();
    [beside.to_owned()].into_iter().chain(found.into_iter().filter(|folder| folder.is_dir())).collect()
}

struct Loader {
    folders: Vec<PathBuf>,
    seen: BTreeSet<String>,
    missing: Vec<Missing>,
}

impl Loader {
    fn load_needed(&mut self, file: &Path) {
        for name in needed(file).unwrap_or_default() {
            self.load(&name);
        }
    }

    /// Loads a library after those that it needs itself, and keeps it.
    fn load(&mut self, name: &str) {
        if !self.seen.insert(name.to_owned()) {
            return;
        }
        let path = self.beside(name);
        if let Some(path) = &path {
            self.load_needed(path);
        }
        if let Err(reason) = open_for_good(path.as_deref().unwrap_or(name.as_ref())) {
            self.missing.push(Missing { name: name.to_owned(), reason: loader_says(&reason) });
        }
    }

    fn load_if_beside(&mut self, name: &str) {
        if self.beside(name).is_some() {
            self.load(name);
        }
    }

    fn beside(&self, name: &str) -> Option<PathBuf> {
        self.folders.iter().map(|folder| folder.join(name)).find(|path| path.is_file())
    }
}

/// Loads a library and never unloads it.
#[expect(unsafe_code, reason = "loading a library runs its initialisers")]
fn open_for_good(path: &Path) -> Result<(), libloading::Error> {
    #[cfg(unix)]
    let opened = {
        use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_LAZY};
        // SAFETY: these are the libraries that the provider would load itself in a moment.
        unsafe { Library::open(Some(path), RTLD_LAZY | RTLD_GLOBAL) }
    };
    #[cfg(not(unix))]
    // SAFETY: these are the libraries that the provider would load itself in a moment.
    let opened = unsafe { libloading::Library::new(path) };
    std::mem::forget(opened?);
    Ok(())
}

/// Returns the loader's own words.
pub(super) fn loader_says(error: &libloading::Error) -> String {
    std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string)
}

fn refusal(provider: Provider, missing: &[Missing]) -> Error {
    let names: Vec<&str> = missing.iter().map(|missing| missing.name.as_str()).collect();
    let absent = |missing: &&Missing| !missing.reason.contains("cannot open shared object file");
    // A library that is there and does not load says why; that one is not there needs no more words.
    let reasons = missing.iter().filter(absent).map(|missing| format!("; {}", missing.reason));
    let are = if names.len() == 1 { "is" } else { "are" };
    let cause = format!("{} {are} missing{}", names.join(", "), reasons.collect::<String>());
    Error::config(format!("the execution provider `{provider}` does not work here"))
        .because(cause)
        .hint(advice(&names))
}

/// Says where the missing libraries come from.
fn advice(names: &[&str]) -> String {
    let is_tensorrt = |name: &&str| {
        name.starts_with("libnv") && name.contains("infer") || name.starts_with("libnvonnxparser")
    };
    let mut steps = Vec::new();
    if names.contains(&driver::LIBRARY) {
        steps
            .push("libcuda.so.1 comes with NVIDIA's driver; in a container, with NVIDIA's container runtime");
    }
    if names.iter().any(is_tensorrt) {
        steps.push("install TensorRT 10 where the loader finds it");
    }
    if names.iter().any(|name| *name != driver::LIBRARY && !is_tensorrt(name)) {
        steps.push(
            "run `tilefleet runtime install --provider cuda`, which installs all except the driver and \
             TensorRT",
        );
    }
    steps.join("; ") + "; or choose `cpu`"
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use crate::runtime::fake_library::compile;
    use crate::vocabulary::error::Kind;

    fn loader(folder: &Path) -> Loader {
        Loader { folders: vec![folder.to_owned()], seen: BTreeSet::new(), missing: Vec::new() }
    }

    /// A provider's library that needs `libTAG-a.so.1`, which needs `libTAG-b.so.1`, and `libTAG-c.so.1`.
    fn family(folder: &Path, tag: &str) -> Option<PathBuf> {
        let [a, b, c] = ["a", "b", "c"].map(|letter| format!("lib{tag}-{letter}.so.1"));
        compile(folder, &b, "int b(void) { return 2; }", &[])?;
        compile(folder, &a, "int b(void); int a(void) { return b(); }", &[&b])?;
        compile(folder, &c, "", &[])?;
        compile(folder, &format!("lib{tag}.so"), "", &[&a, &c])
    }

    #[test]
    fn libraries_beside_the_provider_are_loaded_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let Some(provider) = family(folder.path(), "whole") else { return };
        let mut loader = loader(folder.path());
        loader.load_needed(&provider);
        assert_eq!(loader.missing, []);
        // The loader finds by name alone what was loaded by its full path.
        open_for_good(Path::new("libwhole-b.so.1")).unwrap();
        open_for_good(&provider).unwrap();
    }

    #[test]
    fn every_missing_library_is_named_once() {
        let folder = tempfile::tempdir().unwrap();
        let Some(provider) = family(folder.path(), "torn") else { return };
        for gone in ["libtorn-b.so.1", "libtorn-c.so.1"] {
            std::fs::remove_file(folder.path().join(gone)).unwrap();
        }
        let mut loader = loader(folder.path());
        (0..2).for_each(|_| loader.load_needed(&provider));
        let names: Vec<_> = loader.missing.iter().map(|missing| missing.name.as_str()).collect();
        // `a` is there, and does not load without `b`.
        assert_eq!(names, ["libtorn-b.so.1", "libtorn-a.so.1", "libtorn-c.so.1"]);
        let error = refusal(Provider::Cuda, &loader.missing);
        assert_eq!(error.kind(), Kind::Config);
        let text = error.render();
        assert!(
            text.contains("because: libtorn-b.so.1, libtorn-a.so.1, libtorn-c.so.1 are missing\n"),
            "{text}"
        );
        assert!(text.contains("runtime install --provider cuda"), "{text}");
    }

    #[test]
    fn advice_is_for_what_is_missing() {
        let driver = advice(&["libcuda.so.1"]);
        assert!(driver.contains("driver") && !driver.contains("runtime install"), "{driver}");
        let tensorrt = advice(&["libnvinfer.so.10", "libnvonnxparser.so.10"]);
        assert!(tensorrt.contains("TensorRT 10") && !tensorrt.contains("runtime install"), "{tensorrt}");
        assert!(advice(&["libcudnn.so.9"]).contains("runtime install --provider cuda"));
    }

    #[test]
    fn packages_of_a_python_environment_are_looked_into() {
        let site = tempfile::tempdir().unwrap();
        let (capi, cudnn) = (site.path().join("onnxruntime/capi"), site.path().join("nvidia/cudnn/lib"));
        std::fs::create_dir_all(&capi).unwrap();
        std::fs::create_dir_all(&cudnn).unwrap();
        std::fs::create_dir_all(site.path().join("nvidia/empty")).unwrap();
        assert_eq!(folders(&capi), [capi.clone(), cudnn]);
    }
}
