//! The description that Esri's software writes instead of a code (WKT, version 1), as far as images have it.

use super::NoGeometry;
use super::keys::{like_wgs84, unsupported};

/// Turns a description into a PROJ string.
///
/// # Errors
///
/// [`NoGeometry`] if it is none of a projected system in metres on a datum that PROJ takes as WGS 84.
///
/// # Reference
///
/// OGC 01-009, section 7 (the grammar); GDAL writes a PROJ string of its own into `EXTENSION`.
pub(super) fn proj_string(text: &str) -> Result<String, NoGeometry> {
    let (root, _) = Node::parse(text, 0).ok_or_else(|| unsupported("a description that cannot be read"))?;
    let name = root.name();
    if root.keyword == "LOCAL_CS" {
        return Err(NoGeometry::NotOnEarth(name.into()));
    }
    if root.keyword != "PROJCS" {
        return Err(unsupported(name));
    }
    let datum = datum(&root)?;
    if let Some(own) = root.child("EXTENSION").filter(|node| node.name() == "PROJ4") {
        return own.texts.get(1).cloned().ok_or_else(|| unsupported(name));
    }
    let unit = root.child("UNIT").and_then(|unit| unit.numbers.first().copied());
    if unit != Some(1.0) {
        return Err(unsupported(name));
    }
    Ok(format!("{} +units=m {datum}", projection(&root)?))
}

fn datum(root: &Node) -> Result<String, NoGeometry> {
    let unknown = || unsupported(root.name());
    let geographic = root.child("GEOGCS").ok_or_else(unknown)?;
    let datum = geographic.child("DATUM").ok_or_else(unknown)?;
    let ellipsoid = datum.child("SPHEROID").ok_or_else(unknown)?;
    let like =
        like_wgs84(geographic.name(), ellipsoid.numbers.first().copied(), ellipsoid.numbers.get(1).copied())?;
    if geographic.child("PRIMEM").and_then(|node| node.numbers.first().copied()).unwrap_or(0.0) != 0.0 {
        return Err(unsupported(root.name()));
    }
    let taken = ["wgs_1984", "north_american_1983", "north_american_datum_1983", "etrs_1989"];
    let name = datum.name().to_lowercase();
    let known = taken.contains(&name.trim_start_matches("d_"));
    let nameless = name.contains("unknown") || name.contains("not_specified") || name == "unnamed";
    if known || nameless { Ok(like) } else { Err(unsupported(&format!("datum {}", datum.name()))) }
}

fn projection(root: &Node) -> Result<String, NoGeometry> {
    let method = root.child("PROJECTION").map(Node::name).unwrap_or_default();
    let of = |name: &str| root.parameter(name);
    let origin = format!(
        "+lat_0={} +lon_0={}",
        of("latitude_of_origin").or(of("latitude_of_center")).unwrap_or(0.0),
        of("central_meridian").or(of("longitude_of_center")).unwrap_or(0.0)
    );
    let offset =
        format!("+x_0={} +y_0={}", of("false_easting").unwrap_or(0.0), of("false_northing").unwrap_or(0.0));
    let parallels = || {
        let both = of("standard_parallel_1").zip(of("standard_parallel_2"));
        both.map(|(first, second)| format!("+lat_1={first} +lat_2={second}"))
            .ok_or_else(|| unsupported("a projection without its parallels"))
    };
    let scale = of("scale_factor").unwrap_or(1.0);
    Ok(match method.to_lowercase().as_str() {
        "albers" | "albers_conic_equal_area" => format!("+proj=aea {} {origin} {offset}", parallels()?),
        "lambert_conformal_conic_2sp" => format!("+proj=lcc {} {origin} {offset}", parallels()?),
        "lambert_azimuthal_equal_area" => format!("+proj=laea {origin} {offset}"),
        "transverse_mercator" => format!("+proj=tmerc {origin} +k={scale} {offset}"),
        _ => return Err(unsupported(&format!("projection {method}"))),
    })
}

/// `KEYWORD["text",1.5,CHILD[…]]`
#[derive(Debug, Default)]
struct Node {
    keyword: String,
    texts: Vec<String>,
    numbers: Vec<f64>,
    children: Vec<Node>,
}

/// Deeper nesting is not a description of a coordinate system.
const MAX_DEPTH: usize = 16;

impl Node {
    /// Parses one node and returns what follows it.
    fn parse(text: &str, depth: usize) -> Option<(Self, &str)> {
        let (keyword, mut rest) = text.split_once('[')?;
        let word = keyword.trim();
        if depth > MAX_DEPTH
            || word.is_empty()
            || !word.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        {
            return None;
        }
        let mut node = Self { keyword: word.to_uppercase(), ..Self::default() };
        loop {
            rest = rest.trim_start();
            if let Some(quoted) = rest.strip_prefix('"') {
                let (value, after) = quoted.split_once('"')?;
                node.texts.push(value.into());
                rest = after;
            } else {
                let end = rest.find([',', ']', '['])?;
                if rest[end..].starts_with('[') {
                    let (child, after) = Self::parse(rest, depth + 1)?;
                    node.children.push(child);
                    rest = after;
                } else {
                    // A bare word, such as the direction of an axis, says nothing that is looked at.
                    node.numbers.extend(rest[..end].trim().parse::<f64>().ok());
                    rest = &rest[end..];
                }
            }
            rest = rest.trim_start();
            match rest.split_at_checked(1)? {
                (",", after) => rest = after,
                ("]", after) => return Some((node, after)),
                _ => return None,
            }
        }
    }

    fn name(&self) -> &str {
        self.texts.first().map_or("without a name", String::as_str)
    }

    fn child(&self, keyword: &str) -> Option<&Self> {
        self.children.iter().find(|child| child.keyword == keyword)
    }

    fn parameter(&self, name: &str) -> Option<f64> {
        let mut parameters = self.children.iter().filter(|child| child.keyword == "PARAMETER");
        parameters.find(|node| node.name().eq_ignore_ascii_case(name))?.numbers.first().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALBERS: &str = r#"PROJCS["USGS",GEOGCS["NAD",DATUM["D_North_American_1983",
        SPHEROID["GRS_1980",6378137.0,298.257222101]],PRIMEM["Greenwich",0.0],UNIT["Degree",0.017]],
        PROJECTION["Albers"],PARAMETER["central_meridian",-96.0],PARAMETER["Standard_Parallel_1",29.5],
        PARAMETER["standard_parallel_2",45.5],PARAMETER["latitude_of_origin",23.0],UNIT["Meter",1.0]]"#;

    #[test]
    fn esris_albers_becomes_projs() {
        let string = proj_string(ALBERS).unwrap();
        let expected = "+proj=aea +lat_1=29.5 +lat_2=45.5 +lat_0=23 +lon_0=-96 +x_0=0 +y_0=0 +units=m +a=6378137 +rf=298.257222101";
        assert_eq!(string, expected);
    }

    #[test]
    fn what_cannot_be_vouched_for_is_refused() {
        let reason = |text: &str| proj_string(text).unwrap_err().to_string();
        assert!(reason(&ALBERS.replace("6378137.0", "1560800.0")).contains("not on Earth: NAD"));
        assert!(reason(&ALBERS.replace("D_North_American_1983", "D_Tokyo")).ends_with("datum D_Tokyo"));
        assert!(reason(&ALBERS.replace("\"Albers\"", "\"Bonne\"")).ends_with("projection Bonne"));
        assert!(reason(&ALBERS.replace("\"Meter\",1.0", "\"Foot_US\",0.3048006")).ends_with("USGS"));
        assert!(reason(r#"LOCAL_CS["plate",UNIT["m",1]]"#).contains("not on Earth: plate"));
        assert!(reason(&"A[".repeat(100)).contains("cannot be read"));
        assert!(reason("PROJCS[\"é").contains("cannot be read"));
    }
}
