//! Errors that say who acts next, and the exit codes that follow from it.
//!
//! [`Error`] ends a command. What is wrong with one source or tile is a [`crate::vocabulary::reason::Rejection`]
//! instead: it becomes a row and never ends the process.

use std::error::Error as StdError;
use std::fmt;

/// What the caller does next. Kinds follow the reaction, not the cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The command line is wrong; a person edits it. Exit 64.
    Usage,
    /// The run committed, but more was rejected than the limit allows. Exit 65.
    RejectsAboveLimit,
    /// The one source that was asked for cannot be processed, however often one tries. Exit 65.
    Rejected,
    /// Our fault; stop, and print how to report it. Exit 70.
    Bug,
    /// A store, disk or device is away or the run is not complete; try again later. Exit 75.
    Unavailable,
    /// Another worker has taken the shard; drop the work and take the next. It ends no process; if one ended with it
    /// by mistake, trying again would help: 75.
    LeaseLost,
    /// The pipeline file, model or credentials are wrong; a person edits them. Exit 78.
    Config,
    /// Interrupted by SIGINT. Exit 130.
    Interrupted,
    /// Drained after SIGTERM. Exit 143.
    Drained,
}

impl Kind {
    /// Returns the process exit code (sysexits, and 128 + signal).
    #[must_use]
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Usage => 64,
            Self::RejectsAboveLimit | Self::Rejected => 65,
            Self::Bug => 70,
            Self::Unavailable | Self::LeaseLost => 75,
            Self::Config => 78,
            Self::Interrupted => 130,
            Self::Drained => 143,
        }
    }

    /// Returns whether somebody wanted the process to end.
    #[must_use]
    pub fn is_stop(self) -> bool {
        matches!(self, Self::Interrupted | Self::Drained)
    }
}

type Cause = Box<dyn StdError + Send + Sync + 'static>;

/// An error that ends a command.
///
/// The message describes its own layer only, in lower case and without a final period; what lay
/// beneath is the cause, and `hint` says what to do next. `main` prints the chain once.
#[derive(Debug)]
pub struct Error(Box<Inner>);

#[derive(Debug)]
struct Inner {
    kind: Kind,
    message: String,
    hint: Option<String>,
    cause: Option<Cause>,
}

/// The crate's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// Creates an error of the given kind.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self(Box::new(Inner { kind, message: message.into(), hint: None, cause: None }))
    }

    /// Creates a [`Kind::Usage`] error.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Kind::Usage, message)
    }

    /// Creates a [`Kind::Config`] error.
    pub fn config(message: impl Into<String>) -> Self {
        Self::new(Kind::Config, message)
    }

    /// Creates a [`Kind::Unavailable`] error.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(Kind::Unavailable, message)
    }

    /// Creates a [`Kind::Bug`] error.
    pub fn bug(message: impl Into<String>) -> Self {
        Self::new(Kind::Bug, message)
    }

    /// Adds what lay beneath.
    #[must_use]
    pub fn because(mut self, cause: impl Into<Cause>) -> Self {
        self.0.cause = Some(cause.into());
        self
    }

    /// Adds what to do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// Says the same again, for an error that another library holds and only lends.
    #[must_use]
    pub fn again(&self) -> Self {
        let Inner { kind, message, hint, .. } = &*self.0;
        let cause = self.source().map(|cause| match cause.downcast_ref::<Self>() {
            Some(ours) => ours.again().into(),
            None => Cause::from(cause.to_string()),
        });
        Self(Box::new(Inner { kind: *kind, message: message.clone(), hint: hint.clone(), cause }))
    }

    /// Returns what the caller does next.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    /// Returns the hints of the whole chain, outermost first.
    #[must_use]
    pub fn hints(&self) -> Vec<&str> {
        let mut hints: Vec<&str> = self.0.hint.as_deref().into_iter().collect();
        let mut next = self.source();
        while let Some(cause) = next {
            if let Some(error) = cause.downcast_ref::<Self>() {
                hints.extend(error.0.hint.as_deref());
            }
            next = cause.source();
        }
        hints
    }

    /// Returns the messages of the causes, outermost first.
    #[must_use]
    pub fn causes(&self) -> Vec<String> {
        let mut causes = vec![self.to_string()];
        let mut next = self.source();
        while let Some(cause) = next {
            let message = cause.to_string().trim_end().to_owned();
            // Many libraries repeat their cause in their own message; say each thing once.
            if causes.last().is_some_and(|last| !last.contains(&message)) {
                causes.push(message);
            }
            next = cause.source();
        }
        causes.split_off(1)
    }

    /// Renders message, causes and hints as `main` prints them.
    #[must_use]
    pub fn render(&self) -> String {
        let mut text = format!("error: {self}");
        for cause in self.causes() {
            text.push_str("\n  because: ");
            // A cause of several lines, such as a place in a file, stands together.
            text.push_str(&cause.replace('\n', "\n    "));
        }
        for hint in self.hints() {
            text.push_str("\n  hint: ");
            text.push_str(hint);
        }
        text
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.cause.as_deref().map(|cause| cause as &(dyn StdError + 'static))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_is_rendered_once_with_its_hints() {
        let inner = Error::config("no such bucket").hint("check the bucket's name");
        let outer = Error::new(inner.kind(), "cannot list s3://scenes").because(inner);
        assert_eq!(
            outer.render(),
            "error: cannot list s3://scenes\n  because: no such bucket\n  hint: check the bucket's name"
        );
        assert_eq!(outer.kind().exit_code(), 78);
        assert_eq!((outer.again().render(), outer.again().kind()), (outer.render(), Kind::Config));
    }
}
