//! The leases that this worker holds: renewed while work goes on, ended, or put back when the worker stops.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use futures::future::{BoxFuture, join_all};
use tokio::sync::Notify;
use tokio::task::AbortHandle;

use crate::observe::Progress;
use crate::output::{BegunNote, Run};
use crate::stages::work::{Lease, Next, PutBack, WorkSource, is_committed};
use crate::vocabulary::error::{Kind, Result};
use crate::vocabulary::outcome::CommittedBy;
use crate::vocabulary::time::{Clock, Timestamp};

/// A shard that needs an object which cannot be read is tried so often again, when all others are done.
const MORE_PASSES: usize = 2;

/// Putting back what is held takes at most this long: the process has to end.
const PUT_BACK: Duration = Duration::from_secs(2);

/// The leases of one process.
pub(super) struct Leases {
    source: Arc<dyn WorkSource>,
    run: Arc<Run>,
    held: Mutex<HashMap<u64, Arc<HeldLease>>>,
    /// How often each shard was put off here.
    put_off: Mutex<HashMap<u32, usize>>,
    left_open: Mutex<BTreeSet<u32>>,
    ended: Notify,
    movement: Arc<Movement>,
}

/// Whether anything moves in this process: leases of a worker that hangs must end, so that others may have its shards.
struct Movement {
    progress: Arc<Progress>,
    /// After so long without any movement the process hangs.
    hangs_after: Duration,
    seen: Mutex<(u64, Timestamp)>,
}

impl Movement {
    fn is_seen(&self, now: Timestamp) -> bool {
        let steps = self.progress.steps();
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if steps != seen.0 {
            *seen = (steps, now);
        }
        now.since(seen.1) < self.hangs_after
    }
}

/// A lease, and whether it is still ours.
#[derive(Debug)]
pub struct HeldLease {
    lease: Lease,
    lost: AtomicBool,
    renewal: OnceLock<AbortHandle>,
    note: OnceLock<BegunNote>,
}

impl HeldLease {
    /// Returns the shard.
    #[must_use]
    pub fn shard(&self) -> u32 {
        self.lease.shard
    }

    /// Returns whether another worker may have it now: nothing more is to be done for its shard.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Relaxed)
    }

    /// Writes the note that its shard is begun, which goes when the lease ends; returns how many other processes have
    /// begun it, and not ended.
    pub(super) async fn begin(&self, run: &Run) -> Result<usize> {
        // It is known before it is there: a worker that stops meanwhile removes it.
        let note = self.note.get_or_init(|| run.begun_note(self.shard()));
        run.write_note(note).await
    }

    fn stop_renewing(&self) {
        if let Some(renewal) = self.renewal.get() {
            renewal.abort();
        }
    }
}

impl Drop for HeldLease {
    fn drop(&mut self) {
        self.stop_renewing();
    }
}

/// What came of asking for work.
pub(super) enum Answer {
    /// A shard to work on.
    Shard(Arc<HeldLease>),
    /// This shard is committed elsewhere.
    Elsewhere(u32),
    /// Nothing now: [`Leases::wait`] so long.
    Wait(Duration),
    /// Nothing is left.
    Done,
}

impl Leases {
    /// - `hangs_after`: a process in which nothing moves for so long extends no lease
    pub(super) fn new(
        source: Arc<dyn WorkSource>,
        run: Arc<Run>,
        progress: Arc<Progress>,
        hangs_after: Duration,
    ) -> Self {
        let seen = Mutex::new((progress.steps(), run.output.process.clock().now()));
        Self {
            source,
            run,
            held: Mutex::default(),
            put_off: Mutex::default(),
            left_open: Mutex::default(),
            ended: Notify::new(),
            movement: Arc::new(Movement { progress, hangs_after, seen }),
        }
    }

    fn clock(&self) -> &Arc<dyn Clock> {
        self.run.output.process.clock()
    }

    fn held(&self) -> MutexGuard<'_, HashMap<u64, Arc<HeldLease>>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put_off(&self) -> MutexGuard<'_, HashMap<u32, usize>> {
        self.put_off.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks the source for work.
    pub(super) async fn next(&self) -> Result<Answer> {
        let asked = self.clock().now();
        Ok(match self.source.next().await? {
            Next::Shard(lease) => Answer::Shard(self.hold(lease, asked)),
            Next::Elsewhere(shard) => Answer::Elsewhere(shard),
            Next::Wait(time) => Answer::Wait(time),
            Next::Done => Answer::Done,
        })
    }

    /// Waits so long, or until one of the leases has ended.
    pub(super) async fn wait(&self, time: Duration) {
        tokio::select! {
            () = self.ended.notified() => {}
            () = self.clock().sleep(time) => {}
        }
    }

    /// Holds a lease that began at some time after it was asked for: the answer may have been long on its way.
    fn hold(&self, lease: Lease, asked: Timestamp) -> Arc<HeldLease> {
        let (id, every) = (lease.id, lease.renew_every);
        let held = Arc::new(HeldLease {
            lease,
            lost: AtomicBool::new(false),
            renewal: OnceLock::new(),
            note: OnceLock::new(),
        });
        if let Some(every) = every {
            let renewal = Renewal {
                held: Arc::downgrade(&held),
                source: self.source.clone(),
                clock: self.clock().clone(),
                movement: self.movement.clone(),
            };
            let renewing = renewal.until_it_ends(asked, every);
            held.renewal.get_or_init(|| tokio::spawn(renewing).abort_handle());
        }
        self.held().insert(id, held.clone());
        held
    }

    /// Returns how often a shard was put off here.
    pub(super) fn num_put_off(&self, shard: u32) -> usize {
        self.put_off().get(&shard).copied().unwrap_or(0)
    }

    /// Returns how many shards stay open since this worker has tried them often enough, and no other has committed
    /// them.
    pub(super) async fn num_left_open(&self) -> Result<usize> {
        let left_open = self.left_open.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut num_open = 0;
        for shard in left_open {
            num_open += usize::from(!is_committed(&self.run, shard).await?);
        }
        Ok(num_open)
    }

    /// Ends the lease of a committed shard.
    pub(super) async fn done(&self, held: &HeldLease, by: CommittedBy) -> Result<()> {
        if by == CommittedBy::Theirs {
            self.source.another_was_first(&held.lease);
        }
        self.end(held, self.source.done(&held.lease)).await
    }

    /// Ends the lease of a shard that cannot be finished now: put off, or lost.
    pub(super) async fn give_up(&self, held: &HeldLease) -> Result<()> {
        if held.is_lost() {
            tracing::warn!(shard = held.shard(), "the lease is lost; another worker may have the shard");
            return self.end(held, Box::pin(std::future::ready(Ok(())))).await;
        }
        self.end(held, self.source.put_back(&held.lease, self.put_off_once_more(held.shard()))).await
    }

    fn put_off_once_more(&self, shard: u32) -> PutBack {
        let mut put_off = self.put_off();
        let times = put_off.entry(shard).or_default();
        *times += 1;
        if *times <= MORE_PASSES {
            return PutBack::Later;
        }
        self.left_open.lock().unwrap_or_else(PoisonError::into_inner).insert(shard);
        PutBack::LeftOpen
    }

    /// Ends a lease; that it was lost meanwhile changes nothing.
    async fn end(&self, held: &HeldLease, ending: BoxFuture<'_, Result<()>>) -> Result<()> {
        held.stop_renewing();
        // Before anybody else is given the shard.
        self.remove_note(held).await;
        let ended = ending.await;
        self.held().remove(&held.lease.id);
        self.ended.notify_one();
        match ended {
            Err(error) if error.kind() == Kind::LeaseLost => {
                tracing::debug!(shard = held.shard(), "the lease had ended");
                Ok(())
            }
            ended => ended,
        }
    }

    async fn remove_note(&self, held: &HeldLease) {
        if let Some(note) = held.note.get() {
            self.run.remove_note(note).await;
        }
    }

    /// Puts back all that is held, as far as the source can be reached: this worker stops.
    ///
    /// - `through_a_tile`: one of the tiles may be why; then the notes stay that these shards have been begun
    pub(super) async fn put_back_all(&self, through_a_tile: bool) {
        let held: Vec<_> = std::mem::take(&mut *self.held()).into_values().collect();
        for held in &held {
            held.stop_renewing();
        }
        let putting_back = held.iter().map(async |held| {
            if !through_a_tile {
                self.remove_note(held).await;
            }
            self.source.put_back(&held.lease, PutBack::Now).await
        });
        let put_back = tokio::time::timeout(PUT_BACK, join_all(putting_back)).await;
        for error in put_back.into_iter().flatten().filter_map(Result::err) {
            tracing::debug!("a lease was not put back and has to expire: {error}");
        }
    }
}

/// What keeps a lease.
struct Renewal {
    held: Weak<HeldLease>,
    source: Arc<dyn WorkSource>,
    clock: Arc<dyn Clock>,
    movement: Arc<Movement>,
}

impl Renewal {
    /// Renews the lease until it ends, one way or the other.
    async fn until_it_ends(self, asked: Timestamp, every: Duration) {
        let mut extended = asked;
        loop {
            self.clock.sleep_since(extended, every).await;
            extended = self.clock.now();
            let Some(held) = self.held.upgrade() else { return };
            if !self.movement.is_seen(extended) {
                tracing::warn!(
                    shard = held.shard(),
                    "nothing moves in this process, so its lease is not renewed"
                );
                continue;
            }
            match self.source.renew(&held.lease).await {
                Ok(()) => {}
                Err(error) if error.kind() == Kind::LeaseLost => {
                    held.lost.store(true, Ordering::Relaxed);
                    return;
                }
                // It stands until it expires; the next time may do.
                Err(error) => tracing::warn!(shard = held.shard(), "cannot renew a lease: {error}"),
            }
        }
    }
}
