//! Decodes lossless JPEG: each sample is a prediction from its neighbours and a Huffman-coded difference.
//!
//! In goes a whole file with a lossless frame (SOF3); out come its samples, exactly, or what is wrong with it. The
//! components of a scan may be interleaved, but have one size. A row is decoded in two steps: codes to differences, whose
//! speed is that of one lookup after the other, then differences to samples, in which only the row's neighbours matter.

use tilefleet_codec::{Error, Sample, corrupt, truncated, unsupported};

use super::bits::{Bits, PADDING, is_padding, unstuff};
use super::huffman::{Category, Table, Tables};
use crate::segments::{self, Segments, marker};
use crate::{Header, is_frame};

/// Decodes a file whose frame header is `header`.
///
/// - returns: `[height, width, components]`, row-major
///
/// The caller has found this many samples to be allowed. They are not allocated unless the file has a bit for each: no
/// code is shorter.
pub(super) fn decode<S: Sample>(bytes: &[u8], header: &Header) -> Result<Vec<S>, Error> {
    if header.num_samples() > 8 * bytes.len() as u64 {
        return Err(truncated("the image data has not one bit for each sample"));
    }
    let mut decoder = Decoder::new(header);
    let mut segments = Segments::new(bytes)?;
    loop {
        let segment = segments.next_segment()?;
        match segment.marker {
            marker::EOI => return decoder.finish(),
            marker::DHT => decoder.tables.define(segment.body)?,
            marker::DRI => decoder.restart_interval = segments::u16_at(segment.body, 0).unwrap_or(0).into(),
            marker::SOS => {
                let used = decoder.scan(segment.body, segments.rest())?;
                segments.skip(used);
            }
            marker::SOI => return Err(corrupt("an image begins inside the image")),
            code if is_frame(code) => decoder.begin_frame()?,
            _ => {}
        }
    }
}

struct Decoder<'a, S> {
    header: &'a Header,
    has_frame: bool,
    tables: Tables,
    restart_interval: usize,
    /// Whether a scan has given the component.
    given: Vec<bool>,
    samples: Vec<S>,
}

impl<'a, S: Sample> Decoder<'a, S> {
    fn new(header: &'a Header) -> Self {
        Self {
            header,
            has_frame: false,
            tables: Tables::default(),
            restart_interval: 0,
            given: vec![false; header.components.len()],
            samples: Vec::new(),
        }
    }

    fn begin_frame(&mut self) -> Result<(), Error> {
        if std::mem::replace(&mut self.has_frame, true) {
            return Err(corrupt("a second frame header"));
        }
        Ok(())
    }

    fn finish(self) -> Result<Vec<S>, Error> {
        if self.given.iter().all(|&given| given) {
            return Ok(self.samples);
        }
        Err(truncated("the image ends before all of its components"))
    }

    /// Decodes one scan; returns the length of its data.
    fn scan(&mut self, body: &[u8], data: &[u8]) -> Result<usize, Error> {
        let scan = Scan::parse(body, self.header, &mut self.given)?;
        let width = self.header.size.width as usize;
        if !self.restart_interval.is_multiple_of(width) {
            return Err(corrupt(format!(
                "restart intervals of {} samples are no whole rows of {width}",
                self.restart_interval
            )));
        }
        let tables =
            scan.parts.iter().map(|&(_, table)| self.tables.dc(table)).collect::<Result<Vec<_>, _>>()?;
        let num_rows = self.header.size.height as usize;
        let rows_per_segment =
            if self.restart_interval == 0 { num_rows } else { self.restart_interval / width };
        if self.samples.is_empty() {
            self.samples = vec![S::default(); self.header.num_samples() as usize];
        }
        let mut entropy = Entropy { data, at: 0, plain: Vec::new(), bits: Bits::default(), tables };
        let mut rows = Rows::new(width, &scan, self.header);
        let row_len = width * self.header.components.len();
        let segments = self.samples.chunks_mut(row_len * rows_per_segment);
        let num_segments = segments.len();
        for (index, segment) in segments.enumerate() {
            entropy.begin_segment(index)?;
            for (y, out) in segment.chunks_mut(row_len).enumerate() {
                entropy.differences(&mut rows.current)?;
                rows.predict(y == 0);
                rows.write(out)?;
            }
            entropy.end_segment(index + 1 == num_segments)?;
        }
        Ok(entropy.at)
    }
}

/// The parameters of a scan header (T.81, B.2.3).
struct Scan {
    /// Index of each component in the frame, with the destination of its table.
    parts: Vec<(usize, u8)>,
    /// The selection value of the predictor, 1 to 7 (T.81, table H.1).
    predictor: u8,
    /// Bits that every sample was divided by.
    point_transform: u8,
}

impl Scan {
    fn parse(body: &[u8], header: &Header, given: &mut [bool]) -> Result<Self, Error> {
        let bad = || corrupt("a scan header contradicts the frame header");
        let (&count, rest) = body.split_first().ok_or_else(bad)?;
        let (pairs, [predictor, _, transform]) =
            rest.split_at_checked(2 * usize::from(count)).ok_or_else(bad)?
        else {
            return Err(bad());
        };
        let mut parts = Vec::with_capacity(count.into());
        for &[id, tables] in pairs.as_chunks::<2>().0 {
            // Where ids are repeated, in the order of the frame.
            let index = (0..given.len()).find(|&index| header.components[index].id == id && !given[index]);
            let index = index.ok_or_else(bad)?;
            given[index] = true;
            parts.push((index, tables >> 4));
        }
        let scan = Self { parts, predictor: *predictor, point_transform: transform & 15 };
        if scan.parts.is_empty() || scan.point_transform >= header.precision {
            return Err(bad());
        }
        if !(1..=7).contains(predictor) {
            return Err(corrupt(format!("a lossless scan with predictor {predictor}")));
        }
        scan.check_sampling(header)?;
        Ok(scan)
    }

    /// Components of several sizes would have to be brought to one, which is not lossless.
    fn check_sampling(&self, header: &Header) -> Result<(), Error> {
        let factors: Vec<_> = header.components.iter().map(|component| (component.h, component.v)).collect();
        let same = factors.iter().all(|own| *own == factors[0]);
        // A component in a scan of its own is stored row by row whatever its factors (T.81, A.2.2).
        if same && (self.parts.len() == 1 || factors[0] == (1, 1)) {
            return Ok(());
        }
        Err(unsupported("lossless JPEG with subsampled components"))
    }
}

/// The entropy-coded data of a scan.
struct Entropy<'a> {
    data: &'a [u8],
    at: usize,
    /// The present segment without byte stuffing, then [`PADDING`].
    plain: Vec<u8>,
    bits: Bits,
    /// The table of each component of the scan.
    tables: Vec<&'a Table>,
}

/// Codes end: there are no more, or no code begins at this bit of the segment.
struct Stop(usize);

impl Entropy<'_> {
    /// Passes the restart marker before segment `index`, if it is not the first, and reads the segment.
    fn begin_segment(&mut self, index: usize) -> Result<(), Error> {
        if index > 0 {
            let expected = marker::RST0 + ((index - 1) % 8) as u8;
            self.pass_fill_bytes();
            match self.data.get(self.at + 1) {
                Some(&code) if code == expected => self.at += 2,
                Some(code) => {
                    return Err(corrupt(format!("marker FF{code:02X} where FF{expected:02X} belongs")));
                }
                None => return Err(no_end()),
            }
        }
        let (len, _) = unstuff(&self.data[self.at..], &mut self.plain);
        self.at += len;
        self.bits = Bits::default();
        Ok(())
    }

    fn pass_fill_bytes(&mut self) {
        while self.data[self.at..].starts_with(&[0xFF, 0xFF]) {
            self.at += 1;
        }
    }

    /// Checks that the segment holds all that was read, and no more; some cameras fill up the last one.
    fn end_segment(&self, last: bool) -> Result<(), Error> {
        let left = self.left()?;
        if left.is_empty() || last && is_padding(left) {
            return Ok(());
        }
        Err(corrupt(format!("{} bytes of image data are left over", left.len())))
    }

    /// Returns the bytes of the segment that were not read.
    fn left(&self) -> Result<&[u8], Error> {
        let used = self.bits.num_used();
        self.plain[..self.plain.len() - PADDING].get(used.div_ceil(8)..).ok_or_else(|| self.ended(Stop(used)))
    }

    /// Decodes the differences of one row, component by component.
    fn differences(&mut self, rows: &mut [Vec<u16>]) -> Result<(), Error> {
        let mut bits = self.bits;
        let done = match (&self.tables[..], rows) {
            ([table], [row]) => single(&mut bits, &self.plain, table, row),
            (tables, rows) => interleaved(&mut bits, &self.plain, tables, rows),
        };
        done.map_err(|stop| self.ended(stop))?;
        self.bits = bits;
        // So that no row is made of what stands behind the data.
        self.left().map(|_| ())
    }

    /// Names the cause of missing data: the end of the file, or damage before a marker.
    fn ended(&self, Stop(used): Stop) -> Error {
        // A code may begin in the data and end behind it.
        let short = used.div_ceil(8) + 2 > self.plain.len() - PADDING;
        match self.data.get(self.at + 1) {
            None if short => no_end(),
            _ if short => corrupt("the image data ends before all of its samples"),
            _ => corrupt("the image data has a code that is in no Huffman table"),
        }
    }
}

fn no_end() -> Error {
    truncated("the object ends inside the image data")
}

/// Decodes the differences of a scan with one component.
fn single(bits: &mut Bits, plain: &[u8], table: &Table, row: &mut [u16]) -> Result<(), Stop> {
    let categories = table.categories();
    let mut own = *bits;
    for pair in row.chunks_mut(2) {
        // Enough for two codes that lie in a lookup, with their differences.
        own.refill(plain).ok_or(Stop(own.num_used()))?;
        for difference in pair {
            *difference = one(&mut own, plain, table, categories)?;
        }
    }
    *bits = own;
    Ok(())
}

/// Decodes the differences of a scan with several components, pixel by pixel.
fn interleaved(bits: &mut Bits, plain: &[u8], tables: &[&Table], rows: &mut [Vec<u16>]) -> Result<(), Stop> {
    let width = rows.first().map_or(0, Vec::len);
    for x in 0..width {
        for (table, row) in tables.iter().zip(rows.iter_mut()) {
            bits.refill(plain).ok_or(Stop(bits.num_used()))?;
            row[x] = one(bits, plain, table, table.categories())?;
        }
    }
    Ok(())
}

/// Takes one code with its difference; at least 27 bits are available.
#[inline]
fn one(
    bits: &mut Bits,
    plain: &[u8],
    table: &Table,
    categories: &[Category; 1 << Category::LOOKUP_BITS],
) -> Result<u16, Stop> {
    let category = categories[bits.peek(Category::LOOKUP_BITS)];
    if category.is_long() {
        return long(bits, plain, table);
    }
    let difference = category.difference(bits.window);
    bits.drop_lower(category.bits());
    Ok(difference)
}

/// Takes a code that is longer than a lookup, and leaves as many bits as [`one`] wants.
#[cold]
fn long(bits: &mut Bits, plain: &[u8], table: &Table) -> Result<u16, Stop> {
    let stop = Stop(bits.num_used());
    let mut take = || {
        bits.refill(plain)?;
        let category = table.long_category(bits.window)?;
        let difference = category.difference(bits.window);
        bits.drop_lower(category.bits());
        bits.refill(plain)?;
        Some(difference)
    };
    take().ok_or(stop)
}

/// The rows of a scan that predictions look at.
struct Rows {
    /// For each component of the scan: its differences, then its samples.
    current: Vec<Vec<u16>>,
    previous: Vec<Vec<u16>>,
    /// Where each component stands in a pixel.
    places: Vec<usize>,
    num_components: usize,
    predictor: u8,
    /// Bits of a sample before it was divided, and after.
    precision: u8,
    coded_bits: u8,
}

impl Rows {
    fn new(width: usize, scan: &Scan, header: &Header) -> Self {
        let rows = vec![vec![0; width]; scan.parts.len()];
        Self {
            current: rows.clone(),
            previous: rows,
            places: scan.parts.iter().map(|&(index, _)| index).collect(),
            num_components: header.components.len(),
            predictor: scan.predictor,
            precision: header.precision,
            coded_bits: header.precision - scan.point_transform,
        }
    }

    /// Turns the differences of the current row into samples.
    ///
    /// - `starts`: it is the first of the scan or behind a restart marker (T.81, H.1.2.1)
    fn predict(&mut self, starts: bool) {
        for (row, previous) in self.current.iter_mut().zip(&self.previous) {
            if starts {
                sum_up(1 << (self.coded_bits - 1), row);
            } else {
                predict(self.predictor, previous, row);
            }
        }
    }

    /// Puts the current row in its place, and makes it the previous one.
    fn write<S: Sample>(&mut self, out: &mut [S]) -> Result<(), Error> {
        let shift = self.precision - self.coded_bits;
        let mut all_bits = 0;
        for (row, &place) in self.current.iter().zip(&self.places) {
            all_bits |= row.iter().fold(0, |bits, &sample| bits | sample);
            if self.num_components == 1 {
                out.iter_mut().zip(row).for_each(|(out, &sample)| *out = S::of(u32::from(sample) << shift));
            } else {
                let places = out[place..].iter_mut().step_by(self.num_components);
                places.zip(row).for_each(|(out, &sample)| *out = S::of(u32::from(sample) << shift));
            }
        }
        std::mem::swap(&mut self.current, &mut self.previous);
        if u32::from(all_bits) >> self.coded_bits != 0 {
            return Err(corrupt(format!("a sample has more than {} bits", self.coded_bits)));
        }
        Ok(())
    }
}

/// Adds to each difference the sample before it.
fn sum_up(first: u16, row: &mut [u16]) {
    let mut sum = first;
    for value in row {
        sum = sum.wrapping_add(*value);
        *value = sum;
    }
}

/// Adds to each difference the prediction from the sample before (Ra), above (Rb), and above the one before (Rc), as the
/// selection value says (T.81, table H.1); to the first the sample above.
fn predict(predictor: u8, previous: &[u16], row: &mut [u16]) {
    let half = |from: i32| from >> 1;
    match predictor {
        1 => sum_up(previous[0], row),
        2 => row.iter_mut().zip(previous).for_each(|(value, above)| *value = value.wrapping_add(*above)),
        3 => predict_each(previous, row, |_, _, c| c),
        4 => predict_each(previous, row, |a, b, c| a + (b - c)),
        5 => predict_each(previous, row, |a, b, c| a + half(b - c)),
        6 => predict_each(previous, row, |a, b, c| b + half(a - c)),
        _ => predict_each(previous, row, |a, b, _| half(a + b)),
    }
}

#[inline]
fn predict_each(previous: &[u16], row: &mut [u16], prediction: impl Fn(i32, i32, i32) -> i32) {
    let ([first, row @ ..], [above_first, above @ ..]) = (row, previous) else { return };
    *first = first.wrapping_add(*above_first);
    let (mut a, mut c) = (*first, *above_first);
    for (value, &b) in row.iter_mut().zip(above) {
        a = value.wrapping_add(prediction(a.into(), b.into(), c.into()) as u16);
        *value = a;
        c = b;
    }
}
