//! The session's thread: takes batches of chips, runs them, hands the outcomes back.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Instant;

use crate::error::Result;
use crate::infer::{InputBatch, SamplesMut, Session};
use crate::model::contract::Input;
use crate::observe::Progress;
use crate::pipeline::batches::Batches;
use crate::pipeline::budget::Held;
use crate::pipeline::shard::OpenShard;
use crate::pipeline::stop::Stop;
use crate::pipeline::tensor::{SpareTensors, Tensor};
use crate::reason::Rejection;
use crate::sink::{EmbeddingType, Prediction, Scorer, check_embedding};

/// One chip as the model wants it.
pub struct Prepared {
    /// The shard it belongs to.
    pub shard: Arc<OpenShard>,
    /// Its place in the shard.
    pub index: usize,
    /// The samples in the contract's layout, until they are in a batch.
    pub tensor: Option<Tensor>,
    /// What the row says beside its prediction.
    pub detail: Option<String>,
    /// Its bytes in the queue.
    pub held: Option<Held>,
}

/// What a session's thread needs.
pub struct InferLoop {
    /// The session; one a thread.
    pub session: Session,
    /// Prepared chips; ends when every sender is gone.
    pub chips: Batches<Prepared>,
    /// Chips a session run; a shorter tail is padded.
    pub batch: NonZeroUsize,
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
    /// As the session: the chips of that batch stay without outcome, so their shards stay open.
    pub fn run(mut self, input: &Input) -> Result<()> {
        let mut batch = InputBatch::new(input, self.batch);
        loop {
            let waited = Instant::now();
            let gathered = self.chips.next();
            self.progress.infer_waited(waited.elapsed());
            let Some(mut gathered) = gathered else { return Ok(()) };
            if self.stop.stopped() {
                // Only what can still become a whole shard is worth the time that is left.
                gathered.retain(|chip| chip.shard.fed());
            }
            if !gathered.is_empty() {
                self.infer(&mut batch, gathered)?;
            }
        }
    }

    fn infer(&mut self, batch: &mut InputBatch, mut gathered: Vec<Prepared>) -> Result<()> {
        let started = Instant::now();
        self.fill(batch, &mut gathered);
        batch.set_len(gathered.len());
        let outputs = self.session.run(batch)?;
        self.progress.inferred(gathered.len(), started.elapsed());
        let embeddings = outputs.embeddings().chunks_exact(outputs.embeddings().len() / outputs.len());
        let logits = outputs.logits().map(|logits| logits.chunks_exact(logits.len() / outputs.len()));
        let mut logits = logits.into_iter().flatten();
        for (chip, embedding) in gathered.into_iter().zip(embeddings) {
            self.settle(chip, embedding, logits.next());
        }
        Ok(())
    }

    /// Copies the chips into the batch; their buffers and their places in the queue are free again.
    fn fill(&self, batch: &mut InputBatch, gathered: &mut [Prepared]) {
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
            chip.held.take();
        }
    }

    fn settle(&self, chip: Prepared, embedding: &[f32], logits: Option<&[f32]>) {
        let Prepared { shard, index, detail, .. } = chip;
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
