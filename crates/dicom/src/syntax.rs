//! Transfer syntaxes: how a data set and its frames are encoded (PS3.5, 10 and annex A; PS3.6, table A-1).

use serde::{Deserialize, Serialize};

use crate::bytes::Order;

/// What the bytes of a frame are encoded by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Codec {
    /// Samples as they are.
    Native,
    /// Samples as they are, in items.
    EncapsulatedNative,
    /// RLE Lossless (PS3.5, annex G).
    Rle,
    /// Each frame deflated.
    DeflatedFrame,
    /// JPEG, 8 bits, baseline.
    JpegBaseline,
    /// JPEG, 8 or 12 bits, extended.
    JpegExtended,
    /// JPEG, lossless.
    JpegLossless,
    /// JPEG-LS, lossless or near-lossless.
    JpegLs,
    /// JPEG 2000 and HTJ2K.
    Jpeg2000,
    /// JPEG XL.
    JpegXl,
    /// A video: frames do not lie apart.
    Video,
    /// None of these.
    Unknown,
}

/// A transfer syntax.
#[expect(clippy::struct_excessive_bools, reason = "each is a property of its own in PS3.5, 10")]
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TransferSyntax {
    uid: String,
    pub(crate) explicit: bool,
    pub(crate) big_endian: bool,
    pub(crate) deflated: bool,
    /// GE's private syntax: little endian, but for the samples.
    pub(crate) big_endian_samples: bool,
    codec: Codec,
    lossless: bool,
}

const PREFIX: &str = "1.2.840.10008.1.2";

impl TransferSyntax {
    /// Returns what a UID of PS3.6 means; any other is [`Codec::Unknown`], with a data set in explicit little endian.
    #[must_use]
    pub fn from_uid(uid: &str) -> Self {
        let (codec, lossless) = codec_of(uid);
        Self {
            uid: uid.to_owned(),
            explicit: !matches!(uid, PREFIX | GE_PRIVATE | PAPYRUS),
            big_endian: uid == EXPLICIT_BIG,
            deflated: uid == DEFLATED,
            big_endian_samples: matches!(uid, GE_PRIVATE | EXPLICIT_BIG),
            codec,
            lossless,
        }
    }

    /// Returns the UID.
    #[must_use]
    pub fn uid(&self) -> &str {
        &self.uid
    }

    /// Returns what frames are encoded by.
    #[must_use]
    pub fn codec(&self) -> Codec {
        self.codec
    }

    /// Tells a syntax that loses nothing, whatever happened to the image before.
    #[must_use]
    pub fn is_lossless(&self) -> bool {
        self.lossless
    }

    /// Tells a syntax whose frames lie in items.
    #[must_use]
    pub fn is_encapsulated(&self) -> bool {
        self.codec != Codec::Native
    }

    pub(crate) fn order(&self) -> Order {
        if self.big_endian { Order::Big } else { Order::Little }
    }
}

pub(crate) const EXPLICIT_LITTLE: &str = "1.2.840.10008.1.2.1";
pub(crate) const IMPLICIT_LITTLE: &str = PREFIX;
pub(crate) const EXPLICIT_BIG: &str = "1.2.840.10008.1.2.2";
const DEFLATED: &str = "1.2.840.10008.1.2.1.99";
const GE_PRIVATE: &str = "1.2.840.113619.5.2";
const PAPYRUS: &str = "1.2.840.10008.1.20";

fn codec_of(uid: &str) -> (Codec, bool) {
    if matches!(uid, GE_PRIVATE | PAPYRUS) {
        return (Codec::Native, true);
    }
    match uid.strip_prefix(PREFIX) {
        Some("" | ".1" | ".2" | ".1.99") => (Codec::Native, true),
        Some(".1.98") => (Codec::EncapsulatedNative, true),
        Some(".5") => (Codec::Rle, true),
        Some(".8.1") => (Codec::DeflatedFrame, true),
        Some(".4.50") => (Codec::JpegBaseline, false),
        Some(".4.51") => (Codec::JpegExtended, false),
        Some(".4.57" | ".4.70") => (Codec::JpegLossless, true),
        Some(".4.80") => (Codec::JpegLs, true),
        Some(".4.81") => (Codec::JpegLs, false),
        Some(".4.90" | ".4.201" | ".4.202") => (Codec::Jpeg2000, true),
        Some(".4.91" | ".4.203") => (Codec::Jpeg2000, false),
        Some(".4.110") => (Codec::JpegXl, true),
        Some(".4.111" | ".4.112") => (Codec::JpegXl, false),
        Some(video) if is_video(video) => (Codec::Video, false),
        _ => (Codec::Unknown, false),
    }
}

/// MPEG-2, MPEG-4, HEVC, their fragmentable forms, and SMPTE ST 2110.
fn is_video(suffix: &str) -> bool {
    let number = suffix.strip_prefix(".4.").map(|rest| rest.strip_suffix(".1").unwrap_or(rest));
    matches!(number, Some("100" | "101" | "102" | "103" | "104" | "105" | "106" | "107" | "108"))
        || suffix.starts_with(".7.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn syntaxes_are_those_of_ps3_6() {
        let of = |uid: &str| TransferSyntax::from_uid(uid);
        assert!(!of("1.2.840.10008.1.2").explicit && of("1.2.840.10008.1.2.1").explicit);
        assert!(of("1.2.840.10008.1.2.2").big_endian && of("1.2.840.10008.1.2.1.99").deflated);
        assert_eq!(of("1.2.840.10008.1.2.4.103").codec(), Codec::Video);
        assert_eq!(of("1.2.840.10008.1.2.4.106.1").codec(), Codec::Video);
        assert_eq!(of("1.2.840.10008.1.2.4.92").codec(), Codec::Unknown);
        assert_eq!((of("1.2.3").codec(), of("1.2.3").explicit), (Codec::Unknown, true));
        assert!(of("1.2.840.10008.1.2.4.201").is_lossless() && !of("1.2.840.10008.1.2.4.203").is_lossless());
    }
}
