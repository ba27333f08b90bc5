//! Huffman tables that tell how far a code reaches, or which value it yields.

use std::cell::{OnceCell, RefCell};
use std::rc::Rc;

use tilefleet_codec::{Error, corrupt};

use super::bits::BitReader;
use super::standard;

const LOOKUP_BITS: u32 = 11;
const MAX_CODE_BITS: usize = 16;
/// Tables kept for the next images: most files carry the same four.
const MAX_KEPT: usize = 16;

/// More bits than the values of 8-bit samples take (T.81, tables F.1 and F.2).
pub(super) const MAX_DC_BITS: u32 = 11;
/// The same, of AC coefficients.
pub(super) const MAX_AC_BITS: u32 = 10;

/// Added to the coefficient index by an end-of-block code, which no run can reach.
pub(super) const END_OF_BLOCK: u32 = 128;

/// What one lookup takes of a block: up to two coefficients, then maybe the end of the block.
///
/// Bits 0 to 5: bits of all codes and values; 6: see [`Leap::WIDE`]; 8 to 15: coefficients passed, more by
/// [`END_OF_BLOCK`] at the end; 16 to 20 and 21 to 25: coefficients before each of the two; 26 to 31: coefficients passed
/// without the last code; 32 to 47 and 48 to 63: the two values. A single coefficient stands there twice,
/// and the end alone as a zero, which is there anyway.
#[derive(Clone, Copy)]
pub(super) struct Leap(u64);

impl Leap {
    /// More would take fewer lookups, from tables that push each other out of the first cache.
    pub(super) const LOOKUP_BITS: u32 = 10;
    /// The lookup does not reach; no block has so many coefficients left.
    const TOO_SHORT: Self = Self(63 << 26);
    /// The code lies in the lookup, its value does not: in place of the value stand its bits.
    const WIDE: u64 = 1 << 6;

    fn new(first: Single, second: Option<Single>, end: Option<Single>) -> Self {
        let last = second.unwrap_or(first);
        let before_second = second.map_or(0, |_| first.passed);
        let before_end = before_second + last.passed;
        let before_last = if end.is_some() { before_end } else { before_second };
        let passed = before_end + end.map_or(0, |end| end.passed);
        let bits = [Some(first), second, end].into_iter().flatten().map(|single| single.bits).sum::<u32>();
        let place = |before: u32, single: Single| before + single.before();
        let low =
            bits | passed << 8 | place(0, first) << 16 | place(before_second, last) << 21 | before_last << 26;
        let values = u64::from(first.value as u16) | u64::from(last.value as u16) << 16;
        Self(u64::from(low) | values << 32)
    }

    /// One code: its bits with those of its value, coefficients before the value, coefficients passed.
    pub(super) fn of(bits: u32, before: u32, passed: u32, value: i16) -> Self {
        let low = bits | passed << 8 | before << 16 | before << 21;
        let values = u64::from(value as u16) * 0x1_0001;
        Self(u64::from(low) | values << 32)
    }

    /// A code whose value does not lie in the lookup.
    fn wide(code_bits: u32, value_bits: u32, run: u32) -> Self {
        let leap = Self::of(code_bits + value_bits, run, run + 1, value_bits as i16);
        Self(leap.0 | Self::WIDE | Self::TOO_SHORT.0)
    }

    /// Returns the leap with the value that the window has, if the code lies in the lookup.
    #[inline]
    pub(super) fn with_value(self, window: u64) -> Option<Self> {
        if self.0 & Self::WIDE == 0 {
            return None;
        }
        let value_bits = (self.0 >> 32) as u32 & 0xFF;
        let value = value_at(window << ((self.bits() & 63) - value_bits), value_bits);
        let values = u64::from(value as u16) * 0x1_0001;
        Some(Self(self.0 & 0xFFFF_FFFF | values << 32))
    }

    /// Tells whether the block has coefficients left for all codes of the lookup.
    ///
    /// - `left`: coefficients left, at most 63
    #[inline]
    pub(super) fn fits(self, left: usize) -> bool {
        ((self.0 as u32) >> 26) < left as u32
    }

    /// Returns the bits of all codes and values, in the lower six bits of the number.
    #[inline]
    pub(super) fn bits(self) -> u32 {
        self.0 as u32
    }

    /// Returns how many coefficients this lookup moves on.
    #[inline]
    pub(super) fn passed(self) -> usize {
        (self.0 >> 8 & 0xFF) as usize
    }

    /// Returns two coefficients, which may be one and the same: how many pass before, and the value.
    #[inline]
    pub(super) fn coefficients(self) -> [(usize, i16); 2] {
        let offset = |shift: u32| (self.0 >> shift & 31) as usize;
        [(offset(16), (self.0 >> 32) as i16), (offset(21), (self.0 >> 48) as i16)]
    }
}

/// A code with its value.
#[derive(Clone, Copy)]
struct Single {
    bits: u32,
    /// Coefficients passed; [`END_OF_BLOCK`] at the end.
    passed: u32,
    value: i16,
}

impl Single {
    fn is_end(self) -> bool {
        self.passed == END_OF_BLOCK
    }

    /// Returns the zero coefficients before the value.
    fn before(self) -> u32 {
        if self.is_end() { 0 } else { self.passed - 1 }
    }
}

/// A DC code with its value.
///
/// Bits 0 to 5: bits of both, zero where the code is longer than the lookup; 8 to 15: the bits of the value, if
/// that does not lie in the lookup; 16 to 31: the value, if it does.
#[derive(Clone, Copy)]
pub(super) struct Difference(u32);

impl Difference {
    /// Bits that one lookup looks at.
    pub(super) const LOOKUP_BITS: u32 = 10;

    /// Returns the bits of code and value, and the value; `None` where the code is longer than the lookup.
    #[inline]
    pub(super) fn read(self, window: u64) -> Option<(u32, i32)> {
        let (bits, value_bits) = (self.0 & 63, self.0 >> 8 & 0xFF);
        match (bits, value_bits) {
            (0, _) => None,
            (_, 0) => Some((bits, (self.0 as i32) >> 16)),
            _ => Some((bits, value_at(window << (bits - value_bits), value_bits))),
        }
    }
}

/// A code of a lossless scan: how many bits a difference has (T.81, H.1.2.2).
///
/// Bits 0 to 5: bits of the code and the difference, zero where the code is longer than the lookup; 16 to 30: as many
/// ones as the difference has bits; 31: the difference of 32768, which has none.
#[derive(Clone, Copy)]
pub(super) struct Category(u32);

impl Category {
    /// Bits that one lookup looks at.
    pub(super) const LOOKUP_BITS: u32 = LOOKUP_BITS;

    /// `None` for a symbol that is no category.
    fn new(code_bits: u32, symbol: u8) -> Option<Self> {
        match u32::from(symbol) {
            count @ 0..=15 => Some(Self((code_bits + count) | ((1 << count) - 1) << 16)),
            16 => Some(Self(code_bits | 1 << 31)),
            _ => None,
        }
    }

    /// Tells whether the code is longer than the lookup, or no code.
    #[inline]
    pub(super) fn is_long(self) -> bool {
        self.0 == 0
    }

    /// Returns the bits of the code and the difference, in the lower six bits of the number.
    #[inline]
    pub(super) fn bits(self) -> u32 {
        self.0
    }

    /// Returns the difference modulo 2¹⁶ that has its code at the beginning of a window.
    ///
    /// Without a branch, as differences of noise have any length.
    #[inline]
    pub(super) fn difference(self, window: u64) -> u16 {
        let mask = self.0 >> 16 & 0x7FFF;
        let raw = window.wrapping_shr(0u32.wrapping_sub(self.0)) as u32 & mask;
        let below = if raw <= mask >> 1 { mask } else { 0 };
        (raw.wrapping_sub(below) + (self.0 >> 16 & 0x8000)) as u16
    }
}

/// A Huffman table of one DHT segment.
pub(super) struct Table {
    /// By the next [`Leap::LOOKUP_BITS`] bits: the values of a sequential AC scan.
    leaps: OnceCell<Box<[Leap; 1 << Leap::LOOKUP_BITS]>>,
    /// By the next [`Difference::LOOKUP_BITS`] bits: the values of a DC scan.
    differences: OnceCell<Box<[Difference; 1 << Difference::LOOKUP_BITS]>>,
    /// By the next [`Category::LOOKUP_BITS`] bits: the categories of a lossless scan.
    categories: OnceCell<Box<[Category; 1 << Category::LOOKUP_BITS]>>,
    /// By the next [`LOOKUP_BITS`] bits: length of the code (0: longer) and its symbol.
    symbols: Box<[(u8, u8); 1 << LOOKUP_BITS]>,
    /// First code after those of each length, left-aligned to 16 bits.
    limits: [u32; MAX_CODE_BITS + 1],
    /// Index of a length's first symbol less its first code.
    offsets: [i32; MAX_CODE_BITS + 1],
    values: Vec<u8>,
}

impl Table {
    /// Builds a table from the counts of codes by length and the symbols (T.81, annex C).
    fn build(counts: &[u8], values: &[u8]) -> Result<Self, Error> {
        let mut table = Self {
            leaps: OnceCell::new(),
            differences: OnceCell::new(),
            categories: OnceCell::new(),
            symbols: Box::new([(0, 0); 1 << LOOKUP_BITS]),
            limits: [0; MAX_CODE_BITS + 1],
            offsets: [0; MAX_CODE_BITS + 1],
            values: values.to_vec(),
        };
        let (mut code, mut index) = (0u32, 0usize);
        for bits in 1..=MAX_CODE_BITS {
            table.offsets[bits] = index as i32 - code as i32;
            for _ in 0..counts[bits - 1] {
                table.enter(code, bits as u32, values[index]);
                code += 1;
                index += 1;
            }
            if code > 1 << bits {
                return Err(corrupt("a Huffman table has more codes than fit"));
            }
            table.limits[bits] = code << (MAX_CODE_BITS - bits);
            code <<= 1;
        }
        Ok(table)
    }

    fn enter(&mut self, code: u32, bits: u32, symbol: u8) {
        if bits <= LOOKUP_BITS && code < 1 << bits {
            let first = (code << (LOOKUP_BITS - bits)) as usize;
            let last = first + (1 << (LOOKUP_BITS - bits));
            self.symbols[first..last].fill((bits as u8, symbol));
        }
    }

    /// Returns the leaps through the AC coefficients of a sequential scan.
    pub(super) fn leaps(&self) -> &[Leap; 1 << Leap::LOOKUP_BITS] {
        self.leaps.get_or_init(|| {
            let singles: Vec<_> =
                (0..1 << Leap::LOOKUP_BITS).map(|window| self.single_value(window)).collect();
            let mut leaps = Box::new([Leap::TOO_SHORT; 1 << Leap::LOOKUP_BITS]);
            leaps.iter_mut().enumerate().for_each(|(window, leap)| {
                *leap = match singles[window] {
                    Some(first) => followed(window, first, &singles),
                    None => self.wide(window).unwrap_or(Leap::TOO_SHORT),
                };
            });
            leaps
        })
    }

    /// Returns the code that begins a lookup and lies in it with its value; none for a run of sixteen zeros.
    fn single_value(&self, window: usize) -> Option<Single> {
        let (code_bits, symbol) = self.code_in(window, Leap::LOOKUP_BITS)?;
        let (run, value_bits) = (u32::from(symbol >> 4), u32::from(symbol & 15));
        let bits = code_bits + value_bits;
        if bits > Leap::LOOKUP_BITS || (run, value_bits) == (15, 0) {
            return None;
        }
        let passed = if value_bits == 0 { END_OF_BLOCK } else { run + 1 };
        let value = value_in(window >> (Leap::LOOKUP_BITS - bits), value_bits);
        Some(Single { bits, passed, value: value as i16 })
    }

    /// Returns the leap of a code that lies in a lookup without its value.
    fn wide(&self, window: usize) -> Option<Leap> {
        let (code_bits, symbol) = self.code_in(window, Leap::LOOKUP_BITS)?;
        let (run, value_bits) = (u32::from(symbol >> 4), u32::from(symbol & 15));
        (1..=MAX_AC_BITS).contains(&value_bits).then(|| Leap::wide(code_bits, value_bits, run))
    }

    /// Returns the values of DC codes by the next bits.
    pub(super) fn differences(&self) -> &[Difference; 1 << Difference::LOOKUP_BITS] {
        self.differences.get_or_init(|| {
            let mut table = Box::new([Difference(0); 1 << Difference::LOOKUP_BITS]);
            table.iter_mut().enumerate().for_each(|(window, entry)| {
                *entry = self.difference(window).unwrap_or(Difference(0));
            });
            table
        })
    }

    fn difference(&self, window: usize) -> Option<Difference> {
        let (code_bits, symbol) = self.code_in(window, Difference::LOOKUP_BITS)?;
        let value_bits = Some(u32::from(symbol)).filter(|&bits| bits <= MAX_DC_BITS)?;
        let bits = code_bits + value_bits;
        Some(match Difference::LOOKUP_BITS.checked_sub(bits) {
            Some(behind) => Difference((value_in(window >> behind, value_bits) as u32) << 16 | bits),
            None => Difference(value_bits << 8 | bits),
        })
    }

    /// Returns the categories of a lossless scan by the next bits.
    pub(super) fn categories(&self) -> &[Category; 1 << Category::LOOKUP_BITS] {
        self.categories.get_or_init(|| {
            let mut table = Box::new([Category(0); 1 << Category::LOOKUP_BITS]);
            for (entry, &(bits, symbol)) in
                table.iter_mut().zip(self.symbols.iter()).filter(|(_, (bits, _))| *bits > 0)
            {
                *entry = Category::new(bits.into(), symbol).unwrap_or(Category(0));
            }
            table
        })
    }

    /// Returns the category of a code that [`Self::categories`] does not have, at the beginning of a window.
    #[cold]
    pub(super) fn long_category(&self, window: u64) -> Option<Category> {
        let (bits, symbol) = self.code_at((window >> 48) as usize).ok()?;
        Category::new(bits, symbol)
    }

    /// Returns the bits and the symbol of the code that begins a window of so many bits; `None` if it is longer.
    fn code_in(&self, window: usize, window_bits: u32) -> Option<(u32, u8)> {
        let (bits, symbol) = self.symbols[window << (LOOKUP_BITS - window_bits)];
        (1..=window_bits).contains(&bits.into()).then_some((bits.into(), symbol))
    }

    /// Returns the length and the symbol of the code that begins the next 16 bits.
    #[inline]
    pub(super) fn code_at(&self, window: usize) -> Result<(u32, u8), Error> {
        match self.symbols[window >> (MAX_CODE_BITS as u32 - LOOKUP_BITS)] {
            (0, _) => self.search(window),
            (bits, symbol) => Ok((bits.into(), symbol)),
        }
    }

    /// Returns the bits of the AC code, with its value, that begins the next 16 bits, and the coefficients it
    /// passes: more by [`END_OF_BLOCK`] at the end.
    pub(super) fn reach_at(&self, window: usize) -> Result<(u32, u32), Error> {
        let (code_bits, symbol) = self.code_at(window)?;
        let (run, value_bits) = (u32::from(symbol >> 4), u32::from(symbol & 15));
        Ok(match (run, value_bits) {
            (15, 0) => (code_bits, 16),
            (_, 0) => (code_bits, END_OF_BLOCK),
            _ => (code_bits + value_bits, run + 1),
        })
    }

    /// Takes a code and returns its symbol.
    #[inline]
    pub(super) fn take_symbol(&self, reader: &mut BitReader<'_>) -> Result<u8, Error> {
        reader.refill();
        let (bits, symbol) = match self.symbols[reader.peek(LOOKUP_BITS)] {
            (0, _) => self.search(reader.peek(MAX_CODE_BITS as u32))?,
            (bits, symbol) => (u32::from(bits), symbol),
        };
        reader.drop(bits);
        Ok(symbol)
    }

    /// Finds a code in the next 16 bits: its length and symbol.
    #[cold]
    fn search(&self, window: usize) -> Result<(u32, u8), Error> {
        let bits = (1..=MAX_CODE_BITS).find(|&bits| window < self.limits[bits] as usize);
        let bits = bits.ok_or_else(|| corrupt("the image data has a code that is in no Huffman table"))?;
        let code = (window >> (MAX_CODE_BITS - bits)) as i32;
        let index = usize::try_from(code + self.offsets[bits]).ok();
        let symbol = index.and_then(|index| self.values.get(index));
        let symbol = symbol.ok_or_else(|| corrupt("the image data has a code without a value"))?;
        Ok((bits as u32, *symbol))
    }
}

/// The tables that a scan refers to, by class (0: DC, 1: AC) and destination.
#[derive(Default)]
pub(super) struct Tables([[Option<Rc<Table>>; 4]; 2]);

impl Tables {
    /// Enters the tables of a DHT segment (T.81, B.2.4.2).
    pub(super) fn define(&mut self, mut body: &[u8]) -> Result<(), Error> {
        while let Some((&target, rest)) = body.split_first() {
            let counts = rest.get(..MAX_CODE_BITS).ok_or_else(|| corrupt("a Huffman table is cut off"))?;
            let num_values = counts.iter().map(|&count| usize::from(count)).sum::<usize>();
            let definition = rest.get(..MAX_CODE_BITS + num_values).filter(|_| num_values <= 256);
            let definition = definition.ok_or_else(|| corrupt("a Huffman table is cut off"))?;
            let slot =
                self.0.get_mut(usize::from(target >> 4)).and_then(|c| c.get_mut(usize::from(target & 15)));
            let slot =
                slot.ok_or_else(|| corrupt(format!("a Huffman table for destination {target:02x}")))?;
            *slot = Some(cached(definition)?);
            body = &rest[definition.len()..];
        }
        Ok(())
    }

    /// Enters the standard tables where there are none, as libjpeg does before a sequential frame: motion JPEG
    /// leaves them out.
    pub(super) fn add_standard(&mut self) -> Result<(), Error> {
        for (slots, definitions) in self.0.iter_mut().zip(&standard::DEFINITIONS) {
            for (slot, definition) in slots.iter_mut().zip(definitions).filter(|(slot, _)| slot.is_none()) {
                *slot = Some(cached(definition)?);
            }
        }
        Ok(())
    }

    /// Returns the table of DC differences with this number.
    pub(super) fn dc(&self, destination: u8) -> Result<&Table, Error> {
        self.get(0, destination)
    }

    /// Returns the table of AC coefficients with this number.
    pub(super) fn ac(&self, destination: u8) -> Result<&Table, Error> {
        self.get(1, destination)
    }

    fn get(&self, class: usize, destination: u8) -> Result<&Table, Error> {
        let table = self.0[class].get(usize::from(destination)).and_then(Option::as_deref);
        table.ok_or_else(|| corrupt("a scan refers to a Huffman table that is not there"))
    }
}

/// Returns the value in the first 1 to 16 bits of a window.
#[inline]
pub(super) fn value_at(window: u64, count: u32) -> i32 {
    extend((window >> (64 - count)) as i32, count)
}

/// Returns the value of `raw`, which has `count` bits (T.81, F.2.2.1, EXTEND).
pub(super) fn extend(raw: i32, count: u32) -> i32 {
    if raw < 1 << (count - 1) { raw - (1 << count) + 1 } else { raw }
}

/// Returns the value in the last bits of a window.
fn value_in(window: usize, bits: u32) -> i32 {
    if bits == 0 { 0 } else { extend((window & ((1 << bits) - 1)) as i32, bits) }
}

/// Adds to the first code of a lookup those behind that lie in it with their values.
fn followed(window: usize, first: Single, singles: &[Option<Single>]) -> Leap {
    let next = |used: u32| {
        let rest = window << used & ((1 << Leap::LOOKUP_BITS) - 1);
        singles[rest].filter(|single| used + single.bits <= Leap::LOOKUP_BITS)
    };
    if first.is_end() {
        return Leap::new(first, None, None);
    }
    match next(first.bits) {
        None => Leap::new(first, None, None),
        Some(end) if end.is_end() => Leap::new(first, None, Some(end)),
        // Two runs that are longer do not fit into the bits of a leap.
        Some(second) if first.passed + second.passed > 32 => Leap::new(first, None, None),
        Some(second) => {
            let end = next(first.bits + second.bits).filter(|single| single.is_end());
            Leap::new(first, Some(second), end)
        }
    }
}

type Kept = Vec<(Box<[u8]>, Rc<Table>)>;

/// Returns this thread's table of the same definition, or builds it.
fn cached(definition: &[u8]) -> Result<Rc<Table>, Error> {
    thread_local! {
        static KEPT: RefCell<Kept> = const { RefCell::new(Vec::new()) };
    }
    KEPT.with_borrow_mut(|kept| {
        if let Some(at) = kept.iter().position(|(known, _)| &**known == definition) {
            let table = Rc::clone(&kept[at].1);
            kept[..=at].rotate_right(1);
            return Ok(table);
        }
        let (counts, values) = definition.split_at(MAX_CODE_BITS);
        let table = Rc::new(Table::build(counts, values)?);
        kept.truncate(MAX_KEPT - 1);
        kept.insert(0, (definition.into(), Rc::clone(&table)));
        Ok(table)
    })
}
