//! The session's thread: takes batches of chips, runs them, hands the outcomes back.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Instant;

use crate::observe::Progress;
use crate::output::table::{EmbeddingType, check_embedding};
use crate::runtime::Failure;
use crate::stages::infer::{InputBatch, Outputs, SamplesMut, SessionSlot};
use crate::stages::pipeline::batches::Batches;
use crate::stages::pipeline::budget::Reservation;
use crate::stages::pipeline::shard::OpenShard;
use crate::stages::pipeline::stop::Stop;
use crate::stages::pipeline::tensor::{SpareTensors, Tensor};
use crate::stages::sink::Scorer;
use crate::vocabulary::error::{Error, Result};
use crate::vocabulary::outcome::Prediction;
use crate::vocabulary::reason::Rejection;

/// One chip as the model wants it.
pub struct QueuedChip {
    /// The shard it belongs to.
    pub shard: Arc<OpenShard>,
    /// Its place in the shard.
    pub index: usize,
    /// The samples in the contract's layout, until they are in a batch.
    pub tensor: Option<Tensor>,
    /// What the row says beside its prediction.
    pub detail: Option<String>,
    /// Its bytes in the queue.
    pub reservation: Option<Reservation>,
}

/// What a session's thread needs.
pub struct InferLoop {
    /// The session and its device; one session a thread.
    pub slot: SessionSlot,
    /// Prepared chips; ends when every sender is gone.
    pub chips: Batches<QueuedChip>,
    /// From logits to scores; `None` for a headless model.
    pub scorer: Option<Scorer>,
    /// How embeddings are written, and so what they may hold.
    pub embedding_type: EmbeddingType,
    /// Where used buffers go.
    pub spare: Arc<SpareTensors>,
    /// Counters.
    pub progress: Arc<Progress>,
    /// Ends the loop early.
    pub stop: Stop,
}

impl InferLoop {
    /// Runs until the chips end.
    ///
    /// # Errors
    ///
    /// As the session, but that a batch which does not fit into memory is halved: the chips of that batch stay without outcome, so their shards stay open.
    pub fn run(mut self) -> Result<()> {
        let mut batch = self.slot.runner.new_batch(self.slot.device.batch())?;
        loop {
            let waited = Instant::now();
            let gathered = self.chips.next();
            self.progress.infer_waited(waited.elapsed());
            let Some(mut gathered) = gathered else { return Ok(()) };
            if self.stop.stopped() {
                // Only what can still become a whole shard is worth the time that is left.
                gathered.retain(|chip| chip.shard.fed());
            }
            self.infer(&mut batch, gathered)?;
        }
    }

    /// Infers chips in as many batches as it takes.
    fn infer(&mut self, batch: &mut InputBatch, mut chips: Vec<QueuedChip>) -> Result<()> {
        if self.slot.device.batch().get() < batch.capacity() {
            self.shrink(batch)?;
        }
        while !chips.is_empty() {
            let rest = chips.split_off(chips.len().min(batch.capacity()));
            self.fill(batch, &mut chips);
            batch.set_len(chips.len());
            self.infer_filled(batch, chips)?;
            chips = rest;
        }
        Ok(())
    }

    /// Infers the chips that a batch holds.
    fn infer_filled(&mut self, batch: &mut InputBatch, chips: Vec<QueuedChip>) -> Result<()> {
        let started = Instant::now();
        match self.slot.runner.run(batch) {
            Ok(outputs) => {
                self.progress.inferred(chips.len(), started.elapsed());
                self.settle_all(chips, &outputs);
                Ok(())
            }
            Err(Failure::OutOfMemory(error)) => self.infer_smaller(batch, chips, error),
            Err(Failure::Other(error)) => Err(error),
        }
    }

    /// Infers the chips of a batch that does not fit into memory in smaller ones.
    fn infer_smaller(
        &mut self,
        batch: &mut InputBatch,
        mut chips: Vec<QueuedChip>,
        error: Error,
    ) -> Result<()> {
        let too_large = NonZeroUsize::new(batch.capacity()).expect("a batch has room for a chip");
        // A model that takes one size only cannot be helped.
        if self.slot.runner.static_batch().is_some() || self.slot.device.halve(too_large).is_none() {
            return Err(error);
        }
        let whole = batch.in_ordinary_memory();
        self.shrink(batch)?;
        let mut first = 0;
        while !chips.is_empty() {
            let rest = chips.split_off(chips.len().min(batch.capacity()));
            batch.copy_from(&whole, first..first + chips.len());
            first += chips.len();
            self.infer_filled(batch, chips)?;
            chips = rest;
        }
        Ok(())
    }

    /// Follows the device to the batch that fits it.
    fn shrink(&mut self, batch: &mut InputBatch) -> Result<()> {
        let size = self.slot.device.batch();
        self.slot.runner.shrink(size)?;
        *batch = self.slot.runner.new_batch(size)?;
        Ok(())
    }

    fn settle_all(&self, chips: Vec<QueuedChip>, outputs: &Outputs) {
        let embeddings = outputs.embeddings().chunks_exact(outputs.embeddings().len() / outputs.len());
        let logits = outputs.logits().map(|logits| logits.chunks_exact(logits.len() / outputs.len()));
        let mut logits = logits.into_iter().flatten();
        for (chip, embedding) in chips.into_iter().zip(embeddings) {
            self.settle(chip, embedding, logits.next());
        }
    }

    /// Copies the chips into the batch; their buffers and their places in the queue are free again.
    fn fill(&self, batch: &mut InputBatch, gathered: &mut [QueuedChip]) {
        let chip_len = batch.chip_len();
        for (slot, chip) in gathered.iter_mut().enumerate() {
            let Some(tensor) = chip.tensor.take() else { continue };
            let range = slot * chip_len..(slot + 1) * chip_len;
            match (batch.samples_mut(), &tensor) {
                (SamplesMut::U8(samples), Tensor::U8(chip)) => samples[range].copy_from_slice(chip),
                (SamplesMut::F32(samples), Tensor::F32(chip)) => samples[range].copy_from_slice(chip),
                _ => unreachable!("chips and batches are made from the same contract"),
            }
            self.spare.give_back(tensor);
            chip.reservation.take();
        }
    }

    fn settle(&self, chip: QueuedChip, embedding: &[f32], logits: Option<&[f32]>) {
        let QueuedChip { shard, index, detail, .. } = chip;
        match self.judge(embedding, logits) {
            Ok(prediction) => shard.accept(index, embedding, prediction, detail),
            Err(rejection) => {
                self.progress.not_finite();
                shard.reject(index, rejection);
            }
        }
    }

    fn judge(&self, embedding: &[f32], logits: Option<&[f32]>) -> Result<Option<Prediction>, Rejection> {
        check_embedding(self.embedding_type, embedding)?;
        let scored = self.scorer.as_ref().zip(logits);
        scored.map(|(scorer, logits)| scorer.predict(logits)).transpose()
    }
}
