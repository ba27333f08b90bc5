//! The queue of a pipeline, for the commands that use it.

use crate::stages::work::queue::Nats;
use crate::stages::worker::Job;
use crate::vocabulary::error::{Error, Result};

/// Connects to the queue of a pipeline.
///
/// # Errors
///
/// `Config` if the pipeline names none; as [`Nats::connect`].
pub async fn connect(job: &Job) -> Result<Nats> {
    let missing = || {
        Error::config("the pipeline names no queue")
            .hint("set `queue.url`, such as --set queue.url=nats://localhost:4222; without a queue use `tilefleet run`")
    };
    let options = job.pipeline().queue.as_ref().ok_or_else(missing)?;
    Nats::connect(options, &job.output().uri.to_string(), &job.series()).await
}
