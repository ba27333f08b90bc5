//! An object of which only some ranges have been read: enough for a header, a few KiB of many MiB.
//!
//! A parser works on a view of it as on a whole object. Where it looks at bytes that are not there
//! yet it goes wrong, and the range it missed is remembered: whoever does the I/O brings that range and
//! parses again, from the start. What a parser says counts only once it has missed nothing.

use std::cell::Cell;
use std::ops::Range;

use super::bytes::{Order, slice};
use crate::vocabulary::reason::Rejection;

/// What a parser says about an object that has been read in part.
#[derive(Debug)]
pub enum Parsed<T> {
    /// It has to see these bytes first.
    Needs(Range<usize>),
    /// It says what it would say about the whole object.
    Done(Result<T, Rejection>),
}

impl<T> Parsed<T> {
    /// Makes something else of what the parser found.
    pub(crate) fn map<U>(self, make: impl FnOnce(T) -> U) -> Parsed<U> {
        match self {
            Self::Needs(range) => Parsed::Needs(range),
            Self::Done(found) => Parsed::Done(found.map(make)),
        }
    }
}

/// The ranges of an object that have been read so far.
#[derive(Debug)]
pub struct Partial {
    len: usize,
    pieces: Vec<Piece>,
    /// A piece that is not kept.
    passing: Option<Piece>,
    missing: Cell<Option<(usize, usize)>>,
}

#[derive(Debug)]
struct Piece {
    start: usize,
    bytes: Vec<u8>,
}

impl Piece {
    fn end(&self) -> usize {
        self.start + self.bytes.len()
    }
}

impl Partial {
    /// Starts with nothing of an object of `len` bytes.
    #[must_use]
    pub fn new(len: usize) -> Self {
        Self { len, pieces: Vec::new(), passing: None, missing: Cell::new(None) }
    }

    /// Adds what was read from `start` on.
    pub fn add(&mut self, start: usize, bytes: &[u8]) {
        match self.pieces.iter_mut().find(|piece| piece.end() == start) {
            Some(before) => before.bytes.extend_from_slice(bytes),
            None => self.pieces.push(Piece { start, bytes: bytes.to_vec() }),
        }
    }

    /// Shows what was read from `start` on, until the next call: for a parser that remembers what it has seen.
    pub fn pass(&mut self, start: usize, bytes: &[u8]) {
        self.passing = Some(Piece { start, bytes: bytes.to_vec() });
    }

    /// Shows only what is kept.
    pub fn end_passing(&mut self) {
        self.passing = None;
    }

    /// Runs a parser over what has been read.
    pub fn parse<T>(&self, parser: impl FnOnce(View<'_>) -> Result<T, Rejection>) -> Parsed<T> {
        let parsed = parser(View::Partial(self));
        self.take_missing().map_or(Parsed::Done(parsed), Parsed::Needs)
    }

    /// Returns the bytes of a range if all of them have been read.
    #[must_use]
    pub fn held(&self, range: &Range<u64>) -> Option<&[u8]> {
        let start = usize::try_from(range.start).ok()?;
        let len = usize::try_from(range.end.checked_sub(range.start)?).ok()?;
        self.pieces.iter().find_map(|piece| slice(&piece.bytes, start.checked_sub(piece.start)?, len))
    }

    /// Returns the first range that was missed since the last call.
    pub(crate) fn take_missing(&self) -> Option<Range<usize>> {
        self.missing.take().map(|(start, end)| start..end)
    }

    fn slice(&self, at: usize, len: usize) -> Option<&[u8]> {
        let end = at.checked_add(len).filter(|&end| end <= self.len)?;
        if len == 0 {
            return Some(&[]);
        }
        let mut pieces = self.passing.iter().chain(&self.pieces);
        let found = pieces.find_map(|piece| slice(&piece.bytes, at.checked_sub(piece.start)?, len));
        if found.is_none() && self.missing.get().is_none() {
            // What is there of the range need not be read again.
            let held = self.pieces.iter().find(|piece| (piece.start..piece.end()).contains(&at));
            self.missing.set(Some((held.map_or(at, Piece::end), end)));
        }
        found
    }

    fn prefix(&self) -> &[u8] {
        self.pieces.iter().find(|piece| piece.start == 0).map_or(&[], |piece| &piece.bytes)
    }
}

/// The bytes of one object as parsers see them.
#[derive(Clone, Copy, Debug)]
pub enum View<'a> {
    /// All of them.
    Whole(&'a [u8]),
    /// Those that have been read so far.
    Partial(&'a Partial),
}

impl<'a> View<'a> {
    /// Returns the number of bytes of the object, read or not.
    pub fn object_bytes(self) -> usize {
        match self {
            Self::Whole(bytes) => bytes.len(),
            Self::Partial(partial) => partial.len,
        }
    }

    /// Returns `len` bytes from `at`; `None` past the end, and where they have not been read.
    pub fn slice(self, at: usize, len: usize) -> Option<&'a [u8]> {
        match self {
            Self::Whole(bytes) => slice(bytes, at, len),
            Self::Partial(partial) => partial.slice(at, len),
        }
    }

    /// Returns all that is there from the beginning without a gap.
    pub(crate) fn prefix(self) -> &'a [u8] {
        match self {
            Self::Whole(bytes) => bytes,
            Self::Partial(partial) => partial.prefix(),
        }
    }

    /// Reads an unsigned 16-bit integer.
    pub(crate) fn u16(self, order: Order, at: usize) -> Option<u16> {
        order.u16(self.slice(at, 2)?, 0)
    }

    /// Reads an unsigned 32-bit integer.
    pub(crate) fn u32(self, order: Order, at: usize) -> Option<u32> {
        order.u32(self.slice(at, 4)?, 0)
    }

    /// Reads an unsigned 64-bit integer.
    pub(crate) fn u64(self, order: Order, at: usize) -> Option<u64> {
        order.u64(self.slice(at, 8)?, 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_range_that_is_missed_is_remembered() {
        let mut partial = Partial::new(100);
        partial.add(0, b"0123456789");
        let view = View::Partial(&partial);
        assert_eq!(
            (view.object_bytes(), view.slice(2, 3), view.prefix().len()),
            (100, Some(&b"234"[..]), 10)
        );
        assert_eq!(partial.take_missing(), None);
        assert_eq!((view.slice(8, 6), view.slice(50, 4)), (None, None));
        assert_eq!(partial.take_missing(), Some(10..14), "what is there is not asked for again");
        assert_eq!(view.slice(99, 2), None);
        assert_eq!(partial.take_missing(), None, "there is nothing past the end");
        assert_eq!(
            (view.slice(60, 0), partial.take_missing()),
            (Some(&b""[..]), None),
            "nothing is always there"
        );
    }

    #[test]
    fn what_passes_is_there_until_the_next() {
        let mut partial = Partial::new(100);
        partial.add(0, b"0123");
        partial.pass(2, b"2345");
        assert_eq!(View::Partial(&partial).slice(3, 3), Some(&b"345"[..]));
        partial.pass(50, b"x");
        assert_eq!(View::Partial(&partial).slice(50, 1), Some(&b"x"[..]));
        assert_eq!((View::Partial(&partial).slice(3, 3), partial.take_missing()), (None, Some(4..6)));
        partial.end_passing();
        assert_eq!((View::Partial(&partial).slice(50, 1), partial.held(&(0..4))), (None, Some(&b"0123"[..])));
    }

    #[test]
    fn pieces_that_touch_become_one() {
        let mut partial = Partial::new(8);
        partial.add(4, b"4567");
        partial.add(0, b"01");
        partial.add(2, b"23");
        let view = View::Partial(&partial);
        assert_eq!(view.u32(Order::Big, 0), Some(u32::from_be_bytes(*b"0123")));
        assert_eq!(view.u16(Order::Little, 6), Some(u16::from_le_bytes(*b"67")));
        assert_eq!(partial.take_missing(), None);
    }
}
