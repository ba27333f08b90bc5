//! The pinned wheels, and what of them is unpacked.

use serde::Serialize;

use super::cache::Build;
use crate::vocabulary::error::{Error, Result};

/// A Python wheel; what is written of it names it for others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Wheel {
    /// Name of the package.
    pub package: &'static str,
    /// Its version.
    pub version: &'static str,
    /// The platform tag of the wheel's file name.
    #[serde(skip)]
    pub(super) platform: &'static str,
    /// SHA-256 of its file, in hex.
    pub sha256: &'static str,
    /// Folders inside the wheel that hold libraries; `*` stands for one folder.
    #[serde(skip)]
    pub(super) folder: &'static str,
    /// What the names of the libraries that are wanted start with.
    #[serde(skip)]
    pub(super) libraries: &'static [&'static str],
}

impl Wheel {
    /// Returns the file name of a wheel's entry if it is one of the libraries: a plain name, which cannot
    /// lead out of the folder it is written to.
    pub(super) fn library_name<'e>(&self, entry: &'e str) -> Option<&'e str> {
        let (folder, name) = entry.rsplit_once('/')?;
        let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
        let is_wanted = self.libraries.iter().any(|start| name.starts_with(start));
        (plain && is_wanted && is_folder(folder, self.folder)).then_some(name)
    }

    /// Returns what a wheel's file name starts with.
    pub(super) fn file_start(&self) -> String {
        format!("{}-{}-", self.package.replace('-', "_"), self.version)
    }
}

fn is_folder(found: &str, expected: &str) -> bool {
    let (mut found, mut expected) = (found.split('/'), expected.split('/'));
    loop {
        match (found.next(), expected.next()) {
            (None, None) => return true,
            (Some(found), Some(expected)) if found == expected || (expected == "*" && found != "..") => {}
            _ => return false,
        }
    }
}

/// The wheels for one kind of machine.
struct Set {
    build: Build,
    os: &'static str,
    arch: &'static str,
    wheels: &'static [Wheel],
}

const CAPI: &str = "onnxruntime/capi";
const ONNX_RUNTIME: &[&str] = &["libonnxruntime"];

const fn cpu(platform: &'static str, sha256: &'static str) -> Wheel {
    let (package, version) = ("onnxruntime", "1.32.0");
    Wheel { package, version, platform, sha256, folder: CAPI, libraries: ONNX_RUNTIME }
}

const fn nvidia(
    package: &'static str,
    version: &'static str,
    platform: &'static str,
    sha256: &'static str,
    libraries: &'static [&'static str],
) -> Wheel {
    Wheel { package, version, platform, sha256, folder: "nvidia/*/lib", libraries }
}

/// What there is of `onnxruntime` 1.32.0 (CPU), and of `onnxruntime-gpu` 1.31.1 with the libraries that its
/// extras `cuda` and `cudnn` ask for. No CPU wheel is published for macOS on Intel, no GPU wheel but for
/// x86-64.
///
/// NVIDIA's versions are those of CUDA 13.0 Update 2, the oldest that the wheel takes and the set that
/// `PyTorch` 2.11 ships with: the older the libraries, the more drivers serve them.
const SETS: &[Set] = &[
    Set {
        build: Build::Cpu,
        os: "linux",
        arch: "x86_64",
        wheels: &[cpu(
            "manylinux_2_28_x86_64",
            "5a34fc4dfeb5a7b4a74c95dcba1e773d722abda720b474edf1b0c419dc6d163d",
        )],
    },
    Set {
        build: Build::Cpu,
        os: "linux",
        arch: "aarch64",
        wheels: &[cpu(
            "manylinux_2_28_aarch64",
            "2303372a85299b6757b0e11e1cbf13e410ddf7e10c37f4b37e99d1c90e7daf7c",
        )],
    },
    Set {
        build: Build::Cpu,
        os: "macos",
        arch: "aarch64",
        wheels: &[cpu(
            "macosx_14_0_arm64",
            "366b9e53d07812cc5c92822cecf7563b76a8a0f32ba3bb8dd232a206ac3bcb6c",
        )],
    },
    Set {
        build: Build::Cuda,
        os: "linux",
        arch: "x86_64",
        wheels: &[
            Wheel {
                package: "onnxruntime-gpu",
                version: "1.31.1",
                platform: "manylinux_2_28_x86_64",
                sha256: "e26c475fe361b2015f45b4b824bd13f0bb20204e59b62814e6f0acd5f3d491a6",
                folder: CAPI,
                libraries: ONNX_RUNTIME,
            },
            nvidia(
                "nvidia-cuda-runtime",
                "13.0.96",
                "manylinux2014_x86_64",
                "7f82250d7782aa23b6cfe765ecc7db554bd3c2870c43f3d1821f1d18aebf0548",
                &["libcudart.so"],
            ),
            nvidia(
                "nvidia-cublas",
                "13.1.0.3",
                "manylinux_2_27_x86_64",
                "ee8722c1f0145ab246bccb9e452153b5e0515fd094c3678df50b2a0888b8b171",
                &["libcublas.so", "libcublasLt.so"],
            ),
            nvidia(
                "nvidia-cudnn-cu13",
                "9.19.0.56",
                "manylinux_2_27_x86_64",
                "d20e1734305e9d68889a96e3f35094d733ff1f83932ebe462753973e53a572bf",
                &["libcudnn"],
            ),
            nvidia(
                "nvidia-cufft",
                "12.0.0.61",
                "manylinux2014_x86_64",
                "6c44f692dce8fd5ffd3e3df134b6cdb9c2f72d99cf40b62c32dde45eea9ddad3",
                &["libcufft.so"],
            ),
            nvidia(
                "nvidia-curand",
                "10.4.0.35",
                "manylinux_2_27_x86_64",
                "1aee33a5da6e1db083fe2b90082def8915f30f3248d5896bcec36a579d941bfc",
                &["libcurand.so"],
            ),
            nvidia(
                "nvidia-cuda-nvrtc",
                "13.0.88",
                "manylinux2010_x86_64",
                "ad9b6d2ead2435f11cbb6868809d2adeeee302e9bb94bcf0539c7a40d80e8575",
                &["libnvrtc.so", "libnvrtc-builtins.so"],
            ),
        ],
    },
];

/// Returns the wheels of a build for a kind of machine, ONNX Runtime's first.
///
/// # Errors
///
/// [`Kind::Config`](crate::vocabulary::error::Kind::Config) if there are none.
pub(super) fn wheels_for(build: Build, os: &str, arch: &str) -> Result<&'static [Wheel]> {
    let found = SETS.iter().find(|set| set.build == build && set.os == os && set.arch == arch);
    found.map(|set| set.wheels).ok_or_else(|| {
        let with = if build == Build::Cuda { " with CUDA" } else { "" };
        Error::config(format!(
            "there is no official ONNX Runtime {}{with} for {os} on {arch}",
            build.version()
        ))
        .hint("set ORT_DYLIB_PATH to your own build, 1.24 or newer")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vocabulary::error::Kind;

    #[test]
    fn a_machine_without_a_wheel_is_told_so() {
        assert_eq!(wheels_for(Build::Cpu, "linux", "x86_64").unwrap()[0].platform, "manylinux_2_28_x86_64");
        assert_eq!(wheels_for(Build::Cpu, "macos", "x86_64").err().unwrap().kind(), Kind::Config);
        let error = wheels_for(Build::Cuda, "linux", "aarch64").err().unwrap();
        assert!(error.to_string().contains("1.31.1 with CUDA"), "{error}");
    }

    #[test]
    fn only_wanted_libraries_leave_a_wheel() {
        let wheels = wheels_for(Build::Cuda, "linux", "x86_64").unwrap();
        let wanted = |package: &str, entry| {
            wheels.iter().find(|wheel| wheel.package == package).unwrap().library_name(entry)
        };
        assert_eq!(wanted("nvidia-cublas", "nvidia/cu13/lib/libcublasLt.so.13"), Some("libcublasLt.so.13"));
        assert_eq!(wanted("nvidia-cublas", "nvidia/cu13/lib/libnvblas.so.13"), None);
        assert_eq!(wanted("nvidia-cublas", "nvidia/cu13/include/libcublas.so.13"), None);
        assert_eq!(wanted("nvidia-cublas", "nvidia/../lib/libcublas.so.13"), None);
        assert_eq!(
            wanted("nvidia-cudnn-cu13", "nvidia/cudnn/lib/libcudnn_ops.so.9"),
            Some("libcudnn_ops.so.9")
        );
        assert_eq!(wanted("nvidia-cuda-nvrtc", "nvidia/cu13/lib/libnvrtc.alt.so.13"), None);
    }

    #[test]
    fn digests_are_sha256_and_none_is_pinned_twice() {
        let mut digests: Vec<_> = SETS.iter().flat_map(|set| set.wheels).map(|wheel| wheel.sha256).collect();
        let count = digests.len();
        assert!(digests.iter().all(|digest| digest.len() == 64));
        digests.sort_unstable();
        digests.dedup();
        assert_eq!(digests.len(), count);
    }
}
