//! From `GeoKeys` to a definition: an EPSG code, or the PROJ string of a system that the file spells out.

use super::ellipsoid::{INVERSE_FLATTENING, SEMI_MAJOR};
use super::tags::{GeoTags, USER_DEFINED, key};
use super::{NoGeometry, epsg, wkt};

/// How a file defines its coordinate reference system.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Definition {
    /// A code of the EPSG dataset.
    Epsg(u32),
    /// A PROJ string without code.
    Proj(String),
}

const MODEL_PROJECTED: u16 = 1;
const MODEL_GEOGRAPHIC: u16 = 2;
const MODEL_GEOCENTRIC: u16 = 3;
/// Web Mercator, and the sphere that others name below it.
const WEB_MERCATOR: (u16, u16) = (3857, 4055);
const METRE: u16 = 9001;
const DEGREE: u16 = 9102;

/// The sphere of MODIS's sinusoidal grid, in metres. PROJ takes longitude and latitude on it as those of WGS 84,
/// and so does everyone who uses these products.
const MODIS_RADIUS: f64 = 6_371_007.181;

/// Reads the keys.
///
/// # Errors
///
/// [`NoGeometry`] if there are none, or they describe something that we cannot vouch for.
pub(super) fn definition(tags: &GeoTags) -> Result<Definition, NoGeometry> {
    if let Some(text) = esri_text(tags) {
        return wkt::proj_string(text).map(Definition::Proj);
    }
    let named = |key| tags.code(key).filter(|&code| code != USER_DEFINED && code != 0);
    match tags.code(key::MODEL_TYPE) {
        Some(MODEL_GEOCENTRIC) => return Err(unsupported("geocentric coordinates")),
        None if tags.key_directory.is_empty() => return Err(NoGeometry::NoCrs),
        _ => {}
    }
    if let Some(code) = named(key::PROJECTED_CRS) {
        check_model(tags, code)?;
        check_units(tags, code)?;
        check_datum(tags, code)?;
        return Ok(Definition::Epsg(u32::from(code)));
    }
    let is_geographic = tags.code(key::MODEL_TYPE) == Some(MODEL_GEOGRAPHIC);
    if tags.code(key::PROJECTED_CRS).is_some() || tags.code(key::PROJECTION).is_some() {
        return projected(tags).map(Definition::Proj);
    }
    match (is_geographic, named(key::GEODETIC_CRS)) {
        (true, Some(code)) => Ok(Definition::Epsg(u32::from(code))),
        (true, None) if tags.code(key::GEODETIC_CRS).is_some() => {
            Ok(Definition::Proj(format!("+proj=longlat {}", datum(tags)?)))
        }
        _ => Err(tags.text(key::PROJECTED_CITATION).map_or(NoGeometry::NoCrs, unsupported)),
    }
}

/// What the software of Esri writes where it has no code: a whole description in the citation.
fn esri_text(tags: &GeoTags) -> Option<&str> {
    let citation = [key::PROJECTED_CITATION, key::GEODETIC_CITATION]
        .into_iter()
        .find_map(|key| tags.text(key).and_then(|text| text.strip_prefix("ESRI PE String = ")));
    let coded = tags.code(key::PROJECTED_CRS).is_some_and(|code| code != USER_DEFINED);
    citation.filter(|_| !coded)
}

/// A unit of length beside a code must be that of the code: GDAL would scale, others would not.
fn check_units(tags: &GeoTags, code: u16) -> Result<(), NoGeometry> {
    let Some(unit) = tags.code(key::LINEAR_UNITS).filter(|&unit| unit != USER_DEFINED && unit != 0) else {
        return Ok(());
    };
    let Some(definition) = epsg::definition(u32::from(code)) else { return Ok(()) };
    let in_metres = definition.contains("+units=m ");
    if in_metres == (unit == METRE) {
        return Ok(());
    }
    Err(unsupported(&format!("EPSG:{code} with coordinates in the unit EPSG:{unit}")))
}

/// A file with a code of a projected system must call itself projected: GDAL goes by what it calls itself.
fn check_model(tags: &GeoTags, code: u16) -> Result<(), NoGeometry> {
    match tags.code(key::MODEL_TYPE) {
        None | Some(MODEL_PROJECTED | USER_DEFINED) => Ok(()),
        Some(model) => Err(unsupported(&format!(
            "the key GTModelType {model} contradicts the code of a projected system, EPSG:{code}"
        ))),
    }
}

/// A datum beside the code of a projected system must be that of the code: GDAL takes the one beside.
fn check_datum(tags: &GeoTags, code: u16) -> Result<(), NoGeometry> {
    let Some(definition) = epsg::definition(u32::from(code)) else { return Ok(()) };
    let named = |key| tags.code(key).filter(|&code| code != USER_DEFINED && code != 0);
    let contradicts =
        |what: &str, beside: u16| unsupported(&format!("{what} EPSG:{beside} contradicts EPSG:{code}"));
    let is_same = |crs: u16| {
        let beside = epsg::definition(u32::from(crs));
        (code, crs) == WEB_MERCATOR || beside.is_some_and(|beside| datum_of(beside) == datum_of(definition))
    };
    if let Some(crs) = named(key::GEODETIC_CRS).filter(|&crs| !is_same(crs)) {
        return Err(contradicts("the geographic system", crs));
    }
    // Datums are numbered as their geographic systems are, 2000 higher.
    if let Some(datum) =
        named(key::GEODETIC_DATUM).filter(|datum| !datum.checked_sub(2000).is_some_and(is_same))
    {
        return Err(contradicts("the datum", datum));
    }
    let ellipsoid = named(key::ELLIPSOID).filter(|&ellipsoid| !has_ellipsoid(definition, ellipsoid));
    ellipsoid.map_or(Ok(()), |ellipsoid| Err(contradicts("the ellipsoid", ellipsoid)))
}

/// Returns what a definition says of its datum, in order; nothing where PROJ takes it as WGS 84.
fn datum_of(definition: &str) -> Vec<&str> {
    const KEYS: [&str; 10] =
        ["datum", "ellps", "a", "b", "rf", "R", "pm", "towgs84", "nadgrids", "geoidgrids"];
    let parts = definition.split_whitespace().filter_map(|part| part.strip_prefix('+'));
    let is_no_shift = |part: &str| {
        let shift = part.strip_prefix("towgs84=");
        shift.is_some_and(|shift| shift.split(',').all(|number| number.parse() == Ok(0.0)))
    };
    let says = |part: &&str| KEYS.contains(&part.split('=').next().unwrap_or(part));
    let mut found: Vec<&str> = parts.filter(says).filter(|part| !is_no_shift(part)).collect();
    found.sort_unstable();
    match found[..] {
        // The last is Web Mercator.
        ["datum=WGS84" | "datum=NAD83" | "ellps=WGS84" | "ellps=GRS80"] | ["a=6378137", "b=6378137", ..] => {
            Vec::new()
        }
        _ => found,
    }
}

/// Tells whether a definition uses an ellipsoid of the EPSG dataset.
fn has_ellipsoid(definition: &str, code: u16) -> bool {
    let name = match code {
        7030 | 7019 => return datum_of(definition).is_empty(),
        7001 => "airy",
        7002 => "mod_airy",
        7004 => "bessel",
        7008 => "clrk66",
        7012 => "clrk80",
        7022 => "intl",
        7024 => "krass",
        7036 => "GRS67",
        _ => return false,
    };
    datum_of(definition).contains(&format!("ellps={name}").as_str())
}

/// Describes a projected system that has no code of its own.
fn projected(tags: &GeoTags) -> Result<String, NoGeometry> {
    if tags.code(key::LINEAR_UNITS).unwrap_or(METRE) != METRE {
        return Err(unsupported("a user-defined projection that is not in metres"));
    }
    let projection = match tags.code(key::PROJECTION) {
        Some(code @ 16001..=16060) => format!("+proj=utm +zone={}", code - 16000),
        Some(code @ 16101..=16160) => format!("+proj=utm +zone={} +south", code - 16100),
        _ => method(tags)?,
    };
    Ok(format!("{projection} +units=m {}", datum(tags)?))
}

/// Describes the projection method and its parameters.
///
/// # Reference
///
/// OGC 19-008r4, annex C.2 (codes of methods); which parameter keys a method uses is as GDAL writes them.
fn method(tags: &GeoTags) -> Result<String, NoGeometry> {
    let first = |keys: &[u16]| keys.iter().find_map(|&key| tags.double(key));
    let latitude = first(&[key::NATURAL_ORIGIN_LATITUDE, key::FALSE_ORIGIN_LATITUDE, key::CENTRE_LATITUDE])
        .unwrap_or(0.0);
    let longitude = first(&[
        key::NATURAL_ORIGIN_LONGITUDE,
        key::FALSE_ORIGIN_LONGITUDE,
        key::CENTRE_LONGITUDE,
        key::STRAIGHT_VERTICAL_POLE,
    ])
    .unwrap_or(0.0);
    let east = first(&[key::FALSE_EASTING, key::FALSE_ORIGIN_EASTING]).unwrap_or(0.0);
    let north = first(&[key::FALSE_NORTHING, key::FALSE_ORIGIN_NORTHING]).unwrap_or(0.0);
    let scale = first(&[key::SCALE_AT_ORIGIN]).unwrap_or(1.0);
    let parallel = |key| tags.double(key).ok_or_else(|| unsupported("a projection without its parallels"));
    let origin = format!("+lat_0={latitude} +lon_0={longitude}");
    let offset = format!("+x_0={east} +y_0={north}");
    Ok(match tags.code(key::PROJECTION_METHOD) {
        Some(1) => format!("+proj=tmerc {origin} +k={scale} {offset}"),
        Some(7) if latitude == 0.0 => format!("+proj=merc +lon_0={longitude} +k={scale} {offset}"),
        Some(8) => format!(
            "+proj=lcc +lat_1={} +lat_2={} {origin} {offset}",
            parallel(key::STANDARD_PARALLEL_1)?,
            parallel(key::STANDARD_PARALLEL_2)?
        ),
        Some(9) => format!("+proj=lcc +lat_1={latitude} {origin} +k_0={scale} {offset}"),
        Some(10) => format!("+proj=laea {origin} {offset}"),
        Some(11) => format!(
            "+proj=aea +lat_1={} +lat_2={} {origin} {offset}",
            parallel(key::STANDARD_PARALLEL_1)?,
            parallel(key::STANDARD_PARALLEL_2)?
        ),
        Some(17) => equirectangular(tags, longitude, &offset),
        Some(24) => format!("+proj=sinu +lon_0={longitude} {offset}"),
        Some(code) => {
            return Err(
                not_on_earth(tags).unwrap_or_else(|| unsupported(&format!("projection method {code}")))
            );
        }
        None => return Err(unsupported("a projection without a method")),
    })
}

fn equirectangular(tags: &GeoTags, longitude: f64, offset: &str) -> String {
    let parallel = tags.double(key::STANDARD_PARALLEL_1).unwrap_or(0.0);
    format!("+proj=eqc +lat_ts={parallel} +lon_0={longitude} {offset}")
}

/// Describes a datum: only those that PROJ takes as WGS 84, and unknown ones on the ellipsoids of these.
fn datum(tags: &GeoTags) -> Result<String, NoGeometry> {
    if tags.code(key::ANGULAR_UNITS).unwrap_or(DEGREE) != DEGREE {
        return Err(unsupported("angles that are not in degrees"));
    }
    let meridian = tags.double(key::PRIME_MERIDIAN_LONGITUDE).unwrap_or(0.0);
    if meridian != 0.0 || !matches!(tags.code(key::PRIME_MERIDIAN), None | Some(8901 | USER_DEFINED)) {
        return Err(
            not_on_earth(tags).unwrap_or_else(|| unsupported("a prime meridian other than Greenwich"))
        );
    }
    match (tags.code(key::GEODETIC_CRS), tags.code(key::GEODETIC_DATUM)) {
        (Some(4326), _) | (None | Some(USER_DEFINED), Some(6326)) => Ok("+datum=WGS84".into()),
        (Some(4269), _) | (None | Some(USER_DEFINED), Some(6269)) => Ok("+datum=NAD83".into()),
        (Some(4258), _) | (None | Some(USER_DEFINED), Some(6258)) => Ok("+ellps=GRS80 +towgs84=0,0,0".into()),
        (None | Some(USER_DEFINED), None | Some(USER_DEFINED)) => ellipsoid(tags),
        (Some(code), _) if code != USER_DEFINED => {
            Err(unsupported(&format!("a projection over EPSG:{code}")))
        }
        (_, code) => Err(unsupported(&format!("a projection over datum EPSG:{}", code.unwrap_or(0)))),
    }
}

fn ellipsoid(tags: &GeoTags) -> Result<String, NoGeometry> {
    match tags.code(key::ELLIPSOID) {
        Some(7030) => return Ok("+ellps=WGS84".into()),
        Some(7019) => return Ok("+ellps=GRS80".into()),
        Some(USER_DEFINED) | None => {}
        Some(code) => return Err(unsupported(&format!("an unknown datum on ellipsoid EPSG:{code}"))),
    }
    let axis = tags.double(key::SEMI_MAJOR);
    let inverse = tags
        .double(key::INVERSE_FLATTENING)
        .or_else(|| tags.double(key::SEMI_MINOR).zip(axis).map(|(minor, major)| major / (major - minor)));
    if axis == Some(MODIS_RADIUS) && inverse.is_none_or(|inverse| inverse == 0.0 || inverse.is_infinite()) {
        return Ok(format!("+R={MODIS_RADIUS}"));
    }
    like_wgs84(datum_name(tags), axis, inverse)
}

/// What GDAL writes for a name of its own: `GCS Name = …|Datum = …|…`.
fn datum_name(tags: &GeoTags) -> &str {
    let citation = tags.text(key::GEODETIC_CITATION).unwrap_or("a user-defined ellipsoid");
    let first = citation.split('|').next().unwrap_or(citation);
    first.strip_prefix("GCS Name = ").unwrap_or(first)
}

/// Returns the ellipsoid as part of a PROJ string if a datum on it may be taken as WGS 84.
///
/// # Errors
///
/// [`NoGeometry`] if it is another body's or that of an older datum, whose shift nobody knows.
pub(super) fn like_wgs84(name: &str, axis: Option<f64>, inverse: Option<f64>) -> Result<String, NoGeometry> {
    let (Some(axis), Some(inverse)) = (axis, inverse) else { return Err(unsupported(name)) };
    if (axis / SEMI_MAJOR - 1.0).abs() > 0.01 {
        return Err(NoGeometry::NotOnEarth(name.into()));
    }
    if (axis - SEMI_MAJOR).abs() > 0.01 || (inverse - INVERSE_FLATTENING).abs() > 0.001 {
        return Err(unsupported(name));
    }
    Ok(format!("+a={axis} +rf={inverse}"))
}

fn not_on_earth(tags: &GeoTags) -> Option<NoGeometry> {
    ellipsoid(tags).err().filter(|reason| matches!(reason, NoGeometry::NotOnEarth(_)))
}

/// Says which reference system cannot be placed.
pub(super) fn unsupported(what: &str) -> NoGeometry {
    NoGeometry::UnsupportedCrs(what.into())
}
