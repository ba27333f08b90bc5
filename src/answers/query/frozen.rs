//! Files as they were listed when the question was asked.
//!
//! DataFusion lists a table when it reads it. By then a compaction may have ended, and the runs that the
//! views show be deleted: their rows would be missing without a word. So the listing is that of the
//! snapshot, and a file that has gone since is an error. It also holds nothing but the shards of runs
//! that are not deleted. A file that whoever asks has given is listed likewise.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use futures::StreamExt;
use futures::stream::{self, BoxStream};
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

use crate::output::{Layout, Snapshot};

type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T>> + Send + 'a>>;

/// A store that can be read, and whose listing never changes.
#[derive(Debug)]
pub(super) struct Frozen {
    files: Arc<dyn ObjectStore>,
    listed: Arc<[ObjectMeta]>,
}

impl Frozen {
    /// Shows the shards of a snapshot, relative to the output's folder.
    pub(super) fn new(files: Arc<dyn ObjectStore>, snapshot: &Snapshot) -> Self {
        let layout = Layout::new("");
        let shards = snapshot.runs.iter().flat_map(|standing| {
            let location = |number| Path::from(layout.shard(standing.run.id(), number));
            standing.found.shards.iter().map(move |shard| ObjectMeta {
                location: location(shard.number),
                last_modified: shard.committed_at.into(),
                size: shard.size_bytes,
                e_tag: None,
                version: None,
            })
        });
        Self { files, listed: shards.collect() }
    }

    /// Shows one object, relative to its folder.
    pub(super) fn of_one(folder: Arc<dyn ObjectStore>, object: ObjectMeta) -> Self {
        Self { files: folder, listed: Arc::new([object]) }
    }

    fn below(&self, prefix: Option<&Path>) -> Vec<ObjectMeta> {
        let within = |meta: &&ObjectMeta| prefix.is_none_or(|prefix| meta.location.prefix_matches(prefix));
        self.listed.iter().filter(within).cloned().collect()
    }
}

impl fmt::Display for Frozen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} as listed", self.files)
    }
}

fn refused<T>(operation: &str) -> Result<T> {
    let operation = operation.to_owned();
    Err(object_store::Error::NotImplemented { operation, implementer: "a query's store".to_owned() })
}

impl ObjectStore for Frozen {
    fn get_opts<'a, 'b, 'c>(&'a self, location: &'b Path, options: GetOptions) -> Answer<'c, GetResult>
    where
        'a: 'c,
        'b: 'c,
        Self: 'c,
    {
        self.files.get_opts(location, options)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        stream::iter(self.below(prefix).into_iter().map(Ok)).boxed()
    }

    fn list_with_delimiter<'a, 'b, 'c>(&'a self, prefix: Option<&'b Path>) -> Answer<'c, ListResult>
    where
        'a: 'c,
        'b: 'c,
        Self: 'c,
    {
        let mut answer = ListResult { common_prefixes: Vec::new(), objects: Vec::new() };
        let folder = prefix.cloned().unwrap_or_default();
        for meta in self.below(prefix) {
            let mut parts = meta.location.prefix_match(&folder).into_iter().flatten();
            match (parts.next(), parts.next()) {
                (Some(part), Some(_)) => {
                    let below = folder.clone().join(part);
                    if answer.common_prefixes.last() != Some(&below) {
                        answer.common_prefixes.push(below);
                    }
                }
                _ => answer.objects.push(meta.clone()),
            }
        }
        Box::pin(async { Ok(answer) })
    }

    fn put_opts<'a, 'b, 'c>(&'a self, _: &'b Path, _: PutPayload, _: PutOptions) -> Answer<'c, PutResult>
    where
        'a: 'c,
        'b: 'c,
        Self: 'c,
    {
        Box::pin(async { refused("put") })
    }

    fn put_multipart_opts<'a, 'b, 'c>(
        &'a self,
        _: &'b Path,
        _: PutMultipartOptions,
    ) -> Answer<'c, Box<dyn MultipartUpload>>
    where
        'a: 'c,
        'b: 'c,
        Self: 'c,
    {
        Box::pin(async { refused("put") })
    }

    fn delete_stream(&self, _: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        stream::iter([refused("delete")]).boxed()
    }

    fn copy_opts<'a, 'b, 'c, 'd>(&'a self, _: &'b Path, _: &'c Path, _: CopyOptions) -> Answer<'d, ()>
    where
        'a: 'd,
        'b: 'd,
        'c: 'd,
        Self: 'd,
    {
        Box::pin(async { refused("copy") })
    }
}
