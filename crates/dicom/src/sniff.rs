//! Tells DICOM objects by their first bytes.

use crate::bytes::Order;
use crate::data::Vr;
use crate::tag::Tag;

/// How many bytes of an object tell whether it is DICOM.
pub const SNIFF_BYTES: usize = 256;

/// Bytes of the preamble, which may hold anything, such as the header of a TIFF (PS3.10, 7.1).
pub(crate) const PREAMBLE_BYTES: usize = 128;

/// Tells whether an object that starts so is DICOM.
///
/// - `start`: the first [`SNIFF_BYTES`] of it, or all of a shorter object
///
/// `DICM` behind the preamble decides. Objects without both are told by two elements in ascending order, in a
/// representation that the standard has.
#[must_use]
pub fn is_dicom(start: &[u8]) -> bool {
    has_preamble(start) || bare(start).is_some()
}

pub(crate) fn has_preamble(start: &[u8]) -> bool {
    start.get(PREAMBLE_BYTES..PREAMBLE_BYTES + 4) == Some(b"DICM")
}

/// How a data set is encoded of which nothing is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Guess {
    pub(crate) explicit: bool,
    pub(crate) order: Order,
}

/// Guesses how a data set is encoded that starts without a preamble.
pub(crate) fn bare(start: &[u8]) -> Option<Guess> {
    [Order::Little, Order::Big].into_iter().find_map(|order| guess(start, order))
}

/// Guesses how a data set is encoded whose first elements are unusual: by the letters of a representation.
pub(crate) fn by_letters(start: &[u8]) -> Guess {
    let explicit = start.get(4..6).is_some_and(|vr| Vr([vr[0], vr[1]]).is_known());
    Guess { explicit, order: Order::Little }
}

fn guess(start: &[u8], order: Order) -> Option<Guess> {
    let tag = tag_at(start, 0, order)?;
    if !matches!(tag.0, 0x0002 | 0x0008) || tag.1 > 0x3002 {
        return None;
    }
    let (explicit, next) = element(start, order)?;
    // Big endian is always explicit (PS3.5, annex A.3).
    let sound = match tag_at(start, next, order) {
        Some(second) => second > tag && second.0 <= 0x0100,
        // Too far away to see, or all of a short object.
        None => next >= start.len() || explicit,
    };
    (sound && (explicit || order == Order::Little)).then_some(Guess { explicit, order })
}

/// Returns whether the first element is explicit, and where the second one begins.
fn element(start: &[u8], order: Order) -> Option<(bool, usize)> {
    let vr = Vr(start.get(4..6)?.try_into().ok()?);
    let (explicit, header, len) = if vr.is_short() {
        (true, 8, u32::from(order.u16(start, 6)?))
    } else if vr.is_long() {
        (true, 12, order.u32(start, 8)?)
    } else {
        (false, 8, order.u32(start, 4)?)
    };
    // The first elements of both groups are short: lengths, versions, character sets, types, UIDs, dates.
    (len <= 1024).then_some((explicit, header + len as usize))
}

fn tag_at(bytes: &[u8], at: usize, order: Order) -> Option<Tag> {
    Some(Tag(order.u16(bytes, at)?, order.u16(bytes, at.checked_add(2)?)?))
}
