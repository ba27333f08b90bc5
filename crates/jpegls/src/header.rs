//! What stands before the data of a JPEG-LS file: frame, parameters, scans (ITU-T T.87, annex C).

use tilefleet_codec::{Error, Size, corrupt, unsupported};
use tilefleet_jpeg_header::segments::u16_at;
use tilefleet_jpeg_header::{FrameParameters, Segment, frame_segment, is_frame, marker};

use super::preset::{Given, Preset};

/// Parameters (T.87, C.2.4.1).
const LSE: u8 = 0xF8;
/// Where an encoder of the process's authors says that it has transformed the colours.
const APP8: u8 = 0xE8;

/// The frame header of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Bits of a sample, 2 to 16.
    pub precision: u8,
    /// Size in pixels; neither side is zero.
    pub size: Size,
    /// The ids of the one to four components.
    pub components: Vec<u8>,
}

/// Reads the frame header; nothing after it is looked at.
///
/// # Errors
///
/// [`ErrorKind`](crate::ErrorKind): `Truncated` or `Corrupt` where the segments up to there are, `Unsupported` for other
/// processes of JPEG, for more than four components, components of several sizes, and sizes that follow elsewhere.
///
/// # Reference
///
/// ITU-T T.87, C.2.2.
pub fn header(bytes: &[u8]) -> Result<Header, Error> {
    match frame_segment(bytes)? {
        Segment { marker: marker::SOF55, body } => Header::parse(body),
        _ => Err(unsupported("JPEG, not JPEG-LS")),
    }
}

impl Header {
    fn parse(body: &[u8]) -> Result<Self, Error> {
        let parameters = FrameParameters::parse(body)?;
        let FrameParameters { precision, size, .. } = parameters;
        if !(2..=16).contains(&precision) {
            return Err(corrupt(format!("samples of {precision} bits")));
        }
        if size.width == 0 || size.height == 0 {
            return Err(unsupported("JPEG-LS that gives its size after the frame header"));
        }
        let components = parameters.up_to_four("JPEG-LS")?;
        if components.iter().any(|[_, factors, _]| *factors != components[0][1]) {
            return Err(unsupported("JPEG-LS with subsampled components"));
        }
        Ok(Self { precision, size, components: components.iter().map(|&[id, _, _]| id).collect() })
    }

    /// Returns the number of components.
    pub fn num_components(&self) -> usize {
        self.components.len()
    }

    /// Returns the number of samples of all components.
    pub fn num_samples(&self) -> u64 {
        self.size.num_pixels() * self.components.len() as u64
    }
}

/// How the components of a scan lie in it (T.87, C.2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Interleave {
    /// One component; or several, each with a line in turn.
    Line,
    /// Several, each with a sample in turn.
    Sample,
}

/// A scan that begins.
#[derive(Clone, Debug)]
pub(crate) struct Scan {
    /// The index of each component in the frame.
    pub(crate) components: Vec<usize>,
    pub(crate) interleave: Interleave,
    pub(crate) near: u8,
    pub(crate) preset: Preset,
    /// Lines between restart markers; 0: none.
    pub(crate) restart_interval: u32,
}

/// What the segments so far say.
pub(crate) struct Parameters<'a> {
    header: &'a Header,
    has_frame: bool,
    given: Given,
    restart_interval: u32,
    /// Whether a scan has given the component.
    begun: Vec<bool>,
}

impl<'a> Parameters<'a> {
    pub(crate) fn new(header: &'a Header) -> Self {
        let begun = vec![false; header.num_components()];
        Self { header, has_frame: false, given: Given::default(), restart_interval: 0, begun }
    }

    /// Tells whether there was a scan of every component.
    pub(crate) fn is_complete(&self) -> bool {
        self.begun.iter().all(|&begun| begun)
    }

    /// Takes a segment that is neither a scan nor the end.
    pub(crate) fn take(&mut self, code: u8, body: &[u8]) -> Result<(), Error> {
        match code {
            LSE => self.take_preset(body),
            marker::DRI => {
                if !(2..=4).contains(&body.len()) {
                    return Err(corrupt(format!("a restart interval of {} bytes", body.len())));
                }
                self.restart_interval =
                    body.iter().fold(0, |interval, &byte| interval << 8 | u32::from(byte));
                Ok(())
            }
            APP8 if body.strip_prefix(b"mrfx").is_some_and(|kind| !kind.starts_with(&[0])) => {
                Err(unsupported("JPEG-LS with a vendor's transform of colours"))
            }
            code if code == marker::SOF55 || is_frame(code) => {
                if std::mem::replace(&mut self.has_frame, true) {
                    return Err(corrupt("a second frame header"));
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn take_preset(&mut self, body: &[u8]) -> Result<(), Error> {
        match body {
            [1, values @ ..] if values.len() == 10 => {
                let value = |index: usize| u16_at(values, 2 * index).unwrap_or(0);
                self.given = Given { max_value: value(0), thresholds: [1, 2, 3].map(value), reset: value(4) };
                Ok(())
            }
            [2 | 3, ..] => Err(unsupported("JPEG-LS with a mapping table")),
            [4, ..] => Err(unsupported("JPEG-LS of a size beyond 65535")),
            _ => Err(corrupt("a segment of parameters (LSE) of no known kind")),
        }
    }

    /// Reads a scan header (T.87, C.2.3).
    pub(crate) fn begin_scan(&mut self, body: &[u8]) -> Result<Scan, Error> {
        let bad = || corrupt("a scan header contradicts the frame header");
        let (&count, rest) = body.split_first().ok_or_else(bad)?;
        let Some((pairs, &[near, interleave, transform])) = rest.split_at_checked(2 * usize::from(count))
        else {
            return Err(bad());
        };
        let (pairs, _) = pairs.as_chunks::<2>();
        let components = pairs.iter().map(|&[id, _]| self.begin_component(id).ok_or_else(bad));
        let components = components.collect::<Result<Vec<_>, _>>()?;
        if pairs.iter().any(|&[_, table]| table != 0) {
            return Err(unsupported("JPEG-LS with a mapping table"));
        }
        if transform != 0 {
            return Err(unsupported("JPEG-LS with a point transform"));
        }
        let interleave = match (components.len(), interleave) {
            (1, 0..=2) | (2.., 1) => Interleave::Line,
            (2.., 2) => Interleave::Sample,
            _ => return Err(bad()),
        };
        let preset = Preset::new(&self.given, self.header.precision, near)?;
        Ok(Scan { components, interleave, near, preset, restart_interval: self.restart_interval })
    }

    /// Returns the index of a component that no scan has given yet; of repeated ids the first.
    fn begin_component(&mut self, id: u8) -> Option<usize> {
        let index = (0..self.begun.len()).find(|&at| self.header.components[at] == id && !self.begun[at])?;
        self.begun[index] = true;
        Some(index)
    }
}
