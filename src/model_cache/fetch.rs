//! Fetches a model: the network, what describes it, and the files that its weights lie in.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _, stream};

use super::cache::{Blob, Cache};
use crate::input::storage::{Expected, ObjectInfo, ObjectUri, Storage, StoreError};
use crate::models::Beside;
use crate::vocabulary::contract::Contract;
use crate::vocabulary::contract::mlm;
use crate::vocabulary::error::{Error, Result};
use crate::vocabulary::words;

/// Maximum number of bytes of a network with its weights: protobuf messages have less than 2 GiB.
const MAX_NETWORK_BYTES: u64 = i32::MAX as u64;
/// Maximum number of files that weights lie in; some exporters write one for each tensor.
const MAX_WEIGHT_FILES: usize = 4096;
/// Number of objects that are looked at in parallel.
const LOOKS: usize = 16;
/// How often an object may be replaced while it is fetched.
const MAX_VERSIONS: u32 = 3;

/// The fetching of one model.
pub(super) struct Fetch<'a> {
    uri: &'a ObjectUri,
    storage: &'a Storage,
    cache: Cache,
}

/// An object, and what its store said of it.
struct Seen {
    uri: ObjectUri,
    info: ObjectInfo,
}

impl<'a> Fetch<'a> {
    /// Prepares it; nothing is asked for yet.
    pub(super) fn new(uri: &'a ObjectUri, storage: &'a Storage) -> Result<Self> {
        Ok(Self { uri, storage, cache: Cache::of_this_machine()? })
    }

    #[cfg(test)]
    fn with_cache(uri: &'a ObjectUri, storage: &'a Storage, cache: Cache) -> Self {
        Self { uri, storage, cache }
    }

    /// Fetches one file; returns where it is, under the object's name.
    pub(super) async fn single_file(&self) -> Result<PathBuf> {
        let blob = self.itself(mlm::MAX_BYTES).await?;
        self.view(BTreeMap::from([(self.name().to_owned(), blob)]))
    }

    /// Fetches a network and all that belongs to it; returns where the network is.
    pub(super) async fn model(&self) -> Result<PathBuf> {
        let network = self.itself(MAX_NETWORK_BYTES).await?;
        let Beside { weights, has_contract } = self.beside(&network).await?;
        let mut files = BTreeMap::from([(self.name().to_owned(), network)]);
        files.extend(self.description(has_contract).await?);
        files.extend(self.weights(weights, &files).await?);
        self.view(files)
    }

    fn view(&self, files: BTreeMap<String, Blob>) -> Result<PathBuf> {
        Ok(self.cache.view(&files)?.join(self.name()))
    }

    /// The last part of the key, which is the name of a file.
    fn name(&self) -> &str {
        self.uri.key().rsplit('/').next().unwrap_or_default()
    }

    fn neighbour(&self, name: &str) -> ObjectUri {
        self.uri.parent().join(name)
    }

    async fn beside(&self, network: &Blob) -> Result<Beside> {
        let path = self.cache.path_of(network);
        blocking(move || {
            let bytes = std::fs::read(&path).map_err(|cause| {
                Error::unavailable(format!("cannot read {}", path.display()))
                    .because(cause)
                    .hint("run the same command again: what is missing in the cache is fetched")
            })?;
            Ok(Beside::of(&Bytes::from(bytes)))
        })
        .await
    }

    /// Fetches the object itself.
    async fn itself(&self, max_bytes: u64) -> Result<Blob> {
        match self.bring_seen(self.look(self.uri.clone()).await, max_bytes).await {
            // A store's answer to HEAD has no body, so that a missing bucket looks like a missing object.
            Err(fault @ (StoreError::Gone | StoreError::Forbidden)) => {
                match self.storage.bucket(self.uri).get(self.uri.key(), 0).await {
                    Err(StoreError::Failed(error)) => Err(error),
                    _ => Err(fault.into_error(self.uri)),
                }
            }
            brought => brought.map_err(|fault| explained(fault, self.uri)),
        }
    }

    /// Fetches the contract file, or what counts where there is none; at most one file.
    async fn description(&self, has_contract: bool) -> Result<Option<(String, Blob)>> {
        let name = Path::new(self.name());
        if let Some(found) = self.optional(&Contract::path_for(name)).await?.or_error()? {
            return Ok(Some(found));
        }
        for (ending, is_ours) in mlm::ENDINGS.into_iter().filter(|_| !has_contract) {
            match self.optional(&name.with_extension(ending)).await? {
                // A JSON file of that name may be anything.
                Optional::TooLarge(_) if !is_ours => {}
                found => {
                    if let Some(found) = found.or_error()? {
                        return Ok(Some(found));
                    }
                }
            }
        }
        Ok(None)
    }

    async fn optional(&self, name: &Path) -> Result<Optional> {
        let name = name.to_str().expect("made of a text").to_owned();
        let uri = self.neighbour(&name);
        match self.bring_seen(self.look(uri.clone()).await, mlm::MAX_BYTES).await {
            Ok(blob) => Ok(Optional::Found(name, blob)),
            Err(StoreError::Gone) => Ok(Optional::Absent),
            Err(StoreError::TooLarge { size }) => {
                Ok(Optional::TooLarge(explained(StoreError::TooLarge { size }, &uri)))
            }
            Err(StoreError::Forbidden) => Err(Error::config(format!("{uri} may not be read (access denied)"))
                .hint(
                    "whether it exists decides what the model expects, and some stores tell that only to those who \
                     may list: allow it (S3: s3:ListBucket), or put a contract there that may be read",
                )),
            Err(fault) => Err(explained(fault, &uri)),
        }
    }

    /// Fetches the files that weights lie in, but for those that are there already.
    async fn weights(
        &self,
        names: BTreeSet<String>,
        fetched: &BTreeMap<String, Blob>,
    ) -> Result<Vec<(String, Blob)>> {
        if names.len() > MAX_WEIGHT_FILES {
            let count = words::counted(names.len() as u64, "file");
            return Err(Error::config(format!("its weights lie in {count}, more than {MAX_WEIGHT_FILES}"))
                .hint("save it as one file: in Python, onnx.save_model(onnx.load(path), path)"));
        }
        let names: Vec<String> = names.into_iter().filter(|name| !fetched.contains_key(name)).collect();
        let looks = stream::iter(&names).map(|name| self.look_at_weights(self.neighbour(name)));
        let seen: Vec<Seen> = looks.buffered(LOOKS).try_collect().await?;
        let known = fetched.values().map(|blob| blob.num_bytes);
        let announced = seen.iter().filter_map(|it| it.info.known_size());
        let mut num_bytes = known.chain(announced).fold(0, u64::saturating_add);
        let mut files = Vec::new();
        for (name, seen) in names.into_iter().zip(seen) {
            if num_bytes > MAX_NETWORK_BYTES {
                return Err(Error::config("with its weights in other objects it is too large")
                    .because(too_large(self.uri, num_bytes)));
            }
            let uri = seen.uri.clone();
            let is_known = seen.info.known_size().is_some();
            let blob = self.bring_seen(Ok(seen), MAX_NETWORK_BYTES).await;
            let blob = blob.map_err(|fault| explained(fault, &uri))?;
            num_bytes += if is_known { 0 } else { blob.num_bytes };
            files.push((name, blob));
        }
        Ok(files)
    }

    async fn look_at_weights(&self, uri: ObjectUri) -> Result<Seen> {
        self.look(uri.clone()).await.map_err(|fault| {
            let lacks = matches!(fault, StoreError::Gone);
            let error = explained(fault, &uri);
            if !lacks {
                return error;
            }
            Error::config("weights of the network lie in another object")
                .because(error)
                .hint("network and weights are one model: copy both into the same folder again")
        })
    }

    async fn look(&self, uri: ObjectUri) -> Result<Seen, StoreError> {
        let info = self.storage.bucket(&uri).head(uri.key()).await?;
        Ok(Seen { uri, info })
    }

    /// Fetches what was seen, unless that version is in the cache; if it is replaced meanwhile, what is there then.
    async fn bring_seen(&self, seen: Result<Seen, StoreError>, max_bytes: u64) -> Result<Blob, StoreError> {
        let mut seen = seen?;
        for _ in 0..MAX_VERSIONS {
            if let Some(size) = seen.info.known_size().filter(|size| *size > max_bytes) {
                return Err(StoreError::TooLarge { size });
            }
            match self.bring_version(&seen, max_bytes).await {
                Err(StoreError::Changed { .. }) => seen = self.look(seen.uri).await?,
                brought => return brought,
            }
        }
        Err(StoreError::Changed { version: None })
    }

    async fn bring_version(&self, seen: &Seen, max_bytes: u64) -> Result<Blob, StoreError> {
        if let Some(blob) = self.find(seen).await? {
            return Ok(blob);
        }
        let turn = self.cache.turn(&seen.uri).await?;
        // Whoever had the turn before us may have fetched it.
        if let Some(blob) = self.find(seen).await? {
            return Ok(blob);
        }
        let Seen { uri, info } = seen;
        let size = info.known_size();
        let num_bytes = size.map_or_else(String::new, |size| format!(", {}", words::bytes(size)));
        tracing::info!("fetching {uri}{num_bytes}, into {}", self.cache.root().display());
        let staged = self.cache.stage(uri, size, turn.is_some())?;
        let expected = Expected { size, version: info.version.as_deref().map(Into::into) };
        self.storage.bucket(uri).download_expected(uri.key(), staged.path(), &expected, max_bytes).await?;
        let (cache, uri, version) = (self.cache.clone(), uri.clone(), info.version.clone());
        Ok(blocking(move || cache.keep(staged, &uri, version.as_deref())).await?)
    }

    async fn find(&self, Seen { uri, info }: &Seen) -> Result<Option<Blob>> {
        let (cache, uri) = (self.cache.clone(), uri.clone());
        let (version, size) = (info.version.clone(), info.known_size());
        blocking(move || Ok(cache.find(&uri, version.as_deref(), size))).await
    }
}

/// An object that need not be there.
enum Optional {
    Found(String, Blob),
    Absent,
    TooLarge(Error),
}

impl Optional {
    fn or_error(self) -> Result<Option<(String, Blob)>> {
        match self {
            Self::Found(name, blob) => Ok(Some((name, blob))),
            Self::Absent => Ok(None),
            Self::TooLarge(error) => Err(error),
        }
    }
}

/// Says why an object could not be fetched, and what to do.
fn explained(fault: StoreError, uri: &ObjectUri) -> Error {
    match fault {
        StoreError::TooLarge { size } => too_large(uri, size),
        StoreError::Changed { .. } => fault.into_error(uri).hint("run the same command again"),
        fault => fault.into_error(uri),
    }
}

fn too_large(uri: &ObjectUri, num_bytes: u64) -> Error {
    Error::config(format!("{uri} is too large: {}", words::bytes(num_bytes))).hint(
        "check that it is the right object; a network must have less than 2 GiB with its weights, a contract 16 MiB",
    )
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|cause| Error::bug("a file operation did not finish").because(cause))?
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use object_store::ObjectStoreExt as _;
    use object_store::memory::InMemory;
    use object_store::path::Path as Key;
    use prost::Message as _;

    use super::*;
    use crate::input::storage::{Bucket, StorageOptions};
    use crate::models::onnx::{
        EXTERNAL, FLOAT, GraphProto, ModelProto, NodeProto, StringStringEntryProto, TensorProto,
    };
    use crate::vocabulary::contract::METADATA_KEY;
    use crate::vocabulary::error::Kind;

    /// A bucket in memory, and a cache.
    struct Place {
        folder: tempfile::TempDir,
        store: Arc<InMemory>,
        storage: Storage,
    }

    impl Place {
        fn new() -> Self {
            let store = Arc::new(InMemory::new());
            let storage = Storage::new(StorageOptions::default()).unwrap();
            storage.register(Bucket::over(store.clone(), "s3://models"));
            Self { folder: tempfile::tempdir().unwrap(), store, storage }
        }

        async fn put(&self, key: &str, content: impl Into<Bytes>) {
            let content: Bytes = content.into();
            self.store.put(&Key::from(key), content.into()).await.unwrap();
        }

        async fn fetch(&self, uri: &str) -> Result<PathBuf> {
            let uri = ObjectUri::parse(uri).unwrap();
            let cache = Cache::at(self.folder.path().to_owned());
            Fetch::with_cache(&uri, &self.storage, cache).model().await
        }

        /// The names beside a fetched network, in order.
        async fn names(&self, uri: &str) -> Vec<String> {
            let path = self.fetch(uri).await.unwrap();
            let entries = std::fs::read_dir(path.parent().unwrap()).unwrap();
            let mut names: Vec<_> =
                entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
            names.sort();
            names
        }
    }

    fn external(location: &str) -> TensorProto {
        TensorProto {
            data_location: Some(EXTERNAL),
            external_data: vec![StringStringEntryProto::new("location", location.to_owned())],
            raw_data: None,
            ..TensorProto::new("w", FLOAT, &[1], Bytes::new())
        }
    }

    fn network(locations: &[&str], metadata: &[(&str, &str)]) -> Bytes {
        let initializer = locations.iter().map(|location| external(location)).collect();
        let node = vec![NodeProto::new("Relu", &["x"], "y", Vec::new())];
        let entry = |(key, value): &(&str, &str)| StringStringEntryProto::new(key, (*value).to_owned());
        let model = ModelProto {
            graph: Some(GraphProto { node, initializer, ..GraphProto::default() }),
            metadata_props: metadata.iter().map(entry).collect(),
            ..ModelProto::default()
        };
        model.encode_to_vec().into()
    }

    #[tokio::test]
    async fn what_lies_beside_a_network_comes_with_it() {
        let place = Place::new();
        place.put("a/net.v2.onnx", network(&["w.bin", "./v.bin", "net.v2.onnx"], &[])).await;
        place.put("a/w.bin", "weights").await;
        place.put("a/v.bin", "more").await;
        place.put("a/net.v2.contract.toml", "contract").await;
        place.put("a/net.v2.json", "{}").await;
        place.put("a/other", "not asked for").await;
        let names = place.names("s3://models/a/net.v2.onnx").await;
        assert_eq!(names, ["net.v2.contract.toml", "net.v2.onnx", "v.bin", "w.bin"]);
        // One that was replaced is another view of the same network.
        let before = place.fetch("s3://models/a/net.v2.onnx").await.unwrap();
        place.put("a/net.v2.contract.toml", "another").await;
        let after = place.fetch("s3://models/a/net.v2.onnx").await.unwrap();
        assert_ne!(before, after);
        assert_eq!(std::fs::read(after.with_file_name("net.v2.contract.toml")).unwrap(), b"another");
        assert_eq!(std::fs::canonicalize(before).unwrap(), std::fs::canonicalize(after).unwrap());
    }

    /// In the order in which a local model is described.
    #[tokio::test]
    async fn an_item_counts_where_there_is_no_contract() {
        let place = Place::new();
        place.put("net.onnx", network(&[], &[])).await;
        assert_eq!(place.names("s3://models/net.onnx").await, ["net.onnx"]);
        place.put("net.json", "{}").await;
        assert_eq!(place.names("s3://models/net.onnx").await, ["net.json", "net.onnx"]);
        place.put("net.stac.json", "{}").await;
        assert_eq!(place.names("s3://models/net.onnx").await, ["net.onnx", "net.stac.json"]);
        place.put("net.contract.toml", "").await;
        assert_eq!(place.names("s3://models/net.onnx").await, ["net.contract.toml", "net.onnx"]);

        place.put("own.onnx", network(&[], &[(METADATA_KEY, "{}")])).await;
        place.put("own.json", "{}").await;
        assert_eq!(place.names("s3://models/own.onnx").await, ["own.onnx"]);
        let large = vec![b' '; usize::try_from(mlm::MAX_BYTES).unwrap() + 1];
        place.put("net.contract.toml", large.clone()).await;
        let error = place.fetch("s3://models/net.onnx").await.unwrap_err();
        assert!(error.to_string().contains("s3://models/net.contract.toml is too large"), "{error}");
        place.put("plain.onnx", network(&[], &[])).await;
        place.put("plain.json", large).await;
        assert_eq!(place.names("s3://models/plain.onnx").await, ["plain.onnx"], "some other tool's");
    }

    /// Whoever loads the network refuses the name, as of a local one.
    #[tokio::test]
    async fn weights_are_fetched_from_beside_the_network_only() {
        let place = Place::new();
        place.put("secret", "other people's").await;
        place.put("a/sub/w.bin", "too deep").await;
        place.put("a/net.onnx", network(&["../secret", "/etc/passwd", "sub/w.bin", "..", ""], &[])).await;
        let path = place.fetch("s3://models/a/net.onnx").await.unwrap();
        assert_eq!(place.names("s3://models/a/net.onnx").await, ["net.onnx"]);
        let error = crate::models::load(&path, &crate::models::Overrides::default()).unwrap_err();
        assert!(error.render().contains("`../secret`, not beside the network"), "{}", error.render());
    }

    #[tokio::test]
    async fn missing_weights_are_said_with_their_object() {
        let place = Place::new();
        place.put("a/net.onnx", network(&["w.bin"], &[])).await;
        let error = place.fetch("s3://models/a/net.onnx").await.unwrap_err();
        assert_eq!(error.kind(), Kind::Config);
        let said = error.render();
        assert!(said.contains("s3://models/a/w.bin does not exist") && said.contains("one model"), "{said}");
        let error = place.fetch("s3://models/a/none.onnx").await.unwrap_err();
        assert_eq!(error.kind(), Kind::Config);
        let error = error.render();
        assert!(error.contains("s3://models/a/none.onnx does not exist"), "{error}");
    }

    #[tokio::test]
    async fn more_files_than_any_exporter_writes_are_refused_before_one_is_asked_for() {
        let place = Place::new();
        let names: Vec<String> = (0..=MAX_WEIGHT_FILES).map(|number| format!("w{number}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        place.put("net.onnx", network(&names, &[])).await;
        let error = place.fetch("s3://models/net.onnx").await.unwrap_err();
        assert!(error.to_string().contains("4,097 files, more than 4096"), "{error}");
    }

    /// A page for people under the name of a model says nothing of other files; loading it tells that it is no model.
    #[tokio::test]
    async fn what_is_no_network_is_fetched_alone() {
        let place = Place::new();
        place.put("net.onnx", "<html>log in</html>").await;
        let path = place.fetch("s3://models/net.onnx").await.unwrap();
        let error = crate::models::load(&path, &crate::models::Overrides::default()).unwrap_err();
        assert!(error.to_string().contains("is not an ONNX model"), "{error}");
    }
}
