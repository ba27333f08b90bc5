//! A store in memory, as one process sees it: each request waits for its turn, and may fail.
//!
//! Listings are consistent, as those of S3, Google and Azure are, but for what happens between two of their pages.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use futures::stream::{self, BoxStream};
use futures::{StreamExt as _, TryStreamExt as _};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, ObjectStoreExt as _, PutMultipartOptions, PutOptions, PutPayload, PutResult,
};
use tilefleet::input::storage::{Bucket, ObjectUri, Storage, StorageOptions};
use tilefleet::output::Output;
use tilefleet::vocabulary::process::Process;

use super::turns::{Effect, Fate, Request, Trouble, Turn, Turnstile, Verb, Who};

/// Keys of a page of a listing: few, so that much happens between pages.
const PAGE_KEYS: usize = 6;

/// Sees whatever changes in a store, as it happens.
pub trait Observer: Send + Sync {
    /// `by`: the actor, if it is still the one that has asked for it.
    fn put(&self, by: Option<usize>, key: &Path, bytes: &Bytes, answer: &PutResult);
    fn deleted(&self, key: &Path);
}

/// One actor's view of the store.
#[derive(Clone)]
pub struct Gate {
    inner: Arc<InMemory>,
    observer: Option<Arc<dyn Observer>>,
    turnstile: Option<(Arc<Turnstile>, Who)>,
    /// Puts to keys that hold this fail.
    refused: Option<String>,
    /// Puts to keys that hold this say that they were first, and leave nothing.
    forgotten: Option<String>,
    /// Every request fails while this is set.
    pub broken: Arc<AtomicBool>,
}

fn broken(what: &'static str) -> object_store::Error {
    object_store::Error::Generic { store: "simulated", source: what.into() }
}

impl Trouble {
    fn error(self, key: &Path) -> object_store::Error {
        match self {
            Self::Timeout => broken("the request timed out"),
            Self::Unavailable => broken("503, try again later"),
            Self::Exists => object_store::Error::AlreadyExists {
                path: key.to_string(),
                source: "412, it exists, or somebody is writing it".into(),
            },
        }
    }
}

impl Gate {
    pub fn open(inner: &Arc<InMemory>) -> Self {
        let inner = Arc::clone(inner);
        Self {
            inner,
            observer: None,
            turnstile: None,
            refused: None,
            forgotten: None,
            broken: Arc::default(),
        }
    }

    /// Lets each request wait for its turn.
    pub fn taking_turns(self, turnstile: &Arc<Turnstile>, who: Who) -> Self {
        Self { turnstile: Some((Arc::clone(turnstile), who)), ..self }
    }

    pub fn observed(self, observer: Arc<dyn Observer>) -> Self {
        Self { observer: Some(observer), ..self }
    }

    pub fn refusing(self, refused: &str) -> Self {
        Self { refused: Some(refused.to_owned()), ..self }
    }

    pub fn forgetting(self, forgotten: Option<String>) -> Self {
        Self { forgotten, ..self }
    }

    pub fn output(self, process: Arc<Process>) -> Output {
        output_over(Arc::new(self), process).1
    }

    async fn turn(&self, request: Request) -> object_store::Result<Option<Turn>> {
        if self.broken.load(Ordering::Relaxed) {
            return Err(broken("the store is away"));
        }
        match &self.turnstile {
            None => Ok(None),
            Some((turnstile, who)) => match turnstile.turn(*who, request).await {
                Some(turn) => Ok(Some(turn)),
                None => Err(broken("this process was killed")),
            },
        }
    }

    /// Makes a request that changes something.
    async fn change(&self, verb: Verb, key: &Path, effect: Effect) -> object_store::Result<PutResult> {
        let turn = self.turn(Request::new(verb, Some(key)).changing(effect.clone())).await?;
        match turn.as_ref().map_or(Fate::Answered, |turn| turn.fate) {
            Fate::Refused(trouble) => Err(trouble.error(key)),
            Fate::Late(requests) => {
                if let Some((turnstile, _)) = &self.turnstile {
                    turnstile.postpone(requests, effect);
                }
                Err(Trouble::Timeout.error(key))
            }
            Fate::AnswerLost(trouble) => {
                // Whatever was answered is lost.
                let _ = self.carry_out(effect).await;
                Err(trouble.error(key))
            }
            Fate::Answered | Fate::BrokenOff => self.carry_out(effect).await,
        }
    }

    /// Changes the store, whoever has asked for it.
    pub async fn carry_out(&self, effect: Effect) -> object_store::Result<PutResult> {
        match effect {
            Effect::Put(key, payload, options) => {
                let answer = self.inner.put_opts(&key, payload.clone(), options).await?;
                if let Some(observer) = &self.observer {
                    let by = self.turnstile.as_ref().map(|(_, who)| who.actor);
                    observer.put(by, &key, &payload.into(), &answer);
                }
                Ok(answer)
            }
            Effect::Delete(key) => {
                self.inner.delete(&key).await?;
                if let Some(observer) = &self.observer {
                    observer.deleted(&key);
                }
                Ok(nothing())
            }
        }
    }

    async fn page(
        self,
        prefix: Option<Path>,
        after: Option<Path>,
    ) -> object_store::Result<(Vec<ObjectMeta>, Option<Path>)> {
        let turn = self.turn(Request::new(Verb::List, prefix.as_ref())).await?;
        check(turn.as_ref(), &prefix.clone().unwrap_or_default())?;
        let all: Vec<_> = self.inner.list(prefix.as_ref()).try_collect().await?;
        let is_next = |object: &ObjectMeta| after.as_ref().is_none_or(|after| object.location > *after);
        let mut page: Vec<ObjectMeta> = all.into_iter().filter(is_next).collect();
        page.sort_by(|a, b| a.location.cmp(&b.location));
        page.truncate(PAGE_KEYS);
        let next = page.last().filter(|_| page.len() == PAGE_KEYS).map(|last| last.location.clone());
        Ok((page, next))
    }
}

/// Fails if nothing else comes of a request that changes nothing.
fn check(turn: Option<&Turn>, key: &Path) -> object_store::Result<()> {
    match turn.map(|turn| turn.fate) {
        Some(Fate::Refused(trouble) | Fate::AnswerLost(trouble)) => Err(trouble.error(key)),
        _ => Ok(()),
    }
}

fn nothing() -> PutResult {
    PutResult { e_tag: None, version: None }
}

/// Opens the table of a simulated bucket; returns also what opens its other folders.
pub fn output_over(store: Arc<dyn ObjectStore>, process: Arc<Process>) -> (Storage, Output) {
    let storage = Storage::of(StorageOptions::default(), Arc::clone(&process)).unwrap();
    storage.register(Bucket::over(store, "s3://simulated"));
    let output = Output::open(&storage, &ObjectUri::parse("s3://simulated/table").unwrap(), process);
    (storage, output)
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Gate")
    }
}

impl fmt::Display for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a simulated store")
    }
}

pub type Answer<'a, T> = Pin<Box<dyn Future<Output = object_store::Result<T>> + Send + 'a>>;

impl ObjectStore for Gate {
    fn put_opts<'a, 'b, 'c>(
        &'a self,
        location: &'b Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Answer<'c, PutResult>
    where
        'a: 'c,
        'b: 'c,
        Self: 'c,
    {
        Box::pin(async move {
            let holds =
                |what: &Option<String>| what.as_ref().is_some_and(|it| location.as_ref().contains(it));
            if holds(&self.refused) {
                return Err(broken("it may not be put"));
            }
            if holds(&self.forgotten) {
                let _turn = self.turn(Request::new(Verb::Put, Some(location))).await?;
                return Ok(nothing());
            }
            self.change(Verb::Put, location, Effect::Put(location.clone(), payload, options)).await
        })
    }

    fn put_multipart_opts<'a, 'b, 'c>(
        &'a self,
        _location: &'b Path,
        _options: PutMultipartOptions,
    ) -> Answer<'c, Box<dyn MultipartUpload>>
    where
        'a: 'c,
        'b: 'c,
        Self: 'c,
    {
        Box::pin(async { Err(broken("it takes no object in parts")) })
    }

    fn get_opts<'a, 'b, 'c>(&'a self, location: &'b Path, options: GetOptions) -> Answer<'c, GetResult>
    where
        'a: 'c,
        'b: 'c,
        Self: 'c,
    {
        Box::pin(async move {
            let verb = if options.head { Verb::Head } else { Verb::Get };
            let turn = self.turn(Request::new(verb, Some(location))).await?;
            check(turn.as_ref(), location)?;
            let got = self.inner.get_opts(location, options).await?;
            let breaks_off = turn.as_ref().is_some_and(|turn| turn.fate == Fate::BrokenOff);
            if breaks_off { broken_off(got).await } else { Ok(got) }
        })
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, object_store::Result<Path>>,
    ) -> BoxStream<'static, object_store::Result<Path>> {
        let gate = self.clone();
        let delete = move |location: object_store::Result<Path>| {
            let gate = gate.clone();
            async move {
                let location = location?;
                let deleted = gate.change(Verb::Delete, &location, Effect::Delete(location.clone())).await;
                deleted.map(|_| location)
            }
        };
        locations.then(delete).boxed()
    }

    /// A page is a request, and what happens between two pages may be seen or not.
    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        let (gate, prefix) = (self.clone(), prefix.cloned());
        let pages = stream::try_unfold(Some(None::<Path>), move |after| {
            let (gate, prefix) = (gate.clone(), prefix.clone());
            async move {
                let Some(after) = after else { return Ok::<_, object_store::Error>(None) };
                let (page, next) = gate.page(prefix, after).await?;
                Ok(Some((stream::iter(page.into_iter().map(Ok)), next.map(Some))))
            }
        });
        pages.try_flatten().boxed()
    }

    fn list_with_delimiter<'a, 'b, 'c>(&'a self, prefix: Option<&'b Path>) -> Answer<'c, ListResult>
    where
        'a: 'c,
        'b: 'c,
        Self: 'c,
    {
        Box::pin(async move {
            let turn = self.turn(Request::new(Verb::List, prefix)).await?;
            check(turn.as_ref(), &prefix.cloned().unwrap_or_default())?;
            self.inner.list_with_delimiter(prefix).await
        })
    }

    fn copy_opts<'a, 'b, 'c, 'd>(
        &'a self,
        _from: &'b Path,
        _to: &'c Path,
        _options: CopyOptions,
    ) -> Answer<'d, ()>
    where
        'a: 'd,
        'b: 'd,
        'c: 'd,
        Self: 'd,
    {
        Box::pin(async { Err(broken("it copies nothing")) })
    }
}

/// Cuts an answer in the middle.
async fn broken_off(got: GetResult) -> object_store::Result<GetResult> {
    let (meta, range, attributes) = (got.meta.clone(), got.range.clone(), got.attributes.clone());
    let bytes = got.bytes().await?;
    let pieces = [Ok(bytes.slice(..bytes.len() / 2)), Err(broken("the connection was reset"))];
    let payload = GetResultPayload::Stream(stream::iter(pieces).boxed());
    Ok(GetResult { payload, meta, range, attributes })
}
