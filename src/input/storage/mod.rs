//! Access to objects wherever they lie: local files, S3, Google, Azure, web servers.
//!
//! Goes in: a URI and `[storage]` of the pipeline file. Comes out: bytes, listings, create-only
//! writes, and faults that tell one missing object from a store that is away. Discovery, fetch and
//! commit call it. It decodes nothing, caches no content, and never prints a credential.
//!
//! ```text
//! ObjectUri ─▶ Storage ─▶ Bucket ─┬▶ local files (std::fs on blocking threads)
//!                                 └▶ object_store ─▶ Patience (time limits, redirects) ─▶ HTTP
//! ```

mod bucket;
mod connect;
mod credentials;
mod environment;
mod local;
mod options;
mod own;
mod pace;
mod profile;
mod redact;
mod redirect;
mod renewing;
mod request_timeout;
mod sign;
mod space;
mod store_error;
mod tally;
mod transport;
mod trouble;
mod unaddressable_keys;
mod uri;
mod web;
mod workload;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

pub use self::bucket::{Bucket, Expected, Object, ObjectInfo, Put};
pub use self::connect::{ENDPOINT_VARIABLES, REGION_VARIABLES};
pub use self::options::StorageOptions;
pub use self::redact::{redact, shown, shown_list};
pub use self::sign::SignOptions;
pub use self::space::free_bytes;
pub use self::store_error::StoreError;
pub use self::tally::shuffling;
pub use self::tally::{Sample, Tally};
pub use self::trouble::Trouble;
pub use self::uri::path_of_key;
pub use self::uri::{ObjectUri, Scheme};
pub use self::uri::{percent_decoded, split_scheme};
pub use self::web::{Answer, Web};

use self::connect::StorePlan;
use self::environment::Environment;
use crate::vocabulary::error::Result;
use crate::vocabulary::identity::Naming;
use crate::vocabulary::process::Process;

/// Opens buckets and keeps them open. Clones share them.
#[derive(Clone)]
pub struct Storage {
    plan: StorePlan,
    naming: Naming,
    buckets: Arc<Mutex<HashMap<String, Bucket>>>,
}

impl Storage {
    /// Prepares access with these options and the process environment; nothing is connected yet.
    ///
    /// # Errors
    ///
    /// `Config` if the options contradict themselves, see [`StorageOptions::check`].
    pub fn new(options: StorageOptions) -> Result<Self> {
        Self::of(options, Process::real())
    }

    /// As [`Self::new`], with the clock of a process, and its chance for how long to wait between two tries.
    ///
    /// # Errors
    ///
    /// As [`Self::new`].
    pub fn of(options: StorageOptions, process: Arc<Process>) -> Result<Self> {
        Self::prepared(options, Environment::of_process(), process)
    }

    fn prepared(options: StorageOptions, environment: Environment, process: Arc<Process>) -> Result<Self> {
        options.check()?;
        let plan = StorePlan::new(options, environment, process)?;
        Ok(Self { plan, naming: Naming::default(), buckets: Arc::default() })
    }

    /// Returns the same access, for sources that are named so.
    #[must_use]
    pub fn naming_sources(mut self, naming: Naming) -> Self {
        self.plan.allow = self.plan.allow.iter().map(|place| place.clone().named(&naming)).collect();
        self.naming = naming;
        self
    }

    /// Returns how sources are named.
    #[must_use]
    pub fn naming(&self) -> &Naming {
        &self.naming
    }

    /// Parses what somebody has written to name sources by; see [`ObjectUri::parse_named`].
    ///
    /// # Errors
    ///
    /// As [`ObjectUri::parse`].
    pub fn source(&self, text: &str) -> Result<ObjectUri> {
        ObjectUri::parse_named(text, &self.naming)
    }

    #[cfg(test)]
    fn with_environment(options: StorageOptions, environment: Environment) -> Result<Self> {
        Self::prepared(options, environment, Process::real())
    }

    /// Returns the same access, whose redirects and [`Self::may_lead`] stay within these places; none: they may lead
    /// anywhere.
    ///
    /// # Errors
    ///
    /// `Config` if a place is not a URI.
    pub fn allowing(mut self, places: &[String]) -> Result<Self> {
        self.plan.allow = places.iter().map(|place| self.source(place)).collect::<Result<_>>()?;
        self.buckets = Arc::default();
        Ok(self)
    }

    /// Returns whether documents, read from `start` on, may lead to another one: within the places that are allowed, or,
    /// if `start` was named outside of them, within its own bucket or web server.
    #[must_use]
    pub fn may_lead(&self, start: &ObjectUri, to: &ObjectUri) -> bool {
        let is_allowed = |uri: &ObjectUri| self.plan.allow.iter().any(|place| uri.is_within(place));
        let stays = || !is_allowed(start) && start.bucket_key() == to.bucket_key();
        self.plan.allow.is_empty() || is_allowed(to) || stays()
    }

    /// Returns the bucket of an object; it connects, and may fail to, when it is first used. What it says of its objects
    /// it names like this one, whoever shares the connection.
    #[must_use]
    pub fn bucket(&self, uri: &ObjectUri) -> Bucket {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = buckets.get(uri.bucket_key()) {
            return known.clone().named(uri.naming());
        }
        let root = uri.with_key("");
        let bucket = if uri.scheme().is_local() {
            Bucket::local(root)
        } else {
            Bucket::remote(root, self.plan.clone())
        };
        buckets.insert(uri.bucket_key().to_owned(), bucket.clone());
        bucket
    }

    /// Prepares a client for a web service that is asked questions; `url` is one of its.
    ///
    /// # Errors
    ///
    /// `Config` if requests cannot be prepared on this machine.
    pub fn web(&self, url: &str) -> Result<Web> {
        Web::new(&self.plan, url, &self.naming)
    }

    /// Makes this bucket the one that is used for its URI, for tests.
    pub fn register(&self, bucket: Bucket) {
        let name = bucket.uri("").bucket_key().to_owned();
        self.buckets.lock().unwrap_or_else(PoisonError::into_inner).insert(name, bucket);
    }
}
