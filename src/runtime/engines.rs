//! Engines that `TensorRT` has built, shared by all workers through the store.
//!
//! Building takes minutes, so a fleet builds each engine once: what the local folder lacks is brought before a
//! session is opened, and what the session has left there is written create-only afterwards. An engine serves
//! one model, shape and precision on one kind of GPU under one version of `TensorRT` and ONNX Runtime; all of
//! that is in its key. The cache is a hint: whoever finds it empty builds, and trouble with the store
//! costs time only.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use futures::TryStreamExt;
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::driver::Gpu;
use crate::input::storage::{Bucket, Put, StoreError};
use crate::vocabulary::contract::{Input, Layout};
use crate::vocabulary::error::{Error, Result};

/// Everything that an engine depends on.
#[derive(Clone, Debug, Serialize)]
pub struct EngineKey<'a> {
    /// SHA-256 of the model's file.
    pub model_digest: &'a str,
    /// The input tensor's shape, batch first.
    pub shape: [usize; 4],
    /// Precision of the network's arithmetic.
    pub precision: &'a str,
    /// Whether TF32 is switched off for all of NVIDIA's libraries.
    pub tf32_off: bool,
    /// Effort of the builder.
    pub optimisation: u8,
    /// Name of the GPU.
    pub gpu: &'a str,
    /// Its compute capability.
    pub capability: (u32, u32),
    /// Version of `TensorRT`.
    pub tensorrt: &'a str,
    /// Version of ONNX Runtime.
    pub onnx_runtime: &'a str,
}

impl<'a> EngineKey<'a> {
    /// Returns the key with what depends on the GPU.
    #[must_use]
    pub fn on(mut self, gpu: &'a Gpu) -> Self {
        self.gpu = &gpu.name;
        self.capability = gpu.capability;
        self
    }

    /// Returns the key as a folder's name: 32 hex digits of a SHA-256.
    #[must_use]
    pub fn digest(&self) -> String {
        let json = serde_json::to_vec(self).expect("a key of texts and numbers is JSON");
        hex::encode(&Sha256::digest(json)[..16])
    }
}

/// Where a session finds its engine and leaves it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineCache {
    /// The local folder, for this key alone.
    pub folder: PathBuf,
    /// Starts the engines' file names.
    ///
    /// ONNX Runtime takes an engine for a graph of the same name even if its shape is another
    /// (onnxruntime#32254), so the key is here and in the graph's name.
    pub prefix: String,
    /// The one shape that the engine serves, as `TensorRT`'s profile: `input:64x224x224x3`.
    pub profile: String,
}

impl EngineCache {
    /// Names the cache of a key below a local folder, and creates its folder.
    ///
    /// # Errors
    ///
    /// [`Kind::Config`](crate::vocabulary::error::Kind::Config) if the folder cannot be created.
    pub fn new(root: &Path, key: &EngineKey<'_>, input: &Input) -> Result<Self> {
        let digest = key.digest();
        let folder = root.join(&digest);
        std::fs::create_dir_all(&folder).map_err(|cause| {
            Error::config(format!("cannot create {}", folder.display()))
                .because(cause)
                .hint("set TILEFLEET_CACHE to a writable folder")
        })?;
        let shape = key.shape.map(|size| size.to_string()).join("x");
        Ok(Self {
            folder,
            prefix: format!("tilefleet_{digest}"),
            profile: format!("{}:{shape}", input.tensor),
        })
    }

    /// Returns the key.
    #[must_use]
    pub fn digest(&self) -> &str {
        self.prefix.trim_start_matches("tilefleet_")
    }

    /// Brings what the store has and the local folder lacks; returns how many files came.
    ///
    /// - `shared`: folder of all keys in the bucket, with a slash at its end
    ///
    /// # Errors
    ///
    /// As the store answers; the engine can be built all the same.
    pub async fn bring(&self, bucket: &Bucket, shared: &str) -> Result<usize> {
        let prefix = self.shared_folder(shared);
        if bucket.peek(prefix.trim_end_matches('/'), 1).await?.is_none() {
            return Ok(0);
        }
        let objects: Vec<_> = bucket.list(&prefix).try_collect().await?;
        let mut brought = 0;
        for object in objects {
            let Some(name) = object.key.strip_prefix(&prefix).filter(|name| is_plain(name)) else { continue };
            let file = self.folder.join(name);
            if file.exists() {
                continue;
            }
            // Whole or not at all: a session that finds half an engine fails.
            let stage = tempfile::NamedTempFile::with_prefix_in(".", &self.folder)
                .map_err(|cause| {
                    Error::unavailable(format!("cannot write in {}", self.folder.display())).because(cause)
                })?
                .into_temp_path();
            let landed =
                bucket.download(&object.key, &stage).await.map_err(|fault| fault.into_error(&object.key));
            let landed = landed.and_then(|_| {
                std::fs::rename(&stage, &file).map_err(|cause| {
                    Error::unavailable(format!("cannot write {}", file.display())).because(cause)
                })
            });
            landed?;
            brought += 1;
        }
        Ok(brought)
    }

    /// Writes to the store what it lacks, create-only; returns how many files this call created.
    ///
    /// # Errors
    ///
    /// As the store answers; a later worker builds again.
    pub async fn share(&self, bucket: &Bucket, shared: &str) -> Result<usize> {
        let prefix = self.shared_folder(shared);
        let mut created = 0;
        for (name, path) in self.files()? {
            let key = format!("{prefix}{name}");
            match bucket.head(&key).await {
                Ok(_) => continue,
                Err(StoreError::Gone) => {}
                Err(fault) => return Err(fault.into_error(bucket.uri(&key))),
            }
            let bytes = std::fs::read(&path).map_err(|cause| {
                Error::unavailable(format!("cannot read {}", path.display())).because(cause)
            })?;
            let put = bucket.put_new(&key, Bytes::from(bytes)).await?;
            created += usize::from(put == Put::Created);
        }
        Ok(created)
    }

    fn shared_folder(&self, shared: &str) -> String {
        format!("{shared}{}/", self.digest())
    }

    /// Returns the finished files of the local folder, sorted by name.
    fn files(&self) -> Result<Vec<(String, PathBuf)>> {
        let entries = std::fs::read_dir(&self.folder).map_err(|cause| {
            Error::unavailable(format!("cannot list {}", self.folder.display())).because(cause)
        })?;
        let mut files: Vec<_> = entries
            .filter_map(|entry| {
                let entry = entry.ok()?;
                let name = entry.file_name().into_string().ok().filter(|name| is_plain(name))?;
                entry.path().is_file().then(|| (name, entry.path()))
            })
            .collect();
        files.sort();
        Ok(files)
    }
}

/// Returns whether a name stays in its folder and is not a file under way.
fn is_plain(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with('.')
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

/// Returns the input tensor's shape for a number of chips.
#[must_use]
pub fn input_shape(input: &Input, num_chips: usize) -> [usize; 4] {
    let (width, height, bands) = (input.width as usize, input.height as usize, input.bands.len());
    match input.layout {
        Layout::Nhwc => [num_chips, height, width, bands],
        Layout::Nchw => [num_chips, bands, height, width],
    }
}

/// Returns the version of the loaded `TensorRT`, such as `10.16.1`; `None` if there is none.
#[expect(unsafe_code, reason = "TensorRT says its version through its C interface only")]
#[must_use]
pub fn tensorrt_version() -> Option<String> {
    // SAFETY: the provider is about to load the same library.
    let library = unsafe { libloading::Library::new("libnvinfer.so.10") }.ok()?;
    // SAFETY: `NvInferRuntimeBase.h` declares `int32_t getInferLibVersion() noexcept` in every version.
    let version = unsafe {
        let entry = library.get::<unsafe extern "C" fn() -> i32>(b"getInferLibVersion\0").ok()?;
        entry()
    };
    // It stays: the provider needs it, and is not asked whether it survives being unloaded.
    std::mem::forget(library);
    Some(version_text(version))
}

/// `TensorRT` 10 counts major × 10,000 + minor × 100 + patch.
fn version_text(version: i32) -> String {
    format!("{}.{}.{}", version / 10_000, version / 100 % 100, version % 100)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use object_store::memory::InMemory;

    use super::*;
    use crate::runtime::probe;

    fn key() -> EngineKey<'static> {
        EngineKey {
            model_digest: "ab12",
            shape: [64, 224, 224, 3],
            precision: "fp16",
            tf32_off: false,
            optimisation: 3,
            gpu: "NVIDIA H100 80GB HBM3",
            capability: (9, 0),
            tensorrt: "10.16.1",
            onnx_runtime: "1.31.1",
        }
    }

    fn cache(folder: &Path) -> EngineCache {
        EngineCache::new(folder, &key(), &probe::contract().input).unwrap()
    }

    fn bucket() -> Bucket {
        Bucket::over(Arc::new(InMemory::new()), "s3://engines")
    }

    #[test]
    fn whatever_an_engine_depends_on_is_in_its_key() {
        let others = [
            EngineKey { model_digest: "ab13", ..key() },
            EngineKey { shape: [32, 224, 224, 3], ..key() },
            EngineKey { precision: "tf32", ..key() },
            EngineKey { tf32_off: true, ..key() },
            EngineKey { optimisation: 5, ..key() },
            EngineKey { gpu: "NVIDIA H200", ..key() },
            EngineKey { capability: (9, 1), ..key() },
            EngineKey { tensorrt: "10.16.2", ..key() },
            EngineKey { onnx_runtime: "1.31.2", ..key() },
        ];
        let mut digests: Vec<_> = others.iter().chain([&key()]).map(EngineKey::digest).collect();
        digests.sort();
        digests.dedup();
        assert_eq!(digests.len(), others.len() + 1);
        assert_eq!(key().digest(), key().digest());
    }

    #[test]
    fn prefix_and_profile_name_the_key_and_the_shape() {
        let folder = tempfile::tempdir().unwrap();
        let cache = cache(folder.path());
        assert_eq!(cache.prefix, format!("tilefleet_{}", key().digest()));
        assert_eq!(cache.profile, "input:64x224x224x3");
        assert!(cache.folder.is_dir() && cache.folder.ends_with(key().digest()));
    }

    /// One worker builds, the next finds what it built, byte for byte; nothing is written twice.
    #[tokio::test]
    async fn a_fleet_builds_an_engine_once() {
        let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (builder, finder) = (cache(first.path()), cache(second.path()));
        let bucket = bucket();
        assert_eq!(builder.bring(&bucket, "t/_tilefleet/engines/").await.unwrap(), 0);
        for (name, content) in [("tilefleet_x_sm90.engine", "engine"), ("cache_sm90.timing", "times")] {
            std::fs::write(builder.folder.join(name), content).unwrap();
        }
        std::fs::write(builder.folder.join(".half.1"), "under way").unwrap();
        assert_eq!(builder.share(&bucket, "t/_tilefleet/engines/").await.unwrap(), 2);
        assert_eq!(builder.share(&bucket, "t/_tilefleet/engines/").await.unwrap(), 0);
        assert_eq!(finder.bring(&bucket, "t/_tilefleet/engines/").await.unwrap(), 2);
        let read = |name: &str| std::fs::read_to_string(finder.folder.join(name)).unwrap();
        assert_eq!(
            (read("tilefleet_x_sm90.engine"), read("cache_sm90.timing")),
            ("engine".into(), "times".into())
        );
        assert_eq!(finder.files().unwrap().len(), 2);
        assert_eq!(finder.bring(&bucket, "t/_tilefleet/engines/").await.unwrap(), 0);
    }

    /// Who comes second keeps what is there: engines of one key are alike, and none is replaced under a reader.
    #[tokio::test]
    async fn an_engine_is_never_replaced() {
        let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let bucket = bucket();
        for (folder, content) in folders.iter().zip(["first", "second"]) {
            let cache = cache(folder.path());
            std::fs::write(cache.folder.join("e.engine"), content).unwrap();
            cache.share(&bucket, "").await.unwrap();
        }
        let stored = bucket.get(&format!("{}/e.engine", key().digest()), 100).await.unwrap();
        assert_eq!(&stored.bytes[..], b"first");
    }

    #[tokio::test]
    async fn names_that_lead_elsewhere_are_left_where_they_are() {
        let folder = tempfile::tempdir().unwrap();
        let (cache, bucket) = (cache(folder.path()), bucket());
        let below = format!("{}/deeper/e.engine", key().digest());
        bucket.put_new(&below, Bytes::from_static(b"x")).await.unwrap();
        assert_eq!(cache.bring(&bucket, "").await.unwrap(), 0);
        assert!(!is_plain("../e.engine") && !is_plain(".e") && !is_plain("a/b") && is_plain("e_1-2.engine"));
    }

    #[test]
    fn versions_read_as_people_write_them() {
        assert_eq!(version_text(101_601), "10.16.1");
    }
}
