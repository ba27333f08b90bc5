//! Huffman tables that tell how far a code reaches, or which value it yields.

use std::cell::{OnceCell, RefCell};
use std::rc::Rc;

use super::bits::BitReader;
use super::coefficients::extend;
use crate::format::image::corrupt;
use crate::reason::Rejection;

const LOOKUP_BITS: u32 = 11;
const MAX_CODE_BITS: usize = 16;
/// Tables kept for the next images: most files carry the same four.
const MAX_KEPT: usize = 16;

/// Added to the coefficient index by an end-of-block code, which no run can reach.
pub(super) const END_OF_BLOCK: u32 = 128;

/// One or two codes with the bits of their values, as one step through a block.
///
/// Bits 0 to 7: bits of both; 8 to 15: coefficients passed by both; 16 to 23 and 24 to 31: the same
/// of the first alone. Zero where the code is longer than the lookup.
#[derive(Clone, Copy)]
pub(super) struct Step(u32);

impl Step {
    fn one(bits: u32, passed: u32) -> Self {
        Self((bits | passed << 8) * 0x1_0001)
    }

    fn with(self, next: Self) -> Self {
        let (bits, passed) =
            (self.first_bits() + next.first_bits(), self.first_passed() + next.first_passed());
        Self(self.0 & 0xFFFF_0000 | passed << 8 | bits)
    }

    #[inline]
    pub(super) fn bits(self) -> u32 {
        self.0 & 0xFF
    }

    #[inline]
    pub(super) fn passed(self) -> u32 {
        self.0 >> 8 & 0xFF
    }

    #[inline]
    pub(super) fn first_bits(self) -> u32 {
        self.0 >> 16 & 0xFF
    }

    #[inline]
    pub(super) fn first_passed(self) -> u32 {
        self.0 >> 24
    }
}

/// An AC code with its value.
///
/// Bits 0 to 7: bits of both; 8 to 15: zero coefficients before; 16 to 31: the value, which is zero
/// where code and value are longer than the lookup, or where there is no value.
#[derive(Clone, Copy)]
pub(super) struct Coefficient(u32);

impl Coefficient {
    pub(super) const LOOKUP_BITS: u32 = 10;

    #[inline]
    pub(super) fn value(self) -> Option<i16> {
        let value = (self.0 >> 16) as i16;
        (value != 0).then_some(value)
    }

    #[inline]
    pub(super) fn run(self) -> usize {
        (self.0 >> 8 & 0xFF) as usize
    }

    #[inline]
    pub(super) fn bits(self) -> u32 {
        self.0 & 0xFF
    }
}

/// A Huffman table of one DHT segment.
pub(super) struct Table {
    /// By the next [`LOOKUP_BITS`] bits: the steps of a sequential AC scan.
    steps: OnceCell<Box<[Step; 1 << LOOKUP_BITS]>>,
    /// By the next [`Coefficient::LOOKUP_BITS`] bits: the values of a sequential AC scan.
    coefficients: OnceCell<Box<[Coefficient; 1 << Coefficient::LOOKUP_BITS]>>,
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
    fn build(counts: &[u8], values: &[u8]) -> Result<Self, Rejection> {
        let mut table = Self {
            steps: OnceCell::new(),
            coefficients: OnceCell::new(),
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

    fn steps(&self) -> &[Step; 1 << LOOKUP_BITS] {
        self.steps.get_or_init(|| {
            let mut steps = Box::new([Step(0); 1 << LOOKUP_BITS]);
            steps.iter_mut().enumerate().for_each(|(window, step)| *step = self.combined(window));
            steps
        })
    }

    /// Returns the values by the next bits.
    pub(super) fn coefficients(&self) -> &[Coefficient; 1 << Coefficient::LOOKUP_BITS] {
        self.coefficients.get_or_init(|| {
            let mut table = Box::new([Coefficient(0); 1 << Coefficient::LOOKUP_BITS]);
            table.iter_mut().enumerate().for_each(|(window, entry)| *entry = self.coefficient(window));
            table
        })
    }

    fn coefficient(&self, window: usize) -> Coefficient {
        let wide = window << (LOOKUP_BITS - Coefficient::LOOKUP_BITS);
        let (code_bits, symbol) = self.symbols[wide];
        let (run, value_bits) = (u32::from(symbol >> 4), u32::from(symbol & 15));
        let bits = u32::from(code_bits) + value_bits;
        if code_bits == 0 || value_bits == 0 || bits > Coefficient::LOOKUP_BITS {
            return Coefficient(0);
        }
        let raw = window >> (Coefficient::LOOKUP_BITS - bits) & ((1 << value_bits) - 1);
        let value = extend(raw as i32, value_bits);
        Coefficient((value as u32) << 16 | run << 8 | bits)
    }

    /// Returns the length and the symbol of the code that begins the next 16 bits.
    #[inline]
    pub(super) fn code_at(&self, window: usize) -> Option<(u32, u8)> {
        match self.symbols[window >> (MAX_CODE_BITS as u32 - LOOKUP_BITS)] {
            (0, _) => self.search(window).ok(),
            (bits, symbol) => Some((bits.into(), symbol)),
        }
    }

    fn combined(&self, window: usize) -> Step {
        let Some(first) = self.single(window) else { return Step(0) };
        let used = first.first_bits();
        if used >= LOOKUP_BITS || first.first_passed() >= END_OF_BLOCK {
            return first;
        }
        let rest = window << used & ((1 << LOOKUP_BITS) - 1);
        match self.symbols[rest] {
            (bits, _) if bits == 0 || u32::from(bits) > LOOKUP_BITS - used => first,
            _ => self.single(rest).map_or(first, |second| first.with(second)),
        }
    }

    fn single(&self, window: usize) -> Option<Step> {
        let (bits, symbol) = self.symbols[window];
        (bits != 0).then(|| {
            let (bits, passed) = Self::reach(u32::from(bits), symbol);
            Step::one(bits, passed)
        })
    }

    /// Returns the bits of a sequential AC code with its value, and the coefficients it passes.
    fn reach(code_bits: u32, symbol: u8) -> (u32, u32) {
        let (run, value_bits) = (u32::from(symbol >> 4), u32::from(symbol & 15));
        match (run, value_bits) {
            (15, 0) => (code_bits, 16),
            (_, 0) => (code_bits, END_OF_BLOCK),
            _ => (code_bits + value_bits, run + 1),
        }
    }

    /// Returns the step at the reader's position; `None` where the first code is longer than the lookup.
    #[inline]
    pub(super) fn step(&self, reader: &BitReader<'_>) -> Option<Step> {
        let step = self.step_at(reader.peek(MAX_CODE_BITS as u32));
        (step.0 != 0).then_some(step)
    }

    /// Returns the step that begins the next 16 bits; of no bits where the first code is longer than the
    /// lookup.
    #[inline]
    pub(super) fn step_at(&self, window: usize) -> Step {
        self.steps()[window >> (MAX_CODE_BITS as u32 - LOOKUP_BITS)]
    }

    /// Returns the bits of the code, with its value, that begins the next 16 bits, and the coefficients it
    /// passes.
    #[cold]
    pub(super) fn long_step_at(&self, window: usize) -> Result<(u32, u32), Rejection> {
        let (bits, symbol) = self.search(window)?;
        Ok(Self::reach(bits, symbol))
    }

    /// Takes one code with its value and returns the coefficients it passes.
    #[cold]
    pub(super) fn take_long_step(&self, reader: &mut BitReader<'_>) -> Result<u32, Rejection> {
        reader.refill();
        let (bits, passed) = self.long_step_at(reader.peek(MAX_CODE_BITS as u32))?;
        reader.drop(bits);
        Ok(passed)
    }

    /// Takes a code and returns its symbol.
    #[inline]
    pub(super) fn take_symbol(&self, reader: &mut BitReader<'_>) -> Result<u8, Rejection> {
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
    fn search(&self, window: usize) -> Result<(u32, u8), Rejection> {
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
    pub(super) fn define(&mut self, mut body: &[u8]) -> Result<(), Rejection> {
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

    pub(super) fn dc(&self, destination: u8) -> Result<&Table, Rejection> {
        self.get(0, destination)
    }

    pub(super) fn ac(&self, destination: u8) -> Result<&Table, Rejection> {
        self.get(1, destination)
    }

    fn get(&self, class: usize, destination: u8) -> Result<&Table, Rejection> {
        let table = self.0[class].get(usize::from(destination)).and_then(Option::as_deref);
        table.ok_or_else(|| corrupt("a scan refers to a Huffman table that is not there"))
    }
}

type Kept = Vec<(Box<[u8]>, Rc<Table>)>;

/// Returns this thread's table of the same definition, or builds it.
fn cached(definition: &[u8]) -> Result<Rc<Table>, Rejection> {
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
