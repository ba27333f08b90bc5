//! Frame headers (ITU-T T.81, B.2.2).

use tilefleet_codec::{Error, Size, corrupt, unsupported};

use crate::parameters::FrameParameters;
use crate::segments::{Segments, marker};

/// One colour component of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Component {
    /// What scans call it.
    pub id: u8,
    /// Horizontal sampling factor, 1 to 4.
    pub h: u8,
    /// Vertical sampling factor, 1 to 4.
    pub v: u8,
}

impl Component {
    pub(crate) fn parse([id, factors, _]: [u8; 3]) -> Result<Self, Error> {
        let (h, v) = (factors >> 4, factors & 15);
        if (1..=4).contains(&h) && (1..=4).contains(&v) {
            Ok(Self { id, h, v })
        } else {
            Err(corrupt(format!("sampling factors {h}×{v}")))
        }
    }
}

/// The frame header of a Huffman-coded DCT frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Size in pixels.
    pub size: Size,
    /// Whether it takes several scans, each of some coefficients.
    pub progressive: bool,
    /// One, three or four components, each with an id of its own.
    pub components: Vec<Component>,
    /// Whether the file gives an id twice, and components were `told_apart`.
    pub repeats_ids: bool,
}

impl Frame {
    /// Reads the parameters of a frame header with the given SOF marker.
    ///
    /// # Errors
    ///
    /// [`ErrorKind`](crate::ErrorKind): `Corrupt` where it contradicts the standard, `Unsupported` for other processes than
    /// 8-bit Huffman-coded DCT.
    pub fn parse(marker: u8, body: &[u8]) -> Result<Self, Error> {
        Self::parse_with_precision(marker, body, 8)
    }

    /// As [`Self::parse`], of samples that have so many bits.
    ///
    /// # Errors
    ///
    /// As of [`Self::parse`].
    pub fn parse_with_precision(marker: u8, body: &[u8], bits: u8) -> Result<Self, Error> {
        check_process(marker)?;
        let FrameParameters { precision, size, num_components, components } = FrameParameters::parse(body)?;
        if precision != bits {
            return Err(unsupported(format!("JPEG with {precision}-bit samples")));
        }
        if size.height == 0 {
            return Err(unsupported("JPEG that gives its height after the first scan (DNL)"));
        }
        if components.len() != 3 * usize::from(num_components) {
            return Err(corrupt(format!("the frame header is too short for {num_components} components")));
        }
        let (components, _) = components.as_chunks();
        let mut components =
            components.iter().copied().map(Component::parse).collect::<Result<Vec<_>, _>>()?;
        if !matches!(components.len(), 1 | 3 | 4) {
            return Err(unsupported(format!("JPEG with {num_components} components")));
        }
        let ids = told_apart(components.iter().map(|component| component.id));
        let own = components.iter_mut().map(|component| &mut component.id);
        let repeats_ids =
            own.zip(ids).fold(false, |repeats, (own, id)| std::mem::replace(own, id) != id || repeats);
        let frame = Self { size, progressive: marker == marker::SOF2, components, repeats_ids };
        frame.check_sampling()?;
        Ok(frame)
    }

    /// Checks that every component can be brought to the full size by whole factors, as libjpeg does.
    fn check_sampling(&self) -> Result<(), Error> {
        let (h_max, v_max) = self.max_sampling();
        let whole =
            |c: &Component| h_max.is_multiple_of(u32::from(c.h)) && v_max.is_multiple_of(u32::from(c.v));
        if self.components.iter().all(whole) {
            return Ok(());
        }
        Err(unsupported("JPEG with components whose sampling factors are not whole multiples of each other"))
    }

    /// Returns the samples of all components as they are stored: whole MCUs.
    pub fn num_stored_samples(&self) -> u64 {
        let (h_max, v_max) = self.max_sampling();
        let num_mcus = u64::from(self.size.width.div_ceil(8 * h_max) * self.size.height.div_ceil(8 * v_max));
        let num_blocks: u64 = self.components.iter().map(|c| u64::from(c.h) * u64::from(c.v)).sum();
        num_mcus * num_blocks * 64
    }

    /// Names how much coarser the second and third component are than the first; `None` without three of them.
    #[must_use]
    pub fn subsampling(&self) -> Option<&'static str> {
        let [first, second, third] = &self.components[..] else { return None };
        let same = (second.h, second.v) == (third.h, third.v);
        let (across, down) = (first.h / second.h, first.v / second.v);
        let whole = first.h.is_multiple_of(second.h) && first.v.is_multiple_of(second.v);
        Some(match (across, down) {
            _ if !(same && whole) => "other",
            (1, 1) => "4:4:4",
            (1, 2) => "4:4:0",
            (2, 1) => "4:2:2",
            (2, 2) => "4:2:0",
            (4, 1) => "4:1:1",
            (4, 2) => "4:1:0",
            _ => "other",
        })
    }

    /// Returns the largest horizontal and vertical sampling factor.
    pub fn max_sampling(&self) -> (u32, u32) {
        let h = self.components.iter().map(|c| c.h).max().unwrap_or(1);
        let v = self.components.iter().map(|c| c.v).max().unwrap_or(1);
        (u32::from(h), u32::from(v))
    }
}

/// Returns ids that differ: of equal ones (T.81, B.2.2 forbids them) all but the first become the next that nobody
/// before has.
///
/// libjpeg-turbo takes components of equal ids in the order in which frame and scan name them, which this amounts to.
pub fn told_apart(ids: impl Iterator<Item = u8>) -> Vec<u8> {
    let mut apart = Vec::new();
    for mut id in ids {
        while apart.contains(&id) {
            id = id.wrapping_add(1);
        }
        apart.push(id);
    }
    apart
}

fn check_process(marker: u8) -> Result<(), Error> {
    match marker {
        marker::SOF0..=marker::SOF2 => Ok(()),
        0xC3 | 0xC7 => Err(unsupported("lossless JPEG")),
        0xC5 | 0xC6 => Err(unsupported("hierarchical JPEG")),
        _ => Err(unsupported("JPEG with arithmetic coding")),
    }
}

/// Tells whether a marker begins a frame (SOF0 to SOF15, which leaves out DHT, JPG and DAC).
pub fn is_frame(marker: u8) -> bool {
    matches!(marker, marker::SOF0..=0xCF) && !matches!(marker, marker::DHT | 0xC8 | 0xCC)
}

/// Returns the frame header of a file whose segments up to there are whole.
pub fn frame(bytes: &[u8]) -> Option<Frame> {
    let mut segments = Segments::new(bytes).ok()?;
    loop {
        let segment = segments.next_segment().ok()?;
        match segment.marker {
            marker::SOS | marker::EOI => return None,
            code if is_frame(code) => return Frame::parse(code, segment.body).ok(),
            _ => {}
        }
    }
}
