//! How slowly an answer may come.

use std::fmt;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::{Stream, StreamExt as _};

/// The longest silence, and the least rate over as long a time.
#[derive(Clone, Copy, Debug)]
pub(super) struct LeastPace {
    pub(super) silence: Duration,
    pub(super) bytes_a_second: u64,
}

/// An answer was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TooSlow {
    /// Nothing came for so long.
    Silent(Duration),
    /// The rate was below this many bytes per second.
    Dripping(u64),
}

/// Why the next piece did not come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PieceError<E> {
    /// The answer was given up.
    TooSlow(TooSlow),
    /// The answer broke off.
    Failed(E),
}

impl<E> From<TooSlow> for PieceError<E> {
    fn from(slow: TooSlow) -> Self {
        Self::TooSlow(slow)
    }
}

impl fmt::Display for TooSlow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Silent(silence) => write!(f, "no data for {silence:?}"),
            Self::Dripping(rate) => write!(f, "less than {rate} bytes per second (storage.min_rate)"),
        }
    }
}

/// The pace of one answer. Only time spent waiting for it counts, not what its reader does with the pieces.
pub(super) struct Pace {
    least: LeastPace,
    waited: Duration,
    num_bytes: u64,
}

impl LeastPace {
    /// Begins with an answer.
    pub(super) fn begin(self) -> Pace {
        Pace { least: self, waited: Duration::ZERO, num_bytes: 0 }
    }
}

impl Pace {
    /// Waits for the next piece.
    ///
    /// # Errors
    ///
    /// [`PieceError`]: the answer is too slow, and is to be given up, or it failed.
    pub(super) async fn next<E>(
        &mut self,
        pieces: &mut (impl Stream<Item = Result<Bytes, E>> + Unpin),
    ) -> Result<Option<Bytes>, PieceError<E>> {
        let LeastPace { silence, bytes_a_second } = self.least;
        let began = Instant::now();
        let piece = tokio::time::timeout(silence, pieces.next()).await;
        let piece = piece.map_err(|_| TooSlow::Silent(silence))?;
        let piece = piece.transpose().map_err(PieceError::Failed)?;
        self.waited += began.elapsed();
        self.num_bytes += piece.as_ref().map_or(0, |piece| piece.len() as u64);
        if self.waited >= silence {
            if piece.is_some() && (self.num_bytes as f64) < bytes_a_second as f64 * self.waited.as_secs_f64()
            {
                return Err(TooSlow::Dripping(bytes_a_second).into());
            }
            (self.waited, self.num_bytes) = (Duration::ZERO, 0);
        }
        Ok(piece)
    }
}

#[cfg(test)]
mod tests {
    use futures::stream;

    use super::*;

    /// A stream that brings `num_bytes` every `pause`.
    fn drip(num_bytes: usize, pause: Duration) -> impl Stream<Item = Result<Bytes, ()>> + Unpin {
        let drop = move |left: u32| async move {
            tokio::time::sleep(pause).await;
            (left > 0).then(|| (Ok(Bytes::from(vec![0; num_bytes])), left - 1))
        };
        Box::pin(stream::unfold(100, drop))
    }

    async fn drained(num_bytes: usize, pause: u64, least: LeastPace) -> Result<usize, PieceError<()>> {
        let mut pieces = drip(num_bytes, Duration::from_millis(pause));
        let (mut pace, mut total) = (least.begin(), 0);
        while let Some(piece) = pace.next(&mut pieces).await? {
            total += piece.len();
        }
        Ok(total)
    }

    #[tokio::test]
    async fn a_drip_is_given_up_and_a_slow_answer_is_not() {
        let least = LeastPace { silence: Duration::from_millis(100), bytes_a_second: 1000 };
        assert_eq!(drained(1, 10, least).await, Err(TooSlow::Dripping(1000).into()));
        assert_eq!(drained(100, 10, least).await, Ok(10_000));
        assert_eq!(drained(1 << 20, 200, least).await, Err(TooSlow::Silent(least.silence).into()));
    }

    #[tokio::test]
    async fn a_reader_that_takes_its_time_is_no_drip() {
        let least = LeastPace { silence: Duration::from_millis(50), bytes_a_second: 100_000 };
        let mut pieces = stream::iter((0..4).map(|_| Ok::<_, ()>(Bytes::from_static(b"x"))));
        let mut pace = least.begin();
        while pace.next(&mut pieces).await.unwrap().is_some() {
            tokio::time::sleep(Duration::from_millis(60)).await;
        }
    }
}
