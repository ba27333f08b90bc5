//! What this machine can do, and why not: the answers of `tilefleet runtime doctor`.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::available_parallelism;

use serde::{Deserialize, Serialize};

use super::driver::{self, Gpus};
use super::probe::probe;
use super::registration::is_compiled_in;
use crate::runtime;
use crate::runtime::{Located, Origin, Runtime};
use crate::vocabulary::error::Error;
use crate::vocabulary::provider::Provider;
use crate::vocabulary::provider::ProviderOptions;

/// The doctor's findings.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The library that was loaded; absent if `library_error` says why not.
    pub library: Option<Library>,
    /// Why no library could be loaded.
    pub library_error: Option<String>,
    /// What to do about it.
    pub library_hint: Option<String>,
    /// One finding a provider, in the order of [`Provider::ALL`].
    pub providers: Vec<ProviderFinding>,
    /// The other ONNX Runtimes that are installed, each with what its providers do.
    pub others: Vec<Other>,
    /// The accelerators that NVIDIA's driver sees; absent if `gpus_error` says why not.
    pub gpus: Option<Gpus>,
    /// Why the driver cannot be asked.
    pub gpus_error: Option<String>,
    /// The machine.
    pub machine: Machine,
    /// Where `tilefleet runtime install` puts ONNX Runtime.
    pub cache: Option<PathBuf>,
}

/// An ONNX Runtime that is chosen for some providers only.
#[derive(Clone, Debug, Serialize)]
pub struct Other {
    /// Where it lies.
    pub located: Located,
    /// The loaded library; absent if `error` says why not.
    pub library: Option<Library>,
    /// Why it could not be examined.
    pub error: Option<String>,
    /// One finding a provider.
    pub providers: Vec<ProviderFinding>,
}

/// A loaded ONNX Runtime.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Library {
    /// The library's file.
    pub path: PathBuf,
    /// The rule that found it.
    pub origin: Origin,
    /// Such as `1.32.0`.
    pub version: String,
    /// How it was built, in its own words.
    pub build: String,
}

/// Whether a provider can be used.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ProviderFinding {
    /// The provider.
    pub name: Provider,
    /// Whether the library contains it.
    pub compiled_in: bool,
    /// Whether it ran the probe and computed the right result.
    pub works: bool,
    /// Why it does not work.
    pub reason: Option<String>,
}

/// What the machine offers.
#[derive(Clone, Debug, Serialize)]
pub struct Machine {
    /// Such as `linux x86_64`.
    pub platform: String,
    /// The processor's name, where the system tells it.
    pub processor: Option<String>,
    /// Logical cores of the machine, where the system tells it.
    pub logical_cores: Option<usize>,
    /// Threads that this process may run at once: affinity and container limits are heeded.
    pub threads: usize,
    /// Main memory.
    pub memory_bytes: Option<u64>,
    /// Main memory that is free or can be freed.
    pub memory_available_bytes: Option<u64>,
    /// The container's limit (cgroup v2).
    pub memory_limit_bytes: Option<u64>,
    /// Instruction sets that matter to inference.
    pub instruction_sets: Vec<&'static str>,
}

/// Examines this machine: finds and loads ONNX Runtime, and runs the probe on every provider.
#[must_use]
pub fn examine() -> Report {
    let runtime = runtime::load();
    let library_error = runtime.as_ref().err();
    let providers = Provider::ALL.map(|provider| examine_provider(runtime.as_ref().ok().copied(), provider));
    let all = runtime::locate_all().unwrap_or_default();
    let gpus = driver::gpus();
    Report {
        library: runtime.as_ref().ok().map(|runtime| library_of(runtime)),
        library_error: library_error.map(reason_of),
        library_hint: library_error.map(|error| error.hints().join("; ")),
        providers: providers.into(),
        others: all.into_iter().skip(1).map(examine_other).collect(),
        gpus_error: gpus.as_ref().err().map(ToString::to_string),
        gpus: gpus.ok(),
        machine: Machine::this_one(),
        cache: runtime::cache_dir().ok(),
    }
}

/// What another process found out about its ONNX Runtime.
#[derive(Deserialize)]
struct Answer {
    library: Option<Library>,
    library_error: Option<String>,
    providers: Vec<ProviderFinding>,
}

/// Examines another ONNX Runtime in a process of its own: one process has one, and a driver in trouble may
/// take the process with it.
fn examine_other(located: Located) -> Other {
    let answer = std::env::current_exe().map_err(|error| error.to_string()).and_then(|executable| {
        let output = Command::new(executable)
            .args(["runtime", "doctor", "--json"])
            .env("ORT_DYLIB_PATH", &located.path)
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .output()
            .map_err(|error| error.to_string())?;
        serde_json::from_slice::<Answer>(&output.stdout)
            .map_err(|_| format!("the process that tests it gave no answer ({})", output.status))
    });
    match answer {
        Ok(Answer { library, library_error, providers }) => {
            let library = library.map(|library| Library { origin: located.origin, ..library });
            Other { located, library, error: library_error, providers }
        }
        Err(error) => Other { located, library: None, error: Some(error), providers: Vec::new() },
    }
}

fn library_of(runtime: &Runtime) -> Library {
    Library {
        path: runtime.located.path.clone(),
        origin: runtime.located.origin,
        version: runtime.version.clone(),
        build: ort::info().trim_start_matches("ORT Build Info:").trim().to_owned(),
    }
}

fn examine_provider(runtime: Option<&Runtime>, provider: Provider) -> ProviderFinding {
    let Some(runtime) = runtime else {
        let reason = Some("ONNX Runtime is not installed".to_owned());
        return ProviderFinding { name: provider, compiled_in: false, works: false, reason };
    };
    let compiled_in = is_compiled_in(provider, runtime);
    let reason = match probe(runtime, provider, 0, "fp32", &ProviderOptions::default()) {
        Ok(()) => None,
        Err(_) if !compiled_in => Some("the library was built without it".to_owned()),
        Err(error) => Some(reason_of(&error)),
    };
    ProviderFinding { name: provider, compiled_in, works: reason.is_none(), reason }
}

/// Returns an error with its causes on one line.
fn reason_of(error: &Error) -> String {
    let mut reason = error.to_string();
    let mut next = std::error::Error::source(error);
    while let Some(cause) = next {
        let _ = write!(reason, ": {cause}");
        next = cause.source();
    }
    reason
}

impl Report {
    /// Returns whether the CPU provider works, without which nothing runs.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        self.providers.iter().any(|finding| finding.name == Provider::Cpu && finding.works)
    }

    /// Renders the findings for a terminal.
    #[must_use]
    pub fn render(&self) -> String {
        let mut lines = Vec::new();
        match &self.library {
            Some(library) => lines.extend(library.rows()),
            None => lines.push(row("ONNX Runtime", self.library_error.as_deref().unwrap_or("not found"))),
        }
        lines.extend(self.providers.iter().map(|finding| row(finding.name.name(), finding.verdict())));
        lines.push(String::new());
        for other in &self.others {
            lines.extend(other.rows());
            lines.push(String::new());
        }
        if let Some(cache) = &self.cache {
            let state = if cache.is_dir() { "" } else { " (empty)" };
            lines.push(row("cache", format!("{}{state}", cache.display())));
        }
        lines.extend(self.gpu_rows());
        lines.extend(self.machine.rows());
        lines.join("\n")
    }
}

impl Report {
    fn gpu_rows(&self) -> Vec<String> {
        let Some(gpus) = &self.gpus else {
            return vec![row("NVIDIA", self.gpus_error.as_deref().unwrap_or("no driver"))];
        };
        let (major, minor) = gpus.cuda;
        let mut rows =
            vec![row("NVIDIA", format!("driver for CUDA {major}.{minor}, {} devices", gpus.devices.len()))];
        rows.extend(gpus.devices.iter().map(|gpu| {
            let (major, minor) = gpu.capability;
            row("", format!("{}: {}, compute capability {major}.{minor}", gpu.number, gpu.name))
        }));
        rows
    }
}

impl Library {
    fn rows(&self) -> [String; 3] {
        [
            row("ONNX Runtime", format!("{} ({})", self.version, self.origin)),
            row("", self.path.display()),
            row("", &self.build),
        ]
    }
}

impl Other {
    fn rows(&self) -> Vec<String> {
        let mut rows = match &self.library {
            Some(library) => library.rows().to_vec(),
            None => vec![
                row("ONNX Runtime", format!("not usable ({})", self.located.origin)),
                row("", self.located.path.display()),
            ],
        };
        rows.extend(self.error.as_deref().map(|error| row("", error)));
        rows.extend(self.providers.iter().map(|finding| row(finding.name.name(), finding.verdict())));
        rows
    }
}

impl ProviderFinding {
    fn verdict(&self) -> String {
        match &self.reason {
            None => "works (ran a probe)".to_owned(),
            Some(reason) => format!("does not work: {reason}"),
        }
    }
}

fn row(label: &str, value: impl std::fmt::Display) -> String {
    format!("{label:<14}{value}")
}

impl Machine {
    fn this_one() -> Self {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        Self {
            platform: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
            processor: cpu_field(&cpuinfo, "model name").map(str::to_owned),
            logical_cores: Some(cpuinfo.lines().filter(|line| line.starts_with("processor")).count())
                .filter(|count| *count > 0),
            threads: available_parallelism().map_or(1, usize::from),
            memory_bytes: memory_field(&meminfo, "MemTotal"),
            memory_available_bytes: memory_field(&meminfo, "MemAvailable"),
            memory_limit_bytes: container_limit(Path::new("/sys/fs/cgroup")),
            instruction_sets: instruction_sets(&cpuinfo),
        }
    }

    fn rows(&self) -> Vec<String> {
        let mut rows = vec![row("platform", &self.platform)];
        if let Some(processor) = &self.processor {
            rows.push(row("processor", processor));
        }
        let cores = self.logical_cores.map_or_else(String::new, |cores| format!(" of {cores} logical cores"));
        rows.push(row("threads", format!("{}{cores}", self.threads)));
        if let Some(memory) = self.memory_bytes {
            let available =
                self.memory_available_bytes.map(|bytes| format!(", {} available", gibibytes(bytes)));
            let limit =
                self.memory_limit_bytes.map(|bytes| format!(", container limit {}", gibibytes(bytes)));
            let more = available.into_iter().chain(limit).collect::<String>();
            rows.push(row("memory", format!("{}{more}", gibibytes(memory))));
        }
        rows.push(row("instructions", self.instruction_sets.join(" ")));
        rows
    }
}

fn gibibytes(bytes: u64) -> String {
    format!("{:.1} GiB", bytes as f64 / f64::from(1 << 30))
}

fn cpu_field<'t>(cpuinfo: &'t str, name: &str) -> Option<&'t str> {
    let line = cpuinfo.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim())
}

/// Reads a field of `/proc/meminfo`, which counts in KiB.
fn memory_field(meminfo: &str, name: &str) -> Option<u64> {
    let line = meminfo.lines().find(|line| line.split(':').next() == Some(name))?;
    line.split_whitespace().nth(1)?.parse::<u64>().ok()?.checked_mul(1024)
}

/// Reads the memory limit of this process's own cgroup, `max` being none.
fn container_limit(root: &Path) -> Option<u64> {
    fs::read_to_string(root.join("memory.max")).ok()?.trim().parse().ok()
}

/// Linux's name of an instruction set, and what it is called elsewhere.
#[cfg(target_arch = "x86_64")]
const INSTRUCTION_SETS: &[(&str, &str)] = &[
    ("avx2", "avx2"),
    ("fma", "fma"),
    ("f16c", "f16c"),
    ("avx_vnni", "avx_vnni"),
    ("avx512f", "avx512f"),
    ("avx512bw", "avx512bw"),
    ("avx512_vnni", "avx512_vnni"),
    ("avx512_bf16", "avx512_bf16"),
    ("avx512_fp16", "avx512_fp16"),
    ("amx_tile", "amx_tile"),
    ("amx_int8", "amx_int8"),
    ("amx_bf16", "amx_bf16"),
];

/// Linux's name of an instruction set, and what it is called elsewhere.
#[cfg(not(target_arch = "x86_64"))]
const INSTRUCTION_SETS: &[(&str, &str)] = &[
    ("asimd", "neon"),
    ("asimdhp", "fp16"),
    ("asimddp", "dotprod"),
    ("i8mm", "i8mm"),
    ("bf16", "bf16"),
    ("sve", "sve"),
    ("sve2", "sve2"),
];

fn instruction_sets(cpuinfo: &str) -> Vec<&'static str> {
    let flags = cpu_field(cpuinfo, "flags").or_else(|| cpu_field(cpuinfo, "Features"));
    let Some(flags) = flags else { return built_for() };
    let flags: BTreeSet<&str> = flags.split_whitespace().collect();
    INSTRUCTION_SETS.iter().filter(|(flag, _)| flags.contains(flag)).map(|(_, name)| *name).collect()
}

/// Where the system tells nothing: what this binary itself needs.
fn built_for() -> Vec<&'static str> {
    let built = [("neon", cfg!(target_feature = "neon")), ("avx2", cfg!(target_feature = "avx2"))];
    built.into_iter().filter_map(|(name, present)| present.then_some(name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proc_files_are_read_by_whole_names() {
        let meminfo = "MemTotal:       2048 kB\nMemAvailable:   1024 kB\n";
        assert_eq!(memory_field(meminfo, "MemTotal"), Some(2 << 20));
        assert_eq!(memory_field(meminfo, "Mem"), None);
        let cpuinfo = "processor\t: 0\nmodel name\t: Some CPU\n";
        assert_eq!(cpu_field(cpuinfo, "model name"), Some("Some CPU"));
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn flags_are_whole_words() {
        assert_eq!(instruction_sets("flags\t\t: fpu avx2 avx512_vnni\n"), ["avx2", "avx512_vnni"]);
        assert!(instruction_sets("flags\t\t: avx2x\n").is_empty());
    }

    #[test]
    fn a_machine_without_the_library_is_not_usable_and_says_why() {
        let reason = Some("ONNX Runtime is not installed".to_owned());
        let cpu = ProviderFinding { name: Provider::Cpu, compiled_in: false, works: false, reason };
        let report = Report {
            library: None,
            library_error: Some("ONNX Runtime is not installed".to_owned()),
            library_hint: None,
            providers: vec![cpu],
            others: Vec::new(),
            gpus: None,
            gpus_error: Some("libcuda.so.1: cannot open shared object file".to_owned()),
            machine: Machine::this_one(),
            cache: None,
        };
        assert!(!report.is_usable());
        assert!(report.render().contains("ONNX Runtime  ONNX Runtime is not installed"));
        assert!(report.render().contains("cpu           does not work: ONNX Runtime is not installed"));
        assert!(report.render().contains("NVIDIA        libcuda.so.1: cannot open"));
    }
}
