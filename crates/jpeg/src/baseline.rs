//! Decodes the usual JPEG file in one pass: a grey or YCbCr frame in one sequential scan.
//!
//! In goes a whole file; out come its samples, or `None` for every file that is another kind, damaged
//! or merely odd. Such a file takes the long way of audit and decoder, which decodes it or says what
//! is wrong with it. So nothing is told here, and only what is whole in every respect passes.

use std::cell::RefCell;
use std::ops::Range;

use tilefleet_codec::{Size, Window};

use super::coefficients::{Coding, Entropy, ZIGZAG};
use super::group::{BLOCKS, Coefficients, Group};
use super::huffman::{Table, Tables};
use super::kernels::Kernels;
use super::upsample::Row;
use crate::buffer;
use crate::frame::{Component, Frame, is_frame};
use crate::segments;
use crate::segments::{Segments, marker};
use crate::{Colours, Options};

/// Planes and buffers of larger images go back to the allocator.
const MAX_KEPT_BYTES: usize = 16 << 20;
/// Rows of MCUs that are painted in one go: painting pushes the tables of the codes out of the first cache.
const PAINTED_AT_ONCE: u32 = 8;
/// No block takes fewer bits: one code for DC, one for the end of the block.
const MIN_BLOCK_BITS: usize = 2;
/// Narrower chroma is not interpolated.
const MIN_CHROMA_WIDTH: u32 = 3;

/// Decodes a file that is whole and usual; samples outside of `needed` are unspecified.
pub(super) fn decode(bytes: &[u8], options: &Options) -> Option<Vec<u8>> {
    let mut head = Head { as_stored: options.colours == Colours::AsStored, ..Head::default() };
    let mut segments = Segments::new(bytes).ok()?;
    loop {
        let segment = segments.next_segment().ok()?;
        match segment.marker {
            marker::DQT => head.define_quantisation(segment.body)?,
            marker::DHT => head.tables.define(segment.body).ok()?,
            marker::DRI => head.restart_interval = segments::u16_at(segment.body, 0)?.into(),
            marker::APP14 if !head.as_stored && !is_ycbcr(segment.body) => return None,
            marker::APP0..=marker::APP15 | marker::COM => {}
            marker::SOS => {
                head.tables.add_standard().ok()?;
                let layout = head.layout(segment.body, options.needed)?;
                if !layout.is_allowed(options) || !layout.is_paid_for(segments.rest()) {
                    return None;
                }
                let mut samples = buffer::spare(layout.num_bytes());
                let used = with_buffers(|buffers| layout.decode(segments.rest(), buffers, &mut samples))?;
                segments.skip(used);
                let ends = segments.next_segment().is_ok_and(|segment| segment.marker == marker::EOI);
                return ends.then_some(samples);
            }
            code if is_frame(code) => head.begin_frame(code, segment.body)?,
            _ => return None,
        }
    }
}

/// Tells whether an APP14 segment says the same as the component ids of [`Head::layout`].
fn is_ycbcr(body: &[u8]) -> bool {
    !body.starts_with(b"Adobe") || body.get(11) == Some(&1)
}

/// What the segments before the scan say.
#[derive(Default)]
struct Head {
    /// Nobody asks what the components mean.
    as_stored: bool,
    frame: Option<Frame>,
    /// Quantisation table of each component.
    destinations: Vec<u8>,
    quantisation: [Option<[u8; 64]>; 4],
    tables: Tables,
    restart_interval: u32,
}

impl Head {
    /// Enters 8-bit quantisation tables (T.81, B.2.4.1).
    fn define_quantisation(&mut self, body: &[u8]) -> Option<()> {
        let (definitions, rest) = body.as_chunks::<65>();
        for [target, values @ ..] in definitions {
            let mut table = [0; 64];
            for (&place, &value) in ZIGZAG.iter().zip(values) {
                table[usize::from(place)] = value;
            }
            *self.quantisation.get_mut(usize::from(*target))? = Some(table);
        }
        rest.is_empty().then_some(())
    }

    fn begin_frame(&mut self, code: u8, body: &[u8]) -> Option<()> {
        if self.frame.is_some() {
            return None;
        }
        let frame = Frame::parse(code, body).ok().filter(|frame| !frame.progressive)?;
        self.destinations = body[6..].chunks_exact(3).map(|component| component[2]).collect();
        self.frame = Some(frame);
        Some(())
    }

    /// Puts together what the scan needs, if frame and scan are usual.
    fn layout(&self, scan: &[u8], needed: Option<Window>) -> Option<Layout<'_>> {
        let frame = self.frame.as_ref()?;
        let (&count, rest) = scan.split_first()?;
        let (parts, [0, 63, 0]) = rest.split_at_checked(2 * usize::from(count))? else { return None };
        let ids_are_usual = match frame.components.len() {
            1 => true,
            3 => self.as_stored || frame.components.iter().map(|c| c.id).eq(1..=3),
            _ => false,
        };
        if frame.components.len() != usize::from(count) || !ids_are_usual {
            return None;
        }
        let mut planes = Vec::with_capacity(frame.components.len());
        for (index, (part, component)) in parts.as_chunks::<2>().0.iter().zip(&frame.components).enumerate() {
            if part[0] != component.id {
                return None;
            }
            planes.push(Plane {
                dc: self.tables.dc(part[1] >> 4).ok()?,
                ac: self.tables.ac(part[1] & 15).ok()?,
                quantisation: self.quantisation.get(usize::from(self.destinations[index]))?.as_ref()?,
            });
        }
        let sampling = Sampling::of(&frame.components)?;
        let chroma_width = frame.size.width.div_ceil(sampling.blocks().0);
        if sampling != Sampling::Full && chroma_width < MIN_CHROMA_WIDTH {
            return None;
        }
        let needed = needed.filter(|needed| needed.is_within(frame.size));
        let needed = needed.unwrap_or_else(|| Window::whole(frame.size));
        let part = Part::of(needed, frame.size, sampling);
        let (as_stored, restart_interval) = (self.as_stored, self.restart_interval);
        Some(Layout { size: frame.size, sampling, as_stored, planes, part, restart_interval })
    }
}

/// How many luma samples there are for one chroma sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sampling {
    /// Grey, or 4:4:4.
    Full,
    /// 4:2:2: half the columns.
    HalfWidth,
    /// 4:2:0: half the columns and rows.
    Quarter,
}

impl Sampling {
    fn of(components: &[Component]) -> Option<Self> {
        let [luma, chroma @ ..] = components else { return None };
        if chroma.is_empty() {
            // A single component is stored block by block whatever its factors (T.81, A.2.2).
            return Some(Self::Full);
        }
        if chroma.iter().any(|component| (component.h, component.v) != (1, 1)) {
            return None;
        }
        match (luma.h, luma.v) {
            (1, 1) => Some(Self::Full),
            (2, 1) => Some(Self::HalfWidth),
            (2, 2) => Some(Self::Quarter),
            _ => None,
        }
    }

    /// Blocks of luma in an MCU, across and down.
    fn blocks(self) -> (u32, u32) {
        match self {
            Self::Full => (1, 1),
            Self::HalfWidth => (2, 1),
            Self::Quarter => (2, 2),
        }
    }
}

/// One component's tables.
struct Plane<'a> {
    dc: &'a Table,
    ac: &'a Table,
    quantisation: &'a [u8; 64],
}

/// The part of an image that is turned into samples; of the rest only the codes are followed.
struct Part {
    /// Chroma rows whose luma rows are painted.
    rows: Range<usize>,
    /// Chroma columns that painting looks at.
    chroma: Range<usize>,
    /// Luma columns that are painted.
    columns: Range<usize>,
    /// MCUs that painting looks at, across and down.
    mcus: [Range<u32>; 2],
}

impl Part {
    fn of(needed: Window, size: Size, sampling: Sampling) -> Self {
        let (h, v) = sampling.blocks();
        let along = |first: u32, count: u32, len: u32, factor: u32| {
            let chroma_len = len.div_ceil(factor);
            let range = first / factor..(first + count).div_ceil(factor).min(chroma_len);
            // Interpolation looks at the neighbours.
            let margin = factor - 1;
            (range.start.saturating_sub(margin)..(range.end + margin).min(chroma_len), range)
        };
        let (mut chroma, mut across) = along(needed.x, needed.width, size.width, h);
        if h > 1 && chroma.end - chroma.start < MIN_CHROMA_WIDTH {
            (chroma, across) = along(0, size.width, size.width, h);
        }
        let (looked_at, rows) = along(needed.y, needed.height, size.height, v);
        let mcus = [&chroma, &looked_at].map(|range| range.start / 8..range.end.div_ceil(8));
        let samples = |range: Range<u32>| range.start as usize..range.end as usize;
        let columns = across.start * h..(across.end * h).min(size.width);
        Self { rows: samples(rows), chroma: samples(chroma), columns: samples(columns), mcus }
    }
}

/// A usual image.
struct Layout<'a> {
    size: Size,
    sampling: Sampling,
    as_stored: bool,
    planes: Vec<Plane<'a>>,
    part: Part,
    restart_interval: u32,
}

impl Layout<'_> {
    fn is_allowed(&self, options: &Options) -> bool {
        self.size.num_pixels() <= options.limits.max_pixels
            && self.num_bytes() as u64 <= options.limits.max_decoded_bytes
    }

    fn num_bytes(&self) -> usize {
        self.size.width as usize * self.size.height as usize * self.planes.len()
    }

    fn chroma_size(&self) -> Size {
        let (h, v) = self.sampling.blocks();
        Size::new(self.size.width.div_ceil(h), self.size.height.div_ceil(v))
    }

    fn mcus(&self) -> (u32, u32) {
        let (h, v) = self.sampling.blocks();
        (self.size.width.div_ceil(8 * h), self.size.height.div_ceil(8 * v))
    }

    /// Returns how the samples of the components are stored, one plane behind the other.
    fn stores(&self) -> Vec<Store> {
        let (mcus_x, mcus_y) = self.mcus();
        let mut end = 0;
        let store = |component: usize| {
            let (h, v) = if component == 0 { self.sampling.blocks() } else { (1, 1) };
            let stride = (mcus_x * h) as usize * 8;
            let first = end;
            end += stride * (mcus_y * v) as usize * 8;
            Store { h: h as usize, v: v as usize, stride, first, end }
        };
        (0..self.planes.len()).map(store).collect()
    }

    /// Tells whether the data can hold all blocks, so that memory is worth taking.
    fn is_paid_for(&self, data: &[u8]) -> bool {
        let num_samples = self.stores().last().map_or(0, |store| store.end);
        num_samples / 64 * MIN_BLOCK_BITS <= data.len() * 8
    }

    /// Returns the quantisation of four blocks, of the next four, and so on until they are the first again.
    fn quantisations(&self, stores: &[Store]) -> Vec<Coefficients> {
        let mcu: Vec<&[u8; 64]> = self
            .planes
            .iter()
            .zip(stores)
            .flat_map(|(plane, store)| std::iter::repeat_n(plane.quantisation, store.h * store.v))
            .collect();
        // Sooner than that if the MCU's blocks and four have a divisor in common.
        let turns = (1..=mcu.len()).find(|turns| (turns * BLOCKS).is_multiple_of(mcu.len()));
        let of_turn = |turn| std::array::from_fn(|index| mcu[(turn * BLOCKS + index) % mcu.len()]);
        (0..turns.unwrap_or(0)).map(|turn| Coefficients::quantisation(of_turn(turn))).collect()
    }

    /// Decodes the scan and returns the length of its data.
    fn decode(&self, data: &[u8], buffers: &mut Buffers, samples: &mut [u8]) -> Option<usize> {
        let (mcus_x, mcus_y) = self.mcus();
        let stores = self.stores();
        let total = stores.last().map_or(0, |store| store.end);
        if buffers.planes.len() < total {
            buffers.planes.resize(total, 0);
        }
        let Buffers { planes, entropy, rows } = buffers;
        let kernels = Kernels::of_this_machine();
        let num_mcus = mcus_x * mcus_y;
        let interval = if self.restart_interval == 0 { num_mcus } else { self.restart_interval };
        let mut entropy = Entropy::new(data, entropy);
        let codings: Vec<Coding<'_>> =
            self.planes.iter().map(|plane| Coding::new(plane.dc, plane.ac)).collect();
        let quantisations = self.quantisations(&stores);
        let mut group = Group::new(kernels, &quantisations, planes);
        let mut painter = Painter { layout: self, kernels, rows, next: 0 };
        let mut index = 0;
        while index < num_mcus {
            // A restart interval need not be whole rows.
            let row_end = (index / mcus_x + 1) * mcus_x;
            if index % interval == 0 {
                entropy.begin_segment(index / interval)?;
            }
            let end = row_end.min((index / interval + 1).saturating_mul(interval)).min(num_mcus);
            entropy.decode_mcus(index..end, mcus_x, &self.part.mcus, &codings, &stores, &mut group)?;
            index = end;
            if index % interval == 0 || index == num_mcus {
                entropy.end_segment(index == num_mcus)?;
            }
            if index == row_end {
                group.end_row();
                let num_rows = index / mcus_x;
                if num_rows.is_multiple_of(PAINTED_AT_ONCE) || index == num_mcus {
                    painter.paint(num_rows, group.planes(), &stores, samples);
                }
            }
        }
        Some(entropy.used())
    }
}

/// How the samples of one component are stored.
pub(super) struct Store {
    /// Blocks across in an MCU.
    pub(super) h: usize,
    /// Blocks down in an MCU.
    pub(super) v: usize,
    pub(super) stride: usize,
    first: usize,
    end: usize,
}

impl Store {
    /// Returns the first sample of block `v`, `h` of an MCU.
    #[inline]
    pub(super) fn first_of(&self, row: usize, column: usize, v: usize, h: usize) -> usize {
        self.first + ((row * self.v + v) * self.stride + column * self.h + h) * 8
    }

    /// Returns the samples from a row on.
    fn row<'a>(&self, row: usize, planes: &'a [u8]) -> &'a [u8] {
        &planes[self.first + row * self.stride..self.end]
    }
}

/// Buffers that a thread uses again for the next image.
#[derive(Default)]
struct Buffers {
    planes: Vec<u8>,
    entropy: Vec<u8>,
    rows: [Row; 2],
}

fn with_buffers<T>(work: impl FnOnce(&mut Buffers) -> T) -> T {
    thread_local! {
        static BUFFERS: RefCell<Buffers> = RefCell::default();
    }
    BUFFERS.with_borrow_mut(|buffers| {
        let result = work(buffers);
        if buffers.planes.capacity() > MAX_KEPT_BYTES {
            *buffers = Buffers::default();
        }
        result
    })
}

/// Turns rows of planes into rows of the image as soon as they are complete.
struct Painter<'a> {
    layout: &'a Layout<'a>,
    kernels: &'a Kernels,
    rows: &'a mut [Row; 2],
    /// First chroma row that is not painted.
    next: usize,
}

impl Painter<'_> {
    /// Paints what the first `mcu_rows` rows of MCUs determine.
    fn paint(&mut self, mcu_rows: u32, planes: &[u8], stores: &[Store], samples: &mut [u8]) {
        let chroma = self.layout.chroma_size();
        // Interpolation looks one row ahead.
        let ahead = u32::from(self.layout.sampling == Sampling::Quarter);
        let end = if mcu_rows == self.layout.mcus().1 { chroma.height } else { mcu_rows * 8 - ahead };
        let needed = &self.layout.part.rows;
        for row in self.next.max(needed.start)..(end as usize).min(needed.end) {
            match self.layout.sampling {
                Sampling::Full if stores.len() == 1 => self.grey(row, planes, stores, samples),
                Sampling::Full => self.full(row, planes, stores, samples),
                Sampling::HalfWidth => self.half_width(row, planes, stores, samples),
                Sampling::Quarter => self.quarter(row, planes, stores, samples),
            }
        }
        self.next = end as usize;
    }

    fn grey(&self, row: usize, planes: &[u8], stores: &[Store], samples: &mut [u8]) {
        let width = self.layout.size.width as usize;
        let columns = self.layout.part.columns.clone();
        let stored = &stores[0].row(row, planes)[columns.clone()];
        samples[row * width..][columns].copy_from_slice(stored);
    }

    fn full(&self, row: usize, planes: &[u8], stores: &[Store], samples: &mut [u8]) {
        let [cb, cr] = [1, 2].map(|component| self.chroma(component, row, planes, stores));
        self.convert(row, self.luma(row, planes, stores), cb, cr, samples);
    }

    fn half_width(&mut self, row: usize, planes: &[u8], stores: &[Store], samples: &mut [u8]) {
        for component in [1, 2] {
            let chroma = self.chroma(component, row, planes, stores);
            self.rows[component - 1].stretch(chroma, self.kernels);
        }
        self.convert_stretched(row, self.luma(row, planes, stores), samples);
    }

    fn quarter(&mut self, row: usize, planes: &[u8], stores: &[Store], samples: &mut [u8]) {
        let last = self.layout.chroma_size().height as usize - 1;
        let neighbours = [row.saturating_sub(1), (row + 1).min(last)];
        for (y, neighbour) in (2 * row..self.layout.size.height as usize).zip(neighbours) {
            for component in [1, 2] {
                let [near, far] = [row, neighbour].map(|row| self.chroma(component, row, planes, stores));
                self.rows[component - 1].blend(near, far, self.kernels);
            }
            self.convert_stretched(y, self.luma(y, planes, stores), samples);
        }
    }

    fn luma<'a>(&self, row: usize, planes: &'a [u8], stores: &[Store]) -> &'a [u8] {
        &stores[0].row(row, planes)[self.layout.part.columns.clone()]
    }

    fn chroma<'a>(&self, component: usize, row: usize, planes: &'a [u8], stores: &[Store]) -> &'a [u8] {
        &stores[component].row(row, planes)[self.layout.part.chroma.clone()]
    }

    /// Converts with chroma of twice the width, which may begin before the luma.
    fn convert_stretched(&self, row: usize, luma: &[u8], samples: &mut [u8]) {
        let part = &self.layout.part;
        let first = part.columns.start - 2 * part.chroma.start;
        let [cb, cr] = [0, 1].map(|chroma| &self.rows[chroma].samples()[first..]);
        self.convert(row, luma, cb, cr, samples);
    }

    fn convert(&self, row: usize, y: &[u8], cb: &[u8], cr: &[u8], samples: &mut [u8]) {
        let first = row * self.layout.size.width as usize + self.layout.part.columns.start;
        let out = &mut samples[first * 3..][..y.len() * 3];
        if self.layout.as_stored {
            let pixels = y.iter().zip(cb).zip(cr);
            out.as_chunks_mut()
                .0
                .iter_mut()
                .zip(pixels)
                .for_each(|(out, ((&y, &cb), &cr))| *out = [y, cb, cr]);
        } else {
            self.kernels.rgb(y, cb, cr, out);
        }
    }
}

#[cfg(test)]
mod tests {
    use libjpeg_turbo_rs::{Encoder, PixelFormat, Subsampling};
    use tilefleet_testing::Random;

    use super::*;
    use crate::tests::ANY;
    use crate::{decode_audited, frame};

    const SIDE: usize = 45;

    fn files() -> Vec<Vec<u8>> {
        let pixels: Vec<u8> = (0..SIDE * SIDE * 3).map(|at| (at * at / 97 % 256) as u8).collect();
        let encoder = |format| Encoder::new(&pixels, SIDE, SIDE, format).quality(80);
        let samplings = [Subsampling::S420, Subsampling::S422, Subsampling::S444];
        let mut files: Vec<Vec<u8>> = samplings
            .into_iter()
            .flat_map(|sampling| {
                let encoder = || encoder(PixelFormat::Rgb).subsampling(sampling);
                [encoder().encode().unwrap(), encoder().restart_blocks(5).encode().unwrap()]
            })
            .collect();
        files.push(encoder(PixelFormat::Grayscale).encode().unwrap());
        // Most of its values are longer than a lookup.
        files.push(encoder(PixelFormat::Rgb).quality(100).encode().unwrap());
        files
    }

    const COLOURS: [Colours; 2] = [Colours::Rgb, Colours::AsStored];

    fn one_pass(file: &[u8]) -> Option<Vec<u8>> {
        decode(file, &ANY)
    }

    /// Returns the samples of a window.
    fn inside(window: Window, samples: &[u8], size: Size) -> Vec<u8> {
        let num_bands = samples.len() / size.num_pixels() as usize;
        let row_of = |y: u32| {
            let first = (y * size.width + window.x) as usize * num_bands;
            &samples[first..first + window.width as usize * num_bands]
        };
        (window.y..window.y + window.height).flat_map(row_of).copied().collect()
    }

    fn some_window(random: &mut Random, size: Size) -> Window {
        let mut range = |len: u32| {
            let first = random.below(len as usize) as u32;
            (first, 1 + random.below((len - first) as usize) as u32)
        };
        let ((x, width), (y, height)) = (range(size.width), range(size.height));
        Window { x, y, width, height }
    }

    #[test]
    fn a_part_has_the_samples_of_the_whole() {
        let mut random = Random(3);
        for (file, colours) in
            files().into_iter().flat_map(|file| COLOURS.map(|colours| (file.clone(), colours)))
        {
            let size = frame(&file).unwrap().size;
            let options = Options { colours, ..ANY };
            let whole = decode(&file, &options).unwrap();
            for _ in 0..300 {
                let window = some_window(&mut random, size);
                let part = decode(&file, &Options { needed: Some(window), ..options }).unwrap();
                let [part, whole] = [&part, &whole].map(|samples| inside(window, samples, size));
                assert_eq!(part, whole, "{window:?}");
            }
        }
    }

    #[test]
    fn usual_files_are_decoded_in_one_pass() {
        for file in files() {
            assert!(one_pass(&file).is_some());
            assert!((0..file.len()).all(|len| one_pass(&file[..len]).is_none()));
        }
    }

    /// Whatever passes here, damaged or not, the audit lets pass, and the decoder has the same samples.
    #[test]
    fn only_what_the_long_way_accepts_passes() {
        let mut random = Random(5);
        let (mut passed, mut rejected) = (0, 0);
        for file in files() {
            for case in 0..3000 {
                let options = Options { colours: COLOURS[case % 2], ..ANY };
                let mut damaged = file.clone();
                let at = random.below(damaged.len());
                match random.below(3) {
                    0 => damaged[at] = random.below(256) as u8,
                    1 => damaged[at] ^= 1 << random.below(8),
                    _ => drop(damaged.remove(at)),
                }
                let Some(frame) = frame(&damaged).filter(|frame| !frame.repeats_ids) else { continue };
                let window = some_window(&mut random, frame.size);
                let Some(part) = decode(&damaged, &Options { needed: Some(window), ..options }) else {
                    rejected += 1;
                    continue;
                };
                passed += 1;
                let whole = decode_audited(&damaged, &options).expect("the other decoder accepts it");
                assert_eq!(inside(window, &part, frame.size), inside(window, &whole, frame.size));
            }
        }
        assert!(passed > 500 && rejected > 2000, "{passed} passed, {rejected} did not");
    }
}
