//! Which part of a run's shards a worker of an array begins with.

use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use crate::vocabulary::error::{Error, Result};

/// The part `index` of `num` of a run's shards, counted from 0.
///
/// It is a hint where to begin, and no right: workers that believe in different numbers lose and double nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    pub(super) index: u32,
    num: u32,
}

impl Share {
    /// Returns the share; `None` unless `index` is below `num`.
    #[must_use]
    pub fn new(index: u32, num: u32) -> Option<Self> {
        (index < num).then_some(Self { index, num })
    }

    /// Returns whether it is the first of all.
    #[must_use]
    pub fn is_first(self) -> bool {
        self.index == 0
    }

    /// Returns its shards: neighbours in the plan. All shares of one `num` cover each shard once; with more shares than
    /// shards some are empty.
    #[must_use]
    pub fn shards(self, num_shards: u32) -> Range<u32> {
        let begin = |index: u32| (u64::from(index) * u64::from(num_shards) / u64::from(self.num)) as u32;
        begin(self.index)..begin(self.index + 1)
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.index, self.num)
    }
}

impl FromStr for Share {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let numbers = text.split_once('/').map(|(index, num)| (index.parse().ok(), num.parse().ok()));
        let wrong = |what: &str| {
            Error::usage(format!("`--share {text}` is not a share: {what}")).hint(
                "of n workers the first has 0/n, the last n-1/n; in an array job `auto` finds the share",
            )
        };
        match numbers {
            Some((Some(index), Some(num))) => {
                Self::new(index, num).ok_or_else(|| wrong("the first number must be below the second"))
            }
            _ => Err(wrong("two whole numbers are needed")),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Every shard is in one share, and no share has two shards more than another.
        #[test]
        fn shares_cover_each_shard_once(num_shards in 0_u32..5000, num in 1_u32..300) {
            let shares: Vec<_> = (0..num).filter_map(|index| Share::new(index, num)).collect();
            let shards: Vec<u32> = shares.iter().flat_map(|share| share.shards(num_shards)).collect();
            prop_assert_eq!(shards, (0..num_shards).collect::<Vec<_>>());
            let sizes = shares.iter().map(|share| share.shards(num_shards).len());
            prop_assert!(sizes.clone().max().unwrap() - sizes.min().unwrap() <= 1);
        }
    }

    #[test]
    fn a_share_is_read_as_it_is_shown() {
        let share: Share = "2/8".parse().unwrap();
        assert_eq!((share.to_string(), share.shards(16)), ("2/8".to_owned(), 4..6));
        for wrong in ["8/8", "0/0", "1", "1/", "-1/4", "a/b", "1/2/3", ""] {
            let error = wrong.parse::<Share>().unwrap_err();
            assert_eq!(error.kind().exit_code(), 64, "{wrong}");
        }
    }
}
