//! Walks over the elements of a data set, in any of its encodings, and keeps those that are read here (PS3.5, 7).
//!
//! Values that are not kept are stepped over without being read. Depth, number and size of what is kept are bounded.

use crate::bytes::{Bytes, Order, Stop};
use crate::data::{DataSet, Element, Value, Vr};
use crate::error::{corrupt, too_large, truncated};
use crate::tag::{self, Tag};

/// What is read at least when more is read.
const READ_AHEAD_BYTES: u64 = 64 << 10;
/// What is read at most at once, unless a single value is longer.
const MAX_READ_AHEAD_BYTES: u64 = 16 << 20;
/// Maximum number of bytes of a data set before its pixels, without the values that are stepped over.
pub const MAX_HEADER_BYTES: u64 = 128 << 20;
/// Maximum number of bytes of a value at the top of a data set that is kept, if it is no table.
const MAX_VALUE_BYTES: u64 = 64 << 10;
/// Maximum number of bytes of a table of offsets that is kept: those of 4 million frames.
const MAX_OFFSETS_BYTES: u64 = 32 << 20;
/// Maximum number of bytes of a lookup table that is kept; one of 65,536 entries has 128 KiB.
const MAX_TABLE_BYTES: u64 = 1 << 20;
/// Maximum number of bytes of all values that are kept.
const MAX_KEPT_BYTES: u64 = 128 << 20;
/// Maximum number of elements and items that are kept.
const MAX_KEPT_ELEMENTS: usize = 4 << 20;
/// Maximum number of values that are stepped over without being read: each takes a request.
const MAX_LONG_STEPS: usize = 256;
/// Maximum depth of sequences.
const MAX_DEPTH: usize = 32;

/// An undefined length.
const UNDEFINED: u32 = 0xFFFF_FFFF;

type Found<T> = Result<T, Stop>;

/// The header of an element or an item.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Header {
    pub(crate) tag: Tag,
    pub(crate) vr: Vr,
    /// Where the value begins.
    pub(crate) at: u64,
    /// Bytes of the value; `None` if undefined.
    pub(crate) len: Option<u64>,
}

/// How a data set is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Encoding {
    pub(crate) explicit: bool,
    pub(crate) order: Order,
}

impl Encoding {
    /// Returns that of the items of a sequence; where its representation is unknown, they are implicit little endian
    /// (PS3.5, 6.2.2).
    fn of_items(self, vr: Vr) -> Self {
        if vr == Vr(*b"UN") { Self { explicit: false, order: Order::Little } } else { self }
    }
}

pub(crate) struct Walker<'a> {
    object: &'a dyn Bytes,
    kept_bytes: u64,
    kept_elements: usize,
    /// Bytes of long values that were stepped over, and how many these are.
    stepped_over: u64,
    long_steps: usize,
}

/// Where a data set ends.
#[derive(Clone, Copy)]
struct Scope {
    /// No element reaches beyond.
    end: u64,
    /// An item of undefined length: a delimiter ends it.
    delimited: bool,
    depth: usize,
    /// Elements are kept.
    keep: bool,
}

impl<'a> Walker<'a> {
    pub(crate) fn new(object: &'a dyn Bytes) -> Self {
        Self { object, kept_bytes: 0, kept_elements: 0, stepped_over: 0, long_steps: 0 }
    }

    /// Reads bytes of a header, and asks for more of the object than that.
    fn read(&self, at: u64, len: u64) -> Found<&'a [u8]> {
        let end = at.checked_add(len).filter(|&end| end <= self.object.len());
        let Some(end) = end else { return Err(truncated("the data set ends within an element").into()) };
        if let Some(bytes) = self.object.slice(at, len as usize) {
            return Ok(bytes);
        }
        if end - self.stepped_over.min(end) > MAX_HEADER_BYTES {
            return Err(
                too_large(format!("the data set has over {MAX_HEADER_BYTES} bytes before pixels")).into()
            );
        }
        let ahead = at.saturating_sub(self.stepped_over).clamp(READ_AHEAD_BYTES, MAX_READ_AHEAD_BYTES);
        Err(Stop::Needs(at..end.max(at + ahead).min(self.object.len())))
    }

    /// Steps over a value; a short one lies in what is read ahead.
    fn step_over(&mut self, len: u64) -> Found<()> {
        if len > READ_AHEAD_BYTES {
            self.stepped_over += len;
            self.long_steps += 1;
        }
        if self.long_steps > MAX_LONG_STEPS {
            return Err(too_large(format!("over {MAX_LONG_STEPS} long values before pixels")).into());
        }
        Ok(())
    }

    fn header(&self, at: u64, encoding: Encoding) -> Found<Header> {
        let bytes = self.read(at, 8)?;
        let order = encoding.order;
        let word = |at: usize| order.u16(bytes, at).unwrap_or_default();
        let tag = Tag(word(0), word(2));
        let long = order.u32(bytes, 4).unwrap_or_default();
        let vr = Vr([bytes[4], bytes[5]]);
        // Some writers change to implicit elements within an explicit data set; no length looks like two letters.
        if tag.0 == 0xFFFE || !encoding.explicit || !vr.0.iter().all(u8::is_ascii_uppercase) {
            return Ok(Header {
                tag,
                vr: Vr::NONE,
                at: at + 8,
                len: (long != UNDEFINED).then_some(long.into()),
            });
        }
        // Representations that are yet to be defined have a reserved field of zeros and a long length (PS3.5, 7.1.2).
        if vr.is_long() || (!vr.is_short() && word(6) == 0) {
            let bytes = self.read(at + 8, 4)?;
            let long = order.u32(bytes, 0).unwrap_or_default();
            return Ok(Header { tag, vr, at: at + 12, len: (long != UNDEFINED).then_some(long.into()) });
        }
        Ok(Header { tag, vr, at: at + 8, len: Some(word(6).into()) })
    }

    /// Reads the elements of group 0002, which are always explicit little endian (PS3.10, 7.1).
    pub(crate) fn file_meta(&mut self, mut at: u64) -> Found<(DataSet, u64)> {
        let encoding = Encoding { explicit: true, order: Order::Little };
        let mut found = DataSet::new(Order::Little);
        while at < self.object.len() {
            let header = self.header(at, encoding)?;
            if header.tag.0 != 0x0002 {
                break;
            }
            let scope = Scope { end: self.object.len(), delimited: false, depth: 0, keep: true };
            at = self.element(header, encoding, scope, &mut found)?;
        }
        Ok((found, at))
    }

    /// Reads the elements before the pixels, and the header of the element of pixels if there is one.
    pub(crate) fn top(&mut self, mut at: u64, encoding: Encoding) -> Found<(DataSet, Option<Header>)> {
        let mut found = DataSet::new(encoding.order);
        let end = self.object.len();
        // What is shorter than a header is padding.
        while end - at.min(end) >= 8 {
            let header = self.header(at, encoding)?;
            if matches!(header.tag, tag::PIXELS | tag::FLOAT_PIXELS | tag::DOUBLE_PIXELS) {
                return Ok((found, Some(header)));
            }
            let scope = Scope { end, delimited: false, depth: 0, keep: true };
            at = self.element(header, encoding, scope, &mut found)?;
        }
        Ok((found, None))
    }

    fn keep(&mut self, into: &mut DataSet, tag: Tag, vr: Vr, value: Value) -> Found<()> {
        self.kept_elements += 1;
        if self.kept_elements > MAX_KEPT_ELEMENTS || self.kept_bytes > MAX_KEPT_BYTES {
            return Err(too_large("the data set has too many elements before pixels").into());
        }
        into.elements.push(Element { tag, vr, value });
        Ok(())
    }

    /// Keeps or steps over one element; returns where the next one begins.
    fn element(
        &mut self,
        header: Header,
        encoding: Encoding,
        scope: Scope,
        into: &mut DataSet,
    ) -> Found<u64> {
        let Some(len) = header.len else { return self.undefined(header, encoding, scope, into) };
        let end = header.at.checked_add(len).filter(|&end| end <= scope.end);
        let Some(end) = end else {
            let detail = format!("{} has {len} bytes, more than are left", header.tag);
            return Err(if scope.depth == 0 { truncated(detail) } else { corrupt(detail) }.into());
        };
        if scope.keep && is_read_sequence(header.tag) {
            let value =
                Value::Items(self.items(header.at, Some(end), encoding.of_items(header.vr), scope)?.0);
            self.keep(into, header.tag, header.vr, value)?;
        } else if scope.keep && header.vr != Vr(*b"SQ") && is_kept(header.tag, len, scope.depth) {
            let bytes = self.read(header.at, len)?;
            self.kept_bytes += len;
            self.keep(into, header.tag, header.vr, Value::Bytes(bytes.into()))?;
        } else {
            self.step_over(len)?;
        }
        Ok(end)
    }

    /// Reads a sequence of undefined length, or steps over fragments.
    fn undefined(
        &mut self,
        header: Header,
        encoding: Encoding,
        scope: Scope,
        into: &mut DataSet,
    ) -> Found<u64> {
        if matches!(&header.vr.0, b"OB" | b"OW") || header.tag == tag::PIXELS {
            return self.step_over_fragments(header.at, encoding, scope);
        }
        let encoding = encoding.of_items(header.vr);
        let keep = scope.keep && is_read_sequence(header.tag);
        let (items, next) = self.items(header.at, None, encoding, Scope { keep, ..scope })?;
        if keep {
            self.keep(into, header.tag, header.vr, Value::Items(items))?;
        }
        Ok(next)
    }

    fn step_over_fragments(&mut self, mut at: u64, encoding: Encoding, scope: Scope) -> Found<u64> {
        loop {
            let item = self.header(at, encoding)?;
            let next = item.len.and_then(|len| item.at.checked_add(len)).filter(|&next| next <= scope.end);
            match (item.tag, next) {
                (tag::SEQUENCE_END, _) => return Ok(item.at),
                (tag::ITEM, Some(next)) => {
                    self.step_over(next - item.at)?;
                    at = next;
                }
                _ => return Err(corrupt("fragments do not lie in items").into()),
            }
        }
    }

    /// Reads the items of a sequence; `end` is `None` if a delimiter ends it.
    fn items(
        &mut self,
        mut at: u64,
        end: Option<u64>,
        encoding: Encoding,
        scope: Scope,
    ) -> Found<(Vec<DataSet>, u64)> {
        let depth = scope.depth + 1;
        if depth > MAX_DEPTH {
            return Err(corrupt(format!("sequences lie more than {MAX_DEPTH} deep")).into());
        }
        let mut items = Vec::new();
        while end.is_none_or(|end| at < end) {
            let header = self.header(at, encoding)?;
            match header.tag {
                tag::SEQUENCE_END => return Ok((items, header.at)),
                tag::ITEM => {}
                tag => return Err(corrupt(format!("{tag} lies where an item begins")).into()),
            }
            let limit = end.unwrap_or(scope.end);
            let item_end = match header.len {
                Some(len) => header.at.checked_add(len).filter(|&end| end <= limit),
                None => Some(limit),
            };
            let Some(item_end) = item_end else {
                return Err(corrupt("an item is longer than its sequence").into());
            };
            let inner = Scope { end: item_end, delimited: header.len.is_none(), depth, keep: scope.keep };
            let (item, next) = self.item(header.at, encoding, inner)?;
            if scope.keep {
                self.kept_elements += 1;
                items.push(item);
            }
            at = next;
        }
        Ok((items, at))
    }

    fn item(&mut self, mut at: u64, encoding: Encoding, scope: Scope) -> Found<(DataSet, u64)> {
        let mut found = DataSet::new(encoding.order);
        if !scope.keep && !scope.delimited {
            self.step_over(scope.end - at)?;
            return Ok((found, scope.end));
        }
        while scope.delimited || at < scope.end {
            let header = self.header(at, encoding)?;
            if header.tag == tag::ITEM_END {
                return Ok((found, header.at));
            }
            at = self.element(header, encoding, scope, &mut found)?;
        }
        Ok((found, at))
    }
}

/// Tells the sequences whose items are read.
fn is_read_sequence(tag: Tag) -> bool {
    matches!(
        tag,
        tag::FRAME_ANATOMY
            | tag::PLANE_POSITION
            | tag::PLANE_ORIENTATION
            | tag::MODALITY_LUT
            | tag::VOI_LUT
            | tag::PIXEL_MEASURES
            | tag::FRAME_VOI_LUT
            | tag::PIXEL_VALUE_TRANSFORMATION
            | tag::PRESENTATION_LUT
            | tag::SHARED_GROUPS
            | tag::PER_FRAME_GROUPS
    )
}

fn is_kept(tag: Tag, len: u64, depth: usize) -> bool {
    if matches!(tag, tag::EXTENDED_OFFSETS | tag::EXTENDED_LENGTHS) {
        return len <= MAX_OFFSETS_BYTES;
    }
    if is_table(tag) {
        return len <= MAX_TABLE_BYTES;
    }
    if depth == 0 {
        !tag.is_private() && len <= MAX_VALUE_BYTES
    } else {
        len <= MAX_VALUE_BYTES && is_read_nested(tag)
    }
}

fn is_table(tag: Tag) -> bool {
    matches!(
        tag,
        tag::LUT_DATA
            | tag::RED_DATA
            | tag::GREEN_DATA
            | tag::BLUE_DATA
            | tag::RED_SEGMENTED
            | tag::GREEN_SEGMENTED
            | tag::BLUE_SEGMENTED
    )
}

fn is_read_nested(tag: Tag) -> bool {
    matches!(
        tag,
        tag::IMAGE_POSITION
            | tag::IMAGE_ORIENTATION
            | tag::FRAME_LATERALITY
            | tag::PIXEL_SPACING
            | tag::WINDOW_CENTER
            | tag::WINDOW_WIDTH
            | tag::VOI_FUNCTION
            | tag::RESCALE_INTERCEPT
            | tag::RESCALE_SLOPE
            | tag::LUT_DESCRIPTOR
    )
}
