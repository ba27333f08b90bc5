//! Why a run exists.

use std::collections::HashSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::output::RunId;
use crate::vocabulary::error::Error;
use crate::vocabulary::words::counted;

/// Why a run exists.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// A pipeline was run over what was new or had changed.
    #[default]
    Pipeline,
    /// Rejected tiles were tried again; its rows replace those tiles only.
    Retry,
    /// The rows of other runs were copied into fewer files; nothing was computed.
    Compaction {
        /// The runs that it replaces, newest first.
        of: Vec<RunId>,
    },
}

impl Origin {
    /// Returns the runs that this one replaces; none unless it is a compaction.
    #[must_use]
    pub fn replaced(&self) -> &[RunId] {
        match self {
            Self::Pipeline | Self::Retry => &[],
            Self::Compaction { of } => of,
        }
    }

    /// Returns whether its rows are copies, made by `tilefleet runs compact`.
    #[must_use]
    pub fn is_compaction(&self) -> bool {
        matches!(self, Self::Compaction { .. })
    }

    /// Returns its name in one word.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Pipeline => "pipeline",
            Self::Retry => "retry",
            Self::Compaction { .. } => "compaction",
        }
    }

    /// Checks the origin of run `id`: a compaction replaces runs of its own family that were there before it.
    ///
    /// # Errors
    ///
    /// `Config` with the run that it cannot replace.
    pub fn check(&self, id: &RunId) -> Result<(), Error> {
        let mut seen = HashSet::new();
        let wrong = self.replaced().iter().find(|old| {
            old.family() != id.family() || old.sequence() >= id.sequence() || !seen.insert(old.sequence())
        });
        match wrong {
            Some(old) => Err(Error::config(format!("`origin` says that {id} replaces {old}"))),
            None => Ok(()),
        }
    }

    /// Returns how an unfinished run of this origin is resumed.
    #[must_use]
    pub fn how_to_go_on(&self) -> &'static str {
        match self {
            Self::Pipeline => "run the pipeline again to resume",
            Self::Retry => "`tilefleet rejects OUTPUT --retry` resumes it, and so does the pipeline",
            Self::Compaction { .. } => "`tilefleet runs OUTPUT compact` resumes it",
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pipeline | Self::Retry => f.write_str(self.name()),
            Self::Compaction { of } => write!(f, "compaction of {}", counted(of.len() as u64, "run")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_read_back_as_written() {
        let of = vec![RunId::new("tiles", "1a2b3c4d", 2), RunId::new("tiles", "1a2b3c4d", 1)];
        for (origin, text) in [
            (Origin::Pipeline, r#""pipeline""#),
            (Origin::Retry, r#""retry""#),
            (
                Origin::Compaction { of },
                r#"{"compaction":{"of":["tiles-1a2b3c4d-0002","tiles-1a2b3c4d-0001"]}}"#,
            ),
        ] {
            assert_eq!(serde_json::to_string(&origin).unwrap(), text);
            assert_eq!(serde_json::from_str::<Origin>(text).unwrap(), origin);
        }
        assert!(serde_json::from_str::<Origin>(r#"{"compaction":{"of":["tiles"]}}"#).is_err());
    }

    #[test]
    fn a_compaction_replaces_older_runs_of_its_family() {
        let run = |name: &str, sequence| RunId::new(name, "1a2b3c4d", sequence);
        let check = |of: &[RunId]| Origin::Compaction { of: of.to_vec() }.check(&run("tiles", 3));
        assert!(check(&[run("tiles", 2), run("tiles", 1)]).is_ok());
        for wrong in [&[run("other", 1)][..], &[run("tiles", 3)], &[run("tiles", 1), run("tiles", 1)]] {
            assert!(check(wrong).is_err(), "{wrong:?}");
        }
    }
}
