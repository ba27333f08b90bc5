//! Moments, and the clock that tells them: an argument, so that a simulation has its own.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime};

use futures::FutureExt;
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};

/// Tells the time and lets it pass.
pub trait Clock: fmt::Debug + Send + Sync {
    /// Returns the present moment.
    fn now(&self) -> Timestamp;

    /// Waits until this much time has passed.
    fn sleep(&self, time: Duration) -> BoxFuture<'static, ()>;

    /// Waits until this much time has passed since a moment of this clock, at most so long from now.
    fn sleep_since(&self, moment: Timestamp, time: Duration) -> BoxFuture<'static, ()> {
        self.sleep(time.saturating_sub(self.now().since(moment)))
    }
}

/// The clock of this machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp(SystemTime::now())
    }

    fn sleep(&self, time: Duration) -> BoxFuture<'static, ()> {
        tokio::time::sleep(time).boxed()
    }
}

/// A moment in UTC, to the nanosecond; as text RFC 3339.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Timestamp(SystemTime);

impl Timestamp {
    /// Returns the moment just after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + Duration::from_nanos(1))
    }

    /// Returns the time since an earlier moment; none if that was later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        self.0.duration_since(earlier.0).unwrap_or_default()
    }

    /// Writes the moment to the second, for people.
    #[must_use]
    pub fn to_the_second(self) -> String {
        humantime::format_rfc3339_seconds(self.0).to_string()
    }
}

impl From<Timestamp> for SystemTime {
    fn from(moment: Timestamp) -> Self {
        moment.0
    }
}

impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Self {
        Self(time)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_rfc3339_nanos(self.0).fmt(f)
    }
}

impl FromStr for Timestamp {
    type Err = humantime::TimestampError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        humantime::parse_rfc3339(text).map(Self)
    }
}

impl From<Timestamp> for String {
    fn from(moment: Timestamp) -> Self {
        moment.to_string()
    }
}

impl TryFrom<String> for Timestamp {
    type Error = humantime::TimestampError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_keep_their_nanoseconds() {
        let moment: Timestamp = "2026-11-25T07:13:55.000000009Z".parse().unwrap();
        assert_eq!(moment.next().to_string(), "2026-11-25T07:13:55.000000010Z");
        assert_eq!(moment.to_the_second(), "2026-11-25T07:13:55Z");
        let json = serde_json::to_string(&moment).unwrap();
        assert_eq!(serde_json::from_str::<Timestamp>(&json).unwrap(), moment);
    }
}
