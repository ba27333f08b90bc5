//! What there is to say of a scene beyond what every image has, by its header.

use serde::Serialize;

use crate::format::tiff::{self, Layout, TiffHeader, Validity};
use crate::geo::GeoTags;

/// `GeoTIFF` keys that hold an EPSG code (OGC 19-008r4, annex B).
const PROJECTED_CRS: u16 = 3072;
const GEODETIC_CRS: u16 = 2048;
/// Stands for a system that the other keys describe.
const USER_DEFINED: u16 = 32_767;

/// What the header of a scene says.
#[derive(Clone, Debug, Serialize)]
pub struct Scene {
    /// EPSG code of the coordinate reference system, if it has one.
    pub epsg: Option<u16>,
    /// How a pixel is said to be valid: `all`, `mask`, `nodata`, `alpha`.
    pub valid_by: &'static str,
    /// The value of pixels without data; `nan` and infinities as text.
    pub nodata: Option<String>,
    /// The predictor, 1 to 3.
    pub predictor: u8,
    /// Whether each band has blocks of its own.
    pub separate_bands: bool,
    /// Whether the file is a `BigTIFF`.
    pub big_tiff: bool,
    /// Whether it is big-endian.
    pub big_endian: bool,
    /// What is known of each band.
    pub bands: Vec<Band>,
    /// How each level is stored, the finest first.
    pub levels: Vec<Blocks>,
    /// What was found and is not used.
    pub notes: Vec<String>,
}

/// What is known of one band.
#[derive(Clone, Debug, Serialize)]
pub struct Band {
    /// What it shows, as GDAL names it.
    pub colour: String,
    /// Its name.
    pub description: Option<String>,
    /// Value = sample × scale + offset.
    pub scale: f64,
    /// See `scale`.
    pub offset: f64,
    /// Unit of the value.
    pub unit: Option<String>,
}

/// How one level is stored.
#[derive(Clone, Debug, Serialize)]
pub struct Blocks {
    /// `tiles` or `strips`.
    pub layout: &'static str,
    /// Number of columns of a block.
    pub block_width: u32,
    /// Number of rows of a block.
    pub block_height: u32,
    /// Number of blocks of all bands.
    pub num_blocks: u64,
    /// How they are compressed.
    pub compression: String,
    /// Whether there is a mask.
    pub mask: bool,
}

impl Scene {
    pub(super) fn new(header: &TiffHeader) -> Self {
        let page = &header.levels[0].pixels;
        Self {
            epsg: epsg(&header.geo),
            valid_by: match header.validity(0) {
                Validity::All => "all",
                Validity::Mask => "mask",
                Validity::Nodata(_, Some(_)) | Validity::Alpha(_) => "alpha",
                Validity::Nodata(_, None) => "nodata",
            },
            nodata: header.nodata.map(|nodata| match nodata.integer {
                Some(integer) => integer.to_string(),
                None => format!("{:?}", nodata.value).to_lowercase(),
            }),
            predictor: page.predictor.code(),
            separate_bands: page.separate,
            big_tiff: header.big_tiff,
            big_endian: header.big_endian,
            bands: header.bands.iter().map(Band::new).collect(),
            levels: header.levels.iter().map(Blocks::new).collect(),
            notes: header.notes.clone(),
        }
    }
}

impl Band {
    fn new(band: &tiff::BandInfo) -> Self {
        Self {
            colour: band.colour.clone(),
            description: band.description.clone(),
            scale: band.scale,
            offset: band.offset,
            unit: band.unit.clone(),
        }
    }
}

impl Blocks {
    fn new(level: &tiff::Level) -> Self {
        let page = &level.pixels;
        Self {
            layout: match page.layout {
                Layout::Tiles => "tiles",
                Layout::Strips => "strips",
            },
            block_width: page.block.width,
            block_height: page.block.height,
            num_blocks: page.num_blocks(),
            compression: page.compression.to_string(),
            mask: level.mask.is_some(),
        }
    }
}

/// Returns the EPSG code that the keys name directly.
fn epsg(geo: &GeoTags) -> Option<u16> {
    let code = |wanted: u16| {
        let entries = geo.key_directory.as_chunks::<4>().0.iter().skip(1);
        let mut codes = entries.filter(|&&[key, location, ..]| key == wanted && location == 0);
        codes.next().map(|&[.., code]| code).filter(|&code| code != USER_DEFINED && code != 0)
    };
    code(PROJECTED_CRS).or_else(|| code(GEODETIC_CRS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_projected_system_comes_before_the_geodetic_one_that_it_is_based_on() {
        let geo =
            |key_directory: &[u16]| GeoTags { key_directory: key_directory.to_vec(), ..GeoTags::default() };
        let utm = [1, 1, 0, 3, 1024, 0, 1, 1, 2048, 0, 1, 4326, 3072, 0, 1, 32_617];
        assert_eq!(epsg(&geo(&utm)), Some(32_617));
        assert_eq!(epsg(&geo(&utm[..12])), Some(4326));
        assert_eq!(epsg(&geo(&[1, 1, 0, 1, 3072, 0, 1, 32_767])), None);
        assert_eq!(epsg(&geo(&[])), None);
    }
}
