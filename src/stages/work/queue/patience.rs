//! How long a broker may be away: it is restarted, or moved to another machine.

use std::time::Duration;

use super::Standing;
use crate::vocabulary::error::{Error, Kind, Result};
use crate::vocabulary::time::Timestamp;

/// Longer, and this worker cannot go on.
const LIMIT: Duration = Duration::from_mins(1);

/// Since when a broker has not answered, or has given nothing although it has something.
#[derive(Debug, Default)]
pub struct Patience {
    away_since: Option<Timestamp>,
    in_vain_since: Option<Timestamp>,
}

impl Patience {
    /// How long to wait until it is asked again.
    pub const PAUSE: Duration = Duration::from_secs(1);

    /// Notes that it has answered.
    pub fn answered(&mut self) {
        self.away_since = None;
    }

    /// Notes that it has given a message, or had none to give.
    pub fn served(&mut self) {
        *self = Self::default();
    }

    /// Bears a pull that brought nothing, although there are messages that nobody was given.
    ///
    /// # Errors
    ///
    /// `Unavailable` if that has been so for long: the consumer is paused, or this user may not pull.
    pub fn bear_vain_pull(&mut self, standing: Standing, now: Timestamp) -> Result<()> {
        self.away_since = None;
        let since = *self.in_vain_since.get_or_insert(now);
        if now.since(since) < LIMIT {
            return Ok(());
        }
        Err(Error::unavailable(format!("the queue has {} messages, and gives none", standing.pending)).hint(
            "look whether its consumer is paused, and whether this user may publish to $JS.API.CONSUMER.MSG.NEXT.>",
        ))
    }

    /// Bears an error of the broker for now.
    ///
    /// # Errors
    ///
    /// The error itself, unless it says that the broker is away, and it has not been so for long.
    pub fn bear(&mut self, error: Error, now: Timestamp) -> Result<()> {
        if error.kind() != Kind::Unavailable {
            return Err(error);
        }
        if self.away_since.is_none() {
            tracing::warn!("the queue does not answer, and is asked again: {error}");
        }
        let since = *self.away_since.get_or_insert(now);
        if now.since(since) < LIMIT { Ok(()) } else { Err(error) }
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    #[test]
    fn a_broker_may_be_away_for_a_minute_each_time() {
        let after = |seconds| Timestamp::from(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
        let mut patience = Patience::default();
        let away = || Error::unavailable("away");
        assert!(patience.bear(away(), after(0)).is_ok());
        assert!(patience.bear(away(), after(59)).is_ok());
        patience.answered();
        assert!(patience.bear(away(), after(60)).is_ok());
        assert!(patience.bear(away(), after(120)).is_err());
        assert!(Patience::default().bear(Error::config("refused"), after(0)).is_err(), "no time helps");
        let standing = Standing { pending: 3, held: 0 };
        assert!(patience.bear_vain_pull(standing, after(120)).is_ok());
        assert!(patience.bear_vain_pull(standing, after(179)).is_ok());
        assert!(patience.bear_vain_pull(standing, after(180)).is_err());
        patience.served();
        assert!(patience.bear_vain_pull(standing, after(181)).is_ok());
    }
}
