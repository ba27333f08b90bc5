//! Why a tile has no prediction: the fixed list of reason codes.
//!
//! A reject is what would fail again tomorrow, or what one store has refused to give for so long while it gave
//! others that a person has to look. Other trouble is an [`crate::vocabulary::error::Error`] of kind `Unavailable` and leaves
//! the shard open instead.

use std::fmt;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::error::Error;
use crate::vocabulary::identity::Naming;

macro_rules! reasons {
    ($($(#[doc = $doc:literal])+ $name:ident = $code:literal,)+) => {
        /// A fixed reason code, as in the column `reason`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Reason { $($(#[doc = $doc])+ $name,)+ }

        impl Reason {
            /// Every reason, in the order of the documentation.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// Returns the code as written in the table.
            #[must_use]
            pub fn code(self) -> &'static str {
                match self { $(Self::$name => $code,)+ }
            }

            /// Returns the reason with this code, which may be a code of earlier builds.
            #[must_use]
            pub fn of_code(code: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|reason| reason.code() == code).or_else(|| Self::of_former_code(code))
            }

            /// Returns what the code means, in one sentence.
            #[must_use]
            pub fn meaning(self) -> &'static str {
                match self { $(Self::$name => concat!($($doc,)+).trim_ascii(),)+ }
            }
        }
    };
}

reasons! {
    /// The object has no bytes.
    Empty = "empty",
    /// The content is not an image that any decoder knows.
    NotAnImage = "not_an_image",
    /// A DICOM object without an image: a report, a document, a segmentation, a plan, a waveform.
    NotImage = "not_image",
    /// The image ends before its pixels do.
    Truncated = "truncated",
    /// The content claims to be an image, but its structure or its data cannot be decoded.
    Corrupt = "corrupt",
    /// A real image that uses a feature this build does not decode.
    Unsupported = "unsupported",
    /// The header announces more pixels than `limits.max_pixels` or than its data can hold, the scene would be cut into more windows than `limits.max_windows`, the object is larger than `limits.max_object`, or decoding it takes more memory than `limits.decode_memory`.
    TooLarge = "too_large",
    /// The object was not found (404), while its store answers.
    NotFound = "not_found",
    /// Access to the object is denied (403), while others of its store can be read.
    Forbidden = "forbidden",
    /// Its store did not return the object in any of the tries that `limits.unreadable_…` require, but returned
    /// others; `rejects --retry` tries again.
    Unreadable = "unreadable",
    /// The object changed between planning and reading.
    Changed = "changed",
    /// The sample type or bit depth is not the one the model contract expects.
    BitDepthMismatch = "bit_depth_mismatch",
    /// The bands or the photometric interpretation are not those the model contract expects.
    BandsMismatch = "bands_mismatch",
    /// The tile's size is not the one the model contract expects, and the contract allows no resize.
    SizeMismatch = "size_mismatch",
    /// The values are in another unit than the model contract expects, and there is no conversion.
    UnitMismatch = "unit_mismatch",
    /// The window does not lie within the image.
    OutsideImage = "outside_image",
    /// The files of a scene have no common grid or different numbers of frames, the scene lacks what `tiles.level`,
    /// `tiles.gsd` or `tiles.aoi` need (that level, the size of its pixels, its place on the Earth), or it no longer
    /// touches the area of interest.
    GridMismatch = "grid_mismatch",
    /// Skipped: the window's share of valid pixels is below `tiles.min_valid_fraction`.
    Nodata = "nodata",
    /// Skipped: the window's share of clouds is above `tiles.max_cloud_fraction`, or unknown.
    Clouds = "clouds",
    /// The object says that text is burned into its pixels, or is of a kind that often has some and does not say, and `privacy.burned_in` is "reject".
    BurnedIn = "burned_in",
    /// Skipped: `tilefleet runs OUTPUT erase` has emptied the row.
    Erased = "erased",
    /// The decoder crashed on this input.
    DecoderCrash = "decoder_crash",
    /// Decoding it takes more processor time than `limits.decode_time`.
    DecoderTimeout = "decoder_timeout",
    /// The model yielded a value that is not a finite number.
    NotFinite = "not_finite",
}

/// Codes in tables of earlier builds, and what they mean.
const FORMER: [(&str, Reason); 1] = [("gone", Reason::NotFound)];

impl Reason {
    /// Returns the reason that had this code in earlier builds, and has another now.
    #[must_use]
    pub fn of_former_code(code: &str) -> Option<Self> {
        FORMER.iter().find(|(former, _)| *former == code).map(|(_, reason)| *reason)
    }

    /// Returns the code that replaces one of earlier builds; any other code stays, known or not.
    #[must_use]
    pub fn current_code(code: &str) -> &str {
        match Self::of_former_code(code) {
            Some(reason) => reason.code(),
            None => code,
        }
    }
}

impl Serialize for Reason {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.serialize_str(self.code())
    }
}

impl<'de> Deserialize<'de> for Reason {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        let code = String::deserialize(input)?;
        Self::of_code(&code).ok_or_else(|| D::Error::custom(format!("no reason has the code {code:?}")))
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

/// Why nothing came of a source.
#[derive(Debug)]
pub enum SourceError {
    /// It is a reject; others may do.
    Rejected(Rejection),
    /// The command ends.
    Failed(Error),
}

impl From<Rejection> for SourceError {
    fn from(rejection: Rejection) -> Self {
        Self::Rejected(rejection)
    }
}

impl From<Error> for SourceError {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl SourceError {
    /// Returns what came of a source or why it is refused, for those to whom a rejection is an answer.
    ///
    /// # Errors
    ///
    /// Whatever else went wrong.
    pub fn answer<T>(found: Result<T, Self>) -> Result<Result<T, Rejection>, Error> {
        match found {
            Ok(value) => Ok(Ok(value)),
            Err(Self::Rejected(rejection)) => Ok(Err(rejection)),
            Err(Self::Failed(error)) => Err(error),
        }
    }

    /// Returns why a command ends that cannot do without the source.
    ///
    /// - `refused`: what is said of a rejection
    #[must_use]
    pub fn into_error(self, refused: impl FnOnce(Rejection) -> Error) -> Error {
        match self {
            Self::Rejected(rejection) => refused(rejection),
            Self::Failed(error) => error,
        }
    }
}

/// Why one source or tile cannot be processed however often one tries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rejection {
    /// The fixed code.
    pub reason: Reason,
    /// What exactly was wrong, for people; lower case, no URI and no identifier in it.
    pub detail: String,
}

impl Rejection {
    /// Creates a rejection.
    pub fn new(reason: Reason, detail: impl Into<String>) -> Self {
        Self { reason, detail: detail.into() }
    }

    /// Returns what a row may say of it: what a crash said is quoted, and may be anything that was being decoded.
    #[must_use]
    pub fn shown(self, naming: &Naming) -> Self {
        if self.reason == Reason::DecoderCrash && naming.is_secret() {
            return Self::new(self.reason, format!("the decoder crashed: {}", naming.quote(&self.detail)));
        }
        self
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.reason, self.detail)
    }
}

impl std::error::Error for Rejection {}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn codes_are_distinct_and_explained() {
        let codes: HashSet<_> = Reason::ALL.iter().map(|reason| reason.code()).collect();
        assert_eq!(codes.len(), Reason::ALL.len());
        assert!(Reason::ALL.iter().all(|reason| reason.meaning().ends_with('.')));
    }

    /// Tables of earlier builds say `gone`.
    #[test]
    fn former_codes_are_understood_and_not_written() {
        assert_eq!(Reason::of_code("gone"), Some(Reason::NotFound));
        assert_eq!(Reason::of_former_code("not_found"), None);
        let codes = ["gone", "not_found", "empty", "of_a_newer_version"].map(Reason::current_code);
        assert_eq!(codes, ["not_found", "not_found", "empty", "of_a_newer_version"]);
        assert!(FORMER.iter().all(|(former, _)| Reason::ALL.iter().all(|reason| reason.code() != *former)));
    }

    #[test]
    fn the_documentation_lists_every_reason() {
        let row = |reason: &Reason| format!("| `{reason}` | {} |", reason.meaning());
        let rows = Reason::ALL.iter().map(row).collect::<Vec<_>>().join("\n");
        let documented = include_str!("../../docs/reference/formats.md");
        let (_, from) = documented.split_once("held to it by a test -->\n").expect("the list's beginning");
        let (list, _) = from.split_once("\n<!-- end -->").expect("the list's end");
        let expected = format!("| code | meaning |\n|---|---|\n{rows}");
        assert_eq!(list, expected, "put this into docs/reference/formats.md:\n{expected}");
    }
}
