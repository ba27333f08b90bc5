//! Follows every code of every scan of a JPEG file, without computing a sample.
//!
//! In goes a whole file; out comes `Ok` if every entropy-coded segment holds exactly the blocks that
//! the frame header announces, restart markers come in order, and the end marker is there. libjpeg
//! warns of the rest and makes something up; here it is a rejection. Nothing is allocated that the
//! file does not pay for, apart from one bit a coefficient of progressive frames.

use tilefleet_codec::{Error, corrupt, truncated, unsupported};

use super::bits::{Balance, BitReader};
use super::huffman::{END_OF_BLOCK, Leap, Table, Tables};
use super::planes::{Plane, TransformedSample, Transformer};
use crate::frame::{Component, Frame, is_frame};
use crate::segments;
use crate::segments::{Segments, marker};

/// More scans than any encoder writes, few enough to bound the work; libvips has the same limit.
pub(super) const MAX_SCANS: usize = 100;

/// What a whole file holds.
pub(super) struct Found {
    pub(super) frame: Frame,
    pub(super) num_scans: usize,
    /// Whether the scans give every bit of every coefficient.
    pub(super) complete: bool,
}

/// Checks a whole file.
pub(super) fn check(bytes: &[u8]) -> Result<Found, Error> {
    let (found, _) = follow::<u8>(bytes, None)?;
    Ok(found)
}

/// Checks a whole file with a sequential frame, and decodes its components as they are stored.
pub(super) fn decode_planes<S: TransformedSample>(bytes: &[u8]) -> Result<(Frame, Vec<Plane<S>>), Error> {
    let (found, transformer) = follow(bytes, Some(Transformer::default()))?;
    Ok((found.frame, transformer.map(Transformer::into_planes).unwrap_or_default()))
}

fn follow<S: TransformedSample>(
    bytes: &[u8],
    transformer: Option<Transformer<S>>,
) -> Result<(Found, Option<Transformer<S>>), Error> {
    let mut audit = Audit { transformer, ..Audit::default() };
    let mut segments = Segments::new(bytes)?;
    loop {
        let segment = segments.next_segment()?;
        match segment.marker {
            marker::EOI => return audit.finish(),
            marker::DHT => audit.tables.define(segment.body)?,
            marker::DQT => audit.define_quantisation(segment.body)?,
            marker::DRI => audit.restart_interval = segments::u16_at(segment.body, 0).unwrap_or(0).into(),
            marker::SOS => {
                let used = audit.scan(segment.body, segments.rest())?;
                segments.skip(used);
            }
            marker::SOI => return Err(corrupt("an image begins inside the image")),
            code if is_frame(code) => audit.begin_frame(code, segment.body)?,
            _ => {}
        }
    }
}

#[derive(Default)]
struct Audit<'a, S> {
    frame: Option<(Frame, Vec<Progress>)>,
    tables: Tables,
    restart_interval: u32,
    num_scans: usize,
    /// The quantisation tables before the first scan.
    quantisations: Vec<&'a [u8]>,
    /// Where the blocks of a sequential frame go, if they are decoded.
    transformer: Option<Transformer<S>>,
}

/// What is known of one component.
struct Progress {
    component: Component,
    /// Blocks of the component in a scan of its own.
    columns: u32,
    rows: u32,
    /// Blocks of a row including those that only complete an MCU.
    stride: u32,
    started: bool,
    /// Progressive frames: a bit for each coefficient whose last bit a scan has given.
    given: u64,
    /// Progressive frames: a bit for each coefficient known to be other than zero.
    nonzero: Vec<u64>,
}

impl<'a, S: TransformedSample> Audit<'a, S> {
    /// Enters quantisation tables. A component has those that stand there when its first scan begins, but the crate
    /// takes the last ones for all.
    fn define_quantisation(&mut self, body: &'a [u8]) -> Result<(), Error> {
        if let Some(transformer) = &mut self.transformer {
            transformer.define_quantisation(body)?;
        }
        let progressive = self.frame.as_ref().is_some_and(|(frame, _)| frame.progressive);
        if self.num_scans == 0 {
            self.quantisations.push(body);
        } else if progressive && !self.quantisations.contains(&body) {
            return Err(unsupported("progressive JPEG whose quantisation changes between its scans"));
        }
        Ok(())
    }

    fn begin_frame(&mut self, code: u8, body: &[u8]) -> Result<(), Error> {
        if self.frame.is_some() {
            return Err(corrupt("a second frame header"));
        }
        let frame = Frame::parse_with_precision(code, body, S::PRECISION)?;
        let (h_max, v_max) = frame.max_sampling();
        let (mcus_x, mcus_y) = mcus(&frame);
        let progress = frame.components.iter().map(|&component| {
            let (h, v) = (u32::from(component.h), u32::from(component.v));
            let stride = mcus_x * h;
            let blocks = if frame.progressive { stride as usize * (mcus_y * v) as usize } else { 0 };
            Progress {
                component,
                columns: (frame.size.width * h).div_ceil(8 * h_max),
                rows: (frame.size.height * v).div_ceil(8 * v_max),
                stride,
                started: false,
                given: 0,
                nonzero: vec![0; blocks],
            }
        });
        let progress = progress.collect();
        if let Some(transformer) = &mut self.transformer {
            transformer.begin_frame(&frame, body);
        }
        self.frame = Some((frame, progress));
        Ok(())
    }

    fn finish(self) -> Result<(Found, Option<Transformer<S>>), Error> {
        let started = |progress: &[Progress]| progress.iter().all(|component| component.started);
        match self.frame {
            Some((frame, progress)) if started(&progress) => {
                let complete = !frame.progressive || progress.iter().all(|part| part.given == u64::MAX);
                Ok((Found { frame, num_scans: self.num_scans, complete }, self.transformer))
            }
            _ => Err(truncated("the image ends before all of its components")),
        }
    }

    /// Follows one scan; returns the length of its entropy-coded data.
    fn scan(&mut self, body: &[u8], data: &[u8]) -> Result<usize, Error> {
        self.num_scans += 1;
        if self.num_scans > MAX_SCANS {
            return Err(unsupported(format!("JPEG with more than {MAX_SCANS} scans")));
        }
        let Some((frame, progress)) = &mut self.frame else {
            return Err(corrupt("a scan begins before the frame header"));
        };
        let scan = Scan::parse(body, frame, progress)?;
        let mut walk = Walk { data, at: 0, num_restarts: 0 };
        if frame.progressive {
            scan.follow_progressive(frame, progress, &self.tables, self.restart_interval, &mut walk)?;
            return Ok(walk.at);
        }
        self.tables.add_standard()?;
        match &mut self.transformer {
            None => scan.follow_sequential(
                frame,
                progress,
                &self.tables,
                self.restart_interval,
                &mut walk,
                |reader, unit, _| skip_block(reader, unit.dc, unit.ac),
            )?,
            Some(transformer) => {
                transformer.begin_scan(scan.parts.iter().map(|&(index, _, _)| index))?;
                scan.follow_sequential(
                    frame,
                    progress,
                    &self.tables,
                    self.restart_interval,
                    &mut walk,
                    |reader, unit, place| transformer.block(reader, unit, place),
                )?;
            }
        }
        Ok(walk.at)
    }
}

fn mcus(frame: &Frame) -> (u32, u32) {
    let (h, v) = frame.max_sampling();
    (frame.size.width.div_ceil(8 * h), frame.size.height.div_ceil(8 * v))
}

/// The parameters of a scan header (T.81, B.2.3).
struct Scan {
    /// Index of each component in the frame, with its DC and AC table.
    parts: Vec<(usize, u8, u8)>,
    first: u32,
    last: u32,
    high: u8,
    low: u8,
}

/// One block of each MCU of a sequential scan.
pub(super) struct Unit<'a> {
    /// Index of its component in the frame.
    pub(super) component: usize,
    pub(super) dc: &'a Table,
    pub(super) ac: &'a Table,
    /// Its place in the MCU, and how many blocks of the component an MCU has.
    across: (u32, u32),
    down: (u32, u32),
}

/// Where a block of a sequential scan belongs.
#[derive(Clone, Copy)]
pub(super) struct BlockPlace {
    pub(super) column: u32,
    pub(super) row: u32,
    /// The first MCU of an entropy-coded segment: predictions begin anew.
    pub(super) starts_segment: bool,
}

impl Unit<'_> {
    fn place(&self, mcu: Place, columns: u32) -> BlockPlace {
        let ((h, num_h), (v, num_v)) = (self.across, self.down);
        BlockPlace {
            column: mcu.index % columns * num_h + h,
            row: mcu.index / columns * num_v + v,
            starts_segment: mcu.starts_segment && (h, v) == (0, 0),
        }
    }
}

impl Scan {
    fn parse(body: &[u8], frame: &Frame, progress: &mut [Progress]) -> Result<Self, Error> {
        let bad = || corrupt("a scan header contradicts the frame header");
        let (&count, rest) = body.split_first().ok_or_else(bad)?;
        let count = usize::from(count);
        if !(1..=4).contains(&count) || rest.len() != 2 * count + 3 {
            return Err(bad());
        }
        let mut parts = Vec::with_capacity(count);
        for pair in rest[..2 * count].chunks_exact(2) {
            let index = frame.components.iter().position(|component| component.id == pair[0]);
            let index = index.ok_or_else(bad)?;
            if parts.iter().any(|&(other, _, _)| other == index) {
                return Err(bad());
            }
            parts.push((index, pair[1] >> 4, pair[1] & 15));
        }
        let (first, last) = (u32::from(rest[2 * count]), u32::from(rest[2 * count + 1]));
        let (high, low) = (rest[2 * count + 2] >> 4, rest[2 * count + 2] & 15);
        let scan = Self { parts, first, last, high, low };
        if frame.progressive {
            let valid = last < 64 && if first == 0 { last == 0 } else { first <= last && count == 1 };
            if !valid {
                return Err(bad());
            }
        }
        scan.start(frame, progress)?;
        Ok(scan)
    }

    /// Checks that each component comes once, in progressive frames beginning with its DC scan.
    fn start(&self, frame: &Frame, progress: &mut [Progress]) -> Result<(), Error> {
        for &(index, _, _) in &self.parts {
            let begins = !frame.progressive || (self.first == 0 && self.high == 0);
            if progress[index].started == begins {
                return Err(corrupt("the scans of a component are out of order"));
            }
            progress[index].started = true;
            if self.low == 0 {
                progress[index].given |= (self.first..=self.last.min(63)).fold(0, |bits, at| bits | 1 << at);
            }
        }
        Ok(())
    }

    /// Returns the number of MCUs of this scan in a row, and of rows (T.81, A.2).
    fn mcus(&self, frame: &Frame, progress: &[Progress]) -> (u32, u32) {
        match self.parts[..] {
            [(index, _, _)] => (progress[index].columns, progress[index].rows),
            _ => mcus(frame),
        }
    }

    /// Calls `block` for each block of a sequential scan, in order.
    fn follow_sequential(
        &self,
        frame: &Frame,
        progress: &[Progress],
        tables: &Tables,
        interval: u32,
        walk: &mut Walk<'_>,
        mut block: impl FnMut(&mut BitReader<'_>, &Unit<'_>, BlockPlace) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let (columns, rows) = self.mcus(frame, progress);
        let mut units = Vec::new();
        for &(index, dc, ac) in &self.parts {
            let Component { h, v, .. } = progress[index].component;
            let (num_h, num_v) = if self.parts.len() == 1 { (1, 1) } else { (h.into(), v.into()) };
            let (dc, ac) = (tables.dc(dc)?, tables.ac(ac)?);
            let places = (0..num_v).flat_map(|v| (0..num_h).map(move |h| (h, v)));
            units.extend(places.map(|(h, v)| Unit {
                component: index,
                dc,
                ac,
                across: (h, num_h),
                down: (v, num_v),
            }));
        }
        walk.segments(columns * rows, interval, |reader, mcu| {
            units.iter().try_for_each(|unit| block(reader, unit, unit.place(mcu, columns)))
        })
    }

    fn follow_progressive(
        &self,
        frame: &Frame,
        progress: &mut [Progress],
        tables: &Tables,
        interval: u32,
        walk: &mut Walk<'_>,
    ) -> Result<(), Error> {
        let (columns, rows) = self.mcus(frame, progress);
        if self.first == 0 {
            let mut blocks = Vec::new();
            for &(index, dc, _) in &self.parts {
                let component = progress[index].component;
                let count = if self.parts.len() == 1 { 1 } else { usize::from(component.h * component.v) };
                let table = if self.high == 0 { Some(tables.dc(dc)?) } else { None };
                blocks.extend(std::iter::repeat_n(table, count));
            }
            return walk.segments(columns * rows, interval, |reader, _| {
                blocks.iter().try_for_each(|table| skip_dc(reader, *table))
            });
        }
        let (index, _, ac) = self.parts[0];
        let (table, progress) = (tables.ac(ac)?, &mut progress[index]);
        let mut band = Band { first: self.first, last: self.last, end_of_band_run: 0 };
        let refine = self.high != 0;
        walk.segments(columns * rows, interval, |reader, place| {
            if place.starts_segment {
                band.end_of_band_run = 0;
            }
            let block = place.index / columns * progress.stride + place.index % columns;
            let nonzero = &mut progress.nonzero[block as usize];
            if refine { band.refine(reader, table, nonzero) } else { band.first(reader, table, nonzero) }?;
            band.check_end(place)
        })
    }
}

/// Where a walk is.
#[derive(Clone, Copy)]
struct Place {
    /// Index of the MCU in the scan.
    index: u32,
    starts_segment: bool,
    /// MCUs that the entropy-coded segment still has, this one included.
    left: u32,
}

/// A walk through the entropy-coded segments of one scan.
struct Walk<'a> {
    data: &'a [u8],
    at: usize,
    num_restarts: u32,
}

impl Walk<'_> {
    /// Calls `mcu` for every MCU and checks the restart markers between the segments.
    fn segments(
        &mut self,
        num_mcus: u32,
        interval: u32,
        mut mcu: impl FnMut(&mut BitReader<'_>, Place) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let interval = if interval == 0 { num_mcus } else { interval };
        let mut index = 0;
        while index < num_mcus {
            if index > 0 {
                self.restart()?;
            }
            let end = num_mcus.min(index + interval);
            let mut reader = BitReader::new(self.data, self.at);
            let start = index;
            while index < end {
                let place = Place { index, starts_segment: index == start, left: end - index };
                mcu(&mut reader, place).map_err(|rejection| {
                    if reader.short() { self.short(index, num_mcus) } else { rejection }
                })?;
                if reader.short() {
                    return Err(self.short(index, num_mcus));
                }
                index += 1;
            }
            self.end_segment(reader, index, num_mcus)?;
        }
        Ok(())
    }

    fn end_segment(&mut self, reader: BitReader<'_>, index: u32, num_mcus: u32) -> Result<(), Error> {
        let (balance, at) = reader.finish();
        self.at = at;
        match balance {
            Balance::Even => Ok(()),
            Balance::Short => Err(self.short(index, num_mcus)),
            Balance::Padded(_) | Balance::Left(_) if self.next_marker().is_none() => Err(no_end()),
            // Some cameras fill up the end of a scan.
            Balance::Padded(_) if index == num_mcus => Ok(()),
            Balance::Padded(bytes) | Balance::Left(bytes) => Err(corrupt(format!(
                "{bytes} bytes of image data are left after block {index} of {num_mcus}"
            ))),
        }
    }

    /// Names the cause of missing data: the end of the file, or damage before a marker.
    fn short(&self, index: u32, num_mcus: u32) -> Error {
        let detail = format!("the image data ends at block {index} of {num_mcus}");
        if self.next_marker().is_none() { truncated(detail) } else { corrupt(detail) }
    }

    fn restart(&mut self) -> Result<(), Error> {
        let expected = marker::RST0 + (self.num_restarts % 8) as u8;
        match self.next_marker() {
            Some((code, at)) if code == expected => {
                self.at = at + 1;
                self.num_restarts += 1;
                Ok(())
            }
            Some((code, _)) => Err(corrupt(format!("marker FF{code:02X} where FF{expected:02X} belongs"))),
            None => Err(no_end()),
        }
    }

    /// Returns the next marker in the data and the position of its code.
    fn next_marker(&self) -> Option<(u8, usize)> {
        let data = self.data.get(self.at..)?;
        let at = data.windows(2).position(|pair| pair[0] == 0xFF && !matches!(pair[1], 0 | 0xFF))?;
        Some((data[at + 1], self.at + at + 1))
    }
}

fn no_end() -> Error {
    truncated("the object ends inside the image data")
}

/// Skips one block of a sequential scan.
fn skip_block(reader: &mut BitReader<'_>, dc: &Table, ac: &Table) -> Result<(), Error> {
    skip_dc(reader, Some(dc))?;
    let (leaps, mut bits) = (ac.leaps(), *reader);
    let mut at = 1;
    while at < 64 {
        bits.refill();
        let window = bits.peek(16);
        let leap = leaps[window >> (16 - Leap::LOOKUP_BITS)];
        let (used, passed) = if leap.fits(64 - at) {
            (leap.bits() & 63, leap.passed())
        } else {
            let (used, passed) = ac.reach_at(window)?;
            (used, passed as usize)
        };
        bits.drop(used);
        at += passed;
    }
    *reader = bits;
    if at > 64 && at < END_OF_BLOCK as usize {
        return Err(corrupt("a block has more than 64 coefficients"));
    }
    Ok(())
}

/// Skips one DC difference, or without a table one refining bit.
#[inline]
fn skip_dc(reader: &mut BitReader<'_>, table: Option<&Table>) -> Result<(), Error> {
    let Some(table) = table else {
        reader.take(1);
        return Ok(());
    };
    let value_bits = u32::from(table.take_symbol(reader)?);
    if value_bits > 15 {
        return Err(corrupt(format!("a DC difference of {value_bits} bits")));
    }
    reader.take(value_bits);
    Ok(())
}

/// The AC coefficients `first..=last` of a progressive scan (T.81, annex G).
struct Band {
    first: u32,
    last: u32,
    /// Blocks that still belong to a run of ended bands.
    end_of_band_run: u32,
}

impl Band {
    fn first(&mut self, reader: &mut BitReader<'_>, table: &Table, nonzero: &mut u64) -> Result<(), Error> {
        if self.end_of_band_run > 0 {
            self.end_of_band_run -= 1;
            return Ok(());
        }
        let mut at = self.first;
        while at <= self.last {
            let symbol = table.take_symbol(reader)?;
            let (run, value_bits) = (u32::from(symbol >> 4), u32::from(symbol & 15));
            if value_bits == 0 && run < 15 {
                self.end_of_band_run = (1 << run) - 1 + reader.take(run) as u32;
                return Ok(());
            }
            at += run;
            if at > self.last {
                return Err(corrupt("a block has more coefficients than its scan"));
            }
            if value_bits > 0 {
                reader.take(value_bits);
                *nonzero |= 1 << at;
            }
            at += 1;
        }
        Ok(())
    }

    fn refine(&mut self, reader: &mut BitReader<'_>, table: &Table, nonzero: &mut u64) -> Result<(), Error> {
        let mut at = self.first;
        while at <= self.last && self.end_of_band_run == 0 {
            let symbol = table.take_symbol(reader)?;
            let (run, value_bits) = (u32::from(symbol >> 4), u32::from(symbol & 15));
            match (run, value_bits) {
                (15, 0) => at = self.pass(reader, at, run, *nonzero)? + 1,
                (_, 0) => self.end_of_band_run = (1 << run) + reader.take(run) as u32,
                (_, 1) => {
                    reader.take(1);
                    at = self.pass(reader, at, run, *nonzero)?;
                    *nonzero |= 1 << at;
                    at += 1;
                }
                _ => return Err(corrupt(format!("a refining value of {value_bits} bits"))),
            }
        }
        if self.end_of_band_run > 0 {
            self.correct(reader, at, *nonzero);
            self.end_of_band_run -= 1;
        }
        Ok(())
    }

    /// Passes `run` zero coefficients and a correction bit for every other one; returns where the
    /// next zero coefficient is.
    fn pass(
        &self,
        reader: &mut BitReader<'_>,
        mut at: u32,
        mut run: u32,
        nonzero: u64,
    ) -> Result<u32, Error> {
        loop {
            if at > self.last {
                return Err(corrupt("a block has more coefficients than its scan"));
            }
            if nonzero >> at & 1 == 1 {
                reader.take(1);
            } else if run == 0 {
                return Ok(at);
            } else {
                run -= 1;
            }
            at += 1;
        }
    }

    /// Takes the correction bits of the rest of a band.
    fn correct(&self, reader: &mut BitReader<'_>, at: u32, nonzero: u64) {
        for at in at..=self.last {
            if nonzero >> at & 1 == 1 {
                reader.take(1);
            }
        }
    }

    /// Checks that a run of ended bands does not reach beyond its segment.
    fn check_end(&self, place: Place) -> Result<(), Error> {
        if self.end_of_band_run < place.left {
            return Ok(());
        }
        Err(corrupt("an end-of-block run is longer than its segment"))
    }
}
