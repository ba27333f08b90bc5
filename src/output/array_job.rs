//! `_tilefleet/<run-id>/jobs/<digest>`: which array jobs have worked on a run.
//!
//! Tasks of an array job may begin when the others have completed its run. By this object they know that nothing is left
//! for them: they neither list the input again nor plan what has come since. That is for the next job.

use bytes::Bytes;
use sha2::{Digest, Sha256};

use crate::input::storage::StoreError;
use crate::output::{Output, RunId};
use crate::vocabulary::error::{Error, Result};

/// For whoever finds the object.
const CONTENT: &[u8] = b"tasks of one array job have worked on this run\n";

/// One submission of an array job, as its engine tells it from others, and which of its tasks this process is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArrayJob {
    digest: String,
    task: u32,
}

impl ArrayJob {
    /// Describes the job with this name; no other has it. It is shown to nobody.
    ///
    /// - `task`: the number that the engine gives to this task, the same when it is started again
    #[must_use]
    pub fn new(name: &str, task: u32) -> Self {
        Self { digest: hex::encode(&Sha256::digest(name)[..16]), task }
    }

    /// Returns what no other task of any job is called.
    #[must_use]
    pub fn task_name(&self) -> String {
        format!("task {} of job {}", self.task, self.digest)
    }

    /// Returns the name of its object.
    pub(super) fn digest(&self) -> &str {
        &self.digest
    }
}

impl Output {
    /// Notes that a job works on a run.
    ///
    /// # Errors
    ///
    /// `Unavailable` if the run is deleted; as the store answers otherwise.
    pub async fn note_array_job(&self, run: &RunId, job: &ArrayJob) -> Result<()> {
        let key = self.layout.array_job(run, job);
        self.create(&key, Bytes::from_static(CONTENT)).await?;
        // A deletion lists what to remove after its tombstone is there: nothing of ours may come later.
        if self.is_deleted(run).await? {
            self.bucket.delete(&key).await?;
            return Err(
                Error::unavailable(format!("run {run} is deleted")).hint("run the same command again")
            );
        }
        Ok(())
    }

    /// Returns whether a job has worked on a run.
    ///
    /// # Errors
    ///
    /// As the store answers.
    pub async fn has_array_job(&self, run: &RunId, job: &ArrayJob) -> Result<bool> {
        let key = self.layout.array_job(run, job);
        match self.bucket.head(&key).await {
            Ok(_) => Ok(true),
            Err(StoreError::Gone) => Ok(false),
            Err(fault) => Err(fault.into_error(&key)),
        }
    }
}
