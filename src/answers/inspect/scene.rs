//! What there is to say of a scene beyond what every image has, by its header.

use serde::Serialize;

use crate::formats::raster::{BandInfo, BlockGrid, BlockLayout, RasterFile, Validity};
use crate::geo::{GeoTransform, Georeference};
use crate::vocabulary::geometry::Window;

/// What the header of a scene says.
#[derive(Clone, Debug, Serialize)]
pub struct Scene {
    /// EPSG code of the coordinate reference system, if it has one.
    pub epsg: Option<u32>,
    /// The coordinate reference system for people; where pixels have no place, why.
    pub crs: String,
    /// Width and height of a pixel of level 0, in units of the coordinate reference system.
    pub pixel_size: Option<[f64; 2]>,
    /// West, south, east and north of the image, in degrees.
    pub extent: Option<[f64; 4]>,
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
    pub(super) fn new(file: &dyn RasterFile) -> Self {
        let (grid, container) = (file.pixels(0, 0), file.container());
        let geo = file.geo().cloned().unwrap_or_default();
        let place = Georeference::from_tags(&geo);
        let footprint = place
            .as_ref()
            .ok()
            .and_then(|place| place.footprint(grid.size, grid.size, Window::whole(grid.size)).ok());
        Self {
            epsg: geo.epsg(),
            crs: place.as_ref().map_or_else(
                |why| format!("{}: {why}", epsg_text(geo.epsg())),
                |place| place.crs().to_string(),
            ),
            pixel_size: GeoTransform::from_tags(&geo).ok().map(|transform| transform.pixel_size()),
            extent: footprint.map(|footprint| footprint.bbox()),
            valid_by: match file.validity(0, 0) {
                Validity::All => "all",
                Validity::Mask => "mask",
                Validity::Nodata(_, Some(_)) | Validity::Alpha(_) => "alpha",
                Validity::Nodata(_, None) => "nodata",
            },
            nodata: file.nodata(0).map(|nodata| match nodata.integer {
                Some(integer) => integer.to_string(),
                None => format!("{:?}", nodata.value).to_lowercase(),
            }),
            predictor: grid.stored.predictor.code(),
            separate_bands: grid.separate,
            big_tiff: container.big_tiff,
            big_endian: container.big_endian,
            bands: file.bands(0).iter().map(Band::new).collect(),
            levels: (0..file.num_levels())
                .map(|level| Blocks::new(file.pixels(0, level), file.mask(0, level).is_some()))
                .collect(),
            notes: file.notes().to_vec(),
        }
    }
}

impl Band {
    fn new(band: &BandInfo) -> Self {
        Self {
            colour: band.colour.clone(),
            description: band.description.clone(),
            scale: band.values.scale,
            offset: band.values.offset,
            unit: band.values.unit.clone(),
        }
    }
}

impl Blocks {
    fn new(grid: &BlockGrid, mask: bool) -> Self {
        Self {
            layout: match grid.layout {
                BlockLayout::Tiles => "tiles",
                BlockLayout::Strips => "strips",
            },
            block_width: grid.block.width,
            block_height: grid.block.height,
            num_blocks: grid.num_blocks(),
            compression: grid.stored.codec.to_string(),
            mask,
        }
    }
}

fn epsg_text(code: Option<u32>) -> String {
    code.map_or_else(|| "no EPSG code".to_owned(), |code| format!("EPSG:{code}"))
}

#[cfg(test)]
mod tests {
    use crate::geo::GeoTags;

    #[test]
    fn the_code_is_that_of_the_coordinates() {
        let geo =
            |key_directory: &[u16]| GeoTags { key_directory: key_directory.to_vec(), ..GeoTags::default() };
        let utm = [1, 1, 0, 3, 1024, 0, 1, 1, 2048, 0, 1, 4326, 3072, 0, 1, 32_617];
        assert_eq!(geo(&utm).epsg(), Some(32_617));
        assert_eq!(geo(&[1, 1, 0, 2, 1024, 0, 1, 2, 2048, 0, 1, 4326]).epsg(), Some(4326));
        assert_eq!(geo(&[1, 1, 0, 1, 3072, 0, 1, 32_767]).epsg(), None);
        assert_eq!(geo(&[]).epsg(), None);
        // British National Grid needs a grid of shifts that nobody has here: its code is still its code.
        assert_eq!(geo(&[1, 1, 0, 2, 1024, 0, 1, 1, 3072, 0, 1, 27_700]).epsg(), Some(27_700));
        // A projection of its own over WGS 84 is not WGS 84.
        let own = [1, 1, 0, 4, 1024, 0, 1, 1, 2048, 0, 1, 4326, 3072, 0, 1, 32_767, 3074, 0, 1, 32_767];
        assert_eq!(geo(&own).epsg(), None);
        assert_eq!(geo(&own[..12]).epsg(), None, "projected, and not said how");
    }
}
