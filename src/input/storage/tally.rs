//! Which hosts answer while many objects are looked at: one object that its host does not give is told from a host
//! that is away only by the others.

use std::collections::{BinaryHeap, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Mutex, PoisonError};

use futures::{StreamExt, stream};

use super::trouble::Trouble;
use super::uri::ObjectUri;
use super::{Storage, StoreError};
use crate::vocabulary::error::{Error, Result};

/// A host that has given this many answers is reachable.
const ENOUGH: u64 = 10;
/// A host that has answered none of this many requests is not reachable, unless one of a sample of its objects answers.
const HOPELESS: u64 = 32;
/// Number of objects in the sample of a host.
const MAX_DRAWN: usize = 128;
/// How many of them are requested at once: if a host is down, each request takes long.
const ASKED_AT_ONCE: usize = 64;

/// Counts answers by host: a bucket, a web server, a folder of this machine.
#[derive(Default)]
pub struct Tally {
    hosts: Mutex<HashMap<String, Host>>,
    /// Held by who asks a sample.
    asking: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Host {
    answered: u64,
    troubled: u64,
    first: Option<Error>,
    /// Whether one of a sample of its objects answered; `None`: none was drawn.
    sample_answers: Option<bool>,
}

impl Host {
    fn is_there(&self) -> bool {
        self.answered >= ENOUGH || self.answered > self.troubled
    }

    fn seems_away(&self) -> bool {
        self.answered == 0 && self.troubled >= HOPELESS && self.sample_answers != Some(true)
    }
}

impl Tally {
    /// Notes that an object's host said something about it, be it that it is not there.
    pub fn answered(&self, uri: &ObjectUri) {
        self.with(uri, |host| host.answered += 1);
    }

    /// Notes that an object's host gave no answer that can be used.
    ///
    /// # Errors
    ///
    /// This error, if it is not about one object, or nothing of its host has answered for long.
    pub fn in_trouble(&self, uri: &ObjectUri, error: Error) -> Result<()> {
        if self.seems_away(uri, error)? { Err(self.first_of(uri)) } else { Ok(()) }
    }

    /// As [`Self::in_trouble`], but of a host that seems to be away a sample is asked for first: objects in trouble may
    /// be the first that are looked at.
    ///
    /// - `others`: draws that sample
    ///
    /// # Errors
    ///
    /// As [`Self::in_trouble`], where nothing in the sample answers either; as `others`.
    pub async fn in_trouble_unlike(
        &self,
        storage: &Storage,
        uri: &ObjectUri,
        error: Error,
        others: impl Future<Output = Result<Sample>>,
    ) -> Result<()> {
        if !self.seems_away(uri, error)? {
            return Ok(());
        }
        let _asking = self.asking.lock().await;
        let answers = if let Some(answers) = self.with(uri, |host| host.sample_answers) {
            answers
        } else {
            let answers = others.await?.answers(storage).await;
            self.with(uri, |host| host.sample_answers = Some(answers));
            answers
        };
        if answers { Ok(()) } else { Err(self.first_of(uri)) }
    }

    /// Counts trouble; returns whether its host seems to be away.
    fn seems_away(&self, uri: &ObjectUri, error: Error) -> Result<bool> {
        if Trouble::of(&error).is_none() {
            return Err(error);
        }
        tracing::warn!("{uri} cannot be read while planning; the run will try again: {error}");
        Ok(self.with(uri, |host| {
            host.troubled += 1;
            host.first.get_or_insert(error);
            host.seems_away()
        }))
    }

    /// Returns the first error of a host that had one.
    fn first_of(&self, uri: &ObjectUri) -> Error {
        let first = self.with(uri, |host| host.first.as_ref().map(Error::again));
        first.unwrap_or_else(|| Error::bug(format!("nothing went wrong with the host of {uri}")))
    }

    /// Checks that every host with an object in trouble has answered for others.
    ///
    /// # Errors
    ///
    /// The first error of a host that has not.
    pub fn check(&self) -> Result<()> {
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        let mut away = hosts.values_mut().filter(|host| !host.is_there());
        away.find_map(|host| host.first.take()).map_or(Ok(()), Err)
    }

    fn with<T>(&self, uri: &ObjectUri, change: impl FnOnce(&mut Host) -> T) -> T {
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        change(hosts.entry(place_of(uri)).or_default())
    }
}

/// Returns what answers as one: a bucket, a web server, a folder of this machine.
fn place_of(uri: &ObjectUri) -> String {
    let folder = || uri.parent().for_reading().to_owned();
    if uri.scheme().is_local() { folder() } else { uri.bucket_key().to_owned() }
}

/// Returns a number that says nothing of where a URI stands among others, the same in every process.
pub fn shuffling(seed: &str, uri: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    (seed, uri).hash(&mut hasher);
    hasher.finish()
}

/// Some objects of one host, drawn from all that are offered: the order in which they are does not matter.
pub struct Sample {
    place: String,
    seed: String,
    drawn: BinaryHeap<(u64, ObjectUri)>,
}

impl Sample {
    /// Begins a sample of the host of an object.
    #[must_use]
    pub fn of_host(uri: &ObjectUri) -> Self {
        Self { place: place_of(uri), seed: uri.for_reading().to_owned(), drawn: BinaryHeap::new() }
    }

    /// Takes an object into account, if it is of the host.
    pub fn offer(&mut self, uri: &ObjectUri) {
        if place_of(uri) != self.place {
            return;
        }
        self.drawn.push((shuffling(&self.seed, uri.for_reading()), uri.clone()));
        if self.drawn.len() > MAX_DRAWN {
            self.drawn.pop();
        }
    }

    /// Takes objects into account.
    #[must_use]
    pub fn among<'a>(mut self, uris: impl IntoIterator<Item = &'a ObjectUri>) -> Self {
        uris.into_iter().for_each(|uri| self.offer(uri));
        self
    }

    /// Returns whether the host says something about any of them, be it that it is not there.
    async fn answers(self, storage: &Storage) -> bool {
        let ask = |(_, uri): (u64, ObjectUri)| async move {
            match storage.bucket(&uri).get_range(uri.key(), 0, 1).await {
                Err(StoreError::Failed(error)) => Trouble::of(&error) == Some(Trouble::Answered(416)),
                _ => true,
            }
        };
        let asked = stream::iter(self.drawn).map(ask).buffer_unordered(ASKED_AT_ONCE);
        std::pin::pin!(asked).any(std::future::ready).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uri(text: &str) -> ObjectUri {
        ObjectUri::parse(text).unwrap()
    }

    fn refused() -> Error {
        Error::unavailable("cannot look at it").because(Trouble::Answered(500).said("500"))
    }

    #[test]
    fn one_object_is_told_from_its_host() {
        let tally = Tally::default();
        tally.answered(&uri("s3://b/1"));
        tally.in_trouble(&uri("s3://b/2"), refused()).unwrap();
        assert!(tally.check().is_err(), "one answered and one did not");
        let tally = Tally::default();
        (0..2).for_each(|number| tally.answered(&uri(&format!("s3://b/{number}"))));
        tally.in_trouble(&uri("s3://b/2"), refused()).unwrap();
        assert!(tally.check().is_ok());
        tally.in_trouble(&uri("s3://other/1"), refused()).unwrap();
        assert!(tally.check().is_err(), "nothing of that bucket answered");
    }

    #[test]
    fn a_sample_is_of_one_host_and_of_all_its_parts() {
        let host: Vec<ObjectUri> = (0..10_000).map(|number| uri(&format!("https://h/{number:05}"))).collect();
        let other = uri("https://other/1");
        let drawn = Sample::of_host(&host[0]).among(host.iter().chain([&other])).drawn;
        assert_eq!(drawn.len(), MAX_DRAWN);
        for tenth in 0..10 {
            let begins = format!("https://h/0{tenth}");
            assert!(drawn.iter().any(|(_, uri)| uri.for_reading().starts_with(&begins)), "none of {begins}");
        }
    }

    #[tokio::test]
    async fn a_host_is_not_given_up_before_a_sample_was_asked_for() {
        let storage = Storage::new(crate::input::storage::StorageOptions::default()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| ObjectUri::from_path(&folder.path().join(name)).unwrap();
        std::fs::write(folder.path().join("good"), b"x").unwrap();
        for (others, expected) in [(vec![at("good")], None), (vec![], Some(HOPELESS))] {
            let tally = Tally::default();
            let mut given_up = None;
            for number in 1..100 {
                let sample = async { Ok(Sample::of_host(&at("bad")).among(&others)) };
                if tally.in_trouble_unlike(&storage, &at("bad"), refused(), sample).await.is_err() {
                    given_up = given_up.or(Some(number));
                }
            }
            assert_eq!(given_up, expected);
        }
    }

    #[test]
    fn a_host_that_is_away_is_noticed_before_the_end() {
        let tally = Tally::default();
        let until = (1..1000).find(|_| tally.in_trouble(&uri("https://h/a"), refused()).is_err());
        assert_eq!(until, Some(HOPELESS));
        let no_credentials = Error::config("no credentials");
        assert!(tally.in_trouble(&uri("s3://b/1"), no_credentials).is_err());
    }
}
