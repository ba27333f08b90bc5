//! Where the bytes of frames lie (PS3.5, 8.1.1 and annex A.4; PS3.3, C.7.6.3.1.8).

use std::borrow::Cow;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use crate::bytes::{Bytes, Order, Step, Stop};
use crate::error::{Error, corrupt, too_large, truncated, unsupported};
use crate::image::ImageModule;
use crate::instance::Instance;
use crate::syntax::Codec;
use crate::tag::{self, Tag};
use crate::walk::Header;

/// Bytes of the header of an item.
pub(crate) const ITEM_HEADER_BYTES: u64 = 8;
/// What is read where an item is expected: its header, and what tells whether an image begins in it.
const ITEM_START_BYTES: u64 = ITEM_HEADER_BYTES + 4;
/// Fragments of fewer bytes are read rather than stepped over: that takes fewer requests.
const SMALL_FRAGMENT_BYTES: u64 = 4 << 10;
/// What is read where small fragments lie.
const READ_AHEAD_SMALL_BYTES: u64 = 64 << 10;
/// Maximum number of fragments per frame that are looked for.
const MAX_FRAGMENTS_PER_FRAME: usize = 4096;
/// Maximum number of fragments of an object.
const MAX_FRAGMENTS: usize = 4 << 20;

/// Where the bytes of a frame lie in the object.
///
/// What they hold, one after the other, is what [`decode_frame`](crate::decode_frame) takes: the samples, or items with
/// their headers. If the data set is deflated, it is the whole deflated data set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrameBytes {
    /// The ranges, in their order; not empty.
    pub ranges: Vec<Range<u64>>,
}

impl FrameBytes {
    fn one(range: Range<u64>) -> Self {
        Self { ranges: vec![range] }
    }

    /// Returns how many bytes these are.
    #[must_use]
    pub fn num_bytes(&self) -> u64 {
        self.ranges.iter().map(|range| range.end - range.start).sum()
    }
}

impl Instance {
    /// Returns where the bytes of frames lie.
    ///
    /// - `frames`: numbers from 0, in any order
    /// - returns: as many, in the same order
    ///
    /// Native frames follow from their size. Of compressed frames, the extended offset table is asked, else the basic
    /// one; the item headers stay in the ranges, so that a table suffices. Without a table, the headers of all items
    /// are read, 12 bytes at a time, and small fragments with them: as many fragments as frames are a frame each, and
    /// more are split before each fragment that begins with a start of image. The only frame of an object is all that
    /// follows.
    ///
    /// What has been seen is remembered: each call needs only the range that the one before it asked for, and nothing is
    /// asked for twice.
    ///
    /// # Errors
    ///
    /// That of [`Instance::image`]; `Corrupt` for a frame that is not declared, for offsets outside, overlapping or of
    /// another number of frames; `Truncated` where a range ends behind the object.
    pub fn locate(&self, object: &dyn Bytes, frames: &[u32]) -> Step<Vec<FrameBytes>> {
        self.try_locate(object, frames).into()
    }

    fn try_locate(&self, object: &dyn Bytes, frames: &[u32]) -> Result<Vec<FrameBytes>, Stop> {
        let image = self.image()?;
        let Some(pixels) = self.pixels else { return Err(corrupt("no pixels").into()) };
        if let Some(frame) = frames.iter().find(|&&frame| frame >= image.num_frames) {
            return Err(corrupt(format!("frame {frame} of {} is asked for", image.num_frames)).into());
        }
        if let Some(at) = self.deflated_at {
            return Ok(frames.iter().map(|_| FrameBytes::one(at..object.len())).collect());
        }
        if self.transfer_syntax().codec() == Codec::Native {
            let native = |&frame: &u32| self.native_frame(image, &pixels, object.len(), frame);
            return Ok(frames.iter().map(native).collect::<Result<_, Error>>()?);
        }
        if pixels.len.is_some() {
            return Err(
                corrupt(format!("{} has a length though its frames are compressed", pixels.tag)).into()
            );
        }
        self.encapsulated(image, &pixels, object, frames)
    }

    fn native_frame(
        &self,
        image: &ImageModule,
        pixels: &Header,
        object_len: u64,
        frame: u32,
    ) -> Result<FrameBytes, Error> {
        let Some(len) = pixels.len else {
            return Err(corrupt(format!(
                "{} has no length though its frames are not compressed",
                pixels.tag
            )));
        };
        let place = NativePlace::of(image, self.swaps_words(image), frame);
        if place.bytes.end > len {
            return Err(truncated(format!(
                "{} has {len} bytes, and frame {frame} ends at {}",
                pixels.tag, place.bytes.end
            )));
        }
        let range = pixels.at + place.bytes.start..pixels.at + place.bytes.end;
        if range.end > object_len {
            return Err(truncated(format!("frame {frame} ends at byte {} of {object_len}", range.end)));
        }
        Ok(FrameBytes::one(range))
    }

    /// Tells samples of 8 bits or 1 bit whose bytes are swapped in pairs: big-endian words (PS3.5, 8.1 and annex A.3).
    pub(crate) fn swaps_words(&self, image: &ImageModule) -> bool {
        self.transfer_syntax().big_endian_samples && image.in_words && image.bits_allocated <= 8
    }

    fn encapsulated(
        &self,
        image: &ImageModule,
        pixels: &Header,
        object: &dyn Bytes,
        frames: &[u32],
    ) -> Result<Vec<FrameBytes>, Stop> {
        // A lock is poisoned only by a panic of another call; what was found before it is sound.
        let mut places = self.places.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Places { table, walked, found } = &mut *places;
        if found.is_none() {
            let table = match table {
                Some(table) => *table,
                None => *table.insert(item_start(object, pixels.at, ITEM_START_BYTES)?),
            };
            *found = Some(match self.find(image, table, object, walked) {
                Ok(found) => Ok(found),
                Err(Stop::Error(error)) => Err(error),
                Err(needs) => return Err(needs),
            });
            *walked = Walked::default();
        }
        match found {
            Some(Ok(Found::Spans(spans))) => Ok(pick(spans, frames)),
            Some(Ok(Found::Starts(starts))) => basic(starts, object, frames, walked),
            Some(Err(error)) => Err(error.clone().into()),
            None => Err(corrupt("no places of frames").into()),
        }
    }

    /// Finds where all frames lie, or begin.
    ///
    /// - `table`: the item of the basic offset table
    fn find(
        &self,
        image: &ImageModule,
        table: Item,
        object: &dyn Bytes,
        walked: &mut Walked,
    ) -> Result<Found, Stop> {
        let base = table.end(object.len())?;
        if let Some(spans) = self.extended_spans(image, base, object.len())? {
            return Ok(Found::Spans(spans));
        }
        if image.num_frames == 1 {
            return Ok(Found::Spans(std::iter::once(base..object.len()).collect()));
        }
        if image.num_frames as usize > MAX_FRAGMENTS {
            return Err(too_large(format!("{} frames", image.num_frames)).into());
        }
        if table.len > 0 {
            check_num_offsets(table.len / 4, image.num_frames)?;
            let bytes = slice(object, table.at, table.len)?;
            let offsets = (0..bytes.len() / 4).filter_map(|index| Order::Little.u32(bytes, 4 * index));
            let starts: Vec<u64> = offsets.map(u64::from).collect();
            check_starts(&starts, image.num_frames)?;
            return Ok(Found::Starts(starts.into_iter().map(|start| base + start).collect()));
        }
        let most = MAX_FRAGMENTS_PER_FRAME.saturating_mul(image.num_frames as usize).min(MAX_FRAGMENTS);
        walked.resume(object, base, most)?;
        Ok(Found::Spans(group(&walked.fragments, image.num_frames)?))
    }

    /// Returns where frames lie by the extended offset table, if there is one (PS3.3, C.7.6.3.1.8 and C.7.6.3.1.9).
    fn extended_spans(
        &self,
        image: &ImageModule,
        base: u64,
        object_len: u64,
    ) -> Result<Option<Vec<Range<u64>>>, Error> {
        let numbers = |tag: Tag| -> Option<Vec<u64>> {
            let bytes = self.data.bytes(tag)?;
            Some((0..bytes.len() / 8).filter_map(|index| self.data.order.u64(bytes, 8 * index)).collect())
        };
        let Some(starts) = numbers(tag::EXTENDED_OFFSETS) else { return Ok(None) };
        let Some(lens) = numbers(tag::EXTENDED_LENGTHS) else {
            return Err(corrupt(format!(
                "{} comes without {}",
                tag::EXTENDED_OFFSETS,
                tag::EXTENDED_LENGTHS
            )));
        };
        check_starts(&starts, image.num_frames)?;
        if lens.len() != starts.len() {
            return Err(corrupt(format!("{} lengths of {} frames", lens.len(), starts.len())));
        }
        let mut spans = Vec::with_capacity(starts.len());
        for (frame, (&start, &len)) in starts.iter().zip(&lens).enumerate() {
            let start = base.checked_add(start);
            let end = start.and_then(|start| start.checked_add(ITEM_HEADER_BYTES)?.checked_add(len));
            let (Some(start), Some(end)) = (start, end.filter(|&end| end <= object_len)) else {
                return Err(truncated(format!("frame {frame} ends behind byte {object_len}")));
            };
            if spans.last().is_some_and(|before: &Range<u64>| before.end > start) {
                return Err(corrupt(format!("frame {frame} overlaps the one before")));
            }
            spans.push(start..end);
        }
        Ok(Some(spans))
    }
}

/// Where a native frame lies within the value of Pixel Data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NativePlace {
    pub(crate) bytes: Range<u64>,
    /// Bits of the first bytes that belong to the frame before (PS3.5, 8.1.1: frames follow without padding).
    pub(crate) first_bit: u64,
}

impl NativePlace {
    pub(crate) fn of(image: &ImageModule, swapped: bool, frame: u32) -> Self {
        // 2^32 frames of 2^32 pixels, 3 samples, 64 bits: more than 64 bits count.
        let (bits, frame) = (u128::from(image.native_frame_bits()), u128::from(frame));
        let unit = if swapped { 16 } else { 8 };
        let (start, end) = (frame * bits, (frame + 1) * bits);
        let to_bytes = |units: u128| u64::try_from(units * unit / 8).unwrap_or(u64::MAX);
        Self { bytes: to_bytes(start / unit)..to_bytes(end.div_ceil(unit)), first_bit: (start % unit) as u64 }
    }
}

/// The header of an item of fragments.
#[derive(Clone, Copy, Debug)]
struct Item {
    tag: Tag,
    /// Where its payload begins.
    at: u64,
    len: u64,
    /// The first bytes of its payload say that an image begins.
    starts_image: bool,
}

impl Item {
    fn end(&self, object_len: u64) -> Result<u64, Error> {
        if self.tag != tag::ITEM {
            return Err(corrupt("fragments do not lie in items"));
        }
        let end = self.at.checked_add(self.len).filter(|&end| end <= object_len);
        end.ok_or_else(|| truncated(format!("a fragment of {} bytes ends behind the object", self.len)))
    }
}

fn slice(object: &dyn Bytes, at: u64, len: u64) -> Result<&[u8], Stop> {
    let end = at.checked_add(len).filter(|&end| end <= object.len());
    let Some(end) = end else { return Err(truncated("the object ends within an item").into()) };
    object.slice(at, len as usize).ok_or(Stop::Needs(at..end))
}

/// Reads the header of an item.
///
/// - `read_ahead`: number of bytes that are asked for if it is not there
fn item_start(object: &dyn Bytes, at: u64, read_ahead: u64) -> Result<Item, Stop> {
    let left = object.len().saturating_sub(at);
    if left < ITEM_HEADER_BYTES {
        return Err(truncated("the object ends where an item begins").into());
    }
    let Some(bytes) = object.slice(at, left.min(ITEM_START_BYTES) as usize) else {
        return Err(Stop::Needs(at..at + left.min(read_ahead)));
    };
    let (tag, len) = parse_item(bytes).unwrap_or((Tag(0, 0), 0));
    let payload = bytes.get(8..12).unwrap_or_default();
    Ok(Item { tag, at: at + ITEM_HEADER_BYTES, len: len.into(), starts_image: starts_image(payload) })
}

/// JPEG and JPEG-LS begin with SOI and a marker, JPEG 2000 with SOC and its size, JPEG XL with its own or a box.
fn starts_image(payload: &[u8]) -> bool {
    payload.starts_with(&[0xFF, 0xD8, 0xFF])
        || payload.starts_with(&[0xFF, 0x4F, 0xFF, 0x51])
        || payload.starts_with(&[0xFF, 0x0A])
        || payload == [0, 0, 0, 0x0C]
}

fn parse_item(bytes: &[u8]) -> Option<(Tag, u32)> {
    // Encapsulated pixels are always little endian (PS3.5, annex A.4).
    let order = Order::Little;
    Some((Tag(order.u16(bytes, 0)?, order.u16(bytes, 2)?), order.u32(bytes, 4)?))
}

fn check_num_offsets(num_offsets: u64, num_frames: u32) -> Result<(), Error> {
    if num_offsets == u64::from(num_frames) {
        return Ok(());
    }
    Err(corrupt(format!("{num_offsets} offsets of {num_frames} frames")))
}

fn check_starts(starts: &[u64], num_frames: u32) -> Result<(), Error> {
    check_num_offsets(starts.len() as u64, num_frames)?;
    if starts[0] != 0 || starts.windows(2).any(|pair| pair[0] >= pair[1]) {
        return Err(corrupt("offsets of frames do not ascend from 0"));
    }
    Ok(())
}

/// Returns where frames lie of which the starts are known; only the end of the last one has to be found.
///
/// - `tail`: the fragments of the last frame, as far as they have been walked
fn basic(
    starts: &[u64],
    object: &dyn Bytes,
    frames: &[u32],
    tail: &mut Walked,
) -> Result<Vec<FrameBytes>, Stop> {
    let mut found = Vec::with_capacity(frames.len());
    for &frame in frames {
        let start = starts[frame as usize];
        let end = match starts.get(frame as usize + 1) {
            Some(&next) => next,
            None => tail.resume(object, start, MAX_FRAGMENTS_PER_FRAME)?.unwrap_or(start),
        };
        if end > object.len() {
            return Err(truncated(format!("frame {frame} ends at byte {end} of {}", object.len())).into());
        }
        found.push(FrameBytes::one(start..end));
    }
    Ok(found)
}

/// An item of fragments, with its header.
#[derive(Clone, Debug)]
struct Fragment {
    span: Range<u64>,
    starts_image: bool,
}

/// The items of fragments whose headers have been read so far.
#[derive(Debug, Default)]
struct Walked {
    fragments: Vec<Fragment>,
    ended: bool,
}

/// What is known of all frames.
#[derive(Debug)]
enum Found {
    /// Where they lie, with the headers of their items.
    Spans(Vec<Range<u64>>),
    /// Where they begin.
    Starts(Vec<u64>),
}

/// Where the frames of an object lie, found once; a walk goes on where it needed bytes, instead of beginning again.
#[derive(Debug, Default)]
struct Places {
    /// The item of the basic offset table, which may be empty.
    table: Option<Item>,
    /// All fragments, until places are found without a table; with a basic one, those of the last frame.
    walked: Walked,
    found: Option<Result<Found, Error>>,
}

/// The places that all copies of an instance share.
#[derive(Clone, Debug, Default)]
pub(crate) struct SharedPlaces(Arc<Mutex<Places>>);

impl Walked {
    /// Reads the headers of items from `base` up to the delimiter, at most so many; returns where the last one ends.
    fn resume(&mut self, object: &dyn Bytes, base: u64, most: usize) -> Result<Option<u64>, Stop> {
        while !self.ended {
            let (at, read_ahead) = match self.fragments.last().map(|fragment| &fragment.span) {
                Some(span) if span.end - span.start < SMALL_FRAGMENT_BYTES => {
                    (span.end, READ_AHEAD_SMALL_BYTES)
                }
                Some(span) => (span.end, ITEM_START_BYTES),
                None => (base, ITEM_START_BYTES),
            };
            let item = item_start(object, at, read_ahead)?;
            if item.tag == tag::SEQUENCE_END {
                self.ended = true;
                break;
            }
            let end = item.end(object.len())?;
            if self.fragments.len() == most {
                return Err(corrupt(format!("more than {most} fragments")).into());
            }
            self.fragments.push(Fragment { span: at..end, starts_image: item.starts_image });
        }
        Ok(self.fragments.last().map(|last| last.span.end))
    }
}

/// Brings fragments together to frames where no table does.
fn group(fragments: &[Fragment], num_frames: u32) -> Result<Vec<Range<u64>>, Error> {
    if fragments.len() as u64 == u64::from(num_frames) {
        return Ok(fragments.iter().map(|fragment| fragment.span.clone()).collect());
    }
    let starts: Vec<usize> = (0..fragments.len()).filter(|&index| fragments[index].starts_image).collect();
    if starts.len() as u64 != u64::from(num_frames) || starts.first() != Some(&0) {
        let (fragments, starts) = (fragments.len(), starts.len());
        return Err(corrupt(format!(
            "{fragments} fragments, {starts} of which start an image, for {num_frames} frames"
        )));
    }
    let ends = starts[1..].iter().copied().chain([fragments.len()]);
    let span = |(start, end): (&usize, usize)| fragments[*start].span.start..fragments[end - 1].span.end;
    Ok(starts.iter().zip(ends).map(span).collect())
}

fn pick(spans: &[Range<u64>], frames: &[u32]) -> Vec<FrameBytes> {
    frames.iter().map(|&frame| FrameBytes::one(spans[frame as usize].clone())).collect()
}

/// Returns the payloads of the items of a frame, one after the other; bytes that are no items, as they are.
pub(crate) fn payload(bytes: &[u8]) -> Result<Cow<'_, [u8]>, Error> {
    let mut found = Cow::Borrowed(&[][..]);
    let mut rest = bytes;
    while let Some((own, behind)) = first_item(rest)? {
        if found.is_empty() {
            found = Cow::Borrowed(own);
        } else {
            found.to_mut().extend_from_slice(own);
        }
        rest = behind;
    }
    if found.is_empty() {
        return Err(truncated("the frame has no bytes"));
    }
    Ok(found)
}

/// The payload of an item, and what follows it.
type Parts<'a> = (&'a [u8], &'a [u8]);

/// Returns the payload of the first item, and what follows; `None` at the delimiter and at the end.
fn first_item(bytes: &[u8]) -> Result<Option<Parts<'_>>, Error> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let Some((tag, len)) = parse_item(bytes) else { return Err(truncated("the frame ends within an item")) };
    match tag {
        tag::SEQUENCE_END => Ok(None),
        tag::ITEM if len == u32::MAX => Err(unsupported("a fragment of undefined length")),
        tag::ITEM => {
            let payload = &bytes[ITEM_HEADER_BYTES as usize..];
            let split = payload.split_at_checked(len as usize);
            split.map(Some).ok_or_else(|| {
                truncated(format!("a fragment of {len} bytes, and {} are left", payload.len()))
            })
        }
        _ => Err(corrupt("fragments do not lie in items")),
    }
}
