//! Polygons as well-known binary.
//!
//! # Reference
//!
//! OGC 06-103r4, section 8.2 (little-endian, two dimensions).

/// A closed ring: first and last points are the same.
pub(super) type Ring = Vec<[f64; 2]>;

const LITTLE_ENDIAN: u8 = 1;
const POLYGON: u32 = 3;
const MULTI_POLYGON: u32 = 6;

/// Encodes one ring as a polygon, several as a multi-polygon of one ring each.
pub(super) fn encode(rings: &[Ring]) -> Vec<u8> {
    let num_points: usize = rings.iter().map(Vec::len).sum();
    let mut bytes = Vec::with_capacity(num_points * 16 + rings.len() * 13 + 9);
    if rings.len() != 1 {
        head(&mut bytes, MULTI_POLYGON, rings.len());
    }
    for ring in rings {
        head(&mut bytes, POLYGON, 1);
        bytes.extend((ring.len() as u32).to_le_bytes());
        bytes.extend(ring.iter().flatten().flat_map(|coordinate| coordinate.to_le_bytes()));
    }
    bytes
}

fn head(bytes: &mut Vec<u8>, kind: u32, count: usize) {
    bytes.push(LITTLE_ENDIAN);
    bytes.extend(kind.to_le_bytes());
    bytes.extend((count as u32).to_le_bytes());
}
