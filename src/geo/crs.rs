//! Coordinate reference systems: coordinates to longitude and latitude, and back.

use std::fmt;

use proj4rs::Proj;
use proj4rs::transform::transform;

use super::tags::GeoTags;
use super::{NoGeometry, epsg, keys};

/// A coordinate reference system that we agree on with PROJ.
///
/// Longitude and latitude are OGC:CRS84 throughout: WGS 84, in degrees, longitude first. Datums that PROJ
/// takes as WGS 84 (NAD83, ETRS89, GDA94, …) are taken as it here too.
#[derive(Clone)]
pub struct Crs {
    epsg: Option<u32>,
    proj: Proj,
    wgs84: Proj,
}

/// OGC:CRS84 as a PROJ string.
const WGS84: &str = "+proj=longlat +datum=WGS84 +no_defs";

impl Crs {
    /// Derives the system from a file's keys.
    ///
    /// # Errors
    ///
    /// [`NoGeometry`] if the file names none, or one that is not on Earth or that we cannot vouch for.
    ///
    /// # Reference
    ///
    /// OGC 19-008r4, section 7.3 to 7.5.
    pub fn from_tags(tags: &GeoTags) -> Result<Self, NoGeometry> {
        match keys::definition(tags)? {
            keys::Definition::Epsg(code) => Self::from_epsg(code),
            keys::Definition::Proj(string) => Self::from_proj(None, &string),
        }
    }

    /// Looks up a projected or geographic system.
    ///
    /// # Errors
    ///
    /// [`NoGeometry::UnsupportedCrs`] unless its definition has been compared with PROJ.
    pub fn from_epsg(code: u32) -> Result<Self, NoGeometry> {
        let definition = epsg::definition(code).ok_or_else(|| {
            NoGeometry::UnsupportedCrs(if epsg::needs_grid(code) {
                format!("EPSG:{code} needs a grid of datum shifts, which this build does not have")
            } else {
                format!("EPSG:{code} has not been compared with PROJ")
            })
        })?;
        Self::from_proj(Some(code), definition)
    }

    /// Makes a reference system of a definition in PROJ's words.
    pub(super) fn from_proj(epsg: Option<u32>, definition: &str) -> Result<Self, NoGeometry> {
        let unsupported =
            |cause: proj4rs::errors::Error| NoGeometry::UnsupportedCrs(format!("{definition}: {cause}"));
        let proj = Proj::from_proj_string(definition).map_err(unsupported)?;
        let wgs84 = Proj::from_proj_string(WGS84).map_err(unsupported)?;
        Ok(Self { epsg, proj, wgs84 })
    }

    /// Returns the EPSG code, where the system has one.
    #[must_use]
    pub fn epsg(&self) -> Option<u32> {
        self.epsg
    }

    /// Returns whether coordinates are longitude and latitude, in degrees.
    #[must_use]
    pub fn is_geographic(&self) -> bool {
        self.proj.is_latlong()
    }

    /// Returns the length of one unit of a projected system, in metres; `None` for a geographic one.
    #[must_use]
    pub fn metres_per_unit(&self) -> Option<f64> {
        (!self.is_geographic()).then(|| self.proj.to_meter())
    }

    /// Returns whether the scale of the projection changes so much with latitude that its units are no
    /// measure of the ground: cylindrical projections of the whole Earth.
    pub(super) fn stretches(&self) -> bool {
        matches!(self.proj.projname(), "merc" | "webmerc" | "eqc" | "cea" | "mill")
    }

    /// Returns longitude and latitude of coordinates, in degrees.
    ///
    /// A geographic system keeps the longitude's turn: 190 stays 190.
    ///
    /// # Errors
    ///
    /// [`NoGeometry::OutsideCrs`] where the projection has no inverse.
    pub fn to_lon_lat(&self, x: f64, y: f64) -> Result<(f64, f64), NoGeometry> {
        if !self.is_geographic() {
            let (longitude, latitude) = convert(&self.proj, &self.wgs84, (x, y))?;
            return placed(longitude.to_degrees(), latitude.to_degrees());
        }
        if y.abs() > 90.0 + 1e-9 {
            return Err(NoGeometry::OutsideCrs);
        }
        let from = (x.to_radians(), y.clamp(-90.0, 90.0).to_radians());
        let (longitude, latitude) = convert(&self.proj, &self.wgs84, from)?;
        let turned = longitude.to_degrees();
        // What a datum shift adds stays, what an inverse adds or takes in turns does not.
        placed(turned + ((x - turned) / 360.0).round() * 360.0, latitude.to_degrees())
    }

    /// Returns the coordinates of longitude and latitude in degrees: what [`Self::to_lon_lat`] takes back there.
    ///
    /// # Errors
    ///
    /// [`NoGeometry::OutsideCrs`] where the projection has no value.
    pub fn from_lon_lat(&self, longitude: f64, latitude: f64) -> Result<(f64, f64), NoGeometry> {
        let (mut east, mut north) = (longitude, latitude);
        let mut point = self.projected(east, north)?;
        // A datum shift of places without height is undone only nearly, by metres.
        for _ in 0..2 {
            let (back, up) = self.to_lon_lat(point.0, point.1)?;
            let missing = longitude - back;
            east += missing - (missing / 360.0).round() * 360.0;
            north += latitude - up;
            point = self.projected(east, north)?;
        }
        Ok(point)
    }

    fn projected(&self, longitude: f64, latitude: f64) -> Result<(f64, f64), NoGeometry> {
        let latitude = latitude.clamp(-90.0, 90.0);
        let (x, y) = convert(&self.wgs84, &self.proj, (longitude.to_radians(), latitude.to_radians()))?;
        let (x, y) = if self.is_geographic() { (x.to_degrees(), y.to_degrees()) } else { (x, y) };
        if x.is_finite() && y.is_finite() { Ok((x, y)) } else { Err(NoGeometry::OutsideCrs) }
    }
}

fn convert(from: &Proj, to: &Proj, mut point: (f64, f64)) -> Result<(f64, f64), NoGeometry> {
    transform(from, to, &mut point).map_err(|_| NoGeometry::OutsideCrs)?;
    Ok(point)
}

fn placed(longitude: f64, latitude: f64) -> Result<(f64, f64), NoGeometry> {
    let on_earth = longitude.is_finite() && latitude.abs() <= 90.0 + 1e-9;
    if on_earth { Ok((longitude, latitude)) } else { Err(NoGeometry::OutsideCrs) }
}

impl fmt::Debug for Crs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Crs({self})")
    }
}

impl fmt::Display for Crs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.epsg {
            Some(code) => write!(f, "EPSG:{code}"),
            None => write!(f, "user-defined ({})", self.proj.projname()),
        }
    }
}
