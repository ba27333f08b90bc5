//! A few tiles of a run, fetched to be decoded again and again: what decoding costs this run.

use bytes::Bytes;

use super::{Stages, UNKNOWN_SIZE_BYTES};
use crate::stages::decode::Decoder;
use crate::vocabulary::error::Result;

/// So many tiles stand for all.
const TILES: usize = 8;

impl Stages {
    /// Fetches the first tiles of a shard; those that cannot be fetched are left out, and so are windows, whose
    /// sources are too large to be fetched whole.
    ///
    /// # Errors
    ///
    /// As the fetcher.
    pub async fn sample(&self, shard: u32) -> Result<Vec<Bytes>> {
        let mut sample = Vec::new();
        if self.tiling.is_some() {
            return Ok(sample);
        }
        let shard = self.run.shard(shard).await?;
        for tile in shard.tiles.iter().take(TILES) {
            let fetched = self.fetcher.fetch(std::slice::from_ref(tile), UNKNOWN_SIZE_BYTES).await?;
            sample.extend(fetched.into_iter().filter_map(|tile| Some(tile.ok()?.bytes)));
        }
        Ok(sample)
    }

    /// Decodes and preprocesses an image as for the model, and throws the chip away.
    pub fn decode_for_nothing(&self, bytes: &[u8]) {
        if let Ok(image) = self.open(bytes)
            && let Ok(tensor) = self.tensor(&Decoder::Here, &image, bytes)
        {
            self.spare.give_back(tensor);
        }
    }
}
