//! Which hosts answer while many objects are looked at: one object that its host does not give is told from a host
//! that is away only by the others.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use super::trouble::Trouble;
use super::uri::ObjectUri;
use crate::error::{Error, Result};

/// A host that has given so many answers is there.
const ENOUGH: u64 = 10;
/// A host that has given none to so many requests is not.
const HOPELESS: u64 = 32;

/// Counts answers by host: a bucket, a web server, a folder of this machine.
#[derive(Default)]
pub struct Tally {
    hosts: Mutex<HashMap<String, Host>>,
}

#[derive(Default)]
struct Host {
    answered: u64,
    troubled: u64,
    first: Option<Error>,
}

impl Host {
    fn is_there(&self) -> bool {
        self.answered >= ENOUGH || self.answered > self.troubled
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
        if Trouble::of(&error).is_none() {
            return Err(error);
        }
        tracing::warn!("{uri} cannot be read while planning, which is left to the run: {error}");
        self.with(uri, |host| {
            host.troubled += 1;
            let first = host.first.get_or_insert(error);
            if host.answered == 0 && host.troubled >= HOPELESS { Err(first.again()) } else { Ok(()) }
        })
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
        let place =
            if uri.scheme().is_local() { uri.parent().to_string() } else { uri.bucket_key().to_owned() };
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        change(hosts.entry(place).or_default())
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
    fn a_host_that_is_away_is_noticed_before_the_end() {
        let tally = Tally::default();
        let until = (1..1000).find(|_| tally.in_trouble(&uri("https://h/a"), refused()).is_err());
        assert_eq!(until, Some(HOPELESS));
        let no_credentials = Error::config("no credentials");
        assert!(tally.in_trouble(&uri("s3://b/1"), no_credentials).is_err());
    }
}
