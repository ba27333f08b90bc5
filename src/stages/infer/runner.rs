//! Where batches run: the seam between the pipeline and what computes.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::batch::InputBatch;
use super::outputs::Outputs;
use crate::runtime::failure::Failure;
use crate::vocabulary::error::Result;

/// What runs batches: a session of ONNX Runtime, or a stand-in for a device that nobody has.
pub trait BatchRunner: Send {
    /// Returns the only batch size that it takes; `None` if it can be made for any.
    fn static_batch(&self) -> Option<usize>;

    /// Allocates a batch from which it reads fast.
    ///
    /// # Errors
    ///
    /// `Unavailable` if memory runs out.
    fn new_batch(&self, capacity: NonZeroUsize) -> Result<InputBatch>;

    /// Runs the model on the chips of a batch.
    ///
    /// # Errors
    ///
    /// [`Failure::OutOfMemory`] if a smaller batch may do; else as [`super::Session::run`].
    fn run(&mut self, batch: &InputBatch) -> Result<Outputs, Failure>;

    /// Gives back what it holds, and makes ready for batches of this capacity.
    ///
    /// # Errors
    ///
    /// `Unavailable` if that does not fit into memory, either.
    fn shrink(&mut self, capacity: NonZeroUsize) -> Result<()>;
}

/// One session of a device, for one thread.
pub struct SessionSlot {
    /// What computes.
    pub runner: Box<dyn BatchRunner>,
    /// The device that it shares with other lanes.
    pub device: Arc<Device>,
}

/// A device, as its lanes see it: how many chips fit it at once.
#[derive(Debug)]
pub struct Device {
    name: String,
    batch: AtomicUsize,
}

impl Device {
    /// Describes a device that has not run out of memory yet.
    ///
    /// - `name`: as people know it, such as `cuda:0`
    #[must_use]
    pub fn new(name: String, batch: NonZeroUsize) -> Arc<Self> {
        Arc::new(Self { name, batch: AtomicUsize::new(batch.get()) })
    }

    /// Returns the device's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns how many chips per batch fit, as far as is known.
    #[must_use]
    pub fn batch(&self) -> NonZeroUsize {
        NonZeroUsize::new(self.batch.load(Ordering::Acquire)).unwrap_or(NonZeroUsize::MIN)
    }

    /// Notes that a batch did not fit: returns the size to continue with, `None` if there is none smaller.
    ///
    /// All lanes follow whoever halves first, and it is said once a size.
    pub fn halve(&self, too_large: NonZeroUsize) -> Option<NonZeroUsize> {
        let half = NonZeroUsize::new(too_large.get() / 2)?;
        let known = self.batch();
        if known < too_large {
            return Some(known);
        }
        if self.batch.compare_exchange(known.get(), half.get(), Ordering::AcqRel, Ordering::Acquire).is_ok() {
            tracing::warn!(
                device = self.name,
                "a batch of {too_large} does not fit into memory; continuing with {half} (`run.batch`)"
            );
        }
        Some(self.batch())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size(number: usize) -> NonZeroUsize {
        NonZeroUsize::new(number).unwrap()
    }

    #[test]
    fn lanes_follow_whoever_halves_first() {
        let device = Device::new("cuda:0".into(), size(64));
        assert_eq!(device.halve(size(64)), Some(size(32)));
        // Another lane fails at the old size a moment later.
        assert_eq!(device.halve(size(64)), Some(size(32)));
        assert_eq!(device.batch(), size(32));
        assert_eq!(device.halve(size(32)), Some(size(16)));
        assert_eq!(device.halve(size(1)), None);
    }
}
