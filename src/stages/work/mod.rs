//! Where a worker gets its next shard from.
//!
//! So far one way: whatever is still open of a run, on this machine. Arrays and queues move in beside it.

use std::collections::HashSet;
use std::sync::Arc;

use crate::input::storage::StoreError;
use crate::observe::Progress;
use crate::output::Run;
use crate::vocabulary::error::Result;

/// The open shards of a run, each handed out once in this process.
///
/// Workers beside this one commit shards too: each shard is looked at again just before it is handed
/// out, and each worker begins somewhere else, so that two of them seldom work on the same shard. When
/// they do, one commit wins and nothing is lost but the work.
pub struct OpenShards {
    run: Arc<Run>,
    order: std::vec::IntoIter<u32>,
}

impl OpenShards {
    /// Lists what is open; `begin` turns the order, as a fraction of it in 0 to 1.
    ///
    /// # Errors
    ///
    /// As the store answers.
    pub async fn of(run: Arc<Run>, begin: f64, progress: &Progress) -> Result<Self> {
        let committed: HashSet<u32> =
            run.committed().await?.shards.iter().map(|shard| shard.number).collect();
        let mut open: Vec<u32> = (0..run.num_shards()).filter(|number| !committed.contains(number)).collect();
        let first = (open.len() as f64 * begin.clamp(0.0, 1.0)) as usize;
        let first = first.min(open.len().saturating_sub(1));
        open.rotate_left(first);
        let open_tiles: u64 = open.iter().map(|number| run.num_tiles(*number)).sum();
        progress.begin(run.record.plan.tiles, run.record.plan.tiles - open_tiles);
        Ok(Self { run, order: open.into_iter() })
    }

    /// Hands these shards out once more, when none is left.
    pub fn again(&mut self, shards: Vec<u32>) {
        self.order = shards.into_iter();
    }

    /// Returns the shard that comes next unless somebody else commits it, and the number of tiles of all that
    /// are left.
    #[must_use]
    pub fn peek(&self) -> Option<(u32, u64)> {
        let left = self.order.as_slice();
        Some((*left.first()?, left.iter().map(|number| self.run.num_tiles(*number)).sum()))
    }

    /// Returns the next shard that nobody has committed; `None` when there is none left.
    ///
    /// # Errors
    ///
    /// As the store answers.
    pub async fn next(&mut self, progress: &Progress) -> Result<Option<u32>> {
        for number in self.order.by_ref() {
            let key = self.run.shard_key(number);
            match self.run.output.bucket.head(&key).await {
                Ok(_) => progress.done_elsewhere(self.run.num_tiles(number)),
                Err(StoreError::Gone) => return Ok(Some(number)),
                Err(fault) => return Err(fault.into_error(&key)),
            }
        }
        Ok(None)
    }
}
