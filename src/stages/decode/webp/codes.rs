//! Counts the groups of prefix codes of a lossless image (RFC 9649, 3.7.2), without decoding it.
//!
//! Each group is five tables, which a file pays for with a few bytes; the entropy image says how many groups there are,
//! so that and what stands before it is read: transforms, which are small images without groups of their own.

const GREEN: usize = 0;
const NUM_CODES: usize = 5;
const ALPHABETS: [usize; NUM_CODES] = [280, 256, 256, 256, 40];
const MAX_CODE_BITS: usize = 15;
/// The order in which the lengths of the codes of lengths are stored (3.7.2.1.2).
const LENGTHS_ORDER: [usize; 19] = [17, 18, 0, 1, 2, 3, 4, 5, 16, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];
/// Where the first distance codes lie, as places above and to the left (5.2.2, `kCodeToPlane`): 8 − x in the lower four
/// bits, y in the upper ones.
#[rustfmt::skip]
static NEAR: [u8; 120] = [
    0x18, 0x07, 0x17, 0x19, 0x28, 0x06, 0x27, 0x29, 0x16, 0x1A, 0x26, 0x2A,
    0x38, 0x05, 0x37, 0x39, 0x15, 0x1B, 0x36, 0x3A, 0x25, 0x2B, 0x48, 0x04,
    0x47, 0x49, 0x14, 0x1C, 0x35, 0x3B, 0x46, 0x4A, 0x24, 0x2C, 0x58, 0x45,
    0x4B, 0x34, 0x3C, 0x03, 0x57, 0x59, 0x13, 0x1D, 0x56, 0x5A, 0x23, 0x2D,
    0x44, 0x4C, 0x55, 0x5B, 0x33, 0x3D, 0x68, 0x02, 0x67, 0x69, 0x12, 0x1E,
    0x66, 0x6A, 0x22, 0x2E, 0x54, 0x5C, 0x43, 0x4D, 0x65, 0x6B, 0x32, 0x3E,
    0x78, 0x01, 0x77, 0x79, 0x53, 0x5D, 0x11, 0x1F, 0x64, 0x6C, 0x42, 0x4E,
    0x76, 0x7A, 0x21, 0x2F, 0x75, 0x7B, 0x31, 0x3F, 0x63, 0x6D, 0x52, 0x5E,
    0x00, 0x74, 0x7C, 0x41, 0x4F, 0x10, 0x20, 0x62, 0x6E, 0x30, 0x73, 0x7D,
    0x51, 0x5F, 0x40, 0x72, 0x7E, 0x61, 0x6F, 0x50, 0x71, 0x7F, 0x60, 0x70,
];

/// What a lossless image announces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Groups {
    pub(super) count: u32,
    /// Values of the largest of the five codes of each.
    pub(super) alphabet: usize,
}

/// Counts the groups of an image; `None` where the data end before or contradict themselves.
///
/// - `data`: what follows the header, or the whole of a lossless alpha channel
pub(super) fn groups(data: &[u8], width: u32, height: u32) -> Option<Groups> {
    let mut bits = Bits { data, at: 0 };
    let mut width = width;
    while bits.take(1)? == 1 {
        match bits.take(2)? {
            0 | 1 => {
                let block = bits.take(3)? + 2;
                image(&mut bits, blocks(width, block), blocks(height, block))?;
            }
            2 => {}
            _ => {
                let colours = bits.take(8)? + 1;
                image(&mut bits, colours, 1)?;
                let packed = match colours {
                    ..=2 => 3,
                    3..=4 => 2,
                    5..=16 => 1,
                    _ => 0,
                };
                width = blocks(width, packed);
            }
        }
    }
    let cache_bits = if bits.take(1)? == 1 { bits.take(4)? } else { 0 };
    let alphabet = ALPHABETS[GREEN] + if cache_bits == 0 { 0 } else { 1 << cache_bits };
    if bits.take(1)? == 0 {
        return Some(Groups { count: 1, alphabet });
    }
    let block = bits.take(3)? + 2;
    let entropy = image(&mut bits, blocks(width, block), blocks(height, block))?;
    let last = entropy.iter().map(|pixel| pixel >> 8 & 0xFFFF).max()?;
    Some(Groups { count: last + 1, alphabet })
}

fn blocks(side: u32, bits: u32) -> u32 {
    side.div_ceil(1 << bits)
}

/// Least significant bits first.
struct Bits<'a> {
    data: &'a [u8],
    at: usize,
}

impl Bits<'_> {
    fn take(&mut self, count: u32) -> Option<u32> {
        let mut value = 0;
        for shift in 0..count {
            let byte = self.data.get(self.at / 8)?;
            value |= u32::from(byte >> (self.at % 8) & 1) << shift;
            self.at += 1;
        }
        Some(value)
    }

    /// Returns a length or a distance (5.2.2).
    fn prefix_coded(&mut self, symbol: u32) -> Option<usize> {
        if symbol < 4 {
            return Some(symbol as usize + 1);
        }
        let extra = (symbol - 2) >> 1;
        let offset = (2 + (symbol & 1)) << extra;
        Some((offset + self.take(extra)?) as usize + 1)
    }
}

/// A canonical prefix code.
struct Code {
    counts: [u16; MAX_CODE_BITS + 1],
    /// Its symbols by length, then by value; a single one takes no bits.
    symbols: Vec<u16>,
}

impl Code {
    fn of_lengths(lengths: &[u8]) -> Option<Self> {
        let mut counts = [0; MAX_CODE_BITS + 1];
        lengths.iter().filter(|&&length| length > 0).for_each(|&length| counts[usize::from(length)] += 1);
        let mut symbols: Vec<u16> =
            (0..lengths.len() as u16).filter(|&at| lengths[usize::from(at)] > 0).collect();
        symbols.sort_by_key(|&symbol| lengths[usize::from(symbol)]);
        (!symbols.is_empty()).then_some(Self { counts, symbols })
    }

    fn read(bits: &mut Bits<'_>, alphabet: usize) -> Option<Self> {
        if bits.take(1)? == 1 {
            return Self::simple(bits, alphabet);
        }
        let mut lengths = [0; LENGTHS_ORDER.len()];
        for &at in LENGTHS_ORDER.iter().take(4 + bits.take(4)? as usize) {
            lengths[at] = bits.take(3)? as u8;
        }
        Self::of_lengths(&Self::of_lengths(&lengths)?.lengths(bits, alphabet)?)
    }

    fn simple(bits: &mut Bits<'_>, alphabet: usize) -> Option<Self> {
        let both = bits.take(1)? == 1;
        let first_bits = if bits.take(1)? == 1 { 8 } else { 1 };
        let mut lengths = vec![0; alphabet];
        *lengths.get_mut(bits.take(first_bits)? as usize)? = 1;
        if both {
            *lengths.get_mut(bits.take(8)? as usize)? = 1;
        }
        Self::of_lengths(&lengths)
    }

    /// Reads the lengths of another code with this one.
    fn lengths(&self, bits: &mut Bits<'_>, alphabet: usize) -> Option<Vec<u8>> {
        let mut left = alphabet;
        if bits.take(1)? == 1 {
            let count_bits = 2 + 2 * bits.take(3)?;
            left = 2 + bits.take(count_bits)? as usize;
        }
        let (mut lengths, mut before) = (Vec::with_capacity(alphabet), 8);
        while lengths.len() < alphabet && left > 0 {
            left -= 1;
            let (length, repeat) = match self.symbol(bits)? {
                16 => (before, 3 + bits.take(2)?),
                17 => (0, 3 + bits.take(3)?),
                18 => (0, 11 + bits.take(7)?),
                length => (length as u8, 1),
            };
            if length > 0 {
                before = length;
            }
            lengths.extend(std::iter::repeat_n(length, repeat as usize));
        }
        if lengths.len() > alphabet {
            return None;
        }
        lengths.resize(alphabet, 0);
        Some(lengths)
    }

    fn symbol(&self, bits: &mut Bits<'_>) -> Option<u32> {
        if let [symbol] = self.symbols[..] {
            return Some(symbol.into());
        }
        let (mut code, mut first, mut index) = (0_usize, 0_usize, 0_usize);
        for &count in &self.counts[1..] {
            code = code << 1 | bits.take(1)? as usize;
            let count = usize::from(count);
            if code < first + count {
                return self.symbols.get(index + code.checked_sub(first)?).map(|&symbol| symbol.into());
            }
            index += count;
            first = (first + count) << 1;
        }
        None
    }
}

/// Decodes an image that has one group of codes.
fn image(bits: &mut Bits<'_>, width: u32, height: u32) -> Option<Vec<u32>> {
    let cache_bits = if bits.take(1)? == 1 { bits.take(4)? } else { 0 };
    let mut cache = vec![0; if cache_bits == 0 { 0 } else { 1 << cache_bits }];
    let mut codes = Vec::with_capacity(NUM_CODES);
    for (index, alphabet) in ALPHABETS.into_iter().enumerate() {
        codes.push(Code::read(bits, alphabet + if index == GREEN { cache.len() } else { 0 })?);
    }
    let len = width as usize * height as usize;
    let mut pixels: Vec<u32> = Vec::new();
    while pixels.len() < len {
        let start = pixels.len();
        match codes[GREEN].symbol(bits)? {
            green @ ..256 => {
                let mut band = |index: usize| codes[index].symbol(bits);
                let (red, blue, alpha) = (band(1)?, band(2)?, band(3)?);
                pixels.push(alpha << 24 | red << 16 | green << 8 | blue);
            }
            symbol @ 256..280 => {
                let count = bits.prefix_coded(symbol - 256)?;
                let code = codes[4].symbol(bits)?;
                let distance = distance(bits.prefix_coded(code)?, width);
                if distance > start || count > len - start {
                    return None;
                }
                (0..count).for_each(|_| pixels.push(pixels[pixels.len() - distance]));
            }
            symbol => pixels.push(*cache.get(symbol as usize - 280)?),
        }
        if cache_bits > 0 {
            for &pixel in &pixels[start..] {
                cache[(pixel.wrapping_mul(0x1E35_A7BD) >> (32 - cache_bits)) as usize] = pixel;
            }
        }
    }
    Some(pixels)
}

/// Returns how many pixels before a distance code means.
fn distance(code: usize, width: u32) -> usize {
    let Some(&near) = NEAR.get(code - 1) else { return code - NEAR.len() };
    let (above, left) = (i64::from(near >> 4), 8 - i64::from(near & 15));
    usize::try_from(above * i64::from(width) + left).unwrap_or(0).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_without_an_entropy_image_has_one_group() {
        assert_eq!(groups(&[0], 8, 8), Some(Groups { count: 1, alphabet: 280 }));
        // A colour cache of 2 bits.
        assert_eq!(groups(&[0b1010, 0], 8, 8), Some(Groups { count: 1, alphabet: 284 }));
        assert_eq!(groups(&[], 8, 8), None);
    }

    #[test]
    fn the_entropy_image_says_how_many_groups_there_are() {
        // No transform, no cache, an entropy image of blocks of 4×4; in it no cache, and codes of one symbol each: green
        // and red of all pixels. Bits from the lowest.
        let simple = |symbol: u32| (0b101 | symbol << 3, 11);
        let parts =
            [(0, 1), (0, 1), (1, 1), (0, 3), (0, 1), simple(3), simple(2), simple(0), simple(0), simple(0)];
        let (mut data, mut at) = (vec![0; 16], 0);
        for (value, count) in parts {
            for shift in 0..count {
                data[at / 8] |= ((value >> shift & 1) as u8) << (at % 8);
                at += 1;
            }
        }
        assert_eq!(groups(&data, 8, 8), Some(Groups { count: 0x204, alphabet: 280 }));
    }
}
