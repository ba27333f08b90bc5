//! Blocks on their way from coefficients to the samples of their planes, four at a time.

use super::kernels::Kernels;

/// Blocks that are transformed together.
pub(super) const BLOCKS: usize = 4;
/// Lanes of a row of all blocks.
const ROW: usize = 8 * BLOCKS;

/// Samples of four blocks: for each pair of rows those of every block, for each block two rows of eight.
pub(super) type Samples = [u8; 64 * BLOCKS];

/// One block of [`Coefficients`] and those of the others that lie between.
pub(super) type Block = [i16; 64 * BLOCKS];

/// Numbers of four blocks in natural order: row by row, the blocks side by side.
///
/// Behind them is room, so that the last [`Block`] is as long as the first.
#[derive(Clone)]
#[repr(align(64))]
pub(super) struct Coefficients([i16; 64 * BLOCKS + ROW]);

impl Coefficients {
    /// Returns the place of a coefficient in a [`Block`], given by its index in natural order.
    pub(super) const fn place(natural: u8) -> u8 {
        natural / 8 * ROW as u8 + natural % 8
    }

    /// Returns the quantisation of four blocks.
    pub(super) fn quantisation(tables: [&[u8; 64]; BLOCKS]) -> Self {
        let mut all = Self([0; 64 * BLOCKS + ROW]);
        for (index, table) in tables.into_iter().enumerate() {
            for (natural, &value) in (0..).zip(table) {
                all.0[8 * index + usize::from(Self::place(natural))] = value.into();
            }
        }
        all
    }

    /// Returns the blocks row by row.
    pub(super) fn rows(&self) -> [&[i16; ROW]; 8] {
        let (rows, _) = self.0.as_chunks::<ROW>();
        std::array::from_fn(|row| &rows[row])
    }

    /// Returns one block in natural order.
    pub(super) fn block(&self, index: usize) -> [i16; 64] {
        let mut block = [0; 64];
        for (out, row) in block.as_chunks_mut::<8>().0.iter_mut().zip(self.rows()) {
            out.copy_from_slice(&row[8 * index..][..8]);
        }
        block
    }
}

/// Blocks that wait until there are four of them.
pub(super) struct Group<'a> {
    kernels: &'a Kernels,
    /// Quantisation of the first four blocks of a row of MCUs, of the next four, and so on, over and over.
    quantisations: &'a [Coefficients],
    /// Which of them is that of the blocks here.
    turn: usize,
    planes: &'a mut [u8],
    coefficients: Coefficients,
    /// For each block its first sample in the planes and the samples from row to row.
    targets: [(usize, usize); BLOCKS],
    len: usize,
}

impl<'a> Group<'a> {
    pub(super) fn new(kernels: &'a Kernels, quantisations: &'a [Coefficients], planes: &'a mut [u8]) -> Self {
        let coefficients = Coefficients([0; 64 * BLOCKS + ROW]);
        Self { kernels, quantisations, turn: 0, planes, coefficients, targets: [(0, 0); BLOCKS], len: 0 }
    }

    /// Returns the next block, whose coefficients are zero.
    #[inline]
    pub(super) fn next(&mut self) -> &mut Block {
        self.coefficients.0[8 * self.len..].first_chunk_mut().expect("there is room behind the last block")
    }

    /// Returns the samples of all planes.
    pub(super) fn planes(&self) -> &[u8] {
        self.planes
    }

    /// Takes the block that was entered; the fourth of them takes all to their planes.
    ///
    /// - `first`, `stride`: where its samples go
    #[inline]
    pub(super) fn push(&mut self, first: usize, stride: usize) {
        self.targets[self.len] = (first, stride);
        self.len += 1;
        if self.len == BLOCKS {
            self.transform();
            self.turn = (self.turn + 1) % self.quantisations.len();
        }
    }

    /// Takes the blocks that are left at the end of a row of MCUs to their planes.
    pub(super) fn end_row(&mut self) {
        if self.len > 0 {
            self.transform();
        }
        self.turn = 0;
    }

    fn transform(&mut self) {
        let mut samples: Samples = [0; 64 * BLOCKS];
        self.kernels.transform(&self.coefficients, &self.quantisations[self.turn], &mut samples);
        self.coefficients = Coefficients([0; 64 * BLOCKS + ROW]);
        let (rows, _) = samples.as_chunks::<8>();
        for (block, &(first, stride)) in self.targets[..self.len].iter().enumerate() {
            for row in 0..8 {
                let samples = &rows[(row / 2 * BLOCKS + block) * 2 + row % 2];
                self.planes[first + row * stride..][..8].copy_from_slice(samples);
            }
        }
        self.len = 0;
    }
}
