//! Where on Earth a window lies: tags and geometry in, coordinates out.
//!
//! In go the raw `GeoTIFF` tags of a file ([`GeoTags`]) or a transform and an EPSG code; out come a
//! [`Georeference`], and from it the [`Footprint`] of any window, in longitude and latitude (OGC:CRS84).
//! Beside it stand the named [`mod@cell`]s of a global grid and the area of interest ([`Aoi`]). Planning,
//! the sink and exports call it. It does no I/O and reads no pixels; what cannot be placed beyond doubt has
//! no geometry and a [`NoGeometry`] that says why.

mod aoi;
mod bbox;
pub mod cell;
mod crs;
mod ellipsoid;
mod epsg;
mod footprint;
mod georeference;
mod keys;
mod tags;
#[cfg(test)]
mod tests;
mod transform;
mod wkb;
mod wkt;

pub use aoi::Aoi;
pub use bbox::{around, around_across_antimeridian};
pub use cell::cell;
pub use crs::Crs;
pub use footprint::Footprint;
pub use georeference::Georeference;
pub use tags::GeoTags;
pub use transform::GeoTransform;
pub use wkb::parts;

/// Why something has no geometry. It is not an error: its rows have empty geo columns.
#[derive(Clone, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum NoGeometry {
    /// Neither a pixel scale with a tiepoint, nor a matrix.
    #[error("the file has no georeference")]
    NoTransform,
    /// Several tiepoints: the pixels lie on no regular grid.
    #[error("the file has {0} ground control points instead of a transform")]
    ControlPoints(usize),
    /// The transform maps the image to a line or a point, or has values that are not numbers.
    #[error("its transform cannot be inverted")]
    Singular,
    /// The transform is the identity: its coordinates are columns and rows.
    #[error("its transform is the identity, as in files with RPCs, and gives no position on Earth")]
    PixelNumbers,
    /// No key says which coordinate reference system.
    #[error("the file names no coordinate reference system")]
    NoCrs,
    /// The ellipsoid is not the Earth's, or the system is local.
    #[error("its coordinate reference system is not on Earth: {0}")]
    NotOnEarth(String),
    /// We do not know the system well enough to agree with PROJ.
    #[error("its coordinate reference system is not supported: {0}")]
    UnsupportedCrs(String),
    /// A point of the window lies where the projection has no inverse.
    #[error("the window lies partly outside its coordinate reference system")]
    OutsideCrs,
    /// The window spans more than once around the Earth.
    #[error("the window spans more than 360 degrees of longitude")]
    TooWide,
}
