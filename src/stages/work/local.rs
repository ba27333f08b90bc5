//! Whatever is still open of a run, for one worker.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;

use super::{Backlog, Lease, Next, PutBack, WorkSource, is_committed, open_shards};
use crate::output::Run;
use crate::vocabulary::error::Result;

/// Only a lease of the worker itself can bring work back, and it knows when one ends.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// The open shards of a run, each leased to one holder at a time in this process.
///
/// Workers beside this one commit shards too: each shard is looked at again just before it is handed out, and each
/// worker begins somewhere else, so that two of them seldom work on the same shard. When they do, one commit wins and
/// nothing is lost but the work. Leases do not expire.
pub struct OpenShards {
    run: Arc<Run>,
    backlog: Backlog,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    order: VecDeque<u32>,
    leased: HashMap<u64, u32>,
    /// Handed out once nothing else is left.
    later: BTreeSet<u32>,
    num_leases: u64,
}

impl OpenShards {
    /// Lists what is open; `begin` turns the order, as a fraction of it in 0 to 1.
    ///
    /// # Errors
    ///
    /// As the store answers.
    pub async fn of(run: Arc<Run>, begin: f64) -> Result<Self> {
        let mut open = open_shards(&run).await?;
        let first = (open.len() as f64 * begin.clamp(0.0, 1.0)) as usize;
        let first = first.min(open.len().saturating_sub(1));
        open.rotate_left(first);
        let tiles = open.iter().map(|number| run.num_tiles(*number)).sum();
        let backlog = Backlog { first: open.first().copied(), tiles };
        let state = State { order: open.into(), ..State::default() };
        Ok(Self { run, backlog, state: Mutex::new(state) })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn look(&self, lease: Lease) -> Result<Next> {
        match is_committed(&self.run, lease.shard).await {
            Ok(false) => Ok(Next::Shard(lease)),
            Ok(true) => {
                self.state().end(&lease)?;
                Ok(Next::Elsewhere(lease.shard))
            }
            Err(error) => {
                let mut state = self.state();
                state.end(&lease)?;
                state.order.push_front(lease.shard);
                Err(error)
            }
        }
    }
}

impl State {
    /// Leases the next shard, or says what else is to be done.
    fn lease(&mut self) -> Result<Lease, Next> {
        if self.order.is_empty() && self.leased.is_empty() {
            self.order.extend(std::mem::take(&mut self.later));
        }
        match self.order.pop_front() {
            Some(shard) => {
                self.num_leases += 1;
                self.leased.insert(self.num_leases, shard);
                Ok(Lease { shard, id: self.num_leases, renew_every: None })
            }
            None if self.leased.is_empty() => Err(Next::Done),
            None => Err(Next::Wait(ASK_AGAIN)),
        }
    }

    fn end(&mut self, lease: &Lease) -> Result<()> {
        match self.leased.remove(&lease.id) {
            Some(_) => Ok(()),
            None => Err(lease.ended()),
        }
    }
}

impl WorkSource for OpenShards {
    fn backlog(&self) -> Backlog {
        self.backlog
    }

    fn next(&self) -> BoxFuture<'_, Result<Next>> {
        async {
            let leased = self.state().lease();
            match leased {
                Ok(lease) => self.look(lease).await,
                Err(next) => Ok(next),
            }
        }
        .boxed()
    }

    fn renew<'a>(&'a self, lease: &'a Lease) -> BoxFuture<'a, Result<()>> {
        let held = self.state().leased.contains_key(&lease.id);
        std::future::ready(if held { Ok(()) } else { Err(lease.ended()) }).boxed()
    }

    fn done<'a>(&'a self, lease: &'a Lease) -> BoxFuture<'a, Result<()>> {
        std::future::ready(self.state().end(lease)).boxed()
    }

    fn put_back<'a>(&'a self, lease: &'a Lease, how: PutBack) -> BoxFuture<'a, Result<()>> {
        let mut state = self.state();
        let ended = state.end(lease);
        match how {
            _ if ended.is_err() => {}
            PutBack::Now => state.order.push_back(lease.shard),
            PutBack::Later => drop(state.later.insert(lease.shard)),
            PutBack::LeftOpen => {}
        }
        std::future::ready(ended).boxed()
    }
}
