//! Objects that cannot be read for now: put off, counted, and given up in the end.
//!
//! ```text
//! trouble with one object ─▶ do others of its host answer?
//!                               ├▶ none: the host is away. Where all sources lie there the run stops;
//!                               │        else its tiles are put off, and nothing is counted
//!                               ├▶ few: put off, and nothing is counted
//!                               └▶ enough: a try is written down ─▶ enough tries? a reject; else put off
//! ```

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::outage_check::Others;
use super::{Fetcher, Miss};
use crate::config::Unreadable;
use crate::input::storage::{ObjectUri, Trouble};
use crate::output::AttemptState;
use crate::vocabulary::error::{Error, Kind, Result};
use crate::vocabulary::reason::{Reason, Rejection};
use crate::vocabulary::words::{counted, form};

/// A host that was seen to be away is asked again after so long.
const AWAY: Duration = Duration::from_mins(5);
/// So many objects are named in a message.
const MAX_NAMED: usize = 3;

/// What a fetcher remembers of objects that it could not read.
pub(super) struct Troubles {
    rule: Unreadable,
    sources: Mutex<BTreeMap<u64, Known>>,
    away: Mutex<HashMap<String, Instant>>,
}

/// A source that was put off, here or by another process.
enum Known {
    /// Another process has tried it in vain.
    TriedBefore,
    /// It was put off by this process.
    PutOff(PutOff),
    /// It is a reject.
    GivenUp(Rejection),
}

/// Why a source was put off.
struct PutOff {
    uri: ObjectUri,
    why: String,
    /// What all tries amount to; `None` if this one did not count.
    standing: Option<AttemptState>,
}

impl Troubles {
    pub(super) fn new(rule: Unreadable) -> Self {
        Self { rule, sources: Mutex::default(), away: Mutex::default() }
    }

    fn sources(&self) -> MutexGuard<'_, BTreeMap<u64, Known>> {
        self.sources.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns what is known of a source without asking for it: that it is given up, or that its host is away.
    pub(super) fn known(&self, source_id: u64, uri: &ObjectUri) -> Option<Miss> {
        if let Some(Known::GivenUp(rejection)) = self.sources().get(&source_id) {
            return Some(Miss::Rejected(rejection.clone()));
        }
        if !self.is_away(uri.bucket_key()) {
            return None;
        }
        let why = "its host does not answer".to_owned();
        self.put_off(source_id, PutOff { uri: uri.clone(), why, standing: None });
        Some(Miss::PutOff)
    }

    fn is_away(&self, host: &str) -> bool {
        let away = self.away.lock().unwrap_or_else(PoisonError::into_inner);
        away.get(host).is_some_and(|since| since.elapsed() < AWAY)
    }

    fn put_off(&self, source_id: u64, put_off: PutOff) {
        let mut sources = self.sources();
        // What was counted says more than that the host went away later.
        let counted =
            matches!(sources.get(&source_id), Some(Known::PutOff(PutOff { standing: Some(_), .. })));
        if put_off.standing.is_some() || !counted {
            sources.insert(source_id, Known::PutOff(put_off));
        }
    }

    /// Notes that a source can be read after all.
    pub(super) fn was_read(&self, source_id: u64) {
        let mut sources = self.sources();
        if matches!(sources.get(&source_id), Some(Known::TriedBefore | Known::PutOff(_))) {
            sources.remove(&source_id);
        }
    }
}

impl Fetcher {
    /// Finds out which sources other processes have tried in vain: they are worked on last.
    ///
    /// # Errors
    ///
    /// As the output's store answers.
    pub async fn learn_of_attempts(&self) -> Result<()> {
        let tried = self.run.attempted_sources().await?;
        self.troubles.sources().extend(tried.into_iter().map(|id| (id, Known::TriedBefore)));
        Ok(())
    }

    /// Returns whether any of these sources could not be read so far.
    pub fn is_troubled(&self, mut source_ids: impl Iterator<Item = u64>) -> bool {
        let sources = self.troubles.sources();
        let is_open = |known: &Known| !matches!(known, Known::GivenUp(_));
        !sources.is_empty() && source_ids.any(|id| sources.get(&id).is_some_and(is_open))
    }

    /// Asks hosts again that were seen to be away.
    pub fn try_hosts_again(&self) {
        self.troubles.away.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Decides about an object that could not be read since `began`.
    pub(super) async fn judge_trouble(
        &self,
        error: Error,
        source_id: u64,
        uri: &ObjectUri,
        began: Instant,
    ) -> Result<Miss> {
        let Some(trouble) = Trouble::of(&error) else { return Err(error) };
        let troubles = &self.troubles;
        let why = error.causes().pop().unwrap_or_else(|| error.to_string());
        let put_off = |standing| PutOff { uri: uri.clone(), why: why.clone(), standing };
        match self.outage_check().others_answer(uri, began, troubles.rule.others).await? {
            Others::None if error.kind() == Kind::Config || self.is_only_host(uri).await? => {
                return Err(error);
            }
            Others::None => {
                let mut away = troubles.away.lock().unwrap_or_else(PoisonError::into_inner);
                let host = uri.bucket_key();
                if away.insert(host.to_owned(), Instant::now()).is_none() {
                    let host = uri.bucket_name();
                    tracing::warn!("{host} does not answer ({why}); its tiles are postponed");
                }
            }
            Others::Few => {}
            Others::Enough => {
                let standing = self.run.record_attempt(source_id, trouble.code()).await?;
                tracing::warn!("{uri} cannot be read, but others of its host can: {why}");
                if standing.is_given_up(&troubles.rule) {
                    let rejection = given_up(trouble, standing);
                    troubles.sources().insert(source_id, Known::GivenUp(rejection.clone()));
                    return Ok(Miss::Rejected(rejection));
                }
                troubles.put_off(source_id, put_off(Some(standing)));
                return Ok(Miss::PutOff);
            }
        }
        troubles.put_off(source_id, put_off(None));
        Ok(Miss::PutOff)
    }

    /// Returns whether all sources of the run lie where this one does: then there is nothing to go on with.
    async fn is_only_host(&self, uri: &ObjectUri) -> Result<bool> {
        let sources = &self.run.sources;
        let last = sources.num_sources().saturating_sub(1);
        let mut hosts = Vec::new();
        for id in [0, last] {
            let found = sources.read(id..id + 1).await?.sources;
            hosts.extend(found.iter().map(|source| ObjectUri::of(&source.uri)));
        }
        // Sources are in the order of their URIs, so that those of one host lie together.
        Ok(hosts.into_iter().all(|found| found.is_ok_and(|found| found.bucket_key() == uri.bucket_key())))
    }

    /// Returns what a run deserves whose shards stay open since objects could not be read.
    #[must_use]
    pub fn put_off_error(&self, num_shards: usize) -> Error {
        let rule = &self.troubles.rule;
        let sources = self.troubles.sources();
        let put_off: Vec<&PutOff> = sources
            .values()
            .filter_map(|known| if let Known::PutOff(put_off) = known { Some(put_off) } else { None })
            .collect();
        let num_shards = num_shards as u64;
        let (objects, shards) = (counted(put_off.len() as u64, "object"), counted(num_shards, "shard"));
        let verb = form(num_shards, "stays", "stay");
        let mut named = String::new();
        for put_off in put_off.iter().take(MAX_NAMED) {
            let separator = if named.is_empty() { "" } else { "; " };
            write!(named, "{separator}{}", put_off.words(rule)).expect("writing to a string cannot fail");
        }
        if put_off.len() > MAX_NAMED {
            write!(named, "; and {} more", put_off.len() - MAX_NAMED)
                .expect("writing to a string cannot fail");
        }
        let Unreadable { tries, runs, after, others } = rule;
        let after = humantime::format_duration(*after);
        Error::unavailable(format!("{objects} cannot be read for now, so {shards} {verb} open"))
            .because(named)
            .hint(format!(
                "run the same command again: after {tries} {} in {} or {after}, while {} of its host {}, an \
                 object becomes a reject (see limits.unreadable_tries)",
                form(*tries as u64, "try", "tries"),
                counted(*runs as u64, "run"),
                counted(*others as u64, "other"),
                form(*others as u64, "answers", "answer")
            ))
    }
}

impl PutOff {
    fn words(&self, rule: &Unreadable) -> String {
        let counted = match self.standing {
            Some(AttemptState { tries, runs, .. }) => {
                format!("try {tries} of {}, run {runs} of {}", rule.tries, rule.runs)
            }
            None => "not counted, since too few others of its host answer".to_owned(),
        };
        format!("{}: {} ({counted})", self.uri, self.why)
    }
}

fn given_up(trouble: Trouble, standing: AttemptState) -> Rejection {
    let AttemptState { tries, runs, span } = standing;
    let hours = span.as_secs_f64() / 3600.0;
    let detail = format!(
        "it could not be read in {tries} {}, {} and {hours:.1} hours, while others of its host were; last: {}",
        form(tries as u64, "try", "tries"),
        counted(runs as u64, "run"),
        trouble.code()
    );
    Rejection::new(Reason::Unreadable, detail)
}
