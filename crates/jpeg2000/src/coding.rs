//! How components are coded: the marker segments COD, COC, QCD, QCC, RGN and POC (T.800 A.6).

use tilefleet_codec::{Result, corrupt, unsupported};

use crate::bytes::Bytes;

/// The styles of code-blocks (table A.19; T.814 for the last).
pub(crate) mod style {
    /// Raw bits after the fourth bit plane.
    pub(crate) const BYPASS: u8 = 1;
    /// Contexts start anew in every pass.
    pub(crate) const RESET: u8 = 2;
    /// Every pass ends its codeword segment.
    pub(crate) const TERMINATE: u8 = 4;
    /// Contexts do not see the next stripe.
    pub(crate) const CAUSAL: u8 = 8;
    /// Each cleanup pass ends with 1010.
    pub(crate) const SYMBOLS: u8 = 32;
    /// The block coder of T.814.
    pub(crate) const HIGH_THROUGHPUT: u8 = 64;
    /// Both block coders in one component.
    pub(crate) const MIXED: u8 = 128;
}

/// The most decompositions that a stream may have (table A.15).
const MAX_LEVELS: u8 = 32;

/// The most changes of the order of packets that are followed: each costs a look at all precincts.
const MAX_VOLUMES: usize = 64;

/// The orders of packets (table A.16).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progression {
    Lrcp,
    Rlcp,
    Rpcl,
    Pcrl,
    Cprl,
}

impl Progression {
    fn parse(code: u8) -> Result<Self> {
        Ok(match code {
            0 => Self::Lrcp,
            1 => Self::Rlcp,
            2 => Self::Rpcl,
            3 => Self::Pcrl,
            4 => Self::Cprl,
            _ => return Err(corrupt(format!("progression order {code}"))),
        })
    }
}

/// Which packets come next, and in which order: a part of POC, or all of a tile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Volume {
    pub(crate) order: Progression,
    pub(crate) resolutions: (u8, u8),
    pub(crate) components: (u16, u16),
    /// Layers below this one.
    pub(crate) num_layers: u16,
}

/// How coefficients are quantised (table A.28).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Quantisation {
    pub(crate) guard_bits: u8,
    /// One step is given, and the others follow from it (E.5).
    derived: bool,
    /// Exponents and mantissas, from the lowest band on.
    steps: Vec<(u8, u16)>,
}

impl Quantisation {
    fn parse(segment: &mut Bytes<'_>) -> Result<Self> {
        let kind = segment.u8()?;
        let mut steps = Vec::new();
        while !segment.is_empty() {
            steps.push(match kind & 31 {
                0 => (segment.u8()? >> 3, 0),
                1 | 2 => {
                    let step = segment.u16()?;
                    ((step >> 11) as u8, step & 0x7FF)
                }
                other => return Err(corrupt(format!("quantisation style {other}"))),
            });
        }
        if steps.is_empty() || steps.len() > 3 * usize::from(MAX_LEVELS) + 1 {
            return Err(corrupt(format!("quantisation of {} bands", steps.len())));
        }
        Ok(Self { guard_bits: kind >> 5, derived: kind & 31 == 1, steps })
    }

    /// Returns exponent and mantissa of a band: `index` counts LL, then HL, LH and HH of each resolution.
    pub(crate) fn step(&self, index: usize) -> Result<(u8, u16)> {
        if self.derived {
            // E-5: the exponent falls by 1 with each resolution after the first.
            let (exponent, mantissa) = self.steps[0];
            return Ok((exponent.saturating_sub((index.saturating_sub(1) / 3) as u8), mantissa));
        }
        let step = self.steps.get(index);
        step.copied().ok_or_else(|| corrupt(format!("band {index} has no quantisation step")))
    }
}

/// How one component of a tile is coded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ComponentCoding {
    pub(crate) num_levels: u8,
    /// Binary logarithms of the width and height of code-blocks.
    pub(crate) block: (u8, u8),
    pub(crate) style: u8,
    pub(crate) reversible: bool,
    /// Binary logarithms of the width and height of precincts, by resolution; none means 2^15.
    precincts: Vec<(u8, u8)>,
    pub(crate) quantisation: Quantisation,
    /// By how many bits the region of interest is shifted up (Annex H).
    pub(crate) roi_shift: u8,
    has_own_coding: bool,
    has_own_quantisation: bool,
}

impl ComponentCoding {
    /// Returns the binary logarithms of the width and height of precincts of a resolution.
    pub(crate) fn precinct(&self, resolution: u8) -> (u8, u8) {
        self.precincts.get(usize::from(resolution)).copied().unwrap_or((15, 15))
    }

    /// Reads what COD and COC have in common (table A.20).
    fn parse_style(&mut self, segment: &mut Bytes<'_>, has_precincts: bool) -> Result<()> {
        self.num_levels = segment.u8()?;
        self.block = (segment.u8()?.saturating_add(2), segment.u8()?.saturating_add(2));
        self.style = segment.u8()?;
        self.reversible = match segment.u8()? {
            0 => false,
            1 => true,
            other => return Err(corrupt(format!("wavelet transform {other}"))),
        };
        if self.num_levels > MAX_LEVELS {
            return Err(corrupt(format!("{} decompositions", self.num_levels)));
        }
        if self.block.0 > 10 || self.block.1 > 10 || self.block.0 + self.block.1 > 12 {
            return Err(corrupt(format!("code-blocks of 2^{} by 2^{}", self.block.0, self.block.1)));
        }
        if self.style & style::MIXED != 0 {
            return Err(unsupported("both block coders in one component"));
        }
        self.precincts.clear();
        for resolution in 0..if has_precincts { self.num_levels + 1 } else { 0 } {
            let size = segment.u8()?;
            if resolution > 0 && (size.is_multiple_of(16) || size < 16) {
                return Err(corrupt("precincts of one sample"));
            }
            self.precincts.push((size & 15, size >> 4));
        }
        Ok(())
    }
}

/// How a tile is coded, or all tiles unless their own headers differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Coding {
    pub(crate) order: Progression,
    pub(crate) num_layers: u16,
    pub(crate) component_transform: bool,
    /// By POC; none means `order`.
    pub(crate) volumes: Vec<Volume>,
    pub(crate) components: Vec<ComponentCoding>,
    has_cod: bool,
    has_qcd: bool,
}

impl Coding {
    /// Returns the coding of so many components before any marker segment has been read.
    pub(crate) fn new(num_components: usize) -> Self {
        let component = ComponentCoding {
            num_levels: 0,
            block: (6, 6),
            style: 0,
            reversible: true,
            precincts: Vec::new(),
            quantisation: Quantisation { guard_bits: 0, derived: false, steps: Vec::new() },
            roi_shift: 0,
            has_own_coding: false,
            has_own_quantisation: false,
        };
        Self {
            order: Progression::Lrcp,
            num_layers: 1,
            component_transform: false,
            volumes: Vec::new(),
            components: vec![component; num_components],
            has_cod: false,
            has_qcd: false,
        }
    }

    /// Returns it as a tile begins with it: what the tile says of all components overrules what the main header says
    /// of one (A.6.1).
    pub(crate) fn for_tile(&self) -> Self {
        let mut coding = self.clone();
        for component in &mut coding.components {
            (component.has_own_coding, component.has_own_quantisation) = (false, false);
        }
        (coding.has_cod, coding.has_qcd) = (false, false);
        coding
    }

    /// Checks that COD and QCD have been read.
    pub(crate) fn check(&self) -> Result<()> {
        if !self.has_cod || !self.has_qcd {
            return Err(corrupt("the main header lacks COD or QCD"));
        }
        Ok(())
    }

    /// Reads a marker segment, if it is one of those that say how components are coded.
    pub(crate) fn read(&mut self, marker: u16, segment: &mut Bytes<'_>) -> Result<bool> {
        match marker {
            0xFF52 => self.read_cod(segment)?,
            0xFF53 => self.read_coc(segment)?,
            0xFF5C => self.read_qcd(segment)?,
            0xFF5D => self.read_qcc(segment)?,
            0xFF5E => self.read_rgn(segment)?,
            0xFF5F => self.read_poc(segment)?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn read_cod(&mut self, segment: &mut Bytes<'_>) -> Result<()> {
        once(&mut self.has_cod, "COD")?;
        // SOP and EPH are recognised where they are, whatever this says of them.
        let has_precincts = segment.u8()? & 1 != 0;
        self.order = Progression::parse(segment.u8()?)?;
        self.num_layers = segment.u16()?;
        self.component_transform = segment.u8()? & 1 != 0;
        if self.num_layers == 0 {
            return Err(corrupt("0 layers"));
        }
        let mut read = Self::new(1).components.remove(0);
        read.parse_style(segment, has_precincts)?;
        for component in self.components.iter_mut().filter(|component| !component.has_own_coding) {
            component.copy_style(&read);
        }
        Ok(())
    }

    fn read_coc(&mut self, segment: &mut Bytes<'_>) -> Result<()> {
        let component = self.component(segment)?;
        let has_precincts = segment.u8()? & 1 != 0;
        component.has_own_coding = true;
        component.parse_style(segment, has_precincts)
    }

    fn read_qcd(&mut self, segment: &mut Bytes<'_>) -> Result<()> {
        once(&mut self.has_qcd, "QCD")?;
        let quantisation = Quantisation::parse(segment)?;
        for component in self.components.iter_mut().filter(|component| !component.has_own_quantisation) {
            component.quantisation.clone_from(&quantisation);
        }
        Ok(())
    }

    fn read_qcc(&mut self, segment: &mut Bytes<'_>) -> Result<()> {
        let component = self.component(segment)?;
        component.has_own_quantisation = true;
        component.quantisation = Quantisation::parse(segment)?;
        Ok(())
    }

    fn read_rgn(&mut self, segment: &mut Bytes<'_>) -> Result<()> {
        let component = self.component(segment)?;
        let kind = segment.u8()?;
        component.roi_shift = segment.u8()?;
        if kind != 0 {
            return Err(corrupt(format!("region of interest style {kind}")));
        }
        Ok(())
    }

    /// Reads progression order changes (A.6.6); further segments add to them.
    fn read_poc(&mut self, segment: &mut Bytes<'_>) -> Result<()> {
        while !segment.is_empty() {
            let first_resolution = segment.u8()?;
            let first_component = self.component_index(segment)?;
            let num_layers = segment.u16()?;
            let end_resolution = segment.u8()?;
            let end_component = self.component_index(segment)?;
            let order = Progression::parse(segment.u8()?)?;
            if self.volumes.len() == MAX_VOLUMES {
                return Err(unsupported(format!("more than {MAX_VOLUMES} progression order changes")));
            }
            // One byte cannot say 256.
            let end_component = if end_component == 0 { u16::MAX } else { end_component };
            self.volumes.push(Volume {
                order,
                resolutions: (first_resolution, end_resolution),
                components: (first_component, end_component),
                num_layers,
            });
        }
        Ok(())
    }

    fn component_index(&self, segment: &mut Bytes<'_>) -> Result<u16> {
        if self.components.len() < 257 { segment.u8().map(u16::from) } else { segment.u16() }
    }

    fn component(&mut self, segment: &mut Bytes<'_>) -> Result<&mut ComponentCoding> {
        let index = self.component_index(segment)?;
        let component = self.components.get_mut(usize::from(index));
        component
            .ok_or_else(|| corrupt(format!("a marker segment of component {index}, which does not exist")))
    }
}

/// Notes that a marker segment has been read, which a header has at most once.
fn once(seen: &mut bool, name: &str) -> Result<()> {
    if std::mem::replace(seen, true) { Err(corrupt(format!("{name} twice in a header"))) } else { Ok(()) }
}

impl ComponentCoding {
    fn copy_style(&mut self, other: &Self) {
        self.num_levels = other.num_levels;
        self.block = other.block;
        self.style = other.style;
        self.reversible = other.reversible;
        self.precincts.clone_from(&other.precincts);
    }
}
